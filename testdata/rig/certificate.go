package rig

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/testdata/loopback"
)

// certificate writes ca.pem, server.pem and server.key into dir, and client.pem
// and client.key of the same authority.
func certificate(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, loopback.Certificates(dir))
}
