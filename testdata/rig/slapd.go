// Package rig starts the real servers that tests run against, on loopback, in
// temporary folders. A server that is not installed fails the test: `make
// servers` installs it.
package rig

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Slapd is a running OpenLDAP server.
type Slapd struct {
	URL, TLSURL      string // ldap:// and ldaps://
	CAFile           string
	BindDN, Password string
	Suffix           string
}

// slapdConfig is for slapadd and slapd alike. Debian's schemas are used as they are.
const slapdConfig = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/server.pem
TLSCertificateKeyFile %[1]s/server.key
database mdb
suffix "dc=example,dc=com"
rootdn "cn=root,dc=example,dc=com"
rootpw root-writes
directory %[1]s/db
maxsize 1073741824
index objectClass eq
index entryUUID eq
access to * by dn.exact="cn=root,dc=example,dc=com" write by dn.exact="cn=limited,dc=example,dc=com" read by * none
limits dn.exact="cn=root,dc=example,dc=com" size.prtotal=unlimited size=unlimited
`

// StartSlapd runs slapd with what ldif writes, and stops it when the test ends.
func StartSlapd(t testing.TB, ldif func(io.Writer) error) *Slapd {
	t.Helper()
	const slapd = "/usr/sbin/slapd"
	if _, err := os.Stat(slapd); err != nil {
		t.Fatalf("these tests run OpenLDAP's server; install it with `make servers`: %v", err)
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	certificate(t, dir)
	config := filepath.Join(dir, "slapd.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, slapdConfig, dir), 0o600))

	load := exec.CommandContext(t.Context(), "/usr/sbin/slapadd", "-q", "-f", config)
	in, err := load.StdinPipe()
	require.NoError(t, err)
	var said bytes.Buffer
	load.Stdout, load.Stderr = &said, &said
	require.NoError(t, load.Start())
	require.NoError(t, ldif(in))
	require.NoError(t, in.Close())
	require.NoError(t, load.Wait(), "slapadd: %s", &said)

	plain, secure := freePort(t), freePort(t)
	s := &Slapd{
		URL: "ldap://" + plain, TLSURL: "ldaps://" + secure, CAFile: filepath.Join(dir, "ca.pem"),
		BindDN: "cn=root,dc=example,dc=com", Password: "root-writes", Suffix: "dc=example,dc=com",
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	serve := exec.Command(slapd, "-d", "0", "-f", config, "-h", s.URL+"/ "+s.TLSURL+"/")
	serve.Stdout, serve.Stderr = log, log
	// It dies with the test, even with one that is killed.
	serve.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, serve.Start())
	t.Cleanup(func() {
		_ = serve.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = serve.Wait()                          // as asked
		_ = log.Close()                           // nothing writes to it any more
	})
	await(t, plain, log.Name())
	await(t, secure, log.Name())
	return s
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// await waits until something listens.
func await(t testing.TB, address, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			require.NoError(t, conn.Close())
			return
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile(log) // whatever there is helps
			t.Fatalf("nothing listens on %s: %v\n%s", address, err, said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
