package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/ambit-iam/ambit/store"
)

// PutRun keeps a run that committed nothing, in place of the one that has its id,
// and returns its id. Which older runs stay is for keep to say.
func (db *DB) PutRun(ctx context.Context, run store.Run, keep store.Retention, fence int64) (id int64, err error) {
	err = db.change(ctx, "keep a run", func(tx *sqlx.Tx) error {
		if err := db.fenced(ctx, tx, fence); err != nil {
			return err
		}
		id, err = db.putRun(ctx, tx, run, keep)
		return err
	})
	return id, err
}

// putRun never refuses a text: a run must not keep a commit from being made.
func (db *DB) putRun(ctx context.Context, tx *sqlx.Tx, run store.Run, keep store.Retention) (int64, error) {
	var sources strings.Builder // " corp entra ", so that one is found with the spaces around it
	sources.WriteByte(' ')
	for _, s := range run.Sources {
		sources.WriteString(string(s.Source) + " ")
	}
	document, err := json.Marshal(run)
	if err != nil {
		return 0, fmt.Errorf("runs: %w", err)
	}
	values := []any{run.Ended.UnixMicro(), string(run.Result), storable(sources.String()), string(document), storable(run.Text), run.File}
	var ids []int64
	if run.ID != 0 {
		err = tx.SelectContext(ctx, &ids, `
			UPDATE runs SET ended = $1, result = $2, sources = $3, document = $4, plan_text = $5, plan_file = $6 WHERE id = $7 RETURNING id`,
			append(values, run.ID)...)
	}
	if err == nil && len(ids) == 0 { // it is new, or was not kept for so long
		err = tx.SelectContext(ctx, &ids, `
			INSERT INTO runs (ended, result, sources, document, plan_text, plan_file) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`, values...)
	}
	if err != nil {
		return 0, fmt.Errorf("runs: %w", err)
	}
	if len(ids) != 1 {
		return 0, errors.New("internal error: a run has no id")
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM runs WHERE id <= $1 OR ended < $2`, ids[0]-int64(keep.Runs), run.Ended.Add(-keep.Age).UnixMicro())
	if err != nil {
		return 0, fmt.Errorf("runs: %w", err)
	}
	return ids[0], nil
}

// runRow is a run as it is stored.
type runRow struct {
	ID       int64  `db:"id"`
	Document string `db:"document"`
	Text     string `db:"plan_text"`
	File     []byte `db:"plan_file"`
}

func (r runRow) run() (store.Run, error) {
	var run store.Run
	if err := json.Unmarshal([]byte(r.Document), &run); err != nil {
		return run, fmt.Errorf("run %d: %w", r.ID, err)
	}
	run.ID, run.Text, run.File = r.ID, r.Text, r.File
	return run, nil
}

// Runs lists runs, newest first, without their plans.
func (db *DB) Runs(ctx context.Context, q store.RunQuery) ([]store.Run, error) {
	const what = "list runs"
	var w where
	w.add(`id > 0`)
	w.addIf(q.Source != "", `sources LIKE $%d`, "% "+string(q.Source)+" %")
	w.addIf(q.Result != "", `result = $%d`, string(q.Result))
	w.addIf(q.Before > 0, `id < $%d`, q.Before)
	var rows []runRow
	err := db.read.SelectContext(ctx, &rows, `SELECT id, document FROM runs WHERE `+w.text+fmt.Sprintf(` ORDER BY id DESC LIMIT %d`, limit(q.Limit)), w.args...)
	if err != nil {
		return nil, db.fault(what, err)
	}
	out := make([]store.Run, len(rows))
	for i, r := range rows {
		if out[i], err = r.run(); err != nil {
			return nil, db.fault(what, err)
		}
	}
	return out, nil
}

// Run returns a run with its plan, or store.ErrNotFound.
func (db *DB) Run(ctx context.Context, id int64) (store.Run, error) {
	what := fmt.Sprintf("read run %d", id)
	var r runRow
	if err := db.read.GetContext(ctx, &r, `SELECT id, document, plan_text, plan_file FROM runs WHERE id = $1`, id); err != nil {
		return store.Run{}, db.fault(what, none(err))
	}
	run, err := r.run()
	return run, db.fault(what, err)
}
