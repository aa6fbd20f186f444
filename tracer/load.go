package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"ipiptrace/tracer/event"
)

// shared are the maps that all programs have in common. Each program has a configuration of its own.
var shared = []string{"tracked", "events", "calls", "others", ".bss"}

// programs loads and attaches programs, each on its own: one that the kernel refuses is no failure.
type programs struct {
	spec *ebpf.CollectionSpec
	// bare is spec without programs: it is copied for each of them.
	bare     *ebpf.CollectionSpec
	kernel   *kernel
	settings ipiptraceSettings
	symbols  *symbols
	maps     *ebpf.Collection
	// ringBytes is the size of the ring, 0 for the one in spec.
	ringBytes int
	// loading has room for one who loads: copies of a spec decode its types lazily, in a map that they share. A
	// mutex would spin, and loading takes long.
	loading chan struct{}
}

func newPrograms(spec *ebpf.CollectionSpec, k *kernel, opts Options) (*programs, error) {
	settings, err := settingsFor(opts.Filter)
	if err != nil {
		return nil, err
	}
	if k.hasDropReason() {
		settings.HasReason = 1
	}
	if k.saysWhereConsumed() {
		settings.HasLocation = 1
	}
	p := &programs{settings: settings, symbols: &symbols{proc: "/proc"}, ringBytes: opts.RingBytes, loading: make(chan struct{}, 1)}
	p.know(spec, k)
	p.maps, err = ebpf.NewCollectionWithOptions(p.bare.Copy(), ebpf.CollectionOptions{Cache: k.cache})
	return p, notPermitted(err)
}

// settingsFor is a filter in the form of the kernel half. The numbers are in network byte order in memory.
func settingsFor(f event.Filter) (ipiptraceSettings, error) {
	s := ipiptraceSettings{
		VipCount:  uint32(len(f.VIPs)),
		PortCount: uint32(len(f.Ports)),
		Netns:     f.Netns,
		Proto:     uint32(f.Proto),
	}
	if len(f.VIPs) > len(s.Vips) {
		return s, fmt.Errorf("%w: %d VIPs, at most %d", ErrTooMany, len(f.VIPs), len(s.Vips))
	}
	if len(f.Ports) > len(s.Ports) {
		return s, fmt.Errorf("%w: %d ports, at most %d", ErrTooMany, len(f.Ports), len(s.Ports))
	}
	for i, vip := range f.VIPs {
		s.Vips[i] = rawAddr(vip)
	}
	for i, port := range f.Ports {
		s.Ports[i] = port<<8 | port>>8
	}
	if f.Client.IsValid() {
		s.Client = rawAddr(f.Client.Masked().Addr())
		mask := ^uint32(0) << (32 - f.Client.Bits())
		s.ClientMask = binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, mask))
	}
	return s, nil
}

func rawAddr(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

// attach loads one program for one place and attaches it.
func (p *programs) attach(a attachment) (*ebpf.Program, link.Link, error) {
	prog, err := p.load(a)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s/%s: %w", a.mechanism, a.symbol, err)
	}
	l, err := hook(prog, a)
	if errors.Is(err, os.ErrNotExist) && a.byName() {
		if kept := p.symbols.variant(a.symbol); kept != "" {
			a.symbol = kept
			l, err = hook(prog, a)
		}
	}
	if err != nil {
		prog.Close()
		return nil, nil, fmt.Errorf("attach %s/%s: %w", a.mechanism, a.symbol, err)
	}
	return prog, l, nil
}

// byName reports whether the kernel looks the symbol up among its symbols, not among its types.
func (a attachment) byName() bool {
	return slices.Contains([]string{kprobe, kretprobe, kprobeMulti, kretprobeMulti}, a.mechanism)
}

// hook attaches a program that is loaded.
func hook(prog *ebpf.Program, a attachment) (link.Link, error) {
	switch a.mechanism {
	case kprobeMulti:
		return link.KprobeMulti(prog, link.KprobeMultiOptions{Symbols: []string{a.symbol}})
	case kretprobeMulti:
		return link.KretprobeMulti(prog, link.KprobeMultiOptions{Symbols: []string{a.symbol}})
	case kprobe:
		return link.Kprobe(a.symbol, prog, nil)
	case kretprobe:
		return link.Kretprobe(a.symbol, prog, nil)
	}
	return link.AttachTracing(link.TracingOptions{Program: prog})
}

func (p *programs) load(a attachment) (*ebpf.Program, error) {
	p.loading <- struct{}{}
	defer func() { <-p.loading }()
	only := p.bare.Copy()
	program := p.spec.Programs[a.program].Copy()
	only.Programs[a.program] = program
	switch a.mechanism {
	case fentry, fexit:
		program.AttachTo = a.symbol
	case kprobeMulti, kretprobeMulti:
		program.AttachType = ebpf.AttachTraceKprobeMulti
	}
	err := errors.Join(only.Variables["config"].Set(p.settings), only.Variables["instance"].Set(a.watched))
	if err != nil {
		return nil, err
	}
	c, err := ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{
		MapReplacements: p.replacements(),
		Cache:           p.kernel.cache,
		// Nothing that our programs read is a module's: without this, every loaded module's types would be read.
		Programs: ebpf.ProgramOptions{KernelTypes: p.kernel.types},
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(a.program), nil
}

func (p *programs) replacements() map[string]*ebpf.Map {
	maps := map[string]*ebpf.Map{}
	for name, m := range p.maps.Maps {
		if slices.Contains(shared, name) {
			maps[name] = m
		}
	}
	return maps
}

// know takes our programs and the kernel's types: now something can be attached.
func (p *programs) know(spec *ebpf.CollectionSpec, k *kernel) {
	if p.ringBytes > 0 {
		spec.Maps["events"].MaxEntries = uint32(p.ringBytes)
	}
	for _, m := range spec.Maps {
		m.Key, m.Value = nil, nil // each program would have them described to the kernel, for a map that nobody else reads
	}
	bare := *spec
	bare.Programs = map[string]*ebpf.ProgramSpec{}
	bare.Types = nil // nothing that is loaded needs them, and each copy would copy them
	p.spec, p.bare, p.kernel = spec, &bare, k
}

// forget lets go of them until something is to be attached again.
func (p *programs) forget() { p.spec, p.bare, p.kernel = nil, nil, nil }

func (p *programs) Close() { p.maps.Close() }
