package model

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
)

// The YAML form of a model file; the package's documentation is its reference.
type (
	file struct {
		Environments map[access.EnvironmentID]environment `yaml:"environments,required"`
	}
	environment struct {
		Name          string                                 `yaml:"name"`
		Settings      settings                               `yaml:"settings"`
		BusinessUnits map[string]unit                        `yaml:"business_units"`
		Tables        map[access.TableID]table               `yaml:"tables"`
		Relationships map[access.RelationshipID]relationship `yaml:"relationships"`
		Templates     map[string]template                    `yaml:"access_team_templates"`
		Positions     map[string]position                    `yaml:"positions"`
		Roles         map[string]role                        `yaml:"roles"`
		Profiles      map[string]profile                     `yaml:"column_profiles"`
		Teams         map[string]team                        `yaml:"teams"`
		Assignments   []assigned                             `yaml:"assignments"`
	}
	settings struct {
		Modernized        bool                   `yaml:"record_ownership_across_business_units"`
		MoveRecords       *bool                  `yaml:"always_move_record_to_owner_business_unit"`
		KeepRoles         bool                   `yaml:"do_not_remove_roles_on_change_business_unit"`
		ShareWithPrevious bool                   `yaml:"share_reassigned_with_previous_owner"`
		Kind              access.EnvironmentKind `yaml:"kind"`
		PerAppPlan        bool                   `yaml:"per_app_plan"`
		Templates         int                    `yaml:"templates_per_table"`
		NonInteractive    int                    `yaml:"non_interactive_users"`
		Hierarchy         *hierarchy             `yaml:"hierarchy"`
	}
	hierarchy struct {
		Model           access.HierarchyModel `yaml:"model,required"`
		Depth           int                   `yaml:"depth,required"`
		DirectLevels    int                   `yaml:"direct_levels"`
		Except          []string              `yaml:"except"` // tables
		IncludeDisabled *bool                 `yaml:"include_disabled_reports"`
		SameUnit        *bool                 `yaml:"managers_must_be_in_same_or_parent_unit"`
	}
	unit struct {
		ID       string          `yaml:"id"`
		Disabled bool            `yaml:"disabled"`
		Units    map[string]unit `yaml:"units"`
	}
	table struct {
		Name        string            `yaml:"name"`
		Ownership   access.Ownership  `yaml:"ownership"`
		System      bool              `yaml:"system"`
		AccessTeams bool              `yaml:"access_teams"`
		Columns     map[string]column `yaml:"columns"`
	}
	column struct {
		Secured bool     `yaml:"secured"`
		Mask    *mask    `yaml:"mask"`
		From    []string `yaml:"from"`
		Open    bool     `yaml:"open"`
	}
	mask struct {
		Pattern string `yaml:"pattern,required"`
		Replace string `yaml:"replace"`
	}
	relationship struct {
		Table      string  `yaml:"table,required"`
		Parent     string  `yaml:"parent,required"`
		ManyToMany bool    `yaml:"many_to_many"`
		Cascade    cascade `yaml:"cascade"`
	}
	cascade struct {
		Assign   access.Cascade `yaml:"assign"`
		Share    access.Cascade `yaml:"share"`
		Unshare  access.Cascade `yaml:"unshare"`
		Reparent access.Cascade `yaml:"reparent"`
		Delete   access.Cascade `yaml:"delete"`
	}
	template struct {
		ID     string   `yaml:"id"`
		Table  string   `yaml:"table,required"`
		Rights []string `yaml:"rights,required"`
	}
	position struct {
		ID        string              `yaml:"id"`
		Positions map[string]position `yaml:"positions"`
	}
	profile struct {
		ID      string                            `yaml:"id"`
		Columns map[string]map[string]permissions `yaml:"columns"` // table, column
		Members []string                          `yaml:"members"` // logins
		Teams   []string                          `yaml:"teams"`
	}
	permissions struct {
		Read     bool            `yaml:"read"`
		Unmasked access.Unmasked `yaml:"unmasked"`
		Update   bool            `yaml:"update"`
		Create   bool            `yaml:"create"`
	}
	role struct {
		ID            string                       `yaml:"id"`
		BusinessUnit  string                       `yaml:"business_unit"`
		Inheritance   access.Inheritance           `yaml:"inheritance"`
		Privileges    map[string]map[string]string `yaml:"privileges"` // table, action, depth
		Miscellaneous []string                     `yaml:"miscellaneous"`
	}
	team struct {
		ID           string          `yaml:"id"`
		Type         access.TeamType `yaml:"type"`
		BusinessUnit string          `yaml:"business_unit"`
		Members      []string        `yaml:"members"` // logins
		Roles        []string        `yaml:"roles"`
	}
	assigned struct {
		Role         string  `yaml:"role,required"`
		User         string  `yaml:"user"` // a login
		Team         string  `yaml:"team"`
		BusinessUnit string  `yaml:"business_unit"`
		From         instant `yaml:"from"`
		Until        instant `yaml:"until"`
	}
	instant struct{ time.Time }
)

// UnmarshalText reads RFC 3339.
func (t *instant) UnmarshalText(b []byte) error {
	read, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return fmt.Errorf("%q is no instant: write it as 2027-01-31T17:00:00Z", b)
	}
	t.Time = access.Instant(read)
	return nil
}

func (t table) object(env access.EnvironmentID, id access.TableID) access.Table {
	name := t.Name
	if name == "" {
		name = string(id)
	}
	o := access.Table{Environment: env, ID: id, Name: name, Ownership: t.Ownership, System: t.System, AccessTeams: t.AccessTeams, ManagedBy: access.ByFile}
	for _, name := range sorted(t.Columns) {
		c := t.Columns[name]
		column := access.Column{Name: name, Secured: c.Secured, From: c.From, Open: c.Open}
		if c.Mask != nil {
			column.Mask = &access.Mask{Pattern: c.Mask.Pattern, Replace: c.Mask.Replace}
		}
		o.Columns = append(o.Columns, column)
	}
	return o
}

// Parse reads a model file. name is the file's name as faults shall show it. The
// error is document.Faults: all faults of the file.
func Parse(name string, src []byte) (*Model, error) {
	var f file
	doc, err := document.Decode(name, src, &f)
	p := &parser{doc: doc}
	if err != nil && (doc == nil || !errors.As(err, &p.faults)) {
		return nil, err
	}
	m := &Model{environments: map[access.EnvironmentID]*environmentModel{}}
	for _, id := range sorted(f.Environments) {
		m.environments[id] = p.environment(id, f.Environments[id])
	}
	if err := p.faults.Err(); err != nil {
		return nil, err
	}
	return m, nil
}

// parser turns what a file says into objects, noting all its faults.
type parser struct {
	doc    *document.Document
	faults document.Faults
}

// value notes a fault of the value at path, key one of the key before it.
func (p *parser) value(path, problem, hint string) {
	p.faults = append(p.faults, p.doc.Fault(path, problem, hint))
}

func (p *parser) key(path, problem, hint string) {
	p.faults = append(p.faults, p.doc.KeyFault(path, problem, hint))
}

// newEnvironment is an environment before its file: with the names of what ships.
func newEnvironment(id access.EnvironmentID) *environmentModel {
	e := &environmentModel{
		units:  map[access.BusinessUnitID]access.BusinessUnit{},
		places: map[string]string{},
		roles:  map[access.RoleID]access.Role{},
		names: EnvironmentNames{
			BusinessUnits: map[string]access.BusinessUnitID{}, Roles: map[string]access.RoleID{},
			Teams: map[string]access.TeamID{}, Tables: map[access.TableID]access.Ownership{},
		},
	}
	ships := Ambit()
	if id != access.AmbitEnvironment {
		ships = OutOfBox(id, "", nil)
	}
	for _, o := range ships {
		switch o := o.(type) {
		case access.BusinessUnit:
			e.addUnit(o)
		case access.Table:
			e.names.Tables[o.ID] = o.Ownership
		case access.Role:
			e.roles[o.ID] = o
			e.names.Roles[o.Name] = o.ID
		}
	}
	return e
}

func (e *environmentModel) addUnit(b access.BusinessUnit) {
	e.units[b.ID] = b
	e.names.BusinessUnits[b.Name] = b.ID
	if b.Parent == "" {
		e.root, e.names.Root = b.ID, b.ID
	}
}

func (p *parser) environment(id access.EnvironmentID, said environment) *environmentModel {
	e := newEnvironment(id)
	e.doc, e.at = p.doc, document.Child("$.environments", string(id))
	if !anID.MatchString(string(id)) {
		p.key(e.at, fmt.Sprintf("environment id %q is not allowed", id), "use "+idHint)
	}
	if id == access.AmbitEnvironment {
		for _, key := range []string{"name", "settings", "business_units", "tables", "relationships", "access_team_templates", "positions", "column_profiles"} {
			if at := document.Child(e.at, key); p.doc.Has(at) {
				p.key(at, fmt.Sprintf("%s of environment %q cannot be declared: it ships with Ambit", key, id), "declare roles, teams and assignments there")
			}
		}
	} else {
		p.settings(e, id, said)
		p.units(e, id, said)
		p.tables(e, id, said)
		p.hierarchy(e, said)
		p.relationships(e, id, said)
		p.templates(e, id, said)
		p.positions(e, id, said)
	}
	p.roles(e, id, said)
	p.teams(e, id, said)
	if id != access.AmbitEnvironment {
		p.profiles(e, id, said)
	}
	p.assignments(e, id, said)
	p.judge(e, id)
	slices.SortStableFunc(e.objects, func(a, b access.Object) int { return int(a.ObjectKind()) - int(b.ObjectKind()) })
	return e
}

func (p *parser) settings(e *environmentModel, id access.EnvironmentID, said environment) {
	s := said.Settings
	e.settings = access.Environment{
		ID: id, Name: said.Name, Modernized: s.Modernized, KeepRecordUnit: s.MoveRecords != nil && !*s.MoveRecords,
		KeepRoles: s.KeepRoles, ShareWithPrevious: s.ShareWithPrevious, Kind: s.Kind, PerAppPlan: s.PerAppPlan,
		TemplatesPerTable: s.Templates, NonInteractiveUsers: s.NonInteractive, ManagedBy: access.ByFile,
	}
	if e.settings.Name == "" {
		e.settings.Name = string(id)
	}
	if at := e.at + ".settings.do_not_remove_roles_on_change_business_unit"; s.KeepRoles && !s.Modernized {
		p.key(at, "roles can be kept with modernized business units only", "set record_ownership_across_business_units as well (Rule OWN-13)")
	}
	if at := e.at + ".settings.always_move_record_to_owner_business_unit"; e.settings.KeepRecordUnit && !s.Modernized {
		p.key(at, "records can stay in their business unit with modernized business units only", "set record_ownership_across_business_units as well (Rule OWN-11)")
	}
	if h := s.Hierarchy; h != nil {
		e.settings.Hierarchy = &access.Hierarchy{
			Model: h.Model, Depth: h.Depth, DirectLevels: h.DirectLevels,
			ExcludeDisabledReports: h.IncludeDisabled != nil && !*h.IncludeDisabled, ManagersAnywhere: h.SameUnit != nil && !*h.SameUnit,
		}
	}
	if at := e.at + ".settings.hierarchy.managers_must_be_in_same_or_parent_unit"; e.settings.Hierarchy != nil && e.settings.Hierarchy.ManagersAnywhere && !s.Modernized {
		p.key(at, "managers can be in any business unit with modernized business units only", "set record_ownership_across_business_units as well (Rule HIER-5)")
	}
	e.add(near(p.doc, e.at+".settings", e.at), e.settings)
}

func (p *parser) units(e *environmentModel, env access.EnvironmentID, said environment) {
	at := e.at + ".business_units"
	switch {
	case len(said.BusinessUnits) == 0:
		p.key(near(p.doc, at, e.at), fmt.Sprintf("environment %q has no business unit", env), "declare its root under business_units")
	case len(said.BusinessUnits) > 1:
		p.value(at, "several root business units: "+strings.Join(sorted(said.BusinessUnits), ", "), "put one on top and the others below it, under units (Rule BU-1)")
	}
	ids, names := map[string]string{}, map[string]string{}
	var add func(at string, parent access.BusinessUnitID, said map[string]unit)
	add = func(at string, parent access.BusinessUnitID, said map[string]unit) {
		for _, name := range sorted(said) {
			u, path := said[name], document.Child(at, name)
			b := access.BusinessUnit{
				Environment: env, Name: name, Parent: parent, Disabled: u.Disabled, ManagedBy: access.ByFile,
				ID: access.BusinessUnitID(p.id(path, "business unit", u.ID, name, ids, names)),
			}
			if b.ID == "" { // what is below it is still judged
				add(path+".units", parent, u.Units)
				continue
			}
			if parent == "" && u.Disabled {
				p.value(path+".disabled", "the root business unit cannot be disabled", "")
			}
			e.addUnit(b)
			e.add(path, b)
			add(path+".units", b.ID, u.Units)
		}
	}
	add(at, "", said.BusinessUnits)
	for id, r := range e.roles { // what ships is defined at the root
		r.BusinessUnit = e.root
		e.roles[id] = r
	}
}

// near is at, or what is around it if the file has nothing there.
func near(doc *document.Document, at, around string) string {
	if doc.Has(at) {
		return at
	}
	return around
}

func (p *parser) tables(e *environmentModel, env access.EnvironmentID, said environment) {
	for _, id := range sorted(said.Tables) {
		at := document.Child(e.at+".tables", string(id))
		if !anID.MatchString(string(id)) {
			p.key(at, fmt.Sprintf("table id %q is not allowed", id), "use "+idHint)
		}
		if _, ok := e.names.Tables[id]; ok {
			p.key(at, fmt.Sprintf("table %q is there already: it ships with every environment", id), "leave it out")
			continue
		}
		e.add(at, said.Tables[id].object(env, id))
	}
	for id, t := range said.Tables {
		if _, ok := e.names.Tables[id]; !ok {
			e.names.Tables[id] = t.Ownership
		}
	}
}

func (p *parser) roles(e *environmentModel, env access.EnvironmentID, said environment) {
	ids, names := map[string]string{}, map[string]string{}
	for id, r := range e.roles {
		ids[string(id)] = r.Name
		names[access.Fold(r.Name)] = r.Name
	}
	tables := map[access.TableID]access.Table{}
	for id, o := range e.names.Tables {
		tables[id] = access.Table{ID: id, Ownership: o}
	}
	for _, name := range sorted(said.Roles) {
		r, at := said.Roles[name], document.Child(e.at+".roles", name)
		o := access.Role{
			Environment: env, Name: name, Inheritance: r.Inheritance, ManagedBy: access.ByFile,
			ID:            access.RoleID(p.id(at, "role", r.ID, name, ids, names)),
			BusinessUnit:  p.unit(e, at+".business_unit", r.BusinessUnit, e.root),
			Privileges:    p.privileges(at+".privileges", r.Privileges, tables),
			Miscellaneous: p.miscellaneous(at+".miscellaneous", r.Miscellaneous),
		}
		e.roles[o.ID] = o
		e.names.Roles[name] = o.ID
		e.add(at, o)
	}
}

// privileges reads a role's privileges, by table, and judges their depths (Rule
// ROLE-14).
func (p *parser) privileges(at string, said map[string]map[string]string, tables map[access.TableID]access.Table) []access.Privilege {
	var out []access.Privilege
	for _, id := range sorted(said) {
		path := document.Child(at, id)
		t, ok := tables[access.TableID(id)]
		if !ok {
			p.key(path, fmt.Sprintf("unknown table %q", id), document.DidYouMean(id, texts(tables)))
		}
		for _, l := range p.lines(path, said[id]) {
			l.Table = access.TableID(id)
			if ok && !t.Ownership.Reaches(l.Depth) {
				where := document.Child(path, l.Action.String())
				p.value(near(p.doc, where, path+"."+everyAction), fmt.Sprintf("depth %s is not possible on table %q, whose ownership is %s", l.Depth, id, t.Ownership),
					"give organization, or none")
				break
			}
			out = append(out, l)
		}
	}
	sortPrivileges(out)
	return out
}

// everyAction stands for the actions that are not named beside it.
const everyAction = "all"

// lines reads the actions and depths of one table, leaving out those of depth none.
func (p *parser) lines(at string, said map[string]string) []access.Privilege {
	var depths [access.Actions]access.Depth
	every, named := access.None, access.Rights(0)
	for _, text := range sorted(said) {
		var a access.Action
		if err := a.UnmarshalText([]byte(text)); err != nil && text != everyAction {
			p.key(document.Child(at, text), fmt.Sprintf("unknown action %q", text), document.DidYouMean(text, actions()))
			continue
		}
		var d access.Depth
		if err := d.UnmarshalText([]byte(said[text])); err != nil {
			p.value(document.Child(at, text), fmt.Sprintf("unknown depth %q", said[text]), document.DidYouMean(said[text], depthNames()))
			continue
		}
		if text == everyAction {
			every = d
			continue
		}
		depths[a], named = d, named|access.RightsOf(a)
	}
	var out []access.Privilege
	for a := range access.Actions {
		if !named.Has(a) {
			depths[a] = every
		}
		if depths[a] != access.None {
			out = append(out, access.Privilege{Action: a, Depth: depths[a]})
		}
	}
	return out
}

func actions() []string {
	names := []string{everyAction}
	for a := range access.Actions {
		names = append(names, a.String())
	}
	return names
}

func depthNames() []string {
	var names []string
	for d := access.None; d <= access.Global; d++ {
		names = append(names, d.String())
	}
	return names
}

func (p *parser) miscellaneous(at string, said []string) []string {
	var out []string
	for i, name := range said {
		switch path := document.Index(at, i); {
		case !aPrivilege.MatchString(name):
			p.value(path, fmt.Sprintf("%q is no name of a miscellaneous privilege", name), "use letters, digits, '.', '_' and '-'")
		case slices.Contains(out, name):
			p.value(path, fmt.Sprintf("miscellaneous privilege %q is listed twice", name), "")
		default:
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (p *parser) teams(e *environmentModel, env access.EnvironmentID, said environment) {
	ids, names := map[string]string{}, map[string]string{}
	given := map[access.AssignmentID]bool{}
	for _, name := range sorted(said.Teams) {
		t, at := said.Teams[name], document.Child(e.at+".teams", name)
		o := access.Team{
			Environment: env, Name: name, Type: t.Type, ManagedBy: access.ByFile,
			ID:           access.TeamID(p.id(at, "team", t.ID, name, ids, names)),
			BusinessUnit: p.unit(e, at+".business_unit", t.BusinessUnit, e.root),
		}
		if t.Type != access.OwnerTeam && t.Type != access.AccessTeam {
			p.value(at+".type", fmt.Sprintf("a team of type %s has its members from a directory", t.Type), "write a mapping rule for it")
		}
		if b := e.units[o.BusinessUnit]; access.Fold(b.Name) == access.Fold(name) {
			p.key(at, fmt.Sprintf("team %q has the name of its business unit, whose default team has it already", name), "choose another name (Rule TEAM-9)")
		}
		e.names.Teams[name] = o.ID
		e.add(at, o)
		members := map[string]bool{}
		for i, login := range t.Members {
			path := document.Index(at+".members", i)
			if members[access.Fold(login)] {
				p.value(path, fmt.Sprintf("member %q is listed twice", login), "")
			}
			members[access.Fold(login)] = true
			e.pending = append(e.pending, pending{path: path, login: login, team: o.ID})
		}
		for i, name := range t.Roles {
			p.give(e, document.Index(at+".roles", i), name, assigned{}, o, given)
		}
	}
	p.teamAssignments(e, said, given)
}

// teamAssignments comes after all teams are known.
func (p *parser) teamAssignments(e *environmentModel, said environment, given map[access.AssignmentID]bool) {
	teams := map[access.TeamID]access.Team{}
	for _, o := range e.objects {
		if t, ok := o.(access.Team); ok {
			teams[t.ID] = t
		}
	}
	for i, a := range said.Assignments {
		if a.Team == "" {
			continue
		}
		at := document.Index(e.at+".assignments", i)
		id, ok := named(e.names.Teams, a.Team, func(id access.TeamID) bool { _, ok := teams[id]; return ok })
		if !ok {
			p.value(at+".team", fmt.Sprintf("unknown team %q", a.Team), document.DidYouMean(a.Team, texts(e.names.Teams)))
			continue
		}
		p.give(e, at, a.Role, a, teams[id], given)
	}
}

// give gives a role to a team. Where at is an entry of assignments, said is that.
func (p *parser) give(e *environmentModel, at, name string, said assigned, t access.Team, seen map[access.AssignmentID]bool) {
	where := func(key string) string { return near(p.doc, at+"."+key, at) }
	role, ok := p.role(e, where("role"), name)
	if !ok {
		return
	}
	if !t.CanOwn() {
		p.value(where("team"), fmt.Sprintf("access team %q cannot hold roles", t.Name), "make it an owner team, or share records with it (Rule TEAM-5)")
		return
	}
	g := given{role: role, unit: p.unit(e, where("business_unit"), said.BusinessUnit, t.BusinessUnit), window: p.window(at, said)}
	if problem, hint := e.refuse(g, t.BusinessUnit); problem != "" {
		p.value(where("business_unit"), problem, hint)
		return
	}
	o := assignment(t.Environment, g, t.ID.Principal())
	if seen[o.ID] {
		p.value(at, fmt.Sprintf("team %q is given role %q in this business unit twice", t.Name, name), "remove one of the two")
		return
	}
	seen[o.ID] = true
	e.add(at, o)
}

// assignments notes what users get; teams have been given theirs.
func (p *parser) assignments(e *environmentModel, env access.EnvironmentID, said environment) {
	for i, a := range said.Assignments {
		at := document.Index(e.at+".assignments", i)
		if (a.User == "") == (a.Team == "") {
			p.value(at, "want either user or team", "")
			continue
		}
		if a.User == "" {
			continue
		}
		role, ok := p.role(e, at+".role", a.Role)
		g := given{role: role, unit: p.unit(e, at+".business_unit", a.BusinessUnit, ""), window: p.window(at, a)}
		if g.unit != "" && ok {
			if problem, hint := e.refuse(g, g.unit); problem != "" {
				p.value(at+".business_unit", problem, hint)
			}
		}
		e.pending = append(e.pending, pending{path: at + ".user", login: a.User, given: g})
	}
}

func (p *parser) window(at string, a assigned) access.Window {
	w := access.Window{Start: a.From.Time, End: a.Until.Time}
	if w.Empty() {
		p.value(at+".until", "until is not later than from", "")
	}
	return w
}

// unit finds a business unit by name or id; otherwise is for none.
func (p *parser) unit(e *environmentModel, at, name string, otherwise access.BusinessUnitID) access.BusinessUnitID {
	if name == "" {
		return otherwise
	}
	id, ok := named(e.names.BusinessUnits, name, func(id access.BusinessUnitID) bool { _, ok := e.units[id]; return ok })
	if !ok {
		p.value(at, fmt.Sprintf("unknown business unit %q", name), document.DidYouMean(name, texts(e.names.BusinessUnits)))
		return otherwise
	}
	return id
}

func (p *parser) role(e *environmentModel, at, name string) (access.RoleID, bool) {
	id, ok := named(e.names.Roles, name, func(id access.RoleID) bool { _, ok := e.roles[id]; return ok })
	if !ok && name != "" { // Decode has told of an absent one
		p.value(at, fmt.Sprintf("unknown role %q", name), document.DidYouMean(name, texts(e.names.Roles)))
	}
	return id, ok
}

// named finds an id by name, or as itself.
func named[T ~string](names map[string]T, name string, known func(T) bool) (T, bool) {
	if id, ok := names[name]; ok {
		return id, true
	}
	return T(name), known(T(name))
}

var (
	anID       = regexp.MustCompile(`^[\pL\pN][\pL\pN\pM._-]{0,99}$`)
	aPrivilege = regexp.MustCompile(`^[\pL\pN][\pL\pN\pM._-]{0,99}$`)
)

const idHint = "letters, digits, '.', '_' and '-', a hundred at most"

// id is the id of a thing: the one given, or one made of its name. Neither id nor
// name may be another's of the kind: then, and if it is not allowed, it is "".
func (p *parser) id(at, what, given, name string, ids, names map[string]string) string {
	if other, taken := names[access.Fold(name)]; taken {
		p.key(at, fmt.Sprintf("there is a %s %q already", what, other), "names must differ in more than case")
		return ""
	}
	names[access.Fold(name)] = name
	if strings.TrimSpace(name) == "" {
		p.key(at, fmt.Sprintf("a %s needs a name", what), "")
		return ""
	}
	id, path, fault := given, at+".id", p.value
	if given == "" {
		id, path, fault = slug(name), at, p.key
	}
	if !anID.MatchString(id) {
		fault(path, fmt.Sprintf("id %q of %s %q is not allowed", id, what, name), "give it an id: "+idHint)
		return ""
	}
	if other, taken := ids[id]; taken {
		fault(path, fmt.Sprintf("%s %q would have the id %q, which is that of %q", what, name, id, other), "give one of them another id")
		return ""
	}
	ids[id] = name
	return id
}

// slug makes an id of a name: its letters and digits in lower case, with a hyphen
// for whatever is between them.
func slug(name string) string {
	var b strings.Builder
	for _, word := range notInSlug.Split(strings.ToLower(norm.NFC.String(name)), -1) {
		if word == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(word)
	}
	return b.String()
}

var notInSlug = regexp.MustCompile(`[^\pL\pN\pM]+`)

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func texts[K ~string, V any](m map[K]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, string(k))
	}
	return out
}
