package dirsync

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/mapping"
)

// Violation is why a plan waits for a person.
type Violation struct {
	Guard       string               `json:"guard"`
	Environment access.EnvironmentID `json:"environment,omitempty"`
	Problem     string               `json:"problem"`
	Hint        string               `json:"hint"`
	// Final: no person can accept it either.
	Final bool `json:"final,omitempty"`
}

// The guards, named as in the mapping file where they are set there.
const (
	GuardMembers     = "remove_members"
	GuardRoles       = "remove_roles"
	GuardTeams       = "remove_teams"
	GuardUsers       = "remove_users"
	GuardShutOut     = "shut_out_users"
	GuardEmptyTeam   = "empty_team"
	GuardTeamShare   = "team_share"
	GuardPrivileged  = "privileged"
	GuardProtected   = "protected"
	GuardEnvironment = "remove_environment" // always
	GuardFinding     = "finding"            // what the directory says cannot be meant
	GuardRules       = "rules"              // the access model forbids it
)

// judge finds what the guards say of the plan, which is judged by its effect: as
// a whole, environment by environment, with what follows from its changes. One
// violation holds all of it.
func (p *planner) judge() {
	for i := range p.plan.Environments {
		e := &p.plan.Environments[i]
		p.judgeEnvironment(e, p.state(e.Environment))
	}
	for _, f := range p.plan.Findings {
		// A source that was never read to its end says nothing yet, and need not
		// keep the others waiting: what rests on it stays (see remove).
		if f.Holds && !p.plan.Empty() && (f.Source == "" || p.complete(f.Source)) {
			p.violation(Violation{Guard: GuardFinding, Environment: f.Environment, Problem: f.Text, Hint: f.Hint})
		}
	}
	slices.SortFunc(p.plan.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Guard, b.Guard), cmp.Compare(a.Problem, b.Problem))
	})
}

func (p *planner) violation(v Violation) { p.plan.Violations = append(p.plan.Violations, v) }

// losses are what a plan takes away in one environment.
type losses struct {
	members, roles, teams, users int
	shutOut                      int
	from                         map[access.TeamID]int // memberships
	protected, assignable        map[string]struct{}
}

func (p *planner) judgeEnvironment(e *EnvironmentPlan, s *access.State) {
	l := p.losses(e, s)
	limits := [...]struct {
		guard  string
		limit  mapping.Limit
		n, all int
		what   string
	}{
		{GuardMembers, p.guards.RemoveMembers, l.members, len(s.Memberships), "team memberships"},
		{GuardRoles, p.guards.RemoveRoles, l.roles, len(s.Assignments), "role assignments"},
		{GuardTeams, p.guards.RemoveTeams, l.teams, len(s.Teams), "teams"},
		{GuardUsers, p.guards.RemoveUsers, l.users, len(s.Users), "users"},
		{GuardShutOut, p.guards.ShutOutUsers, l.shutOut, len(s.Users), "users (who stay and would be shut out: disabled, without licence or not admitted)"},
	}
	for _, g := range limits {
		if g.n > 0 && g.limit.Exceeded(g.n, g.all) {
			p.violation(Violation{
				Guard: g.guard, Environment: e.Environment,
				Problem: fmt.Sprintf("takes away %d of %d %s; %s allows %d and a share of %g", g.n, g.all, g.what, g.guard, g.limit.Max, g.limit.MaxShare),
				Hint:    "if the directory means it, accept this plan; if not, see what became of the source, its base, filter and rights",
			})
		}
	}
	for _, t := range slices.Sorted(maps.Keys(l.from)) {
		n := l.from[t]
		if n >= p.guards.EmptyTeam && n == s.Size(t) && !gains(e, t) {
			p.violation(Violation{
				Guard: GuardEmptyTeam, Environment: e.Environment,
				Problem: fmt.Sprintf("team %q would lose all of its %d members", e.name(access.KindTeam, string(t)), n),
				Hint:    "a group that is suddenly empty, or gone, is mostly a reading error: look at it in the directory; if it is meant, accept this plan",
			})
		}
	}
	p.judgeShares(e, s, l)
	p.judgePrivileged(e, s)
	for _, what := range slices.Sorted(maps.Keys(l.protected)) {
		p.violation(Violation{
			Guard: GuardProtected, Environment: e.Environment,
			Problem: what + ", which is protected", Hint: "accept this plan, or take the name out of guards.protected",
		})
	}
	for _, what := range slices.Sorted(maps.Keys(l.assignable)) {
		p.violation(Violation{
			Guard: GuardProtected, Environment: e.Environment,
			Problem: what + ", whose group can hold administrator roles in its directory", Hint: "such groups are always protected: if the directory means it, accept this plan",
		})
	}
	for _, c := range e.changes {
		if c.Delete && c.Object.ObjectKind() == access.KindEnvironment {
			p.violation(Violation{
				Guard: GuardEnvironment, Environment: e.Environment,
				Problem: "ends the whole environment: no file declares it any more",
				Hint:    "put its file back, or accept this plan",
			})
		}
	}
}

// gains tells whether the plan also adds members to the team.
func gains(e *EnvironmentPlan, t access.TeamID) bool {
	for i, c := range e.changes {
		if m, ok := c.Object.(access.Membership); ok && m.Team == t && !c.Delete && e.before[i] == nil {
			return true
		}
	}
	return false
}

func (p *planner) losses(e *EnvironmentPlan, s *access.State) losses {
	l := losses{from: map[access.TeamID]int{}, protected: map[string]struct{}{}, assignable: map[string]struct{}{}}
	administers := func(t access.TeamID, what string) {
		if team := s.Teams[t]; team.Group != nil && p.roleAssignable != nil && p.roleAssignable(team.Group.GroupRef) {
			l.assignable[fmt.Sprintf(what, team.Name)] = struct{}{}
		}
	}
	protects := newProtection(p.guards.Protected)
	env := s.Environment
	for _, c := range e.changes {
		if o, ok := c.Object.(access.Environment); ok && !c.Delete {
			env = o
		}
	}
	for i, c := range e.changes {
		switch o := c.Object.(type) {
		case access.User:
			was, existed := e.before[i].(access.User)
			switch {
			case c.Delete:
				l.users++
				protects.user(&l, o.Login, "removes user %q")
			case existed && admits(s.Environment, was) && !admits(env, o):
				l.shutOut++
				protects.user(&l, was.Login, "shuts out user %q")
			}
		case access.Team:
			if c.Delete {
				l.teams++
				protects.team(&l, o.Name, "removes team %q")
				administers(o.ID, "removes team %q")
			}
		case access.Role:
			if c.Delete {
				protects.role(&l, o.Name, "removes role %q")
			}
		case access.Membership:
			if c.Delete {
				l.members++
				l.from[o.Team]++
				protects.user(&l, e.name(access.KindUser, string(o.User)), "takes user %q out of a team")
				protects.team(&l, e.name(access.KindTeam, string(o.Team)), "takes a member out of team %q")
				administers(o.Team, "takes a member out of team %q")
			}
		case access.Assignment:
			if c.Delete {
				l.roles++
				protects.role(&l, e.name(access.KindRole, string(o.Role)), "takes role %q from somebody")
				if u, ok := o.Principal.User(); ok {
					protects.user(&l, e.name(access.KindUser, string(u)), "takes a role from user %q")
				}
				if t, ok := o.Principal.Team(); ok {
					protects.team(&l, e.name(access.KindTeam, string(t)), "takes a role from team %q")
					administers(t, "takes a role from team %q")
				}
			}
		}
	}
	// A gate that is new shuts out users whom no change names (Rule ESG-4).
	if s.Exists() && (env.SecurityGroup != nil && s.Environment.SecurityGroup == nil || asksForLicences(env) && !asksForLicences(s.Environment)) {
		changed := map[access.UserID]struct{}{}
		for _, c := range e.changes {
			if u, ok := c.Object.(access.User); ok {
				changed[u.ID] = struct{}{}
			}
		}
		for id, u := range s.Users {
			if _, named := changed[id]; !named && admits(s.Environment, u) && !admits(env, u) {
				l.shutOut++
				protects.user(&l, u.Login, "shuts out user %q")
			}
		}
	}
	return l
}

// admits tells whether the user gets into the environment (Rules ESG-1, ESG-3,
// LIC-1, ACC-3).
func admits(e access.Environment, u access.User) bool {
	return u.Enabled && u.Kind != access.StubUser && (e.SecurityGroup == nil || !u.NeedsGroup() || u.Admitted) &&
		(!asksForLicences(e) || !u.NeedsLicence() || u.Licensed)
}

func asksForLicences(e access.Environment) bool { return e.RequireLicence && !e.PerAppPlan }

// protection is what must not be taken away, by folded name.
type protection struct{ users, roles, teams map[string]struct{} }

func newProtection(p mapping.Protected) protection {
	fold := func(names []string) map[string]struct{} {
		set := map[string]struct{}{}
		for _, n := range names {
			set[access.Fold(n)] = struct{}{}
		}
		return set
	}
	return protection{fold(p.Users), fold(p.Roles), fold(p.Teams)}
}

func (p protection) user(l *losses, login, what string) { l.protect(p.users, login, what) }
func (p protection) role(l *losses, name, what string)  { l.protect(p.roles, name, what) }
func (p protection) team(l *losses, name, what string)  { l.protect(p.teams, name, what) }

func (l *losses) protect(set map[string]struct{}, name, what string) {
	if len(set) == 0 {
		return
	}
	if _, ok := set[access.Fold(name)]; ok {
		l.protected[strings.Replace(what, "%q", fmt.Sprintf("%q", name), 1)] = struct{}{}
	}
}
