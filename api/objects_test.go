package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/model"
)

// TestTheRestOfTheModelByHand puts one object of each kind, reads it, finds it in
// its list and deletes it.
func TestTheRestOfTheModelByHand(t *testing.T) {
	w := newWorld(t)
	const in = "/v1/environments/sales/"
	made := []put1{
		{"tables/case", access.Table{Name: "Case", AccessTeams: true, Columns: []access.Column{{Name: "diagnosis", Secured: true}}}},
		{"tables/note", access.Table{Name: "Note"}},
		{"relationships/note_case", access.Relationship{Table: "note", Parent: "case", Cascade: access.Cascades{Share: access.CascadeAll}}},
		{"access-team-templates/helpers", access.Template{Name: "Helpers", Table: "case", Rights: access.RightsOf(access.Read, access.Write)}},
		{"positions/director", access.Position{Name: "Director"}},
		{"positions/clerk", access.Position{Name: "Clerk", Parent: "director"}},
		{"column-profiles/doctors", access.Profile{Name: "Doctors", Columns: []access.ProfileColumn{{Table: "case", Column: "diagnosis", Read: true}}}},
		{"column-profile-members/doctors~user~dir:amelie", access.ProfileMember{}},
		{"records/case~7", access.Record{Owner: access.UserID("dir:carla").Principal()}},
		{"records/note~1", access.Record{Owner: access.UserID("dir:carla").Principal(), Links: []access.Link{{Relationship: "note_case", Record: "7"}}}},
		{"column-shares/case~7~diagnosis~user~dir:bruno", access.ColumnShare{Read: true}},
		{"column-shares/case~7~diagnosis~organization", access.ColumnShare{Read: true}},
		{"shares/case~7~user~dir:bruno", access.Share{Rights: access.RightsOf(access.Read)}},
	}
	for _, o := range made {
		require.Equal(t, http.StatusForbidden, w.as("auditor", "PUT", in+o.path, o.body).status, o.path)
		require.Equal(t, http.StatusForbidden, w.as("app", "GET", in+o.path, nil).status, o.path)
		got := w.as("admin", "PUT", in+o.path, o.body)
		require.Equal(t, http.StatusOK, got.status, "%s: %s", o.path, got.body)
		got = w.as("auditor", "GET", in+o.path, nil)
		require.Equal(t, http.StatusOK, got.status, o.path)
		require.NotEmpty(t, got.header.Get("ETag"))
		require.Contains(t, string(got.body), `"managed_by":"api"`)
	}
	for _, list := range []string{"relationships", "access-team-templates", "positions", "column-profiles", "column-profile-members", "column-shares"} {
		var page api.Page[map[string]any]
		w.as("auditor", "GET", in+list, nil).into(t, &page)
		require.NotEmpty(t, page.Items, list)
	}

	t.Run("what came along relationships is nobody's to say (Rule SHARE-7)", func(t *testing.T) {
		var share access.Share
		const along = in + "shares/note~1~user~dir:bruno"
		w.as("auditor", "GET", along, nil).into(t, &share)
		require.Equal(t, access.RightsOf(access.Read), share.Inherited)
		require.Equal(t, http.StatusOK, w.as("admin", "PUT", along, access.Share{Rights: access.RightsOf(access.Write), Inherited: access.RightsOf(access.Delete)}, "If-Match", "*").status)
		w.as("auditor", "GET", along, nil).into(t, &share)
		require.Equal(t, access.RightsOf(access.Write), share.Rights)
		require.Equal(t, access.RightsOf(access.Read), share.Inherited)
		require.Len(t, share.Along, 1)
	})
	t.Run("a team is not made a record's by hand (Rule TEAM-6)", func(t *testing.T) {
		require.Equal(t, http.StatusOK, w.as("admin", "PUT", in+"teams/mine", access.Team{
			Name: "Mine", Type: access.AccessTeam, BusinessUnit: "emea", For: &access.TemplateLink{Template: "helpers", Table: "case", Record: "7"},
		}).status)
		var team access.Team
		w.as("auditor", "GET", in+"teams/mine", nil).into(t, &team)
		require.Nil(t, team.For)
	})
	for name, c := range map[string]put1{
		"a column that is not secured":       {"column-profiles/x", access.Profile{Name: "X", Columns: []access.ProfileColumn{{Table: "case", Column: "title", Read: true}}}},
		"a cycle of positions":               {"positions/director", access.Position{Name: "Director", Parent: "clerk"}},
		"a principal that the path gainsays": {"column-profile-members/doctors~user~dir:bruno", access.ProfileMember{Principal: access.UserID("dir:dora").Principal()}},
		"a key of too few parts":             {"column-shares/case~7~diagnosis", access.ColumnShare{Read: true}},
		"a key of too many":                  {"column-profile-members/doctors~user~dir:bruno~x", access.ProfileMember{}},
		"a kind of principal that is none":   {"column-profile-members/doctors~group~x", access.ProfileMember{}},
	} {
		var header []string
		if c.path == "positions/director" { // which is there
			header = []string{"If-Match", "*"}
		}
		require.Equal(t, http.StatusUnprocessableEntity, w.as("admin", "PUT", in+c.path, c.body, header...).status, name)
	}
	for i := len(made) - 1; i >= 0; i-- {
		got := w.as("admin", "DELETE", in+made[i].path, nil, "If-Match", "*")
		require.Equal(t, http.StatusOK, got.status, "%s: %s", made[i].path, got.body)
	}
}

func TestEnvironmentsByHand(t *testing.T) {
	w := newWorld(t)
	const one = "/v1/environments/lab"
	lab := access.Environment{Name: "Lab", Locked: true, SecurityGroup: &access.GroupRef{Source: "dir", Group: "everybody"}}
	require.Equal(t, http.StatusNotFound, w.as("auditor", "GET", one, nil).status)
	require.Equal(t, http.StatusForbidden, w.as("auditor", "PUT", one, lab).status)
	require.Equal(t, http.StatusOK, w.as("admin", "PUT", one, lab).status)
	require.Equal(t, http.StatusOK, w.as("admin", "PUT", one+"/business-units/cellar", access.BusinessUnit{Name: "Cellar", Parent: "lab"}).status)
	require.Equal(t, http.StatusPreconditionRequired, w.as("admin", "PUT", one, lab).status)

	var got access.Environment
	answer := w.as("auditor", "GET", one, nil)
	answer.into(t, &got)
	require.Equal(t, access.Environment{ID: "lab", Name: "Lab", ManagedBy: access.ByAPI}, got, "the group is the mapping's, the lock the key's")
	var role access.Role
	require.Equal(t, http.StatusOK, w.as("admin", "PUT", one+"/tables/mouse", access.Table{Name: "Mouse"}).status)
	w.as("auditor", "GET", one+"/roles/service-reader", nil).into(t, &role)
	require.Contains(t, role.Privileges, access.Privilege{Table: "mouse", Action: access.Read, Depth: access.Global}, "out-of-box roles cover every table (Rule ACC-6)")
	w.as("auditor", "GET", one+"/roles/"+string(model.RoleSystemAdministrator), nil).into(t, &role)
	require.True(t, role.All)
	lab.Modernized = true
	require.Equal(t, http.StatusOK, w.as("admin", "PUT", one, lab, "If-Match", answer.header.Get("ETag")).status)
	require.Equal(t, http.StatusUnprocessableEntity, w.as("admin", "PUT", one, access.Environment{ID: "other", Name: "X"}, "If-Match", "*").status)
	require.Equal(t, "urn:ambit:problem:managed-elsewhere", w.as("admin", "PUT", "/v1/environments/sales", access.Environment{Name: "Mine"}, "If-Match", "*").problem(t).Type)
	require.Equal(t, "urn:ambit:problem:managed-elsewhere", w.as("admin", "DELETE", "/v1/environments/ambit", nil, "If-Match", "*").problem(t).Type)

	require.Equal(t, http.StatusOK, w.as("admin", "DELETE", one, nil, "If-Match", "*").status)
	require.Equal(t, http.StatusNotFound, w.as("auditor", "GET", one, nil).status)
	require.Equal(t, http.StatusNotFound, w.as("admin", "DELETE", one, nil, "If-Match", "*").status)
}

// TestRule_HIER_10 lets somebody change users and environments who holds no
// privilege of the hierarchy, then gives them one after the other.
func TestRule_HIER_10(t *testing.T) {
	w := newWorld(t)
	give := func(miscellaneous ...string) {
		role := access.Role{Environment: access.AmbitEnvironment, ID: "arranger", Name: "Arranger", BusinessUnit: model.AmbitUnit, Miscellaneous: miscellaneous, ManagedBy: access.ByFile}
		for _, table := range []access.TableID{model.TableAssignment, model.TableEnvironment, model.TableUser} {
			for _, action := range []access.Action{access.Read, access.Write, access.Delete} {
				role.Privileges = append(role.Privileges, access.Privilege{Table: table, Action: action, Depth: access.Global})
			}
		}
		w.put(role)
	}
	give()
	w.put(
		access.Environment{ID: "lab", Name: "Lab", ManagedBy: access.ByAPI},
		access.BusinessUnit{Environment: "lab", ID: "lab", Name: "Lab", ManagedBy: access.ByAPI},
		access.Position{Environment: "lab", ID: "chief", Name: "Chief", ManagedBy: access.ByAPI},
		access.User{Environment: "lab", ID: "eve", Login: "eve", Name: "Eve", BusinessUnit: "lab", Enabled: true, ManagedBy: access.ByAPI},
		access.User{Environment: access.AmbitEnvironment, ID: "dir:ari", Login: "ari", Name: "Ari", BusinessUnit: model.AmbitUnit, Enabled: true, ManagedBy: access.ByMapping},
		access.Assignment{Environment: access.AmbitEnvironment, ID: "ari", Role: "arranger", Principal: access.UserID("dir:ari").Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByMapping},
	)
	ada := func(change func(*access.User)) access.User {
		u := access.User{Login: "ada", Name: "Ada", BusinessUnit: "lab", Enabled: true}
		change(&u)
		return u
	}
	const in = "/v1/environments/lab"
	require.Equal(t, http.StatusOK, w.as("ari", "PUT", in+"/users/ada", ada(func(*access.User) {})).status)
	require.Equal(t, http.StatusOK, w.as("ari", "PUT", in, access.Environment{Name: "Laboratory"}, "If-Match", "*").status)
	for _, c := range []struct {
		privilege string
		put1
	}{
		{model.PrivilegeAssignManager, put1{in + "/users/ada", ada(func(u *access.User) { u.Manager = "eve" })}},
		{model.PrivilegeAssignPosition, put1{in + "/users/ada", ada(func(u *access.User) { u.Manager, u.Position = "eve", "chief" })}},
		{model.PrivilegeChangeHierarchy, put1{in, access.Environment{Name: "Lab", Hierarchy: &access.Hierarchy{Depth: 3}}}},
		{model.PrivilegeChangeHierarchy, put1{in + "/positions/deputy", access.Position{Name: "Deputy", Parent: "chief"}}},
	} {
		give()
		header := []string{"If-Match", "*"}
		if c.path == in+"/positions/deputy" {
			header = nil
		}
		refused := w.as("ari", "PUT", c.path, c.body, header...)
		require.Equal(t, http.StatusForbidden, refused.status, "%s", refused.body)
		require.Contains(t, refused.problem(t).Detail, c.privilege)
		give(c.privilege)
		require.Equal(t, http.StatusOK, w.as("ari", "PUT", c.path, c.body, header...).status, c.privilege)
	}
	give()
	require.Equal(t, http.StatusForbidden, w.as("ari", "PUT", in+"/users/ada", ada(func(*access.User) {}), "If-Match", "*").status, "to take it away needs it as well")
	require.Equal(t, http.StatusForbidden, w.as("ari", "DELETE", in+"/positions/deputy", nil, "If-Match", "*").status)
}
