package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// keepAll keeps every run of a test.
var keepAll = store.Retention{Runs: 1000, Age: 24 * time.Hour}

// applied is a run that read these sources and applied a plan.
func applied(sources ...directory.SourceID) store.Run {
	r := store.Run{
		Cause: store.CauseNotification, Actor: audit.Actor{Kind: audit.Local, ID: "ada"}, Started: start, Ended: start.Add(time.Second),
		Sources: []store.RunSource{}, Result: store.RunApplied, Digest: "sha256:1",
		Changed: map[access.EnvironmentID]map[access.Kind]store.RunCounts{"dev": {access.KindUser: {Create: 1, Update: 2, Delete: 3}}},
		Guards:  []store.RunGuard{{Guard: "remove_members", Environment: "dev", Problem: "too many"}},
		Text:    "a plan with ümlauts\n", File: []byte{0x1f, 0x8b, 0},
	}
	for _, id := range sources {
		r.Sources = append(r.Sources, store.RunSource{
			Source: id, Mode: "delta", Pages: 2, Objects: 3, Edges: 4, Seconds: 0.5, Problems: 1,
			Changed: store.MirrorChanges{Put: 1, Deleted: 2, AddedEdges: 3, RemovedEdges: 4},
		})
	}
	return r
}

func runs(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	ctx := t.Context()
	ids := func(q store.RunQuery) []int64 {
		list, err := db.Runs(ctx, q)
		require.NoError(t, err)
		out := []int64{}
		for _, r := range list {
			require.Empty(t, r.Text, "a list has no plans")
			require.Nil(t, r.File)
			out = append(out, r.ID)
		}
		return out
	}
	require.Empty(t, ids(store.RunQuery{}))
	_, err := db.Run(ctx, 1)
	require.ErrorIs(t, err, store.ErrNotFound)

	// With a commit, which gives it its revision.
	commit(t, db)
	want := applied("corp", "entra")
	done, err := db.Commit(ctx, store.Commit{
		Base: 1, At: start, Events: []audit.Event{event("x")}, Run: func() store.Run { return want }, KeepRuns: keepAll,
	})
	require.NoError(t, err)
	want.ID, want.Revision = 1, done.Revision
	got, err := db.Run(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, []int64{1}, ids(store.RunQuery{}))
	held := applied()
	held.Result = store.RunHeld
	_, err = db.Commit(ctx, store.Commit{Base: 2, At: start, Events: []audit.Event{event("x")}, Run: func() store.Run { return held }, KeepRuns: keepAll})
	require.NoError(t, err)
	got, err = db.Run(ctx, 2)
	require.NoError(t, err)
	require.Zero(t, got.Revision, "a plan that is held changed nothing")

	// By itself, and again in place of the first.
	failed := store.Run{
		Cause: store.CauseInterval, Started: start, Ended: start, Sources: []store.RunSource{{Source: "corp", Error: "no\x00answer"}}, Result: store.RunFailed,
		Error: "broken \xff text", Text: "nul \x00 and \xff", Times: 1,
	}
	id, err := db.PutRun(ctx, failed, keepAll, 0)
	require.NoError(t, err)
	require.EqualValues(t, 3, id)
	failed.ID, failed.Times, failed.Ended = id, 2, start.Add(time.Hour)
	again, err := db.PutRun(ctx, failed, keepAll, 0)
	require.NoError(t, err)
	require.Equal(t, id, again)
	got, err = db.Run(ctx, id)
	require.NoError(t, err)
	require.Equal(t, 2, got.Times)
	require.Equal(t, failed.Ended, got.Ended)
	require.Equal(t, "broken \uFFFD text", got.Error, "no text keeps a run from being kept")
	require.Equal(t, "nul \uFFFD and \uFFFD", got.Text)

	// What is asked for.
	require.Equal(t, []int64{3, 2, 1}, ids(store.RunQuery{}))
	require.Equal(t, []int64{3, 1}, ids(store.RunQuery{Source: "corp"}))
	require.Equal(t, []int64{1}, ids(store.RunQuery{Source: "entra"}))
	require.Empty(t, ids(store.RunQuery{Source: "cor"}), "no part of a name")
	require.Equal(t, []int64{2}, ids(store.RunQuery{Result: store.RunHeld}))
	require.Equal(t, []int64{3, 2}, ids(store.RunQuery{Limit: 2}))
	require.Equal(t, []int64{1}, ids(store.RunQuery{Limit: 2, Before: 2}))

	// Bounds of number and of age (Rule REL-8). No id is given twice.
	for n := range 5 {
		late := applied(directory.SourceID(fmt.Sprint("s", n)))
		late.Ended = start.Add(2 * time.Hour)
		_, err := db.PutRun(ctx, late, store.Retention{Runs: 3, Age: 24 * time.Hour}, 0)
		require.NoError(t, err)
	}
	require.Equal(t, []int64{8, 7, 6}, ids(store.RunQuery{}))
	old := applied("corp")
	old.Ended = start.Add(25 * time.Hour)
	_, err = db.PutRun(ctx, old, store.Retention{Runs: 3, Age: time.Hour}, 0)
	require.NoError(t, err)
	require.Equal(t, []int64{9}, ids(store.RunQuery{}))
	old.ID = 4 // it is gone
	id, err = db.PutRun(ctx, old, keepAll, 0)
	require.NoError(t, err)
	require.EqualValues(t, 10, id)
}
