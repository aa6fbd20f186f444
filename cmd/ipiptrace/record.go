package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// recordCommand is `ipiptrace record FILE`.
type recordCommand struct {
	streams
	following
	assembling
	explaining
	talking
}

func newRecord(s streams) *cobra.Command {
	r := &recordCommand{streams: s}
	cmd := &cobra.Command{
		Use:     "record FILE",
		Short:   "Keep what is seen, to look at it again elsewhere; FILE - is standard output",
		Example: "  ipiptrace record --vip 192.0.2.10 --port 80 --duration 10s seen.jsonl",
		Args:    oneArg("FILE"),
		RunE:    func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	r.following.define(cmd)
	r.assembling.define(cmd)
	r.explaining.define(cmd)
	r.talking.define(cmd)
	return cmd
}

// oneArg asks for exactly one argument.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s needs one %s, not %d: see %s --help", cmd.Name(), name, len(args), cmd.CommandPath())}
		}
		return nil
	}
}

func (r *recordCommand) run(ctx context.Context, name string) error {
	if err := r.talking.check(); err != nil {
		return err
	}
	effective(everything)
	opts, err := r.following.options(r.log(r.err))
	if err != nil {
		return err
	}
	file, err := createRecording(name, screen.Under(r.out))
	if err != nil {
		return usageError{fmt.Errorf("record %s: %w; give a path that can be written, or -", screen.Quote(name), err)}
	}
	state := r.explaining.before(opts.Filter)
	live, err := attach(ctx, opts, &r.following, &r.talking, r.err)
	if err != nil {
		return errors.Join(err, file.discard())
	}
	from, inquiry := state.source(live)
	assembler := journey.New(r.assembling.options(live.Run(), "auto"))
	if file.pipe != nil {
		onHangup(file.pipe, live.stop)
	}
	err = file.keep(live.Run(), from, assembler, inquiry)
	live.Close()
	if errors.Is(err, unix.EPIPE) {
		err = nil
	} else if err != nil {
		err = fmt.Errorf("record %s: %w", screen.Quote(name), err)
	}
	return conclude(r.err, inquiry.Account(assembler.Account()), err)
}

// recording is a file that events are written to, as they come.
type recording struct {
	io.Writer
	// file is nil for standard output, which is pipe if it is a file at all.
	file, pipe *os.File
	// created: there was nothing at that path.
	created bool
}

// createRecording opens a file and leaves its contents alone: until probes are attached, nothing is overwritten.
func createRecording(name string, stdout io.Writer) (*recording, error) {
	if name == "-" {
		pipe, _ := stdout.(*os.File)
		return &recording{Writer: stdout, pipe: pipe}, nil
	}
	_, err := os.Stat(name)
	missing := errors.Is(err, os.ErrNotExist)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		return nil, path.Err
	}
	return &recording{Writer: file, file: file, created: missing}, err
}

// discard takes back the creation of a file that nothing was written to.
func (r *recording) discard() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	if r.created {
		err = errors.Join(err, os.Remove(r.file.Name()))
	}
	return err
}

// keep writes a run down, and assembles and explains it: a loss has the state read, and the account names it.
func (r *recording) keep(run event.Run, from source, assembler *journey.Assembler, inquiry *diagnose.Inquiry) error {
	if err := r.begin(); err != nil {
		return err
	}
	out := bufio.NewWriterSize(r, 256<<10)
	w, err := event.NewWriter(out, run)
	if err == nil {
		err = follow(recorded(from, w, out), assembler, inquiry, &audience{})
	}
	if err == nil {
		err = out.Flush()
	}
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	return err
}

// begin empties a file that was there already.
func (r *recording) begin() error {
	if r.file == nil {
		return nil
	}
	if info, err := r.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return r.file.Truncate(0)
}
