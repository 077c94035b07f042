package ldap

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

const (
	modifyTimestamp = "modifytimestamp"
	generalizedTime = "20060102150405Z"
	// overlap is how far a server's clock may step back without a change being lost
	// (Rule LDAP-25).
	overlap = 5 * time.Minute
)

// witness is an entry, and when it was changed.
type witness struct {
	ID directory.ObjectID `json:"id"`
	At time.Time          `json:"at"`
}

// maxWitnesses is how many are kept: some of them may be gone by the next round.
const maxWitnesses = 8

// stamps finds the newest times at which entries were changed.
type stamps struct {
	// now: what was changed later than that was not. A server's clock that was ahead
	// wrote it, or somebody, and no change would be seen until then.
	now     time.Time
	newest  []witness // the newest first
	missing bool      // an entry does not say, or not in a way that can be read
	// lost were the newest in the last round, without those that were seen to be as new
	// still. listed are those of them that a list has named.
	lost   map[directory.ObjectID]time.Time
	listed map[directory.ObjectID]bool
}

// mark is up to when everything was read. What changed while it was may not have been.
func (s *stamps) mark(ended time.Time) time.Time { return s.newest[0].At.Add(s.now.Sub(ended)) }

// witnesses are those that the next round sees, which goes on from mark.
func (s *stamps) witnesses(mark time.Time) []witness {
	return slices.DeleteFunc(s.newest, func(w witness) bool { return w.At.Before(mark.Add(-overlap)) })
}

func (s *stamps) see(e *entry, id directory.ObjectID) {
	for _, a := range e.attributes {
		if name, _, _ := strings.Cut(a.name, ";"); !strings.EqualFold(name, modifyTimestamp) || len(a.values) != 1 {
			continue
		}
		// A fraction of a second, which some servers give, is of no matter here.
		at, fraction, _ := strings.Cut(strings.TrimSuffix(a.values[0], "Z"), ".")
		if t, err := time.Parse(generalizedTime, at+"Z"); err == nil && strings.Trim(fraction, "0123456789") == "" {
			if !t.After(s.now) && (len(s.newest) < maxWitnesses || t.After(s.newest[maxWitnesses-1].At)) {
				s.newest = slices.DeleteFunc(s.newest, func(w witness) bool { return w.ID == id })
				at, _ := slices.BinarySearchFunc(s.newest, t, func(w witness, t time.Time) int { return t.Compare(w.At) })
				s.newest = slices.Insert(s.newest, at, witness{id, t})
				s.newest = s.newest[:min(len(s.newest), maxWitnesses)]
			}
			if was, ok := s.lost[id]; ok && !t.Before(was) {
				delete(s.lost, id)
			}
			return
		}
	}
	s.missing = true
}

// poll reads which entries there are, and then those that were changed since the
// newest change that was read before (Rule LDAP-25). In this order an entry that
// comes in between is told of all the same. Where a log tells what has changed, it is in
// the place of the list.
func (s *Source) poll(r *round, attributes []string, last cursor) error {
	newest, err := time.Parse(generalizedTime, last.Newest)
	if err != nil {
		return fmt.Errorf("the cursor's time: %w: %w", directory.ErrCursorExpired, err)
	}
	began := s.now()
	if newest.After(began.Add(overlap)) {
		return fmt.Errorf("the newest change that was read is of %s, and it is %s: a clock was ahead (Rule LDAP-25): %w", newest.Format(time.RFC3339), began.UTC().Format(time.RFC3339), directory.ErrCursorExpired)
	}
	if err := r.start(directory.Delta); err != nil {
		return err
	}
	since := newest.Add(-overlap).Format(generalizedTime)
	var end directory.Page
	told := news{list: true}
	if log, ok := s.config.logged(); ok {
		if told, err = log.hear(r.connection, last.Log, newest, began); err != nil {
			return fmt.Errorf("read the log %s: %w", log.base, err)
		}
		if told.problem != "" {
			end.Problems = append(end.Problems, directory.Problem{Text: told.problem})
		}
	}
	dated := &stamps{now: began, lost: map[directory.ObjectID]time.Time{}, listed: map[directory.ObjectID]bool{}}
	for _, w := range last.Witnesses {
		dated.lost[w.ID] = w.At
	}
	seen := map[directory.ObjectID]struct{}{}
	parts := s.parts(attributes)
	for _, p := range parts {
		p.shape.stamps, p.shape.seen = dated, seen
		if !told.list {
			continue
		}
		if err := r.list(p); err != nil {
			return p.of(err)
		}
		end.Listed = append(end.Listed, p.shape.kind)
	}
	for _, p := range parts {
		if err := r.read(p, "(&"+p.filter+"(modifyTimestamp>="+ldap.EscapeFilter(since)+"))"); err != nil {
			return p.of(err)
		}
	}
	if !told.list {
		if err := s.hinted(r, parts, told.changed, seen); err != nil {
			return err
		}
	}
	for _, w := range last.Witnesses {
		_, lost := dated.lost[w.ID]
		_, there := seen[w.ID]
		_, logged := told.changed[w.ID]
		gone := told.list && !dated.listed[w.ID] || !told.list && !there && logged
		if lost && (!gone || len(dated.lost) == len(last.Witnesses)) {
			return fmt.Errorf("the entry %s, of those that were changed last (%s), is not as new any more or is gone with all others of them: the server may have been put back to an earlier state (Rule LDAP-25): %w",
				w.ID, w.At.Format(time.RFC3339), directory.ErrCursorExpired)
		}
	}
	next := last
	next.Log = told.next
	if len(dated.newest) > 0 {
		if t := dated.mark(s.now()); t.After(newest) {
			newest = t.UTC().Truncate(time.Second)
		}
		next.Newest, next.Witnesses = newest.Format(generalizedTime), dated.witnesses(newest)
	}
	return s.finish(r, attributes, end, last, next)
}

// list tells of all entries of a part only that they are there, and their names.
func (r *round) list(p part) error {
	var e entry
	g := r.gather()
	return r.paged(p.base, p.filter, []string{string(p.shape.ids)}, nil, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		dn, err := NormalDN(e.dn)
		if err != nil {
			return fmt.Errorf("%w: entry %q: the name cannot be read: %w", directory.ErrIncomplete, e.dn, err)
		}
		id := p.shape.ids.of(&e)
		if id == "" {
			return p.shape.ids.missing(e.dn)
		}
		if _, ok := p.shape.stamps.lost[id]; ok {
			p.shape.stamps.listed[id] = true
		}
		g.page.Present = append(g.page.Present, directory.Present{ID: id, DN: dn})
		return nil
	}, g.flush)
}
