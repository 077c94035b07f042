package main

import (
	"fmt"
	"strings"

	"github.com/ambit-iam/ambit/access"
)

// relationship is one of those that OpenFGA and SpiceDB keep: a subject, or with
// a subjectRelation the set of those who have it, has a relation to an object.
type relationship struct {
	kind, id, relation                  string
	subject, subjectID, subjectRelation string
}

// relationships writes the organisation out for them. What neither can reckon
// while answering is written out beforehand: which assignments have a privilege at
// a depth, so that a change of a role rewrites the lines of all who hold it, and
// who is barred by a disabled unit.
func (o *organisation) relationships(put func(relationship) error) error {
	var err error
	add := func(kind, id, relation, subject, subjectID, subjectRelation string) {
		if err == nil {
			err = put(relationship{kind, id, relation, subject, subjectID, subjectRelation})
		}
	}
	const org = "main"
	for n, u := range o.units {
		if u.parent >= 0 {
			add("unit", unitName(n), "parent", "unit", unitName(u.parent), "")
		}
	}
	for n, r := range o.roles {
		for i, d := range r.depths {
			p := privilege(i).String()
			if d == access.None {
				continue
			}
			add("org", org, p+"_any", "role", roleName(n), "holder")
			add("org", org, p+"_owns", "role", roleName(n), "direct")
			if r.inherits && d == access.Basic { // Rule ROLE-8
				add("org", org, p+"_owns", "role", roleName(n), "holder")
			}
			if d == access.Global {
				add("org", org, p+"_global", "role", roleName(n), "holder")
			}
		}
	}
	// What a principal holds is written once, whichever of the roles gives it.
	reach := func(subject, id, relation string, unit int, roles []int) {
		for i := range privileges {
			local, deep := false, false
			for _, r := range roles {
				local = local || o.roles[r].depths[i] == access.Local
				deep = deep || o.roles[r].depths[i] == access.Deep
			}
			if deep {
				add("unit", unitName(unit), i.String()+"_deep_here", subject, id, relation)
			} else if local {
				add("unit", unitName(unit), i.String()+"_local", subject, id, relation)
			}
		}
	}
	for n, t := range o.teams {
		for _, r := range t.roles {
			add("role", roleName(r), "holder", "team", teamName(n), "member")
		}
		reach("team", teamName(n), "member", t.unit, t.roles)
		for i := range privileges { // Rules ROLE-7, ROLE-9
			for _, r := range t.roles {
				if o.roles[r].depths[i] != access.None {
					add("team", teamName(n), i.String(), "team", teamName(n), "member")
					break
				}
			}
		}
	}
	for n, u := range o.users {
		if o.barred(n) {
			add("org", org, "barred", "user", userName(n), "")
		}
		for _, r := range u.roles {
			add("role", roleName(r), "holder", "user", userName(n), "")
			add("role", roleName(r), "direct", "user", userName(n), "")
		}
		reach("user", userName(n), "", u.unit, u.roles)
		for _, t := range u.teams {
			add("team", teamName(t), "member", "user", userName(n), "")
		}
	}
	for n, r := range o.records {
		kind, id := tableName(r.table), recordName(n)
		add(kind, id, "org", "org", org, "")
		add(kind, id, "unit", "unit", unitName(r.unit), "")
		if r.byTeam {
			add(kind, id, "owner", "team", teamName(r.owner), "member")
			add(kind, id, "owner_team", "team", teamName(r.owner), "")
		} else {
			add(kind, id, "owner", "user", userName(r.owner), "")
		}
	}
	for _, s := range o.shares {
		for _, a := range s.rights {
			kind, id, relation := tableName(o.records[s.record].table), recordName(s.record), fmt.Sprint("shared_", a)
			switch s.kind {
			case access.UserPrincipal:
				add(kind, id, relation, "user", userName(s.principal), "")
			case access.TeamPrincipal:
				add(kind, id, relation, "team", teamName(s.principal), "member")
			default:
				add(kind, id, relation, "user", "*", "")
			}
		}
	}
	return err
}

// perPrivilege writes a line for each privilege, with %[1]s standing for it.
func perPrivilege(b *strings.Builder, line string) {
	for p := range privileges {
		fmt.Fprintf(b, line+"\n", p)
	}
}
