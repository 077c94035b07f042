package engine_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

func TestReachedAreAllForWhomSomethingChanges(t *testing.T) {
	found, reached, users := 0, 0, 0
	for seed := range uint64(400) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		before, err := engine.New(st, 1)
		require.NoError(t, err)
		changes, at := enginetest.Changes(p, st), enginetest.Instant(p)
		after, err := before.Apply(changes, 2)
		require.NoError(t, err)
		everybody := maps.Clone(st.Users)
		for _, c := range changes {
			if u, ok := c.Object.(access.User); ok {
				everybody[u.ID] = u
			}
		}
		all := slices.Sorted(maps.Keys(everybody))
		want, err := engine.Compare(before, after, all, at)
		if errors.Is(err, engine.ErrLocked) {
			continue
		}
		require.NoError(t, err)
		some := before.Reached(changes)
		require.True(t, slices.IsSorted(some))
		got, err := engine.Compare(before, after, some, at)
		require.NoError(t, err)
		require.Equal(t, want, got, "%v", changes)
		found, reached, users = found+len(got), reached+len(some), users+len(all)
	}
	t.Logf("%d differences, %d users reached, of %d", found, reached, users)
	require.Greater(t, found, 100)
	require.Less(t, reached, users)
}

func TestCompareTellsWhatARoleWouldGive(t *testing.T) {
	s := records(t, append(reads(access.Local),
		access.Assignment{Environment: "e", ID: "b", Role: "reader", Principal: access.TeamID("crew").Principal(), BusinessUnit: "south"},
		access.Membership{Environment: "e", Team: "crew", User: "bert"},
		access.User{Environment: "e", ID: "carl", Login: "carl", BusinessUnit: "south", Enabled: true})...)
	role := access.Role{Environment: "e", ID: "reader", BusinessUnit: "root", Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Global}}}
	changes := []access.Change{access.Put(role)}
	after, err := s.Apply(changes, 8)
	require.NoError(t, err)
	require.Equal(t, []access.UserID{"anna", "bert"}, s.Reached(changes), "those who hold it")
	diffs, err := engine.Compare(s, after, s.Reached(changes), noon)
	require.NoError(t, err)
	require.Len(t, diffs, 2)
	require.Equal(t, []engine.Access{{Table: "account", Action: access.Read, Depth: access.Global}}, diffs[1].Gained)
}

func TestCompareWithNoEnvironmentIsAllThatOneGets(t *testing.T) {
	st := access.NewState("e")
	changes := []access.Change{
		access.Put(access.Environment{ID: "e"}), access.Put(access.BusinessUnit{Environment: "e", ID: "root"}), access.Put(access.Table{Environment: "e", ID: "account"}),
		access.Put(access.Role{Environment: "e", ID: "r", BusinessUnit: "root", Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Global}}}),
		access.Put(access.User{Environment: "e", ID: "anna", BusinessUnit: "root", Enabled: true}),
		access.Put(access.Assignment{Environment: "e", ID: "a", Role: "r", Principal: access.UserID("anna").Principal(), BusinessUnit: "root"}),
	}
	st.Apply(changes...)
	after, err := engine.New(st, 1)
	require.NoError(t, err)
	var before *engine.Snapshot
	require.Equal(t, []access.UserID{"anna"}, before.Reached(changes))
	diffs, err := engine.Compare(before, after, before.Reached(changes), noon)
	require.NoError(t, err)
	require.Len(t, diffs, 1)
	require.Empty(t, diffs[0].Lost)
	diffs, err = engine.Compare(after, before, []access.UserID{"anna", "nobody"}, noon)
	require.NoError(t, err)
	require.Len(t, diffs, 1)
	require.Empty(t, diffs[0].Gained)
}

func TestUnjudgedNamesWhatRolesDoNotGive(t *testing.T) {
	team := access.TeamID("crew")
	plain := records(t, reads(access.Local)...)
	shared := records(t, append(reads(access.Local), access.Share{Environment: "e", Table: "account", Record: "1", Principal: team.Principal(), Rights: access.RightsOf(access.Read)})...)
	profiled := records(t, access.Profile{Environment: "e", ID: "f"}, access.ProfileMember{Environment: "e", Profile: "f", Principal: team.Principal()})
	managed := records(t, access.Environment{ID: "e", Hierarchy: &access.Hierarchy{Depth: 1}})
	joins := access.Membership{Environment: "e", Team: team, User: "bert"}
	bert := access.User{Environment: "e", ID: "bert", Login: "bert", BusinessUnit: "south", Enabled: true, Manager: "anna"}
	for name, c := range map[string]struct {
		s      *engine.Snapshot
		change access.Object
		want   []engine.Matter
	}{
		"a role":                                {plain, access.Role{Environment: "e", ID: "reader", BusinessUnit: "root"}, nil},
		"a role held":                           {managed, access.Assignment{Environment: "e", ID: "x", Role: "reader", Principal: team.Principal(), BusinessUnit: "south"}, nil},
		"a team with nothing besides its roles": {plain, joins, nil},
		"a team with a share":                   {shared, joins, []engine.Matter{engine.OfRecords}},
		"a team with a profile":                 {profiled, joins, []engine.Matter{engine.OfColumns}},
		"a team of somebody's report":           {managed, joins, []engine.Matter{engine.OfHierarchy}},
		"a record":                              {plain, access.Record{Environment: "e", Table: "account", ID: "1", Owner: team.Principal()}, []engine.Matter{engine.OfRecords}},
		"a share of a column":                   {plain, access.ColumnShare{Environment: "e", Table: "account", Record: "1", Column: "iban"}, []engine.Matter{engine.OfColumns}},
		"a column secured":                      {plain, access.Table{Environment: "e", ID: "account", Columns: []access.Column{{Name: "iban", Secured: true}}}, []engine.Matter{engine.OfColumns}},
		"a manager who means nothing":           {plain, bert, nil},
		"a manager":                             {managed, bert, []engine.Matter{engine.OfHierarchy}},
		"the hierarchy itself":                  {managed, access.Environment{ID: "e"}, []engine.Matter{engine.OfHierarchy}},
		"a user who moves":                      {plain, access.User{Environment: "e", ID: "bert", Login: "bert", BusinessUnit: "north", Enabled: true}, []engine.Matter{engine.OfRecords}},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []access.Change{access.Put(c.change)}
			after, err := c.s.Apply(changes, 8)
			require.NoError(t, err)
			require.Equal(t, c.want, engine.Unjudged(c.s, after, changes))
		})
	}
}
