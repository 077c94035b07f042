package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

// mirror folds pages as the contract of package directory says, as plainly as can
// be: what a page adds counts at once, what it takes away counts with the last.
type mirror struct {
	objects map[directory.ObjectID]map[string][]string
	edges   map[directory.Edge]bool
	cursor  []byte // of the last complete round
	open    *open  // a round that can be taken up
}

// open is a round that has not ended, as of its newest page with a cursor.
type open struct {
	cursor       []byte
	mode         directory.Mode
	seen         map[directory.ObjectID]bool
	seenEdges    map[directory.Edge]bool
	removed      map[directory.ObjectID]bool
	removedEdges map[directory.Edge]bool
}

func (o *open) clone() *open {
	c := *o
	c.seen, c.seenEdges, c.removed, c.removedEdges = maps.Clone(o.seen), maps.Clone(o.seenEdges), maps.Clone(o.removed), maps.Clone(o.removedEdges)
	return &c
}

func newMirror() *mirror {
	return &mirror{objects: map[directory.ObjectID]map[string][]string{}, edges: map[directory.Edge]bool{}}
}

var errCrash = errors.New("crash")

// read reads one round as the daemon does: from what is stored, and anew from an
// earlier point if that has expired. between runs after each page, and crashes
// the read if it says so.
func (m *mirror) read(t testing.TB, s *Source, between func() bool) error {
	for {
		start := directory.Start{Cursor: m.cursor}
		if m.open != nil {
			start = directory.Start{Cursor: m.open.cursor, Resumed: true}
		}
		var round *open
		err := s.Read(t.Context(), start, func(mode directory.Mode) error {
			if m.open != nil {
				require.Equal(t, m.open.mode, mode, "a round goes on as it began")
				round = m.open.clone()
				return nil
			}
			round = &open{mode: mode, seen: map[directory.ObjectID]bool{}, seenEdges: map[directory.Edge]bool{}, removed: map[directory.ObjectID]bool{}, removedEdges: map[directory.Edge]bool{}}
			return nil
		}, func(p directory.Page) error {
			m.apply(round, p)
			if p.Cursor != nil && !p.Complete {
				round.cursor = p.Cursor
				m.open = round.clone()
			}
			if !p.Complete && between != nil && between() {
				return errCrash
			}
			return nil
		})
		if !errors.Is(err, directory.ErrCursorExpired) || m.open == nil && m.cursor == nil {
			return err
		}
		if m.open == nil {
			m.cursor = nil
		}
		m.open = nil
	}
}

func (m *mirror) apply(r *open, p directory.Page) {
	for _, u := range p.Upserts {
		if u.Kind == directory.KindOther {
			continue
		}
		if m.objects[u.ID] == nil {
			m.objects[u.ID] = map[string][]string{}
		}
		maps.Copy(m.objects[u.ID], u.Attributes)
		r.seen[u.ID] = true
		if p.Complete {
			delete(r.removed, u.ID)
		}
	}
	for _, id := range p.Removed {
		r.removed[id] = true
	}
	for _, l := range p.Members {
		if l.Whole {
			for e := range m.edges {
				if e.Group == l.Group && e.Relation == l.Relation {
					r.removedEdges[e] = true
				}
			}
		}
		for _, far := range l.Add {
			e := directory.Edge{Group: l.Group, Relation: l.Relation, Far: far}
			m.edges[e], r.seenEdges[e] = true, true
			if l.Whole {
				delete(r.removedEdges, e)
			}
		}
		for _, far := range l.Remove {
			r.removedEdges[directory.Edge{Group: l.Group, Relation: l.Relation, Far: far}] = true
		}
	}
	if !p.Complete {
		return
	}
	if r.mode == directory.Full {
		maps.DeleteFunc(m.objects, func(id directory.ObjectID, _ map[string][]string) bool { return !r.seen[id] })
		maps.DeleteFunc(m.edges, func(e directory.Edge, _ bool) bool { return !r.seenEdges[e] })
	}
	for e := range r.removedEdges {
		delete(m.edges, e)
	}
	for id := range r.removed {
		delete(m.objects, id)
		maps.DeleteFunc(m.edges, func(e directory.Edge, _ bool) bool { return e.Group == id || e.Far == directory.ByID(id) })
		for _, a := range m.objects { // Rule SRC-6
			if slices.Equal(a[directory.AttrManager], []string{string(directory.ByID(id))}) {
				a[directory.AttrManager] = nil
			}
		}
	}
	m.cursor, m.open = p.Cursor, nil
}

// dump is what the mirror holds, line by line.
func (m *mirror) dump() string {
	var lines []string
	for id, a := range m.objects {
		for name, values := range a {
			if compared[name] && len(values) > 0 {
				lines = append(lines, fmt.Sprint(id, " ", name, " ", values))
			}
		}
		lines = append(lines, string(id))
	}
	for e := range m.edges {
		lines = append(lines, fmt.Sprint(e.Group, " ", e.Relation, " ", e.Far))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var compared = map[string]bool{"displayName": true, "department": true, "userType": true, directory.AttrUserName: true, directory.AttrEnabled: true, directory.AttrManager: true}

// truth is what the server holds, line by line.
func truth(server *graphtest.Server) string {
	var lines []string
	objects, edges := server.Holds()
	for id, properties := range objects {
		for name, value := range properties {
			name = map[string]string{"userPrincipalName": directory.AttrUserName, "accountEnabled": directory.AttrEnabled}[name] + map[bool]string{true: name}[name != "userPrincipalName" && name != "accountEnabled"]
			if compared[name] && value != nil {
				lines = append(lines, fmt.Sprint(id, " ", name, " [", value, "]"))
			}
		}
		lines = append(lines, id)
	}
	for e := range edges {
		switch e.Relation {
		case "manager":
			lines = append(lines, fmt.Sprint(e.From, " ", directory.AttrManager, " [id:", e.To, "]"))
		default:
			lines = append(lines, fmt.Sprint(e.From, " ", strings.TrimSuffix(e.Relation, "s"), " id:", e.To))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func groupID(n int) string { return fmt.Sprintf("group-%02d", n) }

// tiny is a company small enough for many histories.
func tiny() *company.Company {
	c := &company.Company{}
	for n := range 12 {
		c.People = append(c.People, company.Person{ID: fmt.Sprintf("u%02d", n), UID: fmt.Sprint("user", n), Name: fmt.Sprint("User ", n), Mail: fmt.Sprintf("user%d@contoso.example", n), Enabled: true, Home: company.Entra})
	}
	for n := range 4 {
		g := company.Group{ID: groupID(n), Name: fmt.Sprint("Group ", n), Home: company.Entra}
		for k := range 12 {
			if k%(n+1) == 0 {
				g.Members = append(g.Members, fmt.Sprintf("u%02d", k))
			}
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

// edit makes one random change.
func edit(t *rapid.T, server *graphtest.Server) {
	objects, _ := server.Holds()
	live := func(prefix string) []string {
		return slices.Sorted(func(yield func(string) bool) {
			for id := range objects {
				if strings.HasPrefix(id, prefix) && !yield(id) {
					return
				}
			}
		})
	}
	people, groups := live("u"), live("g")
	if len(people) < 3 || len(groups) < 2 {
		for _, c := range []string{"u00", "u01", "u02", groupID(0), groupID(1)} {
			server.Restore(c)
		}
		return
	}
	person := rapid.SampledFrom(people).Draw(t, "person")
	other := rapid.SampledFrom(people).Draw(t, "other")
	group := rapid.SampledFrom(groups).Draw(t, "group")
	switch rapid.IntRange(0, 11).Draw(t, "edit") {
	case 0:
		server.SetAttribute(person, "displayName", rapid.SampledFrom([]any{"A", "B", "C"}).Draw(t, "name"))
	case 1:
		server.SetAttribute(person, "accountEnabled", rapid.Bool().Draw(t, "enabled"))
	case 2:
		server.SetAttribute(person, "department", rapid.SampledFrom([]any{"x", "y", nil}).Draw(t, "department"))
	case 3:
		server.Remove(person)
	case 4:
		server.Restore(fmt.Sprintf("u%02d", rapid.IntRange(0, 11).Draw(t, "restored")))
	case 5, 6:
		server.AddMember(group, person)
	case 7, 8:
		server.RemoveMember(group, person)
	case 9:
		server.AddOwner(group, person)
		server.RemoveOwner(group, other)
	case 10:
		if person != other {
			server.SetManager(person, other)
		}
	case 11:
		switch rapid.IntRange(0, 4).Draw(t, "rare") {
		case 0:
			server.EmptyGroup(group)
		case 1:
			server.Remove(group)
		case 2:
			server.Restore(groupID(rapid.IntRange(0, 3).Draw(t, "restored group")))
		case 3:
			id := fmt.Sprint("u-", rapid.Uint64().Draw(t, "new"))
			if objects[id] == nil {
				server.AddUser(id, map[string]any{"displayName": "New", "accountEnabled": true})
			}
		case 4:
			server.AddMember(group, rapid.SampledFrom(groups).Draw(t, "nested"))
		}
	}
}

func TestRule_SRC_3_any_history_with_any_faults_ends_as_the_source_is(t *testing.T) {
	secret := clientSecret(t, graphtest.ClientSecret)
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "graph")
		require.NoError(r, err)
		defer os.RemoveAll(dir)
		server, err := graphtest.Start(dir, graphtest.Options{PageSize: 3, EdgesPerEntry: 2})
		require.NoError(r, err)
		defer server.Close()
		server.Load(tiny())
		reader, err := New(Config{
			TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: secret, GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
		})
		require.NoError(r, err)
		reader.pause = time.Millisecond
		faults := []func() graphtest.Fault{
			func() graphtest.Fault { return graphtest.Throttle(0) }, graphtest.ThrottleSilently, graphtest.GatewayTimeout, graphtest.Gone, graphtest.Expire,
			graphtest.DeadLink, graphtest.Unauthorized, graphtest.Cut, graphtest.Truncate, graphtest.EmptyBody, graphtest.NoLink, graphtest.EmptyPage,
			graphtest.PageTwice, graphtest.Replay, graphtest.LoseRemovals, graphtest.Circle,
			func() graphtest.Fault { return graphtest.Shuffle(rapid.Uint64().Draw(r, "order")) },
			func() graphtest.Fault { return graphtest.Stale(rapid.Int64Range(1, 5).Draw(r, "stale")) },
			func() graphtest.Fault { return graphtest.Contradict(rapid.Uint64().Draw(r, "contradiction")) },
			func() graphtest.Fault { return graphtest.ForeignLink("https://127.0.0.1:9") },
		}
		m := newMirror()
		for range rapid.IntRange(1, 6).Draw(r, "rounds") {
			for range rapid.IntRange(0, 4).Draw(r, "edits") {
				edit(r, server)
			}
			for range rapid.IntRange(0, 2).Draw(r, "faults") {
				server.Arm(rapid.SampledFrom(faults).Draw(r, "fault")(), 1)
			}
			err := m.read(t, reader, func() bool {
				if rapid.IntRange(0, 3).Draw(r, "between pages") == 0 {
					edit(r, server)
				}
				return rapid.IntRange(0, 9).Draw(r, "crash") == 0
			})
			if err != nil && !errors.Is(err, errCrash) {
				require.True(r, errors.Is(err, directory.ErrIncomplete) || errors.Is(err, directory.ErrAuth), "%v", err)
			}
		}
		server.Disarm()
		// A round that a fault made stale is made up for by the next.
		for range 2 {
			require.NoError(r, m.read(t, reader, nil))
		}
		require.Equal(r, truth(server), m.dump())
		var c cursor
		require.NoError(r, json.Unmarshal(m.cursor, &c))
		require.Empty(r, c.Disputed)
	})
}
