package jit

import (
	"cmp"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// CanSee tells whether the caller may see the request: requester and beneficiary,
// who is or was selected to decide it, Elevation Administrators and Auditors (Rule
// JIT-28). What they may not see is to be answered as if it did not exist.
func CanSee(v View, c Caller, r Request, at time.Time) bool { return v.judge(at).canSee(c, r) }

func (j judge) canSee(c Caller, r Request) bool {
	if c.Admin || c.Auditor {
		return true
	}
	return c.User != "" && (j.asks(c.User, r) || j.approves(c.User, r))
}

// approves tells whether the account is selected by a stage, or took part when it
// was.
func (j judge) approves(id access.UserID, r Request) bool {
	u, ok := j.user(id)
	if !ok {
		return false
	}
	me := j.person(id)
	if slices.ContainsFunc(r.Decisions, func(d Decision) bool { return j.person(d.By) == me }) {
		return true
	}
	p, ok := j.policy(r.Policy)
	return ok && j.selected(p, u, r)
}

// Queue lists the requests that the caller may decide now, those that lapse first
// before others.
func Queue(v View, c Caller, at time.Time) []Request {
	j := v.judge(at)
	u, ok := j.user(c.User)
	if !ok {
		return nil
	}
	var out []Request
	for _, r := range j.requests(func(r Request) bool { return r.Status(j.at) == StatusPending && j.conflict(u, r) == nil }) {
		p, ok := j.answers(r.Role, r.BusinessUnit)
		if !ok {
			continue
		}
		_, stage, voices := j.progress(p, r)
		if _, decided := voices[j.person(u.ID)]; decided || stage == len(p.Stages) {
			continue
		}
		if ok, _ := j.selects(p, stage, u, j.manager(r)); ok {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b Request) int { return a.PendingUntil.Compare(b.PendingUntil) })
	return out
}

// Offer is something that a person can ask for.
type Offer struct {
	Policy        string               `json:"policy"`
	PolicyVersion int                  `json:"policy_version"`
	Name          string               `json:"name"`
	Environment   access.EnvironmentID `json:"environment"`
	Role          access.RoleID        `json:"role"`
	RoleName      string               `json:"role_name"`
	// BusinessUnit is where the role can be had, with classic units the person's own.
	BusinessUnit     access.BusinessUnitID `json:"business_unit"`
	BusinessUnitName string                `json:"business_unit_name"`
	Subtree          bool                  `json:"subtree,omitempty"` // and the units below it
	MinDuration      Duration              `json:"min_duration"`
	MaxDuration      Duration              `json:"max_duration"`
	DefaultDuration  Duration              `json:"default_duration"`
	JustificationMin int                   `json:"justification_min"`
	Ticket           string                `json:"ticket,omitempty"`
	Quorums          []int                 `json:"quorums"` // by stage
	Via              []Subject             `json:"via"`     // why they are eligible (Rule JIT-11)
	// Open is their pending request or unended grant for the role, if there is one.
	Open string `json:"open,omitempty"`
	// Problem is why they cannot ask right now, such as "subject-gated".
	Problem string `json:"problem,omitempty"`
}

// Eligible lists what the caller can ask for, by role name and unit.
func Eligible(v View, c Caller, at time.Time) []Offer {
	j := v.judge(at)
	u, ok := j.user(c.User)
	if !ok {
		return nil
	}
	me := j.person(u.ID)
	mine := j.requests(func(r Request) bool {
		s := r.Status(j.at)
		return (s == StatusPending || s == StatusScheduled || s == StatusActive) && j.person(r.Beneficiary) == me
	})
	var out []Offer
	for _, p := range j.policies() {
		if p.Disabled {
			continue
		}
		ways := j.vias(u, p.Eligible, "", p.MaxDirectoryAge)
		role, ok := j.role(p.Role)
		if !ok || len(ways) == 0 {
			continue
		}
		o := Offer{
			Policy: p.ID, PolicyVersion: p.Version, Name: p.Name, Environment: p.Environment, Role: p.Role, RoleName: role.Name,
			BusinessUnit: p.Scope.BusinessUnit, Subtree: p.Scope.Subtree, MinDuration: p.MinDuration, MaxDuration: p.MaxDuration,
			DefaultDuration: p.DefaultDuration, JustificationMin: p.JustificationMin, Ticket: p.Ticket,
		}
		if !j.environment().Modernized { // Rule BU-8
			if answering, ok := j.answers(p.Role, u.BusinessUnit); !ok || answering.ID != p.ID {
				continue
			}
			o.BusinessUnit, o.Subtree = u.BusinessUnit, false
		}
		unit, _ := j.unit(o.BusinessUnit)
		o.BusinessUnitName = unit.Name
		for _, st := range p.Stages {
			o.Quorums = append(o.Quorums, st.Quorum)
		}
		for _, w := range ways {
			o.Via = append(o.Via, w.Subject)
		}
		as := Request{Environment: p.Environment, Beneficiary: u.ID, Role: p.Role, BusinessUnit: o.BusinessUnit}
		if f := cmp.Or(j.barred(as), j.ineligible(p, as)); f != nil {
			o.Problem = f.Slug
		}
		for _, r := range mine {
			if r.Policy == p.ID {
				o.Open = r.ID
				break
			}
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(a.RoleName, b.RoleName), cmp.Compare(a.BusinessUnitName, b.BusinessUnitName), cmp.Compare(a.Policy, b.Policy))
	})
	return out
}

// Forecast is what would become of a request if it were submitted now.
type Forecast struct {
	Admissible   bool          `json:"admissible"`
	Problems     []*Refusal    `json:"problems,omitempty"`
	Request      Request       `json:"request"` // with policy, duration and pending_until filled in; without id
	Window       access.Window `json:"window"`
	Evidence     *Evidence     `json:"evidence,omitempty"`
	Stages       []StageNow    `json:"stages,omitempty"`
	PendingUntil time.Time     `json:"pending_until,omitzero"`
}

// StageNow is a stage as it stands for one request.
type StageNow struct {
	Quorum    int  `json:"quorum"`
	Approved  int  `json:"approved"`
	Open      bool `json:"open"`
	Approvers int  `json:"approvers"` // accounts that could decide
	// Some are the first of them by name, at most 20.
	Some []PersonName `json:"some,omitempty"`
}

// PersonName is a user for the eye.
type PersonName struct {
	User access.UserID `json:"user"`
	Name string        `json:"name"`
}

// Preview tells what would become of a request, with all of its problems at once.
// It changes nothing.
func Preview(v View, c Caller, ask Ask, at time.Time) (Forecast, error) {
	j := v.judge(at)
	r, p, ok := j.draft(c, "", ask)
	f := Forecast{Request: r, Problems: j.problems(p, ok, r, false)}
	if _, known := j.user(r.Beneficiary); ok && known && j.barred(r) == nil {
		ev, err := j.evidence(p, r)
		if err != nil {
			return Forecast{}, err
		}
		f.Problems = append(f.Problems, j.effectProblems(p, r, ev)...)
		f.Evidence, f.Window, f.PendingUntil = &ev, j.window(p, r), r.PendingUntil
		f.Stages = j.stages(p, r)
	}
	f.Admissible = len(f.Problems) == 0
	return f, nil
}

// Stages tells how far a pending request is, by stage; nil if it is not pending.
func Stages(v View, r Request, at time.Time) []StageNow {
	j := v.judge(at)
	p, ok := j.policy(r.Policy)
	if !ok || r.Status(j.at) != StatusPending {
		return nil
	}
	return j.stages(p, r)
}

func (j judge) stages(p Policy, r Request) []StageNow {
	const most = 20
	counts, open, _ := j.progress(p, r)
	out := make([]StageNow, len(p.Stages))
	for i, ids := range j.people(p, r) {
		var names []PersonName
		for id := range ids {
			if u, ok := j.user(id); ok && j.conflict(u, r) == nil {
				names = append(names, PersonName{id, u.Name})
			}
		}
		slices.SortFunc(names, func(a, b PersonName) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.User, b.User)) })
		out[i] = StageNow{Quorum: p.Stages[i].Quorum, Approved: counts[i], Open: i == open, Approvers: len(names), Some: names[:min(most, len(names))]}
	}
	return out
}
