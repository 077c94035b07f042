package dirsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// ErrStaleSource: an environment is not answered for while a source is stale, as
// its configuration asks (Rule SRC-9). See Denial.
var ErrStaleSource = errors.New("what rests on it is not answered")

// Denial says which environments are not answered for once a source has not been
// read completely for a while. Without it what was read last goes on (Rule REL-4).
type Denial struct {
	After        time.Duration // required where there are environments
	Environments []access.EnvironmentID
}

// The operations that the audit log tells of.
const (
	operationStale = "sync.source.stale"
	operationFresh = "sync.source.fresh"
)

// agesEvery is how often it is looked how long ago sources were read.
const agesEvery = 5 * time.Second

// waiting is since when a source may have had what is not applied yet.
type waiting struct {
	told   time.Time // it said that it has something, and no round has begun since
	heard  bool      // the round in progress was told of
	from   time.Time // when what this round brings can have been made, at the earliest; zero: not known
	began  time.Time // this round
	before time.Time // when the last complete round began
	open   time.Time // the earliest of what is mirrored and not applied; zero: nothing
}

// since is the earliest of all that is known of and not applied.
func (w waiting) since() time.Time { return earliest(w.told, w.open) }

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// told notes that a source says it has something.
func (s *Syncer) told(id directory.SourceID) {
	s.statusOf(id, func(st *SourceStatus) { st.waiting.told = earliest(st.waiting.told, s.now()) })
}

// beginWaiting notes from when a round's changes may be: from when the source told
// of them, or else from the beginning of the last complete round.
func (s *Syncer) beginWaiting(id directory.SourceID) {
	s.statusOf(id, func(st *SourceStatus) {
		w := &st.waiting
		w.heard, w.from, w.began = !w.told.IsZero(), earliest(w.told, time.Time{}), s.now()
		if !w.heard {
			w.from = w.before
		}
		w.told = time.Time{}
	})
}

// endWaiting notes what became of a round: what one that failed was told of is for
// the next.
func (s *Syncer) endWaiting(id directory.SourceID, err error) {
	s.statusOf(id, func(st *SourceStatus) {
		w := &st.waiting
		switch {
		case err == nil:
			w.before = w.began
		case w.heard:
			w.told = earliest(w.told, w.from)
		}
	})
}

// mirrored notes that a round has changed something.
func (s *Syncer) mirrored(id directory.SourceID) {
	s.statusOf(id, func(st *SourceStatus) { st.waiting.open = earliest(st.waiting.open, st.waiting.from) })
}

// measureApplied tells how long what was applied has taken. A source in the middle
// of a round has more to come. The caller holds s.mu.
func (s *Syncer) measureApplied() {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	for id, st := range s.sources {
		if src := s.mirror.sources[id]; st.waiting.open.IsZero() || src == nil || src.round != nil {
			continue
		}
		s.applied(id, s.now().Sub(st.waiting.open))
		st.waiting.open = time.Time{}
	}
}

// Refresh takes up when each source was last read completely, by whichever process
// leads.
func (s *Syncer) Refresh(ctx context.Context) error {
	completed, err := s.store.MirrorsCompleted(ctx)
	if err != nil {
		return fmt.Errorf("ask when sources were read: %w", err)
	}
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	for id, st := range s.sources {
		if at := completed[id]; at.After(st.Completed) {
			st.Completed = at
		}
	}
	return nil
}

// Answerable returns ErrStaleSource where an environment must not be answered for
// at an instant, since a source that its configuration names has not been read
// completely for too long, or never.
func (s *Syncer) Answerable(env access.EnvironmentID, at time.Time) error {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.sources)) {
		st := s.sources[id]
		switch {
		case !slices.Contains(st.denial.Environments, env):
		case st.Completed.IsZero():
			return fmt.Errorf("source %s has never been read completely, and environment %s is denied without it: %w", id, env, ErrStaleSource)
		case at.Sub(st.Completed) > st.denial.After:
			return fmt.Errorf("source %s was last read completely at %s, and environment %s is denied after %s: %w",
				id, st.Completed.UTC().Format(time.RFC3339), env, st.denial.After, ErrStaleSource)
		}
	}
	return nil
}

// watchAges raises an alarm for sources that have not been read for too long, and
// ends it.
func (s *Syncer) watchAges(ctx context.Context) {
	tick := time.NewTicker(agesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.checkAges(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot tell how long ago sources were read", "error", err)
			}
		}
	}
}

func (s *Syncer) checkAges(ctx context.Context) error {
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	for _, st := range s.Status().Sources {
		// What was never read is as old as this process.
		age := s.now().Sub(earliest(st.Completed, s.started))
		if !st.Completed.IsZero() {
			age = st.Age
		}
		stale := age > st.staleAfter
		if stale != st.Stale {
			s.statusOf(st.Source, func(st *SourceStatus) { st.Stale = stale })
			if stale {
				s.log.Error("a source is stale; decisions rest on what it said last", "source", st.Source, "completed", st.Completed, "stale after", st.staleAfter, "error", st.Error)
			} else {
				s.log.Info("a source is not stale any more", "source", st.Source)
			}
		}
		if err := s.recordStale(ctx, st.Source, stale); err != nil {
			return err
		}
	}
	return nil
}

// recordStale writes into the audit log that a source became stale, or ceased to
// be: once, whoever leads.
func (s *Syncer) recordStale(ctx context.Context, id directory.SourceID, stale bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, known := s.recordedStale[id]; !s.leads || known && was == stale {
		return nil
	}
	object := "source/" + string(id)
	last, err := s.store.Audit(ctx, store.AuditQuery{Object: object, Operation: "sync.source.", Limit: 1})
	if err != nil {
		return fmt.Errorf("look for stale sources in the audit log: %w", err)
	}
	if was := len(last) == 1 && last[0].Operation == operationStale; was != stale {
		event := audit.Event{Actor: audit.Actor{Kind: audit.System, ID: "sync"}, Operation: operationFresh, Object: object, Result: audit.Done}
		if stale {
			event.Operation, event.Reason = operationStale, "it has not been read completely for too long"
		}
		if _, err := s.tenant.Update(ctx, func(tenant.View) (tenant.Changeset, error) {
			return tenant.Changeset{Events: []audit.Event{event}, Fence: s.fence}, nil
		}); err != nil {
			return fmt.Errorf("record a stale source: %w", err)
		}
	}
	s.recordedStale[id] = stale
	return nil
}
