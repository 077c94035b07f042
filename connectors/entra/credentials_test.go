package entra

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
)

// keyPair writes a certificate with its key as PEM.
func keyPair(t *testing.T) (*x509.Certificate, secret.Ref) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ambit"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	made, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	path := filepath.Join(t.TempDir(), "ambit.pem")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return made, secret.Ref("file:" + path)
}

func TestRule_GRAPH_2_each_credential_gets_in_and_a_wrong_one_does_not(t *testing.T) {
	server, base := small(t)
	base.ClientSecret = ""
	certificate, ref := keyPair(t)
	_, stranger := keyPair(t)
	server.TrustCertificate(certificate)
	token := filepath.Join(t.TempDir(), "token")
	wrong := filepath.Join(t.TempDir(), "wrong")
	server.TrustFederated("federated-token-of-the-platform")
	require.NoError(t, os.WriteFile(token, []byte("federated-token-of-the-platform"), 0o600))
	require.NoError(t, os.WriteFile(wrong, []byte("another"), 0o600))
	for name, c := range map[string]struct{ right, wrong func(*Config) }{
		"certificate":       {func(c *Config) { c.ClientCertificate = ref }, func(c *Config) { c.ClientCertificate = stranger }},
		"workload identity": {func(c *Config) { c.WorkloadIdentity = token }, func(c *Config) { c.WorkloadIdentity = wrong }},
	} {
		t.Run(name, func(t *testing.T) {
			config := base
			c.right(&config)
			m := newMirror()
			require.NoError(t, m.read(t, quick(t, config), nil))
			require.Equal(t, truth(server), m.dump())
			config = base
			c.wrong(&config)
			require.ErrorIs(t, newMirror().read(t, quick(t, config), nil), directory.ErrAuth)
		})
	}
}

func TestCredentialsThatCannotBeReadSaySo(t *testing.T) {
	_, c := small(t)
	c.ClientSecret = "env:AMBIT_TEST_UNSET"
	_, err := source(t, c).Probe(t.Context())
	require.ErrorIs(t, err, directory.ErrAuth)
	require.ErrorContains(t, err, "client_secret")

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	c.ClientSecret, c.ClientCertificate = "", secret.Ref("file:"+path)
	_, err = source(t, c).Probe(t.Context())
	require.ErrorContains(t, err, "client_certificate")
}

func TestBadConfigurations(t *testing.T) {
	good := Config{TenantID: "t", ClientID: "c", ClientSecret: "env:SECRET"}
	require.NoError(t, good.Validate())
	for want, spoil := range map[string]func(*Config){
		"tenant_id":       func(c *Config) { c.TenantID = "" },
		"is not one of":   func(c *Config) { c.Cloud = "mars" },
		"exactly one":     func(c *Config) { c.ManagedIdentity = true },
		"client_id":       func(c *Config) { c.ClientID = "" },
		"by reference":    func(c *Config) { c.ClientSecret = "hunter2" },
		"graph_endpoint":  func(c *Config) { c.GraphEndpoint = "http://graph.example.com" },
		"authority: want": func(c *Config) { c.Authority = "login.example.com" },
		"max_wait":        func(c *Config) { c.MaxWaitSeconds = -1 },
	} {
		c := good
		spoil(&c)
		require.ErrorContains(t, c.Validate(), want)
		require.NotContains(t, c.Validate().Error(), "hunter2")
	}
}
