package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReadSupposition: what `ambit diff` reads goes on as JSON that it would read
// alike; of what it does not read, the error names the file.
func FuzzReadSupposition(f *testing.F) {
	f.Add([]byte("changes:\n- give: {role: Sales Manager, to: 'user:dora', start: 2026-03-01T12:00:00Z}\n"))
	f.Add([]byte("changes:\n- edit: {role: salesperson, privileges: [{table: account, action: read, depth: organization}], without: [ExportToExcel]}\nlimit: 2\n"))
	f.Add([]byte("changes:\n- delete: {kind: user, object: {id: u}}\n- put: {kind: position, object: {id: p, name: Boss}}\n"))
	f.Add([]byte(`{"changes": [{"put": {"kind": "user", "object": {"id": "u"}}}]}`))
	f.Add([]byte("changes: [{give: {rolle: x}}]"))
	f.Add([]byte("- not a map"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, src []byte) {
		read := func(src []byte) (any, error) {
			c := &command{streams: streams{in: bytes.NewReader(src)}}
			return c.readSupposition("-")
		}
		body, err := read(src)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "-: "), err)
			return
		}
		sent, err := json.Marshal(body)
		require.NoError(t, err)
		again, err := read(sent)
		require.NoError(t, err, "%s", sent)
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.JSONEq(t, string(sent), string(twice))
	})
}
