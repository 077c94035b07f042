package ldap

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

const (
	allNewDN = "cn=all new,ou=groups,dc=example,dc=com"
	allNew   = "ldap:///ou=people,dc=example,dc=com??sub?(sn=new*)"
)

// dynamic is a configuration for dynamic groups beside others.
func dynamic(t testing.TB, s *rig.Slapd) Config {
	c := reading(t, s)
	c.Groups.Classes = []string{"groupOfNames", dynamicGroup}
	return c
}

// members are the names of a group's members, sorted.
func (f *following) members(dn string) (uids []string) {
	f.t.Helper()
	normal, err := NormalDN(dn)
	require.NoError(f.t, err)
	there := false
	for id, o := range f.Objects {
		if o.DN != normal {
			continue
		}
		there = true
		for e := range f.Edges {
			if far, ok := e.Far.ID(); ok && e.Group == id && e.Relation == directory.Member {
				uids = append(uids, f.Objects[far].Get(directory.AttrDisplayName))
			}
		}
	}
	require.True(f.t, there, "%s is not there", dn)
	slices.Sort(uids)
	return uids
}

func TestRule_LDAP_12_dynamic_groups_are_searched_anew_each_round(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w := write(t, s)
	w.person("new1")
	w.add(allNewDN, dynamicGroup, "cn", "all new", "memberURL", allNew)
	ways := map[string]*following{}
	for _, changes := range []string{contentSync, timestamps, everything} {
		c := dynamic(t, s)
		c.Changes = changes
		ways[changes] = follow(t, c)
		require.Equal(t, []string{"new1"}, ways[changes].members(allNewDN))
	}
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"nothing", func() {}, []string{"new1"}},
		{"somebody comes", func() { w.person("new2") }, []string{"new1", "new2"}},
		{"somebody is another now", func() { w.set("uid=new1,ou=people,dc=example,dc=com", "sn", "old") }, []string{"new2"}},
		{"a second search", func() {
			w.set(allNewDN, "memberURL", allNew, "ldap:///uid=new1,ou=people,dc=example,dc=com")
		}, []string{"new1", "new2"}},
		{"groups are found, too", func() {
			w.add("cn=new,ou=groups,dc=example,dc=com", "groupOfNames", "cn", "new", "member", "uid=new1,ou=people,dc=example,dc=com", "description", "new")
			w.set(allNewDN, "memberURL", "LDAP:///ou=groups, dc=Example,dc=com??one?(description=n%65w)")
		}, []string{"new"}},
		{"nobody is found", func() { w.set(allNewDN, "memberURL", "ldap:///ou=people,dc=example,dc=com??one?(sn=nobody)") }, nil},
		{"and one again", func() { w.set(allNewDN, "memberURL", allNew); w.remove("uid=new1,ou=people,dc=example,dc=com") }, []string{"new2"}},
	} {
		step.do()
		for name, f := range ways {
			f.next()
			require.Equal(t, step.want, f.members(allNewDN), "%s: %s", name, step.name)
			f.asRead()
		}
	}
	w.remove(allNewDN)
	for name, f := range ways {
		f.next()
		for _, o := range f.Objects {
			require.NotEqual(t, "cn=all new,ou=groups,dc=example,dc=com", o.DN, name)
		}
		f.asRead()
	}
}

func TestRule_LDAP_12_a_search_that_cannot_be_believed_empties_no_group(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w := write(t, s)
	w.person("new")
	const people = "ldap:///ou=people,dc=example,dc=com"
	i := 0
	for url, says := range map[string]string{
		"": "no memberURL, or none that the account",
		"http://ldap.example.com/ou=people,dc=example,dc=com??sub": "want ldap:///",
		"ldap:ou=people": "want ldap:///",
		"ldap://other.example.com/ou=people,dc=example,dc=com??sub": "leads to other.example.com",
		"ldap:///??sub?(sn=new)":                                    "is not the DN of a base",
		"ldap:///people??sub?(sn=new)":                              "is not the DN of a base",
		people + "??under?(sn=new)":                                 "is not one of the scopes",
		people + "??sub?(sn=new":                                    "is not a filter",
		people + "??sub?(sn=new) everybody new":                     "is not a filter",
		people + "??sub?(sn=%zz)":                                   "invalid URL escape",
		people + "?mail?sub?(sn=new)":                               "asks for values of mail",
		people + "??sub?(sn=new)?!x-odd":                            "has the extension !x-odd",
		"ldap:///ou=nowhere,dc=example,dc=com??sub?(sn=new)":        "is not there",
		people + "??sub?(roomNumber=7)":                             "has roomNumber",
		people + "??sub?(&(sn=nobody)(!(roomNumbr=7)))":             "has roomNumbr",
		people + "??sub?(|(userPassword=*)(sn=nobody))":             "has userPassword",
		people + "??sub?(|(roomNumber:caseIgnoreMatch:=7)(sn=no))":  "has roomNumber",
	} {
		i++
		cn := "odd" + strings.Repeat("x", i)
		dn := "cn=" + cn + ",ou=groups,dc=example,dc=com"
		if url == "" {
			w.add(dn, dynamicGroup, "cn", cn)
		} else {
			w.add(dn, dynamicGroup, "cn", cn, "memberURL", url)
		}
		var told []directory.Problem
		require.NoError(t, source(t, dynamic(t, s)).Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
			told = append(told, p.Problems...)
			for _, o := range p.Upserts {
				require.NotEqual(t, cn, o.Get(directory.AttrDisplayName), "%s: its object and members stay as they were", url)
			}
			return nil
		}), url)
		require.Len(t, told, 1, url)
		require.Equal(t, dn, told[0].DN)
		require.NotEmpty(t, told[0].Object)
		require.Contains(t, told[0].Text, says, url)
		require.Contains(t, told[0].Text, "stays as it was")
		facts, err := source(t, dynamic(t, s)).Probe(t.Context())
		require.NoError(t, err)
		require.Contains(t, facts[len(facts)-1], says)
		_, err = source(t, dynamic(t, s)).LiveGroups(t.Context(), directory.ObjectID(company.Small().Person(company.Employee).ID))
		require.ErrorIs(t, err, directory.ErrIncomplete, "who is in it is not known")
		w.remove(dn)
	}

	// One that was good and is good no more keeps its members, round by round.
	w.add(allNewDN, dynamicGroup, "cn", "all new", "memberURL", allNew)
	for _, changes := range []string{contentSync, timestamps} {
		c := dynamic(t, s)
		c.Changes = changes
		f := follow(t, c)
		w.set(allNewDN, "memberURL", "ldap:///")
		f.next()
		require.Equal(t, []string{"new"}, f.members(allNewDN), changes)
		require.Len(t, f.Problems, 1)
		w.set(allNewDN, "memberURL", allNew)
		f.next()
		require.Equal(t, []string{"new"}, f.members(allNewDN), changes)
		require.Empty(t, f.Problems)
	}
}

func TestRule_LDAP_12_a_live_check_knows_dynamic_groups(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w := write(t, s)
	w.person("new")
	w.add(allNewDN, dynamicGroup, "cn", "all new", "memberURL", allNew)
	w.add("cn=around,ou=groups,dc=example,dc=com", "groupOfNames", "cn", "around", "member", allNewDN)
	f := follow(t, dynamic(t, s))
	id := func(dn string) directory.ObjectID {
		for id, o := range f.Objects {
			if o.DN == dn {
				return id
			}
		}
		return ""
	}
	live, err := f.source.LiveGroups(t.Context(), id("uid=new,ou=people,dc=example,dc=com"))
	require.NoError(t, err)
	require.ElementsMatch(t, []directory.Ref{directory.ByID(id(allNewDN)), directory.ByID(id("cn=around,ou=groups,dc=example,dc=com"))}, live.Refs)
	live, err = f.source.LiveMembers(t.Context(), id(allNewDN))
	require.NoError(t, err)
	require.Equal(t, []directory.Ref{directory.ByID(id("uid=new,ou=people,dc=example,dc=com"))}, live.Refs)
}

func TestRule_LDAP_12_dynamic_groups_of_389(t *testing.T) {
	s := rig.Start389(t, false, company.Small().WriteLDIF)
	w := write389(t, s)
	w.person("new1")
	w.add(allNewDN, dynamicGroup, "cn", "all new", "memberURL", allNew)
	c := reading389(t, s)
	c.Groups.Classes = []string{"groupOfNames", dynamicGroup}
	f := follow(t, c)
	require.Equal(t, []string{"new1"}, f.members(allNewDN))
	w.person("new2")
	f.next()
	require.Equal(t, []string{"new1", "new2"}, f.members(allNewDN))
	w.remove(allNewDN)
	f.next()
	f.asRead()
}
