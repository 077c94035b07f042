package access

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// index finds, within a State, what refers to an object without reading the
// whole environment, for the kinds that change every day. Apply keeps it. What
// rarely changes (units, tables, settings) is looked for by reading everything.
type index struct {
	names       map[nameKey]string // the key of the object that has the name
	memberships lists[UserID, TeamID]
	assignments lists[Principal, AssignmentID]
	owned       sets[Principal, RecordKey]
	received    sets[Principal, RecordKey] // shares, by who receives them
	shared      sets[RecordKey, Principal] // shares, by record
	columns     sets[RecordKey, ColumnShareKey]
	columnsOf   sets[Principal, ColumnShareKey]
	profiles    lists[Principal, ProfileID]
	children    sets[linkKey, RecordKey]      // records, by what they point to
	teams       sets[RecordKey, TeamID]       // access teams of a template
	members     sets[TeamID, UserID]          // of access teams of a template
	sizes       map[TeamID]int                // members of each team that has any
	relations   sets[TableID, RelationshipID] // by the parents' table
	unattended  int                           // users of access mode non-interactive
}

// linkKey is a parent as its children name it.
type linkKey struct {
	relationship RelationshipID
	parent       RecordID
}

func newIndex(n sizes) index {
	return index{
		names:       make(map[nameKey]string, n.users+2*n.teams),
		memberships: make(lists[UserID, TeamID], min(n.users, n.memberships)),
		assignments: make(lists[Principal, AssignmentID], min(n.users+n.teams, n.assignments)),
		owned:       sets[Principal, RecordKey]{},
		received:    sets[Principal, RecordKey]{},
		shared:      sets[RecordKey, Principal]{},
		columns:     sets[RecordKey, ColumnShareKey]{},
		columnsOf:   sets[Principal, ColumnShareKey]{},
		profiles:    lists[Principal, ProfileID]{},
		children:    sets[linkKey, RecordKey]{},
		teams:       sets[RecordKey, TeamID]{},
		members:     sets[TeamID, UserID]{},
		sizes:       make(map[TeamID]int, min(n.teams, n.memberships)),
		relations:   sets[TableID, RelationshipID]{},
	}
}

// sets maps each key to a set that is never empty.
type sets[K, V comparable] map[K]map[V]struct{}

func (s sets[K, V]) add(k K, v V) {
	set := s[k]
	if set == nil {
		set = make(map[V]struct{}, 1)
		s[k] = set
	}
	set[v] = struct{}{}
}

func (s sets[K, V]) remove(k K, v V) {
	set := s[k]
	delete(set, v)
	if len(set) == 0 {
		delete(s, k)
	}
}

func (s sets[K, V]) set(k K, v V, del bool) {
	if del {
		s.remove(k, v)
	} else {
		s.add(k, v)
	}
}

// lists maps each key to a sorted list that is never empty: cheaper than a set
// where it is short, as the teams of one user are.
type lists[K comparable, V cmp.Ordered] map[K][]V

func (l lists[K, V]) set(k K, v V, del bool) {
	list := l[k]
	i, found := slices.BinarySearch(list, v)
	switch {
	case found && del && len(list) == 1:
		delete(l, k)
	case found && del:
		l[k] = slices.Delete(list, i, i+1)
	case !found && !del:
		l[k] = slices.Insert(list, i, v)
	}
}

// TeamsOf lists the teams of which the user is a member, without the derived
// default team of the user's unit.
func (s *State) TeamsOf(u UserID) iter.Seq[TeamID] { return slices.Values(s.index.memberships[u]) }

// Size is how many members the team has: those that are put, which a default team
// does not have.
func (s *State) Size(t TeamID) int { return s.index.sizes[t] }

// AssignmentsOf lists the assignments to the principal itself.
func (s *State) AssignmentsOf(p Principal) iter.Seq[AssignmentID] {
	return slices.Values(s.index.assignments[p])
}

// UserByLogin finds a user by sign-in name, whatever its case (see SameLogin).
func (s *State) UserByLogin(login string) (User, bool) {
	u, ok := s.LoginHolder(login)
	if !ok || !SameLogin(u.Login, login) {
		return User{}, false
	}
	return u, true
}

// LoginHolder is the user whose sign-in name keeps everybody else from having this
// one. It need not be this one: two that only Unicode's case folding makes equal, as
// "weiß" and "weiss", are too much alike for two users. So it never tells who
// somebody is; UserByLogin does.
func (s *State) LoginHolder(login string) (User, bool) {
	u, ok := s.Users[UserID(s.index.names[nameKey{kind: KindUser, name: Fold(login)}])]
	return u, ok
}

// SameLogin tells whether two sign-in names are one person's: equal but for upper
// and lower case and for how Unicode composes a letter. Case folding does not do for
// that, since it also makes one name of two people's (Rule INC-8).
func SameLogin(a, b string) bool {
	if a == b {
		return true
	}
	a, b = norm.NFC.String(a), norm.NFC.String(b)
	in := func(letters func(string) string) bool { return letters(a) == letters(b) }
	return in(strings.ToLower) && in(strings.ToUpper) // strings.EqualFold takes ſ for s
}

// BusinessUnitByName finds a unit by name, whatever its case.
func (s *State) BusinessUnitByName(name string) (BusinessUnit, bool) {
	u, ok := s.BusinessUnits[BusinessUnitID(s.index.names[nameKey{kind: KindBusinessUnit, name: Fold(name)}])]
	return u, ok
}

// RoleByName finds a role by name, whatever its case.
func (s *State) RoleByName(name string) (Role, bool) {
	r, ok := s.Roles[RoleID(s.index.names[nameKey{kind: KindRole, name: Fold(name)}])]
	return r, ok
}

// TeamByName finds a team by name within its unit, whatever its case. Default
// teams are not found: their names are those of their units.
func (s *State) TeamByName(unit BusinessUnitID, name string) (Team, bool) {
	t, ok := s.Teams[TeamID(s.index.names[nameKey{kind: KindTeam, within: string(unit), name: Fold(name)}])]
	return t, ok
}

// resize counts members of a team who come, or go.
func (x index) resize(t TeamID, by int) {
	if x.sizes[t] += by; x.sizes[t] == 0 {
		delete(x.sizes, t)
	}
}

// nameKey is what must be unique, besides the key: a name within a kind and,
// for teams, a unit; or, for group teams, the directory group and what is taken
// of it (Rule TEAM-2).
type nameKey struct {
	kind   Kind
	within string
	name   string
	group  bool
}

// namesOf lists what the object claims for itself alone. Two at most.
func namesOf(o Object) (keys [2]nameKey, n int) {
	switch o := o.(type) {
	case BusinessUnit:
		return [2]nameKey{{kind: KindBusinessUnit, name: Fold(o.Name)}}, 1
	case Role:
		return [2]nameKey{{kind: KindRole, name: Fold(o.Name)}}, 1
	case Template:
		return [2]nameKey{{kind: KindTemplate, name: Fold(o.Name)}}, 1
	case Position:
		return [2]nameKey{{kind: KindPosition, name: Fold(o.Name)}}, 1
	case Profile:
		return [2]nameKey{{kind: KindProfile, name: Fold(o.Name)}}, 1
	case User:
		if o.Kind == ApplicationUser && o.Application != "" { // Rule ACC-2
			return [2]nameKey{{kind: KindUser, name: Fold(o.Login)}, {kind: KindUser, within: "application", name: o.Application}}, 2
		}
		return [2]nameKey{{kind: KindUser, name: Fold(o.Login)}}, 1
	case Team:
		keys[0] = nameKey{kind: KindTeam, within: string(o.BusinessUnit), name: Fold(o.Name)}
		if o.Group == nil {
			return keys, 1
		}
		keys[1] = nameKey{kind: KindTeam, group: true, within: o.Group.Source, name: o.Group.Membership.String() + " " + o.Group.Group}
		return keys, 2
	}
	return keys, 0
}

// Fold brings a name or login to the form in which names are compared: case
// folded and in Unicode's normal form C.
func Fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return norm.NFC.String(cases.Fold().String(norm.NFC.String(s)))
		}
	}
	return strings.ToLower(s)
}

func (x index) claim(o Object) {
	keys, n := namesOf(o)
	for _, k := range keys[:n] {
		x.names[k] = o.ObjectKey()
	}
}

// release gives the object's names up, unless another has taken them meanwhile,
// as when two objects swap names.
func (x index) release(o Object) {
	keys, n := namesOf(o)
	for _, k := range keys[:n] {
		if x.names[k] == o.ObjectKey() {
			delete(x.names, k)
		}
	}
}
