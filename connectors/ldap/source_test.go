package ldap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func password(t testing.TB, value string) secret.Ref {
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte(value), 0o600))
	return secret.Ref("file:" + path)
}

func source(t testing.TB, c Config) *Source {
	s, err := New(c)
	require.NoError(t, err)
	return s
}

// harness is the contract's, for one configuration that works.
func harness(c Config, cut func(*testing.T) func()) sourcetest.Harness {
	with := func(edit func(*testing.T, *Config)) func(*testing.T) directory.Reader {
		return func(t *testing.T) directory.Reader {
			c := c
			edit(t, &c)
			return source(t, c)
		}
	}
	return sourcetest.Harness{
		Company: company.Small(), Home: company.LDAP, Cut: cut,
		Reader:        with(func(*testing.T, *Config) {}),
		WrongPassword: with(func(t *testing.T, c *Config) { c.Password = password(t, "wrong") }),
		Unreachable: with(func(_ *testing.T, c *Config) {
			c.URL = "ldaps://127.0.0.1:1"
			c.StartTLS = false
		}),
		UnknownCA: with(func(_ *testing.T, c *Config) { c.CAFile = "" }),
	}
}

var bases = Config{
	Server: Server{PageSize: 50},
	Users:  Users{Base: "ou=people,dc=example,dc=com", Disabled: "pwdAccountLockedTime"},
	Groups: Groups{Base: "ou=groups,dc=example,dc=com"},
}

func slapd(t testing.TB, c *company.Company) Config {
	s := rig.StartSlapd(t, c.WriteLDIF)
	config := bases
	config.URL, config.CAFile, config.BindDN, config.Password = s.TLSURL, s.CAFile, s.BindDN, password(t, s.Password)
	return config
}

func TestTheContractAgainstSlapd(t *testing.T) {
	c := slapd(t, company.Small())
	sourcetest.Run(t, harness(c, nil))
}

func TestRule_LDAP_1_StartTLS(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c := bases
	c.URL, c.StartTLS, c.CAFile, c.BindDN, c.Password = s.URL, true, s.CAFile, s.BindDN, password(t, s.Password)
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.True(t, round.Complete)

	c.CAFile = ""
	_, err = sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrUnreachable, "a server that cannot be verified is never spoken to in the clear")
}

func TestRule_LDAP_5_a_limited_account_is_incomplete(t *testing.T) {
	server, c := fake(t)
	for _, limit := range []uint16{ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultAdminLimitExceeded} {
		server.Arm(ldaptest.Fault{After: 60, Result: limit})
		round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
		require.ErrorIs(t, err, directory.ErrIncomplete)
		require.ErrorContains(t, err, "lift the limit")
		require.False(t, round.Complete)
		require.NotEmpty(t, round.Objects, "what came is told; it can be added, and takes nothing away")
	}
}

func fake(t testing.TB) (*ldaptest.Server, Config) {
	dir := t.TempDir()
	server, err := ldaptest.Start(dir, company.Small().Entries())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	c := bases
	c.URL, c.CAFile, c.BindDN, c.Password = server.URL, server.CAFile, ldaptest.BindDN, password(t, ldaptest.Password)
	return server, c
}

func TestTheContractAgainstTheServerInProcess(t *testing.T) {
	server, c := fake(t)
	sourcetest.Run(t, harness(c, func(*testing.T) func() {
		server.Arm(ldaptest.Fault{After: 70, Cut: true})
		return func() { server.Arm(ldaptest.Fault{}) }
	}))
}

func TestHostileServers(t *testing.T) {
	for name, c := range map[string]struct {
		fault ldaptest.Fault
		want  error
	}{
		"one that refers elsewhere (Rule LDAP-7)":                  {ldaptest.Fault{After: 3, Refer: "ldap://evil.example/dc=example"}, directory.ErrIncomplete},
		"one that ignores paging (Rule LDAP-4)":                    {ldaptest.Fault{Unpaged: true}, directory.ErrIncomplete},
		"one that says time limit exceeded":                        {ldaptest.Fault{After: 2, Result: 3}, directory.ErrIncomplete},
		"one that says nothing any more":                           {ldaptest.Fault{After: 2, Stall: true}, directory.ErrIncomplete},
		"one that is busy":                                         {ldaptest.Fault{Result: 51}, directory.ErrUnreachable},
		"one that closes before it has said anything (Rule SRC-1)": {ldaptest.Fault{Cut: true}, directory.ErrIncomplete},
	} {
		t.Run(name, func(t *testing.T) {
			server, config := fake(t)
			config.IdleSeconds = 1
			server.Arm(c.fault)
			round, err := sourcetest.Collect(t.Context(), source(t, config), directory.Start{})
			require.ErrorIs(t, err, c.want)
			require.False(t, round.Complete)
		})
	}
}

func TestBadValues(t *testing.T) {
	server, c := fake(t)
	people := company.Small()
	employee, group := people.Person(company.Employee), people.Group(company.SalesFrance)
	set := func(values ...string) func([]string) []string { return func([]string) []string { return values } }
	server.Change(employee.DN(), "departmentNumber", set("\xff\xfe"))
	server.Change(employee.DN(), "employeeType", set("bin\x00ary"))
	server.Change(group.DN(), "member", set(employee.DN(), "uid=nobody,ou=people,dc=example,dc=com", "this is no DN", "\xff"))

	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{Attributes: []string{"departmentNumber", "employeeType", "employeeNumber"}})
	require.NoError(t, err)
	require.True(t, round.Complete)
	read := round.Objects[directory.ObjectID(employee.ID)]
	require.Empty(t, read.Attributes["departmentNumber"], "a value that is not UTF-8 is left out, not guessed")
	require.Empty(t, read.Attributes["employeeType"])
	require.Equal(t, []string{employee.Number}, read.Attributes["employeeNumber"], "the rest of the object is kept")
	require.Len(t, round.Problems, 4)
	for _, p := range round.Problems {
		require.NotEmpty(t, p.Object)
		require.Contains(t, p.Text, "left out")
	}
	members := 0
	for e := range round.Edges {
		if e.Group == directory.ObjectID(group.ID) && e.Relation == directory.Member {
			members++
		}
	}
	require.Equal(t, 2, members, "a member that does not exist is told as it is; the mirror keeps it pending (Rule SRC-5)")
}

func TestAnEntryWithoutItsIDMakesTheReadIncomplete(t *testing.T) {
	server, c := fake(t)
	server.Change(company.Small().Person(company.Employee).DN(), "entryUUID", func([]string) []string { return nil })
	_, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete, "else the person would look gone")
	require.ErrorContains(t, err, "entryUUID")
}

func TestRule_LDAP_12_other_kinds_of_group(t *testing.T) {
	server, c := fake(t)
	person := company.Small().Person(company.Employee)
	server.Add(company.Entry{DN: "cn=unique,ou=groups,dc=example,dc=com", Attributes: []company.Attribute{
		{Name: "objectClass", Values: []string{"groupOfUniqueNames"}},
		{Name: "cn", Values: []string{"unique"}},
		{Name: "entryUUID", Values: []string{"u"}},
		{Name: "uniqueMember", Values: []string{strings.ToUpper(person.DN()) + "#'0101'B"}},
	}})
	server.Add(company.Entry{DN: "cn=posix,ou=groups,dc=example,dc=com", Attributes: []company.Attribute{
		{Name: "objectClass", Values: []string{"posixGroup"}},
		{Name: "cn", Values: []string{"posix"}},
		{Name: "entryUUID", Values: []string{"p"}},
		{Name: "memberUid", Values: []string{person.UID}},
	}})
	c.Groups.Classes = []string{"groupOfUniqueNames", "posixGroup"}
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.Contains(t, round.Edges, directory.Edge{Group: "u", Far: directory.ByDN(person.DN())})
	require.Contains(t, round.Edges, directory.Edge{Group: "p", Far: directory.ByUserName(person.UID)})
}

func TestBadConfigurations(t *testing.T) {
	good := bases
	good.URL, good.BindDN, good.Password = "ldaps://ldap.example.com", "cn=ambit", "env:PASSWORD"
	require.NoError(t, good.Validate())
	for want, spoil := range map[string]func(*Config){
		"in the clear":               func(c *Config) { c.URL = "ldap://ldap.example.com" },
		"is not this host":           func(c *Config) { c.URL, c.InsecurePlaintextLoopback = "ldap://ldap.example.com", true },
		"want ldaps://":              func(c *Config) { c.URL = "https://ldap.example.com" },
		"carries no password":        func(c *Config) { c.URL = "ldaps://me:secret@ldap.example.com" },
		"want both, or external":     func(c *Config) { c.Password = "" },
		"given by reference":         func(c *Config) { c.Password = "hunter2" },
		"is not a DN":                func(c *Config) { c.Users.Base = "people" },
		"is not an LDAP filter":      func(c *Config) { c.Users.Filter = "(uid=" },
		"goes with ldap:// only":     func(c *Config) { c.StartTLS = true },
		"is not one of groupOfNames": func(c *Config) { c.Groups.Classes = []string{"group"} },
		"goes without bind_dn":       func(c *Config) { c.External = true },
		"gssapi: goes without":       func(c *Config) { c.GSSAPI = &GSSAPI{Keytab: "/k", Principal: "a@B"} },
		"one of the two":             func(c *Config) { c.BindDN, c.Password, c.GSSAPI = "", "", &GSSAPI{} },
		"is not name@REALM":          func(c *Config) { c.BindDN, c.Password, c.GSSAPI = "", "", &GSSAPI{Keytab: "/k", Principal: "a"} },
		"says whose it is": func(c *Config) {
			c.BindDN, c.Password, c.GSSAPI = "", "", &GSSAPI{CredentialCache: "/k", Principal: "a@B"}
		},
		"it is not the absolute": func(c *Config) { c.BindDN, c.Password, c.GSSAPI = "", "", &GSSAPI{Keytab: "hunter2", Principal: "a@B"} },
		"is not such as ldap/": func(c *Config) {
			c.BindDN, c.Password, c.GSSAPI = "", "", &GSSAPI{CredentialCache: "/k", ServicePrincipal: "dc1"}
		},
		"over a socket use external": func(c *Config) {
			c.URL, c.BindDN, c.Password, c.GSSAPI = "ldapi:///", "", "", &GSSAPI{CredentialCache: "/k"}
		},
	} {
		c := good
		spoil(&c)
		require.ErrorContains(t, c.Validate(), want)
		require.NotContains(t, c.Validate().Error(), "hunter2")
	}
}

func TestRule_LDAP_9_DNs_are_compared_normalised(t *testing.T) {
	same := [][]string{
		{"uid=a,ou=people,dc=example,dc=com", "UID=A, OU=People , DC=Example,DC=com", "userid=a,ou=people,dc=example,dc=com", "0.9.2342.19200300.100.1.1=a,ou=people,dc=example,dc=com"},
		{`cn=Smith\, John,dc=x`, `cn=smith\2c john,dc=x`, `CN=Smith\,  John,dc=x`},
		{"cn=a+uid=b,dc=x", "uid=b+cn=a,dc=x"},
		{"cn=Ünal,dc=x", "cn=\\C3\\9Cnal,dc=x", "cn=ünal,dc=x"},
	}
	seen := map[string]int{}
	for i, group := range same {
		first, err := NormalDN(group[0])
		require.NoError(t, err)
		seen[first] = i
		for _, dn := range group[1:] {
			n, err := NormalDN(dn)
			require.NoError(t, err, dn)
			require.Equal(t, first, n, dn)
		}
	}
	require.Len(t, seen, len(same))
	for _, bad := range []string{"people", "=x", "cn=a,,dc=x", "cn"} {
		_, err := NormalDN(bad)
		require.Error(t, err, bad)
	}
}

func FuzzNormalDN(f *testing.F) {
	for _, dn := range []string{"uid=a,dc=x", `cn=Smith\, John,dc=x`, "CN=a+UID=b , dc=x", "2.5.4.3=#0401,dc=x", "cn= a", "cn=ü"} {
		f.Add(dn)
	}
	f.Fuzz(func(t *testing.T, dn string) {
		once, err := NormalDN(dn)
		if err != nil {
			return
		}
		twice, err := NormalDN(once)
		require.NoError(t, err, "%q", once)
		require.Equal(t, once, twice)
		slow, err := parsedDN(dn)
		require.NoError(t, err)
		require.Equal(t, slow, once, "the quick way says the same")
	})
}

// TestTheLargeDirectory reads 55,000 entries with 200,000 memberships from slapd.
func TestTheLargeDirectory(t *testing.T) {
	c := slapd(t, company.Large(50_000))
	c.PageSize = 1000
	started := time.Now()
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.Len(t, round.Objects, 55_000)
	require.Len(t, round.Edges, 200_000)
	t.Logf("read in %s", time.Since(started))
}

func TestOneAttributeCanServeTwice(t *testing.T) {
	_, c := fake(t)
	c.Users.UserName = "mail"
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	person := company.Small().Person(company.Employee)
	read := round.Objects[directory.ObjectID(person.ID)]
	require.Equal(t, person.Mail, read.Get(directory.AttrUserName))
	require.Equal(t, person.Mail, read.Get(directory.AttrMail))
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"ldaps://host", "ldap://[::1]:1389", "ldapi://%2Frun%2Fldapi", "ldap://u:p@host", "ldap://host/dc=x?cn"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parseURL(raw)
		if err != nil {
			require.Zero(t, got)
			return
		}
		require.Contains(t, []string{"ldap", "ldaps", "ldapi"}, got.scheme)
		require.NotEmpty(t, got.address)
		require.Equal(t, got.scheme == "ldapi", got.host == "")
	})
}
