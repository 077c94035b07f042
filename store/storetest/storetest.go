// Package storetest is the contract of a store as tests, which both databases
// pass, and the histories that they are put through.
package storetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

// Place is where one store is kept.
type Place interface {
	// Open opens the store, as a process does that starts. It is closed after the
	// test, if it was not before.
	Open(t testing.TB, o Options) *sqlstore.DB
	// SQL opens the same database without Ambit, to tamper with it.
	SQL(t testing.TB) *sql.DB

	task() task
}

// Options are those that both databases have.
type Options struct {
	Now  func() time.Time
	Wrap func(driver.Connector) driver.Connector
}

// Run puts the contract to stores that place makes, each empty.
func Run(t *testing.T, place func(testing.TB) Place) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Place)
	}{
		{"an empty store has no revision", empty},
		{"loading many stops when told to, and names a row that cannot be read", loading},
		{"revisions are dense and their times increase (Rule JIT-21)", revisions},
		{"what was committed is there at its revision and instant", histories},
		{"a changeset that is refused changes nothing", refused},
		{"only one of those who judged on the same revision commits (Rule JIT-49)", conflicts},
		{"a commit is whole or absent, whichever statement fails (Rule REL-2)", faulty},
		{"audit events are found by what they tell", auditQueries},
		{"elevation requests are found, newest first", requests},
		{"an answer is kept with its commit until it expires (Rule JIT-47)", replies},
		{"a mirror's page takes effect once, with its cursor (Rules SRC-2, REL-3)", mirror},
		{"what clients push is kept, found and followed (Rules SCIM-2, SCIM-8, REL-3)", pushed},
		{"a push is whole or absent (Rule REL-2)", pushFaults},
		{"a leader that was replaced commits nothing (Rule REL-6)", fences},
		{"runs are kept with their plans, within bounds (Rule PLAN-7)", runs},
		{"the clock's watermark never goes back (Rule JIT-21)", watermark},
		{"the one-time credential is used once", bootstrap},
		{"verify finds every edit (Rule AUD-5)", tampering},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, place(t)) })
	}
}

// Alike puts the same random history into two stores and holds what they say
// next to each other, byte by byte.
func Alike(t *testing.T, a, b Place) {
	x, y := a.Open(t, Options{}), b.Open(t, Options{})
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		for i, changes := range Changesets(access.EnvironmentID(fmt.Sprint("alike-", round))).Draw(r, "history") {
			at := start.Add(time.Duration(rapid.IntRange(-5, 5).Draw(r, "microseconds")) * time.Microsecond)
			from, err := x.Newest(r.Context())
			require.NoError(r, err)
			c := store.Commit{Base: from.Revision, At: at, Changes: changes, Events: []audit.Event{event(fmt.Sprint("change.", i))}}
			one, err := x.Commit(r.Context(), c)
			require.NoError(r, err)
			other, err := y.Commit(r.Context(), c)
			require.NoError(r, err)
			require.Equal(r, one, other)
		}
	})
	require.Equal(t, dump(t, x), dump(t, y))
	one, err := x.Verify(t.Context(), nil)
	require.NoError(t, err)
	other, err := y.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, one, other)
}

var start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func event(operation string) audit.Event {
	return audit.Event{
		Actor: audit.Actor{Kind: audit.System, ID: "test"}, Operation: operation, Environment: "dev", Object: "user/ada", Result: audit.Done,
		Reason: "because", Detail: json.RawMessage(`{"b": 1, "a": "\u00e4"}`),
	}
}

// commit makes a revision on the newest.
func commit(t require.TestingT, db *sqlstore.DB, changes ...access.Change) store.Committed {
	from, err := db.Newest(context.Background())
	require.NoError(t, err)
	done, err := db.Commit(context.Background(), store.Commit{Base: from.Revision, At: start, Changes: changes, Events: []audit.Event{event("test")}})
	require.NoError(t, err)
	require.Equal(t, from.Revision+1, done.Revision)
	return done
}

func text(t require.TestingT, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func name(o access.Object) string {
	return fmt.Sprintf("%s %s/%s", o.ObjectKind(), o.ObjectEnvironment(), o.ObjectKey())
}

// world is a store's content, by name, as JSON.
type world map[string]string

func (w world) apply(t require.TestingT, c access.Change) {
	if c.Delete {
		delete(w, name(c.Object))
	} else {
		w[name(c.Object)] = text(t, c.Object)
	}
}

// load reads one environment, or all of them.
func load(t require.TestingT, db *sqlstore.DB, rev access.Revision, env access.EnvironmentID) world {
	out := world{}
	require.NoError(t, db.Load(context.Background(), rev, func(o access.Object) error {
		if env == "" || o.ObjectEnvironment() == env {
			require.NotContains(t, out, name(o))
			out[name(o)] = text(t, o)
		}
		return nil
	}))
	if env == "" {
		return out
	}
	alone := world{}
	require.NoError(t, db.LoadEnvironment(context.Background(), rev, env, func(o access.Object) error {
		require.NotContains(t, alone, name(o))
		alone[name(o)] = text(t, o)
		return nil
	}))
	require.Equal(t, out, alone, "an environment loaded alone")
	return out
}

// dump is all that a store says, in its order where the contract gives one.
func dump(t require.TestingT, db *sqlstore.DB) string {
	ctx := context.Background()
	var b strings.Builder
	newest, err := db.Newest(ctx)
	require.NoError(t, err)
	fmt.Fprintln(&b, newest)
	content := load(t, db, 0, "")
	for _, k := range slices.Sorted(maps.Keys(content)) {
		fmt.Fprintln(&b, k, content[k])
	}
	require.NoError(t, db.Changes(ctx, 0, 0, func(rev access.Revision, d store.Difference) error {
		fmt.Fprintln(&b, rev, text(t, d))
		return nil
	}))
	for before := int64(0); ; {
		events, err := db.Audit(ctx, store.AuditQuery{Before: before, Limit: 7})
		require.NoError(t, err)
		if len(events) == 0 {
			break
		}
		fmt.Fprintln(&b, text(t, events))
		before = events[len(events)-1].Seq
	}
	return b.String()
}

func empty(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	newest, err := db.Newest(t.Context())
	require.NoError(t, err)
	require.Zero(t, newest)
	require.NoError(t, db.Ping(t.Context()))
	require.Empty(t, load(t, db, 0, ""))
	_, err = db.RevisionAt(t.Context(), start)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = db.Object(t.Context(), 0, "dev", access.KindUser, "ada")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.ErrorIs(t, db.Load(t.Context(), 1, func(access.Object) error { return nil }), store.ErrNotFound)
	require.ErrorIs(t, db.LoadEnvironment(t.Context(), 1, "dev", func(access.Object) error { return nil }), store.ErrNotFound)
	found, err := db.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, found)
}

func loading(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	const users = 3_000
	var changes []access.Change
	for i := range users {
		changes = append(changes, access.Put(access.User{Environment: "dev", ID: access.UserID(fmt.Sprintf("user-%04d", i)), ManagedBy: access.ByAPI}))
	}
	commit(t, db, changes...)
	until := func(stop int, err error) (n int, _ error) {
		return n, db.LoadEnvironment(t.Context(), 0, "dev", func(access.Object) error {
			if n++; n == stop {
				return err
			}
			return nil
		})
	}
	enough := errors.New("enough")
	for _, stop := range []int{1, 256, 257, users} {
		_, err := until(stop, enough)
		require.ErrorIs(t, err, enough)
	}
	_, err := until(0, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err = db.Load(ctx, 0, func(access.Object) error {
		if n++; n == 1_000 {
			cancel()
		}
		return ctx.Err()
	})
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.SQL(t).ExecContext(t.Context(), `UPDATE users SET kind = 'ghost' WHERE id = 'user-2500'`)
	require.NoError(t, err)
	_, err = until(0, nil)
	require.ErrorContains(t, err, `a row of users that begins with ["dev" "user-2500"] cannot be read`)
	require.ErrorContains(t, err, "ghost")
}

func revisions(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	user := access.User{Environment: "dev", ID: "ada", ManagedBy: access.ByAPI}
	var last store.Committed
	for i, at := range []time.Time{start, start, start.Add(-time.Hour), start.Add(time.Second + 700*time.Nanosecond), start} {
		user.Name = fmt.Sprint(i)
		done, err := db.Commit(t.Context(), store.Commit{Base: last.Revision, At: at, Changes: []access.Change{access.Put(user)}, Events: []audit.Event{event("x")}})
		require.NoError(t, err)
		require.Equal(t, last.Revision+1, done.Revision)
		want := at.Truncate(time.Microsecond)
		if least := last.At.Add(time.Microsecond); i > 0 && want.Before(least) {
			want = least
		}
		require.Equal(t, want, done.At)
		last = done
	}
	require.NoError(t, db.Close())
	db = p.Open(t, Options{})
	newest, err := db.Newest(t.Context())
	require.NoError(t, err)
	require.Equal(t, last, newest, "after a restart")
}

func histories(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		// A new environment for each history: making a store takes longer.
		round++
		env := access.EnvironmentID(fmt.Sprint("world-", round))
		first, err := db.Newest(r.Context())
		require.NoError(r, err)
		worlds, current := []world{{}}, world{}
		since := map[string]access.Revision{}
		var done store.Committed
		for _, changes := range Changesets(env).Draw(r, "history") {
			for _, c := range changes {
				current.apply(r, c)
			}
			before := worlds[len(worlds)-1]
			done = commit(r, db, changes...)
			at, err := db.RevisionAt(r.Context(), done.At)
			require.NoError(r, err)
			require.Equal(r, done.Revision, at)
			at, err = db.RevisionAt(r.Context(), done.At.Add(time.Hour))
			require.NoError(r, err)
			require.Equal(r, done.Revision, at, "of what is to come, the newest is known")
			at, err = db.RevisionAt(r.Context(), done.At.Add(-time.Microsecond))
			if done.Revision > 1 {
				require.NoError(r, err)
				require.Equal(r, done.Revision-1, at)
			} else {
				require.ErrorIs(r, err, store.ErrNotFound, "before the first")
			}
			for k := range before {
				if current[k] == "" {
					delete(since, k)
				}
			}
			for k := range current {
				if current[k] != before[k] {
					since[k] = done.Revision
				}
			}
			worlds = append(worlds, maps.Clone(current))
		}
		for i, w := range worlds {
			rev := first.Revision + access.Revision(i)
			if rev == 0 {
				continue // zero asks for the newest
			}
			require.Equal(r, opened(w), load(r, db, rev, env), "revision %d", rev)
			pages(r, db, rev, env, w)
		}
		for k, rev := range since {
			kind, key := split(r, k)
			v, err := db.Object(r.Context(), 0, env, kind, key)
			require.NoError(r, err)
			require.Equal(r, current[k], text(r, v.Object))
			require.Equal(r, rev, v.Since)
		}
		a := rapid.IntRange(0, len(worlds)-1).Draw(r, "from")
		b := rapid.IntRange(a, len(worlds)-1).Draw(r, "to")
		if b > a {
			changesLead(r, db, first.Revision, worlds, a, b)
		}
	})
	found, err := db.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Positive(t, found.Revision)
}

// opened leaves out the requests that are closed, as Load does.
func opened(w world) world {
	out := maps.Clone(w)
	maps.DeleteFunc(out, func(k, v string) bool {
		var r jit.Request
		return strings.HasPrefix(k, "jit_request ") && json.Unmarshal([]byte(v), &r) == nil && r.Closed()
	})
	return out
}

func split(t require.TestingT, name string) (kind access.Kind, key string) {
	word, rest, _ := strings.Cut(name, " ")
	require.NoError(t, kind.UnmarshalText([]byte(word)))
	_, key, _ = strings.Cut(rest, "/")
	return kind, key
}

// pages reads each kind two by two, which must give every object once, in order.
func pages(t *rapid.T, db *sqlstore.DB, rev access.Revision, env access.EnvironmentID, want world) {
	got := world{}
	for kind := range access.Kinds {
		var after string
		var last []string
		for {
			page, err := db.Objects(t.Context(), rev, env, kind, after, 2)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), 2)
			for _, v := range page {
				parts := []string{v.Object.ObjectKey()}
				if slices.Contains([]access.Kind{access.KindMembership, access.KindProfileMember, access.KindRecord, access.KindShare, access.KindColumnShare}, kind) {
					parts = access.SplitKey(v.Object.ObjectKey())
				}
				require.Negative(t, slices.Compare(last, parts), "%q, then %q", last, parts)
				last, after = parts, v.Object.ObjectKey()
				got[name(v.Object)] = text(t, v.Object)
				require.LessOrEqual(t, v.Since, rev)
			}
			if len(page) < 2 {
				break
			}
		}
	}
	require.Equal(t, want, got)
}

// changesLead holds Changes to what it promises: from one world to the other,
// each revision with exactly what it changed.
func changesLead(t *rapid.T, db *sqlstore.DB, first access.Revision, worlds []world, a, b int) {
	w := maps.Clone(worlds[a])
	last := access.Revision(0)
	steps := map[access.Revision]int{}
	require.NoError(t, db.Changes(t.Context(), first+access.Revision(a), first+access.Revision(b), func(rev access.Revision, d store.Difference) error {
		require.GreaterOrEqual(t, rev, last)
		last = rev
		steps[rev]++
		c := d.Change()
		if d.Before == nil {
			require.NotContains(t, w, name(c.Object))
		} else {
			require.Equal(t, w[name(c.Object)], text(t, d.Before))
		}
		require.NotEqual(t, text(t, d.Before), text(t, d.After), "no version without a change")
		w.apply(t, c)
		return nil
	}))
	require.Equal(t, worlds[b], w)
	for i := a + 1; i <= b; i++ {
		changed := 0
		for k := range union(worlds[i-1], worlds[i]) {
			if worlds[i-1][k] != worlds[i][k] {
				changed++
			}
		}
		require.Equal(t, changed, steps[first+access.Revision(i)])
	}
}

func union(a, b world) world {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

type stranger struct{ access.User }

func refused(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	user := access.User{Environment: "dev", ID: "ada", Name: "Ada", ManagedBy: access.ByAPI}
	commit(t, db, access.Put(user))
	before := dump(t, db)
	policy := jit.Policy{Environment: "dev", ID: "no-durations"}
	for _, c := range []struct {
		name   string
		commit store.Commit
		says   string
	}{
		{"an old base", store.Commit{Base: 0}, "newer revision"},
		{"a base to come", store.Commit{Base: 2}, "newer revision"},
		{"a name with a NUL", store.Commit{Base: 1, Changes: []access.Change{access.Put(access.User{Environment: "dev", ID: "bob", Name: "B\x00b"})}}, "NUL"},
		{"a name that is not UTF-8", store.Commit{Base: 1, Changes: []access.Change{access.Put(access.User{Environment: "dev", ID: "bob", Name: "B\xffb"})}}, "UTF-8"},
		{"an id that is not UTF-8", store.Commit{Base: 1, Changes: []access.Change{access.Put(access.User{Environment: "dev", ID: "b\xff"})}}, "UTF-8"},
		{"an object of no kind", store.Commit{Base: 1, Changes: []access.Change{access.Put(stranger{user})}}, "no table"},
		{"a policy that would be read back as another", store.Commit{Base: 1, Changes: []access.Change{access.Put(policy)}}, "no-durations"},
		{"a fence of nobody", store.Commit{Base: 1, Fence: 99}, "another process leads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.commit.At, c.commit.Events = start, []audit.Event{event("x")}
			c.commit.Changes = append([]access.Change{access.Remove(user)}, c.commit.Changes...)
			_, err := db.Commit(t.Context(), c.commit)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, before, dump(t, db))
		})
	}
	t.Run("no event", func(t *testing.T) {
		_, err := db.Commit(t.Context(), store.Commit{Base: 1, At: start})
		require.ErrorContains(t, err, "no audit event")
		require.Equal(t, before, dump(t, db))
	})
	t.Run("an event whose detail is no object", func(t *testing.T) {
		_, err := db.Commit(t.Context(), store.Commit{Base: 1, At: start, Events: []audit.Event{{Operation: "x", Detail: json.RawMessage(`[1]`)}}})
		require.ErrorContains(t, err, "one JSON object")
		require.Equal(t, before, dump(t, db))
	})
	t.Run("an event that strangers wrote is kept nevertheless", func(t *testing.T) {
		_, err := db.Commit(t.Context(), store.Commit{Base: 1, At: start, Events: []audit.Event{{Operation: "x", Reason: "a\x00b\xff", Actor: audit.Actor{ID: "\x00"}}}})
		require.NoError(t, err)
		events, err := db.Audit(t.Context(), store.AuditQuery{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, "a\ufffdb\ufffd", events[0].Reason)
		_, err = db.Verify(t.Context(), nil)
		require.NoError(t, err)
	})
}

func conflicts(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	const committers, each = 8, 15
	var won, lost sync.Map
	var group sync.WaitGroup
	for n := range committers {
		group.Go(func() {
			user := access.User{Environment: "dev", ID: access.UserID(fmt.Sprint("user-", n)), ManagedBy: access.ByAPI}
			for i := range each {
				from, err := db.Newest(t.Context())
				if err == nil {
					user.Name = fmt.Sprint(i)
					var done store.Committed
					done, err = db.Commit(t.Context(), store.Commit{Base: from.Revision, At: start, Changes: []access.Change{access.Put(user)}, Events: []audit.Event{event("x")}})
					if err == nil {
						won.Store(done.Revision, user)
						continue
					}
				}
				lost.Store([2]int{n, i}, err)
			}
		})
	}
	group.Wait()
	count := 0
	won.Range(func(any, any) bool { count++; return true })
	lost.Range(func(_, err any) bool {
		require.ErrorIs(t, err.(error), store.ErrConflict)
		return true
	})
	newest, err := db.Newest(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, count, newest.Revision, "revisions are dense")
	require.NoError(t, db.Changes(t.Context(), 0, 0, func(rev access.Revision, d store.Difference) error {
		user, ok := won.Load(rev)
		require.True(t, ok)
		require.Equal(t, user, d.After)
		return nil
	}))
	_, err = db.Verify(t.Context(), nil)
	require.NoError(t, err)
}

// faulty lets each statement of a commit and of a mirror's page go wrong in
// turn: before it takes effect, and after.
func faulty(t *testing.T, p Place) {
	faults := &faults{}
	db := p.Open(t, Options{Wrap: faults.wrap})
	old := everyKind("dev", "old")
	commit(t, db, puts(old)...)
	require.NoError(t, db.CommitMirror(t.Context(), mirrorPage("first")))
	round := 0
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			round++
			from, err := db.Newest(t.Context())
			require.NoError(t, err)
			before := dump(t, db)
			c := store.Commit{
				Base: from.Revision, At: start, Events: []audit.Event{event("one"), event("two")},
				Changes: append(puts(everyKind("dev", fmt.Sprint("new", round))), access.Put(access.User{Environment: "new", ID: access.UserID(fmt.Sprint(round))})),
				Reply:   &store.Reply{Caller: "ada", Method: "POST", Path: "/", Key: fmt.Sprint(round), Expires: time.Now().Add(time.Hour)},
				Run:     func() store.Run { return applied("one") }, KeepRuns: keepAll,
			}
			faults.arm(n, after)
			done, err := db.Commit(t.Context(), c)
			hit := faults.disarm()
			_, replyErr := db.Reply(t.Context(), "ada", "POST", "/", fmt.Sprint(round))
			if !hit {
				require.NoError(t, err)
				require.NoError(t, replyErr)
				require.Greater(t, n, 20, "every kind has its statements")
				break
			}
			require.ErrorIs(t, err, errInjected)
			require.Zero(t, done)
			newest, err := db.Newest(t.Context())
			require.NoError(t, err)
			told, err := db.Runs(t.Context(), store.RunQuery{Limit: 1000})
			require.NoError(t, err)
			require.Len(t, told, int(newest.Revision)-1, "a commit has its run, and no other is there (Rule PLAN-7)")
			if newest == from {
				require.Equal(t, before, dump(t, db), "statement %d", n)
				require.ErrorIs(t, replyErr, store.ErrNotFound)
			} else {
				require.True(t, after, "only a commit whose answer was lost can have happened")
				require.Equal(t, from.Revision+1, newest.Revision)
				require.NoError(t, replyErr)
			}
			_, err = db.Verify(t.Context(), nil)
			require.NoError(t, err)
		}
		for n := 1; ; n++ {
			round++
			before := loadMirror(t, db)
			page := mirrorPage(fmt.Sprint(round))
			faults.arm(n, after)
			err := db.CommitMirror(t.Context(), page)
			if !faults.disarm() {
				require.NoError(t, err)
				require.Greater(t, n, 6)
				break
			}
			require.ErrorIs(t, err, errInjected)
			if got := loadMirror(t, db); got != before {
				require.True(t, after)
				require.Contains(t, got, fmt.Sprint(round))
				require.NoError(t, db.CommitMirror(t.Context(), page), "a repeat changes nothing")
				require.Equal(t, got, loadMirror(t, db))
			}
		}
	}
}

func puts(objects []access.Object) []access.Change {
	out := make([]access.Change, len(objects))
	for i, o := range objects {
		out[i] = access.Put(o)
	}
	return out
}

// everyKind has one object of each kind, whose content differs with the version.
func everyKind(env access.EnvironmentID, version string) []access.Object {
	origin := access.Origin{Rule: version, Source: "ldap", Object: "42", Path: "nested"}
	window := access.Window{Start: start, End: start.Add(time.Duration(1+len(version)) * time.Hour)}
	return []access.Object{
		access.Environment{ID: env, Name: version, SecurityGroup: &access.GroupRef{Source: "ldap", Group: "g", Name: "G"}, ManagedBy: access.ByFile},
		access.BusinessUnit{Environment: env, ID: "root", Name: version, Parent: "parent", ManagedBy: access.ByFile},
		access.Table{Environment: env, ID: "account", Name: version, ManagedBy: access.ByFile},
		access.Role{
			Environment: env, ID: "seller", Name: version, BusinessUnit: "root", Miscellaneous: []string{"Export"}, ManagedBy: access.ByFile,
			Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Deep}},
		},
		access.User{
			Environment: env, ID: "ldap:ada", Login: "ada", Name: version, Mail: "ada@example.com", BusinessUnit: "root", Enabled: true,
			Manager: "ldap:bob", Position: "engineer", Person: "7", ManagedBy: access.ByMapping, Origin: origin,
		},
		access.Team{
			Environment: env, ID: "sales", Name: version, Type: access.SecurityGroupTeam, BusinessUnit: "root", ManagedBy: access.ByMapping, Origin: origin,
			Group: &access.GroupLink{GroupRef: access.GroupRef{Source: "ldap", Group: "g"}, Membership: access.MembersOnly, Nested: true},
		},
		access.Membership{Environment: env, Team: "sales", User: "ldap:ada", ManagedBy: access.ByMapping, Origin: origin},
		access.Assignment{
			Environment: env, ID: "a1", Role: "seller", Principal: access.UserID("ldap:ada").Principal(), BusinessUnit: "root", Window: window,
			Request: "req_1", ManagedBy: access.ByJIT, Origin: origin,
			Bound: &access.Bound{Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Deep}}},
		},
		access.Record{Environment: env, Table: "account", ID: "r/1", Owner: access.TeamID("sales").Principal(), BusinessUnit: access.BusinessUnitID("root" + version), ManagedBy: access.ByAPI},
		access.Share{
			Environment: env, Table: "account", Record: "r/1", Principal: access.UserID("ldap:ada").Principal(),
			Rights: access.RightsOf(access.Read, access.Write), Inherited: access.RightsOf(access.Read), Window: window, ManagedBy: access.ManagedBy(version),
		},
		jit.Policy{
			Environment: env, ID: "policy", Version: 1, Name: version, Role: "seller", Scope: jit.Scope{BusinessUnit: "root"},
			MinDuration: jit.Duration(time.Minute), MaxDuration: jit.Duration(time.Hour), DefaultDuration: jit.Duration(time.Hour),
			PendingTTL: jit.Duration(time.Hour), MaxDirectoryAge: jit.Duration(time.Hour), DenyQuorum: 1, Late: jit.Shift,
		},
		jit.Request{
			Environment: env, ID: "req_1", State: jit.Pending, Requester: "ldap:ada", Beneficiary: "ldap:bob", Role: "seller", BusinessUnit: "root",
			Duration: jit.Duration(time.Hour), Justification: version, Submitted: start, PendingUntil: start.Add(time.Hour), Digest: "d",
		},
	}
}

func auditQueries(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	var at []time.Time
	for i := range 6 {
		done, err := db.Commit(t.Context(), store.Commit{Base: access.Revision(i), At: start.Add(time.Duration(i) * time.Minute), Events: []audit.Event{
			{Actor: audit.Actor{Kind: audit.User, ID: fmt.Sprint("u", i%2), Name: "U", OnBehalfOf: "o", Address: "192.0.2.1"}, Operation: "jit.request.submitted", Environment: "dev", Object: "jit_request/r1", Result: audit.Done, Reason: "r", Correlation: "c", Detail: json.RawMessage(`{"z": 1.50, "a": [1,2]}`)},
			{Actor: audit.Actor{Kind: audit.System, ID: "sync"}, Operation: "sync%", Environment: "test", Object: "user/a", Result: audit.Held},
		}})
		require.NoError(t, err)
		at = append(at, done.At)
	}
	for _, c := range []struct {
		name  string
		query store.AuditQuery
		seqs  []int64
	}{
		{"all, newest first", store.AuditQuery{}, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{"a page", store.AuditQuery{Before: 5, Limit: 2}, []int64{4, 3}},
		{"by environment", store.AuditQuery{Environment: "test"}, []int64{12, 10, 8, 6, 4, 2}},
		{"by object", store.AuditQuery{Object: "user/a", Limit: 1}, []int64{12}},
		{"by actor", store.AuditQuery{Actor: "u1"}, []int64{11, 7, 3}},
		{"by the beginning of the operation", store.AuditQuery{Operation: "jit.", Limit: 3}, []int64{11, 9, 7}},
		{"a percent sign is itself", store.AuditQuery{Operation: "%"}, nil},
		{"from an instant, until before another", store.AuditQuery{From: at[1], Until: at[3]}, []int64{6, 5, 4, 3}},
		{"by all together", store.AuditQuery{Environment: "dev", Actor: "u0", Operation: "jit", From: at[2]}, []int64{9, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := db.Audit(t.Context(), c.query)
			require.NoError(t, err)
			var seqs []int64
			for _, e := range events {
				seqs = append(seqs, e.Seq)
			}
			require.Equal(t, c.seqs, seqs)
		})
	}
	events, err := db.Audit(t.Context(), store.AuditQuery{Before: 2})
	require.NoError(t, err)
	require.JSONEq(t, `{"actor":{"kind":"user","id":"u0","name":"U","on_behalf_of":"o","address":"192.0.2.1"},"operation":"jit.request.submitted",
		"environment":"dev","object":"jit_request/r1","result":"done","reason":"r","detail":{"a":[1,2],"z":1.5},"correlation":"c","seq":1,"revision":1,
		"at":"2026-03-01T08:00:00Z","prev":"","hash":"`+events[0].Hash+`"}`, text(t, events[0]))
}

func requests(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	request := func(env access.EnvironmentID, id string, who, forWhom access.UserID, state jit.State) jit.Request {
		return jit.Request{Environment: env, ID: id, State: state, Requester: who, Beneficiary: forWhom, Duration: jit.Duration(time.Hour), Submitted: start, PendingUntil: start}
	}
	commit(t, db,
		access.Put(request("dev", "req_1", "ada", "ada", jit.Pending)), access.Put(request("dev", "req_2", "bob", "ada", jit.Pending)),
		access.Put(request("test", "req_3", "bob", "bob", jit.Denied)), access.Put(request("dev", "req_4", "eve", "eve", jit.Pending)))
	done := commit(t, db, access.Put(request("dev", "req_1", "ada", "ada", jit.Cancelled)), access.Remove(request("dev", "req_4", "eve", "eve", jit.Pending)))
	for _, c := range []struct {
		name  string
		query store.RequestQuery
		ids   []string
	}{
		{"all, newest first, as they are now", store.RequestQuery{}, []string{"req_3", "req_2", "req_1"}},
		{"a page", store.RequestQuery{Before: "req_3", Limit: 1}, []string{"req_2"}},
		{"by environment", store.RequestQuery{Environment: "test"}, []string{"req_3"}},
		{"by requester or beneficiary", store.RequestQuery{Person: "ada"}, []string{"req_2", "req_1"}},
		{"by state", store.RequestQuery{State: "cancelled"}, []string{"req_1"}},
		{"what is not there", store.RequestQuery{Person: "eve"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := db.Requests(t.Context(), c.query)
			require.NoError(t, err)
			var ids []string
			for _, v := range found {
				ids = append(ids, v.Object.(jit.Request).ID)
			}
			require.Equal(t, c.ids, ids)
		})
	}
	v, err := db.Object(t.Context(), 0, "dev", access.KindRequest, "req_1")
	require.NoError(t, err)
	require.Equal(t, done.Revision, v.Since)
	require.Len(t, load(t, db, 0, ""), 1, "closed requests are left out")
}

func replies(t *testing.T, p Place) {
	now := start
	db := p.Open(t, Options{Now: func() time.Time { return now }})
	reply := store.Reply{Caller: "ada", Method: "POST", Path: "/v1/jit", Key: "k", BodyDigest: "d", Status: 201, Body: []byte("\x00\xff{}"), Expires: start.Add(48 * time.Hour)}
	keep := func(r store.Reply) error {
		from, err := db.Newest(t.Context())
		require.NoError(t, err)
		_, err = db.Commit(t.Context(), store.Commit{Base: from.Revision, At: now, Events: []audit.Event{event("x")}, Reply: &r})
		return err
	}
	require.NoError(t, keep(reply))
	got, err := db.Reply(t.Context(), "ada", "POST", "/v1/jit", "k")
	require.NoError(t, err)
	require.Equal(t, reply, *got)
	for _, other := range [][4]string{{"bob", "POST", "/v1/jit", "k"}, {"ada", "PUT", "/v1/jit", "k"}, {"ada", "POST", "/v1", "k"}, {"ada", "POST", "/v1/jit", "K"}} {
		_, err := db.Reply(t.Context(), other[0], other[1], other[2], other[3])
		require.ErrorIs(t, err, store.ErrNotFound, "%q", other)
	}
	require.ErrorContains(t, keep(reply), "has an answer already")
	newest, err := db.Newest(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, newest.Revision, "the second commit is absent")
	now = reply.Expires
	_, err = db.Reply(t.Context(), "ada", "POST", "/v1/jit", "k")
	require.ErrorIs(t, err, store.ErrNotFound)
	reply.Status, reply.Expires = 422, now.Add(time.Hour)
	require.NoError(t, keep(reply))
	got, err = db.Reply(t.Context(), "ada", "POST", "/v1/jit", "k")
	require.NoError(t, err)
	require.Equal(t, 422, got.Status)
}

func mirrorPage(version string) store.MirrorPage {
	return store.MirrorPage{
		Source: "ldap",
		Delete: []directory.ObjectID{"gone"},
		Put: []directory.Object{
			{ID: "ada", Kind: directory.KindUser, DN: "uid=ada", Attributes: map[string][]string{"mail": {"ä", version}, "empty": {}}},
			{ID: "g", Kind: directory.KindGroup},
		},
		AddEdges:    []directory.Edge{{Group: "g", Far: directory.ByID("ada")}, {Group: "g", Relation: directory.Owner, Far: directory.ByDN("uid=" + version)}},
		RemoveEdges: []directory.Edge{{Group: "g", Far: directory.ByUserName("old")}},
		Status:      store.MirrorStatus{Cursor: []byte("\x00" + version), MidRound: true, Completed: start, State: json.RawMessage(`{"page": 1}`)},
	}
}

func loadMirror(t testing.TB, db *sqlstore.DB) string {
	var b strings.Builder
	for _, source := range []directory.SourceID{"entra", "ldap"} {
		status, err := db.LoadMirror(t.Context(), source, func(r store.MirrorRow) error {
			fmt.Fprintln(&b, text(t, r))
			return nil
		})
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s %+q\n", text(t, status), status.Cursor)
	}
	return b.String()
}

func mirror(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	status, err := db.LoadMirror(t.Context(), "ldap", func(store.MirrorRow) error { return errors.New("nothing is there") })
	require.NoError(t, err)
	require.Zero(t, status)

	other := mirrorPage("entra")
	other.Source = "entra"
	require.NoError(t, db.CommitMirror(t.Context(), other))
	page := mirrorPage("one")
	require.NoError(t, db.CommitMirror(t.Context(), page))
	first := loadMirror(t, db)
	require.NoError(t, db.CommitMirror(t.Context(), page))
	require.Equal(t, first, loadMirror(t, db), "a repeat changes nothing")

	var rows []store.MirrorRow
	status, err = db.LoadMirror(t.Context(), "ldap", func(r store.MirrorRow) error { rows = append(rows, r); return nil })
	require.NoError(t, err)
	require.Equal(t, page.Status, status)
	require.Equal(t, []store.MirrorRow{
		{Source: "ldap", Object: &page.Put[0]},
		{Source: "ldap", Object: &page.Put[1]},
		{Source: "ldap", Edge: &page.AddEdges[0]},
		{Source: "ldap", Edge: &page.AddEdges[1]},
	}, rows)

	// An object that goes takes its edges along, and only those of its source.
	next := store.MirrorPage{Source: "ldap", Delete: []directory.ObjectID{"ada"}, Status: store.MirrorStatus{Cursor: []byte("2")}}
	require.NoError(t, db.CommitMirror(t.Context(), next))
	rows = nil
	status, err = db.LoadMirror(t.Context(), "ldap", func(r store.MirrorRow) error { rows = append(rows, r); return nil })
	require.NoError(t, err)
	require.Equal(t, next.Status, status)
	require.Equal(t, []store.MirrorRow{{Source: "ldap", Object: &page.Put[1]}, {Source: "ldap", Edge: &page.AddEdges[1]}}, rows)
	require.NoError(t, db.CommitMirror(t.Context(), store.MirrorPage{Source: "ldap", Delete: []directory.ObjectID{"g"}, RemoveEdges: []directory.Edge{page.AddEdges[1]}}))
	rows = nil
	_, err = db.LoadMirror(t.Context(), "ldap", func(r store.MirrorRow) error { rows = append(rows, r); return nil })
	require.NoError(t, err)
	require.Empty(t, rows)

	rows = nil
	_, err = db.LoadMirror(t.Context(), "entra", func(r store.MirrorRow) error { rows = append(rows, r); return nil })
	require.NoError(t, err)
	require.Len(t, rows, 4)
	require.NoError(t, db.DropMirror(t.Context(), "entra"))
	status, err = db.LoadMirror(t.Context(), "entra", func(store.MirrorRow) error { return errors.New("it was dropped") })
	require.NoError(t, err)
	require.Zero(t, status)

	// What cannot be kept is refused whole.
	before := loadMirror(t, db)
	bad := mirrorPage("bad")
	bad.Put[1].DN = "cn=\xff"
	require.ErrorContains(t, db.CommitMirror(t.Context(), bad), "UTF-8")
	require.Equal(t, before, loadMirror(t, db))

	// Many rows, the same object twice: the last one counts.
	many := store.MirrorPage{Source: "many"}
	for i := range 1234 {
		many.Put = append(many.Put, directory.Object{ID: directory.ObjectID(fmt.Sprintf("%04d", i%1000)), Kind: directory.KindUser, DN: fmt.Sprint(i)})
		many.AddEdges = append(many.AddEdges, directory.Edge{Group: "g", Far: directory.ByID(directory.ObjectID(fmt.Sprint(i % 1100)))})
	}
	require.NoError(t, db.CommitMirror(t.Context(), many))
	var objects, edges int
	_, err = db.LoadMirror(t.Context(), "many", func(r store.MirrorRow) error {
		if r.Edge != nil {
			edges++
			return nil
		}
		if objects == 3 {
			require.Equal(t, "1003", r.Object.DN)
		}
		objects++
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, [2]int{1000, 1100}, [2]int{objects, edges})
}

func fences(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	fence, ok, err := db.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	require.Positive(t, fence)
	again, ok, err := db.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, fence, again)
	other, ok, err := db.Lead(t.Context(), "sweep")
	require.NoError(t, err)
	require.True(t, ok)
	require.NotEqual(t, fence, other, "a fence is never given twice")
	lead := store.Commit{At: start, Events: []audit.Event{event("x")}, Fence: fence}
	_, err = db.Commit(t.Context(), lead)
	require.NoError(t, err)
	page := mirrorPage("one")
	page.Fence = fence
	require.NoError(t, db.CommitMirror(t.Context(), page))

	require.NoError(t, db.Close())
	db = p.Open(t, Options{})
	next, ok, err := db.Lead(t.Context(), "sync")
	require.NoError(t, err)
	require.True(t, ok)
	require.Greater(t, next, fence)
	lead.Base = 1
	_, err = db.Commit(t.Context(), lead)
	require.ErrorIs(t, err, store.ErrFenced)
	page = mirrorPage("two")
	page.Fence = fence
	require.ErrorIs(t, db.CommitMirror(t.Context(), page), store.ErrFenced)
	_, err = db.PutRun(t.Context(), applied("one"), keepAll, fence)
	require.ErrorIs(t, err, store.ErrFenced)
	told, err := db.Runs(t.Context(), store.RunQuery{})
	require.NoError(t, err)
	require.Empty(t, told)
	require.NotContains(t, loadMirror(t, db), "two")
	lead.Fence = next
	_, err = db.Commit(t.Context(), lead)
	require.NoError(t, err)
}

func watermark(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	got, err := db.Watermark(t.Context())
	require.NoError(t, err)
	require.Zero(t, got)
	for _, at := range []time.Time{start, start.Add(time.Hour), start} {
		require.NoError(t, db.SetWatermark(t.Context(), at))
	}
	require.NoError(t, db.Close())
	got, err = p.Open(t, Options{}).Watermark(t.Context())
	require.NoError(t, err)
	require.Equal(t, start.Add(time.Hour), got)
}

func bootstrap(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	_, _, err := db.Bootstrap(t.Context())
	require.ErrorIs(t, err, store.ErrNotFound)
	require.ErrorIs(t, db.UseBootstrap(t.Context()), store.ErrNotFound)
	require.NoError(t, db.SetBootstrap(t.Context(), []byte{0, 1}))
	hash, used, err := db.Bootstrap(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1}, hash)
	require.False(t, used)
	require.NoError(t, db.UseBootstrap(t.Context()))
	_, used, err = db.Bootstrap(t.Context())
	require.NoError(t, err)
	require.True(t, used)
	require.ErrorIs(t, db.UseBootstrap(t.Context()), store.ErrNotFound, "once")
	require.NoError(t, db.SetBootstrap(t.Context(), []byte{2}))
	_, used, err = db.Bootstrap(t.Context())
	require.NoError(t, err)
	require.False(t, used)
}
