package engine_test

import (
	"cmp"
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

// whoAll asks page by page.
func whoAll(t require.TestingT, s *engine.Snapshot, q engine.WhoQuestion) ([]access.UserID, error) {
	var out []access.UserID
	for {
		w, err := s.Who(q)
		if err != nil {
			return nil, err
		}
		require.LessOrEqual(t, len(w.Users), q.Limit)
		for _, u := range w.Users {
			out = append(out, access.UserID(u.ID))
		}
		if w.Next == "" {
			return out, nil
		}
		require.Equal(t, out[len(out)-1], w.Next)
		q.After = w.Next
	}
}

func TestRule_EVAL_10_WhoIsEachUserWhomCheckAllows(t *testing.T) {
	asked, listed := 0, 0
	for seed := range uint64(questions(t, 300_000) / 500) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 7)
		require.NoError(t, err)
		if seed%2 == 1 { // as after changes
			changes := enginetest.Changes(p, st)
			s, err = s.Apply(changes, 8)
			require.NoError(t, err)
			st.Apply(changes...)
		}
		users := slices.Sorted(maps.Keys(st.Users))
		for range 40 {
			q := enginetest.Question(p, st)
			q.Impersonator, q.Columns = "", nil
			var want []access.UserID
			var wrong error
			judged := false
			for _, u := range users {
				q.User = u
				d, err := s.Check(q)
				if _, ok := st.BusinessUnits[st.Users[u].BusinessUnit]; !ok {
					continue // about this user nothing can be said
				}
				wrong, judged = errors.Join(wrong, err), true
				if d.Allowed {
					want = append(want, u)
				}
			}
			got, err := whoAll(t, s, engine.WhoQuestion{
				Action: q.Action, Table: q.Table, Record: q.Record, Privilege: q.Privilege, At: q.At, Channel: q.Channel, Limit: 1 + p(3), Origins: p(4) == 0,
			})
			if wrong != nil {
				require.Error(t, err, "%v", wrong)
				continue
			}
			if !judged {
				continue
			}
			require.NoError(t, err)
			if !slices.Equal(want, got) {
				require.Fail(t, "who and check disagree", "want %v, got %v\n%s", want, got, show(st, q))
			}
			asked++
			listed += len(got)
		}
	}
	t.Logf("%d questions, %d users listed", asked, listed)
	require.Greater(t, listed, asked/4)
}

// Whoever comes later than the snapshot was loaded, or out of order, is listed among
// the others all the same.
func TestRule_EVAL_10_WhoComesInTheOrderOfIds(t *testing.T) {
	user := func(id, manager access.UserID) access.User {
		return access.User{Environment: "e", ID: id, Login: string(id), BusinessUnit: "north", Enabled: true, Manager: manager}
	}
	objects := []access.Object{
		access.Environment{ID: "e", Modernized: true},
		access.BusinessUnit{Environment: "e", ID: "north"},
		access.Table{Environment: "e", ID: "account"},
		access.Role{Environment: "e", ID: "reader", BusinessUnit: "north", Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Local}}},
		access.Assignment{Environment: "e", ID: "all", Role: "reader", Principal: access.BusinessUnitID("north").DefaultTeam().Principal(), BusinessUnit: "north"},
	}
	for name, order := range map[string][]access.UserID{"in order": {"b", "d", "f"}, "in none": {"f", "b", "d"}} {
		t.Run(name, func(t *testing.T) {
			s, err := engine.Load(func(yield func(access.Object) bool) {
				for _, id := range order {
					if !yield(user(id, "f")) {
						return
					}
				}
				for _, o := range objects {
					if !yield(o) {
						return
					}
				}
			}, 1)
			require.NoError(t, err)
			s, err = s.Apply([]access.Change{access.Put(user("c", "a")), access.Put(user("a", "")), access.Put(user("g", "h")), access.Put(user("e", ""))}, 2)
			require.NoError(t, err)
			q := engine.WhoQuestion{Action: access.Read, Table: "account", Record: &engine.Record{Owner: access.UserID("b").Principal(), BusinessUnit: "north"}, At: noon}
			for q.Limit = 1; q.Limit < 8; q.Limit++ {
				got, err := whoAll(t, s, q)
				require.NoError(t, err)
				require.Equal(t, []access.UserID{"a", "b", "c", "d", "e", "f", "g"}, got)
			}
			q.After = "bb"
			got, err := whoAll(t, s, q)
			require.NoError(t, err)
			require.Equal(t, []access.UserID{"c", "d", "e", "f", "g"}, got)
		})
	}
}

// A company is large enough that candidates are few, many or almost all.
func TestRule_EVAL_10_WhoOfACompany(t *testing.T) {
	const users = 1_000
	st := organisation(users)
	narrow := access.Role{Environment: company, ID: "narrow", Name: "narrow", BusinessUnit: unitID(0)}
	for i, d := range []access.Depth{access.Basic, access.Local, access.Deep, access.Global} {
		narrow.Privileges = append(narrow.Privileges, access.Privilege{Table: access.TableID("narrow-" + d.String()), Action: access.Read, Depth: d})
		st.Apply(access.Put(access.Table{Environment: company, ID: narrow.Privileges[i].Table, Name: d.String()}))
	}
	slices.SortFunc(narrow.Privileges, func(x, y access.Privilege) int { return cmp.Compare(x.Table, y.Table) })
	st.Apply(access.Put(narrow))
	for i := range 8 {
		u := userID(i * 97)
		st.Apply(access.Put(access.Assignment{Environment: company, ID: access.AssignmentID(fmt.Sprint("narrow-", i)), Role: "narrow", Principal: u.Principal(), BusinessUnit: st.Users[u].BusinessUnit}))
		st.Apply(access.Put(access.Share{Environment: company, Table: "narrow-user", Record: "record-1", Principal: u.Principal(), Rights: access.RightsOf(access.Read)}))
	}
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	questions := newAsker(st, users)
	questions.tables = append([]access.TableID{"narrow-user", "narrow-business_unit", "narrow-parent_child", "narrow-organization"}, questions.tables...)
	sizes := map[bool]int{}
	for i := range 60 {
		q := questions.question(i)
		if q.Table = questions.tables[i%len(questions.tables)]; i < 8 {
			q.Action = access.Read
		}
		if i%3 == 2 {
			q.Record = nil
		}
		var want []access.UserID
		for u := range users {
			q.User = userID(u)
			d, err := s.Check(q)
			require.NoError(t, err)
			if d.Allowed {
				want = append(want, q.User)
			}
		}
		for _, limit := range []int{3, 100, 1000} {
			got, err := whoAll(t, s, engine.WhoQuestion{Action: q.Action, Table: q.Table, Record: q.Record, At: q.At, Limit: limit})
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		sizes[len(want) > users/2]++
	}
	require.Greater(t, sizes[true], 5)
	require.Greater(t, sizes[false], 5)
}

func TestRule_EVAL_10_WhoByHand(t *testing.T) {
	s := records(t, append(reads(access.Deep),
		access.User{Environment: "e", ID: "anna", Name: "Anna", Login: "anna", BusinessUnit: "oslo", Enabled: true},
		access.Role{
			Environment: "e", ID: "basic", Name: "Basic", BusinessUnit: "root", Inheritance: access.TeamOnly,
			Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Basic}}, Miscellaneous: []string{"Export"},
		},
		access.Assignment{Environment: "e", ID: "b", Role: "basic", Principal: access.BusinessUnitID("south").DefaultTeam().Principal(), BusinessUnit: "south"},
		access.Share{Environment: "e", Table: "account", Record: "1", Principal: access.UserID("bert").Principal(), Rights: access.RightsOf(access.Read)},
		access.Share{Environment: "e", Table: "account", Record: "2", Principal: access.Principal{Kind: access.Everybody}, Rights: access.RightsOf(access.Read)},
		access.User{Environment: "e", ID: "zoe", Login: "zoe", BusinessUnit: "south"})...)
	north := engine.Record{ID: "x", Owner: access.UserID("zoe").Principal(), BusinessUnit: "north"}
	shared, withAll, team := north, north, north
	shared.ID, withAll.ID = "1", "2"
	team.Owner = access.BusinessUnitID("south").DefaultTeam().Principal()
	for name, c := range map[string]struct {
		q    engine.WhoQuestion
		want []access.UserID
	}{
		"a role that reaches the unit":   {engine.WhoQuestion{Action: access.Read, Table: "account", Record: &north}, []access.UserID{"anna"}},
		"a share as well":                {engine.WhoQuestion{Action: access.Read, Table: "account", Record: &shared}, []access.UserID{"anna", "bert"}},
		"a share with everybody":         {engine.WhoQuestion{Action: access.Read, Table: "account", Record: &withAll}, []access.UserID{"anna", "bert"}},
		"members of the owning team":     {engine.WhoQuestion{Action: access.Read, Table: "account", Record: &team}, []access.UserID{"anna", "bert"}},
		"the table":                      {engine.WhoQuestion{Action: access.Read, Table: "account"}, []access.UserID{"anna", "bert"}},
		"a miscellaneous privilege":      {engine.WhoQuestion{Privilege: "Export"}, []access.UserID{"bert"}},
		"nobody":                         {engine.WhoQuestion{Action: access.Delete, Table: "account", Record: &north}, nil},
		"those after somebody":           {engine.WhoQuestion{Action: access.Read, Table: "account", After: "anna"}, []access.UserID{"bert"}},
		"those after one who is not one": {engine.WhoQuestion{Action: access.Read, Table: "account", After: "b"}, []access.UserID{"bert"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.At, c.q.Limit = noon, 1
			got, err := whoAll(t, s, c.q)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	t.Run("with names and origins", func(t *testing.T) {
		q := engine.WhoQuestion{Action: access.Read, Table: "account", Record: &shared, At: noon, Origins: true}
		w, err := s.Who(q)
		require.NoError(t, err)
		require.Equal(t, access.Revision(7), w.Revision)
		require.Len(t, w.Users, 2)
		require.Equal(t, engine.Named{ID: "anna", Name: "Anna"}, w.Users[0].Named)
		require.Equal(t, engine.ByRole, w.Users[0].Origins[0].Way)
		require.Equal(t, engine.ByShare, w.Users[1].Origins[0].Way)
	})
	for name, c := range map[string]struct {
		q    engine.WhoQuestion
		want error
	}{
		"without an instant":     {engine.WhoQuestion{Action: access.Read, Table: "account"}, engine.ErrQuestion},
		"of an unknown table":    {engine.WhoQuestion{Action: access.Read, Table: "x", At: noon}, engine.ErrUnknown},
		"of an unknown owner":    {engine.WhoQuestion{Action: access.Read, Table: "account", At: noon, Record: &engine.Record{Owner: access.UserID("x").Principal(), BusinessUnit: "root"}}, engine.ErrUnknown},
		"of table and privilege": {engine.WhoQuestion{Action: access.Read, Table: "account", Privilege: "Export", At: noon}, engine.ErrQuestion},
		"of less than nobody":    {engine.WhoQuestion{Action: access.Read, Table: "account", At: noon, Limit: -1}, engine.ErrQuestion},
		"by an unknown channel":  {engine.WhoQuestion{Action: access.Read, Table: "account", At: noon, Channel: "fax"}, engine.ErrQuestion},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Who(c.q)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestRule_HIER_2_WhoAreManagersToo(t *testing.T) {
	user := func(id, manager access.UserID, position access.PositionID) access.User {
		return access.User{Environment: "e", ID: id, Login: string(id), BusinessUnit: "north", Enabled: true, Manager: manager, Position: position}
	}
	more := append(reads(access.Basic), user("anna", "", "top"), user("bert", "anna", "mid"), user("carl", "bert", "low"),
		access.Position{Environment: "e", ID: "top"}, access.Position{Environment: "e", ID: "mid", Parent: "top"}, access.Position{Environment: "e", ID: "low", Parent: "mid"},
		access.Assignment{Environment: "e", ID: "b", Role: "reader", Principal: access.BusinessUnitID("north").DefaultTeam().Principal(), BusinessUnit: "north"})
	record := engine.Record{Owner: access.UserID("carl").Principal(), BusinessUnit: "north"}
	for model, levels := range map[access.HierarchyModel][][]access.UserID{
		access.ManagerHierarchy:  {{"bert", "carl"}, {"anna", "bert", "carl"}},
		access.PositionHierarchy: {{"bert", "carl"}, {"anna", "bert", "carl"}},
	} {
		for depth, want := range levels {
			s := records(t, append(more, access.Environment{ID: "e", Modernized: true, Hierarchy: &access.Hierarchy{Model: model, Depth: depth + 1}})...)
			got, err := whoAll(t, s, engine.WhoQuestion{Action: access.Read, Table: "account", Record: &record, At: noon, Limit: 10})
			require.NoError(t, err)
			require.Equal(t, want, got, "%v %d", model, depth+1)
		}
	}
}
