package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
)

func TestALiveCheckIsOfAUserOrAGroup(t *testing.T) {
	w := newWorld(t)
	ask := func(user string, body object) answer { return w.as(user, "POST", "/v1/live-check", body) }
	var a dirsync.LiveAnswer
	ask("admin", object{"source": "corp", "group": "sales-*"}).into(t, &a)
	require.Equal(t, dirsync.LiveAnswer{Source: "corp", Kind: directory.KindGroup, Object: dirsync.LiveObject{ID: "sales-*", Name: "sales-*"}}, a)
	w.put(access.User{
		Environment: sales, ID: "corp:17", Login: "zoe@x", Name: "Zoe", BusinessUnit: "emea", Enabled: true, ManagedBy: access.ByMapping,
		Origin: access.Origin{Source: "corp", Object: "17"},
	})
	ask("admin", object{"environment": "sales", "user": "zoe@x"}).into(t, &a)
	require.Equal(t, dirsync.LiveAnswer{Source: "corp", Kind: directory.KindUser, Object: dirsync.LiveObject{ID: "17", Name: "17"}}, a, "by the id that the source gave")

	for _, c := range []struct {
		body   object
		status int
	}{
		{object{}, http.StatusUnprocessableEntity},
		{object{"source": "corp"}, http.StatusUnprocessableEntity},
		{object{"source": "corp", "user": "a", "group": "b"}, http.StatusUnprocessableEntity},
		{object{"user": "carla"}, http.StatusUnprocessableEntity},
		{object{"environment": "sales", "source": "corp", "user": "carla"}, http.StatusUnprocessableEntity},
		{object{"environment": "sales", "group": "g"}, http.StatusUnprocessableEntity},
		{object{"environment": "nowhere", "user": "carla"}, http.StatusNotFound},
		{object{"environment": "sales", "user": "nobody"}, http.StatusUnprocessableEntity},
	} {
		require.Equal(t, c.status, ask("admin", c.body).problem(t).Status, "%v", c.body)
	}
	require.Equal(t, http.StatusForbidden, ask("carla", object{"source": "corp", "user": "carla"}).problem(t).Status)
	w.put(access.User{Environment: sales, ID: "made", Login: "made", Name: "Made", BusinessUnit: "emea", Enabled: true, ManagedBy: access.ByAPI})
	require.Equal(t, "urn:ambit:problem:not-live", ask("admin", object{"environment": "sales", "user": "made"}).problem(t).Type)
}
