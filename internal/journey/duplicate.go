package journey

import (
	"slices"
	"time"

	"ipiptrace/tracer/event"
)

// maxTaken bounds how many segments of one direction are remembered as taken.
const maxTaken = 16

// taken is what a socket is known to have processed of one direction of a flow, SYNs aside.
type taken struct {
	any bool
	// seq and ack are the highest numbers of its segments.
	seq, ack uint32
	// segments are the sequence numbers of the last segments with data.
	segments []uint32
	// fin is the sequence number of a segment with FIN that was seen, if hasFIN.
	fin    uint32
	hasFIN bool
}

// took notes that a socket has processed a segment.
func (t *taken) took(f *flight) {
	p := f.packet
	if p.Inner.Protocol != protoTCP || !p.HasPorts || f.has(event.SYN|event.RST) {
		return
	}
	if !t.any || int32(p.Seq-t.seq) > 0 {
		t.seq = p.Seq
	}
	if f.has(event.ACK) && (!t.any || int32(p.Ack-t.ack) > 0) {
		t.ack = p.Ack
	}
	t.any = true
	if f.mayCarryData() && !slices.Contains(t.segments, p.Seq) {
		if len(t.segments) == maxTaken {
			t.segments = slices.Delete(t.segments, 0, 1)
		}
		t.segments = append(t.segments, p.Seq)
	}
}

// isBareACK reports whether a packet does nothing but acknowledge.
func (f *flight) isBareACK() bool {
	return f.has(event.ACK) && !f.has(event.SYN|event.FIN|event.RST) && !f.mayCarryData()
}

// overtaken reports whether a bare ACK says nothing that a later one of its direction has not said to the
// socket: CPUs that share a flow's packets reorder them.
func (f *flight) overtaken() bool {
	if f.flow == nil || !f.isBareACK() {
		return false
	}
	t := f.flow.ways[f.way].taken
	return t.any && int32(t.ack-f.packet.Ack) >= 0 && int32(t.seq-f.packet.Seq) >= 0
}

// isOld reports whether the socket has had what a segment brings: its first byte was acknowledged, another
// copy of it was delivered, or it is an ACK that was overtaken.
func (f *flight) isOld() bool {
	if f.packet.Inner.Protocol != protoTCP || f.flow == nil || f.isSYN() {
		return false
	}
	return f.alreadyAcked() || f.overtaken() ||
		f.mayCarryData() && slices.Contains(f.flow.ways[f.way].taken.segments, f.packet.Seq)
}

// overtakenByTheEnd reports whether a bare ACK comes to a connection that is over, in both directions and
// acknowledged, and that a later ACK has ended.
func (f *flight) overtakenByTheEnd() bool {
	return f.flow != nil && f.flow.over() && (f.overtaken() || f.isBareACK() && f.flow.lastACKed(f.netns, f.last))
}

// over reports whether both ends have sent a FIN, and both were acknowledged.
func (f *flow) over() bool {
	closed := func(w way) bool { return w.taken.hasFIN && w.ackedBeyond(w.taken.fin) }
	return closed(f.ways[0]) && closed(f.ways[1])
}

// lastACKed reports whether the flow's socket in a namespace was ended by the ACK of its FIN.
func (f *flow) lastACKed(netns uint32, now time.Duration) bool {
	for _, ns := range []uint32{netns, 0} {
		if c, ok := f.sockets[ns]; ok && now-c.at <= timeWaitLasts && c.from == tcpLastACK && c.to == tcpClose {
			return true
		}
	}
	return false
}

// synAnswered reports whether a SYN/ACK was seen that answers this very SYN, or the one that it repeats.
func (f *flight) synAnswered() bool {
	return f.isSYN() && f.flow != nil && f.flow.ways[f.way].ackedBeyond(f.packet.Seq)
}

// raced reports whether a SYN was turned away because another copy of it was answered in the same instant:
// the kernel keeps one request for both (inet_csk_reqsk_queue_hash_add, since 6.12).
func (f *flight) raced(at time.Duration) bool {
	const sameInstant = 100 * time.Millisecond
	return f.synAnswered() && at-f.flow.handshake.last < sameInstant
}

// opens reports whether a segment is the first one after a SYN that was seen: a listener, not a socket of
// its own, has to take it.
func (f *flight) opens() bool {
	fl := f.flow
	return fl != nil && fl.begun && f.socket != byChild && f.isBareACK() && f.packet.Seq == fl.syn+1 && !fl.ways[f.way].taken.any
}

// followed reports whether the socket has processed a later packet of the same direction.
func (f *flight) followed() bool { return f.flow != nil && f.flow.ways[f.way].processed > f.last }

// verdictWait is how long a drop waits for what may turn it into something else.
func (f *flight) verdictWait() time.Duration {
	if f.pardon != nil {
		return copyWait
	}
	return answerWait
}

// pardonFor is the evidence that would make a freeing an ordinary one and that may yet come; nil if there is none.
func pardonFor(f *flight, d *Drop) func(*flight) bool {
	if f.packet.Inner.Protocol != protoTCP || d.Function != "tcp_v4_rcv" || !f.isBareACK() {
		return nil
	}
	switch {
	case f.flow.over():
		return (*flight).overtakenByTheEnd // another CPU has the ACK that came before it in its hands
	case (d.Reason == notSpecified || d.Reason == noReason) && f.reject == nil && f.opens():
		return (*flight).followed // TCP_DEFER_ACCEPT frees the ACK and waits for data; a full queue does the same, and takes none
	}
	return nil
}

// pardoned ends a flight that would be lost, if what it waited for has come.
func (f *flight) pardoned() bool {
	if f.pardon == nil || !f.pardon(f) {
		return false
	}
	f.duplicate = f.overtakenByTheEnd()
	f.reject, f.freed = nil, nil
	return true
}
