package mapping_test

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/mapping"
)

// TestTheManualHasEveryGuardWithItsDefault reads the table and the example of
// docs/configuration.md.
func TestTheManualHasEveryGuardWithItsDefault(t *testing.T) {
	manual, err := os.ReadFile("../docs/configuration.md")
	require.NoError(t, err)
	_, section, ok := bytes.Cut(manual, []byte("\n## guards\n"))
	require.True(t, ok)
	example := regexp.MustCompile("(?s)```yaml\n(guards:.*?)```").FindSubmatch(section)
	require.NotNil(t, example)
	file := `
environments: {sales-prod: {}}
rules:
  - name: people
    match: {source: entra, users: 'true'}
    user: {environment: sales-prod, business_unit: North}
`
	defaults, err := compile("mapping.yaml", []byte(file))
	require.NoError(t, err)
	shown, err := compile("mapping.yaml", append([]byte(file), example[1]...))
	require.NoError(t, err)
	empty := func(list *[]string) {
		if *list == nil {
			*list = []string{}
		}
	}
	want := defaults.Guards()
	require.Equal(t, want, mapping.DefaultGuards())
	for _, list := range []*[]string{&want.Privileged.Roles, &want.Protected.Users, &want.Protected.Teams} {
		empty(list)
	}
	require.Equal(t, want, shown.Guards())
	for _, field := range reflect.VisibleFields(reflect.TypeFor[mapping.Guards]()) {
		key := field.Tag.Get("yaml")
		require.Regexp(t, "(?m)^\\| (`[a-z_]+`, )*`"+key+"`", string(section), "the table has %s", key)
		require.Contains(t, string(example[1]), "\n  "+key+":", "the example has %s", key)
	}
}

func TestAGuardThatIsGivenInPartKeepsTheRestOfItsDefault(t *testing.T) {
	f, err := mapping.Parse("mapping.yaml", []byte(`
environments: {sales-prod: {}}
rules:
  - name: people
    match: {source: entra, users: 'true'}
    user: {environment: sales-prod, business_unit: North}
guards: {remove_members: {max: 5}, privileged: {roles: [Agent]}, protected: {users: [ann]}}
`))
	require.NoError(t, err)
	rules, err := f.Compile(names())
	require.NoError(t, err)
	g := rules.Guards()
	require.Equal(t, mapping.Limit{Max: 5, MaxShare: 0.05}, g.RemoveMembers)
	require.Equal(t, mapping.Privileged{Roles: []string{"Agent"}, Max: 3}, g.Privileged)
	require.Equal(t, mapping.Protected{Roles: []string{"System Administrator"}, Users: []string{"ann"}}, g.Protected)
}
