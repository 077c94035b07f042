package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/store/sqlite"
)

// What is put into the store's tables straight is what the store would hold.
func TestFillStoresWhatTheStoreWould(t *testing.T) {
	c := company{users: 400}
	dir := t.TempDir()
	require.NoError(t, fill(t.Context(), filepath.Join(dir, "filled.db"), c))
	filled, err := sqlite.Open(t.Context(), filepath.Join(dir, "filled.db"), sqlite.Options{})
	require.NoError(t, err)
	defer filled.Close()
	committed, err := sqlite.Open(t.Context(), filepath.Join(dir, "committed.db"), sqlite.Options{})
	require.NoError(t, err)
	defer committed.Close()
	_, err = commit(t.Context(), committed, c.objects())
	require.NoError(t, err)
	var got, want []access.Object
	require.NoError(t, filled.Load(t.Context(), 0, func(o access.Object) error { got = append(got, o); return nil }))
	require.NoError(t, committed.Load(t.Context(), 0, func(o access.Object) error { want = append(want, o); return nil }))
	require.Greater(t, len(got), 19*c.users)
	require.Equal(t, want, got)
}
