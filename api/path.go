package api

import (
	"context"

	"github.com/ambit-iam/ambit/engine"
)

func (s *Server) pathRoutes() {
	// Everybody may ask about themselves, as of any decision.
	handle(s, Route{"GET", "/v1/environments/{environment}/users/{user}/path", "", 0}, "path",
		"Ask how a user comes to be in teams, from the directory's groups on, and which roles that gives", s.path)
}

type pathInput struct {
	EnvironmentPath
	User    string `path:"user"`
	Team    string `query:"team" doc:"only the path to this team, by id or name"`
	Picture bool   `query:"picture" doc:"answer with a picture as well"`
	Moment
}

// PathAnswer is how a user comes to be in teams.
type PathAnswer struct {
	engine.Paths
	Hypothetical bool   `json:"hypothetical,omitempty" doc:"another instant or revision was asked for"`
	Text         string `json:"text" doc:"the paths as people read them"`
	Picture      string `json:"picture,omitempty" doc:"the paths as SVG, without scripts, styles and references"`
}

func (s *Server) path(ctx context.Context, in *pathInput) (*struct{ Body PathAnswer }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, Asked{Question{User: in.User}, in.Moment})
	if err != nil {
		return nil, err
	}
	paths, err := snapshot.Paths(q.User, q.At)
	if err == nil && in.Team != "" {
		paths, err = paths.To(in.Team)
	}
	if err != nil {
		return nil, err
	}
	on := in.answered(q.At, paths.Revision)
	out := &struct{ Body PathAnswer }{PathAnswer{Paths: paths, Hypothetical: on.Hypothetical, Text: paths.String()}}
	if in.Picture {
		out.Body.Picture = picture(paths)
	}
	return out, nil
}
