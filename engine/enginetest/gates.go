package enginetest

import (
	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// eval2: is the user in? The first that fails is the reason.
func (r Reference) eval2(q question) engine.Reason {
	switch {
	case !q.user.Enabled:
		return engine.UserDisabled
	case r.bu3(q.user.BusinessUnit):
		return engine.BusinessUnitDisabled
	case r.lic1(q.user):
		return engine.NoLicence
	case acc1(q):
		return engine.AccessModeExcludes
	case r.esg1(q.user):
		return engine.NotInEnvironmentGroup
	case len(q.held) == 0: // ROLE-4
		return engine.NoRole
	}
	return engine.Unknown
}

// lic1: a licence is asked for, of this user too, and there is none.
func (r Reference) lic1(u access.User) bool {
	env := r.State.Environment
	person := u.Kind == access.Person && (u.AccessMode == access.ReadWrite || u.AccessMode == access.ReadOnly)
	return env.RequireLicence && !env.PerAppPlan && person && !u.Licensed
}

// acc1: the access mode, or what kind of user it is (ACC-2, ACC-3), excludes what
// is asked.
func acc1(q question) bool {
	if q.user.Kind == access.StubUser {
		return true
	}
	interactive := q.channel != engine.API
	if interactive && (q.user.Kind == access.ApplicationUser || q.user.AccessMode == access.NonInteractive) {
		return true
	}
	switch q.user.AccessMode {
	case access.ReadOnly:
		return q.misc != "" || q.action != access.Read
	case access.Administrative, access.DelegatedAdministrator:
		return q.misc == "" && !q.table.System
	}
	return false
}

// esg1: the environment has a group, and the user is neither in it nor exempt
// (ESG-3, ACC-2).
func (r Reference) esg1(u access.User) bool {
	exempt := u.Kind == access.ApplicationUser || u.TenantAdministrator
	return r.State.Environment.SecurityGroup != nil && !exempt && !u.Admitted
}

// bu3: a unit is disabled by its own flag or by that of one above.
func (r Reference) bu3(id access.BusinessUnitID) bool {
	for id != "" {
		b := r.State.BusinessUnits[id]
		if b.Disabled {
			return true
		}
		id = b.Parent
	}
	return false
}
