package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

func TestContract(t *testing.T) { storetest.Run(t, storetest.SQLite) }

func TestRule_REL_1_KilledAtEveryStatement(t *testing.T) { storetest.Killed(t, storetest.SQLite(t)) }

func TestRule_REL_7_FullDisk(t *testing.T) { storetest.FullDisk(t) }

func TestOneProcessHasTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ambit.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	_, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorIs(t, err, store.ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("process %d has it", os.Getpid()))
	require.ErrorContains(t, err, path)
	require.NoError(t, db.Ping(t.Context()), "the first goes on")
	require.NoError(t, db.Close())
	db, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func TestOnlyTheOwnerReadsTheFiles(t *testing.T) {
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "ambit.db"), sqlite.Options{})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, commit(db, 0, 1))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 4, "the file, its lock, its log and that log's index")
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f.Name())
	}
}

func TestRule_REL_11_NewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ambit.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = raw.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorIs(t, err, store.ErrNewerSchema)
	require.ErrorContains(t, err, "it has version 99, this program knows 5; run the newer Ambit")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// A mirror of before migration 5, whose rows lay in the order of their ids, is the
// same after it, and goes on.
func TestRule_REL_11_AMirrorIsKeptWhereItsRowsAreLaidAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ambit.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	put := func(db *sqlstore.DB, ids ...directory.ObjectID) {
		p := store.MirrorPage{Source: "corp", Status: store.MirrorStatus{Cursor: []byte(ids[0])}}
		for _, id := range ids {
			p.Put = append(p.Put, directory.Object{ID: id, Kind: directory.KindUser, DN: "cn=" + string(id), Attributes: map[string][]string{"mail": {string(id) + "@contoso.example"}}})
			p.AddEdges = append(p.AddEdges, directory.Edge{Group: "g", Relation: directory.Member, Far: directory.ByID(id)})
		}
		require.NoError(t, db.CommitMirror(t.Context(), p))
	}
	rows := func(db *sqlstore.DB) (out []string, cursor string) {
		status, err := db.LoadMirror(t.Context(), "corp", func(r store.MirrorRow) error {
			text, err := json.Marshal(r)
			out = append(out, string(text))
			return err
		})
		require.NoError(t, err)
		return out, string(status.Cursor)
	}
	put(db, "c", "a", "b")
	want, cursor := rows(db)
	require.Len(t, want, 6)
	require.NoError(t, db.Close())
	raw, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = raw.ExecContext(t.Context(), `
		CREATE TABLE before_5 (source TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, dn TEXT NOT NULL, attributes TEXT NOT NULL,
			PRIMARY KEY (source, id)) STRICT, WITHOUT ROWID;
		INSERT INTO before_5 SELECT source, id, kind, dn, attributes FROM mirror_objects;
		DROP TABLE mirror_objects;
		ALTER TABLE before_5 RENAME TO mirror_objects;
		DELETE FROM goose_db_version WHERE version_id = 5`)
	require.NoError(t, err)
	require.NoError(t, raw.Close())

	db, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	got, at := rows(db)
	require.ElementsMatch(t, want, got)
	require.Equal(t, cursor, at)
	put(db, "d", "a")
	got, _ = rows(db)
	require.Len(t, got, 8, "an object that is put again is not twice there")
	require.NoError(t, db.Close())
}

func TestAFileThatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ambit.db")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("This is a letter. ", 100)), 0o600))
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorContains(t, err, "file is not a database")
	require.ErrorContains(t, err, path)
}

func TestAPathIsTakenAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20e&f=g.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.FileExists(t, path)
}

func TestRule_REL_7_ReadOnlyFolder(t *testing.T) {
	dir, err := os.MkdirTemp("", "ambit-store-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "ambit.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, commit(db, 0, 1))
	require.NoError(t, db.Close())
	for _, f := range []string{path, path + ".lock"} {
		require.NoError(t, os.Chmod(f, 0o444))
	}
	require.NoError(t, os.Chmod(dir, 0o555))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, file := range map[string]string{"a store that is there": path, "a new store": filepath.Join(dir, "new.db")} {
		t.Run(name, func(t *testing.T) {
			said := storetest.Unwritable(t, file)
			require.Contains(t, said, store.ErrReadOnly.Error())
			require.Contains(t, said, "let this user write the file and its folder")
			require.Contains(t, said, file)
		})
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, os.Chmod(dir, 0o755))
}

// The limit that SQLite itself keeps gives the error of a full disk on every
// machine, while others read.
func TestRule_REL_7_AFullFileRefusesChangesAndRecovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ambit.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, commit(db, 0, 1))
	require.NoError(t, db.Close())
	conns := &opened{}
	db, err = sqlite.Open(t.Context(), path, sqlite.Options{Wrap: conns.wrap})
	require.NoError(t, err)
	defer db.Close()
	conns.exec(t, `PRAGMA max_page_count = 1`) // SQLite takes the least that holds what is there
	err = commit(db, 1, 5000)
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.ErrorContains(t, err, "the disk is full; free some space, nothing was changed")
	newest, err := db.Newest(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, newest.Revision)
	n := 0
	require.NoError(t, db.Load(t.Context(), 0, func(access.Object) error { n++; return nil }))
	require.Equal(t, 1, n)
	conns.exec(t, `PRAGMA max_page_count = 1000000`)
	require.NoError(t, commit(db, 1, 5000))
	_, err = db.Verify(t.Context(), nil)
	require.NoError(t, err)
}

func commit(db interface {
	Commit(context.Context, store.Commit) (store.Committed, error)
}, base access.Revision, users int,
) error {
	c := store.Commit{Base: base, At: time.Now(), Events: []audit.Event{{Operation: "test"}}}
	for i := range users {
		c.Changes = append(c.Changes, access.Put(access.User{Environment: "dev", ID: access.UserID(fmt.Sprint(base, "-", i)), Name: "A name of some length"}))
	}
	_, err := db.Commit(context.Background(), c)
	return err
}

// opened knows the connections of a store, to run a pragma on each.
type opened struct {
	mu    sync.Mutex
	conns []driver.Conn
}

func (o *opened) wrap(c driver.Connector) driver.Connector { return connector{c, o} }

func (o *opened) exec(t *testing.T, pragma string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	require.NotEmpty(t, o.conns)
	for _, c := range o.conns {
		_, err := c.(driver.ExecerContext).ExecContext(t.Context(), pragma, nil)
		require.NoError(t, err)
	}
}

type connector struct {
	driver.Connector
	opened *opened
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err == nil {
		c.opened.mu.Lock()
		defer c.opened.mu.Unlock()
		c.opened.conns = append(c.opened.conns, conn)
	}
	return conn, err
}
