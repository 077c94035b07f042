package enginetest

import (
	"fmt"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// question is a question that can be judged (Rule EVAL-1).
type question struct {
	user         access.User
	action       access.Action
	table        access.Table
	misc         string
	record       *access.Record // with its facts filled in
	at           time.Time
	channel      engine.Channel
	impersonator *access.User
	columns      []string

	// teams is teams(u), and held what the user holds in force at the instant; as
	// fills them in.
	teams []access.Team
	held  []held
}

// as is the question as asked by a user at an instant.
func (r Reference) as(u access.User, at time.Time, q question) question {
	q.user, q.at = u, at
	q.teams, q.held = r.teams(u.ID), r.inForce(u.ID, at)
	return q
}

// eval1: can it be judged? Of an impersonator it cannot who does not exist.
func (r Reference) eval1(q engine.Question) (question, error) {
	out, err := r.judgeable(q)
	if err != nil || q.Impersonator == "" {
		return out, err
	}
	by, ok := r.State.Users[q.Impersonator]
	if _, unit := r.State.BusinessUnits[by.BusinessUnit]; !ok || !unit {
		return question{}, fmt.Errorf("%w %v", engine.ErrUnknown, q.Impersonator)
	}
	out.impersonator = &by
	return out, nil
}

// judgeable looks at all but the impersonator. An environment whose key is gone
// judges nothing (CMK-3).
func (r Reference) judgeable(q engine.Question) (question, error) {
	st := r.State
	none := question{}
	unknown := func(what any) (question, error) { return none, fmt.Errorf("%w %v", engine.ErrUnknown, what) }
	wrong := func(what string) (question, error) { return none, fmt.Errorf("%w: %s", engine.ErrQuestion, what) }
	switch {
	case st.Environment.Locked:
		return none, engine.ErrLocked
	case q.At.IsZero():
		return wrong("no instant")
	case q.Channel != "" && q.Channel != engine.Interactive && q.Channel != engine.API:
		return wrong("no such channel")
	case q.Impersonator != "" && q.Impersonator == q.User: // ACC-4
		return wrong("who acts for oneself impersonates nobody")
	case len(q.Columns) > 0 && (q.Table == "" || q.Action != access.Create && q.Action != access.Write): // FLS-5
		return wrong("nothing is set")
	}
	out := question{action: q.Action, misc: q.Privilege, at: q.At, channel: q.Channel, columns: q.Columns}
	u, ok := st.Users[q.User]
	if !ok {
		return unknown(q.User)
	}
	if _, ok := st.BusinessUnits[u.BusinessUnit]; !ok {
		return unknown(u.BusinessUnit)
	}
	out.user = u
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
