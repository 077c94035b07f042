package access_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

func FuzzParsePrincipal(f *testing.F) {
	for _, s := range []string{"user:ann", "team:default:sales", "organization", "user:", "team", ":", "organization:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := access.ParsePrincipal(s); err == nil {
			require.Equal(t, s, p.String())
		} else {
			require.Zero(t, p)
		}
	})
}

// FuzzJoinKey: no two lists of parts have the same key.
func FuzzJoinKey(f *testing.F) {
	f.Add("account", "1/2", "%2F")
	f.Add("a%", "2Fb", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		parts := []string{a, b, c}
		key := access.JoinKey(slices.Clone(parts)...)
		require.Equal(t, parts, access.SplitKey(key))
	})
}

func FuzzRights(f *testing.F) {
	for _, s := range []string{"", "read", "read,write", "create, share", "read,,", "Read"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r, again access.Rights
		if r.UnmarshalText([]byte(s)) != nil {
			return
		}
		require.NoError(t, again.UnmarshalText([]byte(r.String())))
		require.Equal(t, r, again)
		for _, a := range r.Actions() {
			require.Contains(t, s, a.String())
		}
	})
}

// FuzzFold: folding twice is folding once, and makes no invalid text of valid.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"Straße", "STRASSE", "e\u0301", "\u00c9", "İ", "ﬃ", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		folded := access.Fold(s)
		require.Equal(t, folded, access.Fold(folded))
		require.True(t, utf8.ValidString(folded))
		require.Equal(t, folded, access.Fold(strings.ToLower(folded)))
	})
}
