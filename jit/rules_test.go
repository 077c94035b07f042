package jit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

const hour = Duration(time.Hour)

func TestRule_JIT_1_a_grant_is_a_row_with_a_window(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Hour) }))
	r = w.approve("bob", r.ID)
	a := w.state.Assignments[GrantID(r.ID)]
	require.Equal(t, access.Window{Start: noon.Add(time.Hour), End: noon.Add(3 * time.Hour)}, a.Window)
	require.Equal(t, r.ID, a.Request)
	require.Equal(t, access.ByJIT, a.ManagedBy)
	require.Equal(t, StatusScheduled, r.Status(noon))
}

func TestRule_JIT_24_a_window_is_open_at_its_start_and_closed_at_its_end(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Hour) })).ID)
	start, end := r.Grant.Window.Start, r.Grant.Window.End
	for _, c := range []struct {
		at     time.Time
		open   bool
		status Status
	}{
		{start.Add(-time.Microsecond), false, StatusScheduled},
		{start, true, StatusActive},
		{start.Add(time.Microsecond), true, StatusActive},
		{end.Add(-time.Microsecond), true, StatusActive},
		{end, false, StatusExpired},
		{end.Add(time.Microsecond), false, StatusExpired},
	} {
		require.Equal(t, c.open, w.may("ann", c.at).Allowed, "%s", c.at)
		require.Equal(t, c.status, r.Status(c.at), "%s", c.at)
	}
}

func TestRule_JIT_24_adjacent_grants_leave_no_gap_and_the_end_of_one_leaves_the_other(t *testing.T) {
	for _, first := range []bool{true, false} {
		w := newWorld(t)
		one := w.approve("bob", w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Hour) })).ID)
		two := w.approve("bob", w.submit("ann", ask(func(a *Ask) { a.Start = one.Grant.Window.End })).ID)
		seam := one.Grant.Window.End
		for _, at := range []time.Time{seam.Add(-time.Microsecond), seam, seam.Add(time.Microsecond)} {
			require.True(t, w.may("ann", at).Allowed)
		}
		require.Equal(t, two.Grant.Window.End, w.may("ann", seam).ValidUntil)
		if first {
			w.now = seam
			out, _ := Sweep(w.view(), w.now, 10)
			require.NoError(t, w.commit(out.Changes, out.Events))
		} else {
			w.done(Event{Kind: Revoke, By: who("bob"), Request: two.ID, Comment: "enough"})
			require.True(t, w.may("ann", seam.Add(-time.Microsecond)).Allowed)
		}
		require.Equal(t, first, w.may("ann", seam).Allowed)
	}
}

func TestRule_JIT_5_a_directory_that_is_old_refuses_and_takes_nothing_away(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask()).ID)
	pending := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(24 * time.Hour); a.Duration = hour }))
	e := w.approval("bob", pending.ID)
	w.ages["ad"] = 2*time.Hour + 1
	f := w.refused(DirectoryStale, e)
	require.Equal(t, 503, f.Status)
	require.Equal(t, "ad", f.Members["source"])
	w.refused(DirectoryStale, Event{Kind: Submit, By: who("ann"), ID: "req_x", Ask: ask(func(a *Ask) { a.Start = noon.Add(48 * time.Hour) })})
	require.True(t, w.may("ann", w.now).Allowed)
	require.Equal(t, StatusActive, w.status(r.ID))
	require.Equal(t, StatusPending, w.status(pending.ID))
	w.ages["ad"] = 2 * time.Hour
	w.done(e)
	delete(w.ages, "ad")
	w.refused(DirectoryStale, Event{Kind: Submit, By: who("ann"), ID: "req_y", Ask: ask(func(a *Ask) { a.Start = noon.Add(48 * time.Hour) })})
}

func TestRule_JIT_5_who_is_named_directly_does_not_rest_on_a_directory_group(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) {
		p.Eligible = append(p.Eligible, Subject{User: "ann"})
		p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "bob"})
	})
	w.ages["ad"] = 24 * time.Hour
	require.Equal(t, StatusActive, w.approve("bob", w.submit("ann", ask()).ID).Status(w.now))
}

func TestRule_JIT_7_who_stands_outside_a_gate_cannot_ask(t *testing.T) {
	for name, c := range map[string]struct {
		slug, gate string
		change     func(*world) access.Object
	}{
		"a disabled user": {SubjectDisabled, "user_disabled", func(w *world) access.Object {
			u := w.user("ann")
			u.Enabled = false
			return u
		}},
		"a user of a disabled unit": {SubjectGated, "business_unit_disabled", func(w *world) access.Object {
			b := w.state.BusinessUnits["europe"]
			b.Disabled = true
			return b
		}},
		"a user without a licence": {SubjectGated, "no_licence", func(w *world) access.Object {
			e := w.state.Environment
			e.RequireLicence = true
			u := w.user("ann")
			u.Licensed = false
			w.must(access.Put(u))
			return e
		}},
		"a user outside the environment's group": {SubjectGated, "not_in_environment_group", func(w *world) access.Object {
			e := w.state.Environment
			e.SecurityGroup = &access.GroupRef{Source: "ad", Group: "g"}
			u := w.user("ann")
			u.Admitted = false
			w.must(access.Put(u))
			return e
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(access.Put(c.change(w)))
			f := w.refused(c.slug, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask()})
			require.Equal(t, c.gate, f.Members["gate"])
			require.Equal(t, c.gate, string(w.may("ann", w.now).Reason), "the engine names the same gate")
		})
	}
}

func TestRule_JIT_8_the_nearest_policy_answers(t *testing.T) {
	w := newWorld(t)
	more := func(id string, scope Scope) {
		p := basePolicy()
		p.ID, p.Scope = id, scope
		require.Empty(t, p.Check(w.state))
		w.must(access.Put(p))
	}
	answer := func() string {
		p, _ := w.view().judge(w.now).answers("manager", "sales")
		return p.ID
	}
	more("whole", Scope{BusinessUnit: "root", Subtree: true})
	require.Equal(t, "managers", answer())
	more("near", Scope{BusinessUnit: "sales", Subtree: true})
	require.Equal(t, "near", answer())
	more("exact", Scope{BusinessUnit: "sales"})
	require.Equal(t, "exact", answer())
	p, _ := w.view().judge(w.now).policy("exact")
	p.Disabled, p.Version = true, 2
	w.must(access.Put(p))
	w.refused(NoPolicy, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask()})

	rival := basePolicy()
	rival.ID = "rival"
	faults := rival.Check(w.state)
	require.Len(t, faults, 1)
	require.Equal(t, "managers", faults[0].Overlaps)
}

func TestRule_JIT_8_a_narrower_policy_that_comes_later_takes_the_request_over(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	p := basePolicy()
	p.ID, p.Scope, p.Stages = "exact", Scope{BusinessUnit: "sales"}, []Stage{{Approvers: []Subject{{User: "zoe"}}, Quorum: 1}}
	e := w.approval("bob", r.ID)
	w.must(access.Put(p))
	require.Equal(t, "exact", w.get(r.ID).Policy)
	w.refused(NotFound, e)
	require.Equal(t, StatusActive, w.approve("zoe", r.ID).Status(w.now))
}

func TestRule_BU_8_a_unit_that_the_person_cannot_have_is_refused(t *testing.T) {
	w := newWorld(t)
	f := w.refused(NotEligible, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask(func(a *Ask) { a.BusinessUnit = "europe" })})
	require.Equal(t, "BU-8", f.Rule)
	require.Contains(t, f.Detail, "sales")
	e := w.state.Environment
	e.Modernized = true
	w.must(access.Put(e))
	r := w.submit("ann", ask(func(a *Ask) { a.BusinessUnit = "europe" }))
	require.Equal(t, access.BusinessUnitID("europe"), w.approve("bob", r.ID).BusinessUnit)
}

func TestRule_JIT_9_a_policy_is_written_as_a_new_version(t *testing.T) {
	w := newWorld(t)
	p := basePolicy()
	p.ID, p.Scope = "asia", Scope{BusinessUnit: "asia"}
	dan := who("dan")
	dan.GivesAll = true
	out, refusal := w.do(Event{Kind: PutPolicy, By: dan, Policy: p})
	require.Nil(t, refusal)
	require.Equal(t, 1, out.Policy.Version)
	require.Equal(t, "dan", out.Policy.Author)
	require.Equal(t, access.ByAPI, out.Policy.ManagedBy)

	out, _ = w.do(Event{Kind: PutPolicy, By: dan, Policy: p})
	require.Empty(t, out.Changes, "the same again is no new version")
	p.MaxDuration = hour
	p.DefaultDuration = hour
	out, _ = w.do(Event{Kind: PutPolicy, By: dan, Policy: p})
	require.Equal(t, 2, out.Policy.Version)

	p.Late, p.Stages = "never", nil
	f := w.refused(PolicyInvalid, Event{Kind: PutPolicy, By: dan, Policy: p})
	require.Len(t, f.Members["faults"], 2, "all faults at once")
	require.Equal(t, []string{"jit.policy.put", "jit.policy.put", "jit.refused"}, w.operations())
}

func TestRule_ACC_5_nobody_opens_a_role_that_they_do_not_hold_themselves(t *testing.T) {
	w := newWorld(t)
	p := basePolicy()
	p.ID, p.Scope = "asia", Scope{BusinessUnit: "asia"}
	e := Event{Kind: PutPolicy, By: who("dan"), Policy: p}
	hold := func(unit access.BusinessUnitID) {
		u := w.user("dan")
		u.BusinessUnit = unit
		w.must(access.Put(u))
		w.must(access.Put(access.Assignment{Environment: env, ID: "a-dan", Role: "manager", Principal: u.ID.Principal(), BusinessUnit: unit, ManagedBy: access.ByFile}))
	}
	require.Equal(t, 403, w.refused(ElevationPrevented, e).Status)
	hold("europe")
	w.refused(ElevationPrevented, e)
	hold("asia")
	_, refusal := w.do(e)
	require.Nil(t, refusal)
	dan := w.user("dan")
	dan.Enabled = false
	w.must(access.Put(dan))
	e.Policy.ID, e.Policy.Scope.Subtree = "asia-below", true
	w.refused(ElevationPrevented, e)
	dan.Enabled = true
	w.must(access.Put(dan))
	e.Policy.Scope, e.Policy.ID = Scope{BusinessUnit: "root", Subtree: true}, "wide"
	hold("root")
	w.refused(ElevationPrevented, e) // Write at depth business unit reaches root alone
	admin := e.By
	admin.User = "sam"
	e.By = admin
	_, refusal = w.do(e)
	require.Nil(t, refusal, "a System Administrator holds everything")
}

func TestRule_JIT_12_only_for_oneself_or_another_account_of_oneself(t *testing.T) {
	w := newWorld(t)
	w.refused(NotEligible, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask(func(a *Ask) { a.Beneficiary = "cleo" })})
	r := w.submit("ann2", ask(func(a *Ask) { a.Beneficiary = "ann" }))
	require.Equal(t, access.UserID("ann"), r.Beneficiary)
	w.approve("bob", r.ID)
	require.True(t, w.may("ann", w.now).Allowed)
	require.False(t, w.may("ann2", w.now).Allowed)

	w.done(Event{Kind: Relinquish, By: who("ann2"), Request: r.ID})
	r = w.submit("ann2", ask(func(a *Ask) { a.Beneficiary = "ann" }))
	u := w.user("ann2")
	u.Enabled = false
	w.must(access.Put(u))
	require.Equal(t, StatusVoid, w.status(r.ID), "nobody is left who asks")
}

func TestRule_JIT_16_persons_are_compared_not_accounts(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "ann2"}) })
	r := w.submit("ann", ask())
	f := w.refused(SelfApproval, w.approval("ann2", r.ID))
	require.Equal(t, 403, f.Status)
	require.Equal(t, "JIT-30", f.Members["rule"])
}

func TestRule_JIT_16_an_account_whose_person_is_unknown_asks_and_does_not_decide(t *testing.T) {
	w := newWorld(t)
	for _, id := range []access.UserID{"ann", "bob"} {
		u := w.user(id)
		u.Person = ""
		w.must(access.Put(u))
	}
	r := w.submit("ann", ask())
	w.refused(PersonUnknown, w.approval("bob", r.ID))
	w.persons = false
	w.done(Event{Kind: Approve, By: who("bob"), Request: r.ID, ID: "dec_x", Digest: w.show("bob", r.ID).Digest})
}

func TestRule_JIT_18_the_manager_decides_and_the_fallback_where_there_is_none(t *testing.T) {
	managed := func(p *Policy) {
		p.Stages[0] = Stage{Approvers: []Subject{{Manager: true}}, Fallback: []Subject{{User: "bea"}}, Quorum: 1}
	}
	w := newWorld(t)
	w.policy(managed)
	r := w.submit("ann", ask())
	require.Len(t, Queue(w.view(), who("cleo"), w.now), 1)
	require.Empty(t, Queue(w.view(), who("bea"), w.now))
	w.approve("cleo", r.ID)

	for name, change := range map[string]func(*world) access.Object{
		"no manager":      func(w *world) access.Object { u := w.user("ann"); u.Manager = ""; return u },
		"an unknown one":  func(w *world) access.Object { u := w.user("ann"); u.Manager = "gone"; return u },
		"a disabled one":  func(w *world) access.Object { u := w.user("cleo"); u.Enabled = false; return u },
		"the same person": func(w *world) access.Object { u := w.user("ann"); u.Manager = "ann2"; return u },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.policy(managed)
			w.must(access.Put(change(w)))
			r := w.submit("ann", ask())
			require.Empty(t, Queue(w.view(), who("cleo"), w.now))
			require.Equal(t, StatusActive, w.approve("bea", r.ID).Status(w.now))
		})
	}
}

func TestRule_JIT_19_a_role_approves_by_standing_assignment_only(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Stages[0].Approvers = []Subject{{Role: "decider"}} })
	give := func(id access.AssignmentID, p access.Principal, window access.Window, request string, unit access.BusinessUnitID) {
		a := access.Assignment{Environment: env, ID: id, Role: "decider", Principal: p, BusinessUnit: unit, Window: window, Request: request, ManagedBy: access.ByFile}
		if request != "" {
			a.ManagedBy = access.ByJIT
		}
		w.must(access.Put(a))
	}
	give("d-zoe", access.UserID("zoe").Principal(), access.Window{Start: noon, End: noon.Add(8 * time.Hour)}, "req_zoe", "europe")
	w.refused(NoApprover, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask()})
	give("d-bob", access.UserID("bob").Principal(), access.Window{}, "", "europe")
	give("d-team", access.TeamID("deciders").Principal(), access.Window{End: noon.Add(time.Hour)}, "", "root")
	r := w.submit("ann", ask())
	require.Empty(t, Queue(w.view(), who("zoe"), w.now))
	require.Len(t, Queue(w.view(), who("bob"), w.now), 1)
	require.Len(t, Queue(w.view(), who("bea"), w.now), 1, "by her team's role")
	w.now = noon.Add(time.Hour)
	require.Empty(t, Queue(w.view(), who("bea"), w.now), "the team's assignment has ended")
	w.approve("bob", r.ID)
}

func TestRule_JIT_27_durations_are_counted_from_the_real_start(t *testing.T) {
	for in, want := range map[string]time.Duration{"PT2H": 2 * time.Hour, "2h": 2 * time.Hour, "P1DT1M": 24*time.Hour + time.Minute, "90s": 90 * time.Second} {
		d, err := ParseDuration(in)
		require.NoError(t, err)
		require.Equal(t, Duration(want), d)
		b, err := json.Marshal(d)
		require.NoError(t, err)
		var back Duration
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, d, back)
	}
	for _, in := range []string{"", "P1M", "P1Y", "1.5s", "-1h", "0s", "PT", "P", "PT1H1H", "PT1M1H", "5", "P99999999999D", "PT99999999999999999999H"} {
		_, err := ParseDuration(in)
		require.Error(t, err, in)
	}
	w := newWorld(t)
	r := w.submit("ann", ask())
	w.now = noon.Add(90 * time.Minute)
	require.Equal(t, access.Window{Start: w.now, End: w.now.Add(2 * time.Hour)}, w.approve("bob", r.ID).Grant.Window)
}

func TestRule_JIT_28_who_sees_a_request(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	for u, sees := range map[access.UserID]bool{"ann": true, "ann2": true, "bob": true, "bea": true, "dan": true, "olga": true, "zoe": false, "cleo": false, "": false} {
		require.Equal(t, sees, CanSee(w.view(), who(u), r, w.now), "%s", u)
		if !sees {
			w.refused(NotFound, Event{Kind: Cancel, By: who(u), Request: r.ID})
		}
	}
	w.refused(NotFound, Event{Kind: Show, By: who("zoe"), Request: "req_none"})
	r = w.approve("bob", r.ID)
	w.must(access.Remove(w.state.Memberships[access.MembershipKey{Team: "deciders", User: "bob"}]))
	require.True(t, CanSee(w.view(), who("bob"), r, w.now), "who was selected and decided still sees it")
}

func TestRule_JIT_30_no_own_request_and_a_denial_of_it_is_a_cancel(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) {
		p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "ann"}, Subject{Team: "closers"})
	})
	r := w.submit("ann", ask())
	w.refused(SelfApproval, w.approval("ann", r.ID))
	require.Empty(t, Queue(w.view(), who("ann"), w.now))
	r = w.done(w.denial("ann", r.ID))
	require.Equal(t, Cancelled, r.State)
}

func TestRule_JIT_32_an_author_who_may_decide_is_a_warning(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Author = "bob" })
	r := w.submit("ann", ask())
	require.Contains(t, strings.Join(w.show("bea", r.ID).Warnings, "\n"), "policy_author: bob")
	w.policy(func(p *Policy) { p.Author = "dan" })
	require.Empty(t, w.show("bea", r.ID).Warnings)
}

func TestRule_JIT_34_one_person_has_one_voice(t *testing.T) {
	w := newWorld(t)
	twin := w.user("zoe")
	twin.Person = "p-bob"
	w.must(access.Put(twin))
	w.policy(func(p *Policy) {
		p.Stages[0].Quorum = 2
		p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "zoe"})
		p.Stages = append(p.Stages, Stage{Approvers: []Subject{{User: "bob"}, {User: "cleo"}}, Quorum: 1})
	})
	r := w.submit("ann", ask())
	w.approve("bob", r.ID)
	f := w.refused(AlreadyDecided, w.approval("zoe", r.ID))
	require.Equal(t, access.UserID("bob"), f.Members["by"])
	require.Equal(t, StatusPending, w.approve("bea", r.ID).Status(w.now))
	w.refused(AlreadyDecided, w.approval("bob", r.ID)) // he counts for the first stage
	require.Equal(t, StatusActive, w.approve("cleo", r.ID).Status(w.now))
}

func TestRule_JIT_35_a_quorum_that_cannot_be_reached_is_refused(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) {
		p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "ann"})
		p.Stages[0].Quorum = 3
	})
	f := w.refused(NoApprover, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask()})
	require.Equal(t, 1, f.Members["stage"])
	require.Equal(t, map[string]int{"asks": 1}, f.Members["excluded"])

	t.Run("one person cannot fill two stages", func(t *testing.T) {
		w := newWorld(t)
		w.policy(func(p *Policy) {
			p.Stages = []Stage{{Approvers: []Subject{{User: "bob"}, {User: "bea"}}, Quorum: 1}, {Approvers: []Subject{{User: "bob"}}, Quorum: 1}}
		})
		w.submit("ann", ask()) // Bea and then Bob
		w.policy(func(p *Policy) { p.Stages[0].Approvers = p.Stages[0].Approvers[:1] })
		w.refused(NoApprover, Event{Kind: Submit, By: who("ann"), ID: "req_9", Ask: ask(func(a *Ask) { a.Start = noon.Add(72 * time.Hour) })})
	})
	t.Run("a pending request becomes void when the last approver goes", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		w.must(access.Remove(w.state.Memberships[access.MembershipKey{Team: "deciders", User: "bob"}]))
		require.Equal(t, StatusPending, w.status(r.ID))
		bea := w.user("bea")
		bea.Enabled = false
		w.must(access.Put(bea))
		require.Equal(t, StatusVoid, w.status(r.ID))
		require.Equal(t, "unreachable", w.get(r.ID).Reason)
	})
}

func TestRule_JIT_36_an_approval_counts_only_while_its_author_has_the_authority(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) {
		p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "zoe"})
		p.Stages[0].Quorum = 2
	})
	r := w.submit("ann", ask())
	w.approve("bob", r.ID)
	w.must(access.Remove(w.state.Memberships[access.MembershipKey{Team: "deciders", User: "bob"}]))
	r = w.approve("bea", r.ID)
	require.Equal(t, StatusPending, r.Status(w.now), "Bob's approval no longer counts")
	require.True(t, r.Decisions[0].Lapsed)
	require.Contains(t, w.operations(), "jit.request.decision_lapsed")
	require.Equal(t, StatusActive, w.approve("zoe", r.ID).Status(w.now))
	zoe := w.user("zoe")
	zoe.Enabled = false
	w.must(access.Put(zoe))
	require.True(t, w.may("ann", w.now).Allowed, "after the grant is made it ends nothing")
}

func TestRule_JIT_36_a_disabled_or_conflicted_approver_has_no_voice_left(t *testing.T) {
	for name, change := range map[string]func(*access.User){
		"disabled":        func(u *access.User) { u.Enabled = false },
		"the same person": func(u *access.User) { u.Person = "p-ann" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.policy(func(p *Policy) {
				p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "zoe"})
				p.Stages[0].Quorum = 2
			})
			r := w.submit("ann", ask())
			w.approve("bob", r.ID)
			bob := w.user("bob")
			change(&bob)
			w.must(access.Put(bob))
			require.Equal(t, 0, Stages(w.view(), w.get(r.ID), w.now)[0].Approved)
			require.Equal(t, StatusPending, w.approve("bea", r.ID).Status(w.now))
			require.Equal(t, StatusActive, w.approve("zoe", r.ID).Status(w.now))
		})
	}
}

func TestRule_JIT_5_an_earlier_approval_must_rest_on_a_fresh_directory_too(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) {
		p.Eligible = []Subject{{User: "ann"}}
		p.Stages[0].Approvers = append(p.Stages[0].Approvers, Subject{User: "zoe"})
		p.Stages[0].Quorum = 2
	})
	r := w.submit("ann", ask())
	w.approve("bob", r.ID) // of the directory's group
	e := w.approval("zoe", r.ID)
	w.ages["ad"] = 24 * time.Hour
	w.refused(DirectoryStale, e)
	w.ages["ad"] = time.Hour
	require.Equal(t, StatusActive, w.done(e).Status(w.now))
}

func TestRule_JIT_37_what_is_shown_comes_from_the_clock(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	e := w.approval("bob", r.ID)
	for _, c := range []struct {
		by     time.Duration
		status Status
	}{{-time.Microsecond, StatusPending}, {0, StatusLapsed}, {time.Microsecond, StatusLapsed}} {
		require.Equal(t, c.status, r.Status(r.PendingUntil.Add(c.by)))
	}
	w.now = r.PendingUntil
	require.Equal(t, Pending, w.get(r.ID).State, "nothing has swept it")
	f := w.refused(NotPending, e)
	require.Equal(t, StatusLapsed, f.Members["state"])
	require.Equal(t, r.PendingUntil, f.Members["at"])
	w.now = r.PendingUntil.Add(-time.Microsecond)
	require.Equal(t, StatusActive, w.done(e).Status(w.now))
}

func TestRule_JIT_38_a_request_is_pending_no_longer_than_it_could_be_of_use(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Hour) }))
	require.Equal(t, noon.Add(3*time.Hour), r.PendingUntil)
	r = w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(40 * time.Hour) }))
	require.Equal(t, noon.Add(24*time.Hour), r.PendingUntil)
}

func TestRule_JIT_40_one_request_or_grant_for_a_person_and_target_at_a_time(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	f := w.refused(Overlap, Event{Kind: Submit, By: who("ann"), ID: "req_a", Ask: ask()})
	require.Equal(t, r.ID, f.Members["request"])
	w.refused(Overlap, Event{Kind: Submit, By: who("ann2"), ID: "req_b", Ask: ask()}) // the same person
	later := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(2 * time.Hour) }))
	r = w.approve("bob", r.ID)
	f = w.refused(Overlap, Event{Kind: Submit, By: who("ann"), ID: "req_c", Ask: ask(func(a *Ask) { a.Start = noon.Add(time.Hour); a.Duration = hour })})
	require.Equal(t, r.ID, f.Members["grant"])
	w.approve("bob", later.ID)

	t.Run("two pending requests do not keep each other from being granted", func(t *testing.T) {
		w := newWorld(t)
		soon := w.submit("ann", ask())
		fixed := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(2 * time.Hour) }))
		w.now = noon.Add(time.Hour)
		w.approve("bob", soon.ID)
		w.refused(Overlap, w.approval("bob", fixed.ID))
	})
	t.Run("it is judged again at the grant", func(t *testing.T) {
		w := newWorld(t)
		fixed := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(2 * time.Hour) }))
		soon := w.submit("ann", ask())
		w.approve("bob", fixed.ID)
		w.now = noon.Add(time.Hour)
		w.refused(Overlap, w.approval("bob", soon.ID))
		require.Equal(t, StatusPending, w.status(soon.ID))
		require.Empty(t, w.get(soon.ID).Decisions, "the refused approval is not kept")
	})
}

func TestRule_JIT_41_at_most_20_pending_requests(t *testing.T) {
	w := newWorld(t)
	for i := range maxPending {
		w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Duration(i) * 3 * time.Hour) }))
	}
	f := w.refused(ConcurrencyLimit, Event{Kind: Submit, By: who("ann"), ID: "req_z", Ask: ask(func(a *Ask) { a.Start = noon.Add(900 * time.Hour) })})
	require.Equal(t, maxPending, f.Members["open"])
}

func TestRule_JIT_42_a_request_that_adds_nothing_is_refused(t *testing.T) {
	w := newWorld(t)
	hold := func(window access.Window) {
		w.must(access.Put(access.Assignment{
			Environment: env, ID: "a-more", Role: "manager", Principal: access.UserID("ann").Principal(),
			BusinessUnit: "sales", Window: window, ManagedBy: access.ByFile,
		}))
	}
	hold(access.Window{})
	w.refused(AddsNothing, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask()})
	hold(access.Window{End: noon.Add(time.Hour)})
	r := w.submit("ann", ask())
	require.Contains(t, strings.Join(w.show("bob", r.ID).Warnings, "\n"), "part_of_the_time")
	w.approve("bob", r.ID)
	require.True(t, w.may("ann", noon.Add(time.Hour)).Allowed)
	require.True(t, w.may("ann", noon.Add(2*time.Hour-time.Microsecond)).Allowed)
	require.False(t, w.may("ann", noon.Add(2*time.Hour)).Allowed)
}

func TestRule_JIT_43_a_fixed_start_that_has_passed(t *testing.T) {
	start := noon.Add(time.Hour)
	for late, want := range map[Late]access.Window{
		Truncate: {Start: start.Add(30 * time.Minute), End: start.Add(2 * time.Hour)},
		Shift:    {Start: start.Add(30 * time.Minute), End: start.Add(150 * time.Minute)},
	} {
		w := newWorld(t)
		w.policy(func(p *Policy) { p.Late = late })
		r := w.submit("ann", ask(func(a *Ask) { a.Start = start }))
		w.now = start.Add(30 * time.Minute)
		require.Equal(t, want, w.approve("bob", r.ID).Grant.Window, late)
	}
	for _, c := range []struct {
		by    time.Duration
		state State
	}{{-time.Microsecond, Approved}, {0, Approved}, {time.Microsecond, Denied}} {
		w := newWorld(t)
		w.policy(func(p *Policy) { p.Late = Reject })
		r := w.submit("ann", ask(func(a *Ask) { a.Start = start }))
		w.now = start.Add(c.by)
		r = w.approve("bob", r.ID)
		require.Equal(t, c.state, r.State, "%s", c.by)
		if c.state == Denied {
			require.Equal(t, "too-late", r.Reason)
			require.Nil(t, r.Grant)
		}
	}
	w := newWorld(t)
	w.refused(StartPassed, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask(func(a *Ask) { a.Start = noon.Add(-time.Microsecond) })})
}

func TestRule_JIT_44_what_was_ended_does_not_come_back(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask()).ID)
	u := w.user("ann")
	u.Enabled = false
	w.must(access.Put(u))
	u.Enabled = true
	w.must(access.Put(u))
	require.Equal(t, StatusEnded, w.status(r.ID))
	require.False(t, w.may("ann", w.now).Allowed)
	require.Equal(t, "subject", w.get(r.ID).Grant.Ended.Reason)

	r = w.approve("bob", w.submit("ann", ask()).ID)
	m := w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]
	w.must(access.Remove(m))
	w.must(access.Put(m))
	require.Equal(t, "eligibility", w.get(r.ID).Grant.Ended.Reason)
	require.False(t, w.may("ann", w.now).Allowed)
}

func TestRule_JIT_46_several_sources_are_a_union(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask()).ID)
	w.must(access.Put(access.Assignment{Environment: env, ID: "a-more", Role: "manager", Principal: access.UserID("ann").Principal(), BusinessUnit: "sales", ManagedBy: access.ByFile}))
	w.done(Event{Kind: Relinquish, By: who("ann"), Request: r.ID})
	require.True(t, w.may("ann", w.now).Allowed, "the standing role is untouched")
	require.Contains(t, w.state.Assignments, access.AssignmentID("a-more"))
}

func TestRule_JIT_49_the_loser_of_a_race_gets_the_answer_of_the_table(t *testing.T) {
	t.Run("approve and cancel", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e, cancel := w.approval("bob", r.ID), Event{Kind: Cancel, By: who("ann"), Request: r.ID}
		x := w.fork()
		w.done(e)
		f := w.refused(NotPending, cancel)
		require.Contains(t, f.Hint, "ambit jit end")
		x.done(cancel)
		require.Equal(t, "ann", x.refused(NotPending, e).Members["by"])
	})
	t.Run("two approvers, one is enough", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		bob, bea := w.approval("bob", r.ID), w.approval("bea", r.ID)
		w.done(bob)
		w.refused(NotPending, bea)
		require.Len(t, w.get(r.ID).Decisions, 1)
		require.Len(t, w.state.Assignments, 5)
	})
	t.Run("two approvers, both are needed", func(t *testing.T) {
		w := newWorld(t)
		w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
		r := w.submit("ann", ask())
		bob, bea := w.approval("bob", r.ID), w.approval("bea", r.ID)
		require.Equal(t, StatusPending, w.done(bob).Status(w.now))
		require.Equal(t, StatusActive, w.done(bea).Status(w.now))
	})
	t.Run("approve and deny", func(t *testing.T) {
		w := newWorld(t)
		w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
		r := w.submit("ann", ask())
		w.done(w.approval("bob", r.ID))
		require.Equal(t, StatusDenied, w.done(w.denial("bea", r.ID)).Status(w.now))
	})
	t.Run("approve and a sync that removes the group", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		gone := access.Remove(w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}])
		x := w.fork()
		w.must(gone)
		w.refused(NotPending, e)
		x.done(e)
		require.True(t, x.may("ann", x.now).Allowed)
		x.must(gone)
		require.False(t, x.may("ann", x.now).Allowed)
		require.Equal(t, StatusEnded, x.status(r.ID))
	})
	t.Run("approve and a policy write", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		w.policy(func(p *Policy) { p.PendingTTL = hour })
		f := w.refused(ShownStale, e)
		require.Equal(t, e.Digest, f.Members["shown"])
		require.NotEqual(t, e.Digest, f.Members["current"])
		w.approve("bob", r.ID)
	})
	t.Run("approve and a role edit", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		role := w.state.Roles["manager"]
		role.Privileges = append(role.Privileges[:2:2], access.Privilege{Table: "team", Action: access.Read, Depth: access.Local})
		x := w.fork()
		w.must(access.Put(role))
		w.refused(ShownStale, e)
		x.done(e)
		x.must(access.Put(role))
		what, err := x.shot.What("ann", x.now)
		require.NoError(t, err)
		for _, h := range what.Held {
			require.NotEqual(t, access.TableID("team"), h.Table, "the bound holds")
		}
	})
}

func TestRule_JIT_60_the_digest_is_of_the_effect_and_the_same_for_every_reader(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	ev := w.show("bob", r.ID)
	require.Len(t, ev.Digest, 64)
	require.Equal(t, ev.Digest, r.Digest)
	w.now = noon.Add(time.Minute)
	require.Equal(t, ev.Digest, w.show("bea", r.ID).Digest, "reading it does not change it, nor does time")
	table := access.Table{Environment: env, ID: "contact", Name: "contact", ManagedBy: access.ByFile}
	w.must(access.Put(table))
	require.Equal(t, ev.Digest, w.show("bea", r.ID).Digest, "nor a commit that leaves the effect alone")
	doc, err := ev.Document()
	require.NoError(t, err)
	var again Evidence
	require.NoError(t, json.Unmarshal(doc, &again))
	require.NoError(t, again.seal())
	require.Equal(t, ev.Digest, again.Digest, "the canonical form survives reading")

	x := newWorld(t)
	x.policy(func(p *Policy) { p.Eligible = append(p.Eligible, Subject{User: "ann"}) })
	other := x.submit("ann", ask())
	require.Len(t, x.show("bea", other.ID).EligibleVia, 2)
	x.must(access.Remove(x.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]))
	require.Equal(t, other.Digest, x.show("bea", other.ID).Digest, "nor one way less of being eligible")

	b := access.BusinessUnit{Environment: env, ID: "branch", Name: "branch", Parent: "sales", ManagedBy: access.ByFile}
	w.must(access.Put(b))
	hold := access.Assignment{
		Environment: env, ID: "a-more", Role: "manager", Principal: access.UserID("ann").Principal(), BusinessUnit: "sales",
		Bound: nil, ManagedBy: access.ByFile, Window: access.Window{End: noon.Add(90 * time.Minute)},
	}
	w.must(access.Put(hold))
	require.NotEqual(t, ev.Digest, w.show("bea", r.ID).Digest, "the effect is another when Ann has part of it already, though no row of the role changed")
}

func TestRule_JIT_58_the_diff_is_what_the_engine_finds_weightiest_first(t *testing.T) {
	w := newWorld(t)
	ev := w.show("bob", w.submit("ann", ask()).ID)
	require.NotEmpty(t, ev.Gained)
	require.Equal(t, access.Write, ev.Gained[0].Action)
	require.Equal(t, access.BusinessUnitID("sales"), access.BusinessUnitID(ev.Gained[0].BusinessUnit.ID))
	require.False(t, ev.Escalating)
	require.False(t, ev.Privileged)
}

func TestRule_JIT_61_an_escalating_role_takes_two_persons(t *testing.T) {
	for _, role := range []access.RoleID{"giver", "sysadmin"} {
		w := newWorld(t)
		give := func(change func(*Policy)) {
			p := basePolicy()
			p.ID, p.Role = "giving", role
			if was, ok := w.view().judge(w.now).policy("giving"); ok {
				p.Version = was.Version + 1
			}
			change(&p)
			w.must(access.Put(p))
		}
		give(func(*Policy) {})
		e := Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask(func(a *Ask) { a.Role = role })}
		f := w.refused(NoApprover, e)
		require.Equal(t, "JIT-61", f.Rule)
		give(func(p *Policy) { p.OneApproverSuffices = true })
		x := w.fork()
		x.done(e)
		give(func(p *Policy) { p.Stages[0].Quorum = 2 })
		w.done(e)
		require.True(t, w.show("bob", "req_1").Escalating)
		w.approve("bob", "req_1")
		require.Equal(t, StatusActive, w.approve("bea", "req_1").Status(w.now))
	}
}

func TestRule_JIT_62_the_grant_is_bound_to_what_was_shown(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask()).ID)
	require.Equal(t, w.state.Roles["manager"].Privileges, w.state.Assignments[GrantID(r.ID)].Bound.Privileges)
	role := w.state.Roles["manager"]
	role.Privileges = []access.Privilege{
		{Table: "account", Action: access.Read, Depth: access.Deep},
		{Table: "account", Action: access.Write, Depth: access.Global},
		{Table: "account", Action: access.Delete, Depth: access.Global},
	}
	w.must(access.Put(role))
	require.Equal(t, "jit.grant.bound_changed", w.events[len(w.events)-1].Operation)
	check := func(a access.Action, unit access.BusinessUnitID) bool {
		d, err := w.shot.Check(engineQuestion(a, unit, w.now))
		require.NoError(t, err)
		return d.Allowed
	}
	require.True(t, check(access.Write, "sales"))
	require.False(t, check(access.Write, "asia"), "a deeper privilege is not in the grant")
	require.False(t, check(access.Delete, "sales"), "nor is a new one")
	role.Privileges = role.Privileges[:1]
	w.must(access.Put(role))
	require.False(t, check(access.Write, "sales"), "one that is taken from the role is gone at once")
	require.True(t, check(access.Read, "sales"))
}

func TestRule_JIT_63_an_approval_names_what_this_person_was_shown(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	e := Event{Kind: Approve, By: who("bob"), Request: r.ID, ID: "dec_1", Digest: r.Digest}
	w.refused(NotShown, e)
	w.show("bea", r.ID)
	w.refused(NotShown, e)
	e.Digest = ""
	w.refused(NotShown, e)
	rev := w.rev
	e.Digest = w.show("bob", r.ID).Digest
	require.Equal(t, rev+1, w.rev)
	w.show("bob", r.ID)
	require.Equal(t, rev+1, w.rev, "the same reading again writes nothing")
	w.done(e)
	w.done(Event{Kind: Revoke, By: who("bea"), Request: r.ID, Comment: "enough"})
	r = w.submit("ann", ask())
	w.done(w.denial("bob", r.ID)) // a denial needs no digest
}

func TestRule_JIT_4_an_approval_of_less_does_not_carry_more(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
	r := w.submit("ann", ask())
	w.approve("bob", r.ID)
	role := w.state.Roles["manager"]
	role.Privileges = append(role.Privileges[:2:2], access.Privilege{Table: "team", Action: access.Read, Depth: access.Local})
	w.must(access.Put(role))
	r = w.approve("bea", r.ID)
	require.Equal(t, StatusPending, r.Status(w.now), "Bob approved another effect")
	require.True(t, r.Decisions[0].Lapsed)
	require.Equal(t, StatusActive, w.approve("bob", r.ID).Status(w.now))
}

func TestRule_JIT_67_texts_are_kept_as_given_and_bounded(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"", "   too short   "[:9], strings.Repeat("é", maxText+1), "bad \xff utf-8 text"} {
		w.refused(JustificationRequired, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask(func(a *Ask) { a.Justification = text })})
	}
	text := "<b>%s</b>\n" + strings.Repeat("é", maxText-10)
	r := w.submit("ann", ask(func(a *Ask) { a.Justification = text }))
	require.Equal(t, text, r.Justification)
	e := w.denial("bob", r.ID)
	for _, comment := range []string{"", " \n", strings.Repeat("x", maxText+1), "\xff"} {
		e.Comment = comment
		w.refused(CommentRequired, e)
	}
}

func TestRule_JIT_68_a_changeset_ends_what_it_takes_the_ground_from(t *testing.T) {
	remove := func(o access.Object) []access.Change { return []access.Change{access.Remove(o)} }
	for name, c := range map[string]struct {
		changes         func(*world) []access.Change
		pending, active string // the reasons
	}{
		"the user is disabled": {func(w *world) []access.Change { u := w.user("ann"); u.Enabled = false; return put(u) }, "subject", "subject"},
		"the user is gone":     {func(w *world) []access.Change { return remove(w.user("ann")) }, "subject", "subject"},
		"the user loses the licence that is asked for": {func(w *world) []access.Change {
			u, e := w.user("ann"), w.state.Environment
			u.Licensed, e.RequireLicence = false, true
			return append(put(u), access.Put(e))
		}, "subject", "subject"},
		"the environment gets a group without the user": {func(w *world) []access.Change {
			u, e := w.user("ann"), w.state.Environment
			u.Admitted, e.SecurityGroup = false, &access.GroupRef{Source: "ad", Group: "g"}
			return append(put(u), access.Put(e))
		}, "subject", "subject"},
		"a unit above is disabled": {func(w *world) []access.Change {
			b := w.state.BusinessUnits["europe"]
			b.Disabled = true
			return put(b)
		}, "subject", "subject"},
		"the user moves to another unit": {func(w *world) []access.Change { u := w.user("ann"); u.BusinessUnit = "asia"; return put(u) }, "target", "subject"},
		"the user leaves the group": {func(w *world) []access.Change {
			return remove(w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}])
		}, "eligibility", "eligibility"},
		"the team goes": {func(w *world) []access.Change { return remove(w.state.Teams["closers"]) }, "eligibility", "eligibility"},
		"the role goes": {func(w *world) []access.Change { return remove(w.state.Roles["manager"]) }, "target", "target"},
		"the policy goes": {func(w *world) []access.Change {
			return remove(w.state.Others[access.OtherKey{Kind: access.KindPolicy, Key: "managers"}])
		}, "policy", "policy"},
		"the policy is disabled": {func(w *world) []access.Change {
			p := basePolicy()
			p.Disabled, p.Version = true, 2
			return put(p)
		}, "policy", ""},
		"the policy gets shorter": {func(w *world) []access.Change {
			p := basePolicy()
			p.MaxDuration, p.DefaultDuration, p.Version = hour, hour, 2
			return put(p)
		}, "policy-changed", ""},
		"the policy asks for more approvers than there are": {func(w *world) []access.Change {
			p := basePolicy()
			p.Stages[0].Quorum, p.Version = 3, 2
			return put(p)
		}, "unreachable", ""},
		"all approvers go": {func(w *world) []access.Change { return remove(w.state.Teams["deciders"]) }, "unreachable", ""},
		"something else changes": {func(w *world) []access.Change {
			u, b := w.user("zoe"), w.state.BusinessUnits["asia"]
			u.Enabled, b.Name = false, "Asia"
			return append(put(u), access.Put(b))
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.submit("ann", ask())
			x := w.fork()
			w.must(c.changes(w)...)
			require.Equal(t, c.pending, w.get(r.ID).Reason)
			require.Equal(t, c.pending != "", w.status(r.ID) == StatusVoid)

			x.approve("bob", r.ID)
			rev := x.rev
			x.must(c.changes(x)...)
			require.Equal(t, rev+1, x.rev, "in the same revision")
			got := x.get(r.ID)
			if c.active == "" {
				require.Nil(t, got.Grant.Ended)
				require.True(t, x.may("ann", x.now).Allowed)
				return
			}
			require.Equal(t, c.active, got.Grant.Ended.Reason)
			require.NotContains(t, x.state.Assignments, GrantID(r.ID))
			last := x.events[len(x.events)-1]
			require.Equal(t, "jit.grant.ended", last.Operation)
			require.Contains(t, string(last.Detail), "cause")
		})
	}
}

func TestRule_JIT_68_losing_the_licence_or_the_group_alone_ends_it(t *testing.T) {
	for _, change := range []func(*access.User){func(u *access.User) { u.Licensed = false }, func(u *access.User) { u.Admitted = false }} {
		e := access.Environment{ID: env, Name: "Contoso", RequireLicence: true, SecurityGroup: &access.GroupRef{Source: "ad", Group: "g"}, ManagedBy: access.ByFile}
		w := newWorld(t, access.Put(e))
		r := w.approve("bob", w.submit("ann", ask()).ID)
		u := w.user("ann")
		change(&u)
		w.must(access.Put(u))
		require.Equal(t, "subject", w.get(r.ID).Grant.Ended.Reason)
	}
}

func TestRule_JIT_68_a_manager_who_goes_leaves_the_request_without_approver(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Stages[0].Approvers = []Subject{{Manager: true}} })
	r := w.submit("ann", ask())
	u := w.user("ann")
	u.Manager = ""
	w.must(access.Put(u))
	require.Equal(t, "unreachable", w.get(r.ID).Reason)
}

func TestRule_RQ13_a_new_policy_version_sets_approvals_of_the_old_one_aside(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
	r := w.submit("ann", ask())
	w.approve("bob", r.ID)
	w.policy(func(p *Policy) { p.PendingTTL = hour })
	got := w.get(r.ID)
	require.True(t, got.Decisions[0].Lapsed)
	require.Equal(t, 3, got.PolicyVersion)
	require.Equal(t, 0, Stages(w.view(), got, w.now)[0].Approved)
	require.Equal(t, []string{"jit.request.decision_lapsed", "jit.request.repinned"}, w.operations()[len(w.events)-2:])
	require.Equal(t, StatusPending, w.approve("bea", r.ID).Status(w.now))
	require.Equal(t, StatusActive, w.approve("bob", r.ID).Status(w.now))
}

func TestRule_JIT_70_the_sweeper_writes_true_instants_and_once(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Duration(i*3+1) * time.Hour) })).ID)
	}
	for _, id := range ids[1:3] {
		w.approve("bob", id)
	}
	w.now = noon.Add(100 * time.Hour)
	rounds, written := 0, 0
	for more := true; more; rounds++ {
		var out Outcome
		out, more = Sweep(w.view(), w.now, 2)
		require.NoError(t, w.commit(out.Changes, out.Events))
		written += len(out.Events)
	}
	require.Equal(t, 3, rounds)
	require.Equal(t, 3+2*2, written, "three lapsed; two began and ended")
	out, more := Sweep(w.view(), w.now, 100)
	require.Empty(t, out.Changes)
	require.Empty(t, out.Events)
	require.False(t, more)
	require.Equal(t, noon.Add(3*time.Hour), w.get(ids[0]).ClosedAt)
	require.Equal(t, noon.Add(6*time.Hour), w.get(ids[1]).Grant.Ended.At)
	require.Contains(t, string(w.events[len(w.events)-1].Detail), `"noted_at":"2026-03-06T16:00:00Z"`)
	require.Empty(t, w.view().judge(w.now).requests(func(Request) bool { return true }))
}

func TestRule_JIT_79_state_comes_before_duty_and_duty_before_the_digest(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	blank := func(u access.UserID) Event { return Event{Kind: Approve, By: who(u), Request: r.ID, ID: "dec_1"} }
	w.refused(NotFound, blank("zoe"))
	w.refused(SelfApproval, blank("ann"))
	w.refused(NotApprover, blank("dan"))
	w.refused(NotShown, blank("bob"))
	w.done(Event{Kind: Cancel, By: who("dan"), Request: r.ID, Comment: "wrong environment"})
	w.refused(NotFound, blank("zoe"))
	w.refused(NotPending, blank("ann"))
	w.refused(NotPending, blank("bob"))
}

func TestRule_GR13_a_policy_with_open_grants_is_not_deleted_by_chance(t *testing.T) {
	w := newWorld(t)
	p := basePolicy()
	p.ManagedBy, p.Version = access.ByAPI, 2
	w.must(access.Put(p))
	r := w.approve("bob", w.submit("ann", ask()).ID)
	e := Event{Kind: DeletePolicy, By: who("dan"), Policy: Policy{ID: "managers"}}
	require.Equal(t, []string{r.ID}, w.refused(OpenGrants, e).Members["open"])
	e.RevokeOpen = true
	_, refusal := w.do(e)
	require.Nil(t, refusal)
	require.Equal(t, "policy", w.get(r.ID).Grant.Ended.Reason)
	require.False(t, w.may("ann", w.now).Allowed)
}

func TestRule_JIT_E_4_an_elevation_has_an_end_and_a_request(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask()).ID)
	a := w.state.Assignments[GrantID(r.ID)]
	require.False(t, a.Window.End.IsZero())
	require.NotEmpty(t, a.Request)
	w.must(access.Remove(a)) // whoever takes the assignment away ends the grant
	require.Equal(t, StatusEnded, w.status(r.ID))
}

func TestOffersListWhatAPersonCanAskFor(t *testing.T) {
	w := newWorld(t)
	offers := Eligible(w.view(), who("ann"), w.now)
	require.Len(t, offers, 1)
	require.Equal(t, access.BusinessUnitID("sales"), offers[0].BusinessUnit, "with classic units one's own")
	require.Equal(t, []Subject{{Team: "closers"}}, offers[0].Via)
	require.Empty(t, offers[0].Open)
	r := w.submit("ann", ask())
	require.Equal(t, r.ID, Eligible(w.view(), who("ann"), w.now)[0].Open)
	require.Empty(t, Eligible(w.view(), who("zoe"), w.now))
	require.Empty(t, Eligible(w.view(), who("nobody"), w.now))
	w.ages["ad"] = 24 * time.Hour
	require.Equal(t, DirectoryStale, Eligible(w.view(), who("ann"), w.now)[0].Problem)

	near := basePolicy()
	near.ID, near.Scope = "near", Scope{BusinessUnit: "sales"}
	w.must(access.Put(near))
	offers = Eligible(w.view(), who("ann"), w.now)
	require.Len(t, offers, 1)
	require.Equal(t, "near", offers[0].Policy, "the policy that answers")
}

func TestAPreviewTellsEveryProblemAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	good, err := Preview(w.view(), who("ann"), ask(), w.now)
	require.NoError(t, err)
	require.True(t, good.Admissible)
	require.Equal(t, noon.Add(24*time.Hour), good.PendingUntil)
	require.Equal(t, 2, good.Stages[0].Approvers)

	bad, err := Preview(w.view(), who("ann"), ask(func(a *Ask) { a.Duration, a.Justification, a.Start = 99*hour, "", noon.Add(-time.Hour) }), w.now)
	require.NoError(t, err)
	var slugs []string
	for _, p := range bad.Problems {
		slugs = append(slugs, p.Slug)
	}
	require.Equal(t, []string{BeyondMax, JustificationRequired, StartPassed}, slugs)
	none, err := Preview(w.view(), who("nobody"), ask(func(a *Ask) { a.Role = "no such role" }), w.now)
	require.NoError(t, err)
	require.False(t, none.Admissible)
	require.Nil(t, none.Evidence)

	w.submit("ann", ask(func(a *Ask) { a.Digest = good.Evidence.Digest }))
	w.refused(ShownStale, Event{Kind: Submit, By: who("ann"), ID: "req_2", Ask: ask(func(a *Ask) { a.Digest = good.Evidence.Digest; a.Start = noon.Add(50 * time.Hour) })})
}

func TestAQueueHoldsWhatLapsesFirstFirst(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 3 {
		r := w.submit("ann", ask(func(a *Ask) { a.Start = noon.Add(time.Duration(10-3*i) * time.Hour) }))
		want = append([]string{r.ID}, want...)
	}
	var got []string
	for _, r := range Queue(w.view(), who("bob"), w.now) {
		got = append(got, r.ID)
	}
	require.Equal(t, want, got)
	require.Empty(t, Queue(w.view(), who("dan"), w.now), "an Elevation Administrator is no approver")

	w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
	w.approve("bob", want[0])
	require.Len(t, Queue(w.view(), who("bob"), w.now), 2, "what he has decided waits for others")
	require.Len(t, Queue(w.view(), who("bea"), w.now), 3)
}

func ExampleTable() {
	fmt.Println(strings.SplitN(Table(), "\n", 2)[0])
	// Output: | Row | State | Event | Who | Guard | Next | Written | Audit events |
}

func TestRule_BU_6_a_default_team_is_its_units_users(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) {
		p.Eligible = []Subject{{Team: access.BusinessUnitID("sales").DefaultTeam()}}
		p.Stages[0] = Stage{Approvers: []Subject{{Team: access.BusinessUnitID("europe").DefaultTeam()}}, Quorum: 3}
	})
	r := w.submit("cleo", ask())
	require.Equal(t, 3, Stages(w.view(), r, w.now)[0].Approvers)
	for _, u := range []access.UserID{"bob", "bea", "zoe"} {
		r = w.approve(u, r.ID)
	}
	require.Equal(t, StatusActive, r.Status(w.now))
	w.refused(NotFound, Event{Kind: Revoke, By: who("sam"), Request: r.ID, Comment: "of another unit"})

	r = w.submit("ann", ask())
	zoe := w.user("zoe")
	zoe.BusinessUnit = "asia"
	w.must(access.Put(zoe))
	require.Equal(t, "unreachable", w.get(r.ID).Reason)
	cleo := w.user("cleo")
	cleo.BusinessUnit = "asia"
	w.must(access.Put(cleo))
	require.Equal(t, "eligibility", w.get("req_001").Grant.Ended.Reason)
}

func TestRule_JIT_10_users_and_teams_are_eligible_and_JIT_11_every_way_is_told(t *testing.T) {
	w := newWorld(t)
	require.NotEmpty(t, Policy{Eligible: []Subject{{Role: "decider"}, {Manager: true}}}.Check(w.state))
	w.policy(func(p *Policy) { p.Eligible = append(p.Eligible, Subject{User: "ann"}, Subject{Team: "deciders"}) })
	require.Equal(t, []Subject{{Team: "closers"}, {User: "ann"}}, Eligible(w.view(), who("ann"), w.now)[0].Via)
	r := w.submit("ann", ask())
	w.must(access.Remove(w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]))
	require.Equal(t, StatusPending, w.status(r.ID), "one of two ways is left")
	w.policy(func(p *Policy) { p.Eligible = p.Eligible[2:] })
	require.Equal(t, StatusVoid, w.status(r.ID))
}

func TestRule_JIT_13_a_decision_is_withdrawn_and_never_changed(t *testing.T) {
	w := newWorld(t)
	w.policy(func(p *Policy) { p.Stages[0].Quorum = 2 })
	r := w.approve("bob", w.submit("ann", ask()).ID)
	first := r.Decisions[0]
	w.refused(NotApprover, Event{Kind: Withdraw, By: who("bea"), Request: r.ID})
	w.refused(NotApprover, Event{Kind: Withdraw, By: who("bob"), Request: r.ID, Decision: "dec_other"})
	w.now = noon.Add(time.Minute)
	r = w.done(Event{Kind: Withdraw, By: who("bob"), Request: r.ID, Decision: first.ID})
	first.Withdrawn = w.now
	require.Equal(t, []Decision{first}, r.Decisions)
	require.Equal(t, 0, Stages(w.view(), r, w.now)[0].Approved)
	w.approve("bea", r.ID)
	r = w.approve("bob", r.ID)
	require.Len(t, r.Decisions, 3, "deciding anew adds a decision")
	require.Equal(t, StatusActive, r.Status(w.now))
}

func TestRule_JIT_14_a_grant_has_at_most_one_end_before_its_window(t *testing.T) {
	w := newWorld(t)
	r := w.approve("bob", w.submit("ann", ask()).ID)
	w.now = noon.Add(time.Hour)
	r = w.done(Event{Kind: Revoke, By: who("bea"), Request: r.ID, Comment: "the books are closed"})
	require.Equal(t, &Ended{At: w.now, By: "bea", Reason: "revoked"}, r.Grant.Ended)
	require.Equal(t, noon.Add(2*time.Hour), r.Grant.Window.End, "the window stays as it was granted")
	require.False(t, w.may("ann", w.now).Allowed)
	w.now = noon.Add(3 * time.Hour)
	w.sweep()
	require.Equal(t, "revoked", w.get(r.ID).Grant.Ended.Reason)
}

func TestRule_JIT_39_an_event_says_who_why_and_on_what(t *testing.T) {
	w := newWorld(t)
	r := w.submit("ann", ask())
	submitted := w.events[0]
	require.Equal(t, "ann", submitted.Actor.ID)
	require.Equal(t, reason, submitted.Reason)
	require.Equal(t, env, submitted.Environment)
	w.refused(NotShown, Event{Kind: Approve, By: who("bob"), Request: r.ID, ID: "dec_1"})
	refusal := w.events[len(w.events)-1]
	require.Equal(t, "bob", refusal.Actor.ID)
	require.Equal(t, "jit_request/"+r.ID, refusal.Object)
	w.approve("bob", r.ID)
	var told struct{ Evidence Evidence }
	for _, e := range w.events {
		require.True(t, json.Valid(e.Detail))
		if e.Operation == "jit.request.decision" {
			require.NoError(t, json.Unmarshal(e.Detail, &told))
		}
	}
	digest := told.Evidence.Digest
	require.Equal(t, w.get(r.ID).Digest, digest)
	require.NoError(t, told.Evidence.seal())
	require.Equal(t, digest, told.Evidence.Digest, "the log holds what the approver was shown")
}
