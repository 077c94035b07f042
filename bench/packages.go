package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// result is what a benchmark reported: its metrics by their unit.
type result map[string]float64

// benchmarks runs a package's benchmarks and reads what they report, by their
// names without the number of processors.
func benchmarks(ctx context.Context, pkg, pattern string, args ...string) (map[string]result, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-run", "^$", "-bench", pattern, "-benchmem", "-timeout", "30m", pkg}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	all := map[string]result{}
	for text := range strings.Lines(string(out)) {
		words := strings.Fields(text)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := words[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		r := result{}
		for i := 2; i+1 < len(words); i += 2 {
			if r[words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return nil, fmt.Errorf("%s: %w", text, err)
			}
		}
		all[name] = r
	}
	return all, nil
}

// get is a metric that must be there.
func get(all map[string]result, name, unit string) (float64, error) {
	v, ok := all[name][unit]
	if !ok {
		return 0, fmt.Errorf("benchmark %s reported no %s", name, unit)
	}
	return v, nil
}

func duration(ns float64) time.Duration {
	d := time.Duration(ns)
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d
}

// measureLoad compares loading a snapshot from SQLite with reading its rows.
func measureLoad(ctx context.Context, _ options) ([]line, error) {
	all, err := benchmarks(ctx, "./store/sqlstore", "^BenchmarkLoad$/^sqlite$", "-benchtime", "5x")
	if err != nil {
		return nil, err
	}
	state, err1 := get(all, "BenchmarkLoad/sqlite/state", "ns/op")
	rows, err2 := get(all, "BenchmarkLoad/sqlite/yardstick", "ns/op")
	made, err3 := benchmarks(ctx, "./engine", "^BenchmarkNew$", "-benchtime", "5x")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	index, err := get(made, "BenchmarkNew", "ns/op")
	if err != nil {
		return nil, err
	}
	return []line{
		{what: "Reading 50,000 users and 200,000 memberships from SQLite with database/sql", figure: duration(rows).String()},
		{what: "Loading them as state", figure: duration(state).String(), ratio: fmt.Sprintf("%.2f × database/sql", state/rows)},
		{
			what: "The same and, measured by itself on an organisation of that size, the engine's snapshot", figure: duration(state + index).String(),
			ratio: fmt.Sprintf("%.2f × database/sql", (state+index)/rows), goal: 3, got: (state + index) / rows,
		},
	}, nil
}

// measureChange compares one membership's way in a small and a large organisation.
func measureChange(ctx context.Context, _ options) ([]line, error) {
	const name = "BenchmarkSync_one_membership"
	const large = "BenchmarkSync_member_of_a_large_group"
	all, err := benchmarks(ctx, "./sync", "^("+name+"|"+large+")$", "-benchtime", "300x")
	if err != nil {
		return nil, err
	}
	a, err1 := get(all, name, "µs-at-5000")
	b, err2 := get(all, name, "µs-at-50000")
	engine, err3 := benchmarks(ctx, "./engine", "^BenchmarkApplyMembership$", "-benchtime", "5x")
	of5, err4 := get(all, large, "µs-of-5")
	of50000, err5 := get(all, large, "µs-of-50000")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	c, err1 := get(engine, "BenchmarkApplyMembership", "ns/5000")
	d, err2 := get(engine, "BenchmarkApplyMembership", "ns/50000")
	return []line{
		{what: "One membership from the source's page to the engine's snapshot, with its commits to disk: 5,000 users", figure: duration(a * 1000).String()},
		{what: "… 50,000 users", figure: duration(b * 1000).String(), ratio: fmt.Sprintf("%.2f × 5,000", b/a), goal: 1.5, got: b / a},
		{what: "One member who comes or goes, from the source's page to the commit, in a group of 5", figure: duration(of5 * 1000).String()},
		{what: "… of 50,000", figure: duration(of50000 * 1000).String(), ratio: fmt.Sprintf("%.2f × of 5", of50000/of5), goal: 2, got: of50000 / of5},
		{what: "Of a membership's way, applying it to the snapshot and the next check: 5,000 users", figure: duration(c).String()},
		{what: "… 50,000 users", figure: duration(d).String(), ratio: fmt.Sprintf("%.2f × 5,000", d/c)},
	}, errors.Join(err1, err2)
}

// measureCheck compares a question with a lookup in a map.
func measureCheck(ctx context.Context, _ options) ([]line, error) {
	all, err := benchmarks(ctx, "./engine", "^BenchmarkCheck$")
	if err != nil {
		return nil, err
	}
	m, err1 := get(all, "BenchmarkCheck", "m")
	ids, err2 := get(all, "BenchmarkCheck", "ids")
	question, err3 := get(all, "BenchmarkCheck", "ns/question")
	lookup, err4 := get(all, "BenchmarkCheck", "ns/lookup")
	allocations, err5 := get(all, "BenchmarkCheck", "allocs/op")
	return []line{
		{what: "m: one lookup of a user's row in a Go map of 50,000 users", figure: fmt.Sprintf("%.0f ns", lookup)},
		{
			what: "One check at 50,000 users, 2,000 teams, 200 business units, 20 roles", figure: fmt.Sprintf("%.0f ns, %.0f allocations", question, allocations),
			ratio: fmt.Sprintf("%.2f m", m), goal: 5, got: m,
		},
		{
			what: "The same, if m is a lookup in the smallest map of the users there is, from their ids to a number", figure: fmt.Sprintf("m is %.0f ns", question/ids),
			ratio: fmt.Sprintf("%.2f m", ids), goal: 5, got: ids,
		},
	}, errors.Join(err1, err2, err3, err4, err5)
}

// measureFilter compares the queries with a filter's condition with those that
// somebody would write by hand for the same rows.
func measureFilter(ctx context.Context, _ options) ([]line, error) {
	all, err := benchmarks(ctx, "github.com/ambit-iam/ambit/bench", "^BenchmarkFilterQuery$", "-benchtime", "1x")
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, on := range [][2]string{{"SQLite", "sqlite"}, {"PostgreSQL", "postgres"}} {
		most, err := get(all, "BenchmarkFilterQuery/"+on[1], "by-hand")
		if err != nil {
			return nil, err
		}
		lines = append(lines, line{
			what:  "Of a million records, those that a user may read, all and the first fifty, by a filter's query on " + on[0] + ": the slowest of seven users, one of them in 1,000 teams and with 7,500 of 10,000 units",
			ratio: fmt.Sprintf("%.2f × by hand", most), goal: 1.5, got: most,
		})
	}
	return lines, nil
}

// measureThrottle compares reading Graph while it refuses with reading it in peace
// and the waits that it imposed.
func measureThrottle(ctx context.Context, _ options) ([]line, error) {
	all, err := benchmarks(ctx, "./connectors/entra", "^BenchmarkThrottled$", "-benchtime", "3x")
	if err != nil {
		return nil, err
	}
	const name = "BenchmarkThrottled"
	clean, err1 := get(all, name, "s-clean")
	imposed, err2 := get(all, name, "s-imposed")
	throttled, err3 := get(all, name, "s-throttled")
	ratio, err4 := get(all, name, "ratio")
	return []line{
		{what: "Full read of 1,000 users from the Graph-compatible server in pages of ten, undisturbed", figure: fmt.Sprintf("%.2fs", clean)},
		{
			what:   fmt.Sprintf("The same under a bucket of 500 resource units and refusals at random, which impose waits of %.2fs; no request comes before they are over", imposed),
			figure: fmt.Sprintf("%.2fs", throttled), ratio: fmt.Sprintf("%.3f × undisturbed and waits", ratio), goal: 1.1, got: ratio,
		},
	}, errors.Join(err1, err2, err3, err4)
}
