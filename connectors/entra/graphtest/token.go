package graphtest

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// accessLife is how long an access token is good.
const accessLife = time.Hour

// TrustCertificate lets the application prove itself with the certificate's key.
func (s *Server) TrustCertificate(c *x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certificate = c
}

// TrustFederated lets the application prove itself with a token of another issuer,
// as a workload identity does.
func (s *Server) TrustFederated(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.federated = token
}

// SetSecret changes the application's client secret.
func (s *Server) SetSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

// ExpireTokens ends all access tokens that were given out.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// authority answers for the identity platform.
func (s *Server) authority(r *http.Request) answer {
	switch r.URL.Path {
	case "/" + Tenant + "/v2.0/.well-known/openid-configuration":
		return reply(http.StatusOK, map[string]any{
			"issuer": s.authorityURL() + "/" + Tenant + "/v2.0", "token_endpoint": s.tokenEndpoint(), "authorization_endpoint": s.authorityURL() + "/" + Tenant + "/oauth2/v2.0/authorize",
		})
	case "/" + Tenant + "/oauth2/v2.0/token":
		return s.grant(r)
	case "/common/discovery/instance": // what a cloud's authority says of itself
		u, _ := url.Parse(s.authorityURL()) // it is one
		return reply(http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": s.authorityURL() + "/" + Tenant + "/v2.0/.well-known/openid-configuration",
			"metadata":                  []any{map[string]any{"preferred_network": u.Host, "preferred_cache": u.Host, "aliases": []string{u.Host}}},
		})
	case "/msi/token":
		if r.Header.Get("X-Identity-Header") != ClientSecret {
			return reply(http.StatusUnauthorized, map[string]any{"message": "the identity header is wrong"})
		}
		return s.machineToken(r, func(end time.Time) any { return end.Unix() })
	}
	return reply(http.StatusNotFound, map[string]any{"error": "not_found"})
}

// machineToken is a token for the machine itself.
func (s *Server) machineToken(r *http.Request, expires func(time.Time) any) answer {
	if s.URL != r.Form.Get("resource") {
		return reply(http.StatusBadRequest, map[string]any{"error": "invalid_resource", "error_description": "AADSTS500011: no such resource: " + r.Form.Get("resource")})
	}
	token, end := s.issueToken()
	return reply(http.StatusOK, map[string]any{
		"access_token": token, "expires_on": expires(end), "expires_in": strconv.Itoa(int(time.Until(end).Seconds())), "resource": r.Form.Get("resource"), "token_type": "Bearer", "client_id": ClientID,
	})
}

// Metadata is the metadata service of a virtual machine with a managed identity,
// which is asked in the clear at a fixed address.
func (s *Server) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.URL.Path != "/metadata/identity/oauth2/token" || r.Header.Get("Metadata") != "true" {
			http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		a := s.machineToken(r, func(end time.Time) any { return strconv.FormatInt(end.Unix(), 10) })
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body) // the client may have gone
	})
}

func (s *Server) authorityURL() string { return cmp.Or(s.options.Authority, s.URL) }

func (s *Server) tokenEndpoint() string {
	return s.authorityURL() + "/" + Tenant + "/oauth2/v2.0/token"
}

// grant is the client credentials grant (RFC 6749 section 4.4), with a secret or
// an assertion (RFC 7523).
func (s *Server) grant(r *http.Request) answer {
	deny := func(status int, code, description string) answer {
		return reply(status, map[string]any{"error": code, "error_description": description, "correlation_id": "00000000-0000-0000-0000-000000000000"})
	}
	f := r.PostForm
	assertion := f.Get("client_assertion")
	switch {
	case r.Method != http.MethodPost || f.Get("grant_type") != "client_credentials":
		return deny(http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: the grant type is not supported.")
	case f.Get("client_id") != ClientID:
		return deny(http.StatusBadRequest, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
	case !strings.Contains(" "+f.Get("scope")+" ", " "+s.URL+"/.default "):
		return deny(http.StatusBadRequest, "invalid_scope", "AADSTS1002012: The provided value for scope "+f.Get("scope")+" is not valid.")
	case assertion == "" && subtle.ConstantTimeCompare([]byte(f.Get("client_secret")), []byte(s.secret)) != 1:
		return deny(http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
	case assertion != "" && !s.proves(assertion):
		return deny(http.StatusUnauthorized, "invalid_client", "AADSTS700027: The certificate or token used to prove the client's identity is not registered or not valid.")
	}
	token, end := s.issueToken()
	return reply(http.StatusOK, map[string]any{"token_type": "Bearer", "access_token": token, "expires_in": int(time.Until(end).Seconds()), "ext_expires_in": int(accessLife.Seconds())})
}

// proves judges a client assertion.
func (s *Server) proves(assertion string) bool {
	if s.federated != "" && assertion == s.federated {
		return true
	}
	if s.certificate == nil {
		return false
	}
	token, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.PS256, jose.RS256})
	if err != nil {
		return false
	}
	var claims jwt.Claims
	if err := token.Claims(s.certificate.PublicKey, &claims); err != nil {
		return false
	}
	return claims.Validate(jwt.Expected{Issuer: ClientID, Subject: ClientID, AnyAudience: jwt.Audience{s.tokenEndpoint()}, Time: time.Now()}) == nil
}

// issueToken makes a token that names the permissions granted now.
func (s *Server) issueToken() (string, time.Time) {
	end := time.Now().Add(accessLife)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, nil)
	if err != nil {
		panic("internal error: graphtest: " + err.Error())
	}
	var roles []string
	for permission, granted := range s.permissions {
		if granted {
			roles = append(roles, permission)
		}
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{ID: rand.Text(), Audience: jwt.Audience{s.URL}, Expiry: jwt.NewNumericDate(end)}).
		Claims(map[string]any{"roles": roles}).Serialize()
	if err != nil {
		panic("internal error: graphtest: " + err.Error())
	}
	s.tokens[token] = end
	return token, end
}

// authenticate tells whether the request has a token that is good now.
func (s *Server) authenticate(r *http.Request) (answer, bool) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	end, known := s.tokens[token]
	if ok && known && time.Now().Before(end) {
		return answer{}, true
	}
	return expiredToken(), false
}

func expiredToken() answer {
	a := refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
	a.header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"`)
	return a
}
