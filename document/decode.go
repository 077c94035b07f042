package document

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder goes through the whole document and the Go type side by side. The YAML
// library's own decoder stops at the first fault; people want them all at once.
type decoder struct {
	doc    *Document
	faults Faults
}

func (d *decoder) fault(p point, problem, hint string) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, d.doc.at(p, problem, hint))
	}
}

func (d *decoder) document(root ast.Node, into any) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("internal error: document.Decode into %T, want a pointer", into))
	}
	p := start(root)
	d.value("$", p, root, v.Elem())
}

// value decodes n into v. key is where the key in front of it stands.
func (d *decoder) value(path string, key point, n ast.Node, v reflect.Value) {
	p := place{key: key, value: start(n)}
	switch n := n.(type) {
	case *ast.StringNode:
		p.text = n.Token
	case *ast.LiteralNode:
		if n.Start.Type == token.LiteralType {
			p.text = n.Value.Token
		}
	}
	d.doc.places[path] = p

	if _, null := n.(*ast.NullNode); null {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
			d.fault(key, "no value", "give a value, or remove the key")
		}
		return
	}
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		if _, ok := v.Interface().(encoding.TextUnmarshaler); ok {
			break
		}
		v = v.Elem()
	}
	if u := unmarshaler(v); u != nil {
		text, ok := scalar(n)
		if !ok {
			d.mismatch(n, "text")
			return
		}
		if err := u.UnmarshalText([]byte(text)); err != nil {
			d.fault(p.value, err.Error(), "")
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(path, n, v)
	case reflect.Map:
		d.mapping(path, n, v)
	case reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if _, alone := reflect.Zero(v.Type()).Interface().(interface{ alone() }); !ok && alone {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			d.value(Index(path, 0), key, n, v.Index(0))
			return
		}
		if !ok {
			d.mismatch(n, "a list")
			return
		}
		list := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
		for i, entry := range seq.Values {
			d.value(Index(path, i), start(entry), entry, list.Index(i))
		}
		v.Set(list)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			panic(fmt.Sprintf("internal error: document cannot decode into %s", v.Type()))
		}
		d.any(path, n, v)
	default:
		d.scalar(p.value, n, v)
	}
}

// List is a list of which a single entry may stand alone, without brackets.
type List[T any] []T

func (List[T]) alone() {}

func unmarshaler(v reflect.Value) encoding.TextUnmarshaler {
	if v.Kind() != reflect.Pointer && v.CanAddr() {
		v = v.Addr()
	}
	u, _ := v.Interface().(encoding.TextUnmarshaler)
	return u
}

// entries lists a mapping's keys and values; ok is false if n is no mapping.
func (d *decoder) entries(n ast.Node) (entries []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	seen := map[string]point{}
	return slices.DeleteFunc(slices.Clone(entries), func(e *ast.MappingValueNode) bool {
		p := start(e.Key)
		k, isText := e.Key.(*ast.StringNode)
		if !isText {
			d.fault(p, "a key must be text", "put it in quotes")
			return true
		}
		if first, twice := seen[k.Value]; twice {
			d.fault(p, fmt.Sprintf("duplicate key %q", k.Value), fmt.Sprintf("it stands in line %d already", first.line))
			return true
		}
		seen[k.Value] = p
		return false
	}), true
}

type field struct {
	value    reflect.Value
	required bool
}

func fields(v reflect.Value, into map[string]field) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case options == "inline":
			fields(v.Field(i), into)
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			into[name] = field{v.Field(i), options == "required"}
		}
	}
}

func (d *decoder) structure(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(n)
	if !ok {
		d.mismatch(n, "a mapping (key: value)")
		return
	}
	known := map[string]field{}
	fields(v, known)
	names := make([]string, 0, len(known))
	missing := map[string]bool{}
	for name, f := range known {
		names = append(names, name)
		missing[name] = f.required
	}
	for _, e := range entries {
		key := e.Key.(*ast.StringNode).Value
		f, ok := known[key]
		if !ok {
			d.fault(start(e.Key), fmt.Sprintf("unknown key %q", key), DidYouMean(key, names))
			continue
		}
		missing[key] = false
		d.value(Child(path, key), start(e.Key), e.Value, f.value)
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		if missing[name] {
			d.fault(start(n), fmt.Sprintf("missing key %q", name), "")
		}
	}
}

func (d *decoder) mapping(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(n)
	if !ok {
		d.mismatch(n, "a mapping (key: value)")
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(entries))
	for _, e := range entries {
		name := e.Key.(*ast.StringNode).Value
		key := reflect.New(v.Type().Key()).Elem()
		if u := unmarshaler(key); u != nil {
			if err := u.UnmarshalText([]byte(name)); err != nil {
				d.fault(start(e.Key), err.Error(), "")
				continue
			}
		} else {
			key.SetString(name)
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(Child(path, name), start(e.Key), e.Value, value)
		m.SetMapIndex(key, value)
	}
	v.Set(m)
}

// any decodes into what JSON would give: map[string]any, []any, string, int64,
// uint64, float64, bool, nil.
func (d *decoder) any(path string, n ast.Node, v reflect.Value) {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		m := map[string]any{}
		d.mapping(path, n, reflect.ValueOf(&m).Elem())
		v.Set(reflect.ValueOf(m))
	case *ast.SequenceNode:
		list := make([]any, len(n.Values))
		for i, entry := range n.Values {
			d.value(Index(path, i), start(entry), entry, reflect.ValueOf(&list[i]).Elem())
		}
		v.Set(reflect.ValueOf(list))
	case *ast.StringNode:
		v.Set(reflect.ValueOf(n.Value))
	case *ast.LiteralNode:
		v.Set(reflect.ValueOf(n.Value.Value))
	case *ast.BoolNode:
		v.Set(reflect.ValueOf(n.Value))
	case *ast.IntegerNode:
		v.Set(reflect.ValueOf(n.Value))
	case *ast.FloatNode:
		v.Set(reflect.ValueOf(n.Value))
	default:
		d.mismatch(n, "a value")
	}
}

var durationType = reflect.TypeFor[time.Duration]()

func (d *decoder) scalar(p point, n ast.Node, v reflect.Value) {
	if v.Type() == durationType {
		s, ok := text(n)
		if !ok {
			d.mismatch(n, `a duration such as "90s" or "8h"`)
			return
		}
		t, err := time.ParseDuration(s)
		if err != nil {
			d.fault(p, fmt.Sprintf("%q is not a duration", s), `write it as "90s", "15m" or "8h"`)
			return
		}
		v.SetInt(int64(t))
		return
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := text(n)
		if !ok {
			d.mismatch(n, "text")
			return
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.mismatch(n, "true or false")
			return
		}
		v.SetBool(b.Value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, ok := n.(*ast.IntegerNode)
		if !ok {
			d.mismatch(n, "a whole number")
			return
		}
		if !setInteger(v, i.Value) {
			d.fault(p, "the number is out of range", "")
		}
	case reflect.Float32, reflect.Float64:
		if f, ok := n.(*ast.FloatNode); ok {
			v.SetFloat(f.Value)
		} else if i, ok := n.(*ast.IntegerNode); ok {
			v.SetFloat(reflect.ValueOf(i.Value).Convert(reflect.TypeFor[float64]()).Float())
		} else {
			d.mismatch(n, "a number")
		}
	default:
		panic(fmt.Sprintf("internal error: document cannot decode into %s", v.Type()))
	}
}

// setInteger sets v to i, an int64 or a uint64; false if it does not fit.
func setInteger(v reflect.Value, i any) bool {
	var small int64
	var large uint64
	switch i := i.(type) {
	case int64:
		small, large = i, uint64(max(i, 0))
	case uint64:
		small, large = int64(min(i, math.MaxInt64)), i
	}
	if v.CanUint() {
		v.SetUint(large)
		return small >= 0 && v.Uint() == large
	}
	v.SetInt(small)
	return uint64(max(small, 0)) == large && v.Int() == small
}

// text is the value of a string, quoted, plain or as a block.
func text(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// scalar is the text of any single value as it was written, for types that read
// text themselves.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	default:
		return text(n)
	}
}

func (d *decoder) mismatch(n ast.Node, want string) {
	got, hint := "something else", ""
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		got = "a mapping"
	case *ast.SequenceNode:
		got = "a list"
	case *ast.StringNode, *ast.LiteralNode:
		got = "text"
	case *ast.IntegerNode, *ast.FloatNode:
		got = "a number"
	case *ast.BoolNode:
		got = "true or false"
	case *ast.NullNode:
		got = "nothing"
	case *ast.InfinityNode, *ast.NanNode:
		got = "a number without a value"
	}
	if _, ok := scalar(n); ok && want == "text" {
		hint = "put it in quotes"
	} else if ok && want == "a list" {
		hint = "put it in brackets: [" + n.GetToken().Value + "]"
	}
	d.fault(start(n), "want "+want+", found "+got, hint)
}
