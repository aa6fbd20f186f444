package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const readme = "../../README.md"

var update = flag.Bool("update", false, "write docs/")

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
		shown[canBeTyped(t, root, args)] = true
	}
	shown["trace"] = shown["trace"] || shown["ipiptrace"]
	for _, cmd := range root.Commands() {
		if !shown[cmd.Name()] {
			t.Errorf("there is no example of ipiptrace %s", cmd.Name())
		}
	}
}

// TestDocsAndHelpAgree does the same with the pages that people have written.
func TestDocsAndHelpAgree(t *testing.T) {
	for _, page := range []string{"architecture.md", "json.md", "operation.md", "scenarios.md"} {
		text, err := os.ReadFile(docs + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range commandLines(string(text)) {
			canBeTyped(t, newRoot(streams{}), args)
		}
	}
}

// canBeTyped holds a command line against the commands and flags that there are, and names its command.
func canBeTyped(t *testing.T, root *cobra.Command, args []string) string {
	t.Helper()
	cmd, rest, err := root.Find(args)
	if err != nil {
		t.Errorf("ipiptrace %s: %v", strings.Join(args, " "), err)
		return ""
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("ipiptrace %s: %v", strings.Join(args, " "), err)
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("ipiptrace %s: %v", strings.Join(args, " "), err)
	}
	return cmd.Name()
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
		line, _, _ = strings.Cut(line, " > ")
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
