package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

func TestCompareColumnsTellsWhatOpensColumns(t *testing.T) {
	const read, one, all, update, create = engine.ReadsColumn, engine.ReadsUnmaskedOne, engine.ReadsUnmaskedAll, engine.UpdatesColumn, engine.CreatesColumn
	w := salaries(t)
	w.assign(user("bert"), "clerk", "south")
	w.profile("p", team("payroll"), access.ProfileColumn{Column: "salary", Read: true})
	w.profile("q", user("anna"), access.ProfileColumn{Column: "iban", Read: true})
	w.put(access.Record{Environment: "e", Table: "account", ID: "1", Owner: user("bert"), BusinessUnit: "south"})
	share := func(record access.RecordID, p access.Principal) access.ColumnShare {
		return access.ColumnShare{Environment: "e", Table: "account", Record: record, Column: "salary", Principal: p, Read: true, Update: true}
	}
	w.put(share("2", team("payroll")), share("3", user("anna")), share("4", team(access.BusinessUnitID("south").DefaultTeam())),
		share("5", access.Principal{Kind: access.Everybody}))
	s := w.snapshot()
	anna := func(column string, gained ...engine.ColumnRight) engine.ColumnDiff {
		return engine.ColumnDiff{Table: "account", User: "anna", Column: column, Gained: gained}
	}
	joined := anna("salary", read, update)
	joined.Record, joined.IfReached = "2", true
	shared := anna("salary", read, update)
	shared.Record = "1"
	lost := engine.ColumnDiff{Table: "account", Record: "3", User: "anna", Column: "salary", Lost: []engine.ColumnRight{read, update}, IfReached: true}
	everybody := lost
	everybody.Record = "5"
	moved := joined
	moved.Record = "4"
	member := access.ProfileMember{Environment: "e", Profile: "q", Principal: user("bert")}
	profile := func(c ...access.ProfileColumn) access.Profile {
		return access.Profile{Environment: "e", ID: "q", Columns: c}
	}
	columns := func(c ...access.Column) access.Table {
		return access.Table{Environment: "e", ID: "account", Columns: append(c, access.Column{Name: "salary", Secured: true}, access.Column{Name: "total", From: []string{"salary"}})}
	}
	mask := func(with string) access.Column {
		return access.Column{Name: "iban", Secured: true, Mask: &access.Mask{Pattern: `^.*(..)$`, Replace: with}}
	}
	for name, c := range map[string]struct {
		change access.Change
		want   []engine.ColumnDiff
	}{
		"a team that has a profile and a share of a column (FLS-2, FLS-7)": {
			access.Put(access.Membership{Environment: "e", Team: "payroll", User: "anna"}),
			[]engine.ColumnDiff{anna("salary", read), joined},
		},
		"a profile given (FLS-2)": {access.Put(member), []engine.ColumnDiff{{Table: "account", User: "bert", Column: "iban", Gained: []engine.ColumnRight{read}}}},
		"a profile edited (FLS-2)": {
			access.Put(profile(access.ProfileColumn{Table: "account", Column: "iban", Read: true, Unmasked: access.UnmaskedOneRecord, Create: true})),
			[]engine.ColumnDiff{anna("iban", one, create)},
		},
		"a profile deleted": {access.Remove(profile()), []engine.ColumnDiff{{Table: "account", User: "anna", Column: "iban", Lost: []engine.ColumnRight{read}}}},
		"System Administrator (FLS-9)": {
			access.Put(access.Assignment{Environment: "e", ID: "x", Role: "admin", Principal: user("anna"), BusinessUnit: "north"}),
			[]engine.ColumnDiff{anna("iban", one, all, update, create), anna("salary", read, update, create), anna("total", read, update, create)},
		},
		"a share of a column of a record (FLS-7)":               {access.Put(share("1", user("anna"))), []engine.ColumnDiff{shared}},
		"a share that ends, of a record that is not registered": {access.Remove(share("3", user("anna"))), []engine.ColumnDiff{lost}},
		"a share of the record with somebody who reaches it":    {access.Put(access.Share{Environment: "e", Table: "account", Record: "3", Principal: user("anna"), Rights: access.RightsOf(access.Read)}), []engine.ColumnDiff{}},
		"a role without whose privilege a profile gives no column": {
			access.Put(access.Role{Environment: "e", ID: "clerk", BusinessUnit: "root"}),
			[]engine.ColumnDiff{
				{Table: "account", User: "anna", Column: "iban", Lost: []engine.ColumnRight{read}},
				{Table: "account", User: "bert", Column: "salary", Lost: []engine.ColumnRight{read}},
			},
		},
		"a column secured (FLS-1)": {
			access.Put(columns(mask("***$1"), access.Column{Name: "note", Secured: true})),
			[]engine.ColumnDiff{
				{Table: "account", User: "anna", Column: "note", Lost: []engine.ColumnRight{read, update, create}},
				{Table: "account", User: "bert", Column: "note", Lost: []engine.ColumnRight{read, update, create}},
			},
		},
		"a column no longer secured (FLS-1)": {
			access.Put(columns()),
			[]engine.ColumnDiff{
				anna("iban", one, all, update, create),
				{Table: "account", User: "bert", Column: "iban", Gained: []engine.ColumnRight{read, one, all, update, create}},
			},
		},
		"no mask (FLS-4)":      {access.Put(columns(access.Column{Name: "iban", Secured: true})), []engine.ColumnDiff{anna("iban", one, all)}},
		"another mask (FLS-4)": {access.Put(columns(mask("$1"))), []engine.ColumnDiff{{Table: "account", User: "anna", Column: "iban", Remasked: true}}},
		"another unit, with the share of its default team (FLS-7)": {
			access.Put(access.User{Environment: "e", ID: "anna", BusinessUnit: "south", Enabled: true}), []engine.ColumnDiff{moved},
		},
		"somebody disabled": {
			access.Put(access.User{Environment: "e", ID: "anna", BusinessUnit: "north"}),
			[]engine.ColumnDiff{
				{Table: "account", User: "anna", Column: "iban", Lost: []engine.ColumnRight{read}},
				{Table: "account", Record: "3", User: "anna", Column: "iban", Lost: []engine.ColumnRight{read}, IfReached: true},
				lost,
				{Table: "account", Record: "5", User: "anna", Column: "iban", Lost: []engine.ColumnRight{read}, IfReached: true},
				everybody,
			},
		},
		"somebody who leaves a team": {access.Remove(access.Membership{Environment: "e", Team: "payroll", User: "bert"}), []engine.ColumnDiff{
			{Table: "account", User: "bert", Column: "salary", Lost: []engine.ColumnRight{read}},
			{Table: "account", Record: "2", User: "bert", Column: "salary", Lost: []engine.ColumnRight{read, update}, IfReached: true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []access.Change{c.change}
			after, err := s.Apply(changes, 8)
			require.NoError(t, err)
			d, err := engine.CompareColumns(s, after, changes, noon, 10)
			require.NoError(t, err)
			require.Equal(t, engine.ColumnDiffs{List: c.want, Complete: true}, d)
			some, err := engine.CompareColumns(s, after, changes, noon, 0)
			require.NoError(t, err)
			require.Equal(t, engine.ColumnDiffs{List: []engine.ColumnDiff{}, Unlisted: len(c.want), Complete: true}, some)
		})
	}
}

func TestCompareColumnsOfNoEnvironment(t *testing.T) {
	w := salaries(t)
	w.profile("p", user("anna"), access.ProfileColumn{Column: "salary", Read: true})
	changes := []access.Change{access.Put(access.User{Environment: "e", ID: "anna"})}
	d, err := engine.CompareColumns(nil, w.snapshot(), changes, noon, 10)
	require.NoError(t, err)
	require.Equal(t, []engine.ColumnDiff{{Table: "account", User: "anna", Column: "salary", Gained: []engine.ColumnRight{engine.ReadsColumn}}}, d.List)
}

func TestCompareColumnsSaysWhenItIsCut(t *testing.T) {
	w := salaries(t)
	for i := range 20_001 {
		w.put(access.User{Environment: "e", ID: access.UserID(fmt.Sprint("u", i)), BusinessUnit: "south", Enabled: true})
	}
	w.assign(team(access.BusinessUnitID("south").DefaultTeam()), "clerk", "south")
	s := w.snapshot()
	changes := []access.Change{access.Put(access.Table{Environment: "e", ID: "account"})}
	after, err := s.Apply(changes, 8)
	require.NoError(t, err)
	d, err := engine.CompareColumns(s, after, changes, noon, 10)
	require.NoError(t, err)
	require.False(t, d.Complete)
	require.Len(t, d.List, 10)
	require.Greater(t, d.Unlisted, 50_000)
}

// Whatever changes of what Columns says of a table, for whomever, CompareColumns
// tells, and nothing else.
func TestNoChangeOfColumnsGoesUntold(t *testing.T) {
	told, shared, of := 0, 0, map[engine.ColumnRight]int{}
	for seed := range uint64(1500) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		before, err := engine.New(st, 1)
		require.NoError(t, err)
		changes, at := append(enginetest.Changes(p, st), access.Put(enginetest.Addition(p, st))), enginetest.Instant(p)
		after, err := before.Apply(changes, 2)
		require.NoError(t, err)
		next := enginetest.Clone(st)
		next.Apply(changes...)
		diffs, err := engine.CompareColumns(before, after, changes, at, 10_000)
		if st.Environment.Locked || next.Environment.Locked {
			require.ErrorIs(t, err, engine.ErrLocked)
			continue
		}
		require.NoError(t, err)
		require.True(t, diffs.Complete)
		require.Zero(t, diffs.Unlisted)
		shared += sharesTold(t, before, after, st, next, at, diffs.List, fmt.Sprintf("seed %d, by\n%v", seed, changes))
		users, tables := maps.Clone(st.Users), maps.Clone(st.Tables)
		maps.Copy(users, next.Users)
		maps.Copy(tables, next.Tables)
		type place struct {
			table  access.TableID
			user   access.UserID
			column string
		}
		got := map[place]engine.ColumnDiff{}
		for _, d := range diffs.List {
			if d.Record == "" {
				got[place{d.Table, d.User, d.Column}] = d
			}
		}
		for id := range tables {
			names := slices.Concat(st.Tables[id].SecuredColumns(), next.Tables[id].SecuredColumns())
			slices.Sort(names)
			names = slices.Compact(names)
			for u := range users {
				was, is := columnsBy(before, u, id, at, names), columnsBy(after, u, id, at, names)
				for _, name := range names {
					masks := was[name].Mask != nil || is[name].Mask != nil
					had, has := rightsOn(was[name], masks), rightsOn(is[name], masks)
					var want engine.ColumnDiff
					for _, r := range []engine.ColumnRight{engine.ReadsColumn, engine.ReadsUnmaskedOne, engine.ReadsUnmaskedAll, engine.UpdatesColumn, engine.CreatesColumn} {
						if has[r] && !had[r] {
							want.Gained = append(want.Gained, r)
							of[r]++
						}
						if had[r] && !has[r] {
							want.Lost = append(want.Lost, r)
							of[r]++
						}
					}
					d := got[place{id, u, name}]
					require.Equal(t, want.Gained, d.Gained, "seed %d: %s of %s for %s by\n%v", seed, name, id, u, changes)
					require.Equal(t, want.Lost, d.Lost, "seed %d: %s of %s for %s by\n%v", seed, name, id, u, changes)
					if len(want.Gained)+len(want.Lost) > 0 {
						told++
					}
				}
			}
		}
	}
	t.Logf("told %d: %v; by shares %d", told, of, shared)
	require.Greater(t, shared, 3)
	require.Greater(t, told, 200)
	require.Len(t, of, 5, "each right at least once")
}

// sharesTold counts the changes that are told of registered records. It fails unless
// they are true, and all are told that neither the record's access nor the table's
// columns tell.
func sharesTold(t *testing.T, before, after *engine.Snapshot, st, next *access.State, at time.Time, list []engine.ColumnDiff, by string) (told int) {
	type place struct {
		user   access.UserID
		column string
	}
	for key := range next.Records {
		if _, known := st.Records[key]; !known {
			continue
		}
		got := map[place]engine.ColumnDiff{}
		for _, d := range list {
			if d.Table == key.Table && d.Record == key.Record {
				got[place{d.User, d.Column}] = d
				told++
			}
		}
		for u := range next.Users {
			for _, name := range next.Tables[key.Table].SecuredColumns() {
				on := func(s *engine.Snapshot, record *engine.Record) (engine.ColumnAccess, access.Rights) {
					q := engine.Question{User: u, Action: access.Read, Table: key.Table, Record: record, At: at, Channel: engine.API}
					all, err := s.Columns(q)
					rights, _ := s.Rights(q)
					i := slices.IndexFunc(all, func(c engine.ColumnAccess) bool { return c.Column == name })
					if err != nil || i < 0 {
						return engine.ColumnAccess{}, rights
					}
					return all[i], rights
				}
				record := &engine.Record{ID: key.Record, Registered: true}
				was, had := on(before, record)
				is, has := on(after, record)
				wasAll, _ := on(before, nil)
				isAll, _ := on(after, nil)
				d, found := got[place{u, name}]
				reads, loses := slices.Contains(d.Gained, engine.ReadsColumn), slices.Contains(d.Lost, engine.ReadsColumn)
				if found && st.Tables[key.Table].ID != "" && slices.Contains(st.Tables[key.Table].SecuredColumns(), name) {
					require.Equal(t, is.Read && !was.Read, reads, by)
					require.Equal(t, was.Read && !is.Read, loses, by)
				}
				if had == has && wasAll.Column != "" && isAll.Column != "" && wasAll == isAll && (was.Read != is.Read || was.Update != is.Update) {
					require.True(t, found, "%s of %v for %s %s", name, key, u, by)
				}
			}
		}
	}
	return told
}

// columnsBy is what the user has on the table's columns named, secured or not.
func columnsBy(s *engine.Snapshot, u access.UserID, table access.TableID, at time.Time, names []string) map[string]engine.ColumnAccess {
	q := engine.Question{User: u, Table: table, At: at, Channel: engine.API}
	out := map[string]engine.ColumnAccess{}
	list, err := s.Columns(q)
	if err != nil {
		return out
	}
	may := func(action access.Action) bool {
		q.Action = action
		d, err := s.Check(q)
		return err == nil && d.Allowed
	}
	for _, name := range names {
		out[name] = engine.ColumnAccess{Read: may(access.Read), Update: may(access.Write), Create: may(access.Create)}
	}
	for _, c := range list {
		out[c.Column] = c
	}
	return out
}

func rightsOn(c engine.ColumnAccess, masks bool) map[engine.ColumnRight]bool {
	return map[engine.ColumnRight]bool{
		engine.ReadsColumn: c.Read, engine.UpdatesColumn: c.Update, engine.CreatesColumn: c.Create,
		engine.ReadsUnmaskedOne: masks && c.Shows(false) == engine.Clear, engine.ReadsUnmaskedAll: masks && c.Shows(true) == engine.Clear,
	}
}
