package histories

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// server is a directory that a history changes. People and groups have names that
// stay; a person's user name may change.
type server interface {
	person(name string)
	group(name string, members ...string)
	join(group, person string)
	leave(group, person string)
	rename(person string)
	remove(person string)
	removeGroup(group string)
	// reader reads it as the history does, direct without any faults.
	reader() (reader, direct directory.Reader)
	// comesBack tells whether a membership that ended may begin again: not where an
	// answer as of earlier could be taken for what is so.
	comesBack() bool
	// spoil lets something go wrong until mend.
	spoil(r *rand.Rand) (what string)
	mend()
}

// edge is a membership by names.
type edge struct{ group, person string }

// world is what a history knows to be so.
type world struct {
	server
	r       *rand.Rand
	made    int
	people  []string
	groups  []string
	members map[edge]bool // false: was; see comesBack
	touched map[edge]bool // in this step
}

func (w *world) name(kind string) string { w.made++; return fmt.Sprint(kind, w.made) }

func (w *world) one(of []string) string { return of[w.r.IntN(len(of))] }

func (w *world) end(e edge) { w.members[e], w.touched[e] = false, true }

// edit makes a change.
func (w *world) edit() {
	switch n := w.r.IntN(12); {
	case n < 2 || len(w.people) < 3:
		p := w.name("p")
		w.server.person(p)
		w.people = append(w.people, p)
	case n == 2 || len(w.groups) < 2:
		g, p := w.name("g"), w.one(w.people)
		w.server.group(g, p)
		w.groups = append(w.groups, g)
		w.members[edge{g, p}], w.touched[edge{g, p}] = true, true
	case n == 3:
		p := w.one(w.people)
		w.server.remove(p)
		w.people = slices.DeleteFunc(w.people, func(o string) bool { return o == p })
		for e := range w.members {
			if e.person == p {
				w.end(e)
			}
		}
	case n == 4 && len(w.groups) > 2:
		g := w.one(w.groups)
		w.server.removeGroup(g)
		w.groups = slices.DeleteFunc(w.groups, func(o string) bool { return o == g })
		for e := range w.members {
			if e.group == g {
				w.end(e)
			}
		}
	case n == 5:
		w.server.rename(w.one(w.people))
	case n == 6:
		for _, e := range slices.SortedFunc(maps.Keys(w.members), func(a, b edge) int { return strings.Compare(a.group+a.person, b.group+b.person) }) {
			if w.members[e] && w.r.IntN(3) == 0 {
				w.server.leave(e.group, e.person)
				w.end(e)
				break
			}
		}
	default:
		e := edge{w.one(w.groups), w.one(w.people)}
		if is, was := w.members[e]; !was || !is && w.server.comesBack() {
			w.server.join(e.group, e.person)
			w.members[e], w.touched[e] = true, true
		}
	}
}

// sums are what all histories of a run came to.
type sums struct{ histories, rounds, failed, kills, faults, repeated atomic.Int64 }

// history changes a directory at random, reads it with faults and kills in
// between, and checks after each round that nobody lost a membership that the
// directory has had all the time (Rule REL-4), after each kill that at most a page
// was stored again (Rule REL-3), and at the end that mirror and memberships are
// what an undisturbed read of everything comes to, to the byte (Rule SRC-3).
func history(t *testing.T, seed uint64, s server, total *sums) {
	r := rand.New(rand.NewPCG(seed, 389))
	w := &world{server: s, r: r, members: map[edge]bool{}, touched: map[edge]bool{}}
	for range 4 + r.IntN(12) {
		w.edit()
	}
	reader, direct := s.reader()
	o := open(t, t.TempDir(), rulesFile+wide, reader)
	defer o.close()
	require.NoError(t, o.read())
	before := o.memberships()
	var told []string
	for step := range 1 + r.IntN(6) {
		clear(w.touched)
		for range r.IntN(5) {
			w.edit()
		}
		if r.IntN(10) < 7 {
			told = append(told, fmt.Sprint(step, ": ", s.spoil(r)))
			total.faults.Add(1)
		}
		if r.IntN(10) < 3 {
			o.store.fuse, o.store.after = 1+r.IntN(3), r.IntN(2) == 0
			told = append(told, fmt.Sprintf("%d: killed at write %d, after it: %v", step, o.store.fuse, o.store.after))
		}
		err := o.read()
		total.rounds.Add(1)
		require.NotErrorIs(t, err, dirsync.ErrHeld, "%q", told)
		if err != nil {
			total.failed.Add(1)
		}
		s.mend()
		check := func() {
			now := o.memberships()
			for e := range before {
				if w.members[e] && !w.touched[e] {
					require.Contains(t, now, e, "wrongly removed; %q, and then: %v", told, err)
				}
			}
			before = now
		}
		check()
		if o.store.fuse = 0; o.store.dead {
			require.ErrorIs(t, err, errKilled)
			total.kills.Add(1)
			o.store.dead, o.store.repeated = false, 0
			o.start()
			err = o.read()
			total.rounds.Add(1)
			check()
			require.LessOrEqual(t, o.store.repeated, o.store.page, "%q", told)
			total.repeated.Add(int64(o.store.repeated))
		}
	}
	// What a round as of earlier kept back comes with the next.
	for range 3 {
		require.NoError(t, o.read(), "%q", told)
	}
	undisturbed := open(t, t.TempDir(), rulesFile+wide, direct)
	defer undisturbed.close()
	require.NoError(t, undisturbed.read())
	require.Equal(t, undisturbed.text(), o.text(), "%q", told)
	want := map[edge]bool{}
	for e, is := range w.members {
		if is {
			want[e] = true
		}
	}
	require.Equal(t, want, o.memberships(), "%q", told)
	total.histories.Add(1)
}

// memberships are those that count, by names.
func (o *office) memberships() map[edge]bool {
	out := map[edge]bool{}
	require.NoError(o.t, o.tenant.Read(func(v tenant.View) error {
		s, err := v.State("crm")
		if err != nil {
			return nil // nothing was ever read
		}
		for _, m := range s.Memberships {
			out[edge{s.Teams[m.Team].Name, s.Users[m.User].Name}] = true
		}
		return nil
	}))
	return out
}

// graphServer is a tenant of its own.
type graphServer struct {
	t       testing.TB
	graph   *graphtest.Server
	renames int
	recent  bool // it never answers as of earlier
}

func newGraph(t testing.TB, r *rand.Rand) *graphServer {
	g, err := graphtest.Start(t.TempDir(), graphtest.Options{PageSize: 2 + r.IntN(6), EdgesPerEntry: 1 + r.IntN(4)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return &graphServer{t: t, graph: g, recent: r.IntN(3) == 0}
}

func (g *graphServer) person(name string) {
	g.graph.AddUser(name, map[string]any{"displayName": name, "userPrincipalName": name + "@contoso.example", "accountEnabled": true, "userType": "Member"})
}

func (g *graphServer) group(name string, members ...string) {
	g.graph.AddGroup(name, map[string]any{"displayName": name, "securityEnabled": true, "groupTypes": []string{}})
	for _, m := range members {
		g.join(name, m)
	}
}
func (g *graphServer) join(group, person string)  { g.graph.AddMember(group, person) }
func (g *graphServer) leave(group, person string) { g.graph.RemoveMember(group, person) }
func (g *graphServer) rename(person string) {
	g.renames++
	g.graph.SetAttribute(person, "userPrincipalName", fmt.Sprintf("%s-%d@contoso.example", person, g.renames))
}
func (g *graphServer) remove(person string)     { g.graph.Remove(person) }
func (g *graphServer) removeGroup(group string) { g.graph.Remove(group) }
func (g *graphServer) reader() (reader, direct directory.Reader) {
	return graph(g.t, g.graph, graphtest.ClientSecret), graph(g.t, g.graph, graphtest.ClientSecret)
}

func (g *graphServer) comesBack() bool { return g.recent }

func (g *graphServer) spoil(r *rand.Rand) string {
	faults := []graphtest.Fault{
		graphtest.EmptyPage(), graphtest.PageTwice(), graphtest.Gone(), graphtest.Expire(), graphtest.DeadLink(), graphtest.NoLink(),
		graphtest.Unauthorized(), graphtest.Challenge(), graphtest.ForeignLink("https://elsewhere.example"), graphtest.Circle(),
		graphtest.Throttle(0), graphtest.Answer(200, "{}"), graphtest.Throttle(time.Hour), graphtest.Unavailable(0), graphtest.Unavailable(time.Hour),
	}
	if !g.recent {
		faults = append(faults,
			graphtest.Shuffle(r.Uint64()), graphtest.Replay(), graphtest.Stale(1+r.Int64N(8)), graphtest.Contradict(r.Uint64()), graphtest.LoseRemovals())
	}
	if r.IntN(50) == 0 { // what the SDK is patient with costs seconds
		faults = []graphtest.Fault{graphtest.Cut(), graphtest.Truncate(), graphtest.EmptyBody(), graphtest.GatewayTimeout()}
	}
	f := faults[r.IntN(len(faults))]
	g.graph.Arm(f, 1+r.IntN(3))
	return f.String()
}
func (g *graphServer) mend() { g.graph.Disarm() }

// ldapServer is a unit of its own in a directory, behind a proxy of its own.
type ldapServer struct {
	t           testing.TB
	conn        func() *goldap.Conn
	proxy       *ldaptest.Proxy
	people      string // DNs
	groups      string
	naming      string // uid or CN
	account     string // what accounts begin with, which the whole domain has once
	personClass string
	groupClass  string
	rdn         map[string]string // by name
	renames     int
	restart     func()
	make        func(url string) directory.Reader
	url         string
	moves       bool // the server keeps memberships when somebody gets another name
}

func (l *ldapServer) dn(person string) string { return l.rdn[person] + "," + l.people }

func (l *ldapServer) groupDN(group string) string { return "cn=" + group + "," + l.groups }

func (l *ldapServer) add(dn, class string, attributes ...string) {
	request := goldap.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{class})
	for i := 0; i < len(attributes); i += 2 {
		request.Attribute(attributes[i], []string{attributes[i+1]})
	}
	require.NoError(l.t, l.conn().Add(request))
}

func (l *ldapServer) person(name string) {
	l.rdn[name] = l.naming + "=" + name
	if l.naming == "uid" {
		l.add(l.dn(name), l.personClass, "cn", name, "sn", name)
	} else {
		l.add(l.dn(name), l.personClass, "sAMAccountName", l.account+name, "userPrincipalName", l.account+name+"@corp.example", "userAccountControl", "544", "displayName", name)
	}
}

func (l *ldapServer) group(name string, members ...string) {
	var attributes []string
	for _, m := range members {
		attributes = append(attributes, "member", l.dn(m))
	}
	if l.naming == "CN" {
		attributes = append(attributes, "sAMAccountName", l.account+name)
	}
	l.add(l.groupDN(name), l.groupClass, attributes...)
}

func (l *ldapServer) modify(group string, edit func(*goldap.ModifyRequest)) {
	request := goldap.NewModifyRequest(l.groupDN(group), nil)
	edit(request)
	require.NoError(l.t, l.conn().Modify(request))
}

func (l *ldapServer) join(group, person string) {
	l.modify(group, func(m *goldap.ModifyRequest) { m.Add("member", []string{l.dn(person)}) })
}

// nobody is the member of groups that are empty, which LDAP does not allow.
const nobody = "cn=nobody"

func (l *ldapServer) leave(group, person string) {
	l.modify(group, func(m *goldap.ModifyRequest) {
		if l.naming == "uid" {
			m.Add("member", []string{fmt.Sprintf("%s%d", nobody, l.renames)})
			l.renames++
		}
		m.Delete("member", []string{l.dn(person)})
	})
}

// in lists the groups that name somebody.
func (l *ldapServer) in(dn string) (groups []string) {
	found, err := l.conn().Search(goldap.NewSearchRequest(l.groups, goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false,
		"(member="+goldap.EscapeFilter(dn)+")", []string{"1.1"}, nil))
	require.NoError(l.t, err)
	for _, e := range found.Entries {
		groups = append(groups, e.DN)
	}
	return groups
}

func (l *ldapServer) rename(person string) {
	was := l.dn(person)
	l.renames++
	l.rdn[person] = fmt.Sprintf("%s=%s-%d", l.naming, person, l.renames)
	groups := l.in(was)
	require.NoError(l.t, l.conn().ModifyDN(goldap.NewModifyDNRequest(was, l.rdn[person], true, "")))
	if l.moves {
		return
	}
	for _, g := range groups { // as the overlay refint does
		request := goldap.NewModifyRequest(g, nil)
		request.Add("member", []string{l.dn(person)})
		request.Delete("member", []string{was})
		require.NoError(l.t, l.conn().Modify(request))
	}
}

func (l *ldapServer) remove(person string) {
	require.NoError(l.t, l.conn().Del(goldap.NewDelRequest(l.dn(person), nil)))
}

func (l *ldapServer) removeGroup(group string) {
	require.NoError(l.t, l.conn().Del(goldap.NewDelRequest(l.groupDN(group), nil)))
}

func (l *ldapServer) reader() (reader, direct directory.Reader) {
	return l.make(l.proxy.URL), l.make(l.url)
}

func (l *ldapServer) comesBack() bool { return true }

func (l *ldapServer) spoil(r *rand.Rand) string {
	f := ldaptest.ProxyFault{After: r.IntN(30)}
	what := "duplicate"
	switch n := r.IntN(40); {
	case n < 20:
		f.Cut, what = true, "cut"
	case n == 20: // costs four seconds
		f.Stall, what = true, "stall"
	case n == 22: // as well
		f.HalfOpen, what = true, "half-open"
	case n == 21 && l.restart != nil:
		l.restart()
		return "restart"
	case n >= 23 && n < 27 && l.naming == "CN":
		l.proxy.Rewrite(restored(r))
		return "restored controller"
	case n < 30:
		codes := []uint16{
			goldap.LDAPResultSizeLimitExceeded, goldap.LDAPResultTimeLimitExceeded, goldap.LDAPResultBusy, goldap.LDAPResultReferral, goldap.LDAPResultSuccess,
		}
		f.Duplicate, what = true, "end"
		l.proxy.Rewrite(ending(codes[r.IntN(len(codes))]))
	case n < 35:
		f.Duplicate, what = true, "shuffled, duplicate"
		l.proxy.Rewrite(ldaptest.Shuffle(r.Uint64()))
	default:
		f.Duplicate = true
	}
	l.proxy.Arm(f)
	return fmt.Sprint(what, " after ", f.After)
}

// restored makes a controller's database another one than it was.
func restored(r *rand.Rand) ldaptest.Rewrite {
	another := fmt.Sprintf("%016x", r.Uint64())
	return func(_, answer *ber.Packet) []*ber.Packet {
		return []*ber.Packet{ldaptest.EditEntry(answer, func(attributes []company.Attribute) []company.Attribute {
			for i, a := range attributes {
				if a.Name == "invocationId" {
					attributes[i].Values = []string{another}
				}
			}
			return attributes
		})}
	}
}

func (l *ldapServer) mend() {
	l.proxy.Arm(ldaptest.ProxyFault{})
	l.proxy.Rewrite(nil)
}

// reconnecting is a connection that may write, made anew when the server was
// restarted.
func reconnecting(t testing.TB, url, dn, password string) func() *goldap.Conn {
	var conn *goldap.Conn
	t.Cleanup(func() {
		if conn != nil {
			_ = conn.Close() // the server may have gone before
		}
	})
	return func() *goldap.Conn {
		if conn == nil || conn.IsClosing() {
			var err error
			conn, err = goldap.DialURL(url)
			require.NoError(t, err)
			require.NoError(t, conn.Bind(dn, password))
		}
		return conn
	}
}

func standBefore(t testing.TB, url string) *ldaptest.Proxy {
	proxy, err := ldaptest.StartProxy(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	return proxy
}

// newSlapd is a unit of its own in a slapd; with it, that can be restarted.
func newSlapd(t testing.TB, s *rig.Slapd, seed uint64, alone bool) *ldapServer {
	unit := fmt.Sprintf("ou=h%d,dc=example,dc=com", seed)
	l := &ldapServer{
		t: t, conn: reconnecting(t, s.URL, s.RootDN, s.Password), proxy: standBefore(t, s.URL), people: "ou=people," + unit, groups: "ou=groups," + unit,
		naming: "uid", personClass: "inetOrgPerson", groupClass: "groupOfNames", rdn: map[string]string{}, url: s.URL,
	}
	for _, dn := range []string{unit, l.people, l.groups} {
		l.add(dn, "organizationalUnit")
	}
	l.make = func(url string) directory.Reader {
		source, err := ldap.New(ldap.Config{
			Server: ldap.Server{URL: url, InsecurePlaintextLoopback: true, BindDN: s.BindDN, Password: file(t, s.Password), PageSize: 3, IdleSeconds: 4},
			Users:  ldap.Users{Base: l.people}, Groups: ldap.Groups{Base: l.groups}, Changes: followed[(seed/5+seed/100)%uint64(len(followed))],
		})
		require.NoError(t, err)
		return source
	}
	if alone {
		l.restart = func() { s.Restart(t, nil) }
	}
	return l
}

// newSamba is a pair of units of its own in a domain.
func newSamba(t testing.TB, s *rig.Samba, seed uint64) *ldapServer {
	unit := fmt.Sprintf("OU=h%d,%s", seed, s.Domain)
	l := &ldapServer{
		t: t, conn: reconnecting(t, s.URL, s.AdminDN, s.Password), proxy: standBefore(t, s.URL), people: "OU=people," + unit, groups: "OU=groups," + unit,
		naming: "CN", account: fmt.Sprintf("h%d-", seed), personClass: "user", groupClass: "group", rdn: map[string]string{}, url: s.URL, moves: true,
	}
	for _, dn := range []string{unit, l.people, l.groups} {
		l.add(dn, "organizationalUnit")
	}
	l.make = func(url string) directory.Reader {
		source, err := ldap.NewAD(ldap.ADConfig{
			Server: ldap.Server{URL: url, InsecurePlaintextLoopback: true, BindDN: s.BindDN, Password: file(t, s.Password), PageSize: 3, IdleSeconds: 5},
			Users:  ldap.ADUsers{Base: l.people}, Groups: ldap.ADGroups{Base: l.groups}, Changes: []string{"dirsync", "usn", "none"}[seed%3],
		})
		require.NoError(t, err)
		return source
	}
	return l
}

// TestRule_REL_3_REL_4_SRC_3_histories runs as many as AMBIT_HISTORIES says, 200
// where it is not set: four of five against the server of Graph, most of the rest
// against slapd, one in a hundred against Samba. A history that fails names its seed.
func TestRule_REL_3_REL_4_SRC_3_histories(t *testing.T) {
	n := 200
	if text := os.Getenv("AMBIT_HISTORIES"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err, "AMBIT_HISTORIES")
	}
	var total sums
	started := time.Now()
	slapd := rig.StartLoggingSlapd(t, company.Small().WriteLDIF)
	samba := sync.OnceValue(func() *rig.Samba { return rig.StartSamba(t) })
	t.Run("seed", func(t *testing.T) {
		for seed := range uint64(n) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				switch {
				case seed%100 == 99:
					history(t, seed, newSamba(t, samba(), seed), &total)
				case seed%100 == 94:
					history(t, seed, newSlapd(t, rig.StartLoggingSlapd(t, company.Small().WriteLDIF), seed, true), &total)
				case seed%5 == 4:
					history(t, seed, newSlapd(t, slapd, seed, false), &total)
				default:
					history(t, seed, newGraph(t, rand.New(rand.NewPCG(seed, 1))), &total)
				}
			})
		}
	})
	t.Logf("%d histories, %d rounds of which %d failed, %d faults, %d kills after which %d rows were stored again, in %s",
		total.histories.Load(), total.rounds.Load(), total.failed.Load(), total.faults.Load(), total.kills.Load(), total.repeated.Load(), time.Since(started).Round(time.Second))
	if !t.Failed() {
		t.Log("all end as an undisturbed read does; memberships wrongly removed: 0")
	}
}
