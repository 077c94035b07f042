package histories

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra"
	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	filesource "github.com/ambit-iam/ambit/connectors/file"
	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// The ends that a read of what looks empty may have.
const (
	incomplete = "incomplete" // the source did not say that it is finished
	held       = "held"       // it did, and a person must say whether it is meant
	harmless   = "harmless"   // it is complete, and nothing was taken from anybody
)

// swapped is a source whose configuration can change.
type swapped struct{ directory.Reader }

// looksEmpty lets something happen to a source that was read well, reads it again
// and again, from a new process too, and counts what anybody has lost: nothing.
// When it is mended everything is as it was.
func looksEmpty(t *testing.T, reader directory.Reader, end string, happens func(o *office, source *swapped) (mend func())) {
	source := &swapped{reader}
	o := open(t, t.TempDir(), rulesFile, source)
	defer o.close()
	require.NoError(t, o.read())
	was := o.rights()
	require.Greater(t, len(was), 100)
	mend := happens(o, source)
	removed := func() int {
		n := 0
		now := o.rights()
		for right := range was {
			if !now[right] {
				n++
			}
		}
		return n
	}
	for i := range 4 {
		if i == 2 {
			o.start()
		}
		err := o.read()
		switch end {
		case incomplete:
			require.Error(t, err)
			require.NotErrorIs(t, err, dirsync.ErrHeld)
		case held:
			// A read that is much smaller than the last is refused before there is a plan.
			require.True(t, errors.Is(err, dirsync.ErrHeld) || errors.Is(err, dirsync.ErrShrunken), "%v", err)
		default:
			require.NoError(t, err)
		}
		require.Zero(t, removed(), "removed without a person's word")
	}
	mend()
	source.Reader = reader
	for range 2 { // the first may find that its cursor is of no use
		require.NoError(t, o.read())
	}
	require.Equal(t, was, o.rights())
}

// rewriting lets a proxy tell something else.
func rewriting(p *ldaptest.Proxy, f ldaptest.Rewrite) func(*office, *swapped) func() {
	return func(*office, *swapped) func() {
		p.Rewrite(f)
		return func() { p.Rewrite(nil) }
	}
}

func isEntry(answer *ber.Packet) bool {
	return answer.Children[1].Tag == goldap.ApplicationSearchResultEntry
}

func nameOf(entry *ber.Packet) string { return entry.Children[1].Children[0].Data.String() }

// without leaves an attribute out of entries below a base.
func without(attribute, base string) ldaptest.Rewrite {
	return func(_, answer *ber.Packet) []*ber.Packet {
		if !isEntry(answer) || !strings.HasSuffix(nameOf(answer), base) {
			return []*ber.Packet{answer}
		}
		return []*ber.Packet{ldaptest.EditEntry(answer, func(all []company.Attribute) []company.Attribute {
			var out []company.Attribute
			for _, a := range all {
				if !strings.EqualFold(a.Name, attribute) {
					out = append(out, a)
				}
			}
			return out
		})}
	}
}

// hiding leaves entries out, as rights do that were taken away: nothing tells.
func hiding(hidden func(dn string) bool) ldaptest.Rewrite {
	return func(_, answer *ber.Packet) []*ber.Packet {
		if isEntry(answer) && hidden(nameOf(answer)) {
			return nil
		}
		return []*ber.Packet{answer}
	}
}

// ending gives searches below the bases another end.
func ending(code uint16) ldaptest.Rewrite {
	return func(request, answer *ber.Packet) []*ber.Packet {
		if answer.Children[1].Tag == goldap.ApplicationSearchResultDone && ldaptest.Asks(request, "inetOrgPerson") {
			return []*ber.Packet{ldaptest.Done(answer, code)}
		}
		return []*ber.Packet{answer}
	}
}

const people, groups = "ou=people,dc=example,dc=com", "ou=groups,dc=example,dc=com"

// followed are the ways in which an LDAP server is followed, by what the
// configuration calls them.
var followed = []string{"none", "timestamps", "content_sync", "accesslog"}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := rig.RemoveDomain(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestRule_REL_4_what_looks_empty_in_LDAP_takes_nothing_away(t *testing.T) {
	s := rig.StartLoggingSlapd(t, company.Small().WriteLDIF)
	proxy, err := ldaptest.StartProxy(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	root, err := goldap.DialURL(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	require.NoError(t, root.Bind(s.RootDN, s.Password))
	base := ldap.Config{
		Server: ldap.Server{URL: proxy.URL, InsecurePlaintextLoopback: true, BindDN: s.BindDN, Password: file(t, s.Password), PageSize: 40, IdleSeconds: 1},
		Users:  ldap.Users{Base: people, Disabled: "pwdAccountLockedTime"},
		Groups: ldap.Groups{Base: groups},
	}
	reader := func(t *testing.T, changes string, edit func(*ldap.Config)) directory.Reader {
		c := base
		c.Changes = changes
		if edit != nil {
			edit(&c)
		}
		s, err := ldap.New(c)
		require.NoError(t, err)
		return s
	}
	configured := func(edit func(t *testing.T, c *ldap.Config)) func(string) func(*office, *swapped) func() {
		return func(changes string) func(*office, *swapped) func() {
			return func(o *office, source *swapped) func() {
				source.Reader = reader(o.t.(*testing.T), changes, func(c *ldap.Config) { edit(o.t.(*testing.T), c) })
				return func() {}
			}
		}
	}
	proxied := func(f ldaptest.Rewrite) func(string) func(*office, *swapped) func() {
		return func(string) func(*office, *swapped) func() { return rewriting(proxy, f) }
	}
	faulty := func(f ldaptest.ProxyFault) func(string) func(*office, *swapped) func() {
		return func(string) func(*office, *swapped) func() {
			return func(*office, *swapped) func() {
				proxy.Arm(f)
				return func() { proxy.Arm(ldaptest.ProxyFault{}) }
			}
		}
	}
	move := func(dn, rdn, parent string) func() {
		return func() { require.NoError(t, root.ModifyDN(goldap.NewModifyDNRequest(dn, rdn, true, parent))) }
	}
	for name, c := range map[string]struct {
		end  string
		only string // way of following; all where it is empty
		do   func(changes string) func(*office, *swapped) func()
	}{
		"a wrong password":               {incomplete, "", configured(func(t *testing.T, c *ldap.Config) { c.Password = file(t, "wrong") })},
		"an account that is gone":        {incomplete, "", configured(func(_ *testing.T, c *ldap.Config) { c.BindDN = "cn=gone,dc=example,dc=com" })},
		"nobody listens":                 {incomplete, "", configured(func(_ *testing.T, c *ldap.Config) { c.URL = "ldap://127.0.0.1:1" })},
		"a base that is not there":       {incomplete, "", configured(func(_ *testing.T, c *ldap.Config) { c.Users.Base = "ou=nobody,dc=example,dc=com" })},
		"another base, with few in it":   {held, "", configured(func(_ *testing.T, c *ldap.Config) { c.Groups.Base = people })},
		"a filter that finds nobody":     {held, "", configured(func(_ *testing.T, c *ldap.Config) { c.Users.Filter = "(employeeType=nobody)" })},
		"a filter that finds a few":      {held, "", configured(func(_ *testing.T, c *ldap.Config) { c.Users.Filter = "(&(objectClass=inetOrgPerson)(uid=a*))" })},
		"groups of another class":        {held, "", configured(func(_ *testing.T, c *ldap.Config) { c.Groups.Classes = []string{"posixGroup"} })},
		"another attribute as user name": {held, "", configured(func(_ *testing.T, c *ldap.Config) { c.Users.UserName = "telexNumber" })},
		"a limited account":              {harmless, "", configured(func(_ *testing.T, c *ldap.Config) { c.PageSize = 500 })},

		"the size limit, on a page":     {incomplete, "", proxied(ending(goldap.LDAPResultSizeLimitExceeded))},
		"the time limit":                {incomplete, "", proxied(ending(goldap.LDAPResultTimeLimitExceeded))},
		"the administrative limit":      {incomplete, "", proxied(ending(goldap.LDAPResultAdminLimitExceeded))},
		"no such object":                {incomplete, "", proxied(ending(goldap.LDAPResultNoSuchObject))},
		"not allowed":                   {incomplete, "", proxied(ending(goldap.LDAPResultInsufficientAccessRights))},
		"busy":                          {incomplete, "", proxied(ending(goldap.LDAPResultBusy))},
		"a referral for an answer":      {incomplete, "", proxied(ending(goldap.LDAPResultReferral))},
		"an end without its control":    {incomplete, "", proxied(ending(goldap.LDAPResultSuccess))},
		"a cut within the people":       {incomplete, "", faulty(ldaptest.ProxyFault{After: 5, Cut: true})},
		"a cut before the first":        {incomplete, "", faulty(ldaptest.ProxyFault{Cut: true})},
		"a silence":                     {incomplete, "", faulty(ldaptest.ProxyFault{After: 2, Stall: true})},
		"every entry twice":             {harmless, "", faulty(ldaptest.ProxyFault{Duplicate: true})},
		"people without their ids":      {incomplete, "none", proxied(without("entryUUID", people))},
		"groups without their ids":      {incomplete, "none", proxied(without("entryUUID", groups))},
		"a list of ids without the ids": {incomplete, "timestamps", proxied(without("entryUUID", people))},
		"nobody is shown":               {held, "none", proxied(hiding(func(dn string) bool { return strings.HasSuffix(dn, people) }))},
		"no group is shown":             {held, "none", proxied(hiding(func(dn string) bool { return strings.HasPrefix(dn, "cn=") }))},
		"every second is shown":         {held, "none", proxied(hiding(func(dn string) bool { return len(dn)%2 == 0 }))},
		"a list of ids that is empty":   {held, "timestamps", proxied(hiding(func(dn string) bool { return strings.HasSuffix(dn, people) }))},
		"members are not shown":         {held, "none", proxied(without("member", groups))},
		"user names are not shown":      {held, "none", proxied(without("uid", people))},
		"members come in parts":         {incomplete, "none", proxied(ldaptest.LimitValues(2))},

		"a unit is renamed, with all that is in it": {incomplete, "", func(string) func(*office, *swapped) func() {
			return func(*office, *swapped) func() {
				move(people, "ou=staff", "")()
				return move("ou=staff,dc=example,dc=com", "ou=people", "")
			}
		}},
		"a present phase without its list": {harmless, "content_sync", func(string) func(*office, *swapped) func() {
			return rewriting(proxy, func(request, answer *ber.Packet) []*ber.Packet {
				if answer.Children[1].Tag == goldap.ApplicationSearchResultDone && ldaptest.Asks(request, "rid=") && len(answer.Children) > 2 {
					return []*ber.Packet{presentPhase(answer)}
				}
				return []*ber.Packet{answer}
			})
		}},
		"who reads gives up": {incomplete, "", func(string) func(*office, *swapped) func() {
			return func(o *office, source *swapped) func() {
				source.Reader = cancelling{source.Reader}
				return func() {}
			}
		}},
	} {
		for _, changes := range followed {
			if c.only != "" && c.only != changes {
				continue
			}
			t.Run(changes+": "+name, func(t *testing.T) {
				looksEmpty(t, reader(t, changes, nil), c.end, c.do(changes))
			})
		}
	}
}

// presentPhase makes a refresh end as if its list of what there is had come before.
func presentPhase(answer *ber.Packet) *ber.Packet {
	for _, control := range answer.Children[2].Children {
		if decoded, err := goldap.DecodeControl(control); err == nil {
			if done, ok := decoded.(*goldap.ControlSyncDone); ok {
				out := ldaptest.Done(answer, goldap.LDAPResultSuccess)
				value := ber.NewSequence("")
				value.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, string(done.Cookie), ""))
				one := ber.NewSequence("")
				one.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, goldap.ControlTypeSyncDone, ""))
				one.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, string(value.Bytes()), ""))
				list := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
				list.AppendChild(one)
				out.AppendChild(list)
				return out
			}
		}
	}
	return answer
}

// cancelling reads with a context that ends at once.
type cancelling struct{ directory.Reader }

func (c cancelling) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return c.Reader.Read(ctx, start, func(m directory.Mode) error {
		cancel()
		return begin(m)
	}, yield)
}

func TestRule_REL_4_what_looks_empty_in_Entra_takes_nothing_away(t *testing.T) {
	times := func(n int, f graphtest.Fault) func(*graphtest.Server, *office, *swapped) func() {
		return func(server *graphtest.Server, _ *office, _ *swapped) func() {
			server.Arm(f, n)
			return server.Disarm
		}
	}
	arm := func(f graphtest.Fault) func(*graphtest.Server, *office, *swapped) func() { return times(-1, f) }
	full := func(f graphtest.Fault) func(*graphtest.Server, *office, *swapped) func() { // the links are of no use
		return func(server *graphtest.Server, _ *office, _ *swapped) func() {
			server.Arm(graphtest.Expire(), -1)
			server.Arm(f, -1)
			return func() {
				server.Disarm()
				server.Arm(graphtest.Gone(), 2) // what came by change since an empty answer is nothing
			}
		}
	}
	deny := func(permission string) func(*graphtest.Server, *office, *swapped) func() {
		return func(server *graphtest.Server, _ *office, _ *swapped) func() {
			server.Deny(permission)
			return func() { server.Permit(permission) }
		}
	}
	for name, c := range map[string]struct {
		end string
		do  func(*graphtest.Server, *office, *swapped) func()
	}{
		"410 for the links":                   {harmless, arm(graphtest.Gone())},
		"syncStateNotFound for the links":     {harmless, arm(graphtest.Expire())},
		"a page without a link":               {incomplete, arm(graphtest.NoLink())},
		"half a body as if it were all":       {incomplete, arm(graphtest.Truncate())},
		"a cut in a body":                     {incomplete, arm(graphtest.Cut())},
		"200 and nothing":                     {incomplete, arm(graphtest.EmptyBody())},
		"200 and {}":                          {incomplete, arm(graphtest.Answer(200, "{}"))},
		"200 and a page for people":           {incomplete, arm(graphtest.Answer(200, "<html>sign in</html>"))},
		"empty pages with nextLinks":          {harmless, times(3, graphtest.EmptyPage())},
		"pages that come twice":               {harmless, times(3, graphtest.PageTwice())},
		"an empty round by change":            {harmless, arm(graphtest.NoObjects())},
		"a full round without objects":        {held, full(graphtest.NoObjects())},
		"objects with an id and nothing else": {harmless, full(graphtest.LimitedInfo())},
		"a chain without an end":              {incomplete, full(graphtest.EndlessChain())},
		"a link to another host":              {incomplete, arm(graphtest.ForeignLink("https://elsewhere.example"))},
		"a redirect":                          {incomplete, arm(graphtest.Redirect("https://elsewhere.example/v1.0"))},
		"401 for ever":                        {incomplete, arm(graphtest.Unauthorized())},
		"429 for longer than anybody waits":   {incomplete, arm(graphtest.Throttle(time.Hour))},
		"403 for users":                       {incomplete, deny(graphtest.UserRead)},
		"403 for groups":                      {incomplete, deny(graphtest.GroupMemberRead)},
		"a round as of earlier":               {harmless, arm(graphtest.Stale(8))},
		"a round once more":                   {harmless, arm(graphtest.Replay())},
		"a wrong secret": {incomplete, func(server *graphtest.Server, o *office, source *swapped) func() {
			source.Reader = graph(o.t.(*testing.T), server, "wrong")
			return func() {}
		}},
		"half of the people deleted, and restored": {held, func(server *graphtest.Server, _ *office, _ *swapped) func() {
			ids := atHome(company.Small())
			for _, id := range ids[:len(ids)/2] {
				server.Remove(id)
			}
			return func() {
				for _, id := range ids[:len(ids)/2] {
					server.Restore(id)
				}
			}
		}},
		"a large group emptied": {held, func(server *graphtest.Server, _ *office, _ *swapped) func() {
			g := largest(company.Small())
			server.EmptyGroup(g.ID)
			return func() {
				for _, m := range g.Members {
					server.AddMember(g.ID, m)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is the SDK's patience
			server, err := graphtest.Start(t.TempDir(), graphtest.Options{PageSize: 40})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, server.Close()) })
			server.Load(company.Small())
			looksEmpty(t, graph(t, server, graphtest.ClientSecret), c.end, func(o *office, source *swapped) func() { return c.do(server, o, source) })
		})
	}
}

func graph(t testing.TB, server *graphtest.Server, secret string) directory.Reader {
	s, err := entra.New(entra.Config{
		TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: file(t, secret), GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
	})
	require.NoError(t, err)
	return s
}

// atHome are the ids of the people of Entra.
func atHome(c *company.Company) (ids []string) {
	for _, p := range c.People {
		if p.Home == company.Entra {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// largest is the largest group of Entra.
func largest(c *company.Company) (g company.Group) {
	for _, one := range c.Groups {
		if one.Home == company.Entra && len(one.Members) > len(g.Members) {
			g = one
		}
	}
	return g
}

func TestRule_REL_4_what_looks_empty_in_Active_Directory_takes_nothing_away(t *testing.T) {
	s := rig.StartSamba(t)
	proxy, err := ldaptest.StartProxy(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	reader := func(t *testing.T, changes string, edit func(*testing.T, *ldap.ADConfig)) directory.Reader {
		c := ldap.ADConfig{
			Server: ldap.Server{URL: proxy.URL, InsecurePlaintextLoopback: true, BindDN: s.BindDN, Password: file(t, s.Password), PageSize: 40},
			Users:  ldap.ADUsers{Base: rig.PeopleOU}, Groups: ldap.ADGroups{Base: rig.GroupsOU}, Changes: changes,
		}
		if edit != nil {
			edit(t, &c)
		}
		s, err := ldap.NewAD(c)
		require.NoError(t, err)
		return s
	}
	configured := func(edit func(*testing.T, *ldap.ADConfig)) func(string) func(*office, *swapped) func() {
		return func(changes string) func(*office, *swapped) func() {
			return func(o *office, source *swapped) func() {
				source.Reader = reader(o.t.(*testing.T), changes, edit)
				return func() {}
			}
		}
	}
	proxied := func(f ldaptest.Rewrite) func(string) func(*office, *swapped) func() {
		return func(string) func(*office, *swapped) func() { return rewriting(proxy, f) }
	}
	limit := ldaptest.LimitValues(3)
	for name, c := range map[string]struct {
		end  string
		only string
		do   func(string) func(*office, *swapped) func()
	}{
		"a wrong password":                          {incomplete, "", configured(func(t *testing.T, c *ldap.ADConfig) { c.Password = file(t, "wrong") })},
		"an account without the right to replicate": {harmless, "dirsync", configured(func(_ *testing.T, c *ldap.ADConfig) { c.BindDN = s.OrdinaryDN })},
		"another unit for people":                   {held, "", configured(func(_ *testing.T, c *ldap.ADConfig) { c.Users.Base = "CN=Users," + s.Domain })},
		"lists of members that come in parts":       {harmless, "", proxied(limit)},
		"and of which the rest does not come": {incomplete, "none", proxied(func(request, answer *ber.Packet) []*ber.Packet {
			if isEntry(answer) && ldaptest.Asks(request, "member;range=3-") {
				return nil
			}
			return limit(request, answer)
		})},
		"members that are not shown":  {held, "none", proxied(without("member", rig.GroupsOU))},
		"nobody is shown":             {held, "none", proxied(hiding(func(dn string) bool { return strings.HasSuffix(dn, rig.PeopleOU) }))},
		"a list of ids that is empty": {held, "usn", proxied(hiding(func(dn string) bool { return strings.HasSuffix(dn, rig.PeopleOU) }))},
		"a controller that was restored": {harmless, "", proxied(func(_, answer *ber.Packet) []*ber.Packet {
			return []*ber.Packet{ldaptest.EditEntry(answer, func(all []company.Attribute) []company.Attribute {
				for i, a := range all {
					if a.Name == "invocationId" {
						all[i].Values = []string{"another database"}
					}
				}
				return all
			})}
		})},
	} {
		for _, changes := range []string{"none", "usn", "dirsync"} {
			if c.only == "" || c.only == changes {
				t.Run(changes+": "+name, func(t *testing.T) { looksEmpty(t, reader(t, changes, nil), c.end, c.do(changes)) })
			}
		}
	}
}

func TestRule_REL_4_what_looks_empty_in_files_takes_nothing_away(t *testing.T) {
	for name, c := range map[string]struct {
		end string
		do  func(text string) string
	}{
		"a file of which half is there":     {incomplete, func(text string) string { return text[:len(text)/2] }},
		"a file of no length":               {incomplete, func(string) string { return "" }},
		"a file that ends after its header": {incomplete, func(text string) string { return text[:strings.Index(text, "\n")+1] }},
		"a file without its last line":      {incomplete, func(text string) string { return strings.Replace(text, "# end\n", "", 1) }},
		"a header and an end, and nobody":   {held, func(text string) string { return text[:strings.Index(text, "\n")+1] + "# end\n" }},
		"half of the people, and an end":    {held, func(text string) string { return text[:strings.Index(text, "\np100,")+1] + "# end\n" }},
		"a column that is gone":             {incomplete, func(text string) string { return strings.Replace(text, "userName", "login", 1) }},
		"bytes that are no text":            {incomplete, func(string) string { return "\xff\xfe\x00\x00" }},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "people.csv")
			var b strings.Builder
			b.WriteString("id,userName\n")
			for i := range 200 {
				fmt.Fprintf(&b, "p%d,user%d\n", i, i)
			}
			b.WriteString("# end\n")
			write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
			write(b.String())
			source, err := filesource.New(filesource.Config{Format: filesource.CSV, End: filesource.Trailer, Users: filesource.Users{Paths: []string{path}}}, func(path string) string { return path })
			require.NoError(t, err)
			looksEmpty(t, source, c.end, func(*office, *swapped) func() {
				write(c.do(b.String()))
				return func() { write(b.String()) }
			})
		})
	}
}
