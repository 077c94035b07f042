package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
)

// Model is what model files declare. It does not change.
type Model struct {
	environments map[access.EnvironmentID]*environmentModel
}

// environmentModel is what is declared of one environment.
type environmentModel struct {
	doc     *document.Document
	at      string // where the environment's id stands
	objects []access.Object
	places  map[string]string // of the objects in the file, by kind and key
	pending []pending

	settings access.Environment
	root     access.BusinessUnitID
	units    map[access.BusinessUnitID]access.BusinessUnit
	roles    map[access.RoleID]access.Role // the shipped ones too
	names    EnvironmentNames
}

// Names are the names that other files, such as mappings, can use.
type Names struct {
	Environments map[access.EnvironmentID]EnvironmentNames
}

// EnvironmentNames are the names of one environment, as they are written in the
// model, with the ids they stand for.
type EnvironmentNames struct {
	Root          access.BusinessUnitID
	BusinessUnits map[string]access.BusinessUnitID
	Roles         map[string]access.RoleID
	Teams         map[string]access.TeamID
	Tables        map[access.TableID]access.Ownership
}

// Join makes one model of several files'. An environment that two of them declare
// is a fault; the error is document.Faults.
func Join(models ...*Model) (*Model, error) {
	joined := &Model{environments: map[access.EnvironmentID]*environmentModel{}}
	var faults document.Faults
	for _, m := range models {
		for _, id := range m.Environments() {
			e := m.environments[id]
			if first, twice := joined.environments[id]; twice {
				faults = append(faults, e.doc.KeyFault(e.at, fmt.Sprintf("environment %q is declared twice", id),
					"declare it in one file, whole; it is declared in "+first.doc.KeyFault(first.at, "", "").File+" as well"))
				continue
			}
			joined.environments[id] = e
		}
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return joined, nil
}

// Environments lists the declared environments, sorted.
func (m *Model) Environments() []access.EnvironmentID {
	return slices.Sorted(maps.Keys(m.environments))
}

// Desired lists what the files declare of the environment, but for what names
// users: see Resolve. The objects are managed by file and in creation order. What
// ships (OutOfBox, Ambit) is not among them. It is nil for an environment that is
// not declared.
func (m *Model) Desired(env access.EnvironmentID) []access.Object {
	e, ok := m.environments[env]
	if !ok {
		return nil
	}
	return slices.Clone(e.objects)
}

// Names lists the names of all declared environments and of Ambit's own.
func (m *Model) Names() Names {
	n := Names{Environments: map[access.EnvironmentID]EnvironmentNames{access.AmbitEnvironment: newEnvironment(access.AmbitEnvironment).names}}
	for id, e := range m.environments {
		n.Environments[id] = e.names
	}
	return n
}

// pending is what a file says of a user whom it knows by login only: a team's
// member, who has a column security profile, or who gets a role.
type pending struct {
	path    string // of the login
	login   string
	team    access.TeamID    // or:
	profile access.ProfileID // or:
	given   given
}

// given is a role that somebody gets; unit is empty for the principal's own.
type given struct {
	role   access.RoleID
	unit   access.BusinessUnitID
	window access.Window
}

// Resolve lists the memberships, column security profiles and assignments of users
// in the environment, managed by file. user finds a user of the environment by login; it should
// compare as access.Fold does. What cannot be, since there is no such user or the
// role cannot be had where the user is, is left out and told as a finding with
// its place in the file.
func (m *Model) Resolve(env access.EnvironmentID, user func(login string) (access.User, bool)) ([]access.Object, document.Faults) {
	e, ok := m.environments[env]
	if !ok {
		return nil, nil
	}
	var objects []access.Object
	var findings document.Faults
	find := func(p pending, problem, hint string) {
		findings = append(findings, e.doc.Fault(p.path, problem, hint))
	}
	seen := map[string]bool{}
	for _, p := range e.pending {
		u, ok := user(p.login)
		if !ok {
			find(p, fmt.Sprintf("no user of environment %q has the login %q", env, p.login), "check the login, or whether a mapping rule brings the user")
			continue
		}
		var o access.Object = access.Membership{Environment: env, Team: p.team, User: u.ID, ManagedBy: access.ByFile}
		switch {
		case p.profile != "":
			o = access.ProfileMember{Environment: env, Profile: p.profile, Principal: u.ID.Principal(), ManagedBy: access.ByFile}
		case p.team == "":
			at := p.given
			if at.unit == "" {
				at.unit = u.BusinessUnit
			}
			if problem, hint := e.refuse(at, u.BusinessUnit); problem != "" {
				find(p, problem, hint)
				continue
			}
			o = assignment(env, at, u.ID.Principal())
		}
		key := o.ObjectKind().String() + o.ObjectKey()
		if seen[key] {
			find(p, fmt.Sprintf("%q is given the same twice", p.login), "remove one of the two")
			continue
		}
		seen[key] = true
		objects = append(objects, o)
	}
	return objects, findings
}

// refuse tells why a role cannot be had at a unit by a principal of unit home
// (Rules BU-8, ROLE-2). Units that the file does not know have been made at run
// time; there only a role of the root is sure to exist.
func (e *environmentModel) refuse(g given, home access.BusinessUnitID) (problem, hint string) {
	if !e.settings.Modernized && g.unit != home {
		return fmt.Sprintf("the role cannot be given in business unit %q to a principal of %q", g.unit, home),
			"leave business_unit out, or set record_ownership_across_business_units"
	}
	r := e.roles[g.role]
	if r.BusinessUnit == e.root {
		return "", ""
	}
	for unit := g.unit; unit != r.BusinessUnit; {
		b, ok := e.units[unit]
		if !ok {
			return fmt.Sprintf("role %q does not exist in business unit %q: it is defined in %q and exists there and below", r.Name, g.unit, r.BusinessUnit),
				"define the role higher, or give it elsewhere"
		}
		unit = b.Parent
	}
	return "", ""
}

// assignment makes the object. Its id follows from what it gives to whom and
// where, so that a file read again declares the same assignment.
func assignment(env access.EnvironmentID, g given, p access.Principal) access.Assignment {
	sum := sha256.Sum256([]byte(access.JoinKey(string(g.role), p.Kind.String(), p.ID, string(g.unit))))
	return access.Assignment{
		Environment: env, ID: access.AssignmentID("file-" + hex.EncodeToString(sum[:10])), Role: g.role, Principal: p,
		BusinessUnit: g.unit, Window: g.window, ManagedBy: access.ByFile,
	}
}
