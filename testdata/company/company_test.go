package company

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSmallCompanyIsAsTheTourTells(t *testing.T) {
	c := Small()
	require.Len(t, c.People, 300)
	require.Len(t, c.Groups, 60)
	require.Len(t, Units(), 6)
	require.Greater(t, len(c.Group(AllStaff).Members), 100)
	require.NotEmpty(t, c.Group("sales-europe").Groups, "a nested group")
	planning := c.Group(Planning)
	require.True(t, planning.M365)
	require.NotEmpty(t, planning.Owners)
	guests, disabled := 0, map[Home]int{}
	for _, p := range c.People {
		if p.Guest {
			guests++
		}
		if !p.Enabled {
			disabled[p.Home]++
		}
	}
	require.Positive(t, guests)
	require.Positive(t, disabled[LDAP])
	require.Positive(t, disabled[Entra])
	require.Equal(t, []string{c.Person(Approver).ID}, c.Group(SalesFrance).Owners)
	require.Equal(t, c.Person(Approver).ID, c.Person(Employee).Manager)
	require.Contains(t, c.Group(SalesFrance).Members, c.Person(Leaver).ID)
	seen := map[string]bool{}
	for _, p := range c.People {
		require.False(t, seen[p.Mail], p.Mail)
		seen[p.Mail] = true
	}
}

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	require.NoError(t, Small().WriteLDIF(&a))
	require.NoError(t, Small().WriteLDIF(&b))
	require.Equal(t, a.String(), b.String())
}

func TestTheLargeCompanyHas55000EntriesAnd200000Memberships(t *testing.T) {
	c := Large(50_000)
	members := 0
	for _, g := range c.Groups {
		members += len(g.Members)
	}
	require.Equal(t, 55_000, len(c.People)+len(c.Groups))
	require.Equal(t, 200_000, members)
}
