package tracer

import (
	"slices"

	"ipiptrace/tracer/event"
)

// The mechanisms, in the words of a person who reads the account.
const (
	tracepoint = "tracepoint"
	fentry     = "fentry"
	fexit      = "fexit"
	kprobe     = "kprobe"
	kretprobe  = "kretprobe"
)

// backends are the mechanisms that watch functions, cheapest first, that a value of --backend stands for.
var backends = map[string][]string{
	"auto":       {fentry, kprobe},
	"fentry":     {fentry},
	"kprobe":     {kprobe},
	"tracepoint": nil,
}

// attachment is one program at one point of the kernel.
type attachment struct {
	mechanism string
	// program is the name of the C program.
	program string
	// symbol is the function or tracepoint that it is attached to.
	symbol  string
	watched ipiptraceWatched
}

// way is a set of attachments that together watch a place.
type way []attachment

// candidate is a place to watch and the ways to do it, best first. Without ways, why says why not.
type candidate struct {
	probe probe
	ways  []way
	why   string
}

// features is what a plan needs to know of the kernel.
type features interface {
	hasTracepoint(name string) bool
}

// plan decides how each place would be watched with a back-end. Whether a way works shows only when it is tried.
func plan(probes []probe, kernel features, backend string, full bool) []candidate {
	var candidates []candidate
	for _, p := range probes {
		if p.full && !full {
			continue
		}
		candidates = append(candidates, candidateFor(p, kernel, backend))
	}
	return candidates
}

func candidateFor(p probe, kernel features, backend string) candidate {
	c := candidate{probe: p}
	traced := p.tracepointWay(kernel)
	preferTracepoint := p.place == event.ICMPSend // it is the same place and costs less
	if traced != nil && (len(p.symbols) == 0 || preferTracepoint) {
		c.ways = append(c.ways, traced)
	}
	for _, mechanism := range backends[backend] {
		for _, symbol := range p.symbols {
			c.ways = append(c.ways, p.functionWay(mechanism, symbol))
		}
	}
	if traced != nil && len(p.symbols) > 0 && !preferTracepoint {
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
	watched := ipiptraceWatched{Place: uint32(p.place), SkbArg: p.skbArg, Args: p.args}
	at := func(mechanism, program string) attachment {
		return attachment{mechanism: mechanism, program: program, symbol: symbol, watched: watched}
	}
	switch {
	case p.place == event.NfHookSlow && mechanism == fentry:
		return way{at(fexit, "fexit_"+p.own)}
	case p.own != "":
		return way{at(mechanism, mechanism+"_"+p.own)}
	case !p.returns:
		return way{at(mechanism, mechanism+"_seen")}
	case mechanism == fentry:
		return way{at(fentry, "fentry_seen"), at(fexit, "fexit_returned")}
	default:
		return way{at(kprobe, "kprobe_seen"), at(kretprobe, "kretprobe_returned")}
	}
}
