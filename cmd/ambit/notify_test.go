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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/rig"
)

var officeFiles = map[string]string{
	"model.yaml": "environments: {sales: {business_units: {HQ: {}}}}\n",
	"mapping.yaml": `
environments: {sales: {}}
rules:
  - name: people
    match: {source: office, users: 'has(user.userName)'}
    user: {environment: sales, business_unit: HQ}
`,
}

// officeSource is a configuration whose source Graph tells of changes, by the proxy.
func officeSource(server *graphtest.Server, secret, proxy string) string {
	return `
model: [model.yaml]
sync: {interval: 24h}
sources:
  - id: office
    entra:
      tenant_id: ` + graphtest.Tenant + `
      client_id: ` + graphtest.ClientID + `
      client_secret: file:` + secret + `
      graph_endpoint: ` + server.URL + `
      authority: ` + server.URL + `
      ca_file: ` + server.CAFile + `
      notifications: {url: "` + proxy + `/notifications/office"}
`
}

// graphAndProxy starts a Graph that notifies through a proxy, which has the certificate
// and waits until it is told, once, whom it reaches.
func graphAndProxy(t *testing.T) (proxy *httptest.Server, server *graphtest.Server, reach func(address string)) {
	t.Helper()
	backend := &url.URL{Scheme: "http"}
	listening := make(chan struct{})
	proxy = httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		<-listening
		r.SetURL(backend)
	}})
	t.Cleanup(proxy.Close)
	server, err := graphtest.Start(t.TempDir(), graphtest.Options{Notify: proxy.Client()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return proxy, server, func(address string) {
		backend.Host = address
		close(listening)
	}
}

// TestRule_GRAPH_37_a_change_that_is_told_of_is_in_force_at_once lets Graph notify a
// daemon, behind a proxy that has the certificate, whose interval is a day.
func TestRule_GRAPH_37_a_change_that_is_told_of_is_in_force_at_once(t *testing.T) {
	proxy, server, reach := graphAndProxy(t)
	dir := t.TempDir()
	server.AddUser("ann", map[string]any{"userPrincipalName": "ann@contoso.example", "displayName": "Ann", "accountEnabled": true, "userType": "Member"})
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte(graphtest.ClientSecret), 0o600))
	d, log := daemonOf(t, officeFiles, officeSource(server, secret, proxy.URL))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- d.serve(ctx, reach)
	}()
	eventually := func(what string, is func() bool) {
		t.Helper()
		require.Eventually(t, is, time.Minute, 10*time.Millisecond, "%s\n%s", what, log)
	}
	there := func(login string) bool { return inSales(t, d, login) }
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

func inSales(t *testing.T, d *daemon, login string) (found bool) {
	t.Helper()
	require.NoError(t, d.tenant.Read(func(v tenant.View) error {
		if s, err := v.State("sales"); err == nil {
			_, found = s.UserByLogin(login)
		}
		return nil
	}))
	return found
}

// TestRule_GRAPH_39_a_notification_wakes_the_one_that_leads has two daemons on one
// PostgreSQL. Graph reaches the one that does not lead.
func TestRule_GRAPH_39_a_notification_wakes_the_one_that_leads(t *testing.T) {
	proxy, server, reach := graphAndProxy(t)
	dir := t.TempDir()
	person := func(name string) {
		server.AddUser(name, map[string]any{"userPrincipalName": name + "@contoso.example", "displayName": name, "accountEnabled": true, "userType": "Member"})
	}
	person("ann")
	secret, dsn := filepath.Join(dir, "secret"), filepath.Join(dir, "dsn")
	require.NoError(t, os.WriteFile(secret, []byte(graphtest.ClientSecret), 0o600))
	require.NoError(t, os.WriteFile(dsn, []byte(rig.Database(t)+" sslmode=disable"), 0o600))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	start := func(ready func(address string)) (*daemon, *journal) {
		d, log := daemonOn(t, "{postgres: {dsn: 'file:"+dsn+"'}}", officeFiles, officeSource(server, secret, proxy.URL))
		go func() { ended <- d.serve(ctx, ready) }()
		return d, log
	}
	eventually := func(log *journal, what string, is func() bool) {
		t.Helper()
		require.Eventually(t, is, 2*time.Minute, 10*time.Millisecond, "%s\n%s", what, log)
	}
	leads, said := start(func(string) {})
	eventually(said, "leads", func() bool { return strings.Contains(said.String(), "leads the synchronization") })
	follows, heard := start(reach)
	eventually(said, "subscribed", func() bool { return slices.Equal([]string{"groups", "users"}, server.Subscriptions()) })
	eventually(heard, "ann", func() bool { return inSales(t, follows, "ann@contoso.example") })
	person("bob")
	// It may not listen yet: as often as it takes, of which once would be enough.
	eventually(heard, "bob", func() bool {
		statuses, err := server.Notify("users", nil)
		require.NoError(t, err)
		require.Equal(t, []int{http.StatusAccepted}, statuses)
		return inSales(t, follows, "bob@contoso.example")
	})
	require.True(t, inSales(t, leads, "bob@contoso.example"))
	require.NotContains(t, heard.String(), "leads the synchronization")
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
	require.NoError(t, leads.close())
	require.NoError(t, follows.close())
}
