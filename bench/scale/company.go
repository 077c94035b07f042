package main

import (
	"fmt"
	"iter"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// company is an organisation of any size, all rules on. Nothing of it is held:
// who is whose member and what is shared is reckoned from numbers, always alike.
//
// For each thousand users there are 50 teams, ten business units, 8,000
// memberships, 5,000 records with two shares each and as many without.
type company struct {
	users int
	// parts left out, to see what they cost
	noShares, noMemberships bool
}

const (
	environment access.EnvironmentID = "company"
	tables                           = 20
	roles                            = 30
	profiles                         = 10
	memberships                      = 8 // of a user
	roomPerUnit                      = 100
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (c company) teams() int   { return max(c.users/20, memberships) }
func (c company) units() int   { return max(c.users/roomPerUnit, 1) }
func (c company) records() int { return 10 * c.users } // the first half is shared
func (c company) shares() int  { return 10 * c.users }

// mix is a number below n that looks picked at random by what and i
// (splitmix64).
func mix(what string, i, n int) int {
	x := uint64(i)*0x9e3779b97f4a7c15 + uint64(what[0])<<56 + uint64(len(what))<<48 + uint64(what[len(what)-1])<<40
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n))
}

func unitID(i int) access.BusinessUnitID { return access.BusinessUnitID(fmt.Sprintf("unit-%05d", i)) }

func userID(i int) access.UserID {
	return access.UserID(fmt.Sprintf("corp:8f14e45f-ceea-467f-a8d7-%012d", i))
}
func teamID(i int) access.TeamID   { return access.TeamID(fmt.Sprintf("team-%06d", i)) }
func roleID(i int) access.RoleID   { return access.RoleID(fmt.Sprintf("role-%02d", i)) }
func tableID(i int) access.TableID { return access.TableID(fmt.Sprintf("table-%02d", i)) }
func recordID(i int) access.RecordID {
	return access.RecordID(fmt.Sprintf("%08x-6b1f-4c39-9c55-%012x", recordOrder(i), i))
}

// recordOrder is where the record's id stands among the others.
func recordOrder(i int) uint32 { return uint32(i) * 0x9e3779b1 }

func (c company) userUnit(i int) int { return i % c.units() }
func (c company) teamUnit(i int) int { return mix("team's unit", i, c.units()) }

// manager is the user's: of eight who report to one, in the same unit, whose head
// reports to the head of the unit above.
func (c company) manager(i int) (int, bool) {
	unit, place := c.userUnit(i), i/c.units()
	switch {
	case place > 0:
		return unit + (place-1)/8*c.units(), true
	case unit > 0:
		return parent(unit), true
	}
	return 0, false
}

func parent(unit int) int { return (unit - 1) / 6 }

// teamOf is the n-th team of a user; they differ.
func (c company) teamOf(user, n int) int {
	each := c.teams() / memberships
	return n*each + mix("member", user*memberships+n, each)
}

// owner and unit of a record: mostly a user's, in the owner's unit.
func (c company) owner(record int) access.Principal {
	if mix("by team", record, 100) < 15 {
		return teamID(c.ownerTeam(record)).Principal()
	}
	return userID(mix("owner", record, c.users)).Principal()
}

// ownerTeam is a team that can own.
func (c company) ownerTeam(record int) int {
	t := mix("owner team", record, c.teams())
	for isAccessTeam(t) {
		t = (t + 1) % c.teams()
	}
	return t
}

func (c company) recordUnit(record int) int {
	if mix("elsewhere", record, 100) < 20 {
		return mix("unit", record, c.units())
	}
	if mix("by team", record, 100) < 15 {
		return c.teamUnit(c.ownerTeam(record))
	}
	return c.userUnit(mix("owner", record, c.users))
}

func recordTable(record int) int { return record % tables }
func isAccessTeam(i int) bool    { return i%10 == 9 }

// objects yields all there is, what is mentioned before what mentions it.
func (c company) objects() iter.Seq[access.Object] {
	return func(yield func(access.Object) bool) {
		for _, part := range []func(func(access.Object) bool) bool{c.settings, c.people, c.joined, c.assigned, c.shared} {
			if !part(yield) {
				return
			}
		}
	}
}

func (c company) settings(yield func(access.Object) bool) bool {
	ok := yield(access.Environment{
		ID: environment, Name: "Company", Modernized: true, RequireLicence: true, ManagedBy: access.ByFile,
		SecurityGroup: &access.GroupRef{Source: "corp", Group: "staff"},
		Hierarchy:     &access.Hierarchy{Depth: 3, DirectLevels: 1},
	})
	for i := 0; ok && i < c.units(); i++ {
		b := access.BusinessUnit{Environment: environment, ID: unitID(i), Name: fmt.Sprint("Unit ", i), ManagedBy: access.ByFile}
		if i > 0 {
			b.Parent = unitID(parent(i))
		}
		ok = yield(b)
	}
	for i := range tables {
		ok = ok && yield(access.Table{
			Environment: environment, ID: tableID(i), Name: fmt.Sprint("Table ", i), ManagedBy: access.ByFile,
			Columns: []access.Column{
				{Name: "iban", Secured: true, Mask: &access.Mask{Pattern: `\w`, Replace: "*"}}, {Name: "net", From: []string{"salary"}}, {Name: "salary", Secured: true},
			},
		})
	}
	ok = ok && yield(access.Table{Environment: environment, ID: engine.BusinessUnitTable, Name: "Business Unit", Ownership: access.BusinessUnitOwned, ManagedBy: access.ByFile})
	for i := range roles {
		r := access.Role{Environment: environment, ID: roleID(i), Name: fmt.Sprint("Role ", i), BusinessUnit: unitID(0), ManagedBy: access.ByFile}
		if i%5 == 0 {
			r.Inheritance = access.TeamOnly
		}
		r.Privileges = append(r.Privileges, access.Privilege{Table: engine.BusinessUnitTable, Action: access.AppendTo, Depth: access.Deep})
		for t := range tables {
			for a := access.Create; a < access.Actions; a++ {
				if d := depths[mix("depth", (i*tables+t)*int(access.Actions)+int(a), len(depths))]; d != access.None {
					r.Privileges = append(r.Privileges, access.Privilege{Table: tableID(t), Action: a, Depth: d})
				}
			}
		}
		ok = ok && yield(r)
	}
	for i := range profiles {
		p := access.Profile{Environment: environment, ID: access.ProfileID(fmt.Sprint("profile-", i)), Name: fmt.Sprint("Profile ", i), ManagedBy: access.ByFile}
		for t := range tables {
			p.Columns = append(p.Columns,
				access.ProfileColumn{Table: tableID(t), Column: "iban", Read: true, Update: i%2 == 0},
				access.ProfileColumn{Table: tableID(t), Column: "salary", Read: true, Unmasked: access.UnmaskedAllRecords, Create: i%3 == 0})
		}
		ok = ok && yield(p)
	}
	return ok
}

// depths of a privilege: most roles do not have it or have it at Basic.
var depths = []access.Depth{
	access.None, access.None, access.None, access.None, access.None, access.None, access.None, access.None,
	access.None, access.None, access.Basic, access.Basic, access.Basic, access.Basic, access.Basic, access.Basic,
	access.Local, access.Local, access.Local, access.Deep,
}

func (c company) user(i int) access.User {
	u := access.User{
		Environment: environment, ID: userID(i), Login: fmt.Sprintf("u%07d@contoso.example", i), Name: fmt.Sprint("User ", i), Mail: fmt.Sprintf("u%07d@contoso.example", i),
		BusinessUnit: unitID(c.userUnit(i)), Enabled: mix("disabled", i, 100) > 0, Licensed: mix("unlicensed", i, 100) > 0, Admitted: mix("outside", i, 100) > 0,
		ManagedBy: access.ByMapping, Origin: access.Origin{Rule: "people", Source: "corp", Object: string(userID(i))},
	}
	if m, ok := c.manager(i); ok {
		u.Manager = userID(m)
	}
	if mix("reader", i, 50) == 0 {
		u.AccessMode = access.ReadOnly
	}
	return u
}

func (c company) people(yield func(access.Object) bool) bool {
	for i := range c.users {
		if !yield(c.user(i)) {
			return false
		}
	}
	for i := range c.teams() {
		t := access.Team{
			Environment: environment, ID: teamID(i), Name: fmt.Sprint("Team ", i), BusinessUnit: unitID(c.teamUnit(i)), ManagedBy: access.ByMapping,
			Origin: access.Origin{Rule: "teams", Source: "corp", Object: string(teamID(i))},
		}
		if isAccessTeam(i) {
			t.Type = access.AccessTeam
		}
		if !yield(t) {
			return false
		}
	}
	return true
}

func (c company) membership(user, team int) access.Membership {
	return access.Membership{
		Environment: environment, Team: teamID(team), User: userID(user), ManagedBy: access.ByMapping,
		Origin: access.Origin{Rule: "teams", Source: "corp", Object: string(teamID(team))},
	}
}

func (c company) joined(yield func(access.Object) bool) bool {
	if c.noMemberships {
		return true
	}
	for i := range c.users {
		for n := range memberships {
			if !yield(c.membership(i, c.teamOf(i, n))) {
				return false
			}
		}
	}
	return true
}

// assigned yields a role of their own for each user and one or two for each team,
// a tenth of them at another unit, and elevations that hold at noon for each
// twentieth user and each fiftieth team.
func (c company) assigned(yield func(access.Object) bool) bool {
	n := 0
	assign := func(p access.Principal, unit int, w access.Window) bool {
		if n++; mix("matrix", n, 10) == 0 {
			unit = mix("other unit", n, c.units())
		}
		return yield(access.Assignment{
			Environment: environment, ID: access.AssignmentID(fmt.Sprintf("assignment-%08d", n)), Role: roleID(mix("role", n, roles)),
			Principal: p, BusinessUnit: unitID(unit), Window: w, ManagedBy: access.ByMapping,
		})
	}
	elevation := access.Window{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)}
	for i := range c.users {
		if !assign(userID(i).Principal(), c.userUnit(i), access.Window{}) || i%20 == 7 && !assign(userID(i).Principal(), c.userUnit(i), elevation) {
			return false
		}
		if i%20 == 3 && !yield(access.ProfileMember{Environment: environment, Profile: access.ProfileID(fmt.Sprint("profile-", i%profiles)), Principal: userID(i).Principal(), ManagedBy: access.ByFile}) {
			return false
		}
	}
	for i := range c.teams() {
		if isAccessTeam(i) {
			continue
		}
		for range 1 + mix("two", i, 2) {
			if !assign(teamID(i).Principal(), c.teamUnit(i), access.Window{}) {
				return false
			}
		}
		if i%50 == 7 && !assign(teamID(i).Principal(), c.teamUnit(i), elevation) {
			return false
		}
		if i%50 == 3 && !yield(access.ProfileMember{Environment: environment, Profile: access.ProfileID(fmt.Sprint("profile-", i%profiles)), Principal: teamID(i).Principal(), ManagedBy: access.ByFile}) {
			return false
		}
	}
	return true
}

// share is the n-th of a record in the first half.
func (c company) share(record, n int) access.Share {
	i := 2*record + n
	s := access.Share{
		Environment: environment, Table: tableID(recordTable(record)), Record: recordID(record), ManagedBy: access.ByAPI,
		Rights: access.RightsOf(access.Read),
	}
	switch kind := mix("with", i, 100); {
	case kind < 70:
		s.Principal = userID(mix("user", i, c.users)).Principal()
	case kind < 99 || n > 0 || record%100 != 0:
		s.Principal = teamID(mix("shared team", i, c.teams())).Principal()
	default:
		s.Principal = access.Principal{Kind: access.Everybody}
	}
	if mix("write", i, 3) == 0 {
		s.Rights |= access.RightsOf(access.Write, access.Append)
	}
	if mix("until", i, 100) == 0 {
		s.Window = access.Window{End: noon.Add(time.Hour)}
	}
	return s
}

func (c company) shared(yield func(access.Object) bool) bool {
	if c.noShares {
		return true
	}
	for record := range c.records() / 2 {
		for n := range 2 {
			if !yield(c.share(record, n)) {
				return false
			}
		}
	}
	return true
}
