// Package loopback makes the certificates of servers that tests and the demo
// start on this host. Each call makes an authority of its own and forgets its
// key, so that nothing else can be signed by it.
package loopback

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ClientName is the common name in the client's certificate.
const ClientName = "ambit-client"

// Certificates writes into dir: ca.pem; server.pem and server.key for 127.0.0.1
// and localhost; client.pem and client.key for ClientName. They hold for 30 days.
func Certificates(dir string) error {
	now := time.Now()
	authority, err := newPair(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Ambit test authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, now)
	if err != nil {
		return err
	}
	server, err := newPair(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, now)
	if err != nil {
		return err
	}
	client, err := newPair(&x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: ClientName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority, now)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: authority.certificate.Raw},
		"server.pem": {Type: "CERTIFICATE", Bytes: server.certificate.Raw},
		"server.key": {Type: "PRIVATE KEY", Bytes: server.pkcs8},
		"client.pem": {Type: "CERTIFICATE", Bytes: client.certificate.Raw},
		"client.key": {Type: "PRIVATE KEY", Bytes: client.pkcs8},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}

type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pkcs8       []byte
}

// newPair makes a key and has its certificate signed by the parent; without one
// it signs itself.
func newPair(template *x509.Certificate, parent *pair, now time.Time) (*pair, error) {
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(30*24*time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if parent == nil {
		parent = &pair{certificate: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, key.Public(), parent.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	p := &pair{key: key}
	if p.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read the certificate back: %w", err)
	}
	if p.pkcs8, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	return p, nil
}
