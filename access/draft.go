package access

import (
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
	asked   int // changes[:asked] are the caller's, the rest are consequences
	faults  []*Invalid

	environments layer[EnvironmentID, Environment]
	units        layer[BusinessUnitID, BusinessUnit]
	tables       layer[TableID, Table]
	roles        layer[RoleID, Role]
	users        layer[UserID, User]
	teams        layer[TeamID, Team]
	memberships  layer[MembershipKey, Membership]
	assignments  layer[AssignmentID, Assignment]
	records      layer[RecordKey, Record]
	shares       layer[ShareKey, Share]
	others       layer[OtherKey, Object]
}

// layer is one kind's objects with the changes of them.
type layer[K comparable, V Object] struct {
	base    map[K]V
	changed map[K]int // index into the draft's changes
	draft   *draft
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
	d.roles = over(d, s.Roles, n[KindRole])
	d.users = over(d, s.Users, n[KindUser])
	d.teams = over(d, s.Teams, n[KindTeam])
	d.memberships = over(d, s.Memberships, n[KindMembership])
	d.assignments = over(d, s.Assignments, n[KindAssignment])
	d.records = over(d, s.Records, n[KindRecord])
	d.shares = over(d, s.Shares, n[KindShare])
	d.others = over(d, s.Others, 0)
	for _, c := range changes {
		d.lay(c)
	}
	d.asked = len(d.changes)
	return d
}

func over[K comparable, V Object](d *draft, base map[K]V, n int) layer[K, V] {
	return layer[K, V]{base: base, changed: make(map[K]int, n), draft: d}
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
	case Role:
		d.roles.lay(o.ID, c)
	case User:
		d.users.lay(o.ID, c)
	case Team:
		d.teams.lay(o.ID, c)
	case Membership:
		d.memberships.lay(MembershipKey{o.Team, o.User}, c)
	case Assignment:
		d.assignments.lay(o.ID, c)
	case Record:
		d.records.lay(RecordKey{o.Table, o.ID}, c)
	case Share:
		d.shares.lay(o.key(), c)
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
		for k, i := range l.changed {
			if c := &l.draft.changes[i]; !c.Delete && !yield(k, c.Object.(V)) {
				return
			}
		}
	}
}

// changes yields each changed object as it was and as it would be.
func (l *layer[K, V]) changes() iter.Seq[edit[V]] {
	return func(yield func(edit[V]) bool) {
		for k, i := range l.changed {
			c := &l.draft.changes[i]
			e := edit[V]{asked: i < l.draft.asked, is: !c.Delete}
			e.before, e.was = l.base[k]
			if e.is {
				e.after = c.Object.(V)
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
	asked         bool
}

// remove adds the consequence that an untouched object goes.
func (l *layer[K, V]) remove(k K) {
	if _, changed := l.changed[k]; changed {
		return
	}
	if v, ok := l.base[k]; ok {
		l.changed[k] = len(l.draft.changes)
		l.draft.changes = append(l.draft.changes, Remove(v))
	}
}

// put adds the consequence that an object becomes v.
func (l *layer[K, V]) put(k K, v V) {
	if i, changed := l.changed[k]; changed {
		l.draft.changes[i].Object = v
		return
	}
	l.changed[k] = len(l.draft.changes)
	l.draft.changes = append(l.draft.changes, Put(v))
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
		l.changed[k] = len(l.draft.changes)
		l.draft.changes = append(l.draft.changes, c)
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
	type keyed struct {
		Change
		kind Kind
		rank int // of units: the depth in the tree
		key  string
	}
	list := make([]keyed, len(d.changes))
	for i, c := range d.changes {
		list[i] = keyed{Change: c, kind: c.Object.ObjectKind(), key: c.Object.ObjectKey()}
		if b, ok := c.Object.(BusinessUnit); ok {
			if c.Delete {
				list[i].rank = d.state.depth(b)
			} else {
				list[i].rank = d.depth(b)
			}
		}
	}
	compare := func(a, b *keyed) int {
		switch {
		case a.Delete != b.Delete:
			if b.Delete {
				return -1
			}
			return 1
		case a.kind != b.kind:
			return int(a.kind) - int(b.kind)
		case a.rank != b.rank:
			return a.rank - b.rank
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	}
	slices.SortFunc(list, func(a, b keyed) int {
		if a.Delete && b.Delete {
			return compare(&b, &a)
		}
		return compare(&a, &b)
	})
	out := make([]Change, len(list))
	for i := range list {
		out[i] = list[i].Change
	}
	return out
}
