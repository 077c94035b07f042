package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

// Moment says which state a question is put to, and at which instant windows are
// judged: the newest state, now, where it says nothing. It is for history, what-if
// and for seeing a change that one has heard of; enforcement never supplies the
// time (Rule JIT-26).
type Moment struct {
	At       time.Time       `json:"at,omitzero" query:"at" doc:"another instant than now at which windows are judged"`
	AtLeast  access.Revision `json:"at_least,omitempty" query:"at_least" minimum:"0" doc:"answer from this revision or a newer one"`
	Revision access.Revision `json:"revision,omitempty" query:"revision" minimum:"0" doc:"answer from exactly this revision; windows are judged now, or at at"`
	AsOf     time.Time       `json:"as_of,omitzero" query:"as_of" doc:"answer as it was then: from the newest revision of that instant, with windows judged at it"`
}

// Query is the moment as the parameters of a URL.
func (m Moment) Query() url.Values {
	out := url.Values{}
	for name, at := range map[string]time.Time{"at": m.At, "as_of": m.AsOf} {
		if !at.IsZero() {
			out.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	for name, rev := range map[string]access.Revision{"at_least": m.AtLeast, "revision": m.Revision} {
		if rev != 0 {
			out.Set(name, strconv.FormatInt(int64(rev), 10))
		}
	}
	return out
}

// Answered says what an answer rests on.
type Answered struct {
	At       time.Time       `json:"at" doc:"the instant at which windows were judged"`
	Revision access.Revision `json:"revision"`
	// Hypothetical answers are not those of now.
	Hypothetical bool `json:"hypothetical,omitempty" doc:"another instant or revision was asked for: not for enforcement"`
}

func (m Moment) answered(q time.Time, rev access.Revision) Answered {
	return Answered{At: q, Revision: rev, Hypothetical: m.hypothetical()}
}

// hypothetical tells whether another instant or revision than now's was asked for.
func (m Moment) hypothetical() bool { return !m.At.IsZero() || m.Revision != 0 || !m.AsOf.IsZero() }

// view calls f with an environment at a moment. What tenant.Tenant.Read says of
// the view holds.
func (s *Server) view(ctx context.Context, env access.EnvironmentID, m Moment, f func(v tenant.View, at time.Time) error) error {
	if !m.AsOf.IsZero() && m != (Moment{AsOf: m.AsOf}) || m.Revision != 0 && m.AtLeast != 0 {
		return problem("invalid-request", http.StatusUnprocessableEntity, "as_of says revision and instant by itself, and revision leaves at_least nothing to say: send one of them")
	}
	rev, at := m.Revision, m.At
	if !m.AsOf.IsZero() {
		var err error
		if rev, err = s.tenant.RevisionAt(ctx, m.AsOf); errors.Is(err, tenant.ErrNoRevision) {
			return problem("before-first-revision", http.StatusNotFound, fmt.Sprintf("as of %s nothing was committed yet", m.AsOf.Format(time.RFC3339Nano)))
		} else if err != nil {
			return err
		}
		at = m.AsOf
	}
	if err := s.tenant.Reach(ctx, m.AtLeast); err != nil {
		return err
	}
	err := s.tenant.ReadAt(ctx, rev, env, func(v tenant.View) error {
		if at.IsZero() {
			at = v.Now
		}
		if state, err := v.State(env); err != nil {
			return err
		} else if state.Environment.Locked {
			return lockedError(env) // whatever else the question names
		} else if rev == 0 {
			if err := s.mayTell(env, v.Now); err != nil {
				return err
			}
		}
		return f(v, access.Instant(at))
	})
	if rev != 0 && errors.Is(err, tenant.ErrNoEnvironment) {
		return problem("no-environment-then", http.StatusNotFound, err.Error()).with("revision", rev)
	}
	return err
}

func lockedError(env access.EnvironmentID) error {
	return fmt.Errorf("%w: the key of environment %q is gone; nothing can be judged until it is restored (Rule CMK-3)", engine.ErrLocked, env)
}

// mayAsk refuses those who ask about others without the right to. Who asks about
// themselves alone needs none; their id is returned, since a sign-in name can have
// been another's in the past.
//
// It is judged on the newest state, whatever the question is put to, and before
// anything that was found is told.
func (s *Server) mayAsk(ctx context.Context, env access.EnvironmentID, user string, others ...string) (self access.UserID, err error) {
	err = s.tenant.Read(func(v tenant.View) error {
		state, err := v.State(env)
		if errors.Is(err, tenant.ErrNoEnvironment) {
			return nil
		}
		if own, ok := s.self(state, caller(ctx)); ok && isUser(own, user) {
			self = own.ID
		}
		return err
	})
	alone := self != ""
	for _, other := range others {
		alone = alone && other == ""
	}
	if alone || err != nil {
		return self, err
	}
	if err := s.may(ctx, model.TableDecision, access.Read); err != nil {
		return "", fmt.Errorf("questions about others: %w", err)
	}
	return self, nil
}

// ask reads the question, checks that the caller may ask it, and finds the
// snapshot to answer from.
func (s *Server) ask(ctx context.Context, env access.EnvironmentID, q Asked) (asked engine.Question, snapshot *engine.Snapshot, err error) {
	self, err := s.mayAsk(ctx, env, q.User, q.Impersonator)
	if err != nil {
		return engine.Question{}, nil, err
	}
	if self != "" {
		q.User = string(self)
	}
	err = s.view(ctx, env, q.Moment, func(v tenant.View, at time.Time) error {
		state, err := v.State(env)
		if err != nil {
			return err
		}
		if asked, err = question(state, at, q.Question); err != nil {
			return err
		}
		snapshot, err = v.Snapshot(env)
		return err
	})
	return asked, snapshot, err
}

// askAll does the same with several questions, which are all about one view. It
// leaves those out that have a fault, and adds the faults of what a question names.
func (s *Server) askAll(ctx context.Context, env access.EnvironmentID, list []Question, faults []error, m Moment) (asked []engine.Question, snapshot *engine.Snapshot, on Answered, err error) {
	list = slices.Clone(list)
	for i, q := range list {
		self, err := s.mayAsk(ctx, env, q.User, q.Impersonator)
		if err != nil {
			return nil, nil, Answered{}, err
		}
		if self != "" {
			list[i].User = string(self)
		}
	}
	asked = make([]engine.Question, len(list))
	err = s.view(ctx, env, m, func(v tenant.View, at time.Time) error {
		state, err := v.State(env)
		if err != nil {
			return err
		}
		for i, q := range list {
			if faults[i] == nil {
				asked[i], faults[i] = question(state, at, q)
			}
		}
		if snapshot, err = v.Snapshot(env); err != nil {
			return err
		}
		on = m.answered(at, snapshot.Revision())
		return nil
	})
	return asked, snapshot, on, err
}
