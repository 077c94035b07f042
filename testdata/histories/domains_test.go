package histories

import (
	"fmt"
	"slices"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/rig"
)

const teamsOfCorp = `
environments: {crm: {}}
rules:
  - name: people
    match: {source: corp, users: 'true'}
    user: {environment: crm, business_unit: HQ}
  - name: teams
    match: {source: corp, group: sales}
    team: {environment: crm, business_unit: HQ, nested: true, roles: [Salesperson]}
`

const peopleOfEast = `
  - name: people of the other domain
    match: {source: east, users: 'true'}
    user: {environment: crm, business_unit: HQ}
`

// bySID names an object for another domain's controller.
func (l *ldapServer) bySID(dn string) string {
	found, err := l.conn().Search(goldap.NewSearchRequest(dn, goldap.ScopeBaseObject, goldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"objectSid"}, nil))
	require.NoError(l.t, err)
	return fmt.Sprintf("<SID=%x>", found.Entries[0].GetRawAttributeValue("objectSid"))
}

// members are the team's, with the way by which they come.
func (o *office) members() []string {
	var lines []string
	require.NoError(o.t, o.tenant.Read(func(v tenant.View) error {
		s, err := v.State("crm")
		for _, m := range s.Memberships {
			lines = append(lines, fmt.Sprintf("%s of %s by %q", s.Users[m.User].Name, s.Users[m.User].Origin.Source, m.Origin.Path))
		}
		return err
	}))
	slices.Sort(lines)
	return lines
}

func TestRule_AD_19_two_domains_of_Active_Directory(t *testing.T) {
	other := rig.StartEastSamba(t)
	for seed, way := range []string{"DirSync", "uSNChanged"} {
		t.Run(way, func(t *testing.T) {
			corp, east := newSamba(t, rig.StartSamba(t), uint64(seed)), newSamba(t, other, uint64(seed))
			corp.person("ann")
			corp.group("sales", "ann")
			for _, name := range []string{"bob", "eve", "dan"} {
				east.person(name)
			}
			east.group("crew", "bob")
			member := func(who string, add bool) {
				request := goldap.NewModifyRequest(corp.groupDN("sales"), nil)
				if add {
					request.Add("member", []string{who})
				} else {
					request.Delete("member", []string{who})
				}
				require.NoError(t, corp.conn().Modify(request))
			}
			eve := east.bySID(east.dn("eve"))
			member(eve, true)
			member(east.bySID(east.groupDN("crew")), true)

			o := open(t, t.TempDir(), teamsOfCorp+wide, corp.make(corp.url))
			defer o.close()
			report, err := o.sync.Sync(t.Context(), dirsync.Options{})
			require.NoError(t, err)
			require.Equal(t, []string{`ann of corp by ""`}, o.members())
			found := ""
			for _, f := range report.Plan.Findings {
				found += f.Text + "\n"
			}
			require.Regexp(t, `members of the group whom it names by SID and no source has are pending: 2 \(S-1-5-21-[-\d]+, S-1-5-21-[-\d]+\)`, found)

			o.rules, o.others = teamsOfCorp+peopleOfEast+wide, []dirsync.Source{{ID: "east", Reader: east.make(east.url)}}
			o.start()
			has := func(want ...string) {
				t.Helper()
				require.NoError(t, o.read())
				lines := o.members()
				require.Len(t, lines, len(want))
				for i := range want {
					require.Regexp(t, "^"+want[i]+"$", lines[i])
				}
			}
			const ann, bob, dan, eves = `ann of corp by ""`, `bob of east by "crew \(east\)"`, `dan of east by "crew \(east\)"`, `eve of east by "S-1-5-21-[-\d]+"`
			has(ann, bob, eves)
			east.join("crew", "dan")
			has(ann, bob, dan, eves)
			east.leave("crew", "bob")
			has(ann, dan, eves)
			member(eve, false)
			has(ann, dan)
			member(eve, true)
			has(ann, dan, eves)
			was := o.members()
			other.Restart(t, func() {
				require.ErrorIs(t, o.read(), directory.ErrUnreachable)
				require.Equal(t, was, o.members(), "the other domain cannot be reached")
			})
			east.remove("eve")
			has(ann, dan)
		})
	}
}
