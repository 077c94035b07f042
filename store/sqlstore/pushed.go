package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// keepRemovals is for how many changes of a source its removals are kept: who is
// further behind reads everything, which costs less by then.
const keepRemovals = 100_000

// errUnchanged ends a transaction that has nothing to change.
var errUnchanged = errors.New("nothing changes")

// Push makes one change to what a client put into a source, whole or not at all,
// and returns the resource as it is then. A push that changes nothing leaves its
// version as it was.
//
// It returns store.ErrConflict if the resource has another version than the one
// judged, store.ErrTaken if another one has the name, and store.ErrNotFound if it
// is gone. Pushes to a source wait for each other.
func (db *DB) Push(ctx context.Context, p store.Push) (store.Pushed, error) {
	after := p.Pushed
	err := db.change(ctx, fmt.Sprintf("store %s %s of %s", p.Kind, p.ID, p.Source), func(tx *sqlx.Tx) error {
		var seq int64
		err := tx.GetContext(ctx, &seq, `
			INSERT INTO pushed_sources (source, seq) VALUES ($1, 1)
			ON CONFLICT (source) DO UPDATE SET seq = pushed_sources.seq + 1 RETURNING seq`, string(p.Source))
		if err != nil {
			return fmt.Errorf("pushed_sources: %w", err)
		}
		was, err := pushed(ctx, tx, p.Source, p.ID)
		switch {
		case errors.Is(err, sql.ErrNoRows) && p.Version == 0 && !p.Delete:
		case errors.Is(err, sql.ErrNoRows):
			return store.ErrNotFound
		case err != nil:
			return err
		case was.Version != p.Version || was.Kind != p.Kind:
			return store.ErrConflict
		}
		if p.Delete {
			return db.deletePushed(ctx, tx, p, seq)
		}
		changed, err := db.pushMembers(ctx, tx, p)
		if err != nil {
			return fmt.Errorf("pushed_members: %w", err)
		}
		if !changed && p.Version != 0 && was.Name == p.Name && string(was.Document) == string(p.Document) {
			after = was
			return errUnchanged
		}
		after.Version++
		return db.putPushed(ctx, tx, p, after, seq)
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return after, err
}

func (db *DB) putPushed(ctx context.Context, tx *sqlx.Tx, p store.Push, after store.Pushed, seq int64) error {
	var holders int
	if err := tx.GetContext(ctx, &holders, `SELECT count(*) FROM pushed_resources WHERE source = $1 AND kind = $2 AND name = $3 AND id <> $4`,
		string(p.Source), p.Kind.String(), p.Name, string(p.ID)); err != nil {
		return fmt.Errorf("pushed_resources: %w", err)
	}
	if holders > 0 {
		return store.ErrTaken
	}
	resources := inserter{
		db: db, tx: tx, into: `pushed_resources (source, id, kind, name, document, version, created, modified, seq)`, width: 9,
		after: ` ON CONFLICT (source, id) DO UPDATE SET name = excluded.name, document = excluded.document,
			version = excluded.version, modified = excluded.modified, seq = excluded.seq`,
	}
	for _, s := range []string{string(p.Source), string(p.ID), p.Kind.String(), p.Name, string(p.Document)} {
		resources.text(s)
	}
	resources.values = append(resources.values, after.Version)
	resources.instant(after.Created)
	resources.instant(after.Modified)
	resources.values = append(resources.values, seq)
	if err := resources.close(ctx); err != nil {
		return fmt.Errorf("pushed_resources: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM pushed_values WHERE source = $1 AND id = $2`, string(p.Source), string(p.ID)); err != nil {
		return fmt.Errorf("pushed_values: %w", err)
	}
	values := inserter{db: db, tx: tx, into: `pushed_values (source, path, value, id)`, width: 4}
	for _, v := range p.Values {
		for _, s := range []string{string(p.Source), v.Path, v.Value, string(p.ID)} {
			values.text(s)
		}
		if err := values.next(ctx); err != nil {
			return fmt.Errorf("pushed_values: %w", err)
		}
	}
	if err := values.close(ctx); err != nil {
		return fmt.Errorf("pushed_values: %w", err)
	}
	return nil
}

// pushMembers changes a group's members and tells whether that was a change.
func (db *DB) pushMembers(ctx context.Context, tx *sqlx.Tx, p store.Push) (bool, error) {
	remove := p.Remove
	if p.Whole {
		var had []directory.ObjectID
		if err := tx.SelectContext(ctx, &had, `SELECT member FROM pushed_members WHERE source = $1 AND group_id = $2`, string(p.Source), string(p.ID)); err != nil {
			return false, err
		}
		stay := make(map[directory.ObjectID]bool, len(p.Add))
		for _, m := range p.Add {
			stay[m] = true
		}
		remove = slices.DeleteFunc(had, func(m directory.ObjectID) bool { return stay[m] })
	}
	var n int64
	exec := func(q string, values ...any) error {
		done, err := tx.ExecContext(ctx, q, values...)
		if err != nil {
			return err
		}
		rows, err := done.RowsAffected()
		n += rows
		return err
	}
	for part := range slices.Chunk(remove, db.batch(2)) {
		values := []any{string(p.Source), string(p.ID)}
		for _, m := range part {
			values = append(values, string(m))
		}
		var q strings.Builder
		q.WriteString(`DELETE FROM pushed_members WHERE source = `)
		q.Write(db.dialect.Placeholder(nil, 1))
		q.WriteString(` AND group_id = `)
		q.Write(db.dialect.Placeholder(nil, 2))
		q.WriteString(` AND member IN (VALUES `)
		db.tuples(&q, len(part), 1, 3, "")
		q.WriteString(`)`)
		if err := exec(q.String(), values...); err != nil {
			return false, err
		}
	}
	for part := range slices.Chunk(p.Add, db.batch(3)) {
		var rows encoder
		for _, m := range part {
			rows.text(string(p.Source))
			rows.text(string(p.ID))
			rows.text(string(m))
		}
		if rows.err != nil {
			return false, rows.err
		}
		var q strings.Builder
		q.WriteString(`INSERT INTO pushed_members (source, group_id, member) VALUES `)
		db.tuples(&q, len(part), 3, 1, "")
		q.WriteString(` ON CONFLICT DO NOTHING`)
		if err := exec(q.String(), rows.values...); err != nil {
			return false, err
		}
	}
	return n > 0, nil
}

// deletePushed ends a resource with all its memberships (Rule SRC-6).
func (db *DB) deletePushed(ctx context.Context, tx *sqlx.Tx, p store.Push, seq int64) error {
	source, id := string(p.Source), string(p.ID)
	for _, step := range []struct {
		q      string
		values []any
	}{
		{`UPDATE pushed_resources SET version = version + 1, modified = $1
			WHERE source = $2 AND id IN (SELECT group_id FROM pushed_members WHERE source = $2 AND member = $3)`, []any{p.Modified.UnixMicro(), source, id}},
		{`DELETE FROM pushed_members WHERE source = $1 AND member = $2`, []any{source, id}},
		{`DELETE FROM pushed_members WHERE source = $1 AND group_id = $2`, []any{source, id}},
		{`DELETE FROM pushed_values WHERE source = $1 AND id = $2`, []any{source, id}},
		{`DELETE FROM pushed_resources WHERE source = $1 AND id = $2`, []any{source, id}},
		{`INSERT INTO pushed_removals (source, seq, id) VALUES ($1, $2, $3)`, []any{source, seq, id}},
		{`DELETE FROM pushed_removals WHERE source = $1 AND seq <= $2`, []any{source, seq - keepRemovals}},
	} {
		if _, err := tx.ExecContext(ctx, step.q, step.values...); err != nil {
			return err
		}
	}
	return nil
}

const pushedColumns = `id, kind, name, document, version, created, modified, seq`

type pushedRow struct {
	ID       string `db:"id"`
	Kind     string `db:"kind"`
	Name     string `db:"name"`
	Document string `db:"document"`
	Version  int64  `db:"version"`
	Created  int64  `db:"created"`
	Modified int64  `db:"modified"`
	Seq      int64  `db:"seq"`
}

func (r pushedRow) resource(source directory.SourceID) (store.Pushed, error) {
	p := store.Pushed{
		Source: source, ID: directory.ObjectID(r.ID), Name: r.Name, Document: json.RawMessage(r.Document),
		Version: r.Version, Created: fromMicro(r.Created), Modified: fromMicro(r.Modified),
	}
	if err := p.Kind.UnmarshalText([]byte(r.Kind)); err != nil {
		return p, fmt.Errorf("pushed_resources %s: %w", r.ID, err)
	}
	return p, nil
}

func pushed(ctx context.Context, q sqlx.QueryerContext, source directory.SourceID, id directory.ObjectID) (store.Pushed, error) {
	var r pushedRow
	if err := sqlx.GetContext(ctx, q, &r, `SELECT `+pushedColumns+` FROM pushed_resources WHERE source = $1 AND id = $2`, string(source), string(id)); err != nil {
		return store.Pushed{}, err
	}
	return r.resource(source)
}

// Pushed returns one resource, or store.ErrNotFound.
func (db *DB) Pushed(ctx context.Context, source directory.SourceID, id directory.ObjectID) (store.Pushed, error) {
	p, err := pushed(ctx, db.read, source, id)
	return p, db.fault("read what was pushed as "+string(id), none(err))
}

// PushedMembers lists a group's members, in the order of their ids.
func (db *DB) PushedMembers(ctx context.Context, source directory.SourceID, group directory.ObjectID) ([]directory.ObjectID, error) {
	members, err := pushedMembers(ctx, db.read, source, group)
	return members, db.fault("read the members of "+string(group), err)
}

func pushedMembers(ctx context.Context, q sqlx.QueryerContext, source directory.SourceID, group directory.ObjectID) ([]directory.ObjectID, error) {
	var members []directory.ObjectID
	err := sqlx.SelectContext(ctx, q, &members, `SELECT member FROM pushed_members WHERE source = $1 AND group_id = $2 ORDER BY member`, string(source), string(group))
	return members, err
}

// FindPushed returns the resources that a query selects. total is how many there
// are without Offset and Limit; it is not counted with After.
func (db *DB) FindPushed(ctx context.Context, q store.PushedQuery) (list []store.Pushed, total int, err error) {
	// The table that has the ids in order comes first, so that each page begins where
	// the last one ended.
	where := ` FROM pushed_resources r WHERE r.source = $1 AND r.kind = $2`
	id, values := "r.id", []any{string(q.Source), q.Kind.String()}
	if q.With != nil {
		where = ` FROM pushed_values v JOIN pushed_resources r ON r.source = v.source AND r.id = v.id
			WHERE v.source = $1 AND r.kind = $2 AND v.path = $3 AND v.value = $4`
		id, values = "v.id", append(values, q.With.Path, q.With.Value)
	}
	err = db.see(ctx, "look for what was pushed into "+string(q.Source), func(tx *sqlx.Tx) error {
		if q.After == "" {
			if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, values...); err != nil {
				return err
			}
		}
		n := len(values)
		page := fmt.Sprintf(`SELECT r.id, r.kind, r.name, r.document, r.version, r.created, r.modified, r.seq%s AND %s > $%d ORDER BY %s LIMIT $%d OFFSET $%d`,
			where, id, n+1, id, n+2, n+3)
		var rows []pushedRow
		if err := tx.SelectContext(ctx, &rows, page, append(values, string(q.After), q.Limit, q.Offset)...); err != nil {
			return err
		}
		for _, r := range rows {
			p, err := r.resource(q.Source)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		return nil
	})
	return list, total, err
}

// maxPushedMembers is how many members AllPushed and PushedSince give at once,
// unless one group has more.
const maxPushedMembers = 50_000

// AllPushed returns what clients have put into a source, in the order of ids and
// from behind after, at most limit resources. Its Seq is the source's newest
// change; those that are made while somebody reads on are found with PushedSince.
func (db *DB) AllPushed(ctx context.Context, source directory.SourceID, after directory.ObjectID, limit int) (store.PushedChanges, error) {
	var out store.PushedChanges
	err := db.see(ctx, "read what was pushed into "+string(source), func(tx *sqlx.Tx) (err error) {
		if out.Seq, err = newestPushed(ctx, tx, source); err != nil {
			return err
		}
		_, err = pushedGroups(ctx, tx, source, &out, limit, `id > $2 ORDER BY id LIMIT $3`, string(after), limit)
		return err
	})
	return out, err
}

// PushedSince returns what clients changed in a source after the change numbered
// after and up to the one numbered upto, 0 for the newest: at most limit resources,
// and the removals between them. Seq is the last change that is covered. What the
// store does not remember any more is store.ErrNotFound: read everything.
func (db *DB) PushedSince(ctx context.Context, source directory.SourceID, after, upto int64, limit int) (store.PushedChanges, error) {
	var out store.PushedChanges
	err := db.see(ctx, "read what was pushed into "+string(source), func(tx *sqlx.Tx) error {
		newest, err := newestPushed(ctx, tx, source)
		if err != nil {
			return err
		}
		if after > newest || after < newest-keepRemovals {
			return store.ErrNotFound
		}
		if out.Seq = upto; upto == 0 {
			out.Seq = newest
		}
		last, err := pushedGroups(ctx, tx, source, &out, limit, `seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`, after, out.Seq, limit)
		if err != nil {
			return err
		}
		if out.More {
			out.Seq = last
		}
		if err := tx.SelectContext(ctx, &out.Removed, `SELECT id FROM pushed_removals WHERE source = $1 AND seq > $2 AND seq <= $3 ORDER BY seq`,
			string(source), after, out.Seq); err != nil {
			return fmt.Errorf("pushed_removals: %w", err)
		}
		return nil
	})
	return out, err
}

// newestPushed is the number of a source's newest change.
func newestPushed(ctx context.Context, tx *sqlx.Tx, source directory.SourceID) (int64, error) {
	var seq int64
	err := tx.GetContext(ctx, &seq, `SELECT seq FROM pushed_sources WHERE source = $1`, string(source))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("pushed_sources: %w", err)
	}
	return seq, nil
}

// pushedGroups adds resources with their members, and tells whether there are
// more. last is the change of the last one.
func pushedGroups(ctx context.Context, tx *sqlx.Tx, source directory.SourceID, out *store.PushedChanges, limit int, where string, values ...any) (last int64, err error) {
	var rows []pushedRow
	if err := tx.SelectContext(ctx, &rows, `SELECT `+pushedColumns+` FROM pushed_resources WHERE source = $1 AND `+where, append([]any{string(source)}, values...)...); err != nil {
		return 0, fmt.Errorf("pushed_resources: %w", err)
	}
	members := 0
	for i, r := range rows {
		p, err := r.resource(source)
		if err != nil {
			return 0, err
		}
		g := store.PushedGroup{Pushed: p}
		if p.Kind == directory.KindGroup {
			if g.Members, err = pushedMembers(ctx, tx, source, p.ID); err != nil {
				return 0, fmt.Errorf("pushed_members: %w", err)
			}
		}
		out.Put, last = append(out.Put, g), r.Seq
		members += len(g.Members)
		if out.More = i+1 < len(rows) || len(rows) == limit; members >= maxPushedMembers {
			break
		}
	}
	return last, nil
}
