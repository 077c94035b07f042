// Command scale measures the engine in an organisation of a million users with
// all rules on, beside a lookup in a Go map of the same users and beside an
// organisation of a hundredth of the size, and writes a section of
// docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/bench/page"
)

type options struct {
	users, small, stored int
}

func main() {
	var o options
	to := flag.String("to", "docs/benchmarks.md", "the page to write; - for the standard output")
	parts := flag.String("parts", "memory,check,readers,lists,apply,load", "what to measure, of these")
	flag.IntVar(&o.users, "users", 1_000_000, "how large the organisation is")
	flag.IntVar(&o.small, "small", 10_000, "how large the one is that changes are compared with")
	flag.IntVar(&o.stored, "stored", 1_000_000, "how large the one is that is loaded from a store; a million takes some minutes and 5 GB in the folder for temporary files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, strings.Split(*parts, ","), *to); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// line is one figure of the page.
type line struct {
	what, figure, ratio string
	// goal is what got should be at most, or, with atLeast, at least; zero: no goal.
	goal, got float64
	atLeast   bool
}

func run(ctx context.Context, o options, parts []string, to string) error {
	m := &measurement{options: o, company: company{users: o.users}}
	var lines []line
	for _, p := range []struct {
		name    string
		measure func(context.Context) ([]line, error)
	}{{"memory", m.memory}, {"check", m.check}, {"readers", m.readers}, {"lists", m.lists}, {"apply", m.apply}, {"load", m.load}} {
		if !slices.Contains(parts, p.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring:", p.name)
		more, err := p.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for _, l := range more {
			fmt.Fprintf(os.Stderr, "  %s: %s %s\n", l.what, l.figure, l.ratio)
		}
		lines = append(lines, more...)
	}
	return page.Write(to, render(m.company, lines))
}

func render(c company, lines []line) string {
	var b strings.Builder
	fmt.Fprintf(&b, `## A million users

%s %d users, %d teams, %d business units, %d memberships, %d shares of %d records; matrix business units, the manager hierarchy three deep,
licences and an environment security group, secured columns, windows on a twentieth of the users' roles and a hundredth of the shares.
Questions are about records picked at random, a half of them shared; in turn by anyone, the owner, one of the record's unit, and one with
whom it is shared.

| What | Figure | Ratio | Goal | |
|---|---|---|---|---|
`, page.Measured("make bench-scale"), c.users, c.teams(), c.units(), memberships*c.users, c.shares(), c.records()/2)
	missed := 0
	for _, l := range lines {
		goal, verdict := "", ""
		if l.goal > 0 {
			goal, verdict = fmt.Sprintf("at most %g", l.goal), "met"
			if l.atLeast {
				goal = fmt.Sprintf("at least %g", l.goal)
			}
			if l.got > l.goal != l.atLeast && l.got != l.goal {
				verdict = "**missed**"
				missed++
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", l.what, l.figure, l.ratio, goal, verdict)
	}
	if missed > 0 {
		fmt.Fprintf(&b, "\n%d missed.\n", missed)
	}
	b.WriteString(waits + holds)
	return b.String()
}

// waits is the argument for what a question costs at least.
const waits = `
### What a question waits for

Four answers out of five that Check gives here cannot stop early: nothing gives access, so that all that could must have been looked at. Almost all
of the time is waiting for memory that no cache holds, line by line (64 bytes). A denial touches at least

| Round | Lines | Of | Where they are |
|---|---|---|---|
| 1 | four places in indexes | the ids of user, owner, record and unit | 64 + 8 MB: memory; the units' in the cache |
| 2 | two of the user, one of the owner, one of the record if it is shared at all, one of the unit | 128 MB of users, 320 MB of shares | memory |
| 3 | nine teams, two to a line: the user's eight and the unit's | 2 MB | the cache of all cores |
| 4 | the units of some thirteen roles | 160 KB | the cache of the core |

Each round needs what the one before it read, and within one everything is asked for at once: the processor waits for eight lines about as long
as for one. So the floor is two lines from memory one after the other, two from caches, and some 400 ns of reckoning (three hashes, three
comparisons of ids, thirteen roles). m, too, waits for memory about twice in turn: its table, then the row.
For a quarter of the questions there is more to wait for: a leader's reports are looked through, windows lie apart from the rows and are judged a
second time for when the answer ends, and an id whose place in the index is taken twice has a row looked at that is another's.

What brought it there, each measured in turns with the state before it, in one process of 200,000 users on a busy machine:
rows that begin at a cache line −4 %; all four ids looked up at once, teams and units in the same kind of index as users instead
of a map with two more pointers on the way, the teams' rows asked for together with the owner's and the shares' −28 %; rows and indexes in large
arrays that Linux may lay into pages of two megabytes, so that a line is not waited for twice, once for the page tables, −14 to −47 %.
`

// holds is the argument for what memory is held.
const holds = `
### What holds the memory

| | What holds it | The least that it could be |
|---|---|---|
| A user with one role | Two cache lines that Check reads (128 bytes) and 8 to 16 in the index; what else is known of the user, 440; the texts, 110; the role's assignment with its id, 290, found by id, 70; the orders by id, by manager, by team and by role, 65; a twentieth team and a hundredth unit, 60 | What the objects say is 62 words and texts of 110 bytes: some 600 |
| A membership | The team at the user, 4 bytes; the user at the team, 8, in pages nearly full; where it comes from, a pointer to what all of the group share, 8 | Both directions, since both are asked for, and the origin: 3 numbers, 12 |
| A share | Half of the record's cache line, 32 bytes, which has its id, 18, both rights and the principal; the place in the index, 7; the other direction, 12; one in a hundred has a window, 2 | The id's half, the principal, the rights and the other direction: 18 + 6 + 8 = 32 |

What is said more than once, such as the id of a manager, a unit or a role, is held once.
`
