package sqlstore

import (
	"context"
	"strings"

	"github.com/jmoiron/sqlx"
)

// inserter puts many rows into one table, many with each statement: a statement
// for each would cost several times as much on both databases.
type inserter struct {
	encoder
	db    *DB
	tx    *sqlx.Tx
	into  string // table and columns
	width int    // values of a row
	end   string // what follows them in each row, as SQL
	after string // what follows the rows, as SQL

	full *sqlx.Stmt
}

// next is called after the values of each row.
func (i *inserter) next(ctx context.Context) error {
	if i.err != nil {
		return i.err
	}
	rows := i.db.batch(i.width)
	if len(i.values) < rows*i.width {
		return nil
	}
	if i.full == nil {
		stmt, err := i.tx.PreparexContext(ctx, i.statement(rows))
		if err != nil {
			return err
		}
		i.full = stmt
	}
	_, err := i.full.ExecContext(ctx, i.values...)
	clear(i.values)
	i.values = i.values[:0]
	return err
}

// close puts the rows that are left. The statement ends with the transaction.
func (i *inserter) close(ctx context.Context) error {
	if i.err != nil || len(i.values) == 0 {
		return i.err
	}
	_, err := i.tx.ExecContext(ctx, i.statement(len(i.values)/i.width), i.values...)
	return err
}

func (i *inserter) statement(rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO ` + i.into + ` VALUES `)
	i.db.tuples(&b, rows, i.width, 1, i.end)
	b.WriteString(i.after)
	return b.String()
}
