package scim

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/directory"
)

// maxOperations is how many operations one PATCH has.
const maxOperations = 1000

// patch applies a PATCH body to a document, in place, and returns what it does to
// the members, nil for nothing. After an error the document is of no use.
//
// It takes the forms of RFC 7644, section 3.5.2, and those that Entra sends beside
// them (Rule SCIM-4).
func patch(t *resourceType, doc map[string]any, body map[string]any) (*edit, error) {
	list, _ := lookup(body, "schemas").([]any)
	if !slices.ContainsFunc(list, func(v any) bool {
		s, ok := v.(string)
		return ok && strings.EqualFold(s, messages+"PatchOp")
	}) {
		return nil, invalid("invalidValue", "schemas: want %sPatchOp", messages)
	}
	operations, ok := lookup(body, "Operations").([]any)
	if !ok || len(operations) == 0 || len(operations) > maxOperations {
		return nil, invalid("invalidSyntax", "Operations: want a list of 1 to %d", maxOperations)
	}
	c := &change{t: t, doc: doc}
	for _, o := range operations {
		m, ok := o.(map[string]any)
		if !ok {
			return nil, invalid("invalidSyntax", "Operations: want objects")
		}
		if err := c.operation(m); err != nil {
			return nil, err
		}
	}
	return c.members, nil
}

// change is a PATCH in progress.
type change struct {
	t       *resourceType
	doc     map[string]any
	members *edit
}

func (c *change) operation(m map[string]any) error {
	op, _ := lookup(m, "op").(string)
	op = strings.ToLower(op) // Entra writes Add, Replace and Remove (Rule SCIM-4)
	if op != "add" && op != "replace" && op != "remove" {
		return invalid("invalidSyntax", "op: want add, replace or remove")
	}
	value, given := get(m, "value")
	text, named := get(m, "path")
	if named && text != nil {
		s, ok := text.(string)
		if !ok {
			return invalid("invalidPath", "path: want a text")
		}
		at, err := parsePath(s)
		if err != nil {
			return err
		}
		if at.urn != c.t.schema.ID {
			return c.apply(op, at, value, given)
		}
	}
	if op == "remove" {
		return invalid("noTarget", "remove: say of what, with a path")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return invalid("invalidValue", "%s without a path: want an object as its value", op)
	}
	// In a set order, so that one body has one effect.
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at, err := parsePath(key) // a key may be a path (Rule SCIM-4)
		if err != nil {
			return err
		}
		if err := c.apply(op, at, object[key], true); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) apply(op string, at path, value any, given bool) error {
	at.urn = c.t.extended(at.urn, at.name)
	if at.urn == "" {
		switch {
		case strings.EqualFold(at.name, "id") || strings.EqualFold(at.name, "meta"):
			if op == "remove" || at.within != nil || at.sub != "" {
				return invalid("mutability", "%s is the server's", at.name)
			}
			return nil // a client that sends all it knows
		case ignored(c.t, at.name):
			return nil
		case c.t == groupType && strings.EqualFold(at.name, "members"):
			return c.member(op, at, value, given)
		}
	}
	holder := c.doc
	if at.urn != "" {
		if at.name == "" {
			return c.extension(op, at.urn, value)
		}
		ext, _ := lookup(c.doc, at.urn).(map[string]any)
		if ext == nil {
			ext = map[string]any{}
		}
		holder = ext
		defer func() { put(c.doc, at.urn, ext, len(ext) > 0) }()
	}
	known := c.t.attribute(at.urn, at.name)
	if known != nil {
		at.name = known.Name
	}
	if op == "remove" {
		return c.remove(holder, at, known, value, given)
	}
	if !given {
		return invalid("invalidValue", "%s %s: want a value", op, at.name)
	}
	switch {
	case at.within != nil:
		return c.selected(holder, at, known, value)
	case at.sub != "":
		return c.part(holder, at, known, value)
	}
	v, err := coerce(at.name, known, value)
	if err != nil {
		return err
	}
	old, had := get(holder, at.name)
	switch {
	case v == nil:
		if op == "replace" {
			put(holder, at.name, nil, false)
		}
		return nil
	case had && known != nil && known.MultiValued && op == "add":
		list, _ := old.([]any)
		for _, one := range v.([]any) {
			list = addValue(list, one)
		}
		if len(list) > maxValues {
			return invalid("invalidValue", "%s: more than %d values", at.name, maxValues)
		}
		v = list
	case had && known != nil && known.Type == "complex" && !known.MultiValued:
		merged := old.(map[string]any)
		maps.Copy(merged, v.(map[string]any))
		v = merged
	}
	put(holder, at.name, v, true)
	return nil
}

// addValue adds a value to a list that does not have it. One that is now the
// primary one ends the other's being so.
func addValue(list []any, v any) []any {
	for _, have := range list {
		if reflect.DeepEqual(have, v) {
			return list
		}
	}
	if m, ok := v.(map[string]any); ok && m["primary"] == true {
		for _, have := range list {
			if m, ok := have.(map[string]any); ok && m["primary"] == true {
				m["primary"] = false
			}
		}
	}
	return append(list, v)
}

// extension changes all of an extension's attributes.
func (c *change) extension(op, urn string, value any) error {
	if op == "remove" {
		put(c.doc, urn, nil, false)
		return nil
	}
	m, ok := value.(map[string]any)
	if !ok {
		return invalid("invalidValue", "%s: want an object", urn)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at, err := parsePath(name)
		if err != nil {
			return err
		}
		if at.urn != "" || at.name == "" {
			return invalid("invalidPath", "%s: %q is no attribute of it", urn, cut(name))
		}
		at.urn = urn
		if err := c.apply(op, at, m[name], true); err != nil {
			return err
		}
	}
	return nil
}

// part changes a part of an attribute with one value, such as name.givenName.
func (c *change) part(holder map[string]any, at path, known *attribute, value any) error {
	if known != nil && (known.MultiValued || known.Type != "complex") {
		return invalid("invalidPath", "%s.%s: say which value is meant, as in %s[type eq \"work\"].%s", at.name, at.sub, at.name, at.sub)
	}
	whole, ok := lookup(holder, at.name).(map[string]any)
	if !ok {
		whole = map[string]any{}
	}
	if err := setPart(whole, at, known, value); err != nil {
		return err
	}
	put(holder, at.name, whole, len(whole) > 0)
	return nil
}

func setPart(whole map[string]any, at path, known *attribute, value any) error {
	sub, name := known.sub(at.sub), at.sub
	if sub != nil {
		name = sub.Name
	}
	v, err := coerce(at.name+"."+name, sub, value)
	put(whole, name, v, v != nil)
	return err
}

// selected changes the values that a condition selects. Where there is none, one
// that meets it is made: Entra replaces what it has not added (Rule SCIM-4).
func (c *change) selected(holder map[string]any, at path, known *attribute, value any) error {
	if known == nil || !known.MultiValued {
		return invalid("invalidPath", "%s has no values to choose from", at.name)
	}
	list, _ := lookup(holder, at.name).([]any)
	about := func(_, name string) *attribute { return known.sub(name) }
	found := false
	to := func(m map[string]any) error {
		if at.sub != "" {
			return setPart(m, at, known, value)
		}
		v, err := coerceOne(at.name, known, value)
		if err != nil {
			return err
		}
		parts, _ := v.(map[string]any)
		maps.Copy(m, parts)
		return nil
	}
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok || !at.within.matches(m, about) {
			continue
		}
		found = true
		if err := to(m); err != nil {
			return err
		}
	}
	if !found {
		m := map[string]any{}
		if !at.within.fill(m, known) {
			return invalid("noTarget", "%s: no value meets the condition", at.name)
		}
		before := len(m)
		if err := to(m); err != nil {
			return err
		}
		if len(m) > before {
			list = append(list, m)
		}
	}
	list = slices.DeleteFunc(list, func(v any) bool { m, ok := v.(map[string]any); return ok && len(m) == 0 })
	put(holder, at.name, list, len(list) > 0)
	return nil
}

// fill makes a value that meets a condition of the form a eq "x" and b eq "y". It
// tells whether the condition is of this form.
func (f *filter) fill(m map[string]any, known *attribute) bool {
	switch f.op {
	case "and":
		return f.left.fill(m, known) && f.right.fill(m, known)
	case "eq":
		sub := known.sub(f.path.name)
		if sub == nil || f.path.urn != "" || f.path.sub != "" || f.value == nil {
			return false
		}
		v, err := coerceOne(sub.Name, sub, f.value)
		m[sub.Name] = v
		return err == nil
	}
	return false
}

func (c *change) remove(holder map[string]any, at path, known *attribute, value any, given bool) error {
	switch {
	case at.within == nil && at.sub != "":
		return c.part(holder, at, known, nil)
	case at.within != nil && (known == nil || !known.MultiValued):
		return invalid("invalidPath", "%s has no values to choose from", at.name)
	case at.within == nil && given && known != nil && known.MultiValued: // these values (Rule SCIM-5)
		v, err := coerce(at.name, known, value)
		if err != nil {
			return err
		}
		if value == nil {
			return invalid("invalidValue", "remove %s: null is no value; leave value out to remove all", at.name)
		}
		gone, _ := v.([]any)
		c.drop(holder, at.name, func(have any) bool {
			return slices.ContainsFunc(gone, func(g any) bool { return covers(have, g) })
		})
		return nil
	case at.within == nil:
		put(holder, at.name, nil, false)
		return nil
	}
	about := func(_, name string) *attribute { return known.sub(name) }
	c.drop(holder, at.name, func(have any) bool {
		m, ok := have.(map[string]any)
		if !ok || !at.within.matches(m, about) {
			return false
		}
		if at.sub == "" {
			return true
		}
		put(m, at.sub, nil, false)
		return len(m) == 0
	})
	return nil
}

func (c *change) drop(holder map[string]any, name string, gone func(any) bool) {
	list, _ := lookup(holder, name).([]any)
	list = slices.DeleteFunc(list, gone)
	put(holder, name, list, len(list) > 0)
}

// covers tells whether a value has all that another says.
func covers(have, want any) bool {
	m, ok := want.(map[string]any)
	if !ok {
		return reflect.DeepEqual(have, want)
	}
	h, ok := have.(map[string]any)
	if !ok || len(m) == 0 {
		return false
	}
	for k, v := range m {
		if !reflect.DeepEqual(h[k], v) {
			return false
		}
	}
	return true
}

// member changes a group's members. Only a remove of the whole attribute, with no
// value and no condition, and a replace empty the group; what could mean nobody or
// everybody is refused (Rule SCIM-5).
func (c *change) member(op string, at path, value any, given bool) error {
	if at.sub != "" {
		return invalid("mutability", "members: what is known of a member is not the group's")
	}
	e := c.members
	if e == nil {
		e = &edit{}
	}
	var ids []directory.ObjectID
	if given && value == nil {
		return invalid("invalidValue", "%s members: null is no value; leave value out to remove all", op)
	}
	if given {
		var err error
		if ids, err = memberIDs(value); err != nil {
			return err
		}
	}
	switch {
	case at.within != nil && op != "remove":
		return invalid("mutability", "members: a member is added or removed, and not changed")
	case at.within != nil:
		ids, ok := at.within.memberIDs(nil)
		if !ok {
			return invalid("invalidFilter", `members: want a condition of the form value eq "id"`)
		}
		e.name(ids, false)
	case !given && op != "remove":
		return invalid("invalidValue", "%s members: want a value", op)
	case op == "add":
		e.name(ids, true)
	case op == "replace":
		e.replace(ids)
	case given:
		e.name(ids, false)
	default:
		e.replace(nil)
	}
	c.members = e
	return nil
}

// memberIDs lists the ids of a condition: value eq "a" or value eq "b".
func (f *filter) memberIDs(ids []directory.ObjectID) ([]directory.ObjectID, bool) {
	if f.op == "or" {
		ids, ok := f.left.memberIDs(ids)
		if !ok {
			return nil, false
		}
		return f.right.memberIDs(ids)
	}
	id, ok := f.value.(string)
	if f.op != "eq" || !ok || id == "" || f.path.urn != "" || f.path.sub != "" || !strings.EqualFold(f.path.name, "value") {
		return nil, false
	}
	return append(ids, directory.ObjectID(id)), true
}
