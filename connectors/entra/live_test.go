package entra

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/directory"
)

// TestRule_GRAPH_22_a_user_or_group_is_asked_about asks for members over several pages
// and for the groups of a user, nested ones and in a circle.
func TestRule_GRAPH_22_a_user_or_group_is_asked_about(t *testing.T) {
	server := serve(t, graphtest.Options{})
	s := source(t, server)
	refs := func(ids ...directory.ObjectID) []directory.Ref {
		out := []directory.Ref{}
		for _, id := range ids {
			out = append(out, directory.ByID(id))
		}
		return out
	}
	for _, g := range []string{"inner", "outer", "large", "empty"} {
		server.AddGroup(g, security(g))
	}
	var all []directory.ObjectID
	for i := range 1500 {
		id := fmt.Sprintf("p%04d", i)
		server.AddUser(id, person(id))
		server.AddMember("large", id)
		all = append(all, directory.ObjectID(id))
	}
	server.AddMember("inner", "p0000")
	server.AddMember("outer", "inner")
	server.AddMember("inner", "outer")
	live, err := s.LiveMembers(t.Context(), "large")
	require.NoError(t, err)
	require.ElementsMatch(t, refs(all...), live.Refs, "page by page")
	live, err = s.LiveMembers(t.Context(), "outer")
	require.NoError(t, err)
	require.Equal(t, refs("inner"), live.Refs, "direct ones")
	live, err = s.LiveMembers(t.Context(), "empty")
	require.NoError(t, err)
	require.Empty(t, live.Refs)
	live, err = s.LiveGroups(t.Context(), "p0000")
	require.NoError(t, err)
	require.ElementsMatch(t, refs("large", "inner", "outer"), live.Refs, "and no directory role")

	for _, ask := range []func() error{
		func() error { _, err := s.LiveGroups(t.Context(), "nobody"); return err },
		func() error { _, err := s.LiveMembers(t.Context(), "nobody"); return err },
		func() error { _, err := s.LiveGroups(t.Context(), "large"); return err },
	} {
		require.ErrorIs(t, ask(), directory.ErrNoObject)
	}
	server.Arm(graphtest.Answer(http.StatusOK, "{}").At(graphtest.Reads), -1)
	_, err = s.LiveMembers(t.Context(), "large")
	require.ErrorIs(t, err, directory.ErrIncomplete)
	server.Disarm()

	// Members that we may not see are unknown, and no list without any.
	server.Deny(graphtest.MemberReadHidden)
	s = source(t, server)
	server.SetAttribute("large", "visibility", "HiddenMembership")
	_, err = s.LiveMembers(t.Context(), "large")
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "Member.Read.Hidden")
	live, err = s.LiveGroups(t.Context(), "p0000")
	require.NoError(t, err)
	require.ElementsMatch(t, refs("inner", "outer"), live.Refs)
	require.True(t, live.Untold(directory.Object{Attributes: map[string][]string{directory.AttrVisibility: {"HiddenMembership"}}}))
	require.False(t, live.Untold(directory.Object{}))
	server.Permit(graphtest.MemberReadHidden)
	seeing := source(t, server)
	live, err = seeing.LiveMembers(t.Context(), "large")
	require.NoError(t, err)
	require.Len(t, live.Refs, 1500)
}
