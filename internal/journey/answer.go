package journey

import (
	"slices"
	"time"

	"ipiptrace/tracer/event"
)

// seesAnswers reports whether an answer to the packet would have been seen before the packet was freed.
func (a *Assembler) seesAnswers(f *flight) bool {
	return a.watches(event.ICMPSend) && (f.packet.Inner.Protocol != protoTCP || a.watches(event.SendReset))
}

// icmpRedirect is no answer to a packet that was refused (RFC 792, type 5).
const icmpRedirect = 5

// answerChosen takes that the kernel chose to answer a packet.
func (a *Assembler) answerChosen(f *flight, e event.Event) {
	if e.Place == event.ICMPSend {
		if icmp := uint8(e.Aux >> 8); icmp != icmpRedirect {
			f.choose(Reject{By: ByICMP, Type: icmp, Code: uint8(e.Aux)})
		}
		return
	}
	f.choose(Reject{By: ByRST})
	if waiting := f.flow.answered; f.reject.By == ByRST && len(waiting) < maxAnswered {
		f.flow.answered = append(waiting, f)
	}
}

// choose keeps the answer that was chosen first: the second one is about the first.
func (f *flight) choose(r Reject) {
	if f.reject == nil {
		f.reject = &r
	}
}

// leavingPlaces are where an answer is seen leaving.
var leavingPlaces = []event.Place{event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit}

// resetLeaves takes that an RST leaves: it answers a packet that waits for it, or one that will be freed next.
func (a *Assembler) resetLeaves(f *flight, e event.Event) {
	if !f.has(event.RST) || f.arrived || len(f.steps) != 1 || !slices.Contains(leavingPlaces, e.Place) {
		return
	}
	open := slices.DeleteFunc(f.flow.answered, func(x *flight) bool { return x.ended || x.reject.Sent })
	f.flow.answered = open
	for _, x := range open {
		if answers(&f.packet, &x.packet) {
			a.answered(x)
			return
		}
	}
	f.flow.reset = &reset{e.Time, e.CPU, f.packet}
}

// answered takes that the answer to a packet has left.
func (a *Assembler) answered(f *flight) {
	f.reject.Sent = true
	if len(f.keys) == 0 {
		a.end(f, Rejected, bySight)
	}
}

// answeredByReset reports whether an RST left for a packet just before it was freed, on the same CPU.
func (a *Assembler) answeredByReset(f *flight, e event.Event) bool {
	const justBefore = 50 * time.Millisecond
	if f.packet.Inner.Protocol != protoTCP || f.reject != nil {
		return false
	}
	r := f.flow.reset
	if r == nil || r.cpu != e.CPU || e.Time-r.at > justBefore || !answers(&r.p, &f.packet) {
		return false
	}
	f.flow.reset = nil
	return true
}

// answerLeaves follows an ICMP error: seen leaving, it is the answer to the packet that it quotes.
func (a *Assembler) answerLeaves(f *flight, e event.Event) {
	f.last = max(f.last, e.Time)
	if e.Place == event.KfreeSkb || e.Place == event.ConsumeSkb {
		a.end(f, Forwarded, bySight)
		return
	}
	f.deadline = max(f.last, a.now) + quotedMemory
	a.agenda.moved(f)
	if !slices.Contains(leavingPlaces, e.Place) || f.packet.ICMPType == icmpRedirect {
		return
	}
	about := a.quotedBy(f)
	if about == nil {
		return
	}
	about.choose(Reject{By: ByICMP, Type: f.packet.ICMPType, Code: f.packet.ICMPCode})
	if about.reject.By == ByICMP {
		a.answered(about)
	}
}

// quotedBy is the packet that an ICMP error is about: of several with the same hash, one that was freed.
func (a *Assembler) quotedBy(f *flight) *flight {
	var about *flight
	for _, x := range a.byID[f.id] {
		if x.quoted || x.reject != nil && x.reject.Sent {
			continue
		}
		if x.freed != nil {
			return x
		}
		about = x
	}
	return about
}
