package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// ColumnRight is something that one may do with a column.
type ColumnRight string

// The rights on a column. Reading unmasked is told of columns that have a mask.
const (
	ReadsColumn      ColumnRight = "read"
	ReadsUnmaskedOne ColumnRight = "unmasked_one_record"
	ReadsUnmaskedAll ColumnRight = "unmasked_all_records"
	UpdatesColumn    ColumnRight = "update"
	CreatesColumn    ColumnRight = "create"
)

// ColumnDiff is what a user gains and loses on a column that is secured before or
// after.
type ColumnDiff struct {
	Table  access.TableID  `json:"table"`
	Record access.RecordID `json:"record,omitempty"` // absent: wherever the user reaches the record
	User   access.UserID   `json:"user"`
	Column string          `json:"column"`
	Gained []ColumnRight   `json:"gained,omitempty"`
	Lost   []ColumnRight   `json:"lost,omitempty"`
	// Remasked: the user reads it masked, by another mask than before.
	Remasked bool `json:"remasked,omitempty"`
	// IfReached: the record is not registered both before and after, so that
	// whether the user reaches it is not known (Rule FLS-3).
	IfReached bool `json:"if_reached,omitempty"`
}

// ColumnDiffs is what users gain and lose on the secured columns that changes
// touch.
type ColumnDiffs struct {
	List     []ColumnDiff `json:"list"`               // by table, record, user, column
	Unlisted int          `json:"unlisted,omitempty"` // of those found, how many the limit leaves out
	// Complete is false when so many users, tables and records are touched that not
	// all of them were compared.
	Complete bool `json:"complete"`
}

// CompareColumns tells what users gain and lose on secured columns from one
// snapshot to the other: on the records of a table that they reach, by roles,
// profiles and what is secured (Rules FLS-1 to FLS-4, FLS-9); and on single records
// with shares of columns (Rule FLS-7), by such a share, the record or a share of it
// that changes, and for who joins or leaves a team. A column that is not secured
// follows the record. What cannot be judged gives nothing (Rule EVAL-1). Both
// snapshots may be nil, as for Compare; the changes must be whole, as
// access.State.Expand returns them.
func CompareColumns(before, after *Snapshot, changes []access.Change, at time.Time, limit int) (ColumnDiffs, error) {
	out := ColumnDiffs{List: []ColumnDiff{}}
	if err := (both{before, after}).locked(); err != nil {
		return ColumnDiffs{}, err
	}
	t := columnTouches{
		both: both{before, after}, at: at,
		names: map[access.TableID][]string{}, joined: map[access.Principal][]access.UserID{}, found: map[columnPlace]bool{},
	}
	t.onTables(changes)
	t.onRecords(changes)
	for _, p := range slices.SortedFunc(maps.Keys(t.found), columnPlace.compare) {
		d, err := t.compare(p)
		if err != nil {
			return ColumnDiffs{}, err
		}
		fits := min(len(d), max(limit-len(out.List), 0))
		out.List, out.Unlisted = append(out.List, d[:fits]...), out.Unlisted+len(d)-fits
	}
	out.Complete = !t.cut
	return out, nil
}

// columnTouches finds where something may change on columns, and for whom.
type columnTouches struct {
	both
	at     time.Time
	names  map[access.TableID][]string // of columns secured before or after, sorted
	joined map[access.Principal][]access.UserID
	found  map[columnPlace]bool
	cut    bool // there were more
}

// columnPlace is a table, or a record of it, as a user has it.
type columnPlace struct {
	table  access.TableID
	record access.RecordID
	user   access.UserID
}

func (p columnPlace) compare(o columnPlace) int {
	return cmp.Or(cmp.Compare(p.table, o.table), cmp.Compare(p.record, o.record), cmp.Compare(p.user, o.user))
}

// add tells whether there is room for more.
func (t *columnTouches) add(p columnPlace) bool {
	if len(t.found) == maxTouched && !t.found[p] {
		t.cut = true
		return false
	}
	t.found[p] = true
	return true
}

// onTables touches the tables that have secured columns, for all whose roles or
// profiles may change and to whom something opens columns; and those in which other
// columns are secured, for all.
func (t *columnTouches) onTables(changes []access.Change) {
	t.each(func(s *Snapshot) {
		for _, table := range s.tables {
			for _, c := range table.secures() {
				t.names[table.data.ID] = append(t.names[table.data.ID], c.name)
			}
		}
	})
	moved := map[access.TableID]bool{}
	for id, names := range t.names {
		slices.Sort(names)
		names = slices.Compact(names)
		t.names[id] = names
		was, is := t.before.tableIfAny(id), t.after.tableIfAny(id)
		moved[id] = was.exists && is.exists && (len(was.columns) < len(names) || len(is.columns) < len(names))
	}
	users := t.before.Reached(changes)
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.Profile:
			t.each(func(s *Snapshot) {
				n, ok := s.profileIndex[o.ID]
				if !ok {
					return
				}
				under(&s.profiled, n, func(w uint32) bool {
					users = s.appendWho(users, who(w))
					return true
				})
			})
		case access.ProfileMember:
			users = t.appendPrincipal(users, o.Principal)
		}
	}
	slices.Sort(users)
	tables := slices.Sorted(maps.Keys(t.names))
	for _, u := range slices.Compact(users) {
		opens := t.before.opensColumns(u, t.at) || t.after.opensColumns(u, t.at)
		for _, id := range tables {
			if (opens || moved[id]) && !t.add(columnPlace{table: id, user: u}) {
				return
			}
		}
	}
}

// onRecords touches the records that have shares of columns.
func (t *columnTouches) onRecords(changes []access.Change) {
	for _, c := range changes {
		switch o := c.Object.(type) {
		case access.ColumnShare:
			for _, u := range t.appendPrincipal(nil, o.Principal) {
				t.add(columnPlace{o.Table, o.Record, u})
			}
		case access.Record:
			t.record(o.Table, o.ID)
		case access.Share:
			t.record(o.Table, o.Record)
		case access.Membership:
			t.join(o.User, o.Team.Principal(), o.User.Principal())
		case access.User:
			was, _ := t.before.userIfAny(o.ID)
			is, _ := t.after.userIfAny(o.ID)
			t.join(o.ID, o.ID.Principal(), was.BusinessUnit.DefaultTeam().Principal(), is.BusinessUnit.DefaultTeam().Principal(), access.Principal{Kind: access.Everybody})
		}
	}
	if len(t.joined) == 0 {
		return
	}
	t.each(func(s *Snapshot) {
		s.columnShares.each(func(list *columnShares) bool {
			for _, sh := range list.list {
				for _, u := range t.joined[s.principal(sh.who)] {
					if !t.add(columnPlace{s.tables[list.table].data.ID, list.record, u}) {
						return false
					}
				}
			}
			return true
		})
	})
}

// join has what is shared with the principals touched for the user.
func (t *columnTouches) join(u access.UserID, with ...access.Principal) {
	for _, p := range with {
		t.joined[p] = append(t.joined[p], u)
	}
}

// record touches one record for all with whom columns of it are shared.
func (t *columnTouches) record(table access.TableID, id access.RecordID) {
	t.each(func(s *Snapshot) {
		n, ok := s.tableIndex[table]
		if !ok {
			return
		}
		list, ok := s.columnShares.get(n, string(id))
		if !ok {
			return
		}
		for _, sh := range list.list {
			for _, u := range s.appendWho(nil, sh.who) {
				if !t.add(columnPlace{table, id, u}) {
					return
				}
			}
		}
	})
}

func (t *columnTouches) appendPrincipal(users []access.UserID, p access.Principal) []access.UserID {
	t.each(func(s *Snapshot) {
		if w, ok := s.whoIs(p); ok {
			users = s.appendWho(users, w)
		}
	})
	return users
}

// appendWho appends the users who the principal is.
func (s *Snapshot) appendWho(users []access.UserID, w who) []access.UserID {
	add := func(n uint32) bool {
		users = append(users, s.users.rows.get(n).aside.data.ID)
		return true
	}
	switch w.kind() {
	case access.UserPrincipal:
		add(w.number())
	case access.TeamPrincipal:
		under(&s.members, w.number(), add)
	default:
		s.order.ascend(place{}, func(p place) bool {
			users = append(users, p.id)
			return true
		})
	}
	return users
}

// compare compares what the user has on each of the columns.
func (t *columnTouches) compare(p columnPlace) ([]ColumnDiff, error) {
	registered := false
	if p.record != "" {
		key := access.RecordKey{Table: p.table, Record: p.record}
		registered = t.before.registers(key) && t.after.registers(key)
	}
	names := t.names[p.table]
	was, err := t.before.columnsIfAny(p, names, t.at, registered)
	if err != nil {
		return nil, err
	}
	is, err := t.after.columnsIfAny(p, names, t.at, registered)
	if err != nil {
		return nil, err
	}
	var out []ColumnDiff
	for i, name := range names {
		d := was[i].diff(is[i])
		if len(d.Gained) > 0 || len(d.Lost) > 0 || d.Remasked {
			d.Table, d.Record, d.User, d.Column = p.table, p.record, p.user, name
			d.IfReached = p.record != "" && !registered
			out = append(out, d)
		}
	}
	return out, nil
}

func (c ColumnAccess) diff(is ColumnAccess) (d ColumnDiff) {
	masks := c.Mask != nil || is.Mask != nil
	for _, r := range [...]struct {
		right   ColumnRight
		had, is bool
	}{
		{ReadsColumn, c.Read, is.Read},
		{ReadsUnmaskedOne, masks && c.Shows(false) == Clear, masks && is.Shows(false) == Clear},
		{ReadsUnmaskedAll, masks && c.Shows(true) == Clear, masks && is.Shows(true) == Clear},
		{UpdatesColumn, c.Update, is.Update},
		{CreatesColumn, c.Create, is.Create},
	} {
		switch {
		case r.is && !r.had:
			d.Gained = append(d.Gained, r.right)
		case r.had && !r.is:
			d.Lost = append(d.Lost, r.right)
		}
	}
	d.Remasked = c.Shows(true) == Masked && is.Shows(true) == Masked && *c.Mask != *is.Mask
	return d
}

// columnsIfAny is what the user has on the columns named, which are sorted.
func (s *Snapshot) columnsIfAny(p columnPlace, names []string, at time.Time, registered bool) ([]ColumnAccess, error) {
	out := make([]ColumnAccess, len(names))
	if s == nil {
		return out, nil
	}
	q := Question{User: p.user, Action: access.Read, Table: p.table, At: at, Channel: API}
	shared := &Record{ID: p.record}
	if registered {
		shared.Registered = true
		q.Record = shared
	}
	may, err := s.mayByRecord(&q)
	if err != nil {
		if cannotJudge(err) {
			err = nil
		}
		return out, err
	}
	if p.record != "" { // which exists
		may &^= access.RightsOf(access.Create)
	}
	secured, err := s.columnsOf(q, shared, may)
	for i, name := range names {
		if len(secured) > 0 && secured[0].Column == name {
			out[i], secured = secured[0], secured[1:]
		} else { // Rule FLS-1: it follows the record
			out[i] = ColumnAccess{Read: may.Has(access.Read), Update: may.Has(access.Write), Create: may.Has(access.Create)}
		}
	}
	return out, err
}

// opensColumns tells whether anything but a share opens columns to the user: a
// profile (Rule FLS-2) or System Administrator (Rule FLS-9).
func (s *Snapshot) opensColumns(id access.UserID, at time.Time) bool {
	if s == nil {
		return false
	}
	u := s.users.get(string(id))
	if u == nil || !u.exists || !s.span(u.unit).exists() {
		return false
	}
	profiled := func(team uint32) bool { return len(s.teams.get(team).aside.profiles) > 0 }
	return len(u.aside.profiles) > 0 || profiled(s.span(u.unit).team) || slices.ContainsFunc(u.memberOf(), profiled) ||
		s.administrator(&asked{user: u}, at.UnixMicro())
}

func (s *Snapshot) tableIfAny(id access.TableID) (t table) {
	if s != nil {
		if n, ok := s.tableIndex[id]; ok {
			t = s.tables[n]
		}
	}
	return t
}

// secures lists the secured columns of a table that exists.
func (t *table) secures() []column {
	if !t.exists {
		return nil
	}
	return t.columns
}
