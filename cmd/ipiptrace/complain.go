package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"ipiptrace/internal/screen"
	"ipiptrace/tracer"
)

// hints say what would make it work, by the kind of what went wrong.
var hints = []struct {
	kind error
	hint func() string
}{
	{tracer.ErrNotPermitted, func() string { return securityHere().hint() }},
	{tracer.ErrNoBTF, always("it needs a kernel with CONFIG_DEBUG_INFO_BTF=y, which has /sys/kernel/btf/vmlinux, and /sys mounted")},
	{tracer.ErrNoTracefs, always(mountTracefs)},
	{tracer.ErrNoBackend, func() string { return securityHere().backendHint() }},
	{tracer.ErrTooFewFiles, always("raise it first: ulimit -n 1024, or LimitNOFILE=1024 in a unit of systemd")},
	{tracer.ErrNoProc, always("mount -t proc proc /proc")},
	{errNothingRead, always("run it as root (sudo), or with CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_NET_ADMIN")},
	{errNetnsNotPermitted, always("run it as root (sudo), or with CAP_SYS_PTRACE")},
}

const mountTracefs = "mount -t tracefs tracefs /sys/kernel/tracing"

func always(hint string) func() string { return func() string { return hint } }

// memlock is what the library guesses, of a limit that kernels have not minded since 5.11: the hints know better.
const memlock = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

// complain says on one line what went wrong and what would be right.
func complain(w io.Writer, err error) {
	if err == nil || errors.Is(err, errLost) || errors.As(err, new(commandStatus)) {
		return
	}
	fmt.Fprintln(w, "ipiptrace: "+screen.Clean(sentence(err)))
}

// sentence is what went wrong and what would be right.
func sentence(err error) string {
	line := screen.Brief(strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.Is(err, tracer.ErrNotPermitted) {
		line = strings.ReplaceAll(line, memlock, "")
	}
	for _, h := range hints {
		if errors.Is(err, h.kind) {
			return line + ": " + h.hint()
		}
	}
	return line
}

// errNothingRead: what doctor would ask is not shown to this process.
var errNothingRead = errors.New("nothing of this machine's state could be read")

// errNetnsNotPermitted: the namespace is there, but this process may not look at it.
var errNetnsNotPermitted = errors.New("not permitted to look at the namespace")

// netnsError is the error of a --netns, with what would be right.
func netnsError(value string, err error, right string) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("--netns %s: %w: %w", screen.Quote(value), errNetnsNotPermitted, err)
	}
	return usageError{fmt.Errorf("--netns %s: %w; %s", screen.Quote(value), err, right)}
}
