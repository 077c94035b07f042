package api

import (
	"context"
	"fmt"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

func (s *Server) decisionRoutes() {
	const environment = "/v1/environments/{environment}/"
	handle(s, Route{"POST", environment + "check", "", 0}, "check", "Ask whether a user may do something", s.check)
	handle(s, Route{"POST", environment + "check-all", "", 0}, "check-all", "Ask several questions of one state", s.checkAll)
	handle(s, Route{"POST", environment + "explain", "", 0}, "explain", "Ask why, or what is missing", s.explain)
	handle(s, Route{"POST", environment + "rights", "", 0}, "rights", "Ask which actions a user may do on a record or table", s.rights)
	handle(s, Route{"POST", environment + "columns", "", 0}, "columns", "Ask which secured columns a user may read, update and set", s.columns)
	handle(s, Route{"POST", environment + "who", model.TableDecision, access.Read}, "who", "Ask who may do something", s.who)
	handle(s, Route{"POST", environment + "filter", "", 0}, "filter", "Ask which records of a table a user may do something with", s.filter)
	handle(s, Route{"POST", environment + "diff", model.TableDecision, access.Read}, "diff", "Ask who would gain and lose what by some changes; writes nothing", s.diff)
	handle(s, Route{"GET", environment + "users/{user}/access", "", 0}, "what", "List what a user may do", s.what)
	handle(s, Route{"GET", environment + "teams/{team}/access", model.TableDecision, access.Read}, "what-team", "List what a team and its members may do by the team's roles", s.whatTeam)
}

// Question is what is asked of the engine. A record's facts come from the
// application that has it, or from Ambit where it was registered.
type Question struct {
	User         string         `json:"user" required:"true" doc:"the user's id or sign-in name"`
	Action       access.Action  `json:"action,omitempty" doc:"create, read, write, delete, append, append_to, assign or share"`
	Table        string         `json:"table,omitempty"`
	Record       *Record        `json:"record,omitempty" doc:"absent: the question is about the table"`
	Privilege    string         `json:"privilege,omitempty" doc:"a miscellaneous privilege, instead of action and table"`
	Channel      engine.Channel `json:"channel,omitempty" doc:"how the user comes in: interactive, or api; interactive where it is absent"`
	Impersonator string         `json:"impersonator,omitempty" doc:"the user who acts on behalf of the other; both are judged"`
	Columns      []string       `json:"columns,omitempty" maxItems:"1000" doc:"the columns that a create or write sets"`
}

// Record is a record's facts.
type Record struct {
	ID           access.RecordID `json:"id,omitempty"`
	Owner        string          `json:"owner,omitempty" doc:"user:ID or team:ID; a user's sign-in name or a team's name will do for ID"`
	BusinessUnit string          `json:"business_unit,omitempty" doc:"the owning unit's id or name; the owner's unit where it is absent"`
	Registered   bool            `json:"registered,omitempty" doc:"take the facts that were registered under this id"`

	byID bool // as AuthZEN names it: registered, if it has facts at all
}

// Asked is a question about a moment.
type Asked struct {
	Question
	Moment
}

// Answer is a decision.
type Answer struct {
	Allowed        bool          `json:"allowed"`
	Reason         engine.Reason `json:"reason"`
	OfImpersonator bool          `json:"of_impersonator,omitempty" doc:"the reason is the impersonator's"`
	Columns        []string      `json:"columns,omitempty" doc:"the columns for which it was denied"`
	Depth          *access.Depth `json:"depth,omitempty" doc:"for a question about a table or privilege: the greatest depth"`
	// ValidUntil is the earliest instant at which time alone could change it (Rule JIT-25).
	ValidUntil time.Time `json:"valid_until,omitzero"`
	Answered
}

// AskedInput is a question about one environment.
type AskedInput struct {
	EnvironmentPath
	Body Asked
}

type answerOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         Answer
}

// count counts a decision, and one that could not be made.
func (s *Server) count(env access.EnvironmentID, d engine.Decision, err error) {
	reason := string(d.Reason)
	if err != nil {
		reason = "error"
	}
	s.metrics.decisions.WithLabelValues(string(env), reason).Inc()
}

func answer(snapshot *engine.Snapshot, q engine.Question, d engine.Decision) (OneAnswer, error) {
	columns, err := refused(snapshot, q, d)
	a := OneAnswer{Allowed: d.Allowed, Reason: d.Reason, OfImpersonator: d.OfImpersonator, Columns: columns, ValidUntil: d.ValidUntil}
	if q.Record == nil {
		a.Depth = &d.Depth
	}
	return a, err
}

func (s *Server) check(ctx context.Context, in *AskedInput) (*answerOutput, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, in.Body)
	if err != nil {
		return nil, err
	}
	d, err := snapshot.Check(q)
	if s.count(in.Environment, d, err); err != nil {
		return nil, err
	}
	a, err := answer(snapshot, q, d)
	if err != nil {
		return nil, err
	}
	out := &answerOutput{CacheControl: "no-store", Body: Answer{
		Allowed: a.Allowed, Reason: a.Reason, OfImpersonator: a.OfImpersonator, Columns: a.Columns, Depth: a.Depth, ValidUntil: a.ValidUntil,
		Answered: in.Body.answered(q.At, d.Revision),
	}}
	if !out.Body.Hypothetical {
		out.CacheControl = cacheControl(d, q.At)
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

// Questions are several about one moment.
type Questions struct {
	Questions []Question `json:"questions" required:"true" nullable:"false" minItems:"1" maxItems:"1000"`
	Moment
}

// Answers are in the order of the questions.
type Answers struct {
	Answers []OneAnswer `json:"answers"`
	Answered
}

// OneAnswer is a decision, or why there is none. What cannot be judged is not
// allowed, and is no deny.
type OneAnswer struct {
	Allowed        bool          `json:"allowed"`
	Reason         engine.Reason `json:"reason"`
	OfImpersonator bool          `json:"of_impersonator,omitempty"`
	Columns        []string      `json:"columns,omitempty"`
	Depth          *access.Depth `json:"depth,omitempty"`
	ValidUntil     time.Time     `json:"valid_until,omitzero"`
	Problem        *Problem      `json:"problem,omitempty" doc:"the question cannot be judged"`
}

func (s *Server) checkAll(ctx context.Context, in *struct {
	EnvironmentPath
	Body Questions
},
) (*struct{ Body Answers }, error) {
	list := in.Body.Questions
	faults := make([]error, len(list))
	asked, snapshot, on, err := s.askAll(ctx, in.Environment, list, faults, in.Body.Moment)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body Answers }{Answers{Answers: make([]OneAnswer, len(list)), Answered: on}}
	for i, a := range snapshot.CheckAll(asked) {
		if faults[i] != nil {
			a = engine.Answer{Err: faults[i]}
		}
		s.count(in.Environment, a.Decision, a.Err)
		out.Body.Answers[i] = s.one(ctx, snapshot, asked[i], a)
	}
	return out, nil
}

// one is the answer to a question among several.
func (s *Server) one(ctx context.Context, snapshot *engine.Snapshot, q engine.Question, a engine.Answer) OneAnswer {
	var one OneAnswer
	if a.Err == nil {
		one, a.Err = answer(snapshot, q, a.Decision)
	}
	if a.Err != nil {
		return OneAnswer{Problem: s.problemOf(ctx, a.Err)}
	}
	return one
}

// Explanation is an answer with its origins, or with what is missing.
type Explanation struct {
	engine.Explanation
	At           time.Time `json:"at"`
	Hypothetical bool      `json:"hypothetical,omitempty"`
	Text         string    `json:"text" doc:"the explanation as people read it"`
}

func (s *Server) explain(ctx context.Context, in *struct {
	AskedInput
	Limit int `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"how many sets of missing facts to list"`
},
) (*struct{ Body Explanation }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, in.Body)
	if err != nil {
		return nil, err
	}
	e, err := snapshot.Explain(q, in.Limit)
	if s.count(in.Environment, e.Decision, err); err != nil {
		return nil, err
	}
	on := in.Body.answered(q.At, e.Revision)
	return &struct{ Body Explanation }{Explanation{Explanation: e, At: on.At, Hypothetical: on.Hypothetical, Text: e.String()}}, nil
}

// RightsAnswer lists the actions that a user may do on a record or table.
type RightsAnswer struct {
	Rights access.Rights `json:"rights" doc:"the actions but create, separated by commas"`
	Answered
}

func (s *Server) rights(ctx context.Context, in *AskedInput) (*struct{ Body RightsAnswer }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, in.Body)
	if err != nil {
		return nil, err
	}
	mask, err := snapshot.Rights(q)
	return &struct{ Body RightsAnswer }{RightsAnswer{mask, in.Body.answered(q.At, snapshot.Revision())}}, err
}

func (s *Server) what(ctx context.Context, in *struct {
	EnvironmentPath
	User string `path:"user"`
	Moment
},
) (*struct{ Body engine.What }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, Asked{Question{User: in.User}, in.Moment})
	if err != nil {
		return nil, err
	}
	w, err := snapshot.What(q.User, q.At)
	return &struct{ Body engine.What }{w}, err
}

func (s *Server) whatTeam(ctx context.Context, in *struct {
	EnvironmentPath
	Team string `path:"team" doc:"the team's id, or its name where no other team has it"`
	Moment
},
) (*struct{ Body engine.TeamWhat }, error) {
	var out engine.TeamWhat
	err := s.view(ctx, in.Environment, in.Moment, func(v tenant.View, at time.Time) error {
		state, err := v.State(in.Environment)
		if err != nil {
			return err
		}
		p, err := principalNamed(state, access.TeamPrincipal.String()+":"+in.Team)
		if err != nil {
			return err
		}
		snapshot, err := v.Snapshot(in.Environment)
		if err != nil {
			return err
		}
		out, err = snapshot.WhatTeam(access.TeamID(p.ID), at)
		return err
	})
	return &struct{ Body engine.TeamWhat }{out}, err
}
