package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// measurement is what the parts share: the large snapshot is made once.
type measurement struct {
	options
	company company
	large   *engine.Snapshot
}

func (m *measurement) snapshot() (*engine.Snapshot, error) {
	if m.large == nil {
		began := time.Now()
		var err error
		if m.large, err = engine.Load(m.company.objects(), 1); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "  loaded in %s, heap %.0f MB\n", time.Since(began).Round(time.Millisecond), heap()/1e6)
	}
	return m.large, nil
}

func heap() float64 {
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// memory loads the company in parts, so that the differences tell what each holds.
func (m *measurement) memory(context.Context) ([]line, error) {
	c := m.company
	size := func(c company) (float64, error) {
		before := heap()
		s, err := engine.Load(c.objects(), 1)
		if err != nil {
			return 0, err
		}
		after := heap()
		runtime.KeepAlive(s)
		return after - before, nil
	}
	c.noShares, c.noMemberships = true, true
	users, err := size(c)
	if err != nil {
		return nil, err
	}
	c.noMemberships = false
	joined, err := size(c)
	if err != nil {
		return nil, err
	}
	before := heap()
	if _, err := m.snapshot(); err != nil {
		return nil, err
	}
	all := heap() - before
	n := float64(c.users)
	return []line{
		{what: "The snapshot's live heap", figure: fmt.Sprintf("%.2f GB", all/1e9)},
		{what: "A user with one role (teams, units and roles included)", figure: fmt.Sprintf("%.0f bytes", users/n)},
		{what: "A membership", figure: fmt.Sprintf("%.0f bytes", (joined-users)/n/memberships)},
		{what: "A share, two a record, with the record's id of 36 bytes", figure: fmt.Sprintf("%.0f bytes", (all-joined)/float64(c.shares()))},
	}, nil
}

// asked are questions as an application would put them: strings of its own, one
// after the other in memory.
type asked struct {
	questions []engine.Question
	records   []engine.Record
}

const questions = 1 << 19

// asker is who asks about a record: in turn anyone, its owner, one of its unit,
// and one whom it is shared with.
func (c company) asker(i, record int) int {
	switch owner := c.owner(record); i % 4 {
	case 1:
		if owner.Kind == access.UserPrincipal {
			return mix("owner", record, c.users)
		}
	case 2:
		return c.recordUnit(record) + mix("colleague", i, c.users/c.units())*c.units()
	case 3:
		if record < c.records()/2 && c.share(record, 0).Principal.Kind == access.UserPrincipal {
			return mix("user", 2*record, c.users)
		}
	}
	return mix("user asked", i, c.users)
}

// ask makes questions about records of one's own and of other people.
func (c company) ask(count int) *asked {
	var text strings.Builder
	a := &asked{questions: make([]engine.Question, count), records: make([]engine.Record, count)}
	type part struct{ from, to int }
	parts := make([][4]part, count) // user, owner, record, unit
	add := func(s string) part {
		from := text.Len()
		text.WriteString(s)
		return part{from, text.Len()}
	}
	for i := range count {
		record := mix("record asked", i, c.records())
		owner := c.owner(record)
		user := c.asker(i, record)
		parts[i] = [4]part{
			add(string(userID(user))), add(owner.ID), add(string(recordID(record))), add(string(unitID(c.recordUnit(record)))),
		}
		a.records[i].Owner.Kind = owner.Kind
		a.questions[i] = engine.Question{
			Action: access.Action(mix("action", i, int(access.Actions))), Table: tableID(recordTable(record)), Record: &a.records[i], At: noon,
		}
	}
	all := text.String()
	for i := range count {
		get := func(n int) string { return all[parts[i][n].from:parts[i][n].to] }
		r := &a.records[i]
		a.questions[i].User, r.Owner.ID, r.ID, r.BusinessUnit = access.UserID(get(0)), get(1), access.RecordID(get(2)), access.BusinessUnitID(get(3))
	}
	return a
}

// inTurns runs each function in turn and gives the time that the quickest tenth of
// each one's turns needed at most: on a busy machine those are the turns in which
// nobody came between.
func inTurns(turns int, each ...func()) []time.Duration {
	times := make([][]time.Duration, len(each))
	for range turns {
		for i, f := range each {
			began := time.Now()
			f()
			times[i] = append(times[i], time.Since(began))
		}
	}
	out := make([]time.Duration, len(each))
	for i := range out {
		slices.Sort(times[i])
		out[i] = times[i][turns/10]
	}
	return out
}

// check compares a question with a lookup, and one core with two.
func (m *measurement) check(context.Context) ([]line, error) {
	s, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	a := m.company.ask(questions)
	rows, numbers := make(map[access.UserID]access.User, m.company.users), make(map[access.UserID]int, m.company.users)
	for i := range m.company.users {
		u := m.company.user(i)
		rows[u.ID], numbers[u.ID] = u, i
	}
	i, j, k, sum, allowed := 0, 0, 0, 0, 0
	reasons := map[engine.Reason]int{}
	for _, q := range a.questions {
		d, err := s.Check(q)
		if err != nil {
			return nil, err
		}
		if reasons[d.Reason]++; d.Allowed {
			allowed++
		}
	}
	fmt.Fprintln(os.Stderr, "  answers:", reasons)
	const lookups, checks = 10_000, 2_000
	times := inTurns(500, func() {
		for range lookups {
			if rows[a.questions[j%questions].User].Enabled {
				sum++
			}
			j++
		}
	}, func() {
		for range lookups {
			sum += numbers[a.questions[k%questions].User]
			k++
		}
	}, func() {
		for range checks {
			if d, _ := s.Check(a.questions[i%questions]); d.Allowed {
				sum++
			}
			i++
		}
	})
	row, number, question := times[0]/lookups, times[1]/lookups, times[2]/checks
	single := bySelf(200_000, func(int) {}, func(n int) {
		if rows[a.questions[n%questions].User].Enabled {
			sum++
		}
	}, func(n int) {
		if d, _ := s.Check(a.questions[(n+questions/3)%questions]); d.Allowed {
			sum++
		}
	}, func(n int) {
		sum += numbers[a.questions[(n+2*questions/3)%questions].User]
	})
	clock := median(single[0])
	oneRow, oneQuestion, oneNumber := median(single[1])-clock, median(single[2])-clock, median(single[3])-clock
	runtime.KeepAlive(sum)
	allocations := allocations(func() {
		for _, q := range a.questions[:10_000] {
			_, _ = s.Check(q) // judged above
		}
	})
	ratio := func(question, m time.Duration) float64 { return float64(question) / float64(m) }
	scaling := cores(s, a, 2)
	one, eight := coldLines()
	return []line{
		{what: "A line of memory read at random from 512 MB", figure: one.String()},
		{what: "… eight at once", figure: eight.String()},
		{what: "m: one lookup of a user's row in a Go map of the users, timed by itself, the median", figure: oneRow.String()},
		{
			what:   fmt.Sprintf("Check, timed by itself in turn with m: median (%d%% of the answers allow); p99", 100*allowed/questions),
			figure: fmt.Sprintf("%s, %d allocations; %s", oneQuestion, allocations, single[2][len(single[2])*99/100]-clock),
			ratio:  fmt.Sprintf("%.2f m", ratio(oneQuestion, oneRow)), goal: 3, got: ratio(oneQuestion, oneRow),
		},
		{
			what: "The same, if m is a lookup in the smallest map of the users there is, from their ids to a number", figure: fmt.Sprintf("m is %s", oneNumber),
			ratio: fmt.Sprintf("%.2f m", ratio(oneQuestion, oneNumber)), goal: 3, got: ratio(oneQuestion, oneNumber),
		},
		{what: "Lookups of rows and nothing else, one right after the other, so that the processor begins the next before it has the last", figure: row.String()},
		{what: "… in the smallest map", figure: number.String()},
		{
			what: "Questions and nothing else, one right after the other", figure: question.String(),
			ratio: fmt.Sprintf("%.2f × such a lookup, %.2f × in the smallest", ratio(question, row), ratio(question, number)),
		},
		{what: "Questions a second on two cores, as multiple of one", figure: fmt.Sprintf("%.2f", scaling), goal: 1.8, got: scaling, atLeast: true},
	}, nil
}

// bySelf times each function by itself, in turn with the others, and sorts the
// times. All include the reading of the clock, which is a function's that does
// nothing.
func bySelf(turns int, each ...func(turn int)) [][]time.Duration {
	times := make([][]time.Duration, len(each))
	for n := range turns {
		for i, f := range each {
			began := time.Now()
			f(n)
			times[i] = append(times[i], time.Since(began))
		}
	}
	for _, t := range times {
		slices.Sort(t)
	}
	return times
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

// coldLines is how long one line takes to come from memory, and how long eight
// that are asked for at once. Each says where the next one is.
func coldLines() (one, eight time.Duration) {
	const line, lines, steps = 16, 8 << 20, 10_000 // a line is 16 words of 4 bytes
	memory, order := make([]uint32, line*lines), rand.New(rand.NewPCG(1, 2)).Perm(lines)
	for i, at := range order {
		memory[line*at] = uint32(line * order[(i+1)%lines])
	}
	var at [8]uint32
	for i := range at {
		at[i] = uint32(line * order[i*lines/len(at)])
	}
	times := inTurns(100, func() {
		for range steps {
			at[0] = memory[at[0]]
		}
	}, func() {
		for range steps {
			for i := range at {
				at[i] = memory[at[i]]
			}
		}
	})
	return times[0] / steps, times[1] / steps
}

func allocations(f func()) uint64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// cores is how many times as many questions several goroutines answer as one does,
// in turns of a tenth of a second; the best turns of both count.
func cores(s *engine.Snapshot, a *asked, n int) float64 {
	const turn = 100 * time.Millisecond
	rate := func(n int) float64 {
		counts, began := make(chan int, n), time.Now()
		for g := range n {
			go func() {
				count := 0
				for i := g * questions / n; ; i++ {
					if _, _ = s.Check(a.questions[i%questions]); count&63 == 0 && time.Since(began) > turn { // judged before
						break
					}
					count++
				}
				counts <- count
			}()
		}
		sum := 0
		for range n {
			sum += <-counts
		}
		return float64(sum) / time.Since(began).Seconds()
	}
	one, many := 0.0, 0.0
	for range 50 {
		one, many = max(one, rate(1)), max(many, rate(n))
	}
	return many / one
}
