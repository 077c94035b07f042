package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

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

func pick(seed uint64) enginetest.Pick { return rand.New(rand.NewPCG(seed, 0)).IntN }

func show(st *access.State, q engine.Question) string {
	var b []byte
	for _, part := range []any{st.Environment, st.BusinessUnits, st.Roles, st.Users, st.Teams, st.Assignments, q} {
		line, _ := json.Marshal(part)
		b = append(append(b, line...), '\n')
	}
	return string(b) + fmt.Sprintf("%v\n%v\n%v\n", st.Memberships, st.Shares, st.Records)
}

// agree fails unless both answer the question alike.
func agree(t require.TestingT, s *engine.Snapshot, r enginetest.Reference, q engine.Question) engine.Decision {
	got, gotErr := s.Check(q)
	want, wantErr := r.Check(q)
	if got != want || (gotErr == nil) != (wantErr == nil) || errors.Is(gotErr, engine.ErrUnknown) != errors.Is(wantErr, engine.ErrUnknown) {
		require.Fail(t, "engine and reference disagree", "engine: %+v, %v\nreference: %+v, %v\n%s", got, gotErr, want, wantErr, show(r.State, q))
	}
	return got
}

func TestRule_EVAL_12_EngineAndReferenceAgreeOnRandomQuestions(t *testing.T) {
	total, perOrganisation := questions(t, 300_000), 300
	seen := map[engine.Reason]int{}
	timed := 0
	for seed := uint64(0); seed < uint64(total/perOrganisation); seed++ {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 7)
		require.NoError(t, err)
		r := enginetest.Reference{State: st, Revision: 7}
		for range perOrganisation {
			d := agree(t, s, r, enginetest.Question(p, st))
			seen[d.Reason]++
			if !d.ValidUntil.IsZero() {
				timed++
			}
		}
	}
	t.Logf("%d questions: %v, %d of them until an instant", total, seen, timed)
	// Every answer must have been put to the test often.
	for _, reason := range []engine.Reason{
		engine.Unknown, engine.UserDisabled, engine.BusinessUnitDisabled, engine.NoLicence, engine.NotInEnvironmentGroup,
		engine.NoRole, engine.NoPrivilege, engine.NoAccess, engine.Allowed,
	} {
		require.Greater(t, seen[reason], total/200, "%v", reason)
	}
	require.Greater(t, timed, total/200)
}

func TestApplyGivesWhatNewGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := enginetest.Pick(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		first, before := s, enginetest.Reference{State: enginetest.Clone(st), Revision: 1}
		for rev := access.Revision(2); rev < 5; rev++ {
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

// same fails unless both snapshots explain the question in the same bytes.
func same(t require.TestingT, a, b *engine.Snapshot, q engine.Question) {
	ea, erra := a.Explain(q, 10)
	eb, errb := b.Explain(q, 10)
	require.Equal(t, erra, errb)
	require.Equal(t, eb, ea)
	wa, erra := a.What(q.User, q.At)
	wb, errb := b.What(q.User, q.At)
	require.Equal(t, erra, errb)
	ja, _ := json.Marshal(wa)
	jb, _ := json.Marshal(wb)
	require.Equal(t, string(jb), string(ja))
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
