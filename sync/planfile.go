package dirsync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// PlanOrigin is what a plan was made from.
type PlanOrigin struct {
	Revision access.Revision `json:"revision"`
	// Files are the digests of the mapping and model files, by the names that the
	// configuration gives them.
	Files   map[string]string `json:"files"`
	Sources []SourceOrigin    `json:"sources"`
}

// SourceOrigin is a source as a plan saw it.
type SourceOrigin struct {
	Source    directory.SourceID `json:"source"`
	Completed time.Time          `json:"completed,omitzero"` // the end of the last complete round
	Size
}

// PlanRef names one plan and no other: what it does, and what it was made from.
type PlanRef struct {
	Digest string     `json:"digest" pattern:"^sha256:[0-9a-f]{64}$"`
	Origin PlanOrigin `json:"origin"`
}

// Moved is the error of a plan that was to be applied as it was written down,
// when it is not what a sync would do any more. Nothing was changed.
type Moved struct {
	What []string // what moved, at least one
}

func (m *Moved) Error() string {
	return "the plan is not what a sync would do any more: " + strings.Join(m.What, "; ")
}

// PlanFormat is the first line of a plan's file.
const PlanFormat = "ambit-plan/1"

// planHead is what a plan's file says above its changes.
type planHead struct {
	Format string    `json:"format"`
	Made   time.Time `json:"made"`
	Held   bool      `json:"held"`
	PlanRef
	Violations []Violation `json:"violations"`
}

// The lines of a plan's file, besides one for each change.
const (
	planBegin   = `{"head":`
	planChanges = `,"changes":[`
	planEnd     = `],"seal":"`
)

// File is the plan as a file: JSON, always the same bytes for the same plan and
// instant, with a line for each change. Each line has a sum over itself and those
// before it, and the last one seals the whole file, so that ReadPlan can say which
// line somebody has edited (Rule PLAN-1).
func (p *Plan) File(made time.Time) ([]byte, error) {
	head, err := json.Marshal(planHead{
		Format: PlanFormat, Made: made.UTC(), Held: p.Held(), PlanRef: PlanRef{Digest: p.Digest(), Origin: p.Origin},
		Violations: slices.Concat([]Violation{}, p.Violations),
	})
	if err != nil {
		return nil, fmt.Errorf("write the plan's head: %w", err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s%s\n%s\n", planBegin, head, planChanges)
	sum, comma := "", ""
	for c := range p.Changes() {
		line := c.appendLine(nil)
		sum = sumOf(sum, line)
		fmt.Fprintf(&out, "%s{\"sum\":%q,\"change\":%s}\n", comma, sum, line)
		comma = ","
	}
	seal := sha256.Sum256(out.Bytes())
	fmt.Fprintf(&out, "%s%x\"}\n", planEnd, seal)
	return out.Bytes(), nil
}

// appendLine appends the change as it is a line of a plan's file, and of its
// digest: what encoding/json makes of it, in less time.
func (c *Change) appendLine(b []byte) []byte {
	field := func(name, value string) { b = access.AppendJSONText(append(b, name...), value) }
	object := func(name string, o access.Object) {
		if o == nil {
			return
		}
		var err error
		if b, err = access.AppendJSON(append(b, name...), o); err != nil {
			panic("internal error: encode a change of " + c.Key + ": " + err.Error())
		}
	}
	field(`{"operation":`, string(c.Operation))
	field(`,"environment":`, string(c.Environment))
	field(`,"kind":`, c.Kind.String())
	field(`,"key":`, c.Key)
	field(`,"name":`, c.Name)
	if c.Follows {
		b = append(b, `,"follows":true`...)
	}
	for i, f := range c.Fields {
		if i == 0 {
			field(`,"fields":[`, f)
		} else {
			field(`,`, f)
		}
	}
	if len(c.Fields) > 0 {
		b = append(b, ']')
	}
	object(`,"before":`, c.Before)
	object(`,"after":`, c.After)
	return append(b, '}')
}

// sumOf is a line's sum, which follows from those before.
func sumOf(before string, line []byte) string {
	h := sha256.New()
	h.Write([]byte(before))
	h.Write(line)
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// ReadPlan reads what File wrote and returns which plan that is. A file that is
// not as it was written is an error that says which line is not.
func ReadPlan(name string, file []byte) (PlanRef, error) {
	fault := func(line int, problem string) (PlanRef, error) {
		return PlanRef{}, fmt.Errorf("%s:%d: %s", name, line, problem)
	}
	lines := strings.SplitAfter(string(file), "\n")
	var head planHead
	first, ok := strings.CutPrefix(lines[0], planBegin)
	if !ok || json.Unmarshal([]byte(first), &head) != nil {
		return fault(1, "this is not a plan that `ambit plan --out` wrote")
	}
	if head.Format != PlanFormat {
		return fault(1, fmt.Sprintf("this is a plan in the format %q, and this program reads %s", head.Format, PlanFormat))
	}
	const edited = "the line is not as it was written: the file has been edited"
	if len(lines) < 4 || lines[1] != planChanges+"\n" {
		return fault(2, edited)
	}
	digest, sum, comma, length := sha256.New(), "", "", len(lines[0])+len(lines[1])
	n := 2
	for ; lines[n] != "" && !strings.HasPrefix(lines[n], planEnd); n++ {
		var l struct {
			Sum    string          `json:"sum"`
			Change json.RawMessage `json:"change"`
		}
		text, ok := strings.CutSuffix(lines[n], "\n")
		if !ok { // so that the last part is always empty
			return fault(n+1, "the file ends before the plan does")
		}
		text, ok = strings.CutPrefix(text, comma)
		if !ok || json.Unmarshal([]byte(text), &l) != nil {
			return fault(n+1, edited)
		}
		if sum = sumOf(sum, l.Change); l.Sum != sum || text != fmt.Sprintf(`{"sum":%q,"change":%s}`, sum, l.Change) {
			return fault(n+1, edited+", or a line before it is missing")
		}
		fmt.Fprintf(digest, "%s\n", l.Change)
		comma = ","
		length += len(lines[n])
	}
	switch {
	case lines[n] == "":
		return fault(n, "the file ends before the plan does")
	case fmt.Sprintf("sha256:%x", digest.Sum(nil)) != head.Digest:
		return fault(1, fmt.Sprintf("the changes below are not those of digest %s: the file has been edited", head.Digest))
	case strings.Join(lines[n:], "") != fmt.Sprintf("%s%x\"}\n", planEnd, sha256.Sum256(file[:length])):
		return fault(1, "the seal in the last line is not this file's: the first or the last line has been edited")
	}
	return head.PlanRef, nil
}

// originOf notes what a plan is made from. The caller holds s.mu.
func (s *Syncer) originOf(revision access.Revision) PlanOrigin {
	o := PlanOrigin{Revision: revision, Files: s.config.Files, Sources: []SourceOrigin{}}
	for _, id := range s.mirror.Sources() {
		o.Sources = append(o.Sources, SourceOrigin{Source: id, Completed: s.mirror.Completed(id).UTC(), Size: s.mirror.Size(id)})
	}
	return o
}

// maxMoved is how many of the objects that others have changed an error names.
const maxMoved = 5

// moved tells why the plan is not the one that was written down, nil if it is. A
// source that was read again is no reason where the plan is the same. Files are:
// they have the guards as well. So is what others have changed in the plan's
// environments, since that may be what gives the plan its effect; elevation is not
// (Rule PLAN-2).
func (s *Syncer) moved(ctx context.Context, v tenant.View, plan *Plan, written PlanRef) error {
	var what []string
	for _, name := range slices.Sorted(maps.Keys(union(written.Origin.Files, plan.Origin.Files))) {
		if written.Origin.Files[name] != plan.Origin.Files[name] {
			what = append(what, fmt.Sprintf("%s has been edited since", name))
		}
	}
	if written.Origin.Revision > v.Revision {
		what = append(what, fmt.Sprintf("the store has revision %d, and the plan is of %d: was an older copy put in place?", v.Revision, written.Origin.Revision))
	} else {
		more := 0
		err := s.store.Changes(ctx, written.Origin.Revision, v.Revision, func(at access.Revision, d store.Difference) error {
			o := d.Change().Object
			k := mapping.KeyOf(o)
			here := slices.ContainsFunc(plan.Environments, func(e EnvironmentPlan) bool { return e.Environment == k.Environment })
			if k.Kind > planned || managedBy(o) == access.ByJIT || !here && written.Digest == plan.Digest() {
				return nil
			}
			if more++; more <= maxMoved {
				what = append(what, fmt.Sprintf("revision %d changed %s %s of environment %s", at, label(k.Kind), k.Key, k.Environment))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look for what changed since the plan was made: %w", err)
		}
		if more -= maxMoved; more > 0 {
			what = append(what, fmt.Sprintf("and %d more objects", more))
		}
	}
	if written.Digest != plan.Digest() {
		for _, is := range plan.Origin.Sources {
			i := slices.IndexFunc(written.Origin.Sources, func(was SourceOrigin) bool { return was.Source == is.Source })
			if i < 0 || !written.Origin.Sources[i].Completed.Equal(is.Completed) {
				what = append(what, fmt.Sprintf("source %s was read again, at %s, and says something else", is.Source, is.Completed.Format(time.RFC3339)))
			}
		}
		if len(what) == 0 {
			what = append(what, "time has passed: an account or an assignment ends by the clock")
		}
	}
	if len(what) > 0 {
		return &Moved{what}
	}
	return nil
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return all
}
