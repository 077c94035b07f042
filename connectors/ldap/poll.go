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
// comes in between is told of all the same.
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
	var listed []directory.Kind
	parts := s.parts(attributes)
	for _, p := range parts {
		if err := r.list(p); err != nil {
			return p.of(err)
		}
		listed = append(listed, p.shape.kind)
	}
	for _, p := range parts {
		p.shape.stamps = &stamps{}
		if err := r.read(p, "(&"+p.filter+"(modifyTimestamp>="+ldap.EscapeFilter(since)+"))"); err != nil {
			return p.of(err)
		}
		if t := p.shape.stamps.newest.Add(began.Sub(s.now())); t.After(newest) {
			newest = t
		}
	}
	next := last
	next.Newest = newest.UTC().Format(generalizedTime)
	return s.finish(r, attributes, directory.Page{Listed: listed}, last, next)
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
