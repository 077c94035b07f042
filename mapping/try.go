package mapping

import (
	"maps"
	"reflect"
	"slices"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// Try puts other rules in the place of the evaluation's, until back is called:
// Desired, Object, Gate and Findings are then as New would give for them. It
// returns the keys of all desired objects that come, go or change by that, sorted;
// some may be as they were. The cost goes by whom the rules that differ match: they
// alone are judged again, by back too.
//
// The evaluation must be up to date, with the same now, and there must be no Update
// before back. Where the rules differ in what all of them hang on, which is the
// sources, the environments, their gates, licences and names, ok is false, and
// nothing is done.
func (e *Evaluation) Try(rules *Rules, now Current) (changed []Key, back func(), ok bool) {
	was := e.rules
	rules, ok = rules.over(was)
	if !ok {
		return nil, nil, false
	}
	u := e.begin(now)
	var trials []trial
	for id, s := range e.sources {
		users, groups := compareRules(was.users[id], rules.users[id]), compareRules(was.teams[id], rules.teams[id])
		trials = append(trials, trial{
			source: s, accounts: u.accountsOf(s, users), groups: u.groupsOf(s, groups),
			users: s.users, groupsWith: s.groupsWith,
		})
		s.users = e.counted(s.users, rules.named(id, true), id, directory.KindUser)
		s.groupsWith = e.counted(s.groupsWith, rules.named(id, false), id, directory.KindGroup)
	}
	judge := func() []Key {
		u := e.begin(now)
		u.changed, u.trying = map[Key]struct{}{}, true
		for _, t := range trials {
			for _, id := range t.accounts {
				u.evaluateUser(t.source, id)
			}
		}
		for _, t := range trials {
			for _, id := range t.groups {
				u.evaluateGroup(t.source, id)
			}
		}
		u.settle()
		e.now = nil
		return slices.SortedFunc(maps.Keys(u.changed), Key.compare)
	}
	e.rules = rules
	return judge(), func() {
		e.rules = was
		for _, t := range trials {
			t.source.users, t.source.groupsWith = t.users, t.groupsWith
		}
		judge()
	}, true
}

// trial is what of one source is judged again, and what the source had.
type trial struct {
	source            *source
	accounts, groups  []directory.ObjectID
	users, groupsWith attributes
}

// counted counts, if names are others than those that are counted already, which
// of them there are.
func (e *Evaluation) counted(now attributes, names []string, id directory.SourceID, kind directory.Kind) attributes {
	other := newAttributes(names)
	if slices.Equal(now.names, other.names) {
		return now
	}
	e.view.Objects(id, kind, func(o directory.Object) bool {
		other.count(0, &o)
		return true
	})
	return other
}

// over returns rules that mean what r does, and are the very rules of base
// wherever those are the same; false where they are about other things.
func (r *Rules) over(base *Rules) (*Rules, bool) {
	if !slices.EqualFunc(r.environments, base.environments, (*environment).same) || !slices.Equal(r.Sources(), base.Sources()) {
		return nil, false
	}
	environments := map[access.EnvironmentID]*environment{}
	for _, env := range base.environments {
		environments[env.id] = env
	}
	out := &Rules{
		guards: r.guards, environments: base.environments, rules: slices.Clone(r.rules),
		users: map[directory.SourceID][]*userRule{}, teams: map[directory.SourceID][]*teamRule{},
	}
	for i := range out.rules {
		out.rules[i].env = environments[out.rules[i].env.id]
	}
	for id, list := range r.users {
		out.users[id] = share(list, base.users[id], func(u userRule) *userRule {
			u.env = environments[u.env.id]
			return &u
		})
	}
	for id, list := range r.teams {
		out.teams[id] = share(list, base.teams[id], func(t teamRule) *teamRule {
			t.env = environments[t.env.id]
			return &t
		})
	}
	return out, true
}

// same tells whether the rules say the same of an environment, and its names mean
// the same.
func (e *environment) same(o *environment) bool {
	return e.id == o.id && e.requireLicence == o.requireLicence && e.modernized == o.modernized && e.kind == o.kind &&
		maps.Equal(e.accept, o.accept) && maps.Equal(e.units, o.units) && maps.Equal(e.positions, o.positions) &&
		maps.EqualFunc(e.roles, o.roles, func(a, b access.Role) bool {
			return a.ID == b.ID && a.Name == b.Name && a.BusinessUnit == b.BusinessUnit // what a role gives is not looked at
		}) &&
		slices.EqualFunc(e.gates, o.gates, func(a, b gate) bool {
			return a.source == b.source && a.group.text == b.group.text && a.nested == b.nested
		})
}

func (r *rule) head() *rule { return r }

// ruling is a *userRule or *teamRule.
type ruling interface {
	comparable
	head() *rule
}

// share puts base's rules in the place of those that are the same.
func share[T any, R interface {
	*T
	ruling
}](list, base []R, within func(T) R) []R {
	out := make([]R, len(list))
	for i, r := range list {
		if at := indexOf(base, r.head().name); at >= 0 && reflect.DeepEqual(r.head().text, base[at].head().text) {
			out[i] = base[at]
		} else {
			out[i] = within(*r)
		}
	}
	return out
}

func indexOf[R ruling](list []R, name string) int {
	return slices.IndexFunc(list, func(r R) bool { return r.head().name == name })
}

// edits are what differs between two lists of rules.
type edits[R ruling] struct {
	// reordered: whoever is matched may be matched by another.
	reordered bool
	// gone are the names of those that are not there any more, or not as they were.
	gone map[string]bool
	// ask are those of which it is not known whom they match.
	ask []R
}

func (d edits[R]) none() bool { return !d.reordered && len(d.gone) == 0 && len(d.ask) == 0 }

// compareRules finds what differs; rules that are the same are the very same.
func compareRules[R ruling](was, is []R) edits[R] {
	d := edits[R]{gone: map[string]bool{}}
	for _, r := range was {
		if !slices.Contains(is, r) {
			d.gone[r.head().name] = true
		}
	}
	last := 0
	for _, r := range is {
		at := indexOf(was, r.head().name)
		if at < 0 || !sameMatch(was[at].head().text, r.head().text) {
			d.ask = append(d.ask, r)
		}
		if at >= 0 {
			d.reordered = d.reordered || at < last
			last = at
		}
	}
	return d
}

// sameMatch tells whether two rules match the same.
func sameMatch(a, b ruleText) bool {
	if !reflect.DeepEqual(a.Match, b.Match) {
		return false
	}
	if a.User != nil {
		return a.User.Environment == b.User.Environment
	}
	return a.Team.Environment == b.Team.Environment && a.Team.Membership == b.Team.Membership && reflect.DeepEqual(a.Team.Type, b.Team.Type)
}

// accountsOf lists the accounts that the edits are about: those that a rule which
// is gone matched, first or also, and those that one which is asked matches.
func (u *update) accountsOf(s *source, d edits[*userRule]) []directory.ObjectID {
	var ids []directory.ObjectID
	if d.none() {
		return nil
	}
	for id, a := range s.accounts {
		if d.reordered || slices.ContainsFunc(a.persons, func(p *person) bool { return d.gone[p.rule.name] }) ||
			slices.ContainsFunc(a.also, func(r *userRule) bool { return d.gone[r.name] }) {
			ids = append(ids, id)
		}
	}
	if len(d.ask) > 0 && !d.reordered {
		u.view.Objects(s.id, directory.KindUser, func(o directory.Object) bool {
			u.act = activation{subject: &subject{o, userType}}
			if slices.ContainsFunc(d.ask, func(r *userRule) bool { yes, err := r.when.bool(&u.act); return yes || err != nil }) {
				ids = append(ids, o.ID)
			}
			return true
		})
	}
	return distinct(ids)
}

// groupsOf lists the groups that the edits are about. Of a group that cannot become
// a team it is not kept which rules matched it.
func (u *update) groupsOf(s *source, d edits[*teamRule]) []directory.ObjectID {
	var ids []directory.ObjectID
	if d.none() {
		return nil
	}
	for id, g := range s.groups {
		_, unmappable := u.findings[topic{kind: GroupKind, source: s.id, key: string(id)}]
		if d.reordered || unmappable || slices.ContainsFunc(g.teams, func(t *team) bool { return d.gone[t.rule.name] }) ||
			slices.ContainsFunc(g.also, func(r *teamRule) bool { return d.gone[r.name] }) {
			ids = append(ids, id)
		}
	}
	if len(d.ask) > 0 && !d.reordered {
		u.view.Objects(s.id, directory.KindGroup, func(o directory.Object) bool {
			m := &matchable{subject: &subject{o, groupType}}
			if slices.ContainsFunc(d.ask, func(r *teamRule) bool { yes, err := u.matchGroup(r, m); return yes || err != nil }) {
				ids = append(ids, o.ID)
			}
			return true
		})
	}
	return distinct(ids)
}

func distinct[S ~string](list []S) []S {
	slices.Sort(list)
	return slices.Compact(list)
}
