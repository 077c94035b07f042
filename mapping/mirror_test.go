package mapping_test

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
)

// mirror is a directory.View in memory that can be edited. What each edit touches
// is collected as a mirror's owner would report it.
type mirror struct {
	sources map[directory.SourceID]*mirrored
	touched []mapping.Touched
}

type mirrored struct {
	objects map[directory.ObjectID]directory.Object
	// edges hold what the source named, also where there is no such object.
	members [2]map[directory.ObjectID][]directory.ObjectID
	groups  [2]map[directory.ObjectID][]directory.ObjectID
	names   map[directory.Ref][]directory.ObjectID // of several the first is meant
}

func newMirror(sources ...directory.SourceID) *mirror {
	m := &mirror{sources: map[directory.SourceID]*mirrored{}}
	for _, id := range sources {
		s := &mirrored{objects: map[directory.ObjectID]directory.Object{}, names: map[directory.Ref][]directory.ObjectID{}}
		for i := range s.members {
			s.members[i], s.groups[i] = map[directory.ObjectID][]directory.ObjectID{}, map[directory.ObjectID][]directory.ObjectID{}
		}
		m.sources[id] = s
	}
	return m
}

func refs(o directory.Object) []directory.Ref {
	return []directory.Ref{directory.ByDN(o.DN), directory.ByUserName(o.Get(directory.AttrUserName))}
}

func (s *mirrored) unname(id directory.ObjectID) {
	for _, ref := range refs(s.objects[id]) {
		s.names[ref] = without(s.names[ref], id)
	}
}

func (m *mirror) put(source directory.SourceID, o directory.Object) {
	s := m.sources[source]
	s.unname(o.ID)
	s.objects[o.ID] = o
	for _, ref := range refs(o) {
		s.names[ref] = insert(s.names[ref], o.ID)
	}
	m.touched = append(m.touched, mapping.Touched{Source: source, Object: o.ID})
}

// remove ends an object and its edges (Rule SRC-6).
func (m *mirror) remove(source directory.SourceID, id directory.ObjectID) {
	s := m.sources[source]
	for rel := range s.members {
		for _, member := range slices.Clone(s.members[rel][id]) {
			m.unlink(source, id, directory.Relation(rel), member)
		}
		for _, group := range slices.Clone(s.groups[rel][id]) {
			m.unlink(source, group, directory.Relation(rel), id)
		}
	}
	s.unname(id)
	delete(s.objects, id)
	m.touched = append(m.touched, mapping.Touched{Source: source, Object: id})
}

func insert(list []directory.ObjectID, id directory.ObjectID) []directory.ObjectID {
	i, found := slices.BinarySearch(list, id)
	if found {
		return list
	}
	return slices.Insert(list, i, id)
}

func without(list []directory.ObjectID, id directory.ObjectID) []directory.ObjectID {
	i, found := slices.BinarySearch(list, id)
	if !found {
		return list
	}
	return slices.Delete(list, i, i+1)
}

func (m *mirror) link(source directory.SourceID, group directory.ObjectID, rel directory.Relation, member directory.ObjectID) {
	s := m.sources[source]
	s.members[rel][group] = insert(s.members[rel][group], member)
	s.groups[rel][member] = insert(s.groups[rel][member], group)
	m.touched = append(m.touched, mapping.Touched{Source: source, Object: group, Member: member})
}

func (m *mirror) unlink(source directory.SourceID, group directory.ObjectID, rel directory.Relation, member directory.ObjectID) {
	s := m.sources[source]
	s.members[rel][group] = without(s.members[rel][group], member)
	s.groups[rel][member] = without(s.groups[rel][member], group)
	m.touched = append(m.touched, mapping.Touched{Source: source, Object: group, Member: member})
}

// take returns what was touched since it was last asked.
func (m *mirror) take() []mapping.Touched {
	t := m.touched
	m.touched = nil
	return t
}

func (m *mirror) Sources() []directory.SourceID { return slices.Sorted(maps.Keys(m.sources)) }

func (m *mirror) Object(source directory.SourceID, id directory.ObjectID) (directory.Object, bool) {
	o, ok := m.sources[source].objects[id]
	return o, ok
}

func (m *mirror) Objects(source directory.SourceID, kind directory.Kind, yield func(directory.Object) bool) {
	all := slices.SortedFunc(maps.Values(m.sources[source].objects), func(a, b directory.Object) int {
		return cmp.Compare(a.ID, b.ID)
	})
	for _, o := range all {
		if o.Kind == kind && !yield(o) {
			return
		}
	}
}

func (m *mirror) Resolve(source directory.SourceID, ref directory.Ref) (directory.ObjectID, directory.Kind, bool) {
	s := m.sources[source]
	if id, ok := ref.ID(); ok {
		o, exists := s.objects[id]
		return id, o.Kind, exists
	}
	if ids := s.names[ref]; len(ids) > 0 {
		return ids[0], s.objects[ids[0]].Kind, true
	}
	return "", directory.KindUnknown, false
}

func (m *mirror) Members(source directory.SourceID, group directory.ObjectID, rel directory.Relation, yield func(directory.ObjectID) bool) {
	s := m.sources[source]
	if _, ok := s.objects[group]; !ok {
		return
	}
	for _, id := range s.members[rel][group] {
		if _, ok := s.objects[id]; ok && !yield(id) {
			return
		}
	}
}

func (m *mirror) MemberOf(source directory.SourceID, member directory.ObjectID, rel directory.Relation, yield func(directory.ObjectID) bool) {
	s := m.sources[source]
	if _, ok := s.objects[member]; !ok {
		return
	}
	for _, id := range s.groups[rel][member] {
		if _, ok := s.objects[id]; ok && !yield(id) {
			return
		}
	}
}

// object makes an object from "attribute=value" texts; a repeated attribute has
// several values.
func object(kind directory.Kind, id directory.ObjectID, attributes ...string) directory.Object {
	o := directory.Object{ID: id, Kind: kind, Attributes: map[string][]string{}}
	for _, a := range attributes {
		name, value, _ := strings.Cut(a, "=")
		if name == "dn" {
			o.DN = value
			continue
		}
		o.Attributes[name] = append(o.Attributes[name], value)
	}
	return o
}

func user(id directory.ObjectID, attributes ...string) directory.Object {
	o := object(directory.KindUser, id, attributes...)
	if o.Get(directory.AttrUserName) == "" {
		o.Attributes[directory.AttrUserName] = []string{string(id)}
	}
	return o
}

func group(id directory.ObjectID, attributes ...string) directory.Object {
	return object(directory.KindGroup, id, attributes...)
}
