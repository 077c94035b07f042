package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
)

const who = "/v1/environments/sales/who"

func TestWhoOverHTTP(t *testing.T) {
	w := newWorld(t)
	every := func(q api.WhoQuestion) (ids []string) {
		for range 10 {
			var a api.WhoAnswer
			w.as("app", "POST", who, q).into(t, &a)
			require.LessOrEqual(t, len(a.Users), max(q.Limit, 1))
			for _, u := range a.Users {
				ids = append(ids, u.ID)
				require.NotEmpty(t, u.Name)
				require.Equal(t, q.Origins, len(u.Origins) > 0)
			}
			if q.Cursor = a.NextCursor; q.Cursor == "" {
				return ids
			}
		}
		t.Fatal("the pages have no end")
		return nil
	}
	record := &api.Record{ID: "1", Owner: "user:carla"}
	for limit := 1; limit < 6; limit++ {
		require.Equal(t, []string{"dir:amelie", "dir:bruno", "dir:carla", "dir:dora"}, every(api.WhoQuestion{Action: access.Read, Table: "account", Record: record, Limit: limit, Origins: limit%2 == 0}))
		require.Equal(t, []string{"dir:carla"}, every(api.WhoQuestion{Action: access.Write, Table: "account", Record: record, Limit: limit}))
		require.Empty(t, every(api.WhoQuestion{Action: access.Delete, Table: "account", Limit: limit}))
		require.Empty(t, every(api.WhoQuestion{Privilege: "ExportToExcel", Limit: limit}))
	}
	q := api.WhoQuestion{Action: access.Read, Table: "account", Limit: 1}
	var a api.WhoAnswer
	w.as("app", "POST", who, q).into(t, &a)
	q.Cursor, q.Action = a.NextCursor, access.Write
	require.Equal(t, "urn:ambit:problem:cursor-invalid", w.as("app", "POST", who, q).problem(t).Type)
	require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", who, api.WhoQuestion{Action: access.Read, Table: "account"}).status)
	for name, q := range map[string]api.WhoQuestion{
		"an unknown table": {Action: access.Read, Table: "nothing"},
		"an unknown owner": {Action: access.Read, Table: "account", Record: &api.Record{Owner: "user:nobody"}},
		"nothing at all":   {},
	} {
		require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", who, q).problem(t).Type, name)
	}
}

// secure gives accounts a secured column that a profile lets amelie read, masked.
func secure(w *world) {
	w.put(
		access.Table{Environment: sales, ID: "account", Name: "Account", ManagedBy: access.ByFile, Columns: []access.Column{
			{Name: "iban", Secured: true, Mask: &access.Mask{Pattern: `\w{4}$`, Replace: "****"}}, {Name: "rating", Secured: true},
		}},
		access.Profile{Environment: sales, ID: "bankers", Name: "Bankers", ManagedBy: access.ByAPI, Columns: []access.ProfileColumn{
			{Table: "account", Column: "iban", Read: true, Unmasked: access.UnmaskedOneRecord}, {Table: "account", Column: "rating", Update: true},
		}},
		access.ProfileMember{Environment: sales, Profile: "bankers", Principal: access.UserID("dir:amelie").Principal(), ManagedBy: access.ByAPI},
	)
}

func TestColumnsOverHTTP(t *testing.T) {
	w := newWorld(t)
	secure(w)
	const columns = "/v1/environments/sales/columns"
	own := &api.Record{ID: "1", Owner: "user:amelie"}
	var a api.ColumnsAnswer
	w.as("amelie", "POST", columns, api.Question{User: "amelie", Table: "account", Action: access.Read, Record: own}).into(t, &a)
	require.Len(t, a.Columns, 2)
	iban, rating := a.Columns[0], a.Columns[1]
	require.True(t, iban.Read)
	require.Equal(t, engine.Clear, iban.Shown)
	require.Equal(t, engine.Masked, iban.ShownInList)
	require.Equal(t, "****", iban.Mask.Replace)
	require.False(t, iban.Update)
	require.Equal(t, engine.Withheld, rating.Shown)
	require.True(t, rating.Update)

	w.as("app", "POST", columns, api.Question{User: "bruno", Table: "account", Action: access.Read, Record: own}).into(t, &a)
	require.Equal(t, engine.Withheld, a.Columns[0].Shown)
	require.Equal(t, http.StatusForbidden, w.as("bruno", "POST", columns, api.Question{User: "amelie", Table: "account"}).status)
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", columns, api.Question{User: "amelie", Table: "nothing"}).problem(t).Type)
}

func TestRule_FLS_5_over_HTTP(t *testing.T) {
	w := newWorld(t)
	secure(w)
	ask := func(columns ...string) (a api.Answer) {
		w.as("app", "POST", check, api.Question{User: "amelie", Table: "account", Action: access.Write, Record: &api.Record{ID: "1", Owner: "user:amelie"}, Columns: columns}).into(t, &a)
		return a
	}
	require.True(t, ask("rating", "title").Allowed)
	denied := ask("rating", "title", "iban")
	require.Equal(t, engine.NoColumnAccess, denied.Reason)
	require.Equal(t, []string{"iban"}, denied.Columns, "the columns are named")
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", check, api.Question{User: "amelie", Table: "account", Action: access.Delete, Columns: []string{"iban"}}).problem(t).Type)

	var one struct{ Decision bool }
	w.as("app", "POST", "/pdp/sales/access/v1/evaluation", object{
		"subject": object{"type": "user", "id": "amelie"}, "action": object{"name": "write", "properties": object{"columns": []string{"iban"}}},
		"resource": object{"type": "account", "id": "1", "properties": object{"owner": "user:amelie"}},
	}).into(t, &one)
	require.False(t, one.Decision)

	var f api.FilterAnswer
	w.as("app", "POST", filter, api.FilterQuestion{User: "amelie", Table: "account", Action: access.Read, By: []string{"iban"}}).into(t, &f)
	require.Equal(t, engine.NoColumnAccess, f.Reason, "Rule FLS-6")
}

// Both are judged, and the answer tells whose the reason is.
func TestRule_ACC_4_over_HTTP(t *testing.T) {
	w := newWorld(t)
	q := api.Question{User: "amelie", Impersonator: "bruno", Action: access.Read, Table: "account"}
	var a api.Answer
	w.as("app", "POST", check, q).into(t, &a)
	require.Equal(t, engine.MayNotImpersonate, a.Reason)
	require.True(t, a.OfImpersonator)
	w.put(
		access.Role{Environment: sales, ID: "delegate", Name: "Delegate", BusinessUnit: "root", Miscellaneous: []string{engine.ActOnBehalf}, ManagedBy: access.ByFile},
		access.Assignment{Environment: sales, ID: "delegate", Role: "delegate", Principal: access.UserID("dir:bruno").Principal(), BusinessUnit: "emea", ManagedBy: access.ByFile},
	)
	w.as("app", "POST", check, q).into(t, &a)
	require.True(t, a.Allowed)
}

// Nothing is judged in an environment whose key is gone, and that is no deny.
func TestRule_CMK_3_over_HTTP(t *testing.T) {
	w := newWorld(t)
	w.put(access.Environment{ID: sales, Name: "Sales", Locked: true, ManagedBy: access.ByFile})
	q := api.Question{User: "amelie", Action: access.Read, Table: "account"}
	for _, verb := range []string{"check", "explain", "rights", "columns"} {
		got := w.as("app", "POST", "/v1/environments/sales/"+verb, q)
		require.Equal(t, http.StatusLocked, got.status, verb)
		require.Equal(t, "urn:ambit:problem:environment-locked", got.problem(t).Type)
	}
	require.Equal(t, http.StatusLocked, w.as("app", "POST", filter, api.FilterQuestion{User: "amelie", Action: access.Read, Table: "account"}).status)
	require.Equal(t, http.StatusLocked, w.as("app", "POST", who, api.WhoQuestion{Action: access.Read, Table: "account"}).status)
	require.Equal(t, http.StatusLocked, w.as("app", "GET", "/v1/environments/sales/users/amelie/access", nil).status)
}
