package dirsync

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const modelFile = `
environments:
  sales:
    business_units: {HQ: {units: {North: {}, South: {}}}}
    tables: {account: {ownership: user_or_team}}
    roles:
      Salesperson: {privileges: {account: {all: user, read: business_unit}}}
      Manager: {privileges: {account: {write: parent_child}}}
    teams:
      Deal desk: {business_unit: HQ, members: [ann], roles: [Salesperson]}
    assignments:
      - {role: Manager, user: bob}
`

const rulesFile = `
environments: {sales: {}}
rules:
  - name: people
    match: {source: corp, users: 'has(user.ou)'}
    user: {environment: sales, business_unit: '{{ user.ou }}', manager: '{{ user.manager }}'}
  - name: teams
    match: {source: corp, group: 'sales-*'}
    team: {environment: sales, business_unit: North, roles: [Salesperson]}
`

// wide lets everything pass, for tests that are about something else.
const wide = `
guards:
  remove_members: {max: 100000, max_share: 1}
  remove_roles: {max: 100000, max_share: 1}
  remove_teams: {max: 100000, max_share: 1}
  remove_users: {max: 100000, max_share: 1}
  shut_out_users: {max: 100000, max_share: 1}
  empty_team: 100000
  team_share: 1
  privileged: {max: 100000}
  shrunken_read: 1
  protected: {roles: []}
`

// fake is a source that does what a test says.
type fake struct {
	mu    sync.Mutex
	read  func(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error
	calls []directory.Start
}

func (f *fake) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	f.mu.Lock()
	f.calls = append(f.calls, start)
	read := f.read
	f.mu.Unlock()
	return read(ctx, start, begin, yield)
}

func (f *fake) Probe(context.Context) ([]string, error) { return nil, nil }

// says makes the source answer with these pages and be complete.
func (f *fake) says(mode directory.Mode, pages ...directory.Page) {
	f.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		if err := begin(mode); err != nil {
			return err
		}
		for _, p := range pages {
			if err := yield(p); err != nil {
				return err
			}
		}
		return yield(directory.Page{Complete: true})
	})
}

func (f *fake) does(read func(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = read
}

// rig is a synchronization with a real store, and one source unless told
// otherwise.
type rig struct {
	t      testing.TB
	db     *sqlstore.DB
	tenant *tenant.Tenant
	source *fake
	sync   *Syncer
	model  string
	rules  string
	log    *bytes.Buffer
}

func newRig(t testing.TB, modelText, rulesText string) *rig {
	r := &rig{t: t, db: openStore(t), source: &fake{}, model: modelText, rules: rulesText, log: &bytes.Buffer{}}
	var err error
	r.tenant, err = tenant.Open(t.Context(), r.db, tenant.Options{})
	require.NoError(t, err)
	r.restart()
	return r
}

// restart begins anew with what the store has.
func (r *rig) restart() {
	r.sync = New(r.db, r.tenant, r.config(), SyncerOptions{Logger: slog.New(slog.NewTextHandler(r.log, nil))})
}

func (r *rig) config() Config {
	m, err := model.Parse("model.yaml", []byte(r.model))
	require.NoError(r.t, err)
	c := Config{Model: m, Sources: []Source{{ID: "corp", Reader: r.source}}}
	if r.rules != "" {
		f, err := mapping.Parse("mapping.yaml", []byte(r.rules))
		require.NoError(r.t, err)
		require.NoError(r.t, r.tenant.Read(func(v tenant.View) error {
			c.Rules, err = f.Compile(mapping.Names{Sources: []directory.SourceID{"corp", "cloud"}, Environments: Names(m, v)})
			return err
		}))
	}
	return c
}

// company is a small source: ann, bob and eve, two of them in a team.
func company() []directory.Page {
	return []directory.Page{{
		Upserts: []directory.Upsert{
			user("a", "cn=ann", directory.AttrUserName, "ann", "ou", "North", directory.AttrManager, "dn:cn=eve"),
			user("b", "cn=bob", directory.AttrUserName, "bob", "ou", "South"),
			user("e", "cn=eve", directory.AttrUserName, "eve", "ou", "HQ"),
			group("g", "cn=g", directory.AttrDisplayName, "sales-north"),
		},
		Members: []directory.Members{whole("g", "dn:cn=ann", "dn:cn=bob")},
	}}
}

func (r *rig) mustSync() Report {
	r.t.Helper()
	report, err := r.sync.Sync(r.t.Context(), Options{})
	require.NoError(r.t, err)
	return report
}

// lines are the environment's objects that files and the mapping made.
func (r *rig) lines(kinds ...access.Kind) []string {
	out := []string{}
	require.NoError(r.t, r.tenant.Read(func(v tenant.View) error {
		s, err := v.State("sales")
		if err != nil {
			return nil
		}
		ours(s, func(o access.Object) {
			if slices.Contains(kinds, o.ObjectKind()) {
				out = append(out, o.ObjectKey())
			}
		})
		return nil
	}))
	slices.Sort(out)
	return out
}

// everything is the whole state in bytes.
func (r *rig) everything() string {
	var b strings.Builder
	require.NoError(r.t, r.tenant.Read(func(v tenant.View) error {
		for _, env := range v.Environments() {
			s, _ := v.State(env)
			var lines []string
			all := func(o access.Object) { lines = append(lines, o.ObjectKind().String()+" "+string(encode(o))) }
			all(s.Environment)
			for _, o := range s.BusinessUnits {
				all(o)
			}
			for _, o := range s.Tables {
				all(o)
			}
			for _, o := range s.Roles {
				all(o)
			}
			for _, o := range s.Users {
				all(o)
			}
			for _, o := range s.Teams {
				all(o)
			}
			for _, o := range s.Memberships {
				all(o)
			}
			for _, o := range s.Assignments {
				all(o)
			}
			slices.Sort(lines)
			b.WriteString(strings.Join(lines, "\n") + "\n")
		}
		return nil
	}))
	return b.String()
}

func (r *rig) text(p *Plan) string {
	var b strings.Builder
	require.NoError(r.t, p.WriteText(&b, noon))
	return b.String()
}

func (r *rig) events() []audit.Event {
	events, err := r.db.Audit(r.t.Context(), store.AuditQuery{Operation: "sync."})
	require.NoError(r.t, err)
	return events
}

func TestSync(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)

	report := r.mustSync()
	require.True(t, report.Applied)
	require.Equal(t, []string{"corp:a", "corp:b", "corp:e"}, r.lines(access.KindUser))
	require.Len(t, r.lines(access.KindMembership), 3, "two by group, one by file")
	require.Len(t, r.lines(access.KindAssignment), 3, "of the group's team, the file's team and bob")
	require.NoError(t, r.tenant.Read(func(v tenant.View) error {
		s, err := v.State("sales")
		require.NoError(t, err)
		require.Equal(t, access.UserID("corp:e"), s.Users["corp:a"].Manager)
		return nil
	}))
	require.Len(t, r.events(), 1)
	require.Equal(t, "sync.plan.applied", r.events()[0].Operation)
	require.Equal(t, audit.Done, r.events()[0].Result)

	t.Run("a second one changes nothing and says so", func(t *testing.T) {
		report := r.mustSync()
		require.True(t, report.Plan.Empty())
		require.False(t, report.Applied)
		require.Contains(t, r.text(report.Plan), "Nothing to change")
		require.Len(t, r.events(), 1)
	})

	t.Run("nor does a first one after a restart", func(t *testing.T) {
		r.restart()
		require.True(t, r.mustSync().Plan.Empty())
	})

	t.Run("who leaves a group loses the membership, and nothing else changes", func(t *testing.T) {
		pages := company()
		pages[0].Members = []directory.Members{whole("g", "dn:cn=ann")}
		r.source.says(directory.Full, pages...)
		report := r.mustSync()
		require.Equal(t, Counts{Delete: 1}, report.Plan.Counts())
		require.Contains(t, r.text(report.Plan), "- membership bob in sales-north\n")
	})

	t.Run("a plan that is only printed changes nothing", func(t *testing.T) {
		r.source.says(directory.Full, company()...)
		revision := r.tenant.Revision()
		report, err := r.sync.Plan(t.Context(), Options{})
		require.NoError(t, err)
		require.Equal(t, Counts{Create: 1}, report.Plan.Counts())
		again, err := r.sync.Plan(t.Context(), Options{})
		require.NoError(t, err)
		require.Equal(t, r.text(report.Plan), r.text(again.Plan))
		require.Equal(t, report.Plan.Digest(), again.Plan.Digest())
		require.Equal(t, revision, r.tenant.Revision())
		require.Equal(t, report.Plan.Digest(), r.mustSync().Plan.Digest(), "and it is the one that is applied")
	})
}

func TestPlan_text_and_JSON(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	report, err := r.sync.Plan(t.Context(), Options{})
	require.NoError(t, err)
	text := r.text(report.Plan)
	require.Contains(t, text, "Environment sales (new)\n")
	require.Contains(t, text, "  + business unit North\n")
	require.Contains(t, text, "  + user ann (unit north)\n")
	require.Contains(t, text, "  + membership ann in sales-north\n")
	require.Contains(t, text, "  + assignment Salesperson to sales-north (unit north)\n")

	b, err := report.Plan.JSON(noon)
	require.NoError(t, err)
	var got struct {
		Digest  string
		Held    bool
		Counts  map[string]map[string]Counts
		Changes []struct{ Operation, Environment, Kind, Key, Name string }
		Access  []struct{ Environment string }
	}
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, report.Plan.Digest(), got.Digest)
	require.Equal(t, Counts{Create: 3}, got.Counts["sales"]["user"])
	require.Len(t, got.Changes, report.Plan.Len())

	t.Run("a name cannot forge a line or steer the terminal", func(t *testing.T) {
		r.source.says(directory.Full, directory.Page{Upserts: []directory.Upsert{
			user("a", "cn=ann", directory.AttrUserName, "ann\n  + user mallory\x1b[2J", "ou", "North"),
		}})
		report, err := r.sync.Plan(t.Context(), Options{})
		require.NoError(t, err)
		text := r.text(report.Plan)
		require.NotContains(t, text, "\x1b")
		require.NotContains(t, text, "\n  + user mallory")
	})
}

func TestRule_REL_4_nobody_loses_access_because_a_source_could_not_be_read(t *testing.T) {
	type read = func(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error
	failing := func(err error) read {
		return func(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error {
			return err
		}
	}
	cut := func(mode directory.Mode, err error, pages ...directory.Page) read {
		return func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
			if err := begin(mode); err != nil {
				return err
			}
			for _, p := range pages {
				if err := yield(p); err != nil {
					return err
				}
			}
			return err
		}
	}
	empty := company()[0]
	empty.Members = []directory.Members{whole("g")}
	for name, c := range map[string]struct {
		read read
		is   error
	}{
		"unreachable":                         {failing(directory.ErrUnreachable), directory.ErrUnreachable},
		"wrong password (INC-2)":              {failing(directory.ErrAuth), directory.ErrAuth},
		"throttled":                           {failing(&directory.Throttled{RetryAfter: time.Minute}), nil},
		"cut before the first page":           {cut(directory.Full, directory.ErrIncomplete), directory.ErrIncomplete},
		"cut in mid-page":                     {cut(directory.Full, directory.ErrIncomplete, directory.Page{Upserts: company()[0].Upserts[:1]}), directory.ErrIncomplete},
		"cut after an empty group":            {cut(directory.Full, directory.ErrIncomplete, empty), directory.ErrIncomplete},
		"ends without an error, not complete": {cut(directory.Full, nil, empty), directory.ErrIncomplete},
		"a delta cut after removals": {cut(directory.Delta, directory.ErrIncomplete, directory.Page{
			Removed: []directory.ObjectID{"a"}, Members: []directory.Members{{Group: "g", Remove: []directory.Ref{"dn:cn=bob"}}},
		}), directory.ErrIncomplete},
		"the cursor and everything else expired": {failing(directory.ErrCursorExpired), directory.ErrCursorExpired},
		"a complete empty base":                  {cut(directory.Full, nil, directory.Page{Complete: true}), ErrHeld},
		"a complete empty group":                 {cut(directory.Full, nil, empty, directory.Page{Complete: true}), ErrHeld},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, modelFile, rulesFile+"guards: {empty_team: 2}\n")
			r.source.says(directory.Full, company()...)
			r.mustSync()
			was := r.everything()
			r.source.does(c.read)
			for range 3 {
				_, err := r.sync.Sync(t.Context(), Options{})
				require.Error(t, err)
				if c.is != nil {
					require.ErrorIs(t, err, c.is)
				}
				require.Equal(t, was, r.everything())
			}
			r.restart()
			_, err := r.sync.Sync(t.Context(), Options{})
			require.Error(t, err)
			require.Equal(t, was, r.everything())
			// And when it is back, nothing has happened.
			r.source.says(directory.Full, company()...)
			require.True(t, r.mustSync().Plan.Empty())
		})
	}
}

func TestRule_REL_4_a_source_that_was_never_read_takes_nothing_away_and_keeps_no_other_waiting(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	was := r.everything()
	// The mirror is lost, and the source cannot be read.
	require.NoError(t, r.db.DropMirror(t.Context(), "corp"))
	r.restart()
	r.source.does(func(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error {
		return directory.ErrUnreachable
	})
	report, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.NotErrorIs(t, err, ErrHeld)
	require.Equal(t, was, r.everything())
	require.Contains(t, r.text(report.Plan), `objects from source "corp" stay: it has not been read to its end yet`)
}

func TestSync_held(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+"guards: {empty_team: 2}\n")
	r.source.says(directory.Full, company()...)
	r.mustSync()
	was := r.everything()
	pages := company()
	pages[0].Members = []directory.Members{whole("g")}
	pages[0].Upserts[1] = user("b", "cn=bob", directory.AttrUserName, "robert", "ou", "South")
	r.source.says(directory.Full, pages...)

	report, err := r.sync.Sync(t.Context(), Options{})
	held := (*Held)(nil)
	require.ErrorAs(t, err, &held)
	require.ErrorContains(t, err, `environment sales: team "sales-north" would lose all of its 2 members`)
	require.Contains(t, held.Hint(), "ambit sync --accept-plan sha256:")
	require.Contains(t, r.text(report.Plan), "This plan is held; nothing of it is applied:")
	require.Equal(t, was, r.everything(), "it is held whole")
	require.Equal(t, PlanHeld, r.sync.Status().Plan.State)

	t.Run("the audit log is told once", func(t *testing.T) {
		for range 3 {
			_, err := r.sync.Sync(t.Context(), Options{})
			require.ErrorIs(t, err, ErrHeld)
		}
		r.restart()
		_, err := r.sync.Sync(t.Context(), Options{})
		require.ErrorIs(t, err, ErrHeld)
		events := r.events()
		require.Len(t, events, 2)
		require.Equal(t, audit.Held, events[0].Result)
		require.Equal(t, "plan/"+held.Digest, events[0].Object)
	})

	t.Run("another plan cannot be accepted", func(t *testing.T) {
		_, err := r.sync.Sync(t.Context(), Options{Accept: "sha256:00"})
		require.ErrorIs(t, err, ErrOtherPlan)
		require.ErrorIs(t, err, ErrHeld)
		require.Equal(t, was, r.everything())
	})

	t.Run("this one can, and the log has who did", func(t *testing.T) {
		_, err := r.sync.Sync(t.Context(), Options{Accept: held.Digest, Reason: "the team was dissolved", Actor: audit.Actor{Kind: audit.Local, ID: "root"}})
		require.NoError(t, err)
		require.Len(t, r.lines(access.KindMembership), 1)
		e := r.events()[0]
		require.Equal(t, "sync.plan.accepted", e.Operation)
		require.Equal(t, "root", e.Actor.ID)
		require.Equal(t, "the team was dissolved", e.Reason)
		require.Equal(t, PlanApplied, r.sync.Status().Plan.State)
		require.True(t, r.mustSync().Plan.Empty())
	})
}

func TestSync_leaves_what_it_did_not_make(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	commit := func(changes ...access.Change) {
		_, err := r.tenant.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
			return tenant.Changeset{Changes: changes, Events: []audit.Event{{Actor: audit.Actor{Kind: audit.User, ID: "x"}, Operation: "test", Result: audit.Done}}}, nil
		})
		require.NoError(t, err)
	}
	r.source.says(directory.Full, company()...)
	r.mustSync()
	commit(access.Put(access.Team{Environment: "sales", ID: "mine", Name: "Mine", BusinessUnit: "hq", ManagedBy: access.ByAPI}),
		access.Put(access.Membership{Environment: "sales", Team: "mine", User: "corp:a", ManagedBy: access.ByAPI}),
		access.Put(access.User{Environment: "sales", ID: "corp:z", Login: "zoe", Name: "Zoe", BusinessUnit: "hq", Enabled: true, ManagedBy: access.ByAPI}))

	t.Run("nothing of it goes", func(t *testing.T) {
		require.True(t, r.mustSync().Plan.Empty())
	})

	t.Run("what the mapping wants under the same id is a finding, and the rest goes on", func(t *testing.T) {
		pages := company()
		pages[0].Upserts = append(pages[0].Upserts, user("z", "cn=zoe", directory.AttrUserName, "zoe", "ou", "North"), user("f", "cn=fay", directory.AttrUserName, "fay", "ou", "North"))
		r.source.says(directory.Full, pages...)
		report := r.mustSync()
		require.Equal(t, Counts{Create: 1}, report.Plan.Counts())
		require.Contains(t, r.text(report.Plan), "user corp:z exists and is managed by api; it stays as it is")
		require.Contains(t, r.text(r.mustSync().Plan), "managed by api", "it is told as long as it is so")
	})

	t.Run("what others take away of the mapping's comes back", func(t *testing.T) {
		var m access.Object
		require.NoError(t, r.tenant.Read(func(v tenant.View) error {
			s, _ := v.State("sales")
			for _, o := range s.Memberships {
				if o.ManagedBy == access.ByMapping {
					m = o
				}
			}
			return nil
		}))
		commit(access.Remove(m))
		require.Equal(t, Counts{Create: 1}, r.mustSync().Plan.Counts())
	})

	t.Run("when its user goes, what was given to the user goes along and is shown", func(t *testing.T) {
		pages := company()
		pages[0].Upserts = pages[0].Upserts[1:]
		r.source.says(directory.Full, pages...)
		report := r.mustSync()
		require.Contains(t, r.text(report.Plan), "- membership ann in Mine (follows from another change)")
	})
}

func TestSync_leaves_out_what_breaks_a_rule(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	_, err := r.tenant.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
		return tenant.Changeset{Changes: []access.Change{access.Put(access.User{
			Environment: "sales", ID: "made", Login: "Made", Name: "Made", BusinessUnit: "north", Enabled: true, ManagedBy: access.ByAPI,
		})}, Events: []audit.Event{{Operation: "test", Result: audit.Done}}}, nil
	})
	require.NoError(t, err)
	// The files take away the unit in which somebody else put a user.
	r.model = strings.ReplaceAll(modelFile, "North: {}, ", "")
	r.rules = strings.ReplaceAll(rulesFile, "North", "South") + wide
	pages := company()
	pages[0].Upserts[0] = user("a", "cn=ann", directory.AttrUserName, "ann", "ou", "South")
	pages[0].Upserts = append(pages[0].Upserts, user("f", "cn=fay", directory.AttrUserName, "fay", "ou", "South"))
	r.source.says(directory.Full, pages...)
	r.sync.Replace(r.config())
	report := r.mustSync()
	text := r.text(report.Plan)
	require.Contains(t, text, "left out of the plan: business_unit north")
	require.Contains(t, r.lines(access.KindUser), "corp:f", "the others are brought up to date all the same")
	require.Contains(t, r.lines(access.KindBusinessUnit), "north")
}

func TestGuards(t *testing.T) {
	many := func(n int, edit func(i int, u *directory.Upsert)) []directory.Page {
		p := directory.Page{Upserts: []directory.Upsert{group("g", "", directory.AttrDisplayName, "sales-all"), group("h", "", directory.AttrDisplayName, "sales-few")}}
		all, few := whole("g"), whole("h")
		for i := range n {
			u := user(fmt.Sprintf("u%03d", i), "", directory.AttrUserName, fmt.Sprintf("user%03d", i), "ou", "North")
			if edit != nil {
				edit(i, &u)
			}
			if u.ID != "" {
				p.Upserts = append(p.Upserts, u)
			}
			all.Add = append(all.Add, directory.ByID(directory.ObjectID(fmt.Sprintf("u%03d", i))))
			if i < 4 {
				few.Add = append(few.Add, directory.ByID(directory.ObjectID(fmt.Sprintf("u%03d", i))))
			}
		}
		p.Members = []directory.Members{all, few}
		return []directory.Page{p}
	}
	without := func(n, gone int) []directory.Page {
		return many(n, func(i int, u *directory.Upsert) {
			if i >= n-gone {
				u.ID = ""
			}
		})
	}
	assignable := directory.Page{Upserts: []directory.Upsert{group("g", "", directory.AttrDisplayName, "sales-all", directory.AttrRoleAssignable, "true")}}
	for name, c := range map[string]struct {
		assignable bool // the group g
		guards     string
		now        []directory.Page
		model      func(string) string
		rules      func(string) string
		want       []string // guards; none: applied
	}{
		"three users of a hundred may go":                                         {now: without(100, 3)},
		"eleven users are more than ten":                                          {now: without(100, 11), want: []string{GuardMembers, GuardUsers}},
		"six of a hundred are more than a share of 0.05":                          {now: without(100, 6), want: []string{GuardMembers, GuardUsers}},
		"the file's limits count":                                                 {guards: "{remove_users: {max: 0}}", now: without(100, 1), want: []string{GuardUsers}},
		"a group that is gone (INC-1)":                                            {now: []directory.Page{{Upserts: many(100, nil)[0].Upserts[1:], Members: many(100, nil)[0].Members[1:]}}, want: []string{GuardEmptyTeam, GuardMembers}},
		"a group that is suddenly empty":                                          {now: []directory.Page{{Upserts: many(100, nil)[0].Upserts, Members: append(many(100, nil)[0].Members[:1:1], whole("h"))}}, want: []string{GuardEmptyTeam}},
		"a group whose members are replaced whole":                                {now: []directory.Page{{Upserts: many(100, nil)[0].Upserts, Members: append(many(100, nil)[0].Members[:1:1], whole("h", "id:u050"))}}, want: []string{GuardTeamShare}},
		"users who stay and are disabled (INC-5)":                                 {now: many(100, func(i int, u *directory.Upsert) { u.Attributes[directory.AttrEnabled] = []string{fmt.Sprint(i > 20)} }), want: []string{GuardShutOut}},
		"a protected user goes":                                                   {guards: "{protected: {users: [USER099]}}", now: without(100, 1), want: []string{GuardProtected, GuardProtected}},
		"a protected user is disabled":                                            {guards: "{protected: {users: [user000]}}", now: many(100, func(i int, u *directory.Upsert) { u.Attributes[directory.AttrEnabled] = []string{fmt.Sprint(i > 0)} }), want: []string{GuardProtected}},
		"a protected team loses a member":                                         {guards: "{protected: {teams: [Sales-All]}}", now: without(100, 1), want: []string{GuardProtected}},
		"Rule GRAPH-30: a group that can hold administrator roles loses a member": {assignable: true, now: without(100, 1), want: []string{GuardProtected}},
		"a protected role is taken from somebody": {guards: "{protected: {roles: [Manager]}}", now: many(100, nil), model: func(m string) string {
			return strings.ReplaceAll(m, "- {role: Manager, user: user001}", "- {role: Manager, user: user002}")
		}, want: []string{GuardProtected}},
		"the files do not declare the environment any more": {now: many(100, nil), model: func(m string) string { return "environments: {other: {business_units: {HQ: {}}}}" }, rules: func(string) string { return "" }, want: []string{GuardEmptyTeam, GuardEmptyTeam, GuardProtected, GuardEnvironment, GuardMembers, GuardRoles, GuardUsers}},
		"Rule ESG-4: a new security group would shut everybody out": {now: append(many(100, nil), directory.Page{Upserts: []directory.Upsert{group("s", "", directory.AttrDisplayName, "Gate")}, Members: []directory.Members{whole("s", "id:u001")}}), rules: func(r string) string {
			return strings.ReplaceAll(r, "{sales: {}}", "{sales: {security_group: {source: corp, group: Gate}}}")
		}, want: []string{GuardShutOut}},
	} {
		t.Run(name, func(t *testing.T) {
			rules := rulesFile
			if c.guards != "" {
				rules += "guards: " + c.guards + "\n"
			}
			r := newRig(t, strings.ReplaceAll(strings.ReplaceAll(modelFile, "ann", "user000"), "bob", "user001"), rules)
			then := many(100, nil)
			if c.assignable {
				then, c.now = append(then, assignable), append(c.now, assignable)
			}
			r.source.says(directory.Full, then...)
			r.mustSync()
			was := r.everything()
			if c.model != nil {
				r.model = c.model(r.model)
			}
			if c.rules != nil {
				r.rules = c.rules(r.rules)
			}
			r.sync.Replace(r.config())
			r.source.says(directory.Full, c.now...)
			report, err := r.sync.Sync(t.Context(), Options{})
			got := []string{}
			for _, v := range report.Plan.Violations {
				got = append(got, v.Guard)
			}
			if len(c.want) == 0 {
				require.NoError(t, err)
				require.Empty(t, got)
				require.NotEqual(t, was, r.everything())
				return
			}
			require.ErrorIs(t, err, ErrHeld)
			require.Equal(t, was, r.everything())
			if len(c.want) > 0 {
				require.Equal(t, c.want, got, "%v", report.Plan.Violations)
			}
		})
	}
}

func TestRule_ESG_6_a_security_group_that_is_suddenly_empty_or_gone_shuts_nobody_out(t *testing.T) {
	rules := strings.ReplaceAll(rulesFile, "{sales: {}}", "{sales: {security_group: {source: corp, group: Gate}}}")
	for name, gate := range map[string]directory.Page{
		"gone":  {},
		"empty": {Upserts: []directory.Upsert{group("s", "", directory.AttrDisplayName, "Gate")}, Members: []directory.Members{whole("s")}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, modelFile, rules+wide)
			full := directory.Page{Upserts: []directory.Upsert{group("s", "", directory.AttrDisplayName, "Gate")}, Members: []directory.Members{whole("s", "dn:cn=ann")}}
			r.source.says(directory.Full, append(company(), full)...)
			r.mustSync()
			was := r.everything()
			// Somebody else's change would go along: the plan is held all the same.
			pages := company()
			pages[0].Members = []directory.Members{whole("g", "dn:cn=ann")}
			r.source.says(directory.Full, append(pages, gate)...)
			_, err := r.sync.Sync(t.Context(), Options{})
			require.ErrorIs(t, err, ErrHeld)
			require.ErrorContains(t, err, "admits nobody")
			require.Equal(t, was, r.everything())
		})
	}
}

func TestRule_GRAPH_32_a_plan_says_by_which_path_somebody_gets_in(t *testing.T) {
	r := newRig(t, modelFile, strings.ReplaceAll(rulesFile, "{sales: {}}", "{sales: {security_group: {source: corp, group: Gate, nested: all}}}")+wide)
	gate := func(direct, nested directory.Members) directory.Page {
		return directory.Page{
			Upserts: []directory.Upsert{group("s", "", directory.AttrDisplayName, "Gate"), group("in", "", directory.AttrDisplayName, "Inner")},
			Members: []directory.Members{direct, nested},
		}
	}
	r.source.says(directory.Full, append(company(), gate(whole("s", "dn:cn=ann", "id:in"), whole("in", "dn:cn=bob")))...)
	report := r.mustSync()
	require.Contains(t, r.text(report.Plan), "+ user ann (unit north, admitted as a direct member)\n")
	require.Contains(t, r.text(report.Plan), "+ user bob (unit south, admitted through Inner)\n")
	// It is told when only the path is another.
	r.source.says(directory.Full, append(company(), gate(whole("s", "dn:cn=bob", "id:in"), whole("in", "dn:cn=ann")))...)
	report = r.mustSync()
	require.Contains(t, r.text(report.Plan), "~ user ann (admitted through Inner)\n")
	require.Contains(t, r.text(report.Plan), "~ user bob (admitted as a direct member)\n")
}

func TestSync_one_source_down_leaves_the_others_going(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+`
  - name: cloud people
    match: {source: cloud, users: 'true'}
    user: {environment: sales, business_unit: South}
`)
	cloud := &fake{}
	cloud.does(func(context.Context, directory.Start, func(directory.Mode) error, func(directory.Page) error) error {
		return directory.ErrUnreachable
	})
	c := r.config()
	c.Sources = append(c.Sources, Source{ID: "cloud", Reader: cloud})
	r.sync.Replace(c)
	r.source.says(directory.Full, company()...)
	report, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.NotErrorIs(t, err, ErrHeld)
	require.True(t, report.Applied)
	require.Len(t, r.lines(access.KindUser), 3)
	status := r.sync.Status()
	require.Equal(t, StateFailed, status.Sources[0].State)
	require.Equal(t, 1, status.Sources[0].Failures)
	require.Contains(t, status.Sources[0].Error, "unreachable")
	require.Equal(t, StateWaiting, status.Sources[1].State)
	require.Equal(t, Size{Objects: 4, Edges: 2}, status.Sources[1].Size)
	require.False(t, status.Sources[1].Completed.IsZero())
	require.True(t, r.sync.Completed("cloud").IsZero())

	cloud.says(directory.Full, directory.Page{Upserts: []directory.Upsert{user("c", "", directory.AttrUserName, "cat", directory.AttrDisplayName, "C")}})
	r.mustSync()
	require.Contains(t, r.lines(access.KindUser), "cloud:c")

	t.Run("Rule REL-4: two sources that claim one person change nobody", func(t *testing.T) {
		cloud.says(directory.Full, directory.Page{Upserts: []directory.Upsert{user("c", "", directory.AttrUserName, "ann", directory.AttrDisplayName, "C")}})
		report := r.mustSync()
		require.Contains(t, r.text(report.Plan), `the login "ann" is taken: user corp:a has it`)
		require.True(t, report.Plan.Empty())
	})
}

func TestSync_asks_for_what_the_rules_name_and_resumes(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	var offset int
	r.source.does(func(_ context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		require.Equal(t, []string{"manager", "ou"}, start.Attributes)
		if err := begin(directory.Full); err != nil {
			return err
		}
		all := company()[0].Upserts
		for i := offset; i < len(all); i++ {
			if i == 2 && !start.Resumed {
				return directory.ErrUnreachable
			}
			if err := yield(directory.Page{Upserts: all[i : i+1], Cursor: fmt.Append(nil, i+1)}); err != nil {
				return err
			}
			offset = i + 1
		}
		return yield(directory.Page{Members: company()[0].Members, Complete: true, Cursor: []byte("end")})
	})
	_, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.Len(t, r.lines(access.KindUser), 2, "what was said counts at once")
	r.restart()
	r.mustSync()
	require.Equal(t, directory.Start{Cursor: []byte("2"), Attributes: []string{"manager", "ou"}, Resumed: true, Mirrored: map[directory.Kind]int{directory.KindUser: 2}}, r.source.calls[1])
	require.Len(t, r.lines(access.KindUser), 3)
	require.Len(t, r.lines(access.KindMembership), 3)
}

func TestRule_GRAPH_18_an_expired_cursor_means_a_full_round_that_removes_by_absence(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, append(company(), directory.Page{Cursor: []byte("c1")})...)
	r.mustSync()
	r.source.does(func(_ context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		if start.Cursor != nil {
			return directory.ErrCursorExpired
		}
		if err := begin(directory.Full); err != nil {
			return err
		}
		p := company()[0]
		p.Members = []directory.Members{members("g", "dn:cn=ann")}
		p.Complete, p.Cursor = true, []byte("c2")
		return yield(p)
	})
	report := r.mustSync()
	require.Equal(t, Counts{Delete: 1}, report.Plan.Counts())
	require.Equal(t, directory.Full, report.Sources[0].Mode)
}

func TestSync_another_process_leads(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	follower := &leading{DB: r.db}
	s := New(follower, r.tenant, r.config(), SyncerOptions{})
	_, err := s.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, ErrNotLeading)
	_, err = s.Plan(t.Context(), Options{})
	require.ErrorIs(t, err, ErrNotLeading)
	follower.fence = 7
	report, err := s.Sync(t.Context(), Options{})
	require.NoError(t, err)
	require.True(t, report.Plan.Empty(), "a new leader has what the store has")

	t.Run("Rule REL-6: who lost the lead in the middle of a round stores and commits nothing", func(t *testing.T) {
		r.source.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
			if err := begin(directory.Full); err != nil {
				return err
			}
			follower.fence = 8 // somebody else's
			return yield(directory.Page{Complete: true})
		})
		was, mirrored := r.everything(), stored(t, r.db, "corp")
		_, err := s.Sync(t.Context(), Options{})
		require.ErrorIs(t, err, store.ErrFenced)
		require.ErrorIs(t, err, ErrNotLeading)
		require.Equal(t, was, r.everything())
		require.Equal(t, mirrored, stored(t, r.db, "corp"))
		r.source.says(directory.Full, company()...)
		report, err := s.Sync(t.Context(), Options{})
		require.NoError(t, err)
		require.True(t, report.Plan.Empty())
	})
}

// leading is a store in which this process leads when fence is not zero.
type leading struct {
	*sqlstore.DB
	fence int64
}

func (l *leading) Lead(context.Context, string) (int64, bool, error) {
	return l.fence, l.fence != 0, nil
}

func (l *leading) CommitMirror(ctx context.Context, p store.MirrorPage) error {
	if p.Fence != l.fence {
		return store.ErrFenced
	}
	p.Fence = 0
	return l.DB.CommitMirror(ctx, p)
}

func TestSync_a_store_that_cannot_be_written_loses_nothing(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	st := &failing{DB: r.db, err: store.ErrReadOnly}
	r.sync = New(st, r.tenant, r.config(), SyncerOptions{})
	r.source.says(directory.Full, company()...)
	_, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, store.ErrReadOnly)
	st.err = nil
	r.mustSync()
	require.Len(t, r.lines(access.KindUser), 3)
	require.Equal(t, dump(r.sync.mirror, "corp"), stored(t, r.db, "corp"))
}

type failing struct {
	*sqlstore.DB
	err error
}

func (f *failing) CommitMirror(ctx context.Context, p store.MirrorPage) error {
	if f.err != nil {
		return f.err
	}
	return f.DB.CommitMirror(ctx, p)
}

func TestSync_an_unknown_source_is_refused(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	_, err := r.sync.Sync(t.Context(), Options{Sources: []directory.SourceID{"nope"}})
	require.ErrorContains(t, err, `there is no source "nope"`)
}

// chooser is a source with several ways of following its changes.
type chooser struct {
	*fake
	way string
}

func (c *chooser) Follows() string { return c.way }

func TestRule_LDAP_3_the_way_in_which_changes_are_followed_is_logged(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	source := &chooser{r.source, "content synchronisation"}
	c := r.config()
	c.Sources[0].Reader = source
	r.sync.Replace(c)
	logged := func() int { return strings.Count(r.log.String(), "changes are followed") }
	r.mustSync()
	r.mustSync()
	require.Equal(t, 1, logged(), "once")
	require.Contains(t, r.log.String(), `by="content synchronisation"`)
	source.way = "timestamps"
	r.mustSync()
	require.Equal(t, 2, logged())
	require.Contains(t, r.log.String(), `by=timestamps before="content synchronisation"`, "a weaker way is told of")
	require.Equal(t, "timestamps", r.sync.Status().Sources[0].Follows)
}
