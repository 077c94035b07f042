package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// offices is a world for changes: anna may do everything with her own accounts,
// bert reads his own and carl holds nothing.
func offices(t testing.TB) world {
	w := newWorld(t)
	w.role("own", "account", access.Basic, access.Create, access.Read, access.Write, access.Append, access.AppendTo, access.Assign, access.ShareRecord)
	w.role("own", "contact", access.Basic, access.Create, access.Write, access.Append)
	w.role("reads", "account", access.Basic, access.Read)
	w.user("anna", "north")
	w.user("bert", "north")
	w.user("carl", "north")
	w.user("gone", "north", func(u *access.User) { u.Enabled = false })
	w.assign(user("anna"), "own", "north")
	w.assign(user("bert"), "reads", "north")
	w.assign(user("gone"), "own", "north")
	w.team("sales", "north", access.OwnerTeam)
	w.team("watch", "north", access.AccessTeam, "bert")
	return w
}

func account(owner access.UserID) engine.RecordRef {
	return engine.RecordRef{Table: "account", Record: engine.Record{ID: "x", Owner: owner.Principal()}}
}

// rules fails unless the ruling is by the rule; "" allows.
func rules(t *testing.T, want string, got engine.Ruling, err error) {
	t.Helper()
	require.NoError(t, err)
	require.Equal(t, want, got.Rule, got.Why)
	require.Equal(t, want == "", got.Allowed)
	require.Equal(t, want == "", got.Why == "")
}

func wrong(t *testing.T, want error, got engine.Ruling, err error) {
	t.Helper()
	require.ErrorIs(t, err, want)
	require.Equal(t, engine.Ruling{}, got)
}

func TestRule_SHARE_3_MayShare(t *testing.T) {
	w := offices(t)
	w.share("x", user("bert"), access.RightsOf(access.Read, access.ShareRecord))
	s := w.snapshot()
	share := func(u access.UserID, rec engine.RecordRef, actions ...access.Action) (engine.Ruling, error) {
		return s.MayShare(u, rec, access.RightsOf(actions...), noon)
	}
	for _, c := range []struct {
		want    string
		user    access.UserID
		actions []access.Action
	}{
		{"", "anna", []access.Action{access.Read, access.Write}},
		{"SHARE-3", "anna", []access.Action{access.Read, access.Delete}},
		{"SHARE-1", "anna", []access.Action{access.Read, access.Create}},
		{"SHARE-1", "anna", nil},
		{"SHARE-3", "bert", []access.Action{access.Read}}, // without the privilege, Rule SHARE-5
		{"SHARE-3", "gone", []access.Action{access.Read}},
	} {
		got, err := share(c.user, account("anna"), c.actions...)
		rules(t, c.want, got, err)
	}
	got, err := share("anna", engine.RecordRef{Table: "setting"}, access.Read)
	rules(t, "SHARE-2", got, err)
	got, err = share("nobody", account("anna"), access.Read)
	wrong(t, engine.ErrUnknown, got, err)
	got, err = share("anna", account("nobody"), access.Read)
	wrong(t, engine.ErrUnknown, got, err)
	got, err = s.MayShare("anna", engine.RecordRef{Table: "account"}, 2, noon)
	wrong(t, engine.ErrQuestion, got, err)
}

func TestRule_SHARE_8_MayRevoke(t *testing.T) {
	w := offices(t)
	w.role("shares", "account", access.Local, access.ShareRecord)
	w.user("dora", "north")
	w.assign(user("dora"), "shares", "north")
	s := w.snapshot()
	for _, c := range []struct {
		want     string
		user, of access.UserID
		owner    access.UserID
	}{
		{"", "bert", "carl", "bert"}, // the owner, without Share
		{"", "dora", "carl", "bert"},
		{"", "carl", "carl", "bert"},
		{"SHARE-8", "bert", "carl", "anna"},
		{"SHARE-8", "gone", "carl", "gone"}, // everything of a disabled user's is denied
	} {
		got, err := s.MayRevoke(c.user, account(c.owner), user(c.of), noon)
		rules(t, c.want, got, err)
	}
	got, err := s.MayRevoke("nobody", account("anna"), user("carl"), noon)
	wrong(t, engine.ErrUnknown, got, err)
}

func TestRule_OWN_9_MayAssign(t *testing.T) {
	w := offices(t)
	s := w.snapshot()
	assign := func(u access.UserID, to access.Principal) (engine.Ruling, error) {
		return s.MayAssign(u, account("anna"), to, noon)
	}
	for to, want := range map[access.Principal]string{
		user("bert"): "", user("carl"): "OWN-9", team("sales"): "OWN-9", user("gone"): "OWN-6", team("watch"): "OWN-6",
	} {
		got, err := assign("anna", to)
		rules(t, want, got, err)
	}
	got, err := assign("bert", user("bert"))
	rules(t, "OWN-9", got, err)
	for _, to := range []access.Principal{user("nobody"), team("nobody")} {
		got, err = assign("anna", to)
		wrong(t, engine.ErrUnknown, got, err)
	}
	got, err = assign("anna", access.Principal{Kind: access.Everybody})
	wrong(t, engine.ErrQuestion, got, err)
	got, err = s.MayAssign("anna", engine.RecordRef{Table: "none"}, user("bert"), noon)
	wrong(t, engine.ErrUnknown, got, err)
}

func TestRule_BU_10_MaySetUnit(t *testing.T) {
	w := offices(t)
	rec := account("anna")
	got, err := w.snapshot().MaySetUnit("anna", rec, "south", noon)
	rules(t, "OWN-5", got, err)
	w.Environment.Modernized = true
	rec.Record.BusinessUnit = "north"
	set := func(u access.UserID, unit access.BusinessUnitID) (engine.Ruling, error) {
		return w.snapshot().MaySetUnit(u, rec, unit, noon)
	}
	got, err = set("anna", "south")
	rules(t, "BU-10", got, err)
	w.role("places", "businessunit", access.Local, access.AppendTo)
	w.assign(user("anna"), "places", "south")
	got, err = set("anna", "south")
	rules(t, "", got, err)
	got, err = set("anna", "oslo")
	rules(t, "BU-10", got, err)
	got, err = set("bert", "south")
	rules(t, "BU-10", got, err)
	got, err = set("anna", "nowhere")
	wrong(t, engine.ErrUnknown, got, err)
	rec.Record.Owner = team("sales") // which holds no Read
	w.role("writes", "account", access.Global, access.Write)
	w.assign(user("anna"), "writes", "north")
	got, err = set("anna", "south")
	rules(t, "BU-10", got, err)
	w.Apply(access.Remove(w.Tables["businessunit"]))
	got, err = set("anna", "south")
	wrong(t, engine.ErrUnknown, got, err)
}

func TestRule_REL_1_MayLink(t *testing.T) {
	w := offices(t)
	w.put(
		access.Relationship{Environment: "e", ID: "of", Table: "contact", Parent: "account"},
		access.Relationship{Environment: "e", ID: "with", Table: "account", Parent: "account", ManyToMany: true},
	)
	s := w.snapshot()
	contact := func(owner access.UserID) engine.RecordRef {
		return engine.RecordRef{Table: "contact", Record: engine.Record{ID: "c", Owner: user(owner)}}
	}
	link := func(u access.UserID, rel access.RelationshipID, child, parent engine.RecordRef, creating bool) (engine.Ruling, error) {
		return s.MayLink(u, rel, child, &parent, creating, noon)
	}
	got, err := link("anna", "of", contact("anna"), account("anna"), false)
	rules(t, "", got, err)
	got, err = link("anna", "of", contact("anna"), account("anna"), true)
	rules(t, "", got, err)
	got, err = link("anna", "of", contact("anna"), account("bert"), false)
	rules(t, "REL-1", got, err)
	got, err = link("anna", "of", contact("bert"), account("anna"), false)
	rules(t, "REL-1", got, err)
	got, err = link("anna", "with", account("anna"), account("anna"), false)
	rules(t, "", got, err)
	got, err = link("anna", "with", account("anna"), account("bert"), false)
	rules(t, "REL-2", got, err)
	got, err = s.MayLink("anna", "of", contact("anna"), nil, false, noon)
	rules(t, "", got, err)
	got, err = s.MayLink("bert", "of", contact("bert"), nil, false, noon)
	rules(t, "REL-3", got, err)
	got, err = link("anna", "none", contact("anna"), account("anna"), false)
	wrong(t, engine.ErrUnknown, got, err)
	got, err = link("anna", "of", account("anna"), account("anna"), false)
	wrong(t, engine.ErrQuestion, got, err)
	got, err = s.MayLink("anna", "of", contact("anna"), nil, true, noon)
	wrong(t, engine.ErrQuestion, got, err)
	registered := engine.RecordRef{Table: "contact", Record: engine.Record{ID: "c", Registered: true}}
	got, err = link("anna", "of", registered, account("anna"), true)
	wrong(t, engine.ErrQuestion, got, err)
}

func TestRule_TEAM_7_MayAddToTemplate(t *testing.T) {
	w := offices(t)
	w.put(
		access.Template{Environment: "e", ID: "edit", Table: "account", Rights: access.RightsOf(access.Read, access.Write)},
		access.Template{Environment: "e", ID: "drop", Table: "account", Rights: access.RightsOf(access.Read, access.Delete)},
	)
	s := w.snapshot()
	got, err := s.MayAddToTemplate("anna", "edit", account("anna"), noon)
	rules(t, "", got, err)
	got, err = s.MayAddToTemplate("anna", "drop", account("anna"), noon)
	rules(t, "TEAM-7", got, err)
	got, err = s.MayAddToTemplate("bert", "edit", account("bert"), noon)
	rules(t, "TEAM-7", got, err)
	got, err = s.MayAddToTemplate("anna", "none", account("anna"), noon)
	wrong(t, engine.ErrUnknown, got, err)
	got, err = s.MayAddToTemplate("anna", "edit", engine.RecordRef{Table: "contact"}, noon)
	wrong(t, engine.ErrQuestion, got, err)
}

func TestRule_FLS_7_MayShareColumn(t *testing.T) {
	w := offices(t)
	columns := []access.Column{{Name: "salary", Secured: true}}
	w.put(access.Table{Environment: "e", ID: "account", Columns: columns}, access.Table{Environment: "e", ID: "setting", Ownership: access.OrganizationOwned, Columns: columns})
	w.profile("pay", user("anna"), access.ProfileColumn{Column: "salary", Read: true})
	w.put(access.ProfileMember{Environment: "e", Profile: "pay", Principal: user("bert")})
	s := w.snapshot()
	share := func(u, owner access.UserID, column string, read, update bool) (engine.Ruling, error) {
		return s.MayShareColumn(u, account(owner), column, read, update, noon)
	}
	got, err := share("anna", "anna", "salary", true, false)
	rules(t, "", got, err)
	got, err = share("anna", "anna", "salary", true, true)
	rules(t, "FLS-7", got, err)
	got, err = share("anna", "anna", "salary", false, false)
	rules(t, "FLS-7", got, err)
	got, err = share("anna", "bert", "salary", true, false)
	rules(t, "FLS-7", got, err)
	got, err = share("bert", "bert", "salary", true, false) // who has no Share
	rules(t, "FLS-7", got, err)
	got, err = share("anna", "anna", "name", true, false)
	wrong(t, engine.ErrQuestion, got, err)
	got, err = s.MayShareColumn("anna", engine.RecordRef{Table: "setting"}, "salary", true, false, noon)
	rules(t, "FLS-7", got, err)
}

func TestRule_ACC_5_MayGive(t *testing.T) {
	w := offices(t)
	w.administrator("admin")
	w.role("keeper", "role", access.Deep, access.Assign)
	w.role("deep", "account", access.Deep, access.Read)
	w.role("local", "account", access.Local, access.Read)
	w.role("global", "account", access.Global, access.Read)
	w.misc("prints", "Print")
	w.user("kim", "north")
	w.assign(user("kim"), "keeper", "north")
	w.assign(user("kim"), "deep", "north")
	w.user("root", "root")
	w.assign(user("root"), "admin", "root")
	w.user("half", "root")
	w.put(access.Assignment{
		Environment: "e", ID: "half", Role: "admin", Principal: user("half"), BusinessUnit: "root",
		Bound: &access.Bound{Privileges: []access.Privilege{{Table: "role", Action: access.Assign, Depth: access.Global}}},
	})
	give := func(u access.UserID, role access.RoleID, unit access.BusinessUnitID) (engine.Ruling, error) {
		return w.snapshot().MayGive(u, role, unit, noon)
	}
	for _, c := range []struct {
		want string
		user access.UserID
		role access.RoleID
		unit access.BusinessUnitID
	}{
		{"", "kim", "deep", "north"},
		{"", "kim", "deep", "oslo"},
		{"", "kim", "local", "oslo"},
		{"", "kim", "reads", "oslo"},
		{"ROLE-15", "kim", "reads", "south"},
		{"ROLE-15", "anna", "reads", "north"},
		{"ACC-5", "kim", "global", "north"},
		{"ACC-5", "kim", "own", "north"},
		{"ACC-5", "kim", "prints", "north"},
		{"ACC-5", "kim", "admin", "north"},
		{"", "root", "admin", "south"},
		{"ACC-5", "half", "admin", "south"},
		{"ACC-5", "half", "reads", "south"},
		{"", "half", "keeper", "south"},
		{"EVAL-2", "gone", "reads", "north"},
		{"EVAL-2", "carl", "reads", "north"},
	} {
		got, err := give(c.user, c.role, c.unit)
		rules(t, c.want, got, err)
	}
	got, err := give("kim", "none", "north")
	wrong(t, engine.ErrUnknown, got, err)
	got, err = give("kim", "deep", "none")
	wrong(t, engine.ErrUnknown, got, err)
	got, err = give("none", "deep", "north")
	wrong(t, engine.ErrUnknown, got, err)
	w.Apply(access.Remove(w.Tables["role"]))
	got, err = give("kim", "reads", "north")
	rules(t, "ROLE-15", got, err)
}
