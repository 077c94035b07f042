package engine

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// Compare tells what each of the users gains and loses, by the roles in force at
// the instant, from one snapshot to the other; users for whom that is nothing are
// left out. What would be after some changes is told by comparing a snapshot with
// what Apply makes of it. A snapshot that is nil is of an environment that does
// not exist, and gives nobody anything; neither does one that does not know the
// user.
func Compare(before, after *Snapshot, users []access.UserID, at time.Time) ([]Diff, error) {
	var diffs []Diff
	for _, u := range users {
		was, err := before.whatIfAny(u, at)
		if err != nil {
			return nil, err
		}
		is, err := after.whatIfAny(u, at)
		if err != nil {
			return nil, err
		}
		if d := is.Diff(was); len(d.Gained) > 0 || len(d.Lost) > 0 {
			diffs = append(diffs, d)
		}
	}
	return diffs, nil
}

// whatIfAny is What, which for a user who does not exist is nothing.
func (s *Snapshot) whatIfAny(u access.UserID, at time.Time) (What, error) {
	if s == nil {
		return What{User: u, At: at}, nil
	}
	w, err := s.What(u, at)
	if errors.Is(err, ErrUnknown) {
		return What{User: u, At: at}, nil
	}
	return w, err
}

// Reached lists the users for whom Compare can find something between the
// snapshot, which may be nil, and what Apply makes of it, sorted: those whom the
// changes name, the members of teams that change or whose roles do, those who
// hold a role that changes, and everybody where units, tables or settings change.
// Shares, column security, hierarchies and what they rest on give no role.
func (s *Snapshot) Reached(changes []access.Change) []access.UserID {
	r := reach{s: s, users: map[access.UserID]struct{}{}}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Environment, access.BusinessUnit, access.Table:
			r.everybody()
		case access.Role:
			r.role(o.ID)
		case access.User:
			r.users[o.ID] = struct{}{}
		case access.Membership:
			r.users[o.User] = struct{}{}
		case access.Team:
			r.principal(o.ID.Principal())
		case access.Assignment:
			r.principal(o.Principal)
			if s == nil {
				continue
			}
			if was, ok := s.assignments.get(0, string(o.ID)); ok {
				r.principal(was.data.Principal) // who loses it, if another
			}
		}
	}
	return slices.Sorted(maps.Keys(r.users))
}

type reach struct {
	s     *Snapshot // may be nil
	users map[access.UserID]struct{}
	all   bool
}

func (r *reach) everybody() {
	if r.s == nil || r.all {
		return
	}
	r.all = true
	for n := range r.s.users.rows.count {
		if u := r.s.users.rows.get(n); u.exists {
			r.users[u.aside.data.ID] = struct{}{}
		}
	}
}

func (r *reach) principal(p access.Principal) {
	if id, ok := p.User(); ok {
		r.users[id] = struct{}{}
	} else if r.s != nil {
		if n, ok := r.s.teamIndex.get(p.ID); ok {
			r.members(n)
		}
	}
}

func (r *reach) members(team uint32) {
	under(&r.s.members, team, func(n uint32) bool {
		r.users[r.s.users.rows.get(n).aside.data.ID] = struct{}{}
		return true
	})
}

func (r *reach) role(id access.RoleID) {
	if r.s == nil {
		return
	}
	role, ok := r.s.roleIndex[id]
	if !ok {
		return
	}
	r.s.holders.ascend(holder{grant: grant{role: role}}, func(h holder) bool {
		switch {
		case h.role != role:
			return false
		case h.who.kind() == access.TeamPrincipal:
			r.members(h.who.number())
		default:
			r.users[r.s.users.rows.get(h.who.number()).aside.data.ID] = struct{}{}
		}
		return true
	})
}
