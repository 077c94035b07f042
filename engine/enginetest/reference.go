// Package enginetest holds what the engine and everything that answers like it
// is tested with: a reference evaluator, random organisations and questions, a
// shrinker for what they find, and decision tables in YAML.
//
// The reference is written from the rules of the access model, one rule a
// function, on the plain state, without an index and without a cache. It shares
// no code with package engine. It reads in the order of the model: question.go
// says what can be judged (Rule EVAL-1), gates.go who is in (EVAL-2), roles.go
// what is held (EVAL-3), records.go what is reached (EVAL-4 a to c, OWN-7 to
// OWN-9), hierarchy.go what reports pass up (HIER), columns.go what is secured
// within a record (FLS), impersonation.go who acts for whom (ACC-4), asks.go the
// questions that are many questions, and rulings.go who may change what.
package enginetest

import (
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Reference answers questions straight from the rules.
type Reference struct {
	State    *access.State
	Revision access.Revision
}

// Check answers as engine.Snapshot.Check does.
func (r Reference) Check(q engine.Question) (engine.Decision, error) {
	asked, err := r.eval1(q)
	if err != nil {
		return engine.Decision{}, err
	}
	d := r.decide(asked)
	d.ValidUntil = r.jit25(asked, d)
	d.Revision = r.Revision
	return d, nil
}

// jit25: the first instant at which only time has passed and the answer is
// another.
func (r Reference) jit25(q question, d engine.Decision) time.Time {
	for _, t := range r.boundaries() {
		if t.After(q.at) {
			later := q
			later.at = t
			if r.decide(later) != d {
				return t
			}
		}
	}
	return time.Time{}
}

// boundaries are the instants at which windows begin and end.
func (r Reference) boundaries() []time.Time {
	var all []time.Time
	for _, a := range r.State.Assignments {
		all = append(all, a.Window.Start, a.Window.End)
	}
	for _, s := range r.State.Shares {
		all = append(all, s.Window.Start, s.Window.End)
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.Compact(all)
}

// decide judges the user and, if there is one, the impersonator.
func (r Reference) decide(q question) engine.Decision {
	user := r.as(q.user, q.at, q)
	if q.impersonator != nil {
		return r.acc4(user, r.as(*q.impersonator, q.at, q))
	}
	return r.judge(user)
}

// judge goes by the order of evaluation (Rules EVAL-2 to EVAL-5, FLS-5).
func (r Reference) judge(q question) engine.Decision {
	if why := r.eval2(q); why != engine.Unknown {
		return engine.Decision{Reason: why}
	}
	if !r.eval3(q) {
		return engine.Decision{Reason: engine.NoPrivilege}
	}
	d := engine.Decision{Allowed: true, Reason: engine.Allowed}
	switch {
	case q.record == nil:
		d.Depth = r.greatestDepth(q)
	case q.table.Ownership != access.NotOwned && !r.eval4(q):
		return engine.Decision{Reason: engine.NoAccess}
	}
	if !r.fls5(q) {
		return engine.Decision{Reason: engine.NoColumnAccess}
	}
	return d
}
