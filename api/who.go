package api

import (
	"context"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/tenant"
)

// WhoQuestion asks which users may do something (Rule EVAL-10).
type WhoQuestion struct {
	Action    access.Action  `json:"action,omitempty"`
	Table     access.TableID `json:"table,omitempty"`
	Record    *Record        `json:"record,omitempty" doc:"absent: the question is about the table"`
	Privilege string         `json:"privilege,omitempty" doc:"a miscellaneous privilege, instead of action and table"`
	Channel   engine.Channel `json:"channel,omitempty"`
	Origins   bool           `json:"origins,omitempty" doc:"list every way in which each of them may"`
	Limit     int            `json:"limit,omitempty" minimum:"1" maximum:"1000" default:"100"`
	Cursor    string         `json:"cursor,omitempty" doc:"next_cursor of the page before; name the first page's revision as well, and all pages are of one state"`
	Moment
}

// WhoAnswer is a page of the users who may.
type WhoAnswer struct {
	Users      []engine.WhoUser `json:"users" nullable:"false"`
	NextCursor string           `json:"next_cursor,omitempty"`
	Answered
}

func (s *Server) who(ctx context.Context, in *struct {
	EnvironmentPath
	Body WhoQuestion
},
) (*struct{ Body WhoAnswer }, error) {
	said := in.Body
	list := []any{"who", in.Environment, said.Action, said.Table, said.Privilege, said.Channel}
	if said.Record != nil {
		list = append(list, *said.Record)
	}
	after, err := readCursor(ctx, said.Cursor, list...)
	if err != nil {
		return nil, err
	}
	found, at, err := s.findWho(ctx, in.Environment, engine.WhoQuestion{
		Action: said.Action, Table: said.Table, Privilege: said.Privilege, Channel: said.Channel, After: access.UserID(after), Limit: said.Limit, Origins: said.Origins,
	}, said.Record, said.Moment)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body WhoAnswer }{WhoAnswer{Users: found.Users, Answered: said.answered(at, found.Revision)}}
	if found.Next != "" {
		out.Body.NextCursor = makeCursor(ctx, string(found.Next), list...)
	}
	return out, nil
}

// findWho puts the question, whose record is named, to a moment.
func (s *Server) findWho(ctx context.Context, env access.EnvironmentID, q engine.WhoQuestion, record *Record, m Moment) (engine.Who, time.Time, error) {
	var snapshot *engine.Snapshot
	err := s.view(ctx, env, m, func(v tenant.View, at time.Time) error {
		state, err := v.State(env)
		if err != nil {
			return err
		}
		q.At = at
		if q.Record, err = recordNamed(state, q.Table, record); err != nil {
			return err
		}
		snapshot, err = v.Snapshot(env)
		return err
	})
	if err != nil {
		return engine.Who{}, time.Time{}, err
	}
	found, err := snapshot.Who(q)
	return found, q.At, err
}

// ColumnsAnswer is what a user may do with the secured columns of a table.
type ColumnsAnswer struct {
	Columns []ColumnAccess `json:"columns" nullable:"false"`
	Answered
}

// ColumnAccess is what a user may do with one secured column, and how its value is
// to be shown (Rule FLS-4).
type ColumnAccess struct {
	engine.ColumnAccess
	Shown       engine.Visibility `json:"shown" doc:"in a record that is read by itself: clear, masked or withheld"`
	ShownInList engine.Visibility `json:"shown_in_list" doc:"among other records"`
}

func (s *Server) columns(ctx context.Context, in *AskedInput) (*struct{ Body ColumnsAnswer }, error) {
	q, snapshot, err := s.ask(ctx, in.Environment, in.Body)
	if err != nil {
		return nil, err
	}
	list, err := snapshot.Columns(q)
	if err != nil {
		return nil, err
	}
	out := ColumnsAnswer{Columns: make([]ColumnAccess, len(list)), Answered: in.Body.answered(q.At, snapshot.Revision())}
	for i, c := range list {
		out.Columns[i] = ColumnAccess{ColumnAccess: c, Shown: c.Shows(false), ShownInList: c.Shows(true)}
	}
	return &struct{ Body ColumnsAnswer }{out}, nil
}

// refused lists the columns for which a creation or write was denied (Rule FLS-5).
func refused(snapshot *engine.Snapshot, q engine.Question, d engine.Decision) ([]string, error) {
	if d.Reason != engine.NoColumnAccess {
		return nil, nil
	}
	named := map[string]bool{}
	for _, c := range q.Columns {
		named[c] = true
	}
	q.Columns = nil
	list, err := snapshot.Columns(q)
	var out []string
	for _, c := range list {
		if may := c.Update && q.Action == access.Write || c.Create && q.Action == access.Create; named[c.Column] && !may {
			out = append(out, c.Column)
		}
	}
	return out, err
}
