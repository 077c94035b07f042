package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
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

// FuzzParseTable: what is read is written and read again as the same table; what is
// not, is an error.
func FuzzParseTable(f *testing.F) {
	files, err := filepath.Glob("../../testdata/decisions/*.yaml")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		src, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(src)
	}
	f.Add([]byte("business_units: {root: {}}\ncases: [{rule: some, case: no answer, who: a, does: read}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		table, err := parseTable(src)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		var file tableFile
		require.NoError(t, yaml.UnmarshalWithOptions(src, &file, yaml.Strict()))
		out, err := yaml.Marshal(file)
		require.NoError(t, err)
		again, err := parseTable(out)
		require.NoError(t, err, "%s", out)
		require.Equal(t, Objects(table.State), Objects(again.State))
		require.Len(t, again.Cases, len(table.Cases))
		for i, c := range table.Cases {
			a := again.Cases[i]
			require.Equal(t, c.Questions(), a.Questions())
			require.Equal(t, []any{c.Answer, c.Refused, c.Error, c.Columns, c.Rights, c.Who, c.Ruling}, []any{a.Answer, a.Refused, a.Error, a.Columns, a.Rights, a.Who, a.Ruling})
		}
	})
}
