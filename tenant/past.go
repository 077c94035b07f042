package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/store"
)

// ErrNoRevision: the revision does not exist yet.
var ErrNoRevision = errors.New("no such revision")

// keptPasts is how many environments of the past are kept in memory, each as
// large as the one of now.
const keptPasts = 4

// past is one environment as it was at a revision.
type past struct {
	env access.EnvironmentID
	rev access.Revision

	ready    chan struct{} // closed when what follows is set
	state    *access.State
	snapshot *engine.Snapshot
	err      error
}

// pasts keeps those that were asked for last. Whoever first asks for one loads
// it, by the context of their own question; others wait, and one of them loads it
// in turn if the first gives up.
type pasts struct {
	loading chan struct{} // one at a time: each is large

	mu   sync.Mutex
	kept []*past // the one asked for last is last
}

func (p *pasts) get(ctx context.Context, env access.EnvironmentID, rev access.Revision, load func(*past) error) (*past, error) {
	for {
		if err := ctx.Err(); err != nil { // whoever has given up loads nothing
			return nil, err
		}
		one, mine := p.take(env, rev)
		if mine {
			one.err = p.load(ctx, one, load)
			if one.err != nil {
				p.drop(one)
			}
			close(one.ready)
			return one, one.err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-one.ready:
		}
		if !errors.Is(one.err, context.Canceled) && !errors.Is(one.err, context.DeadlineExceeded) {
			return one, one.err
		}
	}
}

func (p *pasts) load(ctx context.Context, one *past, load func(*past) error) error {
	select {
	case p.loading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.loading }()
	return load(one)
}

// take finds a past, or makes one that the caller must load.
func (p *pasts) take(env access.EnvironmentID, rev access.Revision) (one *past, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.kept, func(k *past) bool { return k.env == env && k.rev == rev }); i >= 0 {
		one = p.kept[i]
		p.kept = append(slices.Delete(p.kept, i, i+1), one)
		return one, false
	}
	one = &past{env: env, rev: rev, ready: make(chan struct{})}
	p.kept = append(p.kept, one)
	if len(p.kept) > keptPasts {
		p.kept = slices.Delete(p.kept, 0, len(p.kept)-keptPasts)
	}
	return one, true
}

func (p *pasts) drop(one *past) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = slices.DeleteFunc(p.kept, func(k *past) bool { return k == one })
}

// ReadAt calls f with one environment as it was at a revision; zero is the
// newest. It returns ErrNoRevision for a revision that is not made yet,
// ErrNoEnvironment where the environment did not exist then, and ErrStale where the
// newest is not known. What Read says of the view holds here as well; of the past
// it has no other environment.
func (t *Tenant) ReadAt(ctx context.Context, rev access.Revision, env access.EnvironmentID, f func(View) error) error {
	if err := t.Reach(ctx, rev); err != nil {
		return err
	}
	if rev == 0 {
		if err := t.Current(); err != nil {
			return err
		}
	}
	newest := false
	err := t.Read(func(v View) error {
		if newest = rev == 0 || rev == v.Revision; newest {
			return f(v)
		}
		return nil
	})
	if newest {
		return err
	}
	then, err := t.pasts.get(ctx, env, rev, func(p *past) error { return t.loadPast(ctx, p) })
	if err != nil {
		return err
	}
	return f(View{
		Revision: rev, Now: t.clock.Now(), states: map[access.EnvironmentID]*access.State{env: then.state},
		snapshots: map[access.EnvironmentID]*engine.Snapshot{env: then.snapshot},
	})
}

func (t *Tenant) loadPast(ctx context.Context, p *past) (err error) {
	p.state = access.NewState(p.env)
	err = t.store.LoadEnvironment(ctx, p.rev, p.env, func(o access.Object) error {
		p.state.Apply(access.Put(o))
		return nil
	})
	if err != nil {
		return err
	}
	if !p.state.Exists() {
		return fmt.Errorf("environment %q at revision %d: %w", p.env, p.rev, ErrNoEnvironment)
	}
	if p.snapshot, err = engine.New(p.state, p.rev); err != nil {
		return fmt.Errorf("compile environment %s at revision %d: %w", p.env, p.rev, err)
	}
	return nil
}

// RevisionAt is the newest revision that was committed at an instant or before.
// It returns ErrNoRevision where nothing was committed yet.
func (t *Tenant) RevisionAt(ctx context.Context, at time.Time) (access.Revision, error) {
	rev, err := t.store.RevisionAt(ctx, at)
	if errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("nothing was committed yet at %s: %w", at.UTC().Format(time.RFC3339Nano), ErrNoRevision)
	}
	return rev, err
}
