package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

func (s *Server) jitRoutes() {
	const requests, policies = "/v1/jit/requests", "/v1/jit/policies"
	created := func(op *huma.Operation) { op.DefaultStatus = http.StatusCreated }
	signedIn := func(method, path string) Route { return Route{method, path, "", 0} }

	handle(s, signedIn("GET", "/v1/jit/eligible"), "jit-eligible", "What I can ask for", s.jitEligible)
	handle(s, signedIn("POST", "/v1/jit/preview"), "jit-preview", "What would become of a request; writes nothing", s.jitPreview)
	handle(s, signedIn("GET", requests), "jit-list-requests", "Requests that I may see, newest first", s.jitList)
	handle(s, signedIn("POST", requests), "jit-submit", "Ask for a role for a time", s.jitSubmit, created)
	handle(s, signedIn("GET", requests+"/{id}"), "jit-get-request", "One request, with how far it is", s.jitGet)
	handle(s, signedIn("GET", requests+"/{id}/evidence"), "jit-evidence", "The access that a request adds; records that it was shown to you", s.jitEvidence)
	handle(s, signedIn("POST", requests+"/{id}/decisions"), "jit-decide", "Approve or deny", s.jitDecide, created)
	handle(s, signedIn("POST", requests+"/{id}/withdraw"), "jit-withdraw", "Take back one's own decision", s.jitReasoned(jit.Withdraw))
	handle(s, signedIn("POST", requests+"/{id}/cancel"), "jit-cancel", "Cancel a pending request", s.jitReasoned(jit.Cancel))
	handle(s, signedIn("POST", requests+"/{id}/relinquish"), "jit-relinquish", "End one's own grant early", s.jitReasoned(jit.Relinquish))
	handle(s, signedIn("POST", requests+"/{id}/revoke"), "jit-revoke", "End somebody's grant early", s.jitReasoned(jit.Revoke))
	handle(s, signedIn("GET", "/v1/jit/queue"), "jit-queue", "Requests that I may decide now, most urgent first", s.jitQueue)
	handle(s, Route{"GET", policies, model.TablePolicy, access.Read}, "jit-list-policies", "Elevation policies", s.jitPolicies)
	handle(s, Route{"PUT", policies + "/{id}", model.TablePolicy, access.Write}, "jit-put-policy", "Create a policy, or make its next version", s.jitPutPolicy)
	handle(s, Route{"DELETE", policies + "/{id}", model.TablePolicy, access.Delete}, "jit-delete-policy", "Delete a policy", s.jitDeletePolicy)
}

// JITRequest is a request as it is shown: what is stored, and what the instant
// makes of it (Rule JIT-37).
type JITRequest struct {
	jit.Request
	Status jit.Status     `json:"status"`
	Stages []jit.StageNow `json:"stages,omitempty"`
}

// Repeatable has the headers of a request that may be sent again (Rule JIT-47).
type Repeatable struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"required: a random text by which a repeat is known"`
}

type jitOutput struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     JITRequest
}

// jitView is what elevation judges by, in one environment.
func (s *Server) jitView(ctx context.Context, v tenant.View, env access.EnvironmentID) (jit.View, error) {
	state, err := v.State(env)
	if err != nil {
		return jit.View{}, err
	}
	snapshot, err := v.Snapshot(env)
	if err != nil {
		return jit.View{}, err
	}
	return jit.View{
		State: state, Snapshot: snapshot, Persons: s.sync.Persons(env),
		DirectoryAge: func(source string) (time.Duration, bool) { return s.sync.Age(source, v.Now) },
		Closed: func(id string) (jit.Request, bool) {
			version, err := s.store.Object(ctx, v.Revision, env, access.KindRequest, id)
			if err != nil {
				return jit.Request{}, false
			}
			r, ok := version.Object.(jit.Request)
			return r, ok
		},
	}, nil
}

// jitCaller is the caller as one environment knows them. Their parts in
// administration are asked of the engine, in Ambit's own environment.
func (s *Server) jitCaller(ctx context.Context, v tenant.View, state *access.State) (jit.Caller, error) {
	p := caller(ctx)
	c := jit.Caller{Actor: p.Actor}
	if user, ok := s.self(state, p); ok {
		c.User = user.ID
		c.Actor.ID, c.Actor.Name = string(user.ID), user.Name
	}
	if p.Kind == audit.Local {
		c.Admin, c.GivesAll = true, true // the files are theirs (Rule ACC-5)
		return c, nil
	}
	admin, ambit, err := s.administrator(v, p)
	if err != nil || admin.ID == "" {
		return c, err
	}
	if c.GivesAll, err = s.givesAll(v, p, state.Environment.ID); err != nil {
		return c, err
	}
	for part, holds := range map[access.Privilege]*bool{
		{Table: model.TablePolicy, Action: access.Write}: &c.Admin,
		{Table: model.TableRequest, Action: access.Read}: &c.Auditor,
	} {
		d, err := ambit.Check(engine.Question{User: admin.ID, Table: part.Table, Action: part.Action, At: v.Now})
		if err != nil {
			return c, err
		}
		*holds = d.Allowed
	}
	return c, nil
}

// jitRead calls f with the newest view of one environment and the caller in it.
func (s *Server) jitRead(ctx context.Context, env access.EnvironmentID, f func(jit.View, jit.Caller, time.Time) error) error {
	return s.tenant.Read(func(v tenant.View) error {
		view, err := s.jitView(ctx, v, env)
		if err != nil {
			return err
		}
		c, err := s.jitCaller(ctx, v, view.State)
		if err != nil {
			return err
		}
		return f(view, c, v.Now)
	})
}

// environmentOf finds the environment of a request. Ids are unique over all.
func (s *Server) environmentOf(ctx context.Context, id string) (access.EnvironmentID, error) {
	var all []access.EnvironmentID
	var found access.EnvironmentID
	err := s.tenant.Read(func(v tenant.View) error {
		all = v.Environments()
		for _, env := range all {
			state, err := v.State(env)
			if err != nil {
				return err
			}
			if _, ok := state.Others[access.OtherKey{Kind: access.KindRequest, Key: id}]; ok {
				found = env
			}
		}
		return nil
	})
	if err != nil || found != "" {
		return found, err
	}
	for _, env := range all {
		_, err := s.store.Object(ctx, 0, env, access.KindRequest, id)
		if err == nil {
			return env, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
	}
	return "", problem(string(jit.NotFound), http.StatusNotFound, "there is no request "+id+" that you may see")
}

// jitStep judges an event on the newest revision and commits what it makes. With
// a key, a repeat of the same request gets the same answer and does nothing.
func (s *Server) jitStep(ctx context.Context, env access.EnvironmentID, key, operation string, body any, status int, event func(jit.Caller) jit.Event) (*jitOutput, error) {
	if key == "" && operation != "" {
		return nil, problem("idempotency-key-missing", http.StatusBadRequest, "send a random text as Idempotency-Key, and the same again when you repeat the request")
	}
	asked, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	reply := store.Reply{Method: "POST", Path: operation, Key: key, BodyDigest: digest(asked)}
	who := caller(ctx)
	running := strings.Join([]string{string(who.Kind), who.ID, operation, key}, "\x00")
	if key != "" {
		if _, busy := s.running.LoadOrStore(running, nil); busy {
			p := problem("in-progress", http.StatusConflict, "the first request with this key is still running")
			p.header = http.Header{"Retry-After": {"1"}}
			return nil, p
		}
		defer s.running.Delete(running)
	}
	out := &jitOutput{Status: status}
	var refusal error
	done, err := s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		out, refusal = &jitOutput{Status: status}, nil
		view, err := s.jitView(ctx, v, env)
		if err != nil {
			return tenant.Changeset{}, err
		}
		by, err := s.jitCaller(ctx, v, view.State)
		if err != nil {
			return tenant.Changeset{}, err
		}
		reply := reply
		// A person may be called like an operating system's user.
		reply.Caller, reply.Expires = string(by.Actor.Kind)+":"+by.Actor.ID, v.Now.Add(keepReplies)
		if key != "" {
			replayed, err := s.replay(ctx, reply, out)
			if replayed || err != nil {
				return tenant.Changeset{}, err
			}
		}
		made, err := jit.Step(view, event(by), v.Now)
		correlate(ctx, made.Events)
		set := tenant.Changeset{Changes: made.Changes, Events: made.Events}
		var answer any
		if err != nil {
			var refused *jit.Refusal
			if !errors.As(err, &refused) {
				return tenant.Changeset{}, err
			}
			if refused.Slug == jit.NotFound {
				return tenant.Changeset{}, err // guessing ids fills no log (Rule JIT-39)
			}
			p := s.problemOf(ctx, refused)
			refusal, answer, reply.Status = p, p, p.Status
		} else {
			out.Body = shown(view, *made.Request, v.Now)
			answer, reply.Status = out.Body, status
		}
		if key != "" && kept(reply.Status) {
			if reply.Body, err = json.Marshal(answer); err != nil {
				return tenant.Changeset{}, err
			}
			set.Reply = &reply
		}
		return set, nil
	})
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		return nil, refusal
	}
	if out.Replayed == "" {
		out.ETag = etag(done.Revision)
	}
	return out, nil
}

// correlate says in the events which request of the API made them.
func correlate(ctx context.Context, events []audit.Event) {
	for i := range events {
		events[i].Correlation = correlation(ctx)
	}
}

// kept tells whether a repeat is to have the same answer: not one that another
// sign-in, waiting or the server's recovery can change (Rule JIT-47).
func kept(status int) bool {
	return status < http.StatusInternalServerError && status != http.StatusUnauthorized && status != http.StatusTooManyRequests
}

// replay gives the stored answer of a request that was answered before.
func (s *Server) replay(ctx context.Context, asked store.Reply, out *jitOutput) (bool, error) {
	before, err := s.store.Reply(ctx, asked.Caller, asked.Method, asked.Path, asked.Key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if before.BodyDigest != asked.BodyDigest {
		return false, problem("idempotency-key-reused", http.StatusUnprocessableEntity, "this key was sent before with another body; make a new key for a new request")
	}
	if before.Status >= http.StatusBadRequest {
		p := &Problem{header: http.Header{"Idempotency-Replayed": {"true"}}}
		if err := json.Unmarshal(before.Body, p); err != nil {
			return false, err
		}
		return false, p
	}
	out.Status, out.Replayed = before.Status, "true"
	return true, json.Unmarshal(before.Body, &out.Body)
}

func shown(v jit.View, r jit.Request, at time.Time) JITRequest {
	return JITRequest{Request: r, Status: r.Status(at), Stages: jit.Stages(v, r, at)}
}

// newID makes an id that sorts by time.
func newID(prefix string) (string, error) {
	id, err := uuid.NewV7()
	return prefix + strings.ReplaceAll(id.String(), "-", ""), err
}

// Ask is what a person asks for.
type Ask struct {
	Environment   access.EnvironmentID  `json:"environment" required:"true"`
	Policy        string                `json:"policy,omitempty"`
	Role          access.RoleID         `json:"role,omitempty" doc:"the role's id or name"`
	BusinessUnit  access.BusinessUnitID `json:"business_unit,omitempty" doc:"your own where it is absent"`
	Beneficiary   access.UserID         `json:"beneficiary,omitempty" doc:"another account of yours"`
	Duration      jit.Duration          `json:"duration,omitzero" doc:"such as PT2H; the policy's default where it is absent"`
	Start         time.Time             `json:"start,omitzero" doc:"as soon as approved where it is absent"`
	Justification string                `json:"justification,omitempty" maxLength:"2000"`
	Ticket        string                `json:"ticket,omitempty" maxLength:"200"`
	Digest        string                `json:"digest,omitempty" doc:"of the preview that you saw"`
}

func (a Ask) ask(state *access.State) jit.Ask {
	out := jit.Ask{
		Policy: a.Policy, Role: a.Role, BusinessUnit: a.BusinessUnit, Beneficiary: a.Beneficiary, Duration: a.Duration,
		Start: a.Start, Justification: a.Justification, Ticket: a.Ticket, Digest: a.Digest,
	}
	if _, ok := state.Roles[a.Role]; !ok {
		if r, ok := state.RoleByName(string(a.Role)); ok {
			out.Role = r.ID
		}
	}
	return out
}

func (s *Server) jitSubmit(ctx context.Context, in *struct {
	Repeatable
	Body Ask
},
) (*jitOutput, error) {
	id, err := newID("req_")
	if err != nil {
		return nil, err
	}
	ask := jit.Ask{}
	if err := s.jitRead(ctx, in.Body.Environment, func(v jit.View, _ jit.Caller, _ time.Time) error {
		ask = in.Body.ask(v.State)
		return nil
	}); err != nil {
		return nil, err
	}
	out, err := s.jitStep(ctx, in.Body.Environment, in.Key, "/v1/jit/requests", in.Body, http.StatusCreated, func(by jit.Caller) jit.Event {
		return jit.Event{Kind: jit.Submit, By: by, ID: id, Ask: ask}
	})
	if err == nil {
		out.Location = "/v1/jit/requests/" + out.Body.ID
	}
	return out, err
}

func (s *Server) jitPreview(ctx context.Context, in *struct{ Body Ask }) (*struct{ Body jit.Forecast }, error) {
	out := &struct{ Body jit.Forecast }{}
	return out, s.jitRead(ctx, in.Body.Environment, func(v jit.View, c jit.Caller, at time.Time) (err error) {
		out.Body, err = jit.Preview(v, c, in.Body.ask(v.State), at)
		return err
	})
}

// RequestPath names one object of elevation.
type RequestPath struct {
	ID string `path:"id"`
}

func (s *Server) jitGet(ctx context.Context, in *RequestPath) (*jitOutput, error) {
	env, err := s.environmentOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &jitOutput{Status: http.StatusOK}
	version, err := s.store.Object(ctx, 0, env, access.KindRequest, in.ID)
	if err != nil {
		return nil, err
	}
	out.ETag = etag(version.Since)
	return out, s.jitRead(ctx, env, func(v jit.View, c jit.Caller, at time.Time) error {
		r, _ := version.Object.(jit.Request)
		if !jit.CanSee(v, c, r, at) {
			return problem(string(jit.NotFound), http.StatusNotFound, "there is no request "+in.ID+" that you may see")
		}
		out.Body = shown(v, r, at)
		return nil
	})
}

// JITEvidence is what an approver is shown before deciding.
type JITEvidence struct {
	jit.Evidence
	Request JITRequest `json:"about"`
}

func (s *Server) jitEvidence(ctx context.Context, in *RequestPath) (*struct {
	ReprDigest string `header:"Repr-Digest"`
	Body       JITEvidence
}, error,
) {
	out := &struct {
		ReprDigest string `header:"Repr-Digest"`
		Body       JITEvidence
	}{}
	env, err := s.environmentOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	_, err = s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		view, err := s.jitView(ctx, v, env)
		if err != nil {
			return tenant.Changeset{}, err
		}
		by, err := s.jitCaller(ctx, v, view.State)
		if err != nil {
			return tenant.Changeset{}, err
		}
		made, err := jit.Step(view, jit.Event{Kind: jit.Show, By: by, Request: in.ID}, v.Now)
		correlate(ctx, made.Events)
		if err != nil {
			return tenant.Changeset{}, err
		}
		out.Body = JITEvidence{Evidence: *made.Evidence, Request: shown(view, *made.Request, v.Now)}
		out.ReprDigest = "sha-256=:" + made.Evidence.Digest + ":"
		return tenant.Changeset{Changes: made.Changes, Events: made.Events}, nil
	})
	return out, err
}

func (s *Server) jitDecide(ctx context.Context, in *struct {
	Repeatable
	RequestPath
	Body struct {
		Decision string `json:"decision" required:"true" enum:"approve,deny"`
		Digest   string `json:"digest,omitempty" doc:"of the evidence that you were shown; required to approve"`
		Comment  string `json:"comment,omitempty" maxLength:"2000"`
	}
},
) (*jitOutput, error) {
	env, err := s.environmentOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	id, err := newID("dec_")
	if err != nil {
		return nil, err
	}
	return s.jitStep(ctx, env, in.Key, "/v1/jit/requests/"+in.ID+"/decisions", in.Body, http.StatusCreated, func(by jit.Caller) jit.Event {
		return jit.Event{Kind: jit.EventKind(in.Body.Decision), By: by, ID: id, Request: in.ID, Digest: in.Body.Digest, Comment: in.Body.Comment}
	})
}

type reasoned struct {
	Repeatable
	RequestPath
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"2000"`
	}
}

// jitReasoned makes the handler of an event that takes a reason alone.
func (s *Server) jitReasoned(kind jit.EventKind) func(context.Context, *reasoned) (*jitOutput, error) {
	return func(ctx context.Context, in *reasoned) (*jitOutput, error) {
		env, err := s.environmentOf(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return s.jitStep(ctx, env, in.Key, "/v1/jit/requests/"+in.ID+"/"+string(kind), in.Body, http.StatusOK, func(by jit.Caller) jit.Event {
			return jit.Event{Kind: kind, By: by, Request: in.ID, Comment: in.Body.Reason}
		})
	}
}

// everywhere calls f with the view of every environment, or of the one named.
func (s *Server) everywhere(ctx context.Context, only access.EnvironmentID, f func(jit.View, jit.Caller, time.Time) error) (access.Revision, error) {
	var rev access.Revision
	err := s.tenant.Read(func(v tenant.View) error {
		rev = v.Revision
		all := v.Environments()
		if only != "" {
			if !slices.Contains(all, only) {
				return tenant.ErrNoEnvironment
			}
			all = []access.EnvironmentID{only}
		}
		for _, env := range all {
			view, err := s.jitView(ctx, v, env)
			if err != nil {
				return err
			}
			c, err := s.jitCaller(ctx, v, view.State)
			if err != nil {
				return err
			}
			if err := f(view, c, v.Now); err != nil {
				return err
			}
		}
		return nil
	})
	return rev, err
}

// EnvironmentQuery narrows a list to one environment.
type EnvironmentQuery struct {
	Environment access.EnvironmentID `query:"environment" doc:"all where it is absent"`
}

func (s *Server) jitEligible(ctx context.Context, in *EnvironmentQuery) (*pageOutput[jit.Offer], error) {
	out := &pageOutput[jit.Offer]{Body: Page[jit.Offer]{Items: []jit.Offer{}}}
	var err error
	out.Body.Revision, err = s.everywhere(ctx, in.Environment, func(v jit.View, c jit.Caller, at time.Time) error {
		out.Body.Items = append(out.Body.Items, jit.Eligible(v, c, at)...)
		return nil
	})
	return out, err
}

func (s *Server) jitQueue(ctx context.Context, in *EnvironmentQuery) (*pageOutput[JITRequest], error) {
	out := &pageOutput[JITRequest]{Body: Page[JITRequest]{Items: []JITRequest{}}}
	var err error
	out.Body.Revision, err = s.everywhere(ctx, in.Environment, func(v jit.View, c jit.Caller, at time.Time) error {
		for _, r := range jit.Queue(v, c, at) {
			out.Body.Items = append(out.Body.Items, shown(v, r, at))
		}
		return nil
	})
	slices.SortStableFunc(out.Body.Items, func(a, b JITRequest) int { return a.PendingUntil.Compare(b.PendingUntil) })
	return out, err
}

// jitList pages through the store by id and leaves out what the caller may not
// see. It reads on until the page is full, so that neither counts nor cursors
// tell of others (Rule JIT-77).
func (s *Server) jitList(ctx context.Context, in *struct {
	EnvironmentQuery
	State  jit.State `query:"state" enum:"pending,approved,denied,cancelled,lapsed,void" doc:"as stored"`
	Cursor string    `query:"cursor"`
	Limit  int       `query:"limit" minimum:"1" maximum:"200" default:"50"`
},
) (*pageOutput[JITRequest], error) {
	out := &pageOutput[JITRequest]{Body: Page[JITRequest]{Items: []JITRequest{}}}
	before, err := readCursor(ctx, in.Cursor, "requests", in.Environment, in.State)
	if err != nil {
		return nil, err
	}
	q := store.RequestQuery{Environment: in.Environment, State: string(in.State), Before: before, Limit: in.Limit + 1}
	for {
		versions, err := s.store.Requests(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, version := range versions {
			r, _ := version.Object.(jit.Request)
			q.Before = r.ID
			var one *JITRequest
			err := s.jitRead(ctx, r.Environment, func(v jit.View, c jit.Caller, at time.Time) error {
				if jit.CanSee(v, c, r, at) {
					s := shown(v, r, at)
					one = &s
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			if one == nil {
				continue
			}
			if len(out.Body.Items) == in.Limit {
				out.Body.NextCursor = makeCursor(ctx, out.Body.Items[in.Limit-1].ID, "requests", in.Environment, in.State)
				break
			}
			out.Body.Items = append(out.Body.Items, *one)
		}
		if out.Body.NextCursor != "" || len(versions) < q.Limit {
			out.Body.Revision = s.tenant.Revision()
			return out, nil
		}
	}
}

func (s *Server) jitPolicies(ctx context.Context, in *EnvironmentQuery) (*pageOutput[jit.Policy], error) {
	out := &pageOutput[jit.Policy]{Body: Page[jit.Policy]{Items: []jit.Policy{}}}
	var err error
	out.Body.Revision, err = s.everywhere(ctx, in.Environment, func(v jit.View, _ jit.Caller, _ time.Time) error {
		for _, o := range v.State.Others {
			if p, ok := o.(jit.Policy); ok {
				out.Body.Items = append(out.Body.Items, p)
			}
		}
		return nil
	})
	slices.SortFunc(out.Body.Items, func(a, b jit.Policy) int {
		return strings.Compare(access.JoinKey(string(a.Environment), a.ID), access.JoinKey(string(b.Environment), b.ID))
	})
	return out, err
}

func (s *Server) jitPutPolicy(ctx context.Context, in *struct {
	RequestPath
	IfMatch string `header:"If-Match"`
	Body    jit.Policy
},
) (*committedOutput, error) {
	if err := take(&in.Body.ID, []string{in.ID}, 0); err != nil {
		return nil, err
	}
	return s.jitPolicyStep(ctx, in.Body.Environment, in.ID, in.IfMatch, func(by jit.Caller) jit.Event {
		return jit.Event{Kind: jit.PutPolicy, By: by, Policy: in.Body}
	})
}

func (s *Server) jitDeletePolicy(ctx context.Context, in *struct {
	RequestPath
	IfMatch     string               `header:"If-Match"`
	Environment access.EnvironmentID `query:"environment" doc:"required"`
	RevokeOpen  bool                 `query:"revoke_open" doc:"end the grants that rest on it"`
},
) (*committedOutput, error) {
	return s.jitPolicyStep(ctx, in.Environment, in.ID, in.IfMatch, func(by jit.Caller) jit.Event {
		return jit.Event{Kind: jit.DeletePolicy, By: by, Policy: jit.Policy{Environment: in.Environment, ID: in.ID}, RevokeOpen: in.RevokeOpen}
	})
}

func (s *Server) jitPolicyStep(ctx context.Context, env access.EnvironmentID, id, ifMatch string, event func(jit.Caller) jit.Event) (*committedOutput, error) {
	var refusal error
	done, err := s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		refusal = nil
		view, err := s.jitView(ctx, v, env)
		if err != nil {
			return tenant.Changeset{}, err
		}
		switch version, err := s.store.Object(ctx, v.Revision, env, access.KindPolicy, id); {
		case err == nil:
			if err := match(ifMatch, version.Since); err != nil {
				return tenant.Changeset{}, err
			}
		case !errors.Is(err, store.ErrNotFound):
			return tenant.Changeset{}, err
		case ifMatch != "":
			return tenant.Changeset{}, problem("precondition-failed", http.StatusPreconditionFailed, "there is no such policy any more")
		}
		by, err := s.jitCaller(ctx, v, view.State)
		if err != nil {
			return tenant.Changeset{}, err
		}
		made, err := jit.Step(view, event(by), v.Now)
		correlate(ctx, made.Events)
		var refused *jit.Refusal
		if errors.As(err, &refused) {
			refusal = refused
		} else if err != nil {
			return tenant.Changeset{}, err
		}
		return tenant.Changeset{Changes: made.Changes, Events: made.Events}, nil
	})
	out := &committedOutput{}
	out.Body.Revision = done.Revision
	return out, errors.Join(err, refusal)
}
