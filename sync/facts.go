package dirsync

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/ambit-iam/ambit/directory"
)

const relations = 2 // Member and Owner

// facts is what one source said, in the form in which it said it: members named
// by DN stay named by DN, and whom they mean is looked up among the objects
// (Rule SRC-4). So an edge may come before its ends (Rule SRC-5), and what is
// kept does not depend on the order in which it came (Rule SRC-3).
//
// Strings are kept once; everything else refers to them by number.
type facts struct {
	names dictionary

	numbers map[directory.Ref]refNo
	refs    []reference // refs[0] stands for none
	freeRef []refNo
	shared  map[refNo][]refNo // further holders of a DN or user name
	reports map[refNo][]refNo // the objects whose manager is named so

	edgeNumbers map[edgeKey]edgeNo
	edges       []edge
	freeEdges   []edgeNo

	objects int
	kinds   [directory.KindOther + 1]int // how many of them are of each
	pending int                          // edges whose far end nobody is; -1 while loading: count when asked
	ordered [directory.KindOther + 1]atomic.Pointer[[]refNo]

	touched touched
	ends    ends
	// round is the number of the newest round, midway whether it goes on. What is
	// loaded counts as round 1.
	round  uint32
	midway bool

	pins
}

type (
	refNo  uint32
	edgeNo uint32
)

// reference is a way to name an object. A reference by id is also where the
// object and a group's edges are kept.
type reference struct {
	name   directory.Ref
	object *object
	links  *links
	holder refNo // of a DN or user name: the object that has it
	in     []edgeNo
}

type object struct {
	kind                  directory.Kind
	seen                  uint32 // the last round that named it
	dn, userName, manager refNo
	attributes            packed
}

// links are the edges of a group.
type links struct {
	out [relations][]edgeNo
	// whole is the last round that listed all edges of the relation.
	whole [relations]uint32
	// kept is the last round that had a problem with the group, whose edges
	// therefore stay as they are.
	kept uint32
}

type edge struct {
	edgeKey
	at    uint32 // its place in the group's links
	made  uint32 // the round that added it
	seen  uint32 // the last round that named it
	whole bool   // that round named it in a whole list
}

type edgeKey struct {
	group, far refNo
	relation   directory.Relation
}

func newFacts() *facts {
	return &facts{
		names:       newDictionary(),
		numbers:     map[directory.Ref]refNo{},
		refs:        make([]reference, 1),
		shared:      map[refNo][]refNo{},
		reports:     map[refNo][]refNo{},
		edgeNumbers: map[edgeKey]edgeNo{},
		round:       1,
		pins:        newPins(),
	}
}

// lookup finds a reference; 0 if there is none.
func (f *facts) lookup(name directory.Ref) refNo { return f.numbers[name] }

// lookupID is lookup(ByID(id)) without the copy.
func (f *facts) lookupID(id directory.ObjectID) refNo {
	var buffer [128]byte
	b := append(append(buffer[:0], "id:"...), id...)
	return f.numbers[directory.Ref(b)]
}

func (f *facts) intern(name directory.Ref) refNo {
	if n := f.numbers[name]; n != 0 {
		return n
	}
	name = directory.Ref(strings.Clone(string(name)))
	x := reference{name: name}
	var n refNo
	if last := len(f.freeRef) - 1; last >= 0 {
		n = f.freeRef[last]
		f.freeRef = f.freeRef[:last]
		f.refs[n] = x
	} else {
		n = refNo(len(f.refs))
		f.refs = append(f.refs, x)
	}
	f.numbers[name] = n
	return n
}

// release forgets a reference that nothing uses, once.
func (f *facts) release(n refNo) {
	x := &f.refs[n]
	if x.name == "" || x.object != nil || x.holder != 0 || len(x.in) > 0 || len(f.reports[n]) > 0 {
		return
	}
	if x.links != nil && (len(x.links.out[directory.Member]) > 0 || len(x.links.out[directory.Owner]) > 0) {
		return
	}
	delete(f.numbers, x.name)
	delete(f.before, n)
	delete(f.changedGroups, n)
	*x = reference{}
	f.freeRef = append(f.freeRef, n)
}

// id is the object id of a reference by id.
func (f *facts) id(n refNo) directory.ObjectID {
	id, _ := f.refs[n].name.ID()
	return id
}

// target is the mirrored object that a reference means; 0 while nobody is it
// (Rule SRC-5), or when several claim to be.
func (f *facts) target(n refNo) refNo {
	x := &f.refs[n]
	if x.object != nil {
		return n
	}
	if len(f.shared) > 0 {
		if _, several := f.shared[n]; several {
			return 0
		}
	}
	return x.holder
}

// claim lets an object hold a DN or user name.
func (f *facts) claim(name directory.Ref, object refNo) refNo {
	n := f.intern(name)
	before := f.target(n)
	f.hold(n, before)
	if x := &f.refs[n]; x.holder == 0 {
		x.holder = object
	} else {
		f.shared[n] = append(f.shared[n], object)
	}
	f.retarget(n, before)
	return n
}

func (f *facts) unclaim(n, object refNo) {
	if n == 0 {
		return
	}
	before := f.target(n)
	f.hold(n, before)
	x, others := &f.refs[n], f.shared[n]
	if x.holder == object {
		x.holder = 0
		if len(others) > 0 {
			x.holder, others = others[0], others[1:]
		}
	} else if i := slices.Index(others, object); i >= 0 {
		others = slices.Delete(others, i, i+1)
	}
	if len(others) > 0 {
		f.shared[n] = others
	} else {
		delete(f.shared, n)
	}
	f.retarget(n, before)
	f.release(n)
}

// retarget notes what changes for those who name a reference that meant before.
func (f *facts) retarget(n, before refNo) {
	after := f.target(n)
	if before == after {
		return
	}
	for _, e := range f.refs[n].in {
		f.touchEdge(e, before)
		f.touchEdge(e, after)
		if p, pinned := f.of[e]; !pinned {
			f.count(before, after)
		} else if p.stale {
			f.count(f.onlyIf(p, before), f.onlyIf(p, after))
		}
	}
	if x := &f.refs[n]; len(f.heldFor) > 0 {
		if id, ok := x.name.ID(); ok {
			for range f.heldFor[id] {
				f.count(before, after)
			}
		}
	}
	for _, r := range f.reports[n] {
		f.touched.object(f.id(r))
	}
}

func (f *facts) touchEdge(e edgeNo, member refNo) {
	if k := f.edges[e].edgeKey; member != 0 {
		f.touched.edge(f.id(k.group), k.relation, f.id(member))
	}
}

// put gives an object its new state. It returns the whole object and whether
// that is a change.
func (f *facts) put(u directory.Upsert) (directory.Object, bool) {
	n := f.lookupID(u.ID)
	var o *object
	if n != 0 {
		o = f.refs[n].object
	}
	if o != nil {
		if u.Partial {
			u.Kind = cmp.Or(u.Kind, o.kind)
			if u.DN == "" && o.dn != 0 {
				u.DN, _ = f.refs[o.dn].name.DN()
			}
		}
		if o.kind == u.Kind && f.dn(o) == u.DN && f.names.same(o.attributes, u.Attributes, u.Partial) {
			o.seen = f.round
			return directory.Object{}, false
		}
		if u.Partial {
			u.Attributes = merge(f.names.unpack(o.attributes), u.Attributes)
		}
	}
	created := o == nil
	if created {
		n = f.intern(directory.ByID(u.ID))
		o = &object{}
		f.refs[n].object = o
		f.objects++
		f.retarget(n, 0)
	}
	if !created {
		f.kinds[min(o.kind, directory.KindOther)]--
	}
	f.kinds[min(u.Kind, directory.KindOther)]++
	if created || o.kind != u.Kind {
		f.ordered[min(o.kind, directory.KindOther)].Store(nil)
		f.ordered[min(u.Kind, directory.KindOther)].Store(nil)
	}
	o.kind = u.Kind
	u.Attributes = withValues(u.Attributes)
	o.attributes = packed(f.names.pack(u.Attributes))
	f.rename(n, &o.dn, u.DN, directory.ByDN)
	login := ""
	if u.Kind == directory.KindUser {
		login = u.Get(directory.AttrUserName)
	}
	f.rename(n, &o.userName, login, directory.ByUserName)
	f.setManager(n, o, directory.Ref(u.Get(directory.AttrManager)))
	f.ends.set(n, u.Get(directory.AttrExpires))
	o.seen = f.round
	f.touched.object(f.id(n))
	f.changed(n)
	return u.Object, true
}

// merge lays the named attributes over the old ones (Rule GRAPH-16).
func merge(old, named map[string][]string) map[string][]string {
	if old == nil {
		old = make(map[string][]string, len(named))
	}
	maps.Copy(old, named)
	return old
}

// withValues leaves out the attributes that have none: they were cleared.
func withValues(attributes map[string][]string) map[string][]string {
	for _, values := range attributes {
		if len(values) == 0 {
			attributes = maps.Clone(attributes)
			maps.DeleteFunc(attributes, func(_ string, v []string) bool { return len(v) == 0 })
			break
		}
	}
	return attributes
}

func (f *facts) dn(o *object) string {
	dn, _ := f.refs[o.dn].name.DN()
	return dn
}

// rename moves an object from the name that it holds to another.
func (f *facts) rename(n refNo, held *refNo, name string, by func(string) directory.Ref) {
	want := directory.Ref("")
	if name != "" {
		want = by(name)
	}
	if f.refs[*held].name == want {
		return
	}
	old := *held
	*held = 0
	if want != "" {
		*held = f.claim(want, n)
	}
	f.unclaim(old, n)
}

func (f *facts) setManager(n refNo, o *object, manager directory.Ref) {
	if f.refs[o.manager].name == manager {
		return
	}
	if old := o.manager; old != 0 {
		list := f.reports[old]
		if i := slices.Index(list, n); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) > 0 {
			f.reports[old] = list
		} else {
			delete(f.reports, old)
		}
		o.manager = 0
		f.release(old)
	}
	if manager != "" {
		o.manager = f.intern(manager)
		f.reports[o.manager] = append(f.reports[o.manager], n)
	}
}

// remove forgets an object. Its edges are the caller's to remove.
func (f *facts) remove(n refNo) {
	o := f.refs[n].object
	f.touched.object(f.id(n))
	f.ordered[min(o.kind, directory.KindOther)].Store(nil)
	f.setManager(n, o, "")
	f.ends.set(n, "")
	f.unclaim(o.dn, n)
	f.unclaim(o.userName, n)
	f.refs[n].object = nil
	f.objects--
	f.kinds[min(o.kind, directory.KindOther)]--
	f.retarget(n, n)
	f.release(n)
}

// link adds an edge and tells whether it is new.
func (f *facts) link(group refNo, relation directory.Relation, far directory.Ref) (edgeNo, bool) {
	k := edgeKey{group, f.intern(far), relation}
	if e, ok := f.edgeNumbers[k]; ok {
		return e, false
	}
	x := edge{edgeKey: k, made: f.round}
	var e edgeNo
	if last := len(f.freeEdges) - 1; last >= 0 {
		e = f.freeEdges[last]
		f.freeEdges = f.freeEdges[:last]
	} else {
		e = edgeNo(len(f.edges))
		f.edges = append(f.edges, edge{})
	}
	f.edgeNumbers[k] = e
	l := f.linksOf(group)
	x.at = uint32(len(l.out[relation]))
	l.out[relation] = append(l.out[relation], e)
	f.refs[k.far].in = append(f.refs[k.far].in, e)
	f.edges[e] = x
	t := f.target(k.far)
	f.touchEdge(e, t)
	f.count(1, t)
	f.changed(group)
	return e, true
}

func (f *facts) linksOf(group refNo) *links {
	x := &f.refs[group]
	if x.links == nil {
		x.links = &links{}
	}
	return x.links
}

func (f *facts) unlink(e edgeNo) {
	x := f.edges[e]
	t := f.far(e)
	f.touchEdge(e, t)
	f.count(t, 1)
	f.changed(x.group)
	f.forgetPin(e)
	delete(f.edgeNumbers, x.edgeKey)
	out := f.refs[x.group].links.out[x.relation]
	last := len(out) - 1
	out[x.at] = out[last]
	f.edges[out[x.at]].at = x.at
	f.refs[x.group].links.out[x.relation] = out[:last]
	far := &f.refs[x.far]
	if i := slices.Index(far.in, e); i >= 0 {
		far.in[i] = far.in[len(far.in)-1]
		far.in = far.in[:len(far.in)-1]
	}
	f.edges[e] = edge{}
	f.freeEdges = append(f.freeEdges, e)
	f.release(x.far)
	f.release(x.group)
}

func (f *facts) edge(e edgeNo) directory.Edge {
	x := f.edges[e]
	return directory.Edge{Group: f.id(x.group), Relation: x.relation, Far: f.refs[x.far].name}
}

// count keeps the number of pending edges when one comes to mean another object;
// 1 stands for the edge's not being there.
func (f *facts) count(before, after refNo) {
	switch {
	case f.pending < 0 || (before == 0) == (after == 0):
	case after == 0:
		f.pending++
	default:
		f.pending--
	}
}

// countPending counts the edges whose far end nobody is.
func (f *facts) countPending() int {
	if f.pending < 0 {
		f.pending = 0
		for n := range f.refs {
			for _, e := range f.refs[n].in {
				if f.far(e) == 0 {
					f.pending++
				}
			}
		}
	}
	return f.pending
}

// object is what View.Object gives.
func (f *facts) object(n refNo) (directory.Object, bool) {
	o := f.refs[n].object
	if o == nil {
		return directory.Object{}, false
	}
	attributes := f.names.unpack(o.attributes)
	if f.ends.passed(n) {
		attributes[directory.AttrEnabled] = []string{"false"}
	}
	return directory.Object{ID: f.id(n), Kind: o.kind, DN: f.dn(o), Attributes: attributes}, true
}

// list gives the objects of a kind in id order.
func (f *facts) list(kind directory.Kind) []refNo {
	at := &f.ordered[min(kind, directory.KindOther)]
	if list := at.Load(); list != nil {
		return *list
	}
	var list []refNo
	for n := range f.refs {
		if o := f.refs[n].object; o != nil && o.kind == kind {
			list = append(list, refNo(n))
		}
	}
	f.byName(list)
	at.Store(&list)
	return list
}

func (f *facts) byName(list []refNo) {
	slices.SortFunc(list, func(a, b refNo) int { return cmp.Compare(f.refs[a].name, f.refs[b].name) })
}

// members gives the mirrored far ends of a group, in id order, each once.
func (f *facts) members(group refNo, relation directory.Relation) []refNo {
	x := &f.refs[group]
	if x.object == nil || x.links == nil {
		return nil
	}
	out := x.links.out[relation]
	list := make([]refNo, 0, len(out))
	for _, e := range out {
		if t := f.far(e); t != 0 {
			list = append(list, t)
		}
	}
	f.byName(list)
	return slices.Compact(list)
}

// memberOf gives the mirrored groups that have the object as a far end, in id
// order, each once.
func (f *facts) memberOf(member refNo, relation directory.Relation) []refNo {
	o := f.refs[member].object
	if o == nil {
		return nil
	}
	var list []refNo
	take := func(edges []edgeNo) {
		for _, e := range edges {
			if x := f.edges[e]; x.relation == relation && f.refs[x.group].object != nil && f.far(e) == member {
				list = append(list, x.group)
			}
		}
	}
	for _, name := range [...]refNo{member, o.dn, o.userName} {
		if name != 0 {
			take(f.refs[name].in)
		}
	}
	take(f.heldFor[f.id(member)])
	f.byName(list)
	return slices.Compact(list)
}

// touched collects what changed since it was last taken.
type touched struct {
	all     bool // too much to list
	objects map[directory.ObjectID]struct{}
	edges   map[touchedEdge]struct{}
}

type touchedEdge struct {
	group, member directory.ObjectID
	relation      directory.Relation
}

// maxTouched is how many touched objects and edges are listed; beyond, computing
// everything anew is cheaper, and the list would cost memory.
const maxTouched = 20_000

func (t *touched) object(id directory.ObjectID) {
	if !t.all {
		if t.objects == nil {
			t.objects = map[directory.ObjectID]struct{}{}
		}
		t.objects[id] = struct{}{}
		t.limit()
	}
}

func (t *touched) edge(group directory.ObjectID, relation directory.Relation, member directory.ObjectID) {
	if !t.all {
		if t.edges == nil {
			t.edges = map[touchedEdge]struct{}{}
		}
		t.edges[touchedEdge{group, member, relation}] = struct{}{}
		t.limit()
	}
}

func (t *touched) limit() {
	if len(t.objects)+len(t.edges) > maxTouched {
		*t = touched{all: true}
	}
}
