package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// person returns the account's place in an environment, or nil.
func (a *account) person(w *world) *person {
	for _, p := range a.persons {
		if p.world == w {
			return p
		}
	}
	return nil
}

// touchUser judges again what depends on a user: the user, those who have the
// user as manager, and the user's memberships.
func (u *update) touchUser(s *source, id directory.ObjectID) {
	o := u.evaluateUser(s, id)
	u.touchReports(s, id, o)
	a := s.accounts[id]
	if a == nil {
		return
	}
	for _, x := range a.in {
		u.judge.add(judgement{x, a})
	}
	for _, rel := range [...]directory.Relation{directory.Member, directory.Owner} {
		u.containing(node{s, id}, rel, func(x *expansion) { u.judge.add(judgement{x, a}) })
	}
}

// touchReports judges again who refers to a user as manager.
func (u *update) touchReports(s *source, id directory.ObjectID, o *directory.Object) {
	people := slices.Clone(s.reports[id])
	names := []directory.Ref{directory.ByID(id)}
	if o != nil {
		names = append(names, directory.ByDN(o.DN), directory.ByUserName(o.Get(directory.AttrUserName)))
	}
	for _, ref := range names {
		people = append(people, s.awaited[access.Fold(string(ref))]...)
	}
	for _, p := range people {
		if manager := u.resolve(s, p.refs); manager != p.manager {
			u.evaluateUser(s, p.account.id)
		}
	}
}

// evaluateUser applies the user rules to a user, or ends what there was if there
// is no such user any more. It returns the user, or nil.
func (u *update) evaluateUser(s *source, id directory.ObjectID) *directory.Object {
	o, ok := u.view.Object(s.id, id)
	if !ok || o.Kind != directory.KindUser {
		a := s.accounts[id]
		if a != nil {
			a.gone = true
			a.attributes = s.users.count(a.attributes, nil)
			u.replacePersons(s, a, nil)
			u.setAlso(a, nil)
			u.findings.set(topic{kind: SecondRule, source: s.id, key: string(id)})
			for _, x := range a.in {
				u.judge.add(judgement{x, a})
			}
			delete(s.accounts, id)
		}
		return nil
	}
	u.judgeUser(s, &o)
	return &o
}

// judgeUser applies the user rules.
func (u *update) judgeUser(s *source, o *directory.Object) {
	a := s.accounts[o.ID]
	if a == nil {
		a = &account{id: o.ID, source: s}
		s.accounts[o.ID] = a
	}
	a.guest = o.Guest()
	if !u.trying {
		a.attributes = s.users.count(a.attributes, o)
	}
	u.act = activation{subject: &subject{*o, userType}}
	var persons []*person
	var also []*userRule
	for _, r := range u.rules.users[s.id] {
		p := find(persons, r.env)
		if p != nil && p.held {
			continue // which rule it would be is not known
		}
		yes, err := r.when.bool(&u.act)
		switch {
		case err != nil && p == nil:
			persons = append(persons, u.hold(s, a, r, o, fmt.Errorf("its condition users: %w", err)))
		case err != nil || !yes:
		case p == nil:
			persons = append(persons, u.place(s, a, r, o))
		default:
			also = append(also, r)
		}
	}
	u.replacePersons(s, a, persons)
	u.setAlso(a, also)
	u.findSecond(s, a, o)
}

func find(persons []*person, env *environment) *person {
	for _, p := range persons {
		if p.world.environment == env {
			return p
		}
	}
	return nil
}

func (u *update) setAlso(a *account, also []*userRule) {
	for _, r := range a.also {
		u.matches[r.name]--
	}
	for _, r := range also {
		u.matches[r.name]++
	}
	a.also = also
}

// findSecond reports later rules that would have given something else.
func (u *update) findSecond(s *source, a *account, o *directory.Object) {
	t := topic{kind: SecondRule, source: s.id, key: string(a.id)}
	if len(a.also) == 0 {
		u.findings.set(t)
		return
	}
	var list []Finding
	for _, r := range a.also {
		first := find(a.persons, r.env)
		if first == nil || first.held {
			continue
		}
		other := u.place(s, a, r, o)
		same := other.want
		same.Origin.Rule, same.Manager = first.want.Origin.Rule, first.want.Manager
		if other.held || same != first.want || !slices.Equal(other.refs, first.refs) {
			list = append(list, Finding{
				Kind: SecondRule, Environment: r.env.id, Rule: r.name, Source: s.id, Object: a.id, Name: o.Name(),
				Text: fmt.Sprintf("rule %q matches too, and would give something else than rule %q, which comes first and wins", r.name, first.rule.name),
			})
		}
	}
	u.findings.set(t, list...)
}

// place makes what a rule says of a user, all but Admitted.
func (u *update) place(s *source, a *account, r *userRule, o *directory.Object) *person {
	p := &person{world: u.worlds[r.env.id], account: a, source: s, rule: r}
	want := access.User{
		Environment: r.env.id, ID: userID(s.id, a.id), Enabled: o.Enabled(), ManagedBy: access.ByMapping,
		Origin: access.Origin{Rule: r.name, Source: string(s.id), Object: string(a.id)},
	}
	manager := o.Get(directory.AttrManager)
	var err error
	fill := func(into *string, key string, t *template, otherwise string) {
		if *into = otherwise; t == nil || err != nil {
			return
		}
		if *into, err = t.text(&u.act); err != nil {
			err = fmt.Errorf("its %s: %w", key, err)
		}
	}
	var unit, position, kind, mode string
	fill(&want.Login, "login", r.login, o.Get(directory.AttrUserName))
	fill(&want.Name, "name", r.fullName, o.Name())
	fill(&want.Mail, "mail", r.mail, o.Get(directory.AttrMail))
	fill(&unit, "business_unit", r.unit, "")
	fill(&position, "position", r.position, "")
	want.Position = r.env.position(position)
	fill(&want.Person, "person", r.person, "")
	fill(&kind, "kind", r.kind, access.Person.String())
	fill(&mode, "access_mode", r.mode, access.ReadWrite.String())
	fill(&want.Application, "application", r.application, "")
	fill(&manager, "manager", r.manager, manager)
	if err == nil {
		err = setKind(&want, kind, mode)
	}
	if err == nil {
		want.Licensed, err = u.licensed(r, o)
	}
	if err == nil && r.tenant != nil {
		if want.TenantAdministrator, err = r.tenant.bool(&u.act); err != nil {
			err = fmt.Errorf("its tenant_administrator: %w", err)
		}
	}
	if err == nil {
		var ok bool
		if want.BusinessUnit, ok = r.env.unit(unit); !ok {
			err = fmt.Errorf("its business_unit: there is no business unit %q in environment %q", unit, r.env.id)
		} else if strings.TrimSpace(want.Login) == "" {
			err = fmt.Errorf("its login is empty: the source gives none, so the rule must")
		} else {
			err = checkID(string(want.ID))
		}
	}
	if err != nil {
		return u.hold(s, a, r, o, err)
	}
	p.refs = managerRefs(manager)
	if p.manager = u.resolve(s, p.refs); p.manager != "" {
		want.Manager = userID(s.id, p.manager)
	}
	p.want = want
	return p
}

// setKind says what a user is and may be used for (Rules ACC-1 to ACC-3).
func setKind(want *access.User, kind, mode string) error {
	if err := want.Kind.UnmarshalText([]byte(kind)); err != nil {
		return fmt.Errorf("its kind: %w", err)
	}
	if err := want.AccessMode.UnmarshalText([]byte(mode)); err != nil {
		return fmt.Errorf("its access_mode: %w", err)
	}
	switch bound := want.Application != ""; {
	case want.Kind == access.ApplicationUser && !bound:
		return errors.New("its application is empty: an application user is bound to one (Rule ACC-2)")
	case want.Kind != access.ApplicationUser && bound:
		return fmt.Errorf("its application is %q: only an application user is bound to one (Rule ACC-2)", want.Application)
	}
	return nil
}

func (u *update) licensed(r *userRule, o *directory.Object) (bool, error) {
	if r.licence != nil {
		yes, err := r.licence.bool(&u.act)
		if err != nil {
			return false, fmt.Errorf("its licence: %w", err)
		}
		return yes, nil
	}
	return slices.ContainsFunc(o.Attributes[directory.AttrPlans], func(plan string) bool { return r.env.accept[plan] }), nil
}

// hold keeps a user who cannot be judged as the environment has it, but for
// being disabled: that the source takes away at once.
func (u *update) hold(s *source, a *account, r *userRule, o *directory.Object, why error) *person {
	p := &person{world: u.worlds[r.env.id], account: a, source: s, rule: r, held: true}
	p.want = access.User{Environment: r.env.id, ID: userID(s.id, a.id)}
	text := fmt.Sprintf("rule %q cannot judge this user: %v", r.name, why)
	if now, ok := u.state(r.env.id).Users[p.want.ID]; ok && now.ManagedBy == access.ByMapping {
		p.want = now
		p.want.Enabled = now.Enabled && o.Enabled()
		text += "; the user stays as is"
	} else {
		text += "; the user is left out"
	}
	p.why = Finding{Kind: CannotJudge, Environment: r.env.id, Rule: r.name, Source: s.id, Object: a.id, Name: o.Name(), Text: text}
	return p
}

func userID(source directory.SourceID, id directory.ObjectID) access.UserID {
	return access.UserID(string(source) + ":" + string(id))
}

// checkID refuses ids that the model cannot have.
func checkID(id string) error {
	if len(id) > 256 || !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("its id %q is longer than 256 bytes or not printable", id)
	}
	return nil
}

// managerRefs are the ways to read what a rule gives as manager: a reference, or
// a user name or id.
func managerRefs(text string) []string {
	if text == "" {
		return nil
	}
	for _, prefix := range [...]string{"id:", "dn:", "uid:"} {
		if strings.HasPrefix(text, prefix) {
			return []string{text}
		}
	}
	return []string{string(directory.ByUserName(text)), string(directory.ByID(directory.ObjectID(text)))}
}

// resolve finds the manager, or "" while nothing by that name is mirrored (Rule
// SRC-5).
func (u *update) resolve(s *source, refs []string) directory.ObjectID {
	for _, ref := range refs {
		if id, kind, ok := u.view.Resolve(s.id, directory.Ref(ref)); ok && kind == directory.KindUser {
			return id
		}
	}
	return ""
}

// replacePersons makes the account's places those given.
func (u *update) replacePersons(s *source, a *account, persons []*person) {
	for _, old := range slices.Clone(a.persons) {
		p := find(persons, old.world.environment)
		if p == nil {
			u.removePerson(s, old)
			continue
		}
		// What others hold on to is the old one.
		u.changePerson(s, old, p)
	}
	for _, p := range persons {
		if a.person(p.world) == nil {
			u.addPerson(s, p)
		}
	}
}

func (u *update) addPerson(s *source, p *person) {
	p.account.persons = append(p.account.persons, p)
	p.world.people[p.want.ID] = p
	u.attach(s, p)
}

func (u *update) changePerson(s *source, p, to *person) {
	if !p.held && !to.held && p.want == to.want && p.rule == to.rule && slices.Equal(p.refs, to.refs) {
		return
	}
	u.detach(s, p)
	p.want, p.rule, p.held, p.why, p.refs, p.manager = to.want, to.rule, to.held, to.why, to.refs, to.manager
	u.attach(s, p)
}

func (u *update) removePerson(s *source, p *person) {
	u.detach(s, p)
	u.setIn(p, false)
	p.account.persons = slices.DeleteFunc(p.account.persons, func(o *person) bool { return o == p })
	delete(p.world.people, p.want.ID)
	delete(u.people, p)
}

// attach enters a person under what is looked up by.
func (u *update) attach(s *source, p *person) {
	u.matches[p.rule.name]++
	if p.held {
		p.world.held.add(p)
		u.findings.set(topic{CannotJudge, p.world.id, s.id, string(p.account.id)}, p.why)
	}
	if p.manager != "" {
		s.reports[p.manager] = append(s.reports[p.manager], p)
	}
	for _, ref := range p.refs {
		ref = access.Fold(ref)
		s.awaited[ref] = append(s.awaited[ref], p)
	}
	u.openRing(p)
	login := access.Fold(p.want.Login)
	p.world.logins[login] = append(p.world.logins[login], p)
	u.openLogin(p, login)
	u.resettle(p)
}

func (u *update) detach(s *source, p *person) {
	u.matches[p.rule.name]--
	u.openRing(p)
	delete(p.world.held, p)
	u.findings.set(topic{CannotJudge, p.world.id, s.id, string(p.account.id)})
	u.findings.set(topic{LoginTaken, p.world.id, s.id, string(p.account.id)})
	if p.manager != "" {
		without(s.reports, p.manager, p)
	}
	for _, ref := range p.refs {
		without(s.awaited, access.Fold(ref), p)
	}
	login := access.Fold(p.want.Login)
	without(p.world.logins, login, p)
	u.openLogin(p, login)
}

// openLogin has a login decided again, and the one that the user has now: whether
// that is free depends on whether the user stays.
func (u *update) openLogin(p *person, login string) {
	if u.whole() {
		return
	}
	p.world.openLogins[login] = struct{}{}
	if now, ok := u.state(p.world.id).Users[p.want.ID]; ok {
		p.world.openLogins[access.Fold(now.Login)] = struct{}{}
	}
}

func without[K comparable, V comparable](m map[K][]V, k K, v V) {
	list := m[k]
	if i := slices.Index(list, v); i >= 0 {
		list[i] = list[len(list)-1]
		list[len(list)-1] = *new(V)
		list = list[:len(list)-1]
	}
	if len(list) == 0 {
		delete(m, k)
		return
	}
	m[k] = list
}

// setIn says whether the person is a user of the environment, which the
// memberships follow.
func (u *update) setIn(p *person, in bool) {
	if p.in == in {
		return
	}
	p.in = in
	u.mark(p.world.id, access.KindUser, string(p.want.ID))
	for _, x := range p.account.in {
		if x.team != nil && x.team.world == p.world {
			u.markMembership(x.team, p.want.ID)
			if in {
				x.team.outside--
			} else {
				x.team.outside++
			}
			u.teams.add(x.team)
		}
	}
}

// settleLogins decides who has which login, wherever that may have changed. Who
// has a login keeps it; it is given anew only to the one who alone claims it.
func (u *update) settleLogins() {
	for _, w := range u.worlds {
		if u.whole() {
			for login := range w.logins {
				w.openLogins[login] = struct{}{}
			}
		}
		if len(w.openLogins) == 0 {
			continue
		}
		state := u.state(w.id)
		for login := range w.openLogins {
			if !u.settleLogin(w, state, login) {
				delete(w.openLogins, login)
			}
		}
	}
}

// settleLogin tells whether the login has to be judged again next time.
func (u *update) settleLogin(w *world, state *access.State, login string) (open bool) {
	claims := w.logins[login]
	var winner *person
	holder, held := state.LoginHolder(login)
	if held && login != "" {
		i := slices.IndexFunc(claims, func(p *person) bool { return p.want.ID == holder.ID })
		if i >= 0 {
			winner = claims[i]
		} else if holder.ManagedBy == access.ByMapping && w.people[holder.ID] == nil {
			held = false // whoever has it is about to go
		}
	}
	if !held && len(claims) == 1 && login != "" {
		winner = claims[0]
	}
	for _, p := range claims {
		t := topic{LoginTaken, w.id, p.source.id, string(p.account.id)}
		u.resettle(p)
		now, known := state.Users[p.want.ID]
		known = known && now.ManagedBy == access.ByMapping
		p.login = p.want.Login
		if p == winner {
			u.findings.set(t)
			u.setIn(p, true)
			open = open || !known
			continue
		}
		open = true
		if login == "" { // held, and never seen before
			u.setIn(p, false)
			continue
		}
		who := "several accounts claim it"
		if held {
			who = fmt.Sprintf("user %s has it", holder.ID)
		}
		text := fmt.Sprintf("the login %q is taken: %s; ", p.want.Login, who)
		if known {
			p.login = now.Login
			text += fmt.Sprintf("the user keeps %q", now.Login)
		} else {
			text += "the user is left out"
		}
		u.findings.set(t, Finding{
			Kind: LoginTaken, Environment: w.id, Rule: p.rule.name, Source: p.source.id, Object: p.account.id, Name: p.want.Name,
			Text: text, Hint: "narrow the rules so that one source brings this person, or give one of them another login",
		})
		u.setIn(p, known)
	}
	return open
}

// settlePerson brings the desired user up to date.
func (u *update) settlePerson(p *person) {
	next := p.want
	next.Login = p.login
	next.Admitted, next.Origin.Path = u.admitted(p)
	if p.ring != nil {
		next.Manager = "" // Rule HIER-9
	}
	if next != p.desired {
		p.desired = next
		if p.in {
			u.mark(p.world.id, access.KindUser, string(next.ID))
		}
	}
}

// admitted tells whether the environment security group lets the person in
// (Rules ESG-1, ESG-6), and through which groups within it (Rule GRAPH-32).
func (u *update) admitted(p *person) (yes bool, path string) {
	for _, g := range p.world.gates {
		if g.source != p.source {
			continue
		}
		if !g.judges() {
			now := u.state(p.world.id).Users[p.want.ID]
			return now.Admitted, now.Origin.Path
		}
		if s, ok := g.expansion.members[p.account]; ok {
			return true, s.path
		}
		return false, ""
	}
	return false, ""
}
