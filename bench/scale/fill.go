package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

// fill stores the company in a new file. What there are millions of goes into the
// store's tables without a changeset, whose digest would take longer than all the
// rest: the rows are those that the store would write, in the order of their keys,
// as of the revision of the last commit.
func fill(ctx context.Context, path string, c company) error {
	began := time.Now()
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	rev, err := commit(ctx, db, c.few())
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	// No journal: what fails is thrown away.
	raw, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String()+
		"?_pragma=locking_mode(EXCLUSIVE)&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-262144)")
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetMaxOpenConns(1)
	for _, b := range []bulk{
		{"memberships", "environment, team, member, managed_by, origin_rule, origin_source, origin_object, origin_path", c.membershipRows()},
		{"assignments", "environment, id, role, principal_kind, principal, business_unit, window_start, window_end, request, bound, managed_by," +
			" origin_rule, origin_source, origin_object, origin_path", c.assignmentRows()},
		{"shares", "environment, record_table, record, principal_kind, principal, rights, inherited, along, window_start, window_end, managed_by", c.shareRows()},
	} {
		n, err := b.insert(ctx, raw, rev)
		if err != nil {
			return fmt.Errorf("%s: %w", b.table, err)
		}
		fmt.Fprintf(os.Stderr, "  %d %s stored after %s\n", n, b.table, time.Since(began).Round(time.Second))
	}
	return nil
}

// commit stores objects through the store itself, a good many at a time.
func commit(ctx context.Context, db *sqlstore.DB, objects iter.Seq[access.Object]) (rev access.Revision, err error) {
	const many = 100_000
	var changes []access.Change
	put := func() {
		if err != nil || len(changes) == 0 {
			return
		}
		var done store.Committed
		done, err = db.Commit(ctx, store.Commit{Base: rev, At: time.Now(), Changes: changes, Events: []audit.Event{{Operation: "sync.applied"}}})
		rev, changes = done.Revision, changes[:0]
	}
	for o := range objects {
		if changes = append(changes, access.Put(o)); len(changes) == many {
			put()
		}
		if err != nil {
			break
		}
	}
	put()
	return rev, err
}

// few are the objects of which there are no millions beyond the users.
func (c company) few() iter.Seq[access.Object] {
	return func(yield func(access.Object) bool) {
		for o := range c.objects() {
			switch o.(type) {
			case access.Membership:
				continue
			case access.Assignment:
				continue
			case access.Share:
				return
			}
			if !yield(o) {
				return
			}
		}
	}
}

// bulk is rows of one of the store's tables, in the order of its key.
type bulk struct {
	table, columns string
	rows           iter.Seq[[]any]
}

// insert puts the rows, some hundreds with each statement.
func (b bulk) insert(ctx context.Context, db *sql.DB, since access.Revision) (n int, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	width := strings.Count(b.columns, ",") + 1
	const many = 500
	statement := func(rows int) string {
		row := "(" + strings.Repeat("?,", width) + fmt.Sprint(since) + ")"
		return "INSERT INTO " + b.table + " (" + b.columns + ", since) VALUES " + strings.Repeat(row+",", rows-1) + row
	}
	full, err := tx.PrepareContext(ctx, statement(many))
	if err != nil {
		return 0, errors.Join(err, tx.Rollback())
	}
	var values []any
	for row := range b.rows {
		n++
		if values = append(values, row...); len(values) == many*width {
			_, err = full.ExecContext(ctx, values...)
			values = values[:0]
		}
		if err != nil {
			return n, errors.Join(err, tx.Rollback())
		}
	}
	if len(values) > 0 {
		if _, err := tx.ExecContext(ctx, statement(len(values)/width), values...); err != nil {
			return n, errors.Join(err, tx.Rollback())
		}
	}
	return n, tx.Commit()
}

func (c company) membershipRows() iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		all := make([]uint64, 0, memberships*c.users) // team and user
		for i := range c.users {
			for n := range memberships {
				all = append(all, uint64(c.teamOf(i, n))<<32|uint64(i))
			}
		}
		slices.Sort(all)
		for _, x := range all {
			m := c.membership(int(uint32(x)), int(x>>32))
			if !yield(slices.Concat([]any{string(m.Environment), string(m.Team), string(m.User), string(m.ManagedBy)}, origin(m.Origin))) {
				return
			}
		}
	}
}

func (c company) assignmentRows() iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		c.assigned(func(o access.Object) bool {
			a, ok := o.(access.Assignment)
			return !ok || yield(slices.Concat([]any{
				string(a.Environment), string(a.ID), string(a.Role), a.Principal.Kind.String(), a.Principal.ID, string(a.BusinessUnit),
				instant(a.Window.Start), instant(a.Window.End), a.Request, "", string(a.ManagedBy),
			}, origin(a.Origin)))
		})
	}
}

func (c company) shareRows() iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		all := make([]int, c.records()/2)
		for i := range all {
			all[i] = i
		}
		slices.SortFunc(all, func(x, y int) int {
			return cmp.Or(cmp.Compare(recordTable(x), recordTable(y)), cmp.Compare(recordOrder(x), recordOrder(y)))
		})
		for _, record := range all {
			first, second := c.share(record, 0), c.share(record, 1)
			if first.Principal == second.Principal { // the later one counts
				first = second
			}
			for i, s := range []access.Share{first, second} {
				if i == 1 && s.Principal == first.Principal {
					break
				}
				if !yield([]any{
					string(s.Environment), string(s.Table), string(s.Record), s.Principal.Kind.String(), s.Principal.ID,
					s.Rights.String(), s.Inherited.String(), "", instant(s.Window.Start), instant(s.Window.End), string(s.ManagedBy),
				}) {
					return
				}
			}
		}
	}
}

func origin(o access.Origin) []any { return []any{o.Rule, o.Source, o.Object, o.Path} }

// instant is as the store keeps it.
func instant(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}
