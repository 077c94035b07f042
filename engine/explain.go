package engine

import (
	"github.com/ambit-iam/ambit/access"
)

// Explanation is a decision with everything that it rests on (Rules EVAL-8,
// EVAL-9). Its order is fixed: the same question prints the same bytes.
type Explanation struct {
	Environment access.EnvironmentID `json:"environment"`
	User        Named                `json:"user"`
	Action      access.Action        `json:"action"`
	Table       Named                `json:"table,omitzero"`
	Privilege   string               `json:"privilege,omitempty"` // the miscellaneous privilege asked for
	Record      *Facts               `json:"record,omitempty"`
	Decision
	// Rules are those of the access model that settled the answer.
	Rules []string `json:"rules"`
	// Privileges lists every assignment that passes the privilege check (Rule
	// EVAL-3), whether or not it reaches the record.
	Privileges []Source `json:"privileges,omitempty"`
	// Origins lists every way that alone allows (Rule EVAL-8).
	Origins []Origin `json:"origins,omitempty"`
	// Requires lists what a creation needs beside Create (Rules OWN-8, BU-10).
	Requires []Requirement `json:"requires,omitempty"`
	// Missing lists, for a deny, the minimal sets of at most two facts whose
	// addition allows (Rule EVAL-9).
	Missing []Missing `json:"missing,omitempty"`
	// MoreMissing: there are more sets than the limit.
	MoreMissing bool `json:"more_missing,omitempty"`
}

// Named is an id with the name that people know it by.
type Named struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Facts are the facts of the record that the question was judged by.
type Facts struct {
	ID           access.RecordID  `json:"id,omitempty"`
	Owner        access.Principal `json:"owner,omitzero"`
	OwnerName    string           `json:"owner_name,omitempty"`
	BusinessUnit Named            `json:"business_unit,omitzero"`
	Registered   bool             `json:"registered,omitempty"`
}

// Source is an assignment in force and how it comes to the user.
type Source struct {
	Assignment   access.AssignmentID `json:"assignment"`
	Role         Named               `json:"role"`
	BusinessUnit Named               `json:"business_unit"`
	// Depth is the effective one: the smaller of the role's and the bound's.
	Depth       access.Depth       `json:"depth"`
	Inheritance access.Inheritance `json:"inheritance"`
	// Team carries the role; nil when the role is the user's own.
	Team   *Via          `json:"team,omitempty"`
	Window access.Window `json:"window,omitzero"`
	// Request is the elevation that made the assignment.
	Request string `json:"request,omitempty"`
	// Bounded: the elevation's bound makes the depth smaller than the role's.
	Bounded   bool             `json:"bounded,omitempty"`
	ManagedBy access.ManagedBy `json:"managed_by"`
	Origin    access.Origin    `json:"origin,omitzero"`
}

// Via is a team and how the user comes to be in it.
type Via struct {
	ID   access.TeamID   `json:"id"`
	Name string          `json:"name"`
	Type access.TeamType `json:"type"`
	// Default: the team of the user's business unit (Rule BU-6).
	Default bool              `json:"default,omitempty"`
	Group   *access.GroupLink `json:"group,omitempty"`
	// Membership says what put the user into the team, with the path of nested
	// groups.
	Membership access.Origin `json:"membership,omitzero"`
}

// Way is how an origin gives access.
type Way string

// The ways, in the order of Rule EVAL-4. Hierarchy (HIER) comes after Share.
const (
	ByPrivilege Way = "privilege" // no record: the privilege suffices (Rule EVAL-3)
	ByOwnership Way = "ownership"
	ByRole      Way = "role"
	ByShare     Way = "share"
	ByHierarchy Way = "hierarchy"
)

// Origin is one thing that alone allows.
type Origin struct {
	Way Way `json:"way"`
	// Source is the assignment; nil for a share, which rests on any of the
	// explanation's Privileges (Rule SHARE-5).
	Source *Source `json:"source,omitempty"`
	// Owner, for ownership, is the team that owns the record; nil when the user does.
	Owner *Via `json:"owner,omitempty"`
	// Share, for a share, is what was shared with whom.
	Share *Shared  `json:"share,omitempty"`
	Rules []string `json:"rules"`
}

// Shared is a share that reaches the user.
type Shared struct {
	Principal access.Principal `json:"principal"`
	Name      string           `json:"name,omitempty"`
	Team      *Via             `json:"team,omitempty"` // when shared with a team
	Rights    access.Rights    `json:"rights"`
	Inherited access.Rights    `json:"inherited,omitempty"`
	Window    access.Window    `json:"window,omitzero"`
}

// Requirement is a further question whose answer must be yes as well.
type Requirement struct {
	Rule string `json:"rule"`
	// Text says what is asked, for people.
	Text    string   `json:"text"`
	Met     bool     `json:"met"`
	Origins []Origin `json:"origins,omitempty"`
}

// Missing is a minimal set of facts whose addition makes Check allow: no part of
// it does.
type Missing struct {
	Facts []Fact `json:"facts"`
	// Further measures how much other access the facts would give: privileges
	// times the business units they reach times the people concerned. Sets of a
	// size are ordered by it.
	Further int64 `json:"further"`
}

// FactKind is what a missing fact is.
type FactKind string

// The kinds of missing facts.
const (
	EnableUser    FactKind = "enable_user"
	EnableUnit    FactKind = "enable_business_unit"
	GiveLicence   FactKind = "licence"
	Admit         FactKind = "environment_group"
	GiveRole      FactKind = "role"
	AddToTeam     FactKind = "membership"
	ShareWith     FactKind = "share"
	GiveOwnership FactKind = "ownership"
)

// Fact is one thing that is not so and would help if it were.
type Fact struct {
	Kind         FactKind         `json:"kind"`
	Principal    access.Principal `json:"principal,omitzero"`
	Name         string           `json:"name,omitempty"`         // the principal's
	Role         Named            `json:"role,omitzero"`          // role
	BusinessUnit Named            `json:"business_unit,omitzero"` // role, enable_business_unit
	Team         Named            `json:"team,omitzero"`          // membership
	Right        access.Action    `json:"right,omitempty"`        // share
}

// Explain answers the question with all origins or, when it denies, with at most
// limit missing sets (10 when limit is 0, none when it is negative).
func (s *Snapshot) Explain(q Question, limit int) (Explanation, error) {
	return Explanation{}, errNotYet
}

// String renders the explanation for people, one line an origin.
func (e Explanation) String() string { return "" }

// String tells the fact in a sentence.
func (f Fact) String() string { return "" }

var errNotYet = error(nil)
