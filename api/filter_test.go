package api_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
)

const filter = "/v1/environments/sales/filter"

// TestRule_EVAL_7_over_HTTP asks for a filter, puts it to a table of records in
// SQLite, and holds what it selects to check.
func TestRule_EVAL_7_over_HTTP(t *testing.T) {
	w := newWorld(t)
	w.put(
		access.BusinessUnit{Environment: sales, ID: "apac", Name: "APAC", Parent: "root", ManagedBy: access.ByFile},
		access.User{Environment: sales, ID: "dir:zoe", Login: "zoe", Name: "Zoe", BusinessUnit: "apac", Enabled: true, ManagedBy: access.ByMapping},
		access.Share{Environment: sales, Table: "account", Record: "4", Principal: access.UserID("dir:amelie").Principal(), Rights: access.RightsOf(access.Read), ManagedBy: access.ByAPI},
	)
	records := []api.Record{
		{ID: "1", Owner: "user:dir:amelie", BusinessUnit: "emea"},
		{ID: "2", Owner: "user:dir:carla", BusinessUnit: "emea"},
		{ID: "3", Owner: "user:dir:zoe", BusinessUnit: "apac"},
		{ID: "4", Owner: "user:dir:zoe", BusinessUnit: "apac"},
	}
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), `CREATE TABLE accounts (id TEXT PRIMARY KEY, owner TEXT, unit TEXT)`)
	require.NoError(t, err)
	for _, r := range records {
		_, err = db.ExecContext(t.Context(), `INSERT INTO accounts VALUES (?, ?, ?)`, r.ID, r.Owner, r.BusinessUnit)
		require.NoError(t, err)
	}
	for _, action := range []access.Action{access.Read, access.Write, access.Delete} {
		for _, user := range []string{"amelie", "zoe"} {
			t.Run(fmt.Sprint(user, " ", action), func(t *testing.T) {
				var f api.FilterAnswer
				w.as("app", "POST", filter, api.FilterQuestion{
					User: user, Action: action, Table: "account",
					SQL: &api.SQL{Dialect: engine.SQLite, Prefix: "a", ID: "id", Owner: "owner", BusinessUnit: "unit"},
				}).into(t, &f)
				args := make([]any, len(f.SQL.Args))
				for i, a := range f.SQL.Args {
					args[i] = a
				}
				rows, err := db.QueryContext(t.Context(), `SELECT id FROM accounts a WHERE `+f.SQL.Where+` ORDER BY id`, args...)
				require.NoError(t, err)
				defer rows.Close()
				var got, want []access.RecordID
				for rows.Next() {
					var id access.RecordID
					require.NoError(t, rows.Scan(&id))
					got = append(got, id)
				}
				require.NoError(t, rows.Err())
				for _, r := range records {
					var a api.Answer
					w.as("app", "POST", check, api.Question{User: user, Action: action, Table: "account", Record: &r}).into(t, &a)
					require.Equal(t, a.Revision, f.Revision)
					if a.Allowed {
						want = append(want, r.ID)
					}
				}
				require.Equal(t, want, got, "%+v", f)
				require.Equal(t, f.Reason == engine.Allowed, len(f.All) == 1)
			})
		}
	}
}

func TestFiltersThatAreNone(t *testing.T) {
	w := newWorld(t)
	ask := api.FilterQuestion{User: "amelie", Action: access.Read, Table: "account"}
	var f api.FilterAnswer
	w.as("amelie", "POST", filter, ask).into(t, &f)
	require.Equal(t, []api.FilterClause{{Users: []access.UserID{"dir:amelie"}, Teams: []access.TeamID{"default:emea"}, BusinessUnits: []access.BusinessUnitID{"emea"}}}, f.All)
	require.Equal(t, http.StatusForbidden, w.as("bruno", "POST", filter, ask).status)
	ask.Action = access.Delete
	w.as("app", "POST", filter, ask).into(t, &f)
	require.Equal(t, engine.NoPrivilege, f.Reason, "a deny is a filter that selects nothing")
	require.Empty(t, f.All)
	for name, q := range map[string]api.FilterQuestion{
		"create":                     {User: "amelie", Action: access.Create, Table: "account"},
		"an unknown table":           {User: "amelie", Action: access.Read, Table: "nothing"},
		"an unknown user":            {User: "nobody", Action: access.Read, Table: "account"},
		"a dialect that is none":     {User: "amelie", Action: access.Read, Table: "account", SQL: &api.SQL{Dialect: "csv", ID: "id", Owner: "owner", BusinessUnit: "unit"}},
		"a column that is missing":   {User: "amelie", Action: access.Read, Table: "account", SQL: &api.SQL{Dialect: engine.SQLite, ID: "id", Owner: "owner"}},
		"a column that is a command": {User: "amelie", Action: access.Read, Table: "account", SQL: &api.SQL{Dialect: engine.SQLite, ID: "id) OR (1=1", Owner: "owner", BusinessUnit: "unit"}},
	} {
		got := w.as("app", "POST", filter, q)
		require.Equal(t, "urn:ambit:problem:cannot-judge", got.problem(t).Type, name)
	}
}
