package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// ErrTaken: another resource of the source has this name.
var ErrTaken = errors.New("the name is taken")

// Pushed is a user or group that a client put into a source.
type Pushed struct {
	Source directory.SourceID
	Kind   directory.Kind
	ID     directory.ObjectID
	// Name is unique among the source's resources of the kind, and compared as it
	// stands.
	Name string
	// Document is what the client is given back, without a group's members.
	Document json.RawMessage
	// Version counts the resource's changes from 1.
	Version           int64
	Created, Modified time.Time
}

// PushedValue is a value by which a resource is found.
type PushedValue struct{ Path, Value string }

// Push is a change to one resource. A repeat changes nothing (Rule SRC-3).
type Push struct {
	// Pushed is the new state. Its Version is the one that was judged, 0 for a
	// resource that is new; the store counts on from it.
	Pushed
	Delete bool
	// Values are those by which it is found from now on, each once.
	Values []PushedValue
	// Add and Remove are a group's members; with Whole, Add is all of them.
	Add, Remove []directory.ObjectID
	Whole       bool
}

// PushedQuery selects resources of a source, in the order of their ids.
type PushedQuery struct {
	Source directory.SourceID
	Kind   directory.Kind
	With   *PushedValue       // nil: all
	After  directory.ObjectID // only greater ids
	Offset int                // leave out so many
	Limit  int
}

// PushedChanges are resources of a source as they are now, and those that are gone.
type PushedChanges struct {
	Put     []PushedGroup
	Removed []directory.ObjectID
	Seq     int64 // the change up to which this tells; see the methods that return it
	More    bool
}

// PushedGroup is a resource with its members, if it is a group.
type PushedGroup struct {
	Pushed
	Members []directory.ObjectID
}
