package engine

import (
	"cmp"
	"slices"

	"github.com/ambit-iam/ambit/access"
)

// Explanation is a decision with everything that it rests on (Rules EVAL-8,
// EVAL-9). Its order is fixed: the same question prints the same bytes.
type Explanation struct {
	Environment access.EnvironmentID `json:"environment"`
	User        Named                `json:"user"`
	Action      access.Action        `json:"action"`
	Table       Named                `json:"table,omitzero"`
	Privilege   string               `json:"privilege,omitempty"` // the miscellaneous privilege asked for
	Record      *Facts               `json:"record,omitempty"`
	Decision
	// Rules are those of the access model that settled the answer.
	Rules []string `json:"rules"`
	// Privileges lists every assignment that passes the privilege check (Rule
	// EVAL-3), whether or not it reaches the record.
	Privileges []Source `json:"privileges,omitempty"`
	// Origins lists every way that alone allows (Rule EVAL-8).
	Origins []Origin `json:"origins,omitempty"`
	// Requires lists what a creation needs beside Create (Rules OWN-8, BU-10).
	Requires []Requirement `json:"requires,omitempty"`
	// Missing lists, for a deny, the minimal sets of at most two facts whose
	// addition allows (Rule EVAL-9), the smaller ones first.
	//
	// Facts are about who asks, the teams of theirs and, for a creation, of the
	// intended owner. Those who ask may be added to any team, and one that they are
	// added to be given a role together with that, where they could not be given it
	// to the same effect themselves. To report to them is proposed for the record's
	// owner, those whom it is shared with, and those above these.
	//
	// Single facts come in the order of whom they concern: one person, by how little
	// they give beyond, save that of the memberships only the first sixteen found are
	// compared so and the others follow; then each team, that of fewest members
	// first; then everybody. Memberships are found from the team that owns the record
	// and those that it is shared with on, then by role, that of least depth first,
	// by business unit, from the record's upwards, and by id. Pairs come in the order
	// of a fact by which one of the needs is met, then of the one that does the rest.
	Missing []Missing `json:"missing,omitempty"`
	// Columns lists the secured columns that the question names and the user may
	// not set, when that is the reason (Rule FLS-5).
	Columns []string `json:"columns,omitempty"`
	// Impersonator, for a question on behalf of another, explains the same for the
	// one who asks; the rest is about the user (Rule ACC-4).
	Impersonator *Explanation `json:"impersonator,omitempty"`
	// MoreMissing: there are more sets than the limit, or the search for them came
	// to its bound, which does not go by the organisation's size.
	MoreMissing bool `json:"more_missing,omitempty"`
}

// Named is an id with the name that people know it by.
type Named struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Facts are the facts of the record that the question was judged by.
type Facts struct {
	ID           access.RecordID  `json:"id,omitempty"`
	Owner        access.Principal `json:"owner,omitzero"`
	OwnerName    string           `json:"owner_name,omitempty"`
	BusinessUnit Named            `json:"business_unit,omitzero"`
	Registered   bool             `json:"registered,omitempty"`
}

// Source is an assignment in force and how it comes to the user.
type Source struct {
	Assignment   access.AssignmentID `json:"assignment"`
	Role         Named               `json:"role"`
	BusinessUnit Named               `json:"business_unit"`
	// Depth is the effective one: the smaller of the role's and the bound's.
	Depth       access.Depth       `json:"depth"`
	Inheritance access.Inheritance `json:"inheritance"`
	// Team carries the role; nil when the role is the user's own.
	Team   *Via          `json:"team,omitempty"`
	Window access.Window `json:"window,omitzero"`
	// Request is the elevation that made the assignment.
	Request string `json:"request,omitempty"`
	// Bounded: the elevation's bound makes the depth smaller than the role's.
	Bounded   bool             `json:"bounded,omitempty"`
	ManagedBy access.ManagedBy `json:"managed_by"`
	Origin    access.Origin    `json:"origin,omitzero"`
}

// Via is a team and how the user comes to be in it.
type Via struct {
	ID   access.TeamID   `json:"id"`
	Name string          `json:"name"`
	Type access.TeamType `json:"type"`
	// Default: the team of the user's business unit (Rule BU-6).
	Default bool              `json:"default,omitempty"`
	Group   *access.GroupLink `json:"group,omitempty"`
	// Membership says what put the user into the team, with the path of nested
	// groups.
	Membership access.Origin `json:"membership,omitzero"`
}

// Way is how an origin gives access.
type Way string

// The ways, in the order of Rule EVAL-4.
const (
	ByPrivilege Way = "privilege" // no record: the privilege suffices (Rule EVAL-3)
	ByOwnership Way = "ownership"
	ByRole      Way = "role"
	ByShare     Way = "share"
	ByHierarchy Way = "hierarchy"
)

// Origin is one thing that alone allows.
type Origin struct {
	Way Way `json:"way"`
	// Source is the assignment; nil for a share or report, which rests on any of the
	// explanation's Privileges (Rules SHARE-5, HIER-2).
	Source *Source `json:"source,omitempty"`
	// Owner, for ownership, is the team that owns the record; nil when the user does.
	Owner *Via `json:"owner,omitempty"`
	// Share, for a share, is what was shared with whom.
	Share *Shared `json:"share,omitempty"`
	// Report, for the hierarchy, is whose access is passed up. It rests on any of
	// the explanation's Privileges as well (Rule HIER-2).
	Report *Report  `json:"report,omitempty"`
	Rules  []string `json:"rules"`
}

// Report is somebody whose access is passed up to the user, and how they have it.
type Report struct {
	User Named `json:"user"`
	// Chain leads from the report up to the user. In the position model those
	// between are positions.
	Chain []Named `json:"chain"`
	// By is ByOwnership or ByShare.
	By Way `json:"by"`
	// Owner, for ownership, is the report's team that owns the record; nil when the
	// report does.
	Owner *Via `json:"owner,omitempty"`
	// Share, for a share, is what was shared with the report or a team of theirs.
	Share *Shared `json:"share,omitempty"`
}

// Shared is a share that reaches the user.
type Shared struct {
	Principal access.Principal `json:"principal"`
	Name      string           `json:"name,omitempty"`
	Team      *Via             `json:"team,omitempty"` // when shared with a team
	Rights    access.Rights    `json:"rights"`
	Inherited access.Rights    `json:"inherited,omitempty"`
	Window    access.Window    `json:"window,omitzero"`
}

// Requirement is a further question whose answer must be yes as well.
type Requirement struct {
	Rule string `json:"rule"`
	// Text says what is asked, for people.
	Text    string   `json:"text"`
	Met     bool     `json:"met"`
	Origins []Origin `json:"origins,omitempty"`
}

// Missing is a minimal set of facts whose addition makes Check allow: no part of
// it does.
type Missing struct {
	Facts []Fact `json:"facts"`
	// Further measures how much other access the facts would give: privileges
	// times the business units they reach times the people concerned.
	Further int64 `json:"further"`
}

// FactKind is what a missing fact is.
type FactKind string

// The kinds of missing facts.
const (
	EnableUser    FactKind = "enable_user"
	EnableUnit    FactKind = "enable_business_unit"
	GiveLicence   FactKind = "licence"
	Admit         FactKind = "environment_group"
	GiveRole      FactKind = "role"
	AddToTeam     FactKind = "membership"
	ShareWith     FactKind = "share"
	GiveOwnership FactKind = "ownership"
	LinkManager   FactKind = "manager"
	GiveProfile   FactKind = "column_profile"
)

// Fact is one thing that is not so and would help if it were.
type Fact struct {
	Kind         FactKind         `json:"kind"`
	Principal    access.Principal `json:"principal,omitzero"`
	Name         string           `json:"name,omitempty"`         // the principal's
	Role         Named            `json:"role,omitzero"`          // role
	BusinessUnit Named            `json:"business_unit,omitzero"` // role, enable_business_unit
	Team         Named            `json:"team,omitzero"`          // membership
	Profile      Named            `json:"profile,omitzero"`       // column_profile
	Manager      Named            `json:"manager,omitzero"`       // manager: to whom the principal would report
	Right        access.Action    `json:"right,omitempty"`        // share
}

// Explain answers the question with all origins or, when it denies, with at most
// limit missing sets (10 when limit is 0, none when it is negative).
func (s *Snapshot) Explain(q Question, limit int) (Explanation, error) {
	e, err := s.explain(q)
	if err == nil && !e.Allowed && limit >= 0 {
		e.Missing, e.MoreMissing = s.missing(q, cmp.Or(limit, 10))
	}
	return e, err
}

// explain is Explain without what is missing.
func (s *Snapshot) explain(q Question) (Explanation, error) {
	if q.Impersonator != "" {
		return s.explainBehalf(q)
	}
	var a asked
	if err := s.resolve(&q, &a); err != nil {
		return Explanation{}, err
	}
	e := Explanation{
		Environment: s.env.ID, User: s.nameUser(a.user), Action: q.Action, Privilege: q.Privilege, Decision: s.decide(&a),
	}
	if q.Privilege == "" {
		e.Table = Named{string(q.Table), s.tables[a.table].data.Name}
	}
	if a.record {
		e.Record = s.facts(q.Record, &a)
	}
	e.Rules = s.rules(&a, e.Reason)
	if a.gate != Unknown {
		return e, nil
	}
	found := s.found(&a, a.user)
	for _, f := range found {
		e.Privileges = append(e.Privileges, s.source(&a, f))
	}
	if a.record && a.action == access.Create && a.kind != access.NotOwned {
		e.Requires = s.requirements(&a)
	}
	if e.Reason == NoColumnAccess {
		for _, i := range s.lacking(&a) {
			e.Columns = append(e.Columns, s.tables[a.table].columns[i].name)
		}
		e.Columns = inOrder(e.Columns)
	}
	if e.Allowed {
		e.Origins = s.origins(&a, found)
		if v := s.scan(&a, a.at); a.action == access.Create && v.byOwner != 0 && !(s.reaches(&a, access.Assign, a.at) && s.mayOwn(&a, a.at)) {
			// It is that team's role that spares the user Assign (Rule OWN-8):
			// others that have Create would not suffice.
			own := s.teams.get(a.ownerTeam).aside.data.ID
			e.Origins = slices.DeleteFunc(e.Origins, func(o Origin) bool { return o.Source.Team == nil || o.Source.Team.ID != own })
		}
	}
	return e, nil
}

// explainBehalf explains the question for the user and for the impersonator.
func (s *Snapshot) explainBehalf(q Question) (Explanation, error) {
	var b behalf
	if err := s.resolveBehalf(&q, &b); err != nil {
		return Explanation{}, err
	}
	own := q.ofImpersonator()
	q.Impersonator = ""
	e, err := s.explain(q)
	if err != nil {
		return Explanation{}, err
	}
	i, err := s.explain(own)
	if err != nil {
		return Explanation{}, err
	}
	acts := s.origins(&b.acts, s.found(&b.acts, b.acts.user))
	i.Requires = append(i.Requires, Requirement{
		Rule: "ACC-4", Text: "the privilege " + ActOnBehalf + " is held", Met: len(acts) > 0, Origins: acts,
	})
	e.Decision, e.Impersonator = s.decideBehalf(&b), &i
	switch {
	case e.Reason == MayNotImpersonate:
		e.Rules = []string{"EVAL-6", "ACC-4"}
	case e.OfImpersonator:
		e.Rules = append([]string{"EVAL-6", "ACC-4"}, s.rules(&b.impersonator, e.Reason)...)
	default:
		e.Rules = append([]string{"EVAL-6", "ACC-4"}, e.Rules...)
	}
	if e.Reason != NoColumnAccess || e.OfImpersonator {
		e.Columns = nil
	}
	if !e.Allowed {
		e.Origins = nil
	}
	return e, nil
}

// rules are those that settled the answer.
func (s *Snapshot) rules(a *asked, why Reason) []string {
	switch why {
	case UserDisabled:
		return []string{"EVAL-2"}
	case BusinessUnitDisabled:
		return []string{"EVAL-2", "BU-3"}
	case NoLicence:
		return []string{"EVAL-2", "LIC-1"}
	case AccessModeExcludes:
		return []string{"EVAL-2", a.user.rule()}
	case NotInEnvironmentGroup:
		return []string{"EVAL-2", "ESG-1"}
	case NoRole:
		return []string{"EVAL-2", "ROLE-4"}
	case NoPrivilege:
		return []string{"EVAL-3"}
	case NoColumnAccess:
		return []string{"FLS-5"}
	}
	switch {
	case a.misc != "":
		return []string{"EVAL-3", "ROLE-13"}
	case !a.record:
		return []string{"EVAL-3"}
	case a.kind == access.NotOwned:
		return []string{"EVAL-3", "OWN-4"}
	case a.action != access.Create:
		return []string{"EVAL-4"}
	case a.unitTable != noUnit:
		return []string{"EVAL-4", "OWN-7", "OWN-8", "BU-10"}
	case a.kind == access.UserOrTeam && a.owner != a.user:
		return []string{"EVAL-4", "OWN-7", "OWN-8"}
	}
	return []string{"EVAL-4", "OWN-7"}
}

// find is an assignment in force that has the privilege.
type find struct {
	*assignment
	grant
	cell  cell
	depth access.Depth // effective
	team  uint32       // that carries it, or noTeam
}

// each goes through the assignments of the user that are in force at the instant,
// whatever they give.
func (s *Snapshot) each(u *user, at int64, yield func(a *assignment, g grant, b *bound, team uint32)) {
	s.eachOf(u, s.teamsOf(u), at, yield)
}

// eachOf is each, with teams(u).
func (s *Snapshot) eachOf(u *user, teams []uint32, at int64, yield func(a *assignment, g grant, b *bound, team uint32)) {
	s.eachHeld(&u.aside.held, noTeam, at, yield)
	for _, n := range teams {
		if t := s.teams.get(n); t.aside.owns {
			s.eachHeld(&t.aside.held, n, at, yield)
		}
	}
}

// eachHeld yields the assignments in force of one principal: a team, or a user by
// noTeam.
func (s *Snapshot) eachHeld(h *held, team uint32, at int64, yield func(a *assignment, g grant, b *bound, team uint32)) {
	live := func(g grant) bool { return s.roles[g.role] != nil && s.span(g.unit).exists() }
	for i, g := range h.standing {
		if live(g) {
			yield(h.assignments[i], g, nil, team)
		}
	}
	for _, w := range h.windowed {
		if live(w.grant) && w.start <= at && at < w.end {
			yield(w.assignment, w.grant, w.bound, team)
		}
	}
}

// teamsOf lists teams(u): those that exist, and the default team.
func (s *Snapshot) teamsOf(u *user) []uint32 {
	members := u.memberOf()
	out := append(make([]uint32, 0, 1+len(members)), s.span(u.unit).team)
	for _, n := range members {
		if s.teams.get(n).aside.exists {
			out = append(out, n)
		}
	}
	return out
}

// found lists the assignments that pass the privilege check, by id.
func (s *Snapshot) found(a *asked, u *user) []find {
	var out []find
	s.each(u, a.at, func(as *assignment, g grant, b *bound, team uint32) {
		c := a.line[g.role]
		if d := b.limit(a, c.depth()); d != access.None {
			out = append(out, find{as, g, c, d, team})
		}
	})
	slices.SortFunc(out, func(x, y find) int { return cmp.Compare(x.data.ID, y.data.ID) })
	return out
}

// origins lists every way that the found assignments, and the shares, give the
// access, in the order of Rule EVAL-8.
func (s *Snapshot) origins(a *asked, found []find) []Origin {
	var out []Origin
	add := func(w Way, f find, owner *Via, rules ...string) {
		src := s.source(a, f)
		if s.roles[f.role].All {
			rules = append(rules, "ROLE-10")
		}
		if src.Bounded {
			rules = append(rules, "JIT-62")
		}
		out = append(out, Origin{Way: w, Source: &src, Owner: owner, Rules: rules})
	}
	if !a.record || a.kind == access.NotOwned {
		for _, f := range found {
			switch {
			case a.misc != "":
				add(ByPrivilege, f, nil, "EVAL-3", "ROLE-13")
			case a.record:
				add(ByPrivilege, f, nil, "EVAL-3", "OWN-4")
			default:
				add(ByPrivilege, f, nil, "EVAL-3")
			}
		}
		return out
	}
	for _, f := range found {
		if a.owned == 0 {
			break
		}
		var owner *Via
		if a.ownerTeam != noTeam {
			owner = s.via(a.user, a.ownerTeam)
		}
		switch {
		case f.team == noTeam:
			add(ByOwnership, f, owner, "EVAL-4 a", "ROLE-5")
		case f.team == a.ownerTeam && f.depth == access.Basic:
			add(ByOwnership, f, owner, "EVAL-4 a", "ROLE-7")
		case f.team == a.ownerTeam:
			add(ByOwnership, f, owner, "EVAL-4 a", "ROLE-9")
		case f.depth == access.Basic && f.cell>>inheritsBit&1 != 0:
			add(ByOwnership, f, owner, "EVAL-4 a", "ROLE-8")
		}
	}
	reaching := slices.DeleteFunc(slices.Clone(found), func(f find) bool { return f.depth < a.needs(s.span(f.unit)) })
	slices.SortStableFunc(reaching, func(x, y find) int { return cmp.Compare(x.depth, y.depth) })
	for _, f := range reaching {
		rule := "ROLE-5"
		if f.team != noTeam {
			rule = "ROLE-6"
		}
		if s.env.Modernized {
			add(ByRole, f, nil, "EVAL-4 b", rule, "BU-9")
		} else {
			add(ByRole, f, nil, "EVAL-4 b", rule)
		}
	}
	for _, sh := range s.sharesTo(a, a.user) {
		rules := []string{"EVAL-4 c", "SHARE-4", "SHARE-5"}
		if !sh.Rights.Has(a.action) {
			rules = append(rules, "SHARE-7")
		}
		if !sh.Window.Open() {
			rules = append(rules, "SHARE-10")
		}
		out = append(out, Origin{Way: ByShare, Share: &sh, Rules: rules})
	}
	return append(out, s.passed(a)...)
}

// sharesTo lists the shares in force that give the user the action.
func (s *Snapshot) sharesTo(a *asked, u *user) []Shared {
	if a.shares == nil {
		return nil
	}
	var out []Shared
	for i := range a.shares.count() {
		sh := a.shares.at(i)
		if !sh.rights().Has(a.action) || !a.shares.holds(i, a.at) || !s.isWho(u, sh.who) {
			continue
		}
		d := Shared{Principal: s.principal(sh.who), Rights: sh.own, Inherited: sh.inherited, Window: a.shares.window(i)}
		switch sh.who.kind() {
		case access.UserPrincipal:
			d.Name = u.aside.data.Name
		case access.TeamPrincipal:
			d.Team = s.via(u, sh.who.number())
			d.Name = d.Team.Name
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(x, y Shared) int {
		return cmp.Or(cmp.Compare(x.Principal.Kind, y.Principal.Kind), cmp.Compare(x.Principal.ID, y.Principal.ID))
	})
	return out
}

// requirements lists all that a creation needs, met or not.
func (s *Snapshot) requirements(a *asked) []Requirement {
	need := func(b *asked, rule, text string) Requirement {
		o := s.origins(b, s.found(b, b.user))
		return Requirement{Rule: rule, Text: text, Met: len(o) > 0, Origins: o}
	}
	out := []Requirement{need(a, "OWN-7", "create reaches the intended record")}
	v := s.scan(a, a.at)
	if s.createsForOther(a, v) {
		b := *a
		s.aim(&b, access.Assign)
		out = append(out,
			need(&b, "OWN-8", "assign reaches the intended record, whose owner is another"),
			Requirement{Rule: "OWN-6", Text: "the owner is no disabled user", Met: a.owner == nil || a.owner.enabled},
			Requirement{Rule: "OWN-9", Text: "the owner holds read on the table", Met: s.ownerReads(a, a.at)},
		)
	}
	if a.unitTable != noUnit {
		b, w := s.unitAsked(a), *a
		s.aim(&w, access.Write)
		out = append(out,
			need(&b, "BU-10", "append_to reaches the record's business unit, which is another than its owner's"),
			need(&w, "BU-10", "write reaches the intended record"),
			Requirement{Rule: "BU-10", Text: "the owner holds read on the table", Met: s.ownerReads(a, a.at)},
		)
	}
	if len(out) == 1 {
		return nil
	}
	return out
}

func (s *Snapshot) source(a *asked, f find) Source {
	src := s.sourceOf(a.user, f.assignment, f.grant, f.team)
	src.Depth, src.Bounded = f.depth, f.depth < f.cell.depth()
	return src
}

// sourceOf describes an assignment but for its depth.
func (s *Snapshot) sourceOf(u *user, a *assignment, g grant, team uint32) Source {
	r := s.roles[g.role]
	src := Source{
		Assignment: a.data.ID, Role: Named{string(r.ID), r.Name}, BusinessUnit: s.nameUnit(g.unit),
		Inheritance: r.Inheritance, Window: a.data.Window, Request: a.data.Request, ManagedBy: a.data.ManagedBy, Origin: a.data.Origin,
	}
	if team != noTeam {
		src.Team = s.via(u, team)
	}
	return src
}

// via describes a team of the user's.
func (s *Snapshot) via(u *user, team uint32) *Via {
	t := s.teams.get(team)
	v := &Via{ID: t.aside.data.ID, Name: t.aside.data.Name, Type: t.aside.data.Type, Group: t.aside.data.Group, Default: s.span(u.unit).team == team}
	if i, ok := slices.BinarySearch(u.aside.teams, team); ok && u.aside.origins[i] != nil {
		v.Membership = *u.aside.origins[i]
	}
	return v
}

func (s *Snapshot) facts(r *Record, a *asked) *Facts {
	f := &Facts{ID: r.ID, Registered: r.Registered}
	switch {
	case a.owner != nil:
		f.Owner, f.OwnerName = a.owner.aside.data.ID.Principal(), a.owner.aside.data.Name
	case a.ownerTeam != noTeam:
		t := s.teams.get(a.ownerTeam).aside
		f.Owner, f.OwnerName = t.data.ID.Principal(), t.data.Name
	}
	if a.unit != noUnit {
		f.BusinessUnit = s.nameUnit(a.unit)
	}
	return f
}

func (s *Snapshot) nameUser(u *user) Named {
	return Named{string(u.aside.data.ID), u.aside.data.Name}
}

func (s *Snapshot) nameUnit(n uint32) Named {
	named := Named{ID: string(*s.tree.ids.get(n))}
	if o := s.tree.units.get(n).data; o != nil {
		named.Name = o.Name
	}
	return named
}
