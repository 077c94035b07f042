// Package sourcetest is the contract of directory.Reader as tests: every
// connector passes it against its own server.
package sourcetest

import (
	"context"
	"errors"
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
	// WrongPassword and Unreachable make one that cannot get in.
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
	round := Round{Objects: map[directory.ObjectID]directory.Object{}, Edges: map[directory.Edge]bool{}}
	begun := 0
	listed := map[[2]string]bool{} // groups and relations that have edges
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
			if before, ok := round.Objects[o.ID]; ok && u.Partial {
				merged := maps.Clone(before.Attributes)
				maps.Copy(merged, o.Attributes)
				o.Attributes = merged
			}
			round.Objects[o.ID] = o
		}
		for _, id := range p.Removed {
			delete(round.Objects, id)
		}
		for _, m := range p.Members {
			key := [2]string{string(m.Group), m.Relation.String()}
			if m.Whole && listed[key] {
				maps.DeleteFunc(round.Edges, func(e directory.Edge, _ bool) bool { return e.Group == m.Group && e.Relation == m.Relation })
			}
			listed[key] = true
			for _, far := range m.Add {
				round.Edges[directory.Edge{Group: m.Group, Relation: m.Relation, Far: far}] = true
			}
			for _, far := range m.Remove {
				delete(round.Edges, directory.Edge{Group: m.Group, Relation: m.Relation, Far: far})
			}
		}
		round.Problems = append(round.Problems, p.Problems...)
		if p.Cursor != nil {
			round.Cursor = p.Cursor
		}
		if round.Complete {
			return errors.New("a page came after the complete one")
		}
		round.Complete = p.Complete
		return nil
	})
	if err == nil && begun != 1 {
		err = errors.New("the round began not exactly once")
	}
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
	t.Run("the probe says what it found", func(t *testing.T) {
		facts, err := h.Reader(t).Probe(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, facts)
	})
}
