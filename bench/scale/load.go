package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

// load compares loading a snapshot from SQLite with reading the same rows.
func (m *measurement) load(ctx context.Context) (_ []line, err error) {
	m.large = nil // room for this one
	c := company{users: m.stored}
	dir, err := os.MkdirTemp("", "ambit-scale-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "ambit.db")
	if err := fill(ctx, path, c); err != nil {
		return nil, err
	}
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	raw, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	var rows int
	var failed error
	times := inTurns(2, func() {
		n, err := readRows(ctx, raw)
		rows, failed = n, errors.Join(failed, err)
	}, func() {
		_, err := snapshotOf(ctx, db)
		failed = errors.Join(failed, err)
	})
	if failed != nil {
		return nil, failed
	}
	return []line{
		{what: fmt.Sprintf("Reading the %d rows of %d users and all theirs from SQLite with database/sql", rows, c.users), figure: times[0].Round(time.Millisecond).String()},
		ratio("Loading a snapshot from them", times[1].Round(time.Millisecond), "database/sql", times[0], 2),
	}, nil
}

// snapshotOf loads the snapshot without holding the objects.
func snapshotOf(ctx context.Context, db *sqlstore.DB) (*engine.Snapshot, error) {
	var failed error
	stop := errors.New("stop")
	s, err := engine.Load(func(yield func(access.Object) bool) {
		failed = db.LoadEnvironment(ctx, 0, environment, func(o access.Object) error {
			if !yield(o) {
				return stop
			}
			return nil
		})
	}, 1)
	return s, errors.Join(failed, err)
}

// readRows reads all columns of all rows that the objects are made from, as
// strings and numbers.
func readRows(ctx context.Context, db *sql.DB) (int, error) {
	n := 0
	for _, table := range []string{
		"environments", "business_units", "tables", "roles", "column_profiles", "users", "teams", "memberships", "assignments", "column_profile_members", "shares",
	} {
		if err := readTable(ctx, db, table, &n); err != nil {
			return n, fmt.Errorf("%s: %w", table, err)
		}
	}
	return n, nil
}

func readTable(ctx context.Context, db *sql.DB, table string, n *int) error {
	rows, err := db.QueryContext(ctx, "SELECT * FROM "+table)
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	dest := make([]any, len(types))
	for i, t := range types {
		if dest[i] = new(string); t.DatabaseTypeName() == "INTEGER" {
			dest[i] = new(sql.NullInt64)
		}
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		*n++
	}
	return rows.Err()
}
