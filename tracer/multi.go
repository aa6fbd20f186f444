package tracer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// multi is all that is watched by kprobe.multi: one program at the functions and one at the returns of some. The
// kernel goes through all its symbols for each that it attaches.
type multi struct{ entries, exits points }

// points are functions, and what the program is to know of each.
type points struct {
	symbols []string
	cookies []uint64
}

func (p *points) add(a attachment) {
	p.symbols, p.cookies = append(p.symbols, a.symbol), append(p.cookies, cookie(a.watched))
}

// cookie is what bpf/multi.h unpacks.
func cookie(w ipiptraceWatched) uint64 {
	return uint64(w.Place) | uint64(w.SkbArg)<<8 | uint64(w.SkArg)<<12 | uint64(w.Begins)<<16 | uint64(w.Called)<<17 | uint64(w.Aux)<<32
}

func (m *multi) add(a attachment) {
	if a.mechanism == kretprobeMulti {
		m.exits.add(a)
		return
	}
	m.entries.add(a)
}

// watchTogether watches what it can by kprobe.multi of what is not watched yet. If the kernel refuses, nothing is:
// each place is tried for itself then.
func (t *Tracer) watchTogether(candidates []candidate, results []watching) {
	var m multi
	found := map[int]watching{}
	for i, c := range candidates {
		if len(results[i].attached) > 0 {
			continue
		}
		w, there := t.programs.known(c)
		if len(there) == 0 {
			continue
		}
		together := watching{candidate: c, way: w}
		for _, a := range there {
			m.add(a)
			together.attached = append(together.attached, attached{module: a.module, shared: true})
		}
		found[i] = together
	}
	if len(found) == 0 {
		return
	}
	all, err := t.programs.attachMulti(m)
	if err != nil {
		t.log.Debug("kprobe.multi is tried for each place", "err", err)
		return
	}
	t.together = all
	for i, w := range found {
		results[i] = w
	}
}

// known is the first way by kprobe.multi whose functions the kernel's types know, and what they know of it: functions
// that are optional may be missing.
func (p *programs) known(c candidate) (w, there way) {
	for _, w := range c.ways {
		if w[0].mechanism != kprobeMulti {
			continue
		}
		there := slices.DeleteFunc(slices.Clone(w), func(a attachment) bool {
			return !p.kernel.hasFunction(a.symbol, cmp.Or(a.module, c.probe.module))
		})
		if !slices.ContainsFunc(w, func(a attachment) bool { return !a.optional && !slices.Contains(there, a) }) {
			return w, there
		}
	}
	return nil, nil
}

func (p *programs) attachMulti(m multi) ([]attached, error) {
	known := p.addresses(slices.Concat(m.entries.symbols, m.exits.symbols))
	entries, err := p.attachPoints("multi_seen", kprobeMulti, m.entries.options(known), link.KprobeMulti)
	if err != nil || len(m.exits.symbols) == 0 {
		return entries, err
	}
	exits, err := p.attachPoints("multi_returned", kretprobeMulti, m.exits.options(known), link.KretprobeMulti)
	if err != nil {
		detach(entries)
		return nil, err
	}
	return append(entries, exits...), nil
}

// options name the functions by their addresses, if those are known.
func (p points) options(known map[string]uintptr) link.KprobeMultiOptions {
	opts := link.KprobeMultiOptions{Cookies: p.cookies}
	if known == nil {
		opts.Symbols = p.symbols
		return opts
	}
	for _, s := range p.symbols {
		opts.Addresses = append(opts.Addresses, known[s])
	}
	return opts
}

func (p *programs) attachPoints(program, mechanism string, at link.KprobeMultiOptions,
	attach func(*ebpf.Program, link.KprobeMultiOptions) (link.Link, error)) ([]attached, error) {
	prog, err := p.load(attachment{mechanism: mechanism, program: program})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", program, err)
	}
	l, err := attach(prog, at)
	if err != nil {
		prog.Close()
		return nil, fmt.Errorf("attach %s: %w", program, err)
	}
	return []attached{{program: prog, link: l}}, nil
}

// symbol is the struct of that name in bpf/multi.h.
type symbol struct {
	Name    [56]byte
	Address uint64
}

// addresses are those of the symbols, nil if the kernel does not tell: then it has to look for them itself. It does that
// by going through all its symbols, where a look-up of one is a binary search (since 6.2, and where that was backported).
func (p *programs) addresses(symbols []string) map[string]uintptr {
	if !p.kernel.hasFunction("kallsyms_lookup_names", "") {
		return nil
	}
	prog, err := p.load(attachment{program: "find_symbol"})
	if err != nil {
		return nil
	}
	defer prog.Close()
	all := map[string]uintptr{}
	for _, s := range symbols {
		var asked, found symbol
		copy(asked.Name[:len(asked.Name)-1], s)
		failed, err := prog.Run(&ebpf.RunOptions{Context: asked, ContextOut: &found})
		if err != nil || failed != 0 || found.Address == 0 {
			return nil
		}
		all[s] = uintptr(found.Address)
	}
	return all
}
