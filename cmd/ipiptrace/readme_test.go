package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/lab"
)

const readme = "../../README.md"

var update = flag.Bool("update", false, "write the README's tables")

// TestReadmeAndHelpAgree holds every command line of the README against the commands and flags that
// there are, and asks for one example of each command.
func TestReadmeAndHelpAgree(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(streams{})
	shown := map[string]bool{}
	for _, args := range commandLines(string(text)) {
		cmd, rest, err := root.Find(args)
		if err != nil {
			t.Errorf("ipiptrace %s: %v", strings.Join(args, " "), err)
			continue
		}
		shown[cmd.Name()] = true
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("ipiptrace %s: %v", strings.Join(args, " "), err)
		}
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			t.Errorf("ipiptrace %s: %v", strings.Join(args, " "), err)
		}
	}
	shown["trace"] = shown["trace"] || shown["ipiptrace"]
	for _, cmd := range root.Commands() {
		if !shown[cmd.Name()] {
			t.Errorf("there is no example of ipiptrace %s", cmd.Name())
		}
	}
}

// TestReadmeListsWhatTheLabCanBreak compares the README's table with the lab's scenarios; -update writes it.
func TestReadmeListsWhatTheLabCanBreak(t *testing.T) {
	var rows strings.Builder
	for _, s := range lab.Scenarios() {
		code := ""
		if s.Code != "" {
			code = "`" + s.Code + "`"
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", s.Name, strings.TrimSuffix(s.Summary, "."), code)
	}
	compareTable(t, "| scenario | what is wrong | cause |\n| --- | --- | --- |\n", rows.String())
}

// TestReadmeListsTheCauses does the same with what `ipiptrace explain` knows.
func TestReadmeListsTheCauses(t *testing.T) {
	var rows strings.Builder
	for _, d := range diagnose.Codes() {
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", d.Code, d.Where, strings.TrimSuffix(d.Means, "."))
	}
	compareTable(t, "| cause | where | what it means |\n| --- | --- | --- |\n", rows.String())
}

func compareTable(t *testing.T, head, rows string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), head)
	_, after, ended := strings.Cut(after, "\n\n")
	if !found || !ended {
		t.Fatalf("the README has no table that begins with %q", head)
	}
	want := before + head + rows + "\n" + after
	if *update {
		err = os.WriteFile(readme, []byte(want), 0o644)
	} else if want != string(text) {
		err = errors.New("the table is not what the program has: go test ./cmd/ipiptrace -run Readme -update writes it")
	}
	if err != nil {
		t.Error(err)
	}
}

// commandLines are the arguments of every ipiptrace that the text's code blocks run, also behind lab's --.
func commandLines(text string) (all [][]string) {
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if !code {
			continue
		}
		line, _, _ = strings.Cut(line, "  #")
		line, _, _ = strings.Cut(line, " | ")
		for part := range strings.SplitSeq(line, " -- ") {
			words := strings.Fields(part)
			for len(words) > 0 && (words[0] == "$" || words[0] == "#" || words[0] == "sudo") {
				words = words[1:]
			}
			if len(words) > 0 && words[0] == "ipiptrace" {
				all = append(all, words[1:])
			}
		}
	}
	return all
}
