package api

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
)

// The OpenID AuthZEN Authorization API 1.0. Each environment is a policy
// decision point of its own at /pdp/{environment}. A subject is of type "user";
// a resource's type is a table, with the properties owner and business_unit, or
// "privilege" for a miscellaneous one, named by its id. An action's property
// columns names the columns that a create or write sets. The context's members
// channel and impersonator are those of a Question, at_least and revision those of a
// Moment; whatever else it has is let pass, the time too (Rule JIT-26).

// authzenEntity is a subject or resource.
// Properties that Ambit does not judge by are let pass.
type authzenEntity struct {
	_          struct{} `additionalProperties:"true"`
	Type       string   `json:"type"`
	ID         string   `json:"id,omitempty"`
	Properties struct {
		_            struct{} `additionalProperties:"true"`
		Owner        string   `json:"owner,omitempty"`
		BusinessUnit string   `json:"business_unit,omitempty"`
	} `json:"properties,omitzero"`
}

type authzenAction struct {
	Name       string `json:"name"`
	Properties struct {
		_       struct{} `additionalProperties:"true"`
		Columns []string `json:"columns,omitempty"`
	} `json:"properties,omitzero"`
}

// authzenCircumstances is the context of a question.
type authzenCircumstances struct {
	_            struct{}       `additionalProperties:"true"`
	Channel      engine.Channel `json:"channel,omitempty"`
	Impersonator string         `json:"impersonator,omitempty"`

	AtLeast  access.Revision `json:"at_least,omitempty" minimum:"0" doc:"decide on this revision or a newer one"`
	Revision access.Revision `json:"revision,omitempty" minimum:"0" doc:"decide on exactly this revision; windows are judged now"`
}

// moment is the one that the context names; absent, it names none.
func (c *authzenCircumstances) moment() Moment {
	if c == nil {
		return Moment{}
	}
	return Moment{AtLeast: c.AtLeast, Revision: c.Revision}
}

// AuthZENEvaluation is one question in the words of AuthZEN.
type AuthZENEvaluation struct {
	Subject  *authzenEntity        `json:"subject,omitempty"`
	Action   *authzenAction        `json:"action,omitempty"`
	Resource *authzenEntity        `json:"resource,omitempty"`
	Context  *authzenCircumstances `json:"context,omitempty"`
}

// AuthZENDecision is its answer.
type AuthZENDecision struct {
	Decision bool            `json:"decision"`
	Context  *authzenContext `json:"context,omitempty"`
}

type authzenContext struct {
	Reason         engine.Reason   `json:"reason,omitempty"`
	OfImpersonator bool            `json:"of_impersonator,omitempty"`
	Revision       access.Revision `json:"revision,omitempty"`
	Hypothetical   bool            `json:"hypothetical,omitempty" doc:"the context named the revision: not for enforcement"`
	ValidUntil     time.Time       `json:"valid_until,omitzero"`
	Error          *authzenError   `json:"error,omitempty"`
}

type authzenError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// The semantics of a batch.
const (
	executeAll          = "execute_all"
	denyOnFirstDeny     = "deny_on_first_deny"
	permitOnFirstPermit = "permit_on_first_permit"
)

func (s *Server) authzenRoutes() {
	const pdp, api = "/pdp/{environment}", "/access/v1/"
	route := func(path string) Route { return Route{"POST", pdp + api + path, "", 0} }
	handle(s, route("evaluation"), "authzen-evaluation", "AuthZEN: one decision", s.evaluation)
	handle(s, route("evaluations"), "authzen-evaluations", "AuthZEN: several decisions", s.evaluations)
	handle(s, Route{"POST", pdp + api + "search/subject", model.TableDecision, access.Read}, "authzen-search-subject", "AuthZEN: the users who may do an action on a resource", s.searchSubject)
	handle(s, route("search/resource"), "authzen-search-resource", "AuthZEN: the registered records that a subject may act on", s.searchResource)
	handle(s, route("search/action"), "authzen-search-action", "AuthZEN: the actions that a subject may do", s.searchAction)
	s.mux.HandleFunc("GET /.well-known/authzen-configuration"+pdp, func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		base := scheme + "://" + r.Host + "/pdp/" + r.PathValue("environment")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{ // the client is gone if it fails
			"policy_decision_point":       base,
			"access_evaluation_endpoint":  base + api + "evaluation",
			"access_evaluations_endpoint": base + api + "evaluations",
			"search_subject_endpoint":     base + api + "search/subject",
			"search_resource_endpoint":    base + api + "search/resource",
			"search_action_endpoint":      base + api + "search/action",
		})
	})
}

func (s *Server) evaluation(ctx context.Context, in *struct {
	EnvironmentPath
	Body AuthZENEvaluation
},
) (*struct{ Body AuthZENDecision }, error) {
	d, err := s.evaluate(ctx, in.Environment, in.Body)
	return &struct{ Body AuthZENDecision }{d}, err
}

func (s *Server) evaluate(ctx context.Context, env access.EnvironmentID, e AuthZENEvaluation) (AuthZENDecision, error) {
	q, err := e.question()
	if err != nil {
		return AuthZENDecision{}, err
	}
	m := e.Context.moment()
	asked, snapshot, err := s.ask(ctx, env, Asked{q, m})
	if err != nil {
		return AuthZENDecision{}, err
	}
	return s.decide(env, snapshot, asked, m)
}

func (s *Server) decide(env access.EnvironmentID, snapshot *engine.Snapshot, q engine.Question, m Moment) (AuthZENDecision, error) {
	d, err := snapshot.Check(q)
	if s.count(env, d, err); err != nil {
		return AuthZENDecision{}, err
	}
	return AuthZENDecision{d.Allowed, &authzenContext{
		Reason: d.Reason, OfImpersonator: d.OfImpersonator, Revision: d.Revision, Hypothetical: m.hypothetical(), ValidUntil: d.ValidUntil,
	}}, nil
}

// question says the same in Ambit's words. Its user is the subject, whatever is
// wrong with the rest.
func (e AuthZENEvaluation) question() (q Question, err error) {
	if e.Subject != nil {
		q.User = e.Subject.ID
	}
	if e.Subject == nil || e.Action == nil || e.Resource == nil || e.Subject.Type != authzenUser || e.Subject.ID == "" || e.Action.Name == "" || e.Resource.Type == "" {
		return q, problem("invalid-request", http.StatusBadRequest, "an evaluation names a subject of type user, an action and a resource")
	}
	q.Columns = e.Action.Properties.Columns
	if e.Context != nil {
		q.Channel, q.Impersonator = e.Context.Channel, e.Context.Impersonator
	}
	if e.Resource.Type == authzenPrivilege {
		q.Privilege = e.Resource.ID
		return q, nil
	}
	if err := q.Action.UnmarshalText([]byte(e.Action.Name)); err != nil {
		return q, problem("invalid-request", http.StatusBadRequest, "action: "+err.Error())
	}
	q.Table, q.Record = e.Resource.Type, e.Resource.record()
	return q, nil
}

const (
	authzenUser      = "user"
	authzenPrivilege = "privilege"
)

// record is the resource as a record; nil where it is a whole table. One that is
// named by its id alone is one that was registered.
func (e *authzenEntity) record() *Record {
	p := e.Properties
	if e.ID == "" && p.Owner == "" && p.BusinessUnit == "" {
		return nil
	}
	byID := p.Owner == "" && p.BusinessUnit == ""
	return &Record{ID: access.RecordID(e.ID), Owner: p.Owner, BusinessUnit: p.BusinessUnit, Registered: byID, byID: byID}
}

type authzenBatch struct {
	AuthZENEvaluation
	Evaluations []AuthZENEvaluation `json:"evaluations,omitempty" maxItems:"1000"`
	Options     struct {
		Semantic string `json:"evaluations_semantic,omitempty" enum:"execute_all,deny_on_first_deny,permit_on_first_permit"`
	} `json:"options,omitzero"`
}

type authzenBatchOutput struct {
	Body struct {
		Decision    *bool             `json:"decision,omitempty" doc:"where no evaluations were sent"`
		Context     *authzenContext   `json:"context,omitempty"`
		Evaluations []AuthZENDecision `json:"evaluations,omitempty"`
	}
}

// evaluations answers each item, all of one state, which the request's own context
// may name, at one instant; what an item leaves out, the request's own members give.
// An item that cannot be judged is denied, with the error beside it.
func (s *Server) evaluations(ctx context.Context, in *struct {
	EnvironmentPath
	Body authzenBatch
},
) (*authzenBatchOutput, error) {
	out := &authzenBatchOutput{}
	if len(in.Body.Evaluations) == 0 {
		d, err := s.evaluate(ctx, in.Environment, in.Body.AuthZENEvaluation)
		out.Body.Decision, out.Body.Context = &d.Decision, d.Context
		return out, err
	}
	list, faults := make([]Question, len(in.Body.Evaluations)), make([]error, len(in.Body.Evaluations))
	m := in.Body.Context.moment()
	for i, e := range in.Body.Evaluations {
		list[i], faults[i] = e.or(in.Body.AuthZENEvaluation).question()
		if own := e.Context.moment(); own != (Moment{}) && own != m {
			faults[i] = problem("invalid-request", http.StatusBadRequest, "all evaluations are of one state: name at_least or revision in the request's own context")
		}
	}
	asked, snapshot, on, err := s.askAll(ctx, in.Environment, list, faults, m)
	if err != nil {
		return nil, err
	}
	for i, q := range asked {
		var d AuthZENDecision
		err := faults[i]
		if err == nil {
			d, err = s.decide(in.Environment, snapshot, q, m)
		}
		if err != nil {
			p := s.problemOf(ctx, err)
			d = AuthZENDecision{Context: &authzenContext{Revision: on.Revision, Hypothetical: on.Hypothetical, Error: &authzenError{Status: p.Status, Message: p.Detail}}}
		}
		out.Body.Evaluations = append(out.Body.Evaluations, d)
		if in.Body.Options.Semantic == denyOnFirstDeny && !d.Decision || in.Body.Options.Semantic == permitOnFirstPermit && d.Decision {
			break
		}
	}
	return out, nil
}

// or is the evaluation with what it leaves out as others have it.
func (e AuthZENEvaluation) or(others AuthZENEvaluation) AuthZENEvaluation {
	return AuthZENEvaluation{
		Subject: cmp.Or(e.Subject, others.Subject), Action: cmp.Or(e.Action, others.Action),
		Resource: cmp.Or(e.Resource, others.Resource), Context: cmp.Or(e.Context, others.Context),
	}
}
