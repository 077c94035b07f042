package dirsync

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/mapping"
)

// planned are the kinds of object that a plan makes: the others belong to
// applications and to elevation.
const planned = access.KindProfileMember

// lookup finds an object of a planned kind in a state.
func lookup(s *access.State, k mapping.Key) (access.Object, bool) {
	switch k.Kind {
	case access.KindEnvironment:
		return s.Environment, s.Exists()
	case access.KindBusinessUnit:
		return get(s.BusinessUnits, access.BusinessUnitID(k.Key))
	case access.KindTable:
		return get(s.Tables, access.TableID(k.Key))
	case access.KindRelationship:
		return get(s.Relationships, access.RelationshipID(k.Key))
	case access.KindTemplate:
		return get(s.Templates, access.TemplateID(k.Key))
	case access.KindPosition:
		return get(s.Positions, access.PositionID(k.Key))
	case access.KindRole:
		return get(s.Roles, access.RoleID(k.Key))
	case access.KindProfile:
		return get(s.Profiles, access.ProfileID(k.Key))
	case access.KindUser:
		return get(s.Users, access.UserID(k.Key))
	case access.KindTeam:
		return get(s.Teams, access.TeamID(k.Key))
	case access.KindMembership:
		if parts := access.SplitKey(k.Key); len(parts) == 2 {
			return get(s.Memberships, access.MembershipKey{Team: access.TeamID(parts[0]), User: access.UserID(parts[1])})
		}
	case access.KindAssignment:
		return get(s.Assignments, access.AssignmentID(k.Key))
	case access.KindProfileMember:
		if parts := access.SplitKey(k.Key); len(parts) == 3 {
			if p, err := access.ParsePrincipal(parts[1] + ":" + parts[2]); err == nil {
				return get(s.ProfileMembers, access.ProfileMemberKey{Profile: access.ProfileID(parts[0]), Principal: p})
			}
		}
	}
	return nil, false
}

// current is lookup for an object at hand, without making its key.
func current(s *access.State, o access.Object) (access.Object, bool) {
	switch o := o.(type) {
	case access.User:
		return get(s.Users, o.ID)
	case access.Membership:
		return get(s.Memberships, access.MembershipKey{Team: o.Team, User: o.User})
	}
	return lookup(s, mapping.KeyOf(o))
}

func get[K comparable, V access.Object](m map[K]V, k K) (access.Object, bool) {
	v, ok := m[k]
	if !ok {
		return nil, false
	}
	return v, true
}

// ours yields the objects of a state that files and mappings made, in no order.
func ours(s *access.State, yield func(access.Object)) {
	if s.Exists() {
		yieldOurs(s.Environment, yield)
	}
	each(s.BusinessUnits, yield)
	each(s.Tables, yield)
	each(s.Relationships, yield)
	each(s.Templates, yield)
	each(s.Positions, yield)
	each(s.Roles, yield)
	each(s.Profiles, yield)
	each(s.Users, yield)
	each(s.Teams, yield)
	each(s.Memberships, yield)
	each(s.Assignments, yield)
	each(s.ProfileMembers, yield)
}

func each[K comparable, V access.Object](m map[K]V, yield func(access.Object)) {
	for _, v := range m {
		yieldOurs(v, yield)
	}
}

func yieldOurs(o access.Object, yield func(access.Object)) {
	if m := managedBy(o); m == access.ByFile || m == access.ByMapping {
		yield(o)
	}
}

// managedBy tells who manages an object of a planned kind.
func managedBy(o access.Object) access.ManagedBy {
	switch o := o.(type) {
	case access.Environment:
		return o.ManagedBy
	case access.BusinessUnit:
		return o.ManagedBy
	case access.Table:
		return o.ManagedBy
	case access.Relationship:
		return o.ManagedBy
	case access.Template:
		return o.ManagedBy
	case access.Position:
		return o.ManagedBy
	case access.Role:
		return o.ManagedBy
	case access.Profile:
		return o.ManagedBy
	case access.User:
		return o.ManagedBy
	case access.Team:
		return o.ManagedBy
	case access.Membership:
		return o.ManagedBy
	case access.Assignment:
		return o.ManagedBy
	case access.ProfileMember:
		return o.ManagedBy
	}
	return ""
}

// origin tells what a mapping rule made an object from.
func origin(o access.Object) access.Origin {
	switch o := o.(type) {
	case access.User:
		return o.Origin
	case access.Team:
		return o.Origin
	case access.Membership:
		return o.Origin
	case access.Assignment:
		return o.Origin
	}
	return access.Origin{}
}

// same tells whether two objects of one key say the same. What they look like in
// the store counts: an empty list and none are alike.
func same(a, b access.Object) bool {
	switch a := a.(type) {
	case access.User:
		b, ok := b.(access.User)
		return ok && a == b
	case access.Membership:
		b, ok := b.(access.Membership)
		return ok && a == b
	}
	return bytes.Equal(encode(a), encode(b))
}

// encode writes an object in its one form.
func encode(o access.Object) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		panic("internal error: encode " + access.Put(o).String() + ": " + err.Error())
	}
	return b
}

// fields names the fields in which two objects of one kind differ, sorted.
func fields(before, after access.Object) []string {
	var was, is map[string]json.RawMessage
	if json.Unmarshal(encode(before), &was) != nil || json.Unmarshal(encode(after), &is) != nil {
		return nil
	}
	var names []string
	for name, v := range is {
		if !bytes.Equal(v, was[name]) {
			names = append(names, name)
		}
		delete(was, name)
	}
	return slices.Sorted(slices.Values(slices.AppendSeq(names, maps.Keys(was))))
}
