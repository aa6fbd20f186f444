package main

import (
	"io"

	"github.com/spf13/cobra"

	"ipiptrace/internal/render"
)

func newSchema(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema (draft 2020-12) of a line of JSON",
		Long: `schema prints the JSON Schema (draft 2020-12) of one line of what trace, replay, doctor, probes and explain
print with -o json, and of lab's line. More fields may come; none changes its meaning.`,
		Example: "  ipiptrace schema > ipiptrace.schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			return printed(s.out, func(w io.Writer) error {
				_, err := io.WriteString(w, render.Schema())
				return err
			})
		},
	}
}
