package access_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

const env = access.EnvironmentID("e")

// company is a small environment with one of everything: units root > sales >
// emea, and ops; tables of each ownership; people, teams, records and shares.
func company(changes ...access.Change) *access.State {
	s := access.NewState(env)
	s.Apply(
		access.Put(access.Environment{ID: env, Name: "Company", ManagedBy: access.ByFile}),
		access.Put(unit("root", "")), access.Put(unit("sales", "root")), access.Put(unit("emea", "sales")), access.Put(unit("ops", "root")),
		access.Put(table("account", access.UserOrTeam)), access.Put(table("currency", access.OrganizationOwned)),
		access.Put(table("desk", access.BusinessUnitOwned)), access.Put(table("link", access.NotOwned)),
		access.Put(access.Role{Environment: env, ID: "admin", Name: "System Administrator", BusinessUnit: "root", All: true, ManagedBy: access.BySystem}),
		access.Put(role("seller", "root", line("account", access.Read, access.Local))),
		access.Put(role("local", "emea", line("account", access.Read, access.Basic))),
		access.Put(user("root", "root")), access.Put(user("ann", "sales")), access.Put(user("bob", "emea")),
		access.Put(team("deals", "sales", access.OwnerTeam)), access.Put(team("watchers", "sales", access.AccessTeam)), access.Put(groupTeam("g", "sales")),
		access.Put(member("deals", "ann")), access.Put(member("watchers", "bob")),
		access.Put(access.Membership{Environment: env, Team: "g", User: "ann", ManagedBy: access.ByMapping}),
		access.Put(assign("a-root", "admin", access.UserID("root").Principal(), "root")),
		access.Put(assign("a-ann", "seller", access.UserID("ann").Principal(), "sales")),
		access.Put(assign("a-bob", "local", access.UserID("bob").Principal(), "emea")),
		access.Put(assign("a-deals", "seller", access.TeamID("deals").Principal(), "sales")),
		access.Put(record("1", access.UserID("ann").Principal(), "sales")),
		access.Put(record("2", access.TeamID("deals").Principal(), "sales")),
		access.Put(share("1", access.UserID("bob").Principal())), access.Put(share("1", access.TeamID("watchers").Principal())),
	)
	s.Apply(changes...)
	return s
}

func unit(id, parent string) access.BusinessUnit {
	return access.BusinessUnit{Environment: env, ID: access.BusinessUnitID(id), Name: "Unit " + id, Parent: access.BusinessUnitID(parent), ManagedBy: access.ByFile}
}

func table(id string, o access.Ownership) access.Table {
	return access.Table{Environment: env, ID: access.TableID(id), Name: id, Ownership: o, ManagedBy: access.ByFile}
}

func role(id, unit string, lines ...access.Privilege) access.Role {
	return access.Role{Environment: env, ID: access.RoleID(id), Name: "Role " + id, BusinessUnit: access.BusinessUnitID(unit), Privileges: lines, ManagedBy: access.ByFile}
}

func line(t string, a access.Action, d access.Depth) access.Privilege {
	return access.Privilege{Table: access.TableID(t), Action: a, Depth: d}
}

func user(id, unit string) access.User {
	return access.User{Environment: env, ID: access.UserID(id), Login: id + "@example.com", Name: id, BusinessUnit: access.BusinessUnitID(unit), Enabled: true, ManagedBy: access.ByMapping}
}

func team(id, unit string, t access.TeamType) access.Team {
	return access.Team{Environment: env, ID: access.TeamID(id), Name: "Team " + id, Type: t, BusinessUnit: access.BusinessUnitID(unit), ManagedBy: access.ByFile}
}

func groupTeam(id, unit string) access.Team {
	t := team(id, unit, access.SecurityGroupTeam)
	t.Group = &access.GroupLink{GroupRef: access.GroupRef{Source: "entra", Group: "group-" + id}, Membership: access.MembersOnly}
	t.ManagedBy = access.ByMapping
	return t
}

func member(team, user string) access.Membership {
	return access.Membership{Environment: env, Team: access.TeamID(team), User: access.UserID(user), ManagedBy: access.ByFile}
}

func assign(id, role string, p access.Principal, unit string) access.Assignment {
	return access.Assignment{Environment: env, ID: access.AssignmentID(id), Role: access.RoleID(role), Principal: p, BusinessUnit: access.BusinessUnitID(unit), ManagedBy: access.ByFile}
}

func record(id string, owner access.Principal, unit string) access.Record {
	return access.Record{Environment: env, Table: "account", ID: access.RecordID(id), Owner: owner, BusinessUnit: access.BusinessUnitID(unit), ManagedBy: access.ByAPI}
}

func share(id string, p access.Principal) access.Share {
	return access.Share{Environment: env, Table: "account", Record: access.RecordID(id), Principal: p, Rights: access.RightsOf(access.Read), ManagedBy: access.ByAPI}
}

// with changes a copy of an object.
func with[T any](o T, f func(*T)) T {
	f(&o)
	return o
}

func modernized(f ...func(*access.Environment)) access.Change {
	e := access.Environment{ID: env, Name: "Company", Modernized: true, ManagedBy: access.ByFile}
	for _, f := range f {
		f(&e)
	}
	return access.Put(e)
}

func list(changes []access.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

// fault is a changeset that must be refused, for that rule and with that text.
type fault struct {
	name    string
	given   []access.Change // laid over company
	changes []access.Change
	want    string
}

func refuse(t *testing.T, rule string, faults []fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s, untouched := company(f.given...), company(f.given...)
			out, err := s.Expand(f.changes)
			require.ErrorContains(t, err, f.want)
			require.Nil(t, out)
			var inv *access.Invalid
			require.ErrorAs(t, err, &inv)
			require.Contains(t, rulesOf(err), rule)
			require.Equal(t, untouched, s, "a refused changeset changes nothing")
		})
	}
}

func rulesOf(err error) []string {
	var rules []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, e := range joined.Unwrap() {
		var inv *access.Invalid
		if errors.As(e, &inv) {
			rules = append(rules, inv.Rule)
		}
	}
	return rules
}

// expect is a changeset with what must come of it.
type expect struct {
	name    string
	given   []access.Change
	changes []access.Change
	want    []string
}

func complete(t *testing.T, cases []expect) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, untouched := company(c.given...), company(c.given...)
			out, err := s.Expand(c.changes)
			require.NoError(t, err)
			require.Equal(t, c.want, list(out))
			require.Equal(t, untouched, s)
			again, err := s.Expand(out)
			require.NoError(t, err)
			require.Equal(t, out, again, "an expansion is its own expansion")
			s.Apply(out...)
			require.Empty(t, naiveFaults(s))
			require.Equal(t, clone(s), s, "the index is not what the objects say")
		})
	}
}

func userOf(id string) access.Principal { return access.UserID(id).Principal() }
func teamOf(id string) access.Principal { return access.TeamID(id).Principal() }

func TestRule_BU_1_AnEnvironmentHasOneTreeWithOneRoot(t *testing.T) {
	refuse(t, "BU-1", []fault{
		{name: "a second root", changes: []access.Change{access.Put(unit("other", ""))}, want: "several root business units, other, root"},
		{name: "a root that is disabled", changes: []access.Change{access.Put(with(unit("root", ""), func(b *access.BusinessUnit) { b.Disabled = true }))}, want: "cannot be disabled"},
		{name: "a root that is deleted", changes: []access.Change{access.Remove(unit("root", ""))}, want: "is the root and cannot be deleted"},
		{name: "a root that is moved below another new one", changes: []access.Change{access.Put(unit("root", "top")), access.Put(unit("top", ""))}, want: "is the root and cannot be moved"},
		{name: "a cycle", changes: []access.Change{access.Put(unit("sales", "emea"))}, want: "business_unit emea lies below itself"},
		{name: "a unit below itself", changes: []access.Change{access.Put(unit("ops", "ops"))}, want: "business_unit ops lies below itself"},
		{name: "a parent that does not exist", changes: []access.Change{access.Put(unit("x", "nowhere"))}, want: `"nowhere", which does not exist`},
	})
	t.Run("a new environment needs its root in the same changeset", func(t *testing.T) {
		e := access.Put(access.Environment{ID: env, Name: "New", ManagedBy: access.ByAPI})
		_, err := access.NewState(env).Expand([]access.Change{e})
		require.ErrorContains(t, err, "needs a root business unit")
		out, err := access.NewState(env).Expand([]access.Change{access.Put(user("ann", "root")), access.Put(unit("low", "high")), access.Put(unit("high", "root")), access.Put(unit("root", "")), e})
		require.NoError(t, err)
		require.Equal(t, []string{"put environment e/e", "put business_unit e/root", "put business_unit e/high", "put business_unit e/low", "put user e/ann"}, list(out))
	})
	t.Run("nothing is put into an environment that does not exist", func(t *testing.T) {
		_, err := access.NewState(env).Expand([]access.Change{access.Put(unit("root", ""))})
		require.ErrorContains(t, err, "environment e does not exist")
	})
}

func TestRule_BU_4_AUnitIsDeletedOnlyWhenDisabledAndEmpty(t *testing.T) {
	disabled := func(id, parent string) access.Change {
		return access.Put(with(unit(id, parent), func(b *access.BusinessUnit) { b.Disabled = true }))
	}
	refuse(t, "BU-4", []fault{
		{name: "an enabled unit", changes: []access.Change{access.Remove(unit("ops", "root"))}, want: "only when it is disabled"},
		{
			name: "a unit that is disabled in the same changeset only", given: []access.Change{access.Put(unit("x", "ops"))},
			changes: []access.Change{disabled("ops", "root"), access.Remove(unit("x", "ops"))}, want: "only when it is disabled",
		},
		{
			name: "a unit with child, user and records", given: []access.Change{disabled("sales", "root")},
			changes: []access.Change{access.Remove(unit("sales", "root"))}, want: "(child units: 1, users: 1, teams: 3, records: 2)",
		},
		{
			name:    "a unit whose default team owns a record elsewhere",
			given:   []access.Change{modernized(), disabled("ops", "root"), access.Put(record("3", access.BusinessUnitID("ops").DefaultTeam().Principal(), "sales"))},
			changes: []access.Change{access.Remove(unit("ops", "root"))}, want: "(records: 1)",
		},
	})
	defaultTeam := access.BusinessUnitID("ops").DefaultTeam().Principal()
	complete(t, []expect{
		{
			name: "its roles, the assignments in it and what its default team received end with it",
			given: []access.Change{
				modernized(), disabled("ops", "root"), access.Put(role("r", "ops")), access.Put(assign("a1", "seller", userOf("ann"), "ops")),
				access.Put(assign("a2", "seller", defaultTeam, "sales")), access.Put(assign("a3", "r", userOf("ann"), "ops")), access.Put(share("1", defaultTeam)),
			},
			changes: []access.Change{access.Remove(unit("ops", "root"))},
			want: []string{
				"delete share e/account/1/team/default:ops", "delete assignment e/a3", "delete assignment e/a2", "delete assignment e/a1",
				"delete role e/r", "delete business_unit e/ops",
			},
		},
		{
			name: "a disabled subtree goes whole, children first", given: []access.Change{disabled("ops", "root"), access.Put(unit("a-below", "ops"))},
			changes: []access.Change{access.Remove(unit("ops", "root")), access.Remove(unit("a-below", "ops"))},
			want:    []string{"delete business_unit e/a-below", "delete business_unit e/ops"},
		},
		{
			name: "its user moves out in the same changeset", given: []access.Change{disabled("emea", "sales")},
			changes: []access.Change{access.Remove(unit("emea", "sales")), access.Put(user("bob", "ops"))},
			want:    []string{"put user e/bob", "delete assignment e/a-bob", "delete role e/local", "delete business_unit e/emea"},
		},
	})
}

func TestRule_BU_6_DefaultTeamsAreNotTouchedByHand(t *testing.T) {
	id := string(access.BusinessUnitID("sales").DefaultTeam())
	refuse(t, "BU-6", []fault{
		{name: "as a team", changes: []access.Change{access.Put(team(id, "sales", access.OwnerTeam))}, want: "is a default team"},
		{name: "as a member's team", changes: []access.Change{access.Put(member(id, "ann"))}, want: "the members of a default team are the users of its business unit"},
	})
	complete(t, []expect{{
		name:    "it can hold roles and own records",
		changes: []access.Change{access.Put(assign("x", "seller", teamOf(id), "sales")), access.Put(record("9", teamOf(id), ""))},
		want:    []string{"put assignment e/x", "put record e/account/9"},
	}})
}

func TestRule_BU_7_UsersAndTeamsAreInAUnitThatExists(t *testing.T) {
	refuse(t, "BU-7", []fault{
		{name: "a user", changes: []access.Change{access.Put(user("eve", "nowhere"))}, want: `user eve names business unit "nowhere"`},
		{name: "a team", changes: []access.Change{access.Put(team("x", "nowhere", access.OwnerTeam))}, want: `team x names business unit "nowhere"`},
	})
}

func TestRule_BU_8_AClassicAssignmentIsInThePrincipalsUnit(t *testing.T) {
	change := []access.Change{access.Put(assign("x", "seller", userOf("ann"), "emea"))}
	refuse(t, "BU-8", []fault{{name: "another unit", changes: change, want: `its principal is in "sales"`}})
	complete(t, []expect{{name: "Rule BU-9: modernized, any unit", given: []access.Change{modernized()}, changes: change, want: []string{"put assignment e/x"}}})
}

func TestRule_BU_11_SwitchingModernizedUnitsOffBringsAllBack(t *testing.T) {
	complete(t, []expect{{
		name:    "records and assignments elsewhere",
		given:   []access.Change{modernized(), access.Put(assign("x", "seller", userOf("ann"), "emea")), access.Put(record("1", userOf("ann"), "ops"))},
		changes: []access.Change{modernized(func(e *access.Environment) { e.Modernized = false })},
		want:    []string{"put environment e/e", "put record e/account/1", "delete assignment e/x"},
	}})
}

func TestRule_OWN_1_RecordsHaveAnOwnerThatMayOwn(t *testing.T) {
	refuse(t, "OWN-1", []fault{
		{name: "no owner", changes: []access.Change{access.Put(record("9", access.Principal{}, "sales"))}, want: "needs an owner"},
		{name: "a table that does not exist", changes: []access.Change{access.Put(with(record("9", userOf("ann"), ""), func(r *access.Record) { r.Table = "x" }))}, want: `table "x", which does not exist`},
		{name: "a user who owns records is deleted", changes: []access.Change{access.Remove(user("ann", ""))}, want: "owns registered records (1)"},
		{name: "a table with records changes its ownership", changes: []access.Change{access.Put(table("account", access.NotOwned))}, want: "cannot change its ownership: 4 records and shares"},
	})
	refuse(t, "TEAM-5", []fault{
		{name: "everybody", changes: []access.Change{access.Put(record("9", access.Principal{Kind: access.Everybody}, "sales"))}, want: "only a user or a team owns records"},
		{name: "nobody known", changes: []access.Change{access.Put(record("9", userOf("eve"), "sales"))}, want: `user "eve", which does not exist`},
	})
}

func TestRule_OWN_2_OrganizationOwnedRecordsAndRolesHaveNoUnit(t *testing.T) {
	refuse(t, "OWN-2", []fault{{name: "an owner", changes: []access.Change{access.Put(with(record("9", userOf("ann"), "sales"), func(r *access.Record) { r.Table = "currency" }))}, want: "cannot have an owner or an owning unit"}})
	refuse(t, "ROLE-14", []fault{{name: "a depth between", changes: []access.Change{access.Put(role("x", "root", line("currency", access.Read, access.Local)))}, want: "knows organization alone"}})
}

func TestRule_OWN_3_UnitOwnedRecordsHaveAUnitAlone(t *testing.T) {
	desk := func(owner access.Principal, unit string) []access.Change {
		return []access.Change{access.Put(with(record("9", owner, unit), func(r *access.Record) { r.Table = "desk" }))}
	}
	refuse(t, "OWN-3", []fault{
		{name: "an owner", changes: desk(userOf("ann"), "sales"), want: "cannot have an owner"},
		{name: "no unit", changes: desk(access.Principal{}, ""), want: "which does not exist"},
	})
	complete(t, []expect{{name: "a unit", changes: desk(access.Principal{}, "ops"), want: []string{"put record e/desk/9"}}})
}

func TestRule_OWN_5_TheOwningUnitIsTheOwners(t *testing.T) {
	refuse(t, "OWN-5", []fault{{name: "another unit", changes: []access.Change{access.Put(record("9", userOf("ann"), "ops"))}, want: `always the owner's, "sales"`}})
	s := company()
	out, err := s.Expand([]access.Change{access.Put(record("9", userOf("ann"), ""))})
	require.NoError(t, err)
	require.Equal(t, access.Put(record("9", userOf("ann"), "sales")), out[0], "an empty unit is filled in")
}

func TestRule_OWN_6_DisabledUsersAndAccessTeamsGetNoRecords(t *testing.T) {
	off := access.Put(with(user("bob", "emea"), func(u *access.User) { u.Enabled = false }))
	refuse(t, "OWN-6", []fault{{name: "a disabled user", given: []access.Change{off}, changes: []access.Change{access.Put(record("1", userOf("bob"), ""))}, want: "who is disabled"}})
	refuse(t, "TEAM-5", []fault{{name: "an access team", changes: []access.Change{access.Put(record("1", teamOf("watchers"), ""))}, want: "only receives shares"}})
	complete(t, []expect{{
		name: "a disabled user keeps records", given: []access.Change{off, access.Put(record("1", userOf("bob"), "emea"))},
		changes: []access.Change{access.Put(record("1", userOf("bob"), "emea"))}, want: []string{"put record e/account/1"},
	}})
}

func TestRule_OWN_13_AUserWhoChangesUnitLosesRolesAndTakesRecordsAlong(t *testing.T) {
	elevated := with(assign("jit", "seller", userOf("ann"), "sales"), func(a *access.Assignment) {
		a.Request, a.Window.End, a.ManagedBy = "req_1", time.Unix(1e9, 0).UTC(), access.ByJIT
	})
	move := []access.Change{access.Put(user("ann", "ops"))}
	complete(t, []expect{
		{
			name: "classic", given: []access.Change{access.Put(elevated)}, changes: move,
			want: []string{"put user e/ann", "put record e/account/1", "delete assignment e/jit", "delete assignment e/a-ann"},
		},
		{
			name: "modernized, by default", given: []access.Change{modernized()}, changes: move,
			want: []string{"put user e/ann", "put record e/account/1", "delete assignment e/a-ann"},
		},
		{
			name: "modernized, records stay", given: []access.Change{modernized(func(e *access.Environment) { e.KeepRecordUnit = true })}, changes: move,
			want: []string{"put user e/ann", "delete assignment e/a-ann"},
		},
		{
			name: "classic units cannot keep records", given: []access.Change{modernized(func(e *access.Environment) { e.Modernized, e.KeepRecordUnit = false, true })}, changes: move,
			want: []string{"put user e/ann", "put record e/account/1", "delete assignment e/a-ann"},
		},
		{
			name: "modernized, roles stay", given: []access.Change{modernized(func(e *access.Environment) { e.KeepRoles = true })}, changes: move,
			want: []string{"put user e/ann", "put record e/account/1"},
		},
		{
			name: "classic units cannot keep roles", given: []access.Change{modernized(func(e *access.Environment) { e.Modernized, e.KeepRoles = false, true })}, changes: move,
			want: []string{"put user e/ann", "put record e/account/1", "delete assignment e/a-ann"},
		},
		{
			name: "what the changeset itself puts stays", changes: append(move, access.Put(assign("new", "seller", userOf("ann"), "ops")), access.Put(assign("a-ann", "seller", userOf("ann"), "ops"))),
			want: []string{"put user e/ann", "put assignment e/a-ann", "put assignment e/new", "put record e/account/1"},
		},
	})
}

func TestRule_OWN_14_ATeamThatChangesUnitLosesRolesAndTakesRecordsAlong(t *testing.T) {
	move := []access.Change{access.Put(team("deals", "ops", access.OwnerTeam))}
	want := []string{"put team e/deals", "put record e/account/2", "delete assignment e/a-deals"}
	complete(t, []expect{
		{name: "classic", changes: move, want: want},
		{name: "modernized, and keeping users' roles", given: []access.Change{modernized(func(e *access.Environment) { e.KeepRoles = true })}, changes: move, want: want},
	})
}

func TestRule_ROLE_2_AnAssignmentNamesAUnitInWhichTheRoleExists(t *testing.T) {
	refuse(t, "ROLE-2", []fault{
		{name: "above the role's unit", changes: []access.Change{access.Put(assign("x", "local", userOf("ann"), "sales"))}, want: `defined in "emea"`},
		{name: "an unknown role", changes: []access.Change{access.Put(assign("x", "none", userOf("ann"), "sales"))}, want: `role "none", which does not exist`},
		{name: "an unknown unit", changes: []access.Change{access.Put(assign("x", "seller", userOf("ann"), "none"))}, want: `business unit "none", which does not exist`},
		{name: "a role in an unknown unit", changes: []access.Change{access.Put(role("x", "none"))}, want: `business unit "none", which does not exist`},
		{
			name: "a unit moves out of the reach of a role in use", given: []access.Change{access.Put(role("mid", "sales")), access.Put(assign("x", "mid", userOf("bob"), "emea"))},
			changes: []access.Change{access.Put(unit("emea", "ops"))}, want: `role "mid" does not exist`,
		},
	})
}

func TestRule_ROLE_3_AssignmentsEndWithTheirRole(t *testing.T) {
	complete(t, []expect{
		{name: "deleted", changes: []access.Change{access.Remove(role("seller", ""))}, want: []string{"delete assignment e/a-deals", "delete assignment e/a-ann", "delete role e/seller"}},
		{name: "moved away", changes: []access.Change{access.Put(role("local", "ops"))}, want: []string{"put role e/local", "delete assignment e/a-bob"}},
		{name: "moved up", changes: []access.Change{access.Put(role("local", "sales"))}, want: []string{"put role e/local"}},
	})
}

func TestRule_ROLE_10_SomebodyStaysSystemAdministrator(t *testing.T) {
	const want = "would lose its last enabled user who holds System Administrator"
	all := func(a access.Assignment) access.Change { return access.Put(a) }
	byTeam := []access.Change{
		access.Remove(assign("a-root", "admin", userOf("root"), "root")), access.Put(team("admins", "root", access.OwnerTeam)),
		access.Put(member("admins", "ann")), all(assign("x", "admin", teamOf("admins"), "root")),
	}
	byDefault := []access.Change{access.Remove(assign("a-root", "admin", userOf("root"), "root")), all(assign("x", "admin", teamOf("default:emea"), "emea"))}
	window := access.Window{End: time.Unix(1e9, 0).UTC()}
	refuse(t, "ROLE-10", []fault{
		{name: "by deleting the assignment", changes: []access.Change{access.Remove(assign("a-root", "", access.Principal{}, ""))}, want: want},
		{name: "by giving it an end", changes: []access.Change{access.Put(with(assign("a-root", "admin", userOf("root"), "root"), func(a *access.Assignment) { a.Window = window }))}, want: want},
		{name: "by deleting the user", changes: []access.Change{access.Remove(user("root", ""))}, want: want},
		{name: "by disabling the user", changes: []access.Change{access.Put(with(user("root", "root"), func(u *access.User) { u.Enabled = false }))}, want: want},
		{name: "by moving the user", changes: []access.Change{access.Put(user("root", "ops"))}, want: want},
		{name: "by deleting the role", changes: []access.Change{access.Remove(role("admin", ""))}, want: want},
		{name: "by leaving the team that holds it", given: byTeam, changes: []access.Change{access.Remove(member("admins", "ann"))}, want: want},
		{name: "by deleting the team that holds it", given: byTeam, changes: []access.Change{access.Remove(team("admins", "", access.OwnerTeam))}, want: want},
		{name: "by disabling the unit", given: byTeam, changes: []access.Change{access.Put(with(unit("sales", "root"), func(b *access.BusinessUnit) { b.Disabled = true }))}, want: want},
		{name: "by disabling the last in the unit whose default team holds it", given: byDefault, changes: []access.Change{access.Put(with(user("bob", "emea"), func(u *access.User) { u.Enabled = false }))}, want: want},
		{name: "by moving the last in the unit whose default team holds it", given: byDefault, changes: []access.Change{access.Put(user("bob", "ops"))}, want: want},
		{name: "the role becomes less", changes: []access.Change{access.Put(role("admin", "root"))}, want: "cannot be edited"},
		{name: "the role moves down", changes: []access.Change{access.Put(with(role("admin", "ops"), func(r *access.Role) { r.All = true }))}, want: "cannot be edited"},
		{name: "the role lists privileges", changes: []access.Change{access.Put(with(role("admin", "root", line("account", access.Read, access.Global)), func(r *access.Role) { r.All = true }))}, want: "cannot list some"},
	})
	complete(t, []expect{
		{
			name:    "another takes over in the same changeset",
			changes: []access.Change{access.Remove(user("root", "")), access.Put(assign("x", "admin", userOf("ann"), "sales"))},
			want:    []string{"put assignment e/x", "delete assignment e/a-root", "delete user e/root"},
		},
		{
			name: "an environment without one is left without", given: []access.Change{access.Remove(assign("a-root", "admin", userOf("root"), "root"))},
			changes: []access.Change{access.Remove(user("root", ""))}, want: []string{"delete user e/root"},
		},
	})
}

func TestRule_ROLE_14_ARoleWithAFaultIsRefusedWhole(t *testing.T) {
	put := func(f func(*access.Role)) []access.Change {
		return []access.Change{access.Put(with(role("x", "root"), f))}
	}
	lines := func(p ...access.Privilege) []access.Change {
		return []access.Change{access.Put(role("x", "root", p...))}
	}
	refuse(t, "ROLE-14", []fault{
		{name: "an unknown table", changes: lines(line("nowhere", access.Read, access.Global)), want: `table "nowhere", which does not exist`},
		{name: "an unknown action", changes: lines(line("account", access.Actions, access.Global)), want: "unknown privilege"},
		{name: "an unknown depth", changes: lines(line("account", access.Read, access.Global+1)), want: "unknown privilege"},
		{name: "depth none", changes: lines(line("account", access.Read, access.None)), want: "leave the line out"},
		{name: "a line twice", changes: lines(line("account", access.Read, access.Basic), line("account", access.Read, access.Global)), want: `read on table "account" twice`},
		{name: "lines out of order", changes: lines(line("account", access.Write, access.Basic), line("account", access.Read, access.Basic)), want: "sort them"},
		{name: "a miscellaneous privilege twice", changes: put(func(r *access.Role) { r.Miscellaneous = []string{"A", "A"} }), want: `"A" twice or unsorted`},
		{name: "a miscellaneous privilege without a name", changes: put(func(r *access.Role) { r.Miscellaneous = []string{""} }), want: "want a name without spaces"},
		{
			name: "a table that becomes organization-owned below a role's depth", changes: []access.Change{access.Put(table("desk", access.OrganizationOwned))},
			given: []access.Change{access.Put(role("y", "root", line("desk", access.Read, access.Deep)))}, want: "role y has read on table",
		},
	})
}

func TestDeletingATableTakesItsRecordsSharesAndRoleLinesAlong(t *testing.T) {
	complete(t, []expect{{
		name: "account", changes: []access.Change{access.Remove(table("account", 0))},
		want: []string{
			"put role e/local", "put role e/seller", "delete share e/account/1/team/watchers", "delete share e/account/1/user/bob",
			"delete record e/account/2", "delete record e/account/1", "delete table e/account",
		},
	}})
}

func TestRule_TEAM_1_TypeAndGroupOfATeamAreFixed(t *testing.T) {
	change := func(f func(*access.Team)) []access.Change {
		g := groupTeam("g", "sales")
		link := *g.Group
		g.Group = &link
		f(&g)
		return []access.Change{access.Put(g)}
	}
	refuse(t, "TEAM-1", []fault{
		{name: "type", changes: []access.Change{access.Put(team("deals", "sales", access.AccessTeam))}, want: "delete it and make another"},
		{name: "type of group", changes: change(func(t *access.Team) { t.Type = access.M365GroupTeam }), want: "delete it and make another"},
		{name: "group", changes: change(func(t *access.Team) { t.Group.Group = "x" }), want: "delete it and make another"},
		{name: "membership kind", changes: change(func(t *access.Team) { t.Group.Membership = access.OwnersOnly }), want: "delete it and make another"},
	})
	complete(t, []expect{{name: "the name as last seen may change", changes: change(func(t *access.Team) { t.Group.Name, t.Name = "New", "New" }), want: []string{"put team e/g"}}})
}

func TestRule_TEAM_2_OneGroupTeamForEachGroupAndKind(t *testing.T) {
	other := groupTeam("h", "ops")
	other.Group.Group = "group-g"
	refuse(t, "TEAM-2", []fault{
		{name: "the same part of the same group", changes: []access.Change{access.Put(other)}, want: "as team g: one of them is enough"},
		{name: "a group team without a group", changes: []access.Change{access.Put(team("x", "ops", access.M365GroupTeam))}, want: "needs a directory source and group"},
		{name: "a group with an owner team", changes: []access.Change{access.Put(with(groupTeam("x", "ops"), func(t *access.Team) { t.Type = access.OwnerTeam }))}, want: "cannot have a directory group"},
	})
	owners := groupTeam("h", "ops")
	owners.Group.Group, owners.Group.Membership = "group-g", access.OwnersOnly
	complete(t, []expect{{name: "another part of the same group", changes: []access.Change{access.Put(owners)}, want: []string{"put team e/h"}}})
}

func TestRule_TEAM_3_MembersOfAGroupTeamComeFromTheDirectory(t *testing.T) {
	refuse(t, "TEAM-3", []fault{
		{name: "by hand", changes: []access.Change{access.Put(member("g", "bob"))}, want: "change the group there"},
		{name: "an unknown team", changes: []access.Change{access.Put(member("x", "bob"))}, want: `team "x", which does not exist`},
		{name: "an unknown user", changes: []access.Change{access.Put(member("deals", "eve"))}, want: `user "eve", which does not exist`},
	})
}

func TestRule_TEAM_5_AccessTeamsHoldNoRoles(t *testing.T) {
	refuse(t, "TEAM-5", []fault{
		{name: "an access team", changes: []access.Change{access.Put(assign("x", "seller", teamOf("watchers"), "sales"))}, want: "only receives shares"},
		{name: "everybody", changes: []access.Change{access.Put(assign("x", "seller", access.Principal{Kind: access.Everybody}, "sales"))}, want: "only a user or a team holds roles"},
		{name: "an unknown user", changes: []access.Change{access.Put(assign("x", "seller", userOf("eve"), "sales"))}, want: `user "eve", which does not exist`},
	})
}

func TestRule_TEAM_8_ATeamThatOwnsRecordsIsNotDeleted(t *testing.T) {
	gone := access.Remove(team("deals", "", access.OwnerTeam))
	refuse(t, "TEAM-8", []fault{{name: "with a record", changes: []access.Change{gone}, want: "owns registered records (1)"}})
	complete(t, []expect{
		{
			name: "its record is assigned to another first", changes: []access.Change{gone, access.Put(record("2", userOf("ann"), ""))},
			want: []string{"put record e/account/2", "delete assignment e/a-deals", "delete membership e/deals/ann", "delete team e/deals"},
		},
		{
			name: "its shares end", changes: []access.Change{access.Remove(team("watchers", "", access.AccessTeam))},
			want: []string{"delete share e/account/1/team/watchers", "delete membership e/watchers/bob", "delete team e/watchers"},
		},
	})
}

func TestRule_TEAM_9_NamesAreUnique(t *testing.T) {
	named := func(name string) access.Change {
		return access.Put(with(team("x", "sales", access.OwnerTeam), func(t *access.Team) { t.Name = name }))
	}
	refuse(t, "TEAM-9", []fault{
		{name: "but for case", changes: []access.Change{named("TEAM Deals")}, want: "as team deals of the same business unit has"},
		{name: "the default team's", changes: []access.Change{named("unit SALES")}, want: "the default team of its business unit has it"},
		{name: "a unit takes the name of a team in it", changes: []access.Change{access.Put(with(unit("sales", "root"), func(b *access.BusinessUnit) { b.Name = "team deals" }))}, want: "which its default team would get"},
	})
	refuse(t, "", []fault{
		{name: "of units", changes: []access.Change{access.Put(with(unit("x", "root"), func(b *access.BusinessUnit) { b.Name = "unit OPS" }))}, want: "as business_unit ops has"},
		{name: "of roles", changes: []access.Change{access.Put(with(role("x", "root"), func(r *access.Role) { r.Name = "ROLE seller" }))}, want: "as role seller has"},
		{name: "of logins", changes: []access.Change{access.Put(with(user("x", "root"), func(u *access.User) { u.Login = "Ann@Example.com" }))}, want: "as user ann has"},
		{name: "in another spelling of the same letters", changes: []access.Change{
			access.Put(with(user("x", "root"), func(u *access.User) { u.Login = "JOS\u00c9" })), access.Put(with(user("y", "root"), func(u *access.User) { u.Login = "jose\u0301" })),
		}, want: "user y has the login"},
	})
	swapped := []access.Change{access.Put(with(user("ann", "sales"), func(u *access.User) { u.Login = "bob@example.com" })), access.Put(with(user("bob", "emea"), func(u *access.User) { u.Login = "ann@example.com" }))}
	complete(t, []expect{
		{name: "two users swap logins", changes: swapped, want: []string{"put user e/ann", "put user e/bob"}},
		{name: "the same name in another unit", changes: []access.Change{access.Put(with(team("x", "ops", access.OwnerTeam), func(t *access.Team) { t.Name = "Team deals" }))}, want: []string{"put team e/x"}},
		{
			name: "a name that becomes free", changes: []access.Change{access.Remove(user("bob", "")), access.Put(with(user("new", "ops"), func(u *access.User) { u.Login = "bob@example.com" }))},
			want: []string{"put user e/new", "delete share e/account/1/user/bob", "delete assignment e/a-bob", "delete membership e/watchers/bob", "delete user e/bob"},
		},
	})
}

func TestRule_SHARE_1_AShareGivesSomethingThatCanBeShared(t *testing.T) {
	put := func(r access.Rights) []access.Change {
		return []access.Change{access.Put(with(share("1", userOf("bob")), func(s *access.Share) { s.Rights = r }))}
	}
	refuse(t, "SHARE-1", []fault{
		{name: "nothing", changes: put(0), want: "gives no right"},
		{name: "create", changes: put(access.RightsOf(access.Create, access.Read)), want: "create, which cannot be shared"},
	})
	refuse(t, "SHARE-4", []fault{{name: "to nobody known", changes: []access.Change{access.Put(share("1", userOf("eve")))}, want: `user "eve", which does not exist`}})
	complete(t, []expect{{
		name: "to everybody, of a record that is not registered", changes: []access.Change{access.Put(share("77", access.Principal{Kind: access.Everybody}))},
		want: []string{"put share e/account/77/organization/"},
	}})
}

func TestRule_SHARE_2_OnlyOwnedRecordsAreShared(t *testing.T) {
	of := func(table string) []access.Change {
		return []access.Change{access.Put(with(share("1", userOf("bob")), func(s *access.Share) { s.Table = access.TableID(table) }))}
	}
	refuse(t, "SHARE-2", []fault{
		{name: "organization", changes: of("currency"), want: "ownership is organization"},
		{name: "unknown table", changes: of("x"), want: "which does not exist"},
	})
}

func TestRule_SHARE_9_SharesEndWithRecordAndPrincipal(t *testing.T) {
	gone := access.Remove(record("1", access.Principal{}, ""))
	complete(t, []expect{
		{name: "record", changes: []access.Change{gone}, want: []string{"delete share e/account/1/team/watchers", "delete share e/account/1/user/bob", "delete record e/account/1"}},
		{
			name: "user", changes: []access.Change{access.Remove(user("bob", ""))},
			want: []string{"delete share e/account/1/user/bob", "delete assignment e/a-bob", "delete membership e/watchers/bob", "delete user e/bob"},
		},
	})
	refuse(t, "SHARE-9", []fault{{name: "a share put on it at the same time", changes: []access.Change{gone, access.Put(share("1", userOf("root")))}, want: "the same changeset deletes"}})
}

func TestRule_SHARE_10_WindowsAreNotEmpty(t *testing.T) {
	never := access.Window{Start: time.Unix(10, 0).UTC(), End: time.Unix(10, 0).UTC()}
	refuse(t, "SHARE-10", []fault{{name: "share", changes: []access.Change{access.Put(with(share("1", userOf("bob")), func(s *access.Share) { s.Window = never }))}, want: "no instant lies in it"}})
	refuse(t, "", []fault{{name: "assignment", changes: []access.Change{access.Put(with(assign("a-ann", "seller", userOf("ann"), "sales"), func(a *access.Assignment) { a.Window = never }))}, want: "no instant lies in it"}})
}

func TestRule_JIT_E_4_ElevationsAreNoStandingAssignments(t *testing.T) {
	elevated := with(assign("a-ann", "seller", userOf("ann"), "sales"), func(a *access.Assignment) { a.Request, a.Window.End = "req_1", time.Unix(1e9, 0).UTC() })
	refuse(t, "JIT-E-4", []fault{
		{name: "no way from standing to elevated", changes: []access.Change{access.Put(elevated)}, want: "make another"},
		{name: "no way from elevated to standing", given: []access.Change{access.Put(elevated)}, changes: []access.Change{access.Put(assign("a-ann", "seller", userOf("ann"), "sales"))}, want: "make another"},
		{name: "no elevation without an end", changes: []access.Change{access.Put(with(elevated, func(a *access.Assignment) { a.ID, a.Window = "x", access.Window{} }))}, want: "needs an end"},
	})
}

func TestIdsAndManagersAreChecked(t *testing.T) {
	refuse(t, "", []fault{
		{name: "an empty id", changes: []access.Change{access.Put(user("", "root"))}, want: "has no id"},
		{name: "a long id", changes: []access.Change{access.Put(user(string(slices.Repeat([]byte("x"), 257)), "root"))}, want: "257 bytes: 256 are the most"},
		{name: "a control character in an id", changes: []access.Change{access.Put(user("a\x1b[31m", "root"))}, want: "not printable"},
		{name: "broken UTF-8 in an id", changes: []access.Change{access.Put(user("a\xff", "root"))}, want: "not printable"},
		{name: "a blank name", changes: []access.Change{access.Put(with(team("x", "ops", access.OwnerTeam), func(t *access.Team) { t.Name = " " }))}, want: "needs a name"},
		{name: "no manager", changes: []access.Change{access.Put(with(user("x", "ops"), func(u *access.User) { u.ManagedBy = "" }))}, want: "want file, api, mapping, jit or system"},
		{name: "another environment", changes: []access.Change{access.Put(with(user("x", "ops"), func(u *access.User) { u.Environment = "f" }))}, want: `is of environment "f"`},
		{name: "a deletion of what does not exist", changes: []access.Change{access.Remove(user("x", ""))}, want: "cannot be deleted: it does not exist"},
		{name: "two answers to one question", changes: []access.Change{access.Put(user("bob", "ops")), access.Put(user("bob", "emea"))}, want: "changed twice"},
		{name: "put and deleted at once", changes: []access.Change{access.Put(user("bob", "emea")), access.Remove(user("bob", "emea"))}, want: "changed twice"},
	})
	complete(t, []expect{{name: "the same change twice is one", changes: []access.Change{access.Put(user("bob", "emea")), access.Put(user("bob", "emea"))}, want: []string{"put user e/bob"}}})
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	_, err := company().Expand([]access.Change{access.Put(user("x", "nowhere")), access.Put(member("deals", "eve")), access.Put(unit("other", ""))})
	require.EqualError(t, err, `environment e has several root business units, other, root: all but one need a parent (Rule BU-1)
membership deals/eve names user "eve", which does not exist (Rule TEAM-3)
user x names business unit "nowhere", which does not exist (Rule BU-7)`)
}

// TestAnExpansionHoldsWhileNothingWasApplied: who is handed an expansion may take
// it as judged on the very state that there is, and on no other.
func TestAnExpansionHoldsWhileNothingWasApplied(t *testing.T) {
	first := []access.Change{access.Put(access.Environment{ID: env, Name: "E", ManagedBy: access.ByAPI}), access.Put(unit("root", ""))}
	s := access.NewState(env)
	x, err := s.Expansion(first)
	require.NoError(t, err)
	full, err := s.Expand(first)
	require.NoError(t, err)
	require.Equal(t, full, x.Changes())
	require.True(t, x.Holds(s))
	require.True(t, x.Holds(access.NewState(env)), "as empty as it was")
	require.False(t, x.Holds(access.NewState("f")))
	require.False(t, access.Expansion{}.Holds(s))
	s.Apply(x.Changes()...)
	require.False(t, x.Holds(s))
	other := access.NewState(env)
	other.Apply(x.Changes()...)
	again, err := s.Expansion(first)
	require.NoError(t, err)
	require.True(t, again.Holds(s))
	require.False(t, again.Holds(other), "nobody has looked whether they are alike")
}

func TestDeletingAnEnvironmentEndsEverythingInIt(t *testing.T) {
	s := company()
	out, err := s.Expand([]access.Change{access.Remove(s.Environment)})
	require.NoError(t, err)
	s.Apply(out...)
	require.Equal(t, access.NewState(env), s)
	_, err = company().Expand([]access.Change{access.Remove(company().Environment), access.Put(user("x", "root"))})
	require.ErrorContains(t, err, "the same changeset deletes its environment")
	ambit := access.NewState(access.AmbitEnvironment)
	ambit.Apply(access.Put(access.Environment{ID: access.AmbitEnvironment, Name: "Ambit", ManagedBy: access.BySystem}))
	_, err = ambit.Expand([]access.Change{access.Remove(ambit.Environment)})
	require.ErrorContains(t, err, "Ambit is administered in it")
}

func TestADeletionCarriesTheObjectAsItWas(t *testing.T) {
	s := company()
	out, err := s.Expand([]access.Change{access.Remove(access.User{Environment: env, ID: "bob"})})
	require.NoError(t, err)
	require.Equal(t, access.Remove(user("bob", "emea")), out[len(out)-1])
	require.Equal(t, access.Remove(share("1", userOf("bob"))), out[0])
}
