package vm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Command is a command that boots guests.
type Command struct {
	Name string
	// Unable is the exit status if there was no result.
	Unable int
	// Run does what the arguments ask for and returns the exit status. An error of [Usage], flag.ErrHelp and
	// [ErrUnknownKernel] say that nothing was done.
	Run func(ctx context.Context, args []string) (status int, err error)
}

// exitUsage is the exit status for wrong usage.
const exitUsage = 2

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usage marks an error as wrong usage.
func Usage(err error) error { return usageError{err} }

// Main is the command's main function. SIGINT and SIGTERM end what it does; an error is said on stderr.
func (c Command) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := c.Run(ctx, os.Args[1:])
	stop()
	if err != nil {
		status = c.status(err)
	}
	if err != nil && status != 0 {
		fmt.Fprintln(os.Stderr, c.Name+":", err)
	}
	os.Exit(status)
}

// status is the exit status for an error.
func (c Command) status(err error) int {
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, new(usageError)), errors.Is(err, ErrUnknownKernel):
		return exitUsage
	}
	return c.Unable
}
