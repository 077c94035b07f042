package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
)

// as says which moment an answer is about, for the end of a text.
func as(on api.Answered) string {
	s := fmt.Sprintf("revision %d", on.Revision)
	if on.Hypothetical {
		s += ", judged at " + local(on.At)
	}
	return s
}

func (c *command) rights() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "rights USER TABLE",
		Short: "List the actions that a user may do on a record or table",
		Example: `  ambit rights --env sales amelie.durand@contoso.example account
  ambit rights --env sales amelie.durand@contoso.example account --record 4711 --owner user:amelie.durand@contoso.example`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := q.about(args[0], args[1])
			if err != nil {
				return err
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.RightsAnswer
				if err := client.do(cmd.Context(), "POST", q.path("rights"), body, &a); err != nil {
					return err
				}
				return c.print(a, func(w io.Writer) error {
					rights := "none"
					if a.Rights != 0 {
						rights = strings.ReplaceAll(a.Rights.String(), ",", ", ")
					}
					_, err := fmt.Fprintf(w, "%s (%s)\n", rights, as(a.Answered))
					return err
				})
			})
		},
	}
	q.flags(cmd)
	return cmd
}

func (c *command) columns() *cobra.Command {
	var q question
	var create bool
	cmd := &cobra.Command{
		Use:   "columns USER TABLE",
		Short: "List the secured columns of a table that a user may read, update and set",
		Long: `List the secured columns of a table that a user may read, update and set.

The record's facts are those of a record that there is, in which columns are read
and updated; with --create those of one that the user means to make, in which they
are set. Without a record all three are asked of the table.`,
		Example: `  ambit columns --env sales amelie.durand@contoso.example account --owner user:amelie.durand@contoso.example
  ambit columns --env sales amelie.durand@contoso.example account --owner user:amelie.durand@contoso.example --create`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := q.about(args[0], args[1])
			if err != nil {
				return err
			}
			body.Action = access.Read
			if create {
				body.Action = access.Create
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.ColumnsAnswer
				if err := client.do(cmd.Context(), "POST", q.path("columns"), body, &a); err != nil {
					return err
				}
				return c.print(a, func(w io.Writer) error { return printColumns(w, a) })
			})
		},
	}
	q.flags(cmd)
	cmd.Flags().BoolVar(&create, "create", false, "the record is one that the user means to make: which columns may be set in it")
	return cmd
}

func printColumns(w io.Writer, a api.ColumnsAnswer) error {
	if len(a.Columns) == 0 {
		fmt.Fprintln(w, "no column is secured: each follows its record")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, c := range a.Columns {
		if i == 0 {
			fmt.Fprintln(t, "COLUMN\tIN A RECORD\tIN A LIST\tUPDATE\tCREATE")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", line(c.Column), c.Shown, c.ShownInList, yes(c.Update), yes(c.Create))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "(%s)\n", as(a.Answered))
	return err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (c *command) who() *cobra.Command {
	var q question
	var limit int
	var cursor string
	var origins bool
	cmd := &cobra.Command{
		Use:   "who ACTION TABLE",
		Short: "List the users who may do something",
		Example: `  ambit who --env sales read account --owner user:amelie.durand@contoso.example
  ambit who --env sales --privilege ExportToExcel`,
		Args: cobra.RangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := api.WhoQuestion{Privilege: q.privilege, Channel: engine.Channel(q.channel), Limit: limit, Cursor: cursor, Origins: origins}
			switch {
			case q.privilege != "" && len(args) == 0:
			case q.privilege == "" && len(args) == 2:
				if err := body.Action.UnmarshalText([]byte(args[0])); err != nil {
					return usageError{err}
				}
				body.Table = access.TableID(args[1])
			default:
				return usageError{errors.New("want ACTION TABLE, or --privilege alone")}
			}
			if q.record != (api.Record{}) {
				body.Record = &q.record
			}
			var err error
			if body.Moment, err = q.moment.read(); err != nil {
				return err
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.WhoAnswer
				if err := client.do(cmd.Context(), "POST", q.path("who"), body, &a); err != nil {
					return err
				}
				return c.print(a, func(w io.Writer) error { return printWho(w, a) })
			})
		},
	}
	q.place(cmd)
	q.facts(cmd)
	f := cmd.Flags()
	f.StringVar(&q.privilege, "privilege", "", "a miscellaneous `PRIVILEGE`, instead of action and table")
	f.IntVar(&limit, "limit", 100, "how many users at most")
	f.StringVar(&cursor, "cursor", "", "go on where the answer before ended")
	f.BoolVar(&origins, "origins", false, "tell every way in which each of them may")
	return cmd
}

func printWho(w io.Writer, a api.WhoAnswer) error {
	if len(a.Users) == 0 {
		fmt.Fprintln(w, "nobody")
	}
	for _, u := range a.Users {
		fmt.Fprintln(w, line(u.Named.String()))
		for _, o := range u.Origins {
			fmt.Fprintln(w, "  "+line(o.String()))
		}
	}
	if a.NextCursor != "" {
		fmt.Fprintf(w, "more with --revision %d --cursor %s\n", a.Revision, a.NextCursor)
	}
	_, err := fmt.Fprintf(w, "(%s)\n", as(a.Answered))
	return err
}

func (c *command) what() *cobra.Command {
	var m moment
	var environment string
	cmd := &cobra.Command{
		Use:   "what USER|team:TEAM",
		Short: "List what a user or a team may do by roles",
		Example: `  ambit what --env sales amelie.durand@contoso.example
  ambit what --env sales team:sales-france`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			when, err := m.read()
			if err != nil {
				return err
			}
			return c.ask(cmd.Context(), func(client *client) error {
				in := "/v1/environments/" + url.PathEscape(environment)
				if team, ok := strings.CutPrefix(args[0], "team:"); ok {
					var what engine.TeamWhat
					if err := client.do(cmd.Context(), "GET", in+"/teams/"+url.PathEscape(team)+"/access?"+when.Query().Encode(), nil, &what); err != nil {
						return err
					}
					return c.print(what, func(w io.Writer) error { return printTeamWhat(w, what) })
				}
				var what engine.What
				path := in + "/users/" + url.PathEscape(strings.TrimPrefix(args[0], "user:")) + "/access?" + when.Query().Encode()
				if err := client.do(cmd.Context(), "GET", path, nil, &what); err != nil {
					return err
				}
				return c.print(what, func(w io.Writer) error { return printWhat(w, what) })
			})
		},
	}
	cmd.Flags().StringVarP(&environment, "env", "e", "", "the environment's `ID` (required)")
	m.flags(cmd)
	_ = cmd.MarkFlagRequired("env") // the flag exists
	return cmd
}

func printWhat(w io.Writer, what engine.What) error {
	if what.Reason != engine.Allowed {
		_, err := fmt.Fprintf(w, "nothing: %s (revision %d)\n", what.Reason, what.Revision)
		return err
	}
	for _, h := range what.Held {
		if _, err := fmt.Fprintln(w, line(accessText(h.Access))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "(revision %d, judged at %s)\n", what.Revision, local(what.At))
	return err
}

func printTeamWhat(w io.Writer, what engine.TeamWhat) error {
	if what.Reason != engine.Allowed {
		_, err := fmt.Fprintf(w, "nothing: %s (revision %d)\n", what.Reason, what.Revision)
		return err
	}
	for _, h := range what.Held {
		note := ""
		if h.Depth == access.Basic && h.Team == (engine.Named{}) {
			note = ": for each member, as if it were their own"
		}
		if _, err := fmt.Fprintln(w, line(accessText(h.Access))+note); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "(revision %d, judged at %s)\n", what.Revision, local(what.At))
	return err
}

func (c *command) filter() *cobra.Command {
	var q question
	var by []string
	var columns api.SQL
	cmd := &cobra.Command{
		Use:   "filter USER ACTION TABLE",
		Short: "Say which records of a table a user may do something with",
		Example: `  ambit filter --env sales amelie.durand@contoso.example read account
  ambit filter --env sales amelie.durand@contoso.example read account --sql postgresql --id-column id --owner-column owner --unit-column unit`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := api.FilterQuestion{User: args[0], Table: access.TableID(args[2]), Channel: engine.Channel(q.channel), Impersonator: q.impersonator, By: by}
			if err := body.Action.UnmarshalText([]byte(args[1])); err != nil {
				return usageError{err}
			}
			if columns.Dialect != "" {
				body.SQL = &columns
			}
			var err error
			if body.Moment, err = q.moment.read(); err != nil {
				return err
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.FilterAnswer
				if err := client.do(cmd.Context(), "POST", q.path("filter"), body, &a); err != nil {
					return err
				}
				return c.print(a, func(w io.Writer) error { return printFilter(w, a) })
			})
		},
	}
	q.person(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&by, "by", nil, "a `COLUMN` by which the records will be selected or sorted; several by commas")
	f.StringVar((*string)(&columns.Dialect), "sql", "", "write a condition for `sqlite or postgresql`")
	f.StringVar(&columns.Prefix, "prefix", "", "the application's table or its alias, before each column")
	f.StringVar(&columns.ID, "id-column", "", "the `COLUMN` with the record's id")
	f.StringVar(&columns.OwnerKind, "owner-kind-column", "", "the `COLUMN` with user or team; without it the owner's column has both, as user:ID")
	f.StringVar(&columns.Owner, "owner-column", "", "the `COLUMN` with the owner's id")
	f.StringVar(&columns.BusinessUnit, "unit-column", "", "the `COLUMN` with the owning business unit's id")
	f.IntVar(&columns.Parameters, "parameters", 0, "how many placeholders the statement has before these")
	return cmd
}

func printFilter(w io.Writer, a api.FilterAnswer) error {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	switch {
	case a.SQL != nil:
		say("%s", a.SQL.Where)
		for i, arg := range a.SQL.Args {
			say("  argument %d: %s", i+1, line(arg))
		}
	case a.Reason != engine.Allowed:
		say("no records: %s", a.Reason)
	default:
		for i, clause := range a.All {
			if i > 0 {
				say("and of these:")
			}
			printClause(say, clause)
		}
	}
	say("(%s)", as(a.Answered))
	return nil
}

func printClause(say func(string, ...any), c api.FilterClause) {
	if c.Everything {
		say("every record")
	}
	for _, part := range [...]struct {
		what string
		ids  []string
	}{
		{"owned by user", texts(c.Users)}, {"owned by team", texts(c.Teams)}, {"in business unit", texts(c.BusinessUnits)}, {"record", texts(c.Records)},
	} {
		for _, id := range part.ids {
			say("%s %s", part.what, line(id))
		}
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

func (c *command) diff() *cobra.Command {
	var environment string
	var m moment
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Say who would gain and lose what by some changes; change nothing",
		Long: `Say who would gain and lose what by some changes, and change nothing.

The file is YAML or JSON, "-" for the standard input, in the form that the API's
diff takes: a list of changes, each one of give, edit, put and delete.

  changes:
    - give: {role: Sales Manager, to: "user:amelie.durand@contoso.example"}
    - edit: {role: Salesperson, privileges: [{table: account, action: read, depth: organization}]}
    - put: {kind: team, object: {id: desk, name: Desk, business_unit: emea}}
    - delete: {kind: assignment, object: {id: a1}}`,
		Example: `  ambit diff --env sales changes.yaml
  echo '{changes: [{give: {role: Sales Manager, to: "user:amelie.durand@contoso.example"}}]}' | ambit diff --env sales -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := c.readSupposition(args[0])
			if err != nil {
				return err
			}
			if body.Moment, err = m.read(); err != nil {
				return err
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var d api.Difference
				if err := client.do(cmd.Context(), "POST", "/v1/environments/"+url.PathEscape(environment)+"/diff", body, &d); err != nil {
					return err
				}
				return c.print(d, func(w io.Writer) error { return printDifference(w, d) })
			})
		},
	}
	cmd.Flags().StringVarP(&environment, "env", "e", "", "the environment's `ID` (required)")
	m.flags(cmd)
	_ = cmd.MarkFlagRequired("env") // the flag exists
	return cmd
}

func (c *command) readSupposition(file string) (body api.Supposition, err error) {
	src, err := c.readFile(file)
	if err != nil {
		return body, err
	}
	if src, err = yaml.YAMLToJSON(src); err != nil {
		return body, usageError{fmt.Errorf("%s: %w", file, err)}
	}
	if err := strictly(src, &body); err != nil {
		return body, usageError{fmt.Errorf("%s: %w", file, err)}
	}
	return body, nil
}

// readFile reads a file, or the standard input for "-".
func (c *command) readFile(file string) (src []byte, err error) {
	if file == "-" {
		src, err = io.ReadAll(c.in)
	} else {
		src, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return src, nil
}

// strictly reads JSON that has known members only.
func strictly(src []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func printDifference(w io.Writer, d api.Difference) error {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	if len(d.Users) == 0 {
		say("By roles nobody gains or loses anything.")
	}
	for _, m := range d.Unjudged {
		say("Not judged: what the changes give and take %s.", matterText(m))
	}
	for _, l := range d.Text {
		say("%s", line(l))
	}
	for _, u := range d.Users {
		say("%s", line(cmp.Or(u.Login, string(u.User))))
		for _, a := range u.Gained {
			say("  + %s", line(accessText(a)))
		}
		for _, a := range u.Lost {
			say("  - %s", line(accessText(a)))
		}
	}
	if d.More {
		say("and more users; --output json with a limit in the file lists up to 10000")
	}
	printRecordDifferences(say, d.Records)
	printColumnDifferences(say, d.Columns)
	printReportDifferences(say, d.Reports)
	for i, t := range d.Questions {
		say("question %d: %s, then %s", i+1, oneText(t.Before), oneText(t.After))
	}
	say("(%s)", as(d.Answered))
	return nil
}

func printRecordDifferences(say func(string, ...any), r api.RecordDifferences) {
	for i, d := range r.List {
		if i == 0 || d.Table != r.List[i-1].Table || d.Record != r.List[i-1].Record {
			alone := ""
			if d.SharesOnly {
				alone = ", by shares alone: it is not registered"
			}
			say("%s %s%s", line(string(d.Table)), line(string(d.Record)), alone)
		}
		for _, part := range [...]struct {
			sign   string
			rights access.Rights
		}{{"+", d.Gained}, {"-", d.Lost}} {
			if part.rights != 0 {
				say("  %s %s: %s", part.sign, line(cmp.Or(d.Login, string(d.User))), part.rights)
			}
		}
	}
	if r.Unlisted > 0 {
		say("and %d more on records", r.Unlisted)
	}
	if !r.Complete {
		say("Not all users of these records were compared: they are too many.")
	}
}

func printColumnDifferences(say func(string, ...any), r api.ColumnDifferences) {
	for i, d := range r.List {
		if i == 0 || d.Table != r.List[i-1].Table || d.Record != r.List[i-1].Record {
			where := ", wherever they reach the record"
			if d.Record != "" {
				where = " " + line(string(d.Record))
			}
			if d.IfReached {
				where += ", if they reach it: it is not registered"
			}
			say("secured columns of %s%s", line(string(d.Table)), where)
		}
		user := line(cmp.Or(d.Login, string(d.User)))
		for _, part := range [...]struct {
			sign   string
			rights []engine.ColumnRight
		}{{"+", d.Gained}, {"-", d.Lost}} {
			if len(part.rights) > 0 {
				say("  %s %s: %s of %s", part.sign, user, strings.Trim(fmt.Sprint(part.rights), "[]"), line(d.Column))
			}
		}
		if d.Remasked {
			say("  ~ %s: another mask of %s", user, line(d.Column))
		}
	}
	if r.Unlisted > 0 {
		say("and %d more on columns", r.Unlisted)
	}
	if !r.Complete {
		say("Not all users of these columns were compared: they are too many.")
	}
}

func printReportDifferences(say func(string, ...any), r api.ReportDifferences) {
	for i, d := range r.List {
		if i == 0 || d.User != r.List[i-1].User {
			say("%s, by who reports to whom", line(cmp.Or(d.Login, string(d.User))))
		}
		for _, part := range [...]struct {
			sign   string
			rights access.Rights
		}{{"+", d.Gained}, {"-", d.Lost}} {
			if part.rights != 0 {
				say("  %s what %s has: %s", part.sign, line(cmp.Or(d.ReportLogin, string(d.Report))), part.rights)
			}
		}
	}
	if r.Unlisted > 0 {
		say("and %d more reports", r.Unlisted)
	}
	for _, t := range r.LeftOut {
		say("On %s no report passes up anything any more.", line(string(t)))
	}
	for _, t := range r.TakenIn {
		say("On %s all reports pass up what they have from now on.", line(string(t)))
	}
	if !r.Complete {
		say("Not all reports were compared: they are too many.")
	}
}

func matterText(m engine.Matter) string {
	switch m {
	case engine.OfHierarchy:
		return "by what teams own that reports join or leave"
	}
	return "of " + string(m)
}

func oneText(a api.OneAnswer) string {
	switch {
	case a.Problem != nil:
		return "cannot be judged: " + line(a.Problem.Detail)
	case a.Allowed:
		return "allowed"
	}
	return "denied: " + a.Reason.String()
}
