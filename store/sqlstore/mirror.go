package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// LoadMirror yields what a source said last and returns where its mirror stands:
// the zero status for a source that was never read. Objects come before edges,
// each in the order of their ids.
func (db *DB) LoadMirror(ctx context.Context, source directory.SourceID, yield func(store.MirrorRow) error) (store.MirrorStatus, error) {
	var status store.MirrorStatus
	err := db.see(ctx, "load the mirror of "+string(source), func(tx *sqlx.Tx) error {
		var rows []struct {
			Cursor    []byte `db:"cursor"`
			MidRound  bool   `db:"mid_round"`
			Completed *int64 `db:"completed"`
			State     string `db:"state"`
		}
		if err := tx.SelectContext(ctx, &rows, `SELECT cursor, mid_round, completed, state FROM mirror_status WHERE source = $1`, string(source)); err != nil {
			return fmt.Errorf("mirror_status: %w", err)
		}
		for _, r := range rows {
			status = store.MirrorStatus{Cursor: r.Cursor, MidRound: r.MidRound}
			if r.Completed != nil {
				status.Completed = fromMicro(*r.Completed)
			}
			if r.State != "" {
				status.State = json.RawMessage(r.State)
			}
		}
		if err := loadObjects(ctx, tx, source, yield); err != nil {
			return fmt.Errorf("mirror_objects: %w", err)
		}
		if err := loadEdges(ctx, tx, source, yield); err != nil {
			return fmt.Errorf("mirror_edges: %w", err)
		}
		return nil
	})
	return status, err
}

// MirrorsCompleted tells when each source was last read completely; those that
// never were are left out (Rule SRC-9).
func (db *DB) MirrorsCompleted(ctx context.Context) (map[directory.SourceID]time.Time, error) {
	var rows []struct {
		Source    directory.SourceID `db:"source"`
		Completed int64              `db:"completed"`
	}
	err := db.read.SelectContext(ctx, &rows, `SELECT source, completed FROM mirror_status WHERE completed IS NOT NULL`)
	if err != nil {
		return nil, db.fault("read when sources were read", err)
	}
	out := map[directory.SourceID]time.Time{}
	for _, r := range rows {
		out[r.Source] = fromMicro(r.Completed)
	}
	return out, nil
}

func loadObjects(ctx context.Context, tx *sqlx.Tx, source directory.SourceID, yield func(store.MirrorRow) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, kind, dn, attributes FROM mirror_objects WHERE source = $1 ORDER BY id`, string(source))
	if err != nil {
		return err
	}
	defer rows.Close()
	r := newDecoder(texts("id", "kind", "dn", "attributes"), map[string]string{})
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return err
		}
		o := directory.Object{ID: directory.ObjectID(r.text()), Kind: named[directory.Kind](r), DN: r.text()}
		o.Attributes = parsed[map[string][]string](r)
		if r.err != nil {
			return fmt.Errorf("%s: %w", o.ID, r.err)
		}
		if err := yield(store.MirrorRow{Source: source, Object: &o}); err != nil {
			return err
		}
	}
	return rows.Err()
}

func loadEdges(ctx context.Context, tx *sqlx.Tx, source directory.SourceID, yield func(store.MirrorRow) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT group_id, relation, far FROM mirror_edges WHERE source = $1 ORDER BY group_id, relation, far`, string(source))
	if err != nil {
		return err
	}
	defer rows.Close()
	r := newDecoder(texts("group_id", "relation", "far"), map[string]string{})
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return err
		}
		e := directory.Edge{Group: directory.ObjectID(r.id()), Relation: named[directory.Relation](r), Far: directory.Ref(r.id())}
		if r.err != nil {
			return fmt.Errorf("%s: %w", e.Group, r.err)
		}
		if err := yield(store.MirrorRow{Source: source, Edge: &e}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// CommitMirror stores a page with its cursor, whole or not at all (Rule SRC-2).
// It deletes first, then puts; an object that is deleted takes with it the edges
// of which it is the group, and those whose far end names it by id. The latter
// reads all edges of the source: an index for it would double the time of a first
// synchronisation, and deletions are few.
func (db *DB) CommitMirror(ctx context.Context, p store.MirrorPage) error {
	return db.change(ctx, "store a page of "+string(p.Source), func(tx *sqlx.Tx) error {
		if err := db.fenced(ctx, tx, p.Fence); err != nil {
			return err
		}
		if err := db.deleteMirrored(ctx, tx, p); err != nil {
			return err
		}
		if err := db.putMirrored(ctx, tx, p); err != nil {
			return err
		}
		s := p.Status
		var completed encoder
		completed.instant(s.Completed)
		_, err := tx.ExecContext(ctx, `
			INSERT INTO mirror_status (source, cursor, mid_round, completed, state) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (source) DO UPDATE SET cursor = excluded.cursor, mid_round = excluded.mid_round,
				completed = excluded.completed, state = excluded.state`,
			string(p.Source), s.Cursor, s.MidRound, completed.values[0], string(s.State))
		if err != nil {
			return fmt.Errorf("mirror_status: %w", err)
		}
		return nil
	})
}

func (db *DB) deleteMirrored(ctx context.Context, tx *sqlx.Tx, p store.MirrorPage) error {
	for part := range slices.Chunk(p.Delete, db.batch(2)) {
		ids, refs := make([]any, len(part)), make([]any, len(part))
		for i, id := range part {
			ids[i], refs[i] = string(id), string(directory.ByID(id))
		}
		for _, d := range []struct {
			where  string
			values []any
		}{
			{`mirror_objects WHERE id`, ids}, {`mirror_edges WHERE group_id`, ids}, {`mirror_edges WHERE far`, refs},
		} {
			if err := db.deleteIn(ctx, tx, p.Source, d.where, 1, d.values); err != nil {
				return err
			}
		}
	}
	for part := range slices.Chunk(p.RemoveEdges, db.batch(3)) {
		values := make([]any, 0, 3*len(part))
		for _, e := range part {
			values = append(values, string(e.Group), e.Relation.String(), string(e.Far))
		}
		if err := db.deleteIn(ctx, tx, p.Source, `mirror_edges WHERE (group_id, relation, far)`, 3, values); err != nil {
			return err
		}
	}
	return nil
}

// deleteIn deletes a source's rows whose columns are among the values.
func (db *DB) deleteIn(ctx context.Context, tx *sqlx.Tx, source directory.SourceID, where string, width int, values []any) error {
	var q strings.Builder
	q.WriteString(`DELETE FROM ` + where + ` IN (VALUES `)
	db.tuples(&q, len(values)/width, width, 1, "")
	q.WriteString(`) AND source = `)
	q.Write(db.dialect.Placeholder(nil, len(values)+1))
	if _, err := tx.ExecContext(ctx, q.String(), append(values, string(source))...); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (db *DB) putMirrored(ctx context.Context, tx *sqlx.Tx, p store.MirrorPage) error {
	// In the order of their keys, so that neighbours share pages of the database:
	// random order takes three times as long. The last of an object's puts counts,
	// since one statement must not touch a row twice.
	put := sorted(p.Put, func(a, b directory.Object) int { return cmp.Compare(a.ID, b.ID) })
	objects := inserter{
		db: db, tx: tx, into: `mirror_objects (source, id, kind, dn, attributes)`, width: 5,
		after: ` ON CONFLICT (source, id) DO UPDATE SET kind = excluded.kind, dn = excluded.dn, attributes = excluded.attributes`,
	}
	for i, o := range put {
		if i+1 < len(put) && put[i+1].ID == o.ID {
			continue
		}
		objects.text(string(p.Source))
		objects.text(string(o.ID))
		objects.text(o.Kind.String())
		objects.text(o.DN)
		objects.attributes(o.Attributes)
		if err := objects.next(ctx); err != nil {
			return fmt.Errorf("mirror_objects %s: %w", o.ID, err)
		}
	}
	if err := objects.close(ctx); err != nil {
		return fmt.Errorf("mirror_objects: %w", err)
	}
	edges := inserter{
		db: db, tx: tx, into: `mirror_edges (source, group_id, relation, far)`, width: 4, after: ` ON CONFLICT DO NOTHING`,
	}
	for _, e := range sorted(p.AddEdges, compareEdges) {
		edges.text(string(p.Source))
		edges.text(string(e.Group))
		edges.text(e.Relation.String())
		edges.text(string(e.Far))
		if err := edges.next(ctx); err != nil {
			return fmt.Errorf("mirror_edges of %s: %w", e.Group, err)
		}
	}
	if err := edges.close(ctx); err != nil {
		return fmt.Errorf("mirror_edges: %w", err)
	}
	return nil
}

func compareEdges(a, b directory.Edge) int {
	if c := cmp.Compare(a.Group, b.Group); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Relation, b.Relation), cmp.Compare(a.Far, b.Far))
}

// sorted is the list in order: itself if it is.
func sorted[T any](list []T, compare func(a, b T) int) []T {
	if !slices.IsSortedFunc(list, compare) {
		list = slices.Clone(list)
		slices.SortStableFunc(list, compare)
	}
	return list
}

// DropMirror forgets a source.
func (db *DB) DropMirror(ctx context.Context, source directory.SourceID) error {
	return db.change(ctx, "drop the mirror of "+string(source), func(tx *sqlx.Tx) error {
		for _, table := range []string{"mirror_objects", "mirror_edges", "mirror_status"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE source = $1`, string(source)); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
		}
		return nil
	})
}
