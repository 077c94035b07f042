package enginetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// Case is one question of a table and its answer.
type Case struct {
	Rule, Name string
	// Question gives the record's facts; Registered, if not nil, asks the same
	// about the record as the environment knows it.
	Question   engine.Question
	Registered *engine.Question
	Answer     engine.Reason
	Depth      access.Depth
	Until      time.Time
	// By are rules that one of the origins rests on, all of them.
	By []string
	// Missing are the missing sets in words.
	Missing []string
	// Error is part of what is said of a question that cannot be judged.
	Error string
}

type tableFile struct {
	About       string `yaml:"about"`
	Environment struct {
		Modernized     bool `yaml:"modernized"`
		RequireLicence bool `yaml:"require_licence"`
		SecurityGroup  bool `yaml:"security_group"`
	} `yaml:"environment"`
	Units  map[string]unitFile         `yaml:"business_units"`
	Tables map[string]access.Ownership `yaml:"tables"`
	Roles  map[string]roleFile         `yaml:"roles"`
	Users  map[string]userFile         `yaml:"users"`
	Teams  map[string]teamFile         `yaml:"teams"`

	Records map[string]recordFile `yaml:"records"`
	Shares  []shareFile           `yaml:"shares"`
	Cases   []caseFile            `yaml:"cases"`
}

type unitFile struct {
	In       string `yaml:"in"`
	Disabled bool   `yaml:"disabled"`
}

type roleFile struct {
	At            string                             `yaml:"at"`
	Inheritance   access.Inheritance                 `yaml:"inheritance"`
	All           bool                               `yaml:"all"`
	Privileges    map[string]map[string]access.Depth `yaml:"privileges"`
	Miscellaneous []string                           `yaml:"miscellaneous"`
}

type userFile struct {
	In       string      `yaml:"in"`
	Disabled bool        `yaml:"disabled"`
	Licensed bool        `yaml:"licensed"`
	Admitted bool        `yaml:"admitted"`
	Roles    []givenFile `yaml:"roles"`
	Teams    []string    `yaml:"teams"`
}

type teamFile struct {
	In    string          `yaml:"in"`
	Type  access.TeamType `yaml:"type"`
	Group string          `yaml:"group"`
	Roles []givenFile     `yaml:"roles"`
}

// givenFile is a role as assigned: at another unit than the holder's, for a time,
// and no more than what was approved.
type givenFile struct {
	Role    string                             `yaml:"role"`
	At      string                             `yaml:"at"`
	From    time.Time                          `yaml:"from"`
	Until   time.Time                          `yaml:"until"`
	Request string                             `yaml:"request"`
	Bound   map[string]map[string]access.Depth `yaml:"bound"`
}

// UnmarshalYAML reads a role's bare name too.
func (g *givenFile) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&g.Role) == nil {
		return nil
	}
	type plain givenFile
	return unmarshal((*plain)(g))
}

type recordFile struct {
	Table string `yaml:"table"`
	Owner string `yaml:"owner"` // a user, or "team X", or "default team of X"
	In    string `yaml:"in"`
}

type shareFile struct {
	Record    string    `yaml:"record"`
	With      string    `yaml:"with"` // a user, "team X" or "organization"
	Rights    []string  `yaml:"rights"`
	Inherited []string  `yaml:"inherited"`
	From      time.Time `yaml:"from"`
	Until     time.Time `yaml:"until"`
}

type caseFile struct {
	Rule      string      `yaml:"rule"`
	Case      string      `yaml:"case"`
	Who       string      `yaml:"who"`
	Does      string      `yaml:"does"`
	Record    string      `yaml:"record"`
	Intended  *recordFile `yaml:"intended"`
	Table     string      `yaml:"table"`
	Privilege string      `yaml:"privilege"`
	At        time.Time   `yaml:"at"`

	Answer  string       `yaml:"answer"`
	Depth   access.Depth `yaml:"depth"`
	Until   time.Time    `yaml:"until"`
	By      []string     `yaml:"by"`
	Missing []string     `yaml:"missing"`
	Error   string       `yaml:"error"`
}

// Tables reads every decision table of a folder.
func Tables(dir string) ([]Table, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("decision tables: no *.yaml in %s", dir))
	}
	var out []Table
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var f tableFile
		if err := yaml.UnmarshalWithOptions(src, &f, yaml.Strict()); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		t, err := f.table()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		t.File = filepath.Base(file)
		out = append(out, t)
	}
	return out, nil
}

const tableEnvironment access.EnvironmentID = "table"

// owner reads a principal as the tables write it.
func owner(s string) access.Principal {
	if s == "organization" {
		return access.Principal{Kind: access.Everybody}
	}
	if b, ok := strings.CutPrefix(s, "default team of "); ok {
		return access.BusinessUnitID(b).DefaultTeam().Principal()
	}
	if t, ok := strings.CutPrefix(s, "team "); ok {
		return access.TeamID(t).Principal()
	}
	return access.UserID(s).Principal()
}

func lines(m map[string]map[string]access.Depth) (out []access.Privilege, err error) {
	for _, t := range slices.Sorted(maps.Keys(m)) {
		for a, d := range m[t] {
			var action access.Action
			if err := action.UnmarshalText([]byte(a)); err != nil {
				return nil, err
			}
			out = append(out, access.Privilege{Table: access.TableID(t), Action: action, Depth: d})
		}
	}
	slices.SortFunc(out, func(a, b access.Privilege) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Action, b.Action))
	})
	return out, nil
}

func rights(names []string) (access.Rights, error) {
	var r access.Rights
	return r, r.UnmarshalText([]byte(strings.Join(names, ",")))
}

func (f tableFile) table() (Table, error) {
	st := access.NewState(tableEnvironment)
	env := tableEnvironment
	st.Environment.Modernized, st.Environment.RequireLicence = f.Environment.Modernized, f.Environment.RequireLicence
	if f.Environment.SecurityGroup {
		st.Environment.SecurityGroup = &access.GroupRef{Source: "directory", Group: "environment"}
	}
	root := ""
	for id, u := range f.Units {
		if u.In == "" {
			root = id
		}
		st.Apply(access.Put(access.BusinessUnit{Environment: env, ID: access.BusinessUnitID(id), Name: id, Parent: access.BusinessUnitID(u.In), Disabled: u.Disabled}))
	}
	for id, kind := range f.Tables {
		st.Apply(access.Put(access.Table{Environment: env, ID: access.TableID(id), Name: id, Ownership: kind}))
	}
	for id, r := range f.Roles {
		privileges, err := lines(r.Privileges)
		if err != nil {
			return Table{}, fmt.Errorf("role %q: %w", id, err)
		}
		st.Apply(access.Put(access.Role{
			Environment: env, ID: access.RoleID(id), Name: id, BusinessUnit: access.BusinessUnitID(cmp.Or(r.At, root)),
			Inheritance: r.Inheritance, All: r.All, Privileges: privileges, Miscellaneous: slices.Sorted(slices.Values(r.Miscellaneous)),
		}))
	}
	give := func(p access.Principal, unit string, roles []givenFile) error {
		for i, g := range roles {
			if _, ok := f.Roles[g.Role]; !ok {
				return fmt.Errorf("%v: no role %q", p, g.Role)
			}
			a := access.Assignment{
				Environment: env, ID: access.AssignmentID(fmt.Sprintf("%v/%d", p, i)), Role: access.RoleID(g.Role), Principal: p,
				BusinessUnit: access.BusinessUnitID(cmp.Or(g.At, unit)), Window: access.Window{Start: g.From, End: g.Until}, Request: g.Request,
			}
			if g.Bound != nil {
				privileges, err := lines(g.Bound)
				if err != nil {
					return err
				}
				a.Bound = &access.Bound{Privileges: privileges}
			}
			st.Apply(access.Put(a))
		}
		return nil
	}
	for id, u := range f.Users {
		st.Apply(access.Put(access.User{
			Environment: env, ID: access.UserID(id), Login: id, Name: id, BusinessUnit: access.BusinessUnitID(u.In),
			Enabled: !u.Disabled, Licensed: u.Licensed, Admitted: u.Admitted,
		}))
		if err := give(access.UserID(id).Principal(), u.In, u.Roles); err != nil {
			return Table{}, err
		}
		for _, t := range u.Teams {
			if _, ok := f.Teams[t]; !ok {
				return Table{}, fmt.Errorf("user %q: no team %q", id, t)
			}
			st.Apply(access.Put(access.Membership{Environment: env, Team: access.TeamID(t), User: access.UserID(id)}))
		}
	}
	for id, t := range f.Teams {
		p, o := access.TeamID(id).Principal(), access.Team{Environment: env, ID: access.TeamID(id), Name: id, Type: t.Type, BusinessUnit: access.BusinessUnitID(t.In)}
		if unit, ok := strings.CutPrefix(id, "default team of "); ok { // only to give it roles
			if err := give(owner(id), unit, t.Roles); err != nil {
				return Table{}, err
			}
			continue
		}
		if t.Group != "" {
			o.Group = &access.GroupLink{GroupRef: access.GroupRef{Source: "directory", Group: t.Group, Name: t.Group}}
		}
		st.Apply(access.Put(o))
		if err := give(p, t.In, t.Roles); err != nil {
			return Table{}, err
		}
	}
	for id, r := range f.Records {
		rec := access.Record{Environment: env, Table: access.TableID(r.Table), ID: access.RecordID(id), BusinessUnit: access.BusinessUnitID(r.In)}
		if r.Owner != "" {
			rec.Owner = owner(r.Owner)
		}
		st.Apply(access.Put(rec))
	}
	for _, s := range f.Shares {
		own, err := rights(s.Rights)
		inherited, inheritedErr := rights(s.Inherited)
		if err := errors.Join(err, inheritedErr); err != nil {
			return Table{}, fmt.Errorf("share of %q: %w", s.Record, err)
		}
		st.Apply(access.Put(access.Share{
			Environment: env, Table: access.TableID(f.Records[s.Record].Table), Record: access.RecordID(s.Record), Principal: owner(s.With),
			Rights: own, Inherited: inherited, Window: access.Window{Start: s.From, End: s.Until},
		}))
	}
	t := Table{About: f.About, State: st}
	for _, c := range f.Cases {
		out, err := f.question(c)
		if err != nil {
			return Table{}, fmt.Errorf("case %q of %s: %w", c.Case, c.Rule, err)
		}
		t.Cases = append(t.Cases, out)
	}
	return t, nil
}

func (f tableFile) question(c caseFile) (Case, error) {
	q := engine.Question{User: access.UserID(c.Who), Table: access.TableID(c.Table), Privilege: c.Privilege, At: c.At}
	if c.At.IsZero() {
		q.At = noon
	}
	if c.Privilege == "" {
		if err := q.Action.UnmarshalText([]byte(c.Does)); err != nil {
			return Case{}, err
		}
	}
	out := Case{Rule: c.Rule, Name: c.Case, Answer: engine.Reason(c.Answer), Depth: c.Depth, Until: c.Until, By: c.By, Missing: c.Missing, Error: c.Error}
	if (c.Answer == "") == (c.Error == "") {
		return Case{}, errors.New("want an answer or an error")
	}
	facts := c.Intended
	if c.Record != "" {
		known, ok := f.Records[c.Record]
		if !ok {
			return Case{}, fmt.Errorf("no record %q", c.Record)
		}
		facts = &known
		q.Table = access.TableID(known.Table)
		r := q
		r.Record = &engine.Record{ID: access.RecordID(c.Record), Registered: true}
		out.Registered = &r
	}
	if facts != nil {
		q.Table = access.TableID(facts.Table)
		q.Record = &engine.Record{ID: access.RecordID(c.Record), BusinessUnit: access.BusinessUnitID(facts.In)}
		if facts.Owner != "" {
			q.Record.Owner = owner(facts.Owner)
		}
	}
	out.Question = q
	return out, nil
}
