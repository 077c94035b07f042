package access

import (
	"cmp"
	"errors"
	"fmt"
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
// the consequences that the rules demand: what ends with a deleted object, and
// what a change of business unit takes along (Rules OWN-13, OWN-14, BU-11). What
// the caller asks for in the same changeset stands before a consequence.
//
// The changes may come in any order. What comes back can be applied in its
// order, is the same for every order of the input, and is its own expansion. s
// is not changed. The error joins one *Invalid for each fault, sorted.
//
// The cost goes by the number of changes and of consequences. Deleting or moving
// business units, deleting or moving roles and tables, deleting teams, and
// whatever touches a System Administrator, read more of the environment.
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

func (d *draft) addConsequences() {
	d.endUnits()
	d.endTables()
	d.endRoles()
	d.endTeams()
	for e := range d.users.existing() {
		p := e.before.ID.Principal()
		switch {
		case !e.is:
			for t := range d.state.TeamsOf(e.before.ID) {
				d.memberships.remove(MembershipKey{t, e.before.ID})
			}
			d.endPrincipal(p)
		case e.before.BusinessUnit != e.after.BusinessUnit:
			d.move(p, e.after.BusinessUnit)
		}
	}
	d.switchToClassic()
	for e := range d.records.changes() {
		switch {
		case e.was && !e.is: // Rule SHARE-9
			k := RecordKey{e.before.Table, e.before.ID}
			for p := range d.state.index.shared[k] {
				d.shares.remove(ShareKey{k, p})
			}
		case e.is && e.after.BusinessUnit == "" && e.after.Owner != Principal{}:
			// Rule OWN-5: without a unit of its own, the record is its owner's unit's.
			e.after.BusinessUnit, _ = d.unitOf(e.after.Owner)
			d.records.put(RecordKey{e.after.Table, e.after.ID}, e.after)
		}
	}
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

// endTables ends the records and shares of a deleted table and takes its lines
// out of the roles.
func (d *draft) endTables() {
	gone := deleted(&d.tables, func(t Table) TableID { return t.ID })
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

// endTeams ends what hangs on deleted teams and moves what follows moved ones
// (Rules TEAM-8, OWN-14).
func (d *draft) endTeams() {
	gone := deleted(&d.teams, func(t Team) TeamID { return t.ID })
	if len(gone) > 0 {
		for k := range d.memberships.untouched() {
			if gone[k.Team] {
				d.memberships.remove(k)
			}
		}
	}
	for e := range d.teams.existing() {
		switch p := e.before.ID.Principal(); {
		case !e.is:
			d.endPrincipal(p)
		case e.before.BusinessUnit != e.after.BusinessUnit:
			d.move(p, e.after.BusinessUnit)
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

// endPrincipal ends the assignments and shares of a principal that goes (Rule
// SHARE-9). Records it owns are not its to take along.
func (d *draft) endPrincipal(p Principal) {
	for id := range d.state.AssignmentsOf(p) {
		d.assignments.remove(id)
	}
	for k := range d.state.index.received[p] {
		d.shares.remove(ShareKey{k, p})
	}
}

// move does what a change of unit takes along: the assignments end, elevations
// among them, unless the environment keeps users' roles; the records follow
// (Rules OWN-13, OWN-14). Assignments and records that the changeset itself puts
// are as it says.
func (d *draft) move(p Principal, to BusinessUnitID) {
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
