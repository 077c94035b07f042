package main

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// The application's table: a million records of 50,000 users and 5,000 teams in
// 10,000 business units, with an index for each kind of access.
const (
	filterRows  = 1_000_000
	filterUnits = 10_000
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record is what the table says of its i-th record. A million has no factor in
// common with the primes, so that each owner and unit has about as many.
func recordOwner(i int) access.Principal {
	if i%5 == 0 {
		return access.TeamID(fmt.Sprint("team-", i/5*7919%5_000)).Principal()
	}
	return access.UserID(fmt.Sprint("corp:", i*104_729%50_000)).Principal()
}

// someones are users who reach records in different ways, by name.
func someones(b *testing.B) (*engine.Snapshot, []access.UserID) {
	st := access.NewState("e")
	put := func(o access.Object) { st.Apply(access.Put(o)) }
	put(access.Environment{ID: "e", Modernized: true})
	for i := range filterUnits {
		u := access.BusinessUnit{Environment: "e", ID: access.BusinessUnitID(fmt.Sprint("unit-", i))}
		if i > 0 {
			u.Parent = access.BusinessUnitID(fmt.Sprint("unit-", (i-1)/4))
		}
		put(u)
	}
	put(access.Table{Environment: "e", ID: "account"})
	for d := access.Basic; d <= access.Deep; d++ {
		put(access.Role{Environment: "e", ID: access.RoleID(d.String()), Name: d.String(), BusinessUnit: "unit-0", Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: d}}})
	}
	var users []access.UserID
	add := func(name string, d access.Depth, unit string, teams, shares int) {
		u := access.UserID(name)
		users = append(users, u)
		put(access.User{Environment: "e", ID: u, Login: name, BusinessUnit: "unit-0", Enabled: true})
		put(access.Assignment{Environment: "e", ID: access.AssignmentID(name), Role: access.RoleID(d.String()), Principal: u.Principal(), BusinessUnit: access.BusinessUnitID(unit)})
		for i := range teams {
			id := access.TeamID(fmt.Sprint("team-", i))
			put(access.Team{Environment: "e", ID: id, Name: string(id), BusinessUnit: "unit-0"})
			put(access.Membership{Environment: "e", Team: id, User: u})
		}
		for i := range shares {
			put(access.Share{Environment: "e", Table: "account", Record: access.RecordID(fmt.Sprint("record-", i*997)), Principal: u.Principal(), Rights: access.RightsOf(access.Read)})
		}
	}
	add("corp:10", access.Basic, "unit-0", 4, 10)
	add("corp:11", access.Local, "unit-7", 4, 10)
	add("corp:12", access.Deep, "unit-7", 4, 10)    // a twentieth of the units
	add("corp:13", access.Deep, "unit-2", 4, 10)    // a quarter
	add("corp:14", access.Basic, "unit-0", 1000, 0) // in many teams
	add("corp:15", access.Basic, "unit-0", 4, 5000) // with much shared
	add("corp:16", access.Deep, "unit-1", 1000, 10) // in many teams, and with three quarters of the units
	for _, unit := range []access.BusinessUnitID{"unit-2", "unit-3"} {
		put(access.Assignment{
			Environment: "e", ID: access.AssignmentID("corp:16 in " + unit), Role: access.RoleID(access.Deep.String()), Principal: access.UserID("corp:16").Principal(), BusinessUnit: unit,
		})
	}
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	return s, users
}

// byHand writes the condition as somebody would who had looked up the user's
// teams, units and shares.
func byHand(f engine.Filter) string {
	var or []string
	in := func(before, column string, values []string) {
		if len(values) > 0 {
			or = append(or, before+column+" IN ('"+strings.Join(values, "', '")+"')")
		}
	}
	c := f.All[0]
	in("owner_kind = 'user' AND ", "owner", strs(c.Users))
	in("owner_kind = 'team' AND ", "owner", strs(c.Teams))
	var units []string
	for _, r := range c.Units {
		units = append(units, strs(r.IDs())...)
	}
	in("", "unit", units)
	in("", "id", strs(c.Records))
	return "(" + strings.Join(or, " OR ") + ")"
}

func strs[T ~string](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

// BenchmarkFilterQuery reports how many times as long the queries with a filter's
// condition take as those written by hand for the same rows, at most: all rows
// are read, and the first 50 by id.
func BenchmarkFilterQuery(b *testing.B) {
	s, users := someones(b)
	for _, place := range []struct {
		name    string
		dialect engine.Dialect
		open    func(b *testing.B) *sql.DB
	}{
		{"sqlite", engine.SQLite, func(b *testing.B) *sql.DB {
			return open(b, "sqlite", filepath.Join(b.TempDir(), "app.db")+"?_pragma=cache_size(-200000)&_pragma=synchronous(off)")
		}},
		{"postgres", engine.PostgreSQL, func(b *testing.B) *sql.DB {
			return open(b, "postgres", rig.Database(b)+" sslmode=disable")
		}},
	} {
		b.Run(place.name, func(b *testing.B) {
			db := place.open(b)
			fillRecords(b, db, place.dialect)
			var most float64
			for b.Loop() {
				for _, u := range users {
					f, err := s.Filter(engine.FilterQuestion{User: u, Action: access.Read, Table: "account", At: noon})
					require.NoError(b, err)
					where, args, err := f.SQL(place.dialect, engine.SQLColumns{ID: "id", OwnerKind: "owner_kind", Owner: "owner", BusinessUnit: "unit"})
					require.NoError(b, err)
					for _, query := range []string{
						"SELECT count(*), sum(length(payload)) FROM record WHERE %s",
						"SELECT count(*), sum(length(payload)) FROM (SELECT * FROM record WHERE %s ORDER BY id LIMIT 50) AS page",
					} {
						rows, filter, hand := compare(b, db, fmt.Sprintf(query, where), args, fmt.Sprintf(query, byHand(f)))
						b.Logf("%s: %d rows: %v, by hand %v: %.2f", u, rows, filter, hand, float64(filter)/float64(hand))
						most = max(most, float64(filter)/float64(hand))
					}
				}
			}
			b.ReportMetric(most, "by-hand")
		})
	}
}

func open(b *testing.B, driver, dsn string) *sql.DB {
	db, err := sql.Open(driver, dsn)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	db.SetMaxOpenConns(1)
	return db
}

func fillRecords(b *testing.B, db *sql.DB, d engine.Dialect) {
	exec := func(statement string, args ...any) {
		_, err := db.ExecContext(b.Context(), statement, args...)
		require.NoError(b, err)
	}
	exec("CREATE TABLE record (id text PRIMARY KEY, owner_kind text NOT NULL, owner text NOT NULL, unit text NOT NULL, payload text NOT NULL)")
	exec("BEGIN")
	const batch = 1_000
	for from := 0; from < filterRows; from += batch {
		var values []string
		for i := from; i < from+batch; i++ {
			o := recordOwner(i)
			values = append(values, fmt.Sprintf("('record-%d', '%s', '%s', 'unit-%d', 'what the record says, at some length: %[1]d')", i, o.Kind, o.ID, i*3_571%filterUnits))
		}
		exec("INSERT INTO record VALUES " + strings.Join(values, ", "))
	}
	exec("COMMIT")
	exec("CREATE INDEX record_owner ON record (owner)")
	exec("CREATE INDEX record_unit ON record (unit)")
	if d == engine.PostgreSQL {
		exec("VACUUM record")
	}
	exec("ANALYZE")
}

// compare runs both queries in turn and returns the median times.
func compare(b *testing.B, db *sql.DB, query string, args []any, byHand string) (rows int, filter, hand time.Duration) {
	var filters, hands []time.Duration
	run := func(query string, args ...any) (time.Duration, [2]sql.NullInt64) {
		var n [2]sql.NullInt64
		start := time.Now()
		require.NoError(b, db.QueryRowContext(b.Context(), query, args...).Scan(&n[0], &n[1]))
		return time.Since(start), n
	}
	for range 9 {
		f, n := run(query, args...)
		h, m := run(byHand)
		require.Equal(b, m, n, "the same rows")
		filters, hands, rows = append(filters, f), append(hands, h), int(n[0].Int64)
	}
	slices.Sort(filters)
	slices.Sort(hands)
	return rows, filters[len(filters)/2], hands[len(hands)/2]
}
