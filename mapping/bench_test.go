package mapping_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
)

const benchRules = `
environments: {sales-prod: {security_group: {source: entra, group: Everybody}, licences: {accept: [DYN365_CDS_P2]}}}
rules:
  - name: staff
    match: {source: entra, users: 'user.enabled && user.employeeType == "staff"'}
    user: {environment: sales-prod, business_unit: '{{ user.ou }}', person: '{{ user.employeeId }}'}
  - name: teams
    match: {source: entra, group: 'Team *'}
    team: {environment: sales-prod, business_unit: North, roles: [Salesperson]}
`

// organisation makes a directory of n users and n/10 groups of 40, besides the
// one that everybody is in.
func organisation(n int) *mirror {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	m := newMirror("entra")
	m.put("entra", group("everybody", "displayName=Everybody"))
	userName := func(i int) directory.ObjectID { return directory.ObjectID(fmt.Sprintf("u%06d", i)) }
	for i := range n {
		m.put("entra", user(userName(i), "displayName=A Person", "mail="+string(userName(i))+"@example.com", "employeeType=staff", "ou=North",
			"employeeId=7", "plans=6ea4c1ef-c259-46df-bce2-943342cd3cb2", "manager=id:"+string(userName(i/20))))
		m.link("entra", "everybody", directory.Member, userName(i))
	}
	for g := range n / 10 {
		id := directory.ObjectID(fmt.Sprintf("g%05d", g))
		m.put("entra", group(id, "displayName=Team "+string(id)))
		for range 40 {
			m.link("entra", id, directory.Member, userName(random.IntN(n)))
		}
	}
	m.take()
	return m
}

// BenchmarkNew evaluates a whole organisation of n users, n/10 groups, 5n edges.
func BenchmarkNew(b *testing.B) {
	for _, n := range []int{5_000, 50_000} {
		m, r, now := organisation(n), rules(b, benchRules), nothing()
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mapping.New(r, m, now)
			}
		})
	}
}

// BenchmarkUpdate changes one thing of an organisation that was evaluated.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{5_000, 50_000} {
		m, r, now := organisation(n), rules(b, benchRules), nothing()
		e := mapping.New(r, m, now)
		now.apply(b, e)
		e.Update(now, nil)
		runtime.GC()
		run := func(name string, edit func(i int)) {
			b.Run(fmt.Sprintf("%s/users=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					edit(i)
					require.NotEmpty(b, e.Update(now, m.take()))
				}
			})
		}
		run("edge", func(i int) {
			if i%2 == 0 {
				m.link("entra", "g00007", directory.Member, "u000001")
			} else {
				m.unlink("entra", "g00007", directory.Member, "u000001")
			}
		})
		run("group", func(i int) {
			m.put("entra", group("g00007", fmt.Sprintf("displayName=Team %d", i)))
		})
		run("user", func(i int) {
			m.put("entra", user("u004711", "employeeType=staff", "ou=North", fmt.Sprintf("mail=%d@example.com", i)))
		})
	}
}
