package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/rig"
)

const sales access.EnvironmentID = "sales"

func told(operation string) []audit.Event {
	return []audit.Event{{Actor: audit.Actor{Kind: audit.System, ID: "test"}, Operation: operation, Result: audit.Done}}
}

func onSQLite(t *testing.T) *sqlstore.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ambit.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func open(t *testing.T, st tenant.Store, o tenant.Options) *tenant.Tenant {
	t.Helper()
	out, err := tenant.Open(t.Context(), st, o)
	require.NoError(t, err)
	return out
}

func commit(t *testing.T, on *tenant.Tenant, changes ...access.Change) store.Committed {
	t.Helper()
	done, err := on.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
		return tenant.Changeset{Changes: changes, Events: told("test")}, nil
	})
	require.NoError(t, err)
	return done
}

// world is an environment in which user u of unit root may read accounts by a team's role.
func world(env access.EnvironmentID) []access.Change {
	var out []access.Change
	for _, o := range []access.Object{
		access.Environment{ID: env, Name: string(env), ManagedBy: access.ByAPI},
		access.BusinessUnit{Environment: env, ID: "root", Name: "Root", ManagedBy: access.ByAPI},
		access.Table{Environment: env, ID: "account", Name: "Account", ManagedBy: access.ByAPI},
		access.Role{
			Environment: env, ID: "reader", Name: "Reader", BusinessUnit: "root", ManagedBy: access.ByAPI,
			Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Global}},
		},
		access.Team{Environment: env, ID: "readers", Name: "Readers", BusinessUnit: "root", ManagedBy: access.ByAPI},
		access.Assignment{Environment: env, ID: "readers", Role: "reader", Principal: access.TeamID("readers").Principal(), BusinessUnit: "root", ManagedBy: access.ByAPI},
		user(env, "u"),
	} {
		out = append(out, access.Put(o))
	}
	return out
}

func user(env access.EnvironmentID, id access.UserID) access.User {
	return access.User{Environment: env, ID: id, Login: string(id), Name: string(id), BusinessUnit: "root", Enabled: true, ManagedBy: access.ByAPI}
}

func member(env access.EnvironmentID, id access.UserID) access.Membership {
	return access.Membership{Environment: env, Team: "readers", User: id, ManagedBy: access.ByAPI}
}

func reads(t *testing.T, on *tenant.Tenant, env access.EnvironmentID, id access.UserID) bool {
	t.Helper()
	snapshot, err := on.Snapshot(env)
	require.NoError(t, err)
	d, err := snapshot.Check(engine.Question{User: id, Action: access.Read, Table: "account", At: on.Now()})
	require.NoError(t, err)
	return d.Allowed
}

// same requires that what is in memory is what a tenant opened now reads from the store.
func same(t *testing.T, on *tenant.Tenant, st tenant.Store) {
	t.Helper()
	fresh := open(t, st, tenant.Options{})
	require.NoError(t, on.Read(func(v tenant.View) error {
		return fresh.Read(func(w tenant.View) error {
			require.Equal(t, w.Revision, v.Revision)
			require.Equal(t, w.Environments(), v.Environments())
			for _, env := range v.Environments() {
				got, err := v.State(env)
				require.NoError(t, err)
				want, err := w.State(env)
				require.NoError(t, err)
				require.Equal(t, want.Environment, got.Environment)
				require.Equal(t, want.BusinessUnits, got.BusinessUnits)
				require.Equal(t, want.Roles, got.Roles)
				require.Equal(t, want.Users, got.Users)
				require.Equal(t, want.Teams, got.Teams)
				require.Equal(t, want.Memberships, got.Memberships)
				require.Equal(t, want.Assignments, got.Assignments)
				snapshot, err := v.Snapshot(env)
				require.NoError(t, err)
				require.Equal(t, v.Revision, snapshot.Revision())
				of, err := w.Snapshot(env)
				require.NoError(t, err)
				for id := range want.Users {
					now, err := snapshot.What(id, v.Now)
					require.NoError(t, err)
					then, err := of.What(id, v.Now)
					require.NoError(t, err)
					diff := now.Diff(then)
					require.Empty(t, diff.Gained, "%s of %s", id, env)
					require.Empty(t, diff.Lost, "%s of %s", id, env)
				}
			}
			return nil
		})
	}))
}

func TestAnUpdateIsWhatTheStoreHasAndWhatIsAnswered(t *testing.T) {
	st := onSQLite(t)
	on := open(t, st, tenant.Options{})
	_, err := on.Snapshot(sales)
	require.ErrorIs(t, err, tenant.ErrNoEnvironment)
	commit(t, on, world(sales)...)
	require.False(t, reads(t, on, sales, "u"))
	done := commit(t, on, access.Put(member(sales, "u")))
	require.True(t, reads(t, on, sales, "u"))
	require.Equal(t, done.Revision, on.Revision())
	same(t, on, st)

	t.Run("a judgement that wants nothing commits nothing", func(t *testing.T) {
		again, err := on.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) { return tenant.Changeset{}, nil })
		require.NoError(t, err)
		require.Equal(t, done.Revision, again.Revision)
	})
	t.Run("an error of the judgement commits nothing", func(t *testing.T) {
		no := errors.New("no")
		_, err := on.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
			return tenant.Changeset{Changes: world("other"), Events: told("test")}, no
		})
		require.ErrorIs(t, err, no)
		same(t, on, st)
	})
	t.Run("a changeset that breaks a rule commits nothing", func(t *testing.T) {
		_, err := on.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
			return tenant.Changeset{Changes: []access.Change{access.Put(member(sales, "nobody"))}, Events: told("test")}, nil
		})
		var invalid *access.Invalid
		require.ErrorAs(t, err, &invalid)
		same(t, on, st)
	})
}

func TestAnEnvironmentIsDeletedAndMadeAnew(t *testing.T) {
	st := onSQLite(t)
	on := open(t, st, tenant.Options{})
	behind := open(t, st, tenant.Options{})
	commit(t, on, append(world(sales), access.Put(member(sales, "u")))...)
	commit(t, on, world("other")...)
	require.NoError(t, behind.Follow(t.Context()))
	require.True(t, reads(t, behind, sales, "u"))

	commit(t, on, access.Remove(access.Environment{ID: sales, Name: "sales", ManagedBy: access.ByAPI}))
	_, err := on.Snapshot(sales)
	require.ErrorIs(t, err, tenant.ErrNoEnvironment)
	same(t, on, st)
	commit(t, on, world(sales)...)
	require.False(t, reads(t, on, sales, "u"), "nothing of the old environment comes back")
	same(t, on, st)

	require.NoError(t, behind.Follow(t.Context()))
	require.False(t, reads(t, behind, sales, "u"))
	same(t, behind, st)

	commit(t, on, access.Remove(access.Environment{ID: sales, Name: "sales", ManagedBy: access.ByAPI}))
	require.NoError(t, behind.Follow(t.Context()))
	_, err = behind.Snapshot(sales)
	require.ErrorIs(t, err, tenant.ErrNoEnvironment)
	same(t, behind, st)
}

// failing answers a commit with an error: before it is made, or after, as when
// the connection breaks.
type failing struct {
	*sqlstore.DB
	before, after error
}

func (f *failing) Commit(ctx context.Context, c store.Commit) (store.Committed, error) {
	if f.before != nil {
		return store.Committed{}, f.before
	}
	done, err := f.DB.Commit(ctx, c)
	return done, errors.Join(err, f.after)
}

func TestACommitThatFailsLeavesMemoryAsTheStore(t *testing.T) {
	st := &failing{DB: onSQLite(t)}
	on := open(t, st, tenant.Options{})
	commit(t, on, world(sales)...)
	join := func(tenant.View) (tenant.Changeset, error) {
		return tenant.Changeset{Changes: []access.Change{access.Put(member(sales, "u"))}, Events: told("test")}, nil
	}
	st.before = store.ErrReadOnly
	_, err := on.Update(t.Context(), join)
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.False(t, reads(t, on, sales, "u"))
	same(t, on, st)

	st.before, st.after = nil, errors.New("the connection broke")
	_, err = on.Update(t.Context(), join)
	require.ErrorIs(t, err, st.after)
	require.True(t, reads(t, on, sales, "u"), "the commit was made, though nobody heard of it")
	same(t, on, st)

	st.after, st.before = nil, store.ErrConflict
	judged := 0
	_, err = on.Update(t.Context(), func(v tenant.View) (tenant.Changeset, error) { judged++; return join(v) })
	require.ErrorIs(t, err, store.ErrConflict)
	require.Equal(t, 5, judged, "judging again has an end (Rule JIT-49)")
}

func TestRule_JIT_68_reactions_are_in_the_same_revision(t *testing.T) {
	st := onSQLite(t)
	on := open(t, st, tenant.Options{React: func(before *access.State, changes []access.Change, _ time.Time) ([]access.Change, []audit.Event, error) {
		for _, c := range changes {
			if u, ok := c.Object.(access.User); ok && !u.Enabled {
				return []access.Change{access.Remove(member(before.Environment.ID, u.ID))}, told("reacted"), nil
			}
		}
		return nil, nil, nil
	}})
	commit(t, on, append(world(sales), access.Put(member(sales, "u")))...)
	off := user(sales, "u")
	off.Enabled = false
	done := commit(t, on, access.Put(off))
	require.NoError(t, on.Read(func(v tenant.View) error {
		state, err := v.State(sales)
		require.NoError(t, err)
		require.Empty(t, state.Memberships)
		return nil
	}))
	events, err := st.Audit(t.Context(), store.AuditQuery{Operation: "reacted"})
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, done.Revision, events[0].Revision)
	same(t, on, st)
}

// TestRule_JIT_49_two_processes_commit_at_once lets two tenants on one PostgreSQL
// database add members, each judging on what it sees: nothing is lost, and both
// end with what the store has.
func TestRule_JIT_49_two_processes_commit_at_once(t *testing.T) {
	dsn := rig.Database(t)
	var on [2]*tenant.Tenant
	var st [2]*sqlstore.DB
	for i := range on {
		var err error
		st[i], err = postgres.Open(t.Context(), dsn, postgres.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, st[i].Close()) })
		on[i] = open(t, st[i], tenant.Options{})
	}
	commit(t, on[0], world(sales)...)
	const each = 20
	var again atomic.Int64
	var group sync.WaitGroup
	for i := range on {
		group.Go(func() {
			for n := range each {
				judged := 0
				for {
					_, err := on[i].Update(t.Context(), func(v tenant.View) (tenant.Changeset, error) {
						judged++
						state, err := v.State(sales)
						if err != nil { // the first time, this process has not seen it
							return tenant.Changeset{Events: told("early")}, nil
						}
						// The count is read and written back: a judgement on an old revision would show.
						id := access.UserID(fmt.Sprintf("u%03d", len(state.Users)))
						return tenant.Changeset{Changes: []access.Change{access.Put(user(sales, id)), access.Put(member(sales, id))}, Events: told("test")}, nil
					})
					if errors.Is(err, store.ErrConflict) {
						continue // it lost five races; a caller is told to try again
					}
					if err != nil {
						t.Errorf("update %d: %v", n, err)
					}
					break
				}
				again.Add(int64(judged - 1))
			}
		})
	}
	group.Wait()
	for i := range on {
		require.NoError(t, on[i].Follow(t.Context()))
		same(t, on[i], st[i])
	}
	require.Equal(t, on[0].Revision(), on[1].Revision())
	t.Logf("judged again %d times", again.Load())
	require.NoError(t, on[0].Read(func(v tenant.View) error {
		state, err := v.State(sales)
		require.NoError(t, err)
		require.Len(t, state.Memberships, len(state.Users)-1)
		require.GreaterOrEqual(t, len(state.Users), 2*each)
		return nil
	}))
}

// TestReadersSeeOneRevision reads while big updates are made: state and snapshot
// are always of the same revision.
func TestReadersSeeOneRevision(t *testing.T) {
	st := onSQLite(t)
	on := open(t, st, tenant.Options{})
	commit(t, on, world(sales)...)
	stop := make(chan struct{})
	var group sync.WaitGroup
	var seen atomic.Int64
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := on.Read(func(v tenant.View) error {
					state, err := v.State(sales)
					if err != nil {
						return err
					}
					snapshot, err := v.Snapshot(sales)
					if err != nil {
						return err
					}
					_, listed := state.Memberships[access.MembershipKey{Team: "readers", User: "u"}]
					d, err := snapshot.Check(engine.Question{User: "u", Action: access.Read, Table: "account", At: v.Now})
					if err != nil {
						return err
					}
					if listed != d.Allowed || snapshot.Revision() != v.Revision {
						return fmt.Errorf("state of revision %d says %t, snapshot of %d says %t", v.Revision, listed, snapshot.Revision(), d.Allowed)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				seen.Add(1)
			}
		})
	}
	for i := range 10 {
		var changes []access.Change
		for n := range 500 {
			id := access.UserID(fmt.Sprintf("x%d", n))
			if i%2 == 0 {
				changes = append(changes, access.Put(user(sales, id)), access.Put(member(sales, id)))
			} else {
				changes = append(changes, access.Remove(user(sales, id)))
			}
		}
		change := access.Put(member(sales, "u"))
		if i%2 == 1 {
			change = access.Remove(member(sales, "u"))
		}
		commit(t, on, append(changes, change)...)
	}
	close(stop)
	group.Wait()
	require.Positive(t, seen.Load())
	same(t, on, st)
}

func TestRule_JIT_21_the_clock_never_goes_back(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	wall, elapsed := start, time.Duration(0)
	clock := tenant.NewClock(time.Time{}, func() time.Time { return wall }, func() time.Duration { return elapsed })
	require.Equal(t, start, clock.Now())
	pass := func(d time.Duration) { wall, elapsed = wall.Add(d), elapsed+d }
	pass(time.Minute)
	require.Equal(t, start.Add(time.Minute), clock.Now())
	wall = wall.Add(-time.Hour)
	require.Equal(t, start.Add(time.Minute), clock.Now(), "set back, it stays")
	pass(time.Second)
	require.Equal(t, start.Add(time.Minute+time.Second), clock.Now(), "and goes on")
	require.Equal(t, time.Hour, clock.Lead())
	wall = wall.Add(2 * time.Hour)
	require.Equal(t, wall, clock.Now(), "set forward, it follows")
	clock.Advance(wall.Add(time.Minute))
	require.Equal(t, wall.Add(time.Minute), clock.Now(), "another process has been there")
	clock.Advance(wall)
	require.Equal(t, wall.Add(time.Minute), clock.Now())
}

func TestRule_JIT_21_nor_with_a_restart(t *testing.T) {
	st := onSQLite(t)
	wall := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	options := tenant.Options{Wall: func() time.Time { return wall }, Elapsed: func() time.Duration { return 0 }}
	on := open(t, st, options)
	done := commit(t, on, world(sales)...)
	wall = wall.Add(-time.Hour)
	require.False(t, open(t, st, options).Now().Before(done.At), "a commit is an anchor")
	require.NoError(t, st.SetWatermark(t.Context(), done.At.Add(time.Minute)))
	require.Equal(t, done.At.Add(time.Minute), open(t, st, options).Now(), "and so is the watermark")
}

// TestRule_JIT_21_windows_keep_the_watermark runs the loop until it has kept one.
func TestRule_JIT_21_windows_keep_the_watermark(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	for name, window := range map[string]access.Window{"without a window": {}, "with a window that ends": {End: time.Now().Add(time.Hour)}} {
		t.Run(name, func(t *testing.T) {
			st := onSQLite(t)
			on := open(t, st, tenant.Options{})
			commit(t, on, world(sales)...)
			commit(t, on, access.Put(access.Assignment{
				Environment: sales, ID: "timed", Role: "reader", Principal: access.UserID("u").Principal(), BusinessUnit: "root", Window: window, ManagedBy: access.ByAPI,
			}))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			before, err := st.Watermark(t.Context())
			require.NoError(t, err)
			go func() { ended <- on.Run(ctx, 10*time.Millisecond, 10*time.Millisecond) }()
			if window.Open() {
				other := open(t, st, tenant.Options{})
				done := commit(t, other, access.Put(user(sales, "late")))
				require.Eventually(t, func() bool { return on.Revision() == done.Revision }, time.Minute, time.Millisecond, "the loop follows")
			} else {
				require.Eventually(t, func() bool {
					mark, err := st.Watermark(t.Context())
					return err == nil && mark.After(before)
				}, time.Minute, time.Millisecond)
			}
			cancel()
			require.NoError(t, <-ended)
			if mark, err := st.Watermark(t.Context()); window.Open() {
				require.NoError(t, err)
				require.Equal(t, before, mark, "nothing is written while time cannot change an answer")
			}
		})
	}
}

func TestAnOlderCopyOfTheStoreIsNotFollowed(t *testing.T) {
	st := &older{DB: onSQLite(t)}
	on := open(t, st, tenant.Options{})
	commit(t, on, world(sales)...)
	commit(t, on, access.Put(member(sales, "u")))
	st.by = 1
	require.ErrorContains(t, on.Follow(t.Context()), "older copy")
	require.True(t, reads(t, on, sales, "u"), "decisions go on")
}

// older is a store as it was some revisions ago.
type older struct {
	*sqlstore.DB
	by access.Revision
}

func (o *older) Newest(ctx context.Context) (store.Committed, error) {
	done, err := o.DB.Newest(ctx)
	done.Revision -= o.by
	return done, err
}
