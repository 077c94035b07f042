// Package oidctest is a small OpenID issuer on loopback, over TLS, for tests and
// the demo: metadata, keys that can be rotated, and a token endpoint for
// sign-ins with a password. It is not for production.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// SignIn is a person who can sign in.
type SignIn struct {
	UserName string // becomes the claims sub and preferred_username
	Password string
}

// Issuer is a running issuer.
type Issuer struct {
	// URL is the issuer's identifier.
	URL string
	// CAFile holds the certificate that the issuer's TLS is verified with.
	CAFile   string
	audience string
	lifetime time.Duration
	server   *httptest.Server
	signIns  map[string]string

	mu   sync.Mutex
	keys []jose.JSONWebKey // the last one signs
	made int
}

// Start runs an issuer whose tokens are for the audience and last an hour. It
// writes its certificate into dir. Close ends it.
func Start(dir, audience string, signIns ...SignIn) (*Issuer, error) {
	i := &Issuer{audience: audience, lifetime: time.Hour, signIns: map[string]string{}}
	for _, s := range signIns {
		i.signIns[s.UserName] = s.Password
	}
	if err := i.Rotate(false); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.metadata)
	mux.HandleFunc("GET /keys", i.jwks)
	mux.HandleFunc("POST /token", i.token)
	i.server = httptest.NewTLSServer(mux)
	i.URL = i.server.URL
	i.CAFile = filepath.Join(dir, "issuer-ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}
	if err := os.WriteFile(i.CAFile, pem.EncodeToMemory(block), 0o600); err != nil {
		i.Close()
		return nil, fmt.Errorf("write the issuer's certificate: %w", err)
	}
	return i, nil
}

// Close stops the server.
func (i *Issuer) Close() { i.server.Close() }

// Rotate makes a new signing key. With forget, tokens of older keys are not
// verifiable any more.
func (i *Issuer) Rotate(forget bool) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if forget {
		i.keys = nil
	}
	i.made++
	i.keys = append(i.keys, jose.JSONWebKey{Key: key, KeyID: fmt.Sprintf("key-%d", i.made), Algorithm: string(jose.ES256), Use: "sig"})
	return nil
}

// Key is the present signing key, for tests that make their own tokens.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Token makes a valid access token for the user; claims add to or replace its
// claims, and nil removes one.
func (i *Issuer) Token(user string, claims map[string]any) (string, error) {
	now := time.Now()
	all := map[string]any{
		"iss": i.URL, "aud": i.audience, "sub": user, "preferred_username": user,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(i.lifetime).Unix(), "auth_time": now.Unix(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return Sign(i.Key(), jose.ES256, all)
}

// Sign makes a compact token of the claims.
func Sign(key any, alg jose.SignatureAlgorithm, claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

func (i *Issuer) metadata(w http.ResponseWriter, _ *http.Request) {
	respond(w, http.StatusOK, map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys", "token_endpoint": i.URL + "/token",
		"authorization_endpoint": i.URL + "/authorize", "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"grant_types_supported": []string{"password"},
	})
}

func (i *Issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	respond(w, http.StatusOK, set)
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("username")
	password, known := i.signIns[user]
	if !known || r.PostFormValue("grant_type") != "password" || r.PostFormValue("password") != password {
		respond(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	token, err := i.Token(user, nil)
	if err != nil {
		respond(w, http.StatusInternalServerError, map[string]any{"error": "server_error"})
		return
	}
	respond(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(i.lifetime.Seconds())})
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if it fails
}
