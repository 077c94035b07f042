package jit

import (
	"fmt"
	"slices"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
)

// PolicySource is a policy as a file declares it, with names not yet resolved.
type PolicySource struct {
	doc  *document.Document
	path string
	said declaration
}

// declaration is the YAML form: the JSON form of Policy with people's names for
// environment, role, unit, users and teams. An id is taken as well.
type declaration struct {
	ID                  string            `yaml:"id,required"`
	Name                string            `yaml:"name"`
	Environment         string            `yaml:"environment,required"`
	Role                string            `yaml:"role,required"`
	Scope               declaredScope     `yaml:"scope,required"`
	Eligible            []declaredSubject `yaml:"eligible,required"`
	Stages              []declaredStage   `yaml:"stages,required"`
	MinDuration         Duration          `yaml:"min_duration"`
	MaxDuration         Duration          `yaml:"max_duration"`
	DefaultDuration     Duration          `yaml:"default_duration"`
	PendingTTL          Duration          `yaml:"pending_ttl"`
	JustificationMin    *int              `yaml:"justification_min"`
	Ticket              string            `yaml:"ticket"`
	Late                Late              `yaml:"late"`
	DenyQuorum          int               `yaml:"deny_quorum"`
	MaxDirectoryAge     Duration          `yaml:"max_directory_age"`
	OneApproverSuffices bool              `yaml:"one_approver_suffices"`
	Disabled            bool              `yaml:"disabled"`
}

type declaredScope struct {
	BusinessUnit string `yaml:"business_unit,required"`
	Subtree      bool   `yaml:"subtree"`
}

type declaredStage struct {
	Approvers []declaredSubject `yaml:"approvers,required"`
	Fallback  []declaredSubject `yaml:"fallback"`
	Quorum    int               `yaml:"quorum"`
}

// declaredSubject: BusinessUnit tells teams of the same name apart.
type declaredSubject struct {
	User         string `yaml:"user"`
	Team         string `yaml:"team"`
	BusinessUnit string `yaml:"business_unit"`
	Role         string `yaml:"role"`
	Manager      bool   `yaml:"manager"`
}

// ParsePolicies reads a file of policies: a mapping with the one key "policies",
// a list (JSON is read too, being YAML). Unknown keys and values of the wrong kind
// are document.Faults with their place. Names are resolved by PolicySource.Policy.
func ParsePolicies(name string, src []byte) ([]PolicySource, error) {
	var file struct {
		Policies []declaration `yaml:"policies,required"`
	}
	doc, err := document.Decode(name, src, &file)
	if err != nil {
		return nil, err
	}
	out := make([]PolicySource, len(file.Policies))
	for i, d := range file.Policies {
		out[i] = PolicySource{doc, document.Index("$.policies", i), d}
	}
	return out, nil
}

// Environment is the environment's id or name as the file has it.
func (s PolicySource) Environment() string { return s.said.Environment }

// ID is the policy's id.
func (s PolicySource) ID() string { return s.said.ID }

// Names finds the objects of environments by the names that people use.
type Names struct {
	states []*access.State
	teams  map[access.EnvironmentID]map[string][]access.Team // by folded name
}

// NewNames takes the environments as they will be when the policies hold. It
// keeps the states and must not be used after they change.
func NewNames(states ...*access.State) *Names {
	return &Names{states: states, teams: map[access.EnvironmentID]map[string][]access.Team{}}
}

func (n *Names) teamsOf(s *access.State) map[string][]access.Team {
	if found := n.teams[s.Environment.ID]; found != nil {
		return found
	}
	byName := map[string][]access.Team{}
	for _, t := range s.Teams {
		byName[access.Fold(t.Name)] = append(byName[access.Fold(t.Name)], t)
	}
	for _, b := range s.BusinessUnits { // Rule BU-6
		name := access.Fold(b.Name)
		byName[name] = append(byName[name], access.Team{ID: b.ID.DefaultTeam(), Name: b.Name, BusinessUnit: b.ID})
	}
	n.teams[s.Environment.ID] = byName
	return byName
}

func (n *Names) environment(name string) (*access.State, bool) {
	for _, s := range n.states {
		if string(s.Environment.ID) == name || access.Fold(s.Environment.Name) == access.Fold(name) {
			return s, true
		}
	}
	return nil, false
}

// Policy resolves the names and checks the policy, but for overlaps with others,
// which PlanPolicies and Check find. Version, Author and ManagedBy are left empty.
// The error is document.Faults.
func (s PolicySource) Policy(n *Names) (Policy, error) {
	var faults document.Faults
	fault := func(path, problem, hint string) {
		at := s.path
		if path != "" {
			at += "." + path
		}
		faults = append(faults, s.doc.Fault(at, problem, hint))
	}
	state, ok := n.environment(s.said.Environment)
	if !ok {
		var known []string
		for _, st := range n.states {
			known = append(known, string(st.Environment.ID))
		}
		fault("environment", fmt.Sprintf("there is no environment %q", s.said.Environment), document.DidYouMean(s.said.Environment, known))
		return Policy{}, faults
	}
	in := resolver{state: state, teams: n.teamsOf(state), failed: map[string]bool{}, fault: fault}
	d := s.said
	p := Policy{
		Environment: state.Environment.ID, ID: d.ID, Name: d.Name,
		MinDuration: d.MinDuration, MaxDuration: d.MaxDuration, DefaultDuration: d.DefaultDuration, PendingTTL: d.PendingTTL,
		JustificationMin: defaultJustification, Ticket: d.Ticket, Late: d.Late, DenyQuorum: d.DenyQuorum,
		MaxDirectoryAge: d.MaxDirectoryAge, OneApproverSuffices: d.OneApproverSuffices, Disabled: d.Disabled,
		Scope: Scope{Subtree: d.Scope.Subtree},
	}
	if d.JustificationMin != nil {
		p.JustificationMin = *d.JustificationMin
	}
	p.Role = in.role(d.Role, "role")
	p.Scope.BusinessUnit = in.unit(d.Scope.BusinessUnit, "scope.business_unit")
	subjects := func(path string, list []declaredSubject) []Subject {
		var out []Subject
		for i, e := range list {
			at := document.Index(path, i)
			out = append(out, Subject{User: in.user(e.User, at+".user"), Role: in.role(e.Role, at+".role"), Team: in.team(e, at), Manager: e.Manager})
		}
		return out
	}
	p.Eligible = subjects("eligible", d.Eligible)
	for i, st := range d.Stages {
		at := document.Index("stages", i)
		p.Stages = append(p.Stages, Stage{Approvers: subjects(at+".approvers", st.Approvers), Fallback: subjects(at+".fallback", st.Fallback), Quorum: st.Quorum})
	}
	p = p.Defaults()
	for _, f := range p.Check(state) {
		if f.Overlaps == "" && !in.failed[f.Path] {
			fault(f.Path, f.Problem, f.Hint)
		}
	}
	if len(faults) > 0 {
		return Policy{}, faults.Err()
	}
	return p, nil
}

// resolver finds ids by id or name; an empty name gives an empty id. What it does
// not find becomes a fault, and stays as it was written.
type resolver struct {
	state  *access.State
	teams  map[string][]access.Team
	failed map[string]bool // paths
	fault  func(path, problem, hint string)
}

func (in resolver) role(name, path string) access.RoleID {
	if _, ok := in.state.Roles[access.RoleID(name)]; ok || name == "" {
		return access.RoleID(name)
	}
	r, ok := in.state.RoleByName(name)
	if !ok {
		in.unknown(path, "role", name, names(in.state.Roles, func(r access.Role) string { return r.Name }))
		return access.RoleID(name)
	}
	return r.ID
}

func (in resolver) unit(name, path string) access.BusinessUnitID {
	if _, ok := in.state.BusinessUnits[access.BusinessUnitID(name)]; ok || name == "" {
		return access.BusinessUnitID(name)
	}
	b, ok := in.state.BusinessUnitByName(name)
	if !ok {
		in.unknown(path, "business unit", name, names(in.state.BusinessUnits, func(b access.BusinessUnit) string { return b.Name }))
		return access.BusinessUnitID(name)
	}
	return b.ID
}

func (in resolver) user(name, path string) access.UserID {
	if _, ok := in.state.Users[access.UserID(name)]; ok || name == "" {
		return access.UserID(name)
	}
	u, ok := in.state.UserByLogin(name)
	if !ok {
		in.unknown(path, "user", name, names(in.state.Users, func(u access.User) string { return u.Login }))
		return access.UserID(name)
	}
	return u.ID
}

func (in resolver) team(e declaredSubject, path string) access.TeamID {
	if e.Team == "" {
		if e.BusinessUnit != "" {
			in.fault(path+".business_unit", "business_unit tells teams apart, and no team is named here", "")
		}
		return ""
	}
	if t, ok := in.state.Teams[access.TeamID(e.Team)]; ok {
		return t.ID
	}
	found := in.teams[access.Fold(e.Team)]
	if e.BusinessUnit != "" && len(found) > 0 {
		unit := in.unit(e.BusinessUnit, path+".business_unit")
		found = slices.DeleteFunc(slices.Clone(found), func(t access.Team) bool { return t.BusinessUnit != unit })
		if len(found) == 0 {
			in.failed[path+".team"] = true
			if !in.failed[path+".business_unit"] {
				in.fault(path+".business_unit", fmt.Sprintf("no team %q is in business unit %q", e.Team, e.BusinessUnit), "")
			}
			return access.TeamID(e.Team)
		}
	}
	switch len(found) {
	case 1:
		return found[0].ID
	case 0:
		in.unknown(path+".team", "team", e.Team, names(in.state.Teams, func(t access.Team) string { return t.Name }))
	default:
		in.fault(path+".team", fmt.Sprintf("%d teams are called %q", len(found), e.Team), "add the business_unit of the one that is meant")
		in.failed[path+".team"] = true
	}
	return access.TeamID(e.Team)
}

func (in resolver) unknown(path, what, name string, among []string) {
	in.failed[path] = true
	in.fault(path, fmt.Sprintf("there is no %s %q", what, name), document.DidYouMean(name, among))
}

func names[K comparable, V any](m map[K]V, name func(V) string) []string {
	out := make([]string, 0, len(m))
	for _, v := range m {
		out = append(out, name(v))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
