package api_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/jit"
)

var wish = api.Ask{Environment: "sales", Role: "Sales Manager", Duration: jit.Duration(time.Hour), Justification: "quarter-end corrections"}

// deletes asks whether amelie may delete an account of a colleague's.
func (w *world) deletes() api.Answer {
	var a api.Answer
	w.as("app", "POST", "/v1/environments/sales/check", api.Question{
		User: "amelie", Action: 3, Table: "account", Record: &api.Record{ID: "1", Owner: "user:carla"},
	}).into(w.t, &a)
	return a
}

func (w *world) submit(key string) api.JITRequest {
	var r api.JITRequest
	w.as("amelie", "POST", "/v1/jit/requests", wish, "Idempotency-Key", key).into(w.t, &r)
	return r
}

func (w *world) approve(user, id, key string) answer {
	var e api.JITEvidence
	w.as(user, "GET", "/v1/jit/requests/"+id+"/evidence", nil).into(w.t, &e)
	require.NotEmpty(w.t, e.Gained)
	return w.as(user, "POST", "/v1/jit/requests/"+id+"/decisions", map[string]string{"decision": "approve", "digest": e.Digest}, "Idempotency-Key", key)
}

func TestAnElevationFromRequestToEnd(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, engine.NoPrivilege, w.deletes().Reason)

	r := w.submit("k1")
	require.Equal(t, jit.StatusPending, r.Status)
	require.Len(t, r.Stages, 1)

	self := w.as("amelie", "POST", "/v1/jit/requests/"+r.ID+"/decisions", map[string]string{"decision": "approve", "digest": r.Digest}, "Idempotency-Key", "k2")
	require.Equal(t, http.StatusForbidden, self.status)
	p := self.problem(t)
	require.Equal(t, "urn:ambit:problem:self-approval", p.Type)
	require.Equal(t, "JIT-30", p.Members["rule"])

	unseen := w.as("bruno", "POST", "/v1/jit/requests/"+r.ID+"/decisions", map[string]string{"decision": "approve", "digest": r.Digest}, "Idempotency-Key", "k3")
	require.Equal(t, "urn:ambit:problem:not-shown", unseen.problem(t).Type, "nobody approves what they were not shown (Rule JIT-63)")

	require.Equal(t, http.StatusNotFound, w.as("carla", "GET", "/v1/jit/requests/"+r.ID, nil).status, "who has no part in it does not see it (Rule JIT-28)")
	require.Equal(t, http.StatusOK, w.as("auditor", "GET", "/v1/jit/requests/"+r.ID, nil).status)

	var queue api.Page[api.JITRequest]
	w.as("bruno", "GET", "/v1/jit/queue", nil).into(t, &queue)
	require.Len(t, queue.Items, 1)
	w.as("amelie", "GET", "/v1/jit/queue", nil).into(t, &queue)
	require.Empty(t, queue.Items, "one's own request is not to be decided")

	var approved api.JITRequest
	w.approve("bruno", r.ID, "k4").into(t, &approved)
	require.Equal(t, jit.StatusActive, approved.Status)
	end := approved.Grant.Window.End

	now := w.deletes()
	require.True(t, now.Allowed)
	require.Equal(t, end, now.ValidUntil, "an answer says until when it can be believed (Rule JIT-25)")

	w.pass(end.Sub(w.tenant.Now()) - time.Millisecond)
	require.True(t, w.deletes().Allowed)
	revision := w.tenant.Revision()
	w.pass(time.Millisecond)
	after := w.deletes()
	require.False(t, after.Allowed, "the grant ends by the clock, with no job having run (Rule JIT-1)")
	require.Equal(t, revision, after.Revision)

	var shown api.JITRequest
	w.as("amelie", "GET", "/v1/jit/requests/"+r.ID, nil).into(t, &shown)
	require.Equal(t, jit.StatusExpired, shown.Status)
}

func TestRule_JIT_21_a_clock_that_jumps_back_reopens_nothing(t *testing.T) {
	w := newWorld(t)
	r := w.submit("k1")
	w.approve("bruno", r.ID, "k2")
	require.True(t, w.deletes().Allowed)
	w.pass(2 * time.Hour)
	require.False(t, w.deletes().Allowed)
	w.wall = w.wall.Add(-2 * time.Hour)
	require.False(t, w.deletes().Allowed, "the wall clock was set back; Ambit time was not")
	require.Greater(t, w.tenant.ClockLead(), time.Hour)
}

func TestRule_JIT_47_a_repeat_with_the_same_key_is_one_request(t *testing.T) {
	w := newWorld(t)
	first := w.as("amelie", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "same")
	second := w.as("amelie", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "same")
	require.Equal(t, http.StatusCreated, first.status, "%s", first.body)
	require.Equal(t, http.StatusCreated, second.status)
	require.JSONEq(t, string(first.body), string(second.body))
	require.Equal(t, "true", second.header.Get("Idempotency-Replayed"))

	other := wish
	other.Justification = "something else entirely"
	require.Equal(t, "urn:ambit:problem:idempotency-key-reused", w.as("amelie", "POST", "/v1/jit/requests", other, "Idempotency-Key", "same").problem(t).Type)
	require.Equal(t, "urn:ambit:problem:idempotency-key-missing", w.as("amelie", "POST", "/v1/jit/requests", wish).problem(t).Type)
	require.Equal(t, "urn:ambit:problem:overlap", w.as("amelie", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "another").problem(t).Type)
	again := w.as("amelie", "POST", "/v1/jit/requests", wish, "Idempotency-Key", "another")
	require.Equal(t, "urn:ambit:problem:overlap", again.problem(t).Type, "refusals are kept too")
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
}

func TestRule_JIT_49_races_are_decided_by_the_store(t *testing.T) {
	w := newWorld(t)
	r := w.submit("k")
	digests := map[string]string{}
	for _, user := range []string{"bruno", "dora"} {
		var e api.JITEvidence
		w.as(user, "GET", "/v1/jit/requests/"+r.ID+"/evidence", nil).into(t, &e)
		digests[user] = e.Digest
	}
	var group sync.WaitGroup
	answers := make([]answer, 3)
	for i, send := range []func() answer{
		func() answer {
			return w.as("bruno", "POST", "/v1/jit/requests/"+r.ID+"/decisions", map[string]string{"decision": "approve", "digest": digests["bruno"]}, "Idempotency-Key", "b")
		},
		func() answer {
			return w.as("dora", "POST", "/v1/jit/requests/"+r.ID+"/decisions", map[string]string{"decision": "approve", "digest": digests["dora"]}, "Idempotency-Key", "d")
		},
		func() answer {
			return w.as("amelie", "POST", "/v1/jit/requests/"+r.ID+"/cancel", map[string]string{}, "Idempotency-Key", "c")
		},
	} {
		group.Go(func() { answers[i] = send() })
	}
	group.Wait()
	won := 0
	for _, a := range answers {
		if a.status < 300 {
			won++
			continue
		}
		require.Equal(t, http.StatusConflict, a.status, "%s", a.body)
		require.Equal(t, "urn:ambit:problem:not-pending", a.problem(t).Type)
	}
	require.Equal(t, 1, won, "first in revision order wins, the others are judged on its revision")
}

func TestAGrantLongerThanItsPolicyIsRefused(t *testing.T) {
	w := newWorld(t)
	long := wish
	long.Duration = jit.Duration(9 * time.Hour)
	got := w.as("amelie", "POST", "/v1/jit/requests", long, "Idempotency-Key", "k")
	require.Equal(t, http.StatusUnprocessableEntity, got.status)
	require.Equal(t, "urn:ambit:problem:beyond-max", got.problem(t).Type)

	var f jit.Forecast
	w.as("amelie", "POST", "/v1/jit/preview", long).into(t, &f)
	require.False(t, f.Admissible)
	require.Equal(t, jit.BeyondMax, f.Problems[0].Slug)
}
