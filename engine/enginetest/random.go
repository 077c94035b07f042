package enginetest

import (
	"cmp"
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
	userIDs  = ids[access.UserID]("u", 7)
	teamIDs  = ids[access.TeamID]("t", 5)
	miscs    = []string{actOnBehalf, "Export", "Merge", "Print"}
	recIDs   = ids[access.RecordID]("x", 4)

	positionIDs = ids[access.PositionID]("p", 6)
	profileIDs  = ids[access.ProfileID]("f", 4)
	columnNames = ids[string]("c", 5)
	templateIDs = ids[access.TemplateID]("m", 2)
	relationIDs = ids[access.RelationshipID]("l", 3)
)

const environment access.EnvironmentID = "random"

// Organisation makes a small environment in which every rule has something to say. A few of its memberships, assignments, shares, managers and positions name
// what does not exist, and managers and positions may go in circles.
func Organisation(p Pick) *access.State {
	st := access.NewState(environment)
	for i, id := range unitIDs[:1+p(len(unitIDs))] {
		b := access.BusinessUnit{Environment: environment, ID: id, Name: "Unit " + string(id)}
		if i > 0 {
			b.Parent, b.Disabled = unitIDs[p(i)], p.chance(20)
		}
		st.Apply(access.Put(b))
	}
	st.Apply(access.Put(settings(p)))
	for i := range tableIDs {
		if i < 4 || !p.chance(5) {
			st.Apply(access.Put(table(p, i)))
		}
	}
	for _, id := range relationIDs[:p(len(relationIDs)+1)] {
		st.Apply(access.Put(relationship(p, id)))
	}
	for _, id := range templateIDs[:p(len(templateIDs)+1)] {
		st.Apply(access.Put(template(p, id)))
	}
	for _, id := range positionIDs[:p(len(positionIDs))] {
		st.Apply(access.Put(position(p, id)))
	}
	for _, id := range roleIDs[:1+p(len(roleIDs))] {
		st.Apply(access.Put(role(p, st, id)))
	}
	for _, id := range profileIDs[:p(len(profileIDs))] {
		st.Apply(access.Put(profile(p, id)))
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
	for i := range 6 + p(20) {
		st.Apply(access.Put(assignment(p, st, access.AssignmentID(fmt.Sprint("a", i)))))
	}
	for range p(8) {
		st.Apply(access.Put(profileMember(p)))
	}
	for range p(6) {
		st.Apply(access.Put(record(p, st)))
	}
	for range p(7) {
		st.Apply(access.Put(share(p)))
	}
	for range p(5) {
		st.Apply(access.Put(columnShare(p)))
	}
	return st
}

// settings are those of an environment.
func settings(p Pick) access.Environment {
	e := access.Environment{
		ID: environment, Name: "Random", ManagedBy: access.ByAPI,
		Modernized: p.chance(2), KeepRecordUnit: p.chance(2), KeepRoles: p.chance(2), ShareWithPrevious: p.chance(2),
		RequireLicence: p.chance(4), PerAppPlan: p.chance(6), Locked: p.chance(150),
	}
	if p.chance(4) {
		e.SecurityGroup = &access.GroupRef{Source: "dir", Group: "g"}
	}
	if p.chance(3) {
		return e
	}
	e.Hierarchy = &access.Hierarchy{
		Model: access.HierarchyModel(p(2)), Depth: 1 + p(4), DirectLevels: p(4),
		ExcludeDisabledReports: p.chance(3), ManagersAnywhere: p.chance(2),
	}
	if p.chance(5) {
		e.Hierarchy.Except = []access.TableID{tableIDs[p(2)]}
	}
	return e
}

func table(p Pick, i int) access.Table {
	t := access.Table{Environment: environment, ID: tableIDs[i], Name: string(tableIDs[i]), Ownership: kinds[i], ManagedBy: access.ByAPI}
	t.System, t.AccessTeams = p.chance(3), kinds[i] == access.UserOrTeam && p.chance(2)
	if i > 2 || p.chance(4) {
		return t
	}
	for _, name := range columnNames[:1+p(len(columnNames)-1)] { // one that no table has is among the names
		c := access.Column{Name: name, Secured: p.chance(2), Open: p.chance(4)}
		if p.chance(2) {
			c.Mask = &access.Mask{Pattern: one(p, []string{".", "[0-9]", "^.*$"}), Replace: "*"}
		}
		for _, from := range columnNames {
			if from != name && p.chance(6) {
				c.From = append(c.From, from)
			}
		}
		t.Columns = append(t.Columns, c)
	}
	return t
}

func relationship(p Pick, id access.RelationshipID) access.Relationship {
	r := access.Relationship{Environment: environment, ID: id, Table: tableIDs[p(2)], Parent: tableIDs[p(2)], ManagedBy: access.ByAPI}
	if r.ManyToMany = p.chance(4); r.ManyToMany {
		return r
	}
	cascade := func() access.Cascade { return access.Cascade(p(4)) }
	r.Cascade = access.Cascades{Assign: cascade(), Share: cascade(), Unshare: cascade(), Reparent: cascade(), Delete: cascade()}
	return r
}

func template(p Pick, id access.TemplateID) access.Template {
	return access.Template{Environment: environment, ID: id, Name: string(id), Table: tableIDs[p(2)], Rights: access.Rights(p(256))&^1 | 2, ManagedBy: access.ByAPI}
}

func position(p Pick, id access.PositionID) access.Position {
	o := access.Position{Environment: environment, ID: id, Name: string(id), ManagedBy: access.ByAPI}
	if !p.chance(6) {
		o.Parent = one(p, positionIDs[:1+p(len(positionIDs))])
	}
	return o
}

func profile(p Pick, id access.ProfileID) access.Profile {
	o := access.Profile{Environment: environment, ID: id, Name: string(id), ManagedBy: access.ByAPI}
	for _, t := range tableIDs[:3] {
		for _, c := range columnNames {
			if p.chance(2) {
				continue
			}
			line := access.ProfileColumn{Table: t, Column: c, Read: !p.chance(3), Update: p.chance(2), Create: p.chance(2)}
			if line.Read {
				line.Unmasked = access.Unmasked(p(3))
			}
			o.Columns = append(o.Columns, line)
		}
	}
	return o
}

func profileMember(p Pick) access.ProfileMember {
	return access.ProfileMember{Environment: environment, Profile: one(p, profileIDs), Principal: principal(p), ManagedBy: access.ByAPI}
}

func columnShare(p Pick) access.ColumnShare {
	s := access.ColumnShare{
		Environment: environment, Table: tableIDs[p(3)], Record: one(p, recIDs), Column: one(p, columnNames), Principal: principal(p),
		Read: !p.chance(3), Update: p.chance(2), ManagedBy: access.ByAPI,
	}
	if p.chance(2) {
		s.Table = "account"
	}
	if p.chance(6) {
		s.Principal = access.Principal{Kind: access.Everybody}
	}
	return s
}

func units(st *access.State) []access.BusinessUnitID {
	return slices.Sorted(maps.Keys(st.BusinessUnits))
}

func privileges(p Pick, n int) (out []access.Privilege) {
	seen := map[access.Privilege]bool{}
	for range n {
		k := access.Privilege{Table: one(p, tableIDs), Action: access.Action(p(int(access.Actions)))}
		if !p.chance(3) {
			k.Table = "account"
		}
		if p.chance(4) {
			k.Action = access.Read + access.Action(p(2))
		}
		if !seen[k] {
			seen[k] = true
			if k.Depth = access.Basic; p.chance(2) {
				k.Depth = access.Depth(1 + p(4))
			}
			out = append(out, k)
		}
	}
	slices.SortFunc(out, byTable)
	return out
}

func byTable(a, b access.Privilege) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Action, b.Action))
}

func misc(p Pick) (out []string) {
	for i, m := range miscs[:3] {
		if p.chance(2 + 2*i) {
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
	if places := (access.Privilege{Table: engine.BusinessUnitTable, Action: access.AppendTo}); p.chance(3) {
		places.Depth = access.Depth(2 + p(3))
		r.Privileges = slices.DeleteFunc(r.Privileges, func(o access.Privilege) bool { return o.Table == places.Table && o.Action == places.Action })
		r.Privileges = append(r.Privileges, places)
		slices.SortFunc(r.Privileges, byTable)
	}
	return r
}

func user(p Pick, st *access.State, id access.UserID) access.User {
	u := access.User{
		Environment: environment, ID: id, Name: "User " + string(id), Login: string(id), BusinessUnit: one(p, units(st)[:1+p(len(st.BusinessUnits))]),
		Enabled: !p.chance(14), Licensed: !p.chance(5), Admitted: !p.chance(5),
	}
	if p.chance(90) {
		u.BusinessUnit = "gone"
	}
	if !p.chance(3) {
		u.Manager = one(p, userIDs[:1+p(len(userIDs))])
		if m, ok := st.Users[u.Manager]; ok && !p.chance(3) { // where Rule HIER-5 is met
			u.BusinessUnit = m.BusinessUnit
		}
	}
	if !p.chance(3) {
		u.Position = one(p, positionIDs[:1+p(len(positionIDs))])
	}
	switch p(20) {
	case 0:
		u.Kind, u.Application = access.ApplicationUser, string(id)
	case 1:
		if p.chance(2) {
			u.Kind = access.StubUser
		}
	case 2, 3:
		u.AccessMode = access.AccessMode(p(6))
	case 4:
		u.TenantAdministrator = true
	}
	return u
}

func team(p Pick, st *access.State, id access.TeamID) access.Team {
	t := access.Team{Environment: environment, ID: id, Name: "Team " + string(id), Type: access.TeamType(p(4)), BusinessUnit: one(p, units(st))}
	if t.Type >= access.SecurityGroupTeam {
		t.Group = &access.GroupLink{GroupRef: access.GroupRef{Source: "dir", Group: "g" + string(id)}}
	}
	if t.Type == access.AccessTeam && p.chance(2) {
		t.For = &access.TemplateLink{Template: one(p, templateIDs), Table: tableIDs[p(2)], Record: one(p, recIDs)}
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
	for range 8 {
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
	r := access.Record{Environment: environment, ID: one(p, recIDs), Inactive: p.chance(4)}
	r.Table, r.Owner, r.BusinessUnit = facts(p, st)
	for _, id := range relationIDs {
		if st.Relationships[id].Table == r.Table && p.chance(2) {
			r.Links = append(r.Links, access.Link{Relationship: id, Record: one(p, recIDs)})
		}
	}
	return r
}

// facts are those of a record, mostly such as the table's kind asks for.
func facts(p Pick, st *access.State) (table access.TableID, owner access.Principal, unit access.BusinessUnitID) {
	i := p(len(tableIDs))
	if !p.chance(3) {
		i = 0
	}
	table = tableIDs[i]
	strict := !p.chance(50)
	if kinds[i] == access.UserOrTeam || !strict && p.chance(2) {
		owner = known(p, st)
		if id, ok := owner.Team(); ok && st.Teams[id].Type == access.AccessTeam && !p.chance(8) {
			owner = one(p, userIDs[:2]).Principal()
		}
		if p.chance(200) {
			owner = access.Principal{Kind: access.Everybody}
		}
		if unit = unitOf(st, owner); st.Environment.Modernized && p.chance(2) || !strict {
			unit = one(p, unitIDs)
		}
	}
	if kinds[i] == access.BusinessUnitOwned {
		unit = one(p, units(st))
	}
	if p.chance(40) {
		unit = ""
	}
	return table, owner, unit
}

func share(p Pick) access.Share {
	s := access.Share{Environment: environment, Table: tableIDs[p(4)], Record: one(p, recIDs), Principal: principal(p)}
	if p.chance(3) {
		s.Table = "account"
	}
	if p.chance(8) {
		s.Principal = access.Principal{Kind: access.Everybody}
	}
	s.Rights = access.Rights(p(256)) &^ 1
	if s.Inherited = access.Rights(p(256)&p(256)) &^ 1; s.Inherited != 0 {
		s.Along = []access.Inheritable{{Relationship: one(p, relationIDs), Rights: s.Inherited}}
	}
	if p.chance(2) {
		s.Window = window(p)
	}
	return s
}

// Question makes a question about the organisation. One in some dozens cannot
// be judged.
func Question(p Pick, st *access.State) engine.Question {
	existing := slices.Sorted(maps.Keys(st.Users))
	someone := func() access.UserID {
		if p.chance(60) {
			return one(p, userIDs)
		}
		return one(p, existing)
	}
	q := engine.Question{User: someone(), Action: access.Action(p(int(access.Actions))), At: Instant(p)}
	if p.chance(4) {
		q.Action = access.Read + access.Action(p(2))
	}
	if p.chance(3) {
		q.At = q.At.Add(time.Duration(p(3)-1) * time.Microsecond)
	}
	switch p(6) {
	case 0, 1:
		q.Channel = engine.API
	case 2:
		q.Channel = engine.Interactive
	}
	if p.chance(200) {
		q.Channel = "telepathy"
	}
	if p.chance(6) {
		for q.Impersonator = someone(); q.Impersonator == q.User && !p.chance(20); {
			q.Impersonator = someone()
		}
	}
	if of := aim(p, st, &q); of && !p.chance(3) || p.chance(200) {
		for range 1 + p(3) {
			q.Columns = append(q.Columns, one(p, columnNames))
		}
	}
	return q
}

// aim points the question at a privilege, a table or a record, and tells whether
// it sets columns.
func aim(p Pick, st *access.State, q *engine.Question) (columns bool) {
	switch p(12) {
	case 0:
		q.Action, q.Privilege = 0, one(p, miscs)
		return false
	case 1, 2:
		q.Table = one(p, tableIDs[:1+p(len(tableIDs))])
		return sets(q.Action)
	case 3:
		q.Table = one(p, tableIDs[:1+p(len(tableIDs))])
		if p.chance(4) {
			q.Action = access.Action(p(20))
		}
		q.Record = &engine.Record{ID: one(p, recIDs), Registered: true}
		if known := slices.Sorted(maps.Values(recordKeys(st))); len(known) > 0 && !p.chance(4) {
			parts := access.SplitKey(one(p, known))
			q.Table, q.Record.ID = access.TableID(parts[0]), access.RecordID(parts[1])
		}
		return sets(q.Action)
	}
	var r engine.Record
	q.Table, r.Owner, r.BusinessUnit = facts(p, st)
	if !p.chance(6) {
		r.ID = one(p, recIDs)
	}
	switch id, byUser := r.Owner.User(); {
	case q.Table == "account" && p.chance(3): // one's own
		r.Owner, r.BusinessUnit = q.User.Principal(), st.Users[q.User].BusinessUnit
	case q.Table == "account" && st.Environment.Modernized && p.chance(4): // made apart (Rule BU-10)
		q.Action, r.Owner, r.BusinessUnit = access.Create, q.User.Principal(), one(p, units(st))
	case byUser && q.Table == "account" && st.Environment.Hierarchy != nil && !p.chance(3): // asked by somebody above
		if above := superiors(p, st, st.Users[id]); len(above) > 0 {
			q.User = one(p, above)
		}
	}
	q.Record = &r
	return sets(q.Action)
}

// superiors lists users whom s may report to.
func superiors(p Pick, st *access.State, s access.User) (out []access.UserID) {
	levels := 1 + p(3)
	if st.Environment.Hierarchy.Model == access.ManagerHierarchy {
		for range levels {
			s = st.Users[s.Manager]
			if _, ok := st.Users[s.ID]; ok {
				out = append(out, s.ID)
			}
		}
		return out
	}
	at := st.Positions[s.Position]
	for range levels {
		at = st.Positions[at.Parent]
	}
	for _, id := range slices.Sorted(maps.Keys(st.Users)) {
		if at.ID != "" && st.Users[id].Position == at.ID {
			out = append(out, id)
		}
	}
	return out
}

// sets tells whether the action sets columns (Rule FLS-5).
func sets(a access.Action) bool { return a == access.Create || a == access.Write }

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

// Addition is something that, added, never removes an allow (Rule EVAL-11): a new
// assignment, membership, share, profile member or column share, a wider share, or
// an assignment with its window opened.
func Addition(p Pick, st *access.State) access.Object {
	switch p(6) {
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
	case 3:
		return profileMember(p)
	case 4:
		c := columnShare(p)
		k := access.ColumnShareKey{RecordKey: access.RecordKey{Table: c.Table, Record: c.Record}, Column: c.Column, Principal: c.Principal}
		if old, ok := st.ColumnShares[k]; ok {
			c.Read, c.Update = c.Read || old.Read, c.Update || old.Update
		}
		return c
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
	switch p(20) {
	case 0:
		e := st.Environment
		switch p(3) {
		case 0:
			e.RequireLicence = !e.RequireLicence
		case 1:
			e.Hierarchy = settings(p).Hierarchy
		default:
			locked := e.Locked
			if e = settings(p); locked {
				e.Locked = false
			}
		}
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
		return some(p, st.Tables, func() access.Table { return table(p, p(len(tableIDs))) })
	case 4:
		return some(p, st.Roles, func() access.Role { return role(p, st, one(p, roleIDs)) })
	case 5, 6:
		return some(p, st.Users, func() access.User { return user(p, st, one(p, userIDs)) })
	case 7:
		return some(p, st.Teams, func() access.Team { return team(p, st, one(p, teamIDs)) })
	case 8, 9:
		return some(p, st.Memberships, func() access.Membership { return membership(p) })
	case 10, 11:
		return some(p, st.Assignments, func() access.Assignment {
			return assignment(p, st, access.AssignmentID(fmt.Sprint("a", p(14))))
		})
	case 12:
		return some(p, st.Records, func() access.Record { return record(p, st) })
	case 13:
		return some(p, st.Positions, func() access.Position { return position(p, one(p, positionIDs)) })
	case 14:
		return some(p, st.Profiles, func() access.Profile { return profile(p, one(p, profileIDs)) })
	case 15:
		return some(p, st.ProfileMembers, func() access.ProfileMember { return profileMember(p) })
	case 16:
		return some(p, st.ColumnShares, func() access.ColumnShare { return columnShare(p) })
	case 17:
		return some(p, st.Relationships, func() access.Relationship { return relationship(p, one(p, relationIDs)) })
	case 18:
		return some(p, st.Templates, func() access.Template { return template(p, one(p, templateIDs)) })
	}
	return some(p, st.Shares, func() access.Share { return share(p) })
}

// Facts are those of some record of the table, mostly such as its kind asks for.
func Facts(p Pick, st *access.State, table access.TableID) engine.Record {
	for {
		t, owner, unit := facts(p, st)
		if t == table {
			return engine.Record{Owner: owner, BusinessUnit: unit}
		}
	}
}

// RandomRuling makes a change that somebody wants to make.
func RandomRuling(p Pick, st *access.State) Ruling {
	q := Question(p, st)
	for q.Record == nil {
		q = Question(p, st)
	}
	x := Ruling{
		Asks: one(p, []string{"share", "revoke", "assign", "set_unit", "link", "clear", "add_to_template", "share_column", "give"}),
		User: q.User, At: q.At, Table: q.Table, Record: *q.Record,
	}
	if x.Asks != "give" && x.Table != "account" && !p.chance(6) {
		x.Table, x.Record = "account", Facts(p, st, "account")
		x.Record.ID = one(p, recIDs)
	}
	if p.chance(3) { // one's own
		x.Record = engine.Record{ID: one(p, recIDs), Owner: q.User.Principal(), BusinessUnit: st.Users[q.User].BusinessUnit}
	}
	switch x.Asks {
	case "share":
		x.Rights = access.Rights(p(256) & p(256) & p(256))
		if p.chance(3) {
			x.Rights = access.RightsOf(access.Read)
		}
		if !p.chance(10) {
			x.Rights &^= 1
		}
	case "revoke":
		x.Principal = principal(p)
		if p.chance(5) {
			x.Principal = x.User.Principal()
		}
	case "assign":
		x.Principal = known(p, st)
	case "set_unit":
		x.Unit = one(p, units(st))
	case "link", "clear":
		x.Relationship = one(p, relationIDs)
		if rel := st.Relationships[x.Relationship]; rel.ID != "" {
			if x.Table = rel.Table; !p.chance(20) {
				x.Record = Facts(p, st, rel.Table)
				x.Record.ID = one(p, recIDs)
			}
			if x.Asks == "link" {
				x.ParentTable, x.Parent = rel.Parent, Facts(p, st, rel.Parent)
				x.Parent.ID, x.Creating = one(p, recIDs), p.chance(3)
			}
		}
	case "add_to_template":
		if x.Template = one(p, templateIDs); st.Templates[x.Template].ID != "" {
			x.Table = st.Templates[x.Template].Table
		}
	case "share_column":
		x.Column = one(p, columnNames)
		x.Rights = []access.Rights{access.RightsOf(access.Read), access.RightsOf(access.Write), access.RightsOf(access.Read, access.Write), 0}[p(4)]
	case "give":
		x.Role, x.Unit = one(p, roleIDs), one(p, units(st))
		x.Table, x.Record = "", engine.Record{}
	}
	return x
}
