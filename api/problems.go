package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/store"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// Problem is an answer that says what went wrong and what to do (RFC 9457, Rule
// JIT-78). Its type is "urn:ambit:problem:" and the slug: added, never reworded.
type Problem struct {
	_        struct{}       `additionalProperties:"true"`
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail"`
	Instance string         `json:"instance,omitempty"`
	Errors   []Fault        `json:"errors,omitempty"`
	Members  map[string]any `json:"-"` // further members of the problem
	header   http.Header
}

// Fault is one of several things wrong with a request.
type Fault struct {
	Pointer string `json:"pointer,omitempty"` // where, such as "body.duration"
	Rule    string `json:"rule,omitempty"`
	Detail  string `json:"detail"`
}

const problemPrefix = "urn:ambit:problem:"

func problem(slug string, status int, detail string) *Problem {
	return &Problem{Type: problemPrefix + slug, Title: http.StatusText(status), Status: status, Detail: detail}
}

func (p *Problem) with(name string, value any) *Problem {
	if p.Members == nil {
		p.Members = map[string]any{}
	}
	p.Members[name] = value
	return p
}

// later tells the client to try again after so many seconds.
func later(p *Problem, seconds int) *Problem {
	p.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	return p
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus makes the problem an answer of its own (huma.StatusError).
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders are sent with the answer (huma.HeadersError).
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is RFC 9457's.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// MarshalJSON writes the further members beside the others.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	b, err := json.Marshal((*plain)(p))
	if err != nil || len(p.Members) == 0 {
		return b, err
	}
	all := maps.Clone(p.Members)
	own := map[string]any{}
	if err := json.Unmarshal(b, &own); err != nil {
		return nil, err
	}
	maps.Copy(all, own)
	return json.Marshal(all)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Problem) UnmarshalJSON(b []byte) error {
	type plain Problem
	if err := json.Unmarshal(b, (*plain)(p)); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &p.Members); err != nil {
		return err
	}
	for _, own := range [...]string{"type", "title", "status", "detail", "instance", "errors"} {
		delete(p.Members, own)
	}
	return nil
}

var errForbidden = errors.New("not allowed")

// problemOf is the one table from error to answer. What is not in it is 500,
// with an id and no detail, and goes to the log.
func (s *Server) problemOf(ctx context.Context, err error) *Problem {
	var (
		own     *Problem
		unauth  errUnauthenticated
		refusal *jit.Refusal
		faults  document.Faults
		invalid *access.Invalid
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &unauth):
		p := problem("unauthenticated", http.StatusUnauthorized, unauth.reason)
		p.header = http.Header{"Www-Authenticate": {`Bearer realm="ambit", error="invalid_token"`}}
		return p
	case errors.As(err, &refusal):
		p := problem(string(refusal.Slug), refusal.Status, refusal.Detail)
		p.Members = maps.Clone(refusal.Members)
		if refusal.Hint != "" {
			p = p.with("hint", refusal.Hint)
		}
		if refusal.RetryAfter > 0 {
			p.header = http.Header{"Retry-After": {strconv.Itoa(int(refusal.RetryAfter.Seconds()))}}
		}
		return p.with("rule", refusal.Rule)
	case errors.As(err, &faults):
		p := problem("invalid-files", http.StatusUnprocessableEntity, "the files have faults; nothing was changed")
		for _, f := range faults {
			p.Errors = append(p.Errors, Fault{Pointer: fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column), Detail: f.Problem})
		}
		return p.with("text", faults.Error())
	case errors.As(err, &invalid):
		p := problem("invalid-change", http.StatusUnprocessableEntity, "the change breaks a rule of the access model; nothing was changed")
		for _, fault := range flatten(err) {
			if i := (*access.Invalid)(nil); errors.As(fault, &i) {
				p.Errors = append(p.Errors, Fault{Pointer: i.Object, Rule: i.Rule, Detail: i.Problem})
			}
		}
		return p
	case errors.Is(err, errForbidden):
		return problem("forbidden", http.StatusForbidden, err.Error())
	case errors.Is(err, tenant.ErrNoEnvironment), errors.Is(err, store.ErrNotFound):
		return problem("not-found", http.StatusNotFound, err.Error())
	case errors.Is(err, tenant.ErrNoRevision):
		return problem("revision-unknown", http.StatusConflict, err.Error())
	case errors.Is(err, engine.ErrLocked):
		return problem("environment-locked", http.StatusLocked, err.Error())
	case errors.Is(err, engine.ErrUnknown), errors.Is(err, engine.ErrQuestion):
		return problem("cannot-judge", http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, store.ErrConflict):
		return later(problem("busy", http.StatusServiceUnavailable, "others kept changing the store; try again"), 1)
	case errors.Is(err, store.ErrFenced):
		return later(problem("not-leading", http.StatusServiceUnavailable, "another process has taken over writing; nothing was changed, try again"), 1)
	case errors.Is(err, errIssuer):
		s.log.Error("the issuer cannot be asked", "request", correlation(ctx), "error", err)
		return later(problem("issuer-unreachable", http.StatusServiceUnavailable, "tokens cannot be checked: their issuer does not answer; try again, or look into the server's log"), 5)
	case errors.Is(err, tenant.ErrStale):
		return later(problem("stale", http.StatusServiceUnavailable, err.Error()), 5).with("rule", "REL-7")
	case errors.Is(err, dirsync.ErrStaleSource):
		return later(problem("source-stale", http.StatusServiceUnavailable, err.Error()), 60).with("rule", "SRC-9")
	case errors.Is(err, tenant.ErrBehind):
		return later(problem("behind", http.StatusServiceUnavailable, "this process cannot see yet whether the store has that revision; try again, or ask another process"), 1)
	case errors.Is(err, store.ErrUnreachable):
		s.log.Error("the store cannot be reached", "request", correlation(ctx), "error", err)
		return later(problem("store-unreachable", http.StatusServiceUnavailable, "the database does not answer; decisions go on for now. A change that was asked for may have been made all the same: look before you repeat it, or repeat it with its idempotency key"), 5)
	case errors.Is(err, store.ErrReadOnly):
		return problem("store-read-only", http.StatusServiceUnavailable, "the store cannot be written: its disk is full or read-only; nothing was changed, and decisions go on")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return problem("cancelled", http.StatusServiceUnavailable, "the request was ended before it was done; see what was changed before you repeat it")
	}
	id := correlation(ctx)
	s.log.Error("request not answered", "request", id, "error", err)
	return problem("internal", http.StatusInternalServerError, fmt.Sprintf("something is wrong on the server; its log has the cause under %q", id))
}

// flatten lists the errors that are joined in err, at any depth.
func flatten(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// transform turns the framework's own errors, such as an unknown field, into
// problems.
func transform(ctx huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		if p, isProblem := body.(*Problem); isProblem && p.Instance == "" {
			p.Instance = correlation(ctx.Context())
		}
		return body, nil
	}
	slug := "invalid-request"
	if model.Status == http.StatusRequestEntityTooLarge {
		slug = "too-large"
	}
	p := problem(slug, model.Status, model.Detail)
	p.Instance = correlation(ctx.Context())
	for _, e := range model.Errors {
		p.Errors = append(p.Errors, Fault{Pointer: e.Location, Detail: e.Message})
	}
	return p, nil
}

// writeProblem answers outside the framework.
func writeProblem(w http.ResponseWriter, p *Problem) {
	maps.Copy(w.Header(), p.header)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if it fails
}
