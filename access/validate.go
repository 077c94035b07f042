package access

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxID is the longest id, in bytes.
const maxID = 256

// validate judges the draft: each changed object by itself and by what it refers
// to, and what refers to objects that changed in a way that matters.
func (d *draft) validate() {
	if _, ok := d.environments.get(d.state.Environment.ID); !ok {
		d.faults = append(d.faults, &Invalid{
			Object:  "environment " + string(d.state.Environment.ID),
			Problem: "does not exist: put it first, or in the same changeset",
		})
		return
	}
	for e := range d.environments.changes() {
		d.validateEnvironment(e.after)
	}
	d.validateUnits()
	d.validateTables()
	d.validateRelationships()
	d.validateTemplates()
	d.validatePositions()
	for e := range d.profiles.changes() {
		if e.is {
			d.validateProfile(e.after)
		}
	}
	for e := range d.roles.changes() {
		d.validateRole(e)
	}
	for e := range d.users.changes() {
		d.validateUser(e)
	}
	d.validateManagers()
	d.validateUnattended()
	for e := range d.teams.changes() {
		d.validateTeam(e)
	}
	for e := range d.memberships.changes() {
		if e.is {
			d.validateMembership(e)
		}
	}
	for e := range d.assignments.changes() {
		if e.is {
			d.validateAssignment(e)
		}
	}
	for e := range d.profiled.changes() {
		if e.is {
			d.validateProfileMember(e.after)
		}
	}
	for e := range d.records.changes() {
		if e.is {
			d.validateRecord(e)
		}
	}
	for e := range d.shares.changes() {
		if e.is {
			d.validateShare(e.after)
		}
	}
	for e := range d.columns.changes() {
		if e.is {
			d.validateColumnShare(e.after)
		}
	}
	for e := range d.others.changes() {
		if e.is {
			d.checkID(e.after, e.after.ObjectKey())
		}
	}
	d.validateNames()
	d.validateAdministrators()
}

func (d *draft) checkID(o Object, id string) {
	switch {
	case id == "":
		d.fault("", o, "has no id")
	case len(id) > maxID:
		d.fault("", o, fmt.Sprintf("has an id of %d bytes: %d are the most", len(id), maxID))
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		d.fault("", o, "has an id that is not printable UTF-8")
	}
}

func (d *draft) checkName(o Object, what, name string) {
	if strings.TrimSpace(name) == "" || !utf8.ValidString(name) {
		d.fault("", o, fmt.Sprintf("needs a %s in UTF-8 that is not blank", what))
	}
}

func (d *draft) checkManager(o Object, m ManagedBy) {
	switch m {
	case ByFile, ByAPI, ByMapping, ByJIT, BySystem:
	default:
		d.fault("", o, fmt.Sprintf("is managed by %q: want file, api, mapping, jit or system", m))
	}
}

func (d *draft) checkUnit(rule string, o Object, unit BusinessUnitID) bool {
	if d.units.has(unit) {
		return true
	}
	d.fault(rule, o, fmt.Sprintf("names business unit %q, which does not exist", unit))
	return false
}

// checkPrincipal tells whether the user or team exists.
func (d *draft) checkPrincipal(rule string, o Object, p Principal) bool {
	if _, ok := d.unitOf(p); ok {
		return true
	}
	d.fault(rule, o, fmt.Sprintf("names %s %q, which does not exist", p.Kind, p.ID))
	return false
}

// checkBearer tells whether p can own records and hold roles (Rules OWN-6, TEAM-5).
func (d *draft) checkBearer(o Object, p Principal, what string) bool {
	if p.Kind > TeamPrincipal {
		d.fault("TEAM-5", o, fmt.Sprintf("names %s: only a user or a team %s", p.Kind, what))
		return false
	}
	if !d.checkPrincipal("TEAM-5", o, p) {
		return false
	}
	if t, ok := p.Team(); ok {
		if team, ok := d.teams.get(t); ok && !team.CanOwn() {
			d.fault("TEAM-5", o, fmt.Sprintf("names access team %q: an access team only receives shares", t))
			return false
		}
	}
	return true
}

// validateUnits judges the tree (Rules BU-1, BU-3, BU-4).
func (d *draft) validateUnits() {
	env := d.environment()
	if len(d.units.changed) == 0 {
		if !d.state.Exists() {
			d.fault("BU-1", env, "needs a root business unit: put one in the same changeset")
		}
		return
	}
	moved := false
	gone := map[BusinessUnitID]bool{}
	for e := range d.units.changes() {
		root := e.was && e.before.Parent == ""
		switch {
		case !e.is && root:
			d.fault("BU-1", e.before, "is the root and cannot be deleted")
		case !e.is:
			gone[e.before.ID] = true
		case root && e.after.Parent != "":
			d.fault("BU-1", e.after, "is the root and cannot be moved")
		}
		if !e.is {
			continue
		}
		d.checkID(e.after, string(e.after.ID))
		d.checkName(e.after, "name", e.after.Name)
		d.checkManager(e.after, e.after.ManagedBy)
		if e.after.Parent == "" && e.after.Disabled {
			d.fault("BU-1", e.after, "is the root and cannot be disabled")
		}
		if e.after.Parent != "" {
			d.checkUnit("BU-1", e.after, e.after.Parent)
		}
		moved = moved || e.was && e.before.Parent != e.after.Parent
		// A team cannot have the name that the unit's default team takes.
		k := nameKey{kind: KindTeam, within: string(e.after.ID), name: Fold(e.after.Name)}
		if id, ok := d.state.index.names[k]; ok && d.untouchedName(KindTeam, id) {
			d.fault("TEAM-9", e.after, fmt.Sprintf("cannot have the name %q: team %s in it has that name, which its default team would get", e.after.Name, id))
		}
	}
	d.validateTree(env)
	if len(gone) > 0 {
		d.validateDeletedUnits(gone)
	}
	if moved {
		for _, a := range d.assignments.untouched() {
			d.checkRoleExists(a)
		}
	}
}

func (d *draft) validateTree(env Environment) {
	var roots []string
	faults := len(d.faults)
	below := map[BusinessUnitID]bool{} // units from which a walk up ends
	for id, b := range d.units.all() {
		if b.Parent == "" {
			roots = append(roots, string(id))
		}
		path := map[BusinessUnitID]bool{}
		for ok := true; ok && !below[id]; b, ok = d.units.get(id) {
			if path[id] {
				d.fault("BU-1", d.firstOfCycle(b), "lies below itself: its parents form a cycle")
				break
			}
			path[id] = true
			id = b.Parent
		}
		for id := range path {
			below[id] = true
		}
	}
	if len(d.faults) == faults {
		for id, b := range d.units.all() {
			if levels, _ := walkUp(id, func(at BusinessUnitID) BusinessUnitID {
				b, _ := d.units.get(at)
				return b.Parent
			}); levels == MaxLevels+1 {
				d.fault("BU-1", b, fmt.Sprintf("lies too deep: %d levels of business units are the most", MaxLevels))
			}
		}
	}
	slices.Sort(roots)
	switch {
	case len(roots) == 0:
		d.fault("BU-1", env, "needs a root business unit: one without a parent")
	case len(roots) > 1:
		d.fault("BU-1", env, "has several root business units, "+strings.Join(roots, ", ")+": all but one need a parent")
	}
}

// firstOfCycle returns the unit of b's cycle with the smallest id.
func (d *draft) firstOfCycle(b BusinessUnit) BusinessUnit {
	first := b
	for next, _ := d.units.get(b.Parent); next.ID != b.ID; next, _ = d.units.get(next.Parent) {
		if next.ID < first.ID {
			first = next
		}
	}
	return first
}

// validateDeletedUnits refuses what would leave somebody or something without a
// unit. What the changeset itself puts into such a unit is its own fault.
func (d *draft) validateDeletedUnits(gone map[BusinessUnitID]bool) {
	left := map[BusinessUnitID]*[4]int{}
	count := func(unit BusinessUnitID, what int) {
		if gone[unit] {
			if left[unit] == nil {
				left[unit] = new([4]int)
			}
			left[unit][what]++
		}
	}
	for _, b := range d.units.untouched() {
		count(b.Parent, 0)
	}
	for _, u := range d.users.untouched() {
		count(u.BusinessUnit, 1)
	}
	for _, t := range d.teams.untouched() {
		count(t.BusinessUnit, 2)
	}
	for _, r := range d.records.untouched() {
		count(r.BusinessUnit, 3)
		if t, ok := r.Owner.Team(); ok {
			if unit, ok := t.DefaultOf(); ok && unit != r.BusinessUnit {
				count(unit, 3)
			}
		}
	}
	before := newDraft(d.state, nil)
	for id := range gone {
		b := d.state.BusinessUnits[id]
		if before.enabled(id) {
			d.fault("BU-4", b, "can be deleted only when it is disabled: disable it first")
		}
		if n := left[id]; n != nil {
			var what []string
			for i, noun := range []string{"child units", "users", "teams", "records"} {
				if n[i] > 0 {
					what = append(what, fmt.Sprintf("%s: %d", noun, n[i]))
				}
			}
			d.fault("BU-4", b, "cannot be deleted before what is in it has been moved ("+strings.Join(what, ", ")+")")
		}
	}
}

// enabled tells whether the unit and all above it are enabled (Rule BU-3).
func (d *draft) enabled(id BusinessUnitID) bool {
	for range len(d.units.base) + len(d.units.changed) + 1 {
		b, ok := d.units.get(id)
		if !ok || b.Disabled {
			return false
		}
		if b.Parent == "" {
			return true
		}
		id = b.Parent
	}
	return false
}

func (d *draft) validateTables() {
	changed := map[TableID]bool{}
	for e := range d.tables.changes() {
		if !e.is {
			continue
		}
		d.checkID(e.after, string(e.after.ID))
		d.checkManager(e.after, e.after.ManagedBy)
		if e.after.Ownership > NotOwned {
			d.fault("OWN-1", e.after, "has an unknown ownership")
		}
		d.validateColumns(e.after)
		if e.was && e.before.Ownership != e.after.Ownership {
			changed[e.after.ID] = true
		}
	}
	if len(changed) == 0 {
		return
	}
	for _, r := range d.roles.untouched() {
		for _, p := range r.Privileges {
			if changed[p.Table] {
				d.checkDepth(r, p)
			}
		}
	}
	n := map[TableID]int{}
	for k := range d.records.untouched() {
		n[k.Table]++
	}
	for k := range d.shares.untouched() {
		n[k.Table]++
	}
	for k := range d.columns.untouched() {
		n[k.Table]++
	}
	for id := range changed {
		if n[id] > 0 {
			t, _ := d.tables.get(id)
			d.fault("OWN-1", t, fmt.Sprintf("cannot change its ownership: %d records and shares of the old kind are registered", n[id]))
		}
	}
}

func (d *draft) checkDepth(r Role, p Privilege) {
	t, ok := d.tables.get(p.Table)
	switch {
	case !ok:
		d.fault("ROLE-14", r, fmt.Sprintf("names table %q, which does not exist", p.Table))
	case p.Action >= Actions || p.Depth > Global:
		d.fault("ROLE-14", r, fmt.Sprintf("has an unknown privilege on table %q: %s to %s", p.Table, p.Action, p.Depth))
	case p.Depth == None:
		d.fault("ROLE-14", r, fmt.Sprintf("lists %s on table %q at depth none: leave the line out", p.Action, p.Table))
	case !t.Ownership.Reaches(p.Depth):
		d.fault("ROLE-14", r, fmt.Sprintf("has %s on table %q at depth %s: a table of ownership %s knows organization alone", p.Action, p.Table, p.Depth, t.Ownership))
	}
}

func (d *draft) validateRole(e edit[Role]) {
	r := e.after
	if !e.is {
		return
	}
	d.checkID(r, string(r.ID))
	d.checkName(r, "name", r.Name)
	d.checkManager(r, r.ManagedBy)
	d.checkUnit("ROLE-2", r, r.BusinessUnit)
	if r.Inheritance > TeamOnly {
		d.fault("ROLE-7", r, "has an unknown member privilege inheritance")
	}
	switch {
	case r.All && len(r.Privileges)+len(r.Miscellaneous) > 0:
		d.fault("ROLE-10", r, "has every privilege: it cannot list some")
	case e.was && e.before.All && (!r.All || r.BusinessUnit != e.before.BusinessUnit):
		d.fault("ROLE-10", r, "has every privilege in all units below its own: that cannot be edited")
	}
	for i, p := range r.Privileges {
		d.checkDepth(r, p)
		if i == 0 {
			continue
		}
		switch c := comparePrivileges(r.Privileges[i-1], p); {
		case c == 0:
			d.fault("ROLE-14", r, fmt.Sprintf("lists %s on table %q twice", p.Action, p.Table))
		case c > 0:
			d.fault("ROLE-14", r, "has unsorted privileges: sort them by table, then action")
		}
	}
	for i, m := range r.Miscellaneous {
		if m == "" || strings.ContainsFunc(m, func(c rune) bool { return !unicode.IsPrint(c) || unicode.IsSpace(c) }) {
			d.fault("ROLE-14", r, fmt.Sprintf("has miscellaneous privilege %q: want a name without spaces", m))
		}
		if i > 0 && r.Miscellaneous[i-1] >= m {
			d.fault("ROLE-14", r, fmt.Sprintf("lists miscellaneous privilege %q twice or unsorted", m))
		}
	}
}

func comparePrivileges(a, b Privilege) int {
	if c := strings.Compare(string(a.Table), string(b.Table)); c != 0 {
		return c
	}
	return int(a.Action) - int(b.Action)
}

func (d *draft) validateUser(e edit[User]) {
	if !e.is {
		d.checkOwnsNothing("OWN-1", e.before, e.before.ID.Principal())
		return
	}
	u := e.after
	d.checkID(e.object, string(u.ID))
	d.checkName(e.object, "login", u.Login)
	d.checkManager(e.object, u.ManagedBy)
	d.checkUnit("BU-7", e.object, u.BusinessUnit)
	switch {
	case u.Kind > StubUser:
		d.fault("ACC-2", u, "is of an unknown kind")
	case u.Kind == ApplicationUser && u.Application == "":
		d.fault("ACC-2", u, "is an application user and needs the app registration to which it is bound")
	case u.Kind != ApplicationUser && u.Application != "":
		d.fault("ACC-2", u, "is bound to an app registration: only an application user is")
	}
	if u.AccessMode > DelegatedAdministrator {
		d.fault("ACC-1", u, "has an unknown access mode")
	}
}

// checkOwnsNothing refuses the end of a principal that untouched records name as
// their owner. A record that the changeset puts is its own fault.
func (d *draft) checkOwnsNothing(rule string, o Object, p Principal) {
	n := 0
	for k := range d.state.index.owned[p] {
		if _, changed := d.records.changed[k]; !changed {
			n++
		}
	}
	if n > 0 {
		d.fault(rule, o, fmt.Sprintf("cannot be deleted while it owns registered records (%d): assign them to others first", n))
	}
}

func (d *draft) validateTeam(e edit[Team]) {
	if !e.is {
		d.checkOwnsNothing("TEAM-8", e.before, e.before.ID.Principal())
		return
	}
	t := e.after
	d.checkID(t, string(t.ID))
	d.checkName(t, "name", t.Name)
	d.checkManager(t, t.ManagedBy)
	if _, ok := t.ID.DefaultOf(); ok {
		d.fault("BU-6", t, "is a default team, which comes and goes with its business unit: choose an id without the prefix default:")
	}
	if d.checkUnit("BU-7", t, t.BusinessUnit) {
		if b, _ := d.units.get(t.BusinessUnit); Fold(b.Name) == Fold(t.Name) {
			d.fault("TEAM-9", t, fmt.Sprintf("cannot have the name %q: the default team of its business unit has it", t.Name))
		}
	}
	grouped := t.Type == SecurityGroupTeam || t.Type == M365GroupTeam
	switch {
	case t.Type > M365GroupTeam:
		d.fault("TEAM-1", t, "has an unknown type")
	case grouped && (t.Group == nil || t.Group.Source == "" || t.Group.Group == ""):
		d.fault("TEAM-2", t, "needs a directory source and group, being of type "+t.Type.String())
	case !grouped && t.Group != nil:
		d.fault("TEAM-2", t, "cannot have a directory group, being of type "+t.Type.String())
	case grouped && t.Group.Membership > GuestsOnly:
		d.fault("TEAM-2", t, "has an unknown membership kind")
	case e.was && !sameGroup(e.before, t):
		d.fault("TEAM-1", t, "cannot change its type, directory group or membership kind: delete it and make another")
	}
	d.checkTemplateLink(e)
}

func sameGroup(a, b Team) bool {
	if a.Type != b.Type || (a.Group == nil) != (b.Group == nil) {
		return false
	}
	return a.Group == nil || a.Group.Source == b.Group.Source && a.Group.Group == b.Group.Group && a.Group.Membership == b.Group.Membership
}

func (d *draft) validateMembership(e edit[Membership]) {
	m := e.after
	d.checkManager(e.object, m.ManagedBy)
	if _, ok := m.Team.DefaultOf(); ok {
		d.fault("BU-6", m, "cannot be put: the members of a default team are the users of its business unit")
		return
	}
	t, ok := d.teams.get(m.Team)
	if !ok {
		d.fault("TEAM-3", m, fmt.Sprintf("names team %q, which does not exist", m.Team))
	}
	if !d.users.has(m.User) {
		d.fault("TEAM-3", m, fmt.Sprintf("names user %q, which does not exist", m.User))
	}
	if ok && t.Group != nil && m.ManagedBy != ByMapping {
		d.fault("TEAM-3", m, "cannot be put by hand: the members of a group team come from the directory; change the group there")
	}
}

func (d *draft) validateAssignment(e edit[Assignment]) {
	a := e.after
	d.checkID(a, string(a.ID))
	d.checkManager(a, a.ManagedBy)
	if a.Window.Empty() {
		d.fault("", a, "has a window that ends before it starts: no instant lies in it")
	}
	switch {
	case e.was && e.before.Request != a.Request:
		d.fault("JIT-E-4", a, "cannot turn from an elevation into a standing assignment, or back: make another")
	case a.Request != "" && a.Window.End.IsZero():
		d.fault("JIT-E-4", a, "is an elevation and needs an end")
	}
	roleFound := d.roles.has(a.Role)
	if !roleFound {
		d.fault("ROLE-2", a, fmt.Sprintf("names role %q, which does not exist", a.Role))
	}
	if d.checkUnit("ROLE-2", a, a.BusinessUnit) && roleFound {
		d.checkRoleExists(a)
	}
	if d.checkBearer(a, a.Principal, "holds roles") && !d.environment().Modernized {
		if unit, _ := d.unitOf(a.Principal); unit != a.BusinessUnit {
			d.fault("BU-8", a, fmt.Sprintf("is in business unit %q, but its principal is in %q: switch modernized units on, or assign it there", a.BusinessUnit, unit))
		}
	}
}

// checkRoleExists: an assignment names a unit in which the role exists (Rule
// ROLE-2).
func (d *draft) checkRoleExists(a Assignment) {
	if r, _ := d.roles.get(a.Role); !d.within(a.BusinessUnit, r.BusinessUnit) {
		d.fault("ROLE-2", a, fmt.Sprintf("is in business unit %q, where role %q does not exist: that is defined in %q and exists there and below", a.BusinessUnit, a.Role, r.BusinessUnit))
	}
}

func (d *draft) validateRecord(e edit[Record]) {
	r := e.after
	d.checkID(r, string(r.ID))
	d.checkManager(r, r.ManagedBy)
	t, ok := d.tables.get(r.Table)
	if !ok {
		d.fault("OWN-1", r, fmt.Sprintf("names table %q, which does not exist", r.Table))
		return
	}
	d.checkLinks(r)
	owned, placed := r.Owner != Principal{}, r.BusinessUnit != ""
	switch t.Ownership {
	case UserOrTeam:
		if !owned {
			d.fault("OWN-1", r, "needs an owner")
			return
		}
		if !d.checkBearer(r, r.Owner, "owns records") {
			return
		}
		unit, _ := d.unitOf(r.Owner)
		if d.environment().Modernized {
			d.checkUnit("BU-9", r, r.BusinessUnit)
		} else if unit != r.BusinessUnit {
			d.fault("OWN-5", r, fmt.Sprintf("cannot have owning unit %q: it is always the owner's, %q, or leave it empty", r.BusinessUnit, unit))
		}
		id, isUser := r.Owner.User()
		if u, _ := d.users.get(id); isUser && !u.Enabled && (!e.was || e.before.Owner != r.Owner) {
			d.fault("OWN-6", r, fmt.Sprintf("cannot be assigned to user %q, who is disabled", id))
		}
	case BusinessUnitOwned:
		if owned {
			d.fault("OWN-3", r, "cannot have an owner: its table is owned by business units")
		}
		d.checkUnit("OWN-3", r, r.BusinessUnit)
	case OrganizationOwned, NotOwned:
		if owned || placed {
			d.fault("OWN-2", r, "cannot have an owner or an owning unit: its table's ownership is "+t.Ownership.String())
		}
	}
}

func (d *draft) validateShare(s Share) {
	d.checkID(s, string(s.Record))
	d.checkManager(s, s.ManagedBy)
	rights := s.Rights | s.Inherited
	switch {
	case rights == 0:
		d.fault("SHARE-1", s, "gives no right: delete it instead")
	case rights.Has(Create):
		d.fault("SHARE-1", s, "gives create, which cannot be shared")
	}
	d.checkWays(s)
	if s.Window.Empty() {
		d.fault("SHARE-10", s, "has a window that ends before it starts: no instant lies in it")
	}
	switch t, ok := d.tables.get(s.Table); {
	case !ok:
		d.fault("SHARE-2", s, fmt.Sprintf("names table %q, which does not exist", s.Table))
	case t.Ownership != UserOrTeam:
		d.fault("SHARE-2", s, "cannot be put: only records that a user or team owns are shared, and the table's ownership is "+t.Ownership.String())
	}
	if d.goes(s.key().RecordKey) {
		d.fault("SHARE-9", s, "is of a record that the same changeset deletes")
	}
	d.checkRecipient("SHARE-4", s, s.Principal)
}

// goes tells whether the changeset deletes a record. One that was never
// registered does not go.
func (d *draft) goes(k RecordKey) bool {
	_, changed := d.records.changed[k]
	return changed && !d.records.has(k)
}

// checkRecipient judges to whom something is shared (Rule SHARE-4).
func (d *draft) checkRecipient(rule string, o Object, p Principal) {
	switch {
	case p.Kind > Everybody || p.Kind == Everybody && p.ID != "":
		d.fault(rule, o, "names an unknown kind of principal")
	case p.Kind != Everybody:
		d.checkPrincipal(rule, o, p)
	}
}

// validateNames judges what must be unique: logins, and names of units, roles
// and teams (Rules TEAM-2, TEAM-9).
func (d *draft) validateNames() {
	taken := make(map[nameKey]string, len(d.units.changed)+len(d.roles.changed)+len(d.users.changed)+len(d.teams.changed))
	rivals := map[nameKey][]string{}
	claim := func(o Object) {
		keys, n := namesOf(o)
		for _, k := range keys[:n] {
			holder, ok := taken[k]
			if !ok {
				holder, ok = d.state.index.names[k]
				ok = ok && d.untouchedName(k.kind, holder)
			}
			if ok {
				rivals[k] = append(rivals[k], holder)
			}
			taken[k] = o.ObjectKey()
		}
	}
	claimAll(&d.units, claim)
	claimAll(&d.templates, claim)
	claimAll(&d.positions, claim)
	claimAll(&d.roles, claim)
	claimAll(&d.profiles, claim)
	claimAll(&d.users, claim)
	claimAll(&d.teams, claim)
	for k, among := range rivals {
		among = append(among, taken[k])
		slices.Sort(among) // whichever came first
		for _, key := range among[1:] {
			d.faults = append(d.faults, duplicate(k, key, among[0]))
		}
	}
}

func claimAll[K comparable, V Object](l *layer[K, V], claim func(Object)) {
	for _, p := range l.order {
		if c := l.draft.changes[p.at]; !c.Delete {
			claim(c.Object)
		}
	}
}

// untouchedName tells whether the holder of a name is left as it is.
func (d *draft) untouchedName(kind Kind, key string) bool {
	var changed bool
	switch kind {
	case KindBusinessUnit:
		_, changed = d.units.changed[BusinessUnitID(key)]
	case KindTemplate:
		_, changed = d.templates.changed[TemplateID(key)]
	case KindPosition:
		_, changed = d.positions.changed[PositionID(key)]
	case KindRole:
		_, changed = d.roles.changed[RoleID(key)]
	case KindProfile:
		_, changed = d.profiles.changed[ProfileID(key)]
	case KindUser:
		_, changed = d.users.changed[UserID(key)]
	case KindTeam:
		_, changed = d.teams.changed[TeamID(key)]
	}
	return !changed
}

func duplicate(k nameKey, key, rival string) *Invalid {
	f := &Invalid{Object: k.kind.String() + " " + key}
	switch {
	case k.group:
		f.Rule, f.Problem = "TEAM-2", fmt.Sprintf("takes the same part of the same directory group as team %s: one of them is enough", rival)
	case k.kind == KindTeam:
		f.Rule, f.Problem = "TEAM-9", fmt.Sprintf("has the name %q, as team %s of the same business unit has: names there must differ in more than case", k.name, rival)
	case k.kind == KindUser && k.within != "":
		f.Rule, f.Problem = "ACC-2", fmt.Sprintf("is bound to app registration %q, as user %s is: there is one user for each", k.name, rival)
	case k.kind == KindUser:
		f.Problem = fmt.Sprintf("has the login %q, as user %s has: logins must differ in more than case", k.name, rival)
	default:
		f.Problem = fmt.Sprintf("has the name %q, as %s %s has: names must differ in more than case", k.name, k.kind, rival)
	}
	return f
}

// administers tells whether the user, holding System Administrator, could put an
// environment right: an enabled person whose access mode lets in and lets change
// something (Rules ACC-1 to ACC-3).
func (u User) administers() bool {
	return u.Enabled && u.Kind == Person && u.AccessMode != ReadOnly && u.AccessMode != NonInteractive
}

// validateAdministrators keeps the last enabled user who holds System
// Administrator as a standing role (Rule ROLE-10).
func (d *draft) validateAdministrators() {
	if !d.touchesAdministrators() || !newDraft(d.state, nil).administered() || d.administered() {
		return
	}
	d.fault("ROLE-10", d.environment(), "would lose its last enabled user who holds System Administrator: give that role to another first")
}

// touchesAdministrators tells, without reading the whole environment, whether the
// changes can end somebody's System Administrator.
func (d *draft) touchesAdministrators() bool {
	all := func(p Principal) bool {
		for id := range d.state.AssignmentsOf(p) {
			if d.state.Roles[d.state.Assignments[id].Role].All {
				return true
			}
		}
		return false
	}
	for range d.units.existing() {
		return true
	}
	for e := range d.roles.existing() {
		if e.before.All {
			return true
		}
	}
	for e := range d.assignments.existing() {
		if d.state.Roles[e.before.Role].All {
			return true
		}
	}
	for e := range d.memberships.existing() {
		if !e.is && all(e.before.Team.Principal()) {
			return true
		}
	}
	for e := range d.users.existing() {
		if !e.before.administers() || e.is && e.after.administers() && e.after.BusinessUnit == e.before.BusinessUnit {
			continue
		}
		if all(e.before.ID.Principal()) || all(e.before.BusinessUnit.DefaultTeam().Principal()) {
			return true
		}
		for t := range d.state.TeamsOf(e.before.ID) {
			if all(t.Principal()) {
				return true
			}
		}
	}
	return false
}

// administered tells whether some enabled user in an enabled unit holds a role
// with every privilege, directly or by a team, and not for a time.
func (d *draft) administered() bool {
	works := func(id UserID) bool {
		u, ok := d.users.get(id)
		return ok && u.administers() && d.enabled(u.BusinessUnit)
	}
	teams := map[TeamID]bool{}
	for _, a := range d.assignments.all() {
		if r, ok := d.roles.get(a.Role); !ok || !r.All || a.Request != "" || !a.Window.Open() {
			continue
		}
		if u, ok := a.Principal.User(); ok && works(u) {
			return true
		}
		if t, ok := a.Principal.Team(); ok {
			teams[t] = true
		}
	}
	if len(teams) == 0 {
		return false
	}
	for k := range d.memberships.all() {
		if teams[k.Team] && works(k.User) {
			return true
		}
	}
	for id, u := range d.users.all() {
		if teams[u.BusinessUnit.DefaultTeam()] && works(id) {
			return true
		}
	}
	return false
}
