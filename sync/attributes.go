package dirsync

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// dictionary numbers the names of attributes, so that objects need not repeat
// them.
type dictionary struct {
	numbers map[string]uint64
	names   []string
}

func newDictionary() dictionary { return dictionary{numbers: map[string]uint64{}} }

func (d *dictionary) number(name string) uint64 {
	n, ok := d.numbers[name]
	if !ok {
		name = strings.Clone(name)
		n = uint64(len(d.names))
		d.numbers[name] = n
		d.names = append(d.names, name)
	}
	return n
}

// pack brings attributes into one string: a map for each of 55,000 objects would
// be most of the mirror's memory. Attributes without values are left out.
func (d *dictionary) pack(attributes map[string][]string) string {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		values := attributes[name]
		if len(values) == 0 {
			continue
		}
		b = binary.AppendUvarint(b, d.number(name))
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		}
	}
	return string(b)
}

// packed is what pack made, read from its beginning.
type packed string

func (p *packed) uvarint() uint64 {
	var n uint64
	for i := 0; ; i++ {
		b := (*p)[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			*p = (*p)[i+1:]
			return n
		}
	}
}

func (p *packed) value() string {
	n := p.uvarint()
	v := (*p)[:n]
	*p = (*p)[n:]
	return string(v)
}

// each calls yield with every value.
func (d *dictionary) each(p packed, yield func(name, value string)) {
	for p != "" {
		name := d.names[p.uvarint()]
		for range p.uvarint() {
			yield(name, p.value())
		}
	}
}

// first is an attribute's first value, or "".
func (d *dictionary) first(p packed, name string) string {
	wanted, ok := d.numbers[name]
	for ok && p != "" {
		n := p.uvarint()
		values := p.uvarint()
		for range values {
			if v := p.value(); n == wanted {
				return v
			}
		}
	}
	return ""
}

// unpack is the inverse of pack. The values share the packed string's memory.
func (d *dictionary) unpack(p packed) map[string][]string {
	if p == "" {
		return nil
	}
	out := map[string][]string{}
	for p != "" {
		name := d.names[p.uvarint()]
		values := make([]string, p.uvarint())
		for i := range values {
			values[i] = p.value()
		}
		out[name] = values
	}
	return out
}

// same tells whether the attributes say what is packed. With partial, what they
// leave out is as it was (Rule GRAPH-16).
func (d *dictionary) same(p packed, attributes map[string][]string, partial bool) bool {
	matched := 0
	for p != "" {
		values, ok := attributes[d.names[p.uvarint()]]
		n := p.uvarint()
		if ok && n != uint64(len(values)) || !ok && !partial {
			return false
		}
		for i := range n {
			if v := p.value(); ok && v != values[i] {
				return false
			}
		}
		if ok {
			matched++
		}
	}
	if matched == len(attributes) {
		return true
	}
	for _, values := range attributes {
		if len(values) > 0 {
			matched--
		}
	}
	return matched == 0
}

// missing names the packed attributes that the given ones do not mention.
func (d *dictionary) missing(p packed, attributes map[string][]string) []string {
	var names []string
	for p != "" {
		name := d.names[p.uvarint()]
		for range p.uvarint() {
			p.value()
		}
		if _, ok := attributes[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}
