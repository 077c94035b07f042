package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The list is of the engine as it stands: a fault whose place has gone breaks
// nothing, and proves nothing.
func TestEveryFaultHasItsPlace(t *testing.T) {
	for _, m := range mutants {
		_, err := m.apply(filepath.Join("..", "..", m.File))
		assert.NoError(t, err, m.Rule)
	}
}
