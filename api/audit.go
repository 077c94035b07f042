package api

import (
	"context"
	"errors"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
)

func (s *Server) auditRoutes() {
	handle(s, Route{"GET", "/v1/audit/events", model.TableAudit, access.Read}, "list-audit-events", "List audit events, newest first", s.listAudit)
	handle(s, Route{"GET", "/v1/audit/verification", model.TableAudit, access.Read}, "verify-audit", "Check the audit log's hash chain, and every change it tells of", s.verifyAudit)
}

type auditInput struct {
	Environment access.EnvironmentID `query:"environment"`
	Object      string               `query:"object" doc:"<kind>/<key>, exact"`
	Actor       string               `query:"actor" doc:"the actor's id, exact"`
	Operation   string               `query:"operation" doc:"the beginning of the operation's name, such as jit."`
	From        time.Time            `query:"from"`
	Until       time.Time            `query:"until"`
	Cursor      string               `query:"cursor"`
	Limit       int                  `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listAudit(ctx context.Context, in *auditInput) (*pageOutput[audit.Event], error) {
	q := store.AuditQuery{
		Environment: in.Environment, Object: in.Object, Actor: in.Actor, Operation: in.Operation,
		From: in.From, Until: in.Until, Limit: in.Limit + 1,
	}
	filter := []any{"audit", in.Environment, in.Object, in.Actor, in.Operation, in.From.UTC(), in.Until.UTC()}
	var err error
	if q.Before, err = readNumberCursor(ctx, in.Cursor, filter...); err != nil {
		return nil, err
	}
	events, err := s.store.Audit(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &pageOutput[audit.Event]{}
	out.Body.Revision = s.tenant.Revision()
	if len(events) > in.Limit {
		events = events[:in.Limit]
		out.Body.NextCursor = makeNumberCursor(ctx, events[in.Limit-1].Seq, filter...)
	}
	out.Body.Items = events
	return out, nil
}

// Verification is the outcome of a check of the audit log.
type Verification struct {
	Holds    bool            `json:"holds"`
	Problem  string          `json:"problem,omitempty" doc:"what does not hold, and where"`
	Events   int64           `json:"events"`
	Revision access.Revision `json:"revision"`
	Head     string          `json:"head" doc:"the newest event's hash: keep it elsewhere to find a log that was cut"`
}

func (s *Server) verifyAudit(ctx context.Context, _ *struct{}) (*struct{ Body Verification }, error) {
	found, err := s.store.Verify(ctx, func(int64, int64) {})
	if err != nil && !errors.Is(err, store.ErrTampered) {
		return nil, err
	}
	out := &struct{ Body Verification }{Verification{Holds: err == nil, Events: found.Events, Revision: found.Revision, Head: found.Head}}
	if err != nil {
		out.Body.Problem = err.Error()
	}
	return out, nil
}
