package ldap

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestRule_AD_15_tokenGroups_are_all_of_a_users_groups(t *testing.T) {
	s := rig.StartSamba(t)
	w := writeAD(t, s)
	ada, bob := w.user("ada"), w.user("bob")
	crew := w.group("crew", ada)
	all := w.group("everybody", crew)
	chosen := w.group("chosen") // the primary group of bob, who is not in its list
	w.enter(chosen, bob)
	w.set(bob, "primaryGroupID", w.rid(chosen))
	list := w.group("list", ada)
	w.set(list, "groupType", "8") // for mail alone
	w.group("lists", list)
	c := ad(t, s)
	f := followAD(t, c)
	names := func(refs []directory.Ref) (dns []string) {
		for _, ref := range refs {
			id, _ := ref.ID()
			dns = append(dns, f.Objects[id].DN)
		}
		slices.Sort(dns)
		return dns
	}
	normal := func(dns ...string) (out []string) {
		for _, dn := range dns {
			n, err := NormalDN(dn)
			require.NoError(t, err)
			out = append(out, n)
		}
		slices.Sort(out)
		return out
	}
	for name, account := range map[string]string{"one that may replicate": s.BindDN, "an ordinary one": s.OrdinaryDN} {
		t.Run("asked by "+name, func(t *testing.T) {
			c := c
			c.BindDN = account
			source := adSource(t, c)
			live, err := source.LiveGroups(t.Context(), f.id(ada))
			require.NoError(t, err)
			require.Equal(t, normal(crew, all), names(live.Refs), "nested ones, none for mail, and none that is not below the base")
			require.True(t, live.Untold(f.Objects[f.id(list)]))
			require.False(t, live.Untold(f.Objects[f.id(crew)]))
			live, err = source.LiveGroups(t.Context(), f.id(bob))
			require.NoError(t, err)
			require.Equal(t, normal(chosen), names(live.Refs), "the primary group (Rule AD-17)")

			live, err = source.LiveMembers(t.Context(), f.id(all))
			require.NoError(t, err)
			require.Equal(t, normal(crew), names(live.Refs), "direct ones")
			live, err = source.LiveMembers(t.Context(), f.id(chosen))
			require.NoError(t, err)
			require.Equal(t, normal(bob), names(live.Refs))
		})
	}
	gone, group := f.id(bob), f.id(all)
	w.remove(bob)
	w.remove(all)
	source := adSource(t, c)
	_, err := source.LiveGroups(t.Context(), gone)
	require.ErrorIs(t, err, directory.ErrNoObject)
	_, err = source.LiveMembers(t.Context(), group)
	require.ErrorIs(t, err, directory.ErrNoObject)
	c.Password = password(t, "wrong")
	_, err = adSource(t, c).LiveGroups(t.Context(), f.id(ada))
	require.ErrorIs(t, err, directory.ErrAuth)
}

func TestRule_AD_22_changes_take_up_half_of_a_controllers_time_at_most(t *testing.T) {
	var s ActiveDirectory
	require.Equal(t, breath, s.rest())
	s.took.Store(int64(time.Second))
	require.Equal(t, 2*time.Second, s.rest())
	s.took.Store(1)
	s.listed.Store(true)
	require.Equal(t, longBreath, s.rest(), "a list of all ids is no small thing")
}
