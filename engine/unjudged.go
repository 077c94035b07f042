package engine

import "github.com/ambit-iam/ambit/access"

// Matter is a kind of access that does not come by roles alone.
type Matter string

// OfHierarchy is what a team owns that a report joins or leaves, which is passed up
// to managers or positions above.
const OfHierarchy Matter = "hierarchy"

// Unjudged lists, sorted, of which matters the changes from one snapshot to the
// other may give or take something that none of Compare, CompareRecords,
// CompareColumns and CompareReports tells. Both may be nil, as for Compare.
//
// A privilege that roles give or take also puts the shares, profiles and reports
// into effect that need it (Rules SHARE-5, FLS-3, HIER-2); Compare tells of the
// privilege, and that is not counted here.
func Unjudged(before, after *Snapshot, changes []access.Change) []Matter {
	for _, c := range changes {
		for _, s := range []*Snapshot{before, after} {
			if s != nil && s.passesUpOfTeams(c.Object, before, after) {
				return []Matter{OfHierarchy}
			}
		}
	}
	return nil
}

// passesUpOfTeams tells whether the change has somebody join or leave a team who
// passes up what it owns.
func (s *Snapshot) passesUpOfTeams(o access.Object, before, after *Snapshot) bool {
	var report access.UserID
	switch o := o.(type) {
	case access.Membership:
		report = o.User
	case access.User: // and the default team with the unit
		was, known := before.userIfAny(o.ID)
		is, left := after.userIfAny(o.ID)
		if !known || !left || was.BusinessUnit == is.BusinessUnit {
			return false
		}
		report = o.ID
	default:
		return false
	}
	found := false
	if u := s.users.get(string(report)); u != nil {
		s.eachAbove(u, func(*user) { found = true })
	}
	return found
}

func (s *Snapshot) userIfAny(id access.UserID) (access.User, bool) {
	if s == nil {
		return access.User{}, false
	}
	return s.User(id)
}
