package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// ambit is the one that the others are compared with. Records are registered, so
// that it, too, is asked about a record by its id alone.
type ambit struct {
	s       *engine.Snapshot
	users   []access.UserID
	records []engine.Record
}

const environment access.EnvironmentID = "company"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (a *ambit) load(_ context.Context, o *organisation) error {
	st := access.NewState(environment)
	put := func(o access.Object) { st.Apply(access.Put(o)) }
	unitID := func(n int) access.BusinessUnitID { return access.BusinessUnitID(unitName(n)) }
	for n, u := range o.units {
		b := access.BusinessUnit{Environment: environment, ID: unitID(n), Name: unitName(n), Disabled: u.disabled}
		if u.parent >= 0 {
			b.Parent = unitID(u.parent)
		}
		put(b)
	}
	for n := range tables {
		put(access.Table{Environment: environment, ID: access.TableID(tableName(n)), Name: tableName(n)})
	}
	for n, r := range o.roles {
		out := access.Role{Environment: environment, ID: access.RoleID(roleName(n)), Name: roleName(n), BusinessUnit: unitID(0), Inheritance: access.TeamOnly}
		if r.inherits {
			out.Inheritance = access.DirectUser
		}
		for p, d := range r.depths {
			if p := privilege(p); d != access.None {
				out.Privileges = append(out.Privileges, access.Privilege{Table: access.TableID(tableName(p.table())), Action: p.action(), Depth: d})
			}
		}
		put(out)
	}
	assign := func(p access.Principal, unit int, roles []int) {
		for _, r := range roles {
			put(access.Assignment{
				Environment: environment, ID: access.AssignmentID(fmt.Sprint("assignment-", len(st.Assignments))),
				Role: access.RoleID(roleName(r)), Principal: p, BusinessUnit: unitID(unit),
			})
		}
	}
	for n, t := range o.teams {
		id := access.TeamID(teamName(n))
		put(access.Team{Environment: environment, ID: id, Name: teamName(n), BusinessUnit: unitID(t.unit)})
		assign(id.Principal(), t.unit, t.roles)
	}
	for n, u := range o.users {
		id := access.UserID(userName(n))
		a.users = append(a.users, id)
		put(access.User{Environment: environment, ID: id, Login: userName(n), Name: userName(n), BusinessUnit: unitID(u.unit), Enabled: !u.disabled})
		assign(id.Principal(), u.unit, u.roles)
		for _, t := range u.teams {
			put(access.Membership{Environment: environment, Team: access.TeamID(teamName(t)), User: id})
		}
	}
	for n, r := range o.records {
		owner := access.UserID(userName(r.owner)).Principal()
		if r.byTeam {
			owner = access.TeamID(teamName(r.owner)).Principal()
		}
		a.records = append(a.records, engine.Record{ID: access.RecordID(recordName(n)), Registered: true})
		put(access.Record{Environment: environment, Table: access.TableID(tableName(r.table)), ID: access.RecordID(recordName(n)), Owner: owner, BusinessUnit: unitID(r.unit)})
	}
	for _, s := range o.shares {
		out := access.Share{
			Environment: environment, Table: access.TableID(tableName(o.records[s.record].table)), Record: access.RecordID(recordName(s.record)),
			Rights: access.RightsOf(s.rights...), Principal: access.Principal{Kind: access.Everybody},
		}
		switch s.kind {
		case access.UserPrincipal:
			out.Principal = access.UserID(userName(s.principal)).Principal()
		case access.TeamPrincipal:
			out.Principal = access.TeamID(teamName(s.principal)).Principal()
		}
		put(out)
	}
	var err error
	a.s, err = engine.New(st, 1)
	return err
}

var tableIDs = func() (ids [tables]access.TableID) {
	for n := range ids {
		ids[n] = access.TableID(tableName(n))
	}
	return ids
}()

func (a *ambit) check(_ context.Context, q question) (bool, error) {
	d, err := a.s.Check(engine.Question{
		User: a.users[q.user], Action: q.privilege.action(), Table: tableIDs[q.privilege.table()], Record: &a.records[q.record], At: noon,
	})
	return d.Allowed, err
}

func (a *ambit) close() error { return nil }
