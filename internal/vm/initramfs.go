package vm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// tree is the content of an initramfs: path without leading slash to file.
// Directories above a file need no entry.
type tree map[string]node

type node struct {
	mode    fs.FileMode // type and permissions
	content string      // of a text, the target of a link
	host    string      // where the content is on this machine
}

func (t tree) text(name, content string)   { t[clean(name)] = node{mode: 0o644, content: content} }
func (t tree) script(name, content string) { t[clean(name)] = node{mode: 0o755, content: content} }
func (t tree) dir(name string)             { t[clean(name)] = node{mode: fs.ModeDir | 0o755} }
func (t tree) link(name, target string) {
	t[clean(name)] = node{mode: fs.ModeSymlink | 0o777, content: target}
}

// copy takes a file, or a directory with all its content, from this machine.
// Links are followed, but those that stay in their directory.
func (t tree) copy(name, host string) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		t[clean(name)] = node{mode: info.Mode().Perm(), host: host}
		return nil
	}
	entries, err := os.ReadDir(host)
	if err != nil {
		return err
	}
	t.dir(name)
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(host, entry.Name())); err == nil && filepath.IsLocal(target) {
			t.link(path.Join(name, entry.Name()), target)
			continue
		}
		err := t.copy(path.Join(name, entry.Name()), filepath.Join(host, entry.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a dangling link
			return err
		}
	}
	return nil
}

// clean gives the one spelling a path has in the tree: every distribution with
// systemd has merged /bin, /sbin and /lib into /usr, and so has the guest.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	first, _, _ := strings.Cut(name, "/")
	if slices.Contains(merged, first) && first != name {
		return "usr/" + name
	}
	return name
}

var merged = []string{"bin", "sbin", "lib", "lib64"}

// write writes the tree as an uncompressed cpio archive, which the kernel unpacks
// faster than any other under emulation, and returns its size in bytes.
func (t tree) write(w io.Writer) (size int64, err error) {
	counted := &countWriter{w: w}
	archive := cpio.NewWriter(counted)
	made := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := makeParents(archive, made, name, t); err != nil {
			return 0, err
		}
		made[name] = true
		if err := t[name].write(archive, name); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return 0, err
	}
	return counted.n, nil
}

// makeParents writes the directories above name that aren't there yet.
func makeParents(archive *cpio.Writer, made map[string]bool, name string, t tree) error {
	parent := path.Dir(name)
	if made[parent] {
		return nil
	}
	if err := makeParents(archive, made, parent, t); err != nil {
		return err
	}
	made[parent] = true
	return node{mode: fs.ModeDir | 0o755}.write(archive, parent)
}

func (n node) write(archive *cpio.Writer, name string) error {
	if n.host != "" {
		return n.writeCopy(archive, name)
	}
	if err := archive.WriteHeader(n.header(name, int64(len(n.content)))); err != nil {
		return err
	}
	_, err := io.WriteString(archive, n.content)
	return err
}

func (n node) writeCopy(archive *cpio.Writer, name string) error {
	file, err := os.Open(n.host)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(n.header(name, info.Size())); err != nil {
		return err
	}
	_, err = io.CopyN(archive, file, info.Size())
	return err
}

func (n node) header(name string, size int64) *cpio.Header {
	return &cpio.Header{Name: name, Mode: cpio.FileMode(n.mode.Perm()) | fileType(n.mode), Links: 1, Size: size}
}

func fileType(mode fs.FileMode) cpio.FileMode {
	switch mode.Type() {
	case fs.ModeDir:
		return cpio.TypeDir
	case fs.ModeSymlink:
		return cpio.TypeSymlink
	}
	return cpio.TypeReg
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
