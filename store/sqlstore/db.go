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
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// DB is an open store. It is safe for concurrent use.
type DB struct {
	write, read *sqlx.DB
}

var errNotYet = errors.New("not built yet")

// Close releases the database and whatever lock is held on it.
func (db *DB) Close() error { return errNotYet }

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return errNotYet }

// Commit makes one revision, whole or not at all (Rule REL-2).
func (db *DB) Commit(ctx context.Context, c store.Commit) (store.Committed, error) {
	return store.Committed{}, errNotYet
}

// Newest returns the newest revision, zero if there is none yet.
func (db *DB) Newest(ctx context.Context) (store.Committed, error) {
	return store.Committed{}, errNotYet
}

// Load yields the objects of all environments at a revision (zero: the newest),
// without the elevation requests that are closed.
func (db *DB) Load(ctx context.Context, rev access.Revision, yield func(access.Object) error) error {
	return errNotYet
}

// Changes yields what changed after one revision up to another (zero: the
// newest), in the order of revisions.
func (db *DB) Changes(ctx context.Context, after, upto access.Revision, yield func(access.Revision, store.Difference) error) error {
	return errNotYet
}

// RevisionAt returns the revision that was the newest at an instant, or
// store.ErrNotFound if there was none yet.
func (db *DB) RevisionAt(ctx context.Context, t time.Time) (access.Revision, error) {
	return 0, errNotYet
}

// Object returns one object as it was at a revision (zero: the newest), or
// store.ErrNotFound.
func (db *DB) Object(ctx context.Context, rev access.Revision, env access.EnvironmentID, kind access.Kind, key string) (store.Version, error) {
	return store.Version{}, errNotYet
}

// Objects pages through the objects of a kind at a revision (zero: the newest),
// in the order of their keys, from the one that follows afterKey.
func (db *DB) Objects(ctx context.Context, rev access.Revision, env access.EnvironmentID, kind access.Kind, afterKey string, limit int) ([]store.Version, error) {
	return nil, errNotYet
}

// Requests lists elevation requests as they are now, newest first.
func (db *DB) Requests(ctx context.Context, q store.RequestQuery) ([]store.Version, error) {
	return nil, errNotYet
}

// Audit lists audit events, newest first.
func (db *DB) Audit(ctx context.Context, q store.AuditQuery) ([]audit.Event, error) {
	return nil, errNotYet
}

// Verify reads the whole store and checks it against the audit chain. Its error
// wraps store.ErrTampered and says what does not hold and where.
func (db *DB) Verify(ctx context.Context, progress func(done, all int64)) (store.Verified, error) {
	return store.Verified{}, errNotYet
}

// Reply returns the answer that was given to a request with this idempotency
// key, or store.ErrNotFound (Rule JIT-47).
func (db *DB) Reply(ctx context.Context, caller, method, path, key string) (*store.Reply, error) {
	return nil, errNotYet
}

// LoadMirror yields what a source said last and returns where its mirror stands:
// the zero status for a source that was never read.
func (db *DB) LoadMirror(ctx context.Context, source directory.SourceID, yield func(store.MirrorRow) error) (store.MirrorStatus, error) {
	return store.MirrorStatus{}, errNotYet
}

// CommitMirror stores a page with its cursor, whole or not at all (Rule SRC-2).
func (db *DB) CommitMirror(ctx context.Context, p store.MirrorPage) error { return errNotYet }

// DropMirror forgets a source.
func (db *DB) DropMirror(ctx context.Context, source directory.SourceID) error { return errNotYet }

// Watermark returns the largest time that SetWatermark was given, zero if none
// (Rule JIT-21).
func (db *DB) Watermark(ctx context.Context) (time.Time, error) { return time.Time{}, errNotYet }

// SetWatermark keeps a time, unless a later one is kept already.
func (db *DB) SetWatermark(ctx context.Context, t time.Time) error { return errNotYet }

// Bootstrap returns the hash of the one-time credential and whether it was used,
// or store.ErrNotFound if none was set.
func (db *DB) Bootstrap(ctx context.Context) (hash []byte, used bool, err error) {
	return nil, false, errNotYet
}

// SetBootstrap keeps the hash of a new one-time credential in place of the last.
func (db *DB) SetBootstrap(ctx context.Context, hash []byte) error { return errNotYet }

// UseBootstrap marks the credential as used, or returns store.ErrNotFound if
// there is none or it was used already.
func (db *DB) UseBootstrap(ctx context.Context) error { return errNotYet }

// Lead takes or keeps the lead of what name names, such as "sync". ok is false
// while another process has it. The fence goes into commits, which are refused
// with store.ErrFenced once another leads (Rule REL-6).
func (db *DB) Lead(ctx context.Context, name string) (fence int64, ok bool, err error) {
	return 0, false, errNotYet
}
