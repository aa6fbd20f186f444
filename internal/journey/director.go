package journey

import "ipiptrace/tracer/event"

// What ip_vs_in returned (enum place in bpf/event.h).
const (
	ipvsDropped = 0
	ipvsPassed  = 1
	ipvsTook    = 2
)

// director is what IPVS does with a packet in the present network namespace.
type director struct {
	// handled: the packet is IPVS's: given to a method, taken, dropped, or given up.
	handled bool
	// sent: a method has it, method says which one.
	sent   bool
	method event.Method
	// dropped: ip_vs_in wants it freed; passed: it doesn't; neither if its return was not seen.
	dropped, passed bool
	// gaveUp: there is no destination.
	gaveUp bool
}

// drops reports whether IPVS has the packet dropped: it said so, or gave up and did not let it pass after all.
func (d director) drops() bool { return d.dropped || d.gaveUp && !d.passed }

// direct notes what a place of the director says.
func (f *flight) direct(e event.Event) {
	d := &f.director
	switch e.Place {
	case event.IPVSXmit:
		f.given = key{e.Skb, e.Seen}
		method := event.Method(e.Aux)
		f.balanced = f.balanced || method != event.MethodLocal
		*d = director{handled: method != event.MethodLocal, sent: true, method: method}
		// A tunnelled packet goes through ip_local_out, the others straight to the output hooks.
		if method != event.MethodLocal && method != event.MethodTunnel {
			f.leaving = sent
		}
	case event.IPVSLeave:
		d.handled, d.gaveUp = true, true
	case event.IPVSIn:
		f.directed(e)
	case event.NfHookSlow:
		if e.Returned && e.Value > 0 && hookName(e.Aux) == "input" && d.sent && !f.rewritten() {
			f.servedHere()
		}
	}
}

// directed notes what ip_vs_in decided.
func (f *flight) directed(e event.Event) {
	d := &f.director
	switch {
	case !e.Returned:
	case e.Value == ipvsDropped:
		d.handled, d.dropped = true, true
	case e.Value == ipvsTook:
		d.handled = true
	case e.Value == ipvsPassed && d.sent && f.leaving == staying:
		f.servedHere() // not if it is on its way: then IPVS meets its own packet in the output hook
	case e.Value == ipvsPassed && f.leaving == staying:
		d.passed = true
	}
}

// servedHere: the destination is this host itself, and the packet goes on in it, whatever the method.
func (f *flight) servedHere() {
	f.director = director{}
	f.leaving = staying
}

// rewritten reports whether IPVS has changed the packet's destination: where hooks are not watched it may not be
// known again from then on.
func (f *flight) rewritten() bool { return f.director.sent && f.director.method == event.MethodNAT }

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
	case f.director.sent || f.leaving != staying:
		return prospect{}, false
	case e.Value == ipvsPassed:
		return silence, true
	}
	return prospect{fate: Forwarded, after: settle}, true // taken, and IPVS frees with an event what it can't send
}

// lateReturn reports whether a hook, or ip_vs_in, returns that has given the packet to IPVS: the packet has
// gone on since, and the caller only learns that it is no longer his.
func (f *flight) lateReturn(e event.Event) bool {
	if !e.Returned || f.given == (key{}) || f.given != (key{e.Skb, e.Seen}) {
		return false
	}
	switch e.Place {
	case event.IPVSIn:
		return e.Value == ipvsTook
	case event.NfHookSlow:
		if e.Value != 0 {
			return false
		}
		f.given = key{} // one call each: the next one that returns so is another hook
		return true
	}
	return false
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
		if words := verdictWords[e.Place]; e.Returned && e.Value >= 0 && int(e.Value) < len(words) {
			verdict = words[e.Value]
		}
	}
	return verdict, method
}

// verdictWords name the values that a place returns, from 0.
var verdictWords = map[event.Place][]string{
	event.IPVSIn:         {ipvsDropped: "drop", ipvsPassed: "accept", ipvsTook: "stolen"},
	event.IPVSSchedule:   {"no-destination", "destination"},
	event.TCPConnRequest: {"refused", "answered"},
}
