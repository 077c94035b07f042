package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fewest is how many cases the list has at least.
const fewest = 40

func TestEveryCaseThatLooksEmptyHasItsTest(t *testing.T) {
	page, err := os.ReadFile("looks-empty.md")
	require.NoError(t, err)
	rules := catalogue(t)
	row := regexp.MustCompile(`^\| [^|]+ \| ([^|]+) \| [^|]+ \| (\S+) ` + "`(Test\\w+)`" + `(?: "([^"]+)")? \|$`)
	code := map[string]string{}
	cases := 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Case |") {
			continue
		}
		m := row.FindStringSubmatch(line)
		require.NotNil(t, m, "a row names where it is from and its test: %s", line)
		from, folder, test, sub := m[1], m[2], m[3], m[4]
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
		require.Contains(t, body, `"`+sub, "%s has no case %q", test, sub)
		for _, id := range regexp.MustCompile(`\b[A-Z]+-\d+\b`).FindAllString(from, -1) {
			if !strings.HasPrefix(id, "INC-") { // incidents are told of by their tests
				require.Contains(t, rules, id, line)
			}
		}
		cases++
	}
	require.GreaterOrEqual(t, cases, fewest)
}
