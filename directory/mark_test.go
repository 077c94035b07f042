package directory

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Stores keep marks: what they were made of must give the same for ever.
func TestMarkIsWhatItWas(t *testing.T) {
	o := Object{Attributes: map[string][]string{"mail": {"ann@example.com"}, AttrMark: {"no matter"}}}
	require.Equal(t, Mark("v1 8cb9662700c8f2fa"), NewMark("v1", o))
	m := NewMark("v1", o,
		Members{Relation: Owner, Add: []Ref{ByDN("cn=ann,dc=example")}},
		Members{Relation: Member, Add: []Ref{ByDN("cn=" + strings.Repeat("long", 200))}})
	require.Equal(t, Mark("v1 fd769e622fdc5393"), m)
	require.Equal(t, "v1", m.Version())
}
