package access

import (
	"fmt"
	"maps"
	"slices"
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
	KindRelationship
	KindTemplate
	KindPosition
	KindRole
	KindProfile
	KindUser
	KindTeam
	KindMembership
	KindAssignment
	KindProfileMember
	KindRecord
	KindShare
	KindColumnShare
	KindPolicy  // jit.Policy
	KindRequest // jit.Request
	Kinds
)

var kindNames = [...]string{
	"environment", "business_unit", "table", "relationship", "access_team_template", "position",
	"role", "column_profile", "user", "team", "membership", "assignment", "column_profile_member",
	"record", "share", "column_share", "jit_policy", "jit_request",
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
	RequireLicence bool `json:"require_licence,omitempty"`
	// PerAppPlan counts every user as licensed (Rule LIC-1).
	PerAppPlan bool `json:"per_app_plan,omitempty"`
	// Kind says what the environment is for (Rule ESG-5).
	Kind EnvironmentKind `json:"kind,omitempty"`
	// Hierarchy switches hierarchy security on (Rule HIER-1); nil is off.
	Hierarchy *Hierarchy `json:"hierarchy,omitempty"`
	// TemplatesPerTable bounds the access team templates of one table (Rule
	// TEAM-6); 0 means 2.
	TemplatesPerTable int `json:"templates_per_table,omitempty"`
	// NonInteractiveUsers bounds the users of that access mode (Rule ACC-1); 0
	// means 7.
	NonInteractiveUsers int `json:"non_interactive_users,omitempty"`
	// Locked makes every question an error: the customer's key is gone (Rule CMK-3).
	Locked    bool      `json:"locked,omitempty"`
	ManagedBy ManagedBy `json:"managed_by"`
}

// EnvironmentKind says what an environment is for.
type EnvironmentKind uint8

// The kinds of environment. Default and developer ones cannot have a security
// group (Rule ESG-5).
const (
	Production EnvironmentKind = iota
	Sandbox
	Trial
	Developer
	DefaultEnvironment
)

var environmentKindNames = [...]string{"production", "sandbox", "trial", "developer", "default"}

func (k EnvironmentKind) String() string { return name(environmentKindNames[:], k, "environment kind") }

// MarshalText writes the kind's name.
func (k EnvironmentKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *EnvironmentKind) UnmarshalText(b []byte) error {
	return parse(environmentKindNames[:], b, k, "environment kind")
}

// Hierarchy is how access passes up from those who report to those reported to
// (Rules HIER-1 to HIER-8).
type Hierarchy struct {
	Model HierarchyModel `json:"model"`
	// Depth is how many levels down access reaches, 1 to MaxLevels.
	Depth int `json:"depth"`
	// DirectLevels is how many of them count as direct reports, who pass up more
	// than Read (Rule HIER-3); 0 means 1.
	DirectLevels int `json:"direct_levels,omitempty"`
	// Except lists the tables left out, sorted (Rule HIER-1).
	Except []TableID `json:"except,omitempty"`
	// ExcludeDisabledReports is the inverse of include_disabled_reports, whose
	// default is true (Rule HIER-8).
	ExcludeDisabledReports bool `json:"exclude_disabled_reports,omitempty"`
	// ManagersAnywhere is the inverse of managers_must_be_in_same_or_parent_unit,
	// whose default is true; it counts with modernized units only (Rule HIER-5).
	ManagersAnywhere bool `json:"managers_anywhere,omitempty"`
}

// Levels returns how many levels down an action reaches; 0 when it does not pass
// up at all (Rule HIER-3).
func (h *Hierarchy) Levels(a Action) int {
	switch {
	case h == nil:
		return 0
	case a == Read:
		return h.Depth
	case a == Write || a == Append || a == AppendTo:
		return min(max(h.DirectLevels, 1), h.Depth)
	}
	return 0
}

// MaxLevels is how deep trees of business units, managers and positions may be.
const MaxLevels = 100

// HierarchyModel says who stands above whom.
type HierarchyModel uint8

// The models of Rule HIER-1.
const (
	ManagerHierarchy HierarchyModel = iota
	PositionHierarchy
)

var hierarchyNames = [...]string{"manager", "position"}

func (m HierarchyModel) String() string { return name(hierarchyNames[:], m, "hierarchy model") }

// MarshalText writes the model's name.
func (m HierarchyModel) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a model's name.
func (m *HierarchyModel) UnmarshalText(b []byte) error {
	return parse(hierarchyNames[:], b, m, "hierarchy model")
}

// Position is a node of the position hierarchy (Rule HIER-7).
type Position struct {
	Environment EnvironmentID `json:"environment"`
	ID          PositionID    `json:"id"`
	Name        string        `json:"name"`
	Parent      PositionID    `json:"parent,omitempty"`
	ManagedBy   ManagedBy     `json:"managed_by"`
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
	// System marks a table of settings and administration, which administrative
	// users reach (Rule ACC-1).
	System bool `json:"system,omitempty"`
	// AccessTeams allows access team templates (Rule TEAM-6).
	AccessTeams bool `json:"access_teams,omitempty"`
	// Columns lists those that are secured or calculated from others, sorted by
	// name. A column that is not listed follows its record (Rule FLS-1).
	Columns   []Column  `json:"columns,omitempty"`
	ManagedBy ManagedBy `json:"managed_by"`
}

// Column is what security knows of a column of a table.
type Column struct {
	Name string `json:"name"`
	// Secured columns are reached by column security profiles only (Rule FLS-1).
	Secured bool `json:"secured,omitempty"`
	// Mask is shown to those who may read, but not unmasked (Rule FLS-4).
	Mask *Mask `json:"mask,omitempty"`
	// From lists the columns that this one is calculated from: it is secured when
	// one of them is, unless Open says otherwise (Rule FLS-8).
	From []string `json:"from,omitempty"`
	Open bool     `json:"open,omitempty"`
}

// Mask is a masking rule: what matches Pattern, a regular expression in RE2
// syntax, is replaced, as regexp.Regexp.ReplaceAllString does.
type Mask struct {
	Pattern string `json:"pattern"`
	Replace string `json:"replace"`
}

// SecuredColumns lists the names of the secured columns, sorted, those calculated
// from secured ones included (Rules FLS-1, FLS-8).
func (t Table) SecuredColumns() []string {
	secured := map[string]bool{}
	for range len(t.Columns) + 1 { // as often as one can rest on another
		for _, c := range t.Columns {
			if c.Secured || !c.Open && slices.ContainsFunc(c.From, func(f string) bool { return secured[f] }) {
				secured[c.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(secured))
}

// Relationship lets records of one table point to records of another. From the
// record pointed to, the parent, some operations run along to those that point,
// the children (Rules OWN-12, SHARE-7, REL-1 to REL-3).
type Relationship struct {
	Environment EnvironmentID  `json:"environment"`
	ID          RelationshipID `json:"id"`
	Table       TableID        `json:"table"`  // the children's, which has the lookup
	Parent      TableID        `json:"parent"` // the parents'
	// ManyToMany relationships have no lookup, and nothing runs along them.
	ManyToMany bool      `json:"many_to_many,omitempty"`
	Cascade    Cascades  `json:"cascade,omitzero"`
	ManagedBy  ManagedBy `json:"managed_by"`
}

// Parental tells whether everything runs along; a table has one such at most
// (Rule OWN-12).
func (r Relationship) Parental() bool {
	return r.Cascade == Cascades{CascadeAll, CascadeAll, CascadeAll, CascadeAll, CascadeAll}
}

// Cascades says which operations run along a relationship, to which children.
type Cascades struct {
	Assign   Cascade `json:"assign,omitempty"`
	Share    Cascade `json:"share,omitempty"`
	Unshare  Cascade `json:"unshare,omitempty"`
	Reparent Cascade `json:"reparent,omitempty"`
	Delete   Cascade `json:"delete,omitempty"` // the others lose their link
}

// Cascade picks the children along whom an operation runs.
type Cascade uint8

// The cascades of Rule OWN-12.
const (
	CascadeNone      Cascade = iota
	CascadeActive            // children that are not inactive
	CascadeUserOwned         // children with the same owner as the parent had
	CascadeAll
)

var cascadeNames = [...]string{"none", "active", "user_owned", "all"}

func (c Cascade) String() string { return name(cascadeNames[:], c, "cascade") }

// MarshalText writes the cascade's name.
func (c Cascade) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a cascade's name.
func (c *Cascade) UnmarshalText(b []byte) error { return parse(cascadeNames[:], b, c, "cascade") }

// Template is an access team template (Rules TEAM-6, TEAM-7).
type Template struct {
	Environment EnvironmentID `json:"environment"`
	ID          TemplateID    `json:"id"`
	Name        string        `json:"name"`
	Table       TableID       `json:"table"`
	Rights      Rights        `json:"rights"` // never Create
	ManagedBy   ManagedBy     `json:"managed_by"`
}

// Profile is a column security profile (Rule FLS-2). Profiles unite.
type Profile struct {
	Environment EnvironmentID `json:"environment"`
	ID          ProfileID     `json:"id"`
	Name        string        `json:"name"`
	// Columns are sorted by table, then column.
	Columns   []ProfileColumn `json:"columns,omitempty"`
	ManagedBy ManagedBy       `json:"managed_by"`
}

// ProfileColumn is what a profile allows on one secured column.
type ProfileColumn struct {
	Table    TableID  `json:"table"`
	Column   string   `json:"column"`
	Read     bool     `json:"read,omitempty"`
	Unmasked Unmasked `json:"unmasked,omitempty"` // needs Read
	Update   bool     `json:"update,omitempty"`
	Create   bool     `json:"create,omitempty"`
}

// Unmasked says where a masked column is read unmasked.
type Unmasked uint8

// The settings of Rule FLS-2.
const (
	UnmaskedNever      Unmasked = iota
	UnmaskedOneRecord           // when one record is read by itself
	UnmaskedAllRecords          // in lists, too
)

var unmaskedNames = [...]string{"not_allowed", "one_record", "all_records"}

func (u Unmasked) String() string { return name(unmaskedNames[:], u, "read unmasked") }

// MarshalText writes the setting's name.
func (u Unmasked) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads a setting's name.
func (u *Unmasked) UnmarshalText(b []byte) error {
	return parse(unmaskedNames[:], b, u, "read unmasked")
}

// ProfileMember gives a profile to a user or to all members of a team.
type ProfileMember struct {
	Environment EnvironmentID `json:"environment"`
	Profile     ProfileID     `json:"profile"`
	Principal   Principal     `json:"principal"`
	ManagedBy   ManagedBy     `json:"managed_by"`
}

// ColumnShare gives a principal a secured column of one record (Rule FLS-7).
type ColumnShare struct {
	Environment EnvironmentID `json:"environment"`
	Table       TableID       `json:"table"`
	Record      RecordID      `json:"record"`
	Column      string        `json:"column"`
	Principal   Principal     `json:"principal"`
	Read        bool          `json:"read,omitempty"`
	Update      bool          `json:"update,omitempty"`
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
	// Position is the user's place in the position hierarchy (Rule HIER-7); it may
	// name one that does not exist, which means none.
	Position PositionID `json:"position,omitempty"`
	// Kind and AccessMode say what the user is and may be used for (Rules ACC-1 to
	// ACC-3).
	Kind       UserKind   `json:"kind,omitempty"`
	AccessMode AccessMode `json:"access_mode,omitempty"`
	// Application is the app registration of a user of that kind, one user for
	// each in an environment (Rule ACC-2).
	Application string `json:"application,omitempty"`
	// TenantAdministrator is exempt from the environment group (Rule ESG-3).
	TenantAdministrator bool `json:"tenant_administrator,omitempty"`
	// Person joins the accounts of one human for separation of duties (Rule
	// JIT-16); empty where no person expression is configured.
	Person    string    `json:"person,omitempty"`
	ManagedBy ManagedBy `json:"managed_by"`
	Origin    Origin    `json:"origin,omitzero"`
}

// UserKind says what a user is.
type UserKind uint8

// The kinds of user.
const (
	Person          UserKind = iota
	ApplicationUser          // an app registration's (Rule ACC-2)
	StubUser                 // owns records and never gets in (Rule ACC-3)
)

var userKindNames = [...]string{"person", "application", "stub"}

func (k UserKind) String() string { return name(userKindNames[:], k, "kind of user") }

// MarshalText writes the kind's name.
func (k UserKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *UserKind) UnmarshalText(b []byte) error {
	return parse(userKindNames[:], b, k, "kind of user")
}

// AccessMode says what a user may be used for (Rule ACC-1).
type AccessMode uint8

// The access modes.
const (
	ReadWrite AccessMode = iota
	Administrative
	ReadOnly
	SupportUser
	NonInteractive
	DelegatedAdministrator
)

var accessModeNames = [...]string{"read_write", "administrative", "read", "support", "non_interactive", "delegated_administrator"}

func (m AccessMode) String() string { return name(accessModeNames[:], m, "access mode") }

// MarshalText writes the mode's name.
func (m AccessMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a mode's name.
func (m *AccessMode) UnmarshalText(b []byte) error {
	return parse(accessModeNames[:], b, m, "access mode")
}

// NeedsLicence tells whether the user needs a licence where the environment asks
// for them (Rule LIC-1): persons who read or read and write do.
func (u User) NeedsLicence() bool {
	return u.Kind == Person && (u.AccessMode == ReadWrite || u.AccessMode == ReadOnly)
}

// NeedsGroup tells whether the user must be in the environment security group
// (Rules ESG-3, ACC-2).
func (u User) NeedsGroup() bool { return u.Kind != ApplicationUser && !u.TenantAdministrator }

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
	// For is the record whose access team this is, by which template (Rule TEAM-6).
	For       *TemplateLink `json:"for,omitempty"`
	ManagedBy ManagedBy     `json:"managed_by"`
	Origin    Origin        `json:"origin,omitzero"`
}

// TemplateLink ties an access team to a record.
type TemplateLink struct {
	Template TemplateID `json:"template"`
	Table    TableID    `json:"table"`
	Record   RecordID   `json:"record"`
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
	// Inherited came along relationships and is kept apart (Rule SHARE-7).
	Inherited Rights `json:"inherited,omitempty"`
	// Along says what came along which relationship, sorted by it; Inherited is
	// their union.
	Along     []Inheritable `json:"along,omitempty"`
	Window    Window        `json:"window,omitzero"`
	ManagedBy ManagedBy     `json:"managed_by"`
}

// Inheritable are rights that came along a relationship.
type Inheritable struct {
	Relationship RelationshipID `json:"relationship"`
	Rights       Rights         `json:"rights"`
}

// Record is what an application registered of one of its records.
type Record struct {
	Environment  EnvironmentID  `json:"environment"`
	Table        TableID        `json:"table"`
	ID           RecordID       `json:"id"`
	Owner        Principal      `json:"owner,omitzero"` // user_or_team tables only
	BusinessUnit BusinessUnitID `json:"business_unit,omitempty"`
	// Links are the record's lookups that are registered, sorted by relationship,
	// one for each.
	Links     []Link    `json:"links,omitempty"`
	Inactive  bool      `json:"inactive,omitempty"` // for CascadeActive
	ManagedBy ManagedBy `json:"managed_by"`
}

// Link is a lookup: along a relationship to a parent.
type Link struct {
	Relationship RelationshipID `json:"relationship"`
	Record       RecordID       `json:"record"`
}

// JoinKey joins the parts of a compound key so that no two lists of parts give
// the same key: '/' and '%' within a part are escaped.
func JoinKey(parts ...string) string {
	for i, p := range parts {
		if strings.IndexByte(p, '/') >= 0 || strings.IndexByte(p, '%') >= 0 {
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
func (r Relationship) ObjectKind() Kind                 { return KindRelationship }
func (r Relationship) ObjectEnvironment() EnvironmentID { return r.Environment }
func (r Relationship) ObjectKey() string                { return string(r.ID) }
func (t Template) ObjectKind() Kind                     { return KindTemplate }
func (t Template) ObjectEnvironment() EnvironmentID     { return t.Environment }
func (t Template) ObjectKey() string                    { return string(t.ID) }
func (p Position) ObjectKind() Kind                     { return KindPosition }
func (p Position) ObjectEnvironment() EnvironmentID     { return p.Environment }
func (p Position) ObjectKey() string                    { return string(p.ID) }
func (p Profile) ObjectKind() Kind                      { return KindProfile }
func (p Profile) ObjectEnvironment() EnvironmentID      { return p.Environment }
func (p Profile) ObjectKey() string                     { return string(p.ID) }
func (m ProfileMember) ObjectKind() Kind                { return KindProfileMember }
func (m ProfileMember) ObjectEnvironment() EnvironmentID {
	return m.Environment
}

func (m ProfileMember) ObjectKey() string {
	return JoinKey(string(m.Profile), m.Principal.Kind.String(), m.Principal.ID)
}
func (c ColumnShare) ObjectKind() Kind                 { return KindColumnShare }
func (c ColumnShare) ObjectEnvironment() EnvironmentID { return c.Environment }
func (c ColumnShare) ObjectKey() string {
	return JoinKey(string(c.Table), string(c.Record), c.Column, c.Principal.Kind.String(), c.Principal.ID)
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
