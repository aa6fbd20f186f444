package vm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cavaliergopher/cpio"
)

type entry struct {
	name, content string
	mode          cpio.FileMode
}

func unarchive(t *testing.T, r io.Reader) []entry {
	t.Helper()
	var entries []entry
	for archive := cpio.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if header.Linkname != "" {
			content = []byte(header.Linkname)
		}
		entries = append(entries, entry{header.Name, string(content), header.Mode})
	}
}

func TestInitramfsHoldsTheTreeWithParentsFirst(t *testing.T) {
	host := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(host, []byte("\x7fprogram\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree := tree{}
	tree.text("/etc/vm/settings", "a=b\n")
	tree.link("/usr/bin/ls", "/usr/bin/busybox")
	tree.dir("proc")
	if err := tree.copy("/bin/program", host); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	size, err := tree.write(&archive)
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(archive.Len()) {
		t.Errorf("said %d bytes, wrote %d", size, archive.Len())
	}
	want := []entry{
		{"etc", "", cpio.TypeDir | 0o755},
		{"etc/vm", "", cpio.TypeDir | 0o755},
		{"etc/vm/settings", "a=b\n", cpio.TypeReg | 0o644},
		{"proc", "", cpio.TypeDir | 0o755},
		{"usr", "", cpio.TypeDir | 0o755},
		{"usr/bin", "", cpio.TypeDir | 0o755},
		{"usr/bin/ls", "/usr/bin/busybox", cpio.TypeSymlink | 0o777},
		{"usr/bin/program", "\x7fprogram\n", cpio.TypeReg | 0o755},
	}
	if got := unarchive(t, &archive); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestGuestPathsHaveOneSpelling(t *testing.T) {
	for path, want := range map[string]string{
		"/bin/sh":                          "usr/bin/sh",
		"sbin/ip":                          "usr/sbin/ip",
		"/lib64/ld-linux-x86-64.so.2":      "usr/lib64/ld-linux-x86-64.so.2",
		"/lib/x86_64-linux-gnu/../libc.so": "usr/lib/libc.so",
		"/usr/bin/nft":                     "usr/bin/nft",
		"/lib":                             "lib",
		"/../out":                          "out",
		"library/x":                        "library/x",
	} {
		if got := clean(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func TestDirectoryIsCopiedWithItsLinks(t *testing.T) {
	host := t.TempDir()
	os.MkdirAll(filepath.Join(host, "a/b"), 0o755)
	os.WriteFile(filepath.Join(host, "a/b/file"), []byte("x"), 0o600)
	os.Symlink("b/file", filepath.Join(host, "a/inside"))
	os.Symlink(filepath.Join(host, "a/b/file"), filepath.Join(host, "a/absolute"))
	os.Symlink("/nowhere", filepath.Join(host, "a/dangling"))
	os.Symlink(".", filepath.Join(host, "a/loop"))

	tree := tree{}
	if err := tree.copy("/in", filepath.Join(host, "a")); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if _, err := tree.write(&archive); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"in", "", cpio.TypeDir | 0o755},
		{"in/absolute", "x", cpio.TypeReg | 0o600},
		{"in/b", "", cpio.TypeDir | 0o755},
		{"in/b/file", "x", cpio.TypeReg | 0o600},
		{"in/inside", "b/file", cpio.TypeSymlink | 0o777},
		{"in/loop", ".", cpio.TypeSymlink | 0o777},
	}
	if got := unarchive(t, &archive); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
