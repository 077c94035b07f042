package access_test

import (
	"cmp"
	"regexp"
	"slices"

	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
)

// naiveModelFaults judges what naiveFaults leaves out: relationships, templates,
// positions, managers, columns, profiles and the kinds of user.
func naiveModelFaults(s *access.State, check func(bool, string, ...any), unique func(name, id string)) {
	e := s.Environment
	check(e.SecurityGroup == nil || e.Kind != access.Developer && e.Kind != access.DefaultEnvironment, "group of a %s environment", e.Kind)
	ofUsers := func(id access.TableID) bool {
		t, ok := s.Tables[id]
		return ok && t.Ownership == access.UserOrTeam
	}
	if h := e.Hierarchy; h != nil {
		check(h.Depth >= 1 && h.Depth <= 100 && h.DirectLevels >= 0 && h.DirectLevels <= h.Depth, "depth of the hierarchy")
		check(slices.IsSorted(h.Except) && len(slices.Compact(slices.Clone(h.Except))) == len(h.Except), "order of the exceptions")
		for _, t := range h.Except {
			check(ofUsers(t), "exception %s", t)
		}
	}
	for id, t := range s.Tables {
		for i, c := range t.Columns {
			check(c.Name != "" && (i == 0 || t.Columns[i-1].Name < c.Name), "column %s of %s", c.Name, id)
			if c.Mask != nil {
				_, err := regexp.Compile(c.Mask.Pattern)
				check(err == nil, "mask of %s", c.Name)
			}
		}
		for _, c := range t.SecuredColumns() {
			check(c != "id" && c != string(id)+"id" && c != "owner" && c != "ownerid", "secured %s of %s", c, id)
		}
	}
	parental := map[access.TableID]int{}
	for id, r := range s.Relationships {
		_, from := s.Tables[r.Table]
		_, to := s.Tables[r.Parent]
		check(from && to, "tables of relationship %s", id)
		check(!r.ManyToMany || r.Cascade == access.Cascades{}, "cascades of relationship %s", id)
		if r.Parental() {
			parental[r.Table]++
			check(parental[r.Table] == 1, "parental relationships of %s", r.Table)
		}
	}
	templates := map[access.TableID]int{}
	for id, t := range s.Templates {
		unique("template "+t.Name, string(id))
		templates[t.Table]++
		check(ofUsers(t.Table) && s.Tables[t.Table].AccessTeams, "table of template %s", id)
		check(t.Rights != 0 && !t.Rights.Has(access.Create), "rights of template %s", id)
	}
	for t, n := range templates {
		check(n <= cmp.Or(e.TemplatesPerTable, 2), "templates of %s", t)
	}
	for id, p := range s.Positions {
		unique("position "+p.Name, string(id))
		_, ok := s.Positions[p.Parent]
		check(p.Parent == "" || ok, "parent of position %s", id)
		for at, n := p.Parent, 0; n < 101; n, at = n+1, s.Positions[at].Parent {
			check(at != id, "cycle of position %s", id)
		}
	}
	for id, p := range s.Profiles {
		unique("profile "+p.Name, string(id))
		for _, c := range p.Columns {
			check(slices.Contains(s.Tables[c.Table].SecuredColumns(), c.Column), "column %s of profile %s", c.Column, id)
			check(c.Read || c.Unmasked == access.UnmaskedNever, "unmasked %s of profile %s", c.Column, id)
		}
	}
	unattended := 0
	for id, u := range s.Users {
		check((u.Application != "") == (u.Kind == access.ApplicationUser), "application of %s", id)
		if u.Application != "" {
			unique("application "+u.Application, string(id))
		}
		if u.Kind == access.Person && u.AccessMode == access.NonInteractive {
			unattended++
		}
		for at, n := u.Manager, 0; n < 101 && at != ""; n, at = n+1, s.Users[at].Manager {
			check(at != id, "cycle of manager %s", id)
		}
	}
	check(unattended <= cmp.Or(e.NonInteractiveUsers, 7), "%d unattended users", unattended)
	exists := func(p access.Principal) bool {
		if t, ok := p.Team(); ok {
			if u, ok := t.DefaultOf(); ok {
				_, ok := s.BusinessUnits[u]
				return ok
			}
			_, ok := s.Teams[t]
			return ok
		}
		_, ok := s.Users[access.UserID(p.ID)]
		return ok
	}
	for k := range s.ProfileMembers {
		_, ok := s.Profiles[k.Profile]
		check(ok && k.Principal.Kind <= access.TeamPrincipal && exists(k.Principal), "member %v", k)
	}
	for k, c := range s.ColumnShares {
		check(ofUsers(k.Table) && slices.Contains(s.Tables[k.Table].SecuredColumns(), k.Column), "column of share %v", k)
		check(c.Read || c.Update, "rights of column share %v", k)
		check(k.Principal.Kind == access.Everybody || exists(k.Principal), "principal of column share %v", k)
	}
	for id, t := range s.Teams {
		if t.For != nil {
			template, ok := s.Templates[t.For.Template]
			check(ok && template.Table == t.For.Table && t.Type == access.AccessTeam, "template of team %s", id)
		}
	}
	for k, r := range s.Records {
		for i, l := range r.Links {
			rel, ok := s.Relationships[l.Relationship]
			check(ok && rel.Table == k.Table && !rel.ManyToMany, "link of %v", k)
			check(i == 0 || r.Links[i-1].Relationship < l.Relationship, "order of links of %v", k)
		}
	}
	for k, x := range s.Shares {
		check(x.Rights|x.Inherited != 0, "nothing by share %v", k)
		var union access.Rights
		for _, a := range x.Along {
			union |= a.Rights
			rel, ok := s.Relationships[a.Relationship]
			check(a.Relationship == "" || ok && rel.Table == k.Table && !rel.ManyToMany, "way of share %v", k)
		}
		check(len(x.Along) == 0 || union == x.Inherited, "inherited by share %v", k)
	}
}

// naiveEnds removes what ends with tables, columns, relationships, records,
// templates and profiles, over and over, until nothing does.
func naiveEnds(s, after *access.State, free func(access.Object) bool) {
	remove := func(o access.Object) bool {
		if free(o) {
			after.Apply(access.Remove(o))
		}
		return free(o)
	}
	if h := after.Environment.Hierarchy; h != nil && free(after.Environment) {
		e, kept := after.Environment, *h
		kept.Except = slices.DeleteFunc(slices.Clone(h.Except), func(t access.TableID) bool {
			now, ok := after.Tables[t]
			return !ok || now.Ownership != access.UserOrTeam
		})
		if len(kept.Except) < len(h.Except) {
			e.Hierarchy = &kept
			after.Apply(access.Put(e))
		}
	}
	for _, r := range after.Relationships {
		_, from := after.Tables[r.Table]
		_, to := after.Tables[r.Parent]
		_ = from && to || remove(r)
	}
	for _, t := range after.Templates {
		_, ok := after.Tables[t.Table]
		_ = ok || remove(t)
	}
	unsecured := func(t access.TableID, c string) bool {
		return slices.Contains(s.Tables[t].SecuredColumns(), c) && !slices.Contains(after.Tables[t].SecuredColumns(), c)
	}
	for _, p := range after.Profiles {
		kept := slices.DeleteFunc(slices.Clone(p.Columns), func(c access.ProfileColumn) bool { return unsecured(c.Table, c.Column) })
		if free(p) && len(kept) < len(p.Columns) {
			p.Columns = kept
			after.Apply(access.Put(p))
		}
	}
	for again := true; again; {
		again = false
		for k, r := range after.Records {
			for _, l := range r.Links {
				rel := after.Relationships[l.Relationship]
				if free(r) && !redefined(s, after, rel.ID) && gone(s, after, access.RecordKey{Table: rel.Parent, Record: l.Record}) &&
					picks(s, after, rel.Cascade.Delete, k, access.RecordKey{Table: rel.Parent, Record: l.Record}) {
					again = remove(r) || again
					break
				}
			}
		}
	}
	for _, r := range after.Records {
		if kept := slices.DeleteFunc(slices.Clone(r.Links), func(l access.Link) bool {
			return redefined(s, after, l.Relationship) || gone(s, after, access.RecordKey{Table: after.Relationships[l.Relationship].Parent, Record: l.Record})
		}); free(r) && len(kept) < len(r.Links) {
			if r.Links = kept; len(kept) == 0 {
				r.Links = nil
			}
			after.Apply(access.Put(r))
		}
	}
	// Teams of templates.
	for _, t := range after.Teams {
		if t.For == nil {
			continue
		}
		_, template := after.Templates[t.For.Template]
		before, now := 0, 0
		for k := range s.Memberships {
			if k.Team == t.ID {
				before++
			}
		}
		for k := range after.Memberships {
			if _, ok := after.Users[k.User]; k.Team == t.ID && (ok || !free(after.Memberships[k])) {
				now++
			}
		}
		if !template || gone(s, after, access.RecordKey{Table: t.For.Table, Record: t.For.Record}) || before > 0 && now == 0 {
			remove(t)
		}
	}
}

func redefined(s, after *access.State, id access.RelationshipID) bool {
	was, had := s.Relationships[id]
	is, has := after.Relationships[id]
	return had && (!has || was.Table != is.Table || was.Parent != is.Parent || was.ManyToMany != is.ManyToMany)
}

func gone(s, after *access.State, k access.RecordKey) bool {
	_, was := s.Records[k]
	_, is := after.Records[k]
	return was && !is
}

// picks states Rule OWN-12's choice of children.
func picks(s, after *access.State, c access.Cascade, child, parent access.RecordKey) bool {
	owner := func(k access.RecordKey) access.Principal {
		if r, ok := s.Records[k]; ok {
			return r.Owner
		}
		return after.Records[k].Owner
	}
	return c == access.CascadeAll || c == access.CascadeActive && !after.Records[child].Inactive || c == access.CascadeUserOwned && owner(child) == owner(parent)
}

// naiveAssign passes new owners on, round by round (Rule OWN-12), and shares with
// the former ones (Rule OWN-10).
func naiveAssign(s, after *access.State, free func(access.Object) bool, unit func(*access.State, access.Principal) (access.BusinessUnitID, bool)) {
	changed := func(k access.RecordKey) bool {
		was, had := s.Records[k]
		is, has := after.Records[k]
		return had && has && was.Owner != is.Owner && is.Owner != access.Principal{}
	}
	for again := true; again; {
		next := map[access.RecordKey]access.Principal{}
		for k, r := range after.Records {
			if !free(r) || changed(k) {
				continue
			}
			var first access.RecordKey
			var along access.RelationshipID
			for _, l := range r.Links {
				rel := after.Relationships[l.Relationship]
				parent := access.RecordKey{Table: rel.Parent, Record: l.Record}
				if changed(parent) && after.Records[parent].Owner != r.Owner && picks(s, after, rel.Cascade.Assign, k, parent) &&
					(along == "" || parent.Record < first.Record || parent == first && rel.ID < along) {
					first, along, next[k] = parent, rel.ID, after.Records[parent].Owner
				}
			}
		}
		for k, owner := range next {
			r := after.Records[k]
			r.Owner = owner
			if !after.Environment.Modernized || !after.Environment.KeepRecordUnit {
				r.BusinessUnit, _ = unit(after, owner)
			}
			after.Apply(access.Put(r))
		}
		again = len(next) > 0
	}
	for k, r := range after.Records {
		former := s.Records[k].Owner
		_, exists := unit(after, former)
		x, ok := after.Shares[access.ShareKey{RecordKey: k, Principal: former}]
		if !ok {
			x = access.Share{Environment: env, Table: r.Table, Record: r.ID, Principal: former, ManagedBy: r.ManagedBy}
		}
		if after.Environment.ShareWithPrevious && changed(k) && exists && free(x) {
			x.Rights, x.Window = 0xff&^access.RightsOf(access.Create), access.Window{}
			after.Apply(access.Put(x))
		}
	}
}

// naiveInherit states Rule SHARE-7 for every record and principal: among those
// that the changes reach, it takes everything that came along and gives back what
// comes, until no more does.
func naiveInherit(s, after *access.State, free func(access.Object) bool) {
	principals := map[access.Principal]bool{}
	for k := range s.Shares {
		principals[k.Principal] = true
	}
	for k := range after.Shares {
		principals[k.Principal] = true
	}
	passes := func(s *access.State, k access.ShareKey) access.Rights {
		x, ok := s.Shares[k]
		if _, registered := s.Records[k.RecordKey]; !ok || !registered || !x.Window.Open() {
			return 0
		}
		return x.Rights | x.Inherited
	}
	link := func(s *access.State, k access.RecordKey, id access.RelationshipID) access.RecordID {
		for _, l := range s.Records[k].Links {
			if l.Relationship == id {
				return l.Record
			}
		}
		return ""
	}
	relinked := func(k access.RecordKey, id access.RelationshipID) bool {
		now := link(after, k, id)
		return link(s, k, id) != now || now != "" && redefined(s, after, id)
	}
	parentOf := func(k access.ShareKey, l access.Link) access.ShareKey {
		return access.ShareKey{RecordKey: access.RecordKey{Table: after.Relationships[l.Relationship].Parent, Record: l.Record}, Principal: k.Principal}
	}
	runs := func(k access.ShareKey, l access.Link) bool {
		c, parent := after.Relationships[l.Relationship].Cascade, parentOf(k, l).RecordKey
		if relinked(k.RecordKey, l.Relationship) {
			return picks(s, after, c.Reparent, k.RecordKey, parent)
		}
		return picks(s, after, c.Share, k.RecordKey, parent) || picks(s, after, c.Unshare, k.RecordKey, parent)
	}
	reached := map[access.ShareKey]bool{}
	for again := true; again; {
		again = false
		for rk, r := range after.Records {
			for p := range principals {
				k := access.ShareKey{RecordKey: rk, Principal: p}
				reach := passes(s, k) != passes(after, k)
				for _, l := range r.Links {
					reach = reach || runs(k, l) && (reached[parentOf(k, l)] || relinked(rk, l.Relationship) && passes(after, parentOf(k, l)) != 0)
				}
				for _, a := range after.Shares[k].Along {
					reach = reach || relinked(rk, a.Relationship)
				}
				again = again || reach && !reached[k]
				reached[k] = reached[k] || reach
			}
		}
	}
	along := map[access.ShareKey]map[access.RelationshipID]access.Rights{}
	now := func(k access.ShareKey) access.Rights {
		if !reached[k] {
			return passes(after, k)
		}
		x := after.Shares[k]
		if along[k] == nil || !x.Window.Open() {
			return 0
		}
		out := x.Rights
		for _, r := range along[k] {
			out |= r
		}
		return out
	}
	for again := true; again; {
		again = false
		for k, in := range reached {
			if !in {
				continue
			}
			x, next := after.Shares[k], map[access.RelationshipID]access.Rights{}
			if len(x.Along) == 0 {
				next[""] = x.Inherited
			}
			for _, a := range x.Along {
				if !relinked(k.RecordKey, a.Relationship) {
					next[a.Relationship] = a.Rights
				}
			}
			for _, l := range after.Records[k.RecordKey].Links {
				c, parent := after.Relationships[l.Relationship].Cascade, parentOf(k, l)
				grown, shrunk := now(parent)&^passes(s, parent), passes(s, parent)&^now(parent)
				switch {
				case relinked(k.RecordKey, l.Relationship):
					if picks(s, after, c.Reparent, k.RecordKey, parent.RecordKey) {
						next[l.Relationship] = now(parent)
					}
				default:
					if picks(s, after, c.Share, k.RecordKey, parent.RecordKey) {
						next[l.Relationship] |= grown
					}
					if picks(s, after, c.Unshare, k.RecordKey, parent.RecordKey) {
						next[l.Relationship] &^= shrunk
					}
				}
			}
			was := now(k)
			first := along[k] == nil
			along[k] = next
			again = again || first || now(k) != was
		}
	}
	for k, list := range along {
		x, ok := after.Shares[k]
		r := after.Records[k.RecordKey]
		if !ok {
			x = access.Share{Environment: env, Table: r.Table, Record: r.ID, Principal: k.Principal, ManagedBy: r.ManagedBy}
		}
		x.Along, x.Inherited = nil, 0
		for id, rights := range list {
			if rights != 0 {
				x.Along = append(x.Along, access.Inheritable{Relationship: id, Rights: rights})
				x.Inherited |= rights
			}
		}
		slices.SortFunc(x.Along, func(a, b access.Inheritable) int { return cmp.Compare(a.Relationship, b.Relationship) })
		if len(x.Along) == 1 && x.Along[0].Relationship == "" {
			x.Along = nil
		}
		_, was := s.Shares[k]
		switch {
		case x.Rights|x.Inherited != 0 || !was && ok:
			after.Apply(access.Put(x))
		case ok:
			after.Apply(access.Remove(x))
		}
	}
}

// whole is company with relationships, templates, positions and secured columns.
func whole() *access.State {
	all, some := access.Cascades{Assign: access.CascadeAll, Share: access.CascadeAll, Unshare: access.CascadeAll, Reparent: access.CascadeAll, Delete: access.CascadeAll},
		access.Cascades{Assign: access.CascadeUserOwned, Share: access.CascadeActive, Unshare: access.CascadeAll, Reparent: access.CascadeUserOwned}
	side := relationship("side", "account", some)
	return company(
		access.Put(secured("account", "iban", "salary")),
		access.Put(relationship("up", "account", all)), access.Put(side),
		access.Put(template("tp1")), access.Put(position("p1", "")), access.Put(position("p2", "p1")),
		access.Put(profile("s1", "iban")), access.Put(access.ProfileMember{Environment: env, Profile: "s1", Principal: userOf("ann"), ManagedBy: access.ByFile}),
		access.Put(with(record("3", userOf("ann"), "sales"), func(r *access.Record) { r.Links = []access.Link{{Relationship: "up", Record: "1"}} })),
		access.Put(forRecord("for1", "1")), access.Put(member("for1", "bob")), access.Put(columnShare("1", "iban", userOf("bob"))),
	)
}

func secured(id string, columns ...string) access.Table {
	t := table(id, access.UserOrTeam)
	t.AccessTeams = true
	for _, c := range columns {
		t.Columns = append(t.Columns, access.Column{Name: c, Secured: true})
	}
	return t
}

func relationship(id, parent string, c access.Cascades) access.Relationship {
	return access.Relationship{Environment: env, ID: access.RelationshipID(id), Table: "account", Parent: access.TableID(parent), Cascade: c, ManagedBy: access.ByFile}
}

func template(id string) access.Template {
	return access.Template{Environment: env, ID: access.TemplateID(id), Name: "Template " + id, Table: "account", Rights: access.RightsOf(access.Read, access.Write), ManagedBy: access.ByFile}
}

func position(id, parent string) access.Position {
	return access.Position{Environment: env, ID: access.PositionID(id), Name: "Position " + id, Parent: access.PositionID(parent), ManagedBy: access.ByFile}
}

func profile(id string, columns ...string) access.Profile {
	p := access.Profile{Environment: env, ID: access.ProfileID(id), Name: "Profile " + id, ManagedBy: access.ByFile}
	for _, c := range columns {
		p.Columns = append(p.Columns, access.ProfileColumn{Table: "account", Column: c, Read: true})
	}
	return p
}

func forRecord(id, record string) access.Team {
	t := team(id, "sales", access.AccessTeam)
	t.For = &access.TemplateLink{Template: "tp1", Table: "account", Record: access.RecordID(record)}
	return t
}

func columnShare(record, column string, p access.Principal) access.ColumnShare {
	return access.ColumnShare{Environment: env, Table: "account", Record: access.RecordID(record), Column: column, Principal: p, Read: true, ManagedBy: access.ByAPI}
}

// anyModelChange draws a change of the kinds that naiveModelFaults judges.
func anyModelChange(t *rapid.T, principal access.Principal, rid string) access.Object {
	id := func(what string, ids ...string) string { return rapid.SampledFrom(ids).Draw(t, what) }
	flag := func(what string) bool { return rapid.Bool().Draw(t, what) }
	rare := func(what string) bool { return rapid.IntRange(0, 5).Draw(t, what) == 0 }
	columns := func() (out []string) {
		for _, c := range []string{"iban", "salary"} {
			if !rare("no " + c) {
				out = append(out, c)
			}
		}
		return out
	}
	switch rapid.IntRange(0, 11).Draw(t, "of the model") {
	case 0:
		cascade := func(what string) access.Cascade {
			return rapid.SampledFrom([]access.Cascade{access.CascadeNone, access.CascadeActive, access.CascadeUserOwned, access.CascadeAll, access.CascadeAll}).Draw(t, what)
		}
		r := relationship(id("relationship", "up", "side"), "account", access.Cascades{})
		switch {
		case rare("many to many"):
			r.ManyToMany = true
		case rare("parental"):
			r.Cascade = access.Cascades{Assign: access.CascadeAll, Share: access.CascadeAll, Unshare: access.CascadeAll, Reparent: access.CascadeAll, Delete: access.CascadeAll}
		default:
			r.Cascade = access.Cascades{Assign: cascade("assign"), Share: cascade("share"), Unshare: cascade("unshare"), Reparent: cascade("reparent"), Delete: cascade("delete")}
		}
		if rare("another parent") {
			r.Parent = "desk"
		}
		return r
	case 1:
		x := template(id("template", "tp1", "tp2", "tp3"))
		if x.ID == "tp3" {
			x.Table = access.TableID(id("of", "account", "desk"))
		}
		return x
	case 2:
		p := position(id("position", "p1", "p2", "p3"), id("above", "", "p1", "p2", "p3"))
		return p
	case 3:
		return profile(id("profile", "s1", "s2"), columns()...)
	case 4:
		return access.ProfileMember{Environment: env, Profile: access.ProfileID(id("profile", "s1", "s2")), Principal: principal, ManagedBy: access.ByFile}
	case 5:
		return columnShare(rid, id("column", "iban", "salary"), principal)
	case 6:
		return with(secured("account", columns()...), func(x *access.Table) { x.AccessTeams = !rare("no access teams") })
	case 7:
		return forRecord(id("team", "for1", "for2"), rid)
	case 8:
		return member(id("team", "for1", "for2"), id("user", "ann", "bob"))
	case 9:
		u := user(id("user", "ann", "bob", "eve", "root"), "sales")
		u.Manager = access.UserID(id("manager", "ann", "bob", "eve", "root", ""))
		u.Position = access.PositionID(id("position", "p1", "p3", ""))
		u.AccessMode = rapid.SampledFrom([]access.AccessMode{access.ReadWrite, access.ReadOnly, access.NonInteractive, access.Administrative}).Draw(t, "mode")
		if rare("application user") {
			u.Kind, u.Application = access.ApplicationUser, "app"
		}
		return u
	case 10:
		return modernized(func(e *access.Environment) {
			e.Modernized, e.ShareWithPrevious, e.NonInteractiveUsers = flag("modernized"), flag("with previous"), rapid.IntRange(0, 1).Draw(t, "unattended")
			if flag("hierarchy") {
				e.Hierarchy = &access.Hierarchy{Depth: 3, DirectLevels: rapid.IntRange(0, 4).Draw(t, "direct"), Except: []access.TableID{access.TableID(id("except", "account", "desk"))}}
			}
			if rare("group") {
				e.SecurityGroup, e.Kind = &access.GroupRef{Source: "entra", Group: "g"}, access.EnvironmentKind(rapid.IntRange(0, 4).Draw(t, "kind"))
			}
		}).Object
	}
	r := record(rid, principal, "")
	for _, along := range []string{"side", "up"} {
		if flag(along) {
			r.Links = append(r.Links, access.Link{Relationship: access.RelationshipID(along), Record: access.RecordID(id("parent", "1", "2", "3", "4"))})
		}
	}
	r.Inactive = rare("inactive")
	return r
}
