// Command bench measures what the design sets goals for, in one run on one
// machine, and writes docs/benchmarks.md. Times are compared with yardsticks that
// are measured beside them: B, an ldapsearch of the same data from the same
// slapd, and m, a lookup in a Go map of the same population.
//
// It runs the binary that `make build` made and the packages' own benchmarks; it
// has no measurement of their insides itself.
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

func main() {
	var o options
	parts := flag.String("parts", "sync,graph,load,change,check,filter,throttle", "what to measure, of these")
	flag.StringVar(&o.ambit, "ambit", "bin/ambit", "the binary to measure")
	flag.IntVar(&o.people, "people", 50_000, "how large a company to sync; a tenth as many groups, four memberships each")
	flag.IntVar(&o.runs, "runs", 3, "how often the sync and its yardstick are run; the median counts")
	to := flag.String("to", "docs/benchmarks.md", "the page to write; - for the standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, o, strings.Split(*parts, ","), *to); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	ambit  string
	people int
	runs   int
}

// line is one figure of the page.
type line struct {
	what, figure, ratio string
	// goal is what the ratio should be at most; zero: no goal is set.
	goal, got float64
}

func measure(ctx context.Context, o options, parts []string, to string) error {
	var lines []line
	for _, part := range parts {
		f, ok := map[string]func(context.Context, options) ([]line, error){
			"sync": measureSync, "graph": measureGraph, "load": measureLoad, "change": measureChange, "check": measureCheck, "filter": measureFilter,
			"throttle": measureThrottle,
		}[part]
		if !ok {
			return fmt.Errorf("unknown part %q", part)
		}
		fmt.Fprintln(os.Stderr, "measuring:", part)
		more, err := f(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		lines = append(lines, more...)
	}
	return page.Write(to, render(o, parts, lines))
}

// render writes the page.
func render(o options, parts []string, lines []line) string {
	var b strings.Builder
	command := "make bench"
	if len(os.Args) > 1 {
		command = "bin/bench " + strings.Join(os.Args[1:], " ")
	}
	fmt.Fprintf(&b, `# Benchmarks

%s Other machines give other seconds; the ratios
are what counts. Each is measured in one run with its yardstick: B is `+"`ldapsearch`"+` reading the same data in pages of 1000 from the same
slapd over TLS, m is one lookup in a Go map of the same population, of which there are two readings: both are shown. What runs as a whole process is run %d times, each beside its
yardstick, and the medians count; the rest are the packages' own benchmarks (`+"`go test -bench`"+`).

| What | Figure | Ratio | Goal | |
|---|---|---|---|---|
`, page.Measured(command), o.runs)
	missed := 0
	for _, l := range lines {
		goal, verdict := "", ""
		if l.goal > 0 {
			goal, verdict = fmt.Sprintf("at most %g", l.goal), "met"
			if l.got > l.goal {
				verdict = "**missed**"
				missed++
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", l.what, l.figure, l.ratio, goal, verdict)
	}
	if missed > 0 {
		fmt.Fprintf(&b, "\n%d of the goals %s missed.\n", missed, map[bool]string{true: "is", false: "are"}[missed == 1])
	}
	if slices.Contains(parts, "sync") {
		fmt.Fprintf(&b, `
The company is generated from a seed (`+"`testdata/company`"+`): %d people, %d groups of 40 members, %d memberships, %d business units. A
full sync is timed from the start of the process, with an empty SQLite store, to the first question that the socket answers with
"allowed": reading and mirroring, the rules, the plan with its guards and digest, the commit with its audit event, the snapshot.

Of the live heap near its largest (355 MB), by the profile of one such sync on 2026-11-24, about half is the plan of the first sync
(what the rules want, the changes, their digest), a fifth what the changes expand to, an eighth the directory's mirror; the rest was not
told apart. The collector lets the heap double before it runs (GOGC=100), which fits the rest of what is resident.

Of the processors' time of such a sync, by hand and by no command that is kept: the profiles of three on 2026-11-25 on a machine that was busy with other things (7.6 s, where
it had been 8.9 s that morning):

| What | Seconds | The least that it could be |
|---|---|---|
| Reading LDAP and decoding it, without what slapd itself takes (0.5) | 0.3 | |
| The mirror in memory | 0.6 | a look-up for each name and each end of a membership |
| Its rows, page by page with the cursor | 1.0 | 0.25: SQLite alone copies the same rows from another file, in their order and in one transaction |
| What the rules want | 0.8 | |
| The plan: comparing, completing, validating, judging | 0.65 | |
| Its digest, and that of the audit event | 0.55 | 0.4: SHA-256 and the texts of 260,000 changes |
| Its rows, in order and in one transaction, and putting the log back | 1.5 | 0.67: SQLite alone, as above |
| The state and the snapshot | 0.75 | |
| Collecting garbage | 0.9 | with twice the memory, half |

SQLite alone takes 0.9 s (its C library, from the command line: 0.74 s), so that with slapd's 0.5 s and the decoding 1.7 s are spent before Ambit
does anything: 1.5 B on two cores. The rest is Ambit's own 260,000 objects, each of which is now made, compared, judged, hashed twice, written, put into the
state and compiled once; 3 B would leave 1.7 s for that, which takes 6.4 s.
`, o.people, o.people/10, o.people*4, 200)
	}
	return b.String()
}
