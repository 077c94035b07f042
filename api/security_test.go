package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
)

// administrator puts somebody into Ambit's own environment with a role of it.
func (w *world) administrator(login string, role access.RoleID) {
	w.t.Helper()
	id := access.UserID("dir:" + login)
	w.put(
		access.User{Environment: access.AmbitEnvironment, ID: id, Login: login, Name: login, BusinessUnit: model.AmbitUnit, Enabled: true, ManagedBy: access.ByMapping},
		access.Assignment{Environment: access.AmbitEnvironment, ID: access.AssignmentID("of-" + login), Role: role, Principal: id.Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByMapping},
	)
}

// put1 is a change that could give its author more, with the path it is sent to.
type put1 struct {
	path string
	body any
}

func elevations(env access.EnvironmentID, me, unit string) map[string]put1 {
	at := "/v1/environments/" + string(env) + "/"
	return map[string]put1{
		"assign a role":              {at + "assignments/mine", access.Assignment{Role: model.RoleAdministrator, Principal: access.UserID("dir:" + me).Principal(), BusinessUnit: access.BusinessUnitID(unit)}},
		"make a role":                {at + "roles/mine", access.Role{Name: "Mine", BusinessUnit: access.BusinessUnitID(unit), All: true}},
		"join a team":                {at + "memberships/admins~dir:" + me, access.Membership{}},
		"make a team":                {at + "teams/mine", access.Team{Name: "Mine", BusinessUnit: access.BusinessUnitID(unit)}},
		"become somebody else":       {at + "users/dir:made", access.User{Login: me + "2", BusinessUnit: access.BusinessUnitID(unit), Enabled: true}},
		"move the tree of the units": {at + "business-units/mine", access.BusinessUnit{Name: "Mine", Parent: access.BusinessUnitID(unit)}},
	}
}

// TestRule_ACC_5_nobody_elevates_themselves tries each way with each shipped role
// that is not Ambit Administrator, in Ambit's own environment and another.
func TestRule_ACC_5_nobody_elevates_themselves(t *testing.T) {
	w := newWorld(t)
	for _, role := range []access.RoleID{model.RoleElevationAdministrator, model.RoleOperator, model.RoleAuditor, model.RoleDecisionReader} {
		me := string(role)
		w.administrator(me, role)
		for env, unit := range map[access.EnvironmentID]string{access.AmbitEnvironment: string(model.AmbitUnit), sales: "root"} {
			for name, c := range elevations(env, me, unit) {
				require.Equal(t, http.StatusForbidden, w.as(me, "PUT", c.path, c.body).status, "%s of %s: %s", role, env, name)
			}
		}
	}
}

// TestRule_ACC_5_a_role_made_by_hand_gives_no_more_than_it_has gives somebody
// write on everything that gives access, short of everything.
func TestRule_ACC_5_a_role_made_by_hand_gives_no_more_than_it_has(t *testing.T) {
	w := newWorld(t)
	w.put(
		access.Team{Environment: access.AmbitEnvironment, ID: "admins", Name: "Admins", BusinessUnit: model.AmbitUnit, ManagedBy: access.ByAPI},
		access.Assignment{Environment: access.AmbitEnvironment, ID: "admins", Role: model.RoleAdministrator, Principal: access.TeamID("admins").Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByAPI},
		access.Role{Environment: access.AmbitEnvironment, ID: "helpdesk", Name: "Help desk", BusinessUnit: model.AmbitUnit, ManagedBy: access.ByAPI, Privileges: []access.Privilege{
			{Table: model.TableBusinessUnit, Action: access.Write, Depth: access.Global},
			{Table: model.TableRole, Action: access.Write, Depth: access.Global},
			{Table: model.TableUser, Action: access.Write, Depth: access.Global},
			{Table: model.TableTeam, Action: access.Write, Depth: access.Global},
		}},
		access.Role{Environment: access.AmbitEnvironment, ID: "giver", Name: "Giver", BusinessUnit: model.AmbitUnit, ManagedBy: access.ByAPI, Privileges: []access.Privilege{
			{Table: model.TableAssignment, Action: access.Write, Depth: access.Global},
			{Table: model.TablePolicy, Action: access.Write, Depth: access.Global},
		}},
	)
	w.administrator("helper", "helpdesk")
	w.administrator("giver", "giver")
	for name, c := range elevations(access.AmbitEnvironment, "helper", string(model.AmbitUnit)) {
		for _, who := range []string{"helper", "giver"} {
			require.Equal(t, http.StatusForbidden, w.as(who, "PUT", c.path, c.body).status, "%s: %s", who, name)
		}
	}
	for name, c := range elevations(sales, "helper", "root") {
		require.Equal(t, http.StatusForbidden, w.as("helper", "PUT", c.path, c.body).status, "helper in sales: %s", name)
	}
	gives := w.as("giver", "PUT", "/v1/environments/sales/assignments/given", access.Assignment{Role: "salesperson", Principal: access.UserID("dir:dora").Principal(), BusinessUnit: "emea"})
	require.Equal(t, http.StatusOK, gives.status, "%s", gives.body)
	for name, c := range elevations(access.AmbitEnvironment, "helper", string(model.AmbitUnit)) {
		require.NotEqual(t, http.StatusForbidden, w.as("admin", "PUT", c.path, c.body).status, "an Ambit Administrator may %s", name)
	}
}

// TestOneObjectHasOneKey: a second spelling of a key would pass the checks of what
// is there already.
func TestOneObjectHasOneKey(t *testing.T) {
	w := newWorld(t)
	taken := access.Role{Name: "Salesperson", BusinessUnit: "root"}
	for _, path := range []string{"roles/salesperson~x", "roles/salesperson~", "users/dir:amelie~x", "memberships/a~b~c", "memberships/a", "shares/account~7~user", "records/account"} {
		got := w.as("admin", "PUT", "/v1/environments/sales/"+path, taken)
		require.GreaterOrEqual(t, got.status, 400, "%s: %s", path, got.body)
	}
	var role access.Role
	w.as("admin", "GET", "/v1/environments/sales/roles/salesperson", nil).into(t, &role)
	require.Equal(t, access.ByFile, role.ManagedBy)
	require.NotEmpty(t, role.Privileges)

	share := "/v1/environments/sales/shares/account~7~organization"
	require.Equal(t, http.StatusOK, w.as("admin", "PUT", share, access.Share{Rights: access.RightsOf(access.Read)}).status)
	require.Equal(t, http.StatusPreconditionRequired, w.as("admin", "PUT", share, access.Share{Rights: access.RightsOf(access.Write)}).status, "a share with the organization is found again")
	require.Equal(t, http.StatusOK, w.as("admin", "GET", share, nil).status)

	odd := "/v1/environments/sales/records/account~" + url.PathEscape("a/b%c")
	require.Equal(t, http.StatusOK, w.as("admin", "PUT", odd, access.Record{Owner: access.UserID("dir:amelie").Principal(), BusinessUnit: "emea"}).status)
	require.Equal(t, http.StatusPreconditionRequired, w.as("admin", "PUT", odd, access.Record{Owner: access.UserID("dir:bruno").Principal(), BusinessUnit: "emea"}).status)
}

// TestRule_SEC_2_ids_of_another_environment names what another environment has.
func TestRule_SEC_2_ids_of_another_environment(t *testing.T) {
	w := newWorld(t)
	w.put(
		access.Environment{ID: "service", Name: "Service", ManagedBy: access.ByAPI},
		access.BusinessUnit{Environment: "service", ID: "theirs", Name: "Theirs", ManagedBy: access.ByAPI},
		access.User{Environment: "service", ID: "dir:zoe", Login: "zoe", Name: "Zoe", BusinessUnit: "theirs", Enabled: true, ManagedBy: access.ByAPI},
		access.Team{Environment: "service", ID: "crew", Name: "Crew", BusinessUnit: "theirs", ManagedBy: access.ByAPI},
	)
	for _, path := range []string{"users/dir:zoe", "teams/crew", "business-units/theirs"} {
		require.Equal(t, http.StatusNotFound, w.as("admin", "GET", "/v1/environments/sales/"+path, nil).status, path)
		require.Equal(t, http.StatusNotFound, w.as("admin", "DELETE", "/v1/environments/sales/"+path, nil, "If-Match", "*").status, path)
	}
	for name, c := range map[string]put1{
		"a user of another":  {"/v1/environments/sales/assignments/x", access.Assignment{Role: "salesperson", Principal: access.UserID("dir:zoe").Principal(), BusinessUnit: "emea"}},
		"a unit of another":  {"/v1/environments/sales/teams/x", access.Team{Name: "X", BusinessUnit: "theirs"}},
		"a team of another":  {"/v1/environments/sales/memberships/crew~dir:amelie", access.Membership{}},
		"its name in a body": {"/v1/environments/sales/memberships/crew~dir:zoe", access.Membership{Environment: "service"}},
	} {
		require.Equal(t, http.StatusUnprocessableEntity, w.as("admin", "PUT", c.path, c.body).status, name)
	}
	ask := api.Question{User: "zoe", Action: access.Read, Table: "account"}
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", check, ask).problem(t).Type)

	// Who may not ask learns nothing of what there is.
	for _, q := range []api.Question{ask, {User: "carla", Action: access.Read, Table: "account"}, {User: "nobody", Action: access.Read, Table: "nothing"}} {
		for _, env := range []string{"sales", "service", "nowhere"} {
			require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", "/v1/environments/"+env+"/check", api.Asked{Question: q, Moment: api.Moment{AtLeast: 1 << 40}}).status)
		}
	}
	require.Equal(t, http.StatusForbidden, w.as("amelie", "GET", "/v1/environments/sales/users/carla/access", nil).status)
	require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", "/v1/environments/sales/explain", api.Question{User: "carla", Action: access.Read, Table: "account"}).status)
	require.Equal(t, http.StatusOK, w.as("amelie", "GET", "/v1/environments/sales/users/amelie/access", nil).status)
}

func TestATeamsNameThatTwoHaveIsNotGuessed(t *testing.T) {
	w := newWorld(t)
	w.put(
		access.Team{Environment: sales, ID: "one", Name: "Desk", BusinessUnit: "root", ManagedBy: access.ByAPI},
		access.Team{Environment: sales, ID: "two", Name: "desk", BusinessUnit: "emea", ManagedBy: access.ByAPI},
	)
	q := api.Question{User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1", Owner: "team:Desk"}}
	for range 10 {
		require.Contains(t, w.as("app", "POST", check, q).problem(t).Detail, "by its id")
	}
	q.Record.Owner = "team:two"
	require.Equal(t, http.StatusOK, w.as("app", "POST", check, q).status)
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"PATCH", "POST", "OPTIONS", "TRACE", "FROBNICATE"} {
		got := w.as("admin", method, "/v1/environments/sales/users", nil)
		require.Equal(t, http.StatusMethodNotAllowed, got.status, method)
		require.Equal(t, "GET", got.header.Get("Allow"))
	}
	head := w.as("auditor", "HEAD", "/v1/environments/sales/users", nil)
	require.Equal(t, http.StatusOK, head.status)
	require.Empty(t, head.body)
	require.Equal(t, http.StatusForbidden, w.as("amelie", "HEAD", "/v1/environments/sales/users", nil).status)
	require.Equal(t, http.StatusUnauthorized, w.as("", "OPTIONS", "/v1/environments/sales/users", nil).status)
	for _, odd := range []string{"/.well-known/../v1/audit/events", "/.well-known/%2e%2e/v1/audit/events", "//v1/audit/events", "/healthz/../v1/audit/events", "/.well-known/..%2fv1/audit/events"} {
		got := w.as("", "GET", odd, nil)
		require.NotEqual(t, http.StatusOK, got.status, "%s: %s", odd, got.body)
	}
}

// TestRule_SEC_1_metrics_need_a_reader: what they count tells of who uses what.
func TestRule_SEC_1_metrics_need_a_reader(t *testing.T) {
	w := newWorld(t)
	w.as("admin", "FROBNICATE", "/v1/sync", nil)
	require.Equal(t, http.StatusUnauthorized, w.as("", "GET", "/metrics", nil).status)
	require.Equal(t, http.StatusForbidden, w.as("amelie", "GET", "/metrics", nil).status)
	got := w.as("auditor", "GET", "/metrics", nil)
	require.Equal(t, http.StatusOK, got.status)
	require.Contains(t, string(got.body), "ambit_revision")
	require.NotContains(t, string(got.body), "FROBNICATE", "a stranger's words are not kept")
}

// broken is a store of which some answers are errors that tell of the inside.
type broken struct {
	api.Store
	err   error
	panic bool
}

func (b *broken) Ping(context.Context) error { return b.err }

func (b *broken) Audit(context.Context, store.AuditQuery) ([]audit.Event, error) {
	if b.panic {
		panic("secret 10.1.2.3")
	}
	return nil, b.err
}

func TestProblemsTellNothingOfTheInside(t *testing.T) {
	w := newWorld(t)
	inside := &broken{Store: w.store, err: &url.Error{Op: "dial", URL: "postgres://ambit:secret@10.1.2.3", Err: context.DeadlineExceeded}}
	var log strings.Builder
	w.serve(inside, &log)
	for _, spoil := range []func(){func() {}, func() { inside.panic = true }, func() { inside.err = http.ErrHandlerTimeout; inside.panic = false }} {
		spoil()
		for _, path := range []string{"/readyz", "/v1/audit/events"} {
			got := w.as("auditor", "GET", path, nil)
			require.GreaterOrEqual(t, got.status, 500)
			require.NotEmpty(t, got.problem(t).Detail)
			require.NotContains(t, string(got.body), "secret")
			require.NotContains(t, string(got.body), "10.1.2.3")
			require.NotContains(t, string(got.body), "Handler")
		}
	}
	require.Contains(t, log.String(), "goroutine", "the log has the stack")
}

func TestAnIssuerThatDoesNotAnswer(t *testing.T) {
	t.Run("from the start is a server's fault, told as such", func(t *testing.T) {
		w := newWorld(t)
		token, err := w.issuer.Token("amelie", nil)
		require.NoError(t, err)
		w.issuer.Close()
		got := w.send(token, "GET", whoami, nil)
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.Equal(t, "urn:ambit:problem:issuer-unreachable", got.problem(t).Type)
		require.NotContains(t, string(got.body), "127.0.0.1", "who has no valid token learns nothing of the network")
	})
	t.Run("later leaves the keys last read in use", func(t *testing.T) {
		w := newWorld(t)
		token, err := w.issuer.Token("amelie", map[string]any{"exp": w.wall.Add(time.Hour).Unix()})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, w.send(token, "GET", whoami, nil).status)
		w.issuer.Close()
		w.pass(11 * time.Minute)
		require.Equal(t, http.StatusOK, w.send(token, "GET", whoami, nil).status)
	})
}

func TestRule_JIT_76_cursors_belong_to_caller_and_filter(t *testing.T) {
	w := newWorld(t)
	var page api.Page[access.User]
	w.as("auditor", "GET", "/v1/environments/sales/users?limit=2", nil).into(t, &page)
	require.NotEmpty(t, page.NextCursor)
	at := "?limit=2&cursor=" + url.QueryEscape(page.NextCursor)
	require.Equal(t, http.StatusOK, w.as("auditor", "GET", "/v1/environments/sales/users"+at, nil).status)
	for name, got := range map[string]answer{
		"another caller":      w.as("admin", "GET", "/v1/environments/sales/users"+at, nil),
		"another list":        w.as("auditor", "GET", "/v1/environments/sales/teams"+at, nil),
		"another environment": w.as("auditor", "GET", "/v1/environments/ambit/users"+at, nil),
		"the audit log":       w.as("auditor", "GET", "/v1/audit/events"+at, nil),
		"one made up":         w.as("auditor", "GET", "/v1/audit/events?cursor=-5", nil),
	} {
		require.Equal(t, http.StatusBadRequest, got.status, name)
		require.Equal(t, "urn:ambit:problem:cursor-invalid", got.problem(t).Type, name)
	}

	w.as("admin", "PUT", "/v1/environments/sales/teams/a", access.Team{Name: "A", BusinessUnit: "emea"})
	seen := map[int64]bool{}
	next := ""
	for {
		var events api.Page[audit.Event]
		w.as("auditor", "GET", "/v1/audit/events?limit=1"+next, nil).into(t, &events)
		require.Len(t, events.Items, 1)
		require.False(t, seen[events.Items[0].Seq])
		seen[events.Items[0].Seq] = true
		w.as("admin", "PUT", "/v1/environments/sales/teams/b?reason=while-paging", access.Team{Name: "B", BusinessUnit: "emea"})
		if events.NextCursor == "" {
			break
		}
		next = "&cursor=" + url.QueryEscape(events.NextCursor)
	}
	require.True(t, seen[1], "rows that appear while paging hide none")
	for _, bad := range []string{"limit=0", "limit=201", "limit=x", "colour=red"} {
		require.Equal(t, http.StatusUnprocessableEntity, w.as("auditor", "GET", "/v1/audit/events?"+bad, nil).status, bad)
	}
	require.Equal(t, http.StatusUnprocessableEntity, w.as("auditor", "GET", "/v1/jit/requests?state=nonsense", nil).status)
}

func TestRule_JIT_47_a_key_is_bound_to_its_caller(t *testing.T) {
	w := newWorld(t)
	first := w.as("amelie", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "same")
	require.Equal(t, http.StatusCreated, first.status)
	other := w.as("bruno", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "same")
	require.Equal(t, http.StatusCreated, other.status, "another's request is a new one: %s", other.body)
	require.Empty(t, other.header.Get("Idempotency-Replayed"))

	// Somebody on this host may be called like a person.
	local := httptest.NewServer(w.api.LocalHandler(func(context.Context) string { return "dir:amelie" }))
	defer local.Close()
	w.url = local.URL
	got := w.as("", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "same")
	require.Empty(t, got.header.Get("Idempotency-Replayed"))
	require.NotEqual(t, http.StatusCreated, got.status)
}

func TestRule_JIT_48_policies_need_the_version_meant(t *testing.T) {
	w := newWorld(t)
	var page struct{ Items []map[string]any }
	w.as("admin", "GET", "/v1/jit/policies", nil).into(t, &page)
	policy := page.Items[0]
	delete(policy, "managed_by")
	policy["id"] = "pol_new"
	require.Equal(t, http.StatusPreconditionFailed, w.as("admin", "PUT", "/v1/jit/policies/pol_new", policy, "If-Match", `"7"`).status)
	require.Equal(t, http.StatusPreconditionRequired, w.as("admin", "PUT", "/v1/jit/policies/pol_manager", map[string]any{"environment": "sales"}).status)
	require.Equal(t, http.StatusPreconditionRequired, w.as("admin", "DELETE", "/v1/jit/policies/pol_manager?environment=sales", nil).status)
	refused := w.as("admin", "DELETE", "/v1/jit/policies/pol_manager?environment=sales", nil, "If-Match", "*")
	require.Equal(t, "urn:ambit:problem:managed-elsewhere", refused.problem(t).Type)
}

// TestEveryEventSaysWhoFromWhereAndWhichRequest reads the log after a person has
// done each kind of thing.
func TestEveryEventSaysWhoFromWhereAndWhichRequest(t *testing.T) {
	w := newWorld(t)
	r := w.submit("k1")
	w.approve("bruno", r.ID, "k2")
	w.as("amelie", "POST", "/v1/jit/requests/"+r.ID+"/relinquish", map[string]any{}, "Idempotency-Key", "k3")
	w.as("admin", "DELETE", "/v1/jit/policies/pol_manager?environment=sales", nil, "If-Match", "*")
	w.as("admin", "PUT", "/v1/environments/sales/teams/x", access.Team{Name: "X", BusinessUnit: "emea"})
	var page api.Page[audit.Event]
	w.as("auditor", "GET", "/v1/audit/events?limit=200", nil).into(t, &page)
	persons := 0
	for _, e := range page.Items {
		if e.Actor.Kind != audit.User {
			continue
		}
		persons++
		require.NotEmpty(t, e.Actor.ID, e.Operation)
		require.Equal(t, "127.0.0.1", e.Actor.Address, e.Operation)
		require.NotEmpty(t, e.Correlation, e.Operation)
	}
	require.GreaterOrEqual(t, persons, 5)
}

func TestBootstrapCountsTeamsAndNamesWhomTheTokenNames(t *testing.T) {
	w := newWorld(t, "dir:admin")
	credential, hash := api.NewBootstrap()
	require.NoError(t, w.store.SetBootstrap(t.Context(), hash))
	w.put(
		access.Team{Environment: access.AmbitEnvironment, ID: "admins", Name: "Admins", BusinessUnit: model.AmbitUnit, ManagedBy: access.ByMapping},
		access.Assignment{Environment: access.AmbitEnvironment, ID: "admins", Role: model.RoleAdministrator, Principal: access.TeamID("admins").Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByMapping},
		access.Membership{Environment: access.AmbitEnvironment, Team: "admins", User: "dir:app", ManagedBy: access.ByMapping},
	)
	require.Equal(t, http.StatusConflict, w.send(credential, "POST", "/v1/bootstrap", map[string]string{"login": "zoe"}).status, "a team's member is administrator already")

	w = newWorld(t, "dir:admin")
	w.source = "dir"
	w.serve(w.store, nil)
	require.NoError(t, w.store.SetBootstrap(t.Context(), hash))
	require.Equal(t, http.StatusOK, w.send(credential, "POST", "/v1/bootstrap", map[string]string{"login": "0b1e-oid"}).status)
	require.Equal(t, http.StatusOK, w.as("0b1e-oid", "GET", "/v1/audit/events", nil).status, "the claim is an object id of the source")
}

func TestAuthZENAsOthersSpeakIt(t *testing.T) {
	w := newWorld(t)
	got := w.as("app", "POST", "/pdp/sales/access/v1/evaluation", `{
		"subject": {"type": "user", "id": "amelie", "properties": {"department": "Sales", "ip_address": "10.0.0.1"}},
		"action": {"name": "read", "properties": {"method": "GET"}},
		"resource": {"type": "account", "id": "1", "properties": {"owner": "user:carla", "library_record": {"title": "AuthZEN"}}},
		"context": {"time": "2026-10-26T01:22-07:00"}
	}`)
	require.Equal(t, http.StatusOK, got.status, "properties that Ambit does not know are not its business: %s", got.body)
	require.JSONEq(t, `true`, string(field(t, got.body, "decision")))
	batch := w.as("app", "POST", "/pdp/sales/access/v1/evaluations", `{"subject":{"type":"user","id":"amelie"},"action":{"name":"read"},"evaluations":[{"resource":{"type":"account"}}]}`)
	require.Equal(t, http.StatusOK, batch.status)
	require.Nil(t, field(t, batch.body, "decision"), "several decisions are no single one")

	var meta map[string]string
	w.as("", "GET", "/.well-known/authzen-configuration/pdp/sales", nil).into(t, &meta)
	require.Equal(t, w.url+"/pdp/sales", meta["policy_decision_point"])
	for _, name := range []string{"access_evaluation_endpoint", "access_evaluations_endpoint"} {
		at, ok := strings.CutPrefix(meta[name], w.url)
		require.True(t, ok)
		require.Equal(t, http.StatusBadRequest, w.as("app", "POST", at, map[string]any{}).status, "%s is there", at)
	}
}

func field(t *testing.T, body []byte, name string) json.RawMessage {
	t.Helper()
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(body, &all))
	return all[name]
}

func TestRule_JIT_25_an_answer_is_not_kept_longer_than_it_holds(t *testing.T) {
	w := newWorld(t)
	ask := api.Question{User: "amelie", Action: access.Delete, Table: "account", Record: &api.Record{ID: "1", Owner: "user:carla"}}
	require.Equal(t, "no-store", w.as("app", "POST", check, ask).header.Get("Cache-Control"))
	r := w.submit("k1")
	var approved api.JITRequest
	w.approve("bruno", r.ID, "k2").into(t, &approved)
	require.Equal(t, "private, must-revalidate, max-age=60", w.as("app", "POST", check, ask).header.Get("Cache-Control"), "nor longer than an early end may go unseen")
	w.pass(approved.Grant.Window.End.Sub(w.tenant.Now()) - 2500*time.Millisecond)
	require.Equal(t, "private, must-revalidate, max-age=2", w.as("app", "POST", check, ask).header.Get("Cache-Control"))
}

// TestRule_INC_8_nobody_signs_in_as_somebody_alike: case folding makes one name of
// "weiß" and "weiss", who are two people.
func TestRule_INC_8_nobody_signs_in_as_somebody_alike(t *testing.T) {
	w := newWorld(t)
	w.administrator("weiß", model.RoleAdministrator)
	require.Equal(t, http.StatusOK, w.as("WEIß", "GET", "/v1/audit/events", nil).status)
	require.Equal(t, http.StatusForbidden, w.as("weiss", "GET", "/v1/audit/events", nil).status)
}
