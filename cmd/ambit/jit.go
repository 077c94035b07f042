package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/jit"
)

func (c *command) jit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jit",
		Short: "Ask for a role for a time, and decide such requests",
		Long: `Elevation is asked for and decided by people, so these commands go to a daemon
with --server and sign in with --token-file.`,
		Example: `  ambit jit request "Sales Manager" --env sales --for 2h --reason "quarter-end corrections" --ticket CHG-1234
  ambit jit queue
  ambit jit approve req_0193…`,
	}
	cmd.AddCommand(
		c.jitEligible(), c.jitRequest(), c.jitList(), c.jitShow(), c.jitQueue(), c.jitDiff(), c.jitApprove(), c.jitDeny(),
		c.jitReasoned("withdraw", "Take back your own decision while the request is pending", "withdraw"),
		c.jitReasoned("cancel", "Cancel your own pending request", "cancel"),
		c.jitReasoned("end", "End your own grant early", "relinquish"),
		c.jitReasoned("revoke", "End somebody's grant early; needs --reason", "revoke"),
		c.jitPolicy(),
	)
	return cmd
}

func (c *command) jitEligible() *cobra.Command {
	var env string
	cmd := &cobra.Command{
		Use: "eligible", Short: "List what you can ask for", Args: cobra.NoArgs,
		Example: "  ambit jit eligible --env sales",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(client *client) error {
				var page api.Page[jit.Offer]
				if err := client.do(cmd.Context(), "GET", "/v1/jit/eligible?environment="+url.QueryEscape(env), nil, &page); err != nil {
					return err
				}
				return c.print(page.Items, func(w io.Writer) error {
					t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
					fmt.Fprintln(t, "ENVIRONMENT\tROLE\tIN\tLONGEST\tNOW")
					for _, o := range page.Items {
						now := "can be asked for"
						switch {
						case o.Open != "":
							now = "open: " + o.Open
						case o.Problem != "":
							now = string(o.Problem)
						}
						fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", o.Environment, line(o.RoleName), line(o.BusinessUnitName), o.MaxDuration, now)
					}
					return t.Flush()
				})
			})
		},
	}
	cmd.Flags().StringVarP(&env, "env", "e", "", "only in the environment with this `ID`")
	return cmd
}

func (c *command) jitRequest() *cobra.Command {
	var (
		ask      api.Ask
		duration string
		start    string
		key      string
		yes      bool
		wait     time.Duration
	)
	cmd := &cobra.Command{
		Use:   "request ROLE",
		Short: "Ask for a role for a time; shows what it would add before it asks",
		Example: `  ambit jit request "Sales Manager" --env sales --for 2h --reason "quarter-end corrections"
  ambit jit request "Sales Manager" --env sales --for 1h --start 2026-12-01T08:00:00Z --reason "planned work" --yes --wait 30m`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			ask.Role = access.RoleID(args[0])
			if duration != "" {
				if err := ask.Duration.UnmarshalText([]byte(duration)); err != nil {
					return usageError{fmt.Errorf("--for: %w", err)}
				}
			}
			if start != "" {
				at, err := time.Parse(time.RFC3339, start)
				if err != nil {
					return usageError{fmt.Errorf("--start %q: want a time such as 2026-12-01T08:00:00Z", start)}
				}
				ask.Start = at
			}
			if key == "" {
				key = uuid.NewString()
			}
			return c.ask(ctx, func(client *client) error {
				var f jit.Forecast
				if err := client.do(ctx, "POST", "/v1/jit/preview", ask, &f); err != nil {
					return err
				}
				if f.Evidence != nil {
					ask.Digest = f.Evidence.Digest
					if c.output == "text" {
						fmt.Fprintln(c.out, "this would add:")
						printGained(c.out, *f.Evidence)
					}
				}
				if f.Admissible && !yes && terminal(c.in) {
					if ok, err := c.confirm("ask for it?", "y"); err != nil || !ok {
						return err
					}
				}
				var r api.JITRequest
				// Sent again with the same key, the request has the effect of one.
				if err := client.do(ctx, "POST", "/v1/jit/requests", ask, &r, "Idempotency-Key", key); err != nil {
					return err
				}
				if wait > 0 {
					if err := c.waitFor(ctx, client, &r, wait); err != nil {
						return err
					}
				}
				if err := c.print(r, func(w io.Writer) error { return printRequest(w, r) }); err != nil {
					return err
				}
				if wait > 0 && r.Status == jit.StatusPending {
					return exit(exitHeld)
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP((*string)(&ask.Environment), "env", "e", "", "the environment's `ID` (required)")
	f.StringVar(&duration, "for", "", "how long, such as `2h`; the policy's default where absent")
	f.StringVar(&ask.Justification, "reason", "", "why you need it (`TEXT`)")
	f.StringVar(&ask.Ticket, "ticket", "", "the `TICKET` that it is for, where the policy asks for one")
	f.StringVar((*string)(&ask.BusinessUnit), "unit", "", "the business `UNIT`; your own where absent")
	f.StringVar(&start, "start", "", "a `TIME` to begin at, instead of as soon as approved")
	f.StringVar(&key, "key", "", "the idempotency `KEY` of a request to send again")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask before submitting")
	f.DurationVar(&wait, "wait", 0, "wait so long for a decision; exit 3 if there is none")
	_ = cmd.MarkFlagRequired("env") // the flag exists
	return cmd
}

// waitFor asks for the request until it is decided or the time is over.
func (c *command) waitFor(ctx context.Context, client *client, r *api.JITRequest, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for r.Status == jit.StatusPending {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return nil
		case <-tick.C:
			if err := client.do(ctx, "GET", "/v1/jit/requests/"+url.PathEscape(r.ID), nil, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// confirm asks a person on the terminal.
func (c *command) confirm(question, want string) (bool, error) {
	fmt.Fprintf(c.err, "%s [%s/N] ", question, want)
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if strings.EqualFold(strings.TrimSpace(line), want) {
		return true, nil
	}
	fmt.Fprintln(c.err, "nothing was done")
	return false, nil
}

func printGained(w io.Writer, e jit.Evidence) {
	if len(e.Gained) == 0 {
		fmt.Fprintln(w, "  nothing that is not there already")
	}
	for _, g := range e.Gained {
		fmt.Fprintln(w, "  + "+plain(accessText(g)))
	}
	var marks []string
	if e.Escalating {
		marks = append(marks, "ESCALATING: with it, privileges can be given")
	}
	if e.Privileged {
		marks = append(marks, "PRIVILEGED")
	}
	for _, m := range append(marks, e.Warnings...) {
		fmt.Fprintln(w, "  ! "+plain(m))
	}
}

// accessText is an access as an approver reads it.
func accessText(a engine.Access) string {
	if a.Miscellaneous != "" {
		return "privilege " + a.Miscellaneous
	}
	text := fmt.Sprintf("%s on %s at depth %s", a.Action, a.Table, a.Depth)
	switch {
	case a.Team.ID != "":
		text += ", records of team " + cmp.Or(a.Team.Name, a.Team.ID)
	case a.Depth == access.Local || a.Depth == access.Deep:
		text += " in " + cmp.Or(a.BusinessUnit.Name, a.BusinessUnit.ID)
	}
	return text
}

func printRequest(w io.Writer, r api.JITRequest) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, line(value))
		}
	}
	line("request", r.ID)
	line("status", string(r.Status))
	line("role", fmt.Sprintf("%s in %s of %s", r.Role, r.BusinessUnit, r.Environment))
	line("for", string(r.Beneficiary))
	line("duration", r.Duration.String())
	if !r.Start.IsZero() {
		line("start", local(r.Start))
	}
	line("because", r.Justification)
	line("ticket", r.Ticket)
	if r.Status == jit.StatusPending {
		line("lapses", local(r.PendingUntil))
	}
	for i, s := range r.Stages {
		var names []string
		for _, p := range s.Some {
			names = append(names, p.Name)
		}
		state := "waits for the stage before"
		if s.Open {
			state = "can be decided by " + strings.Join(names, ", ")
		}
		line(fmt.Sprintf("stage %d", i+1), fmt.Sprintf("%d of %d approvals; %s", s.Approved, s.Quorum, state))
	}
	for _, d := range r.Decisions {
		what := "denied"
		if d.Approve {
			what = "approved"
		}
		line(what, fmt.Sprintf("by %s at %s %s", d.By, local(d.At), d.Comment))
	}
	if r.Grant != nil {
		line("from", local(r.Grant.Window.Start))
		line("until", local(r.Grant.Window.End))
		if r.Grant.Ended != nil {
			line("ended", local(r.Grant.Ended.At)+" "+r.Grant.Ended.Reason)
		}
	}
	line("reason", r.Reason)
	return t.Flush()
}

func printRequests(w io.Writer, list []api.JITRequest) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REQUEST\tSTATUS\tWHO\tROLE\tIN\tFOR\tWHY")
	for _, r := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Status, r.Beneficiary, r.Role, r.Environment, r.Duration, line(firstLine(r.Justification)))
	}
	return t.Flush()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (c *command) jitList() *cobra.Command {
	q := map[string]*string{"environment": new(string), "state": new(string)}
	cmd := &cobra.Command{
		Use: "list", Short: "List the requests that you may see, newest first", Args: cobra.NoArgs,
		Example: "  ambit jit list --state pending",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.requests(cmd.Context(), "/v1/jit/requests", q)
		},
	}
	cmd.Flags().StringVarP(q["environment"], "env", "e", "", "only in the environment with this `ID`")
	cmd.Flags().StringVar(q["state"], "state", "", "only in this `STATE`: pending, approved, denied, cancelled, lapsed or void")
	return cmd
}

func (c *command) jitQueue() *cobra.Command {
	q := map[string]*string{"environment": new(string)}
	cmd := &cobra.Command{
		Use: "queue", Short: "List the requests that wait for your decision, most urgent first", Args: cobra.NoArgs,
		Example: "  ambit jit queue",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.requests(cmd.Context(), "/v1/jit/queue", q)
		},
	}
	cmd.Flags().StringVarP(q["environment"], "env", "e", "", "only in the environment with this `ID`")
	return cmd
}

func (c *command) requests(ctx context.Context, path string, filters map[string]*string) error {
	q := url.Values{}
	for name, value := range filters {
		if *value != "" {
			q.Set(name, *value)
		}
	}
	return c.ask(ctx, func(client *client) error {
		var all []api.JITRequest
		for {
			var page api.Page[api.JITRequest]
			if err := client.do(ctx, "GET", path+"?"+q.Encode(), nil, &page); err != nil {
				return err
			}
			all = slices.Concat(all, page.Items)
			if page.NextCursor == "" {
				return c.print(all, func(w io.Writer) error { return printRequests(w, all) })
			}
			q.Set("cursor", page.NextCursor)
		}
	})
}

func (c *command) jitShow() *cobra.Command {
	return &cobra.Command{
		Use: "show REQUEST", Short: "Show one request and how far it is", Args: cobra.ExactArgs(1),
		Example: "  ambit jit show req_0193…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd.Context(), func(client *client) error {
				var r api.JITRequest
				if err := client.do(cmd.Context(), "GET", "/v1/jit/requests/"+url.PathEscape(args[0]), nil, &r); err != nil {
					return err
				}
				return c.print(r, func(w io.Writer) error { return printRequest(w, r) })
			})
		},
	}
}

func (c *command) jitDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff REQUEST", Short: "Show the access that a request adds, as an approver decides on it", Args: cobra.ExactArgs(1),
		Example: "  ambit jit diff req_0193…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd.Context(), func(client *client) error {
				e, err := c.evidence(cmd.Context(), client, args[0])
				if err != nil {
					return err
				}
				return c.print(e, func(w io.Writer) error { return printEvidence(w, e) })
			})
		},
	}
}

func (c *command) evidence(ctx context.Context, client *client, id string) (api.JITEvidence, error) {
	var e api.JITEvidence
	err := client.do(ctx, "GET", "/v1/jit/requests/"+url.PathEscape(id)+"/evidence", nil, &e)
	return e, err
}

func printEvidence(w io.Writer, e api.JITEvidence) error {
	if err := printRequest(w, e.Request); err != nil {
		return err
	}
	fmt.Fprintln(w, "it adds:")
	printGained(w, e.Evidence)
	_, err := fmt.Fprintln(w, "digest", e.Digest)
	return err
}

// decisionKey makes a repeat of the same decision one: it is made of what is
// decided.
func decisionKey(verb, id, digest string) string { return verb + "-" + id + "-" + digest }

func (c *command) jitApprove() *cobra.Command {
	var digest, comment string
	cmd := &cobra.Command{
		Use:   "approve REQUEST",
		Short: "Approve a request, after showing the access that it adds",
		Long: `Approve a request. The access that it adds is shown first, with a digest; the
approval names that digest, and is refused if the access has changed since. On a
terminal the last four characters of the digest are asked for; elsewhere --digest
is required.`,
		Example: "  ambit jit approve req_0193…\n  ambit jit approve req_0193… --digest \"$(ambit jit diff req_0193… -o json | jq -r .digest)\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return c.ask(ctx, func(client *client) error {
				if digest == "" {
					if !terminal(c.in) {
						return usageError{errors.New("without a terminal, say what you approve: --digest DIGEST, from ambit jit diff")}
					}
					e, err := c.evidence(ctx, client, args[0])
					if err != nil {
						return err
					}
					if err := printEvidence(c.out, e); err != nil {
						return err
					}
					ok, err := c.confirm("approve this? type the digest's last four characters", e.Digest[max(0, len(e.Digest)-4):])
					if err != nil || !ok {
						return err
					}
					digest = e.Digest
				}
				return c.decide(ctx, client, args[0], map[string]string{"decision": "approve", "digest": digest, "comment": comment})
			})
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "the `DIGEST` of the evidence that you were shown")
	cmd.Flags().StringVar(&comment, "comment", "", "a `TEXT` for the requester and the audit log")
	return cmd
}

func (c *command) jitDeny() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "deny REQUEST", Short: "Deny a request", Args: cobra.ExactArgs(1),
		Example: `  ambit jit deny req_0193… --reason "use the read-only role"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd.Context(), func(client *client) error {
				return c.decide(cmd.Context(), client, args[0], map[string]string{"decision": "deny", "comment": reason})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (`TEXT`; required)")
	_ = cmd.MarkFlagRequired("reason") // the flag exists
	return cmd
}

func (c *command) decide(ctx context.Context, client *client, id string, body map[string]string) error {
	var r api.JITRequest
	key := decisionKey(body["decision"], id, body["digest"])
	if err := client.do(ctx, "POST", "/v1/jit/requests/"+url.PathEscape(id)+"/decisions", body, &r, "Idempotency-Key", key); err != nil {
		return err
	}
	return c.print(r, func(w io.Writer) error { return printRequest(w, r) })
}

// jitReasoned is a command that takes a request and a reason alone.
func (c *command) jitReasoned(name, short, verb string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: name + " REQUEST", Short: short, Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf(`  ambit jit %s req_0193… --reason "no longer needed"`, name),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd.Context(), func(client *client) error {
				var r api.JITRequest
				path := "/v1/jit/requests/" + url.PathEscape(args[0]) + "/" + verb
				if err := client.do(cmd.Context(), "POST", path, map[string]string{"reason": reason}, &r, "Idempotency-Key", uuid.NewString()); err != nil {
					return err
				}
				return c.print(r, func(w io.Writer) error { return printRequest(w, r) })
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (`TEXT`)")
	return cmd
}

func (c *command) jitPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy", Short: "Read elevation policies, and check files of them",
		Example: "  ambit jit policy list\n  ambit jit policy validate policies.yaml",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the elevation policies", Args: cobra.NoArgs,
			Example: "  ambit jit policy list --output yaml",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.ask(cmd.Context(), func(client *client) error {
					var page api.Page[jit.Policy]
					if err := client.do(cmd.Context(), "GET", "/v1/jit/policies", nil, &page); err != nil {
						return err
					}
					return c.print(page.Items, func(w io.Writer) error {
						t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
						fmt.Fprintln(t, "POLICY\tVERSION\tENVIRONMENT\tROLE\tIN\tLONGEST\tSTAGES\tMANAGED BY")
						for _, p := range page.Items {
							fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%s\n", p.ID, p.Version, p.Environment, p.Role, p.Scope.BusinessUnit, p.MaxDuration, len(p.Stages), p.ManagedBy)
						}
						return t.Flush()
					})
				})
			},
		},
		&cobra.Command{
			Use: "validate FILE", Short: "Check the form of a policy file, without a daemon", Args: cobra.ExactArgs(1),
			Example: "  ambit jit policy validate configs/demo/policies.yaml",
			RunE: func(_ *cobra.Command, args []string) error {
				src, err := os.ReadFile(args[0])
				if err != nil {
					return usageError{err}
				}
				file, err := jit.ParsePolicies(args[0], src)
				if faults := document.Faults(nil); err != nil && !errors.As(err, &faults) {
					return usageError{err}
				} else if err != nil {
					return err
				}
				_ = file // names are resolved by ambit validate, which knows the model
				_, err = fmt.Fprintln(c.out, args[0]+": well formed")
				return err
			},
		},
	)
	return cmd
}
