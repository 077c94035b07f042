package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
)

// add takes an object, with its place in the file.
func (e *environmentModel) add(at string, o access.Object) {
	e.objects = append(e.objects, o)
	e.places[o.ObjectKind().String()+" "+o.ObjectKey()] = at
}

// table tells whether there is such a table; otherwise that is a fault of the key
// or value at the path.
func (p *parser) table(e *environmentModel, fault func(path, problem, hint string), at, id string) bool {
	if _, ok := e.names.Tables[access.TableID(id)]; ok || id == "" { // Decode has told of an absent one
		return ok
	}
	fault(at, fmt.Sprintf("unknown table %q", id), document.DidYouMean(id, texts(e.names.Tables)))
	return false
}

// hierarchy reads the tables that hierarchy security leaves out, once they are
// known (Rule HIER-1).
func (p *parser) hierarchy(e *environmentModel, said environment) {
	if said.Settings.Hierarchy == nil {
		return
	}
	h := e.settings.Hierarchy
	for i, id := range said.Settings.Hierarchy.Except {
		switch at := document.Index(e.at+".settings.hierarchy.except", i); {
		case !p.table(e, p.value, at, id):
		case slices.Contains(h.Except, access.TableID(id)):
			p.value(at, fmt.Sprintf("table %q is left out twice", id), "")
		case e.names.Tables[access.TableID(id)] != access.UserOrTeam:
			p.value(at, fmt.Sprintf("table %q is never in the hierarchy: its ownership is %s", id, e.names.Tables[access.TableID(id)]), "leave it out of the list (Rule HIER-1)")
		default:
			h.Except = append(h.Except, access.TableID(id))
		}
	}
	slices.Sort(h.Except)
}

func (p *parser) relationships(e *environmentModel, env access.EnvironmentID, said environment) {
	for _, id := range sorted(said.Relationships) {
		r, at := said.Relationships[id], document.Child(e.at+".relationships", string(id))
		if !anID.MatchString(string(id)) {
			p.key(at, fmt.Sprintf("relationship id %q is not allowed", id), "use "+idHint)
		}
		p.table(e, p.value, at+".table", r.Table)
		p.table(e, p.value, at+".parent", r.Parent)
		e.add(at, access.Relationship{
			Environment: env, ID: id, Table: access.TableID(r.Table), Parent: access.TableID(r.Parent), ManyToMany: r.ManyToMany,
			Cascade: access.Cascades(r.Cascade), ManagedBy: access.ByFile,
		})
	}
}

func (p *parser) templates(e *environmentModel, env access.EnvironmentID, said environment) {
	ids, names := map[string]string{}, map[string]string{}
	for _, name := range sorted(said.Templates) {
		t, at := said.Templates[name], document.Child(e.at+".access_team_templates", name)
		p.table(e, p.value, at+".table", t.Table)
		o := access.Template{
			Environment: env, Name: name, Table: access.TableID(t.Table), ManagedBy: access.ByFile,
			ID: access.TemplateID(p.id(at, "access team template", t.ID, name, ids, names)),
		}
		for i, text := range t.Rights {
			var a access.Action
			if err := a.UnmarshalText([]byte(text)); err != nil || a == access.Create {
				p.value(document.Index(at+".rights", i), fmt.Sprintf("%q is no right that can be shared", text), document.DidYouMean(text, actions()[2:]))
			}
			o.Rights |= access.RightsOf(a)
		}
		e.add(at, o)
	}
}

func (p *parser) positions(e *environmentModel, env access.EnvironmentID, said environment) {
	ids, names := map[string]string{}, map[string]string{}
	var add func(at string, parent access.PositionID, said map[string]position)
	add = func(at string, parent access.PositionID, said map[string]position) {
		for _, name := range sorted(said) {
			path := document.Child(at, name)
			o := access.Position{
				Environment: env, Name: name, Parent: parent, ManagedBy: access.ByFile,
				ID: access.PositionID(p.id(path, "position", said[name].ID, name, ids, names)),
			}
			if o.ID != "" {
				e.add(path, o)
			}
			add(path+".positions", o.ID, said[name].Positions)
		}
	}
	add(e.at+".positions", "", said.Positions)
}

// profiles reads column security profiles and who has them (Rule FLS-2).
func (p *parser) profiles(e *environmentModel, env access.EnvironmentID, said environment) {
	ids, names := map[string]string{}, map[string]string{}
	secured := map[access.TableID][]string{}
	for _, o := range e.objects {
		if t, ok := o.(access.Table); ok {
			secured[t.ID] = t.SecuredColumns()
		}
	}
	for _, name := range sorted(said.Profiles) {
		said, at := said.Profiles[name], document.Child(e.at+".column_profiles", name)
		o := access.Profile{
			Environment: env, Name: name, ManagedBy: access.ByFile,
			ID: access.ProfileID(p.id(at, "column profile", said.ID, name, ids, names)),
		}
		for _, table := range sorted(said.Columns) {
			path := document.Child(at+".columns", table)
			if !p.table(e, p.key, path, table) {
				continue
			}
			columns := secured[access.TableID(table)]
			for _, column := range sorted(said.Columns[table]) {
				if !slices.Contains(columns, column) {
					p.key(document.Child(path, column), fmt.Sprintf("column %q of table %q is not secured", column, table), document.DidYouMean(column, columns))
					continue
				}
				x := said.Columns[table][column]
				if x.Unmasked != access.UnmaskedNever && !x.Read {
					p.value(document.Child(path, column)+".unmasked", "a column is not read unmasked without being read", "add read: true (Rule FLS-2)")
				}
				o.Columns = append(o.Columns, access.ProfileColumn{Table: access.TableID(table), Column: column, Read: x.Read, Unmasked: x.Unmasked, Update: x.Update, Create: x.Create})
			}
		}
		e.add(at, o)
		p.profileMembers(e, at, said, o)
	}
}

func (p *parser) profileMembers(e *environmentModel, at string, said profile, o access.Profile) {
	members := map[string]bool{}
	for i, login := range said.Members {
		path := document.Index(at+".members", i)
		if members[access.Fold(login)] {
			p.value(path, fmt.Sprintf("member %q is listed twice", login), "")
		}
		members[access.Fold(login)] = true
		e.pending = append(e.pending, pending{path: path, login: login, profile: o.ID})
	}
	teams := map[access.TeamID]bool{}
	for i, name := range said.Teams {
		path := document.Index(at+".teams", i)
		id, ok := named(e.names.Teams, name, func(id access.TeamID) bool { return slices.Contains(slices.Collect(maps.Values(e.names.Teams)), id) })
		switch {
		case !ok:
			p.value(path, fmt.Sprintf("unknown team %q", name), document.DidYouMean(name, texts(e.names.Teams)))
		case teams[id]:
			p.value(path, fmt.Sprintf("team %q is listed twice", name), "")
		default:
			teams[id] = true
			e.add(path, access.ProfileMember{Environment: o.Environment, Profile: o.ID, Principal: id.Principal(), ManagedBy: access.ByFile})
		}
	}
}

// judge finds what would break a rule of the access model and has not been told
// with a better place. A file without other faults is judged only.
func (p *parser) judge(e *environmentModel, env access.EnvironmentID) {
	if len(p.faults) > 0 {
		return
	}
	ships := Ambit()
	if env != access.AmbitEnvironment {
		var tables []access.Table
		for _, o := range e.objects {
			if t, ok := o.(access.Table); ok {
				tables = append(tables, t)
			}
		}
		ships = OutOfBox(env, e.root, tables)
	}
	var changes []access.Change
	for _, o := range slices.Concat(ships, e.objects) {
		changes = append(changes, access.Put(o))
	}
	_, err := access.NewState(env).Expand(changes)
	if err == nil {
		return
	}
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = joined.Unwrap()
	}
	for _, err := range faults {
		at := e.at
		if f, ok := errors.AsType[*access.Invalid](err); ok && e.places[f.Object] != "" {
			at = e.places[f.Object]
		}
		p.key(at, err.Error(), "")
	}
}
