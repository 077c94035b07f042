package dirsync

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/mapping"
)

// Plan is what would change: the desired state against the current one. It is a
// value that does not change; `ambit plan` prints it and stops, `ambit sync`
// applies the same. Sorted, so that two runs print the same bytes.
type Plan struct {
	// Revision is the one that the plan was made against.
	Revision access.Revision
	// Environments are those that change, sorted.
	Environments []EnvironmentPlan
	// Violations are why the plan waits for a person; none: it may be applied.
	Violations []Violation
	// Findings are what a person should know besides.
	Findings []mapping.Finding
	// Origin is what the plan was made from.
	Origin PlanOrigin

	open map[mapping.Key]struct{} // left out, to be looked at again
	// unfinished: an environment could not be planned at all.
	unfinished bool
	whatIf     bool // of files that are not in force
	digest     func() string
}

// EnvironmentPlan is what changes in one environment.
type EnvironmentPlan struct {
	Environment access.EnvironmentID
	// changes are in creation order, with what the rules add to them; before is
	// parallel and holds what was, nil where nothing was.
	changes  []access.Change
	expanded access.Expansion // they
	before   []access.Object
	follows  map[mapping.Key]struct{} // the keys that the rules added
	names    map[named]string
	// snapshot is what the plan was made against, nil if the environment is new.
	snapshot *engine.Snapshot
}

// The kinds of finding that a plan adds to the mapping's.
const (
	// Conflict: files or a mapping want an object that was made another way.
	Conflict mapping.FindingKind = "conflict"
	// LeftOut: a change that would break a rule of the access model.
	LeftOut mapping.FindingKind = "left_out"
	// Unread: a removal that rests on a source that has not been read completely.
	Unread mapping.FindingKind = "unread"
	// FileUser: a model file names a user who cannot be found or used.
	FileUser mapping.FindingKind = "model_file"
)

// Operation is what happens to an object.
type Operation string

// The operations.
const (
	Create Operation = "create"
	Update Operation = "update"
	Delete Operation = "delete"
)

// Change is one line of a plan.
type Change struct {
	Operation   Operation            `json:"operation"`
	Environment access.EnvironmentID `json:"environment"`
	Kind        access.Kind          `json:"kind"`
	Key         string               `json:"key"`
	Name        string               `json:"name"`
	// Follows: a rule of the access model demands it because of another change.
	Follows bool          `json:"follows,omitempty"`
	Fields  []string      `json:"fields,omitempty"` // of an update: those that change
	Before  access.Object `json:"before,omitempty"`
	After   access.Object `json:"after,omitempty"`
}

// Empty tells whether nothing would change.
func (p *Plan) Empty() bool { return len(p.Environments) == 0 }

// Held tells whether the plan waits for a person.
func (p *Plan) Held() bool { return len(p.Violations) > 0 }

// Len is the number of changes.
func (p *Plan) Len() int {
	n := 0
	for _, e := range p.Environments {
		n += len(e.changes)
	}
	return n
}

// Changes yields the changes by environment, kind and key.
func (p *Plan) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for i := range p.Environments {
			for c := range p.Environments[i].Changes() {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Changes yields the changes by kind and key.
func (e *EnvironmentPlan) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for i := range e.changes {
			if !yield(e.change(i)) {
				return
			}
		}
	}
}

func (e *EnvironmentPlan) change(i int) Change {
	o, was := e.changes[i].Object, e.before[i]
	k := mapping.KeyOf(o)
	c := Change{Environment: k.Environment, Kind: k.Kind, Key: k.Key, Name: e.nameOf(o), Before: was, After: o}
	_, c.Follows = e.follows[k]
	switch {
	case e.changes[i].Delete:
		c.Operation, c.After = Delete, nil
	case was == nil:
		c.Operation = Create
	default:
		c.Operation, c.Fields = Update, fields(was, o)
	}
	return c
}

// Counts is how many objects of a kind come, change and go.
type Counts struct {
	Create int `json:"create,omitempty"`
	Update int `json:"update,omitempty"`
	Delete int `json:"delete,omitempty"`
}

// Counts counts the changes by kind.
func (e *EnvironmentPlan) Counts() map[access.Kind]Counts {
	out := map[access.Kind]Counts{}
	for i, c := range e.changes {
		n := out[c.Object.ObjectKind()]
		switch {
		case c.Delete:
			n.Delete++
		case e.before[i] == nil:
			n.Create++
		default:
			n.Update++
		}
		out[c.Object.ObjectKind()] = n
	}
	return out
}

// Counts counts all changes.
func (p *Plan) Counts() Counts {
	var sum Counts
	for i := range p.Environments {
		for _, n := range p.Environments[i].Counts() {
			sum.Create += n.Create
			sum.Update += n.Update
			sum.Delete += n.Delete
		}
	}
	return sum
}

// Digest identifies what the plan would do, as "sha256:…": the same changes of the
// same objects have the same digest. By it a person accepts a held plan and no other.
func (p *Plan) Digest() string { return p.digest() }

// digestPart is how many changes become lines at once.
const digestPart = 1_000

// computeDigest hashes the lines of a plan's file (see Change.appendLine). Making them
// takes far longer than hashing them, and is done side by side.
func (p *Plan) computeDigest() string {
	h := sha256.New()
	parts := make([][]byte, runtime.GOMAXPROCS(0))
	for i := range p.Environments {
		e := &p.Environments[i]
		for from := 0; from < len(e.changes); from += len(parts) * digestPart {
			var making sync.WaitGroup
			for k := range parts {
				making.Go(func() {
					part := parts[k][:0]
					for i := from + k*digestPart; i < min(from+(k+1)*digestPart, len(e.changes)); i++ {
						c := e.change(i)
						part = append(c.appendLine(part), '\n')
					}
					parts[k] = part
				})
			}
			making.Wait()
			for k := range parts {
				h.Write(parts[k])
			}
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// expanded are all changes that a commit would make.
func (p *Plan) expanded() []access.Expansion {
	all := make([]access.Expansion, len(p.Environments))
	for i := range p.Environments {
		all[i] = p.Environments[i].expanded
	}
	return all
}

// EnvironmentAccess is the access that a plan gives and takes in one environment.
type EnvironmentAccess struct {
	Environment access.EnvironmentID `json:"environment"`
	Lines       []engine.Line        `json:"lines"`
	// Causes are the rules, and what else it is, that make the difference.
	Causes []CauseAccess `json:"causes"`
	// Users are the first of those who gain or lose, by login; UserCount how many
	// there are.
	Users     []UserAccess `json:"users"`
	UserCount int          `json:"user_count"`
}

// Access works out what the users whom the plan is about gain and lose at an
// instant, all of them. For a plan of many users that takes as long as asking the
// engine about each one twice.
func (p *Plan) Access(at time.Time) ([]EnvironmentAccess, error) {
	var out []EnvironmentAccess
	for i := range p.Environments {
		e := &p.Environments[i]
		effects, err := e.effects(p.Revision, at)
		if err != nil {
			return nil, fmt.Errorf("access that the plan changes in environment %s: %w", e.Environment, err)
		}
		if len(effects) > 0 {
			out = append(out, e.sumUp(effects))
		}
	}
	return out, nil
}

// states are the environments as they are now.
type states interface {
	State(access.EnvironmentID) (*access.State, bool)
	Environments() []access.EnvironmentID
	Snapshot(access.EnvironmentID) (*engine.Snapshot, error)
}

// planner makes a plan.
type planner struct {
	states   states
	revision access.Revision
	desired  *desired
	guards   mapping.Guards
	// complete tells whether a source has been read completely at least once.
	complete func(directory.SourceID) bool
	sources  []directory.SourceID // that are configured
	// roleAssignable tells whether a group can hold administrator roles in its own
	// directory (Rule GRAPH-30); nil: none can.
	roleAssignable func(access.GroupRef) bool
	// whatIf: of files that are not in force, which name what was notRead.
	whatIf  bool
	notRead []mapping.Finding

	plan    *Plan
	changes map[access.EnvironmentID][]access.Change
	unread  map[directory.SourceID]int
	empty   map[access.EnvironmentID]*access.State // of environments that are not there
}

// full compares everything.
func (p *planner) full() *Plan {
	p.begin()
	for o := range p.desired.all() {
		env := o.ObjectEnvironment()
		s := p.state(env)
		was, exists := current(s, o)
		if !exists {
			p.changes[env] = append(p.changes[env], access.Put(o))
		} else if !same(was, o) {
			p.update(mapping.KeyOf(o), was, o)
		}
	}
	environments := p.states.Environments()
	for k := range p.desired.fixed {
		if k.Kind == access.KindEnvironment {
			environments = append(environments, k.Environment)
		}
	}
	slices.Sort(environments)
	for _, env := range slices.Compact(environments) {
		p.compare(mapping.Key{Environment: env, Kind: access.KindEnvironment, Key: string(env)})
		s, ok := p.states.State(env)
		if !ok {
			continue
		}
		ours(s, func(o access.Object) {
			if k := mapping.KeyOf(o); k.Kind != access.KindEnvironment {
				if _, wanted := p.desired.object(k, s); !wanted {
					p.remove(k, o)
				}
			}
		})
	}
	return p.finish()
}

// only compares the objects of the given keys.
func (p *planner) only(keys iter.Seq[mapping.Key]) *Plan {
	p.begin()
	for k := range keys {
		if k.Kind <= planned {
			p.compare(k)
		}
	}
	return p.finish()
}

func (p *planner) begin() {
	p.plan = &Plan{Revision: p.revision, Findings: p.notRead, open: map[mapping.Key]struct{}{}, whatIf: p.whatIf}
	p.changes = map[access.EnvironmentID][]access.Change{}
	p.unread = map[directory.SourceID]int{}
	p.empty = map[access.EnvironmentID]*access.State{}
}

// state is an environment as it is now, empty if there is none.
func (p *planner) state(env access.EnvironmentID) *access.State {
	if s, ok := p.states.State(env); ok {
		return s
	}
	if p.empty[env] == nil {
		p.empty[env] = access.NewState(env)
	}
	return p.empty[env]
}

func (p *planner) compare(k mapping.Key) {
	s := p.state(k.Environment)
	was, exists := lookup(s, k)
	want, wanted := p.desired.object(k, s)
	switch {
	case !exists && wanted:
		p.changes[k.Environment] = append(p.changes[k.Environment], access.Put(want))
	case exists && !wanted:
		p.remove(k, was)
	case exists && !same(was, want):
		p.update(k, was, want)
	}
}

// update replaces what files or a mapping made, or what ships; what was made
// another way stays.
func (p *planner) update(k mapping.Key, was, want access.Object) {
	by := managedBy(was)
	if by != managedBy(want) && by != access.ByFile && by != access.ByMapping {
		p.leave(k, mapping.Finding{
			Kind: Conflict, Text: fmt.Sprintf("%s %s exists and is managed by %s; it stays as it is", k.Kind, k.Key, by),
			Hint: "remove one of the two, or give the declared one another id",
		})
		return
	}
	p.changes[k.Environment] = append(p.changes[k.Environment], access.Put(want))
}

// remove ends what files or a mapping made, unless it rests on a source that has
// never been read to its end: then nothing is known to be gone (Rule SRC-1).
func (p *planner) remove(k mapping.Key, was access.Object) {
	if by := managedBy(was); by != access.ByFile && by != access.ByMapping {
		return
	}
	for _, source := range p.restsOn(was) {
		if source != "" && !p.complete(source) {
			p.unread[source]++
			p.plan.open[k] = struct{}{}
			return
		}
	}
	p.changes[k.Environment] = append(p.changes[k.Environment], access.Remove(was))
}

// restsOn are the sources that an object comes from. A user can be in a team of
// another source's group, which names the user by SID, and then it is also the user's
// source that must have said who that is; any of them, while the group names somebody
// of a domain that none has told of (Rule AD-19).
func (p *planner) restsOn(o access.Object) []directory.SourceID {
	own := directory.SourceID(origin(o).Source)
	m, ok := o.(access.Membership)
	if !ok || own == "" {
		return []directory.SourceID{own}
	}
	user := directory.SourceID(p.state(m.Environment).Users[m.User].Origin.Source)
	if user == own {
		return []directory.SourceID{own}
	}
	sources := []directory.SourceID{own, user}
	if e := p.desired.evaluation; e != nil && e.Unsure(m.Environment, m.Team) {
		sources = append(sources, p.sources...)
	}
	return sources
}

// leave keeps a key out of the plan and says so.
func (p *planner) leave(k mapping.Key, f mapping.Finding) {
	f.Environment = k.Environment
	f.Object = directory.ObjectID(k.Key)
	p.plan.open[k] = struct{}{}
	p.plan.Findings = append(p.plan.Findings, f)
}

func (p *planner) finish() *Plan {
	plan := p.plan
	for env, changes := range p.changes {
		s := p.state(env)
		expanded, asked := p.settle(s, changes)
		full := expanded.Changes()
		if len(full) == 0 {
			continue
		}
		e := EnvironmentPlan{Environment: env, changes: full, expanded: expanded, before: make([]access.Object, len(full))}
		for i, c := range full {
			if c.Delete {
				e.before[i] = c.Object
			} else if was, existed := current(s, c.Object); existed {
				e.before[i] = was
			}
		}
		if len(asked) != len(full) {
			e.follows = followers(full, asked)
		}
		e.names = collectNames(s, full)
		if s.Exists() {
			e.snapshot, _ = p.states.Snapshot(env)
		}
		plan.Environments = append(plan.Environments, e)
	}
	slices.SortFunc(plan.Environments, func(a, b EnvironmentPlan) int { return cmp.Compare(a.Environment, b.Environment) })
	for source, n := range p.unread {
		plan.Findings = append(plan.Findings, mapping.Finding{
			Kind: Unread, Source: source, Count: n,
			Text: fmt.Sprintf("%d objects from source %q stay: it has not been read to its end yet", n, source),
			Hint: "see the source's state; once it is read, what is gone there will be planned",
		})
	}
	p.desiredFindings()
	sortFindings(plan.Findings)
	p.judge()
	plan.digest = sync.OnceValue(plan.computeDigest)
	return plan
}

func sortFindings(findings []mapping.Finding) {
	slices.SortFunc(findings, func(a, b mapping.Finding) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Object, b.Object), cmp.Compare(a.Text, b.Text))
	})
}

func (p *planner) desiredFindings() {
	if p.desired.evaluation != nil {
		p.plan.Findings = append(p.plan.Findings, p.desired.evaluation.Findings()...)
	}
	for _, f := range p.desired.findings {
		p.plan.Findings = append(p.plan.Findings, mapping.Finding{
			Kind: FileUser,
			Text: fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Problem), Hint: f.Hint,
		})
	}
}

// settle completes an environment's changes by what the rules of the access model
// demand, and leaves out those that would break one, with a finding: what one
// object has wrong must not keep the others from being brought up to date. It
// returns all changes and those among them that were asked for.
func (p *planner) settle(s *access.State, changes []access.Change) (expanded access.Expansion, asked []access.Change) {
	const rounds = 20
	for range rounds {
		expanded, err := s.Expansion(changes)
		if err != nil {
			left := p.leaveInvalid(changes, err)
			if len(left) == len(changes) {
				p.refuse(s, err.Error(), "no plan can be applied that breaks a rule: correct the mapping, the files or the directory")
				return access.Expansion{}, nil
			}
			changes = left
			continue
		}
		full := expanded.Changes()
		// What the rules would end and is wanted all the same is part of the plan,
		// as when somebody moves to another unit and has the role there too.
		again := changes
		if len(full) != len(changes) {
			for k := range followers(full, changes) {
				if want, wanted := p.desired.object(k, s); wanted {
					again = append(again, access.Put(want))
				}
			}
		}
		if len(again) == len(changes) {
			return expanded, changes
		}
		changes = again
	}
	p.refuse(s, "the changes that the mapping and the files want contradict each other",
		"see the findings; report this with the plan as JSON if they do not explain it")
	return access.Expansion{}, nil
}

// refuse holds the plan because an environment cannot be planned at all.
func (p *planner) refuse(s *access.State, problem, hint string) {
	p.plan.unfinished = true
	p.violation(Violation{Guard: GuardRules, Environment: s.Environment.ID, Final: true, Problem: problem, Hint: hint})
}

// followers are the keys in full that were not asked for.
func followers(full, asked []access.Change) map[mapping.Key]struct{} {
	keys := make(map[mapping.Key]struct{}, len(asked))
	for _, c := range asked {
		keys[mapping.KeyOf(c.Object)] = struct{}{}
	}
	out := map[mapping.Key]struct{}{}
	for _, c := range full {
		k := mapping.KeyOf(c.Object)
		if _, ok := keys[k]; !ok {
			out[k] = struct{}{}
		}
	}
	return out
}

// leaveInvalid returns the changes without those that the error is about.
func (p *planner) leaveInvalid(changes []access.Change, err error) []access.Change {
	faults := map[string]*access.Invalid{}
	for _, e := range unjoin(err) {
		if f, ok := errors.AsType[*access.Invalid](e); ok {
			faults[f.Object] = f
		}
	}
	left := make([]access.Change, 0, len(changes))
	for _, c := range changes {
		k := mapping.KeyOf(c.Object)
		f, bad := faults[k.Kind.String()+" "+k.Key]
		if !bad {
			left = append(left, c)
			continue
		}
		p.leave(k, mapping.Finding{Kind: LeftOut, Text: "left out of the plan: " + f.Error()})
	}
	return left
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
