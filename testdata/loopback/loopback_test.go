package loopback

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheServerIsTrustedByItsAuthorityAlone(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	require.NoError(t, Certificates(dir))
	require.NoError(t, Certificates(other))
	server, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	require.NoError(t, err)
	_, err = tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	require.NoError(t, err)
	verify := func(dir, name string) error {
		pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		require.NoError(t, err)
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(pem))
		_, err = server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		return err
	}
	require.NoError(t, verify(dir, "127.0.0.1"))
	require.NoError(t, verify(dir, "localhost"))
	require.Error(t, verify(dir, "ldap.example.com"))
	require.Error(t, verify(other, "localhost"))
}
