package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/store/storetest"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestMain(m *testing.M) { storetest.Main(m) }

func TestContract(t *testing.T) { storetest.Run(t, storetest.PostgreSQL) }

func TestRule_REL_1_KilledAtEveryStatement(t *testing.T) {
	storetest.Killed(t, storetest.PostgreSQL(t))
}

func open(t *testing.T, dsn string) *sqlstore.DB {
	db, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func commit(db *sqlstore.DB, base access.Revision, fence int64) error {
	_, err := db.Commit(context.Background(), fenced(change(base), fence))
	return err
}

func TestINC_20_ManyProcessesStartAtOnce(t *testing.T) {
	dsn := rig.Database(t)
	var group sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		group.Go(func() {
			var db *sqlstore.DB
			if db, errs[i] = postgres.Open(t.Context(), dsn, postgres.Options{}); errs[i] == nil {
				errs[i] = db.Close()
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// Processes that judge on the same revision: exactly one wins each, and no error
// of the database comes through (Rule JIT-49).
func TestRule_JIT_49_ProcessesThatCommitAtOnce(t *testing.T) {
	dsn := rig.Database(t)
	const processes, rounds = 4, 25
	dbs := make([]*sqlstore.DB, processes)
	for i := range dbs {
		dbs[i] = open(t, dsn)
	}
	for round := range rounds {
		errs := make([]error, processes)
		var group sync.WaitGroup
		for i, db := range dbs {
			group.Go(func() { errs[i] = commit(db, access.Revision(round), 0) })
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				require.ErrorIs(t, err, store.ErrConflict)
			}
		}
		require.Equal(t, 1, won)
	}
	_, err := dbs[0].Verify(t.Context(), nil)
	require.NoError(t, err)
}

func TestRule_REL_6_OneLeads(t *testing.T) {
	dsn := rig.Database(t)
	a, b := open(t, dsn), open(t, dsn)
	fence, ok, err := a.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = b.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.False(t, ok, "another leads")
	other, ok, err := b.Lead(t.Context(), "sweep")
	require.NoError(t, err)
	require.True(t, ok, "something else can be led by another")
	require.NoError(t, commit(a, 0, fence))
	require.NoError(t, commit(b, 1, other))

	// The server ends the leader's session, as it does when the leader's machine is
	// gone; the leader does not know.
	rig.Cluster(t).Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (
		SELECT oid FROM pg_database WHERE datname = '`+name(dsn)+`') AND objid = (hashtextextended('ambit lead sync', 0) & 4294967295)::oid`)
	var next int64
	require.Eventually(t, func() bool {
		next, ok, err = b.Lead(t.Context(), "sync")
		require.NoError(t, err)
		return ok
	}, time.Minute, 10*time.Millisecond)
	require.Greater(t, next, fence)
	require.ErrorIs(t, commit(a, 2, fence), store.ErrFenced)
	require.NoError(t, commit(b, 2, next))
	_, ok, err = a.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, b.Close())
	require.Eventually(t, func() bool {
		fence, ok, err = a.Lead(t.Context(), "sync")
		require.NoError(t, err)
		return ok
	}, time.Minute, 10*time.Millisecond)
	require.Greater(t, fence, next)
}

// name is the database's, out of the rig's dsn.
func name(dsn string) string {
	var host, port, user, db string
	_, _ = fmt.Sscanf(dsn, "host=%s port=%s user=%s dbname=%s", &host, &port, &user, &db)
	return db
}

func TestRule_REL_11_NewerSchema(t *testing.T) {
	dsn := rig.Database(t)
	require.NoError(t, open(t, dsn).Close())
	cluster := rig.Cluster(t)
	cluster.ExecIn(t, name(dsn), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`)
	_, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	require.ErrorIs(t, err, store.ErrNewerSchema)
	require.ErrorContains(t, err, "it has version 99, this program knows 5")
}

func TestRule_REL_7_AStandbyAnswersAndRefusesChanges(t *testing.T) {
	dsn := rig.Database(t)
	require.NoError(t, commit(open(t, dsn), 0, 0))
	standby := rig.Standby(t)
	db := open(t, standby.DSN(name(dsn)))
	newest, err := db.Newest(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, newest.Revision)
	_, err = db.Verify(t.Context(), nil)
	require.NoError(t, err)
	err = commit(db, 1, 0)
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.ErrorContains(t, err, "name the primary")
	require.ErrorIs(t, db.SetWatermark(t.Context(), time.Now()), store.ErrReadOnly)
	_, _, err = db.Lead(t.Context(), "sync")
	require.ErrorIs(t, err, store.ErrReadOnly)
	_, err = postgres.Open(t.Context(), standby.DSN("postgres"), postgres.Options{})
	require.ErrorIs(t, err, store.ErrReadOnly, "a schema cannot be made there")
}

// At run time the database role needs no right to change the schema (Rule SEC-9).
func TestRule_SEC_9_ARoleWithoutDDL(t *testing.T) {
	dsn := rig.Database(t)
	require.NoError(t, open(t, dsn).Close())
	cluster := rig.Cluster(t)
	role := "r_" + name(dsn)
	cluster.Exec(t, `CREATE ROLE `+role+` LOGIN`)
	cluster.ExecIn(t, name(dsn), `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO `+role+`; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO `+role)
	t.Cleanup(func() {
		cluster.ExecIn(t, name(dsn), `DROP OWNED BY `+role)
		cluster.Exec(t, `DROP ROLE `+role)
	})
	db := open(t, dsn+" user="+role)
	fence, _, err := db.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.NoError(t, commit(db, 0, fence))
	_, err = db.Verify(t.Context(), nil)
	require.NoError(t, err)
}

func TestRule_SEC_4_TheServerIsVerified(t *testing.T) {
	cluster := rig.Cluster(t)
	local := name(rig.Database(t))
	over := func(host string, options url.Values) string {
		u := url.URL{Scheme: "postgres", User: url.UserPassword("ambit", cluster.Password), Host: fmt.Sprint(host, ":", cluster.Port), Path: local, RawQuery: options.Encode()}
		return u.String()
	}
	mode := func(mode, ca string) url.Values {
		v := url.Values{}
		if mode != "" {
			v.Set("sslmode", mode)
		}
		if ca != "" {
			v.Set("sslrootcert", ca)
		}
		return v
	}
	for _, c := range []struct{ name, dsn, says string }{
		{"loopback that is named explicitly needs no TLS", over("127.0.0.1", nil), ""},
		{"a certificate of the named authority, for the name", over("localhost", mode("verify-full", cluster.CAFile)), ""},
		{"a certificate of an unknown authority", over("localhost", mode("verify-full", "system")), "certificate"},
		{"no TLS to another machine", over("db.example.com", mode("disable", "")), "sslmode=disable does not verify the server's name"},
		{"TLS without verification to another machine", over("db.example.com", mode("require", "")), "use sslmode=verify-full"},
		{"TLS without the name to another machine", over("192.0.2.1", mode("verify-ca", "")), "use sslmode=verify-full"},
		{"the wrong password", "postgres://ambit:wrong@" + fmt.Sprint("127.0.0.1:", cluster.Port) + "/" + local, "password authentication failed"},
		{"nobody listens", fmt.Sprintf("host=127.0.0.1 port=1 user=ambit password=%s dbname=x", cluster.Password), "127.0.0.1:1: "},
		{"a dsn that is none", "postgres://ambit:" + cluster.Password + "@[::1/x", "PostgreSQL settings"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := postgres.Open(t.Context(), c.dsn, postgres.Options{})
			if c.says == "" {
				require.NoError(t, err)
				require.NoError(t, db.Close())
				return
			}
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), cluster.Password, "Rule SEC-5")
			require.NotContains(t, err.Error(), "wrong@")
		})
	}
	t.Run("a certificate for another name", func(t *testing.T) {
		dsn := over("localhost", mode("verify-full", cluster.CAFile)) + "&hostaddr=127.0.0.1"
		db, err := postgres.Open(t.Context(), dsn, postgres.Options{})
		require.NoError(t, err)
		require.NoError(t, db.Close())
		_, err = postgres.Open(t.Context(), strings.Replace(dsn, "localhost", "ambit.example.com", 1), postgres.Options{})
		require.ErrorContains(t, err, "certificate is valid for localhost, not ambit.example.com")
	})
}
