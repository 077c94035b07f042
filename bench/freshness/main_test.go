package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// How fast it is the benchmark tells; here, on whatever machine, nothing is lost.
func TestRule_SRC_9_NoChangeIsLost(t *testing.T) {
	r, err := measure(t.Context(), options{lasts: 5 * time.Second, rate: 100, people: 500})
	require.NoError(t, err)
	require.NotEmpty(t, r.took)
	require.Zero(t, r.lost)
	t.Logf("%d changes: p50 %s, p99 %s", len(r.took), r.share(0.5), r.share(0.99))
}
