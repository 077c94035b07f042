package api

import (
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
// "privilege" for a miscellaneous one, named by its id.

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
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties,omitempty"`
}

// AuthZENEvaluation is one question in the words of AuthZEN.
type AuthZENEvaluation struct {
	Subject  *authzenEntity  `json:"subject,omitempty"`
	Action   *authzenAction  `json:"action,omitempty"`
	Resource *authzenEntity  `json:"resource,omitempty"`
	Context  json.RawMessage `json:"context,omitempty"`
}

// AuthZENDecision is its answer.
type AuthZENDecision struct {
	Decision bool            `json:"decision"`
	Context  *authzenContext `json:"context,omitempty"`
}

type authzenContext struct {
	Reason     engine.Reason   `json:"reason,omitempty"`
	Revision   access.Revision `json:"revision,omitempty"`
	ValidUntil time.Time       `json:"valid_until,omitzero"`
	Error      *authzenError   `json:"error,omitempty"`
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
	const pdp = "/pdp/{environment}"
	handle(s, Route{"POST", pdp + "/access/v1/evaluation", model.TableDecision, access.Read}, "authzen-evaluation", "AuthZEN: one decision", s.evaluation)
	handle(s, Route{"POST", pdp + "/access/v1/evaluations", model.TableDecision, access.Read}, "authzen-evaluations", "AuthZEN: several decisions", s.evaluations)
	s.mux.HandleFunc("GET /.well-known/authzen-configuration"+pdp, func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		base := scheme + "://" + r.Host + "/pdp/" + r.PathValue("environment")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{ // the client is gone if it fails
			"policy_decision_point":       base,
			"access_evaluation_endpoint":  base + "/access/v1/evaluation",
			"access_evaluations_endpoint": base + "/access/v1/evaluations",
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
	if e.Subject == nil || e.Action == nil || e.Resource == nil || e.Subject.Type != "user" || e.Subject.ID == "" || e.Action.Name == "" || e.Resource.Type == "" {
		return AuthZENDecision{}, problem("invalid-request", http.StatusBadRequest, "an evaluation names a subject of type user, an action and a resource")
	}
	q := Question{User: e.Subject.ID, Table: e.Resource.Type}
	if e.Resource.Type == "privilege" {
		q.Table, q.Privilege = "", e.Resource.ID
	} else {
		if err := q.Action.UnmarshalText([]byte(e.Action.Name)); err != nil {
			return AuthZENDecision{}, problem("invalid-request", http.StatusBadRequest, "action: "+err.Error())
		}
		// A record named by its id alone is one that was registered.
		if p := e.Resource.Properties; e.Resource.ID != "" || p.Owner != "" || p.BusinessUnit != "" {
			q.Record = &Record{ID: access.RecordID(e.Resource.ID), Owner: p.Owner, BusinessUnit: p.BusinessUnit, Registered: p.Owner == "" && p.BusinessUnit == ""}
		}
	}
	asked, snapshot, err := s.ask(ctx, env, Asked{Question: q})
	if err != nil {
		return AuthZENDecision{}, err
	}
	d, err := snapshot.Check(asked)
	if s.count(env, d, err); err != nil {
		return AuthZENDecision{}, err
	}
	return AuthZENDecision{d.Allowed, &authzenContext{Reason: d.Reason, Revision: d.Revision, ValidUntil: d.ValidUntil}}, nil
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

// evaluations answers each item; what an item leaves out, the request's own
// members give. An item that cannot be judged is denied, with the error beside it.
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
	for _, e := range in.Body.Evaluations {
		if e.Subject == nil {
			e.Subject = in.Body.Subject
		}
		if e.Action == nil {
			e.Action = in.Body.Action
		}
		if e.Resource == nil {
			e.Resource = in.Body.Resource
		}
		d, err := s.evaluate(ctx, in.Environment, e)
		if err != nil {
			p := s.problemOf(ctx, err)
			d = AuthZENDecision{Context: &authzenContext{Error: &authzenError{Status: p.Status, Message: p.Detail}}}
		}
		out.Body.Evaluations = append(out.Body.Evaluations, d)
		if in.Body.Options.Semantic == denyOnFirstDeny && !d.Decision || in.Body.Options.Semantic == permitOnFirstPermit && d.Decision {
			break
		}
	}
	return out, nil
}
