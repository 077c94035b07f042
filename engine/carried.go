package engine

import (
	"cmp"
	"math"
	"strings"

	"github.com/ambit-iam/ambit/access"
)

// carried is what a team has: a role, at a business unit and anywhere, a column
// security profile, or its place in a business unit. It sorts by the teams' ids, so
// that who looks for a few of them finds the same ones everywhere (Rule EVAL-12).
type carried struct {
	what uint32 // a role, a profile with profileBit, or itsPlace
	unit uint32 // or anywhere
	team uint32
	id   access.TeamID
}

const (
	profileBit = 1 << 31
	itsPlace   = math.MaxUint32
	anywhere   = noUnit
)

func (c carried) compare(o carried) int {
	if c.what != o.what {
		return cmp.Compare(c.what, o.what)
	}
	if c.unit != o.unit {
		return cmp.Compare(c.unit, o.unit)
	}
	return strings.Compare(string(c.id), string(o.id))
}

// carry notes that the principal, if it is a team, has something, or with unlink
// that it has it no more.
func (b *builder) carry(note func(*builder, *sorted[carried], carried), p access.Principal, what, unit uint32) {
	if id, ok := p.Team(); ok {
		note(b, &b.s.carried, carried{what, unit, b.team(id), id})
	}
}

// carrying yields the teams that have it at the unit, until told to stop.
func (s *Snapshot) carrying(what, unit uint32, yield func(team uint32) bool) (more bool) {
	more = true
	s.carried.ascend(carried{what: what, unit: unit}, func(c carried) bool {
		if c.what != what || c.unit != unit {
			return false
		}
		more = yield(c.team)
		return more
	})
	return more
}
