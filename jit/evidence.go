package jit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// evidenceSchema names the form of the evidence document.
const evidenceSchema = "urn:ambit:jit:evidence:1"

// Evidence is what an approver is shown before deciding. Its document is the
// canonical JSON of all fields but EligibleVia and Digest, and Digest is the
// SHA-256 over that (Rule JIT-60). Nothing in it moves with the time of reading or with a commit
// that leaves the effect alone, so two readers get the same digest.
type Evidence struct {
	Schema        string                `json:"schema"`
	Environment   access.EnvironmentID  `json:"environment"`
	Request       string                `json:"request,omitempty"` // empty in a preview
	Requester     access.UserID         `json:"requester"`
	Beneficiary   access.UserID         `json:"beneficiary"`
	Policy        string                `json:"policy"`
	PolicyVersion int                   `json:"policy_version"`
	Role          access.RoleID         `json:"role"`
	RoleName      string                `json:"role_name"`
	BusinessUnit  access.BusinessUnitID `json:"business_unit"`
	UnitName      string                `json:"business_unit_name"`
	Start         time.Time             `json:"start,omitzero"` // zero: as soon as approved
	Duration      Duration              `json:"duration"`
	// Bound is all that the grant can ever give (Rule JIT-62).
	Bound access.Bound `json:"bound"`
	// Gained is what the beneficiary can reach with the grant and not without, at
	// its start, weightiest first (Rule JIT-58).
	Gained     []engine.Access `json:"gained"`
	Escalating bool            `json:"escalating"`
	Privileged bool            `json:"privileged"`
	Warnings   []string        `json:"warnings,omitempty"`

	// EligibleVia is why the beneficiary may ask, shown beside (Rule JIT-59).
	EligibleVia []Subject `json:"eligible_via,omitempty"`
	Digest      string    `json:"digest,omitempty"`
}

// Document is the canonical JSON (RFC 8785) that the digest is of.
func (e Evidence) Document() ([]byte, error) {
	e.Digest, e.EligibleVia = "", nil
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write evidence of %s: %w", e.Request, err)
	}
	if b, err = jcs.Transform(b); err != nil {
		return nil, fmt.Errorf("canonical form of the evidence of %s: %w", e.Request, err)
	}
	return b, nil
}

func (e *Evidence) seal() error {
	doc, err := e.Document()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(doc)
	e.Digest = hex.EncodeToString(sum[:])
	return nil
}

// boundOf is the role as it is now.
func boundOf(r access.Role) access.Bound {
	return access.Bound{All: r.All, Privileges: slices.Clone(r.Privileges), Miscellaneous: slices.Clone(r.Miscellaneous)}
}

// GrantID is the id of the assignment that an approved request makes.
func GrantID(request string) access.AssignmentID { return access.AssignmentID("jit:" + request) }

// assignment is the grant as a row of the authorization store (Rules JIT-1, JIT-62).
func assignment(r Request, role access.Role, w access.Window) access.Assignment {
	bound := boundOf(role)
	return access.Assignment{
		Environment: r.Environment, ID: GrantID(r.ID), Role: r.Role, Principal: r.Beneficiary.Principal(),
		BusinessUnit: r.BusinessUnit, Window: w, Request: r.ID, Bound: &bound, ManagedBy: access.ByJIT,
	}
}

// evidence computes what is shown for the request under the policy. The effect
// comes from the engine, not from the role's rows (Rule JIT-58).
func (j judge) evidence(p Policy, r Request) (Evidence, error) {
	role, ok := j.role(r.Role)
	if !ok {
		return Evidence{}, fmt.Errorf("evidence of %s: role %q: %w", r.ID, r.Role, engine.ErrUnknown)
	}
	unit, ok := j.unit(r.BusinessUnit)
	if !ok {
		return Evidence{}, fmt.Errorf("evidence of %s: business unit %q: %w", r.ID, r.BusinessUnit, engine.ErrUnknown)
	}
	e := Evidence{
		Schema: evidenceSchema, Environment: r.Environment, Request: r.ID, Requester: r.Requester, Beneficiary: r.Beneficiary,
		Policy: p.ID, PolicyVersion: p.Version, Role: role.ID, RoleName: role.Name,
		BusinessUnit: unit.ID, UnitName: unit.Name, Start: r.Start, Duration: r.Duration, Bound: boundOf(role),
	}
	if u, ok := j.user(r.Beneficiary); ok {
		for _, w := range j.vias(u, p.Eligible, "", p.MaxDirectoryAge) {
			e.EligibleVia = append(e.EligibleVia, w.Subject)
		}
	}
	window := j.window(p, r)
	if window.Empty() { // too late under the policy: what was asked for is shown
		window = access.Window{Start: r.Start, End: r.Start.Add(time.Duration(r.Duration))}
	}
	diff, err := j.effect(r, role, window, window.Start)
	if err != nil {
		return Evidence{}, err
	}
	e.Gained = diff.Gained
	flags := diff.Flags(Escalates)
	// A role of all privileges gives those of tables made later too.
	e.Escalating = flags.Escalating || role.All && len(diff.Gained) > 0
	e.Privileged = flags.Privileged || e.Escalating
	slices.SortStableFunc(e.Gained, func(a, b engine.Access) int { return weight(a) - weight(b) })

	changes := j.boundaries(r, window)
	for _, t := range changes {
		d, err := j.effect(r, role, window, t)
		if err != nil {
			return Evidence{}, err
		}
		if (len(d.Gained) == 0) != (len(diff.Gained) == 0) {
			e.Warnings = append(e.Warnings, "part_of_the_time: for part of the window the beneficiary has all of this already")
			break
		}
	}
	if author := access.UserID(p.Author); author != "" {
		if u, ok := j.user(author); ok && j.selected(p, u, r) {
			e.Warnings = append(e.Warnings, fmt.Sprintf("policy_author: %s wrote this policy version and may decide under it", author))
		}
	}
	return e, e.seal()
}

// addsNothing tells whether the evidence found nothing gained in the whole window.
func (e Evidence) addsNothing() bool {
	return len(e.Gained) == 0 && !slices.ContainsFunc(e.Warnings, func(w string) bool {
		return strings.HasPrefix(w, "part_of_the_time:")
	})
}

// effect is what the grant adds at an instant of its window.
func (j judge) effect(r Request, role access.Role, w access.Window, at time.Time) (engine.Diff, error) {
	_, diff, err := j.raise(r.Beneficiary, at, access.Put(assignment(r, role, w)))
	return diff, err
}

// raise tells what the user can do at the instant, and what the changes would add.
func (j judge) raise(u access.UserID, at time.Time, changes ...access.Change) (before engine.What, diff engine.Diff, err error) {
	s := j.v.Snapshot
	if before, err = s.What(u, at); err != nil {
		return before, diff, fmt.Errorf("access of %s as it is: %w", u, err)
	}
	raised, err := s.Apply(changes, s.Revision())
	if err != nil {
		return before, diff, fmt.Errorf("lay changes over the environment: %w", err)
	}
	after, err := raised.What(u, at)
	if err != nil {
		return before, diff, fmt.Errorf("access of %s as it would be: %w", u, err)
	}
	return before, after.Diff(before), nil
}

// boundaries lists the instants inside the window at which other assignments of
// the beneficiary begin or end.
func (j judge) boundaries(r Request, w access.Window) []time.Time {
	u, ok := j.user(r.Beneficiary)
	if !ok {
		return nil
	}
	principals := []access.Principal{u.ID.Principal(), u.BusinessUnit.DefaultTeam().Principal()}
	for t := range j.state.TeamsOf(u.ID) {
		principals = append(principals, t.Principal())
	}
	var out []time.Time
	for _, p := range principals {
		for id := range j.state.AssignmentsOf(p) {
			held := j.state.Assignments[id].Window
			for _, t := range []time.Time{held.Start, held.End} {
				if t.After(w.Start) && t.Before(w.End) {
					out = append(out, t)
				}
			}
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return slices.Compact(out)
}

// Escalates tells whether one could give privileges by this access (Rule
// JIT-61): assign or edit roles, change teams or mapping files, act on behalf of
// another, write policies of elevation. Tables are called as package model ships
// them, in Ambit's own environment and in others.
func Escalates(a engine.Access) bool {
	switch a.Table {
	case "":
		return a.Miscellaneous == "ActOnBehalfOfAnotherUser"
	case "role":
		return a.Action == access.Create || a.Action == access.Write || a.Action == access.Assign
	case "team", "assignment", "mapping", "jit_policy":
		return a.Action == access.Create || a.Action == access.Write
	}
	return false
}

// weight orders what is gained: escalating, organization-wide, delete and
// assign, write, read (Rule JIT-58).
func weight(a engine.Access) int {
	switch {
	case Escalates(a):
		return 0
	case a.Depth == access.Global:
		return 1
	case a.Action == access.Delete || a.Action == access.Assign || a.Table == "":
		return 2
	case a.Action == access.Read:
		return 4
	}
	return 3
}
