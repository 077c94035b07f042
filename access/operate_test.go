package access_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

// do expands and applies what an operation gives.
func do(t *testing.T, s *access.State, changes []access.Change, err error) {
	t.Helper()
	require.NoError(t, err)
	expanded(t, s, changes...)
}

func breaks(t *testing.T, rule string, changes []access.Change, err error) {
	t.Helper()
	var inv *access.Invalid
	require.ErrorAs(t, err, &inv)
	require.Equal(t, rule, inv.Rule)
	require.Nil(t, changes)
}

func key(id string) access.RecordKey {
	return access.RecordKey{Table: "account", Record: access.RecordID(id)}
}

func TestRule_SHARE_1_AGrantUnitesAndAModificationSets(t *testing.T) {
	bob := userOf("bob")
	s := company(family(everything)...)
	give := func(rights ...access.Action) access.Share {
		return with(share("11", bob), func(s *access.Share) { s.Rights = access.RightsOf(rights...) })
	}
	changes, err := s.Grant(give(access.Read))
	do(t, s, changes, err)
	changes, err = s.Grant(give(access.Write))
	do(t, s, changes, err)
	require.Equal(t, "read,write", shareOf(s, "11", bob).Rights.String())
	changes, err = s.Modify(give(access.Delete))
	do(t, s, changes, err)
	require.Equal(t, "delete", shareOf(s, "11", bob).Rights.String())
	timed := give(access.Read)
	timed.Window.End = time.Unix(1e9, 0).UTC()
	changes, err = s.Grant(timed)
	breaks(t, "SHARE-10", changes, err)
	changes, err = s.Modify(give())
	do(t, s, changes, err)
	require.Empty(t, shareOf(s, "11", bob), "nothing is left")
	changes, err = s.Revoke(access.ShareKey{RecordKey: key("11"), Principal: bob})
	breaks(t, "SHARE-8", changes, err)
}

func TestRule_SHARE_7_RevokingLeavesWhatIsInherited(t *testing.T) {
	bob := userOf("bob")
	s := company(family(everything)...)
	changes, err := s.Grant(share("10", bob))
	do(t, s, changes, err)
	changes, err = s.Grant(with(share("11", bob), func(s *access.Share) { s.Rights = access.RightsOf(access.Write) }))
	do(t, s, changes, err)
	require.Equal(t, "read", shareOf(s, "11", bob).Inherited.String(), "a grant keeps what is inherited")
	changes, err = s.Revoke(access.ShareKey{RecordKey: key("11"), Principal: bob})
	do(t, s, changes, err)
	require.Zero(t, shareOf(s, "11", bob).Rights)
	require.Equal(t, "read", shareOf(s, "11", bob).Inherited.String())
	require.Equal(t, "read", shareOf(s, "12", bob).Inherited.String(), "and no more goes down")
	changes, err = s.Revoke(access.ShareKey{RecordKey: key("10"), Principal: bob})
	do(t, s, changes, err)
	require.Empty(t, shareOf(s, "11", bob))
}

func TestRule_OWN_11_AssignRecordLeavesTheUnitToTheRules(t *testing.T) {
	s := company(modernized())
	changes, err := s.AssignRecord(key("1"), userOf("bob"))
	do(t, s, changes, err)
	require.Equal(t, access.BusinessUnitID("emea"), recordOf(s, "1").BusinessUnit)
	changes, err = s.SetRecordUnit(key("1"), "ops")
	do(t, s, changes, err)
	require.Equal(t, access.BusinessUnitID("ops"), recordOf(s, "1").BusinessUnit)
	keeping := company(modernized(func(e *access.Environment) { e.KeepRecordUnit = true }))
	changes, err = keeping.AssignRecord(key("1"), userOf("bob"))
	do(t, keeping, changes, err)
	require.Equal(t, access.BusinessUnitID("sales"), recordOf(keeping, "1").BusinessUnit)
	changes, err = s.AssignRecord(key("77"), userOf("bob"))
	breaks(t, "", changes, err)
}

func TestRule_REL_1_LookupsAreSetAndCleared(t *testing.T) {
	s := company(family(everything, access.Put(relationship("side", "account", access.Cascades{})))...)
	changes, err := s.LinkRecord(key("1"), "up", "10")
	do(t, s, changes, err)
	changes, err = s.LinkRecord(key("1"), "side", "2")
	do(t, s, changes, err)
	changes, err = s.LinkRecord(key("1"), "up", "11")
	do(t, s, changes, err)
	require.Equal(t, []access.Link{{Relationship: "side", Record: "2"}, {Relationship: "up", Record: "11"}}, recordOf(s, "1").Links)
	changes, err = s.UnlinkRecord(key("1"), "up")
	do(t, s, changes, err)
	changes, err = s.UnlinkRecord(key("1"), "side")
	do(t, s, changes, err)
	require.Empty(t, recordOf(s, "1").Links)
}

func TestRule_TEAM_6_TheFirstUserMakesTheTeamAndTheLastEndsIt(t *testing.T) {
	s := company(access.Put(secured("account")), access.Put(template("tp1")))
	before := clone(s)
	for _, u := range []access.UserID{"ann", "bob"} {
		changes, err := s.AddToTemplate("tp1", "1", u, access.ByAPI)
		do(t, s, changes, err)
	}
	team, ok := s.TemplateTeam("tp1", "1")
	require.True(t, ok)
	require.Equal(t, "read,write", shareOf(s, "1", team.ID.Principal()).Rights.String())
	_, ok = s.TemplateTeam("tp1", "2")
	require.False(t, ok)
	for _, u := range []access.UserID{"ann", "bob"} {
		changes, err := s.RemoveFromTemplate("tp1", "1", u)
		do(t, s, changes, err)
	}
	require.Equal(t, before, s, "as if it had never been")
	changes, err := s.RemoveFromTemplate("tp1", "1", "ann")
	breaks(t, "TEAM-6", changes, err)
	changes, err = s.AddToTemplate("x", "1", "ann", access.ByAPI)
	breaks(t, "TEAM-6", changes, err)
}

func TestRule_ROLE_12_ACopyHasItsOwnLife(t *testing.T) {
	s := company()
	changes, err := s.CopyRole("seller", "mine", "My role", access.ByAPI)
	do(t, s, changes, err)
	require.Equal(t, s.Roles["seller"].Privileges, s.Roles["mine"].Privileges)
	expanded(t, s, access.Put(role("seller", "root")))
	require.NotEmpty(t, s.Roles["mine"].Privileges)
	changes, err = s.CopyRole("admin", "x", "X", access.ByAPI)
	breaks(t, "ROLE-12", changes, err)
	changes, err = s.CopyRole("none", "x", "X", access.ByAPI)
	breaks(t, "ROLE-12", changes, err)
	changes, err = s.CopyRole("seller", "mine", "X", access.ByAPI)
	breaks(t, "ROLE-12", changes, err)
}
