// Package tenant holds the newest state of every environment in memory, finds
// older ones in the store, and is the one write path: whatever changes
// authorization is judged here on the newest revision, committed, and becomes the
// next snapshot (Rules JIT-2, JIT-3, JIT-49).
//
// It decides nothing itself: the invariants are package access's, the reactions
// of elevation package jit's, the answers package engine's. It has no SQL.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/store"
)

// Store is what a tenant needs of its store.
type Store interface {
	Newest(ctx context.Context) (store.Committed, error)
	Load(ctx context.Context, rev access.Revision, yield func(access.Object) error) error
	LoadEnvironment(ctx context.Context, rev access.Revision, env access.EnvironmentID, yield func(access.Object) error) error
	RevisionAt(ctx context.Context, t time.Time) (access.Revision, error)
	Changes(ctx context.Context, after, upto access.Revision, yield func(access.Revision, store.Difference) error) error
	Commit(ctx context.Context, c store.Commit) (store.Committed, error)
	Watermark(ctx context.Context) (time.Time, error)
	SetWatermark(ctx context.Context, t time.Time) error
}

// React adds to a changeset what elevation demands of it: grants that end and
// requests that become void, in the same revision (Rule JIT-68).
type React func(before *access.State, changes []access.Change, at time.Time) ([]access.Change, []audit.Event, error)

// Options of Open. The zero value is for production, without reactions.
type Options struct {
	React   React
	Wall    func() time.Time     // nil: the machine's clock
	Elapsed func() time.Duration // nil: the machine's monotonic clock
	Logger  *slog.Logger         // nil: discard
}

// Tenant is the newest state of all environments. It is safe for concurrent use.
// Decisions take their snapshot without a lock (Rule REL-9).
type Tenant struct {
	store Store
	react React
	log   *slog.Logger
	clock *Clock

	writing sync.Mutex // serialises judging, committing and following

	mu       sync.RWMutex // guards what follows; held for the moment of a swap
	revision access.Revision
	states   map[access.EnvironmentID]*access.State

	snapshots atomic.Pointer[map[access.EnvironmentID]*engine.Snapshot]

	pasts pasts
}

// ErrNoEnvironment: there is no environment of that name.
var ErrNoEnvironment = errors.New("no such environment")

// maxJudgements bounds how often a changeset is judged again because somebody
// else committed first (Rule JIT-49).
const maxJudgements = 5

// Open loads the newest revision.
func Open(ctx context.Context, st Store, o Options) (*Tenant, error) {
	t := &Tenant{store: st, react: o.React, log: o.Logger, states: map[access.EnvironmentID]*access.State{}, pasts: pasts{loading: make(chan struct{}, 1)}}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	newest, err := st.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("open tenant: %w", err)
	}
	mark, err := st.Watermark(ctx)
	if err != nil {
		return nil, fmt.Errorf("open tenant: %w", err)
	}
	if newest.At.After(mark) {
		mark = newest.At
	}
	t.clock = NewClock(mark, o.Wall, o.Elapsed)
	if lead := t.clock.Lead(); lead > time.Second {
		t.log.Warn("the clock is behind the store's last commit; windows follow the store", "behind", lead)
	}
	err = st.Load(ctx, newest.Revision, func(obj access.Object) error {
		t.state(obj.ObjectEnvironment()).Apply(access.Put(obj))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load revision %d: %w", newest.Revision, err)
	}
	snapshots := map[access.EnvironmentID]*engine.Snapshot{}
	for env, state := range t.states {
		if snapshots[env], err = engine.New(state, newest.Revision); err != nil {
			return nil, fmt.Errorf("compile environment %s: %w", env, err)
		}
	}
	t.revision = newest.Revision
	t.snapshots.Store(&snapshots)
	return t, nil
}

// state returns the environment's state, making it where there is none.
func (t *Tenant) state(env access.EnvironmentID) *access.State {
	s, ok := t.states[env]
	if !ok {
		s = access.NewState(env)
		t.states[env] = s
	}
	return s
}

// Now is Ambit time (Rule JIT-21).
func (t *Tenant) Now() time.Time { return t.clock.Now() }

// ClockLead is how far Ambit time runs ahead of the machine's wall clock.
func (t *Tenant) ClockLead() time.Duration { return t.clock.Lead() }

// Snapshot returns the environment's newest snapshot, or ErrNoEnvironment.
func (t *Tenant) Snapshot(env access.EnvironmentID) (*engine.Snapshot, error) {
	if s, ok := (*t.snapshots.Load())[env]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("environment %q: %w", env, ErrNoEnvironment)
}

// View is the tenant at one revision and instant. It is valid only inside the
// function that is given it, and only for reading.
type View struct {
	Revision  access.Revision
	Now       time.Time
	states    map[access.EnvironmentID]*access.State
	snapshots map[access.EnvironmentID]*engine.Snapshot
}

// State returns the environment's state, or ErrNoEnvironment.
func (v View) State(env access.EnvironmentID) (*access.State, error) {
	if s, ok := v.states[env]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("environment %q: %w", env, ErrNoEnvironment)
}

// Snapshot returns the environment's snapshot, or ErrNoEnvironment.
func (v View) Snapshot(env access.EnvironmentID) (*engine.Snapshot, error) {
	if s, ok := v.snapshots[env]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("environment %q: %w", env, ErrNoEnvironment)
}

// Environments lists the environments, sorted.
func (v View) Environments() []access.EnvironmentID {
	return slices.Sorted(maps.Keys(v.states))
}

func (t *Tenant) view() View {
	return View{Revision: t.revision, Now: t.clock.Now(), states: t.states, snapshots: *t.snapshots.Load()}
}

// Read calls f with the newest state. f must not keep the view, nor take long:
// commits wait for it.
func (t *Tenant) Read(f func(View) error) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return f(t.view())
}

// Changeset is what a judgement wants committed.
type Changeset struct {
	Changes []access.Change
	Events  []audit.Event
	Reply   *store.Reply
	Fence   int64
}

// Update judges on the newest revision and commits what judge returns, with what
// the rules add to it. If another process commits first, it judges again. A
// changeset without changes and events commits nothing. An error of judge
// commits nothing and is returned as it is.
func (t *Tenant) Update(ctx context.Context, judge func(View) (Changeset, error)) (store.Committed, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	for range maxJudgements {
		v := t.view()
		set, err := judge(v)
		if err != nil {
			return store.Committed{}, err
		}
		if len(set.Changes) == 0 && len(set.Events) == 0 {
			return store.Committed{Revision: v.Revision, At: v.Now}, nil
		}
		byEnvironment, events, err := t.complete(v, set.Changes)
		if err != nil {
			return store.Committed{}, err
		}
		var all []access.Change
		for _, env := range slices.Sorted(maps.Keys(byEnvironment)) {
			all = append(all, byEnvironment[env]...)
		}
		done, err := t.store.Commit(ctx, store.Commit{
			Base: v.Revision, At: v.Now, Changes: all, Events: append(set.Events, events...), Reply: set.Reply, Fence: set.Fence,
		})
		switch {
		case err == nil:
			t.clock.Advance(done.At)
			return done, t.advance(done.Revision, byEnvironment)
		case errors.Is(err, store.ErrConflict):
			if err := t.follow(ctx); err != nil {
				return store.Committed{}, err
			}
		default:
			// The commit may have happened all the same, as when the connection broke
			// after it: what is in memory must be what is stored.
			if followErr := t.follow(context.WithoutCancel(ctx)); followErr != nil {
				t.log.Error("cannot read the store after a commit that did not answer", "error", followErr)
			}
			return store.Committed{}, err
		}
	}
	return store.Committed{}, fmt.Errorf("others committed first, %d times: %w", maxJudgements, store.ErrConflict)
}

// complete adds to the changes what the rules demand, environment by environment.
func (t *Tenant) complete(v View, changes []access.Change) (map[access.EnvironmentID][]access.Change, []audit.Event, error) {
	out := map[access.EnvironmentID][]access.Change{}
	for _, c := range changes {
		env := c.Object.ObjectEnvironment()
		out[env] = append(out[env], c)
	}
	var events []audit.Event
	for _, env := range slices.Sorted(maps.Keys(out)) {
		list := out[env]
		state, err := v.State(env)
		if err != nil {
			state = access.NewState(env)
		}
		full, err := state.Expand(list)
		if err != nil {
			return nil, nil, fmt.Errorf("environment %s: %w", env, err)
		}
		if t.react != nil {
			more, told, err := t.react(state, full, v.Now)
			if err != nil {
				return nil, nil, fmt.Errorf("environment %s: %w", env, err)
			}
			if len(more) > 0 {
				if full, err = state.Expand(append(full, more...)); err != nil {
					return nil, nil, fmt.Errorf("environment %s: %w", env, err)
				}
			}
			events = append(events, told...)
		}
		out[env] = full
	}
	return out, events, nil
}

// advance makes the changes of one revision the newest state. What can be made
// before the swap is, so that readers wait for the maps alone.
func (t *Tenant) advance(rev access.Revision, byEnvironment map[access.EnvironmentID][]access.Change) error {
	next := maps.Clone(*t.snapshots.Load())
	fresh := map[access.EnvironmentID]*access.State{} // nobody reads them yet
	for env, changes := range byEnvironment {
		switch _, known := t.states[env]; {
		case deletes(changes):
			delete(next, env)
		case !known:
			fresh[env] = access.NewState(env)
			fresh[env].Apply(changes...)
		}
	}
	var err error
	for env, snapshot := range next {
		if next[env], err = snapshot.Apply(byEnvironment[env], rev); err != nil {
			return fmt.Errorf("environment %s at revision %d: %w", env, rev, err)
		}
	}
	for env, state := range fresh {
		if next[env], err = engine.New(state, rev); err != nil {
			return fmt.Errorf("environment %s at revision %d: %w", env, rev, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for env, changes := range byEnvironment {
		switch {
		case deletes(changes):
			delete(t.states, env)
		case fresh[env] != nil:
			t.states[env] = fresh[env]
		default:
			t.states[env].Apply(changes...)
		}
	}
	t.revision = rev
	t.snapshots.Store(&next)
	return nil
}

// deletes tells whether the changes of one revision delete the environment: then
// they delete all that is in it, and put nothing.
func deletes(changes []access.Change) bool {
	return slices.ContainsFunc(changes, func(c access.Change) bool {
		return c.Delete && c.Object.ObjectKind() == access.KindEnvironment
	})
}

// Follow catches up with what other processes committed.
func (t *Tenant) Follow(ctx context.Context) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	return t.follow(ctx)
}

// follow takes one revision after the other, so that a reader sees none that
// never was.
func (t *Tenant) follow(ctx context.Context) error {
	newest, err := t.store.Newest(ctx)
	if err != nil {
		return fmt.Errorf("follow the store: %w", err)
	}
	switch {
	case newest.Revision == t.revision:
		return nil
	case newest.Revision < t.revision:
		return fmt.Errorf("the store is at revision %d and this process has seen %d: an older copy was put in its place; restart", newest.Revision, t.revision)
	}
	t.clock.Advance(newest.At)
	rev, changes := t.revision, map[access.EnvironmentID][]access.Change{}
	err = t.store.Changes(ctx, t.revision, newest.Revision, func(of access.Revision, d store.Difference) error {
		if of != rev && len(changes) > 0 {
			if err := t.advance(rev, changes); err != nil {
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
	if err == nil {
		err = t.advance(newest.Revision, changes) // what comes after rev changed nothing
	}
	if err != nil {
		return fmt.Errorf("follow the store to revision %d: %w", newest.Revision, err)
	}
	return nil
}

// WatermarkEvery is how much of the past a clock that is set back over a restart
// can repeat (Rule JIT-21).
const WatermarkEvery = 10 * time.Second

// Run follows the store every followEvery, and every watermarkEvery keeps the
// watermark while time alone can change an answer, until the context ends.
func (t *Tenant) Run(ctx context.Context, followEvery, watermarkEvery time.Duration) error {
	var marked time.Time
	follow, mark := time.NewTicker(followEvery), time.NewTicker(watermarkEvery)
	defer follow.Stop()
	defer mark.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-follow.C:
			if err := t.Follow(ctx); err != nil && ctx.Err() == nil {
				t.log.Error("cannot follow the store; decisions go on from the last revision", "revision", t.Revision(), "error", err)
			}
		case <-mark.C:
			now := t.clock.Now()
			if !t.timed(marked) {
				continue
			}
			if err := t.store.SetWatermark(ctx, now); err == nil {
				marked = now
			} else if ctx.Err() == nil {
				t.log.Error("cannot keep the clock's watermark", "error", err)
			}
		}
	}
}

// Revision is the newest revision in memory.
func (t *Tenant) Revision() access.Revision {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.revision
}

// timed tells whether an elevation is open or asked for, or a window ends after
// the last watermark: a clock set back must not open it again.
func (t *Tenant) timed(marked time.Time) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, s := range t.states {
		for key := range s.Others {
			if key.Kind == access.KindRequest {
				return true
			}
		}
		for _, a := range s.Assignments {
			if a.Window.End.After(marked) {
				return true
			}
		}
		for _, sh := range s.Shares {
			if sh.Window.End.After(marked) {
				return true
			}
		}
	}
	return false
}
