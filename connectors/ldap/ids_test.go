package ldap

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestRule_LDAP_11_entries_by_ipaUniqueID(t *testing.T) {
	s := rig.StartSlapd(t, func(w io.Writer) error {
		return with(company.Small(), `dn: cn=ipa,dc=example,dc=com
objectClass: organizationalRole
cn: ipa

dn: uid=ann,cn=ipa,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: ipaObject
cn: Ann
sn: Ann
ipaUniqueID: 0F2D6A5E-C9A1-11F0-8D3B-525400A1B2C3

dn: cn=crew,cn=ipa,dc=example,dc=com
objectClass: groupOfNames
objectClass: ipaObject
cn: crew
member: uid=ann,cn=ipa,dc=example,dc=com
ipaUniqueID: 1a2b6a5e-c9a1-11f0-8d3b-525400a1b2c3
`)(w)
	})
	c := reading(t, s)
	c.Users.Base, c.Groups.Base, c.UniqueID = "cn=ipa,dc=example,dc=com", "cn=ipa,dc=example,dc=com", "ipaUniqueID"
	f := follow(t, c)
	const ann = "0f2d6a5e-c9a1-11f0-8d3b-525400a1b2c3"
	require.Equal(t, "Ann", f.Objects[ann].Get(directory.AttrDisplayName))
	require.Len(t, f.Objects, 2)
	w := write(t, s)
	w.rename("uid=ann,cn=ipa,dc=example,dc=com", "uid=anna", "")
	f.next()
	require.Equal(t, directory.Delta, f.Mode)
	require.Equal(t, methods[timestamps], f.source.Follows(), "content synchronisation goes by entryUUID")
	require.Equal(t, "uid=anna,cn=ipa,dc=example,dc=com", f.Objects[ann].DN)
	f.asRead()
	c.Changes = contentSync
	require.ErrorContains(t, c.Validate(), "unique_id is ipaUniqueID")
	c = reading(t, s)
	c.UniqueID = "ipaUniqueID"
	_, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete, "people without one")
}

func TestRule_LDAP_13_an_account_ends_at_a_day_or_a_time(t *testing.T) {
	for value, want := range map[string]string{
		"-1": "", "20454": "2026-01-01T00:00:00Z", "1": "1970-01-02T00:00:00Z",
		"20261231235959Z": "2026-12-31T23:59:59Z", "20261231235959.5Z": "2026-12-31T23:59:59.5Z",
	} {
		end, err := accountEnd(value)
		require.NoError(t, err, value)
		if got := end.Format(time.RFC3339Nano); want != "" || !end.IsZero() {
			require.Equal(t, want, got, value)
		}
	}
	for _, bad := range []string{"", "0", "-2", "soon", "2932897", "99999999999999999999", "2026-12-31Z", "20261331000000Z", "20261231235959+0100"} {
		_, err := accountEnd(bad)
		require.Error(t, err, bad)
	}

	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w := write(t, s)
	dn := company.Small().Person(company.Employee).DN()
	id := directory.ObjectID(company.Small().Person(company.Employee).ID)
	w.set(dn, "objectClass", "inetOrgPerson", "shadowAccount")
	w.set(dn, "shadowExpire", "20454")
	for _, changes := range []string{contentSync, timestamps, everything} {
		c := reading(t, s)
		c.Users.Expires, c.Changes = "shadowExpire", changes
		f := follow(t, c)
		require.Equal(t, "2026-01-01T00:00:00Z", f.Objects[id].Get(directory.AttrExpires))
		w.set(dn, "shadowExpire", "0")
		f.next()
		require.Equal(t, "2026-01-01T00:00:00Z", f.Objects[id].Get(directory.AttrExpires), "Rule SRC-10: as it was")
		require.Len(t, f.Problems, 1)
		require.Equal(t, id, f.Problems[0].Object)
		require.Contains(t, f.Problems[0].Text, "write -1 or the day")
		w.set(dn, "shadowExpire", "-1")
		f.next()
		require.Empty(t, f.Objects[id].Get(directory.AttrExpires))
		require.Empty(t, f.Problems)
		f.asRead()
		w.set(dn, "shadowExpire", "20454")
	}
}
