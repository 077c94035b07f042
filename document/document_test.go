package document_test

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/document"
)

type depth int

func (d *depth) UnmarshalText(b []byte) error {
	i := slices.Index([]string{"none", "user", "local", "deep"}, string(b))
	if i < 0 {
		return fmt.Errorf("unknown depth %q", b)
	}
	*d = depth(i)
	return nil
}

type team struct {
	Name  string   `yaml:"name,required"`
	Depth depth    `yaml:"depth"`
	Roles []string `yaml:"roles"`
}

type named struct {
	Label string `yaml:"label"`
}

type file struct {
	Named   named                 `yaml:",inline"`
	Teams   []team                `yaml:"teams"`
	Limits  map[string]uint8      `yaml:"limits"`
	Units   map[string]*named     `yaml:"units"`
	Share   float64               `yaml:"share"`
	Count   int                   `yaml:"count"`
	Big     uint64                `yaml:"big"`
	On      bool                  `yaml:"on"`
	Wait    time.Duration         `yaml:"wait"`
	At      time.Time             `yaml:"at"`
	Maybe   *int                  `yaml:"maybe"`
	Any     any                   `yaml:"any"`
	Text    string                `yaml:"text"`
	Alone   document.List[named]  `yaml:"alone"`
	Several document.List[string] `yaml:"several"`
	Private string                `yaml:"-"`
}

func TestDecode_reads_every_kind_of_value(t *testing.T) {
	got := file{Text: "kept"}
	_, err := document.Decode("ok.yaml", []byte("\ufeff"+strings.ReplaceAll(`
# a comment
label: 'it''s'
teams:
- name: sales
  depth: deep
  roles: [a, "b\tc"]
- {name: "42"}
limits: {a: 1, b.c: 255}
units:
  north: {label: N}
share: 5
count: -3
big: 18446744073709551615
on: true
wait: 1h30m
at: 2026-01-02T03:04:05Z
maybe: ~
alone: {label: one}
several: [a, b]
any: {a: [1, 2.5, true, x, null], b: {}}
`, "\n", "\r\n")), &got)
	require.NoError(t, err)
	require.Equal(t, file{
		Named:  named{Label: "it's"},
		Teams:  []team{{Name: "sales", Depth: depth(3), Roles: []string{"a", "b\tc"}}, {Name: "42"}},
		Limits: map[string]uint8{"a": 1, "b.c": 255},
		Units:  map[string]*named{"north": {Label: "N"}},
		Share:  5, Count: -3, Big: math.MaxUint64, On: true, Wait: 90 * time.Minute,
		At:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Any:  map[string]any{"a": []any{uint64(1), 2.5, true, "x", nil}, "b": map[string]any{}},
		Text: "kept", Alone: document.List[named]{{Label: "one"}}, Several: document.List[string]{"a", "b"},
	}, got)
}

func TestRule_UX_10_every_fault_at_once_in_order_with_place_caret_and_hint(t *testing.T) {
	_, err := document.Decode("bad.yaml", []byte(`count: many
teams:
  - nmae: sales
    depth: deeep
    roles: Salesperson
  - name: 42
count: 7
limits: {a: 256, b: -1}
share:
`), &file{})
	var faults document.Faults
	require.ErrorAs(t, err, &faults)
	require.Equal(t, `bad.yaml:1:8: want a whole number, found text
    count: many
           ^
bad.yaml:3:5: missing key "name"
      - nmae: sales
        ^
bad.yaml:3:5: unknown key "nmae"
      - nmae: sales
        ^
hint: did you mean "name"?
bad.yaml:4:12: unknown depth "deeep"
        depth: deeep
               ^
bad.yaml:5:12: want a list, found text
        roles: Salesperson
               ^
hint: put it in brackets: [Salesperson]
bad.yaml:6:11: want text, found a number
      - name: 42
              ^
hint: put it in quotes
bad.yaml:7:1: duplicate key "count"
    count: 7
    ^
hint: it stands in line 1 already
bad.yaml:8:13: the number is out of range
    limits: {a: 256, b: -1}
                ^
bad.yaml:8:21: the number is out of range
    limits: {a: 256, b: -1}
                        ^
bad.yaml:9:1: no value
    share:
    ^
hint: give a value, or remove the key`, faults.Error())
}

func TestRule_SEC_6_what_is_refused_before_it_is_read(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	for name, c := range map[string]struct{ src, want string }{
		"nothing":                        {"", "f:1:1: the file is empty"},
		"only a comment":                 {"# hello\n", "f:1:1: the file is empty"},
		"two documents":                  {"count: 1\n---\ncount: 2\n", "f:3:1: a second document begins here"},
		"a billion laughs":               {bomb, "f:1:4: anchors and aliases are not supported"},
		"an alias":                       {"text: *x\n", "f:1:7: anchors and aliases are not supported"},
		"a tag":                          {"text: !!binary aGk=\n", "f:1:7: tags are not supported"},
		"a merge key":                    {"<<: {count: 1}\n", "f:1:1: merge keys are not supported"},
		"a directive":                    {"%YAML 1.2\n---\ncount: 1\n", "f:1:1: directives are not supported"},
		"a marked key":                   {"? count\n: 1\n", `f:1:1: keys marked with "?" are not supported`},
		"a key that is not text":         {"1: 2\n", "f:1:1: a key must be text"},
		"a list as the whole":            {"- a\n", "f:1:1: want a mapping (key: value), found a list"},
		"text as the whole":              {"hello\n", "f:1:1: want a mapping (key: value), found text"},
		"not UTF-8":                      {"text: a\xffb\n", "f:1:8: byte 0xff is not UTF-8"},
		"a control character":            {"count: 1\ntext: a\x1b[31mb\n", "f:2:8: control character U+001B"},
		"an open bracket":                {"text: [", "f:1:7: sequence end token ']' not found"},
		"an open quote":                  {"count: 1\ntext: 'x", "f:2:7: could not find end character of single-quoted text"},
		"too large":                      {strings.Repeat("#", document.MaxSize+1), "f:1:1: the file has 1048577 bytes, more than the 1048576 allowed"},
		"too many brackets":              {"any: " + strings.Repeat("[", 50_000), "f:1:37: more than 32 levels within each other"},
		"too many dashes":                {strings.Repeat("- ", 50_000), "f:1:65: more than 32 levels within each other"},
		"too deep a staircase":           {staircase(200), "f:33:34: more than 32 levels within each other"},
		"too many tokens":                {strings.Repeat("- 1\n", 200_000), "f:50001:1: the file has 400000 tokens, more than the 100000 allowed"},
		"a key that is too long":         {strings.Repeat("k", 200) + ": 1\n", "f:1:1: a key of 200 bytes, more than the 128 allowed"},
		"infinity":                       {"share: .inf\n", "f:1:8: want a number, found a number without a value"},
		"not a duration":                 {"wait: 5\n", `f:1:7: want a duration such as "90s" or "8h", found a number`},
		"null in a list":                 {"teams: [~]\n", "f:1:9: no value"},
		"an escape in an unknown key":    {`"a\e[31m": 1`, `f:1:1: unknown key "a\x1b[31m"`},
		"more faults than anybody reads": {strings.Repeat("a: 1\n", 5_000), `f:2:1: duplicate key "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := document.Decode("f", []byte(c.src), &file{})
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			require.Equal(t, c.want, strings.SplitN(err.Error(), "\n", 2)[0])
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<30), "bytes allocated")
		})
	}
}

func staircase(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestDocument_faults_point_at_values_keys_and_places_within_text(t *testing.T) {
	var got struct {
		Rules []map[string]any `yaml:"rules"`
	}
	d, err := document.Decode("f", []byte(`rules:
  - plain: user.a == 1
    quoted: 'user.a == 1'
    block: |
      user.a ==
        1
    "odd key.": x
    long: `+strings.Repeat("ä", 300)+`
`), &got)
	require.NoError(t, err)
	rule := document.Index("$.rules", 0)
	for name, c := range map[string]struct {
		fault        document.Fault
		line, column int
	}{
		"a value":                     {d.Fault("$.rules[0].plain", "p", ""), 2, 12},
		"a key":                       {d.KeyFault("$.rules[0].plain", "p", ""), 2, 5},
		"an entry":                    {d.Fault(rule, "p", ""), 2, 5},
		"a key with a dot":            {d.Fault(document.Child(rule, "odd key."), "p", ""), 7, 17},
		"something that is not there": {d.Fault("$.rules[0].plain.missing[3]", "p", ""), 2, 12},
		"nothing at all":              {d.Fault("$.zzz", "p", ""), 1, 1},
		"within plain text":           {d.FaultWithin("$.rules[0].plain", 1, 6, "p", ""), 2, 17},
		"within quotes":               {d.FaultWithin("$.rules[0].quoted", 1, 6, "p", ""), 3, 19},
		"within a block":              {d.FaultWithin("$.rules[0].block", 2, 3, "p", ""), 6, 9},
		"outside the text":            {d.FaultWithin("$.rules[0].plain", 9, 1, "p", ""), 2, 12},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, [2]int{c.line, c.column}, [2]int{c.fault.Line, c.fault.Column})
			line, caret, ok := strings.Cut(c.fault.Excerpt, "\n")
			require.True(t, ok)
			require.NotEmpty(t, line)
			require.Equal(t, c.column-1, strings.Index(caret, "^"))
		})
	}
	f := d.FaultWithin("$.rules[0].long", 1, 250, "p", "")
	require.Equal(t, 260, f.Column)
	require.Less(t, len([]rune(f.Excerpt)), 300, "a long line is cut")
	require.True(t, d.Has("$.rules[0].plain"))
	require.False(t, d.Has("$.rules[1]"))
}

func TestNear_offers_a_misspelling_and_nothing_far_fetched(t *testing.T) {
	among := []string{"Salesperson", "Sales Manager", "System Administrator"}
	require.Equal(t, []string{"Salesperson"}, document.Near("Salesperon", among, 3))
	require.Equal(t, []string{"Salesperson"}, document.Near("salesperson", among, 3))
	require.Equal(t, []string{"Sales Manager"}, document.Near("Sales Manger", among, 3))
	require.Equal(t, []string{"P2", "P3"}, document.Near("P1", []string{"P3", "P4", "P2"}, 2), "the nearest, by name where they are as near")
	require.Empty(t, document.Near("Clerk", among, 3))
	require.Equal(t, `did you mean "Salesperson"?`, document.DidYouMean("Slaesperson", among))
	require.Equal(t, "known here: Sales Manager, Salesperson, System Administrator", document.DidYouMean("Clerk", among))
	require.Empty(t, document.DidYouMean("Clerk", nil))
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"a: [1, {b: c}]\n", "teams:\n- name: x\n  roles: [a]\n", "a: &a [*a]\n", "text: |\n  x\n\n y\n", "'a''b': \"\\x41\"\n",
		"any: {a: {b: [c, d, {e: 1.5e3}]}}\n", "text: >-\n  a\n  b\n", "- - - a\n", "? a\n: b\n", "a: !!x y\n", "\ufeffcount: 1", "a:\tb\n",
		"teams: [{name: a, depth: deep}, ]\n", "%TAG ! x\n---\n", "...\n", "count: 0x7fffffffffffffff\n", "on: yes\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var into file
		d, err := document.Decode("f", src, &into)
		if err == nil {
			require.NotNil(t, d)
			return
		}
		var faults document.Faults
		require.ErrorAs(t, err, &faults)
		require.NotEmpty(t, faults)
		lines := bytes.Count(src, []byte("\n")) + bytes.Count(src, []byte("\r")) + 1
		for _, f := range faults {
			require.NotEmpty(t, f.Problem)
			require.True(t, f.Line >= 1 && f.Line <= lines+1, "line %d of %d", f.Line, lines)
			require.GreaterOrEqual(t, f.Column, 1)
			require.True(t, utf8.ValidString(f.Error()))
			require.NotContains(t, f.Error(), "\x1b")
		}
	})
}
