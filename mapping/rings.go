package mapping

import (
	"fmt"
	"slices"
	"strings"
)

// ring is people of an environment who are each other's managers, all the way
// round (Rule HIER-9). None of them gets a manager.
type ring struct {
	people []*person // each one's manager follows, beginning with the smallest id
}

// openRing has what the person's manager leads to decided again. The ring that the
// person was in is none any more until then.
func (u *update) openRing(p *person) {
	open := p.world.openRings
	open.add(p)
	if p.ring == nil {
		return
	}
	first := p.ring.people[0]
	u.findings.set(topic{ManagerCycle, p.world.id, first.source.id, string(first.account.id)})
	for _, member := range p.ring.people {
		member.ring = nil
		open.add(member)
		u.resettle(member)
	}
}

// settleRings finds the rings that the open people are in. Each has one manager at
// most: so a way up either ends or runs into one ring, and nobody's has to be gone
// twice.
func (u *update) settleRings() {
	for _, w := range u.worlds {
		walked := map[*person]*person{} // by whom the way began that passed there
		for start := range w.openRings {
			var way []*person
			p := start
			for p != nil && walked[p] == nil && w.people[p.want.ID] == p {
				walked[p] = start
				way = append(way, p)
				p = w.people[p.want.Manager]
			}
			if p != nil && walked[p] == start {
				u.closeRing(way[slices.Index(way, p):])
			}
		}
		clear(w.openRings)
	}
}

func (u *update) closeRing(people []*person) {
	first := 0
	for i, p := range people {
		if p.want.ID < people[first].want.ID {
			first = i
		}
	}
	r := &ring{append(slices.Clone(people[first:]), people[:first]...)}
	for _, p := range r.people {
		p.ring = r
		u.resettle(p)
	}
	p := r.people[0]
	u.findings.set(topic{ManagerCycle, p.world.id, p.source.id, string(p.account.id)}, Finding{
		Kind: ManagerCycle, Environment: p.world.id, Rule: p.rule.name, Source: p.source.id, Object: p.account.id, Name: p.want.Name, Count: len(r.people),
		Text: "the managers form a circle, and are left out: " + r.String(), Hint: "give one of them another manager, or none, in the source",
	})
}

// maxRing is how many people of a ring are named.
const maxRing = 10

func (r *ring) String() string {
	var b strings.Builder
	for _, p := range r.people[:min(len(r.people), maxRing)] {
		fmt.Fprintf(&b, "%s reports to ", p.want.ID)
	}
	if len(r.people) > maxRing {
		fmt.Fprintf(&b, "… (%d people), who report to ", len(r.people))
	}
	return b.String() + string(r.people[0].want.ID)
}
