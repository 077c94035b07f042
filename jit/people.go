package jit

import (
	"iter"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// judge is one judgement: a view and the instant.
type judge struct {
	facts
	v  View
	at time.Time
	*cache
}

// cache keeps what a judgement has looked up by reading everything once.
type cache struct {
	rules   []Policy
	sought  bool // rules is filled
	holders map[access.RoleID][]access.Assignment
	members map[access.TeamID][]access.UserID
}

func newJudge(f facts, v View, at time.Time) judge {
	return judge{facts: f, v: v, at: access.Instant(at), cache: &cache{}}
}

func (v View) judge(at time.Time) judge { return newJudge(facts{state: v.State}, v, at) }

// policies lists all policies, in no order.
func (j judge) policies() []Policy {
	if !j.sought {
		for p := range others[Policy](j.facts, access.KindPolicy) {
			j.rules = append(j.rules, p)
		}
		j.sought = true
	}
	return j.rules
}

// holding lists the assignments of an approver role that hold now and come from
// no elevation (Rule JIT-19).
func (j judge) holding(role access.RoleID) []access.Assignment {
	if j.holders == nil {
		j.holders = map[access.RoleID][]access.Assignment{}
		for s := range j.approverSubjects() {
			if s.Role != "" {
				j.holders[s.Role] = nil
			}
		}
		if len(j.holders) > 0 {
			for a := range all(j.facts, j.state.Assignments) {
				if _, named := j.holders[a.Role]; named && a.Request == "" && a.Window.Holds(j.at) {
					j.holders[a.Role] = append(j.holders[a.Role], a)
				}
			}
		}
	}
	return j.holders[role]
}

// membersOf lists the members of a team that approves, by itself or by a role
// that it holds.
func (j judge) membersOf(team access.TeamID) []access.UserID {
	if j.members == nil {
		j.members = map[access.TeamID][]access.UserID{}
		for s := range j.approverSubjects() {
			if s.Team != "" {
				j.members[s.Team] = nil
			}
			for _, a := range j.holding(s.Role) {
				if t, ok := a.Principal.Team(); ok {
					j.members[t] = nil
				}
			}
		}
		units, listed := map[access.BusinessUnitID]access.TeamID{}, false
		for t := range j.members {
			if unit, ok := t.DefaultOf(); ok {
				units[unit] = t
			} else {
				listed = true
			}
		}
		if listed {
			for m := range all(j.facts, j.state.Memberships) {
				if _, named := j.members[m.Team]; named {
					j.members[m.Team] = append(j.members[m.Team], m.User)
				}
			}
		}
		if len(units) > 0 {
			for u := range all(j.facts, j.state.Users) {
				if t, named := units[u.BusinessUnit]; named {
					j.members[t] = append(j.members[t], u.ID)
				}
			}
		}
	}
	return j.members[team]
}

// approverSubjects yields who the policies name as approvers.
func (j judge) approverSubjects() iter.Seq[Subject] {
	return func(yield func(Subject) bool) {
		for _, p := range j.policies() {
			for _, st := range p.Stages {
				for _, s := range slices.Concat(st.Approvers, st.Fallback) {
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}

// person is the human behind an account: the person key, or where there is none
// the account itself (Rule JIT-16).
func (f facts) person(id access.UserID) string {
	if u, ok := f.user(id); ok && u.Person != "" {
		return "person:" + u.Person
	}
	return "account:" + string(id)
}

// known tells whether the account's person can be told from others.
func (j judge) known(u access.User) bool { return !j.v.Persons || u.Person != "" }

// asks tells whether the account belongs to the requester or the beneficiary.
func (f facts) asks(id access.UserID, r Request) bool {
	p := f.person(id)
	return p == f.person(r.Requester) || p == f.person(r.Beneficiary)
}

// via is one way in which a subject of a policy names a user.
type via struct {
	Subject Subject
	// stale is the directory source that is too old to be believed; empty if none.
	stale string
}

// vias lists the subjects that name the user. manager is the beneficiary's
// manager who can act; empty if there is none.
func (j judge) vias(u access.User, subjects []Subject, manager access.UserID, maxAge Duration) []via {
	var out []via
	for _, s := range subjects {
		switch {
		case s.User != "":
			if s.User == u.ID {
				out = append(out, via{Subject: s})
			}
		case s.Team != "":
			if source, ok := j.memberOf(u, s.Team); ok {
				out = append(out, via{s, j.stale(source, maxAge)})
			}
		case s.Role != "":
			for _, a := range j.holding(s.Role) {
				if a.Principal == u.ID.Principal() {
					out = append(out, via{Subject: s})
				} else if team, ok := a.Principal.Team(); ok {
					if source, ok := j.memberOf(u, team); ok {
						out = append(out, via{s, j.stale(source, maxAge)})
					}
				}
			}
		case s.Manager:
			if manager != "" && manager == u.ID {
				out = append(out, via{Subject: s})
			}
		}
	}
	return out
}

// stale returns the source if it was last read too long ago.
func (j judge) stale(source string, maxAge Duration) string {
	if source == "" {
		return ""
	}
	if j.v.DirectoryAge == nil {
		return source
	}
	if age, ok := j.v.DirectoryAge(source); !ok || age > time.Duration(maxAge) {
		return source
	}
	return ""
}

// believed tells whether some way is fresh, and otherwise names a stale source.
func believed(ways []via) (ok bool, stale string) {
	for _, w := range ways {
		if w.stale == "" {
			return true, ""
		}
		stale = w.stale
	}
	return false, stale
}

// manager returns the beneficiary's manager if they can act: in the environment,
// not disabled, and not the person who asks (Rule JIT-18).
func (j judge) manager(r Request) access.UserID {
	b, ok := j.user(r.Beneficiary)
	if !ok || b.Manager == "" || j.asks(b.Manager, r) {
		return ""
	}
	if m, ok := j.user(b.Manager); ok && j.gate(m) == "" {
		return m.ID
	}
	return ""
}

// approvers returns the stage's subjects as they stand for this request: with
// the fallback where the stage names a manager whom the beneficiary has not.
func (j judge) approvers(st Stage, manager access.UserID) []Subject {
	if manager == "" && slices.ContainsFunc(st.Approvers, func(s Subject) bool { return s.Manager }) {
		return slices.Concat(st.Approvers, st.Fallback)
	}
	return st.Approvers
}

// conflict says why the user cannot decide the request in any stage (Rules
// JIT-16, JIT-30); nil if they may, where a stage selects them.
func (j judge) conflict(u access.User, r Request) *Refusal {
	switch {
	case j.asks(u.ID, r):
		return refuse(SelfApproval, "JIT-30", "%s belongs to the person who asks or benefits and cannot decide this request", u.ID).
			with("rule", "JIT-30").hint("another person has to decide; you can cancel it")
	case !j.known(u):
		return refuse(PersonUnknown, "JIT-16", "the account %s has no person key, so it cannot be told from the requester's other accounts", u.ID).
			with("rule", "JIT-16").hint("ask whoever runs the directory to fill the attribute of the mapping's person expression")
	case j.gate(u) != "":
		return refuse(NotApprover, "JIT-36", "the account %s is shut out of the environment (%s) and cannot decide", u.ID, j.gate(u)).with("gate", j.gate(u))
	}
	return nil
}

// selects tells whether the stage selects the user, and otherwise whether only a
// stale directory says so.
func (j judge) selects(p Policy, stage int, u access.User, manager access.UserID) (ok bool, stale string) {
	return believed(j.vias(u, j.approvers(p.Stages[stage], manager), manager, p.MaxDirectoryAge))
}

// selected tells whether any stage of the policy names the user, fresh or not:
// who is an approver for the eye (Rule JIT-28) and for an end (row GR8).
func (j judge) selected(p Policy, u access.User, r Request) bool {
	manager := j.manager(r)
	for _, st := range p.Stages {
		if len(j.vias(u, j.approvers(st, manager), manager, p.MaxDirectoryAge)) > 0 {
			return true
		}
	}
	return false
}

// stands judges a decision that was made: it counts while it is neither withdrawn
// nor set aside and, for an approval, while its author has the authority for its
// stage and approved what is noted now (Rules JIT-4, JIT-36).
func (j judge) stands(d Decision, p Policy, r Request, manager access.UserID) bool {
	if !d.Withdrawn.IsZero() || d.Lapsed {
		return false
	}
	if !d.Approve {
		return true
	}
	if d.Digest != r.Digest || d.Stage >= len(p.Stages) {
		return false
	}
	u, ok := j.user(d.By)
	if !ok || j.conflict(u, r) != nil {
		return false
	}
	return len(j.vias(u, j.approvers(p.Stages[d.Stage], manager), manager, p.MaxDirectoryAge)) > 0
}

// progress counts the approvals that stand, by stage, and tells the open stage:
// the first whose quorum is not reached (len(p.Stages) if none is open). Persons
// maps who has a standing voice to their decision (Rule JIT-34).
func (j judge) progress(p Policy, r Request) (counts []int, stage int, persons map[string]Decision) {
	counts, persons = make([]int, len(p.Stages)), map[string]Decision{}
	manager := j.manager(r)
	for _, d := range r.Decisions {
		if !j.stands(d, p, r, manager) {
			continue
		}
		persons[j.person(d.By)] = d
		if d.Approve {
			counts[d.Stage]++
		}
	}
	for stage < len(counts) && counts[stage] >= p.Stages[stage].Quorum {
		stage++
	}
	return counts, stage, persons
}

// reachable tells whether enough distinct persons are left for every stage that
// is not complete (Rule JIT-35): one person has one voice over all stages, so a
// person is counted for one of them. If not, it names the stage that lacks
// persons and how many were excluded, by reason.
func (j judge) reachable(p Policy, r Request) (ok bool, stage int, excluded map[string]int) {
	counts, _, voices := j.progress(p, r)
	names := j.people(p, r)
	excluded = map[string]int{}
	candidates := make([][]string, len(p.Stages)) // persons by stage
	for i := range p.Stages {
		for id := range names[i] {
			u, _ := j.user(id)
			person := j.person(id)
			_, decided := voices[person]
			switch c := j.conflict(u, r); {
			case c != nil && c.Slug == SelfApproval:
				excluded["asks"]++
			case c != nil && c.Slug == PersonUnknown:
				excluded["person_unknown"]++
			case c != nil:
				excluded["shut_out"]++
			case decided:
				excluded["decided"]++
			case !slices.Contains(candidates[i], person):
				candidates[i] = append(candidates[i], person)
			}
		}
	}
	// Each missing voice seeks a person, and may move another voice to another of
	// its persons (augmenting paths).
	taken := map[string]int{} // person -> stage
	var seat func(stage int, seen map[string]bool) bool
	seat = func(stage int, seen map[string]bool) bool {
		for _, person := range candidates[stage] {
			if seen[person] {
				continue
			}
			seen[person] = true
			if other, busy := taken[person]; !busy || seat(other, seen) {
				taken[person] = stage
				return true
			}
		}
		return false
	}
	for i, st := range p.Stages {
		for range st.Quorum - counts[i] {
			if !seat(i, map[string]bool{}) {
				return false, i, excluded
			}
		}
	}
	return true, 0, nil
}

// answers returns the one policy that answers for the role in the unit: the
// exact scope before the subtree, the nearest subtree before a farther one (Rule
// JIT-8). A disabled policy still answers, so that disabling a narrow policy does
// not open a wider one.
func (j judge) answers(role access.RoleID, unit access.BusinessUnitID) (best Policy, ok bool) {
	bestFar := -1
	for _, p := range j.policies() {
		if p.Role != role {
			continue
		}
		far := j.far(p.Scope, unit)
		if far < 0 || ok && far >= bestFar {
			continue
		}
		best, bestFar, ok = p, far, true
	}
	return best, ok
}

// people lists the accounts that each stage selects.
func (j judge) people(p Policy, r Request) []map[access.UserID]bool {
	out := make([]map[access.UserID]bool, len(p.Stages))
	manager := j.manager(r)
	for i, st := range p.Stages {
		out[i] = map[access.UserID]bool{}
		add := func(ids ...access.UserID) {
			for _, id := range ids {
				if _, ok := j.user(id); ok {
					out[i][id] = true
				}
			}
		}
		for _, s := range j.approvers(st, manager) {
			switch {
			case s.User != "":
				add(s.User)
			case s.Team != "":
				add(j.membersOf(s.Team)...)
			case s.Manager:
				add(manager)
			case s.Role != "":
				for _, a := range j.holding(s.Role) {
					if u, ok := a.Principal.User(); ok {
						add(u)
					} else if t, ok := a.Principal.Team(); ok {
						add(j.membersOf(t)...)
					}
				}
			}
		}
	}
	return out
}
