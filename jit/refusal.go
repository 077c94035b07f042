package jit

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
)

// The problems that this package gives; urn:ambit:problem:<slug> is the type over
// HTTP. Slugs are API: add, never reword (Rule JIT-78).
const (
	NotFound              = "not-found"
	NoPolicy              = "no-policy"
	NotEligible           = "not-eligible"
	SubjectDisabled       = "subject-disabled"
	SubjectGated          = "subject-gated"
	BeyondMax             = "beyond-max"
	BelowMin              = "below-min"
	StartPassed           = "start-passed"
	JustificationRequired = "justification-required"
	TicketRequired        = "ticket-required"
	TicketPattern         = "ticket-pattern"
	AddsNothing           = "adds-nothing"
	NoApprover            = "no-approver"
	Overlap               = "overlap"
	Duplicate             = "duplicate"
	NotPending            = "not-pending"
	GrantEnded            = "ended"
	AlreadyDecided        = "already-decided"
	OpenGrants            = "open-grants"
	NotShown              = "not-shown"
	ShownStale            = "shown-stale"
	CommentRequired       = "comment-required"
	SelfApproval          = "self-approval"
	NotApprover           = "not-approver"
	NotAdministrator      = "not-administrator"
	PersonUnknown         = "person-unknown"
	ConcurrencyLimit      = "concurrency-limit"
	DirectoryStale        = "directory-stale"
	PolicyInvalid         = "policy-invalid"
	PolicyOverlap         = "policy-overlap"
	ManagedElsewhere      = "managed-elsewhere"
	ElevationPrevented    = "elevation-prevented"
)

// statusOf gives the HTTP status of a problem (Rule JIT-78).
func statusOf(slug string) int {
	switch slug {
	case NotFound:
		return 404
	case SelfApproval, NotApprover, NotAdministrator, PersonUnknown, ElevationPrevented:
		return 403
	case Overlap, Duplicate, NotPending, GrantEnded, AlreadyDecided, OpenGrants, ShownStale, ConcurrencyLimit,
		PolicyOverlap, ManagedElsewhere:
		return 409
	case DirectoryStale:
		return 503
	}
	return 422
}

// Refusal says why an event was judged and not allowed. It changes nothing.
type Refusal struct {
	Slug    string         `json:"slug"`
	Status  int            `json:"status"`
	Rule    string         `json:"rule"`   // such as "JIT-30"
	Detail  string         `json:"detail"` // a sentence
	Hint    string         `json:"hint,omitempty"`
	Members map[string]any `json:"members,omitempty"` // the extra members of the problem
	// RetryAfter is set where waiting helps.
	RetryAfter time.Duration `json:"-"`
}

func (r *Refusal) Error() string { return r.Detail }

func refuse(slug, rule, format string, args ...any) *Refusal {
	return &Refusal{Slug: slug, Status: statusOf(slug), Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

func (r *Refusal) hint(format string, args ...any) *Refusal {
	r.Hint = fmt.Sprintf(format, args...)
	return r
}

func (r *Refusal) with(member string, value any) *Refusal {
	if r.Members == nil {
		r.Members = map[string]any{}
	}
	r.Members[member] = value
	return r
}

// refused is the audit event of a refusal (Rule JIT-39).
func refused(env access.EnvironmentID, e Event, r *Refusal) audit.Event {
	return audit.Event{
		Actor: e.By.Actor, Operation: "jit.refused", Environment: env, Object: e.object(), Result: audit.Refused,
		Reason: r.Slug, Detail: detail(map[string]any{"event": e.Kind, "rule": r.Rule, "detail": r.Detail}),
	}
}

// detail writes an audit event's detail. It is given maps and values of this
// package only, which always have a JSON form.
func detail(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("internal error: audit detail: %v", err))
	}
	return b
}
