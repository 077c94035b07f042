package api

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	dirsync "github.com/ambit-iam/ambit/sync"
)

func (s *Server) runRoutes() {
	handle(s, Route{"GET", "/v1/runs", model.TablePlan, access.Read}, "list-runs", "List what synchronizations did, newest first, with those that go on", s.listRuns)
	handle(s, Route{"GET", "/v1/runs/{id}", model.TablePlan, access.Read}, "get-run", "Read one run with its plan", s.getRun)
}

type runsInput struct {
	Source directory.SourceID `query:"source" pattern:"^[a-z0-9-]*$" doc:"only runs that read this source"`
	Result store.RunResult    `query:"result" enum:"applied,nothing,held,planned,failed"`
	Cursor string             `query:"cursor"`
	Limit  int                `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// Runs are kept runs, and the rounds that go on.
type Runs struct {
	Running []RunningRound `json:"running" doc:"what is being read now, by the process that answers: that is the one that leads"`
	Page[store.Run]
}

// RunningRound is how far the reading of a source has come.
type RunningRound struct {
	Source directory.SourceID `json:"source"`
	dirsync.Running
}

func (s *Server) listRuns(ctx context.Context, in *runsInput) (*struct{ Body Runs }, error) {
	q := store.RunQuery{Source: in.Source, Result: in.Result, Limit: in.Limit + 1}
	filter := []any{"runs", in.Source, in.Result}
	var err error
	if q.Before, err = readNumberCursor(ctx, in.Cursor, filter...); err != nil {
		return nil, err
	}
	runs, err := s.store.Runs(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body Runs }{Runs{Running: []RunningRound{}}}
	for _, st := range s.sync.Status().Sources {
		if st.Running != nil && (in.Source == "" || in.Source == st.Source) {
			out.Body.Running = append(out.Body.Running, RunningRound{st.Source, *st.Running})
		}
	}
	out.Body.Revision = s.tenant.Revision()
	if len(runs) > in.Limit {
		runs = runs[:in.Limit]
		out.Body.NextCursor = makeNumberCursor(ctx, runs[in.Limit-1].ID, filter...)
	}
	out.Body.Items = runs
	return out, nil
}

type runInput struct {
	ID   string `path:"id" doc:"a number"`
	File bool   `query:"file" doc:"answer with the plan's file as well"`
}

// KeptRun is a run with its plan.
type KeptRun struct {
	store.Run
	Plan string `json:"plan,omitempty" doc:"as people read it"`
	Kept bool   `json:"plan_file_kept" doc:"whether the plan's file is kept: that of a large plan is not"`
	File []byte `json:"file,omitempty" doc:"the plan's file, where it was asked for and is kept"`
}

func (s *Server) getRun(ctx context.Context, in *runInput) (*struct{ Body KeptRun }, error) {
	id, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("run %q: runs have numbers: %w", in.ID, store.ErrNotFound)
	}
	run, err := s.store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body KeptRun }{KeptRun{Run: run, Plan: run.Text, Kept: len(run.File) > 0}}
	if in.File && out.Body.Kept {
		out.Body.File = run.File
	}
	return out, nil
}
