package engine

import (
	"cmp"
	"math"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// unit is a node of the tree.
type unit struct {
	exists bool
	placed bool   // has a place among the others
	parent uint32 // or noUnit
	team   uint32 // the default team
	data   *access.BusinessUnit
}

// span is a unit's place in the tree's pre-order: first is its own, and those of
// the units below it lie between first and last. A unit that has no place has 0.
// Places have gaps, so that a unit that moves finds room and the others keep
// theirs.
type span struct {
	first, last uint32
	team        uint32 // the default team
	barred      bool   // disabled, or below a disabled one (Rule BU-3)
}

func (s *span) exists() bool            { return s.last != 0 }
func (s *span) holds(first uint32) bool { return s.first <= first && first <= s.last }

// tree is the business units. A change of one copies what it touches, however
// many there are; a move touches the units that move.
type tree struct {
	index names
	units rows[unit]
	ids   rows[access.BusinessUnitID] // by unit
	sizes rows[uint32]                // by unit: units in its subtree, itself included
	spans []*spanPage                 // by unit: what Check reads of it
	edit  *edit                       // owner of spans; another one means another tree
	below sorted[kid]                 // by parent: units
	order sorted[pair]                // by place: units, which is the tree's pre-order
	root  uint32                      // or noUnit
}

const spanBits = 6 // spans of a page

type spanPage struct {
	spans [1 << spanBits]span
	edit  *edit
}

// kid is a unit right below another. Those of one parent sort by id, so that a
// tree is ordered alike everywhere (Rule EVAL-12).
type kid struct {
	parent, unit uint32
	id           access.BusinessUnitID
}

func (k kid) compare(o kid) int {
	return cmp.Or(cmp.Compare(k.parent, o.parent), cmp.Compare(k.id, o.id))
}

func (s *Snapshot) span(unit uint32) *span {
	return &s.tree.spans[unit>>spanBits].spans[unit&(1<<spanBits-1)]
}

// unit returns the number of a unit that was ever mentioned.
func (s *Snapshot) unit(id access.BusinessUnitID) (uint32, bool) {
	n, ok := s.tree.index.get(string(id))
	if !ok {
		return noUnit, false
	}
	return n, true
}

// size is how many units there are in the unit's subtree.
func (s *Snapshot) size(unit uint32) int {
	if unit == noUnit {
		return 0
	}
	return int(*s.tree.sizes.get(unit))
}

// unitCount is how many units exist.
func (s *Snapshot) unitCount() int { return s.size(s.tree.root) }

// unitsBetween lists the units with places from first to last, in order.
func (s *Snapshot) unitsBetween(first, last uint32) (ids []access.BusinessUnitID) {
	s.tree.order.ascend(pairOf(first, 0), func(p pair) bool {
		if p.at() > last {
			return false
		}
		ids = append(ids, *s.tree.ids.get(p.number()))
		return true
	})
	return ids
}

func (b *builder) unit(id access.BusinessUnitID) uint32 {
	if n, ok := b.s.unit(id); ok {
		return n
	}
	t := &b.s.tree
	if t.units.count == maxRows {
		b.fail("more than %d business units", maxRows)
	}
	n := t.index.add(string(id), b.edit)
	team := b.team(id.DefaultTeam())
	*t.units.own(n, b.edit) = unit{parent: noUnit, team: team, data: &access.BusinessUnit{ID: id}}
	*t.ids.own(n, b.edit), *t.sizes.own(n, b.edit) = id, 1
	b.editSpan(n).team = team
	return n
}

// editSpan returns the unit's span, ready to be changed.
func (b *builder) editSpan(n uint32) *span {
	t := &b.s.tree
	if t.edit != b.edit {
		t.spans, t.edit = slices.Clone(t.spans), b.edit
	}
	if int(n>>spanBits) == len(t.spans) {
		t.spans = append(t.spans, &spanPage{edit: b.edit})
	}
	p := &t.spans[n>>spanBits]
	if (*p).edit != b.edit {
		*p = &spanPage{(*p).spans, b.edit}
	}
	return &(*p).spans[n&(1<<spanBits-1)]
}

func (b *builder) putUnit(o access.BusinessUnit) {
	n := b.unit(o.ID)
	u := b.s.tree.units.own(n, b.edit)
	u.exists, u.data = true, &o
	b.changedUnits = append(b.changedUnits, n)
	t := b.editTeam(u.team)
	t.aside.exists, t.aside.owns, t.unit, t.holding.idle = true, true, n, false
	t.aside.data = access.Team{
		Environment: o.Environment, ID: o.ID.DefaultTeam(), Name: o.Name, Type: access.OwnerTeam,
		BusinessUnit: o.ID, ManagedBy: access.BySystem,
	}
}

func (b *builder) dropUnit(id access.BusinessUnitID) {
	n := b.unit(id)
	u := b.s.tree.units.own(n, b.edit)
	u.exists = false
	b.changedUnits = append(b.changedUnits, n)
	b.endTeam(u.team)
}

// grow brings the tree up to date with the changed units.
func (b *builder) grow() {
	slices.Sort(b.changedUnits)
	changed := slices.Compact(b.changedUnits)
	was := b.s.tree.root
	moved := b.join(changed)
	if b.err != nil {
		return
	}
	if b.loading || was != b.s.tree.root || !b.place(moved) {
		b.label()
	}
	for _, n := range changed {
		if u := b.s.tree.units.get(n); u.exists {
			b.bar(n, u.parent != noUnit && b.s.span(u.parent).barred)
		}
	}
}

// join hangs the changed units below their parents, and judges whether all that
// exist are one tree. It returns those that were elsewhere before or nowhere.
func (b *builder) join(changed []uint32) (moved []uint32) {
	t := &b.s.tree
	if t.root != noUnit && (!t.units.get(t.root).exists || t.units.get(t.root).data.Parent != "") {
		t.root = noUnit
	}
	parents := map[uint32]uint32{}
	for _, n := range changed {
		u := t.units.get(n)
		parents[n] = noUnit
		switch {
		case !u.exists:
		case u.data.Parent != "":
			p, ok := b.s.unit(u.data.Parent)
			if !ok || !t.units.get(p).exists {
				b.fail("business unit %q: parent %q does not exist (Rule BU-1)", u.data.ID, u.data.Parent)
				return nil
			}
			parents[n] = p
		case t.root != noUnit && t.root != n:
			b.fail("business units %q and %q both have no parent (Rule BU-1)", t.units.get(t.root).data.ID, u.data.ID)
			return nil
		default:
			t.root = n
		}
		if parents[n] == u.parent && u.placed == u.exists {
			continue
		}
		moved = append(moved, n)
		if b.unplace(n); u.parent != noUnit {
			b.hang(n, u.parent, -1)
		}
	}
	for _, n := range moved {
		p := parents[n]
		if p == noUnit {
			continue
		}
		for up := p; up != noUnit; up = t.units.get(up).parent {
			if up == n {
				b.fail("business units form a cycle, or have no root (Rule BU-1)")
				return nil
			}
		}
		b.hang(n, p, 1)
	}
	for _, n := range changed {
		u := t.units.get(n)
		switch k, ok := t.below.next(kid{parent: n}); {
		case ok && k.parent == n && !u.exists:
			b.fail("business unit %q: parent %q does not exist (Rule BU-1)", k.id, u.data.ID)
		case u.exists && t.root == noUnit:
			b.fail("business units form a cycle, or have no root (Rule BU-1)")
		}
	}
	return moved
}

// hang joins the unit to a parent, or with -1 parts them.
func (b *builder) hang(n, parent uint32, by int) {
	t := &b.s.tree
	k := kid{parent, n, *t.ids.get(n)}
	if by > 0 {
		t.below.add(k, b.edit)
		t.units.own(n, b.edit).parent = parent
	} else {
		t.below.remove(k, b.edit)
		t.units.own(n, b.edit).parent = noUnit
	}
	size := int(*t.sizes.get(n))
	for up := parent; up != noUnit; up = t.units.get(up).parent {
		of := t.sizes.own(up, b.edit)
		*of = uint32(int(*of) + by*size)
	}
}

// unplace takes the places of the unit and of those below it.
func (b *builder) unplace(n uint32) {
	t := &b.s.tree
	if !t.units.get(n).placed {
		return
	}
	t.units.own(n, b.edit).placed = false
	sp := b.editSpan(n)
	t.order.remove(pairOf(sp.first, n), b.edit)
	sp.first, sp.last = 0, 0
	b.s.kids(n, b.unplace)
}

// kids calls f with each unit right below one.
func (s *Snapshot) kids(n uint32, f func(uint32)) {
	s.tree.below.ascend(kid{parent: n}, func(k kid) bool {
		if k.parent == n {
			f(k.unit)
		}
		return k.parent == n
	})
}

// place gives the units, and those below them, places among the others, which
// keep theirs. It returns false when there is no room.
func (b *builder) place(moved []uint32) bool {
	t := &b.s.tree
	for _, n := range moved {
		// The one nearest to the root that has no place brings the others along.
		for up := n; up != noUnit && !t.units.get(up).placed; up = t.units.get(up).parent {
			n = up
		}
		u := t.units.get(n)
		if u.placed || u.parent == noUnit {
			continue
		}
		k, parent := kid{u.parent, n, u.data.ID}, b.s.span(u.parent)
		// Between the places of its neighbours, from and to not included.
		from, to := parent.first, parent.last+1
		first, final := true, true
		for x, ok := t.below.before(k); ok && x.parent == k.parent; x, ok = t.below.before(x) {
			if sp := b.s.span(x.unit); sp.exists() {
				from, first = sp.last, false
				break
			}
		}
		for x, ok := t.below.after(k); ok && x.parent == k.parent; x, ok = t.below.after(x) {
			if sp := b.s.span(x.unit); sp.exists() {
				to, final = sp.first, false
				break
			}
		}
		free, size := uint64(to-from-1), uint64(*t.sizes.get(n))
		if free < size {
			return false
		}
		// At most half of what is free, and not much, so that there is room for the
		// next ones; nearer to the only neighbour, since ids often come in order.
		gap := uint64(0)
		if each := free / 2 / size; each > 1 {
			gap = min((each-1)/2, 64)
		}
		left := free - size*(1+2*gap)
		switch {
		case final && !first:
			left = min(left, 2*gap)
		case first && !final:
			left -= min(left, 2*gap)
		default:
			left /= 2
		}
		b.layOut(n, from+1+uint32(left), uint32(gap))
	}
	return true
}

// label gives all units places anew, as far apart as they go.
func (b *builder) label() {
	t := &b.s.tree
	t.order = sorted[pair]{}
	if t.root == noUnit {
		return
	}
	each := (math.MaxUint32 - 1) / uint32(b.s.unitCount())
	b.layOut(t.root, 1, (max(each, 1)-1)/2)
}

// layOut gives the unit and those below it their places, the first of them at,
// and returns the place after the last.
func (b *builder) layOut(n, at, gap uint32) uint32 {
	t := &b.s.tree
	t.units.own(n, b.edit).placed = true
	t.order.add(pairOf(at, n), b.edit)
	next := at + 1 + gap
	b.s.kids(n, func(k uint32) { next = b.layOut(k, next, gap) + gap })
	sp := b.editSpan(n)
	sp.first, sp.last = at, next-1
	return next
}

// bar spreads disabling downwards.
func (b *builder) bar(n uint32, above bool) {
	above = above || b.s.tree.units.get(n).data.Disabled
	if b.s.span(n).barred == above {
		return
	}
	b.editSpan(n).barred = above
	b.s.kids(n, func(k uint32) { b.bar(k, above) })
}
