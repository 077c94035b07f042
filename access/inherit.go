package access

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
)

// inherited is a share as it changes with what comes along relationships. What
// came along is told apart by relationship; rights that were inherited before
// relationships were told, and that only whoever put the share knows of, stand
// under the empty one and stay.
type inherited struct {
	along    map[RelationshipID]Rights
	rights   Rights     // what it passes on
	children []ShareKey // to whom
}

// inheritance brings rights along relationships (Rule SHARE-7).
//
// What a share may get or lose depends on the shares of the same principal on
// the parents, which may depend on it in turn: records can form cycles. So it
// first gathers all shares that the changes reach, takes from them what came
// along, and then gives back what still comes along, until nothing is added. No
// right upholds itself.
type inheritance struct {
	*draft
	ended    map[RelationshipID]bool
	children map[linkKey][]RecordKey // among the changed records
	shares   map[RecordKey][]Principal
	reached  map[ShareKey]*inherited
	order    []ShareKey // reached
}

func (d *draft) inherit(ended map[RelationshipID]bool) {
	if len(d.records.order) == 0 && len(d.shares.order) == 0 {
		return
	}
	x := &inheritance{draft: d, ended: ended, children: map[linkKey][]RecordKey{}, shares: map[RecordKey][]Principal{}, reached: map[ShareKey]*inherited{}}
	for _, p := range d.records.order {
		r, _ := d.records.get(p.key)
		for _, l := range r.Links {
			k := linkKey{l.Relationship, l.Record}
			x.children[k] = append(x.children[k], p.key)
		}
	}
	for _, p := range d.shares.order {
		x.shares[p.key.RecordKey] = append(x.shares[p.key.RecordKey], p.key.Principal)
	}
	for _, p := range d.shares.order {
		x.reachChanged(p.key)
	}
	for e := range d.records.changes() {
		if e.is {
			x.reachLinked(e)
		}
	}
	for i := 0; i < len(x.order); i++ {
		x.reachBelow(x.order[i])
	}
	again := slices.Clone(x.order)
	for len(again) > 0 {
		k := again[len(again)-1]
		again = again[:len(again)-1]
		node := x.reached[k]
		if rights := x.compute(k, node); rights != node.rights {
			node.rights = rights
			again = append(again, node.children...)
		}
	}
	for _, k := range x.order {
		x.write(k)
	}
}

// before returns what the share passed on before the changeset; only a registered
// record's does, and only without a window: access for a time stays where it was
// given (Rule SHARE-10).
func (x *inheritance) before(k ShareKey) Rights {
	if _, ok := x.state.Records[k.RecordKey]; !ok {
		return 0
	}
	return x.state.Shares[k].passes()
}

// now returns what the share passes on, as far as is known.
func (x *inheritance) now(k ShareKey) Rights {
	if n, ok := x.reached[k]; ok {
		return n.rights
	}
	return x.asPut(k)
}

// asPut returns what the share would pass on if nothing came along.
func (x *inheritance) asPut(k ShareKey) Rights {
	if !x.records.has(k.RecordKey) {
		return 0
	}
	s, _ := x.draft.shares.get(k)
	return s.passes()
}

func (s Share) passes() Rights {
	if !s.Window.Open() {
		return 0
	}
	return s.Rights | s.Inherited
}

// reach adds a share to those that may change.
func (x *inheritance) reach(k ShareKey) {
	if _, ok := x.reached[k]; !ok && x.records.has(k.RecordKey) {
		x.reached[k] = &inherited{}
		x.order = append(x.order, k)
	}
}

// reachChanged reaches a share that passes on something else than before.
func (x *inheritance) reachChanged(k ShareKey) {
	if x.before(k) != x.asPut(k) {
		x.reach(k)
	}
}

// reachLinked reaches the shares of a record that is new or has other links.
func (x *inheritance) reachLinked(e edit[Record]) {
	k := e.after.key()
	if !e.was {
		for p := range x.principals(k) {
			x.reachChanged(ShareKey{k, p})
		}
	}
	relinked := map[RelationshipID]bool{}
	for _, l := range e.before.Links {
		relinked[l.Relationship] = x.relinked(k, l.Relationship)
	}
	for _, l := range e.after.Links {
		relinked[l.Relationship] = x.relinked(k, l.Relationship)
		r, ok := x.relations.get(l.Relationship)
		parent := RecordKey{r.Parent, l.Record}
		if !ok || !relinked[r.ID] || !x.picks(r.Cascade.Reparent, k, parent) {
			continue
		}
		for p := range x.principals(parent) {
			if key := (ShareKey{parent, p}); x.asPut(key) != 0 {
				x.reach(ShareKey{k, p})
			}
		}
	}
	for p := range x.principals(k) {
		s, _ := x.draft.shares.get(ShareKey{k, p})
		if slices.ContainsFunc(s.Along, func(i Inheritable) bool { return relinked[i.Relationship] }) {
			x.reach(ShareKey{k, p})
		}
	}
}

// relinked tells whether the record has another link along the relationship than
// it had, or one where it had none, or none any more.
func (x *inheritance) relinked(k RecordKey, id RelationshipID) bool {
	before, had := x.state.Records[k].to(id)
	r, _ := x.records.get(k)
	after, has := r.to(id)
	return before != after || had != has || has && x.ended[id]
}

// principals lists, perhaps more than once, those with whom a record is shared.
func (x *inheritance) principals(k RecordKey) map[Principal]struct{} {
	out := maps.Clone(x.state.index.shared[k])
	if out == nil {
		out = map[Principal]struct{}{}
	}
	for _, p := range x.shares[k] {
		out[p] = struct{}{}
	}
	return out
}

// reachBelow reaches the shares of the same principal on the children to whom
// something may come along.
func (x *inheritance) reachBelow(parent ShareKey) {
	for _, r := range x.below(parent.Table) {
		c := r.Cascade
		if t, _ := x.tables.get(r.Table); t.Ownership != UserOrTeam || c.Share == CascadeNone && c.Unshare == CascadeNone && c.Reparent == CascadeNone {
			continue
		}
		add := func(k RecordKey) {
			runs := x.picks(c.Share, k, parent.RecordKey) || x.picks(c.Unshare, k, parent.RecordKey)
			if x.relinked(k, r.ID) {
				runs = x.picks(c.Reparent, k, parent.RecordKey)
			}
			if runs && k.Table == r.Table {
				child := ShareKey{k, parent.Principal}
				x.reach(child)
				x.reached[parent].children = append(x.reached[parent].children, child)
			}
		}
		link := linkKey{r.ID, parent.Record}
		for k := range x.state.index.children[link] {
			if _, changed := x.records.changed[k]; !changed {
				add(k)
			}
		}
		for _, k := range x.children[link] {
			add(k)
		}
	}
}

// compute brings together what comes along and returns what the share passes on.
func (x *inheritance) compute(k ShareKey, n *inherited) Rights {
	s, _ := x.draft.shares.get(k)
	r, _ := x.records.get(k.RecordKey)
	n.along = map[RelationshipID]Rights{}
	if len(s.Along) == 0 && s.Inherited != 0 {
		n.along[""] = s.Inherited
	}
	for _, i := range s.Along {
		if !x.relinked(k.RecordKey, i.Relationship) {
			n.along[i.Relationship] = i.Rights
		}
	}
	for _, l := range r.Links {
		rel, ok := x.relations.get(l.Relationship)
		if t, _ := x.tables.get(rel.Table); !ok || t.Ownership != UserOrTeam {
			continue
		}
		parent := RecordKey{rel.Parent, l.Record}
		from := ShareKey{parent, k.Principal}
		before, now := x.before(from), x.now(from)
		switch {
		case !x.relinked(k.RecordKey, rel.ID):
			if x.picks(rel.Cascade.Share, k.RecordKey, parent) {
				n.along[rel.ID] |= now &^ before
			}
			if x.picks(rel.Cascade.Unshare, k.RecordKey, parent) {
				n.along[rel.ID] &^= before &^ now
			}
		case x.picks(rel.Cascade.Reparent, k.RecordKey, parent):
			n.along[rel.ID] = now
		}
	}
	if !s.Window.Open() {
		return 0
	}
	rights := s.Rights
	for _, more := range n.along {
		rights |= more
	}
	return rights
}

// write makes the share what came out.
func (x *inheritance) write(k ShareKey) {
	var along []Inheritable
	for id, rights := range x.reached[k].along {
		if rights != 0 {
			along = append(along, Inheritable{id, rights})
		}
	}
	slices.SortFunc(along, func(a, b Inheritable) int { return cmp.Compare(a.Relationship, b.Relationship) })
	s, ok := x.draft.shares.get(k)
	if !ok {
		r, _ := x.records.get(k.RecordKey)
		s = Share{Environment: r.Environment, Table: r.Table, Record: r.ID, Principal: k.Principal, ManagedBy: r.ManagedBy}
	}
	if after := s.inheriting(along); !reflect.DeepEqual(s, after) {
		x.putShare(k, after)
	}
}

// inheriting returns the share with other inherited rights.
func (s Share) inheriting(along []Inheritable) Share {
	s.Along, s.Inherited = along, 0
	for _, i := range along {
		s.Inherited |= i.Rights
	}
	if len(along) == 0 || len(along) == 1 && along[0].Relationship == "" {
		s.Along = nil
	}
	return s
}

// putShare makes a share what it has become; one that gives nothing goes. One that
// the changeset puts anew stays, for validate to refuse.
func (d *draft) putShare(k ShareKey, s Share) {
	if _, was := d.state.Shares[k]; was && s.Rights|s.Inherited == 0 {
		d.shares.drop(k)
	} else {
		d.shares.put(k, s)
	}
}
