package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/api"
)

func (c *command) whatIf() *cobra.Command {
	var mapping string
	var models []string
	var detailed bool
	cmd := &cobra.Command{
		Use:   "what-if",
		Short: "Show what a sync with edited mapping or model files would change, and change nothing",
		Long: `Show what a sync would change if these files were in force, by what the sources
said last: objects, access gained and lost, and whether a guard would hold it. No
source is asked, and nothing of it can be applied: put the files in force for that.

What the files in force and the directory want already and no sync has applied yet
is among it.

Exit codes: 0; with --detailed-exitcode also 10 for changes and 3 for a plan that
a guard would hold; 2 for files with faults.`,
		Example: "  ambit what-if --mapping edited.yaml\n  ambit what-if --model teams.yaml --output json | jq .plan.access",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if mapping == "" && len(models) == 0 {
				return usageError{hinted{errors.New("which files?"), "name an edited mapping with --mapping FILE or model files with --model FILE"}}
			}
			r := api.WhatIfRequest{Details: c.output != "text"}
			read := func(path string) (api.FileText, error) {
				b, err := os.ReadFile(path)
				if err != nil {
					return api.FileText{}, usageError{fmt.Errorf("read the file: %w", err)}
				}
				return api.FileText{Name: path, Text: string(b)}, nil
			}
			if mapping != "" {
				f, err := read(mapping)
				if err != nil {
					return err
				}
				r.Mapping = &f
			}
			for _, path := range models {
				f, err := read(path)
				if err != nil {
					return err
				}
				r.Model = append(r.Model, f)
			}
			return c.ask(cmd.Context(), func(client *client) error {
				var a api.SyncAnswer
				if err := client.do(cmd.Context(), "POST", "/v1/what-if", r, &a); err != nil {
					return err
				}
				if err := c.print(a, func(w io.Writer) error { _, err := fmt.Fprint(w, plain(a.Text)); return err }); err != nil {
					return err
				}
				return planned(a, detailed)
			})
		},
	}
	cmd.Flags().StringVar(&mapping, "mapping", "", "the edited mapping `FILE`, in place of the one in force")
	cmd.Flags().StringArrayVar(&models, "model", nil, "an edited model `FILE`, in place of the configured one of its name; may be repeated")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 10 if there would be changes, 3 if they would be held")
	return cmd
}

// planned is the exit code of a plan.
func planned(a api.SyncAnswer, detailed bool) error {
	switch {
	case !detailed || a.Changes == 0:
		return nil
	case a.Held:
		return exit(exitHeld)
	}
	return exit(exitChanges)
}
