package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/store"
)

// unreadable is a row that is not what the store writes.
type unreadable struct {
	table   string
	texts   []string
	problem string
}

func (u *unreadable) Error() string {
	return fmt.Sprintf("a row of %s that begins with %q cannot be read: %s", u.table, u.texts, u.problem)
}

// take makes the object of the current row.
func (n *noun) take(ctx context.Context, r *decoder, rows *sql.Rows) (access.Object, error) {
	_ = r.scan(rows) // which the decoder remembers
	return n.made(ctx, r)
}

// made makes the object of the row that was scanned.
func (n *noun) made(ctx context.Context, r *decoder) (access.Object, error) {
	var o access.Object
	if r.err == nil {
		o = n.read(r)
	}
	switch {
	case r.err == nil:
		return o, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, &unreadable{n.table, slices.Clone(r.texts[:min(len(r.texts), 1+len(n.key))]), r.err.Error()}
}

// each yields the objects of a query for the noun's columns. Rows are read by
// database/sql itself: naming the fields by reflection, as sqlx does, would take
// longer than the database.
func (n *noun) each(ctx context.Context, q sqlx.QueryerContext, r *decoder, query string, args []any, yield func(access.Object) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", n.table, err)
	}
	defer rows.Close()
	for rows.Next() {
		o, err := n.take(ctx, r, rows)
		if err != nil {
			return err
		}
		if err := yield(o); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", n.table, err)
	}
	return nil
}

// batch is rows that were read, and then the objects that they are.
type batch struct {
	rows    []*decoder
	used    int
	objects []access.Object
	err     error // of the row after the objects
}

const (
	batchRows = 256
	batches   = 6 // that there are at once
)

// ahead is each with rows that are read ahead: to read them, to make objects of
// them, and to do with those what yield does take about as long, and all three go
// on at the same time.
func (n *noun) ahead(ctx context.Context, q sqlx.QueryerContext, seen map[string]string, query string, args []any, yield func(access.Object) error) (err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", n.table, err)
	}
	free, full, made := make(chan *batch, batches), make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		free <- &batch{}
	}
	var others errgroup.Group
	others.Go(func() error {
		defer rows.Close()
		defer close(full)
		cols := n.allColumns()
		shared := newMemory(cols, seen)
		for b := range free {
			for b.used = 0; b.used < batchRows && rows.Next(); b.used++ {
				if b.used == len(b.rows) {
					b.rows = append(b.rows, shared.decoder(cols))
				}
				_ = b.rows[b.used].scan(rows) // which the decoder remembers
			}
			if b.used == 0 {
				break
			}
			full <- b
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("%s: %w", n.table, err)
		}
		return nil
	})
	others.Go(func() error {
		defer close(made)
		for b := range full {
			n.makeObjects(ctx, b)
			made <- b
		}
		return nil
	})
	defer func() {
		close(free)
		err = cmp.Or(err, others.Wait())
	}()
	for b := range made {
		for _, o := range b.objects {
			if err := yield(o); err != nil {
				return err
			}
		}
		if b.err != nil {
			return b.err
		}
		free <- b
	}
	return nil
}

// makeObjects makes the objects of the rows, until one cannot be read.
func (n *noun) makeObjects(ctx context.Context, b *batch) {
	clear(b.objects)
	b.objects = b.objects[:0]
	for _, r := range b.rows[:b.used] {
		var o access.Object
		if o, b.err = n.made(ctx, r); b.err != nil {
			return
		}
		b.objects = append(b.objects, o)
	}
}

// Load yields the objects of all environments at a revision (zero: the newest),
// kind by kind, without the elevation requests that are closed.
func (db *DB) Load(ctx context.Context, rev access.Revision, yield func(access.Object) error) error {
	return db.load(ctx, fmt.Sprintf("load revision %d", rev), rev, "", nil, yield)
}

// LoadEnvironment yields what Load yields of one environment.
func (db *DB) LoadEnvironment(ctx context.Context, rev access.Revision, env access.EnvironmentID, yield func(access.Object) error) error {
	return db.load(ctx, fmt.Sprintf("load environment %s at revision %d", env, rev), rev, ` AND environment = $2`, []any{string(env)}, yield)
}

func (db *DB) load(ctx context.Context, what string, rev access.Revision, where string, args []any, yield func(access.Object) error) error {
	return db.see(ctx, what, func(tx *sqlx.Tx) error {
		rev, err := db.revision(ctx, tx, rev)
		if err != nil {
			return err
		}
		args := append([]any{int64(rev)}, args...)
		seen := map[string]string{}
		for i := range db.nouns {
			n := &db.nouns[i]
			query := `SELECT ` + names(n.allColumns()) + ` FROM ` + n.table + ` WHERE since <= $1 AND until > $1` + where + n.live
			if err := n.ahead(ctx, tx, seen, query, args, yield); err != nil {
				return err
			}
		}
		return nil
	})
}

// span bounds how many changes are read at once, unless one revision has more.
const span = 10_000

// Changes yields what changed after one revision up to another (zero: the
// newest), in the order of revisions and, within one, of kinds and keys.
func (db *DB) Changes(ctx context.Context, after, upto access.Revision, yield func(access.Revision, store.Difference) error) error {
	what := fmt.Sprintf("read the changes of revisions %d to %d", after+1, upto)
	return db.see(ctx, what, func(tx *sqlx.Tx) error {
		upto, err := db.revision(ctx, tx, upto)
		if err != nil {
			return err
		}
		for after < upto {
			end, err := db.spanEnd(ctx, tx, after, upto)
			if err != nil {
				return err
			}
			if err := db.differences(ctx, tx, after, end, func(d difference) error { return yield(d.rev, d.Difference) }); err != nil {
				return err
			}
			after = end
		}
		return nil
	})
}

// spanEnd is the last of the revisions after one that are read together.
func (db *DB) spanEnd(ctx context.Context, tx *sqlx.Tx, after, upto access.Revision) (access.Revision, error) {
	var rows []struct {
		Revision access.Revision `db:"revision"`
		Changes  int             `db:"changes"`
	}
	err := tx.SelectContext(ctx, &rows, `
		SELECT revision, changes FROM revisions WHERE revision > $1 AND revision <= $2 ORDER BY revision LIMIT 1000`, int64(after), int64(upto))
	if err != nil {
		return 0, fmt.Errorf("revisions: %w", err)
	}
	end, sum := after+1, 0
	for _, r := range rows {
		if sum += r.Changes; sum > span {
			break
		}
		end = max(end, r.Revision)
	}
	return end, nil
}

// difference is one object's change in one revision.
type difference struct {
	rev  access.Revision
	kind access.Kind
	store.Difference
}

// differences yields what the revisions (after, upto] changed, in the order of
// revision, kind and key. Of one revision alone it holds no more than a row.
func (db *DB) differences(ctx context.Context, tx *sqlx.Tx, after, upto access.Revision, yield func(difference) error) error {
	var all []difference
	seen := map[string]string{}
	for i := range db.nouns {
		n := &db.nouns[i]
		err := db.ofNoun(ctx, tx, n, seen, after, upto, func(d difference) error {
			if upto == after+1 {
				return yield(d)
			}
			all = append(all, d)
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortStableFunc(all, func(a, b difference) int { return cmp.Compare(a.rev, b.rev) })
	for _, d := range all {
		if err := yield(d); err != nil {
			return err
		}
	}
	return nil
}

// ofNoun yields the differences of one kind in the order of revision and key.
// A version that ends and one that begins in the same revision are one object
// before and after.
func (db *DB) ofNoun(ctx context.Context, tx *sqlx.Tx, n *noun, seen map[string]string, after, upto access.Revision, yield func(difference) error) error {
	cols, own := names(n.allColumns()), names(n.keyColumns())
	query := `SELECT ` + cols + `, since AS revision, 1 AS side FROM ` + n.table + ` WHERE since > $1 AND since <= $2
		UNION ALL
		SELECT ` + cols + `, until, 0 FROM ` + n.table + ` WHERE until > $1 AND until <= $2 AND until < ` + forever + `
		ORDER BY revision, ` + own + `, side`
	r := newDecoder(columns(n.allColumns(), typed(number, []string{"revision", "side"})), seen)
	rows, err := tx.QueryContext(ctx, query, int64(after), int64(upto))
	if err != nil {
		return fmt.Errorf("%s: %w", n.table, err)
	}
	defer rows.Close()
	var waiting difference // a version that ended, until the next row is seen
	flush := func() error {
		d := waiting
		waiting = difference{}
		if d.Before == nil {
			return nil
		}
		return yield(d)
	}
	for rows.Next() {
		o, err := n.take(ctx, r, rows)
		if err != nil {
			return err
		}
		rev, made := access.Revision(r.number()), r.number() == 1
		switch {
		case made && waiting.Before != nil && waiting.rev == rev && n.keyOf(waiting.Before) == n.keyOf(o):
			waiting.After = o
			err = flush()
		case made:
			if err = flush(); err == nil {
				err = yield(difference{rev, n.kind, store.Difference{After: o}})
			}
		default:
			err = flush()
			waiting = difference{rev, n.kind, store.Difference{Before: o}}
		}
		if err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", n.table, err)
	}
	return flush()
}

// versions reads objects with the revision that made them.
func (db *DB) versions(ctx context.Context, q sqlx.QueryerContext, n *noun, where string, args ...any) ([]store.Version, error) {
	cols := columns(n.allColumns(), typed(number, []string{"since"}))
	r := newDecoder(cols, map[string]string{})
	var out []store.Version
	err := n.each(ctx, q, r, `SELECT `+names(cols)+` FROM `+n.table+` WHERE `+where, args, func(o access.Object) error {
		out = append(out, store.Version{Object: o, Since: access.Revision(r.number())})
		return nil
	})
	return out, err
}

// Object returns one object as it was at a revision (zero: the newest), or
// store.ErrNotFound.
func (db *DB) Object(ctx context.Context, rev access.Revision, env access.EnvironmentID, kind access.Kind, joined string) (store.Version, error) {
	what := fmt.Sprintf("read %s %s/%s", kind, env, joined)
	if kind >= access.Kinds {
		return store.Version{}, fmt.Errorf("%s: internal error: unknown kind", what)
	}
	n := &db.nouns[kind]
	k, ok := n.keyFrom(env, joined)
	for _, part := range k {
		ok = ok && checkText(part) == nil
	}
	if !ok {
		return store.Version{}, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var out store.Version
	err := db.see(ctx, what, func(tx *sqlx.Tx) error {
		rev, err := db.revision(ctx, tx, rev)
		if err != nil {
			return err
		}
		where := `since <= $1 AND until > $1`
		for i, c := range n.keyColumns() {
			where += fmt.Sprintf(" AND %s = $%d", c.name, i+2)
		}
		found, err := db.versions(ctx, tx, n, where, k.append([]any{int64(rev)}, 1+len(n.key))...)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return store.ErrNotFound
		}
		out = found[0]
		return nil
	})
	return out, err
}

// limit brings the size of a page to what is allowed.
func limit(n int) int {
	if n <= 0 {
		return 100
	}
	return min(n, 1000)
}

// Objects pages through the objects of a kind at a revision (zero: the newest),
// in the order of their keys, from the one that follows afterKey. A page has 100
// objects where limit is zero, and 1000 at most.
func (db *DB) Objects(ctx context.Context, rev access.Revision, env access.EnvironmentID, kind access.Kind, afterKey string, size int) ([]store.Version, error) {
	what := fmt.Sprintf("list %s of %s", kind, env)
	if kind >= access.Kinds {
		return nil, fmt.Errorf("%s: internal error: unknown kind", what)
	}
	n := &db.nouns[kind]
	var out []store.Version
	err := db.see(ctx, what, func(tx *sqlx.Tx) error {
		rev, err := db.revision(ctx, tx, rev)
		if err != nil {
			return err
		}
		where, args := `environment = $1 AND since <= $2 AND until > $2`, []any{string(env), int64(rev)}
		if afterKey != "" {
			k, ok := n.keyFrom(env, afterKey)
			if !ok {
				return fmt.Errorf("page after %q: %w", afterKey, store.ErrNotFound)
			}
			if len(n.key) == 0 {
				return nil // an environment's one object of this kind
			}
			var b strings.Builder
			db.numbered(&b, len(n.key), 3)
			where += ` AND (` + names(n.key) + `) > (` + b.String() + `)`
			args = k.append(args, 1+len(n.key))
			args = slices.Delete(args, 2, 3) // the environment stands first already
		}
		where += fmt.Sprintf(` ORDER BY %s LIMIT %d`, names(n.keyColumns()), limit(size))
		out, err = db.versions(ctx, tx, n, where, args...)
		return err
	})
	return out, err
}

// numbered writes "$3, $4, …".
func (db *DB) numbered(b *strings.Builder, n, first int) {
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(b, "$%d", first+i)
	}
}

// Requests lists elevation requests as they are now, newest first. A page has
// 100 where Limit is zero, and 1000 at most.
func (db *DB) Requests(ctx context.Context, q store.RequestQuery) ([]store.Version, error) {
	n := &db.nouns[access.KindRequest]
	var w where
	w.add(`until = ` + forever)
	w.addIf(q.Environment != "", `environment = $%d`, string(q.Environment))
	w.addIf(q.Person != "", `(requester = $%[1]d OR beneficiary = $%[1]d)`, string(q.Person))
	w.addIf(q.State != "", `state = $%d`, q.State)
	w.addIf(q.Before != "", `id < $%d`, q.Before)
	out, err := db.versions(ctx, db.read, n, w.text+fmt.Sprintf(` ORDER BY id DESC, environment LIMIT %d`, limit(q.Limit)), w.args...)
	return out, db.fault("list elevation requests", err)
}

// where collects conditions.
type where struct {
	text string
	args []any
}

func (w *where) add(condition string) {
	if w.text != "" {
		w.text += " AND "
	}
	w.text += condition
}

func (w *where) addIf(ok bool, condition string, arg any) {
	if ok {
		w.args = append(w.args, arg)
		w.add(fmt.Sprintf(condition, len(w.args)))
	}
}

// none turns the absence of rows into store.ErrNotFound.
func none(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}
