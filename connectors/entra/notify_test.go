package entra

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/directory"
)

// notified starts a directory that sends notifications, and a source that gets them
// at an endpoint of its own.
func notified(t *testing.T, edit ...func(*Config)) (*graphtest.Server, *Source, *httptest.Server) {
	t.Helper()
	var s *Source
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }))
	t.Cleanup(endpoint.Close)
	server := serve(t, graphtest.Options{Notify: endpoint.Client()})
	server.AddUser("ann", person("Ann"))
	s = source(t, server, append(edit, func(c *Config) { c.Notifications = &Notifications{URL: endpoint.URL + "/notifications/entra"} })...)
	return server, s, endpoint
}

// watching runs a watch. woken counts how often it says that something has changed;
// end ends it, and returns what it ended with.
func watching(t *testing.T, server *graphtest.Server, s *Source) (woken *atomic.Int64, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	woken = new(atomic.Int64)
	go func() { done <- s.Watch(ctx, directory.Start{}, func() { woken.Add(1) }) }()
	require.Eventually(t, func() bool { return woken.Load() == 1 }, time.Minute, time.Millisecond, "what has changed before is read")
	require.Equal(t, []string{"groups", "users"}, server.Subscriptions())
	return woken, func() error {
		cancel()
		return <-done
	}
}

func TestRule_GRAPH_37_changes_are_told_of(t *testing.T) {
	server, s, _ := notified(t)
	s.graph.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	woken, end := watching(t, server, s)
	for i, resource := range []string{"users", "groups", "users"} {
		statuses, err := server.Notify(resource, nil)
		require.NoError(t, err)
		require.Equal(t, []int{http.StatusAccepted}, statuses)
		require.Eventually(t, func() bool { return woken.Load() == int64(i+2) }, time.Minute, time.Millisecond)
	}
	require.ErrorIs(t, end(), context.Canceled)
	require.Empty(t, server.Subscriptions(), "what nobody listens to is ended")
	for _, r := range server.Requests() {
		require.NotContains(t, r.URI, "/delta", "to read is the caller's matter")
	}
	// No configuration, no subscription.
	require.NoError(t, source(t, server).Watch(t.Context(), directory.Start{}, func() { t.Error("woken") }))
}

func TestRule_GRAPH_39_a_notification_is_not_trusted(t *testing.T) {
	server, s, endpoint := notified(t)
	woken, end := watching(t, server, s)
	var state string
	for name, forge := range map[string]func(map[string]any){
		"another secret": func(n map[string]any) { state = n["clientState"].(string); n["clientState"] = "guess" },
		"no secret":      func(n map[string]any) { delete(n, "clientState") },
		"an empty one":   func(n map[string]any) { n["clientState"] = "" },
		"half of it":     func(n map[string]any) { n["clientState"] = n["clientState"].(string)[:10] },
	} {
		statuses, err := server.Notify("users", forge)
		require.NoError(t, err)
		require.Equal(t, []int{http.StatusAccepted}, statuses, "%s: a stranger learns nothing", name)
	}
	require.LessOrEqual(t, len(state), 128)
	require.GreaterOrEqual(t, len(state), 32)
	require.EqualValues(t, 1, woken.Load())
	require.Error(t, end())

	// When nobody watches, nothing is expected, not even nothing.
	for _, body := range []string{`{"value":[{"clientState":""}]}`, `{"value":[{"clientState":"` + state + `"}]}`} {
		answer, err := endpoint.Client().Post(endpoint.URL, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusAccepted, answer.StatusCode)
	}
	require.Empty(t, s.hook.changed)
}

func TestRule_GRAPH_39_many_notifications_are_one(t *testing.T) {
	server, s, _ := notified(t)
	gap := make(chan struct{})
	s.graph.sleep = func(ctx context.Context, d time.Duration) error {
		if d != noticeGap {
			return ctx.Err()
		}
		select {
		case <-gap:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	woken, end := watching(t, server, s)
	for range 100 {
		_, err := server.Notify("users", nil)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return woken.Load() == 2 }, time.Minute, time.Millisecond, "the first at once")
	gap <- struct{}{}
	require.Eventually(t, func() bool { return woken.Load() == 3 }, time.Minute, time.Millisecond, "the rest together")
	gap <- struct{}{}
	require.ErrorIs(t, end(), context.Canceled)
	require.EqualValues(t, 3, woken.Load())
}

func TestRule_GRAPH_38_subscriptions_are_kept(t *testing.T) {
	renewals := func(server *graphtest.Server) int {
		n := 0
		for _, r := range server.Requests() {
			if r.Method == http.MethodPatch {
				n++
			}
		}
		return n
	}
	t.Run("renewed in time", func(t *testing.T) {
		server, s, _ := notified(t)
		s.hook.renew = 50 * time.Millisecond
		_, end := watching(t, server, s)
		require.Eventually(t, func() bool { return renewals(server) >= 4 }, time.Minute, time.Millisecond)
		require.ErrorIs(t, end(), context.Canceled)
	})
	t.Run("renewed when Graph asks", func(t *testing.T) {
		server, s, _ := notified(t)
		woken, end := watching(t, server, s)
		_, err := server.Lifecycle("reauthorizationRequired")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return renewals(server) >= 2 }, time.Minute, time.Millisecond)
		_, err = server.Lifecycle("missed")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return woken.Load() == 2 }, time.Minute, time.Millisecond)
		require.ErrorIs(t, end(), context.Canceled)
	})
	for name, lose := range map[string]func(*graphtest.Server, *Source) error{
		"begun anew when Graph has ended one": func(server *graphtest.Server, _ *Source) error {
			_, err := server.Lifecycle("subscriptionRemoved")
			return err
		},
		"begun anew when one is gone": func(server *graphtest.Server, _ *Source) error {
			_, err := server.Lifecycle("reauthorizationRequired")
			server.DropSubscriptions()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, s, _ := notified(t)
			done := make(chan error, 1)
			woken := new(atomic.Int64)
			go func() { done <- s.Watch(t.Context(), directory.Start{}, func() { woken.Add(1) }) }()
			require.Eventually(t, func() bool { return woken.Load() == 1 }, time.Minute, time.Millisecond)
			require.NoError(t, lose(server, s))
			if err := <-done; err == nil {
				t.Fatal("the watch goes on without a subscription")
			}
			_, end := watching(t, server, s)
			require.ErrorIs(t, end(), context.Canceled)
		})
	}
}

func TestRule_GRAPH_37_what_keeps_Graph_from_subscribing_is_said(t *testing.T) {
	t.Run("the permission", func(t *testing.T) {
		server, s, _ := notified(t)
		server.Deny(graphtest.GroupRead)
		err := s.Watch(t.Context(), directory.Start{}, func() { t.Error("woken") })
		require.ErrorIs(t, err, directory.ErrAuth)
		require.ErrorContains(t, err, "Group.Read.All")
		require.Empty(t, server.Subscriptions())
		_, err = s.Probe(t.Context())
		require.ErrorContains(t, err, "Group.Read.All")

		var waited time.Duration
		s.graph.sleep = func(ctx context.Context, d time.Duration) error { waited = d; return ctx.Err() }
		require.Error(t, s.Watch(t.Context(), directory.Start{}, func() { t.Error("woken") }))
		require.InDelta(t, subscribeAgain.Seconds(), waited.Seconds(), 60, "it is not asked for all the time")

		readFull(t, s) // and reading goes on
	})
	t.Run("an endpoint that Graph does not reach", func(t *testing.T) {
		_, s, endpoint := notified(t)
		endpoint.Close()
		err := s.Watch(t.Context(), directory.Start{}, func() { t.Error("woken") })
		require.ErrorContains(t, err, "Subscription validation request failed")
		readFull(t, s)
	})
	for name, address := range map[string]string{"in the clear": "http://ambit.example.com/n", "no address": "ambit", "with a query": "https://ambit.example.com/n?x=1"} {
		t.Run(name, func(t *testing.T) {
			c := Config{TenantID: "t", ManagedIdentity: true, Notifications: &Notifications{URL: address}}
			require.ErrorContains(t, c.Validate(), "notifications.url: want https://host/path")
		})
	}
}

func TestTheEndpointOfNotificationsTakesNothingElse(t *testing.T) {
	s := source(t, few(t))
	for name, c := range map[string]struct {
		method, target, body string
		status               int
		says                 string
	}{
		"a validation":               {http.MethodPost, "/?validationToken=a%2Bb%3Cb%3E+c", "", http.StatusOK, "a+b<b> c"},
		"a validation without end":   {http.MethodPost, "/?validationToken=" + strings.Repeat("x", maxValidationToken+1), "", http.StatusBadRequest, "too long"},
		"another method":             {http.MethodGet, "/?validationToken=x", "", http.StatusMethodNotAllowed, "by POST"},
		"no JSON":                    {http.MethodPost, "/", "hello", http.StatusBadRequest, "no notification"},
		"nothing":                    {http.MethodPost, "/", "", http.StatusBadRequest, "no notification"},
		"another shape":              {http.MethodPost, "/", `{"value":3}`, http.StatusBadRequest, "no notification"},
		"a body without end":         {http.MethodPost, "/", `{"value":[` + strings.Repeat(" ", maxNotice), http.StatusRequestEntityTooLarge, "no notification"},
		"a notification of anything": {http.MethodPost, "/", `{"value":[{"subscriptionId":"x","changeType":"deleted"}]}`, http.StatusAccepted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(c.method, c.target, strings.NewReader(c.body)))
			require.Equal(t, c.status, w.Code)
			body, err := io.ReadAll(w.Body)
			require.NoError(t, err)
			require.Contains(t, string(body), c.says)
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			if c.status == http.StatusOK {
				require.Equal(t, c.says, string(body))
				require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
			}
			require.Empty(t, s.hook.changed)
		})
	}
}

// TestRule_GRAPH_39_a_notification_that_reaches_another_process_is_handed_on has two
// processes, of which one watches and the other one is reached.
func TestRule_GRAPH_39_a_notification_that_reaches_another_process_is_handed_on(t *testing.T) {
	server, reached, endpoint := notified(t)
	watches := source(t, server, func(c *Config) { c.Notifications = &Notifications{URL: endpoint.URL + "/notifications/entra"} })
	watches.graph.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	var calls []string
	var fails error
	reached.CallBy(func(_ context.Context, text string) error {
		if fails == nil {
			calls = append(calls, text)
			watches.Called(text)
			reached.Called(text) // everybody hears, whoever calls too
		}
		return fails
	})
	woken, end := watching(t, server, watches)
	var secret string
	statuses, err := server.Notify("users", func(n map[string]any) { secret = n["clientState"].(string) })
	require.NoError(t, err)
	require.Equal(t, []int{http.StatusAccepted}, statuses)
	require.Eventually(t, func() bool { return woken.Load() == 2 }, time.Minute, time.Millisecond)
	require.Len(t, calls, 1)
	require.NotContains(t, calls[0], secret, "whoever watches knows it")

	// A stranger's is handed on, and believed by nobody.
	for _, n := range []string{`{"clientState":"guess"}`, `{}`, `{"clientState":"guess","lifecycleEvent":"` + strings.Repeat("x", 9000) + `"}`} {
		answer, err := endpoint.Client().Post(endpoint.URL, "application/json", strings.NewReader(`{"value":[`+n+`]}`))
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusAccepted, answer.StatusCode)
	}
	for _, text := range append(calls, "", "nonsense", strings.Repeat("00", 32)+" ") {
		require.Less(t, len(text), 128)
		reached.Called(text)
	}
	watches.Called("nonsense")
	watches.Called(strings.Repeat("00", 32) + " ")
	require.Empty(t, reached.hook.changed)
	// Many different ones in one request are none of Graph's.
	before := len(calls)
	answer, err := endpoint.Client().Post(endpoint.URL, "application/json", strings.NewReader(`{"value":[{"clientState":"1"},{"clientState":"2"},{"clientState":"3"},{"clientState":"4"},{"clientState":"5"}]}`))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Len(t, calls, before)

	// What cannot be handed on is asked for again.
	fails = directory.ErrUnreachable
	statuses, err = server.Notify("users", nil)
	require.NoError(t, err)
	require.Equal(t, []int{http.StatusServiceUnavailable}, statuses)
	fails = nil
	require.EqualValues(t, 2, woken.Load())
	statuses, err = server.Lifecycle("subscriptionRemoved")
	require.NoError(t, err)
	require.Contains(t, statuses, http.StatusAccepted)
	require.Eventually(t, func() bool { return len(server.Subscriptions()) == 0 }, time.Minute, time.Millisecond, "the watch ends, to begin anew")
	require.ErrorContains(t, end(), "a subscription was ended by Graph")

	reached.hook.calls.SetBurst(0) // as after too many
	answer, err = endpoint.Client().Post(endpoint.URL, "application/json", strings.NewReader(`{"value":[{}]}`))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
	require.Equal(t, "10", answer.Header.Get("Retry-After"))
}
