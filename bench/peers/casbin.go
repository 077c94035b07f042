package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"

	"github.com/ambit-iam/ambit/access"
)

// casbinPeer is Casbin with its role manager. A line of policy is what a role says
// of a privilege; who holds it where is a chain user, team, role at unit, role.
// Casbin keeps nothing of a record: its facts come with the question.
type casbinPeer struct {
	enforcer *casbin.Enforcer
	records  []casbinRecord
	users    []string
}

type casbinRecord struct {
	Owner  string
	Team   bool
	Unit   string
	Shared [actions]string // what those are linked with who have a share with that action
}

const casbinModel = `
[request_definition]
r = sub, obj, privilege, shared
[policy_definition]
p = role, privilege, depth, inherits
[role_definition]
g = _, _
g2 = _, _
g3 = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.privilege == p.privilege && g(r.sub, p.role) && !g2(r.sub, "barred") && ( \
  p.depth == "global" || \
  p.depth == "local" && g(r.sub, at(p.role, r.obj.Unit)) || \
  p.depth == "deep" && above(r.sub, p.role, r.obj.Unit) || \
  g(r.sub, r.obj.Owner) && (g2(r.sub, p.role) || p.inherits == "yes" && p.depth == "basic" || r.obj.Team && g(r.obj.Owner, p.role)) || \
  g3(r.sub, r.shared) || g3("everybody", r.shared))
`

func (c *casbinPeer) load(_ context.Context, o *organisation) error {
	m, err := model.NewModelFromString(casbinModel)
	if err != nil {
		return err
	}
	if c.enforcer, err = casbin.NewEnforcer(m); err != nil {
		return err
	}
	c.enforcer.EnableAutoBuildRoleLinks(false)
	at := func(role, unit string) string { return role + "@" + unit }
	parents := map[string]string{}
	for n, u := range o.units {
		if u.parent >= 0 {
			parents[unitName(n)] = unitName(u.parent)
		}
	}
	c.enforcer.AddFunction("at", func(args ...any) (any, error) { return at(args[0].(string), args[1].(string)), nil })
	c.enforcer.AddFunction("above", func(args ...any) (any, error) { // the role at the unit or at one above it
		for unit := args[2].(string); unit != ""; unit = parents[unit] {
			ok, err := c.enforcer.GetRoleManager().HasLink(args[0].(string), at(args[1].(string), unit))
			if ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	})
	lines := map[string][][]string{}
	add := func(kind string, line ...string) { lines[kind] = append(lines[kind], line) }
	for n, r := range o.roles {
		for p, d := range r.depths {
			if d != access.None {
				add("p", roleName(n), privilege(p).String(), []string{"none", "basic", "local", "deep", "global"}[d], map[bool]string{true: "yes", false: "no"}[r.inherits])
			}
		}
	}
	known := map[string]bool{}
	hold := func(who string, unit int, roles []int) {
		for _, r := range roles {
			there := at(roleName(r), unitName(unit))
			if add("g", who, there); !known[there] {
				known[there] = true
				add("g", there, roleName(r))
			}
		}
	}
	for n, t := range o.teams {
		hold(teamName(n), t.unit, t.roles)
	}
	for n, u := range o.users {
		c.users = append(c.users, userName(n))
		hold(userName(n), u.unit, u.roles)
		for _, r := range u.roles {
			add("g2", userName(n), roleName(r))
		}
		if o.barred(n) {
			add("g2", userName(n), "barred")
		}
		for _, t := range u.teams {
			add("g", userName(n), teamName(t))
			add("g3", userName(n), teamName(t))
		}
	}
	for n, r := range o.records {
		out := casbinRecord{Owner: r.ownerName(), Team: r.byTeam, Unit: unitName(r.unit)}
		for i := range out.Shared {
			out.Shared[i] = fmt.Sprint(recordName(n), ":", strconv.Itoa(i))
		}
		c.records = append(c.records, out)
	}
	for _, s := range o.shares {
		who := "everybody"
		switch s.kind {
		case access.UserPrincipal:
			who = userName(s.principal)
		case access.TeamPrincipal:
			who = teamName(s.principal)
		}
		for _, a := range s.rights {
			add("g3", who, c.records[s.record].Shared[a-access.Read])
		}
	}
	for kind, all := range lines {
		section := kind[:1]
		if err := m.AddPolicies(section, kind, all); err != nil {
			return err
		}
	}
	return c.enforcer.BuildRoleLinks()
}

func (c *casbinPeer) check(_ context.Context, q question) (bool, error) {
	r := &c.records[q.record]
	return c.enforcer.Enforce(c.users[q.user], r, q.privilege.String(), r.Shared[q.privilege.action()-access.Read])
}

func (c *casbinPeer) close() error { return nil }
