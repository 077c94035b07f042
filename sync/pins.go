package dirsync

import (
	"net/url"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/directory"
)

// pins keep names from handing memberships over. A group names its members by DN
// or user name, and a name can come to mean somebody else:
//
//   - While a round goes on it may have told of the renamed person and not yet of
//     the group that uses the new name. Until the round is complete, the edges that
//     there were mean whom they meant (Rules SRC-1, REL-4).
//   - A name that a new entry takes over is a new person's (Rule LDAP-22). The
//     edges that there were count for the new person only after the group itself
//     has changed, since then somebody who knew has looked at it.
//
// A pin is stored in the edge's row, in the place of the name: "is:<id> <name>"
// for the first, "was:<id> <name>" for the second.
type pins struct {
	batch *batch // where changes of rows go; nil while loading
	of    map[edgeNo]pin
	// heldFor has, by object, the edges that mean it though their name does not.
	heldFor map[directory.ObjectID][]edgeNo
	// before is whom a name meant at the beginning of the round, for the names that
	// it has moved; changedGroups are those that it has changed.
	before        map[refNo]refNo
	changedGroups map[refNo]struct{}
	// confirmed is the last complete round: what was added later may have been said
	// with the names that the round in progress gives.
	confirmed uint32
}

type pin struct {
	id directory.ObjectID
	// stale: the round is over, and the edge counts only while its name means id.
	stale bool
}

func newPins() pins {
	return pins{of: map[edgeNo]pin{}, heldFor: map[directory.ObjectID][]edgeNo{}}
}

const (
	heldPrefix  = "is:"
	stalePrefix = "was:"
)

// confirmAllBut says that all edges but those have been confirmed by a complete
// round. Nothing has happened yet since the edges were loaded.
func (f *facts) confirmAllBut(added []directory.Edge) {
	f.confirmed = f.round
	f.round++
	for _, a := range added {
		if e, ok := f.edgeNumbers[edgeKey{f.lookupID(a.Group), f.lookup(a.Far), a.Relation}]; ok {
			f.edges[e].made = f.round
		}
	}
}

// unconfirmed lists the edges by name that no complete round has confirmed,
// unless there are too many.
func (f *facts) unconfirmed() (added []directory.Edge, tooMany bool) {
	for n := range f.edges {
		if f.edges[n].group == 0 || f.edges[n].made <= f.confirmed {
			continue
		}
		e := f.edge(edgeNo(n))
		if _, byID := e.Far.ID(); byID {
			continue
		}
		if added = append(added, e); len(added) > maxAdded {
			return nil, true
		}
	}
	slices.SortFunc(added, compareEdges)
	return added, false
}

// beginPins begins a round.
func (f *facts) beginPins() {
	f.before, f.changedGroups = map[refNo]refNo{}, map[refNo]struct{}{}
}

// far is the mirrored object at an edge's far end; 0 if nobody is.
func (f *facts) far(e edgeNo) refNo {
	if len(f.of) == 0 {
		return f.target(f.edges[e].far)
	}
	p, pinned := f.of[e]
	switch t := f.target(f.edges[e].far); {
	case !pinned:
		return t
	case !p.stale:
		if n := f.lookupID(p.id); n != 0 && f.refs[n].object != nil {
			return n
		}
		return 0
	default:
		return f.onlyIf(p, t)
	}
}

// onlyIf is t if it is whom the pin names, else 0.
func (f *facts) onlyIf(p pin, t refNo) refNo {
	if t != 0 && f.id(t) == p.id {
		return t
	}
	return 0
}

// hold keeps the edges that name n as they are before the round moves the name.
func (f *facts) hold(n, means refNo) {
	if !f.midway {
		return
	}
	if _, moved := f.before[n]; moved || len(f.refs[n].in) == 0 {
		return
	}
	f.before[n] = means
	if means == 0 {
		return
	}
	for _, e := range f.refs[n].in {
		if _, pinned := f.of[e]; !pinned && f.edges[e].made <= f.confirmed {
			f.setPin(e, pin{id: f.id(means)})
		}
	}
}

// changed notes that the round changes a group, or what is in it.
func (f *facts) changed(group refNo) {
	if f.midway {
		f.changedGroups[group] = struct{}{}
	}
}

// settlePins ends a complete round, and returns how many memberships it found
// given to somebody whose name is another's now, or nobody's.
func (f *facts) settlePins() (stale int) {
	f.confirmed = f.round
	if len(f.of) == 0 {
		return 0
	}
	f.liftPins()
	for e, p := range f.of {
		if p.stale {
			continue
		}
		f.touchEdge(e, f.far(e))
		if t := f.target(f.edges[e].far); t != 0 && f.id(t) == p.id {
			f.setPin(e, pin{})
			continue
		}
		f.setPin(e, pin{id: p.id, stale: true})
		stale++
	}
	return stale
}

// liftPins ends the stale pins of the groups that the round has changed, for the
// names that somebody had before it.
func (f *facts) liftPins() {
	for g := range f.changedGroups {
		l := f.refs[g].links
		if l == nil {
			continue
		}
		for _, e := range slices.Concat(l.out[directory.Member], l.out[directory.Owner]) {
			p, pinned := f.of[e]
			far := f.edges[e].far
			_, moved := f.before[far]
			if t := f.target(far); pinned && p.stale && !moved && t != 0 {
				f.setPin(e, pin{})
				f.touchEdge(e, t)
			}
		}
	}
}

// setPin sets or, with the zero pin, ends an edge's pin.
func (f *facts) setPin(e edgeNo, p pin) {
	was, meant := f.row(e), f.far(e)
	f.forgetPin(e)
	if p.id != "" {
		f.of[e] = p
		if !p.stale {
			f.heldFor[p.id] = append(f.heldFor[p.id], e)
		}
	}
	if f.batch != nil {
		f.batch.edge(was, false)
		f.batch.edge(f.row(e), true)
	}
	f.count(meant, f.far(e))
}

func (f *facts) forgetPin(e edgeNo) {
	p, pinned := f.of[e]
	if !pinned {
		return
	}
	delete(f.of, e)
	if p.stale {
		return
	}
	list := f.heldFor[p.id]
	if i := slices.Index(list, e); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(f.heldFor, p.id)
	} else {
		f.heldFor[p.id] = list
	}
}

// row is an edge as it is stored, with its pin.
func (f *facts) row(e edgeNo) directory.Edge {
	out := f.edge(e)
	if p, pinned := f.of[e]; pinned {
		prefix := heldPrefix
		if p.stale {
			prefix = stalePrefix
		}
		out.Far = directory.Ref(prefix + url.PathEscape(string(p.id)) + " " + string(out.Far))
	}
	return out
}

// parseRow is the inverse of row.
func parseRow(far directory.Ref) (directory.Ref, pin) {
	for _, prefix := range [...]string{heldPrefix, stalePrefix} {
		rest, ok := strings.CutPrefix(string(far), prefix)
		if !ok {
			continue
		}
		escaped, name, ok := strings.Cut(rest, " ")
		if id, err := url.PathUnescape(escaped); ok && err == nil {
			return directory.Ref(name), pin{id: directory.ObjectID(id), stale: prefix == stalePrefix}
		}
	}
	return far, pin{}
}
