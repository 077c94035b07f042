package main

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api/oidctest"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/configs"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// journal is a log that many write and a test reads.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

const noRules = "environments: {}\nrules: []\n"

// daemonOf makes a daemon of a folder with files: a SQLite store, and no sources
// but for those in more of its configuration.
func daemonOf(t *testing.T, files map[string]string, more ...string) (*daemon, *journal) {
	t.Helper()
	return daemonOn(t, "{sqlite: ambit.db}", files, more...)
}

// daemonOn is daemonOf, on another store.
func daemonOn(t *testing.T, store string, files map[string]string, more ...string) (*daemon, *journal) {
	t.Helper()
	d, log, _ := daemonBelieving(t, store, files, more...)
	return d, log
}

// daemonBelieving is daemonOn, with the issuer whose tokens the daemon believes.
func daemonBelieving(t *testing.T, store string, files map[string]string, more ...string) (*daemon, *journal, *oidctest.Issuer) {
	t.Helper()
	dir := t.TempDir()
	issuer, err := oidctest.Start(dir, "ambit")
	require.NoError(t, err)
	t.Cleanup(issuer.Close)
	all := map[string]string{
		"ambit.yaml": "store: " + store + `
listen: "127.0.0.1:0"
authentication: {issuer: "` + issuer.URL + `", audience: ambit, algorithms: [ES256], user_claim: preferred_username, ca_file: ` + filepath.Base(issuer.CAFile) + `}
mapping: mapping.yaml
` + strings.Join(more, ""),
		"mapping.yaml": noRules,
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	config, err := configs.Load(filepath.Join(dir, "ambit.yaml"))
	require.NoError(t, err)
	log := &journal{}
	d, err := assemble(t.Context(), config, log)
	require.NoError(t, err)
	return d, log, issuer
}

func (d *daemon) put(t *testing.T, all ...access.Change) {
	t.Helper()
	_, err := d.tenant.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
		return tenant.Changeset{Changes: all, Events: []audit.Event{{Actor: audit.Actor{Kind: audit.System, ID: "test"}, Operation: "test", Result: audit.Done}}}, nil
	})
	require.NoError(t, err)
}

// TestPoliciesAndJudgementsDoNotWaitForEachOther applies policies while requests
// are judged, each of which asks for what the other holds.
func TestPoliciesAndJudgementsDoNotWaitForEachOther(t *testing.T) {
	d, _ := daemonOf(t, nil)
	defer func() { require.NoError(t, d.close()) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 50 {
					_, err := d.tenant.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
						synchronizer{d}.Persons("sales")
						return tenant.Changeset{Events: []audit.Event{{Actor: audit.Actor{Kind: audit.System, ID: "test"}, Operation: "test", Result: audit.Done}}}, nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
			group.Go(func() {
				for range 50 {
					if err := d.policies(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("they wait for each other for ever")
	}
}

// TestTheSocketIsForItsUser starts a daemon, looks at the socket, speaks to it and
// stops the daemon.
func TestTheSocketIsForItsUser(t *testing.T) {
	d, log := daemonOf(t, nil)
	path := d.config.SocketPath()
	stale, err := net.Listen("unix", path)
	require.NoError(t, err)
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, stale.Close(), "as a daemon that was killed leaves it")

	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- d.serve(ctx, func(address string) { ready <- address }) }()
	address := <-ready
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	_, err = listenSocket(path)
	require.ErrorContains(t, err, "another daemon answers")

	socket := &client{base: "http://ambit", http: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}, close: func() error { return nil }}
	require.NoError(t, socket.do(t.Context(), "PUT", "/v1/environments/ambit/teams/made", access.Team{Name: "Made", BusinessUnit: "ambit"}, nil))
	events, err := d.store.Audit(t.Context(), store.AuditQuery{Operation: "team.put"})
	require.NoError(t, err)
	require.Len(t, events, 1)
	me, err := user.Current()
	require.NoError(t, err)
	require.Equal(t, audit.Actor{Kind: audit.Local, ID: me.Username}, events[0].Actor, "the kernel says who it was")

	// A client that sends half a request does not hold up the end.
	slow, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = slow.Close() }() // the daemon has cut it off
	_, err = slow.Write([]byte("POST /v1/bootstrap HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"))
	require.NoError(t, err)
	socket.http.CloseIdleConnections()
	stop()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(stopWithin + time.Minute):
		t.Fatal("the daemon does not stop")
	}
	require.NoError(t, d.close())
	require.NoFileExists(t, path)
	require.NotContains(t, log.String(), "panic")
}

func TestWhatIsNotASocketIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	require.NoError(t, os.WriteFile(path, []byte("data"), 0o600))
	_, err := listenSocket(path)
	require.ErrorContains(t, err, "is not a socket")
	require.FileExists(t, path)

	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o777))
	require.NoError(t, os.Chmod(open, 0o777))
	_, err = listenSocket(filepath.Join(open, "s"))
	require.ErrorContains(t, err, "others may write")
}

// TestRule_REL_14_a_reload_keeps_the_last_good_files spoils each file in turn.
func TestRule_REL_14_a_reload_keeps_the_last_good_files(t *testing.T) {
	d, log := daemonOf(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- d.serve(ctx, func(address string) { ready <- address }) }()
	<-ready
	before, revision := d.rules, d.tenant.Revision()
	mapping := d.config.File("mapping.yaml")
	for i, bad := range []string{"rules: [", "nonsense: 1\n", "rules: []\nrules: []\n", "a: &a [1,1]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"} {
		require.NoError(t, os.WriteFile(mapping, []byte(bad), 0o600))
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		require.Eventually(t, func() bool { return strings.Count(log.String(), "the files have faults") == i+1 }, time.Minute, time.Millisecond, "%s", bad)
		d.mu.Lock()
		require.Same(t, before, d.rules)
		d.mu.Unlock()
		require.Equal(t, revision, d.tenant.Revision())
	}
	require.Contains(t, log.String(), "mapping.yaml:1:", "the log says where")
	require.NoError(t, os.WriteFile(mapping, []byte(noRules), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "msg=reloaded") }, time.Minute, time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, d.close())
}

// TestAPolicyThatNamesSomebodyWhoLeftStaysAsItIs takes away a user whom a policy
// file names.
func TestAPolicyThatNamesSomebodyWhoLeftStaysAsItIs(t *testing.T) {
	d, log := daemonOf(t, nil)
	defer func() { require.NoError(t, d.close()) }()
	const env access.EnvironmentID = "sales"
	var changes []access.Change
	for _, o := range []access.Object{
		access.Environment{ID: env, Name: "Sales", ManagedBy: access.ByAPI},
		access.BusinessUnit{Environment: env, ID: "root", Name: "Root", ManagedBy: access.ByAPI},
		access.Table{Environment: env, ID: "account", Name: "Account", ManagedBy: access.ByAPI},
		access.Role{Environment: env, ID: "reader", Name: "Reader", BusinessUnit: "root", ManagedBy: access.ByAPI, Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Global}}},
	} {
		changes = append(changes, access.Put(o))
	}
	people := map[string]access.User{}
	for _, login := range []string{"ann", "ben", "cay"} {
		people[login] = access.User{Environment: env, ID: access.UserID("dir:" + login), Login: login, Name: login, BusinessUnit: "root", Enabled: true, ManagedBy: access.ByAPI}
		changes = append(changes, access.Put(people[login]))
	}
	d.put(t, changes...)
	policies, err := jit.ParsePolicies("policies.yaml", []byte(`policies:
  - id: readers
    name: Readers for a while
    environment: sales
    role: Reader
    scope: {business_unit: Root}
    eligible: [{user: ann}]
    stages: [{approvers: [{user: ben}, {user: cay}], quorum: 1}]
    max_duration: PT8H
`))
	require.NoError(t, err)
	d.files.policies = policies
	require.NoError(t, d.policies(t.Context()))
	live, err := d.store.Object(t.Context(), 0, env, access.KindPolicy, "readers")
	require.NoError(t, err, "%s", log)

	d.put(t, access.Remove(people["cay"]))
	require.NoError(t, d.policies(t.Context()))
	after, err := d.store.Object(t.Context(), 0, env, access.KindPolicy, "readers")
	require.NoError(t, err)
	require.Equal(t, live, after)
	require.Contains(t, log.String(), "cay")
}
