package dirsync

import "github.com/ambit-iam/ambit/access"

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
		case access.Profile:
			names[named{access.KindProfile, string(o.ID)}] = o.Name
		case access.ProfileMember:
			principal(o.Principal)
			if p, ok := s.Profiles[o.Profile]; ok {
				names[named{access.KindProfile, string(o.Profile)}] = p.Name
			}
		}
	}
	return names
}

func (e *EnvironmentPlan) name(kind access.Kind, id string) string {
	if name, ok := e.names[named{kind, id}]; ok {
		return name
	}
	if kind == access.KindUser && e.snapshot != nil { // one whom the changes only reach
		if u, ok := e.snapshot.User(access.UserID(id)); ok {
			return u.Login
		}
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
	case access.Template:
		return o.Name
	case access.Position:
		return o.Name
	case access.Role:
		return o.Name
	case access.Profile:
		return o.Name
	case access.User:
		return o.Login
	case access.Team:
		return o.Name
	case access.Membership:
		return e.name(access.KindUser, string(o.User)) + " in " + e.name(access.KindTeam, string(o.Team))
	case access.Assignment:
		return e.name(access.KindRole, string(o.Role)) + " to " + e.principal(o.Principal)
	case access.ProfileMember:
		return e.name(access.KindProfile, string(o.Profile)) + " to " + e.principal(o.Principal)
	}
	return o.ObjectKey()
}

func (e *EnvironmentPlan) principal(p access.Principal) string {
	if p.Kind == access.TeamPrincipal {
		return e.name(access.KindTeam, p.ID)
	}
	return e.name(access.KindUser, p.ID)
}
