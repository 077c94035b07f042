// Package audit is the record of who did what: its events and the hash chain
// that makes an edited, missing, added or reordered one visible (Rules AUD-2,
// AUD-5).
//
// Events are written by the store in the transaction of the change that they
// tell of. This package does not store or send them, and decides nothing.
package audit

import (
	"encoding/json"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// ActorKind tells who or what acted.
type ActorKind string

// The kinds of actor.
const (
	User      ActorKind = "user"      // a person or application by token; ID is the access.UserID
	Local     ActorKind = "local"     // somebody with the store's files, on its host; ID is the operating system's user
	Bootstrap ActorKind = "bootstrap" // the holder of the one-time credential
	System    ActorKind = "system"    // Ambit itself; ID names the part, such as "sync" or "sweeper"
)

// Actor is who acted.
type Actor struct {
	Kind       ActorKind `json:"kind"`
	ID         string    `json:"id"`
	Name       string    `json:"name,omitempty"`
	OnBehalfOf string    `json:"on_behalf_of,omitempty"`
	Address    string    `json:"address,omitempty"` // the client's
}

// Result is how an operation ended.
type Result string

// The results.
const (
	Done    Result = "done"
	Refused Result = "refused" // judged and not allowed; nothing changed
	Held    Result = "held"    // a guard waits for a person; nothing changed
)

// Event is one entry of the audit log. The caller fills the first group; the
// store fills the rest when it commits.
type Event struct {
	Actor       Actor                `json:"actor"`
	Operation   string               `json:"operation"` // such as "jit.request.submitted"; part of the API: add, never rename
	Environment access.EnvironmentID `json:"environment,omitempty"`
	Object      string               `json:"object,omitempty"` // "<kind>/<key>"
	Result      Result               `json:"result"`
	Reason      string               `json:"reason,omitempty"` // a person's text, or why it was refused
	Detail      json.RawMessage      `json:"detail,omitempty"` // one JSON object
	Correlation string               `json:"correlation,omitempty"`

	Seq      int64           `json:"seq"` // dense, from 1
	Revision access.Revision `json:"revision"`
	At       time.Time       `json:"at"` // of the commit
	// Changes counts the objects that the revision changed, and ChangesDigest is
	// the SHA-256 over them, before and after (Digest). The revision's first event
	// carries both; what changed is read from the rows that the revision made and
	// ended, and compared with it.
	Changes       int    `json:"changes,omitempty"`
	ChangesDigest string `json:"changes_digest,omitempty"`
	Prev          string `json:"prev"` // the previous event's Hash
	Hash          string `json:"hash"`
}
