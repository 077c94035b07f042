package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// world is a small environment "e" made by hand. Units: root, with north and south
// below it, and oslo below north. Tables: account, setting (a system table),
// role, and link (of kind none).
type world struct {
	*access.State
	t testing.TB
}

func newWorld(t testing.TB) world {
	w := world{access.NewState("e"), t}
	w.unit("root", "")
	w.unit("north", "root")
	w.unit("south", "root")
	w.unit("oslo", "north")
	w.put(access.Table{Environment: "e", ID: "account", AccessTeams: true})
	w.put(access.Table{Environment: "e", ID: "contact"})
	w.put(access.Table{Environment: "e", ID: "setting", System: true, Ownership: access.OrganizationOwned})
	w.put(access.Table{Environment: "e", ID: "role", System: true, Ownership: access.BusinessUnitOwned})
	w.put(access.Table{Environment: "e", ID: "businessunit", System: true, Ownership: access.BusinessUnitOwned})
	return w
}

func (w world) put(o ...access.Object) {
	for _, o := range o {
		w.Apply(access.Put(o))
	}
}

func (w world) unit(id, parent access.BusinessUnitID) {
	w.put(access.BusinessUnit{Environment: "e", ID: id, Name: string(id), Parent: parent})
}

// user makes or changes a user.
func (w world) user(id access.UserID, unit access.BusinessUnitID, change ...func(*access.User)) {
	u, ok := w.Users[id]
	if !ok {
		u = access.User{Environment: "e", ID: id, Login: string(id), Name: string(id), Enabled: true}
	}
	u.BusinessUnit = unit
	for _, f := range change {
		f(&u)
	}
	w.put(u)
}

func manager(id access.UserID) func(*access.User) { return func(u *access.User) { u.Manager = id } }

func at(id access.PositionID) func(*access.User) { return func(u *access.User) { u.Position = id } }

func (w world) team(id access.TeamID, unit access.BusinessUnitID, kind access.TeamType, members ...access.UserID) {
	w.put(access.Team{Environment: "e", ID: id, Name: string(id), BusinessUnit: unit, Type: kind})
	for _, m := range members {
		w.put(access.Membership{Environment: "e", Team: id, User: m})
	}
}

// role makes a role at the root with the actions on the table at the depth.
func (w world) role(id access.RoleID, table access.TableID, d access.Depth, actions ...access.Action) {
	r, ok := w.Roles[id]
	if !ok {
		r = access.Role{Environment: "e", ID: id, Name: string(id), BusinessUnit: "root"}
	}
	for _, a := range actions {
		r.Privileges = append(r.Privileges, access.Privilege{Table: table, Action: a, Depth: d})
	}
	w.put(r)
}

func (w world) misc(id access.RoleID, names ...string) {
	r := w.Roles[id]
	r.Environment, r.ID, r.Name, r.BusinessUnit, r.Miscellaneous = "e", id, string(id), "root", names
	w.put(r)
}

func (w world) administrator(id access.RoleID) {
	w.put(access.Role{Environment: "e", ID: id, Name: string(id), BusinessUnit: "root", All: true})
}

func (w world) assign(p access.Principal, role access.RoleID, unit access.BusinessUnitID, window ...access.Window) {
	a := access.Assignment{
		Environment: "e", ID: access.AssignmentID(fmt.Sprintf("%v/%s/%d", p, role, len(w.Assignments))), Role: role, Principal: p, BusinessUnit: unit,
	}
	for _, x := range window {
		a.Window = x
	}
	w.put(a)
}

func (w world) share(record access.RecordID, p access.Principal, rights access.Rights, window ...access.Window) {
	sh := access.Share{Environment: "e", Table: "account", Record: record, Principal: p, Rights: rights}
	for _, x := range window {
		sh.Window = x
	}
	w.put(sh)
}

func (w world) snapshot() *engine.Snapshot {
	s, err := engine.New(w.State, 1)
	require.NoError(w.t, err)
	return s
}

func user(id access.UserID) access.Principal { return id.Principal() }
func team(id access.TeamID) access.Principal { return id.Principal() }

// on asks about an account with an id and owner.
func on(u access.UserID, a access.Action, record access.RecordID, owner access.Principal) engine.Question {
	return engine.Question{User: u, Action: a, Table: "account", Record: &engine.Record{ID: record, Owner: owner}, At: noon}
}

// reason is the reason of the answer, "until" its instant, if it has one.
func (w world) reason(q engine.Question) engine.Reason {
	w.t.Helper()
	d, err := w.snapshot().Check(q)
	require.NoError(w.t, err)
	require.Equal(w.t, d.Allowed, d.Reason == engine.Allowed)
	return d.Reason
}

func (w world) allows(q engine.Question) bool {
	w.t.Helper()
	return w.reason(q) == engine.Allowed
}

// until is an hour after noon.
var until = access.Window{End: noon.Add(time.Hour)}
