package enginetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/access"
)

// stepFile is one changeset of a case: what people do, or, with put, facts that
// replace those of the same names. One of its verbs is given.
type stepFile struct {
	Put     *factsFile `yaml:"put,omitempty"`
	Delete  string     `yaml:"delete,omitempty"` // such as "user anna", "record hers"
	Move    string     `yaml:"move,omitempty"`   // a user, "team X" or "business unit X"; with to
	Disable string     `yaml:"disable,omitempty"`
	Enable  string     `yaml:"enable,omitempty"`
	Assign  string     `yaml:"assign,omitempty"` // a record, to an owner
	Place   string     `yaml:"place,omitempty"`  // a record, to a unit
	Share   string     `yaml:"share,omitempty"`  // a record: with, rights, in addition
	Modify  string     `yaml:"modify,omitempty"` // a record: with, these rights
	Revoke  string     `yaml:"revoke,omitempty"` // a record: with
	Link    string     `yaml:"link,omitempty"`   // a record, along a relationship, to another
	Unlink  string     `yaml:"unlink,omitempty"` // a record, along a relationship
	Add     string     `yaml:"add,omitempty"`    // a user to a record's team of a template
	Remove  string     `yaml:"remove,omitempty"` // a user from it
	Copy    string     `yaml:"copy,omitempty"`   // a role, to a new one

	To       string    `yaml:"to,omitempty"`
	With     string    `yaml:"with,omitempty"`
	Rights   []string  `yaml:"rights,omitempty"`
	Until    time.Time `yaml:"until,omitempty"`
	Along    string    `yaml:"along,omitempty"`
	Template string    `yaml:"template,omitempty"`
	Record   string    `yaml:"record,omitempty"`
}

// after makes the steps one after another, each judged and completed by Expand. A
// step that is refused ends them, and the faults say why.
func (f tableFile) after(st *access.State, steps []stepFile) (after *access.State, refused, err error) {
	after = rebuilt(st)
	for i, s := range steps {
		changes, err := f.step(after, s)
		var invalid *access.Invalid
		if errors.As(err, &invalid) {
			return st, invalid, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		all, refused := after.Expand(changes)
		if refused != nil {
			return st, refused, nil
		}
		after.Apply(all...)
	}
	return after, nil, nil
}

// rebuilt copies the state with the index that Expand reads; Clone shares it.
func rebuilt(st *access.State) *access.State {
	out := access.NewState(st.Environment.ID)
	out.Apply(access.Put(st.Environment))
	for _, o := range Objects(st) {
		out.Apply(access.Put(o))
	}
	return out
}

func (f tableFile) step(st *access.State, s stepFile) ([]access.Change, error) {
	switch {
	case s.Put != nil:
		objects, err := f.maker(st).make(*s.Put)
		var out []access.Change
		for _, o := range objects {
			out = append(out, access.Put(o))
		}
		return out, err
	case s.Delete != "":
		o, err := f.object(st, s.Delete)
		return []access.Change{access.Remove(o)}, err
	case s.Move != "":
		return f.change(st, s.Move, func(o access.Object) access.Object {
			to := access.BusinessUnitID(s.To)
			switch o := o.(type) {
			case access.User:
				o.BusinessUnit = to
				return o
			case access.Team:
				o.BusinessUnit = to
				return o
			case access.BusinessUnit:
				o.Parent = to
				return o
			case access.Role:
				o.BusinessUnit = to
				return o
			}
			return nil
		})
	case s.Disable != "" || s.Enable != "":
		return f.change(st, s.Disable+s.Enable, func(o access.Object) access.Object {
			switch o := o.(type) {
			case access.User:
				o.Enabled = s.Enable != ""
				return o
			case access.BusinessUnit:
				o.Disabled = s.Enable == ""
				return o
			}
			return nil
		})
	}
	return f.operate(st, s)
}

// operate is what people do with records, shares and roles, by the operations of
// package access.
func (f tableFile) operate(st *access.State, s stepFile) ([]access.Change, error) {
	m := f.maker(st)
	key := func(name string) access.RecordKey { return m.recordKey(name, "") }
	share := func(name string) access.Share {
		k := key(name)
		return access.Share{
			Environment: tableEnvironment, Table: k.Table, Record: k.Record, Principal: owner(s.With), Rights: m.rights("share of "+name, s.Rights),
			Window: access.Window{End: s.Until}, ManagedBy: access.ByAPI,
		}
	}
	along := access.RelationshipID(s.Along)
	var changes []access.Change
	err := errors.New("want one verb")
	switch {
	case s.Assign != "":
		changes, err = st.AssignRecord(key(s.Assign), owner(s.To))
	case s.Place != "":
		changes, err = st.SetRecordUnit(key(s.Place), access.BusinessUnitID(s.To))
	case s.Share != "":
		changes, err = st.Grant(share(s.Share))
	case s.Modify != "":
		changes, err = st.Modify(share(s.Modify))
	case s.Revoke != "":
		changes, err = st.Revoke(access.ShareKey{RecordKey: key(s.Revoke), Principal: owner(s.With)})
	case s.Link != "":
		changes, err = st.LinkRecord(key(s.Link), along, key(s.To).Record)
	case s.Unlink != "":
		changes, err = st.UnlinkRecord(key(s.Unlink), along)
	case s.Add != "":
		changes, err = st.AddToTemplate(access.TemplateID(s.Template), key(s.Record).Record, access.UserID(s.Add), access.ByAPI)
	case s.Remove != "":
		changes, err = st.RemoveFromTemplate(access.TemplateID(s.Template), key(s.Record).Record, access.UserID(s.Remove))
	case s.Copy != "":
		changes, err = st.CopyRole(access.RoleID(s.Copy), access.RoleID(s.To), s.To, access.ByAPI)
	}
	return changes, errors.Join(append(m.faults, err)...)
}

func (f tableFile) change(st *access.State, name string, edit func(access.Object) access.Object) ([]access.Change, error) {
	o, err := f.object(st, name)
	if err != nil {
		return nil, err
	}
	if o = edit(o); o == nil {
		return nil, fmt.Errorf("%s is not of a kind for which that can be done", name)
	}
	return []access.Change{access.Put(o)}, nil
}

// object finds an object by kind and name; a name alone is a user's.
func (f tableFile) object(st *access.State, name string) (access.Object, error) {
	var o access.Object
	ok := false
	switch kind, id := kindAndName(name); kind {
	case "user":
		o, ok = find(st.Users, access.UserID(id))
	case "team":
		o, ok = find(st.Teams, access.TeamID(id))
	case "business unit":
		o, ok = find(st.BusinessUnits, access.BusinessUnitID(id))
	case "role":
		o, ok = find(st.Roles, access.RoleID(id))
	case "table":
		o, ok = find(st.Tables, access.TableID(id))
	case "relationship":
		o, ok = find(st.Relationships, access.RelationshipID(id))
	case "template":
		o, ok = find(st.Templates, access.TemplateID(id))
	case "position":
		o, ok = find(st.Positions, access.PositionID(id))
	case "profile":
		o, ok = find(st.Profiles, access.ProfileID(id))
	case "record":
		r, err := f.registered(st, id)
		return r, err
	}
	if !ok {
		return nil, fmt.Errorf("there is no %s", name)
	}
	return o, nil
}

func find[K comparable, O access.Object](m map[K]O, id K) (access.Object, bool) {
	o, ok := m[id]
	return o, ok
}

func kindAndName(s string) (kind, id string) {
	for _, kind := range []string{"user", "team", "business unit", "role", "table", "relationship", "template", "position", "profile", "record"} {
		if id, ok := strings.CutPrefix(s, kind+" "); ok {
			return kind, id
		}
	}
	return "user", s
}
