package engine

import (
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Check answers the question (Rules EVAL-1 to EVAL-5). It allocates nothing but
// errors.
func (s *Snapshot) Check(q Question) (Decision, error) { return Decision{}, errNotYet }

// Holds tells whether the user gets in and holds the miscellaneous privilege.
func (s *Snapshot) Holds(u access.UserID, privilege string, at time.Time) (bool, error) {
	return false, errNotYet
}

// MayOwn tells whether a record of the table may be given to the principal: a
// user must be enabled (Rule OWN-6) and hold Read on the table at any depth; a
// team must be able to own and hold Read by its own roles (Rule OWN-9).
func (s *Snapshot) MayOwn(owner access.Principal, table access.TableID, at time.Time) (bool, error) {
	return false, errNotYet
}
