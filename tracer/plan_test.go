package tracer

import (
	"slices"
	"testing"

	"ipiptrace/tracer/event"
)

// with is a kernel that has these tracepoints.
type with map[string]bool

func (w with) hasTracepoint(name string) bool { return w[name] }
func (w with) hasDropReason() bool            { return w["reasons"] }

func candidateAt(t *testing.T, candidates []candidate, place event.Place) candidate {
	t.Helper()
	for _, c := range candidates {
		if c.probe.place == place {
			return c
		}
	}
	t.Fatalf("%s is not in the plan", place)
	return candidate{}
}

func TestPlanPrefersTheCheapestWay(t *testing.T) {
	kernel := with{"icmp_send": true, "tcp_send_reset": true}
	for name, test := range map[string]struct {
		backend string
		place   event.Place
		ways    []string
	}{
		"auto tries the cheapest first":                      {"auto", event.IPRcv, []string{fentry, kprobeMulti, kprobe}},
		"a forced back-end tries nothing else":               {"kprobe", event.IPRcv, []string{kprobe}},
		"tracepoint tries no function":                       {"tracepoint", event.IPRcv, nil},
		"a verdict is read when the function returns":        {"fentry", event.NfHookSlow, []string{fexit}},
		"a tracepoint that is silent at times comes last":    {"auto", event.ICMPSend, []string{fentry, kprobeMulti, kprobe, tracepoint}},
		"a tracepoint replaces a function that is not tried": {"tracepoint", event.SendReset, []string{tracepoint}},
		"another kernel has another symbol":                  {"fentry", event.UDPRcv, []string{fentry, fentry}},
		"without reasons TCP's drops are silent":             {"kprobe", event.TCPDrop, []string{kprobe}},
	} {
		t.Run(name, func(t *testing.T) {
			c := candidateAt(t, plan(probes, kernel, test.backend, true), test.place)
			if len(c.ways) != len(test.ways) {
				t.Fatalf("%d ways, want %v", len(c.ways), test.ways)
			}
			for i, w := range c.ways {
				if w[0].mechanism != test.ways[i] {
					t.Errorf("way %d is %s, want %s", i, w[0].mechanism, test.ways[i])
				}
			}
			if len(c.ways) == 0 && c.why == "" {
				t.Error("a place without a way says nothing of why")
			}
		})
	}
}

func TestPlanLeavesOutWhatDecidesNothing(t *testing.T) {
	for _, c := range plan(probes, with{}, "auto", false) {
		if c.probe.full {
			t.Errorf("%s is watched without --detail full", c.probe.place)
		}
	}
}

func TestKernelsThatNameReasonsHaveNoSilentDrops(t *testing.T) {
	for _, c := range plan(probes, with{"reasons": true}, "auto", true) {
		if c.probe.place == event.TCPDrop {
			t.Error("tcp_drop is watched although kfree_skb tells")
		}
	}
}

func TestEveryPlaceHasANameAndAReason(t *testing.T) {
	seen := map[event.Place]bool{}
	for _, p := range probes {
		if p.place.String() == "" || p.why == "" {
			t.Errorf("place %d: name %q, why %q", p.place, p.place, p.why)
		}
		if seen[p.place] {
			t.Errorf("%s is there twice", p.place)
		}
		seen[p.place] = true
	}
}

func TestEveryPlannedProgramIsInTheObject(t *testing.T) {
	spec, err := loadIpiptrace()
	if err != nil {
		t.Fatal(err)
	}
	everything := with{}
	for _, p := range probes {
		for _, name := range p.tracepoints {
			everything[name] = true
		}
	}
	for backend := range backends {
		for _, c := range plan(probes, everything, backend, true) {
			for _, way := range c.ways {
				for _, a := range way {
					if spec.Programs[a.program] == nil {
						t.Errorf("%s by %s: no program %s", c.probe.place, backend, a.program)
					}
				}
			}
		}
	}
}

// TestCookiesHoldEveryPoint unpacks what bpf/multi.h does.
func TestCookiesHoldEveryPoint(t *testing.T) {
	for _, c := range plan(probes, with{}, "kprobe-multi", true) {
		for _, w := range c.ways {
			for _, a := range w {
				k := cookie(a.watched)
				got := ipiptraceWatched{Place: uint32(k & 0xff), SkbArg: uint32(k >> 8 & 0xf), SkArg: uint32(k >> 12 & 0xf),
					Begins: uint32(k >> 16 & 1), Called: uint32(k >> 17 & 1), Aux: uint32(k >> 32), Args: a.watched.Args}
				if got != a.watched {
					t.Errorf("%s: %+v becomes %+v", a.symbol, a.watched, got)
				}
			}
		}
	}
}

func TestFunctionsAreAttachedByNameWhereAddressesAreNotKnown(t *testing.T) {
	p := points{symbols: []string{"b", "a"}, cookies: []uint64{2, 1}}
	if o := p.options(nil); !slices.Equal(o.Symbols, p.symbols) || o.Addresses != nil || !slices.Equal(o.Cookies, p.cookies) {
		t.Errorf("%+v", o)
	}
	if o := p.options(map[string]uintptr{"a": 1, "b": 2}); o.Symbols != nil || !slices.Equal(o.Addresses, []uintptr{2, 1}) {
		t.Errorf("%+v", o)
	}
}
