package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// readers times questions on one core: alone, and while another core makes changes
// as fast as it can, one by one, and publishes each snapshot.
func (m *measurement) readers(context.Context) ([]line, error) {
	s, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	a := m.company.ask(questions)
	var now atomic.Pointer[engine.Snapshot]
	now.Store(s)
	const turn, turns = time.Second, 10
	i, n := 0, 0
	ask := func(times []time.Duration) ([]time.Duration, error) {
		for start := time.Now(); ; i++ {
			began := time.Now()
			if began.Sub(start) > turn {
				return times, nil
			}
			if _, err := now.Load().Check(a.questions[i%questions]); err != nil {
				return nil, err
			}
			times = append(times, time.Since(began))
		}
	}
	var alone, beside []time.Duration
	var changing time.Duration
	for range turns {
		if alone, err = ask(alone); err != nil {
			return nil, err
		}
		var stop atomic.Bool
		var writer errgroup.Group
		began := time.Now()
		writer.Go(func() error {
			for ; !stop.Load(); n++ {
				kind, k := changes[n%len(changes)], n/len(changes)
				next, err := now.Load().Apply([]access.Change{kind.of(m.company, k%round, k/round%2 == 1)}, access.Revision(n+2))
				if err != nil {
					return fmt.Errorf("%s: %w", kind.what, err)
				}
				now.Store(next)
			}
			return nil
		})
		beside, err = ask(beside)
		stop.Store(true)
		if failed := writer.Wait(); err != nil || failed != nil {
			return nil, errors.Join(err, failed)
		}
		changing += time.Since(began)
	}
	slices.Sort(alone)
	slices.Sort(beside)
	half := func(times []time.Duration) time.Duration { return times[len(times)/2] }
	most := func(times []time.Duration) time.Duration { return times[len(times)*99/100] }
	return []line{
		{what: "One question timed by itself, while nothing changes: median and p99", figure: fmt.Sprintf("%s, %s", half(alone), most(alone))},
		{
			what:   "… while the other core makes changes, one by one, and publishes each snapshot",
			figure: fmt.Sprintf("%s, %s", half(beside), most(beside)),
			ratio:  fmt.Sprintf("%.2f and %.2f × without changes", float64(half(beside))/float64(half(alone)), float64(most(beside))/float64(most(alone))),
		},
		{what: "Changes made meanwhile, a second: memberships, role assignments, shares and moves of business units in turn", figure: fmt.Sprintf("%.0f", float64(n)/changing.Seconds())},
	}, nil
}
