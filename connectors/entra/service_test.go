package entra

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

func TestRule_GRAPH_1_a_cloud_is_asked_at_its_own_hosts(t *testing.T) {
	for cloud, of := range clouds() {
		t.Run(cloud, func(t *testing.T) {
			server := serve(t, graphtest.Options{Graph: of.graph, Authority: strings.TrimSuffix(of.authority, "/")})
			server.AddUser("ann", person("Ann"))
			s := source(t, server, func(c *Config) { c.Cloud, c.GraphEndpoint, c.Authority = cloud, "", "" })
			hosts := map[string]bool{}
			s.graph.wire.base.Proxy = nil
			s.graph.wire.base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				hosts["https://"+strings.TrimSuffix(address, ":443")] = true
				return new(net.Dialer).DialContext(ctx, network, server.Address)
			}
			round := readFull(t, s)
			require.Len(t, round.Objects, 1)
			_, err := readNext(t, s, round)
			require.NoError(t, err)
			require.Equal(t, map[string]bool{of.graph: true, strings.TrimSuffix(of.authority, "/"): true}, hosts)
		})
	}
}

func TestRule_GRAPH_2_the_identity_of_a_machine(t *testing.T) {
	server := few(t)
	metadata := httptest.NewServer(server.Metadata())
	t.Cleanup(metadata.Close)
	s := source(t, server, func(c *Config) { c.ClientSecret, c.ClientID, c.ManagedIdentity = "", "", true })
	var asked []string
	s.graph.wire.base.Proxy = nil
	s.graph.wire.base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if asked = append(asked, address); address == "169.254.169.254:80" {
			address = metadata.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	require.Len(t, readFull(t, s).Objects, 5)
	require.Contains(t, asked, "169.254.169.254:80")
}

func TestRule_GRAPH_2_a_chain_is_tried_only_where_it_is_asked_for(t *testing.T) {
	server := few(t)
	t.Setenv("AZURE_TENANT_ID", graphtest.Tenant)
	t.Setenv("AZURE_CLIENT_ID", graphtest.ClientID)
	t.Setenv("AZURE_CLIENT_SECRET", graphtest.ClientSecret)
	s := source(t, server, func(c *Config) { c.ClientSecret, c.ClientID, c.DefaultCredential = "", "", true })
	require.Len(t, readFull(t, s).Objects, 5)

	c := config(t, server)
	c.ClientSecret = ""
	_, err := New(c)
	require.ErrorContains(t, err, "want exactly one of them")
	c = config(t, server)
	c.DefaultCredential = true
	_, err = New(c)
	require.ErrorContains(t, err, "want exactly one of them")
	// A secret that is wrong is not made up for by what the machine has.
	s = source(t, server, func(c *Config) { c.ClientSecret = secretFile(t, "wrong") })
	_, err = sourcetest.Collect(t.Context(), s, directory.Start{})
	require.ErrorIs(t, err, directory.ErrAuth)
}

// hiding adds a group that hides its members, of whom ann is one.
func hiding(t *testing.T, id string, server *graphtest.Server) {
	t.Helper()
	server.AddGroup(id, map[string]any{"displayName": id, "groupTypes": []any{"Unified"}, "securityEnabled": false, "mailEnabled": true, "visibility": "HiddenMembership"})
	server.AddMember(id, "ann")
}

func TestRule_GRAPH_3_hidden_members_are_unknown_and_not_none(t *testing.T) {
	server := few(t)
	hiding(t, "secretive", server)
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	require.Contains(t, m.edges, member("secretive", "ann"))
	m.equalsFullRead(t, server)

	told := func(cursor []byte) []directory.Problem {
		t.Helper()
		round, err := sourcetest.Collect(t.Context(), s, directory.Start{Cursor: cursor})
		require.NoError(t, err)
		return round.Problems
	}
	server.Deny(graphtest.MemberReadHidden)
	server.ExpireTokens()
	m.cursor = nil
	require.Equal(t, []directory.Mode{directory.Full}, m.sync(t, s))
	require.Contains(t, m.edges, member("secretive", "ann"), "a full round that shows none takes none away")
	for name, cursor := range map[string][]byte{"in a full round": nil, "in each after it": m.cursor} {
		problems := told(cursor)
		require.Len(t, problems, 1, name)
		require.Equal(t, directory.ObjectID("secretive"), problems[0].Object)
		require.Contains(t, problems[0].Text, "Member.Read.Hidden")
	}
	// Read directly, it shows none either.
	server.SetAttribute("secretive", "displayName", "Secretive")
	server.Arm(graphtest.Contradict(1), 2)
	m.sync(t, s)
	require.Contains(t, m.edges, member("secretive", "ann"))
	server.Disarm()

	// Granting the permission is no change to Graph: everything is read once more.
	server.AddMember("secretive", "bob")
	m.sync(t, s)
	require.NotContains(t, m.edges, member("secretive", "bob"))
	server.Permit(graphtest.MemberReadHidden)
	server.ExpireTokens()
	require.Equal(t, []directory.Mode{directory.Full}, m.sync(t, s))
	require.Contains(t, m.edges, member("secretive", "bob"))
	m.equalsFullRead(t, server)
	require.Equal(t, []directory.Mode{directory.Delta}, m.sync(t, s))
	require.Empty(t, told(m.cursor))

	// With it, none are none.
	server.EmptyGroup("secretive")
	m.cursor = nil
	m.sync(t, s)
	require.Equal(t, map[directory.Edge]bool{member("sales", "ann"): true}, m.edges)
}

func TestRule_GRAPH_3_a_token_that_cannot_be_read_proves_nothing(t *testing.T) {
	server := few(t)
	hiding(t, "one", server)
	hiding(t, "two", server)
	server.EmptyGroup("two")
	read := func() (r *round, out directory.Page) {
		s := source(t, server)
		sel, err := selects(nil)
		require.NoError(t, err)
		r = newRound(t.Context(), s.graph, cursor{Mode: full}, sel, newSaid(), func(directory.Page) error { return nil })
		require.NoError(t, r.follow(r.halves[1]))
		s.graph.credential.roles = nil
		r.noteUnseen(&out)
		return r, out
	}
	r, out := read()
	require.Empty(t, out.Problems, "one group has shown somebody: that the other shows nobody is true")
	require.Equal(t, map[directory.ObjectID]bool{"one": false, "two": false}, r.cursor.Groups.Hidden)

	server.EmptyGroup("one")
	_, out = read()
	require.Len(t, out.Problems, 2, "neither may be empty")

	for _, token := range []string{"opaque", "e30.e30.e30", ""} {
		require.Nil(t, roles(token))
	}
}

func TestRule_GRAPH_16_only_what_has_changed_is_sent(t *testing.T) {
	server := few(t)
	server.SetAttribute("ann", "mail", "ann@contoso.example")
	s := source(t, server)
	first := readFull(t, s)
	for _, r := range server.Requests() {
		require.Empty(t, r.Header.Get("Prefer"), "the first round asks for everything")
	}
	server.SetAttribute("ann", "mail", "other@contoso.example")
	round, err := readNext(t, s, first)
	require.NoError(t, err)
	require.Equal(t, map[directory.ObjectID]directory.Object{
		"ann": {ID: "ann", Kind: directory.KindUser, Attributes: map[string][]string{directory.AttrMail: {"other@contoso.example"}}},
	}, round.Objects)

	// What was cleared is told apart from what may not be seen, by reading it.
	server.SetAttribute("ann", "mail", nil)
	m := newMirror()
	m.sync(t, s)
	server.SetAttribute("ann", "displayName", nil)
	server.Remove("bob")
	m.sync(t, s)
	server.Restore("bob") // comes whole
	m.sync(t, s)
	require.Equal(t, []string{"Bob"}, m.objects["bob"].Attributes[directory.AttrDisplayName])
	m.equalsFullRead(t, server)
}

func TestRule_GRAPH_18_a_source_that_is_silent_for_long_says_so(t *testing.T) {
	server := few(t)
	s, _ := patient(t, server)
	now := time.Now()
	s.graph.now = func() time.Time { return now }
	round := readFull(t, s)
	server.Arm(graphtest.Unavailable(time.Hour), -1)
	for days, warns := range map[int]bool{4: false, 5: true, 6: true} {
		now = now.Truncate(time.Second)
		s.graph.now = func() time.Time { return now.Add(time.Duration(days)*24*time.Hour + time.Minute) }
		_, err := readNext(t, s, round)
		require.ErrorIs(t, err, directory.ErrIncomplete)
		if !warns {
			require.NotContains(t, err.Error(), "days")
			continue
		}
		require.ErrorContains(t, err, fmt.Sprintf("to its end for %d days: after 7 Graph forgets", days))
	}
}

func TestRule_GRAPH_23_what_was_read_is_counted_against_the_services_own_count(t *testing.T) {
	server := serve(t, graphtest.Options{PageSize: 20})
	server.Load(company.Small())
	s := source(t, server)
	said := func() string {
		t.Helper()
		var all []string
		for _, p := range readFull(t, s).Problems {
			require.Empty(t, p.Object)
			all = append(all, p.Text)
		}
		return strings.Join(all, "\n")
	}
	require.Empty(t, said())
	server.Arm(graphtest.Miscount(countSlack), 2)
	require.Empty(t, said(), "an index lags behind")
	server.Arm(graphtest.Miscount(-40), 1)
	require.Regexp(t, `Graph counts \d+ users and gave \d+`, said())
	server.Arm(graphtest.Miscount(40).On("groups/$count"), 1)
	require.Regexp(t, `Graph counts \d+ groups and gave \d+`, said())
	// It is a check, and no reason to do without what was read.
	server.Arm(graphtest.Answer(http.StatusBadRequest, `{"error":{"code":"Request_BadRequest"}}`).At(graphtest.Reads).On("users/$count"), 1)
	require.Contains(t, said(), "could not be compared")
	// A round of two parts does not know how much the first has read.
	m, other := newMirror(), 0
	var mode *directory.Mode
	require.ErrorIs(t, m.read(s, &mode, func() error {
		if other++; other == 3 {
			return errCrash
		}
		return nil
	}), errCrash)
	asked := len(server.Requests())
	m.sync(t, source(t, server))
	counts, _ := requestsTo(server.Requests()[asked:], "/v1.0/users/$count")
	require.Zero(t, counts)
}

func TestRule_GRAPH_23_the_mirror_is_counted_between_full_reads(t *testing.T) {
	server := serve(t, graphtest.Options{})
	server.Load(company.Small())
	s := source(t, server)
	now := time.Now()
	s.graph.now = func() time.Time { return now }
	before := readFull(t, s)
	mirrored := map[directory.Kind]int{}
	for _, o := range before.Objects {
		mirrored[o.Kind]++
	}
	counts := func() int {
		users, _ := requestsTo(server.Requests(), "/v1.0/users/$count")
		groups, _ := requestsTo(server.Requests(), "/v1.0/groups/$count")
		return users + groups
	}
	// next reads what changed after some time, and says what is shown and how often
	// was counted.
	next := func(later time.Duration) (shown string, asked int) {
		t.Helper()
		now = now.Add(later)
		was := counts()
		round, err := sourcetest.Collect(t.Context(), s, directory.Start{Cursor: before.Cursor, Mirrored: mirrored})
		require.NoError(t, err)
		require.True(t, round.Complete)
		before = round
		for _, p := range round.Problems {
			require.Empty(t, p.Object)
			shown += p.Text
		}
		return shown, counts() - was
	}
	shown, asked := next(time.Minute)
	require.Empty(t, shown)
	require.Zero(t, asked, "the full read has just been compared")
	shown, asked = next(countEvery)
	require.Empty(t, shown)
	require.Equal(t, 2, asked)
	_, asked = next(countEvery - time.Second)
	require.Zero(t, asked)

	mirrored[directory.KindUser] -= 40
	shown, asked = next(time.Second)
	require.Empty(t, shown, "an index may lag behind")
	require.Equal(t, 2, asked)
	shown, _ = next(countEvery)
	require.Regexp(t, `Graph counts \d+ users and \d+ are mirrored`, shown)
	again, asked := next(time.Minute)
	require.Equal(t, shown, again, "it is shown until the next comparison")
	require.Zero(t, asked)
	mirrored[directory.KindUser] += 40
	shown, _ = next(countEvery)
	require.Empty(t, shown)

	// A change does not wait for it, but for once a day.
	server.AddUser("new", person("new"))
	_, asked = next(countEvery)
	require.Zero(t, asked)
	server.AddUser("newer", person("newer"))
	mirrored[directory.KindUser]++ // of them the first
	shown, asked = next(waitQuiet)
	require.Empty(t, shown)
	require.Equal(t, 2, asked)
}

func TestAnswersThatAreCompressed(t *testing.T) {
	server := few(t)
	want := readFull(t, source(t, server))
	server.Arm(graphtest.Gzip(), -1)
	s, _ := patient(t, server)
	got := readFull(t, s)
	require.Equal(t, want.Objects, got.Objects)
	server.Disarm()
	server.Arm(graphtest.Flood(maxBody), -1)
	_, err := sourcetest.Collect(t.Context(), s, directory.Start{})
	require.ErrorContains(t, err, fmt.Sprintf("longer than %d bytes", maxBody), "however small it is on the wire")
	require.ErrorIs(t, err, directory.ErrIncomplete)
}

// What the manual says of errors is about errors that there are.
func TestTheManualsErrorsAreThoseOfTheCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/sources/entra.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "## What the errors mean")
	require.True(t, ok)
	var code strings.Builder
	for _, pattern := range []string{"*.go", "graphtest/*.go", "../../directory/*.go", "../../sync/run.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			code.Write(b)
		}
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(rows), 12)
	for _, row := range rows {
		require.Contains(t, code.String(), row[1])
	}
}
