package engine

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// BusinessUnitTable is the table whose records are the business units themselves
// (Rule BU-10).
const BusinessUnitTable access.TableID = "businessunit"

// Check answers the question (Rules EVAL-1 to EVAL-5). It allocates nothing but
// errors.
func (s *Snapshot) Check(q Question) (Decision, error) {
	if q.Impersonator != "" {
		var b behalf
		if err := s.resolveBehalf(&q, &b); err != nil {
			return Decision{}, err
		}
		return s.decideBehalf(&b), nil
	}
	var a asked
	if err := s.resolve(&q, &a); err != nil {
		return Decision{}, err
	}
	return s.decide(&a), nil
}

// Holds tells whether the user gets in and holds the miscellaneous privilege.
func (s *Snapshot) Holds(u access.UserID, privilege string, at time.Time) (bool, error) {
	d, err := s.Check(Question{User: u, Privilege: privilege, At: at})
	return d.Allowed, err
}

// MayOwn tells whether a record of the table may be given to the principal: a
// user must be enabled (Rule OWN-6) and hold Read on the table at any depth; a
// team must be able to own and hold Read by its own roles (Rule OWN-9).
func (s *Snapshot) MayOwn(owner access.Principal, id access.TableID, at time.Time) (bool, error) {
	if s.env.Locked {
		return false, s.locked()
	}
	if at.IsZero() {
		return false, fmt.Errorf("%w: no instant", ErrQuestion)
	}
	n, ok := s.tableIndex[id]
	if !ok || !s.tables[n].exists {
		return false, s.unknown("table", string(id))
	}
	if kind := s.tables[n].data.Ownership; kind != access.UserOrTeam {
		return false, fmt.Errorf("%w: records of table %q (%v) have no owner", ErrQuestion, id, kind)
	}
	a := asked{table: n, kind: access.UserOrTeam, ownerTeam: noTeam, unit: noUnit, beyond: access.Global + 1}
	switch owner.Kind {
	case access.UserPrincipal:
		if a.owner = s.users.get(owner.ID); a.owner == nil || !a.owner.exists {
			return false, s.unknown("user", owner.ID)
		}
		if !s.span(a.owner.unit).exists() {
			return false, s.unknown("business unit", string(a.owner.aside.data.BusinessUnit))
		}
	case access.TeamPrincipal:
		n, ok := s.teamIndex.get(owner.ID)
		if !ok || !s.teams.get(n).aside.exists {
			return false, s.unknown("team", owner.ID)
		}
		a.ownerTeam = n
	default:
		return false, fmt.Errorf("%w: %v cannot own records (Rule OWN-1)", ErrQuestion, owner)
	}
	return s.mayOwn(&a, at.UnixMicro()), nil
}

func (s *Snapshot) locked() error {
	return fmt.Errorf("%w: environment %q (Rule CMK-3)", ErrLocked, s.env.ID)
}

func (s *Snapshot) unknown(what, id string) error {
	return fmt.Errorf("%w %s %q in environment %q", ErrUnknown, what, id, s.env.ID)
}

// asked is a question with its names resolved.
type asked struct {
	user   *user
	at     int64  // microseconds
	gate   Reason // why the user is not in; Unknown when in
	line   []cell // of what is asked for
	misc   string // the miscellaneous privilege; table and action mean nothing then
	table  uint32
	action access.Action
	kind   access.Ownership

	record    bool         // the question is about a record
	owner     *user        // of the record, if a user
	ownerTeam uint32       // of the record, if a team
	owned     uint8        // 1 when the owner is the user, or a team of the user's
	unit      uint32       // owning unit
	place     uint32       // of the owning unit, in pre-order; 0 without one
	beyond    access.Depth // the depth that reaches every record; more than that without a record
	ownerUnit uint32       // the owner's unit, in modernized environments
	unitTable uint32       // BusinessUnitTable, when Rule BU-10 bears on a creation
	shares    *shares
	columns   []string // that a Create or Write sets
	column    *columnShares
	known     *record // what the environment knows of it, if asked as registered

	// timed is set while evaluating, when a window was met.
	timed bool
}

// resolve finds what the question names and judges whether it can be answered
// (Rule EVAL-1).
func (s *Snapshot) resolve(q *Question, a *asked) error {
	switch {
	case s.env.Locked:
		return s.locked()
	case q.At.IsZero():
		return fmt.Errorf("%w: no instant", ErrQuestion)
	case q.Channel != "" && q.Channel != Interactive && q.Channel != API:
		return fmt.Errorf("%w: channel %q (Rule ACC-1)", ErrQuestion, q.Channel)
	case len(q.Columns) > 0 && (q.Table == "" || q.Action != access.Create && q.Action != access.Write):
		return fmt.Errorf("%w: columns are named by a Create or Write of a table only (Rule FLS-5)", ErrQuestion)
	}
	table, ok := s.tableIndex[q.Table]
	h := s.fetch(q, table, a)
	u := s.users.find(h.user, string(q.User))
	if u == nil || !u.exists {
		return s.unknown("user", string(q.User))
	}
	if !s.span(u.unit).exists() {
		return fmt.Errorf("%w business unit %q of user %q in environment %q", ErrUnknown, u.aside.data.BusinessUnit, q.User, s.env.ID)
	}
	a.user, a.at = u, q.At.UnixMicro()
	a.ownerTeam, a.unit, a.ownerUnit, a.unitTable, a.beyond = noTeam, noUnit, noUnit, noUnit, access.Global+1
	if q.Privilege != "" {
		if q.Table != "" || q.Record != nil || q.Action != 0 {
			return fmt.Errorf("%w: privilege %q with a table, record or action", ErrQuestion, q.Privilege)
		}
		a.misc = q.Privilege
		if a.line = s.otherMisc; s.miscLines[a.misc] != nil {
			a.line = s.miscLines[a.misc]
		}
		a.gate = s.gate(u, q.Channel, access.Write, true)
		return nil
	}
	if q.Action >= access.Actions {
		return fmt.Errorf("%w %v", ErrUnknown, q.Action)
	}
	if !ok || !s.tables[table].exists {
		return s.unknown("table", string(q.Table))
	}
	a.table, a.kind = table, s.tables[table].data.Ownership
	s.aim(a, q.Action)
	a.gate, a.columns = s.gate(u, q.Channel, q.Action, s.tables[table].data.System), q.Columns
	if q.Record == nil {
		return nil
	}
	a.record, a.beyond = true, access.Global
	return s.resolveRecord(q, a, h)
}

// hashes are those of a question's names.
type hashes struct {
	user, owner, unit, record uint32
	seen                      uint8 // means nothing: for the sake of having looked
}

// fetch reckons the hashes and looks at what will be read: first at all places in
// the indexes, then at the rows that they lead to, then at the teams of the user.
// Nearly all of a question's time is waiting for memory, and what is asked for one
// right after the other is waited for together; so this takes no branch that could
// go either way on what it has just asked for.
func (s *Snapshot) fetch(q *Question, table uint32, a *asked) (h hashes) {
	users := &s.users.index // all indexes hash alike
	h.user = users.hash(0, string(q.User))
	r := q.Record
	if r == nil {
		return h
	}
	owner, unit := &r.Owner, r.BusinessUnit
	if r.Registered {
		if known, ok := s.records.get(table, string(r.ID)); ok {
			a.known, owner, unit = known, &known.data.Owner, known.data.BusinessUnit
		}
	}
	h.owner, h.unit, h.record = users.hash(0, owner.ID), users.hash(0, string(unit)), users.hash(table, string(r.ID))

	byTeam := owner.Kind == access.TeamPrincipal
	owners := users
	if byTeam {
		owners = &s.teamIndex.index
	}
	userRow, ownerRow := users.first(h.user), owners.first(h.owner)
	unitRow, sharesRow := s.tree.index.index.first(h.unit), s.shares.index.first(h.record)

	if userRow == 0 {
		return h
	}
	u := s.users.rows.get(userRow - 1)
	h.seen = u.length
	switch {
	case ownerRow == 0:
	case byTeam:
		h.seen += s.teamIndex.rows.get(ownerRow - 1).length
	default:
		h.seen += s.users.rows.get(ownerRow - 1).length
	}
	if s.shares.rows.count > 0 {
		h.seen += s.shares.rows.get(max(sharesRow, 1) - 1).length
	}
	if unitRow != 0 {
		h.seen += s.tree.index.rows.get(unitRow - 1).length
	}
	if u.exists {
		for _, n := range u.few {
			h.seen += uint8(s.teams.get(n).holding.count)
		}
		h.seen += uint8(s.teams.get(s.span(u.unit).team).holding.count)
	}
	return h
}

// aim points the question at an action of its table.
func (s *Snapshot) aim(a *asked, action access.Action) {
	a.action, a.line = action, s.line(privilege(a.table, action))
}

func (s *Snapshot) resolveRecord(q *Question, a *asked, h hashes) error {
	r := q.Record
	owner, unitID := r.Owner, r.BusinessUnit
	if r.Registered {
		switch {
		case owner != (access.Principal{}) || unitID != "":
			return fmt.Errorf("%w: record %q of table %q is to be judged as registered, yet facts are given", ErrQuestion, r.ID, q.Table)
		case q.Action == access.Create:
			return fmt.Errorf("%w: a registered record cannot be created; give the intended record's facts (Rule OWN-7)", ErrQuestion)
		}
		if a.known == nil {
			return fmt.Errorf("%w record %q of table %q in environment %q", ErrUnknown, r.ID, q.Table, s.env.ID)
		}
		owner, unitID = a.known.data.Owner, a.known.data.BusinessUnit
	}
	if a.kind != access.UserOrTeam && owner != (access.Principal{}) {
		return fmt.Errorf("%w: records of table %q (%v) have no owner, yet %v is given", ErrQuestion, q.Table, a.kind, owner)
	}
	if (a.kind == access.OrganizationOwned || a.kind == access.NotOwned) && unitID != "" {
		return fmt.Errorf("%w: records of table %q (%v) have no owning business unit, yet %q is given", ErrQuestion, q.Table, a.kind, unitID)
	}
	if a.kind == access.UserOrTeam {
		if err := s.resolveOwner(q, owner, a, h); err != nil {
			return err
		}
	}
	if a.kind == access.UserOrTeam || a.kind == access.BusinessUnitOwned {
		if err := s.resolveUnit(q, unitID, a, h); err != nil {
			return err
		}
		a.place = s.span(a.unit).first
	}
	if a.kind == access.UserOrTeam && a.action != access.Create && r.ID != "" {
		a.shares, _ = s.shares.find(h.record, a.table, string(r.ID))
	}
	if len(a.columns) > 0 {
		s.resolveColumnShares(a, r)
	}
	return nil
}

func (s *Snapshot) resolveOwner(q *Question, owner access.Principal, a *asked, h hashes) error {
	switch {
	case owner == access.Principal{}:
		return fmt.Errorf("%w: record %q of table %q is asked about without its owner", ErrQuestion, q.Record.ID, q.Table)
	case owner.Kind == access.UserPrincipal && owner.ID == string(q.User):
		a.owner, a.owned, a.ownerUnit = a.user, 1, a.user.unit
	case owner.Kind == access.UserPrincipal:
		if a.owner = s.users.find(h.owner, owner.ID); a.owner == nil || !a.owner.exists {
			return s.unknown("user", owner.ID)
		}
		a.ownerUnit = a.owner.unit
	case owner.Kind == access.TeamPrincipal:
		n, ok := s.teamIndex.find(h.owner, owner.ID)
		if !ok {
			return s.unknown("team", owner.ID)
		}
		t := s.teams.get(n)
		if t.holding.idle && !t.aside.exists {
			return s.unknown("team", owner.ID)
		}
		if t.holding.idle {
			return fmt.Errorf("%w: access team %q cannot own records (Rule OWN-6)", ErrQuestion, owner.ID)
		}
		a.ownerTeam, a.owned, a.ownerUnit = n, bit(s.member(a.user, n)), t.unit
	default:
		return fmt.Errorf("%w: %v cannot own records (Rule OWN-1)", ErrQuestion, owner)
	}
	if !s.span(a.ownerUnit).exists() {
		return fmt.Errorf("%w business unit of %v in environment %q", ErrUnknown, owner, s.env.ID)
	}
	return nil
}

func (s *Snapshot) resolveUnit(q *Question, id access.BusinessUnitID, a *asked, h hashes) error {
	if id == "" {
		if a.kind != access.UserOrTeam || s.env.Modernized {
			return fmt.Errorf("%w: record %q of table %q is asked about without its owning business unit", ErrQuestion, q.Record.ID, q.Table)
		}
		a.unit = a.ownerUnit
		return nil
	}
	n, ok := s.tree.index.find(h.unit, string(id))
	if !ok || !s.span(n).exists() {
		return s.unknown("business unit", string(id))
	}
	if a.unit = n; a.kind != access.UserOrTeam || n == a.ownerUnit {
		return nil
	}
	if !s.env.Modernized {
		return fmt.Errorf("%w: record %q of table %q is said to be in business unit %q, but its owner is in %q, and with classic business units they are the same (Rule OWN-5)",
			ErrQuestion, q.Record.ID, q.Table, id, *s.tree.ids.get(a.ownerUnit))
	}
	if a.action == access.Create {
		t, ok := s.tableIndex[BusinessUnitTable]
		if !ok || !s.tables[t].exists {
			return fmt.Errorf("%w table %q in environment %q: a record made in another business unit than its owner's needs AppendTo on it (Rule BU-10)",
				ErrUnknown, BusinessUnitTable, s.env.ID)
		}
		a.unitTable = t
	}
	return nil
}

// member tells whether the team is one of teams(u).
func (s *Snapshot) member(u *user, team uint32) bool {
	if s.span(u.unit).team == team {
		return true
	}
	_, ok := slices.BinarySearch(u.memberOf(), team)
	return ok
}

// decide evaluates at the question's instant and finds until when that holds.
func (s *Snapshot) decide(a *asked) Decision {
	d := s.evaluate(a, a.at)
	if a.timed && a.gate == Unknown {
		d.ValidUntil = s.validUntil(a, d)
	}
	d.Revision = s.revision
	return d
}

// windowsWalked is how many ends of windows are looked at for ValidUntil.
const windowsWalked = 64

// validUntil walks from one end of a window to the next until the answer differs
// (Rule JIT-25).
func (s *Snapshot) validUntil(a *asked, d Decision) time.Time {
	at := a.at
	for range windowsWalked {
		if at = s.boundary(a, at); at == math.MaxInt64 {
			return time.Time{}
		}
		if s.evaluate(a, at) != d {
			break
		}
	}
	return fromMicros(at)
}

// boundary is the first start or end after the instant of any window that can
// bear on the question.
func (s *Snapshot) boundary(a *asked, after int64) int64 {
	next := int64(math.MaxInt64)
	see := func(start, end int64) {
		if start > after {
			next = min(next, start)
		}
		if end > after {
			next = min(next, end)
		}
	}
	seeHeld := func(h *held) {
		for i := range h.windowed {
			see(h.windowed[i].start, h.windowed[i].end)
		}
	}
	seeTeam := func(n uint32) {
		if t := s.teams.get(n); t.holding.timed {
			seeHeld(&t.aside.held)
		}
	}
	seeUser := func(u *user) {
		if u.holding.timed {
			seeHeld(&u.aside.held)
		}
		seeTeam(s.span(u.unit).team)
		for _, n := range u.memberOf() {
			seeTeam(n)
		}
	}
	seeUser(a.user)
	if a.shares != nil && a.shares.timed() {
		for _, w := range a.shares.aside.windows {
			see(w.start, w.end)
		}
	}
	if a.action == access.Create { // the owner must hold Read (Rule OWN-9)
		if a.owner != nil {
			seeUser(a.owner)
		}
		if a.ownerTeam != noTeam {
			seeTeam(a.ownerTeam)
		}
	}
	return next
}

// evaluate is the order of evaluation at an instant. Revision and ValidUntil stay
// zero.
func (s *Snapshot) evaluate(a *asked, at int64) Decision {
	d := s.evaluateRecord(a, at)
	if d.Allowed && len(a.columns) > 0 && !s.mayWriteColumns(a, at) {
		return Decision{Reason: NoColumnAccess}
	}
	return d
}

// evaluateRecord is evaluate but for the columns.
func (s *Snapshot) evaluateRecord(a *asked, at int64) Decision {
	if a.gate != Unknown {
		return Decision{Reason: a.gate}
	}
	v := s.scan(a, at)
	switch {
	case v.role == 0:
		return Decision{Reason: NoRole}
	case v.privilege == 0:
		return Decision{Reason: NoPrivilege}
	case !a.record:
		return Decision{Allowed: true, Reason: Allowed, Depth: v.depth}
	case a.kind == access.NotOwned: // Rule OWN-4
		return Decision{Allowed: true, Reason: Allowed}
	case a.action == access.Create && s.mayCreate(a, v, at):
		return Decision{Allowed: true, Reason: Allowed}
	case a.action != access.Create && (v.access != 0 || s.shared(a, at) || s.passedUp(a, at)):
		return Decision{Allowed: true, Reason: Allowed}
	}
	return Decision{Reason: NoAccess}
}

// verdict is what the assignments in force say of one privilege. Its truths are
// 0 or 1: they are reckoned without branches, which would be taken at random.
type verdict struct {
	role      uint8 // some role is in force (Rule ROLE-4)
	privilege uint8 // with the privilege at a depth (Rule EVAL-3)
	access    uint8 // that reaches the record (Rule EVAL-4 a, b)
	byOwner   uint8 // as a role of the very team that owns it (Rule ROLE-7)
	depth     access.Depth
}

// scan goes through the assignments of the user and the user's teams: the
// standing ones, and those with windows where the others leave something open.
func (s *Snapshot) scan(a *asked, at int64) (v verdict) {
	u := a.user
	own := s.span(u.unit).team
	teams := u.memberOf()
	// Once the record is reached there is nothing more to learn, but for a creation.
	last := uint8(1)
	if a.action == access.Create {
		last = 2
	}
	if s.weigh(a, u.standing(), noTeam, &v); v.access == last {
		return v
	}
	timed := u.holding.timed
	timed = s.weighTeam(a, s.teams.get(own), own, &v) || timed
	for _, n := range teams {
		if v.access == last {
			return v
		}
		timed = s.weighTeam(a, s.teams.get(n), n, &v) || timed
	}
	// Whether a creation is by the owning team's role matters too.
	if !timed || v.access != 0 && (a.action != access.Create || v.byOwner != 0 || a.ownerTeam == noTeam) {
		return v
	}
	a.timed = true
	if u.holding.timed {
		s.weighWindows(a, &u.aside.held, noTeam, at, &v)
	}
	s.weighTeamWindows(a, own, at, &v)
	for _, n := range teams {
		s.weighTeamWindows(a, n, at, &v)
	}
	return v
}

// weighTeam adds what a team's standing assignments say, and tells whether it has
// others.
func (s *Snapshot) weighTeam(a *asked, t *team, number uint32, v *verdict) (timed bool) {
	if t.holding.idle { // Rule TEAM-5
		return false
	}
	s.weigh(a, t.standing(), number, v)
	return t.holding.timed
}

func (s *Snapshot) weighTeamWindows(a *asked, team uint32, at int64, v *verdict) {
	if t := s.teams.get(team); !t.holding.idle && t.holding.timed {
		s.weighWindows(a, &t.aside.held, team, at, v)
	}
}

// weigh adds what standing assignments say. The team is noTeam for the user's own.
func (s *Snapshot) weigh(a *asked, standing []grant, team uint32, v *verdict) {
	owner := a.owned & bit(team == noTeam || team == a.ownerTeam)
	for _, g := range standing {
		c := a.line[g.role]
		s.count(a, g, c, c.depth(), owner, team, v)
	}
}

// weighWindows adds what the assignments with a window or bound say.
func (s *Snapshot) weighWindows(a *asked, h *held, team uint32, at int64, v *verdict) {
	owner := a.owned & bit(team == noTeam || team == a.ownerTeam)
	for i := range h.windowed {
		w := &h.windowed[i]
		if at < w.start || w.end <= at {
			continue
		}
		c := a.line[w.role]
		s.count(a, w.grant, c, w.bound.limit(a, c.depth()), owner, team, v)
	}
}

// count adds what one assignment in force says, whose effective depth is d. Owner
// is 1 when the assignment reaches the record's owner at any depth: it is the
// user's own, or that of the very team (Rules ROLE-5, ROLE-7, ROLE-9).
func (s *Snapshot) count(a *asked, g grant, c cell, d access.Depth, owner uint8, team uint32, v *verdict) {
	sp := s.span(g.unit)
	live := uint8(c>>existsBit) & bit(sp.last != 0)
	holds := live & bit(d != access.None)
	owner |= a.owned & uint8(c>>inheritsBit) & 1 & bit(d == access.Basic) // Rule ROLE-8
	v.role |= live
	v.privilege |= holds
	v.depth = max(v.depth, d*access.Depth(live))
	v.access |= holds & (owner | bit(d >= a.needs(sp)))
	v.byOwner |= holds & owner & bit(team == a.ownerTeam && team != noTeam)
}

// needs is the least depth that reaches the record's owning unit from the
// assignment's (Rules ROLE-5, ROLE-6, BU-9). Where there is no record no depth
// does, and where there is no unit only Global.
func (a *asked) needs(from *span) access.Depth {
	return a.beyond - access.Depth(bit(a.place-from.first <= from.last-from.first)) - access.Depth(bit(a.place == from.first))
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// limit is the smaller of the role's depth and the bound's (Rule JIT-62).
func (b *bound) limit(a *asked, d access.Depth) access.Depth {
	switch {
	case b == nil || b.all:
		return d
	case a.misc != "":
		if _, ok := slices.BinarySearch(b.misc, a.misc); !ok {
			return access.None
		}
		return d
	}
	i, ok := slices.BinarySearchFunc(b.lines, privilege(a.table, a.action), func(l boundLine, p uint32) int { return int(l.privilege) - int(p) })
	if !ok {
		return access.None
	}
	return can(a.kind, min(d, b.lines[i].depth))
}

// shared is access by a share of the record, once the privilege check is passed
// (Rules SHARE-4 to SHARE-6).
func (s *Snapshot) shared(a *asked, at int64) bool {
	if a.shares == nil {
		return false
	}
	a.timed = a.timed || a.shares.timed()
	for i := range a.shares.count() {
		sh := a.shares.at(i)
		if sh.rights().Has(a.action) && a.shares.holds(i, at) && s.isWho(a.user, sh.who) {
			return true
		}
	}
	return false
}

// isWho tells whether what is given to the principal is given to the user: it is
// the user, a team of the user's, or everybody (Rule SHARE-4).
func (s *Snapshot) isWho(u *user, w who) bool {
	switch w.kind() {
	case access.UserPrincipal:
		return w.number() == u.number
	case access.TeamPrincipal:
		return s.member(u, w.number()) && s.teams.get(w.number()).aside.exists
	}
	return true
}

// mayCreate judges what a creation needs beside the privilege: Create reaches the
// intended record (Rule OWN-7); for another owner Assign reaches it too, and the
// owner may be given it (Rules OWN-8, OWN-6, OWN-9); in another unit than the
// owner's, what Rule BU-10 asks.
func (s *Snapshot) mayCreate(a *asked, v verdict, at int64) bool {
	if v.access == 0 {
		return false
	}
	if s.createsForOther(a, v) && !(s.reaches(a, access.Assign, at) && s.mayOwn(a, at)) {
		return false
	}
	return a.unitTable == noUnit ||
		s.reachesTheUnit(a, at) && s.reaches(a, access.Write, at) && s.ownerReads(a, at)
}

// createsForOther tells whether Rule OWN-8 asks for Assign.
func (s *Snapshot) createsForOther(a *asked, v verdict) bool {
	return a.kind == access.UserOrTeam && a.owner != a.user && v.byOwner == 0
}

// reaches tells whether roles alone give the action on the record.
func (s *Snapshot) reaches(a *asked, action access.Action, at int64) bool {
	b := *a
	s.aim(&b, action)
	v := s.scan(&b, at)
	a.timed = a.timed || b.timed
	return v.access != 0
}

// reachesTheUnit tells whether roles give AppendTo on the owning unit as a record.
func (s *Snapshot) reachesTheUnit(a *asked, at int64) bool {
	b := s.unitAsked(a)
	v := s.scan(&b, at)
	a.timed = a.timed || b.timed
	return v.access != 0
}

// unitAsked is the question of Rule BU-10: AppendTo on the owning unit.
func (s *Snapshot) unitAsked(a *asked) asked {
	b := *a
	b.table, b.kind = a.unitTable, s.tables[a.unitTable].data.Ownership
	s.aim(&b, access.AppendTo)
	b.owner, b.ownerTeam, b.owned, b.shares = nil, noTeam, 0, nil
	return b
}

// mayOwn: see MayOwn. The owner is that of a.
func (s *Snapshot) mayOwn(a *asked, at int64) bool {
	if a.owner != nil && !a.owner.enabled || a.ownerTeam != noTeam && !s.teams.get(a.ownerTeam).aside.owns {
		return false
	}
	return s.ownerReads(a, at)
}

// ownerReads tells whether the record's owner holds Read on its table.
func (s *Snapshot) ownerReads(a *asked, at int64) bool {
	b := asked{table: a.table, kind: a.kind, ownerTeam: noTeam, unit: noUnit, beyond: access.Global + 1}
	s.aim(&b, access.Read)
	var v verdict
	if a.owner != nil {
		b.user = a.owner
		v = s.scan(&b, at)
	} else {
		b.timed = s.weighTeam(&b, s.teams.get(a.ownerTeam), a.ownerTeam, &v)
		s.weighTeamWindows(&b, a.ownerTeam, at, &v)
	}
	a.timed = a.timed || b.timed
	return v.privilege != 0
}
