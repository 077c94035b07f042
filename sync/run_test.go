package dirsync

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// idle is a store and tenant for the loop alone: nothing is ever to be changed in
// it but Ambit's own environment. A database's goroutines do not fit into a
// synctest bubble.
type idle struct {
	commits atomic.Int64
	mu      sync.Mutex
	events  []audit.Event // that were recorded
	runs    []store.Run   // that were kept
}

func (i *idle) LoadMirror(context.Context, directory.SourceID, func(store.MirrorRow) error) (store.MirrorStatus, error) {
	return store.MirrorStatus{}, nil
}

func (i *idle) CommitMirror(context.Context, store.MirrorPage) error { i.commits.Add(1); return nil }

func (i *idle) Changes(context.Context, access.Revision, access.Revision, func(access.Revision, store.Difference) error) error {
	return nil
}

func (i *idle) Audit(_ context.Context, q store.AuditQuery) ([]audit.Event, error) {
	found := i.recorded(q.Operation)
	return found[max(0, len(found)-q.Limit):], nil
}

// recorded are the events whose operation begins so, the last one last.
func (i *idle) recorded(operation string) (found []audit.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.events {
		if strings.HasPrefix(e.Operation, operation) {
			found = append(found, e)
		}
	}
	return found
}
func (i *idle) Lead(context.Context, string) (int64, bool, error) { return 0, true, nil }
func (i *idle) Newest(context.Context) (store.Committed, error)   { return store.Committed{}, nil }
func (i *idle) Load(context.Context, access.Revision, func(access.Object) error) error {
	return nil
}

func (i *idle) LoadEnvironment(context.Context, access.Revision, access.EnvironmentID, func(access.Object) error) error {
	return nil
}
func (i *idle) RevisionAt(context.Context, time.Time) (access.Revision, error) { return 0, nil }
func (i *idle) Commit(_ context.Context, c store.Commit) (store.Committed, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.events = append(i.events, c.Events...)
	if c.Run != nil {
		i.runs = append(i.runs, c.Run())
	}
	return store.Committed{Revision: c.Base + 1, At: c.At}, nil
}

func (i *idle) CommittedAt(context.Context, access.Revision) (time.Time, error) {
	return time.Time{}, nil
}

func (i *idle) PutRun(_ context.Context, r store.Run, _ store.Retention, _ int64) (int64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.runs = append(i.runs, r)
	return int64(len(i.runs)), nil
}
func (i *idle) Watch(context.Context, func()) error { return nil }
func (i *idle) MirrorsCompleted(context.Context) (map[directory.SourceID]time.Time, error) {
	return nil, nil
}
func (i *idle) Watermark(context.Context) (time.Time, error)  { return time.Time{}, nil }
func (i *idle) SetWatermark(context.Context, time.Time) error { return nil }

// loop runs a synchronizer in a bubble, in which time passes by itself.
func loop(t *testing.T, sources []Source, during func(*Syncer)) {
	synctest.Test(t, func(t *testing.T) {
		st := &idle{}
		tn, err := tenant.Open(t.Context(), st, tenant.Options{})
		require.NoError(t, err)
		s := New(st, tn, Config{Sources: sources}, SyncerOptions{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		during(s)
		stop()
		require.NoError(t, <-done)
	})
}

// answering counts rounds and answers each with an error or completely.
type answering struct {
	rounds atomic.Int64
	answer func(round int64) error
}

func (a *answering) Probe(context.Context) ([]string, error) { return nil, nil }
func (a *answering) Read(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	if err := a.answer(a.rounds.Add(1)); err != nil {
		return err
	}
	if err := begin(directory.Full); err != nil {
		return err
	}
	return yield(directory.Page{Upserts: []directory.Upsert{user("a", "")}, Complete: true})
}

func TestRun_reads_each_source_at_its_interval(t *testing.T) {
	a := &answering{answer: func(int64) error { return nil }}
	b := &answering{answer: func(int64) error { return nil }}
	loop(t, []Source{{ID: "a", Reader: a, Interval: time.Minute}, {ID: "b", Reader: b, Interval: time.Hour}}, func(s *Syncer) {
		time.Sleep(time.Hour - 10*time.Minute)
		require.InDelta(t, 50, a.rounds.Load(), 5)
		require.EqualValues(t, 1, b.rounds.Load())
		status := s.Status()
		require.Equal(t, a.rounds.Load(), status.Sources[0].Rounds)
		require.Less(t, status.Sources[0].Age, 70*time.Second)
		require.Greater(t, status.Sources[1].Age, 49*time.Minute)
		require.False(t, status.Sources[1].Next.IsZero())
	})
}

func TestRun_waits_longer_after_each_failure_and_recovers(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	a := &answering{answer: func(int64) error {
		if down.Load() {
			return directory.ErrUnreachable
		}
		return nil
	}}
	b := &answering{answer: func(int64) error { return nil }}
	loop(t, []Source{{ID: "a", Reader: a, Interval: time.Minute}, {ID: "b", Reader: b, Interval: time.Minute}}, func(s *Syncer) {
		time.Sleep(time.Minute)
		require.InDelta(t, 4, a.rounds.Load(), 1, "after 5, 10, 20 seconds")
		time.Sleep(23 * time.Hour)
		require.InDelta(t, 23*4+8, a.rounds.Load(), 30, "every quarter of an hour")
		require.InDelta(t, 23*60, b.rounds.Load(), 140, "the other is not kept waiting")
		require.Equal(t, int(a.rounds.Load()), s.Status().Sources[0].Failures)
		down.Store(false)
		time.Sleep(20 * time.Minute)
		require.Zero(t, s.Status().Sources[0].Failures)
		require.Equal(t, StateWaiting, s.Status().Sources[0].State)
	})
}

func TestRule_SCIM_8_a_source_that_has_said_nothing_yet_is_asked_again_soon(t *testing.T) {
	var begun atomic.Bool
	a := &answering{answer: func(int64) error {
		if !begun.Load() {
			return directory.ErrNothingYet
		}
		return nil
	}}
	loop(t, []Source{{ID: "a", Reader: a, Interval: time.Hour}}, func(s *Syncer) {
		time.Sleep(10*time.Hour + time.Second)
		require.EqualValues(t, 3601, a.rounds.Load(), "it may begin at any time")
		require.Equal(t, StateFailed, s.Status().Sources[0].State, "and is not taken for empty")
		begun.Store(true)
		time.Sleep(leadPause)
		require.Equal(t, StateWaiting, s.Status().Sources[0].State)
	})
}

func TestRule_GRAPH_27_the_loop_waits_as_long_as_the_source_asks(t *testing.T) {
	a := &answering{answer: func(round int64) error {
		if round == 1 {
			return errors.Join(directory.ErrIncomplete, &directory.Throttled{RetryAfter: 5 * time.Hour})
		}
		return nil
	}}
	loop(t, []Source{{ID: "a", Reader: a, Interval: time.Minute}}, func(*Syncer) {
		time.Sleep(5*time.Hour - time.Minute)
		require.EqualValues(t, 1, a.rounds.Load())
		time.Sleep(2 * time.Minute)
		require.GreaterOrEqual(t, a.rounds.Load(), int64(2))
	})
}

// metered counts what its rounds cost.
type metered struct{ answering }

func (m *metered) Usage() directory.Usage {
	n := m.rounds.Load()
	return directory.Usage{Requests: 2 * n, Units: 3 * n}
}

func TestRule_GRAPH_26_what_reading_costs_is_published(t *testing.T) {
	a := &metered{answering{answer: func(round int64) error {
		if round == 2 {
			return directory.ErrIncomplete // it has cost something all the same
		}
		return nil
	}}}
	b := &answering{answer: func(int64) error { return nil }}
	loop(t, []Source{{ID: "a", Reader: a, Interval: time.Minute}, {ID: "b", Reader: b, Interval: time.Minute}}, func(s *Syncer) {
		time.Sleep(time.Second)
		require.Equal(t, &directory.Usage{Requests: 2, Units: 3}, s.Status().Sources[0].Usage)
		require.Nil(t, s.Status().Sources[1].Usage)
		time.Sleep(65 * time.Second)
		n := a.rounds.Load()
		require.Greater(t, n, int64(1))
		require.Equal(t, &directory.Usage{Requests: 2 * n, Units: 3 * n}, s.Status().Sources[0].Usage)
	})
}

func TestRule_REL_14_a_new_configuration_takes_effect_at_once(t *testing.T) {
	a := &answering{answer: func(int64) error { return nil }}
	b := &answering{answer: func(int64) error { return nil }}
	loop(t, []Source{{ID: "a", Reader: a, Interval: time.Hour}}, func(s *Syncer) {
		time.Sleep(time.Minute)
		s.Replace(Config{Sources: []Source{{ID: "b", Reader: b, Interval: time.Hour}}})
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, a.rounds.Load())
		require.EqualValues(t, 1, b.rounds.Load())
		require.Len(t, s.Status().Sources, 1)
		time.Sleep(3 * time.Hour)
		require.EqualValues(t, 1, a.rounds.Load())
	})
}

func TestRun_a_round_that_hangs_is_ended(t *testing.T) {
	hanging := &fake{}
	hanging.does(func(ctx context.Context, _ directory.Start, begin func(directory.Mode) error, _ func(directory.Page) error) error {
		if err := begin(directory.Full); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	loop(t, []Source{{ID: "a", Reader: hanging, Timeout: time.Minute}}, func(s *Syncer) {
		time.Sleep(time.Minute + time.Second)
		require.Equal(t, StateFailed, s.Status().Sources[0].State)
		require.Contains(t, s.Status().Sources[0].Error, "deadline")
	})
}

// telling says of itself when it has changed.
type telling struct {
	answering
	watches atomic.Int64
	tell    chan struct{}
	end     chan struct{}
}

func (w *telling) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	return w.answering.Read(ctx, start, begin, func(p directory.Page) error {
		p.Cursor = []byte("here")
		return yield(p)
	})
}

func (w *telling) Watch(ctx context.Context, start directory.Start, changed func()) error {
	if w.watches.Add(1) == 1 { // channels are of the bubble in which they are made
		w.tell, w.end = make(chan struct{}), make(chan struct{})
	}
	if string(start.Cursor) != "here" {
		return errors.New("watched from elsewhere")
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.tell:
			changed()
		case <-w.end:
			return directory.ErrUnreachable
		}
	}
}

func TestRule_LDAP_24_a_watch_makes_rounds_come_sooner_and_no_more(t *testing.T) {
	var down atomic.Bool
	w := &telling{}
	w.answer = func(int64) error {
		time.Sleep(50 * time.Millisecond) // what is told meanwhile comes together
		if down.Load() {
			return directory.ErrUnreachable
		}
		return nil
	}
	loop(t, []Source{{ID: "a", Reader: w, Interval: time.Hour}}, func(*Syncer) {
		time.Sleep(time.Minute)
		synctest.Wait() // from here on its channels are there for this goroutine, too
		require.EqualValues(t, 1, w.rounds.Load())
		require.EqualValues(t, 1, w.watches.Load())
		for range 1000 {
			w.tell <- struct{}{}
		}
		time.Sleep(time.Second)
		require.InDelta(t, 2, w.rounds.Load(), 1, "changes that come together are one round's")
		rounds := w.rounds.Load()
		w.end <- struct{}{}
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, w.watches.Load(), "a watch that ends is taken up again")
		time.Sleep(2 * time.Hour)
		require.InDelta(t, float64(rounds+2), float64(w.rounds.Load()), 1, "and where nothing is told the interval holds")
		down.Store(true)
		w.tell <- struct{}{}
		time.Sleep(time.Second)
		rounds = w.rounds.Load()
		for range 10 {
			w.tell <- struct{}{}
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, rounds, w.rounds.Load(), "a source that cannot be read is not asked more often")
	})
}
