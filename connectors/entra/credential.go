package entra

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/ambit-iam/ambit/directory"
)

// credential gives tokens by one configured way. The secret is read when it is
// needed, so that one that was changed is found without a restart.
type credential struct {
	make func() (azcore.TokenCredential, error)

	mu      sync.Mutex
	current azcore.TokenCredential
	claims  string
	roles   []string // the permissions that the newest token names
}

// newCredential makes the configured one, and no other (Rule GRAPH-2).
func newCredential(c Config, w *wire) (*credential, error) {
	options := azcore.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: clouds()[c.Cloud].authority},
		Transport: &http.Client{Transport: w, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // wire has refused it
		}},
	}
	// An authority of one's own is not among those that Microsoft's discovery knows.
	own := c.Authority != ""
	if own {
		options.Cloud.ActiveDirectoryAuthorityHost = c.Authority
	}
	patient := options // the metadata service of a machine needs the SDK's own patience
	options.Retry = policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: sdkWait}
	switch {
	case c.ClientSecret != "":
		return &credential{make: func() (azcore.TokenCredential, error) {
			value, err := c.ClientSecret.Resolve()
			if err != nil {
				return nil, fmt.Errorf("client_secret: %w", err)
			}
			return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, string(value),
				&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
		}}, nil
	case c.ClientCertificate != "":
		return &credential{make: func() (azcore.TokenCredential, error) {
			value, err := c.ClientCertificate.Resolve()
			if err != nil {
				return nil, fmt.Errorf("client_certificate: %w", err)
			}
			var password []byte
			if c.CertificatePassword != "" {
				if password, err = c.CertificatePassword.Resolve(); err != nil {
					return nil, fmt.Errorf("certificate_password: %w", err)
				}
			}
			certificates, key, err := certificate(value, password)
			if err != nil {
				return nil, fmt.Errorf("client_certificate: %w", err)
			}
			return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certificates, key,
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
		}}, nil
	case c.WorkloadIdentity != "":
		return &credential{make: func() (azcore.TokenCredential, error) {
			return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
				ClientOptions: options, TenantID: c.TenantID, ClientID: c.ClientID, TokenFilePath: c.WorkloadIdentity, DisableInstanceDiscovery: own,
			})
		}}, nil
	}
	if c.DefaultCredential {
		return &credential{make: func() (azcore.TokenCredential, error) {
			return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: c.TenantID, DisableInstanceDiscovery: own})
		}}, nil
	}
	return &credential{make: func() (azcore.TokenCredential, error) {
		managed := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: patient}
		if c.ClientID != "" {
			managed.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(managed)
	}}, nil
}

// certificate reads a certificate with its chain and key: PEM, or PKCS#12 with its
// password, of which azidentity cannot read what OpenSSL 3 writes.
func certificate(value, password []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	if bytes.Contains(value, []byte("-----BEGIN ")) {
		return azidentity.ParseCertificates(value, nil)
	}
	key, own, chain, err := pkcs12.DecodeChain(value, string(password))
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, nil, errors.New("certificate_password is not that of the PKCS#12 file")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("neither PEM nor PKCS#12 with one certificate and its key: %w", err)
	}
	return append([]*x509.Certificate{own}, chain...), key, nil
}

// GetToken gives a token, from the SDK's cache while it lasts.
func (c *credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		made, err := c.make()
		if err != nil {
			return azcore.AccessToken{}, fmt.Errorf("%w: %w", directory.ErrAuth, err)
		}
		c.current = made
	}
	if o.Claims == "" {
		o.Claims = c.claims
	}
	token, err := c.current.GetToken(ctx, o)
	if err == nil {
		c.claims = ""
		c.roles = roles(token.Token)
	}
	return token, err
}

// roles are the permissions that a token names. It is Graph's to verify and to
// read: for us it says what we may do, if it can be read, and nothing otherwise.
func roles(token string) []string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return nil
	}
	var claims struct {
		Roles []string `json:"roles"`
	}
	if parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return nil
	}
	return claims.Roles
}

// holds tells whether the newest token names the permission, and whether that is
// known.
func (c *credential) holds(permission string) (held, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.roles, permission), c.roles != nil
}

// renew makes the next token a new one, whatever the cache holds.
func (c *credential) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Managed identities share a cache that outlives the credential; it is passed
	// over when claims are asked for, be there none in them.
	if _, ok := c.current.(*azidentity.ManagedIdentityCredential); ok {
		c.claims = "{}"
		return
	}
	c.current = nil
}
