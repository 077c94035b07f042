package entra

import (
	"context"
	"fmt"

	"github.com/ambit-iam/ambit/directory"
)

// How much a full read and the service's own count may differ: the count is of an
// index that lags behind (Rule GRAPH-23).
const (
	countSlack = 10 // objects
	countShare = 50 // a fiftieth of them
)

// compareCounts checks what a full round has read against the service's own count.
// What differs is shown; what becomes of it is the guards' matter.
func (r *round) compareCounts(out *directory.Page) error {
	if r.said.inPart {
		return nil // how much the other process read is not known
	}
	for _, h := range r.halves {
		var counted int
		// Served from an index, which needs this header.
		err := r.graph.get(r.ctx, request{needs: h.needs, low: true, build: h.counts, headers: map[string]string{"ConsistencyLevel": "eventual"}}, &counted)
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
