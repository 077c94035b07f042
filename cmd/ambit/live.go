package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/directory"
	dirsync "github.com/ambit-iam/ambit/sync"
)

func (c *command) liveCheck() *cobra.Command {
	var r api.LiveRequest
	cmd := &cobra.Command{
		Use:   "live-check SOURCE",
		Short: "Ask a source now for one user's groups or one group's members, and compare",
		Long: `Ask a source now for the groups that one user is in, nested ones too, or for the
direct members of one group, and compare with what was taken over. It takes a few
requests, whatever the size of the directory. Where the two differ the source is
read by change as always and asked once more, so that what has only just changed is
no difference. Nothing else is changed.

Exit codes: 0 they agree; 10 they differ.`,
		Example: "  ambit live-check corp-ad --user amelie.durand@contoso.example\n  ambit live-check corp-ad --group sales-france",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Source = directory.SourceID(args[0]); (r.User == "") == (r.Group == "") {
				return usageError{errors.New("want one of --user NAME and --group NAME")}
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a dirsync.LiveAnswer
				if err := client.do(cmd.Context(), "POST", "/v1/live-check", r, &a); err != nil {
					return err
				}
				if err := c.print(a, func(w io.Writer) error { return printLive(w, a) }); err != nil {
					return err
				}
				return c.differs(a)
			})
		},
	}
	cmd.Flags().StringVar(&r.User, "user", "", "the user's `NAME`: id, DN, sign-in name, mail address or display name")
	cmd.Flags().StringVar(&r.Group, "group", "", "the group's `NAME`: id, DN or display name")
	return cmd
}

func printLive(w io.Writer, a dirsync.LiveAnswer) error {
	what := "groups"
	if a.Kind == directory.KindGroup {
		what = "direct members"
	}
	say := func(format string, args ...any) { fmt.Fprintln(w, line(fmt.Sprintf(format, args...))) }
	say("%s now, of %s %s:", a.Source, a.Kind, a.Object)
	if a.Gone {
		say("  does not have it any more, and Ambit does")
		return nil
	}
	say("  %d %s as Ambit has them, %d more, %d fewer", a.Agree, what, len(a.Missing), len(a.Extra))
	for _, o := range a.Missing {
		say("  + %s", o)
	}
	for _, o := range a.Extra {
		say("  - %s", o)
	}
	if a.Untold > 0 {
		say("  %d groups of which the source does not tell in this way are left out", a.Untold)
	}
	return nil
}

// differs ends the command where a source says anything else than what was taken
// over.
func (c *command) differs(a dirsync.LiveAnswer) error {
	if !a.Differs() {
		return nil
	}
	fmt.Fprintf(c.err, "ambit: hint: `ambit verify --repair --source %s` reads the source in full, and applies the plan that follows\n", a.Source)
	return exit(exitChanges)
}
