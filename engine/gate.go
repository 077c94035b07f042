package engine

import "github.com/ambit-iam/ambit/access"

// refused is what a user's kind and access mode refuse, whatever the roles say
// (Rules ACC-1 to ACC-3).
type refused uint8

const (
	refusesAll refused = 1 << iota
	refusesInteractive
	refusesChanges  // anything but Read on a table
	refusesBusiness // tables that are not system tables
)

func refusedBy(u access.User) (r refused) {
	switch u.Kind {
	case access.StubUser:
		r |= refusesAll
	case access.ApplicationUser:
		r |= refusesInteractive
	}
	switch u.AccessMode {
	case access.NonInteractive:
		r |= refusesInteractive
	case access.ReadOnly:
		r |= refusesChanges
	case access.Administrative, access.DelegatedAdministrator:
		r |= refusesBusiness
	}
	return r
}

// gate tells why the user does not get in, whatever the roles say (Rule EVAL-2),
// to do something to a table that is a system table or not. Miscellaneous
// privileges count as changes of a system table.
func (s *Snapshot) gate(u *user, by Channel, action access.Action, system bool) Reason {
	switch {
	case !u.enabled:
		return UserDisabled
	case s.span(u.unit).barred:
		return BusinessUnitDisabled
	case s.env.RequireLicence && !s.env.PerAppPlan && !u.licensed:
		return NoLicence
	case u.refuses != 0 && u.refuses.refuse(by, action, system):
		return AccessModeExcludes
	case s.env.SecurityGroup != nil && !u.admitted:
		return NotInEnvironmentGroup
	}
	return Unknown
}

func (r refused) refuse(by Channel, action access.Action, system bool) bool {
	return r&refusesAll != 0 ||
		r&refusesInteractive != 0 && by != API ||
		r&refusesChanges != 0 && action != access.Read ||
		r&refusesBusiness != 0 && !system
}

// rule is the one by which the access mode refuses.
func (u *user) rule() string {
	switch u.aside.data.Kind {
	case access.StubUser:
		return "ACC-3"
	case access.ApplicationUser:
		return "ACC-2"
	}
	return "ACC-1"
}
