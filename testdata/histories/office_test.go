// Package histories holds the tests that go from a real server, through its
// connector, the mirror and the guards, to who may do what: what looks empty, and
// random histories of changes and faults.
//
// It has no code of its own.
package histories

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

const modelFile = `
environments:
  crm:
    business_units: {HQ: {}}
    tables: {account: {ownership: user_or_team}}
    roles:
      Salesperson: {privileges: {account: {read: business_unit}}}
`

// rulesFile gives everybody a place and every group a team.
const rulesFile = `
environments: {crm: {}}
rules:
  - name: people
    match: {source: corp, users: 'has(user.userName)'}
    user: {environment: crm, business_unit: HQ}
  - name: teams
    match: {source: corp, group: '*'}
    team: {environment: crm, business_unit: HQ, roles: [Salesperson]}
`

// wide lets everything pass.
const wide = `
guards:
  remove_members: {max: 100000, max_share: 1}
  remove_roles: {max: 100000, max_share: 1}
  remove_teams: {max: 100000, max_share: 1}
  remove_users: {max: 100000, max_share: 1}
  shut_out_users: {max: 100000, max_share: 1}
  empty_team: 100000
  team_share: 1
  privileged: {max: 100000}
  shrunken_read: 1
`

// office is a daemon's inside: a source, and others at times, a store on disk, and
// what is made of it.
type office struct {
	t      testing.TB
	rules  string
	reader directory.Reader
	others []dirsync.Source
	db     *sqlstore.DB
	store  *mortal
	tenant *tenant.Tenant
	sync   *dirsync.Syncer
}

// template is an empty store, which is copied.
var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a file more or less
	path := filepath.Join(dir, "ambit.db")
	db, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func open(t testing.TB, dir, rules string, reader directory.Reader) *office {
	empty, err := template()
	require.NoError(t, err)
	path := filepath.Join(dir, "ambit.db")
	require.NoError(t, os.WriteFile(path, empty, 0o600))
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	o := &office{t: t, rules: rules, reader: reader, db: db, store: &mortal{DB: db, objects: map[directory.ObjectID]string{}, edges: map[directory.Edge]bool{}}}
	o.start()
	return o
}

func (o *office) close() { require.NoError(o.t, o.db.Close()) }

// start begins anew with what the store has, as another process does.
func (o *office) start() {
	var err error
	o.tenant, err = tenant.Open(o.t.Context(), o.store, tenant.Options{})
	require.NoError(o.t, err)
	m, err := model.Parse("model.yaml", []byte(modelFile))
	require.NoError(o.t, err)
	f, err := mapping.Parse("mapping.yaml", []byte(o.rules))
	require.NoError(o.t, err)
	var rules *mapping.Rules
	sources := append([]dirsync.Source{{ID: "corp", Reader: o.reader}}, o.others...)
	var ids []directory.SourceID
	for _, s := range sources {
		ids = append(ids, s.ID)
	}
	require.NoError(o.t, o.tenant.Read(func(v tenant.View) error {
		rules, err = f.Compile(mapping.Names{Sources: ids, Environments: dirsync.Names(m, v)})
		return err
	}))
	o.sync = dirsync.New(o.store, o.tenant, dirsync.Config{Model: m, Rules: rules, Sources: sources}, dirsync.SyncerOptions{})
}

// read is a synchronization.
func (o *office) read() error {
	_, err := o.sync.Sync(o.t.Context(), dirsync.Options{})
	return err
}

// rights are who may do anything, and by which group: what nobody may lose
// without a person's word.
func (o *office) rights() map[string]bool {
	out := map[string]bool{}
	require.NoError(o.t, o.tenant.Read(func(v tenant.View) error {
		s, err := v.State("crm")
		if err != nil {
			return nil // nothing was ever read
		}
		for _, u := range s.Users {
			if u.Enabled {
				out["user "+u.Origin.Object] = true
			}
		}
		for _, m := range s.Memberships {
			out["member "+s.Teams[m.Team].Origin.Object+" "+s.Users[m.User].Origin.Object] = true
		}
		return nil
	}))
	return out
}

var pinned = regexp.MustCompile(`^(is|was):\S+ `)

// text is what is mirrored and what was made of it, in order.
func (o *office) text() string {
	lines := slices.Collect(maps.Keys(o.rights()))
	_, err := o.db.LoadMirror(o.t.Context(), "corp", func(row store.MirrorRow) error {
		if row.Object != nil {
			var attributes []string
			for name, values := range row.Object.Attributes {
				attributes = append(attributes, fmt.Sprintf("%s=%q", name, values))
			}
			slices.Sort(attributes)
			lines = append(lines, fmt.Sprintf("object %s %s %s %s", row.Object.ID, row.Object.Kind, row.Object.DN, strings.Join(attributes, " ")))
		} else {
			// Whom a name meant before is the mirror's own note (Rule LDAP-22).
			far := pinned.ReplaceAllString(string(row.Edge.Far), "")
			lines = append(lines, fmt.Sprintf("edge %s %s %s", row.Edge.Group, row.Edge.Relation, far))
		}
		return nil
	})
	require.NoError(o.t, err)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var errKilled = errors.New("killed")

// mortal is a store whose process can be killed at any write: before it, or after
// it and before anybody knows.
type mortal struct {
	*sqlstore.DB
	fuse  int  // writes that are left; 0: no limit
	after bool // the last one is done all the same
	dead  bool

	objects map[directory.ObjectID]string // as stored
	edges   map[directory.Edge]bool
	// repeated counts what was stored again though it was there; page is the largest
	// page that was ever stored.
	repeated, page int
}

// write does a write, unless it is the one at which the process is killed.
func (m *mortal) write(do func() error) error {
	if m.dead {
		return errKilled
	}
	if m.fuse > 0 {
		m.fuse--
		m.dead = m.fuse == 0
	}
	if m.dead && !m.after {
		return errKilled
	}
	if err := do(); err != nil {
		return err
	}
	if m.dead {
		return errKilled
	}
	return nil
}

func (m *mortal) CommitMirror(ctx context.Context, p store.MirrorPage) error {
	return m.write(func() error {
		if err := m.DB.CommitMirror(ctx, p); err != nil {
			return err
		}
		m.note(p)
		return nil
	})
}

func (m *mortal) Commit(ctx context.Context, c store.Commit) (done store.Committed, err error) {
	err = m.write(func() error {
		done, err = m.DB.Commit(ctx, c)
		return err
	})
	return done, err
}

func (m *mortal) note(p store.MirrorPage) {
	m.page = max(m.page, len(p.Put)+len(p.AddEdges))
	for _, id := range p.Delete {
		delete(m.objects, id)
		maps.DeleteFunc(m.edges, func(e directory.Edge, _ bool) bool { return e.Group == id || e.Far == directory.ByID(id) })
	}
	for _, e := range p.RemoveEdges {
		delete(m.edges, e)
	}
	for _, object := range p.Put {
		text := fmt.Sprint(object) // maps are printed in order
		if m.objects[object.ID] == text {
			m.repeated++
		}
		m.objects[object.ID] = text
	}
	for _, e := range p.AddEdges {
		if m.edges[e] {
			m.repeated++
		}
		m.edges[e] = true
	}
}

// file puts a secret where a configuration can refer to it.
func file(t testing.TB, value string) secret.Ref {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(value), 0o600))
	return secret.Ref("file:" + path)
}
