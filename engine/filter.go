package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// FilterQuestion asks which records of a table a user may do something with
// (Rule EVAL-7). Create has no filter.
type FilterQuestion struct {
	User   access.UserID  `json:"user"`
	Action access.Action  `json:"action"`
	Table  access.TableID `json:"table"`
	// At is the instant that windows are compared with; it must be set.
	At           time.Time     `json:"at"`
	Channel      Channel       `json:"channel,omitempty"`
	Impersonator access.UserID `json:"impersonator,omitempty"`
	// By names the columns by which the records will be selected, sorted, grouped or
	// added up. A secured one would be revealed by that, so it must be readable
	// unmasked in all records (Rule FLS-6).
	By []string `json:"by,omitempty"`
}

// Filter selects the records of a table for which Check allows, and no others
// (Rule EVAL-7). It speaks of records that can be judged: whose owner and owning
// unit exist. The zero Filter selects nothing.
type Filter struct {
	User   access.UserID  `json:"user"`
	Action access.Action  `json:"action"`
	Table  access.TableID `json:"table"`
	// Reason is Allowed, or says why nothing is selected.
	Reason         Reason          `json:"reason"`
	OfImpersonator bool            `json:"of_impersonator,omitempty"`
	Revision       access.Revision `json:"revision"`
	// ValidUntil is the earliest instant at which time alone may change the filter;
	// zero when it cannot.
	ValidUntil time.Time `json:"valid_until,omitzero"`
	// All selects a record when each clause does. There is one of the user and, with
	// an impersonator, another (Rule ACC-4); none unless Reason is Allowed.
	All []Clause `json:"all,omitempty"`

	of   *Snapshot
	kind access.Ownership
	at   time.Time
}

// Clause selects a record by any of what it lists. Its lists are sorted and
// without duplicates.
type Clause struct {
	// Everything selects all records; the rest is empty then.
	Everything bool
	// Users and Teams select the records that they own.
	Users []access.UserID
	Teams []access.TeamID
	// Units select the records whose owning unit lies in one of the runs.
	Units []UnitRun
	// Records selects those shared with the user or with those who report to the
	// user.
	Records []access.RecordID
}

// UnitRun is a run of business units in the tree's pre-order, such as a unit with
// all below it.
type UnitRun struct {
	of          *Snapshot
	first, last uint32 // places
}

// IDs lists the units, in pre-order.
func (r UnitRun) IDs() (ids []access.BusinessUnitID) {
	r.of.within(r.first, r.last, func(k kid) bool {
		ids = append(ids, k.id)
		return true
	})
	return ids
}

// MarshalJSON lists the units by id.
func (c Clause) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Everything bool                    `json:"everything,omitempty"`
		Users      []access.UserID         `json:"owner_users,omitempty"`
		Teams      []access.TeamID         `json:"owner_teams,omitempty"`
		Units      []access.BusinessUnitID `json:"business_units,omitempty"`
		Records    []access.RecordID       `json:"records,omitempty"`
	}{c.Everything, c.Users, c.Teams, c.unitIDs(), c.Records})
}

func (c Clause) unitIDs() []access.BusinessUnitID {
	var ids []access.BusinessUnitID
	for _, r := range c.Units {
		ids = append(ids, r.IDs()...)
	}
	return ids
}

// Filter makes the filter. Its cost goes by what the user holds and what is shared
// with the user, not by the organisation.
func (s *Snapshot) Filter(q FilterQuestion) (Filter, error) {
	if q.Action == access.Create {
		return Filter{}, fmt.Errorf("%w: create has no filter (Rule EVAL-7)", ErrQuestion)
	}
	ask := Question{User: q.User, Action: q.Action, Table: q.Table, At: q.At, Channel: q.Channel, Impersonator: q.Impersonator}
	d, err := s.Check(ask)
	if err != nil {
		return Filter{}, err
	}
	f := Filter{
		User: q.User, Action: q.Action, Table: q.Table, Reason: d.Reason, OfImpersonator: d.OfImpersonator,
		Revision: d.Revision, ValidUntil: d.ValidUntil, of: s, kind: s.tables[s.tableIndex[q.Table]].data.Ownership, at: q.At,
	}
	if !d.Allowed {
		return f, nil
	}
	subjects := make([]asked, 1, 2)
	if err := s.resolve(&ask, &subjects[0]); err != nil {
		return Filter{}, err
	}
	if q.Impersonator != "" {
		subjects = subjects[:2]
		ask = ask.ofImpersonator()
		if err := s.resolve(&ask, &subjects[1]); err != nil {
			return Filter{}, err
		}
	}
	next := int64(math.MaxInt64)
	for i := range subjects {
		next = min(next, s.boundary(&subjects[i], subjects[i].at))
	}
	for i := range subjects {
		if !s.mayFilterBy(&subjects[i], q.By) {
			f.Reason, f.OfImpersonator, f.All = NoColumnAccess, i == 1, nil
			break
		}
		f.All = append(f.All, s.clause(&subjects[i], &next))
	}
	if f.ValidUntil = (time.Time{}); next != math.MaxInt64 {
		f.ValidUntil = fromMicros(next)
	}
	return f, nil
}

// mayFilterBy tells whether each of the columns that is secured shows clear in
// lists (Rule FLS-6).
func (s *Snapshot) mayFilterBy(a *asked, columns []string) bool {
	t := &s.tables[a.table]
	for _, name := range columns {
		i, secured := t.secured(name)
		if !secured {
			continue
		}
		if g := s.columnGrants(a, i, a.at); !g.read || t.columns[i].mask != nil && g.unmasked != access.UnmaskedAllRecords {
			return false
		}
	}
	return true
}

// clause lists all that gives the user the action on records of the table, once
// the privilege check is passed, and lowers next to the first instant at which a
// window that bears on it begins or ends.
func (s *Snapshot) clause(a *asked, next *int64) Clause {
	var c Clause
	var teams []uint32 // whose records the user reaches
	var runs []UnitRun // as found
	own := false       // the user's records, and those of all the user's teams
	s.each(a.user, a.at, func(_ *assignment, g grant, b *bound, team uint32) {
		cell := a.line[g.role]
		d := b.limit(a, cell.depth())
		if d == access.None {
			return
		}
		sp := s.span(g.unit)
		switch {
		case d == access.Global || a.kind == access.NotOwned || d == access.Deep && g.unit == s.tree.root:
			c.Everything = true
		case d == access.Deep:
			runs = append(runs, UnitRun{s, sp.first, sp.last})
		case d == access.Local:
			runs = append(runs, UnitRun{s, sp.first, sp.first})
		}
		if team == noTeam || d == access.Basic && cell>>inheritsBit&1 != 0 { // Rules ROLE-5, ROLE-8
			own = true
		} else {
			teams = append(teams, team) // Rules ROLE-7, ROLE-9
		}
	})
	if c.Everything {
		return c
	}
	c.Units = unite(runs)
	if a.kind != access.UserOrTeam {
		return c
	}
	if own {
		c.Users = []access.UserID{a.user.aside.data.ID}
		teams = s.teamsOf(a.user)
	}
	for _, n := range teams {
		if t := s.teams.get(n).aside; t.exists && t.owns {
			c.Teams = append(c.Teams, t.data.ID)
		}
	}
	shared := append(s.standsFor(a.user), everybody)
	s.eachReport(a, func(r *user) {
		c.Users = append(c.Users, r.aside.data.ID) // Rule HIER-2
		of := s.standsFor(r)
		for _, w := range of[1:] {
			if t := s.teams.get(w.number()).aside; t.exists && t.owns {
				c.Teams = append(c.Teams, t.data.ID)
			}
		}
		shared = append(shared, of...)
	})
	for _, w := range inOrder(shared) {
		c.share(s, a, w, next)
	}
	c.Users, c.Teams, c.Records = inOrder(c.Users), inOrder(c.Teams), inOrder(c.Records)
	return c
}

// standsFor lists the user and the user's teams.
func (s *Snapshot) standsFor(u *user) []who {
	out := []who{who(u.number)}
	for _, n := range s.teamsOf(u) {
		out = append(out, who(n)|teamBit)
	}
	return out
}

// eachReport yields those whose access to records of the table passes up to the
// user, maybe more than once.
func (s *Snapshot) eachReport(a *asked, yield func(r *user)) {
	b := *a
	b.record = true // hierarchies are about records
	if levels := s.levels(&b); levels > 0 {
		s.reportsBelow(a.user, levels, func(r *user) bool {
			yield(r)
			return true
		})
	}
}

// share adds the records of the table that are shared with the principal for the
// action (Rules SHARE-4, SHARE-5).
func (c *Clause) share(s *Snapshot, a *asked, with who, next *int64) {
	s.sharedWith.ascend(received{with, a.table, 0}, func(r received) bool {
		if r.who != with || r.table != a.table {
			return false
		}
		sh := s.shares.rows.get(r.row)
		i := sh.find(with)
		if !sh.at(i).rights().Has(a.action) {
			return true
		}
		if sh.timed() {
			lower(next, sh.aside.windows[i], a.at)
		}
		if sh.holds(i, a.at) {
			c.Records = append(c.Records, sh.record())
		}
		return true
	})
}

// lower lowers next to the first of the window's ends after the instant.
func lower(next *int64, w period, at int64) {
	if w.start > at {
		*next = min(*next, w.start)
	}
	if w.end > at {
		*next = min(*next, w.end)
	}
}

func inOrder[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

// unite sorts the runs and joins those that overlap.
func unite(runs []UnitRun) []UnitRun {
	slices.SortFunc(runs, func(x, y UnitRun) int { return cmp.Compare(x.first, y.first) })
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && r.first <= out[n-1].last {
			out[n-1].last = max(out[n-1].last, r.last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// Selects tells whether the filter selects the record. One that cannot be judged
// is not selected.
func (f Filter) Selects(r Record) bool {
	if f.Reason != Allowed {
		return false
	}
	var a asked
	if f.of.resolve(&Question{User: f.User, Action: f.Action, Table: f.Table, Record: &r, At: f.at}, &a) != nil {
		return false
	}
	for i := range f.All {
		if !f.All[i].selects(f.of, &a, r.ID) {
			return false
		}
	}
	return true
}

func (c *Clause) selects(s *Snapshot, a *asked, id access.RecordID) bool {
	found := c.Everything
	if a.owner != nil {
		found = found || contains(c.Users, a.owner.aside.data.ID)
	}
	if a.ownerTeam != noTeam {
		found = found || contains(c.Teams, s.teams.get(a.ownerTeam).aside.data.ID)
	}
	if !found && a.unit != noUnit {
		_, found = slices.BinarySearchFunc(c.Units, a.place, func(r UnitRun, place uint32) int {
			switch {
			case r.last < place:
				return -1
			case place < r.first:
				return 1
			}
			return 0
		})
	}
	return found || id != "" && contains(c.Records, id)
}

func contains[T cmp.Ordered](list []T, v T) bool {
	_, ok := slices.BinarySearch(list, v)
	return ok
}
