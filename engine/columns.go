package engine

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// column is a secured column of a table.
type column struct {
	name    string
	mask    *access.Mask
	pattern *regexp.Regexp // the mask's
}

// profile is a column security profile.
type profile struct {
	exists bool
	lines  []profileLine // by table, then column
	data   access.Profile
}

type profileLine struct {
	table, column uint32 // the latter as the table lists the secured ones
	grants        columnGrants
}

// columnGrants is what somebody may do with a column.
type columnGrants struct {
	read, update, create bool
	unmasked             access.Unmasked
}

// columnShares are those of one record (Rule FLS-7).
type columnShares struct {
	edit   *edit
	table  uint32
	record access.RecordID
	list   []columnShare
}

type columnShare struct {
	who          who
	read, update bool
	column       string
}

func (c *columnShares) is(table uint32, record string) bool {
	return c.table == table && string(c.record) == record
}

func (b *builder) profile(id access.ProfileID) uint32 {
	b.copyProfiles()
	n, ok := b.s.profileIndex[id]
	if !ok {
		n = uint32(len(b.s.profiles))
		b.s.profileIndex[id] = n
		b.s.profiles = append(b.s.profiles, profile{data: access.Profile{ID: id}})
	}
	return n
}

func (b *builder) copyProfiles() {
	if !b.ownProfiles {
		b.s.profileIndex, b.s.profiles = maps.Clone(b.s.profileIndex), slices.Clone(b.s.profiles)
		b.ownProfiles = true
	}
}

func (b *builder) putProfile(o access.Profile) {
	n := b.profile(o.ID)
	o.Columns = slices.Clone(o.Columns)
	b.s.profiles[n] = profile{exists: true, data: o}
	b.columnsChanged = true
}

func (b *builder) dropProfile(id access.ProfileID) {
	n := b.profile(id)
	b.s.profiles[n].exists = false
	b.columnsChanged = true
}

// profilesOf is the principal's list of profiles, ready to be changed; nil when
// the principal can have none.
func (b *builder) profilesOf(p access.Principal) *[]uint32 {
	switch p.Kind {
	case access.UserPrincipal:
		return &b.user(access.UserID(p.ID)).aside.profiles
	case access.TeamPrincipal:
		return &b.editTeam(b.team(access.TeamID(p.ID))).aside.profiles
	}
	b.fail("a column security profile is given to a user or a team, not to %v (Rule FLS-2)", p)
	return nil
}

func (b *builder) putProfileMember(o access.ProfileMember) {
	n := b.profileNumber(o.Profile)
	list := b.profilesOf(o.Principal)
	if list == nil {
		return
	}
	if i, found := slices.BinarySearch(*list, n); !found {
		*list = slices.Insert(*list, i, n)
		link(b, &b.s.profiled, pairOf(n, uint32(b.who(o.Principal))))
		b.carry(link, o.Principal, n|profileBit, anywhere)
	}
}

func (b *builder) dropProfileMember(o access.ProfileMember) {
	n := b.profileNumber(o.Profile)
	list := b.profilesOf(o.Principal)
	if list == nil {
		return
	}
	if i, found := slices.BinarySearch(*list, n); found {
		*list = slices.Delete(*list, i, i+1)
		unlink(b, &b.s.profiled, pairOf(n, uint32(b.who(o.Principal))))
		b.carry(unlink, o.Principal, n|profileBit, anywhere)
	}
}

// profileNumber is that of a profile, which need not exist.
func (b *builder) profileNumber(id access.ProfileID) uint32 {
	if n, ok := b.s.profileIndex[id]; ok {
		return n
	}
	return b.profile(id)
}

// compileColumns lists the secured columns of the tables anew, and what the
// profiles say of them.
func (b *builder) compileColumns() {
	s := b.s
	b.copyTables()
	b.copyProfiles()
	for n := range s.tables {
		t := &s.tables[n]
		t.columns = nil
		for _, name := range t.data.SecuredColumns() {
			c := column{name: name}
			for _, known := range t.data.Columns {
				if known.Name == name {
					c.mask = known.Mask
				}
			}
			if c.mask != nil {
				var err error
				if c.pattern, err = regexp.Compile(c.mask.Pattern); err != nil {
					b.fail("table %q: mask of column %q: %v (Rule FLS-4)", t.data.ID, name, err)
					return
				}
			}
			t.columns = append(t.columns, c)
		}
	}
	for n := range s.profiles {
		p := &s.profiles[n]
		p.lines = nil
		if !p.exists {
			continue
		}
		for _, c := range p.data.Columns {
			t, ok := s.tableIndex[c.Table]
			if !ok {
				continue
			}
			if i, secured := s.tables[t].secured(c.Column); secured {
				p.lines = append(p.lines, profileLine{t, uint32(i), columnGrants{c.Read, c.Update, c.Create, c.Unmasked}})
			}
		}
		slices.SortFunc(p.lines, profileLine.compare)
	}
}

func (l profileLine) compare(o profileLine) int {
	return cmp.Or(cmp.Compare(l.table, o.table), cmp.Compare(l.column, o.column))
}

// secured finds a secured column.
func (t *table) secured(name string) (int, bool) {
	return slices.BinarySearchFunc(t.columns, name, func(c column, name string) int { return cmp.Compare(c.name, name) })
}

// columnSharesOf returns the record's column shares, ready to be changed.
func (b *builder) columnSharesOf(table uint32, record access.RecordID) *columnShares {
	sh, ok := b.s.columnShares.get(table, string(record))
	switch {
	case !ok:
		sh = &columnShares{edit: b.edit, table: table, record: record}
	case sh.edit == b.edit:
		return sh
	default:
		sh = &columnShares{edit: b.edit, table: table, record: record, list: slices.Clone(sh.list)}
	}
	b.s.columnShares.set(table, string(record), sh, b.edit)
	return sh
}

func (b *builder) putColumnShare(o *access.ColumnShare) {
	sh := columnShare{b.who(o.Principal), o.Read, o.Update, o.Column}
	list := b.columnSharesOf(b.table(o.Table), o.Record)
	if i := list.find(sh.who, sh.column); i >= 0 {
		list.list[i] = sh
	} else {
		list.list = append(list.list, sh)
	}
}

func (b *builder) dropColumnShare(o access.ColumnShare) {
	table, w := b.table(o.Table), b.who(o.Principal)
	list := b.columnSharesOf(table, o.Record)
	if i := list.find(w, o.Column); i >= 0 {
		list.list = slices.Delete(list.list, i, i+1)
	}
	if len(list.list) == 0 {
		b.s.columnShares.remove(table, string(o.Record), b.edit)
	}
}

func (c *columnShares) find(w who, column string) int {
	return slices.IndexFunc(c.list, func(x columnShare) bool { return x.who == w && x.column == column })
}

// mayWriteColumns tells whether the secured columns named may be set (Rule FLS-5).
func (s *Snapshot) mayWriteColumns(a *asked, at int64) bool {
	t := &s.tables[a.table]
	for _, name := range a.columns {
		if i, secured := t.secured(name); secured && !s.mayWriteColumn(a, i, at) {
			return false
		}
	}
	return true
}

func (s *Snapshot) mayWriteColumn(a *asked, i int, at int64) bool {
	g := s.columnGrants(a, i, at)
	if a.action == access.Create {
		return g.create
	}
	return g.update
}

// columnGrants unites what the user has on a secured column: as System
// Administrator (Rule FLS-9), by profiles of the user's own and of the user's
// teams (Rule FLS-2), and by shares of the column (Rule FLS-7).
func (s *Snapshot) columnGrants(a *asked, i int, at int64) (g columnGrants) {
	if s.administrator(a, at) {
		return columnGrants{true, true, true, access.UnmaskedAllRecords}
	}
	line := profileLine{table: a.table, column: uint32(i)}
	unite := func(profiles []uint32) {
		for _, n := range profiles {
			p := &s.profiles[n]
			j, _ := slices.BinarySearchFunc(p.lines, line, profileLine.compare)
			for ; j < len(p.lines) && p.lines[j].compare(line) == 0; j++ {
				g.add(p.lines[j].grants)
			}
		}
	}
	u := a.user
	unite(u.aside.profiles)
	unite(s.teams.get(s.span(u.unit).team).aside.profiles)
	for _, n := range u.memberOf() {
		if t := s.teams.get(n).aside; t.exists {
			unite(t.profiles)
		}
	}
	if a.column == nil {
		return g
	}
	name := s.tables[a.table].columns[i].name
	for _, sh := range a.column.list {
		if sh.column == name && s.isWho(u, sh.who) {
			g.add(columnGrants{read: sh.read, update: sh.update, unmasked: access.UnmaskedOneRecord})
		}
	}
	return g
}

// add unites. Unmasked counts with Read only.
func (g *columnGrants) add(o columnGrants) {
	g.update, g.create = g.update || o.update, g.create || o.create
	if o.read {
		g.read, g.unmasked = true, max(g.unmasked, o.unmasked)
	}
}

// administrator tells whether the user is System Administrator, unbounded.
func (s *Snapshot) administrator(a *asked, at int64) bool {
	u := a.user
	if s.givesAll(a, &u.aside.held, at) || s.teamGivesAll(a, s.span(u.unit).team, at) {
		return true
	}
	for _, n := range u.memberOf() {
		if s.teamGivesAll(a, n, at) {
			return true
		}
	}
	return false
}

func (s *Snapshot) teamGivesAll(a *asked, team uint32, at int64) bool {
	t := s.teams.get(team)
	return !t.holding.idle && s.givesAll(a, &t.aside.held, at)
}

func (s *Snapshot) givesAll(a *asked, h *held, at int64) bool {
	all := func(g grant) bool {
		r := s.roles[g.role]
		return r != nil && r.All && s.span(g.unit).exists()
	}
	for _, g := range h.standing {
		if all(g) {
			return true
		}
	}
	for i := range h.windowed {
		w := &h.windowed[i]
		a.timed = a.timed || all(w.grant)
		if w.start <= at && at < w.end && (w.bound == nil || w.bound.all) && all(w.grant) {
			return true
		}
	}
	return false
}

// ColumnAccess is what somebody may do with a secured column.
type ColumnAccess struct {
	Column   string          `json:"column"`
	Read     bool            `json:"read"`
	Unmasked access.Unmasked `json:"unmasked"` // where a masked one is read unmasked
	Update   bool            `json:"update"`
	Create   bool            `json:"create"`
	Mask     *access.Mask    `json:"mask,omitempty"`

	pattern *regexp.Regexp // the mask's, unless made by others
}

// Visibility is how a column's value is shown (Rule FLS-4).
type Visibility string

// The ways to show a value.
const (
	Withheld Visibility = "withheld"
	Masked   Visibility = "masked"
	Clear    Visibility = "clear"
)

// Shows tells how the value is shown: in a list, or in a record that is read by
// itself.
func (c ColumnAccess) Shows(list bool) Visibility {
	switch {
	case !c.Read:
		return Withheld
	case c.Mask == nil || c.Unmasked == access.UnmaskedAllRecords || c.Unmasked == access.UnmaskedOneRecord && !list:
		return Clear
	}
	return Masked
}

// Show is the value as it is shown; nothing of it is left where it is withheld. It
// is withheld, too, when its mask cannot be applied.
func (c ColumnAccess) Show(value string, list bool) (string, Visibility) {
	switch v := c.Shows(list); v {
	case Clear:
		return value, v
	case Masked:
		pattern := c.pattern
		if pattern == nil {
			var err error
			if pattern, err = regexp.Compile(c.Mask.Pattern); err != nil {
				return "", Withheld
			}
		}
		return pattern.ReplaceAllString(value, c.Mask.Replace), v
	}
	return "", Withheld
}

// Columns lists the secured columns of the question's table, by name, with what
// the user may do with them (Rules FLS-1 to FLS-4). On a record a column is read
// and updated only where the record is (Rule FLS-3); with Create it is the
// intended record's columns that may be set. Without a record it is the table
// where the record's access is asked for, and shares of columns do not count. The
// action matters only as Create; the question names no privilege and no columns.
func (s *Snapshot) Columns(q Question) ([]ColumnAccess, error) {
	if q.Privilege != "" || len(q.Columns) > 0 {
		return nil, fmt.Errorf("%w: columns are those of a table, all of them", ErrQuestion)
	}
	may, err := s.mayByRecord(&q)
	if err != nil {
		return nil, err
	}
	return s.columnsOf(q, q.Record, may)
}

// mayByRecord is what the question's user may do where columns do not count.
func (s *Snapshot) mayByRecord(q *Question) (may access.Rights, err error) {
	creates := q.Record != nil && q.Action == access.Create
	for _, action := range []access.Action{access.Create, access.Read, access.Write} {
		if q.Record != nil && creates != (action == access.Create) {
			continue
		}
		q.Action = action
		d, err := s.Check(*q)
		if err != nil {
			return 0, err
		}
		if d.Allowed {
			may |= access.RightsOf(action)
		}
	}
	return may, nil
}

// columnsOf lists what the user has on the columns, those of the record included
// that are shared, within what the user may.
func (s *Snapshot) columnsOf(q Question, shared *Record, may access.Rights) ([]ColumnAccess, error) {
	list := s.tables[s.tableIndex[q.Table]].columns
	out := make([]ColumnAccess, len(list))
	for i, c := range list {
		g, err := s.columnGrantsOf(q, shared, i)
		if err != nil {
			return nil, err
		}
		out[i] = ColumnAccess{
			Column: c.name, Mask: c.mask, pattern: c.pattern,
			Read: g.read && may.Has(access.Read), Update: g.update && may.Has(access.Write), Create: g.create && may.Has(access.Create),
		}
		if out[i].Read {
			out[i].Unmasked = g.unmasked
		}
	}
	return out, nil
}

// columnGrantsOf is what the user and the impersonator, if there is one, both have
// on a column (Rule ACC-4).
func (s *Snapshot) columnGrantsOf(q Question, shared *Record, i int) (columnGrants, error) {
	grants := func(q Question) (columnGrants, error) {
		var a asked
		err := s.resolve(&q, &a)
		if err != nil {
			return columnGrants{}, err
		}
		s.resolveColumnShares(&a, shared)
		return s.columnGrants(&a, i, a.at), nil
	}
	g, err := grants(q)
	if err == nil && q.Impersonator != "" {
		var o columnGrants
		o, err = grants(q.ofImpersonator())
		g = columnGrants{g.read && o.read, g.update && o.update, g.create && o.create, min(g.unmasked, o.unmasked)}
	}
	return g, err
}

// resolveColumnShares finds the shares of the record's columns.
func (s *Snapshot) resolveColumnShares(a *asked, r *Record) {
	if r != nil && r.ID != "" && a.kind == access.UserOrTeam && a.action != access.Create {
		a.column, _ = s.columnShares.get(a.table, string(r.ID))
	}
}
