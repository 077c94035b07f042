package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ambit-iam/ambit/access"
)

// organisation is what everybody is asked about: as much of the access model as
// most of them can say. Units, users, teams, roles and records are numbers here;
// each peer is given their names.
//
// Business units are classic, so that an assignment is at its principal's unit
// (Rule BU-8) and a record in its owner's (Rule OWN-5).
type organisation struct {
	units   []unit
	roles   []role
	users   []user
	teams   []team
	records []record
	shares  []share
}

const (
	tables  = 5
	actions = 2 // Read and Write
)

// privilege numbers an action on a table.
type privilege int

const privileges = privilege(tables * actions)

func (p privilege) table() int            { return int(p) / actions }
func (p privilege) action() access.Action { return access.Read + access.Action(int(p)%actions) }
func (p privilege) String() string        { return fmt.Sprintf("table%d_%v", p.table(), p.action()) }

func tableName(n int) string  { return fmt.Sprint("table", n) }
func unitName(n int) string   { return fmt.Sprintf("unit-%05d", n) }
func roleName(n int) string   { return fmt.Sprintf("role-%02d", n) }
func userName(n int) string   { return fmt.Sprintf("user-%07d", n) }
func teamName(n int) string   { return fmt.Sprintf("team-%06d", n) }
func recordName(n int) string { return fmt.Sprintf("record-%08d", n) }

type unit struct {
	parent   int // -1 for the root, which is the first
	disabled bool
}

type role struct {
	inherits bool // members of a team inherit Basic as their own (Rule ROLE-8)
	depths   [privileges]access.Depth
}

type user struct {
	unit         int
	disabled     bool
	roles, teams []int
}

type team struct {
	unit  int
	roles []int
}

type record struct {
	table, owner int
	byTeam       bool // the owner is a team
	unit         int
}

// ownerName names the owner of a record.
func (r record) ownerName() string {
	if r.byTeam {
		return teamName(r.owner)
	}
	return userName(r.owner)
}

type share struct {
	record    int
	kind      access.PrincipalKind
	principal int
	rights    []access.Action
}

// question asks whether a user may do what a privilege says to a record.
type question struct {
	user, record int
	privilege    privilege
}

// newOrganisation makes one of the given number of users, always the same: a unit
// for every hundred, a team for every twenty, 20 roles, four memberships and a
// role of their own a user, one or two roles a team, two records a user (a fifth
// of them owned by teams) and ten shares.
func newOrganisation(users int) *organisation {
	rng := rand.New(rand.NewPCG(4, uint64(users)))
	some := func(n, of int) []int { // n different ones
		return rng.Perm(of)[:min(n, of)]
	}
	o := &organisation{
		units: make([]unit, max(users/100, 5)), roles: make([]role, 20), users: make([]user, users),
		teams: make([]team, max(users/20, 5)), records: make([]record, 2*users), shares: make([]share, 0, 10*users),
	}
	for n := range o.units {
		o.units[n] = unit{parent: (n+3)/4 - 1, disabled: n > 4 && rng.IntN(40) == 0}
	}
	for n := range o.roles {
		r := &o.roles[n]
		r.inherits = n%4 != 0
		for p := range r.depths {
			r.depths[p] = []access.Depth{ // a large depth is rare, as it should be
				access.None, access.None, access.None, access.None, access.None, access.None, access.None, access.None,
				access.Basic, access.Basic, access.Basic, access.Basic, access.Basic, access.Basic, access.Basic, access.Basic,
				access.Local, access.Local, access.Local, access.Local, access.Local, access.Deep, access.Deep, access.Global,
			}[rng.IntN(24)]
			if r.depths[p] == access.Global && n > 2 {
				r.depths[p] = access.None
			}
		}
	}
	pick := func() int { // of three roles only a few have Global; few principals have them
		if rng.IntN(50) == 0 {
			return rng.IntN(3)
		}
		return 3 + rng.IntN(len(o.roles)-3)
	}
	for n := range o.teams {
		o.teams[n] = team{unit: rng.IntN(len(o.units)), roles: []int{pick()}}
		if rng.IntN(2) == 0 {
			if r := pick(); r != o.teams[n].roles[0] {
				o.teams[n].roles = append(o.teams[n].roles, r)
			}
		}
	}
	for n := range o.users {
		u := user{unit: rng.IntN(len(o.units)), disabled: rng.IntN(50) == 0, roles: []int{pick()}}
		seen := map[int]bool{}
		for len(u.teams) < 4 {
			if t := rng.IntN(len(o.teams)); !seen[t] {
				seen[t] = true
				u.teams = append(u.teams, t)
			}
		}
		o.users[n] = u
	}
	for n := range o.records {
		r := record{table: rng.IntN(tables), owner: rng.IntN(users)}
		if r.unit = o.users[r.owner].unit; n%5 == 0 {
			r.byTeam, r.owner = true, rng.IntN(len(o.teams))
			r.unit = o.teams[r.owner].unit
		}
		o.records[n] = r
	}
	type key struct {
		record, principal int
		kind              access.PrincipalKind
	}
	shared := map[key]bool{}
	for len(o.shares) < cap(o.shares) {
		s := share{record: rng.IntN(len(o.records)), rights: []access.Action{access.Read}}
		switch n := rng.IntN(100); {
		case n < 65:
			s.kind, s.principal = access.UserPrincipal, rng.IntN(users)
		case n < 99:
			s.kind, s.principal = access.TeamPrincipal, rng.IntN(len(o.teams))
		default:
			s.kind = access.Everybody
		}
		if k := (key{s.record, s.principal, s.kind}); shared[k] {
			continue
		} else {
			shared[k] = true
		}
		if some(1, 2)[0] == 0 {
			s.rights = append(s.rights, access.Write)
		}
		o.shares = append(o.shares, s)
	}
	return o
}

// questions are asked of everybody: half of users and records at random, half of
// those that have something to do with each other.
func (o *organisation) questions(count int) []question {
	rng := rand.New(rand.NewPCG(5, uint64(len(o.users))))
	members := make([][]int, len(o.teams))
	for n, u := range o.users {
		for _, t := range u.teams {
			members[t] = append(members[t], n)
		}
	}
	anyone := func(team int) int {
		if len(members[team]) == 0 {
			return rng.IntN(len(o.users))
		}
		return members[team][rng.IntN(len(members[team]))]
	}
	out := make([]question, count)
	for n := range out {
		q := question{user: rng.IntN(len(o.users)), record: rng.IntN(len(o.records))}
		switch n % 4 {
		case 1: // the owner
			if r := o.records[q.record]; r.byTeam {
				q.user = anyone(r.owner)
			} else {
				q.user = r.owner
			}
		case 2: // one with whom it is shared
			s := o.shares[rng.IntN(len(o.shares))]
			switch q.record = s.record; s.kind {
			case access.UserPrincipal:
				q.user = s.principal
			case access.TeamPrincipal:
				q.user = anyone(s.principal)
			}
		}
		q.privilege = privilege(o.records[q.record].table*actions + rng.IntN(actions))
		out[n] = q
	}
	return out
}

// above lists the unit and those above it, up to the root.
func (o *organisation) above(unit int) []int {
	var all []int
	for ; unit >= 0; unit = o.units[unit].parent {
		all = append(all, unit)
	}
	return all
}

// barred tells whether the user does not get in (Rules EVAL-2, BU-3).
func (o *organisation) barred(user int) bool {
	u := o.users[user]
	for _, n := range o.above(u.unit) {
		if o.units[n].disabled {
			return true
		}
	}
	return u.disabled
}

func (o *organisation) String() string {
	return strings.Join([]string{
		fmt.Sprint(len(o.users), " users"), fmt.Sprint(len(o.teams), " teams"), fmt.Sprint(len(o.units), " units"),
		fmt.Sprint(len(o.records), " records"), fmt.Sprint(len(o.shares), " shares"),
	}, ", ")
}
