package secret

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRule_SEC_5_a_secret_is_given_by_reference(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(path, []byte("s3cret\n"), 0o600))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv("AMBIT_TEST_SECRET", "s3cret")
	for _, r := range []Ref{Ref("file:" + path), "env:AMBIT_TEST_SECRET", "credential:password"} {
		value, err := r.Resolve()
		require.NoError(t, err, r)
		require.Equal(t, "s3cret", string(value), r)
	}
}

func TestBadReferences(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", t.TempDir())
	for ref, want := range map[Ref]string{
		"hunter2":              "by reference",
		"file:":                "by reference",
		"env:AMBIT_TEST_UNSET": "empty or not set",
		"credential:../x":      "no path",
		"credential:absent":    "no such file",
		"file:/nonexistent":    "no such file",
		"":                     "no secret is configured",
	} {
		_, err := ref.Resolve()
		require.ErrorContains(t, err, want, ref)
		require.NotContains(t, err.Error(), "hunter2", "what may be the secret itself is not repeated")
	}
}
