package model_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/model"
)

var update = flag.Bool("update", false, "write what the tests find as what they want")

// golden compares text with a file's content.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func parse(t *testing.T, path string) *model.Model {
	t.Helper()
	src, err := os.ReadFile(path)
	require.NoError(t, err)
	m, err := model.Parse(filepath.Base(path), src)
	require.NoError(t, err)
	return m
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	return paths
}

// people finds users by login: all of a unit each, by what stands before the @.
func people(env access.EnvironmentID, unit access.BusinessUnitID, logins ...string) func(string) (access.User, bool) {
	return func(login string) (access.User, bool) {
		for _, l := range logins {
			if access.Fold(l) == access.Fold(login) {
				return access.User{Environment: env, ID: access.UserID("hr:" + l), Login: l, BusinessUnit: unit, Enabled: true, ManagedBy: access.ByMapping}, true
			}
		}
		return access.User{}, false
	}
}

var everybody = []string{"ann@example.com", "bob@example.com", "carl@example.com", "root@example.com"}

func TestAFileDeclaresTheseObjects(t *testing.T) {
	for _, path := range files(t, "testdata/ok_*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m := parse(t, path)
			var out strings.Builder
			for _, env := range m.Environments() {
				unit := access.BusinessUnitID("operations")
				if env == access.AmbitEnvironment {
					unit = model.AmbitUnit
				}
				users, findings := m.Resolve(env, people(env, unit, everybody...))
				require.Empty(t, findings)
				for _, o := range append(m.Desired(env), users...) {
					b, err := json.Marshal(o)
					require.NoError(t, err)
					out.WriteString(o.ObjectKind().String() + " " + string(b) + "\n")
				}
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".objects", out.String())
		})
	}
}

// expand lays everything that an environment is made of into an empty state.
func expand(t require.TestingT, m *model.Model, env access.EnvironmentID) *access.State {
	s := access.NewState(env)
	objects, home := m.Desired(env), m.Names().Environments[env].Root
	if env == access.AmbitEnvironment {
		objects = append(objects, model.Ambit()...)
	} else {
		var tables []access.Table
		for _, o := range objects {
			if table, ok := o.(access.Table); ok {
				tables = append(tables, table)
			}
		}
		objects = append(objects, model.OutOfBox(env, home, tables)...)
	}
	for _, o := range objects {
		if b, ok := o.(access.BusinessUnit); ok && b.Name == "Operations" {
			home = b.ID
		}
	}
	find := people(env, home, everybody...)
	for _, login := range everybody {
		u, _ := find(login)
		objects = append(objects, u)
	}
	users, _ := m.Resolve(env, find)
	var changes []access.Change
	for _, o := range append(objects, users...) {
		changes = append(changes, access.Put(o))
	}
	out, err := s.Expand(changes)
	require.NoError(t, err)
	s.Apply(out...)
	return s
}

func TestWhatAFileDeclaresKeepsTheInvariants(t *testing.T) {
	for _, path := range files(t, "testdata/ok_*.yaml") {
		m := parse(t, path)
		for _, env := range m.Environments() {
			s := expand(t, m, env)
			require.True(t, s.Exists())
		}
	}
}

// Each file has one fault, and beside it the message that a person reads.
func TestAFaultyFileIsRefusedWithPlaceAndHint(t *testing.T) {
	for _, path := range files(t, "testdata/bad_*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			m, err := model.Parse(filepath.Base(path), src)
			require.Nil(t, m)
			var faults document.Faults
			require.ErrorAs(t, err, &faults)
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

func TestAllFaultsOfAFileAreReportedAtOnce(t *testing.T) {
	_, err := model.Parse("m.yaml", []byte(`environments:
  e:
    business_units: {Root: {}}
    roles: {R: {privileges: {acount: {red: user}}, business_unit: Rot}}
    teams: {T: {roles: [Q]}}
`))
	var faults document.Faults
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults, 4)
}

func TestALoginThatNobodyHasIsAFindingAndTheRestHolds(t *testing.T) {
	m := parse(t, "testdata/ok_reference.yaml")
	objects, findings := m.Resolve("sales-prod", people("sales-prod", "operations", "BOB@example.com"))
	require.Len(t, objects, 3, "a membership and two assignments of Bob")
	require.Len(t, findings, 4)
	require.Equal(t, "ok_reference.yaml", findings[0].File)
	require.Equal(t, 80, findings[0].Line)
	require.Equal(t, `no user of environment "sales-prod" has the login "ann@example.com"`, findings[0].Problem)
	objects, findings = m.Resolve("elsewhere", people("elsewhere", "x"))
	require.Empty(t, objects)
	require.Empty(t, findings)
}

func TestRule_BU_8_AUsersRoleIsInTheUsersUnitUnlessModernized(t *testing.T) {
	src := `environments:
  e:
    business_units: {Root: {units: {A: {}, B: {}}}}
    roles: {In A: {business_unit: A}, High: {}}
    assignments:
      - {role: High, user: ann, business_unit: B}
      - {role: High, user: ann}
      - {role: High, user: ann, business_unit: A}
      - {role: In A, user: bob}
`
	m, err := model.Parse("m.yaml", []byte(src))
	require.NoError(t, err)
	bob := people("e", "b", "bob")
	objects, findings := m.Resolve("e", func(login string) (access.User, bool) {
		if login == "ann" {
			return access.User{ID: "ann", BusinessUnit: "a"}, true
		}
		return bob(login)
	})
	require.Len(t, objects, 1)
	require.Equal(t, access.BusinessUnitID("a"), objects[0].(access.Assignment).BusinessUnit)
	require.Len(t, findings, 3)
	require.Equal(t, 6, findings[0].Line)
	require.Contains(t, findings[0].Problem, `cannot be given in business unit "b" to a principal of "a"`)
	require.Equal(t, 8, findings[1].Line)
	require.Contains(t, findings[1].Problem, "given the same twice")
	require.Equal(t, 9, findings[2].Line)
	require.Contains(t, findings[2].Problem, `role "In A" does not exist in business unit "b"`)
}

func TestJoinRefusesAnEnvironmentInTwoFiles(t *testing.T) {
	one, two := parse(t, "testdata/ok_reference.yaml"), parse(t, "testdata/ok_small.yaml")
	m, err := model.Join(one, two)
	require.NoError(t, err)
	require.Equal(t, []access.EnvironmentID{"ambit", "sales-prod", "test"}, m.Environments())
	_, err = model.Join(one, two, two)
	require.EqualError(t, err, `ok_small.yaml:2:3: environment "test" is declared twice
      test:
      ^
hint: declare it in one file, whole; it is declared in ok_small.yaml as well`)
}

func TestNamesAreThoseOfTheFileAndOfWhatShips(t *testing.T) {
	n := parse(t, "testdata/ok_reference.yaml").Names()
	e := n.Environments["sales-prod"]
	require.Equal(t, access.BusinessUnitID("contoso"), e.Root)
	require.Equal(t, map[string]access.BusinessUnitID{"Contoso": "contoso", "Sales": "sales", "Sales EMEA": "emea", "Vertrieb München": "vertrieb-münchen", "Operations": "operations"}, e.BusinessUnits)
	require.Equal(t, access.RoleID("keeper"), e.Roles["Desk keeper"])
	require.Equal(t, model.RoleSystemAdministrator, e.Roles["System Administrator"])
	require.Equal(t, access.TeamID("watch"), e.Teams["Watchers"])
	require.Equal(t, access.NotOwned, e.Tables["account_contact"])
	require.Equal(t, access.BusinessUnitOwned, e.Tables[model.TableRole])
	ambit := parse(t, "testdata/ok_small.yaml").Names().Environments[access.AmbitEnvironment]
	require.Equal(t, model.RoleAuditor, ambit.Roles["Auditor"])
	require.Equal(t, model.AmbitUnit, ambit.Root)
}

// The example in the package's documentation is YAML that loads.
func TestTheDocumentedExampleLoads(t *testing.T) {
	src, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	example := regexp.MustCompile(`(?m)^//\tenvironments:(?:\n//\t.*)+`).FindString(string(src))
	require.NotEmpty(t, example)
	example = strings.ReplaceAll(example, "//\t", "")
	m, err := model.Parse("doc.go", []byte(example))
	require.NoError(t, err)
	expand(t, m, "sales-prod")
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/ok_*.yaml", "testdata/bad_*.yaml"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, path := range paths {
			src, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := model.Parse("fuzz.yaml", src)
		if err != nil {
			require.Nil(t, m)
			return
		}
		for _, env := range m.Environments() {
			if env != access.AmbitEnvironment {
				expand(t, m, env)
			}
		}
	})
}
