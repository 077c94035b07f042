package jit

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
)

// The defaults of a policy (section 1.1 of the rules).
const (
	defaultMin           = Duration(5 * time.Minute)
	defaultDuration      = Duration(time.Hour)
	defaultMax           = Duration(8 * time.Hour)
	defaultPendingTTL    = Duration(24 * time.Hour)
	defaultDirectoryAge  = Duration(2 * time.Hour)
	defaultJustification = 10
	longestWindow        = Duration(365 * 24 * time.Hour)
)

// Defaults fills in what a policy leaves out. A JustificationMin of zero stays:
// it asks for no justification.
func (p Policy) Defaults() Policy {
	p.MaxDuration = cmp.Or(p.MaxDuration, defaultMax)
	p.MinDuration = cmp.Or(p.MinDuration, min(defaultMin, p.MaxDuration))
	p.DefaultDuration = cmp.Or(p.DefaultDuration, min(max(defaultDuration, p.MinDuration), p.MaxDuration))
	p.PendingTTL = cmp.Or(p.PendingTTL, defaultPendingTTL)
	p.MaxDirectoryAge = cmp.Or(p.MaxDirectoryAge, defaultDirectoryAge)
	p.DenyQuorum = cmp.Or(p.DenyQuorum, 1)
	p.Late = cmp.Or(p.Late, Truncate)
	p.Name = cmp.Or(p.Name, p.ID)
	p.Stages = slices.Clone(p.Stages)
	for i := range p.Stages {
		p.Stages[i].Quorum = cmp.Or(p.Stages[i].Quorum, 1)
	}
	return p
}

// PolicyFault is one thing that is wrong with a policy. Path is that of the value
// in the policy's JSON, such as "stages[0].approvers[1].user".
type PolicyFault struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
	// Overlaps is the id of the policy with the same role and scope (Rule JIT-8).
	Overlaps string `json:"overlaps,omitempty"`
}

var policyID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

const maxPattern = 512 // bytes

// ticketPattern compiles a ticket pattern so that it must match the whole ticket.
// RE2 matches in linear time, whatever the pattern.
func ticketPattern(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// Check finds all that is wrong with the policy in the environment, but for what
// can change without it: whether its approvers are enough for one request is
// judged for each request (Rule JIT-35).
func (p Policy) Check(s *access.State) []PolicyFault {
	f := facts{state: s}
	var out []PolicyFault
	fault := func(path, problem, hint string) {
		out = append(out, PolicyFault{Path: path, Problem: problem, Hint: hint})
	}
	if !policyID.MatchString(p.ID) {
		fault("id", fmt.Sprintf("%q is no id for a policy", p.ID), "use letters, digits, '.', '_' and '-', at most 64")
	}
	if n := utf8.RuneCountInString(p.Name); n > 200 || !utf8.ValidString(p.Name) {
		fault("name", "the name is longer than 200 characters", "")
	}
	role, knownRole := f.role(p.Role)
	if !knownRole {
		fault("role", fmt.Sprintf("there is no role %q", p.Role), "")
	}
	if _, ok := f.unit(p.Scope.BusinessUnit); !ok {
		fault("scope.business_unit", fmt.Sprintf("there is no business unit %q", p.Scope.BusinessUnit), "")
	} else if knownRole && !f.within(p.Scope.BusinessUnit, role.BusinessUnit) && (!p.Scope.Subtree || !f.within(role.BusinessUnit, p.Scope.BusinessUnit)) {
		fault("scope.business_unit", fmt.Sprintf("role %q exists in business unit %q and below, not here (Rule ROLE-2)", p.Role, role.BusinessUnit), "")
	}
	for o := range others[Policy](f, access.KindPolicy) {
		if o.ID != p.ID && o.Role == p.Role && o.Scope == p.Scope {
			out = append(out, PolicyFault{
				Path: "scope", Overlaps: o.ID,
				Problem: fmt.Sprintf("policy %q has the same role and scope (Rule JIT-8)", o.ID), Hint: "change that one, or give this one another scope",
			})
		}
	}
	out = append(out, f.checkSubjects("eligible", p.Eligible, "eligible")...)
	if len(p.Eligible) == 0 {
		fault("eligible", "nobody could ask", "name users or teams")
	}
	if len(p.Stages) == 0 {
		fault("stages", "nobody would decide", "name at least one stage with approvers")
	}
	for i, st := range p.Stages {
		at := fmt.Sprintf("stages[%d]", i)
		out = append(out, f.checkSubjects(at+".approvers", st.Approvers, "approver")...)
		out = append(out, f.checkSubjects(at+".fallback", st.Fallback, "fallback")...)
		if len(st.Approvers) == 0 {
			fault(at+".approvers", "the stage has no approvers", "")
		}
		if len(st.Fallback) > 0 && !slices.ContainsFunc(st.Approvers, func(s Subject) bool { return s.Manager }) {
			fault(at+".fallback", "a fallback takes the place of a manager, and the stage names none", "add {manager: true} to the approvers")
		}
		if st.Quorum < 1 {
			fault(at+".quorum", "want at least 1", "")
		} else if most, bounded := atMost(st); bounded && most > 0 && st.Quorum > most {
			fault(at+".quorum", fmt.Sprintf("a quorum of %d cannot be reached: the stage names %d (Rule JIT-35)", st.Quorum, most), "")
		}
	}
	if p.DenyQuorum < 1 {
		fault("deny_quorum", "want at least 1", "")
	}
	ordered := []struct {
		path string
		d    Duration
	}{{"min_duration", p.MinDuration}, {"default_duration", p.DefaultDuration}, {"max_duration", p.MaxDuration}}
	for i, o := range ordered {
		if o.d <= 0 || o.d > longestWindow {
			fault(o.path, fmt.Sprintf("want more than nothing and at most %s", longestWindow), "")
		} else if i > 0 && o.d < ordered[i-1].d {
			fault(o.path, fmt.Sprintf("%s is shorter than %s, %s", o.d, ordered[i-1].path, ordered[i-1].d), "")
		}
	}
	for _, o := range []struct {
		path string
		d    Duration
	}{{"pending_ttl", p.PendingTTL}, {"max_directory_age", p.MaxDirectoryAge}} {
		if o.d <= 0 || o.d > longestWindow {
			fault(o.path, fmt.Sprintf("want more than nothing and at most %s", longestWindow), "")
		}
	}
	if p.JustificationMin < 0 || p.JustificationMin > maxText {
		fault("justification_min", fmt.Sprintf("want 0 to %d characters", maxText), "")
	}
	if _, err := ticketPattern(p.Ticket); err != nil || len(p.Ticket) > maxPattern {
		fault("ticket", fmt.Sprintf("%q is no RE2 pattern of at most %d bytes", p.Ticket, maxPattern), "it is matched against the whole ticket, such as CHG-[0-9]{6}")
	}
	if p.Late != Truncate && p.Late != Shift && p.Late != Reject {
		fault("late", fmt.Sprintf("unknown way %q", p.Late), "truncate, shift or reject")
	}
	return out
}

// checkSubjects judges a list of subjects, for "eligible", "approver" or "fallback".
func (f facts) checkSubjects(path string, list []Subject, as string) []PolicyFault {
	var out []PolicyFault
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		fault := func(key, problem, hint string) {
			out = append(out, PolicyFault{Path: at + key, Problem: problem, Hint: hint})
		}
		n := 0
		for _, set := range []bool{s.User != "", s.Team != "", s.Role != "", s.Manager} {
			if set {
				n++
			}
		}
		switch {
		case n != 1:
			fault("", "want exactly one of user, team, role and manager", "")
		case as == "eligible" && (s.Role != "" || s.Manager):
			fault("", "only users and teams can be eligible (Rule JIT-10)", "")
		case as == "fallback" && s.Manager:
			fault(".manager", "a manager cannot stand in for a manager", "name users, teams or roles")
		}
		if _, ok := f.user(s.User); s.User != "" && !ok {
			fault(".user", fmt.Sprintf("there is no user %q", s.User), "")
		}
		if _, ok := f.role(s.Role); s.Role != "" && !ok {
			fault(".role", fmt.Sprintf("there is no role %q", s.Role), "")
		}
		if unit, isDefault := s.Team.DefaultOf(); isDefault {
			if _, ok := f.unit(unit); !ok {
				fault(".team", fmt.Sprintf("there is no business unit %q", unit), "")
			}
		} else if _, ok := f.team(s.Team); s.Team != "" && !ok {
			fault(".team", fmt.Sprintf("there is no team %q", s.Team), "")
		}
	}
	return out
}

// atMost counts the persons that a stage can have; unbounded if it names a team
// or role.
func atMost(st Stage) (n int, bounded bool) {
	seen := map[Subject]bool{}
	for _, s := range slices.Concat(st.Approvers, st.Fallback) {
		if s.Team != "" || s.Role != "" {
			return 0, false
		}
		seen[s] = true
	}
	return len(seen), true
}

// putPolicy writes a new version of a policy (Rule JIT-9). What it does to the
// requests that rest on it is React's.
func (s *step) putPolicy() error {
	p := s.e.Policy.Defaults()
	p.Environment = s.state.Environment.ID
	was, exists := s.policy(p.ID)
	if err := s.mayWrite(was, exists); err != nil {
		return err
	}
	p.Version, p.Author, p.ManagedBy = was.Version, was.Author, access.ByAPI
	if exists && p.Equal(was) {
		s.out.Policy = &was
		return nil
	}
	p.Version, p.Author = was.Version+1, string(s.e.By.User)
	faults := p.Check(s.state)
	for _, f := range faults {
		if f.Overlaps != "" {
			return refuse(PolicyOverlap, "JIT-8", "%s", f.Problem).with("policy", f.Overlaps).hint("%s", f.Hint)
		}
	}
	if len(faults) > 0 {
		texts := make([]string, len(faults))
		for i, f := range faults {
			texts[i] = f.Path + ": " + f.Problem
		}
		return refuse(PolicyInvalid, "JIT-9", "policy %s: %s", p.ID, strings.Join(texts, "; ")).with("faults", faults)
	}
	if err := s.mayGive(p); err != nil {
		return err
	}
	s.out.Policy = &p
	s.out.Changes = []access.Change{access.Put(p)}
	s.out.Events = []audit.Event{s.policyEvent("jit.policy.put", p)}
	return nil
}

// Equal tells whether two versions say the same.
func (p Policy) Equal(o Policy) bool {
	return string(detail(p)) == string(detail(o))
}

func (s *step) mayWrite(was Policy, exists bool) error {
	if !s.e.By.Admin {
		return refuse(NotAdministrator, "JIT-28", "only an Elevation Administrator writes policies")
	}
	if exists && was.ManagedBy != access.ByAPI {
		return refuse(ManagedElsewhere, "JIT-9", "policy %s is managed by %s and cannot be changed here", was.ID, was.ManagedBy).
			with("managed_by", was.ManagedBy).hint("change it in its file")
	}
	return nil
}

// mayGive refuses a policy for a role of which its author does not hold every
// privilege to the same reach (Rule ACC-5). It is judged by laying the role over
// the author's own access: what is gained is what they could not give.
func (s *step) mayGive(p Policy) error {
	if s.e.By.GivesAll {
		return nil
	}
	if _, ok := s.user(s.e.By.User); ok {
		role, _ := s.role(p.Role)
		role = widest(role, p.Scope)
		role.ID = "policy:" + role.ID // not the author's own role, made wider
		lent := access.Assignment{Environment: p.Environment, ID: "policy", Role: role.ID, Principal: s.e.By.User.Principal(), BusinessUnit: p.Scope.BusinessUnit}
		before, gained, err := s.raise(s.e.By.User, s.at, access.Put(role), access.Put(lent))
		if err != nil {
			return err
		}
		if before.Reason == engine.Allowed && len(gained.Gained) == 0 {
			return nil
		}
	}
	return refuse(ElevationPrevented, "ACC-5", "you can make role %s available only if you hold all of its privileges yourself, as far as it reaches from business unit %s",
		p.Role, p.Scope.BusinessUnit).hint("ask a System Administrator of environment %s", p.Environment)
}

// widest is the role as far as it reaches from anywhere in the scope: in a
// subtree, a privilege over a unit reaches each unit of it.
func widest(r access.Role, s Scope) access.Role {
	if !s.Subtree {
		return r
	}
	r.Privileges = slices.Clone(r.Privileges)
	for i, p := range r.Privileges {
		if p.Depth == access.Local {
			r.Privileges[i].Depth = access.Deep
		}
	}
	return r
}

func (s *step) deletePolicy() error {
	p, ok := s.policy(s.e.Policy.ID)
	if !ok && s.e.By.Admin {
		return refuse(NotFound, "JIT-28", "there is no policy %s", s.e.Policy.ID)
	}
	if err := s.mayWrite(p, ok); err != nil {
		return err
	}
	var open []string
	for _, r := range s.requests(func(r Request) bool { return r.Policy == p.ID }) {
		if st := r.Status(s.at); st == StatusScheduled || st == StatusActive {
			open = append(open, r.ID)
		}
	}
	if len(open) > 0 && !s.e.RevokeOpen {
		return refuse(OpenGrants, "GR13", "%d grants rest on policy %s", len(open), p.ID).with("open", open[:min(len(open), 20)]).
			hint("end them first, or delete with revoke_open to end them with it")
	}
	s.out.Policy = &p
	s.out.Changes = []access.Change{access.Remove(p)}
	s.out.Events = []audit.Event{s.policyEvent("jit.policy.deleted", p)}
	return nil
}

func (s *step) policyEvent(operation string, p Policy) audit.Event {
	return audit.Event{
		Actor: s.e.By.Actor, Operation: operation, Environment: p.Environment, Object: s.e.object(),
		Result: audit.Done, Reason: strings.TrimSpace(s.e.Comment), Detail: detail(p),
	}
}

// PlanPolicies compares the policies of the files with those of the environment
// and returns what makes them equal: new versions of what changed, and the end of
// what a file once declared and none does now. Policies made over the API stay.
// The error joins all faults, which are *PolicyError; s must hold the roles,
// units, users and teams that the policies name.
func PlanPolicies(s *access.State, want []Policy) ([]access.Change, error) {
	var changes []access.Change
	var faults PolicyErrors
	declared := map[string]bool{}
	for _, p := range want {
		p = p.Defaults()
		p.Environment, p.ManagedBy, p.Author = s.Environment.ID, access.ByFile, ""
		was, exists := facts{state: s}.policy(p.ID)
		switch {
		case declared[p.ID]:
			faults = append(faults, PolicyError{p.ID, PolicyFault{Path: "id", Problem: "the id is declared twice"}})
			continue
		case exists && was.ManagedBy != access.ByFile:
			faults = append(faults, PolicyError{p.ID, PolicyFault{Path: "id", Problem: "there is a policy of this id made over the API", Hint: "choose another id, or delete that one"}})
			continue
		}
		declared[p.ID] = true
		p.Version = was.Version
		if !exists || !p.Equal(was) {
			p.Version++
			changes = append(changes, access.Put(p))
		}
	}
	for _, o := range s.Others {
		if p, ok := o.(Policy); ok && p.ManagedBy == access.ByFile && !declared[p.ID] {
			changes = append(changes, access.Remove(p))
		}
	}
	next := &access.State{}
	*next = *s
	next.Others = map[access.OtherKey]access.Object{}
	for p := range others[Policy](with(s, changes), access.KindPolicy) {
		next.Others[access.OtherKey{Kind: access.KindPolicy, Key: p.ID}] = p
	}
	for _, c := range changes {
		if p := c.Object.(Policy); !c.Delete {
			for _, f := range p.Check(next) {
				faults = append(faults, PolicyError{p.ID, f})
			}
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	slices.SortFunc(changes, func(a, b access.Change) int { return cmp.Compare(a.Object.ObjectKey(), b.Object.ObjectKey()) })
	return changes, nil
}

// PolicyError is a fault of the policy with that id.
type PolicyError struct {
	Policy string
	PolicyFault
}

func (e PolicyError) Error() string {
	s := fmt.Sprintf("policy %s: %s: %s", e.Policy, e.Path, e.Problem)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// PolicyErrors are all faults of several policies.
type PolicyErrors []PolicyError

func (e PolicyErrors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}
