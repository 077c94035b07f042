package dirsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// Store is what a Syncer needs of the store, besides what goes through the
// tenant.
type Store interface {
	MirrorStore
	Changes(ctx context.Context, after, upto access.Revision, yield func(access.Revision, store.Difference) error) error
	Audit(ctx context.Context, q store.AuditQuery) ([]audit.Event, error)
	Lead(ctx context.Context, name string) (fence int64, ok bool, err error)
	PutRun(ctx context.Context, run store.Run, keep store.Retention, fence int64) (id int64, err error)
	MirrorsCompleted(ctx context.Context) (map[directory.SourceID]time.Time, error)
}

// Tenant is the write path.
type Tenant interface {
	Read(f func(tenant.View) error) error
	Update(ctx context.Context, judge func(tenant.View) (tenant.Changeset, error)) (store.Committed, error)
}

// Source is one configured source.
type Source struct {
	ID     directory.SourceID
	Reader directory.Reader
	// Interval is the time from the end of a round to the next; 0 means 15 minutes.
	Interval time.Duration
	// Timeout is the longest that a round may take; 0 means an hour.
	Timeout time.Duration
	// StaleAfter is when an alarm is raised that it has not been read completely; 0
	// means the longer of an hour and three intervals.
	StaleAfter time.Duration
	Denial     Denial

	acceptRead bool // a person knows that it has become smaller
}

// staleAfter is StaleAfter with its default.
func (c Source) staleAfter() time.Duration {
	if c.StaleAfter > 0 {
		return c.StaleAfter
	}
	return max(time.Hour, 3*cmp.Or(c.Interval, defaultInterval))
}

// Config is what is synchronized. It is replaced whole (Rule REL-14).
type Config struct {
	Sources []Source
	Rules   *mapping.Rules // nil: none
	Model   *model.Model   // nil: none
	// Files are the SHA-256 digests of the files that Rules and Model are made from,
	// by name: a plan that was written down is of these files and no others.
	Files map[string]string
	// KeepRuns says which runs are kept; what is zero in it is as in
	// store.DefaultRetention.
	KeepRuns store.Retention
}

// Syncer keeps the environments as directories and files say. It is safe for
// concurrent use.
type Syncer struct {
	store  Store
	tenant Tenant
	log    *slog.Logger
	now    func() time.Time
	// applied is told how long it took from when a source may have had a change until
	// it was applied.
	applied func(directory.SourceID, time.Duration)
	started time.Time
	// leadPause is the constant but in tests.
	leadPause time.Duration

	replaced chan struct{} // tells Run of a new config
	reading  sourceLocks

	// mu guards the rest: it is held while a page is taken and while a plan is made
	// and applied, not while a source is waited for.
	mu      sync.Mutex
	config  Config
	mirror  *Mirror
	desired desired
	leads   bool // and what is in memory is what the store has
	fence   int64
	// followed is the revision up to which dirty has the keys that may not be as
	// desired; full: all may.
	followed  access.Revision
	dirty     map[mapping.Key]struct{}
	full      bool
	redeclare bool
	lastHeld  string // the digest of the held plan that the audit log has
	heldAt    time.Time
	// recordedStale is what the audit log has of each source.
	recordedStale map[directory.SourceID]bool

	// runsMu guards failing, the runs that were kept last of sources that fail, and is
	// held while a run is kept.
	runsMu  sync.Mutex
	failing map[string]store.Run

	statusMu sync.Mutex
	sources  map[directory.SourceID]*SourceStatus
	planned  PlanStatus
}

// SyncerOptions of New. The zero value is for production.
type SyncerOptions struct {
	Logger *slog.Logger
	Now    func() time.Time
	// Applied, if set, is told of each source's changes that were applied how old the
	// oldest can have been: since the source told of it, or else since the last
	// complete round before (Rule SRC-9).
	Applied func(directory.SourceID, time.Duration)
}

// New makes a Syncer. It reads nothing until it is asked to.
func New(st Store, t Tenant, c Config, o SyncerOptions) *Syncer {
	s := &Syncer{
		store: st, tenant: t, log: o.Logger, now: o.Now, leadPause: leadPause, config: c, applied: o.Applied,
		recordedStale: map[directory.SourceID]bool{}, failing: map[string]store.Run{},
		replaced: make(chan struct{}, 1), reading: sourceLocks{locks: map[directory.SourceID]*sync.Mutex{}},
		mirror: NewMirror(st), dirty: map[mapping.Key]struct{}{}, full: true,
		sources: map[directory.SourceID]*SourceStatus{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.applied == nil {
		s.applied = func(directory.SourceID, time.Duration) {}
	}
	s.started = s.now()
	s.planned.State = PlanUnknown
	s.listSources(c)
	return s
}

// Replace takes another configuration. What is in the mirrors stays; the next
// plan looks at everything.
func (s *Syncer) Replace(c Config) {
	s.mu.Lock()
	s.config = c
	s.forgetEvaluation()
	for _, id := range s.mirror.Sources() {
		if !slices.ContainsFunc(c.Sources, func(src Source) bool { return src.ID == id }) {
			s.mirror.Forget(id)
		}
	}
	s.mu.Unlock()
	s.listSources(c)
	select {
	case s.replaced <- struct{}{}:
	default:
	}
}

// forgetEvaluation makes the next plan start from the mirrors. The caller holds
// s.mu.
func (s *Syncer) forgetEvaluation() {
	s.desired = desired{}
	s.dirty, s.full = map[mapping.Key]struct{}{}, true
}

// Options of one synchronization.
type Options struct {
	// Sources are read; nil: all.
	Sources []directory.SourceID
	// NoRead plans with what is mirrored.
	NoRead bool
	// Accept is the digest of a held plan that Actor wants applied all the same.
	Accept string
	// AcceptReads are sources whose full read may lack more of what is mirrored than
	// the guards allow (Rule SRC-8).
	AcceptReads []directory.SourceID
	// Reason is why Actor accepts; it must be given for that, and goes into the audit
	// log.
	Reason string
	Actor  audit.Actor
	// Own tells whether an account is Actor's own; nil where no account of theirs is
	// known. Whoever accepts a plan must not gain by it (Rule SEC-12).
	Own func(access.User) bool
	// Exactly, if set, is the plan that is applied, and nothing besides: Sync is the
	// error *Moved where it is not what a sync would do. Nothing is read.
	Exactly *PlanRef
	// Progress, if set, is called after each page, from several goroutines.
	Progress func(Progress)

	cause store.RunCause // zero: somebody asks
}

// Progress is how far the reading of a source has come.
type Progress struct {
	Source  directory.SourceID
	Mode    directory.Mode
	Pages   int
	Objects int
	Edges   int
	Elapsed time.Duration
	Done    bool
}

// Report is what a synchronization did.
type Report struct {
	Sources  []SourceReport
	Plan     *Plan
	Revision access.Revision // of the last commit; 0: nothing was committed
	Applied  bool            // something was
	// Err is why the plan was not made or applied, apart from what sources failed at.
	Err error

	began time.Time
}

// SourceReport is what became of one source's round.
type SourceReport struct {
	Progress
	// Problems are what could not be taken over, ProblemCount how many there were.
	Problems     []directory.Problem
	ProblemCount int
	Err          error

	changed store.MirrorChanges
}

// Plan reads the sources into the mirrors and makes the plan, without applying
// it. A source that cannot be read is reported, and planned with as it was read
// last.
func (s *Syncer) Plan(ctx context.Context, o Options) (Report, error) {
	report, err := s.read(ctx, o)
	if report.Sources == nil && err != nil {
		return report, err
	}
	report.Plan, report.Err = s.planOnly(ctx)
	outcome := report.Err
	if report.Err == nil && !report.Plan.Empty() {
		outcome = errOnlyPlanned
	}
	s.keep(ctx, s.newRun(o, &report), report.Plan, outcome)
	return report, errors.Join(report.Err, err)
}

// planOnly makes the plan and leaves it at that.
func (s *Syncer) planOnly(ctx context.Context) (plan *Plan, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leads {
		return nil, ErrNotLeading
	}
	err = s.tenant.Read(func(v tenant.View) error {
		var err error
		plan, err = s.plan(ctx, v)
		s.again(plan)
		return err
	})
	return plan, err
}

// Sync reads the sources, plans and applies. A source that cannot be read leaves
// the others going: its error comes with the report of what was done all the
// same. A held plan is the error *Held.
func (s *Syncer) Sync(ctx context.Context, o Options) (Report, error) {
	report, err := s.read(ctx, o)
	if report.Sources == nil && err != nil {
		return report, err
	}
	report.Err = s.commit(ctx, o, &report)
	return report, errors.Join(report.Err, err)
}

// maxPlans is how many plans one synchronization applies. What one makes possible
// can be another's matter: a login is free only when its holder has another.
const maxPlans = 10

// commit applies plans until there is nothing to change, and publishes what became
// of it. The report has the first, or the one that is held.
func (s *Syncer) commit(ctx context.Context, o Options, report *Report) error {
	r := s.newRun(o, report)
	for range maxPlans {
		plan, done, err := s.apply(ctx, o, r)
		s.keep(ctx, r, plan, err)
		if report.Plan == nil || err != nil {
			report.Plan = plan
		}
		applied := err == nil && !plan.Empty()
		if applied {
			report.Revision, report.Applied = done.Revision, true
			n := plan.Counts()
			s.log.Info("plan applied", "revision", done.Revision, "create", n.Create, "update", n.Update, "delete", n.Delete)
		}
		if errors.Is(err, store.ErrFenced) {
			s.lose()
		}
		if _, moved := errors.AsType[*Moved](err); !moved { // that says nothing of what is planned now
			s.publish(plan, done.Revision, err)
		}
		if !applied || o.Exactly != nil {
			return err
		}
		o.Accept = ""
		r = r.follows(s.now())
	}
	return nil
}

// lead makes sure that this process leads, and has what the store has: whoever
// led before may have written since.
func (s *Syncer) lead(ctx context.Context) error {
	fence, ok, err := s.store.Lead(ctx, "sync")
	if err != nil {
		return fmt.Errorf("ask who leads the synchronization: %w", err)
	}
	if !ok {
		s.lose()
		return ErrNotLeading
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fence != s.fence {
		_ = s.mirror.Settle() // it is read from the store anew
		s.mirror = NewMirror(s.store)
		s.forgetEvaluation()
		s.fence = fence
	}
	if !s.leads {
		s.log.Info("leads the synchronization", "fence", fence)
	}
	s.leads = true
	for _, c := range s.config.Sources {
		if s.mirror.facts(c.ID) != nil {
			continue
		}
		if err := s.mirror.Load(ctx, c.ID); err != nil {
			return err
		}
		s.measure(c.ID)
	}
	return nil
}

// lose forgets what only the leader knows.
func (s *Syncer) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.mirror.Settle() // whoever leads reads it from the store
	s.mirror = NewMirror(s.store)
	s.forgetEvaluation()
	if s.leads {
		s.log.Warn("another process leads the synchronization now", "fence", s.fence)
	}
	s.leads, s.fence = false, 0
	clear(s.recordedStale)
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	for _, st := range s.sources {
		st.waiting = waiting{} // what waits now is the other's to tell
	}
}

// read runs a round of each of the sources, side by side. The error joins theirs;
// without source reports nothing was read.
func (s *Syncer) read(ctx context.Context, o Options) (Report, error) {
	if len(o.AcceptReads) > 0 {
		if strings.TrimSpace(o.Reason) == "" {
			return Report{}, ErrNoReason
		}
		if _, err := s.chosen(ctx, o.AcceptReads); err != nil {
			return Report{}, err
		}
	}
	sources, err := s.chosen(ctx, o.Sources)
	if err != nil {
		return Report{}, err
	}
	report := Report{Sources: []SourceReport{}, began: s.now()}
	if o.NoRead || o.Exactly != nil {
		return report, nil
	}
	report.Sources = make([]SourceReport, len(sources))
	var wait sync.WaitGroup
	for i, c := range sources {
		c.acceptRead = slices.Contains(o.AcceptReads, c.ID)
		wait.Go(func() { report.Sources[i] = s.round(ctx, c, o.Progress) })
	}
	wait.Wait()
	var errs []error
	for _, r := range report.Sources {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return report, errors.Join(errs...)
}

// chosen are the configured sources of these ids, all where ids is nil, once it is
// sure that this process leads.
func (s *Syncer) chosen(ctx context.Context, ids []directory.SourceID) ([]Source, error) {
	if err := s.lead(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	sources := slices.Clone(s.config.Sources)
	s.mu.Unlock()
	for _, id := range ids {
		if !slices.ContainsFunc(sources, func(c Source) bool { return c.ID == id }) {
			return nil, fmt.Errorf("%w %q", ErrNoSource, id)
		}
	}
	if ids != nil {
		sources = slices.DeleteFunc(sources, func(c Source) bool { return !slices.Contains(ids, c.ID) })
	}
	return sources, nil
}

// defaultTimeout is the longest that a round may take.
const defaultTimeout = time.Hour

// round reads one source once. What it said until an error is kept; nothing is
// taken away (Rules SRC-1, REL-4).
func (s *Syncer) round(ctx context.Context, c Source, progress func(Progress)) SourceReport {
	defer s.reading.lock(c.ID)()
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := s.now()
	report := SourceReport{Progress: Progress{Source: c.ID}}
	s.beginReading(c.ID, began)
	s.beginWaiting(c.ID)
	err := s.readRound(ctx, c, func(r *Round) {
		report.Pages++
		report.Mode, report.Objects, report.Edges, report.Done = r.mode, r.objects, r.edges, r.done
		report.Problems, report.ProblemCount = r.problems, r.problemCount
		report.Elapsed = s.now().Sub(began)
		s.statusOf(c.ID, func(st *SourceStatus) {
			st.Reading = r.objects
			st.Running = &Running{Mode: r.mode.String(), Since: began, Pages: report.Pages, Objects: r.objects, Edges: r.edges, Of: r.had}
		})
		if progress != nil {
			progress(report.Progress)
		}
	})
	report.Elapsed = s.now().Sub(began)
	report.changed = s.changed(c.ID)
	s.endWaiting(c.ID, err)
	if f, ok := c.Reader.(directory.Follower); ok {
		s.follows(c.ID, f.Follows())
	}
	if m, ok := c.Reader.(directory.Metered); ok {
		usage := m.Usage()
		s.statusOf(c.ID, func(st *SourceStatus) { st.Usage = &usage })
	}
	if err != nil {
		report.Err = fmt.Errorf("read source %s: %w", c.ID, err)
		if errors.Is(err, store.ErrFenced) {
			s.lose()
		}
	}
	s.finishRound(report)
	return report
}

// follows publishes how a source's changes are followed, and logs when that becomes
// another: a weaker way is not taken in silence (Rule LDAP-3).
func (s *Syncer) follows(id directory.SourceID, way string) {
	before := ""
	s.statusOf(id, func(st *SourceStatus) { before, st.Follows = st.Follows, way })
	if way != before {
		s.log.Info("changes are followed", "source", id, "by", way, "before", before)
	}
}

// maxExpired is how many cursors may turn out to be expired in one round: that of
// the round's middle, that of its beginning, and one more.
const maxExpired = 3

func (s *Syncer) readRound(ctx context.Context, c Source, read func(*Round)) error {
	if err := s.commitMirror(ctx, c.ID); err != nil { // what an earlier round could not store
		return err
	}
	for expired := 0; ; expired++ {
		var round *Round
		start, err := s.start(c.ID)
		if err != nil {
			return err
		}
		err = c.Reader.Read(ctx, start,
			func(mode directory.Mode) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				var err error
				if s.mirror.facts(c.ID) == nil {
					return ErrNotLeading
				}
				if round, err = s.mirror.Begin(c.ID, mode); err != nil {
					return err
				}
				if round.mayLack = s.guards().ShrunkenRead; c.acceptRead {
					round.mayLack = 1
				}
				return nil
			},
			func(page directory.Page) error {
				if round == nil {
					return fmt.Errorf("internal error: connector of %s gave a page before it began", c.ID)
				}
				err := s.take(ctx, c.ID, round, page)
				read(round)
				return err
			})
		if round != nil && round.done {
			if err != nil {
				s.log.Warn("the source was read, but did not end well", "source", c.ID, "error", err)
			}
			return s.commitMirror(ctx, c.ID)
		}
		if err == nil {
			err = fmt.Errorf("the connector ended without saying that the source was finished: %w", directory.ErrIncomplete)
		}
		// A source that knows none of its own cursors would keep us reading for ever.
		if errors.Is(err, directory.ErrCursorExpired) && expired < maxExpired && s.expire(c.ID) {
			s.log.Warn("the source does not know our cursor any more; reading from an earlier point", "source", c.ID, "error", err)
			continue
		}
		if errors.Is(err, ErrShrunken) {
			s.giveUp(c.ID) // what it lacks it would lack for ever, were it taken up where it stands
		}
		return errors.Join(err, s.commitMirror(context.WithoutCancel(ctx), c.ID))
	}
}

// take takes one page and begins to store what has gathered.
func (s *Syncer) take(ctx context.Context, id directory.SourceID, r *Round, page directory.Page) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.mirror.sources[id]
	if src == nil || r.source != src {
		return ErrNotLeading
	}
	if err := r.Apply(page, s.now()); err != nil {
		return err
	}
	if !src.batch.empty() {
		s.mirrored(id)
	}
	if !r.done && !src.batch.full() {
		return nil
	}
	return s.mirror.BeginCommit(ctx, id, s.fence)
}

func (s *Syncer) start(id directory.SourceID) (directory.Start, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mirror.facts(id) == nil {
		return directory.Start{}, ErrNotLeading
	}
	var attributes []string
	if s.config.Rules != nil {
		attributes = s.config.Rules.Attributes(id)
	}
	return s.mirror.Start(id, attributes), nil
}

func (s *Syncer) expire(id directory.SourceID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mirror.facts(id) != nil && s.mirror.Expire(id)
}

func (s *Syncer) giveUp(id directory.SourceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mirror.facts(id) != nil {
		s.mirror.giveUp(id)
	}
}

func (s *Syncer) commitMirror(ctx context.Context, id directory.SourceID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mirror.facts(id) == nil {
		return nil
	}
	return s.mirror.Commit(ctx, id, s.fence)
}

// Run synchronizes until the context ends: at first, and when the configuration
// changes, with what is mirrored; then source by source, each at its interval.
func (s *Syncer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		sources := slices.Clone(s.config.Sources)
		s.mu.Unlock()
		loops, stop := context.WithCancel(ctx)
		var wait sync.WaitGroup
		wait.Go(func() { _ = s.reconcile(loops, Options{NoRead: true, cause: store.CauseFiles}) }) // it logs; nothing is read here
		wait.Go(func() { s.watchEnds(loops) })
		wait.Go(func() { s.watchAges(loops) })
		for _, c := range sources {
			wait.Go(func() { s.loop(loops, c) })
		}
		select {
		case <-ctx.Done():
		case <-s.replaced:
		}
		stop()
		wait.Wait()
	}
	return nil
}

// defaultInterval is between two rounds of a source that sets none.
const defaultInterval = 15 * time.Minute

// The pauses after a source could not be read: they double, up to a limit.
const (
	firstPause   = 5 * time.Second
	longestPause = 15 * time.Minute
	// watchPause is before a watch that ended is taken up again.
	watchPause = 15 * time.Second
	// leadPause is how often a process that does not lead asks again, one whose store
	// does not answer tries it again, and a source that has yet to say anything is
	// asked.
	leadPause = 10 * time.Second
	// jitter is the share by which intervals vary, so that many sources, or many
	// Ambits, do not ask at one moment.
	jitter = 0.1
)

// loop reads one source again and again: at its interval, and when it says that it
// has changed.
func (s *Syncer) loop(ctx context.Context, c Source) {
	var watch sync.WaitGroup
	defer watch.Wait()
	watcher, _ := c.Reader.(directory.Watcher)
	changed := make(chan struct{}, 1)
	failures := backoff.NewExponentialBackOff()
	failures.InitialInterval, failures.MaxInterval = firstPause, longestPause
	failures.Multiplier, failures.RandomizationFactor = 2, 0.25
	failures.Reset()
	cause := store.CauseInterval
	for {
		err := s.reconcile(ctx, Options{Sources: []directory.SourceID{c.ID}, cause: cause})
		if ctx.Err() != nil {
			return
		}
		var pause time.Duration
		var throttled *directory.Throttled
		if err == nil && watcher != nil {
			w := watcher
			watch.Go(func() { s.watch(ctx, c.ID, w, changed) })
			watcher = nil // it is one for all rounds
		}
		woken := changed
		switch {
		case errors.Is(err, ErrNotLeading), errors.Is(err, directory.ErrNothingYet), errors.Is(err, store.ErrUnreachable), errors.Is(err, store.ErrReadOnly):
			pause, woken = s.leadPause, nil
		case err != nil:
			woken = nil // a source that cannot be read is not asked more often for that
			pause = failures.NextBackOff()
			if errors.As(err, &throttled) {
				pause = max(pause, throttled.RetryAfter)
			}
		default:
			failures.Reset()
			pause = c.Interval
			if pause <= 0 {
				pause = defaultInterval
			}
			pause += time.Duration(jitter * (2*rand.Float64() - 1) * float64(pause))
		}
		s.statusOf(c.ID, func(st *SourceStatus) { st.Next = s.now().Add(pause) })
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			cause = store.CauseInterval
		case <-woken: // what comes while a round runs is the next one's, together
			cause = store.CauseNotification
		}
	}
}

// watch lets a source say when it changes, for as long as the context lasts. It is
// a matter of speed alone: the source is read at its interval all the same.
func (s *Syncer) watch(ctx context.Context, id directory.SourceID, w directory.Watcher, changed chan<- struct{}) {
	for ctx.Err() == nil {
		if start, err := s.start(id); err == nil && start.Cursor != nil && !start.Resumed {
			err := w.Watch(ctx, start, func() {
				s.told(id)
				select {
				case changed <- struct{}{}:
				default: // it is known
				}
			})
			if err != nil && ctx.Err() == nil {
				s.log.Info("the source does not tell of its changes any more; asking again", "source", id, "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// reconcile is Sync for the loop: it logs what happens. It returns only what
// became of the reading.
func (s *Syncer) reconcile(ctx context.Context, o Options) error {
	report, err := s.read(ctx, o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrNotLeading) {
		return err
	}
	switch {
	case err == nil:
	case errors.Is(err, directory.ErrNothingYet):
		s.log.Debug("waiting for a source", "error", err)
	default:
		s.log.Error("a source could not be read; decisions rest on what it said last", "error", err)
	}
	if err != nil && report.Sources == nil {
		return err
	}
	switch applyErr := s.commit(ctx, o, &report); {
	case applyErr == nil || ctx.Err() != nil:
	case errors.Is(applyErr, ErrHeld):
		s.log.Warn("the plan is held; nothing was changed", "error", applyErr)
	default:
		s.log.Error("the plan could not be applied", "error", applyErr)
	}
	return err
}

// sourceLocks keep two rounds of one source apart.
type sourceLocks struct {
	mu    sync.Mutex
	locks map[directory.SourceID]*sync.Mutex
}

func (l *sourceLocks) lock(id directory.SourceID) (unlock func()) {
	l.mu.Lock()
	m := l.locks[id]
	if m == nil {
		m = &sync.Mutex{}
		l.locks[id] = m
	}
	l.mu.Unlock()
	m.Lock()
	return m.Unlock
}
