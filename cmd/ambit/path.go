package main

import (
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
)

func (c *command) path() *cobra.Command {
	var m moment
	var environment, svg string
	cmd := &cobra.Command{
		Use:   "path USER [TEAM]",
		Short: "Show how a user comes to be in teams, group by group, and which roles that gives",
		Long: `Show the way from the directory's groups to a user's teams and roles: the groups
that the user is in, nested ones step by step, the mapping rule that makes the team
of them, and the roles that the team carries, with their business units. With TEAM,
an id or a name, only the way there. --svg writes the same as a picture.`,
		Example: `  ambit path --env sales amelie.durand@contoso.example
  ambit path --env sales amelie.durand@contoso.example sales-europe --svg amelie.svg
  ambit path --env sales nadia.petrova@contoso.example --as-of 2026-11-24T10:00:00Z`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			when, err := m.read()
			if err != nil {
				return err
			}
			q := when.Query()
			if len(args) == 2 {
				q.Set("team", args[1])
			}
			if svg != "" {
				q.Set("picture", "true")
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.PathAnswer
				path := "/v1/environments/" + url.PathEscape(environment) + "/users/" + url.PathEscape(args[0]) + "/path?" + q.Encode()
				if err := client.do(cmd.Context(), "GET", path, nil, &a); err != nil {
					return err
				}
				if svg != "" {
					if err := writeNew(svg, []byte(a.Picture)); err != nil {
						return fmt.Errorf("write the picture: %w", err)
					}
				}
				return c.print(a, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%s(%s)\n", plain(a.Text), as(api.Answered{At: a.At, Revision: a.Revision, Hypothetical: a.Hypothetical}))
					return err
				})
			})
		},
	}
	cmd.Flags().StringVarP(&environment, "env", "e", "", "the environment's `ID` (required)")
	cmd.Flags().StringVar(&svg, "svg", "", "write a picture to this `FILE` as well, which must not be there yet")
	m.flags(cmd)
	_ = cmd.MarkFlagRequired("env") // the flag exists
	return cmd
}
