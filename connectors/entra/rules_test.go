package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/testdata/company"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient makes a source that waits as long as it is told without waiting, and
// notes for how long.
func patient(t testing.TB, server *graphtest.Server, edit ...func(*Config)) (*Source, *[]time.Duration) {
	t.Helper()
	s := source(t, server, edit...)
	var waits []time.Duration
	s.graph.sleep = func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}
	return s, &waits
}

// full reads from nothing.
func readFull(t testing.TB, s *Source) sourcetest.Round {
	t.Helper()
	round, err := sourcetest.Collect(t.Context(), s, directory.Start{})
	require.NoError(t, err)
	require.True(t, round.Complete)
	return round
}

// next reads what changed since.
func readNext(t testing.TB, s *Source, before sourcetest.Round) (sourcetest.Round, error) {
	t.Helper()
	return sourcetest.Collect(t.Context(), s, directory.Start{Cursor: before.Cursor})
}

func member(group, far string) directory.Edge {
	return directory.Edge{Group: directory.ObjectID(group), Far: directory.ByID(directory.ObjectID(far))}
}

func person(name string) map[string]any {
	return map[string]any{"userPrincipalName": name + "@contoso.example", "displayName": name, "accountEnabled": true, "userType": "Member"}
}

func security(name string) map[string]any {
	return map[string]any{"displayName": name, "groupTypes": []any{}, "securityEnabled": true, "mailEnabled": false}
}

// few starts a directory of ann, bob and two groups; ann is in sales.
func few(t testing.TB) *graphtest.Server {
	t.Helper()
	server := serve(t, graphtest.Options{PageSize: 2, EdgesPerEntry: 2})
	server.AddUser("ann", person("Ann"))
	server.AddUser("bob", person("Bob"))
	server.AddUser("cid", person("Cid"))
	server.AddGroup("sales", security("Sales"))
	server.AddGroup("staff", security("Staff"))
	server.AddMember("sales", "ann")
	return server
}

func TestRule_GRAPH_1_a_cloud_sets_endpoint_and_authority_together(t *testing.T) {
	for cloud, want := range map[string]endpoints{
		"":                  {"https://graph.microsoft.com", "https://login.microsoftonline.com/"},
		"us_government":     {"https://graph.microsoft.us", "https://login.microsoftonline.us/"},
		"us_government_dod": {"https://dod-graph.microsoft.us", "https://login.microsoftonline.us/"},
		"china":             {"https://microsoftgraph.chinacloudapi.cn", "https://login.chinacloudapi.cn/"},
	} {
		c := Config{TenantID: "t", ClientID: "c", ManagedIdentity: true, Cloud: cloud}.withDefaults()
		require.Equal(t, want, endpoints{c.GraphEndpoint, clouds()[c.Cloud].authority}, cloud)
	}
}

func TestBadConfigurationSaysWhatToDo(t *testing.T) {
	good := Config{TenantID: "contoso.example", ClientID: "app", ClientSecret: "env:SECRET"}
	require.NoError(t, good.Validate())
	for want, spoil := range map[string]func(*Config){
		"tenant_id: want":                     func(c *Config) { c.TenantID = "" },
		"not \"a/../b\"":                      func(c *Config) { c.TenantID = "a/../b" },
		"cloud: \"mars\"":                     func(c *Config) { c.Cloud = "mars" },
		"want exactly one":                    func(c *Config) { c.ManagedIdentity = true },
		"exactly one of them":                 func(c *Config) { c.ClientSecret = "" },
		"client_id":                           func(c *Config) { c.ClientID = "" },
		"by reference":                        func(c *Config) { c.ClientSecret = "hunter2" },
		"graph_endpoint: http://":             func(c *Config) { c.GraphEndpoint = "http://graph.example.com" },
		"insecure_plaintext_loopback":         func(c *Config) { c.GraphEndpoint, c.InsecurePlaintextLoopback = "http://graph.example.com", true },
		"graph_endpoint: want https://host":   func(c *Config) { c.GraphEndpoint = "https://graph.example.com/v1.0" },
		"authority: http://":                  func(c *Config) { c.Authority, c.InsecurePlaintextLoopback = "http://127.0.0.1:1", true },
		"max_wait_seconds":                    func(c *Config) { c.MaxWaitSeconds = -1 },
		"timeout_seconds":                     func(c *Config) { c.TimeoutSeconds = -1 },
		"certificate_password: goes with":     func(c *Config) { c.CertificatePassword = "env:P" },
		"client_secret: a secret is given by": func(c *Config) { c.ClientSecret = "s3cret" },
	} {
		c := good
		spoil(&c)
		err := c.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
		_, err = New(c)
		require.Error(t, err)
	}
	c := good
	c.CAFile = filepath.Join(t.TempDir(), "absent.pem")
	_, err := New(c)
	require.ErrorContains(t, err, "ca_file")
}

func TestRule_GRAPH_2_each_credential_is_explicit(t *testing.T) {
	server := few(t)
	certificate, file := clientCertificate(t)
	server.TrustCertificate(certificate)
	password := secretFile(t, "of the container")
	server.TrustFederated("a-token-of-the-platform")
	t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", graphtest.ClientSecret)
	for name, edit := range map[string]func(*Config){
		"client secret":      func(*Config) {},
		"client certificate": func(c *Config) { c.ClientSecret, c.ClientCertificate = "", file },
		"PKCS#12 as OpenSSL 3 writes it": func(c *Config) {
			c.ClientSecret, c.ClientCertificate, c.CertificatePassword = "", pkcs12File(t, pkcs12.Modern, file), password
		},
		"PKCS#12 as Windows wrote it": func(c *Config) {
			c.ClientSecret, c.ClientCertificate, c.CertificatePassword = "", pkcs12File(t, pkcs12.LegacyDES, file), password
		},
		"workload identity": func(c *Config) {
			ref := secretFile(t, "a-token-of-the-platform")
			c.ClientSecret, c.WorkloadIdentity = "", strings.TrimPrefix(string(ref), "file:")
		},
		"managed identity": func(c *Config) { c.ClientSecret, c.ClientID, c.ManagedIdentity = "", "", true },
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, server, edit)
			require.Len(t, readFull(t, s).Objects, 5)
			// The second token, after the first was taken back.
			server.ExpireTokens()
			require.Len(t, readFull(t, s).Objects, 5)
		})
	}
	for name, edit := range map[string]func(*Config){
		"a password that is not the container's": func(c *Config) {
			c.ClientSecret, c.ClientCertificate, c.CertificatePassword = "", pkcs12File(t, pkcs12.Modern, file), secretFile(t, "forged")
		},
		"a certificate that is not registered": func(c *Config) { _, c.ClientCertificate = clientCertificate(t); c.ClientSecret = "" },
		"a federated token that is not trusted": func(c *Config) {
			c.ClientSecret, c.WorkloadIdentity = "", strings.TrimPrefix(string(secretFile(t, "forged")), "file:")
		},
		"a token file that is not there": func(c *Config) { c.ClientSecret, c.WorkloadIdentity = "", "/nonexistent/token" },
		"a secret that is not there":     func(c *Config) { c.ClientSecret = "file:/nonexistent/secret" },
		"another application":            func(c *Config) { c.ClientID = "00000000-0000-0000-0000-000000000001" },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sourcetest.Collect(t.Context(), source(t, server, edit), directory.Start{})
			require.ErrorIs(t, err, directory.ErrAuth)
			require.NotContains(t, err.Error(), "forged")
		})
	}
}

// clientCertificate makes a certificate and a file with it and its key.
func clientCertificate(t testing.TB) (*x509.Certificate, secret.Ref) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "client.pem")
	content := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return parsed, secret.Ref("file:" + path)
}

// pkcs12File puts the certificate and key of a PEM file into a PKCS#12 one.
func pkcs12File(t testing.TB, as *pkcs12.Encoder, from secret.Ref) secret.Ref {
	t.Helper()
	content, err := from.Resolve()
	require.NoError(t, err)
	certificates, key, err := azidentity.ParseCertificates(content, nil)
	require.NoError(t, err)
	content, err = as.Encode(key, certificates[0], nil, "of the container")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "client.p12")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return secret.Ref("file:" + path)
}

func TestRule_GRAPH_3_what_is_missing_is_named(t *testing.T) {
	server := few(t)
	server.AddGroup("secretive", map[string]any{"displayName": "Secretive", "groupTypes": []any{"Unified"}, "securityEnabled": false, "mailEnabled": true, "visibility": "HiddenMembership"})
	server.AddMember("secretive", "ann")
	s := source(t, server)
	facts, err := s.Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "groups that hide their members can be read")

	server.Deny(graphtest.MemberReadHidden)
	facts, err = s.Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, strings.Join(facts, "\n"), "grant the application permission Member.Read.Hidden")

	server.Deny(graphtest.UserRead)
	server.Deny(graphtest.GroupMemberRead)
	_, err = s.Probe(t.Context())
	require.ErrorIs(t, err, directory.ErrAuth)
	require.ErrorContains(t, err, "User.Read.All")
	require.ErrorContains(t, err, "GroupMember.Read.All")

	server.Permit(graphtest.UserRead)
	began := false
	err = s.Read(t.Context(), directory.Start{}, func(directory.Mode) error { began = true; return nil }, func(directory.Page) error { return nil })
	require.ErrorIs(t, err, directory.ErrAuth)
	require.ErrorContains(t, err, "GroupMember.Read.All")
	require.False(t, began)
}

func TestRule_GRAPH_4_null_properties_are_not_cleared_ones(t *testing.T) {
	server := few(t)
	s := source(t, server)
	before := readFull(t, s)
	server.SetAttribute("ann", "displayName", "Ann B.")
	server.Arm(graphtest.LimitedInfo(), -1)
	round, err := readNext(t, s, before)
	require.NoError(t, err)
	require.Empty(t, round.Objects)
	require.Len(t, round.Problems, 1)
	require.Equal(t, directory.ObjectID("ann"), round.Problems[0].Object)
	require.Contains(t, round.Problems[0].Text, "User.Read.All")
	server.Disarm()
	round, err = readNext(t, s, round)
	require.NoError(t, err)
	require.Empty(t, round.Problems)
	require.Len(t, round.Objects, 1, "who could not be read is asked for again: delta does not repeat it")
	require.Equal(t, "Ann B.", round.Objects["ann"].Get(directory.AttrDisplayName))
	round, err = readNext(t, s, round)
	require.NoError(t, err)
	require.Empty(t, round.Objects)
}

func TestRule_GRAPH_6_delta_queries_say_what_to_select(t *testing.T) {
	server := few(t)
	readFull(t, source(t, server))
	var asked []string
	for _, r := range server.Requests() {
		if strings.Contains(r.URI, "$select") {
			asked = append(asked, r.URI)
		}
	}
	require.Equal(t, []string{
		"/v1.0/users/delta()?$select=id,userPrincipalName,displayName,mail,accountEnabled,userType,assignedPlans,assignedLicenses,manager,externalUserState,onPremisesImmutableId,onPremisesSecurityIdentifier,deletedDateTime",
		"/v1.0/groups/delta()?$select=id,displayName,mailNickname,mailEnabled,securityEnabled,groupTypes,isAssignableToRole,membershipRule,membershipRuleProcessingState,onPremisesSyncEnabled,onPremisesSecurityIdentifier,visibility,members,owners",
	}, asked)
}

func TestRule_GRAPH_7_links_are_followed_byte_for_byte(t *testing.T) {
	server := few(t)
	s := source(t, server)
	before := readFull(t, s)
	_, err := readNext(t, s, before) // the server knows its links by their bytes only
	require.NoError(t, err)
	for _, r := range server.Requests() {
		if strings.Contains(r.URI, "token=") && strings.HasPrefix(r.URI, "/v1.0/") {
			require.Contains(t, r.URI, "%2D%2e~!'%7Ea")
		}
	}
}

func TestRule_GRAPH_7_empty_pages_go_on(t *testing.T) {
	server := few(t)
	s := source(t, server)
	want := readFull(t, s)
	server.Arm(graphtest.EmptyPage(), 5)
	got := readFull(t, s)
	require.Equal(t, want.Objects, got.Objects)
	require.Equal(t, want.Edges, got.Edges)
}

func TestRule_GRAPH_9_what_rules_name_is_selected(t *testing.T) {
	server := few(t)
	server.SetAttribute("ann", "department", "sales")
	server.SetAttribute("ann", "onPremisesExtensionAttributes", map[string]any{"extensionAttribute1": "EMEA", "extensionAttribute2": nil})
	server.SetAttribute("ann", "businessPhones", []any{"+2", "+1"})
	server.SetAttribute("ann", "employeeLeaveDateTime", "2026-12-01T00:00:00Z")
	server.SetAttribute("sales", "description", "who sells")
	s := source(t, server)
	names := []string{"businessPhones", "department", "description", "onPremisesExtensionAttributes.extensionAttribute1", "onPremisesExtensionAttributes.extensionAttribute2", "userName"}
	round, err := sourcetest.Collect(t.Context(), s, directory.Start{Attributes: names})
	require.NoError(t, err)
	ann := round.Objects["ann"].Attributes
	require.Equal(t, []string{"sales"}, ann["department"])
	require.Equal(t, []string{"EMEA"}, ann["onPremisesExtensionAttributes.extensionAttribute1"])
	require.NotContains(t, ann, "onPremisesExtensionAttributes.extensionAttribute2")
	require.Equal(t, []string{"+1", "+2"}, ann["businessPhones"], "a list has no order")
	require.NotContains(t, ann, "employeeLeaveDateTime")
	require.Equal(t, []string{"who sells"}, round.Objects["sales"].Attributes["description"])

	_, err = sourcetest.Collect(t.Context(), s, directory.Start{Cursor: round.Cursor})
	require.ErrorIs(t, err, directory.ErrCursorExpired, "Rule SRC-2: other attributes are another identity")
	// Rule GRAPH-10: what Graph does not follow, and what there is not, are errors.
	for name, want := range map[string]string{"nonsense": "Could not find a property", "skills": "not trackable", "a;b": "no such property"} {
		_, err = sourcetest.Collect(t.Context(), s, directory.Start{Attributes: []string{name}})
		require.ErrorContains(t, err, want)
	}
}

func TestRule_GRAPH_12_a_deleted_user_goes_and_comes_back(t *testing.T) {
	server := few(t)
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	server.RemoveMember("sales", "ann")
	server.AddMember("sales", "bob")
	server.Remove("bob")
	server.Purge("cid")
	m.sync(t, s)
	require.NotContains(t, m.objects, directory.ObjectID("bob"))
	require.NotContains(t, m.objects, directory.ObjectID("cid"))
	require.Empty(t, m.edges)
	server.Restore("bob")
	m.sync(t, s)
	require.Equal(t, "Bob", m.objects["bob"].Get(directory.AttrDisplayName))
	require.Contains(t, m.edges, member("sales", "bob"))
	m.equalsFullRead(t, server)
}

func TestRule_GRAPH_12_tombstones_in_an_initial_round(t *testing.T) {
	server := few(t)
	server.RemoveMember("sales", "ann")
	server.Remove("bob")
	server.Purge("cid")
	round := readFull(t, source(t, server))
	require.ElementsMatch(t, []directory.ObjectID{"ann", "sales", "staff"}, slices.Collect(maps.Keys(round.Objects)))
	require.Empty(t, round.Edges)
}

func TestRule_GRAPH_13_a_round_goes_on_where_it_was_cut(t *testing.T) {
	server := serve(t, graphtest.Options{PageSize: 3, EdgesPerEntry: 2})
	server.Load(company.Small())
	want := readFull(t, source(t, server))
	stop := errors.New("stop")
	for pages := range 120 {
		m, s := newMirror(), source(t, server)
		n := 0
		var mode *directory.Mode
		err := m.read(s, &mode, func() error {
			if n++; n > pages {
				return stop
			}
			return nil
		})
		if err == nil {
			require.Greater(t, pages, 60, "the round has many pages")
			break
		}
		require.ErrorIs(t, err, stop)
		asked := len(server.Requests())
		another := s
		if pages%2 == 0 {
			another = source(t, server) // another process
		}
		m.sync(t, another)
		require.Equal(t, want.Objects, m.objects)
		require.Equal(t, want.Edges, m.edges)
		if pages == 60 {
			for _, r := range server.Requests()[asked:] {
				require.NotContains(t, r.URI, "users/delta()?$select", "the users were read")
			}
			require.Equal(t, []directory.Mode{directory.Full}, m.sync(t, another), "what was said in two parts is read once more")
			require.Equal(t, []directory.Mode{directory.Delta}, m.sync(t, another))
		}
	}
}

func TestRule_GRAPH_13_a_dead_nextLink_starts_again_from_the_last_deltaLink(t *testing.T) {
	server := few(t)
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	for i := range 5 {
		server.AddUser(fmt.Sprint("new", i), person(fmt.Sprint("New ", i)))
	}
	server.Arm(graphtest.DeadLink(), 1)
	asked := len(server.Requests())
	m.sync(t, s)
	for _, r := range server.Requests()[asked:] {
		require.NotContains(t, r.URI, "$select=", "not from zero")
	}
	m.equalsFullRead(t, server)

	server.AddUser("newest", person("Newest"))
	server.AddUser("newest2", person("Newest2"))
	server.AddUser("newest3", person("Newest3"))
	server.Arm(graphtest.DeadLink(), -1)
	_, err := m.try(s)
	require.ErrorIs(t, err, directory.ErrIncomplete, "links that always die are not followed for ever")
	server.Disarm()
	m.sync(t, s)
	m.equalsFullRead(t, server)
}

func TestRule_GRAPH_14_a_group_on_many_pages_is_one_group(t *testing.T) {
	server := few(t)
	for i := range 40 {
		id := fmt.Sprintf("member-%02d", i)
		server.AddUser(id, person(id))
		server.AddMember("staff", id)
	}
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	require.Len(t, m.edges, 41)
	server.EmptyGroup("staff")
	server.AddMember("staff", "ann")
	m.sync(t, s)
	require.Equal(t, map[directory.Edge]bool{member("sales", "ann"): true, member("staff", "ann"): true}, m.edges)
}

func TestRule_GRAPH_15_the_direct_read_decides_a_contradiction(t *testing.T) {
	server := few(t)
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	server.SetAttribute("ann", "displayName", "Ann B.")
	server.SetManager("ann", "bob")
	server.AddMember("sales", "bob")
	server.RemoveMember("sales", "ann")
	server.Remove("cid")
	asked := len(server.Requests())
	for seed := range uint64(8) {
		server.Arm(graphtest.Contradict(seed), 2)
		server.Arm(graphtest.Replay(), 2)
		m.sync(t, s)
		m.equalsFullRead(t, server)
		server.Disarm()
		server.SetAttribute("ann", "displayName", fmt.Sprint("Ann ", seed))
		server.AddMember("staff", "ann")
		server.EmptyGroup("staff")
	}
	read := 0
	for _, r := range server.Requests()[asked:] {
		if strings.HasPrefix(r.URI, "/v1.0/users/ann?") || strings.HasPrefix(r.URI, "/v1.0/groups/sales/members?") {
			read++
		}
	}
	require.Positive(t, read)
}

func TestRule_GRAPH_16_absent_is_not_null(t *testing.T) {
	server := few(t)
	server.SetAttribute("ann", "mail", "ann@contoso.example")
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	require.Equal(t, "ann@contoso.example", m.objects["ann"].Get(directory.AttrMail))
	require.NotContains(t, m.objects["bob"].Attributes, directory.AttrMail)
	server.Arm(graphtest.Answer(http.StatusOK, fmt.Sprintf(`{"value":[{"id":"ann","displayName":"Ann B."}],"@odata.deltaLink":"%s/v1.0/users/delta?$deltatoken=1"}`, server.URL)).At(graphtest.Polls).On("users"), 1)
	round, err := readNext(t, s, sourcetest.Round{Cursor: m.cursor})
	require.NoError(t, err)
	require.Equal(t, map[string][]string{directory.AttrDisplayName: {"Ann B."}}, round.Objects["ann"].Attributes, "what is absent is as it was")
	server.SetAttribute("ann", "mail", nil)
	m.sync(t, s)
	require.Empty(t, m.objects["ann"].Get(directory.AttrMail))
	m.equalsFullRead(t, server)
}

func TestRule_GRAPH_18_old_links_mean_a_full_round(t *testing.T) {
	now := time.Now()
	server, err := graphtest.Start(t.TempDir(), graphtest.Options{PageSize: 2, Now: func() time.Time { return now }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	server.Load(company.Small())
	s := source(t, server)
	for name, expire := range map[string]func(){
		"after seven days":      func() { now = now.Add(7*24*time.Hour + time.Second) },
		"410 with a location":   func() { server.Arm(graphtest.Gone().On("users"), 1) },
		"410 for groups alone":  func() { server.Arm(graphtest.Gone().On("groups"), 1) },
		"400 syncStateNotFound": func() { server.Arm(graphtest.Expire(), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			m.sync(t, s)
			expire()
			gone := fmt.Sprint("gone-", len(name))
			server.AddUser(gone, person("Gone"))
			server.Remove(gone)
			began := false
			err := s.Read(t.Context(), directory.Start{Cursor: m.cursor}, func(directory.Mode) error { began = true; return nil }, func(directory.Page) error { return nil })
			require.ErrorIs(t, err, directory.ErrCursorExpired)
			require.False(t, began, "nothing is begun with a dead link")
			m.cursor = nil
			modes := m.sync(t, s)
			require.Equal(t, []directory.Mode{directory.Full}, modes)
			m.equalsFullRead(t, server)
		})
	}
	t.Run("a link of six days is good", func(t *testing.T) {
		m := newMirror()
		m.sync(t, s)
		now = now.Add(6 * 24 * time.Hour)
		require.Equal(t, []directory.Mode{directory.Delta}, m.sync(t, s))
	})
}

func TestRule_GRAPH_19_an_old_change_takes_away_nothing_new(t *testing.T) {
	server := few(t)
	server.SetManager("ann", "bob")
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	server.SetManager("ann", "")
	server.RemoveMember("sales", "ann")
	m.sync(t, s)
	require.Empty(t, m.objects["ann"].Get(directory.AttrManager))
	server.SetManager("ann", "cid")
	server.AddMember("sales", "ann")
	m.sync(t, s)
	// The round before the last comes once more, together with a change elsewhere.
	server.Arm(graphtest.Answer(http.StatusOK, fmt.Sprintf(
		`{"value":[{"id":"ann","manager@delta":[{"id":"bob","@removed":{"reason":"deleted"}}]}],"@odata.deltaLink":"%s/v1.0/users/delta?$deltatoken=1"}`, server.URL)).At(graphtest.Polls).On("users"), 1)
	_, err := m.try(s)
	require.NoError(t, err)
	require.Equal(t, "id:cid", m.objects["ann"].Get(directory.AttrManager))
}

func TestRule_GRAPH_20_a_chain_without_end_is_incomplete(t *testing.T) {
	for name, fault := range map[string]graphtest.Fault{"new links for ever": graphtest.EndlessChain(), "a circle": graphtest.Circle()} {
		t.Run(name, func(t *testing.T) {
			server := few(t)
			s := source(t, server)
			m := newMirror()
			server.Arm(fault, -1)
			_, err := m.try(s)
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, "GRAPH-20")
			server.Disarm()
			m.sync(t, s)
			m.equalsFullRead(t, server)
		})
	}
}

func TestRule_GRAPH_21_members_that_were_deleted_are_missing_from_the_groups(t *testing.T) {
	server := few(t)
	server.SetManager("bob", "ann")
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	server.Remove("ann")
	server.Arm(graphtest.LoseRemovals(), -1)
	m.sync(t, s)
	require.Empty(t, m.edges)
	m.equalsFullRead(t, server)
}

func TestRule_GRAPH_21_who_comes_back_between_users_and_groups_keeps_the_memberships(t *testing.T) {
	server := few(t)
	s := source(t, server)
	m := newMirror()
	m.sync(t, s)
	server.Remove("ann")
	server.Arm(graphtest.Meanwhile(func() { server.Restore("ann") }).On("users"), 1)
	m.sync(t, s)
	m.equalsFullRead(t, server)
	require.Contains(t, m.edges, member("sales", "ann"))
}

func TestRule_GRAPH_27_the_service_is_waited_for(t *testing.T) {
	for name, c := range map[string]struct {
		fault graphtest.Fault
		times int
		wait  time.Duration // of each
	}{
		"429 with seconds":                     {graphtest.Throttle(20 * time.Second), 3, 20 * time.Second},
		"429 with a date":                      {graphtest.ThrottleUntil(time.Now().Add(40 * time.Second)), 1, 40 * time.Second},
		"429 without a word":                   {graphtest.ThrottleSilently(), 4, 0},
		"503":                                  {graphtest.Unavailable(10 * time.Second), 2, 10 * time.Second},
		"504 with a page for people":           {graphtest.GatewayTimeout(), 2, 0},
		"a connection that is cut in mid-body": {graphtest.Cut(), 2, 0},
		"a body that is cut":                   {graphtest.Truncate(), 2, 0},
		"no body":                              {graphtest.EmptyBody(), 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := few(t)
			want := readFull(t, source(t, server))
			s, waits := patient(t, server)
			server.Arm(c.fault.At(graphtest.Continuations), c.times)
			got := readFull(t, s)
			require.Equal(t, want.Objects, got.Objects)
			require.Equal(t, want.Edges, got.Edges)
			require.Len(t, *waits, c.times)
			for _, w := range *waits {
				if c.wait > 0 {
					require.InDelta(t, c.wait.Seconds(), w.Seconds(), 5)
				}
			}
		})
	}
}

func TestRule_GRAPH_28_short_waits_are_the_SDKs(t *testing.T) {
	server := few(t)
	s, waits := patient(t, server)
	server.Arm(graphtest.Throttle(0), 2)
	readFull(t, s)
	require.Empty(t, *waits)
	server.Arm(graphtest.Throttle(0), 5)
	readFull(t, s)
	require.NotEmpty(t, *waits, "above the SDK's three tries")
}

func TestRule_GRAPH_27_a_wait_that_is_too_long_is_handed_on(t *testing.T) {
	server := few(t)
	s, waits := patient(t, server, func(c *Config) { c.MaxWaitSeconds = 60 })
	server.Arm(graphtest.Throttle(time.Hour).At(graphtest.Continuations), 1)
	m := newMirror()
	_, err := m.try(s)
	var throttled *directory.Throttled
	require.ErrorAs(t, err, &throttled)
	require.Equal(t, time.Hour, throttled.RetryAfter)
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.Empty(t, *waits)
	m.sync(t, s) // it goes on at the link
	m.equalsFullRead(t, server)

	server.Arm(graphtest.Throttle(25*time.Second).At(graphtest.Polls), -1)
	_, err = m.try(s)
	require.ErrorAs(t, err, &throttled, "many short waits are a long one")
	require.Len(t, *waits, 2)
}

func TestRule_SRC_1_what_does_not_arrive_whole_is_incomplete(t *testing.T) {
	answer := func(body string) func(*graphtest.Server) graphtest.Fault {
		return func(server *graphtest.Server) graphtest.Fault {
			return graphtest.Answer(http.StatusOK, strings.ReplaceAll(body, "LINK", server.URL+"/v1.0/groups/delta?$deltatoken=1"))
		}
	}
	always := func(f graphtest.Fault) func(*graphtest.Server) graphtest.Fault {
		return func(*graphtest.Server) graphtest.Fault { return f }
	}
	for name, make := range map[string]func(*graphtest.Server) graphtest.Fault{
		"cut in mid-body":  always(graphtest.Cut()),
		"truncated":        always(graphtest.Truncate()),
		"empty":            always(graphtest.EmptyBody()),
		"without a link":   always(graphtest.NoLink()),
		"both links":       answer(`{"value":[],"@odata.deltaLink":"LINK","@odata.nextLink":"LINK"}`),
		"without a value":  answer(`{"@odata.deltaLink":"LINK"}`),
		"a null value":     answer(`{"value":null,"@odata.deltaLink":"LINK"}`),
		"no JSON":          answer(`<html>`),
		"an object, no id": answer(`{"value":[{"displayName":"x"}],"@odata.deltaLink":"LINK"}`),
		"an edge, no id":   answer(`{"value":[{"id":"sales","members@delta":[{"@removed":{}}]}],"@odata.deltaLink":"LINK"}`),
		"null":             answer(`null`),
	} {
		t.Run(name, func(t *testing.T) {
			server := few(t)
			fault := make(server)
			s, _ := patient(t, server)
			m := newMirror()
			m.sync(t, s)
			before := m.bytes(t)
			server.Remove("ann")
			server.EmptyGroup("sales")
			server.Arm(fault.At(graphtest.Pages).On("groups"), -1)
			_, err := m.try(s)
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.Equal(t, before, m.bytes(t), "nothing was taken away")
			server.Disarm()
			m.sync(t, s)
			m.equalsFullRead(t, server)
		})
	}
}

func TestTokens(t *testing.T) {
	t.Run("an expired token is renewed", func(t *testing.T) {
		server := few(t)
		s := source(t, server)
		before := readFull(t, s)
		server.ExpireTokens()
		_, err := readNext(t, s, before)
		require.NoError(t, err)
	})
	t.Run("Rule GRAPH-27: 401, one new token, then it fails", func(t *testing.T) {
		server := few(t)
		s := source(t, server)
		server.Arm(graphtest.Unauthorized(), 1)
		readFull(t, s)
		server.Arm(graphtest.Unauthorized(), -1)
		asked := len(server.Requests())
		_, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		require.ErrorIs(t, err, directory.ErrAuth)
		tokens, pages := 0, 0
		for _, r := range server.Requests()[asked:] {
			switch {
			case strings.HasSuffix(r.URI, "/token"):
				tokens++
			case strings.HasPrefix(r.URI, "/v1.0/"):
				pages++
			}
		}
		require.Equal(t, []int{1, 2}, []int{tokens, pages})
	})
	t.Run("a claims challenge is met", func(t *testing.T) {
		server := few(t)
		s := source(t, server)
		server.Arm(graphtest.Challenge(), 1)
		readFull(t, s)
	})
	t.Run("a wrong secret is not tried again", func(t *testing.T) {
		server := few(t)
		s := source(t, server, func(c *Config) { c.ClientSecret = secretFile(t, "canary-4711") })
		_, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		require.ErrorIs(t, err, directory.ErrAuth)
		require.ErrorContains(t, err, "AADSTS7000215")
		require.NotContains(t, err.Error(), "canary-4711", "Rule SEC-5")
		n := 0
		for _, r := range server.Requests() {
			if strings.HasSuffix(r.URI, "/token") {
				n++
			}
		}
		require.Equal(t, 1, n)
	})
	t.Run("a secret that was changed is found", func(t *testing.T) {
		server := few(t)
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, []byte(graphtest.ClientSecret), 0o600))
		s := source(t, server, func(c *Config) { c.ClientSecret = secret.Ref("file:" + path) })
		readFull(t, s)
		server.SetSecret("new")
		server.ExpireTokens()
		require.NoError(t, os.WriteFile(path, []byte("new"), 0o600))
		readFull(t, s)
	})
	t.Run("an authority that is busy is not a wrong secret", func(t *testing.T) {
		server := few(t)
		s, _ := patient(t, server)
		server.Arm(graphtest.Unavailable(time.Hour).At(graphtest.Tokens), -1)
		_, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		require.NotErrorIs(t, err, directory.ErrAuth)
		require.ErrorIs(t, err, directory.ErrIncomplete)
	})
}

// Rule GRAPH-43 is this rule for Graph.
func TestRule_SEC_4_a_secret_goes_to_the_configured_host_only(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer elsewhere.Close()
	for name, fault := range map[string]graphtest.Fault{
		"a link of a page":       graphtest.ForeignLink(elsewhere.URL),
		"a redirect of Graph":    graphtest.Redirect(elsewhere.URL + "/v1.0/users/delta"),
		"a redirect for a token": graphtest.Redirect(elsewhere.URL).At(graphtest.Tokens),
		"the same host in clear": graphtest.ForeignLink("http://127.0.0.1"),
	} {
		t.Run(name, func(t *testing.T) {
			server := few(t)
			s, _ := patient(t, server)
			server.Arm(fault, -1)
			m := newMirror()
			_, err := m.try(s)
			require.ErrorContains(t, err, "SEC-4")
			require.True(t, errors.Is(err, directory.ErrIncomplete) || errors.Is(err, directory.ErrUnreachable), err)
			server.Disarm()
			m.sync(t, s)
			m.equalsFullRead(t, server)
		})
	}
	require.Zero(t, asked)
}

func TestRule_GRAPH_30_group_kinds(t *testing.T) {
	server := serve(t, graphtest.Options{})
	for id, p := range map[string]map[string]any{
		"security":      {"groupTypes": []any{}, "securityEnabled": true, "mailEnabled": false},
		"mail-security": {"groupTypes": []any{}, "securityEnabled": true, "mailEnabled": true},
		"distribution":  {"groupTypes": []any{}, "securityEnabled": false, "mailEnabled": true},
		"m365":          {"groupTypes": []any{"Unified", "DynamicMembership"}, "securityEnabled": true, "mailEnabled": true, "membershipRuleProcessingState": "Paused", "isAssignableToRole": true},
		"":              {"groupTypes": []any{}, "securityEnabled": false, "mailEnabled": false},
	} {
		p["displayName"] = "G"
		server.AddGroup(id+"-group", p)
	}
	round := readFull(t, source(t, server))
	require.Len(t, round.Objects, 5)
	for id, o := range round.Objects {
		require.Equal(t, strings.TrimSuffix(string(id), "-group"), o.Get(directory.AttrGroupKind))
	}
	m365 := round.Objects["m365-group"]
	require.Equal(t, []string{"DynamicMembership", "Unified"}, m365.Attributes["groupTypes"])
	require.Equal(t, "Paused", m365.Get("membershipRuleProcessingState"))
	require.Equal(t, "true", m365.Get("isAssignableToRole"))
}

func TestRules_GRAPH_31_33_34_35_what_users_are(t *testing.T) {
	server := serve(t, graphtest.Options{})
	plan := func(id, status string) map[string]any {
		return map[string]any{"servicePlanId": id, "capabilityStatus": status}
	}
	ann := person("Ann")
	ann["assignedPlans"] = []any{plan("P2", "Warning"), plan("P1", "Enabled"), plan("P3", "Suspended"), plan("P4", "Deleted"), plan("P5", "LockedOut"), plan("P1", "Enabled")}
	server.AddUser("ann", ann)
	guest := person("Gus")
	guest["userType"], guest["externalUserState"], guest["userPrincipalName"] = "Guest", "PendingAcceptance", "gus_partner.example#EXT#@contoso.example"
	server.AddUser("gus", guest)
	old := person("Old")
	delete(old, "userType")
	old["accountEnabled"] = nil
	server.AddUser("old", old)
	odd := person("Odd")
	odd["userType"] = "Visitor"
	server.AddUser("odd", odd)
	server.SetManager("gus", "ann")
	server.AddGroup("g", security("G"))
	server.AddOther("printer", graphtest.DeviceType)
	server.AddMember("g", "printer")
	server.AddOwner("g", "ann")

	round := readFull(t, source(t, server))
	require.Equal(t, []string{"p1", "p2"}, round.Objects["ann"].Attributes[directory.AttrPlans])
	require.Equal(t, "id:ann", round.Objects["gus"].Get(directory.AttrManager))
	require.True(t, round.Objects["gus"].Guest())
	require.Equal(t, "PendingAcceptance", round.Objects["gus"].Get("externalUserState"))
	require.False(t, round.Objects["old"].Guest())
	require.False(t, round.Objects["old"].Enabled(), "what cannot be judged denies")
	require.Equal(t, "Visitor", round.Objects["odd"].Get(directory.AttrUserType), "Rule SRC-11: kept")
	var said []string
	for _, p := range round.Problems {
		require.Empty(t, p.Object)
		said = append(said, p.Text)
	}
	all := strings.Join(said, "\n")
	require.Contains(t, all, "1 objects have no userType and count as members; one is old")
	require.Contains(t, all, `"Visitor"`)
	require.Contains(t, all, "count as disabled")
	require.Contains(t, round.Edges, member("g", "printer"))
	require.Contains(t, round.Edges, directory.Edge{Group: "g", Relation: directory.Owner, Far: directory.ByID("ann")})
	require.NotContains(t, round.Objects, directory.ObjectID("printer"))
}

func TestRule_SRC_11_unknown_types_are_kept_and_shown(t *testing.T) {
	server := few(t)
	server.Arm(graphtest.UnknownType(), -1)
	round := readFull(t, source(t, server))
	require.Contains(t, round.Edges, member("sales", "ann"))
	require.Len(t, round.Problems, 1)
	require.Contains(t, round.Problems[0].Text, "#microsoft.graph.agentUser")
}

func TestValuesThatAreNotTextAreLeftOutAndShown(t *testing.T) {
	server := few(t)
	server.Arm(graphtest.BadText(), -1)
	round := readFull(t, source(t, server))
	require.Len(t, round.Objects, 5)
	for _, o := range round.Objects {
		require.Empty(t, o.Get(directory.AttrDisplayName))
	}
	require.Len(t, round.Problems, 5)
	require.Contains(t, round.Problems[0].Text, "UTF-8")
}

func TestRule_SRC_10_a_time_that_cannot_be_read_leaves_the_object_as_it_was(t *testing.T) {
	server := few(t)
	s := source(t, server)
	before := readFull(t, s)
	server.SetAttribute("ann", "deletedDateTime", "yesterday")
	round, err := readNext(t, s, before)
	require.NoError(t, err)
	require.Empty(t, round.Objects)
	require.Len(t, round.Problems, 1)
	require.Equal(t, directory.ObjectID("ann"), round.Problems[0].Object)
}

func TestRule_SRC_2_a_cursor_is_of_one_tenant_and_endpoint(t *testing.T) {
	server := few(t)
	round := readFull(t, source(t, server))
	for name, edit := range map[string]func(*Config){
		"another tenant": func(c *Config) { c.TenantID = "contoso.example" },
		"another cloud":  func(c *Config) { c.Cloud = "china" },
		"another host":   func(c *Config) { c.GraphEndpoint = strings.Replace(c.GraphEndpoint, "127.0.0.1", "localhost", 1) },
	} {
		_, err := readNext(t, source(t, server, edit), round)
		require.ErrorIs(t, err, directory.ErrCursorExpired, name)
	}
	_, err := sourcetest.Collect(t.Context(), source(t, server), directory.Start{Cursor: round.Cursor, Resumed: true})
	require.ErrorIs(t, err, directory.ErrCursorExpired, "a cursor between rounds resumes none")
}

func TestRule_SRC_2_a_round_resumed_at_an_earlier_page_says_everything_after_it(t *testing.T) {
	server := serve(t, graphtest.Options{PageSize: 3, EdgesPerEntry: 2})
	server.Load(company.Small())
	s, _ := patient(t, server)
	m := newMirror()
	pages := 0
	var mode *directory.Mode
	// The source hands on nine pages, of which the store keeps three.
	stored := &mirror{}
	err := m.read(s, &mode, func() error {
		if pages++; pages == 4 {
			*stored = *m.clone()
		}
		if pages == 9 {
			server.Arm(graphtest.Cut().At(graphtest.Continuations), -1)
		}
		return nil
	})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.Equal(t, 9, pages)
	server.Disarm()
	stored.sync(t, s) // the same process, which has said more than is kept
	stored.equalsFullRead(t, server)
}

func TestUsageIsCounted(t *testing.T) {
	server := few(t)
	s := source(t, server)
	readFull(t, s)
	require.EqualValues(t, len(server.Requests()), s.Usage().Requests)
	require.Positive(t, s.Usage().Units)
	var low int
	for _, r := range server.Requests() {
		if r.Header.Get("x-ms-throttle-priority") == "low" {
			low++
		}
	}
	require.Positive(t, low, "Rule GRAPH-26: a full round lets others go first")
}

// Rule GRAPH-41: pages are decoded from their bytes.
func FuzzPage(f *testing.F) {
	f.Add(`{"value":[{"id":"a","displayName":"A","userPrincipalName":"a@b","manager@delta":[{"id":"b"}]}],"@odata.deltaLink":"x"}`, true)
	f.Add(`{"value":[{"id":"g","displayName":"G","members@delta":[{"@odata.type":"#microsoft.graph.user","id":"a","@removed":{"reason":"deleted"}}]}],"@odata.nextLink":"x"}`, false)
	f.Add(`{"value":[{"id":"g","groupTypes":null,"securityEnabled":3,"assignedPlans":[null,1,{}],"deletedDateTime":"x"}]}`, true)
	f.Fuzz(func(t *testing.T, text string, whole bool) {
		var p page
		if json.Unmarshal([]byte(text), &p) != nil || p.Value == nil {
			return
		}
		c := cursor{Mode: delta}
		if whole {
			c.Mode = full
		}
		r := newRound(t.Context(), &graph{}, c, selection{furtherUsers: []string{"a.b", "c"}, furtherGroups: []string{"d"}}, newSaid(), nil)
		for _, h := range r.halves {
			out, err := r.take(h, *p.Value)
			if err != nil {
				continue
			}
			for _, u := range out.Upserts {
				require.NotEmpty(t, u.ID)
				require.Equal(t, whole, !u.Partial)
			}
			again, err := r.take(h, *p.Value)
			require.NoError(t, err)
			require.LessOrEqual(t, len(again.Upserts), len(out.Upserts), "the same page again is no news")
		}
	})
}
