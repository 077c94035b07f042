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
	var a asked
	if err := s.resolve(q, &a); err != nil {
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
	a := asked{table: n, kind: access.UserOrTeam, ownerTeam: noTeam, unit: noUnit}
	switch owner.Kind {
	case access.UserPrincipal:
		if a.owner, ok = s.users.get(0, owner.ID); !ok || !a.owner.exists {
			return false, s.unknown("user", owner.ID)
		}
		if s.spans[a.owner.unit].last == 0 {
			return false, s.unknown("business unit", string(a.owner.aside.data.BusinessUnit))
		}
	case access.TeamPrincipal:
		n, ok := s.teamIndex.get(0, owner.ID)
		if !ok || !s.teams.get(n.number).exists {
			return false, s.unknown("team", owner.ID)
		}
		a.ownerTeam = n.number
	default:
		return false, fmt.Errorf("%w: %v cannot own records (Rule OWN-1)", ErrQuestion, owner)
	}
	return s.mayOwn(&a, at.UnixMicro()), nil
}

func (s *Snapshot) unknown(what, id string) error {
	return fmt.Errorf("%w %s %q in environment %q", ErrUnknown, what, id, s.env.ID)
}

// asked is a question with its names resolved.
type asked struct {
	user   *user
	at     int64  // microseconds
	gate   Reason // why the user is not in; Unknown when in
	misc   string // the miscellaneous privilege; table and action mean nothing then
	table  uint32
	action access.Action
	kind   access.Ownership

	record    bool   // the question is about a record
	owner     *user  // of the record, if a user
	ownerTeam uint32 // of the record, if a team
	owned     bool   // owner is the user, or a team of the user's
	unit      uint32 // owning unit
	ownerUnit uint32 // the owner's unit, in modernized environments
	unitTable uint32 // BusinessUnitTable, when Rule BU-10 bears on a creation
	shares    *shares

	// timed is set while evaluating, when a window was met.
	timed bool
}

// resolve finds what the question names and judges whether it can be answered
// (Rule EVAL-1).
func (s *Snapshot) resolve(q Question, a *asked) error {
	if q.At.IsZero() {
		return fmt.Errorf("%w: no instant", ErrQuestion)
	}
	u, ok := s.users.get(0, string(q.User))
	if !ok || !u.exists {
		return s.unknown("user", string(q.User))
	}
	if s.spans[u.unit].last == 0 {
		return fmt.Errorf("%w business unit %q of user %q in environment %q", ErrUnknown, u.aside.data.BusinessUnit, q.User, s.env.ID)
	}
	a.user, a.at, a.gate = u, q.At.UnixMicro(), s.gate(u)
	a.ownerTeam, a.unit, a.ownerUnit, a.unitTable = noTeam, noUnit, noUnit, noUnit
	if q.Privilege != "" {
		if q.Table != "" || q.Record != nil || q.Action != 0 {
			return fmt.Errorf("%w: privilege %q with a table, record or action", ErrQuestion, q.Privilege)
		}
		a.misc = q.Privilege
		return nil
	}
	if q.Action >= access.Actions {
		return fmt.Errorf("%w %v", ErrUnknown, q.Action)
	}
	n, ok := s.tableIndex[q.Table]
	if !ok || !s.tables[n].exists {
		return s.unknown("table", string(q.Table))
	}
	a.table, a.action, a.kind = n, q.Action, s.tables[n].data.Ownership
	if q.Record == nil {
		return nil
	}
	a.record = true
	return s.resolveRecord(q, a)
}

func (s *Snapshot) resolveRecord(q Question, a *asked) error {
	r := q.Record
	owner, unitID := r.Owner, r.BusinessUnit
	if r.Registered {
		switch {
		case owner != (access.Principal{}) || unitID != "":
			return fmt.Errorf("%w: record %q of table %q is to be judged as registered, yet facts are given", ErrQuestion, r.ID, q.Table)
		case q.Action == access.Create:
			return fmt.Errorf("%w: a registered record cannot be created; give the intended record's facts (Rule OWN-7)", ErrQuestion)
		}
		known, ok := s.records.get(a.table, string(r.ID))
		if !ok {
			return fmt.Errorf("%w record %q of table %q in environment %q", ErrUnknown, r.ID, q.Table, s.env.ID)
		}
		owner, unitID = known.data.Owner, known.data.BusinessUnit
	}
	if a.kind != access.UserOrTeam && owner != (access.Principal{}) {
		return fmt.Errorf("%w: records of table %q (%v) have no owner, yet %v is given", ErrQuestion, q.Table, a.kind, owner)
	}
	if (a.kind == access.OrganizationOwned || a.kind == access.NotOwned) && unitID != "" {
		return fmt.Errorf("%w: records of table %q (%v) have no owning business unit, yet %q is given", ErrQuestion, q.Table, a.kind, unitID)
	}
	if a.kind == access.UserOrTeam {
		if err := s.resolveOwner(q, owner, a); err != nil {
			return err
		}
	}
	if a.kind == access.UserOrTeam || a.kind == access.BusinessUnitOwned {
		if err := s.resolveUnit(q, unitID, a); err != nil {
			return err
		}
	}
	if a.kind == access.UserOrTeam && a.action != access.Create && r.ID != "" {
		a.shares, _ = s.shares.get(a.table, string(r.ID))
	}
	return nil
}

func (s *Snapshot) resolveOwner(q Question, owner access.Principal, a *asked) error {
	switch {
	case owner == access.Principal{}:
		return fmt.Errorf("%w: record %q of table %q is asked about without its owner", ErrQuestion, q.Record.ID, q.Table)
	case owner.Kind == access.UserPrincipal && owner.ID == string(a.user.aside.data.ID):
		a.owner, a.owned, a.ownerUnit = a.user, true, a.user.unit
	case owner.Kind == access.UserPrincipal:
		u, ok := s.users.get(0, owner.ID)
		if !ok || !u.exists {
			return s.unknown("user", owner.ID)
		}
		a.owner, a.ownerUnit = u, u.unit
	case owner.Kind == access.TeamPrincipal:
		n, ok := s.teamIndex.get(0, owner.ID)
		if !ok || !s.teams.get(n.number).exists {
			return s.unknown("team", owner.ID)
		}
		t := s.teams.get(n.number)
		if !t.owns {
			return fmt.Errorf("%w: access team %q cannot own records (Rule OWN-6)", ErrQuestion, owner.ID)
		}
		a.ownerTeam, a.owned, a.ownerUnit = n.number, s.member(a.user, n.number), t.unit
	default:
		return fmt.Errorf("%w: %v cannot own records (Rule OWN-1)", ErrQuestion, owner)
	}
	if s.spans[a.ownerUnit].last == 0 {
		return fmt.Errorf("%w business unit of %v in environment %q", ErrUnknown, owner, s.env.ID)
	}
	return nil
}

func (s *Snapshot) resolveUnit(q Question, id access.BusinessUnitID, a *asked) error {
	if id == "" {
		if a.kind != access.UserOrTeam || s.env.Modernized {
			return fmt.Errorf("%w: record %q of table %q is asked about without its owning business unit", ErrQuestion, q.Record.ID, q.Table)
		}
		a.unit = a.ownerUnit
		return nil
	}
	n, ok := s.unitIndex[id]
	if !ok || s.spans[n].last == 0 {
		return s.unknown("business unit", string(id))
	}
	a.unit = n
	if a.kind != access.UserOrTeam || n == a.ownerUnit {
		return nil
	}
	if !s.env.Modernized {
		return fmt.Errorf("%w: record %q of table %q is said to be in business unit %q, but its owner is in %q, and with classic business units they are the same (Rule OWN-5)",
			ErrQuestion, q.Record.ID, q.Table, id, s.units[a.ownerUnit].data.ID)
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

// gate tells why the user does not get in, whatever the roles say (Rule EVAL-2).
func (s *Snapshot) gate(u *user) Reason {
	switch {
	case !u.enabled:
		return UserDisabled
	case s.units[u.unit].barred:
		return BusinessUnitDisabled
	case s.env.RequireLicence && !u.licensed:
		return NoLicence
	case s.env.SecurityGroup != nil && !u.admitted:
		return NotInEnvironmentGroup
	}
	return Unknown
}

// member tells whether the team is one of teams(u).
func (s *Snapshot) member(u *user, team uint32) bool {
	if s.units[u.unit].team == team {
		return true
	}
	_, ok := slices.BinarySearch(u.teams, team)
	return ok
}

// decide evaluates at the question's instant and finds until when that holds.
func (s *Snapshot) decide(a *asked) Decision {
	d := s.evaluate(a, a.at)
	if a.timed {
		d.ValidUntil = s.validUntil(a, d)
	}
	d.Revision = s.revision
	return d
}

// validUntil walks from one end of a window to the next until the answer differs
// (Rule JIT-25).
func (s *Snapshot) validUntil(a *asked, d Decision) time.Time {
	at := a.at
	for range 64 {
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
	seeHolding := func(h *holding) {
		for i := range h.windowed {
			see(h.windowed[i].start, h.windowed[i].end)
		}
	}
	seeUser := func(u *user) {
		seeHolding(&u.holding)
		seeHolding(&s.teams.get(s.units[u.unit].team).holding)
		for _, n := range u.teams {
			seeHolding(&s.teams.get(n).holding)
		}
	}
	seeUser(a.user)
	if a.shares != nil {
		for i := range a.shares.list {
			see(a.shares.list[i].start, a.shares.list[i].end)
		}
	}
	if a.action == access.Create { // the owner must hold Read (Rule OWN-9)
		if a.owner != nil {
			seeUser(a.owner)
		}
		if a.ownerTeam != noTeam {
			seeHolding(&s.teams.get(a.ownerTeam).holding)
		}
	}
	return next
}

// evaluate is the order of evaluation at an instant. Revision and ValidUntil stay
// zero.
func (s *Snapshot) evaluate(a *asked, at int64) Decision {
	if a.gate != Unknown {
		return Decision{Reason: a.gate}
	}
	v := s.scan(a, at)
	switch {
	case !v.role:
		return Decision{Reason: NoRole}
	case !v.privilege:
		return Decision{Reason: NoPrivilege}
	case !a.record:
		return Decision{Allowed: true, Reason: Allowed, Depth: v.depth}
	case a.kind == access.NotOwned: // Rule OWN-4
		return Decision{Allowed: true, Reason: Allowed}
	case a.action == access.Create && s.mayCreate(a, v, at):
		return Decision{Allowed: true, Reason: Allowed}
	case a.action != access.Create && (v.access || s.shared(a, at)):
		return Decision{Allowed: true, Reason: Allowed}
	}
	return Decision{Reason: NoAccess}
}

// verdict is what the assignments in force say of one privilege.
type verdict struct {
	role      bool // some role is in force (Rule ROLE-4)
	privilege bool // with the privilege at a depth (Rule EVAL-3)
	depth     access.Depth
	access    bool // that reaches the record (Rule EVAL-4 a, b)
	byOwner   bool // as a role of the very team that owns it (Rule ROLE-7)
}

// scan goes through the assignments of the user and the user's teams. It stops
// where a standing one reaches the record, since no other can say more.
func (s *Snapshot) scan(a *asked, at int64) (v verdict) {
	u := a.user
	if s.weigh(a, &u.holding, noTeam, at, &v) {
		return v
	}
	own := s.units[u.unit].team
	if s.weigh(a, &s.teams.get(own).holding, own, at, &v) {
		return v
	}
	for _, n := range u.teams {
		t := s.teams.get(n)
		if t.exists && t.owns && s.weigh(a, &t.holding, n, at, &v) { // Rule TEAM-5
			return v
		}
	}
	return v
}

// weigh adds what a holding says. It tells whether the scan may stop. The team is
// noTeam for the user's own roles.
func (s *Snapshot) weigh(a *asked, h *holding, team uint32, at int64, v *verdict) bool {
	for i := range h.standing {
		// A creation for a team wants to know whether that team's role allows it.
		if s.count(a, &h.standing[i], nil, team, v) && (a.action != access.Create || v.byOwner || a.ownerTeam == noTeam) {
			return true
		}
	}
	for i := range h.windowed {
		a.timed = true
		if w := &h.windowed[i]; w.start <= at && at < w.end {
			s.count(a, &w.grant, w.bound, team, v)
		}
	}
	return false
}

// count adds what one assignment in force says and tells whether it reaches the
// record.
func (s *Snapshot) count(a *asked, g *grant, b *bound, team uint32, v *verdict) bool {
	r := s.roles[g.role]
	if r == nil || s.spans[g.unit].last == 0 {
		return false
	}
	v.role = true
	d := r.depth(a, b)
	if d == access.None {
		return false
	}
	v.privilege = true
	v.depth = max(v.depth, d)
	if !a.record {
		return false
	}
	if a.ownerTeam == team && team != noTeam {
		v.byOwner, v.access = true, true
		return true
	}
	if s.reachesOwner(a, r, d, team) || s.reachesUnit(a, g, d) {
		v.access = true
		return true
	}
	return false
}

// depth is the role's depth for what is asked, limited by an elevation's bound
// (Rule JIT-62) and by the table's kind (Rules OWN-2, OWN-3).
func (r *role) depth(a *asked, b *bound) access.Depth {
	if a.misc != "" { // Rule ROLE-13: there is only having it
		if (r.data.All || has(r.data.Miscellaneous, a.misc)) && (b == nil || b.all || has(b.misc, a.misc)) {
			return access.Global
		}
		return access.None
	}
	d, p := access.Global, privilege(a.table, a.action)
	if !r.data.All { // Rule ROLE-10
		if int(p) >= len(r.depths) {
			return access.None
		}
		d = r.depths[p]
	}
	if b != nil && !b.all {
		d = min(d, b.depth(p))
	}
	if a.kind == access.OrganizationOwned && d != access.Global || a.kind == access.BusinessUnitOwned && d == access.Basic {
		return access.None
	}
	return d
}

func (b *bound) depth(p uint32) access.Depth {
	i, ok := slices.BinarySearchFunc(b.lines, p, func(l boundLine, p uint32) int { return int(l.privilege) - int(p) })
	if !ok {
		return access.None
	}
	return b.lines[i].depth
}

func has(sorted []string, s string) bool {
	_, ok := slices.BinarySearch(sorted, s)
	return ok
}

// reachesOwner is access by ownership (Rule EVAL-4 a): by the user's own role at
// any depth; by a role of the owning team (Rules ROLE-7, ROLE-9); by another
// team's role that members inherit as if it were theirs, at depth Basic only
// (Rule ROLE-8).
func (s *Snapshot) reachesOwner(a *asked, r *role, d access.Depth, team uint32) bool {
	return a.owned && (team == noTeam || team == a.ownerTeam || d == access.Basic && r.data.Inheritance == access.DirectUser)
}

// reachesUnit is access by a role's depth, measured from the assignment's unit
// (Rules ROLE-5, ROLE-6, BU-9).
func (s *Snapshot) reachesUnit(a *asked, g *grant, d access.Depth) bool {
	switch d {
	case access.Global:
		return true
	case access.Deep:
		return a.unit != noUnit && s.spans[g.unit].holds(s.spans[a.unit])
	case access.Local:
		return g.unit == a.unit
	}
	return false
}

// shared is access by a share of the record, once the privilege check is passed
// (Rules SHARE-4 to SHARE-6).
func (s *Snapshot) shared(a *asked, at int64) bool {
	if a.shares == nil {
		return false
	}
	a.timed = a.timed || a.shares.timed
	for i := range a.shares.list {
		sh := &a.shares.list[i]
		if sh.rights.Has(a.action) && sh.start <= at && at < sh.end && s.sharesWith(sh, a.user) {
			return true
		}
	}
	return false
}

func (s *Snapshot) sharesWith(sh *share, u *user) bool {
	switch sh.kind {
	case access.UserPrincipal:
		return sh.number == u.number
	case access.TeamPrincipal:
		return s.member(u, sh.number) && s.teams.get(sh.number).exists
	}
	return true
}

// mayCreate judges what a creation needs beside the privilege: Create reaches the
// intended record (Rule OWN-7); for another owner Assign reaches it too, and the
// owner may be given it (Rules OWN-8, OWN-6, OWN-9); in another unit than the
// owner's, what Rule BU-10 asks.
func (s *Snapshot) mayCreate(a *asked, v verdict, at int64) bool {
	if !v.access {
		return false
	}
	if s.createsForOther(a, v) && !(s.reaches(a, a.table, access.Assign, at) && s.mayOwn(a, at)) {
		return false
	}
	return a.unitTable == noUnit ||
		s.reachesTheUnit(a, at) && s.reaches(a, a.table, access.Write, at) && s.ownerReads(a, at)
}

// createsForOther tells whether Rule OWN-8 asks for Assign.
func (s *Snapshot) createsForOther(a *asked, v verdict) bool {
	return a.kind == access.UserOrTeam && a.owner != a.user && !(a.owned && v.byOwner)
}

// reaches tells whether roles alone give the action on the record.
func (s *Snapshot) reaches(a *asked, table uint32, action access.Action, at int64) bool {
	b := *a
	b.table, b.action = table, action
	v := s.scan(&b, at)
	a.timed = a.timed || b.timed
	return v.access
}

// reachesTheUnit tells whether roles give AppendTo on the owning unit as a record.
func (s *Snapshot) reachesTheUnit(a *asked, at int64) bool {
	b := s.unitAsked(a)
	v := s.scan(&b, at)
	a.timed = a.timed || b.timed
	return v.access
}

// unitAsked is the question of Rule BU-10: AppendTo on the owning unit.
func (s *Snapshot) unitAsked(a *asked) asked {
	b := *a
	b.table, b.action, b.kind = a.unitTable, access.AppendTo, s.tables[a.unitTable].data.Ownership
	b.owner, b.ownerTeam, b.owned, b.shares = nil, noTeam, false, nil
	return b
}

// mayOwn: see MayOwn. The owner is that of a.
func (s *Snapshot) mayOwn(a *asked, at int64) bool {
	if a.owner != nil && !a.owner.enabled || a.ownerTeam != noTeam && !s.teams.get(a.ownerTeam).owns {
		return false
	}
	return s.ownerReads(a, at)
}

// ownerReads tells whether the record's owner holds Read on its table.
func (s *Snapshot) ownerReads(a *asked, at int64) bool {
	b := asked{table: a.table, action: access.Read, kind: a.kind, ownerTeam: noTeam, unit: noUnit}
	var v verdict
	if a.owner != nil {
		b.user = a.owner
		v = s.scan(&b, at)
	} else {
		s.weigh(&b, &s.teams.get(a.ownerTeam).holding, a.ownerTeam, at, &v)
	}
	a.timed = a.timed || b.timed
	return v.privilege
}
