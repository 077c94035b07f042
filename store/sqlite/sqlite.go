// Package sqlite opens the embedded store: one file, one process.
//
// The file is in WAL mode with synchronous=FULL, so that what was answered
// survives a power cut (Rule REL-1). One connection writes; others read beside
// it.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	sqlite "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

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

// readers is how many connections read at once.
const readers = 8

// Open opens the store in a file, makes it if there is none, and brings its
// schema up to date. Close it after use.
//
// It returns store.ErrLocked if another process has the file, store.ErrReadOnly
// if it cannot be written and store.ErrNewerSchema if a newer Ambit wrote it.
func Open(ctx context.Context, path string, o Options) (_ *sqlstore.DB, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", path, err)
		}
	}()
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	// SQLite would make it readable by others; what it makes beside the file has
	// the file's mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cannotWrite(err)
	}
	if err := f.Close(); err != nil {
		return nil, cannotWrite(err)
	}
	write, err := connect(path, o, 1, "_txlock=immediate")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = write.Close()
		}
	}()
	if err := migrate(ctx, write.DB); err != nil {
		if known := fault(err); known != nil {
			return nil, known
		}
		return nil, err
	}
	read, err := connect(path, o, readers, "_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	leading := leader{db: write, fences: map[string]int64{}}
	return sqlstore.New(write, read, sqlstore.Dialect{
		TakeHead:    `SELECT revision, at, seq, hash FROM head`, // the writer is alone
		HasFence:    `SELECT name FROM leaders WHERE fence = $1`,
		Snapshot:    sql.TxOptions{ReadOnly: true},
		Parameters:  32_766,
		Placeholder: func(b []byte, _ int) []byte { return append(b, '?') },
		Again:       func(b []byte, n int) []byte { return strconv.AppendInt(append(b, '?'), int64(n), 10) },
		Fault:       fault,
		Lead:        leading.lead,
	}, o.Now, lock), nil
}

func connect(path string, o Options, most int, options string) (*sqlx.DB, error) {
	// The pragmas stand in the name, so that every connection has them. The log grows
	// to 64 MB before it is put back: in a first synchronisation most pages change
	// again and again.
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String() +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=trusted_schema(0)&_pragma=cache_size(-65536)&_pragma=temp_store(MEMORY)&_pragma=journal_size_limit(67108864)&_pragma=wal_autocheckpoint(16384)&_dqs=0&_error_rc=1&" + options
	var c driver.Connector
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		c = o.Wrap(c)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return sqlx.NewDb(db, "sqlite"), nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	return sqlstore.Migrate(ctx, p)
}

// lockFile keeps other processes out for as long as the file stays open: SQLite
// alone would let them in, and each would answer from a state of its own.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cannotWrite(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner := make([]byte, 20)
		n, _ := f.ReadAt(owner, 0)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: process %s has it; stop that one, or talk to it", store.ErrLocked, owner[:n])
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// Only for the message above; the lock itself ends with the process.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return f, nil
}

// cannotWrite recognises the errors of the file system.
func cannotWrite(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return full(err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return readOnly(err)
	}
	return err
}

func full(err error) error {
	return fmt.Errorf("%w: the disk is full; free some space, nothing was changed (%w)", store.ErrReadOnly, err)
}

func readOnly(err error) error {
	return fmt.Errorf("%w: let this user write the file and its folder, nothing was changed (%w)", store.ErrReadOnly, err)
}

// fault recognises SQLite's errors by their code.
func fault(err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return nil
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_FULL:
		return full(err)
	case codes.SQLITE_READONLY, codes.SQLITE_CANTOPEN, codes.SQLITE_PERM:
		return readOnly(err)
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		return fmt.Errorf("%w: something beside Ambit has the file open (%w)", store.ErrLocked, err)
	case codes.SQLITE_IOERR:
		return fmt.Errorf("%w: the disk reports an error, nothing was changed (%w)", store.ErrReadOnly, err)
	}
	return nil
}

// leader leads always: the lock file keeps everybody else out. Its fences are
// new for each process all the same, so that a store that was copied away and
// back refuses whoever led it before.
type leader struct {
	db     *sqlx.DB
	mu     sync.Mutex
	fences map[string]int64
}

func (l *leader) lead(ctx context.Context, name string) (int64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fence, ok := l.fences[name]; ok {
		return fence, true, nil
	}
	var fence int64
	err := l.db.GetContext(ctx, &fence, `
		INSERT INTO leaders (name, fence) SELECT $1, coalesce(max(fence), 0) + 1 FROM leaders WHERE true
		ON CONFLICT (name) DO UPDATE SET fence = excluded.fence
		RETURNING fence`, name)
	if err != nil {
		return 0, false, err
	}
	l.fences[name] = fence
	return fence, true, nil
}
