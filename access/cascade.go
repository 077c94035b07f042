package access

import (
	"cmp"
	"maps"
	"slices"
)

// allButCreate is what a former owner gets (Rule OWN-10).
const allButCreate = Rights(1<<Actions-1) &^ (1 << Create)

// below lists the relationships along which something runs from the records of a
// table, as they would be, sorted.
func (d *draft) below(table TableID) []Relationship {
	var out []Relationship
	for id := range d.state.index.relations[table] {
		if _, changed := d.relations.changed[id]; !changed {
			out = append(out, d.state.Relationships[id])
		}
	}
	for _, p := range d.relations.order {
		if r, ok := d.relations.get(p.key); ok && r.Parent == table {
			out = append(out, r)
		}
	}
	out = slices.DeleteFunc(out, func(r Relationship) bool { return r.ManyToMany || r.Cascade == Cascades{} })
	slices.SortFunc(out, func(a, b Relationship) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// picks tells whether an operation on the parent runs along to the child (Rule
// OWN-12). Both records' owners are those before the changeset, if there were any.
func (d *draft) picks(c Cascade, child, parent RecordKey) bool {
	switch c {
	case CascadeAll:
		return true
	case CascadeActive:
		r, _ := d.records.get(child)
		return !r.Inactive
	case CascadeUserOwned:
		return d.firstOwner(child) == d.firstOwner(parent)
	}
	return false
}

func (d *draft) firstOwner(k RecordKey) Principal {
	if r, ok := d.state.Records[k]; ok {
		return r.Owner
	}
	r, _ := d.records.get(k)
	return r.Owner
}

// to returns the record to which the record links along the relationship.
func (r Record) to(id RelationshipID) (RecordID, bool) {
	for _, l := range r.Links {
		if l.Relationship == id {
			return l.Record, true
		}
	}
	return "", false
}

// endedRelationships returns those that are deleted or come to be between other
// tables. Other changes of a relationship count from now on: what came along it
// stays.
func (d *draft) endedRelationships() map[RelationshipID]bool {
	ended := map[RelationshipID]bool{}
	for e := range d.relations.existing() {
		a, b := e.before, e.after
		if !e.is || a.Table != b.Table || a.Parent != b.Parent || a.ManyToMany != b.ManyToMany {
			ended[a.ID] = true
		}
	}
	return ended
}

// endRecords ends the records that go with their parent (Rule OWN-12), and what
// was given on records that go (Rules SHARE-9, FLS-7).
func (d *draft) endRecords(ended map[RelationshipID]bool) {
	var gone []RecordKey
	for e := range d.records.existing() {
		if !e.is {
			gone = append(gone, e.before.key())
		}
	}
	for len(gone) > 0 {
		parent := gone[len(gone)-1]
		gone = gone[:len(gone)-1]
		for p := range d.state.index.shared[parent] {
			d.shares.remove(ShareKey{parent, p})
		}
		for k := range d.state.index.columns[parent] {
			d.columns.remove(k)
		}
		for _, r := range d.below(parent.Table) {
			if r.Cascade.Delete == CascadeNone || ended[r.ID] {
				continue
			}
			for k := range d.state.index.children[linkKey{r.ID, parent.Record}] {
				if _, changed := d.records.changed[k]; !changed && k.Table == r.Table && d.picks(r.Cascade.Delete, k, parent) {
					d.records.remove(k)
					gone = append(gone, k)
				}
			}
		}
	}
}

// endLinks takes from the records the links along ended relationships, and to
// records that go, and from the shares what came along those relationships (Rules
// OWN-12, SHARE-7).
func (d *draft) endLinks(ended map[RelationshipID]bool) {
	if len(ended) > 0 {
		came := func(i Inheritable) bool { return ended[i.Relationship] }
		for k, s := range d.shares.untouched() {
			if slices.ContainsFunc(s.Along, came) {
				d.putShare(k, s.inheriting(slices.DeleteFunc(slices.Clone(s.Along), came)))
			}
		}
		for k, r := range d.state.Records {
			if slices.ContainsFunc(r.Links, func(l Link) bool { return ended[l.Relationship] }) {
				d.unlink(k, func(l Link) bool { return ended[l.Relationship] })
			}
		}
	}
	for e := range d.records.existing() {
		if e.is {
			continue
		}
		for id := range d.state.index.relations[e.before.Table] {
			link := Link{id, e.before.ID}
			for k := range d.state.index.children[linkKey{id, e.before.ID}] {
				d.unlink(k, func(l Link) bool { return l == link })
			}
		}
	}
}

func (d *draft) unlink(k RecordKey, ends func(Link) bool) {
	if r, ok := d.records.get(k); ok && !d.records.asked(k) && slices.ContainsFunc(r.Links, ends) {
		r.Links = slices.DeleteFunc(slices.Clone(r.Links), ends)
		if len(r.Links) == 0 {
			r.Links = nil
		}
		d.records.put(k, r)
	}
}

// settle gives the records without a unit the one that the rules say: their
// owner's (Rule OWN-5); or, with modernized units that stay on assign, the one
// that they had (Rule OWN-11).
func (d *draft) settle() {
	keeps := d.environment().Modernized && d.environment().KeepRecordUnit
	for e := range d.records.changes() {
		r := e.after
		if !e.is || r.BusinessUnit != "" || r.Owner == (Principal{}) {
			continue
		}
		if keeps && e.was && e.before.Owner != (Principal{}) && d.units.has(e.before.BusinessUnit) {
			r.BusinessUnit = e.before.BusinessUnit
		} else {
			r.BusinessUnit, _ = d.unitOf(r.Owner)
		}
		d.records.put(r.key(), r)
	}
}

// reassigned yields the records that change their owner, sorted.
func (d *draft) reassigned() []RecordKey {
	var out []RecordKey
	for e := range d.records.existing() {
		if e.is && e.before.Owner != e.after.Owner && e.before.Owner != (Principal{}) && e.after.Owner != (Principal{}) {
			out = append(out, e.after.key())
		}
	}
	slices.SortFunc(out, RecordKey.compare)
	return out
}

// assignAlong gives children their parent's new owner (Rule OWN-12), level by
// level: the nearest parent that is assigned decides, and among several the first
// by key. Their unit goes by Rule OWN-11. Records of the changeset are as it says.
func (d *draft) assignAlong() {
	for parents := d.reassigned(); len(parents) > 0; {
		next := map[RecordKey]Principal{}
		for _, parent := range parents {
			p, _ := d.records.get(parent)
			for _, r := range d.below(parent.Table) {
				if r.Cascade.Assign == CascadeNone {
					continue
				}
				for k := range d.state.index.children[linkKey{r.ID, parent.Record}] {
					c, ok := d.records.get(k)
					to, linked := c.to(r.ID)
					if !ok || d.records.asked(k) || k.Table != r.Table || !linked || to != parent.Record ||
						c.Owner == (Principal{}) || c.Owner != d.firstOwner(k) || c.Owner == p.Owner || !d.picks(r.Cascade.Assign, k, parent) {
						continue
					}
					if _, taken := next[k]; !taken {
						next[k] = p.Owner
					}
				}
			}
		}
		env := d.environment()
		for k, owner := range next {
			r, _ := d.records.get(k)
			r.Owner = owner
			if !env.Modernized || !env.KeepRecordUnit {
				r.BusinessUnit, _ = d.unitOf(owner)
			}
			d.records.put(k, r)
		}
		parents = slices.SortedFunc(maps.Keys(next), RecordKey.compare)
	}
}

// sharePrevious shares reassigned records with those who owned them, where the
// environment says so (Rule OWN-10).
func (d *draft) sharePrevious() {
	if !d.environment().ShareWithPrevious {
		return
	}
	for _, k := range d.reassigned() {
		r, _ := d.records.get(k)
		former := d.state.Records[k].Owner
		key := ShareKey{k, former}
		if _, exists := d.unitOf(former); !exists || d.shares.asked(key) {
			continue
		}
		s, ok := d.shares.get(key)
		if !ok {
			s = Share{Environment: r.Environment, Table: r.Table, Record: r.ID, Principal: former, ManagedBy: r.ManagedBy}
		}
		s.Rights, s.Window = allButCreate, Window{}
		d.shares.put(key, s)
	}
}
