package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Paths is how a user comes to be in teams, from the directory's objects on, and
// which roles that gives at an instant (Rule PLAN-8).
type Paths struct {
	User         Named     `json:"user"`
	Login        string    `json:"login"`
	BusinessUnit Named     `json:"business_unit"`
	At           time.Time `json:"at"`
	// Origin is the directory's object that the user is made from, and the rule that
	// places it; zero for one whom no rule has made.
	Origin   access.Origin   `json:"origin,omitzero"`
	Revision access.Revision `json:"revision"`
	// Reason is Allowed when the user gets in; otherwise it says why not (Rule
	// EVAL-2), and the paths lead nowhere until that is mended.
	Reason Reason `json:"reason"`
	// Own are the roles in force that are the user's without a team.
	Own   []Source   `json:"own,omitempty"`
	Teams []TeamPath `json:"teams"` // by name, the default team first
}

// TeamPath leads to one team.
type TeamPath struct {
	Team Via `json:"team"`
	// Through are the groups between the team's group and the user, the one first
	// that is a member of the team's (Rule TEAM-3).
	Through      []string `json:"through,omitempty"`
	BusinessUnit Named    `json:"business_unit"`
	// Roles are those in force that the team carries; none of an access team's.
	Roles []Source `json:"roles,omitempty"`
}

// Paths tells how the user comes to be in each team of theirs.
func (s *Snapshot) Paths(id access.UserID, at time.Time) (Paths, error) {
	var a asked
	if err := s.resolve(&Question{User: id, Privilege: "any", At: at}, &a); err != nil {
		return Paths{}, err
	}
	u := a.user
	p := Paths{
		User: s.nameUser(u), Login: u.aside.data.Login, BusinessUnit: s.nameUnit(u.unit), At: at, Origin: u.aside.data.Origin, Revision: s.revision,
		Reason: Allowed,
	}
	if gate := s.gate(u, API, access.Read, true); gate != Unknown {
		p.Reason = gate
	}
	by := map[access.TeamID][]Source{}
	s.each(u, a.at, func(as *assignment, g grant, _ *bound, team uint32) {
		src := s.sourceOf(u, as, g, team)
		if src.Team == nil {
			p.Own = append(p.Own, src)
			return
		}
		to := src.Team.ID
		src.Team = nil // it is the path's own
		by[to] = append(by[to], src)
	})
	compare := func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.Role.Name, b.Role.Name), cmp.Compare(a.BusinessUnit.Name, b.BusinessUnit.Name), cmp.Compare(a.Assignment, b.Assignment))
	}
	slices.SortFunc(p.Own, compare)
	for _, n := range s.teamsOf(u) {
		t := TeamPath{Team: *s.via(u, n), BusinessUnit: s.nameUnit(s.teams.get(n).unit)}
		t.Roles = by[t.Team.ID]
		slices.SortFunc(t.Roles, compare)
		if path := t.Team.Membership.Path; path != "" {
			t.Through = strings.Split(path, access.PathSeparator)
		}
		p.Teams = append(p.Teams, t)
	}
	slices.SortFunc(p.Teams, func(a, b TeamPath) int {
		switch {
		case a.Team.Default != b.Team.Default && a.Team.Default:
			return -1
		case a.Team.Default != b.Team.Default:
			return 1
		}
		return cmp.Or(cmp.Compare(a.Team.Name, b.Team.Name), cmp.Compare(a.Team.ID, b.Team.ID))
	})
	return p, nil
}

// To keeps only the paths to teams that are so called, or have this id. None is
// ErrUnknown.
func (p Paths) To(team string) (Paths, error) {
	all := p.Teams
	p.Own, p.Teams = nil, nil
	for _, t := range all {
		if string(t.Team.ID) == team || access.Fold(t.Team.Name) == access.Fold(team) {
			p.Teams = append(p.Teams, t)
		}
	}
	if len(p.Teams) == 0 {
		return p, fmt.Errorf("%w team %q of user %q: no path leads there", ErrUnknown, team, p.Login)
	}
	return p, nil
}

// String renders the paths for people, a line for each step.
func (p Paths) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s in business unit %s", p.Login, p.User, p.BusinessUnit)
	if p.Origin.Source != "" {
		fmt.Fprintf(&b, ": object %s of %s, by rule %q", p.Origin.Object, p.Origin.Source, p.Origin.Rule)
	}
	b.WriteByte('\n')
	if p.Reason != Allowed {
		fmt.Fprintf(&b, "  gets in nowhere: %s\n", p.Reason.sentence())
	}
	for _, r := range p.Own {
		fmt.Fprintf(&b, "  has %s\n", r.given())
	}
	for _, t := range p.Teams {
		for _, step := range t.steps() {
			fmt.Fprintf(&b, "  %s\n", step)
		}
		if len(t.Roles) == 0 {
			b.WriteString("    which has no role in force\n")
		}
		for _, r := range t.Roles {
			fmt.Fprintf(&b, "    which has %s\n", r.given())
		}
	}
	return b.String()
}

// given says which role is held where.
func (s Source) given() string {
	return fmt.Sprintf("role %s at business unit %s%s", s.Role, s.BusinessUnit, windowText(s.Window))
}

// steps are the path's, from the user's side on.
func (t TeamPath) steps() []string {
	var out []string
	add := func(format string, a ...any) {
		if len(out) == 0 {
			format = "is " + format
		} else {
			format = "  " + format
		}
		out = append(out, fmt.Sprintf(format, a...))
	}
	for _, group := range slices.Backward(t.Through) {
		add("in group %q", group)
	}
	m := t.Team.Membership
	if g := t.Team.Group; g != nil {
		add("in group %s of %s", Named{g.Group, g.Name}, g.Source)
		add("by rule %q (%s) in team %s of business unit %s", m.Rule, g.Membership, Named{string(t.Team.ID), t.Team.Name}, t.BusinessUnit)
		return out
	}
	if t.Team.Default {
		add("in the default team of business unit %s", t.BusinessUnit)
		return out
	}
	add("in team %s of business unit %s", Named{string(t.Team.ID), t.Team.Name}, t.BusinessUnit)
	return out
}
