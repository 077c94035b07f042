package ldap

import (
	"context"
	"fmt"
	"strings"

	"github.com/ambit-iam/ambit/directory"
)

// Survey tells which version of every user and group the server has, without
// reading them.
func (s *Source) Survey(ctx context.Context, start directory.Start, yield func([]directory.State) error) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var own error
	id := idForm(s.config.UniqueID)
	for _, p := range s.parts(start.Attributes) {
		var e entry
		states := make([]directory.State, 0, c.pageSize)
		err := c.paged(p.base, p.filter, []string{string(id), entryCSN}, nil, func(message string) error {
			if err := e.read(message); err != nil {
				return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
			}
			state, err := id.state(&e)
			states = append(states, state)
			return err
		}, func() error {
			defer c.link.pause()()
			own = yield(states)
			states = states[:0]
			return own
		})
		if own != nil {
			return own
		}
		if err != nil {
			return p.of(ended(ctx, err))
		}
	}
	return nil
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
