// Package store is what both databases share: the commit, what can be asked,
// and the errors that a caller may branch on. It has no SQL; package sqlstore
// has, and packages sqlite and postgres open it.
//
// A store holds one tenant: environments at every revision they ever had, the
// audit log, the directory mirror. There is one way to change authorization,
// Commit, and it is whole or absent (Rule REL-2).
package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
)

// Errors a caller may branch on.
var (
	// ErrConflict: somebody committed after Commit.Base. Judge again (Rule JIT-49).
	ErrConflict = errors.New("the store has a newer revision than the one judged")
	// ErrNotFound: no such row at that revision.
	ErrNotFound = errors.New("not found")
	// ErrFenced: the leader that wrote has been replaced (Rule REL-6).
	ErrFenced = errors.New("another process leads now")
	// ErrNewerSchema: the store was written by a newer Ambit (Rule REL-11).
	ErrNewerSchema = errors.New("the store's schema is newer than this program")
	// ErrLocked: another process has the SQLite file.
	ErrLocked = errors.New("another process uses this store")
	// ErrReadOnly: the disk is full or read-only; nothing was changed (Rule REL-7).
	ErrReadOnly = errors.New("the store cannot be written")
	// ErrUnreachable: the database does not answer. What was being committed may
	// have happened all the same (Rule REL-7).
	ErrUnreachable = errors.New("the store cannot be reached")
	// ErrTampered: the audit chain or a row it covers is not what was written.
	ErrTampered = errors.New("the audit chain does not hold")
)

// Commit is one changeset with its audit events. A commit without changes
// records events (a refusal, a held plan); it makes a revision all the same.
type Commit struct {
	// Base is the newest revision at the time of judging; ErrConflict if it is not
	// any more.
	Base access.Revision
	// At is the instant of the commit; the store makes it later than the previous
	// commit's by at least a microsecond (Rule JIT-21).
	At      time.Time
	Changes []access.Change
	Events  []audit.Event // at least one, with First
	// First, if set, makes the first event while the changes are written.
	First func() (audit.Event, error)
	// Reply, if set, is kept with the commit and given again to whoever repeats
	// the request (Rule JIT-47).
	Reply *Reply
	// Fence is the leader's token; zero commits without leading.
	Fence int64
	// Run, if set, makes the run that is kept with the commit, once the changes are
	// written; KeepRuns says which older ones are.
	Run      func() Run
	KeepRuns Retention
}

// Committed says what a commit became.
type Committed struct {
	Revision access.Revision
	At       time.Time
}

// Reply is the stored answer to a request with an idempotency key.
type Reply struct {
	Caller, Method, Path, Key string
	BodyDigest                string // SHA-256 of the request's body
	Status                    int
	Body                      []byte
	Expires                   time.Time
}

// Version is an object with the revision that made it.
type Version struct {
	Object access.Object
	Since  access.Revision
}

// Difference is one object's change between two revisions. Before or After is
// nil where the object did not exist.
type Difference struct {
	Before, After access.Object
}

// Change turns the difference into the change that makes it.
func (d Difference) Change() access.Change {
	if d.After == nil {
		return access.Remove(d.Before)
	}
	return access.Put(d.After)
}

// AuditQuery selects audit events, newest first. Zero fields select all.
type AuditQuery struct {
	Environment access.EnvironmentID
	Object      string // exact
	Actor       string // exact id
	Operation   string // a prefix
	From, Until time.Time
	Before      int64 // only events with a smaller Seq: the page token
	Limit       int   // 1 to 1000; 0 means 100
}

// RequestQuery selects jit requests, newest first (Rule JIT-77). Zero fields
// select all.
type RequestQuery struct {
	Environment access.EnvironmentID
	Person      access.UserID // requester or beneficiary
	State       string
	Before      string // only ids that sort before: the page token; ids are UUIDv7-like
	Limit       int
}

// Verified is what a check of the audit chain found to hold.
type Verified struct {
	Events   int64
	Revision access.Revision
	Head     string // the newest event's hash
}

// MirrorPage is what one source said, ready to be stored in one transaction
// with its cursor (Rule SRC-2). Repeating it changes nothing.
type MirrorPage struct {
	Source      directory.SourceID
	Put         []directory.Object
	Delete      []directory.ObjectID // with all their edges
	AddEdges    []directory.Edge
	RemoveEdges []directory.Edge
	Status      MirrorStatus
	Fence       int64
}

// MirrorStatus is where a source's mirror stands.
type MirrorStatus struct {
	Cursor []byte `json:"cursor,omitempty"`
	// MidRound: the cursor belongs to a round that has not completed.
	MidRound bool `json:"mid_round,omitempty"`
	// Completed is the end of the last complete round (Rule SRC-9).
	Completed time.Time `json:"completed,omitzero"`
	// State is the synchronizer's own note about the round in progress.
	State json.RawMessage `json:"state,omitempty"`
}

// MirrorRow is one row of a stored mirror: an object or an edge.
type MirrorRow struct {
	Source directory.SourceID
	Object *directory.Object
	Edge   *directory.Edge
}
