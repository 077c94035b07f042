package enginetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// What a decision table can say of an organisation is all that its decisions rest
// on.
func TestAnOrganisationWrittenAsATableDecidesAlike(t *testing.T) {
	dir := t.TempDir()
	for seed := range uint64(60) {
		p := Pick(rand.New(rand.NewPCG(seed, 3)).IntN)
		st := Organisation(p)
		q := Question(p, st)
		_, unjudged := Reference{State: st}.Check(q)
		file, err := Found(dir, "case", st, Asked{About: "Check", Questions: []engine.Question{q}})
		require.Equal(t, unjudged, err, "what cannot be judged has no form")
		if unjudged != nil {
			continue
		}
		src, err := os.ReadFile(file)
		require.NoError(t, err)
		table, err := parseTable(src)
		require.NoError(t, err, "%s", src)
		for range 40 {
			want, wantErr := Reference{State: st}.Check(q)
			got, gotErr := Reference{State: table.State}.Check(q)
			require.Equal(t, wantErr == nil, gotErr == nil)
			require.Equal(t, want, got, "%+v\n%s", q, src)
			q = Question(p, st)
		}
		c := table.Cases[0]
		d, err := Reference{State: c.State}.Check(c.Question)
		if c.Registered != nil {
			d, err = Reference{State: c.State}.Check(*c.Registered)
		}
		require.NoError(t, err)
		require.Equal(t, c.Answer, d.Reason)
	}
}

func TestADifferenceIsKeptAsItIs(t *testing.T) {
	dir := t.TempDir()
	want := map[string]Kept{}
	for seed := range uint64(60) {
		p := Pick(rand.New(rand.NewPCG(seed, 5)).IntN)
		st := Organisation(p)
		x := RandomRuling(p, st)
		k := Kept{Name: fmt.Sprint("seed-", seed), Seed: seed, State: st, Asked: Asked{
			About: "Check", Questions: []engine.Question{Question(p, st), Question(p, st)}, By: []string{"c1"}, Ruling: &x,
			Changes: [][]access.Change{Changes(p, st), Changes(p, st)},
		}}
		_, err := k.Keep(dir)
		require.NoError(t, err)
		want[k.Name] = k
	}
	all, err := AllKept(dir)
	require.NoError(t, err)
	require.Len(t, all, len(want))
	for _, got := range all {
		require.Equal(t, want[got.Name].Asked, got.Asked)
		require.Equal(t, want[got.Name].State.Environment, got.State.Environment)
		require.Equal(t, Objects(want[got.Name].State), Objects(got.State))
	}
}

// A difference shrinks to what it rests on: here, to what hierarchy alone gives.
func TestADifferenceShrinksToASmallOrganisation(t *testing.T) {
	differs := func(st *access.State, q engine.Question) bool {
		without := Clone(st)
		without.Environment.Hierarchy = nil
		a, err := Reference{State: st}.Check(q)
		b, _ := Reference{State: without}.Check(q)
		return err == nil && a != b
	}
	found := 0
	for seed := uint64(0); found < 10; seed++ {
		p := Pick(rand.New(rand.NewPCG(seed, 4)).IntN)
		st := Organisation(p)
		q := Question(p, st)
		if !differs(st, q) {
			continue
		}
		found++
		small := Shrink(st, func(st *access.State) bool { return differs(st, q) })
		less := ShrinkAsked(Asked{Questions: []engine.Question{Question(p, st), q}}, func(a Asked) bool {
			return slices.ContainsFunc(a.Questions, func(q engine.Question) bool { return differs(small, q) })
		})
		require.Len(t, less.Questions, 1)
		require.True(t, differs(small, less.Questions[0]))
		require.Less(t, len(Objects(small)), 18, "%d objects were %d", len(Objects(small)), len(Objects(st)))
		require.NotNil(t, small.Environment.Hierarchy)
	}
}
