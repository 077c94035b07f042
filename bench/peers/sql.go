package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/lib/pq"  // the driver
	_ "modernc.org/sqlite" // the driver

	"github.com/ambit-iam/ambit/access"
)

// sqlQuery is one prepared statement over plain tables with the indexes that it
// needs.
type sqlQuery struct {
	postgres string // its DSN; empty for SQLite, in memory of the process's page cache
	dir      string
	db       *sql.DB
	query    *sql.Stmt
	users    []string
	records  []string
}

const sqlSchema = `
CREATE TABLE units (id text PRIMARY KEY, parent text, disabled boolean NOT NULL);
CREATE TABLE privileges (role text, privilege text, depth integer NOT NULL, inherits boolean NOT NULL, PRIMARY KEY (role, privilege));
CREATE TABLE users (id text PRIMARY KEY, unit text NOT NULL, disabled boolean NOT NULL);
CREATE TABLE memberships (member text, team text, PRIMARY KEY (member, team));
CREATE TABLE assignments (principal text, role text, unit text NOT NULL, PRIMARY KEY (principal, role));
CREATE TABLE records (id text PRIMARY KEY, owner text NOT NULL, unit text NOT NULL);
CREATE TABLE shares (record text, action text, principal text, PRIMARY KEY (record, action, principal))`

// The names of users and teams differ, so that a principal is a name. The order of
// the joins is said out, because SQLite picks one that takes 15 times as long.
const sqlCheck = `
WITH RECURSIVE
mine(principal) AS MATERIALIZED (SELECT $1 UNION ALL SELECT team FROM memberships WHERE member = $1),
held(unit, principal, depth, inherits) AS MATERIALIZED (
  SELECT a.unit, a.principal, p.depth, p.inherits FROM mine CROSS JOIN assignments a CROSS JOIN privileges p
  WHERE a.principal = mine.principal AND p.role = a.role AND p.privilege = $3),
above(unit) AS (
  SELECT unit FROM records WHERE id = $2
  UNION ALL SELECT parent FROM above JOIN units ON units.id = above.unit WHERE parent IS NOT NULL),
home(unit) AS (
  SELECT unit FROM users WHERE id = $1
  UNION ALL SELECT parent FROM home JOIN units ON units.id = home.unit WHERE parent IS NOT NULL)
SELECT NOT (SELECT disabled FROM users WHERE id = $1)
  AND NOT EXISTS (SELECT 1 FROM home JOIN units ON units.id = home.unit WHERE disabled)
  AND EXISTS (SELECT 1 FROM held)
  AND (EXISTS (
      SELECT 1 FROM records r CROSS JOIN held WHERE r.id = $2 AND (
        depth = 4
        OR depth = 3 AND held.unit IN (SELECT unit FROM above)
        OR depth = 2 AND held.unit = r.unit
        OR r.owner IN (SELECT principal FROM mine) AND (held.principal = $1 OR held.principal = r.owner OR inherits AND depth = 1)))
    OR EXISTS (
      SELECT 1 FROM shares WHERE record = $2 AND action = $4 AND (principal = 'everybody' OR principal IN (SELECT principal FROM mine))))`

func (s *sqlQuery) load(ctx context.Context, o *organisation) (err error) {
	if s.postgres != "" {
		s.db, err = sql.Open("postgres", s.postgres)
	} else {
		if s.dir, err = os.MkdirTemp("", "ambit-peers-"); err != nil {
			return err
		}
		s.db, err = sql.Open("sqlite", "file:"+filepath.Join(s.dir, "peers.db")+
			"?_pragma=cache_size(-262144)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=temp_store(memory)")
	}
	if err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	for _, statement := range strings.Split(sqlSchema, ";") {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := s.fill(ctx, o); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, "ANALYZE"); err != nil {
		return err
	}
	for n := range o.users {
		s.users = append(s.users, userName(n))
	}
	for n := range o.records {
		s.records = append(s.records, recordName(n))
	}
	s.query, err = s.db.PrepareContext(ctx, sqlCheck)
	return err
}

// fill writes the rows, many at once.
func (s *sqlQuery) fill(ctx context.Context, o *organisation) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // done after Commit
	rows := map[string][]any{}
	flush := func(table string) {
		all, width := rows[table], sqlWidths[table]
		if rows[table] = nil; len(all) == 0 || err != nil {
			return
		}
		var b strings.Builder
		for i := range all {
			switch {
			case i%width == 0 && i > 0:
				b.WriteString("),(")
			case i > 0:
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "$%d", i+1)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO "+table+" VALUES ("+b.String()+")", all...)
	}
	add := func(table string, values ...any) {
		if rows[table] = append(rows[table], values...); len(rows[table]) >= 3_000 {
			flush(table)
		}
	}
	for n, u := range o.units {
		var parent any
		if u.parent >= 0 {
			parent = unitName(u.parent)
		}
		add("units", unitName(n), parent, u.disabled)
	}
	for n, r := range o.roles {
		for p, d := range r.depths {
			if d != access.None {
				add("privileges", roleName(n), privilege(p).String(), int(d), r.inherits)
			}
		}
	}
	for n, t := range o.teams {
		for _, r := range t.roles {
			add("assignments", teamName(n), roleName(r), unitName(t.unit))
		}
	}
	for n, u := range o.users {
		add("users", userName(n), unitName(u.unit), u.disabled)
		for _, r := range u.roles {
			add("assignments", userName(n), roleName(r), unitName(u.unit))
		}
		for _, t := range u.teams {
			add("memberships", userName(n), teamName(t))
		}
	}
	for n, r := range o.records {
		add("records", recordName(n), r.ownerName(), unitName(r.unit))
	}
	for _, h := range o.shares {
		who := "everybody"
		switch h.kind {
		case access.UserPrincipal:
			who = userName(h.principal)
		case access.TeamPrincipal:
			who = teamName(h.principal)
		}
		for _, a := range h.rights {
			add("shares", recordName(h.record), a.String(), who)
		}
	}
	for table := range sqlWidths {
		flush(table)
	}
	return errors.Join(err, tx.Commit())
}

var sqlWidths = map[string]int{"units": 3, "privileges": 4, "users": 3, "memberships": 2, "assignments": 3, "records": 3, "shares": 3}

func (s *sqlQuery) check(ctx context.Context, q question) (allowed bool, err error) {
	err = s.query.QueryRowContext(ctx, s.users[q.user], s.records[q.record], q.privilege.String(), q.privilege.action().String()).Scan(&allowed)
	return allowed, err
}

func (s *sqlQuery) close() (err error) {
	if s.db != nil {
		err = s.db.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
