package engine

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// entry is what the test's dict holds.
type entry struct {
	key   string
	value int
}

func (e *entry) is(_ uint32, key string) bool { return e.key == key }

func TestADictHoldsWhatWasPutIntoIt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	loading := &edit{loading: true}
	d, want := newDict[*entry](maphash.MakeSeed(), 0, loading), map[string]int{}
	change := func(d *dict[*entry], want map[string]int, e *edit) {
		key := fmt.Sprint(random.IntN(400_000)) // more than one root has room for
		if random.IntN(4) == 0 {
			d.remove(0, key, e)
			delete(want, key)
			return
		}
		value := random.Int()
		d.set(0, key, &entry{key, value}, e)
		want[key] = value
	}
	same := func(d *dict[*entry], want map[string]int) {
		t.Helper()
		require.Equal(t, len(want), d.count)
		for n := range 400_000 {
			key := fmt.Sprint(n)
			got, ok := d.get(0, key)
			value, there := want[key]
			if ok != there || ok && got.value != value {
				t.Fatalf("%s: got %v, want %d, %t", key, got, value, there)
			}
		}
	}
	for range 600_000 {
		change(&d, want, loading)
	}
	require.Greater(t, len(d.roots), 1)
	same(&d, want)

	// What later edits change, they change for themselves.
	before, wanted := d, maps.Clone(want)
	for range 500 {
		e := new(edit)
		for range 20 {
			change(&d, want, e)
		}
	}
	same(&d, want)
	same(&before, wanted)
}
