package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// WhoQuestion asks which users may do something. Like Question it has three
// forms: about a record, about a table, about a miscellaneous privilege.
type WhoQuestion struct {
	Action    access.Action  `json:"action"`
	Table     access.TableID `json:"table,omitempty"`
	Record    *Record        `json:"record,omitempty"`
	Privilege string         `json:"privilege,omitempty"`
	// At is the instant that windows are compared with; it must be set.
	At      time.Time `json:"at"`
	Channel Channel   `json:"channel,omitempty"`
	// After is the Next of the page before.
	After access.UserID `json:"after,omitempty"`
	// Limit is how many users a page has at most: 100 when it is 0, and no more than
	// 1,000.
	Limit int `json:"limit,omitempty"`
	// Origins asks for every way in which each of them may.
	Origins bool `json:"origins,omitempty"`
}

// Who is one page of the users whom Check allows (Rule EVAL-10), by id.
type Who struct {
	Users []WhoUser `json:"users"`
	// Next continues after this page; it is empty on the last one.
	Next     access.UserID   `json:"next,omitempty"`
	Revision access.Revision `json:"revision"`
}

// WhoUser is a user who may.
type WhoUser struct {
	Named
	Origins []Origin `json:"origins,omitempty"` // as Explanation has them
}

// Who lists the users for whom Check allows.
//
// It judges those who can come into question: by owning the record or being in
// the team that does, by a share, by a role with the privilege at a unit that
// reaches the record, by those who report to them. For each page these are looked
// for anew, and of them those are judged who come next. Where they are so many
// that this would cost more, all users are judged in turn until the page is full.
// So all pages of an answer together cost as much as to judge all users twice, at
// most.
func (s *Snapshot) Who(q WhoQuestion) (Who, error) {
	if q.Limit < 0 {
		return Who{}, fmt.Errorf("%w: a page of %d users", ErrQuestion, q.Limit)
	}
	limit := min(cmp.Or(q.Limit, 100), 1000)
	w := Who{Users: []WhoUser{}, Revision: s.revision}
	ask := Question{Action: q.Action, Table: q.Table, Record: q.Record, Privilege: q.Privilege, At: q.At, Channel: q.Channel}
	var a asked
	if found, err := s.resolveForAny(&ask, &a); err != nil || !found {
		return w, err
	}
	var err error
	s.candidates(&a, q.After, limit, func(u *user) bool {
		if !s.allows(&a, u, q.Channel) {
			return true
		}
		if len(w.Users) == limit {
			w.Next = access.UserID(w.Users[limit-1].ID)
			return false
		}
		one := WhoUser{Named: s.nameUser(u)}
		if q.Origins {
			var e Explanation
			ask.User = u.aside.data.ID
			if e, err = s.Explain(ask, -1); err != nil {
				return false
			}
			one.Origins = e.Origins
		}
		w.Users = append(w.Users, one)
		return true
	})
	return w, err
}

// resolveForAny resolves the question as if one of the users asked it. It finds
// none where there are no users.
func (s *Snapshot) resolveForAny(q *Question, a *asked) (found bool, err error) {
	s.order.ascend(place{}, func(p place) bool {
		if u := s.users.rows.get(p.row); u.exists && s.span(u.unit).exists() {
			q.User, found = p.id, true
		}
		return !found
	})
	if found {
		err = s.resolve(q, a)
	}
	return found, err
}

// allows judges the same question for another user. About one whose business unit
// does not exist nothing can be said.
func (s *Snapshot) allows(a *asked, u *user, by Channel) bool {
	if !u.exists || !s.span(u.unit).exists() {
		return false
	}
	b := *a
	b.user = u
	if b.misc != "" {
		b.gate = s.gate(u, by, access.Write, true)
	} else {
		b.gate = s.gate(u, by, a.action, s.tables[a.table].data.System)
	}
	b.owned = bit(a.owner == u || a.ownerTeam != noTeam && s.member(u, a.ownerTeam))
	return s.evaluate(&b, b.at).Allowed
}

// candidates goes through all who can come into question and come after the given
// user, in order of id, until judge tells to stop.
//
// To judge one costs as much as to mark some sixty in a set, or to pass a hundred
// by in the order of ids.
func (s *Snapshot) candidates(a *asked, after access.UserID, limit int, judge func(*user) bool) {
	c := crowd{s: s, a: a}
	c.gather()
	ordered := func(has func(row uint32) bool) {
		first := true // the only one who can be the given user
		s.order.ascend(place{id: after}, func(p place) bool {
			if first && p.id == after {
				return true
			}
			first = false
			return !has(p.row) || judge(s.users.rows.get(p.row))
		})
	}
	switch {
	case c.everybody || c.size*c.size > 60*limit*s.userCount:
		ordered(func(uint32) bool { return true })
	case c.size > s.userCount/100:
		set := make([]uint64, s.users.rows.count/64+1)
		c.each(func(n uint32) bool {
			set[n/64] |= 1 << (n % 64)
			return true
		})
		ordered(func(n uint32) bool { return set[n/64]>>(n%64)&1 != 0 })
	default:
		var list []place
		c.each(func(n uint32) bool {
			if id := s.users.rows.get(n).aside.data.ID; id > after {
				list = append(list, place{id, n})
			}
			return true
		})
		slices.SortFunc(list, place.compare)
		for _, p := range slices.Compact(list) {
			if !judge(s.users.rows.get(p.row)) {
				return
			}
		}
	}
}

// crowd gathers those who can come into question: users, and teams whose members
// do. Somebody may be among them more than once.
type crowd struct {
	s            *Snapshot
	a            *asked
	users, teams []uint32
	everybody    bool
	size         int // users and members of teams
}

// each yields the users by number.
func (c *crowd) each(yield func(n uint32) bool) {
	for _, n := range c.users {
		yield(n)
	}
	for _, n := range c.teams {
		under(&c.s.members, n, yield)
	}
}

func (c *crowd) gather() {
	c.holders()
	if !c.a.record || c.a.kind != access.UserOrTeam {
		return
	}
	owner := who(c.a.ownerTeam) | teamBit
	if c.a.owner != nil {
		owner = who(c.a.owner.number)
	}
	levels := c.s.levels(c.a)
	c.add(owner)
	c.above(owner, levels)
	if c.a.shares == nil {
		return
	}
	for i := range c.a.shares.count() {
		if sh := c.a.shares.at(i); sh.rights().Has(c.a.action) && c.a.shares.holds(i, c.a.at) {
			c.add(sh.who)
			c.above(sh.who, levels)
		}
	}
}

func (c *crowd) add(w who) {
	switch w.kind() {
	case access.UserPrincipal:
		c.users = append(c.users, w.number())
		c.size++
	case access.TeamPrincipal:
		c.teams = append(c.teams, w.number())
		c.size += c.s.teams.get(w.number()).aside.members
	default:
		c.everybody = true
	}
}

// holders adds those who hold a role with the privilege where it reaches the
// record, or anywhere without one.
func (c *crowd) holders() {
	s, a := c.s, c.a
	for n, r := range s.roles {
		d := a.line[n].depth()
		switch {
		case r == nil || d == access.None:
		case !a.record || a.kind == access.NotOwned || d == access.Global:
			c.holding(uint32(n), noUnit)
		case d == access.Local:
			c.holding(uint32(n), a.unit)
		case d == access.Deep:
			for unit := a.unit; unit != noUnit; unit = s.tree.units.get(unit).parent {
				c.holding(uint32(n), unit)
			}
		}
	}
}

// holding adds those who hold the role at the unit, or with noUnit at any.
func (c *crowd) holding(role, unit uint32) {
	from := holder{grant: grant{role: role}}
	if unit != noUnit {
		from.unit = unit
	}
	c.s.holders.ascend(from, func(h holder) bool {
		if h.role != role || unit != noUnit && h.unit != unit {
			return false
		}
		c.add(h.who)
		return true
	})
}

// above adds those to whom the principal, or a member of the team, reports within
// so many levels.
func (c *crowd) above(w who, levels int) {
	switch {
	case levels == 0 || w == everybody:
	case w.kind() == access.TeamPrincipal:
		under(&c.s.members, w.number(), func(n uint32) bool {
			c.aboveUser(c.s.users.rows.get(n), levels)
			return true
		})
	default:
		c.aboveUser(c.s.users.rows.get(w.number()), levels)
	}
}

func (c *crowd) aboveUser(r *user, levels int) {
	s := c.s
	if s.env.Hierarchy.Model == access.ManagerHierarchy {
		for m := r; levels > 0 && m.manager != noUser; levels-- {
			m = s.users.rows.get(m.manager)
			c.add(who(m.number))
		}
		return
	}
	for p := r.aside.position; levels > 0 && p != noPosition; levels-- {
		if p = s.positions[p].parent; p != noPosition {
			under(&s.placed, p, func(n uint32) bool {
				c.add(who(n))
				return true
			})
		}
	}
}
