package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
)

func (c *command) plan() *cobra.Command {
	var r api.SyncRequest
	var detailed bool
	var out string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a sync would change, in objects and in access, and change nothing",
		Long: `Read the sources and show what a sync would change: what is created, changed and
removed, who gains and loses which access, and whether a guard would hold it.

Exit codes: 0; with --detailed-exitcode also 10 for changes and 3 for a plan that
a guard would hold.

With --out the plan is written to a file as well, for a person to look at and for
ambit sync --plan to apply: that plan and no other.`,
		Example: "  ambit plan\n  ambit plan --output json | jq .plan.access\n  ambit plan --out monday.plan",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.File = out != ""
			return c.synchronize(cmd.Context(), "/v1/plan", r, func(a api.SyncAnswer) error {
				if out != "" {
					if err := writePlan(out, a.File); err != nil {
						return err
					}
				}
				return planned(a, detailed)
			})
		},
	}
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 10 if there are changes, 3 if they would be held")
	cmd.Flags().StringVar(&out, "out", "", "write the plan to this `FILE` as well, which must not be there yet")
	readFlags(cmd, &r)
	return cmd
}

// writePlan writes a plan's file.
func writePlan(name string, content []byte) error {
	if err := writeNew(name, content); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// writeNew writes a file for its owner only: whole or not at all, and over nobody's.
func writeNew(name string, content []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usageError{hinted{err, "give another name, or remove the file"}}
	}
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func readFlags(cmd *cobra.Command, r *api.SyncRequest) {
	cmd.Flags().Var((*sourceList)(&r.Sources), "source", "read only the source with this `ID`; may be repeated")
	cmd.Flags().BoolVar(&r.NoRead, "no-read", false, "do not read the sources; go by what was read last")
}

// sourceList is a flag that may be repeated.
type sourceList []directory.SourceID

func (l *sourceList) String() string     { return "" }
func (l *sourceList) Type() string       { return "ID" }
func (l *sourceList) Set(s string) error { *l = append(*l, directory.SourceID(s)); return nil }

func (c *command) sync() *cobra.Command {
	var r api.SyncRequest
	var plan string
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Read the sources and apply the plan",
		Long: `Read the sources and apply the plan, unless a guard holds it: then nothing is
changed, the message says why, and the exit code is 3. A person who has looked at
the plan releases it, and no other, by its digest and with a reason, which the audit
log keeps. A source that has become much smaller counts as not read, until a person
says by --accept-read that it is meant.

With --plan nothing is read: the plan in the file is applied, that and no other. If
the files, the sources or the environments have moved on, so that a sync would do
something else, or if the file was edited, nothing is changed and the message says
what it was. A plan that is held needs --accept-plan as well.`,
		Example: "  ambit sync\n  ambit sync --accept-plan sha256:… --reason 'the team was dissolved'\n  ambit sync --plan monday.plan",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if plan != "" {
				if len(r.Sources) > 0 {
					return usageError{errors.New("--plan applies what is in the file and reads no --source")}
				}
				file, err := os.ReadFile(plan)
				if err != nil {
					return usageError{fmt.Errorf("read the plan: %w", err)}
				}
				ref, err := dirsync.ReadPlan(plan, file)
				if err != nil {
					return usageError{hinted{err, "make the plan anew with ambit plan --out FILE; nothing was changed"}}
				}
				r.Plan = &ref
			}
			return c.synchronize(cmd.Context(), "/v1/sync", r, func(api.SyncAnswer) error { return nil })
		},
	}
	cmd.Flags().StringVar(&plan, "plan", "", "apply the plan in this `FILE` of ambit plan --out, and no other")
	cmd.Flags().Var((*sourceList)(&r.AcceptRead), "accept-read", "take over that the source with this `ID` has become much smaller; may be repeated")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why you accept")
	cmd.Flags().StringVar(&r.AcceptPlan, "accept-plan", "", "apply the held plan with this `DIGEST`")
	readFlags(cmd, &r)
	return cmd
}

// synchronize asks for a plan or a sync and prints what came of it.
func (c *command) synchronize(ctx context.Context, path string, r api.SyncRequest, code func(api.SyncAnswer) error) error {
	r.Details = c.output != "text"
	return c.ask(ctx, func(client *client) error {
		stop := c.progress(ctx, client)
		var a api.SyncAnswer
		err := client.do(ctx, "POST", path, r, &a)
		stop()
		if err != nil {
			return c.orHeld(err)
		}
		if err := c.print(a, func(w io.Writer) error { return printSync(w, a) }); err != nil {
			return err
		}
		for _, s := range a.Sources {
			if s.Error != "" {
				fmt.Fprintf(c.err, "ambit: error: %s\nambit: hint: what was read last stays in force; nobody loses access by it\n", plain(s.Error))
				err = exit(exitFailed)
			}
		}
		return errors.Join(err, code(a))
	})
}

func printSync(w io.Writer, a api.SyncAnswer) error {
	for _, s := range a.Sources {
		how := "read in full"
		if s.Mode == directory.Delta.String() {
			how = "read by change"
		}
		fmt.Fprintf(w, "%s: %s, %d objects, %d memberships and ownerships in %s\n", s.Source, how, s.Objects, s.Edges, time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond))
		for i, p := range s.Problems {
			if i == 10 {
				fmt.Fprintf(w, "  … and %d more problems\n", len(s.Problems)-i)
				break
			}
			fmt.Fprintf(w, "  problem: %s\n", plain(p))
		}
	}
	fmt.Fprint(w, plain(a.Text))
	if a.Applied {
		fmt.Fprintf(w, "Applied as revision %d.\n", a.Revision)
	}
	if a.Digest != "" && !a.Applied {
		fmt.Fprintf(w, "digest %s\n", a.Digest)
	}
	return nil
}

// progress shows how far the reading is while a request runs: a counter with its
// rate on a terminal, else a line every ten seconds (Rule UX-7).
func (c *command) progress(ctx context.Context, client *client) (stop func()) {
	if c.quiet {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		every, show := 10*time.Second, func(n int) { fmt.Fprintf(c.err, "reading: %d objects so far\n", n) }
		if c.screen != nil {
			bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(c.screen), progressbar.OptionSetDescription("reading"),
				progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("objects"), progressbar.OptionClearOnFinish())
			defer func() { _ = bar.Finish() }()                                // it is only a picture
			every, show = 200*time.Millisecond, func(n int) { _ = bar.Set(n) } // likewise
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				var status dirsync.Status
				if client.do(ctx, "GET", "/v1/sync", nil, &status) != nil {
					continue // the request itself will say what is wrong
				}
				n := 0
				for _, s := range status.Sources {
					n += s.Reading
				}
				show(n)
			}
		}
	}()
	return func() { cancel(); <-done }
}
