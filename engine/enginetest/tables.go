package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Noon is the instant of a case that names none.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Table is a file of decisions: an organisation, and who may do what in it by
// which rule.
type Table struct {
	File  string
	About string
	State *access.State
	Cases []Case
}

// Case is one question of a table and its answer. It asks one of several things:
// what Check answers, or, where Columns, Rights, Who or Ruling is set, what those
// do.
type Case struct {
	Rule, Name string
	// State is the table's, after the case's own changes, if it makes any.
	State *access.State
	// Refused is the rule by which the case's changes are refused; nothing is asked
	// then. Changes is what was asked for, or refused, in words.
	Refused string
	// Faults is what the refusal says.
	Faults error
	// Question gives the record's facts; Registered, if not nil, asks the same
	// about the record as the environment knows it.
	Question   engine.Question
	Registered *engine.Question
	Answer     engine.Reason
	// OfImpersonator: the answer is the impersonator's.
	OfImpersonator bool
	Depth          access.Depth
	Until          time.Time
	// By are rules that one of the origins rests on, all of them; for a ruling, the
	// one that refuses.
	By []string
	// Missing are the missing sets in words.
	Missing []string
	// Error is part of what is said of a question that cannot be judged.
	Error string
	// Columns is what is expected of some secured columns.
	Columns []Expected
	// FilteredBy are the columns by which records are filtered, sorted or grouped.
	FilteredBy []string
	// Rights are all actions but Create that are allowed.
	Rights *access.Rights
	// Who are all users who may.
	Who []access.UserID
	// Ruling is what somebody wants to change; Answer is allowed or refused.
	Ruling *Ruling
}

// Refused is the answer of a ruling that is not allowed.
const Refused engine.Reason = "refused"

// Expected is how a secured column is expected to be shown ("clear", "masked" or
// "withheld"), and whether it may be set; empty is not asked.
type Expected struct {
	Column         string
	Alone, Listed  string
	Update, Create *bool
}

type tableFile struct {
	About string `yaml:"about"`
	// Loose lets memberships and assignments name what does not exist.
	Loose bool       `yaml:"loose,omitempty"`
	Facts factsFile  `yaml:",inline"`
	Cases []caseFile `yaml:"cases"`
}

type caseFile struct {
	Rule           string         `yaml:"rule"`
	Case           string         `yaml:"case"`
	After          []stepFile     `yaml:"after,omitempty"`
	Refused        string         `yaml:"refused,omitempty"`
	Who            string         `yaml:"who,omitempty"`
	ImpersonatedBy string         `yaml:"impersonated_by,omitempty"`
	Channel        engine.Channel `yaml:"channel,omitempty"`
	Does           string         `yaml:"does,omitempty"`
	Record         string         `yaml:"record,omitempty"`
	Intended       *recordFile    `yaml:"intended,omitempty"`
	Table          string         `yaml:"table,omitempty"`
	Privilege      string         `yaml:"privilege,omitempty"`
	Sets           []string       `yaml:"sets,omitempty"`
	May            *mayFile       `yaml:"may,omitempty"`
	At             time.Time      `yaml:"at,omitempty"`

	Answer         string       `yaml:"answer,omitempty"`
	OfImpersonator bool         `yaml:"of_impersonator,omitempty"`
	Depth          access.Depth `yaml:"depth,omitempty"`
	Until          time.Time    `yaml:"until,omitempty"`
	By             []string     `yaml:"by,omitempty"`
	Missing        []string     `yaml:"missing,omitempty"`
	Error          string       `yaml:"error,omitempty"`

	Sees     map[string]string `yaml:"sees,omitempty"`     // by column, one record by itself
	InLists  map[string]string `yaml:"in_lists,omitempty"` // by column, in a list
	MaySet   []string          `yaml:"may_set,omitempty"`  // columns that may be updated, or created
	MayNot   []string          `yaml:"may_not_set,omitempty"`
	Filtered []string          `yaml:"filtered_by,omitempty"` // whether the table's records are
	Rights   *[]string         `yaml:"rights,omitempty"`
	Everyone *[]string         `yaml:"everyone,omitempty"` // all users who may
}

// Tables reads every decision table of a folder and of the folder found in it,
// which holds what random organisations have brought to light.
func Tables(dir string) ([]Table, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("decision tables: no *.yaml in %s", dir))
	}
	found, err := filepath.Glob(filepath.Join(dir, "found", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []Table
	for _, file := range append(files, found...) {
		t, err := ReadTable(file)
		if err != nil {
			return nil, err
		}
		if t.File, err = filepath.Rel(dir, file); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// ReadTable reads one decision table.
func ReadTable(file string) (Table, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return Table{}, err
	}
	t, err := parseTable(src)
	if err != nil {
		return Table{}, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

func parseTable(src []byte) (Table, error) {
	var f tableFile
	if err := yaml.UnmarshalWithOptions(src, &f, yaml.Strict()); err != nil {
		return Table{}, err
	}
	return f.table()
}

const tableEnvironment access.EnvironmentID = "table"

func (f tableFile) table() (Table, error) {
	t := Table{About: f.About, State: access.NewState(tableEnvironment)}
	if f.Facts.Environment == nil {
		f.Facts.Environment = &environmentFile{}
	}
	objects, err := f.maker(t.State).make(f.Facts)
	if err != nil {
		return Table{}, err
	}
	for _, o := range objects {
		t.State.Apply(access.Put(o))
	}
	for _, c := range f.Cases {
		out, err := f.decide(t.State, c)
		if err != nil {
			return Table{}, fmt.Errorf("case %q of %s: %w", c.Case, c.Rule, err)
		}
		t.Cases = append(t.Cases, out)
	}
	return t, nil
}

// maker makes objects of facts that stand in the file or in the state.
func (f tableFile) maker(st *access.State) *maker {
	m := &maker{env: tableEnvironment}
	for id, b := range st.BusinessUnits {
		if b.Parent == "" {
			m.root = id
		}
	}
	m.known = func(kind access.Kind, id string) bool {
		if f.Loose {
			return true
		}
		if kind == access.KindRole {
			_, ok := f.Facts.Roles[id]
			return ok || st.Roles[access.RoleID(id)].ID != ""
		}
		_, ok := f.Facts.Teams[id]
		return ok || st.Teams[access.TeamID(id)].ID != ""
	}
	m.record = func(name string) (recordFile, bool) {
		r, ok := f.Facts.Records[name]
		return r, ok
	}
	return m
}

// decide makes a case of what the file says of it.
func (f tableFile) decide(st *access.State, c caseFile) (Case, error) {
	out := Case{
		Rule: c.Rule, Name: c.Case, State: st, Refused: c.Refused, Answer: engine.Reason(c.Answer), OfImpersonator: c.OfImpersonator,
		Depth: c.Depth, Until: c.Until, By: c.By, Missing: c.Missing, Error: c.Error, FilteredBy: c.Filtered,
	}
	if len(c.After) > 0 {
		var err error
		if out.State, out.Faults, err = f.after(st, c.After); err != nil {
			return Case{}, err
		}
		if out.Faults != nil && c.Refused == "" {
			return Case{}, fmt.Errorf("the changes are refused: %w", out.Faults)
		}
	}
	if c.Refused != "" {
		if len(c.After) == 0 {
			return Case{}, errors.New("nothing can be refused: there are no changes")
		}
		return out, nil
	}
	out.Columns = c.columns()
	if c.Rights != nil {
		r, err := rights(*c.Rights)
		if err != nil {
			return Case{}, err
		}
		out.Rights = &r
	}
	if c.Everyone != nil {
		out.Who = []access.UserID{}
		for _, id := range *c.Everyone {
			out.Who = append(out.Who, access.UserID(id))
		}
		slices.Sort(out.Who)
	}
	expectations := 0
	for _, is := range []bool{c.Answer != "", c.Error != "", out.Columns != nil, out.Rights != nil, out.Who != nil} {
		if is {
			expectations++
		}
	}
	if expectations != 1 {
		return Case{}, errors.New("want one of answer, error, sees, rights, everyone, refused")
	}
	return out, f.ask(c, &out)
}

func (c caseFile) columns() []Expected {
	by := map[string]*Expected{}
	of := func(column string) *Expected {
		if by[column] == nil {
			by[column] = &Expected{Column: column}
		}
		return by[column]
	}
	for column, shown := range c.Sees {
		of(column).Alone = shown
	}
	for column, shown := range c.InLists {
		of(column).Listed = shown
	}
	for may, columns := range map[bool][]string{true: c.MaySet, false: c.MayNot} {
		for _, column := range columns {
			if c.Does == access.Create.String() {
				of(column).Create = &may
			} else {
				of(column).Update = &may
			}
		}
	}
	var out []Expected
	for _, column := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[column])
	}
	return out
}

// ask fills in the case's questions.
func (f tableFile) ask(c caseFile, out *Case) error {
	q := engine.Question{
		User: access.UserID(c.Who), Table: access.TableID(c.Table), Privilege: c.Privilege, At: c.At, Channel: c.Channel,
		Impersonator: access.UserID(c.ImpersonatedBy), Columns: c.Sets,
	}
	if c.At.IsZero() {
		q.At = noon
	}
	if c.Does != "" || c.Privilege == "" && c.May == nil {
		if c.Does == "" && (out.Rights != nil || out.Columns != nil) {
			c.Does = access.Read.String()
		}
		if err := q.Action.UnmarshalText([]byte(c.Does)); err != nil {
			return err
		}
	}
	if c.Record != "" {
		facts, err := f.registered(out.State, c.Record)
		if err != nil {
			return err
		}
		q.Table = facts.Table
		r := q
		r.Record = &engine.Record{ID: facts.ID, Registered: true}
		out.Registered = &r
		q.Record = &engine.Record{ID: facts.ID, Owner: facts.Owner, BusinessUnit: facts.BusinessUnit}
	}
	if c.Intended != nil {
		q.Table = access.TableID(c.Intended.Table)
		q.Record = &engine.Record{
			ID: access.RecordID(c.Intended.ID), Owner: owner(c.Intended.Owner), BusinessUnit: access.BusinessUnitID(c.Intended.In), Registered: c.Intended.Registered,
		}
	}
	out.Question = q
	if c.May != nil {
		var err error
		out.Ruling, err = f.ruling(c, out)
		return err
	}
	return nil
}

// registered finds a record by the name that the file gives it, as the state has it.
func (f tableFile) registered(st *access.State, name string) (access.Record, error) {
	r, ok := f.Facts.Records[name]
	if !ok {
		return access.Record{}, fmt.Errorf("no record %q", name)
	}
	k := f.maker(st).recordKey(name, r.Table)
	if now, ok := st.Records[k]; ok {
		return now, nil
	}
	return access.Record{}, fmt.Errorf("record %q is gone", name)
}

// mayFile is a change that somebody wants to make; one verb is given.
type mayFile struct {
	Share         []string `yaml:"share,omitempty"`  // these rights
	Revoke        string   `yaml:"revoke,omitempty"` // whose share
	Assign        string   `yaml:"assign,omitempty"` // to whom
	SetUnit       string   `yaml:"set_unit,omitempty"`
	Link          string   `yaml:"link,omitempty"` // to which record
	Clear         bool     `yaml:"clear,omitempty"`
	AddToTemplate string   `yaml:"add_to_template,omitempty"`
	ShareColumn   string   `yaml:"share_column,omitempty"`
	Give          string   `yaml:"give,omitempty"` // which role

	Along string `yaml:"along,omitempty"` // link, clear: the relationship
	// To gives a parent's facts, where none is registered.
	To       *recordFile `yaml:"to,omitempty"`
	Creating bool        `yaml:"creating,omitempty"` // the child is
	Rights   []string    `yaml:"rights,omitempty"`   // share_column: read, update
	At       string      `yaml:"at,omitempty"`       // give: in which unit
}

// ruling reads what somebody wants to change.
func (f tableFile) ruling(c caseFile, out *Case) (*Ruling, error) {
	q, may := out.Question, c.May
	r := &Ruling{User: q.User, At: q.At, Table: q.Table}
	if out.Registered != nil {
		r.Record = *out.Registered.Record
	} else if q.Record != nil {
		r.Record = *q.Record
	}
	var err error
	switch {
	case may.Share != nil:
		r.Asks = "share"
		r.Rights, err = rights(may.Share)
	case may.Revoke != "":
		r.Asks, r.Principal = "revoke", owner(may.Revoke)
	case may.Assign != "":
		r.Asks, r.Principal = "assign", owner(may.Assign)
	case may.SetUnit != "":
		r.Asks, r.Unit = "set_unit", access.BusinessUnitID(may.SetUnit)
	case may.To != nil:
		r.Asks, r.Relationship, r.Creating = "link", access.RelationshipID(may.Along), may.Creating
		r.ParentTable, r.Parent = access.TableID(may.To.Table), engine.Record{
			ID: access.RecordID(may.To.ID), Owner: owner(may.To.Owner), BusinessUnit: access.BusinessUnitID(may.To.In), Registered: may.To.Registered,
		}
	case may.Link != "":
		r.Asks, r.Relationship, r.Creating = "link", access.RelationshipID(may.Along), may.Creating
		var parent access.Record
		parent, err = f.registered(out.State, may.Link)
		r.ParentTable, r.Parent = parent.Table, engine.Record{ID: parent.ID, Registered: true}
	case may.Clear:
		r.Asks, r.Relationship = "clear", access.RelationshipID(may.Along)
	case may.AddToTemplate != "":
		r.Asks, r.Template = "add_to_template", access.TemplateID(may.AddToTemplate)
	case may.ShareColumn != "":
		r.Asks, r.Column = "share_column", may.ShareColumn
		for _, word := range may.Rights {
			switch word {
			case "read":
				r.Rights |= access.RightsOf(access.Read)
			case "update":
				r.Rights |= access.RightsOf(access.Write)
			default:
				return nil, fmt.Errorf("unknown right %q on a column", word)
			}
		}
	case may.Give != "":
		r.Asks, r.Role, r.Unit = "give", access.RoleID(may.Give), access.BusinessUnitID(may.At)
	default:
		return nil, errors.New("may: want one verb")
	}
	if err == nil && out.Answer != engine.Allowed && out.Answer != Refused {
		err = fmt.Errorf("want allowed or refused, not %q", out.Answer)
	}
	return r, err
}
