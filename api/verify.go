package api

import (
	"context"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/model"
	dirsync "github.com/ambit-iam/ambit/sync"
)

func (s *Server) verifyRoutes() {
	handle(s, Route{"POST", "/v1/verify", model.TablePlan, access.Create}, "verify", "Compare the sources with what was taken over from them", s.verify)
	handle(s, Route{"POST", "/v1/repair", model.TablePlan, access.Write}, "repair", "Verify, read in full what differs, and apply the plan", s.repair)
}

// VerifyRequest says what to compare.
type VerifyRequest struct {
	Sources []directory.SourceID `json:"sources,omitempty" doc:"all where it is absent"`
	Stored  bool                 `json:"stored,omitempty" doc:"compare what is in memory with what is stored, too"`
}

// VerifyAnswer is what was found.
type VerifyAnswer struct {
	Sources     []Verified  `json:"sources"`
	Differences int         `json:"differences" doc:"how many objects differ, in all sources"`
	Repair      *SyncAnswer `json:"repair,omitempty" doc:"what became of the repair, where one was asked for and needed"`
}

// Verified is what was found of one source.
type Verified struct {
	Source      directory.SourceID    `json:"source"`
	Method      string                `json:"method,omitempty" enum:"version,reading" doc:"by each object's version and the digest of what was read of it, or by reading everything again"`
	Objects     int                   `json:"objects" doc:"that were compared"`
	Skipped     int                   `json:"skipped,omitempty" doc:"objects that the source gives in a form that cannot be taken over; see the problems of its last round"`
	Count       int                   `json:"count" doc:"how many differ"`
	Differences []dirsync.Discrepancy `json:"differences,omitempty" doc:"the first thousand of them"`
	Seconds     float64               `json:"seconds"`
	Error       string                `json:"error,omitempty" doc:"why nothing is proven of this source"`
}

func (s *Server) verify(ctx context.Context, in *struct{ Body VerifyRequest }) (*struct{ Body VerifyAnswer }, error) {
	return s.verified(ctx, in.Body, false)
}

func (s *Server) repair(ctx context.Context, in *struct{ Body VerifyRequest }) (*struct{ Body VerifyAnswer }, error) {
	return s.verified(ctx, in.Body, true)
}

func (s *Server) verified(ctx context.Context, r VerifyRequest, repair bool) (*struct{ Body VerifyAnswer }, error) {
	report, err := s.sync.Verify(ctx, dirsync.VerifyOptions{Sources: r.Sources, Stored: r.Stored, Repair: repair, Actor: caller(ctx).Actor})
	if report.Sources == nil {
		return nil, syncProblem(err)
	}
	out := VerifyAnswer{Sources: []Verified{}}
	for _, v := range report.Sources {
		a := Verified{
			Source: v.Source, Method: v.Method, Objects: v.Objects, Skipped: v.Skipped, Count: v.Count, Differences: v.Differences, Seconds: v.Elapsed.Seconds(),
		}
		if v.Err != nil {
			a.Error = v.Err.Error()
		}
		out.Sources, out.Differences = append(out.Sources, a), out.Differences+v.Count
	}
	if report.Repair != nil {
		answer, err := s.synced(*report.Repair, report.RepairErr, false)
		if err != nil {
			return nil, err
		}
		out.Repair = &answer.Body
	}
	return &struct{ Body VerifyAnswer }{out}, nil
}
