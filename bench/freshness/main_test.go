package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := rig.RemoveDomain(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// How fast it is the benchmark tells; here, on whatever machine, nothing is lost.
func TestRule_SRC_9_NoChangeIsLost(t *testing.T) {
	for source, o := range map[string]options{
		"ldap":  {source: "ldap", lasts: 5 * time.Second, rate: 100, people: 500},
		"ad":    {source: "ad", lasts: 5 * time.Second, rate: 5, people: 50},
		"graph": {source: "graph", lasts: 5 * time.Second, rate: 50, people: 500},
	} {
		t.Run(source, func(t *testing.T) {
			r, err := measure(t.Context(), o)
			require.NoError(t, err)
			require.NotEmpty(t, r.took)
			require.Zero(t, r.lost)
			t.Logf("%d changes: p50 %s, p99 %s", len(r.took), r.share(0.5), r.share(0.99))
		})
	}
}
