package scim

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/store"
)

const sample = `{"userName":"Ada@Example.com","externalId":"X1","active":true,"name":{"familyName":"King","givenName":"Ada"},
 "emails":[{"type":"work","value":"ada@example.com","primary":true},{"type":"home","value":"a@b.c"}],"x":{"n":5},
 "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT","manager":{"value":"id-2"}},
 "urn:example:params:2.0:User":{"shoe":"43"}}`

func sampleDoc(t require.TestingT) map[string]any {
	doc, err := decode([]byte(sample))
	require.NoError(t, err)
	return doc
}

// FuzzFilter parses what strangers send. What the index is asked for is never more
// than what meets the filter: whatever meets it is found.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`userName eq "ada@example.com"`, `emails[type eq "work" and value co "@"].value eq "ada@example.com"`, `not (active eq false) or title pr`,
		`manager eq "id-2" and id eq "id-1"`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department sw "I"`, `active eq "true"`,
		`urn:example:params:2.0:User:shoe eq "43"`, `meta.lastModified gt "2026-01-01T00:00:00Z"`, `emails[value eq "A@B.C"]`, `x.n ge 5 and externalId eq "X1"`,
		`a eq "\u00e4\"" and (b ne null)`, `members[value eq ""]`, `emails eq "a@b.c"`, `((((((((((((((((((a pr))))))))))))))))))`, `name eq "x"`, `emails.type eq "home"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := parseFilter(s)
		if err != nil {
			p, known := problemOf(err)
			require.True(t, known)
			require.Equal(t, "invalidFilter", p.typ)
			return
		}
		parsed = parsed.of(userType)
		doc := sampleDoc(t)
		values := index(doc)
		doc = show(userType, store.Pushed{ID: "id-1", Version: 1}, doc, "https://x")
		matches := parsed.matches(doc, userType.attribute)
		where, value, ok := parsed.indexed()
		if matches && ok && where != "id" {
			require.True(t, slices.Contains(values, store.PushedValue{Path: where, Value: value}), "%s %s", where, value)
		}
		if matches && ok && where == "id" {
			require.Equal(t, "id-1", value)
		}
	})
}

// FuzzPatch applies what strangers send to a user and to a group. Whatever comes of
// it can be stored, read again and patched again.
func FuzzPatch(f *testing.F) {
	const begin, end = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`, `]}`
	for _, s := range []string{
		`{"op":"Replace","path":"active","value":"False"}`, `{"op":"add","path":"emails","value":[{"value":"x","primary":"True"}]}`,
		`{"op":"remove","path":"emails[type eq \"work\"].value"}`, `{"op":"replace","value":{"name.givenName":"x","urn:a:2.0:User:b":1,"emails[type eq \"other\"].value":"y"}}`,
		`{"op":"Remove","path":"members","value":[{"value":"a"}]}`, `{"op":"remove","path":"members"}`, `{"op":"remove","path":"members[value eq \"a\" or value eq \"b\"]"}`,
		`{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":"m"}`, `{"op":"replace","path":"name","value":null}`,
		`{"op":"remove","path":"x.n"}`, `{"op":"replace","path":"urn:example:params:2.0:User","value":{"shoe":null}}`, `{"op":"remove","path":"roles","value":[{"value":"r"}]}`,
		`{"op":"add","path":"x","value":{"y":[{"z":null}]}}`, `{"op":"replace","path":"emails[not (type eq \"work\")]","value":{"display":"d"}}`,
	} {
		f.Add(begin + s + end)
	}
	f.Fuzz(func(t *testing.T, s string) {
		body, err := decode([]byte(s))
		if err != nil {
			return
		}
		for _, kind := range []*resourceType{userType, groupType} {
			doc := sampleDoc(t)
			doc["displayName"] = "one"
			for range 2 {
				members, err := patch(kind, doc, body)
				if err != nil {
					break
				}
				p, err := push(kind, store.Pushed{}, doc, members)
				if err != nil {
					break
				}
				require.NotContains(t, doc, "members")
				require.NotContains(t, doc, "password")
				for _, id := range slices.Concat(p.Add, p.Remove) {
					require.NotEmpty(t, id)
				}
				again, err := parse(p.Pushed)
				require.NoError(t, err)
				b, err := json.Marshal(again)
				require.NoError(t, err)
				require.Equal(t, string(p.Document), string(b))
				doc = again
			}
		}
	})
}
