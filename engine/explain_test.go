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
	ways := map[engine.Way]int{}
	for seed := range uint64(300) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for range 60 {
			q := enginetest.Question(p, st)
			d, err := s.Check(q)
			e, explainErr := s.Explain(q, -1)
			require.Equal(t, err, explainErr)
			require.Equal(t, d, e.Decision)
			if err != nil {
				continue
			}
			unmet := slices.ContainsFunc(e.Requires, func(r engine.Requirement) bool { return !r.Met })
			if d.Allowed != (len(e.Origins) > 0) || d.Allowed && unmet || len(e.Requires) > 0 && d.Reason == engine.NoAccess && !d.OfImpersonator && !unmet {
				require.Fail(t, "origins and requirements do not fit the decision", "%s%s", e, show(st, q))
			}
			require.Equal(t, q.Impersonator != "", e.Impersonator != nil)
			require.Equal(t, d.Reason == engine.NoColumnAccess && !d.OfImpersonator, len(e.Columns) > 0)
			// What follows is about the record and the user alone.
			q.Impersonator, q.Columns = "", nil
			require.NotEmpty(t, e.Rules)
			require.NotEmpty(t, e.String())
			for _, o := range e.Origins {
				require.NotEmpty(t, o.Rules)
				if ways[o.Way]++; o.Report != nil {
					require.Equal(t, e.User, o.Report.Chain[len(o.Report.Chain)-1])
					require.Equal(t, o.Report.User, o.Report.Chain[0])
				}
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
	for _, way := range []engine.Way{engine.ByPrivilege, engine.ByOwnership, engine.ByRole, engine.ByShare, engine.ByHierarchy} {
		require.Greater(t, ways[way], 50, way)
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
	share := o.Share
	if o.Report != nil {
		share = o.Report.Share
	}
	for k := range only.Shares {
		if share == nil || k.Principal != share.Principal {
			delete(only.Shares, k)
		}
	}
	keep := func(sources ...engine.Source) {
		for _, src := range sources {
			only.Assignments[src.Assignment] = st.Assignments[src.Assignment]
		}
	}
	if o.Source == nil {
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
	add := func(k engine.FactKind, p access.Principal) {
		f := engine.Fact{Kind: k, Principal: p}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	r := enginetest.Reference{State: st}
	owner, recordUnit := access.Principal{}, access.BusinessUnitID("")
	if q.Record != nil {
		rec, _ := r.Facts(q)
		owner, recordUnit = rec.Owner, rec.BusinessUnit
	}
	users := []access.UserID{q.User}
	if q.Impersonator != "" {
		users = append(users, q.Impersonator)
	}
	var others []access.Principal
	for _, id := range users {
		u := st.Users[id]
		others = append(others, id.Principal())
		if !u.Enabled {
			add(engine.EnableUser, id.Principal())
		}
		if st.Environment.RequireLicence && !u.Licensed {
			add(engine.GiveLicence, id.Principal())
		}
		if st.Environment.SecurityGroup != nil && !u.Admitted {
			add(engine.Admit, id.Principal())
		}
		for b := u.BusinessUnit; b != ""; b = st.BusinessUnits[b].Parent {
			f := engine.Fact{Kind: engine.EnableUnit, BusinessUnit: engine.Named{ID: string(b)}}
			if st.BusinessUnits[b].Disabled && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
		for team := range st.Teams {
			if _, ok := st.Memberships[access.MembershipKey{Team: team, User: id}]; !ok {
				out = append(out, engine.Fact{Kind: engine.AddToTeam, Principal: id.Principal(), Team: engine.Named{ID: string(team)}})
			}
		}
	}
	for id := range st.Teams {
		others = append(others, id.Principal())
	}
	for id := range st.BusinessUnits {
		others = append(others, id.DefaultTeam().Principal())
	}
	holders := others
	if id, ok := owner.User(); ok && q.Action == access.Create && !slices.Contains(users, id) {
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
		for _, profile := range st.Profiles {
			if _, ok := st.ProfileMembers[access.ProfileMemberKey{Profile: profile.ID, Principal: p}]; !ok && len(q.Columns) > 0 {
				out = append(out, engine.Fact{Kind: engine.GiveProfile, Principal: p, Profile: engine.Named{ID: string(profile.ID)}})
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
	for _, x := range concerned(st, q, owner) {
		h := st.Environment.Hierarchy
		if h.ExcludeDisabledReports && !st.Users[x].Enabled {
			add(engine.EnableUser, x.Principal())
		}
		for _, u := range users {
			if h.Model == access.ManagerHierarchy && x != u && st.Users[x].Manager != u && !above(st, x, u) {
				out = append(out, engine.Fact{Kind: engine.LinkManager, Principal: x.Principal(), Manager: engine.Named{ID: string(u)}})
			}
		}
	}
	return out
}

// above tells whether x stands above u.
func above(st *access.State, x, u access.UserID) bool {
	for range access.MaxLevels {
		m := st.Users[u].Manager
		if _, ok := st.Users[m]; !ok {
			return false
		}
		if u = m; u == x {
			return true
		}
	}
	return false
}

// concerned lists those through whom the hierarchy could reach the record: its
// owner, those whom it is shared with, the members of such teams, and those above
// them.
func concerned(st *access.State, q engine.Question, owner access.Principal) []access.UserID {
	h := st.Environment.Hierarchy
	levels := h.Levels(q.Action)
	if levels == 0 || slices.Contains(h.Except, q.Table) {
		return nil
	}
	var out []access.UserID
	in := func(p access.Principal) {
		for id, u := range st.Users {
			team, isTeam := p.Team()
			_, member := st.Memberships[access.MembershipKey{Team: team, User: id}]
			if p != id.Principal() && !(isTeam && (member || team == u.BusinessUnit.DefaultTeam())) {
				continue
			}
			out = append(out, id)
			for range levels - 1 {
				if id = st.Users[id].Manager; h.Model != access.ManagerHierarchy || st.Users[id].ID == "" {
					break
				}
				out = append(out, id)
			}
		}
	}
	in(owner)
	if q.Action != access.Create && q.Record.ID != "" {
		for k := range st.Shares {
			if k.Table == q.Table && k.Record == q.Record.ID {
				in(k.Principal)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
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
		case engine.LinkManager:
			u.Manager = access.UserID(f.Manager.ID)
			st.Users[u.ID] = u
		case engine.GiveProfile:
			st.Apply(access.Put(access.ProfileMember{Environment: st.Environment.ID, Profile: access.ProfileID(f.Profile.ID), Principal: f.Principal}))
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
		parts = append(parts, fmt.Sprint(f.Kind, f.Principal, f.Role.ID, f.BusinessUnit.ID, f.Team.ID, f.Profile.ID, f.Manager.ID))
	}
	slices.Sort(parts)
	return strings.Join(parts, "+")
}

func TestRule_EVAL_9_MissingSetsAreTrueMinimalAndComplete(t *testing.T) {
	kinds := map[engine.FactKind]int{}
	asked, sets, pairs, denials := 0, 0, 0, questions(t, 60_000)/2_000
	for seed := uint64(1000); asked < denials; seed++ {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for range 3 {
			q := enginetest.Question(p, st)
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
				for _, f := range m.Facts {
					kinds[f.Kind]++
				}
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
	t.Logf("%d denials, %d sets, %d of them of two facts: %v", asked, sets, pairs, kinds)
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
