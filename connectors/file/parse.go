package file

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// record is one user, group or membership, as a file has it.
type record struct {
	line   int
	dn     string              // in LDIF
	values map[string][]string // by attribute; in LDIF in lower case
}

// fault is what is wrong at a place of a file.
type fault struct {
	line    int
	problem string
}

func (f *fault) Error() string { return fmt.Sprintf("line %d: %s", f.line, f.problem) }

func at(line int, format string, args ...any) error {
	return &fault{line, fmt.Sprintf(format, args...)}
}

// The bounds of LDIF: a group of a million members fits.
const (
	maxLine   = 16 << 20  // bytes, unfolded
	maxRecord = 256 << 20 // bytes
)

// The name of an attribute, with options.
var ldifName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(;[A-Za-z0-9-]+)*$`)

// parseLDIF reads LDIF (RFC 2849) of entries. It is strict: a line that is not
// understood is a fault, and so are lists of changes and values elsewhere (:<).
func parseLDIF(r io.Reader, yield func(record) error) error {
	p := &ldif{b: bufio.NewReaderSize(r, 1<<16)}
	var now record
	size := 0
	flush := func() error {
		if now.values == nil {
			return nil
		}
		done := now
		now, size = record{}, 0
		return yield(done)
	}
	for {
		line, n, err := p.line()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		if line == "" {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		name, value, err := attribute(line)
		if err != nil {
			return at(n, "%s", err)
		}
		if size += len(line); size > maxRecord {
			return at(n, "an entry of more than %d bytes", maxRecord)
		}
		switch {
		case now.values == nil && name == "version" && !p.begun:
			if value != "1" {
				return at(n, "LDIF version %q, want 1", cut(value))
			}
		case now.values == nil && name == "dn":
			now = record{line: n, dn: value, values: map[string][]string{}}
		case now.values == nil:
			return at(n, "an entry begins with dn:, this one with %q", cut(name))
		case name == "dn":
			return at(n, "a second dn: without an empty line before it")
		case name == "changetype":
			return at(n, "this is a list of changes and not of entries")
		default:
			now.values[name] = append(now.values[name], value)
		}
		p.begun = true
	}
}

// ldif reads lines, unfolded and without comments.
type ldif struct {
	b     *bufio.Reader
	n     int // lines read
	begun bool
}

// line returns the next line and its number; "" for an empty one.
func (p *ldif) line() (string, int, error) {
	for {
		line, err := p.physical()
		if err != nil {
			return "", 0, err
		}
		n := p.n
		if strings.HasPrefix(line, " ") {
			return "", n, at(n, "a line that goes on begins with a space, and no line comes before this one")
		}
		for {
			next, err := p.b.Peek(1)
			if err != nil || next[0] != ' ' || line == "" {
				break
			}
			more, err := p.physical()
			if err != nil {
				return "", 0, err
			}
			if line += more[1:]; len(line) > maxLine {
				return "", n, at(n, "a line of more than %d bytes", maxLine)
			}
		}
		if !strings.HasPrefix(line, "#") {
			return line, n, nil
		}
	}
}

// physical reads up to the end of a line, which must be there.
func (p *ldif) physical() (string, error) {
	var line []byte
	for {
		part, err := p.b.ReadSlice('\n')
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) && len(line) <= maxLine {
			continue
		}
		switch {
		case len(line) > maxLine:
			return "", at(p.n+1, "a line of more than %d bytes", maxLine)
		case errors.Is(err, io.EOF) && len(line) == 0:
			return "", io.EOF
		case errors.Is(err, io.EOF):
			return "", at(p.n+1, "the file ends within a line: it was cut short")
		case err != nil:
			return "", err
		}
		p.n++
		return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
	}
}

func attribute(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !ldifName.MatchString(name) {
		return "", "", fmt.Errorf("want the name of an attribute and a colon, have %q", cut(line))
	}
	switch {
	case strings.HasPrefix(value, "<"):
		return "", "", errors.New("a value in another file (:<) is not read")
	case strings.HasPrefix(value, ":"):
		b, err := base64.StdEncoding.DecodeString(strings.TrimLeft(value[1:], " "))
		if err != nil {
			return "", "", fmt.Errorf("%s: not base64", name)
		}
		value = string(b)
	default:
		value = strings.TrimLeft(value, " ")
	}
	return strings.ToLower(name), value, nil
}

// parseCSV reads CSV with a header. needed are columns that must be there.
func parseCSV(r io.Reader, comma rune, needed []string, yield func(record) error) error {
	c := csv.NewReader(r)
	c.Comma, c.ReuseRecord = comma, true
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return at(1, "the file is empty; want a line with the names of the columns")
	}
	if err != nil {
		return csvFault(err)
	}
	header = append([]string(nil), header...)
	seen := map[string]bool{}
	for _, h := range header {
		if seen[h] {
			return at(1, "column %q is there twice", cut(h))
		}
		seen[h] = true
	}
	for _, n := range needed {
		if !seen[n] {
			return at(1, "no column %q; there are %s", n, cut(strings.Join(header, ", ")))
		}
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvFault(err)
		}
		line, _ := c.FieldPos(0)
		rec := record{line: line, values: make(map[string][]string, len(row))}
		for i, v := range row {
			if v != "" {
				rec.values[header[i]] = []string{strings.Clone(v)}
			}
		}
		if err := yield(rec); err != nil {
			return err
		}
	}
}

func csvFault(err error) error {
	if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
		return at(parse.Line, "%s", parse.Err)
	}
	return err
}

// parseJSON reads a list of objects, or the one that is the member key of an
// object. line tells the line of an offset.
func parseJSON(r io.Reader, key string, line func(int64) int, yield func(record) error) error {
	d := json.NewDecoder(r)
	d.UseNumber()
	wrong := func(err error) error {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return at(line(syntax.Offset), "%s", err)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return at(line(d.InputOffset()), "the file ends before its last bracket: it was cut short")
		}
		return err
	}
	list := func() error {
		for d.More() {
			n := line(d.InputOffset())
			if t, err := d.Token(); err != nil {
				return wrong(err)
			} else if t != json.Delim('{') {
				return at(n, "want an object")
			}
			values, err := members(d)
			if err != nil {
				if f := (*fault)(nil); errors.As(err, &f) {
					f.line = line(d.InputOffset())
					return f
				}
				return wrong(err)
			}
			if err := yield(record{line: n, values: values}); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return wrong(err)
		}
		return nil
	}
	t, err := d.Token()
	if err != nil {
		return wrong(err)
	}
	switch t {
	case json.Delim('['):
		if err := list(); err != nil {
			return err
		}
	case json.Delim('{'):
		found := false
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return wrong(err)
			}
			if name != key {
				if err := skip(d); err != nil {
					return wrong(err)
				}
				continue
			}
			if found {
				return at(line(d.InputOffset()), "%q is there twice", key)
			}
			found = true
			if t, err := d.Token(); err != nil {
				return wrong(err)
			} else if t != json.Delim('[') {
				return at(line(d.InputOffset()), "%s: want a list", key)
			}
			if err := list(); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return wrong(err)
		}
		if !found {
			return at(line(d.InputOffset()), "there is no %q", key)
		}
	default:
		return at(1, "want a list, or an object with a list %q", key)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return at(line(d.InputOffset()), "something follows the last bracket")
	}
	return nil
}

// skip goes on behind the next value.
func skip(d *json.Decoder) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// members reads an object's members up to its end: texts, numbers, true, false,
// null, and lists of these.
func members(d *json.Decoder) (map[string][]string, error) {
	out := map[string][]string{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := name.(string) // the decoder gives no other
		if _, twice := out[key]; twice {
			return nil, at(0, "%q is there twice", cut(key))
		}
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		values := []string{}
		if t == json.Delim('[') {
			for d.More() {
				e, err := d.Token()
				if err != nil {
					return nil, err
				}
				v, ok := scalar(e)
				if !ok {
					return nil, at(0, "%s: want texts in the list", cut(key))
				}
				values = append(values, v)
			}
			if _, err := d.Token(); err != nil {
				return nil, err
			}
		} else if t != nil {
			v, ok := scalar(t)
			if !ok {
				return nil, at(0, "%s: want a text or a list of texts", cut(key))
			}
			values = append(values, v)
		}
		out[key] = values
	}
	_, err := d.Token()
	return out, err
}

func scalar(t json.Token) (string, bool) {
	switch t := t.(type) {
	case string:
		return t, true
	case json.Number:
		return t.String(), true
	case bool:
		return fmt.Sprint(t), true
	}
	return "", false
}

func cut(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
