// Package filtertest puts what the engine's filters select, as SQL on both
// databases, to the test: exactly the records for which Check allows (Rule
// EVAL-7).
package filtertest

import (
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// database is an application's own, with one table of records.
type database struct {
	*sql.DB
	dialect engine.Dialect
	// columns: SQLite has kind and id of the owner apart, PostgreSQL together.
	columns engine.SQLColumns
}

func databases(t *testing.T) []database {
	open := func(driver, dsn string, dialect engine.Dialect, c engine.SQLColumns) database {
		db, err := sql.Open(driver, dsn)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		db.SetMaxOpenConns(1)
		_, err = db.Exec(`CREATE TABLE records (id text, owner_kind text, owner_id text, owner text, unit text)`)
		require.NoError(t, err)
		return database{db, dialect, c}
	}
	return []database{
		open("sqlite", filepath.Join(t.TempDir(), "app.db")+"?_pragma=synchronous(off)", engine.SQLite, engine.SQLColumns{
			ID: "id", OwnerKind: "owner_kind", Owner: "owner_id", BusinessUnit: "unit",
		}),
		open("postgres", rig.Database(t)+" sslmode=disable", engine.PostgreSQL, engine.SQLColumns{
			Prefix: "r", ID: "id", Owner: "owner", BusinessUnit: "unit", Parameters: 1,
		}),
	}
}

// fill makes the table's records those.
func (db database) fill(t *testing.T, records []engine.Record) {
	_, err := db.Exec("DELETE FROM records")
	require.NoError(t, err)
	if len(records) == 0 {
		return
	}
	var rows []string
	var args []any
	for _, r := range records {
		n := len(args)
		rows = append(rows, fmt.Sprintf("($%d, $%d, $%d, $%d, $%d)", n+1, n+2, n+3, n+4, n+5))
		kind, id, both := sql.NullString{}, sql.NullString{}, sql.NullString{}
		if r.Owner != (access.Principal{}) {
			kind, id, both = text(r.Owner.Kind.String()), text(r.Owner.ID), text(r.Owner.String())
		}
		unit := text(string(r.BusinessUnit))
		unit.Valid = unit.String != ""
		args = append(args, string(r.ID), kind, id, both, unit)
	}
	_, err = db.Exec("INSERT INTO records VALUES "+strings.Join(rows, ", "), args...)
	require.NoError(t, err)
}

func text(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }

// selected lists the ids of the records that the filter selects, sorted.
func (db database) selected(t *testing.T, f engine.Filter) []string {
	where, args, err := f.SQL(db.dialect, db.columns)
	require.NoError(t, err)
	if db.columns.Parameters == 1 {
		where, args = "r.id <> $1 AND "+where, append([]any{"no such id"}, args...)
	}
	rows, err := db.Query("SELECT id FROM records r WHERE "+where, args...)
	require.NoError(t, err, "%s\n%v", where, args)
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		out = append(out, id)
	}
	require.NoError(t, rows.Err())
	slices.Sort(out)
	return out
}

// records are some that can be judged, those of the ids that shares name among
// them.
func records(p enginetest.Pick, st *access.State, table access.TableID) []engine.Record {
	ref := enginetest.Reference{State: st}
	var out []engine.Record
	for i := range 40 {
		r := enginetest.Facts(p, st, table)
		r.ID = access.RecordID(fmt.Sprint("x", i))
		q := engine.Question{User: slices.Min(slices.Collect(maps.Keys(st.Users))), Action: access.Read, Table: table, Record: &r, At: enginetest.Instant(p)}
		facts, err := ref.Facts(q)
		if err == nil {
			r.Owner, r.BusinessUnit = facts.Owner, facts.BusinessUnit
			out = append(out, r)
		}
	}
	return out
}

func TestRule_EVAL_7_BothDatabasesSelectWhatCheckAllows(t *testing.T) {
	all := databases(t)
	asked, some, shares := 0, 0, 0
	first, organisations, last := uint64(0), uint64(60), time.Time{}
	if s := os.Getenv("AMBIT_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err, "AMBIT_SOAK must be a duration, such as 10m")
		first, organisations, last = rand.Uint64()>>1, 1<<62, time.Now().Add(d)
		t.Logf("from seed %d for %v", first, d)
	}
	for seed := first; seed < first+organisations && (last.IsZero() || time.Now().Before(last)); seed++ {
		p := enginetest.Pick(rand.New(rand.NewPCG(seed, 7)).IntN)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		ref := enginetest.Reference{State: st, Revision: 1}
		for _, table := range slices.Sorted(maps.Keys(st.Tables)) {
			if p(3) > 0 && table != "account" {
				continue
			}
			rows := records(p, st, table)
			for _, db := range all {
				db.fill(t, rows)
			}
			for range 12 {
				q := enginetest.Question(p, st)
				q.Table, q.Record, q.Privilege, q.Columns = table, nil, "", nil
				if q.Action == access.Create {
					q.Action = access.Read
				}
				f, err := s.Filter(engine.FilterQuestion{User: q.User, Action: q.Action, Table: table, At: q.At, Channel: q.Channel, Impersonator: q.Impersonator})
				want := []string{}
				for _, r := range rows {
					q.Record = &r
					d, checkErr := ref.Check(q)
					require.Equal(t, checkErr != nil, err != nil, "%v, %v", checkErr, err)
					if d.Allowed {
						want = append(want, string(r.ID))
					}
					if err == nil {
						require.Equal(t, d.Allowed, f.Selects(r), "seed %d: %+v\n%+v\n%+v", seed, q, r, f)
					}
				}
				if err != nil {
					continue
				}
				slices.Sort(want)
				for _, db := range all {
					require.Equal(t, want, db.selected(t, f), "%s, seed %d: %+v", db.dialect, seed, q)
				}
				asked++
				if len(want) > 0 && len(want) < len(rows) {
					some++
				}
				for _, c := range f.All {
					shares += len(c.Records)
				}
			}
		}
	}
	t.Logf("%d filters, %d of them select a part, by %d shares", asked, some, shares)
	if !last.IsZero() {
		return
	}
	require.Greater(t, some, asked/12)
	require.Greater(t, shares, 20)
}

func TestTheTablesDecideAlikeAsFilters(t *testing.T) {
	tables, err := enginetest.Tables("../../testdata/decisions")
	require.NoError(t, err)
	all := databases(t)
	asked := 0
	for _, table := range tables {
		for _, c := range table.Cases {
			q := c.Question
			if c.Answer == engine.Unknown || c.Ruling != nil || c.FilteredBy != nil || q.Record == nil || q.Action == access.Create || len(q.Columns) > 0 {
				continue
			}
			asked++
			t.Run(table.File+"/"+c.Name, func(t *testing.T) {
				s, err := engine.New(c.State, 1)
				require.NoError(t, err)
				f, err := s.Filter(engine.FilterQuestion{User: q.User, Action: q.Action, Table: q.Table, At: q.At, Channel: q.Channel, Impersonator: q.Impersonator})
				require.NoError(t, err)
				facts, err := enginetest.Reference{State: c.State}.Facts(q)
				require.NoError(t, err)
				r := engine.Record{ID: facts.ID, Owner: facts.Owner, BusinessUnit: facts.BusinessUnit}
				require.Equal(t, c.Answer == engine.Allowed, f.Selects(r))
				for _, db := range all {
					db.fill(t, []engine.Record{r})
					require.Len(t, db.selected(t, f), map[bool]int{true: 1}[c.Answer == engine.Allowed], db.dialect)
				}
			})
		}
	}
	require.Greater(t, asked, 150)
}

// Names are the application's and the directory's: whatever they hold, they reach
// the database as arguments.
func TestNamesAreNoSQL(t *testing.T) {
	all := databases(t)
	names := []string{`o'hara`, `a"b`, `c\d`, `{x,y}`, `null`, `NULL`, `Zoë 😀`, `' OR 1=1 --`, `%_`, ` `, `$1`, `?`, `[1]`, "tab\t"}
	st := access.NewState("e")
	st.Environment.Modernized = true
	put := func(o access.Object) { st.Apply(access.Put(o)) }
	put(access.BusinessUnit{Environment: "e", ID: "root"})
	put(access.Table{Environment: "e", ID: "account"})
	for inheritance, depth := range []access.Depth{access.Basic, access.Local} {
		put(access.Role{
			Environment: "e", ID: access.RoleID(depth.String()), BusinessUnit: "root", Inheritance: access.Inheritance(inheritance),
			Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: depth}},
		})
	}
	put(access.User{Environment: "e", ID: "other", BusinessUnit: "root", Enabled: true})
	for _, n := range names {
		u, unit := access.UserID(n), access.BusinessUnitID(n)
		put(access.BusinessUnit{Environment: "e", ID: unit, Parent: "root"})
		put(access.User{Environment: "e", ID: u, BusinessUnit: unit, Enabled: true})
		put(access.Team{Environment: "e", ID: access.TeamID(n), BusinessUnit: "root"})
		put(access.Membership{Environment: "e", Team: access.TeamID(n), User: u})
		put(access.Assignment{Environment: "e", ID: access.AssignmentID("own " + n), Role: "user", Principal: u.Principal(), BusinessUnit: unit})
		put(access.Assignment{Environment: "e", ID: access.AssignmentID("unit " + n), Role: "business_unit", Principal: u.Principal(), BusinessUnit: unit})
		put(access.Share{Environment: "e", Table: "account", Record: access.RecordID(n), Principal: u.Principal(), Rights: access.RightsOf(access.Read)})
	}
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	var rows []engine.Record
	add := func(id string, owner access.Principal, unit access.BusinessUnitID) {
		rows = append(rows, engine.Record{ID: access.RecordID(id), Owner: owner, BusinessUnit: unit})
	}
	for i, n := range names {
		add(fmt.Sprint("owned ", i), access.UserID(n).Principal(), "root")
		add(fmt.Sprint("team's ", i), access.TeamID(n).Principal(), "root")
		add(fmt.Sprint("in unit ", i), access.UserID("other").Principal(), access.BusinessUnitID(n))
		add(n, access.UserID("other").Principal(), "root")
	}
	for _, db := range all {
		db.fill(t, rows)
	}
	for i, n := range names {
		f, err := s.Filter(engine.FilterQuestion{User: access.UserID(n), Action: access.Read, Table: "account", At: enginetest.Instant(func(int) int { return 0 })})
		require.NoError(t, err)
		want := []string{fmt.Sprint("in unit ", i), fmt.Sprint("owned ", i), fmt.Sprint("team's ", i), n}
		slices.Sort(want)
		for _, db := range all {
			require.Equal(t, want, db.selected(t, f), "%s: %q", db.dialect, n)
		}
	}
}
