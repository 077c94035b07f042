package ldap

import (
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestRule_LDAP_12_a_live_check_knows_every_class_of_group(t *testing.T) {
	s := rig.StartSlapd(t, with(company.Small(), `dn: uid=ann\, (of) x*,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn: Ann
sn: Ann
uid: ann, (of) x*

dn: cn=unique,ou=groups,dc=example,dc=com
objectClass: groupOfUniqueNames
cn: unique
uniqueMember: uid=ann\, (of) x*,ou=people,dc=example,dc=com

dn: cn=posix,ou=groups,dc=example,dc=com
objectClass: posixGroup
cn: posix
gidNumber: 1
memberUid: ann, (of) x*

dn: cn=around,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: around
member: cn=unique,ou=groups,dc=example,dc=com
member: cn=circle,ou=groups,dc=example,dc=com

dn: cn=circle,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: circle
member: cn=around,ou=groups,dc=example,dc=com
`))
	c := reading(t, s)
	c.Groups.Classes = []string{"groupOfNames", "groupOfUniqueNames", "posixGroup"}
	read := source(t, c)
	round, err := sourcetest.Collect(t.Context(), read, directory.Start{})
	require.NoError(t, err)
	id := func(dn string) directory.ObjectID {
		normal, err := NormalDN(dn)
		require.NoError(t, err)
		for id, o := range round.Objects {
			if o.DN == normal {
				return id
			}
		}
		t.Fatal(dn)
		return ""
	}
	ann := id(`uid=ann\, (of) x*,ou=people,dc=example,dc=com`)
	live, err := read.LiveGroups(t.Context(), ann)
	require.NoError(t, err)
	var want []directory.Ref
	for _, cn := range []string{"unique", "posix", "around", "circle"} {
		want = append(want, directory.ByID(id("cn="+cn+",ou=groups,dc=example,dc=com")))
	}
	require.ElementsMatch(t, want, live.Refs, "each once, though they are in each other")
	live, err = read.LiveMembers(t.Context(), id("cn=posix,ou=groups,dc=example,dc=com"))
	require.NoError(t, err)
	require.Equal(t, []directory.Ref{directory.ByUserName("ann, (of) x*")}, live.Refs)
}

func TestRule_LDAP_10_values_in_filters_are_escaped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := string(rapid.SliceOf(rapid.Byte()).Draw(t, "value"))
		for _, written := range []string{ldap.EscapeFilter(value), escapeBytes(value)} {
			filter, err := ldap.CompileFilter("(&(objectClass=person)(uid=" + written + "))")
			require.NoError(t, err)
			require.Len(t, filter.Children, 2)
			equal := filter.Children[1]
			require.EqualValues(t, ldap.FilterEqualityMatch, equal.Tag)
			require.Equal(t, value, equal.Children[1].Data.String())
		}
	})
}
