package engine

import (
	"reflect"

	"github.com/ambit-iam/ambit/access"
)

// Matter is a kind of access that does not come by roles alone.
type Matter string

// The matters.
const (
	// OfHierarchy: what reports pass up to managers or positions above them.
	OfHierarchy Matter = "hierarchy"
)

// Unjudged lists, sorted, of which matters the changes from one snapshot to the
// other may give or take something that none of Compare, CompareRecords and
// CompareColumns tells. Both may be nil, as for Compare.
//
// A privilege that roles give or take also puts the shares, profiles and reports
// into effect that need it (Rules SHARE-5, FLS-3, HIER-2); Compare tells of the
// privilege, and that is not counted here.
func Unjudged(before, after *Snapshot, changes []access.Change) []Matter {
	found := map[Matter]bool{}
	for _, c := range changes {
		for _, s := range []*Snapshot{before, after} {
			if s != nil {
				s.unjudged(c.Object, before, after, found)
			}
		}
	}
	var out []Matter
	for _, m := range []Matter{OfHierarchy} {
		if found[m] {
			out = append(out, m)
		}
	}
	return out
}

func (s *Snapshot) unjudged(o access.Object, before, after *Snapshot, found map[Matter]bool) {
	switch o := o.(type) {
	case access.Position:
		found[OfHierarchy] = found[OfHierarchy] || s.env.Hierarchy != nil
	case access.Environment:
		found[OfHierarchy] = found[OfHierarchy] || before == nil || after == nil || !reflect.DeepEqual(before.env.Hierarchy, after.env.Hierarchy)
	case access.BusinessUnit: // managers must be above (Rule HIER-5)
		found[OfHierarchy] = found[OfHierarchy] || s.env.Hierarchy != nil
	case access.Membership:
		s.unjudgedTeam(o.Team, found)
	case access.Team:
		s.unjudgedTeam(o.ID, found)
	case access.User:
		was, known := before.userIfAny(o.ID)
		is, left := after.userIfAny(o.ID)
		same := known && left && was.Manager == is.Manager && was.Position == is.Position && was.Enabled == is.Enabled
		if s.env.Hierarchy != nil && (!same || was.BusinessUnit != is.BusinessUnit) {
			found[OfHierarchy] = true
		}
		if known != left || was.BusinessUnit != is.BusinessUnit {
			for _, u := range []access.User{was, is} {
				s.unjudgedTeam(u.BusinessUnit.DefaultTeam(), found)
			}
		}
	}
}

// unjudgedTeam finds what being in the team gives besides its roles and shares.
func (s *Snapshot) unjudgedTeam(id access.TeamID, found map[Matter]bool) {
	if _, ok := s.teamIndex.get(string(id)); ok && s.env.Hierarchy != nil {
		found[OfHierarchy] = true
	}
}

func (s *Snapshot) userIfAny(id access.UserID) (access.User, bool) {
	if s == nil {
		return access.User{}, false
	}
	return s.User(id)
}
