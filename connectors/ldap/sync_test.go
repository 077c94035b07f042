package ldap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// writer changes a real directory.
type writer struct {
	t    testing.TB
	conn *ldap.Conn
}

func write(t testing.TB, s *rig.Slapd) writer {
	conn, err := ldap.DialURL(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the server may have gone before
	require.NoError(t, conn.Bind(s.RootDN, s.Password))
	return writer{t, conn}
}

func (w writer) add(dn, class string, attributes ...string) {
	w.t.Helper()
	request := ldap.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{class})
	for i := 0; i+1 < len(attributes); i += 2 {
		request.Attribute(attributes[i], []string{attributes[i+1]})
	}
	require.NoError(w.t, w.conn.Add(request))
}

func (w writer) set(dn, attribute string, values ...string) {
	w.t.Helper()
	request := ldap.NewModifyRequest(dn, nil)
	request.Replace(attribute, values)
	require.NoError(w.t, w.conn.Modify(request))
}

func (w writer) remove(dn string) {
	w.t.Helper()
	require.NoError(w.t, w.conn.Del(ldap.NewDelRequest(dn, nil)))
}

func (w writer) rename(dn, rdn, parent string) {
	w.t.Helper()
	require.NoError(w.t, w.conn.ModifyDN(ldap.NewModifyDNRequest(dn, rdn, true, parent)))
}

func (w writer) person(uid string) {
	w.t.Helper()
	w.add("uid="+uid+",ou=people,dc=example,dc=com", "inetOrgPerson", "cn", uid, "sn", uid)
}

// text writes what a round says in one form. A manager who is not there is none
// (Rule SRC-6).
func text(r sourcetest.Round) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(r.Objects)) {
		o := r.Objects[id]
		if far, byID := directory.Ref(o.Get(directory.AttrManager)).ID(); byID {
			if _, there := r.Objects[far]; !there {
				o.Attributes = maps.Clone(o.Attributes)
				delete(o.Attributes, directory.AttrManager)
			}
		}
		line, _ := json.Marshal(o)
		b.Write(append(line, '\n'))
	}
	var edges []string
	for e := range r.Edges {
		edges = append(edges, fmt.Sprintf("%s %s %s\n", e.Group, e.Relation, e.Far))
	}
	slices.Sort(edges)
	return b.String() + strings.Join(edges, "")
}

// following is a mirror that a test keeps.
type following struct {
	t      testing.TB
	source *Source
	sourcetest.Round
}

func follow(t testing.TB, c Config) *following {
	f := &following{t: t, source: source(t, c)}
	f.next()
	require.Equal(t, directory.Full, f.Mode)
	return f
}

// next runs a round and returns how many objects it gave.
func (f *following) next() {
	f.t.Helper()
	round, err := sourcetest.Follow(f.t.Context(), f.source, directory.Start{}, f.Round)
	require.NoError(f.t, err)
	f.Round = round
}

// reads tells what a round from here would say by itself.
func (f *following) reads() sourcetest.Round {
	f.t.Helper()
	round, err := sourcetest.Collect(f.t.Context(), f.source, directory.Start{Cursor: f.Cursor})
	require.NoError(f.t, err)
	return round
}

// asRead checks that following the changes came to what reading everything does.
func (f *following) asRead() {
	f.t.Helper()
	c := f.source.config
	c.Changes = everything
	whole, err := sourcetest.Collect(f.t.Context(), source(f.t, c), directory.Start{})
	require.NoError(f.t, err)
	same(f.t, whole, f.Round)
}

// same checks that two rounds say the same, byte by byte, and shows only where
// they differ.
func same(t testing.TB, want, got sourcetest.Round) {
	t.Helper()
	lines := func(r, other sourcetest.Round) []string {
		theirs := map[string]bool{}
		for line := range strings.Lines(text(other)) {
			theirs[line] = true
		}
		return slices.DeleteFunc(slices.Collect(strings.Lines(text(r))), func(line string) bool { return theirs[line] })
	}
	assert.Empty(t, lines(want, got), "missing")
	require.Empty(t, lines(got, want), "too much")
}

func (f *following) id(dn string) directory.ObjectID {
	f.t.Helper()
	for id, o := range f.Objects {
		if o.DN == dn {
			return id
		}
	}
	f.t.Fatalf("nobody is %s", dn)
	return ""
}

const newDN = "uid=new,ou=people,dc=example,dc=com"

func TestRule_LDAP_15_a_round_reads_only_what_has_changed(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w, f := write(t, s), follow(t, reading(t, s))
	f.asRead()
	steps := []struct {
		name string
		do   func()
		says int // objects
	}{
		{"nothing", func() {}, 0},
		{"a new person", func() { w.person("new") }, 1},
		{"an attribute", func() { w.set(newDN, "mail", "new@contoso.example") }, 1},
		{"an account that is locked", func() { w.set(newDN, "pwdAccountLockedTime", "000001010000Z") }, 1},
		{"a group", func() {
			w.add("cn=team,ou=groups,dc=example,dc=com", "groupOfNames", "cn", "team", "member", newDN)
		}, 1},
		{"another member", func() { w.set("cn=team,ou=groups,dc=example,dc=com", "member", employeeDN) }, 1},
		{"Rule LDAP-21: another name", func() { w.rename(newDN, "uid=newer", "") }, 1},
		{"Rule LDAP-21: what leaves the filter is gone", func() {
			w.add("uid=odd,ou=people,dc=example,dc=com", "inetOrgPerson", "cn", "odd", "sn", "odd")
			f.next()
			w.rename("uid=odd,ou=people,dc=example,dc=com", "uid=odd", "dc=example,dc=com")
		}, 0},
		{"a person is gone", func() { w.remove("uid=newer,ou=people,dc=example,dc=com") }, 0},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			f.t, w.t = t, t
			step.do()
			says := f.reads()
			require.Equal(t, directory.Delta, says.Mode)
			require.Len(t, says.Objects, step.says)
			f.next()
			f.asRead()
			require.Equal(t, text(f.Round), text(func() sourcetest.Round { f.next(); return f.Round }()), "and again it says nothing")
		})
	}
}

func TestRule_LDAP_16_a_deletion_while_slapd_runs(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w, f := write(t, s), follow(t, reading(t, s))
	gone := f.id(employeeDN)
	w.remove(employeeDN)
	w.person("new")
	require.Equal(t, directory.Delta, f.reads().Mode)
	f.next()
	require.NotContains(t, f.Objects, gone)
	require.Contains(t, f.Objects, f.id(newDN))
	// Rule LDAP-22: the groups name the one who is gone; nobody has the name.
	f.asRead()
	w.add(employeeDN, "inetOrgPerson", "cn", "another", "sn", "another")
	f.next()
	require.NotEqual(t, gone, f.id(employeeDN), "whoever takes the name has another id")
	f.asRead()
}

func TestRule_LDAP_17_a_deletion_before_slapd_was_restarted(t *testing.T) {
	s := rig.StartSlapd(t, company.Large(2000).WriteLDIF)
	f := follow(t, reading(t, s))
	w := write(t, s)
	w.remove("uid=u000017,ou=people,dc=example,dc=com")
	s.Restart(t, nil)
	var said directory.Page
	objects, present := 0, 0
	require.NoError(t, f.source.Read(t.Context(), directory.Start{Cursor: f.Cursor}, func(m directory.Mode) error {
		require.Equal(t, directory.Delta, m)
		return nil
	}, func(p directory.Page) error {
		said, objects, present = p, objects+len(p.Upserts), present+len(p.Present)
		return nil
	}))
	require.True(t, said.Complete)
	require.Equal(t, []directory.Kind{directory.KindUser, directory.KindGroup}, said.Listed)
	require.Zero(t, objects)
	require.Equal(t, 1999+200, present)
	f.next()
	require.Len(t, f.Objects, 1999+200)
	f.asRead()
}

func TestRule_LDAP_19_cookies_that_are_of_no_use(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	f := follow(t, reading(t, s))
	with := func(cookie string) *following {
		var c cursor
		require.NoError(t, json.Unmarshal(f.Cursor, &c))
		for name := range c.Cookies {
			c.Cookies[name] = []byte(cookie)
		}
		other := *f
		other.Cursor = c.encode()
		return &other
	}
	write(t, s).remove(employeeDN)
	for name, cookie := range map[string]string{
		"from the far past":                 "rid=000,csn=20001124000000.000000Z#000000#000#000000",
		"rubbish":                           "rubbish",
		"of a server that was ahead":        "rid=000,csn=20991124000000.000000Z#000000#000#000000",
		"of several servers (Rule LDAP-20)": "rid=000,csn=20001124000000.000000Z#000000#001#000000;20001124000000.000000Z#000000#002#000000",
	} {
		t.Run(name, func(t *testing.T) {
			f := with(cookie)
			f.t = t
			f.next()
			f.asRead()
			require.NotContains(t, text(f.Round), employeeDN+`","attributes`)
		})
	}
}

func TestRule_LDAP_20_a_server_that_was_restored_from_a_backup(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c := reading(t, s)
	backup := filepath.Join(t.TempDir(), "data.mdb")
	copyTo := func(from, to string) {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, b, 0o600))
	}
	data := filepath.Join(s.Dir, "db", "data.mdb")
	s.Restart(t, func() { copyTo(data, backup) })
	f := follow(t, c)
	write(t, s).person("new")
	f.next()
	require.Contains(t, f.Objects, f.id(newDN))
	s.Restart(t, func() { copyTo(backup, data) })
	f.next()
	require.Equal(t, directory.Full, f.Mode)
	require.NotContains(t, text(f.Round), newDN)
	f.asRead()
}

func TestRule_LDAP_20_the_server_asks_for_a_refresh(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c, proxy := lossy(t, s)
	f := follow(t, c)
	write(t, s).remove(employeeDN)
	proxy.Rewrite(func(request, answer *ber.Packet) []*ber.Packet {
		if answer.Children[1].Tag == ldap.ApplicationSearchResultDone && strings.Contains(string(request.Bytes()), "rid=000") {
			return []*ber.Packet{ldaptest.Done(answer, 4096)}
		}
		return []*ber.Packet{answer}
	})
	f.next()
	require.Equal(t, directory.Full, f.Mode)
	f.asRead()
}

func TestRule_LDAP_14_an_end_without_Sync_Done_is_incomplete(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c, proxy := lossy(t, s)
	c.Changes = contentSync
	searches := 0
	proxy.Rewrite(func(_, answer *ber.Packet) []*ber.Packet {
		if answer.Children[1].Tag == ldap.ApplicationSearchResultDone {
			if searches++; searches > 5 { // the root, two that ask whether it is there, two for containers
				return []*ber.Packet{ldaptest.Done(answer, 0)}
			}
		}
		return []*ber.Packet{answer}
	})
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "Sync Done")
	require.False(t, round.Complete)
	require.NotEmpty(t, round.Objects)
}

func TestRule_LDAP_21_a_unit_that_moves_gives_everybody_in_it_another_name(t *testing.T) {
	s := rig.StartSlapd(t, with(company.Small(), `dn: ou=north,ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: north

dn: uid=inside,ou=north,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: inside
cn: Inside
sn: Inside
`))
	w, f := write(t, s), follow(t, reading(t, s))
	inside := f.id("uid=inside,ou=north,ou=people,dc=example,dc=com")
	w.rename("ou=north,ou=people,dc=example,dc=com", "ou=south", "")
	f.next()
	require.Equal(t, directory.Full, f.Mode, "slapd says nothing of those in it")
	require.Equal(t, inside, f.id("uid=inside,ou=south,ou=people,dc=example,dc=com"))
	f.asRead()
	f.next()
	require.Equal(t, directory.Delta, f.Mode)
	w.rename("ou=south,ou=people,dc=example,dc=com", "ou=south", "dc=example,dc=com")
	f.next()
	require.NotContains(t, f.Objects, inside, "it has left the base")
	f.asRead()
	w.rename("ou=south,dc=example,dc=com", "ou=south", "ou=people,dc=example,dc=com")
	f.next()
	f.asRead()
	w.rename("ou=south,ou=people,dc=example,dc=com", "ou=south", "dc=example,dc=com")
	s.Restart(t, nil)
	f.next()
	require.NotContains(t, f.Objects, inside, "and so it is when the session log is lost")
	f.asRead()
}

func TestRule_LDAP_3_the_method_is_chosen_by_what_the_server_offers(t *testing.T) {
	s := rig.StartPlainSlapd(t, company.Small().WriteLDIF)
	c := reading(t, s)
	facts, err := source(t, c).Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "changes are followed by modifyTimestamp")
	read := source(t, c)
	require.Empty(t, read.Follows())
	_, err = sourcetest.Collect(t.Context(), read, directory.Start{})
	require.NoError(t, err)
	require.Equal(t, methods[timestamps], read.Follows(), "which the log has")
	c.Changes = contentSync
	_, err = source(t, c).Probe(t.Context())
	require.ErrorContains(t, err, "the overlay syncprov", "a weaker one is not taken in silence")
	_, err = sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete)

	c = reading(t, rig.StartSlapd(t, company.Small().WriteLDIF))
	facts, err = source(t, c).Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "content synchronisation (RFC 4533)")
	for _, other := range []string{timestamps, everything} {
		c.Changes = other
		require.Equal(t, directory.Full, follow(t, c).Mode)
	}
}

// stamp changes an attribute at a time that the server's clock would have told.
func (w writer) stamp(dn, attribute, value string, at time.Time) {
	w.t.Helper()
	request := ldap.NewModifyRequest(dn, []ldap.Control{ldap.NewControlString("1.3.6.1.4.1.4203.666.5.12", true, "")}) // OpenLDAP's Relax Rules
	request.Replace(attribute, []string{value})
	request.Replace("modifyTimestamp", []string{at.UTC().Format(generalizedTime)})
	require.NoError(w.t, w.conn.Modify(request))
}

func TestRule_LDAP_25_timestamps_that_a_clock_ahead_has_left(t *testing.T) {
	const somebody = "uid=u000002,ou=people,dc=example,dc=com"
	for name, ahead := range map[string]time.Duration{"a server's that was two hours ahead": 2 * time.Hour, "of years to come": 4 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := rig.StartPlainSlapd(t, company.Large(100).WriteLDIF)
			w := write(t, s)
			w.stamp(somebody, "mail", "ahead@contoso.example", time.Now().Add(ahead))
			f := follow(t, reading(t, s))
			for i, dn := range []string{"uid=u000003,ou=people,dc=example,dc=com", "uid=u000004,ou=people,dc=example,dc=com", somebody} {
				w.stamp("uid=u000005,ou=people,dc=example,dc=com", "mail", fmt.Sprintf("n%d@contoso.example", i), time.Now().Add(ahead))
				f.next()
				require.Equal(t, directory.Delta, f.Mode)
				w.set(dn, "mail", fmt.Sprintf("n%d@contoso.example", i))
				f.next()
				require.Equal(t, directory.Delta, f.Mode)
				f.asRead()
			}
		})
	}
	t.Run("and Ambit's was, too", func(t *testing.T) {
		s := rig.StartPlainSlapd(t, company.Large(100).WriteLDIF)
		w, f := write(t, s), follow(t, reading(t, s))
		f.source.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		w.stamp(somebody, "mail", "ahead@contoso.example", f.source.now())
		f.next()
		require.Equal(t, directory.Delta, f.Mode)
		f.source.now = time.Now
		w.set("uid=u000003,ou=people,dc=example,dc=com", "mail", "third@contoso.example")
		f.next()
		require.Equal(t, directory.Full, f.Mode)
		f.asRead()
		f.next()
		require.Equal(t, directory.Delta, f.Mode)
	})
}

func TestRule_LDAP_25_a_server_that_was_restored_from_a_backup(t *testing.T) {
	s := rig.StartPlainSlapd(t, func(w io.Writer) error {
		var ldif bytes.Buffer
		if err := company.Small().WriteLDIF(&ldif); err != nil {
			return err
		}
		_, err := io.WriteString(w, strings.ReplaceAll(ldif.String(), "\n\n", "\nmodifyTimestamp: 20260101000000Z\n\n"))
		return err
	})
	data, backup := filepath.Join(s.Dir, "db", "data.mdb"), filepath.Join(t.TempDir(), "data.mdb")
	copyTo := func(from, to string) {
		require.NoError(t, exec.CommandContext(t.Context(), "cp", "--sparse=always", from, to).Run())
	}
	s.Restart(t, func() { copyTo(data, backup) })
	f := follow(t, reading(t, s))
	write(t, s).set(employeeDN, "mail", "later@contoso.example")
	f.next()
	require.Equal(t, directory.Delta, f.Mode)
	require.Contains(t, text(f.Round), "later@")
	s.Restart(t, func() { copyTo(backup, data) })
	write(t, s).set("cn="+company.Small().Groups[0].Name+",ou=groups,dc=example,dc=com", "description", "of today")
	f.next()
	require.Equal(t, directory.Full, f.Mode)
	require.NotContains(t, text(f.Round), "later@")
	f.asRead()
	f.next()
	require.Equal(t, directory.Delta, f.Mode)
}

func TestRule_LDAP_25_timestamps_and_a_list_of_ids(t *testing.T) {
	s := rig.StartPlainSlapd(t, with(company.Large(1000), `dn: ou=north,ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: north

dn: uid=inside,ou=north,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: inside
cn: Inside
sn: Inside
modifyTimestamp: 20260101000000Z
`))
	c := reading(t, s)
	c.PageSize = 100
	w, f := write(t, s), follow(t, c)
	f.next()
	require.Equal(t, directory.Delta, f.Mode)
	f.asRead()
	for name, do := range map[string]func(){
		"a new person":     func() { w.person("new") },
		"an attribute":     func() { w.set("uid=u000002,ou=people,dc=example,dc=com", "mail", "other@contoso.example") },
		"a person is gone": func() { w.remove("uid=u000003,ou=people,dc=example,dc=com") },
		"Rule LDAP-21: a unit is renamed and its people are not touched": func() {
			w.rename("ou=north,ou=people,dc=example,dc=com", "ou=south", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.t, w.t = t, t
			do()
			f.next()
			require.Equal(t, directory.Delta, f.Mode)
			f.asRead()
		})
	}
	t.Run("what comes in without having been changed is read in full", func(t *testing.T) {
		f.t, w.t = t, t
		w.rename("ou=south,ou=people,dc=example,dc=com", "ou=south", "dc=example,dc=com")
		f.next()
		f.asRead()
		w.rename("ou=south,dc=example,dc=com", "ou=south", "ou=people,dc=example,dc=com")
		f.next()
		require.Equal(t, directory.Full, f.Mode)
		f.asRead()
	})
	t.Run("a clock that steps back by less than five minutes loses nothing", func(t *testing.T) {
		var c cursor
		require.NoError(t, json.Unmarshal(f.Cursor, &c))
		ahead, err := time.Parse(generalizedTime, c.Newest)
		require.NoError(t, err)
		c.Newest = ahead.Add(4 * time.Minute).Format(generalizedTime)
		f.t, w.t, f.Cursor = t, t, c.encode()
		w.set("uid=u000005,ou=people,dc=example,dc=com", "mail", "fifth@contoso.example")
		f.next()
		require.Equal(t, directory.Delta, f.Mode)
		f.asRead()
	})
}

func TestEverythingIsReadOnceADay(t *testing.T) {
	for name, start := range map[string]func(testing.TB, func(io.Writer) error) *rig.Slapd{"content synchronisation": rig.StartSlapd, "timestamps": rig.StartPlainSlapd} {
		t.Run(name, func(t *testing.T) {
			f := follow(t, reading(t, start(t, company.Small().WriteLDIF)))
			f.next()
			require.Equal(t, directory.Delta, f.Mode)
			f.source.now = func() time.Time { return time.Now().Add(25 * time.Hour) }
			f.next()
			require.Equal(t, directory.Full, f.Mode)
			f.next()
			require.Equal(t, directory.Delta, f.Mode)
		})
	}
}

// lossy reads through a proxy.
func lossy(t testing.TB, s *rig.Slapd) (Config, *ldaptest.Proxy) {
	proxy, err := ldaptest.StartProxy(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	c := reading(t, s)
	c.URL, c.CAFile, c.InsecurePlaintextLoopback, c.IdleSeconds = proxy.URL, "", true, 1
	return c, proxy
}

func TestRule_LDAP_14_a_refresh_that_is_cut_anywhere_takes_nothing_away(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c, proxy := lossy(t, s)
	f := follow(t, c)
	w := write(t, s)
	w.remove(employeeDN)
	w.person("new")
	s.Restart(t, nil) // a present phase, which names what there is
	before := text(f.Round)
	for after := 0; ; after++ {
		proxy.Arm(ldaptest.ProxyFault{After: after, Cut: true})
		round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
		if err == nil {
			require.Greater(t, after, 6)
			break
		}
		require.False(t, round.Complete)
		require.Empty(t, round.Cursor, "a cursor comes with the data that it covers (Rule SRC-2)")
		for id := range f.Objects {
			require.Contains(t, round.Objects, id, "cut after %d messages", after)
		}
	}
	require.Equal(t, before, text(f.Round))
	proxy.Arm(ldaptest.ProxyFault{})
	f.next()
	f.asRead()
}

// TestRule_LDAP_24_a_peer_that_is_gone_without_a_word ends a round by the time in which
// nothing was said, wherever that begins, and the next one by another connection is
// whole again.
func TestRule_LDAP_24_a_peer_that_is_gone_without_a_word(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c, proxy := lossy(t, s)
	c.IdleSeconds = 5
	f := follow(t, c)
	write(t, s).person("new")
	before := text(f.Round)
	for _, after := range []int{0, 1, 4} { // the bind, the server's own description, the refresh
		proxy.Arm(ldaptest.ProxyFault{After: after, HalfOpen: true})
		round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
		require.Error(t, err, "after %d messages", after)
		require.False(t, round.Complete)
	}
	require.Equal(t, before, text(f.Round))
	proxy.Arm(ldaptest.ProxyFault{})
	f.next()
	f.asRead()
}

// TestRule_SRC_3_entries_may_come_in_any_order shuffles what the server says, in a full
// read and in a refresh.
func TestRule_SRC_3_entries_may_come_in_any_order(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	for seed := range uint64(5) {
		c, proxy := lossy(t, s)
		c.IdleSeconds = 60
		proxy.Rewrite(ldaptest.Shuffle(seed))
		f := follow(t, c)
		f.asRead()
		w := write(t, s)
		for i := range 5 {
			w.person(fmt.Sprintf("new-%d-%d", seed, i))
		}
		w.rename(fmt.Sprintf("uid=new-%d-0,ou=people,dc=example,dc=com", seed), fmt.Sprintf("uid=newer-%d", seed), "")
		f.next()
		f.asRead()
	}
}

func TestRule_LDAP_23_a_watch_tells_of_each_change(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c, proxy := lossy(t, s)
	f, w := follow(t, c), write(t, s)
	changed := make(chan struct{}, 100)
	watch := func() (stop func() error) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- f.source.Watch(ctx, directory.Start{Cursor: f.Cursor}, func() { changed <- struct{}{} })
		}()
		return func() error { cancel(); return <-done }
	}
	told := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatalf("not told of %s", what)
		}
	}
	w.person("before")
	stop := watch()
	told("what changed since the round")
	f.next()
	for what, do := range map[string]func(){
		"a new person": func() { w.person("new") },
		"a member":     func() { w.set("cn="+company.Small().Groups[0].Name+",ou=groups,dc=example,dc=com", "description", "x") },
		"a deletion":   func() { w.remove("uid=before,ou=people,dc=example,dc=com") },
	} {
		do()
		told(what)
	}
	f.next()
	f.asRead()
	require.Error(t, stop())

	// Longer than a server may be silent when it is asked for something.
	stop = watch()
	time.Sleep(1500 * time.Millisecond)
	for len(changed) > 0 {
		<-changed
	}
	w.person("late")
	told("a change after a long silence")
	f.next()
	proxy.Hangup()
	require.ErrorIs(t, stop(), directory.ErrIncomplete)

	c.Changes = timestamps
	require.NoError(t, source(t, c).Watch(t.Context(), directory.Start{Cursor: follow(t, c).Cursor}, nil), "there is nothing to watch")
}

// TestHistories runs seeded random histories against slapd, with faults between it
// and the connector, and compares the end with an undisturbed read.
func TestRule_SRC_3_histories_with_faults_end_as_the_undisturbed_read_does(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 15))
			s := rig.StartLoggingSlapd(t, company.Small().WriteLDIF)
			c, proxy := lossy(t, s)
			if seed >= 3 {
				c.Changes = accessLog
			}
			f, w := follow(t, c), write(t, s)
			members := company.Small().Groups[0].Name
			group := "cn=" + members + ",ou=groups,dc=example,dc=com"
			people := []string{employeeDN}
			for step := range 25 {
				for range random.IntN(4) {
					one := random.IntN(len(people))
					switch random.IntN(5) {
					case 0, 1:
						uid := fmt.Sprintf("h%d-%d", step, random.IntN(1_000_000))
						w.person(uid)
						people = append(people, "uid="+uid+",ou=people,dc=example,dc=com")
					case 2:
						if len(people) > 1 {
							w.remove(people[one])
							people = slices.Delete(people, one, one+1)
						}
					case 3:
						w.set(group, "member", people...)
					case 4:
						rdn := fmt.Sprintf("uid=r%d-%d", step, random.IntN(1_000_000))
						w.rename(people[one], rdn, "")
						people[one] = rdn + ",ou=people,dc=example,dc=com"
					}
				}
				if random.IntN(6) == 0 {
					s.Restart(t, nil)
					w = write(t, s)
				}
				fault := ldaptest.ProxyFault{After: 1 + random.IntN(20)}
				switch random.IntN(8) {
				case 0, 1, 2:
					fault.Cut = true
				case 3, 4:
					fault.Duplicate = true
				case 5:
					if step%5 == 0 { // each costs a second
						fault.Stall = true
					}
				}
				proxy.Arm(fault)
				if round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round); err == nil {
					f.Round = round
				} else {
					f.Objects, f.Edges = round.Objects, round.Edges // what was added stays
				}
			}
			proxy.Arm(ldaptest.ProxyFault{})
			f.next()
			f.asRead()
		})
	}
}
