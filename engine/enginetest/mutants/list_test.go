package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The list goes with the code: each fault can be made.
func TestEveryMutantCanBeMade(t *testing.T) {
	for _, m := range mutants {
		text, err := m.apply(filepath.Join("..", "..", m.File))
		require.NoError(t, err)
		require.Contains(t, text, m.New)
		require.NotEqual(t, m.Old, m.New)
	}
}
