package enginetest

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Shrink makes an organisation small: it takes objects and details away for as long
// as the difference stays.
func Shrink(st *access.State, differs func(*access.State) bool) *access.State {
	for smaller := true; smaller; {
		smaller = false
		for _, less := range reductions(st) {
			if next := Clone(st); less(next) && differs(next) {
				st, smaller = next, true
			}
		}
	}
	return st
}

// ShrinkAsked leaves out of what is asked what the difference does not rest on.
func ShrinkAsked(a Asked, differs func(Asked) bool) Asked {
	try := func(next Asked) bool {
		if reflect.DeepEqual(next, a) || !differs(next) {
			return false
		}
		a = next
		return true
	}
	for i := 0; i < len(a.Questions) && len(a.Questions) > 1; {
		next := a
		if next.Questions = slices.Delete(slices.Clone(a.Questions), i, i+1); !try(next) {
			i++
		}
	}
	for i := 0; i < len(a.Changes); {
		next := a
		if next.Changes = slices.Delete(slices.Clone(a.Changes), i, i+1); !try(next) {
			i++
		}
	}
	for i := range a.Changes {
		for j := 0; j < len(a.Changes[i]); {
			next := a
			next.Changes = slices.Clone(a.Changes)
			if next.Changes[i] = slices.Delete(slices.Clone(a.Changes[i]), j, j+1); !try(next) {
				j++
			}
		}
	}
	for i := range a.Questions {
		for _, less := range []func(*engine.Question){
			func(q *engine.Question) { q.Impersonator = "" },
			func(q *engine.Question) { q.Columns = nil },
			func(q *engine.Question) { q.Columns = q.Columns[:min(1, len(q.Columns))] },
			func(q *engine.Question) { q.Channel = "" },
		} {
			next := a
			next.Questions = slices.Clone(a.Questions)
			less(&next.Questions[i])
			try(next)
		}
	}
	return a
}

// reductions lists what can be taken away from the state; each tells whether there
// was something to take.
func reductions(st *access.State) []func(*access.State) bool {
	var out []func(*access.State) bool
	for _, o := range Objects(st) {
		out = append(out, func(st *access.State) bool {
			if b, ok := o.(access.BusinessUnit); ok && st.BusinessUnits[b.ID].Parent == "" {
				return false // the root
			}
			if b, ok := o.(access.BusinessUnit); ok { // what is below stays in the tree
				for id, c := range st.BusinessUnits {
					if c.Parent == b.ID {
						c.Parent = st.BusinessUnits[b.ID].Parent
						st.BusinessUnits[id] = c
					}
				}
			}
			st.Apply(access.Remove(o))
			return true
		})
	}
	plain := access.Environment{ID: st.Environment.ID, Name: st.Environment.Name, ManagedBy: st.Environment.ManagedBy}
	for i := range reflect.TypeFor[access.Environment]().NumField() {
		out = append(out, func(st *access.State) bool { return clearField(&st.Environment, &plain, i) })
	}
	for id, u := range st.Users {
		plain := access.User{Environment: u.Environment, ID: id, Login: u.Login, Name: u.Name, BusinessUnit: u.BusinessUnit, Enabled: true}
		for i := range reflect.TypeFor[access.User]().NumField() {
			out = append(out, func(st *access.State) bool {
				u, ok := st.Users[id]
				if !ok || !clearField(&u, &plain, i) {
					return false
				}
				st.Users[id] = u
				return true
			})
		}
	}
	for id := range st.Assignments {
		out = append(out, func(st *access.State) bool {
			a, ok := st.Assignments[id]
			was := a
			a.Window, a.Bound = access.Window{}, nil
			st.Assignments[id] = a
			return ok && !reflect.DeepEqual(a, was)
		})
	}
	for id, r := range st.Roles {
		for _, p := range r.Privileges {
			out = append(out, func(st *access.State) bool {
				r, ok := st.Roles[id]
				n := len(r.Privileges)
				r.Privileges = slices.DeleteFunc(slices.Clone(r.Privileges), func(o access.Privilege) bool { return o == p })
				st.Roles[id] = r
				return ok && len(r.Privileges) < n
			})
		}
	}
	return out
}

// clearField makes one field of a struct plain, and tells whether it was not.
func clearField[T any](v, plain *T, i int) bool {
	to, from := reflect.ValueOf(v).Elem().Field(i), reflect.ValueOf(plain).Elem().Field(i)
	if reflect.DeepEqual(to.Interface(), from.Interface()) {
		return false
	}
	to.Set(from)
	return true
}

// Objects lists the objects of the state, those that others name last.
func Objects(st *access.State) []access.Object {
	var out []access.Object
	out = append(out, sorted(st.ColumnShares)...)
	out = append(out, sorted(st.Shares)...)
	out = append(out, sorted(st.Records)...)
	out = append(out, sorted(st.ProfileMembers)...)
	out = append(out, sorted(st.Assignments)...)
	out = append(out, sorted(st.Memberships)...)
	out = append(out, sorted(st.Teams)...)
	out = append(out, sorted(st.Users)...)
	out = append(out, sorted(st.Profiles)...)
	out = append(out, sorted(st.Roles)...)
	out = append(out, sorted(st.Positions)...)
	out = append(out, sorted(st.Templates)...)
	out = append(out, sorted(st.Relationships)...)
	out = append(out, sorted(st.Tables)...)
	return append(out, sorted(st.BusinessUnits)...)
}

func sorted[K comparable, O access.Object](m map[K]O) (out []access.Object) {
	for _, o := range slices.SortedFunc(maps.Values(m), func(a, b O) int { return strings.Compare(a.ObjectKey(), b.ObjectKey()) }) {
		out = append(out, o)
	}
	return out
}
