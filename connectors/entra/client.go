package entra

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/cenkalti/backoff/v5"
	abstractions "github.com/microsoft/kiota-abstractions-go"
	kiotaauth "github.com/microsoft/kiota-authentication-azure-go"
	kiotahttp "github.com/microsoft/kiota-http-go"
	graphcore "github.com/microsoftgraph/msgraph-sdk-go-core"
	"golang.org/x/sync/semaphore"

	"github.com/ambit-iam/ambit/directory"
)

const (
	// maxBody bounds one answer; a page of a delta query has a few megabytes.
	maxBody = 64 << 20 // bytes
	// maxRefusal bounds what is read of an answer that is an error.
	maxRefusal = 64 << 10 // bytes
	// sdkWait is the longest Retry-After that is left to the SDK's retry handler,
	// which tries three times and forgets the wait. Longer ones are waited for here
	// (Rule GRAPH-28).
	sdkWait = 5 * time.Second
	// attempts is how often a request is sent whose answer does not arrive whole.
	attempts = 4
)

// graph sends requests to one tenant's Graph by the SDK.
type graph struct {
	config     Config
	endpoint   *url.URL
	adapter    abstractions.RequestAdapter
	credential *credential
	wire       *wire
	turn       *semaphore.Weighted

	now   func() time.Time
	sleep func(context.Context, time.Duration) error
}

func newGraph(c Config) (*graph, error) {
	endpoint, err := url.Parse(c.GraphEndpoint)
	if err != nil {
		return nil, fmt.Errorf("graph_endpoint: %w", err)
	}
	// Not a clone of the default transport, which would share its HTTP/2
	// connections.
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		base.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !base.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	g := &graph{
		config: c, endpoint: endpoint, wire: &wire{base: base, graph: endpoint.Host, budget: newBudget(c.ResourceUnits)},
		turn: semaphore.NewWeighted(1), now: time.Now, sleep: sleep,
	}
	g.wire.now = func() time.Time { return g.now() }
	if g.credential, err = newCredential(c, g.wire); err != nil {
		return nil, err
	}
	// The token goes to this host only, whatever a link says (Rule SEC-4).
	auth, err := kiotaauth.NewAzureIdentityAuthenticationProviderWithScopesAndValidHosts(g.credential, []string{c.GraphEndpoint + "/.default"}, []string{endpoint.Hostname()})
	if err != nil {
		return nil, fmt.Errorf("authorize requests: %w", err)
	}
	middleware, err := kiotahttp.GetDefaultMiddlewaresWithOptions(&kiotahttp.RetryHandlerOptions{
		ShouldRetry: func(_ time.Duration, _ int, _ *http.Request, r *http.Response) bool {
			wait, ok := retryAfter(r.Header, g.now())
			return ok && wait <= sdkWait
		},
	}, kiotahttp.NewCompressionOptionsReference(false)) // bodies are small, and not every way to Graph takes compressed ones
	if err != nil {
		return nil, fmt.Errorf("set up the SDK's middleware: %w", err)
	}
	client := &http.Client{Transport: kiotahttp.NewCustomTransportWithParentTransport(g.wire, middleware...)}
	adapter, err := graphcore.NewGraphRequestAdapterBaseWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(auth, graphcore.GraphClientOptions{}, nil, nil, client)
	if err != nil {
		return nil, fmt.Errorf("make the SDK's request adapter: %w", err)
	}
	adapter.SetBaseUrl(c.GraphEndpoint + "/v1.0")
	g.adapter = adapter
	return g, nil
}

// sleep waits, or ends with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// wire is the transport below the SDK: it refuses what may not be followed or is
// too large, and notes what the SDK's errors leave out.
type wire struct {
	base            *http.Transport
	graph           string // the host of which units are counted
	budget          *budget
	now             func() time.Time
	requests, units atomic.Int64
}

// exchange is what happened on the wire to one request of ours.
type exchange struct {
	failed        error // no answer
	status        int   // of an answer that is an error
	code, message string
	retryAfter    time.Duration
	asked         bool // there was a Retry-After
}

type exchangeKey struct{}

// permanent marks an error that trying again does not mend, for us and for
// azidentity, which asks for the method.
type permanent struct{ error }

func (permanent) NonRetriable()   {}
func (p permanent) Unwrap() error { return p.error }

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	note, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if note == nil {
		note = &exchange{}
	}
	*note = exchange{}
	w.requests.Add(1)
	resp, err := w.base.RoundTrip(r)
	if err != nil {
		if untrusted(err) {
			err = permanent{err}
		}
		note.failed = err
		return nil, err
	}
	if r.URL.Host == w.graph && !strings.HasSuffix(r.URL.Path, "/$batch") { // what is in it counts by itself
		w.spend(resp.Header)
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		_ = resp.Body.Close() // it is not read
		note.failed = permanent{fmt.Errorf("%s redirects to %q, and only the configured hosts are asked (Rule SEC-4)", r.URL.Host, resp.Header.Get("Location"))}
		return nil, note.failed
	case resp.StatusCode >= 400:
		// Read here, since the SDK's errors lose the status when the body is not
		// JSON, and its retry handler leaves bodies open.
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // what there is of it
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
		note.refused(resp.StatusCode, body)
		note.retryAfter, note.asked = retryAfter(resp.Header, w.now())
	default:
		resp.Body = &bounded{resp.Body, maxBody}
	}
	return resp, nil
}

// spend counts what an answer has cost (Rules GRAPH-25, GRAPH-26).
func (w *wire) spend(h http.Header) {
	units, err := strconv.Atoi(h.Get("X-Ms-Resource-Unit"))
	if err != nil || units < 1 {
		units = 1
	}
	w.units.Add(int64(units))
	share, _ := strconv.ParseFloat(h.Get("X-Ms-Throttle-Limit-Percentage"), 64) // absent below 0.8
	w.budget.spend(w.now(), units, share)
}

// bounded is a body that fails when it is longer than it may be.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, permanent{fmt.Errorf("an answer is longer than %d bytes", maxBody)}
	}
	return n, err
}

// refused reads an error in the form of Graph, or of a token endpoint.
func (x *exchange) refused(status int, body []byte) {
	x.status = status
	var said struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &said) != nil {
		return
	}
	var graph struct{ Code, Message string }
	if json.Unmarshal(said.Error, &graph) == nil {
		x.code, x.message = graph.Code, graph.Message
		return
	}
	_ = json.Unmarshal(said.Error, &x.code) // "" if it is something else
	x.message, _, _ = strings.Cut(said.Description, "\r\n")
}

// retryAfter reads the header, in seconds or as a date (Rule GRAPH-27).
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// untrusted tells whether a connection failed because of whom it led to.
func untrusted(err error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &record)
}

// refusal is Graph's answer that something cannot be had.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("Graph answered %d %s: %s", r.status, r.code, r.message))
}

// gone tells whether Graph does not have what was asked for.
func gone(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusNotFound
}

// request is something to ask of Graph.
type request struct {
	// build makes the SDK's request; each attempt takes a new one.
	build func() (*abstractions.RequestInformation, error)
	// link is a URL that Graph gave, which is followed byte for byte instead.
	link string
	// needs is the permission without which Graph answers 403.
	needs string
	// low lets others go first (Rule GRAPH-26).
	low bool
	// headers are further ones, by name.
	headers map[string]string
	// body is sent along, as JSON; nil for none.
	body []byte
}

// information is the SDK's request.
func (g *graph) information(r request) (*abstractions.RequestInformation, error) {
	var info *abstractions.RequestInformation
	if r.link != "" {
		if err := g.own(r.link); err != nil {
			return nil, err
		}
		info = abstractions.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(abstractions.GET, "{+baseurl}", map[string]string{"request-raw-url": r.link})
		// The handler that makes %24select into $select changes values too.
		info.AddRequestOptions([]abstractions.RequestOption{&kiotahttp.ParametersNameDecodingOptions{}})
	} else {
		var err error
		if info, err = r.build(); err != nil {
			return nil, fmt.Errorf("build a request: %w", err)
		}
	}
	info.Headers.TryAdd("Accept", "application/json")
	if r.low {
		info.Headers.Add("x-ms-throttle-priority", "low")
	}
	for name, value := range r.headers {
		info.Headers.Add(name, value)
	}
	return info, nil
}

// own refuses a link to another place than the configured endpoint (Rules SEC-4,
// GRAPH-43).
func (g *graph) own(link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return fmt.Errorf("%w: Graph gave a link that is no URL", directory.ErrIncomplete)
	}
	if u.Scheme != g.endpoint.Scheme || !strings.EqualFold(u.Host, g.endpoint.Host) || u.User != nil {
		return fmt.Errorf("%w: Graph gave a link to %s, which is not followed: the configured endpoint is %s (Rule SEC-4)", directory.ErrIncomplete, u.Host, g.endpoint.Host)
	}
	return nil
}

// get asks until there is an answer, and decodes it. An answer that Graph means
// is a *refusal; what else stands in the way wraps one of the directory's errors.
func (g *graph) get(ctx context.Context, r request, into any) error {
	// One request at a time: while one waits for the service, all do (Rule GRAPH-27).
	if err := g.turn.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(ctx))
	}
	defer g.turn.Release(1)
	return g.ask(ctx, r, into)
}

// ask is get for who has the turn.
func (g *graph) ask(ctx context.Context, r request, into any) error {
	p := g.newPatience()
	for {
		note := &exchange{}
		err := ctx.Err()
		if err == nil {
			err = g.once(ctx, r, note, into)
		}
		if err == nil {
			return nil
		}
		if err := p.again(ctx, err, note, r.needs); err != nil {
			return err
		}
	}
}

// patience is how often and how long a request is tried (Rules GRAPH-27,
// GRAPH-28).
type patience struct {
	graph   *graph
	pauses  backoff.ExponentialBackOff
	waited  time.Duration
	attempt int
	renewed bool
}

func (g *graph) newPatience() *patience {
	p := &patience{graph: g, pauses: backoff.ExponentialBackOff{InitialInterval: 250 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: time.Minute}}
	p.pauses.Reset()
	return p
}

// busy tells whether the service may answer later what it did not now. A 424 is
// one of a batch that waited for another of it (Rule GRAPH-24).
func busy(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusFailedDependency:
		return true
	}
	return status >= http.StatusInternalServerError && status != http.StatusNotImplemented
}

// again waits until what failed can be tried once more, or says why it is not.
func (p *patience) again(ctx context.Context, err error, note *exchange, needs string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(ctx))
	}
	p.attempt++
	var refused *refusal
	var end permanent
	switch {
	case !errors.As(err, &refused):
		if errors.Is(err, directory.ErrAuth) || errors.Is(err, errLink) || errors.As(err, &end) || p.attempt == attempts {
			return classify(err, note)
		}
	case refused.status == http.StatusUnauthorized && !p.renewed:
		// The token may have run out on the way, or been revoked.
		p.renewed = true
		p.graph.credential.renew()
		return nil
	case refused.status == http.StatusUnauthorized:
		return fmt.Errorf("%w: %w", directory.ErrAuth, err)
	case refused.status == http.StatusForbidden:
		return fmt.Errorf("%w: %w; grant the application permission %s", directory.ErrAuth, err, needs)
	case !busy(refused.status):
		return err
	}
	wait := note.retryAfter
	if !note.asked {
		wait = p.pauses.NextBackOff()
	}
	if p.waited += wait; p.waited > seconds(p.graph.config.MaxWaitSeconds, defaultMaxWait) {
		if refused != nil {
			return fmt.Errorf("%w: %w: %w", directory.ErrIncomplete, err, &directory.Throttled{RetryAfter: wait})
		}
		return classify(err, note)
	}
	if err := p.graph.sleep(ctx, wait); err != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
	}
	return nil
}

// errLink is a link that is not followed.
var errLink = errors.New("link refused")

// once asks once, when the budget allows it.
func (g *graph) once(ctx context.Context, r request, note *exchange, into any) error {
	if wait := g.wire.budget.wait(g.now()); wait > 0 {
		if err := g.sleep(ctx, wait); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, exchangeKey{}, note), seconds(g.config.TimeoutSeconds, defaultTimeout))
	defer cancel()
	info, err := g.information(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errLink, err)
	}
	if r.body != nil {
		info.SetStreamContentAndContentType(r.body, "application/json")
	}
	answer, err := g.adapter.SendPrimitive(ctx, info, "[]byte", nil)
	var refused *abstractions.ApiError
	switch {
	case errors.As(err, &refused):
		return &refusal{status: refused.ResponseStatusCode, code: note.code, message: note.message}
	case err != nil:
		return g.noToken(err, note)
	}
	body, _ := answer.([]byte)
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\uFEFF")), into); err != nil {
		return fmt.Errorf("decode the answer of %d bytes: %w", len(body), err)
	}
	return nil
}

// noToken says why there is no token, if that is what the error is about.
func (g *graph) noToken(err error, note *exchange) error {
	var failed *azidentity.AuthenticationFailedError
	switch {
	case !errors.As(err, &failed):
		return err
	case note.failed != nil: // the SDK's error has it as text only
		return fmt.Errorf("get a token: %w", note.failed)
	case note.status == http.StatusTooManyRequests || note.status >= 500:
		return fmt.Errorf("get a token: %w", &refusal{status: note.status, code: note.code, message: note.message})
	case note.status != 0:
		return fmt.Errorf("get a token: %w: %d %s: %s", directory.ErrAuth, note.status, note.code, note.message)
	}
	return fmt.Errorf("get a token: %w: %w", directory.ErrAuth, err)
}

// classify joins the kind of an error to it.
func classify(err error, note *exchange) error {
	var dial *net.OpError
	switch {
	case errors.Is(err, directory.ErrAuth), errors.Is(err, directory.ErrIncomplete):
		return err
	case untrusted(err):
		return fmt.Errorf("%w: %w; name the certificate of its authority with ca_file", directory.ErrUnreachable, err)
	case note.failed != nil && errors.As(note.failed, &permanent{}), errors.As(note.failed, &dial) && dial.Op == "dial":
		return fmt.Errorf("%w: %w", directory.ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
}

// pages reads a list to its end. first decodes its first page.
func (g *graph) pages(ctx context.Context, r request, first func(any) error, take func(object) error) error {
	visited := map[string]bool{}
	for next := first; ; {
		var p page
		if err := next(&p); err != nil {
			return err
		}
		if p.Value == nil {
			return fmt.Errorf("%w: a list has no value", directory.ErrIncomplete)
		}
		for _, o := range *p.Value {
			if err := take(o); err != nil {
				return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
			}
		}
		if p.Next == "" {
			return nil
		}
		if visited[p.Next] {
			return fmt.Errorf("%w: the links of a list go round in a circle", directory.ErrIncomplete)
		}
		visited[p.Next] = true
		r.link = p.Next
		next = func(into any) error { return g.get(ctx, r, into) }
	}
}
