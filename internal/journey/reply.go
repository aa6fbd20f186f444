package journey

import (
	"time"

	"ipiptrace/tracer/event"
)

// maxUnanswered bounds the datagrams of a flow that wait for their answers.
const maxUnanswered = 64

// attempt is an answer to a datagram: it has found a way, or none.
type attempt struct {
	at   time.Duration
	lost bool
}

// awaitsReply takes a datagram that its socket has: for a moment it is not certain whether an answer finds a way.
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
		f.replyLost = early.lost
		return prospect{}, false
	}
	for len(fl.unanswered) > 0 && fl.unanswered[0].ended {
		fl.unanswered = fl.unanswered[1:]
	}
	if len(fl.unanswered) >= maxUnanswered {
		return prospect{}, false
	}
	fl.unanswered, f.awaiting = append(fl.unanswered, f), true
	return prospect{fate: Delivered, after: replyWait, seen: true}, true
}

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

// replyTried takes that an answer to the oldest datagram that waits for one was tried.
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
		f.replyLost = tried.lost
		a.end(f, Delivered, bySight)
		return
	}
	if fl.early = append(fl.early, tried); len(fl.early) > maxUnanswered {
		fl.early = fl.early[1:]
	}
}

// replyBegins takes that a reply begins: what waited for it is done.
func (a *Assembler) replyBegins(reply *flight) {
	if reply.packet.Inner.Protocol == protoUDP {
		a.replyTried(reply.flow, attempt{at: reply.first})
	}
}

// unanswerable takes that no way was found for a reply.
func (a *Assembler) unanswerable(e event.Event) {
	fk, _ := keyOf(e.Packet)
	if fl, known := a.flows.get(fk); known {
		a.replyTried(fl, attempt{at: e.Time, lost: true})
	}
}
