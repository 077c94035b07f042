package directory

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// AttrMark is an attribute in which a connector keeps an object's Mark. No
// source can have one of its own of this name.
const AttrMark = "@mark"

// Mark tells which state of an object was taken over, so that it can be proven
// later without reading the object again: the source's own version of it, and a
// digest of what it was taken over as.
type Mark string

// NewMark makes the mark of an object that the source calls version. members are
// its whole lists.
func NewMark(version string, o Object, members ...Members) Mark {
	var d Digest
	for name, values := range o.Attributes {
		for _, v := range values {
			d.Attribute(name, v)
		}
	}
	for _, m := range members {
		for _, far := range m.Add {
			d.Edge(m.Relation, far)
		}
	}
	return Mark(version + " " + d.String())
}

// Version is the source's.
func (m Mark) Version() string {
	version, _, _ := strings.Cut(string(m), " ")
	return version
}

// Matches tells whether what is held now is what was taken over.
func (m Mark) Matches(d Digest) bool {
	_, was, ok := strings.Cut(string(m), " ")
	return ok && was == d.String()
}

// Digest sums up an object's attributes and edges, in whatever order they come.
// The zero value is of none. It finds what went wrong by accident; it is no
// protection against somebody who means it.
type Digest uint64

// Attribute takes in one value; the mark itself does not count.
func (d *Digest) Attribute(name, value string) {
	if name != AttrMark {
		*d += sum("a", name, value)
	}
}

// Edge takes in one edge of the object.
func (d *Digest) Edge(r Relation, far Ref) { *d += sum("e", r.String(), string(far)) }

func (d Digest) String() string { return strconv.FormatUint(uint64(d), 16) }

func sum(kind, name, value string) Digest {
	var few [256]byte // most are shorter: hashing them piece by piece takes longer
	b := few[:0]
	for _, part := range [...]string{kind, name, value} {
		b = append(append(b, part...), 0xff) // which is in no text in UTF-8
	}
	return Digest(xxhash.Sum64(b))
}

// State is in which state the source has an object.
type State struct {
	ID      ObjectID
	DN      string // normalised; empty for sources without
	Version string
}

// ErrNoSurvey: the source does not tell its objects' versions; what it has can be
// compared only by reading it.
var ErrNoSurvey = errors.New("the source does not tell the versions of its objects")

// Surveyor is a Reader whose source tells cheaply in which state everything is.
type Surveyor interface {
	// Survey lists every user and group once, page by page. It returns nil only after
	// the source itself said that this was all (Rule SRC-1).
	Survey(ctx context.Context, start Start, yield func([]State) error) error
}
