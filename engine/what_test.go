package engine_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

// reached tells whether a line of What reaches a record, read as the
// documentation of Access says.
func reached(st *access.State, w engine.What, a engine.Access, owner access.Principal, unit access.BusinessUnitID) bool {
	r := enginetest.Reference{State: st}
	switch a.Depth {
	case access.Global:
		return true
	case access.Deep:
		return r.Below(access.BusinessUnitID(a.BusinessUnit.ID), unit)
	case access.Local:
		return access.BusinessUnitID(a.BusinessUnit.ID) == unit
	}
	if a.Team != (engine.Named{}) {
		return owner == access.TeamID(a.Team.ID).Principal()
	}
	id, isTeam := owner.Team()
	return owner == w.User.Principal() || isTeam && slices.Contains(w.Teams, id)
}

func anyReaches(st *access.State, w engine.What, lines []engine.Access, table access.TableID, action access.Action, owner access.Principal, unit access.BusinessUnitID) bool {
	return slices.ContainsFunc(lines, func(a engine.Access) bool {
		return a.Miscellaneous == "" && a.Table == table && a.Action == action && reached(st, w, a, owner, unit)
	})
}

func accesses(w engine.What) []engine.Access {
	var out []engine.Access
	for _, h := range w.Held {
		out = append(out, h.Access)
	}
	return out
}

// eachRecord goes through the facts that a record of the table can have.
func eachRecord(st *access.State, table access.Table, yield func(access.Principal, access.BusinessUnitID)) {
	r := enginetest.Reference{State: st}
	var owners []access.Principal
	for id := range st.Users {
		owners = append(owners, id.Principal())
	}
	for id, t := range st.Teams {
		if t.CanOwn() {
			owners = append(owners, id.Principal())
		}
	}
	for id := range st.BusinessUnits {
		owners = append(owners, id.DefaultTeam().Principal())
	}
	switch table.Ownership {
	case access.UserOrTeam:
		for _, o := range owners {
			if !st.Environment.Modernized {
				if b := r.UnitOf(o); st.BusinessUnits[b].ID != "" {
					yield(o, b)
				}
				continue
			}
			for b := range st.BusinessUnits {
				if st.BusinessUnits[r.UnitOf(o)].ID != "" {
					yield(o, b)
				}
			}
		}
	case access.BusinessUnitOwned:
		for b := range st.BusinessUnits {
			yield(access.Principal{}, b)
		}
	default:
		yield(access.Principal{}, "")
	}
}

func TestRule_EVAL_10_WhatSaysWhatCheckAllows(t *testing.T) {
	compared := 0
	for seed := range uint64(60) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		st.Environment.Hierarchy = nil // What tells what roles give
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		r := enginetest.Reference{State: st}
		at := enginetest.Instant(p)
		for u := range st.Users {
			w, err := s.What(u, at)
			if err != nil {
				continue
			}
			lines := accesses(w)
			for _, table := range st.Tables {
				for action := access.Read; action < access.Actions; action++ {
					eachRecord(st, table, func(owner access.Principal, unit access.BusinessUnitID) {
						compared++
						q := engine.Question{User: u, Action: action, Table: table.ID, At: at, Channel: engine.API, Record: &engine.Record{Owner: owner, BusinessUnit: unit}}
						d, err := r.Check(q)
						require.NoError(t, err)
						if d.Allowed != anyReaches(st, w, lines, table.ID, action, owner, unit) {
							require.Fail(t, "what and check disagree", "allowed: %t\n%v\n%s", d.Allowed, w.Held, show(st, q))
						}
					})
				}
			}
			for _, name := range []string{"Export", "Merge", "Print"} {
				d, err := r.Check(engine.Question{User: u, Privilege: name, At: at, Channel: engine.API})
				require.NoError(t, err)
				listed := slices.ContainsFunc(w.Held, func(h engine.Held) bool { return h.Miscellaneous == name || h.Miscellaneous == "*" })
				require.Equal(t, d.Allowed, listed)
			}
			for _, h := range w.Held {
				require.NotEmpty(t, h.By)
			}
		}
	}
	t.Logf("%d records", compared)
}

func TestDiffTellsExactlyWhatIsGainedAndLost(t *testing.T) {
	gains := 0
	for seed := range uint64(400) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		changes := enginetest.Changes(p, st)
		after := enginetest.Clone(st)
		after.Apply(changes...)
		// A table of another kind is another table, and one that is gone has no records.
		if fmt.Sprint(after.Tables) != fmt.Sprint(st.Tables) {
			continue
		}
		next, err := s.Apply(changes, 2)
		require.NoError(t, err)
		at := enginetest.Instant(p)
		for u := range st.Users {
			if _, ok := after.Users[u]; !ok {
				continue
			}
			w0, err := s.What(u, at)
			if err != nil {
				continue
			}
			w1, err := next.What(u, at)
			if err != nil {
				continue
			}
			d := w1.Diff(w0)
			require.Equal(t, engine.Diff{User: u}, w0.Diff(w0))
			gains += len(d.Gained)
			news := map[engine.Access]bool{}
			for _, table := range st.Tables {
				for action := access.Create; action < access.Actions; action++ {
					eachRecord(after, table, func(owner access.Principal, unit access.BusinessUnitID) {
						if table.Ownership != access.OrganizationOwned && table.Ownership != access.NotOwned && st.BusinessUnits[unit].ID == "" {
							return // made by the changes: see below
						}
						had := anyReaches(st, w0, accesses(w0), table.ID, action, owner, unit)
						has := anyReaches(after, w1, accesses(w1), table.ID, action, owner, unit)
						if has && !had {
							require.True(t, anyReaches(after, w1, d.Gained, table.ID, action, owner, unit),
								"%v\n%v\nis %v\nwas %v\n%s %v %v %v", d, changes, w1.Held, w0.Held, table.ID, action, owner, unit)
							for _, a := range d.Gained {
								if a.Table == table.ID && a.Action == action && reached(after, w1, a, owner, unit) {
									news[a] = true
								}
							}
						}
					})
				}
			}
			same := fmt.Sprint(st.BusinessUnits) == fmt.Sprint(after.BusinessUnits) && st.Environment.Modernized
			for _, a := range d.Gained {
				if same && a.Miscellaneous == "" && a.Depth > access.Basic {
					require.True(t, news[a], "gained nothing new: %v\n%v\nis %v\nwas %v", a, changes, w1.Held, w0.Held)
				}
			}
			require.Equal(t, d.Gained, w0.Diff(w1).Lost)
		}
	}
	require.Greater(t, gains, 400)
}

func TestSummarizeCountsUsersAndJoinsActions(t *testing.T) {
	line := func(a access.Action, d access.Depth, unit string) engine.Access {
		x := engine.Access{Table: "account", Action: a, Depth: d}
		if unit != "" {
			x.BusinessUnit = engine.Named{ID: unit, Name: "Unit " + unit}
		}
		return x
	}
	got := engine.Summarize([]engine.Diff{
		{User: "anna", Gained: []engine.Access{line(access.Read, access.Deep, "a"), line(access.Write, access.Global, ""), line(access.Append, access.Deep, "a")}},
		{User: "ben", Gained: []engine.Access{line(access.Read, access.Deep, "b"), line(access.Write, access.Global, ""), line(access.Append, access.Deep, "b")}},
		{User: "carl", Lost: []engine.Access{{Miscellaneous: "Export", Depth: access.Global}}, Gained: []engine.Access{line(access.Write, access.Global, "")}},
	})
	var text []string
	for _, l := range got {
		text = append(text, l.String())
	}
	require.Equal(t, []string{
		"3 users gain write on account at depth organization",
		"2 users gain read and append on account at depth parent_child in Unit a and Unit b",
		"1 user loses the privilege Export",
	}, text)
}

func TestRule_JIT_61_FlagsOfAGain(t *testing.T) {
	escalates := func(a engine.Access) bool { return a.Table == "role" && a.Action == access.Assign }
	flags := func(a ...engine.Access) engine.Flags { return engine.Diff{Gained: a}.Flags(escalates) }
	require.Equal(t, engine.Flags{}, flags(engine.Access{Table: "account", Action: access.Read, Depth: access.Global}))
	require.Equal(t, engine.Flags{}, flags(engine.Access{Table: "account", Action: access.Write, Depth: access.Deep}))
	require.Equal(t, engine.Flags{Privileged: true}, flags(engine.Access{Table: "account", Action: access.Delete, Depth: access.Global}))
	require.Equal(t, engine.Flags{Escalating: true, Privileged: true}, flags(engine.Access{Table: "role", Action: access.Assign, Depth: access.Basic}))
	require.Equal(t, engine.Flags{}, engine.Diff{Lost: []engine.Access{{Table: "role", Action: access.Assign}}}.Flags(escalates))
}

// WhatHeld leaves out what What says of where it comes from, and nothing else; who
// carries an assignment it still knows.
func TestWhatHeldIsWhatWithoutSources(t *testing.T) {
	carried := 0
	for seed := range uint64(20) {
		st := enginetest.Organisation(pick(seed))
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for u := range st.Users {
			at := enginetest.Instant(pick(seed))
			all, err := s.What(u, at)
			held, heldErr := s.WhatHeld(u, at)
			require.Equal(t, err, heldErr)
			for _, source := range all.Sources {
				role, team := held.Carried(source.Assignment)
				require.Equal(t, source.Role.ID, string(role))
				if source.Team == nil {
					require.Empty(t, team)
					continue
				}
				require.Equal(t, source.Team.ID, team)
				carried++
			}
			all.Sources = nil
			want, err := json.Marshal(all)
			require.NoError(t, err)
			got, err := json.Marshal(held)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		}
	}
	require.Greater(t, carried, 20)
}

func TestWhatIsTheSameBytesEveryTime(t *testing.T) {
	st := enginetest.Organisation(pick(3))
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	var first string
	for range 20 {
		w, err := s.What("u0", enginetest.Instant(pick(1)))
		require.NoError(t, err)
		b, err := json.Marshal(w)
		require.NoError(t, err)
		if first == "" {
			first = string(b)
		}
		require.Equal(t, first, string(b))
	}
}

// teamHas says what WhatTeam answers in the words of the reference, which leaves out
// nothing that a wider line covers but for what is everywhere.
func teamHas(st *access.State, w engine.TeamWhat) []string {
	r, reach := enginetest.Reference{State: st}, map[string]bool{}
	for _, h := range w.Held {
		what := fmt.Sprint(h.Table, " ", h.Action, " ")
		switch {
		case h.Miscellaneous == "*":
			for _, name := range r.Miscellaneous() {
				reach[name] = true
			}
		case h.Miscellaneous != "":
			reach[h.Miscellaneous] = true
		case h.Depth == access.Global:
			reach[what+"everywhere"] = true
		case h.Depth == access.Basic && h.Team.ID == string(w.Team):
			reach[what+"of the team"] = true
		case h.Depth == access.Basic && h.Team == engine.Named{}:
			reach[what+"of the member"] = true
		default:
			for unit := range st.BusinessUnits {
				if at := access.BusinessUnitID(h.BusinessUnit.ID); unit == at || h.Depth == access.Deep && r.Below(at, unit) {
					reach[what+"in "+string(unit)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(reach))
}

// bothOnTeam is what both say of the team that owns the question's record, or of
// none.
func bothOnTeam(st *access.State, s candidate, r enginetest.Reference, q engine.Question) (got, want string) {
	var id access.TeamID
	if q.Record != nil {
		id, _ = q.Record.Owner.Team()
	}
	w, err := s.WhatTeam(id, q.At)
	lines, why, wantErr := r.WhatTeam(id, q.At)
	return say(fmt.Sprint(w.Reason, teamHas(st, w)), err), say(fmt.Sprint(why, lines), wantErr)
}

func compareWhatTeam(p enginetest.Pick, st *access.State, s candidate, r enginetest.Reference, _ *compared) *enginetest.Asked {
	teams := []access.TeamID{"nobody"}
	for id := range st.Teams {
		teams = append(teams, id)
	}
	for id := range st.BusinessUnits {
		teams = append(teams, id.DefaultTeam())
	}
	slices.Sort(teams)
	q := engine.Question{At: enginetest.Instant(p), Record: &engine.Record{Owner: teams[p(len(teams))].Principal()}}
	if got, want := bothOnTeam(st, s, r, q); got != want {
		return asking("WhatTeam", q)
	}
	return nil
}

func TestRule_EVAL_10_WhatATeamHasIsToldApartFromWhatItsMembersHave(t *testing.T) {
	crew := access.TeamID("crew")
	role := func(id access.RoleID, in access.Inheritance) access.Role {
		return access.Role{Environment: "e", ID: id, BusinessUnit: "root", Inheritance: in, Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Basic}}}
	}
	given := func(r access.RoleID, w access.Window) access.Assignment {
		return access.Assignment{Environment: "e", ID: "a", Role: r, Principal: crew.Principal(), BusinessUnit: "south", Window: w}
	}
	own := engine.Access{Table: "account", Action: access.Read, Depth: access.Basic, Team: engine.Named{ID: "crew"}}
	members := engine.Access{Table: "account", Action: access.Read, Depth: access.Basic}
	by := []access.AssignmentID{"a"}
	for name, c := range map[string]struct {
		objects []access.Object
		why     engine.Reason
		want    []engine.Held
	}{
		"team privileges (ROLE-7)":             {[]access.Object{role("r", access.TeamOnly), given("r", access.Window{})}, engine.Allowed, []engine.Held{{Access: own, By: by}}},
		"inherited by members (ROLE-8)":        {[]access.Object{role("r", access.DirectUser), given("r", access.Window{})}, engine.Allowed, []engine.Held{{Access: members, By: by}, {Access: own, By: by}}},
		"whose members cannot get in (EVAL-2)": {[]access.Object{role("r", access.TeamOnly), given("r", access.Window{}), access.BusinessUnit{Environment: "e", ID: "south", Parent: "root", Disabled: true}}, engine.Allowed, []engine.Held{{Access: own, By: by}}},
		"after its window (JIT-E-1)":           {[]access.Object{role("r", access.TeamOnly), given("r", access.Window{End: noon})}, engine.NoRole, nil},
		"no role":                              {nil, engine.NoRole, nil},
		"an access team (TEAM-5)":              {[]access.Object{access.Team{Environment: "e", ID: crew, BusinessUnit: "south", Type: access.AccessTeam}}, engine.CannotHoldRoles, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := records(t, c.objects...).WhatTeam(crew, noon)
			require.NoError(t, err)
			require.Equal(t, c.why, w.Reason)
			require.Equal(t, c.want, w.Held)
			require.Len(t, w.Sources, min(len(c.want), 1))
		})
	}
	_, err := records(t).WhatTeam("nobody", noon)
	require.ErrorIs(t, err, engine.ErrUnknown)
}
