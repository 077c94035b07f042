package access

import "fmt"

// State is one environment at one revision, as plain maps. It is what plans are
// compared with, what invariants are judged on, and what an engine snapshot is
// made from. It is not safe for use while somebody applies changes to it.
type State struct {
	Environment   Environment
	BusinessUnits map[BusinessUnitID]BusinessUnit
	Tables        map[TableID]Table
	Roles         map[RoleID]Role
	Users         map[UserID]User
	Teams         map[TeamID]Team // without the derived default teams
	Memberships   map[MembershipKey]Membership
	Assignments   map[AssignmentID]Assignment
	Records       map[RecordKey]Record
	Shares        map[ShareKey]Share
	// Others holds the objects of other packages (policies, open requests), by
	// kind and key.
	Others map[OtherKey]Object
}

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

// OtherKey identifies an object of a kind that this package does not define.
type OtherKey struct {
	Kind Kind
	Key  string
}

// NewState makes an empty state.
func NewState(env EnvironmentID) *State {
	return &State{
		Environment:   Environment{ID: env},
		BusinessUnits: map[BusinessUnitID]BusinessUnit{},
		Tables:        map[TableID]Table{},
		Roles:         map[RoleID]Role{},
		Users:         map[UserID]User{},
		Teams:         map[TeamID]Team{},
		Memberships:   map[MembershipKey]Membership{},
		Assignments:   map[AssignmentID]Assignment{},
		Records:       map[RecordKey]Record{},
		Shares:        map[ShareKey]Share{},
		Others:        map[OtherKey]Object{},
	}
}

// Closer is implemented by objects of other packages that stop mattering to
// decisions, as a denied request does: State drops them, the store keeps them.
type Closer interface{ Closed() bool }

// Apply makes the changes, in order, without judging them: call Expand first.
// Changes of another environment are a caller's bug and panic.
func (s *State) Apply(changes ...Change) {
	for _, c := range changes {
		if e := c.Object.ObjectEnvironment(); e != s.Environment.ID {
			panic(fmt.Sprintf("internal error: change of environment %q applied to %q", e, s.Environment.ID))
		}
		switch o := c.Object.(type) {
		case Environment:
			s.Environment = o
		case BusinessUnit:
			set(s.BusinessUnits, o.ID, o, c.Delete)
		case Table:
			set(s.Tables, o.ID, o, c.Delete)
		case Role:
			set(s.Roles, o.ID, o, c.Delete)
		case User:
			set(s.Users, o.ID, o, c.Delete)
		case Team:
			set(s.Teams, o.ID, o, c.Delete)
		case Membership:
			set(s.Memberships, MembershipKey{o.Team, o.User}, o, c.Delete)
		case Assignment:
			set(s.Assignments, o.ID, o, c.Delete)
		case Record:
			set(s.Records, RecordKey{o.Table, o.ID}, o, c.Delete)
		case Share:
			set(s.Shares, o.key(), o, c.Delete)
		default:
			closer, ok := o.(Closer)
			set(s.Others, OtherKey{o.ObjectKind(), o.ObjectKey()}, o, c.Delete || ok && closer.Closed())
		}
	}
}

func (s Share) key() ShareKey { return ShareKey{RecordKey{s.Table, s.Record}, s.Principal} }

func set[K comparable, V any](m map[K]V, k K, v V, del bool) {
	if del {
		delete(m, k)
	} else {
		m[k] = v
	}
}
