package tracer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What a process needs beside privileges.
var (
	// ErrTooFewFiles: the process may not have as many files open as the programs and what they are attached to.
	ErrTooFewFiles = errors.New("too few open files are allowed")
	// ErrNoProc: procfs is not there, from which modules and symbols are read.
	ErrNoProc = errors.New("/proc is not mounted")
)

// openFiles is more than any run has open: each of some forty places has up to two programs, each with its link and,
// where a kprobe needs one, its event. On the tracepoint tier it is 55.
const openFiles = 256

// possible says what keeps a process from tracing at all. Without it places would be skipped one by one, for a
// reason that is not theirs.
func possible(proc string, files uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(proc, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return ErrNoProc
	}
	if files < openFiles {
		return fmt.Errorf("%w: the limit (RLIMIT_NOFILE) is %d, attaching takes up to %d", ErrTooFewFiles, files, openFiles)
	}
	return nil
}

// fileLimit is how many files the process may have open. Go has raised the soft limit to the hard one.
func fileLimit() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return openFiles
	}
	return limit.Cur
}

// liftMemlock takes away the limit to which kernels before 5.11 count what programs and maps take. Where that is not
// permitted, the first map that is too much says so. (ebpf's rlimit finds out whether the kernel is so old before main
// begins: it makes a map and opens a file in every run, also in those that trace nothing.)
func liftMemlock() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}
