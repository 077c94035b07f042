package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	dirsync "github.com/ambit-iam/ambit/sync"
)

// reading is a synchronization that reads one source of two.
type reading struct{ still }

func (reading) Status() dirsync.Status {
	return dirsync.Status{Sources: []dirsync.SourceStatus{
		{Source: "corp", State: dirsync.StateReading, Running: &dirsync.Running{Mode: "full", Since: time.Unix(1, 0).UTC(), Pages: 2, Objects: 3, Edges: 4, Of: 9}},
		{Source: "entra", State: dirsync.StateWaiting},
	}}
}

func TestRule_PLAN_7_runs_are_listed_and_read(t *testing.T) {
	w := newWorld(t)
	w.sync = reading{}
	w.serve(w.store, nil)
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for n := range 5 {
		run := store.Run{
			Cause: store.CauseInterval, Started: at, Ended: at.Add(time.Duration(n) * time.Second), Result: store.RunApplied, Text: fmt.Sprint("plan ", n),
			Sources: []store.RunSource{{Source: "corp", Mode: "full", Objects: n}},
		}
		if n == 2 {
			run.Result, run.Error, run.Sources = store.RunFailed, "no answer", []store.RunSource{{Source: "entra", Mode: "delta"}}
		}
		_, err := w.store.PutRun(t.Context(), run, store.Retention{Runs: 10, Age: time.Hour}, 0)
		require.NoError(t, err)
	}
	list := func(query string) (ids []int64, answer api.Runs) {
		w.as("auditor", "GET", "/v1/runs"+query, nil).into(t, &answer)
		for _, r := range answer.Items {
			ids = append(ids, r.ID)
		}
		return ids, answer
	}
	ids, all := list("")
	require.Equal(t, []int64{5, 4, 3, 2, 1}, ids)
	require.Equal(t, []api.RunningRound{{
		Source: "corp", Running: dirsync.Running{Mode: "full", Since: time.Unix(1, 0).UTC(), Pages: 2, Objects: 3, Edges: 4, Of: 9},
	}}, all.Running)
	require.Equal(t, "no answer", all.Items[2].Error)
	ids, some := list("?source=entra")
	require.Equal(t, []int64{3}, ids)
	require.Empty(t, some.Running)
	ids, _ = list("?result=failed")
	require.Equal(t, []int64{3}, ids)

	// Page by page.
	var got []int64
	for query := "?source=corp&limit=3"; query != ""; {
		ids, page := list(query)
		got = append(got, ids...)
		if query = ""; page.NextCursor != "" {
			query = "?source=corp&limit=3&cursor=" + page.NextCursor
			require.Equal(t, "urn:ambit:problem:cursor-invalid", w.as("auditor", "GET", "/v1/runs?cursor="+page.NextCursor, nil).problem(t).Type, "of another list")
		}
	}
	require.Equal(t, []int64{5, 4, 2, 1}, got)

	var one api.KeptRun
	w.as("auditor", "GET", "/v1/runs/5", nil).into(t, &one)
	require.Equal(t, "plan 4", one.Plan)
	require.Equal(t, directory.SourceID("corp"), one.Sources[0].Source)
	require.False(t, one.Kept)

	// Whoever may not read plans may not read these.
	for _, path := range []string{"/v1/runs", "/v1/runs/5"} {
		require.Equal(t, http.StatusForbidden, w.as("app", "GET", path, nil).status)
		require.Equal(t, http.StatusForbidden, w.as("amelie", "GET", path, nil).status)
		require.Equal(t, http.StatusUnauthorized, w.as("", "GET", path, nil).status)
	}
	for path, status := range map[string]int{
		"/v1/runs/77": http.StatusNotFound, "/v1/runs/0": http.StatusNotFound, "/v1/runs/x": http.StatusNotFound,
		"/v1/runs?result=good": http.StatusUnprocessableEntity, "/v1/runs?source=%25": http.StatusUnprocessableEntity, "/v1/runs?cursor=x": http.StatusBadRequest,
	} {
		require.Equal(t, status, w.as("auditor", "GET", path, nil).problem(t).Status, path)
	}
}
