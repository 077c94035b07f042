package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
	"github.com/ambit-iam/ambit/store/storetest"
)

// places are the databases that are measured.
func places(b *testing.B, f func(*testing.B, func(testing.TB) storetest.Place)) {
	b.Run("sqlite", func(b *testing.B) { f(b, storetest.SQLite) })
	b.Run("postgres", func(b *testing.B) { f(b, storetest.PostgreSQL) })
}

// organisation is a first synchronisation: users with four memberships each.
func organisation(users int) []access.Change {
	id := func(i int) string { return fmt.Sprintf("%08x-4c1e-1039-8d2b-5d8f1a2b3c4d", uint32(i)*2654435761) }
	var out []access.Change
	for i := range users {
		out = append(out, access.Put(access.User{
			Environment: "sales", ID: access.UserID("corp:" + id(i)), Login: fmt.Sprintf("user%05d@example.com", i), Name: fmt.Sprintf("Firstname Lastname %d", i),
			Mail: fmt.Sprintf("user%05d@example.com", i), BusinessUnit: access.BusinessUnitID(fmt.Sprintf("unit-%d", i%200)), Enabled: true,
			Manager: access.UserID("corp:" + id(i/10)), ManagedBy: access.ByMapping, Origin: access.Origin{Rule: "people", Source: "corp", Object: id(i)},
		}))
		for j := range 4 {
			group := id(1_000_000 + (i*7+j*501)%2000)
			out = append(out, access.Put(access.Membership{
				Environment: "sales", Team: access.TeamID("corp:" + group), User: access.UserID("corp:" + id(i)), ManagedBy: access.ByMapping,
				Origin: access.Origin{Rule: "groups", Source: "corp", Object: group},
			}))
		}
	}
	return out
}

func commitAll(b testing.TB, db *sqlstore.DB, base access.Revision, changes []access.Change) {
	_, err := db.Commit(context.Background(), store.Commit{Base: base, At: time.Now(), Changes: changes, Events: []audit.Event{{Operation: "sync.applied"}}})
	require.NoError(b, err)
}

// BenchmarkFirstCommit writes 50,000 users with 200,000 memberships as one
// revision.
func BenchmarkFirstCommit(b *testing.B) {
	changes := organisation(50_000)
	places(b, func(b *testing.B, place func(testing.TB) storetest.Place) {
		for b.Loop() {
			b.StopTimer()
			db := place(b).Open(b, storetest.Options{})
			b.StartTimer()
			commitAll(b, db, 0, changes)
			b.StopTimer()
			require.NoError(b, db.Close())
			b.StartTimer()
		}
	})
}

// BenchmarkSmallCommit changes one membership in a small and a large
// organisation.
func BenchmarkSmallCommit(b *testing.B) {
	places(b, func(b *testing.B, place func(testing.TB) storetest.Place) {
		for _, users := range []int{5_000, 50_000} {
			b.Run(fmt.Sprint(users, "-users"), func(b *testing.B) {
				db := place(b).Open(b, storetest.Options{})
				changes := organisation(users)
				commitAll(b, db, 0, changes)
				one := changes[len(changes)/2+1]
				rev := access.Revision(1)
				for b.Loop() {
					one.Delete = !one.Delete
					commitAll(b, db, rev, []access.Change{one})
					rev++
				}
			})
		}
	})
}

// BenchmarkLoad reads 50,000 users with 200,000 memberships: into an
// access.State, as objects, and the same columns of the same rows with
// database/sql alone, which is the yardstick.
func BenchmarkLoad(b *testing.B) {
	changes := organisation(50_000)
	places(b, func(b *testing.B, place func(testing.TB) storetest.Place) {
		p := place(b)
		db := p.Open(b, storetest.Options{})
		commitAll(b, db, 0, changes)
		b.Run("state", func(b *testing.B) {
			for b.Loop() {
				s := access.NewState("sales")
				require.NoError(b, db.Load(b.Context(), 0, func(o access.Object) error { s.Apply(access.Put(o)); return nil }))
				require.Len(b, s.Memberships, 200_000)
			}
		})
		b.Run("objects", func(b *testing.B) {
			for b.Loop() {
				n := 0
				require.NoError(b, db.Load(b.Context(), 0, func(access.Object) error { n++; return nil }))
				require.Equal(b, 250_000, n)
			}
		})
		b.Run("yardstick", func(b *testing.B) {
			raw := p.SQL(b)
			for b.Loop() {
				require.Equal(b, 250_000, yardstick(b, raw))
			}
		})
	})
}

func yardstick(b *testing.B, raw *sql.DB) int {
	n := 0
	read := func(query string, dest ...any) {
		rows, err := raw.QueryContext(b.Context(), query, 1)
		require.NoError(b, err)
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				b.Fatal(err)
			}
			n++
		}
		require.NoError(b, rows.Err())
	}
	var u access.User
	read(`SELECT environment, id, login, name, mail, business_unit, enabled, licensed, admitted, manager, position, person, managed_by,
		origin_rule, origin_source, origin_object, origin_path FROM users WHERE since <= $1 AND until > $1`,
		&u.Environment, &u.ID, &u.Login, &u.Name, &u.Mail, &u.BusinessUnit, &u.Enabled, &u.Licensed, &u.Admitted, &u.Manager, &u.Position, &u.Person,
		&u.ManagedBy, &u.Origin.Rule, &u.Origin.Source, &u.Origin.Object, &u.Origin.Path)
	var m access.Membership
	read(`SELECT environment, team, member, managed_by, origin_rule, origin_source, origin_object, origin_path FROM memberships WHERE since <= $1 AND until > $1`,
		&m.Environment, &m.Team, &m.User, &m.ManagedBy, &m.Origin.Rule, &m.Origin.Source, &m.Origin.Object, &m.Origin.Path)
	return n
}

// BenchmarkMirror stores 55,000 objects with 200,000 edges as one page.
func BenchmarkMirror(b *testing.B) {
	page := store.MirrorPage{Source: "corp", Status: store.MirrorStatus{Cursor: []byte("c")}}
	for i := range 55_000 {
		id := directory.ObjectID(fmt.Sprintf("%08x-4c1e-1039-8d2b-5d8f1a2b3c4d", uint32(i)*2654435761))
		page.Put = append(page.Put, directory.Object{ID: id, Kind: directory.KindUser, DN: fmt.Sprintf("uid=user%05d,ou=people,dc=example,dc=com", i), Attributes: map[string][]string{
			directory.AttrUserName: {fmt.Sprintf("user%05d", i)}, directory.AttrDisplayName: {fmt.Sprintf("Firstname Lastname %d", i)},
			directory.AttrMail: {fmt.Sprintf("user%05d@example.com", i)}, "departmentNumber": {"42"},
		}})
	}
	for i := range 200_000 {
		page.AddEdges = append(page.AddEdges, directory.Edge{Group: page.Put[i%2000].ID, Far: directory.ByID(page.Put[i/4].ID)})
	}
	places(b, func(b *testing.B, place func(testing.TB) storetest.Place) {
		for _, again := range []bool{false, true} {
			b.Run(map[bool]string{false: "first", true: "repeat"}[again], func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					db := place(b).Open(b, storetest.Options{})
					if again {
						require.NoError(b, db.CommitMirror(b.Context(), page))
					}
					b.StartTimer()
					require.NoError(b, db.CommitMirror(b.Context(), page))
					b.StopTimer()
					require.NoError(b, db.Close())
					b.StartTimer()
				}
			})
		}
		b.Run("load", func(b *testing.B) {
			db := place(b).Open(b, storetest.Options{})
			require.NoError(b, db.CommitMirror(b.Context(), page))
			for b.Loop() {
				n := 0
				_, err := db.LoadMirror(b.Context(), "corp", func(store.MirrorRow) error { n++; return nil })
				require.NoError(b, err)
				require.Equal(b, 255_000, n)
			}
		})
	})
}

// BenchmarkVerify checks a log whose first revision has 250,000 objects.
func BenchmarkVerify(b *testing.B) {
	changes := organisation(50_000)
	places(b, func(b *testing.B, place func(testing.TB) storetest.Place) {
		db := place(b).Open(b, storetest.Options{})
		commitAll(b, db, 0, changes)
		for b.Loop() {
			_, err := db.Verify(b.Context(), nil)
			require.NoError(b, err)
		}
	})
}
