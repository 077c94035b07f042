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
	s        *Snapshot
	q        Question
	subjects []*asked // what must be allowed: the question, or a behalf's three
	tries    int
	alone    map[string]bool // by a fact's key, whether it suffices alone
}

// subjects are what must be allowed for the question to be.
func (s *Snapshot) subjects(q Question) ([]*asked, error) {
	if q.Impersonator != "" {
		b := new(behalf)
		err := s.resolveBehalf(&q, b)
		return []*asked{&b.user, &b.impersonator, &b.acts}, err
	}
	a := new(asked)
	return []*asked{a}, s.resolve(&q, a)
}

// missing lists the sets by size, then by how little further access they give,
// then by their facts.
func (s *Snapshot) missing(q Question, limit int) (sets []Missing, more bool) {
	subjects, err := s.subjects(q)
	if err != nil {
		return nil, false
	}
	forced, possible := s.forced(q, subjects)
	if !possible || len(forced) > 2 {
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
		if s == nil {
			return nil, false
		}
		if subjects, err = s.subjects(q); err != nil {
			return nil, false
		}
	}
	if len(forced) == 2 {
		return nil, false
	}
	x := search{s: s, q: q, subjects: subjects, tries: tries, alone: map[string]bool{}}
	take := func(c candidate) bool {
		if len(sets) == limit {
			more = true
			return false
		}
		sets = append(sets, Missing{append(slices.Clone(forced), c.facts...), further + c.further})
		return true
	}
	singles := x.singles()
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

// inOrderOnce sorts the candidates and leaves each only once.
func inOrderOnce(list []candidate) []candidate {
	slices.SortFunc(list, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.further, y.further), cmp.Compare(x.key, y.key))
	})
	return slices.CompactFunc(list, func(x, y candidate) bool { return x.key == y.key })
}

// forced lists what must be so before anything else can help (Rule EVAL-2). It is
// not possible when nothing does.
func (s *Snapshot) forced(q Question, subjects []*asked) (out []Fact, possible bool) {
	add := func(f Fact) {
		if !slices.ContainsFunc(out, func(g Fact) bool { return g.key() == f.key() }) {
			out = append(out, f)
		}
	}
	for _, a := range subjects {
		if a.gate == Unknown {
			continue
		}
		u := a.user.aside.data
		if !u.Enabled {
			add(s.ofUser(EnableUser, a.user))
		}
		for n := a.user.unit; n != noUnit; n = s.tree.units.get(n).parent {
			if s.tree.units.get(n).data.Disabled {
				add(Fact{Kind: EnableUnit, BusinessUnit: s.nameUnit(n)})
			}
		}
		if s.env.RequireLicence && !s.env.PerAppPlan && !a.user.licensed {
			add(s.ofUser(GiveLicence, a.user))
		}
		if s.env.SecurityGroup != nil && !a.user.admitted {
			add(s.ofUser(Admit, a.user))
		}
		action, system := access.Write, true // as gate takes a miscellaneous privilege
		if a.misc == "" {
			action, system = a.action, s.tables[a.table].data.System
		}
		if a.user.refuses.refuse(q.Channel, action, system) {
			return nil, false
		}
	}
	return out, true
}

// ofUser is a fact about a user.
func (s *Snapshot) ofUser(k FactKind, u *user) Fact {
	return Fact{Kind: k, Principal: u.aside.data.ID.Principal(), Name: u.aside.data.Name}
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
		case GiveProfile:
			c = access.ProfileMember{Environment: s.env.ID, Profile: access.ProfileID(f.Profile.ID), Principal: f.Principal}
		case LinkManager:
			u := s.users.get(f.Principal.ID).aside.data
			u.Manager = access.UserID(f.Manager.ID)
			c = u
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

// singles lists, in order, the facts that could help by themselves or, but for
// what pairs adds, with another.
func (x *search) singles() []candidate {
	var out []candidate
	for _, a := range x.subjects {
		x.singlesOf(a, func(f Fact) { out = append(out, x.candidate(f)) })
	}
	return inOrderOnce(out)
}

func (x *search) singlesOf(a *asked, add func(Fact)) {
	s, u := x.s, a.user
	self := u.aside.data.ID.Principal()
	mine := []access.Principal{self}
	for _, n := range s.teamsOf(u) {
		mine = append(mine, s.teams.get(n).aside.data.ID.Principal())
	}
	lacks := s.lacking(a)
	for _, p := range mine {
		x.roles(a, p, x.gives, add)
		x.profiles(a, p, lacks, add)
	}
	x.eachTeam(func(n uint32, t *team, derived bool) {
		if !derived && !s.member(u, n) {
			add(join(u, t))
		}
	})
	if !a.record || a.kind != access.UserOrTeam {
		return
	}
	levels := s.levels(a)
	if a.action != access.Create && x.q.Record.ID != "" { // Rules SHARE-1, SHARE-2
		for _, p := range append(mine, access.Principal{Kind: access.Everybody}) {
			add(x.share(p))
		}
		if levels > 0 {
			x.eachTeam(func(n uint32, t *team, _ bool) {
				if s.reportsIn(n, u, levels) {
					add(x.share(t.aside.data.ID.Principal()))
				}
			})
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
	for _, r := range x.concerned(a, levels) {
		x.reporting(a, r, add)
	}
	if a.action == access.Create && a.owner != u { // what the owner lacks
		switch {
		case a.ownerTeam != noTeam:
			if !s.member(u, a.ownerTeam) {
				x.roles(a, s.teams.get(a.ownerTeam).aside.data.ID.Principal(), x.givesRead, add)
			}
		default:
			x.roles(a, a.owner.aside.data.ID.Principal(), x.givesRead, add)
			for _, n := range s.teamsOf(a.owner) {
				x.roles(a, s.teams.get(n).aside.data.ID.Principal(), x.givesRead, add)
			}
			if !a.owner.enabled {
				add(s.ofUser(EnableUser, a.owner))
			}
		}
	}
}

// concerned lists those through whom the hierarchy could reach the record: its
// owner, those whom it is shared with, the members of such teams, and those above
// them.
func (x *search) concerned(a *asked, levels int) []*user {
	s := x.s
	if levels == 0 {
		return nil
	}
	seen, out := map[*user]bool{}, []*user(nil)
	add := func(u *user) bool {
		for n := levels; n > 0 && u.exists && len(out) < tries; n-- {
			if seen[u] {
				break
			}
			seen[u] = true
			if out = append(out, u); u.manager == noUser || s.env.Hierarchy.Model != access.ManagerHierarchy {
				break
			}
			u = s.users.rows.get(u.manager)
		}
		return len(out) < tries
	}
	in := func(team uint32) {
		under(&s.members, team, func(n uint32) bool { return add(s.users.rows.get(n)) })
	}
	if a.owner != nil {
		add(a.owner)
	}
	if a.ownerTeam != noTeam {
		in(a.ownerTeam)
	}
	if a.shares != nil {
		for i := range a.shares.count() {
			switch w := a.shares.at(i).who; w.kind() {
			case access.UserPrincipal:
				add(s.users.rows.get(w.number()))
			case access.TeamPrincipal:
				in(w.number())
			}
		}
	}
	return out
}

// reporting adds what makes r a report of the user's, or one that counts: that r
// reports to the user, unless the user stands below r already (Rule HIER-9); that
// r is enabled (Rule HIER-8).
func (x *search) reporting(a *asked, r *user, add func(Fact)) {
	h := x.s.env.Hierarchy
	if r == a.user {
		return
	}
	if h.ExcludeDisabledReports && !r.enabled {
		add(x.s.ofUser(EnableUser, r))
	}
	if h.Model == access.ManagerHierarchy && r.manager != a.user.number && !x.s.above(a.user, r, access.MaxLevels) {
		f := x.s.ofUser(LinkManager, r)
		f.Manager = x.s.nameUser(a.user)
		add(f)
	}
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

// profiles adds the column security profiles that would help the principal to a
// column that is lacking.
func (x *search) profiles(a *asked, p access.Principal, lacks []int, add func(Fact)) {
	for n := range x.s.profiles {
		known := &x.s.profiles[n]
		helps := slices.ContainsFunc(known.lines, func(l profileLine) bool {
			return l.table == a.table && slices.Contains(lacks, int(l.column)) &&
				(a.action == access.Create && l.grants.create || a.action == access.Write && l.grants.update)
		})
		if helps && !slices.Contains(*x.s.profilesOf(p), uint32(n)) {
			add(Fact{Kind: GiveProfile, Principal: p, Name: x.s.principalName(p), Profile: Named{string(known.data.ID), known.data.Name}})
		}
	}
}

// profilesOf is the list of an existing user's or team's profiles.
func (s *Snapshot) profilesOf(p access.Principal) *[]uint32 {
	if p.Kind == access.UserPrincipal {
		return &s.users.get(p.ID).aside.profiles
	}
	n, _ := s.teamIndex.get(0, p.ID)
	return &s.teams.get(n.number).aside.profiles
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
func (x *search) roles(a *asked, p access.Principal, helps func(a *asked, n uint32) bool, add func(Fact)) {
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
	if unit := x.subjects[0].unit; s.env.Modernized && unit != noUnit {
		for n := unit; n != noUnit; n = s.tree.units.get(n).parent {
			if !slices.Contains(at, n) {
				at = append(at, n)
			}
		}
	}
	for n, r := range s.roles {
		if r == nil || !helps(a, uint32(n)) {
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
func (x *search) gives(a *asked, n uint32) bool {
	has := func(a *asked) bool { return a.line[n].depth() != access.None }
	if has(a) {
		return true
	}
	if a.action != access.Create || !a.record {
		return false
	}
	b := *a
	for _, action := range []access.Action{access.Assign, access.Write, access.Read} {
		if x.s.aim(&b, action); has(&b) {
			return true
		}
	}
	if a.unitTable != noUnit {
		b = x.s.unitAsked(a)
		return has(&b)
	}
	return false
}

func (x *search) givesRead(a *asked, n uint32) bool {
	b := *a
	x.s.aim(&b, access.Read)
	return b.line[n].depth() != access.None
}

func join(u *user, t *team) Fact {
	d := u.aside.data
	return Fact{Kind: AddToTeam, Principal: d.ID.Principal(), Name: d.Name, Team: Named{string(t.aside.data.ID), t.aside.data.Name}}
}

func (x *search) share(p access.Principal) Fact {
	return Fact{Kind: ShareWith, Principal: p, Name: x.s.principalName(p), Right: x.q.Action}
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
	var out []candidate
	pair := func(f, g Fact) {
		out = append(out, x.candidate(f, g))
		if len(out) == 8*tries { // no more than tries of them are tried
			out = inOrderOnce(out)
			out = slices.Delete(out, min(len(out), 2*tries), len(out))
		}
	}
	wide := len(x.subjects) > 1 // one may help the one, and the other the other
	for _, a := range x.subjects {
		x.pairsOf(a, pair)
		wide = wide || a.record && a.action == access.Create || x.s.levels(a) > 0 || len(x.s.lacking(a)) > 0
	}
	a := x.subjects[0]
	if !wide && !(a.record && a.kind == access.UserOrTeam) {
		return inOrderOnce(out)
	}
	holds, reaches := singles, singles
	if !wide {
		holds, reaches = nil, nil
		for _, c := range singles {
			f := c.facts[0]
			if f.Kind == GiveRole || f.Kind == AddToTeam && x.holdsRoles(f) {
				holds = append(holds, c)
			}
			if f.Kind == ShareWith || f.Kind == GiveOwnership || f.Kind == AddToTeam && x.reachesRecord(f) {
				reaches = append(reaches, c)
			}
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
	return inOrderOnce(out)
}

// pairsOf adds the pairs of which one fact helps by the other only.
func (x *search) pairsOf(a *asked, pair func(f, g Fact)) {
	s := x.s
	lacks := s.lacking(a)
	x.eachTeam(func(n uint32, t *team, derived bool) {
		join, p := join(a.user, t), t.aside.data.ID.Principal()
		in := derived || s.member(a.user, n)
		if !in {
			x.roles(a, p, x.gives, func(f Fact) { pair(join, f) })
			x.profiles(a, p, lacks, func(f Fact) { pair(join, f) })
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
					x.roles(a, p, x.givesRead, func(f Fact) { pair(x.own(p), f) })
				}
			}
		}
	})
	if !a.record || x.q.Record.ID == "" {
		return
	}
	for _, r := range x.concerned(a, s.levels(a)) {
		for _, n := range s.teamsOf(r) {
			share := x.share(s.teams.get(n).aside.data.ID.Principal())
			x.reporting(a, r, func(f Fact) { pair(f, share) })
		}
	}
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
	a, t := x.subjects[0], x.teamOf(f).aside
	return t.number == a.ownerTeam || x.s.findPrincipal(a.shares, t.data.ID.Principal()) >= 0
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
	return strings.Join([]string{string(f.Kind), f.Principal.Kind.String(), f.Principal.ID, f.Role.ID, f.BusinessUnit.ID, f.Team.ID, f.Profile.ID, f.Manager.ID}, "\x00")
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
	case LinkManager:
		return int64(s.tableCount)
	case GiveProfile:
		return int64(len(s.profiles[s.profileIndex[access.ProfileID(f.Profile.ID)]].data.Columns)) * s.people(f.Principal)
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
