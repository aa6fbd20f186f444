package journey

import (
	"net/netip"
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

// isRejection reports whether an ICMP error says that a packet was refused: a redirect doesn't. That the rest
// of a datagram did not come is an answer like others: the kernel freed the packet and chose to say so (RFC 792, 11/1).
func isRejection(icmp uint8) bool { return icmp != icmpRedirect }

// answerChosen records that the kernel chose to answer the packet.
func (a *Assembler) answerChosen(f *flight, e event.Event) (over bool) {
	if e.Place == event.ICMPSend {
		if icmp, code := uint8(e.Aux>>8), uint8(e.Aux); isRejection(icmp) {
			// What IPVS has rewritten is quoted so: the answer is not known again, and nothing says that it was kept back.
			f.choose(Reject{By: ByICMP, Type: icmp, Code: code, Sent: f.balanced && f.changed != nil})
		}
		return true
	}
	if f.has(event.RST) {
		return true // tcp_v4_send_reset is called, and answers no RST
	}
	f.choose(Reject{By: ByRST})
	if waiting := f.flow.answered; f.reject.By == ByRST && len(waiting) < maxAnswered {
		f.flow.answered = append(waiting, f)
	}
	return true
}

// choose keeps the answer that was chosen first: the second one is about the first.
func (f *flight) choose(r Reject) {
	if f.reject == nil {
		f.reject = &r
	}
}

// leavingPlaces are where an answer is seen leaving.
var leavingPlaces = []event.Place{event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit}

// resetLeaves records that an RST leaves: it answers a packet that waits for it, or one that will be freed next.
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

// answered records that the answer to a packet has left.
func (a *Assembler) answered(f *flight) {
	f.reject.Sent = true
	if len(f.keys) == 0 && f.pardon == nil {
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

// answerLeaves follows an ICMP error: seen leaving, it is the answer to the packet that it quotes. It is sent once a device
// has it in its queue; what the queue does with it is not seen.
func (a *Assembler) answerLeaves(f *flight, e event.Event) {
	f.last = max(f.last, e.Time)
	if e.Place == event.KfreeSkb || e.Place == event.ConsumeSkb {
		a.end(f, Forwarded, bySight)
		return
	}
	f.deadline = max(f.last, a.now) + quotedMemory
	a.agenda.moved(f)
	if !slices.Contains(leavingPlaces, e.Place) || !isRejection(f.packet.ICMPType) {
		return
	}
	about := a.quotedBy(f)
	if about == nil {
		return
	}
	about.choose(Reject{By: ByICMP, Type: f.packet.ICMPType, Code: f.packet.ICMPCode})
	switch outer := f.packet.Outer; {
	case about.reject.By != ByICMP:
	case a.reachesDevice(e.Place):
		a.answered(about)
	case outer != nil && outer.Src == outer.Dst:
		about.toldItself = true
	}
}

// reachesDevice reports whether an answer that is seen at a place has passed what may keep it back before a device has it:
// the hooks of output and postrouting, and the neighbour, all of which come behind ip_local_out.
func (a *Assembler) reachesDevice(p event.Place) bool {
	return p != event.IPLocalOut || !a.watches(event.NetDevQueue)
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

// due is a freeing before which the kernel always answers. If no answer was seen the kernel kept it back
// (icmp_ratelimit, icmp_msgs_per_sec): the tracepoint icmp_send tells of those only that are really sent.
type due struct {
	// why is what the kernel does there.
	why string
	// functions and reasons are where and how it is freed; no reasons: any.
	functions, reasons []string
	// proto is the protocol of the packet, 0 for any.
	proto uint8
	// evidence is what must have been seen besides; nil: nothing.
	evidence func(*flight) bool
	answer   Reject
}

// dues are the rows. Not among them, because a policy of IPsec comes to the same end without an answer:
// NO_SOCKET in tcp_v4_rcv, and IP_NOPROTO.
var dues = []due{
	{
		why:       "no socket for a datagram: __udp4_lib_rcv calls icmp_send and frees; every other way to free has another reason",
		functions: []string{"__udp4_lib_rcv", "udp_rcv"},
		reasons:   []string{"NO_SOCKET"},
		proto:     protoUDP,
		answer:    Reject{By: ByICMP, Type: 3, Code: 3},
	},
	{
		why:       "no tunnel takes the packet: tunnel4_rcv calls icmp_send and frees, unless there is no inner header",
		functions: []string{"tunnel4_rcv"},
		evidence:  func(f *flight) bool { return f.outer != nil && f.outer.Len >= 40 },
		answer:    Reject{By: ByICMP, Type: 3, Code: 3},
	},
	{
		why:       "IPVS has no destination: ip_vs_leave calls icmp_send and has the packet dropped",
		functions: []string{"nf_hook_slow"},
		evidence: func(f *flight) bool {
			return f.director.choice == gaveUp && f.director.drops() && f.packet.Inner.Protocol != protoICMP
		},
		answer: Reject{By: ByICMP, Type: 3, Code: 3},
	},
	{
		why:       "the packet has no hops left: ip_forward calls icmp_send and frees",
		functions: []string{"ip_forward"},
		reasons:   []string{"IP_INHDR"},
		evidence:  func(f *flight) bool { return f.ttl <= 1 && len(f.steps) > 0 },
		answer:    Reject{By: ByICMP, Type: 11, Code: 0},
	},
	{
		why:       "no route: ip_error answers, so many times a second and peer (ip_rt_error_cost); with forwarding off the reason is another one",
		functions: []string{"ip_error"},
		reasons:   []string{"IP_INNOROUTES"},
		answer:    Reject{By: ByICMP, Type: 3, Code: 0},
	},
}

// answerSite is where packets like one another are freed and answered.
type answerSite struct {
	netns            uint32
	function, reason string
	src, dst         netip.Addr
	proto            uint8
}

// alike are the functions that answer a packet if they have answered one like it, which was freed for the same reason.
// Without a reason, as on 5.10, ip_error can't be told from itself with forwarding off.
var alike = map[string]struct {
	reason string
	// within is how long ago that may be; 0: any time.
	within time.Duration
}{
	"ip_local_deliver_finish": {reason: "IP_NOPROTO"},
	// Unreachable and prohibit; it does not answer for a blackhole. It answers once a second at least.
	"ip_error": {reason: notSpecified, within: 2 * time.Second},
}

// given is an answer that was sent.
type given struct {
	Reject
	at time.Duration
}

// answerSiteOf is a packet's; ok is false where the same function may free without an answer another time.
func answerSiteOf(f *flight, d *Drop) (site answerSite, ok bool) {
	if d == nil || alike[d.Function].reason != d.Reason || d.Reason == noReason {
		return answerSite{}, false
	}
	h := f.header()
	return answerSite{d.Netns, d.Function, d.Reason, h.Src, h.Dst, h.Protocol}, true
}

// remember keeps where a packet was answered, for those that follow it.
func (a *Assembler) remember(f *flight) {
	if where, ok := answerSiteOf(f, f.freed); ok && f.reject.By == ByICMP && f.reject.Sent {
		a.answers.put(where, given{*f.reject, f.last})
	}
}

// answerDue is the answer that the kernel chose to give and kept back; ok is false if that can't be said.
func (a *Assembler) answerDue(f *flight, d *Drop) (r Reject, ok bool) {
	for _, row := range dues {
		if slices.Contains(row.functions, d.Function) && (len(row.reasons) == 0 || slices.Contains(row.reasons, d.Reason)) &&
			(row.proto == 0 || row.proto == f.packet.Inner.Protocol) && (row.evidence == nil || row.evidence(f)) {
			return row.answer, true
		}
	}
	where, ok := answerSiteOf(f, d)
	if !ok {
		return Reject{}, false
	}
	last, ok := a.answers.get(where)
	if within := alike[d.Function].within; !ok || within > 0 && f.last-last.at > within {
		return Reject{}, false
	}
	last.Sent = false
	return last.Reject, true
}
