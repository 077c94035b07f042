package enginetest

import (
	"math/rand/v2"
	"os"
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
		file, err := Found(dir, "case", st, q, false, nil)
		require.NoError(t, err)
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
		if c.Error != "" {
			require.ErrorContains(t, err, c.Error)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.Answer, d.Reason)
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
		less := ShrinkQuestion(q, func(q engine.Question) bool { return differs(small, q) })
		require.True(t, differs(small, less))
		require.Less(t, len(Objects(small)), 18, "%d objects were %d", len(Objects(small)), len(Objects(st)))
		require.NotNil(t, small.Environment.Hierarchy)
	}
}
