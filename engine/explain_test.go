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

// What is not listed gives nothing: where it is the only thing left, Check denies.
func TestRule_EVAL_8_NothingIsLeftOut(t *testing.T) {
	assignments, shares, reports := 0, 0, 0
	for seed := range uint64(300) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for range 60 {
			q := enginetest.Question(p, st)
			q.Impersonator, q.Columns = "", nil
			e, err := s.Explain(q, -1)
			if err != nil || !e.Allowed {
				continue
			}
			listed, sharedWith, reporting := listed(e)
			denies := func(what any, only *access.State) {
				d, err := enginetest.Reference{State: only}.Check(q)
				require.NoError(t, err)
				if d.Allowed {
					require.Fail(t, "what is no origin allows alone", "seed %d: %v\n%s%s", seed, what, e, show(only, q))
				}
			}
			none := enginetest.Clone(st)
			none.Assignments, none.Shares = map[access.AssignmentID]access.Assignment{}, map[access.ShareKey]access.Share{}
			for id, a := range st.Assignments {
				if !listed[id] {
					assignments++
					only := *none
					only.Assignments = map[access.AssignmentID]access.Assignment{id: a}
					denies(a, &only)
				}
			}
			// A share and a report rest on a privilege that does not reach by itself.
			held := enginetest.Clone(none)
			origins := map[access.AssignmentID]bool{}
			for _, o := range e.Origins {
				if o.Source != nil {
					origins[o.Source.Assignment] = true
				}
			}
			for id, a := range st.Assignments {
				if !origins[id] {
					held.Assignments[id] = a
				}
			}
			held.Environment.Hierarchy = nil
			if d, _ := (enginetest.Reference{State: held}).Check(q); d.Allowed {
				continue // by ownership, say
			}
			for k, share := range st.Shares {
				if q.Record != nil && k.Record == q.Record.ID && k.Table == q.Table && !sharedWith[k.Principal] {
					shares++
					only := *held
					only.Shares = map[access.ShareKey]access.Share{k: share}
					denies(share, &only)
				}
			}
			if q.Record == nil || st.Environment.Hierarchy == nil {
				continue
			}
			// Shares that give the user access by themselves go; the reports' stay.
			cut := enginetest.Clone(held)
			cut.Shares = map[access.ShareKey]access.Share{}
			for k, share := range st.Shares {
				if !sharedWith[k.Principal] {
					cut.Shares[k] = share
				}
			}
			if d, _ := (enginetest.Reference{State: cut}).Check(q); d.Allowed {
				require.Fail(t, "shares that are no origins allow", "seed %d: %s%s", seed, e, show(cut, q))
			}
			cut.Environment.Hierarchy = st.Environment.Hierarchy
			for id, u := range st.Users {
				if reporting[id] {
					u.Manager, u.Position = "", ""
					cut.Users[id] = u
				} else if u.Manager != "" || u.Position != "" {
					reports++
				}
			}
			denies("reports that are no origins", cut)
		}
	}
	t.Logf("%d assignments, %d shares, %d reports", assignments, shares, reports)
	require.Greater(t, assignments, 10_000)
	require.Greater(t, shares, 50)
	require.Greater(t, reports, 500)
}

// listed are the assignments that the explanation names, with whom the shares are
// that it names, and who passes access up.
func listed(e engine.Explanation) (map[access.AssignmentID]bool, map[access.Principal]bool, map[access.UserID]bool) {
	assignments, sharedWith, reporting := map[access.AssignmentID]bool{}, map[access.Principal]bool{}, map[access.UserID]bool{}
	for _, src := range e.Privileges {
		assignments[src.Assignment] = true
	}
	origins := e.Origins
	for _, r := range e.Requires {
		origins = append(slices.Clip(origins), r.Origins...)
	}
	for _, o := range origins {
		if o.Source != nil {
			assignments[o.Source.Assignment] = true
		}
		if o.Share != nil {
			sharedWith[o.Share.Principal] = true
		}
		if o.Report != nil {
			reporting[access.UserID(o.Report.User.ID)] = true
		}
	}
	return assignments, sharedWith, reporting
}

// facts lists every fact that Rule EVAL-9 speaks of, in the organisation: the
// universe in which the sets must be minimal and complete.
func facts(st *access.State, q engine.Question) []engine.Fact {
	var out []engine.Fact
	add := func(f engine.Fact) {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	of := func(k engine.FactKind, p access.Principal) { add(engine.Fact{Kind: k, Principal: p}) }
	r := enginetest.Reference{State: st}
	owner, recordUnits := access.Principal{}, []access.BusinessUnitID(nil)
	if q.Record != nil {
		rec, _ := r.Facts(q)
		owner = rec.Owner
		for b := rec.BusinessUnit; b != ""; b = st.BusinessUnits[b].Parent {
			recordUnits = append(recordUnits, b)
		}
	}
	at := func(p access.Principal) []access.BusinessUnitID { // where the principal could be given roles to any effect
		if own := r.UnitOf(p); st.Environment.Modernized {
			return append([]access.BusinessUnitID{own}, recordUnits...)
		} else {
			return []access.BusinessUnitID{own}
		}
	}
	role := func(p access.Principal, role access.Role, b access.BusinessUnitID) {
		for _, a := range st.Assignments {
			if a.Principal == p && a.Role == role.ID && a.BusinessUnit == b && a.Window.Open() && a.Bound == nil {
				return
			}
		}
		if r.Below(role.BusinessUnit, b) {
			add(engine.Fact{Kind: engine.GiveRole, Principal: p, Role: engine.Named{ID: string(role.ID)}, BusinessUnit: engine.Named{ID: string(b)}})
		}
	}
	users := []access.UserID{q.User}
	if q.Impersonator != "" {
		users = append(users, q.Impersonator)
	}
	var own []access.BusinessUnitID // where the users could be
	for _, id := range users {
		u := st.Users[id]
		own = append(own, at(id.Principal())...)
		if !u.Enabled {
			of(engine.EnableUser, id.Principal())
		}
		if st.Environment.RequireLicence && !u.Licensed {
			of(engine.GiveLicence, id.Principal())
		}
		if st.Environment.SecurityGroup != nil && !u.Admitted {
			of(engine.Admit, id.Principal())
		}
		for b := u.BusinessUnit; b != ""; b = st.BusinessUnits[b].Parent {
			if st.BusinessUnits[b].Disabled {
				add(engine.Fact{Kind: engine.EnableUnit, BusinessUnit: engine.Named{ID: string(b)}})
			}
		}
		for team := range st.Teams {
			if _, ok := st.Memberships[access.MembershipKey{Team: team, User: id}]; !ok {
				add(engine.Fact{Kind: engine.AddToTeam, Principal: id.Principal(), Team: engine.Named{ID: string(team)}})
			}
		}
	}
	asks := inQuestion(st, q, users, owner)
	holders := asks
	if id, ok := owner.User(); ok && q.Action == access.Create {
		holders = append(slices.Clone(asks), owner)
		if !st.Users[id].Enabled {
			of(engine.EnableUser, owner)
		}
	}
	for _, p := range holders {
		id, isTeam := p.Team()
		for _, known := range st.Roles {
			for _, b := range at(p) {
				if !isTeam || st.Teams[id].Type != access.AccessTeam {
					role(p, known, b)
				}
			}
		}
	}
	for _, p := range asks {
		for _, profile := range st.Profiles {
			if _, ok := st.ProfileMembers[access.ProfileMemberKey{Profile: profile.ID, Principal: p}]; !ok && len(q.Columns) > 0 {
				add(engine.Fact{Kind: engine.GiveProfile, Principal: p, Profile: engine.Named{ID: string(profile.ID)}})
			}
		}
	}
	for id, team := range st.Teams {
		if team.Type == access.AccessTeam || slices.Contains(asks, id.Principal()) {
			continue
		}
		b := team.BusinessUnit
		for _, known := range st.Roles {
			foreign := !slices.ContainsFunc(own, func(b access.BusinessUnitID) bool { return r.Below(known.BusinessUnit, b) })
			if foreign || slices.Contains(recordUnits, b) && !slices.Contains(own, b) {
				role(id.Principal(), known, b)
			}
		}
	}
	if q.Record == nil || st.Tables[q.Table].Ownership != access.UserOrTeam {
		return out
	}
	for _, p := range append(asks, access.Principal{Kind: access.Everybody}) {
		id, isTeam := p.Team()
		if p != owner && p.Kind != access.Everybody && !(isTeam && st.Teams[id].Type == access.AccessTeam) {
			of(engine.GiveOwnership, p)
		}
		if q.Action != access.Create && q.Record.ID != "" {
			add(engine.Fact{Kind: engine.ShareWith, Principal: p, Right: q.Action})
		}
	}
	for _, x := range concerned(st, q, owner) {
		h := st.Environment.Hierarchy
		if h.ExcludeDisabledReports && !st.Users[x].Enabled {
			of(engine.EnableUser, x.Principal())
		}
		for _, u := range users {
			if h.Model == access.ManagerHierarchy && x != u && st.Users[x].Manager != u && !above(st, x, u) {
				add(engine.Fact{Kind: engine.LinkManager, Principal: x.Principal(), Manager: engine.Named{ID: string(u)}})
			}
		}
	}
	return out
}

// inQuestion lists who asks, and the teams of theirs and, for a creation, of the
// intended owner.
func inQuestion(st *access.State, q engine.Question, users []access.UserID, owner access.Principal) []access.Principal {
	var out []access.Principal
	add := func(p access.Principal) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	teams := func(id access.UserID) {
		add(st.Users[id].BusinessUnit.DefaultTeam().Principal())
		for k := range st.Memberships {
			if k.User == id {
				add(k.Team.Principal())
			}
		}
	}
	for _, id := range users {
		add(id.Principal())
		teams(id)
	}
	if q.Action == access.Create && q.Record != nil {
		if id, ok := owner.User(); ok {
			teams(id)
		} else if owner.Kind == access.TeamPrincipal {
			add(owner)
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
// owner, those whom it is shared with, and those above them.
func concerned(st *access.State, q engine.Question, owner access.Principal) []access.UserID {
	h := st.Environment.Hierarchy
	levels := h.Levels(q.Action)
	if levels == 0 || slices.Contains(h.Except, q.Table) {
		return nil
	}
	var out []access.UserID
	from := func(p access.Principal) {
		id, ok := p.User()
		if !ok {
			return
		}
		out = append(out, id)
		for range levels - 1 {
			if id = st.Users[id].Manager; h.Model != access.ManagerHierarchy || st.Users[id].ID == "" {
				break
			}
			out = append(out, id)
		}
	}
	from(owner)
	if q.Action != access.Create && q.Record.ID != "" {
		for k := range st.Shares {
			if k.Table == q.Table && k.Record == q.Record.ID {
				from(k.Principal)
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
					inOrder(t, e.Missing[i-1], m)
				}
			}
			require.Len(t, got, len(e.Missing), "a set is listed twice")
			require.Equal(t, want, got, "%s", e)
			require.False(t, e.MoreMissing)
			few, err := s.Explain(q, 2)
			require.NoError(t, err)
			require.Equal(t, e.Missing[:min(2, len(e.Missing))], few.Missing[:min(2, len(few.Missing))])
			require.Equal(t, len(e.Missing) > 2, few.MoreMissing)
		}
	}
	t.Logf("%d denials, %d sets, %d of them of two facts: %v", asked, sets, pairs, kinds)
	require.Greater(t, pairs, denials/2)
}

// inOrder fails unless one set may be listed before the other: the smaller first,
// then single facts by whom they concern, then by how little they give.
func inOrder(t *testing.T, one, other engine.Missing) {
	require.LessOrEqual(t, len(one.Facts), len(other.Facts))
	if len(other.Facts) > 1 {
		return
	}
	concerns := func(m engine.Missing) int {
		f := m.Facts[0]
		switch f.Principal.Kind {
		case access.Everybody:
			return 2
		case access.TeamPrincipal:
			return 1
		}
		return 0
	}
	require.LessOrEqual(t, concerns(one), concerns(other))
	if concerns(other) == 0 {
		require.LessOrEqual(t, one.Further, other.Further)
	}
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

func TestRule_EVAL_9_WhatIsMissingCostsNoMoreWhereThereIsMore(t *testing.T) {
	cost := func(users, teams int) float64 {
		st := sized(users, teams, 20)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		asker := newAsker(st, users)
		var denied []engine.Question
		for i := 0; len(denied) < 100; i++ {
			q := asker.question(i)
			r := *q.Record
			q.Record = &r
			if d, err := s.Check(q); err == nil && !d.Allowed {
				denied = append(denied, q)
			}
		}
		return testing.AllocsPerRun(1, func() {
			for _, q := range denied {
				e, err := s.Explain(q, 10)
				require.NoError(t, err)
				require.NotEmpty(t, e.Missing)
			}
		}) / float64(len(denied))
	}
	small, large := cost(200, 40), cost(2_000, 8_000)
	t.Logf("%.0f allocations, and %.0f among two hundred times as many teams", small, large)
	require.Less(t, large, 1.5*small)
}
