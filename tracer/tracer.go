// Package tracer follows packets through the kernel: it decides where to look, loads and attaches the
// kernel half, and turns what that half writes into events.
package tracer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"ipiptrace/tracer/event"
)

// The ways in which a kernel refuses. What would make it work is for the caller to say.
var (
	// ErrNotPermitted: BPF, or the reading of the kernel's symbols, is not allowed to this process.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNoBTF: the kernel does not describe its types.
	ErrNoBTF = errors.New("no BTF")
	// ErrNoBackend: a required place can't be watched, or the back-end that was asked for could attach nothing.
	ErrNoBackend = errors.New("no usable back-end")
	// ErrNoTracefs: kprobes can't be attached here, since the kernel makes them through a file system that is not mounted.
	ErrNoTracefs = errors.New("tracefs is not mounted")
	// ErrTooMany: the filter has more addresses or ports than the kernel half compares.
	ErrTooMany = errors.New("filter too long")
)

// Options say what to follow and how.
type Options struct {
	Filter event.Filter
	// Backend is auto, fentry, kprobe-multi, kprobe or tracepoint: the contract's --backend. Empty: auto.
	Backend string
	// Full watches also places that decide neither fate nor drop.
	Full bool
	// RingBytes is the size of the ring, a power of two; 0 is the default, 8 MiB.
	RingBytes int
	// Privileged runs what needs the privileges of Open again, later: to watch the places in a module that comes.
	// Nil: the process keeps them.
	Privileged func(func())
	// Log hears why a place is not watched; nil is silent.
	Log *slog.Logger
}

// Tracer is a running trace: attached from Open to Close.
type Tracer struct {
	run        event.Run
	programs   *programs
	ring       *ringbuf.Reader
	decoder    decoder
	modules    modules
	log        *slog.Logger
	privileged func(func())
	// settled is closed once the kernel's symbols were read.
	settled chan struct{}
	// countsKprobes: this kernel says how often it missed a kprobe.
	countsKprobes bool

	// adapting is held while places in modules are attached or let go; then nothing is, once it is closed.
	adapting sync.Mutex
	closed   bool

	// mu guards what follows: modules come and go while events are read.
	mu       sync.Mutex
	watching []watching
	// changed: who reads the events does not know of the last change of watching.
	changed bool
	// together is what several places share.
	together []attached
	// past is what was missed by what is no longer attached.
	past misses
}

// Open loads the kernel half and attaches it. When it returns, every place that can be watched is, unless ctx is done
// before: then the rest is not tried, and the run sees nothing.
//
// The error is one of this package's, wrapped, where a person can do something about it.
func Open(ctx context.Context, opts Options) (*Tracer, error) {
	if opts.Backend == "" {
		opts.Backend = "auto"
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Privileged == nil {
		opts.Privileged = func(do func()) { do() }
	}
	if err := possible("/proc", fileLimit()); err != nil {
		return nil, err
	}
	spec, kernel, err := read()
	if err != nil {
		return nil, err
	}
	liftMemlock()
	programs, err := newPrograms(spec, kernel, opts)
	if err != nil {
		return nil, err
	}
	t := &Tracer{settled: make(chan struct{}), programs: programs, log: opts.Log, privileged: opts.Privileged, countsKprobes: kernel.countsMissedKprobes()}
	t.decoder = decoder{symbols: programs.symbols, reasons: kernel.dropReasons()}
	if err := t.open(ctx, kernel, opts); err != nil {
		t.Close()
		return nil, err
	}
	go t.attend()
	return t, nil
}

// read reads our programs and the kernel's types at the same time: half of the start is that.
func read() (*ebpf.CollectionSpec, *kernel, error) {
	var (
		wg      sync.WaitGroup
		spec    *ebpf.CollectionSpec
		specErr error
	)
	wg.Add(1)
	go func() {
		defer wg.Done()
		spec, specErr = loadIpiptrace()
	}()
	kernel, err := openKernel()
	wg.Wait()
	if err != nil {
		return nil, nil, err
	}
	if specErr != nil {
		return nil, nil, fmt.Errorf("read programs: %w", specErr)
	}
	return spec, kernel, nil
}

func (t *Tracer) open(ctx context.Context, kernel *kernel, opts Options) error {
	ring, err := ringbuf.NewReader(t.programs.maps.Maps["events"])
	if err != nil {
		return fmt.Errorf("open ring: %w", err)
	}
	t.ring = ring
	if t.modules, err = openModules(); err != nil { // before the first place is tried: none comes unheard
		return err
	}
	if err := t.attach(ctx, plan(probes, kernel, opts.Backend, opts.Full), opts); err != nil {
		return err
	}
	t.run.Start, t.run.Mono = bothClocks()
	t.run.Kernel, t.run.Filter = release(), opts.Filter
	t.run.Reasons = kernel.hasDropReason()
	return t.programs.maps.Variables["ready"].Set(uint32(1))
}

// halt has every program return at once from now on. It costs next to nothing; to detach them may take seconds.
func (t *Tracer) halt() {
	_ = t.programs.maps.Variables["ready"].Set(uint32(0)) // as it was set before
	_ = t.programs.maps.Variables["in_flight"].Set(int64(math.MinInt64 / 2))
}

// settle does what the start did not wait for: what only attaching needed goes before the kernel's symbols come.
func (t *Tracer) settle() {
	defer close(t.settled)
	t.programs.forget()
	debug.FreeOSMemory()
	t.decoder.symbols.load()
}

// attach tries the ways of every candidate, several candidates at a time: the kernel takes its time to
// attach. What another place makes needless is decided when that one is known.
func (t *Tracer) attach(ctx context.Context, candidates []candidate, opts Options) error {
	results := make([]watching, len(candidates))
	single := func(i int) bool { return candidates[i].probe.unless == event.NoPlace }
	t.try(ctx, candidates, results, beforeMulti, single)
	if ctx.Err() == nil {
		t.watchTogether(candidates, results)
	}
	t.try(ctx, candidates, results, sinceMulti, func(i int) bool { return single(i) && len(results[i].attached) == 0 })
	watched := map[event.Place]bool{}
	for i, r := range results {
		watched[candidates[i].probe.place] = len(r.attached) > 0
	}
	t.try(ctx, candidates, results, allWays, func(i int) bool { return !single(i) && !watched[candidates[i].probe.unless] })
	functions := 0
	for i, r := range results {
		if candidates[i].probe.unless != event.NoPlace && watched[candidates[i].probe.unless] {
			continue
		}
		t.watching = append(t.watching, r)
		if len(r.attached) > 0 && r.way[0].mechanism != tracepoint {
			functions++
		}
		if r.err != nil {
			opts.Log.Debug("place skipped", "place", r.candidate.probe.place, "err", r.err)
		}
		if r.candidate.probe.required && len(r.attached) == 0 && ctx.Err() == nil {
			return r.fatal()
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if functions == 0 && len(backends[opts.Backend]) > 0 && opts.Backend != "auto" {
		return fmt.Errorf("%w: %s can attach to no function of this kernel: %w", ErrNoBackend, opts.Backend, t.firstWhy())
	}
	return nil
}

// try tries some ways of the candidates that are asked for.
func (t *Tracer) try(ctx context.Context, candidates []candidate, results []watching, ways func(candidate) []way, asked func(int) bool) {
	var wg sync.WaitGroup
	limit := make(chan struct{}, 2)
	for i, c := range candidates {
		if !asked(i) {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			limit <- struct{}{}
			defer func() { <-limit }()
			if ctx.Err() != nil {
				results[i] = watching{candidate: c, err: errEnded}
				return
			}
			w := t.programs.watch(c, ways(c))
			if len(w.attached) == 0 {
				w.err = errors.Join(results[i].err, w.err)
			}
			results[i] = w
		}()
	}
	wg.Wait()
}

func (t *Tracer) firstWhy() error {
	for _, w := range t.watching {
		switch {
		case len(w.attached) > 0:
		case lacksTracefs(w.err):
			return ErrNoTracefs
		default:
			return errors.New(w.row().Why)
		}
	}
	return errors.New("no reason known")
}

// Run describes what is traced and where.
func (t *Tracer) Run() event.Run {
	run := t.run
	run.Probes = t.rows()
	return run
}

// rows are the places as they are watched now.
func (t *Tracer) rows() (rows []event.Probe) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.watching {
		rows = append(rows, w.row())
	}
	return rows
}

// Close detaches everything. The links die with the process as well.
func (t *Tracer) Close() error {
	t.modules.close()
	t.adapting.Lock()
	defer t.adapting.Unlock()
	t.closed = true
	all := t.together
	for _, w := range t.watching {
		all = append(all, w.attached...)
	}
	detach(all)
	if t.ring != nil {
		t.ring.Close()
	}
	t.programs.Close()
	return nil
}

// Events yields what is seen until ctx is done, then what was seen by then, then an event of Kind End. From the moment
// that ctx is done nothing more is seen; what can't be read within lastWords is counted as lost. It can be called once.
func (t *Tracer) Events(ctx context.Context) event.Stream {
	return func(yield func(event.Event, error) bool) {
		reading, stop := context.WithCancel(ctx)
		defer stop()
		r := reader{tracer: t, chunks: make(chan chunk, queuedChunks), late: make(chan struct{})}
		context.AfterFunc(reading, r.end)
		go r.drain(reading)
		r.deliver(yield, stop)
	}
}

// bothClocks reads the wall clock and the monotonic one at the same moment, or nearly: of a few attempts the one between
// which least time went by. Every journey's start is told by that pair.
func bothClocks() (wall time.Time, mono time.Duration) {
	const attempts = 5
	least := time.Duration(math.MaxInt64)
	for range attempts {
		before := Now()
		now := time.Now()
		if took := Now() - before; took < least {
			least, wall, mono = took, now, before+took/2
		}
	}
	return wall, mono
}

// Now is the time that events have: CLOCK_MONOTONIC.
func Now() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// notPermitted marks an error that more privileges would avoid.
func notPermitted(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: to make BPF's maps: %w", ErrNotPermitted, unix.EPERM) // which of them is no matter
	}
	return err
}
