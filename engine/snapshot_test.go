package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

func TestRule_OWN_9_MayOwnAgreesWithTheReference(t *testing.T) {
	seen := map[bool]int{}
	for seed := range uint64(400) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		r := enginetest.Reference{State: st}
		at := enginetest.Instant(p)
		for _, table := range st.Tables {
			for _, who := range []access.Principal{
				access.UserID("u0").Principal(), access.UserID("u1").Principal(), access.TeamID("t0").Principal(),
				access.BusinessUnitID("b0").DefaultTeam().Principal(),
				{Kind: access.Everybody},
			} {
				want, wantErr := r.MayOwn(who, table.ID, at)
				got, gotErr := s.MayOwn(who, table.ID, at)
				require.Equal(t, wantErr, gotErr != nil, "%v", gotErr)
				require.Equal(t, want, got)
				seen[got]++
			}
		}
	}
	require.Greater(t, seen[true], 100)
}

func TestHoldsIsAQuestionAboutTheMiscellaneousPrivilege(t *testing.T) {
	st := access.NewState("e")
	for _, o := range []access.Object{
		access.BusinessUnit{Environment: "e", ID: "root"},
		access.Role{Environment: "e", ID: "r", BusinessUnit: "root", Miscellaneous: []string{"Print", "Export"}},
		access.User{Environment: "e", ID: "anna", BusinessUnit: "root", Enabled: true},
		access.Assignment{Environment: "e", ID: "a", Role: "r", Principal: access.UserID("anna").Principal(), BusinessUnit: "root"},
	} {
		st.Apply(access.Put(o))
	}
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	for name, want := range map[string]bool{"Export": true, "Print": true, "Merge": false} {
		got, err := s.Holds("anna", name, noon)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	_, err = s.Holds("nobody", "Export", noon)
	require.ErrorIs(t, err, engine.ErrUnknown)
	_, err = s.Holds("anna", "Export", time.Time{})
	require.ErrorIs(t, err, engine.ErrQuestion)
}

// An organisation that grows change by change outgrows every index that it began
// with; it must still be what New makes of it.
func TestAnOrganisationMadeByChangesIsTheOneMadeAtOnce(t *testing.T) {
	st := organisation(3_000)
	empty := access.NewState(company)
	grown, err := engine.New(empty, 0)
	require.NoError(t, err)
	var all []access.Change
	put := func(o access.Object) { all = append(all, access.Put(o)) }
	for i := range len(st.BusinessUnits) {
		put(st.BusinessUnits[unitID(i)])
	}
	for _, o := range st.Tables {
		put(o)
	}
	for _, o := range st.Roles {
		put(o)
	}
	for _, o := range st.Users {
		put(o)
	}
	for _, o := range st.Teams {
		put(o)
	}
	for _, o := range st.Memberships {
		put(o)
	}
	for _, o := range st.Assignments {
		put(o)
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range 2_000 {
		owner := st.Users[userID(rng.IntN(3_000))]
		rec := access.RecordID(fmt.Sprint("record-", i))
		o := access.Record{Environment: company, Table: tableID(i % 3), ID: rec, Owner: owner.ID.Principal(), BusinessUnit: owner.BusinessUnit}
		sh := access.Share{Environment: company, Table: o.Table, Record: rec, Principal: userID(rng.IntN(3_000)).Principal(), Rights: 254}
		st.Apply(access.Put(o), access.Put(sh))
		put(o)
		put(sh)
	}
	rev := access.Revision(0)
	for len(all) > 0 {
		n := min(len(all), 1+rng.IntN(400))
		if rev == 0 {
			n = 200 // the whole tree: part of it need not be a tree
		}
		rev++
		grown, err = grown.Apply(all[:n], rev)
		require.NoError(t, err)
		all = all[n:]
	}
	made, err := engine.New(st, rev)
	require.NoError(t, err)
	// Then a part of everything goes again.
	var gone []access.Change
	for _, o := range st.Assignments {
		if rng.IntN(3) == 0 {
			gone = append(gone, access.Remove(o))
		}
	}
	for _, o := range st.Shares {
		if rng.IntN(3) == 0 {
			gone = append(gone, access.Remove(o))
		}
	}
	for _, o := range st.Memberships {
		if rng.IntN(3) == 0 {
			gone = append(gone, access.Remove(o))
		}
	}
	after := enginetest.Clone(st)
	after.Apply(gone...)
	less, err := grown.Apply(gone, rev+1)
	require.NoError(t, err)
	lessMade, err := engine.New(after, rev+1)
	require.NoError(t, err)
	allowed := 0
	for i := range 20_000 {
		rec := st.Records[access.RecordKey{Table: tableID(i % 2_000 % 3), Record: access.RecordID(fmt.Sprint("record-", i%2_000))}]
		q := engine.Question{
			User: userID(rng.IntN(3_000)), Action: access.Action(1 + rng.IntN(7)), Table: rec.Table, At: noon,
			Record: &engine.Record{ID: rec.ID, Registered: true},
		}
		if i%2 == 0 {
			for k := range st.Shares {
				if k.Record == rec.ID {
					q.User = access.UserID(k.Principal.ID)
				}
				break
			}
		}
		for _, pair := range [][2]*engine.Snapshot{{made, grown}, {lessMade, less}} {
			want, err := pair[0].Check(q)
			require.NoError(t, err)
			got, err := pair[1].Check(q)
			require.NoError(t, err)
			require.Equal(t, want, got)
			if got.Allowed {
				allowed++
			}
		}
	}
	require.Greater(t, allowed, 1_000)
}

func TestWhatCannotBeCompiledIsAnErrorAndChangesNothing(t *testing.T) {
	base := func() *access.State {
		st := access.NewState("e")
		st.Apply(access.Put(access.BusinessUnit{Environment: "e", ID: "root"}), access.Put(access.BusinessUnit{Environment: "e", ID: "below", Parent: "root"}))
		return st
	}
	for name, c := range map[string]struct {
		object access.Object
		says   string
	}{
		"a second root":              {access.BusinessUnit{Environment: "e", ID: "other"}, "both have no parent (Rule BU-1)"},
		"a parent that is not there": {access.BusinessUnit{Environment: "e", ID: "other", Parent: "moon"}, `parent "moon" does not exist (Rule BU-1)`},
		"a cycle":                    {access.BusinessUnit{Environment: "e", ID: "root", Parent: "below"}, "cycle"},
		"a stored default team":      {access.Team{Environment: "e", ID: "default:root", BusinessUnit: "root"}, "Rule BU-6"},
		"a member put into one":      {access.Membership{Environment: "e", Team: "default:root", User: "anna"}, "Rule BU-6"},
		"a role for everybody":       {access.Assignment{Environment: "e", ID: "a", Principal: access.Principal{Kind: access.Everybody}}, "a role is assigned to a user or a team"},
		"an impossible depth": {
			access.Role{Environment: "e", ID: "r", BusinessUnit: "root", Privileges: []access.Privilege{{Table: "t", Depth: 9}}},
			"Rule ROLE-14",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := engine.New(base(), 1)
			require.NoError(t, err)
			next, err := s.Apply([]access.Change{access.Put(c.object)}, 2)
			require.ErrorContains(t, err, c.says)
			require.Nil(t, next)
			st := base()
			st.Apply(access.Put(c.object))
			_, err = engine.New(st, 1)
			require.ErrorContains(t, err, c.says)
		})
	}
	s, err := engine.New(base(), 1)
	require.NoError(t, err)
	_, err = s.Apply([]access.Change{access.Put(access.BusinessUnit{Environment: "other", ID: "x"})}, 2)
	require.ErrorContains(t, err, `is of environment "other"`)
	_, err = s.Apply([]access.Change{access.Remove(access.Environment{ID: "e"})}, 2)
	require.ErrorContains(t, err, "deleted")
}

func TestRule_EVAL_1_QuestionsThatCannotBeJudged(t *testing.T) {
	tables, err := decisions()
	require.NoError(t, err)
	i := slices.IndexFunc(tables, func(t enginetest.Table) bool { return t.File == "roles.yaml" })
	s, err := engine.New(tables[i].State, 1)
	require.NoError(t, err)
	anna := access.UserID("anna").Principal()
	for name, q := range map[string]engine.Question{
		"no instant":                  {User: "anna", Table: "account"},
		"an action that is none":      {User: "anna", Table: "account", Action: access.Actions, At: noon},
		"a privilege and a table":     {User: "anna", Table: "account", Privilege: "Export", At: noon},
		"nothing at all":              {User: "anna", At: noon},
		"a record that is not there":  {User: "anna", Table: "account", Action: access.Read, Record: &engine.Record{ID: "lost", Registered: true}, At: noon},
		"facts and registered":        {User: "anna", Table: "account", Action: access.Read, Record: &engine.Record{ID: "anna's", Registered: true, Owner: anna}, At: noon},
		"creating what is registered": {User: "anna", Table: "account", Record: &engine.Record{ID: "anna's", Registered: true}, At: noon},
		"everybody as the owner":      {User: "anna", Table: "account", Action: access.Read, Record: &engine.Record{Owner: access.Principal{Kind: access.Everybody}}, At: noon},
		"a team that is not there":    {User: "anna", Table: "account", Action: access.Read, Record: &engine.Record{Owner: access.TeamID("lost").Principal()}, At: noon},
		"a team as the one who asks":  {User: "Owners", Table: "account", Action: access.Read, At: noon},
		"an owner without an id":      {User: "anna", Table: "account", Action: access.Read, Record: &engine.Record{BusinessUnit: "Sales"}, At: noon},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := s.Check(q)
			require.Error(t, err)
			require.Equal(t, engine.Decision{}, d)
			require.Equal(t, "unknown", d.Reason.String())
			_, err = s.Explain(q, 0)
			require.Error(t, err)
		})
	}
}
