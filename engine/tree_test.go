package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

// A tree that grows where it is deepest leaves its units as little room as there
// can be; depths follow it all the same.
func TestRule_BU_2_DepthsFollowATreeThatGrows(t *testing.T) {
	st := access.NewState("e")
	st.Apply(
		access.Put(access.Environment{ID: "e"}),
		access.Put(access.BusinessUnit{Environment: "e", ID: "unit-0"}),
		access.Put(access.Table{Environment: "e", ID: "office", Ownership: access.BusinessUnitOwned}),
		access.Put(access.Role{
			Environment: "e", ID: "manager", BusinessUnit: "unit-0", Privileges: []access.Privilege{
				{Table: "office", Action: access.Read, Depth: access.Deep}, {Table: "office", Action: access.Write, Depth: access.Local},
			},
		}),
	)
	s, err := engine.New(st, 1)
	require.NoError(t, err)
	rng, reached := rand.New(rand.NewPCG(3, 4)), 0
	for n := 1; n < 120; n++ {
		parent := n - 1
		if rng.IntN(4) == 0 {
			parent = rng.IntN(n)
		}
		unit, user := access.BusinessUnitID(fmt.Sprint("unit-", n)), access.UserID(fmt.Sprint("user-", n))
		changes := []access.Change{
			access.Put(access.BusinessUnit{Environment: "e", ID: unit, Parent: access.BusinessUnitID(fmt.Sprint("unit-", parent))}),
			access.Put(access.User{Environment: "e", ID: user, BusinessUnit: unit, Enabled: true}),
			access.Put(access.Assignment{Environment: "e", ID: access.AssignmentID(user), Role: "manager", Principal: user.Principal(), BusinessUnit: unit}),
		}
		st.Apply(changes...)
		s, err = s.Apply(changes, access.Revision(n+1))
		require.NoError(t, err)
		for i := 1; i <= n; i++ {
			top, below := access.BusinessUnitID(fmt.Sprint("unit-", i)), access.BusinessUnitID(fmt.Sprint("unit-", rng.IntN(n+1)))
			if i%2 == 0 {
				below = unit
			}
			q := engine.Question{User: access.UserID(fmt.Sprint("user-", i)), Action: access.Read, Table: "office", Record: &engine.Record{BusinessUnit: below}, At: noon}
			deep, err := s.Check(q)
			require.NoError(t, err)
			require.Equal(t, enginetest.Reference{State: st}.Below(top, below), deep.Allowed, "%s below %s", below, top)
			q.Action = access.Write
			local, err := s.Check(q)
			require.NoError(t, err)
			require.Equal(t, top == below, local.Allowed, "%s is %s", below, top)
			if deep.Allowed {
				reached++
			}
		}
	}
	require.Greater(t, reached, 1_000)
}
