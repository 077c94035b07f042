package dirsync

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// Errors a caller may branch on.
var (
	// ErrHeld: a guard holds the plan; nothing was changed. See Held.
	ErrHeld = errors.New("the plan is held")
	// ErrOtherPlan: the plan is not the one that was accepted.
	ErrOtherPlan = errors.New("the plan is not the accepted one any more")
	// ErrNoReason: a person accepts without saying why (Rule PLAN-6).
	ErrNoReason = errors.New("whoever accepts says why")
	// ErrExpired: the plan was held so long ago that a person must look again.
	ErrExpired = errors.New("the plan was held too long ago")
	// ErrNotLeading: another process synchronizes.
	ErrNotLeading = errors.New("another process leads the synchronization")
	// ErrNoSource: there is no source of that id.
	ErrNoSource = errors.New("there is no source")
)

// Held is the error of a plan that waits for a person. It is ErrHeld.
type Held struct {
	Digest     string
	Violations []Violation
}

func (h *Held) Error() string {
	first := h.Violations[0]
	text := fmt.Sprintf("the plan is held: %s", first.Problem)
	if first.Environment != "" {
		text = fmt.Sprintf("the plan is held: environment %s: %s", first.Environment, first.Problem)
	}
	if more := len(h.Violations) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Is makes a *Held an ErrHeld.
func (h *Held) Is(target error) bool { return target == ErrHeld }

// Hint says what to do about a held plan.
func (h *Held) Hint() string {
	if slices.ContainsFunc(h.Violations, func(v Violation) bool { return v.Final }) {
		return h.Violations[0].Hint
	}
	return "look at it with `ambit plan`; if it is what you want: ambit sync --accept-plan " + h.Digest + " --reason WHY"
}

// The operations that the audit log tells of.
const (
	operationApplied  = "sync.plan.applied"
	operationAccepted = "sync.plan.accepted" // applied although a guard held it, by a person's word
	operationHeld     = "sync.plan.held"
	operationOwn      = "sync.acceptance.refused" // it would give the person who accepts more access (Rule SEC-12)
)

// detail is what an audit event says of a plan.
type planDetail struct {
	Digest     string                                          `json:"digest"`
	Counts     map[access.EnvironmentID]map[access.Kind]Counts `json:"counts"`
	Violations []Violation                                     `json:"violations,omitempty"`
}

func (p *Plan) event(actor audit.Actor, operation string, result audit.Result) (audit.Event, error) {
	d := planDetail{Digest: p.Digest(), Counts: map[access.EnvironmentID]map[access.Kind]Counts{}, Violations: p.Violations}
	for i := range p.Environments {
		d.Counts[p.Environments[i].Environment] = p.Environments[i].Counts()
	}
	detail, err := json.Marshal(d)
	if err != nil {
		return audit.Event{}, fmt.Errorf("describe the plan for the audit log: %w", err)
	}
	e := audit.Event{Actor: actor, Operation: operation, Object: "plan/" + d.Digest, Result: result, Detail: detail}
	if p.Held() && operation == operationHeld {
		e.Reason = p.Violations[0].Problem
	}
	if len(p.Environments) == 1 {
		e.Environment = p.Environments[0].Environment
	}
	return e, nil
}

// viewStates are a tenant's environments at one revision.
type viewStates struct{ tenant.View }

func (v viewStates) State(env access.EnvironmentID) (*access.State, bool) {
	s, err := v.View.State(env)
	return s, err == nil
}

// planner compares with the environments as they are now.
func (s *Syncer) planner(now viewStates) planner {
	p := planner{
		states: now, revision: now.Revision, desired: &s.desired, complete: s.complete,
		guards: s.guards(), roleAssignable: s.roleAssignable,
	}
	for _, c := range s.config.Sources {
		p.sources = append(p.sources, c.ID)
	}
	return p
}

// roleAssignable tells whether the directory says so of the group.
func (s *Syncer) roleAssignable(g access.GroupRef) bool {
	o, ok := s.mirror.Object(directory.SourceID(g.Source), directory.ObjectID(g.Group))
	return ok && o.Get(directory.AttrRoleAssignable) == "true"
}

// guards are those of the mapping. The caller holds s.mu.
func (s *Syncer) guards() mapping.Guards {
	if s.config.Rules != nil {
		return s.config.Rules.Guards()
	}
	return mapping.DefaultGuards()
}

// plan makes the plan against the newest revision. If it is not applied, what it
// changes must be looked at again: see again. The caller holds s.mu.
func (s *Syncer) plan(ctx context.Context, v tenant.View) (*Plan, error) {
	now := viewStates{v}
	p := s.planner(now)
	if err := s.catchUp(ctx, now); err != nil {
		return nil, err
	}
	plan := s.drawUp(&p)
	s.dirty, s.full = maps.Clone(plan.open), plan.unfinished
	return plan, nil
}

// drawUp makes a plan of what may not be as desired.
func (s *Syncer) drawUp(p *planner) *Plan {
	var plan *Plan
	if s.full {
		plan = p.full()
	} else {
		plan = p.only(maps.Keys(s.dirty))
	}
	plan.Origin = s.originOf(p.revision)
	return plan
}

// catchUp brings what is desired, and which keys may not be so, up to date with the
// mirrors, the files and what others have committed. The caller holds s.mu.
func (s *Syncer) catchUp(ctx context.Context, now viewStates) error {
	if err := s.follow(ctx, now.Revision); err != nil {
		return err
	}
	s.mirror.Advance(s.now())
	touched, all := s.mirror.takeTouched()
	s.desired.model = s.config.Model
	switch {
	case s.config.Rules == nil:
		s.desired.evaluation = nil
	case all || s.desired.evaluation == nil:
		s.desired.evaluation, s.full = mapping.New(s.config.Rules, s.mirror, now), true
	default:
		for _, k := range s.desired.evaluation.Update(now, touched) {
			s.dirty[k] = struct{}{}
		}
	}
	s.declare(now)
	return nil
}

// again keeps what a plan that is not applied would change to be looked at.
func (s *Syncer) again(plan *Plan) {
	if plan == nil || s.full {
		return
	}
	for _, e := range plan.Environments {
		for _, c := range e.changes {
			s.dirty[mapping.KeyOf(c.Object)] = struct{}{}
		}
	}
}

// follow takes up what others have committed since the last plan.
func (s *Syncer) follow(ctx context.Context, upto access.Revision) error {
	if s.full || s.followed == upto {
		s.followed = upto
		return nil
	}
	err := s.store.Changes(ctx, s.followed, upto, func(_ access.Revision, d store.Difference) error {
		k := mapping.KeyOf(d.Change().Object)
		s.dirty[k] = struct{}{}
		s.redeclare = s.redeclare || k.Kind < access.KindUser
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what changed since revision %d: %w", s.followed, err)
	}
	s.followed = upto
	return nil
}

// declare takes up what ships and what the files say, where it can have changed.
func (s *Syncer) declare(now states) {
	mark := func(objects map[mapping.Key]access.Object) {
		for k := range objects {
			s.dirty[k] = struct{}{}
		}
	}
	people := s.full || s.redeclare
	if people {
		mark(s.desired.fixed)
		s.desired.fix(now)
		mark(s.desired.fixed)
		s.redeclare = false
	}
	for k := range s.dirty {
		people = people || k.Kind == access.KindUser
	}
	if people {
		mark(s.desired.resolved)
		s.desired.resolve(func(env access.EnvironmentID) func(string) (access.User, bool) {
			return s.userByLogin(now, env)
		})
		mark(s.desired.resolved)
	}
}

// userByLogin finds users as they would be with the plan.
func (s *Syncer) userByLogin(now states, env access.EnvironmentID) func(string) (access.User, bool) {
	state, ok := now.State(env)
	if !ok {
		state = access.NewState(env)
	}
	var coming map[string]access.User // by folded login; filled when first asked
	note := func(o access.Object, ok bool) {
		if u, is := o.(access.User); ok && is && u.Environment == env {
			coming[access.Fold(u.Login)] = u
		}
	}
	return func(login string) (access.User, bool) {
		if u, ok := state.UserByLogin(login); ok {
			if u.ManagedBy != access.ByMapping {
				return u, true
			}
			want, ok := s.desired.object(mapping.KeyOf(u), state)
			if w, is := want.(access.User); ok && is && access.SameLogin(w.Login, login) {
				return w, true
			}
			if !ok && !s.complete(directory.SourceID(u.Origin.Source)) {
				return u, true // stays, see planner.remove
			}
		}
		if coming == nil {
			coming = map[string]access.User{}
			switch {
			case s.desired.evaluation == nil:
			case s.full:
				for o := range s.desired.evaluation.Desired() {
					note(o, true)
				}
			default:
				for k := range s.dirty {
					if k.Kind == access.KindUser {
						o, ok := s.desired.object(k, state)
						note(o, ok)
					}
				}
			}
		}
		u, ok := coming[access.Fold(login)]
		return u, ok && access.SameLogin(u.Login, login)
	}
}

// complete tells whether a source has been read to its end, ever. One that is not
// configured any more says nothing, and what came from it is to go.
func (s *Syncer) complete(id directory.SourceID) bool {
	configured := slices.ContainsFunc(s.config.Sources, func(c Source) bool { return c.ID == id })
	return !configured || !s.mirror.Completed(id).IsZero()
}

// apply plans and commits: judged on the newest state, whole or not at all. A commit
// has the run with it.
func (s *Syncer) apply(ctx context.Context, o Options, r *run) (*Plan, store.Committed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leads {
		return nil, store.Committed{}, ErrNotLeading
	}
	var plan *Plan
	var refused error
	var before access.Revision
	var hashing sync.WaitGroup
	defer hashing.Wait()
	committed, err := s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		s.again(plan) // somebody else committed first
		before = v.Revision
		var err error
		if plan, err = s.plan(ctx, v); err != nil {
			return tenant.Changeset{}, err
		}
		if o.Exactly != nil {
			if err := s.moved(ctx, v, plan, *o.Exactly); err != nil {
				return tenant.Changeset{}, err
			}
		}
		set := tenant.Changeset{Fence: s.fence}
		if set.First, refused, err = s.judge(ctx, v, plan, o); err != nil {
			return tenant.Changeset{}, err
		}
		if refused == nil && !plan.Empty() {
			set.Expanded = plan.expanded()
			hashing.Go(func() { plan.Digest() }) // which the event has: beside the writing
		}
		if set.First != nil {
			set.Run, set.KeepRuns = s.committing(r, plan, refused, &hashing), s.retention()
		}
		return set, nil
	})
	if err != nil {
		s.again(plan)
		return plan, store.Committed{}, fmt.Errorf("apply the plan: %w", err)
	}
	s.followed = committed.Revision
	r.stored = committed.Revision > before
	if refused != nil {
		s.again(plan)
		return plan, store.Committed{}, refused
	}
	s.measureApplied()
	s.lastHeld = ""
	return plan, committed, nil
}

// judge decides whether a plan is applied: refused says why not. The event, if
// any, is what is to be recorded; a held plan is recorded once, not at every round.
func (s *Syncer) judge(ctx context.Context, v tenant.View, plan *Plan, o Options) (event func() (audit.Event, error), refused, err error) {
	// A person who asked for the sync is who did it; the loop is the system.
	actor := cmp.Or(o.Actor, audit.Actor{Kind: audit.System, ID: "sync"})
	says := func(operation string, result audit.Result) func() (audit.Event, error) {
		return func() (audit.Event, error) {
			event, err := plan.event(actor, operation, result)
			if result == audit.Done {
				event.Reason = o.Reason
			}
			return event, err
		}
	}
	switch {
	case !plan.Held() && plan.Empty():
		return nil, nil, nil
	case !plan.Held():
		return says(operationApplied, audit.Done), nil, nil
	}
	held := &Held{Digest: plan.Digest(), Violations: plan.Violations}
	final := slices.ContainsFunc(plan.Violations, func(v Violation) bool { return v.Final })
	switch {
	case o.Accept == held.Digest && !final && strings.TrimSpace(o.Reason) == "":
		return nil, fmt.Errorf("%w: %w", ErrNoReason, held), nil
	case o.Accept == held.Digest && !final:
		if gain, err := plan.ownGain(v, held, o.Own); err != nil {
			return nil, nil, err
		} else if gain != nil {
			return says(operationOwn, audit.Refused), gain, nil
		}
		known, err := s.recorded(ctx, held.Digest)
		if err != nil {
			return nil, nil, err
		}
		if within := s.guards().AcceptWithin; known && s.now().Sub(s.heldAt) > within {
			refused = fmt.Errorf("%w: at %s, which is more than %s ago: look at it again, and accept it then: %w", ErrExpired, s.heldAt.Format(time.RFC3339), within, held)
			s.heldAt = s.now()
			return says(operationHeld, audit.Held), refused, nil
		}
		return says(operationAccepted, audit.Done), nil, nil
	case o.Accept != "" && !final:
		refused = fmt.Errorf("%w: it is %s now: look at it again: %w", ErrOtherPlan, held.Digest, held)
	default:
		refused = held
	}
	if known, err := s.recorded(ctx, held.Digest); err != nil || known {
		return nil, refused, err
	}
	s.lastHeld, s.heldAt = held.Digest, s.now()
	return says(operationHeld, audit.Held), refused, nil
}

// recorded tells whether the last that the audit log has of plans is that this
// one is held.
func (s *Syncer) recorded(ctx context.Context, digest string) (bool, error) {
	if s.lastHeld == digest {
		return true, nil
	}
	last, err := s.store.Audit(ctx, store.AuditQuery{Operation: "sync.plan.", Limit: 1})
	if err != nil {
		return false, fmt.Errorf("look for the held plan in the audit log: %w", err)
	}
	if len(last) == 1 && last[0].Operation == operationHeld && last[0].Object == "plan/"+digest {
		s.lastHeld, s.heldAt = digest, last[0].At
		return true, nil
	}
	return false, nil
}

// takeTouched hands over what changed in all sources since it was last taken;
// all: too much to list.
func (m *Mirror) takeTouched() (list []mapping.Touched, all bool) {
	for _, id := range m.Sources() {
		f := m.sources[id].facts
		for o := range f.touched.objects {
			list = append(list, mapping.Touched{Source: id, Object: o})
		}
		for e := range f.touched.edges {
			list = append(list, mapping.Touched{Source: id, Object: e.group, Member: e.member})
		}
		all = all || f.touched.all
		f.touched = touched{}
	}
	return list, all
}
