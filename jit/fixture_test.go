package jit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
)

const env = access.EnvironmentID("contoso")

// noon is the instant at which the tests begin.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// world is one environment with the write path of package tenant in small: judge,
// expand, react, apply, count the revision.
type world struct {
	t       require.TestingT
	state   *access.State
	shot    *engine.Snapshot
	rev     access.Revision
	now     time.Time
	closed  map[string]Request
	events  []audit.Event
	persons bool
	ages    map[string]time.Duration
	n       int // ids given
}

func put[T access.Object](objects ...T) []access.Change {
	var out []access.Change
	for _, o := range objects {
		out = append(out, access.Put(o))
	}
	return out
}

// base is the organisation of the tests: contoso with the units europe and, below
// it, sales. Ann of team closers can ask for the role manager in sales; team
// deciders (bob, bea) approves.
func base() []access.Change {
	user := func(id string, unit access.BusinessUnitID) access.User {
		return access.User{
			Environment: env, ID: access.UserID(id), Login: id + "@contoso.example", Name: id, BusinessUnit: unit, Enabled: true,
			Licensed: true, Admitted: true, ManagedBy: access.ByMapping, Origin: access.Origin{Source: "ad", Object: id},
		}
	}
	ann, ann2, cleo := user("ann", "sales"), user("ann2", "sales"), user("cleo", "sales")
	ann.Person, ann2.Person, cleo.Person, ann.Manager = "p-ann", "p-ann", "p-cleo", "cleo"
	bob, bea, dan, zoe, sam := user("bob", "europe"), user("bea", "europe"), user("dan", "root"), user("zoe", "europe"), user("sam", "root")
	bob.Person, bea.Person, dan.Person, zoe.Person, sam.Person = "p-bob", "p-bea", "p-dan", "p-zoe", "p-sam"
	unit := func(id, parent access.BusinessUnitID) access.BusinessUnit {
		return access.BusinessUnit{Environment: env, ID: id, Name: string(id), Parent: parent, ManagedBy: access.ByFile}
	}
	table := func(id access.TableID) access.Table {
		return access.Table{Environment: env, ID: id, Name: string(id), Ownership: access.UserOrTeam, ManagedBy: access.ByFile}
	}
	role := func(id access.RoleID, privileges ...access.Privilege) access.Role {
		return access.Role{Environment: env, ID: id, Name: string(id), BusinessUnit: "root", Privileges: privileges, ManagedBy: access.ByFile}
	}
	team := func(id access.TeamID) access.Team {
		return access.Team{
			Environment: env, ID: id, Name: string(id), BusinessUnit: "root", ManagedBy: access.ByMapping,
			Type: access.SecurityGroupTeam, Group: &access.GroupLink{GroupRef: access.GroupRef{Source: "ad", Group: string(id)}},
		}
	}
	member := func(t access.TeamID, u access.UserID) access.Membership {
		return access.Membership{Environment: env, Team: t, User: u, ManagedBy: access.ByMapping, Origin: access.Origin{Source: "ad", Object: string(t)}}
	}
	assign := func(id access.AssignmentID, role access.RoleID, p access.Principal, unit access.BusinessUnitID) access.Assignment {
		return access.Assignment{Environment: env, ID: id, Role: role, Principal: p, BusinessUnit: unit, ManagedBy: access.ByFile}
	}
	admin := role("sysadmin")
	admin.All = true
	return slices.Concat(
		put(access.Environment{ID: env, Name: "Contoso", ManagedBy: access.ByFile}),
		put(unit("root", ""), unit("europe", "root"), unit("sales", "europe"), unit("asia", "root")),
		put(table("account"), table("role"), table("team")),
		put(role("reader", access.Privilege{Table: "account", Action: access.Read, Depth: access.Basic}),
			role("manager", access.Privilege{Table: "account", Action: access.Read, Depth: access.Deep}, access.Privilege{Table: "account", Action: access.Write, Depth: access.Local}),
			role("giver", access.Privilege{Table: "role", Action: access.Assign, Depth: access.Local}),
			role("decider"), admin),
		put(ann, ann2, bob, bea, cleo, dan, zoe, sam),
		put(team("closers"), team("deciders")),
		put(member("closers", "ann"), member("closers", "ann2"), member("deciders", "bob"), member("deciders", "bea")),
		put(assign("a-ann", "reader", access.UserID("ann").Principal(), "sales"), assign("a-ann2", "reader", access.UserID("ann2").Principal(), "sales"),
			assign("a-cleo", "reader", access.UserID("cleo").Principal(), "sales"), assign("a-sam", "sysadmin", access.UserID("sam").Principal(), "root")),
		put(basePolicy()),
	)
}

// basePolicy lets team closers have role manager in the subtree of europe, with
// one approval by team deciders.
func basePolicy() Policy {
	return Policy{
		Environment: env, ID: "managers", Version: 1, Role: "manager", Scope: Scope{BusinessUnit: "europe", Subtree: true},
		Eligible: []Subject{{Team: "closers"}}, Stages: []Stage{{Approvers: []Subject{{Team: "deciders"}}}},
		JustificationMin: 10, ManagedBy: access.ByFile,
	}.Defaults()
}

func newWorld(t require.TestingT, more ...access.Change) *world {
	w := &world{
		t: t, state: access.NewState(env), now: noon, closed: map[string]Request{}, persons: true,
		ages: map[string]time.Duration{"ad": time.Minute},
	}
	var err error
	w.shot, err = engine.New(w.state, 0)
	require.NoError(t, err)
	w.must(base()...)
	if len(more) > 0 {
		w.must(more...)
	}
	w.events = nil
	return w
}

// fork copies the world, so that a test can go two ways from one place.
func (w *world) fork() *world {
	c := *w
	c.state = access.NewState(env)
	c.state.Apply(access.Put(w.state.Environment))
	apply(c.state, w.state.BusinessUnits)
	apply(c.state, w.state.Tables)
	apply(c.state, w.state.Roles)
	apply(c.state, w.state.Users)
	apply(c.state, w.state.Teams)
	apply(c.state, w.state.Memberships)
	apply(c.state, w.state.Assignments)
	apply(c.state, w.state.Others)
	c.closed, c.events = maps.Clone(w.closed), slices.Clone(w.events)
	return &c
}

func apply[K comparable, V access.Object](s *access.State, m map[K]V) {
	for _, o := range m {
		s.Apply(access.Put(o))
	}
}

func (w *world) view() View {
	return View{
		State: w.state, Snapshot: w.shot, Persons: w.persons,
		DirectoryAge: func(source string) (time.Duration, bool) { age, ok := w.ages[source]; return age, ok },
		Closed:       func(id string) (Request, bool) { r, ok := w.closed[id]; return r, ok },
	}
}

// commit does what package tenant does with a changeset.
func (w *world) commit(changes []access.Change, events []audit.Event) error {
	if len(changes) == 0 {
		w.events = append(w.events, events...)
		return nil
	}
	full, err := w.state.Expand(changes)
	if err != nil {
		return err
	}
	more, told, err := React(w.state, full, w.now)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		if full, err = w.state.Expand(append(full, more...)); err != nil {
			return err
		}
	}
	if w.shot, err = w.shot.Apply(full, w.rev+1); err != nil {
		return err
	}
	w.rev++
	w.state.Apply(full...)
	for _, c := range full {
		if r, ok := c.Object.(Request); ok && r.Closed() {
			w.closed[r.ID] = r
		}
	}
	w.events = append(append(w.events, events...), told...)
	return nil
}

func (w *world) must(changes ...access.Change) {
	require.NoError(w.t, w.commit(changes, nil))
}

func (w *world) id(kind string) string {
	w.n++
	return fmt.Sprintf("%s_%03d", kind, w.n)
}

// who makes a caller; dan is Elevation Administrator, olga Auditor.
func who(u access.UserID) Caller {
	c := Caller{User: u, Actor: audit.Actor{Kind: audit.User, ID: string(u)}}
	c.Admin, c.Auditor = u == "dan", u == "olga"
	return c
}

// do judges an event and commits what it makes; a refusal is committed as its
// audit event and returned.
func (w *world) do(e Event) (Outcome, *Refusal) {
	out, err := Step(w.view(), e, w.now)
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		require.NoError(w.t, err)
	} else {
		require.Empty(w.t, out.Changes, "a refusal changes nothing")
		require.Len(w.t, out.Events, 1)
	}
	require.NoError(w.t, w.commit(out.Changes, out.Events))
	return out, refusal
}

func (w *world) done(e Event) Request {
	out, refusal := w.do(e)
	require.Nil(w.t, refusal, "%s by %s", e.Kind, e.By.User)
	if out.Request == nil {
		return Request{}
	}
	return *out.Request
}

func (w *world) refused(slug string, e Event) *Refusal {
	rev := w.rev
	_, refusal := w.do(e)
	require.NotNil(w.t, refusal, "%s by %s is not refused", e.Kind, e.By.User)
	require.Equal(w.t, slug, refusal.Slug, refusal.Detail)
	require.Equal(w.t, rev, w.rev, "a refusal makes no revision of objects")
	require.Equal(w.t, "jit.refused", w.events[len(w.events)-1].Operation)
	return refusal
}

const reason = "quarter end closing"

// ask is what Ann asks for, changed by what is given.
func ask(change ...func(*Ask)) Ask {
	a := Ask{Role: "manager", Duration: Duration(2 * time.Hour), Justification: reason}
	for _, c := range change {
		c(&a)
	}
	return a
}

func (w *world) submit(u access.UserID, a Ask) Request {
	return w.done(Event{Kind: Submit, By: who(u), ID: w.id("req"), Ask: a})
}

func (w *world) show(u access.UserID, id string) Evidence {
	out, refusal := w.do(Event{Kind: Show, By: who(u), Request: id})
	require.Nil(w.t, refusal)
	return *out.Evidence
}

// approve shows the request to the person and has them approve it.
func (w *world) approve(u access.UserID, id string) Request {
	return w.done(w.approval(u, id))
}

func (w *world) approval(u access.UserID, id string) Event {
	return Event{Kind: Approve, By: who(u), Request: id, ID: w.id("dec"), Digest: w.show(u, id).Digest}
}

func (w *world) denial(u access.UserID, id string) Event {
	return Event{Kind: Deny, By: who(u), Request: id, ID: w.id("dec"), Comment: "not now"}
}

// get finds a request, open or closed.
func (w *world) get(id string) Request {
	if r, ok := w.view().judge(w.now).request(id); ok {
		return r
	}
	r, ok := w.closed[id]
	require.True(w.t, ok, "no request %s", id)
	return r
}

func (w *world) status(id string) Status { return w.get(id).Status(w.now) }

// may asks the engine whether the user can write accounts of unit sales.
func (w *world) may(u access.UserID, at time.Time) engine.Decision {
	d, err := w.shot.Check(engine.Question{
		User: u, Action: access.Write, Table: "account", At: at,
		Record: &engine.Record{ID: "r", Owner: access.UserID("cleo").Principal(), BusinessUnit: "sales"},
	})
	require.NoError(w.t, err)
	return d
}

func (w *world) user(id access.UserID) access.User { return w.state.Users[id] }

// policy puts a changed version of the base policy, as a file would.
func (w *world) policy(change func(*Policy)) {
	p, ok := w.view().judge(w.now).policy("managers")
	require.True(w.t, ok)
	p.Stages = slices.Clone(p.Stages)
	change(&p)
	p.Version++
	require.Empty(w.t, p.Check(w.state))
	w.must(access.Put(p))
}

// operations lists the audit events since the world began.
func (w *world) operations() []string {
	var out []string
	for _, e := range w.events {
		out = append(out, e.Operation)
	}
	return out
}

func TestAnElevationFromTheRequestToItsEnd(t *testing.T) {
	w := newWorld(t)
	require.False(t, w.may("ann", w.now).Allowed)

	r := w.submit("ann", ask())
	require.Equal(t, StatusPending, w.status(r.ID))
	require.Equal(t, noon.Add(24*time.Hour), r.PendingUntil)
	require.False(t, w.may("ann", w.now).Allowed, "a request gives nothing")

	w.now = w.now.Add(time.Minute)
	r = w.approve("bob", r.ID)
	require.Equal(t, StatusActive, w.status(r.ID))
	d := w.may("ann", w.now)
	require.True(t, d.Allowed)
	require.Equal(t, w.now.Add(2*time.Hour), d.ValidUntil)

	end := r.Grant.Window.End
	require.Equal(t, w.now.Add(2*time.Hour), end, "the duration counts from the approval")
	require.True(t, w.may("ann", end.Add(-time.Microsecond)).Allowed)
	require.False(t, w.may("ann", end).Allowed, "nothing has run in between")

	w.now = end.Add(time.Minute)
	out, more := Sweep(w.view(), w.now, 100)
	require.False(t, more)
	require.NoError(t, w.commit(out.Changes, out.Events))
	require.Equal(t, &Ended{At: end, Reason: "expired"}, w.get(r.ID).Grant.Ended)
	require.NotContains(t, w.state.Assignments, GrantID(r.ID))
	require.Equal(t, []string{
		"jit.request.submitted", "jit.request.shown", "jit.request.decision", "jit.request.approved",
		"jit.grant.created", "jit.grant.ended",
	}, w.operations())
}

func engineQuestion(a access.Action, unit access.BusinessUnitID, at time.Time) engine.Question {
	return engine.Question{User: "ann", Action: a, Table: "account", At: at, Record: &engine.Record{ID: "r", BusinessUnit: unit, Owner: unit.DefaultTeam().Principal()}}
}
