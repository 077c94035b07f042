package main

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/ambit-iam/ambit/access"
)

// opa is Open Policy Agent's Rego, as a prepared query over data in memory, which
// is kept in the form that the evaluation reads.
type opa struct {
	query   rego.PreparedEvalQuery
	inputs  [privileges]ast.Value
	users   []*ast.Term
	records []*ast.Term
}

const regoPolicy = `package company

default allow := false

allow if {
	not barred
	some g in held
	g.depth > 0
	reached
}

user := data.users[input.user]

record := data.records[input.record]

barred if user.disabled

barred if {
	some unit, _ in data.above[user.unit]
	data.disabled[unit]
}

# held is what the assignments of the user and the user's teams say.
held contains {"depth": d, "unit": user.unit, "team": "", "inherits": true} if {
	some r in user.roles
	d := data.roles[r].depths[input.privilege]
}

held contains {"depth": d, "unit": data.teams[t].unit, "team": t, "inherits": data.roles[r].inherits} if {
	some t, _ in user.teams
	some r in data.teams[t].roles
	d := data.roles[r].depths[input.privilege]
}

owned if record.owner == input.user

owned if user.teams[record.owner]

reached if {
	some g in held
	g.depth == 4
}

reached if {
	some g in held
	g.depth == 3
	data.above[record.unit][g.unit]
}

reached if {
	some g in held
	g.depth == 2
	g.unit == record.unit
}

reached if {
	owned
	some g in held
	g.depth > 0
	counts(g)
}

reached if data.shares[input.record][input.action][input.user]

reached if data.shares[input.record][input.action].everybody

reached if {
	some t, _ in user.teams
	data.shares[input.record][input.action][t]
}

counts(g) if g.team == ""

counts(g) if g.team == record.owner

counts(g) if {
	g.inherits
	g.depth == 1
}
`

func (p *opa) load(ctx context.Context, o *organisation) error {
	type object = map[string]any
	set := func(m object, keys ...string) { // puts true at the path
		for _, k := range keys[:len(keys)-1] {
			if m[k] == nil {
				m[k] = object{}
			}
			m = m[k].(object)
		}
		m[keys[len(keys)-1]] = true
	}
	names := func(roles []int) (all []any) {
		for _, r := range roles {
			all = append(all, roleName(r))
		}
		return all
	}
	data := object{"users": object{}, "teams": object{}, "roles": object{}, "records": object{}, "shares": object{}, "above": object{}, "disabled": object{}}
	for n, u := range o.units {
		for _, a := range o.above(n) {
			set(data, "above", unitName(n), unitName(a))
		}
		if u.disabled {
			set(data, "disabled", unitName(n))
		}
	}
	for n, r := range o.roles {
		depths := object{}
		for p, d := range r.depths {
			depths[privilege(p).String()] = int(d)
		}
		data["roles"].(object)[roleName(n)] = object{"inherits": r.inherits, "depths": depths}
	}
	for n, t := range o.teams {
		data["teams"].(object)[teamName(n)] = object{"unit": unitName(t.unit), "roles": names(t.roles)}
	}
	for n, u := range o.users {
		data["users"].(object)[userName(n)] = object{"unit": unitName(u.unit), "roles": names(u.roles), "disabled": u.disabled, "teams": object{}}
		for _, t := range u.teams {
			set(data, "users", userName(n), "teams", teamName(t))
		}
		p.users = append(p.users, ast.StringTerm(userName(n)))
	}
	for n, r := range o.records {
		data["records"].(object)[recordName(n)] = object{"owner": r.ownerName(), "unit": unitName(r.unit)}
		p.records = append(p.records, ast.StringTerm(recordName(n)))
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
			set(data, "shares", recordName(s.record), a.String(), who)
		}
	}
	var err error
	p.query, err = rego.New(
		rego.Query("data.company.allow"), rego.Module("company.rego", regoPolicy),
		rego.Store(inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))),
	).PrepareForEval(ctx)
	return err
}

func (p *opa) check(ctx context.Context, q question) (bool, error) {
	input := ast.NewObject(
		[2]*ast.Term{ast.InternedTerm("user"), p.users[q.user]},
		[2]*ast.Term{ast.InternedTerm("record"), p.records[q.record]},
		[2]*ast.Term{ast.InternedTerm("privilege"), ast.StringTerm(q.privilege.String())},
		[2]*ast.Term{ast.InternedTerm("action"), ast.StringTerm(q.privilege.action().String())},
	)
	r, err := p.query.Eval(ctx, rego.EvalParsedInput(input))
	return r.Allowed(), err
}

func (p *opa) close() error { return nil }
