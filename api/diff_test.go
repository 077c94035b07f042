package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
)

const diff = "/v1/environments/sales/diff"

func raw(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

func supposed(kind access.Kind, o json.RawMessage) *api.SupposedObject {
	return &api.SupposedObject{Kind: kind, Object: o}
}

func TestDiffTellsWhatChangesWouldDo(t *testing.T) {
	w := newWorld(t)
	before := w.tenant.Revision()
	ask := func(s api.Supposition) (d api.Difference) {
		w.as("app", "POST", diff, s).into(t, &d)
		require.Equal(t, before, w.tenant.Revision(), "nothing is written")
		require.Equal(t, before, d.Revision)
		require.True(t, d.Hypothetical)
		return d
	}
	t.Run("a role given", func(t *testing.T) {
		d := ask(api.Supposition{Changes: []api.Supposed{{Give: &api.SupposedGrant{Role: "Sales Manager", To: "user:dora"}}}})
		require.Len(t, d.Users, 1)
		require.Equal(t, "dora", d.Users[0].Login)
		require.Contains(t, d.Users[0].Gained, engine.Access{Table: "account", Action: access.Delete, Depth: access.Local, BusinessUnit: engine.Named{ID: "emea", Name: "EMEA"}})
		require.Empty(t, d.Users[0].Lost)
		require.NotEmpty(t, d.Text)
	})
	t.Run("a role given for a time that is not now", func(t *testing.T) {
		give := &api.SupposedGrant{Role: "manager", To: "user:dir:dora", BusinessUnit: "EMEA", Start: w.tenant.Now().Add(time.Hour)}
		require.Empty(t, ask(api.Supposition{Changes: []api.Supposed{{Give: give}}}).Users)
		require.Len(t, ask(api.Supposition{Changes: []api.Supposed{{Give: give}}, Moment: api.Moment{At: w.tenant.Now().Add(2 * time.Hour)}}).Users, 1)
	})
	t.Run("a role edited", func(t *testing.T) {
		edit := &api.SupposedEdit{Role: "salesperson", Miscellaneous: []string{"ExportToExcel"}, Privileges: []access.Privilege{
			{Table: "account", Action: access.Read, Depth: access.Global}, {Table: "account", Action: access.Write},
		}}
		d := ask(api.Supposition{Changes: []api.Supposed{{Edit: edit}}, Limit: 2})
		require.Len(t, d.Users, 2)
		require.True(t, d.More)
		for _, l := range d.Summary {
			require.Equal(t, 4, l.Users, "the summary is of all")
		}
		require.Len(t, d.Users[0].Gained, 2)
		require.Len(t, d.Users[0].Lost, 1)
	})
	t.Run("objects put and deleted", func(t *testing.T) {
		d := ask(api.Supposition{Changes: []api.Supposed{
			{Put: supposed(access.KindTeam, raw(t, object{"id": "desk", "name": "Desk", "business_unit": "root"}))},
			{Put: supposed(access.KindMembership, raw(t, object{"team": "desk", "user": "dir:carla"}))},
			{Put: supposed(access.KindAssignment, raw(t, object{"id": "x", "role": "manager", "principal": object{"kind": "team", "id": "desk"}, "business_unit": "root"}))},
			{Delete: supposed(access.KindAssignment, raw(t, object{"id": "sales-bruno"}))},
		}})
		require.Len(t, d.Users, 2)
		require.Equal(t, access.UserID("dir:bruno"), d.Users[0].User)
		require.NotEmpty(t, d.Users[0].Lost)
		require.Equal(t, access.UserID("dir:carla"), d.Users[1].User)
		require.NotEmpty(t, d.Users[1].Gained)
	})
	t.Run("columns", func(t *testing.T) {
		d := ask(api.Supposition{Changes: []api.Supposed{
			{Put: supposed(access.KindTable, raw(t, object{"id": "account", "name": "Account", "columns": []object{{"name": "iban", "secured": true}}}))},
			{Put: supposed(access.KindProfile, raw(t, object{"id": "f", "name": "Finance", "columns": []object{{"table": "account", "column": "iban", "read": true}}}))},
			{Put: supposed(access.KindProfileMember, raw(t, object{"profile": "f", "principal": object{"kind": "user", "id": "dir:bruno"}}))},
		}})
		require.True(t, d.Columns.Complete)
		i := slices.IndexFunc(d.Columns.List, func(c api.ColumnDifference) bool { return c.Login == "bruno" })
		require.GreaterOrEqual(t, i, 0)
		require.Greater(t, len(d.Columns.List), 1)
		for j, c := range d.Columns.List {
			require.Equal(t, "iban", c.Column)
			require.Equal(t, i != j, slices.Contains(c.Lost, engine.ReadsColumn), "%s", c.Login)
		}
	})
	t.Run("questions before and after", func(t *testing.T) {
		w.put(access.BusinessUnit{Environment: sales, ID: "apac", Name: "APAC", Parent: "root", ManagedBy: access.ByFile},
			access.User{Environment: sales, ID: "dir:zoe", Login: "zoe", Name: "Zoe", BusinessUnit: "apac", Enabled: true, ManagedBy: access.ByMapping})
		before = w.tenant.Revision()
		q := api.Question{User: "bruno", Action: access.Read, Table: "account", Record: &api.Record{ID: "7", Owner: "user:zoe"}}
		d := ask(api.Supposition{
			Changes:   []api.Supposed{{Put: supposed(access.KindShare, raw(t, object{"table": "account", "record": "7", "principal": object{"kind": "user", "id": "dir:bruno"}, "rights": "read"}))}},
			Questions: []api.Question{q, {User: "nobody", Action: access.Read, Table: "account"}},
		})
		require.Empty(t, d.Users, "a share gives no role")
		require.Equal(t, api.RecordDifferences{Complete: true, List: []api.RecordDifference{{
			RecordDiff: engine.RecordDiff{Table: "account", Record: "7", User: "dir:bruno", Gained: access.RightsOf(access.Read), SharesOnly: true}, Login: "bruno",
		}}}, d.Records)
		require.Equal(t, engine.NoAccess, d.Questions[0].Before.Reason)
		require.True(t, d.Questions[0].After.Allowed)
		require.NotNil(t, d.Questions[1].After.Problem)
	})
	t.Run("who reports to whom", func(t *testing.T) {
		d := ask(api.Supposition{Limit: 1, Changes: []api.Supposed{
			{Put: supposed(access.KindEnvironment, raw(t, object{"name": "Sales", "hierarchy": object{"model": "manager", "depth": 1}}))},
			{Put: supposed(access.KindUser, raw(t, object{"id": "dir:dora", "login": "dora", "name": "Dora", "business_unit": "emea", "enabled": true, "manager": "dir:bruno"}))},
			{Put: supposed(access.KindUser, raw(t, object{"id": "dir:carla", "login": "carla", "name": "Carla", "business_unit": "emea", "enabled": true, "manager": "dir:dora"}))},
		}})
		require.Empty(t, d.Users, "it gives no role")
		require.Empty(t, d.Unjudged)
		require.Equal(t, api.ReportDifferences{Complete: true, Unlisted: 1, List: []api.ReportDifference{{
			ReportDiff: engine.ReportDiff{User: "dir:bruno", Report: "dir:dora", Gained: access.RightsOf(access.Read, access.Write, access.Append, access.AppendTo)},
			Login:      "bruno", ReportLogin: "dora",
		}}}, d.Reports)
	})
	t.Run("the past", func(t *testing.T) {
		var made struct{ Revision access.Revision }
		w.as("admin", "PUT", "/v1/environments/sales/assignments/d", access.Assignment{Role: "manager", Principal: access.UserID("dir:dora").Principal(), BusinessUnit: "emea"}).into(t, &made)
		var d api.Difference
		s := api.Supposition{Changes: []api.Supposed{{Give: &api.SupposedGrant{Role: "manager", To: "user:dora"}}}}
		w.as("app", "POST", diff, s).into(t, &d)
		require.Empty(t, d.Users, "dora has it by now")
		s.Revision = before
		w.as("app", "POST", diff, s).into(t, &d)
		require.Len(t, d.Users, 1)
		require.Equal(t, before, d.Revision)
	})
}

func TestWhatCannotBeSupposed(t *testing.T) {
	w := newWorld(t)
	give := api.Supposed{Give: &api.SupposedGrant{Role: "manager", To: "user:dora"}}
	require.Equal(t, http.StatusForbidden, w.as("dora", "POST", diff, api.Supposition{Changes: []api.Supposed{give}}).status)
	both := give
	both.Edit = &api.SupposedEdit{Role: "manager"}
	for name, c := range map[string]struct {
		change api.Supposed
		slug   string
	}{
		"nothing":                  {api.Supposed{}, "invalid-request"},
		"two things":               {both, "invalid-request"},
		"a role that is not":       {api.Supposed{Give: &api.SupposedGrant{Role: "none", To: "user:dora"}}, "cannot-judge"},
		"somebody who is not":      {api.Supposed{Give: &api.SupposedGrant{Role: "manager", To: "user:nobody"}}, "cannot-judge"},
		"a unit that is not":       {api.Supposed{Give: &api.SupposedGrant{Role: "manager", To: "user:dora", BusinessUnit: "mars"}}, "cannot-judge"},
		"a member that is none":    {api.Supposed{Put: supposed(access.KindTeam, raw(t, object{"id": "x", "colour": "red"}))}, "invalid-request"},
		"an elevation":             {api.Supposed{Put: supposed(access.KindRequest, raw(t, object{}))}, "invalid-request"},
		"what breaks a rule":       {api.Supposed{Put: supposed(access.KindTeam, raw(t, object{"id": "x", "name": "X", "business_unit": "mars"}))}, "invalid-change"},
		"to delete what is not":    {api.Supposed{Delete: supposed(access.KindTeam, raw(t, object{"id": "x"}))}, "invalid-change"},
		"another environment's id": {api.Supposed{Put: supposed(access.KindTeam, raw(t, object{"environment": "ambit", "id": "x", "name": "X", "business_unit": "ambit"}))}, "invalid-change"},
	} {
		got := w.as("app", "POST", diff, api.Supposition{Changes: []api.Supposed{c.change}})
		require.Equal(t, "urn:ambit:problem:"+c.slug, got.problem(t).Type, "%s: %s", name, got.body)
	}
}
