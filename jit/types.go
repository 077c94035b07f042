package jit

import (
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Policy says for whom, by whom and for how long one role can be had in one
// unit or subtree (Rule JIT-8).
type Policy struct {
	Environment access.EnvironmentID `json:"environment"`
	ID          string               `json:"id"`
	Version     int                  `json:"version"` // from 1, one more with each change (Rule JIT-9)
	Name        string               `json:"name"`
	Role        access.RoleID        `json:"role"`
	Scope       Scope                `json:"scope"`
	Eligible    []Subject            `json:"eligible"`
	Stages      []Stage              `json:"stages"` // in order, at least one
	MinDuration Duration             `json:"min_duration"`
	MaxDuration Duration             `json:"max_duration"`
	// DefaultDuration is taken when a request names none.
	DefaultDuration Duration `json:"default_duration"`
	PendingTTL      Duration `json:"pending_ttl"`
	// JustificationMin is the least length in characters, after trimming.
	JustificationMin int `json:"justification_min"`
	// Ticket is an RE2 pattern that the whole ticket must match; empty asks for none.
	Ticket string `json:"ticket,omitempty"`
	Late   Late   `json:"late"`
	// DenyQuorum is how many denials end a request.
	DenyQuorum int `json:"deny_quorum"`
	// MaxDirectoryAge refuses requests and decisions that rest on a directory
	// group when the source was last read completely longer ago than this.
	MaxDirectoryAge Duration `json:"max_directory_age"`
	// OneApproverSuffices lets one person approve an escalating role, which
	// otherwise needs two (Rule JIT-61).
	OneApproverSuffices bool `json:"one_approver_suffices,omitempty"`
	Disabled            bool `json:"disabled,omitempty"`
	// Author is the id of who changed it last (Rule JIT-32).
	Author    string           `json:"author,omitempty"`
	ManagedBy access.ManagedBy `json:"managed_by"`
}

// Scope is the unit, or with Subtree the unit and all below, in which the role
// can be had.
type Scope struct {
	BusinessUnit access.BusinessUnitID `json:"business_unit"`
	Subtree      bool                  `json:"subtree,omitempty"`
}

// Subject names people: exactly one field is set. Eligible names users and
// teams; approvers can be any.
type Subject struct {
	User access.UserID `json:"user,omitempty"`
	Team access.TeamID `json:"team,omitempty"`
	// Role names those who hold the role by standing assignment (Rule JIT-19).
	Role access.RoleID `json:"role,omitempty"`
	// Manager is the manager of the beneficiary (Rule JIT-18); approvers only.
	Manager bool `json:"manager,omitempty"`
}

// Stage is one step of approval: Quorum distinct persons of Approvers. Fallback
// takes the place of a manager whom the beneficiary has not (Rule JIT-18).
type Stage struct {
	Approvers []Subject `json:"approvers"`
	Fallback  []Subject `json:"fallback,omitempty"`
	Quorum    int       `json:"quorum"`
}

// Late says what becomes of a fixed start that has passed when the last
// approval comes (Rule JIT-43).
type Late string

// The ways to treat a late approval.
const (
	Truncate Late = "truncate"
	Shift    Late = "shift"
	Reject   Late = "reject"
)

// State is what is stored of a request (Rule JIT-37).
type State string

// The stored states. All but Pending are final for the request.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Cancelled State = "cancelled"
	Lapsed    State = "lapsed"
	Void      State = "void"
)

// Request asks for a role for a time, and carries what became of it.
type Request struct {
	Environment access.EnvironmentID `json:"environment"`
	ID          string               `json:"id"` // "req_" and a UUIDv7, so that ids sort by time
	State       State                `json:"state"`
	// Reason tells why the request left Pending, where the state alone does not.
	Reason        string                `json:"reason,omitempty"`
	Requester     access.UserID         `json:"requester"`
	Beneficiary   access.UserID         `json:"beneficiary"`
	Role          access.RoleID         `json:"role"`
	BusinessUnit  access.BusinessUnitID `json:"business_unit"`
	Duration      Duration              `json:"duration"`
	Start         time.Time             `json:"start,omitzero"` // zero: as soon as approved
	Justification string                `json:"justification"`
	Ticket        string                `json:"ticket,omitempty"`
	Policy        string                `json:"policy"`
	PolicyVersion int                   `json:"policy_version"`
	Submitted     time.Time             `json:"submitted"`
	PendingUntil  time.Time             `json:"pending_until"` // Rule JIT-38
	// Digest is of the evidence as last noted; approvals of another digest do not
	// count (Rules JIT-4, JIT-60).
	Digest string `json:"digest"`
	// ClosedAt and ClosedBy say when and by whom the request left Pending.
	ClosedAt  time.Time  `json:"closed_at,omitzero"`
	ClosedBy  string     `json:"closed_by,omitempty"`
	Decisions []Decision `json:"decisions,omitempty"`
	// Shown lists who was shown which evidence (Rule JIT-63).
	Shown []Shown `json:"shown,omitempty"`
	Grant *Grant  `json:"grant,omitempty"`
}

// Decision is one person's voice (Rules JIT-13, JIT-34).
type Decision struct {
	ID        string        `json:"id"`
	By        access.UserID `json:"by"`
	Stage     int           `json:"stage"` // from 0
	Approve   bool          `json:"approve"`
	Comment   string        `json:"comment,omitempty"`
	Digest    string        `json:"digest,omitempty"` // of the evidence that was shown
	At        time.Time     `json:"at"`
	Withdrawn time.Time     `json:"withdrawn,omitzero"`
	// Lapsed: it was set aside, since its author lost the authority or what was
	// shown has changed (Rule JIT-36).
	Lapsed bool `json:"lapsed,omitempty"`
}

// Shown records that a person was shown the evidence with that digest.
type Shown struct {
	To     access.UserID `json:"to"`
	Digest string        `json:"digest"`
	At     time.Time     `json:"at"`
}

// Grant is what an approved request gives: an assignment with a window, and at
// most one end before it (Rule JIT-14).
type Grant struct {
	Assignment access.AssignmentID `json:"assignment"`
	Window     access.Window       `json:"window"`
	// StartNoted: the audit log has the start (Rule JIT-70).
	StartNoted bool   `json:"start_noted,omitempty"`
	Ended      *Ended `json:"ended,omitempty"`
}

// Ended says how a grant ended before its window did, or, once tidied up, with it.
type Ended struct {
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason"` // relinquished, revoked, expired, subject, eligibility, target, policy
}

// The Object methods.
func (p Policy) ObjectKind() access.Kind                  { return access.KindPolicy }
func (p Policy) ObjectEnvironment() access.EnvironmentID  { return p.Environment }
func (p Policy) ObjectKey() string                        { return p.ID }
func (r Request) ObjectKind() access.Kind                 { return access.KindRequest }
func (r Request) ObjectEnvironment() access.EnvironmentID { return r.Environment }
func (r Request) ObjectKey() string                       { return r.ID }

// Closed tells whether the request can never change again, so that the state in
// memory need not keep it (access.Closer).
func (r Request) Closed() bool {
	if r.State == Approved {
		return r.Grant == nil || r.Grant.Ended != nil
	}
	return r.State != Pending
}
