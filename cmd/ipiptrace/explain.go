package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/doctor"
	"ipiptrace/internal/screen"
)

// explainCommand is `ipiptrace explain CODE`.
type explainCommand struct {
	streams
	list   bool
	format *choice
}

func newExplain(s streams) *cobra.Command {
	e := &explainCommand{streams: s, format: oneOf("text", "json")}
	cmd := &cobra.Command{
		Use:   "explain CODE | --list",
		Short: "Say what a cause means, how to confirm it by hand, how to repair it for good",
		Example: `  ipiptrace explain rp-filter
  ipiptrace explain --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if e.list {
				return noArgs(cmd, args)
			}
			return oneArg("CODE")(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error { return e.run(args) },
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return codes(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&e.list, "list", false, "every code, with one line each")
	cmd.Flags().VarP(e.format, "output", "o", "text: for people; json: one object a line")
	complete(cmd, "output", e.format.words)
	return cmd
}

func codes() (all []string) {
	for _, d := range diagnose.Codes() {
		all = append(all, d.Code)
	}
	return all
}

func (e *explainCommand) run(args []string) error {
	docs := diagnose.Codes()
	if !e.list {
		code := args[0]
		docs = slices.DeleteFunc(docs, func(d diagnose.Doc) bool { return d.Code != code })
		if len(docs) == 0 && slices.Contains(doctor.Codes(), code) {
			return usageError{fmt.Errorf("explain %s: it is no cause, but what doctor's table calls a check that only describes; ipiptrace explain --list has the causes", code)}
		}
		if len(docs) == 0 {
			return usageError{fmt.Errorf("explain %s: there is no such code%s; ipiptrace explain --list has all", screen.Quote(code), like(code, "", codes()))}
		}
	}
	return printed(e.out, func(w io.Writer) error { return e.write(w, docs) })
}

func (e *explainCommand) write(w io.Writer, docs []diagnose.Doc) error {
	switch {
	case e.format.word == "json":
		for _, d := range docs {
			err := screen.JSON(w, struct {
				Type string `json:"type"`
				diagnose.Doc
			}{"cause", d})
			if err != nil {
				return err
			}
		}
		return nil
	case e.list:
		return listCodes(w, docs)
	}
	_, err := io.WriteString(w, manual(docs[0]))
	return err
}

func listCodes(w io.Writer, docs []diagnose.Doc) error {
	for _, d := range docs {
		if _, err := fmt.Fprintf(w, "%-26s  %s: %s\n", d.Code, d.Where, d.Means); err != nil {
			return err
		}
	}
	return nil
}

// manual is a cause for a person, in 80 columns.
func manual(d diagnose.Doc) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n\n  %s\n", d.Code, d.Where, hang(d.Means, 2))
	section := func(title string, lines ...string) {
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, line := range lines {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	section("In the kernel", hang(d.Kernel, 2))
	section("Confirm by hand", texts(d.Confirm)...)
	section("Repair", texts(d.Fix)...)
	section("Keep it from coming back", hang(d.Prevent, 2))
	return b.String()
}

// texts are the lines as a person reads them.
func texts(lines []diagnose.Line) (all []string) {
	for _, l := range lines {
		all = append(all, l.String())
	}
	return all
}

const columns = 80

// hang breaks a text into lines that begin at a column.
func hang(text string, column int) string {
	var b strings.Builder
	at := column
	for i, word := range strings.Fields(text) {
		switch {
		case i > 0 && at+1+len(word) > columns:
			b.WriteString("\n" + strings.Repeat(" ", column))
			at = column
		case i > 0:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// like asks whether the most similar of those known was meant by somebody who typed a word that is none of them; it says
// nothing if none is similar. prefix is what stands before such a word.
func like(word, prefix string, all []string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "_", "-")
	best, distance := "", max(len(word)/2, 3)
	for _, known := range all {
		if d := edits(word, known); d < distance || strings.Contains(known, word) && best == "" && word != "" {
			best, distance = known, min(d, distance)
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s%s?)", prefix, best)
}

// edits is how many letters make one word of the other (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
