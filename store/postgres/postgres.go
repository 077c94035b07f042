// Package postgres opens a store on PostgreSQL, shared by any number of processes.
//
// Commits wait for each other at one row, the head, and tell all processes of
// themselves. A leader holds a session's advisory lock, which the server takes
// away when it hears nothing of the leader, and a fence that its commits compare.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
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
	// LockLife is how long a leader may be silent before the server gives its lock
	// to another; 0: 15 seconds.
	LockLife time.Duration
	// Silence is how long the server may let a question wait; 0: 20 seconds.
	Silence time.Duration
}

const (
	connections     = 16
	defaultLockLife = 15 * time.Second
	defaultSilence  = 20 * time.Second
)

// Open opens the store in a database and brings its schema up to date. Close it
// after use. The dsn is a URL or key=value text as libpq reads it. Unless it names
// a Unix socket or a loopback address, the server must show a certificate for its
// name (sslmode=verify-full, Rule SEC-4). Of several hosts the one that can be
// written to is used (target_session_attrs=read-write), after a failover another.
//
// It returns store.ErrReadOnly if the server is read-only or full,
// store.ErrUnreachable if it does not answer and store.ErrNewerSchema if a newer
// Ambit wrote the schema. The dsn is never part of an error.
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
	if err := prepare(ctx, cfg, o.Wrap); err != nil {
		if known := fault(err); known != nil {
			return nil, known
		}
		return nil, err
	}
	patience := cmp.Or(o.Silence, defaultSilence)
	pool, err := connect(cfg, &dialer{silence: patience}, o.Wrap)
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(pool, "postgres")
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	ear := listener{dsn: listening(dsn, cfg), silence: patience}
	leading := newLeader(db, cmp.Or(o.LockLife, defaultLockLife))
	return sqlstore.New(db, db, sqlstore.Dialect{
		TakeHead:    `SELECT revision, at, seq, hash FROM head FOR UPDATE`,
		Tell:        ` RETURNING pg_notify('` + channel + `', '')`,
		HasFence:    `SELECT name FROM leaders WHERE fence = $1 FOR SHARE`,
		Snapshot:    sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
		Parameters:  65_535,
		Placeholder: parameter,
		Again:       parameter,
		Fault:       fault,
		Lead:        leading.lead,
		Watch:       ear.watch,
		Call:        `SELECT pg_notify('` + calls + `', $1)`,
		Hear:        ear.hear,
	}, o.Now, leading), nil
}

func connect(cfg pq.Config, d *dialer, wrap func(driver.Connector) driver.Connector) (*sql.DB, error) {
	direct, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	if d != nil {
		direct.Dialer(*d)
	}
	var c driver.Connector = direct
	if wrap != nil {
		c = wrap(c)
	}
	return sql.OpenDB(c), nil
}

// prepare brings the schema up to date, by connections that may be silent for as
// long as that takes.
func prepare(ctx context.Context, cfg pq.Config, wrap func(driver.Connector) driver.Connector) error {
	db, err := connect(cfg, nil, wrap)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // what was done is done
	return migrate(ctx, db)
}

func parameter(b []byte, n int) []byte { return strconv.AppendInt(append(b, '$'), int64(n), 10) }

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
	if len(cfg.Multi) > 0 {
		cfg.TargetSessionAttrs = cmp.Or(cfg.TargetSessionAttrs, pq.TargetSessionAttrsReadWrite)
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
		"idle_in_transaction_session_timeout": "10s",
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

// fault recognises PostgreSQL's errors by their code, and that it does not answer.
func fault(err error) error {
	e := pq.As(err)
	if e == nil {
		return unreachable(err)
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
	case pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow, pqerror.IdleSessionTimeout, pqerror.IdleInTransactionSessionTimeout, pqerror.TooManyConnections:
		return fmt.Errorf("%w (%w)", store.ErrUnreachable, err)
	}
	return nil
}

// unreachable recognises what a connection says that ended, or was never made.
func unreachable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("%w (%w)", store.ErrUnreachable, err)
	}
	return nil
}
