package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

func (c *command) runs() *cobra.Command {
	q := url.Values{}
	var source, result string
	var limit int
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List what synchronizations read, changed and failed at, newest first",
		Long: `List the runs of the synchronization that did something or failed, newest first,
and above them the sources that are being read now, with how far that is. A round
that brought nothing leaves no run; what fails again as before is counted in the
run of the first time. ambit runs show prints one with its plan.`,
		Example: "  ambit runs\n  ambit runs --source corp --result failed\n  ambit runs show 42",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, value := range map[string]string{"source": source, "result": result} {
				if value != "" {
					q.Set(name, value)
				}
			}
			return c.ask(cmd.Context(), func(client *client) error {
				runs := api.Runs{Page: api.Page[store.Run]{Items: []store.Run{}}}
				for len(runs.Items) < limit {
					q.Set("limit", strconv.Itoa(min(limit-len(runs.Items), 200)))
					var page api.Runs
					if err := client.do(cmd.Context(), "GET", "/v1/runs?"+q.Encode(), nil, &page); err != nil {
						return err
					}
					runs.Items = append(runs.Items, page.Items...)
					runs.Running, runs.Revision, runs.NextCursor = page.Running, page.Revision, page.NextCursor
					if page.NextCursor == "" {
						break
					}
					q.Set("cursor", page.NextCursor)
				}
				return c.print(runs, func(w io.Writer) error { return printRuns(w, runs) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&source, "source", "", "only runs that read the source with this `ID`")
	f.StringVar(&result, "result", "", "only applied, nothing, held, planned or failed ones")
	f.IntVar(&limit, "limit", 20, "at most so many")
	cmd.AddCommand(c.runsShow())
	return cmd
}

func printRuns(w io.Writer, runs api.Runs) error {
	for _, r := range runs.Running {
		of := ""
		if r.Of > 0 && r.Mode == directory.Full.String() {
			of = fmt.Sprintf(" of about %d", r.Of)
		}
		fmt.Fprintf(w, "reading %s%s since %s: %d pages, %d%s objects, %d memberships and ownerships\n",
			r.Source, how(r.Mode), r.Since.Local().Format(time.DateTime), r.Pages, r.Objects, of, r.Edges)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RUN\tBEGAN\tTOOK\tWHY\tREAD\tCHANGED\tRESULT")
	for _, r := range runs.Items {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Started.Local().Format(time.DateTime), took(r), r.Cause, line(readText(r)), changedText(r), line(resultText(r)))
	}
	return table.Flush()
}

// how is a round's mode for people.
func how(mode string) string {
	switch mode {
	case directory.Full.String():
		return " in full"
	case directory.Delta.String():
		return " by change"
	}
	return ""
}

// took is how long the run took; of one that failed again and again, since when.
func took(r store.Run) time.Duration { return r.Ended.Sub(r.Started).Round(time.Millisecond) }

func readText(r store.Run) string {
	var words []string
	for _, s := range r.Sources {
		if s.Error != "" {
			words = append(words, string(s.Source)+" failed")
		} else {
			words = append(words, fmt.Sprintf("%s%s", s.Source, how(s.Mode)))
		}
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

// changedText counts what the run's plan creates, changes and removes.
func changedText(r store.Run) string {
	var n store.RunCounts
	for _, kinds := range r.Changed {
		for _, k := range kinds {
			n.Create, n.Update, n.Delete = n.Create+k.Create, n.Update+k.Update, n.Delete+k.Delete
		}
	}
	return fmt.Sprintf("+%d ~%d -%d", n.Create, n.Update, n.Delete)
}

func resultText(r store.Run) string {
	switch r.Result {
	case store.RunApplied:
		return fmt.Sprintf("revision %d", r.Revision)
	case store.RunNothing:
		return "nothing to change"
	case store.RunHeld:
		if len(r.Guards) > 0 {
			return "held by " + r.Guards[0].Guard
		}
	case store.RunFailed:
		text := "failed"
		if r.Times > 1 {
			text = fmt.Sprintf("failed %d times", r.Times)
		}
		if cause := failure(r); cause != "" {
			text += ": " + cause
		}
		return text
	}
	return string(r.Result)
}

// failure is why a run failed: of its plan, else of its first source that did.
func failure(r store.Run) string {
	if r.Error != "" {
		return r.Error
	}
	for _, s := range r.Sources {
		if s.Error != "" {
			return s.Error
		}
	}
	return ""
}

func (c *command) runsShow() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show one run with its plan, as ambit plan printed it",
		Long: `Show what a run read, what became of it, and its plan in the form of ambit plan. With
--out the plan's file is written as well, as ambit plan --out would have; of a plan
of more than a thousand changes it is not kept.`,
		Example: "  ambit runs show 42\n  ambit runs show 42 --out monday.plan",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usageError{hinted{fmt.Errorf("run %q: want a number", args[0]), "ambit runs lists them"}}
			}
			path := fmt.Sprintf("/v1/runs/%d", id)
			if out != "" {
				path += "?file=true"
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var run api.KeptRun
				if err := client.do(cmd.Context(), "GET", path, nil, &run); err != nil {
					return err
				}
				if out != "" {
					if !run.Kept {
						return hinted{fmt.Errorf("run %d has no plan's file", id), "a run without changes has none, and that of a plan of more than a thousand is not kept"}
					}
					if err := writePlan(out, run.File); err != nil {
						return err
					}
				}
				return c.print(run, func(w io.Writer) error { return printRun(w, run) })
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the plan to this `FILE` as well, which must not be there yet")
	return cmd
}

func printRun(w io.Writer, r api.KeptRun) error {
	fmt.Fprintf(w, "run %d, by %s", r.ID, r.Cause)
	if r.Actor.ID != "" {
		who := r.Actor.Name
		if who == "" {
			who = string(r.Actor.Kind) + ":" + r.Actor.ID
		}
		fmt.Fprintf(w, " of %s", line(who))
	}
	fmt.Fprintf(w, ", from %s for %s\n", r.Started.Local().Format(time.DateTime), took(r.Run))
	for _, s := range r.Sources {
		fmt.Fprintf(w, "%s: read%s, %d pages, %d objects, %d memberships and ownerships in %s\n",
			s.Source, how(s.Mode), s.Pages, s.Objects, s.Edges, time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond))
		fmt.Fprintf(w, "  new in it: %d objects, and %d that are gone; %d memberships and ownerships, and %d that are gone\n",
			s.Changed.Put, s.Changed.Deleted, s.Changed.AddedEdges, s.Changed.RemovedEdges)
		if s.Problems > 0 {
			fmt.Fprintf(w, "  %d problems: what could not be taken over\n", s.Problems)
		}
		if s.Error != "" {
			fmt.Fprintf(w, "  failed: %s\n", line(s.Error))
		}
	}
	fmt.Fprintf(w, "result: %s\n", line(resultText(r.Run)))
	for _, g := range r.Guards {
		fmt.Fprintf(w, "  guard %s: %s\n", g.Guard, line(g.Problem))
	}
	if r.Digest != "" {
		fmt.Fprintf(w, "digest %s\n", r.Digest)
	}
	if r.Plan != "" {
		_, err := fmt.Fprintf(w, "\n%s", plain(r.Plan))
		return err
	}
	return nil
}
