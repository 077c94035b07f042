package document

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Fault is one thing that is wrong in a file, and where.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"`              // from 1
	Column  int    `json:"column"`            // in characters, from 1
	Excerpt string `json:"excerpt,omitempty"` // the line, and below it a caret at the column
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
}

func (f Fault) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", f.File, f.Line, f.Column, f.Problem)
	if f.Excerpt != "" {
		b.WriteString("\n" + indent + strings.ReplaceAll(f.Excerpt, "\n", "\n"+indent))
	}
	if f.Hint != "" {
		b.WriteString("\nhint: " + f.Hint)
	}
	return b.String()
}

// Faults are all faults of one or more files, by file, line and column.
type Faults []Fault

// maxFaults is how many faults of a file are looked for.
const maxFaults = 100

func (f Faults) Error() string {
	var b strings.Builder
	for i, fault := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(fault.Error())
	}
	return b.String()
}

// Err returns the faults sorted, or nil if there are none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f.sorted()
}

func (f Faults) sorted() Faults {
	f = slices.Clone(f)
	slices.SortFunc(f, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Problem, b.Problem))
	})
	return slices.Compact(f)
}

const (
	indent = "    "
	width  = 120 // characters of a line that an excerpt shows
)

// excerpt is the line with a caret under the column. Of a long line it shows
// what is near the column.
func excerpt(line string, column int) string {
	runes := []rune(line)
	column = min(max(column-1, 0), len(runes))
	from, left, right := 0, "", ""
	if column > width*2/3 {
		from, left = column-width/2, "…"
	}
	to := len(runes)
	if to > from+width {
		to, right = from+width, "…"
	}
	head := left + visible(string(runes[from:column]))
	tail := visible(string(runes[column:to])) + right
	return head + tail + "\n" + strings.Repeat(" ", utf8.RuneCountInString(head)) + "^"
}

// visible replaces what a terminal or a log would act on instead of showing.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
