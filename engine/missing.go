package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
)

// tries is how many hypotheses one search makes at most; what it has not tried by
// then it reports as "more".
const tries = 5_000

// candidate is a fact that could help, or two that help only together.
type candidate struct {
	facts   []Fact
	further int64
	key     string
}

// search looks for the minimal sets of missing facts of one question (Rule
// EVAL-9). A set is reported only after the question has been asked of a snapshot
// to which its facts were applied.
type search struct {
	s     *Snapshot
	q     Question
	a     *asked
	tries int
	alone map[string]bool // by a fact's key, whether it suffices alone
}

// missing lists the sets by size, then by how little further access they give,
// then by their facts.
func (s *Snapshot) missing(q Question, a *asked, limit int) (sets []Missing, more bool) {
	forced := s.forced(a)
	if len(forced) > 2 {
		return nil, false
	}
	further := int64(0)
	for _, f := range forced {
		further += s.weight(f)
	}
	if len(forced) > 0 {
		var allowed bool
		if s, q, allowed = s.suppose(q, forced); allowed {
			return []Missing{{forced, further}}, false
		}
		if a = new(asked); s == nil || s.resolve(&q, a) != nil {
			return nil, false
		}
	}
	if len(forced) == 2 {
		return nil, false
	}
	x := search{s: s, q: q, a: a, tries: tries, alone: map[string]bool{}}
	take := func(c candidate) bool {
		if len(sets) == limit {
			more = true
			return false
		}
		sets = append(sets, Missing{append(slices.Clone(forced), c.facts...), further + c.further})
		return true
	}
	singles := x.singles()
	sortCandidates(singles)
	for _, c := range singles {
		if x.tries == 0 {
			return sets, true
		}
		if x.suffices(c) && !take(c) {
			return sets, true
		}
	}
	if len(forced) == 1 {
		return sets, false
	}
	for _, c := range x.pairs(singles) {
		if x.tries == 0 {
			return sets, true
		}
		if !x.aloneSuffices(c.facts[0]) && !x.aloneSuffices(c.facts[1]) && x.suffices(c) && !take(c) {
			return sets, true
		}
	}
	return sets, more
}

func sortCandidates(list []candidate) {
	slices.SortFunc(list, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.further, y.further), cmp.Compare(x.key, y.key))
	})
}

// forced lists what must be so before anything else can help (Rule EVAL-2).
func (s *Snapshot) forced(a *asked) []Fact {
	var out []Fact
	u := a.user.aside.data
	who := Fact{Principal: u.ID.Principal(), Name: u.Name}
	kind := func(k FactKind) Fact { f := who; f.Kind = k; return f }
	if !u.Enabled {
		out = append(out, kind(EnableUser))
	}
	for n := a.user.unit; n != noUnit; n = s.tree.units.get(n).parent {
		if s.tree.units.get(n).data.Disabled {
			out = append(out, Fact{Kind: EnableUnit, BusinessUnit: s.nameUnit(n)})
		}
	}
	if s.env.RequireLicence && !u.Licensed {
		out = append(out, kind(GiveLicence))
	}
	if s.env.SecurityGroup != nil && !u.Admitted {
		out = append(out, kind(Admit))
	}
	return out
}

func (x *search) suffices(c candidate) bool {
	if len(c.facts) == 1 {
		if known, ok := x.alone[c.key]; ok {
			return known
		}
	}
	x.tries--
	_, _, allowed := x.s.suppose(x.q, c.facts)
	if len(c.facts) == 1 {
		x.alone[c.key] = allowed
	}
	return allowed
}

func (x *search) aloneSuffices(f Fact) bool {
	return x.suffices(candidate{facts: []Fact{f}, key: f.key()})
}

// suppose asks the question where the facts are so.
func (s *Snapshot) suppose(q Question, facts []Fact) (*Snapshot, Question, bool) {
	for i, f := range facts {
		var c access.Object
		switch f.Kind {
		case EnableUser, GiveLicence, Admit:
			u := s.users.get(f.Principal.ID).aside.data
			u.Enabled = u.Enabled || f.Kind == EnableUser
			u.Licensed = u.Licensed || f.Kind == GiveLicence
			u.Admitted = u.Admitted || f.Kind == Admit
			c = u
		case EnableUnit:
			n, _ := s.unit(access.BusinessUnitID(f.BusinessUnit.ID))
			b := s.tree.units.get(n).data
			b.Disabled = false
			c = b
		case GiveRole:
			c = access.Assignment{
				Environment: s.env.ID, ID: access.AssignmentID(fmt.Sprintf("\x00supposed %d", i)), Role: access.RoleID(f.Role.ID),
				Principal: f.Principal, BusinessUnit: access.BusinessUnitID(f.BusinessUnit.ID),
			}
		case AddToTeam:
			c = access.Membership{Environment: s.env.ID, Team: access.TeamID(f.Team.ID), User: access.UserID(f.Principal.ID)}
		case ShareWith:
			sh := access.Share{Environment: s.env.ID, Table: q.Table, Record: q.Record.ID, Principal: f.Principal}
			known, _ := s.shares.get(s.tableIndex[q.Table], string(q.Record.ID))
			if i := s.findPrincipal(known, f.Principal); i >= 0 {
				sh.Rights, sh.Inherited = known.at(i).own, known.at(i).inherited
			}
			sh.Rights |= access.RightsOf(f.Right)
			c = sh
		case GiveOwnership:
			q.Record = s.reown(q, f.Principal)
			continue
		}
		var err error
		if s, err = s.Apply([]access.Change{access.Put(c)}, s.revision); err != nil {
			return nil, q, false
		}
	}
	d, err := s.Check(q)
	return s, q, err == nil && d.Allowed
}

// reown is the question's record under another owner; the owning unit follows as
// Rule OWN-11 says.
func (s *Snapshot) reown(q Question, owner access.Principal) *Record {
	r := Record{ID: q.Record.ID, Owner: owner, BusinessUnit: q.Record.BusinessUnit}
	if q.Record.Registered {
		known, _ := s.records.get(s.tableIndex[q.Table], string(r.ID))
		r.BusinessUnit = known.data.BusinessUnit
	}
	switch {
	case !s.env.Modernized:
		r.BusinessUnit = "" // the owner's
	case q.Action != access.Create && !s.env.KeepRecordUnit:
		r.BusinessUnit = s.unitOf(owner)
	}
	return &r
}

func (s *Snapshot) unitOf(p access.Principal) access.BusinessUnitID {
	if id, ok := p.User(); ok {
		return s.users.get(string(id)).aside.data.BusinessUnit
	}
	n, _ := s.teamIndex.get(0, p.ID)
	return s.teams.get(n.number).aside.data.BusinessUnit
}

// singles lists the facts that could help by themselves or, but for what pairs
// adds, with another.
func (x *search) singles() []candidate {
	s, a, u := x.s, x.a, x.a.user
	var out []candidate
	add := func(f Fact) { out = append(out, x.candidate(f)) }
	self := u.aside.data.ID.Principal()
	mine := []access.Principal{self}
	for _, n := range s.teamsOf(u) {
		mine = append(mine, s.teams.get(n).aside.data.ID.Principal())
	}
	for _, p := range mine {
		x.roles(p, x.gives, add)
	}
	x.eachTeam(func(n uint32, t *team, derived bool) {
		if !derived && !s.member(u, n) {
			add(x.join(t))
		}
	})
	if !a.record || a.kind != access.UserOrTeam {
		return out
	}
	if a.action != access.Create && x.q.Record.ID != "" { // Rules SHARE-1, SHARE-2
		for _, p := range append(mine, access.Principal{Kind: access.Everybody}) {
			add(x.share(p))
		}
	}
	if a.owner != u {
		add(x.own(self))
	}
	x.eachTeam(func(n uint32, t *team, _ bool) {
		if t.aside.owns && n != a.ownerTeam {
			add(x.own(t.aside.data.ID.Principal()))
		}
	})
	if a.action == access.Create && a.owner != u { // what the owner lacks
		switch {
		case a.ownerTeam != noTeam:
			if !s.member(u, a.ownerTeam) {
				x.roles(s.teams.get(a.ownerTeam).aside.data.ID.Principal(), x.givesRead, add)
			}
		default:
			x.roles(a.owner.aside.data.ID.Principal(), x.givesRead, add)
			if !a.owner.enabled {
				add(Fact{Kind: EnableUser, Principal: a.owner.aside.data.ID.Principal(), Name: a.owner.aside.data.Name})
			}
		}
	}
	return out
}

// eachTeam goes through the teams that exist. A derived one is nobody's to join.
func (x *search) eachTeam(yield func(n uint32, t *team, derived bool)) {
	for n := range x.s.teams.count {
		if t := x.s.teams.get(n); t.aside.exists {
			_, derived := t.aside.data.ID.DefaultOf()
			yield(n, t, derived)
		}
	}
}

// roles adds the roles that would help the principal, at its own unit and, with
// modernized units, at the record's and those above it: elsewhere a role reaches
// no more of the record.
func (x *search) roles(p access.Principal, helps func(n uint32) bool, add func(Fact)) {
	s := x.s
	var h *held
	name, unitID := "", s.unitOf(p)
	if id, ok := p.User(); ok {
		u := s.users.get(string(id))
		h, name = &u.aside.held, u.aside.data.Name
	} else {
		n, _ := s.teamIndex.get(0, p.ID)
		t := s.teams.get(n.number)
		if h, name = &t.aside.held, t.aside.data.Name; !t.aside.owns {
			return
		}
	}
	unit, _ := s.unit(unitID)
	at := []uint32{unit}
	if s.env.Modernized && x.a.unit != noUnit {
		for n := x.a.unit; n != noUnit; n = s.tree.units.get(n).parent {
			if !slices.Contains(at, n) {
				at = append(at, n)
			}
		}
	}
	for n, r := range s.roles {
		if r == nil || !helps(uint32(n)) {
			continue
		}
		home, ok := s.unit(r.BusinessUnit)
		for _, b := range at {
			// Rule ROLE-2: the role exists below the unit that defines it.
			if ok && s.span(b).exists() && s.span(home).exists() && s.span(home).holds(s.span(b).first) &&
				!slices.Contains(h.standing, grant{uint32(n), b}) {
				add(Fact{Kind: GiveRole, Principal: p, Name: name, Role: Named{string(r.ID), r.Name}, BusinessUnit: s.nameUnit(b)})
			}
		}
	}
}

// gives tells whether the role has a privilege that bears on the question.
func (x *search) gives(n uint32) bool {
	has := func(a *asked) bool { return a.line[n].depth() != access.None }
	if has(x.a) {
		return true
	}
	if x.a.action != access.Create || !x.a.record {
		return false
	}
	b := *x.a
	for _, action := range []access.Action{access.Assign, access.Write, access.Read} {
		if x.s.aim(&b, action); has(&b) {
			return true
		}
	}
	if x.a.unitTable != noUnit {
		b = x.s.unitAsked(x.a)
		return has(&b)
	}
	return false
}

func (x *search) givesRead(n uint32) bool {
	b := *x.a
	x.s.aim(&b, access.Read)
	return b.line[n].depth() != access.None
}

func (x *search) join(t *team) Fact {
	u := x.a.user.aside.data
	return Fact{Kind: AddToTeam, Principal: u.ID.Principal(), Name: u.Name, Team: Named{string(t.aside.data.ID), t.aside.data.Name}}
}

func (x *search) share(p access.Principal) Fact {
	return Fact{Kind: ShareWith, Principal: p, Name: x.s.principalName(p), Right: x.a.action}
}

func (x *search) own(p access.Principal) Fact {
	return Fact{Kind: GiveOwnership, Principal: p, Name: x.s.principalName(p)}
}

func (s *Snapshot) principalName(p access.Principal) string {
	switch p.Kind {
	case access.UserPrincipal:
		return s.users.get(p.ID).aside.data.Name
	case access.TeamPrincipal:
		n, _ := s.teamIndex.get(0, p.ID)
		return s.teams.get(n.number).aside.data.Name
	}
	return ""
}

// pairs lists pairs of facts that could help together, in order. One of a pair
// changes what is reached and the other what is held, or both speak of one team.
func (x *search) pairs(singles []candidate) []candidate {
	s, a := x.s, x.a
	var out []candidate
	pair := func(f, g Fact) { out = append(out, x.candidate(f, g)) }
	x.eachTeam(func(n uint32, t *team, derived bool) {
		join, p := x.join(t), t.aside.data.ID.Principal()
		in := derived || s.member(a.user, n)
		if !in {
			x.roles(p, x.gives, func(f Fact) { pair(join, f) })
		}
		if a.record && a.kind == access.UserOrTeam {
			if a.action != access.Create && x.q.Record.ID != "" && !in {
				pair(join, x.share(p))
			}
			if t.aside.owns && n != a.ownerTeam {
				if !in {
					pair(join, x.own(p))
				}
				if a.action == access.Create {
					x.roles(p, x.givesRead, func(f Fact) { pair(x.own(p), f) })
				}
			}
		}
	})
	if a.record && a.kind == access.UserOrTeam {
		var holds, reaches []candidate
		for _, c := range singles {
			f := c.facts[0]
			gives := f.Kind == GiveRole || f.Kind == AddToTeam && x.holdsRoles(f)
			if gives || a.action == access.Create {
				holds = append(holds, c)
			}
			if f.Kind == ShareWith || f.Kind == GiveOwnership || f.Kind == AddToTeam && x.reachesRecord(f) || a.action == access.Create {
				reaches = append(reaches, c)
			}
		}
		// Both lists are in order, so that no pair further out than this can be
		// among the first that are tried.
		for i, c := range holds {
			for j := 0; j < len(reaches) && (i+1)*(j+1) <= 2*tries; j++ {
				if c.key != reaches[j].key {
					pair(c.facts[0], reaches[j].facts[0])
				}
			}
		}
	}
	sortCandidates(out)
	return slices.CompactFunc(out, func(c, d candidate) bool { return c.key == d.key })
}

func (x *search) teamOf(f Fact) *team {
	n, _ := x.s.teamIndex.get(0, f.Team.ID)
	return x.s.teams.get(n.number)
}

func (x *search) holdsRoles(f Fact) bool {
	t := x.teamOf(f)
	return t.aside.owns && len(t.aside.held.standing)+len(t.aside.held.windowed) > 0
}

func (x *search) reachesRecord(f Fact) bool {
	t := x.teamOf(f)
	return t.aside.number == x.a.ownerTeam || x.a.shares != nil && x.s.findPrincipal(x.a.shares, t.aside.data.ID.Principal()) >= 0
}

// candidate orders its facts, so that a pair has one key whichever way round.
func (x *search) candidate(facts ...Fact) candidate {
	c := candidate{facts: facts}
	slices.SortFunc(c.facts, func(f, g Fact) int { return strings.Compare(f.key(), g.key()) })
	keys := make([]string, len(facts))
	for i, f := range c.facts {
		keys[i] = f.key()
		c.further += x.s.weight(f)
	}
	c.key = strings.Join(keys, "\x01")
	return c
}

func (f Fact) key() string {
	return strings.Join([]string{string(f.Kind), f.Principal.Kind.String(), f.Principal.ID, f.Role.ID, f.BusinessUnit.ID, f.Team.ID}, "\x00")
}

// weight measures the access that the fact gives: a privilege counts once for the
// records of the holder and once for each business unit that it reaches, times
// the people whom it is given.
func (s *Snapshot) weight(f Fact) int64 {
	switch f.Kind {
	case EnableUser, GiveLicence, Admit:
		u := s.users.get(f.Principal.ID)
		w := s.weightHeld(&u.aside.held)
		for _, n := range s.teamsOf(u) {
			w += s.weightHeld(&s.teams.get(n).aside.held)
		}
		return w
	case EnableUnit:
		n, _ := s.unit(access.BusinessUnitID(f.BusinessUnit.ID))
		return int64(s.teams.get(s.tree.units.get(n).team).aside.members)
	case GiveRole:
		n, _ := s.unit(access.BusinessUnitID(f.BusinessUnit.ID))
		return s.weightRole(s.roleIndex[access.RoleID(f.Role.ID)], n) * s.people(f.Principal)
	case AddToTeam:
		n, _ := s.teamIndex.get(0, f.Team.ID)
		return 1 + s.weightHeld(&s.teams.get(n.number).aside.held)
	case ShareWith:
		return s.people(f.Principal)
	case GiveOwnership:
		return int64(access.Actions) * s.people(f.Principal)
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
	r := s.roles[role]
	if r == nil {
		return 0
	}
	units := int64(s.unitCount())
	below := int64(s.size(unit))
	if r.All {
		return int64(s.tableCount) * int64(access.Actions) * (1 + units)
	}
	w := int64(len(r.Miscellaneous))
	for _, p := range r.Privileges {
		switch p.Depth {
		case access.Basic:
			w++
		case access.Local:
			w += 2
		case access.Deep:
			w += 1 + below
		case access.Global:
			w += 1 + units
		}
	}
	return w
}

// people is how many the principal stands for.
func (s *Snapshot) people(p access.Principal) int64 {
	switch p.Kind {
	case access.TeamPrincipal:
		n, _ := s.teamIndex.get(0, p.ID)
		return int64(max(1, s.teams.get(n.number).aside.members))
	case access.Everybody:
		return int64(max(1, s.userCount))
	}
	return 1
}
