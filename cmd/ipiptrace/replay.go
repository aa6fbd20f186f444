package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"ipiptrace/internal/diagnose"
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
		Use:     "replay FILE…",
		Short:   "Show a recording as trace would have shown it; FILE - is standard input",
		Example: "  ipiptrace replay seen.jsonl --only lost",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("replay needs a FILE: give one that ipiptrace record wrote, or -")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) },
	}
	r.telling.define(cmd)
	r.talking.define(cmd)
	return cmd
}

func (r *replayCommand) run(ctx context.Context, names []string) error {
	if err := r.talking.check(); err != nil {
		return err
	}
	files, err := r.open(names)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	show := r.newShow(r.out, false, nil, stop)
	show.begin()
	a := r.audience(show, func() {})
	var account journey.Account
	for _, file := range files {
		if ctx.Err() != nil || a.enough() {
			break
		}
		assembler := journey.New(r.assembling.options(file.Run(), r.role.word))
		inquiry := diagnose.NewInquiry()
		failed := follow(source{events: until(ctx, file.Events())}, assembler, inquiry, a)
		if failed != nil {
			failed = fmt.Errorf("replay %s: %w", screen.Quote(file.name), failed)
		}
		if errors.Is(failed, event.ErrTruncated) {
			failed = remark{failed}
		}
		err = errors.Join(err, failed)
		account = sum(account, inquiry.Account(assembler.Account()))
	}
	if failed := r.closeShow(show, account); err == nil {
		err = failed
	}
	return conclude(r.err, account, err)
}

// opened is a recording and the name by which it was asked for.
type opened struct {
	*event.Reader
	name string
}

// open reads the beginning of every file: what is no recording is wrong usage, before anything is shown.
func (r *replayCommand) open(names []string) (files []opened, err error) {
	for _, name := range names {
		in := r.stdin
		if name != "-" {
			effective(everything)
			file, err := os.Open(name)
			effective(0)
			if path := (*os.PathError)(nil); errors.As(err, &path) {
				return nil, usageError{fmt.Errorf("replay %s: %w; give a file that ipiptrace record wrote", screen.Quote(name), path.Err)}
			}
			in = file
		}
		reader, err := event.NewReader(in)
		if err != nil {
			return nil, usageError{fmt.Errorf("replay %s: %w; give a file that ipiptrace record wrote", screen.Quote(name), err)}
		}
		files = append(files, opened{reader, name})
	}
	return files, nil
}

// until ends a stream with ctx.
func until(ctx context.Context, events event.Stream) event.Stream {
	return func(yield func(event.Event, error) bool) {
		for e, err := range events {
			if ctx.Err() != nil || !yield(e, err) {
				return
			}
		}
	}
}

// sum is the account of two recordings: the probes and the filter are the later one's.
func sum(a, b journey.Account) journey.Account {
	if a.Probes == nil {
		return b
	}
	b.Journeys += a.Journeys
	b.Arrived += a.Arrived
	b.Lost += a.Lost
	b.Open += a.Open
	b.Unknown += a.Unknown
	b.Events += a.Events
	b.LostEvents += a.LostEvents
	b.Untracked += a.Untracked
	if a.Missed == nil || b.Missed == nil {
		b.Missed = nil
	} else {
		missed := *a.Missed + *b.Missed
		b.Missed = &missed
	}
	b.Sites = append(a.Sites, b.Sites...)
	return b
}
