package dirsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// runs lists the kept ones, newest first, with their plans.
func (r *rig) runs() []store.Run {
	r.t.Helper()
	list, err := r.db.Runs(r.t.Context(), store.RunQuery{})
	require.NoError(r.t, err)
	for i := range list {
		list[i], err = r.db.Run(r.t.Context(), list[i].ID)
		require.NoError(r.t, err)
	}
	return list
}

func (r *rig) fails(err error) {
	r.source.does(func(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error {
		return err
	})
}

// leaver is company without bob's membership.
func leaver() []directory.Page {
	pages := company()
	pages[0].Members = []directory.Members{whole("g", "dn:cn=ann")}
	return pages
}

func TestRule_PLAN_7_a_run_that_did_something_is_kept_with_its_plan(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	asks := audit.Actor{Kind: audit.Local, ID: "root"}
	report, err := r.sync.Sync(t.Context(), Options{Actor: asks})
	require.NoError(t, err)

	kept := r.runs()
	require.Len(t, kept, 1)
	run := kept[0]
	require.Equal(t, store.CauseRequest, run.Cause)
	require.Equal(t, asks, run.Actor)
	require.False(t, run.Ended.Before(run.Started))
	require.Equal(t, store.RunApplied, run.Result)
	require.Equal(t, report.Revision, run.Revision)
	require.Equal(t, report.Plan.Digest(), run.Digest)
	require.Equal(t, store.RunCounts{Create: 3}, run.Changed["sales"][access.KindUser])
	require.Len(t, run.Sources, 1)
	read := run.Sources[0]
	require.Equal(t, directory.SourceID("corp"), read.Source)
	require.Equal(t, "full", read.Mode)
	require.Equal(t, [3]int{2, 4, 2}, [3]int{read.Pages, read.Objects, read.Edges})
	require.Equal(t, store.MirrorChanges{Put: 4, AddedEdges: 2}, read.Changed)
	var text bytes.Buffer
	require.NoError(t, report.Plan.WriteText(&text, run.Ended))
	require.Equal(t, text.String(), run.Text)
	require.Contains(t, run.Text, "Access gained")

	// Its file is the one that a plan is written down in.
	ref, err := ReadPlan("run", run.File)
	require.NoError(t, err)
	require.Equal(t, run.Digest, ref.Digest)
	require.Equal(t, report.Plan.Origin, ref.Origin)

	t.Run("one that brings nothing leaves nothing", func(t *testing.T) {
		r.mustSync()
		r.restart()
		r.mustSync()
		r.source.says(directory.Delta)
		r.mustSync()
		require.Len(t, r.runs(), 1)
	})

	t.Run("one that brings what the environments do not need is kept", func(t *testing.T) {
		r.source.says(directory.Delta, directory.Page{Upserts: []directory.Upsert{user("z", "cn=zoe", directory.AttrUserName, "zoe")}})
		r.mustSync()
		run := r.runs()[0]
		require.Equal(t, store.RunNothing, run.Result)
		require.Equal(t, "delta", run.Sources[0].Mode)
		require.Equal(t, store.MirrorChanges{Put: 1}, run.Sources[0].Changed)
		require.Empty(t, run.Digest)
		require.Empty(t, run.Text)
		require.Nil(t, run.File)
	})

	t.Run("a plan that is only looked at, once", func(t *testing.T) {
		r.source.says(directory.Delta, directory.Page{Members: []directory.Members{{Group: "g", Remove: []directory.Ref{"dn:cn=bob"}}}})
		before := len(r.runs())
		for range 2 {
			_, err := r.sync.Plan(t.Context(), Options{})
			require.NoError(t, err)
		}
		kept := r.runs()
		require.Len(t, kept, before+1)
		require.Equal(t, store.RunPlanned, kept[0].Result)
		require.Equal(t, store.MirrorChanges{RemovedEdges: 1}, kept[0].Sources[0].Changed)
		require.Contains(t, kept[0].Text, "- membership bob in sales-north\n")
		require.Equal(t, kept[0].Digest, r.mustSync().Plan.Digest())
		require.Equal(t, store.RunApplied, r.runs()[0].Result)
	})
}

func TestRule_PLAN_7_a_held_plan_is_kept_with_the_guard_that_holds_it(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+"guards: {team_share: 0.1, remove_members: {max: 0}}\n")
	r.source.says(directory.Full, company()...)
	r.mustSync()
	r.source.says(directory.Full, leaver()...)
	held := (*Held)(nil)
	for range 3 {
		_, err := r.sync.Sync(t.Context(), Options{})
		require.ErrorAs(t, err, &held)
	}
	kept := r.runs()
	require.Len(t, kept, 2, "that it is held still is not told again")
	require.Equal(t, store.RunHeld, kept[0].Result)
	require.Zero(t, kept[0].Revision)
	require.Equal(t, held.Digest, kept[0].Digest)
	require.Equal(t, "remove_members", kept[0].Guards[0].Guard)
	require.Equal(t, access.EnvironmentID("sales"), kept[0].Guards[0].Environment)
	require.Contains(t, kept[0].Text, "This plan is held")
	require.NotEmpty(t, kept[0].File)

	// A person accepts it.
	_, err := r.sync.Sync(t.Context(), Options{Accept: held.Digest, Reason: "he left"})
	require.NoError(t, err)
	require.Equal(t, store.RunApplied, r.runs()[0].Result)
	require.Equal(t, held.Digest, r.runs()[0].Digest)
	require.Equal(t, "remove_members", r.runs()[0].Guards[0].Guard, "that held it")
}

func TestRule_PLAN_7_a_run_that_fails_is_kept_and_one_that_fails_again_is_counted(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	for range 3 {
		r.fails(directory.ErrUnreachable)
		_, err := r.sync.Sync(t.Context(), Options{})
		require.ErrorIs(t, err, directory.ErrUnreachable)
	}
	kept := r.runs()
	require.Equal(t, store.RunFailed, kept[0].Result)
	require.Contains(t, kept[0].Sources[0].Error, "read source corp: ")
	require.Equal(t, 2, kept[0].Times, "after the first, which made the environment")
	require.Equal(t, store.RunApplied, kept[1].Result)
	require.Equal(t, kept[0].Sources[0].Error, kept[1].Sources[0].Error)
	require.Len(t, kept, 2)

	r.fails(directory.ErrAuth) // another fault
	_, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrAuth)
	require.Equal(t, 1, r.runs()[0].Times)
	require.Len(t, r.runs(), 3)

	r.source.says(directory.Full, company()...)
	r.mustSync()
	r.fails(directory.ErrAuth) // the same, after it went well
	_, err = r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrAuth)
	require.Len(t, r.runs(), 5)
	require.Equal(t, 1, r.runs()[0].Times)

	t.Run("a source that has said nothing yet has not failed", func(t *testing.T) {
		r.fails(fmt.Errorf("waiting: %w", directory.ErrNothingYet))
		_, err := r.sync.Sync(t.Context(), Options{})
		require.ErrorIs(t, err, directory.ErrNothingYet)
		require.Len(t, r.runs(), 5)
	})

	t.Run("what others said is applied all the same", func(t *testing.T) {
		other := &fake{}
		other.says(directory.Full, directory.Page{})
		r.fails(directory.ErrAuth)
		c := r.config()
		c.Sources = append(c.Sources, Source{ID: "cloud", Reader: other})
		r.sync.Replace(c)
		_, err := r.sync.Sync(t.Context(), Options{})
		require.ErrorIs(t, err, directory.ErrAuth)
		run := r.runs()[0]
		require.Equal(t, store.RunFailed, run.Result)
		require.Empty(t, run.Sources[1].Error)
		require.NotEmpty(t, run.Sources[0].Error)
	})
}

// refusing is a store whose commits of a plan fail.
type refusing struct {
	Store
	puts atomic.Int64
}

func (s *refusing) PutRun(context.Context, store.Run, store.Retention, int64) (int64, error) {
	s.puts.Add(1)
	return 0, errors.New("no space")
}

func TestRule_PLAN_7_a_run_that_cannot_be_kept_stops_nothing(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	st := &refusing{Store: r.db}
	r.sync = New(st, r.tenant, r.config(), SyncerOptions{})
	r.source.says(directory.Full, company()...)
	r.mustSync()
	r.source.says(directory.Delta, directory.Page{Upserts: []directory.Upsert{user("z", "cn=zoe", directory.AttrUserName, "zoe")}})
	r.mustSync()
	require.EqualValues(t, 1, st.puts.Load())
}

func TestRule_REL_8_what_is_kept_of_a_run_is_bounded(t *testing.T) {
	r := newRig(t, staffModel, staffRules+"guards: {privileged: {max: 100000}}\n")
	r.source.says(directory.Full, staff(2000))
	r.mustSync()
	large := r.runs()[0]
	require.Nil(t, large.File)
	require.Contains(t, large.Text, "Access gained and lost: left out, of a plan this large")
	require.Contains(t, large.Text, "+ … and 1980 more of these")
	require.Less(t, len(large.Text), keptText)
	require.Equal(t, 2000, large.Changed["sales"][access.KindUser].Create)

	c := r.config()
	c.KeepRuns = store.Retention{Runs: 2, Age: time.Hour}
	r.sync.Replace(c)
	for n := range 4 {
		r.source.says(directory.Delta, directory.Page{Upserts: []directory.Upsert{user(fmt.Sprint("n", n), "", directory.AttrUserName, fmt.Sprint("n", n))}})
		r.mustSync()
	}
	require.Len(t, r.runs(), 2)

	require.Equal(t, "aä", cut("aä", 3))
	require.Equal(t, "a …", cut("aää", 2), "no half characters")
}

func TestRule_SRC_9_how_far_a_round_has_come_is_told(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	require.Nil(t, r.sync.Status().Sources[0].Running)
	taken, finish := make(chan struct{}), make(chan struct{})
	r.source.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		if err := begin(directory.Full); err != nil {
			return err
		}
		if err := yield(company()[0]); err != nil {
			return err
		}
		close(taken)
		<-finish
		return yield(directory.Page{Complete: true})
	})
	done := make(chan error)
	go func() {
		_, err := r.sync.Sync(context.Background(), Options{})
		done <- err
	}()
	<-taken
	running := r.sync.Status().Sources[0].Running
	require.NotNil(t, running)
	require.False(t, running.Since.IsZero())
	require.Equal(t, Running{Mode: "full", Since: running.Since, Pages: 1, Objects: 4, Edges: 2, Of: 4}, *running)
	close(finish)
	require.NoError(t, <-done)
	require.Nil(t, r.sync.Status().Sources[0].Running)
}

func TestRule_PLAN_7_a_run_tells_why_it_began(t *testing.T) {
	g := &growing{}
	g.answer = func(int64) error { return nil }
	measured(t, []Source{{ID: "a", Reader: g, Interval: time.Hour}}, func(s *Syncer, _ *ages, st *idle) {
		kept := func() (causes []store.RunCause) {
			st.mu.Lock()
			defer st.mu.Unlock()
			for _, r := range st.runs {
				// What ships is committed by whoever is first: the start, or the first round.
				if r.Cause != store.CauseFiles {
					causes = append(causes, r.Cause)
				}
			}
			return causes
		}
		time.Sleep(time.Minute)
		synctest.Wait() // from here on its channels are there for this goroutine, too
		require.Equal(t, []store.RunCause{store.CauseInterval}, kept())
		g.people.Add(1)
		g.tell <- struct{}{}
		time.Sleep(time.Minute)
		require.Equal(t, []store.RunCause{store.CauseInterval, store.CauseNotification}, kept())
		g.people.Add(1)
		time.Sleep(2 * time.Hour)
		require.Equal(t, []store.RunCause{store.CauseInterval, store.CauseNotification, store.CauseInterval}, kept())
	})
}
