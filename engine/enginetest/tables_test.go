package enginetest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReferenceDecidesTheTables(t *testing.T) {
	tables, err := Tables("../../testdata/decisions")
	require.NoError(t, err)
	cases := 0
	for _, table := range tables {
		for _, c := range table.Cases {
			cases++
			t.Run(c.Rule+"/"+c.Name, func(t *testing.T) { c.Run(t, Reference{State: c.State}) })
		}
	}
	require.Greater(t, cases, 250)
}
