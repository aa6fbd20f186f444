package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer"
	"ipiptrace/tracer/event"
)

// protocols are the words of --proto, with the numbers of IANA's registry; 0 is any.
var protocols = map[string]uint8{"any": 0, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP}

// following are the flags that say what to follow, and how: trace and record have them.
type following struct {
	vips      addrs
	ports     ports
	client    prefix
	proto     *choice
	netns     string
	backend   *choice
	detail    *choice
	duration  span
	readyFile string
	ringBytes ringBytes
}

const backendUsage = "how to look into the kernel, `MEANS` is auto, fentry, kprobe-multi, kprobe or tracepoint"

// backendChoice is the value of --backend.
func backendChoice() *choice { return oneOf("auto", "fentry", "kprobe-multi", "kprobe", "tracepoint") }

func (f *following) define(cmd *cobra.Command) {
	f.proto = oneOf("any", "tcp", "udp", "icmp")
	f.backend = backendChoice()
	f.detail = oneOf("path", "full")
	flags := cmd.Flags()
	flags.Var(&f.vips, "vip", "virtual IPs (IPv4), as in the inner header of a tunnelled packet; required")
	flags.Var(&f.ports, "port", "service ports of TCP and UDP; without it every port")
	flags.Var(&f.client, "client", "only packets from or to these peers, a network or an address")
	flags.Var(f.proto, "proto", "only this protocol")
	flags.StringVar(&f.netns, "netns", "all", "all, or the network namespace `NAME|PATH|PID`: with a slash it is a path, all digits are a process")
	flags.Var(f.backend, "backend", backendUsage)
	flags.Var(f.detail, "detail", "path: the places that decide a fate; full: every place")
	flags.Var(&f.duration, "duration", "stop this long (10s, 2m) after everything was attached")
	flags.Var(&f.ringBytes, "ring-bytes", "size of the ring, a power of two; hidden, for the test of its overflow")
	_ = flags.MarkHidden("ring-bytes")
	flags.StringVar(&f.readyFile, "ready-file", "", "create `FILE` once everything is attached")
	complete(cmd, "proto", f.proto.words)
	complete(cmd, "backend", f.backend.words)
	complete(cmd, "detail", f.detail.words)
	_ = cmd.RegisterFlagCompletionFunc("netns", completeNetns)
}

// options are the tracer's, of flags that parsed; the error is wrong usage, or a lack of rights.
func (f *following) options(log *slog.Logger) (tracer.Options, error) {
	if len(f.vips) == 0 {
		return tracer.Options{}, usageError{errors.New("--vip is missing: say which virtual IP to follow, like --vip 192.0.2.10")}
	}
	netns, err := findNetns(f.netns)
	if err != nil {
		return tracer.Options{}, netnsError(f.netns, err, someNetns)
	}
	if err := f.checkReadyFile(); err != nil {
		return tracer.Options{}, usageError{fmt.Errorf("--ready-file %s: %w", screen.Quote(f.readyFile), err)}
	}
	return tracer.Options{
		Filter: event.Filter{
			VIPs:   f.vips,
			Ports:  f.ports,
			Client: f.client.Prefix,
			Proto:  protocols[f.proto.word],
			Netns:  netns,
		},
		Backend:   f.backend.word,
		Full:      f.detail.word == "full",
		RingBytes: int(f.ringBytes),
		Log:       log,
	}, nil
}

// checkReadyFile refuses a file that can't be created, and removes what an earlier run left behind.
func (f *following) checkReadyFile() error {
	if f.readyFile == "" {
		return nil
	}
	if err := tryCreating(filepath.Dir(f.readyFile)); err != nil {
		return fmt.Errorf("can't be created: %w; give a path in a directory that can be written", err)
	}
	info, err := os.Lstat(f.readyFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("can't be created: %w; give a path that can be", errors.Unwrap(err))
	case !info.Mode().IsRegular() || info.Size() > 0:
		return errors.New("is there already, and not an empty file: give a path that can be created")
	}
	return os.Remove(f.readyFile)
}

// tryCreating makes a file in a directory, of another name than the one that is waited for, and removes it: rights alone
// do not tell of a full disk, one that is read-only, or /proc.
func tryCreating(dir string) error {
	file, err := os.CreateTemp(dir, ".ipiptrace-*")
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// ready tells whoever waits that everything is attached.
func (f *following) ready() error {
	if f.readyFile == "" {
		return nil
	}
	file, err := os.OpenFile(f.readyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("--ready-file: %w", err)
	}
	return file.Close()
}

// telling are the flags that say what makes a journey end and which ones to show: trace and replay have them.
type telling struct {
	role   *choice
	only   *choice
	count  count
	format *choice
	stack  bool
	assembling
}

func (t *telling) define(cmd *cobra.Command) {
	t.role = oneOf("auto", "real-server", "director")
	t.only = oneOf("all", "lost")
	t.format = oneOf("text", "json")
	flags := cmd.Flags()
	flags.Var(t.role, "role", "what this machine is; auto: told from what the packet does")
	flags.Var(t.only, "only", "all: show every journey; lost: those that did not arrive, or whose reply did not")
	flags.Var(&t.count, "count", "stop when this many journeys have been shown")
	flags.VarP(t.format, "output", "o", "text: for people; json: one object a line")
	flags.BoolVar(&t.stack, "stack", false, "show the kernel stack of each drop")
	t.assembling.define(cmd)
	complete(cmd, "role", t.role.words)
	complete(cmd, "only", t.only.words)
	complete(cmd, "output", t.format.words)
}

// assembling is the flag that every command with journeys has.
type assembling struct{ patience patience }

func (a *assembling) define(cmd *cobra.Command) {
	a.patience = patience{span(journey.DefaultPatience)}
	cmd.Flags().Var(&a.patience, "patience", "how long a packet may be silent before it has vanished")
}

func (a *assembling) options(r event.Run, role string) journey.Options {
	return journey.Options{Run: r, Patience: time.Duration(a.patience.span), Role: journey.Role(role), Netns: r.Filter.Netns}
}

// talking are the flags that say how much goes to stderr.
type talking struct{ verbose, quiet bool }

func (t *talking) define(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&t.verbose, "verbose", "v", false, "say on stderr why a place can't be watched")
	cmd.Flags().BoolVarP(&t.quiet, "quiet", "q", false, "nothing on stderr but errors and the account")
}

func (t *talking) check() error {
	if t.verbose && t.quiet {
		return usageError{errors.New("-v and -q exclude each other: give one of them")}
	}
	return nil
}

// log is nil if nobody wants to hear.
func (t *talking) log(w io.Writer) *slog.Logger {
	if !t.verbose {
		return nil
	}
	return slog.New(verbose{&sync.Mutex{}, w})
}

// progress is a line for the person who waits.
func (t *talking) progress(w io.Writer, format string, args ...any) {
	if !t.quiet {
		fmt.Fprintf(w, format+"\n", args...)
	}
}

func complete(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeNetns offers the named namespaces, and all.
func completeNetns(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	names, how := completeOneNetns(cmd, args, word)
	return append([]string{"all"}, names...), how
}

// completeOneNetns offers the named namespaces.
func completeOneNetns(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return slices.Sorted(maps.Values(namedNetns())), cobra.ShellCompDirectiveDefault
}
