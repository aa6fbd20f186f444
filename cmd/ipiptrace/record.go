package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

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
		Use:   "record FILE",
		Short: "Keep what is seen, to look at it again elsewhere; FILE - is standard output",
		Long: `record keeps what is seen, with the state of the machine that explains it, for ipiptrace replay. A new FILE belongs
to who runs it, and nobody else may read it. A recording that is there already is overwritten; what is something
else is not.

` + tracingRights + "\n\n" + exitStatus,
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
	file, err := createRecording(ctx, name, screen.Under(r.out))
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("record %s: the run was ended before anybody read it", screen.Quote(name))
	}
	if err != nil {
		return usageError{fmt.Errorf("record %s: %w; give a path that can be written, or -", screen.Quote(name), err)}
	}
	state := r.explaining.before(opts.Filter)
	if state != nil {
		state.lastRead = recordRead
	}
	live, err := attach(ctx, opts, &r.following, &r.talking, r.err)
	if err != nil {
		return errors.Join(err, file.discard())
	}
	defer live.Close() // behind the account: the kernel takes up to seconds to detach
	r.explaining.start(&r.talking, r.err)
	from, inquiry := state.source(live)
	assembler := journey.New(r.assembling.options(live.Run(), "auto"))
	if file.pipe != nil {
		onHangup(file.pipe, live.stop)
	}
	context.AfterFunc(live.ctx, file.hurry)
	err = file.keep(live.Run(), from, assembler, inquiry)
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
	// file is nil for standard output, unless that is a pipe; pipe is standard output if it is a file at all.
	file, pipe *os.File
	// created: there was nothing at that path.
	created bool
}

// createRecording opens a file and leaves its contents alone: until probes are attached, nothing is overwritten. A FIFO
// opens once somebody reads it; ctx ends the wait.
func createRecording(ctx context.Context, name string, stdout io.Writer) (*recording, error) {
	if name == "-" {
		pipe, _ := stdout.(*os.File)
		if file, err := reopenPipe(pipe); err == nil {
			return &recording{Writer: file, file: file, pipe: pipe}, nil
		}
		return &recording{Writer: stdout, pipe: pipe}, nil
	}
	file, created, err := create(name)
	for errors.Is(err, unix.ENXIO) && isFIFO(name) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(readerPause):
			file, created, err = create(name)
		}
	}
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	if errors.Is(err, unix.ELOOP) {
		err = errors.New("is a symbolic link, which another user may have put there")
	}
	if err != nil {
		return nil, err
	}
	r := &recording{Writer: file, file: file, created: created}
	err = r.mayReplace()
	if err == nil && !r.isReplaceable() {
		err = errors.New("is something else than a recording, and would be overwritten: remove it first")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

// reopenPipe is a pipe once more, for writes that can be given up: what others have open of it stays as it is.
func reopenPipe(pipe *os.File) (*os.File, error) {
	if pipe == nil {
		return nil, os.ErrInvalid
	}
	if info, err := pipe.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil, cmp.Or(err, os.ErrInvalid)
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", pipe.Fd()), os.O_WRONLY|unix.O_NONBLOCK, 0)
}

// readerPause is how often is looked for somebody who reads a FIFO.
const readerPause = 50 * time.Millisecond

// secret is the mode of a recording: rules, addresses and owners of sockets are in it.
const secret = 0o600

// create opens a file for writing, or makes it. It follows no symbolic link, which might lead out of a directory that
// everybody can write to, but for those of this process's own open files.
func create(name string) (file *os.File, created bool, err error) {
	follow := unix.O_NOFOLLOW
	if isOwnFile(name) {
		follow = 0
	}
	// Not blocking: a FIFO that nobody reads is an error, ENXIO.
	file, err = os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK|follow, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return file, false, err
	}
	file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secret)
	return file, true, err
}

// isOwnFile reports whether a path is that of a file which this process has open (proc(5)).
func isOwnFile(name string) bool {
	return name == "/dev/stdout" || name == "/dev/stderr" || slices.Contains([]string{"/dev/fd", "/proc/self/fd"}, filepath.Dir(name))
}

func isFIFO(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&os.ModeNamedPipe != 0
}

// mayReplace refuses a regular file that somebody else can read whatever its mode, having made it or another name of it.
func (r *recording) mayReplace() error {
	info, err := r.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	switch stat := info.Sys().(*syscall.Stat_t); {
	case int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("belongs to user %d: remove it first", stat.Uid)
	case stat.Nlink > 1:
		return errors.New("has another name, too: remove it first")
	}
	return nil
}

// isReplaceable reports whether a file holds nothing, or a recording as far as its first line tells, perhaps of a version
// to come, or one that is cut off. What is no regular file holds nothing.
func (r *recording) isReplaceable() bool {
	if info, err := r.file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return true // an error comes again
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", r.file.Fd())) // its name may lead elsewhere by now
	if err != nil {
		return false
	}
	defer file.Close()
	return event.IsRecording(file)
}

// lastWrites is how long somebody who reads a FIFO may take for what is left at the end of a run.
const lastWrites = time.Second

// hurry bounds how long writing may take from now on, where it can take long.
func (r *recording) hurry() {
	if r.file != nil {
		_ = r.file.SetWriteDeadline(time.Now().Add(lastWrites)) // a regular file has none
	}
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
	w, err := event.NewWriter(screen.JSONLines(out), run)
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

// begin empties a file that was there already, and leaves it to its owner.
func (r *recording) begin() error {
	if r.file == nil {
		return nil
	}
	if info, err := r.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return cmp.Or(r.file.Chmod(secret), r.file.Truncate(0))
}
