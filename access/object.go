package access

import (
	"fmt"
	"strings"
)

// Kind tells what an object is. The names are part of the store and the audit
// log: add, never rename.
type Kind uint8

// The kinds of object, in the order in which they can be created: what comes
// later may refer to what comes before.
const (
	KindEnvironment Kind = iota
	KindBusinessUnit
	KindTable
	KindRole
	KindUser
	KindTeam
	KindMembership
	KindAssignment
	KindRecord
	KindShare
	KindPolicy  // jit.Policy
	KindRequest // jit.Request
	Kinds
)

var kindNames = [...]string{
	"environment", "business_unit", "table", "role", "user", "team",
	"membership", "assignment", "record", "share", "jit_policy", "jit_request",
}

func (k Kind) String() string { return name(kindNames[:], k, "kind") }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(b []byte) error { return parse(kindNames[:], b, k, "kind") }

// Object is one thing of an environment that changes whole. Key is unique among
// the objects of its kind and environment.
type Object interface {
	ObjectKind() Kind
	ObjectEnvironment() EnvironmentID
	ObjectKey() string
}

// Environment is one closed world and its settings.
type Environment struct {
	ID   EnvironmentID `json:"id"`
	Name string        `json:"name"`
	// Modernized is record_ownership_across_business_units (Rule BU-9).
	Modernized bool `json:"modernized,omitempty"`
	// KeepRecordUnit is the inverse of always_move_record_to_owner_business_unit,
	// whose default is true (Rule OWN-11).
	KeepRecordUnit bool `json:"keep_record_unit,omitempty"`
	// KeepRoles is do_not_remove_roles_on_change_business_unit (Rule OWN-13).
	KeepRoles bool `json:"keep_roles,omitempty"`
	// ShareWithPrevious is share_reassigned_with_previous_owner (Rule OWN-10).
	ShareWithPrevious bool `json:"share_with_previous,omitempty"`
	// SecurityGroup, if set, admits only the users with User.Admitted (Rule ESG-1).
	SecurityGroup *GroupRef `json:"security_group,omitempty"`
	// RequireLicence admits only the users with User.Licensed (Rule LIC-1).
	RequireLicence bool      `json:"require_licence,omitempty"`
	ManagedBy      ManagedBy `json:"managed_by"`
}

// GroupRef names a directory group.
type GroupRef struct {
	Source string `json:"source"`
	Group  string `json:"group"`          // the group's id in the source
	Name   string `json:"name,omitempty"` // as last seen, for people
}

// BusinessUnit is a node of the environment's one tree (Rule BU-1).
type BusinessUnit struct {
	Environment EnvironmentID  `json:"environment"`
	ID          BusinessUnitID `json:"id"`
	Name        string         `json:"name"`             // unique in the environment, case-insensitively
	Parent      BusinessUnitID `json:"parent,omitempty"` // empty for the root
	Disabled    bool           `json:"disabled,omitempty"`
	ManagedBy   ManagedBy      `json:"managed_by"`
}

// DefaultTeam is the id of the unit's default team (Rule BU-6). The team and its
// memberships are derived, never stored: its members are the unit's users.
func (b BusinessUnitID) DefaultTeam() TeamID { return TeamID("default:" + string(b)) }

// DefaultOf returns the unit whose default team this is.
func (t TeamID) DefaultOf() (BusinessUnitID, bool) {
	s, ok := strings.CutPrefix(string(t), "default:")
	return BusinessUnitID(s), ok
}

// Table is a kind of record.
type Table struct {
	Environment EnvironmentID `json:"environment"`
	ID          TableID       `json:"id"`
	Name        string        `json:"name"`
	Ownership   Ownership     `json:"ownership"`
	ManagedBy   ManagedBy     `json:"managed_by"`
}

// Privilege is the right to an action on a table, to a depth.
type Privilege struct {
	Table  TableID `json:"table"`
	Action Action  `json:"action"`
	Depth  Depth   `json:"depth"`
}

// Inheritance is the member's privilege inheritance of a role that a team holds.
type Inheritance uint8

// The settings of Rules ROLE-7 and ROLE-8. DirectUser is the default for new
// roles and therefore the zero value.
const (
	DirectUser Inheritance = iota
	TeamOnly
)

var inheritanceNames = [...]string{"direct_user", "team_only"}

func (i Inheritance) String() string { return name(inheritanceNames[:], i, "inheritance") }

// MarshalText writes the setting's name.
func (i Inheritance) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads a setting's name.
func (i *Inheritance) UnmarshalText(b []byte) error {
	return parse(inheritanceNames[:], b, i, "member privilege inheritance")
}

// Role is a security role. It exists in the unit that defines it and in that
// unit's whole subtree (Rule ROLE-2).
type Role struct {
	Environment  EnvironmentID  `json:"environment"`
	ID           RoleID         `json:"id"`
	Name         string         `json:"name"` // unique in the environment, case-insensitively
	BusinessUnit BusinessUnitID `json:"business_unit"`
	Inheritance  Inheritance    `json:"inheritance"`
	// All is System Administrator's: every privilege at Global, those of tables
	// made later too (Rule ROLE-10). Privileges is empty then.
	All bool `json:"all,omitempty"`
	// Privileges has at most one line for each table and action, sorted by table,
	// then action, none with depth None.
	Privileges []Privilege `json:"privileges,omitempty"`
	// Miscellaneous names the privileges without a table, sorted (Rule ROLE-13).
	Miscellaneous []string  `json:"miscellaneous,omitempty"`
	ManagedBy     ManagedBy `json:"managed_by"`
}

// User is a person or application as one environment knows it.
type User struct {
	Environment  EnvironmentID  `json:"environment"`
	ID           UserID         `json:"id"`
	Login        string         `json:"login"` // sign-in name, unique in the environment, case-insensitively
	Name         string         `json:"name"`
	Mail         string         `json:"mail,omitempty"`
	BusinessUnit BusinessUnitID `json:"business_unit"`
	Enabled      bool           `json:"enabled"`
	// Licensed and Admitted count only where the environment asks for them.
	Licensed bool   `json:"licensed,omitempty"`
	Admitted bool   `json:"admitted,omitempty"`
	Manager  UserID `json:"manager,omitempty"` // may name a user who is not in the environment
	// Position is the user's place in the position hierarchy.
	Position string `json:"position,omitempty"`
	// Person joins the accounts of one human for separation of duties (Rule
	// JIT-16); empty where no person expression is configured.
	Person    string    `json:"person,omitempty"`
	ManagedBy ManagedBy `json:"managed_by"`
	Origin    Origin    `json:"origin,omitzero"`
}

// TeamType is what a team is for (Rule TEAM-1).
type TeamType uint8

// The types of team.
const (
	OwnerTeam TeamType = iota
	AccessTeam
	SecurityGroupTeam
	M365GroupTeam
)

var teamTypeNames = [...]string{"owner", "access", "security_group", "m365_group"}

func (t TeamType) String() string { return name(teamTypeNames[:], t, "team type") }

// MarshalText writes the type's name.
func (t TeamType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a type's name.
func (t *TeamType) UnmarshalText(b []byte) error { return parse(teamTypeNames[:], b, t, "team type") }

// MembershipKind picks the part of a directory group that a group team takes
// (Rule TEAM-2).
type MembershipKind uint8

// The membership kinds.
const (
	MembersAndGuests MembershipKind = iota
	MembersOnly
	OwnersOnly
	GuestsOnly
)

var membershipKindNames = [...]string{"members_and_guests", "members", "owners", "guests"}

func (m MembershipKind) String() string { return name(membershipKindNames[:], m, "membership kind") }

// MarshalText writes the kind's name.
func (m MembershipKind) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a kind's name.
func (m *MembershipKind) UnmarshalText(b []byte) error {
	return parse(membershipKindNames[:], b, m, "membership kind")
}

// GroupLink ties a group team to its directory group.
type GroupLink struct {
	GroupRef
	Membership MembershipKind `json:"membership"`
	Nested     bool           `json:"nested,omitempty"` // members of nested groups count too (Rule TEAM-3)
}

// Team is a set of users that can own records and hold roles, or, as an access
// team, only receive shares (Rule TEAM-5).
type Team struct {
	Environment  EnvironmentID  `json:"environment"`
	ID           TeamID         `json:"id"`
	Name         string         `json:"name"` // unique within its unit, case-insensitively (Rule TEAM-9)
	Type         TeamType       `json:"type"`
	BusinessUnit BusinessUnitID `json:"business_unit"`
	Group        *GroupLink     `json:"group,omitempty"` // for group teams
	ManagedBy    ManagedBy      `json:"managed_by"`
	Origin       Origin         `json:"origin,omitzero"`
}

// CanOwn tells whether the team can own records and hold roles.
func (t Team) CanOwn() bool { return t.Type != AccessTeam }

// Membership puts a user into a team.
type Membership struct {
	Environment EnvironmentID `json:"environment"`
	Team        TeamID        `json:"team"`
	User        UserID        `json:"user"`
	ManagedBy   ManagedBy     `json:"managed_by"`
	Origin      Origin        `json:"origin,omitzero"`
}

// Assignment gives a role to a principal at a unit, for a window.
type Assignment struct {
	Environment  EnvironmentID  `json:"environment"`
	ID           AssignmentID   `json:"id"`
	Role         RoleID         `json:"role"`
	Principal    Principal      `json:"principal"`
	BusinessUnit BusinessUnitID `json:"business_unit"`
	Window       Window         `json:"window,omitzero"`
	// Request is the elevation that made it (Rule JIT-E-1); empty for a standing
	// assignment.
	Request string `json:"request,omitempty"`
	// Bound, for an elevation, is what the approver was shown: the effect is the
	// smaller of it and the role as it is now, privilege by privilege (Rule
	// JIT-62). Nil means the role as it is.
	Bound     *Bound    `json:"bound,omitempty"`
	ManagedBy ManagedBy `json:"managed_by"`
	Origin    Origin    `json:"origin,omitzero"`
}

// Bound is the largest effect that an assignment can have.
type Bound struct {
	All           bool        `json:"all,omitempty"`
	Privileges    []Privilege `json:"privileges,omitempty"`
	Miscellaneous []string    `json:"miscellaneous,omitempty"`
}

// Share gives a principal rights on one record (Rule SHARE-1).
type Share struct {
	Environment EnvironmentID `json:"environment"`
	Table       TableID       `json:"table"`
	Record      RecordID      `json:"record"`
	Principal   Principal     `json:"principal"`
	Rights      Rights        `json:"rights"` // never Create
	// Inherited came along a relationship and is kept apart (Rule SHARE-7).
	Inherited Rights    `json:"inherited,omitempty"`
	Window    Window    `json:"window,omitzero"`
	ManagedBy ManagedBy `json:"managed_by"`
}

// Record is what an application registered of one of its records.
type Record struct {
	Environment  EnvironmentID  `json:"environment"`
	Table        TableID        `json:"table"`
	ID           RecordID       `json:"id"`
	Owner        Principal      `json:"owner,omitzero"` // user_or_team tables only
	BusinessUnit BusinessUnitID `json:"business_unit,omitempty"`
	ManagedBy    ManagedBy      `json:"managed_by"`
}

// JoinKey joins the parts of a compound key so that no two lists of parts give
// the same key: '/' and '%' within a part are escaped.
func JoinKey(parts ...string) string {
	for i, p := range parts {
		if strings.ContainsAny(p, "/%") {
			parts[i] = keyEscaper.Replace(p)
		}
	}
	return strings.Join(parts, "/")
}

// SplitKey is the inverse of JoinKey.
func SplitKey(key string) []string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = keyUnescaper.Replace(p)
	}
	return parts
}

var (
	keyEscaper   = strings.NewReplacer("%", "%25", "/", "%2F")
	keyUnescaper = strings.NewReplacer("%2F", "/", "%25", "%")
)

// The Object methods.
func (e Environment) ObjectKind() Kind                  { return KindEnvironment }
func (e Environment) ObjectEnvironment() EnvironmentID  { return e.ID }
func (e Environment) ObjectKey() string                 { return string(e.ID) }
func (b BusinessUnit) ObjectKind() Kind                 { return KindBusinessUnit }
func (b BusinessUnit) ObjectEnvironment() EnvironmentID { return b.Environment }
func (b BusinessUnit) ObjectKey() string                { return string(b.ID) }
func (t Table) ObjectKind() Kind                        { return KindTable }
func (t Table) ObjectEnvironment() EnvironmentID        { return t.Environment }
func (t Table) ObjectKey() string                       { return string(t.ID) }
func (r Role) ObjectKind() Kind                         { return KindRole }
func (r Role) ObjectEnvironment() EnvironmentID         { return r.Environment }
func (r Role) ObjectKey() string                        { return string(r.ID) }
func (u User) ObjectKind() Kind                         { return KindUser }
func (u User) ObjectEnvironment() EnvironmentID         { return u.Environment }
func (u User) ObjectKey() string                        { return string(u.ID) }
func (t Team) ObjectKind() Kind                         { return KindTeam }
func (t Team) ObjectEnvironment() EnvironmentID         { return t.Environment }
func (t Team) ObjectKey() string                        { return string(t.ID) }
func (m Membership) ObjectKind() Kind                   { return KindMembership }
func (m Membership) ObjectEnvironment() EnvironmentID   { return m.Environment }
func (m Membership) ObjectKey() string                  { return JoinKey(string(m.Team), string(m.User)) }
func (a Assignment) ObjectKind() Kind                   { return KindAssignment }
func (a Assignment) ObjectEnvironment() EnvironmentID   { return a.Environment }
func (a Assignment) ObjectKey() string                  { return string(a.ID) }
func (s Share) ObjectKind() Kind                        { return KindShare }
func (s Share) ObjectEnvironment() EnvironmentID        { return s.Environment }
func (s Share) ObjectKey() string {
	return JoinKey(string(s.Table), string(s.Record), s.Principal.Kind.String(), s.Principal.ID)
}
func (r Record) ObjectKind() Kind                 { return KindRecord }
func (r Record) ObjectEnvironment() EnvironmentID { return r.Environment }
func (r Record) ObjectKey() string                { return JoinKey(string(r.Table), string(r.ID)) }

// Change puts an object whole or deletes it. A deletion carries the object as it
// was.
type Change struct {
	Delete bool
	Object Object
}

// Put makes a change that creates or replaces.
func Put(o Object) Change { return Change{Object: o} }

// Remove makes a change that ends an object.
func Remove(o Object) Change { return Change{Delete: true, Object: o} }

func (c Change) String() string {
	op := "put"
	if c.Delete {
		op = "delete"
	}
	return fmt.Sprintf("%s %s %s/%s", op, c.Object.ObjectKind(), c.Object.ObjectEnvironment(), c.Object.ObjectKey())
}
