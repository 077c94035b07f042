package engine

import (
	"fmt"
	"math"

	"github.com/ambit-iam/ambit/access"
)

// ActOnBehalf is the miscellaneous privilege that an impersonator needs (Rule
// ACC-4).
const ActOnBehalf = "ActOnBehalfOfAnotherUser"

// behalf is a question that one user asks on behalf of another: the same of both,
// and whether the one may.
type behalf struct {
	user, impersonator, acts asked
}

// resolveBehalf finds what the question names, for both.
func (s *Snapshot) resolveBehalf(q *Question, b *behalf) error {
	if q.Impersonator == q.User && !s.env.Locked {
		return fmt.Errorf("%w: user %q impersonates themselves (Rule ACC-4)", ErrQuestion, q.User)
	}
	if err := s.resolve(q, &b.user); err != nil {
		return err
	}
	own := q.ofImpersonator()
	if err := s.resolve(&own, &b.impersonator); err != nil {
		return fmt.Errorf("impersonator: %w", err)
	}
	s.resolveActs(b)
	return nil
}

// ofImpersonator is the same question, asked by the impersonator for themselves.
func (q *Question) ofImpersonator() Question {
	own := *q
	own.User, own.Impersonator = q.Impersonator, ""
	return own
}

// resolveActs asks whether the impersonator, once in, may impersonate.
func (s *Snapshot) resolveActs(b *behalf) {
	b.acts = asked{user: b.impersonator.user, at: b.impersonator.at, misc: ActOnBehalf, ownerTeam: noTeam, unit: noUnit, beyond: access.Global + 1}
	if b.acts.line = s.otherMisc; s.miscLines[ActOnBehalf] != nil {
		b.acts.line = s.miscLines[ActOnBehalf]
	}
}

// decideBehalf evaluates at the question's instant and finds until when that holds.
func (s *Snapshot) decideBehalf(b *behalf) Decision {
	d := s.evaluateBehalf(b, b.user.at)
	at := b.user.at
	for range windowsWalked {
		if at = min(s.boundary(&b.user, at), s.boundary(&b.impersonator, at)); at == math.MaxInt64 {
			break
		}
		if s.evaluateBehalf(b, at) != d {
			break
		}
	}
	if at != math.MaxInt64 {
		d.ValidUntil = fromMicros(at)
	}
	d.Revision = s.revision
	return d
}

// evaluateBehalf is the order of Rule ACC-4: whether the impersonator gets in and
// may impersonate, then the user, then the impersonator.
func (s *Snapshot) evaluateBehalf(b *behalf, at int64) Decision {
	deny := func(r Reason) Decision { return Decision{Reason: r, OfImpersonator: true} }
	if b.impersonator.gate != Unknown {
		return deny(b.impersonator.gate)
	}
	switch d := s.evaluate(&b.acts, at); {
	case d.Reason == NoRole:
		return deny(NoRole)
	case !d.Allowed:
		return deny(MayNotImpersonate)
	}
	d := s.evaluate(&b.user, at)
	if !d.Allowed {
		return d
	}
	own := s.evaluate(&b.impersonator, at)
	if !own.Allowed {
		return deny(own.Reason)
	}
	d.Depth = min(d.Depth, own.Depth)
	return d
}
