package scim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// etag names a resource's version.
func etag(version int64) string { return fmt.Sprintf(`W/"%d"`, version) }

// matchesTag tells whether a header such as If-Match names the version.
func matchesTag(header string, version int64) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag(version), "W/") {
			return true
		}
	}
	return false
}

// show completes a document with what the server knows of the resource.
func show(t *resourceType, r store.Pushed, doc map[string]any, base string) map[string]any {
	schemas := []any{t.schema.ID}
	for name := range doc {
		if strings.HasPrefix(strings.ToLower(name), "urn:") {
			schemas = append(schemas, name)
		}
	}
	doc["schemas"] = schemas
	doc["id"] = string(r.ID)
	doc["meta"] = map[string]any{
		"resourceType": t.schema.Name, "created": r.Created.Format(time.RFC3339Nano), "lastModified": r.Modified.Format(time.RFC3339Nano),
		"location": base + "/" + t.endpoint + "/" + string(r.ID), "version": etag(r.Version),
	}
	return doc
}

// showMembers adds a group's members.
func showMembers(doc map[string]any, members []directory.ObjectID) {
	if len(members) == 0 {
		return
	}
	list := make([]any, len(members))
	for i, m := range members {
		list[i] = map[string]any{"value": string(m)}
	}
	doc["members"] = list
}

// projection is which attributes an answer has (RFC 7644, section 3.9).
type projection struct {
	only, without []path
}

func parseProjection(only, without string) (projection, error) {
	var p projection
	for _, of := range [...]struct {
		list string
		into *[]path
	}{{only, &p.only}, {without, &p.without}} {
		for s := range strings.SplitSeq(of.list, ",") {
			if s = strings.TrimSpace(s); s == "" {
				continue
			}
			at, err := parsePath(s)
			if err != nil {
				return p, err
			}
			if at.within != nil {
				return p, invalid("invalidPath", "attributes: %q has a condition", cut(s))
			}
			*of.into = append(*of.into, at)
		}
	}
	if len(p.only) > 0 && len(p.without) > 0 {
		return p, invalid("invalidValue", "attributes and excludedAttributes do not go together")
	}
	return p, nil
}

// wants tells whether an answer has an attribute, or a part of it.
func (p projection) wants(name string) bool {
	for _, at := range p.without {
		if at.urn == "" && at.sub == "" && strings.EqualFold(at.name, name) {
			return false
		}
	}
	for _, at := range p.only {
		if at.urn == "" && strings.EqualFold(at.name, name) {
			return true
		}
	}
	return len(p.only) == 0
}

// apply leaves out what is not asked for; id and schemas are always there.
func (p projection) apply(doc map[string]any) map[string]any {
	if len(p.only) > 0 {
		out := map[string]any{"id": doc["id"], "schemas": doc["schemas"]}
		for _, at := range p.only {
			copyPath(out, doc, at)
		}
		return out
	}
	for _, at := range p.without {
		if at.urn == "" && (strings.EqualFold(at.name, "id") || strings.EqualFold(at.name, "schemas")) {
			continue
		}
		dropPath(doc, at)
	}
	return doc
}

func copyPath(out, doc map[string]any, at path) {
	if at.urn != "" {
		ext, ok := lookup(doc, at.urn).(map[string]any)
		switch {
		case !ok:
		case at.name == "":
			out[at.urn] = ext
		default:
			into, _ := out[at.urn].(map[string]any)
			if into == nil {
				into = map[string]any{}
				out[at.urn] = into
			}
			copyPath(into, ext, path{name: at.name, sub: at.sub})
		}
		return
	}
	for k, v := range doc {
		if !strings.EqualFold(k, at.name) {
			continue
		}
		if at.sub == "" {
			out[k] = v
			continue
		}
		switch v := v.(type) {
		case map[string]any:
			part, _ := out[k].(map[string]any)
			if part == nil {
				part = map[string]any{}
			}
			copyPath(part, v, path{name: at.sub})
			out[k] = part
		case []any:
			part, _ := out[k].([]any)
			if part == nil {
				part = make([]any, len(v))
			}
			for i, e := range v {
				into, _ := part[i].(map[string]any)
				if into == nil {
					into = map[string]any{}
				}
				if m, ok := e.(map[string]any); ok {
					copyPath(into, m, path{name: at.sub})
				}
				part[i] = into
			}
			out[k] = part
		}
	}
}

func dropPath(doc map[string]any, at path) {
	if at.urn != "" {
		if at.name == "" {
			put(doc, at.urn, nil, false)
		} else if ext, ok := lookup(doc, at.urn).(map[string]any); ok {
			dropPath(ext, path{name: at.name, sub: at.sub})
		}
		return
	}
	if at.sub == "" {
		put(doc, at.name, nil, false)
		return
	}
	switch v := lookup(doc, at.name).(type) {
	case map[string]any:
		put(v, at.sub, nil, false)
	case []any:
		for _, e := range v {
			if m, ok := e.(map[string]any); ok {
				put(m, at.sub, nil, false)
			}
		}
	}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("internal error: write an answer: " + err.Error())
	}
	return b
}
