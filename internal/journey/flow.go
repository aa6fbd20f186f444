package journey

import (
	"net/netip"
	"slices"
	"time"

	"ipiptrace/tracer/event"
)

// IP protocol numbers.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// States of a TCP socket (include/net/tcp_states.h), as inet_sock_set_state reports them.
const (
	tcpFinWait2 = 5
	tcpTimeWait = 6
	tcpClose    = 7
	tcpLastACK  = 9
	tcpClosing  = 11
)

// maxFlows bounds what is remembered of flows, maxSockets of the sockets of one flow: client,
// director and real server may share a kernel.
const (
	maxFlows   = 1 << 14
	maxSockets = 8
	maxMerged  = 8
)

// timeWaitLasts is longer than TIME_WAIT does (TCP_TIMEWAIT_LEN, 60 s).
const timeWaitLasts = 90 * time.Second

// end is one end of a flow.
type end struct {
	addr netip.Addr
	port uint16
}

// flowKey is a flow whichever way a packet goes: the smaller end first.
type flowKey struct {
	a, b  end
	proto uint8
}

// keyOf is the flow of a packet, and the index of the packet's direction in flow.ways.
func keyOf(p *event.Packet) (k flowKey, dir int) {
	src, dst := end{p.Inner.Src, p.SrcPort}, end{p.Inner.Dst, p.DstPort}
	if !p.HasPorts && !p.FlowOnly {
		src.port, dst.port = 0, 0
	}
	if c := src.addr.Compare(dst.addr); c > 0 || c == 0 && src.port > dst.port {
		return flowKey{dst, src, p.Inner.Protocol}, 1
	}
	return flowKey{src, dst, p.Inner.Protocol}, 0
}

// flow is what is remembered of a flow beyond its packets: evidence for the fate of packets whose end is silent.
type flow struct {
	ways [2]way // forward, backward
	// begun: a SYN was seen in this run, and with it every state of the connection; syn is its sequence number.
	begun bool
	syn   uint32
	// handshake are the SYN/ACKs that wait for an answer.
	handshake handshake
	// sockets has the last change of state by network namespace, 0 if the namespace was not said.
	sockets map[uint32]stateChange
	// reset is an RST that was seen leaving and belongs to no packet yet.
	reset *reset
	// answered are packets that the kernel has chosen to answer with an RST that was not seen yet.
	answered []*flight
	// unanswered are datagrams that their socket has, the oldest first.
	unanswered []*flight
	// early are answers that were tried before a datagram waited for one.
	early []attempt
	// request is the request that was seen last, delivered the id of the last one known to be delivered.
	request   *flight
	delivered uint64
	// behind is the network namespace to which an answer came from elsewhere, 0 if none did.
	behind uint32
}

// way is one direction of a flow.
type way struct {
	// acked is the highest TCP sequence number that the other end acknowledged, if hasAcked.
	acked    uint32
	hasAcked bool
	// processed is when a packet was last known to have been processed by the socket; 0 for never.
	processed time.Duration
	// merged are the last packets that GRO made of several.
	merged []mergedSegment
	// taken is what the socket has processed.
	taken taken
	// large is the last packet that is still to be cut into segments; nil if there was none.
	large *flight
}

// mergedSegment is a packet that GRO made of several.
type mergedSegment struct {
	seq uint32
	len uint32
	id  uint64
}

type stateChange struct {
	from, to uint32
	at       time.Duration
}

// reset is an RST on its way out.
type reset struct {
	at  time.Duration
	cpu uint32
	p   event.Packet
}

// timeWait reports whether the flow's socket in a namespace went into TIME_WAIT: from then on no socket
// changes its state, and the kernel frees what TIME_WAIT has handled like a packet that nobody wanted.
func (f *flow) timeWait(netns uint32, now time.Duration) bool {
	for _, ns := range []uint32{netns, 0} {
		c, ok := f.sockets[ns]
		if !ok || now-c.at > timeWaitLasts {
			continue
		}
		// tcp_time_wait ends the full socket: CLOSE from FIN_WAIT2 or CLOSING.
		if c.to == tcpTimeWait || c.to == tcpClose && (c.from == tcpFinWait2 || c.from == tcpClosing) {
			return true
		}
	}
	return false
}

// changed notes a socket's change of state.
func (f *flow) changed(netns, from, to uint32, at time.Duration) {
	if f.sockets == nil {
		f.sockets = map[uint32]stateChange{}
	}
	if _, known := f.sockets[netns]; !known && len(f.sockets) >= maxSockets {
		clear(f.sockets)
	}
	f.sockets[netns] = stateChange{from, to, at}
}

// saw notes what a packet's own header proves: dir is the packet's, so it acknowledges the other way.
func (f *flow) saw(p *event.Packet, dir int) {
	if p.Inner.Protocol != protoTCP || !p.HasPorts {
		return
	}
	if p.TCPFlags&(event.SYN|event.ACK) == event.SYN {
		again := f.begun && f.syn == p.Seq || f.ways[dir].hasAcked && f.ways[dir].acked == p.Seq+1
		if !again {
			f.ways, f.handshake = [2]way{}, handshake{} // a new connection: what the old one proved is void
		}
		f.begun, f.syn = true, p.Seq
	}
	if p.TCPFlags&event.FIN != 0 {
		f.ways[dir].taken.fin, f.ways[dir].taken.hasFIN = p.Seq, true
	}
	if back := &f.ways[1-dir]; p.TCPFlags&event.ACK != 0 && p.TCPFlags&event.RST == 0 {
		if !back.hasAcked || int32(p.Ack-back.acked) > 0 {
			back.acked, back.hasAcked = p.Ack, true
		}
	}
}

// sawMerged notes a packet that GRO made of several.
func (w *way) sawMerged(p *event.Packet, id uint64) {
	w.merged = slices.DeleteFunc(w.merged, func(m mergedSegment) bool { return m.id == id })
	if len(w.merged) == maxMerged {
		w.merged = slices.Delete(w.merged, 0, 1)
	}
	w.merged = append(w.merged, mergedSegment{p.Seq, uint32(p.Inner.Len), id})
}

// ackedBeyond reports whether the other end has acknowledged at least the first byte (or the SYN, or the
// FIN) of a segment: TCP has processed it, or another copy of it.
func (w way) ackedBeyond(seq uint32) bool {
	const window = 1 << 24 // further apart the two belong to different connections
	return w.hasAcked && w.acked != seq && w.acked-seq < window
}

// mergedInto is the id of the merged packet that contains a segment, 0 if none was seen.
func (w way) mergedInto(id uint64, seq uint32) uint64 {
	for _, m := range w.merged {
		if m.id != id && int32(seq-m.seq) > 0 && seq-m.seq < m.len {
			return m.id
		}
	}
	return 0
}

// answers reports whether an RST is the answer to a packet (RFC 9293, 3.10.7.1): its sequence number is
// what the packet acknowledged, or it acknowledges what the packet carried.
func answers(rst, p *event.Packet) bool {
	if rst.Inner.Src != p.Inner.Dst || rst.Inner.Dst != p.Inner.Src || rst.SrcPort != p.DstPort || rst.DstPort != p.SrcPort {
		return false
	}
	if p.TCPFlags&event.RST != 0 {
		return false
	}
	if p.TCPFlags&event.ACK != 0 {
		return rst.Seq == p.Ack
	}
	carried := rst.Ack - p.Seq
	return rst.TCPFlags&event.ACK != 0 && carried <= uint32(p.Inner.Len)
}
