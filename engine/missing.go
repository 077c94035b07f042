package engine

import (
	"cmp"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// effort is how many facts one search supposes or looks at, at most; what it has
// not come to by then it reports as "more".
const effort = 5_000

// nearby is how many memberships are told apart by what they give; of the others
// there may be very many.
const nearby = 16

// search looks for the minimal sets of missing facts of one question (Rule
// EVAL-9). It supposes facts in a snapshot of its own, whose rows it changes and
// puts back, and asks the question there: a set is reported only after the answer
// was yes.
//
// What it goes through comes from the user, the record and the roles that have the
// privilege, and from the indexes by these; it stops when there are sets enough.
// So it costs some times what the question costs, however large the organisation.
type search struct {
	base   *Snapshot // as it is
	s      *Snapshot // as is supposed
	edit   *edit
	q      Question
	shares *shares // the record's, with those supposed
	asking behalf  // what allowed asks
	spare  *userAside

	users []*user  // who asks, and the impersonator
	units []uint32 // the record's business unit and those above it
	own   []uint32 // where the users could be given roles
	// links are those through whom the hierarchy could reach the record.
	links []uint32
	teams []uint32 // in question: see inQuestion
	homes []uint32 // of roles: see home
	// teamed: the record is owned by a team or shared with one, so that reports are
	// looked for among its members.
	teamed bool

	limit, left int
	forced      []fact
	alone       []fact // those that suffice
	tried       map[[2]fact]bool
	sets        []Missing
	more        bool
}

// fact is a Fact in numbers.
type fact struct {
	kind                               FactKind
	who                                who
	role, unit, team, profile, manager uint32
}

// missing lists the sets as Explanation describes it.
func (s *Snapshot) missing(q Question, limit int) (sets []Missing, more bool) {
	c := *s
	x := search{base: s, s: &c, edit: new(edit), q: q, limit: limit, left: effort}
	possible := x.begin()
	switch {
	case !possible || len(x.forced) > 2:
	case len(x.forced) > 0 && x.allowed():
		x.take()
	case len(x.forced) == 2:
	case x.singles() && len(x.forced) == 0 && x.pairs():
		x.newTeams()
	}
	return x.sets, x.more
}

// begin finds out what the question is about and supposes what must be so before
// anything else can help (Rule EVAL-2). It is not possible when nothing does.
func (x *search) begin() (possible bool) {
	var b behalf
	subjects := x.subjects(&b)
	if subjects == nil {
		return false
	}
	s, first := x.s, subjects[0]
	for _, a := range subjects {
		if !x.force(a) {
			return false
		}
	}
	for n := first.unit; n != noUnit; n = s.parent(n) {
		x.units = append(x.units, n)
	}
	x.shares, x.links, x.teamed = first.shares, s.linked(first), first.ownerTeam != noTeam
	if x.shares != nil {
		for i := range x.shares.count() {
			x.teamed = x.teamed || x.shares.at(i).who.kind() == access.TeamPrincipal
		}
	}
	for _, a := range subjects {
		u := x.row(a.user.number)
		if a.gate != Unknown {
			u.enabled, u.licensed, u.admitted = true, true, true
			(&builder{s: s, edit: x.edit}).editSpan(u.unit).barred = false
		}
		if !slices.Contains(x.users, u) {
			x.users = append(x.users, u)
			x.own = append(x.own, x.at(u.unit)...)
		}
	}
	return true
}

// force lists what the subject lacks to be let in.
func (x *search) force(a *asked) (possible bool) {
	if a.gate == Unknown {
		return true
	}
	s, u := x.s, a.user
	add := func(f fact) {
		if !slices.Contains(x.forced, f) {
			x.forced = append(x.forced, f)
		}
	}
	w := who(u.number)
	if !u.enabled {
		add(fact{kind: EnableUser, who: w})
	}
	for n := u.unit; n != noUnit; n = s.parent(n) {
		if s.tree.units.get(n).data.Disabled {
			add(fact{kind: EnableUnit, unit: n})
		}
	}
	if s.env.RequireLicence && !s.env.PerAppPlan && !u.licensed {
		add(fact{kind: GiveLicence, who: w})
	}
	if s.env.SecurityGroup != nil && !u.admitted {
		add(fact{kind: Admit, who: w})
	}
	action, system := access.Write, true // as gate takes a miscellaneous privilege
	if a.misc == "" {
		action, system = a.action, s.tables[a.table].data.System
	}
	return !u.refuses.refuse(x.q.Channel, action, system)
}

// linked lists those through whom the hierarchy could reach the record: its owner,
// those whom it is shared with, and those above them.
func (s *Snapshot) linked(a *asked) (out []uint32) {
	levels := s.levels(a)
	seen := map[*user]bool{}
	add := func(u *user) {
		for n := levels; n > 0 && u.exists && !seen[u]; n-- {
			seen[u] = true
			if out = append(out, u.number); u.manager == noUser || s.env.Hierarchy.Model != access.ManagerHierarchy {
				return
			}
			u = s.users.rows.get(u.manager)
		}
	}
	if a.owner != nil {
		add(a.owner)
	}
	if a.shares != nil {
		for i := range a.shares.count() {
			if w := a.shares.at(i).who; w.kind() == access.UserPrincipal {
				add(s.users.rows.get(w.number()))
			}
		}
	}
	return out
}

// at lists the units where who stands in one can be given roles to any effect: it,
// and with modernized units the record's and those above it.
func (x *search) at(unit uint32) []uint32 {
	out := []uint32{unit}
	if x.s.env.Modernized {
		for _, n := range x.units {
			if n != unit {
				out = append(out, n)
			}
		}
	}
	return out
}

// row is the user's row, ready to be changed.
func (x *search) row(n uint32) *user { return x.s.users.rows.own(n, x.edit) }

// subjects are what must be allowed for the question to be, as things are supposed
// to be: the question, or a behalf's three. There are none when it cannot be judged.
func (x *search) subjects(b *behalf) []*asked {
	if x.q.Impersonator == "" {
		if x.s.resolve(&x.q, &b.user) != nil {
			return nil
		}
		if x.shares != nil {
			b.user.shares = x.shares
		}
		return []*asked{&b.user}
	}
	if x.s.resolveBehalf(&x.q, b) != nil {
		return nil
	}
	if x.shares != nil {
		b.user.shares, b.impersonator.shares = x.shares, x.shares
	}
	return []*asked{&b.user, &b.impersonator, &b.acts}
}

// allowed asks the question as things are supposed to be.
func (x *search) allowed() bool {
	x.left--
	b := &x.asking
	*b = behalf{}
	switch {
	case x.subjects(b) == nil:
		return false
	case x.q.Impersonator == "":
		return x.s.evaluate(&b.user, b.user.at).Allowed
	}
	return x.s.evaluateBehalf(b, b.user.at).Allowed
}

// suppose makes the fact so; undo makes it not so again, the last one first.
func (x *search) suppose(f fact) (undo func()) {
	s, n := x.s, f.who.number()
	user := func(change func(*userAside)) func() {
		u := x.row(n)
		was, aside := *u, x.spare
		if x.spare = nil; aside == nil {
			aside = new(userAside)
		}
		*aside = *u.aside
		u.aside = aside
		change(aside)
		return func() { *u, x.spare = was, aside }
	}
	team := func(change func(*teamAside)) func() {
		t := s.teams.own(n, x.edit)
		was, aside := *t, *t.aside
		t.aside = &aside
		change(&aside)
		return func() { *t = was }
	}
	isUser := f.who.kind() == access.UserPrincipal
	switch f.kind {
	case EnableUser:
		u := x.row(n)
		was := u.enabled
		u.enabled = true
		return func() { u.enabled = was }
	case GiveRole:
		hold := func(h *held, row *holding) {
			h.standing = append(slices.Clip(h.standing), grant{f.role, f.unit})
			row.take(h)
		}
		if isUser {
			return user(func(aside *userAside) { hold(&aside.held, &x.row(n).holding) })
		}
		return team(func(aside *teamAside) { hold(&aside.held, &s.teams.own(n, x.edit).holding) })
	case AddToTeam:
		back := user(func(aside *userAside) {
			i, _ := slices.BinarySearch(aside.teams, f.team)
			aside.teams = slices.Insert(slices.Clip(aside.teams), i, f.team)
			x.row(n).join()
		})
		if x.q.Impersonator == "" {
			return back
		}
		s.members.add(pairOf(f.team, n), x.edit) // a manager may ask who is in the team
		return func() {
			back()
			s.members.remove(pairOf(f.team, n), x.edit)
		}
	case ShareWith:
		was := x.shares
		x.shares = was.with(f.who, access.RightsOf(x.q.Action))
		return func() { x.shares = was }
	case GiveProfile:
		add := func(list *[]uint32) {
			i, _ := slices.BinarySearch(*list, f.profile)
			*list = slices.Insert(slices.Clip(*list), i, f.profile)
		}
		if isUser {
			return user(func(aside *userAside) { add(&aside.profiles) })
		}
		return team(func(aside *teamAside) { add(&aside.profiles) })
	case LinkManager:
		was := x.row(n).manager
		x.link(n, f.manager)
		return func() { x.link(n, was) }
	case GiveOwnership:
		was := x.q.Record
		x.q.Record = s.reown(x.q, s.principal(f.who))
		return func() { x.q.Record = was }
	}
	return func() {}
}

// link makes the user report to another, or with noUser to nobody.
func (x *search) link(n, manager uint32) {
	s, u := x.s, x.row(n)
	if u.manager != noUser {
		if x.row(u.manager).leads--; x.teamed {
			s.reports.remove(pairOf(u.manager, n), x.edit)
		}
	}
	if u.manager = manager; manager != noUser {
		if x.row(manager).leads++; x.teamed {
			s.reports.add(pairOf(manager, n), x.edit)
		}
	}
}

// with is a copy in which the principal has the rights, at any time.
func (sh *shares) with(w who, rights access.Rights) *shares {
	aside := new(sharesAside)
	i := -1
	if sh != nil {
		for j := range sh.count() {
			aside.list = append(aside.list, sh.at(j))
		}
		if sh.timed() {
			aside.windows = slices.Clone(sh.aside.windows)
		}
		i = sh.find(w)
	}
	var always period
	always.start, always.end = micros(access.Window{})
	switch {
	case i < 0:
		aside.list = append(aside.list, share{who: w, own: rights})
		if aside.windows != nil {
			aside.windows = append(aside.windows, always)
		}
	default:
		aside.list[i].own |= rights
		if aside.windows != nil {
			aside.windows[i] = always
		}
	}
	return &shares{aside: aside}
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
	n, _ := s.teamIndex.get(p.ID)
	return s.teams.get(n).aside.data.BusinessUnit
}

// take reports a set, and tells whether there is room for more.
func (x *search) take(facts ...fact) bool {
	if len(x.sets) == x.limit {
		x.more = true
		return false
	}
	slices.SortFunc(facts, func(f, g fact) int { return x.base.compareFacts(&f, &g) })
	m := Missing{Facts: make([]Fact, 0, len(x.forced)+len(facts))}
	for _, f := range slices.Concat(x.forced, facts) {
		m.Facts = append(m.Facts, x.base.fact(f, x.q.Action))
		m.Further += x.base.weight(f)
	}
	x.sets = append(x.sets, m)
	return true
}

// goOn tells whether the search may look at one more.
func (x *search) goOn() bool {
	x.left--
	x.more = x.more || x.left < 0
	return !x.more
}

// singles takes the facts that suffice, and tells whether those were all.
func (x *search) singles() (all bool) {
	return x.ways(true, func(f fact) bool {
		undo := x.suppose(f)
		allowed := x.allowed()
		undo()
		if !allowed {
			return true
		}
		x.alone = append(x.alone, f)
		return x.take(f)
	})
}

// pairs takes those of two facts of which the one meets a need, or opens a way to
// meet it, and the other suffices then.
func (x *search) pairs() (all bool) {
	x.teamed = true // the one may give the record to a team
	return x.ways(false, func(f fact) bool {
		if slices.Contains(x.alone, f) {
			return true
		}
		defer x.suppose(f)()
		return x.ways(true, func(g fact) bool { return x.pair(f, g) })
	})
}

// pair takes the pair if it suffices and neither does alone; f is supposed.
func (x *search) pair(f, g fact) bool {
	if f == g || slices.Contains(x.alone, g) || x.tried[[2]fact{f, g}] || x.tried[[2]fact{g, f}] {
		return true
	}
	if x.tried == nil {
		x.tried = map[[2]fact]bool{}
	}
	x.tried[[2]fact{f, g}] = true
	undo := x.suppose(g)
	allowed := x.allowed()
	undo()
	return !allowed || x.take(f, g)
}

// newTeams takes the pairs of joining a team and giving that team a role. They are
// looked for where the user could not be given the role to the same effect: at the
// record's unit and those above it, and where the role exists in none of the
// user's.
func (x *search) newTeams() bool {
	s := x.s
	var b behalf
	h := x.first(&b)
	if h == nil {
		return true
	}
	granting := h.granting()
	if len(granting) == 0 {
		return true
	}
	u := h.a.user
	if h.gaps[0].want == wantReads {
		if u = h.a.owner; u == nil || !slices.Contains(x.users, u) {
			return true
		}
	}
	seen := map[uint32]bool{}
	through := func(n uint32) bool {
		f := fact{kind: AddToTeam, who: who(u.number), team: n}
		t := s.teams.get(n)
		if !x.goOn() {
			return false
		}
		if seen[n] || !t.aside.exists || !t.aside.owns || slices.Contains(x.inQuestion(), n) || slices.Contains(x.alone, f) {
			return true
		}
		seen[n] = true
		defer x.suppose(f)()
		var b behalf
		h := x.first(&b)
		if h == nil {
			return true
		}
		list := h.roles(nil, who(n)|teamBit, []uint32{t.unit}, func(home uint32) bool {
			return !slices.Contains(x.own, t.unit) && slices.Contains(x.units, t.unit) || !x.known(home)
		})
		return x.inOrder(list, func(g fact) bool { return x.pair(f, g) })
	}
	for _, n := range x.units {
		if !slices.Contains(x.own, n) && !s.carrying(itsPlace, n, through) {
			return false
		}
	}
	for _, n := range granting {
		if home := x.home(n); home != noUnit && !x.known(home) && !x.below(home, func(unit uint32) bool {
			return s.carrying(itsPlace, unit, through)
		}) {
			return false
		}
	}
	return true
}

// home is the unit that defines the role, or noUnit.
func (x *search) home(role uint32) uint32 {
	if x.homes == nil {
		x.homes = make([]uint32, len(x.s.roles)) // from 1; 0 is not looked up yet
	}
	if x.homes[role] == 0 {
		n, _ := x.s.unit(x.s.roles[role].BusinessUnit)
		x.homes[role] = n + 1
	}
	return x.homes[role] - 1
}

// known tells whether a role of that home exists where the users could be given it
// (Rule ROLE-2).
func (x *search) known(home uint32) bool {
	return slices.ContainsFunc(x.own, func(n uint32) bool { return x.s.existsAt(home, n) })
}

// existsAt tells whether a role of that home exists at the unit: below the unit
// that defines it (Rule ROLE-2).
func (s *Snapshot) existsAt(home, unit uint32) bool {
	h, at := s.span(home), s.span(unit)
	return h.exists() && at.exists() && h.holds(at.first)
}

// below yields the unit and those below it, in the tree's order.
func (x *search) below(unit uint32, yield func(n uint32) bool) (more bool) {
	more = true
	sp := x.s.span(unit)
	x.s.within(sp.first, sp.last, func(k kid) bool {
		more = x.goOn() && yield(k.unit)
		return more
	})
	return more
}

// inQuestion lists the teams of the users and, for a creation, of the intended
// owner, or the one that is it: those of fewest members first. It is asked first
// while nothing is supposed.
func (x *search) inQuestion() []uint32 {
	if x.teams != nil {
		return x.teams
	}
	s := x.s
	for _, u := range x.users {
		x.teams = append(x.teams, s.teamsOf(u)...)
	}
	var b behalf
	if a := x.subjects(&b)[0]; a.record && a.action == access.Create {
		switch {
		case a.ownerTeam != noTeam:
			x.teams = append(x.teams, a.ownerTeam)
		case a.owner != nil:
			x.teams = append(x.teams, s.teamsOf(a.owner)...)
		}
	}
	slices.Sort(x.teams)
	x.teams = slices.Compact(x.teams)
	slices.SortFunc(x.teams, func(n, m uint32) int {
		x, y := s.teams.get(n).aside, s.teams.get(m).aside
		if d := cmp.Compare(x.members, y.members); d != 0 {
			return d
		}
		return cmp.Compare(x.data.ID, y.data.ID)
	})
	return x.teams
}
