// Package postgres opens a store on PostgreSQL, shared by any number of processes.
//
// Commits wait for each other at one row, the head. A leader holds a session's
// advisory lock and a fence that its commits compare.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options of Open. The zero value is for production.
type Options struct {
	Now func() time.Time // nil: time.Now
	// Wrap, if set, stands around the driver's connections, as tracing does.
	Wrap func(driver.Connector) driver.Connector
}

const connections = 16

// Open opens the store in a database and brings its schema up to date. Close it
// after use. The dsn is a URL or key=value text as libpq reads it. Unless it names
// a Unix socket or a loopback address, the server must show a certificate for its
// name (sslmode=verify-full, Rule SEC-4).
//
// It returns store.ErrReadOnly if the server is read-only or full and
// store.ErrNewerSchema if a newer Ambit wrote the schema. The dsn is never part of
// an error.
func Open(ctx context.Context, dsn string, o Options) (_ *sqlstore.DB, err error) {
	cfg, err := configure(dsn)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store on PostgreSQL at %s: %w", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), err)
		}
	}()
	var c driver.Connector
	if c, err = pq.NewConnectorConfig(cfg); err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		c = o.Wrap(c)
	}
	db := sqlx.NewDb(sql.OpenDB(c), "postgres")
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	if err := migrate(ctx, db.DB); err != nil {
		_ = db.Close()
		if known := fault(err); known != nil {
			return nil, known
		}
		return nil, err
	}
	leading := &leader{db: db, held: map[string]held{}}
	return sqlstore.New(db, db, sqlstore.Dialect{
		TakeHead:    `SELECT revision, at, seq, hash FROM head FOR UPDATE`,
		HasFence:    `SELECT name FROM leaders WHERE fence = $1 FOR SHARE`,
		Snapshot:    sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
		Parameters:  65_535,
		Placeholder: func(b []byte, n int) []byte { return strconv.AppendInt(append(b, '$'), int64(n), 10) },
		Fault:       fault,
		Lead:        leading.lead,
	}, o.Now, leading), nil
}

// configure reads the dsn and adds what Ambit needs of a connection.
func configure(dsn string) (pq.Config, error) {
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return pq.Config{}, fmt.Errorf("PostgreSQL settings: %s", strings.ReplaceAll(err.Error(), dsn, "…"))
	}
	near := local(cfg.Host, cfg.Hostaddr)
	for _, m := range cfg.Multi {
		near = near && local(m.Host, m.Hostaddr)
	}
	switch {
	case near:
		cfg.SSLMode = cmp.Or(cfg.SSLMode, pq.SSLModeDisable)
	case cfg.SSLMode == "":
		cfg.SSLMode = pq.SSLModeVerifyFull
	case cfg.SSLMode != pq.SSLModeVerifyFull:
		return pq.Config{}, fmt.Errorf("PostgreSQL settings: sslmode=%s does not verify the server's name, and %s is not this machine; use sslmode=verify-full, with sslrootcert=FILE for an own authority",
			cfg.SSLMode, cfg.Host)
	}
	cfg.ApplicationName = cmp.Or(cfg.ApplicationName, "ambit")
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 10*time.Second)
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	for name, value := range map[string]string{
		// What was answered survives a power cut (Rule REL-1).
		"synchronous_commit": "on",
		// A process that stopped in the middle of a commit must not stop all others,
		// nor keep the lead when its machine is gone.
		"idle_in_transaction_session_timeout": "30s",
		"tcp_keepalives_idle":                 "10",
		"tcp_keepalives_interval":             "5",
		"tcp_keepalives_count":                "3",
	} {
		if _, ok := cfg.Runtime[name]; !ok {
			cfg.Runtime[name] = value
		}
	}
	return cfg, nil
}

// local tells whether a connection stays on this machine.
func local(host string, addr netip.Addr) bool {
	if addr.IsValid() {
		return addr.IsLoopback()
	}
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Two machines that start at once migrate one after the other (INC-20).
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	return sqlstore.Migrate(ctx, p)
}

// fault recognises PostgreSQL's errors by their code.
func fault(err error) error {
	e := pq.As(err)
	if e == nil {
		return nil
	}
	switch e.Code {
	case pqerror.DiskFull:
		return fmt.Errorf("%w: the server's disk is full; free some space, nothing was changed (%w)", store.ErrReadOnly, err)
	case pqerror.ReadOnlySQLTransaction, pqerror.FeatureNotSupported: // the latter from a standby, when a transaction begins
		return fmt.Errorf("%w: the server is read-only, as a standby is; name the primary, nothing was changed (%w)", store.ErrReadOnly, err)
	case pqerror.InsufficientPrivilege:
		return fmt.Errorf("%w: the database role may not; it needs SELECT, INSERT, UPDATE and DELETE on its tables (%w)", store.ErrReadOnly, err)
	case pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected:
		return fmt.Errorf("%w (%w)", store.ErrConflict, err)
	}
	return nil
}

// leader holds leads, each by a connection's advisory lock: the server gives it
// up when the connection ends, whatever became of this process.
type leader struct {
	db   *sqlx.DB
	mu   sync.Mutex
	held map[string]held
}

type held struct {
	conn  *sqlx.Conn
	fence int64
}

func (l *leader) lead(ctx context.Context, name string) (int64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h, ok := l.held[name]; ok {
		var fence int64
		err := h.conn.GetContext(ctx, &fence, `SELECT fence FROM leaders WHERE name = $1`, name)
		if err == nil && fence == h.fence {
			return h.fence, true, nil
		}
		if ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		// The connection is gone, and with it the lock.
		delete(l.held, name)
		l.discard(h.conn)
	}
	conn, err := l.db.Connx(ctx)
	if err != nil {
		return 0, false, err
	}
	var h held
	var mine bool
	err = conn.GetContext(ctx, &mine, `SELECT pg_try_advisory_lock(hashtextextended('ambit lead ' || $1::text, 0))`, name)
	if err == nil && mine {
		h.conn = conn
		err = conn.GetContext(ctx, &h.fence, `
			INSERT INTO leaders (name, fence) VALUES ($1, nextval('fences'))
			ON CONFLICT (name) DO UPDATE SET fence = excluded.fence
			RETURNING fence`, name)
	}
	switch {
	case err != nil:
		l.discard(conn)
		return 0, false, err
	case !mine:
		return 0, false, conn.Close()
	}
	l.held[name] = h
	return h.fence, true, nil
}

// discard ends a connection, so that it does not go back to the pool with a lock.
func (l *leader) discard(conn *sqlx.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// Close gives all leads up. The server ends a session some time after it was
// closed, so the locks are given back by name: who comes next need not wait.
func (l *leader) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for name, h := range l.held {
		_, _ = h.conn.ExecContext(ctx, `SELECT pg_advisory_unlock(hashtextextended('ambit lead ' || $1::text, 0))`, name) // or else with the session
		l.discard(h.conn)
		delete(l.held, name)
	}
	return nil
}
