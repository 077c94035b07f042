package enginetest

import (
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// held is an assignment in force and the team that carries it, if any.
type held struct {
	access.Assignment
	role access.Role
	team *access.Team
}

// bu2: b lies in the subtree of root.
func (r Reference) bu2(root, b access.BusinessUnitID) bool {
	for b != "" {
		if b == root {
			return true
		}
		b = r.State.BusinessUnits[b].Parent
	}
	return false
}

// teams is teams(u): of every type, and the default team of the user's unit.
func (r Reference) teams(u access.UserID) []access.Team {
	var out []access.Team
	for k := range r.State.Memberships {
		if k.User == u {
			if t, ok := r.team(k.Team); ok {
				out = append(out, t)
			}
		}
	}
	if t, ok := r.team(r.State.Users[u].BusinessUnit.DefaultTeam()); ok {
		out = append(out, t)
	}
	return out
}

// inForce lists the assignments that count for the user at t: direct ones and
// those of role-bearing teams.
func (r Reference) inForce(u access.UserID, t time.Time) []held {
	out := r.of(u.Principal(), nil, t)
	for _, team := range r.teams(u) {
		if team.CanOwn() { // TEAM-5
			out = append(out, r.of(team.ID.Principal(), &team, t)...)
		}
	}
	return out
}

// of lists a principal's own assignments at t. One that names a role or unit that
// does not exist gives nothing.
func (r Reference) of(p access.Principal, team *access.Team, t time.Time) []held {
	var out []held
	for _, a := range r.State.Assignments {
		if a.Principal != p || !a.Window.Holds(t) {
			continue
		}
		role, ok := r.State.Roles[a.Role]
		if _, unit := r.State.BusinessUnits[a.BusinessUnit]; ok && unit {
			out = append(out, held{a, role, team})
		}
	}
	return out
}

// depthOf is the depth at which an assignment has the action on the table.
func depthOf(h held, table access.Table, action access.Action) access.Depth {
	lines := func(all bool, privileges []access.Privilege) access.Depth {
		if all { // ROLE-10
			return access.Global
		}
		for _, p := range privileges {
			if p.Table == table.ID && p.Action == action {
				return p.Depth
			}
		}
		return access.None
	}
	d := lines(h.role.All, h.role.Privileges)
	if h.Bound != nil { // JIT-62
		d = min(d, lines(h.Bound.All, h.Bound.Privileges))
	}
	switch {
	case table.Ownership == access.OrganizationOwned && d != access.Global: // OWN-2
		return access.None
	case table.Ownership == access.BusinessUnitOwned && d == access.Basic: // OWN-3
		return access.None
	}
	return d
}

// role13: holding a miscellaneous privilege.
func role13(h held, name string) bool {
	if !h.role.All && !slices.Contains(h.role.Miscellaneous, name) {
		return false
	}
	return h.Bound == nil || h.Bound.All || slices.Contains(h.Bound.Miscellaneous, name)
}

// eval3: the privilege check.
func (r Reference) eval3(q question) bool { return r.greatestDepth(q) != access.None }

func (r Reference) greatestDepth(q question) access.Depth {
	d := access.None
	for _, h := range q.held {
		if q.misc == "" {
			d = max(d, depthOf(h, q.table, q.action))
		} else if role13(h, q.misc) {
			d = access.Global
		}
	}
	return d
}
