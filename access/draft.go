package access

import (
	"cmp"
	"fmt"
	"iter"
	"reflect"
	"slices"
)

// draft is a State with a changeset laid over it: what the environment would be.
// Reading it costs one look-up more than reading the State.
type draft struct {
	state   *State
	changes []Change
	asked   int // how many of the changes are the caller's; consequences follow
	faults  []*Invalid

	environments layer[EnvironmentID, Environment]
	units        layer[BusinessUnitID, BusinessUnit]
	tables       layer[TableID, Table]
	relations    layer[RelationshipID, Relationship]
	templates    layer[TemplateID, Template]
	positions    layer[PositionID, Position]
	roles        layer[RoleID, Role]
	profiles     layer[ProfileID, Profile]
	users        layer[UserID, User]
	teams        layer[TeamID, Team]
	memberships  layer[MembershipKey, Membership]
	assignments  layer[AssignmentID, Assignment]
	profiled     layer[ProfileMemberKey, ProfileMember]
	records      layer[RecordKey, Record]
	shares       layer[ShareKey, Share]
	columns      layer[ColumnShareKey, ColumnShare]
	others       layer[OtherKey, Object]
}

// layer is one kind's objects with the changes of them.
type layer[K comparable, V Object] struct {
	base    map[K]V
	changed map[K]int  // index into the draft's changes
	order   []place[K] // changed, as it came
	draft   *draft
}

// place is where the change of a key stands.
type place[K comparable] struct {
	key K
	at  int
}

func newDraft(s *State, changes []Change) *draft {
	d := &draft{state: s, changes: make([]Change, 0, len(changes))}
	var n [Kinds]int
	for _, c := range changes {
		n[min(c.Object.ObjectKind(), Kinds-1)]++
	}
	environments := map[EnvironmentID]Environment{}
	if s.Exists() {
		environments[s.Environment.ID] = s.Environment
	}
	d.environments = over(d, environments, n[KindEnvironment])
	d.units = over(d, s.BusinessUnits, n[KindBusinessUnit])
	d.tables = over(d, s.Tables, n[KindTable])
	d.relations = over(d, s.Relationships, n[KindRelationship])
	d.templates = over(d, s.Templates, n[KindTemplate])
	d.positions = over(d, s.Positions, n[KindPosition])
	d.roles = over(d, s.Roles, n[KindRole])
	d.profiles = over(d, s.Profiles, n[KindProfile])
	d.users = over(d, s.Users, n[KindUser])
	d.teams = over(d, s.Teams, n[KindTeam])
	d.memberships = over(d, s.Memberships, n[KindMembership])
	d.assignments = over(d, s.Assignments, n[KindAssignment])
	d.profiled = over(d, s.ProfileMembers, n[KindProfileMember])
	d.records = over(d, s.Records, n[KindRecord])
	d.shares = over(d, s.Shares, n[KindShare])
	d.columns = over(d, s.ColumnShares, n[KindColumnShare])
	d.others = over(d, s.Others, 0)
	for _, c := range changes {
		d.lay(c)
	}
	d.asked = len(d.changes)
	return d
}

func over[K comparable, V Object](d *draft, base map[K]V, n int) layer[K, V] {
	return layer[K, V]{base: base, changed: make(map[K]int, n), order: make([]place[K], 0, n), draft: d}
}

// lay takes one of the caller's changes.
func (d *draft) lay(c Change) {
	if env := c.Object.ObjectEnvironment(); env != d.state.Environment.ID {
		d.fault("", c.Object, fmt.Sprintf("is of environment %q, not of %q", env, d.state.Environment.ID))
		return
	}
	switch o := c.Object.(type) {
	case Environment:
		d.environments.lay(o.ID, c)
	case BusinessUnit:
		d.units.lay(o.ID, c)
	case Table:
		d.tables.lay(o.ID, c)
	case Relationship:
		d.relations.lay(o.ID, c)
	case Template:
		d.templates.lay(o.ID, c)
	case Position:
		d.positions.lay(o.ID, c)
	case Role:
		d.roles.lay(o.ID, c)
	case Profile:
		d.profiles.lay(o.ID, c)
	case User:
		d.users.lay(o.ID, c)
	case Team:
		d.teams.lay(o.ID, c)
	case Membership:
		d.memberships.lay(MembershipKey{o.Team, o.User}, c)
	case Assignment:
		d.assignments.lay(o.ID, c)
	case ProfileMember:
		d.profiled.lay(o.key(), c)
	case Record:
		d.records.lay(RecordKey{o.Table, o.ID}, c)
	case Share:
		d.shares.lay(o.key(), c)
	case ColumnShare:
		d.columns.lay(o.key(), c)
	default:
		if o.ObjectKind() < KindPolicy {
			panic(fmt.Sprintf("internal error: %T stands for a %s", o, o.ObjectKind()))
		}
		d.others.lay(OtherKey{o.ObjectKind(), o.ObjectKey()}, c)
	}
}

// get reads an object as it would be.
func (l *layer[K, V]) get(k K) (v V, ok bool) {
	if i, changed := l.changed[k]; changed {
		c := &l.draft.changes[i]
		if c.Delete {
			return v, false
		}
		return c.Object.(V), true
	}
	v, ok = l.base[k]
	return v, ok
}

func (l *layer[K, V]) has(k K) bool {
	if i, changed := l.changed[k]; changed {
		return !l.draft.changes[i].Delete
	}
	_, ok := l.base[k]
	return ok
}

// untouched yields the objects that no change names.
func (l *layer[K, V]) untouched() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, v := range l.base {
			if _, changed := l.changed[k]; !changed && !yield(k, v) {
				return
			}
		}
	}
}

// all yields every object as it would be.
func (l *layer[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, v := range l.untouched() {
			if !yield(k, v) {
				return
			}
		}
		for _, p := range l.order {
			if c := &l.draft.changes[p.at]; !c.Delete && !yield(p.key, c.Object.(V)) {
				return
			}
		}
	}
}

// changes yields each changed object as it was and as it would be.
func (l *layer[K, V]) changes() iter.Seq[edit[V]] {
	return func(yield func(edit[V]) bool) {
		for _, p := range l.order {
			c := &l.draft.changes[p.at]
			e := edit[V]{is: !c.Delete}
			e.before, e.was = l.base[p.key]
			if e.is {
				e.after, e.object = c.Object.(V), c.Object
			}
			if !yield(e) {
				return
			}
		}
	}
}

// existing yields the changes of objects that there were before.
func (l *layer[K, V]) existing() iter.Seq[edit[V]] {
	return func(yield func(edit[V]) bool) {
		for _, p := range l.order {
			before, was := l.base[p.key]
			if !was {
				continue
			}
			e := edit[V]{before: before, was: true}
			if c := &l.draft.changes[p.at]; !c.Delete {
				e.after, e.is = c.Object.(V), true
			}
			if !yield(e) {
				return
			}
		}
	}
}

// edit is one object's change.
type edit[V Object] struct {
	before, after V
	was, is       bool
	object        Object // after, as changes yields it: to make one of it again takes memory
}

// remove adds the consequence that an untouched object goes.
func (l *layer[K, V]) remove(k K) {
	if _, changed := l.changed[k]; changed {
		return
	}
	if v, ok := l.base[k]; ok {
		l.add(k, Remove(v))
	}
}

// put adds the consequence that an object becomes v.
func (l *layer[K, V]) put(k K, v V) {
	if i, changed := l.changed[k]; changed {
		l.draft.changes[i] = Put(v)
		return
	}
	l.add(k, Put(v))
}

// drop adds the consequence that an object goes, whatever was said of it.
func (l *layer[K, V]) drop(k K) {
	if i, changed := l.changed[k]; changed {
		l.draft.changes[i] = Remove(l.base[k])
		return
	}
	l.add(k, Remove(l.base[k]))
}

// asked tells whether the caller says what becomes of the object.
func (l *layer[K, V]) asked(k K) bool {
	i, changed := l.changed[k]
	return changed && i < l.draft.asked
}

func (l *layer[K, V]) add(k K, c Change) {
	l.changed[k] = len(l.draft.changes)
	l.order = append(l.order, place[K]{k, len(l.draft.changes)})
	l.draft.changes = append(l.draft.changes, c)
}

// lay takes the caller's change. The same change twice is one; two that differ
// have no order and are a fault.
func (l *layer[K, V]) lay(k K, c Change) {
	if c.Delete {
		v, ok := l.base[k]
		if _, closer := c.Object.(Closer); !ok && !closer {
			l.draft.fault("", c.Object, "cannot be deleted: it does not exist")
			return
		}
		if ok {
			c.Object = v
		}
	}
	i, again := l.changed[k]
	if !again {
		l.add(k, c)
		return
	}
	first := l.draft.changes[i]
	if first.Delete != c.Delete || !c.Delete && !reflect.DeepEqual(first.Object, c.Object) {
		l.draft.fault("", c.Object, "is changed twice in one changeset, in different ways: say which is meant")
	}
}

func (d *draft) fault(rule string, o Object, problem string) {
	d.faults = append(d.faults, &Invalid{Rule: rule, Object: nameOf(o), Problem: problem})
}

// result lists the changes so that at each step what an object refers to is
// there: what is put in creation order, then what goes in the opposite order.
func (d *draft) result() []Change {
	rank := map[BusinessUnitID]int{}
	for _, p := range d.units.order {
		if c := d.changes[p.at]; c.Delete {
			rank[p.key] = depth(c.Object.(BusinessUnit), d.state.unit)
		} else {
			rank[p.key] = depth(c.Object.(BusinessUnit), d.units.get)
		}
	}
	sorted := [][]int{
		sortChanges(&d.environments, cmp.Compare),
		sortChanges(&d.units, func(a, b BusinessUnitID) int { return cmp.Or(rank[a]-rank[b], cmp.Compare(a, b)) }),
		sortChanges(&d.tables, cmp.Compare),
		sortChanges(&d.relations, cmp.Compare),
		sortChanges(&d.templates, cmp.Compare),
		sortChanges(&d.positions, cmp.Compare),
		sortChanges(&d.roles, cmp.Compare),
		sortChanges(&d.profiles, cmp.Compare),
		sortChanges(&d.users, cmp.Compare),
		sortChanges(&d.teams, cmp.Compare),
		sortChanges(&d.memberships, func(a, b MembershipKey) int {
			if c := cmp.Compare(a.Team, b.Team); c != 0 {
				return c
			}
			return cmp.Compare(a.User, b.User)
		}),
		sortChanges(&d.assignments, cmp.Compare),
		sortChanges(&d.profiled, func(a, b ProfileMemberKey) int {
			return cmp.Or(cmp.Compare(a.Profile, b.Profile), a.Principal.compare(b.Principal))
		}),
		sortChanges(&d.records, RecordKey.compare),
		sortChanges(&d.shares, func(a, b ShareKey) int {
			return cmp.Or(a.RecordKey.compare(b.RecordKey), a.Principal.compare(b.Principal))
		}),
		sortChanges(&d.columns, func(a, b ColumnShareKey) int {
			return cmp.Or(a.RecordKey.compare(b.RecordKey), cmp.Compare(a.Column, b.Column), a.Principal.compare(b.Principal))
		}),
		sortChanges(&d.others, func(a, b OtherKey) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
		}),
	}
	out := make([]Change, 0, len(d.changes))
	for _, list := range sorted {
		for _, i := range list {
			if c := d.changes[i]; !c.Delete {
				out = append(out, c)
			}
		}
	}
	for _, list := range slices.Backward(sorted) {
		for _, i := range slices.Backward(list) {
			if c := d.changes[i]; c.Delete {
				out = append(out, c)
			}
		}
	}
	return out
}

// sortChanges lists where the changes of a kind stand, in the order of their keys.
func sortChanges[K comparable, V Object](l *layer[K, V], compare func(a, b K) int) []int {
	slices.SortFunc(l.order, func(a, b place[K]) int { return compare(a.key, b.key) })
	at := make([]int, len(l.order))
	for i, p := range l.order {
		at[i] = p.at
	}
	return at
}

func (p Principal) compare(o Principal) int {
	return cmp.Or(cmp.Compare(p.Kind, o.Kind), cmp.Compare(p.ID, o.ID))
}

func (k RecordKey) compare(o RecordKey) int {
	return cmp.Or(cmp.Compare(k.Table, o.Table), cmp.Compare(k.Record, o.Record))
}

func (s *State) unit(id BusinessUnitID) (BusinessUnit, bool) {
	b, ok := s.BusinessUnits[id]
	return b, ok
}

// depth counts the units above b.
func depth(b BusinessUnit, unit func(BusinessUnitID) (BusinessUnit, bool)) int {
	n := 0
	for b.Parent != "" {
		b, _ = unit(b.Parent)
		n++
	}
	return n
}
