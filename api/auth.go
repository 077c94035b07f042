package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/time/rate"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
)

// Authentication says whose access tokens are believed. Every field but CAFile
// and Source is required: there is no default that accepts anything (Rule SEC-3).
type Authentication struct {
	// Issuer is the OpenID issuer's https URL; its metadata and keys are read
	// from there.
	Issuer string `yaml:"issuer"`
	// Audience must be among the token's audiences.
	Audience string `yaml:"audience"`
	// Algorithms are the signature algorithms that are accepted.
	Algorithms []string `yaml:"algorithms"`
	// UserClaim is the claim that names the user.
	UserClaim string `yaml:"user_claim"`
	// Source, if set, is the directory source of which UserClaim holds the object
	// id (as Entra's oid does). Otherwise the claim holds the sign-in name.
	Source string `yaml:"source"`
	// CAFile holds the certificates that the issuer's is verified with, in PEM;
	// empty means the system's.
	CAFile string `yaml:"ca_file"`
}

// asymmetric lists the algorithms that can be configured: a shared secret or
// none never proves who issued a token (Rule SEC-1).
var asymmetric = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// Validate reports every fault.
func (a Authentication) Validate() error {
	var faults []error
	if u, err := url.Parse(a.Issuer); err != nil || u.Scheme != "https" || u.Host == "" {
		faults = append(faults, errors.New("authentication.issuer: want the issuer's https URL"))
	}
	if a.Audience == "" {
		faults = append(faults, errors.New("authentication.audience: want the audience that tokens for Ambit carry"))
	}
	if a.UserClaim == "" {
		faults = append(faults, errors.New("authentication.user_claim: want the claim that names the user, such as preferred_username or oid"))
	}
	if len(a.Algorithms) == 0 {
		faults = append(faults, errors.New("authentication.algorithms: want the issuer's signature algorithms, such as [RS256]"))
	}
	for _, alg := range a.Algorithms {
		if !slices.Contains(asymmetric, alg) {
			faults = append(faults, fmt.Errorf("authentication.algorithms: %q is not one of %s", alg, strings.Join(asymmetric, ", ")))
		}
	}
	return errors.Join(faults...)
}

// principal is who makes a request. The zero principal is nobody.
type principal struct {
	audit.Actor
	// claim is what the token names its user by; empty for others.
	claim string
}

// self finds the caller among an environment's users. Identity is all that a
// token gives: what the caller may do is asked of the engine (Rule JIT-29).
func (s *Server) self(state *access.State, p principal) (access.User, bool) {
	if p.claim == "" {
		return access.User{}, false
	}
	if id, ok := s.userID(p); ok {
		user, ok := state.Users[id]
		return user, ok
	}
	return state.UserByLogin(p.claim)
}

// userID is the user whom a claim names by id; false where it names one by login.
func (s *Server) userID(p principal) (access.UserID, bool) {
	source := s.verifier.config.Source
	return access.UserID(source + ":" + p.claim), source != ""
}

// own tells which accounts of any environment are the caller's own, or may be; nil for
// callers who are no person with a sign-in.
func (s *Server) own(p principal) func(access.User) bool {
	if p.claim == "" {
		return nil
	}
	if id, ok := s.userID(p); ok {
		return func(u access.User) bool { return u.ID == id }
	}
	return func(u access.User) bool { return access.Fold(u.Login) == access.Fold(p.claim) }
}

// errUnauthenticated refuses a token. Its text goes to the caller, so it says
// what is wrong and never repeats the token.
type errUnauthenticated struct{ reason string }

func (e errUnauthenticated) Error() string { return e.reason }

// errIssuer: the issuer's keys cannot be read, so that no token can be judged.
var errIssuer = errors.New("read the issuer's metadata")

const (
	// keysAge is how long a key set is used before it is read anew, so that a key
	// the issuer has withdrawn stops working. A key not seen yet is fetched at once.
	keysAge      = 10 * time.Minute
	maxTokenSize = 16 << 10 // bytes
	issuerWait   = 10 * time.Second
	issuerAgain  = 30 * time.Second // until an issuer that did not answer is asked again
)

// verifier checks access tokens against one issuer.
type verifier struct {
	config Authentication
	client *http.Client
	now    func() time.Time // Ambit time: set back, the clock lets no expired token in again (Rule JIT-21)
	log    *slog.Logger

	mu      sync.Mutex
	current *oidc.IDTokenVerifier
	read    time.Time // or when it is to be tried again, less keysAge
}

func newVerifier(a Authentication, now func() time.Time, log *slog.Logger) (*verifier, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	roots := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("authentication.ca_file: %w", err)
		}
		roots.RootCAs = x509.NewCertPool()
		if !roots.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("authentication.ca_file: %s holds no certificate in PEM", a.CAFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = roots
	client := &http.Client{
		// A flood of tokens with invented key ids must not become a flood on the issuer.
		Transport: &limited{next: transport, limiter: rate.NewLimiter(rate.Every(time.Second), 10)},
		Timeout:   issuerWait,
		// The metadata is where the configuration says (Rule SEC-4).
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the issuer redirects; configure its final URL")
		},
	}
	return &verifier{config: a, client: client, now: now, log: log}, nil
}

type limited struct {
	next    http.RoundTripper
	limiter *rate.Limiter
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.limiter.Allow() {
		return nil, errors.New("too many requests to the issuer in one second")
	}
	return l.next.RoundTrip(r)
}

// issuer returns the verifier for the issuer's present keys. While one request
// reads them anew, the others go on with the last: an issuer that is slow or down
// must not hold up every caller.
func (v *verifier) issuer(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	v.mu.Lock()
	current := v.current
	if current != nil && v.now().Sub(v.read) < keysAge {
		v.mu.Unlock()
		return current, nil
	}
	if current != nil {
		v.read = v.now().Add(issuerAgain - keysAge) // for those who come meanwhile, and if it fails
		v.mu.Unlock()
	} else {
		defer v.mu.Unlock() // nobody can go on without the first
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), v.client), v.config.Issuer)
	if err != nil {
		if current != nil {
			v.log.Warn("the issuer's keys cannot be read anew; those last read are used", "error", err)
			return current, nil
		}
		return nil, fmt.Errorf("%w: %w", errIssuer, err)
	}
	fresh := provider.Verifier(&oidc.Config{
		ClientID: v.config.Audience, SupportedSigningAlgs: v.config.Algorithms, Now: v.now,
	})
	if current != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
	}
	v.current, v.read = fresh, v.now()
	return fresh, nil
}

// verify returns the value of the user claim of a valid token. It returns
// errUnauthenticated for one that is not, and any other error where it cannot be
// judged.
func (v *verifier) verify(ctx context.Context, token string) (string, error) {
	if len(token) > maxTokenSize {
		return "", errUnauthenticated{fmt.Sprintf("the token is longer than %d bytes", maxTokenSize)}
	}
	issuer, err := v.issuer(ctx)
	if err != nil {
		return "", err
	}
	verified, err := issuer.Verify(ctx, token)
	if expired := (*oidc.TokenExpiredError)(nil); errors.As(err, &expired) {
		return "", errUnauthenticated{fmt.Sprintf("the token expired at %s; sign in again", expired.Expiry.UTC().Format(time.RFC3339))}
	}
	if err != nil {
		// The library's text can tell of the network between here and the issuer.
		v.log.Info("a token was refused", "error", err)
		return "", errUnauthenticated{"the token is not acceptable: " + v.why(token)}
	}
	var claims map[string]json.RawMessage
	var name string
	if verified.Claims(&claims) != nil || json.Unmarshal(claims[v.config.UserClaim], &name) != nil || name == "" {
		return "", errUnauthenticated{fmt.Sprintf("the token has no text claim %q, which names the user here", v.config.UserClaim)}
	}
	return name, nil
}

// why tells what is wrong with a token that was refused, by what it says of
// itself and nothing else. It decides nothing.
func (v *verifier) why(token string) string {
	parsed, err := jwt.ParseSigned(token, anyAlgorithm())
	var said jwt.Claims
	if err != nil || parsed.UnsafeClaimsWithoutVerification(&said) != nil {
		return "it is no signed JSON Web Token"
	}
	switch {
	case said.Issuer != v.config.Issuer:
		return "it was issued by a different provider than " + v.config.Issuer
	case !said.Audience.Contains(v.config.Audience):
		return "its audience is not " + v.config.Audience
	case said.NotBefore != nil && said.NotBefore.Time().After(v.now()):
		return "it counts not before " + said.NotBefore.Time().UTC().Format(time.RFC3339)
	}
	return "its signature is not one of the issuer's keys by " + strings.Join(v.config.Algorithms, " or ")
}

func anyAlgorithm() []jose.SignatureAlgorithm {
	all := []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
	for _, alg := range asymmetric {
		all = append(all, jose.SignatureAlgorithm(alg))
	}
	return all
}
