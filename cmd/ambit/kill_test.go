package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// binary is the real `ambit`, built as its tests are, so that its largest parts
// are not compiled twice.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ambit-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ambit")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// place is a folder with a configuration, and how its store is opened.
type place struct {
	config   string
	database string // of PostgreSQL
	open     func(context.Context) (*sqlstore.DB, error)
	// wait returns when nothing of a killed process goes on.
	wait func(*testing.T)
}

// configure writes the configuration of testdata/company.
func configure(t *testing.T, dir, store string, server *ldaptest.Server) string {
	t.Helper()
	require.NoError(t, fill(dir, store, server))
	return filepath.Join(dir, "ambit.yaml")
}

// places makes copies of a store; from is a place at rest, or nil for an empty one.
type places func(t *testing.T, from *place, server *ldaptest.Server) *place

func sqlitePlace(t *testing.T, from *place, server *ldaptest.Server) *place {
	t.Helper()
	// Not the test's own folder: its name can be longer than a socket's may be.
	dir, err := os.MkdirTemp("", "ambit-kill-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	if from != nil {
		copyStore(t, filepath.Dir(from.config), dir)
	}
	return &place{
		config: configure(t, dir, "{sqlite: ambit.db}", server),
		// A copy is opened, so that what recovers the killed one is `ambit sync`.
		open: func(ctx context.Context) (*sqlstore.DB, error) {
			aside := t.TempDir()
			copyStore(t, dir, aside)
			return sqlite.Open(ctx, filepath.Join(aside, "ambit.db"), sqlite.Options{})
		},
		wait: func(*testing.T) {},
	}
}

func copyStore(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"ambit.db", "ambit.db-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, name), b, 0o600))
	}
}

func postgresPlace(t *testing.T, from *place, server *ldaptest.Server) *place {
	t.Helper()
	cluster := rig.Cluster(t)
	p := &place{database: "kill_" + strings.ToLower(rand.Text())}
	template := ""
	if from != nil {
		template = " TEMPLATE " + from.database
	}
	cluster.Exec(t, "CREATE DATABASE "+p.database+template)
	t.Cleanup(func() { cluster.Exec(t, "DROP DATABASE "+p.database+" WITH (FORCE)") })
	dir, dsn := t.TempDir(), cluster.DSN(p.database)+" sslmode=disable"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dsn"), []byte(dsn), 0o600))
	p.config = configure(t, dir, "{postgres: {dsn: 'file:"+filepath.Join(dir, "dsn")+"'}}", server)
	p.open = func(ctx context.Context) (*sqlstore.DB, error) { return postgres.Open(ctx, dsn, postgres.Options{}) }
	// The server notices a killed client when it next reads from it: until then a
	// commit that was under way goes on, and the dead process leads.
	p.wait = func(t *testing.T) {
		db, err := sql.Open("postgres", cluster.DSN("postgres")+" sslmode=disable")
		require.NoError(t, err)
		defer db.Close()
		require.Eventually(t, func() bool {
			n := -1
			err := db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", p.database).Scan(&n)
			return err == nil && n == 0
		}, time.Minute, 5*time.Millisecond, "sessions of a process that is gone")
	}
	return p
}

// rows is every live object of every environment, by kind and key, as JSON.
type rows map[string]string

func (p *place) dump(t *testing.T) rows {
	t.Helper()
	p.wait(t)
	db, err := p.open(t.Context())
	require.NoError(t, err)
	out := rows{}
	require.NoError(t, db.Load(t.Context(), 0, func(o access.Object) error {
		b, err := json.Marshal(o)
		out[fmt.Sprintf("%s/%s/%s", o.ObjectEnvironment(), o.ObjectKind(), o.ObjectKey())] = string(b)
		return err
	}))
	require.NoError(t, db.Close())
	return out
}

// bytes is the dump as one text.
func (r rows) bytes() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, "%s %s\n", key, r[key])
	}
	return b.String()
}

// same compares two dumps byte by byte, and shows only the rows that differ.
func same(t *testing.T, want, got rows, message string) {
	t.Helper()
	if want.bytes() == got.bytes() {
		return
	}
	var differ []string
	for key := range want {
		if got[key] != want[key] {
			differ = append(differ, fmt.Sprintf("%s\n  want %s\n  got  %s", key, want[key], got[key]))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			differ = append(differ, fmt.Sprintf("%s\n  want nothing\n  got  %s", key, got[key]))
		}
	}
	t.Fatalf("%s:\n%s", message, strings.Join(differ, "\n"))
}

// command runs a command to its end.
func (p *place) command(t *testing.T, args ...string) {
	t.Helper()
	ambit, err := binary()
	require.NoError(t, err)
	out, err := exec.Command(ambit, append([]string{"--config", p.config, "--quiet"}, args...)...).CombinedOutput()
	require.NoError(t, err, "ambit %s: %s", strings.Join(args, " "), out)
}

// serve runs the real daemon until stop says so, and kills it.
func (p *place) serve(t *testing.T, stop func(said *bufio.Reader)) {
	t.Helper()
	ambit, err := binary()
	require.NoError(t, err)
	daemon := exec.Command(ambit, "--config", p.config, "serve")
	said, err := daemon.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, daemon.Start())
	stop(bufio.NewReader(said))
	require.NoError(t, daemon.Process.Kill())
	_, _ = io.Copy(io.Discard, said) // to the end of a killed process
	err = daemon.Wait()
	require.ErrorContains(t, err, "killed", "the daemon ended by itself")
}

// until reads what the daemon says up to a line with the text.
func until(t *testing.T, said *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := said.ReadString('\n')
		require.NoError(t, err, "the daemon ended before it said %q: %s", text, line)
		if strings.Contains(line, text) {
			return
		}
	}
}

// undisturbed is how long the daemon takes from its start until it is ready, and
// from there until the sync is applied.
func (p *place) undisturbed(t *testing.T) (start, sync time.Duration) {
	t.Helper()
	began := time.Now()
	p.serve(t, func(said *bufio.Reader) {
		until(t, said, "msg=ready")
		start = time.Since(began)
		until(t, said, "plan applied")
		sync = time.Since(began) - start
	})
	return start, sync
}

func TestRule_REL_1_REL_2_REL_3_a_daemon_that_is_killed_in_a_sync_loses_and_removes_nothing(t *testing.T) {
	const points = 100 // in each store; every third in the very first sync
	staff := company.Small()
	start := func(c *company.Company) *ldaptest.Server {
		server, err := ldaptest.Start(t.TempDir(), c.Entries())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		return server
	}
	old, changed := start(staff), start(staff)
	change(staff, changed)
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)

	for name, make := range map[string]places{"SQLite": sqlitePlace, "PostgreSQL": postgresPlace} {
		t.Run(name, func(t *testing.T) {
			random := mathrand.New(mathrand.NewPCG(seed, uint64(len(name))))
			rest := make(t, nil, old)
			rest.command(t, "sync")
			before := rest.dump(t)

			// What an undisturbed run comes to, and how long it takes.
			type scenario struct {
				from          *place
				before, after rows
				start, sync   time.Duration
			}
			scenarios := []*scenario{{from: rest, before: before}, {}}
			for _, s := range scenarios {
				p := make(t, s.from, changed)
				p.command(t, "sync")
				s.after = p.dump(t)
				for range 3 {
					start, sync := make(t, s.from, changed).undisturbed(t)
					s.start, s.sync = max(s.start, start), max(s.sync, sync)
				}
			}
			same(t, scenarios[1].after, scenarios[0].after, "a change and a first sync come to the same")
			gone := maps.Clone(before)
			maps.DeleteFunc(gone, func(key, _ string) bool { _, stays := scenarios[0].after[key]; return stays })
			require.GreaterOrEqual(t, len(gone), 5, "what the change takes away")

			var asBefore, asAfter atomic.Int32
			t.Run("killed", func(t *testing.T) {
				for i := range points {
					s := scenarios[0]
					if i%3 == 2 {
						s = scenarios[1]
					}
					// Half of them at any time since the start, half since the sync's; two run
					// at a time, so that they take longer than one alone.
					what, span := "start", s.start+s.sync
					if i%2 == 0 {
						what, span = "ready", 2*s.sync
					}
					after := time.Duration(random.Float64() * float64(span))
					t.Run(fmt.Sprintf("%d, %s after %s", i, after, what), func(t *testing.T) {
						t.Parallel()
						p := make(t, s.from, changed)
						p.serve(t, func(said *bufio.Reader) {
							if what == "ready" {
								until(t, said, "msg=ready")
							}
							time.Sleep(after)
						})
						found := p.dump(t)
						for key, was := range s.before {
							if will, stays := s.after[key]; stays {
								require.Contains(t, []string{was, will}, found[key], "%s was neither before nor is it after", key)
							}
						}
						for key, is := range found {
							require.Contains(t, []string{s.before[key], s.after[key]}, is, key)
						}
						switch found.bytes() {
						case s.before.bytes():
							asBefore.Add(1)
						case s.after.bytes():
							asAfter.Add(1)
						}
						p.command(t, "sync")
						same(t, s.after, p.dump(t), "the next sync comes to what an undisturbed one does")
						p.command(t, "audit", "verify")
					})
				}
			})
			t.Logf("undisturbed, the start takes %s and the sync %s, a first one %s; of %d kills %d left the store as before, %d as after, %d between two commits",
				scenarios[0].start, scenarios[0].sync, scenarios[1].sync, points, asBefore.Load(), asAfter.Load(), points-asBefore.Load()-asAfter.Load())
			require.Positive(t, asBefore.Load(), "no kill was early enough")
			require.Positive(t, asAfter.Load(), "no kill was late enough")
		})
	}
}

// change does what a day does to a directory, within the guards: somebody comes,
// somebody goes, and a few move.
func change(c *company.Company, server *ldaptest.Server) {
	sales, leaver := c.Group(company.SalesFrance), c.Person(company.Leaver)
	server.RemoveMember(sales.DN(), leaver.DN())
	project := c.Group("project-01")
	byID := map[string]company.Person{}
	for _, p := range c.People {
		byID[p.ID] = p
	}
	for _, id := range project.Members[:2] {
		server.RemoveMember(project.DN(), byID[id].DN())
	}
	for _, uid := range []string{company.Approver, company.Auditor, company.Admin} {
		server.AddMember(c.Group("on-call").DN(), c.Person(uid).DN())
	}
	for _, p := range c.People[100:] {
		if p.Home != company.LDAP || !p.Enabled {
			continue
		}
		server.Remove(p.DN())
		for _, g := range c.Groups {
			if g.Home == company.LDAP && slices.Contains(g.Members, p.ID) {
				server.RemoveMember(g.DN(), p.DN())
			}
		}
		break
	}
	joiner := company.Person{
		ID: "0b5a4d5e-6f0c-4b6b-9a55-5f1f6a9f0001", UID: "new.joiner", Name: "New Joiner", Mail: "new.joiner@" + company.Domain, Kind: "staff",
		Department: "sales", Unit: "France", Number: "E90001", Enabled: true, Home: company.LDAP,
	}
	for _, e := range (&company.Company{People: []company.Person{joiner}}).Entries() {
		if e.DN == joiner.DN() {
			server.Add(e)
		}
	}
	server.AddMember(sales.DN(), joiner.DN())
}
