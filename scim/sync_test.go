package scim

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// office is a source with a mapping: 40 people, all of them in one team.
type office struct {
	*place
	t      *testing.T
	tenant *tenant.Tenant
	sync   *dirsync.Syncer
	people []string // ids
	team   string
}

const people = 40

func newOffice(t *testing.T) *office {
	o := &office{place: open(t), t: t}
	db := o.store.(*sqlstore.DB)
	var err error
	o.tenant, err = tenant.Open(t.Context(), db, tenant.Options{})
	require.NoError(t, err)
	m, err := model.Parse("model.yaml", []byte(`
environments:
  sales:
    business_units: {HQ: {}}
    tables: {account: {ownership: user_or_team}}
    roles:
      Salesperson: {privileges: {account: {read: business_unit}}}
`))
	require.NoError(t, err)
	f, err := mapping.Parse("mapping.yaml", []byte(`
environments: {sales: {}}
rules:
  - name: people
    match: {source: corp, users: 'has(user.userName)'}
    user: {environment: sales, business_unit: HQ}
  - name: teams
    match: {source: corp, group: 'team *'}
    team: {environment: sales, business_unit: HQ, roles: [Salesperson]}
`))
	require.NoError(t, err)
	var rules *mapping.Rules
	require.NoError(t, o.tenant.Read(func(v tenant.View) error {
		rules, err = f.Compile(mapping.Names{Sources: []directory.SourceID{"corp"}, Environments: dirsync.Names(m, v)})
		return err
	}))
	o.sync = dirsync.New(db, o.tenant, dirsync.Config{
		Model: m, Rules: rules, Sources: []dirsync.Source{{ID: "corp", Reader: o.Reader("corp")}},
	}, dirsync.SyncerOptions{})
	return o
}

// fill lets the client push its people, and synchronizes.
func (o *office) fill() {
	o.cycle(201)
	_, err := o.sync.Sync(o.t.Context(), dirsync.Options{})
	require.NoError(o.t, err)
	require.Equal(o.t, [2]int{people, people}, o.counts())
}

// cycle is a client's full cycle.
func (o *office) cycle(want int) {
	made := 0
	for i := range people {
		status, _, body := o.do(o.t, "POST", "/Users", fmt.Sprintf(oneUser, fmt.Sprintf("person%02d", i)))
		require.Equal(o.t, want, status, body)
		if want == 201 {
			made++
			o.people = append(o.people, fmt.Sprint("id-", made))
		}
	}
	status, _, body := o.do(o.t, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"team one"}`)
	require.Equal(o.t, want, status, body)
	if want == 201 {
		o.team = fmt.Sprint("id-", made+1)
	}
	var members []string
	for _, id := range o.people {
		members = append(members, fmt.Sprintf(`{"value":%q}`, id))
	}
	o.patch("/Groups/"+o.team, `{"op":"add","path":"members","value":[`+strings.Join(members, ",")+`]}`)
}

func (o *office) patch(path, op string) {
	status, _, body := o.do(o.t, "PATCH", path, fmt.Sprintf(patchOp, op))
	require.Contains(o.t, []int{200, 204}, status, body)
}

// counts are how many may get in, and how many memberships there are.
func (o *office) counts() (n [2]int) {
	require.NoError(o.t, o.tenant.Read(func(v tenant.View) error {
		s, err := v.State("sales")
		if err != nil {
			return err
		}
		for _, u := range s.Users {
			if u.Enabled && u.ManagedBy == access.ByMapping {
				n[0]++
			}
		}
		n[1] = len(s.Memberships)
		return nil
	}))
	return n
}

// TestINC_15_a_client_that_deprovisions_everybody_is_held lets a client's own
// mapping break in each way that there is. What it says is stored, and it is told
// so; nobody loses access until a person has looked (Rules SCIM-5, SCIM-8, REL-4).
func TestINC_15_a_client_that_deprovisions_everybody_is_held(t *testing.T) {
	each := func(f func(o *office, id string)) func(*office) {
		return func(o *office) {
			for _, id := range o.people {
				f(o, id)
			}
		}
	}
	for name, c := range map[string]struct {
		guard string
		do    func(*office)
	}{
		"it deletes all users": {dirsync.GuardUsers, each(func(o *office, id string) {
			status, _, _ := o.do(o.t, "DELETE", "/Users/"+id, "")
			require.Equal(o.t, 204, status)
		})},
		"it disables all users": {dirsync.GuardShutOut, each(func(o *office, id string) {
			o.patch("/Users/"+id, `{"op":"Replace","path":"active","value":"False"}`)
		})},
		"it removes all members, one by one": {dirsync.GuardEmptyTeam, each(func(o *office, id string) {
			o.patch("/Groups/"+o.team, fmt.Sprintf(`{"op":"Remove","path":"members","value":[{"value":%q}]}`, id))
		})},
		"it removes the members, as the RFC says": {dirsync.GuardEmptyTeam, func(o *office) {
			o.patch("/Groups/"+o.team, `{"op":"remove","path":"members"}`)
		}},
		"it replaces the members by nobody": {dirsync.GuardEmptyTeam, func(o *office) {
			o.patch("/Groups/"+o.team, `{"op":"replace","path":"members","value":[]}`)
		}},
		"it deletes the group": {dirsync.GuardEmptyTeam, func(o *office) {
			status, _, _ := o.do(o.t, "DELETE", "/Groups/"+o.team, "")
			require.Equal(o.t, 204, status)
		}},
		"it replaces the members by strangers": {dirsync.GuardMembers, func(o *office) {
			o.patch("/Groups/"+o.team, `{"op":"replace","path":"members","value":[{"value":"a stranger"}]}`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.fill()
			c.do(o)
			report, err := o.sync.Sync(t.Context(), dirsync.Options{})
			var held *dirsync.Held
			require.ErrorAs(t, err, &held)
			guards := []string{}
			for _, v := range held.Violations {
				guards = append(guards, v.Guard)
			}
			require.Contains(t, guards, c.guard)
			require.False(t, report.Applied)
			require.Equal(t, [2]int{people, people}, o.counts(), "nobody has lost anything")
		})
	}
}

func TestRule_SCIM_8_absence_means_nothing(t *testing.T) {
	o := newOffice(t)
	_, err := o.sync.Sync(t.Context(), dirsync.Options{})
	require.ErrorIs(t, err, directory.ErrNothingYet, "a client that has yet to begin")
	require.ErrorIs(t, err, directory.ErrIncomplete)
	o.fill()
	// A client that begins anew, and is refused in the middle: it changes nothing.
	o.cycle(409)
	report, err := o.sync.Sync(t.Context(), dirsync.Options{})
	require.NoError(t, err)
	require.False(t, report.Applied)
	// One that pushes one user of forty, and no more.
	o.patch("/Users/"+o.people[0], `{"op":"replace","path":"title","value":"Countess"}`)
	_, err = o.sync.Sync(t.Context(), dirsync.Options{})
	require.NoError(t, err)
	require.Equal(t, [2]int{people, people}, o.counts())
	// One that ends the access of one.
	o.patch("/Users/"+o.people[0], `{"op":"Replace","path":"active","value":"False"}`)
	status, _, _ := o.do(t, "DELETE", "/Users/"+o.people[1], "")
	require.Equal(t, 204, status)
	report, err = o.sync.Sync(t.Context(), dirsync.Options{})
	require.NoError(t, err)
	require.True(t, report.Applied)
	require.Equal(t, [2]int{people - 2, people - 1}, o.counts())
}

// TestWatchTellsOfPushes, of this process at once and of others soon.
func TestWatchTellsOfPushes(t *testing.T) {
	p := open(t)
	synctest.Test(t, func(t *testing.T) {
		seq := &atomic.Int64{}
		h := New(Options{Store: scripted{seq: seq}})
		seq.Store(5)
		told := make(chan struct{}, 1)
		go func() {
			_ = h.Reader("corp").Watch(t.Context(), directory.Start{Cursor: []byte(`{"seq":5}`)}, func() { told <- struct{}{} }) // it ends with the test
		}()
		synctest.Wait()
		require.Empty(t, told)
		seq.Store(6)
		h.bell.ring("corp")
		synctest.Wait()
		require.Len(t, told, 1)
		<-told
		seq.Store(7) // by another process: nobody rings
		time.Sleep(watchEvery + gather)
		synctest.Wait()
		require.Len(t, told, 1)
	})
	require.Error(t, p.Reader("corp").Watch(t.Context(), directory.Start{Cursor: []byte("no cursor")}, nil))
}

// TestRule_SRC_2_a_cursor_goes_with_the_attributes_and_the_store gives a reader
// cursors that it must not go on from.
func TestRule_SRC_2_a_cursor_goes_with_the_attributes_and_the_store(t *testing.T) {
	p := open(t)
	status, _, _ := p.do(t, "POST", "/Users", fmt.Sprintf(oneUser, "ada"))
	require.Equal(t, 201, status)
	first, err := sourcetest.Collect(t.Context(), p.Reader("corp"), directory.Start{Attributes: []string{"title"}})
	require.NoError(t, err)
	require.Equal(t, directory.Full, first.Mode)
	again, err := sourcetest.Collect(t.Context(), p.Reader("corp"), directory.Start{Attributes: []string{"title"}, Cursor: first.Cursor})
	require.NoError(t, err)
	require.Equal(t, directory.Delta, again.Mode)
	require.Empty(t, again.Objects)
	require.Equal(t, first.Cursor, again.Cursor, "nothing was pushed, and nothing is written")
	later := strings.Replace(string(first.Cursor), `"seq":1`, `"seq":100`, 1)
	require.NotEqual(t, string(first.Cursor), later)
	for name, start := range map[string]directory.Start{
		"of other attributes":     {Cursor: first.Cursor},
		"of another source":       {Cursor: []byte(`{"identity":"another"}`)},
		"of a change yet to come": {Cursor: []byte(later), Attributes: []string{"title"}},
	} {
		_, err := sourcetest.Collect(t.Context(), p.Reader("corp"), start)
		require.ErrorIs(t, err, directory.ErrCursorExpired, name)
	}
	// Clients go on pushing while pages are read.
	for i := range 6 {
		status, _, _ := p.do(t, "POST", "/Users", fmt.Sprintf(oneUser, fmt.Sprint("user", i)))
		require.Equal(t, 201, status)
	}
	for _, start := range []directory.Start{{Attributes: []string{"title"}}, {Attributes: []string{"title"}, Cursor: first.Cursor}} {
		reader := p.Reader("corp")
		reader.page = 2
		pages := 0
		seen := map[directory.ObjectID]int{}
		var end []byte
		require.NoError(t, reader.Read(t.Context(), start, func(directory.Mode) error { return nil }, func(page directory.Page) error {
			for _, u := range page.Upserts {
				seen[u.ID]++
			}
			if pages++; pages == 1 {
				for id := range seen {
					status, _, _ := p.do(t, "PATCH", "/Users/"+string(id), fmt.Sprintf(patchOp, fmt.Sprintf(`{"op":"replace","path":"title","value":"%d"}`, len(start.Cursor))))
					require.Equal(t, 200, status)
				}
			}
			end = page.Cursor
			return nil
		}))
		for id, n := range seen {
			require.Equal(t, 1, n, id)
		}
		rest, err := sourcetest.Collect(t.Context(), p.Reader("corp"), directory.Start{Attributes: []string{"title"}, Cursor: end})
		require.NoError(t, err)
		require.Len(t, rest.Objects, 2, "what changed meanwhile comes in the next round")
	}
}

// scripted is a store that has only a number.
type scripted struct {
	Store
	seq *atomic.Int64
}

func (s scripted) AllPushed(context.Context, directory.SourceID, directory.ObjectID, int) (store.PushedChanges, error) {
	return store.PushedChanges{Seq: s.seq.Load()}, nil
}
