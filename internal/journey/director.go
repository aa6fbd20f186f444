package journey

import "ipiptrace/tracer/event"

// What ip_vs_in returned (enum place in bpf/event.h).
const (
	ipvsDropped = 0
	ipvsPassed  = 1
	ipvsTook    = 2
)

// choice is what IPVS did with a packet.
type choice uint8

const (
	noChoice choice = iota
	gaveUp          // it has no destination for it (ip_vs_leave)
	chosen          // a method has it
)

// director is what IPVS does with a packet in the present network namespace. Every combination is possible: a method may
// fail, and ip_vs_in then says "drop"; what was given up may pass after all.
type director struct {
	choice choice
	// method is valid once it is chosen.
	method event.Method
	// said is what ip_vs_in returned last, plus one; 0 if its return was not seen, or says nothing of the packet any more.
	said int32
}

// sent reports whether a method has the packet.
func (d director) sent() bool { return d.choice == chosen }

// handled reports whether the packet is IPVS's: sent to another host, taken, dropped, or given up.
func (d director) handled() bool {
	return d.choice == gaveUp || d.sent() && d.method != event.MethodLocal || d.said == ipvsDropped+1 || d.said == ipvsTook+1
}

// drops reports whether IPVS has the packet dropped: it said so, or gave up and did not let it pass after all.
func (d director) drops() bool {
	return d.said == ipvsDropped+1 || d.choice == gaveUp && d.said != ipvsPassed+1
}

// balancedBy notes the method that sends the packet on.
func (f *flight) balancedBy(e event.Event) {
	method := event.Method(e.Aux)
	f.given = key{e.Skb, e.Seen}
	f.balanced = f.balanced || method != event.MethodLocal
	f.director = director{choice: chosen, method: method}
	// A tunnelled packet goes through ip_local_out, the others straight to the output hooks.
	if method != event.MethodLocal && method != event.MethodTunnel {
		f.leaving = sent
	}
}

// givenUp notes that IPVS has no destination. What it said of the packet at another hook holds.
func givenUp(f *flight, _ event.Event) { f.director.choice = gaveUp }

// directed notes what ip_vs_in decided.
func (f *flight) directed(e event.Event) {
	switch d := &f.director; {
	case !e.Returned:
	case e.Value == ipvsPassed && f.leaving != staying: // IPVS meets its own packet in the output hook
	case e.Value == ipvsPassed && d.sent():
		f.servedHere()
	case e.Value == ipvsDropped || e.Value == ipvsPassed || e.Value == ipvsTook:
		d.said = e.Value + 1
	}
}

// servedHere: the destination is this host itself, and the packet goes on in it, whatever the method.
func (f *flight) servedHere() {
	f.director = director{}
	f.leaving = staying
}

// rewritten reports whether IPVS has changed the packet's destination: where hooks are not watched it may not be
// known again from then on.
func (f *flight) rewritten() bool { return f.director.sent() && f.director.method == event.MethodNAT }

// ipvsSends is the prospect of a packet that a method of IPVS has: what can't be sent is freed with an event.
func ipvsSends(f *flight, e event.Event) (prospect, bool) {
	switch event.Method(e.Aux) {
	case event.MethodNAT:
		return handedOn, true
	case event.MethodLocal:
		return silence, true
	}
	return waiting, true // for the neighbour
}

// handedOn: IPVS has rewritten the packet and sent it on. What comes of it can't be seen.
var handedOn = prospect{fate: Forwarded, after: settle, seen: true}

// ipvsDecided is the prospect of a packet that ip_vs_in has returned.
func ipvsDecided(f *flight, e event.Event) (prospect, bool) {
	switch {
	case e.Value == ipvsDropped:
		return prospect{fate: Dropped, after: answerWait, seen: true}, true
	case f.director.sent() || f.leaving != staying:
		return prospect{}, false
	case e.Value == ipvsPassed:
		return silence, true
	}
	return prospect{fate: Forwarded, after: settle}, true // taken, and IPVS frees with an event what it can't send
}

// ipvsReturnsLate reports whether ip_vs_in returns that has given the packet to a method: it has gone on since.
func ipvsReturnsLate(_ *Assembler, f *flight, e event.Event) bool {
	return e.Returned && e.Value == ipvsTook && f.given != (key{}) && f.given == (key{e.Skb, e.Seen})
}

// ipvsDrops keeps where a packet will be freed that ip_vs_in wants dropped: who called it does that.
func ipvsDrops(_ *Assembler, f *flight, _ event.Event, p prospect) prospect {
	if p.fate == Dropped {
		f.lostCopy = f.dropIn(event.NfHookSlow, "")
	}
	return p
}

// whereGiven is the step at which IPVS got the packet: what returns late, returns there.
func (f *flight) whereGiven(k key) (Step, bool) {
	for i := len(f.steps) - 1; i >= 0; i-- {
		if s := f.steps[i]; s.Place == event.IPVSXmit && s.key == k {
			return s.Step, true
		}
	}
	return Step{}, false
}

// word is what a step says in one word beyond its place; method is IPVS's.
func word(e event.Event) (verdict, method string) {
	switch e.Place {
	case event.IPVSXmit:
		method = event.Method(e.Aux).String()
	case event.NfHookSlow:
		if e.Returned {
			verdict = verdictName(e.Value)
		}
	default:
		if words := meaningOf(e.Place).words; e.Returned && e.Value >= 0 && int(e.Value) < len(words) {
			verdict = words[e.Value]
		}
	}
	return verdict, method
}
