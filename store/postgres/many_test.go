package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// away is how a database is reached through a proxy, by somebody who does not wait
// long.
func away(t *testing.T, dsn string) (*sqlstore.DB, *rig.Proxy) {
	t.Helper()
	cluster := rig.Cluster(t)
	proxy := rig.StartProxy(t, cluster.Socket())
	db, err := postgres.Open(t.Context(), proxy.DSN(cluster, name(dsn)), postgres.Options{LockLife: 500 * time.Millisecond, Silence: 500 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db, proxy
}

func mirrored(db *sqlstore.DB, fence int64) error {
	return db.CommitMirror(context.Background(), store.MirrorPage{
		Source: "corp", Put: []directory.Object{{ID: directory.ObjectID(strconv.FormatInt(fence, 10)), Kind: directory.KindUser}}, Fence: fence,
	})
}

// A leader whose network is cut is not told of it. The server is: it hears nothing
// of the leader, gives the lock to another, and refuses what the first one commits
// when it comes back, for the mirror too.
func TestRule_REL_6_ALeaderThatIsCutOffIsReplacedAndRefused(t *testing.T) {
	dsn := rig.Database(t)
	a, cable := away(t, dsn)
	b, _ := away(t, dsn)
	fence, ok, err := a.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, commit(a, 0, fence))
	require.NoError(t, mirrored(a, fence))
	time.Sleep(time.Second)
	_, ok, err = b.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.False(t, ok, "one that lives keeps the lock for longer than its life")

	cable.Mute(true)
	var next int64
	require.Eventually(t, func() bool {
		next, ok, err = b.Lead(t.Context(), "sync")
		require.NoError(t, err)
		return ok
	}, time.Minute, 20*time.Millisecond)
	require.Greater(t, next, fence)
	require.NoError(t, commit(b, 1, next))
	began := time.Now()
	require.ErrorIs(t, commit(a, 2, fence), store.ErrUnreachable)
	require.Less(t, time.Since(began), time.Minute, "nothing is waited for without end")

	cable.Mute(false)
	require.Eventually(t, func() bool { return a.Ping(t.Context()) == nil }, time.Minute, 20*time.Millisecond, "it comes back by itself")
	require.ErrorIs(t, commit(a, 2, fence), store.ErrFenced)
	require.ErrorIs(t, mirrored(a, fence), store.ErrFenced)
	require.NoError(t, commit(b, 2, next))
	_, ok, err = a.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.False(t, ok)
}

// A call is heard by everybody who listens, by the caller as well.
func TestACallIsHeardByAll(t *testing.T) {
	dsn := rig.Database(t)
	processes := []*sqlstore.DB{open(t, dsn), open(t, dsn)}
	ctx, stop := context.WithCancel(t.Context())
	heard, ended := [2]atomic.Int64{}, make(chan error, 2)
	for i, db := range processes {
		require.False(t, db.Alone())
		go func() {
			ended <- db.Hear(ctx, func(text string) {
				if text == "come" {
					heard[i].Add(1)
				}
			})
		}()
	}
	require.Eventually(t, func() bool { // calls before both listen are lost
		require.NoError(t, processes[0].Call(ctx, "come"))
		return heard[0].Load() > 0 && heard[1].Load() > 0
	}, time.Minute, 10*time.Millisecond)
	before := [2]int64{heard[0].Load(), heard[1].Load()}
	require.NoError(t, commit(processes[1], 0, 0))
	require.NoError(t, processes[1].Call(ctx, "come"))
	require.Eventually(t, func() bool { return heard[0].Load() > before[0] && heard[1].Load() > before[1] }, time.Minute, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
}

func TestRule_REL_5_ACommitIsToldOfAtOnceAndAfterACut(t *testing.T) {
	dsn := rig.Database(t)
	a := open(t, dsn)
	b, cable := away(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	told, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- b.Watch(ctx, func() { told <- struct{}{} }) }()
	hears := func(why string) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatal(why)
		}
	}
	hears("what was committed before it listened")
	require.NoError(t, commit(a, 0, 0))
	hears("a commit of another process")
	require.NoError(t, commit(b, 1, 0))
	hears("its own")
	cable.Cut()
	hears("what may have been missed while the connection was made again")
	require.NoError(t, commit(a, 2, 0))
	hears("a commit after that")
	cable.Mute(true)
	time.Sleep(2 * time.Second)
	cable.Mute(false)
	hears("what may have been missed while nothing came through")
	stop()
	require.NoError(t, <-ended)
	for range 200 { // it ends whenever it is told to
		ctx, stop := context.WithCancel(t.Context())
		go func() { ended <- a.Watch(ctx, func() { go stop() }) }()
		require.NoError(t, <-ended)
	}
}

// A commit waits for the standby, even if whoever asked for it has gone away: one
// that the primary alone has would be seen by others, and lost with the primary.
func TestRule_REL_1_ACommitIsNotAnsweredBeforeTheStandbyHasIt(t *testing.T) {
	primary := rig.OwnCluster(t)
	standby := primary.Standby(t)
	primary.Synchronous(t)
	db := open(t, primary.DSN("postgres"))
	require.NoError(t, commit(db, 0, 0))
	standby.Exec(t, `SELECT pg_wal_replay_pause()`)
	require.NoError(t, commit(db, 1, 0), "it has it, though it does not show it yet")
	standby.Kill(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	answered := make(chan error, 1)
	go func() {
		_, err := db.Commit(ctx, change(2))
		answered <- err
	}()
	waiting, err := sql.Open("postgres", primary.DSN("postgres")+" sslmode=disable")
	require.NoError(t, err)
	defer waiting.Close()
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, waiting.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n))
		return n > 0
	}, time.Minute, 10*time.Millisecond, "the commit waits for the standby")
	leave()
	select {
	case err := <-answered:
		t.Fatalf("answered without a standby: %v", err)
	case <-time.After(2 * time.Second):
	}
	newest, err := open(t, primary.DSN("postgres")).Newest(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, newest.Revision, "nobody sees it meanwhile")
	primary.Exec(t, `ALTER SYSTEM RESET synchronous_standby_names`)
	primary.Exec(t, `SELECT pg_reload_conf()`)
	require.NoError(t, <-answered)
}

// The primary is killed under load and the standby takes over: clients find it by
// the second host of their dsn.
func TestRule_REL_6_AFailoverLosesNothingThatWasAnswered(t *testing.T) {
	primary := rig.OwnCluster(t)
	standby := primary.Standby(t)
	primary.Synchronous(t)
	dsn := fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=ambit password=%s dbname=postgres", primary.Port, standby.Port, primary.Password)
	a, b := open(t, dsn), open(t, dsn)
	fence, ok, err := a.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	answered := map[access.Revision]time.Time{}
	write := func(until func() bool) {
		for !until() {
			newest, err := a.Newest(t.Context())
			if err != nil {
				require.ErrorIs(t, err, store.ErrUnreachable)
				continue
			}
			done, err := a.Commit(t.Context(), fenced(change(newest.Revision), fence))
			if err == nil {
				require.NotContains(t, answered, done.Revision, "a number that was used")
				answered[done.Revision] = done.At
				err = mirrored(a, fence)
			}
			require.NotErrorIs(t, err, store.ErrFenced)
		}
	}
	write(func() bool { return len(answered) == 200 })
	ctx, stop := context.WithCancel(t.Context())
	told, ended := make(chan struct{}, 1000), make(chan error, 1)
	go func() { ended <- b.Watch(ctx, func() { told <- struct{}{} }) }()
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		time.Sleep(300 * time.Millisecond)
		primary.Kill(t)
		standby.Promote(t)
	}()
	write(func() bool {
		select {
		case <-killed:
			return len(answered) > 400
		default:
			return false
		}
	})
	for rev, at := range answered {
		found, err := b.CommittedAt(t.Context(), rev)
		require.NoError(t, err, "revision %d was answered and is lost", rev)
		require.Equal(t, at, found, "revision %d is another", rev)
	}
	_, err = b.Verify(t.Context(), nil)
	require.NoError(t, err)

	// The lock went with the primary: whoever asks first has it, and the fence of the
	// one before is refused from then on.
	next, ok, err := b.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	require.Greater(t, next, fence)
	newest, err := b.Newest(t.Context())
	require.NoError(t, err)
	_, err = a.Commit(t.Context(), fenced(change(newest.Revision), fence))
	require.ErrorIs(t, err, store.ErrFenced)
	for len(told) > 0 {
		<-told
	}
	require.NoError(t, commit(b, newest.Revision, next))
	require.Eventually(t, func() bool { return len(told) > 0 }, time.Minute, 10*time.Millisecond, "it listens to the new primary")
	stop()
	require.NoError(t, <-ended)
}

func change(base access.Revision) store.Commit {
	user := access.User{Environment: "dev", ID: "ada", Name: fmt.Sprint("after ", base), ManagedBy: access.ByAPI}
	return store.Commit{Base: base, At: time.Now(), Changes: []access.Change{access.Put(user)}, Events: []audit.Event{{Operation: "test"}}}
}

func fenced(c store.Commit, fence int64) store.Commit {
	c.Fence = fence
	return c
}

// Secrets of a dsn reach no error, whichever of its hosts it is about (Rule SEC-5).
func TestRule_SEC_5_SeveralHostsThatDoNotAnswer(t *testing.T) {
	secret := "hunter2"
	_, err := postgres.Open(t.Context(), "postgres://ambit:"+secret+"@127.0.0.1:1,127.0.0.1:2/ambit", postgres.Options{})
	require.ErrorIs(t, err, store.ErrUnreachable)
	require.NotContains(t, err.Error(), secret)
	path := filepath.Join(t.TempDir(), "nobody")
	require.NoError(t, os.Mkdir(path, 0o700))
	_, err = postgres.Open(t.Context(), "host="+path+" user=ambit password="+secret, postgres.Options{})
	require.ErrorIs(t, err, store.ErrUnreachable)
	require.NotContains(t, err.Error(), secret)
}
