package dirsync

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/tenant"
)

// wholeModel declares one object of every kind that a model file can have.
const wholeModel = `
environments:
  sales:
    settings: {hierarchy: {model: manager, depth: 2}}
    business_units: {HQ: {units: {North: {}}}}
    tables: {account: {access_teams: true, columns: {iban: {secured: true}}}}
    relationships: {parent_account: {table: account, parent: account}}
    access_team_templates: {Deal team: {table: account, rights: [read]}}
    positions: {Head of Sales: {positions: {Representative: {}}}}
    column_profiles:
      Accountants: {columns: {account: {iban: {read: true}}}, members: [ann], teams: [Deal desk]}
    teams: {Deal desk: {}}
`

func stateOf(r *rig, env access.EnvironmentID) (out *access.State) {
	require.NoError(r.t, r.tenant.Read(func(v tenant.View) (err error) {
		out, err = v.State(env)
		return err
	}))
	return out
}

func TestAModelFilesObjectsComeAndGoWithIt(t *testing.T) {
	r := newRig(t, wholeModel, `
environments: {sales: {}}
rules: [{name: people, match: {source: corp, users: 'true'}, user: {environment: sales, business_unit: North, position: representative}}]`+wide)
	r.source.says(directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "cn=a", directory.AttrUserName, "ann")}})
	report, err := r.sync.Sync(t.Context(), Options{})
	require.NoError(t, err)
	text := r.text(report.Plan)
	for _, line := range []string{
		"+ relationship parent_account", "+ access team template Deal team", "+ position Head of Sales", "+ position Representative",
		"+ column profile Accountants", "+ column profile member Accountants to ann", "+ column profile member Accountants to Deal desk",
	} {
		require.Contains(t, text, line)
	}
	s := stateOf(r, "sales")
	require.Equal(t, access.PositionID("representative"), s.Users["corp:a"].Position, "a position is found by name")
	require.Len(t, s.ProfileMembers, 2)
	again, err := r.sync.Plan(t.Context(), Options{NoRead: true})
	require.NoError(t, err)
	require.True(t, again.Plan.Empty(), r.text(again.Plan))

	r.model = "environments: {sales: {business_units: {HQ: {units: {North: {}}}}, teams: {Deal desk: {}}}}"
	r.restart()
	report, err = r.sync.Sync(t.Context(), Options{})
	require.NoError(t, err)
	text = r.text(report.Plan)
	for _, line := range []string{"- relationship parent_account", "- column profile Accountants", "- column profile member Accountants to ann", "- position Representative", "- access team template Deal team"} {
		require.Contains(t, text, line)
	}
	s = stateOf(r, "sales")
	require.Zero(t, len(s.Relationships)+len(s.Templates)+len(s.Positions)+len(s.Profiles)+len(s.ProfileMembers))
	require.Nil(t, s.Environment.Hierarchy)
}

func TestRule_HIER_9_ACircleInTheSourceHoldsOnlyItsLinks(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+wide)
	person := func(id, manager string) directory.Upsert {
		return user(id, "cn="+id, directory.AttrUserName, id, "ou", "North", directory.AttrManager, manager)
	}
	r.source.says(directory.Full, directory.Page{Upserts: []directory.Upsert{person("ann", "dn:cn=bob"), person("bob", "dn:cn=ann"), person("eve", "dn:cn=ann")}})
	report, err := r.sync.Sync(t.Context(), Options{})
	require.NoError(t, err)
	s := stateOf(r, "sales")
	require.Empty(t, s.Users["corp:ann"].Manager)
	require.Empty(t, s.Users["corp:bob"].Manager)
	require.Equal(t, access.UserID("corp:ann"), s.Users["corp:eve"].Manager)
	require.Contains(t, r.text(report.Plan), "corp:ann reports to corp:bob reports to corp:ann")
}

func TestRule_ESG_3_TheGuardKnowsWhoNeedsNoGroupAndNoLicence(t *testing.T) {
	gated := access.Environment{SecurityGroup: &access.GroupRef{Group: "g"}, RequireLicence: true}
	person := access.User{Enabled: true}
	require.False(t, admits(gated, person))
	require.True(t, admits(gated, access.User{Enabled: true, Licensed: true, Admitted: true}))
	require.True(t, admits(gated, access.User{Enabled: true, Licensed: true, TenantAdministrator: true}))
	require.True(t, admits(gated, access.User{Enabled: true, Kind: access.ApplicationUser}))
	require.True(t, admits(gated, access.User{Enabled: true, Admitted: true, AccessMode: access.Administrative}))
	require.False(t, admits(access.Environment{}, access.User{Enabled: true, Kind: access.StubUser}), "Rule ACC-3")
	require.True(t, admits(access.Environment{RequireLicence: true, PerAppPlan: true}, person), "Rule LIC-1")
}
