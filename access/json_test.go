package access_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
)

// The digests of the audit log are made from this JSON, and must stay the same for
// ever; rapid fills every field there is, those that are added one day among them.
func TestAppendJSON_is_what_encoding_json_makes(t *testing.T) {
	same := func(t *rapid.T, o access.Object) {
		want, err := json.Marshal(o)
		require.NoError(t, err)
		got, err := access.AppendJSON([]byte("before "), o)
		require.NoError(t, err)
		require.Equal(t, "before "+string(want), string(got))
	}
	kinds := rapid.Custom(func(t *rapid.T) access.User {
		u := rapid.Make[access.User]().Draw(t, "user")
		u.Kind = rapid.SampledFrom([]access.UserKind{access.Person, access.ApplicationUser, access.StubUser}).Draw(t, "kind")
		u.AccessMode = rapid.SampledFrom([]access.AccessMode{access.ReadWrite, access.ReadOnly, access.NonInteractive}).Draw(t, "mode")
		return u
	})
	rapid.Check(t, func(t *rapid.T) {
		same(t, kinds.Draw(t, "user"))
		same(t, rapid.Make[access.Membership]().Draw(t, "membership"))
		same(t, rapid.Make[access.Team]().Draw(t, "team"))
	})
	for _, text := range []string{"", "plain", `"`, `\`, "<b>&", "é", "\u2028", "\x00\x1f\x7f", "\xff"} {
		want, err := json.Marshal(text)
		require.NoError(t, err)
		require.Equal(t, string(want), string(access.AppendJSONText(nil, text)))
	}
}
