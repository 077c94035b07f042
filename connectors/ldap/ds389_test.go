package ldap

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func reading389(t testing.TB, s *rig.DS389) Config {
	c := bases
	c.URL, c.CAFile, c.BindDN, c.Password = s.TLSURL, s.CAFile, s.BindDN, password(t, s.Password)
	c.UniqueID, c.Users.Disabled = "nsUniqueId", "nsAccountLock=true"
	return c
}

// as389 is the company with the ids that it has there.
func as389(c *company.Company) *company.Company {
	all := func(ids []string) []string {
		out := slices.Clone(ids)
		for i, id := range out {
			out[i] = rig.NSUniqueID(id)
		}
		return out
	}
	for i := range c.People {
		p := &c.People[i]
		p.ID = rig.NSUniqueID(p.ID)
		if p.Manager != "" {
			p.Manager = rig.NSUniqueID(p.Manager)
		}
	}
	for i := range c.Groups {
		g := &c.Groups[i]
		g.ID, g.Members, g.Owners, g.Groups = rig.NSUniqueID(g.ID), all(g.Members), all(g.Owners), all(g.Groups)
	}
	return c
}

func TestRule_LDAP_11_the_contract_against_389_Directory_Server(t *testing.T) {
	for name, contentSync := range map[string]bool{"with content synchronisation": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			h := harness(reading389(t, rig.Start389(t, contentSync, company.Small().WriteLDIF)), nil)
			h.Company = as389(company.Small())
			sourcetest.Run(t, h)
		})
	}
}

// write389 changes what is there.
func write389(t testing.TB, s *rig.DS389) writer {
	conn, err := ldap.DialURL(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the server may have gone before
	require.NoError(t, conn.Bind(s.RootDN, s.Password))
	return writer{t, conn}
}

// TestRule_LDAP_20_what_389_says_by_content_synchronisation are the reasons why it
// is not used.
func TestRule_LDAP_20_what_389_says_by_content_synchronisation(t *testing.T) {
	s := rig.Start389(t, true, company.Small().WriteLDIF)
	w := write389(t, s)
	reader, err := ldap.DialURL(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = reader.Close() }) // the server may have gone before
	require.NoError(t, reader.Bind(s.BindDN, s.Password))
	refresh := func(cookie []byte) ([]*ldap.Entry, *ldap.ControlSyncDone, error) {
		result, err := reader.Search(ldap.NewSearchRequest("ou=people,dc=example,dc=com", ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false,
			"(objectClass=inetOrgPerson)", []string{"uid", "nsUniqueId", "nsAccountLock"},
			[]ldap.Control{ldap.NewControlSyncRequest(ldap.SyncRequestModeRefreshOnly, cookie, false)}))
		if err != nil {
			return nil, nil, err
		}
		done, ok := ldap.FindControl(result.Controls, ldap.ControlTypeSyncDone).(*ldap.ControlSyncDone)
		require.True(t, ok)
		return result.Entries, done, nil
	}
	all, first, err := refresh(nil)
	require.NoError(t, err)
	require.Len(t, all, 153)
	require.NotEmpty(t, all[0].GetAttributeValue("nsUniqueId"))
	w.person("new")
	w.set(newDN, "nsAccountLock", "true")
	changed, done, err := refresh(first.Cookie)
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.False(t, done.RefreshDeletes, "to RFC 4533 that says: who was not named is gone")
	require.Empty(t, changed[0].GetAttributeValue("nsAccountLock"), "the account looks open")
	require.Empty(t, changed[0].GetAttributeValue("nsUniqueId"))
	_, _, err = refresh([]byte("rid=000,csn=20991124000000.000000Z#000000#000#000000"))
	require.True(t, ldap.IsErrorWithCode(err, ldap.LDAPResultSyncRefreshRequired), "%v", err)

	c := reading389(t, s)
	facts, err := source(t, c).Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "changes are followed by modifyTimestamp")
	c.UniqueID, c.Changes = "", contentSync
	_, err = source(t, c).Probe(t.Context())
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "leave changes out")
	c.UniqueID = "nsUniqueId"
	require.ErrorContains(t, c.Validate(), "content_sync goes by entryUUID")
	c.UniqueID, c.Changes = "objectGUID", ""
	require.ErrorContains(t, c.Validate(), "unique_id: want entryUUID, nsUniqueId or ipaUniqueID")
}

func TestRule_LDAP_11_389_without_entryUUID_says_what_to_set(t *testing.T) {
	c := reading389(t, rig.Start389(t, false, company.Small().WriteLDIF))
	c.UniqueID = ""
	_, err := source(t, c).Probe(t.Context())
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "has no entryUUID")
	require.ErrorContains(t, err, "unique_id")
}

func TestRule_LDAP_25_changes_of_389_by_timestamps_and_a_list_of_ids(t *testing.T) {
	s := rig.Start389(t, true, company.Small().WriteLDIF)
	c := reading389(t, s)
	w, f := write389(t, s), follow(t, c)
	f.next()
	require.Equal(t, directory.Delta, f.Mode)
	group := "cn=" + company.Small().Groups[0].Name + ",ou=groups,dc=example,dc=com"
	for _, step := range []struct {
		name string
		do   func()
		see  func()
	}{
		{"a new person", func() { w.person("new") }, func() { f.id(newDN) }},
		{"a member", func() { w.set(group, "member", newDN) }, nil},
		{"Rule LDAP-13: an account that is locked", func() { w.set(newDN, "nsAccountLock", "true") }, func() {
			require.False(t, f.Objects[f.id(newDN)].Enabled())
		}},
		{"and opened again", func() { w.set(newDN, "nsAccountLock") }, func() {
			require.True(t, f.Objects[f.id(newDN)].Enabled())
		}},
		{"another name", func() { w.rename(newDN, "uid=newer", "") }, func() {
			require.Contains(t, text(f.Round), "uid=newer,")
		}},
		{"a unit", func() { w.add("ou=north,ou=people,dc=example,dc=com", "organizationalUnit") }, nil},
		{"a move into it", func() { w.rename(employeeDN, "uid="+company.Employee, "ou=north,ou=people,dc=example,dc=com") }, nil},
		{"Rule LDAP-21: the unit is renamed", func() { w.rename("ou=north,ou=people,dc=example,dc=com", "ou=south", "") }, func() {
			f.id("uid=" + company.Employee + ",ou=south,ou=people,dc=example,dc=com")
		}},
		{"a person is gone", func() { w.remove("uid=newer,ou=people,dc=example,dc=com") }, func() {
			require.NotContains(t, text(f.Round), `"uid=newer,ou=people`)
		}},
		{"the server was restarted", func() { s.Restart(t, nil) }, nil},
	} {
		step.do()
		f.next()
		require.Equal(t, directory.Delta, f.Mode, step.name)
		f.asRead()
		if step.see != nil {
			step.see()
		}
	}
}

func TestRule_LDAP_5_limits_of_389(t *testing.T) {
	s := rig.Start389(t, false, company.Large(700).WriteLDIF)
	for name, limit := range map[string]func(w writer){
		"of entries to a page": func(writer) {},
		"of entries that are looked through": func(w writer) {
			w.set(s.LimitedDN, "nsSizeLimit", "-1")
			w.set(s.LimitedDN, "nsPagedSizeLimit", "-1")
			w.set(s.LimitedDN, "nsLookThroughLimit", "100")
			w.set(s.LimitedDN, "nsPagedLookThroughLimit", "100")
		},
	} {
		t.Run(name, func(t *testing.T) {
			limit(write389(t, s))
			c := reading389(t, s)
			c.BindDN, c.PageSize = s.LimitedDN, 1000
			round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, "lift the limit")
			require.False(t, round.Complete)
			_, err = source(t, c).Probe(t.Context())
			require.ErrorContains(t, err, "lift the limit")
		})
	}
	c := reading389(t, s)
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.Len(t, round.Objects, 770)
}
