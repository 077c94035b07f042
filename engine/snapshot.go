package engine

import (
	"errors"

	"github.com/ambit-iam/ambit/access"
)

// Snapshot is one environment at one revision, compiled for questions. It is
// immutable and safe for concurrent use.
type Snapshot struct {
	revision access.Revision
	env      access.Environment
}

var errNotYet = errors.New("engine: being built")

// New compiles the state, which may change afterwards.
func New(st *access.State, rev access.Revision) (*Snapshot, error) { return nil, errNotYet }

// Apply returns the snapshot with the changes made, in order; s stays as it is.
// Both share what the changes do not touch. The changes must be whole, as
// access.State.Expand returns them. Cost goes by the number of changes, except
// that a business unit or table relabels all of its kind.
func (s *Snapshot) Apply(changes []access.Change, rev access.Revision) (*Snapshot, error) {
	return nil, errNotYet
}

// Revision is the revision that the snapshot shows.
func (s *Snapshot) Revision() access.Revision { return s.revision }

// Environment is the environment's settings at that revision.
func (s *Snapshot) Environment() access.Environment { return s.env }
