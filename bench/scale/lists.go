package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// lists measures the answers that are lists: what explains an answer, who may do
// something, which records a user reaches.
func (m *measurement) lists(context.Context) ([]line, error) {
	s, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	a := m.company.ask(questions)
	const some = 500
	i, failed := 0, error(nil)
	next := func() engine.Question {
		i++
		return a.questions[i*61%questions]
	}
	times := inTurns(40, func() {
		for range some {
			if _, err := s.Check(next()); err != nil {
				failed = err
			}
		}
	}, func() {
		for range some {
			if _, err := s.Explain(next(), -1); err != nil {
				failed = err
			}
		}
	})
	if failed != nil {
		return nil, failed
	}
	check, explain := times[0]/some, times[1]/some
	missing, err := m.explainMissing(s, a)
	if err != nil {
		return nil, err
	}
	who, err := m.who(s, a)
	if err != nil {
		return nil, err
	}
	filter, err := m.filter(s)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]line{
		{what: "Check, of the same questions as Explain", figure: check.String()},
		ratio("Explain, without the missing sets of a denial", explain, "Check", check, 20),
		missing,
	}, who, filter), nil
}

// ratio is a line of a time as multiple of another.
func ratio(what string, d time.Duration, of string, yardstick time.Duration, goal float64) line {
	got := float64(d) / float64(yardstick)
	return line{what: what, figure: d.String(), ratio: fmt.Sprintf("%.2f × %s", got, of), goal: goal, got: got}
}

// explainMissing explains denials, and decides them, each timed by itself.
func (m *measurement) explainMissing(s *engine.Snapshot, a *asked) (line, error) {
	const some = 20_000
	var explains, checks []time.Duration
	for i := 0; i < len(a.questions) && len(explains) < some; i++ {
		began := time.Now()
		d, err := s.Check(a.questions[i])
		if err != nil {
			return line{}, err
		}
		if d.Allowed {
			continue
		}
		checks = append(checks, time.Since(began))
		began = time.Now()
		if _, err := s.Explain(a.questions[i], 10); err != nil {
			return line{}, err
		}
		explains = append(explains, time.Since(began))
	}
	slices.Sort(explains)
	slices.Sort(checks)
	l := ratio("Explain of a denial with up to ten missing sets, each timed by itself: median; p99", explains[len(explains)/2], "Check", checks[len(checks)/2], 20)
	l.figure = fmt.Sprintf("%s; %s", l.figure, explains[len(explains)*99/100])
	return l, nil
}

// who asks who may read records, page by page, in turns with lookups in a map of
// the users.
func (m *measurement) who(s *engine.Snapshot, a *asked) ([]line, error) {
	rows := make(map[access.UserID]access.User, m.company.users)
	for i := range m.company.users {
		u := m.company.user(i)
		rows[u.ID] = u
	}
	const answers = 400
	listed, visited, sum, j, took, lookups := 0, 0, 0, 0, time.Duration(0), time.Duration(0)
	for i := range answers {
		began, r := time.Now(), a.records[i]
		q := engine.WhoQuestion{Action: access.Read, Table: a.questions[i].Table, Record: &r, At: noon, Limit: 1000}
		users := 0
		for more := true; more; more = q.After != "" {
			w, err := s.Who(q)
			if err != nil {
				return nil, err
			}
			users += len(w.Users)
			visited += w.Visited
			q.After = w.Next
		}
		took += time.Since(began)
		listed += users
		began = time.Now()
		for range users {
			if rows[a.questions[j%questions].User].Enabled {
				sum++
			}
			j++
		}
		lookups += time.Since(began)
	}
	runtime.KeepAlive(sum)
	l := ratio("", took/answers, "a lookup for each user listed", lookups/answers, 2)
	l.what = fmt.Sprintf("Who may read a record, all pages, %d users on average: time", listed/answers)
	each := float64(visited) / float64(listed)
	return []line{l, {
		what:   "The same: entries of indexes that were looked at",
		figure: fmt.Sprint(visited / answers), ratio: fmt.Sprintf("%.2f for each user listed", each), goal: 2, got: each,
	}}, nil
}

// filter makes filters for users at random.
func (m *measurement) filter(s *engine.Snapshot) ([]line, error) {
	times := make([]time.Duration, 5_000)
	for i := range times {
		q := engine.FilterQuestion{User: userID(mix("filters", i, m.company.users)), Action: access.Read, Table: tableID(i % tables), At: noon}
		began := time.Now()
		if _, err := s.Filter(q); err != nil {
			return nil, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	median := times[len(times)/2]
	return []line{{
		what:   "Filter, in µs: median; p99",
		figure: fmt.Sprintf("%s; %s", median, times[len(times)*99/100]), ratio: fmt.Sprintf("%.1f µs", float64(median)/1e3), goal: 50, got: float64(median) / 1e3,
	}}, nil
}
