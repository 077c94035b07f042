package engine

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Check waits for these rows: they must not grow by accident.
func TestRowsFillCacheLines(t *testing.T) {
	require.EqualValues(t, 128, unsafe.Sizeof(user{}))
	require.EqualValues(t, 32, unsafe.Sizeof(team{}))
	require.EqualValues(t, 64, unsafe.Sizeof(shares{}))
	require.EqualValues(t, 16, unsafe.Sizeof(span{}))
	require.EqualValues(t, 64, unsafe.Sizeof(named{}))

	var r rows[user]
	e := &edit{loading: true}
	for i := range uint32(10_000) {
		r.own(i, e)
	}
	require.Zero(t, uintptr(unsafe.Pointer(r.get(9_999)))%64, "rows loaded by the thousand begin where a line begins")
}

// The read path waits for nobody: there is nothing to wait with.
func TestTheEngineHasNoLocks(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			require.NotContains(t, []string{`"sync"`, `"sync/atomic"`}, i.Path.Value, name)
		}
	}
}
