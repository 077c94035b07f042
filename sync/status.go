package dirsync

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/store"
)

// State is what a source is doing.
type State string

// The states of a source.
const (
	StateWaiting State = "waiting" // for its next round; the last one was complete, or there was none
	StateReading State = "reading"
	StateFailed  State = "failed" // the last round was not complete; what was read last counts (Rule REL-7)
)

// SourceStatus is where a source stands (Rule SRC-9).
type SourceStatus struct {
	Source directory.SourceID `json:"source"`
	State  State              `json:"state"`
	// Completed is the end of the last complete round, Age how long that is ago;
	// both zero if there was none.
	Completed time.Time     `json:"completed,omitzero"`
	Age       time.Duration `json:"age_ns,omitempty"`
	// Stale: it has not been read completely for longer than it may (Rule SRC-9).
	Stale bool `json:"stale,omitempty"`
	// Unapplied is since when the oldest change that Ambit has heard of waits to be
	// applied, zero if none does.
	Unapplied time.Time `json:"unapplied_since,omitzero"`
	Size
	// Reading is how many objects the round in progress has read.
	Reading int `json:"reading,omitempty"`
	// Running is how far the round in progress has come, nil while there is none.
	Running  *Running  `json:"running,omitempty"`
	Failures int       `json:"failures,omitempty"` // since the last complete round
	Error    string    `json:"error,omitempty"`    // of the last round
	Next     time.Time `json:"next,omitzero"`
	// Problems are what the last round could not take over, ProblemCount how many
	// there were in all.
	Problems     []directory.Problem `json:"problems,omitempty"`
	ProblemCount int                 `json:"problem_count,omitempty"`
	Rounds       int64               `json:"rounds"` // complete ones, since the start

	waiting    waiting
	staleAfter time.Duration
	denial     Denial
	// Follows is how changes are followed, of sources with several ways (Rule LDAP-3).
	Follows string `json:"follows,omitempty"`
	// Usage is what reading has cost, of sources that count it (Rule GRAPH-26).
	Usage *directory.Usage `json:"usage,omitempty"`
}

// Running is how far a round has come.
type Running struct {
	Mode  string    `json:"mode"` // full or delta
	Since time.Time `json:"since"`
	// Pages, Objects and Edges are what was read so far.
	Pages   int `json:"pages"`
	Objects int `json:"objects"`
	Edges   int `json:"edges"`
	// Of is how many objects were mirrored at its beginning: about what a full round
	// has to read.
	Of int `json:"of"`
}

// The states of the newest plan.
const (
	PlanUnknown = "unknown" // none was made since the start
	PlanApplied = "applied" // or there was nothing to change
	PlanHeld    = "held"
	PlanFailed  = "failed"
)

// PlanStatus is what became of the newest plan.
type PlanStatus struct {
	State string    `json:"state"`
	At    time.Time `json:"at,omitzero"`
	// Since is when the state began.
	Since      time.Time         `json:"since,omitzero"`
	Revision   access.Revision   `json:"revision,omitempty"` // of the last that changed something
	Digest     string            `json:"digest,omitempty"`   // of a held one
	Violations []Violation       `json:"violations,omitempty"`
	Findings   []mapping.Finding `json:"findings,omitempty"`
	Error      string            `json:"error,omitempty"`
	// Changed counts the objects that plans changed since the start.
	Changed int64 `json:"changed"`
}

// Status is where the synchronization stands.
type Status struct {
	Sources []SourceStatus `json:"sources"`
	Plan    PlanStatus     `json:"plan"`
	At      time.Time      `json:"at"`
}

// Status tells where the synchronization stands. It waits for nothing.
func (s *Syncer) Status() Status {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	out := Status{Plan: s.planned, Sources: []SourceStatus{}, At: s.now()}
	for _, st := range s.sources {
		c := *st
		if !c.Completed.IsZero() {
			c.Age = s.now().Sub(c.Completed)
		}
		c.Unapplied = c.waiting.since()
		out.Sources = append(out.Sources, c)
	}
	slices.SortFunc(out.Sources, func(a, b SourceStatus) int { return cmp.Compare(a.Source, b.Source) })
	return out
}

// Completed is the end of the source's last complete round (Rule SRC-9); zero if
// there was none or it is not known.
func (s *Syncer) Completed(id directory.SourceID) time.Time {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if st := s.sources[id]; st != nil {
		return st.Completed
	}
	return time.Time{}
}

// listSources keeps a status for each configured source.
func (s *Syncer) listSources(c Config) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	maps.DeleteFunc(s.sources, func(id directory.SourceID, _ *SourceStatus) bool {
		return !slices.ContainsFunc(c.Sources, func(src Source) bool { return src.ID == id })
	})
	for _, src := range c.Sources {
		if s.sources[src.ID] == nil {
			s.sources[src.ID] = &SourceStatus{Source: src.ID, State: StateWaiting}
		}
		s.sources[src.ID].staleAfter, s.sources[src.ID].denial = src.staleAfter(), src.Denial
	}
}

func (s *Syncer) statusOf(id directory.SourceID, set func(*SourceStatus)) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if st := s.sources[id]; st != nil {
		set(st)
	}
}

// measure publishes how much of a source is mirrored. The caller holds s.mu.
func (s *Syncer) measure(id directory.SourceID) {
	src := s.mirror.sources[id]
	if src == nil {
		return
	}
	size := s.mirror.Size(id)
	s.statusOf(id, func(st *SourceStatus) { st.Size, st.Completed = size, src.completed })
}

// beginReading publishes that a round begins.
func (s *Syncer) beginReading(id directory.SourceID, at time.Time) {
	s.mu.Lock()
	if src := s.mirror.sources[id]; src != nil {
		src.changed = store.MirrorChanges{}
	}
	s.mu.Unlock()
	s.statusOf(id, func(st *SourceStatus) {
		st.State, st.Reading, st.Running = StateReading, 0, &Running{Since: at}
	})
}

// changed is what was stored of a source since its round began.
func (s *Syncer) changed(id directory.SourceID) store.MirrorChanges {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.mirror.sources[id]; src != nil {
		return src.changed
	}
	return store.MirrorChanges{}
}

// finishRound publishes what became of a round.
func (s *Syncer) finishRound(r SourceReport) {
	s.mu.Lock()
	s.measure(r.Source)
	s.mu.Unlock()
	s.statusOf(r.Source, func(st *SourceStatus) {
		st.Reading, st.Running = 0, nil
		if r.Err != nil {
			st.State, st.Error = StateFailed, r.Err.Error()
			st.Failures++
			return
		}
		st.State, st.Error, st.Failures = StateWaiting, "", 0
		st.Rounds++
		st.Problems, st.ProblemCount = r.Problems, r.ProblemCount
	})
}

// publish tells what became of a plan.
func (s *Syncer) publish(plan *Plan, revision access.Revision, err error) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	was := s.planned
	now := PlanStatus{State: PlanApplied, At: s.now(), Since: was.Since, Revision: was.Revision, Changed: was.Changed}
	if plan != nil {
		now.Findings = plan.Findings
	}
	switch held := (*Held)(nil); {
	case errors.As(err, &held):
		now.State, now.Digest, now.Violations = PlanHeld, held.Digest, held.Violations
	case err != nil:
		now.State, now.Error = PlanFailed, err.Error()
	case !plan.Empty():
		now.Revision = revision
		now.Changed += int64(plan.Len())
	}
	if now.State != was.State || now.Digest != was.Digest {
		now.Since = now.At
	}
	s.planned = now
}
