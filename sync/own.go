package dirsync

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

// OwnGain is the error of a held plan that would give whoever accepts it more access
// (Rule SEC-12). Nothing was changed. It wraps Held, and is ErrHeld.
type OwnGain struct {
	Held *Held
	// Accounts are those of the person that gain, at least one.
	Accounts []Account
	// May are the sign-in names of some who may accept it instead.
	May []string
}

// Account is a user of an environment.
type Account struct {
	Environment access.EnvironmentID `json:"environment"`
	User        access.UserID        `json:"user"`
	Login       string               `json:"login"`
}

func (g *OwnGain) Error() string {
	var which []string
	for _, a := range g.Accounts {
		which = append(which, fmt.Sprintf("%s in environment %s", a.Login, a.Environment))
	}
	return "the plan would give yourself more access, as " + strings.Join(which, " and as ") + ": somebody else must look at it and accept it (Rule SEC-12)"
}

func (g *OwnGain) Unwrap() error { return g.Held }

// Hint says who may accept the plan.
func (g *OwnGain) Hint() string {
	text := "whoever runs Ambit's server may, with ambit sync --accept-plan " + g.Held.Digest + " --reason WHY on it"
	if len(g.May) > 0 {
		return "ask " + strings.Join(g.May, ", ") + "; or " + text
	}
	return "nobody else has the privilege; " + text
}

// maxMay is how many of those who may accept a plan are named.
const maxMay = 5

// ownGain finds what the held plan would give the person whose accounts own tells;
// nil is somebody of whom no account is known.
func (p *Plan) ownGain(v tenant.View, held *Held, own func(access.User) bool) (*OwnGain, error) {
	if own == nil {
		return nil, nil
	}
	accounts, err := p.gains(v, own)
	if err != nil || len(accounts) == 0 {
		return nil, err
	}
	g := &OwnGain{Held: held, Accounts: accounts, May: []string{}}
	ambit, err := v.Snapshot(access.AmbitEnvironment)
	if err != nil {
		return nil, err
	}
	state, err := v.State(access.AmbitEnvironment)
	if err != nil {
		return nil, err
	}
	persons := p.personsOf(v, own)
	var others []access.User
	for _, u := range state.Users {
		if !own(u) && !persons[u.Person] {
			others = append(others, u)
		}
	}
	slices.SortFunc(others, func(a, b access.User) int { return strings.Compare(a.Login, b.Login) })
	for _, u := range others {
		d, err := ambit.Check(engine.Question{User: u.ID, Action: access.Write, Table: model.TablePlan, At: v.Now})
		if err != nil {
			return nil, err
		}
		if !d.Allowed {
			continue
		}
		gain, err := p.gains(v, func(o access.User) bool { return o.ID == u.ID || access.Fold(o.Login) == access.Fold(u.Login) })
		if err != nil {
			return nil, err
		}
		if len(gain) > 0 {
			continue
		}
		if g.May = append(g.May, u.Login); len(g.May) == maxMay {
			break
		}
	}
	return g, nil
}

// users yields everybody whom an environment has, or would have with the plan.
func (p *Plan) users(v tenant.View, env access.EnvironmentID, yield func(access.User)) {
	if state, err := v.State(env); err == nil {
		for _, u := range state.Users {
			yield(u)
		}
	}
	for i := range p.Environments {
		if e := &p.Environments[i]; e.Environment == env {
			for _, c := range e.changes {
				if u, ok := c.Object.(access.User); ok && !c.Delete {
					yield(u)
				}
			}
		}
	}
}

// personsOf are the keys of the person whose accounts own tells, in any environment
// (Rule JIT-16).
func (p *Plan) personsOf(v tenant.View, own func(access.User) bool) map[string]bool {
	persons := map[string]bool{}
	note := func(u access.User) {
		if u.Person != "" && own(u) {
			persons[u.Person] = true
		}
	}
	for _, env := range v.Environments() {
		p.users(v, env, note)
	}
	for i := range p.Environments {
		if p.Environments[i].snapshot == nil { // new
			p.users(v, p.Environments[i].Environment, note)
		}
	}
	return persons
}

// gains lists the accounts of a person that gain access by the plan: those that own
// tells, and those with the same person key.
func (p *Plan) gains(v tenant.View, own func(access.User) bool) ([]Account, error) {
	persons := p.personsOf(v, own)
	var out []Account
	for i := range p.Environments {
		e := &p.Environments[i]
		logins := map[access.UserID]string{}
		p.users(v, e.Environment, func(u access.User) {
			if own(u) || persons[u.Person] {
				logins[u.ID] = u.Login
			}
		})
		if len(logins) == 0 {
			continue
		}
		gaining, err := e.gaining(p.Revision, v.Now, logins)
		if err != nil {
			return nil, fmt.Errorf("access that the plan gives in environment %s: %w", e.Environment, err)
		}
		out = append(out, gaining...)
	}
	return out, nil
}

// gaining lists which of the users gain access, by id.
func (e *EnvironmentPlan) gaining(rev access.Revision, at time.Time, logins map[access.UserID]string) ([]Account, error) {
	after, err := e.after(rev)
	if err != nil {
		return nil, err
	}
	var out []Account
	for u, login := range logins {
		was, err := whatIfAny(e.snapshot, u, at)
		if err != nil {
			return nil, err
		}
		is, err := whatIfAny(after, u, at)
		if err != nil {
			return nil, err
		}
		if len(is.Diff(was).Gained) > 0 {
			out = append(out, Account{e.Environment, u, login})
		}
	}
	slices.SortFunc(out, func(a, b Account) int { return strings.Compare(string(a.User), string(b.User)) })
	return out, nil
}
