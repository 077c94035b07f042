package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

// shape writes the tree down: its pre-order, with what is told of each unit.
func (s *Snapshot) shape(t require.TestingT) (out []string) {
	last := uint32(0)
	s.within(0, math.MaxUint32, func(k kid) bool {
		n, id, above, sp := k.unit, *s.tree.ids.get(k.unit), s.parent(k.unit), s.span(k.unit)
		require.Greater(t, sp.first, last, "places ascend")
		last = sp.first
		parent := "none"
		if above != noUnit {
			at := s.span(above)
			require.True(t, at.first < sp.first && sp.last <= at.last, "%s lies in its parent", id)
			parent = string(*s.tree.ids.get(above))
		}
		within := 0
		s.within(sp.first, sp.last, func(kid) bool { within++; return true })
		require.Equal(t, s.size(n), within)
		out = append(out, fmt.Sprint(id, " ", parent, " ", s.size(n), " ", sp.barred))
		return true
	})
	require.Len(t, out, s.unitCount())
	return out
}

func TestAMovedTreeIsAsOneMadeAnew(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		st := access.NewState("company")
		st.Apply(access.Put(access.Environment{ID: "company"}), access.Put(access.BusinessUnit{Environment: "company", ID: "root"}))
		s, err := New(st, 1)
		require.NoError(t, err)
		ids := []access.BusinessUnitID{"root"}
		for n := range 60 {
			ids = append(ids, access.BusinessUnitID(fmt.Sprintf("unit-%02d", n)))
		}
		refused := 0
		for rev := access.Revision(2); rev < 400; rev++ {
			var changes []access.Change
			for range 1 + rng.IntN(3) {
				b := access.BusinessUnit{Environment: "company", ID: ids[rng.IntN(len(ids))], Parent: ids[rng.IntN(1+rng.IntN(len(ids)))], Disabled: rng.IntN(4) == 0}
				if b.ID == "root" {
					b.Parent = ""
				}
				changes = append(changes, access.Change{Object: b, Delete: rng.IntN(6) == 0})
			}
			was := s.shape(t)
			next, failed := s.Apply(changes, rev)
			require.Equal(t, was, s.shape(t), "the snapshot before is what it was")
			try := access.NewState("company")
			try.Apply(access.Put(st.Environment))
			for _, b := range st.BusinessUnits {
				try.Apply(access.Put(b))
			}
			try.Apply(changes...)
			fresh, err := New(try, rev)
			if err != nil {
				require.Error(t, failed, "%v", changes)
				refused++
				continue
			}
			require.NoError(t, failed, "%v", changes)
			require.Equal(t, fresh.shape(t), next.shape(t), "%v", changes)
			st, s = try, next
		}
		require.Positive(t, refused)
	}
}

// Units that are put next to each other again and again use up the room there,
// which is then made anew.
func TestATreeFindsRoomForManyInOnePlace(t *testing.T) {
	st := access.NewState("company")
	st.Apply(access.Put(access.Environment{ID: "company"}), access.Put(access.BusinessUnit{Environment: "company", ID: "root"}))
	s, err := New(st, 1)
	require.NoError(t, err)
	for n := range 3000 {
		id := fmt.Sprintf("b%05d", n)
		if n%3 == 1 {
			id = fmt.Sprintf("a%05d", 10_000-n)
		}
		b := access.BusinessUnit{Environment: "company", ID: access.BusinessUnitID(id), Parent: "root"}
		s, err = s.Apply([]access.Change{access.Put(b)}, access.Revision(n+2))
		require.NoError(t, err)
	}
	require.Len(t, s.shape(t), 3001)
}
