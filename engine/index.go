package engine

import (
	"cmp"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// sorted is a persistent set of keys in order: a tree of pages. A change copies
// the pages on its way, a handful however many keys there are, and those only
// once an edit. The zero value is the empty set.
type sorted[K key[K]] struct {
	root *page[K]
	// loading collects keys while New runs, so that they are sorted once and laid
	// into full pages.
	loading []K
}

type key[K any] interface{ compare(K) int }

// page is a leaf, or has a kid for each key, which is the kid's first.
type page[K key[K]] struct {
	edit *edit
	keys []K
	kids []*page[K]
}

// pageKeys is how many keys a page has at most; one with less than a quarter is
// put together with a neighbour where they fit.
const pageKeys = 64

func (s *sorted[K]) load(k K) { s.loading = append(s.loading, k) }

// build lays out what was loaded. A key may have been loaded twice.
func (s *sorted[K]) build(e *edit) {
	slices.SortFunc(s.loading, func(a, b K) int { return a.compare(b) })
	keys := slices.CompactFunc(s.loading, func(a, b K) bool { return a.compare(b) == 0 })
	s.loading = nil
	var level []*page[K]
	for part := range slices.Chunk(keys, pageKeys) {
		level = append(level, &page[K]{edit: e, keys: slices.Clone(part)})
	}
	for len(level) > 1 {
		var above []*page[K]
		for kids := range slices.Chunk(level, pageKeys) {
			p := &page[K]{edit: e, kids: slices.Clone(kids)}
			for _, kid := range kids {
				p.keys = append(p.keys, kid.keys[0])
			}
			above = append(above, p)
		}
		level = above
	}
	if len(level) == 1 {
		s.root = level[0]
	}
}

// add puts the key into the set.
func (s *sorted[K]) add(k K, e *edit) {
	if s.root == nil {
		s.root = &page[K]{edit: e}
	}
	s.root = s.root.own(e)
	if right := s.root.add(k, e); right != nil {
		s.root = &page[K]{edit: e, keys: []K{s.root.keys[0], right.keys[0]}, kids: []*page[K]{s.root, right}}
	}
}

// remove takes the key out of the set, if it is there.
func (s *sorted[K]) remove(k K, e *edit) {
	if s.root == nil {
		return
	}
	s.root = s.root.own(e)
	s.root.remove(k, e)
	for len(s.root.kids) == 1 {
		s.root = s.root.kids[0]
	}
	if len(s.root.keys) == 0 {
		s.root = nil
	}
}

// ascend yields the keys from k on, in order, until told to stop.
func (s *sorted[K]) ascend(k K, yield func(K) bool) {
	if s.root != nil {
		s.root.ascend(k, yield)
	}
}

// next is the first key from k on.
func (s *sorted[K]) next(k K) (out K, ok bool) {
	s.ascend(k, func(x K) bool {
		out, ok = x, true
		return false
	})
	return out, ok
}

// after is the first key after k.
func (s *sorted[K]) after(k K) (out K, ok bool) {
	s.ascend(k, func(x K) bool {
		if ok = x.compare(k) != 0; ok {
			out = x
		}
		return !ok
	})
	return out, ok
}

// before is the last key before k.
func (s *sorted[K]) before(k K) (out K, ok bool) {
	for p := s.root; p != nil; {
		i, _ := p.find(k)
		if i == 0 {
			return out, ok
		}
		if p.kids == nil {
			return p.keys[i-1], true
		}
		// What is left of this kid is before k; what is in it may be.
		p = p.kids[i-1]
	}
	return out, ok
}

func (p *page[K]) ascend(k K, yield func(K) bool) bool {
	if p.kids == nil {
		i, _ := p.find(k)
		for _, x := range p.keys[i:] {
			if !yield(x) {
				return false
			}
		}
		return true
	}
	for _, kid := range p.kids[p.under(k):] {
		if !kid.ascend(k, yield) {
			return false
		}
	}
	return true
}

// some are the keys from k on that lie together, at least one if there is any.
func (s *sorted[K]) some(k K) []K {
	if s.root == nil {
		return nil
	}
	return s.root.some(k)
}

func (p *page[K]) some(k K) []K {
	if p.kids == nil {
		i, _ := p.find(k)
		return p.keys[i:]
	}
	for _, kid := range p.kids[p.under(k):] {
		if keys := kid.some(k); len(keys) > 0 {
			return keys
		}
	}
	return nil
}

// own is the page itself, if the edit made it, or a copy with room for one more.
func (p *page[K]) own(e *edit) *page[K] {
	if p.edit == e {
		return p
	}
	c := &page[K]{edit: e, keys: append(make([]K, 0, len(p.keys)+1), p.keys...)}
	if p.kids != nil {
		c.kids = append(make([]*page[K], 0, len(p.kids)+1), p.kids...)
	}
	return c
}

func (p *page[K]) find(k K) (int, bool) {
	return slices.BinarySearchFunc(p.keys, k, func(a, b K) int { return a.compare(b) })
}

// under is the kid where the key belongs.
func (p *page[K]) under(k K) int {
	i, found := p.find(k)
	if !found && i > 0 {
		i--
	}
	return i
}

// add returns what does not fit any more, as a page to stand on the right.
func (p *page[K]) add(k K, e *edit) *page[K] {
	if p.kids == nil {
		i, found := p.find(k)
		if found {
			return nil
		}
		p.keys = slices.Insert(p.keys, i, k)
		return p.split(e)
	}
	i := p.under(k)
	p.kids[i] = p.kids[i].own(e)
	right := p.kids[i].add(k, e)
	p.keys[i] = p.kids[i].keys[0]
	if right == nil {
		return nil
	}
	p.keys, p.kids = slices.Insert(p.keys, i+1, right.keys[0]), slices.Insert(p.kids, i+1, right)
	return p.split(e)
}

func (p *page[K]) split(e *edit) *page[K] {
	if len(p.keys) <= pageKeys {
		return nil
	}
	half := len(p.keys) / 2
	right := &page[K]{edit: e, keys: slices.Clone(p.keys[half:])}
	p.keys = slices.Clip(p.keys[:half])
	if p.kids != nil {
		right.kids, p.kids = slices.Clone(p.kids[half:]), slices.Clip(p.kids[:half])
	}
	return right
}

func (p *page[K]) remove(k K, e *edit) {
	if p.kids == nil {
		if i, found := p.find(k); found {
			p.keys = slices.Delete(p.keys, i, i+1)
		}
		return
	}
	i := p.under(k)
	p.kids[i] = p.kids[i].own(e)
	p.kids[i].remove(k, e)
	if len(p.kids[i].keys) == 0 {
		p.keys, p.kids = slices.Delete(p.keys, i, i+1), slices.Delete(p.kids, i, i+1)
		return
	}
	p.keys[i] = p.kids[i].keys[0]
	if len(p.kids[i].keys) >= pageKeys/4 || len(p.kids) == 1 {
		return
	}
	i = max(i, 1)
	left, right := p.kids[i-1], p.kids[i]
	if len(left.keys)+len(right.keys) > pageKeys {
		return
	}
	p.kids[i-1] = &page[K]{edit: e, keys: slices.Concat(left.keys, right.keys), kids: slices.Concat(left.kids, right.kids)}
	if len(p.kids[i-1].kids) == 0 {
		p.kids[i-1].kids = nil
	}
	p.keys, p.kids = slices.Delete(p.keys, i, i+1), slices.Delete(p.kids, i, i+1)
}

// pair is one number at another, which sorts by the first.
type pair uint64

func pairOf(at, number uint32) pair { return pair(at)<<32 | pair(number) }

func (p pair) compare(o pair) int { return cmp.Compare(p, o) }
func (p pair) at() uint32         { return uint32(p >> 32) }
func (p pair) number() uint32     { return uint32(p) }

// under yields the numbers at the first one, in order.
func under(s *sorted[pair], at uint32, yield func(number uint32) bool) {
	s.ascend(pairOf(at, 0), func(p pair) bool { return p.at() == at && yield(p.number()) })
}

// who is a principal as one number.
type who uint32

const (
	teamBit   who = 1 << 31 // or it is a user
	everybody who = 1<<32 - 1
)

func (w who) kind() access.PrincipalKind {
	switch {
	case w == everybody:
		return access.Everybody
	case w&teamBit != 0:
		return access.TeamPrincipal
	}
	return access.UserPrincipal
}

// who numbers a principal, who need not exist.
func (b *builder) who(p access.Principal) who {
	switch p.Kind {
	case access.UserPrincipal:
		return who(b.userNumber(access.UserID(p.ID)))
	case access.TeamPrincipal:
		return who(b.team(access.TeamID(p.ID))) | teamBit
	}
	return everybody
}

// number is that of the user or team.
func (w who) number() uint32 { return uint32(w &^ teamBit) }

// holder is a principal with a role at a unit.
type holder struct {
	grant
	who who
}

func (h holder) compare(o holder) int {
	return cmp.Or(cmp.Compare(h.role, o.role), cmp.Compare(h.unit, o.unit), cmp.Compare(h.who, o.who))
}
