package setup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoIsFoundOrNamed holds go.sh against every kind of machine: what GOTOOLCHAIN becomes, or the one line that
// says which Go is needed and where it comes from.
func TestGoIsFoundOrNamed(t *testing.T) {
	for name, test := range map[string]struct {
		version string // what `go env GOVERSION` says; "" where there is no go
		want    string // "" where it fails
	}{
		"a newer Go builds it":                  {"go1.99.1", "local"},
		"a Go of one's own making, too":         {"go1.99.1 X:nocoverageredesign", "local"},
		"Debian 13's fetches the right one":     {"go1.24.4", "auto"},
		"so do the backports of Debian 12":      {"go1.23.5", "auto"},
		"Debian 12's own can't":                 {"go1.19.8", ""},
		"a machine without Go is told so":       {"", ""},
		"the oldest that fetches is new enough": {"go1.21.0", "auto"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tools(t, "dirname", "sed", "sort", "tail")
			if test.version != "" {
				script := "#!/bin/sh\necho '" + test.version + "'\n"
				if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/bin/sh", "./go.sh")
			cmd.Env = []string{"PATH=" + dir}
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if got := strings.TrimSpace(stdout.String()); got != test.want || (err == nil) != (test.want != "") {
				t.Fatalf("it prints %q (%v), not %q", got, err, test.want)
			}
			if test.want != "" {
				return
			}
			line := stderr.String()
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, "needs Go 1.") {
				t.Errorf("not one line that names the Go: %q", line)
			}
			if !strings.Contains(line, "apt-get install") && !strings.Contains(line, "https://go.dev/dl/") {
				t.Errorf("where Go comes from is not said: %q", line)
			}
		})
	}
}

// tools is a PATH with those programs alone: that of a Debian with Go has a go beside them.
func tools(t *testing.T, names ...string) (dir string) {
	dir = t.TempDir()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
