package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

func resource(kind directory.Kind, id directory.ObjectID, version int64, document string) store.Push {
	return store.Push{
		Pushed: store.Pushed{
			Source: "okta", Kind: kind, ID: id, Name: "name of " + string(id), Document: json.RawMessage(document), Version: version,
			Created: start, Modified: start.Add(time.Duration(version) * time.Minute),
		},
		Values: []store.PushedValue{{Path: "title", Value: document}},
	}
}

// dumpPushed tells all that a source's clients pushed.
func dumpPushed(t require.TestingT, db *sqlstore.DB) string {
	ctx := context.Background()
	var b strings.Builder
	changes, err := db.AllPushed(ctx, "okta", "", 1000)
	require.NoError(t, err)
	for _, g := range changes.Put {
		fmt.Fprintln(&b, text(t, g))
		found, total, err := db.FindPushed(ctx, store.PushedQuery{Source: "okta", Kind: g.Kind, With: &store.PushedValue{Path: "title", Value: string(g.Document)}, Limit: 10})
		require.NoError(t, err)
		fmt.Fprintln(&b, total, text(t, found))
	}
	return b.String()
}

func pushed(t *testing.T, p Place) {
	db := p.Open(t, Options{})
	ctx := t.Context()
	changes, err := db.PushedSince(ctx, "okta", 0, 0, 10)
	require.NoError(t, err)
	require.Zero(t, changes, "nothing was ever pushed")
	changes, err = db.AllPushed(ctx, "okta", "", 10)
	require.NoError(t, err)
	require.Zero(t, changes)
	_, err = db.Pushed(ctx, "okta", "ada")
	require.ErrorIs(t, err, store.ErrNotFound)

	ada, err := db.Push(ctx, resource(directory.KindUser, "ada", 0, `{"a":1}`))
	require.NoError(t, err)
	require.EqualValues(t, 1, ada.Version)
	got, err := db.Pushed(ctx, "okta", "ada")
	require.NoError(t, err)
	require.Equal(t, ada, got)
	_, err = db.Pushed(ctx, "other", "ada")
	require.ErrorIs(t, err, store.ErrNotFound)

	// Names are unique among the resources of one kind and source.
	taken := resource(directory.KindUser, "eve", 0, `{}`)
	taken.Name = ada.Name
	_, err = db.Push(ctx, taken)
	require.ErrorIs(t, err, store.ErrTaken)
	taken.Kind = directory.KindGroup
	_, err = db.Push(ctx, taken)
	require.NoError(t, err)

	// A version that is not the one judged, or is gone.
	_, err = db.Push(ctx, resource(directory.KindUser, "ada", 0, `{}`))
	require.ErrorIs(t, err, store.ErrConflict)
	_, err = db.Push(ctx, resource(directory.KindUser, "ada", 2, `{}`))
	require.ErrorIs(t, err, store.ErrConflict)
	_, err = db.Push(ctx, resource(directory.KindGroup, "ada", 1, `{}`))
	require.ErrorIs(t, err, store.ErrConflict)
	_, err = db.Push(ctx, resource(directory.KindUser, "nobody", 1, `{}`))
	require.ErrorIs(t, err, store.ErrNotFound)

	// A repeat changes nothing; a change counts.
	before := dumpPushed(t, db)
	same, err := db.Push(ctx, resource(directory.KindUser, "ada", 1, `{"a":1}`))
	require.NoError(t, err)
	require.Equal(t, ada, same)
	require.Equal(t, before, dumpPushed(t, db))
	ada, err = db.Push(ctx, resource(directory.KindUser, "ada", 1, `{"a":2}`))
	require.NoError(t, err)
	require.EqualValues(t, 2, ada.Version)
	found, total, err := db.FindPushed(ctx, store.PushedQuery{Source: "okta", Kind: directory.KindUser, With: &store.PushedValue{Path: "title", Value: `{"a":1}`}, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, found, "it is not found by what it was")
	require.Zero(t, total)

	// Members come and go, one by one or all at once.
	group := resource(directory.KindGroup, "g", 0, `{}`)
	group.Add = []directory.ObjectID{"bob", "ada", "pending"}
	_, err = db.Push(ctx, group)
	require.NoError(t, err)
	step := func(version int64, add, remove []directory.ObjectID, whole bool, want ...directory.ObjectID) store.Pushed {
		g := resource(directory.KindGroup, "g", version, `{}`)
		g.Add, g.Remove, g.Whole = add, remove, whole
		after, err := db.Push(ctx, g)
		require.NoError(t, err)
		members, err := db.PushedMembers(ctx, "okta", "g")
		require.NoError(t, err)
		require.Equal(t, want, members)
		return after
	}
	require.EqualValues(t, 2, step(1, []directory.ObjectID{"ada", "zoe"}, []directory.ObjectID{"bob", "nobody"}, false, "ada", "pending", "zoe").Version)
	require.EqualValues(t, 2, step(2, []directory.ObjectID{"ada"}, []directory.ObjectID{"bob"}, false, "ada", "pending", "zoe").Version, "a repeat")
	require.EqualValues(t, 3, step(2, []directory.ObjectID{"zoe", "ada"}, nil, true, "ada", "zoe").Version)
	require.EqualValues(t, 3, step(3, []directory.ObjectID{"zoe", "ada"}, nil, true, "ada", "zoe").Version, "a repeat")
	var many []directory.ObjectID
	for i := range 1234 {
		many = append(many, directory.ObjectID(fmt.Sprintf("m%04d", i)))
	}
	step(3, many, nil, true, many...)
	step(4, []directory.ObjectID{"ada"}, many, false, "ada")

	// Who goes takes the memberships along, and the group looks different for it.
	was, err := db.Pushed(ctx, "okta", "g")
	require.NoError(t, err)
	last, err := db.PushedSince(ctx, "okta", 0, 0, 10)
	require.NoError(t, err)
	gone := resource(directory.KindUser, "ada", 2, "")
	gone.Delete = true
	_, err = db.Push(ctx, gone)
	require.NoError(t, err)
	_, err = db.Pushed(ctx, "okta", "ada")
	require.ErrorIs(t, err, store.ErrNotFound)
	members, err := db.PushedMembers(ctx, "okta", "g")
	require.NoError(t, err)
	require.Empty(t, members)
	is, err := db.Pushed(ctx, "okta", "g")
	require.NoError(t, err)
	require.Equal(t, was.Version+1, is.Version)
	_, err = db.Push(ctx, gone)
	require.ErrorIs(t, err, store.ErrNotFound)

	// Whoever follows is told of it, and of nothing else.
	changes, err = db.PushedSince(ctx, "okta", last.Seq, 0, 10)
	require.NoError(t, err)
	require.Empty(t, changes.Put)
	require.Equal(t, []directory.ObjectID{"ada"}, changes.Removed)
	changes, err = db.PushedSince(ctx, "okta", changes.Seq, 0, 10)
	require.NoError(t, err)
	require.Empty(t, changes.Put)
	require.Empty(t, changes.Removed)
	require.False(t, changes.More)
	_, err = db.PushedSince(ctx, "okta", changes.Seq+1, 0, 10)
	require.ErrorIs(t, err, store.ErrNotFound, "a change that is yet to come")

	// In pages, each resource once: by its changes up to one, or by its id.
	for i := range 25 {
		_, err := db.Push(ctx, resource(directory.KindUser, directory.ObjectID(fmt.Sprintf("u%02d", i)), 0, `{}`))
		require.NoError(t, err)
	}
	newest, err := db.PushedSince(ctx, "okta", 0, 0, 1000)
	require.NoError(t, err)
	require.False(t, newest.More)
	byChange, byID := map[directory.ObjectID]int{}, map[directory.ObjectID]int{}
	for at := int64(0); ; {
		page, err := db.PushedSince(ctx, "okta", at, newest.Seq, 10)
		require.NoError(t, err)
		for _, g := range page.Put {
			byChange[g.ID]++
		}
		if at == 0 { // it changes while somebody reads, and comes the next time
			_, err := db.Push(ctx, resource(directory.KindUser, "u24", 1, `{"later":true}`))
			require.NoError(t, err)
		}
		if at = page.Seq; !page.More {
			require.Equal(t, newest.Seq, at)
			break
		}
	}
	require.Len(t, byChange, 26)
	changes, err = db.PushedSince(ctx, "okta", newest.Seq, 0, 10)
	require.NoError(t, err)
	require.Len(t, changes.Put, 1)
	require.EqualValues(t, "u24", changes.Put[0].ID)
	for after := directory.ObjectID(""); ; {
		page, err := db.AllPushed(ctx, "okta", after, 10)
		require.NoError(t, err)
		require.Equal(t, newest.Seq+1, page.Seq)
		for _, g := range page.Put {
			byID[g.ID]++
			after = g.ID
		}
		if !page.More {
			break
		}
	}
	require.Len(t, byID, 27)
	var listed []directory.ObjectID
	for offset := 0; ; offset += 10 {
		page, total, err := db.FindPushed(ctx, store.PushedQuery{Source: "okta", Kind: directory.KindUser, Offset: offset, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, 25, total)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			listed = append(listed, r.ID)
		}
	}
	require.Len(t, listed, 25)
	require.IsIncreasing(t, listed)
	rest, _, err := db.FindPushed(ctx, store.PushedQuery{Source: "okta", Kind: directory.KindUser, After: "u20", Limit: 10})
	require.NoError(t, err)
	require.Len(t, rest, 4)

	// What cannot be kept is refused whole.
	before = dumpPushed(t, db)
	bad := resource(directory.KindGroup, "bad", 0, `{}`)
	bad.Add = []directory.ObjectID{"a\x00"}
	_, err = db.Push(ctx, bad)
	require.ErrorContains(t, err, "NUL")
	require.Equal(t, before, dumpPushed(t, db))

	// Of many who judged one version, one changes it.
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wait.Go(func() {
			_, errs[i] = db.Push(ctx, resource(directory.KindUser, "u00", 1, fmt.Sprintf(`{"n":%d}`, i)))
		})
	}
	wait.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, store.ErrConflict)
		}
	}
	require.Equal(t, 1, won)
}

// pushFaults lets each statement of a push go wrong in turn: before it takes
// effect, and after.
func pushFaults(t *testing.T, p Place) {
	faults := &faults{}
	db := p.Open(t, Options{Wrap: faults.wrap})
	version := int64(0)
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			before := dumpPushed(t, db)
			g := resource(directory.KindGroup, "g", version, fmt.Sprintf(`{"n":"%d %t"}`, n, after))
			g.Add, g.Remove = []directory.ObjectID{directory.ObjectID(fmt.Sprint(n, after))}, []directory.ObjectID{"x"}
			faults.arm(n, after)
			got, err := db.Push(t.Context(), g)
			if !faults.disarm() {
				require.NoError(t, err)
				require.Greater(t, n, 6)
				version = got.Version
				break
			}
			require.ErrorIs(t, err, errInjected)
			now := dumpPushed(t, db)
			if now == before {
				continue
			}
			require.True(t, after, "only a push whose answer was lost can have happened")
			version++
			_, err = db.Push(t.Context(), g)
			require.ErrorIs(t, err, store.ErrConflict, "the client reads again")
			g.Version = version
			_, err = db.Push(t.Context(), g)
			require.NoError(t, err)
			require.Equal(t, now, dumpPushed(t, db), "a repeat changes nothing")
		}
	}
}
