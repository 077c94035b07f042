package directory

import (
	"context"
	"errors"
)

// LiveChecker is a Reader whose source can be asked about one user or one group
// now, beside its rounds. That proves or disproves what is mirrored of one object;
// nothing is ever read by it (Rule SRC-7).
type LiveChecker interface {
	// LiveGroups asks for every group that the user is in, directly or by way of other
	// groups. It returns ErrNoObject if the source has no such user, and an error for
	// every answer that is not known to be whole (Rule SRC-1).
	LiveGroups(ctx context.Context, user ObjectID) (Live, error)
	// LiveMembers asks for the direct members of a group. Errors are as of LiveGroups.
	LiveMembers(ctx context.Context, group ObjectID) (Live, error)
}

// Live is what a source says now: groups, or members.
type Live struct {
	// Refs name the objects as edges do, as far as the source is configured to be
	// read: a group that no round would bring is not among them.
	Refs []Ref
	// Untold, if not nil, tells of a mirrored group that the answer can neither name
	// nor look through, so that its absence says nothing.
	Untold func(group Object) bool
}

// ErrNoObject: the source does not have the object.
var ErrNoObject = errors.New("the source does not have it")
