package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/scim"
)

// TestRule_SCIM_1_scim_has_its_own_authentication mounts a handler beside the
// routes: it is asked without an access token, and nothing else is.
func TestRule_SCIM_1_scim_has_its_own_authentication(t *testing.T) {
	w := newWorld(t)
	reached := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/panic") {
			panic("a fault")
		}
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "scim %s %d %v", r.URL.Path, len(body), err)
	})
	s, err := api.New(api.Options{Tenant: w.tenant, Store: w.store, Sync: still{}, SCIM: reached, Authentication: &api.Authentication{
		Issuer: w.issuer.URL, Audience: audience, Algorithms: []string{"ES256"}, UserClaim: "preferred_username", CAFile: w.issuer.CAFile,
	}})
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	ask := func(path, body string) (int, string) {
		answer, err := server.Client().Post(server.URL+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(b)
	}
	status, body := ask(scim.Root+"corp/Users", strings.Repeat("x", 3<<20))
	require.Equal(t, 200, status)
	require.Equal(t, "scim /scim/v2/corp/Users 3145728 <nil>", body, "its bounds are its own as well")
	status, _ = ask(scim.Root+"corp/panic", "")
	require.Equal(t, 500, status)
	for _, path := range []string{"/v1/sync", "/scim/v2", "/scim/v1/corp/Users"} {
		status, _ := ask(path, "{}")
		require.Equal(t, 401, status, path)
	}
}
