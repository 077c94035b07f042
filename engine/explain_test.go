package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

func TestRule_EVAL_8_OriginsAreThereExactlyWhenCheckAllows(t *testing.T) {
	for seed := range uint64(300) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		st.Environment.Hierarchy = nil
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for range 60 {
			q := enginetest.Question(p, st)
			q.Impersonator, q.Columns = "", nil
			d, err := s.Check(q)
			e, explainErr := s.Explain(q, -1)
			require.Equal(t, err, explainErr)
			require.Equal(t, d, e.Decision)
			if err != nil {
				continue
			}
			unmet := slices.ContainsFunc(e.Requires, func(r engine.Requirement) bool { return !r.Met })
			if d.Allowed != (len(e.Origins) > 0) || d.Allowed && unmet || len(e.Requires) > 0 && d.Reason == engine.NoAccess && !unmet {
				require.Fail(t, "origins and requirements do not fit the decision", "%s%s", e, show(st, q))
			}
			require.NotEmpty(t, e.Rules)
			require.NotEmpty(t, e.String())
			for _, o := range e.Origins {
				require.NotEmpty(t, o.Rules)
				if owner := e.Record; q.Action == access.Create && owner != nil && owner.Owner.Kind == access.TeamPrincipal && len(e.Requires) == 0 &&
					(o.Source.Team == nil || string(o.Source.Team.ID) != owner.Owner.ID) {
					as := q
					as.Action = access.Assign
					as.Record = &engine.Record{Owner: owner.Owner, BusinessUnit: access.BusinessUnitID(owner.BusinessUnit.ID)}
					d, err := s.Check(as)
					require.NoError(t, err)
					require.True(t, d.Allowed, "without a role of the team Rule OWN-8 asks for Assign: %v", o)
					continue
				}
				alone(t, st, q, e, o)
			}
		}
	}
}

// alone fails unless the origin allows when every other assignment and share is
// gone. For a share it keeps the assignments, for a creation the requirements'.
func alone(t *testing.T, st *access.State, q engine.Question, e engine.Explanation, o engine.Origin) {
	only := enginetest.Clone(st)
	for id := range only.Assignments {
		if o.Source == nil || id != o.Source.Assignment {
			delete(only.Assignments, id)
		}
	}
	for k := range only.Shares {
		if o.Share == nil || k.Principal != o.Share.Principal {
			delete(only.Shares, k)
		}
	}
	keep := func(sources ...engine.Source) {
		for _, src := range sources {
			only.Assignments[src.Assignment] = st.Assignments[src.Assignment]
		}
	}
	if o.Share != nil {
		keep(e.Privileges[0])
	}
	for _, r := range e.Requires {
		if r.Rule == "OWN-9" || r.Text == "the owner holds read on the table" {
			only.Assignments = st.Assignments // the owner's roles
		}
		for _, x := range r.Origins {
			if r.Rule != "OWN-7" {
				keep(*x.Source)
			}
		}
	}
	d, err := enginetest.Reference{State: only}.Check(q)
	require.NoError(t, err)
	if !d.Allowed {
		require.Fail(t, "the origin alone does not allow", "%v\n%s", o, show(only, q))
	}
}

// facts lists every fact that Rule EVAL-9 speaks of, in the organisation: the
// universe in which the sets must be minimal and complete.
func facts(st *access.State, q engine.Question) []engine.Fact {
	var out []engine.Fact
	u := st.Users[q.User]
	self := u.ID.Principal()
	add := func(k engine.FactKind, p access.Principal) { out = append(out, engine.Fact{Kind: k, Principal: p}) }
	r := enginetest.Reference{State: st}
	if !u.Enabled {
		add(engine.EnableUser, self)
	}
	if st.Environment.RequireLicence && !u.Licensed {
		add(engine.GiveLicence, self)
	}
	if st.Environment.SecurityGroup != nil && !u.Admitted {
		add(engine.Admit, self)
	}
	for b := u.BusinessUnit; b != ""; b = st.BusinessUnits[b].Parent {
		if st.BusinessUnits[b].Disabled {
			out = append(out, engine.Fact{Kind: engine.EnableUnit, BusinessUnit: engine.Named{ID: string(b)}})
		}
	}
	owner, recordUnit := access.Principal{}, access.BusinessUnitID("")
	if q.Record != nil {
		rec, _ := r.Facts(q)
		owner, recordUnit = rec.Owner, rec.BusinessUnit
	}
	others := []access.Principal{self}
	for id, t := range st.Teams {
		others = append(others, id.Principal())
		if _, ok := st.Memberships[access.MembershipKey{Team: id, User: u.ID}]; !ok {
			out = append(out, engine.Fact{Kind: engine.AddToTeam, Principal: self, Team: engine.Named{ID: string(t.ID)}})
		}
	}
	for id := range st.BusinessUnits {
		others = append(others, id.DefaultTeam().Principal())
	}
	holders := others
	if id, ok := owner.User(); ok && q.Action == access.Create && id != u.ID {
		holders = append(slices.Clone(others), owner)
		if !st.Users[id].Enabled {
			add(engine.EnableUser, owner)
		}
	}
	for _, p := range holders {
		at := []access.BusinessUnitID{r.UnitOf(p)}
		if st.Environment.Modernized {
			for b := recordUnit; b != ""; b = st.BusinessUnits[b].Parent {
				at = append(at, b)
			}
		}
		if id, ok := p.Team(); ok && st.Teams[id].Type == access.AccessTeam {
			continue
		}
		for _, role := range st.Roles {
			for _, b := range at {
				held := false
				for _, a := range st.Assignments {
					held = held || a.Principal == p && a.Role == role.ID && a.BusinessUnit == b && a.Window.Open() && a.Bound == nil
				}
				if r.Below(role.BusinessUnit, b) && !held {
					out = append(out, engine.Fact{Kind: engine.GiveRole, Principal: p, Role: engine.Named{ID: string(role.ID)}, BusinessUnit: engine.Named{ID: string(b)}})
				}
			}
		}
	}
	if q.Record == nil || st.Tables[q.Table].Ownership != access.UserOrTeam {
		return out
	}
	for _, p := range append(others, access.Principal{Kind: access.Everybody}) {
		id, isTeam := p.Team()
		if p != owner && p.Kind != access.Everybody && !(isTeam && st.Teams[id].Type == access.AccessTeam) {
			add(engine.GiveOwnership, p)
		}
		if q.Action != access.Create && q.Record.ID != "" {
			out = append(out, engine.Fact{Kind: engine.ShareWith, Principal: p, Right: q.Action})
		}
	}
	return out
}

// suppose makes the facts so, in the plain state and in the question.
func suppose(st *access.State, q engine.Question, facts []engine.Fact) (*access.State, engine.Question) {
	st = enginetest.Clone(st)
	for i, f := range facts {
		u := st.Users[access.UserID(f.Principal.ID)]
		switch f.Kind {
		case engine.EnableUser:
			u.Enabled = true
			st.Users[u.ID] = u
		case engine.GiveLicence:
			u.Licensed = true
			st.Users[u.ID] = u
		case engine.Admit:
			u.Admitted = true
			st.Users[u.ID] = u
		case engine.EnableUnit:
			b := st.BusinessUnits[access.BusinessUnitID(f.BusinessUnit.ID)]
			b.Disabled = false
			st.BusinessUnits[b.ID] = b
		case engine.GiveRole:
			st.Apply(access.Put(access.Assignment{
				Environment: st.Environment.ID, ID: access.AssignmentID(fmt.Sprint("supposed", i)), Role: access.RoleID(f.Role.ID),
				Principal: f.Principal, BusinessUnit: access.BusinessUnitID(f.BusinessUnit.ID),
			}))
		case engine.AddToTeam:
			st.Apply(access.Put(access.Membership{Environment: st.Environment.ID, Team: access.TeamID(f.Team.ID), User: access.UserID(f.Principal.ID)}))
		case engine.ShareWith:
			k := access.ShareKey{RecordKey: access.RecordKey{Table: q.Table, Record: q.Record.ID}, Principal: f.Principal}
			sh := st.Shares[k]
			sh.Environment, sh.Table, sh.Record, sh.Principal = st.Environment.ID, q.Table, q.Record.ID, f.Principal
			sh.Rights, sh.Window = sh.Rights|access.RightsOf(f.Right), access.Window{}
			st.Apply(access.Put(sh))
		case engine.GiveOwnership:
			r := enginetest.Reference{State: st}
			rec, _ := r.Facts(q)
			unit := rec.BusinessUnit
			if !st.Environment.Modernized || q.Action != access.Create && !st.Environment.KeepRecordUnit { // Rule OWN-11
				unit = r.UnitOf(f.Principal)
			}
			q.Record = &engine.Record{ID: q.Record.ID, Owner: f.Principal, BusinessUnit: unit}
		}
	}
	return st, q
}

func allows(st *access.State, q engine.Question, facts ...engine.Fact) bool {
	st, q = suppose(st, q, facts)
	d, err := enginetest.Reference{State: st}.Check(q)
	return err == nil && d.Allowed
}

// id names a set of facts without the names in them.
func id(facts []engine.Fact) string {
	var parts []string
	for _, f := range facts {
		parts = append(parts, fmt.Sprint(f.Kind, f.Principal, f.Role.ID, f.BusinessUnit.ID, f.Team.ID))
	}
	slices.Sort(parts)
	return strings.Join(parts, "+")
}

func TestRule_EVAL_9_MissingSetsAreTrueMinimalAndComplete(t *testing.T) {
	asked, sets, pairs, denials := 0, 0, 0, questions(t, 60_000)/2_000
	for seed := uint64(1000); asked < denials; seed++ {
		p := pick(seed)
		st := enginetest.Organisation(p)
		st.Environment.Hierarchy = nil
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for range 3 {
			q := enginetest.Question(p, st)
			q.Impersonator, q.Columns = "", nil
			e, err := s.Explain(q, 1_000_000)
			if err != nil || e.Allowed {
				continue
			}
			asked++
			universe := facts(st, q)
			want := map[string]bool{}
			suffices := make([]bool, len(universe))
			for i, f := range universe {
				if suffices[i] = allows(st, q, f); suffices[i] {
					want[id([]engine.Fact{f})] = true
				}
			}
			for i, f := range universe {
				for j, g := range universe[:i] {
					if !suffices[i] && !suffices[j] && allows(st, q, f, g) {
						want[id([]engine.Fact{f, g})] = true
					}
				}
			}
			got := map[string]bool{}
			for i, m := range e.Missing {
				sets++
				if len(m.Facts) == 2 {
					pairs++
				}
				got[id(m.Facts)] = true
				require.True(t, allows(st, q, m.Facts...))
				if i > 0 {
					before := e.Missing[i-1]
					require.True(t, len(before.Facts) < len(m.Facts) || len(before.Facts) == len(m.Facts) && before.Further <= m.Further)
				}
			}
			require.Len(t, got, len(e.Missing), "a set is listed twice")
			if !e.MoreMissing {
				require.Equal(t, want, got, "%s", e)
			}
			few, err := s.Explain(q, 2)
			require.NoError(t, err)
			require.Equal(t, e.Missing[:min(2, len(e.Missing))], few.Missing[:min(2, len(few.Missing))])
			require.Equal(t, len(e.Missing) > 2, few.MoreMissing)
		}
	}
	t.Logf("%d denials, %d sets, %d of them of two facts", asked, sets, pairs)
	require.Greater(t, pairs, denials/2)
}

func TestRule_EVAL_11_AddingNeverRemovesAnAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := enginetest.Pick(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		var more []access.Change
		for range 3 {
			more = append(more, access.Put(enginetest.Addition(p, st)))
		}
		wider, err := s.Apply(more, 2)
		require.NoError(t, err)
		for range 20 {
			q := enginetest.Question(p, st)
			before, err := s.Check(q)
			if err != nil || !before.Allowed {
				continue
			}
			after, err := wider.Check(q)
			require.NoError(t, err)
			require.True(t, after.Allowed, "%v\n%s", more, show(st, q))
		}
	})
}
