package enginetest

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Found writes what a random organisation brought to light as a decision table,
// whose answer is the reference's, and returns its file. There is a form for one
// question to Check, Rights, Who, Columns or a ruling that can be judged; for
// everything else it fails, and Kept.Keep writes it.
func Found(dir, about string, st *access.State, asked Asked) (string, error) {
	c, err := caseOf(st, asked)
	if err != nil {
		return "", err
	}
	c.Rule, c.Case = "EVAL-12", about
	out, err := yaml.Marshal(tableFile{About: about, Loose: true, Facts: written(st), Cases: []caseFile{c}})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, strings.ReplaceAll(about, " ", "-")+".yaml")
	return file, os.WriteFile(file, out, 0o644)
}

func caseOf(st *access.State, asked Asked) (caseFile, error) {
	r := Reference{State: st}
	var q engine.Question
	switch x := asked.Ruling; {
	case x != nil:
		q = x.asks(access.Read)
	case len(asked.Questions) == 1:
		q = asked.Questions[0]
	default:
		return caseFile{}, fmt.Errorf("%s: want one question, not %d", asked.About, len(asked.Questions))
	}
	c := caseFile{
		Who: string(q.User), ImpersonatedBy: string(q.Impersonator), Channel: q.Channel, Table: string(q.Table),
		Privilege: q.Privilege, Sets: q.Columns, At: q.At,
	}
	if q.Privilege == "" {
		c.Does = q.Action.String()
	}
	if q.Record != nil {
		c.record(st, q.Table, *q.Record)
	}
	switch asked.About {
	case "Check":
		d, err := r.Check(q)
		c.Answer, c.Depth, c.OfImpersonator, c.Until = string(d.Reason), d.Depth, d.OfImpersonator, d.ValidUntil
		return c, err
	case "Rights":
		mask, err := r.Rights(q)
		names := append([]string{}, rightNames(mask)...)
		c.Rights = &names
		return c, err
	case "Who":
		users, err := r.Who(q)
		names := []string{}
		for _, u := range users {
			names = append(names, string(u))
		}
		c.Everyone = &names
		return c, err
	case "Columns":
		all, err := r.Columns(q)
		c.Sees, c.InLists = map[string]string{}, map[string]string{}
		for _, got := range all {
			c.Sees[got.Name], c.InLists[got.Name] = got.Alone, got.Listed
			if may := got.Update || got.Create; may {
				c.MaySet = append(c.MaySet, got.Name)
			} else {
				c.MayNot = append(c.MayNot, got.Name)
			}
		}
		return c, err
	case "Ruling":
		c.Does, c.May = "", asked.Ruling.written()
		may, by, err := r.Rule(*asked.Ruling)
		if c.Answer = string(engine.Allowed); !may {
			c.Answer, c.By = string(Refused), []string{by}
		}
		return c, err
	}
	return caseFile{}, fmt.Errorf("a decision table has no form for %s", asked.About)
}

// record names the record, or gives its facts.
func (c *caseFile) record(st *access.State, table access.TableID, r engine.Record) {
	c.Table = ""
	k := access.RecordKey{Table: table, Record: r.ID}
	if _, known := st.Records[k]; known && r.Registered && r.Owner == (access.Principal{}) && r.BusinessUnit == "" {
		c.Record = recordName(k)
		return
	}
	c.Intended = &recordFile{ID: string(r.ID), Table: string(table), Owner: ownerName(r.Owner), In: string(r.BusinessUnit), Registered: r.Registered}
}

func (x Ruling) written() *mayFile {
	m := &mayFile{}
	switch x.Asks {
	case "share":
		m.Share = rightNames(x.Rights)
	case "revoke":
		m.Revoke = ownerName(x.Principal)
	case "assign":
		m.Assign = ownerName(x.Principal)
	case "set_unit":
		m.SetUnit = string(x.Unit)
	case "link":
		m.Along, m.Creating = string(x.Relationship), x.Creating
		m.To = &recordFile{Table: string(x.ParentTable), ID: string(x.Parent.ID), Owner: ownerName(x.Parent.Owner), In: string(x.Parent.BusinessUnit), Registered: x.Parent.Registered}
	case "clear":
		m.Along, m.Clear = string(x.Relationship), true
	case "add_to_template":
		m.AddToTemplate = string(x.Template)
	case "share_column":
		m.ShareColumn = x.Column
		if x.Rights.Has(access.Read) {
			m.Rights = append(m.Rights, "read")
		}
		if x.Rights.Has(access.Write) {
			m.Rights = append(m.Rights, "update")
		}
	case "give":
		m.Give, m.At = string(x.Role), string(x.Unit)
	}
	return m
}

// recordName is a name for a record that no other one has.
func recordName(k access.RecordKey) string { return fmt.Sprintf("%s %s", k.Table, k.Record) }

func ownerName(p access.Principal) string {
	if id, ok := p.Team(); ok {
		if b, ok := id.DefaultOf(); ok {
			return "default team of " + string(b)
		}
		return "team " + string(id)
	}
	if p.Kind == access.Everybody {
		return "organization"
	}
	return p.ID
}

// written is the state as a decision table gives it. What such a table cannot say,
// as the names of objects, is lost, and so are memberships and assignments of
// those who do not exist; nothing of it bears on a decision.
func written(st *access.State) factsFile {
	env := st.Environment
	f := factsFile{
		Environment: &environmentFile{
			Modernized: env.Modernized, KeepRecordUnit: env.KeepRecordUnit, KeepRoles: env.KeepRoles, ShareWithPrevious: env.ShareWithPrevious,
			RequireLicence: env.RequireLicence, PerAppPlan: env.PerAppPlan, SecurityGroup: env.SecurityGroup != nil, Locked: env.Locked,
			Hierarchy: (*hierarchyFile)(env.Hierarchy),
		},
		Units: map[string]unitFile{}, Tables: map[string]kindFile{}, Relationships: map[string]relationshipFile{}, Templates: map[string]templateFile{},
		Positions: map[string]positionFile{}, Roles: map[string]roleFile{}, Profiles: map[string]profileFile{}, Users: map[string]userFile{},
		Teams: map[string]teamFile{}, Records: map[string]recordFile{},
	}
	for id, b := range st.BusinessUnits {
		f.Units[string(id)] = unitFile{In: string(b.Parent), Disabled: b.Disabled}
	}
	for id, t := range st.Tables {
		k := kindFile{Ownership: t.Ownership, System: t.System, AccessTeams: t.AccessTeams, Columns: map[string]columnFile{}}
		for _, c := range t.Columns {
			k.Columns[c.Name] = columnFile{Secured: c.Secured, Mask: (*maskFile)(c.Mask), From: c.From, Open: c.Open}
		}
		f.Tables[string(id)] = k
	}
	for id, r := range st.Relationships {
		f.Relationships[string(id)] = relationshipFile{
			Of: string(r.Table), Parent: string(r.Parent), ManyToMany: r.ManyToMany,
			Assign: r.Cascade.Assign, Share: r.Cascade.Share, Unshare: r.Cascade.Unshare, Reparent: r.Cascade.Reparent, Delete: r.Cascade.Delete,
		}
	}
	for id, t := range st.Templates {
		f.Templates[string(id)] = templateFile{Table: string(t.Table), Rights: rightNames(t.Rights)}
	}
	for id, p := range st.Positions {
		f.Positions[string(id)] = positionFile{Under: string(p.Parent)}
	}
	for id, r := range st.Roles {
		f.Roles[string(id)] = roleFile{
			At: string(r.BusinessUnit), Inheritance: r.Inheritance, All: r.All, Privileges: depths(r.Privileges), Miscellaneous: r.Miscellaneous,
		}
	}
	for id, p := range st.Profiles {
		f.Profiles[string(id)] = writtenProfile(st, p)
	}
	for id, u := range st.Users {
		w := userFile{
			In: string(u.BusinessUnit), Disabled: !u.Enabled, Licensed: u.Licensed, Admitted: u.Admitted, Kind: u.Kind, AccessMode: u.AccessMode,
			Application: u.Application, TenantAdministrator: u.TenantAdministrator, Manager: string(u.Manager), Position: string(u.Position),
			Roles: given(st, id.Principal()),
		}
		for k := range st.Memberships {
			if k.User == id {
				w.Teams = append(w.Teams, string(k.Team))
			}
		}
		slices.Sort(w.Teams)
		f.Users[string(id)] = w
	}
	for id, t := range st.Teams {
		w := teamFile{In: string(t.BusinessUnit), Type: t.Type, Roles: given(st, id.Principal())}
		if t.Group != nil {
			w.Group, w.Membership = t.Group.Group, t.Group.Membership
		}
		f.Teams[string(id)] = w
	}
	for id := range st.BusinessUnits {
		if roles := given(st, id.DefaultTeam().Principal()); roles != nil {
			f.Teams["default team of "+string(id)] = teamFile{Roles: roles}
		}
	}
	for k, r := range st.Records {
		w := recordFile{ID: string(r.ID), Table: string(r.Table), Owner: ownerName(r.Owner), In: string(r.BusinessUnit), Inactive: r.Inactive}
		f.Records[recordName(k)] = w
	}
	for _, s := range st.Shares {
		f.Shares = append(f.Shares, shareFile{
			Table: string(s.Table), Record: string(s.Record), With: ownerName(s.Principal), Rights: rightNames(s.Rights), Inherited: rightNames(s.Inherited),
			From: s.Window.Start, Until: s.Window.End,
		})
	}
	slices.SortFunc(f.Shares, func(a, b shareFile) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Record, b.Record), cmp.Compare(a.With, b.With))
	})
	for _, s := range st.ColumnShares {
		w := columnShareFile{Table: string(s.Table), Record: string(s.Record), Column: s.Column, With: ownerName(s.Principal)}
		if s.Read {
			w.Rights = append(w.Rights, "read")
		}
		if s.Update {
			w.Rights = append(w.Rights, "update")
		}
		f.ColumnShares = append(f.ColumnShares, w)
	}
	slices.SortFunc(f.ColumnShares, func(a, b columnShareFile) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Record, b.Record), cmp.Compare(a.Column, b.Column), cmp.Compare(a.With, b.With))
	})
	return f
}

func writtenProfile(st *access.State, p access.Profile) profileFile {
	w := profileFile{Columns: map[string]map[string][]string{}}
	for _, c := range p.Columns {
		words := []string{}
		for word, is := range map[string]bool{
			"read": c.Read, "unmasked_one_record": c.Unmasked == access.UnmaskedOneRecord, "unmasked_all_records": c.Unmasked == access.UnmaskedAllRecords,
			"update": c.Update, "create": c.Create,
		} {
			if is {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		if w.Columns[string(c.Table)] == nil {
			w.Columns[string(c.Table)] = map[string][]string{}
		}
		w.Columns[string(c.Table)][c.Column] = words
	}
	for k := range st.ProfileMembers {
		if k.Profile == p.ID {
			w.Members = append(w.Members, ownerName(k.Principal))
		}
	}
	slices.Sort(w.Members)
	return w
}

func depths(lines []access.Privilege) map[string]map[string]access.Depth {
	out := map[string]map[string]access.Depth{}
	for _, p := range lines {
		if out[string(p.Table)] == nil {
			out[string(p.Table)] = map[string]access.Depth{}
		}
		out[string(p.Table)][p.Action.String()] = p.Depth
	}
	return out
}

func rightNames(r access.Rights) (out []string) {
	for _, a := range r.Actions() {
		out = append(out, a.String())
	}
	return out
}

func given(st *access.State, p access.Principal) (out []givenFile) {
	for _, id := range slices.Sorted(maps.Keys(st.Assignments)) {
		a := st.Assignments[id]
		if a.Principal != p {
			continue
		}
		g := givenFile{Role: string(a.Role), At: string(a.BusinessUnit), From: a.Window.Start, Until: a.Window.End}
		if a.Bound != nil {
			g.Bound, g.BoundTo = depths(a.Bound.Privileges), a.Bound.Miscellaneous
			if a.Bound.All {
				g.BoundTo = []string{"*"}
			} else if len(g.Bound)+len(g.BoundTo) == 0 {
				g.BoundTo = []string{"nothing"}
			}
		}
		out = append(out, g)
	}
	return out
}
