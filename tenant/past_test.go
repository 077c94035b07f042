package tenant_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/tenant"
)

// loads counts how often an environment is loaded, and can hold it up.
type loads struct {
	*sqlstore.DB
	count atomic.Int64
	hold  chan struct{} // nil: not
}

func (l *loads) LoadEnvironment(ctx context.Context, rev access.Revision, env access.EnvironmentID, yield func(access.Object) error) error {
	l.count.Add(1)
	if l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return l.DB.LoadEnvironment(ctx, rev, env, yield)
}

func readAt(ctx context.Context, on *tenant.Tenant, rev access.Revision) (allowed bool, err error) {
	err = on.ReadAt(ctx, rev, sales, func(v tenant.View) error {
		snapshot, err := v.Snapshot(sales)
		if err != nil {
			return err
		}
		if v.Revision != snapshot.Revision() {
			return errors.New("the view is of another revision than its snapshot")
		}
		d, err := snapshot.Check(engine.Question{User: "u", Action: access.Read, Table: "account", At: v.Now})
		allowed = d.Allowed
		return err
	})
	return allowed, err
}

func TestThePastIsAsItWas(t *testing.T) {
	st := &loads{DB: onSQLite(t)}
	on := open(t, st, tenant.Options{})
	first := commit(t, on, world("other")...)
	made := commit(t, on, world(sales)...)
	joined := commit(t, on, access.Put(member(sales, "u")))
	left := commit(t, on, access.Remove(member(sales, "u")))
	for rev, want := range map[access.Revision]bool{made.Revision: false, joined.Revision: true, left.Revision: false, 0: false} {
		for range 2 {
			got, err := readAt(t.Context(), on, rev)
			require.NoError(t, err)
			require.Equal(t, want, got, "at revision %d", rev)
		}
	}
	require.EqualValues(t, 2, st.count.Load(), "the newest is in memory, and what was asked for is kept")

	_, err := readAt(t.Context(), on, first.Revision)
	require.ErrorIs(t, err, tenant.ErrNoEnvironment)
	_, err = readAt(t.Context(), on, left.Revision+1)
	require.ErrorIs(t, err, tenant.ErrNoRevision)

	for at, want := range map[time.Time]access.Revision{joined.At: joined.Revision, left.At.Add(-time.Microsecond): joined.Revision, left.At.Add(time.Hour): left.Revision} {
		got, err := on.RevisionAt(t.Context(), at)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = on.RevisionAt(t.Context(), first.At.Add(-time.Microsecond))
	require.ErrorIs(t, err, tenant.ErrNoRevision)

	t.Run("what another process commits is followed", func(t *testing.T) {
		other := open(t, st.DB, tenant.Options{})
		done := commit(t, other, access.Put(member(sales, "u")))
		got, err := readAt(t.Context(), on, done.Revision)
		require.NoError(t, err)
		require.True(t, got)
	})
	t.Run("what was asked for long ago is loaded anew", func(t *testing.T) {
		var revisions []access.Revision
		for range 5 {
			revisions = append(revisions, commit(t, on, access.Put(user(sales, "x"))).Revision)
		}
		commit(t, on, access.Put(user(sales, "y")))
		for _, rev := range revisions {
			_, err := readAt(t.Context(), on, rev)
			require.NoError(t, err)
		}
		before := st.count.Load()
		_, err := readAt(t.Context(), on, revisions[4])
		require.NoError(t, err)
		require.Equal(t, before, st.count.Load())
		_, err = readAt(t.Context(), on, revisions[0])
		require.NoError(t, err)
		require.Equal(t, before+1, st.count.Load())
	})
}

func TestThePastIsLoadedOnceForAllWhoAsk(t *testing.T) {
	st := &loads{DB: onSQLite(t), hold: make(chan struct{})}
	on := open(t, st, tenant.Options{})
	commit(t, on, world(sales)...)
	joined := commit(t, on, access.Put(member(sales, "u")))
	commit(t, on, access.Remove(member(sales, "u")))

	// The first gives up; one of the others loads in its place.
	gone, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	ask := func(ctx context.Context, want error) {
		group.Go(func() {
			allowed, err := readAt(ctx, on, joined.Revision)
			if !errors.Is(err, want) || allowed != (want == nil) {
				t.Errorf("allowed %t, error %v, want %v", allowed, err, want)
			}
		})
	}
	ask(gone, context.Canceled)
	require.Eventually(t, func() bool { return st.count.Load() == 1 }, time.Minute, time.Millisecond)
	impatient, cancelImpatient := context.WithCancel(t.Context())
	ask(impatient, context.Canceled)
	cancelImpatient()
	for range 8 {
		ask(t.Context(), nil)
	}
	cancel()
	require.Eventually(t, func() bool { return st.count.Load() == 2 }, time.Minute, time.Millisecond)
	close(st.hold)
	group.Wait()
	require.EqualValues(t, 2, st.count.Load())
}
