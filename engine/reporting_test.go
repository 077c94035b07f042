package engine_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

var passedFar, passedUp = access.RightsOf(access.Read), access.RightsOf(access.Read, access.Write, access.Append, access.AppendTo)

func TestCompareReportsTellsEachCauseOnce(t *testing.T) {
	gained := func(u, r access.UserID, a access.Rights) engine.ReportDiff {
		return engine.ReportDiff{User: u, Report: r, Gained: a}
	}
	lost := func(u, r access.UserID, a access.Rights) engine.ReportDiff {
		return engine.ReportDiff{User: u, Report: r, Lost: a}
	}
	managing := access.Hierarchy{Depth: 3}
	byPosition := access.Hierarchy{Depth: 3, Model: access.PositionHierarchy}
	enabled := access.Hierarchy{Depth: 3, ExcludeDisabledReports: true}
	anywhere := access.Hierarchy{Depth: 3, ManagersAnywhere: true}
	disabled := func(u *access.User) { u.Enabled = false }
	all := passedUp &^ passedFar
	changed := func(id access.UserID, unit access.BusinessUnitID, f ...func(*access.User)) func(world) access.Change {
		return func(w world) access.Change {
			w.user(id, unit, f...)
			return access.Put(w.Users[id])
		}
	}
	settings := func(e access.Environment) func(world) access.Change {
		return func(world) access.Change {
			e.ID = "e"
			return access.Put(e)
		}
	}
	put := func(o access.Object) func(world) access.Change {
		return func(world) access.Change { return access.Put(o) }
	}
	for name, c := range map[string]struct {
		hierarchy *access.Hierarchy
		change    func(world) access.Change
		want      []engine.ReportDiff
	}{
		"a name":                              {&managing, changed("lead", "oslo", func(u *access.User) { u.Name = "Lead" }), nil},
		"a manager, and those below (HIER-3)": {&managing, changed("lead", "oslo", manager("ceo")), []engine.ReportDiff{gained("ceo", "lead", all), lost("head", "clerk", passedFar), lost("head", "lead", passedUp)}},
		"a user who comes":                    {&managing, changed("new", "oslo", manager("lead")), []engine.ReportDiff{gained("ceo", "new", passedFar), gained("head", "new", passedFar), gained("lead", "new", passedUp)}},
		"a user who goes": {&managing, func(w world) access.Change { return access.Remove(w.Users["lead"]) }, []engine.ReportDiff{
			lost("ceo", "clerk", passedFar), lost("ceo", "lead", passedFar), lost("head", "clerk", passedFar), lost("head", "lead", passedUp), lost("lead", "clerk", passedUp),
		}},
		"a user's unit (HIER-5)":        {&managing, changed("head", "south"), []engine.ReportDiff{lost("head", "clerk", passedFar), lost("head", "lead", passedUp)}},
		"a unit's parent (HIER-5)":      {&managing, put(access.BusinessUnit{Environment: "e", ID: "oslo", Parent: "south"}), []engine.ReportDiff{lost("head", "clerk", passedFar), lost("head", "lead", passedUp), gained("other", "lost", passedUp)}},
		"a unit's name":                 {&managing, put(access.BusinessUnit{Environment: "e", ID: "oslo", Name: "Oslo", Parent: "north"}), nil},
		"a disabled report that counts": {&managing, changed("lead", "oslo", disabled), nil},
		"a disabled report (HIER-8)":    {&enabled, changed("lead", "oslo", disabled), []engine.ReportDiff{lost("ceo", "lead", passedFar), lost("head", "lead", passedUp)}},
		"a user's position (HIER-7)":    {&byPosition, changed("clerk", "oslo", at("middle")), []engine.ReportDiff{gained("ceo", "clerk", all), lost("lead", "clerk", passedUp)}},
		"a position's parent (HIER-7)":  {&byPosition, put(access.Position{Environment: "e", ID: "middle"}), []engine.ReportDiff{lost("ceo", "clerk", passedFar), lost("ceo", "lead", passedUp)}},
		"a position that means nothing": {&managing, put(access.Position{Environment: "e", ID: "middle"}), nil},
		"the depth (HIER-3)":            {&managing, settings(access.Environment{Hierarchy: &access.Hierarchy{Depth: 2}}), []engine.ReportDiff{lost("ceo", "clerk", passedFar)}},
		"direct levels (HIER-3)": {&managing, settings(access.Environment{Hierarchy: &access.Hierarchy{Depth: 3, DirectLevels: 3}}), []engine.ReportDiff{
			gained("ceo", "clerk", all), gained("ceo", "lead", all), gained("head", "clerk", all),
		}},
		"the model (HIER-1)": {&managing, settings(access.Environment{Hierarchy: &byPosition}), []engine.ReportDiff{
			lost("ceo", "head", passedUp), gained("ceo", "lead", all), lost("head", "clerk", passedFar), lost("head", "lead", passedUp),
		}},
		"modernized units (HIER-5)": {&anywhere, settings(access.Environment{Hierarchy: &anywhere, Modernized: true}), []engine.ReportDiff{gained("other", "lost", passedUp)}},
		"a hierarchy that begins (HIER-1)": {nil, settings(access.Environment{Hierarchy: &access.Hierarchy{Depth: 1}}), []engine.ReportDiff{
			gained("ceo", "head", passedUp), gained("head", "lead", passedUp), gained("lead", "clerk", passedUp),
		}},
		"a role, which Compare tells":         {&managing, func(w world) access.Change { return access.Remove(w.Roles["own"]) }, nil},
		"a team, which comes with the report": {&managing, put(access.Membership{Environment: "e", Team: "crew", User: "clerk"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := managers(t)
			w.Environment.Hierarchy = c.hierarchy
			w.put(access.Position{Environment: "e", ID: "top"}, access.Position{Environment: "e", ID: "middle", Parent: "top"}, access.Position{Environment: "e", ID: "low", Parent: "middle"})
			w.put(access.Team{Environment: "e", ID: "crew", BusinessUnit: "oslo"})
			w.user("ceo", "root", at("top"))
			w.user("lead", "oslo", at("middle"))
			w.user("clerk", "oslo", at("low"))
			w.user("other", "south")
			w.user("lost", "oslo", manager("other"))
			before := w.snapshot()
			changes := []access.Change{c.change(world{enginetest.Clone(w.State), t})}
			after, err := before.Apply(changes, 2)
			require.NoError(t, err)
			d, err := engine.CompareReports(before, after, changes, 100)
			require.NoError(t, err)
			require.Equal(t, engine.ReportDiffs{List: append([]engine.ReportDiff{}, c.want...), Complete: true}, d)
			d, err = engine.CompareReports(before, after, changes, 1)
			require.NoError(t, err)
			require.Equal(t, max(len(c.want)-1, 0), d.Unlisted)
		})
	}
}

func TestCompareReportsTellsTablesLeftOutAndTakenIn(t *testing.T) {
	w := managers(t)
	w.Environment.Hierarchy.Except = []access.TableID{"account"}
	before := w.snapshot()
	changes := []access.Change{access.Put(access.Environment{ID: "e", Hierarchy: &access.Hierarchy{Depth: 3, Except: []access.TableID{"contact"}}})}
	after, err := before.Apply(changes, 2)
	require.NoError(t, err)
	d, err := engine.CompareReports(before, after, changes, 100)
	require.NoError(t, err)
	require.Equal(t, engine.ReportDiffs{List: []engine.ReportDiff{}, Complete: true, LeftOut: []access.TableID{"contact"}, TakenIn: []access.TableID{"account"}}, d)
}

func TestCompareReportsSaysWhenItIsCut(t *testing.T) {
	w := newWorld(t)
	w.user("boss", "root")
	for i := range 20_001 {
		w.user(access.UserID(fmt.Sprint("u", i)), "root", manager("boss"))
	}
	before := w.snapshot()
	changes := []access.Change{access.Put(access.Environment{ID: "e", Hierarchy: &access.Hierarchy{Depth: 1}})}
	after, err := before.Apply(changes, 2)
	require.NoError(t, err)
	d, err := engine.CompareReports(before, after, changes, 10)
	require.NoError(t, err)
	require.False(t, d.Complete)
	require.Len(t, d.List, 10)
	require.Equal(t, 19_990, d.Unlisted)
	var none *engine.Snapshot
	d, err = engine.CompareReports(none, before, changes, 10)
	require.NoError(t, err)
	require.Equal(t, engine.ReportDiffs{List: []engine.ReportDiff{}, Complete: true}, d, "no hierarchy, nor an environment before")
	_, err = engine.CompareReports(none, locked(t), changes, 10)
	require.ErrorIs(t, err, engine.ErrLocked)
}

// links asks the reference who has whose reports for which of Read and Write: in
// an organisation of the same people where nobody has anything but by a role for
// one's own. About a record of an orphan, whose unit does not exist, it cannot tell.
func links(t *testing.T, st *access.State) (out map[[2]access.UserID]access.Rights, orphans map[access.UserID]bool) {
	w := world{access.NewState(st.Environment.ID), t}
	w.Environment = access.Environment{ID: st.Environment.ID, Modernized: true} // so that a record has a unit whatever its owner's
	if h := st.Environment.Hierarchy; h != nil {
		own := *h
		own.Except, own.ManagersAnywhere = nil, own.ManagersAnywhere && st.Environment.Modernized
		w.Environment.Hierarchy = &own
	}
	for _, u := range st.BusinessUnits {
		u.Disabled = false
		w.put(u)
	}
	for _, p := range st.Positions {
		w.put(p)
	}
	w.put(access.Table{Environment: st.Environment.ID, ID: "account"})
	for id, u := range st.Users {
		w.put(access.User{Environment: u.Environment, ID: id, BusinessUnit: u.BusinessUnit, Manager: u.Manager, Position: u.Position, Enabled: u.Enabled})
		own := access.RoleID(u.BusinessUnit)
		w.put(access.Role{Environment: u.Environment, ID: own, BusinessUnit: u.BusinessUnit, Privileges: []access.Privilege{
			{Table: "account", Action: access.Read, Depth: access.Basic}, {Table: "account", Action: access.Write, Depth: access.Basic},
		}})
		w.put(access.Assignment{Environment: u.Environment, ID: access.AssignmentID(id), Role: own, Principal: id.Principal(), BusinessUnit: u.BusinessUnit})
	}
	out, orphans = map[[2]access.UserID]access.Rights{}, map[access.UserID]bool{}
	for u, asks := range w.Users {
		in := asks
		in.Enabled = true // who is not is a link no less
		w.put(in)
		for r := range w.Users {
			for _, action := range []access.Action{access.Read, access.Write} {
				q := on(u, action, "", r.Principal())
				q.Record.BusinessUnit = asks.BusinessUnit
				d, err := enginetest.Reference{State: w.State}.Check(q)
				switch {
				case r == u:
					orphans[r] = err != nil
				case err == nil && d.Allowed:
					out[[2]access.UserID{u, r}] |= access.RightsOf(action)
				}
			}
		}
		w.put(asks)
	}
	return out, orphans
}

func TestCompareReportsTellsEveryLinkThatDiffersAndNoOther(t *testing.T) {
	found, lost := 0, 0
	for seed := range uint64(300) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		before, err := engine.New(st, 1)
		require.NoError(t, err)
		changes := enginetest.Changes(p, st)
		after, err := before.Apply(changes, 2)
		require.NoError(t, err)
		next := enginetest.Clone(st)
		next.Apply(changes...)
		got, err := engine.CompareReports(before, after, changes, 1000)
		if st.Environment.Locked || next.Environment.Locked {
			require.ErrorIs(t, err, engine.ErrLocked)
			continue
		}
		require.NoError(t, err)
		require.True(t, got.Complete)
		require.Zero(t, got.Unlisted)
		told := map[[2]access.UserID]engine.ReportDiff{}
		for _, d := range got.List {
			for _, a := range []access.Action{access.Append, access.AppendTo} {
				require.Equal(t, d.Gained.Has(access.Write), d.Gained.Has(a))
				require.Equal(t, d.Lost.Has(access.Write), d.Lost.Has(a))
			}
			told[[2]access.UserID{d.User, d.Report}] = d
		}
		was, orphaned := links(t, st)
		is, orphans := links(t, next)
		both := access.RightsOf(access.Read, access.Write)
		for u := range merged(st.Users, next.Users) {
			for r := range merged(st.Users, next.Users) {
				if orphaned[r] || orphans[r] {
					continue
				}
				pair := [2]access.UserID{u, r}
				require.Equal(t, is[pair]&^was[pair], told[pair].Gained&both, "seed %d: %v by %v\n%s", seed, pair, changes, show(st, engine.Question{}))
				require.Equal(t, was[pair]&^is[pair], told[pair].Lost&both, "seed %d: %v by %v\n%s", seed, pair, changes, show(st, engine.Question{}))
				if told[pair].Gained != 0 {
					found++
				}
				if told[pair].Lost != 0 {
					lost++
				}
			}
		}
	}
	t.Logf("%d gained, %d lost", found, lost)
	require.Greater(t, found, 15)
	require.Greater(t, lost, 15)
}

// merged has the users of both.
func merged(a, b map[access.UserID]access.User) map[access.UserID]access.User {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func locked(t *testing.T) *engine.Snapshot {
	w := newWorld(t)
	w.Environment.Locked = true
	return w.snapshot()
}
