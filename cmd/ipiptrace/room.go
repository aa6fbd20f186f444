package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ipiptrace/tracer"
)

// neededFiles is how many files the least of runs opens: two that Go waits by (netpollinit), without which it ends the
// process with a dump of itself, and one that is read.
const neededFiles = 3

// roomForFiles says what keeps the process from opening files at all. It is to be asked before Go waits for anything.
func roomForFiles() error {
	for range neededFiles {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if errors.Is(err, unix.EMFILE) {
			return errNoRoom()
		}
		if err == nil {
			defer unix.Close(fd)
		}
	}
	return nil
}

// errNoRoom is what an EMFILE means to the person who set the limit.
func errNoRoom() error {
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // it fails for no limit that there is
	return fmt.Errorf("%w: the limit (RLIMIT_NOFILE) is %d", tracer.ErrTooFewFiles, limit.Cur)
}
