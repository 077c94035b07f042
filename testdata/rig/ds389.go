package rig

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// DS389 is a running 389 Directory Server.
type DS389 struct {
	URL, TLSURL, SocketURL string // ldap://, ldaps:// and ldapi://
	CAFile                 string
	// BindDN reads everything, without limits; LimitedDN has a size limit of 500
	// entries; RootDN may write. All have the same Password.
	BindDN, LimitedDN, RootDN, Password string
	Dir                                 string

	stop func()
}

const (
	ds389Binary = "/usr/sbin/ns-slapd"
	ds389Data   = "/usr/share/dirsrv/data"
)

// ds389Accounts are added to what the caller's LDIF holds.
const ds389Accounts = `
dn: cn=reader,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
objectClass: extensibleObject
cn: reader
userPassword: %[1]s
nsSizeLimit: -1
nsLookThroughLimit: -1
nsPagedSizeLimit: -1

dn: cn=limited,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
objectClass: extensibleObject
cn: limited
userPassword: %[1]s
nsSizeLimit: 500
nsPagedSizeLimit: 500
`

// ds389Access lets the two accounts read everything.
const ds389Access = `aci: (targetattr = "* || nsUniqueId || nsAccountLock || modifyTimestamp")(version 3.0; acl "read"; allow (read, search, compare) userdn = "ldap:///cn=reader,dc=example,dc=com || ldap:///cn=limited,dc=example,dc=com";)`

// NSUniqueID writes a UUID as 389 does, in four words.
func NSUniqueID(uuid string) string {
	h := strings.ReplaceAll(strings.ToLower(uuid), "-", "")
	return h[:8] + "-" + h[8:16] + "-" + h[16:24] + "-" + h[24:]
}

// Start389 runs 389 Directory Server with what ldif writes, and stops it when the
// test ends. The LDIF is as for StartSlapd: its entryUUIDs become nsUniqueIds, and
// who is locked by pwdAccountLockedTime is so by nsAccountLock. The server offers
// content synchronisation if contentSync is set.
func Start389(t testing.TB, contentSync bool, ldif func(io.Writer) error) *DS389 {
	t.Helper()
	if _, err := os.Stat(ds389Binary); err != nil {
		t.Fatalf("these tests run 389 Directory Server; install it with `make servers`: %v", err)
	}
	dir, err := os.MkdirTemp("", "ds389") // not the test's own folder: see startSlapd
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	certificate(t, dir)
	s := &DS389{
		SocketURL: "ldapi://" + url.PathEscape(filepath.Join(dir, "ldapi")), CAFile: filepath.Join(dir, "ca.pem"),
		BindDN: "cn=reader,dc=example,dc=com", LimitedDN: "cn=limited,dc=example,dc=com", RootDN: "cn=root", Password: password, Dir: dir,
	}
	s.database(t)
	for attempt := 1; ; attempt++ {
		s.URL, s.TLSURL = "ldap://"+freePort(t), "ldaps://"+freePort(t)
		s.configure(t, contentSync)
		if attempt == 1 {
			s.load(t, ldif)
		}
		err := s.run()
		if err == nil {
			t.Cleanup(func() { s.stop() })
			return s
		}
		if attempt == 3 {
			t.Fatalf("start 389 Directory Server: %v", err)
		}
	}
}

// database makes the folders, the schema and the server's own database of
// certificates.
func (s *DS389) database(t testing.TB) {
	t.Helper()
	for _, name := range []string{"bak", "db", "inst", "ldif", "lock", "log", "run", "schema", "tmp"} {
		require.NoError(t, os.Mkdir(filepath.Join(s.Dir, name), 0o700))
	}
	require.NoError(t, os.CopyFS(filepath.Join(s.Dir, "schema"), os.DirFS("/etc/dirsrv/schema")))
	require.NoError(t, os.CopyFS(s.Dir, os.DirFS("/etc/dirsrv/config")))
	run := func(name string, arguments ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), name, arguments...)
		command.Dir = s.Dir
		said, err := command.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, said)
	}
	run("openssl", "pkcs12", "-export", "-inkey", "server.key", "-in", "server.pem", "-name", "Server-Cert", "-passout", "pass:", "-out", "server.p12")
	run("certutil", "-N", "-d", "sql:"+s.Dir, "--empty-password")
	run("certutil", "-A", "-d", "sql:"+s.Dir, "-n", "authority", "-t", "CT,,", "-i", "ca.pem")
	run("pk12util", "-i", "server.p12", "-d", "sql:"+s.Dir, "-W", "")
}

// configure writes dse.ldif from the templates of the package.
func (s *DS389) configure(t testing.TB, contentSync bool) {
	t.Helper()
	me, err := user.Current()
	require.NoError(t, err)
	hash := sha256.Sum256([]byte(password))
	port := func(u string) string {
		_, port, err := net.SplitHostPort(u[strings.Index(u, "://")+3:])
		require.NoError(t, err)
		return port
	}
	fill := strings.NewReplacer("%schema_dir%", s.Dir+"/schema", "%lock_dir%", s.Dir+"/lock", "%tmp_dir%", s.Dir+"/tmp", "%cert_dir%", s.Dir,
		"%ldif_dir%", s.Dir+"/ldif", "%bak_dir%", s.Dir+"/bak", "%run_dir%", s.Dir+"/run", "%inst_dir%", s.Dir+"/inst", "%log_dir%", s.Dir+"/log",
		"%fqdn%", "localhost", "%ds_port%", port(s.URL), "%ds_user%", me.Username, "%rootdn%", s.RootDN,
		"%ds_passwd%", "{SHA256}"+base64.StdEncoding.EncodeToString(hash[:]), "%ldapi_enabled%", "on", "%ldapi%", s.Dir+"/ldapi",
		"%ldapi_autobind%", "on", "%ds_suffix%", "dc=example,dc=com", "%ds_bename%", "userRoot", "%db_dir%", s.Dir+"/db",
		"%db_home_dir%", s.Dir+"/db", "%db_lib%", "mdb", "%config_dir%", s.Dir)
	var entries []string
	for _, name := range []string{"template-dse.ldif", "template-suffix-db.ldif"} {
		b, err := os.ReadFile(filepath.Join(ds389Data, name))
		require.NoError(t, err)
		for e := range strings.SplitSeq(fill.Replace(string(b)), "\n\n") {
			if at := strings.Index(e, "dn: "); at >= 0 { // what stands before is a comment
				entries = append(entries, strings.TrimSpace(e[at:]))
			}
		}
	}
	for i, e := range entries {
		switch {
		case strings.HasPrefix(e, "dn: cn=config\n"):
			entries[i] = e + "\nnsslapd-security: on\nnsslapd-securePort: " + port(s.TLSURL) + "\nnsslapd-listenhost: 127.0.0.1\nnsslapd-securelistenhost: 127.0.0.1" +
				"\nnsslapd-schemacheck: off\nnsslapd-accesslog-logging-enabled: off" +
				"\nnsslapd-allow-anonymous-access: off"
		case !contentSync:
		case strings.HasPrefix(e, "dn: cn=Retro Changelog Plugin,"):
			entries[i] = strings.Replace(e, "pluginenabled: off", "pluginenabled: on", 1) + "\nnsslapd-attribute: nsuniqueid:targetUniqueId"
		case strings.HasPrefix(e, "dn: cn=Content Synchronization,"):
			entries[i] = strings.Replace(e, "pluginenabled: off", "pluginenabled: on", 1)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "dse.ldif"), []byte(strings.Join(entries, "\n\n")+"\n"), 0o600))
}

// load fills the database.
func (s *DS389) load(t testing.TB, ldif func(io.Writer) error) {
	t.Helper()
	var in, out bytes.Buffer
	require.NoError(t, ldif(&in))
	for line := range strings.Lines(in.String()) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "dn":
			if value == "dc=example,dc=com" {
				line += ds389Access + "\n"
			}
		case "entryUUID":
			line = "nsUniqueId: " + NSUniqueID(value) + "\n"
		case "pwdAccountLockedTime":
			line = "nsAccountLock: true\n"
		}
		out.WriteString(line)
	}
	fmt.Fprintf(&out, "\n"+ds389Accounts, password)
	file := filepath.Join(s.Dir, "ldif", "all.ldif")
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
	said, err := exec.CommandContext(t.Context(), ds389Binary, "ldif2db", "-D", s.Dir, "-n", "userRoot", "-i", file).CombinedOutput()
	require.NoError(t, err, "ns-slapd ldif2db: %s\n%s", said, s.log())
}

// log is what the server says of itself.
func (s *DS389) log() []byte {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "log", "errors")) // it may not have begun
	return b
}

// Restart stops the server, lets during do something to its folder, and starts it
// again at the same addresses.
func (s *DS389) Restart(t testing.TB, during func()) {
	t.Helper()
	s.stop()
	if during != nil {
		during()
	}
	require.NoError(t, s.run(), "start 389 Directory Server again")
}

// run starts the server and waits until it listens.
func (s *DS389) run() error {
	var said bytes.Buffer
	server := exec.Command(ds389Binary, "-D", s.Dir, "-i", filepath.Join(s.Dir, "run", "pid"), "-d", "0")
	server.Stdout, server.Stderr = &said, &said
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	deadline := time.After(startsWithin)
	for {
		if conn, err := net.Dial("tcp", strings.TrimPrefix(s.TLSURL, "ldaps://")); err == nil {
			_ = conn.Close() // it was only a knock
			break
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %w\n%s%s", err, &said, s.log())
		case <-deadline:
			_ = server.Process.Kill() // it may end by itself just now
			<-ended
			return fmt.Errorf("it does not listen after %s\n%s%s", startsWithin, &said, s.log())
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.stop = sync.OnceFunc(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(stopsWithin):
			_ = server.Process.Kill() // it hangs
			<-ended
		}
	})
	return nil
}
