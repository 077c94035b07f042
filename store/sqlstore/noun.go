package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/jit"
)

// noun ties a kind of object to its table. write and read go through the columns
// in the same order: environment, key, rest; since and until follow.
type noun struct {
	kind  access.Kind
	table string
	key   []column // besides environment
	rest  []column
	// live narrows what Load reads, to what State keeps.
	live  string
	keyOf func(access.Object) key
	write func(access.Object, *encoder) error // the rest alone
	read  func(*decoder) access.Object
}

// key is an object's environment and the parts of its key, in the order of the
// columns. Keys are compared part by part and byte by byte, as both databases do.
type key [6]string

func (k key) compare(o key) int {
	for i := range k {
		if c := strings.Compare(k[i], o[i]); c != 0 {
			return c
		}
	}
	return 0
}

type column struct {
	name string
	typ  columnType
}

type columnType uint8

const (
	text columnType = iota
	document
	flag
	instant
	number
)

func texts(names ...string) []column {
	out := make([]column, len(names))
	for i, n := range names {
		out[i] = column{n, text}
	}
	return out
}

func columns(lists ...[]column) []column { return slices.Concat(lists...) }

func documents(names ...string) []column { return typed(document, names) }
func flags(names ...string) []column     { return typed(flag, names) }
func instants(names ...string) []column  { return typed(instant, names) }
func numbers(names ...string) []column   { return typed(number, names) }

func typed(t columnType, names []string) []column {
	out := texts(names...)
	for i := range out {
		out[i].typ = t
	}
	return out
}

func originColumns() []column {
	return texts("origin_rule", "origin_source", "origin_object", "origin_path")
}

// nouns lists the tables by kind.
func nouns() []noun {
	return []noun{
		{
			kind: access.KindEnvironment, table: "environments",
			rest: columns(texts("name"), flags("modernized", "keep_record_unit", "keep_roles", "share_with_previous"),
				documents("security_group"), flags("require_licence", "per_app_plan"), texts("kind"), documents("hierarchy"),
				numbers("templates_per_table", "non_interactive_users"), flags("locked"), texts("managed_by")),
			keyOf: func(o access.Object) key { return key{string(o.(access.Environment).ID)} },
			write: func(o access.Object, w *encoder) error {
				e := o.(access.Environment)
				w.text(e.Name)
				w.flag(e.Modernized)
				w.flag(e.KeepRecordUnit)
				w.flag(e.KeepRoles)
				w.flag(e.ShareWithPrevious)
				optional(w, e.SecurityGroup)
				w.flag(e.RequireLicence)
				w.flag(e.PerAppPlan)
				w.text(e.Kind.String())
				optional(w, e.Hierarchy)
				w.number(e.TemplatesPerTable)
				w.number(e.NonInteractiveUsers)
				w.flag(e.Locked)
				w.text(string(e.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Environment{
					ID: access.EnvironmentID(r.id()), Name: r.text(), Modernized: r.flag(), KeepRecordUnit: r.flag(), KeepRoles: r.flag(),
					ShareWithPrevious: r.flag(), SecurityGroup: pointed[access.GroupRef](r), RequireLicence: r.flag(),
					PerAppPlan: r.flag(), Kind: named[access.EnvironmentKind](r), Hierarchy: pointed[access.Hierarchy](r),
					TemplatesPerTable: int(r.number()), NonInteractiveUsers: int(r.number()), Locked: r.flag(),
					ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindBusinessUnit, table: "business_units",
			key: texts("id"), rest: columns(texts("name", "parent"), flags("disabled"), texts("managed_by")),
			keyOf: func(o access.Object) key {
				u := o.(access.BusinessUnit)
				return key{string(u.Environment), string(u.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				u := o.(access.BusinessUnit)
				w.text(u.Name)
				w.text(string(u.Parent))
				w.flag(u.Disabled)
				w.text(string(u.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.BusinessUnit{
					Environment: access.EnvironmentID(r.id()), ID: access.BusinessUnitID(r.id()), Name: r.text(),
					Parent: access.BusinessUnitID(r.id()), Disabled: r.flag(), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindTable, table: "tables",
			key: texts("id"), rest: columns(texts("name", "ownership"), flags("system", "access_teams"), documents("columns"), texts("managed_by")),
			keyOf: func(o access.Object) key { t := o.(access.Table); return key{string(t.Environment), string(t.ID)} },
			write: func(o access.Object, w *encoder) error {
				t := o.(access.Table)
				w.text(t.Name)
				w.text(t.Ownership.String())
				w.flag(t.System)
				w.flag(t.AccessTeams)
				list(w, t.Columns)
				w.text(string(t.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Table{
					Environment: access.EnvironmentID(r.id()), ID: access.TableID(r.id()), Name: r.text(),
					Ownership: named[access.Ownership](r), System: r.flag(), AccessTeams: r.flag(), Columns: parsed[[]access.Column](r),
					ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindRelationship, table: "relationships",
			key: texts("id"), rest: columns(texts("child_table", "parent_table"), flags("many_to_many"), documents("cascades"), texts("managed_by")),
			keyOf: func(o access.Object) key {
				r := o.(access.Relationship)
				return key{string(r.Environment), string(r.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				r := o.(access.Relationship)
				w.text(string(r.Table))
				w.text(string(r.Parent))
				w.flag(r.ManyToMany)
				w.document(r.Cascade)
				w.text(string(r.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Relationship{
					Environment: access.EnvironmentID(r.id()), ID: access.RelationshipID(r.id()), Table: access.TableID(r.id()),
					Parent: access.TableID(r.id()), ManyToMany: r.flag(), Cascade: parsed[access.Cascades](r), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindTemplate, table: "access_team_templates",
			key: texts("id"), rest: texts("name", "record_table", "rights", "managed_by"),
			keyOf: func(o access.Object) key {
				t := o.(access.Template)
				return key{string(t.Environment), string(t.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				t := o.(access.Template)
				w.text(t.Name)
				w.text(string(t.Table))
				w.text(t.Rights.String())
				w.text(string(t.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Template{
					Environment: access.EnvironmentID(r.id()), ID: access.TemplateID(r.id()), Name: r.text(), Table: access.TableID(r.id()),
					Rights: named[access.Rights](r), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindPosition, table: "positions",
			key: texts("id"), rest: texts("name", "parent", "managed_by"),
			keyOf: func(o access.Object) key {
				p := o.(access.Position)
				return key{string(p.Environment), string(p.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				p := o.(access.Position)
				w.text(p.Name)
				w.text(string(p.Parent))
				w.text(string(p.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Position{
					Environment: access.EnvironmentID(r.id()), ID: access.PositionID(r.id()), Name: r.text(), Parent: access.PositionID(r.id()),
					ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindRole, table: "roles",
			key: texts("id"), rest: columns(texts("name", "business_unit", "inheritance"), flags("everything"),
				documents("privileges", "miscellaneous"), texts("managed_by")),
			keyOf: func(o access.Object) key { r := o.(access.Role); return key{string(r.Environment), string(r.ID)} },
			write: func(o access.Object, w *encoder) error {
				r := o.(access.Role)
				w.text(r.Name)
				w.text(string(r.BusinessUnit))
				w.text(r.Inheritance.String())
				w.flag(r.All)
				list(w, r.Privileges)
				list(w, r.Miscellaneous)
				w.text(string(r.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Role{
					Environment: access.EnvironmentID(r.id()), ID: access.RoleID(r.id()), Name: r.text(),
					BusinessUnit: access.BusinessUnitID(r.id()), Inheritance: named[access.Inheritance](r), All: r.flag(),
					Privileges: parsed[[]access.Privilege](r), Miscellaneous: parsed[[]string](r), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindProfile, table: "column_profiles",
			key: texts("id"), rest: columns(texts("name"), documents("columns"), texts("managed_by")),
			keyOf: func(o access.Object) key {
				p := o.(access.Profile)
				return key{string(p.Environment), string(p.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				p := o.(access.Profile)
				w.text(p.Name)
				list(w, p.Columns)
				w.text(string(p.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Profile{
					Environment: access.EnvironmentID(r.id()), ID: access.ProfileID(r.id()), Name: r.text(),
					Columns: parsed[[]access.ProfileColumn](r), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindUser, table: "users",
			key: texts("id"), rest: columns(texts("login", "name", "mail", "business_unit"), flags("enabled", "licensed", "admitted"),
				texts("manager", "position", "kind", "access_mode", "application"), flags("tenant_administrator"), texts("person", "managed_by"), originColumns()),
			keyOf: func(o access.Object) key { u := o.(access.User); return key{string(u.Environment), string(u.ID)} },
			write: func(o access.Object, w *encoder) error {
				u := o.(access.User)
				w.text(u.Login)
				w.text(u.Name)
				w.text(u.Mail)
				w.text(string(u.BusinessUnit))
				w.flag(u.Enabled)
				w.flag(u.Licensed)
				w.flag(u.Admitted)
				w.text(string(u.Manager))
				w.text(string(u.Position))
				w.text(u.Kind.String())
				w.text(u.AccessMode.String())
				w.text(u.Application)
				w.flag(u.TenantAdministrator)
				w.text(u.Person)
				w.text(string(u.ManagedBy))
				w.origin(u.Origin)
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.User{
					Environment: access.EnvironmentID(r.id()), ID: access.UserID(r.id()), Login: r.text(), Name: r.text(), Mail: r.text(),
					BusinessUnit: access.BusinessUnitID(r.id()), Enabled: r.flag(), Licensed: r.flag(), Admitted: r.flag(),
					Manager: access.UserID(r.id()), Position: access.PositionID(r.id()), Kind: named[access.UserKind](r),
					AccessMode: named[access.AccessMode](r), Application: r.text(), TenantAdministrator: r.flag(), Person: r.text(), ManagedBy: access.ManagedBy(r.id()), Origin: r.origin(),
				}
			},
		},
		{
			kind: access.KindTeam, table: "teams",
			key: texts("id"), rest: columns(texts("name", "type", "business_unit"), documents("directory_group", "for_record"), texts("managed_by"), originColumns()),
			keyOf: func(o access.Object) key { t := o.(access.Team); return key{string(t.Environment), string(t.ID)} },
			write: func(o access.Object, w *encoder) error {
				t := o.(access.Team)
				w.text(t.Name)
				w.text(t.Type.String())
				w.text(string(t.BusinessUnit))
				optional(w, t.Group)
				optional(w, t.For)
				w.text(string(t.ManagedBy))
				w.origin(t.Origin)
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Team{
					Environment: access.EnvironmentID(r.id()), ID: access.TeamID(r.id()), Name: r.text(), Type: named[access.TeamType](r),
					BusinessUnit: access.BusinessUnitID(r.id()), Group: pointed[access.GroupLink](r), For: pointed[access.TemplateLink](r),
					ManagedBy: access.ManagedBy(r.id()), Origin: r.origin(),
				}
			},
		},
		{
			kind: access.KindMembership, table: "memberships",
			key: texts("team", "member"), rest: columns(texts("managed_by"), originColumns()),
			keyOf: func(o access.Object) key {
				m := o.(access.Membership)
				return key{string(m.Environment), string(m.Team), string(m.User)}
			},
			write: func(o access.Object, w *encoder) error {
				m := o.(access.Membership)
				w.text(string(m.ManagedBy))
				w.origin(m.Origin)
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Membership{
					Environment: access.EnvironmentID(r.id()), Team: access.TeamID(r.id()), User: access.UserID(r.id()),
					ManagedBy: access.ManagedBy(r.id()), Origin: r.origin(),
				}
			},
		},
		{
			kind: access.KindAssignment, table: "assignments",
			key: texts("id"), rest: columns(texts("role", "principal_kind", "principal", "business_unit"), instants("window_start", "window_end"),
				texts("request"), documents("bound"), texts("managed_by"), originColumns()),
			keyOf: func(o access.Object) key {
				a := o.(access.Assignment)
				return key{string(a.Environment), string(a.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				a := o.(access.Assignment)
				w.text(string(a.Role))
				w.principal(a.Principal)
				w.text(string(a.BusinessUnit))
				w.window(a.Window)
				w.text(a.Request)
				optional(w, a.Bound)
				w.text(string(a.ManagedBy))
				w.origin(a.Origin)
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Assignment{
					Environment: access.EnvironmentID(r.id()), ID: access.AssignmentID(r.text()), Role: access.RoleID(r.id()),
					Principal: r.principal(), BusinessUnit: access.BusinessUnitID(r.id()), Window: r.window(), Request: r.text(),
					Bound: pointed[access.Bound](r), ManagedBy: access.ManagedBy(r.id()), Origin: r.origin(),
				}
			},
		},
		{
			kind: access.KindProfileMember, table: "column_profile_members",
			key: texts("profile", "principal_kind", "principal"), rest: texts("managed_by"),
			keyOf: func(o access.Object) key {
				m := o.(access.ProfileMember)
				return key{string(m.Environment), string(m.Profile), m.Principal.Kind.String(), m.Principal.ID}
			},
			write: func(o access.Object, w *encoder) error {
				w.text(string(o.(access.ProfileMember).ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.ProfileMember{
					Environment: access.EnvironmentID(r.id()), Profile: access.ProfileID(r.id()), Principal: r.principal(),
					ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindRecord, table: "records",
			key: texts("record_table", "id"), rest: columns(texts("owner_kind", "owner", "business_unit"), documents("links"), flags("inactive"), texts("managed_by")),
			keyOf: func(o access.Object) key {
				r := o.(access.Record)
				return key{string(r.Environment), string(r.Table), string(r.ID)}
			},
			write: func(o access.Object, w *encoder) error {
				r := o.(access.Record)
				w.principal(r.Owner)
				w.text(string(r.BusinessUnit))
				list(w, r.Links)
				w.flag(r.Inactive)
				w.text(string(r.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Record{
					Environment: access.EnvironmentID(r.id()), Table: access.TableID(r.id()), ID: access.RecordID(r.id()),
					Owner: r.principal(), BusinessUnit: access.BusinessUnitID(r.id()), Links: parsed[[]access.Link](r), Inactive: r.flag(), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindShare, table: "shares",
			key:  texts("record_table", "record", "principal_kind", "principal"),
			rest: columns(texts("rights", "inherited"), documents("along"), instants("window_start", "window_end"), texts("managed_by")),
			keyOf: func(o access.Object) key {
				s := o.(access.Share)
				return key{string(s.Environment), string(s.Table), string(s.Record), s.Principal.Kind.String(), s.Principal.ID}
			},
			write: func(o access.Object, w *encoder) error {
				s := o.(access.Share)
				w.text(s.Rights.String())
				w.text(s.Inherited.String())
				list(w, s.Along)
				w.window(s.Window)
				w.text(string(s.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.Share{
					Environment: access.EnvironmentID(r.id()), Table: access.TableID(r.id()), Record: access.RecordID(r.run()),
					Principal: r.principal(), Rights: named[access.Rights](r), Inherited: named[access.Rights](r), Along: parsed[[]access.Inheritable](r),
					Window: r.window(), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindColumnShare, table: "column_shares",
			key: texts("record_table", "record", "column_name", "principal_kind", "principal"), rest: columns(flags("can_read", "can_update"), texts("managed_by")),
			keyOf: func(o access.Object) key {
				s := o.(access.ColumnShare)
				return key{string(s.Environment), string(s.Table), string(s.Record), s.Column, s.Principal.Kind.String(), s.Principal.ID}
			},
			write: func(o access.Object, w *encoder) error {
				s := o.(access.ColumnShare)
				w.flag(s.Read)
				w.flag(s.Update)
				w.text(string(s.ManagedBy))
				return w.err
			},
			read: func(r *decoder) access.Object {
				return access.ColumnShare{
					Environment: access.EnvironmentID(r.id()), Table: access.TableID(r.id()), Record: access.RecordID(r.id()), Column: r.text(),
					Principal: r.principal(), Read: r.flag(), Update: r.flag(), ManagedBy: access.ManagedBy(r.id()),
				}
			},
		},
		{
			kind: access.KindPolicy, table: "jit_policies",
			key: texts("id"), rest: documents("document"),
			keyOf: func(o access.Object) key { p := o.(jit.Policy); return key{string(p.Environment), p.ID} },
			write: func(o access.Object, w *encoder) error { faithful[jit.Policy](w, o); return w.err },
			read: func(r *decoder) access.Object {
				env, id := r.id(), r.id()
				p := parsed[jit.Policy](r)
				p.Environment, p.ID = access.EnvironmentID(env), id
				return p
			},
		},
		{
			// The columns beside the document are what requests are asked for by.
			kind: access.KindRequest, table: "jit_requests",
			key: texts("id"), rest: columns(texts("state", "requester", "beneficiary"), flags("closed"), documents("document")),
			live:  " AND NOT closed",
			keyOf: func(o access.Object) key { q := o.(jit.Request); return key{string(q.Environment), q.ID} },
			write: func(o access.Object, w *encoder) error {
				q := o.(jit.Request)
				w.text(string(q.State))
				w.text(string(q.Requester))
				w.text(string(q.Beneficiary))
				w.flag(q.Closed())
				faithful[jit.Request](w, q)
				return w.err
			},
			read: func(r *decoder) access.Object {
				env, id := r.id(), r.id()
				state, requester, beneficiary, closed := r.text(), r.text(), r.text(), r.flag()
				q := parsed[jit.Request](r)
				if r.err == nil && (string(q.State) != state || string(q.Requester) != requester || string(q.Beneficiary) != beneficiary || q.Closed() != closed) {
					r.fail("state, requester, beneficiary or closed is not what the document says")
				}
				q.Environment, q.ID = access.EnvironmentID(env), id
				return q
			},
		},
	}
}

// normal brings the times of an object to what the store keeps, so that what is
// hashed is what will be read.
func normal(o access.Object) access.Object {
	switch o := o.(type) {
	case access.Assignment:
		o.Window = access.Window{Start: access.Instant(o.Window.Start), End: access.Instant(o.Window.End)}
		return o
	case access.Share:
		o.Window = access.Window{Start: access.Instant(o.Window.Start), End: access.Instant(o.Window.End)}
		return o
	}
	return o
}

// known refuses an object that has no table.
func known(o access.Object) error {
	switch o.(type) {
	case access.Environment, access.BusinessUnit, access.Table, access.Relationship, access.Template, access.Position,
		access.Role, access.Profile, access.User, access.Team, access.Membership, access.Assignment, access.ProfileMember,
		access.Record, access.Share, access.ColumnShare, jit.Policy, jit.Request:
		return nil
	}
	return fmt.Errorf("internal error: the store has no table for a %T", o)
}

// keyFrom takes an object's key apart.
func (n *noun) keyFrom(env access.EnvironmentID, joined string) (key, bool) {
	k := key{string(env)}
	switch len(n.key) {
	case 0:
		return k, joined == string(env)
	case 1:
		k[1] = joined
		return k, true
	}
	parts := access.SplitKey(joined)
	if len(parts) != len(n.key) {
		return k, false
	}
	copy(k[1:], parts)
	return k, true
}

// keyColumns are environment and the parts of the key.
func (n *noun) keyColumns() []column { return columns(texts("environment"), n.key) }

// allColumns are those that write and read go through.
func (n *noun) allColumns() []column { return columns(n.keyColumns(), n.rest) }

func names(cols []column) string {
	var b strings.Builder
	for i, c := range cols {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.name)
	}
	return b.String()
}

func list[T any](w *encoder, v []T) {
	if len(v) == 0 {
		w.text("")
		return
	}
	w.document(v)
}

// faithful writes an object as one document, and refuses one that would be read
// as another: its package has it in hand, the store must not find out later.
func faithful[T any](w *encoder, o access.Object) {
	w.document(o)
	written := w.values[len(w.values)-1].(string)
	var again T
	err := json.Unmarshal([]byte(written), &again)
	if err == nil {
		var back []byte
		if back, err = json.Marshal(again); err == nil && string(back) != written {
			err = errors.New("it would be read back as another")
		}
	}
	if err != nil && w.err == nil {
		w.err = err
	}
}

func optional[T any](w *encoder, v *T) {
	if v == nil {
		w.text("")
		return
	}
	w.document(v)
}

func parsed[T any](r *decoder) (v T) {
	if s := r.text(); s != "" {
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			r.fail(err.Error())
		}
	}
	return v
}

func pointed[T any](r *decoder) *T {
	if r.peek() == "" {
		r.text()
		return nil
	}
	v := parsed[T](r)
	return &v
}

// named is one of a few values by its name.
func named[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](r *decoder) (v T) {
	i := r.nextText
	name := r.text()
	if known, ok := r.values[i][name]; ok {
		return known.(T)
	}
	if err := P(&v).UnmarshalText([]byte(name)); err != nil {
		r.fail(err.Error())
		return v
	}
	if r.values[i] == nil {
		r.values[i] = map[string]any{}
	}
	r.values[i][name] = v
	return v
}
