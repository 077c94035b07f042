package jit

import (
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
)

// Sweep writes down what time has already decided: lapsed requests, grants that
// began and grants that are over, with their true instants, at most limit of them
// (Rule JIT-70). It changes no answer of the engine or of Step, and sweeping twice
// writes nothing the second time. more tells that the limit cut it short.
func Sweep(v View, at time.Time, limit int) (out Outcome, more bool) {
	j := v.judge(at)
	actor := audit.Actor{Kind: audit.System, ID: "sweeper"}
	for n, r := range j.due() {
		if n == limit {
			return out, true
		}
		r = clone(r)
		put := func(id string, from Status, instant time.Time) {
			told := map[string]any{"instant": instant, "noted_at": j.at}
			out.Events = append(out.Events, events(row(id, from, TimePasses, r.Status(j.at)), r, actor, "", told)...)
		}
		var changes []access.Change
		if r.State == Pending {
			r.State, r.ClosedAt, r.ClosedBy = Lapsed, r.PendingUntil, string(actor.Kind)
			put("RQ11", StatusLapsed, r.PendingUntil)
		} else {
			status := r.Status(j.at)
			if !r.Grant.StartNoted {
				r.Grant.StartNoted = true
				put("GR4", status, r.Grant.Window.Start)
			}
			if status == StatusExpired {
				changes = j.finish(&r, Ended{At: r.Grant.Window.End, Reason: "expired"})
				put("GR5", status, r.Grant.Window.End)
			}
		}
		out.Changes = append(append(out.Changes, access.Put(r)), changes...)
	}
	return out, false
}

// due lists the requests that time has changed since they were last written.
func (j judge) due() []Request {
	return j.requests(func(r Request) bool {
		switch r.Status(j.at) {
		case StatusLapsed, StatusExpired:
			return true
		case StatusActive:
			return !r.Grant.StartNoted
		}
		return false
	})
}
