// Package engine decides who may do what, by the rules of the access model.
//
// It owns the Snapshot, an immutable compiled form of one environment at one
// revision, and the answers taken from it: Check and Explain, Rights and Columns
// on a record, the Filter of a table, What a user has and Who may, and the rulings
// on changes (MayShare and the others). It is pure: it reads no clock, file,
// network or log, and the same question on the same revision and instant has the
// same answer everywhere (Rule EVAL-12).
//
// It does not judge changes (access.State.Expand does) and it does not load or
// keep anything. A membership, assignment or share that names something which
// does not exist gives nothing; a question that cannot be judged is an error, and
// an error denies (Rule EVAL-1).
package engine

import (
	"errors"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Question asks whether a user may do something at an instant. It has one of
// three forms: about a record (Table, Action, Record), about a table (Table,
// Action), or about a miscellaneous privilege (Privilege alone).
type Question struct {
	User   access.UserID  `json:"user"`
	Action access.Action  `json:"action"`
	Table  access.TableID `json:"table,omitempty"`
	// Record is nil when the question is about the table. With Create it is the
	// intended record (Rules OWN-7, OWN-8).
	Record *Record `json:"record,omitempty"`
	// Privilege names a miscellaneous privilege (Rule ROLE-13); Table is empty then.
	Privilege string `json:"privilege,omitempty"`
	// At is the instant that windows are compared with; it must be set.
	At time.Time `json:"at"`
	// Channel is how the user comes in; absent counts as interactive (Rule ACC-1).
	Channel Channel `json:"channel,omitempty"`
	// Impersonator, if set, acts on behalf of User; both are judged (Rule ACC-4).
	Impersonator access.UserID `json:"impersonator,omitempty"`
	// Columns names the columns that a Create or Write sets; those that are secured
	// need a column security profile as well (Rule FLS-5).
	Columns []string `json:"columns,omitempty"`
}

// Channel is how a user comes in.
type Channel string

// The channels of Rule ACC-1.
const (
	Interactive Channel = "interactive"
	API         Channel = "api"
)

// Record is what the application says of its record, or, with Registered, the
// request to take what the environment knows of it.
type Record struct {
	// ID finds the record's shares. Without one no share bears on the question.
	ID access.RecordID `json:"id,omitempty"`
	// Owner is a user or a team that can own, for tables of kind user_or_team; it
	// is empty for every other kind.
	Owner access.Principal `json:"owner,omitzero"`
	// BusinessUnit is the owning unit. With classic units it may be left out for a
	// record that has an owner, since it is the owner's (Rule OWN-5); one that
	// says otherwise is an error.
	BusinessUnit access.BusinessUnitID `json:"business_unit,omitempty"`
	// Registered takes owner and unit from access.State.Records by Table and ID.
	Registered bool `json:"registered,omitempty"`
}

// Decision is the answer. The zero Decision denies.
type Decision struct {
	Allowed bool   `json:"allowed"`
	Reason  Reason `json:"reason"`
	// Depth is the greatest depth of the privilege in any unit, for a question
	// about a table (Rule EVAL-3). It is None for a record: Explain says by which
	// depths a record is reached.
	Depth access.Depth `json:"depth"`
	// ValidUntil is the earliest instant at which time alone gives another answer
	// (Rule JIT-25). It is zero when no window bears on the answer. Where more
	// than 64 windows follow each other without changing the answer it may be
	// earlier than that, never later.
	ValidUntil time.Time       `json:"valid_until,omitzero"`
	Revision   access.Revision `json:"revision"`
	// OfImpersonator: the reason is the impersonator's, not the user's (Rule ACC-4).
	OfImpersonator bool `json:"of_impersonator,omitempty"`
}

// Reason says which step of the order of evaluation settled the answer. The zero
// Reason means that nothing was decided, and denies.
type Reason string

// The reasons, in the order in which they are looked for (Rules EVAL-2 to EVAL-5).
const (
	Unknown               Reason = ""
	UserDisabled          Reason = "user_disabled"
	BusinessUnitDisabled  Reason = "business_unit_disabled"
	NoLicence             Reason = "no_licence"
	AccessModeExcludes    Reason = "access_mode"
	NotInEnvironmentGroup Reason = "not_in_environment_group"
	NoRole                Reason = "no_role"
	MayNotImpersonate     Reason = "may_not_impersonate"
	NoPrivilege           Reason = "no_privilege"
	NoAccess              Reason = "no_access"
	NoColumnAccess        Reason = "no_column_access"
	Allowed               Reason = "allowed"
)

func (r Reason) String() string {
	if r == Unknown {
		return "unknown"
	}
	return string(r)
}

// MarshalText writes the reason's name, "unknown" for the zero value.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Errors of questions that cannot be judged (Rule EVAL-1). What is returned wraps
// one of them and says what was asked for.
var (
	// ErrUnknown: the question names something that does not exist.
	ErrUnknown = errors.New("unknown")
	// ErrQuestion: the question is incomplete, or its facts cannot be true.
	ErrQuestion = errors.New("question cannot be judged")
	// ErrLocked: the environment is locked (Rule CMK-3).
	ErrLocked = errors.New("environment_locked")
)
