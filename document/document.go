// Package document reads YAML files strictly and says of every fault where it
// stands (Rule UX-10).
//
// It owns the decoding of one YAML document into Go values and the form of a
// fault: file, line, column, the line with a caret, and a hint. It does not know
// what the values mean: their owners check them and make further faults with
// Document.Fault.
//
// Strict means (Rule SEC-6): UTF-8 without control characters, at most MaxSize
// bytes, MaxDepth levels and MaxTokens tokens, one document, no anchors, aliases,
// merge keys, tags or directives (so that nothing can expand), no unknown or
// duplicate key, no value of another type than the field's, no key without a
// value. Decode finds all faults of a file, not only the first (up to a hundred); a syntax error hides those
// that come after it.
//
// Fields are matched by their tag, `yaml:"name"`; `yaml:"name,required"` must be
// there, `yaml:",inline"` takes a struct's fields as one's own, `yaml:"-"` is left
// out. A field without a tag is called as its name in lower case. A field whose
// key is absent keeps the value it had.
package document

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The limits of a file.
const (
	MaxSize   = 1 << 20 // bytes
	MaxDepth  = 32      // levels of mappings and lists within each other
	MaxTokens = 100_000 // a key, a colon, a value and a dash are a token each
	MaxKey    = 128     // bytes of a key
)

// Document is a file that was read. It knows where each of its values stands.
type Document struct {
	name   string
	lines  []string
	places map[string]place
}

// place is where a key and its value stand, lines and columns from 1.
type place struct {
	key, value point
	text       *token.Token // of a string, for positions within it
}

type point struct{ line, column int }

// Decode reads the YAML document src into the struct or map that into points to.
// name is the file's name as faults shall show it. The error is Faults. The
// Document is nil if src is not YAML at all; otherwise it serves to make more
// faults, even when there were some already.
func Decode(name string, src []byte, into any) (*Document, error) {
	d := &Document{name: name, places: map[string]place{}}
	root, err := d.parse(src)
	if err != nil {
		return nil, err
	}
	dec := decoder{doc: d}
	dec.document(root, into)
	if len(dec.faults) > 0 {
		return d, dec.faults.sorted()
	}
	return d, nil
}

// Fault makes a fault that points at the value at path, such as
// "$.rules[2].team.roles[0]" (see Child and Index). Where there is no such value
// it points at the nearest thing around it.
func (d *Document) Fault(path string, problem, hint string) Fault {
	p, _ := d.find(path)
	return d.at(p.value, problem, hint)
}

// KeyFault is Fault pointing at the key in front of the value.
func (d *Document) KeyFault(path string, problem, hint string) Fault {
	p, _ := d.find(path)
	return d.at(p.key, problem, hint)
}

// FaultWithin is Fault pointing into the text at path, at its line and column
// (in characters, both from 1). Where YAML's quoting or folding hides the
// place it points at the text's beginning.
func (d *Document) FaultWithin(path string, line, column int, problem, hint string) Fault {
	p, exact := d.find(path)
	if exact && p.text != nil {
		p.value = d.within(p, line, column)
	}
	return d.at(p.value, problem, hint)
}

// Has tells whether the document has a value at path.
func (d *Document) Has(path string) bool {
	_, ok := d.places[path]
	return ok
}

// Child is the path of a key's value. Keys other than plain words are quoted.
func Child(path, key string) string {
	if plainKey.MatchString(key) {
		return path + "." + key
	}
	return path + ".'" + strings.ReplaceAll(key, "'", "''") + "'"
}

// Index is the path of a list's entry, counted from 0.
func Index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

var plainKey = regexp.MustCompile(`^[\pL\pN_-]+$`)

// find returns the place of path, or of the nearest thing around it.
func (d *Document) find(path string) (p place, exact bool) {
	for at := path; at != ""; {
		if p, ok := d.places[at]; ok {
			return p, at == path
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return place{key: point{1, 1}, value: point{1, 1}}, false
}

func (d *Document) within(p place, line, column int) point {
	value := strings.Split(p.text.Value, "\n")
	if line < 1 || line > len(value) || column < 1 {
		return p.value
	}
	switch p.text.Type {
	case token.LiteralType, token.FoldedType:
		return p.value
	case token.SingleQuoteType, token.DoubleQuoteType:
		if rest := d.rest(point{p.value.line, p.value.column + 1}); len(value) == 1 && strings.HasPrefix(rest, p.text.Value) {
			return point{p.value.line, p.value.column + column}
		}
	default:
		if len(value) == 1 && strings.HasPrefix(d.rest(p.value), p.text.Value) {
			return point{p.value.line, p.value.column + column - 1}
		}
		// A literal block: its text begins on the line after the "|".
		first := p.value.line + 1
		if at := first + line - 1; at <= len(d.lines) {
			text := d.lines[at-1]
			if i := strings.Index(text, value[line-1]); i >= 0 && strings.TrimSpace(text[:i]) == "" {
				return point{at, utf8.RuneCountInString(text[:i]) + column}
			}
		}
	}
	return p.value
}

// rest is what follows a point in its line.
func (d *Document) rest(p point) string {
	if p.line > len(d.lines) {
		return ""
	}
	line := []rune(d.lines[p.line-1])
	return string(line[min(p.column-1, len(line)):])
}

func (d *Document) at(p point, problem, hint string) Fault {
	f := Fault{File: visible(d.name), Line: p.line, Column: p.column, Problem: visible(problem), Hint: visible(hint)}
	if p.line >= 1 && p.line <= len(d.lines) {
		f.Excerpt = excerpt(d.lines[p.line-1], p.column)
	}
	return f
}

func (d *Document) parse(src []byte) (root ast.Node, err error) {
	if len(src) > MaxSize {
		return nil, Faults{{
			File: visible(d.name), Line: 1, Column: 1,
			Problem: fmt.Sprintf("the file has %d bytes, more than the %d allowed", len(src), MaxSize), Hint: "split it into several files",
		}}
	}
	text := strings.TrimPrefix(string(src), "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	d.lines = strings.Split(text, "\n")
	if f := d.characters(); len(f) > 0 {
		return nil, f
	}
	// The YAML library has panicked on strange input before; a stranger's file
	// must not end the process.
	last := point{1, 1}
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, Faults{d.at(last, fmt.Sprintf("not readable as YAML (%v)", r), "simplify what stands here")}
		}
	}()
	tokens := lexer.Tokenize(text)
	if f := d.tokens(tokens); len(f) > 0 {
		return nil, f.sorted()
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var y yaml.Error
		if errors.As(err, &y) && y.GetToken() != nil {
			return nil, Faults{d.at(where(y.GetToken()), y.GetMessage(), "")}
		}
		return nil, Faults{d.at(last, err.Error(), "")}
	}
	var docs []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc.Body)
		}
	}
	switch len(docs) {
	case 0:
		return nil, Faults{d.at(point{1, 1}, "the file is empty", "")}
	case 1:
		return docs[0], nil
	}
	return nil, Faults{d.at(start(docs[1]), "a second document begins here", `keep one document in a file: remove the "---"`)}
}

// characters finds what YAML does not allow in a file at all.
func (d *Document) characters() (faults Faults) {
	for i, line := range d.lines {
		column := 0
		for j, r := range line {
			column++
			p := point{i + 1, column}
			if r == utf8.RuneError && !strings.HasPrefix(line[j:], "\ufffd") {
				return append(faults, d.at(p, fmt.Sprintf("byte 0x%02x is not UTF-8", line[j]), "save the file as UTF-8"))
			}
			if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff || r == 0xfeff {
				return append(faults, d.at(p, fmt.Sprintf("control character %U", r), `remove it, or write it as an escape in "double quotes"`))
			}
		}
	}
	return nil
}

// tokens refuses what could expand or nest without bounds, before the parser,
// which is recursive and keeps the path of every node, sees it.
func (d *Document) tokens(tokens token.Tokens) (faults Faults) {
	if len(tokens) > MaxTokens {
		return Faults{d.at(where(tokens[MaxTokens]), fmt.Sprintf("the file has %d tokens, more than the %d allowed", len(tokens), MaxTokens), "split it into several files")}
	}
	refuse := func(t *token.Token, problem, hint string) {
		faults = append(faults, d.at(where(t), problem, hint))
	}
	flow := 0
	var columns []int // of the block entries that are open, growing
	for _, t := range tokens {
		p := where(t)
		switch t.Type {
		case token.AnchorType, token.AliasType:
			refuse(t, "anchors and aliases are not supported", "write the value out; quote a text that begins with & or *")
		case token.TagType:
			refuse(t, "tags are not supported", "remove it; quote a text that begins with !")
		case token.MergeKeyType:
			refuse(t, "merge keys are not supported", "write the keys out")
		case token.DirectiveType:
			refuse(t, "directives are not supported", "remove the line; quote a text that begins with %")
		case token.MappingKeyType:
			refuse(t, `keys marked with "?" are not supported`, `write "key: value"; quote a text that begins with ?`)
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingValueType:
			if t.Type == token.MappingValueType && t.Prev != nil {
				if len(t.Prev.Value) > MaxKey {
					refuse(t.Prev, fmt.Sprintf("a key of %d bytes, more than the %d allowed", len(t.Prev.Value), MaxKey), "")
				}
				p = where(t.Prev)
			}
			if flow == 0 {
				for len(columns) > 0 && columns[len(columns)-1] >= p.column {
					columns = columns[:len(columns)-1]
				}
				columns = append(columns, p.column)
			}
		}
		if flow+len(columns) > MaxDepth {
			refuse(t, fmt.Sprintf("more than %d levels within each other", MaxDepth), "")
			return faults
		}
		if len(faults) >= maxFaults {
			return faults
		}
	}
	return faults
}

func where(t *token.Token) point {
	if t == nil || t.Position == nil {
		return point{1, 1}
	}
	return point{t.Position.Line, t.Position.Column}
}

// start is where a node's text begins; the library's own token of a mapping is
// its first colon.
func start(n ast.Node) point {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(n.Key)
	}
	return where(n.GetToken())
}

// Near returns the names among those given that name is most likely a misspelling
// of, the nearest first and at most so many.
func Near(name string, among []string, most int) []string {
	far := map[string]int{}
	for _, a := range among {
		d := distance(strings.ToLower(name), strings.ToLower(a))
		if a != name && d <= max(1, min(len(name), len(a))/3) {
			far[a] = d
		}
	}
	near := slices.SortedFunc(maps.Keys(far), func(a, b string) int { return cmp.Or(far[a]-far[b], strings.Compare(a, b)) })
	return near[:min(len(near), most)]
}

// DidYouMean is a hint with the nearest name, or the names to choose from if
// they are few, or "".
func DidYouMean(name string, among []string) string {
	if near := Near(name, among, 1); len(near) > 0 {
		return fmt.Sprintf("did you mean %q?", near[0])
	}
	if len(among) == 0 || len(among) > 12 {
		return ""
	}
	return "known here: " + strings.Join(slices.Sorted(slices.Values(among)), ", ")
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour. Long names are never near.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	if len(s) > 64 || len(t) > 64 {
		if a == b {
			return 0
		}
		return 64
	}
	before, last := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row := make([]int, len(t)+1)
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(t)]
}
