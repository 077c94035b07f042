package engine

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// RecordDiff is what a user gains and loses on a record.
type RecordDiff struct {
	Table  access.TableID  `json:"table"`
	Record access.RecordID `json:"record"`
	User   access.UserID   `json:"user"`
	Gained access.Rights   `json:"gained,omitempty"`
	Lost   access.Rights   `json:"lost,omitempty"`
	// SharesOnly: the record is not registered both before and after, so that its
	// owner and unit are not known. It is what shares give and take, which the user
	// may have, or keep, in another way.
	SharesOnly bool `json:"shares_only,omitempty"`
}

// RecordDiffs is what users gain and lose on the records that changes touch.
type RecordDiffs struct {
	List     []RecordDiff `json:"list"`               // by table, record, user
	Unlisted int          `json:"unlisted,omitempty"` // of those found, how many the limit leaves out
	// Complete is false when so many users and records are touched that not all of
	// them were compared.
	Complete bool `json:"complete"`
}

// maxTouched is how many pairs of a user and a record, a place with columns or a
// report are compared.
const maxTouched = 20_000

// CompareRecords tells what users gain and lose on the records that the changes
// between the snapshots touch: a record that changes its owner or unit; one with a
// share that changes; and for who joins or leaves a team, those that are shared
// with it. It counts the managers to whom reports pass up what is shared with
// them. What happens on other records comes by roles (Compare) or by a change of
// the hierarchy (CompareReports). The changes must be whole, as access.State.Expand
// returns them.
func CompareRecords(before, after *Snapshot, changes []access.Change, at time.Time, limit int) (RecordDiffs, error) {
	out := RecordDiffs{List: []RecordDiff{}}
	if err := (both{before, after}).locked(); err != nil {
		return RecordDiffs{}, err
	}
	t := touches{both: both{before, after}, at: at, found: map[access.RecordKey]*touch{}}
	for _, c := range changes {
		t.change(c.Object)
	}
	keys := slices.SortedFunc(maps.Keys(t.found), func(a, b access.RecordKey) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Record, b.Record))
	})
	for _, key := range keys {
		d, err := t.compare(key)
		if err != nil {
			return RecordDiffs{}, err
		}
		fits := min(len(d), max(limit-len(out.List), 0))
		out.List, out.Unlisted = append(out.List, d[:fits]...), out.Unlisted+len(d)-fits
	}
	out.Complete = !t.cut
	return out, nil
}

// touches finds the records that changes touch, and for whom.
type touches struct {
	both
	at    time.Time
	found map[access.RecordKey]*touch
	pairs int  // compared
	cut   bool // there were more
}

// touch is for whom something may change on a record.
type touch struct {
	users map[access.UserID]bool
	facts bool // whoever reaches it, before or after
}

// both are the snapshots that are compared, either of which may be nil.
type both struct{ before, after *Snapshot }

// locked is the error where one of them is (Rule CMK-3).
func (b both) locked() (err error) {
	b.each(func(s *Snapshot) {
		if err == nil && s.env.Locked {
			err = s.locked()
		}
	})
	return err
}

func (b both) each(yield func(*Snapshot)) {
	for _, s := range []*Snapshot{b.before, b.after} {
		if s != nil {
			yield(s)
		}
	}
}

func (t *touches) record(key access.RecordKey) *touch {
	if t.found[key] == nil {
		t.found[key] = &touch{users: map[access.UserID]bool{}}
	}
	return t.found[key]
}

func (t *touches) change(o access.Object) {
	switch o := o.(type) {
	case access.Record:
		t.record(access.RecordKey{Table: o.Table, Record: o.ID}).facts = true
	case access.Share:
		x := t.record(access.RecordKey{Table: o.Table, Record: o.Record})
		t.each(func(s *Snapshot) { t.principal(s, x, o.Principal) })
	case access.Membership:
		t.sharedWith(o.Team.Principal(), o.User.Principal())
	case access.Team:
		t.sharedWith(o.ID.Principal(), o.ID.Principal())
	case access.User:
		t.sharedWith(o.ID.Principal(), o.ID.Principal())
		was, known := t.before.userIfAny(o.ID)
		is, left := t.after.userIfAny(o.ID)
		if known != left || was.BusinessUnit != is.BusinessUnit {
			t.sharedWith(was.BusinessUnit.DefaultTeam().Principal(), o.ID.Principal())
			t.sharedWith(is.BusinessUnit.DefaultTeam().Principal(), o.ID.Principal())
		}
	}
}

// sharedWith touches the records that are shared with the one principal for the
// other.
func (t *touches) sharedWith(with, concerned access.Principal) {
	var keys []access.RecordKey
	t.each(func(s *Snapshot) {
		w, ok := s.whoIs(with)
		if !ok {
			return
		}
		s.sharedWith.ascend(received{who: w}, func(r received) bool {
			if r.who == w {
				keys = append(keys, access.RecordKey{Table: s.tables[r.table].data.ID, Record: s.shares.rows.get(r.row).record()})
			}
			return r.who == w && len(keys) < maxTouched
		})
	})
	for _, key := range keys {
		x := t.record(key)
		t.each(func(s *Snapshot) { t.principal(s, x, concerned) })
	}
}

// whoIs numbers a principal that the snapshot knows.
func (s *Snapshot) whoIs(p access.Principal) (who, bool) {
	switch p.Kind {
	case access.UserPrincipal:
		u := s.users.get(p.ID)
		if u == nil {
			return 0, false
		}
		return who(u.number), true
	case access.TeamPrincipal:
		n, ok := s.teamIndex.get(p.ID)
		return who(n) | teamBit, ok
	}
	return everybody, true
}

// principal adds whom the principal is, and who stands above them.
func (t *touches) principal(s *Snapshot, x *touch, p access.Principal) {
	w, ok := s.whoIs(p)
	if !ok {
		return
	}
	room := func() bool { return len(x.users) <= maxTouched-t.pairs }
	add := func(n uint32) bool {
		u := s.users.rows.get(n)
		x.users[u.aside.data.ID] = true
		s.eachAbove(u, func(m *user) { x.users[m.aside.data.ID] = true })
		return room()
	}
	switch w.kind() {
	case access.UserPrincipal:
		add(w.number())
	case access.TeamPrincipal:
		under(&s.members, w.number(), add)
	default:
		s.order.ascend(place{}, func(p place) bool {
			x.users[p.id] = true
			return room()
		})
	}
}

// eachAbove yields those to whom the user passes up something.
func (s *Snapshot) eachAbove(u *user, yield func(m *user)) {
	if s.env.Hierarchy == nil {
		return
	}
	c := crowd{s: s, levels: min(s.env.Hierarchy.Depth, access.MaxLevels), known: reached}
	c.aboveUser(u)
	for _, n := range c.reached {
		yield(s.users.rows.get(n))
	}
}

// compare compares the rights of all for whom the record is touched, by id.
func (t *touches) compare(key access.RecordKey) ([]RecordDiff, error) {
	x := t.found[key]
	registered := t.before.registers(key) && t.after.registers(key)
	if x.facts && registered {
		if err := t.whoever(x, key); err != nil {
			return nil, err
		}
	}
	var out []RecordDiff
	for _, u := range slices.Sorted(maps.Keys(x.users)) {
		if t.cut = t.pairs == maxTouched; t.cut {
			break
		}
		t.pairs++
		was, err := t.before.rightsOn(key, u, t.at, registered)
		if err != nil {
			return nil, err
		}
		is, err := t.after.rightsOn(key, u, t.at, registered)
		if err != nil {
			return nil, err
		}
		if was != is {
			out = append(out, RecordDiff{key.Table, key.Record, u, is &^ was, was &^ is, !registered})
		}
	}
	return out, nil
}

// whoever adds who has any access to the record, before or after.
func (t *touches) whoever(x *touch, key access.RecordKey) (err error) {
	t.each(func(s *Snapshot) {
		for action := access.Read; action < access.Actions; action++ {
			q := WhoQuestion{Action: action, Table: key.Table, Record: &Record{ID: key.Record, Registered: true}, At: t.at, Channel: API, Limit: 1000}
			for more := true; more && len(x.users) <= maxTouched-t.pairs; more = q.After != "" {
				page, fault := s.Who(q)
				if err == nil && fault != nil && !cannotJudge(fault) {
					err = fault
				}
				for _, u := range page.Users {
					x.users[access.UserID(u.ID)] = true
				}
				q.After = page.Next
			}
		}
	})
	return err
}

func cannotJudge(err error) bool { return errors.Is(err, ErrUnknown) || errors.Is(err, ErrQuestion) }

func (s *Snapshot) registers(key access.RecordKey) bool {
	if s == nil {
		return false
	}
	n, ok := s.tableIndex[key.Table]
	if ok {
		_, ok = s.records.get(n, string(key.Record))
	}
	return ok
}

// rightsOn are the user's on the record: all, or those by shares that are in
// effect (Rule SHARE-5). What cannot be judged gives none (Rule EVAL-1).
func (s *Snapshot) rightsOn(key access.RecordKey, id access.UserID, at time.Time, registered bool) (access.Rights, error) {
	if s == nil {
		return 0, nil
	}
	q := Question{User: id, Table: key.Table, At: at, Channel: API}
	if registered {
		q.Record = &Record{ID: key.Record, Registered: true}
	}
	rights, err := s.Rights(q)
	if err != nil && cannotJudge(err) {
		return 0, nil
	}
	if err != nil || registered {
		return rights, err
	}
	n := s.tableIndex[key.Table]
	if s.tables[n].data.Ownership != access.UserOrTeam { // Rule SHARE-2
		return 0, nil
	}
	var shared access.Rights
	if list, _ := s.shares.get(n, string(key.Record)); list != nil {
		u := s.users.get(string(id))
		for i := range list.count() {
			if sh := list.at(i); list.holds(i, at.UnixMicro()) && s.isWho(u, sh.who) {
				shared |= sh.rights()
			}
		}
	}
	return rights & shared, nil
}
