package enginetest

import (
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// eval4d: hierarchy. The privilege itself has been looked at by EVAL-3 (HIER-2).
func (r Reference) eval4d(q question) bool {
	h := r.State.Environment.Hierarchy
	if h == nil || q.table.Ownership != access.UserOrTeam || slices.Contains(h.Except, q.table.ID) { // HIER-1
		return false
	}
	for _, s := range r.State.Users {
		if s.ID != q.user.ID && r.hier8(h, s) && r.reports(h, s, q.user, hier3(h, q.action)) && r.hier2(q, s) {
			return true
		}
	}
	return false
}

// hier3: how many levels down an action reaches.
func hier3(h *access.Hierarchy, action access.Action) int {
	direct := h.DirectLevels
	if direct < 1 {
		direct = 1
	}
	switch action {
	case access.Read:
		return h.Depth
	case access.Write, access.Append, access.AppendTo:
		return min(direct, h.Depth)
	}
	return 0 // Create, Delete, Assign and Share never pass up
}

// hier8: disabled reports may be left out.
func (r Reference) hier8(h *access.Hierarchy, s access.User) bool {
	return s.Enabled || !h.ExcludeDisabledReports
}

// reports tells whether s stands below m, by so many levels at most.
func (r Reference) reports(h *access.Hierarchy, s, m access.User, levels int) bool {
	if h.Model == access.PositionHierarchy {
		return r.hier7(s, m, levels)
	}
	return r.hier5(h, s, m) && r.managedBy(s, m, levels)
}

// managedBy follows managers upwards. A disabled one is still a link (HIER-8).
func (r Reference) managedBy(s, m access.User, levels int) bool {
	for range levels {
		next, ok := r.State.Users[s.Manager]
		if !ok {
			return false
		}
		if next.ID == m.ID {
			return true
		}
		s = next
	}
	return false
}

// hier5: the manager's unit is the report's or above it.
func (r Reference) hier5(h *access.Hierarchy, s, m access.User) bool {
	if r.State.Environment.Modernized && h.ManagersAnywhere {
		return true
	}
	_, exists := r.State.BusinessUnits[s.BusinessUnit]
	return exists && r.bu2(m.BusinessUnit, s.BusinessUnit)
}

// hier7: the position of m lies above that of s.
func (r Reference) hier7(s, m access.User, levels int) bool {
	at, ok := r.State.Positions[s.Position]
	top, topOK := r.State.Positions[m.Position]
	if !ok || !topOK || at.ID == top.ID {
		return false
	}
	for range levels {
		if at, ok = r.State.Positions[at.Parent]; !ok {
			return false
		}
		if at.ID == top.ID {
			return true
		}
	}
	return false
}

// hier2: what passes up is what the report, or a team of the report, owns or was
// shared with the right for the action (HIER-4), and nothing else (HIER-6).
func (r Reference) hier2(q question, s access.User) bool {
	theirs := []access.Principal{s.ID.Principal()}
	for _, t := range r.teams(s.ID) {
		theirs = append(theirs, t.ID.Principal())
	}
	if slices.Contains(theirs, q.record.Owner) {
		return true
	}
	if q.record.ID == "" {
		return false
	}
	for _, share := range r.State.Shares {
		if share.Table == q.table.ID && share.Record == q.record.ID && share.Window.Holds(q.at) &&
			(share.Rights | share.Inherited).Has(q.action) && slices.Contains(theirs, share.Principal) {
			return true
		}
	}
	return false
}
