package access

import "fmt"

// State is one environment at one revision, as plain maps. It is what plans are
// compared with, what invariants are judged on, and what an engine snapshot is
// made from. NewState makes it, and the maps change by Apply alone, which keeps
// an index beside them. It is not safe for use while somebody applies changes.
type State struct {
	Environment   Environment
	BusinessUnits map[BusinessUnitID]BusinessUnit
	Tables        map[TableID]Table
	Relationships map[RelationshipID]Relationship
	Templates     map[TemplateID]Template
	Positions     map[PositionID]Position
	Roles         map[RoleID]Role
	Profiles      map[ProfileID]Profile
	Users         map[UserID]User
	Teams         map[TeamID]Team // without the derived default teams
	Memberships   map[MembershipKey]Membership
	Assignments   map[AssignmentID]Assignment
	// ProfileMembers are those who have a profile.
	ProfileMembers map[ProfileMemberKey]ProfileMember
	Records        map[RecordKey]Record
	Shares         map[ShareKey]Share
	ColumnShares   map[ColumnShareKey]ColumnShare
	// Others holds the objects of other packages (policies, open requests), by
	// kind and key.
	Others map[OtherKey]Object

	index   index
	version *byte // another one after each Apply
}

// pristine is the version of states to which nothing was ever applied.
var pristine byte

// MembershipKey identifies a membership within an environment.
type MembershipKey struct {
	Team TeamID
	User UserID
}

// RecordKey identifies a record within an environment.
type RecordKey struct {
	Table  TableID
	Record RecordID
}

// ShareKey identifies a share within an environment.
type ShareKey struct {
	RecordKey
	Principal Principal
}

// ProfileMemberKey identifies a profile's member within an environment.
type ProfileMemberKey struct {
	Profile   ProfileID
	Principal Principal
}

// ColumnShareKey identifies a column share within an environment.
type ColumnShareKey struct {
	RecordKey
	Column    string
	Principal Principal
}

// OtherKey identifies an object of a kind that this package does not define.
type OtherKey struct {
	Kind Kind
	Key  string
}

// NewState makes an empty state.
func NewState(env EnvironmentID) *State { return newState(env, sizes{}) }

// sizes are how many objects of the kinds that there are many of to expect.
type sizes struct{ users, teams, memberships, assignments, records, shares int }

func newState(env EnvironmentID, n sizes) *State {
	return &State{
		Environment:    Environment{ID: env},
		BusinessUnits:  map[BusinessUnitID]BusinessUnit{},
		Tables:         map[TableID]Table{},
		Relationships:  map[RelationshipID]Relationship{},
		Templates:      map[TemplateID]Template{},
		Positions:      map[PositionID]Position{},
		Roles:          map[RoleID]Role{},
		Profiles:       map[ProfileID]Profile{},
		Users:          make(map[UserID]User, n.users),
		Teams:          make(map[TeamID]Team, n.teams),
		Memberships:    make(map[MembershipKey]Membership, n.memberships),
		Assignments:    make(map[AssignmentID]Assignment, n.assignments),
		ProfileMembers: map[ProfileMemberKey]ProfileMember{},
		Records:        make(map[RecordKey]Record, n.records),
		Shares:         make(map[ShareKey]Share, n.shares),
		ColumnShares:   map[ColumnShareKey]ColumnShare{},
		Others:         map[OtherKey]Object{},
		index:          newIndex(n),
		version:        &pristine,
	}
}

// Len is how many objects there are, besides the environment itself.
func (s *State) Len() int {
	return len(s.BusinessUnits) + len(s.Tables) + len(s.Relationships) + len(s.Templates) + len(s.Positions) + len(s.Roles) + len(s.Profiles) +
		len(s.Users) + len(s.Teams) + len(s.Memberships) + len(s.Assignments) + len(s.ProfileMembers) +
		len(s.Records) + len(s.Shares) + len(s.ColumnShares) + len(s.Others)
}

// With is a copy of the state with the changes made, as Apply makes them; s stays
// as it is. It costs by all that there is: it is for changes that outnumber that.
func (s *State) With(changes []Change) *State {
	n := sizes{len(s.Users), len(s.Teams), len(s.Memberships), len(s.Assignments), len(s.Records), len(s.Shares)}
	for _, c := range changes {
		switch c.Object.(type) {
		case User:
			n.users++
		case Team:
			n.teams++
		case Membership:
			n.memberships++
		case Assignment:
			n.assignments++
		case Record:
			n.records++
		case Share:
			n.shares++
		}
	}
	out := newState(s.Environment.ID, n)
	out.Apply(Put(s.Environment))
	putAll(out, s.BusinessUnits)
	putAll(out, s.Tables)
	putAll(out, s.Relationships)
	putAll(out, s.Templates)
	putAll(out, s.Positions)
	putAll(out, s.Roles)
	putAll(out, s.Profiles)
	putAll(out, s.Users)
	putAll(out, s.Teams)
	putAll(out, s.Memberships)
	putAll(out, s.Assignments)
	putAll(out, s.ProfileMembers)
	putAll(out, s.Records)
	putAll(out, s.Shares)
	putAll(out, s.ColumnShares)
	putAll(out, s.Others)
	out.Apply(changes...)
	return out
}

func putAll[K comparable, V Object](to *State, m map[K]V) {
	for _, o := range m {
		to.Apply(Put(o))
	}
}

// Exists tells whether the environment has been put.
func (s *State) Exists() bool { return s.Environment.ManagedBy != "" }

// Closer is implemented by objects of other packages that stop mattering to
// decisions, as a denied request does: State drops them, the store keeps them.
type Closer interface{ Closed() bool }

// Apply makes the changes, in order, without judging them: call Expand first.
// Changes of another environment are a caller's bug and panic.
func (s *State) Apply(changes ...Change) {
	s.version = new(byte)
	for _, c := range changes {
		if e := c.Object.ObjectEnvironment(); e != s.Environment.ID {
			panic(fmt.Sprintf("internal error: change of environment %q applied to %q", e, s.Environment.ID))
		}
		switch o := c.Object.(type) {
		case Environment:
			if c.Delete {
				o = Environment{ID: o.ID}
			}
			s.Environment = o
		case BusinessUnit:
			named(s.index, s.BusinessUnits, o.ID, o, c.Delete)
		case Table:
			set(s.Tables, o.ID, o, c.Delete)
		case Relationship:
			if was, ok := s.Relationships[o.ID]; ok {
				s.index.relations.remove(was.Parent, o.ID)
			}
			s.index.relations.set(o.Parent, o.ID, c.Delete)
			set(s.Relationships, o.ID, o, c.Delete)
		case Template:
			named(s.index, s.Templates, o.ID, o, c.Delete)
		case Position:
			named(s.index, s.Positions, o.ID, o, c.Delete)
		case Role:
			named(s.index, s.Roles, o.ID, o, c.Delete)
		case Profile:
			named(s.index, s.Profiles, o.ID, o, c.Delete)
		case User:
			if s.Users[o.ID].unattended() {
				s.index.unattended--
			}
			if !c.Delete && o.unattended() {
				s.index.unattended++
			}
			named(s.index, s.Users, o.ID, o, c.Delete)
		case Team:
			if was := s.Teams[o.ID]; was.For != nil {
				s.index.teams.remove(was.For.record(), o.ID)
			}
			if o.For != nil && !c.Delete {
				s.index.teams.add(o.For.record(), o.ID)
			}
			named(s.index, s.Teams, o.ID, o, c.Delete)
		case Membership:
			s.index.memberships.set(o.User, o.Team, c.Delete)
			if c.Delete {
				s.index.members.remove(o.Team, o.User)
			} else if s.Teams[o.Team].For != nil { // a team is put before its members
				s.index.members.add(o.Team, o.User)
			}
			before := len(s.Memberships)
			set(s.Memberships, MembershipKey{o.Team, o.User}, o, c.Delete)
			s.index.resize(o.Team, len(s.Memberships)-before)
		case Assignment:
			if was, ok := s.Assignments[o.ID]; ok && was.Principal != o.Principal {
				s.index.assignments.set(was.Principal, o.ID, true)
			}
			s.index.assignments.set(o.Principal, o.ID, c.Delete)
			set(s.Assignments, o.ID, o, c.Delete)
		case ProfileMember:
			s.index.profiles.set(o.Principal, o.Profile, c.Delete)
			set(s.ProfileMembers, o.key(), o, c.Delete)
		case Record:
			k := RecordKey{o.Table, o.ID}
			if was, ok := s.Records[k]; ok {
				if was.Owner != o.Owner {
					s.index.owned.remove(was.Owner, k)
				}
				for _, l := range was.Links {
					s.index.children.remove(linkKey{l.Relationship, l.Record}, k)
				}
			}
			for _, l := range o.Links {
				s.index.children.set(linkKey{l.Relationship, l.Record}, k, c.Delete)
			}
			s.index.owned.set(o.Owner, k, c.Delete || o.Owner == Principal{})
			set(s.Records, k, o, c.Delete)
		case Share:
			s.index.received.set(o.Principal, o.key().RecordKey, c.Delete)
			s.index.shared.set(o.key().RecordKey, o.Principal, c.Delete)
			set(s.Shares, o.key(), o, c.Delete)
		case ColumnShare:
			s.index.columns.set(o.key().RecordKey, o.key(), c.Delete)
			s.index.columnsOf.set(o.Principal, o.key(), c.Delete)
			set(s.ColumnShares, o.key(), o, c.Delete)
		default:
			closer, ok := o.(Closer)
			set(s.Others, OtherKey{o.ObjectKind(), o.ObjectKey()}, o, c.Delete || ok && closer.Closed())
		}
	}
}

func (l TemplateLink) record() RecordKey { return RecordKey{l.Table, l.Record} }

// unattended tells whether the user counts among the non-interactive ones of an
// environment (Rule ACC-1). Application users do not: they are bound otherwise.
func (u User) unattended() bool { return u.Kind == Person && u.AccessMode == NonInteractive }

func (r Record) key() RecordKey { return RecordKey{r.Table, r.ID} }

func (m ProfileMember) key() ProfileMemberKey { return ProfileMemberKey{m.Profile, m.Principal} }

func (c ColumnShare) key() ColumnShareKey {
	return ColumnShareKey{RecordKey{c.Table, c.Record}, c.Column, c.Principal}
}

func (s Share) key() ShareKey { return ShareKey{RecordKey{s.Table, s.Record}, s.Principal} }

// named sets an object of a kind whose names are unique.
func named[K comparable, V Object](x index, m map[K]V, k K, v V, del bool) {
	if was, ok := m[k]; ok {
		x.release(was)
	}
	if !del {
		x.claim(v)
	}
	set(m, k, v, del)
}

func set[K comparable, V any](m map[K]V, k K, v V, del bool) {
	if del {
		delete(m, k)
	} else {
		m[k] = v
	}
}
