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
	CommittedAt(ctx context.Context, rev access.Revision) (time.Time, error)
	Watch(ctx context.Context, changed func()) error
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
	// StaleAfter is how long questions are answered while the store cannot be asked
	// whether there is something newer; 0 where no other process commits, for ever.
	StaleAfter time.Duration
}

// Tenant is the newest state of all environments. It is safe for concurrent use.
// Decisions take their snapshot without a lock (Rule REL-9).
type Tenant struct {
	store Store
	react React
	log   *slog.Logger
	clock *Clock

	writing chan struct{} // serialises judging, committing and following
	fresh   freshness

	mu       sync.RWMutex // guards what follows; held for the moment of a swap
	revision access.Revision
	at       time.Time // when the revision was committed; zero in the middle of catching up
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
	t := &Tenant{
		store: st, react: o.React, log: o.Logger, writing: make(chan struct{}, 1), fresh: newFreshness(o),
		states: map[access.EnvironmentID]*access.State{}, pasts: pasts{loading: make(chan struct{}, 1)},
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	asked := t.fresh.now()
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
	t.revision, t.at = newest.Revision, newest.At
	t.snapshots.Store(&snapshots)
	t.fresh.confirm(asked)
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
	// Expanded are more changes, of other environments, that were expanded already.
	Expanded []access.Expansion
	Events   []audit.Event
	// First, if set, makes one more event, the first, while the changes are written.
	First func() (audit.Event, error)
	Reply *store.Reply
	Fence int64
	// Run and KeepRuns are those of store.Commit; a run alone commits nothing.
	Run      func() store.Run
	KeepRuns store.Retention
}

// Update judges on the newest revision and commits what judge returns, with what
// the rules add to it. If another process commits first, it judges again. A
// changeset without changes and events commits nothing. An error of judge
// commits nothing and is returned as it is.
func (t *Tenant) Update(ctx context.Context, judge func(View) (Changeset, error)) (store.Committed, error) {
	if err := t.lock(ctx); err != nil {
		return store.Committed{}, err
	}
	defer t.unlock()
	for range maxJudgements {
		v := t.view()
		set, err := judge(v)
		if err != nil {
			return store.Committed{}, err
		}
		if len(set.Changes) == 0 && len(set.Expanded) == 0 && len(set.Events) == 0 && set.First == nil {
			return store.Committed{Revision: v.Revision, At: v.Now}, nil
		}
		byEnvironment, events, err := t.complete(v, set)
		if err != nil {
			return store.Committed{}, err
		}
		var all []access.Change
		for _, env := range slices.Sorted(maps.Keys(byEnvironment)) {
			all = append(all, byEnvironment[env]...)
		}
		asked := t.fresh.now()
		// What is to be the newest state is made while the store writes.
		var next successor
		var nextErr error
		var making sync.WaitGroup
		making.Go(func() { next, nextErr = t.prepare(v.Revision+1, byEnvironment) })
		done, err := t.store.Commit(ctx, store.Commit{
			Base: v.Revision, At: v.Now, Changes: all, Events: append(set.Events, events...), First: set.First, Reply: set.Reply, Fence: set.Fence,
			Run: set.Run, KeepRuns: set.KeepRuns,
		})
		making.Wait()
		switch {
		case err == nil:
			t.clock.Advance(done.At)
			if nextErr != nil {
				return done, nextErr
			}
			t.swap(next, done, byEnvironment)
			t.fresh.confirm(asked)
			return done, nil
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
func (t *Tenant) complete(v View, set Changeset) (map[access.EnvironmentID][]access.Change, []audit.Event, error) {
	out, expanded := map[access.EnvironmentID][]access.Change{}, map[access.EnvironmentID]access.Expansion{}
	for _, c := range set.Changes {
		env := c.Object.ObjectEnvironment()
		out[env] = append(out[env], c)
	}
	for _, x := range set.Expanded {
		env := x.Environment()
		if out[env] == nil {
			out[env], expanded[env] = slices.Clip(x.Changes()), x
		} else {
			out[env] = append(out[env], x.Changes()...)
		}
	}
	var events []audit.Event
	for _, env := range slices.Sorted(maps.Keys(out)) {
		list := out[env]
		state, err := v.State(env)
		if err != nil {
			state = access.NewState(env)
		}
		full := list
		if x, ok := expanded[env]; !ok || len(list) != len(x.Changes()) || !x.Holds(state) {
			if full, err = state.Expand(list); err != nil {
				return nil, nil, fmt.Errorf("environment %s: %w", env, err)
			}
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

// advance makes the changes of one revision the newest state.
func (t *Tenant) advance(to store.Committed, byEnvironment map[access.EnvironmentID][]access.Change) error {
	next, err := t.prepare(to.Revision, byEnvironment)
	if err == nil {
		t.swap(next, to, byEnvironment)
	}
	return err
}

// successor is what a revision makes of the tenant, as far as it can be made before
// the swap, so that readers wait for the maps alone.
type successor struct {
	snapshots map[access.EnvironmentID]*engine.Snapshot
	fresh     map[access.EnvironmentID]*access.State // of environments that are new, or mostly
}

// prepare makes what follows from the changes of one revision. Nobody sees it
// before the swap. A state that the changes outnumber is made anew here, since its
// readers would wait for as long as Apply takes.
func (t *Tenant) prepare(rev access.Revision, byEnvironment map[access.EnvironmentID][]access.Change) (successor, error) {
	next := maps.Clone(*t.snapshots.Load())
	fresh := map[access.EnvironmentID]*access.State{}
	for env, changes := range byEnvironment {
		if deletes(changes) {
			delete(next, env)
			continue
		}
		state, known := t.states[env]
		if !known {
			state = access.NewState(env)
		}
		if !known || len(changes) > state.Len() {
			fresh[env] = state.With(changes)
		}
	}
	for env, snapshot := range next {
		if fresh[env] != nil {
			continue
		}
		var err error
		if next[env], err = snapshot.Apply(byEnvironment[env], rev); err != nil {
			return successor{}, fmt.Errorf("environment %s at revision %d: %w", env, rev, err)
		}
	}
	for env, state := range fresh {
		var err error
		if next[env], err = engine.New(state, rev); err != nil {
			return successor{}, fmt.Errorf("environment %s at revision %d: %w", env, rev, err)
		}
	}
	return successor{next, fresh}, nil
}

// swap makes the successor the newest state. Decisions have it first; who reads
// the states waits for their maps.
func (t *Tenant) swap(next successor, to store.Committed, byEnvironment map[access.EnvironmentID][]access.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revision, t.at = to.Revision, to.At
	t.snapshots.Store(&next.snapshots)
	for env, changes := range byEnvironment {
		switch {
		case deletes(changes):
			delete(t.states, env)
		case next.fresh[env] != nil:
			t.states[env] = next.fresh[env]
		default:
			t.states[env].Apply(changes...)
		}
	}
}

// deletes tells whether the changes of one revision delete the environment: then
// they delete all that is in it, and put nothing.
func deletes(changes []access.Change) bool {
	return slices.ContainsFunc(changes, func(c access.Change) bool {
		return c.Delete && c.Object.ObjectKind() == access.KindEnvironment
	})
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
