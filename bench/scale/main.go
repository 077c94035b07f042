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
	return b.String()
}
