package engine

import (
	"cmp"
	"math"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// unit is a node of the tree.
type unit struct {
	data *access.BusinessUnit // nil: does not exist
	kids *page[kid]           // those right below it, or nil
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
// many there are; a move touches the units that move, and the sizes of those above.
type tree struct {
	index names
	units rows[unit]
	ids   rows[access.BusinessUnitID] // by unit
	sizes rows[uint32]                // by unit: units in its subtree, itself included
	spans []*spanPage                 // by unit: what Check reads of it, and the parents
	edit  *edit                       // owner of spans; another one means another tree
	root  uint32                      // or noUnit
}

const spanBits = 6 // spans of a page

type spanPage struct {
	spans   [1 << spanBits]span
	parents [1 << spanBits]uint32 // or noUnit
	edit    *edit
}

// kid is a unit right below another. They sort by id, so that a tree is ordered
// alike everywhere (Rule EVAL-12).
type kid struct {
	id   access.BusinessUnitID
	unit uint32
}

func (k kid) compare(o kid) int { return cmp.Compare(k.id, o.id) }

func (s *Snapshot) span(unit uint32) *span {
	return &s.tree.spans[unit>>spanBits].spans[unit&(1<<spanBits-1)]
}

// parent is the unit right above, or noUnit.
func (s *Snapshot) parent(unit uint32) uint32 {
	return s.tree.spans[unit>>spanBits].parents[unit&(1<<spanBits-1)]
}

// kids are the units right below one.
func (s *Snapshot) kids(n uint32) sorted[kid] { return sorted[kid]{root: s.tree.units.get(n).kids} }

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

// within yields the units with places from first to last, in the tree's order,
// until told to stop.
func (s *Snapshot) within(first, last uint32, yield func(kid) bool) {
	if root := s.tree.root; root != noUnit {
		s.withinOf(kid{*s.tree.ids.get(root), root}, first, last, yield)
	}
}

// withinOf yields those of them that are the unit or below it.
func (s *Snapshot) withinOf(k kid, first, last uint32, yield func(kid) bool) (more bool) {
	sp := s.span(k.unit)
	if sp.last < first || last < sp.first {
		return true
	}
	if sp.first >= first && !yield(k) {
		return false
	}
	kids := s.tree.units.get(k.unit).kids
	return kids == nil || s.withinKids(kids, first, last, yield)
}

// withinKids yields those of them that are units of the page or below one.
func (s *Snapshot) withinKids(p *page[kid], first, last uint32, yield func(kid) bool) (more bool) {
	for i, k := range p.keys {
		switch {
		case s.span(k.unit).first > last:
			return true
		case i+1 < len(p.keys) && s.span(p.keys[i+1].unit).first <= first: // all of these come before
		case p.kids != nil && !s.withinKids(p.kids[i], first, last, yield), p.kids == nil && !s.withinOf(k, first, last, yield):
			return false
		}
	}
	return true
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
	t.units.own(n, b.edit)
	*t.ids.own(n, b.edit), *t.sizes.own(n, b.edit) = id, 1
	p, i := b.editSpans(n)
	p.spans[i].team, p.parents[i] = team, noUnit
	return n
}

// editSpans returns the page with the unit's span and parent, ready to be changed,
// and its place there.
func (b *builder) editSpans(n uint32) (p *spanPage, i uint32) {
	t := &b.s.tree
	if t.edit != b.edit {
		t.spans, t.edit = slices.Clone(t.spans), b.edit
	}
	if int(n>>spanBits) == len(t.spans) {
		t.spans = append(t.spans, &spanPage{edit: b.edit})
	}
	at := &t.spans[n>>spanBits]
	if (*at).edit != b.edit {
		*at = &spanPage{(*at).spans, (*at).parents, b.edit}
	}
	return *at, n & (1<<spanBits - 1)
}

// editSpan returns the unit's span, ready to be changed.
func (b *builder) editSpan(n uint32) *span {
	p, i := b.editSpans(n)
	return &p.spans[i]
}

func (b *builder) putUnit(o access.BusinessUnit) {
	n := b.unit(o.ID)
	b.s.tree.units.own(n, b.edit).data = &o
	b.changedUnits = append(b.changedUnits, n)
	t := b.editTeam(b.s.span(n).team)
	t.aside.exists, t.aside.owns, t.unit, t.holding.idle = true, true, n, false
	t.aside.data = access.Team{
		Environment: o.Environment, ID: o.ID.DefaultTeam(), Name: o.Name, Type: access.OwnerTeam,
		BusinessUnit: o.ID, ManagedBy: access.BySystem,
	}
}

func (b *builder) dropUnit(id access.BusinessUnitID) {
	n := b.unit(id)
	b.s.tree.units.own(n, b.edit).data = nil
	b.changedUnits = append(b.changedUnits, n)
	b.endTeam(b.s.span(n).team)
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
		if p := b.s.parent(n); b.s.tree.units.get(n).data != nil {
			b.bar(n, p != noUnit && b.s.span(p).barred)
		}
	}
}

// move is a unit that was elsewhere before or nowhere.
type move struct {
	unit, parent uint32 // the latter may be noUnit
}

// join hangs the changed units below their parents, and judges whether all that
// exist are one tree. It returns those that move.
func (b *builder) join(changed []uint32) (moved []move) {
	t := &b.s.tree
	if t.root != noUnit {
		if o := t.units.get(t.root).data; o == nil || o.Parent != "" {
			t.root = noUnit
		}
	}
	for _, n := range changed {
		o, m := t.units.get(n).data, move{n, noUnit}
		switch {
		case o == nil:
		case o.Parent != "":
			p, ok := b.s.unit(o.Parent)
			if !ok || t.units.get(p).data == nil {
				b.fail("business unit %q: parent %q does not exist (Rule BU-1)", o.ID, o.Parent)
				return nil
			}
			m.parent = p
		case t.root != noUnit && t.root != n:
			b.fail("business units %q and %q both have no parent (Rule BU-1)", *t.ids.get(t.root), o.ID)
			return nil
		default:
			t.root = n
		}
		p := b.s.parent(n)
		if m.parent == p && b.s.span(n).exists() == (o != nil) {
			continue
		}
		moved = append(moved, m)
		if b.unplace(n); p != noUnit {
			b.unhang(n, p)
		}
	}
	for _, m := range moved {
		if m.parent == noUnit {
			continue
		}
		for up := m.parent; up != noUnit; up = b.s.parent(up) {
			if up == m.unit {
				b.fail("business units form a cycle, or have no root (Rule BU-1)")
				return nil
			}
		}
		b.hang(m)
	}
	for _, n := range changed {
		kids := b.s.kids(n)
		switch first, ok := kids.next(kid{}); {
		case ok && t.units.get(n).data == nil:
			b.fail("business unit %q: parent %q does not exist (Rule BU-1)", first.id, *t.ids.get(n))
		case t.units.get(n).data != nil && t.root == noUnit:
			b.fail("business units form a cycle, or have no root (Rule BU-1)")
		}
	}
	return moved
}

// hang joins a unit to its parent.
func (b *builder) hang(m move) {
	t := &b.s.tree
	p, i := b.editSpans(m.unit)
	p.parents[i] = m.parent
	kids := b.s.kids(m.parent)
	kids.add(kid{*t.ids.get(m.unit), m.unit}, b.edit)
	t.units.own(m.parent, b.edit).kids = kids.root
	b.resize(m.parent, b.s.size(m.unit))
}

// unhang takes a unit from its parent.
func (b *builder) unhang(n, parent uint32) {
	t := &b.s.tree
	p, i := b.editSpans(n)
	p.parents[i] = noUnit
	kids := b.s.kids(parent)
	kids.remove(kid{*t.ids.get(n), n}, b.edit)
	t.units.own(parent, b.edit).kids = kids.root
	b.resize(parent, -b.s.size(n))
}

// resize adds to the sizes of the unit and of those above it.
func (b *builder) resize(n uint32, by int) {
	for ; n != noUnit; n = b.s.parent(n) {
		of := b.s.tree.sizes.own(n, b.edit)
		*of = uint32(int(*of) + by)
	}
}

// unplace takes the places of the unit and of those below it.
func (b *builder) unplace(n uint32) {
	if !b.s.span(n).exists() {
		return
	}
	sp := b.editSpan(n)
	sp.first, sp.last = 0, 0
	b.eachKid(n, b.unplace)
}

// eachKid calls f with each unit right below one.
func (b *builder) eachKid(n uint32, f func(uint32)) {
	kids := b.s.kids(n)
	kids.ascend(kid{}, func(k kid) bool {
		f(k.unit)
		return true
	})
}

// place gives the units that move, and those below them, places among the others,
// which keep theirs. It returns false when there is no room.
func (b *builder) place(moved []move) bool {
	t := &b.s.tree
	for _, m := range moved {
		// The one nearest to the root that has no place brings the others along.
		n := m.unit
		for up := n; up != noUnit && !b.s.span(up).exists(); up = b.s.parent(up) {
			n = up
		}
		above := b.s.parent(n)
		if b.s.span(n).exists() || above == noUnit {
			continue
		}
		k, kids, parent := kid{*t.ids.get(n), n}, b.s.kids(above), b.s.span(above)
		// Between the places of its neighbours, from and to not included.
		from, to := parent.first, parent.last+1
		first, final := true, true
		for x, ok := kids.before(k); ok; x, ok = kids.before(x) {
			if sp := b.s.span(x.unit); sp.exists() {
				from, first = sp.last, false
				break
			}
		}
		for x, ok := kids.after(k); ok; x, ok = kids.after(x) {
			if sp := b.s.span(x.unit); sp.exists() {
				to, final = sp.first, false
				break
			}
		}
		free, size := uint64(to-from-1), uint64(b.s.size(n))
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
	if root := b.s.tree.root; root != noUnit {
		each := (math.MaxUint32 - 1) / uint32(b.s.unitCount())
		b.layOut(root, 1, (max(each, 1)-1)/2)
	}
}

// layOut gives the unit and those below it their places, the first of them at,
// and returns the place after the last.
func (b *builder) layOut(n, at, gap uint32) uint32 {
	next := at + 1 + gap
	b.eachKid(n, func(k uint32) { next = b.layOut(k, next, gap) + gap })
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
	b.eachKid(n, func(k uint32) { b.bar(k, above) })
}
