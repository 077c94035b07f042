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
	// Visited is how many entries of the snapshot's indexes were looked at.
	Visited int `json:"-"`
}

// WhoUser is a user who may.
type WhoUser struct {
	Named
	Origins []Origin `json:"origins,omitempty"` // as Explanation has them
}

// Who lists the users for whom Check allows.
//
// It goes through those who can come into question: by owning the record or being
// in the team that does, by a share, by a role with the privilege at a unit that
// reaches the record, by those who report to them. The indexes list each of these
// in the order of ids, nearly always, so that a page costs what it holds, and of
// whoever is in a team that gives enough by itself only what Rule EVAL-2 asks is
// left to judge. Where there are so many lists that they would cost more, all
// users are judged in turn until the page is full. So all pages of an answer
// together cost as much as to judge all users twice, at most.
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
	c := crowd{s: s, a: &a, limit: limit}
	c.each(q.After, func(u *user, known known) bool {
		if !s.allows(&a, u, q.Channel, known) {
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
	w.Visited = c.visited
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

// known is what is known of somebody before they are judged.
type known uint8

const (
	unjudged known = iota
	byRole         // they may, if roles reach the record: nothing else gives it to them
	reached        // they may, if they have the privilege at any depth
	gives          // they may, if they get in
)

// allows judges the same question for another user. About one whose business unit
// does not exist nothing can be said.
func (s *Snapshot) allows(a *asked, u *user, by Channel, known known) bool {
	if !u.exists || !s.span(u.unit).exists() {
		return false
	}
	action, system := access.Write, true
	if a.misc == "" {
		action, system = a.action, s.tables[a.table].data.System
	}
	if s.gate(u, by, action, system) != Unknown {
		return false
	}
	if known == gives {
		return true
	}
	b := *a
	b.user, b.gate = u, Unknown
	b.owned = bit(a.owner == u || a.ownerTeam != noTeam && s.member(u, a.ownerTeam))
	switch known {
	case unjudged:
		return s.evaluate(&b, b.at).Allowed
	case reached:
		b.place, b.beyond = 0, access.Basic
	}
	return s.scan(&b, b.at).access != 0
}

// crowd is those who can come into question: some users, those who hold a role
// themselves at a unit, and the members of teams. Somebody may be among them more
// than once.
type crowd struct {
	s      *Snapshot
	a      *asked
	limit  int
	levels int // of the hierarchy

	users   []uint32
	reached []uint32 // users too
	held    []grant
	teams   []crowdTeam
	known   known // of users, holders, and teams that do not tell more

	everybody bool
	size      int // about how many there are
	visited   int

	fetched uint8 // means nothing: for the sake of having looked
}

type crowdTeam struct {
	number uint32
	known  known // of its members
}

// somebody is one of them.
type somebody struct {
	number uint32
	user   *user
	known  known
}

// each yields those who come after the given user, in the order of ids, until told
// to stop.
func (c *crowd) each(after access.UserID, yield func(u *user, known known) bool) {
	if c.gather(); c.many() {
		c.all(after, yield)
		return
	}
	late := c.late(after)
	more := c.inOrder(c.s.users.after(after), func(x somebody) bool {
		for len(late) > 0 && late[0].user.aside.data.ID < x.user.aside.data.ID {
			if !yield(late[0].user, late[0].known) {
				return false
			}
			late = late[1:]
		}
		return yield(x.user, x.known)
	})
	for ; more && len(late) > 0; late = late[1:] {
		more = yield(late[0].user, late[0].known)
	}
}

// many tells whether there are so many lists that to judge all users until the
// page is full costs less than to begin each: about as much as to judge one. From
// then on everybody comes into question.
func (c *crowd) many() bool {
	c.everybody = c.everybody || (len(c.held)+len(c.teams))*c.size > c.limit*c.s.userCount
	return c.everybody
}

// all yields all users.
func (c *crowd) all(after access.UserID, yield func(u *user, known known) bool) {
	c.s.order.ascend(place{id: after}, func(p place) bool {
		c.visited++
		return p.id == after || yield(c.s.users.rows.get(p.row), unjudged)
	})
}

// inOrder yields those of a number or a greater one whose rows lie in the order of
// ids, and tells whether it came to their end. It looks at some rows together, as
// fetch does.
func (c *crowd) inOrder(from uint32, yield func(somebody) bool) (more bool) {
	var near [16]somebody
	used := 0
	flush := func() bool {
		list := near[:used]
		used = 0
		for i := range list {
			list[i].user = c.s.users.rows.get(list[i].number)
			c.fetched += list[i].user.length
		}
		for _, x := range list {
			c.fetched += uint8(len(x.user.aside.data.ID))
		}
		for _, x := range list {
			if !yield(x) {
				return false
			}
		}
		return true
	}
	more = true
	c.merge(from, func(n uint32, known known) bool {
		if n >= c.s.users.ordered {
			return false
		}
		near[used] = somebody{number: n, known: known}
		if used++; used == len(near) {
			more = flush()
		}
		return more
	})
	return more && flush()
}

// late lists those after the given user whose rows lie in no order, by id.
func (c *crowd) late(after access.UserID) (list []somebody) {
	users := &c.s.users
	if users.ordered == users.rows.count {
		return nil
	}
	c.merge(users.ordered, func(n uint32, known known) bool {
		if u := users.rows.get(n); u.aside.data.ID > after {
			list = append(list, somebody{n, u, known})
		}
		return true
	})
	slices.SortFunc(list, func(x, y somebody) int { return cmp.Compare(x.user.aside.data.ID, y.user.aside.data.ID) })
	return list
}

// merge yields the users of all lists by number, each once, until told to stop.
func (c *crowd) merge(from uint32, yield func(n uint32, known known) bool) {
	var heap runs
	add := func(known known, list puller) {
		if n, ok := list.pull(); ok {
			heap = append(heap, run{n, known, list})
		}
	}
	add(c.known, numbersFrom(c.users, from))
	add(reached, numbersFrom(c.reached, from))
	for _, g := range c.held {
		add(c.known, &holdersOf{of: &c.s.holders, next: holder{g, who(from)}})
	}
	for _, t := range c.teams {
		add(t.known, &membersOf{of: &c.s.members, next: pairOf(t.number, from)})
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		heap.down(i)
	}
	for len(heap) > 0 {
		n, known := heap[0].next, unjudged
		for len(heap) > 0 && heap[0].next == n {
			c.visited++
			known = max(known, heap[0].known)
			var ok bool
			if heap[0].next, ok = heap[0].list.pull(); !ok {
				last := len(heap) - 1
				heap[0], heap = heap[last], heap[:last]
			}
			heap.down(0)
		}
		if !yield(n, known) {
			return
		}
	}
}

// run is a list of users by number, of which the next is known.
type run struct {
	next  uint32
	known known
	list  puller
}

type puller interface {
	// pull takes the one that follows, if there is one.
	pull() (n uint32, ok bool)
}

// runs are a heap, the one with the least number first.
type runs []run

func (h runs) down(i int) {
	for {
		least := i
		for kid := 2*i + 1; kid <= 2*i+2 && kid < len(h); kid++ {
			if h[kid].next < h[least].next {
				least = kid
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

type numbers []uint32

func numbersFrom(list []uint32, from uint32) *numbers {
	i, _ := slices.BinarySearch(list, from)
	out := numbers(list[i:])
	return &out
}

func (l *numbers) pull() (n uint32, ok bool) {
	if len(*l) == 0 {
		return 0, false
	}
	n = (*l)[0]
	*l = (*l)[1:]
	return n, true
}

// membersOf is a team's members.
type membersOf struct {
	of   *sorted[pair]
	next pair
	page []pair
}

func (m *membersOf) pull() (n uint32, ok bool) {
	if len(m.page) == 0 {
		m.page = m.of.some(m.next)
	}
	if len(m.page) == 0 || m.page[0].at() != m.next.at() {
		return 0, false
	}
	n = m.page[0].number()
	m.next, m.page = pairOf(m.next.at(), n+1), m.page[1:]
	return n, true
}

// holdersOf is the users who hold a role at a unit themselves.
type holdersOf struct {
	of   *sorted[holder]
	next holder
	page []holder
}

func (h *holdersOf) pull() (n uint32, ok bool) {
	if len(h.page) == 0 {
		h.page = h.of.some(h.next)
	}
	if len(h.page) == 0 || h.page[0].grant != h.next.grant || h.page[0].who.kind() != access.UserPrincipal {
		return 0, false
	}
	n = h.page[0].who.number()
	h.next.who, h.page = who(n+1), h.page[1:]
	return n, true
}

func (c *crowd) gather() {
	a := c.a
	switch {
	case !a.record || a.kind == access.NotOwned:
		c.known = reached
	case a.action != access.Create: // which takes more
		c.known, c.levels = byRole, c.s.levels(a)
	}
	c.holders()
	if a.record && a.kind == access.UserOrTeam {
		owner := who(a.ownerTeam) | teamBit
		if a.owner != nil {
			owner = who(a.owner.number)
		}
		c.add(owner, c.known)
		c.above(owner)
		for i := 0; a.shares != nil && i < a.shares.count() && !c.many(); i++ {
			if sh := a.shares.at(i); sh.rights().Has(a.action) && a.shares.holds(i, a.at) {
				c.add(sh.who, reached)
				c.above(sh.who)
			}
		}
	}
	for _, list := range []*[]uint32{&c.users, &c.reached} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	slices.SortFunc(c.teams, func(x, y crowdTeam) int {
		return cmp.Or(cmp.Compare(x.number, y.number), cmp.Compare(y.known, x.known))
	})
	c.teams = slices.CompactFunc(c.teams, func(x, y crowdTeam) bool { return x.number == y.number })
}

// add adds whom the record is owned by or shared with, or who holds a role.
func (c *crowd) add(w who, known known) {
	switch w.kind() {
	case access.UserPrincipal:
		if known == reached {
			c.reached = append(c.reached, w.number())
		} else {
			c.users = append(c.users, w.number())
		}
		c.size++
	case access.TeamPrincipal:
		if t := c.s.teams.get(w.number()).aside; t.members > 0 && (t.exists || known != reached) {
			c.teams = append(c.teams, crowdTeam{w.number(), c.ofTeam(w.number(), known)})
			c.size += t.members
		}
	default:
		c.everybody = true
	}
}

// ofTeam is what is known of the members of a team: known, or that the team alone
// gives them what is asked for.
func (c *crowd) ofTeam(team uint32, known known) known {
	s, a := c.s, *c.a
	a.owned = bit(team == a.ownerTeam)
	if known == reached {
		a.place, a.beyond = 0, access.Basic
	}
	var v verdict
	if s.weighTeam(&a, s.teams.get(team), team, &v) {
		s.weighTeamWindows(&a, team, a.at, &v)
	}
	if v.access != 0 && known != unjudged {
		return gives
	}
	return known
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
			for g, ok := (grant{role: uint32(n)}), true; ok && !c.many(); {
				if g, ok = c.nextHeld(g); ok {
					c.holding(g)
					g.unit++
				}
			}
		case d == access.Local:
			c.holding(grant{uint32(n), a.unit})
		case d == access.Deep:
			for unit := a.unit; unit != noUnit; unit = s.parent(unit) {
				c.holding(grant{uint32(n), unit})
			}
		}
	}
}

// nextHeld is the first grant of the role, from the given one on, that somebody
// holds.
func (c *crowd) nextHeld(g grant) (grant, bool) {
	h, ok := c.s.holders.next(holder{grant: g})
	return h.grant, ok && h.role == g.role
}

// holding adds those who hold the role at the unit.
func (c *crowd) holding(g grant) {
	themselves := 0
	for _, h := range c.s.holders.some(holder{grant: g}) {
		if h.grant != g || h.who.kind() != access.UserPrincipal {
			break
		}
		themselves++
	}
	if themselves > 0 {
		c.held = append(c.held, g)
		c.size += themselves // as far as they stand together
	}
	c.s.holders.ascend(holder{g, teamBit}, func(h holder) bool {
		c.visited++
		if h.grant == g {
			c.add(h.who, c.known)
		}
		return h.grant == g && !c.many()
	})
}

// above adds those to whom the principal, or a member of the team, passes up what
// they have.
func (c *crowd) above(w who) {
	switch {
	case c.levels == 0 || w == everybody:
	case w.kind() == access.UserPrincipal:
		c.aboveUser(c.s.users.rows.get(w.number()))
	case c.s.teams.get(w.number()).aside.exists:
		under(&c.s.members, w.number(), func(n uint32) bool {
			c.visited++
			c.aboveUser(c.s.users.rows.get(n))
			return true
		})
	}
}

func (c *crowd) aboveUser(r *user) {
	s := c.s
	add := func(m *user) {
		if s.passesUp(r, m) {
			c.add(who(m.number), reached)
		}
	}
	if s.env.Hierarchy.Model == access.ManagerHierarchy {
		m := r
		for range c.levels {
			if m.manager == noUser || !s.users.rows.get(m.manager).exists {
				return
			}
			m = s.users.rows.get(m.manager)
			add(m)
		}
		return
	}
	p := r.aside.position
	for range c.levels {
		if p == noPosition || !s.positions[p].exists {
			return
		}
		if p = s.positions[p].parent; p != noPosition && p != r.aside.position {
			under(&s.placed, p, func(n uint32) bool {
				add(s.users.rows.get(n))
				return true
			})
		}
	}
}
