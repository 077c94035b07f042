package ldap

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func logging(t testing.TB, s *rig.Slapd) Config {
	c := reading(t, s)
	c.Changes = accessLog
	return c
}

// position is up to where the log was read.
func (f *following) position() position {
	f.t.Helper()
	var c cursor
	require.NoError(f.t, json.Unmarshal(f.Cursor, &c))
	if c.Log == nil {
		return position{}
	}
	return *c.Log
}

// heard runs a round that comes to what reading everything does, and checks whether
// it listed all ids.
func (f *following) heard(listed bool, what string) {
	f.t.Helper()
	before := f.position()
	f.next()
	require.Equal(f.t, directory.Delta, f.Mode, what)
	f.asRead()
	after := f.position()
	require.Equal(f.t, listed, !before.Listed.Equal(after.Listed) || after.Anchor == "", "%s: whether all ids were listed", what)
}

// anchored follows a server to where its log is used.
func anchored(t testing.TB, c Config, w writer) *following {
	t.Helper()
	f := follow(t, c)
	w.set("uid="+company.Approver+",ou=people,dc=example,dc=com", "description", t.Name())
	f.heard(true, "the first round that hears the log")
	f.heard(false, "the next one")
	return f
}

func TestRule_LDAP_25_the_contract_with_the_access_log(t *testing.T) {
	c := logging(t, rig.StartLoggingSlapd(t, company.Small().WriteLDIF))
	sourcetest.Run(t, harness(c, nil))
}

func TestRule_LDAP_25_the_access_log_in_place_of_the_list_of_ids(t *testing.T) {
	s := rig.StartLoggingSlapd(t, company.Small().WriteLDIF)
	c := logging(t, s)
	c.Users.Filter = "(&(objectClass=inetOrgPerson)(!(employeeType=gone)))"
	c.Groups.Classes = []string{"groupOfNames", "groupOfURLs"}
	w := write(t, s)
	f := follow(t, c)
	f.heard(true, "a log without a record")
	f = anchored(t, c, w)
	group := "cn=" + company.Small().Groups[0].Name + ",ou=groups,dc=example,dc=com"
	const unit, other = "ou=north,ou=people,dc=example,dc=com", "uid=other,ou=people,dc=example,dc=com"
	var id directory.ObjectID
	for _, step := range []struct {
		name   string
		listed bool
		do     func()
		see    func()
	}{
		{"nothing", false, func() {}, nil},
		{"a new person", false, func() { w.person("new") }, func() { id = f.id(newDN) }},
		{"an attribute", false, func() { w.set(newDN, "mail", "new@contoso.example") }, nil},
		{"members", false, func() { w.set(group, "member", newDN) }, func() {
			require.Contains(t, f.Edges, directory.Edge{Group: f.id(group), Far: directory.ByDN(newDN)})
		}},
		{"other members", false, func() { w.set(group, "member", employeeDN) }, nil},
		{"Rule LDAP-21: who leaves the filter is gone", false, func() { w.set(newDN, "employeeType", "gone") }, func() { require.NotContains(t, f.Objects, id) }},
		{"and comes back", false, func() { w.set(newDN, "employeeType") }, func() { require.Contains(t, f.Objects, id) }},
		{"gone, and another in the same place", false, func() { w.remove(newDN); w.person("new") }, func() {
			require.NotContains(t, f.Objects, id)
			id = f.id(newDN)
		}},
		{"here and gone within a round", false, func() { w.person("short"); w.remove("uid=short,ou=people,dc=example,dc=com") }, nil},
		{"another name", true, func() { w.rename(newDN, "uid=other", "") }, func() { require.Equal(t, id, f.id(other)) }},
		{"nothing after it", false, func() {}, nil},
		{"a unit", false, func() { w.add(unit, "organizationalUnit") }, nil},
		{"somebody in it", false, func() { w.add("uid=inside,"+unit, "inetOrgPerson", "cn", "inside", "sn", "inside") }, func() { id = f.id("uid=inside," + unit) }},
		{"Rule LDAP-21: the unit is renamed", true, func() { w.rename(unit, "ou=south", "") }, func() {
			require.Equal(t, id, f.id("uid=inside,ou=south,ou=people,dc=example,dc=com"))
		}},
		{"and leaves the base", true, func() { w.rename("ou=south,ou=people,dc=example,dc=com", "ou=south", "dc=example,dc=com") }, func() {
			require.NotContains(t, f.Objects, id)
		}},
		{"a person moves", true, func() { w.rename(other, "uid=other", "dc=example,dc=com") }, func() { require.NotContains(t, text(f.Round), `"uid=other,`) }},
		{"a group", false, func() { w.add("cn=g,ou=groups,dc=example,dc=com", "groupOfNames", "member", employeeDN) }, func() { id = f.id("cn=g,ou=groups,dc=example,dc=com") }},
		{"and another in its place whose members a search finds", false, func() {
			w.remove("cn=g,ou=groups,dc=example,dc=com")
			w.add("cn=g,ou=groups,dc=example,dc=com", "groupOfURLs", "memberURL", "ldap:///ou=people,dc=example,dc=com??sub?(uid="+company.Approver+")")
		}, func() {
			require.NotContains(t, f.Objects, id)
			id = f.id("cn=g,ou=groups,dc=example,dc=com")
		}},
		{"which is changed", false, func() { w.set("cn=g,ou=groups,dc=example,dc=com", "description", "changed") }, func() { require.Contains(t, f.Objects, id) }},
		{"what is nobody", false, func() { w.add("cn=printer,ou=people,dc=example,dc=com", "device") }, nil},
		{"a person is gone while slapd is restarted", false, func() {
			w.remove(employeeDN)
			s.Restart(t, nil)
			w = write(t, s)
		}, func() { require.NotContains(t, text(f.Round), `"`+employeeDN+`"`) }},
		{"and after that", false, func() { w.remove("uid=" + company.Approver + ",ou=people,dc=example,dc=com") }, nil},
		{"an hour later", true, func() { f.source.now = func() time.Time { return time.Now().Add(listEvery + time.Minute) } }, nil},
		{"a clock that was set back", true, func() { f.source.now = time.Now }, nil},
		{"and goes right", false, func() { w.person("last") }, nil},
	} {
		step.do()
		f.heard(step.listed, step.name)
		require.Empty(t, f.Problems, step.name)
		if step.see != nil {
			step.see()
		}
	}
}

// edit changes what slapd is configured as, and starts it again.
func edit(t testing.TB, s *rig.Slapd, from, to string) {
	t.Helper()
	s.Restart(t, func() {
		path := filepath.Join(s.Dir, "slapd.conf")
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(b), from)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(b), from, to, 1)), 0o600))
	})
}

func TestRule_LDAP_25_an_access_log_that_does_not_tell_all_loses_nothing(t *testing.T) {
	s := rig.StartLoggingSlapd(t, company.Small().WriteLDIF)
	c := logging(t, s)
	for n := range 40 {
		write(t, s).person(fmt.Sprint("p", n))
	}
	f := anchored(t, c, write(t, s))
	next := 0
	// gone removes somebody of whom the log may not tell.
	gone := func() {
		write(t, s).remove(fmt.Sprintf("uid=p%d,ou=people,dc=example,dc=com", next))
		next++
	}
	records := func() (dns []string) {
		found, err := write(t, s).conn.Search(ldap.NewSearchRequest("cn=accesslog", ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil))
		require.NoError(t, err)
		for _, e := range found.Entries {
			dns = append(dns, e.DN)
		}
		return dns
	}
	again := func(t *testing.T) {
		write(t, s).set(employeeDN, "description", t.Name())
		f.next()
		gone()
		f.heard(false, "the log is used again")
	}
	const readable = `access to * by dn.exact="cn=reader,dc=example,dc=com" read by * none
limits dn.exact="cn=reader,dc=example,dc=com" size=unlimited size.prtotal=unlimited time=unlimited
`
	log := "index objectClass,reqStart,reqResult eq\n"

	t.Run("trimmed beyond what was read", func(t *testing.T) {
		f.t = t
		gone()
		for _, dn := range records() {
			write(t, s).remove(dn)
		}
		gone()
		f.heard(true, "")
		require.Empty(t, f.Problems)
		again(t)
	})
	t.Run("trimmed altogether", func(t *testing.T) {
		f.t = t
		gone()
		for _, dn := range records() {
			write(t, s).remove(dn)
		}
		f.heard(true, "")
		f.heard(true, "and while there is nothing to go on from")
		again(t)
	})
	t.Run("begun anew", func(t *testing.T) {
		f.t = t
		gone()
		s.Restart(t, func() {
			require.NoError(t, os.RemoveAll(filepath.Join(s.Dir, "log")))
			require.NoError(t, os.Mkdir(filepath.Join(s.Dir, "log"), 0o700))
		})
		s.AwaitLog(t)
		gone()
		f.heard(true, "")
		again(t)
	})
	t.Run("not to be read any more", func(t *testing.T) {
		f.t = t
		edit(t, s, log+readable, log+"access to * by * none\n")
		for range 2 {
			gone()
			f.heard(true, "")
			require.Len(t, f.Problems, 1)
			require.Contains(t, f.Problems[0].Text, "the log cn=accesslog cannot be used")
			require.Contains(t, f.Problems[0].Text, "the account that Ambit binds as may read all of it")
		}
		_, err := source(t, c).Probe(t.Context())
		require.ErrorContains(t, err, "the log cn=accesslog cannot be used")
		edit(t, s, log+"access to * by * none\n", log+readable)
		again(t)
	})
	t.Run("cut short by a limit (Rule LDAP-5)", func(t *testing.T) {
		f.t = t
		short := strings.ReplaceAll(readable, "unlimited", "2")
		edit(t, s, log+readable, log+short)
		for range 3 {
			gone()
		}
		f.heard(true, "")
		require.Len(t, f.Problems, 1)
		require.Contains(t, f.Problems[0].Text, "Size Limit Exceeded")
		edit(t, s, log+short, log+readable)
		again(t)
	})
	t.Run("written while the clock was ahead", func(t *testing.T) {
		f.t = t
		request := ldap.NewAddRequest("reqStart="+time.Now().Add(time.Hour).UTC().Format(generalizedTime)+",cn=accesslog", nil)
		request.Attribute("objectClass", []string{"auditDelete"})
		request.Attribute("reqType", []string{"delete"})
		request.Attribute("reqSession", []string{"1"})
		request.Attribute("reqResult", []string{"0"})
		request.Attribute("reqDN", []string{employeeDN})
		request.Attribute("reqEntryUUID", []string{company.Small().Person(company.Employee).ID})
		require.NoError(t, write(t, s).conn.Add(request))
		f.heard(false, "who is there although the log says gone stays")
		require.Contains(t, f.Objects, directory.ObjectID(company.Small().Person(company.Employee).ID))
		for range 2 {
			gone()
			f.heard(false, "and what it says from now on, which is older, counts")
		}
	})
	t.Run("of many changes", func(t *testing.T) {
		f.t = t
		few := c
		few.PageSize = 1
		f.source = source(t, few)
		for range hintPages + 1 {
			gone()
		}
		f.heard(true, "")
	})
}

func TestRule_LDAP_25_an_access_log_of_another_kind(t *testing.T) {
	s := rig.StartLoggingSlapd(t, company.Small().WriteLDIF)
	proxy, err := ldaptest.StartProxy(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	c := logging(t, s)
	c.URL, c.CAFile, c.InsecurePlaintextLoopback = proxy.URL, "", true
	w := write(t, s)
	f := anchored(t, c, w)
	facts, err := f.source.Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "changes are followed by modifyTimestamp and the access log")
	require.Contains(t, strings.Join(facts, "\n"), "the log cn=accesslog tells of 1 changes within the last hour")

	proxy.Rewrite(func(_, answer *ber.Packet) []*ber.Packet {
		return []*ber.Packet{ldaptest.EditEntry(answer, func(attributes []company.Attribute) (kept []company.Attribute) {
			for _, a := range attributes {
				if a.Name != "reqEntryUUID" { // which OpenLDAP 2.4 does not have
					kept = append(kept, a)
				}
			}
			return kept
		})}
	})
	w.remove(employeeDN)
	f.heard(true, "a log without ids")
	require.Len(t, f.Problems, 1)
	require.Contains(t, f.Problems[0].Text, "does not show reqStart, reqType and reqEntryUUID")
	require.Contains(t, f.Problems[0].Text, "OpenLDAP 2.5 or later")
	_, err = f.source.Probe(t.Context())
	require.ErrorContains(t, err, "reqEntryUUID")

	proxy.Rewrite(nil)
	c.ChangesLog = "cn=elsewhere"
	_, err = source(t, c).Probe(t.Context())
	require.ErrorContains(t, err, "the log cn=elsewhere cannot be used")
	require.ErrorContains(t, err, "changes_log")
	round, err := sourcetest.Follow(t.Context(), source(t, c), directory.Start{}, f.Round)
	require.NoError(t, err)
	require.Equal(t, directory.Full, round.Mode, "Rule SRC-2: the configuration has changed")

	// A connection that is lost while the log is read is no word of the log's.
	c.ChangesLog = ""
	f = anchored(t, c, write(t, s))
	proxy.Rewrite(func(request, answer *ber.Packet) []*ber.Packet {
		if ldaptest.Asks(request, "cn=accesslog") {
			proxy.Hangup()
		}
		return []*ber.Packet{answer}
	})
	_, err = sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
	require.ErrorIs(t, err, directory.ErrIncomplete)
}

func TestBadLogs(t *testing.T) {
	good := bases
	good.URL, good.BindDN, good.Password, good.Changes = "ldaps://ldap.example.com", "cn=ambit", "env:PASSWORD", accessLog
	require.NoError(t, good.Validate())
	for want, spoil := range map[string]func(*Config){
		`changes_log: "here" is not a DN`:        func(c *Config) { c.ChangesLog = "here" },
		"changes_log: goes with changes":         func(c *Config) { c.Changes, c.ChangesLog = timestamps, "cn=accesslog" },
		"names entries by entryUUID":             func(c *Config) { c.UniqueID = "nsUniqueId" },
		"with referrals everything is read each": func(c *Config) { c.Referrals = []string{"ldaps://other.example.com"} },
	} {
		c := good
		spoil(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}

// retro389 runs 389 with a retro changelog that the account may read.
func retro389(t testing.TB) (*rig.DS389, Config, writer) {
	s := rig.Start389(t, true, company.Small().WriteLDIF)
	w := write389(t, s)
	w.set("cn=changelog", "aci", readsLog)
	c := reading389(t, s)
	c.Changes = retroLog
	return s, c, w
}

const readsLog = `(targetattr = "* || nsUniqueId")(version 3.0; acl "read"; allow (read, search, compare) userdn = "ldap:///cn=reader,dc=example,dc=com";)`

func TestRule_LDAP_25_the_contract_with_the_retro_changelog(t *testing.T) {
	_, c, _ := retro389(t)
	h := harness(c, nil)
	h.Company = as389(company.Small())
	sourcetest.Run(t, h)
}

func TestRule_LDAP_25_the_retro_changelog_in_place_of_the_list_of_ids(t *testing.T) {
	s, c, w := retro389(t)
	f := anchored(t, c, w)
	facts, err := f.source.Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "changes are followed by modifyTimestamp and the retro changelog")
	require.Contains(t, strings.Join(facts, "\n"), "the log cn=changelog tells of 1 changes among the last 101")
	group := "cn=" + company.Small().Groups[0].Name + ",ou=groups,dc=example,dc=com"
	const unit, other = "ou=north,ou=people,dc=example,dc=com", "uid=other,ou=people,dc=example,dc=com"
	var id directory.ObjectID
	for _, step := range []struct {
		name   string
		listed bool
		do     func()
		see    func()
	}{
		{"nothing", false, func() {}, nil},
		{"a new person", false, func() { w.person("new") }, func() { id = f.id(newDN) }},
		{"members", false, func() { w.set(group, "member", newDN) }, nil},
		{"other members", false, func() { w.set(group, "member", employeeDN) }, nil},
		{"gone, and another in the same place", false, func() { w.remove(newDN); w.person("new") }, func() {
			require.NotContains(t, f.Objects, id)
			id = f.id(newDN)
		}},
		{"another name", true, func() { w.rename(newDN, "uid=other", "") }, func() { require.Equal(t, id, f.id(other)) }},
		{"nothing after it", false, func() {}, nil},
		{"a unit, and a person in it", false, func() {
			w.add(unit, "organizationalUnit")
			w.add("uid=inside,"+unit, "inetOrgPerson", "cn", "inside", "sn", "inside")
		}, func() { id = f.id("uid=inside," + unit) }},
		{"Rule LDAP-21: the unit is renamed", true, func() { w.rename(unit, "ou=south", "") }, func() {
			require.Equal(t, id, f.id("uid=inside,ou=south,ou=people,dc=example,dc=com"))
		}},
		{"and leaves the base", true, func() { w.rename("ou=south,ou=people,dc=example,dc=com", "ou=south", "dc=example,dc=com") }, func() {
			require.NotContains(t, f.Objects, id)
		}},
		{"a person is gone while the server is restarted", false, func() {
			w.remove(employeeDN)
			s.Restart(t, nil)
			w = write389(t, s)
		}, nil},
		{"and after that", false, func() { w.remove("uid=" + company.Approver + ",ou=people,dc=example,dc=com") }, nil},
		{"more than are read again", false, func() {
			for n := range numbersBack + 10 {
				w.set(group, "description", fmt.Sprint(n))
			}
			w.remove(other)
		}, nil},
		{"an hour later", true, func() { f.source.now = func() time.Time { return time.Now().Add(listEvery + time.Minute) } }, nil},
	} {
		step.do()
		f.heard(step.listed, step.name)
		require.Empty(t, f.Problems, step.name)
		if step.see != nil {
			step.see()
		}
	}
}

func TestRule_LDAP_25_a_retro_changelog_that_does_not_tell_all_loses_nothing(t *testing.T) {
	_, c, w := retro389(t)
	for n := range 60 {
		w.person(fmt.Sprint("p", n))
	}
	f := anchored(t, c, w)
	next := 0
	gone := func() {
		w.remove(fmt.Sprintf("uid=p%d,ou=people,dc=example,dc=com", next))
		next++
	}
	trim := func() {
		found, err := w.conn.Search(ldap.NewSearchRequest("cn=changelog", ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil))
		require.NoError(t, err)
		for _, e := range found.Entries {
			w.remove(e.DN)
		}
	}
	again := func(what string) {
		w.set(employeeDN, "description", what)
		f.next()
		gone()
		f.heard(false, what)
		require.Empty(t, f.Problems)
	}
	gone()
	trim()
	gone()
	f.heard(true, "trimmed beyond what was read")
	require.Empty(t, f.Problems)
	again("after it was trimmed")

	gone()
	trim()
	f.heard(true, "trimmed altogether")
	require.Contains(t, f.Problems[0].Text, "it shows nothing, and its newest record is number")
	again("after it was trimmed altogether")

	w.set("cn=changelog", "aci")
	for range 2 {
		gone()
		f.heard(true, "not to be read any more")
		require.Contains(t, f.Problems[0].Text, "the log cn=changelog cannot be used")
		require.Contains(t, f.Problems[0].Text, "Retro Changelog Plugin")
	}
	_, err := source(t, c).Probe(t.Context())
	require.ErrorContains(t, err, "the log cn=changelog cannot be used")
	w.set("cn=changelog", "aci", readsLog)
	again("when it can be read again")

	// A record that shows later than one with a higher number.
	id := f.id(employeeDN)
	w.remove(employeeDN)
	last, err := source(t, c).connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(last.close)
	log, _ := c.logged()
	number, err := log.newest(last)
	require.NoError(t, err)
	w.remove(fmt.Sprintf("changenumber=%d,cn=changelog", number))
	w.add(fmt.Sprintf("changenumber=%d,cn=changelog", number-50), "changeLogEntry", "changeType", "delete", "targetDn", employeeDN, "targetUniqueId", string(id))
	f.heard(false, "a late record")
	require.NotContains(t, f.Objects, id)

	plain := reading389(t, rig.Start389(t, false, company.Small().WriteLDIF))
	plain.Changes = retroLog
	_, err = source(t, plain).Probe(t.Context())
	require.ErrorContains(t, err, "does not tell lastChangeNumber")
}
