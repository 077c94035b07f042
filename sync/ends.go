package dirsync

import (
	"context"
	"time"

	"github.com/ambit-iam/ambit/store"
)

// ends are the accounts that end by the clock, of which no source says anything
// when it happens (Rule AD-16). What is stored is what the source said; that an
// account has ended shows when it is read.
type ends struct {
	at map[refNo]time.Time
	// now is up to where the clock was followed. It does not go back: what has ended
	// stays so until the source says otherwise.
	now time.Time
	// next is the first end after now, where known is set.
	next  time.Time
	known bool
}

func (e *ends) set(n refNo, text string) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if text == "" || err != nil { // no connector gives what is no time
		if _, had := e.at[n]; had {
			delete(e.at, n)
			e.known = false
		}
		return
	}
	if e.at == nil {
		e.at = map[refNo]time.Time{}
	}
	e.at[n], e.known = at, false
}

// passed tells whether the account has ended.
func (e *ends) passed(n refNo) bool {
	at, ok := e.at[n]
	return ok && !at.After(e.now)
}

// first is the next end; zero if there is none.
func (e *ends) first() time.Time {
	if !e.known {
		e.next, e.known = time.Time{}, true
		for _, at := range e.at {
			if at.After(e.now) && (e.next.IsZero() || at.Before(e.next)) {
				e.next = at
			}
		}
	}
	return e.next
}

// advance follows the clock, and touches the accounts that end.
func (f *facts) advance(now time.Time) {
	e := &f.ends
	if !now.After(e.now) {
		return
	}
	if first := e.first(); !first.IsZero() && !first.After(now) {
		for n, at := range e.at {
			if at.After(e.now) && !at.After(now) {
				f.touched.object(f.id(n))
			}
		}
		e.known = false
	}
	e.now = now
}

// Advance follows the clock: accounts end by it.
func (m *Mirror) Advance(now time.Time) {
	for _, s := range m.sources {
		s.facts.advance(now)
	}
}

// ended tells whether an account has ended since the mirror was last advanced.
func (m *Mirror) ended(now time.Time) bool {
	for _, s := range m.sources {
		if first := s.facts.ends.first(); !first.IsZero() && !first.After(now) {
			return true
		}
	}
	return false
}

// endsEvery is how often it is looked whether an account has ended.
const endsEvery = time.Second

// watchEnds plans anew when an account ends.
func (s *Syncer) watchEnds(ctx context.Context) {
	tick := time.NewTicker(endsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		ended := s.leads && s.mirror.ended(s.now())
		s.mu.Unlock()
		if ended {
			_ = s.reconcile(ctx, Options{NoRead: true, cause: store.CauseClock}) // it logs; nothing is read here
		}
	}
}
