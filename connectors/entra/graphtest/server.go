// Package graphtest is a directory that speaks Microsoft Graph, in process, over
// TLS on loopback: for the demo, and for tests of what the real service does only
// on a bad day.
//
// It knows app-only tokens (secret, certificate, federated token, managed
// identity), delta queries over users and groups with their opaque links, the few
// plain reads that Ambit makes, batches of them, counts, subscriptions with their
// notifications, the budget of resource units, and edits while it runs. What it does wrong, it
// does when a Fault is armed. It is not for production: its data is in memory,
// and its secrets are in this file.
package graphtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Who may ask for a token.
const (
	Tenant       = "8f6f2b1c-6f0e-4a53-9a50-6a1f0c9d3b21"
	ClientID     = "5d1c2a54-3f41-4c86-8b9f-2f4e7a6d9c10"
	ClientSecret = "ambit-reads-graph"
)

// The application permissions that the server knows. All are granted at first.
const (
	UserRead         = "User.Read.All"
	GroupMemberRead  = "GroupMember.Read.All"
	MemberReadHidden = "Member.Read.Hidden"
	GroupRead        = "Group.Read.All" // for notifications of groups
	OrganizationRead = "Organization.Read.All"
)

// Options shape the server's answers. The zero value is the usual service.
type Options struct {
	// Now is the server's clock; time.Now where it is nil.
	Now func() time.Time
	// PageSize is how many entries a page of a delta round has; 100 where it is 0.
	PageSize int
	// EdgesPerEntry is how many edges of a group one entry lists. The rest comes in
	// further entries of the same group, with other objects between (Rule
	// GRAPH-14). 50 where it is 0.
	EdgesPerEntry int
	// Units are the resource units that may be spent in ten seconds (Rule GRAPH-25);
	// 0 means any number.
	Units int
	// Graph and Authority are the URLs by which the server is known, where it stands
	// in for a cloud's hosts; 127.0.0.1 where they are empty.
	Graph, Authority string
	// Notify sends notifications; without it there are no subscriptions.
	Notify *http.Client
}

// Server is a running server.
type Server struct {
	// URL is https://127.0.0.1:port, the Graph endpoint and the authority in one.
	// Address is where it listens. CAFile holds the certificate of the authority that
	// signed the server's.
	URL, Address, CAFile string

	options Options
	http    http.Server
	done    chan struct{}

	mu          sync.Mutex
	permissions map[string]bool
	secret      string
	certificate *x509.Certificate
	federated   string
	key         *ecdsa.PrivateKey    // signs tokens
	tokens      map[string]time.Time // with their end
	tenantName  string
	state       state
	links       map[string]*link // by request URI, byte for byte
	issued      int
	last        map[string][]entry // the newest round of each path
	faults      []*armed
	requests    []Request
	bucket      bucket
	until       time.Time // the end of the newest Retry-After
	imposed     time.Duration
	early       int

	subscriptions []*subscription
}

// Request is one that the server got, by itself or in a batch.
type Request struct {
	Method, URI string
	Header      http.Header
	InBatch     bool
}

// Start serves an empty directory. It writes graph-ca.pem into dir. Close ends it.
func Start(dir string, options Options) (*Server, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.PageSize == 0 {
		options.PageSize = 100
	}
	if options.EdgesPerEntry == 0 {
		options.EdgesPerEntry = 50
	}
	s := &Server{
		CAFile: filepath.Join(dir, "graph-ca.pem"), options: options, done: make(chan struct{}), secret: ClientSecret, tenantName: "Contoso",
		permissions: map[string]bool{UserRead: true, GroupMemberRead: true, MemberReadHidden: true, GroupRead: true, OrganizationRead: true},
		tokens:      map[string]time.Time{}, links: map[string]*link{}, last: map[string][]entry{}, state: newState(),
	}
	names := []string{"localhost"}
	for _, known := range []string{options.Graph, options.Authority} {
		if u, err := url.Parse(known); err == nil && known != "" {
			names = append(names, u.Hostname())
		}
	}
	pair, err := certificate(s.CAFile, names)
	if err != nil {
		return nil, fmt.Errorf("make the server's certificate: %w", err)
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make the key of tokens: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.Address = listener.Addr().String()
	s.URL = cmp.Or(options.Graph, "https://"+s.Address)
	s.bucket = bucket{limit: float64(options.Units), left: float64(options.Units), at: options.Now()}
	s.http = http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		// A handshake that a test makes fail is not news.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() {
		defer close(s.done)
		_ = s.http.ServeTLS(listener, "", "") // Close ends it, with ErrServerClosed
	}()
	return s, nil
}

// Close ends the server and all connections.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

// certificate makes an authority, writes it to a file, and has it sign a
// certificate for loopback.
func certificate(caFile string, names []string) (tls.Certificate, error) {
	now := time.Now()
	sign := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		if signer == nil {
			parent, signer = template, key
		}
		template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.AddDate(1, 0, 0)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			return nil, nil, err
		}
		made, err := x509.ParseCertificate(der)
		return made, key, err
	}
	ca, caKey, err := sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Ambit graphtest"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, key, err := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, os.WriteFile(caFile, block, 0o600)
}

// Permit grants an application permission; Deny takes it away.
func (s *Server) Permit(permission string) { s.setPermission(permission, true) }

// Deny takes an application permission away.
func (s *Server) Deny(permission string) { s.setPermission(permission, false) }

func (s *Server) setPermission(permission string, granted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.permissions[permission] = granted
}

// keptRequests is how many of the newest requests are remembered.
const keptRequests = 4096

// Requests returns the newest requests, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Waits is how long the server has told clients to wait, and how many requests came
// earlier than that (Rule GRAPH-27).
func (s *Server) Waits() (imposed time.Duration, early int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.imposed, s.early
}

// answer is what goes back, as a value so that a fault can spoil it.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    int // if not zero, the connection ends after so many bytes
	then   func()
}

func reply(status int, body any) answer {
	b, err := json.Marshal(body)
	if err != nil {
		panic("internal error: graphtest: " + err.Error())
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	return answer{status: status, header: h, body: b}
}

// refuse is an error in Graph's form.
func refuse(status int, code, message string) answer {
	return reply(status, map[string]any{"error": map[string]any{
		"code": code, "message": message, "innerError": map[string]string{"request-id": "00000000-0000-0000-0000-000000000000"},
	}})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := s.handle(r)
	if a.then != nil {
		a.then()
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	body := a.body
	if a.cut > 0 {
		body = body[:min(a.cut, len(body)-1)]
	}
	if _, err := w.Write(body); err != nil {
		return // the client has gone
	}
	if a.cut > 0 {
		_ = http.NewResponseController(w).Flush() // so that the client gets this much
		panic(http.ErrAbortHandler)
	}
}

// where tells what kind of request it is, for faults to choose.
func where(r *http.Request) Where {
	_, query, _ := strings.Cut(r.RequestURI, "?")
	query = strings.ToLower(query)
	switch {
	case !strings.HasPrefix(r.URL.Path, "/v1.0/"):
		return Tokens
	case r.URL.Path == batchPath:
		return Batches
	case strings.HasPrefix(r.URL.Path, "/v1.0/subscriptions"):
		return Subscriptions
	case strings.Contains(query, "skiptoken="):
		return Continuations
	case strings.Contains(query, "deltatoken=") && !strings.Contains(query+"&", "deltatoken=&") && !strings.Contains(query, "deltatoken=latest"):
		return Polls
	case collection(strings.TrimPrefix(r.URL.Path, "/v1.0/")) != "":
		return Starts
	}
	return Reads
}

func (s *Server) handle(r *http.Request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if where(r) != Tokens && s.options.Now().Before(s.until) {
		s.early++
	}
	return s.one(r, false)
}

// one answers a request, by itself or in a batch.
func (s *Server) one(r *http.Request, inBatch bool) answer {
	if len(s.requests) == keptRequests {
		s.requests = slices.Delete(s.requests, 0, keptRequests/2)
	}
	s.requests = append(s.requests, Request{Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone(), InBatch: inBatch})
	fault := s.take(r)
	a := s.route(r, fault)
	if fault.answer != nil {
		a = fault.answer(s, r, a)
	}
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && a.status == http.StatusTooManyRequests {
		now := s.options.Now()
		if end := now.Add(time.Duration(after) * time.Second); end.After(s.until) {
			s.imposed += end.Sub(later(now, s.until))
			s.until = end
		}
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *Server) route(r *http.Request, fault Fault) answer {
	path, isGraph := strings.CutPrefix(r.URL.Path, "/v1.0/")
	if !isGraph {
		return s.authority(r)
	}
	if a, ok := s.authenticate(r); !ok {
		return a
	}
	switch where(r) {
	case Batches:
		return s.batch(r)
	case Subscriptions:
		return s.subscribe(strings.TrimPrefix(path, "subscriptions"), r)
	}
	if r.Method != http.MethodGet {
		return refuse(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	}
	units := cost(path, r)
	if a, ok := s.bucket.take(units, s.options.Now()); !ok {
		return a
	}
	a := s.graph(path, r, fault)
	a.header.Set("X-Ms-Resource-Unit", strconv.Itoa(units))
	s.bucket.tell(a.header)
	return a
}

func forbidden() answer {
	return refuse(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

func notFound(id string) answer {
	return refuse(http.StatusNotFound, "Request_ResourceNotFound", fmt.Sprintf("Resource '%s' does not exist or one of its queried reference-property objects are not present.", id))
}

func (s *Server) graph(path string, r *http.Request, fault Fault) answer {
	if kind := collection(path); kind != "" {
		if !s.permissions[map[string]string{"users": UserRead, "groups": GroupMemberRead}[kind]] {
			return forbidden()
		}
		return s.delta(kind, r, fault)
	}
	parts := strings.Split(path, "/")
	switch {
	case path == "organization":
		if !s.permissions[OrganizationRead] {
			return forbidden()
		}
		return reply(http.StatusOK, map[string]any{"value": []any{map[string]any{"id": Tenant, "displayName": s.tenantName}}})
	case path == "users/$count" && s.permissions[UserRead]:
		return s.count(userType, r)
	case path == "groups/$count" && s.permissions[GroupMemberRead]:
		return s.count(groupType, r)
	case path == "groups":
		return s.groups(r)
	case len(parts) == 2 && parts[0] == "users" && s.permissions[UserRead]:
		return s.read(parts[1], userType, r)
	case len(parts) == 2 && parts[0] == "groups" && s.permissions[GroupMemberRead]:
		return s.read(parts[1], groupType, r)
	case len(parts) == 3 && parts[0] == "groups" && (parts[2] == members || parts[2] == owners) && s.permissions[GroupMemberRead]:
		return s.list(parts[1], parts[2], r)
	case len(parts) == 3 && parts[0] == "users" && parts[2] == "transitiveMemberOf" && s.permissions[UserRead] && s.permissions[GroupMemberRead]:
		return s.memberOf(parts[1], r)
	case parts[0] == "users" || parts[0] == "groups":
		return forbidden()
	}
	return refuse(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+path+"'.")
}

// groups lists the first groups.
func (s *Server) groups(r *http.Request) answer {
	if !s.permissions[GroupMemberRead] {
		return forbidden()
	}
	value := []any{}
	for _, o := range s.state.order {
		if o.kind == groupType && o.state == live && len(value) < top(r) {
			value = append(value, o.render(selected(r)))
		}
	}
	return reply(http.StatusOK, map[string]any{"value": value})
}

// count answers with how many there are, as text, which begins with a byte order
// mark (Rule GRAPH-23).
func (s *Server) count(kind string, r *http.Request) answer {
	if r.Header.Get("ConsistencyLevel") != "eventual" {
		return refuse(http.StatusBadRequest, "Request_BadRequest", "$count is not currently supported.")
	}
	n := 0
	for _, o := range s.state.order {
		if o.kind == kind && o.state == live {
			n++
		}
	}
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {"text/plain"}}, body: []byte("\uFEFF" + strconv.Itoa(n))}
}

// top is the request's $top: 100 where it is absent, at most 999 (Rule GRAPH-22).
func top(r *http.Request) int {
	if n, err := strconv.Atoi(r.Form.Get("$top")); err == nil && n > 0 && n <= 999 {
		return n
	}
	return 100
}

// read answers with one object. Unlike delta, it names unset properties, as null.
func (s *Server) read(id, kind string, r *http.Request) answer {
	o := s.state.objects[id]
	if o == nil || o.kind != kind || o.state != live {
		return notFound(id)
	}
	body := o.render(selected(r))
	for _, name := range selected(r) {
		if _, ok := body[name]; !ok && !slices.Contains(relations, name) {
			body[name] = nil
		}
	}
	if strings.HasPrefix(r.Form.Get("$expand"), manager) {
		for _, e := range s.state.out[id] {
			if e.relation == manager && e.live {
				body[manager] = map[string]any{"@odata.type": userType, "id": e.to}
			}
		}
	}
	return reply(http.StatusOK, body)
}

// memberOf answers with one page of the groups that a user is in, directly or through
// others, after a directory role, which everybody has here (Rule GRAPH-22).
func (s *Server) memberOf(id string, r *http.Request) answer {
	if o := s.state.objects[id]; o == nil || o.kind != userType || o.state != live {
		return notFound(id)
	}
	all := []any{map[string]any{"@odata.type": "#microsoft.graph.directoryRole", "id": "role"}}
	seen := map[string]bool{}
	for next := []string{id}; len(next) > 0; next = next[1:] {
		for _, e := range s.state.in[next[0]] {
			g := s.state.objects[e.from]
			if !e.live || e.relation != members || seen[e.from] || g.state != live || !s.shows(g) {
				continue
			}
			seen[e.from] = true
			next = append(next, e.from)
			all = append(all, map[string]any{"@odata.type": groupType, "id": e.from})
		}
	}
	from, _ := strconv.Atoi(r.Form.Get("$skiptoken")) // absent: from the beginning
	to := min(len(all), from+top(r))
	return s.page(r, all[min(from, to):to], to, to < len(all))
}

// list answers with one page of a group's direct members or owners.
func (s *Server) list(id, relation string, r *http.Request) answer {
	o := s.state.objects[id]
	if o == nil || o.kind != groupType || o.state != live {
		return notFound(id)
	}
	size := top(r)
	from, _ := strconv.Atoi(r.Form.Get("$skiptoken")) // absent: from the beginning
	value := []any{}
	more := false
	if relation != members || s.shows(o) {
		n := 0
		for _, e := range s.state.out[id] {
			if e.relation != relation || !e.live {
				continue
			}
			if n++; n > from+size {
				more = true
				break
			} else if n > from {
				value = append(value, map[string]any{"@odata.type": s.state.kind(e.to), "id": e.to})
			}
		}
	}
	return s.page(r, value, from+size, more)
}

// page is a page of a list, with a link to the next if there are more.
func (s *Server) page(r *http.Request, value []any, next int, more bool) answer {
	body := map[string]any{"value": value}
	if more {
		q := url.Values{"$top": {strconv.Itoa(top(r))}, "$skiptoken": {strconv.Itoa(next)}, "$select": r.Form["$select"]}
		body["@odata.nextLink"] = s.URL + r.URL.Path + "?" + q.Encode()
	}
	return reply(http.StatusOK, body)
}

// shows tells whether the group's members may be seen (Rule GRAPH-3).
func (s *Server) shows(group *object) bool {
	return group.properties["visibility"].value != "HiddenMembership" || s.permissions[MemberReadHidden]
}

// selected is the request's $select; id is always in it (Rule GRAPH-9).
func selected(r *http.Request) []string {
	var out []string
	for name := range strings.SplitSeq(r.Form.Get("$select"), ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
