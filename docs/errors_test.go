package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
)

// What the manuals of the LDAP sources and of SCIM say of errors is about errors that
// there are: Ambit's own, the protocol's, and those of the network.
func TestTheManualsErrorsAreThoseOfTheCode(t *testing.T) {
	of := map[string]string{
		"openldap.md": "../connectors/ldap/*.go", "389ds.md": "../connectors/ldap/*.go", "active-directory.md": "../connectors/ldap/*.go", "scim.md": "../scim/*.go",
	}
	foreign := []string{"i/o timeout", "data 52e"} // of the network, and of Active Directory itself
	for _, name := range ldap.LDAPResultCodeMap {
		foreign = append(foreign, name)
	}
	for page, pattern := range of {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("sources", page))
			require.NoError(t, err)
			_, table, ok := strings.Cut(string(text), "What the errors mean\n")
			require.True(t, ok)
			table, _, _ = strings.Cut(table, "\n## ")
			code := codeOf(t, pattern, "../configs/*.go", "../directory/*.go", "../sync/run.go")
			rows := 0
			for _, row := range regexp.MustCompile(`(?m)^\| (.*)`).FindAllStringSubmatch(table, -1) {
				said, _, _ := strings.Cut(row[1], " | ")
				if page == "scim.md" { // whose first cell is the status
					said = strings.Split(row[1], " | ")[1]
				}
				for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(said, -1) {
					rows++
					for part := range strings.SplitSeq(quoted[1], "…") {
						part = strings.TrimSpace(part)
						require.True(t, slices.Contains(foreign, part) || strings.Contains(code, part), "%s says %q, and the code does not", page, part)
					}
				}
			}
			require.Greater(t, rows, 3)
		})
	}
}

// codeOf is what files say, without tests.
func codeOf(t *testing.T, patterns ...string) string {
	t.Helper()
	var code strings.Builder
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			code.Write(b)
		}
	}
	return code.String()
}
