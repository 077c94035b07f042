package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/engine"
	dirsync "github.com/ambit-iam/ambit/sync"
)

// moment are the flags that say which state is asked.
type moment struct {
	at, asOf          string
	revision, atLeast int64
}

func (m *moment) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.asOf, "as-of", "", "as it was at `TIME`, such as 2026-11-24T10:00:00Z: what was stored then, with windows judged then")
	f.Int64Var(&m.revision, "revision", 0, "as revision `N` has it, with windows judged now or at --at")
	f.Int64Var(&m.atLeast, "at-least", 0, "as `REVISION` has it or a newer one: that of a change which the answer is to know")
	f.StringVar(&m.at, "at", "", "with windows judged at another `TIME` than now")
}

func (m *moment) read() (api.Moment, error) {
	at, err := instant("--at", m.at)
	if err != nil {
		return api.Moment{}, err
	}
	asOf, err := instant("--as-of", m.asOf)
	return api.Moment{At: at, AsOf: asOf, Revision: access.Revision(m.revision), AtLeast: access.Revision(m.atLeast)}, err
}

func instant(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, usageError{fmt.Errorf("%s %q: want a time such as 2026-11-24T10:00:00Z", flag, s)}
	}
	return t, nil
}

// question are the flags and arguments of a question about a user.
type question struct {
	moment
	environment  string
	record       api.Record
	privilege    string
	channel      string
	impersonator string
	columns      []string
}

func (q *question) flags(cmd *cobra.Command) {
	q.person(cmd)
	q.facts(cmd)
}

// facts adds those of a record.
func (q *question) facts(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar((*string)(&q.record.ID), "record", "", "the record's `ID`, by which shares find it")
	f.StringVar(&q.record.Owner, "owner", "", "the record's owner: `user:NAME or team:NAME`")
	f.StringVar(&q.record.BusinessUnit, "unit", "", "the record's owning business `UNIT` (the owner's where absent)")
	f.BoolVar(&q.record.Registered, "registered", false, "take the record's facts as they were registered")
}

// person adds what every question about one user has.
func (q *question) person(cmd *cobra.Command) {
	q.place(cmd)
	cmd.Flags().StringVar(&q.impersonator, "as", "", "the `USER` who acts on behalf of the other")
}

// place adds what every question has that is one alone.
func (q *question) place(cmd *cobra.Command) {
	q.environmentAndMoment(cmd)
	cmd.Flags().StringVar(&q.channel, "channel", "", "how the user comes in: `interactive or api`")
}

func (q *question) environmentAndMoment(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&q.environment, "env", "e", "", "the environment's `ID` (required)")
	q.moment.flags(cmd)
	_ = cmd.MarkFlagRequired("env") // the flag exists
}

// privileges adds what only questions about one action have.
func (q *question) privileges(cmd *cobra.Command) {
	cmd.Flags().StringVar(&q.privilege, "privilege", "", "a miscellaneous `PRIVILEGE`, instead of action and table")
	cmd.Flags().StringSliceVar(&q.columns, "column", nil, "a `COLUMN` that the create or write sets; several by commas")
}

func (q *question) ask(args []string) (api.Asked, error) {
	var action access.Action
	var table string
	switch {
	case q.privilege != "" && len(args) == 1:
	case q.privilege == "" && len(args) == 3:
		if err := action.UnmarshalText([]byte(args[1])); err != nil {
			return api.Asked{}, usageError{err}
		}
		table = args[2]
	default:
		return api.Asked{}, usageError{fmt.Errorf("want USER ACTION TABLE, or USER with --privilege")}
	}
	out, err := q.about(args[0], table)
	out.Action = action
	return out, err
}

// about is a question about a user and a table or record, without an action.
func (q *question) about(user, table string) (api.Asked, error) {
	out := api.Asked{Question: api.Question{
		User: user, Table: table, Privilege: q.privilege, Channel: engine.Channel(q.channel), Impersonator: q.impersonator, Columns: q.columns,
	}}
	if q.record != (api.Record{}) {
		out.Record = &q.record
	}
	var err error
	out.Moment, err = q.moment.read()
	return out, err
}

func (q *question) path(verb string) string {
	return "/v1/environments/" + url.PathEscape(q.environment) + "/" + verb
}

func (c *command) check() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "check USER ACTION TABLE",
		Short: "Ask whether a user may do something; exit 0 if so, 4 if not",
		Example: `  ambit check --env sales amelie@example.com read account --owner user:bruno@example.com
  ambit check --env sales amelie@example.com create account
  ambit check --env sales amelie@example.com --privilege export_to_excel`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := q.ask(args)
			if err != nil {
				return err
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.Answer
				if err := client.do(cmd.Context(), "POST", q.path("check"), body, &a); err != nil {
					return err
				}
				if err := c.print(a, func(w io.Writer) error { return printAnswer(w, a) }); err != nil {
					return err
				}
				if !a.Allowed {
					return exit(exitDenied)
				}
				return nil
			})
		},
	}
	q.flags(cmd)
	q.privileges(cmd)
	return cmd
}

func printAnswer(w io.Writer, a api.Answer) error {
	text := verdict(api.OneAnswer{Allowed: a.Allowed, Reason: a.Reason, OfImpersonator: a.OfImpersonator, Columns: a.Columns, Depth: a.Depth})
	text += fmt.Sprintf(" (revision %d", a.Revision)
	if !a.ValidUntil.IsZero() {
		text += ", until " + local(a.ValidUntil)
	}
	if a.Hypothetical {
		text += ", judged at " + local(a.At)
	}
	_, err := fmt.Fprintln(w, text+")")
	return err
}

// verdict is an answer without its moment.
func verdict(a api.OneAnswer) string {
	text := oneText(a)
	if len(a.Columns) > 0 {
		text += " to " + line(strings.Join(a.Columns, ", "))
	}
	if a.OfImpersonator {
		text += " (who acts on behalf)"
	}
	if a.Depth != nil && *a.Depth != access.None {
		text += ", to depth " + a.Depth.String()
	}
	return text
}

// local is a time as people read it: in their zone, with its offset (Rule UX-4).
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -07:00") }

func (c *command) explain() *cobra.Command {
	var q question
	var limit int
	var live bool
	cmd := &cobra.Command{
		Use:   "explain USER ACTION TABLE",
		Short: "Ask why a user may do something, or what is missing",
		Long: `Ask why a user may do something, or what is missing.

With --live the user's source is asked now which groups the user is in, and where
that is not what the answer rests on, the exit code is 10. See ambit live-check.`,
		Example: `  ambit explain --env sales amelie@example.com write account --owner user:bruno@example.com
  ambit explain --env sales amelie@example.com write account --live
  ambit explain --env sales amelie@example.com delete account --output json`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := q.ask(args)
			switch {
			case err != nil:
				return err
			case live && (q.asOf != "" || q.revision != 0 || q.at != ""):
				return usageError{errors.New("--live asks the source as it is now: leave --as-of, --revision and --at out")}
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var raw map[string]any
				if err := client.do(cmd.Context(), "POST", fmt.Sprintf("%s?limit=%d", q.path("explain"), limit), body, &raw); err != nil {
					return err
				}
				text, _ := raw["text"].(string)
				if c.output != "text" {
					delete(raw, "text")
				}
				var a dirsync.LiveAnswer
				if live {
					if err := client.do(cmd.Context(), "POST", "/v1/live-check", api.LiveRequest{Environment: access.EnvironmentID(q.environment), User: args[0]}, &a); err != nil {
						return err
					}
					raw["live"] = a
				}
				if err := c.print(raw, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, strings.TrimRight(plain(text), "\n"))
					if live && err == nil {
						err = printLive(w, a)
					}
					return err
				}); err != nil {
					return err
				}
				return c.differs(a)
			})
		},
	}
	q.flags(cmd)
	q.privileges(cmd)
	cmd.Flags().IntVar(&limit, "limit", 10, "how many sets of missing facts to list")
	cmd.Flags().BoolVar(&live, "live", false, "ask the user's source now for the user's groups, and compare")
	return cmd
}
