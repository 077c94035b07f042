package rig

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver
	"github.com/stretchr/testify/require"
)

// Postgres is a running PostgreSQL cluster of its own, in a temporary folder. It
// does without fsync, so it must not be used to show what survives a power cut.
type Postgres struct {
	Folder   string // holds the Unix socket
	Port     int    // on 127.0.0.1, with TLS
	Password string // of the user ambit, on TCP; the socket needs none
	CAFile   string

	guard io.Closer // the server ends when this is closed, by the end of this process at the latest
}

// cluster is the one of this test binary: starting one takes seconds. It ends
// with the binary, however that ends.
var cluster struct {
	once  sync.Once
	ready *Postgres
	err   error
}

// Cluster returns this test binary's PostgreSQL cluster and starts it if needed.
func Cluster(t testing.TB) *Postgres {
	t.Helper()
	cluster.once.Do(func() { cluster.ready, cluster.err = startPostgres(t) })
	require.NoError(t, cluster.err)
	require.NotNil(t, cluster.ready, "PostgreSQL did not start")
	return cluster.ready
}

// Database makes an empty database, which is dropped after the test, and returns
// its DSN, over the Unix socket.
func Database(t testing.TB) string {
	t.Helper()
	p := Cluster(t)
	name := "t_" + strings.ToLower(rand.Text())
	p.Exec(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { p.Exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return p.DSN(name)
}

// DSN names a database over the Unix socket.
func (p *Postgres) DSN(database string) string {
	return fmt.Sprintf("host=%s port=%d user=ambit dbname=%s", p.Folder, p.Port, database)
}

// Socket is the path of the server's Unix socket.
func (p *Postgres) Socket() string { return fmt.Sprintf("%s/.s.PGSQL.%d", p.Folder, p.Port) }

// Exec runs a statement as the cluster's superuser, ambit.
func (p *Postgres) Exec(t testing.TB, statement string) {
	t.Helper()
	p.ExecIn(t, "postgres", statement)
}

// ExecIn runs a statement in one of the databases.
func (p *Postgres) ExecIn(t testing.TB, database, statement string) {
	t.Helper()
	db, err := sql.Open("postgres", p.DSN(database)+" sslmode=disable")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(context.Background(), statement)
	require.NoError(t, err, statement)
}

// guard runs the server until its own standard input ends, which is when the test
// binary does, and leaves nothing behind.
const guard = `
"$1/postgres" -D "$2/data" -c listen_addresses=127.0.0.1 -c port="$3" -c unix_socket_directories="$2" >"$2/log" 2>&1 &
server=$!
read -r _
kill -QUIT $server
wait $server
rm -rf "$2"
`

func startPostgres(t testing.TB) (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ambit-pg-")
	if err != nil {
		return nil, err
	}
	port, err := postgresPort()
	if err != nil {
		return nil, err
	}
	p := &Postgres{Folder: dir, Port: port, Password: rand.Text(), CAFile: filepath.Join(dir, "ca.pem")}
	certificate(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(p.Password), 0o600); err != nil {
		return nil, err
	}
	// PostgreSQL refuses to run as root: root runs it as the user that Debian's
	// package makes.
	as, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	// The database's own collation is a human one, so that a column which forgot to
	// ask for bytewise order is found.
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "ambit", "--no-sync",
		"--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+filepath.Join(dir, "password"))
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	settings := fmt.Sprintf(`
ssl = on
ssl_cert_file = '%s/server.pem'
ssl_key_file = '%[1]s/server.key'
fsync = off
full_page_writes = off
max_connections = 200
`, dir)
	conf, err := os.OpenFile(filepath.Join(dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = conf.WriteString(settings)
	if err := errors.Join(err, conf.Close()); err != nil {
		return nil, err
	}
	return p, p.start(bin, as)
}

// start runs the server on the folder's data.
func (p *Postgres) start(bin string, as *syscall.SysProcAttr) error {
	server := exec.Command("/bin/sh", "-c", guard, "sh", bin, p.Folder, strconv.Itoa(p.Port))
	server.SysProcAttr, server.Dir = as, p.Folder
	var err error
	if p.guard, err = server.StdinPipe(); err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	return p.wait(2 * time.Minute)
}

// OwnCluster starts a cluster that a test may do anything to. It ends with the test.
func OwnCluster(t testing.TB) *Postgres {
	t.Helper()
	p, err := startPostgres(t)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.guard.Close() })
	return p
}

// Standby starts a second server that follows this test binary's cluster and is
// read-only. It ends with the test.
func Standby(t testing.TB) *Postgres {
	t.Helper()
	return Cluster(t).Standby(t)
}

// Standby starts a server that follows this one and is read-only. It ends with the
// test.
func (p *Postgres) Standby(t testing.TB) *Postgres {
	t.Helper()
	primary := p
	bin, err := postgresBin()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "ambit-pg-")
	require.NoError(t, err)
	as, err := unprivileged(dir)
	require.NoError(t, err)
	port, err := postgresPort()
	require.NoError(t, err)
	backup := exec.Command(filepath.Join(bin, "pg_basebackup"), "-D", filepath.Join(dir, "data"), "-R", "--checkpoint=fast", "--no-sync",
		"-h", primary.Folder, "-p", strconv.Itoa(primary.Port), "-U", "ambit")
	backup.SysProcAttr, backup.Dir = as, dir
	out, err := backup.CombinedOutput()
	require.NoError(t, err, "%s", out)
	standby := &Postgres{Folder: dir, Port: port, Password: primary.Password, CAFile: primary.CAFile}
	require.NoError(t, standby.start(bin, as))
	t.Cleanup(func() { _ = standby.guard.Close() })
	return standby
}

// Synchronous makes commits wait until a standby has them.
func (p *Postgres) Synchronous(t testing.TB) {
	t.Helper()
	p.Exec(t, `ALTER SYSTEM SET synchronous_standby_names = '*'`)
	p.Exec(t, `SELECT pg_reload_conf()`)
	db, err := sql.Open("postgres", p.DSN("postgres")+" sslmode=disable")
	require.NoError(t, err)
	defer db.Close()
	require.Eventually(t, func() bool {
		state := ""
		err := db.QueryRowContext(context.Background(), `SELECT sync_state FROM pg_stat_replication`).Scan(&state)
		return err == nil && state == "sync"
	}, 2*time.Minute, 20*time.Millisecond, "the standby does not follow")
}

// Kill ends the server as a power cut does.
func (p *Postgres) Kill(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.Folder, "data", "postmaster.pid"))
	require.NoError(t, err)
	line, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.Atoi(string(line))
	require.NoError(t, err)
	// Its children would go on for a moment, and a standby's would confirm commits.
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	for _, child := range append(children(t, pid), pid) {
		require.NoError(t, syscall.Kill(child, syscall.SIGKILL))
	}
}

// children are the processes that a process has started.
func children(t testing.TB, of int) []int {
	folders, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	var out []int
	for _, f := range folders {
		b, err := os.ReadFile(filepath.Join(f, "stat"))
		if err != nil {
			continue // it has ended
		}
		parent, state := 0, ""
		_, err = fmt.Sscanf(string(b[bytes.LastIndexByte(b, ')')+1:]), "%s %d", &state, &parent)
		require.NoError(t, err)
		if parent != of || state == "Z" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(f))
		require.NoError(t, err)
		out = append(out, pid)
	}
	return out
}

// Promote makes a standby the primary.
func (p *Postgres) Promote(t testing.TB) {
	t.Helper()
	p.Exec(t, `SELECT pg_promote()`)
}

// wait returns once the server answers.
func (p *Postgres) wait(most time.Duration) error {
	db, err := sql.Open("postgres", p.DSN("postgres")+" sslmode=disable")
	if err != nil {
		return err
	}
	defer db.Close()
	for deadline := time.Now().Add(most); ; time.Sleep(20 * time.Millisecond) {
		if err = db.PingContext(context.Background()); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(p.Folder, "log"))
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, bytes.TrimSpace(log))
		}
	}
}

// postgresBin finds the newest installed version.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	newest, best := 0, ""
	for _, f := range found {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(f))))
		if err == nil && version > newest {
			newest, best = version, filepath.Dir(f)
		}
	}
	if newest < 15 {
		return "", errors.New("PostgreSQL 15 or newer is not installed in /usr/lib/postgresql: run make servers")
	}
	return best, nil
}

// unprivileged gives the folder to the user who is to run the server.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := os.Chown(filepath.Join(dir, e.Name()), uid, gid); err != nil {
			return nil, err
		}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, os.Chown(dir, uid, gid)
}

func postgresPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
