package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// writeTable writes costs for people: a row a back-end, a column a case.
func writeTable(w io.Writer, costs []cost) error {
	for _, c := range costs {
		if c.Case == untraced {
			fmt.Fprintf(w, "Linux %s · %d packets · an untraced packet takes %d instructions; more of them with ipiptrace:\n", c.Kernel, c.Packets, c.Instructions)
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "back-end\t")
	for _, name := range tracedCases {
		fmt.Fprint(t, name, "\t")
	}
	fmt.Fprint(t, "events\tlost\t\n")
	var unusable []cost
	for _, row := range rowsOf(costs) {
		if row[0].Unusable != "" {
			unusable = append(unusable, row[0])
			continue
		}
		writeRow(t, row)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range unusable {
		fmt.Fprintf(w, "%s: %s\n", c.Backend, c.Unusable)
	}
	return writeShares(w, costs)
}

// rowsOf groups the costs by build and back-end, in the order of their first ones.
func rowsOf(costs []cost) (rows [][]cost) {
	for _, c := range costs {
		if c.Case == untraced {
			continue
		}
		at := slices.IndexFunc(rows, func(row []cost) bool { return row[0].Build == c.Build && row[0].Backend == c.Backend })
		if at < 0 {
			rows = append(rows, []cost{c})
			continue
		}
		rows[at] = append(rows[at], c)
	}
	return rows
}

func writeRow(w io.Writer, row []cost) {
	fmt.Fprintf(w, "%s\t", row[0].Backend)
	var lost int64
	var events float64
	for _, name := range tracedCases {
		at := slices.IndexFunc(row, func(c cost) bool { return c.Case == name })
		if at < 0 {
			fmt.Fprint(w, "–\t")
			continue
		}
		fmt.Fprintf(w, "+%d\t", row[at].Instructions)
		lost, events = max(lost, row[at].Lost), max(events, row[at].Events)
	}
	fmt.Fprintf(w, "%.1f\t%d\t\n", events, lost)
}

// writeShares says where the instructions go, if that was asked.
func writeShares(w io.Writer, costs []cost) error {
	for _, c := range costs {
		if len(c.Places) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s, %s: +%d\n", c.Backend, c.Case, c.Instructions)
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		rest := float64(c.Instructions)
		for _, s := range c.Places {
			fmt.Fprintf(t, "  %.0f\t%.2f hits\t%s\t%s\n", s.Instructions, s.Hits, s.Place, s.Program)
			rest -= s.Instructions
		}
		fmt.Fprintf(t, "  %.0f\t\tthe way into the programs, less the cost of these figures\t\n", rest)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
