package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/model"
)

// workshop has cases, with notes that point to them, that carla and dora own; who
// sells may do anything with their own cases, and read those of the unit.
func workshop(t *testing.T) *world {
	w := newWorld(t)
	own := func(table access.TableID) (lines []access.Privilege) {
		for a := access.Create; a < access.Actions; a++ {
			depth := access.Basic
			if a == access.Read {
				depth = access.Local
			}
			lines = append(lines, access.Privilege{Table: table, Action: a, Depth: depth})
		}
		return lines
	}
	w.put(
		access.BusinessUnit{Environment: sales, ID: "apac", Name: "APAC", Parent: "root", ManagedBy: access.ByFile},
		access.Table{Environment: sales, ID: "case", Name: "Case", AccessTeams: true, ManagedBy: access.ByFile, Columns: []access.Column{{Name: "diagnosis", Secured: true}}},
		access.Table{Environment: sales, ID: "note", Name: "Note", ManagedBy: access.ByFile},
		access.Table{Environment: sales, ID: model.TableRole, Name: "Role", Ownership: access.BusinessUnitOwned, System: true, ManagedBy: access.ByFile},
		access.Relationship{Environment: sales, ID: "note_case", Table: "note", Parent: "case", ManagedBy: access.ByFile},
		access.Template{Environment: sales, ID: "helpers", Name: "Helpers", Table: "case", Rights: access.RightsOf(access.Read, access.Write), ManagedBy: access.ByFile},
		access.Profile{Environment: sales, ID: "doctors", Name: "Doctors", ManagedBy: access.ByFile, Columns: []access.ProfileColumn{{Table: "case", Column: "diagnosis", Read: true}}},
		access.ProfileMember{Environment: sales, Profile: "doctors", Principal: access.UserID("dir:carla").Principal(), ManagedBy: access.ByFile},
		access.Role{Environment: sales, ID: "worker", Name: "Worker", BusinessUnit: "root", Privileges: append(own("case"), own("note")...), ManagedBy: access.ByFile},
		access.Role{Environment: sales, ID: "giver", Name: "Giver", BusinessUnit: "root", ManagedBy: access.ByFile, Privileges: []access.Privilege{
			{Table: "account", Action: access.Read, Depth: access.Local},
			{Table: "account", Action: access.Write, Depth: access.Basic},
			{Table: model.TableRole, Action: access.Create, Depth: access.Global},
			{Table: model.TableRole, Action: access.Assign, Depth: access.Local},
		}},
		access.Record{Environment: sales, Table: "case", ID: "1", Owner: access.UserID("dir:carla").Principal(), ManagedBy: access.ByAPI},
		access.Record{Environment: sales, Table: "note", ID: "9", Owner: access.UserID("dir:carla").Principal(), ManagedBy: access.ByAPI},
		access.Assignment{Environment: sales, ID: "giver", Role: "giver", Principal: access.UserID("dir:carla").Principal(), BusinessUnit: "emea", ManagedBy: access.ByFile},
	)
	for _, login := range []string{"carla", "dora", "bruno"} {
		w.put(access.Assignment{Environment: sales, ID: access.AssignmentID("work-" + login), Role: "worker", Principal: access.UserID("dir:" + login).Principal(), BusinessUnit: "emea", ManagedBy: access.ByFile})
	}
	return w
}

const (
	caseOne = "/v1/environments/sales/records/case/1/actions/"
	noteOne = "/v1/environments/sales/records/note/9/actions/"
	roles   = "/v1/environments/sales/roles/"
)

func (w *world) can(user string, action access.Action) bool {
	w.t.Helper()
	var a api.Answer
	w.as("app", "POST", check, api.Question{User: user, Action: action, Table: "case", Record: &api.Record{ID: "1", Registered: true}}).into(w.t, &a)
	return a.Allowed
}

// done requires that the operation is done, and that dry_run said so before.
func (w *world) done(user, path string, body object) (o api.Outcome) {
	w.t.Helper()
	before := w.tenant.Revision()
	body["dry_run"] = true
	w.as(user, "POST", path, body).into(w.t, &o)
	require.True(w.t, o.Allowed, "%+v", o)
	require.Equal(w.t, before, w.tenant.Revision(), "nothing is written")
	delete(body, "dry_run")
	w.as(user, "POST", path, body).into(w.t, &o)
	require.Equal(w.t, w.tenant.Revision(), o.Revision)
	return o
}

// not requires that the operation is refused by the rule.
func (w *world) not(user, path string, body object, rule string) {
	w.t.Helper()
	before := w.tenant.Revision()
	p := w.as(user, "POST", path, body).problem(w.t)
	require.Equal(w.t, "urn:ambit:problem:operation-refused", p.Type, "%s", p.Detail)
	require.Equal(w.t, http.StatusForbidden, p.Status)
	require.Equal(w.t, rule, p.Members["rule"], p.Detail)
	body["dry_run"] = true
	var o api.Outcome
	w.as(user, "POST", path, body).into(w.t, &o)
	require.False(w.t, o.Allowed)
	require.Equal(w.t, rule, o.Rule)
	require.Equal(w.t, before, w.tenant.Revision())
}

func TestAPersonSharesARecord(t *testing.T) {
	w := workshop(t)
	w.not("bruno", caseOne+"share", object{"principal": "user:dora", "rights": "read"}, "SHARE-3")
	w.done("carla", caseOne+"share", object{"principal": "user:dora", "rights": "write", "reason": "a second pair of eyes"})
	require.True(t, w.can("dora", access.Write))
	w.done("carla", caseOne+"share", object{"principal": "user:dora", "rights": "delete"})
	require.True(t, w.can("dora", access.Write), "a grant adds (Rule SHARE-1)")
	w.done("carla", caseOne+"modify", object{"principal": "user:dora", "rights": "share"})
	require.False(t, w.can("dora", access.Write), "to modify sets")
	w.not("dora", caseOne+"share", object{"principal": "user:bruno", "rights": "delete"}, "SHARE-3")
	w.not("bruno", caseOne+"unshare", object{"principal": "user:dora"}, "SHARE-8")
	w.done("dora", caseOne+"unshare", object{"principal": "user:dora"})
	require.False(t, w.can("dora", access.ShareRecord))

	end := w.tenant.Now().Add(time.Hour)
	w.done("carla", caseOne+"share", object{"principal": "organization", "rights": "write", "end": end})
	require.True(t, w.can("bruno", access.Write))
	w.pass(2 * time.Hour)
	require.False(t, w.can("bruno", access.Write))

	var page api.Page[audit.Event]
	w.as("auditor", "GET", "/v1/audit/events?operation=record.", nil).into(t, &page)
	require.Len(t, page.Items, 5)
	first := page.Items[4]
	require.Equal(t, "record.share", first.Operation)
	require.Equal(t, "record/case/1", first.Object)
	require.Equal(t, "a second pair of eyes", first.Reason)
	require.Empty(t, first.Actor.OnBehalfOf)
	require.Contains(t, string(first.Detail), "user:dora")
}

func TestAPersonGivesARecordAway(t *testing.T) {
	w := workshop(t)
	w.not("dora", caseOne+"assign", object{"owner": "user:dora"}, "OWN-9")
	w.not("carla", caseOne+"assign", object{"owner": "user:amelie"}, "OWN-9")
	w.done("carla", caseOne+"assign", object{"owner": "user:dora"})
	require.True(t, w.can("dora", access.Delete))
	w.not("dora", caseOne+"move", object{"business_unit": "APAC"}, "OWN-5")
}

func TestAPersonLinksRecords(t *testing.T) {
	w := workshop(t)
	w.not("dora", noteOne+"link", object{"relationship": "note_case", "parent": "1"}, "REL-1")
	w.done("carla", noteOne+"link", object{"relationship": "note_case", "parent": "1"})
	record := func() (r access.Record) {
		w.as("auditor", "GET", "/v1/environments/sales/records/note~9", nil).into(t, &r)
		return r
	}
	require.Equal(t, []access.Link{{Relationship: "note_case", Record: "1"}}, record().Links)
	w.not("dora", noteOne+"unlink", object{"relationship": "note_case"}, "REL-3")
	w.done("carla", noteOne+"unlink", object{"relationship": "note_case"})
	require.Empty(t, record().Links)
}

func TestAPersonPutsOthersIntoARecordsTeam(t *testing.T) {
	w := workshop(t)
	w.not("bruno", caseOne+"join", object{"template": "helpers", "user": "dora"}, "TEAM-7")
	w.done("carla", caseOne+"join", object{"template": "helpers", "user": "dora"})
	w.done("carla", caseOne+"join", object{"template": "helpers", "user": "dora"})
	require.True(t, w.can("dora", access.Write))
	w.not("bruno", caseOne+"leave", object{"template": "helpers", "user": "dora"}, "TEAM-7")
	w.done("dora", caseOne+"leave", object{"template": "helpers", "user": "dora"})
	require.False(t, w.can("dora", access.Write))
	require.Equal(t, "urn:ambit:problem:invalid-change", w.as("carla", "POST", caseOne+"leave", object{"template": "helpers", "user": "dora"}).problem(t).Type)
}

func TestAPersonSharesAColumn(t *testing.T) {
	w := workshop(t)
	reads := func() bool {
		var a api.ColumnsAnswer
		w.as("app", "POST", "/v1/environments/sales/columns", api.Question{User: "bruno", Table: "case", Action: access.Read, Record: &api.Record{ID: "1", Registered: true}}).into(t, &a)
		return a.Columns[0].Read
	}
	w.not("bruno", caseOne+"share-column", object{"column": "diagnosis", "principal": "user:bruno", "read": true}, "FLS-7")
	w.not("carla", caseOne+"share-column", object{"column": "diagnosis", "principal": "user:bruno", "update": true}, "FLS-7")
	require.False(t, reads())
	w.done("carla", caseOne+"share-column", object{"column": "diagnosis", "principal": "user:bruno", "read": true})
	require.True(t, reads())
	w.not("dora", caseOne+"share-column", object{"column": "diagnosis", "principal": "user:bruno"}, "SHARE-8")
	w.done("carla", caseOne+"share-column", object{"column": "diagnosis", "principal": "user:bruno"})
	require.False(t, reads())
}

func TestRule_ROLE_15_a_person_gives_roles(t *testing.T) {
	w := workshop(t)
	w.not("dora", roles+"salesperson/actions/give", object{"to": "user:dora"}, "ROLE-15")
	w.not("carla", roles+"manager/actions/give", object{"to": "user:dora"}, "ACC-5")
	w.not("carla", roles+"Salesperson/actions/give", object{"to": "user:dora", "business_unit": "root"}, "ROLE-15")
	made := w.done("carla", roles+"Salesperson/actions/give", object{"to": "user:dora", "business_unit": "emea"})
	again := w.done("carla", roles+"Salesperson/actions/give", object{"to": "user:dora", "business_unit": "emea"})
	require.Equal(t, made.Assignment, again.Assignment)
	require.Equal(t, made.Revision, again.Revision, "to give it again makes no second one")
	w.not("dora", roles+"salesperson/actions/take", object{"assignment": made.Assignment}, "ROLE-15")
	w.done("carla", roles+"salesperson/actions/take", object{"assignment": made.Assignment})
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("carla", "POST", roles+"salesperson/actions/take", object{"assignment": made.Assignment}).problem(t).Type)
	require.Equal(t, "urn:ambit:problem:managed-elsewhere", w.as("carla", "POST", roles+"salesperson/actions/take", object{"assignment": "sales-dora"}).problem(t).Type)

	w.not("dora", roles+"salesperson/actions/copy", object{"id": "mine", "name": "Mine"}, "ROLE-12")
	w.done("carla", roles+"salesperson/actions/copy", object{"id": "mine", "name": "Mine"})
	var role access.Role
	w.as("auditor", "GET", roles+"mine", nil).into(t, &role)
	require.Len(t, role.Privileges, 2)
	require.Equal(t, access.ByAPI, role.ManagedBy)
	require.Equal(t, "urn:ambit:problem:invalid-change", w.as("carla", "POST", roles+"salesperson/actions/copy", object{"id": "mine", "name": "Mine"}).problem(t).Type)
}

// An application does for somebody what that person may do, if it has the right to
// make such changes; it, and nobody else, is believed what it says of records.
func TestAnApplicationDoesItForSomebody(t *testing.T) {
	w := workshop(t)
	w.put(
		access.Role{Environment: access.AmbitEnvironment, ID: "sharing", Name: "Sharing", BusinessUnit: model.AmbitUnit, ManagedBy: access.ByFile, Privileges: []access.Privilege{{Table: model.TableShare, Action: access.Write, Depth: access.Global}}},
		access.Assignment{Environment: access.AmbitEnvironment, ID: "sharing", Role: "sharing", Principal: access.UserID("dir:app").Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByFile},
	)
	share := func(as string) object { return object{"as": as, "principal": "user:dora", "rights": "write"} }
	w.not("app", caseOne+"share", share("bruno"), "SHARE-3")
	w.done("app", caseOne+"share", share("carla"))
	var page api.Page[audit.Event]
	w.as("auditor", "GET", "/v1/audit/events?operation=record.share", nil).into(t, &page)
	require.Equal(t, "dir:carla", page.Items[0].Actor.OnBehalfOf)
	require.Equal(t, "dir:app", page.Items[0].Actor.ID)

	require.Equal(t, http.StatusForbidden, w.as("app", "POST", caseOne+"assign", object{"as": "carla", "owner": "user:dora"}).status, "it may share, and no more")
	require.Equal(t, http.StatusForbidden, w.as("bruno", "POST", caseOne+"share", share("carla")).status, "nobody else is carla")
	require.Equal(t, http.StatusForbidden, w.as("app", "POST", caseOne+"share", object{"principal": "user:dora", "rights": "write"}).status, "the application is no user of sales")
	w.done("carla", caseOne+"share", share("carla"))

	const other = "/v1/environments/sales/records/case/77/actions/share"
	facts := object{"owner": "user:bruno"}
	w.done("app", other, object{"as": "bruno", "principal": "user:dora", "rights": "write", "record": facts})
	w.not("app", other, object{"as": "carla", "principal": "user:dora", "rights": "write", "record": facts}, "SHARE-3")
	require.Equal(t, http.StatusUnprocessableEntity, w.as("bruno", "POST", other, object{"principal": "user:dora", "rights": "write", "record": facts}).status)
	require.Equal(t, "urn:ambit:problem:cannot-judge", w.as("bruno", "POST", other, object{"principal": "user:dora", "rights": "write"}).problem(t).Type, "it is not registered")
}

// Who may give roles in Ambit's own environment may give those that they hold, and
// nobody gives for others.
func TestRule_ACC_5_in_Ambits_own_environment(t *testing.T) {
	w := newWorld(t)
	w.put(
		access.Role{Environment: access.AmbitEnvironment, ID: "giver", Name: "Giver", BusinessUnit: model.AmbitUnit, ManagedBy: access.ByFile, Privileges: []access.Privilege{
			{Table: model.TableAssignment, Action: access.Write, Depth: access.Global},
			{Table: model.TableDecision, Action: access.Read, Depth: access.Global},
			{Table: model.TableRole, Action: access.Assign, Depth: access.Global},
		}},
		access.Assignment{Environment: access.AmbitEnvironment, ID: "giver", Role: "giver", Principal: access.UserID("dir:app").Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByFile},
	)
	const ambit = "/v1/environments/ambit/"
	give := func(role access.RoleID) access.Assignment {
		return access.Assignment{Role: role, Principal: access.UserID("dir:auditor").Principal(), BusinessUnit: model.AmbitUnit}
	}
	require.Equal(t, http.StatusOK, w.as("app", "PUT", ambit+"assignments/a", give(model.RoleDecisionReader)).status)
	require.Equal(t, http.StatusForbidden, w.as("app", "PUT", ambit+"assignments/b", give(model.RoleAdministrator)).status)
	require.Equal(t, http.StatusForbidden, w.as("app", "PUT", ambit+"assignments/b", give(model.RoleOperator)).status)
	w.done("app", ambit+"roles/decision-reader/actions/give", object{"to": "user:dir:auditor"})
	w.not("app", ambit+"roles/ambit-administrator/actions/give", object{"to": "user:dir:app"}, "ACC-5")
	require.Equal(t, http.StatusForbidden, w.as("app", "POST", ambit+"roles/ambit-administrator/actions/give", object{"as": "admin", "to": "user:dir:app"}).status)
	w.done("admin", ambit+"roles/ambit-administrator/actions/give", object{"to": "user:dir:app"})
}
