package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheDescriptionIsOfWhatIsThere checks /openapi.json: each route is described
// and nothing else, each reference leads somewhere, each operation says what it
// answers, and what is written as a word is described as one.
func TestTheDescriptionIsOfWhatIsThere(t *testing.T) {
	w := newWorld(t)
	var doc map[string]any
	w.as("", "GET", "/openapi.json", nil).into(t, &doc)
	require.True(t, strings.HasPrefix(doc["openapi"].(string), "3.1"))
	require.NotEmpty(t, doc["info"].(map[string]any)["version"])

	var described, there []string
	ids := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			described = append(described, strings.ToUpper(method)+" "+path)
			op := op.(map[string]any)
			id, _ := op["operationId"].(string)
			require.NotEmpty(t, id)
			require.False(t, ids[id], "%s is there twice", id)
			ids[id] = true
			require.NotEmpty(t, op["summary"], id)
			responses, _ := op["responses"].(map[string]any)
			good := false
			for status := range responses {
				good = good || strings.HasPrefix(status, "2")
			}
			require.True(t, good, "%s says what it answers", id)
			require.Contains(t, responses, "default", "%s says how it refuses", id)
			problem := responses["default"].(map[string]any)["content"].(map[string]any)
			require.Equal(t, map[string]any{"$ref": "#/components/schemas/Problem"}, problem["application/problem+json"].(map[string]any)["schema"], id)
			for _, name := range strings.Split(path, "{")[1:] {
				name, _, _ = strings.Cut(name, "}")
				params, _ := op["parameters"].([]any)
				require.True(t, slices.ContainsFunc(params, func(p any) bool {
					return p.(map[string]any)["name"] == name && p.(map[string]any)["in"] == "path" && p.(map[string]any)["required"] == true
				}), "%s has %s", id, name)
			}
		}
	}
	for _, r := range w.api.Routes() {
		there = append(there, r.Method+" "+r.Path)
	}
	require.ElementsMatch(t, there, described)

	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				name, ok := strings.CutPrefix(ref, "#/components/schemas/")
				require.True(t, ok, at)
				require.Contains(t, schemas, name, at)
			}
			for name, inner := range v {
				walk(at+"/"+name, inner)
			}
		case []any:
			for i, inner := range v {
				walk(fmt.Sprintf("%s/%d", at, i), inner)
			}
		}
	}
	walk("", doc)
	for at, want := range map[string]string{
		"AccessPrivilege/depth": "string", "AccessPrivilege/action": "string", "AccessTable/ownership": "string", "AccessTeam/type": "string",
		"AccessUser/managed_by": "string", "Answer/depth": "string", "JitPolicy/max_duration": "string", "AuditEvent/at": "string",
	} {
		name, field, _ := strings.Cut(at, "/")
		require.Contains(t, schemas, name)
		property := schemas[name].(map[string]any)["properties"].(map[string]any)[field].(map[string]any)
		kind := property["type"]
		if several, ok := kind.([]any); ok {
			kind = several[0]
		}
		require.Equal(t, want, kind, at)
	}
	require.Equal(t, http.StatusOK, w.as("", "GET", "/openapi.yaml", nil).status)
}
