package entra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	abstractions "github.com/microsoft/kiota-abstractions-go"
	kiotaauth "github.com/microsoft/kiota-authentication-azure-go"
	kiotahttp "github.com/microsoft/kiota-http-go"
	msgraph "github.com/microsoftgraph/msgraph-sdk-go"

	"github.com/ambit-iam/ambit/directory"
)

// graph is a client of one tenant's Graph.
type graph struct {
	config  Config
	sdk     *msgraph.GraphServiceClient
	adapter *msgraph.GraphRequestAdapter
	http    *http.Client
	host    string
	close   func() // ends idle connections
	pause   time.Duration
}

// maxBody bounds one answer (Rule REL-8).
const maxBody = 64 << 20 // bytes

func newGraph(c Config, pause time.Duration) (*graph, error) {
	verified := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		verified.RootCAs = x509.NewCertPool()
		if !verified.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	// A clone of the default transport would share its HTTP/2 connections.
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: verified, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute, IdleConnTimeout: time.Minute,
	}
	// A redirect could take the token elsewhere (Rule SEC-4).
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	credential, err := newCredential(c, &http.Client{Transport: transport, CheckRedirect: stay, Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(c.GraphEndpoint)
	if err != nil {
		return nil, err
	}
	auth, err := kiotaauth.NewAzureIdentityAuthenticationProviderWithScopesAndValidHosts(credential, []string{strings.TrimSuffix(c.GraphEndpoint, "/") + "/.default"}, []string{endpoint.Hostname()})
	if err != nil {
		return nil, fmt.Errorf("authorize requests: %w", err)
	}
	// The SDK's retry handler gives up after three tries and hides the wait that
	// the service asked for; the loop in fetch keeps to it (Rule GRAPH-28). Its
	// handler of parameter names decodes values too, which changes links (Rule
	// GRAPH-7).
	client := &http.Client{Transport: kiotahttp.NewCustomTransportWithParentTransport(transport, kiotahttp.NewUserAgentHandler()), CheckRedirect: stay}
	adapter, err := msgraph.NewGraphRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(auth, nil, nil, client)
	if err != nil {
		return nil, fmt.Errorf("make a Graph client: %w", err)
	}
	adapter.SetBaseUrl(strings.TrimSuffix(c.GraphEndpoint, "/") + "/v1.0")
	return &graph{config: c, pause: pause, sdk: msgraph.NewGraphServiceClient(adapter), adapter: adapter, http: client, host: endpoint.Host, close: transport.CloseIdleConnections}, nil
}

func newCredential(c Config, client *http.Client) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority},
		Transport: client,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // fetch repeats
	}
	own := c.customAuthority()
	switch {
	case c.ClientSecret != "":
		value, err := c.ClientSecret.Resolve()
		if err != nil {
			return nil, fmt.Errorf("client_secret: %w: %w", directory.ErrAuth, err)
		}
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, string(value), &azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
	case c.ClientCertificate != "":
		value, err := c.ClientCertificate.Resolve()
		if err != nil {
			return nil, fmt.Errorf("client_certificate: %w: %w", directory.ErrAuth, err)
		}
		certificates, key, err := azidentity.ParseCertificates(value, nil)
		if err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
		return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
	case c.WorkloadIdentity != "":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: c.ClientID, TenantID: c.TenantID, TokenFilePath: c.WorkloadIdentity, DisableInstanceDiscovery: own,
		})
	}
	managed := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if c.ClientID != "" {
		managed.ID = azidentity.ClientID(c.ClientID)
	}
	return azidentity.NewManagedIdentityCredential(managed)
}

// failure is an answer of Graph that is not a page.
type failure struct {
	status   int
	code     string // Graph's own
	message  string
	location string
}

func (f *failure) Error() string {
	return fmt.Sprintf("Graph answered %d %s: %s", f.status, f.code, f.message)
}

// renew gives up the token: a credential keeps one until its time is over, whatever
// Graph says of it.
func (g *graph) renew() error {
	fresh, err := newGraph(g.config, g.pause)
	if err != nil {
		return err
	}
	g.close()
	*g = *fresh
	return nil
}

// own tells whether a link stays with the configured host.
func (g *graph) own(link string) bool {
	u, err := url.Parse(link)
	return err == nil && u.Scheme == "https" && u.Host == g.host && u.User == nil
}

// fetch sends a request until it is answered, keeping to what the service asks
// (Rule GRAPH-27). The answer is the raw body of a 200.
func (g *graph) fetch(ctx context.Context, build func() (*abstractions.RequestInformation, error)) ([]byte, error) {
	var waited time.Duration
	refreshed := false
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(ctx))
		}
		body, wait, err := g.once(ctx, build)
		if err == nil {
			return body, nil
		}
		var answer *failure
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(ctx))
		case errors.As(err, &answer) && answer.status == http.StatusUnauthorized:
			// One new token, then it fails: the token may have expired on the way.
			if refreshed {
				return nil, fmt.Errorf("%w: %w", directory.ErrAuth, err)
			}
			refreshed = true
			if err := g.renew(); err != nil {
				return nil, err
			}
			continue
		case errors.As(err, &answer) && answer.status == http.StatusForbidden:
			return nil, fmt.Errorf("%w: %w; grant the application permissions %s to the app registration", directory.ErrAuth, err, strings.Join(permissions, ", "))
		case errors.As(err, &answer) && answer.status != http.StatusTooManyRequests && answer.status < 500:
			return nil, err
		case errors.As(err, &answer):
		case errors.Is(err, directory.ErrAuth), errors.Is(err, directory.ErrIncomplete), untrusted(err), errors.Is(err, directory.ErrUnreachable) && try >= 2:
			return nil, err
		}
		if wait == 0 {
			// No Retry-After: exponential, with jitter.
			wait = time.Duration(float64(g.pause<<min(try, 8)) * (0.25 + rand.Float64()/2))
			if !errors.As(err, &answer) && try >= 3 {
				return nil, fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
			}
		}
		if waited += wait; waited > g.config.maxWait() {
			if errors.As(err, &answer) && answer.status == http.StatusTooManyRequests {
				return nil, fmt.Errorf("%w: %w", directory.ErrIncomplete, &directory.Throttled{RetryAfter: wait})
			}
			return nil, fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// once sends a request once. wait is what a Retry-After header asked for.
func (g *graph) once(ctx context.Context, build func() (*abstractions.RequestInformation, error)) (body []byte, wait time.Duration, err error) {
	info, err := build()
	if err != nil {
		return nil, 0, fmt.Errorf("build a Graph request: %w", err)
	}
	isLink := info.PathParameters["request-raw-url"] != "" // which GetUri forgets
	target, err := info.GetUri()
	if err != nil {
		return nil, 0, fmt.Errorf("build a Graph request: %w", err)
	}
	if target.Host != g.host || target.Scheme != "https" {
		// The token goes to the configured host only (Rule SEC-4).
		return nil, 0, fmt.Errorf("%w: a request would go to %s, which is not the configured Graph endpoint", directory.ErrIncomplete, target.Host)
	}
	native, err := g.adapter.ConvertToNativeRequest(ctx, info)
	if err != nil {
		return nil, 0, authFailure(err)
	}
	request, ok := native.(*http.Request)
	if !ok {
		return nil, 0, fmt.Errorf("internal error: the Graph SDK made a %T", native)
	}
	if !isLink {
		// The SDK's templates say %24select (Rule GRAPH-6).
		request.URL.RawQuery = strings.ReplaceAll(request.URL.RawQuery, "%24", "$")
	}
	answer, err := g.http.Do(request)
	if err != nil {
		return nil, 0, unreachable(err)
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if answer.StatusCode == http.StatusOK {
		switch {
		case err != nil:
			return nil, 0, fmt.Errorf("read Graph's answer: %w", err)
		case len(body) > maxBody:
			return nil, 0, fmt.Errorf("Graph's answer is longer than %d bytes", maxBody)
		case !json.Valid(body):
			return nil, 0, errors.New("Graph's answer is cut or is not JSON")
		}
		return body, 0, nil
	}
	said := &failure{status: answer.StatusCode, location: answer.Header.Get("Location")}
	var problem struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &problem) == nil {
		said.code, said.message = problem.Error.Code, problem.Error.Message
	}
	return nil, retryAfter(answer.Header.Get("Retry-After")), said
}

func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return max(time.Duration(seconds)*time.Second, time.Millisecond)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at), time.Millisecond)
	}
	return 0
}

// authFailure tells a token that cannot be had from an authority that cannot be
// reached.
func authFailure(err error) error {
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) && refused.RawResponse != nil && refused.RawResponse.StatusCode < 500 && refused.RawResponse.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("get a token: %w: %w", directory.ErrAuth, err)
	}
	return unreachable(fmt.Errorf("get a token: %w", err))
}

// untrusted tells whether the other side's certificate is of an unknown authority.
func untrusted(err error) bool {
	var unknown x509.UnknownAuthorityError
	// The SDK wraps some errors as text alone.
	return errors.As(err, &unknown) || strings.Contains(err.Error(), "unknown authority")
}

func unreachable(err error) error {
	if untrusted(err) {
		return fmt.Errorf("%w: %w; name the certificate of its authority with ca_file", directory.ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", directory.ErrUnreachable, err)
}
