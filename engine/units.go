package engine

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// unit is a node of the tree.
type unit struct {
	exists bool
	parent uint32
	team   uint32 // the default team
	data   access.BusinessUnit
}

// span is a unit's place in the tree's pre-order, from 1: first is its own
// number, last that of the last unit below it. A unit that does not exist has 0.
type span struct {
	id          access.BusinessUnitID
	first, last uint32
	team        uint32 // the default team
	barred      bool   // disabled, or below a disabled one (Rule BU-3)
}

func (s *span) exists() bool            { return s.last != 0 }
func (s *span) holds(first uint32) bool { return s.first <= first && first <= s.last }

func (b *builder) unit(id access.BusinessUnitID) uint32 {
	if n, ok := b.s.unitIndex[id]; ok {
		return n
	}
	b.copyUnits()
	n := uint32(len(b.s.units))
	b.s.unitIndex[id] = n
	b.s.units = append(b.s.units, unit{parent: noUnit, team: b.team(id.DefaultTeam()), data: access.BusinessUnit{ID: id}})
	b.treeChanged = true // for its span
	return n
}

func (b *builder) copyUnits() {
	if !b.ownUnits {
		b.s.unitIndex, b.s.units = maps.Clone(b.s.unitIndex), slices.Clone(b.s.units)
		b.ownUnits = true
	}
}

func (b *builder) putUnit(o access.BusinessUnit) {
	n := b.unit(o.ID)
	b.copyUnits()
	b.treeChanged = true
	u := &b.s.units[n]
	u.exists, u.data = true, o
	t := b.editTeam(u.team)
	t.aside.exists, t.aside.owns, t.unit, t.holding.idle = true, true, n, false
	t.aside.data = access.Team{
		Environment: o.Environment, ID: o.ID.DefaultTeam(), Name: o.Name, Type: access.OwnerTeam,
		BusinessUnit: o.ID, ManagedBy: access.BySystem,
	}
}

func (b *builder) dropUnit(id access.BusinessUnitID) {
	n := b.unit(id)
	b.copyUnits()
	b.treeChanged = true
	b.s.units[n].exists = false
	b.endTeam(b.s.units[n].team)
}

// label numbers the tree in pre-order and spreads disabling downwards.
func (b *builder) label() {
	s := b.s
	b.copyUnits()
	s.spans = make([]span, len(s.units))
	children := make([][]uint32, len(s.units))
	root, live := uint32(noUnit), 0
	for i := range s.units {
		u := &s.units[i]
		s.spans[i].team, s.spans[i].id = u.team, u.data.ID
		if u.parent = noUnit; !u.exists {
			continue
		}
		live++
		if u.data.Parent == "" {
			if root != noUnit {
				b.fail("business units %q and %q both have no parent (Rule BU-1)", s.units[root].data.ID, u.data.ID)
				return
			}
			root = uint32(i)
			continue
		}
		p, ok := s.unitIndex[u.data.Parent]
		if !ok || !s.units[p].exists {
			b.fail("business unit %q: parent %q does not exist (Rule BU-1)", u.data.ID, u.data.Parent)
			return
		}
		u.parent = p
		children[p] = append(children[p], uint32(i))
	}
	s.preorder = make([]access.BusinessUnitID, 0, live)
	var visit func(n uint32, barred bool)
	visit = func(n uint32, barred bool) {
		sp := &s.spans[n]
		s.preorder = append(s.preorder, sp.id)
		sp.first, sp.barred = uint32(len(s.preorder)), barred || s.units[n].data.Disabled
		// By id, so that a tree is numbered alike everywhere (Rule EVAL-12).
		slices.SortFunc(children[n], func(x, y uint32) int { return cmp.Compare(s.spans[x].id, s.spans[y].id) })
		for _, c := range children[n] {
			visit(c, sp.barred)
		}
		sp.last = uint32(len(s.preorder))
	}
	if root != noUnit {
		visit(root, false)
	}
	if s.unitCount = live; len(s.preorder) != live {
		b.fail("business units form a cycle, or have no root (Rule BU-1)")
	}
}
