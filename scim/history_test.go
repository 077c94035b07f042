package scim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlstore"
	dirsync "github.com/ambit-iam/ambit/sync"
)

// wish is what a client wants the directory to be: names stand for ids, which the
// server makes.
type wish struct {
	users  map[string]string // name: title
	groups map[string]map[string]bool
}

// client brings a source to what is wished, as provisioning services do: it looks
// for the resource by its name, then makes, changes or deletes it, and does it all
// again when it does not know what became of it.
type client struct {
	t *rapid.T
	p *place
	// rough lets requests break off in the middle, or come twice.
	rough bool
}

// send sends a request. Where it is cut, the client does not know what became of
// it, and sends it once more.
func (c client) send(method, path, body string) (int, string) {
	if c.rough && rapid.IntRange(0, 3).Draw(c.t, "cut") == 0 {
		c.cut(method, path, body)
	}
	status, _, answer := c.p.do(c.t, method, path, body)
	if c.rough && rapid.Bool().Draw(c.t, "repeat") {
		status2, _, answer2 := c.p.do(c.t, method, path, body)
		if method != "POST" && method != "DELETE" {
			require.Equal(c.t, status, status2)
			return status2, answer2
		}
	}
	return status, answer
}

// cut sends a part of a request, perhaps all of it, and hangs up.
func (c client) cut(method, path, body string) {
	conn, err := net.Dial("tcp", c.p.server.Listener.Addr().String())
	require.NoError(c.t, err)
	request := fmt.Sprintf("%s %scorp%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", method, Root, path, token, len(body), body)
	n := rapid.IntRange(len(request)/2, len(request)).Draw(c.t, "bytes")
	_, err = conn.Write([]byte(request[:n]))
	require.NoError(c.t, err)
	require.NoError(c.t, conn.Close())
}

// find looks for a resource by its name.
func (c client) find(t *resourceType, name string) (id string, ok bool) {
	status, body := c.send("GET", "/"+t.endpoint+"?excludedAttributes=members&filter="+url.QueryEscape(fmt.Sprintf("%s eq %q", t.name, name)), "")
	require.Equal(c.t, 200, status, body)
	var list struct {
		Resources []struct{ ID string }
	}
	require.NoError(c.t, json.Unmarshal([]byte(body), &list))
	if len(list.Resources) == 0 {
		return "", false
	}
	require.Len(c.t, list.Resources, 1)
	return list.Resources[0].ID, true
}

// ensure finds a resource, or makes it.
func (c client) ensure(t *resourceType, name string) string {
	for range 5 {
		if id, ok := c.find(t, name); ok {
			return id
		}
		status, body := c.send("POST", "/"+t.endpoint, fmt.Sprintf(`{"schemas":[%q],%q:%q}`, t.schema.ID, t.name, name))
		require.Contains(c.t, []int{201, 409}, status, body)
	}
	require.Fail(c.t, "it is never there")
	return ""
}

const patchOp = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[%s]}`

func (c client) user(name, title string) (id string) {
	id = c.ensure(userType, name)
	var status int
	var body string
	if rapid.Bool().Draw(c.t, "put") {
		status, body = c.send("PUT", "/Users/"+id, fmt.Sprintf(`{"schemas":[%q],"userName":%q,"title":%q}`, userSchema, name, title))
	} else {
		status, body = c.send("PATCH", "/Users/"+id, fmt.Sprintf(patchOp, fmt.Sprintf(`{"op":"Replace","path":"title","value":%q}`, title)))
	}
	require.Equal(c.t, 200, status, body)
	return id
}

// member adds or removes, in one of the forms in which clients do it.
func (c client) member(group, user string, is bool) {
	g, m := c.ensure(groupType, group), c.ensure(userType, user)
	op := fmt.Sprintf(`{"op":"Add","path":"members","value":[{"$ref":null,"value":%q}]}`, m)
	if !is {
		op = rapid.SampledFrom([]string{
			fmt.Sprintf(`{"op":"Remove","path":"members","value":[{"value":%q}]}`, m),
			fmt.Sprintf(`{"op":"remove","path":"members[value eq \"%s\"]"}`, m),
		}).Draw(c.t, "form")
	}
	status, body := c.send("PATCH", "/Groups/"+g, fmt.Sprintf(patchOp, op))
	require.Equal(c.t, 204, status, body)
}

func (c client) delete(t *resourceType, name string) {
	for {
		id, ok := c.find(t, name)
		if !ok {
			return
		}
		status, body := c.send("DELETE", "/"+t.endpoint+"/"+id, "")
		require.Contains(c.t, []int{204, 404}, status, body)
	}
}

// step does one thing that random choice wants.
func (w wish) step(c client) {
	user := rapid.SampledFrom([]string{"ada", "bob", "eve"}).Draw(c.t, "user")
	group := rapid.SampledFrom([]string{"red", "blue"}).Draw(c.t, "group")
	switch what := rapid.IntRange(0, 9).Draw(c.t, "what"); {
	case what < 3:
		title := rapid.StringMatching(`[a-c]`).Draw(c.t, "title")
		c.user(user, title)
		w.users[user] = title
	case what < 7:
		c.member(group, user, what < 6)
		if _, ok := w.users[user]; !ok {
			w.users[user] = ""
		}
		if w.groups[group] == nil {
			w.groups[group] = map[string]bool{}
		}
		w.groups[group][user] = what < 6
	case what == 7:
		c.delete(userType, user)
		delete(w.users, user)
		for _, g := range w.groups {
			delete(g, user)
		}
	case what == 8:
		c.delete(groupType, group)
		delete(w.groups, group)
	default:
		c.ensure(groupType, group)
		if w.groups[group] == nil {
			w.groups[group] = map[string]bool{}
		}
	}
}

func (w wish) String() string {
	var out []string
	for u, title := range w.users {
		out = append(out, "user "+u+" "+title)
	}
	for g, members := range w.groups {
		out = append(out, "group "+g)
		for m, is := range members {
			if is {
				out = append(out, g+" has "+m)
			}
		}
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// mirrored is a mirror in words, with names for ids.
func mirrored(t require.TestingT, m *dirsync.Mirror) string {
	var out []string
	names := map[directory.ObjectID]string{}
	m.Objects("corp", directory.KindUser, func(o directory.Object) bool {
		names[o.ID] = o.Get(directory.AttrUserName)
		out = append(out, "user "+names[o.ID]+" "+o.Get("title"))
		return true
	})
	m.Objects("corp", directory.KindGroup, func(g directory.Object) bool {
		out = append(out, "group "+g.Name())
		m.Members("corp", g.ID, directory.Member, func(id directory.ObjectID) bool {
			out = append(out, g.Name()+" has "+names[id])
			return true
		})
		return true
	})
	require.Zero(t, m.Size("corp").Pending)
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// follow runs a round of the source into a mirror, as the synchronization does.
func follow(t require.TestingT, p *place, m *dirsync.Mirror) {
	ctx := context.Background()
	var round *dirsync.Round
	reader := p.Reader("corp")
	reader.page = 2
	err := reader.Read(ctx, m.Start("corp", []string{"title"}), func(mode directory.Mode) (err error) {
		round, err = m.Begin("corp", mode)
		return err
	}, func(page directory.Page) error {
		return round.Apply(page, p.now())
	})
	require.NoError(t, err)
	require.NoError(t, m.Commit(ctx, "corp", 0))
}

// TestRule_REL_3_histories lets a client's requests be cut in the middle, repeated
// and made again. In the end the source is as is wished, and a mirror that followed
// it is one that was read at once, byte by byte.
func TestRule_REL_3_histories(t *testing.T) {
	p := open(t)
	status, _, _ := p.do(t, "POST", "/Users", fmt.Sprintf(oneUser, "first")) // an empty source says nothing
	require.Equal(t, 201, status)
	status, _, _ = p.do(t, "DELETE", "/Users/id-1", "")
	require.Equal(t, 204, status)
	rapid.Check(t, func(r *rapid.T) {
		w := wish{map[string]string{}, map[string]map[string]bool{}}
		w.again(client{t: r, p: p}) // in place of what the last history left
		db := p.store.(*sqlstore.DB)
		following := dirsync.NewMirror(db)
		require.NoError(r, following.Load(r.Context(), "corp"))
		for range rapid.IntRange(1, 10).Draw(r, "steps") {
			w.step(client{t: r, p: p, rough: true})
			if rapid.Bool().Draw(r, "round") {
				follow(r, p, following)
			}
		}
		// A request that was cut may have had its effect later than one that was sent
		// after it: what is wished is wished again, as in a client's next cycle.
		require.Eventually(r, func() bool { return p.busy.Load() == 0 }, time.Minute, time.Millisecond)
		w.again(client{t: r, p: p})
		follow(r, p, following)
		require.Equal(r, w.String(), mirrored(r, following))
		require.NoError(r, following.Load(r.Context(), "corp"))
		require.Equal(r, w.String(), mirrored(r, following))
		fresh := dirsync.NewMirror(nothing{})
		require.NoError(r, fresh.Load(r.Context(), "corp"))
		follow(r, p, fresh)
		require.Equal(r, w.String(), mirrored(r, fresh))
	})
}

// again is a client's next cycle.
func (w wish) again(c client) {
	ids := map[string]string{}
	for _, u := range []string{"ada", "bob", "eve"} {
		if title, ok := w.users[u]; ok {
			ids[u] = c.user(u, title)
		} else {
			c.delete(userType, u)
		}
	}
	for _, g := range []string{"red", "blue"} {
		members, ok := w.groups[g]
		if !ok {
			c.delete(groupType, g)
			continue
		}
		all := []string{}
		for _, m := range slices.Sorted(maps.Keys(ids)) {
			if members[m] {
				all = append(all, fmt.Sprintf(`{"value":%q}`, ids[m]))
			}
		}
		status, body := c.send("PATCH", "/Groups/"+c.ensure(groupType, g), fmt.Sprintf(patchOp, `{"op":"replace","path":"members","value":[`+strings.Join(all, ",")+`]}`))
		require.Equal(c.t, 204, status, body)
	}
}

// nothing is a store that keeps no mirror.
type nothing struct{}

func (nothing) LoadMirror(context.Context, directory.SourceID, func(store.MirrorRow) error) (store.MirrorStatus, error) {
	return store.MirrorStatus{}, nil
}

func (nothing) CommitMirror(context.Context, store.MirrorPage) error { return nil }
