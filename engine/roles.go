package engine

import (
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

type table struct {
	exists  bool
	columns []column // the secured ones, by name
	data    access.Table
}

// cell is what a role says of a privilege: the depth, and two bits.
// Check reads a line of them, the one of the privilege that it is asked for.
type cell uint8

const (
	depthBits   = 7
	inheritsBit = 3 // members inherit as if it were theirs (Rule ROLE-8)
	existsBit   = 4 // the role exists
)

func (c cell) depth() access.Depth { return access.Depth(c & depthBits) }

// bound is the largest effect of an elevation (Rule JIT-62), sorted by privilege.
type bound struct {
	all   bool
	lines []boundLine
	misc  []string
}

type boundLine struct {
	privilege uint32
	depth     access.Depth
}

func (b *builder) table(id access.TableID) uint32 {
	if n, ok := b.s.tableIndex[id]; ok {
		return n
	}
	b.copyTables()
	n := uint32(len(b.s.tables))
	b.s.tableIndex[id] = n
	b.s.tables = append(b.s.tables, table{data: access.Table{ID: id}})
	b.rolesChanged = true // for its lines
	return n
}

func (b *builder) copyTables() {
	if !b.ownTables {
		b.s.tableIndex, b.s.tables = maps.Clone(b.s.tableIndex), slices.Clone(b.s.tables)
		b.ownTables = true
	}
}

func (b *builder) putTable(o access.Table) {
	n := b.table(o.ID)
	b.copyTables()
	b.s.tables[n] = table{exists: true, data: o}
	b.rolesChanged, b.columnsChanged = true, true // for the kind; for the secured ones
}

func (b *builder) dropTable(id access.TableID) {
	n := b.table(id)
	b.copyTables()
	b.s.tables[n].exists = false
	b.rolesChanged = true // they are counted there
}

// privilege numbers an action on a table.
func privilege(table uint32, a access.Action) uint32 {
	return table*uint32(access.Actions) + uint32(a)
}

func (b *builder) role(id access.RoleID) uint32 {
	if n, ok := b.s.roleIndex[id]; ok {
		return n
	}
	b.copyRoles()
	n := uint32(len(b.s.roles))
	b.s.roleIndex[id] = n
	b.s.roles = append(b.s.roles, nil)
	b.rolesChanged = true // for its place in the lines
	return n
}

// roleWeight is how much a role gives, in privileges.
type roleWeight struct {
	own        int64 // in any case
	below      int64 // and so much for each unit in the subtree of its unit
	everywhere int64 // and so much for each unit there is
}

func (s *Snapshot) weightOf(r *access.Role) (w roleWeight) {
	if r.All {
		all := int64(s.tableCount) * int64(access.Actions)
		return roleWeight{own: all, everywhere: all}
	}
	w.own = int64(len(r.Miscellaneous))
	for _, p := range r.Privileges {
		switch p.Depth {
		case access.Basic:
			w.own++
		case access.Local:
			w.own += 2
		case access.Deep:
			w.own, w.below = w.own+1, w.below+1
		case access.Global:
			w.own, w.everywhere = w.own+1, w.everywhere+1
		}
	}
	return w
}

func (b *builder) copyRoles() {
	if !b.ownRoles {
		b.s.roleIndex, b.s.roles = maps.Clone(b.s.roleIndex), slices.Clone(b.s.roles)
		b.ownRoles = true
	}
}

func (b *builder) putRole(o access.Role) {
	n := b.role(o.ID)
	b.copyRoles()
	b.rolesChanged = true
	o.Privileges, o.Miscellaneous = slices.Clone(o.Privileges), slices.Clone(o.Miscellaneous)
	for _, p := range o.Privileges {
		if p.Action >= access.Actions || p.Depth > access.Global {
			b.fail("role %q: privilege %v on table %q at depth %v (Rule ROLE-14)", o.ID, p.Action, p.Table, p.Depth)
			return
		}
		b.table(p.Table)
	}
	b.s.roles[n] = &o
}

func (b *builder) dropRole(id access.RoleID) {
	n := b.role(id)
	b.copyRoles()
	b.rolesChanged = true
	b.s.roles[n] = nil
}

// compileRoles writes the lines anew.
func (b *builder) compileRoles() {
	s := b.s
	none := make([]cell, len(s.roles)) // a role without the privilege
	s.otherMisc = make([]cell, len(s.roles))
	for n, r := range s.roles {
		if r == nil {
			continue
		}
		none[n] = 1 << existsBit
		if r.Inheritance == access.DirectUser {
			none[n] |= 1 << inheritsBit
		}
		if s.otherMisc[n] = none[n]; r.All { // Rule ROLE-10
			s.otherMisc[n] |= cell(access.Global)
		}
	}
	s.cells = nil
	for range len(s.tables) * int(access.Actions) {
		s.cells = append(s.cells, s.otherMisc...)
	}
	s.tableCount = 0
	for _, t := range s.tables {
		if t.exists {
			s.tableCount++
		}
	}
	s.miscLines, s.weights = map[string][]cell{}, make([]roleWeight, len(s.roles))
	for n, r := range s.roles {
		if r != nil {
			s.weights[n] = s.weightOf(r)
		}
		if r == nil || r.All {
			continue
		}
		for _, p := range r.Privileges {
			t := s.tableIndex[p.Table]
			s.line(privilege(t, p.Action))[n] = none[n] | cell(can(s.tables[t].data.Ownership, p.Depth))
		}
		for _, m := range r.Miscellaneous { // Rule ROLE-13: there is only having it
			if s.miscLines[m] == nil {
				s.miscLines[m] = slices.Clone(s.otherMisc)
			}
			s.miscLines[m][n] = none[n] | cell(access.Global)
		}
	}
}

// line is what each role says of a privilege.
func (s *Snapshot) line(privilege uint32) []cell {
	return s.cells[int(privilege)*len(s.roles):][:len(s.roles)]
}

// can is what a depth means for a table's kind (Rules OWN-2, OWN-3).
func can(kind access.Ownership, d access.Depth) access.Depth {
	if kind == access.OrganizationOwned && d != access.Global || kind == access.BusinessUnitOwned && d == access.Basic {
		return access.None
	}
	return d
}

func (b *builder) bound(o *access.Bound) *bound {
	if o == nil {
		return nil
	}
	c := &bound{all: o.All, misc: slices.Sorted(slices.Values(o.Miscellaneous))}
	for _, p := range o.Privileges {
		c.lines = append(c.lines, boundLine{privilege(b.table(p.Table), p.Action), p.Depth})
	}
	slices.SortFunc(c.lines, func(x, y boundLine) int { return int(x.privilege) - int(y.privilege) })
	return c
}
