package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names are for people only (ip netns exec ipiptrace-client …), and only with --hold. They are links to
// the files that this process holds open, not mounts, which would keep the namespaces alive after SIGKILL.
// Whoever listens on the abstract socket owns the names, and it dies with its owner. SIGKILL leaves the links:
// the next lab removes them.
const (
	namesDir   = "/run/netns"
	namePrefix = "ipiptrace-"
	namesOwner = "@ipiptrace-lab-names"
)

// Name gives the namespaces names until release is called. If somebody else has the names, it says so and does without.
func (l *Lab) Name(stderr io.Writer) (release func(), err error) {
	nothing := func() {}
	owner, err := net.Listen("unix", namesOwner)
	if errors.Is(err, unix.EADDRINUSE) {
		fmt.Fprintf(stderr, "another lab is held and has the names in %s: use the paths of the JSON line\n", namesDir)
		return nothing, nil
	}
	if err != nil {
		return nothing, fmt.Errorf("own the names in %s: %w", namesDir, err)
	}
	made, err := linkNames(namesDir, l.Namespaces())
	release = func() {
		for _, name := range made {
			os.Remove(name)
		}
		owner.Close()
	}
	if errors.Is(err, fs.ErrExist) {
		fmt.Fprintf(stderr, "%v, and not of this lab: use the paths of the JSON line\n", err)
		err = nil
	}
	return release, err
}

// linkNames makes a name for each path, and has those that it made. What is there already stays.
func linkNames(dir string, paths map[Role]string) (made []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var errs []error
	for role, path := range paths {
		if err := os.Symlink(path, nameOf(dir, role)); err != nil {
			errs = append(errs, err)
			continue
		}
		made = append(made, nameOf(dir, role))
	}
	return made, errors.Join(errs...)
}

func nameOf(dir string, r Role) string { return filepath.Join(dir, namePrefix+string(r)) }

// RemoveLeft removes the names that a killed lab has left, and says so.
func RemoveLeft(stderr io.Writer) { removeLeft(namesDir, "/proc", stderr) }

// removeLeft removes the names that a killed lab has left, and says so; what it may not remove, a person is told how to.
func removeLeft(dir, proc string, stderr io.Writer) {
	var removed, left []string
	for _, r := range []Role{Client, Director, RealServer} {
		name := nameOf(dir, r)
		switch {
		case !isLeft(name, proc):
		case os.Remove(name) == nil:
			removed = append(removed, name)
		default:
			left = append(left, name)
		}
	}
	if len(removed) > 0 {
		fmt.Fprintf(stderr, "removed what a lab that was killed had left: %s\n", strings.Join(removed, " "))
	}
	if len(left) > 0 {
		fmt.Fprintf(stderr, "a lab that was killed has left names: rm %s\n", strings.Join(left, " "))
	}
}

// isLeft reports whether a name is a lab's whose process is gone: a link to a file that the process held open, which
// nobody has open as a network namespace any more. A name that somebody else has made is none.
func isLeft(name, proc string) bool {
	to, err := os.Readlink(name)
	if err != nil {
		return false
	}
	var pid, fd int
	if _, err := fmt.Sscanf(to, heldPath, &pid, &fd); err != nil || to != fmt.Sprintf(heldPath, pid, fd) {
		return false
	}
	open, err := os.Readlink(filepath.Join(proc, fmt.Sprint(pid), "fd", fmt.Sprint(fd)))
	return errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(open, "net:[")
}
