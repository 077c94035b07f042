package dirsync

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
)

// staff are n users of North, all of them in the group "sales-all", and those of
// admins in "admins".
func staff(n int, admins ...int) directory.Page {
	var p directory.Page
	all := directory.Members{Group: "all", Whole: true}
	few := directory.Members{Group: "adm", Whole: true}
	for i := range n {
		id := fmt.Sprintf("u%03d", i)
		p.Upserts = append(p.Upserts, user(id, "", directory.AttrUserName, id, "ou", "North"))
		all.Add = append(all.Add, directory.ByID(directory.ObjectID(id)))
	}
	for _, i := range admins {
		few.Add = append(few.Add, directory.ByID(directory.ObjectID(fmt.Sprintf("u%03d", i))))
	}
	p.Upserts = append(p.Upserts, group("all", "", directory.AttrDisplayName, "sales-all"), group("adm", "", directory.AttrDisplayName, "admins"))
	p.Members = []directory.Members{all, few}
	return p
}

const staffModel = `
environments:
  sales:
    business_units: {HQ: {units: {North: {}}}}
    tables: {account: {ownership: user_or_team}}
    roles: {Salesperson: {privileges: {account: {all: user}}}, Auditor: {privileges: {account: {read: organization}}}}
`

const staffRules = rulesFile + `
  - name: administrators
    match: {source: corp, group: admins}
    team: {environment: sales, business_unit: North, roles: [System Administrator]}
`

// counts off what a guard of the effect does not count.
const uncounted = `
  remove_members: {max: 100000, max_share: 1}
  remove_roles: {max: 100000, max_share: 1}
  remove_users: {max: 100000, max_share: 1}
  shut_out_users: {max: 100000, max_share: 1}
  protected: {roles: []}
`

// guards lists why the next plan is held.
func (r *rig) guards() []string {
	r.t.Helper()
	report, err := r.sync.Plan(r.t.Context(), Options{})
	require.NoError(r.t, err)
	out := []string{}
	for _, v := range report.Plan.Violations {
		out = append(out, v.Guard)
	}
	return out
}

func TestRule_PLAN_5_guards_judge_the_effect(t *testing.T) {
	for name, c := range map[string]struct {
		guards string
		before directory.Page
		now    directory.Page
		want   []string
	}{
		"half of a team may go":                                    {before: staff(40, 0), now: part(staff(40, 0), 20)},
		"more than half of a team":                                 {before: staff(40, 0), now: part(staff(40, 0), 19), want: []string{GuardTeamShare}},
		"the file's share counts":                                  {guards: "  team_share: 0.1\n", before: staff(40, 0), now: part(staff(40, 0), 35), want: []string{GuardTeamShare}},
		"three members of a small team":                            {before: staff(4, 0), now: part(staff(4, 0), 1)},
		"three get a privileged role":                              {before: staff(10, 0), now: staff(10, 0, 1, 2, 3)},
		"four get a privileged role":                               {before: staff(10, 0), now: staff(10, 0, 1, 2, 3, 4), want: []string{GuardPrivileged}},
		"two get it and two lose it":                               {before: staff(10, 0, 1), now: staff(10, 2, 3), want: []string{GuardPrivileged}},
		"the file's limit counts":                                  {guards: "  privileged: {max: 0}\n", before: staff(10, 0), now: staff(10, 0, 1), want: []string{GuardPrivileged}},
		"the file's roles count":                                   {guards: "  privileged: {roles: [salesperson]}\n", before: staff(10, 0), now: staff(20, 0), want: []string{GuardPrivileged}},
		"Rule INC-4: the last administrator leaves the group":      {before: staff(10, 0), now: staff(10), want: []string{GuardRules}},
		"Rule INC-4: the last administrator is disabled":           {before: staff(10, 0), now: disabled(staff(10, 0), 0), want: []string{GuardRules}},
		"one of two administrators leaves":                         {before: staff(10, 0, 1), now: staff(10, 1)},
		"there was no administrator":                               {before: staff(10), now: staff(11)},
		"an administrator is disabled, and another one is enabled": {before: disabled(staff(10, 0, 1), 1), now: disabled(staff(10, 0, 1), 0)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, staffModel, staffRules+"guards:\n"+uncounted+c.guards)
			r.source.says(directory.Full, c.before)
			r.mustSync()
			r.source.says(directory.Full, c.now)
			require.ElementsMatch(t, c.want, r.guards())
		})
	}
}

// part leaves only the first n in "sales-all".
func part(p directory.Page, n int) directory.Page {
	p.Members[0].Add = p.Members[0].Add[:n]
	return p
}

func disabled(p directory.Page, i int) directory.Page {
	p.Upserts[i].Attributes[directory.AttrEnabled] = []string{"false"}
	return p
}

func TestRule_INC_4_nobody_can_accept_that_nobody_administers(t *testing.T) {
	rules := `
environments: {ambit: {}}
rules:
  - name: operators
    match: {source: corp, users: 'true'}
    user: {environment: ambit, business_unit: Ambit}
  - name: administrators
    match: {source: corp, group: admins}
    team: {environment: ambit, business_unit: Ambit, roles: [Ambit Administrator]}
guards:
` + uncounted
	r := newRig(t, staffModel, rules)
	r.source.says(directory.Full, staff(5, 0))
	r.mustSync()
	r.source.says(directory.Full, staff(5))
	report, err := r.sync.Plan(t.Context(), Options{})
	require.NoError(t, err)
	require.Contains(t, r.text(report.Plan), "would lose its last enabled user who holds System Administrator")
	require.NotContains(t, r.text(report.Plan), "If it is what you want")
	before := r.everything()
	_, err = r.sync.Sync(t.Context(), Options{Accept: report.Plan.Digest(), Reason: "I am sure"})
	require.ErrorIs(t, err, ErrHeld)
	require.Equal(t, before, r.everything())
}

func TestRule_SRC_8_a_read_that_lacks_most_of_the_source_is_refused_until_a_person_accepts_it(t *testing.T) {
	r := newRig(t, staffModel, strings.Replace(rulesFile, "has(user.ou)", `user.ou == "nowhere"`, 1))
	r.source.says(directory.Full, staff(60))
	r.mustSync()
	r.source.says(directory.Full, staff(40))
	r.mustSync()
	size := r.sync.Status().Sources[0].Objects
	require.Equal(t, 42, size, "a third may go, where the guards of what it makes let it")

	r.source.says(directory.Full, staff(10))
	_, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, ErrShrunken)
	require.ErrorContains(t, err, "the read lacks 30 of the 42 objects")
	require.ErrorContains(t, err, "ambit sync --accept-read corp --reason WHY")
	status := r.sync.Status().Sources[0]
	require.Equal(t, size, status.Objects)
	require.Equal(t, StateFailed, status.State)
	r.restart()
	_, err = r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, ErrShrunken, "after a restart, too")

	_, err = r.sync.Sync(t.Context(), Options{AcceptReads: []directory.SourceID{"corp"}})
	require.ErrorIs(t, err, ErrNoReason)
	_, err = r.sync.Sync(t.Context(), Options{AcceptReads: []directory.SourceID{"nosuch"}, Reason: "sold"})
	require.ErrorContains(t, err, `there is no source "nosuch"`)
	_, err = r.sync.Sync(t.Context(), Options{AcceptReads: []directory.SourceID{"corp"}, Reason: "a subsidiary was sold"})
	require.NoError(t, err)
	require.Equal(t, 12, r.sync.Status().Sources[0].Objects)
	r.mustSync()
}

func TestRule_PLAN_6_whoever_accepts_says_why_and_does_not_wait_too_long(t *testing.T) {
	r := newRig(t, staffModel, staffRules+"guards:\n"+strings.Replace(uncounted, "remove_members: {max: 100000", "remove_members: {max: 0", 1)+"  accept_within: 2h\n")
	now := time.Now()
	r.sync.now = func() time.Time { return now }
	r.source.says(directory.Full, staff(10, 0))
	r.mustSync()
	r.source.says(directory.Full, part(staff(10, 0), 9))
	report, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, ErrHeld)
	digest, admin := report.Plan.Digest(), audit.Actor{Kind: audit.User, ID: "x"}
	accept := func(reason string) error {
		_, err := r.sync.Sync(t.Context(), Options{Accept: digest, Reason: reason, Actor: admin})
		return err
	}
	require.ErrorIs(t, accept(" "), ErrNoReason)
	require.Equal(t, PlanHeld, r.sync.Status().Plan.State)

	now = now.Add(3 * time.Hour)
	before := r.everything()
	err = accept("it is meant")
	require.ErrorIs(t, err, ErrExpired)
	require.ErrorContains(t, err, "more than 2h0m0s ago")
	require.Equal(t, before, r.everything())
	require.Equal(t, audit.Held, r.events()[0].Result, "held anew")
	require.Equal(t, admin, r.events()[0].Actor)

	now = now.Add(time.Hour)
	require.NoError(t, accept("it is meant"))
	require.Equal(t, "it is meant", r.events()[0].Reason)
}
