package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// netnsDir is where `ip netns add` keeps its namespaces.
const netnsDir = "/run/netns"

// What would be right, where one namespace is wanted, and where all may be.
const (
	oneNetns  = "give a name that `ip netns` lists, a path like /proc/PID/ns/net, or a process"
	someNetns = "give a name that `ip netns` lists, a path like /proc/PID/ns/net, a process or all"
)

// findNetns is the inode number of the network namespace that --netns names, 0 for all.
//
// The number is the one that the kernel shows in /proc/PID/ns/net. An error wraps os.ErrPermission if
// only the right to look is missing.
func findNetns(name string) (uint32, error) {
	if name == "all" {
		return 0, nil
	}
	path, missing := netnsPath(name)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, os.ErrPermission):
		return 0, err
	case err != nil:
		return 0, errors.New(missing)
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET || unix.Fstat(fd, &stat) != nil {
		return 0, errors.New("not a network namespace")
	}
	return uint32(stat.Ino), nil
}

// netnsPath is where the namespace is to be found, and what to say if it is not there.
func netnsPath(name string) (path, missing string) {
	switch {
	case strings.Contains(name, "/"):
		return name, "there is no such file"
	case name != "" && strings.Trim(name, "0123456789") == "":
		return filepath.Join("/proc", name, "ns/net"), "there is no such process"
	case name == "" || name == "." || name == "..":
		return "", "not a name"
	}
	return filepath.Join(netnsDir, name), "there is none of that name"
}

// namedNetns are the namespaces in netnsDir by inode number.
func namedNetns() map[uint32]string {
	entries, _ := os.ReadDir(netnsDir)
	names := map[uint32]string{}
	for _, e := range entries {
		if inode, err := findNetns(e.Name()); err == nil {
			names[inode] = e.Name()
		}
	}
	return names
}
