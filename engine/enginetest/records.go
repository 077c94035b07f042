package enginetest

import (
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// eval4: the access check.
func (r Reference) eval4(q question) bool {
	if q.action == access.Create {
		return r.own7(q) && r.own8(q) && r.bu10(q)
	}
	return r.eval4a(q) || r.eval4b(q) || r.eval4c(q) || r.eval4d(q)
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
	for _, t := range q.teams {
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
	for _, h := range q.held {
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
	for _, h := range q.held {
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
		if (s.Rights | s.Inherited).Has(q.action) && share4(s, q) { // SHARE-6, SHARE-7
			return true
		}
	}
	return false
}

// share4: who a share reaches.
func share4(s access.Share, q question) bool {
	return s.Principal.Kind == access.Everybody || stands(s.Principal, q)
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
		for _, h := range q.held {
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
	if r.State.Environment.Locked || !ok || t.Ownership != access.UserOrTeam || p.Kind == access.Everybody || !exists || !unitExists {
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
	write := q
	write.action = access.Write
	return r.appendsToUnit(q, q.record.BusinessUnit) && r.own7(write) && r.own9(q.record.Owner, q.table, q.at)
}

// appendsToUnit: AppendTo on the table of units reaches the unit (BU-10).
func (r Reference) appendsToUnit(q question, unit access.BusinessUnitID) bool {
	q.action, q.table = access.AppendTo, r.State.Tables[engine.BusinessUnitTable]
	q.record = &access.Record{Table: engine.BusinessUnitTable, BusinessUnit: unit}
	return r.eval4b(q)
}
