package engine

import (
	"errors"
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
	w, err := s.WhatHeld(u, at)
	if errors.Is(err, ErrUnknown) {
		return What{User: u, At: at}, nil
	}
	return w, err
}

// Reached lists the users for whom Compare can find something between the
// snapshot, which may be nil, and what Apply makes of it, sorted: those whom the
// changes name, the members of teams that change or whose roles do, those who
// hold a role that changes, and everybody where units, tables or settings change.
// Shares, column security, hierarchies and what they rest on give no role: see
// CompareRecords, CompareColumns, CompareReports and Unjudged.
func (s *Snapshot) Reached(changes []access.Change) []access.UserID {
	r := reach{s: s}
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Environment, access.BusinessUnit, access.Table:
			r.everybody()
		case access.Role:
			r.role(o.ID)
		case access.User:
			r.users = append(r.users, o.ID)
		case access.Membership:
			r.users = append(r.users, o.User)
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
	for n, reached := range r.known {
		if reached {
			r.users = append(r.users, s.users.rows.get(uint32(n)).aside.data.ID)
		}
	}
	slices.Sort(r.users)
	return slices.Compact(r.users)
}

type reach struct {
	s     *Snapshot // may be nil
	users []access.UserID
	known []bool // by row, besides; nil for none
	all   bool
}

func (r *reach) row(n uint32) {
	if r.known == nil {
		r.known = make([]bool, r.s.users.rows.count)
	}
	r.known[n] = true
}

func (r *reach) everybody() {
	if r.s == nil || r.all {
		return
	}
	r.all = true
	for n := range r.s.users.rows.count {
		if r.s.users.rows.get(n).exists {
			r.row(n)
		}
	}
}

func (r *reach) principal(p access.Principal) {
	if id, ok := p.User(); ok {
		r.users = append(r.users, id)
	} else if r.s != nil {
		if n, ok := r.s.teamIndex.get(p.ID); ok {
			r.members(n)
		}
	}
}

func (r *reach) members(team uint32) {
	under(&r.s.members, team, func(n uint32) bool {
		r.row(n)
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
			r.row(h.who.number())
		}
		return true
	})
}
