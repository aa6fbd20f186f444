package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names are for people only (ip netns exec ipiptrace-client …), and only with --hold. They are links to
// the files that this process holds open, not mounts, which would keep the namespaces alive after SIGKILL.
// Whoever listens on the abstract socket owns the names, and it dies with its owner: names without
// one are stale.
const (
	namesDir   = "/run/netns"
	namePrefix = "ipiptrace-"
	namesOwner = "@ipiptrace-lab-names"
)

// name gives the namespaces names until release is called. If another lab has the names, it says so and
// does without. Stale names are removed in any case.
func (l *Lab) name(hold bool, stderr io.Writer) (release func(), err error) {
	owner, err := net.Listen("unix", namesOwner)
	if errors.Is(err, unix.EADDRINUSE) {
		if hold {
			fmt.Fprintf(stderr, "another lab is held and has the names in %s: use the paths of the JSON line\n", namesDir)
		}
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("own the names in %s: %w", namesDir, err)
	}
	release = func() {
		removeNames()
		owner.Close()
	}
	if err := removeNames(); err != nil || !hold {
		owner.Close()
		return func() {}, err
	}
	if err := l.linkNames(); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (l *Lab) linkNames() error {
	if err := os.MkdirAll(namesDir, 0o755); err != nil {
		return err
	}
	for role, path := range l.Namespaces() {
		if err := os.Symlink(path, nameOf(role)); err != nil {
			return err
		}
	}
	return nil
}

func nameOf(r Role) string { return filepath.Join(namesDir, namePrefix+string(r)) }

// removeNames removes the lab's own three names, if they are there.
func removeNames() error {
	var errs []error
	for _, r := range []Role{Client, Director, RealServer} {
		if err := os.Remove(nameOf(r)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
