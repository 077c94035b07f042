package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// unknown says, as the engine does, that what a question names does not exist (Rule
// EVAL-1).
func unknown(state *access.State, what, name string) error {
	return fmt.Errorf("%w %s %q in environment %q", engine.ErrUnknown, what, name, state.Environment.ID)
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
	out.Record, err = recordNamed(state, out.Table, q.Record)
	return out, err
}

func recordNamed(state *access.State, table access.TableID, r *Record) (*engine.Record, error) {
	if r == nil {
		return nil, nil
	}
	out := &engine.Record{ID: r.ID, Registered: r.Registered}
	if kind := state.Tables[table].Ownership; r.byID && (kind == access.OrganizationOwned || kind == access.NotOwned) {
		out.Registered = false // it has no facts to register
	}
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
	return "", unknown(state, "user", name)
}

// isUser tells whether the name is the user's id or sign-in name.
func isUser(u access.User, name string) bool {
	return name == string(u.ID) || access.SameLogin(name, u.Login)
}

func unitNamed(state *access.State, name string) (access.BusinessUnitID, error) {
	if _, ok := state.BusinessUnits[access.BusinessUnitID(name)]; ok {
		return access.BusinessUnitID(name), nil
	}
	if u, ok := state.BusinessUnitByName(name); ok {
		return u.ID, nil
	}
	return "", unknown(state, "business unit", name)
}

func roleNamed(state *access.State, name string) (access.Role, error) {
	if r, ok := state.Roles[access.RoleID(name)]; ok {
		return r, nil
	}
	if r, ok := state.RoleByName(name); ok {
		return r, nil
	}
	return access.Role{}, unknown(state, "role", name)
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
			return access.Principal{}, fmt.Errorf("%w: %d teams of environment %q are called %q; name one by its id", engine.ErrQuestion, len(found), state.Environment.ID, name)
		}
		return access.Principal{}, unknown(state, "team", name)
	}
	return access.Principal{}, fmt.Errorf("%w: principal %q is neither user:ID nor team:ID", engine.ErrQuestion, text)
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
