package engine

import (
	"math"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// held is what roles a principal has been assigned. Assignments without a window
// or bound stand apart, so that they cost nothing more.
type held struct {
	standing    []grant
	assignments []*assignment // as standing
	windowed    []windowed
}

func (h held) clone() held {
	return held{slices.Clone(h.standing), slices.Clone(h.assignments), slices.Clone(h.windowed)}
}

// holding repeats in a row what Check reads of held.
type holding struct {
	first [2]grant
	count uint16 // of standing
	timed bool   // there are windowed ones
	idle  bool   // none counts: the team does not exist or is of a type that holds no roles
}

func (h *holding) take(aside *held) {
	h.count, h.timed = uint16(min(len(aside.standing), math.MaxUint16)), len(aside.windowed) > 0
	copy(h.first[:], aside.standing)
}

// short tells whether the row has all of the standing ones, and lists them. Only
// otherwise is the rest of the row, which lies aside, to be touched: even taking
// an address in it would fetch it from memory.
func (h *holding) short() (list []grant, ok bool) {
	if int(h.count) > len(h.first) {
		return nil, false
	}
	return h.first[:h.count], true
}

func (u *user) standing() []grant {
	if list, ok := u.holding.short(); ok {
		return list
	}
	return u.aside.held.standing
}

func (t *team) standing() []grant {
	if list, ok := t.holding.short(); ok {
		return list
	}
	return t.aside.held.standing
}

// grant is a role at a unit.
type grant struct{ role, unit uint32 }

type windowed struct {
	grant
	start, end int64 // microseconds; [start, end)
	bound      *bound
	assignment *assignment
}

type assignment struct{ data access.Assignment }

func (a *assignment) is(_ uint32, id string) bool { return string(a.data.ID) == id }

// hold changes what the principal holds.
func (b *builder) hold(p access.Principal, change func(*held)) {
	if id, ok := p.User(); ok {
		u := b.user(id)
		change(&u.aside.held)
		u.holding.take(&u.aside.held)
		return
	}
	t := b.editTeam(b.team(access.TeamID(p.ID)))
	change(&t.aside.held)
	t.holding.take(&t.aside.held)
}

// holds tells whether some assignment gives the role at the unit.
func (h *held) holds(g grant) bool {
	return slices.Contains(h.standing, g) || slices.ContainsFunc(h.windowed, func(w windowed) bool { return w.grant == g })
}

// holdsRole tells whether some assignment gives the role at any unit.
func (h *held) holdsRole(role uint32) bool {
	return slices.ContainsFunc(h.standing, func(g grant) bool { return g.role == role }) ||
		slices.ContainsFunc(h.windowed, func(w windowed) bool { return w.role == role })
}

func (b *builder) putAssignment(o access.Assignment) {
	if o.Principal.Kind > access.TeamPrincipal {
		b.fail("assignment %q: a role is assigned to a user or a team, not to %v", o.ID, o.Principal)
		return
	}
	b.dropAssignment(o.ID)
	g, to := grant{role: b.role(o.Role), unit: b.unit(o.BusinessUnit)}, b.who(o.Principal)
	o.Principal, o.BusinessUnit = b.s.principal(to), *b.s.tree.ids.get(g.unit) // kept once
	if r := b.s.roles[g.role]; r != nil {
		o.Role = r.ID
	}
	a := &assignment{o}
	b.hold(o.Principal, func(h *held) {
		if o.Window.Open() && o.Bound == nil {
			h.standing, h.assignments = append(h.standing, g), append(h.assignments, a)
			return
		}
		w := windowed{grant: g, bound: b.bound(o.Bound), assignment: a}
		w.start, w.end = micros(o.Window)
		h.windowed = append(h.windowed, w)
	})
	b.s.assignments.set(0, string(o.ID), a, b.edit)
	link(b, &b.s.holders, holder{g, to})
	b.carry(link, o.Principal, g.role, g.unit)
	b.carry(link, o.Principal, g.role, anywhere)
}

func (b *builder) dropAssignment(id access.AssignmentID) {
	old, ok := b.s.assignments.get(0, string(id))
	if !ok {
		return
	}
	b.hold(old.data.Principal, func(h *held) {
		if i := slices.Index(h.assignments, old); i >= 0 {
			h.standing, h.assignments = slices.Delete(h.standing, i, i+1), slices.Delete(h.assignments, i, i+1)
		}
		h.windowed = slices.DeleteFunc(h.windowed, func(w windowed) bool { return w.assignment == old })
		if g := (grant{b.role(old.data.Role), b.unit(old.data.BusinessUnit)}); !h.holds(g) {
			unlink(b, &b.s.holders, holder{g, b.who(old.data.Principal)})
			b.carry(unlink, old.data.Principal, g.role, g.unit)
			if !h.holdsRole(g.role) {
				b.carry(unlink, old.data.Principal, g.role, anywhere)
			}
		}
	})
	b.s.assignments.remove(0, string(id), b.edit)
}
