package ldap

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// kerberos is the configuration with a bind by a keytab.
func kerberos(t testing.TB, s *rig.Samba) ADConfig {
	c := ad(t, s)
	c.BindDN, c.Password = "", ""
	c.GSSAPI = &GSSAPI{Principal: "ambit@" + s.Realm, Keytab: s.Keytab(t, "ambit", s.Password), Krb5Conf: s.Krb5Conf, ServicePrincipal: s.Service}
	return c
}

func TestRule_LDAP_2_SASL_GSSAPI(t *testing.T) {
	s := rig.StartTLSSamba(t)
	for name, edit := range map[string]func(*ADConfig){
		"by keytab over ldaps":    func(*ADConfig) {},
		"by keytab over StartTLS": func(c *ADConfig) { c.URL, c.StartTLS = s.URL, true },
		"by credential cache": func(c *ADConfig) {
			c.GSSAPI.Principal, c.GSSAPI.Keytab, c.GSSAPI.CredentialCache = "", "", s.CredentialCache(t, "ambit")
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			c := kerberos(t, s)
			edit(&c)
			round, err := sourcetest.Collect(t.Context(), adSource(t, c), directory.Start{})
			require.NoError(t, err)
			require.True(t, round.Complete)
			require.Contains(t, round.Objects, directory.ObjectID(company.Small().Person(company.Employee).ID))
			goleak.VerifyNone(t, before)
		})
	}
	garbage := filepath.Join(t.TempDir(), "garbage")
	require.NoError(t, os.WriteFile(garbage, []byte("\x05\x04\x00"), 0o600))
	for name, c := range map[string]struct {
		edit func(*ADConfig)
		is   error
		says string
	}{
		"the key is another's": {func(c *ADConfig) { c.GSSAPI.Keytab = s.Keytab(t, "ambit", "wrong") }, directory.ErrAuth, "KDC_ERR_PREAUTH_FAILED"},
		"nobody has the name": {func(c *ADConfig) {
			c.GSSAPI.Principal, c.GSSAPI.Keytab = "nobody@"+s.Realm, s.Keytab(t, "nobody", s.Password)
		}, directory.ErrAuth, "KDC_ERR_C_PRINCIPAL_UNKNOWN"},
		"the server has another name":     {func(c *ADConfig) { c.GSSAPI.ServicePrincipal = "" }, directory.ErrAuth, "ldap/localhost: KRB Error: (7) KDC_ERR_S_PRINCIPAL_UNKNOWN"},
		"the keytab is not there":         {func(c *ADConfig) { c.GSSAPI.Keytab = "/nonexistent" }, directory.ErrAuth, "no such file"},
		"the keytab was cut short":        {func(c *ADConfig) { c.GSSAPI.Keytab = garbage }, directory.ErrAuth, garbage},
		"the cache was cut short":         {func(c *ADConfig) { c.GSSAPI = &GSSAPI{CredentialCache: garbage, Krb5Conf: s.Krb5Conf} }, directory.ErrAuth, garbage},
		"there is no krb5.conf":           {func(c *ADConfig) { c.GSSAPI.Krb5Conf = "/nonexistent" }, directory.ErrAuth, "/nonexistent"},
		"no KDC answers":                  {func(c *ADConfig) { c.GSSAPI.Krb5Conf = noKDC(t, s.Realm) }, directory.ErrUnreachable, "krb5.conf"},
		"Rule AD-21: it is not encrypted": {func(c *ADConfig) { c.URL, c.InsecurePlaintextLoopback = s.URL, true }, directory.ErrAuth, "start_tls"},
	} {
		t.Run(name, func(t *testing.T) {
			config := kerberos(t, s)
			c.edit(&config)
			_, err := sourcetest.Collect(t.Context(), adSource(t, config), directory.Start{})
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// noKDC names a KDC that is not there.
func noKDC(t *testing.T, realm string) string {
	path := filepath.Join(t.TempDir(), "krb5.conf")
	require.NoError(t, os.WriteFile(path, []byte("[libdefaults]\n default_realm = "+realm+"\n udp_preference_limit = 1\n[realms]\n "+realm+" = {\n  kdc = 127.0.0.1:1\n }\n"), 0o600))
	return path
}

// Samba's default wants a security layer of SASL's own besides TLS, which neither
// library has.
func TestRule_AD_21_a_security_layer_is_refused_with_what_to_do(t *testing.T) {
	s := rig.StartStrictSamba(t)
	_, err := sourcetest.Collect(t.Context(), adSource(t, kerberos(t, s)), directory.Start{})
	require.ErrorIs(t, err, directory.ErrAuth)
	require.ErrorContains(t, err, "let it take GSSAPI over TLS")
	round, err := sourcetest.Collect(t.Context(), adSource(t, ad(t, s)), directory.Start{})
	require.NoError(t, err, "a password over TLS is good")
	require.True(t, round.Complete)
}

func TestRule_AD_21_the_bind_is_bound_to_the_channel(t *testing.T) {
	// As other clients compute it, of a certificate with this digest.
	digest, err := hex.DecodeString("e3ca49271e5089cc48ce82109f1324f41dbeddc29a777410c738f7868c4ff405")
	require.NoError(t, err)
	sum := gssChecksum(append([]byte("tls-server-end-point:"), digest...))
	require.Equal(t, "10000000"+"6ea19df066da4622051f9c4f92c6df74"+"32000000", hex.EncodeToString(sum))
	require.Equal(t, "10000000"+"00000000000000000000000000000000"+"32000000", hex.EncodeToString(gssChecksum(nil)), "without TLS")

	s := rig.StartTLSSamba(t)
	b, err := os.ReadFile(filepath.Join(s.Dir, "server.pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(b)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	client, err := kerberos(t, s).GSSAPI.client()
	require.NoError(t, err)
	t.Cleanup(client.Destroy)
	bound := &boundClient{Client: client, bindings: endPoint(certificate)}
	require.Len(t, bound.bindings, len("tls-server-end-point:")+32)
	first, more, err := bound.InitSecContext(s.Service, nil)
	require.NoError(t, err)
	require.True(t, more)
	var token spnego.KRB5Token
	require.NoError(t, token.Unmarshal(first))
	_, key, err := client.GetServiceTicket(s.Service)
	require.NoError(t, err)
	require.NoError(t, token.APReq.DecryptAuthenticator(key))
	require.Equal(t, gssChecksum(bound.bindings), token.APReq.Authenticator.Cksum.Checksum)
}
