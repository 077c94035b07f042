package jit

import (
	"cmp"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
)

// React finds what a changeset takes the ground from: grants whose beneficiary is
// shut out, gone or no longer eligible, or whose role, unit or policy is gone, and
// pending requests alike. What it returns ends them in the same revision (Rule
// JIT-68). changes are those of one environment, complete (State.Expand).
//
// Its cost is that of reading the changes, and the open requests only where a
// change can bear on one. It never fails today; an error means that the changeset
// must not be committed.
func React(before *access.State, changes []access.Change, at time.Time) ([]access.Change, []audit.Event, error) {
	t := touch(before, changes)
	if t.nothing() || !anyOpen(before) {
		return nil, nil, nil
	}
	// A directory that is old, or a person key that is missing, keeps somebody from
	// deciding and takes nothing from anybody (Rule JIT-5).
	v := View{State: before, DirectoryAge: func(string) (time.Duration, bool) { return 0, true }}
	x := &reaction{judge: newJudge(with(before, changes), v, at), t: t}
	concerned := x.requests(func(r Request) bool {
		return x.cause(r) != nil || r.State == Pending && t.quorums != nil
	})
	for _, r := range concerned {
		switch r.Status(x.at) {
		case StatusPending:
			x.pending(clone(r))
		case StatusScheduled, StatusActive:
			x.grant(clone(r))
		}
	}
	return x.changes, x.events, nil
}

func anyOpen(s *access.State) bool {
	for k := range s.Others {
		if k.Kind == access.KindRequest {
			return true
		}
	}
	return false
}

// touched is what a changeset changes that can bear on a request.
type touched struct {
	all     *access.Change // units or settings changed: everybody is judged
	users   map[access.UserID]*access.Change
	roles   map[access.RoleID]*access.Change
	policy  *access.Change
	grants  map[string]*access.Change // assignments of elevations that go, by request
	quorums *access.Change            // somebody may have lost the authority to decide
}

func (t touched) nothing() bool {
	return t.all == nil && t.policy == nil && t.quorums == nil && len(t.users)+len(t.roles)+len(t.grants) == 0
}

func touch(s *access.State, changes []access.Change) touched {
	t := touched{users: map[access.UserID]*access.Change{}, roles: map[access.RoleID]*access.Change{}, grants: map[string]*access.Change{}}
	for i, c := range changes {
		if c.Object.ObjectEnvironment() != s.Environment.ID {
			continue
		}
		switch o := c.Object.(type) {
		case access.Environment:
			was := s.Environment
			if c.Delete || (was.SecurityGroup == nil) != (o.SecurityGroup == nil) || was.RequireLicence != o.RequireLicence || was.Modernized != o.Modernized {
				t.all = &changes[i]
			}
		case access.BusinessUnit:
			was, ok := s.BusinessUnits[o.ID]
			if ok && (c.Delete || was.Disabled != o.Disabled || was.Parent != o.Parent) {
				t.all = &changes[i]
			}
		case access.Team:
			if c.Delete {
				t.all = &changes[i]
			}
		case access.Role:
			was, ok := s.Roles[o.ID]
			if ok && (c.Delete || was.BusinessUnit != o.BusinessUnit || !sameEffect(was, o)) {
				t.roles[o.ID] = &changes[i]
			}
		case access.User:
			was, ok := s.Users[o.ID]
			if !ok {
				continue
			}
			if c.Delete || was.Enabled != o.Enabled || was.Licensed != o.Licensed || was.Admitted != o.Admitted ||
				was.BusinessUnit != o.BusinessUnit || was.Person != o.Person {
				t.users[o.ID] = &changes[i]
				t.quorums = &changes[i]
			}
			if was.Manager != o.Manager {
				t.quorums = &changes[i]
			}
		case access.Membership:
			if c.Delete {
				t.users[o.User] = &changes[i]
				t.quorums = &changes[i]
			}
		case access.Assignment:
			was, ok := s.Assignments[o.ID]
			switch {
			case !ok:
			case c.Delete && was.Request != "":
				t.grants[was.Request] = &changes[i]
			case was.Request == "":
				t.quorums = &changes[i]
			}
		case Policy:
			t.policy = &changes[i]
		}
	}
	return t
}

func sameEffect(a, b access.Role) bool {
	return a.All == b.All && slices.Equal(a.Privileges, b.Privileges) && slices.Equal(a.Miscellaneous, b.Miscellaneous)
}

// reaction collects the further changes.
type reaction struct {
	judge
	t       touched
	changes []access.Change
	events  []audit.Event
}

// cause returns the change that bears on the request; nil if none does.
func (x *reaction) cause(r Request) *access.Change {
	return cmp.Or(x.t.users[r.Beneficiary], x.t.users[r.Requester], x.t.roles[r.Role], x.t.grants[r.ID], x.t.all, x.t.policy)
}

func (x *reaction) put(id string, from Status, r Request, cause *access.Change, changes ...access.Change) {
	x.changes = append(append(x.changes, access.Put(r)), changes...)
	x.tell(id, from, r, cause)
}

func (x *reaction) tell(id string, from Status, r Request, cause *access.Change) {
	told := map[string]any{"cause": cause.String()}
	x.events = append(x.events, events(row(id, from, FactsChange, r.Status(x.at)), r, reactor(), "", told)...)
}

func reactor() audit.Actor { return audit.Actor{Kind: audit.System, ID: "jit"} }

// grant ends a grant that has lost its ground (rows GR9 to GR13).
func (x *reaction) grant(r Request) {
	cause := x.cause(r)
	if cause == nil {
		return
	}
	from := r.Status(x.at)
	id, reason := x.lost(r)
	if id != "" {
		removed := x.finish(&r, Ended{At: x.at, By: "system", Reason: reason})
		x.put(id, from, r, cause, removed...)
		return
	}
	if c, ok := x.t.roles[r.Role]; ok && !c.Delete && !sameEffect(x.state.Roles[r.Role], c.Object.(access.Role)) {
		x.tell("GR12", from, r, cause)
	}
}

// lost tells why a grant cannot go on, and by which row; empty if it can.
func (x *reaction) lost(r Request) (id, reason string) {
	u, ok := x.user(r.Beneficiary)
	if !ok || x.gate(u) != "" {
		return "GR9", "subject"
	}
	_, role := x.role(r.Role)
	_, unit := x.unit(r.BusinessUnit)
	if !role || !unit {
		return "GR11", "target"
	}
	p, ok := x.policy(r.Policy)
	if !ok {
		return "GR13", "policy"
	}
	if _, moved := x.t.users[r.Beneficiary]; moved || x.t.all != nil {
		if len(x.vias(u, p.Eligible, "", p.MaxDirectoryAge)) == 0 {
			return "GR10", "eligibility"
		}
	}
	if _, ok := find(x.facts, x.state.Assignments, r.Grant.Assignment); !ok {
		if x.state.Users[r.Beneficiary].BusinessUnit != u.BusinessUnit {
			return "GR9", "subject" // Rule OWN-13 took the assignment
		}
		return "GR11", "target"
	}
	return "", ""
}

// pending voids or pins anew a pending request (rows RQ12 to RQ14).
func (x *reaction) pending(r Request) {
	cause := x.cause(r)
	if cause == nil {
		if x.t.quorums != nil {
			x.quorum(r, x.t.quorums)
		}
		return
	}
	void := func(id, reason string) {
		r.State, r.Reason, r.ClosedAt, r.ClosedBy = Void, reason, x.at, "system"
		x.put(id, StatusPending, r, cause)
	}
	if u, ok := x.user(r.Requester); !ok || !u.Enabled {
		void("RQ12", "subject")
		return
	}
	if f := x.barred(r); f != nil {
		reason := "target"
		if _, ok := x.user(r.Beneficiary); !ok || f.Slug == SubjectDisabled || f.Slug == SubjectGated {
			reason = "subject"
		}
		void("RQ12", reason)
		return
	}
	p, ok := x.answers(r.Role, r.BusinessUnit)
	if !ok || p.Disabled {
		void("RQ12", "policy")
		return
	}
	if p.ID != r.Policy || p.Version != r.PolicyVersion {
		if len(x.admissible(p, r)) > 0 {
			void("RQ14", "policy-changed")
			return
		}
		r.Policy, r.PolicyVersion = p.ID, p.Version
		for i, d := range r.Decisions {
			if d.Approve && d.Withdrawn.IsZero() && !d.Lapsed {
				r.Decisions[i].Lapsed = true
				x.events = append(x.events, lapsedDecision(r, d, reactor()))
			}
		}
		if ok, _, _ := x.reachable(p, r); !ok {
			void("RQ14", "unreachable")
			return
		}
		x.put("RQ13", StatusPending, r, cause)
		return
	}
	if x.ineligible(p, r) != nil {
		void("RQ12", "eligibility")
		return
	}
	x.quorum(r, cause)
}

// quorum voids a request for which too few approvers are left (Rule JIT-35).
func (x *reaction) quorum(r Request, cause *access.Change) {
	p, ok := x.answers(r.Role, r.BusinessUnit)
	if !ok {
		return
	}
	if ok, _, _ := x.reachable(p, r); ok {
		return
	}
	r.State, r.Reason, r.ClosedAt, r.ClosedBy = Void, "unreachable", x.at, "system"
	x.put("RQ12", StatusPending, r, cause)
}
