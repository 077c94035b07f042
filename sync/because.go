package dirsync

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Cause is why somebody gains or loses access.
type Cause struct {
	Rule string `json:"rule,omitempty"` // the mapping rule's name, if it is one
	Text string `json:"text"`
}

// CauseAccess is the access that is gained and lost for one cause (Rule PLAN-4).
type CauseAccess struct {
	Cause
	Gain  int           `json:"gain"` // users
	Lose  int           `json:"lose"` // users
	Lines []engine.Line `json:"lines"`
}

// UserAccess is what one user gains and loses, cause by cause.
type UserAccess struct {
	User   access.UserID `json:"user"`
	Login  string        `json:"login"`
	Causes []CauseAccess `json:"causes"`
}

// maxUsers is how many users a plan names with what they gain and lose.
const maxUsers = 100

// effect is what one user gains and loses for one cause.
type effect struct {
	cause Cause
	diff  engine.Diff
}

// effects asks the engine about each user whom the changes can reach, before and
// after, and finds out which of the changes makes the difference.
func (e *EnvironmentPlan) effects(rev access.Revision, at time.Time) ([]effect, error) {
	after, err := e.after(rev)
	if err != nil {
		return nil, err
	}
	causes := e.causes()
	var out []effect
	for _, u := range e.snapshot.Reached(e.changes) {
		was, err := whatIfAny(e.snapshot, u, at)
		if err != nil {
			return nil, err
		}
		is, err := whatIfAny(after, u, at)
		if err != nil {
			return nil, err
		}
		d := is.Diff(was)
		by := map[Cause]*engine.Diff{}
		of := func(c Cause) *engine.Diff {
			if by[c] == nil {
				by[c] = &engine.Diff{User: u}
			}
			return by[c]
		}
		for _, a := range d.Gained {
			one := of(causes.of(is, a))
			one.Gained = append(one.Gained, a)
		}
		for _, a := range d.Lost {
			one := of(causes.of(was, a))
			one.Lost = append(one.Lost, a)
		}
		for _, c := range slices.SortedFunc(maps.Keys(by), compareCauses) {
			out = append(out, effect{c, *by[c]})
		}
	}
	return out, nil
}

// whatIfAny is What, which for somebody who is not there is nothing.
func whatIfAny(s *engine.Snapshot, u access.UserID, at time.Time) (engine.What, error) {
	if s != nil {
		if w, err := s.What(u, at); !errors.Is(err, engine.ErrUnknown) {
			return w, err
		}
	}
	return engine.What{User: u, At: at}, nil
}

func compareCauses(a, b Cause) int {
	return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Text, b.Text))
}

// causes are the changes that can be why somebody gains or loses access.
type causes struct {
	users       map[access.UserID]Cause // of those who come, go or change
	memberships map[access.MembershipKey]Cause
	assignments map[access.AssignmentID]Cause
	roles       map[access.RoleID]Cause
}

func (e *EnvironmentPlan) causes() causes {
	c := causes{map[access.UserID]Cause{}, map[access.MembershipKey]Cause{}, map[access.AssignmentID]Cause{}, map[access.RoleID]Cause{}}
	for i, ch := range e.changes {
		switch o := ch.Object.(type) {
		case access.User:
			c.users[o.ID] = causeOf(o)
		case access.Membership:
			if ch.Delete || e.before[i] == nil {
				c.memberships[access.MembershipKey{Team: o.Team, User: o.User}] = causeOf(o)
			}
		case access.Assignment:
			c.assignments[o.ID] = causeOf(o)
		case access.Role:
			c.roles[o.ID] = Cause{Text: fmt.Sprintf("role %q is changed", o.Name)}
		}
	}
	return c
}

// causeOf is who wants an object, or wanted it.
func causeOf(o access.Object) Cause {
	switch by := managedBy(o); by {
	case access.ByMapping:
		return Cause{Rule: origin(o).Rule, Text: fmt.Sprintf("rule %q", origin(o).Rule)}
	case access.ByFile:
		return Cause{Text: "the model files"}
	case access.BySystem:
		return Cause{Text: "what Ambit ships"}
	default:
		return Cause{Text: "what was made over the API, and follows from another change"}
	}
}

// of finds which change makes that the user's answer has the access and the other
// one does not: what brings the user into the team, then what gives the role, the
// role itself, the user, and last what changes for everybody.
func (c causes) of(w engine.What, a engine.Access) Cause {
	var found []Cause
	for _, h := range w.Held {
		team := a
		team.Team = engine.Named{}
		if h.Access != a && h.Access != team { // a part of user depth is told team by team
			continue
		}
		for _, s := range w.Sources {
			if !slices.Contains(h.By, s.Assignment) {
				continue
			}
			if s.Team != nil {
				if cause, ok := c.memberships[access.MembershipKey{Team: s.Team.ID, User: w.User}]; ok {
					found = append(found, cause)
					continue
				}
			}
			if cause, ok := c.assignments[s.Assignment]; ok {
				found = append(found, cause)
			} else if cause, ok := c.roles[access.RoleID(s.Role.ID)]; ok {
				found = append(found, cause)
			}
		}
	}
	if len(found) > 0 {
		return slices.MinFunc(found, compareCauses)
	}
	if cause, ok := c.users[w.User]; ok {
		return cause
	}
	return Cause{Text: "units, tables, teams or settings are changed"}
}

// after is the environment as it would be.
func (e *EnvironmentPlan) after(rev access.Revision) (*engine.Snapshot, error) {
	if e.snapshot != nil {
		return e.snapshot.Apply(e.changes, rev)
	}
	s := access.NewState(e.Environment)
	s.Apply(e.changes...)
	return engine.New(s, rev)
}

// sumUp makes of the effects what a plan says of them.
func (e *EnvironmentPlan) sumUp(effects []effect) EnvironmentAccess {
	out := EnvironmentAccess{Environment: e.Environment}
	byUser := map[access.UserID]engine.Diff{}
	byCause := map[Cause][]engine.Diff{}
	var order []access.UserID
	for _, x := range effects {
		d, known := byUser[x.diff.User]
		if !known {
			order = append(order, x.diff.User)
		}
		d.User = x.diff.User
		d.Gained, d.Lost = append(d.Gained, x.diff.Gained...), append(d.Lost, x.diff.Lost...)
		byUser[x.diff.User] = d
		byCause[x.cause] = append(byCause[x.cause], x.diff)
	}
	out.Lines = engine.Summarize(slices.Collect(maps.Values(byUser)))
	for _, c := range slices.SortedFunc(maps.Keys(byCause), compareCauses) {
		out.Causes = append(out.Causes, causeAccess(c, byCause[c]))
	}
	out.UserCount = len(order)
	slices.SortFunc(order, func(a, b access.UserID) int {
		return cmp.Or(cmp.Compare(e.name(access.KindUser, string(a)), e.name(access.KindUser, string(b))), cmp.Compare(a, b))
	})
	order = order[:min(len(order), maxUsers)]
	named := map[access.UserID][]CauseAccess{}
	for _, x := range effects {
		if slices.Contains(order, x.diff.User) {
			named[x.diff.User] = append(named[x.diff.User], causeAccess(x.cause, []engine.Diff{x.diff}))
		}
	}
	for _, u := range order {
		out.Users = append(out.Users, UserAccess{User: u, Login: e.name(access.KindUser, string(u)), Causes: named[u]})
	}
	return out
}

func causeAccess(c Cause, diffs []engine.Diff) CauseAccess {
	out := CauseAccess{Cause: c, Lines: engine.Summarize(diffs)}
	for _, d := range diffs {
		if len(d.Gained) > 0 {
			out.Gain++
		}
		if len(d.Lost) > 0 {
			out.Lose++
		}
	}
	return out
}

// How much of who gains and loses what, and why, the text of a plan has in one
// environment; the JSON form has more.
const (
	maxCauseLines = 5
	maxUserTexts  = 10
)

// write prints by cause and by user what is gained and lost.
func (a EnvironmentAccess) write(t *textWriter) {
	if len(a.Causes) == 0 {
		return
	}
	t.line("  By rule")
	for i, c := range a.Causes {
		if i == maxLines {
			t.line("    … and %d more causes", len(a.Causes)-i)
			break
		}
		t.line("    %s: %d gain, %d lose", plain(c.Text), c.Gain, c.Lose)
		if len(a.Causes) == 1 {
			break // its lines are those above
		}
		for j, l := range c.Lines {
			if j == maxCauseLines {
				t.line("      … and %d more of these", len(c.Lines)-j)
				break
			}
			t.line("      %s", l)
		}
	}
	t.line("  By person")
	for _, u := range a.Users[:min(len(a.Users), maxUserTexts)] {
		shown, all := 0, 0
		for _, c := range u.Causes {
			for _, l := range c.Lines {
				if all++; shown < maxCauseLines {
					shown++
					t.line("    %s %s (%s)", plain(u.Login), strings.TrimPrefix(l.String(), "1 user "), plain(c.Text))
				}
			}
		}
		if all > shown {
			t.line("    %s … and %d more of these", plain(u.Login), all-shown)
		}
	}
	if more := a.UserCount - min(len(a.Users), maxUserTexts); more > 0 {
		t.line("    … and %d more users", more)
	}
}
