package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

var manDir = flag.String("man", "", "write the manual pages into this `DIR`")

// TestEveryCommandHasAManualPage makes the pages, for `make docs` where they are to stay: here, since what makes them is
// not to be in the binary. Two builds of a commit make the same pages.
func TestEveryCommandHasAManualPage(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		t.Setenv("SOURCE_DATE_EPOCH", "0") // reproducible-builds.org
	}
	root := newRoot(streams{})
	root.DisableAutoGenTag = true
	root.InitDefaultVersionFlag()
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().VisitAll(sayValue)
		if cmd.Name() == "lab" {
			cmd.Long += "\n\n```\n" + scenarioTable() + "\n```" // help has it at its end
		}
	}
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "ipiptrace " + version, Manual: "ipiptrace"}, dir); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range append(root.Commands(), root) {
		if cmd != root && !cmd.IsAvailableCommand() {
			continue // help has no page
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			page = forGroff(page)
			err = os.WriteFile(filepath.Join(dir, name), page, 0o644)
		}
		if err != nil {
			t.Error(err)
			continue
		}
		manHas(t, name, string(page), cmd)
	}
}

// sayValue puts behind a flag's name the values that it takes, as help does, and its default behind what it means.
func sayValue(f *pflag.Flag) {
	value, usage := pflag.UnquoteUsage(f)
	if f.Usage = usage; value == "" {
		return
	}
	if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "[]" {
		f.Usage += " (default " + f.DefValue + ")"
	}
	f.DefValue = value
}

// quotedValue is what cobra writes of a flag whose value is a string.
var quotedValue = regexp.MustCompile(`(--[a-z-]+\\fP)="([^"]*)"`)

// forGroff is a page without quotes around the values of flags, and in ASCII: groff takes no other characters by itself.
func forGroff(page []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(quotedValue.ReplaceAll(page, []byte("$1=$2"))) {
		if r > unicode.MaxASCII {
			fmt.Fprintf(&b, `\[u%04X]`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.Bytes()
}

func manHas(t *testing.T, name, page string, cmd *cobra.Command) {
	t.Helper()
	if strings.ContainsFunc(page, func(r rune) bool { return r > unicode.MaxASCII }) {
		t.Errorf("%s has characters that groff does not take", name)
	}
	if strings.Contains(page, "Auto generated") {
		t.Errorf("%s says when it was made", name)
	}
	plain := strings.ReplaceAll(page, `\-`, "-")
	if !strings.Contains(plain, cmd.Short) {
		t.Errorf("%s does not say what the command is for", name)
	}
	switch cmd.Name() {
	case "ipiptrace", "trace", "record", "replay":
		if !strings.Contains(plain, "Exit status: 0 nothing was seen lost") || !strings.Contains(plain, "It needs ") {
			t.Errorf("%s does not say what the exit status means, or what rights it needs", name)
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if words, ok := f.Value.(*choice); ok && !strings.Contains(plain, words.Type()) && f.Name != "backend" {
			t.Errorf("%s does not say that --%s is one of %s", name, f.Name, words.Type())
		}
		if strings.Contains(plain, "--"+f.Name) == f.Hidden {
			t.Errorf("%s: --%s is there: %v", name, f.Name, f.Hidden)
		}
	})
}
