// Package entra reads Entra ID by Microsoft Graph: users and groups with their
// managers, members and owners, in full once and by delta query after that.
//
// The SDK builds, authorizes and sends the requests. Pages are decoded here from
// the raw body (Rule GRAPH-41), since much turns on the difference between a property that is
// absent and one that is null (Rule GRAPH-16). A round is complete when the delta
// links of users and of groups have both arrived, and only then (Rule GRAPH-13).
//
// It needs no delegated permissions, sends its secrets to the configured hosts
// only, and writes nothing. It does not expand nested groups (Rule SRC-7).
package entra

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/ambit-iam/ambit/secret"
)

// Config is one Entra tenant.
type Config struct {
	TenantID string `yaml:"tenant_id,required"`
	// ClientID is of the app registration, or of a user-assigned managed identity.
	ClientID string `yaml:"client_id"`
	// Cloud sets the Graph endpoint and the authority together (Rule GRAPH-1):
	// global, us_government, us_government_dod or china; global where it is absent.
	Cloud string `yaml:"cloud"`

	// Exactly one way to prove who Ambit is (Rule GRAPH-2).
	ClientSecret secret.Ref `yaml:"client_secret"`
	// ClientCertificate is PEM or PKCS#12 and holds the private key too.
	ClientCertificate   secret.Ref `yaml:"client_certificate"`
	CertificatePassword secret.Ref `yaml:"certificate_password"`
	// WorkloadIdentity is the file in which the platform keeps a federated token.
	WorkloadIdentity string `yaml:"workload_identity"`
	ManagedIdentity  bool   `yaml:"managed_identity"`
	// DefaultCredential tries what azidentity finds on the machine: the variables
	// AZURE_…, a federated token, a managed identity, command line tools.
	DefaultCredential bool `yaml:"default_credential"`

	// GraphEndpoint and Authority replace the cloud's, such as
	// https://graph.example.com. CAFile holds the certificates, in PEM, that theirs
	// are verified with; empty means the system's.
	GraphEndpoint string `yaml:"graph_endpoint"`
	Authority     string `yaml:"authority"`
	CAFile        string `yaml:"ca_file"`
	// InsecurePlaintextLoopback allows an http:// Graph endpoint on this very host.
	InsecurePlaintextLoopback bool `yaml:"insecure_plaintext_loopback"`

	// MaxWaitSeconds is how long a read waits in all for a service that asks it to;
	// 120 where it is absent. More than that ends the read, to go on later.
	MaxWaitSeconds int `yaml:"max_wait_seconds"`
	// TimeoutSeconds is how long one request may take; 100 where it is absent.
	TimeoutSeconds int `yaml:"timeout_seconds"`
	// ResourceUnits are what may be spent in ten seconds (Rule GRAPH-25); 3500 where
	// it is absent, which Graph allows in every tenant.
	ResourceUnits int `yaml:"resource_units"`
	// Notifications let Graph tell of changes; nil: they are found at the interval.
	Notifications *Notifications `yaml:"notifications"`
}

const (
	defaultMaxWait = 120 * time.Second
	defaultTimeout = 100 * time.Second
)

type endpoints struct{ graph, authority string }

// clouds is the table of Rule GRAPH-1.
func clouds() map[string]endpoints {
	return map[string]endpoints{
		"global":            {"https://graph.microsoft.com", cloud.AzurePublic.ActiveDirectoryAuthorityHost},
		"us_government":     {"https://graph.microsoft.us", cloud.AzureGovernment.ActiveDirectoryAuthorityHost},
		"us_government_dod": {"https://dod-graph.microsoft.us", cloud.AzureGovernment.ActiveDirectoryAuthorityHost},
		"china":             {"https://microsoftgraph.chinacloudapi.cn", cloud.AzureChina.ActiveDirectoryAuthorityHost},
	}
}

func (c Config) withDefaults() Config {
	if c.Cloud == "" {
		c.Cloud = "global"
	}
	of := clouds()[c.Cloud]
	if c.GraphEndpoint == "" {
		c.GraphEndpoint = of.graph
	}
	c.GraphEndpoint = strings.TrimSuffix(c.GraphEndpoint, "/")
	return c
}

func seconds(n int, otherwise time.Duration) time.Duration {
	if n == 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// Validate reports every fault that can be seen without connecting.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.TenantID == "" {
		fault("tenant_id: want the tenant's id")
	} else if strings.ContainsFunc(c.TenantID, func(r rune) bool {
		return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		fault("tenant_id: want an id or a domain name, not %q", c.TenantID)
	}
	if _, ok := clouds()[c.Cloud]; !ok && c.Cloud != "" {
		fault("cloud: %q is none of global, us_government, us_government_dod and china", c.Cloud)
	}
	given := []bool{c.ClientSecret != "", c.ClientCertificate != "", c.WorkloadIdentity != "", c.ManagedIdentity, c.DefaultCredential}
	if n := len(slices.DeleteFunc(given, func(b bool) bool { return !b })); n != 1 {
		fault("client_secret, client_certificate, workload_identity, managed_identity, default_credential: want exactly one of them")
	}
	if c.ClientID == "" && !c.ManagedIdentity && !c.DefaultCredential {
		fault("client_id: want the app registration's id")
	}
	if c.CertificatePassword != "" && c.ClientCertificate == "" {
		fault("certificate_password: goes with client_certificate only")
	}
	for _, s := range []struct {
		field string
		ref   secret.Ref
	}{{"client_secret", c.ClientSecret}, {"client_certificate", c.ClientCertificate}, {"certificate_password", c.CertificatePassword}} {
		if err := s.ref.Validate(); err != nil {
			fault("%s: %w", s.field, err)
		}
	}
	address := func(field, text string, plaintext bool) {
		u, err := url.Parse(text)
		switch {
		case text == "":
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
			fault("%s: want https://host, not %q", field, text)
		case u.Scheme == "http" && !plaintext:
			fault("%s: http:// would send secrets in the clear; use https://", field)
		case u.Scheme == "http" && !loopback(u.Hostname()):
			fault("insecure_plaintext_loopback: %s is not this host", u.Hostname())
		}
	}
	address("graph_endpoint", c.GraphEndpoint, c.InsecurePlaintextLoopback)
	address("authority", c.Authority, false)
	if c.MaxWaitSeconds < 0 {
		fault("max_wait_seconds: want a positive number")
	}
	if c.TimeoutSeconds < 0 {
		fault("timeout_seconds: want a positive number")
	}
	if c.ResourceUnits < 0 {
		fault("resource_units: want a positive number")
	}
	if c.Notifications != nil {
		if err := c.Notifications.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
