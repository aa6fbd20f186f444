package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// replayCommand is `ipiptrace replay FILE…`.
type replayCommand struct {
	streams
	telling
	talking
	stdin io.Reader
}

func newReplay(s streams) *cobra.Command {
	r := &replayCommand{streams: s, stdin: os.Stdin}
	cmd := &cobra.Command{
		Use:   "replay FILE…",
		Short: "Show a recording as trace would have shown it; FILE - is standard input",
		Long: `replay shows a recording as trace would have shown it. One that is compressed is read from standard input:
zstdcat seen.jsonl.zst | ipiptrace replay -. It needs no rights but to read FILE.

` + exitStatus,
		Example: "  ipiptrace replay seen.jsonl --only lost",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("replay needs a FILE: give one that ipiptrace record wrote, or -")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			beThrifty()
			return r.run(cmd.Context(), args)
		},
	}
	r.telling.define(cmd)
	r.talking.define(cmd)
	return cmd
}

func (r *replayCommand) run(ctx context.Context, names []string) error {
	if err := r.talking.check(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	files, err := r.open(ctx, names)
	if ctx.Err() != nil {
		files, err = nil, nil // the run was ended while it waited for a file
	}
	if err != nil {
		return err
	}
	show := r.newShow(ctx, r.out, false, nil, stop)
	show.begin()
	a := r.audience(show, func() {})
	var account journey.Account
	for i, file := range files {
		if ctx.Err() != nil || a.enough() {
			break
		}
		assembler := journey.New(r.assembling.options(file.Run(), r.role.word))
		inquiry := diagnose.NewInquiry()
		inquiry.Until(func() bool { return ctx.Err() != nil }, nil)
		err = errors.Join(err, file.broken(follow(file.source(ctx), assembler, inquiry, a)))
		if whole := inquiry.Account(assembler.Account()); i == 0 {
			account = whole
		} else {
			account = account.Plus(whole)
		}
	}
	return r.end(r.err, show, a.account(account), err)
}

// opened is a recording and the name by which it was asked for.
type opened struct {
	*event.Reader
	name string
}

// open reads the beginning of every file: what is no recording is wrong usage, before anything is shown. It ends with
// ctx, without an error of its own.
func (r *replayCommand) open(ctx context.Context, names []string) (files []opened, err error) {
	for _, name := range names {
		in := r.stdin
		if name != "-" {
			file, err := openBeside(ctx, name)
			if err != nil {
				return nil, notReplayed(name, err)
			}
			in = file
		}
		reader, err := event.NewReader(readBeside(ctx, in))
		if err != nil {
			return nil, notReplayed(name, err)
		}
		files = append(files, opened{reader, name})
	}
	return files, nil
}

func notReplayed(name string, err error) error {
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("replay %s: %w", screen.Quote(name), errNoRoom())
	}
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	if packed := (event.Compressed{}); errors.As(err, &packed) {
		return usageError{fmt.Errorf("replay %s: %w: %s FILE | ipiptrace replay -", screen.Quote(name), err, packed.Unpack)}
	}
	return usageError{fmt.Errorf("replay %s: %w; give a file that ipiptrace record wrote", screen.Quote(name), err)}
}

// source is that of the run that was recorded: what was read of the machine behind the end of its events explains what
// was open then, and ends nothing.
func (o opened) source(ctx context.Context) source {
	events := o.events()
	ended := false
	run := func(yield func(event.Event, error) bool) {
		for e, err := range events {
			if ctx.Err() != nil {
				return
			}
			ended = err == nil && e.Kind == event.End
			if !yield(e, err) || ended {
				return
			}
		}
	}
	rest := func(yield func(event.Event, error) bool) {
		if !ended {
			return
		}
		for e, err := range events {
			if ctx.Err() != nil {
				return
			}
			if err == nil && e.Kind != event.State {
				err = fmt.Errorf("read recording: line %d: an event behind the end of the run", o.Line())
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
	return source{events: run, rest: rest}
}

// events are those of the file, once, up to a snapshot that can't be one.
func (o opened) events() event.Stream {
	return func(yield func(event.Event, error) bool) {
		for e, err := range o.Events() {
			if err == nil && e.Kind == event.State {
				if _, failed := host.Parse(e.Host); failed != nil {
					err = fmt.Errorf("read recording: line %d: state: %w", o.Line(), failed)
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// broken says which file an error is about. A recording that was cut off is no error, a damaged one is wrong usage.
func (o opened) broken(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("replay %s: %w", screen.Quote(o.name), err)
	switch {
	case errors.Is(err, event.ErrTruncated):
		return remark{err}
	case errors.As(err, new(*os.PathError)):
		return err // of the disk, not of what it holds
	}
	return usageError{err}
}
