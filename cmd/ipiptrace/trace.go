package main

import (
	"context"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"ipiptrace/internal/journey"
	"ipiptrace/tracer"
	"ipiptrace/tracer/event"
)

// traceCommand is `ipiptrace trace`.
type traceCommand struct {
	streams
	following
	telling
	talking
	explaining
}

func newTrace(s streams) *cobra.Command {
	t := &traceCommand{streams: s}
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Say what happens to each packet for a service, right now, and why it does not arrive",
		Long: `trace says what happens, right now, to each packet for a service on its way through this kernel, and why it
does not arrive. Journeys are shown in the order of their ends.

` + tracingRights + "\n\n" + exitStatus,
		Example: "  ipiptrace trace --vip 192.0.2.10 --port 80 --only lost",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.run(cmd.Context()) },
	}
	t.following.define(cmd)
	t.telling.define(cmd)
	t.explaining.define(cmd)
	t.talking.define(cmd)
	return cmd
}

func (t *traceCommand) run(ctx context.Context) error {
	if err := t.talking.check(); err != nil {
		return err
	}
	effective(everything)
	opts, err := t.following.options(t.log(t.err))
	if err != nil {
		return err
	}
	state := t.explaining.before(opts.Filter)
	live, err := attach(ctx, opts, &t.following, &t.talking, t.err)
	if err != nil {
		return err
	}
	defer live.Close() // behind the account: the kernel takes up to seconds to detach
	t.explaining.start(&t.talking, t.err)
	from, inquiry := state.source(live)
	assembler := journey.New(t.assembling.options(live.Run(), t.role.word))
	show := t.newShow(live.ctx, t.out, true, t.netnsNames(), live.stop)
	show.begin()
	a := t.audience(show, live.stop)
	err = follow(from, assembler, inquiry, a)
	account := a.account(inquiry.Account(assembler.Account()))
	return t.end(t.err, show, account, err)
}

// netnsNames names the namespaces for a person; with --no-diagnose nothing is read for that.
func (t *traceCommand) netnsNames() func(uint32) string {
	if t.noDiagnose {
		return nil
	}
	names := namedNetns()
	return func(inode uint32) string { return names[inode] }
}

// liveRun is a tracer with what ends its run.
type liveRun struct {
	*tracer.Tracer
	ctx    context.Context
	stop   context.CancelFunc
	rights *rights
}

// beThrifty has memory given back sooner than Go does by itself, unless GOGC says when: a run lives beside what it
// watches, and a recording may be large.
func beThrifty() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
}

// endBytes is what a run may take beyond what it has, to end at once.
const endBytes = 8 << 20

// beQuick has memory given back only when endBytes more were taken: a run that was told to end has its account to say, and
// where there is one CPU, and a flood of packets on it, half of the time would go into looking for memory.
func beQuick() {
	if os.Getenv("GOGC") != "" {
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetMemoryLimit(int64(m.Sys-m.HeapReleased) + endBytes)
	debug.SetGCPercent(-1)
}

// attach begins a run: from the moment that it returns, events are kept for the reader. A run that is told to end before
// has nothing to read.
func attach(ctx context.Context, opts tracer.Options, f *following, talk *talking, stderr io.Writer) (*liveRun, error) {
	live := &liveRun{rights: &rights{least: everything}}
	opts.Privileged = live.rights.during
	opened, err := tracer.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	live.Tracer = opened
	beThrifty()
	if live.ctx, live.stop = context.WithCancel(ctx); f.duration > 0 {
		live.ctx, live.stop = context.WithTimeout(ctx, time.Duration(f.duration))
	}
	context.AfterFunc(live.ctx, beQuick)
	if ctx.Err() != nil { // it was told to end while it was attached
		return live, nil
	}
	if err := f.ready(); err != nil {
		live.Close()
		return nil, err
	}
	talk.progress(stderr, "%s", watching(opened.Run()))
	if losses := untold(opened.Run().Probes); losses != "" {
		talk.progress(stderr, "%s", losses)
	}
	return live, nil
}

func (l *liveRun) events() event.Stream { return l.Events(l.ctx) }

// Close detaches everything.
func (l *liveRun) Close() {
	l.stop()
	l.Tracer.Close()
}
