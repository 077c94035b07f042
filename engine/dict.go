package engine

import (
	"hash/maphash"
	"slices"
)

// edit marks what the running New or Apply has made itself and may therefore
// change in place; everything else is shared with other snapshots and is copied
// first.
type edit struct{ _ byte }

// keyed is what a dict holds: it knows its own key, a string within a space (a
// table's number, or 0).
type keyed interface {
	comparable
	is(space uint32, key string) bool
}

// dict is a persistent hash map. Its buckets hang in a tree of fixed fan-out, so
// that a change copies one chunk of buckets and the path to it. A bucket is small
// and flat: finding a value touches one or two cache lines before the value
// itself, which is most of what a question costs.
//
// When the buckets become full on average they are dealt out anew, twice as many;
// a map built by changes alone pays for that as an ordinary map does.
type dict[V keyed] struct {
	seed   maphash.Seed
	groups []*group[V]
	mask   uint32 // buckets - 1
	count  int
	edit   *edit // owner of groups
}

const (
	chunkBits  = 4 // buckets of a chunk
	groupBits  = 6 // chunks of a group
	slots      = 7 // values of a bucket without spilling
	bucketLoad = 4 // values of a bucket on average before there are more buckets
)

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
		if i>>groupBits == len(d.groups) {
			d.groups = append(d.groups, &group[V]{edit: e})
		}
		d.groups[i>>groupBits].chunks[i&(1<<groupBits-1)] = &chunk[V]{edit: e}
	}
	return d
}

func (d *dict[V]) hash(space uint32, key string) uint32 {
	h := maphash.String(d.seed, key)
	return uint32(h) ^ uint32(h>>32) ^ space*0x9e3779b1
}

func (d *dict[V]) find(h uint32) *bucket[V] {
	i := h & d.mask
	return &d.groups[i>>(chunkBits+groupBits)].chunks[i>>chunkBits&(1<<groupBits-1)].buckets[i&(1<<chunkBits-1)]
}

func (d *dict[V]) get(space uint32, key string) (v V, ok bool) {
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

// own returns the bucket of the hash, ready to be changed by e.
func (d *dict[V]) own(h uint32, e *edit) *bucket[V] {
	if d.edit != e {
		d.groups, d.edit = slices.Clone(d.groups), e
	}
	i := h & d.mask
	g := &d.groups[i>>(chunkBits+groupBits)]
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

// rows is a persistent list, numbered from 0, that only grows.
type rows[V any] struct {
	chunks []*rowChunk[V]
	count  uint32
	edit   *edit // owner of chunks
}

const rowBits = 6

type rowChunk[V any] struct {
	edit *edit
	rows [1 << rowBits]V
}

func (r *rows[V]) get(i uint32) V { return r.chunks[i>>rowBits].rows[i&(1<<rowBits-1)] }

func (r *rows[V]) set(i uint32, v V, e *edit) {
	if r.edit != e {
		r.chunks, r.edit = slices.Clone(r.chunks), e
	}
	for int(i>>rowBits) >= len(r.chunks) {
		r.chunks = append(r.chunks, &rowChunk[V]{edit: e})
	}
	c := &r.chunks[i>>rowBits]
	if (*c).edit != e {
		*c = &rowChunk[V]{edit: e, rows: (*c).rows}
	}
	(*c).rows[i&(1<<rowBits-1)] = v
	r.count = max(r.count, i+1)
}
