package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ambit-iam/ambit/scim"
)

// validated is what `ambit validate` found to be right.
type validated struct {
	Configuration string              `json:"configuration"`
	Environments  []string            `json:"environments"`
	Policies      int                 `json:"policies"`
	Sources       []string            `json:"sources"`
	Probes        map[string][]string `json:"probes,omitempty"`
}

func (c *command) validate() *cobra.Command {
	var probe bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration and the files that it names",
		Long: `Check the configuration, the model, mapping and policy files, with the file, line
and column of every fault. It opens no store. With --probe it also connects to
each source and checks credentials and permissions.`,
		Example: "  ambit --config configs/demo/ambit.yaml validate\n  ambit validate --probe",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := c.load()
			if err != nil {
				return err
			}
			f, err := readFiles(config, nil)
			if err != nil {
				return err
			}
			names, err := f.names(config, nil)
			if err != nil {
				return err
			}
			if _, err := f.mapping.Compile(names); err != nil {
				return err
			}
			readers, err := config.Readers(scim.NewOffline)
			if err != nil {
				return err
			}
			v := validated{Configuration: config.Path, Policies: len(f.policies)}
			for _, env := range slices.Sorted(maps.Keys(names.Environments)) {
				v.Environments = append(v.Environments, string(env))
			}
			for _, id := range slices.Sorted(maps.Keys(readers)) {
				v.Sources = append(v.Sources, string(id))
			}
			var failed []error
			if probe {
				v.Probes = map[string][]string{}
				for id, reader := range readers {
					facts, err := reader.Probe(cmd.Context())
					v.Probes[string(id)] = facts
					if err != nil {
						failed = append(failed, fmt.Errorf("source %s: %w", id, err))
					}
				}
			}
			err = c.print(v, func(w io.Writer) error {
				fmt.Fprintf(w, "%s: no faults\n", v.Configuration)
				fmt.Fprintf(w, "  environments: %v\n  sources: %v\n  elevation policies: %d\n", v.Environments, v.Sources, v.Policies)
				for _, id := range v.Sources {
					for _, fact := range v.Probes[id] {
						fmt.Fprintf(w, "  %s: %s\n", id, plain(fact))
					}
				}
				return nil
			})
			return errors.Join(err, errors.Join(failed...))
		},
	}
	cmd.Flags().BoolVar(&probe, "probe", false, "connect to each source as well")
	return cmd
}
