package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A small company is measured as a large one is: all of it is read twice.
func TestMeasure(t *testing.T) {
	r, err := measure(t.Context(), 400)
	require.NoError(t, err)
	assert.Equal(t, 440, r.entries)
	assert.Equal(t, 1_600, r.memberships)
	assert.Positive(t, r.idle)
	assert.Contains(t, render(r, r), "| 440 entries, 1600 memberships | 440, 1600 |")
}
