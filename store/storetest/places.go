package storetest

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/testdata/rig"
)

type sqlitePlace struct{ path string }

// SQLite is a new file in a folder of the test.
func SQLite(t testing.TB) Place { return sqlitePlace{filepath.Join(t.TempDir(), "ambit.db")} }

func (p sqlitePlace) Open(t testing.TB, o Options) *sqlstore.DB {
	db, err := sqlite.Open(t.Context(), p.path, sqlite.Options{Now: o.Now, Wrap: o.Wrap})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (p sqlitePlace) SQL(t testing.TB) *sql.DB {
	return open(t, "sqlite", "file:"+p.path+"?_pragma=busy_timeout(5000)")
}

func (p sqlitePlace) task() task { return task{SQLite: p.path} }

type postgresPlace struct{ dsn string }

// PostgreSQL is a new database in the test binary's own cluster.
func PostgreSQL(t testing.TB) Place { return postgresPlace{rig.Database(t)} }

func (p postgresPlace) Open(t testing.TB, o Options) *sqlstore.DB {
	db, err := postgres.Open(t.Context(), p.dsn, postgres.Options{Now: o.Now, Wrap: o.Wrap})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (p postgresPlace) SQL(t testing.TB) *sql.DB {
	return open(t, "postgres", p.dsn+" sslmode=disable")
}

func (p postgresPlace) task() task { return task{Postgres: p.dsn} }

func open(t testing.TB, driver, dsn string) *sql.DB {
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
