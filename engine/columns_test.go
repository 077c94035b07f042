package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// salaries is a world whose accounts have a secured salary and a secured iban with
// a mask, a total calculated from the salary, and an open note. Anna, in north,
// reads, writes and makes all accounts.
func salaries(t testing.TB) world {
	w := newWorld(t)
	w.put(access.Table{Environment: "e", ID: "account", Columns: []access.Column{
		{Name: "iban", Secured: true, Mask: &access.Mask{Pattern: `^.*(..)$`, Replace: "***$1"}},
		{Name: "note"},
		{Name: "salary", Secured: true},
		{Name: "total", From: []string{"salary"}},
	}})
	w.role("clerk", "account", access.Global, access.Create, access.Read, access.Write)
	w.administrator("admin")
	w.user("anna", "north")
	w.user("bert", "south")
	w.assign(user("anna"), "clerk", "north")
	w.team("payroll", "south", access.AccessTeam, "bert")
	return w
}

func (w world) profile(id access.ProfileID, p access.Principal, columns ...access.ProfileColumn) {
	for i := range columns {
		columns[i].Table = "account"
	}
	w.put(access.Profile{Environment: "e", ID: id, Name: string(id), Columns: columns}, access.ProfileMember{Environment: "e", Profile: id, Principal: p})
}

func (w world) columns(q engine.Question) map[string]engine.ColumnAccess {
	w.t.Helper()
	list, err := w.snapshot().Columns(q)
	require.NoError(w.t, err)
	out := map[string]engine.ColumnAccess{}
	for i, c := range list {
		out[c.Column] = c
		require.True(w.t, i == 0 || list[i-1].Column < c.Column)
	}
	return out
}

func TestRule_FLS_1_WithoutAProfileOnlySystemAdministrator(t *testing.T) {
	w := salaries(t)
	q := on("anna", access.Read, "x", user("bert"))
	got := w.columns(q)
	require.Len(t, got, 3, "an unsecured column is not listed")
	for _, c := range got {
		require.False(t, c.Read || c.Update || c.Create)
	}
	w.assign(user("anna"), "admin", "north", until)
	for name, c := range w.columns(q) { // Rule FLS-9
		require.True(t, c.Read && c.Update, name)
		require.Equal(t, access.UnmaskedAllRecords, c.Unmasked)
	}
	q.At = until.End
	require.False(t, w.columns(q)["iban"].Read)
	w = salaries(t)
	w.put(access.Assignment{
		Environment: "e", ID: "bounded", Role: "admin", Principal: user("anna"), BusinessUnit: "north",
		Bound: &access.Bound{Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Global}}},
	})
	require.False(t, w.columns(q)["iban"].Read, "an elevation that is bounded gives no columns")
}

func TestRule_FLS_2_ProfilesUnite(t *testing.T) {
	w := salaries(t)
	w.put(access.Membership{Environment: "e", Team: "payroll", User: "anna"})
	w.profile("p1", user("anna"), access.ProfileColumn{Column: "iban", Read: true, Unmasked: access.UnmaskedOneRecord}, access.ProfileColumn{Column: "note", Update: true})
	w.profile("p2", team("payroll"), access.ProfileColumn{Column: "iban", Update: true, Unmasked: access.UnmaskedAllRecords}, access.ProfileColumn{Column: "salary", Create: true})
	w.profile("p3", team(access.BusinessUnitID("north").DefaultTeam()), access.ProfileColumn{Column: "salary", Read: true})
	w.profile("p4", user("bert"), access.ProfileColumn{Column: "salary", Update: true})
	got := w.columns(engine.Question{User: "anna", Table: "account", At: noon})
	iban, salary := got["iban"], got["salary"]
	require.Equal(t, []bool{true, true, false}, []bool{iban.Read, iban.Update, iban.Create})
	require.Equal(t, access.UnmaskedOneRecord, iban.Unmasked, "unmasked counts with read")
	require.Equal(t, []bool{true, false, true}, []bool{salary.Read, salary.Update, salary.Create}, "a team of any type")
	require.Equal(t, engine.ColumnAccess{Column: "total"}, got["total"], "Rule FLS-8: secured, and not by its sources' profiles")
}

func TestRule_FLS_3_RecordAccessComesFirst(t *testing.T) {
	w := salaries(t)
	w.role("own", "account", access.Basic, access.Create, access.Read)
	w.assign(user("bert"), "own", "south")
	w.profile("p", user("bert"), access.ProfileColumn{Column: "salary", Read: true, Update: true, Create: true})
	salary := func(q engine.Question) []bool {
		c := w.columns(q)["salary"]
		return []bool{c.Read, c.Update, c.Create}
	}
	require.Equal(t, []bool{true, false, false}, salary(on("bert", access.Read, "x", user("bert"))))
	require.Equal(t, []bool{false, false, false}, salary(on("bert", access.Read, "x", user("anna"))))
	require.Equal(t, []bool{false, false, true}, salary(on("bert", access.Create, "", user("bert"))))
	require.Equal(t, []bool{true, false, true}, salary(engine.Question{User: "bert", Table: "account", At: noon}))
	behalf := engine.Question{User: "bert", Impersonator: "anna", Table: "account", At: noon}
	require.Equal(t, []bool{false, false, false}, salary(behalf))
	w.misc("agent", engine.ActOnBehalf)
	w.assign(user("anna"), "agent", "north")
	require.Equal(t, []bool{false, false, false}, salary(behalf))
	w.profile("q", user("anna"), access.ProfileColumn{Column: "salary", Read: true})
	require.Equal(t, []bool{true, false, false}, salary(behalf), "what both have (Rule ACC-4)")
}

func TestRule_FLS_4_ShownWithheldOrMasked(t *testing.T) {
	mask := &access.Mask{Pattern: `\d`, Replace: "#"}
	for _, c := range []struct {
		access   engine.ColumnAccess
		one, all string
	}{
		{engine.ColumnAccess{Unmasked: access.UnmaskedAllRecords}, "", ""},
		{engine.ColumnAccess{Read: true}, "a1", "a1"},
		{engine.ColumnAccess{Read: true, Mask: mask}, "a#", "a#"},
		{engine.ColumnAccess{Read: true, Mask: mask, Unmasked: access.UnmaskedOneRecord}, "a1", "a#"},
		{engine.ColumnAccess{Read: true, Mask: mask, Unmasked: access.UnmaskedAllRecords}, "a1", "a1"},
		{engine.ColumnAccess{Read: true, Mask: &access.Mask{Pattern: "("}}, "", ""},
	} {
		for list, want := range map[bool]string{false: c.one, true: c.all} {
			got, how := c.access.Show("a1", list)
			require.Equal(t, want, got)
			require.Equal(t, map[string]engine.Visibility{"": engine.Withheld, "a1": engine.Clear, "a#": engine.Masked}[want], how)
		}
	}
	w := salaries(t)
	w.profile("p", user("anna"), access.ProfileColumn{Column: "iban", Read: true})
	got, _ := w.columns(on("anna", access.Read, "x", user("bert")))["iban"].Show("DE1234", false)
	require.Equal(t, "***34", got)
}

func TestRule_FLS_5_AWriteNamingARefusedColumnIsDenied(t *testing.T) {
	w := salaries(t)
	write := on("anna", access.Write, "x", user("bert"))
	write.Columns = []string{"note", "iban", "iban", "nothing"}
	require.Equal(t, engine.NoColumnAccess, w.reason(write))
	w.profile("p", user("anna"), access.ProfileColumn{Column: "iban", Update: true})
	require.Equal(t, engine.Allowed, w.reason(write))
	write.Columns = append(write.Columns, "total")
	require.Equal(t, engine.NoColumnAccess, w.reason(write))
	create := on("anna", access.Create, "", user("anna"))
	create.Columns = []string{"iban"}
	require.Equal(t, engine.NoColumnAccess, w.reason(create))
	w.profile("q", user("anna"), access.ProfileColumn{Column: "iban", Create: true})
	require.Equal(t, engine.Allowed, w.reason(create))
	w.assign(user("anna"), "admin", "north", until)
	d, err := w.snapshot().Check(write)
	require.NoError(t, err)
	require.True(t, d.Allowed)
	require.Equal(t, until.End, d.ValidUntil)
	for _, q := range []engine.Question{
		{User: "anna", Action: access.Read, Table: "account", Columns: []string{"iban"}, At: noon},
		{User: "anna", Privilege: "Print", Columns: []string{"iban"}, At: noon},
	} {
		_, err := w.snapshot().Check(q)
		require.ErrorIs(t, err, engine.ErrQuestion)
		_, err = w.snapshot().Columns(q)
		require.ErrorIs(t, err, engine.ErrQuestion)
	}
}

func TestRule_FLS_7_SharedColumns(t *testing.T) {
	w := salaries(t)
	q := on("anna", access.Write, "x", user("bert"))
	q.Columns = []string{"iban"}
	share := func(p access.Principal, read, update bool) {
		w.put(access.ColumnShare{Environment: "e", Table: "account", Record: "x", Column: "iban", Principal: p, Read: read, Update: update})
	}
	share(user("bert"), true, true)
	require.False(t, w.allows(q))
	share(user("anna"), true, false)
	require.False(t, w.allows(q))
	share(team(access.BusinessUnitID("north").DefaultTeam()), false, true)
	require.True(t, w.allows(q))
	list := q
	list.Columns = nil
	c := w.columns(list)["iban"]
	require.Equal(t, engine.Clear, c.Shows(false))
	require.Equal(t, engine.Masked, c.Shows(true))
	other := q
	other.Record = &engine.Record{ID: "y", Owner: user("bert")}
	require.False(t, w.allows(other), "of one record")
	other.Record = nil
	require.False(t, w.allows(other))
}

func TestColumnsAllocateNothing(t *testing.T) {
	w := salaries(t)
	w.profile("p", user("anna"), access.ProfileColumn{Column: "iban", Update: true})
	q := on("anna", access.Write, "x", user("bert"))
	q.Columns = []string{"iban"}
	behalf := on("bert", access.Read, "x", user("bert"))
	behalf.Impersonator = "anna"
	s := w.snapshot()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, q := range []engine.Question{q, behalf} {
			if _, err := s.Check(q); err != nil {
				t.Fatal(err)
			}
		}
	}))
}

func TestRule_ACC_1_WhatLeavesOutWhatTheModeRefuses(t *testing.T) {
	what := func(mode access.AccessMode, kind access.UserKind) (actions map[access.TableID]access.Rights, misc int, reason engine.Reason) {
		w := everyone(t)
		w.user("anna", "north", func(u *access.User) { u.AccessMode, u.Kind = mode, kind })
		got, err := w.snapshot().What("anna", noon)
		require.NoError(t, err)
		actions = map[access.TableID]access.Rights{}
		for _, h := range got.Held {
			if h.Miscellaneous != "" {
				misc++
			} else {
				actions[h.Table] |= access.RightsOf(h.Action)
			}
		}
		return actions, misc, got.Reason
	}
	all, read := ^access.Rights(0), access.RightsOf(access.Read)
	actions, misc, _ := what(access.ReadOnly, access.Person)
	require.Equal(t, map[access.TableID]access.Rights{"account": read, "contact": read, "setting": read, "role": read, "businessunit": read}, actions)
	require.Zero(t, misc)
	actions, misc, _ = what(access.Administrative, access.Person)
	require.Equal(t, map[access.TableID]access.Rights{"setting": all, "role": all, "businessunit": all}, actions)
	require.Equal(t, 1, misc)
	actions, _, _ = what(access.NonInteractive, access.Person)
	require.Len(t, actions, 5)
	_, _, reason := what(access.ReadWrite, access.StubUser)
	require.Equal(t, engine.AccessModeExcludes, reason)
}

func TestRule_FLS_5_ExplainNamesTheColumnsAndTheProfiles(t *testing.T) {
	w := salaries(t)
	w.profile("p", user("bert"), access.ProfileColumn{Column: "iban", Update: true}, access.ProfileColumn{Column: "salary", Update: true})
	w.profile("q", user("bert"), access.ProfileColumn{Column: "total", Update: true})
	q := on("anna", access.Write, "", user("bert"))
	q.Columns = []string{"salary", "note", "iban"}
	e, err := w.snapshot().Explain(q, 100)
	require.NoError(t, err)
	require.Equal(t, engine.NoColumnAccess, e.Reason)
	require.Equal(t, []string{"iban", "salary"}, e.Columns)
	require.Equal(t, []string{"FLS-5"}, e.Rules)
	require.Empty(t, e.Origins)
	require.Contains(t, e.String(), "no column security profile allows: iban, salary")
	var missing []string
	for _, m := range e.Missing {
		missing = append(missing, m.String())
	}
	require.Contains(t, missing, `column security profile "p" for user "anna"`)
	q.Columns = append(q.Columns, "total")
	e, err = w.snapshot().Explain(q, 1)
	require.NoError(t, err)
	require.True(t, e.MoreMissing)
	require.Len(t, e.Missing, 1, "System Administrator alone, or both profiles")
}
