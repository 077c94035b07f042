package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (c *command) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  ambit version --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit,omitempty"`
				Go      string `json:"go"`
			}{Version: version, Go: runtime.Version()}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			return c.print(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "ambit %s (%s)\n", v.Version, v.Go)
				return err
			})
		},
	}
}

// health is what a container's health check runs.
func (c *command) health() *cobra.Command {
	return &cobra.Command{
		Use:     "health",
		Short:   "Ask the daemon whether it is ready; exit 0 if so",
		Example: "  ambit health",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, _, err := c.daemon()
			if err != nil {
				return err
			}
			if running == nil {
				return errors.New("no daemon runs here")
			}
			return errors.Join(running.do(cmd.Context(), "GET", "/readyz", nil, nil), running.close())
		},
	}
}
