package scim

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of a filter: far beyond what clients send.
const (
	maxFilter = 8 << 10 // bytes
	maxDepth  = 16      // of parentheses, brackets and JSON values
	maxTerms  = 64
)

// path names an attribute or some of its values:
//
//	userName   name.givenName   emails[type eq "work"].value
//	urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager
type path struct {
	urn    string // of an extension; "" for the resource's own attributes
	name   string // "" for the whole extension
	within *filter
	sub    string
}

// filter is an expression of RFC 7644, section 3.4.2.2, and of one form more that
// Entra sends (Rule SCIM-3): emails[type eq "work"].value eq "a@example.com".
type filter struct {
	op          string // and, or, not, pr, has (a path with a condition), or a comparison
	left, right *filter
	path        path
	value       any // string, float64, bool or nil
}

var comparisons = map[string]bool{"eq": true, "ne": true, "co": true, "sw": true, "ew": true, "gt": true, "ge": true, "lt": true, "le": true}

// parser reads a filter or a path from left to right.
type parser struct {
	s     string
	at    int
	depth int
	terms int
	fault func(problem string) error
}

func parseFilter(s string) (*filter, error) {
	p := &parser{s: s, fault: func(problem string) error { return invalid("invalidFilter", "filter: %s", problem) }}
	if len(s) > maxFilter || !utf8.ValidString(s) {
		return nil, p.fault("want at most " + strconv.Itoa(maxFilter) + " bytes of UTF-8")
	}
	f, err := p.or()
	if err == nil {
		err = p.end()
	}
	return f, err
}

// parsePath reads the path of a change.
func parsePath(s string) (path, error) {
	p := &parser{s: s, fault: func(problem string) error { return invalid("invalidPath", "path %q: %s", s, problem) }}
	if len(s) > maxFilter || !utf8.ValidString(s) {
		return path{}, invalid("invalidPath", "a path has at most %d bytes of UTF-8", maxFilter)
	}
	out, err := p.path()
	if err == nil {
		err = p.end()
	}
	return out, err
}

func (p *parser) space() {
	for p.at < len(p.s) && p.s[p.at] == ' ' {
		p.at++
	}
}

func (p *parser) end() error {
	if p.space(); p.at < len(p.s) {
		return p.fault("not expected at character " + strconv.Itoa(p.at+1) + ": " + strconv.Quote(cut(p.s[p.at:])))
	}
	return nil
}

// take goes on behind a character, if it comes next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) word() string {
	p.space()
	from := p.at
	for p.at < len(p.s) {
		c := p.s[p.at]
		if c != '_' && c != '-' && c != ':' && c != '.' && c != '$' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			break
		}
		p.at++
	}
	return p.s[from:p.at]
}

// keyword takes a word, if it comes next.
func (p *parser) keyword(k string) bool {
	from := p.at
	if strings.EqualFold(p.word(), k) {
		return true
	}
	p.at = from
	return false
}

func (p *parser) or() (*filter, error)  { return p.chain("or", p.and) }
func (p *parser) and() (*filter, error) { return p.chain("and", p.term) }

func (p *parser) chain(op string, next func() (*filter, error)) (*filter, error) {
	left, err := next()
	for err == nil && p.keyword(op) {
		var right *filter
		if right, err = next(); err == nil {
			left = &filter{op: op, left: left, right: right}
		}
	}
	return left, err
}

func (p *parser) term() (*filter, error) {
	if p.terms++; p.terms > maxTerms {
		return nil, p.fault("more than " + strconv.Itoa(maxTerms) + " conditions")
	}
	if p.take('(') {
		return p.closed(')')
	}
	from := p.at
	if p.keyword("not") && p.take('(') {
		f, err := p.closed(')')
		return &filter{op: "not", left: f}, err
	}
	p.at = from
	at, err := p.path()
	if err != nil {
		return nil, err
	}
	if at.name == "" {
		return nil, p.fault("an extension is no attribute")
	}
	back := p.at
	op := strings.ToLower(p.word())
	switch {
	case op == "pr":
		return &filter{op: op, path: at}, nil
	case comparisons[op]:
		value, err := p.value()
		switch value.(type) {
		case string:
		case float64:
			if op == "co" || op == "sw" || op == "ew" {
				return nil, p.fault(op + " goes with texts only")
			}
		default:
			if err == nil && op != "eq" && op != "ne" {
				return nil, p.fault(op + " goes with texts and numbers only")
			}
		}
		return &filter{op: op, path: at, value: value}, err
	case at.within != nil && at.sub == "":
		p.at = back
		return &filter{op: "has", path: at}, nil
	}
	return nil, p.fault("want one of eq, ne, co, sw, ew, pr, gt, ge, lt, le after " + strconv.Quote(at.name) + ", have " + strconv.Quote(cut(op)))
}

// closed reads an expression up to its bracket.
func (p *parser) closed(bracket byte) (*filter, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fault("brackets within brackets, " + strconv.Itoa(maxDepth) + " deep")
	}
	f, err := p.or()
	if err == nil && !p.take(bracket) {
		err = p.fault("want " + strconv.Quote(string(bracket)) + " at character " + strconv.Itoa(p.at+1))
	}
	p.depth--
	return f, err
}

func (p *parser) path() (path, error) {
	var at path
	var rest string
	at.urn, rest = splitURN(p.word())
	at.name, at.sub, _ = strings.Cut(rest, ".")
	switch {
	case at.urn == "" && at.name == "":
		return at, p.fault("want an attribute's name at character " + strconv.Itoa(p.at+1))
	case strings.Contains(at.sub, ".") || strings.HasSuffix(rest, ".") || at.name == "" && at.sub != "" || strings.Contains(rest, ":"):
		return at, p.fault(strconv.Quote(cut(rest)) + " is not the name of an attribute")
	}
	if at.name == "" || p.at == len(p.s) || p.s[p.at] != '[' {
		return at, nil
	}
	p.at++
	var err error
	if at.within, err = p.closed(']'); err != nil {
		return at, err
	}
	if at.sub != "" {
		return at, p.fault("a condition within a part of an attribute")
	}
	if p.at < len(p.s) && p.s[p.at] == '.' {
		p.at++
		if at.sub = p.word(); at.sub == "" || strings.ContainsAny(at.sub, ".:") {
			return at, p.fault("want the name of a part after ].")
		}
	}
	return at, nil
}

// splitURN takes the schema off an attribute's name. The core schemas' own names
// are left out: the attribute is the resource's own.
func splitURN(s string) (urn, rest string) {
	if len(s) < 4 || !strings.EqualFold(s[:4], "urn:") {
		return "", s
	}
	for _, known := range [...]string{userSchema, groupSchema, enterpriseSchema} {
		if len(s) < len(known) || !strings.EqualFold(s[:len(known)], known) || len(s) > len(known) && s[len(known)] != ':' {
			continue
		}
		rest = strings.TrimPrefix(s[len(known):], ":")
		if known != enterpriseSchema && rest != "" {
			known = ""
		}
		return known, rest
	}
	// A client's own extension: by convention it ends in the resource's name.
	i := strings.LastIndexByte(s, ':')
	if tail := s[i+1:]; strings.EqualFold(tail, "User") || strings.EqualFold(tail, "Group") {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// value reads a value, which is one of JSON.
func (p *parser) value() (any, error) {
	p.space()
	rest := p.s[p.at:]
	if strings.HasPrefix(rest, `"`) {
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				var s string
				if err := json.Unmarshal([]byte(rest[:i+1]), &s); err != nil {
					return nil, p.fault("not a text: " + cut(rest))
				}
				p.at += i + 1
				return s, nil
			}
		}
		return nil, p.fault("a text without its end: " + cut(rest))
	}
	from := p.at
	switch word := p.word(); strings.ToLower(word) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	default:
		p.at = from
		for p.at < len(p.s) && strings.IndexByte("+-.0123456789eE", p.s[p.at]) >= 0 {
			p.at++
		}
		var n float64
		if json.Unmarshal([]byte(p.s[from:p.at]), &n) != nil {
			return nil, p.fault("want a text in quotation marks, a number, true, false or null at character " + strconv.Itoa(from+1))
		}
		return n, nil
	}
}

// of completes the names of attributes for a type of resource.
func (f *filter) of(t *resourceType) *filter {
	if f == nil {
		return nil
	}
	out := *f
	out.left, out.right = f.left.of(t), f.right.of(t)
	out.path.urn = t.extended(f.path.urn, f.path.name)
	return &out
}

// matches tells whether a resource, or a value of an attribute, meets the filter.
// about says what is known of an attribute.
func (f *filter) matches(doc map[string]any, about func(urn, name string) *attribute) bool {
	switch f.op {
	case "and":
		return f.left.matches(doc, about) && f.right.matches(doc, about)
	case "or":
		return f.left.matches(doc, about) || f.right.matches(doc, about)
	case "not":
		return !f.left.matches(doc, about)
	case "ne":
		return !f.compared("eq", doc, about)
	}
	return f.compared(f.op, doc, about)
}

func (f *filter) compared(op string, doc map[string]any, about func(urn, name string) *attribute) bool {
	known := about(f.path.urn, f.path.name)
	values := f.path.values(doc, known)
	switch {
	case op == "pr":
		return len(values) > 0
	case op == "has":
		return len(values) > 0
	case f.value == nil:
		return op == "eq" && len(values) == 0
	}
	leaf := known
	if known != nil && len(known.SubAttributes) > 0 {
		leaf = known.sub(orValue(f.path.sub))
	}
	for _, v := range values {
		if m, ok := v.(map[string]any); ok { // emails eq "…" means their values
			if v, ok = get(m, "value"); !ok {
				continue
			}
		}
		if compare(op, v, f.value, leaf) {
			return true
		}
	}
	return false
}

func orValue(sub string) string {
	if sub == "" {
		return "value"
	}
	return sub
}

// values lists what a path leads to in a document.
func (p path) values(doc map[string]any, known *attribute) []any {
	if p.urn != "" {
		doc, _ = lookup(doc, p.urn).(map[string]any)
	}
	v, ok := get(doc, p.name)
	if !ok {
		return nil
	}
	list, many := v.([]any)
	if !many {
		list = []any{v}
	}
	var out []any
	for _, v := range list {
		m, isMap := v.(map[string]any)
		if p.within != nil && (!isMap || !p.within.matches(m, func(_, name string) *attribute { return known.sub(name) })) {
			continue
		}
		if p.sub != "" {
			if v, ok = get(m, p.sub); !ok {
				continue
			}
		}
		out = append(out, v)
	}
	return out
}

// get returns a member of an object, by name without regard to case.
func get(m map[string]any, name string) (any, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

func lookup(m map[string]any, name string) any {
	v, _ := get(m, name)
	return v
}

func compare(op string, have, want any, known *attribute) bool {
	switch want := want.(type) {
	case bool:
		have, ok := have.(bool)
		return ok && op == "eq" && have == want
	case float64:
		n, ok := have.(json.Number)
		if !ok {
			return false
		}
		x, err := n.Float64()
		return err == nil && ordered(op, x, want)
	case string:
		s, ok := have.(string)
		if !ok {
			if b, isBool := have.(bool); isBool { // "active eq \"true\"", as some clients write
				return op == "eq" && strings.EqualFold(strconv.FormatBool(b), want)
			}
			return false
		}
		if known != nil && known.Type == "dateTime" {
			x, err := time.Parse(time.RFC3339, s)
			y, wantErr := time.Parse(time.RFC3339, want)
			if err == nil && wantErr == nil {
				return ordered(op, x.UnixMicro(), y.UnixMicro())
			}
		}
		if known == nil || !known.CaseExact {
			s, want = fold(s), fold(want)
		}
		switch op {
		case "co":
			return strings.Contains(s, want)
		case "sw":
			return strings.HasPrefix(s, want)
		case "ew":
			return strings.HasSuffix(s, want)
		}
		return ordered(op, s, want)
	}
	return false
}

func ordered[T string | int64 | float64](op string, a, b T) bool {
	switch op {
	case "eq":
		return a == b
	case "gt":
		return a > b
	case "ge":
		return a >= b
	case "lt":
		return a < b
	case "le":
		return a <= b
	}
	return false
}

// unindexed are attributes that a resource's index does not have.
var unindexed = [...]string{"meta", "schemas", "members"}

// indexed returns a value that whatever meets the filter must have, if there is
// one by which the store finds resources.
func (f *filter) indexed() (where, value string, ok bool) {
	switch f.op {
	case "and":
		where, value, ok = f.left.indexed()
		if w, v, also := f.right.indexed(); also && (!ok || value == "true" || value == "false") { // which many have
			where, value, ok = w, v, also
		}
		return where, value, ok
	case "eq":
		s, ok := f.value.(string)
		if f.path.urn == "" && slices.ContainsFunc(unindexed[:], func(name string) bool { return strings.EqualFold(name, f.path.name) }) {
			return "", "", false
		}
		return indexPath(f.path.urn, f.path.name, f.path.sub), fold(s), ok && indexable(fold(s))
	case "has":
		if strings.EqualFold(f.path.name, "members") {
			return "", "", false
		}
		if where, value, ok = f.path.within.indexed(); ok {
			where = indexPath(f.path.urn, f.path.name, where)
		}
		return where, value, ok
	}
	return "", "", false
}

func cut(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
