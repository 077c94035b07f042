package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// Snapshot is one environment at one revision, compiled for questions. It is
// immutable and safe for concurrent use.
//
// Inside, users, teams, units, tables and roles are small integers that are given
// out on first mention and never again to something else. What is mentioned but
// does not exist has a number and gives nothing.
type Snapshot struct {
	revision access.Revision
	env      access.Environment

	users     people
	teamIndex names
	teams     rows[team]

	tree tree

	// These are few: their lists are copied when one changes.
	tableIndex map[access.TableID]uint32
	tables     []table
	roleIndex  map[access.RoleID]uint32
	roles      []*access.Role    // nil: does not exist
	cells      []cell            // by privilege, then role: what the role says of it
	miscLines  map[string][]cell // by miscellaneous privilege
	otherMisc  []cell            // for those that no role names
	weights    []roleWeight      // by role
	relations  map[access.RelationshipID]access.Relationship
	templates  map[access.TemplateID]access.Template

	positionIndex map[access.PositionID]uint32
	positions     []position
	profileIndex  map[access.ProfileID]uint32
	profiles      []profile

	assignments  dict[*assignment]
	records      dict[*record] // spaces are tables
	shares       book
	columnShares dict[*columnShares] // spaces are tables

	order sorted[place] // all users that have a row, by id

	// What is found the other way round. Members of default teams are listed too;
	// whoever is listed as a member or holder need not exist.
	members    sorted[pair]     // by team: users
	reports    sorted[pair]     // by manager: users
	placed     sorted[pair]     // by position: users
	profiled   sorted[pair]     // by profile: principals
	holders    sorted[holder]   // by role and unit: principals
	sharedWith sorted[received] // by principal and table: rows of shares
	carried    sorted[carried]  // by role and unit, by profile, by unit: teams

	userCount, tableCount int // that exist
}

// Numbers that nothing has.
const (
	noUser     = math.MaxUint32
	noTeam     = math.MaxUint32
	noUnit     = math.MaxUint32
	noPosition = math.MaxUint32
)

// New compiles the state, which may change afterwards.
func New(st *access.State, rev access.Revision) (*Snapshot, error) {
	b := newBuilder(st.Environment, rev, sizes{
		units: len(st.BusinessUnits), users: len(st.Users), teams: len(st.Teams) + len(st.BusinessUnits), assignments: len(st.Assignments),
		records: len(st.Records), shares: len(st.Shares), columnShares: len(st.ColumnShares),
	})
	b.s.relations, b.s.templates = maps.Clone(st.Relationships), maps.Clone(st.Templates)
	for _, o := range st.BusinessUnits {
		b.putUnit(o)
	}
	for _, o := range st.Tables {
		b.putTable(o)
	}
	for _, o := range st.Roles {
		b.putRole(o)
	}
	for _, o := range st.Positions {
		b.putPosition(o)
	}
	for _, o := range st.Profiles {
		b.putProfile(o)
	}
	for _, id := range slices.Sorted(maps.Keys(st.Users)) { // so that rows lie in the order of ids, at first
		b.putUser(st.Users[id])
	}
	for _, o := range st.Teams {
		b.putTeam(o)
	}
	for _, o := range st.Memberships {
		b.putMembership(&o)
	}
	for _, o := range st.Assignments {
		b.putAssignment(o)
	}
	for _, o := range st.ProfileMembers {
		b.putProfileMember(o)
	}
	for _, o := range st.Records {
		b.putRecord(o)
	}
	for _, o := range st.Shares {
		b.putShare(&o)
	}
	for _, o := range st.ColumnShares {
		b.putColumnShare(&o)
	}
	b.build()
	return b.finish()
}

// Load compiles an environment from its objects, the environment itself among
// them, as they come: where there are millions they need not be held as state
// beside the snapshot. Each comes once; the order does not matter.
func Load(objects iter.Seq[access.Object], rev access.Revision) (*Snapshot, error) {
	b := newBuilder(access.Environment{}, rev, sizes{})
	for o := range objects {
		if b.change(access.Put(o)); b.err != nil {
			return nil, b.err
		}
	}
	if b.s.env.ID == "" {
		return nil, errors.New("load an environment: it is not among its objects")
	}
	b.build()
	return b.finish()
}

// Apply returns the snapshot with the changes made, in order; s stays as it is.
// Both share what the changes do not touch. The changes must be whole, as
// access.State.Expand returns them. Cost goes by the changes, not by the
// organisation, except that business units, tables, roles, positions and column
// security profiles, being few, are relabelled or copied as a list when one of
// their kind changes.
func (s *Snapshot) Apply(changes []access.Change, rev access.Revision) (*Snapshot, error) {
	next := *s
	next.revision = rev
	b := builder{s: &next, edit: new(edit)}
	for _, c := range changes {
		if env := c.Object.ObjectEnvironment(); env != s.env.ID {
			return nil, fmt.Errorf("apply to environment %q: %v is of environment %q", s.env.ID, c, env)
		}
		b.change(c)
	}
	return b.finish()
}

// change makes one change. Objects of other packages do not matter here.
func (b *builder) change(c access.Change) {
	switch o := c.Object.(type) {
	case access.Environment:
		if c.Delete {
			b.fail("the environment itself is deleted")
			return
		}
		b.s.env = o
	case access.BusinessUnit:
		if c.Delete {
			b.dropUnit(o.ID)
		} else {
			b.putUnit(o)
		}
	case access.Table:
		if c.Delete {
			b.dropTable(o.ID)
		} else {
			b.putTable(o)
		}
	case access.Role:
		if c.Delete {
			b.dropRole(o.ID)
		} else {
			b.putRole(o)
		}
	case access.User:
		if c.Delete {
			b.dropUser(o.ID)
		} else {
			b.putUser(o)
		}
	case access.Team:
		if c.Delete {
			b.dropTeam(o.ID)
		} else {
			b.putTeam(o)
		}
	case access.Membership:
		if c.Delete {
			b.dropMembership(o.Team, o.User)
		} else {
			b.putMembership(&o)
		}
	case access.Assignment:
		if c.Delete {
			b.dropAssignment(o.ID)
		} else {
			b.putAssignment(o)
		}
	case access.Record:
		if c.Delete {
			b.dropRecord(o)
		} else {
			b.putRecord(o)
		}
	case access.Share:
		if c.Delete {
			b.dropShare(o)
		} else {
			b.putShare(&o)
		}
	case access.Relationship:
		b.s.relations = changed(b.s.relations, o.ID, o, c.Delete)
	case access.Template:
		b.s.templates = changed(b.s.templates, o.ID, o, c.Delete)
	case access.Position:
		if c.Delete {
			b.dropPosition(o.ID)
		} else {
			b.putPosition(o)
		}
	case access.Profile:
		if c.Delete {
			b.dropProfile(o.ID)
		} else {
			b.putProfile(o)
		}
	case access.ProfileMember:
		if c.Delete {
			b.dropProfileMember(o)
		} else {
			b.putProfileMember(o)
		}
	case access.ColumnShare:
		if c.Delete {
			b.dropColumnShare(o)
		} else {
			b.putColumnShare(&o)
		}
	}
}

// changed is the map with one change, without changing it.
func changed[K comparable, V any](m map[K]V, k K, v V, del bool) map[K]V {
	if m = maps.Clone(m); m == nil {
		m = map[K]V{}
	}
	if delete(m, k); !del {
		m[k] = v
	}
	return m
}

// Revision is the revision that the snapshot shows.
func (s *Snapshot) Revision() access.Revision { return s.revision }

// User is a user at that revision; false if there is none.
func (s *Snapshot) User(id access.UserID) (access.User, bool) {
	if u := s.users.get(string(id)); u != nil && u.exists {
		return u.aside.data, true
	}
	return access.User{}, false
}

// Environment is the environment's settings at that revision.
func (s *Snapshot) Environment() access.Environment { return s.env }

// sizes are how many of a kind to expect.
type sizes struct{ units, users, teams, assignments, records, shares, columnShares int }

// newBuilder begins a snapshot of nothing.
func newBuilder(env access.Environment, rev access.Revision, n sizes) *builder {
	e, seed := &edit{loading: true}, maphash.MakeSeed()
	return &builder{
		edit: e, loading: true, ownTables: true, ownRoles: true, ownPositions: true, ownProfiles: true,
		rolesChanged: true, columnsChanged: true,
		s: &Snapshot{
			revision:      rev,
			env:           env,
			users:         people{index: newIndex(seed, n.users, e)},
			teamIndex:     names{index: newIndex(seed, n.teams, e)},
			tree:          tree{index: names{index: newIndex(seed, n.units, e)}, root: noUnit},
			tableIndex:    map[access.TableID]uint32{},
			roleIndex:     map[access.RoleID]uint32{},
			assignments:   newDict[*assignment](seed, n.assignments, e),
			records:       newDict[*record](seed, n.records, e),
			shares:        book{index: newIndex(seed, n.shares, e)},
			columnShares:  newDict[*columnShares](seed, n.columnShares, e),
			positionIndex: map[access.PositionID]uint32{},
			profileIndex:  map[access.ProfileID]uint32{},
		},
	}
}

// builder changes a snapshot that nobody else has seen yet. It copies what is
// shared with another snapshot before it changes it.
type builder struct {
	s       *Snapshot
	edit    *edit
	loading bool // all at once, in New and Load
	joining []joining
	// changedUnits wait for their places in the tree.
	changedUnits []uint32

	ownTables, ownRoles, ownPositions, ownProfiles bool

	rolesChanged, columnsChanged, positionsChanged bool

	err error // the first
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("environment %q: "+format, append([]any{b.s.env.ID}, args...)...)
	}
}

func (b *builder) finish() (*Snapshot, error) {
	if b.err == nil && len(b.changedUnits) > 0 {
		b.grow()
	}
	if b.err == nil && b.rolesChanged {
		b.compileRoles()
	}
	if b.err == nil && b.columnsChanged {
		b.compileColumns()
	}
	if b.err == nil && b.positionsChanged {
		b.linkPositions()
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.s, nil
}

// link puts the key into one of the snapshot's indexes.
func link[K key[K]](b *builder, to *sorted[K], k K) {
	if b.loading {
		to.load(k)
	} else {
		to.add(k, b.edit)
	}
}

// unlink takes it out again.
func unlink[K key[K]](b *builder, from *sorted[K], k K) { from.remove(k, b.edit) }

// build ends loading.
func (b *builder) build() {
	b.joinAll()
	b.leadAll()
	b.loading = false
	for _, x := range []*sorted[pair]{&b.s.members, &b.s.reports, &b.s.placed, &b.s.profiled} {
		x.build(b.edit)
	}
	b.s.holders.build(b.edit)
	b.s.sharedWith.build(b.edit)
	b.s.carried.build(b.edit)
	b.s.order.build(b.edit)
}
