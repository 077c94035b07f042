package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/configs"
	"github.com/ambit-iam/ambit/tenant"
)

// TestRule_SCIM_1_a_client_pushes_to_the_daemon lets a client push to a daemon that
// reads a file as well: what it says is in force a moment later, its token changes
// with a reload, and it needs no access token.
func TestRule_SCIM_1_a_client_pushes_to_the_daemon(t *testing.T) {
	const first, second = "the-first-token-of-thirty-two-characters", "the-second-token-of-thirty-two-characters"
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(first), 0o600))
	d, log := daemonOf(t, map[string]string{
		"model.yaml": `
environments:
  sales:
    business_units: {HQ: {}}
    tables: {account: {ownership: user_or_team}}
    roles:
      Salesperson: {privileges: {account: {read: business_unit}}}
`,
		"mapping.yaml": `
environments: {sales: {}}
rules:
  - name: pushed people
    match: {source: corp, users: 'has(user.userName)'}
    user: {environment: sales, business_unit: HQ}
  - name: pushed teams
    match: {source: corp, group: 'Sales *'}
    team: {environment: sales, business_unit: HQ, roles: [Salesperson]}
  - name: staff of the file
    match: {source: staff, users: 'user.unit == "HQ"'}
    user: {environment: sales, business_unit: HQ}
`,
		"staff.csv": "id,userName,displayName,unit\n1,carol,Carol,HQ\n2,dan,Dan,Elsewhere\n# end 2\n",
	}, `
model: [model.yaml]
sources:
  - id: corp
    scim: {tokens: ["file:`+token+`"]}
  - id: staff
    file: {format: csv, end: trailer, users: {paths: [staff.csv]}}
`)
	ctx, stop := context.WithCancel(t.Context())
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- d.serve(ctx, func(a string) { address <- a }) }()
	url := "http://" + <-address + "/scim/v2/corp"
	send := func(method, path, bearer, body string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(b)
	}
	logins := func() string {
		var out []string
		require.NoError(t, d.tenant.Read(func(v tenant.View) error {
			s, err := v.State("sales")
			if err != nil {
				return nil // not yet
			}
			for _, login := range []string{"ada", "carol", "dan"} {
				if u, ok := s.UserByLogin(login); ok {
					teams := 0
					for k := range s.Memberships {
						if k.User == u.ID {
							teams++
						}
					}
					out = append(out, fmt.Sprint(login, " ", u.Enabled, " ", teams))
				}
			}
			return nil
		}))
		return strings.Join(out, ", ")
	}
	comes := func(want string) {
		require.Eventually(t, func() bool { return logins() == want }, time.Minute, 50*time.Millisecond, "%s\n%s", want, log)
	}
	status, body := send("POST", "/Users", first, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada","displayName":"Ada"}`)
	require.Equal(t, 201, status, body)
	_, id, _ := strings.Cut(body, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	comes("ada true 0, carol true 0")
	status, body = send("POST", "/Groups", first, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Sales HQ","members":[{"value":"`+id+`"}]}`)
	require.Equal(t, 201, status, body)
	comes("ada true 1, carol true 0")

	status, _ = send("GET", "/Users", second, "")
	require.Equal(t, 401, status)
	require.NoError(t, os.WriteFile(token, []byte(second), 0o600))
	require.NoError(t, d.reload())
	status, _ = send("GET", "/Users", first, "")
	require.Equal(t, 401, status)
	require.NoError(t, os.WriteFile(token, []byte("short"), 0o600))
	require.ErrorContains(t, d.reload(), "shorter than 32")
	status, _ = send("PATCH", "/Users/"+id, second, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":"active","value":"False"}]}`)
	require.Equal(t, 200, status, "the last good token stays")
	comes("ada false 1, carol true 0")

	stop()
	require.NoError(t, <-ended)
	require.NoError(t, d.close())
	require.NotContains(t, log.String(), first)
	require.NotContains(t, log.String(), second)
}

// TestTheExamplesFitTogether holds the rules of each shipped configuration to its
// sources and models.
func TestTheExamplesFitTogether(t *testing.T) {
	paths, err := filepath.Glob("../../configs/*/*.yaml")
	require.NoError(t, err)
	checked := 0
	for _, path := range paths {
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		if !strings.Contains(string(src), "\nlisten:") {
			continue
		}
		checked++
		config, err := configs.Load(path)
		require.NoError(t, err)
		f, err := readFiles(config, nil)
		require.NoError(t, err)
		names, err := f.names(config, nil)
		require.NoError(t, err)
		_, err = f.mapping.Compile(names)
		require.NoError(t, err, path)
	}
	require.GreaterOrEqual(t, checked, 5)
}
