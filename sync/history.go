package dirsync

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// How much of a run is kept (Rule REL-8).
const (
	keptChanges = 1_000   // of a plan, for its file and its access to be kept
	keptUsers   = 1_000   // whom a plan reaches, for its access to be kept
	keptFile    = 1 << 18 // bytes
	keptText    = 1 << 16 // bytes
	keptError   = 2_000   // bytes
)

// run is a synchronization that goes on.
type run struct {
	store.Run
	// worth tells that it is kept whatever becomes of its plan: the mirrors have
	// changed, or a source could not be read.
	worth bool
	// stored: it was kept with its commit.
	stored bool
}

// newRun begins to tell of a synchronization that has read.
func (s *Syncer) newRun(o Options, report *Report) *run {
	r := &run{Run: store.Run{Cause: cmp.Or(o.cause, store.CauseRequest), Actor: o.Actor, Started: report.began, Sources: []store.RunSource{}}}
	for _, source := range report.Sources {
		told := store.RunSource{
			Source: source.Source, Mode: source.Mode.String(), Pages: source.Pages, Objects: source.Objects, Edges: source.Edges,
			Seconds: source.Elapsed.Seconds(), Changed: source.changed, Problems: source.ProblemCount,
		}
		if err := source.Err; err != nil && !errors.Is(err, directory.ErrNothingYet) {
			told.Error = cut(err.Error(), keptError)
		}
		r.worth = r.worth || told.Error != "" || told.Changed != store.MirrorChanges{}
		r.Sources = append(r.Sources, told)
	}
	return r
}

// follows is the run of a plan that this one's plan has made possible.
func (r *run) follows(now time.Time) *run {
	return &run{Run: store.Run{Cause: r.Cause, Actor: r.Actor, Started: now, Sources: []store.RunSource{}}}
}

// with is the run as it ends with a plan, nil if there is none, and an error.
func (r *run) with(plan *Plan, err error, now time.Time) store.Run {
	out := r.Run
	out.Ended, out.Result = now, store.RunNothing
	held := (*Held)(nil)
	switch {
	case errors.As(err, &held):
		out.Result = store.RunHeld
		if err.Error() != held.Error() {
			out.Error = cut(err.Error(), keptError)
		}
	case errors.Is(err, errOnlyPlanned):
		out.Result = store.RunPlanned
	case err != nil:
		out.Result, out.Error = store.RunFailed, cut(err.Error(), keptError)
	case plan != nil && !plan.Empty():
		out.Result = store.RunApplied
	default:
		for _, source := range out.Sources {
			if source.Error != "" {
				out.Result = store.RunFailed
			}
		}
	}
	if plan == nil {
		return out
	}
	for _, v := range plan.Violations {
		out.Guards = append(out.Guards, store.RunGuard{Guard: v.Guard, Environment: v.Environment, Problem: cut(v.Problem, keptError)})
	}
	if plan.Empty() {
		return out
	}
	out.Digest = plan.Digest()
	out.Changed = map[access.EnvironmentID]map[access.Kind]store.RunCounts{}
	for i := range plan.Environments {
		e := &plan.Environments[i]
		kinds := map[access.Kind]store.RunCounts{}
		for kind, n := range e.Counts() {
			kinds[kind] = store.RunCounts(n)
		}
		out.Changed[e.Environment] = kinds
	}
	out.Text, out.File = plan.kept(now)
	return out
}

// errOnlyPlanned stands for a plan that nobody asked to be applied.
var errOnlyPlanned = errors.New("only planned")

// kept is the plan as a run keeps it: its text, and its file if it is not too large.
func (p *Plan) kept(at time.Time) (text string, file []byte) {
	var b bytes.Buffer
	if err := p.writeText(&b, at, p.reaches() <= keptUsers); err != nil {
		fmt.Fprintf(&b, "The rest of the plan could not be written: %v\n", err)
	}
	if p.Len() > keptChanges {
		return cut(b.String(), keptText), nil
	}
	if file, err := p.File(at); err == nil && len(file) <= keptFile {
		return cut(b.String(), keptText), file
	}
	return cut(b.String(), keptText), nil
}

// reaches counts whom the plan can give or take something, up to one more than
// keptUsers.
func (p *Plan) reaches() int {
	if p.Len() > keptChanges {
		return keptUsers + 1
	}
	n := 0
	for _, e := range p.Environments {
		n += len(e.snapshot.Reached(e.changes))
	}
	return min(n, keptUsers+1)
}

// cut keeps the first n bytes of a text, in whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + " …"
}

// committing is the run as its commit keeps it. It is made beside the writing.
func (s *Syncer) committing(r *run, plan *Plan, refused error, beside *sync.WaitGroup) func() store.Run {
	now := s.now()
	made := sync.OnceValue(func() store.Run { return r.with(plan, refused, now) })
	beside.Go(func() { made() })
	return made
}

// keep keeps a run by itself, unless its commit did or there is nothing to tell: a
// round that brought nothing, or a plan that is held as it was before, writes
// nothing. Whoever fails again as before is counted in the run of the first time.
func (s *Syncer) keep(ctx context.Context, r *run, plan *Plan, cause error) {
	s.mu.Lock()
	fence, leads, keep := s.fence, s.leads, s.retention()
	s.mu.Unlock()
	of := r.sources()
	failed := cause != nil && !errors.Is(cause, ErrHeld) && !errors.Is(cause, errOnlyPlanned)
	switch {
	case !leads, errors.Is(cause, store.ErrFenced), errors.Is(cause, ErrNotLeading): // another one tells
		return
	case errors.Is(cause, store.ErrUnreachable), errors.Is(cause, store.ErrReadOnly), errors.Is(cause, context.Canceled): // it cannot be written
		return
	case r.stored || !r.worth && !failed:
		s.runsMu.Lock()
		delete(s.failing, of)
		s.runsMu.Unlock()
		return
	}
	told := r.with(plan, cause, s.now())
	s.runsMu.Lock()
	defer s.runsMu.Unlock()
	if told.Result == store.RunFailed && told.Digest == "" {
		told.Times = 1
		if before, again := s.failing[of]; again && sameFailure(before, told) {
			told.ID, told.Started, told.Times = before.ID, before.Started, before.Times+1
		}
	}
	id, err := s.store.PutRun(ctx, told, keep, fence)
	if err != nil {
		s.log.Warn("a run is not kept", "error", err)
		return
	}
	delete(s.failing, of)
	if told.Times > 0 {
		told.ID = id
		s.failing[of] = told
	}
}

// sources names the sources that a run has read.
func (r *run) sources() string {
	var b strings.Builder
	for _, source := range r.Sources {
		b.WriteString(string(source.Source) + " ")
	}
	return b.String()
}

// sameFailure tells whether a run failed as the one before and brought nothing.
func sameFailure(before, now store.Run) bool {
	if before.Error != now.Error || before.Actor != now.Actor || len(before.Sources) != len(now.Sources) {
		return false
	}
	for i, source := range now.Sources {
		if source.Error != before.Sources[i].Error || source.Changed != (store.MirrorChanges{}) {
			return false
		}
	}
	return true
}

// retention is what the configuration says. The caller holds s.mu.
func (s *Syncer) retention() store.Retention {
	return store.Retention{
		Runs: cmp.Or(s.config.KeepRuns.Runs, store.DefaultRetention.Runs), Age: cmp.Or(s.config.KeepRuns.Age, store.DefaultRetention.Age),
	}
}
