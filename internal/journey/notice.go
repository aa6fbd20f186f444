package journey

import (
	"fmt"
	"net/netip"
	"time"

	"ipiptrace/tracer/event"
)

// The codes of notices (contract).
const (
	ReplyUnanswered = "reply-unanswered"
	VIPARPConflict  = "vip-arp-conflict"
	IPVSWrongMethod = "ipvs-wrong-method"
	VIPMissing      = "vip-missing"
	IPVSLoop        = "ipvs-loop"
	ModeMismatch    = "tunnel-mode-mismatch"
)

// SYN/ACKs count as unanswered once three have left, the first one nearly three seconds ago: Linux sends the second and third one
// 1 s and 3 s after the first (tcp_synack_retries), which may have left, or been seen, a little late.
const (
	unansweredCount = 3
	unansweredAfter = 2500 * time.Millisecond
)

// handshake are the SYN/ACKs of one connection, and whether somebody has answered them.
type handshake struct {
	seq uint32
	// last is when the last one began.
	last time.Duration
	// left is how many have left this kernel, first when the first one did.
	left     int
	first    time.Duration
	answered bool
	// losses is how many losses the Assembler had seen at the first one: an answer may be among them.
	losses int
}

// saw notes what a packet means for the handshake. Whatever comes but another SYN is an answer.
func (h *handshake) saw(f *flight, losses int) {
	switch synack := f.has(event.SYN) && f.has(event.ACK); {
	case f.reply && synack:
		if h.last == 0 || h.seq != f.packet.Seq {
			*h = handshake{seq: f.packet.Seq, losses: losses}
		}
		h.last = f.first
	case !f.reply && !f.isSYN():
		h.answered = true
	}
}

// tunnelTo is a network namespace and a VIP whose packets arrive there in IPIP and are decapsulated.
type tunnelTo struct {
	netns uint32
	vip   netip.Addr
}

// exit is a device in a network namespace, by which packets that came in IPIP leave their tunnel.
type exit struct {
	netns uint32
	dev   string
}

// exit is where the packet left its tunnel; ok is false if that was not seen.
func (f *flight) exit() (x exit, ok bool) {
	for i, s := range f.steps {
		if i > 0 && f.steps[i-1].Tunnelled && !s.Tunnelled {
			return exit{s.Netns, s.Dev}, s.Dev != "" && s.Dev != f.steps[i-1].Dev
		}
	}
	return x, false
}

// notices are what a journey that has ended tells beyond its own fate.
func (a *Assembler) notices(f *flight) []Notice {
	var ns []Notice
	if n, ok := a.replyUnanswered(f); ok {
		ns = append(ns, n)
	}
	if n, ok := a.arpConflict(f); ok {
		ns = append(ns, n)
	}
	if n, ok := f.wrongMethod(); ok {
		ns = append(ns, n)
	}
	if n, ok := f.sentOn(); ok {
		ns = append(ns, n)
	}
	if n, ok := a.takenTunnelled(f); ok {
		ns = append(ns, n)
	}
	return ns
}

// gone notes a SYN/ACK that has left this kernel.
func (h *handshake) gone(f *flight) {
	if !f.reply || f.fate != Forwarded || !f.has(event.SYN) || !f.has(event.ACK) || h.seq != f.packet.Seq {
		return
	}
	if h.left++; h.left == 1 {
		h.first = f.last
	}
}

// replyUnanswered goes with a SYN/ACK that has left this kernel after others that nobody answered. Of one that is
// astray it is known where it gets lost.
func (a *Assembler) replyUnanswered(f *flight) (Notice, bool) {
	if !f.reply || f.astray != nil || f.fate != Forwarded || f.flow == nil || !f.has(event.SYN) || !f.has(event.ACK) {
		return Notice{}, false
	}
	h := f.flow.handshake
	since := a.now - h.first
	if h.answered || h.seq != f.packet.Seq || h.left < unansweredCount || since < unansweredAfter || a.losses > h.losses || a.gaps(f) > 0 {
		return Notice{}, false
	}
	p := f.packet
	return Notice{ReplyUnanswered, fmt.Sprintf("%d SYN/ACKs to %s have left in %d s and nothing came back: they, or the answers, get lost outside this host",
		h.left, netip.AddrPortFrom(p.Inner.Dst, p.DstPort), int(since.Seconds()))}, true
}

// arrivedTunnelled notes that packets for a VIP come in IPIP to where the packet was decapsulated.
func (a *Assembler) arrivedTunnelled(f *flight) {
	if f.decapped && f.cameIPIP && !f.reply && f.netns != 0 {
		a.tunnels.put(tunnelTo{f.netns, f.packet.Inner.Dst}, struct{}{})
		if x, ok := f.exit(); ok {
			a.exits.put(x, struct{}{})
		}
	}
}

// answeredBehind notes that the flow's answers come to this host, from a container or a virtual machine that has the VIP.
func (f *flight) answeredBehind() {
	if f.flow != nil && f.reply && f.arrived && !f.cameIPIP && !f.decapped && f.netns != 0 && !f.local() {
		f.flow.behind = f.netns
	}
}

// arpConflict goes with a packet for the VIP that came to a real server without its director: its sender believes
// that the real server owns the VIP.
func (a *Assembler) arpConflict(f *flight) (Notice, bool) {
	if f.reply || f.fate != Delivered && f.fate != Dropped && f.fate != Rejected || !f.arrived || f.leaving != staying {
		return Notice{}, false
	}
	known, _ := a.roles.get(f.netns)
	if f.cameIPIP || f.decapped || f.encapped || f.tunnelled || f.balanced || f.director != (director{}) || f.given != (key{}) || known != RealServer || f.local() {
		return Notice{}, false
	}
	if f.freed != nil && f.freed.Function == "ip_rcv_core" {
		return Notice{}, false // for another host, or damaged
	}
	if len(f.steps) > 0 {
		// Put together of segments that had been put together of fragments, it is first seen behind the tunnel.
		if _, exits := a.exits.get(exit{f.steps[0].Netns, f.steps[0].Dev}); exits {
			return Notice{}, false
		}
	}
	if _, tunnelled := a.tunnels.get(tunnelTo{f.netns, f.packet.Inner.Dst}); !tunnelled {
		return Notice{}, false
	}
	return Notice{VIPARPConflict, fmt.Sprintf("a packet for %s came to this real server without IPIP: somebody resolves the VIP to this host (arp_ignore, arp_announce), or the director does not use the method Tunnel",
		f.packet.Inner.Dst)}, true
}

// otherMethods are those of IPVS that send a request to another host without an outer header, as ipvsadm names them.
var otherMethods = map[event.Method]string{event.MethodNAT: "Masq", event.MethodDirect: "Route"}

// wrongMethod goes with a request that a director sent on as no tunnel does.
func (f *flight) wrongMethod() (Notice, bool) {
	method, other := otherMethods[f.director.method]
	if !other || !f.director.sent() || f.reply || f.fate != Forwarded {
		return Notice{}, false
	}
	return Notice{IPVSWrongMethod, fmt.Sprintf("IPVS sent the packet without IPIP (ipvsadm -Ln: %s, not Tunnel): to a real server behind a tunnel it does not come as it should", method)}, true
}

// sentOn goes with a request that came to this host in IPIP and left it again. A real server keeps it, or has it answered by
// somebody behind it.
func (f *flight) sentOn() (Notice, bool) {
	vip := f.packet.Inner.Dst
	switch {
	case f.reply || f.fate != Forwarded || !f.cameIPIP || !f.decapped:
		return Notice{}, false
	case f.director.sent():
		return Notice{IPVSLoop, fmt.Sprintf("a packet for %s came to this host in IPIP, and its own IPVS sent it on: a real server with the same service takes nothing itself", vip)}, true
	case f.changed == nil && (f.flow == nil || f.flow.behind != f.netns):
		return Notice{VIPMissing, fmt.Sprintf("a packet for %s came to this host in IPIP and was forwarded: the VIP is no address of this host", vip)}, true
	}
	return Notice{}, false
}

// takenTunnelled goes with a packet that a program has taken in its outer header, as a datagram: the kernel unpacks nothing
// behind a port that a program has.
func (a *Assembler) takenTunnelled(f *flight) (Notice, bool) {
	if f.fate != Delivered || !f.tunnelled || f.outer == nil || f.outer.Protocol != protoUDP || f.outer.DstPort == 0 || a.gaps(f) > 0 {
		return Notice{}, false
	}
	return Notice{ModeMismatch, fmt.Sprintf("a program has UDP port %d, to which %s sends, and took the packet as it came: unless it unpacks GUE or FOU itself, the service never gets it",
		f.outer.DstPort, f.outer.Src)}, true
}

// local reports whether a packet was sent in the network namespace in which it arrived.
func (f *flight) local() bool {
	for _, s := range f.steps {
		if s.Netns == f.netns && (s.Dev == "lo" || s.Place == event.IPLocalOut) {
			return true
		}
	}
	return false
}
