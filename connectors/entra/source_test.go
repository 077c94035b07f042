package entra

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/testdata/company"
)

func clientSecret(t testing.TB, value string) secret.Ref {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(value), 0o600))
	return secret.Ref("file:" + path)
}

func source(t testing.TB, c Config) *Source {
	s, err := New(c)
	require.NoError(t, err)
	return s
}

// serve starts a directory and makes the configuration that reads it.
func serve(t testing.TB) (*graphtest.Server, Config) {
	server, err := graphtest.Start(t.TempDir(), graphtest.Options{PageSize: 20, EdgesPerEntry: 30})
	require.NoError(t, err)
	server.Load(company.Small())
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server, Config{
		TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: clientSecret(t, graphtest.ClientSecret),
		GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
	}
}

func TestTheContract(t *testing.T) {
	server, c := serve(t)
	with := func(edit func(*testing.T, *Config)) func(*testing.T) directory.Reader {
		return func(t *testing.T) directory.Reader {
			c := c
			edit(t, &c)
			return source(t, c)
		}
	}
	sourcetest.Run(t, sourcetest.Harness{
		Company: company.Small(), Home: company.Entra,
		Reader:        with(func(*testing.T, *Config) {}),
		WrongPassword: with(func(t *testing.T, c *Config) { c.ClientSecret = clientSecret(t, "wrong") }),
		Unreachable: with(func(_ *testing.T, c *Config) {
			c.GraphEndpoint, c.Authority = "https://127.0.0.1:1", "https://127.0.0.1:1"
		}),
		UnknownCA: with(func(_ *testing.T, c *Config) { c.CAFile = "" }),
		Cut: func(*testing.T) func() {
			server.Arm(graphtest.Cut().At(graphtest.Continuations), -1)
			return server.Disarm
		},
	})
}
