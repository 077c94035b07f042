package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/connectors/entra"
	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// place is a kind of directory.
type place struct {
	rate, people int
	goal         time.Duration
	interval     time.Duration // at which it is asked; 0: it tells of changes
	// heading, whose and tells are for the page.
	heading, whose, tells string
	start                 func(t testing.TB, o options) (*server, error)
}

var places = map[string]place{
	"ldap": {
		rate: 100, people: 5_000, goal: 50 * time.Millisecond, heading: "## From the directory to the answer", whose: "slapd's",
		tells: "slapd tells of them by content synchronisation (RFC 4533) over TLS", start: startSlapd,
	},
	"ad": {
		rate: 100, people: 500, goal: 150 * time.Millisecond, heading: "## From Active Directory to the answer", whose: "Samba's",
		tells: "Samba tells of them by change notification over TLS, and they are read by DirSync, as an account that may see what was deleted", start: startSamba,
	},
	// Intervals vary by a tenth, which the goal allows for.
	"graph": {
		rate: 100, people: 5_000, interval: time.Second, goal: 1150 * time.Millisecond, heading: "## From Entra ID to the answer", whose: "Graph's",
		tells: "Graph, here a server of our own that speaks as it does, is asked by delta query over TLS every second, give or take a tenth, and the goal is the longest of that and 50 ms", start: startGraph,
	},
}

// server is a running directory in which the first person is in every team, and
// nobody else is in any.
type server struct {
	password     string
	person, team func(n int) string // DNs or ids
	login        func(n int) string
	admin        func() (administrator, error)
	reader       func(password secret.Ref) (directory.Reader, error)
	settle       func() error // after the first read
}

// administrator changes a directory.
type administrator interface {
	// set makes a person a member of a team, or none.
	set(team, person string, in bool) error
	Close() error
}

// ldapAdministrator changes it over LDAP.
type ldapAdministrator struct{ *goldap.Conn }

func (a ldapAdministrator) set(team, person string, in bool) error {
	m := goldap.NewModifyRequest(team, nil)
	if in {
		m.Add("member", []string{person})
	} else {
		m.Delete("member", []string{person})
	}
	return a.Modify(m)
}

// graphAdministrator changes it as the server's own process.
type graphAdministrator struct{ server *graphtest.Server }

func (a graphAdministrator) set(team, person string, in bool) error {
	if in {
		a.server.AddMember(team, person)
	} else {
		a.server.RemoveMember(team, person)
	}
	return nil
}

func (graphAdministrator) Close() error { return nil }

func bound(url, dn, password string) (*goldap.Conn, error) {
	conn, err := goldap.DialURL(url)
	if err != nil {
		return nil, err
	}
	if err := conn.Bind(dn, password); err != nil {
		_ = conn.Close() // nothing was written
		return nil, err
	}
	return conn, nil
}

func startSlapd(t testing.TB, o options) (*server, error) {
	s := &server{
		person: func(n int) string { return fmt.Sprintf("uid=p%06d,ou=people,dc=example,dc=com", n) },
		team:   func(n int) string { return fmt.Sprintf("cn=team-%02d,ou=groups,dc=example,dc=com", n) },
		login:  func(n int) string { return fmt.Sprintf("p%06d", n) },
		settle: func() error { return nil },
	}
	slapd := rig.StartSlapd(t, func(w io.Writer) error {
		var b strings.Builder
		b.WriteString("dn: dc=example,dc=com\nobjectClass: organization\nobjectClass: dcObject\no: Example\ndc: example\n\n")
		for _, ou := range []string{"people", "groups"} {
			fmt.Fprintf(&b, "dn: ou=%s,dc=example,dc=com\nobjectClass: organizationalUnit\nou: %[1]s\n\n", ou)
		}
		for n := range o.people {
			fmt.Fprintf(&b, "dn: %s\nobjectClass: inetOrgPerson\nuid: p%06d\ncn: Person %[2]d\nsn: Person\n\n", s.person(n), n)
		}
		for n := range groups {
			fmt.Fprintf(&b, "dn: %s\nobjectClass: groupOfNames\ncn: team-%02d\nmember: %s\n\n", s.team(n), n, s.person(0))
		}
		_, err := io.WriteString(w, b.String())
		return err
	})
	s.password = slapd.Password
	s.admin = func() (administrator, error) {
		conn, err := bound(slapd.URL, slapd.RootDN, slapd.Password)
		return ldapAdministrator{conn}, err
	}
	s.reader = func(password secret.Ref) (directory.Reader, error) {
		return ldap.New(ldap.Config{
			Server: ldap.Server{URL: slapd.TLSURL, CAFile: slapd.CAFile, BindDN: slapd.BindDN, Password: password},
			Users:  ldap.Users{Base: "ou=people,dc=example,dc=com"}, Groups: ldap.Groups{Base: "ou=groups,dc=example,dc=com"},
			Changes: "content_sync",
		})
	}
	return s, nil
}

// startSamba runs a domain controller that is read by an account that may see what
// was deleted, so that rounds list no ids. It settles by a deletion.
func startSamba(t testing.TB, o options) (*server, error) {
	samba := rig.StartSamba(t)
	s := &server{
		password: samba.Password,
		person:   func(n int) string { return fmt.Sprintf("CN=p%06d,%s", n, rig.PeopleOU) },
		team:     func(n int) string { return fmt.Sprintf("CN=team-%02d,%s", n, rig.GroupsOU) },
		login:    func(n int) string { return fmt.Sprintf("p%06d@corp.example", n) },
	}
	bind := func() (*goldap.Conn, error) { return bound(samba.URL, samba.AdminDN, samba.Password) }
	s.admin = func() (administrator, error) {
		conn, err := bind()
		return ldapAdministrator{conn}, err
	}
	s.reader = func(password secret.Ref) (directory.Reader, error) {
		return ldap.NewAD(ldap.ADConfig{
			Server: ldap.Server{URL: samba.TLSURL, CAFile: samba.CAFile, ServerName: samba.ServerName, BindDN: samba.AdminDN, Password: password},
			Users:  ldap.ADUsers{Base: rig.PeopleOU}, Groups: ldap.ADGroups{Base: rig.GroupsOU}, Changes: "dirsync",
		})
	}
	conn, err := bind()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	add := func(dn, class string, attributes ...string) error {
		r := goldap.NewAddRequest(dn, nil)
		r.Attribute("objectClass", []string{class})
		for i := 0; i+1 < len(attributes); i += 2 {
			r.Attribute(attributes[i], []string{attributes[i+1]})
		}
		return conn.Add(r)
	}
	for n := range o.people {
		if err := add(s.person(n), "user", "sAMAccountName", fmt.Sprintf("p%06d", n), "userPrincipalName", s.login(n), "userAccountControl", "544"); err != nil {
			return nil, err
		}
	}
	for n := range groups {
		if err := add(s.team(n), "group", "sAMAccountName", fmt.Sprintf("team-%02d", n), "member", s.person(0)); err != nil {
			return nil, err
		}
	}
	gone := "CN=gone," + rig.PeopleOU
	s.settle = func() error {
		conn, err := bind()
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Del(goldap.NewDelRequest(gone, nil))
	}
	return s, add(gone, "user", "sAMAccountName", "gone")
}

func startGraph(t testing.TB, o options) (*server, error) {
	dir, err := os.MkdirTemp("", "ambit-graph-")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // it holds a certificate
	g, err := graphtest.Start(dir, graphtest.Options{})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = g.Close() }) // nothing of it is needed any more
	s := &server{
		password: graphtest.ClientSecret,
		person:   func(n int) string { return fmt.Sprintf("p%06d", n) },
		team:     func(n int) string { return fmt.Sprintf("team-%02d", n) },
		login:    func(n int) string { return fmt.Sprintf("p%06d@contoso.example", n) },
		admin:    func() (administrator, error) { return graphAdministrator{g}, nil },
		settle:   func() error { return nil },
	}
	s.reader = func(secret secret.Ref) (directory.Reader, error) {
		return entra.New(entra.Config{
			TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: secret, GraphEndpoint: g.URL, Authority: g.URL, CAFile: g.CAFile,
		})
	}
	for n := range o.people {
		g.AddUser(s.person(n), map[string]any{"userPrincipalName": s.login(n), "displayName": s.person(n), "accountEnabled": true, "userType": "Member"})
	}
	for n := range groups {
		g.AddGroup(s.team(n), map[string]any{"displayName": s.team(n), "securityEnabled": true, "groupTypes": []string{}})
		g.AddMember(s.team(n), s.person(0))
	}
	return s, nil
}
