package dirsync

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/tenant"
)

// ages are what a Syncer measured.
type ages struct {
	mu   sync.Mutex
	seen []time.Duration
}

func (a *ages) applied(_ directory.SourceID, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, took)
}

func (a *ages) take() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.seen
	a.seen = nil
	return out
}

// measured is loop with what is measured and recorded.
func measured(t *testing.T, sources []Source, during func(*Syncer, *ages, *idle)) {
	synctest.Test(t, func(t *testing.T) {
		st, a := &idle{}, &ages{}
		tn, err := tenant.Open(t.Context(), st, tenant.Options{})
		require.NoError(t, err)
		s := New(st, tn, Config{Sources: sources}, SyncerOptions{Applied: a.applied})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		during(s, a, st)
		stop()
		require.NoError(t, <-done)
	})
}

// growing has one more person in each round, if it is told to.
type growing struct {
	telling
	people atomic.Int64
}

func (g *growing) Read(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	if err := g.answer(g.rounds.Add(1)); err != nil {
		return err
	}
	if err := begin(directory.Delta); err != nil {
		return err
	}
	return yield(directory.Page{Upserts: []directory.Upsert{user(string(rune('a'+g.people.Load())), "")}, Complete: true, Cursor: []byte("here")})
}

func TestRule_SRC_9_how_old_a_change_can_have_been_is_measured(t *testing.T) {
	t.Run("from when the source told of it", func(t *testing.T) {
		g := &growing{}
		g.answer = func(int64) error { time.Sleep(30 * time.Millisecond); return nil }
		measured(t, []Source{{ID: "a", Reader: g, Interval: time.Hour}}, func(_ *Syncer, a *ages, _ *idle) {
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Empty(t, a.take(), "what was there at first is no change")
			g.people.Add(1)
			g.tell <- struct{}{}
			time.Sleep(time.Second)
			require.Equal(t, []time.Duration{30 * time.Millisecond}, a.take())
			g.tell <- struct{}{}
			time.Sleep(time.Second)
			require.Empty(t, a.take(), "it told of nothing that is new")
		})
	})
	t.Run("or else from the last round that did not see it", func(t *testing.T) {
		g := &growing{}
		g.answer = func(int64) error { return nil }
		measured(t, []Source{{ID: "a", Reader: onlyAsked{g}, Interval: time.Minute}}, func(_ *Syncer, a *ages, _ *idle) {
			time.Sleep(10 * time.Minute)
			require.Empty(t, a.take())
			g.people.Add(1)
			time.Sleep(2 * time.Minute)
			seen := a.take()
			require.Len(t, seen, 1)
			require.InDelta(t, 60, seen[0].Seconds(), 7)
		})
	})
	t.Run("a change that cannot be read yet waits", func(t *testing.T) {
		g, down := &growing{}, atomic.Bool{}
		g.answer = func(int64) error {
			if down.Load() {
				return directory.ErrUnreachable
			}
			return nil
		}
		measured(t, []Source{{ID: "a", Reader: g, Interval: time.Hour}}, func(s *Syncer, a *ages, _ *idle) {
			time.Sleep(time.Minute)
			synctest.Wait()
			require.True(t, s.Status().Sources[0].Unapplied.IsZero())
			down.Store(true)
			g.people.Add(1)
			told := time.Now()
			g.tell <- struct{}{}
			time.Sleep(time.Minute)
			require.Equal(t, told, s.Status().Sources[0].Unapplied)
			down.Store(false)
			time.Sleep(time.Hour)
			require.True(t, s.Status().Sources[0].Unapplied.IsZero())
			seen := a.take()
			require.Len(t, seen, 1)
			require.Greater(t, seen[0], time.Minute)
		})
	})
}

// onlyAsked is a source that is only asked.
type onlyAsked struct{ directory.Reader }

func TestRule_SRC_9_a_source_that_is_not_read_raises_an_alarm_and_denies_where_that_is_asked_for(t *testing.T) {
	var down atomic.Bool
	a := &answering{answer: func(int64) error {
		if down.Load() {
			return directory.ErrUnreachable
		}
		return nil
	}}
	source := Source{ID: "a", Reader: a, Interval: time.Minute, StaleAfter: time.Hour, Denial: Denial{After: 2 * time.Hour, Environments: []access.EnvironmentID{"crm"}}}
	measured(t, []Source{source}, func(s *Syncer, _ *ages, st *idle) {
		require.ErrorIs(t, s.Answerable("crm", s.now()), ErrStaleSource, "never read")
		time.Sleep(time.Minute)
		require.NoError(t, s.Answerable("crm", s.now()))
		down.Store(true)
		time.Sleep(59 * time.Minute)
		require.False(t, s.Status().Sources[0].Stale)
		time.Sleep(2 * time.Minute)
		require.True(t, s.Status().Sources[0].Stale)
		require.Len(t, st.recorded(operationStale), 1)
		require.NoError(t, s.Answerable("crm", s.now()), "Rule REL-4: what was read last goes on")
		time.Sleep(time.Hour)
		require.ErrorIs(t, s.Answerable("crm", s.now()), ErrStaleSource)
		require.NoError(t, s.Answerable("erp", s.now()), "which nobody asked to deny")
		down.Store(false)
		time.Sleep(20 * time.Minute)
		require.False(t, s.Status().Sources[0].Stale)
		require.Len(t, st.recorded("sync.source."), 2)
		require.Equal(t, "source/a", st.recorded(operationFresh)[0].Object)
		require.NoError(t, s.Answerable("crm", s.now()))
	})
}
