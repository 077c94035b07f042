package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fewest is how many cases the list has at least, and fewestPublic how many of
// them are known from something public.
const fewest, fewestPublic = 105, 104

func TestEveryCaseThatLooksEmptyHasItsTest(t *testing.T) {
	page, err := os.ReadFile("looks-empty.md")
	require.NoError(t, err)
	rules := catalogue(t)
	contract, err := os.ReadFile("../connectors/sourcetest/sourcetest.go")
	require.NoError(t, err)
	row := regexp.MustCompile(`^\| [^|]+ \| ([^|]+) \| ([^|]+) \| [^|]+ \| (\S+) ` + "`(Test\\w+)`" + `(?: "([^"]+)")? \|$`)
	link := regexp.MustCompile(`^\[([^]]+)\]\((https://[^)\s]+)\)$`)
	thread := regexp.MustCompile(`^https://github\.com/([^/]+/[^/]+)/(?:issues|pull)/(\d+)$`)
	code := map[string]string{}
	cases, public := 0, 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Case |") {
			continue
		}
		m := row.FindStringSubmatch(line)
		require.NotNil(t, m, "a row names where it is from, its rule and its test: %s", line)
		from, rule, folder, test, sub := m[1], m[2], m[3], m[4], m[5]
		if from != "ours" {
			for ref := range strings.SplitSeq(from, ", ") {
				l := link.FindStringSubmatch(ref)
				require.NotNil(t, l, "a row is from a public place, with its address, or \"ours\": %s", line)
				if strings.HasPrefix(l[2], "https://github.com/") {
					n := thread.FindStringSubmatch(l[2])
					require.NotNil(t, n, "an issue or a change: %s", l[2])
					require.Equal(t, n[1]+"#"+n[2], l[1], line)
				}
			}
			public++
		}
		if code[folder] == "" {
			files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
			require.NoError(t, err)
			for _, path := range files {
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				code[folder] += string(b)
			}
		}
		at := strings.Index(code[folder], "func "+test+"(")
		require.GreaterOrEqual(t, at, 0, "%s has no %s", folder, test)
		body, _, _ := strings.Cut(code[folder][at:], "\n}\n")
		if strings.Contains(body, "sourcetest.Run(") {
			body += string(contract)
		}
		require.Contains(t, body, `"`+sub, "%s has no case %q", test, sub)
		for _, id := range regexp.MustCompile(`\b[A-Z]+-\d+\b`).FindAllString(rule, -1) {
			if !strings.HasPrefix(id, "INC-") { // incidents are told of by their tests
				require.Contains(t, rules, id, line)
			}
		}
		cases++
	}
	require.GreaterOrEqual(t, cases, fewest)
	require.GreaterOrEqual(t, public, fewestPublic)
}
