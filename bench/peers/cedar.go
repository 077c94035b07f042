package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/ambit-iam/ambit/access"
)

// cedarGo is Cedar's authorizer in Go, with all entities in one map. Policies
// cannot go through the assignments of a user: where a user holds what is written
// out into attributes of the user, so that a change of a role or of a team rewrites
// those of all its holders or members. Only the policies of the action in question
// are tried, of which Cedar tries all.
type cedarGo struct {
	policies [privileges]*cedar.PolicySet
	actions  [privileges]cedar.EntityUID
	entities cedar.EntityMap
	users    []cedar.EntityUID
	records  []cedar.EntityUID
}

func uid(kind, id string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(id))
}

const cedarPolicies = `
permit (principal, action, resource) when { principal.%[1]s_local.contains(resource.unit) };
permit (principal, action, resource) when { resource in principal.%[1]s_deep };
permit (principal, action, resource) when { principal.%[1]s_global };
permit (principal, action, resource) when { principal.%[1]s_owns && principal in resource.owner };
permit (principal, action, resource) when { resource.owner is Team && resource.owner.%[1]s && principal in resource.owner };
permit (principal, action, resource) when { principal.%[1]s_any && (resource.shared_%[2]v_everybody || principal in resource.shared_%[2]v) };
forbid (principal, action, resource) when { principal.barred };
`

func (c *cedarGo) load(_ context.Context, o *organisation) error {
	c.entities = cedar.EntityMap{}
	for p := range privileges {
		var err error
		c.policies[p], err = cedar.NewPolicySetFromBytes("policies", fmt.Appendf(nil, cedarPolicies, p, p.action()))
		if err != nil {
			return err
		}
		c.actions[p] = uid("Action", p.String())
	}
	put := func(kind, id string, attributes cedar.RecordMap, parents ...cedar.EntityUID) cedar.EntityUID {
		e := uid(kind, id)
		c.entities[e] = cedar.Entity{UID: e, Parents: cedar.NewEntityUIDSet(parents...), Attributes: cedar.NewRecord(attributes)}
		return e
	}
	var units, teams []cedar.EntityUID
	for n, u := range o.units {
		if u.parent < 0 {
			units = append(units, put("Unit", unitName(n), nil))
		} else {
			units = append(units, put("Unit", unitName(n), nil, units[u.parent]))
		}
	}
	for n, t := range o.teams {
		a := cedar.RecordMap{}
		for p := range privileges {
			holds := false
			for _, r := range t.roles {
				holds = holds || o.roles[r].depths[p] != access.None
			}
			a[cedar.String(p.String())] = cedar.Boolean(holds)
		}
		teams = append(teams, put("Team", teamName(n), a))
	}
	for n, u := range o.users {
		var parents []cedar.EntityUID
		for _, t := range u.teams {
			parents = append(parents, teams[t])
		}
		c.users = append(c.users, put("User", userName(n), o.cedarUser(n, units), parents...))
	}
	shared := make([]map[access.Action][]cedar.Value, len(o.records))
	everybody := make([]map[access.Action]bool, len(o.records))
	for n := range o.records {
		shared[n], everybody[n] = map[access.Action][]cedar.Value{}, map[access.Action]bool{}
	}
	for _, s := range o.shares {
		for _, a := range s.rights {
			switch s.kind {
			case access.UserPrincipal:
				shared[s.record][a] = append(shared[s.record][a], c.users[s.principal])
			case access.TeamPrincipal:
				shared[s.record][a] = append(shared[s.record][a], teams[s.principal])
			default:
				everybody[s.record][a] = true
			}
		}
	}
	for n, r := range o.records {
		a := cedar.RecordMap{"unit": units[r.unit], "owner": c.users[0]}
		if a["owner"] = cedar.Value(uid("User", r.ownerName())); r.byTeam {
			a["owner"] = teams[r.owner]
		}
		for i := range actions {
			action := privilege(i).action()
			name := cedar.String("shared_" + action.String())
			a[name], a[name+"_everybody"] = cedar.NewSet(shared[n][action]...), cedar.Boolean(everybody[n][action])
		}
		c.records = append(c.records, put("Record", recordName(n), a, units[r.unit]))
	}
	return nil
}

// cedarUser writes out what a user holds, directly and by teams.
func (o *organisation) cedarUser(n int, units []cedar.EntityUID) cedar.RecordMap {
	u, a := o.users[n], cedar.RecordMap{"barred": cedar.Boolean(o.barred(n))}
	for p := range privileges {
		var local, deep []cedar.Value
		holds, owns, global := false, false, false
		add := func(unit int, roles []int, direct bool) {
			for _, r := range roles {
				d := o.roles[r].depths[p]
				holds = holds || d != access.None
				owns = owns || d != access.None && direct || d == access.Basic && o.roles[r].inherits
				switch d {
				case access.Local:
					local = append(local, units[unit])
				case access.Deep:
					deep = append(deep, units[unit])
				case access.Global:
					global = true
				}
			}
		}
		add(u.unit, u.roles, true)
		for _, t := range u.teams {
			add(o.teams[t].unit, o.teams[t].roles, false)
		}
		name := cedar.String(p.String())
		a[name+"_local"], a[name+"_deep"], a[name+"_global"] = cedar.NewSet(local...), cedar.NewSet(deep...), cedar.Boolean(global)
		a[name+"_owns"], a[name+"_any"] = cedar.Boolean(owns), cedar.Boolean(holds)
	}
	return a
}

func (c *cedarGo) check(_ context.Context, q question) (bool, error) {
	d, said := cedar.Authorize(c.policies[q.privilege], c.entities, cedar.Request{
		Principal: c.users[q.user], Action: c.actions[q.privilege], Resource: c.records[q.record],
	})
	if len(said.Errors) > 0 {
		var all []string
		for _, e := range said.Errors {
			all = append(all, e.String())
		}
		return false, errors.New(strings.Join(all, "; "))
	}
	return d == cedar.Allow, nil
}

func (c *cedarGo) close() error { return nil }
