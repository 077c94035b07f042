package jit

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// crowd is an environment of the given number of users, each in four of a tenth
// as many teams, with the given number of active grants of others.
func crowd(t require.TestingT, users, grants int) *world {
	w := newWorld(t)
	var changes []access.Change
	teams := max(users/10, 1)
	for i := range teams {
		changes = append(changes, access.Put(access.Team{Environment: env, ID: access.TeamID(fmt.Sprintf("t%d", i)), Name: fmt.Sprintf("t%d", i), BusinessUnit: "root", ManagedBy: access.ByMapping}))
	}
	for i := range users {
		id := access.UserID(fmt.Sprintf("u%d", i))
		changes = append(changes, access.Put(access.User{
			Environment: env, ID: id, Login: string(id), Name: string(id), BusinessUnit: "sales", Enabled: true,
			Person: "p-" + string(id), ManagedBy: access.ByMapping,
		}),
			access.Put(access.Assignment{Environment: env, ID: access.AssignmentID("s" + string(id)), Role: "reader", Principal: id.Principal(), BusinessUnit: "sales", ManagedBy: access.ByMapping}))
		for k := range 4 {
			changes = append(changes, access.Put(access.Membership{Environment: env, Team: access.TeamID(fmt.Sprintf("t%d", (i*7+k*13)%teams)), User: id, ManagedBy: access.ByMapping}))
		}
	}
	role := w.state.Roles["manager"]
	for i := range grants {
		r := Request{
			Environment: env, ID: fmt.Sprintf("req_g%07d", i), State: Approved, Requester: access.UserID(fmt.Sprintf("u%d", i%users)), Role: "manager",
			BusinessUnit: "sales", Policy: "managers", PolicyVersion: 1, Duration: hour, Submitted: noon,
		}
		r.Beneficiary = r.Requester
		window := access.Window{Start: noon, End: noon.Add(8 * time.Hour)}
		r.Grant = &Grant{Assignment: GrantID(r.ID), Window: window, StartNoted: true}
		changes = append(changes, access.Put(r), access.Put(assignment(r, role, window)))
	}
	for _, c := range changes {
		w.state.Apply(c)
	}
	var err error
	w.shot, err = engine.New(w.state, w.rev)
	require.NoError(t, err)
	return w
}

func BenchmarkStep(b *testing.B) {
	for _, size := range []struct{ users, grants int }{{300, 0}, {50_000, 0}, {50_000, 10_000}} {
		b.Run(fmt.Sprintf("submit/users=%d/grants=%d", size.users, size.grants), func(b *testing.B) {
			w := crowd(b, size.users, size.grants)
			e := Event{Kind: Submit, By: who("ann"), ID: "req_bench", Ask: ask()}
			for b.Loop() {
				_, err := Step(w.view(), e, w.now)
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprintf("approve/users=%d/grants=%d", size.users, size.grants), func(b *testing.B) {
			w := crowd(b, size.users, size.grants)
			e := w.approval("bob", w.submit("ann", ask()).ID)
			for b.Loop() {
				_, err := Step(w.view(), e, w.now)
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkReact(b *testing.B) {
	w := crowd(b, 50_000, 0)
	var first []access.Change // a first sync into an empty environment
	for _, u := range w.state.Users {
		first = append(first, access.Put(u))
	}
	for _, m := range w.state.Memberships {
		first = append(first, access.Put(m))
	}
	b.Run(fmt.Sprintf("first sync of %d objects", len(first)), func(b *testing.B) {
		empty := access.NewState(env)
		for b.Loop() {
			_, _, err := React(empty, first, noon)
			require.NoError(b, err)
		}
	})
	for _, grants := range []int{0, 1000, 100_000} {
		w := crowd(b, 50_000, grants)
		one := []access.Change{access.Remove(w.state.Memberships[access.MembershipKey{Team: "t0", User: "u0"}])}
		b.Run(fmt.Sprintf("one membership/grants=%d", grants), func(b *testing.B) {
			for b.Loop() {
				_, _, err := React(w.state, one, noon)
				require.NoError(b, err)
			}
		})
	}
}
