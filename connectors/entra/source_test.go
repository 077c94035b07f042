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

// secretFile writes a secret where a configuration can refer to it.
func secretFile(t testing.TB, value string) secret.Ref {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(value), 0o600))
	return secret.Ref("file:" + path)
}

// serve starts an empty directory.
func serve(t testing.TB, o graphtest.Options) *graphtest.Server {
	t.Helper()
	server, err := graphtest.Start(t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

// config is what reads the server.
func config(t testing.TB, server *graphtest.Server) Config {
	t.Helper()
	return Config{
		TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: secretFile(t, graphtest.ClientSecret),
		GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
	}
}

// source makes one; edit changes its configuration.
func source(t testing.TB, server *graphtest.Server, edit ...func(*Config)) *Source {
	t.Helper()
	c := config(t, server)
	for _, f := range edit {
		f(&c)
	}
	s, err := New(c)
	require.NoError(t, err)
	return s
}

func TestTheContractOfASource(t *testing.T) {
	server := serve(t, graphtest.Options{PageSize: 40, EdgesPerEntry: 7})
	server.Load(company.Small())
	with := func(edit func(*testing.T, *Config)) func(*testing.T) directory.Reader {
		return func(t *testing.T) directory.Reader {
			return source(t, server, func(c *Config) { edit(t, c) })
		}
	}
	sourcetest.Run(t, sourcetest.Harness{
		Company: company.Small(), Home: company.Entra,
		Reader:        with(func(*testing.T, *Config) {}),
		WrongPassword: with(func(t *testing.T, c *Config) { c.ClientSecret = secretFile(t, "wrong") }),
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
