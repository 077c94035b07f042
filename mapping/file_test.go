package mapping_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/mapping"
)

var updateGolden = flag.Bool("update", false, "write the expected messages in testdata anew")

// state makes an environment with units HQ (hq), North and South below it, and a
// few roles.
func state(id access.EnvironmentID, modernized bool) *access.State {
	s := access.NewState(id)
	s.Apply(access.Put(access.Environment{ID: id, Name: string(id), Modernized: modernized, ManagedBy: access.ByFile}))
	for _, u := range []access.BusinessUnit{{ID: "hq", Name: "HQ"}, {ID: "n", Name: "North", Parent: "hq"}, {ID: "s", Name: "South", Parent: "hq"}} {
		u.Environment, u.ManagedBy = id, access.ByFile
		s.Apply(access.Put(u))
	}
	for _, r := range []access.Role{
		{ID: "salesperson", Name: "Salesperson", BusinessUnit: "hq"},
		{ID: "manager", Name: "Sales Manager", BusinessUnit: "n"},
		{ID: "agent", Name: "Agent", BusinessUnit: "hq"},
		{ID: "admin", Name: "System Administrator", BusinessUnit: "hq", All: true},
	} {
		r.Environment, r.ManagedBy = id, access.ByFile
		s.Apply(access.Put(r))
	}
	return s
}

func names() mapping.Names {
	return mapping.Names{
		Sources: []directory.SourceID{"corp-ldap", "entra"},
		Environments: map[access.EnvironmentID]*access.State{
			"sales-prod": state("sales-prod", false),
			"service":    state("service", true),
		},
	}
}

// compile is what a program does: all faults, of shape and of content, at once.
func compile(name string, src []byte) (*mapping.Rules, error) {
	f, err := mapping.Parse(name, src)
	if f == nil {
		return nil, err
	}
	return f.Compile(names())
}

func TestMapping_files_that_are_right_compile(t *testing.T) {
	files, err := filepath.Glob("testdata/ok_*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			rules, err := compile(file, src)
			require.NoError(t, err)
			require.NotEmpty(t, rules.Environments())
		})
	}
}

func TestRule_UX_10_mapping_files_that_are_wrong_say_where_and_what_to_do(t *testing.T) {
	files, err := filepath.Glob("testdata/bad_*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			rules, err := compile(filepath.Base(file), src)
			require.Error(t, err)
			require.Nil(t, rules)
			var faults document.Faults
			require.ErrorAs(t, err, &faults)
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *updateGolden {
				require.NoError(t, os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644))
			}
			want, readErr := os.ReadFile(golden)
			require.NoError(t, readErr)
			require.Equal(t, string(want), err.Error()+"\n")
		})
	}
}

func TestRules_say_what_they_read(t *testing.T) {
	src, err := os.ReadFile("testdata/ok_everything.yaml")
	require.NoError(t, err)
	rules, err := compile("f", src)
	require.NoError(t, err)
	require.Equal(t, []directory.SourceID{"corp-ldap", "entra"}, rules.Sources())
	require.Equal(t, []access.EnvironmentID{"sales-prod", "service"}, rules.Environments())
	require.Equal(t, []string{"department", "displayName", "employeeId", "extension-unit", "groupKind", "jobTitle", "mail", "manager", "proxyAddresses", "visibility"},
		rules.Attributes("entra"))
	require.Empty(t, rules.Attributes("corp-ldap"))
}

func TestGuards_that_are_not_mentioned_are_strict(t *testing.T) {
	src, err := os.ReadFile("testdata/ok_everything.yaml")
	require.NoError(t, err)
	rules, err := compile("f", src)
	require.NoError(t, err)
	want := mapping.DefaultGuards()
	want.RemoveMembers.Max, want.RemoveRoles.MaxShare, want.EmptyTeam = 0, 0.5, 1
	require.Equal(t, want, rules.Guards())
	for _, l := range []mapping.Limit{want.RemoveUsers, want.RemoveTeams, want.RemoveRoles, want.ShutOutUsers} {
		require.Positive(t, l.Max)
		require.Positive(t, l.MaxShare)
	}
	require.NotEmpty(t, want.Protected.Roles)
}

func TestLimit_holds_by_count_and_by_share(t *testing.T) {
	l := mapping.Limit{Max: 20, MaxShare: 0.05}
	require.False(t, l.Exceeded(20, 1000))
	require.True(t, l.Exceeded(21, 1000), "too many")
	require.True(t, l.Exceeded(6, 100), "too large a share")
	require.False(t, l.Exceeded(3, 10), "a few are no share")
	require.True(t, mapping.Limit{}.Exceeded(1, 1000), "zero holds everything")
	require.False(t, mapping.Limit{}.Exceeded(0, 0))
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(f, err)
	for _, file := range files {
		src, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		rules, err := compile("f", src)
		if err == nil {
			require.NotNil(t, rules)
			return
		}
		var faults document.Faults
		require.ErrorAs(t, err, &faults)
	})
}

func TestRule_ESG_5_anEnvironmentThatIsOpenToAllHasNoSecurityGroup(t *testing.T) {
	n := names()
	n.Environments["sales-prod"].Environment.Kind = access.DefaultEnvironment
	f, err := mapping.Parse("mapping.yaml", []byte("environments: {sales-prod: {security_group: {source: entra, group: G}}}\nrules:"+everybody))
	require.NoError(t, err)
	_, err = f.Compile(n)
	require.ErrorContains(t, err, `environment "sales-prod" is of kind default and cannot have a security group`)
}
