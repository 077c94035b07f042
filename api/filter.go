package api

import (
	"context"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// FilterQuestion asks which records of a table a user may do something with (Rule
// EVAL-7).
type FilterQuestion struct {
	User         string         `json:"user" required:"true" doc:"the user's id or sign-in name"`
	Action       access.Action  `json:"action" required:"true" doc:"any but create"`
	Table        access.TableID `json:"table" required:"true"`
	Channel      engine.Channel `json:"channel,omitempty"`
	Impersonator string         `json:"impersonator,omitempty" doc:"the user who acts on behalf of the other"`
	By           []string       `json:"by,omitempty" maxItems:"1000" doc:"the columns by which the records will be selected, sorted, grouped or added up"`
	SQL          *SQL           `json:"sql,omitempty" doc:"write the filter as a condition, too"`
	Moment
}

// SQL says how to write a filter as a condition.
type SQL struct {
	Dialect      engine.Dialect `json:"dialect" required:"true" doc:"sqlite or postgresql"`
	Prefix       string         `json:"prefix,omitempty" doc:"the table's name or alias, put before each column"`
	ID           string         `json:"id,omitempty" doc:"the column with the record's id"`
	OwnerKind    string         `json:"owner_kind,omitempty" doc:"the column with user or team; where it is absent, owner has both, as user:ID"`
	Owner        string         `json:"owner,omitempty" doc:"the column with the owner"`
	BusinessUnit string         `json:"business_unit,omitempty" doc:"the column with the owning unit's id"`
	Parameters   int            `json:"parameters,omitempty" minimum:"0" maximum:"65535" doc:"how many placeholders the statement has before these"`
}

// FilterAnswer selects the records for which check allows, and no others.
type FilterAnswer struct {
	Reason         engine.Reason  `json:"reason" doc:"allowed, or why nothing is selected"`
	OfImpersonator bool           `json:"of_impersonator,omitempty" doc:"the reason is the impersonator's"`
	ValidUntil     time.Time      `json:"valid_until,omitzero"`
	All            []FilterClause `json:"all" doc:"a record is selected when each of these selects it; none selects nothing"`
	SQL            *Condition     `json:"sql,omitempty"`
	Answered
}

// FilterClause selects a record by any of what it lists.
type FilterClause struct {
	Everything    bool                    `json:"everything,omitempty"`
	Users         []access.UserID         `json:"owner_users,omitempty" doc:"the records that these users own"`
	Teams         []access.TeamID         `json:"owner_teams,omitempty" doc:"the records that these teams own"`
	BusinessUnits []access.BusinessUnitID `json:"business_units,omitempty" doc:"the records whose owning unit is one of these"`
	Records       []access.RecordID       `json:"records,omitempty" doc:"these records"`
}

// Condition is for a WHERE clause, with the arguments of its placeholders.
type Condition struct {
	Where string   `json:"where"`
	Args  []string `json:"args"`
}

type filterOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         FilterAnswer
}

func (s *Server) filter(ctx context.Context, in *struct {
	EnvironmentPath
	Body FilterQuestion
},
) (*filterOutput, error) {
	said := in.Body
	asked, snapshot, err := s.ask(ctx, in.Environment, Asked{Question{User: said.User, Impersonator: said.Impersonator}, said.Moment})
	if err != nil {
		return nil, err
	}
	f, err := snapshot.Filter(engine.FilterQuestion{
		User: asked.User, Action: said.Action, Table: said.Table, At: asked.At, Channel: said.Channel, Impersonator: asked.Impersonator, By: said.By,
	})
	d := engine.Decision{Reason: f.Reason, ValidUntil: f.ValidUntil}
	if s.count(in.Environment, d, err); err != nil {
		return nil, err
	}
	out := &filterOutput{CacheControl: "no-store", Body: FilterAnswer{
		Reason: f.Reason, OfImpersonator: f.OfImpersonator, ValidUntil: f.ValidUntil, All: make([]FilterClause, len(f.All)), Answered: said.answered(asked.At, f.Revision),
	}}
	if !out.Body.Hypothetical {
		out.CacheControl = cacheControl(d, asked.At)
	}
	for i, c := range f.All {
		out.Body.All[i] = FilterClause{Everything: c.Everything, Users: c.Users, Teams: c.Teams, Records: c.Records}
		for _, run := range c.Units {
			out.Body.All[i].BusinessUnits = append(out.Body.All[i].BusinessUnits, run.IDs()...)
		}
	}
	if said.SQL == nil {
		return out, nil
	}
	out.Body.SQL, err = condition(f, *said.SQL)
	return out, err
}

func condition(f engine.Filter, w SQL) (*Condition, error) {
	where, args, err := f.SQL(w.Dialect, engine.SQLColumns{
		Prefix: w.Prefix, ID: w.ID, OwnerKind: w.OwnerKind, Owner: w.Owner, BusinessUnit: w.BusinessUnit, Parameters: w.Parameters,
	})
	c := &Condition{Where: where, Args: make([]string, len(args))}
	for i, a := range args {
		c.Args[i] = a.(string)
	}
	return c, err
}
