package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/tenant"
)

// Supposition is what if some changes were made.
type Supposition struct {
	Changes   []Supposed `json:"changes" maxItems:"1000"`
	Questions []Question `json:"questions,omitempty" maxItems:"1000" doc:"asked before and after, as where records are shared; they name what there is before"`
	Limit     int        `json:"limit,omitempty" minimum:"1" maximum:"10000" default:"1000" doc:"how many users to list, and how many differences on records, on columns and of reports; the summary is of all users"`
	Moment
}

// Supposed is one change; it has one of its members.
type Supposed struct {
	Put    *SupposedObject `json:"put,omitempty" doc:"an object is made or replaced"`
	Delete *SupposedObject `json:"delete,omitempty" doc:"an object is deleted; what names it suffices"`
	Give   *SupposedGrant  `json:"give,omitempty" doc:"somebody is given a role"`
	Edit   *SupposedEdit   `json:"edit,omitempty" doc:"a role is edited"`
}

// SupposedObject is an object as its own route has it, with its id.
type SupposedObject struct {
	Kind   access.Kind     `json:"kind" required:"true"`
	Object json.RawMessage `json:"object" required:"true"`
}

// SupposedGrant is a role assignment that would be made.
type SupposedGrant struct {
	Role         string    `json:"role" required:"true" doc:"its id or name"`
	To           string    `json:"to" required:"true" doc:"user:NAME or team:NAME"`
	BusinessUnit string    `json:"business_unit,omitempty" doc:"the principal's own where it is absent"`
	Start        time.Time `json:"start,omitzero"`
	End          time.Time `json:"end,omitzero"`
}

// SupposedEdit is what would be different in a role.
type SupposedEdit struct {
	Role          string             `json:"role" required:"true" doc:"its id or name"`
	Privileges    []access.Privilege `json:"privileges,omitempty" doc:"the lines that would be different; depth none takes one out"`
	Miscellaneous []string           `json:"miscellaneous,omitempty" doc:"those that would come"`
	Without       []string           `json:"without,omitempty" doc:"those that would go"`
}

// Difference is who would gain and lose what.
type Difference struct {
	Users   []UserDifference  `json:"users" nullable:"false"`
	More    bool              `json:"more,omitempty" doc:"there are more users than the limit"`
	Summary []engine.Line     `json:"summary" nullable:"false"`
	Text    []string          `json:"text" nullable:"false" doc:"the summary as people read it"`
	Records RecordDifferences `json:"records" doc:"on the records that change owner or unit, or a share of which begins, changes or ends, also by who joins or leaves a team"`
	Columns ColumnDifferences `json:"columns" doc:"on secured columns: of all records that a user reaches, and of single records with shares of columns"`
	Reports ReportDifferences `json:"reports" doc:"which reports come to whom above them by the hierarchy, or no longer do; with each what the report and its teams own and are shared with, as far as who is above has the privilege"`
	// Unjudged: so that nobody takes an empty answer for "nothing changes".
	Unjudged  []engine.Matter `json:"unjudged,omitempty" doc:"what the changes may give or take besides, which this answer does not tell: of hierarchy where a report joins or leaves a team, which may own something"`
	Questions []Turn          `json:"questions,omitempty"`
	Answered
}

// UserDifference is what one user would gain and lose, by roles.
type UserDifference struct {
	engine.Diff
	Login string `json:"login,omitempty"`
}

// RecordDifferences is what users would gain and lose on single records.
type RecordDifferences struct {
	List     []RecordDifference `json:"list" nullable:"false"`
	Unlisted int                `json:"unlisted,omitempty" doc:"how many the limit leaves out"`
	Complete bool               `json:"complete" doc:"false where so many users and records are touched that not all were compared"`
}

// RecordDifference is what one user would gain and lose on a record.
type RecordDifference struct {
	engine.RecordDiff
	Login string `json:"login,omitempty"`
}

// ColumnDifferences is what users would gain and lose on secured columns.
type ColumnDifferences struct {
	List     []ColumnDifference `json:"list" nullable:"false"`
	Unlisted int                `json:"unlisted,omitempty" doc:"how many the limit leaves out"`
	Complete bool               `json:"complete" doc:"false where so many users, tables and records are touched that not all were compared"`
}

// ColumnDifference is what one user would gain and lose on a column.
type ColumnDifference struct {
	engine.ColumnDiff
	Login string `json:"login,omitempty"`
}

// ReportDifferences is which reports users would gain and lose by the hierarchy.
type ReportDifferences struct {
	List     []ReportDifference `json:"list" nullable:"false"`
	Unlisted int                `json:"unlisted,omitempty" doc:"how many the limit leaves out"`
	Complete bool               `json:"complete" doc:"false where so many users and reports are concerned that not all were compared"`
	LeftOut  []access.TableID   `json:"left_out,omitempty" doc:"the tables on which no report would pass up anything any more"`
	TakenIn  []access.TableID   `json:"taken_in,omitempty" doc:"the tables on which from now on all reports would"`
}

// ReportDifference is a report whom one user would gain or lose.
type ReportDifference struct {
	engine.ReportDiff
	Login       string `json:"login,omitempty"`
	ReportLogin string `json:"report_login,omitempty"`
}

// Turn is an answer before and after.
type Turn struct {
	Before OneAnswer `json:"before"`
	After  OneAnswer `json:"after"`
}

// comparedTogether is how many users are compared before it is seen whether
// anybody still waits for the answer.
const comparedTogether = 256

// diff tells what changes would do. It writes nothing.
func (s *Server) diff(ctx context.Context, in *struct {
	EnvironmentPath
	Body Supposition
},
) (*struct{ Body Difference }, error) {
	said := in.Body
	var (
		instant time.Time
		before  *engine.Snapshot
		changes []access.Change
		users   []access.UserID
		logins  = map[access.UserID]string{}
		asked   = make([]engine.Question, len(said.Questions))
		faults  = make([]error, len(said.Questions))
	)
	err := s.view(ctx, in.Environment, said.Moment, func(v tenant.View, at time.Time) error {
		state, err := v.State(in.Environment)
		if err != nil {
			return err
		}
		for i, q := range said.Questions {
			asked[i], faults[i] = question(state, at, q)
		}
		instant = at
		if before, err = v.Snapshot(in.Environment); err != nil {
			return err
		}
		supposed, err := suppose(state, said.Changes)
		if err != nil {
			return err
		}
		if changes, err = state.Expand(supposed); err != nil {
			return err
		}
		users = before.Reached(changes)
		for _, u := range users {
			logins[u] = state.Users[u].Login
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	after, err := before.Apply(changes, before.Revision())
	if err != nil {
		return nil, err
	}
	diffs, err := compare(ctx, before, after, users, instant)
	if err != nil {
		return nil, err
	}
	records, err := engine.CompareRecords(before, after, changes, instant, said.Limit)
	if err != nil {
		return nil, err
	}
	columns, err := engine.CompareColumns(before, after, changes, instant, said.Limit)
	if err != nil {
		return nil, err
	}
	reports, err := engine.CompareReports(before, after, changes, said.Limit)
	if err != nil {
		return nil, err
	}
	out := Difference{Users: []UserDifference{}, Summary: engine.Summarize(diffs), Text: []string{}, Answered: in.Body.answered(instant, before.Revision())}
	out.Hypothetical, out.Unjudged = true, engine.Unjudged(before, after, changes)
	for _, l := range out.Summary {
		out.Text = append(out.Text, l.String())
	}
	if out.More = len(diffs) > said.Limit; out.More {
		diffs = diffs[:said.Limit]
	}
	for _, d := range diffs {
		out.Users = append(out.Users, UserDifference{d, logins[d.User]})
	}
	login := func(id access.UserID) string {
		u, known := before.User(id)
		if !known {
			u, _ = after.User(id)
		}
		return u.Login
	}
	out.Records = RecordDifferences{List: []RecordDifference{}, Unlisted: records.Unlisted, Complete: records.Complete}
	for _, d := range records.List {
		out.Records.List = append(out.Records.List, RecordDifference{d, login(d.User)})
	}
	out.Columns = ColumnDifferences{List: []ColumnDifference{}, Unlisted: columns.Unlisted, Complete: columns.Complete}
	for _, d := range columns.List {
		out.Columns.List = append(out.Columns.List, ColumnDifference{d, login(d.User)})
	}
	out.Reports = ReportDifferences{List: []ReportDifference{}, Unlisted: reports.Unlisted, Complete: reports.Complete, LeftOut: reports.LeftOut, TakenIn: reports.TakenIn}
	for _, d := range reports.List {
		out.Reports.List = append(out.Reports.List, ReportDifference{d, login(d.User), login(d.Report)})
	}
	for i, q := range asked {
		ask := func(on *engine.Snapshot) OneAnswer {
			a := engine.Answer{Err: faults[i]}
			if a.Err == nil {
				a.Decision, a.Err = on.Check(q)
			}
			return s.one(ctx, on, q, a)
		}
		out.Questions = append(out.Questions, Turn{ask(before), ask(after)})
	}
	return &struct{ Body Difference }{out}, nil
}

func compare(ctx context.Context, before, after *engine.Snapshot, users []access.UserID, at time.Time) (diffs []engine.Diff, err error) {
	for part := range slices.Chunk(users, comparedTogether) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		some, err := engine.Compare(before, after, part, at)
		if err != nil {
			return nil, err
		}
		diffs = append(diffs, some...)
	}
	return diffs, nil
}

var errOneOf = problem("invalid-request", http.StatusUnprocessableEntity, "a change has one of put, delete, give and edit")

// suppose makes changes of what is supposed.
func suppose(state *access.State, said []Supposed) ([]access.Change, error) {
	var out []access.Change
	for i, c := range said {
		var one access.Change
		var err error
		switch c {
		case Supposed{}:
			err = errOneOf
		case Supposed{Put: c.Put}:
			one.Object, err = c.Put.read(state)
		case Supposed{Delete: c.Delete}:
			one.Delete = true
			one.Object, err = c.Delete.read(state)
		case Supposed{Give: c.Give}:
			one.Object, err = c.Give.assignment(state, i)
		case Supposed{Edit: c.Edit}:
			one.Object, err = c.Edit.role(state)
		default:
			err = errOneOf
		}
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func (g SupposedGrant) assignment(state *access.State, i int) (access.Object, error) {
	role, err := roleNamed(state, g.Role)
	if err != nil {
		return nil, err
	}
	p, err := principalNamed(state, g.To)
	if err != nil {
		return nil, err
	}
	unit := unitOf(state, p)
	if g.BusinessUnit != "" {
		if unit, err = unitNamed(state, g.BusinessUnit); err != nil {
			return nil, err
		}
	}
	return access.Assignment{
		Environment: state.Environment.ID, ID: access.AssignmentID(fmt.Sprintf("supposed/%d", i)), Role: role.ID, Principal: p, BusinessUnit: unit,
		Window: access.Window{Start: access.Instant(g.Start), End: access.Instant(g.End)}, ManagedBy: access.ByAPI,
	}, nil
}

func (e SupposedEdit) role(state *access.State) (access.Object, error) {
	role, err := roleNamed(state, e.Role)
	if err != nil {
		return nil, err
	}
	lines := slices.Clone(role.Privileges)
	for _, l := range e.Privileges {
		lines = slices.DeleteFunc(lines, func(p access.Privilege) bool { return p.Table == l.Table && p.Action == l.Action })
		if l.Depth != access.None {
			lines = append(lines, l)
		}
	}
	slices.SortFunc(lines, func(a, b access.Privilege) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Action, b.Action))
	})
	role.Privileges = lines
	role.Miscellaneous = slices.DeleteFunc(append(slices.Clone(role.Miscellaneous), e.Miscellaneous...), func(m string) bool { return slices.Contains(e.Without, m) })
	slices.Sort(role.Miscellaneous)
	role.Miscellaneous = slices.Compact(role.Miscellaneous)
	return role, nil
}

// kinds has an object of each kind that can be supposed.
var kinds = [...]access.Object{
	access.Environment{},
	access.BusinessUnit{},
	access.Table{},
	access.Relationship{},
	access.Template{},
	access.Position{},
	access.Role{},
	access.Profile{},
	access.User{},
	access.Team{},
	access.Membership{},
	access.Assignment{},
	access.ProfileMember{},
	access.Record{},
	access.Share{},
	access.ColumnShare{},
}

// read makes an object of the environment, managed by the API, of what is said.
func (o SupposedObject) read(state *access.State) (access.Object, error) {
	i := slices.IndexFunc(kinds[:], func(k access.Object) bool { return k.ObjectKind() == o.Kind })
	if i < 0 {
		return nil, problem("invalid-request", http.StatusUnprocessableEntity, fmt.Sprintf("objects of kind %s cannot be supposed", o.Kind))
	}
	to := reflect.New(reflect.TypeOf(kinds[i]))
	dec := json.NewDecoder(bytes.NewReader(o.Object))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to.Interface()); err != nil {
		return nil, problem("invalid-request", http.StatusUnprocessableEntity, fmt.Sprintf("%s: %v", o.Kind, err))
	}
	where := "environment"
	if o.Kind == access.KindEnvironment {
		where = "id"
	}
	own, err := json.Marshal(map[string]any{where: state.Environment.ID, "managed_by": access.ByAPI})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(own, to.Interface()); err != nil {
		return nil, err
	}
	return to.Elem().Interface().(access.Object), nil
}
