// Package access is the vocabulary of the access model: environments, business
// units, tables, security roles, users, teams, memberships, role assignments,
// shares and records, and the changesets by which they change.
//
// It owns plain values, their keys, the State of one environment, and the
// invariants that a changeset must keep. It does not decide who may do what
// (package engine does), read files or know a database.
//
// The rules are those of docs/rules.md; they are cited by id.
package access

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Identifiers. Each is a type of its own, so that a user's id does not fit where
// a team's goes. They are opaque, unique within their environment, and at most
// 256 bytes of printable UTF-8.
type (
	// EnvironmentID names a closed world of units, users, teams, roles and tables.
	EnvironmentID string
	// BusinessUnitID names a node of an environment's tree.
	BusinessUnitID string
	// TableID is a table's logical name, such as "account".
	TableID string
	// RoleID names a security role.
	RoleID string
	// UserID names a person or application in the tenant: it is the same in every
	// environment. Users that a directory brings have "<source>:<object id>".
	UserID string
	// TeamID names a team. A unit's default team has DefaultTeam's id.
	TeamID string
	// AssignmentID names one role assignment.
	AssignmentID string
	// RecordID is the application's own id of a record.
	RecordID string
	// RelationshipID names a relationship between two tables.
	RelationshipID string
	// TemplateID names an access team template.
	TemplateID string
	// PositionID names a node of the position hierarchy.
	PositionID string
	// ProfileID names a column security profile.
	ProfileID string
)

// Revision numbers the commits of a store: dense, in commit order, from 1.
// Zero means "none" or, in a question, "the newest".
type Revision int64

// AmbitEnvironment is the environment of Ambit's own administration. It is of
// the same model and decided by the same engine.
const AmbitEnvironment EnvironmentID = "ambit"

// Depth is how far a privilege reaches, from the assignment's business unit.
type Depth uint8

// The depths, in growing order (section 0 of the access model).
const (
	None   Depth = iota
	Basic        // user: records owned by the user or the user's teams
	Local        // business unit: records of the assignment's unit
	Deep         // parent: child units: records of the unit's subtree
	Global       // organization: every record of the environment
)

var depthNames = [...]string{"none", "user", "business_unit", "parent_child", "organization"}

func (d Depth) String() string { return name(depthNames[:], d, "depth") }

// MarshalText writes the depth's name.
func (d Depth) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a depth's name; the short names none, basic, local, deep
// and global are read as well.
func (d *Depth) UnmarshalText(b []byte) error {
	if i := slices.Index([]string{"none", "basic", "local", "deep", "global"}, string(b)); i >= 0 {
		*d = Depth(i)
		return nil
	}
	return parse(depthNames[:], b, d, "depth")
}

// Action is what somebody wants to do with a record.
type Action uint8

// The actions.
const (
	Create Action = iota
	Read
	Write
	Delete
	Append
	AppendTo
	Assign
	ShareRecord // written "share"; Share is the noun
	Actions
)

var actionNames = [...]string{"create", "read", "write", "delete", "append", "append_to", "assign", "share"}

func (a Action) String() string { return name(actionNames[:], a, "action") }

// MarshalText writes the action's name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads an action's name.
func (a *Action) UnmarshalText(b []byte) error { return parse(actionNames[:], b, a, "action") }

// Rights is a set of actions.
type Rights uint8

// RightsOf makes a set.
func RightsOf(actions ...Action) Rights {
	var r Rights
	for _, a := range actions {
		r |= 1 << a
	}
	return r
}

// Has tells whether the set holds the action.
func (r Rights) Has(a Action) bool { return r&(1<<a) != 0 }

// Actions lists the set in order.
func (r Rights) Actions() []Action {
	var out []Action
	for a := Create; a < Actions; a++ {
		if r.Has(a) {
			out = append(out, a)
		}
	}
	return out
}

func (r Rights) String() string {
	var names []string
	for _, a := range r.Actions() {
		names = append(names, a.String())
	}
	return strings.Join(names, ",")
}

// MarshalText writes the actions' names, separated by commas.
func (r Rights) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Rights) UnmarshalText(b []byte) error {
	*r = 0
	if len(b) == 0 {
		return nil
	}
	for _, s := range strings.Split(string(b), ",") {
		var a Action
		if err := a.UnmarshalText([]byte(strings.TrimSpace(s))); err != nil {
			return err
		}
		*r |= 1 << a
	}
	return nil
}

// Ownership is a table's kind (Rules OWN-1 to OWN-4).
type Ownership uint8

// The kinds of ownership.
const (
	UserOrTeam Ownership = iota
	OrganizationOwned
	BusinessUnitOwned
	NotOwned
)

var ownershipNames = [...]string{"user_or_team", "organization", "business_unit", "none"}

func (o Ownership) String() string { return name(ownershipNames[:], o, "ownership") }

// MarshalText writes the kind's name.
func (o Ownership) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a kind's name.
func (o *Ownership) UnmarshalText(b []byte) error {
	return parse(ownershipNames[:], b, o, "ownership")
}

// Reaches tells whether a privilege on a table of this kind can have the depth
// (Rules OWN-2 to OWN-4, ROLE-14).
func (o Ownership) Reaches(d Depth) bool {
	if o == OrganizationOwned {
		return d == None || d == Global
	}
	return d <= Global
}

// PrincipalKind tells users from teams, and from everybody.
type PrincipalKind uint8

// The kinds of principal. Everybody is "the whole organization" of Rule SHARE-4
// and stands in shares only.
const (
	UserPrincipal PrincipalKind = iota
	TeamPrincipal
	Everybody
)

var principalNames = [...]string{"user", "team", "organization"}

func (k PrincipalKind) String() string { return name(principalNames[:], k, "principal") }

// MarshalText writes the kind's name.
func (k PrincipalKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *PrincipalKind) UnmarshalText(b []byte) error {
	return parse(principalNames[:], b, k, "principal")
}

// Principal is a user, a team or, in a share, everybody.
type Principal struct {
	Kind PrincipalKind `json:"kind"`
	ID   string        `json:"id,omitempty"`
}

// Principal makes a user principal.
func (u UserID) Principal() Principal { return Principal{UserPrincipal, string(u)} }

// Principal makes a team principal.
func (t TeamID) Principal() Principal { return Principal{TeamPrincipal, string(t)} }

// User returns the user's id, if the principal is a user.
func (p Principal) User() (UserID, bool) { return UserID(p.ID), p.Kind == UserPrincipal }

// Team returns the team's id, if the principal is a team.
func (p Principal) Team() (TeamID, bool) { return TeamID(p.ID), p.Kind == TeamPrincipal }

func (p Principal) String() string {
	if p.Kind == Everybody {
		return p.Kind.String()
	}
	return p.Kind.String() + ":" + p.ID
}

// ParsePrincipal reads what Principal.String writes.
func ParsePrincipal(s string) (Principal, error) {
	if s == Everybody.String() {
		return Principal{Kind: Everybody}, nil
	}
	kind, id, ok := strings.Cut(s, ":")
	var p Principal
	if err := p.Kind.UnmarshalText([]byte(kind)); err != nil || !ok || id == "" || p.Kind == Everybody {
		return Principal{}, fmt.Errorf("principal %q: want user:ID, team:ID or organization", s)
	}
	p.ID = id
	return p, nil
}

// Window is a half-open span [Start, End) of UTC instants, kept to the
// microsecond. A zero end of it is open.
type Window struct {
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
}

// Holds tells whether t lies in the window.
func (w Window) Holds(t time.Time) bool {
	return (w.Start.IsZero() || !t.Before(w.Start)) && (w.End.IsZero() || t.Before(w.End))
}

// Open tells whether the window has no ends at all.
func (w Window) Open() bool { return w.Start.IsZero() && w.End.IsZero() }

// Empty tells whether no instant lies in the window.
func (w Window) Empty() bool {
	return !w.Start.IsZero() && !w.End.IsZero() && !w.Start.Before(w.End)
}

// Overlaps tells whether some instant lies in both.
func (w Window) Overlaps(o Window) bool {
	if w.Empty() || o.Empty() {
		return false
	}
	return (w.End.IsZero() || o.Start.IsZero() || o.Start.Before(w.End)) &&
		(o.End.IsZero() || w.Start.IsZero() || w.Start.Before(o.End))
}

// Instant brings a time to the form that the model keeps: UTC, microseconds,
// without a monotonic reading.
func Instant(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond).Round(0)
}

// ManagedBy says who may change an object: each way in changes only its own.
type ManagedBy string

// Who manages an object.
const (
	ByFile    ManagedBy = "file"    // declared in YAML
	ByAPI     ManagedBy = "api"     // made at run time over HTTP
	ByMapping ManagedBy = "mapping" // made by a mapping rule from a directory
	ByJIT     ManagedBy = "jit"     // made by an approved request
	BySystem  ManagedBy = "system"  // shipped with Ambit
)

// Origin says what a mapping rule made an object from.
type Origin struct {
	Rule   string `json:"rule,omitempty"`   // the rule's name
	Source string `json:"source,omitempty"` // the directory source
	Object string `json:"object,omitempty"` // the user's or group's id in it
	// Path names the groups between the group and its member, for nested rules, with
	// PathSeparator between them: of a membership the team's group, of a user the
	// environment security group.
	Path string `json:"path,omitempty"`
}

// PathSeparator is between the groups of an Origin's Path.
const PathSeparator = " > "

type ordinal interface{ ~uint8 }

func name[T ordinal](names []string, v T, what string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", what, v)
}

func parse[T ordinal](names []string, b []byte, v *T, what string) error {
	i := slices.Index(names, string(b))
	if i < 0 {
		return fmt.Errorf("unknown %s %q: want one of %s", what, b, strings.Join(names, ", "))
	}
	*v = T(i)
	return nil
}
