package histories

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

const ofCorp = `
environments: {crm: {}}
rules:
  - name: people
    match: {source: corp, users: 'true'}
    user: {environment: crm, business_unit: HQ, person: '{{ user.userName }}'}
  - name: teams
    match: {source: corp, group: '*'}
    team: {environment: crm, business_unit: HQ, roles: [Salesperson]}
`

const ofCloud = `
  - name: people of the cloud
    match: {source: cloud, users: 'true'}
    user: {environment: crm, business_unit: HQ, person: '{{ user.displayName }}'}
  - name: teams of the cloud
    match: {source: cloud, group: '*'}
    team: {environment: crm, business_unit: HQ, roles: [Salesperson]}
`

// One human has an account in OpenLDAP and one in Entra ID. A rule says so; what one
// source takes away, the other's stays.
func TestWhoLeavesOneSourceKeepsWhatAnotherGives(t *testing.T) {
	corp := newSlapd(t, rig.StartSlapd(t, company.Small().WriteLDIF), 1, false)
	cloud := newGraph(t, rand.New(rand.NewPCG(1, 1)))
	for _, name := range []string{"ann", "bob", "eve"} {
		corp.person(name)
	}
	corp.group("sales", "ann")
	corp.join("sales", "bob")
	corp.join("sales", "eve")
	cloud.person("ann")
	cloud.group("crew", "ann")
	reader, _ := cloud.reader()

	o := open(t, t.TempDir(), ofCorp+wide, corp.make(corp.url))
	defer o.close()
	o.rules, o.others = ofCorp+ofCloud+wide, []dirsync.Source{{ID: "cloud", Reader: reader}}
	o.start()
	require.NoError(t, o.read())
	require.Equal(t, []string{`ann of cloud by ""`, `ann of corp by ""`, `bob of corp by ""`, `eve of corp by ""`}, o.members())
	require.NoError(t, o.tenant.Read(func(v tenant.View) error {
		s, err := v.State("crm")
		accounts := map[string]int{}
		for _, u := range s.Users {
			accounts[u.Person]++
		}
		require.Equal(t, map[string]int{"ann": 2, "bob": 1, "eve": 1}, accounts)
		return err
	}))

	corp.remove("ann")
	require.NoError(t, o.read())
	require.Equal(t, []string{`ann of cloud by ""`, `bob of corp by ""`, `eve of corp by ""`}, o.members())

	// A login that both claim holds up its second claimant and nobody else.
	cloud.person("bob")
	cloud.graph.SetAttribute("bob", "userPrincipalName", "bob")
	cloud.person("dan")
	cloud.join("crew", "bob")
	cloud.join("crew", "dan")
	report, err := o.sync.Sync(t.Context(), dirsync.Options{})
	require.NoError(t, err)
	require.Equal(t, []string{`ann of cloud by ""`, `bob of corp by ""`, `dan of cloud by ""`, `eve of corp by ""`}, o.members())
	taken := ""
	for _, f := range report.Plan.Findings {
		taken += f.Text + "\n"
	}
	require.Contains(t, taken, `the login "bob" is taken`)

	corp.remove("bob")
	require.NoError(t, o.read())
	require.Equal(t, []string{`ann of cloud by ""`, `bob of cloud by ""`, `dan of cloud by ""`, `eve of corp by ""`}, o.members())
}
