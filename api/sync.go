package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/model"
	dirsync "github.com/ambit-iam/ambit/sync"
)

// Synchronizer is what the API needs of the synchronization.
type Synchronizer interface {
	Plan(ctx context.Context, o dirsync.Options) (dirsync.Report, error)
	Sync(ctx context.Context, o dirsync.Options) (dirsync.Report, error)
	Verify(ctx context.Context, o dirsync.VerifyOptions) (dirsync.VerifyReport, error)
	Live(ctx context.Context, q dirsync.LiveQuestion) (dirsync.LiveAnswer, error)
	// WhatIf plans with other files than those in force, and reads nothing; nil and
	// none stand for those in force. Faults in them are document.Faults.
	WhatIf(ctx context.Context, mapping *FileText, models []FileText) (*dirsync.Plan, error)
	Status() dirsync.Status
	// Persons tells whether the mapping has a person expression for the
	// environment (Rule JIT-16).
	Persons(env access.EnvironmentID) bool
	// Age is how long before now the source was last read completely.
	Age(source string, now time.Time) (time.Duration, bool)
}

func (s *Server) syncRoutes() {
	handle(s, Route{"GET", "/v1/sync", model.TableSource, access.Read}, "sync-status", "Where the sources and the newest plan stand", s.syncStatus)
	handle(s, Route{"POST", "/v1/plan", model.TablePlan, access.Create}, "plan", "Read the sources and show what a sync would change", s.plan)
	handle(s, Route{"POST", "/v1/what-if", model.TablePlan, access.Create}, "what-if", "Show what a sync with other files would change, by what was read last", s.whatIf)
	handle(s, Route{"POST", "/v1/sync", model.TablePlan, access.Write}, "sync", "Read the sources and apply the plan", s.synchronize)
}

// SyncRequest says what to read and what to apply.
type SyncRequest struct {
	Sources []directory.SourceID `json:"sources,omitempty" doc:"all where it is absent"`
	NoRead  bool                 `json:"no_read,omitempty" doc:"plan with what was read last"`
	// AcceptPlan releases a held plan: the one with this digest and no other.
	AcceptPlan string `json:"accept_plan,omitempty" pattern:"^(sha256:[0-9a-f]{64})?$" doc:"the digest of a held plan that you want applied all the same"`
	// AcceptRead takes over that sources have become much smaller.
	AcceptRead []directory.SourceID `json:"accept_read,omitempty" doc:"sources whose read may lack more of what is mirrored than guards.shrunken_read allows"`
	Reason     string               `json:"reason,omitempty" maxLength:"1000" doc:"why you accept; required for that, and kept in the audit log"`
	Details    bool                 `json:"details,omitempty" doc:"answer with every change and not only with the text"`
	File       bool                 `json:"file,omitempty" doc:"answer with the plan's file as well"`
	// Plan is the head of a plan's file: the sync does what is in it or nothing.
	Plan *dirsync.PlanRef `json:"plan,omitempty" doc:"digest and origin from a plan's file: apply this plan and nothing besides; nothing is read"`
}

// SyncAnswer is what a plan would do, or what a sync did.
type SyncAnswer struct {
	Sources  []SourceAnswer      `json:"sources"`
	Changes  int                 `json:"changes" doc:"how many objects change"`
	Held     bool                `json:"held,omitempty"`
	Digest   string              `json:"digest,omitempty" doc:"of the plan, if it is not empty"`
	Applied  bool                `json:"applied"`
	Revision access.Revision     `json:"revision,omitempty" doc:"that the sync made"`
	Text     string              `json:"text" doc:"the plan as people read it"`
	Plan     json.RawMessage     `json:"plan,omitempty" doc:"every change, with the access it gives and takes"`
	Stop     []dirsync.Violation `json:"violations,omitempty"`
	File     []byte              `json:"file,omitempty" doc:"the plan's file, where it was asked for"`
}

// SourceAnswer is what became of reading one source.
type SourceAnswer struct {
	Source   directory.SourceID `json:"source"`
	Mode     string             `json:"mode"`
	Objects  int                `json:"objects" doc:"that were read"`
	Edges    int                `json:"edges"`
	Seconds  float64            `json:"seconds"`
	Problems []string           `json:"problems,omitempty"`
	Error    string             `json:"error,omitempty"`
}

func (s *Server) syncStatus(context.Context, *struct{}) (*struct{ Body dirsync.Status }, error) {
	return &struct{ Body dirsync.Status }{s.sync.Status()}, nil
}

func (s *Server) options(ctx context.Context, r SyncRequest) dirsync.Options {
	return dirsync.Options{
		Sources: r.Sources, NoRead: r.NoRead, Accept: r.AcceptPlan, AcceptReads: r.AcceptRead, Reason: r.Reason, Actor: caller(ctx).Actor, Own: s.own(caller(ctx)), Exactly: r.Plan,
	}
}

func (s *Server) plan(ctx context.Context, in *struct{ Body SyncRequest }) (*struct{ Body SyncAnswer }, error) {
	report, err := s.sync.Plan(ctx, s.options(ctx, in.Body))
	if report.Plan == nil && err != nil {
		return nil, err
	}
	answer, err := s.answer(report, in.Body.Details)
	if err == nil && in.Body.File {
		answer.Body.File, err = report.Plan.File(s.tenant.Now())
	}
	return answer, err
}

func (s *Server) synchronize(ctx context.Context, in *struct{ Body SyncRequest }) (*struct{ Body SyncAnswer }, error) {
	report, err := s.sync.Sync(ctx, s.options(ctx, in.Body))
	return s.synced(report, err, in.Body.Details)
}

// synced is the answer to a sync that ended so.
func (s *Server) synced(report dirsync.Report, err error, details bool) (*struct{ Body SyncAnswer }, error) {
	var held *dirsync.Held
	var own *dirsync.OwnGain
	switch {
	case errors.As(err, &own):
		return nil, problem("self-approval", http.StatusForbidden, own.Error()).with("hint", own.Hint()).
			with("digest", own.Held.Digest).with("accounts", own.Accounts).with("may", own.May)
	case errors.Is(err, dirsync.ErrNoReason):
		return nil, problem("reason-required", http.StatusUnprocessableEntity, dirsync.ErrNoReason.Error()+": the audit log keeps it").with("hint", "add --reason WHY, or reason to the request")
	case errors.As(err, &held):
		detail := held.Error()
		if errors.Is(err, dirsync.ErrExpired) || errors.Is(err, dirsync.ErrOtherPlan) {
			detail = err.Error()
		}
		p := problem("plan-held", http.StatusConflict, detail).with("hint", held.Hint()).with("digest", held.Digest).with("violations", held.Violations)
		if answer, err := s.answer(report, details); err == nil {
			p = p.with("text", answer.Body.Text)
		}
		return nil, p
	case err != nil && (report.Plan == nil || report.Err != nil): // or it is what sources failed at, and the answer says so
		return nil, syncProblem(err)
	}
	return s.answer(report, details)
}

// syncProblem is what a caller is told of a sync's error.
func syncProblem(err error) error {
	var moved *dirsync.Moved
	switch {
	case errors.As(err, &moved):
		return problem("plan-moved", http.StatusConflict, moved.Error()).with("moved", moved.What).with("hint", "make the plan anew with ambit plan --out FILE, and look at it again")
	case errors.Is(err, dirsync.ErrNotLeading):
		return problem("not-leading", http.StatusConflict, err.Error())
	case errors.Is(err, dirsync.ErrNoSource):
		return problem("not-found", http.StatusNotFound, err.Error())
	}
	return err
}

// FileText is a mapping or model file's content.
type FileText struct {
	Name string `json:"name" required:"true" minLength:"1" doc:"what faults are reported under; a model file stands in for the configured one of this name, or for the only one"`
	Text string `json:"text" required:"true"`
}

// WhatIfRequest has files that are not in force.
type WhatIfRequest struct {
	Mapping *FileText  `json:"mapping,omitempty" doc:"in place of the mapping in force"`
	Model   []FileText `json:"model,omitempty" doc:"in place of model files in force"`
	Details bool       `json:"details,omitempty" doc:"answer with every change and not only with the text"`
}

func (s *Server) whatIf(ctx context.Context, in *struct{ Body WhatIfRequest }) (*struct{ Body SyncAnswer }, error) {
	plan, err := s.sync.WhatIf(ctx, in.Body.Mapping, in.Body.Model)
	if err != nil {
		return nil, syncProblem(err)
	}
	return s.answer(dirsync.Report{Plan: plan}, in.Body.Details)
}

func (s *Server) answer(r dirsync.Report, details bool) (*struct{ Body SyncAnswer }, error) {
	out := SyncAnswer{Sources: []SourceAnswer{}, Applied: r.Applied, Revision: r.Revision}
	for _, source := range r.Sources {
		a := SourceAnswer{Source: source.Source, Mode: source.Mode.String(), Objects: source.Objects, Edges: source.Edges, Seconds: source.Elapsed.Seconds()}
		for _, p := range source.Problems {
			name := string(p.Object)
			if p.DN != "" {
				name = p.DN
			}
			a.Problems = append(a.Problems, fmt.Sprintf("%s: %s", name, p.Text))
		}
		if source.Err != nil {
			a.Error = source.Err.Error()
		}
		out.Sources = append(out.Sources, a)
	}
	if r.Plan != nil {
		out.Changes, out.Held, out.Stop = r.Plan.Len(), r.Plan.Held(), r.Plan.Violations
		if !r.Plan.Empty() {
			out.Digest = r.Plan.Digest()
		}
		var text bytes.Buffer
		if err := r.Plan.WriteText(&text, s.tenant.Now()); err != nil {
			return nil, err
		}
		out.Text = text.String()
		if details {
			var err error
			if out.Plan, err = r.Plan.JSON(s.tenant.Now()); err != nil {
				return nil, err
			}
		}
	}
	return &struct{ Body SyncAnswer }{out}, nil
}
