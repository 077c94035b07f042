package engine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/ambit-iam/ambit/access"
)

// Dialect is a database's way of writing SQL.
type Dialect string

// The dialects.
const (
	SQLite     Dialect = "sqlite"
	PostgreSQL Dialect = "postgresql"
)

// SQLColumns says where the application's table keeps what a filter speaks of.
// Names are as the database has them: letters, digits and "_", no digit first.
type SQLColumns struct {
	// Prefix, if set, is the table's name or alias, which is put before each column.
	Prefix string
	// ID holds the record's id, as in shares.
	ID string
	// OwnerKind and Owner hold the owner: "user" or "team", and the id. Without
	// OwnerKind, Owner holds both, as access.Principal.String writes them.
	OwnerKind, Owner string
	// BusinessUnit holds the owning unit's id.
	BusinessUnit string
	// Parameters is how many placeholders the statement has before these; PostgreSQL
	// numbers them.
	Parameters int
}

// SQL renders the filter as a condition for a WHERE clause, in parentheses where
// it needs them, with the arguments of its placeholders in order. An index on the
// owner, one on the unit and one on the id serve it.
//
// A list is one argument in PostgreSQL, an array's text, whose type the column
// gives; in SQLite a long one is a JSON array.
//
// For tables of kind user_or_team ID, Owner and BusinessUnit must be set; for
// those of kind business_unit BusinessUnit; otherwise none.
func (f Filter) SQL(d Dialect, c SQLColumns) (where string, args []any, err error) {
	w := sqlWriter{dialect: d, columns: c}
	if f.of != nil {
		w.units = f.of.unitCount()
	}
	if d != SQLite && d != PostgreSQL {
		return "", nil, fmt.Errorf("%w SQL dialect %q", ErrUnknown, d)
	}
	owned := f.kind == access.UserOrTeam
	for _, x := range []struct {
		what, name string
		optional   bool
		to         *string
	}{
		{"record's id", c.ID, !owned, &w.id},
		{"owner's kind", c.OwnerKind, true, &w.ownerKind},
		{"owner", c.Owner, !owned, &w.owner},
		{"owning business unit", c.BusinessUnit, !owned && f.kind != access.BusinessUnitOwned, &w.unit},
	} {
		if *x.to, err = w.column(x.name); x.name == "" && x.optional {
			err = nil
		}
		if err != nil {
			return "", nil, fmt.Errorf("column of the %s: %w", x.what, err)
		}
	}
	if f.Reason != Allowed {
		return nothing, nil, nil
	}
	var all []string
	for i := range f.All {
		if clause := w.clause(&f.All[i]); clause != everything {
			all = append(all, clause)
		}
	}
	if len(all) == 0 {
		return everything, nil, nil
	}
	return strings.Join(all, " AND "), w.args, nil
}

// Both databases see that nothing is to be looked for.
const (
	everything = "1 = 1"
	nothing    = "1 = 0"
)

type sqlWriter struct {
	dialect                    Dialect
	columns                    SQLColumns
	id, ownerKind, owner, unit string // quoted
	units                      int    // of the tree
	args                       []any
}

// column quotes a column's name. SQLite reads a name in double quotes that it does
// not know as a string, so it gets brackets.
func (w *sqlWriter) column(name string) (string, error) {
	parts := []string{name}
	if w.columns.Prefix != "" {
		parts = []string{w.columns.Prefix, name}
	}
	for i, p := range parts {
		if !identifier(p) {
			return "", fmt.Errorf("%w: %q is no name of a column or table", ErrQuestion, p)
		}
		if parts[i] = `"` + p + `"`; w.dialect == SQLite {
			parts[i] = "[" + p + "]"
		}
	}
	return strings.Join(parts, "."), nil
}

func identifier(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (i == 0 || r < '0' || '9' < r) {
			return false
		}
	}
	return s != ""
}

func (w *sqlWriter) clause(c *Clause) string {
	if c.Everything {
		return everything
	}
	var ways []string
	add := func(column string, values []string) {
		if len(values) > 0 {
			ways = append(ways, w.in(column, values))
		}
	}
	if w.ownerKind == "" {
		var owners []string
		for _, u := range c.Users {
			owners = append(owners, u.Principal().String())
		}
		for _, t := range c.Teams {
			owners = append(owners, t.Principal().String())
		}
		add(w.owner, owners)
	} else {
		for _, o := range []struct {
			kind access.PrincipalKind
			ids  []string
		}{{access.UserPrincipal, text(c.Users)}, {access.TeamPrincipal, text(c.Teams)}} {
			if len(o.ids) > 0 {
				kind := w.in(w.ownerKind, []string{o.kind.String()})
				ways = append(ways, "("+kind+" AND "+w.in(w.owner, o.ids)+")")
			}
		}
	}
	units := text(c.unitIDs())
	if w.dialect == SQLite && len(units) > few && 3*len(units) >= w.units {
		// SQLite takes a list that it cannot count for a short one: it would look up
		// so many rows by the index that to read all would be faster.
		add("+"+w.unit, units)
	} else {
		add(w.unit, units)
	}
	add(w.id, text(c.Records))
	switch len(ways) {
	case 0:
		return nothing
	case 1:
		return ways[0]
	}
	return "(" + strings.Join(ways, " OR ") + ")"
}

func text[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// few values at most are a placeholder each in SQLite, which plans for their
// number. A statement has 32,766 at most, and eight lists come together at most.
const few = 4_000

// in compares the column with the values.
func (w *sqlWriter) in(column string, values []string) string {
	switch {
	case len(values) == 1:
		return column + " = " + w.arg(values[0])
	case w.dialect == PostgreSQL:
		return column + " = ANY(" + w.arg(arrayText(values)) + ")"
	case len(values) > few:
		b, err := json.Marshal(values)
		if err != nil {
			panic("internal error: " + err.Error()) // strings always marshal
		}
		return column + " IN (SELECT value FROM json_each(" + w.arg(string(b)) + "))"
	}
	places := make([]string, len(values))
	for i, v := range values {
		places[i] = w.arg(v)
	}
	return column + " IN (" + strings.Join(places, ", ") + ")"
}

// arg keeps the value and writes its placeholder.
func (w *sqlWriter) arg(v string) string {
	w.args = append(w.args, v)
	if w.dialect == PostgreSQL {
		return "$" + strconv.Itoa(w.columns.Parameters+len(w.args))
	}
	return "?"
}

// arrayText writes an array as PostgreSQL reads it.
func arrayText(values []string) string {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for i, v := range values {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteByte('"')
		_, _ = escape.WriteString(&b, v)
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
