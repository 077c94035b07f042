package engine_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

// recordIDs are those of which the organisation's shares speak, and none.
func recordIDs(st *access.State) []access.RecordID {
	ids := map[access.RecordID]bool{"": true}
	for k := range st.Shares {
		ids[k.Record] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// without is the filter but for what time and revision say.
func without(f engine.Filter) string {
	f.ValidUntil = time.Time{}
	b, _ := json.Marshal(f)
	return string(b)
}

func TestRule_EVAL_7_TheFilterSelectsWhatCheckAllows(t *testing.T) {
	compared, selected, reasons := 0, 0, map[engine.Reason]int{}
	for seed := range uint64(questions(t, 300_000) / 1_000) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 7)
		require.NoError(t, err)
		if seed%2 == 1 { // as after changes
			changes := enginetest.Changes(p, st)
			s, err = s.Apply(changes, 7)
			require.NoError(t, err)
			st.Apply(changes...)
		}
		ids, users := recordIDs(st), slices.Sorted(maps.Keys(st.Users))
		for range 30 {
			base := enginetest.Question(p, st)
			if base.Impersonator == "" && p(6) == 0 {
				base.Impersonator = users[p(len(users))]
			}
			q := engine.FilterQuestion{User: base.User, Action: base.Action, Table: base.Table, At: base.At, Channel: base.Channel, Impersonator: base.Impersonator}
			f, err := s.Filter(q)
			ask := engine.Question{User: q.User, Action: q.Action, Table: q.Table, At: q.At, Channel: q.Channel, Impersonator: q.Impersonator}
			d, wrong := s.Check(ask)
			if wrong != nil || q.Action == access.Create {
				require.Error(t, err)
				require.True(t, errors.Is(err, engine.ErrQuestion) || errors.Is(err, engine.ErrUnknown) || errors.Is(err, engine.ErrLocked), "%v", err)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, d.Reason, f.Reason)
			reasons[f.Reason]++
			eachRecord(st, st.Tables[q.Table], func(owner access.Principal, unit access.BusinessUnitID) {
				for _, id := range ids {
					ask.Record = &engine.Record{ID: id, Owner: owner, BusinessUnit: unit}
					d, err := s.Check(ask)
					require.NoError(t, err)
					if compared++; d.Allowed {
						selected++
					}
					if d.Allowed != f.Selects(*ask.Record) {
						require.Fail(t, "filter and check disagree", "allowed: %t\n%s\n%s", d.Allowed, without(f), show(st, ask))
					}
				}
			})
			// Nothing changes before ValidUntil.
			for range 3 {
				later := q
				if later.At = enginetest.Instant(p); later.At.Before(q.At) || !f.ValidUntil.IsZero() && !later.At.Before(f.ValidUntil) {
					continue
				}
				g, err := s.Filter(later)
				require.NoError(t, err)
				require.Equal(t, without(f), without(g), "at %v and %v, until %v", q.At, later.At, f.ValidUntil)
			}
		}
	}
	t.Logf("%d records compared, %d selected, %v", compared, selected, reasons)
	require.Greater(t, selected, compared/20)
	require.Greater(t, reasons[engine.Allowed], questions(t, 300_000)/300)
}

func TestRule_EVAL_7_FilterByHand(t *testing.T) {
	reader := func(o engine.FilterQuestion) engine.FilterQuestion {
		o.User, o.Action, o.At = "anna", access.Read, noon
		return o
	}
	account := reader(engine.FilterQuestion{Table: "account"})
	anna := access.User{Environment: "e", ID: "anna", Login: "anna", BusinessUnit: "oslo", Enabled: true}
	role := func(inheritance access.Inheritance, d access.Depth) access.Role {
		return access.Role{
			Environment: "e", ID: "role", BusinessUnit: "root", Inheritance: inheritance,
			Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: d}},
		}
	}
	crew := access.Assignment{Environment: "e", ID: "a", Role: "role", Principal: access.TeamID("crew").Principal(), BusinessUnit: "south"}
	until := access.Window{End: noon.Add(time.Hour)}
	disabled, stand := anna, crew
	disabled.Enabled = false
	stand.ID, stand.Role, stand.Principal = "b", "other", access.UserID("anna").Principal()
	for name, c := range map[string]struct {
		more []access.Object
		q    engine.FilterQuestion
		want string // of reason, valid_until and all
	}{
		"without a role nothing":  {nil, account, `{"reason":"no_role"}`},
		"a disabled user nothing": {append(reads(access.Global), disabled), account, `{"reason":"user_disabled"}`},
		"user depth is what the user and the user's teams own": {
			reads(access.Basic), account,
			`{"reason":"allowed","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"]}]}`,
		},
		"business unit adds that unit": {
			reads(access.Local), account,
			`{"reason":"allowed","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"],"business_units":["north"]}]}`,
		},
		"parent: child adds the subtree": {
			reads(access.Deep), account,
			`{"reason":"allowed","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"],"business_units":["north","oslo"]}]}`,
		},
		"organization is everything": {reads(access.Global), account, `{"reason":"allowed","all":[{"everything":true}]}`},
		"so is the root's subtree": {
			[]access.Object{role(access.TeamOnly, access.Deep), access.Assignment{Environment: "e", ID: "a", Role: "role", Principal: access.TeamID("crew").Principal(), BusinessUnit: "root"}},
			account,
			`{"reason":"allowed","all":[{"everything":true}]}`,
		},
		"a team's own role reaches that team's records": {
			[]access.Object{role(access.TeamOnly, access.Basic), crew},
			account,
			`{"reason":"allowed","all":[{"owner_teams":["crew"]}]}`,
		},
		"and its unit's": {
			[]access.Object{role(access.DirectUser, access.Local), crew},
			account,
			`{"reason":"allowed","all":[{"owner_teams":["crew"],"business_units":["south"]}]}`,
		},
		"inherited, it is as the user's own": {
			[]access.Object{role(access.DirectUser, access.Basic), crew},
			account,
			`{"reason":"allowed","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"]}]}`,
		},
		"organization-owned records are all or none":        {reads(access.Global), reader(engine.FilterQuestion{Table: "setting"}), `{"reason":"allowed","all":[{"everything":true}]}`},
		"and none below organization":                       {reads(access.Deep), reader(engine.FilterQuestion{Table: "setting"}), `{"reason":"no_privilege"}`},
		"records of units are those of units":               {reads(access.Deep), reader(engine.FilterQuestion{Table: "site"}), `{"reason":"allowed","all":[{"business_units":["north","oslo"]}]}`},
		"not the user's":                                    {reads(access.Basic), reader(engine.FilterQuestion{Table: "site"}), `{"reason":"no_privilege"}`},
		"records without an owner need the privilege alone": {reads(access.Basic), reader(engine.FilterQuestion{Table: "link"}), `{"reason":"allowed","all":[{"everything":true}]}`},
		"shares count for the right, to the user, to the user's teams and to everybody": {
			append(reads(access.Basic),
				access.Share{Environment: "e", Table: "account", Record: "1", Principal: access.UserID("anna").Principal(), Rights: access.RightsOf(access.Read)},
				access.Share{Environment: "e", Table: "account", Record: "2", Principal: access.TeamID("crew").Principal(), Inherited: access.RightsOf(access.Read)},
				access.Share{Environment: "e", Table: "account", Record: "3", Principal: access.Principal{Kind: access.Everybody}, Rights: access.RightsOf(access.Read), Window: until},
				access.Share{Environment: "e", Table: "account", Record: "4", Principal: access.UserID("anna").Principal(), Rights: access.RightsOf(access.Write)},
				access.Share{Environment: "e", Table: "account", Record: "5", Principal: access.UserID("bert").Principal(), Rights: access.RightsOf(access.Read)},
				access.Share{Environment: "e", Table: "setting", Record: "6", Principal: access.UserID("anna").Principal(), Rights: access.RightsOf(access.Read)}), account,
			`{"reason":"allowed","valid_until":"2026-03-01T13:00:00Z","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"],"records":["1","2","3"]}]}`,
		},
		"a share not yet begun counts from then on": {
			append(reads(access.Basic),
				access.Share{Environment: "e", Table: "account", Record: "1", Principal: access.UserID("anna").Principal(), Rights: access.RightsOf(access.Read), Window: access.Window{Start: noon.Add(time.Minute)}}), account,
			`{"reason":"allowed","valid_until":"2026-03-01T12:01:00Z","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"]}]}`,
		},
		"an elevation widens it for a while": {
			append(reads(access.Basic), role(access.DirectUser, access.Local),
				access.Assignment{Environment: "e", ID: "b", Role: "role", Principal: access.UserID("anna").Principal(), BusinessUnit: "south", Window: until}), account,
			`{"reason":"allowed","valid_until":"2026-03-01T13:00:00Z","all":[{"owner_users":["anna"],"owner_teams":["crew","default:oslo"],"business_units":["south"]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := records(t, c.more...).Filter(c.q)
			require.NoError(t, err)
			require.Equal(t, access.Revision(7), f.Revision)
			b, err := json.Marshal(f)
			require.NoError(t, err)
			var got map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(b, &got))
			for _, other := range []string{"user", "action", "table", "revision"} {
				delete(got, other)
			}
			b, err = json.Marshal(got)
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(b))
		})
	}
}

func TestRule_EVAL_7_WhatCannotBeJudgedHasNoFilter(t *testing.T) {
	s := records(t, reads(access.Global)...)
	ok := engine.FilterQuestion{User: "anna", Action: access.Read, Table: "account", At: noon}
	_, err := s.Filter(ok)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*engine.FilterQuestion)
		want   error
	}{
		"create":               {func(q *engine.FilterQuestion) { q.Action = access.Create }, engine.ErrQuestion},
		"no instant":           {func(q *engine.FilterQuestion) { q.At = time.Time{} }, engine.ErrQuestion},
		"no user":              {func(q *engine.FilterQuestion) { q.User = "" }, engine.ErrUnknown},
		"an unknown user":      {func(q *engine.FilterQuestion) { q.User = "zoe" }, engine.ErrUnknown},
		"no table":             {func(q *engine.FilterQuestion) { q.Table = "" }, engine.ErrUnknown},
		"an unknown table":     {func(q *engine.FilterQuestion) { q.Table = "x" }, engine.ErrUnknown},
		"an unknown action":    {func(q *engine.FilterQuestion) { q.Action = access.Actions }, engine.ErrUnknown},
		"an unknown channel":   {func(q *engine.FilterQuestion) { q.Channel = "fax" }, engine.ErrQuestion},
		"impersonated by none": {func(q *engine.FilterQuestion) { q.Impersonator = "zoe" }, engine.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			q := ok
			c.change(&q)
			f, err := s.Filter(q)
			require.ErrorIs(t, err, c.want)
			require.False(t, f.Selects(engine.Record{Owner: access.UserID("anna").Principal(), BusinessUnit: "oslo"}))
		})
	}
}

func TestRule_FLS_6_NoSelectionByWhatIsNotShownInLists(t *testing.T) {
	table := access.Table{Environment: "e", ID: "account", Columns: []access.Column{
		{Name: "budget", Secured: true}, {Name: "iban", Secured: true, Mask: &access.Mask{Pattern: ".", Replace: "*"}}, {Name: "limit", From: []string{"budget"}},
	}}
	gives := func(lines ...access.ProfileColumn) []access.Object {
		for i := range lines {
			lines[i].Table = "account"
		}
		return append(reads(access.Basic), table, access.Profile{Environment: "e", ID: "p", Columns: lines},
			access.ProfileMember{Environment: "e", Profile: "p", Principal: access.TeamID("crew").Principal()})
	}
	until := access.Window{End: noon.Add(time.Hour)}
	administrator := []access.Object{
		access.Role{Environment: "e", ID: "all", Name: "all", BusinessUnit: "root", All: true},
		access.Assignment{Environment: "e", ID: "all", Role: "all", Principal: access.UserID("anna").Principal(), BusinessUnit: "root", Window: until},
	}
	for name, c := range map[string]struct {
		more []access.Object
		by   []string
		want engine.Reason
	}{
		"by a column that is not secured":                     {gives(), []string{"name"}, engine.Allowed},
		"by a secured one":                                    {gives(), []string{"name", "budget"}, engine.NoColumnAccess},
		"by one calculated from it":                           {gives(access.ProfileColumn{Column: "budget", Read: true}), []string{"limit"}, engine.NoColumnAccess},
		"by one that may be read":                             {gives(access.ProfileColumn{Column: "budget", Read: true}), []string{"budget"}, engine.Allowed},
		"by one that may only be set":                         {gives(access.ProfileColumn{Column: "budget", Update: true, Create: true}), []string{"budget"}, engine.NoColumnAccess},
		"by one that is read masked":                          {gives(access.ProfileColumn{Column: "iban", Read: true}), []string{"iban"}, engine.NoColumnAccess},
		"by one that is read unmasked in one record":          {gives(access.ProfileColumn{Column: "iban", Read: true, Unmasked: access.UnmaskedOneRecord}), []string{"iban"}, engine.NoColumnAccess},
		"by one that is read unmasked in all":                 {gives(access.ProfileColumn{Column: "iban", Read: true, Unmasked: access.UnmaskedAllRecords}), []string{"iban"}, engine.Allowed},
		"by any, for an administrator":                        {append(gives(), administrator...), []string{"budget", "iban", "limit"}, engine.Allowed},
		"by one that is shared of a record, which is no list": {append(gives(), access.ColumnShare{Environment: "e", Table: "account", Record: "1", Column: "budget", Principal: access.UserID("anna").Principal(), Read: true}), []string{"budget"}, engine.NoColumnAccess},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := records(t, c.more...).Filter(engine.FilterQuestion{User: "anna", Action: access.Read, Table: "account", At: noon, By: c.by})
			require.NoError(t, err)
			require.Equal(t, c.want, f.Reason)
			require.Equal(t, c.want == engine.Allowed, f.Selects(engine.Record{Owner: access.UserID("anna").Principal(), BusinessUnit: "oslo"}))
		})
	}
	t.Run("until the administrator's role ends", func(t *testing.T) {
		f, err := records(t, append(gives(), administrator...)...).Filter(engine.FilterQuestion{User: "anna", Action: access.Read, Table: "account", At: noon, By: []string{"budget"}})
		require.NoError(t, err)
		require.Equal(t, until.End, f.ValidUntil)
	})
}

func TestRule_EVAL_7_FilterOnBehalfOfAnotherAsksBoth(t *testing.T) {
	role := access.Role{
		Environment: "e", ID: "act", Name: "act", BusinessUnit: "root", Miscellaneous: []string{engine.ActOnBehalf},
		Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Basic}},
	}
	s := records(t, append(reads(access.Deep), role,
		access.Assignment{Environment: "e", ID: "b", Role: "act", Principal: access.UserID("bert").Principal(), BusinessUnit: "south"},
		access.Share{Environment: "e", Table: "account", Record: "1", Principal: access.UserID("bert").Principal(), Rights: access.RightsOf(access.Read)})...)
	f, err := s.Filter(engine.FilterQuestion{User: "anna", Action: access.Read, Table: "account", At: noon, Impersonator: "bert"})
	require.NoError(t, err)
	require.Len(t, f.All, 2)
	bert := access.UserID("bert").Principal()
	require.True(t, f.Selects(engine.Record{Owner: bert, BusinessUnit: "oslo"}), "both reach it")
	require.False(t, f.Selects(engine.Record{Owner: bert, BusinessUnit: "south"}), "only bert does")
	require.False(t, f.Selects(engine.Record{Owner: access.UserID("anna").Principal(), BusinessUnit: "oslo"}), "only anna does")
	require.True(t, f.Selects(engine.Record{ID: "1", Owner: access.UserID("anna").Principal(), BusinessUnit: "oslo"}), "it is shared with bert")
	where, _, err := f.SQL(engine.PostgreSQL, columns)
	require.NoError(t, err)
	require.Contains(t, where, ") AND (")

	f, err = s.Filter(engine.FilterQuestion{User: "bert", Action: access.Read, Table: "account", At: noon, Impersonator: "anna"})
	require.NoError(t, err)
	require.Equal(t, engine.MayNotImpersonate, f.Reason)
	require.True(t, f.OfImpersonator)
	where, _, err = f.SQL(engine.SQLite, columns)
	require.NoError(t, err)
	require.Equal(t, "1 = 0", where)
}

func TestRule_HIER_2_FilterOfAManagerReachesWhatReportsOwnAndAreSharedWith(t *testing.T) {
	anna := access.User{Environment: "e", ID: "anna", Login: "anna", BusinessUnit: "north", Enabled: true}
	carl := access.User{Environment: "e", ID: "carl", Login: "carl", BusinessUnit: "oslo", Enabled: true, Manager: "anna"}
	dora := access.User{Environment: "e", ID: "dora", Login: "dora", BusinessUnit: "oslo", Enabled: true, Manager: "carl"}
	s := records(t, append(reads(access.Basic), anna, carl, dora,
		access.Environment{ID: "e", Modernized: true, Hierarchy: &access.Hierarchy{Depth: 1}},
		access.Team{Environment: "e", ID: "club", BusinessUnit: "south"},
		access.Membership{Environment: "e", Team: "club", User: "carl"},
		access.Share{Environment: "e", Table: "account", Record: "1", Principal: access.UserID("carl").Principal(), Rights: access.RightsOf(access.Read)},
		access.Share{Environment: "e", Table: "account", Record: "2", Principal: access.TeamID("club").Principal(), Rights: access.RightsOf(access.Read)},
		access.Share{Environment: "e", Table: "account", Record: "3", Principal: access.UserID("dora").Principal(), Rights: access.RightsOf(access.Read)})...)
	f := filter(t, s, "account")
	require.Equal(t, []engine.Clause{{
		Users: []access.UserID{"anna", "carl"}, Teams: []access.TeamID{"club", "crew", "default:north", "default:oslo"}, Records: []access.RecordID{"1", "2"},
	}}, f.All)
}
