package dirsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
)

// VerifyOptions of one verification.
type VerifyOptions struct {
	// Sources are verified; nil: all.
	Sources []directory.SourceID
	// Stored compares what is in memory with what the store has, too.
	Stored bool
	// Repair reads the sources that differ in full and applies the plan that follows,
	// guards and all.
	Repair bool
	Actor  audit.Actor
	// Progress, if set, is called after each page, from several goroutines.
	Progress func(Progress)
}

// VerifyReport is what a verification found.
type VerifyReport struct {
	Sources []Verification
	// Repair is what became of the repair; nil: none was needed or asked for.
	// RepairErr is its error, as of Sync.
	Repair    *Report
	RepairErr error
}

// How a source was compared with its mirror.
const (
	ByVersion = "version" // each object's version and the digest of what was read of it
	ByReading = "reading" // everything was read again
)

// Verification is what became of comparing one source with its mirror.
type Verification struct {
	Source  directory.SourceID
	Method  string
	Objects int // compared
	// Skipped are objects that the source gave in a form that cannot be taken over
	// (Rule SRC-10); they are as they were read last.
	Skipped int
	// Differences are the first of those found, by id; Count is how many there are.
	Differences []Discrepancy
	Count       int
	Elapsed     time.Duration
	Err         error
}

// Discrepancy is an object that the mirror does not have as the source has it,
// though a round of reading what has changed did not tell of it.
type Discrepancy struct {
	Object directory.ObjectID `json:"object"`
	Name   string             `json:"name,omitempty"`
	Text   string             `json:"text"`
}

// maxDiscrepancies is how many a report lists.
const maxDiscrepancies = 1000

// Verify proves that the mirrors are what the sources have, or finds where they
// are not. It changes nothing by itself, but that the sources are read by change as
// always; a repair goes through a plan. What differs only because the source has
// changed in between is read and not reported.
func (s *Syncer) Verify(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	sources, err := s.chosen(ctx, o.Sources)
	if err != nil {
		return VerifyReport{}, err
	}
	report := VerifyReport{Sources: make([]Verification, len(sources))}
	var wait sync.WaitGroup
	for i, c := range sources {
		wait.Go(func() { report.Sources[i] = s.verify(ctx, c, o) })
	}
	wait.Wait()
	var errs []error
	var differ []directory.SourceID
	for _, v := range report.Sources {
		if v.Err != nil {
			errs = append(errs, v.Err)
		}
		if v.Count > 0 {
			differ = append(differ, v.Source)
		}
	}
	if o.Repair && len(differ) > 0 {
		var repaired Report
		repaired, report.RepairErr = s.repair(ctx, differ, o)
		report.Repair = &repaired
		errs = append(errs, report.RepairErr)
	}
	return report, errors.Join(errs...)
}

// repair reads sources in full, over what the store has of them.
func (s *Syncer) repair(ctx context.Context, sources []directory.SourceID, o VerifyOptions) (Report, error) {
	for _, id := range sources {
		if err := s.reload(ctx, id); err != nil {
			return Report{}, err
		}
	}
	return s.Sync(ctx, Options{Sources: sources, Actor: o.Actor, Progress: o.Progress})
}

func (s *Syncer) reload(ctx context.Context, id directory.SourceID) error {
	defer s.reading.lock(id)()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mirror.facts(id) == nil {
		return ErrNotLeading
	}
	if err := s.mirror.Load(ctx, id); err != nil {
		return err
	}
	for s.mirror.Expire(id) {
	}
	return nil
}

// verify compares one source with its mirror.
func (s *Syncer) verify(ctx context.Context, c Source, o VerifyOptions) Verification {
	began := s.now()
	v := Verification{Source: c.ID}
	if v.Err = s.compare(ctx, c, o, &v); v.Err != nil {
		v.Err = fmt.Errorf("verify source %s: %w", c.ID, v.Err)
	}
	v.Elapsed = s.now().Sub(began)
	return v
}

func (s *Syncer) compare(ctx context.Context, c Source, o VerifyOptions, v *Verification) error {
	if r := s.round(ctx, c, o.Progress); r.Err != nil {
		return r.Err
	}
	found, err := s.discrepancies(ctx, c, o.Stored, v)
	if err != nil || len(found) == 0 {
		return err
	}
	// What the source has changed in the meantime, this round tells.
	if r := s.round(ctx, c, o.Progress); r.Err != nil {
		return r.Err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.mirror.facts(c.ID)
	if f == nil {
		return ErrNotLeading
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if d := found[name]; f.state(f.lookup(name)) == d.state {
			if v.Count++; len(v.Differences) < maxDiscrepancies {
				v.Differences = append(v.Differences, d.Discrepancy)
			}
		}
	}
	return nil
}

// discrepancy is one that may be explained yet by what the source has changed: if
// the mirror's state of the object changes, too.
type discrepancy struct {
	Discrepancy
	state state
}

// discrepancies compares, while no round goes on.
func (s *Syncer) discrepancies(ctx context.Context, c Source, stored bool, v *Verification) (map[directory.Ref]discrepancy, error) {
	defer s.reading.lock(c.ID)()
	start, err := s.start(c.ID)
	if err != nil {
		return nil, err
	}
	start = directory.Start{Attributes: start.Attributes}
	s.mu.Lock()
	f := s.mirror.facts(c.ID)
	s.mu.Unlock()
	if f == nil {
		return nil, ErrNotLeading
	}
	k := comparison{syncer: s, source: c.ID, facts: f, found: map[directory.Ref]discrepancy{}}
	surveyor, ok := c.Reader.(directory.Surveyor)
	if ok = ok && k.marked(); ok {
		err = k.survey(ctx, surveyor, start)
		ok = !errors.Is(err, directory.ErrNoSurvey)
	}
	if v.Method = ByVersion; !ok {
		v.Method, k.found = ByReading, map[directory.Ref]discrepancy{}
		v.Skipped, err = k.read(ctx, c.Reader, start)
	}
	if err == nil && stored {
		err = k.stored(ctx)
	}
	v.Objects = f.objects
	return k.found, err
}

// comparison of a source's mirror. The mirror stays as it is meanwhile, since no
// round goes on, unless another process takes over.
type comparison struct {
	syncer *Syncer
	source directory.SourceID
	facts  *facts
	found  map[directory.Ref]discrepancy
}

// with does something with the mirror.
func (k *comparison) with(do func()) error {
	k.syncer.mu.Lock()
	defer k.syncer.mu.Unlock()
	if k.syncer.mirror.facts(k.source) != k.facts {
		return ErrNotLeading
	}
	do()
	return nil
}

func (k *comparison) differs(name directory.Ref, text string) {
	f := k.facts
	n := f.lookup(name)
	d := discrepancy{Discrepancy: Discrepancy{Text: text}, state: f.state(n)}
	d.Object, _ = name.ID()
	if o, ok := f.object(n); ok {
		if d.Name = o.DN; d.Name == "" {
			d.Name = o.Name()
		}
	}
	k.found[name] = d
}

// What is said of an object that differs.
const (
	onlyMirrored = "the source does not have it any more"
	notMirrored  = "the source has it, and it is not mirrored"
	otherVersion = "the source has another version of it"
	notAsRead    = "what is mirrored is not what was read"
	otherName    = "the source has it under another name"
	notAsStored  = "the store has it otherwise"
)

// marked tells whether every mirrored object has a mark.
func (k *comparison) marked() bool {
	all := false
	err := k.with(func() {
		f := k.facts
		all = true
		for n := range f.refs {
			if o := f.refs[n].object; o != nil && f.names.first(o.attributes, directory.AttrMark) == "" {
				all = false
				return
			}
		}
	})
	return all && err == nil
}

// survey compares by the objects' versions.
func (k *comparison) survey(ctx context.Context, source directory.Surveyor, start directory.Start) error {
	f := k.facts
	seen, otherwise := make([]bool, len(f.refs)), make([]bool, len(f.refs))
	var digested error
	var digesting sync.WaitGroup
	digesting.Go(func() { digested = k.digest(otherwise) })
	err := source.Survey(ctx, start, func(states []directory.State) error {
		return k.with(func() {
			for _, s := range states {
				n := f.lookupID(s.ID)
				o := f.refs[n].object
				switch {
				case o == nil:
					k.differs(directory.ByID(s.ID), notMirrored)
					continue
				case directory.Mark(f.names.first(o.attributes, directory.AttrMark)).Version() != s.Version:
					k.differs(f.refs[n].name, otherVersion)
				case f.dn(o) != s.DN:
					k.differs(f.refs[n].name, otherName)
				}
				seen[n] = true
			}
		})
	})
	digesting.Wait()
	if err = cmp.Or(err, digested); err != nil {
		return err
	}
	return k.with(func() {
		for n := range f.refs {
			switch {
			case f.refs[n].object == nil:
			case !seen[n]:
				k.differs(f.refs[n].name, onlyMirrored)
			case otherwise[n]:
				k.differs(f.refs[n].name, notAsRead)
			}
		}
	})
}

// digestTurn is how many references are looked at before others get their turn.
const digestTurn = 1_000

// digest finds, while the server is asked, what is not held as it was read.
func (k *comparison) digest(otherwise []bool) error {
	f := k.facts
	for from := 0; from < len(otherwise); from += digestTurn {
		if err := k.with(func() {
			for n := from; n < min(from+digestTurn, len(otherwise)); n++ {
				if o := f.refs[n].object; o != nil {
					otherwise[n] = !directory.Mark(f.names.first(o.attributes, directory.AttrMark)).Matches(f.digest(refNo(n)))
				}
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// read compares by reading everything. It returns how many objects were left out.
func (k *comparison) read(ctx context.Context, reader directory.Reader, start directory.Start) (int, error) {
	again := &source{id: k.source, facts: newFacts()}
	again.facts.touched.all = true
	left := map[directory.Ref]struct{}{}
	var round *Round
	err := reader.Read(ctx, start, func(mode directory.Mode) error {
		if mode != directory.Full {
			return fmt.Errorf("internal error: connector of %s reads by change without a cursor", k.source)
		}
		round = again.begin(mode)
		return nil
	}, func(page directory.Page) error {
		for _, p := range page.Problems {
			if p.Object != "" {
				left[directory.ByID(p.Object)] = struct{}{}
			}
		}
		again.batch = batch{}
		return round.Apply(page, k.syncer.now())
	})
	switch {
	case round != nil && round.done:
	case err == nil:
		return 0, fmt.Errorf("the connector ended without saying that the source was finished: %w", directory.ErrIncomplete)
	default:
		return 0, err
	}
	return len(left), k.with(func() { k.against(again.facts, left, onlyMirrored, "") })
}

// stored compares with the store.
func (k *comparison) stored(ctx context.Context) error {
	m := NewMirror(k.syncer.store)
	if err := m.Load(ctx, k.source); err != nil {
		return err
	}
	return k.with(func() { k.against(m.facts(k.source), nil, notAsStored, notAsStored) })
}

// against compares with other facts, but for the objects that are left out.
func (k *comparison) against(g *facts, left map[directory.Ref]struct{}, missing, differs string) {
	f := k.facts
	for n := range f.refs {
		name := f.refs[n].name
		if _, out := left[name]; out || f.state(refNo(n)) == g.state(g.lookup(name)) {
			continue
		}
		switch m := g.lookup(name); {
		case f.refs[n].object == nil:
			k.differs(name, notMirrored)
		case g.refs[m].object == nil:
			k.differs(name, missing)
		default:
			text := differs
			if text == "" {
				text = difference(f, refNo(n), g, m)
			}
			k.differs(name, text)
		}
	}
	for m := range g.refs {
		name := g.refs[m].name
		if _, out := left[name]; !out && g.state(refNo(m)) != (state{}) && f.state(f.lookup(name)) == (state{}) {
			k.differs(name, notMirrored)
		}
	}
}

// difference says in which way the source's object m differs from the mirror's n.
func difference(f *facts, n refNo, g *facts, m refNo) string {
	a, _ := f.object(n)
	b, _ := g.object(m)
	if a.DN != b.DN {
		return otherName
	}
	names := map[string]struct{}{}
	for _, attributes := range []map[string][]string{a.Attributes, b.Attributes} {
		for name := range attributes {
			if name != directory.AttrMark && !slices.Equal(a.Attributes[name], b.Attributes[name]) {
				names[name] = struct{}{}
			}
		}
	}
	more, fewer := missingEdges(f, n, g, m), missingEdges(g, m, f, n)
	return fmt.Sprintf("the source has %d other attributes %v, %d more memberships and ownerships, %d fewer", len(names), slices.Sorted(maps.Keys(names)), more, fewer)
}

// missingEdges counts the edges of g's object m that f's object n has not.
func missingEdges(f *facts, n refNo, g *facts, m refNo) int {
	count := 0
	if l := g.refs[m].links; l != nil {
		for _, out := range l.out {
			for _, e := range out {
				x := g.edges[e]
				if _, ok := f.edgeNumbers[edgeKey{n, f.lookup(g.refs[x.far].name), x.relation}]; !ok {
					count++
				}
			}
		}
	}
	return count
}

// state sums up all that is held of an object; the zero value: nothing.
type state struct {
	kind   directory.Kind
	dn     string
	mark   string
	digest directory.Digest
}

func (f *facts) state(n refNo) state {
	s := state{digest: f.digest(n)}
	if o := f.refs[n].object; o != nil {
		s.kind, s.dn, s.mark = o.kind, f.dn(o), f.names.first(o.attributes, directory.AttrMark)
	}
	return s
}

// digest is of an object's attributes and edges as they are held.
func (f *facts) digest(n refNo) directory.Digest {
	var d directory.Digest
	if o := f.refs[n].object; o != nil {
		f.names.each(o.attributes, d.Attribute)
	}
	if l := f.refs[n].links; l != nil {
		for _, out := range l.out {
			for _, e := range out {
				d.Edge(f.edges[e].relation, f.refs[f.edges[e].far].name)
			}
		}
	}
	return d
}
