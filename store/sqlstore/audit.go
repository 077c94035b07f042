package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/store"
)

func eventColumns() []column {
	return columns(
		typed(number, []string{"seq", "revision", "at"}),
		texts("actor_kind", "actor", "actor_name", "on_behalf_of", "address", "operation", "environment", "object", "result", "reason",
			"detail", "correlation"),
		typed(number, []string{"changes"}),
		texts("changes_digest", "prev", "hash"),
	)
}

func writeEvent(w *encoder, e audit.Event) {
	w.values = append(w.values, e.Seq, int64(e.Revision), e.At.UnixMicro())
	for _, s := range [...]string{
		string(e.Actor.Kind), e.Actor.ID, e.Actor.Name, e.Actor.OnBehalfOf, e.Actor.Address, e.Operation, string(e.Environment),
		e.Object, string(e.Result), e.Reason, string(e.Detail), e.Correlation,
	} {
		w.text(s)
	}
	w.values = append(w.values, int64(e.Changes))
	w.text(e.ChangesDigest)
	w.text(e.Prev)
	w.text(e.Hash)
}

func readEvent(r *decoder) audit.Event {
	e := audit.Event{Seq: r.number(), Revision: access.Revision(r.number()), At: fromMicro(r.number()), Changes: int(r.number())}
	e.Actor = audit.Actor{Kind: audit.ActorKind(r.id()), ID: r.id(), Name: r.id(), OnBehalfOf: r.id(), Address: r.id()}
	e.Operation, e.Environment, e.Object, e.Result, e.Reason = r.id(), access.EnvironmentID(r.id()), r.text(), audit.Result(r.id()), r.text()
	if detail := r.text(); detail != "" {
		e.Detail = json.RawMessage(detail)
	}
	e.Correlation, e.ChangesDigest, e.Prev, e.Hash = r.text(), r.text(), r.text(), r.text()
	return e
}

func (db *DB) events(ctx context.Context, q sqlx.QueryerContext, where string, args ...any) ([]audit.Event, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+names(eventColumns())+` FROM audit_events WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("audit_events: %w", err)
	}
	defer rows.Close()
	r := newDecoder(eventColumns(), map[string]string{})
	var out []audit.Event
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return nil, fmt.Errorf("audit_events: %w", err)
		}
		out = append(out, readEvent(r))
	}
	return out, rows.Err()
}

// Audit lists audit events, newest first.
func (db *DB) Audit(ctx context.Context, q store.AuditQuery) ([]audit.Event, error) {
	var w where
	w.add(`seq > 0`)
	w.addIf(q.Environment != "", `environment = $%d`, string(q.Environment))
	w.addIf(q.Object != "", `object = $%d`, q.Object)
	w.addIf(q.Actor != "", `actor = $%d`, q.Actor)
	w.addIf(q.Operation != "", `substr(operation, 1, length($%[1]d)) = $%[1]d`, q.Operation)
	w.addIf(!q.From.IsZero(), `at >= $%d`, q.From.UnixMicro())
	w.addIf(!q.Until.IsZero(), `at < $%d`, q.Until.UnixMicro())
	w.addIf(q.Before > 0, `seq < $%d`, q.Before)
	out, err := db.events(ctx, db.read, w.text+fmt.Sprintf(` ORDER BY seq DESC LIMIT %d`, limit(q.Limit)), w.args...)
	return out, db.fault("list audit events", err)
}

// tampered names what does not hold.
func tampered(format string, a ...any) error {
	return fmt.Errorf("%w: %w", store.ErrTampered, fmt.Errorf(format, a...))
}

// Verify reads the audit log and every version of every object, and checks that
// they are what was written: the chain of events, each revision's changes against
// the digest that its first event has, and that nothing lies outside of them. Its
// error wraps store.ErrTampered and says what does not hold and where; Verified
// is then what held before that place.
//
// Who cuts off the newest revisions and sets the head back as well is found only
// by somebody who kept a Head from before. Answers to idempotency keys, the
// directory mirror and the watermark are not covered.
func (db *DB) Verify(ctx context.Context, progress func(done, all int64)) (store.Verified, error) {
	const what = "verify the audit log"
	var v verification
	err := db.see(ctx, what, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &v.head, `SELECT revision, at, seq, hash FROM head`); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return tampered("the head of the log is gone")
			}
			return err
		}
		var changes int64
		if err := tx.GetContext(ctx, &changes, `SELECT coalesce(sum(changes), 0) FROM revisions`); err != nil {
			return err
		}
		all, done := changes+v.head.Seq, int64(0)
		step := func(n int) {
			if done += int64(n); progress != nil && n > 0 {
				progress(min(done, all), all)
			}
		}
		for v.chain.Revision < v.head.Revision {
			end, err := db.spanEnd(ctx, tx, v.chain.Revision, v.head.Revision)
			if err != nil {
				return err
			}
			if err := db.verifySpan(ctx, tx, &v, end, step); err != nil {
				return err
			}
		}
		return db.verifyRest(ctx, tx, &v)
	})
	return store.Verified{Events: v.chain.Seq, Revision: v.chain.Revision, Head: v.chain.Hash}, err
}

type verification struct {
	head  head
	chain audit.Chain
}

// verifySpan checks the revisions that follow, up to one.
func (db *DB) verifySpan(ctx context.Context, tx *sqlx.Tx, v *verification, upto access.Revision, step func(int)) error {
	after := v.chain.Revision
	events, err := db.events(ctx, tx, `revision > $1 AND revision <= $2 ORDER BY seq`, int64(after), int64(upto))
	if err != nil {
		return err
	}
	first := map[access.Revision]audit.Event{}
	chain := v.chain
	for _, e := range events {
		if err := chain.Verify(e); err != nil {
			return tampered("%w", err)
		}
		if _, ok := first[e.Revision]; !ok {
			first[e.Revision] = e
		} else if e.Changes != 0 || e.ChangesDigest != "" {
			return tampered("event %d of revision %d: only a revision's first event tells of changes", e.Seq, e.Revision)
		}
		step(1)
	}
	if chain.Revision != upto {
		return tampered("event %d: it is missing; revision %d has no events", chain.Seq+1, chain.Revision+1)
	}
	if err := db.verifyRevisions(ctx, tx, after, upto, first); err != nil {
		return err
	}

	digests := map[access.Revision]*audit.Digest{}
	touched := map[access.Revision][]string{}
	err = db.differences(ctx, tx, after, upto, func(d difference) error {
		o := d.After
		if o == nil {
			o = d.Before
		}
		if digests[d.rev] == nil {
			digests[d.rev] = audit.NewDigest()
		}
		if len(touched[d.rev]) < 5 {
			touched[d.rev] = append(touched[d.rev], fmt.Sprintf("%s %s/%s", d.kind, o.ObjectEnvironment(), o.ObjectKey()))
		}
		changed, err := digests[d.rev].Add(d.kind, d.Before, d.After)
		if err != nil {
			return err
		}
		if !changed {
			return tampered("revision %d (event %d): it replaced %s %s/%s by the same", d.rev, first[d.rev].Seq, d.kind, o.ObjectEnvironment(), o.ObjectKey())
		}
		step(1)
		return nil
	})
	var row *unreadable
	if errors.As(err, &row) {
		return tampered("revisions %d to %d: %w", after+1, upto, row)
	}
	if err != nil {
		return err
	}
	for rev := after + 1; rev <= upto; rev++ {
		d, told := digests[rev], first[rev]
		if d == nil {
			d = audit.NewDigest()
		}
		switch {
		case d.Count() != told.Changes:
			return tampered("revision %d (event %d): it changed %d objects, the store has %d of them; among those it has: %q",
				rev, told.Seq, told.Changes, d.Count(), touched[rev])
		case d.Sum() != told.ChangesDigest:
			return tampered("revision %d (event %d): what it changed is not what was written; among what it changed: %q",
				rev, told.Seq, touched[rev])
		}
	}
	v.chain = chain
	return nil
}

// verifyRevisions checks the list of revisions against their first events.
func (db *DB) verifyRevisions(ctx context.Context, tx *sqlx.Tx, after, upto access.Revision, first map[access.Revision]audit.Event) error {
	var rows []struct {
		Revision access.Revision `db:"revision"`
		At       int64           `db:"at"`
		Changes  int             `db:"changes"`
	}
	if err := tx.SelectContext(ctx, &rows, `SELECT revision, at, changes FROM revisions WHERE revision > $1 AND revision <= $2 ORDER BY revision`,
		int64(after), int64(upto)); err != nil {
		return fmt.Errorf("revisions: %w", err)
	}
	for rev := after + 1; rev <= upto; rev++ {
		i, e := int(rev-after-1), first[rev]
		if i >= len(rows) || rows[i].Revision != rev {
			return tampered("revision %d (event %d): it is missing from the list of revisions", rev, e.Seq)
		}
		if rows[i].At != e.At.UnixMicro() || rows[i].Changes != e.Changes {
			return tampered("revision %d (event %d): the list of revisions does not say what its event says", rev, e.Seq)
		}
	}
	return nil
}

// verifyRest looks for what lies outside of the revisions, and at the head.
func (db *DB) verifyRest(ctx context.Context, tx *sqlx.Tx, v *verification) error {
	if h := v.head; h.Seq != v.chain.Seq || h.Hash != v.chain.Hash || h.Revision > 0 && !h.at().Equal(v.chain.At) {
		return tampered("the head of the log names event %d with hash %.12s…; the log ends with event %d and hash %.12s…",
			h.Seq, h.Hash, v.chain.Seq, v.chain.Hash)
	}
	outside := []string{`SELECT 'audit_events' FROM audit_events WHERE revision < 1 OR revision > $1`, `SELECT 'revisions' FROM revisions WHERE revision < 1 OR revision > $1`}
	for i := range db.nouns {
		t := db.nouns[i].table
		outside = append(outside, `SELECT '`+t+`' FROM `+t+` WHERE since < 1 OR since > $1 OR until <= since OR (until > $1 AND until <> `+forever+`)`)
	}
	for _, query := range outside {
		var tables []string
		if err := tx.SelectContext(ctx, &tables, query+` LIMIT 1`, int64(v.head.Revision)); err != nil {
			return err
		}
		if len(tables) > 0 {
			return tampered("after revision %d (event %d): %s has a row that belongs to no revision", v.head.Revision, v.chain.Seq, tables[0])
		}
	}
	return nil
}
