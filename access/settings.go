package access

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what a table says of its columns.
const (
	maxColumns = 1000
	maxMask    = 1000 // bytes of a pattern or replacement
)

const (
	defaultTemplatesPerTable   = 2
	defaultNonInteractiveUsers = 7
)

func (d *draft) validateEnvironment(e Environment) {
	d.checkID(e, string(e.ID))
	d.checkName(e, "name", e.Name)
	d.checkManager(e, e.ManagedBy)
	switch {
	case e.Kind > DefaultEnvironment:
		d.fault("ESG-5", e, "is of an unknown kind")
	case e.SecurityGroup != nil && (e.Kind == DefaultEnvironment || e.Kind == Developer):
		d.fault("ESG-5", e, fmt.Sprintf("cannot have a security group, being of kind %s: everybody gets in there", e.Kind))
	}
	if e.TemplatesPerTable < 0 {
		d.fault("TEAM-6", e, "has a negative number of access team templates a table")
	}
	if e.NonInteractiveUsers < 0 {
		d.fault("ACC-1", e, "has a negative number of non-interactive users")
	}
	if e.Hierarchy != nil {
		d.validateHierarchy(e, e.Hierarchy)
	}
}

// validateHierarchy judges the settings of hierarchy security (Rules HIER-1,
// HIER-3).
func (d *draft) validateHierarchy(e Environment, h *Hierarchy) {
	switch {
	case h.Model > PositionHierarchy:
		d.fault("HIER-1", e, "has an unknown hierarchy model")
	case h.Depth < 1 || h.Depth > MaxLevels:
		d.fault("HIER-3", e, fmt.Sprintf("has a hierarchy of depth %d: want 1 to %d", h.Depth, MaxLevels))
	case h.DirectLevels < 0 || h.DirectLevels > h.Depth:
		d.fault("HIER-3", e, fmt.Sprintf("counts %d levels as direct reports: want 1 to the depth of %d", h.DirectLevels, h.Depth))
	}
	for i, id := range h.Except {
		switch t, ok := d.tables.get(id); {
		case !ok:
			d.fault("HIER-1", e, fmt.Sprintf("leaves table %q out of the hierarchy, which does not exist", id))
		case t.Ownership != UserOrTeam:
			d.fault("HIER-1", e, fmt.Sprintf("leaves table %q out of the hierarchy, which is never in it: its ownership is %s", id, t.Ownership))
		}
		if i > 0 && h.Except[i-1] >= id {
			d.fault("HIER-1", e, fmt.Sprintf("leaves table %q out of the hierarchy twice or unsorted", id))
		}
	}
}

// validateColumns judges what a table says of its columns (Rules FLS-1, FLS-4,
// FLS-8).
func (d *draft) validateColumns(t Table) {
	if len(t.Columns) > maxColumns {
		d.fault("FLS-1", t, fmt.Sprintf("lists %d columns: %d are the most", len(t.Columns), maxColumns))
		return
	}
	from := map[string][]string{}
	for i, c := range t.Columns {
		from[c.Name] = c.From
		for _, name := range append([]string{c.Name}, c.From...) {
			if strings.TrimSpace(name) == "" || len(name) > maxID || !utf8.ValidString(name) {
				d.fault("FLS-1", t, fmt.Sprintf("has a column with the name %q: want up to %d bytes of UTF-8", name, maxID))
			}
		}
		if i > 0 && t.Columns[i-1].Name >= c.Name {
			d.fault("FLS-1", t, fmt.Sprintf("lists column %q twice or unsorted", c.Name))
		}
		if c.Mask != nil {
			d.checkMask(t, c)
		}
	}
	for _, c := range t.Columns {
		if restsOnItself(c.Name, from) {
			d.fault("FLS-8", t, fmt.Sprintf("has column %q, which is calculated from itself", c.Name))
			return
		}
	}
	for _, name := range t.SecuredColumns() {
		switch Fold(name) {
		case "id", Fold(string(t.ID)) + "id":
			d.fault("FLS-1", t, fmt.Sprintf("cannot secure column %q: it is the primary key", name))
		case "owner", "ownerid":
			d.fault("FLS-1", t, fmt.Sprintf("cannot secure column %q: it is the owner", name))
		}
	}
}

// restsOnItself tells whether a column is calculated, by whatever steps, from
// itself.
func restsOnItself(column string, from map[string][]string) bool {
	seen := map[string]bool{}
	next := slices.Clone(from[column])
	for len(next) > 0 {
		c := next[len(next)-1]
		next = next[:len(next)-1]
		if c == column {
			return true
		}
		if !seen[c] {
			seen[c] = true
			next = append(next, from[c]...)
		}
	}
	return false
}

func (d *draft) checkMask(t Table, c Column) {
	if len(c.Mask.Pattern) > maxMask || len(c.Mask.Replace) > maxMask {
		d.fault("FLS-4", t, fmt.Sprintf("masks column %q by a rule of more than %d bytes", c.Name, maxMask))
		return
	}
	if _, err := regexp.Compile(c.Mask.Pattern); err != nil || c.Mask.Pattern == "" {
		d.fault("FLS-4", t, fmt.Sprintf("masks column %q by %q, which is no regular expression in RE2 syntax", c.Name, c.Mask.Pattern))
	}
}

// validateRelationships judges changed relationships, and that a table has one
// parental one at most (Rule OWN-12).
func (d *draft) validateRelationships() {
	var parental []Relationship
	for e := range d.relations.changes() {
		if !e.is {
			continue
		}
		r := e.after
		d.checkID(r, string(r.ID))
		d.checkManager(r, r.ManagedBy)
		for _, t := range []TableID{r.Table, r.Parent} {
			if !d.tables.has(t) {
				d.fault("REL-1", r, fmt.Sprintf("names table %q, which does not exist", t))
			}
		}
		c := r.Cascade
		switch {
		case max(c.Assign, c.Share, c.Unshare, c.Reparent, c.Delete) > CascadeAll:
			d.fault("OWN-12", r, "has an unknown cascade")
		case r.ManyToMany && c != Cascades{}:
			d.fault("REL-2", r, "is many-to-many: nothing runs along it, so it has no cascades")
		}
		if r.Parental() {
			parental = append(parental, r)
		}
	}
	if len(parental) == 0 {
		return
	}
	of := map[TableID][]string{}
	for id, r := range d.relations.all() {
		if r.Parental() {
			of[r.Table] = append(of[r.Table], string(id))
		}
	}
	for _, r := range parental {
		if list := of[r.Table]; len(list) > 1 {
			slices.Sort(list)
			d.fault("OWN-12", r, fmt.Sprintf("is one of several parental relationships of table %q, %s: one is the most", r.Table, strings.Join(list, ", ")))
		}
	}
}

// validateTemplates judges changed templates, and whether tables and settings that
// changed still allow those that there are (Rule TEAM-6).
func (d *draft) validateTemplates() {
	limited := len(d.environments.changed) > 0
	if len(d.templates.changed) == 0 && len(d.tables.changed) == 0 && !limited {
		return
	}
	n := map[TableID]int{}
	for _, t := range d.templates.all() {
		n[t.Table]++
	}
	limit := d.environment().TemplatesPerTable
	if limit == 0 {
		limit = defaultTemplatesPerTable
	}
	told := map[TableID]bool{}
	for e := range d.templates.changes() {
		if !e.is {
			continue
		}
		t := e.after
		before := len(d.faults)
		d.checkID(t, string(t.ID))
		d.checkName(t, "name", t.Name)
		d.checkManager(t, t.ManagedBy)
		switch {
		case t.Rights == 0:
			d.fault("TEAM-6", t, "gives no right")
		case t.Rights.Has(Create):
			d.fault("TEAM-6", t, "gives create, which cannot be shared")
		}
		switch table, ok := d.tables.get(t.Table); {
		case e.was && e.before.Table != t.Table:
			d.fault("TEAM-6", t, "cannot change its table: delete it and make another")
		case !ok:
			d.fault("TEAM-6", t, fmt.Sprintf("names table %q, which does not exist", t.Table))
		case table.Ownership != UserOrTeam:
			d.fault("TEAM-6", t, fmt.Sprintf("is for table %q: only records that a user or team owns are shared, and its ownership is %s", t.Table, table.Ownership))
		case !table.AccessTeams:
			d.fault("TEAM-6", t, fmt.Sprintf("is for table %q, which is not enabled for access teams", t.Table))
		case n[t.Table] > limit && !e.was:
			d.fault("TEAM-6", t, fmt.Sprintf("would be one of %d access team templates of table %q: %d are the most in this environment", n[t.Table], t.Table, limit))
		}
		told[t.Table] = told[t.Table] || len(d.faults) > before
	}
	for e := range d.tables.changes() {
		if t := e.after; e.is && n[t.ID] > 0 && !told[t.ID] && (!t.AccessTeams || t.Ownership != UserOrTeam) {
			d.fault("TEAM-6", t, fmt.Sprintf("has access team templates (%d), which need a table that is enabled for them and owned by users and teams: delete them first", n[t.ID]))
		}
	}
	for id, n := range n {
		if n > limit && limited && !told[id] {
			d.fault("TEAM-6", d.environment(), fmt.Sprintf("has %d access team templates of table %q: %d are the most", n, id, limit))
		}
	}
}

// checkTemplateLink judges an access team of a template (Rule TEAM-6).
func (d *draft) checkTemplateLink(e edit[Team]) {
	t := e.after
	if e.was && (t.For == nil) != (e.before.For == nil) || e.was && t.For != nil && *t.For != *e.before.For {
		d.fault("TEAM-1", t, "cannot change the record or template for which it is: delete it and make another")
	}
	if t.For == nil {
		return
	}
	if t.Type != AccessTeam {
		d.fault("TEAM-6", t, "cannot be for a record, being of type "+t.Type.String()+": an access team is")
	}
	d.checkID(t, string(t.For.Record))
	switch template, ok := d.templates.get(t.For.Template); {
	case !ok:
		d.fault("TEAM-6", t, fmt.Sprintf("names access team template %q, which does not exist", t.For.Template))
	case template.Table != t.For.Table:
		d.fault("TEAM-6", t, fmt.Sprintf("is for a record of table %q, but its template %q is for table %q", t.For.Table, template.ID, template.Table))
	}
	if d.goes(t.For.record()) {
		d.fault("TEAM-6", t, "is for a record that the same changeset deletes")
	}
}

// validatePositions judges the trees of positions (Rules HIER-7, HIER-9).
func (d *draft) validatePositions() {
	if len(d.positions.changed) == 0 {
		return
	}
	for e := range d.positions.changes() {
		if e.is {
			d.checkID(e.after, string(e.after.ID))
			d.checkName(e.after, "name", e.after.Name)
			d.checkManager(e.after, e.after.ManagedBy)
		}
	}
	for id, p := range d.positions.all() {
		if p.Parent != "" && !d.positions.has(p.Parent) {
			d.fault("HIER-7", p, fmt.Sprintf("is below position %q, which does not exist", p.Parent))
			continue
		}
		switch n, cycle := walkUp(id, func(at PositionID) PositionID {
			p, _ := d.positions.get(at)
			return p.Parent
		}); {
		case cycle:
			d.fault("HIER-9", p, "lies below itself: its parents form a cycle")
		case n == MaxLevels+1:
			d.fault("HIER-9", p, fmt.Sprintf("lies too deep: %d levels of positions are the most", MaxLevels))
		}
	}
}

// walkUp counts the levels from the top down to one, that one among them, or
// tells that the way up comes back to it. It stops where they are too many, and
// where the way enters a cycle without it, which it counts as none.
func walkUp[K ~string](from K, above func(K) K) (levels int, cycle bool) {
	mark := from
	for at := from; at != ""; {
		levels++
		if levels > MaxLevels {
			return levels, false
		}
		if levels&(levels-1) == 0 {
			mark = at
		}
		switch at = above(at); at {
		case from:
			return 0, true
		case mark:
			return 0, false
		}
	}
	return levels, false
}

// validateManagers judges whom changed users report to (Rule HIER-9). Links that
// were there before are not theirs.
func (d *draft) validateManagers() {
	for e := range d.users.changes() {
		if !e.is || e.after.Manager == "" || e.was && e.before.Manager == e.after.Manager {
			continue
		}
		levels, cycle := walkUp(e.after.ID, func(at UserID) UserID {
			if u, _ := d.users.get(at); d.users.has(u.Manager) {
				return u.Manager
			}
			return ""
		})
		switch {
		case cycle:
			d.fault("HIER-9", e.after, fmt.Sprintf("reports to itself: its managers, from user %q up, form a cycle", e.after.Manager))
		case levels > MaxLevels:
			d.fault("HIER-9", e.after, fmt.Sprintf("has too many managers above it: %d levels are the most", MaxLevels))
		}
	}
}

// validateUnattended judges how many users are non-interactive (Rule ACC-1). The
// fault is that of the users who come to be, or else of the environment's limit.
func (d *draft) validateUnattended() {
	n := d.state.index.unattended
	var more []User
	for e := range d.users.changes() {
		was, is := e.was && e.before.unattended(), e.is && e.after.unattended()
		switch {
		case was && !is:
			n--
		case is && !was:
			n++
			more = append(more, e.after)
		}
	}
	limit := d.environment().NonInteractiveUsers
	if limit == 0 {
		limit = defaultNonInteractiveUsers
	}
	if n <= limit {
		return
	}
	for _, u := range more {
		d.fault("ACC-1", u, fmt.Sprintf("would be one of %d non-interactive users: %d are the most", n, limit))
	}
	if len(more) == 0 && len(d.environments.changed) > 0 {
		d.fault("ACC-1", d.environment(), fmt.Sprintf("has %d non-interactive users: %d are the most", n, limit))
	}
}

// validateProfile judges the lines of a column security profile (Rule FLS-2).
func (d *draft) validateProfile(p Profile) {
	d.checkID(p, string(p.ID))
	d.checkName(p, "name", p.Name)
	d.checkManager(p, p.ManagedBy)
	for i, c := range p.Columns {
		d.checkSecured(p, c.Table, c.Column)
		switch {
		case c.Unmasked > UnmaskedAllRecords:
			d.fault("FLS-2", p, fmt.Sprintf("has an unknown permission to read column %q of table %q unmasked", c.Column, c.Table))
		case c.Unmasked != UnmaskedNever && !c.Read:
			d.fault("FLS-2", p, fmt.Sprintf("reads column %q of table %q unmasked without reading it", c.Column, c.Table))
		}
		if i > 0 && cmp.Or(cmp.Compare(p.Columns[i-1].Table, c.Table), cmp.Compare(p.Columns[i-1].Column, c.Column)) >= 0 {
			d.fault("FLS-2", p, fmt.Sprintf("lists column %q of table %q twice or unsorted", c.Column, c.Table))
		}
	}
}

// checkSecured tells whether the table has the column and secures it.
func (d *draft) checkSecured(o Object, table TableID, column string) {
	t, ok := d.tables.get(table)
	if !ok {
		d.fault("FLS-1", o, fmt.Sprintf("names table %q, which does not exist", table))
		return
	}
	if _, secured := slices.BinarySearch(t.SecuredColumns(), column); !secured {
		d.fault("FLS-1", o, fmt.Sprintf("names column %q of table %q, which is not secured", column, table))
	}
}

func (d *draft) validateProfileMember(m ProfileMember) {
	d.checkManager(m, m.ManagedBy)
	if !d.profiles.has(m.Profile) {
		d.fault("FLS-2", m, fmt.Sprintf("names column profile %q, which does not exist", m.Profile))
	}
	if m.Principal.Kind > TeamPrincipal {
		d.fault("FLS-2", m, "gives the profile to "+m.Principal.Kind.String()+": only a user or a team has one")
		return
	}
	d.checkPrincipal("FLS-2", m, m.Principal)
}

// validateColumnShare judges the share of a secured column of one record (Rule
// FLS-7).
func (d *draft) validateColumnShare(c ColumnShare) {
	d.checkID(c, string(c.Record))
	d.checkManager(c, c.ManagedBy)
	if !c.Read && !c.Update {
		d.fault("FLS-7", c, "gives no right: delete it instead")
	}
	d.checkSecured(c, c.Table, c.Column)
	if t, ok := d.tables.get(c.Table); ok && t.Ownership != UserOrTeam {
		d.fault("FLS-7", c, "cannot be put: only records that a user or team owns are shared, and the table's ownership is "+t.Ownership.String())
	}
	if d.goes(c.key().RecordKey) {
		d.fault("FLS-7", c, "is of a record that the same changeset deletes")
	}
	d.checkRecipient("FLS-7", c, c.Principal)
}

// checkLinks judges a record's lookups (Rule OWN-12). What they point to may be
// registered later, or never: then nothing runs along.
func (d *draft) checkLinks(r Record) {
	for i, l := range r.Links {
		rel, ok := d.relations.get(l.Relationship)
		switch {
		case !ok:
			d.fault("REL-1", r, fmt.Sprintf("links along relationship %q, which does not exist", l.Relationship))
		case rel.Table != r.Table:
			d.fault("REL-1", r, fmt.Sprintf("links along relationship %q, which is one of table %q", l.Relationship, rel.Table))
		case rel.ManyToMany:
			d.fault("REL-2", r, fmt.Sprintf("links along relationship %q, which is many-to-many and has no lookup", l.Relationship))
		case d.goes(RecordKey{rel.Parent, l.Record}):
			d.fault("REL-1", r, fmt.Sprintf("links to record %q of table %q, which the same changeset deletes", l.Record, rel.Parent))
		}
		d.checkID(r, string(l.Record))
		if i > 0 && r.Links[i-1].Relationship >= l.Relationship {
			d.fault("REL-1", r, fmt.Sprintf("links along relationship %q twice or unsorted", l.Relationship))
		}
	}
}

// checkAlong judges what a share, as it was put, says of where its rights came
// from (Rule SHARE-7). Rights whose relationship is not told are the application's
// own.
func (d *draft) checkAlong(s Share) {
	var union Rights
	for i, a := range s.Along {
		union |= a.Rights
		if i > 0 && s.Along[i-1].Relationship >= a.Relationship {
			d.fault("SHARE-7", s, fmt.Sprintf("inherits along relationship %q twice or unsorted", a.Relationship))
		}
		if a.Rights == 0 {
			d.fault("SHARE-7", s, fmt.Sprintf("inherits nothing along relationship %q: leave it out", a.Relationship))
		}
	}
	if len(s.Along) > 0 && union != s.Inherited {
		d.fault("SHARE-7", s, "inherits other rights than come along its relationships")
	}
}

// checkWays judges along which relationships a share inherits.
func (d *draft) checkWays(s Share) {
	for _, a := range s.Along {
		if r, ok := d.relations.get(a.Relationship); a.Relationship != "" && (!ok || r.Table != s.Table || r.ManyToMany) {
			d.fault("SHARE-7", s, fmt.Sprintf("inherits along relationship %q, which the table does not have", a.Relationship))
		}
	}
}
