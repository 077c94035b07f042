package storetest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/jit"
)

// Changesets draws a history of one environment: changesets of all kinds of
// object on few ids, so that they meet again, with puts that change nothing,
// deletions of what is not there and text in many scripts. They are what a store
// must keep, not what the model allows: access.Expand refuses many of them.
func Changesets(env access.EnvironmentID) *rapid.Generator[[][]access.Change] {
	return rapid.SliceOfN(rapid.SliceOfN(change(env), 1, 12), 1, 6)
}

func change(env access.EnvironmentID) *rapid.Generator[access.Change] {
	return rapid.Custom(func(t *rapid.T) access.Change {
		o := object(t, env, access.Kind(rapid.IntRange(0, int(access.Kinds)-1).Draw(t, "kind")))
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			return access.Remove(o)
		}
		return access.Put(o)
	})
}

func object(t *rapid.T, env access.EnvironmentID, kind access.Kind) access.Object {
	// Ids that a careless join or order would mix up.
	id := func(what string) string {
		return rapid.SampledFrom([]string{"a", "a-b", "a/b", "a%2Fb", "Ä", "z"}).Draw(t, what)
	}
	name := func(what string) string {
		return rapid.OneOf(rapid.SampledFrom([]string{"", "x", "O'Neil", "日本語", "e\u0301", "<&>\u2028"}), rapid.StringMatching(`[ -~]{0,12}`)).Draw(t, what)
	}
	is := func(what string) bool { return rapid.Bool().Draw(t, what) }
	number := func(what string, below int) int { return rapid.IntRange(0, below-1).Draw(t, what) }
	moment := func(what string) time.Time {
		n := rapid.Int64Range(0, 3_000_000_000_000_000).Draw(t, what)
		if n%2 == 0 {
			return time.Time{}
		}
		return time.UnixMicro(n).UTC()
	}
	by := rapid.SampledFrom([]access.ManagedBy{access.ByFile, access.ByAPI, access.ByMapping, access.ByJIT, access.BySystem}).Draw(t, "managed by")
	origin := func() access.Origin {
		if !is("origin") {
			return access.Origin{}
		}
		return access.Origin{Rule: name("rule"), Source: id("source"), Object: id("object"), Path: name("path")}
	}
	principal := func() access.Principal {
		return access.Principal{Kind: access.PrincipalKind(number("principal", 2)), ID: id("principal id")}
	}
	privileges := func() (out []access.Privilege) {
		for i := range number("privileges", 4) {
			out = append(out, access.Privilege{
				Table: access.TableID(fmt.Sprint("t", i)), Action: access.Action(number("action", int(access.Actions))), Depth: access.Depth(1 + number("depth", 4)),
			})
		}
		return out
	}
	window := func() access.Window { return access.Window{Start: moment("start"), End: moment("end")} }
	group := func() *access.GroupRef {
		if !is("group") {
			return nil
		}
		return &access.GroupRef{Source: id("source"), Group: id("group id"), Name: name("group name")}
	}
	unit := func() access.BusinessUnitID { return access.BusinessUnitID(id("unit")) }

	switch kind {
	case access.KindEnvironment:
		return access.Environment{
			ID: env, Name: name("name"), Modernized: is("modernized"), KeepRecordUnit: is("keep unit"), KeepRoles: is("keep roles"),
			ShareWithPrevious: is("share"), SecurityGroup: group(), RequireLicence: is("licence"), PerAppPlan: is("plan"),
			Kind: access.EnvironmentKind(number("environment kind", 5)), TemplatesPerTable: number("templates", 4),
			NonInteractiveUsers: number("non-interactive", 9), Locked: is("locked"), ManagedBy: by,
			Hierarchy: rapid.SampledFrom([]*access.Hierarchy{nil, {Depth: 3, Except: []access.TableID{"a", "z"}}, {Model: access.PositionHierarchy, Depth: 1, ManagersAnywhere: true}}).Draw(t, "hierarchy"),
		}
	case access.KindBusinessUnit:
		return access.BusinessUnit{Environment: env, ID: unit(), Name: name("name"), Parent: unit(), Disabled: is("disabled"), ManagedBy: by}
	case access.KindTable:
		return access.Table{
			Environment: env, ID: access.TableID(id("id")), Name: name("name"), Ownership: access.Ownership(number("ownership", 4)), System: is("system"),
			AccessTeams: is("access teams"), Columns: rapid.SampledFrom([][]access.Column{nil, {{Name: "a", Secured: true, Mask: &access.Mask{Pattern: "[0-9]", Replace: "*"}}, {Name: "z", From: []string{"a"}, Open: true}}}).Draw(t, "columns"), ManagedBy: by,
		}
	case access.KindRelationship:
		cascade := func(what string) access.Cascade { return access.Cascade(number(what, 4)) }
		return access.Relationship{
			Environment: env, ID: access.RelationshipID(id("id")), Table: access.TableID(id("table")), Parent: access.TableID(id("parent")),
			ManyToMany: is("many"), Cascade: access.Cascades{Assign: cascade("assign"), Share: cascade("share"), Delete: cascade("delete")}, ManagedBy: by,
		}
	case access.KindTemplate:
		return access.Template{Environment: env, ID: access.TemplateID(id("id")), Name: name("name"), Table: access.TableID(id("table")), Rights: access.Rights(number("rights", 256)), ManagedBy: by}
	case access.KindPosition:
		return access.Position{Environment: env, ID: access.PositionID(id("id")), Name: name("name"), Parent: access.PositionID(id("parent")), ManagedBy: by}
	case access.KindProfile:
		p := access.Profile{Environment: env, ID: access.ProfileID(id("id")), Name: name("name"), ManagedBy: by}
		for i := range number("columns", 3) {
			p.Columns = append(p.Columns, access.ProfileColumn{Table: access.TableID(fmt.Sprint("t", i)), Column: name("column"), Read: is("read"), Unmasked: access.Unmasked(number("unmasked", 3)), Update: is("update"), Create: is("create")})
		}
		return p
	case access.KindProfileMember:
		return access.ProfileMember{Environment: env, Profile: access.ProfileID(id("profile")), Principal: principal(), ManagedBy: by}
	case access.KindColumnShare:
		return access.ColumnShare{Environment: env, Table: access.TableID(id("table")), Record: access.RecordID(id("record")), Column: id("column"), Principal: principal(), Read: is("read"), Update: is("update"), ManagedBy: by}
	case access.KindRole:
		r := access.Role{
			Environment: env, ID: access.RoleID(id("id")), Name: name("name"), BusinessUnit: unit(),
			Inheritance: access.Inheritance(number("inheritance", 2)), All: is("all"), Privileges: privileges(), ManagedBy: by,
		}
		if is("miscellaneous") {
			r.Miscellaneous = []string{"ViewAuditHistory", name("miscellaneous")}
		}
		return r
	case access.KindUser:
		return access.User{
			Environment: env, ID: access.UserID(id("id")), Login: name("login"), Name: name("name"), Mail: name("mail"), BusinessUnit: unit(),
			Enabled: is("enabled"), Licensed: is("licensed"), Admitted: is("admitted"), Manager: access.UserID(id("manager")),
			Position: access.PositionID(name("position")), Kind: access.UserKind(number("user kind", 3)), AccessMode: access.AccessMode(number("mode", 6)),
			Application: name("application"), TenantAdministrator: is("administrator"), Person: name("person"), ManagedBy: by, Origin: origin(),
		}
	case access.KindTeam:
		team := access.Team{
			Environment: env, ID: access.TeamID(id("id")), Name: name("name"), Type: access.TeamType(number("type", 4)), BusinessUnit: unit(),
			ManagedBy: by, Origin: origin(),
		}
		if g := group(); g != nil {
			team.Group = &access.GroupLink{GroupRef: *g, Membership: access.MembershipKind(number("membership", 4)), Nested: is("nested")}
		}
		if is("for a record") {
			team.For = &access.TemplateLink{Template: access.TemplateID(id("template")), Table: access.TableID(id("table")), Record: access.RecordID(id("record"))}
		}
		return team
	case access.KindMembership:
		return access.Membership{Environment: env, Team: access.TeamID(id("team")), User: access.UserID(id("user")), ManagedBy: by, Origin: origin()}
	case access.KindAssignment:
		a := access.Assignment{
			Environment: env, ID: access.AssignmentID(id("id")), Role: access.RoleID(id("role")), Principal: principal(), BusinessUnit: unit(),
			Window: window(), Request: name("request"), ManagedBy: by, Origin: origin(),
		}
		if is("bound") {
			a.Bound = &access.Bound{All: is("all"), Privileges: privileges()}
		}
		return a
	case access.KindRecord:
		r := access.Record{Environment: env, Table: access.TableID(id("table")), ID: access.RecordID(id("id")), BusinessUnit: unit(), ManagedBy: by}
		if is("owned") {
			r.Owner = principal()
		}
		if r.Inactive = is("inactive"); is("linked") {
			r.Links = []access.Link{{Relationship: access.RelationshipID(id("relationship")), Record: access.RecordID(id("parent"))}}
		}
		return r
	case access.KindShare:
		s := access.Share{
			Environment: env, Table: access.TableID(id("table")), Record: access.RecordID(id("record")), Principal: principal(),
			Rights: access.Rights(number("rights", 256)), Inherited: access.Rights(number("inherited", 256)), Window: window(), ManagedBy: by,
		}
		if is("along") {
			s.Along = []access.Inheritable{{Relationship: access.RelationshipID(id("relationship")), Rights: s.Inherited}}
		}
		if is("everybody") {
			s.Principal = access.Principal{Kind: access.Everybody}
		}
		return s
	case access.KindPolicy:
		return jit.Policy{
			Environment: env, ID: id("id"), Version: 1 + number("version", 3), Name: name("name"), Role: access.RoleID(id("role")),
			Scope:    jit.Scope{BusinessUnit: unit(), Subtree: is("subtree")},
			Eligible: []jit.Subject{{Team: access.TeamID(id("team"))}},
			Stages:   []jit.Stage{{Approvers: []jit.Subject{{User: access.UserID(id("approver"))}}, Quorum: 1}},
			// A policy has no empty duration.
			MinDuration: jit.Duration(time.Minute), MaxDuration: jit.Duration(8 * time.Hour), DefaultDuration: jit.Duration(time.Hour),
			PendingTTL: jit.Duration(24 * time.Hour), MaxDirectoryAge: jit.Duration(time.Duration(1+number("age", 9)) * time.Hour),
			Late: jit.Truncate, DenyQuorum: 1, ManagedBy: by,
		}
	case access.KindRequest:
		r := jit.Request{
			Environment: env, ID: "req_" + id("id"), State: rapid.SampledFrom([]jit.State{jit.Pending, jit.Approved, jit.Denied, jit.Lapsed}).Draw(t, "state"),
			Requester: access.UserID(id("requester")), Beneficiary: access.UserID(id("beneficiary")), Role: access.RoleID(id("role")), BusinessUnit: unit(),
			Duration: jit.Duration(time.Hour), Start: moment("start"), Justification: name("justification"), Policy: id("policy"), PolicyVersion: 1,
			Submitted: time.UnixMicro(1).UTC(), PendingUntil: time.UnixMicro(2).UTC(), Digest: name("digest"), ClosedAt: moment("closed"),
		}
		if r.State == jit.Approved {
			r.Grant = &jit.Grant{Assignment: access.AssignmentID(id("assignment")), Window: window(), StartNoted: is("noted")}
			if is("ended") {
				r.Grant.Ended = &jit.Ended{At: time.UnixMicro(3).UTC(), Reason: "revoked"}
			}
		}
		return r
	}
	panic("internal error: no such kind")
}
