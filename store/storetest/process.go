package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

// task is what another process of this test binary does with a store.
type task struct {
	SQLite, Postgres string // a path or a DSN
	// KillAt ends the process by SIGKILL instead of its n-th statement; zero never.
	KillAt int
	// Mount, if set, is a folder on which a file system of two megabytes is mounted
	// before.
	Mount string
	// Once opens the store and no more.
	Once bool
}

const taskVariable = "AMBIT_STORETEST_TASK"

// Main runs the tests, or the part of another process in one: TestMain must call
// it.
func Main(m *testing.M) {
	var do task
	if err := json.Unmarshal([]byte(os.Getenv(taskVariable)), &do); err == nil {
		if err := do.run(os.Stdout, os.Stdin); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run opens the store and commits for ever, telling of each revision that it was
// given. A line of input stops it after an error, or lets it go on.
func (k task) run(out io.Writer, in io.Reader) error {
	ctx := context.Background()
	killer := &faults{left: k.KillAt, kill: true}
	if k.Mount != "" {
		if err := syscall.Mount("tmpfs", k.Mount, "tmpfs", 0, "size=2m"); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if err := os.WriteFile(k.Mount+"/filler", make([]byte, 1<<20), 0o600); err != nil {
			return err
		}
	}
	var db *sqlstore.DB
	var err error
	if k.SQLite != "" {
		db, err = sqlite.Open(ctx, k.SQLite, sqlite.Options{Wrap: killer.wrap})
	} else {
		db, err = postgres.Open(ctx, k.Postgres, postgres.Options{Wrap: killer.wrap})
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "open")
	if k.Once {
		return db.Close()
	}
	from, err := db.Newest(ctx)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for {
		c := store.Commit{
			Base: from.Revision, At: start, Events: []audit.Event{event("killed")},
			Run: func() store.Run { return applied("one") }, KeepRuns: keepAll,
		}
		for _, o := range everyKind("dev", fmt.Sprint("version ", from.Revision)) {
			c.Changes = append(c.Changes, access.Put(o))
		}
		for i := range 20 {
			c.Changes = append(c.Changes, access.Put(access.User{Environment: "dev", ID: access.UserID(fmt.Sprint(from.Revision, "-", i)), Name: strings.Repeat("x", 200)}))
		}
		done, err := db.Commit(ctx, c)
		if err != nil {
			newest, readErr := db.Newest(ctx)
			fmt.Fprintf(out, "refused after %d: %v\n", newest.Revision, errors.Join(err, readErr))
			if !lines.Scan() {
				return db.Close()
			}
			continue
		}
		from = done
		fmt.Fprintln(out, done.Revision)
	}
}

// other runs a task in another process.
func (k task) command(ctx context.Context, exe string) (*exec.Cmd, error) {
	what, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), taskVariable+"="+string(what))
	return cmd, nil
}

// Killed kills processes at one statement after the other, first while they make
// the schema and then while they commit, and holds the store to what they were
// answered (Rules REL-1, REL-2, REL-11).
func Killed(t *testing.T, p Place) {
	exe, err := os.Executable()
	require.NoError(t, err)
	// killed returns the lines that a process wrote before it was killed.
	killed := func(at int) []string {
		k := p.task()
		k.KillAt = at
		cmd, err := k.command(t.Context(), exe)
		require.NoError(t, err)
		out, err := cmd.Output()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s%s", out, exit.Stderr)
		return strings.Fields(string(out))
	}
	made := 0
	for ; ; made++ {
		if lines := killed(made + 1); len(lines) > 0 {
			break
		}
	}
	require.Greater(t, made, 5, "a schema has its statements")
	acknowledged := access.Revision(0)
	for n := 1; n <= 60; n++ {
		for _, line := range killed(n) {
			if rev, err := strconv.Atoi(line); err == nil {
				acknowledged = access.Revision(rev)
			}
		}
		db := p.Open(t, Options{})
		newest, err := db.Newest(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, newest.Revision, acknowledged, "what was answered is there")
		require.LessOrEqual(t, newest.Revision, acknowledged+1)
		acknowledged = newest.Revision
		_, err = db.Verify(t.Context(), nil)
		require.NoError(t, err)
		runs, err := db.Runs(t.Context(), store.RunQuery{})
		require.NoError(t, err)
		require.Len(t, runs, int(newest.Revision), "a commit has its run, and no other is there (Rule PLAN-7)")
		for i, run := range runs {
			require.Equal(t, newest.Revision-access.Revision(i), run.Revision)
		}
		require.NoError(t, db.Close())
	}
	require.Positive(t, acknowledged)
}

// Unwritable opens an SQLite store in a folder that this user must not write.
// Root may write everything, so that it asks a process without its rights.
func Unwritable(t *testing.T, path string) string {
	exe, err := os.Executable()
	require.NoError(t, err)
	k := task{SQLite: path, Once: true}
	if os.Getuid() == 0 {
		// The test binary lies in a folder of root's.
		dir, err := os.MkdirTemp("", "ambit-exe-")
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		require.NoError(t, os.Chmod(dir, 0o755))
		b, err := os.ReadFile(exe)
		require.NoError(t, err)
		exe = dir + "/test"
		require.NoError(t, os.WriteFile(exe, b, 0o755))
	}
	cmd, err := k.command(t.Context(), exe)
	require.NoError(t, err)
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	require.Error(t, err, "%s", out)
	return string(out)
}

// FullDisk fills a real file system with an SQLite store and frees some space
// again: the store must say what is wrong, keep what it has and go on without a
// restart (Rule REL-7). The file system is in a namespace of the process's own.
func FullDisk(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	k := task{SQLite: dir + "/ambit.db", Mount: dir}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, err := k.command(ctx, exe)
	require.NoError(t, err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	last, refusals := 0, 0
	for lines.Scan() {
		rev, err := strconv.Atoi(lines.Text())
		switch {
		case err == nil:
			require.Equal(t, last+1, rev)
			if last = rev; refusals == 2 {
				// It went on. That is all.
				require.NoError(t, stdin.Close())
				refusals = math.MinInt
			}
		case lines.Text() == "open":
		default:
			require.Contains(t, lines.Text(), fmt.Sprintf("refused after %d:", last))
			require.Contains(t, lines.Text(), store.ErrReadOnly.Error())
			require.Contains(t, lines.Text(), "the disk is full; free some space")
			refusals++
			if refusals == 2 {
				// From outside of its namespace, by way of /proc.
				require.NoError(t, os.Remove(fmt.Sprintf("/proc/%d/root%s/filler", cmd.Process.Pid, dir)))
			}
			_, err := io.WriteString(stdin, "again\n")
			if refusals > 0 {
				require.NoError(t, err)
			}
		}
	}
	require.NoError(t, lines.Err())
	require.NoError(t, cmd.Wait())
	require.Negative(t, refusals, "it never went on after the space was freed")
	require.Positive(t, last)
}
