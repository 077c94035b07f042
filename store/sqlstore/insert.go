package sqlstore

import (
	"context"
	"strings"

	"github.com/jmoiron/sqlx"
)

// inserter puts many rows into one table, many with each statement: a statement
// for each would cost several times as much on both databases. What all rows of a
// statement have in common, such as the environment, is handed over once.
type inserter struct {
	encoder
	db    *DB
	tx    *sqlx.Tx
	into  string // table and columns
	width int    // values of a row, 64 at most
	end   string // what follows them in each row, as SQL
	after string // what follows the rows, as SQL

	full map[columnSet]*sqlx.Stmt // of as many rows as a statement takes, by what they have in common
}

// columnSet is a set of columns, by place.
type columnSet uint64

func (s columnSet) has(column int) bool { return s>>column&1 == 1 }

// next is called after the values of each row.
func (i *inserter) next(ctx context.Context) error {
	if i.err != nil {
		return i.err
	}
	rows := i.db.batch(i.width)
	if len(i.values) < rows*i.width {
		return nil
	}
	common := i.common()
	stmt := i.full[common]
	if stmt == nil {
		var err error
		if stmt, err = i.tx.PreparexContext(ctx, i.statement(rows, common)); err != nil {
			return err
		}
		if i.full == nil {
			i.full = map[columnSet]*sqlx.Stmt{}
		}
		i.full[common] = stmt
	}
	_, err := stmt.ExecContext(ctx, i.take(common)...)
	return err
}

// close puts the rows that are left. The statements end with the transaction.
func (i *inserter) close(ctx context.Context) error {
	if i.err != nil || len(i.values) == 0 {
		return i.err
	}
	common, rows := i.common(), len(i.values)/i.width
	_, err := i.tx.ExecContext(ctx, i.statement(rows, common), i.take(common)...)
	return err
}

// common are the columns in which all rows have one value.
func (i *inserter) common() columnSet {
	common := columnSet(1)<<i.width - 1
	for at := i.width; at < len(i.values) && common != 0; at += i.width {
		for c := range i.width {
			if common.has(c) && i.values[at+c] != i.values[c] {
				common &^= 1 << c
			}
		}
	}
	return common
}

// take returns the values as the statement wants them, and begins anew.
func (i *inserter) take(common columnSet) []any {
	args := i.values[:i.width]
	for at := i.width; at < len(i.values); at += i.width {
		for c := range i.width {
			if !common.has(c) {
				args = append(args, i.values[at+c]) // which lies further on
			}
		}
	}
	clear(i.values[len(args):])
	i.values = i.values[:0]
	return args
}

// statement puts so many rows. The first has a parameter for each column, the
// others for those in which they differ.
func (i *inserter) statement(rows int, common columnSet) string {
	var b strings.Builder
	var placeholder []byte
	b.WriteString(`INSERT INTO ` + i.into + ` VALUES `)
	n := 0
	for r := range rows {
		if r > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for c := range i.width {
			if c > 0 {
				b.WriteByte(',')
			}
			if r > 0 && common.has(c) {
				placeholder = i.db.dialect.Again(placeholder[:0], c+1)
			} else {
				n++
				placeholder = i.db.dialect.Placeholder(placeholder[:0], n)
			}
			b.Write(placeholder)
		}
		b.WriteString(i.end)
		b.WriteByte(')')
	}
	b.WriteString(i.after)
	return b.String()
}
