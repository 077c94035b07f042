// Command freshness measures how long it takes from a directory's acknowledgement
// of a change to the engine's changed answer: slapd is followed by content
// synchronisation, Samba's domain controller by its change notifications and DirSync,
// and a server that speaks as Microsoft Graph does by asking it every second.
// Ambit's store is SQLite on disk, and all share the machine. It writes a section of
// docs/benchmarks.md. It does not go over HTTP.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/bench/bed"
	"github.com/ambit-iam/ambit/bench/page"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store/sqlite"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func main() {
	var o options
	flag.StringVar(&o.source, "source", "ldap", "ldap, for slapd, ad, for Samba's domain controller, or graph, for a server that speaks as Graph does")
	flag.DurationVar(&o.lasts, "for", 10*time.Minute, "how long to change the directory")
	flag.IntVar(&o.rate, "rate", 0, "changes a second; 100 where it is absent")
	flag.IntVar(&o.people, "people", 0, "how many people the directory has; 5000 in slapd and Graph, 500 in Samba where it is absent")
	to := flag.String("to", "docs/benchmarks.md", "the page to write; - for the standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	at, ok := places[o.source]
	if !ok {
		fmt.Fprintf(os.Stderr, "freshness: -source %q is none of ldap, ad and graph\n", o.source)
		os.Exit(2)
	}
	o.rate, o.people = cmp.Or(o.rate, at.rate), cmp.Or(o.people, at.people)
	r, err := measure(ctx, o)
	err = errors.Join(err, rig.RemoveDomain())
	if err == nil {
		err = page.Write(*to, at.render(o, r))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "freshness:", err)
		os.Exit(1)
	}
}

type options struct {
	source string
	lasts  time.Duration
	rate   int
	people int
}

// result is what became of the changes.
type result struct {
	took []time.Duration // sorted
	lost int             // changes that were acknowledged and not answered with within the grace
	span time.Duration   // of the changes
}

// settling is how long rounds take to become what they are from then on.
const settling = 5 * time.Second

// grace is how long the last answers are waited for.
const grace = 20 * time.Second

const (
	groups = 10
	crm    = access.EnvironmentID("crm")

	modelFile = `
environments:
  crm:
    tables: {account: {name: Account}}
    roles: {Member: {privileges: {account: {read: organization}}}}
    business_units: {Company: {}}
`
	rules = `
environments: {crm: {}}
guards:
  remove_members: {max: 100000, max_share: 1}
  empty_team: 100000
  team_share: 1
rules:
  - name: people
    match: {source: corp, users: 'user.userName != ""'}
    user: {environment: crm, business_unit: Company}
  - name: teams
    match: {source: corp, group: 'team-*'}
    team: {environment: crm, business_unit: Company, roles: [Member]}
`
)

func measure(ctx context.Context, o options) (_ result, err error) {
	b := bed.New(ctx)
	defer b.Clean()
	var server *server
	if err := b.Try(func() { server, err = places[o.source].start(b, o) }); err != nil {
		return result{}, err
	}
	if err != nil {
		return result{}, err
	}
	dir, err := os.MkdirTemp("", "ambit-bench-")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(server.password), 0o600); err != nil {
		return result{}, err
	}
	db, err := sqlite.Open(ctx, filepath.Join(dir, "ambit.db"), sqlite.Options{})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	held, err := tenant.Open(ctx, db, tenant.Options{})
	if err != nil {
		return result{}, err
	}
	reader, err := server.reader(secret.Ref("file:" + password))
	if err != nil {
		return result{}, err
	}
	config, err := synchronized(held, reader, cmp.Or(places[o.source].interval, time.Hour))
	if err != nil {
		return result{}, err
	}
	syncer := dirsync.New(db, held, config, dirsync.SyncerOptions{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	running, stop := context.WithCancel(ctx)
	var loop sync.WaitGroup
	defer loop.Wait()
	defer stop()
	loop.Go(func() { _ = syncer.Run(running) }) // it returns nil
	people, err := everybody(ctx, held, server, o.people)
	if err != nil {
		return result{}, err
	}
	if err := server.settle(); err != nil {
		return result{}, err
	}
	time.Sleep(settling) // until the watch stands
	return change(ctx, o, server, held, people)
}

func synchronized(held *tenant.Tenant, reader directory.Reader, interval time.Duration) (dirsync.Config, error) {
	m, err := model.Parse("model.yaml", []byte(modelFile))
	if err != nil {
		return dirsync.Config{}, err
	}
	compiled, err := bed.Compile(held, m, rules)
	return dirsync.Config{Model: m, Rules: compiled, Sources: []dirsync.Source{{ID: "corp", Reader: reader, Interval: interval}}}, err
}

// everybody waits for the first sync and returns the people's ids.
func everybody(ctx context.Context, held *tenant.Tenant, at *server, count int) ([]access.UserID, error) {
	for {
		ids := make([]access.UserID, 0, count)
		err := held.Read(func(v tenant.View) error {
			state, err := v.State(crm)
			for n := 0; err == nil && n < count; n++ {
				if u, ok := state.UserByLogin(at.login(n)); ok {
					ids = append(ids, u.ID)
				}
			}
			return nil
		})
		if err != nil || len(ids) == count {
			return ids, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// waiting is a change that was acknowledged and is not answered with yet.
type waiting struct {
	user access.UserID
	in   bool
	at   time.Time
}

// change adds people to teams and takes them out, at the rate, and watches the
// engine's answers. Nobody is changed again before a change was answered with.
func change(ctx context.Context, o options, at *server, held *tenant.Tenant, people []access.UserID) (result, error) {
	writing, stop := context.WithTimeout(ctx, o.lasts)
	defer stop()
	free := make(chan int, len(people)) // who can be changed
	for n := range people {
		if n > 0 {
			free <- n
		}
	}
	told := make(chan waiting, len(people))
	in := make([]bool, len(people)) // of those who are in nobody's hands
	numbers := map[access.UserID]int{}
	for n, id := range people {
		numbers[id] = n
	}
	began := time.Now()
	var writers sync.WaitGroup
	errs := make(chan error, 1)
	ticks := time.NewTicker(time.Second / time.Duration(o.rate))
	defer ticks.Stop()
	for range 4 {
		admin, err := at.admin()
		if err != nil {
			return result{}, err
		}
		defer admin.Close()
		writers.Go(func() {
			for {
				select {
				case <-writing.Done():
					return
				case <-ticks.C:
				}
				var n int
				select {
				case <-writing.Done():
					return
				case n = <-free:
				}
				in[n] = !in[n]
				is := in[n]
				if err := admin.set(at.team(n%groups), at.person(n), is); err != nil {
					select {
					case errs <- fmt.Errorf("change the directory: %w", err):
					default: // the first says it
					}
					return
				}
				told <- waiting{people[n], is, time.Now()}
			}
		})
	}
	ended := make(chan struct{})
	go func() { // it ends with the writers, who end with the context
		writers.Wait()
		close(ended)
	}()
	var r result
	var open []waiting
	var last time.Time
	var seen *engine.Snapshot
	for {
		select {
		case err := <-errs:
			return result{}, err
		case w := <-told:
			open, seen = append(open, w), nil
			continue
		case <-ended:
			if last.IsZero() {
				last = time.Now()
				r.span = last.Sub(began)
			}
			if len(told) == 0 && (len(open) == 0 || time.Since(last) > grace) {
				r.lost = len(open)
				slices.Sort(r.took)
				return r, ctx.Err()
			}
			time.Sleep(100 * time.Microsecond)
		case <-time.After(100 * time.Microsecond):
		}
		snapshot, err := held.Snapshot(crm)
		if err != nil {
			return result{}, err
		}
		if snapshot == seen {
			continue
		}
		seen = snapshot
		now := time.Now()
		still := open[:0]
		for _, w := range open {
			d, err := snapshot.Check(engine.Question{User: w.user, Action: access.Read, Table: "account", At: held.Now()})
			if err != nil {
				return result{}, err
			}
			if d.Allowed != w.in {
				still = append(still, w)
				continue
			}
			r.took = append(r.took, now.Sub(w.at))
			free <- numbers[w.user]
		}
		open = still
	}
}

// share is the duration that such a share of all is not longer than.
func (r result) share(of float64) time.Duration {
	return r.took[min(len(r.took)-1, int(of*float64(len(r.took))))].Round(10 * time.Microsecond)
}

func (p place) render(o options, r result) string {
	command := "make bench-freshness"
	if len(os.Args) > 1 {
		command = "bin/bench-freshness " + strings.Join(os.Args[1:], " ")
	}
	if len(r.took) == 0 {
		return fmt.Sprintf("%s\n\n`%s`: nothing was answered with; %d changes were lost.\n", p.heading, command, r.lost)
	}
	verdict := "met"
	if r.share(0.99) > p.goal {
		verdict = "**missed**"
	}
	return fmt.Sprintf(`%s

%s From %s acknowledgement of a change to the engine's changed answer: memberships of %d people in %d teams, %d
changes a second asked for and %.0f made, for %s; %s; mirror and commit each go to an
SQLite file. The server, who changes it, and Ambit share the machine.

| Changes | Lost | p50 | p90 | p99 | Longest | Goal for p99 | |
|---:|---:|---:|---:|---:|---:|---:|---|
| %d | %d | %s | %s | %s | %s | %s | %s |
`, p.heading, page.Measured(command), p.whose, o.people, groups, o.rate, float64(len(r.took)+r.lost)/r.span.Seconds(), r.span.Round(time.Second), p.tells,
		len(r.took)+r.lost, r.lost, r.share(0.5), r.share(0.9), r.share(0.99), r.share(1), p.goal, verdict)
}
