// Package rig starts the real servers that tests run against, on loopback, in
// temporary folders. A server that is not installed fails the test: `make
// servers` installs it.
package rig

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/testdata/loopback"
)

// Slapd is a running OpenLDAP server.
type Slapd struct {
	URL, TLSURL, SocketURL string // ldap://, ldaps:// and ldapi://
	CAFile                 string
	Suffix                 string
	// BindDN reads everything, without limits, as does whoever binds by SASL
	// EXTERNAL: over SocketURL, or with the client's certificate. LimitedDN has
	// slapd's limit of 500 entries. RootDN may write. All have the same Password.
	BindDN, LimitedDN, RootDN, Password string
	ClientCertificate, ClientKey        string
	Dir                                 string // what slapd keeps, the database in db below it

	stop func()
}

const (
	slapdBinary   = "/usr/sbin/slapd"
	slapaddBinary = "/usr/sbin/slapadd"
	password      = "rig-password"
	startsWithin  = 2 * time.Minute
	stopsWithin   = time.Minute
)

// slapdConfig is for slapadd and slapd alike. Debian's schemas are used as they
// are; ppolicy is loaded for its attribute pwdAccountLockedTime. ipaUniqueID is
// FreeIPA's.
const slapdConfig = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/dyngroup.schema
attributetype ( 2.16.840.1.113730.3.8.3.1 NAME 'ipaUniqueID' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.1.1 NAME 'ipaObject' AUXILIARY MUST ipaUniqueID )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload syncprov
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/server.pem
TLSCertificateKeyFile %[1]s/server.key
TLSVerifyClient try
authz-regexp "^gidNumber=[0-9]+[+]uidNumber=[0-9]+,cn=peercred,cn=external,cn=auth$" "cn=reader,dc=example,dc=com"
authz-regexp "^cn=%[2]s$" "cn=reader,dc=example,dc=com"
database mdb
suffix "dc=example,dc=com"
rootdn "cn=root,dc=example,dc=com"
rootpw %[3]s
directory %[1]s/db
maxsize 1073741824
index objectClass eq
index entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,dc=example,dc=com" read by dn.exact="cn=limited,dc=example,dc=com" read by * none
limits dn.exact="cn=reader,dc=example,dc=com" size=unlimited size.prtotal=unlimited time=unlimited
`

// syncprov is content synchronisation (RFC 4533). The session log lives as long
// as slapd runs.
const syncprov = `
overlay syncprov
syncprov-sessionlog 1000
`

// accesslog is a log of what is changed.
const accesslog = `
moduleload accesslog
overlay accesslog
logdb cn=accesslog
logops writes
logsuccess TRUE
database mdb
suffix cn=accesslog
rootdn "cn=root,dc=example,dc=com"
directory %[1]s/log
index objectClass,reqStart,reqResult eq
access to * by dn.exact="cn=reader,dc=example,dc=com" read by * none
limits dn.exact="cn=reader,dc=example,dc=com" size=unlimited size.prtotal=unlimited time=unlimited
`

// accounts are added to what the caller's LDIF holds.
const accounts = `
dn: cn=reader,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: %[1]s

dn: cn=limited,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: limited
userPassword: %[1]s
`

// StartSlapd runs slapd with what ldif writes, and stops it when the test ends.
// The LDIF holds the suffix dc=example,dc=com and what is below it. The server
// offers content synchronisation.
func StartSlapd(t testing.TB, ldif func(io.Writer) error) *Slapd {
	t.Helper()
	return startSlapd(t, slapdConfig+syncprov, ldif)
}

// StartPlainSlapd runs one that says it does, since the module is loaded, and
// refuses it, since the database is without the overlay.
func StartPlainSlapd(t testing.TB, ldif func(io.Writer) error) *Slapd {
	t.Helper()
	return startSlapd(t, slapdConfig, ldif)
}

// StartLoggingSlapd runs one that also logs what is changed below cn=accesslog, where
// RootDN may write.
func StartLoggingSlapd(t testing.TB, ldif func(io.Writer) error) *Slapd {
	t.Helper()
	s := startSlapd(t, slapdConfig+syncprov+accesslog, ldif)
	s.AwaitLog(t)
	return s
}

// AwaitLog waits until slapd has made the log's first entry, which it does by the way:
// until then it refuses what it would have to log.
func (s *Slapd) AwaitLog(t testing.TB) {
	t.Helper()
	conn, err := ldap.DialURL(s.URL)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Bind(s.RootDN, s.Password))
	require.Eventually(t, func() bool {
		_, err := conn.Search(ldap.NewSearchRequest("cn=accesslog", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil))
		return err == nil
	}, startsWithin, 10*time.Millisecond)
}

func startSlapd(t testing.TB, template string, ldif func(io.Writer) error) *Slapd {
	t.Helper()
	if _, err := os.Stat(slapdBinary); err != nil {
		t.Fatalf("these tests run OpenLDAP's server; install it with `make servers`: %v", err)
	}
	// Not the test's own folder: its name can be longer than a socket's may be.
	dir, err := os.MkdirTemp("", "slapd")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	for _, name := range []string{"db", "log"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	certificate(t, dir)
	config := filepath.Join(dir, "slapd.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, template, dir, loopback.ClientName, password), 0o600))
	load(t, config, ldif)

	s := &Slapd{
		SocketURL: "ldapi://" + url.PathEscape(filepath.Join(dir, "ldapi")),
		CAFile:    filepath.Join(dir, "ca.pem"), Suffix: "dc=example,dc=com",
		BindDN: "cn=reader,dc=example,dc=com", LimitedDN: "cn=limited,dc=example,dc=com", RootDN: "cn=root,dc=example,dc=com", Password: password,
		ClientCertificate: filepath.Join(dir, "client.pem"), ClientKey: filepath.Join(dir, "client.key"), Dir: dir,
	}
	// A port that was free a moment ago may be taken: it is tried again, with others.
	for attempt := 1; ; attempt++ {
		s.URL, s.TLSURL = "ldap://"+freePort(t), "ldaps://"+freePort(t)
		err := s.run(t)
		if err == nil {
			t.Cleanup(func() { s.stop() })
			return s
		}
		if attempt == 3 {
			t.Fatalf("start slapd: %v", err)
		}
	}
}

// Restart stops slapd, lets during do something to its folder, and starts it
// again at the same addresses.
func (s *Slapd) Restart(t testing.TB, during func()) {
	t.Helper()
	s.stop()
	if during != nil {
		during()
	}
	require.NoError(t, s.run(t), "start slapd again")
}

// load fills the database.
func load(t testing.TB, config string, ldif func(io.Writer) error) {
	t.Helper()
	add := exec.CommandContext(t.Context(), slapaddBinary, "-q", "-f", config)
	in, err := add.StdinPipe()
	require.NoError(t, err)
	var said bytes.Buffer
	add.Stdout, add.Stderr = &said, &said
	require.NoError(t, add.Start())
	written := ldif(in)
	if written == nil {
		_, written = fmt.Fprintf(in, "\n"+accounts, password)
	}
	_ = in.Close()                                       // slapadd tells whether it had all
	require.NoError(t, add.Wait(), "slapadd: %s", &said) // says more than a broken pipe
	require.NoError(t, written)
}

// run starts slapd and waits until it listens.
func (s *Slapd) run(t testing.TB) error {
	t.Helper()
	var said bytes.Buffer
	// The socket comes last: slapd opens it only once it has both ports.
	slapd := exec.Command(slapdBinary, "-d", "none", "-f", filepath.Join(s.Dir, "slapd.conf"), "-h", s.URL+"/ "+s.TLSURL+"/ "+s.SocketURL)
	slapd.Stdout, slapd.Stderr = &said, &said
	// It dies with the test, even with one that is killed.
	slapd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := slapd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- slapd.Wait() }()
	deadline := time.After(startsWithin)
	for {
		if conn, err := net.Dial("unix", filepath.Join(s.Dir, "ldapi")); err == nil {
			_ = conn.Close() // it was only a knock
			break
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %w\n%s", err, &said)
		case <-deadline:
			_ = slapd.Process.Kill() // it may end by itself just now
			<-ended
			return fmt.Errorf("it does not listen after %s\n%s", startsWithin, &said)
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.stop = sync.OnceFunc(func() {
		_ = slapd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(stopsWithin):
			_ = slapd.Process.Kill() // it hangs
			<-ended
		}
	})
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
