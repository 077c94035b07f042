package engine

import (
	"time"

	"github.com/ambit-iam/ambit/access"
)

// What is all that a user's roles give at an instant (Rule EVAL-10), without
// shares, which are about single records.
type What struct {
	User     access.UserID   `json:"user"`
	At       time.Time       `json:"at"`
	Revision access.Revision `json:"revision"`
	// Reason is Allowed when the user gets in; otherwise it says why not (Rule
	// EVAL-2), and nothing else is set.
	Reason Reason `json:"reason"`
	// Held is the smallest list that says the same: what a wider line covers is
	// left out. Sorted by table, action, depth downwards, unit, team; then the
	// miscellaneous privileges.
	Held []Held `json:"held,omitempty"`
	// Teams are the user's teams that can own: at user depth without a team of
	// its own, their records count as the user's.
	Teams []access.TeamID `json:"teams,omitempty"`
	// Sources are the assignments in force; their Depth is None, since it differs
	// by privilege.
	Sources []Source `json:"sources,omitempty"`
}

// Access is a kind of access that roles give.
type Access struct {
	Table  access.TableID `json:"table,omitempty"`
	Action access.Action  `json:"action"`
	Depth  access.Depth   `json:"depth"`
	// BusinessUnit is where a depth of business_unit or parent_child is measured
	// from.
	BusinessUnit Named `json:"business_unit,omitzero"`
	// Team, at user depth, limits the access to records of that team; without one
	// it is records of the user and of all the user's teams.
	Team Named `json:"team,omitzero"`
	// Miscellaneous is the privilege's name when there is no table.
	Miscellaneous string `json:"miscellaneous,omitempty"`
}

// Held is an access and the assignments that give just that.
type Held struct {
	Access
	By []access.AssignmentID `json:"by"`
}

// What lists what the user's roles give.
func (s *Snapshot) What(u access.UserID, at time.Time) (What, error) { return What{}, errNotYet }

// Diff is the difference between two answers of What about one user.
type Diff struct {
	User   access.UserID `json:"user"`
	Gained []Access      `json:"gained,omitempty"`
	Lost   []Access      `json:"lost,omitempty"`
}

// Diff tells what w reaches and before did not, and the other way round. An
// access that only changes its shape, as when a wider one replaces a narrower
// one, is gained as far as it reaches further and lost as far as it does not.
func (w What) Diff(before What) Diff { return Diff{} }

// Flags are what makes a gain weighty (Rule JIT-61).
type Flags struct {
	// Escalating: by the gain one could give privileges.
	Escalating bool `json:"escalating"`
	// Privileged: escalating, or write or delete at depth organization.
	Privileged bool `json:"privileged"`
}

// Flags judges what was gained; escalates names the accesses by which one can
// give privileges in this environment.
func (d Diff) Flags(escalates func(Access) bool) Flags { return Flags{} }

// Line sums up one kind of gain or loss over users.
type Line struct {
	Gain  bool `json:"gain"`
	Users int  `json:"users"`
	// Actions holds those that the same users gain or lose alike.
	Actions       access.Rights  `json:"actions,omitempty"`
	Table         access.TableID `json:"table,omitempty"`
	Depth         access.Depth   `json:"depth"`
	BusinessUnits []Named        `json:"business_units,omitempty"`
	Teams         []Named        `json:"teams,omitempty"`
	Miscellaneous string         `json:"miscellaneous,omitempty"`
}

// Summarize adds up the differences of many users, weightiest first (Rule JIT-58).
func Summarize(diffs []Diff) []Line { return nil }

// String tells the line as "14 users gain write on account at depth organization".
func (l Line) String() string { return "" }
