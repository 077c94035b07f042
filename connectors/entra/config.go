// Package entra reads Entra ID by Microsoft Graph: users and groups with their
// members and owners, in full once and by delta query after that.
//
// The SDK builds and authorizes the requests; pages are decoded here from the raw
// body, since the merge rules turn on the difference between a property that is
// absent and one that is null (Rule GRAPH-16). A round is complete when both
// delta links have arrived, and only then (Rule GRAPH-13).
//
// It uses no delegated permissions, sends its token to the configured hosts only,
// and keeps no state between reads but the cursor that the caller stores.
package entra

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/ambit-iam/ambit/secret"
)

// Config is one Entra tenant.
type Config struct {
	TenantID string `yaml:"tenant_id,required"`
	ClientID string `yaml:"client_id"` // of the app registration, or of a user-assigned managed identity
	// Cloud sets the Graph endpoint and the authority together (Rule GRAPH-1):
	// global, us_government, us_government_dod or china.
	Cloud string `yaml:"cloud"`
	// Exactly one credential, each explicit (Rule GRAPH-2).
	ClientSecret      secret.Ref `yaml:"client_secret"`
	ClientCertificate secret.Ref `yaml:"client_certificate"` // PEM or PKCS#12 with the key
	WorkloadIdentity  string     `yaml:"workload_identity"`  // the file with the federated token
	ManagedIdentity   bool       `yaml:"managed_identity"`
	// GraphEndpoint and Authority replace the cloud's, such as
	// https://graph.example.com. CAFile verifies their certificates; empty means
	// the system's.
	GraphEndpoint string `yaml:"graph_endpoint"`
	Authority     string `yaml:"authority"`
	CAFile        string `yaml:"ca_file"`
	// MaxWaitSeconds is the longest wait that throttling may ask for within a
	// read; 120 where it is absent. A longer one ends the round until then.
	MaxWaitSeconds int `yaml:"max_wait_seconds"`
}

type endpoints struct{ graph, authority string }

// clouds is the table of Rule GRAPH-1.
var clouds = map[string]endpoints{
	"global":            {"https://graph.microsoft.com", cloud.AzurePublic.ActiveDirectoryAuthorityHost},
	"us_government":     {"https://graph.microsoft.us", cloud.AzureGovernment.ActiveDirectoryAuthorityHost},
	"us_government_dod": {"https://dod-graph.microsoft.us", cloud.AzureGovernment.ActiveDirectoryAuthorityHost},
	"china":             {"https://microsoftgraph.chinacloudapi.cn", cloud.AzureChina.ActiveDirectoryAuthorityHost},
}

func (c Config) withDefaults() Config {
	if c.Cloud == "" {
		c.Cloud = "global"
	}
	of := clouds[c.Cloud]
	if c.GraphEndpoint == "" {
		c.GraphEndpoint = of.graph
	}
	if c.Authority == "" {
		c.Authority = of.authority
	}
	if c.MaxWaitSeconds == 0 {
		c.MaxWaitSeconds = 120
	}
	return c
}

func (c Config) maxWait() time.Duration { return time.Duration(c.MaxWaitSeconds) * time.Second }

// Validate reports every fault that can be seen without connecting.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.TenantID == "" {
		fault("tenant_id: want the tenant's id")
	}
	if _, ok := clouds[c.Cloud]; !ok && c.Cloud != "" {
		fault("cloud: %q is not one of global, us_government, us_government_dod and china", c.Cloud)
	}
	given := []bool{c.ClientSecret != "", c.ClientCertificate != "", c.WorkloadIdentity != "", c.ManagedIdentity}
	if n := len(slices.DeleteFunc(given, func(b bool) bool { return !b })); n != 1 {
		fault("want exactly one of client_secret, client_certificate, workload_identity and managed_identity")
	}
	if c.ClientID == "" && !c.ManagedIdentity {
		fault("client_id: want the app registration's id")
	}
	for name, ref := range map[string]secret.Ref{"client_secret": c.ClientSecret, "client_certificate": c.ClientCertificate} {
		if err := ref.Validate(); err != nil {
			fault("%s: %w", name, err)
		}
	}
	for name, text := range map[string]string{"graph_endpoint": c.GraphEndpoint, "authority": c.Authority} {
		if text == "" {
			continue
		}
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" {
			fault("%s: want an https URL", name)
		}
	}
	if c.MaxWaitSeconds < 0 {
		fault("max_wait_seconds: want a positive number")
	}
	return errors.Join(faults...)
}

// customAuthority tells whether the authority is not one of Microsoft's, which
// then has no instance discovery.
func (c Config) customAuthority() bool {
	u, err := url.Parse(c.Authority)
	if err != nil {
		return true
	}
	return net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost" || !slices.ContainsFunc([]string{"global", "us_government", "china"}, func(name string) bool {
		known, err := url.Parse(clouds[name].authority)
		return err == nil && known.Host == u.Host
	})
}
