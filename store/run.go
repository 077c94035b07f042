package store

import (
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
)

// Run is one synchronization that did something or failed, kept with its plan (Rule
// PLAN-7).
type Run struct {
	ID      int64       `json:"id"` // the store gives it, in the order of time
	Cause   RunCause    `json:"cause"`
	Actor   audit.Actor `json:"actor,omitzero"` // who asked for it
	Started time.Time   `json:"started"`
	Ended   time.Time   `json:"ended"`
	// Sources are those that were read.
	Sources []RunSource `json:"sources"`
	Result  RunResult   `json:"result"`
	// Revision is the one that it committed, zero if it changed nothing.
	Revision access.Revision `json:"revision,omitempty"`
	// Digest is the plan's, empty if there was nothing to change.
	Digest string `json:"digest,omitempty"`
	// Changed counts what the plan changes.
	Changed map[access.EnvironmentID]map[access.Kind]RunCounts `json:"changed,omitempty"`
	// Guards are those that hold the plan.
	Guards []RunGuard `json:"guards,omitempty"`
	Error  string     `json:"error,omitempty"`
	// Times is how often it failed so, one time after the other; Ended is of the last.
	Times int `json:"times,omitempty"`

	// Text is the plan as people read it, File its file where it is not too
	// large to be kept. A list has neither.
	Text string `json:"-"`
	File []byte `json:"-"`
}

// RunCause is why a run began.
type RunCause string

// The causes.
const (
	CauseInterval     RunCause = "interval"     // of its source
	CauseNotification RunCause = "notification" // the source told that it has changed
	CauseRequest      RunCause = "request"      // somebody asked for it
	CauseFiles        RunCause = "files"        // the process started, or was given other files
	CauseClock        RunCause = "clock"        // an account ended
)

// RunResult is what became of a run.
type RunResult string

// The results.
const (
	RunApplied RunResult = "applied"
	RunNothing RunResult = "nothing" // to be changed
	RunHeld    RunResult = "held"
	RunPlanned RunResult = "planned" // nothing more was asked for
	RunFailed  RunResult = "failed"
)

// RunSource is what a run read of one source.
type RunSource struct {
	Source directory.SourceID `json:"source"`
	Mode   string             `json:"mode"` // full or delta
	// Pages, Objects and Edges are what was read.
	Pages   int     `json:"pages"`
	Objects int     `json:"objects"`
	Edges   int     `json:"edges"`
	Seconds float64 `json:"seconds"`
	// Changed is what was new in it.
	Changed  MirrorChanges `json:"changed"`
	Problems int           `json:"problems,omitempty"` // what could not be taken over
	Error    string        `json:"error,omitempty"`
}

// MirrorChanges counts what a source's mirror was brought up to date by.
type MirrorChanges struct {
	Put          int `json:"put,omitempty"`     // objects
	Deleted      int `json:"deleted,omitempty"` // objects
	AddedEdges   int `json:"added_edges,omitempty"`
	RemovedEdges int `json:"removed_edges,omitempty"`
}

// RunCounts is how many objects of a kind come, change and go.
type RunCounts struct {
	Create int `json:"create,omitempty"`
	Update int `json:"update,omitempty"`
	Delete int `json:"delete,omitempty"`
}

// RunGuard is a guard that holds a run's plan.
type RunGuard struct {
	Guard       string               `json:"guard"`
	Environment access.EnvironmentID `json:"environment,omitempty"`
	Problem     string               `json:"problem"`
}

// Retention says which runs are kept: the newest Runs of them, and of these what
// ended not longer than Age ago.
type Retention struct {
	Runs int
	Age  time.Duration
}

// DefaultRetention is what is kept where nobody says otherwise.
var DefaultRetention = Retention{Runs: 1000, Age: 90 * 24 * time.Hour}

// RunQuery selects runs, newest first. Zero fields select all.
type RunQuery struct {
	Source directory.SourceID
	Result RunResult
	Before int64 // only smaller ids: the page token
	Limit  int   // 1 to 1000; 0 means 100
}
