package jit

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

// in brings a new world to a place where Ann's request shows the status, and
// returns its id.
func in(t *testing.T, s Status) (*world, string) {
	w := newWorld(t)
	if s == None {
		return w, "req_none"
	}
	a := ask()
	if s == StatusScheduled {
		a.Start = noon.Add(3 * time.Hour)
	}
	r := w.submit("ann", a)
	switch s {
	case StatusDenied:
		w.done(w.denial("bob", r.ID))
	case StatusCancelled:
		w.done(Event{Kind: Cancel, By: who("ann"), Request: r.ID})
	case StatusLapsed:
		w.now = r.PendingUntil
	case StatusVoid:
		u := w.user("ann")
		u.Enabled = false
		w.must(access.Put(u))
		u.Enabled = true
		w.must(access.Put(u))
	case StatusScheduled, StatusActive:
		w.approve("bob", r.ID)
	case StatusExpired:
		w.now = w.approve("bob", r.ID).Grant.Window.End
	case StatusEnded:
		w.approve("bob", r.ID)
		w.done(Event{Kind: Relinquish, By: who("ann"), Request: r.ID})
	}
	if s != StatusPending {
		w.n += 100
	}
	return w, r.ID
}

func TestRule_JIT_110_every_state_event_and_person_is_in_the_table_or_refused(t *testing.T) {
	parts := map[Who]access.UserID{RequesterPart: "ann", ApproverPart: "bob", AdministratorPart: "dan", AuditorPart: "olga", "stranger": "zoe"}
	for _, from := range append(Statuses(), None) {
		for _, kind := range []EventKind{Submit, Show, Approve, Deny, Withdraw, Cancel, Relinquish, Revoke} {
			for part, u := range parts {
				t.Run(string(from)+" "+string(kind)+" by "+string(part), func(t *testing.T) {
					w, id := in(t, from)
					if from != None {
						require.Equal(t, from, w.status(id))
					}
					e := Event{Kind: kind, By: who(u), Request: id, ID: w.id("new"), Comment: "because", Ask: ask()}
					if from == StatusPending && kind == Approve {
						out, err := Step(w.view(), Event{Kind: Show, By: who(u), Request: id}, w.now)
						if err == nil {
							require.NoError(t, w.commit(out.Changes, nil))
							e.Digest = out.Evidence.Digest
						}
					}
					if from == StatusPending && kind == Withdraw {
						w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
						w.approve("bob", id)
					}
					if kind == Submit && part == RequesterPart && from != None {
						e.Ask.Start = noon.Add(72 * time.Hour) // where the first does not stand in its way
					}
					var rows []Row
					at := from
					if kind == Submit {
						at = None
					}
					for _, r := range Rows() {
						if r.Event == kind && slices.Contains(r.From, at) && slices.Contains(r.Who, part) {
							rows = append(rows, r)
						}
					}
					var before Request
					if from != None {
						before = w.get(id)
					}
					out, refusal := w.do(e)
					if len(rows) == 0 {
						require.NotNil(t, refusal, "the table has no such row")
						require.Equal(t, expected(from, kind, part), refusal.Slug)
						if from != None {
							require.Equal(t, before, w.get(id))
						}
						return
					}
					require.Nil(t, refusal)
					i := slices.IndexFunc(rows, func(r Row) bool { return r.ID == out.Row })
					require.GreaterOrEqual(t, i, 0, "took row %s", out.Row)
					require.Contains(t, rows[i].To, out.Request.Status(w.now))
					for _, op := range rows[i].Audit {
						require.Contains(t, w.operations(), op)
					}
				})
			}
		}
	}
}

// expected is the refusal of what the table does not have (rows RQ18, GR15, and
// the order of Rule JIT-79).
func expected(from Status, kind EventKind, part Who) string {
	switch {
	case kind == Submit:
		if part == AuditorPart || part == AdministratorPart || part == ApproverPart || part == "stranger" {
			return map[Who]string{AuditorPart: NoPolicy, AdministratorPart: NoPolicy, ApproverPart: NotEligible, "stranger": NotEligible}[part]
		}
	case part == "stranger" || from == None:
		return NotFound // there is nothing, or nothing that they may see
	case kind == Relinquish || kind == Revoke:
		switch from {
		case StatusScheduled, StatusActive:
			return NotApprover
		case StatusExpired, StatusEnded:
			return GrantEnded
		}
		return NotFound // there is no grant
	case from != StatusPending:
		return NotPending
	case kind == Approve && part == RequesterPart:
		return SelfApproval
	case kind == Cancel:
		return NotAdministrator
	}
	return NotApprover
}

// TestRule_JIT_2 takes every row of the table once.
func TestRule_JIT_2_every_row_can_be_taken_and_writes_its_audit_events(t *testing.T) {
	two := func(w *world) { w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 }) }
	sweep := func(w *world) {
		out, _ := Sweep(w.view(), w.now, 10)
		require.NoError(t, w.commit(out.Changes, out.Events))
	}
	scheduled := func(w *world) Request {
		r := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Hour) }))
		return w.approve("bob", r.ID)
	}
	active := func(w *world) Request { return w.approve("bob", w.submit("ann", ask()).ID) }
	scenarios := map[string]func(*world) Request{
		"RQ1":    func(w *world) Request { return w.submit("ann", ask()) },
		"JIT-63": func(w *world) Request { r := w.submit("ann", ask()); w.show("bob", r.ID); return r },
		"RQ15": func(w *world) Request {
			r := w.submit("ann", ask())
			role := w.state.Roles["manager"]
			role.Privileges = role.Privileges[:1]
			w.must(access.Put(role))
			w.show("bob", r.ID)
			require.NotEqual(t, r.Digest, w.get(r.ID).Digest)
			return r
		},
		"RQ4": func(w *world) Request { two(w); return w.approve("bob", w.submit("ann", ask()).ID) },
		"RQ5": func(w *world) Request {
			w.policy(func(p *Policy) {
				p.Stages = append(p.Stages, Stage{Approvers: []Subject{{User: "zoe"}}, Quorum: 1})
			})
			return w.approve("bob", w.submit("ann", ask()).ID)
		},
		"RQ6": active,
		"JIT-43": func(w *world) Request {
			w.policy(func(p *Policy) { p.Late = Reject })
			r := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Hour) }))
			w.now = noon.Add(61 * time.Minute)
			return w.approve("bob", r.ID)
		},
		"JIT-35": func(w *world) Request {
			// Bob may decide both stages; Bea only the first. Once Bob has spent his
			// voice on the first, nobody is left for the second.
			w.policy(func(p *Policy) {
				p.Stages = append(p.Stages, Stage{Approvers: []Subject{{User: "bob"}}, Quorum: 1})
			})
			return w.approve("bob", w.submit("ann", ask()).ID)
		},
		"RQ7": func(w *world) Request { return w.done(w.denial("bob", w.submit("ann", ask()).ID)) },
		"RQ8": func(w *world) Request {
			w.policy(func(p *Policy) { p.DenyQuorum = 2 })
			return w.done(w.denial("bob", w.submit("ann", ask()).ID))
		},
		"JIT-35, denied": func(w *world) Request {
			w.policy(func(p *Policy) { p.DenyQuorum, p.Stages[0].Quorum = 2, 2 })
			return w.done(w.denial("bob", w.submit("ann", ask()).ID))
		},
		"RQ9": func(w *world) Request {
			two(w)
			r := w.approve("bob", w.submit("ann", ask()).ID)
			return w.done(Event{Kind: Withdraw, By: who("bob"), Request: r.ID})
		},
		"RQ10": func(w *world) Request {
			return w.done(Event{Kind: Cancel, By: who("ann"), Request: w.submit("ann", ask()).ID})
		},
		"JIT-30": func(w *world) Request { return w.done(w.denial("ann", w.submit("ann", ask()).ID)) },
		"RQ11": func(w *world) Request {
			r := w.submit("ann", ask())
			w.now = r.PendingUntil
			sweep(w)
			return w.get(r.ID)
		},
		"RQ12": func(w *world) Request {
			r := w.submit("ann", ask())
			w.must(access.Remove(w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]))
			return w.get(r.ID)
		},
		"RQ13": func(w *world) Request {
			r := w.submit("ann", ask())
			w.policy(func(p *Policy) { p.MaxDuration = Duration(2 * time.Hour) })
			return w.get(r.ID)
		},
		"RQ14": func(w *world) Request {
			r := w.submit("ann", ask())
			w.policy(func(p *Policy) { p.MaxDuration = Duration(time.Hour) })
			return w.get(r.ID)
		},
		"GR4": func(w *world) Request {
			r := scheduled(w)
			w.now = r.Grant.Window.Start
			sweep(w)
			return w.get(r.ID)
		},
		"GR5": func(w *world) Request {
			r := active(w)
			w.now = r.Grant.Window.End
			sweep(w)
			return w.get(r.ID)
		},
		"GR7": func(w *world) Request {
			return w.done(Event{Kind: Relinquish, By: who("ann"), Request: active(w).ID})
		},
		"GR8": func(w *world) Request {
			return w.done(Event{Kind: Revoke, By: who("bob"), Request: scheduled(w).ID, Comment: "the freeze came earlier"})
		},
		"GR9": func(w *world) Request {
			r := active(w)
			u := w.user("ann")
			u.Enabled = false
			w.must(access.Put(u))
			return w.get(r.ID)
		},
		"GR10": func(w *world) Request {
			r := active(w)
			w.must(access.Remove(w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]))
			return w.get(r.ID)
		},
		"GR11": func(w *world) Request {
			r := active(w)
			w.must(access.Remove(w.state.Roles["manager"]))
			return w.get(r.ID)
		},
		"GR12": func(w *world) Request {
			r := active(w)
			role := w.state.Roles["manager"]
			role.Privileges = role.Privileges[:1]
			w.must(access.Put(role))
			return w.get(r.ID)
		},
		"GR13": func(w *world) Request {
			r := active(w)
			p, _ := w.view().judge(w.now).policy("managers")
			w.must(access.Remove(p))
			return w.get(r.ID)
		},
	}
	for _, row := range Rows() {
		t.Run(row.ID, func(t *testing.T) {
			scenario, ok := scenarios[row.ID]
			require.True(t, ok, "the table has a row that no test takes")
			w := newWorld(t)
			r := scenario(w)
			require.Contains(t, row.To, r.Status(w.now))
			n := len(w.events)
			require.GreaterOrEqual(t, n, len(row.Audit))
			require.Equal(t, row.Audit, w.operations()[n-len(row.Audit):])
			require.Equal(t, "jit_request/"+r.ID, w.events[n-1].Object)
		})
	}
}

func TestTheDocumentedTableIsTheOneInForce(t *testing.T) {
	const file, head, tail = "../docs/jit.md", "| Row | State |", "\n\n## What is refused"
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	doc := string(b)
	from, to := strings.Index(doc, head), strings.Index(doc, tail)
	require.Positive(t, from)
	require.Greater(t, to, from)
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(doc[:from]+strings.TrimSpace(Table())+doc[to:]), 0o644))
		return
	}
	require.Equal(t, strings.TrimSpace(Table()), doc[from:to], "run the test with UPDATE=1")
}
