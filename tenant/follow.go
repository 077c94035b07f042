package tenant

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/store"
)

// ErrStale: the store could not be asked for longer than Options.StaleAfter, so
// that a revocation can have been missed (Rules REL-5, REL-7; INC-19).
var ErrStale = errors.New("the newest state is not known")

// freshness knows since when the state in memory has not been known to be the
// newest.
type freshness struct {
	limit   time.Duration // 0: none
	wall    func() time.Time
	elapsed func() time.Duration
	at      *atomic.Pointer[instant]
}

// instant is one by two clocks: one of them can be set, the other stands still
// while the machine sleeps.
type instant struct {
	wall    time.Time
	elapsed time.Duration
}

func newFreshness(o Options) freshness {
	f := freshness{limit: o.StaleAfter, wall: o.Wall, elapsed: o.Elapsed, at: &atomic.Pointer[instant]{}}
	if f.wall == nil {
		f.wall = time.Now
	}
	if f.elapsed == nil {
		start := time.Now()
		f.elapsed = func() time.Duration { return time.Since(start) }
	}
	f.confirm(f.now())
	return f
}

func (f freshness) now() instant { return instant{f.wall().Round(0), f.elapsed()} }

// confirm notes that the state was the newest when the store was asked.
func (f freshness) confirm(asked instant) { f.at.Store(&asked) }

func (f freshness) age() time.Duration {
	at, now := f.at.Load(), f.now()
	return max(now.elapsed-at.elapsed, now.wall.Sub(at.wall), 0)
}

// Age is how long ago the store last confirmed that there is nothing newer than
// what is in memory.
func (t *Tenant) Age() time.Duration { return t.fresh.age() }

// Current returns ErrStale where the newest state must not be answered from any
// more (Rule REL-7).
func (t *Tenant) Current() error {
	if age := t.fresh.age(); t.fresh.limit > 0 && age > t.fresh.limit {
		return fmt.Errorf("the store has not answered for %s, and after %s nothing is answered from revision %d: %w",
			age.Round(time.Second), t.fresh.limit, t.Revision(), ErrStale)
	}
	return nil
}

func (t *Tenant) lock(ctx context.Context) error {
	select {
	case t.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another change: %w", ctx.Err())
	}
}

func (t *Tenant) unlock() { <-t.writing }

// Follow catches up with what other processes committed.
func (t *Tenant) Follow(ctx context.Context) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	return t.follow(ctx)
}

// follow takes one revision after the other, so that a reader sees none that
// never was.
func (t *Tenant) follow(ctx context.Context) error {
	asked := t.fresh.now()
	newest, err := t.store.Newest(ctx)
	if err != nil {
		return fmt.Errorf("follow the store: %w", err)
	}
	if err := t.sameHistory(ctx, newest); err != nil {
		return err
	}
	if newest.Revision > t.revision {
		if err := t.catchUp(ctx, newest); err != nil {
			return fmt.Errorf("follow the store to revision %d: %w", newest.Revision, err)
		}
	}
	t.fresh.confirm(asked)
	return nil
}

// sameHistory refuses a store that does not have the revision in memory, or has
// another in its place: a copy was put back, or a standby took over that had not
// received it.
func (t *Tenant) sameHistory(ctx context.Context, newest store.Committed) error {
	at := newest.At
	if newest.Revision > t.revision && !t.at.IsZero() {
		var err error
		if at, err = t.store.CommittedAt(ctx, t.revision); err != nil {
			return fmt.Errorf("follow the store: %w", err)
		}
	}
	switch {
	case newest.Revision < t.revision:
		return fmt.Errorf("the store is at revision %d and this process has seen %d: an older copy was put in its place; restart", newest.Revision, t.revision)
	case !t.at.IsZero() && !at.Equal(t.at):
		return fmt.Errorf("the store's revision %d is not the one that this process has seen: an older copy was put in its place, or a standby that lacked it took over; restart", t.revision)
	}
	return nil
}

func (t *Tenant) catchUp(ctx context.Context, newest store.Committed) error {
	t.clock.Advance(newest.At)
	rev, changes := t.revision, map[access.EnvironmentID][]access.Change{}
	err := t.store.Changes(ctx, t.revision, newest.Revision, func(of access.Revision, d store.Difference) error {
		if of != rev && len(changes) > 0 {
			if err := t.advance(store.Committed{Revision: rev}, changes); err != nil {
				return err
			}
			changes = map[access.EnvironmentID][]access.Change{}
		}
		rev = of
		c := d.Change()
		env := c.Object.ObjectEnvironment()
		changes[env] = append(changes[env], c)
		return nil
	})
	if err != nil {
		return err
	}
	return t.advance(newest, changes) // what comes after rev changed nothing
}

// reachWithin is how long a question may wait for a revision that it names.
const reachWithin = 5 * time.Second

// Reach makes sure that the newest state is of the revision or of a later one: it
// catches up at once, and waits for no longer than reachWithin. It returns
// ErrNoRevision where the store has none such, and ErrBehind where it cannot tell
// in time.
func (t *Tenant) Reach(ctx context.Context, rev access.Revision) error {
	if rev <= t.Revision() {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	reached := make(chan error, 1)
	go func() { reached <- t.followTo(within, rev) }() // a database that hangs keeps it for longer
	select {
	case err := <-reached:
		if err != nil && rev > t.Revision() {
			return fmt.Errorf("revision %d is asked for and %d is here: %w: %w", rev, t.Revision(), ErrBehind, err)
		}
	case <-within.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("revision %d is asked for and %d is here after %s: %w", rev, t.Revision(), reachWithin, ErrBehind)
	}
	if newest := t.Revision(); rev > newest {
		return fmt.Errorf("revision %d does not exist; the newest is %d: %w", rev, newest, ErrNoRevision)
	}
	return nil
}

// followTo is Follow where another has not followed that far meanwhile.
func (t *Tenant) followTo(ctx context.Context, rev access.Revision) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	if t.revision >= rev {
		return nil
	}
	return t.follow(ctx)
}

// ErrBehind: the store has, or may have, the revision that was asked for, and it
// cannot be read in time.
var ErrBehind = errors.New("this process has not caught up")

// WatermarkEvery is how much of the past a clock that is set back over a restart
// can repeat (Rule JIT-21).
const WatermarkEvery = 10 * time.Second

// rewatch is the pause before the store is listened to again.
const rewatch = 5 * time.Second

// Run follows the store when it tells of a commit and every followEvery, and every
// watermarkEvery keeps the watermark while time alone can change an answer, until
// the context ends.
func (t *Tenant) Run(ctx context.Context, followEvery, watermarkEvery time.Duration) error {
	told := make(chan struct{}, 1)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { t.listen(ctx, told) })
	var marked time.Time
	follow, mark := time.NewTicker(followEvery), time.NewTicker(watermarkEvery)
	defer follow.Stop()
	defer mark.Stop()
	lost := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mark.C:
			marked = t.keepWatermark(ctx, marked)
			continue
		case <-follow.C:
		case <-told:
		}
		err := t.Follow(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && !lost: // once, and not each time: the age is in the metrics
			t.log.Error("cannot follow the store; decisions go on from the last revision", "revision", t.Revision(), "until stale after", t.fresh.limit, "error", err)
		case err == nil && lost:
			t.log.Info("follows the store again", "revision", t.Revision())
		}
		lost = err != nil
	}
}

// listen passes on that somebody may have committed. Polling stands behind it.
func (t *Tenant) listen(ctx context.Context, told chan<- struct{}) {
	for {
		err := t.store.Watch(ctx, func() {
			select {
			case told <- struct{}{}:
			default: // it is known
			}
		})
		if err == nil {
			return
		}
		t.log.Warn("the store cannot tell of commits; it is asked for them all the same", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(rewatch):
		}
	}
}

func (t *Tenant) keepWatermark(ctx context.Context, marked time.Time) time.Time {
	now := t.clock.Now()
	if !t.timed(marked) {
		return marked
	}
	if err := t.store.SetWatermark(ctx, now); err != nil {
		if ctx.Err() == nil {
			t.log.Error("cannot keep the clock's watermark", "error", err)
		}
		return marked
	}
	return now
}
