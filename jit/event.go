package jit

import (
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
)

// View is what a judgement needs of one environment at one revision. State and
// Snapshot are of the same revision.
type View struct {
	State    *access.State
	Snapshot *engine.Snapshot
	// Persons: the mapping has a person expression, so that an account without a
	// value may ask but not decide (Rule JIT-16).
	Persons bool
	// DirectoryAge tells how long ago, at the instant of the judgement, the source
	// was last read completely; false if never. Nil means that no directory is
	// configured, which makes everything that rests on one stale (Rule JIT-5).
	DirectoryAge func(source string) (time.Duration, bool)
	// Closed finds a request that State has dropped because it can never change
	// again; false if there is none. Nil finds none.
	Closed func(id string) (Request, bool)
}

// Caller is who asks. Admin (Elevation Administrator) and Auditor are roles of
// Ambit's own environment, judged by whoever calls this package.
type Caller struct {
	User    access.UserID
	Admin   bool
	Auditor bool
	// GivesAll: may make a policy for any role (System Administrator, or the
	// files), others only for what they hold themselves (Rule ACC-5).
	GivesAll bool
	Actor    audit.Actor
}

// EventKind is what happens to a request, a grant or a policy.
type EventKind string

// The events of people.
const (
	Submit       EventKind = "submit"
	Show         EventKind = "show"
	Approve      EventKind = "approve"
	Deny         EventKind = "deny"
	Withdraw     EventKind = "withdraw"
	Cancel       EventKind = "cancel"
	Relinquish   EventKind = "relinquish"
	Revoke       EventKind = "revoke"
	PutPolicy    EventKind = "put_policy"
	DeletePolicy EventKind = "delete_policy"
)

// The events of time and of other changesets (Sweep and React).
const (
	TimePasses  EventKind = "time_passes"
	FactsChange EventKind = "facts_change"
)

// Event is what somebody wants to happen.
type Event struct {
	Kind EventKind
	By   Caller
	// ID is the id of what the event makes: a request ("req_" and a UUIDv7) or a
	// decision ("dec_" and a UUIDv7).
	ID string
	// Request is the id of the request that the event is about.
	Request string
	Ask     Ask // Submit
	// Digest of the evidence that the approver was shown (Approve).
	Digest string
	// Comment of a decision, or the reason of an end. Deny, Revoke, and Cancel by
	// an administrator need one.
	Comment string
	// Decision, if set, must be the id of the decision that Withdraw withdraws.
	Decision string
	// Policy is put whole (PutPolicy; Version, Author and ManagedBy are set here),
	// or named by its ID (DeletePolicy).
	Policy Policy
	// RevokeOpen lets DeletePolicy end the grants that rest on it (row GR13).
	RevokeOpen bool
}

// object names what the event is about, for the audit log.
func (e Event) object() string {
	switch e.Kind {
	case PutPolicy, DeletePolicy:
		return access.KindPolicy.String() + "/" + e.Policy.ID
	case Submit:
		return access.KindRequest.String() + "/" + e.ID
	}
	return access.KindRequest.String() + "/" + e.Request
}

// Ask is what a person asks for.
type Ask struct {
	// Policy, if set, must be the one that answers for the target.
	Policy string
	Role   access.RoleID
	// BusinessUnit defaults to the beneficiary's.
	BusinessUnit access.BusinessUnitID
	// Beneficiary defaults to the caller, and can only be another account of the
	// same person.
	Beneficiary   access.UserID
	Duration      Duration  // zero: the policy's default
	Start         time.Time // zero: as soon as approved
	Justification string
	Ticket        string
	// Digest, if set, must be that of the preview's evidence now.
	Digest string
}

// Outcome is what an event makes. All of it is to be committed together.
type Outcome struct {
	// Row is the row of the state table that was taken, such as "RQ6".
	Row      string
	Request  *Request
	Policy   *Policy
	Evidence *Evidence // of Show
	Changes  []access.Change
	Events   []audit.Event
}
