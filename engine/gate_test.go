package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// everyone is a world in which anna may do everything.
func everyone(t testing.TB) world {
	w := newWorld(t)
	w.administrator("admin")
	w.user("anna", "north")
	w.user("boss", "root")
	w.assign(user("anna"), "admin", "north")
	return w
}

func TestRule_ACC_1_AccessModesRefuse(t *testing.T) {
	business := engine.Question{User: "anna", Action: access.Read, Table: "account", At: noon}
	change := business
	change.Action = access.Write
	system := engine.Question{User: "anna", Action: access.Write, Table: "setting", At: noon}
	misc := engine.Question{User: "anna", Privilege: "Print", At: noon}
	api := business
	api.Channel = engine.API
	for _, c := range []struct {
		name                            string
		kind                            access.UserKind
		mode                            access.AccessMode
		business, change, system, misc_ bool
		api                             bool
	}{
		{"a read-write user may all", access.Person, access.ReadWrite, true, true, true, true, true},
		{"an administrative user touches system tables only", access.Person, access.Administrative, false, false, true, true, false},
		{"a delegated administrator, too", access.Person, access.DelegatedAdministrator, false, false, true, true, false},
		{"a read user reads", access.Person, access.ReadOnly, true, false, false, false, true},
		{"a support user may all", access.Person, access.SupportUser, true, true, true, true, true},
		{"a non-interactive user comes by API", access.Person, access.NonInteractive, false, false, false, false, true},
		{"an application user comes by API (Rule ACC-2)", access.ApplicationUser, access.ReadWrite, false, false, false, false, true},
		{"a stub user never comes (Rule ACC-3)", access.StubUser, access.ReadWrite, false, false, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := everyone(t)
			w.user("anna", "north", func(u *access.User) { u.Kind, u.AccessMode = c.kind, c.mode })
			for _, x := range []struct {
				q    engine.Question
				want bool
			}{{business, c.business}, {change, c.change}, {system, c.system}, {misc, c.misc_}, {api, c.api}} {
				want := engine.AccessModeExcludes
				if x.want {
					want = engine.Allowed
				}
				require.Equal(t, want, w.reason(x.q), "%+v", x.q)
			}
		})
	}
	w := everyone(t)
	bad := business
	bad.Channel = "telex"
	_, err := w.snapshot().Check(bad)
	require.ErrorIs(t, err, engine.ErrQuestion)
}

func TestRule_LIC_1_WhoNeedsALicence(t *testing.T) {
	q := engine.Question{User: "anna", Action: access.Read, Table: "setting", Channel: engine.API, At: noon}
	w := everyone(t)
	w.Environment.RequireLicence = true
	require.Equal(t, engine.NoLicence, w.reason(q))
	for name, change := range map[string]func(*access.User){
		"licensed":       func(u *access.User) { u.Licensed = true },
		"application":    func(u *access.User) { u.Kind = access.ApplicationUser },
		"administrative": func(u *access.User) { u.AccessMode = access.Administrative },
		"support":        func(u *access.User) { u.AccessMode = access.SupportUser },
	} {
		w := everyone(t)
		w.Environment.RequireLicence = true
		w.user("anna", "north", change)
		require.Equal(t, engine.Allowed, w.reason(q), name)
	}
	w.Environment.PerAppPlan = true
	require.Equal(t, engine.Allowed, w.reason(q))
}

func TestRule_ESG_3_WhoIsExemptFromTheEnvironmentGroup(t *testing.T) {
	q := engine.Question{User: "anna", Action: access.Read, Table: "account", Channel: engine.API, At: noon}
	for name, c := range map[string]struct {
		change func(*access.User)
		want   engine.Reason
	}{
		"a user":                           {func(*access.User) {}, engine.NotInEnvironmentGroup},
		"a member of the group":            {func(u *access.User) { u.Admitted = true }, engine.Allowed},
		"an application user (Rule ACC-2)": {func(u *access.User) { u.Kind = access.ApplicationUser }, engine.Allowed},
		"a tenant administrator":           {func(u *access.User) { u.TenantAdministrator = true }, engine.Allowed},
		"a mode is asked for first":        {func(u *access.User) { u.Kind = access.StubUser }, engine.AccessModeExcludes},
	} {
		w := everyone(t)
		w.Environment.SecurityGroup = &access.GroupRef{Source: "corp", Group: "g"}
		w.user("anna", "north", c.change)
		require.Equal(t, c.want, w.reason(q), name)
	}
}

func TestRule_CMK_3_ALockedEnvironmentAnswersNothing(t *testing.T) {
	w := everyone(t)
	w.Environment.Locked = true
	s := w.snapshot()
	_, err := s.Check(engine.Question{User: "anna", Action: access.Read, Table: "account", At: noon})
	require.ErrorIs(t, err, engine.ErrLocked)
	_, err = s.Explain(engine.Question{User: "anna", Action: access.Read, Table: "account", At: noon}, 1)
	require.ErrorIs(t, err, engine.ErrLocked)
	_, err = s.What("anna", noon)
	require.ErrorIs(t, err, engine.ErrLocked)
	_, err = s.MayOwn(user("anna"), "account", noon)
	require.ErrorIs(t, err, engine.ErrLocked)
}

func TestRule_ACC_4_ImpersonationNeedsBoth(t *testing.T) {
	w := newWorld(t)
	w.role("reader", "account", access.Basic, access.Read)
	w.role("all-reader", "account", access.Global, access.Read)
	w.misc("agent", engine.ActOnBehalf)
	w.user("anna", "north")
	w.user("bot", "root")
	ask := func(want engine.Decision) {
		t.Helper()
		q := on("anna", access.Read, "", user("anna"))
		q.Impersonator = "bot"
		d, err := w.snapshot().Check(q)
		require.NoError(t, err)
		want.Revision = 1
		require.Equal(t, want, d)
	}
	ask(engine.Decision{Reason: engine.NoRole, OfImpersonator: true})
	w.assign(user("bot"), "reader", "root")
	ask(engine.Decision{Reason: engine.MayNotImpersonate, OfImpersonator: true})
	w.assign(user("bot"), "agent", "root", until)
	ends := until.End
	ask(engine.Decision{Reason: engine.NoRole, ValidUntil: ends})
	w.assign(user("anna"), "reader", "north")
	ask(engine.Decision{Reason: engine.NoAccess, OfImpersonator: true, ValidUntil: ends})
	w.assign(user("bot"), "all-reader", "root")
	ask(engine.Decision{Allowed: true, Reason: engine.Allowed, ValidUntil: ends})
	w.user("bot", "root", func(u *access.User) { u.Kind = access.ApplicationUser })
	ask(engine.Decision{Reason: engine.AccessModeExcludes, OfImpersonator: true})
	w.user("bot", "root", func(u *access.User) { u.Kind, u.AccessMode = access.Person, access.ReadOnly })
	ask(engine.Decision{Allowed: true, Reason: engine.Allowed, ValidUntil: ends})

	q := engine.Question{User: "anna", Impersonator: "bot", Action: access.Read, Table: "account", At: noon}
	d, err := w.snapshot().Check(q)
	require.NoError(t, err)
	require.Equal(t, access.Basic, d.Depth, "the smaller of both")
	q.Impersonator = "anna"
	_, err = w.snapshot().Check(q)
	require.ErrorIs(t, err, engine.ErrQuestion)
	q.Impersonator = "nobody"
	_, err = w.snapshot().Check(q)
	require.ErrorIs(t, err, engine.ErrUnknown)
}

func TestRule_ACC_4_ExplainTellsOfBoth(t *testing.T) {
	w := newWorld(t)
	w.role("reader", "account", access.Basic, access.Read)
	w.misc("agent", engine.ActOnBehalf)
	w.user("anna", "north")
	w.user("bot", "north")
	w.assign(user("anna"), "reader", "north")
	w.assign(user("bot"), "reader", "north")
	q := on("anna", access.Read, "", team(access.BusinessUnitID("north").DefaultTeam()))
	q.Impersonator = "bot"
	e, err := w.snapshot().Explain(q, 0)
	require.NoError(t, err)
	require.Equal(t, engine.MayNotImpersonate, e.Reason)
	require.True(t, e.OfImpersonator)
	require.Equal(t, []string{"EVAL-6", "ACC-4"}, e.Rules)
	require.Empty(t, e.Origins)
	require.Equal(t, "bot", e.Impersonator.User.ID)
	require.True(t, e.Impersonator.Allowed)
	require.False(t, e.Impersonator.Requires[0].Met)
	require.Equal(t, `role "agent" at "north" for user "bot"`, e.Missing[0].String())
	require.Contains(t, e.String(), "asked on behalf of them by:\n    ALLOWED: \"bot\"")
	w.assign(user("bot"), "agent", "north")
	e, err = w.snapshot().Explain(q, 0)
	require.NoError(t, err)
	require.True(t, e.Allowed)
	require.NotEmpty(t, e.Origins)
	require.NotEmpty(t, e.Impersonator.Origins)
	require.True(t, e.Impersonator.Requires[0].Met)
	w.user("bot", "north", func(u *access.User) { u.Kind = access.StubUser })
	e, err = w.snapshot().Explain(q, 0)
	require.NoError(t, err)
	require.Equal(t, engine.AccessModeExcludes, e.Reason)
	require.Equal(t, []string{"EVAL-6", "ACC-4", "EVAL-2", "ACC-3"}, e.Rules)
	require.Empty(t, e.Missing, "nothing lets a stub user in")
}

func TestRule_EVAL_9_ALicenceOnlyWhereItHelps(t *testing.T) {
	w := everyone(t)
	w.Environment.RequireLicence, w.Environment.PerAppPlan = true, true
	w.user("anna", "north", func(u *access.User) { u.Enabled = false })
	e, err := w.snapshot().Explain(engine.Question{User: "anna", Action: access.Read, Table: "account", At: noon}, 0)
	require.NoError(t, err)
	require.Len(t, e.Missing, 1)
	require.Equal(t, `user "anna" enabled`, e.Missing[0].String())
}
