package mapping_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
)

// The edits of a rule: what is written there, and instead.
var ruleEdits = [][2]string{
	{"int(user.grade) > 3", "int(user.grade) > 0"},
	{"'!user.guest'", "'user.guest || has(user.shoe)'"},
	{"business_unit: North", "business_unit: South"},
	{"business_unit: South", "business_unit: '{{ group.ou }}'"},
	{"'{{ user.ou }}'", "North"},
	{"person: '{{ user.mail }}'", "login: '{{ user.mail }}'"},
	{"manager: '{{ user.boss }}'", "manager: 'uid:ann'"},
	{"licence: 'user.ou == \"South\"'", "licence: 'int(user.grade) > 1'"},
	{"environment: service", "environment: sales-prod"},
	{"environment: sales-prod", "environment: service"},
	{"[Salesperson, Sales Manager]", "[Sales Manager]"},
	{"roles: [Sales Manager]", "roles: []"},
	{"membership: guests", "membership: members"},
	{"membership: members", "type: m365_group, membership: members"},
	{"nested: true", "nested: false"},
	{"group: '*'", "group: '*2'"},
	{"name: owners", "name: those who own"},
	{"group: 'G*'", "where: 'group.ou == \"North\" || int(group.size) > 1'"},
}

var moreRules = []string{
	`  - name: late
    match: {source: entra, users: 'has(user.mail)'}
    user: {environment: service, business_unit: North, name: '{{ user.mail }}'}
`, `  - name: wide
    match: {source: corp-ldap, group: '*'}
    team: {environment: sales-prod, business_unit: South, roles: [Sales Manager]}
`, `  - name: all of it
    match: {source: corp-ldap, where: 'true'}
    team: {environment: service, nested: true, business_unit: North}
`,
}

// editRules changes something of the mapping file, or nothing where that would be
// a fault.
func editRules(t *rapid.T, text string) string {
	head, rest, _ := strings.Cut(text, "  - name: ")
	list := strings.Split(rest, "  - name: ")
	at := rapid.IntRange(0, len(list)-1).Draw(t, "rule")
	switch rapid.SampledFrom([]string{"edit", "edit", "edit", "edit", "drop", "swap", "add", "environment", "source"}).Draw(t, "what") {
	case "edit":
		var fitting [][2]string
		for _, e := range ruleEdits {
			if strings.Contains(list[at], e[0]) {
				fitting = append(fitting, e)
			}
		}
		if len(fitting) > 0 {
			e := rapid.SampledFrom(fitting).Draw(t, "edit")
			list[at] = strings.Replace(list[at], e[0], e[1], 1)
		}
	case "drop":
		list = slices.Delete(list, at, at+1)
	case "swap":
		other := rapid.IntRange(0, len(list)-1).Draw(t, "with")
		list[at], list[other] = list[other], list[at]
	case "add":
		one, _ := strings.CutPrefix(rapid.SampledFrom(moreRules).Draw(t, "more"), "  - name: ")
		list = slices.Insert(list, at, one)
	case "environment":
		head = strings.Replace(head, "accept: [DYN365_CDS_P2]", "accept: [DYN365_CDS_P2, DYN365_CDS_VIRAL]", 1)
	case "source":
		head = strings.Replace(head, "group: Gate, nested: team", "group: Gate, nested: all", 1)
	}
	edited := head + "  - name: " + strings.Join(list, "  - name: ")
	if _, err := compile("mapping.yaml", []byte(edited)); err != nil {
		return text
	}
	return edited
}

// same requires that two evaluations say the same.
func same(t require.TestingT, want, got *mapping.Evaluation) map[mapping.Key]string {
	wanted, _ := desired(t, want)
	text, byKey := desired(t, got)
	require.Equal(t, wanted, text)
	require.Equal(t, want.Findings(), got.Findings())
	for _, env := range []access.EnvironmentID{"sales-prod", "service"} {
		wanted, _ := want.Gate(env)
		gate, _ := got.Gate(env)
		require.Equal(t, wanted, gate)
	}
	return byKey
}

func TestProperty_trying_rules_gives_the_same_bytes_as_evaluating_them_and_leaves_nothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMirror(propertySources...)
		for range rapid.IntRange(0, 30).Draw(t, "before") {
			edit(t, m)
		}
		m.take()
		now, text := nothing(), propertyRules
		for range rapid.IntRange(0, 3).Draw(t, "from the start") {
			text = editRules(t, text)
		}
		inForce := rules(t, text)
		e := mapping.New(inForce, m, now)
		for range rapid.IntRange(1, 3).Draw(t, "tries") {
			if rapid.Bool().Draw(t, "apply") {
				now.apply(t, e)
			}
			for range rapid.IntRange(0, 3).Draw(t, "edits") {
				edit(t, m)
			}
			e.Update(now, m.take())
			before := same(t, mapping.New(inForce, m, now), e)
			edited := text
			for range rapid.IntRange(0, 3).Draw(t, "rules") {
				edited = editRules(t, edited)
			}
			other := rules(t, edited)
			changed, back, ok := e.Try(other, now)
			if !ok {
				require.NotEqual(t, text, edited)
				same(t, mapping.New(inForce, m, now), e)
				continue
			}
			during := same(t, mapping.New(other, m, now), e)
			told := map[mapping.Key]bool{}
			for _, k := range changed {
				told[k] = true
			}
			for _, of := range []map[mapping.Key]string{before, during} {
				for k := range of {
					require.True(t, before[k] == during[k] || told[k], "%v changes and is not told", k)
				}
			}
			back()
			same(t, mapping.New(inForce, m, now), e)
		}
	})
}

// counting counts how often the directory is asked for an object.
type counting struct {
	*mirror
	objects int
}

func (c *counting) Object(source directory.SourceID, id directory.ObjectID) (directory.Object, bool) {
	c.objects++
	return c.mirror.Object(source, id)
}

func (c *counting) Objects(source directory.SourceID, kind directory.Kind, yield func(directory.Object) bool) {
	c.mirror.Objects(source, kind, func(o directory.Object) bool {
		c.objects++
		return yield(o)
	})
}

func TestTry_looks_only_at_whom_the_rules_that_differ_match(t *testing.T) {
	m := &counting{mirror: organisation(1_000)}
	text := benchRules + `
  - name: one
    match: {source: entra, group: Everybody}
    team: {environment: sales-prod, business_unit: North}
`
	now := nothing()
	e := mapping.New(rules(t, text), m, now)
	now.apply(t, e)
	e.Update(now, nil)
	m.objects = 0
	changed, back, ok := e.Try(rules(t, strings.Replace(text, "group: Everybody}\n    team: {", "group: Everybody}\n    team: {roles: [Salesperson], ", 1)), now)
	require.True(t, ok)
	require.Len(t, changed, 1, "the one role of the one team")
	back()
	require.Less(t, m.objects, 10)

	_, _, ok = e.Try(rules(t, strings.Replace(text, "[DYN365_CDS_P2]", "[DYN365_CDS_VIRAL]", 1)), now)
	require.False(t, ok, "licences are everybody's matter")
}
