package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
)

const check = "/v1/environments/sales/check"

func TestWhoMayAsk(t *testing.T) {
	w := newWorld(t)
	own := api.Question{User: "amelie", Action: access.Read, Table: "account"}
	require.Equal(t, http.StatusOK, w.as("amelie", "POST", check, own).status, "everybody may ask about themselves")
	require.Equal(t, http.StatusForbidden, w.as("bruno", "POST", check, own).status)
	require.Equal(t, http.StatusOK, w.as("app", "POST", check, own).status, "a Decision Reader may ask about everybody")
}

func TestRule_EVAL_1_what_cannot_be_judged_is_an_error(t *testing.T) {
	w := newWorld(t)
	for name, q := range map[string]api.Question{
		"an unknown user":                 {User: "nobody", Action: access.Read, Table: "account"},
		"an unknown table":                {User: "amelie", Action: access.Read, Table: "nothing"},
		"an unknown owner":                {User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1", Owner: "user:nobody"}},
		"an unknown unit":                 {User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1", Owner: "user:amelie", BusinessUnit: "nowhere"}},
		"a record without its facts":      {User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1"}},
		"a record that is not registered": {User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1", Registered: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.as("app", "POST", check, q)
			require.Equal(t, http.StatusUnprocessableEntity, got.status, "%s", got.body)
			require.Equal(t, "urn:ambit:problem:cannot-judge", got.problem(t).Type)
		})
	}
}

func TestExplainOverHTTP(t *testing.T) {
	w := newWorld(t)
	var allowed, denied api.Explanation
	w.as("app", "POST", "/v1/environments/sales/explain", api.Question{User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1", Owner: "user:carla"}}).into(t, &allowed)
	require.True(t, allowed.Allowed)
	require.NotEmpty(t, allowed.Origins)
	require.Contains(t, allowed.Text, "Salesperson")
	w.as("app", "POST", "/v1/environments/sales/explain", api.Question{User: "amelie", Action: access.Delete, Table: "account", Record: &api.Record{ID: "1", Owner: "user:carla"}}).into(t, &denied)
	require.Equal(t, engine.NoPrivilege, denied.Reason)
	require.NotEmpty(t, denied.Missing, "the smallest thing missing")
}

func TestObjectsByHand(t *testing.T) {
	w := newWorld(t)
	const team = "/v1/environments/sales/teams/night-shift"
	var made struct{ Revision access.Revision }
	w.as("admin", "PUT", team, access.Team{Name: "Night shift", BusinessUnit: "emea"}).into(t, &made)

	got := w.as("auditor", "GET", team, nil)
	var read access.Team
	got.into(t, &read)
	require.Equal(t, access.ByAPI, read.ManagedBy)

	read.Name = "Late shift"
	require.Equal(t, http.StatusPreconditionRequired, w.as("admin", "PUT", team, read).status)
	require.Equal(t, http.StatusPreconditionFailed, w.as("admin", "PUT", team, read, "If-Match", `"1"`).status)
	w.as("admin", "PUT", team, read, "If-Match", got.header.Get("ETag")).into(t, &made)

	broken := w.as("admin", "PUT", "/v1/environments/sales/memberships/night-shift~nobody", access.Membership{})
	require.Equal(t, http.StatusUnprocessableEntity, broken.status, "%s", broken.body)
	require.Equal(t, "urn:ambit:problem:invalid-change", broken.problem(t).Type)
	require.NotEmpty(t, broken.problem(t).Errors)

	w.as("admin", "PUT", "/v1/environments/sales/memberships/night-shift~dir:amelie", access.Membership{}).into(t, &made)
	require.Equal(t, http.StatusConflict, w.as("admin", "DELETE", "/v1/environments/sales/business-units/emea", nil, "If-Match", "*").status, "what files manage is changed there")

	share := "/v1/environments/sales/shares/account~7~user~dir:bruno"
	w.as("admin", "PUT", share, access.Share{Rights: access.RightsOf(access.Read)}).into(t, &made)
	var a api.Answer
	w.as("app", "POST", check, api.Asked{Question: api.Question{User: "bruno", Action: access.Read, Table: "account", Record: &api.Record{ID: "7", Owner: "user:carla", BusinessUnit: "emea"}}, Moment: api.Moment{AtLeast: made.Revision}}).into(t, &a)
	require.True(t, a.Allowed)
	require.GreaterOrEqual(t, a.Revision, made.Revision)

	var page api.Page[access.User]
	w.as("auditor", "GET", "/v1/environments/sales/users?limit=3", nil).into(t, &page)
	require.Len(t, page.Items, 3)
	var last api.Page[access.User]
	w.as("auditor", "GET", "/v1/environments/sales/users?limit=3&cursor="+page.NextCursor, nil).into(t, &last)
	require.Len(t, last.Items, 1)
	require.Empty(t, last.NextCursor)
}

func TestBootstrapWorksOnce(t *testing.T) {
	w := newWorld(t)
	credential, hash := api.NewBootstrap()
	require.NoError(t, w.store.SetBootstrap(t.Context(), hash))
	require.Equal(t, http.StatusForbidden, w.send(credential, "GET", "/v1/audit/events", nil).status, "it is good for one thing only")
	require.Equal(t, "urn:ambit:problem:already-bootstrapped", w.send(credential, "POST", "/v1/bootstrap", map[string]string{"login": "zoe"}).problem(t).Type)

	w = newWorld(t, "dir:admin")
	require.NoError(t, w.store.SetBootstrap(t.Context(), hash))
	require.Equal(t, http.StatusOK, w.send(credential, "POST", "/v1/bootstrap", map[string]string{"login": "zoe"}).status)
	require.Equal(t, http.StatusOK, w.as("zoe", "GET", "/v1/audit/events", nil).status)
	require.Equal(t, http.StatusUnauthorized, w.send(credential, "POST", "/v1/bootstrap", map[string]string{"login": "yan"}).status)
	require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", "/v1/bootstrap", map[string]string{"login": "amelie"}).status)
}

func TestTheAuditLogHasEveryChange(t *testing.T) {
	w := newWorld(t)
	w.as("admin", "PUT", "/v1/environments/sales/teams/x?reason=because", access.Team{Name: "X", BusinessUnit: "emea"})
	var page api.Page[audit.Event]
	w.as("auditor", "GET", "/v1/audit/events?operation=team.", nil).into(t, &page)
	require.Len(t, page.Items, 1)
	e := page.Items[0]
	require.Equal(t, "dir:admin", e.Actor.ID)
	require.Equal(t, "because", e.Reason)
	require.Equal(t, "127.0.0.1", e.Actor.Address)
	require.Equal(t, "team/x", e.Object)
	var v api.Verification
	w.as("auditor", "GET", "/v1/audit/verification", nil).into(t, &v)
	require.True(t, v.Holds)
}

func TestRule_EVAL_10_WhatATeamHas(t *testing.T) {
	w := newWorld(t)
	w.put(access.Team{Environment: sales, ID: "desk", Name: "Deal desk", BusinessUnit: "emea", ManagedBy: access.ByFile},
		access.Team{Environment: sales, ID: "case", Name: "Case", BusinessUnit: "emea", Type: access.AccessTeam, ManagedBy: access.ByFile},
		access.Assignment{Environment: sales, ID: "desk-manager", Role: "manager", Principal: access.TeamID("desk").Principal(), BusinessUnit: "emea", ManagedBy: access.ByFile})
	ask := func(team string) (what engine.TeamWhat) {
		w.as("app", "GET", "/v1/environments/sales/teams/"+team+"/access", nil).into(t, &what)
		return what
	}
	for _, name := range []string{"desk", "Deal%20desk"} {
		what := ask(name)
		require.Equal(t, access.TeamID("desk"), what.Team)
		require.Equal(t, engine.Allowed, what.Reason)
		require.NotEmpty(t, what.Held)
		require.Equal(t, access.AssignmentID("desk-manager"), what.Sources[0].Assignment)
	}
	require.Equal(t, engine.CannotHoldRoles, ask("case").Reason)
	require.Equal(t, engine.NoRole, ask("default:emea").Reason)
	require.Equal(t, http.StatusForbidden, w.as("dora", "GET", "/v1/environments/sales/teams/desk/access", nil).status)
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "GET", "/v1/environments/sales/teams/nobody/access", nil).problem(t).Type)
}
