package entra

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// How much a full read and the service's own count may differ: the count is of an
// index that lags behind (Rule GRAPH-23).
const (
	countSlack = 10 // objects
	countShare = 50 // a fiftieth of them
)

// Between full reads the mirror is compared at this pace, in a round without
// changes, which would wait for it; after waitQuiet in any.
const (
	countEvery = time.Hour
	waitQuiet  = 24 * time.Hour
)

// tally is what the last comparison found.
type tally struct {
	at       time.Time
	doubts   map[directory.Kind]bool // what differed
	problems []directory.Problem     // shown until the next
}

// count compares the mirror with the service's own count, if it is time to, and
// shows what differed twice: an index may lag behind for a while (Rule GRAPH-23).
func (s *Source) count(r *round, mode directory.Mode, mirrored map[directory.Kind]int, out *directory.Page) error {
	now, last := s.graph.now(), s.tally.Load()
	if mode == directory.Full || last == nil {
		s.tally.Store(&tally{at: now})
		return nil
	}
	wait := countEvery
	if len(r.said.objects)+len(r.said.edges) > 0 {
		wait = waitQuiet
	}
	if age := now.Sub(last.at); mirrored == nil || age < wait {
		out.Problems = append(out.Problems, last.problems...)
		return nil
	}
	next := &tally{at: now, doubts: map[directory.Kind]bool{}}
	for _, h := range r.halves {
		counted, err := r.counted(h)
		has := mirrored[h.kind]
		switch {
		case r.ctx.Err() != nil:
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(r.ctx))
		case err != nil:
			next.problems = append(next.problems, directory.Problem{Text: fmt.Sprintf("the %s that are mirrored could not be compared with Graph's own count: %v", h.name, err)})
		case max(counted-has, has-counted) > countSlack+counted/countShare+len(r.said.objects):
			next.doubts[h.kind] = true
			if last.doubts[h.kind] {
				next.problems = append(next.problems, directory.Problem{Text: fmt.Sprintf(
					"Graph counts %d %s and %d are mirrored, as an hour ago or more; ambit verify compares them one by one", counted, h.name, has)})
			}
		}
	}
	s.tally.Store(next)
	out.Problems = append(out.Problems, next.problems...)
	return nil
}

// counted asks for the service's own count, which is of an index and needs this
// header.
func (r *round) counted(h *side) (n int, err error) {
	err = r.graph.get(r.ctx, request{needs: h.needs, low: true, build: h.counts, headers: map[string]string{"ConsistencyLevel": "eventual"}}, &n)
	return n, err
}

// compareCounts checks what a full round has read against the service's own count.
// What differs is shown; what becomes of it is the guards' matter.
func (r *round) compareCounts(out *directory.Page) error {
	if r.said.inPart {
		return nil // how much the other process read is not known
	}
	for _, h := range r.halves {
		counted, err := r.counted(h)
		had := r.said.there[h.kind]
		switch {
		case r.ctx.Err() != nil:
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, context.Cause(r.ctx))
		case err != nil:
			out.Problems = append(out.Problems, directory.Problem{Text: fmt.Sprintf("the %s that were read could not be compared with Graph's own count: %v", h.name, err)})
		case max(counted-had, had-counted) > countSlack+counted/countShare:
			out.Problems = append(out.Problems, directory.Problem{Text: fmt.Sprintf(
				"Graph counts %d %s and gave %d; if that stays so for longer than an hour, ask its support, and read from nothing", counted, h.name, had)})
		}
	}
	return nil
}
