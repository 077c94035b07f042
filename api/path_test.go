package api_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
)

// pathWorld has amelie in the team of a group by two nested ones, in another by the
// group itself, and in one that somebody made by hand.
func pathWorld(t *testing.T) *world {
	w := newWorldAt(t, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	amelie := access.User{
		Environment: sales, ID: "dir:amelie", Login: "amelie", Name: "Amélie Durand", BusinessUnit: "emea", Enabled: true, ManagedBy: access.ByMapping,
		Origin: access.Origin{Rule: "where people sit", Source: "corp", Object: "amelie"},
	}
	group := func(id, name string, nested bool) access.Team {
		return access.Team{
			Environment: sales, ID: access.TeamID("corp:" + id), Name: name, BusinessUnit: "emea", ManagedBy: access.ByMapping, Type: access.SecurityGroupTeam,
			Group: &access.GroupLink{GroupRef: access.GroupRef{Source: "corp", Group: id, Name: name}, Nested: nested},
		}
	}
	in := func(team access.TeamID, rule, path string) access.Membership {
		return access.Membership{
			Environment: sales, Team: team, User: "dir:amelie", ManagedBy: access.ByMapping,
			Origin: access.Origin{Rule: rule, Source: "corp", Object: strings.TrimPrefix(string(team), "corp:"), Path: path},
		}
	}
	w.put(amelie,
		group("1", "sales-europe", true), in("corp:1", "all of Europe", "Sales West > Sales France"),
		group("2", "approvers", false), in("corp:2", "who approves", ""),
		access.Team{Environment: sales, ID: "desk", Name: "Deal desk", BusinessUnit: "root", Type: access.OwnerTeam, ManagedBy: access.ByFile},
		access.Membership{Environment: sales, Team: "desk", User: "dir:amelie", ManagedBy: access.ByFile},
		access.Assignment{Environment: sales, ID: "europe", Role: "salesperson", Principal: access.TeamID("corp:1").Principal(), BusinessUnit: "emea", ManagedBy: access.ByMapping},
		access.Assignment{
			Environment: sales, ID: "europe-manager", Role: "manager", Principal: access.TeamID("corp:1").Principal(), BusinessUnit: "emea", ManagedBy: access.ByMapping,
			Window: access.Window{End: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)},
		},
		access.Assignment{
			Environment: sales, ID: "past", Role: "manager", Principal: access.TeamID("desk").Principal(), BusinessUnit: "root", ManagedBy: access.ByFile,
			Window: access.Window{End: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)},
		},
	)
	return w
}

// wellFormed holds a picture to what may be in it: no script, style or reference
// that a viewer would follow.
func wellFormed(t *testing.T, picture string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok {
			require.Contains(t, []string{"svg", "defs", "marker", "rect", "path", "text", "g", "title"}, e.Name.Local)
			for _, a := range e.Attr {
				require.NotContains(t, []string{"href", "style", "class", "src"}, a.Name.Local)
				require.False(t, strings.HasPrefix(a.Name.Local, "on"), a.Name.Local)
			}
		}
	}
}

func TestRule_PLAN_8_how_a_user_comes_to_be_in_teams(t *testing.T) {
	w := pathWorld(t)
	const path = "/v1/environments/sales/users/amelie/path"
	var all api.PathAnswer
	w.as("amelie", "GET", path+"?picture=true", nil).into(t, &all)
	require.Equal(t, `amelie, "Amélie Durand" (dir:amelie) in business unit "EMEA" (emea): object amelie of corp, by rule "where people sit"
  has role "Salesperson" (salesperson) at business unit "EMEA" (emea)
  is in the default team of business unit "EMEA" (emea)
    which has no role in force
  is in team "Deal desk" (desk) of business unit "Root" (root)
    which has no role in force
  is in group "approvers" (2) of corp
    by rule "who approves" (members_and_guests) in team "approvers" (corp:2) of business unit "EMEA" (emea)
    which has no role in force
  is in group "Sales France"
    in group "Sales West"
    in group "sales-europe" (1) of corp
    by rule "all of Europe" (members_and_guests) in team "sales-europe" (corp:1) of business unit "EMEA" (emea)
    which has role "Sales Manager" (manager) at business unit "EMEA" (emea), until 2026-06-01T00:00:00Z
    which has role "Salesperson" (salesperson) at business unit "EMEA" (emea)
`, all.Text)
	require.Len(t, all.Teams, 4)
	require.Equal(t, []string{"Sales West", "Sales France"}, all.Teams[3].Through)
	require.Len(t, all.Teams[3].Roles, 2)
	require.Nil(t, all.Teams[3].Roles[0].Team)
	require.False(t, all.Hypothetical)
	wellFormed(t, all.Picture)
	for _, name := range []string{"Amélie Durand", "Sales West", "Sales France", "sales-europe", "by rule all of Europe", "Sales Manager", "at EMEA, until 2026-06-01 00:00Z", "Deal desk"} {
		require.Contains(t, all.Picture, name)
	}

	// The documentation shows this very picture.
	const shown = "../docs/pictures/path.svg"
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(shown, []byte(all.Picture), 0o644))
	}
	want, err := os.ReadFile(shown)
	require.NoError(t, err)
	require.Equal(t, string(want), all.Picture, "make it anew with UPDATE=1")

	t.Run("one team by its name or id, at another instant", func(t *testing.T) {
		for _, team := range []string{"deal%20desk", "desk"} {
			var one api.PathAnswer
			w.as("app", "GET", path+"?team="+team+"&at=2026-01-01T00:00:00Z", nil).into(t, &one)
			require.Len(t, one.Teams, 1)
			require.Empty(t, one.Own)
			require.Empty(t, one.Picture)
			require.Equal(t, "Sales Manager", one.Teams[0].Roles[0].Role.Name)
			require.True(t, one.Hypothetical)
		}
	})

	t.Run("whoever does not get in is told so", func(t *testing.T) {
		w.put(access.User{Environment: sales, ID: "dir:carla", Login: "carla", Name: "Carla", BusinessUnit: "emea", ManagedBy: access.ByMapping})
		var a api.PathAnswer
		w.as("admin", "GET", "/v1/environments/sales/users/carla/path?picture=true", nil).into(t, &a)
		require.Contains(t, a.Text, "  gets in nowhere: the user is disabled\n")
		require.Contains(t, a.Picture, "gets in nowhere: user_disabled.")
		wellFormed(t, a.Picture)
	})

	t.Run("others' paths are for those who may ask about others", func(t *testing.T) {
		require.Equal(t, http.StatusForbidden, w.as("bruno", "GET", path, nil).status)
		require.Equal(t, http.StatusUnauthorized, w.as("", "GET", path, nil).status)
		for query, status := range map[string]int{
			"/v1/environments/sales/users/nobody/path": 422, path + "?team=nowhere": 422, "/v1/environments/none/users/amelie/path": 404, path + "?picture=maybe": 422,
		} {
			require.Equal(t, status, w.as("admin", "GET", query, nil).problem(t).Status, query)
		}
		require.Contains(t, w.as("admin", "GET", path+"?team=nowhere", nil).problem(t).Detail, "no path leads there")
	})
}

func TestRule_SEC_6_a_name_is_text_in_a_picture_and_nothing_else(t *testing.T) {
	w := pathWorld(t)
	hostile := `</text><script>alert(1)</script><a href="https://evil.example">` + "\u202e\x1b[2J"
	user := access.User{Environment: sales, ID: "dir:amelie", Login: "amelie", Name: hostile, BusinessUnit: "emea", Enabled: true, ManagedBy: access.ByMapping}
	all := []access.Object{user}
	for n := range 60 {
		team := access.TeamID(fmt.Sprintf("many-%02d", n))
		all = append(all,
			access.Team{
				Environment: sales, ID: team, Name: fmt.Sprint(hostile, n), BusinessUnit: "emea", Type: access.SecurityGroupTeam, ManagedBy: access.ByMapping,
				Group: &access.GroupLink{GroupRef: access.GroupRef{Source: "corp", Group: string(team), Name: hostile}, Nested: true},
			},
			access.Membership{
				Environment: sales, Team: team, User: "dir:amelie", ManagedBy: access.ByMapping,
				Origin: access.Origin{Rule: hostile, Source: "corp", Object: string(team), Path: hostile + strings.Repeat(" > x", n)},
			},
		)
	}
	w.put(all...)
	var a api.PathAnswer
	w.as("amelie", "GET", "/v1/environments/sales/users/amelie/path?picture=true", nil).into(t, &a)
	wellFormed(t, a.Picture)
	require.NotContains(t, a.Picture, "<script")
	require.NotContains(t, a.Picture, "\u202e")
	require.NotContains(t, a.Picture, "\x1b")
	require.Contains(t, a.Picture, "more teams")
	require.Contains(t, a.Picture, "more groups")
	require.Less(t, len(a.Picture), 1<<19, "and bounded (Rule REL-8)")
}
