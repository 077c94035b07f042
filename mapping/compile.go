package mapping

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/document"
)

// Names is what the names in a mapping file can mean.
type Names struct {
	Sources []directory.SourceID
	// Environments has every environment with its settings, business units, positions
	// and roles; nothing else of a state is read, and nothing is kept.
	Environments map[access.EnvironmentID]*access.State
}

// Rules are a mapping file's rules, checked and compiled. They do not change.
type Rules struct {
	guards       Guards
	environments []*environment // by id
	users        map[directory.SourceID][]*userRule
	teams        map[directory.SourceID][]*teamRule
	rules        []rule // in the file's order
}

// rule is what every rule has.
type rule struct {
	index  int
	name   string
	source directory.SourceID
	env    *environment
	names  []string // the attributes that its expressions name, sorted
	users  bool     // of users; otherwise of groups
	text   ruleText
}

// environment is what the rules say of one environment, with the names in it.
type environment struct {
	id             access.EnvironmentID
	gates          []gate
	requireLicence bool
	accept         map[string]bool // service plan ids
	modernized     bool
	unitNames      map[string]access.BusinessUnitID // by folded name
	units          map[access.BusinessUnitID]access.BusinessUnit
	positions      map[string]access.PositionID // by folded name
	kind           access.EnvironmentKind
	roles          map[string]access.Role // by folded name and by id
	roleNames      []string
	usersFrom      map[directory.SourceID]bool
	used           bool
}

// gate is one source's group of an environment's security group.
type gate struct {
	source directory.SourceID
	group  *pattern
	nested Nested
}

type userRule struct {
	rule
	when                      *expression
	unit                      *template
	login, fullName, mail     *template // nil for the source's own
	manager, position, person *template
	licence                   *expression
	kind, mode, application   *template   // nil for a person who reads and writes
	tenant                    *expression // tenant administrators; nil for nobody
	whenText                  string
}

type teamRule struct {
	rule
	pattern    *pattern    // or nil
	where      *expression // or nil
	whereText  string
	teamName   *template // nil for the group's own
	kind       access.TeamType
	anyKind    bool
	membership access.MembershipKind
	nested     bool
	unit       *template
	roles      []access.Role
	roleUnit   *template // or nil
}

// Guards returns how much a plan may take away.
func (r *Rules) Guards() Guards { return r.guards }

// Environments lists the environments that the rules fill, sorted.
func (r *Rules) Environments() []access.EnvironmentID {
	ids := make([]access.EnvironmentID, len(r.environments))
	for i, e := range r.environments {
		ids[i] = e.id
	}
	return ids
}

// Persons tells whether some rule says which person an account of the environment
// belongs to (Rule JIT-16).
func (r *Rules) Persons(env access.EnvironmentID) bool {
	for _, list := range r.users {
		for _, u := range list {
			if u.env.id == env && u.person != nil {
				return true
			}
		}
	}
	return false
}

// Sources lists the sources that the rules read, sorted.
func (r *Rules) Sources() []directory.SourceID {
	set := map[directory.SourceID]bool{}
	for _, rule := range r.rules {
		set[rule.source] = true
	}
	for _, e := range r.environments {
		for _, g := range e.gates {
			set[g.source] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Attributes lists the source's attributes that the rules name, sorted: what a
// connector must read.
func (r *Rules) Attributes(source directory.SourceID) []string {
	names := slices.Concat(r.named(source, true), r.named(source, false))
	slices.Sort(names)
	return slices.Compact(names)
}

// named lists the source's attributes that its rules of users, or of groups, name,
// sorted.
func (r *Rules) named(source directory.SourceID, users bool) []string {
	set := map[string]bool{}
	for _, rule := range r.rules {
		if rule.source == source && rule.users == users {
			for _, a := range rule.names {
				set[a] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Compile checks everything that the shape of the file does not show: names,
// expressions, patterns, and rules that can never have an effect. The error is
// document.Faults, with the faults that Parse found among them.
func (f *File) Compile(names Names) (*Rules, error) {
	cels, err := newEnvironments()
	if err != nil {
		return nil, fmt.Errorf("set up the expression language: %w", err)
	}
	c := &compiler{
		file: f, names: names, cels: cels, faults: slices.Clone(f.faults),
		environments: map[access.EnvironmentID]*environment{},
		rules: &Rules{
			guards: f.text.Guards,
			users:  map[directory.SourceID][]*userRule{},
			teams:  map[directory.SourceID][]*teamRule{},
		},
	}
	c.compileEnvironments()
	c.compileRules()
	c.findDead()
	c.checkGuarded()
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	return c.rules, nil
}

type compiler struct {
	file         *File
	names        Names
	cels         environments
	faults       document.Faults
	environments map[access.EnvironmentID]*environment
	rules        *Rules
	paths        []string // of the rules, by index
}

func (c *compiler) fault(path, problem, hint string) {
	c.faults = append(c.faults, c.file.doc.Fault(path, problem, hint))
}

func (c *compiler) keyFault(path, problem, hint string) {
	c.faults = append(c.faults, c.file.doc.KeyFault(path, problem, hint))
}

func (c *compiler) compileEnvironments() {
	for _, id := range slices.Sorted(maps.Keys(c.file.text.Environments)) {
		text := c.file.text.Environments[id]
		path := document.Child("$.environments", string(id))
		state, ok := c.names.Environments[id]
		if !ok {
			c.keyFault(path, fmt.Sprintf("unknown environment %q", id), document.DidYouMean(string(id), c.environmentNames()))
			// The rules that name it shall not be faults too.
			state = nil
		}
		e := newEnvironment(id, state)
		c.environments[id] = e
		c.rules.environments = append(c.rules.environments, e)
		if text.Licences != nil {
			e.requireLicence = true
			for i, plan := range text.Licences.Accept {
				e.accept[c.plan(plan, document.Index(path+".licences.accept", i))] = true
			}
		}
		if len(text.SecurityGroup) > 0 && (e.kind == access.Developer || e.kind == access.DefaultEnvironment) {
			c.keyFault(document.Child(path, "security_group"), fmt.Sprintf("environment %q is of kind %s and cannot have a security group: everybody gets in there", id, e.kind),
				"remove the line, or make the environment of another kind (Rule ESG-5)")
		}
		for i, g := range text.SecurityGroup {
			c.compileGate(e, g, document.Index(document.Child(path, "security_group"), i))
		}
	}
}

func newEnvironment(id access.EnvironmentID, state *access.State) *environment {
	e := &environment{
		id: id, accept: map[string]bool{}, usersFrom: map[directory.SourceID]bool{},
		unitNames: map[string]access.BusinessUnitID{}, units: map[access.BusinessUnitID]access.BusinessUnit{},
		roles: map[string]access.Role{}, positions: map[string]access.PositionID{},
	}
	if state == nil {
		return e
	}
	e.modernized, e.kind = state.Environment.Modernized, state.Environment.Kind
	for positionID, p := range state.Positions {
		e.positions[access.Fold(p.Name)] = positionID
	}
	for unitID, u := range state.BusinessUnits {
		e.units[unitID] = u
		e.unitNames[access.Fold(u.Name)] = unitID
	}
	for roleID, r := range state.Roles {
		e.roles[string(roleID)] = r
	}
	for _, r := range state.Roles {
		e.roles[access.Fold(r.Name)] = r
		e.roleNames = append(e.roleNames, r.Name)
	}
	return e
}

// unit finds a business unit by name or id.
func (e *environment) unit(name string) (access.BusinessUnitID, bool) {
	if id, ok := e.unitNames[access.Fold(name)]; ok {
		return id, true
	}
	_, ok := e.units[access.BusinessUnitID(name)]
	return access.BusinessUnitID(name), ok
}

// position finds a position by name; what is the name of none is taken as an id.
func (e *environment) position(name string) access.PositionID {
	if id, ok := e.positions[access.Fold(name)]; ok {
		return id
	}
	return access.PositionID(name)
}

// within tells whether a role that is defined at top exists in unit (Rule ROLE-2).
func (e *environment) within(unit, top access.BusinessUnitID) bool {
	for range len(e.units) + 1 {
		if unit == top {
			return true
		}
		if unit = e.units[unit].Parent; unit == "" {
			return false
		}
	}
	return false
}

// known tells whether the environment's names are there to be compared with.
func (e *environment) known() bool { return len(e.units) > 0 }

func (e *environment) unitList() []string {
	var names []string
	for _, u := range e.units {
		names = append(names, u.Name)
	}
	return names
}

func (c *compiler) environmentNames() []string {
	var names []string
	for id := range c.names.Environments {
		names = append(names, string(id))
	}
	return names
}

func (c *compiler) compileGate(e *environment, text gateText, path string) {
	c.checkSource(text.Source, document.Child(path, "source"))
	for _, g := range e.gates {
		if g.source == text.Source {
			c.fault(document.Child(path, "source"), fmt.Sprintf("a second security group of source %q", text.Source),
				"one for each source: make a group of groups there, and set nested: all")
		}
	}
	if text.Group == "" {
		return
	}
	p, err := parsePattern(text.Group)
	at := document.Child(path, "group")
	switch {
	case err != nil:
		c.fault(at, err.Error(), "")
		return
	case p.captures() > 0 || p.below:
		c.fault(at, "a security group is one group: it cannot have wildcards", `name it whole, or by "id:…"`)
		return
	}
	e.gates = append(e.gates, gate{text.Source, p, text.Nested})
}

func (c *compiler) checkSource(id directory.SourceID, path string) {
	if id == "" || slices.Contains(c.names.Sources, id) {
		return
	}
	var among []string
	for _, s := range c.names.Sources {
		among = append(among, string(s))
	}
	c.fault(path, fmt.Sprintf("unknown source %q", id), document.DidYouMean(string(id), among))
}

func (c *compiler) compileRules() {
	first := map[string]bool{}
	for i, text := range c.file.text.Rules {
		path := document.Index("$.rules", i)
		c.paths = append(c.paths, path)
		if first[text.Name] && text.Name != "" {
			c.fault(document.Child(path, "name"), fmt.Sprintf("a second rule named %q", text.Name), "explanations name the rule: give each its own")
		}
		first[text.Name] = true
		c.checkSource(text.Match.Source, document.Child(document.Child(path, "match"), "source"))
		r := rule{index: i, name: text.Name, source: text.Match.Source, text: text}
		m := text.Match
		matched := c.file.doc.Has(document.Child(path, "match")) // else Parse has said so
		switch {
		case text.Team == nil && text.User == nil:
			c.fault(path, "the rule makes nothing", "add team: or user:")
		case text.Team != nil && text.User != nil:
			c.keyFault(document.Child(path, "user"), "a rule makes teams or places users, not both", "make it two rules")
		case text.Team != nil:
			if matched && (m.Users != nil || m.Group == nil && m.Where == nil) {
				c.fault(document.Child(path, "match"), "a rule with team: matches groups", "give match.group (a name or DN, with * for anything) or match.where, and no match.users")
			}
			r.env = c.environment(text.Team.Environment, document.Child(path, "team"))
			c.compileTeam(r, text, path)
		default:
			if matched && (m.Users == nil || m.Group != nil || m.Where != nil) {
				c.fault(document.Child(path, "match"), "a rule with user: matches users", "give match.users (\"true\" for all), and no match.group or match.where")
			}
			r.env = c.environment(text.User.Environment, document.Child(path, "user"))
			r.users = true
			c.compileUser(r, text, path)
		}
	}
}

// environment finds the environment that a rule names; an unknown one is a fault
// and an empty stand-in.
func (c *compiler) environment(id access.EnvironmentID, path string) *environment {
	if e, ok := c.environments[id]; ok {
		e.used = true
		return e
	}
	if id != "" {
		hint := fmt.Sprintf("list it under environments: %s: {}", id)
		if _, ok := c.names.Environments[id]; !ok {
			hint = document.DidYouMean(string(id), c.environmentNames())
		}
		c.fault(document.Child(path, "environment"), fmt.Sprintf("environment %q is not among the file's environments", id), hint)
	}
	return newEnvironment(id, nil)
}

// fields collects what compiling a rule's expressions and templates finds.
type fields struct {
	c          *compiler
	path       string
	cel        *cel.Env
	wildcards  int
	attributes map[string]bool
}

func (f *fields) fault(key string, faults []expressionFault) {
	at := document.Child(f.path, key)
	for _, x := range faults {
		f.c.faults = append(f.c.faults, f.c.file.doc.FaultWithin(at, x.line, x.column, x.problem, x.hint))
	}
}

func (f *fields) condition(key string, text *string) *expression {
	if text == nil {
		return nil
	}
	e, faults := compile(f.cel, *text, types.BoolType, f.wildcards)
	f.fault(key, faults)
	if e == nil {
		return nil
	}
	f.add(e)
	if e.constant {
		if yes, err := e.bool(&activation{}); err == nil && !yes {
			f.c.fault(document.Child(f.path, key), "the condition is never true", "")
		}
	}
	return e
}

func (f *fields) template(key string, text *string) *template {
	if text == nil {
		return nil
	}
	t, faults := parseTemplate(f.cel, *text, f.wildcards)
	f.fault(key, faults)
	if t != nil {
		for _, p := range t.parts {
			if p.expression != nil {
				f.add(p.expression)
			}
		}
	}
	return t
}

func (f *fields) add(e *expression) {
	for _, a := range e.attributes {
		f.attributes[a] = true
	}
}

func (f *fields) names() []string { return slices.Sorted(maps.Keys(f.attributes)) }

// unit checks a business unit that is written out.
func (f *fields) unit(e *environment, key string, t *template) {
	if t == nil || !e.known() {
		return
	}
	name, ok := t.literal()
	if !ok || name == "" && !f.c.file.doc.Has(document.Child(f.path, key)) {
		return
	}
	if _, ok := e.unit(name); ok {
		return
	}
	hint := document.DidYouMean(name, e.unitList())
	if strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "group.") || strings.HasPrefix(name, "capture") {
		hint = fmt.Sprintf("for its value write '{{ %s }}'", name)
	}
	f.c.fault(document.Child(f.path, key), fmt.Sprintf("unknown business unit %q in environment %q", name, e.id), hint)
}

func (c *compiler) compileUser(r rule, text ruleText, path string) {
	u := text.User
	f := &fields{c: c, cel: c.cels.user, wildcards: -1, attributes: map[string]bool{}}
	out := &userRule{}
	f.path = document.Child(path, "match")
	out.when = f.condition("users", text.Match.Users)
	if text.Match.Users != nil {
		out.whenText = strings.TrimSpace(*text.Match.Users)
	}
	f.path = document.Child(path, "user")
	out.unit = f.template("business_unit", &u.BusinessUnit)
	f.unit(r.env, "business_unit", out.unit)
	out.login = f.template("login", u.Login)
	out.fullName = f.template("name", u.Name)
	out.mail = f.template("mail", u.Mail)
	out.manager = f.template("manager", u.Manager)
	out.position = f.template("position", u.Position)
	out.person = f.template("person", u.Person)
	out.licence = f.condition("licence", u.Licence)
	out.kind = f.template("kind", u.Kind)
	checkLiteral(f, "kind", out.kind, new(access.UserKind))
	out.mode = f.template("access_mode", u.AccessMode)
	checkLiteral(f, "access_mode", out.mode, new(access.AccessMode))
	out.application = f.template("application", u.Application)
	out.tenant = f.condition("tenant_administrator", u.Tenant)
	if r.env.requireLicence && len(r.env.accept) == 0 && u.Licence == nil && u.Kind == nil && u.AccessMode == nil {
		c.fault(f.path, fmt.Sprintf("environment %q asks for a licence and accepts none: nobody of this rule could have one", r.env.id),
			"list plans under licences.accept, or say here who is licensed: licence: …")
	}
	if len(r.env.gates) > 0 && u.Kind == nil && u.Tenant == nil && !slices.ContainsFunc(r.env.gates, func(g gate) bool { return g.source == r.source }) {
		c.fault(f.path, fmt.Sprintf("environment %q admits members of its security group only, and has none of source %q: nobody of this rule could get in", r.env.id, r.source),
			"security_group can be a list, with one group for each source")
	}
	r.env.usersFrom[r.source] = true
	r.names = f.names()
	out.rule = r
	c.rules.rules = append(c.rules.rules, r)
	c.rules.users[r.source] = append(c.rules.users[r.source], out)
}

// checkLiteral reports a text without holes that is none of the names of v's type.
func checkLiteral(f *fields, key string, t *template, v encoding.TextUnmarshaler) {
	if t == nil {
		return
	}
	if text, ok := t.literal(); ok {
		if err := v.UnmarshalText([]byte(text)); err != nil {
			f.c.fault(document.Child(f.path, key), err.Error(), "")
		}
	}
}

func (c *compiler) compileTeam(r rule, text ruleText, path string) {
	t := text.Team
	out := &teamRule{anyKind: t.Type == nil, membership: t.Membership, nested: t.Nested}
	if t.Type != nil {
		out.kind = access.TeamType(*t.Type)
	}
	f := &fields{c: c, cel: c.cels.group, wildcards: -1, attributes: map[string]bool{}}
	f.path = document.Child(path, "match")
	if text.Match.Group != nil {
		p, err := parsePattern(*text.Match.Group)
		if err != nil {
			c.fault(document.Child(f.path, "group"), err.Error(), "")
			p = &pattern{}
		}
		out.pattern = p
		f.cel, f.wildcards = c.cels.captures, p.captures()
		if err != nil {
			f.wildcards = 9 // how many there are meant to be is not known
		}
	}
	out.where = f.condition("where", text.Match.Where)
	if text.Match.Where != nil {
		out.whereText = strings.TrimSpace(*text.Match.Where)
	}
	f.path = document.Child(path, "team")
	out.teamName = f.template("name", t.Name)
	out.unit = f.template("business_unit", &t.BusinessUnit)
	f.unit(r.env, "business_unit", out.unit)
	out.roleUnit = f.template("role_unit", t.RoleUnit)
	f.unit(r.env, "role_unit", out.roleUnit)
	if t.Nested && t.Membership == access.OwnersOnly {
		c.fault(document.Child(f.path, "nested"), "owners are not nested", "remove the line")
	}
	if t.RoleUnit != nil && r.env.known() && !r.env.modernized {
		c.keyFault(document.Child(f.path, "role_unit"), fmt.Sprintf("in environment %q a team's roles are in the team's own business unit (Rule BU-8)", r.env.id),
			"remove the line, or make the environment modernized")
	}
	out.roles = c.compileRoles(r.env, t, out, f.path)
	r.names = f.names()
	out.rule = r
	c.rules.rules = append(c.rules.rules, r)
	c.rules.teams[r.source] = append(c.rules.teams[r.source], out)
}

func (c *compiler) compileRoles(e *environment, t *teamText, rule *teamRule, path string) []access.Role {
	var roles []access.Role
	for i, name := range t.Roles {
		at := document.Index(document.Child(path, "roles"), i)
		role, ok := e.roles[access.Fold(name)]
		if !ok {
			role, ok = e.roles[name]
		}
		switch {
		case name == "" || !e.known():
			continue
		case !ok:
			c.fault(at, fmt.Sprintf("unknown role %q in environment %q", name, e.id), document.DidYouMean(name, e.roleNames))
			continue
		case slices.ContainsFunc(roles, func(r access.Role) bool { return r.ID == role.ID }):
			c.fault(at, fmt.Sprintf("role %q is listed twice", name), "")
			continue
		}
		roles = append(roles, role)
		unit := cmp.Or(rule.roleUnit, rule.unit)
		if unit == nil {
			continue
		}
		if literal, ok := unit.literal(); ok {
			if id, ok := e.unit(literal); ok && !e.within(id, role.BusinessUnit) {
				c.fault(at, fmt.Sprintf("role %q does not exist in business unit %q: it is defined in %q and exists there and below (Rule ROLE-2)",
					role.Name, e.units[id].Name, e.units[role.BusinessUnit].Name), "")
			}
		}
	}
	slices.SortFunc(roles, func(a, b access.Role) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return roles
}

// findDead finds what can never have an effect, as far as the file shows it.
func (c *compiler) findDead() {
	for _, e := range c.rules.environments {
		path := document.Child("$.environments", string(e.id))
		if !e.used {
			c.keyFault(path, fmt.Sprintf("no rule fills environment %q", e.id), "remove it, or add a rule that places users in it")
			continue
		}
		for i, g := range e.gates {
			if !e.usersFrom[g.source] {
				c.fault(document.Index(document.Child(path, "security_group"), i),
					fmt.Sprintf("the group admits nobody: no rule places users of source %q in environment %q", g.source, e.id), "")
			}
		}
	}
	for _, source := range slices.Sorted(maps.Keys(c.rules.users)) {
		rules := c.rules.users[source]
		for i, r := range rules {
			for _, before := range rules[:i] {
				if r.whenText != "" && before.env == r.env && (before.whenText == r.whenText || before.alwaysTrue()) {
					c.shadowed(r.rule, before.rule, "users")
					break
				}
			}
		}
	}
	for _, source := range slices.Sorted(maps.Keys(c.rules.teams)) {
		rules := c.rules.teams[source]
		for i, r := range rules {
			if !r.env.usersFrom[source] && r.env.known() && slices.Contains(c.names.Sources, source) {
				c.fault(c.paths[r.index], fmt.Sprintf("the rule's teams would never have a member: no rule places users of source %q in environment %q", source, r.env.id), "add a rule with user:")
			}
			for _, before := range rules[:i] {
				if before.covers(r) {
					c.shadowed(r.rule, before.rule, "groups")
					break
				}
			}
		}
	}
}

func (c *compiler) shadowed(r, before rule, what string) {
	c.fault(c.paths[r.index], fmt.Sprintf("rule %q has no effect: rule %q before it takes all its %s", r.name, before.name, what),
		"the first rule that matches wins: remove this one, or put it first")
}

func (r *userRule) alwaysTrue() bool {
	if r.when == nil || !r.when.constant {
		return false
	}
	yes, err := r.when.bool(&activation{})
	return err == nil && yes
}

// covers tells whether r takes every group that later could, for the same teams.
func (r *teamRule) covers(later *teamRule) bool {
	if r.env != later.env || r.membership != later.membership || !r.anyKind && (later.anyKind || r.kind != later.kind) {
		return false
	}
	if r.whereText != "" && r.whereText != later.whereText {
		return false
	}
	switch {
	case r.pattern == nil:
		return true
	case later.pattern == nil || r.pattern.text == "" || later.pattern.text == "":
		return false
	}
	return r.pattern.covers(later.pattern)
}

func (c *compiler) checkGuarded() {
	if len(c.names.Environments) == 0 {
		return
	}
	var all []string
	known := map[string]bool{}
	for _, s := range c.names.Environments {
		for id, r := range s.Roles {
			all = append(all, r.Name)
			known[access.Fold(r.Name)], known[string(id)] = true, true
		}
	}
	for path, names := range map[string][]string{
		"$.guards.protected.roles": c.file.text.Guards.Protected.Roles, "$.guards.privileged.roles": c.file.text.Guards.Privileged.Roles,
	} {
		for i, name := range names {
			if c.file.doc.Has(path) && !known[access.Fold(name)] && !known[name] {
				c.fault(document.Index(path, i), fmt.Sprintf("unknown role %q", name), document.DidYouMean(name, all))
			}
		}
	}
}
