package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/model"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

func (s *Server) liveRoutes() {
	handle(s, Route{"POST", "/v1/live-check", model.TablePlan, access.Create}, "live-check", "Ask a source now for one user's groups or one group's members, and compare", s.live)
}

// LiveRequest names the user or group: one of an environment's users, or a source's.
type LiveRequest struct {
	Environment access.EnvironmentID `json:"environment,omitempty" doc:"with user: whose source and id in it are those that the user came by"`
	Source      directory.SourceID   `json:"source,omitempty" doc:"in place of environment"`
	User        string               `json:"user,omitempty" doc:"id or sign-in name; with source, its DN, mail address or display name as well"`
	Group       string               `json:"group,omitempty" doc:"with source: id, DN or display name"`
}

func (s *Server) live(ctx context.Context, in *struct{ Body LiveRequest }) (*struct{ Body dirsync.LiveAnswer }, error) {
	r := in.Body
	q := dirsync.LiveQuestion{Source: r.Source, Kind: directory.KindUser, Name: r.User}
	if r.Group != "" {
		q.Kind, q.Name = directory.KindGroup, r.Group
	}
	switch {
	case (r.User == "") == (r.Group == ""), (r.Environment == "") == (r.Source == ""), r.Environment != "" && r.Group != "":
		return nil, problem("invalid-request", http.StatusUnprocessableEntity, "want source with user or group, or environment with user")
	case r.Environment != "":
		from, err := s.origin(r.Environment, r.User)
		if err != nil {
			return nil, err
		}
		if from.Source == "" {
			return nil, problem("not-live", http.StatusUnprocessableEntity, fmt.Sprintf("user %q of %s comes of no source that could be asked", r.User, r.Environment))
		}
		q.Source, q.Name = directory.SourceID(from.Source), from.Object
	}
	answer, err := s.sync.Live(ctx, q)
	switch {
	case errors.Is(err, dirsync.ErrNotLive):
		return nil, problem("not-live", http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, dirsync.ErrNotMirrored):
		return nil, problem("not-found", http.StatusNotFound, err.Error())
	case errors.Is(err, dirsync.ErrAmbiguous):
		return nil, problem("ambiguous", http.StatusConflict, err.Error())
	case errors.Is(err, directory.ErrUnreachable), errors.Is(err, directory.ErrAuth), errors.Is(err, directory.ErrIncomplete):
		return nil, problem("source-failed", http.StatusBadGateway, err.Error()).with("hint", "nothing is proven; what was read last stays in force")
	case err != nil:
		return nil, syncProblem(err)
	}
	return &struct{ Body dirsync.LiveAnswer }{answer}, nil
}

// origin is whom of which source a user of an environment was made of.
func (s *Server) origin(env access.EnvironmentID, name string) (from access.Origin, err error) {
	err = s.tenant.Read(func(v tenant.View) error {
		state, err := v.State(env)
		if err != nil {
			return err
		}
		id, err := userNamed(state, name)
		from = state.Users[id].Origin
		return err
	})
	return from, err
}
