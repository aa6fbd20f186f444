package read

import (
	"os"
	"path/filepath"
)

// root is the directory below which a machine's /proc, /sys, /run and /lib are.
type root string

// machine is this one's; a test has fixtures.
const machine root = "/"

// path is where a file is that the machine has under that name.
func (files root) path(name ...string) string {
	return filepath.Join(string(files), filepath.Join(name...))
}

// net is a file of this thread's namespace: /proc/net is that of the process's first thread.
func (files root) net(name string) string { return files.path("/proc/thread-self/net", name) }

// names are those in a directory, none if it can't be read.
func (files root) names(dir string) (names []string) {
	entries, _ := os.ReadDir(files.path(dir))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
