package api

import (
	"context"
	"net/http"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// The searches of AuthZEN: an evaluation with one of its members left open.

// AuthZENSearch is a search. What is searched for has its type only.
type AuthZENSearch struct {
	AuthZENEvaluation
	Page struct {
		Token      string         `json:"token,omitempty" doc:"next_token of the page before"`
		Limit      int            `json:"limit,omitempty" minimum:"0" maximum:"1000" doc:"how many results at most; 100 where it is absent"`
		Properties map[string]any `json:"properties,omitempty"`
	} `json:"page,omitzero"`
}

// AuthZENPage says whether there is more.
type AuthZENPage struct {
	NextToken string `json:"next_token" doc:"empty on the last page"`
	Count     int    `json:"count"`
}

// AuthZENResults are one page of what was found.
type AuthZENResults[T any] struct {
	Results []T         `json:"results" nullable:"false"`
	Page    AuthZENPage `json:"page"`
	Context struct {
		Revision     access.Revision `json:"revision"`
		Hypothetical bool            `json:"hypothetical,omitempty" doc:"the context named the revision: not for enforcement"`
	} `json:"context"`
}

// AuthZENFound is a subject or resource that was found.
type AuthZENFound struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// AuthZENAction is an action that was found.
type AuthZENAction struct {
	Name string `json:"name"`
}

type searchInput struct {
	Environment access.EnvironmentID `path:"environment" doc:"the environment's id"`
	Body        AuthZENSearch
}

// size is how many results a page may have.
func (a AuthZENSearch) size() int {
	if a.Page.Limit == 0 {
		return 100
	}
	return a.Page.Limit
}

// key is what a page's token belongs to. The moment is not part of it: who wants
// all pages of one state names the first page's revision for the others.
func (a AuthZENSearch) key(env access.EnvironmentID, verb string) []any {
	key := []any{env, verb}
	for _, e := range [...]*authzenEntity{a.Subject, a.Resource} {
		if e != nil {
			key = append(key, *e)
		}
	}
	if a.Action != nil {
		key = append(key, *a.Action)
	}
	if c := a.Context; c != nil {
		key = append(key, c.Channel, c.Impersonator)
	}
	return key
}

func results[T any](ctx context.Context, in *searchInput, verb string, list []T, next string, rev access.Revision) *struct{ Body AuthZENResults[T] } {
	out := &struct{ Body AuthZENResults[T] }{}
	out.Body.Results, out.Body.Context.Revision = append([]T{}, list...), rev
	out.Body.Context.Hypothetical = in.Body.Context.moment().hypothetical()
	out.Body.Page.Count = len(list)
	if next != "" {
		out.Body.Page.NextToken = makeCursor(ctx, next, in.Body.key(in.Environment, verb)...)
	}
	return out
}

func badSearch(what string) error {
	return problem("invalid-request", http.StatusBadRequest, what)
}

// searchSubject answers with the users who may.
func (s *Server) searchSubject(ctx context.Context, in *searchInput) (*struct{ Body AuthZENResults[AuthZENFound] }, error) {
	const verb = "subject"
	e := in.Body.AuthZENEvaluation
	if e.Subject == nil || e.Subject.Type != authzenUser {
		return nil, badSearch("a search for subjects names user as their type")
	}
	e.Subject = &authzenEntity{Type: authzenUser, ID: "anybody"} // an id is let pass
	q, err := e.question()
	switch {
	case err != nil:
		return nil, err
	case q.Impersonator != "" || len(q.Columns) > 0:
		return nil, badSearch("a search for subjects has neither impersonator nor columns")
	}
	after, err := readCursor(ctx, in.Body.Page.Token, in.Body.key(in.Environment, verb)...)
	if err != nil {
		return nil, err
	}
	who, _, err := s.findWho(ctx, in.Environment, engine.WhoQuestion{
		Action: q.Action, Table: access.TableID(q.Table), Privilege: q.Privilege, Channel: q.Channel, After: access.UserID(after), Limit: in.Body.size(),
	}, q.Record, e.Context.moment())
	if err != nil {
		return nil, err
	}
	found := make([]AuthZENFound, len(who.Users))
	for i, u := range who.Users {
		found[i] = AuthZENFound{authzenUser, u.ID}
	}
	return results(ctx, in, verb, found, string(who.Next), who.Revision), nil
}

// searchAction answers with the actions that the subject may do with the
// resource; create is among them for a table, since no record has it.
func (s *Server) searchAction(ctx context.Context, in *searchInput) (*struct{ Body AuthZENResults[AuthZENAction] }, error) {
	const verb = "action"
	e := in.Body.AuthZENEvaluation
	if e.Resource != nil && e.Resource.Type == authzenPrivilege {
		return nil, badSearch("a miscellaneous privilege has no actions; ask for an evaluation of it")
	}
	e.Action = &authzenAction{Name: access.Read.String()} // stands for all
	q, err := e.question()
	if err != nil {
		return nil, err
	}
	after, err := readCursor(ctx, in.Body.Page.Token, in.Body.key(in.Environment, verb)...)
	if err != nil {
		return nil, err
	}
	asked, snapshot, err := s.ask(ctx, in.Environment, Asked{q, e.Context.moment()})
	if err != nil {
		return nil, err
	}
	mask, err := snapshot.Rights(asked)
	if err != nil {
		return nil, err
	}
	if asked.Record == nil {
		asked.Action = access.Create
		d, err := snapshot.Check(asked)
		if err != nil {
			return nil, err
		}
		if d.Allowed {
			mask |= access.RightsOf(access.Create)
		}
	}
	var found []AuthZENAction
	passed := after == ""
	for _, a := range mask.Actions() {
		switch {
		case !passed:
			passed = a.String() == after
		case len(found) == in.Body.size():
			return results(ctx, in, verb, found, found[len(found)-1].Name, snapshot.Revision()), nil
		default:
			found = append(found, AuthZENAction{a.String()})
		}
	}
	return results(ctx, in, verb, found, "", snapshot.Revision()), nil
}

const (
	// looked is how many records are looked at for one page: where few are found,
	// the page is short and the next one goes on.
	looked         = 10_000
	lookedTogether = 1000
)

// searchResource answers with the registered records of the resource's type.
func (s *Server) searchResource(ctx context.Context, in *searchInput) (*struct{ Body AuthZENResults[AuthZENFound] }, error) {
	const verb = "resource"
	e := in.Body.AuthZENEvaluation
	if e.Resource == nil || e.Resource.Type == authzenPrivilege {
		return nil, badSearch("a search for resources names a table as their type")
	}
	e.Resource = &authzenEntity{Type: e.Resource.Type} // an id is let pass
	q, err := e.question()
	switch {
	case err != nil:
		return nil, err
	case q.Action == access.Create:
		return nil, badSearch("no record that there is can be created")
	}
	after, err := readCursor(ctx, in.Body.Page.Token, in.Body.key(in.Environment, verb)...)
	if err != nil {
		return nil, err
	}
	asked, snapshot, err := s.ask(ctx, in.Environment, Asked{q, e.Context.moment()})
	if err != nil {
		return nil, err
	}
	rev := snapshot.Revision()
	var found []AuthZENFound
	if d, err := snapshot.Check(asked); err != nil || !d.Allowed {
		return results(ctx, in, verb, found, "", rev), err
	}
	for n := 0; n < looked; n += lookedTogether {
		page, err := s.store.Objects(ctx, rev, in.Environment, access.KindRecord, access.JoinKey(e.Resource.Type, after), lookedTogether)
		if err != nil {
			return nil, err
		}
		for _, v := range page {
			r := v.Object.(access.Record)
			if r.Table != asked.Table {
				return results(ctx, in, verb, found, "", rev), nil
			}
			asked.Record = &engine.Record{ID: r.ID, Registered: true}
			if d, err := snapshot.Check(asked); err == nil && d.Allowed { // one that cannot be judged is not found
				if len(found) == in.Body.size() {
					return results(ctx, in, verb, found, after, rev), nil
				}
				found = append(found, AuthZENFound{e.Resource.Type, string(r.ID)})
			}
			after = string(r.ID)
		}
		if len(page) < lookedTogether {
			return results(ctx, in, verb, found, "", rev), nil
		}
	}
	return results(ctx, in, verb, found, after, rev), nil
}
