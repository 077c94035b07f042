package access

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Invalid is one fault of a changeset: which rule which object would break, and
// what to do about it.
type Invalid struct {
	Rule    string // such as "BU-4"; empty where no numbered rule says it
	Object  string // kind and key, such as "business_unit sales"
	Problem string
}

func (i *Invalid) Error() string {
	if i.Rule == "" {
		return i.Object + " " + i.Problem
	}
	return fmt.Sprintf("%s %s (Rule %s)", i.Object, i.Problem, i.Rule)
}

// Expand judges a changeset against the invariants of the environment and adds
// the consequences that the rules demand: what ends with a deleted object, what a
// change of business unit takes along (Rules OWN-13, OWN-14, BU-11), and what runs
// along relationships between registered records (Rules OWN-10, OWN-12, SHARE-7).
// What the caller asks for in the same changeset stands before a consequence; but
// rights that come along a relationship come to a share whatever is said of it.
//
// The changes may come in any order. What comes back can be applied in its
// order, is the same for every order of the input, and is its own expansion. s
// is not changed. The error joins one *Invalid for each fault, sorted.
//
// The cost goes by the number of changes and of consequences. Deleting or moving
// business units, deleting or moving roles, tables, relationships, templates and
// profiles, deleting teams but those of templates, and whatever touches a System
// Administrator, read more of the environment.
func (s *State) Expand(changes []Change) ([]Change, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	d := newDraft(s, changes)
	if _, ok := d.environments.get(s.Environment.ID); !ok && s.Exists() {
		d.deleteEnvironment()
	} else {
		d.addConsequences()
		d.validate()
	}
	if len(d.faults) > 0 {
		slices.SortFunc(d.faults, func(a, b *Invalid) int {
			return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Problem, b.Problem))
		})
		all := make([]error, len(d.faults))
		for i, f := range d.faults {
			all[i] = f
		}
		return nil, errors.Join(all...)
	}
	return d.result(), nil
}

// Expansion is a changeset as Expand gave it, with what it was judged on, so that
// who is handed one need not expand it again.
type Expansion struct {
	environment EnvironmentID
	version     *byte
	changes     []Change
}

// Expansion is Expand for handing on.
func (s *State) Expansion(changes []Change) (Expansion, error) {
	full, err := s.Expand(changes)
	return Expansion{s.Environment.ID, s.version, full}, err
}

// Environment is the one that the changes are of.
func (e Expansion) Environment() EnvironmentID { return e.environment }

// Changes are the caller's and what follows from them, in order. They must not be
// changed.
func (e Expansion) Changes() []Change { return e.changes }

// Holds tells whether the expansion was made on s as it is now, or on another
// state of the environment in which nothing ever was, as in s.
func (e Expansion) Holds(s *State) bool {
	return e.environment == s.Environment.ID && e.version == s.version
}

// deleteEnvironment ends everything in it.
func (d *draft) deleteEnvironment() {
	if id := d.state.Environment.ID; id == AmbitEnvironment {
		d.fault("", d.state.Environment, "cannot be deleted: Ambit is administered in it")
	}
	for _, c := range d.changes {
		if !c.Delete {
			d.fault("", c.Object, "cannot be put: the same changeset deletes its environment")
		}
	}
	removeAll(&d.units)
	removeAll(&d.tables)
	removeAll(&d.relations)
	removeAll(&d.templates)
	removeAll(&d.positions)
	removeAll(&d.roles)
	removeAll(&d.profiles)
	removeAll(&d.users)
	removeAll(&d.teams)
	removeAll(&d.memberships)
	removeAll(&d.assignments)
	removeAll(&d.profiled)
	removeAll(&d.records)
	removeAll(&d.shares)
	removeAll(&d.columns)
	removeAll(&d.others)
}

func removeAll[K comparable, V Object](l *layer[K, V]) {
	for k := range l.base {
		l.remove(k)
	}
}

// addConsequences adds what the caller's changes bring with them. First goes what
// ends, then what moves, and at last what comes along relationships, so that each
// step finds what the ones before it left.
func (d *draft) addConsequences() {
	for e := range d.shares.changes() {
		if e.is {
			d.checkAlong(e.after)
		}
	}
	d.endUnits()
	d.endTables()
	d.endColumns()
	ended := d.endedRelationships()
	d.endRecords(ended)
	d.endProfiles()
	d.endRoles()
	d.endUsers()
	d.endTeams()
	d.move()
	d.switchToClassic()
	d.endLinks(ended)
	d.settle()
	d.assignAlong()
	d.sharePrevious()
	d.inherit(ended)
}

// endUnits ends, with a deleted unit, the roles that it defines, the assignments
// in it and what its default team received. Whatever people must move first,
// validate refuses (Rule BU-4).
func (d *draft) endUnits() {
	gone := deleted(&d.units, func(b BusinessUnit) BusinessUnitID { return b.ID })
	if len(gone) == 0 {
		return
	}
	for id := range gone {
		d.endPrincipal(id.DefaultTeam().Principal())
	}
	for id, r := range d.roles.untouched() {
		if gone[r.BusinessUnit] {
			d.roles.remove(id)
		}
	}
	for id, a := range d.assignments.untouched() {
		if gone[a.BusinessUnit] {
			d.assignments.remove(id)
		}
	}
}

// endTables ends what is of a deleted table: relationships, templates, records,
// shares and the lines of roles. A table that hierarchy security left out is not
// named there any more once it is gone or has no owners (Rule HIER-1).
func (d *draft) endTables() {
	gone, left := map[TableID]bool{}, map[TableID]bool{}
	for e := range d.tables.existing() {
		gone[e.before.ID] = !e.is
		left[e.before.ID] = !e.is || e.after.Ownership != UserOrTeam
	}
	leaves := func(t TableID) bool { return left[t] }
	if env := d.environment(); env.Hierarchy != nil && !d.environments.asked(env.ID) && slices.ContainsFunc(env.Hierarchy.Except, leaves) {
		h := *env.Hierarchy
		h.Except = slices.DeleteFunc(slices.Clone(h.Except), leaves)
		env.Hierarchy = &h
		d.environments.put(env.ID, env)
	}
	maps.DeleteFunc(gone, func(_ TableID, gone bool) bool { return !gone })
	if len(gone) == 0 {
		return
	}
	names := func(p Privilege) bool { return gone[p.Table] }
	for id, r := range d.roles.untouched() {
		if slices.ContainsFunc(r.Privileges, names) {
			r.Privileges = slices.DeleteFunc(slices.Clone(r.Privileges), names)
			d.roles.put(id, r)
		}
	}
	for id, r := range d.relations.untouched() {
		if gone[r.Table] || gone[r.Parent] {
			d.relations.remove(id)
		}
	}
	for id, t := range d.templates.untouched() {
		if gone[t.Table] {
			d.templates.remove(id)
		}
	}
	for k := range d.records.untouched() {
		if gone[k.Table] {
			d.records.remove(k)
		}
	}
	for k := range d.shares.untouched() {
		if gone[k.Table] {
			d.shares.remove(k)
		}
	}
}

// endColumns takes columns that are no longer secured out of the profiles, and
// ends the shares of them (Rules FLS-1, FLS-7).
func (d *draft) endColumns() {
	type column struct {
		table TableID
		name  string
	}
	gone := map[column]bool{}
	for e := range d.tables.existing() {
		var now []string
		if e.is {
			now = e.after.SecuredColumns()
		}
		for _, c := range e.before.SecuredColumns() {
			if _, ok := slices.BinarySearch(now, c); !ok {
				gone[column{e.before.ID, c}] = true
			}
		}
	}
	if len(gone) == 0 {
		return
	}
	names := func(c ProfileColumn) bool { return gone[column{c.Table, c.Column}] }
	for id, p := range d.profiles.untouched() {
		if slices.ContainsFunc(p.Columns, names) {
			p.Columns = slices.DeleteFunc(slices.Clone(p.Columns), names)
			d.profiles.put(id, p)
		}
	}
	for k := range d.columns.untouched() {
		if gone[column{k.Table, k.Column}] {
			d.columns.remove(k)
		}
	}
}

// endProfiles ends the memberships of deleted profiles.
func (d *draft) endProfiles() {
	gone := deleted(&d.profiles, func(p Profile) ProfileID { return p.ID })
	if len(gone) == 0 {
		return
	}
	for k := range d.profiled.untouched() {
		if gone[k.Profile] {
			d.profiled.remove(k)
		}
	}
}

// endRoles ends the assignments of deleted roles, and those in units in which a
// moved role no longer exists (Rules ROLE-2, ROLE-3).
func (d *draft) endRoles() {
	changed := map[RoleID]bool{}
	for e := range d.roles.existing() {
		if !e.is || e.before.BusinessUnit != e.after.BusinessUnit {
			changed[e.before.ID] = true
		}
	}
	if len(changed) == 0 {
		return
	}
	for id, a := range d.assignments.untouched() {
		if !changed[a.Role] {
			continue
		}
		if r, ok := d.roles.get(a.Role); !ok || !d.within(a.BusinessUnit, r.BusinessUnit) {
			d.assignments.remove(id)
		}
	}
}

// endUsers ends what hangs on deleted users.
func (d *draft) endUsers() {
	for e := range d.users.existing() {
		if e.is {
			continue
		}
		for t := range d.state.TeamsOf(e.before.ID) {
			d.memberships.remove(MembershipKey{t, e.before.ID})
		}
		d.endPrincipal(e.before.ID.Principal())
	}
}

// endTeams ends teams of templates whose template or record is gone, or whose
// last member leaves (Rule TEAM-6), and what hangs on deleted teams (Rule TEAM-8).
func (d *draft) endTeams() {
	if templates := deleted(&d.templates, func(t Template) TemplateID { return t.ID }); len(templates) > 0 {
		for id, t := range d.teams.untouched() {
			if t.For != nil && templates[t.For.Template] {
				d.teams.remove(id)
			}
		}
	}
	for e := range d.records.existing() {
		if !e.is {
			for id := range d.state.index.teams[e.before.key()] {
				d.teams.remove(id)
			}
		}
	}
	d.endEmptyTeams()
	many := map[TeamID]bool{} // teams whose members no index lists
	for e := range d.teams.existing() {
		if e.is {
			continue
		}
		d.endPrincipal(e.before.ID.Principal())
		if e.before.For == nil {
			many[e.before.ID] = true
			continue
		}
		for u := range d.state.index.members[e.before.ID] {
			d.memberships.remove(MembershipKey{e.before.ID, u})
		}
	}
	if len(many) == 0 {
		return
	}
	for k := range d.memberships.untouched() {
		if many[k.Team] {
			d.memberships.remove(k)
		}
	}
}

// endEmptyTeams ends the teams of templates that lose their last member. Those
// that the changeset puts stay.
func (d *draft) endEmptyTeams() {
	left, joined := map[TeamID]bool{}, map[TeamID]bool{}
	for e := range d.memberships.changes() {
		switch {
		case e.is:
			joined[e.after.Team] = true
		case e.was && d.state.Teams[e.before.Team].For != nil:
			left[e.before.Team] = true
		}
	}
	for id := range left {
		stays := func(u UserID) bool { return d.memberships.has(MembershipKey{id, u}) }
		if !joined[id] && !slices.ContainsFunc(slices.Collect(maps.Keys(d.state.index.members[id])), stays) {
			d.teams.remove(id)
		}
	}
}

func deleted[K comparable, V Object](l *layer[K, V], id func(V) K) map[K]bool {
	gone := map[K]bool{}
	for e := range l.existing() {
		if !e.is {
			gone[id(e.before)] = true
		}
	}
	return gone
}

// endPrincipal ends the assignments, shares and profiles of a principal that goes
// (Rule SHARE-9). Records it owns are not its to take along.
func (d *draft) endPrincipal(p Principal) {
	for id := range d.state.AssignmentsOf(p) {
		d.assignments.remove(id)
	}
	for k := range d.state.index.received[p] {
		d.shares.remove(ShareKey{k, p})
	}
	for k := range d.state.index.columnsOf[p] {
		d.columns.remove(k)
	}
	for _, id := range d.state.index.profiles[p] {
		d.profiled.remove(ProfileMemberKey{id, p})
	}
}

// move takes along what follows users and teams who change their unit.
func (d *draft) move() {
	for e := range d.users.existing() {
		if e.is && e.before.BusinessUnit != e.after.BusinessUnit {
			d.follow(e.before.ID.Principal(), e.after.BusinessUnit)
		}
	}
	for e := range d.teams.existing() {
		if e.is && e.before.BusinessUnit != e.after.BusinessUnit {
			d.follow(e.before.ID.Principal(), e.after.BusinessUnit)
		}
	}
}

// follow does what a change of unit takes along: the assignments end, elevations
// among them, unless the environment keeps users' roles; the records follow
// (Rules OWN-13, OWN-14). Assignments and records that the changeset itself puts
// are as it says.
func (d *draft) follow(p Principal, to BusinessUnitID) {
	env := d.environment()
	if p.Kind == TeamPrincipal || !env.KeepRoles || !env.Modernized {
		for id := range d.state.AssignmentsOf(p) {
			d.assignments.remove(id)
		}
	}
	if env.Modernized && env.KeepRecordUnit {
		return
	}
	for k := range d.state.index.owned[p] {
		if _, changed := d.records.changed[k]; !changed {
			r := d.records.base[k]
			r.BusinessUnit = to
			d.records.put(k, r)
		}
	}
}

// switchToClassic brings records and assignments to their principals' units when
// the environment gives modernized units up (Rule BU-11).
func (d *draft) switchToClassic() {
	if !d.state.Environment.Modernized || d.environment().Modernized {
		return
	}
	for k, r := range d.records.untouched() {
		if unit, ok := d.unitOf(r.Owner); ok && r.Owner != (Principal{}) && unit != r.BusinessUnit {
			r.BusinessUnit = unit
			d.records.put(k, r)
		}
	}
	for id, a := range d.assignments.untouched() {
		if unit, ok := d.unitOf(a.Principal); ok && unit != a.BusinessUnit {
			d.assignments.remove(id)
		}
	}
}

// environment is the environment's settings as they would be.
func (d *draft) environment() Environment {
	e, _ := d.environments.get(d.state.Environment.ID)
	return e
}

// unitOf is the one unit of a user or team (Rule BU-7).
func (d *draft) unitOf(p Principal) (BusinessUnitID, bool) {
	if u, ok := p.User(); ok {
		user, ok := d.users.get(u)
		return user.BusinessUnit, ok
	}
	t, ok := p.Team()
	if !ok {
		return "", false
	}
	if unit, ok := t.DefaultOf(); ok {
		return unit, d.units.has(unit)
	}
	team, ok := d.teams.get(t)
	return team.BusinessUnit, ok
}

// within tells whether unit lies in the subtree of top (Rule BU-2). It ends even
// where the tree has a cycle.
func (d *draft) within(unit, top BusinessUnitID) bool {
	for range len(d.units.base) + len(d.units.changed) + 1 {
		if unit == top {
			return d.units.has(unit)
		}
		b, ok := d.units.get(unit)
		if !ok || b.Parent == "" {
			return false
		}
		unit = b.Parent
	}
	return false
}

func nameOf(o Object) string {
	return o.ObjectKind().String() + " " + o.ObjectKey()
}
