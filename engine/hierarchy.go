package engine

import (
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// position is a node of the position hierarchy (Rule HIER-7).
type position struct {
	exists bool
	parent uint32 // or noPosition
	below  []uint32
	data   access.Position
}

func (b *builder) position(id access.PositionID) uint32 {
	if n, ok := b.s.positionIndex[id]; ok {
		return n
	}
	b.copyPositions()
	n := uint32(len(b.s.positions))
	b.s.positionIndex[id] = n
	b.s.positions = append(b.s.positions, position{parent: noPosition, data: access.Position{ID: id}})
	return n
}

func (b *builder) copyPositions() {
	if !b.ownPositions {
		b.s.positionIndex, b.s.positions = maps.Clone(b.s.positionIndex), slices.Clone(b.s.positions)
		b.ownPositions = true
	}
}

func (b *builder) putPosition(o access.Position) {
	n := b.position(o.ID)
	b.copyPositions()
	b.positionsChanged = true
	p := &b.s.positions[n]
	p.exists, p.data = true, o
}

func (b *builder) dropPosition(id access.PositionID) {
	n := b.position(id)
	b.copyPositions()
	b.positionsChanged = true
	b.s.positions[n].exists = false
}

// linkPositions finds each position's neighbours anew. A link to or from one that
// does not exist is none.
func (b *builder) linkPositions() {
	s := b.s
	for n := range s.positions {
		s.positions[n].parent, s.positions[n].below = noPosition, nil
	}
	for n := range s.positions {
		p := &s.positions[n]
		if above, ok := s.positionIndex[p.data.Parent]; ok && p.exists && s.positions[above].exists {
			p.parent = above
			s.positions[above].below = append(s.positions[above].below, uint32(n))
		}
	}
}
