package main

import (
	"context"
	"fmt"
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
		n := c.units() - 1 - i%(c.units()/10)
		b := access.BusinessUnit{Environment: environment, ID: unitID(n), Name: fmt.Sprint("Unit ", n), Parent: unitID(parent(n)), ManagedBy: access.ByFile}
		if !back {
			b.Parent = unitID(mix("below", i, c.units()/10))
		}
		return access.Put(b)
	}},
}

// apply compares single changes in a small and a large company.
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
	var lines []line
	for _, kind := range changes {
		var failed error
		const each = 64
		turn := func(x *changing) func() {
			return func() {
				for range each {
					if err := x.change(kind.of); err != nil {
						failed = err
					}
				}
			}
		}
		small.n, large.n = 0, 0
		times := inTurns(2*round/each, turn(small), turn(large))
		if failed != nil {
			return nil, fmt.Errorf("%s: %w", kind.what, failed)
		}
		a, b := times[0]/each, times[1]/each
		ratio := float64(b) / float64(a)
		lines = append(lines,
			line{what: fmt.Sprintf("Applying %s, at %d users", kind.what, m.small), figure: a.Round(time.Nanosecond).String()},
			line{what: fmt.Sprintf("… at %d users", m.users), figure: b.Round(time.Nanosecond).String(), ratio: fmt.Sprintf("%.2f × %d", ratio, m.small), goal: 1.5, got: ratio})
	}
	return lines, nil
}
