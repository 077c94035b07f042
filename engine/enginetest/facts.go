package enginetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// factsFile is an organisation, or part of one, as a decision table writes it.
type factsFile struct {
	Environment   *environmentFile            `yaml:"environment,omitempty"`
	Units         map[string]unitFile         `yaml:"business_units,omitempty"`
	Tables        map[string]kindFile         `yaml:"tables,omitempty"`
	Relationships map[string]relationshipFile `yaml:"relationships,omitempty"`
	Templates     map[string]templateFile     `yaml:"templates,omitempty"`
	Positions     map[string]positionFile     `yaml:"positions,omitempty"`
	Roles         map[string]roleFile         `yaml:"roles,omitempty"`
	Profiles      map[string]profileFile      `yaml:"profiles,omitempty"`
	Users         map[string]userFile         `yaml:"users,omitempty"`
	Teams         map[string]teamFile         `yaml:"teams,omitempty"`
	Records       map[string]recordFile       `yaml:"records,omitempty"`
	Shares        []shareFile                 `yaml:"shares,omitempty"`
	ColumnShares  []columnShareFile           `yaml:"column_shares,omitempty"`
}

type environmentFile struct {
	Modernized          bool                   `yaml:"modernized,omitempty"`
	KeepRecordUnit      bool                   `yaml:"keep_record_unit,omitempty"`
	KeepRoles           bool                   `yaml:"keep_roles,omitempty"`
	ShareWithPrevious   bool                   `yaml:"share_with_previous,omitempty"`
	RequireLicence      bool                   `yaml:"require_licence,omitempty"`
	PerAppPlan          bool                   `yaml:"per_app_plan,omitempty"`
	SecurityGroup       bool                   `yaml:"security_group,omitempty"`
	Kind                access.EnvironmentKind `yaml:"kind,omitempty"`
	Hierarchy           *hierarchyFile         `yaml:"hierarchy,omitempty"`
	TemplatesPerTable   int                    `yaml:"templates_per_table,omitempty"`
	NonInteractiveUsers int                    `yaml:"non_interactive_users,omitempty"`
	Locked              bool                   `yaml:"locked,omitempty"`
}

type hierarchyFile struct {
	Model                  access.HierarchyModel `yaml:"model"`
	Depth                  int                   `yaml:"depth"`
	DirectLevels           int                   `yaml:"direct_levels,omitempty"`
	Except                 []access.TableID      `yaml:"except,omitempty"`
	ExcludeDisabledReports bool                  `yaml:"exclude_disabled_reports,omitempty"`
	ManagersAnywhere       bool                  `yaml:"managers_anywhere,omitempty"`
}

type unitFile struct {
	In       string `yaml:"in,omitempty"`
	Disabled bool   `yaml:"disabled,omitempty"`
}

// kindFile is a table: its ownership alone, or more of it.
type kindFile struct {
	Ownership   access.Ownership      `yaml:"ownership"`
	System      bool                  `yaml:"system,omitempty"`
	AccessTeams bool                  `yaml:"access_teams,omitempty"`
	Columns     map[string]columnFile `yaml:"columns,omitempty"`
}

// UnmarshalYAML reads a bare ownership too.
func (k *kindFile) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&k.Ownership) == nil {
		return nil
	}
	type plain kindFile
	return unmarshal((*plain)(k))
}

type columnFile struct {
	Secured bool      `yaml:"secured,omitempty"`
	Mask    *maskFile `yaml:"mask,omitempty"`
	From    []string  `yaml:"from,omitempty"`
	Open    bool      `yaml:"open,omitempty"`
}

type maskFile struct {
	Pattern string `yaml:"pattern"`
	Replace string `yaml:"replace"`
}

type relationshipFile struct {
	Of         string         `yaml:"of"`     // the children's table
	Parent     string         `yaml:"parent"` // the parents' table
	ManyToMany bool           `yaml:"many_to_many,omitempty"`
	Parental   bool           `yaml:"parental,omitempty"` // everything cascades to all
	Assign     access.Cascade `yaml:"assign,omitempty"`
	Share      access.Cascade `yaml:"share,omitempty"`
	Unshare    access.Cascade `yaml:"unshare,omitempty"`
	Reparent   access.Cascade `yaml:"reparent,omitempty"`
	Delete     access.Cascade `yaml:"delete,omitempty"`
}

type templateFile struct {
	Table  string   `yaml:"table"`
	Rights []string `yaml:"rights,omitempty"`
}

type positionFile struct {
	Under string `yaml:"under,omitempty"`
}

type roleFile struct {
	At            string                             `yaml:"at,omitempty"`
	Inheritance   access.Inheritance                 `yaml:"inheritance,omitempty"`
	All           bool                               `yaml:"all,omitempty"`
	Privileges    map[string]map[string]access.Depth `yaml:"privileges,omitempty"`
	Miscellaneous []string                           `yaml:"miscellaneous,omitempty"`
}

// profileFile gives, for a table's columns, some of read, unmasked_one_record,
// unmasked_all_records, update and create.
type profileFile struct {
	Columns map[string]map[string][]string `yaml:"columns,omitempty"`
	Members []string                       `yaml:"members,omitempty"`
}

type userFile struct {
	In                  string            `yaml:"in"`
	Disabled            bool              `yaml:"disabled,omitempty"`
	Licensed            bool              `yaml:"licensed,omitempty"`
	Admitted            bool              `yaml:"admitted,omitempty"`
	Kind                access.UserKind   `yaml:"kind,omitempty"`
	AccessMode          access.AccessMode `yaml:"access_mode,omitempty"`
	Application         string            `yaml:"application,omitempty"`
	TenantAdministrator bool              `yaml:"tenant_administrator,omitempty"`
	Manager             string            `yaml:"manager,omitempty"`
	Position            string            `yaml:"position,omitempty"`
	Roles               []givenFile       `yaml:"roles,omitempty"`
	Teams               []string          `yaml:"teams,omitempty"`
}

type teamFile struct {
	In         string                `yaml:"in,omitempty"`
	Type       access.TeamType       `yaml:"type,omitempty"`
	Group      string                `yaml:"group,omitempty"`
	Membership access.MembershipKind `yaml:"membership,omitempty"`
	Template   string                `yaml:"template,omitempty"` // with the record that it is for
	For        string                `yaml:"for,omitempty"`
	Roles      []givenFile           `yaml:"roles,omitempty"`
}

// givenFile is a role as assigned: at another unit than the holder's, for a time,
// and no more than what was approved.
type givenFile struct {
	Role    string                             `yaml:"role"`
	At      string                             `yaml:"at,omitempty"`
	From    time.Time                          `yaml:"from,omitempty"`
	Until   time.Time                          `yaml:"until,omitempty"`
	Request string                             `yaml:"request,omitempty"`
	Bound   map[string]map[string]access.Depth `yaml:"bound,omitempty"`
	// BoundTo are miscellaneous privileges of the bound, or "*" for everything.
	BoundTo []string `yaml:"bound_to,omitempty"`
}

// UnmarshalYAML reads a role's bare name too.
func (g *givenFile) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&g.Role) == nil {
		return nil
	}
	type plain givenFile
	return unmarshal((*plain)(g))
}

type recordFile struct {
	ID       string            `yaml:"id,omitempty"` // when it is not the name
	Table    string            `yaml:"table,omitempty"`
	Owner    string            `yaml:"owner,omitempty"` // a user, or "team X", or "default team of X"
	In       string            `yaml:"in,omitempty"`
	Links    map[string]string `yaml:"links,omitempty"` // relationship to record
	Inactive bool              `yaml:"inactive,omitempty"`
	// Registered asks, of an intended record, for the facts that the environment knows.
	Registered bool `yaml:"registered,omitempty"`
}

type shareFile struct {
	Record    string              `yaml:"record"`
	Table     string              `yaml:"table,omitempty"` // of a record that is not registered
	With      string              `yaml:"with"`            // a user, "team X" or "organization"
	Rights    []string            `yaml:"rights,omitempty"`
	Inherited []string            `yaml:"inherited,omitempty"`
	Along     map[string][]string `yaml:"along,omitempty"` // what was inherited, by relationship
	From      time.Time           `yaml:"from,omitempty"`
	Until     time.Time           `yaml:"until,omitempty"`
}

type columnShareFile struct {
	Record string   `yaml:"record"`
	Table  string   `yaml:"table,omitempty"`
	Column string   `yaml:"column"`
	With   string   `yaml:"with"`
	Rights []string `yaml:"rights"` // read, update
}

// owner reads a principal as the tables write it.
func owner(s string) access.Principal {
	switch b, byUnit := strings.CutPrefix(s, "default team of "); {
	case s == "":
		return access.Principal{}
	case s == "organization":
		return access.Principal{Kind: access.Everybody}
	case byUnit:
		return access.BusinessUnitID(b).DefaultTeam().Principal()
	}
	if t, ok := strings.CutPrefix(s, "team "); ok {
		return access.TeamID(t).Principal()
	}
	return access.UserID(s).Principal()
}

func lines(m map[string]map[string]access.Depth) (out []access.Privilege, err error) {
	for _, t := range slices.Sorted(maps.Keys(m)) {
		for a, d := range m[t] {
			var action access.Action
			if err := action.UnmarshalText([]byte(a)); err != nil {
				return nil, err
			}
			out = append(out, access.Privilege{Table: access.TableID(t), Action: action, Depth: d})
		}
	}
	slices.SortFunc(out, func(a, b access.Privilege) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Action, b.Action))
	})
	return out, nil
}

func rights(names []string) (access.Rights, error) {
	var r access.Rights
	return r, r.UnmarshalText([]byte(strings.Join(names, ",")))
}

// maker makes objects of facts, and collects what is wrong with them.
type maker struct {
	env   access.EnvironmentID
	root  access.BusinessUnitID // where roles are defined that do not say
	known func(kind access.Kind, id string) bool
	// record finds a record by its name.
	record func(name string) (recordFile, bool)
	out    []access.Object
	faults []error
}

func (m *maker) put(o access.Object) { m.out = append(m.out, o) }
func (m *maker) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Errorf(format, args...))
}

func (m *maker) rights(of string, names []string) access.Rights {
	r, err := rights(names)
	if err != nil {
		m.fault("%s: %w", of, err)
	}
	return r
}

func (m *maker) lines(of string, l map[string]map[string]access.Depth) []access.Privilege {
	p, err := lines(l)
	if err != nil {
		m.fault("%s: %w", of, err)
	}
	return p
}

// make makes the facts' objects, in an order in which they can be applied.
func (m *maker) make(f factsFile) ([]access.Object, error) {
	if f.Environment != nil {
		m.put(f.Environment.environment(m.env))
	}
	for id, u := range f.Units {
		if u.In == "" {
			m.root = access.BusinessUnitID(id)
		}
		m.put(access.BusinessUnit{Environment: m.env, ID: access.BusinessUnitID(id), Name: id, Parent: access.BusinessUnitID(u.In), Disabled: u.Disabled, ManagedBy: access.ByAPI})
	}
	for id, t := range f.Tables {
		m.put(t.table(m.env, id))
	}
	for id, r := range f.Relationships {
		m.put(r.relationship(m.env, id))
	}
	for id, t := range f.Templates {
		m.put(access.Template{
			Environment: m.env, ID: access.TemplateID(id), Name: id, Table: access.TableID(t.Table), Rights: m.rights("template "+id, t.Rights), ManagedBy: access.ByAPI,
		})
	}
	for id, p := range f.Positions {
		m.put(access.Position{Environment: m.env, ID: access.PositionID(id), Name: id, Parent: access.PositionID(p.Under), ManagedBy: access.ByAPI})
	}
	for id, r := range f.Roles {
		m.put(access.Role{
			Environment: m.env, ID: access.RoleID(id), Name: id, BusinessUnit: cmp.Or(access.BusinessUnitID(r.At), m.root), Inheritance: r.Inheritance,
			All: r.All, Privileges: m.lines("role "+id, r.Privileges), Miscellaneous: slices.Sorted(slices.Values(r.Miscellaneous)), ManagedBy: access.ByAPI,
		})
	}
	for id, p := range f.Profiles {
		m.profile(id, p)
	}
	for id, u := range f.Users {
		m.user(id, u)
	}
	for id, t := range f.Teams {
		m.team(id, t)
	}
	for name, r := range f.Records {
		m.put(m.registered(name, r))
	}
	for _, s := range f.Shares {
		m.share(s)
	}
	for _, s := range f.ColumnShares {
		m.columnShare(s)
	}
	return m.out, errors.Join(m.faults...)
}

func (e environmentFile) environment(id access.EnvironmentID) access.Environment {
	out := access.Environment{
		ID: id, Name: string(id), ManagedBy: access.ByAPI, Modernized: e.Modernized, KeepRecordUnit: e.KeepRecordUnit, KeepRoles: e.KeepRoles,
		ShareWithPrevious: e.ShareWithPrevious, RequireLicence: e.RequireLicence, PerAppPlan: e.PerAppPlan, Kind: e.Kind, Locked: e.Locked,
		TemplatesPerTable: e.TemplatesPerTable, NonInteractiveUsers: e.NonInteractiveUsers,
	}
	if e.SecurityGroup {
		out.SecurityGroup = &access.GroupRef{Source: "directory", Group: "environment"}
	}
	if e.Hierarchy != nil {
		h := access.Hierarchy(*e.Hierarchy)
		out.Hierarchy = &h
	}
	return out
}

func (k kindFile) table(env access.EnvironmentID, id string) access.Table {
	t := access.Table{Environment: env, ID: access.TableID(id), Name: id, Ownership: k.Ownership, System: k.System, AccessTeams: k.AccessTeams, ManagedBy: access.ByAPI}
	for _, name := range slices.Sorted(maps.Keys(k.Columns)) {
		c := k.Columns[name]
		t.Columns = append(t.Columns, access.Column{Name: name, Secured: c.Secured, Mask: (*access.Mask)(c.Mask), From: c.From, Open: c.Open})
	}
	return t
}

func (r relationshipFile) relationship(env access.EnvironmentID, id string) access.Relationship {
	out := access.Relationship{
		Environment: env, ID: access.RelationshipID(id), Table: access.TableID(r.Of), Parent: access.TableID(r.Parent), ManyToMany: r.ManyToMany,
		Cascade: access.Cascades{Assign: r.Assign, Share: r.Share, Unshare: r.Unshare, Reparent: r.Reparent, Delete: r.Delete}, ManagedBy: access.ByAPI,
	}
	if r.Parental {
		out.Cascade = access.Cascades{Assign: access.CascadeAll, Share: access.CascadeAll, Unshare: access.CascadeAll, Reparent: access.CascadeAll, Delete: access.CascadeAll}
	}
	return out
}

func (m *maker) profile(id string, p profileFile) {
	o := access.Profile{Environment: m.env, ID: access.ProfileID(id), Name: id, ManagedBy: access.ByAPI}
	for _, table := range slices.Sorted(maps.Keys(p.Columns)) {
		for _, column := range slices.Sorted(maps.Keys(p.Columns[table])) {
			c := access.ProfileColumn{Table: access.TableID(table), Column: column}
			for _, word := range p.Columns[table][column] {
				switch word {
				case "read":
					c.Read = true
				case "unmasked_one_record":
					c.Unmasked = access.UnmaskedOneRecord
				case "unmasked_all_records":
					c.Unmasked = access.UnmaskedAllRecords
				case "update":
					c.Update = true
				case "create":
					c.Create = true
				default:
					m.fault("profile %q: unknown permission %q", id, word)
				}
			}
			o.Columns = append(o.Columns, c)
		}
	}
	m.put(o)
	for _, who := range p.Members {
		m.put(access.ProfileMember{Environment: m.env, Profile: o.ID, Principal: owner(who), ManagedBy: access.ByAPI})
	}
}

func (m *maker) user(id string, u userFile) {
	m.put(access.User{
		Environment: m.env, ID: access.UserID(id), Login: id, Name: id, BusinessUnit: access.BusinessUnitID(u.In), Enabled: !u.Disabled,
		Licensed: u.Licensed, Admitted: u.Admitted, Kind: u.Kind, AccessMode: u.AccessMode, Application: u.Application,
		TenantAdministrator: u.TenantAdministrator, Manager: access.UserID(u.Manager), Position: access.PositionID(u.Position), ManagedBy: access.ByAPI,
	})
	m.give(access.UserID(id).Principal(), u.In, u.Roles)
	for _, t := range u.Teams {
		team, ofUnit := owner(t).Team()
		if !ofUnit {
			team = access.TeamID(t)
		}
		if !ofUnit && !m.known(access.KindTeam, t) {
			m.fault("user %q: no team %q", id, t)
		}
		m.put(access.Membership{Environment: m.env, Team: team, User: access.UserID(id), ManagedBy: access.ByAPI})
	}
}

func (m *maker) give(p access.Principal, unit string, roles []givenFile) {
	for i, g := range roles {
		if !m.known(access.KindRole, g.Role) {
			m.fault("%v: no role %q", p, g.Role)
		}
		a := access.Assignment{
			Environment: m.env, ID: access.AssignmentID(fmt.Sprintf("%v/%d", p, i)), Role: access.RoleID(g.Role), Principal: p,
			BusinessUnit: access.BusinessUnitID(cmp.Or(g.At, unit)), Window: access.Window{Start: g.From, End: g.Until}, Request: g.Request, ManagedBy: access.ByAPI,
		}
		if g.Bound != nil || g.BoundTo != nil {
			a.Bound = &access.Bound{Privileges: m.lines(p.String(), g.Bound), Miscellaneous: g.BoundTo}
			if slices.Equal(g.BoundTo, []string{"*"}) {
				a.Bound.All, a.Bound.Miscellaneous = true, nil
			}
		}
		m.put(a)
	}
}

func (m *maker) team(id string, t teamFile) {
	if unit, ok := strings.CutPrefix(id, "default team of "); ok { // only to give it roles
		m.give(owner(id), unit, t.Roles)
		return
	}
	o := access.Team{Environment: m.env, ID: access.TeamID(id), Name: id, Type: t.Type, BusinessUnit: access.BusinessUnitID(t.In), ManagedBy: access.ByAPI}
	if t.Group != "" {
		o.Group = &access.GroupLink{GroupRef: access.GroupRef{Source: "directory", Group: t.Group, Name: t.Group}, Membership: t.Membership}
	}
	if t.Template != "" {
		k := m.recordKey(t.For, "")
		o.For = &access.TemplateLink{Template: access.TemplateID(t.Template), Table: k.Table, Record: k.Record}
	}
	m.put(o)
	m.give(o.ID.Principal(), t.In, t.Roles)
}

// recordKey finds a record by its name, or takes the name for the id of one of the
// table that is not registered.
func (m *maker) recordKey(name, table string) access.RecordKey {
	if r, ok := m.record(name); ok && (table == "" || table == r.Table) {
		return access.RecordKey{Table: access.TableID(r.Table), Record: access.RecordID(cmp.Or(r.ID, name))}
	}
	if table == "" {
		m.fault("no record %q", name)
	}
	return access.RecordKey{Table: access.TableID(table), Record: access.RecordID(name)}
}

func (m *maker) registered(name string, r recordFile) access.Record {
	out := access.Record{
		Environment: m.env, Table: access.TableID(r.Table), ID: access.RecordID(cmp.Or(r.ID, name)), Owner: owner(r.Owner),
		BusinessUnit: access.BusinessUnitID(r.In), Inactive: r.Inactive, ManagedBy: access.ByAPI,
	}
	for _, along := range slices.Sorted(maps.Keys(r.Links)) {
		to := access.RecordID(r.Links[along])
		if parent, ok := m.record(r.Links[along]); ok {
			to = access.RecordID(cmp.Or(parent.ID, r.Links[along]))
		}
		out.Links = append(out.Links, access.Link{Relationship: access.RelationshipID(along), Record: to})
	}
	return out
}

func (m *maker) share(s shareFile) {
	k := m.recordKey(s.Record, s.Table)
	o := access.Share{
		Environment: m.env, Table: k.Table, Record: k.Record, Principal: owner(s.With), Rights: m.rights("share of "+s.Record, s.Rights),
		Inherited: m.rights("share of "+s.Record, s.Inherited), Window: access.Window{Start: s.From, End: s.Until}, ManagedBy: access.ByAPI,
	}
	for _, along := range slices.Sorted(maps.Keys(s.Along)) {
		r := m.rights("share of "+s.Record, s.Along[along])
		o.Along = append(o.Along, access.Inheritable{Relationship: access.RelationshipID(along), Rights: r})
		o.Inherited |= r
	}
	m.put(o)
}

func (m *maker) columnShare(s columnShareFile) {
	k := m.recordKey(s.Record, s.Table)
	o := access.ColumnShare{Environment: m.env, Table: k.Table, Record: k.Record, Column: s.Column, Principal: owner(s.With), ManagedBy: access.ByAPI}
	for _, word := range s.Rights {
		switch word {
		case "read":
			o.Read = true
		case "update":
			o.Update = true
		default:
			m.fault("column share of %q: unknown right %q", s.Record, word)
		}
	}
	m.put(o)
}
