package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const company access.EnvironmentID = "company"

func unitID(i int) access.BusinessUnitID { return access.BusinessUnitID(fmt.Sprintf("unit-%03d", i)) }
func userID(i int) access.UserID {
	return access.UserID(fmt.Sprintf("corp:8f14e45f-ceea-467f-a8d7-%012d", i))
}
func teamID(i int) access.TeamID   { return access.TeamID(fmt.Sprintf("team-%05d", i)) }
func roleID(i int) access.RoleID   { return access.RoleID(fmt.Sprintf("role-%02d", i)) }
func tableID(i int) access.TableID { return access.TableID(fmt.Sprintf("table%03d", i)) }

// organisation is a company of users, with a team for every 25 of them, 200
// units, 20 roles over 100 tables, four memberships and one role of their own for
// each user, one or two roles for each team, and an elevation for every hundredth
// user.
func organisation(users int) *access.State {
	rng := rand.New(rand.NewPCG(1, 2))
	st := access.NewState(company)
	units, teams, roles, tables := 200, users/25, 20, 100
	put := func(o access.Object) { st.Apply(access.Put(o)) }
	for i := range units {
		b := access.BusinessUnit{Environment: company, ID: unitID(i), Name: fmt.Sprint("Unit ", i)}
		if i > 0 {
			b.Parent = unitID((i - 1) / 4)
		}
		put(b)
	}
	for i := range tables {
		put(access.Table{Environment: company, ID: tableID(i), Name: fmt.Sprint("Table ", i)})
	}
	for i := range roles {
		r := access.Role{Environment: company, ID: roleID(i), Name: fmt.Sprint("Role ", i), BusinessUnit: unitID(0)}
		for t := range tables {
			for a := access.Create; a < access.Actions; a++ {
				if d := access.Depth(rng.IntN(5)); d > access.None && (d < access.Global || rng.IntN(8) == 0) {
					r.Privileges = append(r.Privileges, access.Privilege{Table: tableID(t), Action: a, Depth: d})
				}
			}
		}
		put(r)
	}
	assign := func(p access.Principal, b access.BusinessUnitID, w access.Window) {
		id := access.AssignmentID(fmt.Sprint("assignment-", len(st.Assignments)))
		put(access.Assignment{Environment: company, ID: id, Role: roleID(rng.IntN(roles)), Principal: p, BusinessUnit: b, Window: w})
	}
	for i := range teams {
		b := unitID(rng.IntN(units))
		put(access.Team{Environment: company, ID: teamID(i), Name: fmt.Sprint("Team ", i), BusinessUnit: b})
		for range 1 + rng.IntN(2) {
			assign(teamID(i).Principal(), b, access.Window{})
		}
	}
	for i := range users {
		b := unitID(rng.IntN(units))
		put(access.User{Environment: company, ID: userID(i), Login: fmt.Sprint("u", i), Name: fmt.Sprint("User ", i), BusinessUnit: b, Enabled: true})
		assign(userID(i).Principal(), b, access.Window{})
		for range 4 {
			put(access.Membership{
				Environment: company, Team: teamID(rng.IntN(teams)), User: userID(i),
				Origin: access.Origin{Rule: "teams", Source: "corp", Object: "group"},
			})
		}
		if i%100 == 0 {
			assign(userID(i).Principal(), b, access.Window{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)})
		}
	}
	return st
}

// ask makes questions about records of other people in the company. What a
// question consists of lies together in memory, as in a request just read, and
// none of its strings is one that the snapshot holds.
func ask(st *access.State, users, n int) []engine.Question {
	rng := rand.New(rand.NewPCG(3, 4))
	out, records := make([]engine.Question, n), make([]engine.Record, n)
	for i := range out {
		owner := st.Users[userID(rng.IntN(users))]
		record := fmt.Sprint("record-", i)
		parts := []string{string(userID(rng.IntN(users))), string(tableID(rng.IntN(100))), record, string(owner.ID), string(owner.BusinessUnit)}
		text := strings.Join(parts, "")
		for j, part := range parts {
			parts[j], text = text[:len(part)], text[len(part):]
		}
		records[i] = engine.Record{
			ID: access.RecordID(parts[2]), Owner: access.UserID(parts[3]).Principal(), BusinessUnit: access.BusinessUnitID(parts[4]),
		}
		out[i] = engine.Question{
			User: access.UserID(parts[0]), Action: access.Action(1 + rng.IntN(7)), Table: access.TableID(parts[1]), At: noon, Record: &records[i],
		}
	}
	return out
}

// BenchmarkCheck reports as "m" how many times as long as one lookup in a Go map
// of the same users a question takes.
func BenchmarkCheck(b *testing.B) {
	const users = 50_000
	st := organisation(users)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	questions := ask(st, users, 1<<16)
	numbers := map[access.UserID]int{}
	for id := range st.Users {
		numbers[id] = len(numbers)
	}
	const lookups = 1 << 22
	start := time.Now()
	for i := range lookups {
		sink += numbers[questions[i&(1<<16-1)].User]
	}
	m := float64(time.Since(start).Nanoseconds()) / lookups
	allowed := 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		d, err := s.Check(questions[i&(1<<16-1)])
		if err != nil {
			b.Fatal(err)
		}
		if d.Allowed {
			allowed++
		}
	}
	b.ReportMetric(m, "ns/lookup")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/m, "m")
	b.ReportMetric(float64(allowed)/float64(b.N), "allowed")
}

var sink int

func BenchmarkNew(b *testing.B) {
	st := organisation(50_000)
	b.ReportAllocs()
	for b.Loop() {
		_, err := engine.New(st, 1)
		require.NoError(b, err)
	}
}

// BenchmarkApplyMembership puts a user into a team and asks the user's next
// question; the cost must not grow with the organisation.
func BenchmarkApplyMembership(b *testing.B) {
	for _, users := range []int{5_000, 50_000} {
		b.Run(fmt.Sprint(users), func(b *testing.B) {
			st := organisation(users)
			s, err := engine.New(st, 1)
			require.NoError(b, err)
			questions := ask(st, users, 1<<12)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				q := questions[i&(1<<12-1)]
				m := access.Membership{Environment: company, Team: teamID(i % (users / 25)), User: q.User}
				c := access.Change{Object: m, Delete: i&(1<<12) != 0}
				if s, err = s.Apply([]access.Change{c}, access.Revision(i+2)); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Check(q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	st := organisation(1_000)
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	questions := ask(st, 1_000, 256)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for _, q := range questions {
			if _, err := s.Check(q); err != nil {
				t.Fatal(err)
			}
			q.Action = access.Create
			if _, err := s.Check(q); err != nil {
				t.Fatal(err)
			}
		}
	}))
}
