package ldap

import (
	"maps"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// elsewhere is a unit that another server has.
const elsewhere = `dn: ou=elsewhere,ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: elsewhere

dn: uid=far,ou=elsewhere,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: far
cn: Far
sn: Far
entryUUID: 00000000-0000-4000-8000-00000000000f
`

// pointer is a reference to it, or to something else.
func pointer(to string) string {
	return "dn: ou=elsewhere,ou=people,dc=example,dc=com\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\nref: " + to + "\n"
}

func TestRule_LDAP_7_references_are_followed_to_configured_servers_only(t *testing.T) {
	far := rig.StartSlapd(t, with(company.Small(), elsewhere))
	const base = "/ou=elsewhere,ou=people,dc=example,dc=com"
	s := rig.StartSlapd(t, with(company.Small(), pointer(far.URL+base)))
	plain := reading(t, s)
	plain.URL, plain.InsecurePlaintextLoopback = s.URL, true
	const id = directory.ObjectID("00000000-0000-4000-8000-00000000000f")

	_, err := sourcetest.Collect(t.Context(), source(t, plain), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, far.URL, "it says where it would lead")

	c := plain
	c.Referrals = []string{far.URL}
	f := follow(t, c)
	require.Contains(t, f.Objects, id)
	require.Len(t, f.Objects, 192, "and everybody who is here, once")
	facts, err := source(t, c).Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "ou=elsewhere,ou=people,dc=example,dc=com refers to "+far.URL)
	require.Contains(t, strings.Join(facts, "\n"), "154 users")

	c.Referrals = []string{s.URL}
	_, err = sourcetest.Follow(t.Context(), source(t, c), directory.Start{}, f.Round)
	require.ErrorIs(t, err, directory.ErrIncomplete, "Rule SRC-2: the configuration has changed; and then it is incomplete")
	require.ErrorContains(t, err, "refers to "+far.URL)

	// A server that is gone, or lets nobody in: those who are there lose nothing.
	far.Restart(t, func() {
		round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
		require.ErrorIs(t, err, directory.ErrIncomplete)
		require.False(t, round.Complete)
		require.Contains(t, round.Objects, id)
	})
	f.next()
	require.Contains(t, f.Objects, id)
	write(t, far).remove("uid=far,ou=elsewhere,ou=people,dc=example,dc=com")
	f.next()
	require.NotContains(t, f.Objects, id)
}

// awayDN is a base that is a referral itself.
const awayDN = "ou=away,dc=example,dc=com"

// refersTo makes awayDN one.
func (w writer) refersTo(urls ...string) {
	w.t.Helper()
	request := ldap.NewAddRequest(awayDN, nil)
	request.Attribute("objectClass", []string{"referral", "extensibleObject"})
	request.Attribute("ref", urls)
	require.NoError(w.t, w.conn.Add(request))
}

func TestRule_LDAP_7_a_base_that_is_a_referral(t *testing.T) {
	far := rig.StartSlapd(t, company.Small().WriteLDIF)
	s := rig.StartSlapd(t, with(company.Small(), `dn: cn=dynamic,ou=groups,dc=example,dc=com
objectClass: groupOfURLs
cn: dynamic
memberURL: ldap:///`+awayDN+`??sub?(uid=`+company.Employee+`)
memberURL: ldap:///`+awayDN+`??one?(uid=nobody)
`))
	write(t, s).refersTo("ldap://127.0.0.1:1/ou=people,dc=example,dc=com", far.URL+"/ou=people,dc=example,dc=com")
	here := reading(t, s)
	here.URL, here.InsecurePlaintextLoopback = s.URL, true
	here.Groups.Classes = []string{"groupOfNames", "groupOfURLs"}
	here.Referrals = []string{far.URL}
	want := follow(t, here).Round
	c := here
	c.Users.Base, c.Referrals = awayDN, nil
	for _, c.Changes = range []string{"", contentSync, timestamps, everything} {
		round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
		require.ErrorIs(t, err, directory.ErrIncomplete, c.Changes)
		require.ErrorContains(t, err, far.URL, "it says where it would lead")
		require.ErrorContains(t, err, "or those of referrals", "and what to set")
		require.False(t, round.Complete)
		_, err = source(t, c).Probe(t.Context())
		require.ErrorContains(t, err, far.URL)
		err = source(t, c).Survey(t.Context(), directory.Start{}, func([]directory.State) error { return nil })
		require.ErrorContains(t, err, far.URL)
		_, err = source(t, c).LiveGroups(t.Context(), directory.ObjectID(company.Small().Person(company.Employee).ID))
		require.ErrorContains(t, err, far.URL)
	}

	c.Changes, c.Referrals = "", []string{far.URL}
	f := follow(t, c)
	require.Len(t, f.Objects, len(want.Objects))
	for id, o := range want.Objects {
		o.Attributes = maps.Clone(o.Attributes)
		delete(o.Attributes, directory.AttrMark) // which is the server's own
		delete(f.Objects[id].Attributes, directory.AttrMark)
		require.Equal(t, o, f.Objects[id])
	}
	require.Equal(t, want.Edges, f.Edges, "with whom a dynamic group's searches find there")
	facts, err := source(t, c).Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), awayDN+" refers to ldap://127.0.0.1:1/ou=people,dc=example,dc=com or "+far.URL)
	require.Contains(t, strings.Join(facts, "\n"), "153 users below "+awayDN)
	states := 0
	require.NoError(t, source(t, c).Survey(t.Context(), directory.Start{}, func(some []directory.State) error {
		states += len(some)
		return nil
	}))
	require.Equal(t, len(want.Objects)-1, states, "all but the dynamic group")
	employee := directory.ObjectID(company.Small().Person(company.Employee).ID)
	there, err := source(t, here).LiveGroups(t.Context(), employee)
	require.NoError(t, err)
	live, err := source(t, c).LiveGroups(t.Context(), employee)
	require.NoError(t, err)
	require.ElementsMatch(t, there.Refs, live.Refs)

	// One that is configured and gone is as good as the next; without both nobody is
	// taken away.
	c.Referrals = []string{"ldap://127.0.0.1:1", far.URL}
	f = follow(t, c)
	far.Restart(t, func() {
		round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
		require.ErrorIs(t, err, directory.ErrIncomplete)
		require.ErrorIs(t, err, directory.ErrUnreachable)
		require.ErrorContains(t, err, far.URL)
		require.False(t, round.Complete)
		require.Contains(t, round.Objects, employee)
	})
	write(t, far).remove(employeeDN)
	f.next()
	require.NotContains(t, f.Objects, employee)

	// A base below the referral is elsewhere, too.
	c.Users.Base = "uid=" + company.Approver + "," + awayDN
	f = follow(t, c)
	require.Contains(t, f.Objects, directory.ObjectID(company.Small().Person(company.Approver).ID))
	require.Len(t, f.Objects, len(want.Objects)-152)
}

func TestRule_LDAP_7_a_base_that_becomes_a_referral_takes_nothing_away(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w := write(t, s)
	for _, changes := range []string{contentSync, timestamps} {
		t.Run(changes, func(t *testing.T) {
			w.add(awayDN, "organizationalUnit")
			w.add("uid=near,"+awayDN, "inetOrgPerson", "cn", "near", "sn", "near")
			c := reading(t, s)
			c.Changes, c.Users.Base = changes, awayDN
			f := follow(t, c)
			near := f.id("uid=near," + awayDN)
			w.remove("uid=near," + awayDN)
			w.remove(awayDN)
			w.refersTo("ldap://evil.example/ou=people,dc=example,dc=com")
			round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, "evil.example")
			require.False(t, round.Complete)
			require.Contains(t, round.Objects, near)
			manage := []ldap.Control{ldap.NewControlManageDsaIT(true)}
			require.NoError(t, w.conn.Del(ldap.NewDelRequest(awayDN, manage)))
		})
	}
}

func TestRule_LDAP_7_a_base_that_leads_nowhere(t *testing.T) {
	s := rig.StartSlapd(t, company.Small().WriteLDIF)
	w := write(t, s)
	for name, c := range map[string]struct{ to, want string }{
		"in a circle":      {s.URL + "/" + awayDN, "in a circle"},
		"another search":   {s.URL + "/ou=people,dc=example,dc=com??base", "another search"},
		"to somebody else": {"ldap://evil.example/ou=people,dc=example,dc=com", "evil.example"},
		"to nothing":       {s.URL + "/ou=nowhere,dc=example,dc=com", "whether the base is right"},
	} {
		t.Run(name, func(t *testing.T) {
			w.refersTo(c.to)
			config := reading(t, s)
			config.URL, config.InsecurePlaintextLoopback, config.Referrals, config.Users.Base = s.URL, true, []string{s.URL}, awayDN
			round, err := sourcetest.Collect(t.Context(), source(t, config), directory.Start{})
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, c.want)
			require.False(t, round.Complete)
			require.NoError(t, w.conn.Del(ldap.NewDelRequest(awayDN, []ldap.Control{ldap.NewControlManageDsaIT(true)})))
		})
	}
}

func TestRule_LDAP_7_references_that_lead_nowhere(t *testing.T) {
	for name, c := range map[string]struct{ to, want string }{
		"in a circle":       {"{self}/ou=people,dc=example,dc=com", "in a circle"},
		"to a reference":    {"{self}", "in a circle"}, // slapd fills in the reference's own name
		"another search":    {"{self}/ou=people,dc=example,dc=com??one", "another search"},
		"to somebody else":  {"ldap://evil.example/ou=people,dc=example,dc=com", "evil.example"},
		"to a base without": {"{self}/ou=nowhere,dc=example,dc=com", "whether the base is right"},
	} {
		t.Run(name, func(t *testing.T) {
			s := rig.StartSlapd(t, company.Small().WriteLDIF)
			request := ldap.NewAddRequest("ou=away,ou=people,dc=example,dc=com", nil)
			request.Attribute("objectClass", []string{"referral", "extensibleObject"})
			request.Attribute("ref", []string{strings.ReplaceAll(c.to, "{self}", s.URL)})
			require.NoError(t, write(t, s).conn.Add(request))
			config := reading(t, s)
			config.URL, config.InsecurePlaintextLoopback, config.Referrals = s.URL, true, []string{s.URL}
			round, err := sourcetest.Collect(t.Context(), source(t, config), directory.Start{})
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, c.want)
			require.False(t, round.Complete)
		})
	}
	several := bases
	several.URL, several.BindDN, several.Password, several.Referrals = "ldaps://ldap.example.com", "cn=ambit", "env:PASSWORD", []string{"ldaps://Other.example.com", "ldaps://third.example.com:1636"}
	s := source(t, several)
	for reference, want := range map[string]string{
		"ldap://other.example.com/ou=x":                "ldaps://Other.example.com", // by the host, and as it is configured
		"ldaps://OTHER.example.com:636/ou=x??":         "ldaps://Other.example.com",
		"ldap://third.example.com/ou=x??sub":           "ldaps://third.example.com:1636",
		"ldap://third.example.com:1389/ou=x":           "",
		"ldap://third.example.com:1636/ou=x??base":     "",
		"ldap://third.example.com:1636/ou=x???(uid=a)": "",
		"ldap://other.example.com":                     "",
		"ldap:///ou=x":                                 "",
		"ldap://other.example.com/people":              "",
		"ldap://ldap.example.com/ou=x":                 "",
		"https://[::1":                                 "",
	} {
		d, base, err := s.refers(reference, ldap.ScopeWholeSubtree)
		if want == "" {
			require.Error(t, err, reference)
			continue
		}
		require.NoError(t, err, reference)
		require.Equal(t, want, d.config.URL)
		require.Equal(t, "ou=x", base)
	}
	good := bases
	good.URL, good.BindDN, good.Password = "ldaps://ldap.example.com", "cn=ambit", "env:PASSWORD"
	for want, spoil := range map[string]func(*Config){
		"referrals: url: ldap:// would send": func(c *Config) { c.Referrals = []string{"ldap://other.example.com"} },
		"everything is read each time":       func(c *Config) { c.Referrals, c.Changes = []string{"ldaps://other.example.com"}, contentSync },
	} {
		c := good
		spoil(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}
