package ldap

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// Survey tells which version of every user and group the server has, without
// reading them. It asks for the largest pages there are: for slapd each page is a
// search of its own, and all of them take longer than the entries, of which only
// two short values are sent. A server that does not give pages so large is asked
// for usual ones.
func (s *Source) Survey(ctx context.Context, start directory.Start, yield func([]directory.State) error) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	usual := c.pageSize
	c.pageSize = maxPageSize
	v := survey{connection: c, id: idForm(s.config.UniqueID), limit: int(usual), yield: yield}
	for _, p := range s.parts(start.Attributes) {
		err := v.run(p)
		if !v.began && ldap.IsErrorWithCode(err, ldap.LDAPResultAdminLimitExceeded) {
			c.pageSize = usual
			err = v.run(p)
		}
		if v.own != nil {
			return v.own
		}
		if err != nil {
			return p.of(ended(ctx, err))
		}
	}
	return nil
}

// survey is one that goes on.
type survey struct {
	*connection
	id     idForm
	limit  int // how many states are handed on together
	yield  func([]directory.State) error
	own    error // of the caller
	began  bool  // the server has given an entry
	states []directory.State
}

func (v *survey) run(p part) error {
	var e entry
	err := v.paged(p.base, p.filter, []string{string(v.id), entryCSN}, nil, func(message string) error {
		v.began = true
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		state, err := v.id.state(&e)
		if err != nil {
			return err
		}
		if v.states = append(v.states, state); len(v.states) < v.limit {
			return nil
		}
		return v.hand()
	}, func() error { return nil })
	if err != nil {
		return err
	}
	return v.hand()
}

func (v *survey) hand() error {
	defer v.link.pause()()
	v.own = v.yield(v.states)
	v.states = v.states[:0]
	return v.own
}

// state is in which an entry is.
func (f idForm) state(e *entry) (directory.State, error) {
	s := directory.State{ID: f.of(e)}
	var err error
	if s.DN, err = NormalDN(e.dn); err != nil {
		return s, fmt.Errorf("%w: entry %q: the name cannot be read: %w", directory.ErrIncomplete, e.dn, err)
	}
	for _, a := range e.attributes {
		if strings.EqualFold(a.name, entryCSN) && len(a.values) == 1 {
			s.Version = strings.Clone(a.values[0])
		}
	}
	switch {
	case s.ID == "":
		return s, f.missing(e.dn)
	case s.Version == "":
		return s, fmt.Errorf("entry %q has no entryCSN: %w", e.dn, directory.ErrNoSurvey)
	}
	return s, nil
}
