package engine_test

import (
	"errors"
	"fmt"
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
	managed := records(t, access.Environment{ID: "e", Hierarchy: &access.Hierarchy{Depth: 1}})
	led := records(t, access.Environment{ID: "e", Hierarchy: &access.Hierarchy{Depth: 1}},
		access.User{Environment: "e", ID: "anna", BusinessUnit: "root", Enabled: true},
		access.User{Environment: "e", ID: "bert", BusinessUnit: "south", Enabled: true, Manager: "anna"})
	joins := access.Membership{Environment: "e", Team: team, User: "bert"}
	bert := access.User{Environment: "e", ID: "bert", Login: "bert", BusinessUnit: "south", Enabled: true, Manager: "anna"}
	moved := access.User{Environment: "e", ID: "bert", Login: "bert", BusinessUnit: "oslo", Enabled: true, Manager: "anna"}
	for name, c := range map[string]struct {
		s      *engine.Snapshot
		change access.Object
		want   []engine.Matter
	}{
		"a role":                                {plain, access.Role{Environment: "e", ID: "reader", BusinessUnit: "root"}, nil},
		"a role held":                           {managed, access.Assignment{Environment: "e", ID: "x", Role: "reader", Principal: team.Principal(), BusinessUnit: "south"}, nil},
		"a team with nothing besides its roles": {plain, joins, nil},
		"a team of nobody's report":             {managed, joins, nil},
		"a team of somebody's report":           {led, joins, []engine.Matter{engine.OfHierarchy}},
		"a manager who means nothing":           {plain, bert, nil},
		"a manager, whom CompareReports tells":  {managed, bert, nil},
		"another unit of somebody's report":     {led, moved, []engine.Matter{engine.OfHierarchy}},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []access.Change{access.Put(c.change)}
			after, err := c.s.Apply(changes, 8)
			require.NoError(t, err)
			require.Equal(t, c.want, engine.Unjudged(c.s, after, changes))
		})
	}
}

// Whatever changes on a registered record for whomever, some part of the answer
// tells of it.
func TestNoChangeOfAccessToARegisteredRecordGoesUntold(t *testing.T) {
	byRecord, byRole, byReport, byHierarchy := 0, 0, 0, 0
	for seed := range uint64(1500) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		before, err := engine.New(st, 1)
		require.NoError(t, err)
		changes, at := enginetest.Changes(p, st), enginetest.Instant(p)
		after, err := before.Apply(changes, 2)
		require.NoError(t, err)
		next := enginetest.Clone(st)
		next.Apply(changes...)
		diffs, err := engine.CompareRecords(before, after, changes, at, 1000)
		if st.Environment.Locked || next.Environment.Locked {
			require.ErrorIs(t, err, engine.ErrLocked)
			continue
		}
		require.NoError(t, err)
		require.True(t, diffs.Complete)
		require.Zero(t, diffs.Unlisted)
		roles, err := engine.Compare(before, after, before.Reached(changes), at)
		require.NoError(t, err)
		reports, err := engine.CompareReports(before, after, changes, 1000)
		require.NoError(t, err)
		require.True(t, reports.Complete)
		hierarchy := slices.Contains(engine.Unjudged(before, after, changes), engine.OfHierarchy)
		for key, record := range next.Records {
			was := st.Records[key]
			if was.ID == "" {
				continue
			}
			// Expand has a record along with an owner who moves (Rule OWN-13).
			if unit := (enginetest.Reference{State: st}).UnitOf(was.Owner); unit != (enginetest.Reference{State: next}).UnitOf(record.Owner) {
				changed := func(c access.Change) bool {
					o, ok := c.Object.(access.Record)
					return ok && o.ObjectKey() == record.ObjectKey()
				}
				if !slices.ContainsFunc(changes, changed) {
					continue
				}
			}
			for u := range next.Users {
				for action := access.Read; action < access.Actions; action++ {
					q := engine.Question{User: u, Action: action, Table: key.Table, Record: &engine.Record{ID: key.Record, Registered: true}, At: at, Channel: engine.API}
					d0, err0 := before.Check(q)
					d1, err1 := after.Check(q)
					told := func(d engine.RecordDiff) bool {
						return d.Table == key.Table && d.Record == key.Record && d.User == u && !d.SharesOnly && (d.Gained.Has(action) || d.Lost.Has(action))
					}
					if err0 != nil || err1 != nil {
						continue
					}
					if d0.Allowed == d1.Allowed {
						require.False(t, slices.ContainsFunc(diffs.List, told), "seed %d: %v told, nothing happens", seed, q)
						continue
					}
					ofRole := func(d engine.Diff) bool {
						list := d.Gained
						if d0.Allowed {
							list = d.Lost
						}
						return d.User == u && slices.ContainsFunc(list, func(a engine.Access) bool { return a.Table == key.Table && a.Action == action })
					}
					ofReport := func(d engine.ReportDiff) bool {
						return d.User == u && (d0.Allowed && d.Lost.Has(action) || d1.Allowed && d.Gained.Has(action))
					}
					ofTable := reports.LeftOut
					if d1.Allowed {
						ofTable = reports.TakenIn
					}
					switch {
					case slices.ContainsFunc(diffs.List, told):
						byRecord++
					case slices.ContainsFunc(reports.List, ofReport) || slices.Contains(ofTable, key.Table):
						byReport++
					case slices.ContainsFunc(roles, ofRole):
						byRole++
					case hierarchy:
						byHierarchy++
					default:
						require.Fail(t, "untold", "seed %d: %+v of %v: %v, then %v by\n%v\n%s", seed, q, record, d0, d1, changes, show(st, q))
					}
				}
			}
		}
	}
	t.Logf("told by record %d, by role %d, by report %d, by hierarchy %d", byRecord, byRole, byReport, byHierarchy)
	require.Greater(t, byRecord, 40)
	require.Greater(t, byRole, 200)
	require.Greater(t, byReport, 10)
}

func TestCompareRecordsTellsWhatSharesAndOwnersGive(t *testing.T) {
	bert, anna, crew := access.UserID("bert"), access.UserID("anna"), access.TeamID("crew")
	read, write := access.RightsOf(access.Read), access.RightsOf(access.Write)
	one := access.Record{Environment: "e", Table: "account", ID: "1", Owner: bert.Principal(), BusinessUnit: "south"}
	share := func(record access.RecordID, p access.Principal, rights access.Rights) access.Share {
		return access.Share{Environment: "e", Table: "account", Record: record, Principal: p, Rights: rights}
	}
	s := records(t, append(reads(access.Basic), one, share("2", crew.Principal(), read|write),
		access.Assignment{Environment: "e", ID: "b", Role: "reader", Principal: bert.Principal(), BusinessUnit: "south"})...)
	diffs := func(limit int, changes ...access.Change) engine.RecordDiffs {
		after, err := s.Apply(changes, 8)
		require.NoError(t, err)
		d, err := engine.CompareRecords(s, after, changes, noon, limit)
		require.NoError(t, err)
		require.True(t, d.Complete)
		return d
	}
	moved := one
	moved.Owner, moved.BusinessUnit = anna.Principal(), "oslo"
	for name, c := range map[string]struct {
		change access.Change
		want   []engine.RecordDiff
	}{
		"a share": {access.Put(share("1", anna.Principal(), read)), []engine.RecordDiff{{Table: "account", Record: "1", User: "anna", Gained: read}}},
		"a share of what one may not at all (SHARE-5)": {access.Put(share("1", anna.Principal(), write)), []engine.RecordDiff{}},
		"a share of one's own":                         {access.Put(share("1", bert.Principal(), read)), []engine.RecordDiff{}},
		"a share with everybody":                       {access.Put(share("1", access.Principal{Kind: access.Everybody}, read)), []engine.RecordDiff{{Table: "account", Record: "1", User: "anna", Gained: read}}},
		"a share of a record that is not registered":   {access.Put(share("3", anna.Principal(), read)), []engine.RecordDiff{{Table: "account", Record: "3", User: "anna", Gained: read, SharesOnly: true}}},
		"who joins a team":                             {access.Put(access.Membership{Environment: "e", Team: crew, User: bert}), []engine.RecordDiff{{Table: "account", Record: "2", User: "bert", Gained: read, SharesOnly: true}}},
		"another owner":                                {access.Put(moved), []engine.RecordDiff{{Table: "account", Record: "1", User: "anna", Gained: read}, {Table: "account", Record: "1", User: "bert", Lost: read}}},
		"a role":                                       {access.Remove(access.Assignment{Environment: "e", ID: "b"}), []engine.RecordDiff{}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, engine.RecordDiffs{List: c.want, Complete: true}, diffs(10, c.change))
		})
	}
	d := diffs(1, access.Put(moved))
	require.Len(t, d.List, 1)
	require.Equal(t, 1, d.Unlisted)
}

func TestCompareRecordsSaysWhenItIsCut(t *testing.T) {
	st := access.NewState("e")
	st.Apply(access.Put(access.Environment{ID: "e"}), access.Put(access.BusinessUnit{Environment: "e", ID: "root"}), access.Put(access.Table{Environment: "e", ID: "account"}),
		access.Put(access.Role{Environment: "e", ID: "r", BusinessUnit: "root", Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Basic}}}),
		access.Put(access.Assignment{Environment: "e", ID: "a", Role: "r", Principal: access.BusinessUnitID("root").DefaultTeam().Principal(), BusinessUnit: "root"}))
	for i := range 20_001 {
		st.Apply(access.Put(access.User{Environment: "e", ID: access.UserID(fmt.Sprint("u", i)), BusinessUnit: "root", Enabled: true}))
	}
	before, err := engine.New(st, 1)
	require.NoError(t, err)
	changes := []access.Change{access.Put(access.Share{Environment: "e", Table: "account", Record: "1", Principal: access.Principal{Kind: access.Everybody}, Rights: access.RightsOf(access.Read)})}
	after, err := before.Apply(changes, 2)
	require.NoError(t, err)
	d, err := engine.CompareRecords(before, after, changes, noon, 10)
	require.NoError(t, err)
	require.False(t, d.Complete)
	require.Len(t, d.List, 10)
	require.Equal(t, 19_990, d.Unlisted)
}
