package engine

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// What is all that a user's roles give at an instant (Rule EVAL-10), without
// shares, which are about single records.
type What struct {
	User     access.UserID   `json:"user"`
	At       time.Time       `json:"at"`
	Revision access.Revision `json:"revision"`
	// Reason is Allowed when the user gets in; otherwise it says why not (Rule
	// EVAL-2), and nothing else is set.
	Reason Reason `json:"reason"`
	// Held is the smallest list that says the same: what a wider line covers is
	// left out. Sorted by table, action, depth downwards, unit, team; then the
	// miscellaneous privileges.
	Held []Held `json:"held,omitempty"`
	// Teams are the user's teams that can own: at user depth without a team of
	// its own, their records count as the user's.
	Teams []access.TeamID `json:"teams,omitempty"`
	// Sources are the assignments in force; their Depth is None, since it differs
	// by privilege.
	Sources []Source `json:"sources,omitempty"`

	of  *Snapshot // for Diff, which compares units by the tree
	all []inForce // for Carried
}

// Access is a kind of access that roles give.
type Access struct {
	Table  access.TableID `json:"table,omitempty"`
	Action access.Action  `json:"action"`
	Depth  access.Depth   `json:"depth"`
	// BusinessUnit is where a depth of business_unit or parent_child is measured
	// from.
	BusinessUnit Named `json:"business_unit,omitzero"`
	// Team, at user depth, limits the access to records of that team; without one
	// it is records of the user and of all the user's teams.
	Team Named `json:"team,omitzero"`
	// Miscellaneous is the privilege's name when there is no table.
	Miscellaneous string `json:"miscellaneous,omitempty"`
}

// Held is an access and the assignments that give just that.
type Held struct {
	Access
	By []access.AssignmentID `json:"by"`
}

// What lists what the user's roles give.
func (s *Snapshot) What(id access.UserID, at time.Time) (What, error) {
	w, u, err := s.what(id, at)
	if len(w.all) > 0 {
		w.Sources = make([]Source, len(w.all))
		for i, f := range w.all {
			w.Sources[i] = s.sourceOf(u, f.assignment, f.grant, f.team)
		}
	}
	w.all = nil
	return w, err
}

// WhatHeld is What without Sources, for who asks about many users: see Carried.
func (s *Snapshot) WhatHeld(id access.UserID, at time.Time) (What, error) {
	w, _, err := s.what(id, at)
	return w, err
}

// Carried tells of an assignment in force, of an answer of WhatHeld, which role it
// gives and which team carries it; no team: it is the user's own.
func (w *What) Carried(id access.AssignmentID) (access.RoleID, access.TeamID) {
	i := slices.IndexFunc(w.all, func(f inForce) bool { return f.data.ID == id })
	if i < 0 {
		return "", ""
	}
	f := &w.all[i]
	role := w.of.roles[f.role].ID
	if f.team == noTeam {
		return role, ""
	}
	return role, w.of.teams.get(f.team).aside.data.ID
}

func (s *Snapshot) what(id access.UserID, at time.Time) (What, *user, error) {
	var a asked
	// Whether the user gets in is the same for whatever is asked.
	if err := s.resolve(&Question{User: id, Privilege: "any", At: at}, &a); err != nil {
		return What{}, nil, err
	}
	// What the access mode refuses is left out line by line.
	gate := s.gate(a.user, API, access.Read, true)
	w := What{User: id, At: at, Revision: s.revision, Reason: gate, of: s}
	if gate != Unknown {
		return w, a.user, nil
	}
	teams, all := s.teamsOf(a.user), make([]inForce, 0, 8)
	s.eachOf(a.user, teams, a.at, func(as *assignment, g grant, b *bound, team uint32) {
		all = append(all, inForce{as, g, b, team})
	})
	slices.SortFunc(all, func(x, y inForce) int { return cmp.Compare(x.data.ID, y.data.ID) })
	if len(all) == 0 {
		w.Reason = NoRole
		return w, a.user, nil
	}
	w.all, w.Reason = all, Allowed
	for _, n := range teams {
		if t := s.teams.get(n); t.aside.owns {
			w.Teams = append(w.Teams, t.aside.data.ID)
		}
	}
	slices.Sort(w.Teams)
	w.Held = s.held(all, a.user.refuses, false)
	return w, a.user, nil
}

// TeamWhat is all that the roles of a team give at an instant (Rule EVAL-10), to
// the team as an owner and to whoever of its members gets in.
type TeamWhat struct {
	Team     access.TeamID   `json:"team"`
	At       time.Time       `json:"at"`
	Revision access.Revision `json:"revision"`
	// Reason is Allowed when the team has roles in force; otherwise it is
	// CannotHoldRoles or NoRole, and nothing else is set.
	Reason Reason `json:"reason"`
	// Held is as What has it. At user depth a line with the team is about the team's
	// own records (Rules ROLE-7, ROLE-9); one without a team is what each member has
	// as if it were their own (Rule ROLE-8), and the team itself has nothing by it.
	Held []Held `json:"held,omitempty"`
	// Sources are the assignments in force; their Depth is None.
	Sources []Source `json:"sources,omitempty"`
}

// CannotHoldRoles is why an access team has nothing (Rule TEAM-5).
const CannotHoldRoles Reason = "cannot_hold_roles"

// WhatTeam lists what the team's roles give. What keeps a user out (Rule EVAL-2)
// does not apply to teams.
func (s *Snapshot) WhatTeam(id access.TeamID, at time.Time) (TeamWhat, error) {
	w := TeamWhat{Team: id, At: at, Revision: s.revision}
	switch {
	case s.env.Locked:
		return TeamWhat{}, s.locked()
	case at.IsZero():
		return TeamWhat{}, fmt.Errorf("%w: no instant", ErrQuestion)
	}
	n, ok := s.teamIndex.get(string(id))
	if !ok || !s.teams.get(n).aside.exists {
		return TeamWhat{}, s.unknown("team", string(id))
	}
	t := s.teams.get(n)
	if !s.span(t.unit).exists() {
		return TeamWhat{}, fmt.Errorf("%w business unit of team %q in environment %q", ErrUnknown, id, s.env.ID)
	}
	if !t.aside.owns {
		w.Reason = CannotHoldRoles
		return w, nil
	}
	var all []inForce
	s.eachHeld(&t.aside.held, n, at.UnixMicro(), func(as *assignment, g grant, b *bound, team uint32) {
		all = append(all, inForce{as, g, b, team})
	})
	if w.Reason = NoRole; len(all) == 0 {
		return w, nil
	}
	slices.SortFunc(all, func(x, y inForce) int { return cmp.Compare(x.data.ID, y.data.ID) })
	w.Reason, w.Held = Allowed, s.held(all, 0, true)
	for _, f := range all {
		w.Sources = append(w.Sources, s.sourceOf(nil, f.assignment, f.grant, noTeam))
	}
	return w, nil
}

// inForce is an assignment in force, whatever it gives.
type inForce struct {
	*assignment
	grant
	bound *bound
	team  uint32
}

// everyPrivilege stands for all miscellaneous privileges, those not named by any
// role included (Rule ROLE-10).
const everyPrivilege = "*"

// held writes down the smallest list of what the assignments give, which are in
// the order of their ids, but for what the access mode refuses (Rule ACC-1). Apart
// has the records of a team written down beside what its members have as their own.
func (s *Snapshot) held(all []inForce, mode refused, apart bool) []Held {
	var out []Held
	for n := range s.tables {
		if !s.tables[n].exists {
			continue
		}
		a := asked{table: uint32(n), kind: s.tables[n].data.Ownership}
		for action := access.Create; action < access.Actions; action++ {
			if mode.refuse(API, action, s.tables[n].data.System) {
				continue
			}
			s.aim(&a, action)
			out = s.heldOf(out, &a, all, apart)
		}
	}
	misc := map[string][]access.AssignmentID{}
	for _, f := range all {
		if mode&refusesChanges != 0 {
			break
		}
		names := s.roles[f.role].Miscellaneous
		if s.roles[f.role].All {
			if names = []string{everyPrivilege}; f.bound != nil && !f.bound.all {
				names = f.bound.misc
			}
		}
		for _, m := range names {
			if a := (asked{misc: m}); m == everyPrivilege || f.bound.limit(&a, access.Global) != access.None {
				misc[m] = append(misc[m], f.data.ID)
			}
		}
	}
	for m, by := range misc {
		out = append(out, Held{Access{Miscellaneous: m, Depth: access.Global}, by})
	}
	slices.SortFunc(out, func(x, y Held) int { return x.Access.compare(y.Access) })
	return out
}

// heldOf adds the lines of one privilege.
func (s *Snapshot) heldOf(out []Held, a *asked, all []inForce, apart bool) []Held {
	var few [8]Access
	found := few[:0] // besides Global
	by := func(d access.Depth, is func(f inForce, d access.Depth, inherits bool) bool, x Access) {
		x.Table, x.Action, x.Depth = s.tables[a.table].data.ID, a.action, d
		if slices.Contains(found, x) {
			return
		}
		found = append(found, x)
		h := Held{Access: x, By: make([]access.AssignmentID, 0, len(all))}
		for _, f := range all {
			c := a.line[f.role]
			if d := f.bound.limit(a, c.depth()); d != access.None && is(f, d, c>>inheritsBit&1 != 0) {
				h.By = append(h.By, f.data.ID)
			}
		}
		out = append(out, h)
	}
	greatest, own := access.None, false
	mine := func(f inForce, d access.Depth, inherits bool) bool {
		return f.team == noTeam || d == access.Basic && inherits
	}
	for _, f := range all {
		c := a.line[f.role]
		d := f.bound.limit(a, c.depth())
		greatest = max(greatest, d)
		own = own || d != access.None && mine(f, d, c>>inheritsBit&1 != 0)
	}
	if greatest == access.None {
		return out
	}
	if greatest == access.Global || a.kind == access.NotOwned { // Rule OWN-4
		by(access.Global, func(_ inForce, d access.Depth, _ bool) bool { return d == access.Global || a.kind == access.NotOwned }, Access{})
		return out
	}
	owners := a.kind == access.UserOrTeam
	if owners && own {
		by(access.Basic, mine, Access{})
	}
	for _, f := range all {
		d := f.bound.limit(a, a.line[f.role].depth())
		if d > access.Basic && !s.coveredBy(a, all, f, d) {
			by(d, func(g inForce, e access.Depth, _ bool) bool { return e == d && g.unit == f.unit }, Access{BusinessUnit: s.nameUnit(f.unit)})
		}
		if d != access.None && owners && (!own || apart) {
			t := s.teams.get(f.team).aside.data
			by(access.Basic, func(g inForce, _ access.Depth, _ bool) bool { return g.team == f.team }, Access{Team: Named{string(t.ID), t.Name}})
		}
	}
	return out
}

// coveredBy tells whether another assignment reaches the units that f does.
func (s *Snapshot) coveredBy(a *asked, all []inForce, f inForce, d access.Depth) bool {
	for _, g := range all {
		if e := g.bound.limit(a, a.line[g.role].depth()); e == access.Deep && (g.unit != f.unit || d != e) && s.span(g.unit).holds(s.span(f.unit).first) {
			return true
		}
	}
	return false
}

// compare orders by table, action, depth downwards, unit, team; then the
// miscellaneous privileges.
func (a Access) compare(b Access) int {
	return cmp.Or(
		cmp.Compare(a.Miscellaneous, b.Miscellaneous), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Action, b.Action),
		cmp.Compare(b.Depth, a.Depth), cmp.Compare(a.BusinessUnit.ID, b.BusinessUnit.ID), cmp.Compare(a.Team.ID, b.Team.ID),
	)
}

// Diff is the difference between two answers of What about one user.
type Diff struct {
	User   access.UserID `json:"user"`
	Gained []Access      `json:"gained,omitempty"`
	Lost   []Access      `json:"lost,omitempty"`
}

// Diff tells what w reaches and before did not, and the other way round. An
// access that only changes its shape, as when a wider one replaces a narrower
// one, is gained as far as it reaches further and lost as far as it does not.
func (w What) Diff(before What) Diff {
	return Diff{User: w.User, Gained: w.beyond(before), Lost: before.beyond(w)}
}

// beyond lists what w reaches and o does not.
func (w What) beyond(o What) []Access {
	if len(w.Held) == 0 {
		return nil
	}
	var out []Access
	theirs := map[Access][]Access{} // by table, action and miscellaneous name
	key := func(a Access) Access {
		return Access{Table: a.Table, Action: a.Action, Miscellaneous: a.Miscellaneous}
	}
	for _, h := range o.Held {
		theirs[key(h.Access)] = append(theirs[key(h.Access)], h.Access)
	}
	every := theirs[Access{Miscellaneous: everyPrivilege}] != nil
	for _, h := range w.Held {
		a, other := h.Access, theirs[key(h.Access)]
		switch {
		case a.Miscellaneous != "":
			if len(other) == 0 && !every {
				out = append(out, a)
			}
		case a.Depth == access.Basic:
			out = append(out, w.ownBeyond(a, o, other)...)
		default:
			if !w.covered(a, o, other) {
				out = append(out, a)
			}
		}
	}
	return out
}

// ownBeyond is that part of user depth that the other does not reach: all of it,
// or the records of single teams.
func (w What) ownBeyond(a Access, o What, other []Access) []Access {
	for _, x := range other {
		if x.Depth == access.Global {
			return nil
		}
	}
	own := slices.ContainsFunc(other, func(x Access) bool { return x.Depth == access.Basic && x.Team == (Named{}) })
	reaches := func(team access.TeamID) bool {
		return own && slices.Contains(o.Teams, team) ||
			slices.ContainsFunc(other, func(x Access) bool { return x.Depth == access.Basic && x.Team.ID == string(team) })
	}
	if a.Team != (Named{}) {
		if reaches(access.TeamID(a.Team.ID)) {
			return nil
		}
		return []Access{a}
	}
	if !own {
		return []Access{a}
	}
	var out []Access
	for _, team := range w.Teams {
		if !reaches(team) {
			a.Team = Named{string(team), w.of.principalName(team.Principal())}
			out = append(out, a)
		}
	}
	return out
}

// covered tells whether the other reaches every unit that a reaches. A unit that
// the other's tree does not have counts as its nearest one above that it has.
func (w What) covered(a Access, o What, other []Access) bool {
	if len(other) == 0 {
		return false
	}
	for _, x := range other {
		if x.Depth == access.Global || x == a && w.of != nil && o.of != nil && w.of.tree.edit == o.of.tree.edit {
			return true
		}
	}
	s := w.of
	if t := s.tables[s.tableIndex[a.Table]].data.Ownership; a.Depth == access.Global && t != access.UserOrTeam && t != access.BusinessUnitOwned {
		return false
	}
	from := span{first: 1, last: math.MaxUint32}
	if a.Depth != access.Global {
		n, _ := s.unit(access.BusinessUnitID(a.BusinessUnit.ID))
		from = *s.span(n)
	}
	for n := range s.tree.units.count {
		if a.Depth == access.Local && s.span(n).first != from.first || !s.span(n).exists() || !from.holds(s.span(n).first) {
			continue
		}
		if !o.reachesUnit(s, n, other) {
			return false
		}
	}
	return true
}

// reachesUnit tells whether the accesses reach the unit, which is another
// snapshot's.
func (w What) reachesUnit(of *Snapshot, unit uint32, list []Access) bool {
	known, direct := span{}, true
	for ; unit != noUnit; unit = of.parent(unit) {
		if n, ok := w.of.unit(*of.tree.ids.get(unit)); ok && w.of.span(n).exists() {
			known = *w.of.span(n)
			break
		}
		direct = false
	}
	if !known.exists() {
		return false
	}
	for _, x := range list {
		if x.Depth != access.Local && x.Depth != access.Deep {
			continue
		}
		n, _ := w.of.unit(access.BusinessUnitID(x.BusinessUnit.ID))
		at := w.of.span(n)
		if x.Depth == access.Deep && at.holds(known.first) || direct && at.first == known.first {
			return true
		}
	}
	return false
}

// Flags are what makes a gain weighty (Rule JIT-61).
type Flags struct {
	// Escalating: by the gain one could give privileges.
	Escalating bool `json:"escalating"`
	// Privileged: escalating, or write or delete at depth organization.
	Privileged bool `json:"privileged"`
}

// Flags judges what was gained; escalates names the accesses by which one can
// give privileges in this environment.
func (d Diff) Flags(escalates func(Access) bool) Flags {
	var f Flags
	for _, a := range d.Gained {
		f.Escalating = f.Escalating || escalates(a)
		wide := a.Miscellaneous == "" && a.Depth == access.Global
		f.Privileged = f.Privileged || f.Escalating || wide && (a.Action == access.Write || a.Action == access.Delete)
	}
	return f
}

// Line sums up one kind of gain or loss over users.
type Line struct {
	Gain  bool `json:"gain"`
	Users int  `json:"users"`
	// Actions holds those that the same users gain or lose alike.
	Actions       access.Rights  `json:"actions,omitempty"`
	Table         access.TableID `json:"table,omitempty"`
	Depth         access.Depth   `json:"depth"`
	BusinessUnits []Named        `json:"business_units,omitempty"`
	Teams         []Named        `json:"teams,omitempty"`
	Miscellaneous string         `json:"miscellaneous,omitempty"`
}

// Summarize adds up the differences of many users, weightiest first (Rule JIT-58).
func Summarize(diffs []Diff) []Line {
	// First by single action, then those actions together that are alike in all
	// else.
	parts := map[part]*whom{}
	add := func(gain bool, u access.UserID, list []Access) {
		for _, a := range list {
			p := part{gain, a.Table, a.Action, a.Depth, a.Miscellaneous}
			w := parts[p]
			if w == nil {
				w = &whom{units: map[Named]bool{}, teams: map[Named]bool{}}
				parts[p] = w
			}
			if n := len(w.users); n == 0 || w.users[n-1] != u {
				w.users = append(w.users, u)
			}
			if a.BusinessUnit != (Named{}) {
				w.units[a.BusinessUnit] = true
			}
			if a.Team != (Named{}) {
				w.teams[a.Team] = true
			}
		}
	}
	for i := range diffs {
		add(true, diffs[i].User, diffs[i].Gained)
		add(false, diffs[i].User, diffs[i].Lost)
	}
	var alike []*summed
	for p, w := range parts {
		if !slices.IsSorted(w.users) {
			slices.Sort(w.users)
		}
		w.users = slices.Compact(w.users)
		one := &summed{Line{
			Gain: p.gain, Users: len(w.users), Table: p.table, Depth: p.depth,
			BusinessUnits: sortNames(w.units), Teams: sortNames(w.teams), Miscellaneous: p.misc,
		}, w.users}
		if i := slices.IndexFunc(alike, one.isAlike); i >= 0 {
			one = alike[i]
		} else {
			alike = append(alike, one)
		}
		if p.misc == "" {
			one.Actions |= access.RightsOf(p.action)
		}
	}
	slices.SortFunc(alike, func(x, y *summed) int {
		return cmp.Or(-compareBool(x.Gain, y.Gain), cmp.Compare(x.weight(), y.weight()), cmp.Compare(x.Table, y.Table),
			cmp.Compare(x.Miscellaneous, y.Miscellaneous), cmp.Compare(y.Depth, x.Depth), cmp.Compare(y.Users, x.Users),
			slices.Compare(x.users, y.users), slices.CompareFunc(x.BusinessUnits, y.BusinessUnits, Named.compare), slices.CompareFunc(x.Teams, y.Teams, Named.compare))
	})
	lines := make([]Line, len(alike))
	for i, l := range alike {
		lines[i] = l.Line
	}
	return lines
}

type part struct {
	gain   bool
	table  access.TableID
	action access.Action
	depth  access.Depth
	misc   string
}

type whom struct {
	users        []access.UserID
	units, teams map[Named]bool
}

// summed is a line and whom it is about, sorted.
type summed struct {
	Line
	users []access.UserID
}

// isAlike tells whether the two are alike in all but their actions.
func (l *summed) isAlike(o *summed) bool {
	return l.Gain == o.Gain && l.Table == o.Table && l.Depth == o.Depth && l.Miscellaneous == o.Miscellaneous &&
		slices.Equal(l.BusinessUnits, o.BusinessUnits) && slices.Equal(l.Teams, o.Teams) && slices.Equal(l.users, o.users)
}

func sortNames(set map[Named]bool) []Named {
	return slices.SortedFunc(maps.Keys(set), Named.compare)
}

func (n Named) compare(o Named) int {
	return cmp.Or(cmp.Compare(n.Name, o.Name), cmp.Compare(n.ID, o.ID))
}

func compareBool(x, y bool) int { return int(bit(x)) - int(bit(y)) }

// weight orders lines: organization-wide, delete and assign, write, read; what
// has no table first.
func (l Line) weight() int {
	switch {
	case l.Miscellaneous != "":
		return 0
	case l.Depth == access.Global:
		return 1
	case l.Actions&access.RightsOf(access.Delete, access.Assign, access.ShareRecord) != 0:
		return 2
	case l.Actions&access.RightsOf(access.Create, access.Write, access.Append, access.AppendTo) != 0:
		return 3
	}
	return 4
}

func (s *Snapshot) principalName(p access.Principal) string {
	switch p.Kind {
	case access.UserPrincipal:
		return s.users.get(p.ID).aside.data.Name
	case access.TeamPrincipal:
		n, _ := s.teamIndex.get(p.ID)
		return s.teams.get(n).aside.data.Name
	}
	return ""
}
