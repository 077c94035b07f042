package enginetest

import "github.com/ambit-iam/ambit/engine"

// actOnBehalf is the privilege that an impersonator needs (Rule ACC-4).
const actOnBehalf = "ActOnBehalfOfAnotherUser"

// acc4: the impersonator gets in and may impersonate; then what both may do is
// what is done (EVAL-6).
func (r Reference) acc4(q, by question) engine.Decision {
	if why := r.eval2(by); why != engine.Unknown {
		return engine.Decision{Reason: why, OfImpersonator: true}
	}
	if !r.mayImpersonate(by) {
		return engine.Decision{Reason: engine.MayNotImpersonate, OfImpersonator: true}
	}
	user, impersonator := r.judge(q), r.judge(by)
	switch {
	case !user.Allowed:
		return user
	case !impersonator.Allowed:
		impersonator.OfImpersonator = true
		return impersonator
	}
	user.Depth = min(user.Depth, impersonator.Depth)
	return user
}

// mayImpersonate: some role in force has the privilege.
func (r Reference) mayImpersonate(q question) bool {
	for _, h := range q.held {
		if role13(h, actOnBehalf) {
			return true
		}
	}
	return false
}
