package dirsync

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// Round takes the pages of one source's round into the mirror.
//
// What a page adds counts at once. What it takes away waits for the page that is
// marked Complete; a round that never gets there takes nothing (Rule SRC-1).
// Until then the same pages may come again and in any order (Rule SRC-3).
//
// A round that contradicts itself is the connector's to settle, by reading the
// object again and handing over the answer on the last page, a group's edges as a
// whole list: that decides. Where it did not, the removal stands, since it is the
// safe side, it is reported, and the next round is a full one.
type Round struct {
	source *source
	mode   directory.Mode
	fresh  bool   // full, over an empty mirror
	cursor []byte // in the middle of the round; nil if there was none
	done   bool
	// had is how many objects were mirrored at its beginning, mayLack which share of
	// them a full round may lack; 0: any.
	had     int
	mayLack float64

	removed      map[directory.ObjectID]struct{}
	removedEdges map[directory.Edge]struct{}
	whole        map[relationOf]struct{}
	// unknown are objects that a delta round called present and that the mirror
	// does not have, unless the round tells of them yet.
	unknown map[directory.ObjectID]struct{}
	// settled are the objects of the last page, which decides about them.
	settled map[directory.ObjectID]struct{}
	// unmentioned are, in a full round, the attributes of an object that none of
	// its partial states has named so far.
	unmentioned map[directory.ObjectID][]string

	objects, edges int // read
	problems       []directory.Problem
	problemCount   int
}

// maxProblems is how many problems of a round are kept; the rest is counted.
const maxProblems = 200

// Apply takes a page. now is the time of the round's end, should the page be the
// last.
func (r *Round) Apply(page directory.Page, now time.Time) error {
	if r.done {
		return fmt.Errorf("source %s gave a page after the round's last", r.source.id)
	}
	f := r.source.facts
	for _, u := range page.Upserts {
		if u.ID == "" {
			r.problem(directory.Problem{DN: u.DN, Text: "an object without an id was left out; see which attribute the source's configuration takes the id from"})
			continue
		}
		if page.Complete {
			delete(r.removed, u.ID)
			r.settled[u.ID] = struct{}{}
		}
		r.mention(u)
		if o, changed := f.put(u); changed {
			r.source.batch.put(o)
		}
	}
	for _, m := range page.Members {
		r.members(m)
	}
	for _, p := range page.Present {
		r.present(p)
	}
	for _, id := range page.Removed {
		if page.RemovedKind != directory.KindUnknown {
			n := f.lookupID(id)
			if o := f.refs[n].object; o == nil || o.kind != page.RemovedKind {
				continue
			}
		}
		r.removed[id] = struct{}{}
		if page.Complete {
			r.settled[id] = struct{}{}
		}
	}
	for _, p := range page.Problems {
		r.problem(p)
	}
	r.objects += len(page.Upserts)
	if page.Complete {
		if err := errors.Join(r.listed(page.Listed), r.shrunken()); err != nil {
			return err
		}
	}
	if page.Cursor != nil {
		r.cursor = page.Cursor
	}
	if page.Complete {
		r.complete(now)
	}
	return nil
}

// present takes up that an object is as it was, but for its name perhaps.
func (r *Round) present(p directory.Present) {
	f := r.source.facts
	n := f.lookupID(p.ID)
	if n == 0 || f.refs[n].object == nil {
		r.unknown[p.ID] = struct{}{}
		return
	}
	if p.DN == "" {
		f.refs[n].object.seen = f.round
		return
	}
	if o, changed := f.put(directory.Upsert{Partial: true, Object: directory.Object{ID: p.ID, DN: p.DN}}); changed {
		r.source.batch.put(o)
	}
}

// The most that a list of what there is may take away without being looked at
// again: so many objects, and such a share of their kind.
const (
	absentObjects = 20
	absentShare   = 10 // a tenth
)

// listed takes up what a delta round left out of its list of all objects of a
// kind. Where such a list and the mirror do not go together, or it takes away so
// much that it may have been cut short (Rule LDAP-18), the round is void, and a
// full one decides.
func (r *Round) listed(kinds []directory.Kind) error {
	f := r.source.facts
	for id := range r.unknown {
		if n := f.lookupID(id); n == 0 || f.refs[n].object == nil {
			return fmt.Errorf("the source calls %s unchanged, which is not mirrored: %w", id, directory.ErrCursorExpired)
		}
	}
	for _, kind := range kinds {
		all := f.list(kind)
		var absent []directory.ObjectID
		for _, n := range all {
			if f.refs[n].object.seen != f.round {
				absent = append(absent, f.id(n))
			}
		}
		if n := len(absent); n > absentObjects && n*absentShare > len(all) {
			return fmt.Errorf("the source's list leaves out %d of %d objects (%s), which a full read must confirm: %w", n, len(all), kind, directory.ErrCursorExpired)
		}
		for _, id := range absent {
			r.removed[id] = struct{}{}
		}
	}
	return nil
}

// ErrShrunken: a full read lacks so much of what is mirrored that a person must
// have looked (Rule SRC-8).
var ErrShrunken = errors.New("the source has become much smaller; nothing was taken over as gone")

// fewObjects may always go.
const fewObjects = 20

// shrunken refuses a full round that lacks more than it may: the source then counts
// as not read, and what it said last stays.
func (r *Round) shrunken() error {
	if r.mode != directory.Full || r.mayLack <= 0 {
		return nil
	}
	f, lacks := r.source.facts, 0
	for n := range f.refs {
		if o := f.refs[n].object; o != nil && o.seen != f.round {
			lacks++
		}
	}
	if lacks > fewObjects && float64(lacks) > r.mayLack*float64(r.had) {
		return fmt.Errorf("the read lacks %d of the %d objects that are mirrored: %w (if it is meant: ambit sync --accept-read %s --reason WHY)", lacks, r.had, ErrShrunken, r.source.id)
	}
	return nil
}

// mention notes which attributes a partial state leaves out. If nothing in the
// full round names them, they are gone.
func (r *Round) mention(u directory.Upsert) {
	if r.mode != directory.Full || !u.Partial {
		return
	}
	f := r.source.facts
	n := f.lookupID(u.ID)
	if n == 0 || f.refs[n].object == nil {
		return
	}
	var names []string
	if o := f.refs[n].object; o.seen != f.round {
		names = f.names.missing(o.attributes, u.Attributes)
	} else {
		names = slices.DeleteFunc(r.unmentioned[u.ID], func(name string) bool { _, ok := u.Attributes[name]; return ok })
	}
	if len(names) > 0 {
		r.unmentioned[u.ID] = names
	} else {
		delete(r.unmentioned, u.ID)
	}
}

func (r *Round) members(m directory.Members) {
	if m.Group == "" {
		r.problem(directory.Problem{Text: "members of a group without an id were left out"})
		return
	}
	f := r.source.facts
	group := f.intern(directory.ByID(m.Group))
	links := f.linksOf(group)
	if m.Whole {
		links.whole[m.Relation] = f.round
		if r.mode == directory.Delta {
			r.whole[relationOf{m.Group, m.Relation}] = struct{}{}
		}
	}
	for _, far := range m.Add {
		e, added := f.link(group, m.Relation, far)
		if added {
			r.source.batch.edge(directory.Edge{Group: m.Group, Relation: m.Relation, Far: far}, true)
		}
		x := &f.edges[e]
		x.whole = m.Whole || x.whole && x.seen == f.round
		x.seen = f.round
	}
	for _, far := range m.Remove {
		r.removedEdges[directory.Edge{Group: m.Group, Relation: m.Relation, Far: far}] = struct{}{}
	}
	r.edges += len(m.Add) + len(m.Remove)
	f.release(group)
}

// problem notes what could not be taken over. The object and, if it is a group,
// its edges stay as they were (Rule SRC-10).
func (r *Round) problem(p directory.Problem) {
	f := r.source.facts
	n := f.lookupID(p.Object)
	if n == 0 && p.DN != "" {
		n = f.target(f.lookup(directory.ByDN(p.DN)))
	}
	if n != 0 {
		if o := f.refs[n].object; o != nil {
			o.seen = f.round
		}
		delete(r.unmentioned, f.id(n))
		if l := f.refs[n].links; l != nil {
			l.kept = f.round
		}
	}
	if r.problemCount++; len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
}

// complete takes away what the round, now that it is known whole, says is gone.
func (r *Round) complete(now time.Time) {
	s, f := r.source, r.source.facts
	before := r.problemCount
	if r.mode == directory.Full {
		for e := range f.edges {
			if f.edges[e].group != 0 && !r.keeps(edgeNo(e)) {
				r.unlink(edgeNo(e))
			}
		}
	} else {
		r.unlinkNamed()
	}
	for _, id := range slices.Sorted(maps.Keys(r.removed)) {
		r.removeNamed(id)
	}
	if r.mode == directory.Full {
		for n := range f.refs {
			if o := f.refs[n].object; o != nil && o.seen != f.round {
				r.removeUnseen(refNo(n))
			}
		}
		for id, names := range r.unmentioned {
			r.clear(id, names)
		}
	}
	contradicted := r.problemCount > before
	r.settle()
	switch {
	case contradicted && r.mode == directory.Delta:
		s.cursor = nil
	case r.cursor != nil:
		s.cursor = r.cursor
	}
	s.completed, s.round = now, nil
	r.done = true
}

// removeUnseen ends an object that a full round did not name. Edges that the
// round did name stay, pending (Rule SRC-5); the store ends them with the object,
// so they are stored again.
func (r *Round) removeUnseen(n refNo) {
	s, f := r.source, r.source.facts
	s.batch.delete(f.id(n))
	for _, e := range f.refs[n].in {
		s.batch.edge(f.row(e), true)
	}
	if l := f.refs[n].links; l != nil {
		for _, out := range l.out {
			for _, e := range out {
				s.batch.edge(f.row(e), true)
			}
		}
	}
	f.remove(n)
}

// clear ends attributes that a full round did not name.
func (r *Round) clear(id directory.ObjectID, names []string) {
	f := r.source.facts
	n := f.lookupID(id)
	if n == 0 || f.refs[n].object == nil {
		return
	}
	cleared := map[string][]string{}
	for _, name := range names {
		cleared[name] = nil
	}
	if o, changed := f.put(directory.Upsert{Partial: true, Object: directory.Object{ID: id, Attributes: cleared}}); changed {
		r.source.batch.put(o)
	}
}

// settle ends the time in which names mean whom they meant before.
func (r *Round) settle() {
	f := r.source.facts
	f.midway = false
	if n := f.settlePins(); n > 0 {
		r.problem(directory.Problem{Text: fmt.Sprintf(
			"%d memberships name somebody who is gone or renamed; they count for nobody, and for whoever has the name now only after their group has been changed", n)})
	}
	for n := range f.shared {
		r.problem(directory.Problem{Text: fmt.Sprintf(
			"%d objects have the name %q; a membership that names it counts for none of them until one is renamed", len(f.shared[n])+1, f.refs[n].name)})
	}
}

// keeps tells whether an edge outlives the round.
func (r *Round) keeps(e edgeNo) bool {
	f := r.source.facts
	x := &f.edges[e]
	l := f.refs[x.group].links
	if l.whole[x.relation] == f.round {
		return x.seen == f.round && x.whole
	}
	if len(r.removedEdges) > 0 {
		if named := f.edge(e); r.isRemoved(named) {
			if x.seen == f.round {
				r.contradiction(named.Group, fmt.Sprintf("the source said of one round that %s is %s of the group and that it is not", named.Far, named.Relation))
			}
			return false
		}
	}
	return r.mode == directory.Delta || x.seen == f.round || l.kept == f.round
}

func (r *Round) isRemoved(e directory.Edge) bool {
	_, ok := r.removedEdges[e]
	return ok
}

func (r *Round) contradiction(id directory.ObjectID, what string) {
	r.problem(directory.Problem{Object: id, Text: what + "; taken as not, and read in full next time"})
}

func (r *Round) unlink(e edgeNo) {
	f := r.source.facts
	r.source.batch.edge(f.row(e), false)
	f.unlink(e)
}

// unlinkNamed ends what a delta round named, at a cost that goes by what it named.
func (r *Round) unlinkNamed() {
	f := r.source.facts
	for w := range r.whole {
		if g := f.lookupID(w.Group); g != 0 && f.refs[g].links != nil {
			for _, e := range slices.Clone(f.refs[g].links.out[w.Relation]) {
				if !r.keeps(e) {
					r.unlink(e)
				}
			}
		}
	}
	for named := range r.removedEdges {
		k := edgeKey{f.lookupID(named.Group), f.lookup(named.Far), named.Relation}
		if e, ok := f.edgeNumbers[k]; ok && !r.keeps(e) {
			r.unlink(e)
		}
	}
}

// removeNamed ends an object that the source named as gone, with all its edges
// and those that name it by id (Rule SRC-6). Those that name it by DN stay as
// facts, and grant nothing: nobody has the DN any more (Rule LDAP-22).
func (r *Round) removeNamed(id directory.ObjectID) {
	f := r.source.facts
	n := f.lookupID(id)
	if n == 0 {
		return
	}
	if o := f.refs[n].object; o != nil {
		if _, settled := r.settled[id]; o.seen == f.round && !settled {
			r.contradiction(id, "the source said of one round that the object is there and that it is gone")
		}
		r.source.batch.delete(id)
		f.remove(n)
	}
	for _, e := range slices.Clone(f.refs[n].in) {
		r.unlink(e)
	}
	if l := f.refs[n].links; l != nil {
		for _, out := range l.out {
			for _, e := range slices.Clone(out) {
				r.unlink(e)
			}
		}
	}
}

// note is what must be stored to take the round up after a crash.
func (r *Round) note() note {
	n := note{Full: r.mode == directory.Full, Fresh: r.fresh, Last: r.source.cursor}
	if !r.source.completed.IsZero() {
		n.Added, n.Unsure = r.source.facts.unconfirmed()
	}
	if r.cursor == nil {
		return n // it would begin anew
	}
	n.Removed = slices.Sorted(maps.Keys(r.removed))
	n.RemovedEdges = slices.SortedFunc(maps.Keys(r.removedEdges), compareEdges)
	for w := range r.whole {
		n.Whole = append(n.Whole, w)
	}
	slices.SortFunc(n.Whole, func(a, b relationOf) int {
		return compareEdges(directory.Edge{Group: a.Group, Relation: a.Relation}, directory.Edge{Group: b.Group, Relation: b.Relation})
	})
	// What a whole list left out is gone, unless a later whole list names it.
	f := r.source.facts
	for _, w := range n.Whole {
		if g := f.lookupID(w.Group); g != 0 && f.refs[g].links != nil {
			for _, e := range f.refs[g].links.out[w.Relation] {
				if x := f.edges[e]; x.seen != f.round || !x.whole {
					n.RemovedEdges = append(n.RemovedEdges, f.edge(e))
				}
			}
		}
	}
	return n
}
