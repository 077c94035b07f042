package engine

import (
	"cmp"
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

// passedUp is access by the hierarchy, once the privilege check is passed (Rules
// HIER-1 to HIER-8): the record is owned by a report of the user's or a team of
// theirs, or is shared with one. No privilege of the report is asked for.
func (s *Snapshot) passedUp(a *asked, at int64) bool {
	levels := s.levels(a)
	if levels == 0 || a.user.leads == 0 && s.env.Hierarchy.Model == access.ManagerHierarchy {
		return false
	}
	if a.owner != nil && s.reportsTo(a.owner, a.user, levels) || a.ownerTeam != noTeam && s.reportsIn(a.ownerTeam, a.user, levels) {
		return true
	}
	if a.shares == nil {
		return false
	}
	for i := range a.shares.count() {
		sh := a.shares.at(i) // Rule HIER-4
		if sh.rights().Has(a.action) && a.shares.holds(i, at) && s.sharedBelow(sh.who, a.user, levels) {
			return true
		}
	}
	return false
}

// sharedBelow tells whether what is shared with the principal is shared with a
// report of the user's or a team of theirs.
func (s *Snapshot) sharedBelow(w who, u *user, levels int) bool {
	switch w.kind() {
	case access.UserPrincipal:
		return s.reportsTo(s.users.rows.get(w.number()), u, levels)
	case access.TeamPrincipal:
		return s.teams.get(w.number()).aside.exists && s.reportsIn(w.number(), u, levels)
	}
	return false // a share with everybody reaches the manager already
}

// levels is how many levels down the action reaches on the record's table.
func (s *Snapshot) levels(a *asked) int {
	h := s.env.Hierarchy
	if h == nil || !a.record || a.kind != access.UserOrTeam || slices.Contains(h.Except, s.tables[a.table].data.ID) {
		return 0
	}
	return min(h.Levels(a.action), access.MaxLevels)
}

// reportsTo tells whether r reports to the user within so many levels.
func (s *Snapshot) reportsTo(r, u *user, levels int) bool {
	return s.passesUp(r, u) && s.above(r, u, levels)
}

// passesUp tells whether the report's access passes to the user, if it is a
// report (Rules HIER-5, HIER-8).
func (s *Snapshot) passesUp(r, u *user) bool {
	h := s.env.Hierarchy
	switch {
	case r == u || !r.exists || h.ExcludeDisabledReports && !r.enabled:
		return false
	case h.Model == access.PositionHierarchy || s.env.Modernized && h.ManagersAnywhere:
		return true
	}
	return s.span(u.unit).holds(s.span(r.unit).first)
}

// above tells whether the user stands above r within so many levels. A circle
// ends the walk with the levels.
func (s *Snapshot) above(r, u *user, levels int) bool {
	if s.env.Hierarchy.Model == access.PositionHierarchy {
		return s.positionAbove(r.aside.position, u.aside.position, levels)
	}
	for m := r; levels > 0 && m.manager != noUser; levels-- {
		if m = s.users.rows.get(m.manager); !m.exists {
			return false
		}
		if m == u {
			return true
		}
	}
	return false
}

func (s *Snapshot) positionAbove(p, above uint32, levels int) bool {
	if p == above || p == noPosition || above == noPosition || !s.positions[p].exists {
		return false
	}
	for ; levels > 0; levels-- {
		if p = s.positions[p].parent; p == above || p == noPosition {
			return p == above
		}
	}
	return false
}

// reportsIn tells whether a report of the user's is in the team.
func (s *Snapshot) reportsIn(team uint32, u *user, levels int) bool {
	found := false
	s.eachReportIn(team, u, levels, func(*user) bool {
		found = true
		return false
	})
	return found
}

// eachReportIn yields the user's reports who are in the team, until told to stop.
// It goes through the members or the reports, whichever are fewer.
func (s *Snapshot) eachReportIn(team uint32, u *user, levels int, yield func(r *user) bool) {
	members := s.teams.get(team).aside.members
	if s.fewReports(u, levels, members) {
		s.reportsBelow(u, levels, func(r *user) bool { return !s.member(r, team) || yield(r) })
		return
	}
	under(&s.members, team, func(n uint32) bool {
		r := s.users.rows.get(n)
		return !s.reportsTo(r, u, levels) || yield(r)
	})
}

// fewReports tells whether those who stand below the user are at most so many.
func (s *Snapshot) fewReports(u *user, levels, most int) bool {
	s.below(u, levels, func(*user) bool {
		most--
		return most >= 0
	})
	return most >= 0
}

// reportsBelow yields the reports of the user, until told to stop.
func (s *Snapshot) reportsBelow(u *user, levels int, yield func(r *user) bool) {
	s.below(u, levels, func(r *user) bool { return !s.passesUp(r, u) || yield(r) })
}

// below yields all who stand below the user, until told to stop.
func (s *Snapshot) below(u *user, levels int, yield func(r *user) bool) {
	if s.env.Hierarchy.Model == access.PositionHierarchy {
		if p := u.aside.position; p != noPosition && s.positions[p].exists {
			s.belowPosition(p, p, levels, yield)
		}
		return
	}
	s.belowManager(u, u, levels, yield)
}

// belowManager goes down the tree from m. Within a circle it comes to u again, and
// stops.
func (s *Snapshot) belowManager(m, u *user, levels int, yield func(r *user) bool) (more bool) {
	more = true
	if levels > 0 {
		under(&s.reports, m.number, func(n uint32) bool {
			r := s.users.rows.get(n)
			more = r == u || yield(r) && s.belowManager(r, u, levels-1, yield)
			return more
		})
	}
	return more
}

func (s *Snapshot) belowPosition(p, from uint32, levels int, yield func(r *user) bool) (more bool) {
	more = true
	if levels == 0 {
		return more
	}
	for _, b := range s.positions[p].below {
		if b == from {
			continue
		}
		under(&s.placed, b, func(n uint32) bool {
			more = yield(s.users.rows.get(n))
			return more
		})
		if !more || !s.belowPosition(b, from, levels-1, yield) {
			return false
		}
	}
	return more
}

// passed lists what reports pass up (Rule EVAL-8): by report, first what they or a
// team of theirs own, then what is shared with them.
func (s *Snapshot) passed(a *asked) []Origin {
	levels := s.levels(a)
	if levels == 0 || a.action == access.Create {
		return nil
	}
	seen, reports := map[*user]bool{}, []*user(nil)
	add := func(r *user) bool {
		if !seen[r] {
			seen[r], reports = true, append(reports, r)
		}
		return true
	}
	if a.owner != nil && s.reportsTo(a.owner, a.user, levels) {
		add(a.owner)
	}
	if a.ownerTeam != noTeam {
		s.eachReportIn(a.ownerTeam, a.user, levels, add)
	}
	if a.shares != nil {
		for i := range a.shares.count() {
			switch sh := a.shares.at(i); {
			case !sh.rights().Has(a.action) || !a.shares.holds(i, a.at):
			case sh.who.kind() == access.UserPrincipal:
				if r := s.users.rows.get(sh.who.number()); s.reportsTo(r, a.user, levels) {
					add(r)
				}
			case sh.who.kind() == access.TeamPrincipal && s.teams.get(sh.who.number()).aside.exists:
				s.eachReportIn(sh.who.number(), a.user, levels, add)
			}
		}
	}
	slices.SortFunc(reports, func(x, y *user) int { return cmp.Compare(x.aside.data.ID, y.aside.data.ID) })
	var out []Origin
	for _, r := range reports {
		out = append(out, s.passedBy(a, r)...)
	}
	return out
}

// passedBy lists what one report passes up.
func (s *Snapshot) passedBy(a *asked, r *user) []Origin {
	var out []Origin
	rules := []string{"EVAL-4 d", "HIER-2", "HIER-3", "HIER-5"}
	if s.env.Hierarchy.Model == access.PositionHierarchy {
		rules[3] = "HIER-7"
	}
	add := func(d Report, more ...string) {
		d.User, d.Chain = s.nameUser(r), s.chain(r, a.user)
		out = append(out, Origin{Way: ByHierarchy, Report: &d, Rules: slices.Concat(rules, more)})
	}
	if a.owner == r {
		add(Report{By: ByOwnership})
	}
	if a.ownerTeam != noTeam && s.member(r, a.ownerTeam) {
		add(Report{By: ByOwnership, Owner: s.via(r, a.ownerTeam)})
	}
	for _, sh := range s.sharesTo(a, r) {
		if sh.Principal.Kind != access.Everybody {
			add(Report{By: ByShare, Share: &sh}, "HIER-4")
		}
	}
	return out
}

// chain leads from the report up to the user.
func (s *Snapshot) chain(r, u *user) []Named {
	out := []Named{s.nameUser(r)}
	if s.env.Hierarchy.Model == access.PositionHierarchy {
		for p := s.positions[r.aside.position].parent; p != u.aside.position; p = s.positions[p].parent {
			d := s.positions[p].data
			out = append(out, Named{string(d.ID), d.Name})
		}
		return append(out, s.nameUser(u))
	}
	for m := r; m != u; {
		m = s.users.rows.get(m.manager)
		out = append(out, s.nameUser(m))
	}
	return out
}
