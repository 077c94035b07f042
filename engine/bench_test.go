package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
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
func organisation(users int) *access.State { return sized(users, users/25, 200) }

func sized(users, teams, units int) *access.State {
	rng := rand.New(rand.NewPCG(1, 2))
	st := access.NewState(company)
	roles, tables := 20, 100
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

// people are all users of the company in a random order, with their units. Their
// strings lie together in memory in that order, as in requests just read, and are
// not those that the snapshot holds.
type people struct {
	ids   []access.UserID
	units []access.BusinessUnitID
}

func shuffled(st *access.State, users int, seed uint64) people {
	units := map[access.BusinessUnitID]access.BusinessUnitID{} // each name once
	for id := range st.BusinessUnits {
		units[id] = id
	}
	var text strings.Builder
	order := rand.New(rand.NewPCG(seed, 0)).Perm(users)
	for _, i := range order {
		text.WriteString(string(userID(i)))
	}
	p, all := people{}, text.String()
	for n, i := range order {
		size := len(all) / users
		p.ids = append(p.ids, access.UserID(all[n*size:(n+1)*size]))
		p.units = append(p.units, units[st.Users[userID(i)].BusinessUnit])
	}
	return p
}

// asker puts questions about records of other people, each user and each owner in
// turn.
type asker struct {
	users, owners people
	tables        []access.TableID
	record        engine.Record
}

func newAsker(st *access.State, users int) *asker {
	a := &asker{users: shuffled(st, users, 1), owners: shuffled(st, users, 2), record: engine.Record{ID: "record-1"}}
	for i := range 100 {
		a.tables = append(a.tables, tableID(i))
	}
	return a
}

func (a *asker) question(i int) engine.Question {
	n := i % len(a.users.ids)
	a.record.Owner, a.record.BusinessUnit = a.owners.ids[n].Principal(), a.owners.units[n]
	return engine.Question{User: a.users.ids[n], Action: access.Action(1 + i%7), Table: a.tables[i%100], Record: &a.record, At: noon}
}

// inTurns runs each function in turn and gives the time in nanoseconds that the
// quickest tenth of each one's turns needed at most: on a busy machine those are
// the turns in which nobody came between.
func inTurns(turns int, each ...func()) []float64 {
	times := make([][]float64, len(each))
	for range turns {
		for i, f := range each {
			start := time.Now()
			f()
			times[i] = append(times[i], float64(time.Since(start).Nanoseconds()))
		}
	}
	out := make([]float64, len(each))
	for i := range out {
		slices.Sort(times[i])
		out[i] = times[i][turns/10]
	}
	return out
}

// BenchmarkCheck reports how many times as long as one lookup in a Go map a
// question takes, all measured in turns: as "m" in the map of the same users
// (access.State.Users), whose row is what a question needs of a user; as "ids" in
// the smallest map there is, from their ids to a number.
func BenchmarkCheck(b *testing.B) {
	const users = 50_000
	st := organisation(users)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	questions := newAsker(st, users)
	numbers := map[access.UserID]int{}
	for id := range st.Users {
		numbers[id] = len(numbers)
	}
	i, j, k, allowed, sum := 0, 0, 0, 0, 0
	check := func(i int) {
		d, err := s.Check(questions.question(i))
		if err != nil {
			b.Fatal(err)
		}
		if d.Allowed {
			allowed++
		}
	}
	const lookups, checks = 10_000, 2_000 // about a millisecond each
	times := inTurns(500, func() {
		for range lookups {
			if st.Users[questions.users.ids[j]].Enabled {
				sum++
			}
			j = (j + 1) % users
		}
	}, func() {
		for range lookups {
			sum += numbers[questions.users.ids[k]]
			k = (k + 1) % users
		}
	}, func() {
		for range checks {
			check(i)
			i++
		}
	})
	require.NotZero(b, sum)
	row, id, question := times[0]/lookups, times[1]/lookups, times[2]/checks
	share := float64(allowed) / float64(i)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		check(i)
	}
	b.ReportMetric(row, "ns/lookup")
	b.ReportMetric(question, "ns/question")
	b.ReportMetric(question/row, "m")
	b.ReportMetric(question/id, "ids")
	b.ReportMetric(share, "allowed")
}

func BenchmarkNew(b *testing.B) {
	st := organisation(50_000)
	b.ReportAllocs()
	for b.Loop() {
		_, err := engine.New(st, 1)
		require.NoError(b, err)
	}
}

// applier puts users into teams and out again, one at a time, and asks each one's
// next question.
type applier struct {
	users     int
	s         *engine.Snapshot
	questions *asker
	n         int
}

func newApplier(t require.TestingT, users int) *applier {
	st := organisation(users)
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	return &applier{users: users, s: s, questions: newAsker(st, users)}
}

func (a *applier) apply(t require.TestingT) {
	const round = 4096
	q := a.questions.question(a.n % round)
	m := access.Membership{Environment: company, Team: teamID(a.n % round % (a.users / 25)), User: q.User}
	next, err := a.s.Apply([]access.Change{{Object: m, Delete: a.n/round%2 == 1}}, access.Revision(a.n+2))
	if err == nil {
		a.s = next
		_, err = next.Check(q)
	}
	if err != nil {
		require.NoError(t, err)
	}
	a.n++
}

// BenchmarkApplyMembership puts a user into a team and asks the user's next
// question, in an organisation of 5,000 users and in one of 50,000.
func BenchmarkApplyMembership(b *testing.B) {
	small, large := newApplier(b, 5_000), newApplier(b, 50_000)
	const changes = 200
	run := func(a *applier) func() {
		return func() {
			for range changes {
				a.apply(b)
			}
		}
	}
	times := inTurns(300, run(small), run(large))
	b.ReportAllocs()
	for b.Loop() {
		large.apply(b)
	}
	b.ReportMetric(times[0]/changes, "ns/5000")
	b.ReportMetric(times[1]/changes, "ns/50000")
	b.ReportMetric(times[1]/times[0], "ratio")
}

// The time is for the benchmark; what a change copies can be counted.
func TestAMembershipChangeCopiesAsMuchInALargeOrganisation(t *testing.T) {
	bytes := func(users int) float64 {
		a := newApplier(t, users)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 2_000 {
			a.apply(t)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / 2_000
	}
	small, large := bytes(2_000), bytes(20_000)
	require.Less(t, large, 1.2*small, "bytes for a change: %f among 2,000 users, %f among 20,000", small, large)
}

func TestCheckAllocatesNothing(t *testing.T) {
	st := organisation(1_000)
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	questions := newAsker(st, 1_000)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range 256 {
			q := questions.question(i)
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

// BenchmarkExplain asks for the missing sets of denials, which is the costly part.
func BenchmarkExplain(b *testing.B) {
	const users = 50_000
	st := organisation(users)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	questions := newAsker(st, users)
	b.ResetTimer()
	for i := range b.N {
		if _, err := s.Explain(questions.question(i), 10); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWhat(b *testing.B) {
	const users = 50_000
	st := organisation(users)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	b.ResetTimer()
	for i := range b.N {
		_, err := s.What(userID(i%users), noon)
		require.NoError(b, err)
	}
}

// BenchmarkDiff compares what a user has before and after a new role.
func BenchmarkDiff(b *testing.B) {
	const users = 50_000
	st := organisation(users)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	before, err := s.What(userID(1), noon)
	require.NoError(b, err)
	next, err := s.Apply([]access.Change{access.Put(access.Assignment{
		Environment: company, ID: "new", Role: roleID(3), Principal: userID(1).Principal(), BusinessUnit: unitID(0),
	})}, 2)
	require.NoError(b, err)
	after, err := next.What(userID(1), noon)
	require.NoError(b, err)
	b.ResetTimer()
	for range b.N {
		require.NotEmpty(b, after.Diff(before).Gained)
	}
}

// vast is an organisation of 50,000 users, or of as many as AMBIT_BENCH_USERS
// says: a million takes minutes to make. There are teams for every 20 of them,
// units for every 100, and ten records shared with each of them by their teams.
func vast(b *testing.B) *access.State {
	users := 50_000
	if n := os.Getenv("AMBIT_BENCH_USERS"); n != "" {
		var err error
		users, err = strconv.Atoi(n)
		require.NoError(b, err)
	}
	st := sized(users, users/20, users/100)
	for i := range users / 10 {
		st.Apply(access.Put(access.Share{
			Environment: company, Table: tableID(i % 100), Record: access.RecordID(fmt.Sprint("record-", i)),
			Principal: teamID(i % (users / 20)).Principal(), Rights: access.RightsOf(access.Read),
		}))
	}
	return st
}

// BenchmarkFilter makes filters for users in a random order, each for another
// table, and reports the time of one and of the costliest hundredth.
func BenchmarkFilter(b *testing.B) {
	st := vast(b)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	users := shuffled(st, len(st.Users), 1).ids
	var times []float64
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if _, err := s.Filter(engine.FilterQuestion{User: users[i%len(users)], Action: access.Read, Table: tableID(i % 100), At: noon}); err != nil {
			b.Fatal(err)
		}
		times = append(times, float64(time.Since(start).Nanoseconds()))
	}
	slices.Sort(times)
	b.ReportMetric(times[len(times)*99/100], "ns/p99")
	b.ReportMetric(float64(len(users)), "users")
}

// BenchmarkFilterOfManyTeams is for a user in 1,000 teams.
func BenchmarkFilterOfManyTeams(b *testing.B) {
	st := sized(2_000, 2_000, 200)
	for i := range 1_000 {
		st.Apply(access.Put(access.Membership{Environment: company, Team: teamID(i), User: userID(1)}))
	}
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, err := s.Filter(engine.FilterQuestion{User: userID(1), Action: access.Read, Table: tableID(i % 100), At: noon})
		require.NoError(b, err)
	}
}

// BenchmarkWho asks who may read each of eight records, page by page, and reports
// the time for each user listed, also in lookups of the users in a Go map, measured
// in turns (see BenchmarkCheck), and how many users are listed for a question.
func BenchmarkWho(b *testing.B) {
	st := vast(b)
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	users := len(st.Users)
	ids, owners := shuffled(st, users, 1).ids, shuffled(st, users, 2)
	who := func(i int) (listed int) {
		q := engine.WhoQuestion{
			Action: access.Read, Table: tableID(i % 100), At: noon, Limit: 1000,
			Record: &engine.Record{ID: access.RecordID(fmt.Sprint("record-", i)), Owner: owners.ids[i%users].Principal(), BusinessUnit: owners.units[i%users]},
		}
		for more := true; more; more = q.After != "" {
			w, err := s.Who(q)
			require.NoError(b, err)
			listed += len(w.Users)
			q.After = w.Next
		}
		return listed
	}
	const lookups, questions = 100_000, 8
	j, sum, listed := 0, 0, 0
	times := inTurns(50, func() {
		for range lookups {
			if st.Users[ids[j]].Enabled {
				sum++
			}
			j = (j + 1) % users
		}
	}, func() {
		listed = 0
		for i := range questions {
			listed += who(i)
		}
	})
	require.NotZero(b, sum)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		who(i % questions)
	}
	b.ReportMetric(times[1]/float64(listed), "ns/listed")
	b.ReportMetric(times[1]/float64(listed)/(times[0]/lookups), "m/listed")
	b.ReportMetric(float64(listed)/questions, "listed")
}

// BenchmarkHierarchy asks whether managers reach records of those below them, in a
// company of 50,000 users with eight reports each: the owner is a user, a small
// team that is asked about by the chief of all, or a team of everybody that is
// asked about by one with few below.
func BenchmarkHierarchy(b *testing.B) {
	const users = 50_000
	st := organisation(users)
	st.Environment.Hierarchy = &access.Hierarchy{Depth: 6}
	st.Environment.Modernized = true
	st.Environment.Hierarchy.ManagersAnywhere = true
	put := func(o access.Object) { st.Apply(access.Put(o)) }
	put(access.Role{Environment: company, ID: "own", BusinessUnit: unitID(0), Privileges: []access.Privilege{{Table: "note", Action: access.Read, Depth: access.Basic}}})
	put(access.Table{Environment: company, ID: "note"})
	put(access.Team{Environment: company, ID: "all", BusinessUnit: unitID(0)})
	put(access.Team{Environment: company, ID: "small", BusinessUnit: unitID(0)})
	for i := range users {
		u := st.Users[userID(i)]
		if i > 0 {
			u.Manager = userID((i - 1) / 8)
		}
		put(u)
		if i < 3 || i == users/8 {
			put(access.Assignment{Environment: company, ID: access.AssignmentID(fmt.Sprint("own", i)), Role: "own", Principal: userID(i).Principal(), BusinessUnit: u.BusinessUnit})
		}
		if i > users/2 {
			put(access.Membership{Environment: company, Team: "all", User: userID(i)})
		}
	}
	put(access.Membership{Environment: company, Team: "small", User: userID(users - 1)})
	s, err := engine.New(st, 1)
	require.NoError(b, err)
	for name, q := range map[string]engine.Question{
		"user":        {User: userID(0), Record: &engine.Record{Owner: userID(users - 1).Principal(), BusinessUnit: unitID(0)}},
		"small team":  {User: userID(0), Record: &engine.Record{Owner: access.TeamID("small").Principal(), BusinessUnit: unitID(0)}},
		"few reports": {User: userID(users / 8), Record: &engine.Record{Owner: access.TeamID("all").Principal(), BusinessUnit: unitID(0)}},
	} {
		q.Action, q.Table, q.At = access.Read, "note", noon
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Check(q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
