package engine

import (
	"cmp"
	"maps"
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
