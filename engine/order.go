package engine

import (
	"cmp"

	"github.com/ambit-iam/ambit/access"
)

// place is a user's in the order of ids.
type place struct {
	id  access.UserID
	row uint32
}

func (p place) compare(o place) int { return cmp.Compare(p.id, o.id) }
