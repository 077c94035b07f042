package sqlstore

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/access"
)

// encoder collects the values of a row or of many.
type encoder struct {
	values []any
	err    error

	names  []string // for attributes
	buffer []byte
}

func (w *encoder) text(s string) {
	if err := checkText(s); err != nil && w.err == nil {
		w.err = err
	}
	w.values = append(w.values, s)
}

// checkText refuses what PostgreSQL cannot keep, for both databases.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("text %.40q is not valid UTF-8; correct it", s)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("text %.40q has a NUL character; remove it", s)
	}
	return nil
}

func (w *encoder) flag(b bool) { w.values = append(w.values, b) }

func (w *encoder) number(n int) { w.values = append(w.values, int64(n)) }

func (w *encoder) instant(t time.Time) {
	if t.IsZero() {
		w.values = append(w.values, nil)
		return
	}
	w.values = append(w.values, t.UnixMicro())
}

func (w *encoder) window(v access.Window) {
	w.instant(v.Start)
	w.instant(v.End)
}

func (w *encoder) principal(p access.Principal) {
	w.text(p.Kind.String())
	w.text(p.ID)
}

func (w *encoder) origin(o access.Origin) {
	w.text(o.Rule)
	w.text(o.Source)
	w.text(o.Object)
	w.text(o.Path)
}

func (w *encoder) document(v any) {
	b, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.values = append(w.values, string(b))
}

// attributes is document of a directory object's attributes, of which a first
// synchronisation writes tens of thousands.
func (w *encoder) attributes(all map[string][]string) {
	if all == nil {
		w.document(nil)
		return
	}
	w.names = slices.AppendSeq(w.names[:0], maps.Keys(all))
	slices.Sort(w.names)
	b := append(w.buffer[:0], '{')
	for i, name := range w.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(access.AppendJSONText(b, name), ':', '[')
		for i, value := range all[name] {
			if i > 0 {
				b = append(b, ',')
			}
			b = access.AppendJSONText(b, value)
		}
		b = append(b, ']')
	}
	w.buffer = append(b, '}')
	w.values = append(w.values, string(w.buffer))
}

// decoder reads rows whose columns are known. Its methods take the columns from
// left to right.
type decoder struct {
	*memory
	dest     []any
	texts    []string
	flags    []bool
	instants []sql.Null[int64]
	numbers  []int64

	nextText, nextFlag, nextInstant, nextNumber int

	err error
}

// memory is what rows had, so that those that have the same share it and do not
// make it anew.
type memory struct {
	seen   map[string]string
	last   []string         // by text column: what the row before had
	values []map[string]any // by text column: what a text was parsed to
}

func newDecoder(cols []column, seen map[string]string) *decoder {
	return newMemory(cols, seen).decoder(cols)
}

func newMemory(cols []column, seen map[string]string) *memory {
	return &memory{seen, make([]string, len(cols)), make([]map[string]any, len(cols))}
}

func (m *memory) decoder(cols []column) *decoder {
	r := &decoder{
		texts: make([]string, len(cols)), flags: make([]bool, len(cols)),
		instants: make([]sql.Null[int64], len(cols)), numbers: make([]int64, len(cols)), memory: m,
	}
	var at [number + 1]int
	for _, c := range cols {
		t := c.typ
		switch t {
		case text, document:
			t = text
			r.dest = append(r.dest, &r.texts[at[t]])
		case flag:
			r.dest = append(r.dest, &r.flags[at[t]])
		case instant:
			r.dest = append(r.dest, &r.instants[at[t]])
		case number:
			r.dest = append(r.dest, &r.numbers[at[t]])
		}
		at[t]++
	}
	return r
}

// scan reads the row, and remembers what is wrong with it.
func (r *decoder) scan(rows *sql.Rows) error {
	r.nextText, r.nextFlag, r.nextInstant, r.nextNumber = 0, 0, 0, 0
	r.err = rows.Scan(r.dest...)
	return r.err
}

func (r *decoder) fail(problem string) {
	if r.err == nil {
		r.err = errors.New(problem)
	}
}

func (r *decoder) peek() string { return r.texts[r.nextText] }

func (r *decoder) text() string {
	r.nextText++
	return r.texts[r.nextText-1]
}

// id is a text that many rows share: all of them get the first one's memory.
func (r *decoder) id() string {
	i := r.nextText
	if s := r.text(); s != r.last[i] {
		first, ok := r.seen[s]
		if !ok {
			first, r.seen[s] = s, s
		}
		r.last[i] = first
	}
	return r.last[i]
}

// run is a text that rows share which follow each other.
func (r *decoder) run() string {
	i := r.nextText
	if s := r.text(); s != r.last[i] {
		r.last[i] = s
	}
	return r.last[i]
}

func (r *decoder) flag() bool {
	r.nextFlag++
	return r.flags[r.nextFlag-1]
}

func (r *decoder) number() int64 {
	r.nextNumber++
	return r.numbers[r.nextNumber-1]
}

func (r *decoder) instant() time.Time {
	v := r.instants[r.nextInstant]
	r.nextInstant++
	if !v.Valid {
		return time.Time{}
	}
	return time.UnixMicro(v.V).UTC()
}

func (r *decoder) window() access.Window { return access.Window{Start: r.instant(), End: r.instant()} }

func (r *decoder) principal() access.Principal {
	return access.Principal{Kind: named[access.PrincipalKind](r), ID: r.id()}
}

func (r *decoder) origin() access.Origin {
	return access.Origin{Rule: r.id(), Source: r.id(), Object: r.id(), Path: r.id()}
}
