package vm

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// The loader is the judge: ldd(1) asks it.
func TestLibraryClosureIsWhatTheLoaderLoads(t *testing.T) {
	program, err := exec.LookPath("apt-get") // dozens of libraries, some through others
	if err != nil {
		t.Skip("no apt-get, so no Debian:", err)
	}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal("ldd:", err)
	}
	var want []string
	for _, match := range regexp.MustCompile(`(?m)^\s+(\S+) (=> /|\(0x)`).FindAllSubmatch(out, -1) {
		if name := string(match[1]); name != "linux-vdso.so.1" {
			want = append(want, filepath.Base(name))
		}
	}
	found, err := libraries{libraryDirs()}.closure(program)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for soname := range maps.Keys(found) {
		got = append(got, filepath.Base(soname))
	}
	slices.Sort(got)
	slices.Sort(want)
	if got, want := slices.Compact(got), slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWhatIsNoProgramNeedsNoLibraries(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"init.sh", empty} {
		found, err := libraries{libraryDirs()}.closure(path)
		if err != nil || len(found) != 0 {
			t.Errorf("%s: got %v, %v", path, found, err)
		}
	}
}
