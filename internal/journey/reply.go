package journey

import (
	"time"

	"ipiptrace/tracer/event"
)

// maxUnanswered bounds the datagrams of a flow that wait for their answers.
const maxUnanswered = 64

// attempt is an answer to a datagram: it has found a way, or none.
type attempt struct {
	at time.Duration
	// lost: it has found none, or, if astray, the wrong one.
	lost   bool
	astray *event.Header
	// reply is the answer as long as it is not known by what device it leaves.
	reply *flight
}

// awaitsReply makes a datagram that its socket has wait: for a moment it is not certain whether an answer finds a way.
// That udp_queue_rcv_one_skb returns says so, and that its reader, on another CPU, has freed it before that.
func (a *Assembler) awaitsReply(f *flight) (prospect, bool) {
	if f.awaiting {
		return f.prospect, true
	}
	if f.reply || f.packet.Inner.Protocol != protoUDP || !a.watches(event.IPRouteOutput) {
		return prospect{}, false
	}
	fl := f.flow
	if early, tried := fl.triedSince(f.enteredAt(event.UDPQueueRcv)); tried {
		if f.awaiting = f.answeredBy(early); f.awaiting {
			return replyDue, true
		}
		return prospect{}, false
	}
	for len(fl.unanswered) > 0 && fl.unanswered[0].ended {
		fl.unanswered = fl.unanswered[1:]
	}
	if len(fl.unanswered) >= maxUnanswered {
		return prospect{}, false
	}
	fl.unanswered, f.awaiting = append(fl.unanswered, f), true
	return replyDue, true
}

// replyDue is what becomes of a datagram that waits for its answer.
var replyDue = prospect{fate: Delivered, after: replyWait, seen: true}

// triedSince is the oldest answer that was tried since then and that no datagram waited for: a socket's reader
// runs on another CPU, and may have answered before udp_queue_rcv_one_skb returns.
func (f *flow) triedSince(then time.Duration) (attempt, bool) {
	for len(f.early) > 0 {
		first := f.early[0]
		f.early = f.early[1:]
		if first.at >= then {
			return first, true
		}
	}
	return attempt{}, false
}

// enteredAt is when a flight was last seen entering a place.
func (f *flight) enteredAt(p event.Place) time.Duration {
	for i := len(f.steps) - 1; i >= 0; i-- {
		if f.steps[i].Place == p {
			return f.steps[i].at
		}
	}
	return f.last
}

// replyTried records that an answer was tried: it belongs to the oldest datagram that waits for one.
func (a *Assembler) replyTried(fl *flow, tried attempt) {
	for len(fl.unanswered) > 0 {
		f := fl.unanswered[0]
		fl.unanswered = fl.unanswered[1:]
		if f.ended {
			continue
		}
		if tried.lost {
			f.last = max(f.last, tried.at)
		}
		if !f.answeredBy(tried) {
			a.end(f, Delivered, bySight)
		}
		return
	}
	if fl.early = append(fl.early, tried); len(fl.early) > maxUnanswered {
		fl.early = fl.early[1:]
	}
}

// replyBegins records that a reply begins: what waited for it waits until it leaves.
func (a *Assembler) replyBegins(reply *flight) {
	if reply.packet.Inner.Protocol == protoUDP {
		a.replyTried(reply.flow, attempt{at: reply.first, reply: reply})
	}
}

// answeredBy records what became of the answer to a request; it waits if that is still on its way.
func (f *flight) answeredBy(t attempt) (waits bool) {
	if t.reply != nil {
		t.reply.answers = f
		return true
	}
	f.replyLost, f.astray = t.lost, t.astray
	return false
}

// replyLeaves records by what device a reply leaves. A tunnel that has no other end of its own, as tunl0, sends to the
// next hop (ip_tunnel_xmit), and the client, as its own next hop, takes no IPIP. In the tunnel by which the request came
// a reply is not out yet: what the tunnel wraps it in decides, or that the tunnel drops it.
func (a *Assembler) replyLeaves(f *flight) {
	if f.reply && f.tunnelled && f.outer.Dst == f.now().Inner.Dst {
		f.astray = f.outer
	}
	switch {
	case !f.reply || f.gone || f.arrived || f.leaving == staying:
		return
	case f.tunnelled:
	case f.leaving == sent || f.related != nil && f.related.tunnel == (device{f.netns, f.ifindex}):
		return
	}
	a.replyGone(f)
}

// replyGone ends what waited for a reply to leave. A SYN that is answered has not ended yet.
func (a *Assembler) replyGone(f *flight) {
	if !f.reply || f.gone {
		return
	}
	f.gone = true
	tried := attempt{at: f.first, lost: f.astray != nil, astray: f.astray}
	for i, early := range f.flow.early {
		if early.reply == f {
			f.flow.early[i] = tried
		}
	}
	switch request := f.answers; {
	case request != nil && !request.ended:
		request.answeredBy(tried)
		a.end(request, Delivered, bySight)
	case request == nil && tried.lost && a.answersOpen(f):
		f.related.answeredBy(tried)
	}
}

// answersOpen reports whether a reply is the answer to the last request, which waits for none and is open all the same:
// a SYN is answered before it is freed, and a datagram shortly after, where a lookup that fails would not be seen.
func (a *Assembler) answersOpen(f *flight) bool {
	r := f.related
	switch {
	case r == nil || r.ended:
		return false
	case r.isSYN():
		return f.has(event.SYN) && f.packet.Ack == r.packet.Seq+1
	}
	return r.packet.Inner.Protocol == protoUDP && r.prospect.fate == Delivered && !a.watches(event.IPRouteOutput)
}

// unanswerable records that no route was found for a reply.
func (a *Assembler) unanswerable(e event.Event) {
	fk, _ := keyOf(e.Packet)
	if fl, known := a.flows.get(fk); known {
		a.replyTried(fl, attempt{at: e.Time, lost: true})
	}
}
