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
	"strings"
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

// candidate is an engine as random questions ask it.
type candidate interface {
	enginetest.Subject
	CheckAll([]engine.Question) []engine.Answer
	// Filtered is the filter of the question, sorted by those columns.
	Filtered(q engine.Question, by []string) (engine.Filter, error)
	Explain(q engine.Question, limit int) (engine.Explanation, error)
	// Advanced is the candidate after the changes.
	Advanced(changes []access.Change, rev access.Revision) (candidate, error)
	WhatTeam(id access.TeamID, at time.Time) (engine.TeamWhat, error)
}

// load makes a candidate of an organisation.
type load func(*access.State, access.Revision) (candidate, error)

// loaded is the engine.
func loaded(st *access.State, rev access.Revision) (candidate, error) {
	s, err := engine.New(st, rev)
	return subject{s}, err
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
	f, err := s.Filtered(q, by)
	return f.Reason, err
}

func (s subject) Advanced(changes []access.Change, rev access.Revision) (candidate, error) {
	next, err := s.Apply(changes, rev)
	return subject{next}, err
}

func (s subject) Filtered(q engine.Question, by []string) (engine.Filter, error) {
	return s.Snapshot.Filter(filterOf(q, by))
}

// compared says what the engine answered, and how often.
type compared struct {
	reasons                                       map[engine.Reason]int
	ofImpersonator, timed, byHierarchy            int
	columns, shown, rights, who, filtered, chosen int
	explained, origins, advanced                  int
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
	c.explained, c.origins, c.advanced = c.explained+o.explained, c.origins+o.origins, c.advanced+o.advanced
}

func newCompared() compared {
	return compared{reasons: map[engine.Reason]int{}, rulings: map[string][2]int{}}
}

// comparison puts something to both, and returns what they answered differently.
type comparison func(enginetest.Pick, *access.State, candidate, enginetest.Reference, *compared) *enginetest.Asked

// compare puts everything that can be asked to the organisation of a seed.
func compare(seed uint64, checks int, load load) (compared, *difference) {
	p := pick(seed)
	c := newCompared()
	st := enginetest.Organisation(p)
	s, err := load(st, 7)
	if err != nil {
		return c, differ(st, load, enginetest.Asked{About: "Load"})
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
			return c, differ(st, load, *asking("Check", q))
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
			return c, differ(st, load, *asking("CheckAll", batch...))
		}
	}
	for i, q := range batch[:checks/5] {
		e, err := s.Explain(q, -1)
		if e.Decision != each[i] || each[i].Allowed != (len(e.Origins) > 0) || err == nil && each[i].Reason == engine.Unknown {
			return c, differ(st, load, *asking("Explain", q))
		}
		c.explained, c.origins = c.explained+1, c.origins+len(e.Origins)
	}
	for range checks / 10 {
		for _, compareOne := range []comparison{
			compareColumns, compareRights, compareRuling,
		} {
			if asked := compareOne(p, st, s, r, &c); asked != nil {
				return c, differ(st, load, *asked)
			}
		}
	}
	for range checks / 50 {
		for _, compareOne := range []comparison{
			compareWho, compareFilter, compareWhatTeam,
		} {
			if asked := compareOne(p, st, s, r, &c); asked != nil {
				return c, differ(st, load, *asked)
			}
		}
	}
	return c, compareAdvanced(p, st, s, load, &c)
}

// compareAdvanced compares the engine that made some changes with one that is loaded
// after them.
func compareAdvanced(p enginetest.Pick, st *access.State, s candidate, load load, c *compared) *difference {
	asked := enginetest.Asked{About: "Apply"}
	next := enginetest.Clone(st)
	for range 2 + p(2) {
		changes := enginetest.Changes(p, next)
		next.Apply(changes...)
		asked.Changes = append(asked.Changes, changes)
		rev := 7 + access.Revision(len(asked.Changes))
		fresh, err := load(next, rev)
		if err != nil {
			return differ(next, load, enginetest.Asked{About: "Load"})
		}
		if s, err = s.Advanced(changes, rev); err != nil {
			asked.Questions = []engine.Question{enginetest.Question(p, next)}
			return differ(st, load, asked)
		}
		for range 8 {
			q := enginetest.Question(p, next)
			if c.advanced++; everything(s, q) != everything(fresh, q) {
				asked.Questions = []engine.Question{q}
				return differ(st, load, asked)
			}
		}
	}
	return nil
}

// everything is all that the candidate says of the question.
func everything(s candidate, q engine.Question) string {
	return strings.Join([]string{
		say(s.Check(q)), say(s.Explain(q, -1)), say(s.Columns(q)), say(s.Rights(q)), say(s.Who(q)), say(s.Filtered(q, nil)),
	}, "\n")
}

func compareColumns(p enginetest.Pick, st *access.State, s candidate, r enginetest.Reference, c *compared) *enginetest.Asked {
	q := enginetest.Question(p, st)
	if q.Columns = nil; q.Privilege != "" {
		return nil
	}
	got, gotErr := s.Columns(q)
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
	return asking("Columns", q)
}

func compareRights(p enginetest.Pick, st *access.State, s candidate, r enginetest.Reference, c *compared) *enginetest.Asked {
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
	return asking("Rights", q)
}

func compareWho(p enginetest.Pick, st *access.State, s candidate, r enginetest.Reference, c *compared) *enginetest.Asked {
	q := enginetest.Question(p, st)
	q.Impersonator, q.Columns = "", nil
	got, gotErr := s.Who(q)
	if gotErr != nil {
		return nil // as for everybody
	}
	want, _ := r.Who(q)
	c.who += len(got)
	if slices.Equal(got, want) {
		return nil
	}
	return asking("Who", q)
}

func compareFilter(p enginetest.Pick, st *access.State, s candidate, r enginetest.Reference, c *compared) *enginetest.Asked {
	q := enginetest.Question(p, st)
	if q.Table == "" || st.Tables[q.Table].ID == "" || q.Action == access.Create {
		return nil
	}
	var by []string
	if p(3) == 0 {
		by = []string{fmt.Sprint("c", p(5))}
	}
	q.Columns, q.Record = nil, nil
	f, err := s.Filtered(q, by)
	why, wantErr := r.Filter(q, by)
	if !alike(err, wantErr) || f.Reason != why {
		return &enginetest.Asked{About: "Filter", Questions: []engine.Question{q}, By: by}
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
		if f.Selects(rec) != want {
			return &enginetest.Asked{About: "Selects", Questions: []engine.Question{q}, By: by}
		}
	}
	return nil
}

func filterOf(q engine.Question, by []string) engine.FilterQuestion {
	return engine.FilterQuestion{User: q.User, Action: q.Action, Table: q.Table, At: q.At, Channel: q.Channel, Impersonator: q.Impersonator, By: by}
}

// report shrinks a difference, keeps it, and fails.
func report(t *testing.T, seed uint64, d *difference) {
	text := fmt.Sprintf("seed %d: %s\nengine:    %s\nreference: %s\n%+v", seed, d.asked.About, d.got, d.want, d.asked)
	if os.Getenv("AMBIT_FOUND") == "no" {
		require.Fail(t, "engine and reference differ", text)
	}
	file, err := keep("../testdata/decisions/found", seed, d, loaded)
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
				c, d := compare(first+n, each, loaded)
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
	t.Logf("%d questions explained (by %d origins), %d put to an engine that made changes and to a new one", all.explained, all.origins, all.advanced)
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
	require.Greater(t, all.origins, all.explained/20)
	require.Greater(t, all.advanced, total/30)
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
