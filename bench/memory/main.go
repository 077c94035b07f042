// Command memory measures how much memory the reading of a directory takes above
// what a daemon at rest has anyway, its mirror and its state: of the connector by
// itself, and of a round that reads everything again, which is what happens when a
// rule begins to name another attribute. The directory is on slapd, Ambit's store on
// disk. It writes a section of docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/bench/bed"
	"github.com/ambit-iam/ambit/bench/page"
	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store/sqlite"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func main() {
	people := flag.Int("people", 50_000, "how large a company to read; a tenth as many groups, four memberships each; then one of ten times the size")
	to := flag.String("to", "docs/benchmarks.md", "the page to write; - for the standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *people, *to); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, people int, to string) error {
	var of [2]result
	for i, n := range []int{people, 10 * people} {
		var err error
		if of[i], err = measure(ctx, n); err != nil {
			return err
		}
	}
	return page.Write(to, render(of[0], of[1]))
}

// result is how much was live, in bytes.
type result struct {
	entries, memberships int

	connector float64 // above a process that has done nothing
	idle      float64 // a daemon at rest after the first sync
	round     float64 // above it, while all is read again
}

const (
	modelFile = `
environments:
  crm:
    tables: {account: {name: Account}}
    roles: {Member: {privileges: {account: {read: organization}}}}
    business_units: {Company: {}}
`
	rules = `
environments: {crm: {}}
rules:
  - name: people
    match: {source: corp, users: 'user.userName != ""'}
    user: {environment: crm, business_unit: Company, manager: '{{ user.manager }}'}
  - name: teams
    match: {source: corp, group: 'team-*'}
    team: {environment: crm, business_unit: Company, roles: [Member]}
`
)

func measure(ctx context.Context, people int) (_ result, err error) {
	b := bed.New(ctx)
	defer b.Clean()
	var server *rig.Slapd
	if err := b.Try(func() { server = rig.StartSlapd(b, company.Large(people).WriteLDIF) }); err != nil {
		return result{}, err
	}
	dir, err := os.MkdirTemp("", "ambit-bench-")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(server.Password), 0o600); err != nil {
		return result{}, err
	}
	reader, err := ldap.New(ldap.Config{
		Server: ldap.Server{URL: server.TLSURL, CAFile: server.CAFile, BindDN: server.BindDN, Password: secret.Ref("file:" + password)},
		Users:  ldap.Users{Base: "ou=people,dc=example,dc=com"}, Groups: ldap.Groups{Base: "ou=groups,dc=example,dc=com"},
	})
	if err != nil {
		return result{}, err
	}
	var out result
	fmt.Fprintf(os.Stderr, "%d people: the connector alone\n", people)
	before := settled()
	most := watch()
	err = reader.Read(ctx, directory.Start{}, func(directory.Mode) error { return nil }, func(directory.Page) error { return nil })
	out.connector = most() - before
	if err != nil {
		return result{}, err
	}
	return out, out.sync(ctx, filepath.Join(dir, "ambit.db"), reader)
}

// sync synchronizes once, and measures a round that reads all of it once more.
func (r *result) sync(ctx context.Context, path string, reader directory.Reader) (err error) {
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	held, err := tenant.Open(ctx, db, tenant.Options{})
	if err != nil {
		return err
	}
	config := dirsync.Config{Sources: []dirsync.Source{{ID: "corp", Reader: reader}}}
	if config.Model, err = model.Parse("model.yaml", []byte(modelFile)); err != nil {
		return err
	}
	if config.Rules, err = bed.Compile(held, config.Model, rules); err != nil {
		return err
	}
	syncer := dirsync.New(db, held, config, dirsync.SyncerOptions{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if _, err := syncer.Sync(ctx, dirsync.Options{}); err != nil {
		return err
	}
	r.idle = settled()
	if config.Rules, err = bed.Compile(held, config.Model, strings.ReplaceAll(rules, `user.userName != ""`, `user.userName != "" && user.title != "none"`)); err != nil {
		return err
	}
	syncer.Replace(config) // which forgets what the rules want
	before := settled()
	most := watch()
	report, err := syncer.Sync(ctx, dirsync.Options{Progress: func(p dirsync.Progress) {
		if p.Done {
			r.round = most() - before
		}
	}})
	if err != nil {
		return err
	}
	read := report.Sources[0]
	if r.entries, r.memberships = read.Objects, read.Edges; read.Mode != directory.Full || r.entries == 0 {
		return fmt.Errorf("the second round was %s and read %d entries, where all should have been read again", read.Mode, r.entries)
	}
	return nil
}

// live is what the last collection found live, in bytes.
func live() float64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64())
}

// settled is what is live of a process at rest.
func settled() float64 {
	runtime.GC()
	runtime.GC() // for what only a finalizer held
	return live()
}

// step is how much is allocated, in bytes, from one look at what is live to the next.
const step = 8 << 20

// watch looks at what is live until it is asked for the most that it has seen.
func watch() (most func() float64) {
	restore := debug.SetGCPercent(max(1, int(100*step/live())))
	stop, seen := make(chan struct{}), make(chan float64)
	go func() {
		var top float64
		for {
			select {
			case <-stop:
				seen <- max(top, live())
				return
			case <-time.After(time.Millisecond):
				top = max(top, live())
			}
		}
	}()
	return func() float64 {
		close(stop)
		debug.SetGCPercent(restore)
		return <-seen
	}
}

func render(once, ten result) string {
	command := "make bench-memory"
	if len(os.Args) > 1 {
		command = "bin/bench-memory " + strings.Join(os.Args[1:], " ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `## Memory of reading a directory

%s The most that was live while slapd's directory was read, above what
was live before, at looks that lie 8 MB of allocations apart, or a hundredth of what is live where that is more. A daemon at rest has its mirror, its
state, the engine's snapshot and what the rules want in memory, which grow with the directory; reading it must not.

| | %d entries, %d memberships | %d, %d | Ratio | Goal | |
|---|---:|---:|---:|---|---|
`, page.Measured(command), once.entries, once.memberships, ten.entries, ten.memberships)
	mb := func(bytes float64) string { return fmt.Sprintf("%.1f MB", bytes/1e6) }
	row := func(what string, once, ten float64, goal, verdict string) {
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s | %s |\n", what, mb(once), mb(ten), ten/once, goal, verdict)
	}
	met := func(ok bool) string { return map[bool]string{true: "met", false: "**missed**"}[ok] }
	row("The connector alone", once.connector, ten.connector, "", "")
	row("A round that reads all of it again: connector and synchronization", once.round, ten.round, "at most 64 MB, and 1.2 × for ten times the directory",
		met(max(once.round, ten.round) <= 64e6 && ten.round <= 1.2*once.round))
	row("A daemon at rest", once.idle, ten.idle, "", "")
	return b.String()
}
