package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// found is an entry that a live check comes upon.
type found struct {
	dn    string // as the server writes it
	id    directory.ObjectID
	value string // of the attribute that was asked for
}

// find lists the entries that a filter finds, with an attribute of theirs.
func (s *Source) find(c *connection, base, filter, attribute string) ([]found, error) {
	id := idForm(s.config.UniqueID)
	var list []found
	var e entry
	err := c.paged(base, filter, []string{string(id), attribute}, nil, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		f := found{dn: strings.Clone(e.dn), id: id.of(&e)}
		if f.id == "" {
			return id.missing(e.dn)
		}
		for _, a := range e.attributes {
			if name, _, _ := strings.Cut(a.name, ";"); strings.EqualFold(name, attribute) && len(a.values) > 0 {
				f.value = strings.Clone(a.values[0])
			}
		}
		list = append(list, f)
		return nil
	}, func() error { return nil })
	if err != nil {
		return nil, fmt.Errorf("ask below %s: %w", base, err)
	}
	return list, nil
}

// withID is the filter with the assertion that an entry has the id.
func (s *Source) withID(filter string, id directory.ObjectID) string {
	return "(&" + filter + "(" + s.config.UniqueID + "=" + ldap.EscapeFilter(string(id)) + "))"
}

// LiveGroups asks for the groups that name the user, and for those that name these,
// until there are no more (Rule SRC-7).
func (s *Source) LiveGroups(ctx context.Context, user directory.ObjectID) (directory.Live, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return directory.Live{}, err
	}
	defer c.close()
	u, g := s.config.Users, s.config.Groups
	people, err := s.find(c, u.Base, s.withID(u.Filter, user), u.UserName)
	if err == nil && len(people) != 1 {
		err = fmt.Errorf("%s: %w", user, directory.ErrNoObject)
	}
	if err != nil {
		return directory.Live{}, ended(ctx, err)
	}
	dynamic, err := s.dynamicMembers(c)
	if err != nil {
		return directory.Live{}, ended(ctx, err)
	}
	var live directory.Live
	seen := map[directory.ObjectID]struct{}{}
	for next := people; len(next) > 0; {
		some := next[:min(again, len(next))]
		next = next[len(some):]
		var any strings.Builder
		var groups []found
		for _, f := range some {
			groups = append(groups, dynamic[f.id]...)
			for _, class := range g.Classes {
				m := memberAttributes[class]
				name := f.dn
				switch m.naming {
				case byURL:
					continue
				case byUID:
					if name = f.value; f.id != user || name == "" {
						continue // such a group has no groups in it
					}
				}
				any.WriteString("(" + m.attribute + "=" + ldap.EscapeFilter(name) + ")")
			}
		}
		if any.Len() > 0 {
			naming, err := s.find(c, g.Base, "(&"+g.Filter+"(|"+any.String()+"))", g.Name)
			if err != nil {
				return directory.Live{}, ended(ctx, err)
			}
			groups = append(groups, naming...)
		}
		for _, f := range groups {
			if _, ok := seen[f.id]; !ok {
				seen[f.id] = struct{}{}
				live.Refs = append(live.Refs, directory.ByID(f.id))
				next = append(slices.Clip(next), f)
			}
		}
	}
	return live, nil
}

// dynamicMembers are the dynamic groups that each of their members is in.
func (s *Source) dynamicMembers(c *connection) (map[directory.ObjectID][]found, error) {
	in := map[directory.ObjectID][]found{}
	if !s.config.dynamic() {
		return in, nil
	}
	return in, s.dynamicGroups(c, isDynamic, nil, func(page directory.Page, dn string) error {
		if err := whole(page); err != nil {
			return err
		}
		for _, far := range page.Members[0].Add {
			if id, ok := far.ID(); ok {
				in[id] = append(in[id], found{dn: dn, id: page.Upserts[0].ID})
			}
		}
		return nil
	})
}

// whole is an error where a page tells of something that could not be taken over.
func whole(p directory.Page) error {
	for _, problem := range p.Problems {
		return fmt.Errorf("%w: %s: %s", directory.ErrIncomplete, problem.DN, problem.Text)
	}
	return nil
}

// LiveMembers reads the group.
func (s *Source) LiveMembers(ctx context.Context, group directory.ObjectID) (directory.Live, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return directory.Live{}, err
	}
	defer c.close()
	var live directory.Live
	there := false
	r := &round{connection: c, yield: func(p directory.Page) error {
		if err := whole(p); err != nil {
			return err
		}
		there = there || len(p.Upserts) > 0
		for _, m := range p.Members {
			if m.Relation == directory.Member {
				live.Refs = append(live.Refs, m.Add...)
			}
		}
		return nil
	}}
	groups := s.parts(nil)[1]
	err = r.read(groups, s.withID(groups.filter, group))
	if err == nil && s.config.dynamic() {
		err = s.dynamicGroups(c, s.withID(isDynamic, group), nil, func(p directory.Page, _ string) error { return r.yield(p) })
	}
	switch {
	case err != nil:
		return directory.Live{}, ended(ctx, groups.of(err))
	case !there:
		return directory.Live{}, fmt.Errorf("%s: %w", group, directory.ErrNoObject)
	}
	return live, nil
}
