package engine

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
)

// user is what Check reads of a user: two cache lines, of which one suffices for
// the owner of a record. The truth is aside; short lists and ids are repeated here.
type user struct {
	number   uint32
	unit     uint32
	exists   bool
	enabled  bool
	licensed bool    // or needs no licence
	admitted bool    // or need not be
	refuses  refused // by the kind and access mode
	length   uint8   // of the id
	id       [42]byte
	teams    uint32 // how many
	few      [8]uint32
	holding  holding
	manager  uint32 // or noUser
	leads    uint32 // how many have this one as their manager
	aside    *userAside
}

type userAside struct {
	edit     *edit // owner of the user's row too
	held     held
	teams    []uint32         // sorted, without the default team
	origins  []*access.Origin // of the memberships, as teams
	profiles []uint32         // sorted
	position uint32           // or noPosition
	data     access.User
}

func (u *user) is(id string) bool {
	if int(u.length) <= len(u.id) {
		return string(u.id[:u.length]) == id
	}
	return string(u.aside.data.ID) == id
}

// memberOf lists the teams but the default one.
func (u *user) memberOf() []uint32 {
	if int(u.teams) <= len(u.few) {
		return u.few[:u.teams]
	}
	return u.aside.teams
}

// join repeats the list of teams after a change of it.
func (u *user) join() {
	u.teams = uint32(len(u.aside.teams))
	copy(u.few[:], u.aside.teams)
}

func (u *userAside) clone(e *edit) *userAside {
	c := *u
	c.edit, c.held = e, u.held.clone()
	c.teams, c.origins, c.profiles = slices.Clone(u.teams), slices.Clone(u.origins), slices.Clone(u.profiles)
	return &c
}

// team is what Check reads of a team: two to a cache line.
type team struct {
	holding holding
	unit    uint32
	aside   *teamAside
}

type teamAside struct {
	edit     *edit // owner of the team's row too
	number   uint32
	exists   bool
	owns     bool // can own records and hold roles (Rule TEAM-5)
	held     held
	profiles []uint32 // sorted
	members  int
	origin   *access.Origin // the last membership's, which is often the next one's too
	data     access.Team
}

func (t *teamAside) clone(e *edit) *teamAside {
	c := *t
	c.edit, c.held, c.profiles = e, t.held.clone(), slices.Clone(t.profiles)
	return &c
}

// user returns the user's row, ready to be changed; it makes one for a user who
// is mentioned first.
func (b *builder) user(id access.UserID) *user {
	u := b.s.users.get(string(id))
	if u == nil {
		if b.s.users.rows.count == maxRows {
			b.fail("more than %d users", maxRows)
		}
		u = b.s.users.add(string(id), b.edit)
		u.unit, u.manager, u.length = noUnit, noUser, uint8(min(len(id), math.MaxUint8))
		copy(u.id[:], id)
		u.aside = &userAside{edit: b.edit, position: noPosition, data: access.User{ID: id}}
		link(b, &b.s.order, place{id, u.number})
		return u
	}
	u = b.s.users.rows.own(u.number, b.edit)
	if u.aside.edit != b.edit {
		u.aside = u.aside.clone(b.edit)
	}
	return u
}

// userNumber is that of a user, who need not exist.
func (b *builder) userNumber(id access.UserID) uint32 {
	if u := b.s.users.get(string(id)); u != nil {
		return u.number
	}
	return b.user(id).number
}

// settle counts the user in or out where existing users are counted and listed.
func (b *builder) settle(u *user, in bool) {
	if !u.exists {
		return
	}
	by, list := 1, link[pair]
	if !in {
		by, list = -1, unlink[pair]
	}
	team := b.s.span(u.unit).team
	b.s.userCount += by
	b.editTeam(team).aside.members += by
	list(b, &b.s.members, pairOf(team, u.number))
	if u.manager != noUser {
		list(b, &b.s.reports, pairOf(u.manager, u.number))
		b.s.users.rows.own(u.manager, b.edit).leads += uint32(by)
	}
	if u.aside.position != noPosition {
		list(b, &b.s.placed, pairOf(u.aside.position, u.number))
	}
}

// putUser keeps one copy of the ids that are said more than once: each would be as
// large as what Check reads of a user.
func (b *builder) putUser(o access.User) {
	unit, manager, position := b.unit(o.BusinessUnit), uint32(noUser), uint32(noPosition)
	if o.Manager != "" && !b.loading { // or leadAll finds it
		manager = b.userNumber(o.Manager)
	}
	if o.Position != "" {
		position = b.position(o.Position)
	}
	u := b.user(o.ID)
	b.settle(u, false)
	o.ID, o.BusinessUnit = u.aside.data.ID, *b.s.tree.ids.get(unit)
	if manager != noUser {
		o.Manager = b.s.users.rows.get(manager).aside.data.ID
	}
	if o.Mail == o.Login {
		o.Mail = o.Login
	}
	if strings.HasSuffix(string(o.ID), o.Origin.Object) {
		o.Origin.Object = string(o.ID)[len(o.ID)-len(o.Origin.Object):]
	}
	u.exists, u.unit, u.manager, u.aside.position, u.aside.data = true, unit, manager, position, o
	u.enabled, u.licensed, u.admitted = o.Enabled, o.Licensed || !o.NeedsLicence(), o.Admitted || !o.NeedsGroup()
	u.refuses = refusedBy(o)
	b.settle(u, true)
}

// leadAll finds the managers at the end of loading, so that who is somebody's
// manager does not get a row before those with lesser ids.
func (b *builder) leadAll() {
	for n := range b.s.users.rows.count {
		u := b.s.users.rows.own(n, b.edit)
		if !u.exists || u.aside.data.Manager == "" {
			continue
		}
		u.manager = b.userNumber(u.aside.data.Manager)
		m := b.s.users.rows.own(u.manager, b.edit)
		m.leads++
		u.aside.data.Manager = m.aside.data.ID // kept once
		link(b, &b.s.reports, pairOf(u.manager, n))
	}
}

func (b *builder) dropUser(id access.UserID) {
	u := b.user(id)
	b.settle(u, false)
	u.exists = false
}

func (b *builder) team(id access.TeamID) uint32 {
	if n, ok := b.s.teamIndex.get(string(id)); ok {
		return n
	}
	if b.s.teams.count == maxRows {
		b.fail("more than %d teams", maxRows)
	}
	n := b.s.teamIndex.add(string(id), b.edit)
	*b.s.teams.own(n, b.edit) = team{holding: holding{idle: true}, unit: noUnit, aside: &teamAside{edit: b.edit, number: n, data: access.Team{ID: id}}}
	return n
}

// editTeam returns the team's row, ready to be changed.
func (b *builder) editTeam(n uint32) *team {
	t := b.s.teams.own(n, b.edit)
	if t.aside.edit != b.edit {
		t.aside = t.aside.clone(b.edit)
	}
	return t
}

func (b *builder) putTeam(o access.Team) {
	if _, derived := o.ID.DefaultOf(); derived {
		b.fail("team %q: a default team is derived from its unit, not stored (Rule BU-6)", o.ID)
		return
	}
	t := b.editTeam(b.team(o.ID))
	if t.aside.exists {
		b.carry(unlink, o.ID.Principal(), itsPlace, t.unit)
	}
	b.carry(link, o.ID.Principal(), itsPlace, b.unit(o.BusinessUnit))
	if o.Group != nil {
		g := *o.Group
		o.Group = &g
	}
	t.aside.exists, t.aside.owns, t.unit, t.aside.data = true, o.CanOwn(), b.unit(o.BusinessUnit), o
	t.holding.idle = !o.CanOwn()
}

func (b *builder) dropTeam(id access.TeamID) {
	n := b.team(id)
	if t := b.s.teams.get(n); t.aside.exists {
		b.carry(unlink, id.Principal(), itsPlace, t.unit)
	}
	b.endTeam(n)
}

func (b *builder) endTeam(n uint32) {
	t := b.editTeam(n)
	t.aside.exists, t.holding.idle = false, true
}

// membership checks one and finds its team and origin.
func (b *builder) membership(o *access.Membership) (team uint32, origin *access.Origin, ok bool) {
	n := b.team(o.Team)
	t := b.s.teams.get(n)
	if _, derived := t.aside.data.ID.DefaultOf(); derived {
		b.fail("membership of user %q in team %q: the members of a default team are derived, not stored (Rule BU-6)", o.User, o.Team)
		return 0, nil, false
	}
	if o.Origin == (access.Origin{}) {
		return n, nil, true
	}
	if t.aside.origin == nil || *t.aside.origin != o.Origin {
		c := o.Origin
		b.editTeam(n).aside.origin = &c
		return n, &c, true
	}
	return n, t.aside.origin, true
}

func (b *builder) putMembership(o *access.Membership) {
	n, origin, ok := b.membership(o)
	if !ok {
		return
	}
	if b.loading {
		b.joining = append(b.joining, joining{b.userNumber(o.User), n, origin})
		return
	}
	u := b.user(o.User)
	i, found := slices.BinarySearch(u.aside.teams, n)
	if found {
		u.aside.origins[i] = origin
		return
	}
	u.aside.teams, u.aside.origins = slices.Insert(u.aside.teams, i, n), slices.Insert(u.aside.origins, i, origin)
	u.join()
	b.editTeam(n).aside.members++
	link(b, &b.s.members, pairOf(n, u.number))
}

// joining is a membership that waits for the end of loading.
type joining struct {
	user, team uint32
	origin     *access.Origin
}

// joinAll puts the memberships that wait, sorted by user, so that each user is
// visited once.
func (b *builder) joinAll() {
	list := b.joining
	b.joining = nil
	for _, j := range list {
		b.editTeam(j.team).aside.members++
		link(b, &b.s.members, pairOf(j.team, j.user))
	}
	first := make([]uint32, b.s.users.rows.count+1) // of each user, in sorted
	for _, j := range list {
		first[j.user+1]++
	}
	for i := 1; i < len(first); i++ {
		first[i] += first[i-1]
	}
	sorted, next := make([]joining, len(list)), slices.Clone(first)
	for _, j := range list {
		sorted[next[j.user]] = j
		next[j.user]++
	}
	teams, origins := make([]uint32, len(list)), make([]*access.Origin, len(list))
	for n := range b.s.users.rows.count {
		from, to := first[n], first[n+1]
		if from == to {
			continue
		}
		mine := sorted[from:to]
		slices.SortFunc(mine, func(x, y joining) int { return cmp.Compare(x.team, y.team) })
		for i, j := range mine {
			teams[int(from)+i], origins[int(from)+i] = j.team, j.origin
		}
		u := b.s.users.rows.own(n, b.edit)
		u.aside.teams, u.aside.origins = teams[from:to:to], origins[from:to:to]
		u.join()
	}
}

func (b *builder) dropMembership(team access.TeamID, id access.UserID) {
	n, u := b.team(team), b.user(id)
	if i, found := slices.BinarySearch(u.aside.teams, n); found {
		u.aside.teams, u.aside.origins = slices.Delete(u.aside.teams, i, i+1), slices.Delete(u.aside.origins, i, i+1)
		u.join()
		b.editTeam(n).aside.members--
		unlink(b, &b.s.members, pairOf(n, u.number))
	}
}
