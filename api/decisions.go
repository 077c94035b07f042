package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

func (s *Server) decisionRoutes() {
	const environment = "/v1/environments/{environment}/"
	handle(s, Route{"POST", environment + "check", "", 0}, "check", "Ask whether a user may do something", s.check)
	handle(s, Route{"POST", environment + "explain", "", 0}, "explain", "Ask why, or what is missing", s.explain)
	handle(s, Route{"GET", environment + "users/{user}/access", "", 0}, "what", "List what a user may do", s.what)
}

// Question is what is asked of the engine. A record's facts come from the
// application that has it, or from Ambit where it was registered.
type Question struct {
	User      string        `json:"user" required:"true" doc:"the user's id or sign-in name"`
	Action    access.Action `json:"action,omitempty" doc:"create, read, write, delete, append, append_to, assign or share"`
	Table     string        `json:"table,omitempty"`
	Record    *Record       `json:"record,omitempty" doc:"absent: the question is about the table"`
	Privilege string        `json:"privilege,omitempty" doc:"a miscellaneous privilege, instead of action and table"`
	// At is for history and what-if; enforcement never supplies the time (Rule JIT-26).
	At time.Time `json:"at,omitzero" doc:"an instant other than now; the answer is then hypothetical"`
	// AtLeast makes sure that the answer knows a change (architecture, section 5).
	AtLeast access.Revision `json:"at_least,omitempty" doc:"answer from this revision or a newer one"`
}

// Record is a record's facts.
type Record struct {
	ID           access.RecordID `json:"id,omitempty"`
	Owner        string          `json:"owner,omitempty" doc:"user:ID or team:ID; a user's sign-in name or a team's name will do for ID"`
	BusinessUnit string          `json:"business_unit,omitempty" doc:"the owning unit's id or name; the owner's unit where it is absent"`
	Registered   bool            `json:"registered,omitempty" doc:"take the facts that were registered under this id"`
}

// Answer is a decision.
type Answer struct {
	Allowed bool          `json:"allowed"`
	Reason  engine.Reason `json:"reason"`
	Depth   *access.Depth `json:"depth,omitempty" doc:"for a question about a table: the greatest depth"`
	// ValidUntil is the earliest instant at which time alone could change it (Rule JIT-25).
	ValidUntil   time.Time       `json:"valid_until,omitzero"`
	At           time.Time       `json:"at"`
	Revision     access.Revision `json:"revision"`
	Hypothetical bool            `json:"hypothetical,omitempty"`
}

// QuestionInput is a question about one environment.
type QuestionInput struct {
	EnvironmentPath
	Body Question
}

type answerOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         Answer
}

// cannotJudge wraps what makes a question unanswerable (Rule EVAL-1).
func cannotJudge(format string, args ...any) error {
	return fmt.Errorf("%w: %s", engine.ErrUnknown, fmt.Sprintf(format, args...))
}

// question turns names into ids. It is the edge: inside, everything is an id.
func question(v tenant.View, env access.EnvironmentID, q Question) (engine.Question, error) {
	state, err := v.State(env)
	if err != nil {
		return engine.Question{}, err
	}
	at := q.At
	if at.IsZero() {
		at = v.Now
	}
	out := engine.Question{Action: q.Action, Table: access.TableID(q.Table), Privilege: q.Privilege, At: access.Instant(at)}
	user, err := userNamed(state, q.User)
	if err != nil {
		return engine.Question{}, err
	}
	out.User = user
	if q.Record == nil {
		return out, nil
	}
	out.Record = &engine.Record{ID: q.Record.ID, Registered: q.Record.Registered}
	if q.Record.Owner != "" {
		if out.Record.Owner, err = principalNamed(state, q.Record.Owner); err != nil {
			return engine.Question{}, err
		}
	}
	if q.Record.BusinessUnit != "" {
		if out.Record.BusinessUnit, err = unitNamed(state, q.Record.BusinessUnit); err != nil {
			return engine.Question{}, err
		}
	}
	if out.Record.BusinessUnit == "" && !q.Record.Registered {
		out.Record.BusinessUnit = unitOf(state, out.Record.Owner)
	}
	return out, nil
}

func userNamed(state *access.State, name string) (access.UserID, error) {
	if _, ok := state.Users[access.UserID(name)]; ok {
		return access.UserID(name), nil
	}
	if u, ok := state.UserByLogin(name); ok {
		return u.ID, nil
	}
	return "", cannotJudge("user %q is not in environment %s", name, state.Environment.ID)
}

func unitNamed(state *access.State, name string) (access.BusinessUnitID, error) {
	if _, ok := state.BusinessUnits[access.BusinessUnitID(name)]; ok {
		return access.BusinessUnitID(name), nil
	}
	if u, ok := state.BusinessUnitByName(name); ok {
		return u.ID, nil
	}
	return "", cannotJudge("business unit %q is not in environment %s", name, state.Environment.ID)
}

func principalNamed(state *access.State, text string) (access.Principal, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch kind {
	case access.UserPrincipal.String():
		id, err := userNamed(state, name)
		return id.Principal(), err
	case access.TeamPrincipal.String():
		if _, ok := state.Teams[access.TeamID(name)]; ok {
			return access.TeamID(name).Principal(), nil
		}
		if _, ok := access.TeamID(name).DefaultOf(); ok {
			return access.TeamID(name).Principal(), nil
		}
		var found []access.TeamID // a name is unique within a unit only (Rule TEAM-9)
		for id, t := range state.Teams {
			if access.Fold(t.Name) == access.Fold(name) {
				found = append(found, id)
			}
		}
		switch len(found) {
		case 1:
			return found[0].Principal(), nil
		case 0:
		default:
			return access.Principal{}, cannotJudge("%d teams of environment %s are called %q; name one by its id", len(found), state.Environment.ID, name)
		}
		return access.Principal{}, cannotJudge("team %q is not in environment %s", name, state.Environment.ID)
	}
	return access.Principal{}, cannotJudge("principal %q: want user:ID or team:ID", text)
}

// unitOf is the unit of a principal, which owns the principal's records where
// units are classic (Rule OWN-5).
func unitOf(state *access.State, p access.Principal) access.BusinessUnitID {
	if user, ok := p.User(); ok {
		return state.Users[user].BusinessUnit
	}
	team, _ := p.Team()
	if unit, ok := team.DefaultOf(); ok {
		return unit
	}
	return state.Teams[team].BusinessUnit
}

// ask reads the question, checks that the caller may ask it, and finds the
// snapshot to answer from. Who may ask is judged before what was found is told.
func (s *Server) ask(ctx context.Context, env access.EnvironmentID, q Question) (engine.Question, *engine.Snapshot, error) {
	asked, snapshot, self, err := s.read(ctx, env, q)
	if !self { // everybody may ask about themselves
		if mayErr := s.may(ctx, model.TableDecision, access.Read); mayErr != nil {
			return engine.Question{}, nil, fmt.Errorf("questions about others: %w", mayErr)
		}
	}
	if q.AtLeast <= s.tenant.Revision() {
		return asked, snapshot, err
	}
	if err := s.tenant.Follow(ctx); err != nil {
		return engine.Question{}, nil, err
	}
	if newest := s.tenant.Revision(); q.AtLeast > newest {
		return engine.Question{}, nil, problem("revision-unknown", http.StatusConflict,
			fmt.Sprintf("revision %d does not exist; the newest is %d", q.AtLeast, newest))
	}
	asked, snapshot, _, err = s.read(ctx, env, q)
	return asked, snapshot, err
}

// read finds what a question names. It tells whether the caller asks about
// themselves.
func (s *Server) read(ctx context.Context, env access.EnvironmentID, q Question) (asked engine.Question, snapshot *engine.Snapshot, self bool, err error) {
	err = s.tenant.Read(func(v tenant.View) error {
		state, err := v.State(env)
		if err != nil {
			return err
		}
		user, err := userNamed(state, q.User)
		if err != nil {
			return err
		}
		own, ok := s.self(state, caller(ctx))
		self = ok && own.ID == user
		if asked, err = question(v, env, q); err != nil {
			return err
		}
		snapshot, err = v.Snapshot(env)
		return err
	})
	return asked, snapshot, self, err
}

func (s *Server) decide(env access.EnvironmentID, q engine.Question, snapshot *engine.Snapshot) (engine.Decision, error) {
	d, err := snapshot.Check(q)
	reason := string(d.Reason)
	if err != nil {
		reason = "error"
	}
	s.metrics.decisions.WithLabelValues(string(env), reason).Inc()
	return d, err
}

func (s *Server) check(ctx context.Context, in *QuestionInput) (*answerOutput, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, in.Body)
	if err != nil {
		return nil, err
	}
	d, err := s.decide(in.Environment, q, snapshot)
	if err != nil {
		return nil, err
	}
	out := &answerOutput{CacheControl: cacheControl(d, q.At), Body: Answer{
		Allowed: d.Allowed, Reason: d.Reason, ValidUntil: d.ValidUntil, At: q.At, Revision: d.Revision, Hypothetical: !in.Body.At.IsZero(),
	}}
	if q.Record == nil && q.Privilege == "" {
		out.Body.Depth = &d.Depth
	}
	return out, nil
}

// keepAnswer is the longest that an answer may be kept: until then a commit that
// changes it, such as a grant's early end, may go unseen.
const keepAnswer = time.Minute

// cacheControl never lets an answer be kept beyond the instant at which time
// alone could change it (Rule JIT-25), nor beyond keepAnswer. One without a window
// is not to be kept at all: nothing announces the commit that changes it.
func cacheControl(d engine.Decision, at time.Time) string {
	if d.ValidUntil.IsZero() {
		return "no-store"
	}
	return fmt.Sprintf("private, must-revalidate, max-age=%d", max(0, int(min(d.ValidUntil.Sub(at), keepAnswer)/time.Second)))
}

// Explanation is an answer with its origins, or with what is missing.
type Explanation struct {
	engine.Explanation
	At           time.Time `json:"at"`
	Hypothetical bool      `json:"hypothetical,omitempty"`
	Text         string    `json:"text" doc:"the explanation as people read it"`
}

func (s *Server) explain(ctx context.Context, in *struct {
	QuestionInput
	Limit int `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"how many sets of missing facts to list"`
},
) (*struct{ Body Explanation }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, in.Body)
	if err != nil {
		return nil, err
	}
	e, err := snapshot.Explain(q, in.Limit)
	if err != nil {
		return nil, err
	}
	s.metrics.decisions.WithLabelValues(string(in.Environment), string(e.Reason)).Inc()
	return &struct{ Body Explanation }{Explanation{Explanation: e, At: q.At, Hypothetical: !in.Body.At.IsZero(), Text: e.String()}}, nil
}

func (s *Server) what(ctx context.Context, in *struct {
	EnvironmentPath
	User string    `path:"user"`
	At   time.Time `query:"at"`
},
) (*struct{ Body engine.What }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, Question{User: in.User, At: in.At})
	if err != nil {
		return nil, err
	}
	w, err := snapshot.What(q.User, q.At)
	return &struct{ Body engine.What }{w}, err
}
