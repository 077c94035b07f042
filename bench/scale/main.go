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

Four answers out of five that Check does not allow cannot stop early: nothing gives access, so that all that could must have been looked at. Nearly all
of the time is waiting for memory that no cache holds, line by line (64 bytes). Such a denial touches at least

| Round | Lines | Of | Where they are |
|---|---|---|---|
| 1 | four places in indexes | the ids of user, owner, record and unit | 72 MB: memory, but for the unit's |
| 2 | two of the user, one of the owner, one of the record if it is shared, one of the unit | 128 MB of users, 320 MB of shares | memory, but for the unit's |
| 3 | nine teams, two to a line: the user's eight and the unit's | 2 MB | the cache of all cores |
| 4 | the units of some thirteen roles | 160 KB | the cache of one core |

A round needs what the one before it read; within one everything is asked for at once, and the processor waits for eight lines about as long
as for one. So the floor is two lines from memory in turn, two from caches, and some 400 ns of reckoning: four hashes, four
comparisons of ids, thirteen roles. What is above it: leaders' reports are looked through; windows lie apart from the rows, and are judged a
second time for when the answer ends; the lists of the arrays' parts, which let a change copy only what it touches, are read before each row
and are too large for one core's cache; and an id whose place in the index is taken twice has another's row looked at first.

A lookup in the map waits for its lines in turn as well: the table's, the place's, the key's, the row's, and the kernel's tables of the pages
where these lie. Timed by itself, as a question of a program that does other things in between is, it takes what the first rows say. Of lookups and
nothing else the processor has three or four in hand at once, since each is short; a question is too long for that, and takes as long among others
as by itself. So as rates, questions are further from lookups than as times: both are above.

What was done, measured in turns with the state before it, in one process of 200,000 users, on a machine that was busy with other things:
rows begin where a line begins, −4 %; all ids are looked up at once, teams and units by an index as users instead of a map with two
more pointers on the way, and the teams' rows asked for with the owner's and the shares', −6 to −28 %; rows and indexes lie in large arrays that Linux may
lay into pages of two megabytes, so that no line is waited for twice, once for the tables of the pages, −14 to −47 %; parts of twice the size, whose lists
are half as long, −4 to −36 %, for which a change of a membership costs a tenth more.
`

// holds is the argument for what memory is held.
const holds = `
### What holds the memory

| | What holds it, in bytes | The least that it could be |
|---|---|---|
| A user with one role | Two lines that Check reads, 128, and 8 in the index; what else is known of the user, 450; the texts, 115; the role's assignment, 270, found by its id, 50 to 75; the orders by id, manager, team and role, 60; lists of one, 20; a twentieth of a team and its roles and a hundredth of a unit, 60 | The texts, 115, and 40 fields and numbers at 8: some 450, if nothing were kept ready for questions |
| A membership | The team at the user, 4; the user at the team, 8, in pages nearly full; its origin, a pointer to what the whole group shares, 8 | Both directions, since both are asked for, and the origin: three numbers, 12 |
| A share | Half of the record's line, 32, with half the id, 18, the principal and the rights; the place in the index, 7; the other direction, 12; windows of one in a hundred, 2 | Half the id, principal, rights and the other direction: 18 + 6 + 8 = 32 |

An id that is said again, of a manager, a unit, a role or the directory's object, is kept once: 220 bytes a user before that.
`
