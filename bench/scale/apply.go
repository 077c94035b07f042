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

// changing is a company that single changes are made to.
type changing struct {
	c company
	s *engine.Snapshot
	n int
}

// round is how many different changes are made before they are taken back.
const round = 1024

// change makes the n-th change of a kind.
func (x *changing) change(of func(c company, i int, back bool) access.Change) error {
	c := of(x.c, x.n%round, x.n/round%2 == 1)
	next, err := x.s.Apply([]access.Change{c}, access.Revision(x.n+2))
	if err != nil {
		return err
	}
	x.s = next
	x.n++
	return nil
}

// The kinds of change.
var changes = []struct {
	what string
	of   func(c company, i int, back bool) access.Change
}{
	{"a membership", func(c company, i int, back bool) access.Change {
		user := mix("joins", i, c.users)
		return access.Change{Object: c.membership(user, (c.teamOf(user, 0)+1)%(c.teams()/memberships)), Delete: back}
	}},
	{"a role assignment", func(c company, i int, back bool) access.Change {
		user := mix("assigned", i, c.users)
		return access.Change{Delete: back, Object: access.Assignment{
			Environment: environment, ID: access.AssignmentID(fmt.Sprint("new-", i)), Role: roleID(i % roles), Principal: userID(user).Principal(),
			BusinessUnit: unitID(c.userUnit(user)), ManagedBy: access.ByAPI,
		}}
	}},
	{"a share", func(c company, i int, back bool) access.Change {
		record := c.records()/2 + mix("newly shared", i, c.records()/2)
		return access.Change{Object: c.share(record, 0), Delete: back}
	}},
	{"a business unit without others below it, moved", func(c company, i int, back bool) access.Change {
		some := c.units() / 10
		n, time := c.units()-1-i%some, i/some
		if back {
			time += 7
		}
		above := unitID((mix("below", n, some) + time) % some) // another one each time
		b := access.BusinessUnit{Environment: environment, ID: unitID(n), Name: fmt.Sprint("Unit ", n), Parent: above, ManagedBy: access.ByFile}
		return access.Put(b)
	}},
}

// apply compares single changes in a small and a large company: how much they copy,
// how long they take as they come, and how long each with the processor's caches
// emptied before, since what the small company consists of fits into them.
func (m *measurement) apply(context.Context) ([]line, error) {
	s, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	small := &changing{c: company{users: m.small}}
	if small.s, err = engine.Load(small.c.objects(), 1); err != nil {
		return nil, err
	}
	large := &changing{c: m.company, s: s}
	elsewhere := make([]uint64, 32<<20)
	var lines []line
	for _, kind := range changes {
		var failed error
		turn := func(x *changing, each int) func() {
			return func() {
				for range each {
					if err := x.change(kind.of); err != nil {
						failed = err
					}
				}
			}
		}
		add := func(what string, a, b time.Duration) {
			ratio := float64(b) / float64(a)
			lines = append(lines,
				line{what: fmt.Sprintf("Applying %s%s, at %d users", kind.what, what, m.small), figure: a.Round(time.Nanosecond).String()},
				line{what: fmt.Sprintf("… at %d users", m.users), figure: b.Round(time.Nanosecond).String(), ratio: fmt.Sprintf("%.2f × %d", ratio, m.small), goal: 1.5, got: ratio})
		}
		const each = 64
		small.n, large.n = 0, 0
		times := inTurns(2*round/each, turn(small, each), turn(large, each))
		add("", times[0]/each, times[1]/each)
		bytes := [2]float64{copied(turn(small, 2*round)), copied(turn(large, 2*round))}
		lines = append(lines, line{
			what:   fmt.Sprintf("Bytes that %s copies, at %d and at %d users", kind.what, m.small, m.users),
			figure: fmt.Sprintf("%.0f, %.0f", bytes[0]/2/round, bytes[1]/2/round), ratio: fmt.Sprintf("%.2f × %d", bytes[1]/bytes[0], m.small), goal: 1.5, got: bytes[1] / bytes[0],
		})
		var cold [2][]time.Duration
		const few = 200
		for range few {
			for i, x := range []*changing{small, large} {
				emptyCaches(elsewhere)
				began := time.Now()
				turn(x, 1)()
				cold[i] = append(cold[i], time.Since(began))
			}
		}
		if failed != nil {
			return nil, fmt.Errorf("%s: %w", kind.what, failed)
		}
		slices.Sort(cold[0])
		slices.Sort(cold[1])
		add(" with the caches emptied before, the median", cold[0][few/2], cold[1][few/2])
	}
	return lines, nil
}

// copied is how many bytes the function's changes allocate.
func copied(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}

// emptyCaches fills the processor's caches with something else, which must be
// larger than they are.
func emptyCaches(elsewhere []uint64) {
	for i := 0; i < len(elsewhere); i += 8 { // a cache line
		elsewhere[i]++
	}
}
