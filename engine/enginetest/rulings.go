package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Ruling is a change that somebody wants to make, and whether they may. Which
// fields count goes by what it asks.
type Ruling struct {
	Asks string // share, revoke, assign, set_unit, link, clear, add_to_template, share_column, give
	User access.UserID
	At   time.Time
	// Table and Record are the record that is changed, in a link the child.
	Table  access.TableID
	Record engine.Record

	Rights       access.Rights         // share; share_column: Read, Write
	Principal    access.Principal      // revoke: whose share; assign: the new owner
	Unit         access.BusinessUnitID // set_unit, give
	Relationship access.RelationshipID // link, clear
	ParentTable  access.TableID        // link
	Parent       engine.Record
	Creating     bool              // link: the child is being created
	Template     access.TemplateID // add_to_template
	Column       string            // share_column
	Role         access.RoleID     // give
}

// Rule tells whether the change may be made; if not, by which rule it may not.
func (r Reference) Rule(x Ruling) (may bool, refusedBy string, err error) {
	if r.State.Environment.Locked { // CMK-3
		return false, "", engine.ErrLocked
	}
	switch x.Asks {
	case "share":
		return r.mayShare(x)
	case "revoke":
		return r.mayRevoke(x)
	case "assign":
		return r.mayAssign(x)
	case "set_unit":
		return r.maySetUnit(x)
	case "link", "clear":
		return r.mayLink(x)
	case "add_to_template":
		return r.mayAddToTemplate(x)
	case "share_column":
		return r.mayShareColumn(x)
	case "give":
		return r.mayGive(x)
	}
	return false, "", fmt.Errorf("%w: %q is no ruling", engine.ErrQuestion, x.Asks)
}

// asks is the question whether the ruling's user may do something with its record.
func (x Ruling) asks(action access.Action) engine.Question {
	rec := x.Record
	return engine.Question{User: x.User, Action: action, Table: x.Table, Record: &rec, At: x.At, Channel: engine.API}
}

// all tells whether Check allows every one of the actions on the ruling's record.
func (r Reference) all(x Ruling, actions ...access.Action) (bool, error) {
	for _, a := range actions {
		if d, err := r.Check(x.asks(a)); err != nil || !d.Allowed {
			return false, err
		}
	}
	return true, nil
}

func verdict(may bool, rule string, err error) (bool, string, error) {
	if may || err != nil {
		return may, "", err
	}
	return false, rule, nil
}

// mayShare: SHARE-1 and SHARE-2 say what can be shared, SHARE-3 by whom.
func (r Reference) mayShare(x Ruling) (bool, string, error) {
	if _, err := r.Check(x.asks(access.ShareRecord)); err != nil {
		return false, "", err
	}
	switch {
	case r.State.Tables[x.Table].Ownership != access.UserOrTeam:
		return false, "SHARE-2", nil
	case x.Rights == 0 || x.Rights.Has(access.Create):
		return false, "SHARE-1", nil
	}
	may, err := r.all(x, append(x.Rights.Actions(), access.ShareRecord)...)
	return verdict(may, "SHARE-3", err)
}

// mayRevoke: SHARE-8.
func (r Reference) mayRevoke(x Ruling) (bool, string, error) {
	q, err := r.eval1(x.asks(access.ShareRecord))
	if err != nil {
		return false, "", err
	}
	q = r.as(q.user, q.at, q)
	owner := q.record.Owner == x.User.Principal() && r.eval2(q) == engine.Unknown
	if owner || x.Principal == x.User.Principal() {
		return true, "", nil
	}
	may, err := r.all(x, access.ShareRecord)
	return verdict(may, "SHARE-8", err)
}

// mayAssign: OWN-9, and OWN-6 for the new owner.
func (r Reference) mayAssign(x Ruling) (bool, string, error) {
	may, err := r.all(x, access.Assign)
	if err != nil || !may {
		return verdict(may, "OWN-9", err)
	}
	unit, canOwn, exists := r.principal(x.Principal)
	_, unitExists := r.State.BusinessUnits[unit]
	switch {
	case x.Principal.Kind == access.Everybody || r.State.Tables[x.Table].Ownership != access.UserOrTeam:
		return false, "", engine.ErrQuestion
	case !exists || !unitExists:
		return false, "", engine.ErrUnknown
	case !canOwn || !r.own6(x.Principal):
		return false, "OWN-6", nil
	}
	return verdict(r.own9(x.Principal, r.State.Tables[x.Table], x.At), "OWN-9", nil)
}

// maySetUnit: BU-10, and OWN-5 with classic units.
func (r Reference) maySetUnit(x Ruling) (bool, string, error) {
	q, err := r.eval1(x.asks(access.Write))
	if err != nil {
		return false, "", err
	}
	q = r.as(q.user, q.at, q)
	if !r.State.Environment.Modernized {
		return false, "OWN-5", nil
	}
	may, err := r.all(x, access.Write)
	if err != nil || !may {
		return verdict(may, "BU-10", err)
	}
	_, unit := r.State.BusinessUnits[x.Unit]
	_, table := r.State.Tables[engine.BusinessUnitTable]
	switch {
	case q.table.Ownership != access.UserOrTeam:
		return false, "", engine.ErrQuestion
	case !unit || !table:
		return false, "", engine.ErrUnknown
	}
	return verdict(r.appendsToUnit(q, x.Unit) && r.own9(q.record.Owner, q.table, q.at), "BU-10", err)
}

// mayLink: REL-1 for a lookup, REL-2 for many to many, REL-3 for a lookup that is
// cleared.
func (r Reference) mayLink(x Ruling) (bool, string, error) {
	rel, ok := r.State.Relationships[x.Relationship]
	if !ok {
		return false, "", engine.ErrUnknown
	}
	if rel.Table != x.Table || x.Asks == "link" && rel.Parent != x.ParentTable || x.Creating && x.Record.Registered {
		return false, "", engine.ErrQuestion
	}
	parent := x
	parent.Table, parent.Record = x.ParentTable, x.Parent
	change := access.Write
	if x.Creating {
		change = access.Create
	}
	switch {
	case x.Asks == "clear":
		may, err := r.all(x, access.Write, access.Append)
		return verdict(may, "REL-3", err)
	case rel.ManyToMany:
		may, err := r.all(x, access.Append, access.AppendTo)
		mayTo, errTo := r.all(parent, access.Append, access.AppendTo)
		return verdict(may && mayTo, "REL-2", errors.Join(err, errTo))
	}
	may, err := r.all(x, change, access.Append)
	mayTo, errTo := r.all(parent, access.AppendTo)
	return verdict(may && mayTo, "REL-1", errors.Join(err, errTo))
}

// mayAddToTemplate: TEAM-7.
func (r Reference) mayAddToTemplate(x Ruling) (bool, string, error) {
	t, ok := r.State.Templates[x.Template]
	if !ok {
		return false, "", engine.ErrUnknown
	}
	if t.Table != x.Table {
		return false, "", engine.ErrQuestion
	}
	may, err := r.all(x, append(t.Rights.Actions(), access.ShareRecord)...)
	return verdict(may, "TEAM-7", err)
}

// mayShareColumn: FLS-7.
func (r Reference) mayShareColumn(x Ruling) (bool, string, error) {
	q := x.asks(access.ShareRecord)
	columns, err := r.Columns(q)
	if err != nil {
		return false, "", err
	}
	may, err := r.all(x, access.ShareRecord)
	for _, c := range columns {
		if c.Name == x.Column {
			shared := r.State.Tables[x.Table].Ownership == access.UserOrTeam // as SHARE-2 says of records
			own := (c.Read || !x.Rights.Has(access.Read)) && (c.Update || !x.Rights.Has(access.Write))
			return verdict(may && shared && own && x.Rights != 0, "FLS-7", err)
		}
	}
	return false, "", engine.ErrQuestion
}

// mayGive: prevention of elevation (ACC-5), and Assign on table role reaching the
// unit (ROLE-15).
func (r Reference) mayGive(x Ruling) (bool, string, error) {
	q, err := r.eval1(engine.Question{User: x.User, Privilege: "any", At: x.At, Channel: engine.API})
	if err != nil {
		return false, "", err
	}
	role, ok := r.State.Roles[x.Role]
	if _, unit := r.State.BusinessUnits[x.Unit]; !ok || !unit {
		return false, "", engine.ErrUnknown
	}
	q = r.as(q.user, q.at, q)
	q.misc, q.action, q.table, q.record = "", access.Assign, r.State.Tables[roleTable], &access.Record{BusinessUnit: x.Unit}
	if why := r.eval2(q); why != engine.Unknown {
		return false, "EVAL-2", nil
	}
	switch {
	case fls9(q): // whoever has everything may give everything
		return true, "", nil
	case role.All:
		return false, "ACC-5", nil
	case q.table.ID == "" || !r.eval4b(q):
		return false, "ROLE-15", nil
	}
	for _, p := range role.Privileges {
		table := r.State.Tables[p.Table]
		table.ID = p.Table
		if d := depthOf(held{role: role}, table, p.Action); d != access.None && !r.holds(q, table, p.Action, d, x.Unit) {
			return false, "ACC-5", nil
		}
	}
	for _, name := range role.Miscellaneous {
		if !slices.ContainsFunc(q.held, func(h held) bool { return role13(h, name) }) {
			return false, "ACC-5", nil
		}
	}
	return true, "", nil
}

// roleTable is the table whose records are the roles.
const roleTable access.TableID = "role"

// holds tells whether some assignment of the user has the action on the table to
// the depth or more, reaching the unit.
func (r Reference) holds(q question, table access.Table, action access.Action, depth access.Depth, unit access.BusinessUnitID) bool {
	return slices.ContainsFunc(q.held, func(h held) bool {
		d := depthOf(h, table, action)
		switch {
		case d < depth:
			return false
		case depth == access.Basic || d == access.Global:
			return true
		case d == access.Deep:
			return r.bu2(h.BusinessUnit, unit)
		}
		return h.BusinessUnit == unit // Local, for a Local one
	})
}
