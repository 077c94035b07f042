package dirsync

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
)

var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func openStore(t testing.TB) *sqlstore.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ambit.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// counting counts what reaches the store.
type counting struct {
	MirrorStore
	commits int
	fail    error
	pages   []store.MirrorPage
}

func (c *counting) CommitMirror(ctx context.Context, p store.MirrorPage) error {
	if c.fail != nil {
		return c.fail
	}
	c.commits++
	c.pages = append(c.pages, p)
	return c.MirrorStore.CommitMirror(ctx, p)
}

// dump writes everything that is mirrored of a source, in the one form.
func dump(m *Mirror, id directory.SourceID) string {
	var b bytes.Buffer
	f := m.facts(id)
	for kind := range directory.KindOther + 1 {
		m.Objects(id, kind, func(o directory.Object) bool {
			line, _ := json.Marshal(o)
			b.Write(append(line, '\n'))
			return true
		})
	}
	var edges []directory.Edge
	for n := range f.edges {
		if f.edges[n].group != 0 {
			edges = append(edges, f.edge(edgeNo(n)))
		}
	}
	slices.SortFunc(edges, compareEdges)
	for _, e := range edges {
		fmt.Fprintf(&b, "%s %s %s", e.Group, e.Relation, e.Far)
		k := edgeKey{f.lookupID(e.Group), f.lookup(e.Far), e.Relation}
		if to := f.far(f.edgeNumbers[k]); to != 0 {
			fmt.Fprintf(&b, " -> %s", f.id(to))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d pending\n", m.Size(id).Pending)
	return b.String()
}

// stored is dump of what the store has.
func stored(t require.TestingT, st MirrorStore, id directory.SourceID) string {
	m := NewMirror(st)
	require.NoError(t, m.Load(context.Background(), id))
	return dump(m, id)
}

// round runs a whole round.
func round(t require.TestingT, m *Mirror, id directory.SourceID, mode directory.Mode, pages ...directory.Page) *Round {
	r, err := m.Begin(id, mode)
	require.NoError(t, err)
	for _, p := range pages {
		require.NoError(t, r.Apply(p, noon))
	}
	require.NoError(t, r.Apply(directory.Page{Complete: true}, noon))
	require.NoError(t, m.Commit(context.Background(), id, 0))
	return r
}

func loaded(t require.TestingT, st MirrorStore, id directory.SourceID) *Mirror {
	m := NewMirror(st)
	require.NoError(t, m.Load(context.Background(), id))
	return m
}

func user(id, dn string, attributes ...string) directory.Upsert {
	return directory.Upsert{Object: entry(id, dn, directory.KindUser, attributes...)}
}

func group(id, dn string, attributes ...string) directory.Upsert {
	return directory.Upsert{Object: entry(id, dn, directory.KindGroup, attributes...)}
}

func entry(id, dn string, kind directory.Kind, attributes ...string) directory.Object {
	o := directory.Object{ID: directory.ObjectID(id), DN: dn, Kind: kind}
	for i := 0; i+1 < len(attributes); i += 2 {
		if o.Attributes == nil {
			o.Attributes = map[string][]string{}
		}
		o.Attributes[attributes[i]] = append(o.Attributes[attributes[i]], attributes[i+1])
	}
	return o
}

func members(group string, far ...directory.Ref) directory.Members {
	return directory.Members{Group: directory.ObjectID(group), Add: far}
}

func whole(group string, far ...directory.Ref) directory.Members {
	return directory.Members{Group: directory.ObjectID(group), Whole: true, Add: far}
}

func membersOf(m *Mirror, src directory.SourceID, group directory.ObjectID) []string {
	out := []string{}
	m.Members(src, group, directory.Member, func(id directory.ObjectID) bool {
		out = append(out, string(id))
		return true
	})
	return out
}

func groupsOf(m *Mirror, src directory.SourceID, member directory.ObjectID) []string {
	out := []string{}
	m.MemberOf(src, member, directory.Member, func(id directory.ObjectID) bool {
		out = append(out, string(id))
		return true
	})
	return out
}

// world is what a source has, as a test makes it up.
type world struct {
	objects map[directory.ObjectID]directory.Object
	edges   map[directory.Edge]bool
	// was has the edges that were given to somebody else by the same name.
	was map[directory.Edge]directory.ObjectID
}

// resolve is whom a reference means: the one who has the name.
func (w world) resolve(far directory.Ref) directory.ObjectID {
	var who []directory.ObjectID
	for id, o := range w.objects {
		byName := o.Kind == directory.KindUser && far == directory.ByUserName(o.Get(directory.AttrUserName))
		if far == directory.ByID(id) || far == directory.ByDN(o.DN) || byName {
			who = append(who, id)
		}
	}
	if len(who) != 1 {
		return ""
	}
	return who[0]
}

// String is the dump that a mirror of the world must give.
func (w world) String() string {
	var b strings.Builder
	for kind := range directory.KindOther + 1 {
		for _, id := range slices.Sorted(maps.Keys(w.objects)) {
			if o := w.objects[id]; o.Kind == kind {
				line, _ := json.Marshal(o)
				b.Write(append(line, '\n'))
			}
		}
	}
	pending := 0
	for _, e := range slices.SortedFunc(maps.Keys(w.edges), compareEdges) {
		fmt.Fprintf(&b, "%s %s %s", e.Group, e.Relation, e.Far)
		to := w.resolve(e.Far)
		if was := w.was[e]; to != "" && (was == "" || was == to) {
			fmt.Fprintf(&b, " -> %s", to)
		} else {
			pending++
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d pending\n", pending)
	return b.String()
}

// follows tells what of the world is otherwise because of what was before it
// (Rule LDAP-22), as naively as it can be said.
func (w world) follows(before world) world {
	w.was = map[directory.Edge]directory.ObjectID{}
	for e := range w.edges {
		if _, byID := e.Far.ID(); byID || !before.edges[e] {
			continue
		}
		meant, now := before.resolve(e.Far), w.resolve(e.Far)
		if was := before.was[e]; was != "" {
			if now == "" || now != meant || !w.changed(before, e.Group) {
				w.was[e] = was
			}
		} else if meant != "" && meant != now {
			w.was[e] = meant
		}
	}
	return w
}

// changed tells whether the group or what is in it is not as it was.
func (w world) changed(before world, group directory.ObjectID) bool {
	if fmt.Sprint(w.objects[group]) != fmt.Sprint(before.objects[group]) {
		return true
	}
	for _, both := range [...][2]world{{w, before}, {before, w}} {
		for e := range both[0].edges {
			if e.Group == group && !both[1].edges[e] {
				return true
			}
		}
	}
	return false
}

// drawWorld makes up a source of at most ten people and five groups, some of the
// edges dangling, some people named by user name or DN.
func drawWorld(t *rapid.T) world {
	w := world{objects: map[directory.ObjectID]directory.Object{}, edges: map[directory.Edge]bool{}}
	for i := range 15 {
		if !rapid.Bool().Draw(t, "there") {
			continue
		}
		id := fmt.Sprintf("id%02d", i)
		kind := directory.KindUser
		if i >= 10 {
			kind = directory.KindGroup
		}
		// Names move between objects, so that an id keeps what a name does not.
		dn := fmt.Sprintf("cn=n%d", i+rapid.IntRange(0, 1).Draw(t, "shift"))
		o := entry(id, dn, kind, directory.AttrUserName, fmt.Sprintf("u%d", i), "title", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "title"))
		if rapid.Bool().Draw(t, "managed") {
			o.Attributes[directory.AttrManager] = []string{string(directory.ByDN(fmt.Sprintf("cn=n%d", rapid.IntRange(0, 15).Draw(t, "manager"))))}
		}
		w.objects[o.ID] = o
	}
	for range rapid.IntRange(0, 25).Draw(t, "edges") {
		n := rapid.IntRange(0, 14).Draw(t, "far")
		far := rapid.SampledFrom([]directory.Ref{
			directory.ByID(directory.ObjectID(fmt.Sprintf("id%02d", n))), directory.ByDN(fmt.Sprintf("cn=n%d", n)), directory.ByUserName(fmt.Sprintf("u%d", n)),
		}).Draw(t, "as")
		e := directory.Edge{
			Group: directory.ObjectID(fmt.Sprintf("id%02d", rapid.IntRange(10, 14).Draw(t, "group"))), Far: far,
			Relation: rapid.SampledFrom([]directory.Relation{directory.Member, directory.Owner}).Draw(t, "relation"),
		}
		w.edges[e] = true
	}
	return w
}

// pages says the world in full, one fact a page.
func (w world) pages() []directory.Page {
	var pages []directory.Page
	for _, id := range slices.Sorted(maps.Keys(w.objects)) {
		o := w.objects[id]
		half := directory.Upsert{Partial: true, Object: o}
		half.Attributes = maps.Clone(o.Attributes)
		delete(half.Attributes, "title")
		pages = append(pages, directory.Page{Upserts: []directory.Upsert{half}},
			directory.Page{Upserts: []directory.Upsert{{Partial: true, Object: o}}})
	}
	for _, e := range slices.SortedFunc(maps.Keys(w.edges), compareEdges) {
		pages = append(pages, directory.Page{Members: []directory.Members{{Group: e.Group, Relation: e.Relation, Add: []directory.Ref{e.Far}}}})
	}
	return pages
}

// difference says by change what makes w into to.
func (w world) difference(to world) []directory.Page {
	var pages []directory.Page
	for _, id := range slices.Sorted(maps.Keys(to.objects)) {
		if o := to.objects[id]; fmt.Sprint(o) != fmt.Sprint(w.objects[id]) {
			pages = append(pages, directory.Page{Upserts: []directory.Upsert{{Object: o}}})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.objects)) {
		if _, stays := to.objects[id]; !stays {
			pages = append(pages, directory.Page{Removed: []directory.ObjectID{id}})
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(to.edges), compareEdges) {
		if !w.edges[e] {
			pages = append(pages, directory.Page{Members: []directory.Members{{Group: e.Group, Relation: e.Relation, Add: []directory.Ref{e.Far}}}})
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(w.edges), compareEdges) {
		if !to.edges[e] {
			pages = append(pages, directory.Page{Members: []directory.Members{{Group: e.Group, Relation: e.Relation, Remove: []directory.Ref{e.Far}}}})
		}
	}
	return pages
}

// after leaves out of the world the edges that go with a removed object
// (Rule SRC-6), and does not put them back: nobody said so.
func (w world) after(before world) world {
	out := world{objects: w.objects, edges: maps.Clone(w.edges)}
	for e := range out.edges {
		far, byID := e.Far.ID()
		_, was := before.objects[far]
		_, is := w.objects[far]
		_, groupWas := before.objects[e.Group]
		_, groupIs := w.objects[e.Group]
		if byID && was && !is || groupWas && !groupIs {
			delete(out.edges, e)
		}
	}
	return out
}

func shuffled(t *rapid.T, pages []directory.Page) []directory.Page {
	seed := rapid.Uint64().Draw(t, "seed")
	r := rand.New(rand.NewPCG(seed, 0))
	out := slices.Clone(pages)
	for range len(pages) / 3 { // some come twice
		out = append(out, pages[r.IntN(len(pages))])
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestRule_SRC_3_pages_in_any_order_and_number_give_the_same_mirror(t *testing.T) {
	st := openStore(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		id := directory.SourceID(fmt.Sprintf("s%d", n))
		m := loaded(t, st, id)
		before := world{}
		for i := range rapid.IntRange(1, 4).Draw(t, "rounds") {
			now := drawWorld(t)
			mode, pages := directory.Full, now.pages()
			if i > 0 && rapid.Bool().Draw(t, "delta") {
				mode = directory.Delta
				now = now.after(before)
				pages = before.difference(now)
			}
			now = now.follows(before)
			round(t, m, id, mode, shuffled(t, pages)...)
			require.Equal(t, now.String(), dump(m, id), "round %d, %s", i, mode)
			require.Equal(t, now.String(), stored(t, st, id), "as stored")
			// Once more, in another order: nothing new, nothing written.
			c := &counting{MirrorStore: st}
			m.store = c
			round(t, m, id, mode, shuffled(t, pages)...)
			require.Equal(t, now.String(), dump(m, id))
			require.Zero(t, c.commits, "a round without a change writes nothing")
			m.store = st
			if rapid.Bool().Draw(t, "restart") {
				m = loaded(t, st, id)
			}
			before = now
		}
	})
}

func TestRule_LDAP_22_a_name_that_a_new_entry_takes_over_brings_no_memberships(t *testing.T) {
	const s = directory.SourceID("s")
	ann := directory.ByDN("cn=ann")
	g := []directory.Members{whole("g", ann)}
	begin := func(t *testing.T) (*Mirror, *sqlstore.DB) {
		st := openStore(t)
		m := loaded(t, st, s)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "cn=ann"), group("g", "cn=g")}, Members: g})
		return m, st
	}
	newAnn := directory.Page{Upserts: []directory.Upsert{user("b", "cn=ann"), group("g", "cn=g")}, Members: g}

	for name, between := range map[string][]directory.Page{
		"at once":                nil,
		"after a round without":  {{Upserts: []directory.Upsert{group("g", "cn=g")}, Members: g}},
		"after the old one left": {{Upserts: []directory.Upsert{user("a", "cn=old"), group("g", "cn=g")}, Members: g}},
	} {
		t.Run(name, func(t *testing.T) {
			m, st := begin(t)
			for _, p := range between {
				round(t, m, s, directory.Full, p)
				require.Empty(t, membersOf(m, s, "g"))
			}
			m = loaded(t, st, s)
			round(t, m, s, directory.Full, newAnn)
			require.Empty(t, membersOf(m, s, "g"))
			require.Empty(t, groupsOf(m, s, "b"))
			require.Equal(t, 1, m.Size(s).Pending)
			m = loaded(t, st, s)
			round(t, m, s, directory.Full, newAnn)
			require.Empty(t, membersOf(m, s, "g"), "nor with time")
			changed := newAnn
			changed.Upserts = []directory.Upsert{user("b", "cn=ann"), group("g", "cn=g", "description", "looked at")}
			round(t, m, s, directory.Full, changed)
			require.Equal(t, []string{"b"}, membersOf(m, s, "g"), "until the group is changed")
			require.Equal(t, dump(m, s), stored(t, st, s))
		})
	}

	t.Run("who gets the name back has the memberships back", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "cn=old"), group("g", "cn=g")}, Members: g})
		require.Empty(t, membersOf(m, s, "g"))
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "cn=ann"), group("g", "cn=g")}, Members: g})
		require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
	})

	t.Run("INC-6: a rename of which half was read takes nothing away, not even after a crash", func(t *testing.T) {
		m, st := begin(t)
		r, err := m.Begin(s, directory.Full)
		require.NoError(t, err)
		require.NoError(t, r.Apply(directory.Page{Upserts: []directory.Upsert{user("a", "cn=married"), user("b", "cn=ann")}}, noon))
		require.NoError(t, m.Commit(t.Context(), s, 0))
		for range 2 {
			require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
			require.Equal(t, []string{"g"}, groupsOf(m, s, "a"))
			require.Empty(t, groupsOf(m, s, "b"))
			m = loaded(t, st, s)
		}
		round(t, m, s, directory.Full, directory.Page{
			Upserts: []directory.Upsert{user("a", "cn=married"), user("b", "cn=ann"), group("g", "cn=g")},
			Members: []directory.Members{whole("g", directory.ByDN("cn=married"))},
		})
		require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
		require.Equal(t, dump(m, s), stored(t, st, s))
		require.Empty(t, m.facts(s).of)
	})
}

func TestRule_SRC_1_an_interrupted_round_adds_and_takes_nothing_away(t *testing.T) {
	st := openStore(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		id := directory.SourceID(fmt.Sprintf("s%d", n))
		m := loaded(t, st, id)
		before, now := drawWorld(t), drawWorld(t)
		round(t, m, id, directory.Full, before.pages()...)
		mode, pages := directory.Full, now.pages()
		if rapid.Bool().Draw(t, "delta") {
			mode = directory.Delta
			now = now.after(before)
			pages = before.difference(now)
		}
		now = now.follows(before)
		pages = shuffled(t, pages)
		cut := rapid.IntRange(0, len(pages)).Draw(t, "cut")
		resumable := rapid.Bool().Draw(t, "resumable")
		r, err := m.Begin(id, mode)
		require.NoError(t, err)
		apply := func(i int) {
			p := pages[i]
			if resumable {
				p.Cursor = fmt.Appendf(nil, "at %d", i)
			}
			require.NoError(t, r.Apply(p, noon))
		}
		for i := range cut {
			apply(i)
		}
		require.NoError(t, m.Commit(context.Background(), id, 0))
		for o := range before.objects {
			_, there := m.Object(id, o)
			require.True(t, there, "%s is held until the round is complete", o)
		}
		require.Equal(t, dump(m, id), stored(t, st, id))

		if rapid.Bool().Draw(t, "restart") {
			m = loaded(t, st, id)
		}
		start := m.Start(id, nil)
		from := 0
		if start.Resumed {
			_, err := fmt.Sscanf(string(start.Cursor), "at %d", &from)
			require.NoError(t, err)
			from++
		}
		r, err = m.Begin(id, mode)
		require.NoError(t, err)
		for i := from; i < len(pages); i++ {
			apply(i)
		}
		require.NoError(t, r.Apply(directory.Page{Complete: true, Cursor: []byte("end")}, noon))
		require.NoError(t, m.Commit(context.Background(), id, 0))
		require.Equal(t, now.String(), dump(m, id))
		require.Equal(t, now.String(), stored(t, st, id))
	})
}

func TestMirror(t *testing.T) {
	const s = directory.SourceID("s")
	dn := directory.ByDN
	begin := func(t *testing.T) (*Mirror, *counting) {
		st := &counting{MirrorStore: openStore(t)}
		return loaded(t, st, s), st
	}

	t.Run("Rule SRC-5: a membership that comes before its ends waits for them", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Delta, directory.Page{Members: []directory.Members{members("g", dn("cn=ann"), directory.ByID("b"))}})
		require.Equal(t, 2, m.Size(s).Pending)
		require.Empty(t, membersOf(m, s, "g"))
		round(t, m, s, directory.Delta, directory.Page{Upserts: []directory.Upsert{user("a", "cn=ann"), group("g", "cn=g")}})
		require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
		require.Equal(t, []string{"g"}, groupsOf(m, s, "a"))
		require.Equal(t, Size{Objects: 2, Edges: 2, Pending: 1}, m.Size(s))
	})

	t.Run("Rule SRC-6: who goes leaves all groups, though the source does not say so", func(t *testing.T) {
		m, st := begin(t)
		round(t, m, s, directory.Full, directory.Page{
			Upserts: []directory.Upsert{user("a", ""), user("b", "", directory.AttrManager, "id:a"), group("g", "")},
			Members: []directory.Members{members("g", directory.ByID("a"), directory.ByID("b"))},
		})
		round(t, m, s, directory.Delta, directory.Page{Removed: []directory.ObjectID{"a"}})
		require.Equal(t, []string{"b"}, membersOf(m, s, "g"))
		_, _, ok := m.Resolve(s, "id:a")
		require.False(t, ok, "nor is a deleted person anybody's manager")
		require.Equal(t, dump(m, s), stored(t, st, s))
	})

	t.Run("Rule LDAP-22: a DN that names an entry that is gone stays a fact and grants nothing", func(t *testing.T) {
		m, _ := begin(t)
		g := []directory.Members{whole("g", dn("cn=ann"))}
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "cn=ann"), group("g", "cn=g")}, Members: g})
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{group("g", "cn=g")}, Members: g})
		require.Empty(t, membersOf(m, s, "g"))
		require.Equal(t, Size{Objects: 1, Edges: 1, Pending: 1}, m.Size(s))
	})

	t.Run("Rule SRC-10: what could not be taken over stays as it was", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Full, directory.Page{
			Upserts: []directory.Upsert{user("a", ""), group("g", "")}, Members: []directory.Members{whole("g", directory.ByID("a"))},
		})
		was := dump(m, s)
		r := round(t, m, s, directory.Full, directory.Page{Problems: []directory.Problem{{Object: "a", Text: "bad"}, {Object: "g", Text: "bad"}}})
		require.Equal(t, was, dump(m, s))
		require.Equal(t, 2, r.problemCount)
	})

	t.Run("Rule GRAPH-14: a group on many pages has the union of their members", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Full,
			directory.Page{Upserts: []directory.Upsert{user("a", ""), group("g", "")}, Members: []directory.Members{members("g", directory.ByID("a"))}},
			directory.Page{Upserts: []directory.Upsert{user("b", "")}},
			directory.Page{Upserts: []directory.Upsert{group("g", "")}, Members: []directory.Members{members("g", directory.ByID("b"))}})
		require.Equal(t, []string{"a", "b"}, membersOf(m, s, "g"))
	})

	t.Run("Rule GRAPH-16: properties merge, null clears, and a full round clears what it does not name", func(t *testing.T) {
		m, _ := begin(t)
		partial := func(attributes map[string][]string) directory.Page {
			return directory.Page{Upserts: []directory.Upsert{{Partial: true, Object: directory.Object{ID: "a", Kind: directory.KindUser, Attributes: attributes}}}}
		}
		attributes := func() map[string][]string { o, _ := m.Object(s, "a"); return o.Attributes }
		round(t, m, s, directory.Full, partial(map[string][]string{"x": {"1"}, "y": {"2"}, "z": {"3"}}))
		round(t, m, s, directory.Delta, partial(map[string][]string{"x": {"9"}, "y": {}}))
		require.Equal(t, map[string][]string{"x": {"9"}, "z": {"3"}}, attributes())
		round(t, m, s, directory.Full, partial(map[string][]string{"x": {"9"}}), partial(map[string][]string{"w": {"5"}}))
		require.Equal(t, map[string][]string{"x": {"9"}, "w": {"5"}}, attributes())
	})

	t.Run("Rule GRAPH-19: what is gone already and what is there already are no news", func(t *testing.T) {
		m, st := begin(t)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", ""), group("g", "")}, Members: []directory.Members{members("g", directory.ByID("a"))}})
		n := st.commits
		round(t, m, s, directory.Delta, directory.Page{Removed: []directory.ObjectID{"nobody"}, Members: []directory.Members{
			{Group: "g", Add: []directory.Ref{"id:a"}, Remove: []directory.Ref{"id:nobody"}},
		}})
		require.Equal(t, n, st.commits)
	})

	t.Run("Rule GRAPH-15: a contradiction that the connector settles on its last page is as it says", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", ""), user("b", ""), group("g", "")}, Members: []directory.Members{members("g", "id:b")}})
		r, err := m.Begin(s, directory.Delta)
		require.NoError(t, err)
		require.NoError(t, r.Apply(directory.Page{
			Removed: []directory.ObjectID{"a"}, Cursor: []byte("c1"),
			Members: []directory.Members{{Group: "g", Add: []directory.Ref{"id:a"}, Remove: []directory.Ref{"id:a"}}},
		}, noon))
		require.NoError(t, r.Apply(directory.Page{Upserts: []directory.Upsert{user("a", "")}, Members: []directory.Members{whole("g", "id:a")}, Cursor: []byte("c2"), Complete: true}, noon))
		require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
		require.Zero(t, r.problemCount)
		require.Equal(t, "c2", string(m.Start(s, nil).Cursor))
	})

	t.Run("Rule SRC-3: a contradiction that nobody settles counts as not, is shown, and the next round is full", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", ""), group("g", "")}, Cursor: []byte("c1")})
		require.Equal(t, "c1", string(m.Start(s, nil).Cursor))
		r := round(t, m, s, directory.Delta, directory.Page{
			Cursor:  []byte("c2"),
			Members: []directory.Members{{Group: "g", Add: []directory.Ref{"id:a"}, Remove: []directory.Ref{"id:a"}}},
		})
		require.Empty(t, membersOf(m, s, "g"))
		require.Equal(t, 1, r.problemCount)
		require.Contains(t, r.problems[0].Text, "read in full next time")
		require.Nil(t, m.Start(s, nil).Cursor)
	})

	t.Run("a name that two objects claim means neither, and is shown", func(t *testing.T) {
		m, _ := begin(t)
		r := round(t, m, s, directory.Full, directory.Page{
			Upserts: []directory.Upsert{user("a", "", directory.AttrUserName, "ann"), user("b", "", directory.AttrUserName, "ann"), group("g", "")},
			Members: []directory.Members{whole("g", directory.ByUserName("ann"))},
		})
		require.Empty(t, membersOf(m, s, "g"))
		require.Len(t, r.problems, 1)
		round(t, m, s, directory.Delta, directory.Page{Upserts: []directory.Upsert{user("b", "", directory.AttrUserName, "bob")}})
		require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
	})

	t.Run("Rule REL-4: while a round goes on, a name means whom it meant before", func(t *testing.T) {
		m, _ := begin(t)
		g := []directory.Members{whole("g", dn("cn=ann"))}
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "cn=ann"), group("g", "cn=g")}, Members: g})
		r, err := m.Begin(s, directory.Full)
		require.NoError(t, err)
		require.NoError(t, r.Apply(directory.Page{Upserts: []directory.Upsert{user("b", "cn=ann")}}, noon))
		require.Equal(t, []string{"a"}, membersOf(m, s, "g"))
	})

	t.Run("INC-9: a group that is its own member can come and go", func(t *testing.T) {
		m, st := begin(t)
		self := directory.Members{Group: "g", Add: []directory.Ref{"id:g"}}
		round(t, m, s, directory.Delta, directory.Page{Members: []directory.Members{self}})
		round(t, m, s, directory.Delta, directory.Page{Members: []directory.Members{{Group: "g", Remove: self.Add}}})
		require.Len(t, m.facts(s).freeRef, 1)
		round(t, m, s, directory.Delta, directory.Page{Upserts: []directory.Upsert{user("a", ""), user("b", "")}})
		require.Equal(t, dump(m, s), stored(t, st, s))
	})

	t.Run("an id that a deleted group had, and its members, can come again", func(t *testing.T) {
		m, st := begin(t)
		all := directory.Page{Upserts: []directory.Upsert{user("a", ""), group("g", "")}, Members: []directory.Members{members("g", "id:a")}}
		round(t, m, s, directory.Full, all)
		was := dump(m, s)
		round(t, m, s, directory.Delta, directory.Page{Removed: []directory.ObjectID{"g", "a"}})
		require.Equal(t, Size{}, m.Size(s))
		require.Len(t, m.facts(s).freeRef, len(m.facts(s).refs)-1, "nothing is kept of what is gone")
		round(t, m, s, directory.Delta, all)
		require.Equal(t, was, dump(m, s))
		require.Equal(t, was, stored(t, st, s))
	})

	t.Run("Rule SRC-2: a page that could not be stored is stored with the next, and nothing is skipped", func(t *testing.T) {
		m, st := begin(t)
		st.fail = store.ErrReadOnly
		r, err := m.Begin(s, directory.Full)
		require.NoError(t, err)
		require.NoError(t, r.Apply(directory.Page{Upserts: []directory.Upsert{user("a", "")}, Cursor: []byte("c1")}, noon))
		require.ErrorIs(t, m.Commit(t.Context(), s, 0), store.ErrReadOnly)
		st.fail = nil
		require.NoError(t, r.Apply(directory.Page{Upserts: []directory.Upsert{user("b", "")}, Cursor: []byte("c2"), Complete: true}, noon))
		require.NoError(t, m.Commit(t.Context(), s, 0))
		require.Len(t, st.pages, 1)
		require.Equal(t, "c2", string(st.pages[0].Status.Cursor))
		require.Equal(t, dump(m, s), stored(t, st, s))
	})

	t.Run("Rule GRAPH-13: a dead link in a round goes back to its beginning, then to none", func(t *testing.T) {
		m, _ := begin(t)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", ""), group("g", "")}, Cursor: []byte("delta1")})
		mirrored := map[directory.Kind]int{directory.KindUser: 1, directory.KindGroup: 1}
		r, err := m.Begin(s, directory.Delta)
		require.NoError(t, err)
		require.NoError(t, r.Apply(directory.Page{Cursor: []byte("next1")}, noon))
		require.Equal(t, directory.Start{Cursor: []byte("next1"), Resumed: true, Mirrored: mirrored}, m.Start(s, nil))
		require.True(t, m.Expire(s))
		require.Equal(t, directory.Start{Cursor: []byte("delta1"), Mirrored: mirrored}, m.Start(s, nil))
		require.True(t, m.Expire(s))
		require.Equal(t, directory.Start{Mirrored: mirrored}, m.Start(s, nil))
		require.False(t, m.Expire(s))
	})

	t.Run("Rule GRAPH-18: a cursor that only time moves is kept twice a day", func(t *testing.T) {
		m, st := begin(t)
		round(t, m, s, directory.Full, directory.Page{Upserts: []directory.Upsert{user("a", "")}, Cursor: []byte("c0")})
		n := st.commits
		for hour := range 25 {
			r, err := m.Begin(s, directory.Delta)
			require.NoError(t, err)
			require.NoError(t, r.Apply(directory.Page{Cursor: fmt.Appendf(nil, "c%d", hour), Complete: true}, noon.Add(time.Duration(hour)*time.Hour)))
			require.NoError(t, m.Commit(t.Context(), s, 0))
		}
		require.Equal(t, n+2, st.commits)
	})

	t.Run("a page after the last is refused", func(t *testing.T) {
		m, _ := begin(t)
		r := round(t, m, s, directory.Full)
		require.ErrorContains(t, r.Apply(directory.Page{}, noon), "after the round's last")
	})
}

func TestAttributes_pack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attributes := rapid.MapOf(rapid.String(), rapid.SliceOfN(rapid.String(), 0, 3)).Draw(t, "attributes")
		others := rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", ""}), rapid.SliceOfN(rapid.SampledFrom([]string{"", "x", "y"}), 0, 2)).Draw(t, "others")
		d := newDictionary()
		p := packed(d.pack(attributes))
		want := withValues(attributes)
		if len(want) == 0 {
			want = nil
		}
		require.Equal(t, want, d.unpack(p))
		require.True(t, d.same(p, attributes, false))
		require.True(t, d.same(p, attributes, true))
		q := packed(d.pack(others))
		require.Equal(t, fmt.Sprint(withValues(attributes)) == fmt.Sprint(withValues(others)), d.same(q, attributes, false))
	})
}

func TestRule_LDAP_18_a_list_of_what_there_is(t *testing.T) {
	people := func(n int) (out []directory.Upsert, present []directory.Present) {
		for i := range n {
			id := fmt.Sprintf("u%03d", i)
			out = append(out, user(id, "uid="+id))
			present = append(present, directory.Present{ID: directory.ObjectID(id)})
		}
		return out, present
	}
	begin := func(t *testing.T, n int) (*Mirror, []directory.Present) {
		m := loaded(t, openStore(t), "corp")
		all, present := people(n)
		round(t, m, "corp", directory.Full, directory.Page{
			Upserts: append(all, group("g", "cn=g")), Cursor: []byte("1"),
			Members: []directory.Members{{Group: "g", Whole: true, Add: []directory.Ref{directory.ByDN("uid=u001"), directory.ByDN("uid=u002")}}},
		})
		return m, present
	}
	apply := func(t *testing.T, m *Mirror, p directory.Page) error {
		r, err := m.Begin("corp", directory.Delta)
		require.NoError(t, err)
		return r.Apply(p, noon)
	}
	t.Run("what it leaves out is gone, of its kind", func(t *testing.T) {
		m, present := begin(t, 50)
		require.NoError(t, apply(t, m, directory.Page{Present: present[2:], Upserts: []directory.Upsert{user("new", "uid=new")}, Listed: []directory.Kind{directory.KindUser}, Complete: true}))
		require.Equal(t, Size{Objects: 50, Edges: 2, Pending: 1}, m.Size("corp"), "u000 and u001; the group and its edges stay")
		_, there := m.Object("corp", "new")
		require.True(t, there)
	})
	t.Run("Rule LDAP-21: it can give what there is another name", func(t *testing.T) {
		m, present := begin(t, 50)
		present[1].DN = "uid=u001,ou=elsewhere"
		require.NoError(t, apply(t, m, directory.Page{Present: present, Listed: []directory.Kind{directory.KindUser}, Complete: true}))
		o, _ := m.Object("corp", "u001")
		require.Equal(t, "uid=u001,ou=elsewhere", o.DN)
		require.Equal(t, 1, m.Size("corp").Pending, "the group names nobody any more")
	})
	t.Run("one that takes much away is not believed", func(t *testing.T) {
		m, present := begin(t, 50)
		before := dump(m, "corp")
		err := apply(t, m, directory.Page{Present: present[21:], Cursor: []byte("2"), Listed: []directory.Kind{directory.KindUser}, Complete: true})
		require.ErrorIs(t, err, directory.ErrCursorExpired)
		require.Equal(t, before, dump(m, "corp"))
		require.True(t, m.Expire("corp"), "a full round decides")
		require.Nil(t, m.Start("corp", nil).Cursor)
	})
	t.Run("a list of nothing is not believed", func(t *testing.T) {
		m, _ := begin(t, 50)
		require.ErrorIs(t, apply(t, m, directory.Page{Listed: []directory.Kind{directory.KindUser}, Complete: true}), directory.ErrCursorExpired)
	})
	t.Run("what it calls unchanged and nobody knows asks for a full round", func(t *testing.T) {
		m, present := begin(t, 5)
		stranger := []directory.Present{{ID: "stranger"}}
		require.ErrorIs(t, apply(t, m, directory.Page{Present: stranger, Complete: true}), directory.ErrCursorExpired)
		require.True(t, m.Expire("corp"))
		m, _ = begin(t, 5)
		require.NoError(t, apply(t, m, directory.Page{Present: append(stranger, present...), Upserts: []directory.Upsert{user("stranger", "")}, Listed: []directory.Kind{directory.KindUser}, Complete: true}),
			"unless the round tells of it")
		require.Equal(t, 7, m.Size("corp").Objects)
	})
	t.Run("a user whom a search for groups calls gone is not", func(t *testing.T) {
		m, _ := begin(t, 5)
		before := dump(m, "corp")
		require.NoError(t, apply(t, m, directory.Page{Removed: []directory.ObjectID{"u001"}, RemovedKind: directory.KindGroup, Complete: true}))
		require.Equal(t, before, dump(m, "corp"))
	})
	t.Run("an incomplete one takes nothing away", func(t *testing.T) {
		m, present := begin(t, 50)
		require.NoError(t, apply(t, m, directory.Page{Present: present[:10]}))
		require.Equal(t, 51, m.Size("corp").Objects)
	})
}

func TestRule_AD_16_an_account_ends_by_the_clock(t *testing.T) {
	st := openStore(t)
	m := loaded(t, st, "corp")
	end := noon.Add(time.Hour)
	round(t, m, "corp", directory.Full, directory.Page{Cursor: []byte("1"), Upserts: []directory.Upsert{
		user("ends", "", directory.AttrEnabled, "true", directory.AttrExpires, end.Format(time.RFC3339Nano)), user("stays", "", directory.AttrEnabled, "true"),
	}})
	enabled := func(m *Mirror) bool {
		o, ok := m.Object("corp", "ends")
		require.True(t, ok)
		return o.Enabled()
	}
	_, _ = m.takeTouched()
	m.Advance(end.Add(-1))
	require.True(t, enabled(m))
	require.False(t, m.ended(end.Add(-1)))
	require.True(t, m.ended(end), "at the end, not after it")
	m.Advance(end)
	require.False(t, enabled(m))
	touched, _ := m.takeTouched()
	require.Len(t, touched, 1)
	require.EqualValues(t, "ends", touched[0].Object)
	require.False(t, m.ended(end.Add(time.Hour)))
	m.Advance(noon)
	require.False(t, enabled(m), "a clock that goes back brings nobody back")

	again := loaded(t, st, "corp")
	require.True(t, enabled(again), "what is kept is what the source said")
	again.Advance(end)
	require.False(t, enabled(again))

	later := user("ends", "", directory.AttrEnabled, "true", directory.AttrExpires, end.Add(time.Hour).Format(time.RFC3339Nano))
	round(t, m, "corp", directory.Delta, directory.Page{Upserts: []directory.Upsert{later}})
	require.True(t, enabled(m))
	require.True(t, m.ended(end.Add(time.Hour)))
	round(t, m, "corp", directory.Delta, directory.Page{Removed: []directory.ObjectID{"ends"}})
	require.False(t, m.ended(end.Add(time.Hour)), "who is gone does not end")
}
