package jit

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is the state that people see: computed from what is stored and the
// instant of the question, so that nothing has to run for it to be true (Rule
// JIT-37). A request that was approved has the status of its grant.
type Status string

// The statuses.
const (
	None            Status = "–" // not there yet
	StatusPending   Status = "pending"
	StatusDenied    Status = "denied"
	StatusCancelled Status = "cancelled"
	StatusLapsed    Status = "lapsed"
	StatusVoid      Status = "void"
	StatusScheduled Status = "scheduled"
	StatusActive    Status = "active"
	StatusExpired   Status = "expired" // over by the clock and not yet tidied up
	StatusEnded     Status = "ended"
)

// Statuses lists every status that a request can show.
func Statuses() []Status {
	return []Status{
		StatusPending, StatusDenied, StatusCancelled, StatusLapsed, StatusVoid,
		StatusScheduled, StatusActive, StatusExpired, StatusEnded,
	}
}

// Status tells what the request shows at the instant (Rules JIT-24, JIT-37).
func (r Request) Status(at time.Time) Status {
	switch r.State {
	case Pending:
		if !at.Before(r.PendingUntil) {
			return StatusLapsed
		}
		return StatusPending
	case Approved:
		switch g := r.Grant; {
		case g.Ended != nil:
			return StatusEnded
		case at.Before(g.Window.Start):
			return StatusScheduled
		case at.Before(g.Window.End):
			return StatusActive
		}
		return StatusExpired
	}
	return Status(r.State)
}

// Who takes part in an event.
type Who string

// The parts that people and Ambit play (Rule JIT-28).
const (
	RequesterPart     Who = "requester"     // or beneficiary
	ApproverPart      Who = "approver"      // selected by a stage
	AdministratorPart Who = "administrator" // Elevation Administrator
	AuditorPart       Who = "auditor"
	SystemPart        Who = "system"
)

// Row is one line of the state table.
type Row struct {
	ID     string // as in docs/rules.md
	From   []Status
	Event  EventKind
	Who    []Who
	Guard  string
	To     []Status
	Writes string
	Audit  []string // operations, in order
}

// Rows is the state table of requests and grants: what is not in it is refused
// (Rules JIT-2, JIT-110). Step, Sweep and React take no transition but these.
func Rows() []Row {
	var (
		pending = []Status{StatusPending}
		open    = []Status{StatusScheduled, StatusActive}
		begun   = []Status{StatusActive, StatusExpired}
		ended   = []Status{StatusEnded}
		r       = []Who{RequesterPart}
		a       = []Who{ApproverPart}
		s       = []Who{SystemPart}
		reader  = []Who{RequesterPart, ApproverPart, AdministratorPart, AuditorPart}
	)
	const created = "the grant: an assignment with window and bound"
	return []Row{
		{"RQ1", []Status{None}, Submit, r, "eligible, gates open, limits, reachable quorum, no overlap, adds something", pending, "policy version, digest, pending_until", []string{"jit.request.submitted"}},
		{"JIT-63", pending, Show, reader, "–", pending, "who was shown which digest", []string{"jit.request.shown"}},
		{"RQ15", pending, Show, reader, "the evidence is not what was noted last", pending, "new digest; approvals of the old one are set aside", []string{"jit.request.diff_changed", "jit.request.shown"}},
		{"RQ4", pending, Approve, a, "authority, separation of duties, digest shown and current; quorum of the stage not reached", pending, "decision", []string{"jit.request.decision"}},
		{"RQ5", pending, Approve, a, "as RQ4; stage complete, more stages", pending, "decision", []string{"jit.request.decision", "jit.request.stage_passed"}},
		{"RQ6", pending, Approve, a, "as RQ4; last stage complete, RQ1's guards again", open, "decision; " + created, []string{"jit.request.decision", "jit.request.approved", "jit.grant.created"}},
		{"JIT-43", pending, Approve, a, "as RQ6; the fixed start has passed and the policy says reject", []Status{StatusDenied}, "decision", []string{"jit.request.decision", "jit.request.denied"}},
		{"JIT-35", pending, Approve, a, "as RQ4; too few persons are left for what is still to be decided", []Status{StatusVoid}, "decision", []string{"jit.request.decision", "jit.request.void"}},
		{"RQ7", pending, Deny, a, "as RQ4 without digest; deny quorum reached", []Status{StatusDenied}, "decision", []string{"jit.request.decision", "jit.request.denied"}},
		{"RQ8", pending, Deny, a, "as RQ7; deny quorum not reached", pending, "decision", []string{"jit.request.decision"}},
		{"JIT-35, denied", pending, Deny, a, "as RQ8; too few persons are left for what is still to be decided", []Status{StatusVoid}, "decision", []string{"jit.request.decision", "jit.request.void"}},
		{"RQ9", pending, Withdraw, a, "the decision is theirs", pending, "decision withdrawn", []string{"jit.request.decision_withdrawn"}},
		{"RQ10", pending, Cancel, []Who{RequesterPart, AdministratorPart}, "an administrator gives a reason", []Status{StatusCancelled}, "–", []string{"jit.request.cancelled"}},
		{"JIT-30", pending, Deny, r, "a denial of one's own request is a cancel", []Status{StatusCancelled}, "–", []string{"jit.request.cancelled"}},
		{"RQ11", []Status{StatusLapsed}, TimePasses, s, "t ≥ pending_until, stored as pending", []Status{StatusLapsed}, "closed_at = pending_until", []string{"jit.request.lapsed"}},
		{"RQ12", pending, FactsChange, s, "eligibility lost, subject disabled or gone, target or policy gone or disabled, quorum out of reach", []Status{StatusVoid}, "cause", []string{"jit.request.void"}},
		{"RQ13", pending, FactsChange, s, "another policy version answers, request still admissible", pending, "policy version; approvals of the old one are set aside", []string{"jit.request.repinned"}},
		{"RQ14", pending, FactsChange, s, "another policy version answers, request not admissible any more", []Status{StatusVoid}, "cause", []string{"jit.request.void"}},
		{"GR4", begun, TimePasses, s, "t ≥ start", begun, "that the start is noted", []string{"jit.grant.started"}},
		{"GR5", []Status{StatusExpired}, TimePasses, s, "t ≥ end", ended, "ended_at = end; the assignment is removed", []string{"jit.grant.ended"}},
		{"GR7", open, Relinquish, r, "–", ended, "the assignment is removed", []string{"jit.grant.ended"}},
		{"GR8", open, Revoke, []Who{ApproverPart, AdministratorPart}, "with a reason", ended, "the assignment is removed", []string{"jit.grant.ended"}},
		{"GR9", open, FactsChange, s, "beneficiary disabled, gone or behind a gate", ended, "the assignment is removed", []string{"jit.grant.ended"}},
		{"GR10", open, FactsChange, s, "eligibility lost", ended, "the assignment is removed", []string{"jit.grant.ended"}},
		{"GR11", open, FactsChange, s, "role, unit or assignment gone", ended, "the assignment is removed", []string{"jit.grant.ended"}},
		{"GR12", open, FactsChange, s, "the role gains or loses privileges", open, "nothing: the effect is bound ∩ role", []string{"jit.grant.bound_changed"}},
		{"GR13", open, FactsChange, s, "policy deleted", ended, "the assignment is removed", []string{"jit.grant.ended"}},
	}
}

// table is Rows by id.
var table = func() map[string]Row {
	m := map[string]Row{}
	for _, r := range Rows() {
		m[r.ID] = r
	}
	return m
}()

// takes tells whether some row takes the event in that status, by anyone.
func takes(from Status, e EventKind) bool {
	for _, r := range table {
		if r.Event == e && slices.Contains(r.From, from) {
			return true
		}
	}
	return false
}

// row returns the row for a transition that is about to be made. A transition
// that the table does not have is a bug of this package.
func row(id string, from Status, e EventKind, to Status) Row {
	r, ok := table[id]
	if !ok || r.Event != e || !slices.Contains(r.From, from) || !slices.Contains(r.To, to) {
		panic(fmt.Sprintf("internal error: no row %s from %s by %s to %s", id, from, e, to))
	}
	return r
}

// Table writes the state table as Markdown, for the documentation.
func Table() string {
	var b strings.Builder
	b.WriteString("| Row | State | Event | Who | Guard | Next | Written | Audit events |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range Rows() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.ID, join(r.From), strings.ReplaceAll(string(r.Event), "_", " "),
			join(r.Who), r.Guard, join(r.To), r.Writes, strings.Join(r.Audit, ", "))
	}
	b.WriteString("| RQ18 | any but pending | approve, deny, withdraw, cancel, show | anyone who sees it | – | unchanged | nothing: 409 `not-pending` with the state, by whom and when | jit.refused |\n")
	b.WriteString("| GR15 | ended, expired | relinquish, revoke | anyone who sees it | – | unchanged | nothing: 409 `ended` | jit.refused |\n")
	return b.String()
}

func join[T ~string](list []T) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = string(v)
	}
	return strings.Join(s, ", ")
}
