package entra

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// defaultUnits is what Graph lets an application spend in the smallest of
	// tenants (Rule GRAPH-25).
	defaultUnits = 3500
	unitsPer     = 10 * time.Second
	// nearLimit is the share of the service's own limit from which it tells how much
	// is used up (Rule GRAPH-26).
	nearLimit = 0.8
)

// budget keeps requests below the rate at which Graph begins to refuse: a bucket
// of resource units that fills up at the published rate (Rule GRAPH-25).
type budget struct{ units *rate.Limiter }

func newBudget(units int) *budget {
	if units == 0 {
		units = defaultUnits
	}
	return &budget{rate.NewLimiter(rate.Limit(float64(units)/unitsPer.Seconds()), units)}
}

// wait is how long to wait until what was spent is made up for.
func (b *budget) wait(now time.Time) time.Duration { return b.units.ReserveN(now, 0).DelayFrom(now) }

// spend takes units out. What the service says that it has counted itself, as a
// share of what it allows, is believed if it is more: others may share the limit.
func (b *budget) spend(now time.Time, units int, share float64) {
	b.take(now, units)
	if share >= nearLimit {
		left := (1 - share) * float64(b.units.Burst())
		b.take(now, int(b.units.TokensAt(now)-left))
	}
}

func (b *budget) take(now time.Time, units int) {
	b.units.ReserveN(now, min(max(units, 0), b.units.Burst()))
}
