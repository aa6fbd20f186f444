package tracer

import (
	"slices"
)

// The mechanisms, in the words of a person who reads the account.
const (
	tracepoint     = "tracepoint"
	fentry         = "fentry"
	fexit          = "fexit"
	kprobeMulti    = "kprobe-multi"
	kretprobeMulti = "kretprobe-multi"
	kprobe         = "kprobe"
	kretprobe      = "kretprobe"
)

// backends are the mechanisms that watch functions, cheapest first, that a value of --backend stands for.
var backends = map[string][]string{
	"auto":         {fentry, kprobeMulti, kprobe},
	"fentry":       {fentry},
	"kprobe-multi": {kprobeMulti},
	"kprobe":       {kprobe},
	"tracepoint":   nil,
}

// halves are the two sides of a mechanism, and the first word of the programs' names for each.
type halves struct{ entry, exit, entryProgram, exitProgram string }

var halvesOf = map[string]halves{
	fentry:      {fentry, fexit, "fentry", "fexit"},
	kprobeMulti: {kprobeMulti, kretprobeMulti, "kprobe", "kretprobe"},
	kprobe:      {kprobe, kretprobe, "kprobe", "kretprobe"},
}

// attachment is one program at one point of the kernel.
type attachment struct {
	mechanism string
	// program is the name of the C program.
	program string
	// symbol is the function or tracepoint that it is attached to.
	symbol  string
	watched ipiptraceWatched
	// optional: the place is watched without it, too.
	optional bool
	// module is where an optional symbol is, if not where the place's own is: it may come and go.
	module string
}

// way is a set of attachments that together watch a place.
type way []attachment

// candidate is a place to watch and the ways to do it, best first. Without ways, why says why not.
type candidate struct {
	probe probe
	ways  []way
	why   string
}

// firstMulti is where the ways by kprobe.multi begin: those are tried for all places together.
func (c candidate) firstMulti() int {
	at := slices.IndexFunc(c.ways, func(w way) bool { return w[0].mechanism == kprobeMulti })
	if at < 0 {
		return len(c.ways)
	}
	return at
}

func beforeMulti(c candidate) []way { return c.ways[:c.firstMulti()] }
func sinceMulti(c candidate) []way  { return c.ways[c.firstMulti():] }
func allWays(c candidate) []way     { return c.ways }

// features is what a plan needs to know of the kernel.
type features interface {
	hasTracepoint(name string) bool
	hasDropReason() bool
}

// plan decides how each place would be watched with a back-end. Whether a way works shows only when it is tried.
func plan(probes []probe, kernel features, backend string, full bool) []candidate {
	var candidates []candidate
	for _, p := range probes {
		if p.full && !full || p.silent && kernel.hasDropReason() {
			continue
		}
		candidates = append(candidates, candidateFor(p, kernel, backend))
	}
	return candidates
}

func candidateFor(p probe, kernel features, backend string) candidate {
	c := candidate{probe: p}
	for _, mechanism := range backends[backend] {
		for _, symbol := range p.symbols {
			c.ways = append(c.ways, p.functionWay(mechanism, symbol))
		}
	}
	if traced := p.tracepointWay(kernel); traced != nil {
		c.ways = append(c.ways, traced)
	}
	if len(c.ways) == 0 {
		c.why = p.whyNot(backend)
	}
	return c
}

func (p probe) whyNot(backend string) string {
	if len(p.symbols) > 0 && len(backends[backend]) == 0 {
		return "no tracepoint"
	}
	return "this kernel has no such tracepoint"
}

func (p probe) tracepointWay(kernel features) way {
	missing := func(name string) bool { return !kernel.hasTracepoint(name) }
	if len(p.tracepoints) == 0 || slices.ContainsFunc(p.tracepoints, missing) {
		return nil
	}
	var w way
	for _, name := range p.tracepoints {
		w = append(w, attachment{mechanism: tracepoint, program: name, symbol: name})
	}
	return w
}

func (p probe) functionWay(mechanism, symbol string) way {
	h := halvesOf[mechanism]
	at := func(mechanism, program, symbol string, aux uint32) attachment {
		watched := ipiptraceWatched{Place: uint32(p.place), SkbArg: p.skbArg, Args: p.args, Aux: aux, SkArg: p.skArg}
		if p.returns || p.skArg > 0 {
			watched.Begins = 1
		}
		return attachment{mechanism: mechanism, program: program, symbol: symbol, watched: watched}
	}
	if p.result && mechanism == fentry {
		program := "fexit_result"
		if p.own != "" {
			program = "fexit_" + p.own
		}
		w := way{at(fexit, program, symbol, p.aux)}
		return append(w, p.others(func(o also) attachment { return at(fexit, program, o.symbol, o.aux) })...)
	}
	entry := h.entryProgram + "_seen"
	if p.own != "" {
		entry = h.entryProgram + "_" + p.own
	}
	w := way{at(h.entry, entry, symbol, p.aux)}
	exit := h.exitProgram + "_returned"
	if p.result {
		exit = h.exitProgram + "_" + p.own
	}
	if p.returns {
		w = append(w, at(h.exit, exit, symbol, p.aux))
	}
	if p.calls != "" {
		called := at(h.entry, h.entryProgram+"_make_synack", p.calls, p.aux)
		called.watched.Called = 1
		w = append(w, called)
	}
	w = append(w, p.others(func(o also) attachment { return at(h.entry, entry, o.symbol, o.aux) })...)
	if p.returns {
		w = append(w, p.others(func(o also) attachment { return at(h.exit, exit, o.symbol, o.aux) })...)
	}
	return w
}

// others are the attachments to the other functions of a place.
func (p probe) others(at func(also) attachment) (w way) {
	for _, o := range p.also {
		a := at(o)
		a.optional, a.module = true, o.module
		w = append(w, a)
	}
	return w
}
