package enginetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Pick chooses a number below n, which is at least 1. It is a random generator's
// IntN, or a draw of a property test.
type Pick func(n int) int

func (p Pick) chance(of int) bool { return p(of) == 0 }

func one[T any](p Pick, of []T) T { return of[p(len(of))] }

// Epoch is the instant around which random windows and questions lie, an hour
// apart.
var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// Instant is one of a few instants; windows use the same ones, so that questions
// fall on their ends.
func Instant(p Pick) time.Time { return epoch.Add(time.Duration(p(9)) * time.Hour) }

func window(p Pick) access.Window {
	var w access.Window
	if !p.chance(3) {
		w.Start = Instant(p)
	}
	if !p.chance(3) {
		w.End = Instant(p)
	}
	return w
}

func ids[T ~string](prefix string, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = T(fmt.Sprint(prefix, i))
	}
	return out
}

// names are what random objects and questions are called. Some that are never
// made are among them.
var (
	unitIDs  = ids[access.BusinessUnitID]("b", 7)
	tableIDs = []access.TableID{"account", "contact", "setting", "siteunit", "link", engine.BusinessUnitTable}
	kinds    = []access.Ownership{access.UserOrTeam, access.UserOrTeam, access.OrganizationOwned, access.BusinessUnitOwned, access.NotOwned, access.BusinessUnitOwned}
	roleIDs  = ids[access.RoleID]("r", 6)
	userIDs  = ids[access.UserID]("u", 6)
	teamIDs  = ids[access.TeamID]("t", 5)
	miscs    = []string{"Export", "Merge", "Print"}
	recIDs   = ids[access.RecordID]("x", 4)
)

const environment access.EnvironmentID = "random"

// Organisation makes a small environment in which every rule has something to
// say. A few of its memberships, assignments and shares name what does not exist.
func Organisation(p Pick) *access.State {
	st := access.NewState(environment)
	e := &st.Environment
	e.Modernized, e.RequireLicence = p.chance(2), p.chance(4)
	if p.chance(4) {
		e.SecurityGroup = &access.GroupRef{Source: "dir", Group: "g"}
	}
	for i, id := range unitIDs[:1+p(len(unitIDs))] {
		b := access.BusinessUnit{Environment: environment, ID: id, Name: "Unit " + string(id)}
		if i > 0 {
			b.Parent, b.Disabled = unitIDs[p(i)], p.chance(16)
		}
		st.Apply(access.Put(b))
	}
	for i, id := range tableIDs {
		if i < 4 || !p.chance(5) {
			st.Apply(access.Put(access.Table{Environment: environment, ID: id, Name: string(id), Ownership: kinds[i]}))
		}
	}
	for _, id := range roleIDs[:1+p(len(roleIDs))] {
		st.Apply(access.Put(role(p, st, id)))
	}
	for _, id := range userIDs[:2+p(len(userIDs)-1)] {
		st.Apply(access.Put(user(p, st, id)))
	}
	for _, id := range teamIDs[:p(len(teamIDs)+1)] {
		st.Apply(access.Put(team(p, st, id)))
	}
	for range p(16) {
		st.Apply(access.Put(membership(p)))
	}
	for i := range 4 + p(20) {
		st.Apply(access.Put(assignment(p, st, access.AssignmentID(fmt.Sprint("a", i)))))
	}
	for range p(5) {
		st.Apply(access.Put(record(p, st)))
	}
	for range p(7) {
		st.Apply(access.Put(share(p)))
	}
	return st
}

func units(st *access.State) []access.BusinessUnitID {
	return slices.Sorted(maps.Keys(st.BusinessUnits))
}

func privileges(p Pick, n int) (out []access.Privilege) {
	seen := map[access.Privilege]bool{}
	for range n {
		k := access.Privilege{Table: one(p, tableIDs), Action: access.Action(p(int(access.Actions)))}
		if p.chance(2) {
			k.Table = "account"
		}
		if !seen[k] {
			seen[k] = true
			k.Depth = access.Depth(1 + p(4))
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b access.Privilege) int {
		if a.Table != b.Table {
			return strings.Compare(string(a.Table), string(b.Table))
		}
		return int(a.Action) - int(b.Action)
	})
	return out
}

func misc(p Pick) (out []string) {
	for _, m := range miscs[:2] {
		if p.chance(4) {
			out = append(out, m)
		}
	}
	return out
}

func role(p Pick, st *access.State, id access.RoleID) access.Role {
	r := access.Role{Environment: environment, ID: id, Name: "Role " + string(id), BusinessUnit: units(st)[0]}
	r.Inheritance = access.Inheritance(p(2))
	if p.chance(3) {
		r.BusinessUnit = one(p, units(st))
	}
	if p.chance(15) {
		r.All = true
		return r
	}
	r.Privileges, r.Miscellaneous = privileges(p, 2+p(24)), misc(p)
	return r
}

func user(p Pick, st *access.State, id access.UserID) access.User {
	u := access.User{
		Environment: environment, ID: id, Name: "User " + string(id), Login: string(id), BusinessUnit: one(p, units(st)),
		Enabled: !p.chance(12), Licensed: !p.chance(5), Admitted: !p.chance(5),
	}
	if p.chance(60) {
		u.BusinessUnit = "gone"
	}
	return u
}

func team(p Pick, st *access.State, id access.TeamID) access.Team {
	t := access.Team{Environment: environment, ID: id, Name: "Team " + string(id), Type: access.TeamType(p(4)), BusinessUnit: one(p, units(st))}
	if t.Type >= access.SecurityGroupTeam {
		t.Group = &access.GroupLink{GroupRef: access.GroupRef{Source: "dir", Group: "g" + string(id)}}
	}
	return t
}

func membership(p Pick) access.Membership {
	m := access.Membership{Environment: environment, Team: one(p, teamIDs), User: one(p, userIDs)}
	if p.chance(2) {
		m.Origin = access.Origin{Rule: "rule", Source: "dir", Object: "g", Path: one(p, []string{"", "h"})}
	}
	return m
}

func principal(p Pick) access.Principal {
	switch {
	case p.chance(2):
		return one(p, userIDs).Principal()
	case p.chance(4):
		return one(p, unitIDs).DefaultTeam().Principal()
	}
	return one(p, teamIDs).Principal()
}

// known is a principal that exists, mostly.
func known(p Pick, st *access.State) (who access.Principal) {
	for range 5 {
		if who = principal(p); unitOf(st, who) != "" {
			break
		}
	}
	return who
}

func unitOf(st *access.State, who access.Principal) access.BusinessUnitID {
	return Reference{State: st}.UnitOf(who)
}

func assignment(p Pick, st *access.State, id access.AssignmentID) access.Assignment {
	a := access.Assignment{Environment: environment, ID: id, Role: one(p, roleIDs), Principal: known(p, st)}
	if !p.chance(20) {
		a.Role = one(p, slices.Sorted(maps.Keys(st.Roles)))
	}
	if a.BusinessUnit = unitOf(st, a.Principal); st.Environment.Modernized || a.BusinessUnit == "" {
		a.BusinessUnit = one(p, units(st))
	}
	if p.chance(3) {
		a.Window = window(p)
	}
	if p.chance(6) {
		a.Bound = &access.Bound{All: p.chance(4), Privileges: privileges(p, p(20)), Miscellaneous: misc(p)}
	}
	return a
}

func record(p Pick, st *access.State) access.Record {
	r := access.Record{Environment: environment, ID: one(p, recIDs)}
	r.Table, r.Owner, r.BusinessUnit = facts(p, st)
	return r
}

// facts are those of a record, mostly such as the table's kind asks for.
func facts(p Pick, st *access.State) (table access.TableID, owner access.Principal, unit access.BusinessUnitID) {
	i := p(len(tableIDs))
	if p.chance(2) {
		i = 0
	}
	table = tableIDs[i]
	strict := !p.chance(40)
	if kinds[i] == access.UserOrTeam || !strict && p.chance(2) {
		if owner = known(p, st); p.chance(80) {
			owner = access.Principal{Kind: access.Everybody}
		}
		if unit = unitOf(st, owner); st.Environment.Modernized && p.chance(2) || !strict {
			unit = one(p, unitIDs)
		}
	}
	if kinds[i] == access.BusinessUnitOwned {
		unit = one(p, units(st))
	}
	if p.chance(30) {
		unit = ""
	}
	return table, owner, unit
}

func share(p Pick) access.Share {
	s := access.Share{Environment: environment, Table: tableIDs[p(3)], Record: one(p, recIDs), Principal: principal(p)}
	if p.chance(3) {
		s.Table = "account"
	}
	if p.chance(8) {
		s.Principal = access.Principal{Kind: access.Everybody}
	}
	s.Rights, s.Inherited = access.Rights(p(256))&^1, access.Rights(p(256)&p(256))&^1
	if p.chance(2) {
		s.Window = window(p)
	}
	return s
}

// Question makes a question about the organisation. One in some dozens cannot be
// judged.
func Question(p Pick, st *access.State) engine.Question {
	q := engine.Question{User: one(p, userIDs), Action: access.Action(p(int(access.Actions))), At: Instant(p)}
	if existing := slices.Sorted(maps.Keys(st.Users)); !p.chance(30) {
		q.User = one(p, existing)
	}
	if p.chance(3) {
		q.At = q.At.Add(time.Duration(p(3)-1) * time.Microsecond)
	}
	switch p(12) {
	case 0:
		q.Action, q.Privilege = 0, one(p, miscs)
		return q
	case 1, 2:
		q.Table = one(p, tableIDs)
		return q
	case 3:
		q.Table = one(p, tableIDs)
		if p.chance(4) {
			q.Action = access.Action(p(20))
		}
		q.Record = &engine.Record{ID: one(p, recIDs), Registered: true}
		if known := slices.Sorted(maps.Values(recordKeys(st))); len(known) > 0 && !p.chance(4) {
			parts := access.SplitKey(one(p, known))
			q.Table, q.Record.ID = access.TableID(parts[0]), access.RecordID(parts[1])
		}
		return q
	}
	var r engine.Record
	q.Table, r.Owner, r.BusinessUnit = facts(p, st)
	if !p.chance(6) {
		r.ID = one(p, recIDs)
	}
	if q.Table == "account" && p.chance(3) { // one's own
		r.Owner, r.BusinessUnit = q.User.Principal(), st.Users[q.User].BusinessUnit
	}
	q.Record = &r
	return q
}

func recordKeys(st *access.State) map[access.RecordKey]string {
	out := map[access.RecordKey]string{}
	for k, r := range st.Records {
		out[k] = r.ObjectKey()
	}
	return out
}

// Changes makes a changeset as Expand would return it: the tree stays a tree,
// what is deleted exists.
func Changes(p Pick, st *access.State) []access.Change {
	var out []access.Change
	next := access.NewState(environment)
	*next = *Clone(st)
	for range 1 + p(4) {
		c := change(p, next)
		next.Apply(c)
		out = append(out, c)
	}
	return out
}

// Addition is a new assignment, membership or share, or a share or assignment with
// its window opened (Rule EVAL-11).
func Addition(p Pick, st *access.State) access.Object {
	switch p(4) {
	case 0:
		return assignment(p, st, access.AssignmentID(fmt.Sprint("new", p(9))))
	case 1:
		return membership(p)
	case 2:
		s := share(p)
		if old, ok := st.Shares[access.ShareKey{RecordKey: access.RecordKey{Table: s.Table, Record: s.Record}, Principal: s.Principal}]; ok {
			s.Rights, s.Inherited, s.Window = s.Rights|old.Rights, s.Inherited|old.Inherited, access.Window{}
		}
		return s
	}
	if len(st.Assignments) == 0 {
		return membership(p)
	}
	a := st.Assignments[one(p, slices.Sorted(maps.Keys(st.Assignments)))]
	a.Window = access.Window{}
	return a
}

// Clone copies the state; its objects are values.
func Clone(st *access.State) *access.State {
	c := *st
	c.BusinessUnits, c.Tables, c.Roles, c.Users = maps.Clone(st.BusinessUnits), maps.Clone(st.Tables), maps.Clone(st.Roles), maps.Clone(st.Users)
	c.Teams, c.Memberships, c.Assignments = maps.Clone(st.Teams), maps.Clone(st.Memberships), maps.Clone(st.Assignments)
	c.Records, c.Shares, c.Others = maps.Clone(st.Records), maps.Clone(st.Shares), maps.Clone(st.Others)
	c.Relationships, c.Templates, c.Positions = maps.Clone(st.Relationships), maps.Clone(st.Templates), maps.Clone(st.Positions)
	c.Profiles, c.ProfileMembers, c.ColumnShares = maps.Clone(st.Profiles), maps.Clone(st.ProfileMembers), maps.Clone(st.ColumnShares)
	return &c
}

// some picks one of a map's objects for deletion, or makes the other change.
func some[K comparable, O access.Object](p Pick, m map[K]O, otherwise func() O) access.Change {
	if len(m) < 2 || !p.chance(3) {
		return access.Put(otherwise())
	}
	objects := slices.Collect(maps.Values(m))
	slices.SortFunc(objects, func(a, b O) int { return strings.Compare(a.ObjectKey(), b.ObjectKey()) })
	return access.Remove(one(p, objects))
}

func change(p Pick, st *access.State) access.Change {
	switch p(12) {
	case 0:
		e := st.Environment
		e.RequireLicence = !e.RequireLicence
		return access.Put(e)
	case 1: // a unit, moved or made below one of a smaller number
		i := p(len(unitIDs))
		b := access.BusinessUnit{Environment: environment, ID: unitIDs[i], Name: "Unit"}
		if i > 0 {
			b.Disabled = p.chance(5)
			for b.Parent = unitIDs[p(i)]; st.BusinessUnits[b.Parent].ID == ""; {
				i--
				b.Parent = unitIDs[p(i)]
			}
		}
		return access.Put(b)
	case 2: // a leaf goes
		parents := map[access.BusinessUnitID]bool{}
		for _, b := range st.BusinessUnits {
			parents[b.Parent] = true
		}
		for _, id := range units(st) {
			if b := st.BusinessUnits[id]; !parents[id] && b.Parent != "" {
				return access.Remove(b)
			}
		}
		return access.Put(st.BusinessUnits[units(st)[0]])
	case 3:
		return some(p, st.Tables, func() access.Table {
			i := p(len(tableIDs))
			return access.Table{Environment: environment, ID: tableIDs[i], Ownership: kinds[i]}
		})
	case 4:
		return some(p, st.Roles, func() access.Role { return role(p, st, one(p, roleIDs)) })
	case 5:
		return some(p, st.Users, func() access.User { return user(p, st, one(p, userIDs)) })
	case 6:
		return some(p, st.Teams, func() access.Team { return team(p, st, one(p, teamIDs)) })
	case 7, 8:
		return some(p, st.Memberships, func() access.Membership { return membership(p) })
	case 9:
		return some(p, st.Assignments, func() access.Assignment {
			return assignment(p, st, access.AssignmentID(fmt.Sprint("a", p(14))))
		})
	case 10:
		return some(p, st.Records, func() access.Record { return record(p, st) })
	}
	return some(p, st.Shares, func() access.Share { return share(p) })
}
