package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/store"
)

// entry is one object of a changeset. Its key is made when it is needed: with it a
// first synchronisation's entries would be three times as large.
type entry struct {
	object access.Object // as it is to be, or that goes
	before access.Object
	kind   access.Kind
	gone   bool
}

// after is nil where the object goes.
func (e *entry) after() access.Object {
	if e.gone {
		return nil
	}
	return e.object
}

// Commit makes one revision, whole or not at all (Rule REL-2).
//
// What changes nothing leaves no version: a put of what is there already, a
// deletion of what is not there. The last change of an object wins.
func (db *DB) Commit(ctx context.Context, c store.Commit) (store.Committed, error) {
	what := fmt.Sprintf("commit on revision %d", c.Base)
	if len(c.Events) == 0 && c.First == nil {
		return store.Committed{}, fmt.Errorf("%s: internal error: no audit event", what)
	}
	if c.At.IsZero() {
		return store.Committed{}, fmt.Errorf("%s: internal error: no time", what)
	}
	entries, err := db.entries(c.Changes)
	if err != nil {
		return store.Committed{}, fmt.Errorf("%s: %w", what, err)
	}
	var done store.Committed
	err = db.change(ctx, what, func(tx *sqlx.Tx) error {
		var h head
		if err := tx.GetContext(ctx, &h, db.dialect.TakeHead); err != nil {
			return err
		}
		if h.Revision != c.Base {
			return fmt.Errorf("the newest is %d: %w", h.Revision, store.ErrConflict)
		}
		if err := db.fenced(ctx, tx, c.Fence); err != nil {
			return err
		}
		done = store.Committed{Revision: h.Revision + 1, At: access.Instant(c.At)}
		if h.Revision > 0 && done.At.UnixMicro() <= h.At {
			done.At = fromMicro(h.At + 1) // Rule JIT-21
		}
		digest, err := db.apply(ctx, tx, done.Revision, entries)
		if err != nil {
			return err
		}
		events := c.Events
		if c.First != nil {
			first, err := c.First()
			if err != nil {
				return err
			}
			events = append([]audit.Event{first}, events...)
		}
		if err := db.record(ctx, tx, h, done, digest, events); err != nil {
			return err
		}
		if c.Run != nil {
			run := c.Run()
			if run.Result == store.RunApplied {
				run.Revision = done.Revision
			}
			if _, err := db.putRun(ctx, tx, run, c.KeepRuns); err != nil {
				return err
			}
		}
		return db.keep(ctx, tx, c.Reply, done.At)
	})
	if err != nil {
		return store.Committed{}, err
	}
	return done, nil
}

// entries brings changes to the order of kind and key, one for each object.
func (db *DB) entries(changes []access.Change) ([]entry, error) {
	out := make([]entry, len(changes))
	for i, c := range changes {
		if err := known(c.Object); err != nil {
			return nil, err
		}
		kind := c.Object.ObjectKind()
		out[i] = entry{object: normal(c.Object), kind: kind, gone: c.Delete}
		for _, part := range db.nouns[kind].keyOf(c.Object) {
			if err := checkText(part); err != nil {
				return nil, fmt.Errorf("%s: %w", c, err)
			}
		}
	}
	// A plan's objects come in order, but for units.
	byKind := func(a, b entry) int { return int(a.kind) - int(b.kind) }
	slices.SortStableFunc(out, byKind)
	for rest := out; len(rest) > 0; {
		n := ofKind(rest)
		if !slices.IsSortedFunc(rest[:n], db.compare) {
			slices.SortStableFunc(rest[:n], db.compare)
		}
		rest = rest[n:]
	}
	last := out[:0]
	for i, e := range out {
		if i+1 < len(out) && db.compare(out[i+1], e) == 0 {
			continue
		}
		last = append(last, e)
	}
	return last, nil
}

// ofKind counts the entries at the beginning that are of one kind.
func ofKind(entries []entry) int {
	n := slices.IndexFunc(entries, func(e entry) bool { return e.kind != entries[0].kind })
	if n < 0 {
		return len(entries)
	}
	return n
}

// compare orders entries by kind and key.
func (db *DB) compare(a, b entry) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	keyOf := db.nouns[a.kind].keyOf
	return keyOf(a.object).compare(keyOf(b.object))
}

// apply ends and makes versions, and returns the digest of what changed.
func (db *DB) apply(ctx context.Context, tx *sqlx.Tx, rev access.Revision, entries []entry) (*audit.Digest, error) {
	digest := audit.NewDigest()
	// Hashing goes on beside the writing.
	var hashing errgroup.Group
	hashing.SetLimit(1) // in order
	defer func() { _ = hashing.Wait() }()
	for len(entries) > 0 {
		n := &db.nouns[entries[0].kind]
		end := ofKind(entries)
		group := entries[:end]
		entries = entries[end:]
		if err := db.findBefore(ctx, tx, n, group); err != nil {
			return nil, err
		}
		kept := group[:0]
		for _, e := range group {
			changed, err := audit.Changed(e.before, e.after())
			if err != nil {
				return nil, err
			}
			if changed {
				kept = append(kept, e)
			}
		}
		hashing.Go(func() error {
			for _, e := range kept {
				if _, err := digest.Add(e.kind, e.before, e.after()); err != nil {
					return err
				}
			}
			return nil
		})
		if err := db.end(ctx, tx, n, rev, kept); err != nil {
			return nil, err
		}
		if err := db.insert(ctx, tx, n, rev, kept); err != nil {
			return nil, err
		}
	}
	return digest, hashing.Wait()
}

// findBefore fills the live versions of a kind's entries.
func (db *DB) findBefore(ctx context.Context, tx *sqlx.Tx, n *noun, entries []entry) error {
	var some []int
	if err := tx.SelectContext(ctx, &some, `SELECT 1 FROM `+n.table+` LIMIT 1`); err != nil {
		return err
	}
	if len(some) == 0 {
		return nil
	}
	cols := n.keyColumns()
	r := newDecoder(columns(n.allColumns()), map[string]string{})
	for part := range slices.Chunk(entries, db.batch(len(cols))) {
		// The keys come first, so that each is looked up in the index.
		var q strings.Builder
		q.WriteString(`SELECT ` + names(n.allColumns()) + ` FROM ` + n.table + ` WHERE until = ` + forever + ` AND (` + names(cols) + `) IN (VALUES `)
		db.tuples(&q, len(part), len(cols), 1, "")
		q.WriteByte(')')
		values := make([]any, 0, len(part)*len(cols))
		for _, e := range part {
			values = n.keyOf(e.object).append(values, len(cols))
		}
		if err := n.each(ctx, tx, r, q.String(), values, func(o access.Object) error {
			k := n.keyOf(o)
			i, ok := slices.BinarySearchFunc(part, k, func(e entry, k key) int { return n.keyOf(e.object).compare(k) })
			if !ok {
				return fmt.Errorf("internal error: %s %v was not asked for", n.kind, k)
			}
			part[i].before = o
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// forever is until of what has not ended.
const forever = "9223372036854775807"

// end closes the versions that the revision replaces or removes.
func (db *DB) end(ctx context.Context, tx *sqlx.Tx, n *noun, rev access.Revision, entries []entry) error {
	cols := n.keyColumns()
	var ending []entry
	for _, e := range entries {
		if e.before != nil {
			ending = append(ending, e)
		}
	}
	for part := range slices.Chunk(ending, db.batch(len(cols))) {
		var q strings.Builder
		q.WriteString(`UPDATE ` + n.table + ` SET until = `)
		q.Write(db.dialect.Placeholder(nil, 1))
		q.WriteString(` WHERE until = ` + forever + ` AND (` + names(cols) + `) IN (VALUES `)
		db.tuples(&q, len(part), len(cols), 2, "")
		q.WriteByte(')')
		values := append(make([]any, 0, 1+len(part)*len(cols)), int64(rev))
		for _, e := range part {
			values = n.keyOf(e.object).append(values, len(cols))
		}
		if _, err := tx.ExecContext(ctx, q.String(), values...); err != nil {
			return fmt.Errorf("%s: %w", n.table, err)
		}
	}
	return nil
}

// insert makes new versions.
func (db *DB) insert(ctx context.Context, tx *sqlx.Tx, n *noun, rev access.Revision, entries []entry) error {
	cols := n.allColumns()
	rows := inserter{db: db, tx: tx, into: n.table + ` (` + names(cols) + `, since)`, width: len(cols), end: fmt.Sprintf(", %d", rev)}
	w := &rows.encoder
	for _, e := range entries {
		if e.gone {
			continue
		}
		w.values = n.keyOf(e.object).append(w.values, len(cols)-len(n.rest))
		if err := n.write(e.object, w); err != nil {
			return fmt.Errorf("%s %s/%s: %w", n.kind, e.object.ObjectEnvironment(), e.object.ObjectKey(), err)
		}
		if err := rows.next(ctx); err != nil {
			return fmt.Errorf("%s: %w", n.table, err)
		}
	}
	if err := rows.close(ctx); err != nil {
		return fmt.Errorf("%s: %w", n.table, err)
	}
	return nil
}

func (k key) append(values []any, parts int) []any {
	for _, s := range k[:parts] {
		values = append(values, s)
	}
	return values
}

// record writes the revision and its events, and moves the head.
func (db *DB) record(ctx context.Context, tx *sqlx.Tx, h head, done store.Committed, digest *audit.Digest, events []audit.Event) error {
	at := done.At.UnixMicro()
	if _, err := tx.ExecContext(ctx, `INSERT INTO revisions (revision, at, changes) VALUES ($1, $2, $3)`,
		int64(done.Revision), at, digest.Count()); err != nil {
		return fmt.Errorf("revisions: %w", err)
	}
	chain := audit.Chain{Seq: h.Seq, Revision: h.Revision, At: h.at(), Hash: h.Hash}
	rows := inserter{db: db, tx: tx, into: `audit_events (` + names(eventColumns()) + `)`, width: len(eventColumns())}
	for i, e := range events {
		e = printable(e)
		e.Revision, e.At = done.Revision, done.At
		e.Changes, e.ChangesDigest = 0, ""
		if i == 0 {
			e.Changes, e.ChangesDigest = digest.Count(), digest.Sum()
		}
		if err := chain.Append(&e); err != nil {
			return err
		}
		writeEvent(&rows.encoder, e)
		if err := rows.next(ctx); err != nil {
			return fmt.Errorf("audit_events: %w", err)
		}
	}
	if err := rows.close(ctx); err != nil {
		return fmt.Errorf("audit_events: %w", err)
	}
	_, err := tx.ExecContext(ctx, `UPDATE head SET revision = $1, at = $2, seq = $3, hash = $4`+db.dialect.Tell,
		int64(done.Revision), at, chain.Seq, chain.Hash)
	return err
}

// printable brings what strangers wrote to what both databases can keep. It
// replaces, since a log that refuses an event has lost it.
func printable(e audit.Event) audit.Event {
	for _, s := range []*string{
		&e.Actor.ID, &e.Actor.Name, &e.Actor.OnBehalfOf, &e.Actor.Address, &e.Operation, (*string)(&e.Environment),
		&e.Object, &e.Reason, &e.Correlation,
	} {
		*s = storable(*s)
	}
	return e
}

// storable replaces what PostgreSQL cannot keep.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

// keep stores the answer of a request with an idempotency key.
func (db *DB) keep(ctx context.Context, tx *sqlx.Tx, r *store.Reply, at time.Time) error {
	if r == nil {
		return nil
	}
	for _, s := range []string{r.Caller, r.Method, r.Path, r.Key, r.BodyDigest} {
		if err := checkText(s); err != nil {
			return fmt.Errorf("answer to %s %s: %w", r.Method, r.Path, err)
		}
	}
	if now := db.now(); now.After(at) {
		at = now
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM replies WHERE expires <= $1`, at.UnixMicro()); err != nil {
		return fmt.Errorf("replies: %w", err)
	}
	done, err := tx.ExecContext(ctx, `
		INSERT INTO replies (caller, method, path, idempotency_key, body_digest, status, body, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		r.Caller, r.Method, r.Path, r.Key, r.BodyDigest, r.Status, r.Body, r.Expires.UnixMicro())
	if err != nil {
		return fmt.Errorf("replies: %w", err)
	}
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		err = errors.New("internal error: this key has an answer already, which was not looked for")
	}
	return err
}
