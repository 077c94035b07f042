package engine

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

type record struct {
	table uint32
	data  access.Record
}

func (r *record) is(table uint32, id string) bool { return r.table == table && string(r.data.ID) == id }

// shares are those of one record, in one cache line: there may be millions, and
// every question about a record looks for them. What is rare stands aside.
type shares struct {
	table          uint32
	who            [fewShares]who
	own, inherited [fewShares]access.Rights
	aside          *sharesAside // nil where the row has it all
	few            uint8        // shares, if there is no aside; 0 for a row that no record has
	length         uint8        // of the record's id
	id             [38]byte
}

const fewShares = 2

type sharesAside struct {
	edit    *edit           // owner of the row too
	record  access.RecordID // also when the row has it
	list    []share
	windows []period // by the list's index; empty when no share has a window
}

// share is one of them.
type share struct {
	who       who
	own       access.Rights
	inherited access.Rights
}

// rights are those that count.
func (sh share) rights() access.Rights {
	return (sh.own | sh.inherited) &^ access.RightsOf(access.Create)
}

// received is a row of shares, of a table, in which the principal has one.
type received struct {
	who        who
	table, row uint32
}

func (r received) compare(o received) int {
	return cmp.Or(cmp.Compare(r.who, o.who), cmp.Compare(r.table, o.table), cmp.Compare(r.row, o.row))
}

// period is a window in microseconds, [start, end).
type period struct{ start, end int64 }

func (sh *shares) is(table uint32, record string) bool {
	switch {
	case sh.table != table:
		return false
	case int(sh.length) <= len(sh.id):
		return string(sh.id[:sh.length]) == record
	}
	return string(sh.aside.record) == record
}

func (sh *shares) record() access.RecordID {
	if int(sh.length) <= len(sh.id) {
		return access.RecordID(sh.id[:sh.length])
	}
	return sh.aside.record
}

func (sh *shares) count() int {
	if sh.aside == nil {
		return int(sh.few)
	}
	return len(sh.aside.list)
}

func (sh *shares) at(i int) share {
	if sh.aside == nil {
		return share{sh.who[i], sh.own[i], sh.inherited[i]}
	}
	return sh.aside.list[i]
}

// timed tells whether some share has a window.
func (sh *shares) timed() bool { return sh.aside != nil && len(sh.aside.windows) > 0 }

// holds tells whether the window of a share holds at the instant.
func (sh *shares) holds(i int, at int64) bool {
	if !sh.timed() {
		return true
	}
	w := &sh.aside.windows[i]
	return w.start <= at && at < w.end
}

// window is that of a share.
func (sh *shares) window(i int) access.Window {
	if !sh.timed() {
		return access.Window{}
	}
	return sh.aside.windows[i].window()
}

// book is the shares of all records, in rows that are used again when the last
// share of a record ends.
type book struct {
	rows  rows[shares]
	index index // spaces are tables
	spare *spare
}

// spare is a row that no record's shares have any more.
type spare struct {
	row  uint32
	next *spare
}

// get returns the row of the record's shares, or nil, and its number.
func (k *book) get(table uint32, record string) (*shares, uint32) {
	return k.find(k.index.hash(table, record), table, record)
}

// find is get with the key's hash.
func (k *book) find(h, table uint32, record string) (*shares, uint32) {
	for w := k.index.walk(h); ; {
		n, ok := w.next()
		if !ok {
			return nil, 0
		}
		if sh := k.rows.get(n); sh.is(table, record) {
			return sh, n
		}
	}
}

// hashOf is the hash of the record that a row is of.
func (k *book) hashOf(row uint32) uint32 {
	sh := k.rows.get(row)
	if int(sh.length) <= len(sh.id) {
		return k.index.hashBytes(sh.table, sh.id[:sh.length])
	}
	return k.index.hash(sh.table, string(sh.aside.record))
}

func (b *builder) putRecord(o access.Record) {
	t := b.table(o.Table)
	b.s.records.set(t, string(o.ID), &record{t, o}, b.edit)
}

func (b *builder) dropRecord(o access.Record) {
	b.s.records.remove(b.table(o.Table), string(o.ID), b.edit)
}

// editShares returns the row of the record's shares, ready to be changed, and its
// number. It makes one for a record that has none.
func (b *builder) editShares(table uint32, record access.RecordID) (*shares, uint32) {
	k := &b.s.shares
	found, n := k.get(table, string(record))
	if found == nil {
		if n = k.rows.count; n == maxRows {
			b.fail("more than %d records with shares", maxRows)
		}
		if k.spare != nil {
			n, k.spare = k.spare.row, k.spare.next
		}
		k.index.add(k.index.hash(table, string(record)), n, b.edit, k.hashOf)
		sh := k.rows.own(n, b.edit)
		*sh = shares{table: table, length: uint8(min(len(record), math.MaxUint8))}
		if copy(sh.id[:], record) < len(record) {
			sh.aside = &sharesAside{edit: b.edit, record: record}
		}
		return sh, n
	}
	sh := k.rows.own(n, b.edit)
	if sh.aside != nil && sh.aside.edit != b.edit {
		c := *sh.aside
		c.edit, c.list, c.windows = b.edit, slices.Clone(c.list), slices.Clone(c.windows)
		sh.aside = &c
	}
	return sh, n
}

// spread puts aside what the row would have no room for.
func (b *builder) spread(sh *shares) *sharesAside {
	if sh.aside == nil {
		aside := &sharesAside{edit: b.edit, record: sh.record()}
		for i := range sh.count() {
			aside.list = append(aside.list, sh.at(i))
		}
		sh.aside = aside
	}
	return sh.aside
}

func (b *builder) putShare(o *access.Share) {
	to := share{b.who(o.Principal), o.Rights, o.Inherited}
	sh, n := b.editShares(b.table(o.Table), o.Record)
	i := sh.find(to.who)
	if i < 0 {
		i = sh.count()
		link(b, &b.s.sharedWith, received{to.who, sh.table, n})
	}
	if sh.aside == nil && i < fewShares && o.Window.Open() {
		sh.few = max(sh.few, uint8(i+1))
		sh.who[i], sh.own[i], sh.inherited[i] = to.who, to.own, to.inherited
		return
	}
	aside := b.spread(sh)
	if i == len(aside.list) {
		aside.list = append(aside.list, share{})
	}
	aside.list[i] = to
	if len(aside.windows) == 0 && o.Window.Open() {
		return
	}
	for len(aside.windows) < len(aside.list) {
		var w period
		w.start, w.end = micros(access.Window{})
		aside.windows = append(aside.windows, w)
	}
	aside.windows[i].start, aside.windows[i].end = micros(o.Window)
}

func (b *builder) dropShare(o access.Share) {
	table, to := b.table(o.Table), b.who(o.Principal)
	if found, _ := b.s.shares.get(table, string(o.Record)); found == nil || found.find(to) < 0 {
		return
	}
	sh, n := b.editShares(table, o.Record)
	i := sh.find(to)
	unlink(b, &b.s.sharedWith, received{to, table, n})
	if sh.count() == 1 {
		k := &b.s.shares
		k.index.remove(k.index.hash(table, string(o.Record)), n, b.edit, k.hashOf)
		*sh = shares{}
		k.spare = &spare{n, k.spare}
		return
	}
	if sh.aside == nil {
		last := sh.at(sh.count() - 1)
		sh.who[i], sh.own[i], sh.inherited[i] = last.who, last.own, last.inherited
		sh.few--
		return
	}
	sh.aside.list = slices.Delete(sh.aside.list, i, i+1)
	if len(sh.aside.windows) > 0 {
		sh.aside.windows = slices.Delete(sh.aside.windows, i, i+1)
	}
}

func (sh *shares) find(w who) int {
	for i := range sh.count() {
		if sh.at(i).who == w {
			return i
		}
	}
	return -1
}

// principal is whom the number stands for.
func (s *Snapshot) principal(w who) access.Principal {
	switch w.kind() {
	case access.UserPrincipal:
		return s.users.rows.get(w.number()).aside.data.ID.Principal()
	case access.TeamPrincipal:
		return s.teams.get(w.number()).aside.data.ID.Principal()
	}
	return access.Principal{Kind: access.Everybody}
}

// micros gives a window's ends as microseconds, open ones as the farthest.
func micros(w access.Window) (start, end int64) {
	start, end = math.MinInt64, math.MaxInt64
	if !w.Start.IsZero() {
		start = w.Start.UnixMicro()
	}
	if !w.End.IsZero() {
		end = w.End.UnixMicro()
	}
	return start, end
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func (w period) window() (out access.Window) {
	if w.start != math.MinInt64 {
		out.Start = fromMicros(w.start)
	}
	if w.end != math.MaxInt64 {
		out.End = fromMicros(w.end)
	}
	return out
}
