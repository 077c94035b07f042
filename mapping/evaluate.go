package mapping

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// Key names one desired object.
type Key struct {
	Environment access.EnvironmentID
	Kind        access.Kind
	Key         string
}

// KeyOf returns an object's key.
func KeyOf(o access.Object) Key {
	return Key{o.ObjectEnvironment(), o.ObjectKind(), o.ObjectKey()}
}

func (k Key) compare(o Key) int {
	return cmp.Or(strings.Compare(string(k.Environment), string(o.Environment)), cmp.Compare(k.Kind, o.Kind), strings.Compare(k.Key, o.Key))
}

// Touched says what of the directory may have changed: an object, of which
// anything may have changed, or, with Member, one edge of a group. An object that
// came or went is touched, and so is every group whose edges changed with it.
type Touched struct {
	Source directory.SourceID
	Object directory.ObjectID
	Member directory.ObjectID
}

// Current is what the environments hold now. The rules look at it only where the
// directory alone does not decide: who has a contested login or name, what stays
// as it is because it cannot be judged, who was admitted.
type Current interface {
	State(access.EnvironmentID) (*access.State, bool)
}

// Gate is what the rules say of who gets into an environment. Where several
// sources have a group of their own, SecurityGroup is the first one listed.
type Gate struct {
	SecurityGroup  *access.GroupRef // never nil where the file has one
	RequireLicence bool
}

// Put returns the environment with the gate's settings. An environment that a
// mapping fills has no other.
func (g Gate) Put(e access.Environment) access.Environment {
	e.SecurityGroup, e.RequireLicence = g.SecurityGroup, g.RequireLicence
	return e
}

// Evaluation is the outcome of rules on a directory: the users, teams,
// memberships and assignments that there should be. It is kept up to date by
// Update, and equals at every time what New would give. It is not safe for
// concurrent use.
type Evaluation struct {
	rules    *Rules
	view     directory.View
	now      Current
	sources  map[directory.SourceID]*source
	worlds   map[access.EnvironmentID]*world
	findings findings
	matches  map[string]int // by rule's name: how many users or groups it matched
	act      activation
	sids     sids
}

// source is what an evaluation knows of one source.
type source struct {
	id       directory.SourceID
	accounts map[directory.ObjectID]*account
	groups   map[directory.ObjectID]*group
	// expansions lists, for each group, whose members come through it.
	expansions map[directory.ObjectID][]*expansion
	identities map[directory.ObjectID]identity
	reports    map[directory.ObjectID][]*person // by manager
	awaited    map[string][]*person             // by folded reference to the manager
	gates      []*gateState
	users      attributes
	groupsWith attributes
}

// attributes counts which of the attributes that rules name there are at all.
type attributes struct {
	names []string // at most 64
	have  []int
}

func newAttributes(names []string) attributes {
	names = names[:min(len(names), 64)]
	return attributes{names, make([]int, len(names))}
}

// count replaces what an object had by what it has.
func (a attributes) count(had uint64, o *directory.Object) (has uint64) {
	if o != nil {
		for i, name := range a.names {
			if len(o.Attributes[name]) > 0 {
				has |= 1 << i
			}
		}
	}
	for i := range a.names {
		a.have[i] += int(has>>i&1) - int(had>>i&1)
	}
	return has
}

// account is a user of a source.
type account struct {
	id         directory.ObjectID
	source     *source
	guest      bool
	gone       bool
	attributes uint64
	persons    []*person    // one for each environment that a rule places the user in
	in         []*expansion // those that have the user as a member
	also       []*userRule  // matched, after another had won
}

// person is an account in an environment.
type person struct {
	world   *world
	account *account
	source  *source
	rule    *userRule
	want    access.User // as the rules say; Admitted is decided last
	desired access.User
	in      bool   // desired holds; false while the login is somebody else's
	login   string // of desired
	held    bool   // could not be judged, and why
	why     Finding
	refs    []string
	manager directory.ObjectID
	ring    *ring // of managers, that the person is in
}

// world is one environment.
type world struct {
	*environment
	people map[access.UserID]*person
	logins map[string][]*person // by folded login
	teams  map[access.TeamID]*team
	names  map[teamName][]*team
	gates  []*gateState

	assignments map[access.AssignmentID]access.Assignment
	// What has to be judged again by Current at every update.
	openLogins map[string]struct{}
	openNames  map[teamName]struct{}
	openRings  set[*person] // whose managers may have come to be a ring, or none
	held       set[*person]
	heldTeams  set[*team]
	gate       Gate
}

type teamName struct {
	unit access.BusinessUnitID
	name string // folded
}

// New evaluates the rules on everything.
func New(rules *Rules, view directory.View, now Current) *Evaluation {
	e := &Evaluation{
		rules: rules, view: view,
		sources:  map[directory.SourceID]*source{},
		worlds:   map[access.EnvironmentID]*world{},
		findings: findings{},
		matches:  map[string]int{},
		sids:     newSIDs(),
	}
	for _, id := range rules.Sources() {
		e.sources[id] = e.newSource(id)
	}
	for _, env := range rules.environments {
		w := &world{
			environment: env,
			people:      map[access.UserID]*person{}, logins: map[string][]*person{},
			teams: map[access.TeamID]*team{}, names: map[teamName][]*team{},
			openLogins: map[string]struct{}{}, openNames: map[teamName]struct{}{}, openRings: set[*person]{},
			held: set[*person]{}, heldTeams: set[*team]{},
			assignments: map[access.AssignmentID]access.Assignment{},
		}
		e.worlds[env.id] = w
		for i := range env.gates {
			g := newGateState(w, e.sources[env.gates[i].source], &env.gates[i])
			w.gates = append(w.gates, g)
			g.source.gates = append(g.source.gates, g)
		}
	}
	u := e.begin(now)
	for _, s := range e.sources {
		// Users first, as in touch. Nothing depends on anything yet, so that there is
		// nothing to judge again.
		view.Objects(s.id, directory.KindUser, func(o directory.Object) bool {
			e.sids.set(node{s, o.ID}, identityOf(&o))
			u.judgeUser(s, &o)
			return true
		})
		view.Objects(s.id, directory.KindGroup, func(o directory.Object) bool {
			e.sids.set(node{s, o.ID}, identityOf(&o))
			u.judgeGroup(s, &o)
			return true
		})
		view.Objects(s.id, directory.KindOther, func(o directory.Object) bool {
			e.sids.set(node{s, o.ID}, identityOf(&o))
			return true
		})
	}
	u.settle()
	e.now = nil
	return e
}

func (e *Evaluation) newSource(id directory.SourceID) *source {
	return &source{
		id: id, accounts: map[directory.ObjectID]*account{}, groups: map[directory.ObjectID]*group{},
		expansions: map[directory.ObjectID][]*expansion{}, identities: map[directory.ObjectID]identity{},
		reports: map[directory.ObjectID][]*person{}, awaited: map[string][]*person{},
		users:      newAttributes(e.rules.named(id, true)),
		groupsWith: newAttributes(e.rules.named(id, false)),
	}
}

// Update brings the evaluation up to date after the view changed, and returns
// the keys of all desired objects that came, went or changed, sorted; some may
// have come back to what they were. The cost goes by what was touched: a user's
// groups, an edge's member, a touched group's members.
func (e *Evaluation) Update(now Current, touched []Touched) []Key {
	u := e.begin(now)
	u.changed = map[Key]struct{}{}
	u.reopen()
	u.touch(touched)
	u.settle()
	changed := slices.SortedFunc(maps.Keys(u.changed), Key.compare)
	e.now = nil
	return changed
}

func (e *Evaluation) begin(now Current) *update {
	e.now = now
	return &update{Evaluation: e, people: set[*person]{}, teams: set[*team]{}, expand: set[*expansion]{}, judge: set[judgement]{}, turned: set[node]{}}
}

// settle decides, in order, what depends on each other: who is in which group,
// who is in which environment, whom it admits, what teams are called and hold.
func (u *update) settle() {
	u.expandAndJudge()
	u.settleLogins()
	u.settleGates()
	u.settleRings()
	if u.whole() {
		for _, w := range u.worlds {
			for _, p := range w.people {
				u.settlePerson(p)
			}
		}
	}
	for p := range u.people {
		u.settlePerson(p)
	}
	u.settleNames()
	for t := range u.teams {
		u.settleTeam(t)
	}
}

type set[T comparable] map[T]struct{}

func (s set[T]) add(v T) { s[v] = struct{}{} }

// update is one run of Update: what is still to be settled.
type update struct {
	*Evaluation
	people  set[*person]
	teams   set[*team]
	expand  set[*expansion]
	judge   set[judgement]
	turned  set[node]        // stand for somebody now, or did
	changed map[Key]struct{} // nil when everything is evaluated
	trying  bool             // other rules: no object has changed
}

// judgement is whether an account is a member of an expansion.
type judgement struct {
	expansion *expansion
	account   *account
}

// whole tells whether everything is evaluated: then nobody asks what changed, and
// every person is settled.
func (u *update) whole() bool { return u.changed == nil }

func (u *update) resettle(p *person) {
	if !u.whole() {
		u.people.add(p)
	}
}

func (u *update) mark(env access.EnvironmentID, kind access.Kind, key string) {
	if !u.whole() {
		u.changed[Key{env, kind, key}] = struct{}{}
	}
}

func (u *update) markMembership(t *team, user access.UserID) {
	if !u.whole() {
		u.mark(t.world.id, access.KindMembership, access.JoinKey(string(t.id), string(user)))
	}
}

func (u *update) state(env access.EnvironmentID) *access.State {
	if s, ok := u.now.State(env); ok {
		return s
	}
	return access.NewState(env)
}

// reopen takes up what depends on Current.
func (u *update) reopen() {
	for _, w := range u.worlds {
		for _, p := range slices.Collect(maps.Keys(w.held)) {
			u.evaluateUser(p.source, p.account.id)
		}
		for _, t := range slices.Collect(maps.Keys(w.heldTeams)) {
			u.evaluateGroup(t.source, t.group)
		}
	}
}

func (u *update) touch(touched []Touched) {
	for _, t := range touched {
		if s := u.sources[t.Source]; s != nil && t.Member == "" {
			u.identify(node{s, t.Object})
		}
	}
	// Users first: whether somebody is a member depends on who is a guest.
	for _, t := range touched {
		if s := u.sources[t.Source]; s != nil && t.Member == "" {
			u.touchUser(s, t.Object)
		}
	}
	for _, t := range touched {
		s := u.sources[t.Source]
		switch {
		case s == nil:
		case t.Member == "":
			u.touchGroup(s, t.Object)
		default:
			u.touchEdge(s, t.Object, t.Member)
		}
	}
}

// Desired yields every object that there should be, by environment, kind and
// key.
func (e *Evaluation) Desired() iter.Seq[access.Object] {
	return func(yield func(access.Object) bool) {
		for _, env := range e.rules.environments {
			if !e.worlds[env.id].desired(yield) {
				return
			}
		}
	}
}

func (w *world) desired(yield func(access.Object) bool) bool {
	for _, id := range slices.Sorted(maps.Keys(w.people)) {
		if p := w.people[id]; p.in && !yield(p.desired) {
			return false
		}
	}
	teams := make([]keyed[*team], 0, len(w.teams))
	for _, id := range slices.Sorted(maps.Keys(w.teams)) {
		t := w.teams[id]
		if !yield(t.desired) {
			return false
		}
		// A membership's key begins with its team's id and a slash.
		teams = append(teams, keyed[*team]{access.JoinKey(string(id)) + "/", t})
	}
	slices.SortFunc(teams, keyed[*team].compare)
	type member struct {
		*person
		*step
	}
	var members []keyed[member]
	for _, t := range teams {
		members = members[:0]
		for a, step := range t.of.expansion.members {
			if p := a.person(w); p != nil && p.in {
				members = append(members, keyed[member]{access.JoinKey(string(p.want.ID)), member{p, step}})
			}
		}
		slices.SortFunc(members, keyed[member].compare)
		for _, m := range members {
			if !yield(t.of.membership(m.of.person, m.of.step)) {
				return false
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.assignments)) {
		if !yield(w.assignments[id]) {
			return false
		}
	}
	return true
}

// keyed is something with what it is sorted by.
type keyed[T any] struct {
	key string
	of  T
}

func (k keyed[T]) compare(o keyed[T]) int { return strings.Compare(k.key, o.key) }

// Object returns the desired object of a key that Update returned; false if
// there should be none. It does not serve the environment itself: see Gate.
func (e *Evaluation) Object(k Key) (access.Object, bool) {
	w := e.worlds[k.Environment]
	if w == nil {
		return nil, false
	}
	switch k.Kind {
	case access.KindUser:
		if p := w.people[access.UserID(k.Key)]; p != nil && p.in {
			return p.desired, true
		}
	case access.KindTeam:
		if t := w.teams[access.TeamID(k.Key)]; t != nil {
			return t.desired, true
		}
	case access.KindMembership:
		parts := access.SplitKey(k.Key)
		if len(parts) != 2 {
			return nil, false
		}
		t, p := w.teams[access.TeamID(parts[0])], w.people[access.UserID(parts[1])]
		if t == nil || p == nil || !p.in {
			return nil, false
		}
		if step, ok := t.expansion.members[p.account]; ok {
			return t.membership(p, step), true
		}
	case access.KindAssignment:
		if a, ok := w.assignments[access.AssignmentID(k.Key)]; ok {
			return a, true
		}
	}
	return nil, false
}

// Gate returns who gets into an environment that the rules fill.
func (e *Evaluation) Gate(env access.EnvironmentID) (Gate, bool) {
	w := e.worlds[env]
	if w == nil {
		return Gate{}, false
	}
	return w.gate, true
}

// Findings lists what a person should know, sorted.
func (e *Evaluation) Findings() []Finding {
	all := e.findings.sorted()
	empty := map[directory.SourceID]bool{}
	for id, s := range e.sources {
		if len(e.rules.users[id]) > 0 && len(s.accounts) == 0 {
			empty[id] = true
			all = append(all, Finding{
				Kind: EmptySource, Source: id, Holds: true,
				Text: fmt.Sprintf("source %q has no users", id), Hint: "has it been read to its end yet? is its base or filter right?",
			})
		}
		for _, a := range [...]struct {
			attributes
			what  string
			empty bool
		}{{s.users, "user", len(s.accounts) == 0}, {s.groupsWith, "group", len(s.groups) == 0}} {
			for i, name := range a.names {
				if a.have[i] == 0 && !a.empty {
					all = append(all, Finding{
						Kind: NoAttribute, Source: id, Name: name,
						Text: fmt.Sprintf("no %s of source %q has the attribute %q, which rules name", a.what, id, name),
						Hint: "is it spelled as in the source, and may Ambit read it?",
					})
				}
			}
		}
	}
	for _, r := range e.rules.rules {
		if e.matches[r.name] == 0 && !empty[r.source] {
			what := "group"
			if r.users {
				what = "user"
			}
			all = append(all, Finding{
				Kind: NoMatch, Environment: r.env.id, Rule: r.name, Source: r.source,
				Text: fmt.Sprintf("rule %q matches no %s", r.name, what),
			})
		}
	}
	slices.SortFunc(all, compareFindings)
	return all
}
