package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

// questions is how many random questions a run compares; AMBIT_RANDOM sets it.
func questions(t *testing.T, usual int) int {
	s := os.Getenv("AMBIT_RANDOM")
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, "AMBIT_RANDOM must be a number of questions")
	return n
}

// soak is for how long random questions are compared, whatever their number;
// AMBIT_SOAK sets it.
func soak(t *testing.T) time.Duration {
	s := os.Getenv("AMBIT_SOAK")
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	require.NoError(t, err, "AMBIT_SOAK must be a duration, such as 10m")
	return d
}

func pick(seed uint64) enginetest.Pick { return rand.New(rand.NewPCG(seed, 0)).IntN }

func show(st *access.State, q engine.Question) string {
	var b []byte
	for _, part := range []any{st.Environment, st.BusinessUnits, st.Roles, st.Users, st.Teams, st.Assignments, st.Positions, st.Profiles, q} {
		line, _ := json.Marshal(part)
		b = append(append(b, line...), '\n')
	}
	return string(b) + fmt.Sprintf("%v\n%v\n%v\n%v\n%v\n", st.Memberships, st.Shares, st.Records, st.ProfileMembers, st.ColumnShares)
}

// alike tells whether both errors say the same of a question (Rule EVAL-1).
func alike(a, b error) bool {
	return (a == nil) == (b == nil) && errors.Is(a, engine.ErrUnknown) == errors.Is(b, engine.ErrUnknown) &&
		errors.Is(a, engine.ErrLocked) == errors.Is(b, engine.ErrLocked)
}

// agree fails unless both answer the question alike.
func agree(t require.TestingT, s *engine.Snapshot, r enginetest.Reference, q engine.Question) engine.Decision {
	got, gotErr := s.Check(q)
	want, wantErr := r.Check(q)
	if got != want || !alike(gotErr, wantErr) {
		require.Fail(t, "engine and reference disagree", "engine: %+v, %v\nreference: %+v, %v\n%s", got, gotErr, want, wantErr, show(r.State, q))
	}
	return got
}

// subject is a snapshot as the decision tables ask it.
type subject struct{ *engine.Snapshot }

func (s subject) Columns(q engine.Question) ([]enginetest.Column, error) {
	all, err := s.Snapshot.Columns(q)
	var out []enginetest.Column
	for _, c := range all {
		out = append(out, enginetest.Column{
			Name: c.Column, Read: c.Read, Update: c.Update, Create: c.Create, Unmasked: c.Unmasked, Mask: c.Mask,
			Alone: string(c.Shows(false)), Listed: string(c.Shows(true)),
		})
	}
	return out, err
}

func (s subject) Who(q engine.Question) ([]access.UserID, error) {
	ask := engine.WhoQuestion{Action: q.Action, Table: q.Table, Record: q.Record, Privilege: q.Privilege, At: q.At, Channel: q.Channel, Limit: 2}
	var out []access.UserID
	for {
		page, err := s.Snapshot.Who(ask)
		if err != nil {
			return nil, err
		}
		for _, u := range page.Users {
			out = append(out, access.UserID(u.ID))
		}
		if ask.After = page.Next; ask.After == "" {
			return out, nil
		}
	}
}

func (s subject) Filter(q engine.Question, by []string) (engine.Reason, error) {
	f, err := s.Snapshot.Filter(filterOf(q, by))
	return f.Reason, err
}

// difference is what two say of one thing.
type difference struct {
	about     string
	got, want string
	question  engine.Question
	columns   bool
	ruling    *enginetest.Ruling
	// again tells whether there is a difference in another organisation, too.
	again func(*access.State) bool
}

// compared says what the engine answered, and how often.
type compared struct {
	reasons                                       map[engine.Reason]int
	ofImpersonator, timed, byHierarchy            int
	columns, shown, rights, who, filtered, chosen int
	rulings                                       map[string][2]int // by what is asked: refused, allowed
}

func (c *compared) add(o compared) {
	for k, n := range o.reasons {
		c.reasons[k] += n
	}
	for k, n := range o.rulings {
		c.rulings[k] = [2]int{c.rulings[k][0] + n[0], c.rulings[k][1] + n[1]}
	}
	c.ofImpersonator, c.timed, c.byHierarchy = c.ofImpersonator+o.ofImpersonator, c.timed+o.timed, c.byHierarchy+o.byHierarchy
	c.columns, c.shown, c.rights, c.who = c.columns+o.columns, c.shown+o.shown, c.rights+o.rights, c.who+o.who
	c.filtered, c.chosen = c.filtered+o.filtered, c.chosen+o.chosen
}

func newCompared() compared {
	return compared{reasons: map[engine.Reason]int{}, rulings: map[string][2]int{}}
}

// answers says in one text what the engine and the reference answer; texts that
// differ are a difference.
func answers(st *access.State, ask func(enginetest.Subject) (any, error)) (got, want string) {
	say := func(v any, err error) string {
		switch {
		case errors.Is(err, engine.ErrLocked):
			return "locked"
		case errors.Is(err, engine.ErrUnknown):
			return "unknown"
		case err != nil:
			return "cannot be judged"
		}
		b, err := json.Marshal(v)
		return string(b) + fmt.Sprint(err)
	}
	s, err := engine.New(st, 7)
	if err != nil {
		return "", ""
	}
	got = say(ask(subject{s}))
	want = say(ask(enginetest.Reference{State: st, Revision: 7}))
	return got, want
}

// compare puts everything that can be asked to the organisation of a seed.
func compare(seed uint64, checks int) (compared, *difference) {
	p := pick(seed)
	c := newCompared()
	st := enginetest.Organisation(p)
	s, err := engine.New(st, 7)
	if err != nil {
		return c, &difference{about: "made", got: err.Error()}
	}
	r := enginetest.Reference{State: st, Revision: 7}
	flat := enginetest.Clone(st)
	flat.Environment.Hierarchy = nil
	var batch []engine.Question
	var each []engine.Decision
	for range checks {
		q := enginetest.Question(p, st)
		got, gotErr := s.Check(q)
		want, wantErr := r.Check(q)
		if got != want || !alike(gotErr, wantErr) {
			return c, check(q, fmt.Sprint(got, gotErr), fmt.Sprint(want, wantErr))
		}
		c.reasons[got.Reason]++
		batch, each = append(batch, q), append(each, got)
		if got.OfImpersonator {
			c.ofImpersonator++
		}
		if got.Allowed && q.Record != nil && st.Environment.Hierarchy != nil {
			if d, _ := (enginetest.Reference{State: flat}).Check(q); !d.Allowed {
				c.byHierarchy++
			}
		}
		if !got.ValidUntil.IsZero() {
			c.timed++
		}
	}
	for i, a := range s.CheckAll(batch) {
		if a.Decision != each[i] {
			return c, &difference{about: "CheckAll", question: batch[i], got: fmt.Sprint(a), want: fmt.Sprint(each[i])}
		}
	}
	for range checks / 10 {
		for _, compareOne := range []func(enginetest.Pick, *access.State, *engine.Snapshot, enginetest.Reference, *compared) *difference{
			compareColumns, compareRights, compareRuling,
		} {
			if d := compareOne(p, st, s, r, &c); d != nil {
				return c, d
			}
		}
	}
	for range checks / 50 {
		for _, compareOne := range []func(enginetest.Pick, *access.State, *engine.Snapshot, enginetest.Reference, *compared) *difference{
			compareWho, compareFilter,
		} {
			if d := compareOne(p, st, s, r, &c); d != nil {
				return c, d
			}
		}
	}
	return c, nil
}

func check(q engine.Question, got, want string) *difference {
	ask := func(q engine.Question) func(st *access.State) bool {
		return func(st *access.State) bool {
			got, want := answers(st, func(s enginetest.Subject) (any, error) { return s.Check(q) })
			return got != want
		}
	}
	return &difference{about: "Check", question: q, got: got, want: want, again: ask(q)}
}

// differ makes a difference of what is asked of both.
func differ(st *access.State, about string, q engine.Question, ask func(enginetest.Subject) (any, error)) *difference {
	got, want := answers(st, ask)
	if got == want {
		return nil
	}
	return &difference{about: about, question: q, got: got, want: want, columns: about == "Columns", again: func(st *access.State) bool {
		got, want := answers(st, ask)
		return got != want
	}}
}

func compareColumns(p enginetest.Pick, st *access.State, s *engine.Snapshot, r enginetest.Reference, c *compared) *difference {
	q := enginetest.Question(p, st)
	if q.Columns = nil; q.Privilege != "" {
		return nil
	}
	got, gotErr := subject{s}.Columns(q)
	want, wantErr := r.Columns(q)
	c.columns++
	for _, column := range got {
		if column.Read || column.Update || column.Create {
			c.shown++
		}
	}
	if alike(gotErr, wantErr) && slices.Equal(got, want) {
		return nil
	}
	return differ(st, "Columns", q, func(s enginetest.Subject) (any, error) { return s.Columns(q) })
}

func compareRights(p enginetest.Pick, st *access.State, s *engine.Snapshot, r enginetest.Reference, c *compared) *difference {
	q := enginetest.Question(p, st)
	if q.Action, q.Columns = access.Read, nil; q.Privilege != "" {
		return nil
	}
	got, gotErr := s.Rights(q)
	want, wantErr := r.Rights(q)
	if got != 0 {
		c.rights++
	}
	if alike(gotErr, wantErr) && got == want {
		return nil
	}
	return differ(st, "Rights", q, func(s enginetest.Subject) (any, error) { return s.Rights(q) })
}

func compareWho(p enginetest.Pick, st *access.State, s *engine.Snapshot, r enginetest.Reference, c *compared) *difference {
	q := enginetest.Question(p, st)
	q.Impersonator, q.Columns = "", nil
	got, gotErr := subject{s}.Who(q)
	if gotErr != nil {
		return nil // as for everybody
	}
	want, _ := r.Who(q)
	c.who += len(got)
	if slices.Equal(got, want) {
		return nil
	}
	return differ(st, "Who", q, func(s enginetest.Subject) (any, error) { return s.Who(q) })
}

func compareFilter(p enginetest.Pick, st *access.State, s *engine.Snapshot, r enginetest.Reference, c *compared) *difference {
	q := enginetest.Question(p, st)
	if q.Table == "" || st.Tables[q.Table].ID == "" || q.Action == access.Create {
		return nil
	}
	var by []string
	if p(3) == 0 {
		by = []string{fmt.Sprint("c", p(5))}
	}
	q.Columns, q.Record = nil, nil
	f, err := s.Filter(filterOf(q, by))
	why, wantErr := r.Filter(q, by)
	if !alike(err, wantErr) || f.Reason != why {
		asked := q
		return differ(st, "Filter", q, func(s enginetest.Subject) (any, error) { return s.Filter(asked, by) })
	}
	for i := range 12 {
		rec := enginetest.Facts(p, st, q.Table)
		rec.ID = access.RecordID(fmt.Sprint("x", i%6))
		q.Record = &rec
		if _, unjudged := r.Facts(q); unjudged != nil {
			continue
		}
		want, _ := r.Selects(q, by)
		c.filtered++
		if f.Selects(rec) {
			c.chosen++
		}
		if f.Selects(rec) == want {
			continue
		}
		asked := q
		return &difference{about: "Filter", question: q, got: fmt.Sprint(f.Selects(rec), f), want: fmt.Sprint(want), again: func(st *access.State) bool {
			s, err := engine.New(st, 7)
			if err != nil {
				return false
			}
			f, _ := s.Filter(filterOf(asked, by))
			want, _ := enginetest.Reference{State: st}.Selects(asked, by)
			return f.Selects(*asked.Record) != want
		}}
	}
	return nil
}

func filterOf(q engine.Question, by []string) engine.FilterQuestion {
	return engine.FilterQuestion{User: q.User, Action: q.Action, Table: q.Table, At: q.At, Channel: q.Channel, Impersonator: q.Impersonator, By: by}
}

// report shrinks a difference, writes it as a decision table, and fails.
func report(t *testing.T, seed uint64, d *difference) {
	text := fmt.Sprintf("seed %d: %s\nengine:    %s\nreference: %s\n%+v %+v", seed, d.about, d.got, d.want, d.question, d.ruling)
	if d.again == nil || os.Getenv("AMBIT_FOUND") == "no" {
		require.Fail(t, "engine and reference differ", text)
	}
	st := enginetest.Shrink(enginetest.Organisation(pick(seed)), d.again)
	file, err := enginetest.Found("../testdata/decisions/found", fmt.Sprintf("%s of seed %d", d.about, seed), st, d.question, d.columns, d.ruling)
	require.NoError(t, err, text)
	require.Fail(t, "engine and reference differ", "%s\nwritten as %s", text, file)
}

func TestRule_EVAL_12_EngineAndReferenceAgreeOnRandomQuestions(t *testing.T) {
	const each = 300
	organisations, first, last := uint64((questions(t, usually)+each-1)/each), uint64(0), time.Time{}
	if d := soak(t); d > 0 {
		first, organisations, last = rand.Uint64()>>1, 1<<62, time.Now().Add(d)
		t.Logf("from seed %d for %v", first, d)
	}
	var (
		next  atomic.Uint64
		mutex sync.Mutex // of what follows
		all   = newCompared()
		found *difference
		at    uint64
		done  uint64
		group sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for n := next.Add(1) - 1; n < organisations && (last.IsZero() || time.Now().Before(last)); n = next.Add(1) - 1 {
				c, d := compare(first+n, each)
				mutex.Lock()
				all.add(c)
				done++
				if d != nil && (found == nil || first+n < at) {
					found, at = d, first+n
				}
				stop := found != nil
				mutex.Unlock()
				if stop {
					return
				}
			}
		})
	}
	group.Wait()
	if found != nil {
		report(t, at, found)
	}
	total := int(done) * each
	t.Logf("%d questions: %v; of impersonators %d, until an instant %d, allowed by hierarchy alone %d",
		total, all.reasons, all.ofImpersonator, all.timed, all.byHierarchy)
	t.Logf("%d questions about columns (%d of them open), %d rights, %d users who may, %d records filtered (%d selected)",
		all.columns, all.shown, all.rights, all.who, all.filtered, all.chosen)
	t.Logf("rulings, refused and allowed: %v", all.rulings)
	if total < 10_000 {
		return
	}
	// Every answer must have been put to the test often.
	for _, reason := range []engine.Reason{
		engine.Unknown, engine.UserDisabled, engine.BusinessUnitDisabled, engine.NoLicence, engine.AccessModeExcludes, engine.NotInEnvironmentGroup,
		engine.NoRole, engine.MayNotImpersonate, engine.NoPrivilege, engine.NoAccess, engine.NoColumnAccess, engine.Allowed,
	} {
		require.Greater(t, all.reasons[reason], total/200, "%v", reason)
	}
	require.Greater(t, all.timed, total/200)
	require.Greater(t, all.ofImpersonator, total/200)
	require.Greater(t, all.byHierarchy, total/1_000)
	require.Greater(t, all.shown, all.columns/40)
	require.Greater(t, all.rights, total/200)
	require.Greater(t, all.who, total/500)
	require.Greater(t, all.chosen, all.filtered/10)
	for asks, n := range all.rulings {
		require.Greater(t, min(n[0], n[1]), total/20_000, "%s: refused, allowed %v", asks, n)
	}
	require.Len(t, all.rulings, 9, "%v", slices.Collect(maps.Keys(all.rulings)))
}

func TestApplyGivesWhatNewGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := enginetest.Pick(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		first, before := s, enginetest.Reference{State: enginetest.Clone(st), Revision: 1}
		for rev := access.Revision(2); rev < 6; rev++ {
			changes := enginetest.Changes(p, st)
			s, err = s.Apply(changes, rev)
			require.NoError(t, err)
			st.Apply(changes...)
			fresh, err := engine.New(st, rev)
			require.NoError(t, err)
			for range 10 {
				q := enginetest.Question(p, st)
				agree(t, s, enginetest.Reference{State: st, Revision: rev}, q)
				agree(t, first, before, q) // the snapshot before is what it was
				same(t, s, fresh, q)
			}
		}
	})
}

// same fails unless both snapshots answer everything about the question in the same
// bytes.
func same(t require.TestingT, a, b *engine.Snapshot, q engine.Question) {
	ea, erra := a.Explain(q, 10)
	eb, errb := b.Explain(q, 10)
	require.Equal(t, erra, errb)
	require.Equal(t, eb, ea)
	bytes := func(v any, err error) string {
		j, _ := json.Marshal(v)
		return string(j) + fmt.Sprint(err)
	}
	both := func(ask func(s *engine.Snapshot) string) { require.Equal(t, ask(b), ask(a)) }
	both(func(s *engine.Snapshot) string { return bytes(s.What(q.User, q.At)) })
	both(func(s *engine.Snapshot) string { return bytes(s.Columns(q)) })
	both(func(s *engine.Snapshot) string { return bytes(s.Filter(filterOf(q, nil))) })
	both(func(s *engine.Snapshot) string {
		return bytes(s.Who(engine.WhoQuestion{Action: q.Action, Table: q.Table, Record: q.Record, Privilege: q.Privilege, At: q.At, Channel: q.Channel, Origins: true}))
	})
}

func TestLoadGivesWhatNewGives(t *testing.T) {
	for seed := range uint64(30) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		want, err := engine.New(st, 7)
		require.NoError(t, err)
		all := objects(st)
		for i := range all { // in any order
			j := p(i + 1)
			all[i], all[j] = all[j], all[i]
		}
		got, err := engine.Load(slices.Values(all), 7)
		require.NoError(t, err)
		for range 30 {
			same(t, got, want, enginetest.Question(p, st))
		}
	}
	_, err := engine.Load(slices.Values([]access.Object{access.User{Environment: "company", ID: "a"}}), 1)
	require.Error(t, err, "the environment is not among the objects")
}

// objects are all of a state's.
func objects(st *access.State) []access.Object {
	all := []access.Object{st.Environment}
	add(&all, st.BusinessUnits)
	add(&all, st.Tables)
	add(&all, st.Relationships)
	add(&all, st.Templates)
	add(&all, st.Positions)
	add(&all, st.Roles)
	add(&all, st.Profiles)
	add(&all, st.Users)
	add(&all, st.Teams)
	add(&all, st.Memberships)
	add(&all, st.Assignments)
	add(&all, st.ProfileMembers)
	add(&all, st.Records)
	add(&all, st.Shares)
	add(&all, st.ColumnShares)
	add(&all, st.Others)
	return all
}

func add[K comparable, O access.Object](all *[]access.Object, m map[K]O) {
	for _, o := range m {
		*all = append(*all, o)
	}
}
