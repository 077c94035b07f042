package ldap

import (
	"fmt"
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

// stamps finds the newest time at which an entry was changed.
type stamps struct {
	newest  time.Time
	missing bool // an entry does not say, or not in a way that can be read
}

func (s *stamps) see(e *entry) {
	for _, a := range e.attributes {
		if name, _, _ := strings.Cut(a.name, ";"); !strings.EqualFold(name, modifyTimestamp) || len(a.values) != 1 {
			continue
		}
		// A fraction of a second, which some servers give, is of no matter here.
		at, fraction, _ := strings.Cut(strings.TrimSuffix(a.values[0], "Z"), ".")
		if t, err := time.Parse(generalizedTime, at+"Z"); err == nil && strings.Trim(fraction, "0123456789") == "" {
			if t.After(s.newest) {
				s.newest = t
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
	if err := r.start(directory.Delta); err != nil {
		return err
	}
	began := s.now()
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
	parts := s.parts(attributes)
	for _, p := range parts {
		if !told.list {
			continue
		}
		if err := r.list(p); err != nil {
			return p.of(err)
		}
		end.Listed = append(end.Listed, p.shape.kind)
	}
	seen := map[directory.ObjectID]struct{}{}
	for _, p := range parts {
		p.shape.stamps, p.shape.seen = &stamps{}, seen
		if err := r.read(p, "(&"+p.filter+"(modifyTimestamp>="+ldap.EscapeFilter(since)+"))"); err != nil {
			return p.of(err)
		}
		if t := p.shape.stamps.newest.Add(began.Sub(s.now())); t.After(newest) {
			newest = t
		}
	}
	if !told.list {
		if err := s.hinted(r, parts, told.changed, seen); err != nil {
			return err
		}
	}
	next := last
	next.Newest, next.Log = newest.UTC().Format(generalizedTime), told.next
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
		g.page.Present = append(g.page.Present, directory.Present{ID: id, DN: dn})
		return nil
	}, g.flush)
}
