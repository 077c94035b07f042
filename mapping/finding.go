package mapping

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// FindingKind tells findings apart. The names are part of what is printed: add,
// never rename.
type FindingKind string

// The kinds of finding.
const (
	// CannotJudge: an expression failed, or what it gave cannot be used. A user or
	// team that exists stays as it is, one that does not is not made.
	CannotJudge FindingKind = "cannot_judge"
	// LoginTaken: several accounts claim one login, or somebody has it already.
	// Whoever has it keeps it; nobody gets it anew.
	LoginTaken FindingKind = "login_taken"
	// NameTaken: a team got another name, because its own is taken in its unit.
	NameTaken FindingKind = "name_taken"
	// ManagerCycle: people are each other's managers, so that none of them is above
	// the others. Their links are left out, all of them (Rule HIER-9).
	ManagerCycle FindingKind = "manager_cycle"
	// SecondRule: a later rule matches too and would give something else. The
	// first one in the file wins.
	SecondRule FindingKind = "second_rule"
	// GroupKind: a group of a kind that cannot become a team (Rule GRAPH-31).
	GroupKind FindingKind = "group_kind"
	// NoGate: an environment security group is missing, ambiguous, unusable or
	// empty. Who was admitted stays so, nobody else is (Rule ESG-6).
	NoGate FindingKind = "security_group"
	// EmptyGroup: a group that has a team has no members at all.
	EmptyGroup FindingKind = "empty_group"
	// PausedGroup: a group that has a team has members by a rule of the directory's
	// own, which is paused: they are those that it had then (Rule GRAPH-29).
	PausedGroup FindingKind = "paused_group"
	// Outside: members of a group who are not in the team, because no rule places
	// them in the environment.
	Outside FindingKind = "members_outside"
	// Strangers: members of a group who are named by SID, and whom no source has that
	// a rule names (Rule AD-19).
	Strangers FindingKind = "members_by_sid"
	// NoMatch: a rule matched nothing.
	NoMatch FindingKind = "no_match"
	// NoAttribute: no user or group of a source has an attribute that rules name.
	NoAttribute FindingKind = "no_attribute"
	// EmptySource: a source has no users or no groups that rules ask for.
	EmptySource FindingKind = "empty_source"
	// RoleOutside: a role does not exist in the business unit that a rule computed
	// (Rule ROLE-2); the team does not get it.
	RoleOutside FindingKind = "role_outside"
)

// Finding is something that a person should know of an evaluation.
type Finding struct {
	Kind        FindingKind          `json:"kind"`
	Environment access.EnvironmentID `json:"environment,omitempty"`
	Rule        string               `json:"rule,omitempty"`
	Source      directory.SourceID   `json:"source,omitempty"`
	Object      directory.ObjectID   `json:"object,omitempty"` // the user or group, if it is about one
	Name        string               `json:"name,omitempty"`   // of the object, for people
	Count       int                  `json:"count,omitempty"`
	Text        string               `json:"text"`
	Hint        string               `json:"hint,omitempty"`
	// Holds means that a plan made now must wait for a person: what the directory
	// says cannot be meant.
	Holds bool `json:"holds,omitempty"`
}

func compareFindings(a, b Finding) int {
	return cmp.Or(
		strings.Compare(string(a.Environment), string(b.Environment)), strings.Compare(string(a.Kind), string(b.Kind)),
		strings.Compare(string(a.Source), string(b.Source)), strings.Compare(string(a.Object), string(b.Object)),
		strings.Compare(a.Rule, b.Rule), strings.Compare(a.Text, b.Text))
}

// topic is what a list of findings is about: whoever judges it again replaces
// the list.
type topic struct {
	kind        FindingKind
	environment access.EnvironmentID
	source      directory.SourceID
	key         string
}

type findings map[topic][]Finding

func (f findings) set(t topic, list ...Finding) {
	if len(list) == 0 {
		delete(f, t)
		return
	}
	f[t] = list
}

func (f findings) sorted() []Finding {
	var all []Finding
	for _, list := range f {
		all = append(all, list...)
	}
	slices.SortFunc(all, compareFindings)
	return all
}
