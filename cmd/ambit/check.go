package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
)

// question are the flags and arguments of check and explain.
type question struct {
	environment string
	record      api.Record
	privilege   string
	at          string
}

func (q *question) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&q.environment, "env", "e", "", "the environment's `ID` (required)")
	f.StringVar((*string)(&q.record.ID), "record", "", "the record's `ID`, by which shares find it")
	f.StringVar(&q.record.Owner, "owner", "", "the record's owner: `user:NAME or team:NAME`")
	f.StringVar(&q.record.BusinessUnit, "unit", "", "the record's owning business `UNIT` (the owner's where absent)")
	f.BoolVar(&q.record.Registered, "registered", false, "take the record's facts as they were registered")
	f.StringVar(&q.privilege, "privilege", "", "a miscellaneous `PRIVILEGE`, instead of action and table")
	f.StringVar(&q.at, "at", "", "another `TIME` than now, such as 2026-11-24T10:00:00Z; the answer is hypothetical")
	_ = cmd.MarkFlagRequired("env") // the flag exists
}

func (q *question) ask(args []string) (api.Question, error) {
	out := api.Question{User: args[0], Privilege: q.privilege}
	switch {
	case q.privilege != "" && len(args) == 1:
	case q.privilege == "" && len(args) == 3:
		if err := out.Action.UnmarshalText([]byte(args[1])); err != nil {
			return out, usageError{err}
		}
		out.Table = args[2]
	default:
		return out, usageError{fmt.Errorf("want USER ACTION TABLE, or USER with --privilege")}
	}
	if q.record != (api.Record{}) {
		out.Record = &q.record
	}
	if q.at != "" {
		at, err := time.Parse(time.RFC3339, q.at)
		if err != nil {
			return out, usageError{fmt.Errorf("--at %q: want a time such as 2026-11-24T10:00:00Z", q.at)}
		}
		out.At = at
	}
	return out, nil
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
	return cmd
}

func printAnswer(w io.Writer, a api.Answer) error {
	line := "denied: " + a.Reason.String()
	if a.Allowed {
		line = "allowed"
	}
	if a.Depth != nil && *a.Depth != access.None {
		line += ", to depth " + a.Depth.String()
	}
	line += fmt.Sprintf(" (revision %d", a.Revision)
	if !a.ValidUntil.IsZero() {
		line += ", until " + local(a.ValidUntil)
	}
	if a.Hypothetical {
		line += ", as of " + local(a.At)
	}
	_, err := fmt.Fprintln(w, line+")")
	return err
}

// local is a time as people read it: in their zone, with its offset (Rule UX-4).
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -07:00") }

func (c *command) explain() *cobra.Command {
	var q question
	var limit int
	cmd := &cobra.Command{
		Use:   "explain USER ACTION TABLE",
		Short: "Ask why a user may do something, or what is missing",
		Example: `  ambit explain --env sales amelie@example.com write account --owner user:bruno@example.com
  ambit explain --env sales amelie@example.com delete account --output json`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := q.ask(args)
			if err != nil {
				return err
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
				return c.print(raw, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, strings.TrimRight(plain(text), "\n"))
					return err
				})
			})
		},
	}
	q.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 10, "how many sets of missing facts to list")
	return cmd
}
