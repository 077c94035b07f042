package ldap

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// with returns what writes the company and more LDIF behind it.
func with(c *company.Company, more string) func(io.Writer) error {
	return func(w io.Writer) error {
		if err := c.WriteLDIF(w); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n"+more)
		return err
	}
}

func reading(t testing.TB, s *rig.Slapd) Config {
	c := bases
	c.URL, c.CAFile, c.BindDN, c.Password = s.TLSURL, s.CAFile, s.BindDN, password(t, s.Password)
	return c
}

func TestRule_LDAP_2_SASL_EXTERNAL(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c := bases
	c.External = true
	socket := c
	socket.URL = s.SocketURL
	certificate := c
	certificate.URL, certificate.CAFile, certificate.ClientCertificate, certificate.ClientKey = s.TLSURL, s.CAFile, s.ClientCertificate, s.ClientKey
	upgraded := certificate
	upgraded.URL, upgraded.StartTLS = s.URL, true
	for name, c := range map[string]Config{"over the socket": socket, "by certificate over ldaps": certificate, "by certificate over StartTLS": upgraded} {
		t.Run(name, func(t *testing.T) {
			round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
			require.NoError(t, err)
			require.Contains(t, round.Objects, directory.ObjectID(company.Small().Person(company.Employee).ID))
		})
	}
}

func TestRule_LDAP_1_a_password_in_the_clear_stays_on_this_host(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c := reading(t, s)
	c.URL, c.CAFile, c.InsecurePlaintextLoopback = s.URL, "", true
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.True(t, round.Complete)

	c = reading(t, s)
	c.ServerName = "ldap.example.com"
	_, err = sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.ErrorContains(t, err, "server_name", "it says what to do")
}

func TestRule_LDAP_5_slapds_own_limit(t *testing.T) {
	s := rig.StartSlapd(t, company.Large(600).WriteLDIF)
	c := reading(t, s)
	c.BindDN = s.LimitedDN
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete, "slapd lets 500 entries through and says so at the end")
	require.ErrorContains(t, err, "lift the limit")
	require.False(t, round.Complete)
	require.NotEmpty(t, round.Objects)
	_, err = source(t, c).Probe(t.Context())
	require.ErrorContains(t, err, "lift the limit", "the probe finds it before the first read does")

	facts, err := source(t, reading(t, s)).Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "600 users below ou=people,dc=example,dc=com")
	require.Contains(t, strings.Join(facts, "\n"), "60 groups below ou=groups,dc=example,dc=com")
}

func TestRule_LDAP_7_a_referral_in_the_directory(t *testing.T) {
	s := rig.StartSlapd(t, with(company.Small(), `dn: ou=elsewhere,ou=people,dc=example,dc=com
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://evil.example/ou=people,dc=example,dc=com
`))
	round, err := sourcetest.Collect(t.Context(), source(t, reading(t, s)), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "evil.example")
	require.False(t, round.Complete)
}

func TestAnAliasIsNobody(t *testing.T) {
	s := rig.StartSlapd(t, with(company.Small(), `dn: uid=other-name,ou=people,dc=example,dc=com
objectClass: alias
objectClass: extensibleObject
uid: other-name
aliasedObjectName: `+employeeDN+`
`))
	round, err := sourcetest.Collect(t.Context(), source(t, reading(t, s)), directory.Start{})
	require.NoError(t, err)
	require.True(t, round.Complete)
	require.NotContains(t, text(round), "other-name", "it is not followed, and is no person itself")
}

func TestABaseThatIsNotThere(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	c := reading(t, s)
	c.Groups.Base = "ou=teams,dc=example,dc=com"
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "below ou=teams,dc=example,dc=com")
	require.ErrorContains(t, err, "whether the base is right")
	require.False(t, round.Complete)
}

const (
	employeeDN = "uid=" + company.Employee + ",ou=people,dc=example,dc=com"
	ghostDN    = "uid=ghost,ou=people,dc=example,dc=com"
)

// oddGroups are of every class, name somebody who does not exist, and go round
// in a circle.
const oddGroups = `dn: cn=unique,ou=groups,dc=example,dc=com
objectClass: groupOfUniqueNames
cn: unique
entryUUID: 00000000-0000-4000-8000-000000000001
uniqueMember: ` + employeeDN + `#'0101'B
owner: ` + employeeDN + `

dn: cn=posix,ou=groups,dc=example,dc=com
objectClass: posixGroup
cn: posix
gidNumber: 4711
entryUUID: 00000000-0000-4000-8000-000000000002
memberUid: ` + company.Employee + `

dn: cn=circle-a,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: circle-a
entryUUID: 00000000-0000-4000-8000-00000000000A
member: cn=circle-b,ou=groups,dc=example,dc=com
member: ` + ghostDN + `

dn: cn=circle-b,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: circle-b
entryUUID: 00000000-0000-4000-8000-00000000000b
member: CN=Circle-A, OU=Groups, DC=example, DC=com
`

func TestRule_LDAP_12_groups_of_every_class(t *testing.T) {
	s := rig.StartSlapd(t, with(company.Small(), oddGroups))
	c := reading(t, s)
	c.Groups.Classes = []string{"groupOfNames", "groupOfUniqueNames", "posixGroup"}
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.Empty(t, round.Problems)
	const id = "00000000-0000-4000-8000-00000000000"
	for _, e := range []directory.Edge{
		{Group: id + "1", Relation: directory.Member, Far: directory.ByDN(employeeDN)},
		{Group: id + "1", Relation: directory.Owner, Far: directory.ByDN(employeeDN)},
		{Group: id + "2", Relation: directory.Member, Far: directory.ByUserName(company.Employee)},
		// A circle is two plain edges, and nobody follows them here.
		{Group: id + "a", Relation: directory.Member, Far: directory.ByDN("cn=circle-b,ou=groups,dc=example,dc=com")},
		{Group: id + "b", Relation: directory.Member, Far: directory.ByDN("cn=circle-a,ou=groups,dc=example,dc=com")},
		// Who does not exist is told as he is, for the mirror to keep pending (Rule SRC-5).
		{Group: id + "a", Relation: directory.Member, Far: directory.ByDN(ghostDN)},
	} {
		require.Contains(t, round.Edges, e)
	}

	c.Groups.Classes = nil
	round, err = sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.NoError(t, err)
	require.NotContains(t, round.Objects, directory.ObjectID(id+"1"), "only groupOfNames unless said otherwise")
}

func TestAttributesAsRulesNameThem(t *testing.T) {
	s := rig.StartSlapd(t, with(company.Small(), `dn: uid=odd,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: odd
cn: Odd One
cn: An Alias
sn: Odd
employeeType: guest
mail: z@contoso.example
mail: a@contoso.example
manager: UID=`+company.Approver+`, ou=People,dc=example,dc=com
entryUUID: 00000000-0000-4000-8000-0000000000FF
jpegPhoto:: /9j/AAEC
departmentNumber: 2
departmentNumber: 1
`))
	c := reading(t, s)
	c.Users.Guest = "employeeType=GUEST"
	c.Users.Disabled = "employeeNumber=E00004" // the leaver's
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{Attributes: []string{"DEPARTMENTNUMBER", "departmentNumber", "displayName", "entryUUID", "jpegPhoto", "ou"}})
	require.NoError(t, err)
	odd := round.Objects["00000000-0000-4000-8000-0000000000ff"]
	require.Regexp(t, `^\d{14}\.\d{6}Z#\d{6}#\d{3}#\d{6} [0-9a-f]+$`, odd.Get(directory.AttrMark), "the entryCSN, and a digest")
	delete(odd.Attributes, directory.AttrMark)
	require.Equal(t, map[string][]string{
		directory.AttrUserName: {"odd"}, directory.AttrDisplayName: {"An Alias"}, directory.AttrMail: {"a@contoso.example"},
		directory.AttrEnabled: {"true"}, directory.AttrUserType: {"Guest"},
		directory.AttrManager: {"dn:uid=" + company.Approver + ",ou=people,dc=example,dc=com"},
		"DEPARTMENTNUMBER":    {"1", "2"}, "departmentNumber": {"1", "2"}, "entryUUID": {"00000000-0000-4000-8000-0000000000FF"},
	}, odd.Attributes, "sorted, under the names that the rules use, and nothing that nobody asked for")
	require.Len(t, round.Problems, 1)
	require.Equal(t, directory.ObjectID("00000000-0000-4000-8000-0000000000ff"), round.Problems[0].Object)
	require.Contains(t, round.Problems[0].Text, "jpegPhoto: a value is not text")
	people := company.Small()
	require.False(t, round.Objects[directory.ObjectID(people.Person(company.Leaver).ID)].Enabled())
	require.True(t, round.Objects[directory.ObjectID(people.Person(company.Employee).ID)].Enabled())
}

// naming tells whether slapd and NormalDN find the same entry by a DN.
type naming struct {
	t    testing.TB
	conn *ldap.Conn
}

func (n naming) add(dn, class string, attributes ...ldap.Attribute) {
	n.t.Helper()
	require.NoError(n.t, n.conn.Add(&ldap.AddRequest{DN: dn, Attributes: append(attributes, ldap.Attribute{Type: "objectClass", Vals: []string{class}})}))
}

func (n naming) finds(dn string) bool {
	n.t.Helper()
	found, err := n.conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"}, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return false
	}
	require.NoError(n.t, err, "%q", dn)
	return len(found.Entries) == 1
}

func names(t testing.TB) naming {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	conn, err := ldap.DialURL(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	require.NoError(t, conn.Bind(s.RootDN, s.Password))
	return naming{t, conn}
}

func TestRule_LDAP_9_as_slapd_says(t *testing.T) {
	n := names(t)
	for i, pair := range [][2]string{
		{"strauß", "strauss"},
		{"strauß", "STRAUß"},
		{"ﬁn", "fin"},
		{"İx", "ix"},
		{"İx", "i̇x"},
		{"Ix", "ıx"},
		{"Å", "å"},
		{"Å", "å"},
		{"café", "café"},
		{"CAFÉ", "café"},
		{"a  b", "a b"},
		{"a\u00a0b", "a b"},
		{"a\u3000b", "a b"},
		{"a\u200bb", "ab"},
		{"a\u00adb", "ab"},
		{"Ω", "ω"},
		{"Σς", "σσ"},
		{"ΣΣ", "σς"},
		{"ǅ", "ǆ"},
		{"K", "k"},
		{"ａＢ", "ab"},
		{"x²", "x2"},
		{"ſ", "s"},
		{"a\tb", "a b"},
		{"a\x01b", "ab"},
		{"ÀB", "àb"},
		{"Ж", "ж"},
		{"한글", "한글"},
		{"a\u2028b", "a b"},
		{"ŉ", "ʼn"},
		{"ΐ", "ΐ"},
		{"𐐀", "𐐨"},
		{"½", "1⁄2"},
		{"ä", "a"},
		{"ø", "o"},
		{"Ǆ", "dž"},
		{"ĳ", "ij"},
		{" a ", "a"},
		{"a.b", "ab"},
		{"a-b", "ab"},
		{"١", "1"},
		{"ⅷ", "viii"},
		{"a\u0345", "aι"},
		{"a\u200d", "a"},
		{"\ufeffa", "a"},
		{"ᾳ", "αι"},
		{"ᾼ", "ᾳ"},
		{"ϐ", "β"},
		{"µ", "μ"},
		{"#a", "a"},
		{`a\b`, "ab"},
		{`a"b`, "a'b"},
		{"a=b", "a = b"},
	} {
		base := fmt.Sprintf("ou=pair-%d,dc=example,dc=com", i)
		n.add(base, "organizationalUnit")
		first, second := "cn="+ldap.EscapeDN(pair[0])+","+base, "cn="+ldap.EscapeDN(pair[1])+","+base
		n.add(first, "organizationalRole")
		a, err := NormalDN(first)
		require.NoError(t, err)
		b, err := NormalDN(second)
		require.NoError(t, err)
		require.Equal(t, n.finds(second), a == b, "%q and %q", pair[0], pair[1])
		require.True(t, n.finds(a), "slapd finds it by the normal form, %q", a)
	}
}

func TestRule_LDAP_9_a_DN_can_be_written_in_many_ways(t *testing.T) {
	n := names(t)
	n.add("ou=R&D\\, Köln,dc=example,dc=com", "organizationalUnit")
	type part struct{ types, values []string }
	entries := map[string][][]part{}
	for dn, rdns := range map[string][][]part{
		"uid=jörg.o'neil,ou=R&D\\, Köln,dc=example,dc=com":      {{{[]string{"uid", "userid", "0.9.2342.19200300.100.1.1"}, []string{"jörg.o'neil"}}}},
		"cn=Smith\\, John\\+1,ou=R&D\\, Köln,dc=example,dc=com": {{{[]string{"cn", "commonName", "2.5.4.3"}, []string{"Smith, John+1", "smith,  john+1"}}}},
		"cn=Two Parts+sn=O\\=ne,ou=R&D\\, Köln,dc=example,dc=com": {{
			{[]string{"cn", "2.5.4.3"}, []string{"Two Parts", "two  parts"}}, {[]string{"sn", "surname", "2.5.4.4"}, []string{"O=ne"}},
		}},
	} {
		n.add(dn, "inetOrgPerson", ldap.Attribute{Type: "cn", Vals: []string{"Two Parts", "Smith, John+1"}}, ldap.Attribute{Type: "sn", Vals: []string{"O=ne"}})
		entries[dn] = append(rdns,
			[]part{{[]string{"ou", "organizationalUnitName", "2.5.4.11"}, []string{"R&D, Köln"}}},
			[]part{{[]string{"dc", "domainComponent", "0.9.2342.19200300.100.1.25"}, []string{"example"}}},
			[]part{{[]string{"dc", "DC"}, []string{"com"}}})
	}
	dns := []string{}
	for dn := range entries {
		dns = append(dns, dn)
	}
	rapid.Check(t, func(t *rapid.T) {
		dn := rapid.SampledFrom(dns).Draw(t, "dn")
		flip := func(s string) string {
			if rapid.Bool().Draw(t, "upper") {
				return strings.ToUpper(s)
			}
			return s
		}
		asked := true // of slapd, which does not read values in BER
		space := func() string { return rapid.SampledFrom([]string{"", "", " ", "  "}).Draw(t, "space") }
		write := func(v string) string {
			switch rapid.IntRange(0, 2).Draw(t, "escape") {
			case 0: // every byte in hex
				var b strings.Builder
				for i := range len(v) {
					b.WriteString(`\` + hex.EncodeToString([]byte{v[i]}))
				}
				return b.String()
			case 1: // as BER in hex
				asked = false
				return "#04" + hex.EncodeToString(append([]byte{byte(len(v))}, v...))
			}
			return space() + ldap.EscapeDN(v) + space()
		}
		var rdns []string
		for _, rdn := range entries[dn] {
			var parts []string
			for _, p := range rapid.Permutation(rdn).Draw(t, "order") {
				parts = append(parts, space()+flip(rapid.SampledFrom(p.types).Draw(t, "type"))+"="+write(flip(rapid.SampledFrom(p.values).Draw(t, "value"))))
			}
			rdns = append(rdns, strings.Join(parts, "+"))
		}
		spelled := strings.Join(rdns, ",")
		want, err := NormalDN(dn)
		require.NoError(t, err)
		got, err := NormalDN(spelled)
		require.NoError(t, err, "%q", spelled)
		require.Equal(t, want, got, "%q", spelled)
		if asked {
			require.True(t, n.finds(spelled), "slapd knows it, too: %q", spelled)
		}
	})
}
