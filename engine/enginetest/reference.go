// Package enginetest holds what the engine and everything that answers like it
// is tested with: a reference evaluator, random organisations and questions, and
// decision tables in YAML.
//
// The reference is written from the rules of the access model, one rule a
// function, on the plain state, without an index and without a cache. It shares
// no code with package engine.
package enginetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Reference answers questions straight from the rules.
type Reference struct {
	State    *access.State
	Revision access.Revision
}

// question is a question that can be judged (Rule EVAL-1).
type question struct {
	user   access.User
	action access.Action
	table  access.Table
	misc   string
	record *access.Record // with its facts filled in
	at     time.Time
}

// held is an assignment in force and the team that carries it, if any.
type held struct {
	access.Assignment
	role access.Role
	team *access.Team
}

// Check answers as engine.Snapshot.Check does.
func (r Reference) Check(q engine.Question) (engine.Decision, error) {
	asked, err := r.eval1(q)
	if err != nil {
		return engine.Decision{}, err
	}
	d := r.decide(asked)
	// Rule JIT-25: the first instant at which only time has passed and the answer
	// is another.
	for _, t := range r.boundaries() {
		if t.After(q.At) {
			later := asked
			later.at = t
			if r.decide(later) != d {
				d.ValidUntil = t
				break
			}
		}
	}
	d.Revision = r.Revision
	return d, nil
}

func (r Reference) boundaries() []time.Time {
	var all []time.Time
	for _, a := range r.State.Assignments {
		all = append(all, a.Window.Start, a.Window.End)
	}
	for _, s := range r.State.Shares {
		all = append(all, s.Window.Start, s.Window.End)
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.Compact(all)
}

func (r Reference) decide(q question) engine.Decision {
	if why := r.eval2(q); why != engine.Unknown {
		return engine.Decision{Reason: why}
	}
	if !r.eval3(q) {
		return engine.Decision{Reason: engine.NoPrivilege}
	}
	switch {
	case q.record == nil:
		return engine.Decision{Allowed: true, Reason: engine.Allowed, Depth: r.greatestDepth(q)}
	case q.table.Ownership == access.NotOwned, r.eval4(q):
		return engine.Decision{Allowed: true, Reason: engine.Allowed}
	}
	return engine.Decision{Reason: engine.NoAccess}
}

// eval1: can it be judged?
func (r Reference) eval1(q engine.Question) (question, error) {
	st := r.State
	none := question{}
	unknown := func(what any) (question, error) { return none, fmt.Errorf("%w %v", engine.ErrUnknown, what) }
	wrong := func(what string) (question, error) { return none, fmt.Errorf("%w: %s", engine.ErrQuestion, what) }
	if q.At.IsZero() {
		return wrong("no instant")
	}
	u, ok := st.Users[q.User]
	if !ok {
		return unknown(q.User)
	}
	if _, ok := st.BusinessUnits[u.BusinessUnit]; !ok {
		return unknown(u.BusinessUnit)
	}
	out := question{user: u, action: q.Action, misc: q.Privilege, at: q.At}
	if q.Privilege != "" {
		if q.Table != "" || q.Record != nil || q.Action != 0 {
			return wrong("a privilege and more")
		}
		return out, nil
	}
	if q.Action >= access.Actions {
		return unknown(q.Action)
	}
	if out.table, ok = st.Tables[q.Table]; !ok {
		return unknown(q.Table)
	}
	if q.Record == nil {
		return out, nil
	}
	rec := access.Record{Table: q.Table, ID: q.Record.ID, Owner: q.Record.Owner, BusinessUnit: q.Record.BusinessUnit}
	if q.Record.Registered {
		if rec.Owner != (access.Principal{}) || rec.BusinessUnit != "" || q.Action == access.Create {
			return wrong("registered and more")
		}
		if rec, ok = st.Records[access.RecordKey{Table: q.Table, Record: q.Record.ID}]; !ok {
			return unknown(q.Record.ID)
		}
	}
	out.record = &rec
	hasOwner := out.table.Ownership == access.UserOrTeam
	hasUnit := hasOwner || out.table.Ownership == access.BusinessUnitOwned
	if !hasOwner && rec.Owner != (access.Principal{}) || !hasUnit && rec.BusinessUnit != "" {
		return wrong("facts that the table's kind does not have")
	}
	if hasOwner {
		unit, can, exists := r.principal(rec.Owner)
		switch {
		case rec.Owner == (access.Principal{}), rec.Owner.Kind == access.Everybody:
			return wrong("no owner")
		case !exists:
			return unknown(rec.Owner)
		case !can:
			return wrong("an access team owns nothing")
		}
		if _, ok := st.BusinessUnits[unit]; !ok {
			return unknown(unit)
		}
		if !st.Environment.Modernized { // OWN-5
			if rec.BusinessUnit != "" {
				if _, ok := st.BusinessUnits[rec.BusinessUnit]; !ok {
					return unknown(rec.BusinessUnit)
				}
				if rec.BusinessUnit != unit {
					return wrong("another unit than the owner's")
				}
			}
			rec.BusinessUnit = unit
		}
	}
	if hasUnit {
		if rec.BusinessUnit == "" {
			return wrong("no unit")
		}
		if _, ok := st.BusinessUnits[rec.BusinessUnit]; !ok {
			return unknown(rec.BusinessUnit)
		}
	}
	if r.setsUnitApart(out) {
		if _, ok := st.Tables[engine.BusinessUnitTable]; !ok {
			return unknown(engine.BusinessUnitTable)
		}
	}
	return out, nil
}

// Facts are the facts by which the question's record is judged.
func (r Reference) Facts(q engine.Question) (access.Record, error) {
	asked, err := r.eval1(q)
	if err != nil || asked.record == nil {
		return access.Record{}, err
	}
	return *asked.record, nil
}

// UnitOf is the unit of a principal, if it exists.
func (r Reference) UnitOf(p access.Principal) access.BusinessUnitID {
	unit, _, _ := r.principal(p)
	return unit
}

// Below tells whether the unit lies in the subtree of root (Rule BU-2).
func (r Reference) Below(root, unit access.BusinessUnitID) bool { return r.bu2(root, unit) }

// principal tells of an owner its unit, whether it can own (OWN-1, OWN-6) and
// whether it exists.
func (r Reference) principal(p access.Principal) (unit access.BusinessUnitID, canOwn, exists bool) {
	if id, ok := p.User(); ok {
		u, ok := r.State.Users[id]
		return u.BusinessUnit, true, ok
	}
	t, ok := r.team(access.TeamID(p.ID))
	return t.BusinessUnit, t.CanOwn(), ok
}

// team finds a team, a derived default team too (BU-6).
func (r Reference) team(id access.TeamID) (access.Team, bool) {
	if unit, ok := id.DefaultOf(); ok {
		b, ok := r.State.BusinessUnits[unit]
		return access.Team{ID: id, Name: b.Name, Type: access.OwnerTeam, BusinessUnit: unit}, ok
	}
	t, ok := r.State.Teams[id]
	return t, ok
}

// eval2: is the user in?
func (r Reference) eval2(q question) engine.Reason {
	env := r.State.Environment
	switch {
	case !q.user.Enabled:
		return engine.UserDisabled
	case r.bu3(q.user.BusinessUnit):
		return engine.BusinessUnitDisabled
	case env.RequireLicence && !q.user.Licensed: // LIC-1
		return engine.NoLicence
	case env.SecurityGroup != nil && !q.user.Admitted: // ESG-1
		return engine.NotInEnvironmentGroup
	case len(r.inForce(q.user.ID, q.at)) == 0: // ROLE-4
		return engine.NoRole
	}
	return engine.Unknown
}

// bu3: a unit is disabled by its own flag or by that of one above.
func (r Reference) bu3(id access.BusinessUnitID) bool {
	for id != "" {
		b := r.State.BusinessUnits[id]
		if b.Disabled {
			return true
		}
		id = b.Parent
	}
	return false
}

// bu2: b lies in the subtree of root.
func (r Reference) bu2(root, b access.BusinessUnitID) bool {
	for b != "" {
		if b == root {
			return true
		}
		b = r.State.BusinessUnits[b].Parent
	}
	return false
}

// teams is teams(u): of every type, and the default team of the user's unit.
func (r Reference) teams(u access.UserID) []access.Team {
	var out []access.Team
	for k := range r.State.Memberships {
		if k.User == u {
			if t, ok := r.team(k.Team); ok {
				out = append(out, t)
			}
		}
	}
	if t, ok := r.team(r.State.Users[u].BusinessUnit.DefaultTeam()); ok {
		out = append(out, t)
	}
	return out
}

// inForce lists the assignments that count for the user at t: direct ones and
// those of role-bearing teams.
func (r Reference) inForce(u access.UserID, t time.Time) []held {
	out := r.of(u.Principal(), nil, t)
	for _, team := range r.teams(u) {
		if team.CanOwn() { // TEAM-5
			out = append(out, r.of(team.ID.Principal(), &team, t)...)
		}
	}
	return out
}

// of lists a principal's own assignments at t. One that names a role or unit that
// does not exist gives nothing.
func (r Reference) of(p access.Principal, team *access.Team, t time.Time) []held {
	var out []held
	for _, a := range r.State.Assignments {
		role, ok := r.State.Roles[a.Role]
		_, unit := r.State.BusinessUnits[a.BusinessUnit]
		if a.Principal == p && ok && unit && a.Window.Holds(t) {
			out = append(out, held{a, role, team})
		}
	}
	return out
}

// depthOf is the depth at which an assignment has the action on the table.
func depthOf(h held, table access.Table, action access.Action) access.Depth {
	lines := func(all bool, privileges []access.Privilege) access.Depth {
		if all { // ROLE-10
			return access.Global
		}
		for _, p := range privileges {
			if p.Table == table.ID && p.Action == action {
				return p.Depth
			}
		}
		return access.None
	}
	d := lines(h.role.All, h.role.Privileges)
	if h.Bound != nil { // JIT-62
		d = min(d, lines(h.Bound.All, h.Bound.Privileges))
	}
	switch {
	case table.Ownership == access.OrganizationOwned && d != access.Global: // OWN-2
		return access.None
	case table.Ownership == access.BusinessUnitOwned && d == access.Basic: // OWN-3
		return access.None
	}
	return d
}

// role13: holding a miscellaneous privilege.
func role13(h held, name string) bool {
	if !h.role.All && !slices.Contains(h.role.Miscellaneous, name) {
		return false
	}
	return h.Bound == nil || h.Bound.All || slices.Contains(h.Bound.Miscellaneous, name)
}

// eval3: the privilege check.
func (r Reference) eval3(q question) bool { return r.greatestDepth(q) != access.None }

func (r Reference) greatestDepth(q question) access.Depth {
	d := access.None
	for _, h := range r.inForce(q.user.ID, q.at) {
		if q.misc == "" {
			d = max(d, depthOf(h, q.table, q.action))
		} else if role13(h, q.misc) {
			d = access.Global
		}
	}
	return d
}

// eval4: the access check.
func (r Reference) eval4(q question) bool {
	if q.action == access.Create {
		return r.own7(q) && r.own8(q) && r.bu10(q)
	}
	return r.eval4a(q) || r.eval4b(q) || r.eval4c(q)
}

// owns tells whether the record is the user's own, or of which of the user's
// teams that can own it is.
func (r Reference) owns(q question) (self bool, team *access.Team) {
	if q.table.Ownership != access.UserOrTeam {
		return false, nil
	}
	if q.record.Owner == q.user.ID.Principal() {
		return true, nil
	}
	for _, t := range r.teams(q.user.ID) {
		if q.record.Owner == t.ID.Principal() && t.CanOwn() {
			return false, &t
		}
	}
	return false, nil
}

// eval4a: ownership.
func (r Reference) eval4a(q question) bool {
	self, team := r.owns(q)
	if !self && team == nil {
		return false
	}
	for _, h := range r.inForce(q.user.ID, q.at) {
		d := depthOf(h, q.table, q.action)
		switch {
		case d == access.None:
		case h.team == nil:
			return true // the user's direct role at any depth (ROLE-5)
		case role8(h, d):
			return true
		case team != nil && h.team.ID == team.ID:
			return true // a role of that team (ROLE-7, ROLE-9)
		}
	}
	return false
}

// role8: as if the privilege were the member's own at Basic.
func role8(h held, d access.Depth) bool {
	return h.role.Inheritance == access.DirectUser && d == access.Basic
}

// eval4b: an assignment reaches the owning unit.
func (r Reference) eval4b(q question) bool {
	for _, h := range r.inForce(q.user.ID, q.at) {
		switch depthOf(h, q.table, q.action) { // ROLE-5, ROLE-6, measured as BU-9 says
		case access.Global:
			return true
		case access.Deep:
			if r.bu2(h.BusinessUnit, q.record.BusinessUnit) {
				return true
			}
		case access.Local:
			if h.BusinessUnit == q.record.BusinessUnit {
				return true
			}
		}
	}
	return false
}

// eval4c: a share. SHARE-5 has been looked at by EVAL-3.
func (r Reference) eval4c(q question) bool {
	if q.table.Ownership != access.UserOrTeam || q.record.ID == "" { // SHARE-2
		return false
	}
	for _, s := range r.State.Shares {
		if s.Table != q.table.ID || s.Record != q.record.ID || !s.Window.Holds(q.at) { // SHARE-10
			continue
		}
		if (s.Rights | s.Inherited).Has(q.action) && r.share4(s, q.user.ID) { // SHARE-6, SHARE-7
			return true
		}
	}
	return false
}

// share4: who a share reaches.
func (r Reference) share4(s access.Share, u access.UserID) bool {
	switch s.Principal.Kind {
	case access.UserPrincipal:
		return s.Principal == u.Principal()
	case access.TeamPrincipal:
		return slices.ContainsFunc(r.teams(u), func(t access.Team) bool { return t.ID.Principal() == s.Principal })
	}
	return true
}

// own7: the intended record lies within the depth of Create.
func (r Reference) own7(q question) bool { return r.eval4a(q) || r.eval4b(q) }

// own8: for another owner, Assign reaches it too, and the owner may have it.
func (r Reference) own8(q question) bool {
	if q.table.Ownership != access.UserOrTeam {
		return true
	}
	self, team := r.owns(q)
	if self {
		return true
	}
	if team != nil {
		for _, h := range r.inForce(q.user.ID, q.at) {
			if h.team != nil && h.team.ID == team.ID && depthOf(h, q.table, access.Create) != access.None {
				return true // one's own team by that team's role
			}
		}
	}
	as := q
	as.action = access.Assign
	return r.own7(as) && r.own6(q.record.Owner) && r.own9(q.record.Owner, q.table, q.at)
}

// own6: nothing is given to a disabled user.
func (r Reference) own6(p access.Principal) bool {
	id, ok := p.User()
	return !ok || r.State.Users[id].Enabled
}

// own9: the new owner holds Read; a team by its own roles.
func (r Reference) own9(p access.Principal, table access.Table, t time.Time) bool {
	var roles []held
	if id, ok := p.User(); ok {
		roles = r.inForce(id, t)
	} else {
		team, _ := r.team(access.TeamID(p.ID))
		roles = r.of(p, &team, t)
	}
	return slices.ContainsFunc(roles, func(h held) bool { return depthOf(h, table, access.Read) != access.None })
}

// MayOwn answers as engine.Snapshot.MayOwn does, but for the error's text.
func (r Reference) MayOwn(p access.Principal, table access.TableID, at time.Time) (may, wrong bool) {
	t, ok := r.State.Tables[table]
	unit, canOwn, exists := r.principal(p)
	_, unitExists := r.State.BusinessUnits[unit]
	if !ok || t.Ownership != access.UserOrTeam || p.Kind == access.Everybody || !exists || !unitExists {
		return false, true
	}
	return canOwn && r.own6(p) && r.own9(p, t, at), false
}

func (r Reference) setsUnitApart(q question) bool {
	if !r.State.Environment.Modernized || q.action != access.Create || q.record == nil || q.table.Ownership != access.UserOrTeam {
		return false
	}
	unit, _, _ := r.principal(q.record.Owner)
	return unit != q.record.BusinessUnit
}

// bu10: setting the owning unit apart from the owner's.
func (r Reference) bu10(q question) bool {
	if !r.setsUnitApart(q) {
		return true
	}
	unit := q
	unit.action, unit.table = access.AppendTo, r.State.Tables[engine.BusinessUnitTable]
	unit.record = &access.Record{Table: engine.BusinessUnitTable, BusinessUnit: q.record.BusinessUnit}
	write := q
	write.action = access.Write
	return r.eval4b(unit) && r.own7(write) && r.own9(q.record.Owner, q.table, q.at)
}
