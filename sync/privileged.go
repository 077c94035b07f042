package dirsync

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/mapping"
)

// holders are who has which privileged role for good, by their own assignment or
// a team's, and gets into the environment. What ends by itself, such as an
// elevation, does not count.
type holders map[access.UserID]map[access.RoleID]struct{}

// judgePrivileged finds plans that give or take more privileged roles than the
// guards allow (Rule PLAN-5). An environment that is new has nothing to guard yet,
// and one that ends has a guard of its own. That the last administrator stays is a
// rule of the access model (ROLE-10, INC-4).
func (p *planner) judgePrivileged(e *EnvironmentPlan, s *access.State) {
	if !s.Exists() || slices.ContainsFunc(e.changes, func(c access.Change) bool { return c.Delete && c.Object.ObjectKind() == access.KindEnvironment }) {
		return
	}
	names := newProtection(mapping.Protected{Roles: p.guards.Privileged.Roles}).roles
	isPrivileged := func(r access.Role) bool {
		_, named := names[access.Fold(r.Name)]
		return r.All || named
	}
	if !concernsPrivileged(s, e.changes, isPrivileged) {
		return
	}
	before, after := holdersOf(s, nil, isPrivileged), holdersOf(s, e.changes, isPrivileged)
	gains, losses := after.without(before), before.without(after)
	if n := len(gains) + len(losses); n > p.guards.Privileged.Max {
		p.violation(Violation{
			Guard: GuardPrivileged, Environment: e.Environment,
			Problem: fmt.Sprintf("gives privileged roles to %d users%s and takes them from %d%s; %s allows %d",
				len(gains), e.someUsers(s, gains), len(losses), e.someUsers(s, losses), GuardPrivileged, p.guards.Privileged.Max),
			Hint: "see under By rule which rule does it; if it is meant, accept this plan",
		})
	}
}

// concernsPrivileged tells whether the changes can matter to who holds privileged
// roles, so that most plans need not look at everybody.
func concernsPrivileged(s *access.State, changes []access.Change, isPrivileged func(access.Role) bool) bool {
	roles := map[access.RoleID]bool{}
	for id, r := range s.Roles {
		if isPrivileged(r) {
			roles[id] = true
		}
	}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Environment:
			return true
		case access.Role:
			if roles[o.ID] || isPrivileged(o) {
				return true
			}
		case access.Assignment:
			if roles[o.Role] || roles[s.Assignments[o.ID].Role] {
				return true
			}
		}
	}
	holds := func(who access.Principal) bool {
		for a := range s.AssignmentsOf(who) {
			if roles[s.Assignments[a].Role] {
				return true
			}
		}
		return false
	}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Membership:
			if holds(o.Team.Principal()) {
				return true
			}
		case access.User:
			if holds(o.ID.Principal()) {
				return true
			}
			for t := range s.TeamsOf(o.ID) {
				if holds(t.Principal()) {
					return true
				}
			}
		}
	}
	return false
}

// holdersOf finds the holders in a state with changes.
func holdersOf(s *access.State, changes []access.Change, isPrivileged func(access.Role) bool) holders {
	env := s.Environment
	users, roles := map[access.UserID]*access.User{}, map[access.RoleID]*access.Role{}
	memberships, assignments := map[access.MembershipKey]*access.Membership{}, map[access.AssignmentID]*access.Assignment{}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Environment:
			env = o
		case access.User:
			users[o.ID] = unless(c.Delete, o)
		case access.Role:
			roles[o.ID] = unless(c.Delete, o)
		case access.Membership:
			memberships[access.MembershipKey{Team: o.Team, User: o.User}] = unless(c.Delete, o)
		case access.Assignment:
			assignments[o.ID] = unless(c.Delete, o)
		}
	}
	privileged := map[access.RoleID]bool{}
	for id, r := range with(s.Roles, roles) {
		privileged[id] = isPrivileged(r)
	}
	teams := map[access.TeamID][]access.RoleID{}
	out := holders{}
	add := func(id access.UserID, role access.RoleID) {
		u, changed := users[id]
		if !changed {
			if was, ok := s.Users[id]; ok {
				u = &was
			}
		}
		if u == nil || !admits(env, *u) {
			return
		}
		if out[id] == nil {
			out[id] = map[access.RoleID]struct{}{}
		}
		out[id][role] = struct{}{}
	}
	for _, a := range with(s.Assignments, assignments) {
		if !privileged[a.Role] || a.ManagedBy == access.ByJIT || !a.Window.End.IsZero() {
			continue
		}
		if u, ok := a.Principal.User(); ok {
			add(u, a.Role)
		}
		if t, ok := a.Principal.Team(); ok {
			teams[t] = append(teams[t], a.Role)
		}
	}
	if len(teams) > 0 {
		for k := range with(s.Memberships, memberships) {
			for _, role := range teams[k.Team] {
				add(k.User, role)
			}
		}
	}
	return out
}

func unless[V any](deleted bool, v V) *V {
	if deleted {
		return nil
	}
	return &v
}

// with yields what is in base, with changed laid over it; nil is gone.
func with[K comparable, V any](base map[K]V, changed map[K]*V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, v := range base {
			if _, other := changed[k]; !other && !yield(k, v) {
				return
			}
		}
		for k, v := range changed {
			if v != nil && !yield(k, *v) {
				return
			}
		}
	}
}

// without lists who holds something that they do not hold in o, sorted.
func (h holders) without(o holders) []access.UserID {
	var out []access.UserID
	for u, roles := range h {
		for r := range roles {
			if _, ok := o[u][r]; !ok {
				out = append(out, u)
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

// someUsers names the first few.
func (e *EnvironmentPlan) someUsers(s *access.State, users []access.UserID) string {
	const few = 3
	var names []string
	for _, u := range users[:min(len(users), few)] {
		name := e.name(access.KindUser, string(u))
		if was, ok := s.Users[u]; ok {
			name = was.Login
		}
		names = append(names, name)
	}
	switch more := len(users) - few; {
	case len(users) == 0:
		return ""
	case more > 0:
		return fmt.Sprintf(" (%s and %d more)", strings.Join(names, ", "), more)
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// judgeShares finds teams that would lose more of their members than the guards
// allow; losing all of them is the matter of GuardEmptyTeam.
func (p *planner) judgeShares(e *EnvironmentPlan, s *access.State, l losses) {
	for _, t := range slices.Sorted(maps.Keys(l.from)) {
		n, all := l.from[t], s.Size(t)
		if _, stays := s.Teams[t]; !stays || n == all && !gains(e, t) {
			continue
		}
		if (mapping.Limit{Max: all, MaxShare: p.guards.TeamShare}).Exceeded(n, all) {
			p.violation(Violation{
				Guard: GuardTeamShare, Environment: e.Environment,
				Problem: fmt.Sprintf("team %q would lose %d of its %d members; %s allows a share of %g", e.name(access.KindTeam, string(t)), n, all, GuardTeamShare, p.guards.TeamShare),
				Hint:    "look at the group in the directory; if it is meant, accept this plan",
			})
		}
	}
}
