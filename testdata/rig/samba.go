package rig

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/loopback"
)

// Samba is a running domain controller of Active Directory, as Samba has it: LDAP
// and the KDC alone, in one process, at an address of its own on loopback, since
// its ports are fixed.
type Samba struct {
	URL, TLSURL string
	// CAFile verifies the certificate for ServerName.
	CAFile, ServerName string
	Domain             string // the DN of its root
	// BindDN may ask for DirSync, OrdinaryDN is like any user, AdminDN may write.
	// All have the same Password.
	BindDN, OrdinaryDN, AdminDN, Password string
	// Realm is the domain's for Kerberos, whose KDC Krb5Conf names, and Service the
	// controller's own principal.
	Realm, Krb5Conf, Service string
	Dir                      string

	kdc  string
	stop func()
}

const (
	sambaBinary   = "/usr/sbin/samba"
	sambaTool     = "/usr/bin/samba-tool"
	sambaDomain   = "DC=corp,DC=example"
	sambaPassword = "Rig-passw0rd!" // as complex as the domain wants it
	// withoutSync spares the disk: nothing here is worth surviving a power cut.
	withoutSync = "TDB_NO_FSYNC=1"
)

// PeopleOU and GroupsOU are where the company is.
const (
	PeopleOU = "OU=People," + sambaDomain
	GroupsOU = "OU=Groups," + sambaDomain
)

const sambaConfig = `
[global]
	netbios name = DC1
	workgroup = %[4]s
	realm = %[4]s.EXAMPLE
	server role = active directory domain controller
	server services = ldap kdc
	bind interfaces only = yes
	interfaces = %[2]s/8
	private dir = %[1]s/private
	lock directory = %[1]s
	state directory = %[1]s/state
	cache directory = %[1]s/cache
	binddns dir = %[1]s/bind-dns
	pid directory = %[1]s/run
	ncalrpc dir = %[1]s/ncalrpc
	ldap server require strong auth = %[3]s
	tls cafile = %[1]s/ca.pem
	tls certfile = %[1]s/server.pem
	tls keyfile = %[1]s/server.key
	logging = file
	log file = %[1]s/log
`

// krb5Conf finds the KDC over TCP.
const krb5Conf = `
[libdefaults]
	default_realm = %[1]s
	dns_lookup_kdc = false
	udp_preference_limit = 1
[realms]
	%[1]s = {
		kdc = %[2]s
	}
`

//go:embed provision.py
var provisionScript []byte

// template is a domain that tests get copies of. Each has a SID of its own.
type template struct {
	made sync.Once
	dir  string
	err  error
}

// The domains: CORP has the small company, EAST nobody but the accounts.
const corp, east = "CORP", "EAST"

var templates = map[string]*template{corp: {}, east: {}}

// provisioned makes a domain at the first call, and tells where it is.
func provisioned(name string) (string, error) {
	d := templates[name]
	d.made.Do(func() {
		if d.dir, d.err = os.MkdirTemp("", "samba-domain"); d.err == nil {
			d.err = provision(d.dir, name)
		}
	})
	return d.dir, d.err
}

// RemoveDomain removes what StartSamba made for all of a process's tests. TestMain
// calls it.
func RemoveDomain() error {
	var errs []error
	for _, d := range templates {
		if d.dir != "" {
			errs = append(errs, os.RemoveAll(d.dir))
		}
	}
	return errors.Join(errs...)
}

// provision makes a domain.
func provision(dir, name string) error {
	run := func(name string, arguments ...string) error {
		command := exec.Command(name, arguments...)
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		command.Env = append(os.Environ(), withoutSync)
		if said, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, said)
		}
		return nil
	}
	if err := run(sambaTool, "domain", "provision", "--realm="+name+".EXAMPLE", "--domain="+name, "--server-role=dc", "--dns-backend=NONE",
		"--adminpass="+sambaPassword, "--targetdir="+dir, "--host-name=dc1", "--host-ip=127.0.0.1"); err != nil {
		return err
	}
	if err := loopback.Certificates(dir); err != nil {
		return err
	}
	var entries, changes []byte
	if name == corp {
		entries, changes = companyLDIF(company.Small())
	}
	files := map[string][]byte{"entries.ldif": entries, "changes.ldif": changes, "provision.py": provisionScript}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return run("/usr/bin/python3", filepath.Join(dir, "provision.py"), filepath.Join(dir, "etc", "smb.conf"), filepath.Join(dir, "private", "sam.ldb"),
		sambaPassword, filepath.Join(dir, "entries.ldif"), filepath.Join(dir, "changes.ldif"))
}

// PersonDN and GroupDN are how the company is named in the domain.
func PersonDN(p company.Person) string { return "CN=" + p.UID + "," + PeopleOU }

// GroupDN is a group's name in the domain.
func GroupDN(g company.Group) string { return "CN=" + g.Name + "," + GroupsOU }

// companyLDIF is the part of the company that is at home in LDAP, with its ids as
// GUIDs, and then who is whose member and manager.
func companyLDIF(c *company.Company) (entries, changes []byte) {
	var b, more bytes.Buffer
	value := func(name, v string) {
		fmt.Fprintf(&b, "%s:: %s\n", name, base64.StdEncoding.EncodeToString([]byte(v)))
	}
	for _, ou := range []string{PeopleOU, GroupsOU} {
		fmt.Fprintf(&b, "dn: %s\nobjectClass: organizationalUnit\n\n", ou)
	}
	dns := map[string]string{}
	for _, p := range c.People {
		dns[p.ID] = PersonDN(p)
	}
	for _, g := range c.Groups {
		dns[g.ID] = GroupDN(g)
	}
	for _, p := range c.People {
		if p.Home != company.LDAP {
			continue
		}
		fmt.Fprintf(&b, "dn: %s\nobjectClass: user\nsAMAccountName: %s\nuserPrincipalName: %s\n", PersonDN(p), p.UID, p.Mail)
		control := 0x220 // a normal account that needs no password
		if !p.Enabled {
			control |= 2
		}
		fmt.Fprintf(&b, "userAccountControl: %d\n", control)
		value("objectGUID", guid(p.ID))
		value("displayName", p.Name)
		value("mail", p.Mail)
		value("department", p.Department)
		if p.Guest {
			value("employeeType", "guest")
		}
		b.WriteByte('\n')
		if p.Manager != "" && slices.ContainsFunc(c.People, func(m company.Person) bool { return m.ID == p.Manager && m.Home == company.LDAP }) {
			fmt.Fprintf(&more, "dn: %s\nchangetype: modify\nadd: manager\nmanager: %s\n\n", PersonDN(p), dns[p.Manager])
		}
	}
	for _, g := range c.Groups {
		if g.Home != company.LDAP {
			continue
		}
		fmt.Fprintf(&b, "dn: %s\nobjectClass: group\nsAMAccountName: %s\ngroupType: -2147483640\n", GroupDN(g), g.Name) // universal
		value("objectGUID", guid(g.ID))
		b.WriteByte('\n')
		fmt.Fprintf(&more, "dn: %s\nchangetype: modify\nadd: member\n", GroupDN(g))
		for _, m := range slices.Concat(g.Members, g.Groups) {
			fmt.Fprintf(&more, "member: %s\n", dns[m])
		}
		more.WriteString("-\n")
		for _, o := range g.Owners {
			fmt.Fprintf(&more, "add: managedBy\nmanagedBy: %s\n-\n", dns[o])
		}
		more.WriteByte('\n')
	}
	return b.Bytes(), more.Bytes()
}

// guid turns a UUID's text into an objectGUID.
func guid(id string) string {
	g, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil {
		panic("internal error: " + err.Error())
	}
	slices.Reverse(g[:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return string(g)
}

// addresses counts those that this process has given away.
var addresses atomic.Uint32

// StartSamba runs a domain controller with the small company, and stops it when
// the test ends. The first call of a process makes the domain.
func StartSamba(t testing.TB) *Samba {
	t.Helper()
	return startSamba(t, corp, "no")
}

// StartEastSamba runs a domain controller of another domain, with nobody in it, as
// StartSamba does.
func StartEastSamba(t testing.TB) *Samba {
	t.Helper()
	return startSamba(t, east, "no")
}

// StartTLSSamba runs one that refuses every bind in the clear, without TLS or a
// security layer of SASL's own.
func StartTLSSamba(t testing.TB) *Samba {
	t.Helper()
	return startSamba(t, corp, "allow_sasl_over_tls")
}

// StartStrictSamba runs one that refuses a password in the clear, and SASL without
// a security layer of its own even over TLS, which is Samba's default.
func StartStrictSamba(t testing.TB) *Samba {
	t.Helper()
	return startSamba(t, corp, "yes")
}

func startSamba(t testing.TB, name, strict string) *Samba {
	t.Helper()
	if _, err := os.Stat(sambaBinary); err != nil {
		t.Fatalf("these tests run a domain controller of Samba; install it with `make servers`: %v", err)
	}
	if os.Getuid() != 0 {
		t.Fatal("Samba serves LDAP at port 389 only, so these tests run as root")
	}
	from, err := provisioned(name)
	require.NoError(t, err, "make the domain")
	dir, err := os.MkdirTemp("", "samba")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, exec.CommandContext(t.Context(), "cp", "-a", "--reflink=auto", from+"/.", dir).Run())
	for _, name := range []string{"run", "cache", "ncalrpc", "state"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	low := strings.ToLower(name)
	domain := "DC=" + low + ",DC=example"
	s := &Samba{
		CAFile: filepath.Join(dir, "ca.pem"), ServerName: "localhost", Domain: domain, Dir: dir, Password: sambaPassword,
		Realm: name + ".EXAMPLE", Krb5Conf: filepath.Join(dir, "krb5.conf"), Service: "ldap/dc1." + low + ".example",
		BindDN: "CN=ambit,CN=Users," + domain, OrdinaryDN: "CN=ordinary,CN=Users," + domain, AdminDN: "CN=Administrator,CN=Users," + domain,
	}
	for attempt := 1; ; attempt++ {
		n := uint32(os.Getpid())*31 + addresses.Add(1)
		address := fmt.Sprintf("127.%d.%d.%d", 64+n>>16%64, n>>8&0xff, 1+n%254)
		s.URL, s.TLSURL, s.kdc = "ldap://"+address+":389", "ldaps://"+address+":636", address+":88"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "etc", "smb.conf"), fmt.Appendf(nil, sambaConfig, dir, address, strict, name), 0o600))
		require.NoError(t, os.WriteFile(s.Krb5Conf, fmt.Appendf(nil, krb5Conf, s.Realm, s.kdc), 0o600))
		err := s.run()
		if err == nil {
			t.Cleanup(func() { s.stop() })
			return s
		}
		if attempt == 3 {
			t.Fatalf("start Samba: %v", err)
		}
	}
}

// Restart stops the controller, lets during do something to its folder, and starts
// it again at the same address.
func (s *Samba) Restart(t testing.TB, during func()) {
	t.Helper()
	s.stop()
	if during != nil {
		during()
	}
	require.NoError(t, s.run(), "start Samba again")
}

func listens(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close() // it was only a knock
	}
	return err == nil
}

// run starts the controller and waits until it listens.
func (s *Samba) run() error {
	var said bytes.Buffer
	samba := exec.Command(sambaBinary, "-F", "--no-process-group", "--model=single", "-s", filepath.Join(s.Dir, "etc", "smb.conf"))
	samba.Stdout, samba.Stderr = &said, &said
	samba.Env = append(os.Environ(), withoutSync)
	samba.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := samba.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- samba.Wait() }()
	deadline := time.After(startsWithin)
	for !listens(strings.TrimPrefix(s.TLSURL, "ldaps://")) || !listens(s.kdc) {
		log := func() []byte { b, _ := os.ReadFile(filepath.Join(s.Dir, "log")); return b } // it may not have begun
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %w\n%s%s", err, &said, log())
		case <-deadline:
			_ = samba.Process.Kill() // it may end by itself just now
			<-ended
			return fmt.Errorf("it does not listen after %s\n%s%s", startsWithin, &said, log())
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.stop = sync.OnceFunc(func() {
		_ = samba.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(stopsWithin):
			_ = samba.Process.Kill() // it hangs
			<-ended
		}
	})
	return nil
}
