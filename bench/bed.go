package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// bed lets package rig, which is made for tests, start its servers here.
type bed struct {
	testing.TB // for the methods that are not used
	ctx        context.Context
	cleanups   []func()
}

// failure is how the bed ends what it runs.
type failure struct{ error }

// try runs f up to its first failure.
func (b *bed) try(f func()) (err error) {
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

func (b *bed) Helper()                           {}
func (b *bed) Context() context.Context          { return b.ctx }
func (b *bed) Cleanup(f func())                  { b.cleanups = append(b.cleanups, f) }
func (b *bed) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (b *bed) FailNow()                          { panic(failure{errors.New("a server did not start")}) }
func (b *bed) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// clean stops what was started, the last first.
func (b *bed) clean() {
	for len(b.cleanups) > 0 {
		last := len(b.cleanups) - 1
		f := b.cleanups[last]
		b.cleanups = b.cleanups[:last]
		if err := b.try(f); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}
