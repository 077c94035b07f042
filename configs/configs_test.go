package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
)

// Whether the rules fit the model is shown by `ambit validate` on the same files,
// in cmd/ambit.
func TestEveryExampleLoads(t *testing.T) {
	paths, err := filepath.Glob("*/*.yaml")
	require.NoError(t, err)
	loaded := 0
	for _, path := range paths {
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		if !strings.Contains(string(src), "\nlisten:") {
			continue // it is one that another names
		}
		loaded++
		t.Run(path, func(t *testing.T) {
			c, err := Load(path)
			require.NoError(t, err)
			require.NotEmpty(t, c.Sources)
			for _, name := range c.Model {
				src, err := os.ReadFile(c.File(name))
				require.NoError(t, err)
				_, err = model.Parse(name, src)
				require.NoError(t, err)
			}
			src, err := os.ReadFile(c.File(c.Mapping))
			require.NoError(t, err)
			_, err = mapping.Parse(c.Mapping, src)
			require.NoError(t, err)
		})
	}
	require.GreaterOrEqual(t, loaded, 3)
}

// good is a configuration without a fault.
const good = `
store: {sqlite: ambit.db}
listen: 127.0.0.1:8080
authentication: {issuer: "https://login.example.com", audience: ambit, algorithms: [RS256], user_claim: preferred_username}
mapping: mapping.yaml
sources:
  - id: corp-ldap
    ldap:
      url: ldaps://ldap.example.com
      bind_dn: cn=ambit,dc=example,dc=com
      password: env:LDAP_PASSWORD
      users: {base: "ou=people,dc=example,dc=com"}
      groups: {base: "ou=groups,dc=example,dc=com"}
sync: {interval: 5m}
log: {level: info}
`

func load(t *testing.T, src string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ambit.yaml")
	require.NoError(t, os.WriteFile(path, []byte(src), 0o600))
	return Load(path)
}

func TestRule_SEC_3_UX_10_a_fault_is_named_with_its_place(t *testing.T) {
	_, err := load(t, good)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		old, new string
		line     int
		problem  string
		hint     string
	}{
		"an unknown key":                      {"listen:", "lisen:", 3, `unknown key "lisen"`, `did you mean "listen"?`},
		"a key twice":                         {"log: {level: info}", "log: {level: info}\nlog: {level: warn}", 16, "log", ""},
		"no store":                            {"store: {sqlite: ambit.db}", "store: {}", 2, "exactly one of sqlite and postgres", "store: {sqlite: ambit.db}"},
		"both stores":                         {"{sqlite: ambit.db}", "{sqlite: ambit.db, postgres: {dsn: env:DSN}}", 2, "exactly one of sqlite and postgres", ""},
		"a DSN in the file":                   {"{sqlite: ambit.db}", "{postgres: {dsn: 'postgres://u:hunter2@db/ambit'}}", 2, "", ""},
		"plaintext for others to reach":       {"127.0.0.1:8080", "0.0.0.0:8080", 3, "needs TLS", "add tls"},
		"an address without a port":           {"127.0.0.1:8080", "localhost", 3, "want an address and port", ""},
		"an issuer without TLS":               {"https://login", "http://login", 4, "https URL", ""},
		"a token without an audience":         {"audience: ambit, ", "", 4, "authentication.audience", ""},
		"algorithm none":                      {"[RS256]", "[none]", 4, `"none" is not one of`, ""},
		"a shared secret as algorithm":        {"[RS256]", "[HS256]", 4, `"HS256" is not one of`, ""},
		"a bad source id":                     {"id: corp-ldap", "id: Corp LDAP", 7, "lower-case word", ""},
		"a source without a kind":             {"    ldap:\n", "    ldpa:\n", 8, `unknown key "ldpa"`, `did you mean "ldap"?`},
		"a source twice":                      {"sync: {", "  - {id: corp-ldap, entra: {tenant_id: 8f6f2b1c-6f0e-4a53-9a50-6a1f0c9d3b21, client_id: 5d1c2a54-3f41-4c86-8b9f-2f4e7a6d9c10, client_secret: env:X}}\nsync: {", 14, "is there twice", ""},
		"a client certificate without TLS":    {"sync: {", "  - {id: hr, scim: {tokens: [env:X], client_certificates: [" + strings.Repeat("ab", 32) + "]}}\nsync: {", 14, "without TLS", "set tls"},
		"a directory without TLS":             {"ldaps://", "ldap://", 9, "ldap", ""},
		"a password in the file":              {"env:LDAP_PASSWORD", "hunter2", 9, "", ""},
		"object ids of a source that is none": {"user_claim: preferred_username}", "user_claim: oid, source: entra}", 4, `no source has the id "entra"`, ""},
		"an interval that never ends":         {"interval: 5m", "interval: 48h", 14, "want between", ""},
		"no run kept":                         {"interval: 5m", "interval: 5m, keep_runs: 0", 14, "want between 1 and 100000", ""},
		"runs kept for no time":               {"interval: 5m", "interval: 5m, keep_runs_for: 1m", 14, "want between 1h", ""},
		"an alarm that always rings":          {"  - id: corp-ldap\n", "  - id: corp-ldap\n    stale_after: 9m\n", 8, "at least twice sync.interval", ""},
		"a denial that always holds":          {"  - id: corp-ldap\n", "  - id: corp-ldap\n    deny_when_stale: {after: 9m, environments: [crm]}\n", 8, "at least twice sync.interval", ""},
		"a denial without environments":       {"  - id: corp-ldap\n", "  - id: corp-ldap\n    deny_when_stale: {after: 9h}\n", 8, "environments", ""},
		"a limit shorter than what is asked":  {"{sqlite: ambit.db}", "{postgres: {dsn: env:DSN, stale_after: 1s}}", 2, "want between", ""},
		"an unknown level":                    {"level: info", "level: loud", 15, `unknown level "loud"`, "debug, info, warn or error"},
		"a text where a list belongs":         {"sources:", "model: 7\nsources:", 6, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, c.old)
			_, err := load(t, strings.Replace(good, c.old, c.new, 1))
			var faults document.Faults
			require.ErrorAs(t, err, &faults)
			found := document.Fault{}
			for _, f := range faults {
				require.NotContains(t, f.Problem+f.Hint, "hunter2", "a secret in a message")
				if strings.Contains(f.Problem, c.problem) {
					found = f
				}
			}
			require.NotZero(t, found, "%v", err)
			require.Equal(t, c.line, found.Line, "%v", err)
			require.Positive(t, found.Column)
			require.Contains(t, found.Hint, c.hint)
		})
	}
}

// TestRule_SEC_5_a_secret_written_into_the_file_is_not_shown writes secrets where
// references belong.
func TestRule_SEC_5_a_secret_written_into_the_file_is_not_shown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ambit.yaml")
	require.NoError(t, os.WriteFile(path, []byte(`
store: {postgres: {dsn: "postgres://ambit:hunter2@db/ambit"}}
listen: 127.0.0.1:8080
authentication: {issuer: "https://login.example", audience: ambit, algorithms: [RS256], user_claim: oid}
mapping: mapping.yaml
sources:
  - id: corp
    ldap: {url: "ldaps://ldap.example.com", bind_dn: cn=ambit, password: hunter2, users: {base: dc=x}, groups: {base: dc=x}}
  - id: entra
    entra: {tenant_id: t, client_id: c, client_secret: hunter2}
`), 0o600))
	_, err := Load(path)
	require.Error(t, err)
	require.GreaterOrEqual(t, strings.Count(err.Error(), "given by reference"), 3)
	require.NotContains(t, err.Error(), "hunter2")
}

// What the manuals of the sources show is loaded as it stands there.
func TestEveryExampleOfAManualLoads(t *testing.T) {
	const rest = `
store: {sqlite: ambit.db}
listen: 127.0.0.1:8080
authentication: {issuer: "https://login.example.com", audience: ambit, algorithms: [RS256], user_claim: sub}
mapping: mapping.yaml
`
	pages, err := filepath.Glob("../docs/sources/*.md")
	require.NoError(t, err)
	shown := map[string]int{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for i, block := range regexp.MustCompile(`(?m)^    sources:\n(?:     .*\n)+`).FindAllString(string(text), -1) {
			t.Run(fmt.Sprint(filepath.Base(page), " ", i+1), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "ambit.yaml")
				require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(block, "\n    ", "\n")[4:]+rest), 0o600))
				c, err := Load(path)
				require.NoError(t, err)
				require.NotEmpty(t, c.Sources)
			})
			shown[filepath.Base(page)]++
		}
	}
	require.Equal(t, 3, shown["entra.md"])
	require.NotEmpty(t, shown["openldap.md"])
}
