package dirsync

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// effect is what one user gains and loses.
type effect struct {
	engine.Diff
	by []caused // sorted
}

// caused is what one user gains and loses for one cause.
type caused struct {
	Cause
	engine.Diff
}

// effectsPart is how many users are asked about at once.
const effectsPart = 200

// effects asks the engine about each user whom the changes can reach, before and
// after, and finds out which of the changes makes the difference. It lists those
// for whom there is one, sorted.
func (e *EnvironmentPlan) effects(rev access.Revision, at time.Time) ([]effect, error) {
	after, err := e.after(rev)
	if err != nil {
		return nil, err
	}
	causes := e.causes()
	users := e.snapshot.Reached(e.changes)
	out, errs := make([]effect, len(users)), make([]error, len(users))
	var asked atomic.Int64
	var asking sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		asking.Go(func() {
			for {
				to := int(asked.Add(effectsPart))
				for i := to - effectsPart; i < min(to, len(users)); i++ {
					out[i], errs[i] = e.effectOn(users[i], after, causes, at)
				}
				if to >= len(users) {
					return
				}
			}
		})
	}
	asking.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errs[i]
	}
	return slices.DeleteFunc(out, func(x effect) bool { return len(x.by) == 0 }), nil
}

func (e *EnvironmentPlan) effectOn(u access.UserID, after *engine.Snapshot, causes causes, at time.Time) (effect, error) {
	was, err := whatIfAny(e.snapshot, u, at)
	if err != nil {
		return effect{}, err
	}
	is, err := whatIfAny(after, u, at)
	if err != nil {
		return effect{}, err
	}
	out := effect{Diff: is.Diff(was)}
	of := func(c Cause) *engine.Diff {
		i := slices.IndexFunc(out.by, func(x caused) bool { return x.Cause == c })
		if i < 0 {
			i = len(out.by)
			out.by = append(out.by, caused{c, engine.Diff{User: u}})
		}
		return &out.by[i].Diff
	}
	for _, a := range out.Gained {
		one := of(causes.of(is, a))
		one.Gained = append(one.Gained, a)
	}
	for _, a := range out.Lost {
		one := of(causes.of(was, a))
		one.Lost = append(one.Lost, a)
	}
	slices.SortFunc(out.by, func(a, b caused) int { return compareCauses(a.Cause, b.Cause) })
	return out, nil
}

// whatIfAny is WhatHeld, which for somebody who is not there is nothing.
func whatIfAny(s *engine.Snapshot, u access.UserID, at time.Time) (engine.What, error) {
	if s != nil {
		if w, err := s.WhatHeld(u, at); !errors.Is(err, engine.ErrUnknown) {
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
		for _, by := range h.By {
			var role access.RoleID
			var team access.TeamID
			if len(c.memberships)+len(c.roles) > 0 {
				role, team = w.Carried(by)
			}
			cause, ok := c.memberships[access.MembershipKey{Team: team, User: w.User}]
			if !ok {
				cause, ok = c.assignments[by]
			}
			if !ok {
				cause, ok = c.roles[role]
			}
			if ok {
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
	out := EnvironmentAccess{Environment: e.Environment, UserCount: len(effects)}
	diffs := make([]engine.Diff, len(effects))
	byCause := map[Cause][]engine.Diff{}
	var users []UserAccess // the first by login
	for i, x := range effects {
		diffs[i] = x.Diff
		for _, c := range x.by {
			byCause[c.Cause] = append(byCause[c.Cause], c.Diff)
		}
		u := UserAccess{User: x.User, Login: e.name(access.KindUser, string(x.User))}
		if len(users) < maxUsers || compareLogins(u, users[maxUsers-1]) < 0 {
			at, _ := slices.BinarySearchFunc(users, u, compareLogins)
			users = slices.Insert(users, at, u)
			users = users[:min(len(users), maxUsers)]
		}
	}
	out.Lines = engine.Summarize(diffs)
	for _, c := range slices.SortedFunc(maps.Keys(byCause), compareCauses) {
		one := CauseAccess{Cause: c}
		one.count(byCause[c])
		if one.Lines = out.Lines; len(byCause) > 1 {
			one.Lines = engine.Summarize(byCause[c])
		}
		out.Causes = append(out.Causes, one)
	}
	for i := range users {
		u := &users[i]
		at, _ := slices.BinarySearchFunc(effects, u.User, func(x effect, id access.UserID) int { return cmp.Compare(x.User, id) })
		for _, c := range effects[at].by {
			one := CauseAccess{Cause: c.Cause, Lines: engine.Summarize([]engine.Diff{c.Diff})}
			one.count([]engine.Diff{c.Diff})
			u.Causes = append(u.Causes, one)
		}
	}
	out.Users = users
	return out
}

func compareLogins(a, b UserAccess) int {
	return cmp.Or(cmp.Compare(a.Login, b.Login), cmp.Compare(a.User, b.User))
}

func (c *CauseAccess) count(diffs []engine.Diff) {
	for _, d := range diffs {
		if len(d.Gained) > 0 {
			c.Gain++
		}
		if len(d.Lost) > 0 {
			c.Lose++
		}
	}
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
