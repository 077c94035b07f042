package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
	dirsync "github.com/ambit-iam/ambit/sync"
)

// TestRule_SRC_9_an_environment_that_is_not_answered_for puts every question while a
// source is stale on which the environment rests.
func TestRule_SRC_9_an_environment_that_is_not_answered_for(t *testing.T) {
	w := newWorld(t)
	q := api.Question{User: "dora", Action: access.Read, Table: "account"}
	require.Equal(t, http.StatusOK, w.as("app", "POST", check, q).status)
	w.answerable = fmt.Errorf("source corp was last read completely at noon: %w", dirsync.ErrStaleSource)
	got := w.as("app", "POST", check, q)
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Equal(t, "urn:ambit:problem:source-stale", got.problem(t).Type)
	require.Contains(t, got.problem(t).Detail, "source corp")
	require.NotEmpty(t, got.header.Get("Retry-After"))
	for _, verb := range []string{"explain", "rights"} {
		require.Equal(t, http.StatusServiceUnavailable, w.as("app", "POST", "/v1/environments/sales/"+verb, q).status, verb)
	}
	past := api.Asked{Question: q, Moment: api.Moment{Revision: w.tenant.Revision()}}
	require.Equal(t, http.StatusOK, w.as("app", "POST", check, past).status, "history can be asked, and says that it is not for enforcement")
}

// TestAnswersOfThePast gives dora a role for an hour, takes it away, and asks as
// of each.
func TestAnswersOfThePast(t *testing.T) {
	w := newWorld(t)
	revision := func() access.Revision { return w.tenant.Revision() }
	before := revision()
	w.pass(time.Minute)
	w.put(access.Assignment{
		Environment: sales, ID: "dora-manages", Role: "manager", Principal: access.UserID("dir:dora").Principal(), BusinessUnit: "emea",
		Window: access.Window{End: access.Instant(w.tenant.Now().Add(time.Hour))}, ManagedBy: access.ByAPI,
	})
	given, during := revision(), w.tenant.Now()
	w.pass(2 * time.Hour)
	var gone struct{ Revision access.Revision }
	w.as("admin", "DELETE", "/v1/environments/sales/assignments/dora-manages", nil, "If-Match", "*").into(t, &gone)
	w.pass(time.Minute)

	q := api.Question{User: "dora", Action: access.Delete, Table: "account"}
	for name, c := range map[string]struct {
		moment  api.Moment
		allowed bool
		rev     access.Revision
	}{
		"now":                                   {api.Moment{}, false, gone.Revision},
		"as of then":                            {api.Moment{AsOf: during}, true, given},
		"as of the window's end":                {api.Moment{AsOf: during.Add(time.Hour + time.Second)}, false, given},
		"as of what is to come":                 {api.Moment{AsOf: w.tenant.Now().Add(time.Hour)}, false, gone.Revision},
		"a revision, judged now":                {api.Moment{Revision: given}, false, given},
		"a revision, judged then":               {api.Moment{Revision: given, At: during}, true, given},
		"the revision before":                   {api.Moment{Revision: before, At: during}, false, before},
		"at least a revision of the past":       {api.Moment{AtLeast: given}, false, gone.Revision},
		"another instant on the newest":         {api.Moment{At: during}, false, gone.Revision},
		"the newest revision by its own number": {api.Moment{Revision: gone.Revision}, false, gone.Revision},
	} {
		t.Run(name, func(t *testing.T) {
			var a api.Answer
			got := w.as("app", "POST", check, api.Asked{Question: q, Moment: c.moment})
			got.into(t, &a)
			require.Equal(t, c.allowed, a.Allowed, "%s", got.body)
			require.Equal(t, c.rev, a.Revision)
			require.Equal(t, c.moment.Revision != 0 || !c.moment.At.IsZero() || !c.moment.AsOf.IsZero(), a.Hypothetical)
			if a.Hypothetical {
				require.Equal(t, "no-store", got.header.Get("Cache-Control"))
			}
			var many api.Answers
			w.as("app", "POST", "/v1/environments/sales/check-all", api.Questions{Questions: []api.Question{q, q}, Moment: c.moment}).into(t, &many)
			require.Len(t, many.Answers, 2)
			require.Equal(t, a.Answered, many.Answered)
			require.Equal(t, c.allowed, many.Answers[1].Allowed)

			var what engine.What
			w.as("app", "GET", "/v1/environments/sales/users/dora/access?"+c.moment.Query().Encode(), nil).into(t, &what)
			require.Equal(t, c.rev, what.Revision)
			require.Equal(t, c.allowed, len(what.Sources) == 2)
		})
	}
	for name, c := range map[string]struct {
		env    access.EnvironmentID
		moment api.Moment
		status int
		slug   string
	}{
		"a revision to come":                 {sales, api.Moment{Revision: gone.Revision + 1}, http.StatusConflict, "revision-unknown"},
		"at least one to come":               {sales, api.Moment{AtLeast: gone.Revision + 1}, http.StatusConflict, "revision-unknown"},
		"before the first revision":          {sales, api.Moment{AsOf: during.Add(-time.Hour)}, http.StatusNotFound, "before-first-revision"},
		"an environment that is not":         {"nowhere", api.Moment{}, http.StatusNotFound, "not-found"},
		"an environment that was not yet":    {"nowhere", api.Moment{Revision: given}, http.StatusNotFound, "no-environment-then"},
		"an instant by two names":            {sales, api.Moment{AsOf: during, At: during}, http.StatusUnprocessableEntity, "invalid-request"},
		"a revision and at least a revision": {sales, api.Moment{Revision: given, AtLeast: given}, http.StatusUnprocessableEntity, "invalid-request"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"check", "explain", "rights"} {
				got := w.as("app", "POST", "/v1/environments/"+string(c.env)+"/"+verb, api.Asked{Question: q, Moment: c.moment})
				require.Equal(t, c.status, got.status, "%s", got.body)
				require.Equal(t, "urn:ambit:problem:"+c.slug, got.problem(t).Type)
			}
		})
	}
}

// Somebody who asks about themselves asks about who they are now, though another
// may have had their sign-in name.
func TestNobodyAsksAboutWhoHadTheirNameBefore(t *testing.T) {
	w := newWorld(t)
	before := w.tenant.Revision()
	w.put(
		access.User{Environment: sales, ID: "dir:amelie", Login: "amelie.old", Name: "Amelie", BusinessUnit: "emea", ManagedBy: access.ByMapping},
		access.User{Environment: sales, ID: "dir:another", Login: "amelie", Name: "Another", BusinessUnit: "emea", Enabled: true, ManagedBy: access.ByMapping},
	)
	q := api.Asked{Question: api.Question{User: "amelie", Action: access.Read, Table: "account"}, Moment: api.Moment{Revision: before}}
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("amelie", "POST", check, q).problem(t).Type, "this amelie did not exist then")
	var a api.Answer
	w.as("app", "POST", check, q).into(t, &a)
	require.True(t, a.Allowed, "who asks about others means who had the name then")
	require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", check, api.Question{User: "dir:amelie", Action: access.Read, Table: "account"}).status)
}

func TestSeveralQuestionsAtOnce(t *testing.T) {
	w := newWorld(t)
	const all = "/v1/environments/sales/check-all"
	own := api.Question{User: "amelie", Action: access.Read, Table: "account"}
	var got api.Answers
	w.as("amelie", "POST", all, api.Questions{Questions: []api.Question{
		own,
		{User: "amelie", Action: access.Read, Table: "nothing"},
		{User: "amelie", Action: access.Delete, Table: "account", Record: &api.Record{ID: "1", Owner: "user:carla"}},
		{User: "amelie", Action: access.Read, Table: "account", Record: &api.Record{ID: "1", Owner: "user:nobody"}},
	}}).into(t, &got)
	require.Len(t, got.Answers, 4)
	require.True(t, got.Answers[0].Allowed)
	require.Equal(t, access.Local, *got.Answers[0].Depth)
	require.Equal(t, engine.NoPrivilege, got.Answers[2].Reason)
	for _, i := range []int{1, 3} {
		require.False(t, got.Answers[i].Allowed)
		require.Equal(t, "urn:ambit:problem:cannot-judge", got.Answers[i].Problem.Type, "an error is not a deny")
	}
	require.Equal(t, w.tenant.Revision(), got.Revision)

	require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", all, api.Questions{Questions: []api.Question{own, {User: "bruno", Action: access.Read, Table: "account"}}}).status)
	many := make([]api.Question, 1001)
	for i := range many {
		many[i] = own
	}
	require.Equal(t, http.StatusUnprocessableEntity, w.as("amelie", "POST", all, api.Questions{Questions: many}).status)
	require.Equal(t, http.StatusUnprocessableEntity, w.as("amelie", "POST", all, api.Questions{}).status)
	w.as("amelie", "POST", all, api.Questions{Questions: many[:1000]}).into(t, &got)
	require.Len(t, got.Answers, 1000)
}

func TestRightsOverHTTP(t *testing.T) {
	w := newWorld(t)
	const rights = "/v1/environments/sales/rights"
	var got api.RightsAnswer
	w.as("amelie", "POST", rights, api.Question{User: "amelie", Table: "account", Record: &api.Record{ID: "1", Owner: "user:amelie"}}).into(t, &got)
	require.Equal(t, access.RightsOf(access.Read, access.Write), got.Rights)
	w.as("app", "POST", rights, api.Question{User: "amelie", Table: "account", Record: &api.Record{ID: "1", Owner: "user:carla"}}).into(t, &got)
	require.Equal(t, access.RightsOf(access.Read), got.Rights)
	require.Equal(t, http.StatusForbidden, w.as("bruno", "POST", rights, api.Question{User: "amelie", Table: "account"}).status)
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("app", "POST", rights, api.Question{User: "amelie", Privilege: "X"}).problem(t).Type)
}

// Whoever acts on behalf of another asks about them as well.
func TestWhoMayAskAboutImpersonation(t *testing.T) {
	w := newWorld(t)
	for _, q := range []api.Question{
		{User: "amelie", Impersonator: "bruno", Action: access.Read, Table: "account"},
		{User: "bruno", Impersonator: "amelie", Action: access.Read, Table: "account"},
	} {
		require.Equal(t, http.StatusForbidden, w.as("amelie", "POST", check, q).status)
	}
}
