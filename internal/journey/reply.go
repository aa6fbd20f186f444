package journey

import "ipiptrace/tracer/event"

// maxUnanswered bounds the datagrams of a flow that wait for their answers.
const maxUnanswered = 64

// awaitsReply takes a datagram that its socket has: for a moment it is not certain whether an answer finds a way.
func (a *Assembler) awaitsReply(f *flight) bool {
	if f.reply || f.packet.Inner.Protocol != protoUDP || !a.watches(event.IPRouteOutput) {
		return false
	}
	fl := f.flow
	for len(fl.unanswered) > 0 && fl.unanswered[0].ended {
		fl.unanswered = fl.unanswered[1:]
	}
	if len(fl.unanswered) >= maxUnanswered {
		return false
	}
	fl.unanswered = append(fl.unanswered, f)
	return true
}

// nextUnanswered is the oldest datagram of a flow that waits for its answer, nil if there is none.
func (f *flow) nextUnanswered() *flight {
	for len(f.unanswered) > 0 {
		first := f.unanswered[0]
		f.unanswered = f.unanswered[1:]
		if !first.ended {
			return first
		}
	}
	return nil
}

// replyBegins takes that a reply begins: what waited for it is done.
func (a *Assembler) replyBegins(reply *flight) {
	if f := reply.flow.nextUnanswered(); f != nil {
		a.end(f, Delivered, bySight)
	}
}

// unanswerable takes that no way was found for a reply.
func (a *Assembler) unanswerable(e event.Event) {
	fk, _ := keyOf(e.Packet)
	fl, known := a.flows.get(fk)
	if !known {
		return
	}
	if f := fl.nextUnanswered(); f != nil {
		f.last = max(f.last, e.Time)
		f.replyLost = true
		a.end(f, Delivered, bySight)
	}
}
