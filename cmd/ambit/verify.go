package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
)

func (c *command) verify() *cobra.Command {
	var r api.VerifyRequest
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that what was taken over is what the sources have",
		Long: `Compare each source with what was taken over from it, beyond what it tells by
itself: by each entry's version and the digest of what was read of it where the
server has versions (OpenLDAP's entryCSN), else by reading everything again. What
changes meanwhile is no difference. Nothing is changed.

With --repair the sources that differ are read in full, and the plan that follows
is applied unless a guard holds it.

Exit codes: 0 all is as in the sources, or was repaired; 10 something differs; 3
the repair is held; 1 a source could not be read.`,
		Example: "  ambit verify\n  ambit verify --source corp-ldap --stored\n  ambit verify --repair",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/v1/verify"
			if repair {
				path = "/v1/repair"
			}
			return c.ask(cmd.Context(), func(client *client) error {
				stop := c.progress(cmd.Context(), client)
				var a api.VerifyAnswer
				err := client.do(cmd.Context(), "POST", path, r, &a)
				stop()
				if err != nil {
					return c.orHeld(err)
				}
				if err := c.print(a, func(w io.Writer) error { return printVerified(w, a) }); err != nil {
					return err
				}
				for _, s := range a.Sources {
					if s.Error != "" {
						fmt.Fprintf(c.err, "ambit: error: %s\nambit: hint: nothing is proven of this source; what was read last stays in force\n", plain(s.Error))
						err = exit(exitFailed)
					}
				}
				if err == nil && a.Differences > 0 && a.Repair == nil {
					fmt.Fprintln(c.err, "ambit: hint: `ambit verify --repair` reads in full what differs, and applies the plan that follows")
					err = exit(exitChanges)
				}
				return err
			})
		},
	}
	cmd.Flags().Var((*sourceList)(&r.Sources), "source", "verify only the source with this `ID`; may be repeated")
	cmd.Flags().BoolVar(&r.Stored, "stored", false, "compare what is in memory with what is stored, too")
	cmd.Flags().BoolVar(&repair, "repair", false, "read in full what differs, and apply the plan that follows")
	return cmd
}

func printVerified(w io.Writer, a api.VerifyAnswer) error {
	for _, s := range a.Sources {
		if s.Error != "" {
			fmt.Fprintf(w, "%s: not proven\n", s.Source)
			continue
		}
		how := "by version"
		if s.Method == "reading" {
			how = "by reading everything again"
		}
		fmt.Fprintf(w, "%s: %d objects compared %s in %s, %d differ\n", s.Source, s.Objects, how, time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond), s.Count)
		if s.Skipped > 0 {
			fmt.Fprintf(w, "  %d objects were left out: the source gives them in a form that cannot be taken over\n", s.Skipped)
		}
		for i, d := range s.Differences {
			if i == 10 {
				fmt.Fprintf(w, "  … and %d more\n", s.Count-i)
				break
			}
			name := string(d.Object)
			if d.Name != "" {
				name = d.Name
			}
			fmt.Fprintf(w, "  %s: %s\n", plain(name), plain(d.Text))
		}
	}
	if a.Repair != nil {
		return printSync(w, *a.Repair)
	}
	return nil
}

// orHeld says of an error that is a held plan why it is held.
func (c *command) orHeld(err error) error {
	var problem *api.Problem
	if !errors.As(err, &problem) || !strings.HasSuffix(problem.Type, ":plan-held") {
		return err
	}
	if text, ok := problem.Members["text"].(string); ok && c.output == "text" {
		fmt.Fprint(c.out, plain(text))
	} else if err := c.print(problem, nil); err != nil {
		return err
	}
	hint, _ := problem.Members["hint"].(string)
	fmt.Fprintf(c.err, "ambit: %s; nothing was changed\nambit: hint: %s\n", problem.Detail, hint)
	return exit(exitHeld)
}
