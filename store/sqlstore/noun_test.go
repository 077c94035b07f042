package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

func TestEveryKindHasItsTable(t *testing.T) {
	all := nouns()
	require.Len(t, all, int(access.Kinds))
	for i, n := range all {
		require.Equal(t, access.Kind(i), n.kind, "nouns are found by their kind")
		require.Less(t, len(n.key), len(key{}))
	}
}

func TestTextThatOnlyOneDatabaseKeepsIsRefused(t *testing.T) {
	for _, s := range []string{"", "ascii", "ünï", "日本語", "\u2028", "\x7f"} {
		require.NoError(t, checkText(s), "%q", s)
	}
	for _, s := range []string{"\x00", "a\x00", "ü\x00", "\xff", "a\xc3", "\xed\xa0\x80"} {
		require.Error(t, checkText(s), "%q", s)
	}
}
