package engine

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// ReportDiff is for which actions a user gains or loses a report.
type ReportDiff struct {
	User   access.UserID `json:"user"`
	Report access.UserID `json:"report"`
	Gained access.Rights `json:"gained,omitempty"`
	Lost   access.Rights `json:"lost,omitempty"`
}

// ReportDiffs is which reports users gain and lose.
type ReportDiffs struct {
	List     []ReportDiff `json:"list"`               // by user, report
	Unlisted int          `json:"unlisted,omitempty"` // of those found, how many the limit leaves out
	// Complete is false when so many users and reports are concerned that not all of
	// them were compared.
	Complete bool `json:"complete"`
	// LeftOut and TakenIn are the tables, sorted, on which from now on no report, or
	// every one, passes up anything (Rule HIER-1). Both are empty where the hierarchy
	// itself begins or ends.
	LeftOut []access.TableID `json:"left_out,omitempty"`
	TakenIn []access.TableID `json:"taken_in,omitempty"`
}

// CompareReports tells which reports users gain and lose, and for which actions,
// by the changes between the snapshots: of managers, positions, business units,
// reports who are disabled, users who come and go, and the hierarchy's settings
// (Rules HIER-1, HIER-3, HIER-5, HIER-7, HIER-8). All who stand below what changes
// are looked at. Either snapshot may be nil, as for Compare.
//
// It tells of the link alone: that the user reaches what the report and the teams
// of the report own and what is shared with them, on the tables of the hierarchy,
// as far as the user has the privilege (Rule HIER-2). Compare tells of privileges,
// and of a user who gets in or no longer does.
func CompareReports(before, after *Snapshot, changes []access.Change, limit int) (ReportDiffs, error) {
	if err := (both{before, after}).locked(); err != nil {
		return ReportDiffs{}, err
	}
	r := reporting{before: before, after: after, seen: map[access.UserID]bool{}, found: []ReportDiff{}}
	for _, c := range changes {
		r.change(c.Object)
	}
	slices.SortFunc(r.found, func(a, b ReportDiff) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Report, b.Report))
	})
	fits := min(len(r.found), max(limit, 0))
	out := ReportDiffs{List: r.found[:fits], Unlisted: len(r.found) - fits, Complete: !r.cut}
	if was, is := before.hierarchy(), after.hierarchy(); was.Depth > 0 && is.Depth > 0 {
		out.LeftOut, out.TakenIn = without(is.Except, was.Except), without(was.Except, is.Except)
	}
	return out, nil
}

// without lists what is in a and not in b.
func without(a, b []access.TableID) []access.TableID {
	return slices.DeleteFunc(slices.Clone(a), func(t access.TableID) bool { return slices.Contains(b, t) })
}

// reporting finds the reports whom changes concern, and compares who has them.
type reporting struct {
	before, after *Snapshot
	seen          map[access.UserID]bool // the reports looked at
	found         []ReportDiff
	pairs         int  // compared
	cut           bool // there were more
}

// each yields the snapshots that have a hierarchy, with the levels of it.
func (r *reporting) each(yield func(s *Snapshot, levels int)) {
	for _, s := range []*Snapshot{r.before, r.after} {
		if h := s.hierarchy(); h.Depth > 0 {
			yield(s, min(h.Depth, access.MaxLevels))
		}
	}
}

// hierarchy is the settings, whose depth is 0 where there is none.
func (s *Snapshot) hierarchy() access.Hierarchy {
	if s == nil || s.env.Hierarchy == nil {
		return access.Hierarchy{}
	}
	return *s.env.Hierarchy
}

func (r *reporting) change(o access.Object) {
	switch o := o.(type) {
	case access.Environment:
		if !r.sameSettings() {
			r.each(func(s *Snapshot, _ int) { r.everybody(s, func(u *user) { r.user(u) }) })
		}
	case access.BusinessUnit:
		was, is := r.before.unitAbove(o.ID), r.after.unitAbove(o.ID)
		if was != nil && is != nil && *was == *is {
			return
		}
		r.each(func(s *Snapshot, levels int) {
			n, ok := s.unit(o.ID)
			if !ok {
				return
			}
			r.everybody(s, func(u *user) {
				if !s.span(n).holds(s.span(u.unit).first) {
					return
				}
				r.user(u)                    // Rule HIER-5
				if was == nil || is == nil { // the user can be judged from now on, or no longer
					s.below(u, levels, r.user)
				}
			})
		})
	case access.Position:
		if was, is := r.before.positionParent(o.ID), r.after.positionParent(o.ID); was == nil || is == nil || *was != *is {
			r.each(func(s *Snapshot, levels int) { r.position(s, o.ID, levels) })
		}
	case access.User:
		if !sameReporting(r.before, r.after, o.ID) {
			r.report(o.ID)
			r.each(func(s *Snapshot, levels int) {
				if u := s.users.get(string(o.ID)); u != nil {
					s.below(u, levels, r.user)
				}
			})
		}
	}
}

// sameSettings tells whether the settings put the same reports below the same
// users before and after.
func (r *reporting) sameSettings() bool {
	was, is := r.before.hierarchy(), r.after.hierarchy()
	was.Except, is.Except = nil, nil
	modernized := func(s *Snapshot) bool { return s != nil && s.env.Modernized }
	return reflect.DeepEqual(was, is) && modernized(r.before) == modernized(r.after)
}

// sameReporting tells whether the user stands in the same place before and after.
func sameReporting(before, after *Snapshot, id access.UserID) bool {
	was, known := before.userIfAny(id)
	is, left := after.userIfAny(id)
	return known && left && was.Manager == is.Manager && was.Position == is.Position && was.Enabled == is.Enabled && was.BusinessUnit == is.BusinessUnit
}

// unitAbove is the unit's parent, or nil where the unit does not exist.
func (s *Snapshot) unitAbove(id access.BusinessUnitID) *access.BusinessUnitID {
	if s != nil {
		if n, ok := s.unit(id); ok {
			if u := s.tree.units.get(n); u.data != nil {
				return &u.data.Parent
			}
		}
	}
	return nil
}

// positionParent is the position's parent, or nil where the position does not
// exist.
func (s *Snapshot) positionParent(id access.PositionID) *access.PositionID {
	if s != nil {
		if n, ok := s.positionIndex[id]; ok && s.positions[n].exists {
			return &s.positions[n].data.Parent
		}
	}
	return nil
}

// everybody visits all users as long as there is room.
func (r *reporting) everybody(s *Snapshot, visit func(*user)) {
	s.order.ascend(place{}, func(p place) bool {
		if u := s.users.rows.get(p.row); u.exists {
			visit(u)
		}
		return !r.cut
	})
}

// position looks at those who have the position or one below it.
func (r *reporting) position(s *Snapshot, id access.PositionID, levels int) {
	n, ok := s.positionIndex[id]
	if !ok || s.env.Hierarchy.Model != access.PositionHierarchy {
		return
	}
	more := true
	under(&s.placed, n, func(number uint32) bool {
		more = r.user(s.users.rows.get(number))
		return more
	})
	if more {
		s.belowPosition(n, n, levels, r.user)
	}
}

func (r *reporting) user(u *user) (more bool) { return r.report(u.aside.data.ID) }

// report compares who has the report, before and after, and tells whether there is
// room for more.
func (r *reporting) report(id access.UserID) (more bool) {
	if r.cut || r.seen[id] {
		return !r.cut
	}
	r.seen[id] = true
	above := map[access.UserID]bool{}
	r.each(func(s *Snapshot, _ int) {
		if u := s.users.get(string(id)); u != nil {
			s.eachAbove(u, func(m *user) { above[m.aside.data.ID] = true })
		}
	})
	for _, m := range slices.Sorted(maps.Keys(above)) {
		if r.cut = r.pairs == maxTouched; r.cut {
			break
		}
		r.pairs++
		if was, is := r.before.passedBetween(id, m), r.after.passedBetween(id, m); was != is {
			r.found = append(r.found, ReportDiff{User: m, Report: id, Gained: is &^ was, Lost: was &^ is})
		}
	}
	return !r.cut
}

// passedBetween is for which actions the report passes up to the user (Rule
// HIER-3).
func (s *Snapshot) passedBetween(report, above access.UserID) access.Rights {
	h := s.hierarchy()
	if h.Depth == 0 {
		return 0
	}
	r, u := s.users.get(string(report)), s.users.get(string(above))
	if r == nil || u == nil || !u.exists || !s.span(u.unit).exists() {
		return 0
	}
	var passed access.Rights
	for action := access.Read; action < access.Actions; action++ {
		if levels := min(h.Levels(action), access.MaxLevels); levels > 0 && s.reportsTo(r, u, levels) {
			passed |= access.RightsOf(action)
		}
	}
	return passed
}
