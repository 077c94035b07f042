package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
)

func TestASortedSetHoldsWhatWasPutIntoIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		key := func() pair { return pair(r.IntN(20_000)) }
		set, want := sorted[pair]{}, map[pair]bool{}
		for range rapid.SampledFrom([]int{0, 1, pageKeys, pageKeys + 1, 2 * pageKeys * pageKeys}).Draw(t, "loaded") {
			k := key()
			set.load(k)
			want[k] = true
		}
		set.build(new(edit))
		check := func(set sorted[pair], want map[pair]bool) {
			keys, from := slices.Sorted(maps.Keys(want)), key()
			i, found := slices.BinarySearch(keys, from)
			var got []pair
			set.ascend(from, func(k pair) bool { got = append(got, k); return true })
			require.True(t, slices.Equal(keys[i:], got))
			require.Equal(t, found, len(got) > 0 && got[0] == from)
			last, ok := set.before(from)
			require.Equal(t, i > 0, ok)
			if ok {
				require.Equal(t, keys[i-1], last)
			}
			if set.root != nil {
				set.root.tidy(t)
			}
		}
		check(set, want)
		for range 6 {
			before, wanted := set, maps.Clone(want)
			e := new(edit)
			fewer := rapid.Bool().Draw(t, "fewer")
			for range rapid.SampledFrom([]int{1, 100, 20_000}).Draw(t, "changes") {
				k := key()
				if fewer {
					set.remove(k, e)
					delete(want, k)
				} else {
					set.add(k, e)
					want[k] = true
				}
			}
			check(set, want)
			check(before, wanted)
		}
	})
}

// tidy judges that pages have the keys that they are found by.
func (p *page[K]) tidy(t *rapid.T) {
	require.NotEmpty(t, p.keys)
	for i, kid := range p.kids {
		kid.tidy(t)
		require.Equal(t, p.keys[i], kid.keys[0])
	}
}

// indexed writes down what the indexes hold, by name.
func (s *Snapshot) indexed(t *testing.T) map[string][]string {
	out := map[string][]string{}
	add := func(index string, parts ...any) { out[index] = append(out[index], fmt.Sprint(parts...)) }
	user := func(n uint32) string { return string(s.users.rows.get(n).aside.data.ID) }
	s.members.ascend(0, func(p pair) bool {
		add("members", s.teams.get(p.at()).aside.data.ID, " ", user(p.number()))
		return true
	})
	s.reports.ascend(0, func(p pair) bool { add("reports", user(p.at()), " ", user(p.number())); return true })
	s.placed.ascend(0, func(p pair) bool {
		add("placed", s.positions[p.at()].data.ID, " ", user(p.number()))
		return true
	})
	s.profiled.ascend(0, func(p pair) bool {
		add("profiled", s.profiles[p.at()].data.ID, " ", s.principal(who(p.number())))
		return true
	})
	s.holders.ascend(holder{}, func(h holder) bool {
		for id, n := range s.roleIndex {
			if n == h.role {
				add("holders", id, " ", *s.tree.ids.get(h.unit), " ", s.principal(h.who))
			}
		}
		return true
	})
	s.sharedWith.ascend(received{}, func(r received) bool {
		sh := s.shares.rows.get(r.row)
		add("shared", s.principal(r.who), " ", s.tables[sh.table].data.ID, " ", sh.record(), " ", sh.at(sh.find(r.who)).rights())
		return true
	})
	s.carried.ascend(carried{}, func(c carried) bool {
		switch {
		case c.what == itsPlace:
			add("placed teams", *s.tree.ids.get(c.unit), " ", c.id)
		case c.what&profileBit != 0:
			add("profiled teams", s.profiles[c.what&^profileBit].data.ID, " ", c.id)
		default:
			for id, n := range s.roleIndex {
				switch {
				case n == c.what && c.unit == anywhere:
					add("carriers", id, " ", c.id)
				case n == c.what:
					add("carriers", id, " ", *s.tree.ids.get(c.unit), " ", c.id)
				}
			}
		}
		require.Equal(t, c.id, s.teams.get(c.team).aside.data.ID)
		return true
	})
	for _, p := range s.positions {
		for _, n := range p.below {
			add("below", p.data.ID, " ", s.positions[n].data.ID)
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

func TestIndexesAfterChangesAreThoseOfTheWhole(t *testing.T) {
	const env access.EnvironmentID = "e"
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		id := func(prefix string, n int) string { return fmt.Sprint(prefix, r.IntN(n)) }
		principal := func() access.Principal {
			if r.IntN(2) == 0 {
				return access.UserID(id("u", 8)).Principal()
			}
			return access.TeamID(id("t", 4)).Principal()
		}
		make := []func() access.Object{
			func() access.Object {
				return access.User{
					Environment: env, ID: access.UserID(id("u", 8)), BusinessUnit: access.BusinessUnitID(id("b", 2)),
					Manager: access.UserID(id("u", 9)), Position: access.PositionID(id("p", 4)), Enabled: true,
				}
			},
			func() access.Object {
				return access.Team{Environment: env, ID: access.TeamID(id("t", 4)), BusinessUnit: access.BusinessUnitID(id("b", 2))}
			},
			func() access.Object {
				return access.Membership{Environment: env, Team: access.TeamID(id("t", 4)), User: access.UserID(id("u", 8))}
			},
			func() access.Object {
				return access.Position{Environment: env, ID: access.PositionID(id("p", 4)), Parent: access.PositionID(id("p", 4))}
			},
			func() access.Object {
				return access.Assignment{
					Environment: env, ID: access.AssignmentID(id("a", 9)), Role: access.RoleID(id("r", 2)),
					Principal: principal(), BusinessUnit: access.BusinessUnitID(id("b", 2)),
				}
			},
			func() access.Object {
				return access.ProfileMember{Environment: env, Profile: access.ProfileID(id("f", 2)), Principal: principal()}
			},
			func() access.Object { return access.Profile{Environment: env, ID: access.ProfileID(id("f", 2))} },
			func() access.Object {
				sh := access.Share{
					Environment: env, Table: "account", Record: access.RecordID(id("x", 5)),
					Principal: principal(), Rights: access.RightsOf(access.Read, access.Action(1+r.IntN(5))),
				}
				if r.IntN(4) == 0 {
					sh.Principal = access.Principal{Kind: access.Everybody}
				}
				if r.IntN(3) == 0 {
					sh.Window.End = time.Unix(int64(r.IntN(100)), 0)
				}
				return sh
			},
		}
		st := access.NewState(env)
		st.Apply(
			access.Put(access.BusinessUnit{Environment: env, ID: "b0"}), access.Put(access.BusinessUnit{Environment: env, ID: "b1", Parent: "b0"}),
			access.Put(access.Table{Environment: env, ID: "account"}),
		)
		var there []access.Object
		change := func() access.Change {
			if len(there) > 0 && r.IntN(5) < 2 {
				i := r.IntN(len(there))
				o := there[i]
				there = slices.DeleteFunc(there, func(x access.Object) bool { return x.ObjectKind() == o.ObjectKind() && x.ObjectKey() == o.ObjectKey() })
				return access.Remove(o)
			}
			o := make[r.IntN(len(make))]()
			there = slices.DeleteFunc(there, func(x access.Object) bool { return x.ObjectKind() == o.ObjectKind() && x.ObjectKey() == o.ObjectKey() })
			there = append(there, o)
			return access.Put(o)
		}
		for range 30 {
			st.Apply(change())
		}
		s, err := New(st, 1)
		require.NoError(t, err)
		for rev := access.Revision(2); rev < 12; rev++ {
			before, was := s, s.indexed(t)
			var changes []access.Change
			for range 1 + r.IntN(8) {
				changes = append(changes, change())
			}
			s, err = s.Apply(changes, rev)
			require.NoError(t, err)
			st.Apply(changes...)
			whole, err := New(st, rev)
			require.NoError(t, err)
			require.Equal(t, whole.indexed(t), s.indexed(t))
			require.Equal(t, was, before.indexed(t))
		}
	}
}
