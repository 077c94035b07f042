package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/audit"
)

func (c *command) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Read and check the audit log",
		Example: "  ambit audit list --limit 20\n  ambit audit verify",
	}
	cmd.AddCommand(c.auditList(), c.auditVerify())
	return cmd
}

func (c *command) auditList() *cobra.Command {
	q := url.Values{}
	var limit int
	flags := map[string]*string{}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what was done, newest first",
		Example: "  ambit audit list --operation jit. --limit 50\n  ambit audit list --env sales --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, value := range flags {
				if *value != "" {
					q.Set(name, *value)
				}
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var events []audit.Event
				for len(events) < limit {
					q.Set("limit", strconv.Itoa(min(limit-len(events), 200)))
					var page api.Page[audit.Event]
					if err := client.do(cmd.Context(), "GET", "/v1/audit/events?"+q.Encode(), nil, &page); err != nil {
						return err
					}
					events = append(events, page.Items...)
					if page.NextCursor == "" {
						break
					}
					q.Set("cursor", page.NextCursor)
				}
				return c.print(events, func(w io.Writer) error { return printEvents(w, events) })
			})
		},
	}
	f := cmd.Flags()
	text := func(name, flag, usage string) {
		flags[name] = new(string)
		f.StringVar(flags[name], flag, "", usage)
	}
	text("environment", "env", "only this environment's")
	text("object", "object", "only of this object: `KIND/KEY`")
	text("actor", "actor", "only of this actor's `ID`")
	text("operation", "operation", "only operations whose name begins so, such as `jit.`")
	text("from", "from", "not before this `TIME`, such as 2026-11-24T10:00:00Z")
	text("until", "until", "before this `TIME`")
	f.IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}

func printEvents(w io.Writer, events []audit.Event) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SEQ\tREVISION\tWHEN\tWHO\tWHAT\tRESULT\tOBJECT\tWHY")
	for _, e := range events {
		who := string(e.Actor.Kind) + ":" + e.Actor.ID
		if e.Actor.Name != "" {
			who = e.Actor.Name
		}
		where := e.Object
		if e.Environment != "" {
			where = string(e.Environment) + " " + where
		}
		fmt.Fprintf(table, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Seq, e.Revision, e.At.Local().Format(time.DateTime), line(who), e.Operation, e.Result, line(where), line(e.Reason))
	}
	return table.Flush()
}

func (c *command) auditVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check that no entry was edited, removed, added or reordered; exit 1 if one was",
		Long: `Check the hash chain over all entries, and every change they tell of against the
rows that the store has. Keep the head that it prints somewhere else: a log that
was cut at its end still holds in itself, but no longer reaches that head.`,
		Example: "  ambit audit verify\n  ambit audit verify --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(client *client) error {
				var v api.Verification
				if err := client.do(cmd.Context(), "GET", "/v1/audit/verification", nil, &v); err != nil {
					return err
				}
				err := c.print(v, func(w io.Writer) error {
					if !v.Holds {
						_, err := fmt.Fprintln(w, "the audit log does not hold:", plain(v.Problem))
						return err
					}
					_, err := fmt.Fprintf(w, "the audit log holds: %d events up to revision %d, head %s\n", v.Events, v.Revision, v.Head)
					return err
				})
				if err == nil && !v.Holds {
					return exit(exitFailed)
				}
				return err
			})
		},
	}
}
