package jit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
)

// Limits of one person's open requests and of people's texts (Rules JIT-41, JIT-67).
const (
	maxPending = 20
	maxText    = 2000 // characters
)

// step is one event under judgement.
type step struct {
	judge
	e   Event
	r   Request // as it becomes
	out Outcome
}

// Step judges an event of a person at an instant and returns what it makes, to
// be committed whole, or a *Refusal (with errors.As), which changes nothing: the
// Outcome then holds the audit event of the refusal. Any other error means that
// the event could not be judged, and must be taken as a refusal too.
//
// The order of judgement is fixed: what the caller may see, then the state of the
// request, then the caller's duty, then the policy, then the digest (Rule JIT-79).
func Step(v View, e Event, at time.Time) (Outcome, error) {
	s := &step{judge: v.judge(at), e: e}
	err := s.run()
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return Outcome{Events: []audit.Event{refused(v.State.Environment.ID, e, refusal)}}, refusal
	case err != nil:
		return Outcome{}, fmt.Errorf("judge %s of %s: %w", e.Kind, e.object(), err)
	}
	return s.out, nil
}

func (s *step) run() error {
	switch s.e.Kind {
	case Submit:
		return s.submit()
	case PutPolicy:
		return s.putPolicy()
	case DeletePolicy:
		return s.deletePolicy()
	case Show, Approve, Deny, Withdraw, Cancel, Relinquish, Revoke:
	default:
		return fmt.Errorf("no such event %q", s.e.Kind)
	}
	r, ok := s.known(s.e.Request)
	if !ok || !s.judge.canSee(s.e.By, r) {
		return refuse(NotFound, "JIT-28", "there is no request %s that you may see", s.e.Request)
	}
	s.r = clone(r)
	if err := s.inState(); err != nil {
		return err
	}
	switch s.e.Kind {
	case Show:
		return s.show()
	case Approve, Deny:
		return s.decide()
	case Withdraw:
		return s.withdraw()
	case Cancel:
		return s.cancel()
	}
	return s.end()
}

// known finds a request, open or closed.
func (s *step) known(id string) (Request, bool) {
	r, ok := s.request(id)
	if !ok && s.v.Closed != nil {
		r, ok = s.v.Closed(id)
	}
	return r, ok
}

// clone copies what a step may change, so that the state's own value stays.
func clone(r Request) Request {
	r.Decisions, r.Shown = slices.Clone(r.Decisions), slices.Clone(r.Shown)
	if r.Grant != nil {
		g := *r.Grant
		r.Grant = &g
	}
	return r
}

// inState refuses what no row takes in the status that the request shows (rows
// RQ18, GR15).
func (s *step) inState() error {
	status := s.r.Status(s.at)
	if takes(status, s.e.Kind) {
		return nil
	}
	if s.e.Kind == Relinquish || s.e.Kind == Revoke {
		if s.r.Grant == nil {
			return refuse(NotFound, "JIT-28", "request %s has no grant: it is %s", s.r.ID, status)
		}
		at, by := s.r.Grant.Window.End, ""
		if e := s.r.Grant.Ended; e != nil {
			at, by = e.At, e.By
		}
		return refuse(GrantEnded, "GR15", "the grant of %s ended at %s", s.r.ID, at.Format(time.RFC3339Nano)).
			with("state", status).with("at", at).with("by", by)
	}
	at, by := s.r.ClosedAt, s.r.ClosedBy
	if s.r.State == Pending {
		at = s.r.PendingUntil
	}
	f := refuse(NotPending, "RQ18", "request %s is not pending any more: it is %s since %s", s.r.ID, status, at.Format(time.RFC3339Nano)).
		with("state", status).with("at", at).with("by", by)
	if status == StatusScheduled || status == StatusActive {
		f.hint("there is a grant: end it with ambit jit end %s", s.r.ID)
	}
	return f
}

// take makes a transition of the table: it sets the new version of the request
// and writes the row's audit events. detail goes with the first of them.
func (s *step) take(id string, from Status, d map[string]any, changes ...access.Change) error {
	r := row(id, from, s.e.Kind, s.r.Status(s.at))
	s.out.Row = r.ID
	req := s.r
	s.out.Request = &req
	s.out.Changes = append(s.out.Changes, access.Put(req))
	s.out.Changes = append(s.out.Changes, changes...)
	s.out.Events = append(s.out.Events, events(r, s.r, s.e.By.Actor, s.text(), d)...)
	return nil
}

// text is the person's text that goes into the audit events as their reason.
func (s *step) text() string {
	if s.e.Kind == Submit {
		return s.r.Justification
	}
	return strings.TrimSpace(s.e.Comment)
}

// events writes the audit events of a row.
func events(row Row, r Request, actor audit.Actor, reason string, d map[string]any) []audit.Event {
	var out []audit.Event
	for i, op := range row.Audit {
		e := audit.Event{
			Actor: actor, Operation: op, Environment: r.Environment,
			Object: access.KindRequest.String() + "/" + r.ID, Result: audit.Done, Reason: reason,
		}
		facts := map[string]any{"state": r.State, "beneficiary": r.Beneficiary, "role": r.Role, "business_unit": r.BusinessUnit}
		if i == 0 {
			for k, v := range d {
				facts[k] = v
			}
		}
		if r.Grant != nil && strings.HasPrefix(op, "jit.grant.") {
			facts["window"] = r.Grant.Window
			if r.Grant.Ended != nil {
				facts["ended"] = r.Grant.Ended
			}
		}
		if r.State != Approved && r.Reason != "" {
			facts["reason"] = r.Reason
		}
		e.Detail = detail(facts)
		out = append(out, e)
	}
	return out
}

// draft makes the request that the caller asks for, as it would be submitted now.
// The policy is the one that answers for the target; false if none does.
func (j judge) draft(by Caller, id string, ask Ask) (Request, Policy, bool) {
	r := Request{
		Environment: j.state.Environment.ID, ID: id, State: Pending, Requester: by.User, Beneficiary: ask.Beneficiary,
		Role: ask.Role, BusinessUnit: ask.BusinessUnit, Duration: ask.Duration, Start: access.Instant(ask.Start),
		Justification: strings.TrimSpace(ask.Justification), Ticket: strings.TrimSpace(ask.Ticket), Submitted: j.at,
	}
	if r.Beneficiary == "" {
		r.Beneficiary = by.User
	}
	if u, ok := j.user(r.Beneficiary); ok && r.BusinessUnit == "" {
		r.BusinessUnit = u.BusinessUnit
	}
	p, ok := j.answers(r.Role, r.BusinessUnit)
	if !ok || ask.Policy != "" && ask.Policy != p.ID {
		return r, Policy{}, false
	}
	if r.Duration == 0 {
		r.Duration = p.DefaultDuration
	}
	r.Policy, r.PolicyVersion = p.ID, p.Version
	r.PendingUntil = j.at.Add(time.Duration(p.PendingTTL))
	if end := r.Start.Add(time.Duration(r.Duration)); !r.Start.IsZero() && end.Before(r.PendingUntil) {
		r.PendingUntil = end // Rule JIT-38
	}
	return r, p, true
}

func (s *step) submit() error {
	if s.e.ID == "" || s.e.ID != strings.TrimSpace(s.e.ID) {
		return errors.New("a submission needs an id for the request")
	}
	if _, ok := s.known(s.e.ID); ok {
		return refuse(Duplicate, "JIT-47", "there is a request %s already", s.e.ID).with("request", s.e.ID)
	}
	r, p, ok := s.draft(s.e.By, s.e.ID, s.e.Ask)
	s.r = r
	found := s.problems(p, ok, r, false)
	if len(found) > 0 {
		return found[0]
	}
	preview := r
	preview.ID = ""
	ev, err := s.evidence(p, preview)
	if err != nil {
		return err
	}
	if found := s.effectProblems(p, r, ev); len(found) > 0 {
		return found[0]
	}
	if d := s.e.Ask.Digest; d != "" && d != ev.Digest {
		return stale(d, ev.Digest)
	}
	if ev, err = s.evidence(p, r); err != nil {
		return err
	}
	s.r.Digest = ev.Digest
	return s.take("RQ1", None, map[string]any{
		"requester": r.Requester, "policy": p.ID, "policy_version": p.Version, "duration": r.Duration, "start": r.Start,
		"ticket": r.Ticket, "pending_until": r.PendingUntil, "digest": ev.Digest,
	})
}

func stale(shown, current string) *Refusal {
	return refuse(ShownStale, "JIT-63", "what you were shown is not what the grant would give now").
		with("shown", shown).with("current", current).hint("look at the difference again, then decide on its digest")
}

// problems finds everything that keeps the request from being made or, with
// again, from being granted, in the order of Rule JIT-79, as far as that needs no
// access diff.
func (j judge) problems(p Policy, answered bool, r Request, again bool) []*Refusal {
	var out []*Refusal
	add := func(f *Refusal) {
		if f != nil {
			out = append(out, f)
		}
	}
	add(j.overlap(p, r, again))
	if !again {
		add(j.crowded(r))
	}
	if j.person(r.Requester) != j.person(r.Beneficiary) {
		add(refuse(NotEligible, "JIT-12", "you can ask for yourself only, not for %s", r.Beneficiary).
			hint("%s has to ask", r.Beneficiary))
		return out
	}
	if !answered {
		f := refuse(NoPolicy, "JIT-8", "no policy lets anybody ask for role %s in business unit %s", r.Role, r.BusinessUnit)
		add(f.hint("ambit jit eligible lists what you can ask for"))
		return out
	}
	for _, f := range j.admissible(p, r) {
		add(f)
	}
	if !again && !r.Start.IsZero() && r.Start.Before(j.at) {
		add(refuse(StartPassed, "JIT-43", "the start %s has passed", r.Start.Format(time.RFC3339Nano)).
			hint("leave the start out to begin as soon as it is approved"))
	}
	return out
}

// window is the grant's window if it were made now (Rules JIT-27, JIT-43). It is
// empty if the policy rejects a start that has passed.
func (j judge) window(p Policy, r Request) access.Window {
	d := time.Duration(r.Duration)
	switch {
	case r.Start.IsZero():
		return access.Window{Start: j.at, End: j.at.Add(d)}
	case !j.at.After(r.Start):
		return access.Window{Start: r.Start, End: r.Start.Add(d)}
	case p.Late == Shift:
		return access.Window{Start: j.at, End: j.at.Add(d)}
	case p.Late == Reject:
		return access.Window{Start: j.at, End: j.at}
	}
	return access.Window{Start: j.at, End: r.Start.Add(d)}
}

// overlap finds another open request or grant of the same person for the same
// target whose window would overlap (Rule JIT-40). At the grant only grants
// count, or two requests could keep each other from ever being approved.
func (j judge) overlap(p Policy, r Request, again bool) *Refusal {
	w, who := j.window(p, r), j.person(r.Beneficiary)
	rivals := j.requests(func(o Request) bool {
		return o.ID != r.ID && o.Role == r.Role && o.BusinessUnit == r.BusinessUnit && j.person(o.Beneficiary) == who
	})
	for _, o := range rivals {
		what, taken := "request", access.Window{}
		switch o.Status(j.at) {
		case StatusPending:
			if again {
				continue
			}
			op, _ := j.policy(o.Policy)
			taken = j.window(op, o)
		case StatusScheduled, StatusActive:
			what, taken = "grant", o.Grant.Window
		default:
			continue
		}
		if !taken.Overlaps(w) {
			continue
		}
		f := refuse(Overlap, "JIT-40", "%s already covers part of that time for the same role and unit", o.ID).with(what, o.ID).
			with("window", taken)
		if what == "grant" {
			return f.hint("ask for a start at %s or later", taken.End.Format(time.RFC3339Nano))
		}
		return f.hint("cancel %s first, or wait for its decision", o.ID)
	}
	return nil
}

// crowded refuses the requester's 21st pending request (Rule JIT-41).
func (j judge) crowded(r Request) *Refusal {
	who := j.person(r.Requester)
	n := len(j.requests(func(o Request) bool { return o.Status(j.at) == StatusPending && j.person(o.Requester) == who }))
	if n < maxPending {
		return nil
	}
	return refuse(ConcurrencyLimit, "JIT-41", "you have %d pending requests; the limit is %d", n, maxPending).with("open", n).
		hint("cancel some, or wait for their decisions")
}

// admissible finds what keeps the request out under the policy, other than time
// and effect: these are the guards that hold at submission, at the grant and
// under a new policy version (rows RQ1, RQ6, RQ13).
func (j judge) admissible(p Policy, r Request) []*Refusal {
	var out []*Refusal
	add := func(f *Refusal) { out = append(out, f) }
	if p.Disabled {
		add(refuse(NoPolicy, "JIT-8", "policy %s is disabled", p.ID))
	}
	if f := j.barred(r); f != nil {
		add(f)
	}
	if f := j.ineligible(p, r); f != nil {
		add(f)
	}
	if r.Duration > p.MaxDuration {
		add(refuse(BeyondMax, "JIT-8", "%s is longer than policy %s allows", r.Duration, p.ID).
			with("limit", p.MaxDuration).with("largest", p.MaxDuration).hint("ask for at most %s", p.MaxDuration))
	}
	if r.Duration < p.MinDuration {
		add(refuse(BelowMin, "JIT-8", "%s is shorter than policy %s allows", r.Duration, p.ID).
			with("limit", p.MinDuration).hint("ask for at least %s", p.MinDuration))
	}
	if n := utf8.RuneCountInString(r.Justification); n < p.JustificationMin || n > maxText || !utf8.ValidString(r.Justification) {
		add(refuse(JustificationRequired, "JIT-67", "a justification of %d to %d characters is needed; this has %d", p.JustificationMin, maxText, n))
	}
	switch {
	case p.Ticket != "" && r.Ticket == "":
		add(refuse(TicketRequired, "JIT-67", "policy %s asks for a ticket", p.ID).with("pattern", p.Ticket))
	case utf8.RuneCountInString(r.Ticket) > maxText || !utf8.ValidString(r.Ticket):
		add(refuse(TicketPattern, "JIT-67", "a ticket has at most %d characters", maxText))
	case p.Ticket != "":
		if re, err := ticketPattern(p.Ticket); err != nil || !re.MatchString(r.Ticket) {
			add(refuse(TicketPattern, "JIT-67", "ticket %q does not match %s", r.Ticket, p.Ticket).with("pattern", p.Ticket))
		}
	}
	return out
}

// barred refuses a beneficiary for whom the grant would give nothing (Rule
// JIT-7), and a unit that an assignment of theirs cannot have (Rules BU-8, ROLE-2).
func (j judge) barred(r Request) *Refusal {
	u, ok := j.user(r.Beneficiary)
	if !ok {
		return refuse(NotEligible, "JIT-11", "%s is not a user of environment %s", r.Beneficiary, r.Environment)
	}
	switch gate := j.gate(u); gate {
	case "":
	case "user_disabled":
		return refuse(SubjectDisabled, "JIT-7", "%s is disabled", u.ID).with("gate", gate)
	default:
		return refuse(SubjectGated, "JIT-7", "%s does not get into environment %s (%s), so the grant would give nothing", u.ID, r.Environment, gate).with("gate", gate)
	}
	role, ok := j.role(r.Role)
	if !ok || !j.within(r.BusinessUnit, role.BusinessUnit) {
		return refuse(NoPolicy, "ROLE-2", "role %s does not exist in business unit %s", r.Role, r.BusinessUnit)
	}
	if !j.environment().Modernized && u.BusinessUnit != r.BusinessUnit {
		return refuse(NotEligible, "BU-8", "environment %s has classic business units: %s can have roles in their own unit %s only, not in %s",
			r.Environment, u.ID, u.BusinessUnit, r.BusinessUnit).hint("ask for business unit %s", u.BusinessUnit)
	}
	return nil
}

// ineligible refuses who is not named by the policy (Rule JIT-11), or named only
// by a directory that is too old to be believed (Rule JIT-5).
func (j judge) ineligible(p Policy, r Request) *Refusal {
	u, ok := j.user(r.Beneficiary)
	if !ok {
		return nil // barred says so
	}
	ways := j.vias(u, p.Eligible, "", p.MaxDirectoryAge)
	if len(ways) == 0 {
		return refuse(NotEligible, "JIT-11", "%s is not eligible for role %s in business unit %s", u.ID, r.Role, r.BusinessUnit).
			hint("ambit jit eligible lists what you can ask for")
	}
	if ok, source := believed(ways); !ok {
		return j.staleDirectory(source, p)
	}
	return nil
}

func (j judge) staleDirectory(source string, p Policy) *Refusal {
	f := refuse(DirectoryStale, "JIT-5", "directory source %s was last read completely longer than %s ago, so its groups cannot be believed", source, p.MaxDirectoryAge).
		with("source", source).hint("ask whoever runs Ambit to look at the source; try again after its next complete read")
	if j.v.DirectoryAge != nil {
		if age, ok := j.v.DirectoryAge(source); ok {
			f.with("age", age.Round(time.Second).String())
		}
	}
	f.RetryAfter = time.Minute
	return f
}

// effectProblems finds what the access diff and the approvers keep the request
// from (Rules JIT-35, JIT-42, JIT-61).
func (j judge) effectProblems(p Policy, r Request, ev Evidence) []*Refusal {
	var out []*Refusal
	if ev.addsNothing() {
		out = append(out, refuse(AddsNothing, "JIT-42", "%s has all of this already for the whole time", r.Beneficiary))
	}
	if f := onePerson(p, ev); f != nil {
		out = append(out, f)
	}
	if ok, stage, excluded := j.reachable(p, r); !ok {
		out = append(out, refuse(NoApprover, "JIT-35", "stage %d of policy %s has too few approvers left for this request", stage+1, p.ID).
			with("stage", stage+1).with("excluded", excluded).hint("ask an Elevation Administrator to name more approvers"))
	}
	return out
}

// onePerson refuses an escalating target that one person could approve (Rule JIT-61).
func onePerson(p Policy, ev Evidence) *Refusal {
	n := 0
	for _, st := range p.Stages {
		n += st.Quorum
	}
	if !ev.Escalating || n >= 2 || p.OneApproverSuffices {
		return nil
	}
	return refuse(NoApprover, "JIT-61", "role %s lets its holder give privileges, which takes two approvers; policy %s asks for one", ev.Role, p.ID).
		with("stage", 1).with("excluded", map[string]int{}).
		hint("ask an Elevation Administrator to raise the quorum, or to say one_approver_suffices in the policy")
}

// refresh brings the request to the policy that answers now and to the evidence
// as it is now, so that approvals of another effect stand no more (Rule JIT-4).
// What it changes is committed only with what the event makes.
func (s *step) refresh() (p Policy, ev Evidence, changed bool, err error) {
	p, ok := s.answers(s.r.Role, s.r.BusinessUnit)
	if !ok {
		return p, ev, false, refuse(NoPolicy, "JIT-8", "no policy answers for role %s in business unit %s any more", s.r.Role, s.r.BusinessUnit)
	}
	if ev, err = s.evidence(p, s.r); err != nil {
		return p, ev, false, err
	}
	changed = ev.Digest != s.r.Digest
	s.r.Policy, s.r.PolicyVersion, s.r.Digest = p.ID, p.Version, ev.Digest
	return p, ev, changed, nil
}

// setAside marks the approvals that do not stand any more.
func (s *step) setAside(p Policy) {
	manager := s.manager(s.r)
	for i, d := range s.r.Decisions {
		if d.Withdrawn.IsZero() && !d.Lapsed && !s.stands(d, p, s.r, manager) {
			s.r.Decisions[i].Lapsed = true
			s.out.Events = append(s.out.Events, lapsedDecision(s.r, d, s.e.By.Actor))
		}
	}
}

func lapsedDecision(r Request, d Decision, actor audit.Actor) audit.Event {
	return audit.Event{
		Actor: actor, Operation: "jit.request.decision_lapsed", Environment: r.Environment,
		Object: access.KindRequest.String() + "/" + r.ID, Result: audit.Done,
		Detail: detail(map[string]any{"decision": d.ID, "by": d.By, "stage": d.Stage + 1}),
	}
}

func (s *step) show() error {
	p, ev, changed, err := s.refresh()
	if err != nil {
		return err
	}
	s.out.Evidence = &ev
	known := s.e.By.User == "" || slices.ContainsFunc(s.r.Shown, func(w Shown) bool {
		return w.Digest == ev.Digest && w.To == s.e.By.User
	})
	if known && !changed {
		req := s.r
		s.out.Row, s.out.Request = "JIT-63", &req
		return nil
	}
	if !known {
		s.r.Shown = append(s.r.Shown, Shown{To: s.e.By.User, Digest: ev.Digest, At: s.at})
	}
	id := "JIT-63"
	if changed {
		id = "RQ15"
		s.setAside(p)
	}
	return s.take(id, StatusPending, map[string]any{"digest": ev.Digest})
}

func (s *step) decide() error {
	caller, ok := s.user(s.e.By.User)
	if !ok {
		return refuse(NotApprover, "JIT-28", "you are not a user of environment %s", s.r.Environment)
	}
	p, ev, _, err := s.refresh()
	if err != nil {
		return err
	}
	_, stage, voices := s.progress(p, s.r)
	if d, ok := voices[s.person(caller.ID)]; ok {
		return refuse(AlreadyDecided, "JIT-34", "you have decided this request already, as %s in stage %d", d.By, d.Stage+1).
			with("state", s.r.Status(s.at)).with("at", d.At).with("by", d.By).hint("withdraw that decision first to decide anew")
	}
	if s.e.Kind == Deny && s.asks(caller.ID, s.r) {
		return s.close("JIT-30", Cancelled, "denied by its own requester", nil)
	}
	if f := s.conflict(caller, s.r); f != nil {
		return f
	}
	if stage == len(p.Stages) {
		// The quorum was reached and something else kept the grant from being
		// made: the last stage stays open for one more voice.
		stage--
	}
	manager := s.manager(s.r)
	ok, source := s.selects(p, stage, caller, manager)
	switch {
	case !ok && source != "":
		return s.staleDirectory(source, p)
	case !ok:
		return refuse(NotApprover, "JIT-28", "you are not an approver of stage %d, which is the open one", stage+1).with("stage", stage+1)
	}
	comment := strings.TrimSpace(s.e.Comment)
	if s.e.Kind == Deny && comment == "" || utf8.RuneCountInString(comment) > maxText || !utf8.ValidString(comment) {
		return refuse(CommentRequired, "JIT-67", "a denial needs a comment of 1 to %d characters", maxText)
	}
	d := Decision{ID: s.e.ID, By: caller.ID, Stage: stage, Approve: s.e.Kind == Approve, Comment: comment, At: s.at}
	if d.ID == "" {
		return errors.New("a decision needs an id")
	}
	if slices.ContainsFunc(s.r.Decisions, func(o Decision) bool { return o.ID == d.ID }) {
		return refuse(Duplicate, "JIT-47", "there is a decision %s already", d.ID).with("request", s.r.ID)
	}
	told := map[string]any{"decision": d.ID, "stage": stage + 1, "approve": d.Approve}
	if !d.Approve {
		s.r.Decisions = append(s.r.Decisions, d)
		denials := 0
		for _, o := range s.r.Decisions {
			if !o.Approve && o.Withdrawn.IsZero() {
				denials++
			}
		}
		if denials >= p.DenyQuorum {
			return s.close("RQ7", Denied, "denied", told)
		}
		if ok, _, _ := s.reachable(p, s.r); !ok {
			return s.close("JIT-35, denied", Void, "unreachable", told)
		}
		return s.take("RQ8", StatusPending, told)
	}
	if err := s.shown(ev); err != nil {
		return err
	}
	d.Digest, told["digest"] = ev.Digest, ev.Digest
	s.setAside(p)
	s.r.Decisions = append(s.r.Decisions, d)
	counts, next, _ := s.progress(p, s.r)
	if next == len(p.Stages) {
		return s.grant(p, ev, told)
	}
	if ok, _, _ := s.reachable(p, s.r); !ok {
		return s.close("JIT-35", Void, "unreachable", told)
	}
	if counts[stage] >= p.Stages[stage].Quorum {
		return s.take("RQ5", StatusPending, told)
	}
	return s.take("RQ4", StatusPending, told)
}

// shown refuses an approval of what this person was not shown, or of what is not
// so any more (Rule JIT-63).
func (s *step) shown(ev Evidence) error {
	me := s.person(s.e.By.User)
	seen := slices.ContainsFunc(s.r.Shown, func(w Shown) bool { return w.Digest == s.e.Digest && s.person(w.To) == me })
	if s.e.Digest == "" || !seen {
		return refuse(NotShown, "JIT-63", "you have not been shown the evidence with digest %q of this request", s.e.Digest).
			hint("read it with ambit jit diff %s, then approve its digest", s.r.ID)
	}
	if s.e.Digest != ev.Digest {
		return stale(s.e.Digest, ev.Digest)
	}
	return nil
}

// grant makes the grant after the last approval, or refuses, with the guards of
// the submission judged again (row RQ6).
func (s *step) grant(p Policy, ev Evidence, told map[string]any) error {
	if found := s.problems(p, true, s.r, true); len(found) > 0 {
		return found[0]
	}
	if ev.addsNothing() {
		return refuse(AddsNothing, "JIT-42", "%s has all of this already for the whole time", s.r.Beneficiary)
	}
	if f := onePerson(p, ev); f != nil {
		return f
	}
	manager := s.manager(s.r)
	for _, d := range s.r.Decisions {
		u, _ := s.user(d.By)
		if d.Approve && s.stands(d, p, s.r, manager) {
			if ok, source := s.selects(p, d.Stage, u, manager); !ok {
				return s.staleDirectory(source, p)
			}
		}
	}
	w := s.window(p, s.r)
	if w.Empty() {
		return s.close("JIT-43", Denied, "too-late", told)
	}
	role, _ := s.role(s.r.Role)
	a := assignment(s.r, role, w)
	s.r.State, s.r.ClosedAt, s.r.ClosedBy = Approved, s.at, string(s.e.By.User)
	s.r.Grant = &Grant{Assignment: a.ID, Window: w, StartNoted: !s.at.Before(w.Start)}
	told["evidence"] = ev
	return s.take("RQ6", StatusPending, told, access.Put(a))
}

// close ends a pending request without a grant.
func (s *step) close(id string, state State, reason string, told map[string]any) error {
	s.r.State, s.r.Reason, s.r.ClosedAt, s.r.ClosedBy = state, reason, s.at, actorName(s.e.By)
	return s.take(id, StatusPending, told)
}

func actorName(c Caller) string {
	if c.User != "" {
		return string(c.User)
	}
	return string(c.Actor.Kind) + ":" + c.Actor.ID
}

func (s *step) withdraw() error {
	me := s.person(s.e.By.User)
	for i, d := range s.r.Decisions {
		if !d.Withdrawn.IsZero() || d.Lapsed || s.e.By.User == "" || s.person(d.By) != me || s.e.Decision != "" && s.e.Decision != d.ID {
			continue
		}
		s.r.Decisions[i].Withdrawn = s.at
		return s.take("RQ9", StatusPending, map[string]any{"decision": d.ID, "stage": d.Stage + 1})
	}
	return refuse(NotApprover, "RQ9", "you have no decision on %s to withdraw", s.r.ID)
}

func (s *step) cancel() error {
	own := s.asks(s.e.By.User, s.r)
	switch {
	case !own && !s.e.By.Admin:
		return refuse(NotAdministrator, "JIT-28", "only the requester or an Elevation Administrator cancels a request").
			hint("an approver denies it")
	case !own && strings.TrimSpace(s.e.Comment) == "":
		return refuse(CommentRequired, "RQ10", "cancelling another person's request needs a reason")
	}
	return s.close("RQ10", Cancelled, "cancelled", nil)
}

// end ends a grant before its time (rows GR7, GR8).
func (s *step) end() error {
	from := s.r.Status(s.at)
	id, reason := "GR7", "relinquished"
	if s.e.Kind == Revoke {
		id, reason = "GR8", "revoked"
		switch {
		case !s.e.By.Admin && !s.approves(s.e.By.User, s.r):
			return refuse(NotApprover, "JIT-28", "only an approver of this request or an Elevation Administrator revokes its grant").
				hint("the beneficiary ends it with ambit jit end %s", s.r.ID)
		case strings.TrimSpace(s.e.Comment) == "":
			return refuse(CommentRequired, "GR8", "revoking a grant needs a reason")
		}
	} else if !s.asks(s.e.By.User, s.r) {
		return refuse(NotApprover, "GR7", "only the beneficiary gives a grant back").
			hint("an approver or an Elevation Administrator revokes it")
	}
	changes := s.finish(&s.r, Ended{At: s.at, By: actorName(s.e.By), Reason: reason})
	return s.take(id, from, nil, changes...)
}

// finish ends the grant and removes its assignment, if it is still there.
func (f facts) finish(r *Request, e Ended) []access.Change {
	g := *r.Grant
	g.Ended = &e
	r.Grant = &g
	if a, ok := find(f, f.state.Assignments, g.Assignment); ok {
		return []access.Change{access.Remove(a)}
	}
	return nil
}
