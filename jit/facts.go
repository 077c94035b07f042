package jit

import (
	"cmp"
	"iter"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// facts looks objects up in a state with changes laid over it, so that the same
// judgement serves a decision and a changeset that is not yet committed.
type facts struct {
	state *access.State
	// over holds what the changes put, by the typed key of its kind, and others the
	// same for policies and requests; nil is deleted.
	over   map[any]access.Object
	others map[access.OtherKey]access.Object
}

// with lays the changes of this environment over the state.
func with(s *access.State, changes []access.Change) facts {
	f := facts{state: s, over: make(map[any]access.Object, len(changes)), others: map[access.OtherKey]access.Object{}}
	for _, c := range changes {
		if c.Object.ObjectEnvironment() != s.Environment.ID {
			continue
		}
		o := c.Object
		if c.Delete {
			o = nil
		}
		switch k := keyOf(c.Object).(type) {
		case access.OtherKey:
			f.others[k] = o
		default:
			f.over[k] = o
		}
	}
	return f
}

func keyOf(o access.Object) any {
	switch o := o.(type) {
	case access.Environment:
		return o.ID
	case access.BusinessUnit:
		return o.ID
	case access.Role:
		return o.ID
	case access.User:
		return o.ID
	case access.Team:
		return o.ID
	case access.Membership:
		return access.MembershipKey{Team: o.Team, User: o.User}
	case access.Assignment:
		return o.ID
	}
	return access.OtherKey{Kind: o.ObjectKind(), Key: o.ObjectKey()}
}

func find[K comparable, V any](f facts, m map[K]V, k K) (v V, ok bool) {
	if f.over != nil {
		if o, changed := f.over[k]; changed {
			v, ok = o.(V)
			return v, ok
		}
	}
	v, ok = m[k]
	return v, ok
}

// all yields the objects of a map as they are after the changes, in no order.
func all[K comparable, V any](f facts, m map[K]V) iter.Seq[V] {
	return func(yield func(V) bool) {
		for k, v := range m {
			if f.over != nil {
				if _, changed := f.over[k]; changed {
					continue
				}
			}
			if !yield(v) {
				return
			}
		}
		for k, o := range f.over {
			if _, ok := k.(K); !ok {
				continue
			}
			if v, ok := o.(V); ok && !yield(v) {
				return
			}
		}
	}
}

func (f facts) environment() access.Environment {
	if e, ok := f.over[f.state.Environment.ID].(access.Environment); ok {
		return e
	}
	return f.state.Environment
}

func (f facts) user(id access.UserID) (access.User, bool) { return find(f, f.state.Users, id) }
func (f facts) role(id access.RoleID) (access.Role, bool) { return find(f, f.state.Roles, id) }
func (f facts) team(id access.TeamID) (access.Team, bool) { return find(f, f.state.Teams, id) }
func (f facts) unit(id access.BusinessUnitID) (access.BusinessUnit, bool) {
	return find(f, f.state.BusinessUnits, id)
}

func (f facts) policy(id string) (Policy, bool) {
	p, ok := f.other(access.KindPolicy, id).(Policy)
	return p, ok
}

func (f facts) request(id string) (Request, bool) {
	r, ok := f.other(access.KindRequest, id).(Request)
	return r, ok
}

func (f facts) other(kind access.Kind, id string) access.Object {
	k := access.OtherKey{Kind: kind, Key: id}
	if o, changed := f.others[k]; changed {
		return o
	}
	return f.state.Others[k]
}

// others yields the objects of a kind that package access does not define.
func others[T access.Object](f facts, kind access.Kind) iter.Seq[T] {
	return func(yield func(T) bool) {
		for k, o := range f.state.Others {
			if k.Kind != kind {
				continue
			}
			if changed, ok := f.others[k]; ok {
				o = changed
			}
			if v, ok := o.(T); ok && !yield(v) {
				return
			}
		}
		for k, o := range f.others {
			if k.Kind != kind || f.state.Others[k] != nil {
				continue
			}
			if v, ok := o.(T); ok && !yield(v) {
				return
			}
		}
	}
}

// requests lists those of the requests that are not closed that keep tells to,
// by id, which is by time.
func (f facts) requests(keep func(Request) bool) []Request {
	var out []Request
	for r := range others[Request](f, access.KindRequest) {
		if !r.Closed() && keep(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Request) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// up yields the unit and the units above it. Units form a tree, but a loop must
// not hang a decision.
func (f facts) up(id access.BusinessUnitID) iter.Seq[access.BusinessUnit] {
	return func(yield func(access.BusinessUnit) bool) {
		for range len(f.state.BusinessUnits) + len(f.over) + 1 {
			u, ok := f.unit(id)
			if !ok || !yield(u) || u.Parent == "" {
				return
			}
			id = u.Parent
		}
	}
}

// within tells whether the unit is in the subtree of the other.
func (f facts) within(unit, of access.BusinessUnitID) bool {
	for u := range f.up(unit) {
		if u.ID == of {
			return true
		}
	}
	return false
}

// memberOf tells whether the user is a member of the team, with the source that
// says so if a directory does.
func (f facts) memberOf(u access.User, team access.TeamID) (source string, ok bool) {
	if unit, isDefault := team.DefaultOf(); isDefault {
		return "", u.BusinessUnit == unit
	}
	if _, ok := f.team(team); !ok {
		return "", false
	}
	m, ok := find(f, f.state.Memberships, access.MembershipKey{Team: team, User: u.ID})
	return m.Origin.Source, ok
}

// gate names the gate that the user does not pass, in the order of Rule EVAL-2;
// empty if the user is in.
func (f facts) gate(u access.User) string {
	if !u.Enabled {
		return "user_disabled"
	}
	known := false
	for b := range f.up(u.BusinessUnit) {
		known = true
		if b.Disabled {
			return "business_unit_disabled"
		}
	}
	env := f.environment()
	switch {
	case !known:
		return "business_unit_unknown"
	case env.RequireLicence && !u.Licensed:
		return "no_licence"
	case env.SecurityGroup != nil && !u.Admitted:
		return "not_in_environment_group"
	}
	return ""
}

// far tells how near the scope is to the unit: 0 for exact, 1 for the subtree of
// the unit itself, 2 for its parent's and so on; -1 if the unit is outside.
func (f facts) far(s Scope, unit access.BusinessUnitID) int {
	if !s.Subtree {
		if _, known := f.unit(unit); known && s.BusinessUnit == unit {
			return 0
		}
		return -1
	}
	n := 1
	for u := range f.up(unit) {
		if u.ID == s.BusinessUnit {
			return n
		}
		n++
	}
	return -1
}
