package access_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
)

// naiveFaults judges a whole environment, reading everything, in the plainest
// way: what must hold of every state, whatever led to it.
func naiveFaults(s *access.State) []string {
	if !s.Exists() {
		return nil
	}
	var faults []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	unit := func(p access.Principal) access.BusinessUnitID {
		if t, ok := p.Team(); ok {
			if u, ok := t.DefaultOf(); ok {
				return s.BusinessUnits[u].ID
			}
			return s.Teams[t].BusinessUnit
		}
		return s.Users[access.UserID(p.ID)].BusinessUnit
	}
	exists := func(p access.Principal) bool { return p.Kind != access.Everybody && unit(p) != "" }
	inSubtree := func(b, top access.BusinessUnitID) bool {
		for range len(s.BusinessUnits) + 1 {
			if b == top {
				return true
			}
			b = s.BusinessUnits[b].Parent
		}
		return false
	}
	bears := func(p access.Principal) bool {
		t, ok := p.Team()
		return !ok || s.Teams[t].CanOwn()
	}
	names := map[string]string{}
	unique := func(name, id string) {
		name = access.Fold(name)
		check(names[name] == "", "name %s of %s and %s", name, id, names[name])
		names[name] = id
	}

	roots := 0
	for id, b := range s.BusinessUnits {
		unique("unit "+b.Name, string(id))
		unique("team in "+string(id)+" "+b.Name, "default team of "+string(id))
		if b.Parent == "" {
			roots++
			check(!b.Disabled, "disabled root %s", id)
			continue
		}
		_, ok := s.BusinessUnits[b.Parent]
		check(ok && inSubtree(id, rootOf(s)), "parent of %s", id)
	}
	check(roots == 1, "%d roots", roots)
	for id, r := range s.Roles {
		unique("role "+r.Name, string(id))
		_, ok := s.BusinessUnits[r.BusinessUnit]
		check(ok, "unit of role %s", id)
		for _, p := range r.Privileges {
			t, ok := s.Tables[p.Table]
			check(ok && t.Ownership.Reaches(p.Depth), "privilege %v of role %s", p, id)
		}
	}
	for id, u := range s.Users {
		unique("login "+u.Login, string(id))
		_, ok := s.BusinessUnits[u.BusinessUnit]
		check(ok, "unit of user %s", id)
	}
	for id, t := range s.Teams {
		unique("team in "+string(t.BusinessUnit)+" "+t.Name, string(id))
		if t.Group != nil {
			unique("group "+t.Group.Source+" "+t.Group.Group+" "+t.Group.Membership.String(), string(id))
		}
		_, ok := s.BusinessUnits[t.BusinessUnit]
		check(ok, "unit of team %s", id)
	}
	for k, m := range s.Memberships {
		t, ok := s.Teams[k.Team]
		check(ok, "team of membership %v", k)
		_, ok = s.Users[k.User]
		check(ok, "user of membership %v", k)
		check(t.Group == nil || m.ManagedBy == access.ByMapping, "membership %v by hand", k)
	}
	for id, a := range s.Assignments {
		r, ok := s.Roles[a.Role]
		check(ok, "role of assignment %s", id)
		_, ok = s.BusinessUnits[a.BusinessUnit]
		check(ok && inSubtree(a.BusinessUnit, r.BusinessUnit), "unit of assignment %s", id)
		check(exists(a.Principal) && bears(a.Principal), "principal of assignment %s", id)
		check(s.Environment.Modernized || unit(a.Principal) == a.BusinessUnit, "classic unit of assignment %s", id)
	}
	for k, r := range s.Records {
		t, ok := s.Tables[k.Table]
		check(ok, "table of record %v", k)
		if t.Ownership == access.UserOrTeam {
			_, ok := s.BusinessUnits[r.BusinessUnit]
			check(ok && exists(r.Owner) && bears(r.Owner), "owner of record %v", k)
			check(s.Environment.Modernized || unit(r.Owner) == r.BusinessUnit, "classic unit of record %v", k)
		}
	}
	for k := range s.Shares {
		t, ok := s.Tables[k.Table]
		check(ok && t.Ownership == access.UserOrTeam, "table of share %v", k)
		check(k.Principal.Kind == access.Everybody || exists(k.Principal), "principal of share %v", k)
	}
	naiveModelFaults(s, check, unique)
	return faults
}

func rootOf(s *access.State) access.BusinessUnitID {
	for id, b := range s.BusinessUnits {
		if b.Parent == "" {
			return id
		}
	}
	return ""
}

// naiveExpand completes a changeset by the rules, reading everything: it lays
// the changes down and then removes and moves what they leave behind. judged is
// whether the changeset keeps the rules.
func naiveExpand(s *access.State, changes []access.Change) (after *access.State, judged bool) {
	asked := map[string]bool{}
	after = clone(s)
	for _, c := range changes {
		asked[c.Object.ObjectKind().String()+c.Object.ObjectKey()] = true
		after.Apply(c)
	}
	free := func(o access.Object) bool { return !asked[o.ObjectKind().String()+o.ObjectKey()] }
	unit := func(s *access.State, p access.Principal) (access.BusinessUnitID, bool) {
		if t, ok := p.Team(); ok {
			if u, ok := t.DefaultOf(); ok {
				_, ok := s.BusinessUnits[u]
				return u, ok
			}
			team, ok := s.Teams[t]
			return team.BusinessUnit, ok
		}
		u, ok := s.Users[access.UserID(p.ID)]
		return u.BusinessUnit, ok
	}
	moved := func(p access.Principal) (access.BusinessUnitID, bool) {
		was, existed := unit(s, p)
		is, exists := unit(after, p)
		return is, existed && exists && was != is
	}
	judged = true
	e := after.Environment
	naiveEnds(s, after, free)
	// Roles, then what hangs on them.
	for id, r := range after.Roles {
		if _, ok := after.BusinessUnits[r.BusinessUnit]; !ok && free(r) {
			after.Apply(access.Remove(r))
			continue
		}
		if kept := slices.DeleteFunc(slices.Clone(r.Privileges), func(p access.Privilege) bool {
			_, ok := after.Tables[p.Table]
			return !ok
		}); free(r) && len(kept) < len(r.Privileges) {
			r.Privileges = kept
			after.Apply(access.Put(r))
		}
		judged = judged && (!s.Roles[id].All || r.All && r.BusinessUnit == s.Roles[id].BusinessUnit)
	}
	for _, r := range after.Records {
		owner, ok := unit(after, r.Owner)
		if r.Owner == (access.Principal{}) {
			ok = false
		}
		_, table := after.Tables[r.Table]
		to, follows := moved(r.Owner)
		switch {
		case free(r) && !table:
			after.Apply(access.Remove(r))
			continue
		case r.BusinessUnit == "" && ok:
			was, had := s.Records[access.RecordKey{Table: r.Table, Record: r.ID}]
			if _, still := after.BusinessUnits[was.BusinessUnit]; had && still && e.Modernized && e.KeepRecordUnit && was.Owner != (access.Principal{}) {
				owner = was.BusinessUnit
			}
			r.BusinessUnit = owner
		case free(r) && ok && !e.Modernized:
			r.BusinessUnit = owner
		case free(r) && follows && !e.KeepRecordUnit:
			r.BusinessUnit = to
		}
		after.Apply(access.Put(r))
		u, isUser := r.Owner.User()
		if before, ok := s.Records[access.RecordKey{Table: r.Table, Record: r.ID}]; isUser && r.Owner.ID != "" && !after.Users[u].Enabled && (!ok || before.Owner != r.Owner) {
			judged = false
		}
	}
	for _, m := range after.Memberships {
		_, team := after.Teams[m.Team]
		_, user := after.Users[m.User]
		if free(m) && (!team || !user) {
			after.Apply(access.Remove(m))
		}
	}
	for _, a := range after.Assignments {
		if !free(a) {
			continue
		}
		to, ok := unit(after, a.Principal)
		_, left := moved(a.Principal)
		_, isUser := a.Principal.User()
		r, role := after.Roles[a.Role]
		_, at := after.BusinessUnits[a.BusinessUnit]
		elsewhere := !e.Modernized && to != a.BusinessUnit
		shrunk := role && s.Roles[r.ID].BusinessUnit != r.BusinessUnit && !below(after, a.BusinessUnit, r.BusinessUnit)
		if !ok || !role || !at || elsewhere || shrunk || left && !(isUser && e.KeepRoles && e.Modernized) {
			after.Apply(access.Remove(a))
		}
	}
	for _, x := range after.Shares {
		_, registered := s.Records[access.RecordKey{Table: x.Table, Record: x.Record}]
		_, still := after.Records[access.RecordKey{Table: x.Table, Record: x.Record}]
		_, table := after.Tables[x.Table]
		_, to := unit(after, x.Principal)
		if free(x) && (!table || registered && !still || x.Principal.Kind != access.Everybody && !to) {
			after.Apply(access.Remove(x))
		}
		judged = judged && (free(x) || !registered || still)
	}
	for _, m := range after.ProfileMembers {
		_, profile := after.Profiles[m.Profile]
		if _, ok := unit(after, m.Principal); free(m) && (!ok || !profile) {
			after.Apply(access.Remove(m))
		}
	}
	for _, c := range after.ColumnShares {
		k := access.RecordKey{Table: c.Table, Record: c.Record}
		_, ok := unit(after, c.Principal)
		if free(c) && (!ok || gone(s, after, k) || !slices.Contains(after.Tables[c.Table].SecuredColumns(), c.Column)) {
			after.Apply(access.Remove(c))
		}
		judged = judged && (free(c) || !gone(s, after, k))
	}
	for _, x := range after.Shares {
		kept := slices.DeleteFunc(slices.Clone(x.Along), func(a access.Inheritable) bool { return redefined(s, after, a.Relationship) })
		if !free(x) || len(kept) == len(x.Along) {
			continue
		}
		x.Along, x.Inherited = kept, 0
		for _, a := range kept {
			x.Inherited |= a.Rights
		}
		if len(kept) == 0 || len(kept) == 1 && kept[0].Relationship == "" {
			x.Along = nil
		}
		if after.Apply(access.Put(x)); x.Rights|x.Inherited == 0 {
			after.Apply(access.Remove(x))
		}
	}
	naiveAssign(s, after, free, unit)
	naiveInherit(s, after, free)
	// What no state shows: what led to it.
	for id, b := range s.BusinessUnits {
		now, ok := after.BusinessUnits[id]
		judged = judged && (b.Parent != "" || ok && now.Parent == "")
		judged = judged && (ok || !works(s, id))
	}
	for id, t := range after.Teams {
		was, ok := s.Teams[id]
		judged = judged && (!ok || was.Type == t.Type && (was.For == nil) == (t.For == nil) && (t.For == nil || *was.For == *t.For))
		judged = judged && (t.For == nil || !gone(s, after, access.RecordKey{Table: t.For.Table, Record: t.For.Record}))
	}
	for id, t := range after.Templates {
		was, ok := s.Templates[id]
		judged = judged && (!ok || was.Table == t.Table)
	}
	for _, r := range after.Records {
		for _, l := range r.Links {
			judged = judged && !gone(s, after, access.RecordKey{Table: after.Relationships[l.Relationship].Parent, Record: l.Record})
		}
	}
	for id, t := range after.Tables {
		was, ok := s.Tables[id]
		if !ok || was.Ownership == t.Ownership {
			continue
		}
		for k := range s.ColumnShares {
			judged = judged && k.Table != id
		}
	}
	judged = judged && (!administered(s) || administered(after))
	return after, judged && len(naiveFaults(after)) == 0
}

func below(s *access.State, b, top access.BusinessUnitID) bool {
	for range len(s.BusinessUnits) + 1 {
		if b == top {
			return true
		}
		b = s.BusinessUnits[b].Parent
	}
	return false
}

func works(s *access.State, b access.BusinessUnitID) bool {
	for range len(s.BusinessUnits) + 1 {
		if b == "" {
			return true
		}
		unit, ok := s.BusinessUnits[b]
		if !ok || unit.Disabled {
			return false
		}
		b = unit.Parent
	}
	return false
}

func administered(s *access.State) bool {
	for _, a := range s.Assignments {
		if !s.Roles[a.Role].All || !a.Window.Open() {
			continue
		}
		for id, u := range s.Users {
			_, member := s.Memberships[access.MembershipKey{Team: access.TeamID(a.Principal.ID), User: id}]
			holds := a.Principal == id.Principal() || a.Principal.Kind == access.TeamPrincipal && member || a.Principal == u.BusinessUnit.DefaultTeam().Principal()
			able := u.Kind == access.Person && u.AccessMode != access.ReadOnly && u.AccessMode != access.NonInteractive
			if holds && able && u.Enabled && works(s, u.BusinessUnit) {
				return true
			}
		}
	}
	return false
}

// clone makes the same state anew, index and all.
func clone(s *access.State) *access.State { return s.With(nil) }

// anyChange draws a change among few names, so that changes meet.
func anyChange(s *access.State) *rapid.Generator[access.Change] {
	id := func(ids ...string) *rapid.Generator[string] { return rapid.SampledFrom(ids) }
	units, users, teams := id("root", "sales", "emea", "ops", "x"), id("root", "ann", "bob", "eve"), id("deals", "watchers", "g", "t")
	return rapid.Custom(func(t *rapid.T) access.Change {
		b := units.Draw(t, "unit")
		principal := rapid.OneOf(rapid.Map(users, userOf), rapid.Map(teams, teamOf), rapid.Just(access.BusinessUnitID(b).DefaultTeam().Principal())).Draw(t, "principal")
		rid := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "record")
		var o access.Object
		if rapid.Bool().Draw(t, "model") {
			o = anyModelChange(t, principal, rid)
			return access.Change{Delete: o.ObjectKind() != access.KindEnvironment && rapid.IntRange(0, 3).Draw(t, "delete") == 0, Object: o}
		}
		switch rapid.SampledFrom([]access.Kind{access.KindEnvironment, access.KindBusinessUnit, access.KindTable, access.KindRole, access.KindUser, access.KindTeam, access.KindMembership, access.KindAssignment, access.KindRecord, access.KindShare}).Draw(t, "kind") {
		case access.KindEnvironment:
			flag := rapid.Bool()
			return modernized(func(e *access.Environment) {
				e.Modernized, e.KeepRecordUnit, e.KeepRoles = flag.Draw(t, "modernized"), flag.Draw(t, "keep unit"), flag.Draw(t, "keep roles")
			})
		case access.KindBusinessUnit:
			u := unit(b, units.Draw(t, "parent"))
			if b == "root" {
				u.Parent = ""
			}
			u.Disabled = rapid.Bool().Draw(t, "disabled")
			o = u
		case access.KindTable:
			o = table(id("account", "desk", "link").Draw(t, "table"), access.UserOrTeam)
		case access.KindRole:
			r := role(id("seller", "local", "admin").Draw(t, "role"), b)
			if r.All = r.ID == "admin"; !r.All {
				r.Privileges = []access.Privilege{line(id("account", "desk").Draw(t, "of"), access.Read, access.Deep)}
			}
			o = r
		case access.KindUser:
			u := user(users.Draw(t, "user"), b)
			u.Enabled = rapid.Bool().Draw(t, "enabled")
			if rapid.IntRange(0, 3).Draw(t, "renamed") == 0 {
				u.Login = users.Draw(t, "login") + "@example.com"
			}
			o = u
		case access.KindTeam:
			x := team(teams.Draw(t, "team"), b, access.OwnerTeam)
			switch x.ID {
			case "watchers":
				x.Type = access.AccessTeam
			case "g":
				x = groupTeam("g", b)
			}
			if rapid.IntRange(0, 3).Draw(t, "renamed") == 0 {
				x.Name = "Team " + teams.Draw(t, "name")
			}
			o = x
		case access.KindMembership:
			m := member(teams.Draw(t, "team"), users.Draw(t, "user"))
			m.ManagedBy = rapid.SampledFrom([]access.ManagedBy{access.ByFile, access.ByMapping}).Draw(t, "by")
			o = m
		case access.KindAssignment:
			o = assign(id("a-root", "a-ann", "a-bob", "a-x").Draw(t, "assignment"), id("seller", "local", "admin").Draw(t, "role"), principal, b)
		case access.KindRecord:
			o = record(rid, principal, id("", b).Draw(t, "owning unit"))
		case access.KindShare:
			o = with(share(rid, principal), func(s *access.Share) {
				s.Rights = rapid.SampledFrom([]access.Rights{access.RightsOf(access.Read), access.RightsOf(access.Read, access.Write)}).Draw(t, "rights")
				s.Inherited = rapid.SampledFrom([]access.Rights{0, 0, access.RightsOf(access.Append)}).Draw(t, "inherited")
			})
		}
		return access.Change{Delete: rapid.IntRange(0, 2).Draw(t, "delete") == 0, Object: o}
	}).Filter(func(c access.Change) bool { return !c.Delete || stored(s, c.Object) })
}

func stored(s *access.State, o access.Object) bool {
	_, err := s.Expand([]access.Change{access.Remove(o)})
	for _, r := range rulesOf(err) {
		if r == "" {
			return false
		}
	}
	return true
}

// TestExpandAgreesWithTheNaiveOne walks an environment through random changesets:
// Expand refuses exactly what the naive rules refuse, its changes make exactly
// their state, in whatever order it is asked, and it is its own expansion.
func TestExpandAgreesWithTheNaiveOne(t *testing.T) {
	kept, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := whole()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			changes := rapid.SliceOfNDistinct(anyChange(s), 1, 5, func(c access.Change) string {
				return c.Object.ObjectKind().String() + c.Object.ObjectKey()
			}).Draw(t, "changes")
			want, valid := naiveExpand(s, changes)
			before := clone(s)
			out, err := s.Expand(changes)
			require.Equal(t, before, s, "Expand changed the state")
			if err != nil {
				refused++
				require.False(t, valid, "refused without need: %v", err)
				continue
			}
			require.True(t, valid, "should have been refused: %v gives %v", list(changes), naiveFaults(want))
			kept++
			seed := rapid.Uint64().Draw(t, "order")
			shuffled := slices.Clone(changes)
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			other, err := s.Expand(shuffled)
			require.NoError(t, err)
			require.Equal(t, out, other, "the order of the input matters")
			again, err := s.Expand(out)
			require.NoError(t, err)
			require.Equal(t, out, again, "an expansion is not its own expansion")
			with := s.With(out)
			s.Apply(out...)
			require.Equal(t, clone(want), s)
			require.Equal(t, s, with, "With is not what Apply makes")
			require.Equal(t, clone(s), s, "the index is not what the objects say")
		}
	})
	require.Greater(t, kept, 20)
	require.Greater(t, refused, 20)
	t.Logf("%d changesets kept the rules, %d were refused", kept, refused)
}
