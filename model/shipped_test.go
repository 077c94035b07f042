package model_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/model"
)

func stateOf(t *testing.T, env access.EnvironmentID, objects []access.Object) *access.State {
	t.Helper()
	s := access.NewState(env)
	var changes []access.Change
	for _, o := range objects {
		changes = append(changes, access.Put(o))
	}
	out, err := s.Expand(changes)
	require.NoError(t, err)
	s.Apply(out...)
	return s
}

func depths(r access.Role, table access.TableID) map[access.Action]access.Depth {
	out := map[access.Action]access.Depth{}
	for _, p := range r.Privileges {
		if p.Table == table {
			out[p.Action] = p.Depth
		}
	}
	return out
}

func TestAmbitIsAWholeEnvironment(t *testing.T) {
	s := stateOf(t, access.AmbitEnvironment, model.Ambit())
	for _, id := range []access.TableID{
		model.TableEnvironment, model.TableBusinessUnit, model.TableTable, model.TableRole, model.TableUser, model.TableTeam,
		model.TableAssignment, model.TableRecord, model.TableShare, model.TableProfile, model.TableSource, model.TableMapping, model.TablePlan,
		model.TablePolicy, model.TableRequest, model.TableAudit, model.TableDecision, model.TableMetrics,
	} {
		require.Equal(t, access.OrganizationOwned, s.Tables[id].Ownership, id)
		require.Equal(t, map[access.Action]access.Depth{access.Read: access.Global}, depths(s.Roles[model.RoleAuditor], id), "the auditor reads %s and no more", id)
	}
	require.Len(t, s.Tables, 18)
	require.Len(t, s.Roles, 5)
	require.True(t, s.Roles[model.RoleAdministrator].All)
	require.Equal(t, []access.Privilege{{Table: model.TableDecision, Action: access.Read, Depth: access.Global}}, s.Roles[model.RoleDecisionReader].Privileges)
	all := map[access.Action]access.Depth{access.Create: access.Global, access.Read: access.Global, access.Write: access.Global, access.Delete: access.Global}
	require.Equal(t, all, depths(s.Roles[model.RoleElevationAdministrator], model.TablePolicy))
	require.Equal(t, access.Global, depths(s.Roles[model.RoleOperator], model.TablePlan)[access.Write])
	for id, r := range s.Roles {
		require.Equal(t, access.BySystem, r.ManagedBy)
		require.Equal(t, id == model.RoleAdministrator, r.All)
		for _, table := range []access.TableID{model.TableRole, model.TableTeam, model.TableAssignment, model.TableUser, model.TableEnvironment} {
			for action := range depths(r, table) {
				require.Equal(t, access.Read, action, "%s may change %s", r.Name, table)
			}
		}
	}
}

func TestRule_ACC_6_EveryEnvironmentHasTheOutOfBoxRoles(t *testing.T) {
	s := expand(t, parse(t, "testdata/ok_reference.yaml"), "sales-prod")
	for _, name := range []string{
		"System Administrator", "System Customizer", "Environment Maker", "Basic User", "Delegate", "Support User",
		"Service Reader", "Service Writer", "Service Deleter", "Office Collaborator",
	} {
		r, ok := s.RoleByName(name)
		require.True(t, ok, name)
		require.Equal(t, access.BySystem, r.ManagedBy)
		require.Equal(t, access.BusinessUnitID("contoso"), r.BusinessUnit)
	}
	require.True(t, s.Roles[model.RoleSystemAdministrator].All)
	collaborator, _ := s.RoleByName("Office Collaborator")
	require.Equal(t, map[access.Action]access.Depth{access.Read: access.Basic}, depths(collaborator, "account"))
	require.Empty(t, depths(collaborator, "currency"), "an organization-owned table has no such depth")
	delegate, _ := s.RoleByName("Delegate")
	require.Equal(t, []string{"ActOnBehalfOfAnotherUser"}, delegate.Miscellaneous)
}

// The roles that cover every table do so by their definition; no other role gets
// anything of a table that is new.
func TestRule_ROLE_11_ANewTableGivesNothingToRolesThatDoNotCoverEveryTable(t *testing.T) {
	table := access.Table{Environment: "e", ID: "invoice", Name: "Invoice", ManagedBy: access.ByFile}
	reached := map[string]bool{}
	for _, o := range model.OutOfBox("e", "root", []access.Table{table}) {
		if r, ok := o.(access.Role); ok && (r.All || len(depths(r, "invoice")) > 0) {
			reached[r.Name] = true
		}
	}
	require.Equal(t, map[string]bool{
		"System Administrator": true, "System Customizer": true, "Service Reader": true, "Service Writer": true,
		"Service Deleter": true, "Office Collaborator": true,
	}, reached)
}

// No out-of-box role but System Administrator can give anybody anything.
func TestOutOfBoxRolesDoNotAdministerAccess(t *testing.T) {
	table := access.Table{Environment: "e", ID: "invoice", Name: "Invoice", ManagedBy: access.ByFile}
	other := access.Table{Environment: "f", ID: "other", ManagedBy: access.ByFile}
	for _, o := range model.OutOfBox("e", "root", []access.Table{table, other, {Environment: "e", ID: model.TableRole}}) {
		r, ok := o.(access.Role)
		if !ok || r.All {
			continue
		}
		require.Empty(t, depths(r, "other"), "a table of another environment")
		for _, id := range []access.TableID{model.TableRole, model.TableTeam, model.TableUser, model.TableBusinessUnit} {
			for action := range depths(r, id) {
				require.Contains(t, []access.Action{access.Read, access.AppendTo}, action, "%s on %s", r.Name, id)
			}
		}
	}
}

// The table in the package's documentation names every table of Ambit's own
// administration, in the order of the shipped file.
func TestTheDocumentationNamesEveryRight(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	at := 0
	for _, o := range model.Ambit() {
		table, ok := o.(access.Table)
		if !ok {
			continue
		}
		require.Contains(t, string(src), "//\t"+string(table.ID)+" ", "documented")
		at++
	}
	require.Equal(t, at, strings.Count(string(src[strings.Index(string(src), "//\tTable           read"):]), "\n//\t"))
}
