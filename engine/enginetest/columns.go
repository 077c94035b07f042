package enginetest

import (
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// permission is what somebody may do with one secured column.
type permission struct {
	read, update, create bool
	unmasked             access.Unmasked
}

// fls5: what a Create or Write sets is unsecured, or permitted.
func (r Reference) fls5(q question) bool {
	for _, column := range q.columns {
		if !slices.Contains(r.secured(q.table), column) {
			continue
		}
		p := r.permission(q, column)
		if q.action == access.Create && !p.create || q.action == access.Write && !p.update {
			return false
		}
	}
	return true
}

// secured lists the secured columns of a table, by name.
func (r Reference) secured(t access.Table) []string {
	var out []string
	for _, c := range t.Columns {
		if fls8(t, c, len(t.Columns)) {
			out = append(out, c.Name)
		}
	}
	slices.Sort(out)
	return out
}

// fls8: a column is secured (FLS-1), or calculated from one that is, unless it is
// marked otherwise. Calculations that rest on each other end after as many steps
// as there are columns.
func fls8(t access.Table, c access.Column, steps int) bool {
	if c.Secured {
		return true
	}
	if c.Open || steps == 0 {
		return false
	}
	for _, from := range t.Columns {
		if slices.Contains(c.From, from.Name) && fls8(t, from, steps-1) {
			return true
		}
	}
	return false
}

// permission unites what the user's profiles and column shares give on a secured
// column, for the question's record if there is one.
func (r Reference) permission(q question, column string) permission {
	if fls9(q) {
		return permission{true, true, true, access.UnmaskedAllRecords}
	}
	var p permission
	for _, m := range r.State.ProfileMembers {
		if stands(m.Principal, q) {
			p = unite(p, r.fls2(m.Profile, q.table.ID, column))
		}
	}
	return unite(p, r.fls7(q, column))
}

// stands tells whether a principal is the user or a team of the user's, of
// whatever type.
func stands(p access.Principal, q question) bool {
	return p == q.user.ID.Principal() || slices.ContainsFunc(q.teams, func(t access.Team) bool { return t.ID.Principal() == p })
}

// fls2: what a profile allows on a column. One that does not exist allows nothing.
func (r Reference) fls2(id access.ProfileID, table access.TableID, column string) permission {
	var p permission
	for _, c := range r.State.Profiles[id].Columns {
		if c.Table == table && c.Column == column {
			one := permission{read: c.Read, update: c.Update, create: c.Create}
			if c.Read {
				one.unmasked = c.Unmasked
			}
			p = unite(p, one)
		}
	}
	return p
}

// fls7: what is shared of this column of this record.
func (r Reference) fls7(q question, column string) permission {
	var p permission
	if q.table.Ownership != access.UserOrTeam || q.record == nil || q.record.ID == "" {
		return p
	}
	for _, s := range r.State.ColumnShares {
		if s.Table != q.table.ID || s.Record != q.record.ID || s.Column != column {
			continue
		}
		if s.Principal.Kind == access.Everybody || stands(s.Principal, q) {
			one := permission{read: s.Read, update: s.Update}
			if s.Read {
				one.unmasked = access.UnmaskedOneRecord
			}
			p = unite(p, one)
		}
	}
	return p
}

// fls9: System Administrator has every permission.
func fls9(q question) bool {
	return slices.ContainsFunc(q.held, func(h held) bool {
		return h.role.All && (h.Bound == nil || h.Bound.All)
	})
}

func unite(a, b permission) permission {
	return permission{a.read || b.read, a.update || b.update, a.create || b.create, max(a.unmasked, b.unmasked)}
}

func intersect(a, b permission) permission {
	return permission{a.read && b.read, a.update && b.update, a.create && b.create, min(a.unmasked, b.unmasked)}
}
