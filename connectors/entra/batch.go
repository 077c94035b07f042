package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	abstractions "github.com/microsoft/kiota-abstractions-go"

	"github.com/ambit-iam/ambit/directory"
)

// maxBatch is how many requests a batch has at most (Rule GRAPH-24).
const maxBatch = 20

// answer is what came of one request of a batch: a body, or a *refusal that Graph
// means.
type answer struct {
	body json.RawMessage
	err  error
}

// decode reads the answer.
func (a answer) decode(into any) error {
	if a.err != nil {
		return a.err
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%w: decode an answer of a batch: %w", directory.ErrIncomplete, err)
	}
	return nil
}

// asked and replied are the two sides of a batch.
type asked struct {
	ID      string            `json:"id"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
}

type replied struct {
	ID      string
	Status  int
	Headers map[string]string
	Body    json.RawMessage
}

// batch asks for several things in one request, at most maxBatch, and returns the
// answers in their order. That the whole was answered says nothing of the parts
// (Rule GRAPH-24): those that the service was too busy for are asked again by
// themselves, when it says so.
func (g *graph) batch(ctx context.Context, requests []request) ([]answer, error) {
	if err := g.turn.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(ctx))
	}
	defer g.turn.Release(1)
	parts := make([]asked, len(requests))
	for i, r := range requests {
		info, err := g.information(r)
		if err != nil {
			return nil, err
		}
		url, err := g.relative(info)
		if err != nil {
			return nil, err
		}
		parts[i] = asked{ID: strconv.Itoa(i + 1), Method: http.MethodGet, URL: url, Headers: r.headers}
	}
	answers := make([]answer, len(requests))
	p := g.newPatience()
	for open := parts; len(open) > 0; {
		said, err := g.post(ctx, open, requests[0].low)
		if err != nil {
			return nil, err
		}
		var left []asked
		var cause error
		var needs string
		note := &exchange{}
		for _, part := range open {
			i, _ := strconv.Atoi(part.ID)
			body, err := said.of(part.ID, g.now(), note)
			var refused *refusal
			switch {
			case err == nil:
				answers[i-1].body = body
				continue
			case errors.As(err, &refused) && !busy(refused.status) && refused.status != http.StatusUnauthorized && refused.status != http.StatusForbidden:
				answers[i-1].err = err
				continue
			}
			left = append(left, part)
			// Of several, that which waiting does not mend.
			if cause == nil || refused != nil && !busy(refused.status) {
				cause, needs = err, requests[i-1].needs
			}
		}
		if open = left; len(open) == 0 {
			break
		}
		if err := p.again(ctx, cause, note, needs); err != nil {
			return nil, fmt.Errorf("in a batch: %w", err)
		}
	}
	return answers, nil
}

// relative is a request's URL from the endpoint's version on, as a batch has it.
func (g *graph) relative(info *abstractions.RequestInformation) (string, error) {
	info.PathParameters["baseurl"] = g.config.GraphEndpoint + "/v1.0"
	u, err := info.GetUri()
	if err != nil {
		return "", fmt.Errorf("build a request: %w", err)
	}
	// Outside of a batch the SDK's middleware writes the names of options like this.
	query := strings.ReplaceAll(u.RawQuery, "%24", "$")
	return strings.TrimPrefix(u.EscapedPath(), g.endpoint.Path+"/v1.0") + "?" + query, nil
}

// post sends a batch.
func (g *graph) post(ctx context.Context, parts []asked, low bool) (replies, error) {
	body, err := json.Marshal(map[string]any{"requests": parts})
	if err != nil {
		return nil, fmt.Errorf("write a batch: %w", err)
	}
	var said struct{ Responses []replied }
	err = g.ask(ctx, request{low: low, body: body, build: func() (*abstractions.RequestInformation, error) {
		return abstractions.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(abstractions.POST, "{+baseurl}/$batch", map[string]string{}), nil
	}}, &said)
	for _, r := range said.Responses {
		g.wire.spend(r.header())
	}
	return said.Responses, err
}

type replies []replied

// of finds the answer to one request. What it says of waiting goes into the note.
func (all replies) of(id string, now time.Time, note *exchange) (json.RawMessage, error) {
	for _, r := range all {
		if r.ID != id {
			continue
		}
		if r.Status >= 200 && r.Status < 300 {
			if len(r.Body) == 0 || r.Body[0] != '{' {
				return nil, errors.New("an answer of the batch is no JSON")
			}
			return r.Body, nil
		}
		var x exchange
		x.refused(r.Status, r.Body)
		if wait, ok := retryAfter(r.header(), now); ok {
			note.asked, note.retryAfter = true, max(note.retryAfter, wait)
		}
		return nil, &refusal{status: r.Status, code: x.code, message: x.message}
	}
	return nil, errors.New("the batch leaves out an answer")
}

func (r replied) header() http.Header {
	h := http.Header{}
	for name, value := range r.Headers {
		h.Set(name, value)
	}
	return h
}
