// Package docs_test holds the documentation to the code.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// standing is what the catalogue says of a rule.
type standing struct {
	level    string // implemented, partly or later
	codeless bool   // follows from other rules
	testedBy string // a test that does not cite the rule
}

// where a citation stands.
type where int

const (
	inCode where = iota
	inTest
	inDouble // a server that stands in for a real one, or documentation
)

var (
	anyID    = regexp.MustCompile(`\b([A-Z]+(?:-E)?)-(\d+)(?:[\s/#]+to[\s/#]+(?:[A-Z]+(?:-E)?-)?(\d+)\b)?`)
	ruleWord = regexp.MustCompile(`\bRules?[\s/#]+([A-Z]+(?:-E)?)-\d+`)
	testName = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	inName   = regexp.MustCompile(`(?:Test|Rules?_|_)([A-Z]+(?:_E)?)_(\d+)`)
	byName   = regexp.MustCompile("tested by `(\\w+)`")
)

// ids lists the rules that a text names, ranges spelt out.
func ids(text string, prefixes map[string]bool) []string {
	var out []string
	for _, m := range anyID.FindAllStringSubmatch(text, -1) {
		if prefixes != nil && !prefixes[m[1]] {
			continue
		}
		first, _ := strconv.Atoi(m[2])
		last := first
		if m[3] != "" {
			last, _ = strconv.Atoi(m[3])
		}
		for n := first; n <= last; n++ {
			out = append(out, fmt.Sprintf("%s-%d", m[1], n))
		}
	}
	return out
}

// catalogue reads rules.md: rows of three cells are rules, rows of two list what
// is not there yet.
func catalogue(t *testing.T) map[string]standing {
	text, err := os.ReadFile("rules.md")
	require.NoError(t, err)
	rules := map[string]standing{}
	lookups := map[string]bool{} // rules whose letters those of reliability have, too
	for i, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || len(ids(cells[0], nil)) == 0 {
			continue
		}
		s := standing{level: "later"}
		switch len(cells) {
		case 2:
		case 3:
			s.level = regexp.MustCompile(`^\w+`).FindString(cells[2])
			s.codeless = strings.Contains(cells[2], "; no code of its own")
			if m := byName.FindStringSubmatch(cells[2]); m != nil {
				s.testedBy = m[1]
			}
			require.Contains(t, []string{"implemented", "partly"}, s.level, "rules.md:%d", i+1)
			require.Equal(t, s.level == "partly", strings.HasPrefix(cells[2], "partly: "), "rules.md:%d: what is missing?", i+1)
		default:
			require.Fail(t, "a row has two or three cells", "rules.md:%d: %s", i+1, line)
		}
		for _, id := range ids(cells[0], nil) {
			if lookups[id] {
				s.codeless = false // for both that have the letters
			} else {
				require.NotContains(t, rules, id, "rules.md:%d: %s is listed twice", i+1, id)
			}
			lookups[id] = strings.HasSuffix(cells[0], " (lookups)")
			rules[id] = s
		}
	}
	require.Greater(t, len(rules), 300, "rules.md could not be read")
	return rules
}

// kindOf says what a citation in the file counts for. The contract suites and the
// decision tables are tests, though they stand in no _test.go.
func kindOf(path string) where {
	in := func(names ...string) bool {
		return slices.ContainsFunc(strings.Split(filepath.ToSlash(filepath.Dir(path)), "/"), func(d string) bool { return slices.Contains(names, d) })
	}
	switch {
	case strings.HasSuffix(path, ".md"):
		return inDouble
	case strings.HasSuffix(path, "_test.go"), in("storetest", "sourcetest", "enginetest", "testdata"):
		return inTest
	case in("graphtest", "ldaptest", "oidctest"):
		return inDouble
	}
	return inCode
}

func TestRulesAreThoseOfTheCatalogue(t *testing.T) {
	rules := catalogue(t)
	prefixes := map[string]bool{}
	for id := range rules {
		prefixes[id[:strings.LastIndex(id, "-")]] = true
	}
	cited := [...]map[string]string{inCode: {}, inTest: {}, inDouble: {}} // the id, and a file that cites it
	tests := map[string]bool{}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || !slices.Contains([]string{".go", ".md", ".yaml", ".sql"}, filepath.Ext(path)) || path == filepath.Join("..", "docs", "rules.md"):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, kind := string(b), kindOf(path)
		found := ids(text, prefixes)
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range testName.FindAllStringSubmatch(text, -1) {
				tests[m[1]] = true
				for _, id := range inName.FindAllStringSubmatch(m[1], -1) {
					if prefix := strings.ReplaceAll(id[1], "_", "-"); prefixes[prefix] {
						found = append(found, prefix+"-"+id[2])
					}
				}
			}
		}
		for _, id := range found {
			cited[kind][id] = path
		}
		for _, m := range ruleWord.FindAllStringSubmatch(text, -1) {
			if !prefixes[m[1]] {
				fault("%s cites %q, and no rule begins with %s", path, m[0], m[1])
			}
		}
		return nil
	}))

	for _, citations := range cited {
		for id, path := range citations {
			if _, ok := rules[id]; !ok {
				fault("%s cites %s, which rules.md does not have", path, id)
			}
		}
	}
	for id, s := range rules {
		path, code := cited[inCode][id]
		_, tested := cited[inTest][id]
		if s.testedBy != "" && !tests[s.testedBy] {
			fault("rules.md says that %s is tested by %s, which does not exist", id, s.testedBy)
		}
		switch {
		case s.level == "later" && code:
			fault("%s cites %s, which rules.md lists as not in this version", path, id)
		case s.level == "partly" && !code && !tested:
			fault("rules.md says that %s is partly there, and nothing cites it", id)
		case s.level == "implemented" && s.codeless && code:
			fault("rules.md says that %s has no code of its own, and %s cites it", id, path)
		case s.level == "implemented" && !s.codeless && !code:
			fault("rules.md says that %s is implemented, and no code cites it", id)
		}
		if s.level == "implemented" && !tested && s.testedBy == "" {
			fault("rules.md says that %s is implemented, and no test cites it", id)
		}
		if s.testedBy != "" && tested {
			fault("rules.md names a test for %s, and tests cite it anyway: leave the name out", id)
		}
	}
	slices.Sort(faults)
	require.Empty(t, faults, strings.Join(faults, "\n"))
}

// model counts the rules of the access model, by prefix; of the CMK rules the third
// is one.
var model = map[string]int{
	"OWN": 14, "BU": 11, "ROLE": 15, "TEAM": 10, "SHARE": 10, "REL": 3, "EVAL": 12, "FLS": 9, "HIER": 10, "ESG": 6, "LIC": 1, "ACC": 6, "JIT-E": 4,
}

// Each of them is shown by a case of the decision tables, or by a test that has its
// name.
func TestEveryRuleOfTheAccessModelHasACaseOrATest(t *testing.T) {
	shown := map[string]bool{}
	cases, err := filepath.Glob("../testdata/decisions/*.yaml")
	require.NoError(t, err)
	for _, path := range cases {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\brule: ([A-Z]+(?:-E)?-\d+),`).FindAllStringSubmatch(string(b), -1) {
			shown[m[1]] = true
		}
	}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile("[\"`]Rule ([A-Z]+(?:-E)?-\\d+):").FindAllStringSubmatch(string(b), -1) {
			shown[m[1]] = true // the name of a case within a test
		}
		for _, m := range testName.FindAllStringSubmatch(string(b), -1) {
			for _, id := range inName.FindAllStringSubmatch(m[1], -1) {
				if !strings.Contains(string(b), `rule(t, "`) { // those that only run cases
					shown[strings.ReplaceAll(id[1], "_", "-")+"-"+id[2]] = true
				}
			}
		}
		return err
	}))
	rules := catalogue(t)
	all := []string{"CMK" + "-3"}
	for prefix, n := range model {
		for i := range n {
			all = append(all, fmt.Sprintf("%s-%d", prefix, i+1))
		}
	}
	slices.Sort(all)
	for _, id := range all {
		require.Contains(t, rules, id)
		require.NotEqual(t, "later", rules[id].level, id)
		if rules[id].testedBy == "" && !shown[id] {
			t.Errorf("%s has neither a case in testdata/decisions nor a test of its name", id)
		}
	}
}

func TestCitationsAreFound(t *testing.T) {
	for text, want := range map[string][]string{
		"(Rules EVAL-2 to EVAL-5)":           {"EVAL-2", "EVAL-3", "EVAL-4", "EVAL-5"},
		"Rules SHARE-4 to 6.":                {"SHARE-4", "SHARE-5", "SHARE-6"},
		"(Rules SRC-1 to\n// SRC-3)":         {"SRC-1", "SRC-2", "SRC-3"},
		"GRAPH-11, GRAPH-12; Rule JIT-E-4":   {"GRAPH-11", "GRAPH-12", "JIT-E-4"},
		"none in UTF-8 or of ticket CHG-123": nil,
	} {
		require.Equal(t, want, ids(text, map[string]bool{"EVAL": true, "SHARE": true, "SRC": true, "GRAPH": true, "JIT-E": true}), text)
	}
}
