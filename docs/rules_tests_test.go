package docs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the tests find as what they want")

const testsHead = `# The rules and their tests

Which tests show each rule of [rules.md](rules.md): those that have its id in their name, or name it in what they say or do. Where cases of
` + "`testdata/decisions`" + ` show it, their file and their number. Written by ` + "`make golden`" + `; a test holds it to the code.

| Rule | Tests | Cases |
|---|---|---|
`

// TestGoldenRulesWithTheirTests writes rules-tests.md, or finds that it is as written.
func TestGoldenRulesWithTheirTests(t *testing.T) {
	rules := catalogue(t)
	tests, cases := testsOfRules(t, rules), casesOfRules(t)
	var page strings.Builder
	page.WriteString(testsHead)
	for _, id := range slices.SortedFunc(maps.Keys(rules), compareIDs) {
		if rules[id].level == "later" {
			continue
		}
		if name := rules[id].testedBy; name != "" {
			tests[id] = append(tests[id], "`"+name+"`")
		}
		fmt.Fprintf(&page, "| %s | %s | %s |\n", id, strings.Join(tests[id], ", "), strings.Join(cases[id], ", "))
		if rules[id].level == "implemented" && len(tests[id])+len(cases[id]) == 0 {
			t.Errorf("%s is shown by no test", id)
		}
	}
	if *update {
		require.NoError(t, os.WriteFile("rules-tests.md", []byte(page.String()), 0o644))
	}
	have, err := os.ReadFile("rules-tests.md")
	require.NoError(t, err)
	require.Equal(t, page.String(), string(have), "docs/rules-tests.md is not as the tests are: make golden")
}

var idParts = regexp.MustCompile(`^(.+)-(\d+)$`)

// compareIDs puts OWN-2 before OWN-10.
func compareIDs(a, b string) int {
	x, y := idParts.FindStringSubmatch(a), idParts.FindStringSubmatch(b)
	if c := strings.Compare(x[1], y[1]); c != 0 {
		return c
	}
	if c := len(x[2]) - len(y[2]); c != 0 {
		return c
	}
	return strings.Compare(x[2], y[2])
}

// helpers stand for what tests have in common, where no test names the rule itself.
const helpers = "(helpers)"

// testsOfRules are, by rule, the tests that name it, as "package TestName".
func testsOfRules(t *testing.T, rules map[string]standing) map[string][]string {
	prefixes := map[string]bool{}
	for id := range rules {
		prefixes[id[:strings.LastIndex(id, "-")]] = true
	}
	found := map[string]map[string]bool{}
	note := func(id, what string) {
		if _, ok := rules[id]; ok {
			if found[id] == nil {
				found[id] = map[string]bool{}
			}
			found[id][what] = true
		}
	}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || kindOf(path) != inTest || filepath.Dir(path) == ".":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, b, parser.ParseComments)
		if err != nil {
			return err
		}
		in := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		for _, decl := range file.Decls {
			from := decl.Pos()
			what := in + " " + helpers
			if f, ok := decl.(*ast.FuncDecl); ok {
				if f.Doc != nil {
					from = f.Doc.Pos()
				}
				name := f.Name.Name
				if !strings.HasSuffix(path, "_test.go") && f.Recv == nil && f.Name.IsExported() || testName.MatchString("func "+name+"(") {
					what = in + " `" + name + "`"
				}
				for _, id := range inName.FindAllStringSubmatch(name, -1) {
					note(strings.ReplaceAll(id[1], "_", "-")+"-"+id[2], what)
				}
			}
			for _, id := range ids(string(b[set.Position(from).Offset:set.Position(decl.End()).Offset]), prefixes) {
				note(id, what)
			}
		}
		return nil
	}))
	out := map[string][]string{}
	for id, all := range found {
		named := false
		for what := range all {
			named = named || !strings.HasSuffix(what, helpers)
		}
		for what := range all {
			if named && strings.HasSuffix(what, helpers) {
				continue
			}
			out[id] = append(out[id], what)
		}
		slices.Sort(out[id])
	}
	return out
}

var ruleOfCase = regexp.MustCompile(`\brule: ([A-Z]+(?:-E)?-\d+),`)

// casesOfRules are, by rule, the files with cases of it, and how many each has.
func casesOfRules(t *testing.T) map[string][]string {
	out := map[string][]string{}
	paths, err := filepath.Glob("../testdata/decisions/*.yaml")
	require.NoError(t, err)
	slices.Sort(paths)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		count := map[string]int{}
		for _, m := range ruleOfCase.FindAllStringSubmatch(string(b), -1) {
			count[m[1]]++
		}
		for id, n := range count {
			out[id] = append(out[id], fmt.Sprintf("%s %d", filepath.Base(path), n))
		}
	}
	return out
}
