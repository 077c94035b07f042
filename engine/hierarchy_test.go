package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// managers is a world with a line of managers: ceo (root), head (north), lead and
// clerk (oslo), each of whom holds all actions on accounts for their own records.
func managers(t testing.TB) world {
	w := newWorld(t)
	w.Environment.Hierarchy = &access.Hierarchy{Depth: 3}
	w.role("own", "account", access.Basic, access.Read, access.Write, access.Append, access.AppendTo, access.Delete, access.Assign, access.ShareRecord, access.Create)
	w.user("ceo", "root")
	w.user("head", "north", manager("ceo"))
	w.user("lead", "oslo", manager("head"))
	w.user("clerk", "oslo", manager("lead"))
	for _, u := range []access.UserID{"ceo", "head", "lead", "clerk"} {
		w.assign(user(u), "own", w.Users[u].BusinessUnit)
	}
	return w
}

func TestRule_HIER_3_LevelsPassUpWhatTheyDo(t *testing.T) {
	w := managers(t)
	for a := access.Read; a < access.Actions; a++ {
		direct := a == access.Read || a == access.Write || a == access.Append || a == access.AppendTo
		require.Equal(t, direct, w.allows(on("lead", a, "", user("clerk"))), "%v", a)
		require.Equal(t, a == access.Read, w.allows(on("head", a, "", user("clerk"))), "%v", a)
		require.Equal(t, a == access.Read, w.allows(on("ceo", a, "", user("clerk"))), "%v", a)
		require.False(t, w.allows(on("clerk", a, "", user("lead"))), "%v", a)
	}
	w.Environment.Hierarchy = &access.Hierarchy{Depth: 2, DirectLevels: 2}
	require.True(t, w.allows(on("head", access.Write, "", user("clerk"))))
	require.False(t, w.allows(on("ceo", access.Read, "", user("clerk"))))
	create := on("lead", access.Create, "", user("clerk"))
	require.False(t, w.allows(create))
}

func TestRule_HIER_1_OffAndExcept(t *testing.T) {
	w := managers(t)
	q := on("lead", access.Read, "", user("clerk"))
	w.Environment.Hierarchy.Except = []access.TableID{"account"}
	require.False(t, w.allows(q))
	w.Environment.Hierarchy = nil
	require.False(t, w.allows(q))
}

func TestRule_HIER_2_ThePrivilegeIsTheManagersOwn(t *testing.T) {
	w := managers(t)
	w.user("chair", "root")
	w.user("ceo", "root", manager("chair"))
	w.misc("any", "Print")
	w.assign(user("chair"), "any", "root")
	require.Equal(t, engine.NoPrivilege, w.reason(on("chair", access.Read, "", user("ceo"))))
	// Of the report none is asked for.
	w.user("trainee", "oslo", manager("clerk"))
	require.True(t, w.allows(on("clerk", access.Read, "", user("trainee"))))
}

func TestRule_HIER_2_TeamsAndSharesOfReports(t *testing.T) {
	w := managers(t)
	w.user("else", "south")
	w.team("sales", "south", access.OwnerTeam, "clerk")
	w.team("watch", "south", access.AccessTeam, "clerk")
	require.True(t, w.allows(on("lead", access.Write, "", team("sales"))))
	require.True(t, w.allows(on("ceo", access.Read, "", team(access.BusinessUnitID("oslo").DefaultTeam()))))
	require.False(t, w.allows(on("ceo", access.Write, "", team(access.BusinessUnitID("oslo").DefaultTeam()))))
	foreign := func(u access.UserID, a access.Action) engine.Question { return on(u, a, "x", user("else")) }
	require.False(t, w.allows(foreign("lead", access.Read)))
	w.share("x", user("clerk"), access.RightsOf(access.Read), until)
	d, err := w.snapshot().Check(foreign("lead", access.Read))
	require.NoError(t, err)
	require.True(t, d.Allowed)
	require.Equal(t, until.End, d.ValidUntil)
	require.False(t, w.allows(foreign("lead", access.Write)), "Rule HIER-4")
	w.share("x", team("watch"), access.RightsOf(access.Read, access.Write))
	require.True(t, w.allows(foreign("lead", access.Write)), "a team of any type")
	require.False(t, w.allows(foreign("head", access.Write)))
	require.True(t, w.allows(foreign("head", access.Read)))
}

func TestRule_HIER_5_TheManagersUnitIsTheSameOrAbove(t *testing.T) {
	w := managers(t)
	w.user("lead", "south", manager("head"))
	w.assign(user("lead"), "own", "south")
	require.False(t, w.allows(on("lead", access.Read, "", user("clerk"))))
	require.True(t, w.allows(on("head", access.Read, "", user("clerk"))), "the test is between the two, not each link")
	w.Environment.Hierarchy.ManagersAnywhere = true
	require.False(t, w.allows(on("lead", access.Read, "", user("clerk"))), "with modernized units only")
	w.Environment.Modernized = true
	q := on("lead", access.Read, "", user("clerk"))
	q.Record.BusinessUnit = "oslo"
	require.True(t, w.allows(q))
}

func TestRule_HIER_6_WhatARoleReachesIsNotPassedUp(t *testing.T) {
	w := managers(t)
	w.role("wide", "account", access.Global, access.Read)
	w.assign(user("clerk"), "wide", "oslo")
	w.user("else", "south")
	require.True(t, w.allows(on("clerk", access.Read, "", user("else"))))
	require.False(t, w.allows(on("lead", access.Read, "", user("else"))))
}

func TestRule_HIER_7_Positions(t *testing.T) {
	w := newWorld(t)
	w.Environment.Hierarchy = &access.Hierarchy{Model: access.PositionHierarchy, Depth: 2}
	w.put(
		access.Position{Environment: "e", ID: "chief"}, access.Position{Environment: "e", ID: "middle", Parent: "chief"},
		access.Position{Environment: "e", ID: "hand", Parent: "middle"}, access.Position{Environment: "e", ID: "lost", Parent: "gone"},
	)
	w.role("own", "account", access.Basic, access.Read, access.Write)
	for u, p := range map[access.UserID]access.PositionID{"c": "chief", "m1": "middle", "m2": "middle", "h": "hand", "l": "lost", "g": "gone"} {
		w.user(u, "south", at(p), manager("m1"))
		w.assign(user(u), "own", "south")
	}
	w.user("c", "oslo", at("chief"))
	w.team("owners", "root", access.OwnerTeam, "h", "l")
	require.True(t, w.allows(on("c", access.Read, "", user("h"))), "units do not matter")
	require.False(t, w.allows(on("c", access.Write, "", user("h"))))
	require.True(t, w.allows(on("m2", access.Write, "", user("h"))), "several users share a position")
	require.False(t, w.allows(on("m1", access.Read, "", user("m2"))))
	require.False(t, w.allows(on("g", access.Read, "", user("l"))), "no such position")
	require.True(t, w.allows(on("m1", access.Write, "", team("owners"))))
	require.True(t, w.allows(on("c", access.Read, "", team("owners"))))
	w.put(access.Position{Environment: "e", ID: "chief", Parent: "hand"}) // a circle
	require.True(t, w.allows(on("c", access.Read, "", user("h"))))
	require.False(t, w.allows(on("m1", access.Read, "", user("m2"))))
	require.True(t, w.allows(on("h", access.Write, "", user("c"))))
	require.True(t, w.allows(on("c", access.Read, "", team("owners"))))
}

func TestRule_HIER_8_DisabledReports(t *testing.T) {
	w := managers(t)
	off := func(u *access.User) { u.Enabled = false }
	w.user("lead", "oslo", off)
	require.True(t, w.allows(on("head", access.Write, "", user("lead"))))
	require.True(t, w.allows(on("head", access.Read, "", user("clerk"))), "a disabled manager is still a link")
	require.Equal(t, engine.UserDisabled, w.reason(on("lead", access.Read, "", user("clerk"))))
	w.Environment.Hierarchy.ExcludeDisabledReports = true
	require.False(t, w.allows(on("head", access.Write, "", user("lead"))))
	require.True(t, w.allows(on("head", access.Read, "", user("clerk"))))
}

func TestRule_HIER_9_CirclesAndGapsEndTheWalk(t *testing.T) {
	w := managers(t)
	w.user("ceo", "root", manager("clerk"))
	require.True(t, w.allows(on("ceo", access.Read, "", user("clerk"))))
	require.False(t, w.allows(on("ceo", access.Delete, "", user("clerk"))))
	w.user("lead", "oslo", manager("nobody"))
	require.False(t, w.allows(on("head", access.Read, "", user("clerk"))))
	require.True(t, w.allows(on("lead", access.Read, "", user("clerk"))))
}

// Whichever of the two is walked, members or reports, the answer is the same.
func TestHierarchyOfManyReportsAndManyMembers(t *testing.T) {
	w := managers(t)
	var all []access.UserID
	for i := range 40 {
		u := access.UserID(fmt.Sprint("r", i))
		w.user(u, "oslo", manager("lead"))
		all = append(all, u)
	}
	w.team("few", "root", access.OwnerTeam, "r7")
	w.team("none", "root", access.OwnerTeam, "ceo", "head")
	w.team("many", "root", access.OwnerTeam, slices.Concat(all, []access.UserID{"ceo"})...)
	for _, u := range []access.UserID{"ceo", "head", "lead"} {
		require.True(t, w.allows(on(u, access.Read, "", team("few"))))
		require.True(t, w.allows(on(u, access.Read, "", team("many"))))
	}
	require.False(t, w.allows(on("lead", access.Read, "", team("none"))))
	require.True(t, w.allows(on("ceo", access.Read, "", team("none"))))
}

func TestHierarchyAllocatesNothing(t *testing.T) {
	w := managers(t)
	w.team("sales", "south", access.OwnerTeam, "clerk")
	w.user("else", "south")
	w.share("x", team("sales"), access.RightsOf(access.Read))
	s := w.snapshot()
	questions := []engine.Question{on("ceo", access.Read, "", user("clerk")), on("ceo", access.Read, "", team("sales")), on("ceo", access.Read, "x", user("else"))}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, q := range questions {
			if d, err := s.Check(q); err != nil || !d.Allowed {
				t.Fatal(d, err)
			}
		}
	}))
}

func TestRule_EVAL_8_ReportsWithTheirChains(t *testing.T) {
	w := managers(t)
	w.user("else", "south")
	w.team("sales", "south", access.OwnerTeam, "clerk", "lead")
	w.share("x", user("clerk"), access.RightsOf(access.Read), until)
	w.share("x", team("sales"), access.RightsOf(access.Read))
	e, err := w.snapshot().Explain(on("head", access.Read, "x", user("else")), 0)
	require.NoError(t, err)
	var got []string
	for _, o := range e.Origins {
		require.Equal(t, engine.ByHierarchy, o.Way)
		got = append(got, o.String())
	}
	require.Equal(t, []string{
		`report "clerk" below lead, by share with them, until 2026-03-01T13:00:00Z [EVAL-4 d, HIER-2, HIER-3, HIER-5, HIER-4]`,
		`report "clerk" below lead, by share with team "sales" [EVAL-4 d, HIER-2, HIER-3, HIER-5, HIER-4]`,
		`report "lead", by share with team "sales" [EVAL-4 d, HIER-2, HIER-3, HIER-5, HIER-4]`,
	}, got)
	w.team("desk", "south", access.OwnerTeam, "clerk")
	e, err = w.snapshot().Explain(on("lead", access.Write, "", team("desk")), 0)
	require.NoError(t, err)
	require.Len(t, e.Origins, 1)
	require.Equal(t, &engine.Report{
		User: engine.Named{ID: "clerk", Name: "clerk"}, Chain: []engine.Named{{ID: "clerk", Name: "clerk"}, {ID: "lead", Name: "lead"}},
		By: engine.ByOwnership, Owner: &engine.Via{ID: "desk", Name: "desk"},
	}, e.Origins[0].Report)
}

func TestRule_EVAL_9_AManagerLinkThatIsMissing(t *testing.T) {
	w := managers(t)
	w.user("new", "oslo")
	missing := func(u access.UserID) []string {
		e, err := w.snapshot().Explain(on(u, access.Write, "", user("new")), 100)
		require.NoError(t, err)
		require.False(t, e.Allowed)
		var out []string
		for _, m := range e.Missing {
			out = append(out, m.String())
		}
		return out
	}
	require.Contains(t, missing("lead"), `user "new" reporting to "lead"`)
	w.user("lead", "oslo", manager("new"))
	require.NotContains(t, missing("lead"), `user "new" reporting to "lead"`, "a circle is refused (Rule HIER-9)")
}
