package ldap

import (
	"fmt"
	"os"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := rig.RemoveDomain(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func adSource(t testing.TB, c ADConfig) *ActiveDirectory {
	s, err := NewAD(c)
	require.NoError(t, err)
	return s
}

// ad is a source's configuration for a controller.
func ad(t testing.TB, s *rig.Samba) ADConfig {
	return ADConfig{
		Server: Server{URL: s.TLSURL, CAFile: s.CAFile, ServerName: s.ServerName, BindDN: s.BindDN, Password: password(t, s.Password), PageSize: 50},
		Users:  ADUsers{Base: rig.PeopleOU, Guest: "employeeType=guest"},
		Groups: ADGroups{Base: rig.GroupsOU},
	}
}

func adHarness(c ADConfig) sourcetest.Harness {
	with := func(edit func(*testing.T, *ADConfig)) func(*testing.T) directory.Reader {
		return func(t *testing.T) directory.Reader {
			c := c
			edit(t, &c)
			return adSource(t, c)
		}
	}
	return sourcetest.Harness{
		Company: company.Small(), Home: company.LDAP,
		Reader:        with(func(*testing.T, *ADConfig) {}),
		WrongPassword: with(func(t *testing.T, c *ADConfig) { c.Password = password(t, "wrong") }),
		Unreachable:   with(func(_ *testing.T, c *ADConfig) { c.URL = "ldaps://127.0.0.1:1" }),
		UnknownCA:     with(func(_ *testing.T, c *ADConfig) { c.CAFile = "" }),
	}
}

func TestTheContractAgainstSamba(t *testing.T) {
	s := rig.StartSamba(t)
	for name, edit := range map[string]func(*ADConfig){
		"DirSync":                        func(*ADConfig) {},
		"DirSync of an ordinary account": func(c *ADConfig) { c.BindDN = s.OrdinaryDN },
		"uSNChanged":                     func(c *ADConfig) { c.BindDN, c.Changes = s.OrdinaryDN, byUSN },
		"everything each time":           func(c *ADConfig) { c.Changes = everything },
	} {
		t.Run(name, func(t *testing.T) {
			c := ad(t, s)
			edit(&c)
			sourcetest.Run(t, adHarness(c))
		})
	}
}

// adFollowing is a mirror of a domain that a test keeps.
type adFollowing struct {
	t      testing.TB
	source *ActiveDirectory
	sourcetest.Round
}

func followAD(t testing.TB, c ADConfig) *adFollowing {
	f := &adFollowing{t: t, source: adSource(t, c)}
	f.next()
	require.Equal(t, directory.Full, f.Mode)
	return f
}

func (f *adFollowing) next() {
	f.t.Helper()
	round, err := sourcetest.Follow(f.t.Context(), f.source, directory.Start{}, f.Round)
	require.NoError(f.t, err)
	f.Round = round
}

// asRead checks that following the changes came to what reading everything does.
func (f *adFollowing) asRead() {
	f.t.Helper()
	c := f.source.config
	c.Changes = everything
	whole, err := sourcetest.Collect(f.t.Context(), adSource(f.t, c), directory.Start{})
	require.NoError(f.t, err)
	same(f.t, whole, f.Round)
}

func (f *adFollowing) id(dn string) directory.ObjectID {
	f.t.Helper()
	normal, err := NormalDN(dn)
	require.NoError(f.t, err)
	for id, o := range f.Objects {
		if o.DN == normal {
			return id
		}
	}
	f.t.Fatalf("nobody is %s", dn)
	return ""
}

func (f *adFollowing) has(group, member directory.ObjectID) bool {
	return f.Edges[directory.Edge{Group: group, Relation: directory.Member, Far: directory.ByID(member)}]
}

func writeAD(t testing.TB, s *rig.Samba) writer {
	conn, err := ldap.DialURL(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the server may have gone before
	require.NoError(t, conn.Bind(s.AdminDN, s.Password))
	return writer{t, conn}
}

func (w writer) user(cn string) (dn string) {
	w.t.Helper()
	dn = "CN=" + cn + "," + rig.PeopleOU
	w.add(dn, "user", "sAMAccountName", cn, "userPrincipalName", cn+"@corp.example", "userAccountControl", "544", "displayName", cn)
	return dn
}

func (w writer) group(cn string, members ...string) (dn string) {
	w.t.Helper()
	dn = "CN=" + cn + "," + rig.GroupsOU
	request := ldap.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"group"})
	request.Attribute("sAMAccountName", []string{cn})
	if len(members) > 0 {
		request.Attribute("member", members)
	}
	require.NoError(w.t, w.conn.Add(request))
	return dn
}

func (w writer) enter(group, member string) {
	w.t.Helper()
	request := ldap.NewModifyRequest(group, nil)
	request.Add("member", []string{member})
	require.NoError(w.t, w.conn.Modify(request))
}

func (w writer) leave(group, member string) {
	w.t.Helper()
	request := ldap.NewModifyRequest(group, nil)
	request.Delete("member", []string{member})
	require.NoError(w.t, w.conn.Modify(request))
}

// rid reads the last part of an object's SID.
func (w writer) rid(dn string) string {
	w.t.Helper()
	found, err := w.conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"objectSid"}, nil))
	require.NoError(w.t, err)
	sid, ok := sidText(string(found.Entries[0].GetRawAttributeValue("objectSid")))
	require.True(w.t, ok)
	return sid[strings.LastIndex(sid, "-")+1:]
}

func TestRules_AD_1_AD_2_AD_3_AD_4_changes_are_followed_in_each_way(t *testing.T) {
	s := rig.StartSamba(t)
	w := writeAD(t, s)
	w.remove(w.user("somebody")) // a tombstone
	ways := map[string]*adFollowing{}
	for name, edit := range map[string]func(*ADConfig){
		"DirSync": func(*ADConfig) {},
		"Rule AD-6: DirSync of an ordinary account": func(c *ADConfig) { c.BindDN = s.OrdinaryDN },
		"Rule AD-12: uSNChanged":                    func(c *ADConfig) { c.Changes = byUSN },
	} {
		c := ad(t, s)
		edit(&c)
		ways[name] = followAD(t, c)
	}
	team := "CN=" + company.Small().Groups[0].Name + "," + rig.GroupsOU
	var ada, bob, crew, hall, ou string
	steps := []struct {
		name string
		do   func()
		full bool // the round reads everything
	}{
		{"nothing", func() {}, false},
		{"a new user", func() { ada = w.user("ada") }, false},
		{"Rule AD-20: a computer is nobody", func() {
			w.add("CN=pc,"+rig.PeopleOU, "computer", "sAMAccountName", "pc$", "userAccountControl", "4096")
		}, false},
		{"an attribute", func() { w.set(ada, "mail", "ada@corp.example") }, false},
		{"an attribute is cleared", func() { w.set(ada, "mail") }, false},
		{"Rule AD-16: an account is disabled", func() { w.set(ada, "userAccountControl", "546") }, false},
		{"and enabled", func() { w.set(ada, "userAccountControl", "544") }, false},
		{"an account gets an end", func() { w.set(ada, "accountExpires", "134000000000000000") }, false},
		{"a group with members", func() { crew = w.group("crew", ada, team) }, false},
		{"Rule AD-8: a member enters", func() { w.enter(team, ada) }, false},
		{"Rule AD-8: a member leaves", func() { w.leave(crew, ada) }, false},
		{"enters and leaves", func() { w.enter(crew, ada); w.leave(crew, ada) }, false},
		{"a manager", func() { bob = w.user("bob"); w.set(ada, "manager", bob); w.enter(crew, bob) }, false},
		{"Rule AD-7: a user is renamed", func() { w.rename(bob, "CN=robert", ""); bob = "CN=robert," + rig.PeopleOU }, false},
		{"a group is renamed", func() { w.rename(crew, "CN=crew2", ""); crew = "CN=crew2," + rig.GroupsOU }, false},
		{"a group without members", func() { hall = w.group("hall") }, false},
		{"is renamed", func() { w.rename(hall, "CN=hall2", "") }, false},
		{"a user moves out of the base", func() { w.rename(bob, "CN=robert", "CN=Users,"+s.Domain); bob = "CN=robert,CN=Users," + s.Domain }, false},
		{"and in again", func() { w.rename(bob, "CN=robert", rig.PeopleOU); bob = "CN=robert," + rig.PeopleOU }, false},
		{"a group moves out of the base", func() { w.rename(crew, "CN=crew2", "CN=Users,"+s.Domain); crew = "CN=crew2,CN=Users," + s.Domain }, false},
		{"changes there", func() { w.leave(crew, bob); w.enter(crew, ada) }, false},
		{"and comes in again", func() { w.rename(crew, "CN=crew2", rig.GroupsOU); crew = "CN=crew2," + rig.GroupsOU }, false},
		{"Rule AD-17: it becomes a primary group", func() { w.set(ada, "primaryGroupID", w.rid(crew)) }, false},
		{"a member enters the primary group", func() { w.enter(crew, bob) }, false},
		{"the primary group is another again", func() { w.set(ada, "primaryGroupID", "513") }, false},
		{"a new unit", func() {
			ou = "OU=North," + rig.PeopleOU
			w.add(ou, "organizationalUnit")
			w.rename(bob, "CN=robert", ou)
			bob = "CN=robert," + ou
		}, false},
		{"Rule AD-10: it is renamed", func() { w.rename(ou, "OU=South", ""); ou = "OU=South," + rig.PeopleOU; bob = "CN=robert," + ou }, true},
		{"Rule AD-10: it moves out of the base", func() { w.rename(ou, "OU=South", s.Domain); ou = "OU=South," + s.Domain; bob = "CN=robert," + ou }, true},
		{"Rule AD-10: it moves in", func() {
			w.rename(ou, "OU=South", rig.PeopleOU)
			ou = "OU=South," + rig.PeopleOU
			bob = "CN=robert," + ou
		}, true},
		{"Rule AD-9: a user is deleted", func() { w.remove(bob) }, false},
		{"Rule AD-9: a group is deleted", func() { w.remove(crew) }, false},
		{"everything at once", func() {
			bob = w.user("bob")
			w.enter(team, bob)
			w.leave(team, ada)
			w.remove(ada)
			w.group("crew", bob)
		}, false},
	}
	for _, step := range steps {
		w.t = t
		step.do()
		for name, f := range ways {
			f.t = t
			f.next()
			if !step.full {
				require.Equal(t, directory.Delta, f.Mode, "%s: %s", name, step.name)
			}
			func() {
				defer func() {
					if t.Failed() {
						t.Logf("%s: %s", name, step.name)
					}
				}()
				f.asRead()
			}()
		}
	}
}

// restore brings an object back, as Microsoft describes it for tombstones and for the
// recycle bin.
func (w writer) restore(id directory.ObjectID, dn string) {
	w.t.Helper()
	shown := []ldap.Control{ldap.NewControlMicrosoftShowDeleted()}
	found, err := w.conn.Search(ldap.NewSearchRequest("<GUID="+string(id)+">", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, shown))
	require.NoError(w.t, err)
	request := ldap.NewModifyRequest(found.Entries[0].DN, shown)
	request.Delete("isDeleted", nil)
	request.Replace("distinguishedName", []string{dn})
	require.NoError(w.t, w.conn.Modify(request))
}

func TestRule_AD_9_who_is_restored_is_back(t *testing.T) {
	s := rig.StartSamba(t)
	w, team := writeAD(t, s), company.Small().Groups[0]
	c, proxy := lossyAD(t, s)
	ways := map[string]*adFollowing{}
	for name, edit := range map[string]func(*ADConfig){
		"DirSync":                        func(*ADConfig) {},
		"DirSync of an ordinary account": func(c *ADConfig) { c.BindDN = s.OrdinaryDN },
		"uSNChanged":                     func(c *ADConfig) { c.Changes = byUSN },
	} {
		c := c
		edit(&c)
		ways[name] = followAD(t, c)
	}
	each := func(t *testing.T, see func(f *adFollowing)) {
		for name, f := range ways {
			t.Log(name)
			f.t = t
			f.next()
			see(f)
			f.asRead()
		}
	}
	for name, member := range map[string]bool{"from a tombstone": false, "from the recycle bin, with the memberships": true} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			ada := w.user(fmt.Sprint("ada-", member))
			w.enter(rig.GroupDN(team), ada)
			var id directory.ObjectID
			each(t, func(f *adFollowing) {
				id = f.id(ada)
				require.True(t, f.has(directory.ObjectID(team.ID), id))
			})
			w.remove(ada)
			each(t, func(f *adFollowing) { require.NotContains(t, f.Objects, id) })
			w.restore(id, ada)
			if member {
				// Samba cannot restore from its recycle bin. From Windows's the links come
				// back with the object, and the group need not have changed.
				w.enter(rig.GroupDN(team), ada)
				proxy.Rewrite(func(request, answer *ber.Packet) []*ber.Packet {
					if ldaptest.Asks(request, "uSNChanged") && strings.Contains(answer.Children[1].Children[0].Data.String(), rig.GroupDN(team)) {
						return nil
					}
					return []*ber.Packet{answer}
				})
			}
			each(t, func(f *adFollowing) {
				require.Equal(t, f.source.config.Changes != byUSN, f.Mode == directory.Full)
				require.Equal(t, id, f.id(ada))
				require.Equal(t, member, f.has(directory.ObjectID(team.ID), id))
			})
			proxy.Rewrite(nil)
		})
	}
}
