package tenant_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// far is a tenant that reaches its database through a proxy, and runs.
func far(t *testing.T, cluster *rig.Postgres, database string, o tenant.Options) (*tenant.Tenant, *rig.Proxy) {
	t.Helper()
	proxy := rig.StartProxy(t, cluster.Socket())
	db, err := postgres.Open(t.Context(), proxy.DSN(cluster, database), postgres.Options{Silence: 300 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	on := open(t, db, o)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- on.Run(ctx, 100*time.Millisecond, time.Hour) }()
	t.Cleanup(func() {
		proxy.Mute(false)
		stop()
		require.NoError(t, <-ended)
	})
	return on, proxy
}

// ask puts a question to the newest state, as the API does.
func ask(t *testing.T, on *tenant.Tenant) error {
	t.Helper()
	return on.ReadAt(t.Context(), 0, sales, func(tenant.View) error { return nil })
}

// INC-19: a replica that is cut off from the store answers after a revocation.
func TestRule_REL_7_INC_19_AFollowerAnswersUpToItsLimitThenNotAndComesBackByItself(t *testing.T) {
	cluster := rig.OwnCluster(t)
	near, err := postgres.Open(t.Context(), cluster.DSN("postgres"), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = near.Close() })
	writer := open(t, near, tenant.Options{})
	commit(t, writer, world(sales)...)
	commit(t, writer, access.Put(member(sales, "u")))
	const limit = 4 * time.Second
	follower, cable := far(t, cluster, "postgres", tenant.Options{StaleAfter: limit})
	require.True(t, reads(t, follower, sales, "u"))
	for name, fault := range map[string]struct{ begin, end func() }{
		"the cable is pulled out": {func() { cable.Mute(true) }, func() { cable.Mute(false) }},
		"nobody listens":          {func() { cable.Target("") }, func() { cable.Target(cluster.Socket()) }},
	} {
		t.Run(name, func(t *testing.T) {
			fault.begin()
			cut := time.Now()
			revoked := commit(t, writer, access.Remove(member(sales, "u")))
			require.NoError(t, ask(t, follower), "the last good state serves for a while")
			require.ErrorIs(t, follower.Reach(t.Context(), revoked.Revision), tenant.ErrBehind, "but not a question that knows of something newer")
			_, err := follower.Update(t.Context(), func(tenant.View) (tenant.Changeset, error) {
				return tenant.Changeset{Changes: []access.Change{access.Put(user(sales, "x"))}, Events: told("test")}, nil
			})
			require.ErrorIs(t, err, store.ErrUnreachable, "changes are refused")
			require.Eventually(t, func() bool { return ask(t, follower) != nil }, time.Minute, 10*time.Millisecond)
			require.ErrorIs(t, ask(t, follower), tenant.ErrStale)
			require.GreaterOrEqual(t, time.Since(cut), limit-2*time.Second, "the limit is counted from the last answer")
			require.Greater(t, follower.Age(), limit)
			fault.end()
			require.Eventually(t, func() bool { return ask(t, follower) == nil }, time.Minute, 10*time.Millisecond, "without a restart")
			require.False(t, reads(t, follower, sales, "u"), "what it answers again is the newest")
			commit(t, writer, access.Put(member(sales, "u")))
			require.Eventually(t, func() bool { return reads(t, follower, sales, "u") }, time.Minute, 10*time.Millisecond)
		})
	}
}

func TestRule_REL_5_AQuestionThatNamesARevisionIsNeverAnsweredFromAnOlderOne(t *testing.T) {
	cluster := rig.OwnCluster(t)
	near, err := postgres.Open(t.Context(), cluster.DSN("postgres"), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = near.Close() })
	writer := open(t, near, tenant.Options{})
	commit(t, writer, world(sales)...)
	follower, cable := far(t, cluster, "postgres", tenant.Options{})
	cable.Late(2 * time.Millisecond)
	in := false
	for range 20 {
		change := access.Put(member(sales, "u"))
		if in {
			change = access.Remove(member(sales, "u"))
		}
		in = !in
		done := commit(t, writer, change)
		if err := follower.Reach(t.Context(), done.Revision); err != nil {
			require.ErrorIs(t, err, tenant.ErrBehind, "a slow line on a slow machine")
			continue
		}
		require.Equal(t, in, reads(t, follower, sales, "u"))
	}
	require.ErrorIs(t, follower.Reach(t.Context(), writer.Revision()+1), tenant.ErrNoRevision)
}

// changed is a store in which a revision is not what it was.
type changed struct {
	*sqlstore.DB
	other bool
}

func (c *changed) CommittedAt(ctx context.Context, rev access.Revision) (time.Time, error) {
	at, err := c.DB.CommittedAt(ctx, rev)
	if c.other {
		at = at.Add(time.Microsecond)
	}
	return at, err
}

// A standby that had not received the last revision took over, and others have
// committed there since: the number is the same and what it stands for is not.
func TestRule_REL_6_AnotherHistoryIsNotFollowed(t *testing.T) {
	st := &changed{DB: onSQLite(t)}
	writer, on := open(t, st, tenant.Options{}), open(t, st, tenant.Options{})
	commit(t, writer, world(sales)...)
	require.NoError(t, on.Follow(t.Context()))
	commit(t, writer, access.Put(member(sales, "u")))
	st.other = true
	require.ErrorContains(t, on.Follow(t.Context()), "not the one that this process has seen")
	require.False(t, reads(t, on, sales, "u"), "decisions go on, until they are stale")
}

func TestRule_REL_7_StalenessGoesByBothClocks(t *testing.T) {
	wall, elapsed := time.Now(), time.Duration(0)
	on := open(t, onSQLite(t), tenant.Options{
		StaleAfter: time.Minute, Wall: func() time.Time { return wall }, Elapsed: func() time.Duration { return elapsed },
	})
	commit(t, on, world(sales)...)
	require.NoError(t, ask(t, on))
	elapsed += 61 * time.Second
	require.ErrorIs(t, ask(t, on), tenant.ErrStale)
	require.NoError(t, on.Follow(t.Context()))
	require.NoError(t, ask(t, on))
	wall = wall.Add(61 * time.Second) // the machine slept
	require.ErrorIs(t, ask(t, on), tenant.ErrStale)
	require.NoError(t, on.Follow(t.Context()))
	wall = wall.Add(-time.Hour) // somebody set it
	require.NoError(t, ask(t, on))
	elapsed += 61 * time.Second
	require.ErrorIs(t, ask(t, on), tenant.ErrStale)
	commit(t, on, access.Put(member(sales, "u")))
	require.NoError(t, ask(t, on), "a commit shows what is newest")
}
