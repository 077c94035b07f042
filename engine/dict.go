package engine

import (
	"hash/maphash"
	"math"
	"slices"
	"sort"
	"unsafe"

	"github.com/ambit-iam/ambit/access"
)

// edit marks what the running New or Apply has made itself and may therefore
// change in place; everything else is shared with other snapshots and is copied
// first.
type edit struct {
	loading bool // all at once, in New and Load
}

// keyed is what a dict holds: it knows its own key, a string within a space (a
// table's number, or 0).
type keyed interface {
	comparable
	is(space uint32, key string) bool
}

// dict is a persistent hash map. Its buckets hang in a tree of fixed fan-out, so
// that a change copies one chunk of buckets and the path to it, little however many
// there are. A bucket is small and flat: finding a value touches one or two cache
// lines before the value itself.
//
// When the buckets become full on average they are dealt out anew, twice as many;
// a map built by changes alone pays for that as an ordinary map does.
type dict[V keyed] struct {
	seed  maphash.Seed
	roots []*root[V]
	mask  uint32 // buckets - 1
	count int
	edit  *edit // owner of roots
}

const (
	chunkBits  = 4 // buckets of a chunk
	groupBits  = 6 // chunks of a group
	rootBits   = 5 // groups of a root
	slots      = 7 // values of a bucket without spilling
	bucketLoad = 4 // values of a bucket on average before there are more buckets
)

type root[V keyed] struct {
	edit   *edit
	groups [1 << rootBits]*group[V]
}

type group[V keyed] struct {
	edit   *edit
	chunks [1 << groupBits]*chunk[V]
}

type chunk[V keyed] struct {
	edit    *edit
	buckets [1 << chunkBits]bucket[V]
}

type bucket[V keyed] struct {
	hashes [slots]uint32
	used   uint32
	values [slots]V
	spill  *[]spilled[V] // what did not fit; copied on every change
}

type spilled[V keyed] struct {
	hash  uint32
	value V
}

func newDict[V keyed](seed maphash.Seed, size int, e *edit) dict[V] {
	buckets := 1 << chunkBits
	for buckets*bucketLoad < size {
		buckets *= 2
	}
	d := dict[V]{seed: seed, mask: uint32(buckets - 1), edit: e}
	for i := range buckets >> chunkBits {
		if i>>(groupBits+rootBits) == len(d.roots) {
			d.roots = append(d.roots, &root[V]{edit: e})
		}
		g := &d.roots[i>>(groupBits+rootBits)].groups[i>>groupBits&(1<<rootBits-1)]
		if *g == nil {
			*g = &group[V]{edit: e}
		}
		(*g).chunks[i&(1<<groupBits-1)] = &chunk[V]{edit: e}
	}
	return d
}

func (d *dict[V]) hash(space uint32, key string) uint32 {
	h := maphash.String(d.seed, key)
	return uint32(h) ^ uint32(h>>32) ^ space*0x9e3779b1
}

func (d *dict[V]) find(h uint32) *bucket[V] {
	i := h & d.mask
	g := d.roots[i>>(chunkBits+groupBits+rootBits)].groups[i>>(chunkBits+groupBits)&(1<<rootBits-1)]
	return &g.chunks[i>>chunkBits&(1<<groupBits-1)].buckets[i&(1<<chunkBits-1)]
}

func (d *dict[V]) get(space uint32, key string) (v V, ok bool) {
	if d.count == 0 {
		return v, false
	}
	h := d.hash(space, key)
	b := d.find(h)
	for i := range min(b.used, slots) {
		if b.hashes[i] == h && b.values[i].is(space, key) {
			return b.values[i], true
		}
	}
	if b.spill != nil {
		for _, x := range *b.spill {
			if x.hash == h && x.value.is(space, key) {
				return x.value, true
			}
		}
	}
	return v, false
}

// each yields the values, in no order, until it is told to stop.
func (d *dict[V]) each(yield func(V) bool) {
	if d.count == 0 {
		return
	}
	for i := range (d.mask + 1) >> chunkBits {
		b := d.roots[i>>(groupBits+rootBits)].groups[i>>groupBits&(1<<rootBits-1)].chunks[i&(1<<groupBits-1)]
		for j := range b.buckets {
			x := &b.buckets[j]
			for _, v := range x.values[:min(x.used, slots)] {
				if !yield(v) {
					return
				}
			}
			if x.spill == nil {
				continue
			}
			for _, v := range *x.spill {
				if !yield(v.value) {
					return
				}
			}
		}
	}
}

// own returns the bucket of the hash, ready to be changed by e.
func (d *dict[V]) own(h uint32, e *edit) *bucket[V] {
	if d.edit != e {
		d.roots, d.edit = slices.Clone(d.roots), e
	}
	i := h & d.mask
	r := &d.roots[i>>(chunkBits+groupBits+rootBits)]
	if (*r).edit != e {
		*r = &root[V]{edit: e, groups: (*r).groups}
	}
	g := &(*r).groups[i>>(chunkBits+groupBits)&(1<<rootBits-1)]
	if (*g).edit != e {
		*g = &group[V]{edit: e, chunks: (*g).chunks}
	}
	c := &(*g).chunks[i>>chunkBits&(1<<groupBits-1)]
	if (*c).edit != e {
		*c = &chunk[V]{edit: e, buckets: (*c).buckets}
	}
	return &(*c).buckets[i&(1<<chunkBits-1)]
}

// set puts the value at its key, in the place of the one that was there.
func (d *dict[V]) set(space uint32, key string, v V, e *edit) {
	h := d.hash(space, key)
	b := d.own(h, e)
	for i := range b.used {
		if b.hashes[i] == h && b.values[i].is(space, key) {
			b.values[i] = v
			return
		}
	}
	if b.spill != nil {
		for i, x := range *b.spill {
			if x.hash == h && x.value.is(space, key) {
				more := slices.Clone(*b.spill)
				more[i].value = v
				b.spill = &more
				return
			}
		}
	}
	b.add(h, v)
	if d.count++; d.count > bucketLoad*(int(d.mask)+1) {
		d.grow(e)
	}
}

func (b *bucket[V]) add(h uint32, v V) {
	if b.used < slots {
		b.hashes[b.used], b.values[b.used] = h, v
		b.used++
		return
	}
	var more []spilled[V]
	if b.spill != nil {
		more = slices.Clone(*b.spill)
	}
	more = append(more, spilled[V]{h, v})
	b.spill = &more
}

func (d *dict[V]) grow(e *edit) {
	next := newDict[V](d.seed, 2*d.count, e)
	next.count = d.count
	for i := range d.mask + 1 {
		b := d.find(i)
		for j := range b.used {
			next.own(b.hashes[j], e).add(b.hashes[j], b.values[j])
		}
		if b.spill != nil {
			for _, x := range *b.spill {
				next.own(x.hash, e).add(x.hash, x.value)
			}
		}
	}
	*d = next
}

func (d *dict[V]) remove(space uint32, key string, e *edit) {
	var none V
	h := d.hash(space, key)
	b := d.own(h, e)
	for i := range b.used {
		if b.hashes[i] != h || !b.values[i].is(space, key) {
			continue
		}
		d.count--
		b.used--
		b.hashes[i], b.values[i] = b.hashes[b.used], b.values[b.used]
		b.hashes[b.used], b.values[b.used] = 0, none
		if b.spill != nil { // so that what spilled is found where it would be looked for
			more := slices.Clone(*b.spill)
			last := more[len(more)-1]
			if b.spill = nil; len(more) > 1 {
				more = more[:len(more)-1]
				b.spill = &more
			}
			b.add(last.hash, last.value)
		}
		return
	}
	if b.spill != nil {
		more := slices.DeleteFunc(slices.Clone(*b.spill), func(x spilled[V]) bool { return x.hash == h && x.value.is(space, key) })
		d.count -= len(*b.spill) - len(more)
		if b.spill = &more; len(more) == 0 {
			b.spill = nil
		}
	}
}

// rows is a persistent list, numbered from 0, that only grows. Its rows lie
// together, so that finding one is arithmetic. Between the chunks and the list of
// all there are two levels, so that a change copies little however many there are.
type rows[V any] struct {
	roots []*rowRoot[V]
	count uint32
	edit  *edit // owner of roots
	// made ahead are the chunks that loading takes next.
	made []rowChunk[V]
}

const (
	rowBits      = 6 // rows of a chunk
	rowGroupBits = 5 // chunks of a group
	rowRootBits  = 7 // groups of a root
)

type rowRoot[V any] struct {
	groups [1 << rowRootBits]*rowGroup[V]
	edit   *edit
}

type rowGroup[V any] struct {
	chunks [1 << rowGroupBits]*rowChunk[V]
	edits  [1 << rowGroupBits]*edit // owners of the chunks
	edit   *edit
}

type rowChunk[V any] [1 << rowBits]V

func (r *rows[V]) get(i uint32) *V {
	g := r.roots[i>>(rowBits+rowGroupBits+rowRootBits)].groups[i>>(rowBits+rowGroupBits)&(1<<rowRootBits-1)]
	return &g.chunks[i>>rowBits&(1<<rowGroupBits-1)][i&(1<<rowBits-1)]
}

// own returns the row, ready to be changed by e; it makes the one after the last.
func (r *rows[V]) own(i uint32, e *edit) *V {
	if r.edit != e {
		r.roots, r.edit = slices.Clone(r.roots), e
	}
	if int(i>>(rowBits+rowGroupBits+rowRootBits)) == len(r.roots) {
		r.roots = append(r.roots, &rowRoot[V]{edit: e})
	}
	root := &r.roots[i>>(rowBits+rowGroupBits+rowRootBits)]
	if (*root).edit != e {
		*root = &rowRoot[V]{edit: e, groups: (*root).groups}
	}
	g := &(*root).groups[i>>(rowBits+rowGroupBits)&(1<<rowRootBits-1)]
	switch {
	case *g == nil:
		*g = &rowGroup[V]{edit: e}
	case (*g).edit != e:
		*g = &rowGroup[V]{edit: e, chunks: (*g).chunks, edits: (*g).edits}
	}
	n := i >> rowBits & (1<<rowGroupBits - 1)
	c, owner := &(*g).chunks[n], &(*g).edits[n]
	switch {
	case *c == nil:
		*c = r.make(e)
	case *owner != e:
		copied := **c
		*c = &copied
	}
	*owner, r.count = e, max(r.count, i+1)
	return &(*c)[i&(1<<rowBits-1)]
}

// make returns a chunk of empty rows. Loading makes as many at a time as there are
// already, up to some megabytes.
func (r *rows[V]) make(e *edit) *rowChunk[V] {
	if !e.loading {
		return new(rowChunk[V])
	}
	if len(r.made) == 0 {
		r.made = make([]rowChunk[V], min(r.count>>rowBits+1, uint32(madeAtOnce/unsafe.Sizeof(rowChunk[V]{}))))
		inHugePages(r.made)
	}
	c := &r.made[0]
	r.made = r.made[1:]
	return c
}

// madeAtOnce is how many bytes of chunks are made at a time, at most.
const madeAtOnce = 16 << 20

// index finds rows by their keys, each a string within a space, as a dict's. It is
// open-addressed and small, since a question waits mostly for memory: a place is
// a row's number, from 1, and six bits of the key's hash, which spare most looks at
// rows that are another's.
type index struct {
	seed   maphash.Seed
	groups []*indexGroup
	mask   uint32 // places - 1
	count  uint32
	edit   *edit // owner of groups
}

const (
	indexBits      = 10        // places of a chunk
	indexGroupBits = 7         // chunks of a group
	rowMask        = 1<<26 - 1 // of a place
	// maxRows is how many rows can have numbers in an index.
	maxRows = rowMask - 1
)

type indexGroup struct {
	chunks [1 << indexGroupBits]*indexChunk
	edits  [1 << indexGroupBits]*edit // owners of the chunks
	edit   *edit
}

// indexChunk is filled to a half on average; a key that finds its place taken
// goes to the next one in the same chunk.
type indexChunk struct {
	places [1 << indexBits]uint32
}

func newIndex(seed maphash.Seed, size int, e *edit) index {
	places := 1 << indexBits
	for places < 2*size {
		places *= 2
	}
	x := index{seed: seed, mask: uint32(places - 1), edit: e}
	chunks := make([]indexChunk, places>>indexBits)
	inHugePages(chunks)
	for i := range chunks {
		if i>>indexGroupBits == len(x.groups) {
			x.groups = append(x.groups, &indexGroup{edit: e})
		}
		g := x.groups[i>>indexGroupBits]
		g.chunks[i&(1<<indexGroupBits-1)], g.edits[i&(1<<indexGroupBits-1)] = &chunks[i], e
	}
	return x
}

func (x *index) hash(space uint32, key string) uint32 {
	return mixed(space, maphash.String(x.seed, key))
}

func (x *index) hashBytes(space uint32, key []byte) uint32 {
	return mixed(space, maphash.Bytes(x.seed, key))
}

func mixed(space uint32, h uint64) uint32 { return uint32(h) ^ uint32(h>>32) ^ space*0x9e3779b1 }

func (x *index) chunk(h uint32) *indexChunk {
	i := h & x.mask >> indexBits
	return x.groups[i>>indexGroupBits].chunks[i&(1<<indexGroupBits-1)]
}

// first is the row, from 1, that is most likely the hash's, or 0: the one at the
// first two places that may be it. It takes no branch on what it reads, since the
// processor would wait there.
func (x *index) first(h uint32) uint32 {
	c := x.chunk(h)
	p, second := c.places[h&(1<<indexBits-1)], c.places[(h+1)&(1<<indexBits-1)]
	if (p^h)&^rowMask != 0 {
		p = second
	}
	if (p^h)&^rowMask != 0 {
		p = 0
	}
	return p & rowMask
}

// walk goes through the rows that may have the hash's key.
type walk struct {
	chunk *indexChunk
	hash  uint32
	at    uint32
}

func (x *index) walk(h uint32) walk { return walk{x.chunk(h), h, h} }

// next is the next row that may be it, or false after the last.
func (w *walk) next() (row uint32, ok bool) {
	for {
		p := w.chunk.places[w.at&(1<<indexBits-1)]
		w.at++
		if p == 0 {
			return 0, false
		}
		if (p^w.hash)&^rowMask == 0 {
			return p&rowMask - 1, true
		}
	}
}

// own returns the chunk of the hash, ready to be changed by e.
func (x *index) own(h uint32, e *edit) *indexChunk {
	if x.edit != e {
		x.groups, x.edit = slices.Clone(x.groups), e
	}
	i := h & x.mask >> indexBits
	g := &x.groups[i>>indexGroupBits]
	if (*g).edit != e {
		*g = &indexGroup{edit: e, chunks: (*g).chunks, edits: (*g).edits}
	}
	n := i & (1<<indexGroupBits - 1)
	c, owner := &(*g).chunks[n], &(*g).edits[n]
	if *owner != e {
		copied := **c
		*c, *owner = &copied, e
	}
	return *c
}

// add puts the row at the hash, which must not have it. The function gives the
// hash of a row that is there.
func (x *index) add(h, row uint32, e *edit, hashOf func(row uint32) uint32) {
	if x.count++; 2*x.count > x.mask {
		next := newIndex(x.seed, 2*int(x.count), e)
		next.count = x.count
		for at := uint32(0); at <= x.mask; at += 1 << indexBits {
			for _, p := range x.chunk(at).places {
				if p != 0 {
					h := hashOf(p&rowMask - 1)
					next.chunk(h).place(h, p)
				}
			}
		}
		*x = next
	}
	x.own(h, e).place(h, h&^rowMask|(row+1))
}

func (c *indexChunk) place(h, p uint32) {
	for c.places[h&(1<<indexBits-1)] != 0 {
		h++
	}
	c.places[h&(1<<indexBits-1)] = p
}

// remove takes the row from the hash, and puts those that follow it where they
// would be looked for.
func (x *index) remove(h, row uint32, e *edit, hashOf func(row uint32) uint32) {
	c := x.own(h, e)
	i := h
	for c.places[i&(1<<indexBits-1)]&rowMask != row+1 {
		i++
	}
	c.places[i&(1<<indexBits-1)] = 0
	x.count--
	for i++; c.places[i&(1<<indexBits-1)] != 0; i++ {
		p := c.places[i&(1<<indexBits-1)]
		c.places[i&(1<<indexBits-1)] = 0
		c.place(hashOf(p&rowMask-1), p)
	}
}

// names are the ids of what is numbered, and the numbers.
type names struct {
	rows  rows[named]
	index index
}

// named is an id: a cache line.
type named struct {
	length uint8
	id     [47]byte
	long   string // an id that is longer
}

func (n *named) is(id string) bool {
	if int(n.length) <= len(n.id) {
		return string(n.id[:n.length]) == id
	}
	return n.long == id
}

func (n *names) get(id string) (uint32, bool) { return n.find(n.index.hash(0, id), id) }

// find is get with the id's hash.
func (n *names) find(h uint32, id string) (uint32, bool) {
	for w := n.index.walk(h); ; {
		i, ok := w.next()
		if !ok {
			return 0, false
		}
		if n.rows.get(i).is(id) {
			return i, true
		}
	}
}

// add numbers the id, which must not have a number.
func (n *names) add(id string, e *edit) uint32 {
	number := n.rows.count
	n.index.add(n.index.hash(0, id), number, e, n.hashOf)
	row := n.rows.own(number, e)
	row.length = uint8(min(len(id), math.MaxUint8))
	if copy(row.id[:], id) < len(id) {
		row.long = id
	}
	return number
}

func (n *names) hashOf(number uint32) uint32 {
	row := n.rows.get(number)
	if int(row.length) <= len(row.id) {
		return n.index.hashBytes(0, row.id[:row.length])
	}
	return n.index.hash(0, row.long)
}

// people are the users' rows. Rows are never taken away.
type people struct {
	rows    rows[user]
	index   index
	ordered uint32 // so many of the first rows lie in the order of ids
}

// get returns the user's row, or nil.
func (p *people) get(id string) *user { return p.find(p.index.hash(0, id), id) }

// find is get with the id's hash.
func (p *people) find(h uint32, id string) *user {
	for w := p.index.walk(h); ; {
		n, ok := w.next()
		if !ok {
			return nil
		}
		if u := p.rows.get(n); u.is(id) {
			return u
		}
	}
}

// add makes a row for the id, which must not have one.
func (p *people) add(id string, e *edit) *user {
	n := p.rows.count
	if n == p.ordered && (n == 0 || string(p.rows.get(n-1).aside.data.ID) < id) {
		p.ordered++
	}
	p.index.add(p.index.hash(0, id), n, e, p.hashOf)
	u := p.rows.own(n, e)
	u.number = n
	return u
}

// after is the first of the ordered rows that comes after the id, or the one after
// the last of them.
func (p *people) after(id access.UserID) uint32 {
	if u := p.get(string(id)); u != nil && u.number < p.ordered {
		return u.number + 1
	}
	return uint32(sort.Search(int(p.ordered), func(i int) bool { return p.rows.get(uint32(i)).aside.data.ID > id }))
}

// hashOf is the hash of a user's id.
func (p *people) hashOf(row uint32) uint32 {
	u := p.rows.get(row)
	if int(u.length) <= len(u.id) {
		return p.index.hashBytes(0, u.id[:u.length])
	}
	return p.index.hash(0, string(u.aside.data.ID))
}
