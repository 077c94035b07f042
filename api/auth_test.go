package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/api/oidctest"
)

const whoami = "/v1/jit/eligible"

// TestRule_SEC_1_every_route_needs_a_principal asks each route without one.
func TestRule_SEC_1_every_route_needs_a_principal(t *testing.T) {
	w := newWorld(t)
	require.Greater(t, len(w.api.Routes()), 40)
	for _, r := range w.api.Routes() {
		path := strings.NewReplacer("{environment}", "sales", "{key}", "x", "{id}", "x", "{user}", "amelie").Replace(r.Path)
		got := w.send("", r.Method, path, map[string]any{})
		require.Equal(t, http.StatusUnauthorized, got.status, "%s %s", r.Method, r.Path)
		require.Contains(t, got.header.Get("WWW-Authenticate"), "Bearer")
		require.Equal(t, "urn:ambit:problem:unauthenticated", got.problem(t).Type)
	}
	for _, open := range []string{"/healthz", "/readyz", "/openapi.json", "/.well-known/authzen-configuration/pdp/sales"} {
		require.Equal(t, http.StatusOK, w.send("", "GET", open, nil).status, open)
	}
}

func TestRule_SEC_1_tokens_that_are_refused(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, http.StatusOK, w.as("amelie", "GET", whoami, nil).status)

	claims := func(change map[string]any) string {
		token, err := w.issuer.Token("amelie", change)
		require.NoError(t, err)
		return token
	}
	sign := func(key any, alg jose.SignatureAlgorithm) string {
		token, err := oidctest.Sign(key, alg, map[string]any{
			"iss": w.issuer.URL, "aud": audience, "preferred_username": "amelie", "exp": time.Now().Add(time.Hour).Unix(),
		})
		require.NoError(t, err)
		return token
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signing := w.issuer.Key()
	public, err := x509.MarshalPKIXPublicKey(signing.Public().Key)
	require.NoError(t, err)
	valid := strings.Split(claims(nil), ".")
	part := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}

	for name, c := range map[string]struct{ token, says string }{
		"of another audience":              {claims(map[string]any{"aud": "another"}), "audience"},
		"of another issuer":                {claims(map[string]any{"iss": "https://elsewhere.example"}), "issued by a different provider"},
		"expired":                          {claims(map[string]any{"exp": w.wall.Add(-time.Hour).Unix()}), "expired"},
		"without an expiry":                {claims(map[string]any{"exp": nil}), "expired"},
		"not valid yet":                    {claims(map[string]any{"nbf": w.wall.Add(time.Hour).Unix()}), "not before"},
		"without the claim that names":     {claims(map[string]any{"preferred_username": nil}), "preferred_username"},
		"with alg none":                    {part(map[string]any{"alg": "none", "typ": "at+jwt"}) + "." + valid[1] + ".", "not acceptable"},
		"signed with the public key by HS": {sign(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), jose.HS256), "not acceptable"},
		"of an unknown key":                {sign(jose.JSONWebKey{Key: stranger, KeyID: "unknown"}, jose.ES256), "not acceptable"},
		"of a stranger under a known kid":  {sign(jose.JSONWebKey{Key: stranger, KeyID: w.issuer.Key().KeyID}, jose.ES256), "not acceptable"},
		"with another payload":             {valid[0] + "." + part(map[string]any{"iss": w.issuer.URL, "aud": audience, "preferred_username": "admin"}) + "." + valid[2], "not acceptable"},
		"that is huge":                     {strings.Repeat("x", 20<<10), "longer than"},
		"that is no token":                 {"hello", "not acceptable"},
		"of an unknown bootstrap":          {api.BootstrapPrefix + "0", "bootstrap"},
	} {
		t.Run("a token "+name, func(t *testing.T) {
			got := w.send(c.token, "GET", whoami, nil)
			require.Equal(t, http.StatusUnauthorized, got.status, "%s", got.body)
			require.Contains(t, got.problem(t).Detail, c.says)
			require.NotContains(t, string(got.body), c.token, "a token is never repeated")
		})
	}
}

func TestKeysRotate(t *testing.T) {
	w := newWorld(t)
	old, err := w.issuer.Token("amelie", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, w.send(old, "GET", whoami, nil).status)

	require.NoError(t, w.issuer.Rotate(false))
	require.Equal(t, http.StatusOK, w.as("amelie", "GET", whoami, nil).status, "a new key is fetched when it is first seen")
	require.Equal(t, http.StatusOK, w.send(old, "GET", whoami, nil).status, "the old key still counts while it is published")

	require.NoError(t, w.issuer.Rotate(true))
	w.pass(11 * time.Minute)
	require.Equal(t, http.StatusUnauthorized, w.send(old, "GET", whoami, nil).status, "a withdrawn key stops working")
	require.Equal(t, http.StatusOK, w.as("amelie", "GET", whoami, nil).status)
}

// TestRule_SEC_3_missing_security_settings_refuse_to_start takes one away at a time.
func TestRule_SEC_3_missing_security_settings_refuse_to_start(t *testing.T) {
	good := api.Authentication{Issuer: "https://login.example", Audience: "ambit", Algorithms: []string{"RS256"}, UserClaim: "oid"}
	require.NoError(t, good.Validate())
	for name, spoil := range map[string]func(*api.Authentication){
		"issuer":      func(a *api.Authentication) { a.Issuer = "" },
		"https":       func(a *api.Authentication) { a.Issuer = "http://login.example" },
		"audience":    func(a *api.Authentication) { a.Audience = "" },
		"algorithms":  func(a *api.Authentication) { a.Algorithms = nil },
		"HS256":       func(a *api.Authentication) { a.Algorithms = []string{"HS256"} },
		"none":        func(a *api.Authentication) { a.Algorithms = []string{"none"} },
		"user_claim":  func(a *api.Authentication) { a.UserClaim = "" },
		"every fault": func(a *api.Authentication) { *a = api.Authentication{} },
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			spoil(&bad)
			require.Error(t, bad.Validate())
		})
	}
}

// TestRule_SEC_2_the_engine_decides_per_route gives each route to people with and
// without the privilege it names.
func TestRule_SEC_2_the_engine_decides_per_route(t *testing.T) {
	w := newWorld(t)
	for _, r := range w.api.Routes() {
		if r.Table == "" {
			continue
		}
		path := strings.NewReplacer("{environment}", "sales", "{key}", "x", "{id}", "x", "{user}", "amelie").Replace(r.Path)
		require.Equal(t, http.StatusForbidden, w.as("amelie", r.Method, path, map[string]any{}).status, "%s %s for somebody without a role in Ambit", r.Method, r.Path)
		admin := w.as("admin", r.Method, path, map[string]any{})
		require.NotContains(t, []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusInternalServerError}, admin.status, "%s %s for an administrator: %s", r.Method, r.Path, admin.body)
		auditor := w.as("auditor", r.Method, path, map[string]any{}).status
		if r.Action != access.Read {
			require.Equal(t, http.StatusForbidden, auditor, "%s %s for an auditor, who changes nothing", r.Method, r.Path)
		}
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	t.Run("an unknown field is named", func(t *testing.T) {
		got := w.as("admin", "POST", "/v1/environments/sales/check", `{"user":"amelie","action":"read","table":"account","colour":"red"}`)
		require.Equal(t, http.StatusUnprocessableEntity, got.status)
		p := got.problem(t)
		require.NotEmpty(t, p.Errors)
		require.Contains(t, p.Errors[0].Pointer, "colour")
	})
	t.Run("an unknown query parameter is refused", func(t *testing.T) {
		require.Equal(t, http.StatusUnprocessableEntity, w.as("admin", "GET", "/v1/audit/events?colour=red", nil).status)
	})
	t.Run("a body of 100 MB is refused without being read into memory", func(t *testing.T) {
		body := bytes.NewReader(append([]byte(`{"user":"`), bytes.Repeat([]byte("x"), 100<<20)...))
		got := w.as("admin", "POST", "/v1/environments/sales/check", body)
		require.Equal(t, http.StatusRequestEntityTooLarge, got.status, "%s", got.body)
	})
	t.Run("what is not JSON is refused", func(t *testing.T) {
		require.Equal(t, http.StatusBadRequest, w.as("admin", "POST", "/v1/environments/sales/check", `{"user":`).status)
	})
	t.Run("an unknown environment is not found", func(t *testing.T) {
		require.Equal(t, http.StatusNotFound, w.as("admin", "GET", "/v1/environments/nowhere/users", nil).status)
	})
	t.Run("an unknown route is not found", func(t *testing.T) {
		require.Equal(t, "urn:ambit:problem:not-found", w.as("admin", "GET", "/v2/everything", nil).problem(t).Type)
	})
}
