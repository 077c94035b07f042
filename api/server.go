// Package api is Ambit over HTTP: the routes under /v1 with their OpenAPI 3.1
// description, the OpenID AuthZEN endpoints, health, readiness and metrics.
//
// It authenticates, asks the engine whether the caller may do what a route does,
// and hands the rest on. It decides nothing about access itself, and every
// change goes through package tenant.
package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/scim"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// Store is what the API reads beside the newest state.
type Store interface {
	Object(ctx context.Context, rev access.Revision, env access.EnvironmentID, kind access.Kind, key string) (store.Version, error)
	Objects(ctx context.Context, rev access.Revision, env access.EnvironmentID, kind access.Kind, after string, limit int) ([]store.Version, error)
	Requests(ctx context.Context, q store.RequestQuery) ([]store.Version, error)
	Audit(ctx context.Context, q store.AuditQuery) ([]audit.Event, error)
	Verify(ctx context.Context, progress func(done, all int64)) (store.Verified, error)
	Runs(ctx context.Context, q store.RunQuery) ([]store.Run, error)
	Run(ctx context.Context, id int64) (store.Run, error)
	Reply(ctx context.Context, caller, method, path, key string) (*store.Reply, error)
	Bootstrap(ctx context.Context) (hash []byte, used bool, err error)
	UseBootstrap(ctx context.Context) error
	Ping(ctx context.Context) error
}

// Options of New. Tenant, Store and Sync are required.
type Options struct {
	Tenant *tenant.Tenant
	Store  Store
	Sync   Synchronizer
	// Authentication is required for Handler; LocalHandler needs none.
	Authentication *Authentication
	Logger         *slog.Logger         // nil: discard
	Metrics        *prometheus.Registry // nil: a new one
	Version        string
	// SCIM answers what is below scim.Root; it has its own authentication (Rule
	// SCIM-1). Nil: nothing does.
	SCIM http.Handler
	// Notifications answers what is below NotificationsRoot: sources that are told of
	// changes, each below its id. What is told proves itself and changes nothing.
	// Nil: nothing does.
	Notifications http.Handler
	// Answerable, if set, tells why an environment must not be answered for at an
	// instant, nil if it may be.
	Answerable func(env access.EnvironmentID, at time.Time) error
	// Ready tells why the process should not be asked, nil if it may be. Without it:
	// while the store does not answer.
	Ready func(context.Context) error
}

// Server answers requests.
type Server struct {
	tenant   *tenant.Tenant
	store    Store
	sync     Synchronizer
	verifier *verifier
	scim     http.Handler
	notices  http.Handler
	log      *slog.Logger
	ready    func(context.Context) error
	mayTell  func(env access.EnvironmentID, at time.Time) error
	version  string
	metrics  metrics
	mux      *http.ServeMux
	huma     huma.API
	routes   []Route
	running  sync.Map // idempotency keys of requests in progress
}

// Route is one route under /v1 and what it needs, for documentation and tests.
type Route struct {
	Method, Path string
	// Table and Action are asked of the engine in Ambit's own environment (Rule
	// SEC-2). An empty table needs a signed-in caller only, and the handler judges.
	Table  access.TableID
	Action access.Action
}

// NotificationsRoot is where sources are told of changes.
const NotificationsRoot = "/notifications/"

const (
	maxBody = 1 << 20 // bytes of a request
	// keepReplies is how long an idempotency key is remembered (Rule JIT-47).
	keepReplies = 48 * time.Hour
	// maxRequestID is how much of a client's own name for its request is given back.
	maxRequestID = 256 // bytes
	// writeWithin is how long a client may take to read an answer.
	writeWithin = time.Minute
)

// methods are those that a route can have.
var methods = [...]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// New makes a server. It fails where a security setting is missing or wrong
// (Rule SEC-3).
func New(o Options) (*Server, error) {
	s := &Server{
		tenant: o.Tenant, store: o.Store, sync: o.Sync, scim: o.SCIM, notices: o.Notifications, log: o.Logger, ready: o.Ready, version: o.Version,
		mux: http.NewServeMux(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.mayTell = o.Answerable; s.mayTell == nil {
		s.mayTell = func(access.EnvironmentID, time.Time) error { return nil }
	}
	if s.ready == nil {
		s.ready = o.Store.Ping
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	s.metrics = newMetrics(o.Metrics, o.Tenant)
	if o.Authentication != nil {
		var err error
		if s.verifier, err = newVerifier(*o.Authentication, o.Tenant.Now, s.log); err != nil {
			return nil, err
		}
	}
	config := huma.DefaultConfig("Ambit", o.Version)
	config.CreateHooks = nil // no $schema members in answers
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.DocsPath = "" // its page would load scripts from elsewhere
	config.FieldsOptionalByDefault = true
	config.RejectUnknownQueryParameters = true // Rule JIT-76
	config.Transformers = []huma.Transformer{transform}
	config.Info.Description = "Directory sync, identity provisioning and access decisions."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "an access token of the configured OpenID issuer"},
	}
	config.Security = []map[string][]string{{"token": {}}}
	s.huma = humago.New(s.mux, config)

	s.decisionRoutes()
	s.pathRoutes()
	s.authzenRoutes()
	s.objectRoutes()
	s.operationRoutes()
	s.syncRoutes()
	s.verifyRoutes()
	s.liveRoutes()
	s.runRoutes()
	s.jitRoutes()
	s.auditRoutes()
	s.bootstrapRoutes()

	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	s.mux.HandleFunc("GET /readyz", s.readyz)
	measured := promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{})
	s.mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if err := s.may(r.Context(), model.TableMetrics, access.Read); err != nil {
			writeProblem(w, s.problemOf(r.Context(), err))
			return
		}
		measured.ServeHTTP(w, r)
	})
	s.mux.HandleFunc("/", s.noRoute)
	return s, nil
}

// schemaName names a type in the description. Rooms use the same word for their
// own thing, so other rooms' words carry the room's name.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if room := path.Base(t.PkgPath()); t.Name() != "" && t.PkgPath() != "" && room != "api" {
		name = strings.ToUpper(room[:1]) + room[1:] + name
	}
	return name
}

// Routes lists the routes under /v1.
func (s *Server) Routes() []Route { return s.routes }

// noRoute answers what no pattern takes: 405 where another method would do.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range methods {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		writeProblem(w, problem("not-found", http.StatusNotFound, "no such route; /openapi.json lists them"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeProblem(w, problem("method-not-allowed", http.StatusMethodNotAllowed, "this route takes "+strings.Join(allowed, ", ")))
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(r.Context()); err != nil { // anybody may ask, so that the cause is for the log
		s.log.Warn("not ready", "request", correlation(r.Context()), "error", err)
		writeProblem(w, problem("not-ready", http.StatusServiceUnavailable, "the server does not want to be asked now; its log has the cause"))
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// contextKey are the keys of what a request carries about itself.
type contextKey int

const (
	principalKey contextKey = iota
	correlationKey
	replyKey
)

func caller(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey).(principal)
	return p
}

func correlation(ctx context.Context) string {
	id, _ := ctx.Value(correlationKey).(string)
	return id
}

// Handler answers requests with an access token, over the network.
func (s *Server) Handler() http.Handler {
	return s.wrap(func(r *http.Request) (principal, error) {
		if s.verifier == nil {
			return principal{}, errUnauthenticated{"this server has no authentication configured"}
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return principal{}, errUnauthenticated{"send an access token: Authorization: Bearer …"}
		}
		if strings.HasPrefix(token, BootstrapPrefix) {
			return s.bootstrapPrincipal(r.Context(), token)
		}
		name, err := s.verifier.verify(r.Context(), token)
		if err != nil {
			return principal{}, err
		}
		return s.signedIn(name)
	})
}

// signedIn makes the principal of a token's claim. A person who is not in Ambit's
// own environment is authenticated all the same, and may ask for elevation.
func (s *Server) signedIn(claim string) (principal, error) {
	p := principal{Actor: audit.Actor{Kind: audit.User, ID: claim}, claim: claim}
	err := s.tenant.Read(func(v tenant.View) error {
		state, err := v.State(access.AmbitEnvironment)
		if err != nil {
			return err
		}
		if user, ok := s.self(state, p); ok {
			p.Actor.ID, p.Actor.Name = string(user.ID), user.Name
		}
		return nil
	})
	return p, err
}

// LocalHandler answers requests of somebody who holds the store's files on this
// host: they may do everything but take part in elevation, which needs a person
// with a sign-in.
//
// osUser tells who they are, from the request's context.
func (s *Server) LocalHandler(osUser func(context.Context) string) http.Handler {
	return s.wrap(func(r *http.Request) (principal, error) {
		return principal{Actor: audit.Actor{Kind: audit.Local, ID: osUser(r.Context())}}, nil
	})
}

// wrap puts around the routes what every request needs.
func (s *Server) wrap(authenticate func(*http.Request) (principal, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		id := uuid.NewString()
		ctx := context.WithValue(r.Context(), correlationKey, id)
		recorder := &statusRecorder{ResponseWriter: w}
		defer func() {
			if cause := recover(); cause != nil {
				s.log.Error("internal error", "request", id, "cause", cause, "stack", string(debug.Stack()))
				if recorder.status != 0 {
					defer panic(http.ErrAbortHandler) // half an answer must not look whole
				} else {
					writeProblem(recorder, problem("internal", http.StatusInternalServerError, fmt.Sprintf("something is wrong on the server; its log has the cause under %q", id)))
				}
			}
			s.metrics.request(r, recorder.status, time.Since(started))
			s.log.Debug("request", "request", id, "method", r.Method, "path", r.URL.Path, "status", recorder.status, "took", time.Since(started))
		}()
		w.Header().Set("X-Request-Id", id)
		if sent := r.Header.Get("X-Request-Id"); strings.HasPrefix(r.URL.Path, "/pdp/") && sent != "" && len(sent) <= maxRequestID {
			w.Header().Set("X-Request-Id", sent) // AuthZEN gives the client its own back
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if s.scim != nil && strings.HasPrefix(r.URL.Path, scim.Root) {
			r = r.WithContext(ctx)
			s.scim.ServeHTTP(recorder, r)
			return
		}
		r.Body = http.MaxBytesReader(recorder, r.Body, maxBody)
		if s.notices != nil && strings.HasPrefix(r.URL.Path, NotificationsRoot) {
			s.notices.ServeHTTP(recorder, r.WithContext(ctx))
			return
		}
		if !open(r) {
			p, err := authenticate(r.WithContext(ctx))
			if err != nil {
				refusal := s.problemOf(ctx, err)
				if unauth := (errUnauthenticated{}); errors.As(err, &unauth) {
					s.metrics.unauthenticated.Inc()
				}
				writeProblem(recorder, refusal)
				return
			}
			if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
				p.Address = host
			}
			ctx = context.WithValue(ctx, principalKey, p)
		}
		r = r.WithContext(ctx) // the multiplexer notes the route's pattern in it
		s.mux.ServeHTTP(recorder, r)
	})
}

// open tells whether a route needs no caller (Rule SEC-1).
func open(r *http.Request) bool {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/openapi.json", "/openapi.yaml":
		return true
	}
	return strings.HasPrefix(r.URL.Path, "/.well-known/")
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader begins the answer. From then on a client that does not read it is
// waited for no longer than writeWithin; the handler itself may have taken long.
func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(writeWithin)) // in process there is none
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}

func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// may asks the engine whether the caller may do the action on a table of Ambit's
// own environment (Rule SEC-2).
func (s *Server) may(ctx context.Context, table access.TableID, action access.Action) error {
	p := caller(ctx)
	switch p.Kind {
	case audit.Local:
		return nil
	case audit.User:
		var decision engine.Decision
		err := s.tenant.Read(func(v tenant.View) error {
			user, ambit, err := s.administrator(v, p)
			switch {
			case err != nil:
				return err
			case user.ID == "":
				return fmt.Errorf("%s is not a user of Ambit itself: %w", p.claim, errForbidden)
			}
			decision, err = ambit.Check(engine.Question{User: user.ID, Action: action, Table: table, At: v.Now})
			return err
		})
		if err != nil {
			return err
		}
		if decision.Allowed {
			return nil
		}
		return fmt.Errorf("this needs the privilege %s on %s of environment %s (%s): %w", action, table, access.AmbitEnvironment, decision.Reason, errForbidden)
	}
	return errForbidden
}

// administrator is the caller as a user of Ambit's own environment, the zero user
// if they are none, and the snapshot that says what they may do there.
func (s *Server) administrator(v tenant.View, p principal) (access.User, *engine.Snapshot, error) {
	state, err := v.State(access.AmbitEnvironment)
	if err != nil {
		return access.User{}, nil, err
	}
	ambit, err := v.Snapshot(access.AmbitEnvironment)
	user, _ := s.self(state, p)
	return user, ambit, err
}

// handle registers a route. The engine is asked before fn is called; errors
// become problems by the one table.
func handle[I, O any](s *Server, route Route, id, summary string, fn func(context.Context, *I) (*O, error), tune ...func(*huma.Operation)) {
	op := huma.Operation{
		OperationID: id, Method: route.Method, Path: route.Path, Summary: summary, MaxBodyBytes: maxBody,
		Tags: []string{strings.Split(strings.TrimPrefix(route.Path, "/"), "/")[0]},
	}
	schemas := s.huma.OpenAPI().Components.Schemas
	op.Responses = map[string]*huma.Response{"default": {
		Description: "Refused, or not done; the type tells why", // RFC 9457
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")}},
	}}
	for _, f := range tune {
		f(&op)
	}
	s.routes = append(s.routes, route)
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if route.Table != "" {
			if err := s.may(ctx, route.Table, route.Action); err != nil {
				return nil, s.problemOf(ctx, err)
			}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
}

// etag names the revision that made a version (Rule JIT-48).
func etag(rev access.Revision) string { return `"` + strconv.FormatInt(int64(rev), 10) + `"` }

// match checks an If-Match header against the version that is there.
func match(header string, since access.Revision) error {
	if header == "" {
		return problem("precondition-required", http.StatusPreconditionRequired,
			"say which version you mean to change: send its ETag as If-Match").with("current", etag(since))
	}
	if header != "*" && header != etag(since) {
		return problem("precondition-failed", http.StatusPreconditionFailed,
			"somebody changed it since you read it; read it again").with("current", etag(since))
	}
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
