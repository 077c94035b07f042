package access_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ambit-iam/ambit/access"
)

// firstSync is the changeset that fills an empty environment: users, each in four
// of the teams, in no order.
func firstSync(users int) []access.Change {
	changes := []access.Change{
		access.Put(access.Environment{ID: env, Name: "Company", ManagedBy: access.ByFile}), access.Put(unit("root", "")),
		access.Put(table("account", access.UserOrTeam)), access.Put(role("seller", "root", line("account", access.Read, access.Deep))),
	}
	for i := range 200 {
		changes = append(changes, access.Put(unit(fmt.Sprint("unit", i), "root")))
	}
	teams := users / 25
	for i := range teams {
		changes = append(changes, access.Put(groupTeam(fmt.Sprint("team", i), fmt.Sprint("unit", i%200))))
		changes = append(changes, access.Put(assign(fmt.Sprint("a", i), "seller", teamOf(fmt.Sprint("team", i)), fmt.Sprint("unit", i%200))))
	}
	for i := range users {
		id := fmt.Sprintf("entra:7f0c9a52-5d1e-4a43-9a53-%012d", i)
		changes = append(changes, access.Put(user(id, fmt.Sprint("unit", i%200))))
		for j := range 4 {
			m := member(fmt.Sprint("team", (i+j*997)%teams), id)
			m.ManagedBy = access.ByMapping
			changes = append(changes, access.Put(m))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	return changes
}

func BenchmarkExpandFirstSyncSorted(b *testing.B) {
	changes, err := access.NewState(env).Expand(firstSync(50_000))
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		if _, err := access.NewState(env).Expand(changes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExpandFirstSync(b *testing.B) {
	changes := firstSync(50_000)
	b.ResetTimer()
	for b.Loop() {
		if _, err := access.NewState(env).Expand(changes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyFirstSync(b *testing.B) {
	changes := firstSync(50_000)
	b.ResetTimer()
	for b.Loop() {
		access.NewState(env).Apply(changes...)
	}
}

// The cost of one change must not grow with the organisation.
func BenchmarkExpandOne(b *testing.B) {
	for _, users := range []int{5_000, 50_000} {
		s := access.NewState(env)
		s.Apply(firstSync(users)...)
		id := fmt.Sprintf("entra:7f0c9a52-5d1e-4a43-9a53-%012d", 17)
		m := access.Membership{Environment: env, Team: "team0", User: access.UserID(id), ManagedBy: access.ByMapping}
		for name, c := range map[string]access.Change{
			"membership": access.Put(m), "user": access.Put(user(id, "unit3")), "leaver": access.Remove(access.User{Environment: env, ID: access.UserID(id)}),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, users), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Expand([]access.Change{c}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// What comes along a relationship costs by the children to whom it comes.
func BenchmarkExpandShare(b *testing.B) {
	for _, records := range []int{5_000, 50_000} {
		s := company(family(everything)...)
		for i := range records {
			s.Apply(access.Put(record(fmt.Sprint("p", i), userOf("ann"), "sales")), access.Put(child(fmt.Sprint("c", i), fmt.Sprint("p", i))),
				access.Put(share(fmt.Sprint("p", i), userOf("ann"))))
		}
		for name, c := range map[string]access.Change{
			"share": access.Put(share("p7", userOf("bob"))), "assign": access.Put(record("p7", userOf("bob"), "")), "delete": access.Remove(record("p7", userOf("ann"), "")),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, records), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Expand([]access.Change{c}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
