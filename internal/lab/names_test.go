package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOnlyWhatAKilledLabLeftIsRemoved has a directory of names, some of which are of others.
func TestOnlyWhatAKilledLabLeftIsRemoved(t *testing.T) {
	const gone, living, reused = 4000001, 4000002, 4000003
	proc := t.TempDir()
	for pid, open := range map[int]string{living: "net:[4026532177]", reused: "/var/log/syslog"} {
		fd := filepath.Join(proc, fmt.Sprint(pid), "fd")
		if err := os.MkdirAll(fd, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(open, filepath.Join(fd, "7")); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		to   string // empty: a file, as ip netns add makes one
		gone bool
	}{
		"a name whose process is gone":                   {fmt.Sprintf("/proc/%d/fd/7", gone), true},
		"a name whose process number is another's now":   {fmt.Sprintf("/proc/%d/fd/7", reused), true},
		"a name whose process has closed the namespace":  {fmt.Sprintf("/proc/%d/fd/8", living), true},
		"a name of a lab that is held":                   {fmt.Sprintf("/proc/%d/fd/7", living), false},
		"a namespace that somebody has named like that":  {"", false},
		"a link that somebody has made, to nowhere":      {"/run/nowhere", false},
		"a link that somebody has made, to a process":    {fmt.Sprintf("/proc/%d/ns/net", gone), false},
		"a link to what only begins like the lab's path": {fmt.Sprintf("/proc/%d/fd/7/../8", gone), false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			name, other := filepath.Join(dir, "ipiptrace-client"), filepath.Join(dir, "other")
			for _, path := range []string{name, other} {
				err := os.Symlink(c.to, path)
				if c.to == "" {
					err = os.WriteFile(path, nil, 0o444)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			var said strings.Builder
			removeLeft(dir, proc, &said)
			if _, err := os.Lstat(name); os.IsNotExist(err) != c.gone {
				t.Errorf("removed: %v", !c.gone)
			}
			if strings.Contains(said.String(), name) != c.gone {
				t.Errorf("it says %q", said.String())
			}
			if _, err := os.Lstat(other); err != nil {
				t.Error("a name that is not the lab's is gone")
			}
		})
	}
}

// TestANameThatIsTakenStays makes the names beside one that is there.
func TestANameThatIsTakenStays(t *testing.T) {
	dir := t.TempDir()
	taken := nameOf(dir, Director)
	if err := os.WriteFile(taken, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	paths := map[Role]string{Client: "/proc/1/fd/3", Director: "/proc/1/fd/4", RealServer: "/proc/1/fd/5"}
	made, err := linkNames(dir, paths)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), taken) {
		t.Errorf("the error is %v", err)
	}
	slices.Sort(made)
	if want := []string{nameOf(dir, Client), nameOf(dir, RealServer)}; !slices.Equal(made, want) {
		t.Errorf("made %v", made)
	}
}
