package storetest

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/store"
)

// tampering edits what the audit chain covers, one thing at a time, behind the
// store's back.
func tampering(t *testing.T, p Place) {
	db, raw := p.Open(t, Options{}), p.SQL(t)
	commit(t, db, puts(everyKind("dev", "one"))...)
	commit(t, db, puts(everyKind("dev", "two"))...)
	commit(t, db, puts(everyKind("other", "three"))...)
	var gone []access.Change
	for _, o := range everyKind("other", "three") {
		gone = append(gone, access.Remove(o))
	}
	commit(t, db, gone...)
	commit(t, db) // tells of a refusal
	for i := range 3 {
		commit(t, db, access.Put(access.User{Environment: "dev", ID: access.UserID(fmt.Sprint("user-", i)), ManagedBy: access.ByAPI}))
	}
	whole, err := db.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 8, whole.Revision)
	require.EqualValues(t, 8, whole.Events)
	events, err := db.Audit(t.Context(), store.AuditQuery{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, events[0].Hash, whole.Head)

	// found makes an edit, expects it to be named, and takes it back.
	found := func(name, table, says string, edits ...string) {
		t.Run(name, func(t *testing.T) {
			edit(t, raw, `CREATE TABLE kept AS SELECT * FROM `+table)
			defer func() {
				edit(t, raw, `DELETE FROM `+table)
				edit(t, raw, `INSERT INTO `+table+` SELECT * FROM kept`)
				edit(t, raw, `DROP TABLE kept`)
			}()
			for _, e := range edits {
				require.Positive(t, edit(t, raw, e), e)
			}
			got, err := db.Verify(t.Context(), nil)
			require.ErrorIs(t, err, store.ErrTampered, "%q", edits)
			require.ErrorContains(t, err, says)
			require.LessOrEqual(t, got.Revision, whole.Revision)
		})
	}
	for _, table := range []string{
		"environments", "business_units", "tables", "roles", "users", "teams", "memberships", "assignments", "records", "shares",
		"jit_policies", "jit_requests",
	} {
		for _, c := range tableColumns(t, raw, table) {
			found("a live row of "+table+", "+c.name, table, "revision", `UPDATE `+table+` SET `+c.edit+` WHERE since = 2 AND until = 9223372036854775807`)
			found("an ended row of "+table+", "+c.name, table, "revision", `UPDATE `+table+` SET `+c.edit+` WHERE since = 1`)
		}
		found("a live row of "+table+" deleted", table, "revision 2", `DELETE FROM `+table+` WHERE since = 2`)
		found("an ended row of "+table+" deleted", table, "revision 3", `DELETE FROM `+table+` WHERE since = 3`)
		found("a row of "+table+" ended early, at no revision", table, "belongs to no revision", `UPDATE `+table+` SET until = 0 WHERE since = 2`)
		found("a row of "+table+" ended at a revision of others", table, "revision 5", `UPDATE `+table+` SET until = 5 WHERE since = 2`)
		found("a row of "+table+" that lives again", table, "revision 4", `UPDATE `+table+` SET until = 9223372036854775807 WHERE since = 3`)
		found("a row of "+table+" from the future", table, "revision 2", `UPDATE `+table+` SET since = 99 WHERE since = 2`)
		all := columnNames(t, raw, table)
		copied := strings.ReplaceAll(strings.ReplaceAll(all, "since", "9"), "environment", "'forged'")
		found("a row added to "+table+" after the head", table, "belongs to no revision", `INSERT INTO `+table+` (`+all+`) SELECT `+copied+` FROM `+table+` WHERE since = 2`)
		copied = strings.ReplaceAll(strings.ReplaceAll(all, "since", "6"), "environment", "'forged'")
		found("a row added to "+table+" in an old revision", table, "revision 6", `INSERT INTO `+table+` (`+all+`) SELECT `+copied+` FROM `+table+` WHERE since = 2`)
	}
	found("a request's justification", "jit_requests", "revision 2 (event 2)", `UPDATE jit_requests SET document = replace(document, '"two"', '"fine"') WHERE since = 2`)

	for _, table := range []string{"audit_events", "revisions"} {
		by := map[string]string{"audit_events": "seq", "revisions": "revision"}[table]
		for _, c := range tableColumns(t, raw, table) {
			row := "4"
			if c.name == by {
				row = "1" // it becomes 0, the other numbers are taken
			}
			found(c.name+" of "+table, table, "event", `UPDATE `+table+` SET `+c.edit+` WHERE `+by+` = `+row)
		}
		found("the first of "+table+" deleted", table, "missing", `DELETE FROM `+table+` WHERE `+by+` = 1`)
		found("one of "+table+" deleted", table, "revision", `DELETE FROM `+table+` WHERE `+by+` = 4`)
		found("the last of "+table+" deleted", table, "missing", `DELETE FROM `+table+` WHERE `+by+` = 8`)
	}
	all := columnNames(t, raw, "audit_events")
	found("two events in the other order", "audit_events", "event 4",
		`UPDATE audit_events SET seq = -1 WHERE seq = 4`, `UPDATE audit_events SET seq = 4 WHERE seq = 5`, `UPDATE audit_events SET seq = 5 WHERE seq = -1`)
	added := strings.Replace(all, "seq", "9", 1)
	found("an event added at the end", "audit_events", "event 9", `INSERT INTO audit_events (`+all+`) SELECT `+added+` FROM audit_events WHERE seq = 8`)
	for _, c := range tableColumns(t, raw, "head") {
		if c.name != "one" {
			found(c.name+" of the head", "head", "head", `UPDATE head SET `+c.edit)
		}
	}
	found("the head gone", "head", "head", `DELETE FROM head`)

	t.Run("one forged event with the right hash does not fit the next", func(t *testing.T) {
		events, err := db.Audit(t.Context(), store.AuditQuery{Before: 5, Limit: 2})
		require.NoError(t, err)
		forged := events[0]
		forged.Actor.ID = "somebody else"
		before := events[1]
		chain := audit.Chain{Seq: before.Seq, Revision: before.Revision, At: before.At, Hash: before.Hash}
		require.NoError(t, chain.Append(&forged))
		found("", "audit_events", "event 5", fmt.Sprintf(`UPDATE audit_events SET actor = 'somebody else', hash = '%s' WHERE seq = 4`, forged.Hash))
	})

	after, err := db.Verify(t.Context(), nil)
	require.NoError(t, err, "all edits were taken back")
	require.Equal(t, whole, after)

	// The limit that Verify names: a log cut off with its head is found only by
	// comparing with a head that somebody kept.
	for _, cut := range []string{
		`DELETE FROM users WHERE since = 8`, `DELETE FROM audit_events WHERE seq = 8`, `DELETE FROM revisions WHERE revision = 8`,
		`UPDATE head SET revision = 7, seq = 7, at = (SELECT at FROM revisions WHERE revision = 7), hash = (SELECT hash FROM audit_events WHERE seq = 7)`,
	} {
		edit(t, raw, cut)
	}
	after, err = db.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.NotEqual(t, whole.Head, after.Head)
}

func edit(t testing.TB, raw *sql.DB, statement string) int64 {
	t.Helper()
	done, err := raw.ExecContext(t.Context(), statement)
	require.NoError(t, err, statement)
	n, err := done.RowsAffected()
	require.NoError(t, err)
	return n
}

type edited struct{ name, edit string }

// tableColumns lists a table's columns, each with an assignment that changes it.
func tableColumns(t testing.TB, raw *sql.DB, table string) (out []edited) {
	rows, err := raw.QueryContext(t.Context(), `SELECT * FROM `+table+` LIMIT 1`)
	require.NoError(t, err)
	defer rows.Close()
	types, err := rows.ColumnTypes()
	require.NoError(t, err)
	for _, c := range types {
		n := c.Name()
		switch kind := c.DatabaseTypeName(); kind {
		case "TEXT":
			out = append(out, edited{n, n + " = " + n + " || 'x'"})
		case "BOOL":
			out = append(out, edited{n, n + " = NOT " + n})
		case "INTEGER", "INT8":
			out = append(out, edited{n, n + " = CASE coalesce(" + n + ", 0) WHEN 0 THEN 1 WHEN 1 THEN 0 ELSE " + n + " - 1 END"})
		default:
			require.Fail(t, "unknown column type", "%s.%s is %s", table, n, kind)
		}
	}
	require.NoError(t, rows.Err())
	return out
}

func columnNames(t testing.TB, raw *sql.DB, table string) string {
	var names []string
	for _, c := range tableColumns(t, raw, table) {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}
