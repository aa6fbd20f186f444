package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "ipiptrace " + version, Manual: "ipiptrace"}, dir); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range append(root.Commands(), root) {
		if cmd != root && !cmd.IsAvailableCommand() {
			continue // help has no page
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		manHas(t, name, string(page), cmd)
	}
}

func manHas(t *testing.T, name, page string, cmd *cobra.Command) {
	t.Helper()
	if strings.Contains(page, "Auto generated") {
		t.Errorf("%s says when it was made", name)
	}
	plain := strings.ReplaceAll(page, `\-`, "-")
	if !strings.Contains(plain, cmd.Short) {
		t.Errorf("%s does not say what the command is for", name)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if strings.Contains(plain, "--"+f.Name) == f.Hidden {
			t.Errorf("%s: --%s is there: %v", name, f.Name, f.Hidden)
		}
	})
}
