package graphtest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/testdata/company"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a plain one with a token.
type client struct {
	t      *testing.T
	http   *http.Client
	server *Server
	token  string
}

func start(t *testing.T, o Options) client {
	server, err := Start(t.TempDir(), o)
	require.NoError(t, err)
	pem, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, server.Close())
	})
	c := client{t: t, http: &http.Client{Transport: transport}, server: server}
	answer, err := c.http.PostForm(server.tokenEndpoint(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {ClientID}, "client_secret": {ClientSecret}, "scope": {server.URL + "/.default"},
	})
	require.NoError(t, err)
	defer answer.Body.Close()
	var said struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&said))
	require.NotEmpty(t, said.Token)
	c.token = said.Token
	return c
}

// body is what Graph answers with.
type body struct {
	Value []map[string]any `json:"value"`
	Next  string           `json:"@odata.nextLink"`
	Delta string           `json:"@odata.deltaLink"`
	Error struct{ Code string }
}

func (c client) get(link string) (*http.Response, body) {
	c.t.Helper()
	if strings.HasPrefix(link, "/") {
		link = c.server.URL + link
	}
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, link, nil)
	require.NoError(c.t, err)
	r.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := c.http.Do(r)
	require.NoError(c.t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	var said body
	require.NoError(c.t, json.Unmarshal(b, &said), string(b))
	return answer, said
}

// all follows a round to its deltaLink.
func (c client) all(link string) (values []map[string]any, delta string) {
	c.t.Helper()
	for {
		answer, said := c.get(link)
		require.Equal(c.t, http.StatusOK, answer.StatusCode, said.Error)
		values = append(values, said.Value...)
		if said.Delta != "" {
			return values, said.Delta
		}
		link = said.Next
	}
}

func TestRule_GRAPH_6_every_spelling_of_delta_is_known(t *testing.T) {
	c := start(t, Options{PageSize: 1})
	c.server.AddUser("ann", map[string]any{"displayName": "Ann"})
	c.server.AddUser("bob", map[string]any{"displayName": "Bob"})
	for _, spelling := range []string{"delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"} {
		values, delta := c.all("/v1.0/users/" + spelling + "?$select=displayName")
		require.Len(t, values, 2, spelling)
		values, _ = c.all(delta)
		require.Empty(t, values)
	}
}

func TestRule_GRAPH_7_a_link_is_good_byte_for_byte(t *testing.T) {
	c := start(t, Options{})
	_, delta := c.all("/v1.0/users/delta?$select=displayName")
	answer, said := c.get(strings.Replace(delta, "%2D", "-", 1))
	require.Equal(t, http.StatusBadRequest, answer.StatusCode)
	require.Equal(t, "syncStateNotFound", said.Error.Code)
}

func TestRule_GRAPH_9_only_what_is_selected_is_a_change(t *testing.T) {
	c := start(t, Options{})
	c.server.AddUser("ann", map[string]any{"displayName": "Ann", "mail": "a@b.example"})
	values, delta := c.all("/v1.0/users/delta?$select=displayName,mobilePhone")
	require.Equal(t, []map[string]any{{"id": "ann", "displayName": "Ann"}}, values, "never set is absent")
	c.server.SetAttribute("ann", "mail", "c@d.example")
	values, delta = c.all(delta)
	require.Empty(t, values)
	c.server.SetAttribute("ann", "displayName", nil)
	values, _ = c.all(delta)
	require.Equal(t, []map[string]any{{"id": "ann", "displayName": nil}}, values, "cleared is null")
}

func TestRule_GRAPH_14_a_group_is_split_with_others_between(t *testing.T) {
	c := start(t, Options{PageSize: 2, EdgesPerEntry: 2})
	for i := range 5 {
		c.server.AddUser(fmt.Sprint("u", i), nil)
	}
	for _, g := range []string{"a", "b"} {
		c.server.AddGroup(g, map[string]any{"displayName": g})
		for i := range 5 {
			c.server.AddMember(g, fmt.Sprint("u", i))
		}
	}
	values, delta := c.all("/v1.0/groups/delta?$select=displayName,members")
	var order []any
	for _, v := range values {
		order = append(order, v["id"])
	}
	require.Equal(t, []any{"a", "b", "a", "a", "b", "b"}, order)
	c.server.Remove("u1")
	values, _ = c.all(delta)
	require.Len(t, values, 2)
	require.Equal(t, []any{map[string]any{"@odata.type": userType, "id": "u1", "@removed": map[string]any{"reason": "deleted"}}}, values[0]["members@delta"])
}

func TestRule_GRAPH_17_the_newest_link_alone(t *testing.T) {
	c := start(t, Options{})
	c.server.AddUser("ann", nil)
	values, delta := c.all("/v1.0/users/delta?$deltatoken=latest&$select=displayName")
	require.Empty(t, values)
	c.server.AddUser("bob", nil)
	values, _ = c.all(delta)
	require.Equal(t, []map[string]any{{"id": "bob"}}, values)
}

func TestRule_GRAPH_18_a_link_lives_for_seven_days(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Now: func() time.Time { return now }})
	_, delta := c.all("/v1.0/users/delta")
	now = now.Add(7 * 24 * time.Hour)
	c.all(delta)
	now = now.Add(time.Second)
	answer, _ := c.get(delta)
	require.Equal(t, http.StatusBadRequest, answer.StatusCode)
	c.server.Arm(Gone(), 1)
	answer, _ = c.get(delta)
	require.Equal(t, http.StatusGone, answer.StatusCode)
	again := answer.Header.Get("Location")
	require.Equal(t, c.server.URL+"/v1.0/users/delta?$deltatoken=", again)
	c.all(again)
}

func TestWithoutTokenOrPermissionNothingIsSaid(t *testing.T) {
	c := start(t, Options{})
	c.server.Load(company.Small())
	c.server.Deny(UserRead)
	answer, said := c.get("/v1.0/users/delta")
	require.Equal(t, http.StatusForbidden, answer.StatusCode)
	require.Equal(t, "Authorization_RequestDenied", said.Error.Code)
	c.server.ExpireTokens()
	answer, said = c.get("/v1.0/groups/delta")
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	require.Equal(t, "InvalidAuthenticationToken", said.Error.Code)
}

func TestRule_GRAPH_12_restoring_brings_the_edges_back(t *testing.T) {
	c := start(t, Options{})
	c.server.AddUser("ann", nil)
	c.server.AddUser("bob", nil)
	c.server.AddGroup("g", nil)
	c.server.AddMember("g", "ann")
	c.server.SetManager("bob", "ann")
	c.server.Remove("ann")
	_, edges := c.server.Holds()
	require.Empty(t, edges)
	c.server.AddMember("g", "ann") // whoever is deleted cannot be added
	c.server.Restore("ann")
	_, edges = c.server.Holds()
	require.Equal(t, map[Edge]bool{{"g", members, "ann"}: true, {"bob", manager, "ann"}: true}, edges)
	c.server.Purge("ann")
	c.server.Restore("ann")
	objects, edges := c.server.Holds()
	require.Len(t, objects, 2)
	require.Empty(t, edges)
}
