package scim

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const maxPins = 2

// pins are which certificates a source's client may show: those known by their hash,
// and those of a subject that an authority vouches for.
type pins struct {
	hashes      [][sha256.Size]byte
	subjects    []string
	authorities *x509.CertPool
}

func (p pins) any() bool { return len(p.hashes)+len(p.subjects) > 0 }

// hashes reads ClientCertificates.
func (c Config) hashes() ([][sha256.Size]byte, error) {
	if len(c.ClientCertificates) > maxPins {
		return nil, errors.New("client_certificates: want one, or two while the client changes from one to the other")
	}
	var out [][sha256.Size]byte
	for _, text := range c.ClientCertificates {
		b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("client_certificates: %q is not a SHA-256 in hexadecimal; see it with: openssl x509 -noout -fingerprint -sha256 -in client.pem", text)
		}
		out = append(out, [sha256.Size]byte(b))
	}
	return out, nil
}

// checkSubjects finds what is wrong with ClientSubjects without reading the
// authority's file.
func (c Config) checkSubjects() error {
	switch {
	case len(c.ClientSubjects) > maxPins:
		return errors.New("client_subjects: want one, or two while the client changes from one to the other")
	case slices.Contains(c.ClientSubjects, ""):
		return errors.New("client_subjects: a subject is empty")
	case len(c.ClientSubjects) > 0 && c.ClientCAFile == "":
		return errors.New("client_subjects: anybody can make a certificate of any subject: set client_ca_file, the authority that signs the client's")
	case c.ClientCAFile != "" && len(c.ClientSubjects) == 0:
		return errors.New("client_ca_file: set client_subjects: the authority alone does not say which of its certificates is the client's")
	}
	return nil
}

func (c Config) pins() (p pins, err error) {
	if p.hashes, err = c.hashes(); err != nil {
		return pins{}, err
	}
	if err := c.checkSubjects(); err != nil || len(c.ClientSubjects) == 0 {
		return p, err
	}
	pem, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return pins{}, fmt.Errorf("client_ca_file: %w", err)
	}
	p.subjects, p.authorities = c.ClientSubjects, x509.NewCertPool()
	if !p.authorities.AppendCertsFromPEM(pem) {
		return pins{}, fmt.Errorf("client_ca_file: %s holds no certificate in PEM", c.ClientCAFile)
	}
	return p, nil
}

// admit tells whether a connection showed one of the certificates, whose key it
// then has. A source without any admits all. Where the certificate itself is known,
// authorities are of no matter.
func (p pins) admit(c *tls.ConnectionState, now time.Time) error {
	if !p.any() {
		return nil
	}
	if c == nil || len(c.PeerCertificates) == 0 {
		return errors.New("no client certificate was shown")
	}
	shown := c.PeerCertificates[0]
	hash := sha256.Sum256(shown.Raw)
	if slices.Contains(p.hashes, hash) {
		return inTime(shown, now)
	}
	if subject := shown.Subject.String(); len(p.subjects) > 0 {
		if !slices.Contains(p.subjects, subject) {
			return fmt.Errorf("the client certificate of %q, with the SHA-256 %x, is not this source's", subject, hash)
		}
		return p.signed(c.PeerCertificates, now)
	}
	return fmt.Errorf("the client certificate with the SHA-256 %x is not this source's", hash)
}

// signed tells whether an authority vouches for the first certificate, as that of a
// client and now.
func (p pins) signed(shown []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{
		Roots: p.authorities, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("the client certificate of %q is not acceptable: %w", shown[0].Subject, err)
	}
	return nil
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
			if s.pins.any() {
				return asking, nil
			}
		}
		return nil, nil
	}
	return c
}
