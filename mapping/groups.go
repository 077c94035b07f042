package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// group is a group of a source.
type group struct {
	id         directory.ObjectID
	name       string
	attributes uint64
	teams      []*team
	also       []*teamRule // matched, after another had won
}

// team is a team that a rule makes of a group.
type team struct {
	id          access.TeamID
	world       *world
	source      *source
	group       directory.ObjectID
	rule        *teamRule
	want        access.Team
	desired     access.Team
	held        bool // could not be judged, and why
	why         Finding
	roleUnit    access.BusinessUnitID
	assignments []access.AssignmentID
	expansion   *expansion
	outside     int // members who are not users of the environment
}

// expansion is a group with its members, or with those of the groups within it
// too (Rule SRC-7). It belongs to a team or to a gate.
type expansion struct {
	root     node
	relation directory.Relation
	nested   bool
	steps    map[node]*step
	members  map[*account]*step // by the step through which they come
	team     *team
	gate     *gateState
	// strangers are the SIDs of members whom no source has, sorted.
	strangers []string
}

// step is a group whose members count. The first step that has somebody is the
// one that is told.
type step struct {
	group node
	order int
	path  string // the names of the groups between the root and the members
}

// accepts tells whether the account is of the kind that is wanted (Rule TEAM-2).
func (x *expansion) accepts(a *account) bool {
	if a.gone {
		return false
	}
	if x.team == nil {
		return true
	}
	switch x.team.rule.membership {
	case access.MembersOnly, access.OwnersOnly:
		return !a.guest
	case access.GuestsOnly:
		return a.guest
	default:
		return true
	}
}

// counts tells whether the members of a step count.
func (x *expansion) counts(s *step) bool {
	if x.gate == nil || x.gate.nested != NestedTeam || s.group == x.root {
		return true
	}
	g := s.group.source.groups[s.group.id]
	return g != nil && slices.ContainsFunc(g.teams, func(t *team) bool { return t.world == x.gate.world && t.exists() })
}

// touchEdge judges again who one edge of a group is about.
func (u *update) touchEdge(s *source, id, member directory.ObjectID) {
	a := s.accounts[member]
	if _, turned := u.turned[node{s, member}]; a == nil || turned {
		u.touchGroup(s, id)
		return
	}
	for _, x := range s.expansions[id] {
		u.judge.add(judgement{x, a})
	}
}

// touchGroup judges again what depends on a group: its own teams and gates, and
// everything that has members through it.
func (u *update) touchGroup(s *source, id directory.ObjectID) {
	u.evaluateGroup(s, id)
	for _, x := range s.expansions[id] {
		u.expand.add(x)
	}
	if s.groups[id] == nil {
		return
	}
	// The edge to a group that was not there before counts only now.
	u.containing(node{s, id}, directory.Member, func(x *expansion) {
		if x.nested {
			u.expand.add(x)
		}
	})
}

// evaluateGroup applies the team rules and gates to a group, or ends what there
// was if there is no such group any more.
func (u *update) evaluateGroup(s *source, id directory.ObjectID) {
	o, ok := u.view.Object(s.id, id)
	if !ok || o.Kind != directory.KindGroup {
		g := s.groups[id]
		if g == nil {
			return
		}
		g.attributes = s.groupsWith.count(g.attributes, nil)
		for _, t := range slices.Clone(g.teams) {
			u.removeTeam(g, t)
		}
		u.setGroupAlso(g, nil)
		for _, gate := range s.gates {
			gate.candidate(id, false)
		}
		u.findings.set(topic{kind: GroupKind, source: s.id, key: string(id)})
		u.findings.set(topic{kind: PausedGroup, source: s.id, key: string(id)})
		u.findings.set(topic{kind: SecondRule, source: s.id, key: "group:" + string(id)})
		delete(s.groups, id)
		return
	}
	u.judgeGroup(s, &o)
}

// judgeGroup applies the team rules and gates.
func (u *update) judgeGroup(s *source, o *directory.Object) {
	g := s.groups[o.ID]
	if g == nil {
		g = &group{id: o.ID}
		s.groups[o.ID] = g
	}
	if name := o.Name(); name != g.name {
		g.name = name
		for _, x := range s.expansions[o.ID] {
			u.expand.add(x) // its path has the name
		}
	}
	if !u.trying {
		g.attributes = s.groupsWith.count(g.attributes, o)
	}
	m := &matchable{subject: &subject{*o, groupType}}
	for _, gate := range s.gates {
		_, ok := gate.rule.group.match(m)
		gate.candidate(o.ID, ok)
	}
	kind, mappable := teamType(*o)
	var wanted []*team
	var also []*teamRule
	var unmappable *teamRule
	for _, r := range u.rules.teams[s.id] {
		if mappable && !r.anyKind && r.kind != kind {
			continue
		}
		matched, err := u.matchGroup(r, m)
		if !matched && err == nil {
			continue
		}
		if !mappable {
			unmappable = r
			continue
		}
		i := slices.IndexFunc(wanted, func(t *team) bool {
			return t.world.environment == r.env && t.rule.membership == r.membership
		})
		switch {
		case i >= 0 && wanted[i].held:
		case i >= 0 && err == nil:
			also = append(also, r)
		case i < 0:
			wanted = append(wanted, u.makeTeam(s, r, m, kind, err))
		}
	}
	u.replaceTeams(g, wanted)
	u.setGroupAlso(g, also)
	u.findSecondForGroup(s, g, m, kind)
	u.findUnmappable(s, o, unmappable)
	u.findPaused(s, o, g)
}

// teamType is the type of team that the group can become (Rules GRAPH-30,
// GRAPH-31).
func teamType(o directory.Object) (access.TeamType, bool) {
	switch o.Get(directory.AttrGroupKind) {
	case "", "security", "mail-security":
		return access.SecurityGroupTeam, true
	case "m365":
		return access.M365GroupTeam, true
	}
	return 0, false
}

func (u *update) matchGroup(r *teamRule, m *matchable) (bool, error) {
	u.act = activation{subject: m.subject, captures: []string{m.Name()}}
	if r.pattern != nil {
		captures, ok := r.pattern.match(m)
		if !ok {
			return false, nil
		}
		u.act.captures = captures
	}
	if r.where == nil {
		return true, nil
	}
	yes, err := r.where.bool(&u.act)
	if err != nil {
		return false, fmt.Errorf("its condition where: %w", err)
	}
	return yes, nil
}

// makeTeam makes what a rule says of the group that was matched last.
func (u *update) makeTeam(s *source, r *teamRule, m *matchable, kind access.TeamType, err error) *team {
	t := &team{
		id:    access.TeamID(fmt.Sprintf("%s:%s:%s", s.id, m.ID, r.membership)),
		world: u.worlds[r.env.id], source: s, group: m.ID, rule: r,
	}
	want := access.Team{
		Environment: r.env.id, ID: t.id, Name: m.Name(), Type: kind, ManagedBy: access.ByMapping,
		Group: &access.GroupLink{
			GroupRef:   access.GroupRef{Source: string(s.id), Group: string(m.ID), Name: m.Name()},
			Membership: r.membership, Nested: r.nested,
		},
		Origin: access.Origin{Rule: r.name, Source: string(s.id), Object: string(m.ID)},
	}
	switch r.membership {
	case access.OwnersOnly:
		want.Name += " (Owners)"
	case access.GuestsOnly:
		want.Name += " (Guests)"
	}
	if err == nil && r.teamName != nil {
		if want.Name, err = r.teamName.text(&u.act); err != nil {
			err = fmt.Errorf("its name: %w", err)
		}
	}
	unit := func(key string, tmpl *template) (id access.BusinessUnitID) {
		if err != nil {
			return ""
		}
		var name string
		if name, err = tmpl.text(&u.act); err != nil {
			err = fmt.Errorf("its %s: %w", key, err)
			return ""
		}
		id, ok := r.env.unit(name)
		if !ok {
			err = fmt.Errorf("its %s: there is no business unit %q in environment %q", key, name, r.env.id)
		}
		return id
	}
	want.BusinessUnit = unit("business_unit", r.unit)
	t.roleUnit = want.BusinessUnit
	if r.roleUnit != nil {
		t.roleUnit = unit("role_unit", r.roleUnit)
	}
	now, known := u.state(r.env.id).Teams[t.id]
	known = known && now.ManagedBy == access.ByMapping
	if err == nil && strings.TrimSpace(want.Name) == "" {
		err = fmt.Errorf("its name is empty")
	}
	if err == nil {
		err = checkID(string(t.id))
	}
	for _, role := range r.roles {
		if err == nil {
			err = checkID(string(t.assignment(role.ID)))
		}
	}
	if err == nil && known && now.Type != kind {
		err = fmt.Errorf("the group's kind has changed, and a team's type cannot (Rule TEAM-1): delete the team first")
	}
	if err == nil {
		t.want = want
		return t
	}
	t.held = true
	text := fmt.Sprintf("rule %q cannot judge this group: %v", r.name, err)
	_, unitStays := r.env.units[now.BusinessUnit]
	if known && unitStays {
		t.want, t.roleUnit = now, now.BusinessUnit
		text += "; the team stays as is, with the members that it has in the directory"
	} else {
		text += "; no team is made of it"
	}
	t.why = Finding{Kind: CannotJudge, Environment: r.env.id, Rule: r.name, Source: s.id, Object: m.ID, Name: m.Name(), Text: text}
	return t
}

func (t *team) topic(kind FindingKind) topic {
	return topic{kind, t.world.id, t.source.id, string(t.id)}
}

// exists tells whether the team is wanted at all: one that is held and was never
// there is not.
func (t *team) exists() bool { return t.want.ID != "" }

func sameTeam(a, b access.Team) bool {
	if a.Group == nil || b.Group == nil {
		return false
	}
	link := *a.Group == *b.Group
	a.Group, b.Group = nil, nil
	return link && a == b
}

func (u *update) replaceTeams(g *group, wanted []*team) {
	for _, old := range slices.Clone(g.teams) {
		i := slices.IndexFunc(wanted, func(t *team) bool { return t.world == old.world && t.id == old.id })
		switch {
		case i < 0:
			u.removeTeam(g, old)
		case !old.exists() || !wanted[i].exists() || wanted[i].rule.nested != old.rule.nested:
			// Made anew below: what belongs to its members differs.
			u.removeTeam(g, old)
		default:
			u.changeTeam(old, wanted[i])
		}
	}
	for _, t := range wanted {
		if slices.ContainsFunc(g.teams, func(o *team) bool { return o.world == t.world && o.id == t.id }) {
			continue
		}
		u.addTeam(g, t)
	}
}

// addTeam takes the team up. One that is not to exist is only told of.
func (u *update) addTeam(g *group, t *team) {
	if t.held {
		u.findings.set(t.topic(CannotJudge), t.why)
		t.world.heldTeams.add(t)
	}
	u.matches[t.rule.name]++
	g.teams = append(g.teams, t)
	if !t.exists() {
		return
	}
	t.world.teams[t.id] = t
	t.expansion = &expansion{root: node{t.source, t.group}, nested: t.rule.nested, members: map[*account]*step{}, team: t}
	if t.rule.membership == access.OwnersOnly {
		t.expansion.relation = directory.Owner
	}
	u.expand.add(t.expansion)
	u.openName(t)
	u.teams.add(t)
	u.teamsOfGroupChanged(t)
}

func (u *update) changeTeam(t, to *team) {
	if !t.held && !to.held && t.rule == to.rule && t.roleUnit == to.roleUnit && sameTeam(t.want, to.want) {
		return
	}
	u.matches[t.rule.name]--
	u.matches[to.rule.name]++
	if t.rule.name != to.rule.name {
		for a := range t.expansion.members { // their origin names the rule
			if p := a.person(t.world); p != nil {
				u.markMembership(t, p.want.ID)
			}
		}
	}
	delete(t.world.heldTeams, t)
	u.findings.set(t.topic(CannotJudge))
	u.closeName(t)
	t.rule, t.want, t.held, t.why, t.roleUnit = to.rule, to.want, to.held, to.why, to.roleUnit
	if t.held {
		u.findings.set(t.topic(CannotJudge), t.why)
		t.world.heldTeams.add(t)
	}
	u.openName(t)
	u.teams.add(t)
}

func (u *update) removeTeam(g *group, t *team) {
	u.matches[t.rule.name]--
	g.teams = slices.DeleteFunc(g.teams, func(o *team) bool { return o == t })
	delete(t.world.heldTeams, t)
	for _, kind := range [...]FindingKind{CannotJudge, NameTaken, Outside, RoleOutside, EmptyGroup, Strangers} {
		u.findings.set(t.topic(kind))
	}
	if !t.exists() {
		return
	}
	for a := range t.expansion.members {
		u.setMember(t.expansion, a, nil)
	}
	u.dropExpansion(t.expansion)
	for _, id := range t.assignments {
		delete(t.world.assignments, id)
		u.mark(t.world.id, access.KindAssignment, string(id))
	}
	u.mark(t.world.id, access.KindTeam, string(t.id))
	u.closeName(t)
	delete(t.world.teams, t.id)
	delete(u.teams, t)
	u.teamsOfGroupChanged(t)
}

// teamsOfGroupChanged judges again the members of a group that gates count, or
// no longer count, because of a team (Rule ESG-2).
func (u *update) teamsOfGroupChanged(t *team) {
	for _, gate := range t.world.gates {
		x := gate.expansion
		if gate.source != t.source || gate.nested != NestedTeam || x == nil || x.root.id == t.group || x.steps[node{t.source, t.group}] == nil {
			continue
		}
		u.view.Members(t.source.id, t.group, directory.Member, func(id directory.ObjectID) bool {
			if a := t.source.accounts[id]; a != nil {
				u.judge.add(judgement{x, a})
			}
			return true
		})
	}
}

func (u *update) setGroupAlso(g *group, also []*teamRule) {
	for _, r := range g.also {
		u.matches[r.name]--
	}
	for _, r := range also {
		u.matches[r.name]++
	}
	g.also = also
}

func (u *update) findSecondForGroup(s *source, g *group, m *matchable, kind access.TeamType) {
	var list []Finding
	for _, r := range g.also {
		i := slices.IndexFunc(g.teams, func(t *team) bool {
			return t.world.environment == r.env && t.rule.membership == r.membership
		})
		first := g.teams[i]
		if first.held {
			continue
		}
		_, err := u.matchGroup(r, m)
		other := u.makeTeam(s, r, m, kind, err)
		other.want.Origin.Rule = first.want.Origin.Rule
		if other.held || other.roleUnit != first.roleUnit || !sameTeam(other.want, first.want) || !slices.EqualFunc(r.roles, first.rule.roles, func(a, b access.Role) bool { return a.ID == b.ID }) {
			list = append(list, Finding{
				Kind: SecondRule, Environment: r.env.id, Rule: r.name, Source: s.id, Object: g.id, Name: g.name,
				Text: fmt.Sprintf("rule %q matches too, and would give something else than rule %q, which comes first and wins", r.name, first.rule.name),
			})
		}
	}
	u.findings.set(topic{kind: SecondRule, source: s.id, key: "group:" + string(g.id)}, list...)
}

func (u *update) findUnmappable(s *source, o *directory.Object, r *teamRule) {
	t := topic{kind: GroupKind, source: s.id, key: string(o.ID)}
	if r == nil {
		u.findings.set(t)
		return
	}
	u.findings.set(t, Finding{
		Kind: GroupKind, Environment: r.env.id, Rule: r.name, Source: s.id, Object: o.ID, Name: o.Name(),
		Text: fmt.Sprintf("a group of kind %q cannot become a team: only security groups and Microsoft 365 groups can", o.Get(directory.AttrGroupKind)),
		Hint: "narrow the rule, or make it a security group",
	})
}

// findPaused tells of a group whose members the directory does not keep up to date.
func (u *update) findPaused(s *source, o *directory.Object, g *group) {
	var list []Finding
	if o.Get(directory.AttrRuleState) == "Paused" {
		for _, t := range g.teams {
			list = append(list, Finding{
				Kind: PausedGroup, Environment: t.world.environment.id, Rule: t.rule.name, Source: s.id, Object: o.ID, Name: o.Name(),
				Text: "the directory's own rule for who is in the group is paused: its members are those of then",
				Hint: "let the directory go on with the rule, or make the group one of assigned members",
			})
		}
	}
	u.findings.set(topic{kind: PausedGroup, source: s.id, key: string(o.ID)}, list...)
}

// dropExpansion forgets the steps; its members must be gone.
func (u *update) dropExpansion(x *expansion) {
	for n := range x.steps {
		without(n.source.expansions, n.id, x)
	}
	x.steps = nil
	delete(u.expand, x)
}

func (u *update) expandAndJudge() {
	for _, w := range u.worlds {
		for _, g := range w.gates {
			u.settleRoot(g)
		}
	}
	for x := range u.expand {
		u.expandWhole(x)
	}
	for j := range u.judge {
		if _, done := u.expand[j.expansion]; !done && j.expansion.steps != nil {
			u.setMember(j.expansion, j.account, u.find(j.expansion, j.account))
		}
	}
}

// expandWhole finds the steps and members of an expansion anew. A group is
// visited once, so that cycles end (Rule SRC-7).
func (u *update) expandWhole(x *expansion) {
	for n := range x.steps {
		without(n.source.expansions, n.id, x)
	}
	x.steps = map[node]*step{}
	var queue []*step
	visit := func(n node, path string) {
		s := &step{group: n, order: len(queue), path: path}
		x.steps[n] = s
		n.source.expansions[n.id] = append(n.source.expansions[n.id], x)
		queue = append(queue, s)
	}
	visit(x.root, "")
	members := make(map[*account]*step, len(x.members))
	x.strangers = nil
	var s *step
	var counts bool
	take := func(n node) {
		if a := n.source.accounts[n.id]; a != nil {
			if _, known := members[a]; !known && counts && x.accepts(a) {
				members[a] = s
			}
			return
		}
		if !x.nested || x.steps[n] != nil {
			return
		}
		if o, ok := u.view.Object(n.source.id, n.id); ok && o.Kind == directory.KindGroup {
			path := o.Name()
			if n.source != x.root.source {
				path = fmt.Sprintf("%s (%s)", path, n.source.id)
			}
			if s.path != "" {
				path = s.path + access.PathSeparator + path
			}
			visit(n, path)
		}
	}
	for i := 0; i < len(queue); i++ {
		s = queue[i]
		counts = x.counts(s)
		from := s.group.source
		u.view.Members(from.id, s.group.id, x.relation, func(id directory.ObjectID) bool {
			if who := from.identities[id]; !who.standIn {
				take(node{from, id})
			} else if x.gate == nil { // a gate is about the people of its own source
				meant := u.sids.meant(node{from, id})
				for _, n := range meant {
					take(n)
				}
				if len(meant) == 0 {
					x.strangers = append(x.strangers, who.sid)
				}
			}
			return true
		})
	}
	x.strangers = distinct(x.strangers)
	if x.team != nil {
		u.teams.add(x.team) // the strangers are told of
	}
	old := x.members
	x.members = members
	for a, s := range old {
		if members[a] == nil {
			u.memberChanged(x, a, s, nil)
		}
	}
	for a, s := range members {
		u.memberChanged(x, a, old[a], s)
	}
}

// find returns the first step that has the account, or nil.
func (u *update) find(x *expansion, a *account) (first *step) {
	if !x.accepts(a) {
		return nil
	}
	in := func(n node) {
		u.view.MemberOf(n.source.id, n.id, x.relation, func(g directory.ObjectID) bool {
			if s := x.steps[node{n.source, g}]; s != nil && (first == nil || s.order < first.order) && x.counts(s) {
				first = s
			}
			return true
		})
	}
	in(node{a.source, a.id})
	if x.gate == nil {
		for _, n := range u.sids.standIns(node{a.source, a.id}) {
			in(n)
		}
	}
	return first
}

// setMember makes the account a member through a step, or none if that is nil.
func (u *update) setMember(x *expansion, a *account, s *step) {
	old := x.members[a]
	switch {
	case s == nil && old == nil:
		return
	case s == nil:
		delete(x.members, a)
	default:
		x.members[a] = s
	}
	u.memberChanged(x, a, old, s)
}

// memberChanged follows up on a member who came (old is nil), went (s is nil) or
// may come through another step.
func (u *update) memberChanged(x *expansion, a *account, old, s *step) {
	switch {
	case s == nil:
		a.in = slices.DeleteFunc(a.in, func(o *expansion) bool { return o == x })
	case old == nil:
		a.in = append(a.in, x)
	}
	if x.gate != nil {
		if p := a.person(x.gate.world); p != nil {
			u.resettle(p)
		}
		return
	}
	u.teams.add(x.team)
	p := a.person(x.team.world)
	if p == nil || !p.in {
		switch {
		case s == nil:
			x.team.outside--
		case old == nil:
			x.team.outside++
		}
	}
	if p != nil && (s == nil || old == nil || old.path != s.path) {
		u.markMembership(x.team, p.want.ID)
	}
}

func (t *team) membership(p *person, s *step) access.Membership {
	path := s.path
	if p.source != s.group.source { // the group names the person by SID
		if path != "" {
			path += access.PathSeparator
		}
		path += p.source.identities[p.account.id].sid
	}
	return access.Membership{
		Environment: t.world.id, Team: t.id, User: p.want.ID, ManagedBy: access.ByMapping,
		Origin: access.Origin{Rule: t.rule.name, Source: string(t.source.id), Object: string(t.group), Path: path},
	}
}

func (t *team) nameKey() teamName { return teamName{t.want.BusinessUnit, access.Fold(t.want.Name)} }

func (u *update) openName(t *team) {
	k := t.nameKey()
	t.world.names[k] = append(t.world.names[k], t)
	u.reopenNames(t, k)
}

// reopenNames has a name decided again, and the one that the team has now:
// whether that is free depends on whether the team stays.
func (u *update) reopenNames(t *team, k teamName) {
	t.world.openNames[k] = struct{}{}
	if now, ok := u.state(t.world.id).Teams[t.id]; ok {
		t.world.openNames[teamName{now.BusinessUnit, access.Fold(now.Name)}] = struct{}{}
	}
}

func (u *update) closeName(t *team) {
	k := t.nameKey()
	without(t.world.names, k, t)
	u.reopenNames(t, k)
	u.findings.set(t.topic(NameTaken))
}

// settleNames decides which team has which name in its unit (Rule TEAM-9). Who
// has a name keeps it; of several new ones the first by id gets it.
func (u *update) settleNames() {
	for _, w := range u.worlds {
		if len(w.openNames) == 0 {
			continue
		}
		state := u.state(w.id)
		open := map[teamName]struct{}{}
		for k := range w.openNames {
			if u.settleName(w, state, k) {
				open[k] = struct{}{}
			}
		}
		w.openNames = open
	}
}

func (u *update) settleName(w *world, state *access.State, k teamName) (open bool) {
	claims := w.names[k]
	if len(claims) == 0 {
		return false
	}
	holder, taken := state.TeamByName(k.unit, k.name)
	by := fmt.Sprintf("team %s has it", holder.ID)
	i := slices.IndexFunc(claims, func(t *team) bool { return t.id == holder.ID })
	switch {
	case access.Fold(w.units[k.unit].Name) == k.name:
		taken, i, by = true, -1, "the business unit's default team has it"
	case taken && i < 0 && holder.ManagedBy == access.ByMapping && w.teams[holder.ID] == nil:
		taken = false // whoever has it is about to go
	}
	if !taken {
		first := slices.MinFunc(claims, func(a, b *team) int { return compareTeams(a, b) })
		i, by = slices.Index(claims, first), fmt.Sprintf("team %s claims it too", first.id)
	}
	for j, t := range claims {
		u.teams.add(t)
		_, known := state.Teams[t.id]
		next := t.want
		if j == i {
			open = open || !known
			u.findings.set(t.topic(NameTaken))
		} else {
			open = true
			next.Name = fmt.Sprintf("%s (%s)", t.want.Name, t.id)
			u.findings.set(t.topic(NameTaken), Finding{
				Kind: NameTaken, Environment: w.id, Rule: t.rule.name, Source: t.source.id, Object: t.group, Name: t.want.Name,
				Text: fmt.Sprintf("the name %q is taken in its business unit: %s; the team is called %q", t.want.Name, by, next.Name),
				Hint: "give the rule a name, such as name: '{{ group.name }} (directory)'",
			})
		}
		if !sameTeam(next, t.desired) {
			t.desired = next
			u.mark(w.id, access.KindTeam, string(t.id))
		}
	}
	return open
}

func compareTeams(a, b *team) int {
	switch {
	case a.id < b.id:
		return -1
	case a.id > b.id:
		return 1
	}
	return 0
}

func (t *team) assignment(role access.RoleID) access.AssignmentID {
	return access.AssignmentID(string(t.id) + "#" + string(role))
}

// settleTeam brings the team's assignments and findings up to date.
func (u *update) settleTeam(t *team) {
	env := t.world.environment
	finding := func(kind FindingKind, count int, text string) Finding {
		return Finding{Kind: kind, Environment: env.id, Rule: t.rule.name, Source: t.source.id, Object: t.group, Name: t.want.Name, Count: count, Text: text}
	}
	var ids []access.AssignmentID
	var outside []Finding
	for _, role := range t.rule.roles {
		if !env.within(t.roleUnit, role.BusinessUnit) {
			outside = append(outside, finding(RoleOutside, 0, fmt.Sprintf("the team does not get role %q: that is defined in business unit %q and does not exist in %q (Rule ROLE-2)",
				role.Name, env.units[role.BusinessUnit].Name, env.units[t.roleUnit].Name)))
			continue
		}
		a := access.Assignment{
			Environment: env.id, ID: t.assignment(role.ID), Role: role.ID, Principal: t.id.Principal(),
			BusinessUnit: t.roleUnit, ManagedBy: access.ByMapping, Origin: t.want.Origin,
		}
		ids = append(ids, a.ID)
		if t.world.assignments[a.ID] != a {
			t.world.assignments[a.ID] = a
			u.mark(env.id, access.KindAssignment, string(a.ID))
		}
	}
	for _, id := range t.assignments {
		if !slices.Contains(ids, id) {
			delete(t.world.assignments, id)
			u.mark(env.id, access.KindAssignment, string(id))
		}
	}
	t.assignments = ids
	u.findings.set(t.topic(RoleOutside), outside...)
	u.findings.set(t.topic(Outside))
	u.findings.set(t.topic(EmptyGroup))
	u.findings.set(t.topic(Strangers), t.strangerFindings(finding)...)
	if t.outside > 0 {
		u.findings.set(t.topic(Outside), finding(Outside, t.outside,
			fmt.Sprintf("members of the group whom no rule places in environment %q are not in the team: %d", env.id, t.outside)))
	}
	if len(t.expansion.members) == 0 {
		u.findings.set(t.topic(EmptyGroup), finding(EmptyGroup, 0, "the group has nobody who counts for the team"))
	}
}
