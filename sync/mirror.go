package dirsync

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// MirrorStore is where mirrors are kept.
type MirrorStore interface {
	LoadMirror(ctx context.Context, source directory.SourceID, yield func(store.MirrorRow) error) (store.MirrorStatus, error)
	CommitMirror(ctx context.Context, page store.MirrorPage) error
}

// Mirror is what every source said last, in memory, as the store has it. It is
// the directory.View that mapping rules see.
//
// It is not safe for use while somebody loads, applies pages or commits;
// several may read it together.
type Mirror struct {
	store   MirrorStore
	sources map[directory.SourceID]*source
}

// source is one source's facts and where its rounds stand.
type source struct {
	id    directory.SourceID
	facts *facts

	cursor    []byte    // after the last complete round
	completed time.Time // its end; zero if there was none
	stored    store.MirrorStatus
	batch     batch    // not committed yet
	storing   *storing // a commit under way
	// changed is what was stored since the round began.
	changed store.MirrorChanges
	round   *Round // in progress or interrupted
}

// storing is a commit that goes on while its source is read further. What it
// stores is set before it begins, what became of it when done is closed.
type storing struct {
	batch  batch
	status store.MirrorStatus
	done   chan struct{}
	// counts is what of the batch there is to store, once done is closed.
	counts store.MirrorChanges
	err    error
}

// cursorAge is how old the stored cursor of a source without changes may become:
// a round that brought nothing writes nothing, but sources forget cursors after
// days (Rule GRAPH-18), so the newest one is kept once in a while.
const cursorAge = 12 * time.Hour

// NewMirror makes a mirror without sources.
func NewMirror(st MirrorStore) *Mirror {
	return &Mirror{store: st, sources: map[directory.SourceID]*source{}}
}

// Load reads a source's stored facts, in place of what is in memory. A source
// that was never stored is empty.
func (m *Mirror) Load(ctx context.Context, id directory.SourceID) error {
	if old := m.sources[id]; old != nil {
		_ = old.settle() // what could not be stored is not there
	}
	s := &source{id: id, facts: newFacts()}
	f := s.facts
	f.touched.all, f.pending = true, -1
	status, err := m.store.LoadMirror(ctx, id, func(row store.MirrorRow) error {
		if row.Object != nil {
			f.put(directory.Upsert{Object: *row.Object})
		}
		if row.Edge != nil {
			far, p := parseRow(row.Edge.Far)
			e, _ := f.link(f.intern(directory.ByID(row.Edge.Group)), row.Edge.Relation, far)
			if p.id != "" {
				f.setPin(e, p)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load mirror of %s: %w", id, err)
	}
	f.batch = &s.batch
	f.countPending()
	s.stored, s.cursor, s.completed = status, status.Cursor, status.Completed
	var n note
	if len(status.State) > 0 {
		if err := json.Unmarshal(status.State, &n); err != nil {
			return fmt.Errorf("load mirror of %s: the note on the round in progress: %w", id, err)
		}
	}
	if !status.Completed.IsZero() && !n.Unsure {
		f.confirmAllBut(n.Added)
	}
	if status.MidRound {
		s.resume(n, status.Cursor)
	}
	m.sources[id] = s
	return nil
}

// Forget drops a source from memory, after the commit under way.
func (m *Mirror) Forget(id directory.SourceID) {
	if s, ok := m.sources[id]; ok {
		_ = s.settle() // what is not stored will be read again
		delete(m.sources, id)
	}
}

// note is what the store keeps of a round in progress besides its data.
type note struct {
	Full  bool `json:"full,omitempty"`
	Fresh bool `json:"fresh,omitempty"` // it began with an empty mirror
	// Last is the cursor of the last complete round, to go back to when the one
	// in the middle of this round is of no use (Rule GRAPH-13).
	Last []byte `json:"last,omitempty"`
	// Named as gone, and held until the round is complete (Rule SRC-1).
	Removed      []directory.ObjectID `json:"removed,omitempty"`
	RemovedEdges []directory.Edge     `json:"removed_edges,omitempty"`
	Whole        []relationOf         `json:"whole,omitempty"`
	// Added are the edges by name that no complete round has confirmed; with
	// Unsure there are too many to list.
	Added  []directory.Edge `json:"added,omitempty"`
	Unsure bool             `json:"unsure,omitempty"`
}

// maxAdded is how many edges a note lists.
const maxAdded = 10_000

// relationOf names one group's edges of one relation.
type relationOf struct {
	Group    directory.ObjectID `json:"group"`
	Relation directory.Relation `json:"relation"`
}

// resume takes up the round in whose middle the store was left. A full round
// over a mirror that was not empty starts again instead: which of the stored
// facts it had named is not stored.
func (s *source) resume(n note, cursor []byte) {
	s.cursor = n.Last
	if n.Full && !n.Fresh {
		s.cursor = nil
		return
	}
	mode := directory.Delta
	if n.Full {
		mode = directory.Full
	}
	r := s.begin(mode)
	r.fresh, r.cursor = n.Fresh, cursor
	f := s.facts
	if n.Fresh {
		for i := range f.refs {
			if o := f.refs[i].object; o != nil {
				o.seen = f.round
			}
		}
		for i := range f.edges {
			f.edges[i].seen = f.round
		}
	}
	for _, id := range n.Removed {
		r.removed[id] = struct{}{}
	}
	for _, e := range n.RemovedEdges {
		r.removedEdges[e] = struct{}{}
	}
	for _, w := range n.Whole {
		g := f.lookupID(w.Group)
		if g == 0 {
			continue
		}
		l := f.linksOf(g)
		l.whole[w.Relation] = f.round
		r.whole[w] = struct{}{}
		for _, e := range l.out[w.Relation] {
			_, gone := r.removedEdges[f.edge(e)]
			f.edges[e].seen, f.edges[e].whole = f.round, !gone
		}
	}
}

// Start is what the source's connector is told when the next round begins.
func (m *Mirror) Start(id directory.SourceID, attributes []string) directory.Start {
	s := m.sources[id]
	start := directory.Start{Cursor: s.cursor, Attributes: attributes, Mirrored: map[directory.Kind]int{}}
	for kind, n := range s.facts.kinds {
		if n > 0 {
			start.Mirrored[directory.Kind(kind)] = n
		}
	}
	if s.round != nil && s.round.cursor != nil {
		start.Cursor, start.Resumed = s.round.cursor, true
	}
	return start
}

// Expire gives a cursor up: the one in the middle of a round for the one at its
// beginning (Rule GRAPH-13), that one for none. It tells whether there is
// something left to try: false if the last round already had no cursor.
func (m *Mirror) Expire(id directory.SourceID) bool {
	s := m.sources[id]
	switch {
	case s.round != nil && s.round.cursor != nil:
	case s.cursor != nil:
		s.cursor = nil
	default:
		return false
	}
	m.giveUp(id)
	return true
}

// giveUp ends the round in progress: the next begins anew.
func (m *Mirror) giveUp(id directory.SourceID) {
	s := m.sources[id]
	s.round, s.facts.midway = nil, false
}

// Begin starts a round, or goes on with the interrupted one if the connector was
// told to.
func (m *Mirror) Begin(id directory.SourceID, mode directory.Mode) (*Round, error) {
	s := m.sources[id]
	if s.round != nil && s.round.cursor != nil {
		if s.round.mode != mode {
			s.round = nil
			return nil, fmt.Errorf("source %s: the connector resumed a %s round as %s", id, s.round.mode, mode)
		}
		return s.round, nil
	}
	return s.begin(mode), nil
}

func (s *source) begin(mode directory.Mode) *Round {
	f := s.facts
	f.round++
	f.midway = true
	f.beginPins()
	s.round = &Round{
		source: s, mode: mode, had: f.objects, fresh: mode == directory.Full && f.objects == 0 && len(f.edgeNumbers) == 0,
		removed:      map[directory.ObjectID]struct{}{},
		removedEdges: map[directory.Edge]struct{}{},
		whole:        map[relationOf]struct{}{},
		unknown:      map[directory.ObjectID]struct{}{},
		settled:      map[directory.ObjectID]struct{}{},
		unmentioned:  map[directory.ObjectID][]string{},
	}
	return s.round
}

// Commit stores what the source's pages have changed so far, with the cursor
// that covers it, in one transaction (Rule SRC-2). Without a change it stores
// nothing. If it fails, the changes stay for the next Commit.
func (m *Mirror) Commit(ctx context.Context, id directory.SourceID, fence int64) error {
	if err := m.BeginCommit(ctx, id, fence); err != nil {
		return err
	}
	return m.sources[id].settle()
}

// BeginCommit is Commit that does not wait for the store, but for the commit
// before it, whose error it returns. One of Commit, Settle and Forget must follow.
func (m *Mirror) BeginCommit(ctx context.Context, id directory.SourceID, fence int64) error {
	s := m.sources[id]
	page := s.batch.page() // while the commit before goes on
	if err := s.settle(); err != nil {
		return err
	}
	status := store.MirrorStatus{Cursor: s.cursor, Completed: s.completed}
	if s.round != nil {
		state, err := json.Marshal(s.round.note())
		if err != nil {
			return fmt.Errorf("note on the round of %s: %w", id, err)
		}
		status.State = state
		if s.round.cursor != nil {
			status.Cursor, status.MidRound = s.round.cursor, true
		}
	}
	if s.batch.empty() && !s.worthStoring(status) {
		return nil
	}
	c := &storing{batch: s.batch, status: status, done: make(chan struct{})}
	s.batch, s.storing = batch{}, c
	if s.round != nil { // the next will be about as large
		s.batch = batch{make([]objectChange, 0, len(c.batch.objects)), make([]edgeChange, 0, len(c.batch.edges))}
	}
	go func() {
		defer close(c.done)
		page.Source, page.Status, page.Fence = id, status, fence
		c.counts = store.MirrorChanges{
			Put: len(page.Put), Deleted: len(page.Delete), AddedEdges: len(page.AddEdges), RemovedEdges: len(page.RemoveEdges),
		}
		if err := m.store.CommitMirror(ctx, page); err != nil {
			c.err = fmt.Errorf("store the mirror of %s: %w", id, err)
		}
	}()
	return nil
}

// settle waits for the commit under way. What could not be stored is to be stored
// with what came since.
func (s *source) settle() error {
	c := s.storing
	if c == nil {
		return nil
	}
	<-c.done
	s.storing = nil
	if c.err != nil {
		s.batch = c.batch.then(s.batch)
		return c.err
	}
	s.stored = c.status
	s.changed.Put += c.counts.Put
	s.changed.Deleted += c.counts.Deleted
	s.changed.AddedEdges += c.counts.AddedEdges
	s.changed.RemovedEdges += c.counts.RemovedEdges
	return nil
}

// Settle waits for the commits under way.
func (m *Mirror) Settle() error {
	var errs []error
	for _, id := range m.Sources() {
		errs = append(errs, m.sources[id].settle())
	}
	return errors.Join(errs...)
}

// worthStoring tells whether a status is stored that comes without data.
func (s *source) worthStoring(status store.MirrorStatus) bool {
	switch {
	case len(status.State) > 0, status.Completed.IsZero():
		return false
	case len(s.stored.State) > 0, s.stored.Completed.IsZero():
		return true
	}
	return string(status.Cursor) != string(s.stored.Cursor) && status.Completed.Sub(s.stored.Completed) >= cursorAge
}

// Size is how much of a source is mirrored.
type Size struct {
	Objects int `json:"objects"`
	Edges   int `json:"edges"`
	// Pending are the edges whose far end is not mirrored, or not known for sure
	// (Rule SRC-5).
	Pending int `json:"pending"`
}

// Size returns how much of the source is mirrored.
func (m *Mirror) Size(id directory.SourceID) Size {
	f := m.sources[id].facts
	return Size{Objects: f.objects, Edges: len(f.edgeNumbers), Pending: f.countPending()}
}

// Completed is the end of the source's last complete round; zero if there was
// none.
func (m *Mirror) Completed(id directory.SourceID) time.Time {
	if s, ok := m.sources[id]; ok {
		return s.completed
	}
	return time.Time{}
}

// Sources lists the mirrored sources, sorted.
func (m *Mirror) Sources() []directory.SourceID { return slices.Sorted(maps.Keys(m.sources)) }

func (m *Mirror) facts(id directory.SourceID) *facts {
	if s, ok := m.sources[id]; ok {
		return s.facts
	}
	return nil
}

// Object returns one object.
func (m *Mirror) Object(source directory.SourceID, id directory.ObjectID) (directory.Object, bool) {
	f := m.facts(source)
	if f == nil {
		return directory.Object{}, false
	}
	return f.object(f.lookupID(id))
}

// Objects calls yield for every object of the kind, in id order, until it
// returns false.
func (m *Mirror) Objects(source directory.SourceID, kind directory.Kind, yield func(directory.Object) bool) {
	f := m.facts(source)
	if f == nil {
		return
	}
	list := f.list(kind)
	made, enough := make(chan []directory.Object, 1), make(chan struct{})
	go func() {
		defer close(made)
		for part := range slices.Chunk(list, objectsAhead) {
			objects := make([]directory.Object, len(part))
			for i, n := range part {
				objects[i], _ = f.object(n)
			}
			select {
			case made <- objects:
			case <-enough:
				return
			}
		}
	}()
	defer func() {
		close(enough)
		for range made { // until nobody reads the mirror any more
		}
	}()
	for objects := range made {
		for _, o := range objects {
			if !yield(o) {
				return
			}
		}
	}
}

// objectsAhead is how many objects are unpacked beside what is done with those
// before them, which takes about as long.
const objectsAhead = 256

// Resolve turns a reference into the id and kind of a mirrored object. A name that
// several objects claim means none of them.
func (m *Mirror) Resolve(source directory.SourceID, ref directory.Ref) (directory.ObjectID, directory.Kind, bool) {
	f := m.facts(source)
	if f == nil {
		return "", directory.KindUnknown, false
	}
	n := f.target(f.lookup(ref))
	if n == 0 {
		return "", directory.KindUnknown, false
	}
	return f.id(n), f.refs[n].object.kind, true
}

// Members lists the mirrored direct edges of a group, in id order.
func (m *Mirror) Members(source directory.SourceID, group directory.ObjectID, rel directory.Relation, yield func(directory.ObjectID) bool) {
	f := m.facts(source)
	if f == nil {
		return
	}
	for _, n := range f.members(f.lookupID(group), rel) {
		if !yield(f.id(n)) {
			return
		}
	}
}

// MemberOf lists the mirrored groups that have the object as a direct edge, in id
// order.
func (m *Mirror) MemberOf(source directory.SourceID, member directory.ObjectID, rel directory.Relation, yield func(directory.ObjectID) bool) {
	f := m.facts(source)
	if f == nil {
		return
	}
	for _, n := range f.memberOf(f.lookupID(member), rel) {
		if !yield(f.id(n)) {
			return
		}
	}
}

// batch is what the next commit stores, as it came: of an object's and an edge's
// changes the last counts.
type batch struct {
	objects []objectChange
	edges   []edgeChange
}

type objectChange struct {
	id     directory.ObjectID
	object *directory.Object // nil: delete
}

type edgeChange struct {
	edge directory.Edge
	add  bool // false: remove
}

func (b *batch) put(o directory.Object) { b.objects = append(b.objects, objectChange{o.ID, &o}) }

func (b *batch) delete(id directory.ObjectID) { b.objects = append(b.objects, objectChange{id, nil}) }

func (b *batch) edge(e directory.Edge, add bool) { b.edges = append(b.edges, edgeChange{e, add}) }

// then is the batch with what came after it.
func (b batch) then(after batch) batch {
	return batch{slices.Concat(b.objects, after.objects), slices.Concat(b.edges, after.edges)}
}

func (b *batch) empty() bool { return len(b.objects) == 0 && len(b.edges) == 0 }

// The sizes at which a batch is committed in the middle of a round: large enough
// that a transaction's cost does not show, small enough for memory.
const (
	batchObjects = 5_000
	batchEdges   = 20_000
)

func (b *batch) full() bool { return len(b.objects) >= batchObjects || len(b.edges) >= batchEdges }

// page lists, in order, each object and edge once.
func (b *batch) page() store.MirrorPage {
	p := store.MirrorPage{Put: make([]directory.Object, 0, len(b.objects)), AddEdges: make([]directory.Edge, 0, len(b.edges))}
	slices.SortStableFunc(b.objects, func(a, b objectChange) int { return cmp.Compare(a.id, b.id) })
	for i, c := range b.objects {
		switch {
		case i+1 < len(b.objects) && b.objects[i+1].id == c.id:
		case c.object != nil:
			p.Put = append(p.Put, *c.object)
		default:
			p.Delete = append(p.Delete, c.id)
		}
	}
	slices.SortStableFunc(b.edges, func(a, b edgeChange) int { return compareEdges(a.edge, b.edge) })
	for i, c := range b.edges {
		switch {
		case i+1 < len(b.edges) && b.edges[i+1].edge == c.edge:
		case c.add:
			p.AddEdges = append(p.AddEdges, c.edge)
		default:
			p.RemoveEdges = append(p.RemoveEdges, c.edge)
		}
	}
	return p
}

func compareEdges(a, b directory.Edge) int {
	if c := cmp.Compare(a.Group, b.Group); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Relation, b.Relation); c != 0 {
		return c
	}
	return cmp.Compare(a.Far, b.Far)
}
