package scim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/ambit-iam/ambit/store"
)

// problem is an error as a client is told of it (RFC 7644, section 3.12).
type problem struct {
	status int
	typ    string // scimType, where the RFC has one
	detail string
	retry  int // seconds until the client may come again
}

func (p *problem) Error() string { return p.detail }

func invalid(typ, format string, args ...any) error {
	return &problem{status: http.StatusBadRequest, typ: typ, detail: fmt.Sprintf(format, args...)}
}

func refused(status int, format string, args ...any) error {
	return &problem{status: status, detail: fmt.Sprintf(format, args...)}
}

// busy asks the client to come again: never 500 under load (Rule SCIM-9).
func busy(seconds int, why string) error {
	return &problem{status: http.StatusTooManyRequests, detail: why + "; come again later", retry: seconds}
}

// problemOf is the one table from errors to answers. known is false for one that
// is the server's own and for its log.
func problemOf(err error) (p *problem, known bool) {
	if errors.As(err, &p) {
		return p, true
	}
	for _, c := range []struct {
		cause error
		p     problem
	}{
		{store.ErrTaken, problem{status: http.StatusConflict, typ: "uniqueness", detail: "another resource has this name; find it with a filter and change it"}},
		{store.ErrNotFound, problem{status: http.StatusNotFound, detail: "no such resource"}},
		{store.ErrConflict, problem{status: http.StatusTooManyRequests, detail: "others change this resource all the time; come again later", retry: 1}},
		{context.Canceled, problem{status: http.StatusServiceUnavailable, detail: "the request was given up", retry: 10}},
		{context.DeadlineExceeded, problem{status: http.StatusTooManyRequests, detail: "the store is busy; come again later", retry: 10}},
	} {
		if errors.Is(err, c.cause) {
			return &c.p, true
		}
	}
	return &problem{status: http.StatusServiceUnavailable, detail: "the store cannot be used now; come again later", retry: 30}, false
}

func (p *problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(struct {
		Schemas []string `json:"schemas"`
		Status  string   `json:"status"` // a text, as the RFC has it (Rule SCIM-2)
		Type    string   `json:"scimType,omitempty"`
		Detail  string   `json:"detail"`
	}{[]string{messages + "Error"}, strconv.Itoa(p.status), p.typ, p.detail})
	if err != nil {
		panic("internal error: write an error: " + err.Error())
	}
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="scim"`)
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // a client that is gone is no fault
}
