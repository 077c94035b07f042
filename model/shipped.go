package model

import (
	"cmp"
	_ "embed" // the shipped files
	"fmt"
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
)

// The environment of Ambit's own administration has one business unit.
const AmbitUnit access.BusinessUnitID = "ambit"

// The tables on which the rights of Ambit's administration are privileges. The
// package's documentation says what each right is.
const (
	TableEnvironment  access.TableID = "environment"
	TableBusinessUnit access.TableID = "businessunit"
	TableTable        access.TableID = "table"
	TableRole         access.TableID = "role"
	TableUser         access.TableID = "systemuser"
	TableTeam         access.TableID = "team"
	TableAssignment   access.TableID = "assignment"
	TableRecord       access.TableID = "record"
	TableShare        access.TableID = "share"
	TableProfile      access.TableID = "column_profile"
	TableSource       access.TableID = "source"
	TableMapping      access.TableID = "mapping"
	TablePlan         access.TableID = "plan"
	TablePolicy       access.TableID = "jit_policy"
	TableRequest      access.TableID = "jit_request"
	TableAudit        access.TableID = "audit"
	TableDecision     access.TableID = "decision"
	TableMetrics      access.TableID = "metrics"
)

// The miscellaneous privileges of Ambit's administration (Rule HIER-10). They are
// needed beside the right to change the user or environment.
const (
	PrivilegeAssignManager   = "AssignManager"
	PrivilegeAssignPosition  = "AssignPosition"
	PrivilegeChangeHierarchy = "ChangeHierarchySecurity"
)

// The roles of Ambit's administration.
const (
	RoleAdministrator          access.RoleID = "ambit-administrator"
	RoleElevationAdministrator access.RoleID = "elevation-administrator"
	RoleOperator               access.RoleID = "operator"
	RoleAuditor                access.RoleID = "auditor"
	RoleDecisionReader         access.RoleID = "decision-reader"
)

// RoleSystemAdministrator is the role that has every privilege in an environment
// other than Ambit's own.
const RoleSystemAdministrator access.RoleID = "system-administrator"

//go:embed shipped/ambit.yaml
var ambitFile []byte

//go:embed shipped/environment.yaml
var environmentFile []byte

// everyTable stands, in a shipped role, for the tables that an environment has
// beside the shipped ones.
const everyTable = "*"

// shippedRole is a role of a shipped file.
type shippedRole struct {
	Role role `yaml:",inline"`
	All  bool `yaml:"all"`
}

// Ambit makes the environment of Ambit's own administration, with its unit,
// tables and roles.
func Ambit() []access.Object {
	objects := []access.Object{
		access.Environment{ID: access.AmbitEnvironment, Name: "Ambit", ManagedBy: access.BySystem},
		access.BusinessUnit{Environment: access.AmbitEnvironment, ID: AmbitUnit, Name: "Ambit", ManagedBy: access.BySystem},
	}
	return append(objects, shipped(ambitFile, access.AmbitEnvironment, AmbitUnit, nil)...)
}

// OutOfBox makes the tables and roles that an environment has from the start, the
// roles defined at its root unit. Roles that cover every table cover the given
// ones, so that it is to be made anew when the tables change; what is not one of
// the environment's own tables is passed over.
func OutOfBox(env access.EnvironmentID, root access.BusinessUnitID, tables []access.Table) []access.Object {
	return shipped(environmentFile, env, root, tables)
}

// shipped reads a shipped file. That it can be read is tested; a fault in it is
// a fault of the program.
func shipped(src []byte, env access.EnvironmentID, root access.BusinessUnitID, tables []access.Table) []access.Object {
	var file struct {
		Tables map[access.TableID]table `yaml:"tables"`
		Roles  map[string]shippedRole   `yaml:"roles"`
	}
	doc, err := document.Decode("shipped", src, &file)
	if err != nil {
		panic(fmt.Sprintf("internal error: shipped roles: %v", err))
	}
	var objects []access.Object
	known := map[access.TableID]access.Table{}
	for _, id := range slices.Sorted(maps.Keys(file.Tables)) {
		t := file.Tables[id].object(env, id)
		t.ManagedBy, t.System = access.BySystem, true
		known[id] = t
		objects = append(objects, t)
	}
	others := slices.DeleteFunc(slices.Clone(tables), func(t access.Table) bool {
		_, ok := known[t.ID]
		return ok || t.Environment != env
	})
	p := &parser{doc: doc}
	for _, name := range slices.Sorted(maps.Keys(file.Roles)) {
		said := file.Roles[name]
		every := said.Role.Privileges[everyTable]
		delete(said.Role.Privileges, everyTable)
		lines := p.privileges("$", said.Role.Privileges, known)
		for _, t := range others {
			for _, l := range p.lines("$", every) {
				if t.Ownership.Reaches(l.Depth) {
					l.Table = t.ID
					lines = append(lines, l)
				}
			}
		}
		sortPrivileges(lines)
		slices.Sort(said.Role.Miscellaneous)
		objects = append(objects, access.Role{
			Environment: env, ID: access.RoleID(slug(name)), Name: name, BusinessUnit: root, All: said.All,
			Privileges: lines, Miscellaneous: said.Role.Miscellaneous, ManagedBy: access.BySystem,
		})
	}
	if len(p.faults) > 0 {
		panic(fmt.Sprintf("internal error: shipped roles: %v", p.faults))
	}
	return objects
}

func sortPrivileges(lines []access.Privilege) {
	slices.SortFunc(lines, func(a, b access.Privilege) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Action, b.Action))
	})
}
