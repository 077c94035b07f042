package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// cannotJudge wraps what makes a question unanswerable (Rule EVAL-1).
func cannotJudge(format string, args ...any) error {
	return fmt.Errorf("%w: %s", engine.ErrUnknown, fmt.Sprintf(format, args...))
}

// question turns names into ids. It is the edge: inside, everything is an id.
func question(state *access.State, at time.Time, q Question) (out engine.Question, err error) {
	out = engine.Question{
		Action: q.Action, Table: access.TableID(q.Table), Privilege: q.Privilege, At: at, Channel: q.Channel, Columns: q.Columns,
	}
	if out.User, err = userNamed(state, q.User); err != nil {
		return engine.Question{}, err
	}
	if q.Impersonator != "" {
		if out.Impersonator, err = userNamed(state, q.Impersonator); err != nil {
			return engine.Question{}, err
		}
	}
	out.Record, err = recordNamed(state, q.Record)
	return out, err
}

func recordNamed(state *access.State, r *Record) (*engine.Record, error) {
	if r == nil {
		return nil, nil
	}
	out := &engine.Record{ID: r.ID, Registered: r.Registered}
	var err error
	if r.Owner != "" {
		if out.Owner, err = principalNamed(state, r.Owner); err != nil {
			return nil, err
		}
	}
	if r.BusinessUnit != "" {
		if out.BusinessUnit, err = unitNamed(state, r.BusinessUnit); err != nil {
			return nil, err
		}
	}
	if out.BusinessUnit == "" && !r.Registered {
		out.BusinessUnit = unitOf(state, out.Owner)
	}
	return out, nil
}

func userNamed(state *access.State, name string) (access.UserID, error) {
	if _, ok := state.Users[access.UserID(name)]; ok {
		return access.UserID(name), nil
	}
	if u, ok := state.UserByLogin(name); ok {
		return u.ID, nil
	}
	return "", cannotJudge("user %q is not in environment %s", name, state.Environment.ID)
}

// isUser tells whether the name is the user's id or sign-in name.
func isUser(u access.User, name string) bool {
	return name == string(u.ID) || access.Fold(name) == access.Fold(u.Login)
}

func unitNamed(state *access.State, name string) (access.BusinessUnitID, error) {
	if _, ok := state.BusinessUnits[access.BusinessUnitID(name)]; ok {
		return access.BusinessUnitID(name), nil
	}
	if u, ok := state.BusinessUnitByName(name); ok {
		return u.ID, nil
	}
	return "", cannotJudge("business unit %q is not in environment %s", name, state.Environment.ID)
}

func roleNamed(state *access.State, name string) (access.Role, error) {
	if r, ok := state.Roles[access.RoleID(name)]; ok {
		return r, nil
	}
	if r, ok := state.RoleByName(name); ok {
		return r, nil
	}
	return access.Role{}, cannotJudge("role %q is not in environment %s", name, state.Environment.ID)
}

func principalNamed(state *access.State, text string) (access.Principal, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch kind {
	case access.UserPrincipal.String():
		id, err := userNamed(state, name)
		return id.Principal(), err
	case access.TeamPrincipal.String():
		if _, ok := state.Teams[access.TeamID(name)]; ok {
			return access.TeamID(name).Principal(), nil
		}
		if _, ok := access.TeamID(name).DefaultOf(); ok {
			return access.TeamID(name).Principal(), nil
		}
		var found []access.TeamID // a name is unique within a unit only (Rule TEAM-9)
		for id, t := range state.Teams {
			if access.Fold(t.Name) == access.Fold(name) {
				found = append(found, id)
			}
		}
		switch len(found) {
		case 1:
			return found[0].Principal(), nil
		case 0:
		default:
			return access.Principal{}, cannotJudge("%d teams of environment %s are called %q; name one by its id", len(found), state.Environment.ID, name)
		}
		return access.Principal{}, cannotJudge("team %q is not in environment %s", name, state.Environment.ID)
	}
	return access.Principal{}, cannotJudge("principal %q: want user:ID or team:ID", text)
}

// unitOf is the unit of a principal, which owns the principal's records where
// units are classic (Rule OWN-5).
func unitOf(state *access.State, p access.Principal) access.BusinessUnitID {
	if user, ok := p.User(); ok {
		return state.Users[user].BusinessUnit
	}
	team, _ := p.Team()
	if unit, ok := team.DefaultOf(); ok {
		return unit
	}
	return state.Teams[team].BusinessUnit
}
