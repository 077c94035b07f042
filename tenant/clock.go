package tenant

import (
	"sync"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Clock gives Ambit time: max(wall clock, anchor + time elapsed since the
// anchor), so that a wall clock set back reopens no window, with or without a
// restart (Rule JIT-21).
type Clock struct {
	wall    func() time.Time
	elapsed func() time.Duration // monotonic, from any origin

	mu     sync.Mutex
	anchor time.Time
	origin time.Duration // of elapsed, at the anchor
}

// NewClock starts a clock that never gives a time before the anchor, the largest
// time ever persisted. Nil functions mean the machine's.
func NewClock(anchor time.Time, wall func() time.Time, elapsed func() time.Duration) *Clock {
	if wall == nil {
		wall = time.Now
	}
	if elapsed == nil {
		start := time.Now()
		elapsed = func() time.Duration { return time.Since(start) }
	}
	return &Clock{wall: wall, elapsed: elapsed, anchor: anchor, origin: elapsed()}
}

// Now is the present Ambit time, in UTC, to the microsecond.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed, wall := c.elapsed(), c.wall()
	now := c.anchor.Add(elapsed - c.origin)
	if wall.After(now) {
		now = wall.Round(0)
		c.anchor, c.origin = now, elapsed
	}
	return access.Instant(now)
}

// Lead is how far Ambit time is ahead of the wall clock: more than a moment
// means that the wall clock was set back.
func (c *Clock) Lead() time.Duration { return c.Now().Sub(c.wall()) }

// Advance makes the clock give nothing before t: another process, or a commit,
// has been there.
func (c *Clock) Advance(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := c.elapsed()
	if t.After(c.anchor.Add(elapsed - c.origin)) {
		c.anchor, c.origin = t, elapsed
	}
}
