package jit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

// slugs reads the problems from the source, so that none can be forgotten.
func slugs(t *testing.T) map[string]bool {
	f, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	require.NoError(t, err)
	out := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
			for _, s := range d.Specs {
				v, err := strconv.Unquote(s.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				out[v] = true
			}
		}
		return true
	})
	return out
}

func TestRule_JIT_78_every_problem_is_given_with_its_status(t *testing.T) {
	submit := func(change ...func(*Ask)) Event {
		return Event{Kind: Submit, By: who("ann"), ID: "req_t", Ask: ask(change...)}
	}
	later := func(a *Ask) { a.Start = noon.Add(90 * time.Hour) }
	put := func(p Policy) Event {
		by := who("dan")
		by.GivesAll = true
		return Event{Kind: PutPolicy, By: by, Policy: p}
	}
	cases := map[string]struct {
		status int
		event  func(*world) Event
	}{
		NotFound:        {404, func(w *world) Event { return Event{Kind: Cancel, By: who("ann"), Request: "req_none"} }},
		NoPolicy:        {422, func(*world) Event { return submit(func(a *Ask) { a.Role = "reader" }) }},
		NotEligible:     {422, func(*world) Event { e := submit(); e.By = who("cleo"); return e }},
		SubjectDisabled: {422, func(w *world) Event { u := w.user("ann"); u.Enabled = false; w.must(access.Put(u)); return submit() }},
		SubjectGated: {422, func(w *world) Event {
			e := w.state.Environment
			e.RequireLicence = true
			u := w.user("ann")
			u.Licensed = false
			w.must(access.Put(e), access.Put(u))
			return submit()
		}},
		BeyondMax:             {422, func(*world) Event { return submit(func(a *Ask) { a.Duration = 8*hour + Duration(time.Second) }) }},
		BelowMin:              {422, func(*world) Event { return submit(func(a *Ask) { a.Duration = Duration(299 * time.Second) }) }},
		StartPassed:           {422, func(*world) Event { return submit(func(a *Ask) { a.Start = noon.Add(-time.Second) }) }},
		JustificationRequired: {422, func(*world) Event { return submit(func(a *Ask) { a.Justification = "  too short  " }) }},
		TicketRequired:        {422, func(w *world) Event { w.policy(func(p *Policy) { p.Ticket = "CHG-[0-9]+" }); return submit() }},
		TicketPattern: {422, func(w *world) Event {
			w.policy(func(p *Policy) { p.Ticket = "CHG-[0-9]+|INC-[0-9]+" })
			return submit(func(a *Ask) { a.Ticket = "CHG-1x" })
		}},
		AddsNothing: {422, func(w *world) Event {
			w.must(access.Put(access.Assignment{Environment: env, ID: "x", Role: "manager", Principal: access.UserID("ann").Principal(), BusinessUnit: "sales", ManagedBy: access.ByFile}))
			return submit()
		}},
		NoApprover: {422, func(w *world) Event { w.policy(func(p *Policy) { p.Stages[0].Quorum = 3 }); return submit() }},
		Overlap:    {409, func(w *world) Event { w.submit("ann", ask()); return submit() }},
		Duplicate:  {409, func(w *world) Event { r := w.submit("ann", ask()); e := submit(later); e.ID = r.ID; return e }},
		NotPending: {409, func(w *world) Event {
			r := w.submit("ann", ask())
			w.done(Event{Kind: Cancel, By: who("ann"), Request: r.ID})
			return Event{Kind: Cancel, By: who("ann"), Request: r.ID}
		}},
		GrantEnded: {409, func(w *world) Event {
			r := w.approve("bob", w.submit("ann", ask()).ID)
			w.done(Event{Kind: Relinquish, By: who("ann"), Request: r.ID})
			return Event{Kind: Revoke, By: who("bob"), Request: r.ID, Comment: "late"}
		}},
		AlreadyDecided: {409, func(w *world) Event {
			w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
			return w.denial("bob", w.approve("bob", w.submit("ann", ask()).ID).ID)
		}},
		OpenGrants: {409, func(w *world) Event {
			p := basePolicy()
			p.ManagedBy, p.Version = access.ByAPI, 2
			w.must(access.Put(p))
			w.approve("bob", w.submit("ann", ask()).ID)
			return Event{Kind: DeletePolicy, By: who("dan"), Policy: p}
		}},
		NotShown: {422, func(w *world) Event {
			r := w.submit("ann", ask())
			return Event{Kind: Approve, By: who("bob"), Request: r.ID, ID: "dec_t", Digest: r.Digest}
		}},
		ShownStale: {409, func(w *world) Event {
			e := w.approval("bob", w.submit("ann", ask()).ID)
			w.policy(func(p *Policy) { p.Name = "another" })
			return e
		}},
		CommentRequired: {422, func(w *world) Event { e := w.denial("bob", w.submit("ann", ask()).ID); e.Comment = " "; return e }},
		SelfApproval:    {403, func(w *world) Event { return w.approval("ann", w.submit("ann", ask()).ID) }},
		NotApprover:     {403, func(w *world) Event { return w.denial("dan", w.submit("ann", ask()).ID) }},
		NotAdministrator: {403, func(w *world) Event {
			return Event{Kind: Cancel, By: who("bob"), Request: w.submit("ann", ask()).ID, Comment: "no"}
		}},
		PersonUnknown: {403, func(w *world) Event {
			u := w.user("bob")
			u.Person = ""
			w.must(access.Put(u))
			return w.approval("bob", w.submit("ann", ask()).ID)
		}},
		ConcurrencyLimit: {409, func(w *world) Event {
			for i := range maxPending {
				w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Duration(i) * 2 * time.Hour) }))
			}
			return submit(later)
		}},
		DirectoryStale:   {503, func(w *world) Event { w.ages["ad"] = 3 * time.Hour; return submit() }},
		PolicyInvalid:    {422, func(*world) Event { return put(Policy{ID: "new", Role: "reader", Scope: Scope{BusinessUnit: "sales"}}) }},
		PolicyOverlap:    {409, func(*world) Event { p := basePolicy(); p.ID = "rival"; return put(p) }},
		ManagedElsewhere: {409, func(*world) Event { return put(basePolicy()) }},
		ElevationPrevented: {403, func(*world) Event {
			p := basePolicy()
			p.ID, p.Scope.BusinessUnit = "new", "asia"
			return Event{Kind: PutPolicy, By: who("dan"), Policy: p}
		}},
	}
	all := slugs(t)
	for slug := range all {
		t.Run(slug, func(t *testing.T) {
			c, ok := cases[slug]
			require.True(t, ok, "no test gives this problem")
			w := newWorld(t)
			f := w.refused(slug, c.event(w))
			require.Equal(t, c.status, f.Status)
			require.NotEmpty(t, f.Rule)
			require.NotEmpty(t, f.Detail)
			require.Equal(t, f.Detail, f.Error())
			last := w.events[len(w.events)-1]
			require.Equal(t, slug, last.Reason)
		})
	}
	require.Len(t, all, len(cases))
}
