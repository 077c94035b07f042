package scim

import "net/http"

// single refuses filters on what describes the server (RFC 7644, section 4).
func single(r *request) error {
	if r.URL.Query().Has("filter") {
		return refused(http.StatusForbidden, "what describes the server takes no filter")
	}
	return nil
}

func (h *Handler) serviceProviderConfig(r *request) error {
	if err := single(r); err != nil {
		return err
	}
	type supported struct {
		Supported bool `json:"supported"`
	}
	return r.answer(http.StatusOK, map[string]any{
		"schemas":        []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"patch":          supported{true},
		"bulk":           map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter":         map[string]any{"supported": true, "maxResults": maxCount},
		"changePassword": supported{},
		"sort":           supported{},
		"etag":           supported{true},
		"authenticationSchemes": []map[string]any{{
			"type": "oauthbearertoken", "name": "Bearer token", "description": "the source's own token, in the Authorization header", "primary": true,
		}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": r.base + "/ServiceProviderConfig"},
	})
}

// listed answers with all of what describes the server.
func listed[T any](r *request, list []T) error {
	if err := single(r); err != nil {
		return err
	}
	return r.answer(http.StatusOK, map[string]any{
		"schemas": []string{messages + "ListResponse"}, "totalResults": len(list), "startIndex": 1, "itemsPerPage": len(list), "Resources": list,
	})
}

// allSchemas lists the schemas as /Schemas gives them.
func allSchemas() []schema {
	var out []schema
	for _, s := range []schema{users, enterprise, groups} {
		s.Schemas = []string{"urn:ietf:params:scim:schemas:core:2.0:Schema"}
		out = append(out, s)
	}
	return out
}

func (h *Handler) schemas(r *request) error { return listed(r, allSchemas()) }

func (h *Handler) schema(r *request) error {
	for _, s := range allSchemas() {
		if s.ID == r.PathValue("id") {
			return r.answer(http.StatusOK, s)
		}
	}
	return refused(http.StatusNotFound, "no such schema")
}

func allResourceTypes(base string) []map[string]any {
	var out []map[string]any
	for _, t := range []*resourceType{userType, groupType} {
		m := map[string]any{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"}, "id": t.schema.Name, "name": t.schema.Name,
			"description": t.schema.Description, "endpoint": "/" + t.endpoint, "schema": t.schema.ID,
			"meta": map[string]any{"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + t.schema.Name},
		}
		if t == userType {
			m["schemaExtensions"] = []map[string]any{{"schema": enterpriseSchema, "required": false}}
		}
		out = append(out, m)
	}
	return out
}

func (h *Handler) resourceTypes(r *request) error { return listed(r, allResourceTypes(r.base)) }

func (h *Handler) resourceType(r *request) error {
	for _, t := range allResourceTypes(r.base) {
		if t["id"] == r.PathValue("id") {
			return r.answer(http.StatusOK, t)
		}
	}
	return refused(http.StatusNotFound, "no such resource type")
}
