package graphtest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

const (
	batchPath = "/v1.0/$batch"
	maxBatch  = 20 // requests
)

// batch answers each request by itself, the last one first (Rule GRAPH-24).
func (s *Server) batch(r *http.Request) answer {
	var asked struct {
		Requests []struct {
			ID, Method, URL string
			Headers         map[string]string
		}
	}
	bad := func(why string) answer { return refuse(http.StatusBadRequest, "BadRequest", why) }
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&asked) != nil {
		return bad("Unable to read JSON request payload.")
	}
	if n := len(asked.Requests); n == 0 || n > maxBatch {
		return bad("Number of batch request steps exceeds the maximum value of 20.")
	}
	seen := map[string]bool{}
	var said []any
	for _, one := range asked.Requests {
		if one.ID == "" || seen[one.ID] || one.Method != http.MethodGet || !strings.HasPrefix(one.URL, "/") {
			return bad("Each batch step wants an id of its own, a method and a relative URL.")
		}
		seen[one.ID] = true
		inner, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "/v1.0"+one.URL, nil)
		if err != nil || inner.ParseForm() != nil {
			return bad("The URL of a batch step is malformed.")
		}
		inner.RequestURI = inner.URL.RequestURI()
		inner.Header.Set("Authorization", r.Header.Get("Authorization"))
		for name, value := range one.Headers {
			inner.Header.Set(name, value)
		}
		a := s.one(inner, true)
		headers := map[string]string{}
		for name := range a.header {
			headers[name] = a.header.Get(name)
		}
		reply := map[string]any{"id": one.ID, "status": a.status, "headers": headers}
		if json.Valid(a.body) {
			reply["body"] = json.RawMessage(a.body)
		} else {
			reply["body"] = base64.StdEncoding.EncodeToString(a.body)
		}
		said = append(said, reply)
	}
	slices.Reverse(said)
	return reply(http.StatusOK, map[string]any{"responses": said})
}
