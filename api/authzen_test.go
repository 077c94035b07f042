package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/tenant"
)

type object = map[string]any

func TestAuthZEN(t *testing.T) {
	w := newWorld(t)
	evaluation := object{
		"subject": object{"type": "user", "id": "amelie"}, "action": object{"name": "read"},
		"resource": object{"type": "account", "id": "1", "properties": object{"owner": "user:carla"}},
	}
	var one struct {
		Decision bool
		Context  struct{ Reason string }
	}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluation", evaluation).into(t, &one)
	require.True(t, one.Decision)

	var many struct {
		Evaluations []struct {
			Decision bool
			Context  struct {
				Reason string
				Error  *struct{ Status int }
			}
		}
	}
	batch := object{
		"subject": evaluation["subject"], "resource": evaluation["resource"],
		"evaluations": []object{
			{"action": object{"name": "read"}},
			{"action": object{"name": "delete"}},
			{"action": object{"name": "read"}, "resource": object{"type": "nothing", "id": "1"}},
		},
	}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluations", batch).into(t, &many)
	require.Len(t, many.Evaluations, 3)
	require.True(t, many.Evaluations[0].Decision)
	require.Equal(t, "no_privilege", many.Evaluations[1].Context.Reason)
	require.False(t, many.Evaluations[2].Decision)
	require.Equal(t, http.StatusUnprocessableEntity, many.Evaluations[2].Context.Error.Status)

	batch["options"] = object{"evaluations_semantic": "deny_on_first_deny"}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluations", batch).into(t, &many)
	require.Len(t, many.Evaluations, 2)

	require.Equal(t, http.StatusBadRequest, w.as("app", "POST", "/pdp/sales/access/v1/evaluation", object{}).status)
}

// Everybody may ask about themselves, as over /v1, and who may not ask about others
// learns nothing of what there is.
func TestAuthZENOfOneself(t *testing.T) {
	w := newWorld(t)
	user := func(id string) object { return object{"type": "user", "id": id} }
	read, account := object{"name": "read"}, object{"type": "account"}
	about := func(id string) object { return object{"subject": user(id), "action": read, "resource": account} }
	ask := func(env, path string, body object) answer {
		return w.as("amelie", "POST", "/pdp/"+env+"/access/v1/"+path, body)
	}

	var one struct{ Decision bool }
	for _, path := range []string{"evaluation", "evaluations"} {
		ask("sales", path, about("amelie")).into(t, &one)
		require.True(t, one.Decision, path)
	}
	for path, want := range map[string]int{"evaluations": 2, "search/action": 2, "search/resource": 0} {
		own := about("dir:amelie")
		if path == "evaluations" {
			own["evaluations"] = []object{{}, {"action": object{"name": "dance"}}}
		}
		var got struct{ Evaluations, Results []struct{ Decision bool } }
		ask("sales", path, own).into(t, &got)
		require.Len(t, append(got.Evaluations, got.Results...), want, path)
	}
	for _, env := range []string{"sales", "nowhere"} {
		for _, path := range []string{"evaluation", "evaluations", "search/action", "search/resource", "search/subject"} {
			for _, id := range []string{"bruno", "nobody"} {
				require.Equal(t, http.StatusForbidden, ask(env, path, about(id)).status, "%s %s of %s", env, path, id)
			}
			behalf := about("amelie")
			behalf["context"] = object{"impersonator": "bruno"}
			if path != "search/subject" {
				require.Equal(t, http.StatusForbidden, ask(env, path, behalf).status, "%s %s", env, path)
			}
		}
		for _, item := range []object{{"subject": user("bruno")}, {"subject": user("bruno"), "action": object{"name": "dance"}}} {
			batch := about("amelie")
			batch["evaluations"] = []object{{}, item}
			require.Equal(t, http.StatusForbidden, ask(env, "evaluations", batch).status, "one of them is about another")
		}
	}
	require.Equal(t, http.StatusForbidden, ask("sales", "search/subject", about("amelie")).status, "who else may is about others")
}

// TestAuthZENSearches finds the same that evaluations say.
func TestAuthZENSearches(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		owner := access.UserID("dir:amelie")
		if i%2 == 1 {
			owner = "dir:zoe"
		}
		w.put(access.BusinessUnit{Environment: sales, ID: "apac", Name: "APAC", Parent: "root", ManagedBy: access.ByFile},
			access.User{Environment: sales, ID: "dir:zoe", Login: "zoe", Name: "Zoe", BusinessUnit: "apac", Enabled: true, ManagedBy: access.ByMapping},
			access.Table{Environment: sales, ID: "zebra", Name: "Zebra", ManagedBy: access.ByFile},
			access.Record{Environment: sales, Table: "zebra", ID: "0", Owner: owner.Principal(), ManagedBy: access.ByAPI},
			access.Record{Environment: sales, Table: "account", ID: access.RecordID(fmt.Sprint(i)), Owner: owner.Principal(), ManagedBy: access.ByAPI})
	}
	type page struct {
		Results []struct{ Type, ID, Name string }
		Page    struct {
			NextToken string `json:"next_token"`
			Count     int
		}
	}
	pages := func(what string, ask object, limit int) (found []string) {
		token := ""
		for range 20 {
			ask["page"] = object{"limit": limit, "token": token}
			var got page
			w.as("app", "POST", "/pdp/sales/access/v1/search/"+what, ask).into(t, &got)
			require.LessOrEqual(t, len(got.Results), limit)
			require.Len(t, got.Results, got.Page.Count)
			for _, r := range got.Results {
				found = append(found, r.ID+r.Name)
			}
			if token = got.Page.NextToken; token == "" {
				return found
			}
		}
		t.Fatal("the pages have no end")
		return nil
	}
	amelie, bruno, read := object{"type": "user", "id": "amelie"}, object{"type": "user", "id": "bruno"}, object{"name": "read"}
	for limit := 1; limit < 6; limit++ {
		require.Equal(t, []string{"0", "2", "4", "6"}, pages("resource", object{"subject": amelie, "action": read, "resource": object{"type": "account", "id": "1"}}, limit))
		require.Equal(t, []string{"read", "write"}, pages("action", object{"subject": amelie, "resource": object{"type": "account", "id": "2"}}, limit))
		require.Equal(t, []string{"read"}, pages("action", object{"subject": bruno, "resource": object{"type": "account", "id": "2"}}, limit))
		require.Equal(t, []string{"read", "write"}, pages("action", object{"subject": amelie, "resource": object{"type": "account"}}, limit))
	}
	somebody := object{"type": "user", "id": "ignored"}
	for limit := 1; limit < 6; limit++ {
		require.Equal(t, []string{"dir:amelie", "dir:bruno", "dir:carla", "dir:dora"}, pages("subject", object{"subject": somebody, "action": read, "resource": object{"type": "account", "id": "2"}}, limit))
		require.Equal(t, []string{"dir:amelie"}, pages("subject", object{"subject": somebody, "action": object{"name": "write"}, "resource": object{"type": "account", "properties": object{"owner": "user:amelie"}}}, limit))
	}
	require.Empty(t, pages("subject", object{"subject": somebody, "action": read, "resource": object{"type": "account", "id": "1"}}, 5), "zoe has no role")
	require.Empty(t, pages("subject", object{"subject": somebody, "action": object{"name": "use"}, "resource": object{"type": "privilege", "id": "X"}}, 5))
	require.Empty(t, pages("resource", object{"subject": bruno, "action": object{"name": "write"}, "resource": object{"type": "account"}}, 5))
	require.Empty(t, pages("resource", object{"subject": bruno, "action": object{"name": "delete"}, "resource": object{"type": "account"}}, 5))

	ask := object{"subject": amelie, "action": read, "resource": object{"type": "account"}, "page": object{"limit": 1}}
	var first page
	w.as("app", "POST", "/pdp/sales/access/v1/search/resource", ask).into(t, &first)
	ask["subject"], ask["page"] = bruno, object{"token": first.Page.NextToken}
	require.Equal(t, "urn:ambit:problem:cursor-invalid", w.as("app", "POST", "/pdp/sales/access/v1/search/resource", ask).problem(t).Type, "a token is of one search")
	for name, c := range map[string]struct {
		what string
		ask  object
	}{
		"no subject":              {"resource", object{"action": read, "resource": object{"type": "account"}}},
		"create":                  {"resource", object{"subject": amelie, "action": object{"name": "create"}, "resource": object{"type": "account"}}},
		"privileges":              {"resource", object{"subject": amelie, "action": read, "resource": object{"type": "privilege"}}},
		"subjects of no type":     {"subject", object{"action": read, "resource": object{"type": "account"}}},
		"subjects that are teams": {"subject", object{"subject": object{"type": "team"}, "action": read, "resource": object{"type": "account"}}},
		"subjects on behalf":      {"subject", object{"subject": amelie, "action": read, "resource": object{"type": "account"}, "context": object{"impersonator": "bruno"}}},
		"actions on a privilege":  {"action", object{"subject": amelie, "resource": object{"type": "privilege", "id": "X"}}},
	} {
		require.Equal(t, http.StatusBadRequest, w.as("app", "POST", "/pdp/sales/access/v1/search/"+c.what, c.ask).status, name)
	}
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", "/pdp/sales/access/v1/search/resource",
		object{"subject": amelie, "action": read, "resource": object{"type": "nothing"}}).problem(t).Type)
}

func TestAuthZENSaysWhatItHas(t *testing.T) {
	w := newWorld(t)
	var metadata map[string]string
	w.as("", "GET", "/.well-known/authzen-configuration/pdp/sales", nil).into(t, &metadata)
	require.Equal(t, w.url+"/pdp/sales", metadata["policy_decision_point"])
	delete(metadata, "policy_decision_point")
	for name, url := range metadata {
		got := w.as("app", "POST", url[len(w.url):], object{}, "X-Request-Id", "mine")
		require.Equal(t, http.StatusBadRequest, got.status, "%s: %s", name, got.body)
		require.Equal(t, "mine", got.header.Get("X-Request-Id"))
	}
	require.NotEqual(t, "mine", w.as("app", "POST", check, api.Question{User: "amelie"}, "X-Request-Id", "mine").header.Get("X-Request-Id"))
}

// A record of the organization has no facts that its id could stand for.
func TestAuthZENOfTheOrganizationsRecords(t *testing.T) {
	w := newWorld(t)
	w.put(
		access.Table{Environment: sales, ID: "currency", Name: "Currency", Ownership: access.OrganizationOwned, ManagedBy: access.ByFile},
		access.Role{Environment: sales, ID: "salesperson", Name: "Salesperson", BusinessUnit: "root", Privileges: []access.Privilege{{Table: "currency", Action: access.Read, Depth: access.Global}}, ManagedBy: access.ByFile},
	)
	var one struct{ Decision bool }
	w.as("app", "POST", "/pdp/sales/access/v1/evaluation", object{
		"subject": object{"type": "user", "id": "amelie"}, "action": object{"name": "read"}, "resource": object{"type": "currency", "id": "EUR"},
	}).into(t, &one)
	require.True(t, one.Decision)
}

// The context says how the subject comes in and on whose behalf; what else it says
// is let pass, the time too (Rule JIT-26).
func TestAuthZENContext(t *testing.T) {
	w := newWorld(t)
	ask := object{
		"subject": object{"type": "user", "id": "amelie", "properties": object{"department": "x"}}, "action": object{"name": "read", "properties": object{"method": "GET"}},
		"resource": object{"type": "account"}, "context": object{"channel": "api", "time": "1985-10-26T01:22-07:00"},
	}
	var one struct{ Decision bool }
	w.as("app", "POST", "/pdp/sales/access/v1/evaluation", ask).into(t, &one)
	require.True(t, one.Decision)
	ask["context"] = object{"impersonator": "nobody"}
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", "/pdp/sales/access/v1/evaluation", ask).problem(t).Type)
	var many struct{ Evaluations []struct{ Decision bool } }
	ask["evaluations"] = []object{{}, {"context": object{}}}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluations", ask).into(t, &many)
	require.Len(t, many.Evaluations, 2)
	require.False(t, many.Evaluations[0].Decision, "an item without a context has the request's")
	require.True(t, many.Evaluations[1].Decision)
}

// TestRule_EVAL_12_a_batch_is_of_one_state takes a role away as soon as a batch has
// looked at the state, and lets the hour pass for which it was given.
func TestRule_EVAL_12_a_batch_is_of_one_state(t *testing.T) {
	w := newWorld(t)
	given := access.Assignment{
		Environment: sales, ID: "dora-manages", Role: "manager", Principal: access.UserID("dir:dora").Principal(), BusinessUnit: "emea",
		Window: access.Window{End: access.Instant(w.tenant.Now().Add(time.Hour))}, ManagedBy: access.ByAPI,
	}
	w.put(given)
	before, views, taken := w.tenant.Revision(), 0, make(chan struct{})
	w.viewed = func() {
		w.pass(2 * time.Hour)
		if views++; views == 1 {
			go func() { // the commit waits for those who look
				defer close(taken)
				given.Role = "salesperson"
				w.put(given)
			}()
		}
	}
	var got struct {
		Evaluations []struct {
			Decision bool
			Context  struct{ Revision access.Revision }
		}
	}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluations", object{
		"subject": object{"type": "user", "id": "dora"}, "action": object{"name": "delete"}, "resource": object{"type": "account"},
		"evaluations": []object{{}, {"subject": object{"type": "user", "id": "nobody"}}, {"action": object{"name": "dance"}}, {}},
	}).into(t, &got)
	<-taken
	require.Equal(t, 1, views, "the state is looked at once")
	require.Greater(t, w.tenant.Revision(), before)
	require.Len(t, got.Evaluations, 4)
	for i, e := range got.Evaluations {
		require.Equal(t, i == 0 || i == 3, e.Decision, "item %d", i)
		require.Equal(t, before, e.Context.Revision, "item %d", i)
	}
}

// TestRule_JIT_26_authzen_takes_a_revision_and_no_time gives dora a role, takes it
// away, and asks about each of the two revisions.
func TestRule_JIT_26_authzen_takes_a_revision_and_no_time(t *testing.T) {
	w := newWorld(t)
	w.put(access.Record{Environment: sales, Table: "account", ID: "1", Owner: access.UserID("dir:carla").Principal(), BusinessUnit: "emea", ManagedBy: access.ByAPI})
	role := access.Assignment{Environment: sales, ID: "dora-manages", Role: "manager", Principal: access.UserID("dir:dora").Principal(), BusinessUnit: "emea", ManagedBy: access.ByAPI}
	w.put(role)
	given, then := w.tenant.Revision(), w.tenant.Now()
	role.Role = "salesperson"
	w.put(role)
	newest := w.tenant.Revision()

	type context struct {
		Revision     access.Revision
		Hypothetical bool
	}
	type found struct {
		Results []struct{ ID, Name string }
		Context context
	}
	ask := func(path string, moment object) answer {
		body := object{"subject": object{"type": "user", "id": "dora"}, "action": object{"name": "delete"}, "resource": object{"type": "account", "id": "1"}, "context": moment}
		if path == "evaluations" {
			body["evaluations"] = []object{{}, {"context": object{"channel": "api"}}}
		}
		return w.as("app", "POST", "/pdp/sales/access/v1/"+path, body)
	}
	paths := []string{"evaluation", "evaluations", "search/subject", "search/resource", "search/action"}
	for name, c := range map[string]struct {
		moment  object
		want    context
		allowed bool
	}{
		"the newest":                        {object{}, context{newest, false}, false},
		"a revision":                        {object{"revision": given}, context{given, true}, true},
		"at least a revision":               {object{"at_least": given}, context{newest, false}, false},
		"a time, which enforcement has not": {object{"time": then, "at": then, "as_of": then}, context{newest, false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var one struct {
				Decision bool
				Context  context
			}
			ask("evaluation", c.moment).into(t, &one)
			require.Equal(t, c.allowed, one.Decision)
			require.Equal(t, c.want, one.Context)
			var many struct {
				Evaluations []struct {
					Decision bool
					Context  context
				}
			}
			ask("evaluations", c.moment).into(t, &many)
			require.Len(t, many.Evaluations, 2)
			for _, e := range many.Evaluations {
				require.Equal(t, c.allowed, e.Decision)
				require.Equal(t, c.want, e.Context)
			}
			for _, path := range paths[2:] {
				var got found
				ask(path, c.moment).into(t, &got)
				require.Equal(t, c.want, got.Context, path)
				names := make([]string, len(got.Results))
				for i, r := range got.Results {
					names[i] = r.ID + r.Name
				}
				searched := map[string]string{"search/subject": "dir:dora", "search/resource": "1", "search/action": "delete"}[path]
				require.Equal(t, c.allowed, slices.Contains(names, searched), "%s: %v", path, names)
			}
		})
	}
	for _, path := range paths {
		for name, c := range map[string]struct {
			moment object
			status int
			slug   string
		}{
			"a revision to come":                 {object{"revision": newest + 1}, http.StatusConflict, "revision-unknown"},
			"at least one to come":               {object{"at_least": newest + 1}, http.StatusConflict, "revision-unknown"},
			"a revision and at least a revision": {object{"revision": given, "at_least": given}, http.StatusUnprocessableEntity, "invalid-request"},
			"a revision that is none":            {object{"revision": -1}, http.StatusUnprocessableEntity, "invalid-request"},
			"a revision that is a text":          {object{"at_least": "7"}, http.StatusUnprocessableEntity, "invalid-request"},
		} {
			got := ask(path, c.moment)
			require.Equal(t, c.status, got.status, "%s of %s: %s", name, path, got.body)
			require.Equal(t, "urn:ambit:problem:"+c.slug, got.problem(t).Type)
		}
	}

	// An item cannot be of another state than its batch.
	var many struct {
		Evaluations []struct {
			Decision bool
			Context  struct {
				Revision access.Revision
				Error    *struct{ Status int }
			}
		}
	}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluations", object{
		"subject": object{"type": "user", "id": "dora"}, "action": object{"name": "read"}, "resource": object{"type": "account"}, "context": object{"at_least": given},
		"evaluations": []object{{}, {"context": object{"at_least": given}}, {"context": object{"revision": given}}},
	}).into(t, &many)
	require.Len(t, many.Evaluations, 3)
	require.True(t, many.Evaluations[0].Decision)
	require.True(t, many.Evaluations[1].Decision)
	require.False(t, many.Evaluations[2].Decision)
	require.Equal(t, http.StatusBadRequest, many.Evaluations[2].Context.Error.Status)
	require.Equal(t, newest, many.Evaluations[2].Context.Revision)
}

// TestAuthZENWaitsForARevision asks a second process, which has heard of nothing
// yet, about a change of the first.
func TestAuthZENWaitsForARevision(t *testing.T) {
	w := newWorld(t)
	first := w.tenant
	second, err := tenant.Open(t.Context(), w.store, tenant.Options{React: jit.React})
	require.NoError(t, err)
	behind := second.Revision()
	w.tenant = second
	w.serve(w.store, nil)
	w.tenant = first
	w.put(access.Assignment{Environment: sales, ID: "dora-manages", Role: "manager", Principal: access.UserID("dir:dora").Principal(), BusinessUnit: "emea", ManagedBy: access.ByAPI})
	require.Equal(t, behind, second.Revision())
	ask := object{"subject": object{"type": "user", "id": "dora"}, "action": object{"name": "delete"}, "resource": object{"type": "account"}}
	var one struct{ Decision bool }
	w.as("app", "POST", "/pdp/sales/access/v1/evaluation", ask).into(t, &one)
	require.False(t, one.Decision)
	ask["context"] = object{"at_least": first.Revision()}
	w.as("app", "POST", "/pdp/sales/access/v1/evaluation", ask).into(t, &one)
	require.True(t, one.Decision)
	require.Equal(t, first.Revision(), second.Revision())
}
