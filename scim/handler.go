package scim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// Root is the path below which everything here is.
const Root = "/scim/v2/"

const mediaType = "application/scim+json"

// The bounds of requests and answers (Rule REL-8).
const (
	maxBody = 4 << 20 // bytes
	// defaultBodyWithin is how long a client may take to send a body, byte by byte or
	// not.
	defaultBodyWithin = 20 * time.Second
	// answerWithin is how long the store may take for one request.
	answerWithin = 15 * time.Second
	// maxRunning is how many requests of one source run at a time, slotWithin how
	// long another waits for one of them to end.
	maxRunning = 8
	slotWithin = 2 * time.Second
	// defaultCount and maxCount are how many resources a list has: Okta asks for 100
	// and more (Rule SCIM-7).
	defaultCount, maxCount = 100, 1000
	// maxListed is how many members the groups of one list have together, unless
	// one group has more.
	maxListed = 50_000
	// scanned is how many resources are looked at together.
	scanned = 500
	// tries is how often a change is made anew because another came between.
	tries = 5
)

// Store is where what clients push is kept.
type Store interface {
	Push(ctx context.Context, p store.Push) (store.Pushed, error)
	Pushed(ctx context.Context, source directory.SourceID, id directory.ObjectID) (store.Pushed, error)
	PushedMembers(ctx context.Context, source directory.SourceID, group directory.ObjectID) ([]directory.ObjectID, error)
	FindPushed(ctx context.Context, q store.PushedQuery) (list []store.Pushed, total int, err error)
	AllPushed(ctx context.Context, source directory.SourceID, after directory.ObjectID, limit int) (store.PushedChanges, error)
	PushedSince(ctx context.Context, source directory.SourceID, after, upto int64, limit int) (store.PushedChanges, error)
}

// Options of New. Store is required.
type Options struct {
	Store Store
	// Changed is called after a client has changed something in a source.
	Changed func(directory.SourceID)
	Logger  *slog.Logger              // nil: discard
	Now     func() time.Time          // nil: time.Now
	NewID   func() directory.ObjectID // nil: UUIDs that sort by time
}

// Handler answers SCIM clients. It is safe for concurrent use.
type Handler struct {
	store   Store
	bell    bell
	log     *slog.Logger
	now     func() time.Time
	newID   func() directory.ObjectID
	mux     *http.ServeMux
	sources atomic.Pointer[map[directory.SourceID]*source]
	// bodyWithin is shorter in tests.
	bodyWithin time.Duration
	// refusals are logged now and then: anybody can cause them.
	refusals rate.Sometimes
}

// source is one source with its client.
type source struct {
	id          directory.SourceID
	url         string
	credentials credentials
	pins        pins
	running     chan struct{}
}

// New makes a handler without sources; see Replace.
func New(o Options) *Handler {
	h := &Handler{
		store: o.Store, log: o.Logger, now: o.Now, newID: o.NewID, mux: http.NewServeMux(), bodyWithin: defaultBodyWithin,
		refusals: rate.Sometimes{First: 3, Interval: 10 * time.Second},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.newID == nil {
		h.newID = func() directory.ObjectID { return directory.ObjectID(uuid.Must(uuid.NewV7()).String()) }
	}
	h.sources.Store(&map[directory.SourceID]*source{})
	h.routes()
	return h
}

// Replace sets the sources and reads their tokens. After an error nothing has
// changed (Rule REL-14).
func (h *Handler) Replace(configs map[directory.SourceID]Config) error {
	sources := map[directory.SourceID]*source{}
	var faults []error
	for id, c := range configs {
		known, err := c.credentials()
		if err != nil {
			faults = append(faults, fmt.Errorf("source %s: %w", id, err))
		}
		certificates, err := c.pins()
		if err != nil {
			faults = append(faults, fmt.Errorf("source %s: %w", id, err))
		}
		s := &source{id: id, url: strings.TrimSuffix(c.URL, "/"), credentials: known, pins: certificates, running: make(chan struct{}, maxRunning)}
		if was := (*h.sources.Load())[id]; was != nil {
			s.running = was.running
		}
		sources[id] = s
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	h.sources.Store(&sources)
	return nil
}

// methods are what a path takes.
type methods map[string]func(*request) error

func (h *Handler) routes() {
	at := func(path string, m methods) {
		h.mux.HandleFunc(Root+"{source}"+path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, m) })
	}
	for _, t := range []*resourceType{userType, groupType} {
		of := func(f func(*request, *resourceType) error) func(*request) error {
			return func(r *request) error { return f(r, t) }
		}
		at("/"+t.endpoint, methods{"GET": of(h.list), "POST": of(h.create)})
		at("/"+t.endpoint+"/.search", methods{"POST": of(h.search)})
		at("/"+t.endpoint+"/{id}", methods{"GET": of(h.read), "PUT": of(h.replace), "PATCH": of(h.patch), "DELETE": of(h.delete)})
	}
	at("/.search", methods{"POST": func(r *request) error { return h.search(r, nil) }})
	at("/ServiceProviderConfig", methods{"GET": h.serviceProviderConfig})
	at("/Schemas", methods{"GET": h.schemas})
	at("/Schemas/{id}", methods{"GET": h.schema})
	at("/ResourceTypes", methods{"GET": h.resourceTypes})
	at("/ResourceTypes/{id}", methods{"GET": h.resourceType})
	h.mux.HandleFunc(Root, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, nil) })
}

// ServeHTTP answers one request below Root.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// request is one request of a client that has shown its token.
type request struct {
	*http.Request
	w      http.ResponseWriter
	source *source
	ctx    context.Context
	base   string // the source's URL
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, m methods) {
	w.Header().Set("Cache-Control", "no-store")
	err := h.try(w, r, m)
	if err == nil {
		return
	}
	p, known := problemOf(err)
	if !known {
		h.log.Error("scim: the store failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	p.write(w)
}

func (h *Handler) try(w http.ResponseWriter, r *http.Request, m methods) error {
	s, err := h.authenticate(r)
	if err != nil {
		return err
	}
	if m == nil {
		return refused(http.StatusNotFound, "nothing is here; there are Users, Groups, ServiceProviderConfig, Schemas, ResourceTypes and .search")
	}
	do := m[r.Method]
	if do == nil && r.Method == http.MethodHead {
		do = m[http.MethodGet]
	}
	if do == nil {
		allowed := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allowed)
		return refused(http.StatusMethodNotAllowed, "this takes %s", allowed)
	}
	wait := time.NewTimer(slotWithin)
	defer wait.Stop()
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	case <-wait.C:
		return busy(5, "too many requests run")
	case <-r.Context().Done():
		return r.Context().Err()
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.bodyWithin+answerWithin)
	defer cancel()
	base := s.url
	if base == "" {
		base = "https://" + r.Host
		if r.TLS == nil {
			base = "http://" + r.Host
		}
	}
	return do(&request{Request: r, w: w, source: s, ctx: ctx, base: base + Root + string(s.id)})
}

// authenticate finds the source by its name and the client's token. Whether it was
// the one or the other that is wrong is not told (Rule SCIM-1).
func (h *Handler) authenticate(r *http.Request) (*source, error) {
	id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Root), "/")
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	s := (*h.sources.Load())[directory.SourceID(id)]
	if s == nil || !strings.EqualFold(scheme, "Bearer") || !s.credentials.has(token) {
		h.refusals.Do(func() {
			h.log.Warn("scim: a client without a valid token was refused", "source", cut(id), "address", r.RemoteAddr)
		})
		return nil, refused(http.StatusUnauthorized, "send a token of this source: Authorization: Bearer …")
	}
	if err := s.pins.admit(r.TLS, h.now()); err != nil {
		h.refusals.Do(func() {
			h.log.Warn("scim: a client with a valid token was refused", "source", s.id, "address", r.RemoteAddr, "error", err)
		})
		return nil, refused(http.StatusUnauthorized, "this source wants a client certificate as well: %s", err)
	}
	return s, nil
}

// body reads the request's body, whole and in time.
func (h *Handler) body(r *request) (map[string]any, error) {
	if t := r.Header.Get("Content-Type"); t != "" {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || media != mediaType && media != "application/json" {
			return nil, refused(http.StatusUnsupportedMediaType, "want %s", mediaType)
		}
	}
	control := http.NewResponseController(r.w)
	_ = control.SetReadDeadline(time.Now().Add(h.bodyWithin)) // in process there is none
	b, err := io.ReadAll(http.MaxBytesReader(r.w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refused(http.StatusRequestEntityTooLarge, "the body has more than %d bytes; send members in parts", maxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refused(http.StatusRequestTimeout, "the body did not come within %s", h.bodyWithin)
	case err != nil:
		return nil, invalid("invalidSyntax", "the body did not come whole")
	}
	_ = control.SetReadDeadline(time.Time{}) // in process there is none
	return decode(b)
}

func (r *request) answer(status int, v any) error {
	r.w.Header().Set("Content-Type", mediaType)
	b := encode(v)
	r.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	r.w.WriteHeader(status)
	_, _ = r.w.Write(b) // a client that is gone is no fault
	return nil
}

func (r *request) projection() (projection, error) {
	q := r.URL.Query()
	return parseProjection(q.Get("attributes"), q.Get("excludedAttributes"))
}

// resource reads the resource that the path names.
func (h *Handler) resource(r *request, t *resourceType) (store.Pushed, error) {
	p, err := h.store.Pushed(r.ctx, r.source.id, directory.ObjectID(r.PathValue("id")))
	if err == nil && p.Kind != t.kind {
		err = store.ErrNotFound
	}
	return p, err
}

// document is a resource as the client is given it.
func (h *Handler) document(r *request, p store.Pushed, want projection) (map[string]any, error) {
	doc, err := parse(p)
	if err != nil {
		return nil, err
	}
	t := typeOf(p.Kind)
	doc = show(t, p, doc, r.base)
	if t == groupType && want.wants("members") {
		members, err := h.store.PushedMembers(r.ctx, r.source.id, p.ID)
		if err != nil {
			return nil, err
		}
		showMembers(doc, members)
	}
	return want.apply(doc), nil
}

// give answers with a resource.
func (h *Handler) give(r *request, status int, p store.Pushed, want projection) error {
	doc, err := h.document(r, p, want)
	if err != nil {
		return err
	}
	r.w.Header().Set("ETag", etag(p.Version))
	if status == http.StatusCreated {
		r.w.Header().Set("Location", r.base+"/"+typeOf(p.Kind).endpoint+"/"+string(p.ID))
	}
	return r.answer(status, doc)
}

func (h *Handler) read(r *request, t *resourceType) error {
	want, err := r.projection()
	if err != nil {
		return err
	}
	p, err := h.resource(r, t)
	if err != nil {
		return err
	}
	if tag := r.Header.Get("If-None-Match"); tag != "" && matchesTag(tag, p.Version) {
		r.w.Header().Set("ETag", etag(p.Version))
		r.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return h.give(r, http.StatusOK, p, want)
}

func (h *Handler) create(r *request, t *resourceType) error {
	want, err := r.projection()
	if err != nil {
		return err
	}
	body, err := h.body(r)
	if err != nil {
		return err
	}
	doc, members, err := whole(t, body)
	if err != nil {
		return err
	}
	if _, said := doc["active"]; t == userType && !said {
		doc["active"] = true
	}
	now := h.now().UTC().Truncate(time.Microsecond)
	change, err := push(t, store.Pushed{Source: r.source.id, Kind: t.kind, ID: h.newID(), Created: now, Modified: now}, doc, members)
	if err != nil {
		return err
	}
	p, err := h.store.Push(r.ctx, change)
	if err != nil {
		return err
	}
	h.bell.ring(r.source.id)
	return h.give(r, http.StatusCreated, p, want)
}

// change judges a resource and changes it, again where another change came
// between.
func (h *Handler) change(r *request, t *resourceType, judge func(doc map[string]any) (map[string]any, *edit, error)) (store.Pushed, error) {
	for try := 1; ; try++ {
		p, err := h.resource(r, t)
		if err != nil {
			return p, err
		}
		if tag := r.Header.Get("If-Match"); tag != "" && !matchesTag(tag, p.Version) {
			return p, refused(http.StatusPreconditionFailed, "somebody changed it since you read it: it has version %s now", etag(p.Version))
		}
		doc, err := parse(p)
		if err != nil {
			return p, err
		}
		doc, members, err := judge(doc)
		if err != nil {
			return p, err
		}
		was := p.Version
		p.Modified = h.now().UTC().Truncate(time.Microsecond)
		change, err := push(t, p, doc, members)
		if err != nil {
			return p, err
		}
		p, err = h.store.Push(r.ctx, change)
		if errors.Is(err, store.ErrConflict) && try < tries {
			continue
		}
		if err == nil && p.Version != was {
			h.bell.ring(r.source.id)
		}
		return p, err
	}
}

func (h *Handler) replace(r *request, t *resourceType) error {
	want, err := r.projection()
	if err != nil {
		return err
	}
	body, err := h.body(r)
	if err != nil {
		return err
	}
	p, err := h.change(r, t, func(was map[string]any) (map[string]any, *edit, error) {
		doc, members, err := whole(t, body)
		if _, said := doc["active"]; err == nil && !said && was["active"] != nil {
			doc["active"] = was["active"] // who was disabled stays so until it is said otherwise
		}
		return doc, members, err
	})
	if err != nil {
		return err
	}
	return h.give(r, http.StatusOK, p, want)
}

func (h *Handler) patch(r *request, t *resourceType) error {
	want, err := r.projection()
	if err != nil {
		return err
	}
	body, err := h.body(r)
	if err != nil {
		return err
	}
	p, err := h.change(r, t, func(doc map[string]any) (map[string]any, *edit, error) {
		members, err := patch(t, doc, body)
		return doc, members, err
	})
	if err != nil {
		return err
	}
	if t == groupType && len(want.only) == 0 { // Rule SCIM-6
		r.w.Header().Set("ETag", etag(p.Version))
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return h.give(r, http.StatusOK, p, want)
}

func (h *Handler) delete(r *request, t *resourceType) error {
	for try := 1; ; try++ {
		p, err := h.resource(r, t)
		if err != nil {
			return err
		}
		if tag := r.Header.Get("If-Match"); tag != "" && !matchesTag(tag, p.Version) {
			return refused(http.StatusPreconditionFailed, "somebody changed it since you read it: it has version %s now", etag(p.Version))
		}
		p.Modified = h.now().UTC().Truncate(time.Microsecond)
		_, err = h.store.Push(r.ctx, store.Push{Pushed: p, Delete: true})
		if errors.Is(err, store.ErrConflict) && try < tries {
			continue
		}
		if err != nil {
			return err
		}
		h.bell.ring(r.source.id)
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// query is what a list is asked for.
type query struct {
	filter       *filter
	start, count int // start counts from 1
	want         projection
}

func (q *query) filtered(s string) (err error) {
	if s != "" {
		q.filter, err = parseFilter(s)
	}
	return err
}

func (h *Handler) list(r *request, t *resourceType) error {
	want, err := r.projection()
	if err != nil {
		return err
	}
	q := query{start: 1, count: defaultCount, want: want}
	values := r.URL.Query()
	for name, into := range map[string]*int{"startIndex": &q.start, "count": &q.count} {
		if s := values.Get(name); s != "" {
			if *into, err = strconv.Atoi(s); err != nil {
				return invalid("invalidValue", "%s: want a number", name)
			}
		}
	}
	if err := q.filtered(values.Get("filter")); err != nil {
		return err
	}
	return h.found(r, q, t)
}

// search is list with the query in the body; without a type, for all.
func (h *Handler) search(r *request, t *resourceType) error {
	body, err := h.body(r)
	if err != nil {
		return err
	}
	list, _ := lookup(body, "schemas").([]any)
	if !slices.Contains(list, any(messages+"SearchRequest")) {
		return invalid("invalidValue", "schemas: want %sSearchRequest", messages)
	}
	q := query{start: 1, count: defaultCount}
	texts := map[string]string{"filter": "", "attributes": "", "excludedAttributes": ""}
	for name := range texts {
		switch v := lookup(body, name).(type) {
		case nil:
		case string:
			texts[name] = v
		case []any:
			for _, e := range v {
				s, _ := e.(string)
				texts[name] += "," + s
			}
		default:
			return invalid("invalidValue", "%s: want texts", name)
		}
	}
	for name, into := range map[string]*int{"startIndex": &q.start, "count": &q.count} {
		if v := lookup(body, name); v != nil {
			if *into, err = strconv.Atoi(fmt.Sprint(v)); err != nil {
				return invalid("invalidValue", "%s: want a number", name)
			}
		}
	}
	if q.want, err = parseProjection(texts["attributes"], texts["excludedAttributes"]); err != nil {
		return err
	}
	if err := q.filtered(texts["filter"]); err != nil {
		return err
	}
	if t == nil {
		return h.found(r, q, userType, groupType)
	}
	return h.found(r, q, t)
}

// found answers with what a query selects: 200 even where that is nothing (Rule
// SCIM-3).
func (h *Handler) found(r *request, q query, types ...*resourceType) error {
	q.start = max(q.start, 1)
	q.count = min(max(q.count, 0), maxCount)
	var list []store.Pushed
	total := 0
	for _, t := range types {
		n, err := h.pick(r, t, q, total, &list)
		if err != nil {
			return err
		}
		total += n
	}
	resources := make([]map[string]any, 0, len(list))
	members := 0
	for _, p := range list {
		doc, err := h.document(r, p, q.want)
		if err != nil {
			return err
		}
		resources = append(resources, doc)
		m, _ := doc["members"].([]any)
		if members += len(m); members > maxListed {
			break // the client asks for the rest, from where this page ends
		}
	}
	return r.answer(http.StatusOK, map[string]any{
		"schemas": []string{messages + "ListResponse"}, "totalResults": total, "startIndex": q.start, "itemsPerPage": len(resources), "Resources": resources,
	})
}

// pick adds the resources of one type that the page has, of which before came
// ahead, and tells how many there are in all.
func (h *Handler) pick(r *request, t *resourceType, q query, before int, list *[]store.Pushed) (int, error) {
	ask := store.PushedQuery{Source: r.source.id, Kind: t.kind}
	if q.filter == nil {
		ask.Offset, ask.Limit = max(q.start-1-before, 0), q.count-len(*list)
		found, total, err := h.store.FindPushed(r.ctx, ask)
		*list = append(*list, found...)
		return total, err
	}
	f, total := q.filter.of(t), 0
	take := func(p store.Pushed) error {
		ok, err := h.matches(r, t, f, p)
		if err != nil || !ok {
			return err
		}
		if total++; before+total >= q.start && len(*list) < q.count {
			*list = append(*list, p)
		}
		return nil
	}
	if where, value, ok := f.indexed(); ok && where == "id" {
		p, err := h.store.Pushed(r.ctx, r.source.id, directory.ObjectID(value))
		if errors.Is(err, store.ErrNotFound) || err == nil && p.Kind != t.kind {
			return 0, nil
		}
		if err == nil {
			err = take(p)
		}
		return total, err
	} else if ok {
		ask.With = &store.PushedValue{Path: where, Value: value}
	}
	ask.Limit = scanned
	for {
		found, _, err := h.store.FindPushed(r.ctx, ask)
		if err != nil {
			return 0, err
		}
		for _, p := range found {
			if err := take(p); err != nil {
				return 0, err
			}
		}
		if len(found) < scanned {
			return total, nil
		}
		ask.After = found[len(found)-1].ID
	}
}

func (h *Handler) matches(r *request, t *resourceType, f *filter, p store.Pushed) (bool, error) {
	doc, err := parse(p)
	if err != nil {
		return false, err
	}
	doc = show(t, p, doc, r.base)
	if t == groupType && f.mentions("members") {
		members, err := h.store.PushedMembers(r.ctx, r.source.id, p.ID)
		if err != nil {
			return false, err
		}
		showMembers(doc, members)
	}
	return f.matches(doc, t.attribute), nil
}

// mentions tells whether a filter asks for one of the resource's own attributes.
func (f *filter) mentions(name string) bool {
	if f == nil {
		return false
	}
	return f.left.mentions(name) || f.right.mentions(name) || f.path.urn == "" && strings.EqualFold(f.path.name, name)
}
