// Command peers asks Ambit, five other engines and two databases the same
// questions about the same organisation, all in this process but for PostgreSQL,
// checks that they agree, and writes how long they take as multiples of Ambit's
// time to docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/bench/bed"
	"github.com/ambit-iam/ambit/bench/page"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// peer is one that answers.
type peer interface {
	load(context.Context, *organisation) error
	check(context.Context, question) (bool, error)
	close() error
}

// contestant is a peer with what is said of it.
type contestant struct {
	name string
	make func() peer
	// most is the largest number of users that it is asked about; more would take
	// it minutes or gigabytes.
	most int
}

func contestants(postgres func() string) []contestant {
	return []contestant{
		{"Casbin 2", func() peer { return &casbinPeer{} }, 10_000},
		{"cedar-go", func() peer { return &cedarGo{} }, 100_000},
		{"OPA (Rego)", func() peer { return &opa{} }, 100_000},
		{"OpenFGA, store in memory", func() peer { return &openFGA{memory: true} }, 500},
		{"OpenFGA, SQLite", func() peer { return &openFGA{} }, 10_000},
		{"SpiceDB, store in memory", func() peer { return &spiceDB{} }, 10_000},
		{"SQL query, SQLite", func() peer { return &sqlQuery{} }, 100_000},
		{"SQL query, PostgreSQL", func() peer { return &sqlQuery{postgres: postgres()} }, 100_000},
	}
}

func main() {
	to := flag.String("to", "docs/benchmarks.md", "the page to write; - for the standard output")
	sizes := flag.String("sizes", "500,10000,100000", "numbers of users, each asked of those that stand it")
	only := flag.String("only", "", "ask only those whose names have this in them")
	budget := flag.Duration("budget", 4*time.Second, "how long each is asked at each size")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *to, *sizes, *only, *budget); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, to, sizes, only string, budget time.Duration) error {
	b := bed.New(ctx)
	defer b.Clean()
	var lines []line
	for _, text := range strings.Split(sizes, ",") {
		var users int
		if _, err := fmt.Sscan(text, &users); err != nil {
			return fmt.Errorf("size %q: %w", text, err)
		}
		o := newOrganisation(users)
		fmt.Fprintln(os.Stderr, o)
		for _, c := range contestants(func() string { return rig.Database(b) + " sslmode=disable" }) {
			if users > c.most || !strings.Contains(c.name, only) {
				continue
			}
			var l line
			var err error
			if failed := b.Try(func() { l, err = compare(ctx, c, o, budget) }); failed != nil || err != nil {
				return fmt.Errorf("%s at %d users: %w", c.name, users, errors.Join(failed, err))
			}
			fmt.Fprintf(os.Stderr, "  %s: loaded in %s; median %s, p99 %s; Ambit %s; %.0f%% allowed\n", c.name, l.loaded, l.took.median, l.took.p99, l.ambit.median, 100*l.allowed)
			lines = append(lines, l)
		}
	}
	return page.Write(to, render(lines))
}

// line is one peer at one size, with Ambit beside it.
type line struct {
	name        string
	o           *organisation
	loaded      time.Duration
	memory      float64 // MB that the Go heap grew by
	took, ambit timing
	asked       int
	allowed     float64
}

// timing is how long a question takes.
type timing struct{ median, p99 time.Duration }

// compare loads both, asks both the same, and times them in turns.
func compare(ctx context.Context, c contestant, o *organisation, budget time.Duration) (l line, err error) {
	l = line{name: c.name, o: o}
	mine, theirs := &ambit{}, c.make()
	if err := mine.load(ctx, o); err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, theirs.close()) }()
	before, began := heap(), time.Now()
	if err := theirs.load(ctx, o); err != nil {
		return l, err
	}
	l.loaded, l.memory = time.Since(began).Round(10*time.Millisecond), (heap()-before)/1e6
	questions := o.questions(20_000)
	// They must agree before they are timed. One that is slow is asked less.
	allowed, deadline := 0, time.Now().Add(2*budget)
	for n, q := range questions {
		want, err := mine.check(ctx, q)
		if err != nil {
			return l, err
		}
		got, err := theirs.check(ctx, q)
		if err != nil {
			return l, fmt.Errorf("question %+v: %w", q, err)
		}
		if got != want {
			return l, fmt.Errorf("question %+v about %+v: Ambit says %t, %s says %t", q, o.records[q.record], want, c.name, got)
		}
		if want {
			allowed++
		}
		if l.asked = n + 1; l.asked >= 200 && time.Now().After(deadline) {
			break
		}
	}
	l.allowed = float64(allowed) / float64(l.asked)
	l.took, l.ambit, err = inTurns(ctx, theirs, mine, questions[:l.asked], budget)
	return l, err
}

func heap() float64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// inTurns times both. A turn is as many questions as take some microseconds, so
// that the clock does not count, and a median is that of the turns.
func inTurns(ctx context.Context, a, b peer, questions []question, budget time.Duration) (timing, timing, error) {
	var times [2][]time.Duration
	next := [2]int{}
	batch := [2]int{1, 100}
	turn := func(i int, p peer) error {
		began := time.Now()
		for range batch[i] {
			q := questions[next[i]%len(questions)]
			next[i]++
			if _, err := p.check(ctx, q); err != nil {
				return err
			}
		}
		times[i] = append(times[i], time.Since(began)/time.Duration(batch[i]))
		return nil
	}
	for began := time.Now(); time.Since(began) < budget || len(times[0]) < 101; {
		if err := errors.Join(turn(0, a), turn(1, b)); err != nil {
			return timing{}, timing{}, err
		}
		if len(times[0]) == 100 && batch[0] == 1 { // now its speed is known
			if t := percentiles(times[0]).median; t < 20*time.Microsecond {
				batch[0] = int(20*time.Microsecond/max(t, 1)) + 1
				times[0] = nil
			}
		}
	}
	return percentiles(times[0]), percentiles(times[1]), nil
}

func percentiles(all []time.Duration) timing {
	sorted := slices.Sorted(slices.Values(all))
	return timing{sorted[len(sorted)/2], sorted[len(sorted)*99/100]}
}

func render(lines []line) string {
	var b strings.Builder
	b.WriteString("## Beside other engines\n\n" + page.Measured("make bench-peers") + ` All in one process but for PostgreSQL; the same
organisation, and questions (may this user read or write this registered record?) to which all give the same answers, which the command
checks. Ambit is timed in turns with each, so that its data must come back to the processor's caches each time. A median is of turns of several questions where one is quicker than 20 µs; p99 is
over the same turns. Memory is what the Go heap grew by, without what the two databases keep outside it.

| Users | Engine | Loaded in | Memory | Check: median | p99 | Ambit: median | p99 | Median as multiple of Ambit's | Agreed on |
|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|
`)
	for _, l := range lines {
		memory := ""
		if l.memory >= 1 { // a peer before may have let go of its own only now
			memory = fmt.Sprintf("%.0f MB", l.memory)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %s | %s | **%.3g** | %d |\n", len(l.o.users), l.name, l.loaded, memory,
			l.took.median, l.took.p99, l.ambit.median, l.ambit.p99, float64(l.took.median)/float64(l.ambit.median), l.asked)
	}
	b.WriteString(modelled)
	return b.String()
}

// modelled says what each can express. It is said once, for the whole model, and
// not only for the part that is asked about.
const modelled = `
The part of the model that is asked about: a tree of business units, 20 roles over five tables with a depth for each privilege, held by
users and by teams at their units, Basic's ownership by user and by team with the members' inheritance setting (Rules ROLE-5 to ROLE-9),
disabled users and units, and shares with users, teams and everybody. How each of them says it, and what of the rest of the model it cannot:

| Engine | How it is said | What it cannot say, or only by work of the caller |
|---|---|---|
| Casbin | One line for each privilege of a role, and a chain user, team, role at unit, role; a matcher with a Go function for the units above | The facts of a record come with each question. Windows, hierarchy and column security are Go functions of the caller. No explanation but the line that matched; no list of who may; nothing is told from nothing wrong (an unknown user is a deny) |
| cedar-go | Entities for units, teams, users, records; seven policies for an action | What a user holds must be written out into the user's attributes, so that one change of a team's role rewrites all its members. No recursion over managers. Explains by policy, not by assignment; no list of who may, and a filter only by partial evaluation, which is experimental there |
| OPA | All of it in Rego, line by line | The tree's closure is written out beforehand (Rego's graph functions would do it for each question). Cost goes by the data that a rule walks through; a list of who may is a walk through all users |
| OpenFGA, SpiceDB | Usersets and tuple-to-userset for the tree, teams and ownership; privileges written out as relations to each unit | A depth in a role is not a relation: each holder's privileges are written out at the unit, so that one change of a role rewrites the lines of all holders, as does a disabled unit. Windows and bounds are conditions of each tuple. The distance of the hierarchy needs one relation for each level; until when an answer holds and what is missing cannot be asked. Their stores in memory walk through all holders of a role, or all tuples |
| SQL | All of it, as one query with recursive common table expressions | Explanations and the missing sets are other queries, to be written each |
`
