package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReadCursor: a cursor gives back where the page ended to the list that made
// it, and to no other; whatever else is sent is refused.
func FuzzReadCursor(f *testing.F) {
	f.Add("account/1", "AAAA")
	f.Add("x", "")
	f.Fuzz(func(t *testing.T, after, sent string) {
		if _, err := readCursor(t.Context(), sent, "list"); err != nil {
			require.ErrorContains(t, err, "begin again")
		}
		if after == "" {
			return
		}
		cursor := makeCursor(t.Context(), after, "list")
		got, err := readCursor(t.Context(), cursor, "list")
		require.NoError(t, err)
		require.Equal(t, after, got)
		_, err = readCursor(t.Context(), cursor, "another list")
		require.Error(t, err)
	})
}
