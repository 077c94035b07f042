// Package sourcetest is the contract of directory.Reader as tests: every
// connector passes it against its own server.
package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

// Harness is a connector and the server that it reads.
type Harness struct {
	// Company is what the server holds, of it those at Home.
	Company *company.Company
	Home    company.Home
	// Reader makes a connector with the right credentials.
	Reader func(t *testing.T) directory.Reader
	// WrongPassword and Unreachable make one that cannot get in, UnknownCA one that
	// does not trust the server. Nil where a source has no such thing.
	WrongPassword, Unreachable, UnknownCA func(t *testing.T) directory.Reader
	// Cut makes the server close the connection in the middle of a read, until
	// the function that it returns is called. Nil where no server can be made to.
	Cut func(t *testing.T) (mend func())
}

// Round is everything that one read said, folded together.
type Round struct {
	Mode     directory.Mode
	Objects  map[directory.ObjectID]directory.Object
	Edges    map[directory.Edge]bool
	Problems []directory.Problem
	Cursor   []byte
	Complete bool
	Pages    int
}

// Collect reads one round.
func Collect(ctx context.Context, r directory.Reader, start directory.Start) (Round, error) {
	return follow(ctx, r, start, Round{})
}

// Follow reads one round after another, as a mirror does, and returns what both
// say together. A round that is not complete takes nothing away; one whose cursor
// turned out to be expired is begun anew.
func Follow(ctx context.Context, r directory.Reader, start directory.Start, before Round) (Round, error) {
	start.Cursor = before.Cursor
	round, err := follow(ctx, r, start, before)
	if errors.Is(err, directory.ErrCursorExpired) && start.Cursor != nil {
		start.Cursor = nil
		round, err = follow(ctx, r, start, before)
	}
	return round, err
}

// follow is Follow from start.Cursor, once.
func follow(ctx context.Context, r directory.Reader, start directory.Start, before Round) (Round, error) {
	round := Round{Objects: maps.Clone(before.Objects), Edges: maps.Clone(before.Edges)}
	if round.Objects == nil {
		round.Objects, round.Edges = map[directory.ObjectID]directory.Object{}, map[directory.Edge]bool{}
	}
	named := map[directory.ObjectID]bool{}
	edges := map[directory.Edge]bool{}
	gone := map[directory.ObjectID]bool{}
	lost := map[directory.Edge]bool{}
	whole := map[[2]string]bool{}
	kept := map[directory.ObjectID]bool{} // for a problem
	var last directory.Page
	begun := 0
	err := r.Read(ctx, start, func(m directory.Mode) error {
		begun++
		round.Mode = m
		return nil
	}, func(p directory.Page) error {
		if begun != 1 {
			return errors.New("a page came before the round began")
		}
		round.Pages++
		for _, u := range p.Upserts {
			o := u.Object
			if was, ok := round.Objects[o.ID]; ok && u.Partial {
				merged := maps.Clone(was.Attributes)
				maps.Copy(merged, o.Attributes)
				o.Attributes = merged
			}
			round.Objects[o.ID] = o
			named[o.ID] = true
			if p.Complete {
				delete(gone, o.ID)
			}
		}
		for _, x := range p.Present {
			o, ok := round.Objects[x.ID]
			named[x.ID] = true
			if ok && x.DN != "" {
				o.DN = x.DN
				round.Objects[x.ID] = o
			}
		}
		for _, id := range p.Removed {
			if p.RemovedKind == directory.KindUnknown || p.RemovedKind == round.Objects[id].Kind {
				gone[id] = true
			}
		}
		for _, m := range p.Members {
			if m.Whole {
				whole[[2]string{string(m.Group), m.Relation.String()}] = true
			}
			for _, far := range m.Add {
				e := directory.Edge{Group: m.Group, Relation: m.Relation, Far: far}
				round.Edges[e], edges[e] = true, true
			}
			for _, far := range m.Remove {
				lost[directory.Edge{Group: m.Group, Relation: m.Relation, Far: far}] = true
			}
		}
		round.Problems = append(round.Problems, p.Problems...)
		for _, problem := range p.Problems {
			kept[problem.Object] = true
		}
		if p.Cursor != nil {
			round.Cursor = p.Cursor
		}
		if round.Complete {
			return errors.New("a page came after the complete one")
		}
		if round.Complete = p.Complete; p.Complete {
			last = p
		}
		return nil
	})
	switch {
	case err == nil && begun != 1:
		return round, errors.New("the round began not exactly once")
	case !round.Complete:
		return round, err
	}
	for id := range named {
		if _, ok := round.Objects[id]; !ok {
			return before, fmt.Errorf("%s is called present and was never told of: %w", id, directory.ErrCursorExpired)
		}
	}
	for id, o := range round.Objects {
		if !named[id] && !kept[id] && slices.Contains(last.Listed, o.Kind) {
			gone[id] = true
		}
	}
	maps.DeleteFunc(round.Objects, func(id directory.ObjectID, _ directory.Object) bool {
		return gone[id] || !named[id] && !kept[id] && round.Mode == directory.Full
	})
	maps.DeleteFunc(round.Edges, func(e directory.Edge, _ bool) bool {
		_, there := round.Objects[e.Group]
		id, byID := e.Far.ID()
		switch {
		case !there, byID && gone[id], lost[e]:
			return true
		case whole[[2]string{string(e.Group), e.Relation.String()}]:
			return !edges[e]
		case round.Mode == directory.Full:
			return !edges[e] && !kept[e.Group]
		}
		return false
	})
	return round, err
}

// Run checks the contract.
func Run(t *testing.T, h Harness) {
	collect := func(t *testing.T, r directory.Reader) (Round, error) {
		return Collect(t.Context(), r, directory.Start{})
	}
	t.Run("a full read says everything once and ends complete", func(t *testing.T) {
		round, err := collect(t, h.Reader(t))
		require.NoError(t, err)
		require.True(t, round.Complete)
		require.NotEmpty(t, round.Cursor)
		require.Equal(t, directory.Full, round.Mode)
		var people, groups, members, owners, disabled, guests []string
		for id, o := range round.Objects {
			require.NotEmpty(t, o.Get(directory.AttrDisplayName), id)
			switch o.Kind {
			case directory.KindUser:
				require.NotEmpty(t, o.Get(directory.AttrUserName), id)
				people = append(people, string(id))
				if !o.Enabled() {
					disabled = append(disabled, string(id))
				}
				if o.Guest() {
					guests = append(guests, string(id))
				}
			case directory.KindGroup:
				require.Contains(t, []string{"security", "m365"}, o.Get(directory.AttrGroupKind))
				groups = append(groups, string(id))
			}
		}
		dns := map[string]directory.ObjectID{}
		for id, o := range round.Objects {
			dns[o.DN] = id
		}
		for e := range round.Edges {
			far, ok := e.Far.ID()
			if dn, isDN := e.Far.DN(); isDN {
				far, ok = dns[dn]
			}
			require.True(t, ok, "%v", e)
			list := &members
			if e.Relation == directory.Owner {
				list = &owners
			}
			*list = append(*list, string(e.Group)+" "+string(far))
		}
		var wantPeople, wantGroups, wantMembers, wantOwners, wantDisabled, wantGuests []string
		for _, p := range h.Company.People {
			if p.Home != h.Home {
				continue
			}
			wantPeople = append(wantPeople, p.ID)
			if !p.Enabled {
				wantDisabled = append(wantDisabled, p.ID)
			}
			if p.Guest {
				wantGuests = append(wantGuests, p.ID)
			}
		}
		for _, g := range h.Company.Groups {
			if g.Home != h.Home {
				continue
			}
			wantGroups = append(wantGroups, g.ID)
			for _, m := range slices.Concat(g.Members, g.Groups) {
				wantMembers = append(wantMembers, g.ID+" "+m)
			}
			for _, m := range g.Owners {
				wantOwners = append(wantOwners, g.ID+" "+m)
			}
		}
		require.ElementsMatch(t, wantPeople, people)
		require.ElementsMatch(t, wantGroups, groups)
		require.ElementsMatch(t, wantMembers, members)
		require.ElementsMatch(t, wantOwners, owners)
		require.ElementsMatch(t, wantDisabled, disabled)
		require.ElementsMatch(t, wantGuests, guests)
	})
	t.Run("Rule SRC-2: a cursor of another identity is refused before the round begins", func(t *testing.T) {
		err := h.Reader(t).Read(t.Context(), directory.Start{Cursor: []byte(`{"identity":"another"}`)}, func(directory.Mode) error {
			t.Error("the round began")
			return nil
		}, func(directory.Page) error { return nil })
		require.ErrorIs(t, err, directory.ErrCursorExpired)
	})
	t.Run("a wrong password is an authentication error", func(t *testing.T) {
		if h.WrongPassword == nil {
			t.Skip("the source asks for none, or the tests may read everything")
		}
		round, err := collect(t, h.WrongPassword(t))
		require.ErrorIs(t, err, directory.ErrAuth)
		require.False(t, round.Complete)
		_, err = h.WrongPassword(t).Probe(t.Context())
		require.ErrorIs(t, err, directory.ErrAuth)
	})
	t.Run("a source that is not there is unreachable", func(t *testing.T) {
		round, err := collect(t, h.Unreachable(t))
		require.ErrorIs(t, err, directory.ErrUnreachable)
		require.False(t, round.Complete)
	})
	t.Run("a certificate of an unknown authority is not trusted", func(t *testing.T) {
		if h.UnknownCA == nil {
			t.Skip("the source has no server")
		}
		round, err := collect(t, h.UnknownCA(t))
		require.ErrorIs(t, err, directory.ErrUnreachable)
		require.ErrorContains(t, err, "ca_file", "it says what to do")
		require.False(t, round.Complete)
	})
	t.Run("Rule SRC-1: an error of the caller ends the round and is returned", func(t *testing.T) {
		mine := errors.New("mine")
		err := h.Reader(t).Read(t.Context(), directory.Start{}, func(directory.Mode) error { return mine }, func(directory.Page) error {
			t.Error("a page came though the round did not begin")
			return nil
		})
		require.ErrorIs(t, err, mine)
		err = h.Reader(t).Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(directory.Page) error { return mine })
		require.ErrorIs(t, err, mine)
	})
	t.Run("a cancelled read is incomplete and leaves nothing running", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		ctx, cancel := context.WithCancel(t.Context())
		err := h.Reader(t).Read(ctx, directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
			require.False(t, p.Complete)
			cancel()
			return nil
		})
		require.Error(t, err)
		goleak.VerifyNone(t, before, // a pool of HTTP connections, at both ends, is no leak
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
	})
	if h.Cut != nil {
		t.Run("Rule SRC-1: a source that closes in mid-page is incomplete", func(t *testing.T) {
			mend := h.Cut(t)
			round, err := collect(t, h.Reader(t))
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.False(t, round.Complete)
			mend()
			_, err = collect(t, h.Reader(t))
			require.NoError(t, err)
		})
	}
	if _, ok := h.Reader(t).(directory.LiveChecker); ok {
		t.Run("a live check says what a read does", h.live)
	}
	t.Run("the probe says what it found", func(t *testing.T) {
		facts, err := h.Reader(t).Probe(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, facts)
	})
}

// live asks about some people and every group, one by one.
func (h Harness) live(t *testing.T) {
	source := h.Reader(t)
	round, err := Collect(t.Context(), source, directory.Start{})
	require.NoError(t, err)
	checker := source.(directory.LiveChecker)
	dns := map[string]directory.ObjectID{}
	for id, o := range round.Objects {
		dns[o.DN] = id
	}
	ids := func(refs []directory.Ref) (list []string) {
		for _, ref := range refs {
			id, ok := ref.ID()
			if dn, isDN := ref.DN(); isDN {
				id, ok = dns[dn]
			}
			require.True(t, ok, "%s", ref)
			list = append(list, string(id))
		}
		return list
	}
	in := map[string][]string{} // the groups that somebody is in directly
	for _, g := range h.Company.Groups {
		if g.Home != h.Home {
			continue
		}
		members := slices.Concat(g.Members, g.Groups)
		for _, m := range members {
			in[m] = append(in[m], g.ID)
		}
		live, err := checker.LiveMembers(t.Context(), directory.ObjectID(g.ID))
		require.NoError(t, err, g.Name)
		require.ElementsMatch(t, members, ids(live.Refs), g.Name)
	}
	asked := 0
	for _, p := range h.Company.People {
		if p.Home != h.Home || len(in[p.ID]) == 0 || asked == 10 {
			continue
		}
		asked++
		want := map[string]bool{}
		for next := in[p.ID]; len(next) > 0; next = next[1:] {
			if !want[next[0]] {
				want[next[0]] = true
				next = slices.Concat(next, in[next[0]])
			}
		}
		live, err := checker.LiveGroups(t.Context(), directory.ObjectID(p.ID))
		require.NoError(t, err, p.Name)
		require.ElementsMatch(t, slices.Collect(maps.Keys(want)), ids(live.Refs), p.Name)
	}
	require.Positive(t, asked)
	const nobody = "ffffffff-ffff-4fff-8fff-ffffffffffff"
	_, err = checker.LiveGroups(t.Context(), nobody)
	require.ErrorIs(t, err, directory.ErrNoObject)
	_, err = checker.LiveMembers(t.Context(), nobody)
	require.ErrorIs(t, err, directory.ErrNoObject)
	if h.WrongPassword != nil {
		_, err = h.WrongPassword(t).(directory.LiveChecker).LiveGroups(t.Context(), nobody)
		require.ErrorIs(t, err, directory.ErrAuth)
	}
}
