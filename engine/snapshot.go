package engine

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Snapshot is one environment at one revision, compiled for questions. It is
// immutable and safe for concurrent use.
//
// Inside, users, teams, units, tables and roles are small integers that are given
// out on first mention and never again to something else. What is mentioned but
// does not exist has a number and gives nothing.
type Snapshot struct {
	revision access.Revision
	env      access.Environment

	users     people
	teamIndex dict[*named]
	teams     rows[team]

	// Units, tables and roles are few: their lists are copied when one changes.
	unitIndex  map[access.BusinessUnitID]uint32
	units      []unit
	spans      []span                  // by unit: what Check reads of it
	preorder   []access.BusinessUnitID // the units that exist, in the tree's pre-order
	tableIndex map[access.TableID]uint32
	tables     []table
	roleIndex  map[access.RoleID]uint32
	roles      []*access.Role    // nil: does not exist
	cells      []cell            // by privilege, then role: what the role says of it
	miscLines  map[string][]cell // by miscellaneous privilege
	otherMisc  []cell            // for those that no role names

	assignments dict[*assignment]
	records     dict[*record] // spaces are tables
	shares      dict[*shares] // spaces are tables

	userCount, unitCount, tableCount int // that exist
}

// noTeam and noUnit are numbers that nothing has.
const (
	noTeam = math.MaxUint32
	noUnit = math.MaxUint32
)

// user is what Check reads of a user: two cache lines, of which one suffices for
// the owner of a record. The truth is aside; short lists and ids are repeated here.
type user struct {
	number   uint32
	unit     uint32
	exists   bool
	enabled  bool
	licensed bool
	admitted bool
	length   uint8 // of the id
	id       [47]byte
	teams    uint32 // how many
	few      [8]uint32
	holding  holding
	aside    *userAside
}

type userAside struct {
	edit    *edit // owner of the user's row too
	held    held
	teams   []uint32         // sorted, without the default team
	origins []*access.Origin // of the memberships, as teams
	data    access.User
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
	c.teams, c.origins = slices.Clone(u.teams), slices.Clone(u.origins)
	return &c
}

// team is what Check reads of a team: two to a cache line.
type team struct {
	holding holding
	unit    uint32
	aside   *teamAside
}

type teamAside struct {
	edit    *edit // owner of the team's row too
	number  uint32
	exists  bool
	owns    bool // can own records and hold roles (Rule TEAM-5)
	held    held
	members int
	origin  *access.Origin // the last membership's, which is often the next one's too
	data    access.Team
}

func (t *teamAside) clone(e *edit) *teamAside {
	c := *t
	c.edit, c.held = e, t.held.clone()
	return &c
}

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

// named is a number's name.
type named struct {
	id     string
	number uint32
}

func (n *named) is(_ uint32, id string) bool { return n.id == id }

type record struct {
	table uint32
	data  access.Record
}

func (r *record) is(table uint32, id string) bool { return r.table == table && string(r.data.ID) == id }

// unit is a node of the tree.
type unit struct {
	exists bool
	parent uint32
	team   uint32 // the default team
	data   access.BusinessUnit
}

// span is a unit's place in the tree's pre-order, from 1: first is its own
// number, last that of the last unit below it. A unit that does not exist has 0.
type span struct {
	id          access.BusinessUnitID
	first, last uint32
	team        uint32 // the default team
	barred      bool   // disabled, or below a disabled one (Rule BU-3)
}

func (s *span) exists() bool            { return s.last != 0 }
func (s *span) holds(first uint32) bool { return s.first <= first && first <= s.last }

type table struct {
	exists bool
	data   access.Table
}

// cell is what a role says of a privilege: the depth, and two bits.
// Check reads a line of them, the one of the privilege that it is asked for.
type cell uint8

const (
	depthBits   = 7
	inheritsBit = 3 // members inherit as if it were theirs (Rule ROLE-8)
	existsBit   = 4 // the role exists
)

func (c cell) depth() access.Depth { return access.Depth(c & depthBits) }

// bound is the largest effect of an elevation (Rule JIT-62), sorted by privilege.
type bound struct {
	all   bool
	lines []boundLine
	misc  []string
}

type boundLine struct {
	privilege uint32
	depth     access.Depth
}

// shares are those of one record.
type shares struct {
	edit   *edit
	table  uint32
	record access.RecordID
	list   []share
	timed  bool // some has a window
}

type share struct {
	kind       access.PrincipalKind
	number     uint32 // of the user or team
	rights     access.Rights
	start, end int64
	data       *access.Share
}

func (sh *shares) is(table uint32, record string) bool {
	return sh.table == table && string(sh.record) == record
}

// New compiles the state, which may change afterwards.
func New(st *access.State, rev access.Revision) (*Snapshot, error) {
	e, seed := new(edit), maphash.MakeSeed()
	b := builder{edit: e, ownUnits: true, ownTables: true, ownRoles: true, treeChanged: true, rolesChanged: true, s: &Snapshot{
		revision:    rev,
		env:         st.Environment,
		users:       newPeople(seed, len(st.Users), e),
		teamIndex:   newDict[*named](seed, len(st.Teams)+len(st.BusinessUnits), e),
		unitIndex:   make(map[access.BusinessUnitID]uint32, len(st.BusinessUnits)),
		tableIndex:  make(map[access.TableID]uint32, len(st.Tables)),
		roleIndex:   make(map[access.RoleID]uint32, len(st.Roles)),
		assignments: newDict[*assignment](seed, len(st.Assignments), e),
		records:     newDict[*record](seed, len(st.Records), e),
		shares:      newDict[*shares](seed, len(st.Shares), e),
	}}
	for _, o := range st.BusinessUnits {
		b.putUnit(o)
	}
	for _, o := range st.Tables {
		b.putTable(o)
	}
	for _, o := range st.Roles {
		b.putRole(o)
	}
	for _, o := range st.Users {
		b.putUser(o)
	}
	for _, o := range st.Teams {
		b.putTeam(o)
	}
	b.joinAll(st.Memberships)
	for _, o := range st.Assignments {
		b.putAssignment(o)
	}
	for _, o := range st.Records {
		b.putRecord(o)
	}
	for _, o := range st.Shares {
		b.putShare(o)
	}
	return b.finish()
}

// Apply returns the snapshot with the changes made, in order; s stays as it is.
// Both share what the changes do not touch. The changes must be whole, as
// access.State.Expand returns them. Cost goes by the changes, not by the
// organisation, except that business units, tables and roles, being few, are
// relabelled or copied as a list when one of their kind changes.
func (s *Snapshot) Apply(changes []access.Change, rev access.Revision) (*Snapshot, error) {
	next := *s
	next.revision = rev
	b := builder{s: &next, edit: new(edit)}
	for _, c := range changes {
		if env := c.Object.ObjectEnvironment(); env != s.env.ID {
			return nil, fmt.Errorf("apply to environment %q: %v is of environment %q", s.env.ID, c, env)
		}
		switch o := c.Object.(type) {
		case access.Environment:
			if c.Delete {
				return nil, fmt.Errorf("apply to environment %q: the environment itself is deleted", s.env.ID)
			}
			next.env = o
		case access.BusinessUnit:
			if c.Delete {
				b.dropUnit(o.ID)
			} else {
				b.putUnit(o)
			}
		case access.Table:
			if c.Delete {
				b.dropTable(o.ID)
			} else {
				b.putTable(o)
			}
		case access.Role:
			if c.Delete {
				b.dropRole(o.ID)
			} else {
				b.putRole(o)
			}
		case access.User:
			if c.Delete {
				b.dropUser(o.ID)
			} else {
				b.putUser(o)
			}
		case access.Team:
			if c.Delete {
				b.dropTeam(o.ID)
			} else {
				b.putTeam(o)
			}
		case access.Membership:
			if c.Delete {
				b.dropMembership(o.Team, o.User)
			} else {
				b.putMembership(&o)
			}
		case access.Assignment:
			if c.Delete {
				b.dropAssignment(o.ID)
			} else {
				b.putAssignment(o)
			}
		case access.Record:
			if c.Delete {
				b.dropRecord(o)
			} else {
				b.putRecord(o)
			}
		case access.Share:
			if c.Delete {
				b.dropShare(o)
			} else {
				b.putShare(o)
			}
		}
	}
	return b.finish()
}

// Revision is the revision that the snapshot shows.
func (s *Snapshot) Revision() access.Revision { return s.revision }

// Environment is the environment's settings at that revision.
func (s *Snapshot) Environment() access.Environment { return s.env }

// builder changes a snapshot that nobody else has seen yet. It copies what is
// shared with another snapshot before it changes it.
type builder struct {
	s                             *Snapshot
	edit                          *edit
	ownUnits, ownTables, ownRoles bool
	treeChanged, rolesChanged     bool
	err                           error // the first
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("environment %q: "+format, append([]any{b.s.env.ID}, args...)...)
	}
}

func (b *builder) finish() (*Snapshot, error) {
	if b.err == nil && b.treeChanged {
		b.label()
	}
	if b.err == nil && b.rolesChanged {
		b.compileRoles()
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.s, nil
}

func (b *builder) unit(id access.BusinessUnitID) uint32 {
	if n, ok := b.s.unitIndex[id]; ok {
		return n
	}
	b.copyUnits()
	n := uint32(len(b.s.units))
	b.s.unitIndex[id] = n
	b.s.units = append(b.s.units, unit{parent: noUnit, team: b.team(id.DefaultTeam()), data: access.BusinessUnit{ID: id}})
	b.treeChanged = true // for its span
	return n
}

func (b *builder) copyUnits() {
	if !b.ownUnits {
		b.s.unitIndex, b.s.units = maps.Clone(b.s.unitIndex), slices.Clone(b.s.units)
		b.ownUnits = true
	}
}

func (b *builder) putUnit(o access.BusinessUnit) {
	n := b.unit(o.ID)
	b.copyUnits()
	b.treeChanged = true
	u := &b.s.units[n]
	u.exists, u.data = true, o
	t := b.editTeam(u.team)
	t.aside.exists, t.aside.owns, t.unit, t.holding.idle = true, true, n, false
	t.aside.data = access.Team{
		Environment: o.Environment, ID: o.ID.DefaultTeam(), Name: o.Name, Type: access.OwnerTeam,
		BusinessUnit: o.ID, ManagedBy: access.BySystem,
	}
}

func (b *builder) dropUnit(id access.BusinessUnitID) {
	n := b.unit(id)
	b.copyUnits()
	b.treeChanged = true
	b.s.units[n].exists = false
	b.endTeam(b.s.units[n].team)
}

// label numbers the tree in pre-order and spreads disabling downwards.
func (b *builder) label() {
	s := b.s
	b.copyUnits()
	s.spans = make([]span, len(s.units))
	children := make([][]uint32, len(s.units))
	root, live := uint32(noUnit), 0
	for i := range s.units {
		u := &s.units[i]
		s.spans[i].team, s.spans[i].id = u.team, u.data.ID
		if u.parent = noUnit; !u.exists {
			continue
		}
		live++
		if u.data.Parent == "" {
			if root != noUnit {
				b.fail("business units %q and %q both have no parent (Rule BU-1)", s.units[root].data.ID, u.data.ID)
				return
			}
			root = uint32(i)
			continue
		}
		p, ok := s.unitIndex[u.data.Parent]
		if !ok || !s.units[p].exists {
			b.fail("business unit %q: parent %q does not exist (Rule BU-1)", u.data.ID, u.data.Parent)
			return
		}
		u.parent = p
		children[p] = append(children[p], uint32(i))
	}
	s.preorder = make([]access.BusinessUnitID, 0, live)
	var visit func(n uint32, barred bool)
	visit = func(n uint32, barred bool) {
		sp := &s.spans[n]
		s.preorder = append(s.preorder, sp.id)
		sp.first, sp.barred = uint32(len(s.preorder)), barred || s.units[n].data.Disabled
		// By id, so that a tree is numbered alike everywhere (Rule EVAL-12).
		slices.SortFunc(children[n], func(x, y uint32) int { return cmp.Compare(s.spans[x].id, s.spans[y].id) })
		for _, c := range children[n] {
			visit(c, sp.barred)
		}
		sp.last = uint32(len(s.preorder))
	}
	if root != noUnit {
		visit(root, false)
	}
	if s.unitCount = live; len(s.preorder) != live {
		b.fail("business units form a cycle, or have no root (Rule BU-1)")
	}
}

func (b *builder) table(id access.TableID) uint32 {
	if n, ok := b.s.tableIndex[id]; ok {
		return n
	}
	b.copyTables()
	n := uint32(len(b.s.tables))
	b.s.tableIndex[id] = n
	b.s.tables = append(b.s.tables, table{data: access.Table{ID: id}})
	b.rolesChanged = true // for its lines
	return n
}

func (b *builder) copyTables() {
	if !b.ownTables {
		b.s.tableIndex, b.s.tables = maps.Clone(b.s.tableIndex), slices.Clone(b.s.tables)
		b.ownTables = true
	}
}

func (b *builder) putTable(o access.Table) {
	n := b.table(o.ID)
	b.copyTables()
	b.s.tables[n] = table{exists: true, data: o}
	b.rolesChanged = true // for the kind
}

func (b *builder) dropTable(id access.TableID) {
	n := b.table(id)
	b.copyTables()
	b.s.tables[n].exists = false
	b.rolesChanged = true // they are counted there
}

// privilege numbers an action on a table.
func privilege(table uint32, a access.Action) uint32 {
	return table*uint32(access.Actions) + uint32(a)
}

func (b *builder) role(id access.RoleID) uint32 {
	if n, ok := b.s.roleIndex[id]; ok {
		return n
	}
	b.copyRoles()
	n := uint32(len(b.s.roles))
	b.s.roleIndex[id] = n
	b.s.roles = append(b.s.roles, nil)
	b.rolesChanged = true // for its place in the lines
	return n
}

func (b *builder) copyRoles() {
	if !b.ownRoles {
		b.s.roleIndex, b.s.roles = maps.Clone(b.s.roleIndex), slices.Clone(b.s.roles)
		b.ownRoles = true
	}
}

func (b *builder) putRole(o access.Role) {
	n := b.role(o.ID)
	b.copyRoles()
	b.rolesChanged = true
	o.Privileges, o.Miscellaneous = slices.Clone(o.Privileges), slices.Clone(o.Miscellaneous)
	for _, p := range o.Privileges {
		if p.Action >= access.Actions || p.Depth > access.Global {
			b.fail("role %q: privilege %v on table %q at depth %v (Rule ROLE-14)", o.ID, p.Action, p.Table, p.Depth)
			return
		}
		b.table(p.Table)
	}
	b.s.roles[n] = &o
}

func (b *builder) dropRole(id access.RoleID) {
	n := b.role(id)
	b.copyRoles()
	b.rolesChanged = true
	b.s.roles[n] = nil
}

// compileRoles writes the lines anew.
func (b *builder) compileRoles() {
	s := b.s
	none := make([]cell, len(s.roles)) // a role without the privilege
	s.otherMisc = make([]cell, len(s.roles))
	for n, r := range s.roles {
		if r == nil {
			continue
		}
		none[n] = 1 << existsBit
		if r.Inheritance == access.DirectUser {
			none[n] |= 1 << inheritsBit
		}
		if s.otherMisc[n] = none[n]; r.All { // Rule ROLE-10
			s.otherMisc[n] |= cell(access.Global)
		}
	}
	s.cells = nil
	for range len(s.tables) * int(access.Actions) {
		s.cells = append(s.cells, s.otherMisc...)
	}
	s.tableCount = 0
	for _, t := range s.tables {
		if t.exists {
			s.tableCount++
		}
	}
	s.miscLines = map[string][]cell{}
	for n, r := range s.roles {
		if r == nil || r.All {
			continue
		}
		for _, p := range r.Privileges {
			t := s.tableIndex[p.Table]
			s.line(privilege(t, p.Action))[n] = none[n] | cell(can(s.tables[t].data.Ownership, p.Depth))
		}
		for _, m := range r.Miscellaneous { // Rule ROLE-13: there is only having it
			if s.miscLines[m] == nil {
				s.miscLines[m] = slices.Clone(s.otherMisc)
			}
			s.miscLines[m][n] = none[n] | cell(access.Global)
		}
	}
}

// line is what each role says of a privilege.
func (s *Snapshot) line(privilege uint32) []cell {
	return s.cells[int(privilege)*len(s.roles):][:len(s.roles)]
}

// can is what a depth means for a table's kind (Rules OWN-2, OWN-3).
func can(kind access.Ownership, d access.Depth) access.Depth {
	if kind == access.OrganizationOwned && d != access.Global || kind == access.BusinessUnitOwned && d == access.Basic {
		return access.None
	}
	return d
}

// user returns the user's row, ready to be changed; it makes one for a user who
// is mentioned first.
func (b *builder) user(id access.UserID) *user {
	u := b.s.users.find(string(id))
	if u == nil {
		u = b.s.users.add(string(id), b.edit)
		u.unit, u.length = noUnit, uint8(min(len(id), math.MaxUint8))
		copy(u.id[:], id)
		u.aside = &userAside{edit: b.edit, data: access.User{ID: id}}
		return u
	}
	u = b.s.users.rows.own(u.number, b.edit)
	if u.aside.edit != b.edit {
		u.aside = u.aside.clone(b.edit)
	}
	return u
}

// settle counts the user in or out where existing users are counted.
func (b *builder) settle(u *user, by int) {
	if u.exists {
		b.s.userCount += by
		b.editTeam(b.s.units[u.unit].team).aside.members += by
	}
}

func (b *builder) putUser(o access.User) {
	unit := b.unit(o.BusinessUnit)
	u := b.user(o.ID)
	b.settle(u, -1)
	u.exists, u.unit, u.aside.data = true, unit, o
	u.enabled, u.licensed, u.admitted = o.Enabled, o.Licensed, o.Admitted
	b.settle(u, 1)
}

func (b *builder) dropUser(id access.UserID) {
	u := b.user(id)
	b.settle(u, -1)
	u.exists = false
}

func (b *builder) team(id access.TeamID) uint32 {
	if n, ok := b.s.teamIndex.get(0, string(id)); ok {
		return n.number
	}
	n := b.s.teams.count
	b.s.teamIndex.set(0, string(id), &named{string(id), n}, b.edit)
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
	if o.Group != nil {
		g := *o.Group
		o.Group = &g
	}
	t.aside.exists, t.aside.owns, t.unit, t.aside.data = true, o.CanOwn(), b.unit(o.BusinessUnit), o
	t.holding.idle = !o.CanOwn()
}

func (b *builder) dropTeam(id access.TeamID) { b.endTeam(b.team(id)) }

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
	u := b.user(o.User)
	i, found := slices.BinarySearch(u.aside.teams, n)
	if found {
		u.aside.origins[i] = origin
		return
	}
	u.aside.teams, u.aside.origins = slices.Insert(u.aside.teams, i, n), slices.Insert(u.aside.origins, i, origin)
	u.join()
	b.editTeam(n).aside.members++
}

// joinAll puts all memberships of a new snapshot at once: sorted by user, so that
// each user is visited once.
func (b *builder) joinAll(all map[access.MembershipKey]access.Membership) {
	type joining struct {
		user, team uint32
		origin     *access.Origin
	}
	list := make([]joining, 0, len(all))
	for _, o := range all {
		n, origin, ok := b.membership(&o)
		if !ok {
			return
		}
		u := b.s.users.find(string(o.User))
		if u == nil {
			u = b.user(o.User)
		}
		list = append(list, joining{u.number, n, origin})
		b.editTeam(n).aside.members++
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
	}
}

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

func (b *builder) putAssignment(o access.Assignment) {
	if o.Principal.Kind > access.TeamPrincipal {
		b.fail("assignment %q: a role is assigned to a user or a team, not to %v", o.ID, o.Principal)
		return
	}
	b.dropAssignment(o.ID)
	a, g := &assignment{o}, grant{role: b.role(o.Role), unit: b.unit(o.BusinessUnit)}
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
	})
	b.s.assignments.remove(0, string(id), b.edit)
}

func (b *builder) bound(o *access.Bound) *bound {
	if o == nil {
		return nil
	}
	c := &bound{all: o.All, misc: slices.Sorted(slices.Values(o.Miscellaneous))}
	for _, p := range o.Privileges {
		c.lines = append(c.lines, boundLine{privilege(b.table(p.Table), p.Action), p.Depth})
	}
	slices.SortFunc(c.lines, func(x, y boundLine) int { return int(x.privilege) - int(y.privilege) })
	return c
}

func (b *builder) putRecord(o access.Record) {
	t := b.table(o.Table)
	b.s.records.set(t, string(o.ID), &record{t, o}, b.edit)
}

func (b *builder) dropRecord(o access.Record) {
	b.s.records.remove(b.table(o.Table), string(o.ID), b.edit)
}

// sharesOf returns the record's shares, ready to be changed.
func (b *builder) sharesOf(table uint32, record access.RecordID) *shares {
	sh, ok := b.s.shares.get(table, string(record))
	switch {
	case !ok:
		sh = &shares{edit: b.edit, table: table, record: record}
	case sh.edit == b.edit:
		return sh
	default:
		sh = &shares{edit: b.edit, table: table, record: record, list: slices.Clone(sh.list), timed: sh.timed}
	}
	b.s.shares.set(table, string(record), sh, b.edit)
	return sh
}

func (b *builder) putShare(o access.Share) {
	sh := share{kind: o.Principal.Kind, rights: (o.Rights | o.Inherited) &^ access.RightsOf(access.Create), data: &o}
	switch sh.kind {
	case access.UserPrincipal:
		id := access.UserID(o.Principal.ID)
		if u := b.s.users.find(string(id)); u != nil {
			sh.number = u.number
		} else {
			sh.number = b.user(id).number
		}
	case access.TeamPrincipal:
		sh.number = b.team(access.TeamID(o.Principal.ID))
	}
	sh.start, sh.end = micros(o.Window)
	list := b.sharesOf(b.table(o.Table), o.Record)
	list.timed = list.timed || !o.Window.Open()
	if i := list.find(o.Principal); i >= 0 {
		list.list[i] = sh
	} else {
		list.list = append(list.list, sh)
	}
}

func (b *builder) dropShare(o access.Share) {
	table := b.table(o.Table)
	list := b.sharesOf(table, o.Record)
	if i := list.find(o.Principal); i >= 0 {
		list.list = slices.Delete(list.list, i, i+1)
	}
	if len(list.list) == 0 {
		b.s.shares.remove(table, string(o.Record), b.edit)
	}
}

func (sh *shares) find(p access.Principal) int {
	return slices.IndexFunc(sh.list, func(x share) bool { return x.data.Principal == p })
}

// micros gives a window's ends as microseconds, open ones as the farthest.
func micros(w access.Window) (start, end int64) {
	start, end = math.MinInt64, math.MaxInt64
	if !w.Start.IsZero() {
		start = w.Start.UnixMicro()
	}
	if !w.End.IsZero() {
		end = w.End.UnixMicro()
	}
	return start, end
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
