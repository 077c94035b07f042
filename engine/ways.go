package engine

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// want is what a need asks for.
type want uint8

const (
	wantPrivilege want = iota // the privilege, at any depth
	wantReach                 // by roles, for a creation
	wantAccess                // to the record
	wantReads                 // the owner holds Read
	wantEnabled               // the owner is enabled
	wantColumn                // a secured column
)

// gap is something that a subject needs and lacks. All must be filled.
type gap struct {
	want want
	asked
	spared bool // by a Create of the owning team's own (Rule OWN-8)
	column int
}

// gaps lists what the subject lacks as things are supposed to be.
func (x *search) gaps(a *asked) (out []gap) {
	s := x.s
	v := s.scan(a, a.at)
	add := func(w want, b asked, spared bool) { out = append(out, gap{want: w, asked: b, spared: spared}) }
	switch {
	case !a.record || a.kind == access.NotOwned:
		if v.privilege == 0 {
			add(wantPrivilege, *a, false)
		}
	case a.action == access.Create:
		reach := func(b asked, spared bool) {
			if s.scan(&b, a.at).access == 0 {
				add(wantReach, b, spared)
			}
		}
		aimed := func(action access.Action) asked {
			b := *a
			s.aim(&b, action)
			return b
		}
		reads := func(spared bool) {
			if !s.ownerReads(a, a.at) {
				add(wantReads, aimed(access.Read), spared)
			}
		}
		reach(*a, false)
		if s.createsForOther(a, v) {
			if reach(aimed(access.Assign), true); a.owner != nil && !a.owner.enabled {
				add(wantEnabled, *a, true)
			}
			reads(true)
		}
		if a.unitTable != noUnit {
			reach(s.unitAsked(a), false)
			reach(aimed(access.Write), false)
			reads(false)
		}
	default:
		if v.privilege == 0 {
			add(wantPrivilege, *a, false)
		}
		if v.access == 0 && !s.shared(a, a.at) && !s.passedUp(a, a.at) {
			add(wantAccess, *a, false)
		}
	}
	for _, i := range s.lacking(a) {
		out = append(out, gap{want: wantColumn, asked: *a, column: i})
	}
	return out
}

// lacking lists the secured columns that the question names and the user may not
// set, as the table numbers them.
func (s *Snapshot) lacking(a *asked) []int {
	var out []int
	for _, name := range a.columns {
		if i, secured := s.tables[a.table].secured(name); secured && !s.mayWriteColumn(a, i, a.at) {
			out = append(out, i)
		}
	}
	return out
}

// help looks for the facts by which the first of a subject's needs could be met.
type help struct {
	*search
	a    *asked
	gaps []gap
}

// first is the first subject that lacks something, or nil.
func (x *search) first(b *behalf) *help {
	for _, a := range x.subjects(b) {
		if gaps := x.gaps(a); len(gaps) > 0 {
			return &help{x, a, gaps}
		}
	}
	return nil
}

// ways yields the facts that meet what the first subject that lacks something
// needs first, until told to stop. To suffice, roles must meet all that it needs.
// Otherwise those that only open a way are among them.
//
// They come in the order of whom they concern. First are those about users alone,
// the nearby memberships among them, by how little they give; then the other
// memberships; then each team in question, and everybody.
func (x *search) ways(suffice bool, yield func(fact) bool) (all bool) {
	x.left -= 10 // to find them costs as much as to suppose so many
	var b behalf
	h := x.first(&b)
	if h == nil {
		return true
	}
	if !suffice {
		h.gaps = h.gaps[:1]
	}
	tell := func(f fact) bool { return x.goOn() && yield(f) }
	list, among := h.personal(), 0
	if !h.memberships(!suffice, func(f fact) bool {
		if among == nearby {
			return tell(f)
		}
		list = h.rank(list, f)
		among++
		return among < nearby || x.inOrder(list, tell)
	}) || among < nearby && !x.inOrder(list, tell) {
		return false
	}
	for _, n := range x.inQuestion() {
		if !x.inOrder(h.of(nil, who(n)|teamBit), tell) {
			return false
		}
	}
	return !h.shareable() || tell(fact{kind: ShareWith, who: everybody})
}

// personal lists the facts about users alone.
func (h *help) personal() (list []ranked) {
	s, n := h.s, &h.gaps[0]
	for _, u := range h.users {
		list = h.of(list, who(u.number))
	}
	switch n.want {
	case wantReads:
		if o := h.a.owner; o != nil && !slices.Contains(h.users, o) {
			list = h.of(list, who(o.number))
		}
	case wantEnabled:
		list = h.rank(list, fact{kind: EnableUser, who: who(h.a.owner.number)})
	case wantAccess:
		if s.levels(h.a) == 0 {
			break
		}
		for _, r := range h.links {
			list = h.report(list, s.users.rows.get(r))
		}
	}
	return list
}

// report adds what makes r a report of the user's, or one that counts: that r
// reports to the user, unless the user stands below r already (Rule HIER-9); that
// r is enabled (Rule HIER-8).
func (h *help) report(list []ranked, r *user) []ranked {
	s, u := h.s, h.a.user
	if r == u {
		return list
	}
	if s.env.Hierarchy.ExcludeDisabledReports && !r.enabled {
		list = h.rank(list, fact{kind: EnableUser, who: who(r.number)})
	}
	if s.env.Hierarchy.Model == access.ManagerHierarchy && r.manager != u.number && !s.above(u, r, access.MaxLevels) {
		list = h.rank(list, fact{kind: LinkManager, who: who(r.number), manager: u.number})
	}
	return list
}

// shareable tells whether a share could help (Rules SHARE-1, SHARE-2).
func (h *help) shareable() bool {
	return h.gaps[0].want == wantAccess && h.a.kind == access.UserOrTeam && h.q.Record.ID != ""
}

// of adds the facts about one principal that could help. Only those who ask, and
// teams in question, are given records, shares and profiles.
func (h *help) of(list []ranked, p who) []ranked {
	s, n := h.s, &h.gaps[0]
	var unit uint32
	asks, owns := false, true
	if p.kind() == access.UserPrincipal {
		u := s.users.rows.get(p.number())
		unit, asks = u.unit, slices.Contains(h.users, u)
	} else {
		t := s.teams.get(p.number())
		unit, asks, owns = t.unit, true, t.aside.owns
	}
	if asks && h.shareable() {
		list = h.rank(list, fact{kind: ShareWith, who: p})
	}
	if asks && owns && h.a.record && h.a.kind == access.UserOrTeam && n.want != wantPrivilege && n.want != wantColumn && !h.isOwner(p) {
		list = h.rank(list, fact{kind: GiveOwnership, who: p})
	}
	if owns {
		list = h.roles(list, p, h.at(unit), func(uint32) bool { return true })
	}
	if n.want == wantColumn && h.isUsers(p) {
		list = h.profiles(list, p)
	}
	return list
}

// isOwner tells whether the principal owns the record.
func (h *help) isOwner(p who) bool {
	if h.a.owner != nil {
		return p == who(h.a.owner.number)
	}
	return p == who(h.a.ownerTeam)|teamBit
}

// isUsers tells whether what the principal holds the user of the question holds.
func (h *help) isUsers(p who) bool {
	if p.kind() == access.UserPrincipal {
		return p.number() == h.a.user.number
	}
	return h.s.member(h.a.user, p.number())
}

// isOwners tells whether what the principal holds the record's owner holds.
func (h *help) isOwners(p who) bool {
	return h.isOwner(p) || h.a.owner != nil && p.kind() == access.TeamPrincipal && h.s.member(h.a.owner, p.number())
}

// roles adds the roles that would help the principal, at those of the units where
// they exist.
func (h *help) roles(list []ranked, p who, at []uint32, fits func(home uint32) bool) []ranked {
	s := h.s
	users, owners := h.isUsers(p), h.isOwners(p)
	if !users && !owners {
		return list
	}
	var holds []grant
	if p.kind() == access.UserPrincipal {
		holds = s.users.rows.get(p.number()).standing()
	} else {
		holds = s.teams.get(p.number()).standing()
	}
	for n, r := range s.roles {
		if r == nil || !h.grants(uint32(n)) {
			continue
		}
		home := h.home(uint32(n))
		if home == noUnit || !fits(home) {
			continue
		}
		for _, unit := range at {
			if g := (grant{uint32(n), unit}); s.existsAt(home, unit) && !slices.Contains(holds, g) && h.meets(p, users, owners, g) {
				list = h.rank(list, fact{kind: GiveRole, who: p, role: g.role, unit: unit})
			}
		}
	}
	return list
}

// grants tells whether the role has a privilege that bears on the first need.
func (h *help) grants(role uint32) bool {
	n := &h.gaps[0]
	if n.want == wantColumn { // Rule FLS-9
		return h.s.roles[role].All
	}
	return n.want != wantEnabled && n.line[role].depth() != access.None || n.spared && h.a.line[role].depth() != access.None
}

// granting lists these roles, those that give the least depth first, then by id.
func (h *help) granting() (list []uint32) {
	n := &h.gaps[0]
	for r, role := range h.s.roles {
		if role != nil && h.grants(uint32(r)) {
			list = append(list, uint32(r))
		}
	}
	slices.SortFunc(list, func(x, y uint32) int {
		if d := cmp.Compare(n.line[x].depth(), n.line[y].depth()); d != 0 {
			return d
		}
		return cmp.Compare(h.s.roles[x].ID, h.s.roles[y].ID)
	})
	return list
}

// meets tells whether the role at the unit, given to the principal, who stands for
// the user, the owner or both, meets the needs.
func (h *help) meets(p who, users, owners bool, g grant) bool {
	team := uint32(noTeam)
	if p.kind() == access.TeamPrincipal {
		team = p.number()
	}
	given := [1]grant{g}
	for i := range h.gaps {
		n := &h.gaps[i]
		if n.spared && users && team != noTeam && team == h.a.ownerTeam && h.a.line[g.role].depth() != access.None {
			continue
		}
		met := false
		var v verdict
		switch n.want {
		case wantPrivilege:
			met = users && n.line[g.role].depth() != access.None
		case wantReach, wantAccess:
			h.s.weigh(&n.asked, given[:], team, &v)
			met = users && v.access != 0
		case wantReads:
			met = owners && n.line[g.role].depth() != access.None
		case wantColumn:
			met = users && h.s.roles[g.role].All
		}
		if !met {
			return false
		}
	}
	return true
}

// profiles adds the column security profiles that would help the principal.
func (h *help) profiles(list []ranked, p who) []ranked {
	var has []uint32
	if p.kind() == access.UserPrincipal {
		has = h.s.users.rows.get(p.number()).aside.profiles
	} else {
		has = h.s.teams.get(p.number()).aside.profiles
	}
	for n := range h.s.profiles {
		if h.opens(n) && !slices.Contains(has, uint32(n)) {
			list = h.rank(list, fact{kind: GiveProfile, who: p, profile: uint32(n)})
		}
	}
	return list
}

// opens tells whether the profile opens the column that is needed.
func (h *help) opens(profile int) bool {
	return slices.ContainsFunc(h.s.profiles[profile].lines, func(l profileLine) bool {
		return l.table == h.a.table && int(l.column) == h.gaps[0].column &&
			(h.a.action == access.Create && l.grants.create || h.a.action == access.Write && l.grants.update)
	})
}

// memberships yields the memberships that could help: in the team that owns the
// record, in those that it is shared with, in those that carry a role with the
// privilege where it reaches the record, or a profile. With opening ones, those in
// the other teams in question are among them.
func (h *help) memberships(opening bool, yield func(fact) bool) bool {
	s, n := h.s, &h.gaps[0]
	seen := map[fact]bool{}
	join := func(u *user, team uint32) bool {
		f := fact{kind: AddToTeam, who: who(u.number), team: team}
		t := s.teams.get(team).aside
		if _, derived := t.data.ID.DefaultOf(); derived || !t.exists || s.member(u, team) || seen[f] {
			return h.goOn()
		}
		seen[f] = true
		return yield(f)
	}
	joinAll := func(teams []uint32) bool {
		for _, u := range h.users {
			for _, team := range teams {
				if !join(u, team) {
					return false
				}
			}
		}
		return true
	}
	if !joinAll(h.ofRecord()) {
		return false
	}
	u := h.a.user
	if n.want == wantReads {
		u = h.a.owner
	}
	if u != nil && slices.Contains(h.users, u) && !h.carriers(func(team uint32) bool {
		if u == h.a.user && !h.gives(team) {
			return h.goOn()
		}
		return join(u, team)
	}) {
		return false
	}
	return !opening || joinAll(h.inQuestion())
}

// gives tells whether the team's roles meet what roles can meet of the needs. Of a
// team that owns the record, or that it is shared with, more than the roles counts.
func (h *help) gives(team uint32) bool {
	if team == h.a.ownerTeam || h.a.shares != nil && h.a.shares.find(who(team)|teamBit) >= 0 {
		return true
	}
	t := h.s.teams.get(team)
	for i := range h.gaps {
		n := &h.gaps[i]
		var v verdict
		switch n.want {
		case wantEnabled:
			return false
		case wantPrivilege, wantReach, wantAccess:
			h.s.weighTeam(&n.asked, t, team, &v)
			h.s.weighTeamWindows(&n.asked, team, n.at, &v)
			if v.privilege == 0 || n.want != wantPrivilege && v.access == 0 {
				return false
			}
		}
	}
	return true
}

// ofRecord lists the team that owns the record and those that it, or a column of
// it, is shared with.
func (h *help) ofRecord() (list []uint32) {
	s, a := h.s, h.a
	var with []uint32
	switch h.gaps[0].want {
	case wantPrivilege:
		return nil
	case wantColumn:
		if a.column != nil {
			for _, sh := range a.column.list {
				if sh.who.kind() == access.TeamPrincipal && sh.column == s.tables[a.table].columns[h.gaps[0].column].name {
					with = append(with, sh.who.number())
				}
			}
		}
	default:
		if a.ownerTeam != noTeam {
			list = append(list, a.ownerTeam)
		}
		if a.shares != nil {
			for i := range a.shares.count() {
				if sh := a.shares.at(i); sh.who.kind() == access.TeamPrincipal && sh.rights().Has(a.action) {
					with = append(with, sh.who.number())
				}
			}
		}
	}
	slices.SortFunc(with, func(x, y uint32) int { return cmp.Compare(s.teams.get(x).aside.data.ID, s.teams.get(y).aside.data.ID) })
	return append(list, with...)
}

// carriers yields the teams that carry what could meet the first need.
func (h *help) carriers(yield func(team uint32) bool) bool {
	s, n := h.s, &h.gaps[0]
	for _, role := range h.granting() {
		c := n.line[role]
		switch d := c.depth(); {
		case n.want != wantReach && n.want != wantAccess, d == access.Global, d == access.Basic && n.owned&uint8(c>>inheritsBit)&1 != 0:
			if !s.carrying(role, anywhere, yield) {
				return false
			}
		case d == access.Local || d == access.Deep:
			for unit := n.unit; unit != noUnit; unit = s.parent(unit) {
				if !s.carrying(role, unit, yield) {
					return false
				}
				if d == access.Local {
					break
				}
			}
		}
	}
	if n.want != wantColumn {
		return true
	}
	for _, id := range slices.Sorted(maps.Keys(s.profileIndex)) {
		if p := s.profileIndex[id]; h.opens(int(p)) && !s.carrying(p|profileBit, anywhere, yield) {
			return false
		}
	}
	return true
}
