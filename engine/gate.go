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
