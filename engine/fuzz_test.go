package engine_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

// FuzzApply makes changes of random bytes. The engine that makes them answers as one
// that is loaded after them, and the snapshot before stays as it was.
func FuzzApply(f *testing.F) {
	f.Add(uint64(0), []byte{})
	for kind := range byte(20) { // of change
		f.Add(uint64(kind), []byte{1, kind, 0, 1, 2, 3, 1, kind, 5, 4, 3, 2})
	}
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		st := enginetest.Organisation(pick(seed))
		rest := pick(seed + uint64(len(b)))
		p := enginetest.Pick(func(n int) int {
			if len(b) == 0 {
				return rest(n)
			}
			v := int(b[0]) % n
			b = b[1:]
			return v
		})
		s, err := engine.New(st, 1)
		require.NoError(t, err)
		for rev := access.Revision(2); rev < 5; rev++ {
			changes := enginetest.Changes(p, st)
			next, err := s.Apply(changes, rev)
			require.NoError(t, err)
			before, err := engine.New(st, rev-1)
			require.NoError(t, err)
			st = enginetest.Clone(st)
			st.Apply(changes...)
			fresh, err := engine.New(st, rev)
			require.NoError(t, err)
			asked := enginetest.Pick(rand.New(rand.NewPCG(seed, uint64(rev))).IntN)
			for range 3 {
				q := enginetest.Question(asked, st)
				agree(t, next, enginetest.Reference{State: st, Revision: rev}, q)
				same(t, next, fresh, q)
				same(t, s, before, q)
			}
			_, err = next.Apply(append(changes, access.Put(access.User{Environment: "another", ID: "u"})), rev+1)
			require.ErrorContains(t, err, `of environment "another"`)
			s = next
		}
	})
}
