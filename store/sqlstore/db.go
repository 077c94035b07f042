// Package sqlstore is the store in SQL: one text for SQLite and PostgreSQL where
// one can be. Packages sqlite and postgres open it; what the two do not share is
// a Dialect.
//
// Every kind of object has one table. Its rows carry the revision that made them
// and the one that ended them, so that the state at any revision, the changes
// between two and the history are all queries on it. Rows are never edited but
// for that end.
//
// It judges no changeset: package access does that before.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/store"
)

// Dialect is what the two databases do not share.
type Dialect struct {
	// TakeHead reads the head and makes other commits wait for this one's end.
	TakeHead string
	// Tell ends the statement that moves the head, so that other processes hear of
	// it; see DB.Watch.
	Tell string
	// HasFence counts the leaders with a fence and keeps them in place until the
	// transaction's end.
	HasFence string
	// Snapshot makes a transaction see one revision only.
	Snapshot sql.TxOptions
	// Parameters is how many a statement may have.
	Parameters int
	// Placeholder names the n-th parameter, from 1, of a statement that has them in
	// order.
	Placeholder func(b []byte, n int) []byte
	// Again names a parameter that was named before.
	Again func(b []byte, n int) []byte
	// Fault recognises an error by its code and returns what a caller may branch on
	// with what to do, or nil.
	Fault func(error) error
	// Lead takes or keeps a lead; see DB.Lead.
	Lead func(ctx context.Context, name string) (fence int64, ok bool, err error)
	// Watch tells of commits; nil where nobody else commits. See DB.Watch.
	Watch func(ctx context.Context, changed func()) error
	// Call hands a text to every process, and Hear takes them; empty and nil where
	// this process is alone. See DB.Call.
	Call string
	Hear func(ctx context.Context, heard func(text string)) error
}

// DB is an open store. It is safe for concurrent use.
type DB struct {
	write, read *sqlx.DB
	dialect     Dialect
	nouns       []noun
	now         func() time.Time
	closers     []io.Closer
}

// New makes a store of open databases with an up-to-date schema, one to write to
// and one to read from. They may be the same. Close closes both, then the
// closers in order.
func New(write, read *sqlx.DB, d Dialect, now func() time.Time, closers ...io.Closer) *DB {
	if now == nil {
		now = time.Now
	}
	return &DB{write: write, read: read, dialect: d, nouns: nouns(), now: now, closers: closers}
}

// Close releases the database and whatever lock is held on it.
func (db *DB) Close() error {
	errs := []error{db.read.Close()}
	if db.write != db.read {
		errs = append(errs, db.write.Close())
	}
	for _, c := range db.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	_, err := db.Newest(ctx)
	return err
}

// fault says what could not be done and lets a caller branch on why.
func (db *DB) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	if known := db.dialect.Fault(err); known != nil {
		err = known
	}
	return fmt.Errorf("%s: %w", what, err)
}

// change runs f in a transaction, whole or not at all. The context ends what f
// does, and not the commit: a commit that is cancelled while it waits for a standby
// is one that others see and that a failover loses (Rule REL-1).
func (db *DB) change(ctx context.Context, what string, f func(*sqlx.Tx) error) error {
	begin, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	begun := context.AfterFunc(ctx, end)
	tx, err := db.write.BeginTxx(begin, nil)
	begun()
	if err != nil {
		return db.fault(what, err)
	}
	if err := f(tx); err != nil {
		// A rollback that fails has nothing to add: the connection is discarded and
		// with it the transaction.
		_ = tx.Rollback()
		return db.fault(what, err)
	}
	return db.fault(what, tx.Commit())
}

// see runs f in a transaction that sees one revision.
func (db *DB) see(ctx context.Context, what string, f func(*sqlx.Tx) error) error {
	tx, err := db.read.BeginTxx(ctx, &db.dialect.Snapshot)
	if err != nil {
		return db.fault(what, err)
	}
	defer func() { _ = tx.Rollback() }()
	return db.fault(what, f(tx))
}

// head is the store's newest revision and the end of its audit log.
type head struct {
	Revision access.Revision `db:"revision"`
	At       int64           `db:"at"`
	Seq      int64           `db:"seq"`
	Hash     string          `db:"hash"`
}

func (h head) at() time.Time {
	if h.Revision == 0 {
		return time.Time{}
	}
	return fromMicro(h.At)
}

func fromMicro(n int64) time.Time { return time.UnixMicro(n).UTC() }

// revision turns the zero revision into the newest, and refuses one to come.
func (db *DB) revision(ctx context.Context, q sqlx.QueryerContext, rev access.Revision) (access.Revision, error) {
	var h head
	if err := sqlx.GetContext(ctx, q, &h, `SELECT revision, at, seq, hash FROM head`); err != nil {
		return 0, err
	}
	if rev == 0 {
		return h.Revision, nil
	}
	if rev < 0 || rev > h.Revision {
		return 0, fmt.Errorf("revision %d, the newest is %d: %w", rev, h.Revision, store.ErrNotFound)
	}
	return rev, nil
}

// Newest returns the newest revision, zero if there is none yet.
func (db *DB) Newest(ctx context.Context) (store.Committed, error) {
	var h head
	if err := db.read.GetContext(ctx, &h, `SELECT revision, at, seq, hash FROM head`); err != nil {
		return store.Committed{}, db.fault("read the newest revision", err)
	}
	return store.Committed{Revision: h.Revision, At: h.at()}, nil
}

// CommittedAt returns when a revision was committed, or store.ErrNotFound.
func (db *DB) CommittedAt(ctx context.Context, rev access.Revision) (time.Time, error) {
	var at int64
	err := db.read.GetContext(ctx, &at, `SELECT at FROM revisions WHERE revision = $1`, int64(rev))
	return fromMicro(at), db.fault(fmt.Sprintf("read when revision %d was committed", rev), none(err))
}

// Watch calls changed, from one goroutine, each time somebody may have committed.
// It returns when the context ends; nil at once where this process is alone. A
// watch that misses something costs time and nothing else: Newest knows.
func (db *DB) Watch(ctx context.Context, changed func()) error {
	if db.dialect.Watch == nil {
		return nil
	}
	return db.fault("listen for commits", db.dialect.Watch(ctx, changed))
}

// Alone tells whether no other process can have the store open.
func (db *DB) Alone() bool { return db.dialect.Hear == nil }

// Call hands a text of at most 7999 bytes to every process that listens by Hear at
// this moment, this one among them. Whoever does not misses it.
func (db *DB) Call(ctx context.Context, text string) error {
	if db.Alone() {
		return nil
	}
	_, err := db.write.ExecContext(ctx, db.dialect.Call, text)
	return db.fault("call other processes", err)
}

// Hear calls heard, from one goroutine, with each text that some process hands on.
// It returns when the context ends; nil at once where this process is alone.
func (db *DB) Hear(ctx context.Context, heard func(text string)) error {
	if db.Alone() {
		return nil
	}
	return db.fault("listen for calls", db.dialect.Hear(ctx, heard))
}

// RevisionAt returns the revision that was the newest at an instant, or
// store.ErrNotFound if there was none yet.
func (db *DB) RevisionAt(ctx context.Context, t time.Time) (access.Revision, error) {
	what := "read the revision at " + t.UTC().Format(time.RFC3339Nano)
	var rev access.Revision
	err := db.read.GetContext(ctx, &rev, `SELECT revision FROM revisions WHERE at <= $1 ORDER BY at DESC LIMIT 1`, t.UnixMicro())
	return rev, db.fault(what, none(err))
}

// Watermark returns the largest time that SetWatermark was given, zero if none
// (Rule JIT-21).
func (db *DB) Watermark(ctx context.Context) (time.Time, error) {
	var at int64
	err := db.read.GetContext(ctx, &at, `SELECT at FROM watermark`)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return fromMicro(at), db.fault("read the clock's watermark", err)
}

// SetWatermark keeps a time, unless a later one is kept already.
func (db *DB) SetWatermark(ctx context.Context, t time.Time) error {
	_, err := db.write.ExecContext(ctx, `
		INSERT INTO watermark (one, at) VALUES (1, $1)
		ON CONFLICT (one) DO UPDATE SET at = excluded.at WHERE watermark.at < excluded.at`, t.UnixMicro())
	return db.fault("keep the clock's watermark", err)
}

// Bootstrap returns the hash of the one-time credential and whether it was used,
// or store.ErrNotFound if none was set.
func (db *DB) Bootstrap(ctx context.Context) (hash []byte, used bool, err error) {
	err = db.read.QueryRowxContext(ctx, `SELECT hash, used FROM bootstrap`).Scan(&hash, &used)
	return hash, used, db.fault("read the bootstrap credential", none(err))
}

// SetBootstrap keeps the hash of a new one-time credential in place of the last.
func (db *DB) SetBootstrap(ctx context.Context, hash []byte) error {
	_, err := db.write.ExecContext(ctx, `
		INSERT INTO bootstrap (one, hash, used) VALUES (1, $1, $2)
		ON CONFLICT (one) DO UPDATE SET hash = excluded.hash, used = excluded.used`, hash, false)
	return db.fault("keep the bootstrap credential", err)
}

// UseBootstrap marks the credential as used, or returns store.ErrNotFound if
// there is none or it was used already.
func (db *DB) UseBootstrap(ctx context.Context) error {
	const what = "use the bootstrap credential"
	done, err := db.write.ExecContext(ctx, `UPDATE bootstrap SET used = $1 WHERE used <> $1`, true)
	if err != nil {
		return db.fault(what, err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return db.fault(what, errors.Join(err, store.ErrNotFound))
	}
	return nil
}

// Reply returns the answer that was given to a request with this idempotency
// key, or store.ErrNotFound (Rule JIT-47).
func (db *DB) Reply(ctx context.Context, caller, method, path, key string) (*store.Reply, error) {
	r := &store.Reply{Caller: caller, Method: method, Path: path, Key: key}
	var expires int64
	err := db.read.QueryRowxContext(ctx, `
		SELECT body_digest, status, body, expires FROM replies
		WHERE caller = $1 AND method = $2 AND path = $3 AND idempotency_key = $4 AND expires > $5`,
		caller, method, path, key, db.now().UnixMicro(),
	).Scan(&r.BodyDigest, &r.Status, &r.Body, &expires)
	if err != nil {
		return nil, db.fault("read the answer to "+method+" "+path, none(err))
	}
	r.Expires = fromMicro(expires)
	return r, nil
}

// Lead takes or keeps the lead of what name names, such as "sync". ok is false
// while another process has it. The fence goes into commits, which are refused
// with store.ErrFenced once another leads (Rule REL-6).
func (db *DB) Lead(ctx context.Context, name string) (fence int64, ok bool, err error) {
	fence, ok, err = db.dialect.Lead(ctx, name)
	return fence, ok, db.fault("take the lead of "+name, err)
}

// fenced refuses to go on for a leader that was replaced (Rule REL-6).
func (db *DB) fenced(ctx context.Context, tx *sqlx.Tx, fence int64) error {
	if fence == 0 {
		return nil
	}
	var names []string
	if err := tx.SelectContext(ctx, &names, db.dialect.HasFence, fence); err != nil {
		return err
	}
	if len(names) == 0 {
		return store.ErrFenced
	}
	return nil
}

// batch is how many rows of so many parameters one statement takes.
func (db *DB) batch(parameters int) int { return min(rowsAtOnce, db.dialect.Parameters/(parameters+1)) }

const rowsAtOnce = 500

// tuples writes rows of placeholders, the first of them numbered first: "(?, ?),
// (?, ?)", each with the given end.
func (db *DB) tuples(b *strings.Builder, rows, width, first int, end string) {
	var n []byte
	for r := range rows {
		if r > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for c := range width {
			if c > 0 {
				b.WriteByte(',')
			}
			n = db.dialect.Placeholder(n[:0], first+r*width+c)
			b.Write(n)
		}
		b.WriteString(end)
		b.WriteByte(')')
	}
}
