package engine

import (
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

// shares are those of one record. There may be millions: what is rare stands
// aside.
type shares struct {
	edit    *edit
	table   uint32
	number  uint32 // in Snapshot.numbered
	record  access.RecordID
	list    []share
	windows *[]period // by the list's index, when some share has a window
}

// share is one of them; its window, if it has one, stands in the list's windows.
type share struct {
	who       who
	rights    access.Rights // what counts: own and inherited
	own       access.Rights
	inherited access.Rights
}

// period is a window in microseconds, [start, end).
type period struct{ start, end int64 }

// spare is a number that no record's shares have any more.
type spare struct {
	number uint32
	next   *spare
}

// holds tells whether the window of a share holds at the instant.
func (sh *shares) holds(i int, at int64) bool {
	if sh.windows == nil {
		return true
	}
	w := &(*sh.windows)[i]
	return w.start <= at && at < w.end
}

// window is that of a share.
func (sh *shares) window(i int) access.Window {
	if sh.windows == nil {
		return access.Window{}
	}
	return (*sh.windows)[i].window()
}

func (sh *shares) is(table uint32, record string) bool {
	return sh.table == table && string(sh.record) == record
}

func (b *builder) putRecord(o access.Record) {
	t := b.table(o.Table)
	b.s.records.set(t, string(o.ID), &record{t, o}, b.edit)
}

func (b *builder) dropRecord(o access.Record) {
	b.s.records.remove(b.table(o.Table), string(o.ID), b.edit)
}

// sharesOf returns the record's shares, ready to be changed.
func (b *builder) sharesOf(table uint32, record access.RecordID) *shares {
	sh, ok := b.s.shares.get(table, string(record))
	switch {
	case !ok:
		sh = &shares{edit: b.edit, table: table, number: b.s.numbered.count, record: record}
		if free := b.s.spare; free != nil {
			sh.number, b.s.spare = free.number, free.next
		}
	case sh.edit == b.edit:
		return sh
	default:
		c := *sh
		c.edit, c.list = b.edit, slices.Clone(sh.list)
		if sh.windows != nil {
			w := slices.Clone(*sh.windows)
			c.windows = &w
		}
		sh = &c
	}
	b.s.shares.set(table, string(record), sh, b.edit)
	*b.s.numbered.own(sh.number, b.edit) = sh
	return sh
}

func (b *builder) putShare(o *access.Share) {
	to := b.who(o.Principal)
	list := b.sharesOf(b.table(o.Table), o.Record)
	i := list.find(to)
	if i < 0 {
		i = len(list.list)
		list.list = append(list.list, share{})
		if list.windows != nil {
			*list.windows = append(*list.windows, period{})
		}
		link(b, &b.s.sharedWith, pairOf(uint32(to), list.number))
	}
	list.list[i] = share{to, (o.Rights | o.Inherited) &^ access.RightsOf(access.Create), o.Rights, o.Inherited}
	if list.windows == nil && !o.Window.Open() {
		w := make([]period, len(list.list))
		for j := range w {
			w[j].start, w[j].end = micros(access.Window{})
		}
		list.windows = &w
	}
	if list.windows != nil {
		w := &(*list.windows)[i]
		w.start, w.end = micros(o.Window)
	}
}

func (b *builder) dropShare(o access.Share) {
	table, to := b.table(o.Table), b.who(o.Principal)
	list := b.sharesOf(table, o.Record)
	if i := list.find(to); i >= 0 {
		list.list = slices.Delete(list.list, i, i+1)
		if list.windows != nil {
			*list.windows = slices.Delete(*list.windows, i, i+1)
		}
		unlink(b, &b.s.sharedWith, pairOf(uint32(to), list.number))
	}
	if len(list.list) == 0 {
		b.s.shares.remove(table, string(o.Record), b.edit)
		*b.s.numbered.own(list.number, b.edit) = nil
		b.s.spare = &spare{list.number, b.s.spare}
	}
}

func (sh *shares) find(w who) int {
	return slices.IndexFunc(sh.list, func(x share) bool { return x.who == w })
}

// findPrincipal finds what is shared with a principal, or -1.
func (s *Snapshot) findPrincipal(sh *shares, p access.Principal) int {
	if sh == nil {
		return -1
	}
	switch p.Kind {
	case access.UserPrincipal:
		if u := s.users.find(p.ID); u != nil {
			return sh.find(who(u.number))
		}
		return -1
	case access.TeamPrincipal:
		if n, ok := s.teamIndex.get(0, p.ID); ok {
			return sh.find(who(n.number) | teamBit)
		}
		return -1
	}
	return sh.find(everybody)
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
