package dirsync

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// diffs asks the engine about each user whom the changes can reach, before and
// after.
func (e *EnvironmentPlan) diffs(rev access.Revision, at time.Time) ([]engine.Diff, error) {
	var after *engine.Snapshot
	var err error
	if e.snapshot != nil {
		after, err = e.snapshot.Apply(e.changes, rev)
	} else {
		s := access.NewState(e.Environment)
		s.Apply(e.changes...)
		after, err = engine.New(s, rev)
	}
	if err != nil {
		return nil, err
	}
	var diffs []engine.Diff
	for _, u := range e.affected() {
		was, err := what(e.snapshot, u, at)
		if err != nil {
			return nil, err
		}
		is, err := what(after, u, at)
		if err != nil {
			return nil, err
		}
		if d := is.Diff(was); len(d.Gained) > 0 || len(d.Lost) > 0 {
			diffs = append(diffs, d)
		}
	}
	return diffs, nil
}

// what is engine.Snapshot.What, which for a user who does not exist is nothing.
func what(s *engine.Snapshot, u access.UserID, at time.Time) (engine.What, error) {
	if s == nil {
		return engine.What{User: u, At: at}, nil
	}
	w, err := s.What(u, at)
	if errors.Is(err, engine.ErrUnknown) {
		return engine.What{User: u, At: at}, nil
	}
	return w, err
}

// affected lists the users whose access the changes can alter, sorted.
func (e *EnvironmentPlan) affected() []access.UserID {
	set := maps.Clone(e.others)
	if set == nil {
		set = map[access.UserID]struct{}{}
	}
	for _, c := range e.changes {
		switch o := c.Object.(type) {
		case access.User:
			set[o.ID] = struct{}{}
		case access.Membership:
			set[o.User] = struct{}{}
		case access.Assignment:
			if u, ok := o.Principal.User(); ok {
				set[u] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// reached finds the users of a state whom changes reach without naming them: the
// members of changed teams and of teams whose roles change, and everybody where
// roles, units, tables or settings change.
func reached(s *access.State, changes []access.Change) map[access.UserID]struct{} {
	teams := map[access.TeamID]struct{}{}
	users := map[access.UserID]struct{}{}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Environment, access.BusinessUnit, access.Table, access.Role:
			for u := range s.Users {
				users[u] = struct{}{}
			}
			return users
		case access.Team:
			if _, was := s.Teams[o.ID]; was {
				teams[o.ID] = struct{}{}
			}
		case access.Assignment:
			if t, ok := o.Principal.Team(); ok {
				teams[t] = struct{}{}
			}
		}
	}
	if len(teams) == 0 {
		return users
	}
	for k := range s.Memberships {
		if _, ok := teams[k.Team]; ok {
			users[k.User] = struct{}{}
		}
	}
	for t := range teams {
		if unit, ok := t.DefaultOf(); ok {
			for _, u := range s.Users {
				if u.BusinessUnit == unit {
					users[u.ID] = struct{}{}
				}
			}
		}
	}
	return users
}

// named is something with a name: a user, a team or a role.
type named struct {
	kind access.Kind
	id   string
}

// collectNames keeps what people call those whom the changes name.
func collectNames(s *access.State, changes []access.Change) map[named]string {
	names := map[named]string{}
	principal := func(p access.Principal) {
		if u, ok := s.Users[access.UserID(p.ID)]; ok && p.Kind == access.UserPrincipal {
			names[named{access.KindUser, p.ID}] = u.Login
		}
		if t, ok := s.Teams[access.TeamID(p.ID)]; ok && p.Kind == access.TeamPrincipal {
			names[named{access.KindTeam, p.ID}] = t.Name
		}
	}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.User:
			names[named{access.KindUser, string(o.ID)}] = o.Login
		case access.Team:
			names[named{access.KindTeam, string(o.ID)}] = o.Name
		case access.Role:
			names[named{access.KindRole, string(o.ID)}] = o.Name
		case access.Membership:
			principal(o.User.Principal())
			principal(o.Team.Principal())
		case access.Assignment:
			principal(o.Principal)
			if r, ok := s.Roles[o.Role]; ok {
				names[named{access.KindRole, string(o.Role)}] = r.Name
			}
		}
	}
	return names
}

func (e *EnvironmentPlan) name(kind access.Kind, id string) string {
	if name, ok := e.names[named{kind, id}]; ok {
		return name
	}
	return id
}

// nameOf is what people call an object.
func (e *EnvironmentPlan) nameOf(o access.Object) string {
	switch o := o.(type) {
	case access.Environment:
		return o.Name
	case access.BusinessUnit:
		return o.Name
	case access.Table:
		return o.Name
	case access.Role:
		return o.Name
	case access.User:
		return o.Login
	case access.Team:
		return o.Name
	case access.Membership:
		return e.name(access.KindUser, string(o.User)) + " in " + e.name(access.KindTeam, string(o.Team))
	case access.Assignment:
		kind := access.KindUser
		if o.Principal.Kind == access.TeamPrincipal {
			kind = access.KindTeam
		}
		return e.name(access.KindRole, string(o.Role)) + " to " + e.name(kind, o.Principal.ID)
	}
	return o.ObjectKey()
}
