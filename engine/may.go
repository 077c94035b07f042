package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Ruling tells whether somebody may make a change that is not an action on one
// record alone. The zero Ruling refuses. Changes come in over the API, whoever
// makes them, so that applications may (Rules ACC-1, ACC-2).
type Ruling struct {
	Allowed bool `json:"allowed"`
	// Rule is the first that refuses, and Why says it in words.
	Rule string `json:"rule,omitempty"`
	Why  string `json:"why,omitempty"`
}

// RecordRef is a record of a table, by its facts or as registered.
type RecordRef struct {
	Table  access.TableID `json:"table"`
	Record Record         `json:"record"`
}

func refuse(rule, format string, args ...any) Ruling {
	return Ruling{Rule: rule, Why: fmt.Sprintf(format, args...)}
}

// need is a question that must be answered yes, and the rule that asks it.
type need struct {
	rule   string
	action access.Action
	on     RecordRef
}

// meets rules whether the user has what each need asks for, in order.
func (s *Snapshot) meets(u access.UserID, at time.Time, needs ...need) (Ruling, error) {
	out := Ruling{Allowed: true}
	var wrong []error
	for _, n := range needs {
		d, err := s.Check(Question{User: u, Action: n.action, Table: n.on.Table, Record: &n.on.Record, At: at, Channel: API})
		if err != nil && !slices.ContainsFunc(wrong, func(e error) bool { return e.Error() == err.Error() }) {
			wrong = append(wrong, err)
		} else if err == nil && out.Allowed && !d.Allowed {
			out = refuse(n.rule, "%s on the record of table %q: %s", n.action, n.on.Table, d.Reason.sentence())
		}
	}
	if len(wrong) > 0 {
		return Ruling{}, errors.Join(wrong...)
	}
	return out, nil
}

// ownership finds a table's kind.
func (s *Snapshot) ownership(id access.TableID) (access.Ownership, error) {
	n, ok := s.tableIndex[id]
	if !ok || !s.tables[n].exists {
		return 0, s.unknown("table", string(id))
	}
	return s.tables[n].data.Ownership, nil
}

// owned is an error unless records of the table have an owner.
func (s *Snapshot) owned(id access.TableID) error {
	kind, err := s.ownership(id)
	if err == nil && kind != access.UserOrTeam {
		err = fmt.Errorf("%w: records of table %q (%v) have no owner", ErrQuestion, id, kind)
	}
	return err
}

// MayShare tells whether the user may share the record: it takes Share on it, and
// every right that is given (Rules SHARE-1 to SHARE-3).
func (s *Snapshot) MayShare(u access.UserID, rec RecordRef, rights access.Rights, at time.Time) (Ruling, error) {
	needs := []need{{"SHARE-3", access.ShareRecord, rec}}
	for _, a := range rights.Actions() {
		if a != access.Create {
			needs = append(needs, need{"SHARE-3", a, rec})
		}
	}
	r, err := s.meets(u, at, needs...)
	if err != nil {
		return Ruling{}, err
	}
	switch kind, _ := s.ownership(rec.Table); {
	case kind != access.UserOrTeam:
		return refuse("SHARE-2", "records of table %q (%v) are not shared", rec.Table, kind), nil
	case rights.Has(access.Create) || rights == 0:
		return refuse("SHARE-1", "what is shared is some rights, and never create"), nil
	}
	return r, nil
}

// MayRevoke tells whether the user may end what the record shares with the
// principal: the owner may, whoever has Share on it, and always the one whose share
// it is (Rule SHARE-8).
func (s *Snapshot) MayRevoke(u access.UserID, rec RecordRef, of access.Principal, at time.Time) (Ruling, error) {
	q := Question{User: u, Action: access.ShareRecord, Table: rec.Table, Record: &rec.Record, At: at, Channel: API}
	var a asked
	if err := s.resolve(&q, &a); err != nil {
		return Ruling{}, err
	}
	if of == u.Principal() {
		return Ruling{Allowed: true}, nil
	}
	d := s.decide(&a)
	if d.Allowed || a.gate == Unknown && d.Reason != NoRole && a.owner == a.user {
		return Ruling{Allowed: true}, nil
	}
	return refuse("SHARE-8", "the user does not own the record, and share on it: %s", d.Reason.sentence()), nil
}

// MayAssign tells whether the user may give the record to the owner: it takes
// Assign on it, and the owner must be able to own it (Rules OWN-6, OWN-9).
func (s *Snapshot) MayAssign(u access.UserID, rec RecordRef, owner access.Principal, at time.Time) (Ruling, error) {
	r, err := s.meets(u, at, need{"OWN-9", access.Assign, rec})
	if err != nil || !r.Allowed {
		return r, err
	}
	may, err := s.MayOwn(owner, rec.Table, at)
	switch {
	case err != nil:
		return Ruling{}, err
	case !s.canOwn(owner):
		return refuse("OWN-6", "%v is a disabled user or an access team", owner), nil
	case !may:
		return refuse("OWN-9", "%v holds no read on table %q", owner, rec.Table), nil
	}
	return r, nil
}

// canOwn tells whether the principal, which exists, is neither a disabled user nor
// an access team (Rule OWN-6).
func (s *Snapshot) canOwn(p access.Principal) bool {
	if p.Kind == access.UserPrincipal {
		return s.users.get(p.ID).enabled
	}
	n, _ := s.teamIndex.get(p.ID)
	return s.teams.get(n).aside.owns
}

// MaySetUnit tells whether the user may move the record to the business unit (Rule
// BU-10): it takes Write on the record, AppendTo on the unit, and an owner who
// holds Read on the table. With classic units nobody may (Rule OWN-5).
func (s *Snapshot) MaySetUnit(u access.UserID, rec RecordRef, unit access.BusinessUnitID, at time.Time) (Ruling, error) {
	r, err := s.meets(u, at, need{"BU-10", access.Write, rec})
	if err != nil {
		return Ruling{}, err
	}
	if !s.env.Modernized {
		return refuse("OWN-5", "with classic business units a record is in its owner's"), nil
	}
	if !r.Allowed {
		return r, nil
	}
	if err := s.owned(rec.Table); err != nil {
		return Ruling{}, err
	}
	n, ok := s.unit(unit)
	if !ok || !s.span(n).exists() {
		return Ruling{}, s.unknown("business unit", string(unit))
	}
	t, ok := s.tableIndex[BusinessUnitTable]
	if !ok || !s.tables[t].exists {
		return Ruling{}, s.unknown("table", string(BusinessUnitTable))
	}
	var a asked
	if err := s.resolve(&Question{User: u, Action: access.Write, Table: rec.Table, Record: &rec.Record, At: at, Channel: API}, &a); err != nil {
		return Ruling{}, err
	}
	a.unit, a.place, a.unitTable = n, s.span(n).first, t
	switch {
	case !s.reachesTheUnit(&a, a.at):
		return refuse("BU-10", "append_to does not reach business unit %q", unit), nil
	case !s.ownerReads(&a, a.at):
		return refuse("BU-10", "the owner holds no read on table %q", rec.Table), nil
	}
	return r, nil
}

// MayLink tells whether the user may let the child point to the parent along the
// relationship or, without a parent, to nothing any more (Rules REL-1 to REL-3).
// A child that is created with the link is an intended record.
func (s *Snapshot) MayLink(u access.UserID, rel access.RelationshipID, child RecordRef, parent *RecordRef, creating bool, at time.Time) (Ruling, error) {
	known, ok := s.relations[rel]
	switch {
	case s.env.Locked:
		return Ruling{}, s.locked()
	case !ok:
		return Ruling{}, s.unknown("relationship", string(rel))
	case child.Table != known.Table || parent != nil && parent.Table != known.Parent:
		return Ruling{}, fmt.Errorf("%w: relationship %q is between tables %q and %q", ErrQuestion, rel, known.Table, known.Parent)
	case parent == nil && creating:
		return Ruling{}, fmt.Errorf("%w: a record that is created has nothing to clear (Rule REL-3)", ErrQuestion)
	case creating && child.Record.Registered:
		return Ruling{}, fmt.Errorf("%w: a registered record is not to be created (Rule REL-1)", ErrQuestion)
	}
	switch {
	case parent == nil:
		return s.meets(u, at, need{"REL-3", access.Write, child}, need{"REL-3", access.Append, child})
	case known.ManyToMany:
		return s.meets(u, at, need{"REL-2", access.Append, child}, need{"REL-2", access.AppendTo, child},
			need{"REL-2", access.Append, *parent}, need{"REL-2", access.AppendTo, *parent})
	}
	changes := access.Write
	if creating {
		changes = access.Create
	}
	return s.meets(u, at, need{"REL-1", access.AppendTo, *parent}, need{"REL-1", changes, child}, need{"REL-1", access.Append, child})
}

// MayAddToTemplate tells whether the user may put somebody into the record's access
// team of the template: it takes Share on the record and every right that the
// template gives (Rule TEAM-7).
func (s *Snapshot) MayAddToTemplate(u access.UserID, template access.TemplateID, rec RecordRef, at time.Time) (Ruling, error) {
	known, ok := s.templates[template]
	switch {
	case s.env.Locked:
		return Ruling{}, s.locked()
	case !ok:
		return Ruling{}, s.unknown("access team template", string(template))
	case known.Table != rec.Table:
		return Ruling{}, fmt.Errorf("%w: access team template %q is of table %q", ErrQuestion, template, known.Table)
	}
	needs := []need{{"TEAM-7", access.ShareRecord, rec}}
	for _, a := range known.Rights.Actions() {
		needs = append(needs, need{"TEAM-7", a, rec})
	}
	return s.meets(u, at, needs...)
}

// MayShareColumn tells whether the user may share a secured column of the record:
// it takes Share on the record and, of that column there, what is given (Rules
// FLS-3, FLS-7).
func (s *Snapshot) MayShareColumn(u access.UserID, rec RecordRef, column string, read, update bool, at time.Time) (Ruling, error) {
	r, err := s.meets(u, at, need{"FLS-7", access.ShareRecord, rec})
	if err != nil {
		return Ruling{}, err
	}
	columns, err := s.Columns(Question{User: u, Action: access.Read, Table: rec.Table, Record: &rec.Record, At: at, Channel: API})
	if err != nil {
		return Ruling{}, err
	}
	for _, c := range columns {
		if c.Column != column {
			continue
		}
		switch kind, _ := s.ownership(rec.Table); {
		case kind != access.UserOrTeam:
			return refuse("FLS-7", "records of table %q (%v) are not shared", rec.Table, kind), nil
		case !read && !update:
			return refuse("FLS-7", "what is shared of a column is to read it or to update it"), nil
		case !r.Allowed:
			return r, nil
		case read && !c.Read:
			return refuse("FLS-7", "the user may not read column %q of the record", column), nil
		case update && !c.Update:
			return refuse("FLS-7", "the user may not update column %q of the record", column), nil
		}
		return Ruling{Allowed: true}, nil
	}
	return Ruling{}, fmt.Errorf("%w: column %q of table %q is not secured (Rule FLS-7)", ErrQuestion, column, rec.Table)
}

// roleTable is the table whose records are the security roles themselves (Rule
// ROLE-15).
const roleTable access.TableID = "role"

// MayGive tells whether the user may give the role at the business unit, or take it
// away: it takes Assign on roles reaching the unit (Rule ROLE-15), and every
// privilege of the role to the same depth from there (Rule ACC-5).
func (s *Snapshot) MayGive(u access.UserID, role access.RoleID, unit access.BusinessUnitID, at time.Time) (Ruling, error) {
	var a asked
	if err := s.resolve(&Question{User: u, Privilege: "any", At: at, Channel: API}, &a); err != nil {
		return Ruling{}, err
	}
	n, ok := s.roleIndex[role]
	if !ok || s.roles[n] == nil {
		return Ruling{}, s.unknown("role", string(role))
	}
	b, ok := s.unit(unit)
	if !ok || !s.span(b).exists() {
		return Ruling{}, s.unknown("business unit", string(unit))
	}
	t, ok := s.tableIndex[roleTable]
	there := ok && s.tables[t].exists
	if gate := s.gate(a.user, API, access.Assign, there && s.tables[t].data.System); gate != Unknown {
		return refuse("EVAL-2", "%s", gate.sentence()), nil
	}
	var all []inForce
	s.each(a.user, a.at, func(as *assignment, g grant, bound *bound, team uint32) {
		all = append(all, inForce{as, g, bound, team})
	})
	if len(all) == 0 {
		return refuse("EVAL-2", "%s", NoRole.sentence()), nil
	}
	if s.administrator(&a, a.at) {
		return Ruling{Allowed: true}, nil
	}
	given := s.roles[n]
	if given.All {
		return refuse("ACC-5", "role %q holds every privilege", role), nil
	}
	a = asked{user: a.user, at: a.at, table: t}
	if !there || !s.hasReaching(&a, access.Assign, all, b, access.Local) {
		return refuse("ROLE-15", "assign on roles does not reach business unit %q", unit), nil
	}
	for _, p := range given.Privileges {
		a.table = s.tableIndex[p.Table]
		s.aim(&a, p.Action)
		if d := a.line[n].depth(); d != access.None && !s.hasReaching(&a, p.Action, all, b, d) {
			return refuse("ACC-5", "role %q holds %s on table %q to depth %s, and the user does not from there", role, p.Action, p.Table, d), nil
		}
	}
	for _, m := range given.Miscellaneous {
		if !s.hasMiscellaneous(m, all) {
			return refuse("ACC-5", "role %q holds the privilege %q, and the user does not", role, m), nil
		}
	}
	return Ruling{Allowed: true}, nil
}

// hasReaching tells whether one of the assignments has the action on the table to
// the depth, or further, as measured from the business unit.
func (s *Snapshot) hasReaching(a *asked, action access.Action, all []inForce, unit uint32, d access.Depth) bool {
	a.kind = s.tables[a.table].data.Ownership
	s.aim(a, action)
	for _, f := range all {
		from := s.span(f.unit)
		switch own := f.bound.limit(a, a.line[f.role].depth()); {
		case own < d:
		case d == access.Basic, own == access.Global:
			return true
		case own == access.Deep && from.holds(s.span(unit).first), own == access.Local && f.unit == unit:
			return true
		}
	}
	return false
}

func (s *Snapshot) hasMiscellaneous(name string, all []inForce) bool {
	a := asked{misc: name, line: s.otherMisc}
	if s.miscLines[name] != nil {
		a.line = s.miscLines[name]
	}
	for _, f := range all {
		if f.bound.limit(&a, a.line[f.role].depth()) != access.None {
			return true
		}
	}
	return false
}
