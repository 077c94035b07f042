package scim

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

const maxPins = 2

// pins are the SHA-256 of the certificates that a source's client may show.
type pins [][sha256.Size]byte

func (c Config) pins() (pins, error) {
	if len(c.ClientCertificates) > maxPins {
		return nil, errors.New("client_certificates: want one, or two while the client changes from one to the other")
	}
	var out pins
	for _, text := range c.ClientCertificates {
		b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("client_certificates: %q is not a SHA-256 in hexadecimal; see it with: openssl x509 -noout -fingerprint -sha256 -in client.pem", text)
		}
		out = append(out, [sha256.Size]byte(b))
	}
	return out, nil
}

// admit tells whether a connection showed one of the certificates, whose key it
// then has. A source without any admits all. Authorities are of no matter here:
// the certificate itself is known.
func (p pins) admit(c *tls.ConnectionState, now time.Time) error {
	if len(p) == 0 {
		return nil
	}
	if c == nil || len(c.PeerCertificates) == 0 {
		return errors.New("no client certificate was shown")
	}
	shown := c.PeerCertificates[0]
	hash := sha256.Sum256(shown.Raw)
	for _, pin := range p {
		if hash == pin {
			return inTime(shown, now)
		}
	}
	return fmt.Errorf("the client certificate with the SHA-256 %x is not this source's", hash)
}

func inTime(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("the client certificate is good from %s until %s only", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// TLS is what the server needs for sources that want a client certificate: while
// there is one, clients are asked for it. Whose it is each request tells.
func (h *Handler) TLS(c *tls.Config) *tls.Config {
	if len(c.NextProtos) == 0 {
		c.NextProtos = []string{"h2", "http/1.1"} // which net/http adds only to what it is given
	}
	asking := c.Clone()
	asking.ClientAuth = tls.RequestClientCert
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		for _, s := range *h.sources.Load() {
			if len(s.pins) > 0 {
				return asking, nil
			}
		}
		return nil, nil
	}
	return c
}
