package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/olekukonko/tablewriter"
	plain "github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
	"github.com/spf13/cobra"

	"ipiptrace/internal/screen"
	"ipiptrace/tracer"
	"ipiptrace/tracer/event"
)

// probesCommand is `ipiptrace probes`.
type probesCommand struct {
	streams
	talking
	backend *choice
	format  *choice
}

func newProbes(s streams) *cobra.Command {
	p := &probesCommand{streams: s, backend: backendChoice(), format: oneOf("text", "json")}
	cmd := &cobra.Command{
		Use:   "probes",
		Short: "List the places in this kernel that can be watched, by which mechanism, and which can't, and why",
		Long: `probes tries every place in this kernel at which ipiptrace would look at packets: a program is loaded,
attached and detached again. It follows no packet and needs the same privileges as trace.`,
		Example: "  ipiptrace probes --backend kprobe",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.Var(p.backend, "backend", backendUsage)
	flags.VarP(p.format, "output", "o", "for people, or one object a line")
	p.talking.define(cmd)
	complete(cmd, "backend", p.backend.words)
	complete(cmd, "output", p.format.words)
	return cmd
}

func (p *probesCommand) run(ctx context.Context) error {
	if err := p.talking.check(); err != nil {
		return err
	}
	effective(everything)
	probes, err := tracer.Probes(ctx, p.backend.word, p.log(p.err))
	effective(0)
	if errors.Is(err, context.Canceled) {
		return errors.New("probes was told to end before it had tried every place")
	}
	if err != nil {
		return err
	}
	write := probesTable
	if p.format.word == "json" {
		write = probesJSON
	}
	return printed(p.out, func(w io.Writer) error { return write(w, probes) })
}

// probesJSON writes an object a line, the contract's.
func probesJSON(w io.Writer, probes []event.Probe) error {
	for _, p := range probes {
		err := screen.JSON(w, struct {
			Type string `json:"type"`
			event.Probe
		}{"probe", p})
		if err != nil {
			return err
		}
	}
	return nil
}

// probesTable writes a row a place, and under them how many can be watched.
func probesTable(w io.Writer, probes []event.Probe) error {
	var b strings.Builder
	table := tablewriter.NewTable(&b,
		tablewriter.WithRenderer(plain.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Symbols:  tw.NewSymbols(tw.StyleNone),
			Settings: tw.Settings{Separators: tw.SeparatorsNone, Lines: tw.LinesNone},
		})),
		tablewriter.WithPadding(tw.Padding{Right: "  ", Overwrite: true}),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
	)
	table.Header("place", "mechanism", "symbol", "why not")
	attached := 0
	for _, p := range probes {
		if p.Attached() {
			attached++
		}
		if err := table.Append(shown(p.Name), shown(p.Mechanism), shown(p.Symbol), shown(p.Why)); err != nil {
			return err
		}
	}
	if err := table.Render(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d of %d places can be watched\n", attached, len(probes))
	if err == nil && lacksTracefs(probes) {
		_, err = fmt.Fprintf(w, "more once kprobes can be made: %s\n", mountTracefs)
	}
	return err
}

// lacksTracefs reports whether places can't be watched for want of a mounted tracefs.
func lacksTracefs(probes []event.Probe) bool {
	return slices.ContainsFunc(probes, func(p event.Probe) bool { return p.Why == tracer.ErrNoTracefs.Error() })
}

// shown is what came from the kernel as a cell; "-" is nothing.
func shown(s string) string {
	if s == "" {
		return "-"
	}
	return screen.Clean(s)
}
