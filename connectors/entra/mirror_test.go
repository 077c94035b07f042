package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/directory"
)

// mirror takes rounds as the contract of directory.Page has it, plainly: what is
// added counts at once, what is taken away counts when the round is complete.
type mirror struct {
	objects map[directory.ObjectID]directory.Object
	edges   map[directory.Edge]bool
	cursor  []byte // of the last complete round
	round   *fold
}

// fold is a round in progress.
type fold struct {
	mode         directory.Mode
	cursor       []byte
	seen         map[directory.ObjectID]bool
	seenEdges    map[directory.Edge]bool
	removed      map[directory.ObjectID]bool
	removedEdges map[directory.Edge]bool
	kept         map[directory.ObjectID]bool               // groups with a problem
	whole        map[directory.Edge]map[directory.Ref]bool // Far is empty
}

func newMirror() *mirror {
	return &mirror{objects: map[directory.ObjectID]directory.Object{}, edges: map[directory.Edge]bool{}}
}

// clone is the mirror as a store has it that keeps nothing of what follows.
func (m *mirror) clone() *mirror {
	r := *m.round
	r.seen, r.seenEdges, r.kept = maps.Clone(r.seen), maps.Clone(r.seenEdges), maps.Clone(r.kept)
	r.removed, r.removedEdges, r.whole = maps.Clone(r.removed), maps.Clone(r.removedEdges), maps.Clone(r.whole)
	return &mirror{objects: maps.Clone(m.objects), edges: maps.Clone(m.edges), cursor: m.cursor, round: &r}
}

var errCrash = errors.New("crash")

// sync reads until a round is complete, and returns the modes of those begun.
func (m *mirror) sync(t testing.TB, s *Source) []directory.Mode {
	t.Helper()
	modes, err := m.try(s)
	require.NoError(t, err)
	return modes
}

// try reads until a round is complete or fails for another reason than that a
// cursor expired.
func (m *mirror) try(s *Source) ([]directory.Mode, error) {
	return m.tryWith(s, func() error { return nil })
}

func (m *mirror) tryWith(s *Source, before func() error) ([]directory.Mode, error) {
	var modes []directory.Mode
	for {
		var mode *directory.Mode
		err := m.read(s, &mode, before)
		if mode != nil {
			modes = append(modes, *mode)
		}
		if !errors.Is(err, directory.ErrCursorExpired) {
			return modes, err
		}
		switch {
		case m.round != nil && m.round.cursor != nil:
		case m.cursor != nil:
			m.cursor = nil
		default:
			return modes, err
		}
		m.round = nil
	}
}

func (m *mirror) read(s *Source, mode **directory.Mode, before func() error) error {
	start := directory.Start{Cursor: m.cursor}
	if m.round != nil && m.round.cursor != nil {
		start = directory.Start{Cursor: m.round.cursor, Resumed: true}
	}
	done := false
	err := s.Read(context.Background(), start, func(got directory.Mode) error {
		*mode = &got
		if start.Resumed {
			if m.round.mode != got {
				return fmt.Errorf("resumed as %s", got)
			}
			return nil
		}
		m.round = &fold{
			mode: got, seen: map[directory.ObjectID]bool{}, seenEdges: map[directory.Edge]bool{},
			removed: map[directory.ObjectID]bool{}, removedEdges: map[directory.Edge]bool{}, kept: map[directory.ObjectID]bool{}, whole: map[directory.Edge]map[directory.Ref]bool{},
		}
		return nil
	}, func(p directory.Page) error {
		if err := before(); err != nil {
			return err
		}
		m.apply(p)
		done = p.Complete
		return nil
	})
	if err == nil && !done {
		return errors.New("the round ended without an error and is not complete")
	}
	return err
}

func (m *mirror) apply(p directory.Page) {
	r := m.round
	for _, u := range p.Upserts {
		o := u.Object
		if before, ok := m.objects[o.ID]; ok && u.Partial {
			merged := maps.Clone(before.Attributes)
			maps.Copy(merged, o.Attributes)
			o.Attributes = merged
		}
		o.Attributes = maps.Clone(o.Attributes)
		maps.DeleteFunc(o.Attributes, func(_ string, v []string) bool { return len(v) == 0 })
		m.objects[o.ID] = o
		r.seen[o.ID] = true
	}
	for _, id := range p.Removed {
		r.removed[id] = true
	}
	for _, l := range p.Members {
		key := directory.Edge{Group: l.Group, Relation: l.Relation}
		if l.Whole {
			r.whole[key] = map[directory.Ref]bool{}
		}
		for _, far := range l.Add {
			e := directory.Edge{Group: l.Group, Relation: l.Relation, Far: far}
			m.edges[e], r.seenEdges[e] = true, true
			if l.Whole {
				r.whole[key][far] = true
			}
		}
		for _, far := range l.Remove {
			r.removedEdges[directory.Edge{Group: l.Group, Relation: l.Relation, Far: far}] = true
		}
	}
	for _, problem := range p.Problems {
		r.seen[problem.Object], r.kept[problem.Object] = true, true
	}
	if r.cursor = p.Cursor; p.Complete {
		m.complete()
	}
}

func (m *mirror) complete() {
	r := m.round
	maps.DeleteFunc(m.edges, func(e directory.Edge, _ bool) bool {
		if whole, ok := r.whole[directory.Edge{Group: e.Group, Relation: e.Relation}]; ok {
			return !whole[e.Far]
		}
		return r.removedEdges[e] || r.mode == directory.Full && !r.seenEdges[e] && !r.kept[e.Group]
	})
	gone := maps.Clone(r.removed)
	if r.mode == directory.Full {
		for id := range m.objects {
			if !r.seen[id] {
				gone[id] = true
			}
		}
	}
	for id := range gone {
		delete(m.objects, id)
	}
	// Rule SRC-6.
	maps.DeleteFunc(m.edges, func(e directory.Edge, _ bool) bool {
		far, _ := e.Far.ID()
		return gone[e.Group] || gone[far]
	})
	for id, o := range m.objects {
		if far, ok := directory.Ref(o.Get(directory.AttrManager)).ID(); ok && gone[far] {
			o.Attributes = maps.Clone(o.Attributes)
			delete(o.Attributes, directory.AttrManager)
			m.objects[id] = o
		}
	}
	m.cursor, m.round = r.cursor, nil
}

// bytes writes what the mirror holds, in order.
func (m *mirror) bytes(t require.TestingT) string {
	var lines []string
	for _, o := range m.objects {
		b, err := json.Marshal(o)
		require.NoError(t, err)
		lines = append(lines, string(b))
	}
	for e := range m.edges {
		lines = append(lines, fmt.Sprintf("%s %s %s", e.Group, e.Relation, e.Far))
	}
	slices.Sort(lines)
	b, err := json.MarshalIndent(lines, "", " ")
	require.NoError(t, err)
	return string(b)
}

// equalsFullRead compares the mirror with what an undisturbed full read gives.
func (m *mirror) equalsFullRead(t testing.TB, server *graphtest.Server) {
	t.Helper()
	other := newMirror()
	require.Equal(t, []directory.Mode{directory.Full}, other.sync(t, source(t, server)))
	require.Equal(t, other.bytes(t), m.bytes(t))
}

// TestRule_SRC_3_any_history_ends_as_an_undisturbed_read edits a directory at
// random while it misbehaves at random, and reads it in rounds of which some fail
// and some are cut and taken up by another process.
func TestRule_SRC_3_any_history_ends_as_an_undisturbed_read(t *testing.T) {
	dir := t.TempDir()
	ref := secretFile(t, graphtest.ClientSecret)
	rapid.Check(t, func(t *rapid.T) {
		server, err := graphtest.Start(dir, graphtest.Options{
			PageSize: rapid.IntRange(1, 6).Draw(t, "page size"), EdgesPerEntry: rapid.IntRange(1, 4).Draw(t, "edges per entry"),
		})
		require.NoError(t, err)
		defer server.Close()
		connect := func() *Source {
			s, err := New(Config{
				TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: ref, GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
			})
			require.NoError(t, err)
			s.graph.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
			return s
		}
		var people, groups []string
		hidden := false
		one := func(from []string, label string) string { return rapid.SampledFrom(from).Draw(t, label) }
		seed := func() uint64 { return rapid.Uint64().Draw(t, "seed") }
		edit := func() {
			switch n := rapid.IntRange(0, 15).Draw(t, "edit"); {
			case n == 0 || len(people) < 2:
				id := fmt.Sprintf("person-%d", len(people))
				server.AddUser(id, person(id))
				people = append(people, id)
			case n == 1 || len(groups) == 0:
				id := fmt.Sprintf("group-%d", len(groups))
				server.AddGroup(id, security(id))
				groups = append(groups, id)
			case n == 2:
				server.Remove(one(people, "who"))
			case n == 3:
				server.Restore(one(append(people, groups...), "what"))
			case n == 4 && rapid.IntRange(0, 3).Draw(t, "for good") == 0:
				server.Purge(one(append(people, groups...), "what"))
			case n == 5:
				server.Remove(one(groups, "group"))
			case n == 6:
				server.SetAttribute(one(people, "who"), "displayName", fmt.Sprint("name ", rapid.IntRange(0, 9).Draw(t, "name")))
			case n == 7:
				server.SetAttribute(one(people, "who"), "mail", rapid.SampledFrom([]any{nil, "a@b.example", "c@d.example"}).Draw(t, "mail"))
			case n == 8:
				server.SetManager(one(people, "who"), one(append([]string{""}, people...), "manager"))
			case n == 13:
				server.SetAttribute(one(groups, "group"), "visibility", rapid.SampledFrom([]any{nil, "Private", "HiddenMembership"}).Draw(t, "visibility"))
			case n == 14:
				// The permission is in the tokens from then on.
				hidden = !hidden
				if hidden {
					server.Deny(graphtest.MemberReadHidden)
				} else {
					server.Permit(graphtest.MemberReadHidden)
				}
				server.ExpireTokens()
			case n == 15:
				server.ExpireTokens()
			case n == 9:
				server.EmptyGroup(one(groups, "group"))
			case n == 10:
				server.RemoveMember(one(groups, "group"), one(people, "who"))
			default:
				server.AddMember(one(groups, "group"), one(append(groups, people...), "who"))
				server.AddOwner(one(groups, "group"), one(people, "who"))
			}
		}
		faults := func() {
			for range rapid.IntRange(0, 3).Draw(t, "faults") {
				f := rapid.SampledFrom([]graphtest.Fault{
					graphtest.Throttle(0), graphtest.ThrottleSilently(), graphtest.Unavailable(10 * time.Second), graphtest.GatewayTimeout(), graphtest.Cut(),
					graphtest.Truncate(), graphtest.EmptyBody(), graphtest.EmptyPage(), graphtest.PageTwice(), graphtest.Shuffle(seed()), graphtest.Replay(),
					graphtest.Stale(rapid.Int64Range(1, 8).Draw(t, "stale")), graphtest.Contradict(seed()), graphtest.LoseRemovals(), graphtest.Gone(), graphtest.Expire(),
					graphtest.DeadLink(), graphtest.Unauthorized(), graphtest.Challenge(), graphtest.NoLink(), graphtest.ForeignLink("https://elsewhere.example"),
					graphtest.ThrottleUntil(time.Now().Add(time.Hour)), graphtest.EndlessChain(), graphtest.Circle(), graphtest.Gzip(), graphtest.LimitedInfo(),
					graphtest.UnknownType(), graphtest.FailedDependency(), graphtest.LeaveOut(), graphtest.Miscount(100), graphtest.Redirect("https://elsewhere.example"),
					graphtest.Throttle(20 * time.Second).At(graphtest.Reads), graphtest.Cut().At(graphtest.Batches),
					graphtest.Meanwhile(edit),
				}).Draw(t, "fault")
				if rapid.Bool().Draw(t, "sometimes") {
					f = f.Sometimes(seed(), 0.5)
				}
				server.Arm(f, rapid.IntRange(1, 3).Draw(t, "times"))
			}
		}
		for range rapid.IntRange(4, 20).Draw(t, "people and groups") {
			edit()
		}
		m, s := newMirror(), connect()
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			faults()
			for range rapid.IntRange(0, 8).Draw(t, "edits") {
				edit()
			}
			if rapid.Bool().Draw(t, "another process") {
				s = connect()
			}
			before := maps.Clone(m.objects)
			crash := rapid.IntRange(0, 12).Draw(t, "crash at page")
			_, err := m.tryWith(s, func() error {
				if rapid.IntRange(0, 3).Draw(t, "edit between pages") == 0 {
					edit()
				}
				if crash--; crash == 0 {
					s = connect()
					return errCrash
				}
				return nil
			})
			if err != nil {
				for id := range before {
					require.Contains(t, m.objects, id, "Rule SRC-1: an incomplete round takes nothing away")
				}
			}
			server.Disarm()
		}
		server.Permit(graphtest.MemberReadHidden)
		server.ExpireTokens()
		// What a stale round kept back comes with the next, and what a crash cut in two
		// is read once more.
		for range 3 {
			_, err = m.try(s)
			require.NoError(t, err)
		}
		want := newMirror()
		_, err = want.try(connect())
		require.NoError(t, err)
		require.Equal(t, want.bytes(t), m.bytes(t))
	})
}
