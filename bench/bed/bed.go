// Package bed lets package rig, which is made for tests, start its servers in a
// command.
package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// Bed stands in for a test.
type Bed struct {
	testing.TB // for the methods that are not used
	ctx        context.Context
	cleanups   []func()
}

// New makes a bed whose context ends with ctx.
func New(ctx context.Context) *Bed { return &Bed{ctx: ctx} }

// failure is how the bed ends what it runs.
type failure struct{ error }

// Try runs f up to its first failure.
func (b *Bed) Try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// The methods of testing.TB that package rig uses.
func (b *Bed) Helper()                           {}
func (b *Bed) Context() context.Context          { return b.ctx }
func (b *Bed) Cleanup(f func())                  { b.cleanups = append(b.cleanups, f) }
func (b *Bed) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (b *Bed) FailNow()                          { panic(failure{errors.New("a server did not start")}) }
func (b *Bed) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// Clean stops what was started, the last first.
func (b *Bed) Clean() {
	for len(b.cleanups) > 0 {
		last := len(b.cleanups) - 1
		f := b.cleanups[last]
		b.cleanups = b.cleanups[:last]
		if err := b.Try(f); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}
