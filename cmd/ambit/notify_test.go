package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/tenant"
)

// TestRule_GRAPH_37_a_change_that_is_told_of_is_in_force_at_once lets Graph notify a
// daemon, behind a proxy that has the certificate, whose interval is a day.
func TestRule_GRAPH_37_a_change_that_is_told_of_is_in_force_at_once(t *testing.T) {
	backend := &url.URL{Scheme: "http"}
	listening := make(chan struct{})
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		<-listening
		r.SetURL(backend)
	}})
	defer proxy.Close()
	dir := t.TempDir()
	server, err := graphtest.Start(dir, graphtest.Options{Notify: proxy.Client()})
	require.NoError(t, err)
	defer server.Close()
	server.AddUser("ann", map[string]any{"userPrincipalName": "ann@contoso.example", "displayName": "Ann", "accountEnabled": true, "userType": "Member"})
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte(graphtest.ClientSecret), 0o600))
	d, log := daemonOf(t, map[string]string{
		"model.yaml": "environments: {sales: {business_units: {HQ: {}}}}\n",
		"mapping.yaml": `
environments: {sales: {}}
rules:
  - name: people
    match: {source: office, users: 'has(user.userName)'}
    user: {environment: sales, business_unit: HQ}
`,
	}, `
model: [model.yaml]
sync: {interval: 24h}
sources:
  - id: office
    entra:
      tenant_id: `+graphtest.Tenant+`
      client_id: `+graphtest.ClientID+`
      client_secret: file:`+secret+`
      graph_endpoint: `+server.URL+`
      authority: `+server.URL+`
      ca_file: `+server.CAFile+`
      notifications: {url: "`+proxy.URL+`/notifications/office"}
`)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- d.serve(ctx, func(address string) {
			backend.Host = address
			close(listening)
		})
	}()
	eventually := func(what string, is func() bool) {
		t.Helper()
		require.Eventually(t, is, time.Minute, 10*time.Millisecond, "%s\n%s", what, log)
	}
	there := func(login string) bool {
		found := false
		require.NoError(t, d.tenant.Read(func(v tenant.View) error {
			if s, err := v.State("sales"); err == nil {
				_, found = s.UserByLogin(login)
			}
			return nil
		}))
		return found
	}
	eventually("subscribed", func() bool { return slices.Equal([]string{"groups", "users"}, server.Subscriptions()) })
	eventually("ann", func() bool { return there("ann@contoso.example") })
	server.AddUser("bob", map[string]any{"userPrincipalName": "bob@contoso.example", "displayName": "Bob", "accountEnabled": true, "userType": "Member"})
	statuses, err := server.Notify("users", nil)
	require.NoError(t, err)
	require.Equal(t, []int{http.StatusAccepted}, statuses)
	eventually("bob", func() bool { return there("bob@contoso.example") })

	// Nothing else is there for strangers.
	for _, path := range []string{"/notifications/", "/notifications/other", "/notifications/office/more", "/notifications/../v1/sync"} {
		answer, err := proxy.Client().Post(proxy.URL+path, "application/json", nil)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Contains(t, []int{http.StatusNotFound, http.StatusUnauthorized}, answer.StatusCode, path)
	}
	stop()
	require.NoError(t, <-ended)
	require.Empty(t, server.Subscriptions())
}
