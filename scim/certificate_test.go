package scim

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/testdata/loopback"
)

func TestRule_SCIM_1_a_pinned_client_certificate_is_wanted_besides_the_token(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, loopback.Certificates(dir))
	pair := func(name string) tls.Certificate {
		p, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		require.NoError(t, err)
		return p
	}
	client, other := pair("client"), pair("server")
	fingerprint := func(c tls.Certificate) string { return fmt.Sprintf("%X", sha256.Sum256(c.Leaf.Raw)) }
	now := time.Now()
	p := open(t)
	p.now = func() time.Time { return now }
	server := httptest.NewUnstartedServer(p.Handler)
	server.TLS = p.TLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{other}})
	server.StartTLS()
	t.Cleanup(server.Close)
	get := func(bearer string, shown ...tls.Certificate) (int, string) {
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = shown
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+Root+"corp/Users", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := transport.RoundTrip(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(body)
	}
	pin := func(certificates ...string) {
		require.NoError(t, p.Replace(map[directory.SourceID]Config{"corp": {Tokens: []secret.Ref{"env:SCIM_TOKEN"}, ClientCertificates: certificates}}))
	}
	admitting := func(ca string, subjects ...string) Config {
		return Config{Tokens: []secret.Ref{"env:SCIM_TOKEN"}, ClientSubjects: subjects, ClientCAFile: ca}
	}
	status, _ := get(token)
	require.Equal(t, 200, status, "none is pinned")
	pin(fingerprint(client))
	status, body := get(token)
	require.Equal(t, 401, status)
	require.Contains(t, body, "no client certificate was shown")
	status, body = get(token, other)
	require.Equal(t, 401, status)
	require.Contains(t, body, strings.ToLower(fingerprint(other)), "it says which one came")
	status, _ = get(token, client)
	require.Equal(t, 200, status)
	status, body = get("another-token-of-thirty-two-characters", client)
	require.Equal(t, 401, status, "it does not stand for the token")
	require.Contains(t, body, "send a token")
	pin(fingerprint(other), fingerprint(client))
	status, _ = get(token, client)
	require.Equal(t, 200, status, "two, while the client changes")

	// By subject, of whatever certificate the authority signs for it.
	authority := filepath.Join(dir, "ca.pem")
	require.NoError(t, p.Replace(map[directory.SourceID]Config{"corp": admitting(authority, "CN=hr", "CN="+loopback.ClientName)}))
	status, _ = get(token, client)
	require.Equal(t, 200, status)
	status, body = get(token)
	require.Equal(t, 401, status)
	require.Contains(t, body, "no client certificate was shown")
	status, body = get(token, other)
	require.Equal(t, 401, status)
	require.Contains(t, body, "CN=localhost", "it says whose came")
	foreign := t.TempDir()
	require.NoError(t, loopback.Certificates(foreign))
	namesake, err := tls.LoadX509KeyPair(filepath.Join(foreign, "client.pem"), filepath.Join(foreign, "client.key"))
	require.NoError(t, err)
	status, body = get(token, namesake)
	require.Equal(t, 401, status, "anybody can write any subject into a certificate")
	require.Contains(t, body, "unknown authority")
	require.NoError(t, p.Replace(map[directory.SourceID]Config{"corp": admitting(authority, "CN=localhost")}))
	status, body = get(token, other)
	require.Equal(t, 401, status, "a server's certificate is no client's")
	require.Contains(t, body, "incompatible key usage")
	both := admitting(authority, "CN=hr")
	both.ClientCertificates = []string{fingerprint(client)}
	require.NoError(t, p.Replace(map[directory.SourceID]Config{"corp": both}))
	status, _ = get(token, client)
	require.Equal(t, 200, status, "either will do")
	bySubject := admitting(authority, "CN="+loopback.ClientName)
	pin(fingerprint(client))

	now = now.AddDate(1, 0, 0)
	status, body = get(token, client)
	require.Equal(t, 401, status)
	require.Contains(t, body, "is good from")
	require.NoError(t, p.Replace(map[directory.SourceID]Config{"corp": bySubject}))
	status, body = get(token, client)
	require.Equal(t, 401, status)
	require.Contains(t, body, "has expired")
	plain, _, body := p.do(t, "GET", "/Users", "")
	require.Equal(t, 401, plain, "a connection without TLS shows nothing: %s", body)

	for _, bad := range [][]string{{"9f86"}, {"not hexadecimal"}, {fingerprint(client), fingerprint(other), fingerprint(client)}} {
		c := Config{Tokens: []secret.Ref{"env:SCIM_TOKEN"}, ClientCertificates: bad}
		require.ErrorContains(t, c.Validate(), "client_certificates: ")
		require.Error(t, p.Replace(map[directory.SourceID]Config{"corp": c}))
	}
	for _, bad := range []struct {
		config Config
		says   string
	}{
		{admitting("", "CN=hr"), "set client_ca_file"},
		{admitting(authority), "set client_subjects"},
		{admitting(authority, ""), "a subject is empty"},
		{admitting(authority, "CN=a", "CN=b", "CN=c"), "want one, or two"},
	} {
		require.ErrorContains(t, bad.config.Validate(), bad.says)
		require.ErrorContains(t, p.Replace(map[directory.SourceID]Config{"corp": bad.config}), bad.says)
	}
	for file, says := range map[string]string{filepath.Join(dir, "nosuch.pem"): "client_ca_file: ", filepath.Join(dir, "client.key"): "holds no certificate in PEM"} {
		require.ErrorContains(t, p.Replace(map[directory.SourceID]Config{"corp": admitting(file, "CN=hr")}), says)
		offline, err := NewOffline("corp", admitting(file, "CN=hr"))
		require.NoError(t, err)
		_, err = offline.Probe(t.Context())
		require.ErrorContains(t, err, says)
	}
}

// TestABodyThatComesByteByByte, in chunks of one, is taken like any other.
func TestABodyThatComesByteByByte(t *testing.T) {
	p := open(t)
	body := fmt.Sprintf(oneUser, "ada")
	in, out := io.Pipe()
	go func() {
		for i := range len(body) {
			if _, err := out.Write([]byte{body[i]}); err != nil {
				return // the server has had enough
			}
		}
		_ = out.Close() // of a pipe
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.server.URL+Root+"corp/Users", in)
	require.NoError(t, err)
	require.EqualValues(t, 0, r.ContentLength, "chunked")
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", mediaType)
	answer, err := p.server.Client().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, 201, answer.StatusCode)
	status, _, list := p.do(t, "GET", "/Users", "")
	require.Equal(t, 200, status)
	require.Contains(t, list, `"userName":"ada"`)
}
