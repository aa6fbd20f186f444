// Command ipiptrace says what happens to each IPIP packet of a service on its way through this kernel.
//
// This package knows flags, wiring and exit codes; what happens is known by the packages that it wires.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/screen"
)

// version is set by the linker.
var version = "devel"

func main() {
	effective(0)
	if err := roomForFiles(); err != nil {
		complain(os.Stderr, err)
		os.Exit(statusOf(err))
	}
	ctx, release := untilSignal(context.Background())
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	release()
	os.Exit(status)
}

// streams are where results and everything else go: a screen.Writer each.
type streams struct{ out, err io.Writer }

// run is the program without the process around it; it returns the exit status. All that it says goes through screens.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out, rest := screen.NewWriter(stdout, lookOf(stdout).colour), screen.NewWriter(stderr, false)
	s := streams{out, rest}
	root := newRoot(s)
	refuseArguments(root)
	root.SetArgs(args)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if failed := out.Close(); err == nil && failed != nil && !errors.Is(failed, unix.EPIPE) {
		err = fmt.Errorf("standard output: %w", failed)
	}
	complain(s.err, err)
	_ = rest.Close() // there is nobody left to tell
	return statusOf(err)
}

// impatience is how long after the first signal the next one ends the process at once. A terminal's
// Ctrl-C under `lab` comes twice within a moment and is still one wish.
const impatience = 500 * time.Millisecond

// untilSignal is a context that SIGINT, SIGTERM or the end of the terminal ends, the last unless nohup(1) is to prevent
// that. A write to a closed pipe, or beyond the largest file that is allowed, is an error from now on, no signal.
func untilSignal(parent context.Context) (ctx context.Context, release func()) {
	// Asked for, not ignored: a child process must not inherit it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(parent, ends...)
	context.AfterFunc(ctx, func() { time.AfterFunc(impatience, stop) })
	return ctx, stop
}

// The exit statuses, an interface: see README.md.
const (
	statusArrived = 0
	statusLost    = 1
	statusUsage   = 2
	statusUnable  = 3
)

// errLost: a journey did not arrive. There is nothing to complain about: it was shown.
var errLost = errors.New("lost")

// usageError is wrong usage: the person can do something about it by typing something else.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// remark is what a person has to know and the exit status does not tell.
type remark struct{ error }

func (r remark) Unwrap() error { return r.error }

// commandStatus is the exit status of a command that was run for somebody.
type commandStatus int

func (commandStatus) Error() string { return "command ended" }

func statusOf(err error) int {
	var ended commandStatus
	switch {
	case err == nil:
		return statusArrived
	case errors.Is(err, errLost):
		return statusLost
	case errors.As(err, new(usageError)):
		return statusUsage
	case errors.As(err, &ended):
		return int(ended)
	}
	return statusUnable
}
