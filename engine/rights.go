package engine

import (
	"fmt"

	"github.com/ambit-iam/ambit/access"
)

// Answer is a decision, or the error for which there is none.
type Answer struct {
	Decision
	Err error `json:"-"`
}

// CheckAll answers each question as Check does, in order, all on this snapshot.
func (s *Snapshot) CheckAll(qs []Question) []Answer {
	out := make([]Answer, len(qs))
	for i := range qs {
		out[i].Decision, out[i].Err = s.Check(qs[i])
	}
	return out
}

// Rights is the mask of actions but Create that Check allows the user on the
// record or, without one, on the table (Rule EVAL-10). The question's action is
// ignored; it names no privilege and no columns.
func (s *Snapshot) Rights(q Question) (access.Rights, error) {
	if q.Privilege != "" || len(q.Columns) > 0 {
		return 0, fmt.Errorf("%w: rights are those on a record or table, not on privileges or columns", ErrQuestion)
	}
	var mask access.Rights
	for q.Action = access.Read; q.Action < access.Actions; q.Action++ {
		d, err := s.Check(q)
		if err != nil {
			return 0, err
		}
		if d.Allowed {
			mask |= access.RightsOf(q.Action)
		}
	}
	return mask, nil
}
