package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Column is what somebody may do with a secured column, and how its value is
// shown: "clear", "masked" or "withheld".
type Column struct {
	Name                 string
	Read, Update, Create bool
	Unmasked             access.Unmasked
	Mask                 *access.Mask
	Alone, Listed        string // when one record is read by itself, and in a list
}

// Columns answers as engine.Snapshot.Columns does: the secured columns of the
// question's table, by name.
func (r Reference) Columns(q engine.Question) ([]Column, error) {
	if q.Action != access.Create {
		q.Action = access.Read
	}
	asked, err := r.eval1(q)
	if err != nil {
		return nil, err
	}
	if q.Privilege != "" || len(q.Columns) > 0 {
		return nil, engine.ErrQuestion
	}
	creating := q.Record != nil && q.Action == access.Create
	reads := !creating && r.allows(q, access.Read)
	writes := !creating && r.allows(q, access.Write)
	creates := (creating || q.Record == nil) && r.allows(q, access.Create)
	var out []Column
	for _, name := range r.secured(asked.table) {
		p := r.permission(r.as(asked.user, asked.at, asked), name)
		if asked.impersonator != nil {
			p = intersect(p, r.permission(r.as(*asked.impersonator, asked.at, asked), name))
		}
		p = r.fls3(p, reads, writes, creates)
		c := Column{Name: name, Read: p.read, Update: p.update, Create: p.create, Unmasked: p.unmasked}
		for _, known := range asked.table.Columns {
			if known.Name == name {
				c.Mask = known.Mask
			}
		}
		c.Alone, c.Listed = fls4(c, access.UnmaskedOneRecord), fls4(c, access.UnmaskedAllRecords)
		out = append(out, c)
	}
	return out, nil
}

// fls3: record access comes first.
func (r Reference) fls3(p permission, reads, writes, creates bool) permission {
	record := permission{reads, writes, creates, access.UnmaskedAllRecords}
	if !reads {
		record.unmasked = access.UnmaskedNever
	}
	return intersect(p, record)
}

// fls4: how a value is shown where reading it unmasked takes so much.
func fls4(c Column, takes access.Unmasked) string {
	switch {
	case !c.Read:
		return "withheld"
	case c.Mask == nil || c.Unmasked >= takes:
		return "clear"
	}
	return "masked"
}

// allows asks Check about another action on the same thing.
func (r Reference) allows(q engine.Question, action access.Action) bool {
	q.Action, q.Columns = action, nil
	asked, err := r.eval1(q)
	return err == nil && r.decide(asked).Allowed
}

// Rights answers as engine.Snapshot.Rights does (Rule EVAL-10): the actions but
// Create for which Check allows.
func (r Reference) Rights(q engine.Question) (access.Rights, error) {
	q.Action = access.Read
	if _, err := r.eval1(q); err != nil {
		return 0, err
	}
	var out access.Rights
	for action := access.Read; action < access.Actions; action++ {
		if r.allows(q, action) {
			out |= access.RightsOf(action)
		}
	}
	return out, nil
}

// Filter is why the question's user has no filter of the table's records for the
// action, or Allowed (Rule EVAL-7): what Check says of the table, and then whether
// the columns by which it is filtered, sorted or grouped may be (Rule FLS-6).
func (r Reference) Filter(q engine.Question, by []string) (engine.Reason, error) {
	q.Record, q.Columns = nil, nil
	if q.Action == access.Create || q.Privilege != "" {
		return engine.Unknown, engine.ErrQuestion
	}
	asked, err := r.eval1(q)
	if err != nil {
		return engine.Unknown, err
	}
	if d := r.decide(asked); !d.Allowed {
		return d.Reason, nil
	}
	if !r.fls6(asked, by) {
		return engine.NoColumnAccess, nil
	}
	return engine.Allowed, nil
}

// fls6: what a secured column holds is not to be told by an order or a selection,
// but to those who see it clear in lists.
func (r Reference) fls6(q question, by []string) bool {
	users := []access.User{q.user}
	if q.impersonator != nil {
		users = append(users, *q.impersonator)
	}
	for _, column := range q.table.Columns {
		if !slices.Contains(by, column.Name) || !slices.Contains(r.secured(q.table), column.Name) {
			continue
		}
		for _, u := range users {
			p := r.permission(r.as(u, q.at, q), column.Name)
			if fls4(Column{Read: p.read, Unmasked: p.unmasked, Mask: column.Mask}, access.UnmaskedAllRecords) != "clear" {
				return false
			}
		}
	}
	return true
}

// Selects tells whether that filter selects the question's record (Rule EVAL-7):
// exactly when Check allows.
func (r Reference) Selects(q engine.Question, by []string) (bool, error) {
	why, err := r.Filter(q, by)
	if err != nil || why != engine.Allowed {
		return false, err
	}
	d, err := r.Check(q)
	return d.Allowed, err
}

// Who lists, by id, the users for whom Check allows (Rule EVAL-10). A user about
// whom the question cannot be judged is not among them.
func (r Reference) Who(q engine.Question) ([]access.UserID, error) {
	var out []access.UserID
	for _, id := range slices.Sorted(maps.Keys(r.State.Users)) {
		q.User = id
		if asked, err := r.eval1(q); err == nil && r.decide(asked).Allowed {
			out = append(out, id)
		}
	}
	return out, nil
}

// WhatTeam says what the roles of a team give at an instant, in words, sorted, and
// otherwise why nothing (Rules EVAL-10, TEAM-5). What keeps users out does not
// apply to teams.
func (r Reference) WhatTeam(id access.TeamID, at time.Time) ([]string, engine.Reason, error) {
	switch {
	case r.State.Environment.Locked:
		return nil, engine.Unknown, engine.ErrLocked
	case at.IsZero():
		return nil, engine.Unknown, engine.ErrQuestion
	}
	team, ok := r.team(id)
	if _, unit := r.State.BusinessUnits[team.BusinessUnit]; !ok || !unit {
		return nil, engine.Unknown, engine.ErrUnknown
	}
	if !team.CanOwn() {
		return nil, engine.CannotHoldRoles, nil
	}
	theirs := r.of(id.Principal(), &team, at)
	if len(theirs) == 0 {
		return nil, engine.NoRole, nil
	}
	var out []string
	for _, table := range r.State.Tables {
		for action := access.Create; action < access.Actions; action++ {
			what := fmt.Sprint(table.ID, " ", action, " ")
			reach := map[string]bool{}
			for _, h := range theirs {
				for _, words := range r.teamReach(h, table, action) {
					reach[what+words] = true
				}
			}
			if reach[what+"everywhere"] {
				reach = map[string]bool{what + "everywhere": true}
			}
			out = slices.AppendSeq(out, maps.Keys(reach))
		}
	}
	for _, name := range r.Miscellaneous() {
		if slices.ContainsFunc(theirs, func(h held) bool { return role13(h, name) }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, engine.Allowed, nil
}

// teamReach says which records one assignment of a team reaches.
func (r Reference) teamReach(h held, table access.Table, action access.Action) []string {
	d := depthOf(h, table, action)
	switch {
	case d == access.None:
		return nil
	case d == access.Global || table.Ownership == access.NotOwned: // OWN-4
		return []string{"everywhere"}
	}
	var out []string
	for unit := range r.State.BusinessUnits { // ROLE-6
		if d == access.Local && unit == h.BusinessUnit || d == access.Deep && r.bu2(h.BusinessUnit, unit) {
			out = append(out, "in "+string(unit))
		}
	}
	if table.Ownership == access.UserOrTeam {
		out = append(out, "of the team") // ROLE-7, ROLE-9
		if role8(h, d) {
			out = append(out, "of the member")
		}
	}
	return out
}

// Miscellaneous lists the privileges without a table that anything names, and one
// that nothing does.
func (r Reference) Miscellaneous() []string {
	out := []string{"a name that nothing has"}
	for _, role := range r.State.Roles {
		out = append(out, role.Miscellaneous...)
	}
	for _, a := range r.State.Assignments {
		if a.Bound != nil {
			out = append(out, a.Bound.Miscellaneous...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
