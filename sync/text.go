package dirsync

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/mapping"
)

// maxLines is how many changes of one kind and operation the text of a plan
// names in one environment; the JSON form has them all.
const maxLines = 20

// WriteText prints the plan for people: what comes (+), changes (~) and goes (-),
// the access gained and lost, what is to be known, and what to do if it is held.
func (p *Plan) WriteText(w io.Writer, at time.Time) error { return p.writeText(w, at, true) }

// writeText is WriteText; effects tells whether to work out who gains and loses what.
func (p *Plan) writeText(w io.Writer, at time.Time, effects bool) error {
	t := &textWriter{w: w}
	if p.Empty() {
		t.line("Nothing to change: the environments are as the directories and %s say.", map[bool]string{true: "these files", false: "files"}[p.whatIf])
	} else if err := p.writeChanges(t, at, effects); err != nil {
		return err
	}
	writeFindings(t, p.Findings)
	if !p.Empty() {
		n := p.Counts()
		t.line("Plan: %d to create, %d to change, %d to remove.", n.Create, n.Update, n.Delete)
	}
	writeViolations(t, p)
	return t.err
}

func (p *Plan) writeChanges(t *textWriter, at time.Time, effects bool) error {
	byEnvironment := map[access.EnvironmentID]EnvironmentAccess{}
	if effects {
		all, err := p.Access(at)
		if err != nil {
			return err
		}
		for _, e := range all {
			byEnvironment[e.Environment] = e
		}
	}
	for i := range p.Environments {
		e := &p.Environments[i]
		title := "Environment " + string(e.Environment)
		if e.snapshot == nil {
			title += " (new)"
		}
		t.line("%s", title)
		e.writeObjects(t)
		for _, gain := range [...]bool{true, false} {
			heading := map[bool]string{true: "  Access gained", false: "  Access lost"}[gain]
			for _, l := range byEnvironment[e.Environment].Lines {
				if l.Gain == gain {
					if heading != "" {
						t.line("%s", heading)
						heading = ""
					}
					t.line("    %s", l)
				}
			}
		}
		byEnvironment[e.Environment].write(t)
		if !effects {
			t.line("  Access gained and lost: left out, of a plan this large")
		}
		t.line("")
	}
	return nil
}

// writeObjects prints the changes kind by kind.
func (e *EnvironmentPlan) writeObjects(t *textWriter) {
	counts := e.Counts()
	for kind := range access.Kinds {
		n, ok := counts[kind]
		if !ok {
			continue
		}
		for _, op := range [...]struct {
			is    Operation
			sign  string
			count int
		}{{Create, "+", n.Create}, {Update, "~", n.Update}, {Delete, "-", n.Delete}} {
			if op.count == 0 {
				continue
			}
			shown, shipped := 0, 0
			for i := range e.changes {
				switch o := e.changes[i].Object; {
				case o.ObjectKind() != kind || e.operation(i) != op.is:
				case op.is == Create && managedBy(o) == access.BySystem:
					shipped++
				default:
					if shown++; shown <= maxLines {
						c := e.change(i)
						t.line("  %s %s %s%s", op.sign, label(kind), plain(c.Name), detail(c))
					}
				}
			}
			if more := shown - maxLines; more > 0 {
				t.line("  %s … and %d more of these", op.sign, more)
			}
			if shipped > 0 {
				t.line("  %s %s: %d that Ambit ships", op.sign, label(kind), shipped)
			}
		}
	}
}

func (e *EnvironmentPlan) operation(i int) Operation {
	switch {
	case e.changes[i].Delete:
		return Delete
	case e.before[i] == nil:
		return Create
	}
	return Update
}

func label(k access.Kind) string { return strings.ReplaceAll(k.String(), "_", " ") }

// detail says in a few words what matters of one change.
func detail(c Change) string {
	var words []string
	if c.Operation == Update {
		was, is := fieldValues(c.Before), fieldValues(c.After)
		for _, f := range c.Fields {
			if f == "origin" {
				continue
			}
			words = append(words, fmt.Sprintf("%s: %s -> %s", f, short(was[f]), short(is[f])))
		}
	}
	switch o := c.After.(type) {
	case access.User:
		if c.Operation == Create {
			words = append(words, "unit "+string(o.BusinessUnit))
			if !o.Enabled {
				words = append(words, "disabled")
			}
		}
		switch { // which path admits (Rule GRAPH-32)
		case !o.Admitted || c.Operation == Update && !slices.Contains(c.Fields, "admitted") && !slices.Contains(c.Fields, "origin"):
		case o.Origin.Path != "":
			words = append(words, "admitted through "+o.Origin.Path)
		default:
			words = append(words, "admitted as a direct member")
		}
	case access.Team:
		if c.Operation == Create {
			words = append(words, "unit "+string(o.BusinessUnit))
		}
	case access.Membership:
		if o.Origin.Path != "" {
			words = append(words, "through "+o.Origin.Path)
		}
	case access.Assignment:
		if c.Operation == Create {
			words = append(words, "unit "+string(o.BusinessUnit))
			if !o.Window.End.IsZero() {
				words = append(words, "until "+o.Window.End.Format(time.RFC3339))
			}
		}
	}
	if c.Follows {
		words = append(words, "follows from another change")
	}
	if len(words) == 0 {
		return ""
	}
	return plain(" (" + strings.Join(words, ", ") + ")")
}

func fieldValues(o access.Object) map[string]json.RawMessage {
	var out map[string]json.RawMessage
	if json.Unmarshal(encode(o), &out) != nil {
		return nil
	}
	return out
}

func short(v json.RawMessage) string {
	const longest = 60
	s := string(v)
	if s == "" {
		return "none"
	}
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}

// plain keeps what a directory calls its objects from steering a terminal or
// forging a line (Rule SEC-6).
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func writeFindings(t *textWriter, findings []mapping.Finding) {
	if len(findings) == 0 {
		return
	}
	t.line("To be known")
	shown := map[mapping.FindingKind]int{}
	for _, f := range findings {
		if shown[f.Kind]++; shown[f.Kind] > maxLines {
			continue
		}
		where := ""
		if f.Environment != "" {
			where = string(f.Environment) + ": "
		}
		name := f.Name
		if name == "" {
			name = string(f.Object)
		}
		if name != "" && !strings.Contains(f.Text, name) {
			where += name + ": "
		}
		t.line("  ! %s%s", plain(where), plain(f.Text))
		if f.Hint != "" && shown[f.Kind] == 1 {
			t.line("    hint: %s", plain(f.Hint))
		}
	}
	var kinds []mapping.FindingKind
	for k, n := range shown {
		if n > maxLines {
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		t.line("  ! … and %d more of kind %s", shown[k]-maxLines, k)
	}
	t.line("")
}

func writeViolations(t *textWriter, p *Plan) {
	if !p.Held() {
		return
	}
	t.line("")
	if p.whatIf {
		t.line("A sync with these files would be held:")
	} else {
		t.line("This plan is held; nothing of it is applied:")
	}
	final := false
	for _, v := range p.Violations {
		where := ""
		if v.Environment != "" {
			where = string(v.Environment) + ": "
		}
		t.line("  ✗ %s%s [%s]", plain(where), plain(v.Problem), v.Guard)
		t.line("    hint: %s", plain(v.Hint))
		final = final || v.Final
	}
	if !final && !p.whatIf {
		t.line("If it is what you want:  ambit sync --accept-plan %s --reason WHY", p.Digest())
	}
}

// textWriter remembers the first error.
type textWriter struct {
	w   io.Writer
	err error
}

func (t *textWriter) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

// planJSON is a plan's JSON form.
type planJSON struct {
	Revision   access.Revision                                 `json:"revision"`
	Digest     string                                          `json:"digest,omitempty"`
	Held       bool                                            `json:"held"`
	Counts     map[access.EnvironmentID]map[access.Kind]Counts `json:"counts"`
	Changes    []Change                                        `json:"changes"`
	Access     []EnvironmentAccess                             `json:"access"`
	Violations []Violation                                     `json:"violations"`
	Findings   []mapping.Finding                               `json:"findings"`
}

// JSON is the plan's JSON form, with every change and the access at an instant.
func (p *Plan) JSON(at time.Time) ([]byte, error) {
	effects, err := p.Access(at)
	if err != nil {
		return nil, err
	}
	out := planJSON{
		Revision: p.Revision, Held: p.Held(), Counts: map[access.EnvironmentID]map[access.Kind]Counts{},
		Changes: slices.AppendSeq([]Change{}, p.Changes()), Access: effects, Violations: p.Violations, Findings: p.Findings,
	}
	if !p.Empty() {
		out.Digest = p.Digest()
	}
	for i := range p.Environments {
		out.Counts[p.Environments[i].Environment] = p.Environments[i].Counts()
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("write plan as JSON: %w", err)
	}
	return b, nil
}
