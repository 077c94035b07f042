package engine

import (
	"cmp"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// ranked is a fact with how much it gives.
type ranked struct {
	fact
	weight int64
}

func (x *search) rank(list []ranked, f fact) []ranked {
	return append(list, ranked{f, x.base.weight(f)})
}

// inOrder yields those that give the least first.
func (x *search) inOrder(list []ranked, yield func(fact) bool) bool {
	slices.SortFunc(list, func(f, g ranked) int {
		if d := cmp.Compare(f.weight, g.weight); d != 0 {
			return d
		}
		return x.base.compareFacts(&f.fact, &g.fact)
	})
	for _, f := range list {
		if !yield(f.fact) {
			return false
		}
	}
	return true
}

// fact is the fact by names.
func (s *Snapshot) fact(f fact, action access.Action) (out Fact) {
	if out.Kind = f.kind; f.kind == EnableUnit {
		out.BusinessUnit = s.nameUnit(f.unit)
		return out
	}
	out.Principal = s.principal(f.who)
	switch f.who.kind() {
	case access.UserPrincipal:
		out.Name = s.users.rows.get(f.who.number()).aside.data.Name
	case access.TeamPrincipal:
		out.Name = s.teams.get(f.who.number()).aside.data.Name
	}
	switch f.kind {
	case GiveRole:
		r := s.roles[f.role]
		out.Role, out.BusinessUnit = Named{string(r.ID), r.Name}, s.nameUnit(f.unit)
	case AddToTeam:
		t := s.teams.get(f.team).aside.data
		out.Team = Named{string(t.ID), t.Name}
	case ShareWith:
		out.Right = action
	case GiveProfile:
		p := s.profiles[f.profile].data
		out.Profile = Named{string(p.ID), p.Name}
	case LinkManager:
		out.Manager = s.nameUser(s.users.rows.get(f.manager))
	}
	return out
}

// compareFacts orders facts by kind, then by their ids.
func (s *Snapshot) compareFacts(f, g *fact) int {
	if d := cmp.Compare(f.kind, g.kind); d != 0 {
		return d
	}
	x, y := s.fact(*f, 0), s.fact(*g, 0)
	return cmp.Or(
		cmp.Compare(x.Principal.Kind, y.Principal.Kind), cmp.Compare(x.Principal.ID, y.Principal.ID),
		cmp.Compare(x.Role.ID, y.Role.ID), cmp.Compare(x.BusinessUnit.ID, y.BusinessUnit.ID),
		cmp.Compare(x.Team.ID, y.Team.ID), cmp.Compare(x.Profile.ID, y.Profile.ID), cmp.Compare(x.Manager.ID, y.Manager.ID),
	)
}

// weight measures the access that the fact gives: a privilege counts once for the
// records of the holder and once for each business unit that it reaches, times
// the people whom it is given.
func (s *Snapshot) weight(f fact) int64 {
	switch f.kind {
	case EnableUser, GiveLicence, Admit:
		u := s.users.rows.get(f.who.number())
		w := s.weightHeld(&u.aside.held)
		for _, n := range s.teamsOf(u) {
			w += s.weightHeld(&s.teams.get(n).aside.held)
		}
		return w
	case EnableUnit:
		return int64(s.teams.get(s.span(f.unit).team).aside.members)
	case GiveRole:
		return s.weightRole(f.role, f.unit) * s.people(f.who)
	case AddToTeam:
		return 1 + s.weightHeld(&s.teams.get(f.team).aside.held)
	case ShareWith:
		return s.people(f.who)
	case LinkManager:
		return int64(s.tableCount)
	case GiveProfile:
		return int64(len(s.profiles[f.profile].data.Columns)) * s.people(f.who)
	case GiveOwnership:
		return int64(access.Actions) * s.people(f.who)
	}
	return 0
}

func (s *Snapshot) weightHeld(h *held) (w int64) {
	for _, g := range h.standing {
		w += s.weightRole(g.role, g.unit)
	}
	for _, g := range h.windowed {
		w += s.weightRole(g.role, g.unit)
	}
	return w
}

func (s *Snapshot) weightRole(role, unit uint32) int64 {
	if s.roles[role] == nil {
		return 0
	}
	w := &s.weights[role]
	return w.own + w.below*int64(s.size(unit)) + w.everywhere*int64(s.unitCount())
}

// people is how many the principal stands for.
func (s *Snapshot) people(w who) int64 {
	switch w.kind() {
	case access.TeamPrincipal:
		return int64(max(1, s.teams.get(w.number()).aside.members))
	case access.Everybody:
		return int64(max(1, s.userCount))
	}
	return 1
}
