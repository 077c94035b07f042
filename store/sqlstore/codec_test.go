package sqlstore

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What is stored must not change with who writes it.
func TestEncoder_attributes_are_written_as_encoding_json_does(t *testing.T) {
	var w encoder
	same := func(t require.TestingT, all map[string][]string) {
		want, err := json.Marshal(all)
		require.NoError(t, err)
		w.attributes(all)
		require.NoError(t, w.err)
		require.Equal(t, string(want), w.values[len(w.values)-1])
	}
	same(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.String(), 1, 4)
		same(t, rapid.MapOf(rapid.String(), values).Draw(t, "attributes"))
	})
}
