package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// maxName is the longest name that is unique, in bytes: databases keep an index of
// them.
const maxName = 512

// maxNames is how many members an object has, maxValues how many values an
// attribute, but for a group's members.
const maxNames, maxValues = 500, 200

// decode reads a body: one JSON object in UTF-8, each member once, not too deep.
func decode(body []byte) (map[string]any, error) {
	if !utf8.Valid(body) {
		return nil, invalid("invalidSyntax", "the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	if err != nil {
		return nil, invalid("invalidSyntax", "the body is not JSON as it should be: %s", err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("invalidSyntax", "the body is not a JSON object")
	}
	return m, nil
}

// decodeValue reads one value.
func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values within values, %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		m, seen := map[string]any{}, map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder gives no other
			if folded := strings.ToLower(name); seen[folded] {
				return nil, fmt.Errorf("%q is there twice; names do not regard case", cut(name))
			} else if seen[folded] = true; len(seen) > maxNames {
				return nil, fmt.Errorf("an object has more than %d members", maxNames)
			}
			if m[name], err = decodeValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	if s, ok := t.(string); ok && strings.IndexByte(s, 0) >= 0 {
		return nil, errors.New("a text has a NUL character")
	}
	return t, nil
}

// coerce brings a value to the shape of its attribute: names as the schema spells
// them, "False" for false where a client writes so (Rule SCIM-4), lists as lists.
// nil says that there is no value.
func coerce(where string, a *attribute, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if a == nil {
		return withoutNulls(v), nil
	}
	if !a.MultiValued {
		return coerceOne(where, a, v)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) > maxValues {
		return nil, invalid("invalidValue", "%s: more than %d values", where, maxValues)
	}
	out := make([]any, 0, len(list))
	for _, v := range list {
		one, err := coerceOne(where, a, v)
		if err != nil {
			return nil, err
		}
		if one != nil {
			out = append(out, one)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func coerceOne(where string, a *attribute, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	wrong := func(want string) error {
		return invalid("invalidValue", "%s: want %s", where, want)
	}
	switch a.Type {
	case "complex":
		if s, ok := v.(string); ok && a.sub("value") != nil { // the manager's id, say, by itself (Rule SCIM-4)
			if s == "" {
				return nil, nil
			}
			v = map[string]any{"value": s}
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, wrong("an object")
		}
		out := map[string]any{}
		for name, v := range m {
			sub := a.sub(name)
			if sub != nil {
				name = sub.Name
			}
			v, err := coerce(where+"."+name, sub, v)
			if err != nil {
				return nil, err
			}
			if v != nil {
				out[name] = v
			}
		}
		if len(out) == 0 {
			return nil, nil
		}
		return out, nil
	case "boolean":
		if s, ok := v.(string); ok {
			switch {
			case strings.EqualFold(s, "true"):
				return true, nil
			case strings.EqualFold(s, "false"):
				return false, nil
			}
		}
		if _, ok := v.(bool); !ok {
			return nil, wrong("true or false")
		}
	default:
		if _, ok := v.(string); !ok {
			return nil, wrong("a text")
		}
	}
	return v, nil
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e = withoutNulls(e); e != nil {
				out[k] = e
			}
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			if e = withoutNulls(e); e != nil {
				out = append(out, e)
			}
		}
		return out
	}
	return v
}

// ignored are attributes that are the server's, and those that Ambit does not
// keep: it wants to know no password (Rule SRC-12).
func ignored(t *resourceType, name string) bool {
	for _, n := range [...]string{"id", "meta", "schemas"} {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return t == userType && (strings.EqualFold(name, "password") || strings.EqualFold(name, "groups"))
}

// whole reads the state that POST and PUT give a resource. members is nil where
// they say nothing of them, which changes nothing (Rule SCIM-8).
func whole(t *resourceType, body map[string]any) (doc map[string]any, members *edit, err error) {
	if err := declares(t, body); err != nil {
		return nil, nil, err
	}
	doc = map[string]any{}
	for name, v := range body {
		switch {
		case ignored(t, name):
			continue
		case t == groupType && strings.EqualFold(name, "members"):
			if v == nil {
				continue
			}
			ids, err := memberIDs(v)
			if err != nil {
				return nil, nil, err
			}
			members = &edit{}
			members.replace(ids)
			continue
		}
		if err := set(t, doc, name, v); err != nil {
			return nil, nil, err
		}
	}
	return doc, members, nil
}

// declares checks that a body says what it is. Further schemas are taken: Entra
// sends one of its own with groups (Rule SCIM-4).
func declares(t *resourceType, body map[string]any) error {
	list, _ := lookup(body, "schemas").([]any)
	for _, s := range list {
		if s, ok := s.(string); ok && strings.EqualFold(s, t.schema.ID) {
			return nil
		}
	}
	return invalid("invalidValue", "schemas: want %s among them", t.schema.ID)
}

// set gives an attribute or an extension its value.
func set(t *resourceType, doc map[string]any, name string, v any) error {
	urn, rest := splitURN(name)
	urn = t.extended(urn, rest)
	if urn != "" && rest == "" {
		if v == nil {
			delete(doc, urn)
			return nil
		}
		m, ok := v.(map[string]any)
		if !ok {
			return invalid("invalidValue", "%s: want an object", urn)
		}
		out := map[string]any{}
		for name, v := range m {
			a := t.attribute(urn, name)
			if a != nil {
				name = a.Name
			}
			v, err := coerce(urn+":"+name, a, v)
			if err != nil {
				return err
			}
			if v != nil {
				out[name] = v
			}
		}
		put(doc, urn, out, len(out) > 0)
		return nil
	}
	if urn != "" { // one attribute of an extension (Rule SCIM-4)
		ext, _ := lookup(doc, urn).(map[string]any)
		if ext == nil {
			ext = map[string]any{}
		}
		a := t.attribute(urn, rest)
		if a != nil {
			rest = a.Name
		}
		v, err := coerce(name, a, v)
		put(ext, rest, v, v != nil)
		put(doc, urn, ext, len(ext) > 0)
		return err
	}
	a := t.attribute("", rest)
	if a != nil {
		rest = a.Name
	}
	v, err := coerce(rest, a, v)
	put(doc, rest, v, v != nil)
	return err
}

// put sets a member of an object, or takes it away, by name without regard to
// case.
func put(m map[string]any, name string, v any, there bool) {
	for k := range m {
		if k != name && strings.EqualFold(k, name) {
			name = k
		}
	}
	if there {
		m[name] = v
	} else {
		delete(m, name)
	}
}

// name is the resource's unique name, as the client wrote it.
func name(t *resourceType, doc map[string]any) (string, error) {
	s, _ := doc[t.name].(string)
	switch {
	case strings.TrimSpace(s) == "":
		return "", invalid("invalidValue", "%s: want a text that is not empty", t.name)
	case len(fold(s)) > maxName:
		return "", invalid("invalidValue", "%s: longer than %d bytes", t.name, maxName)
	}
	return s, nil
}

// push makes the store's change of a document. r is the resource as it is, or as
// it is to be made.
func push(t *resourceType, r store.Pushed, doc map[string]any, members *edit) (store.Push, error) {
	s, err := name(t, doc)
	if err != nil {
		return store.Push{}, err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return store.Push{}, fmt.Errorf("write the document of %s: %w", r.ID, err)
	}
	r.Name, r.Document = fold(s), b
	p := store.Push{Pushed: r, Values: index(doc)}
	if members != nil {
		p.Whole = members.whole
		p.Add, p.Remove = members.lists()
	}
	return p, nil
}

// parse reads a stored document.
func parse(r store.Pushed) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(r.Document))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("read the stored document of %s: %w", r.ID, err)
	}
	return doc, nil
}

// maxIndexed is the longest value by which resources are found without looking at
// each, in bytes.
const maxIndexed = 256

func indexable(value string) bool { return len(value) <= maxIndexed }

// indexPath names an attribute in the index.
func indexPath(urn, name, sub string) string {
	p := strings.ToLower(name)
	if urn != "" {
		p = strings.ToLower(urn) + ":" + p
	}
	if sub != "" {
		p += "." + strings.ToLower(sub)
	}
	return p
}

// index lists the values by which a resource is found: see filter.indexed.
func index(doc map[string]any) []store.PushedValue {
	var out []store.PushedValue
	note := func(path string, v any) {
		s, ok := v.(string)
		if b, isBool := v.(bool); isBool {
			s, ok = fmt.Sprint(b), true
		}
		if s = fold(s); ok && indexable(s) {
			out = append(out, store.PushedValue{Path: path, Value: s})
		}
	}
	attributes := func(urn string, m map[string]any) {
		for name, v := range m {
			list, many := v.([]any)
			if !many {
				list = []any{v}
			}
			for _, v := range list {
				parts, ok := v.(map[string]any)
				if !ok {
					note(indexPath(urn, name, ""), v)
				}
				for sub, v := range parts {
					note(indexPath(urn, name, sub), v)
					if strings.EqualFold(sub, "value") {
						note(indexPath(urn, name, ""), v)
					}
				}
			}
		}
	}
	attributes("", doc)
	for name, v := range doc {
		if ext, ok := v.(map[string]any); ok && strings.HasPrefix(strings.ToLower(name), "urn:") {
			attributes(name, ext)
		}
	}
	slices.SortFunc(out, func(a, b store.PushedValue) int {
		return strings.Compare(a.Path+"\x00"+a.Value, b.Path+"\x00"+b.Value)
	})
	return slices.Compact(out)
}

// edit is what a change does to a group's members, in order.
type edit struct {
	whole bool // what it does not name goes
	named map[directory.ObjectID]bool
}

func (e *edit) name(ids []directory.ObjectID, member bool) {
	if e.named == nil {
		e.named = map[directory.ObjectID]bool{}
	}
	for _, id := range ids {
		e.named[id] = member
	}
}

func (e *edit) replace(ids []directory.ObjectID) {
	e.whole, e.named = true, nil
	e.name(ids, true)
}

func (e *edit) lists() (add, remove []directory.ObjectID) {
	for id, member := range e.named {
		if member {
			add = append(add, id)
		} else {
			remove = append(remove, id)
		}
	}
	slices.Sort(add)
	slices.Sort(remove)
	return add, remove
}

// maxID is the longest id of a member, in bytes; ours have 36.
const maxID = 128

// memberIDs reads members: objects with a value, or one of them, or an id by
// itself. Whatever names nobody is refused; it never means everybody (Rule
// SCIM-5).
func memberIDs(v any) ([]directory.ObjectID, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	ids := make([]directory.ObjectID, 0, len(list))
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			v = lookup(m, "value")
		}
		id, ok := v.(string)
		if !ok || id == "" || len(id) > maxID {
			return nil, invalid("invalidValue", "members: want objects with the member's id as their value")
		}
		ids = append(ids, directory.ObjectID(id))
	}
	return ids, nil
}
