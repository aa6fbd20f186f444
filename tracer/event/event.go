// Package event is the vocabulary of what the kernel half sees: one sighting of one packet at one
// place, and what was not seen. It knows nothing of how events come about, and nothing of journeys.
package event

import (
	"encoding/json"
	"iter"
	"net/netip"
	"time"
)

// Stream yields events in the order in which the kernel wrote them. Live and replayed streams are the
// same to whoever reads them. An error ends the stream.
type Stream = iter.Seq2[Event, error]

// Kind says what an Event tells.
type Kind uint8

const (
	// Sighting is one packet at one place; or, with FlowOnly, a socket's change of state or a route that was not found.
	Sighting Kind = iota
	// Tick says that nothing else happened up to Time. Time moves only with events.
	Tick
	// Lost says that something was not seen since the last Lost: Count events found the ring full, or, if Count
	// is 0, the kernel did not run a probe. What packets it was about is not known.
	Lost
	// End is the last event of a run but for States; Totals is there.
	End
	// State is the machine's state in Netns at Time, read because a packet was lost there; Host is there.
	State
	// Watch says that other places are watched from now on, since a module came or went; Probes is there.
	Watch
)

// Event is one thing that happened in the kernel.
type Event struct {
	Kind Kind
	// Time is CLOCK_MONOTONIC. CPUs share a ring, not a clock: times of neighbours may be slightly out of order.
	Time time.Duration

	Place Place
	// First is set on the first sight of a packet; Packet is there then.
	First bool
	// Reused: First, and the address belonged until now to another packet, whose end was silent.
	Reused bool
	// Returned: the function has returned, Value is what it returned.
	Returned bool

	// Skb and Seen together are the packet's identity in this kernel: the address of its sk_buff and the time of first sight.
	Skb  uint64
	Seen time.Duration
	// ID is the hash of the inner header: the same wherever the packet is seen, also in another sk_buff.
	ID uint64
	// Peer is the sk_buff that this one was merged into (GroMerged), 0 if not known; the one that the packet was in before
	// (Cloned); the rule's handle (NftRule, NftResult).
	Peer uint64

	Netns   uint32
	Ifindex uint32
	CPU     uint32
	// Value and Aux mean what enum place in bpf/event.h says of the place.
	Value int32
	Aux   uint32

	// Packet is there on first sight and when the device or the outer header changed.
	Packet *Packet
	// Drop is there with KfreeSkb, and with ConsumeSkb of a fragment, or of what a tap may have, if the kernel says where.
	Drop *Drop

	// Count is the number of events lost, with Kind Lost.
	Count uint64
	// Totals are what the kernel half counted, with Kind End.
	Totals *Totals
	// Host is a snapshot of the machine's state (internal/host) as JSON, with Kind State.
	Host json.RawMessage
	// Probes are the places and how each is watched, in the place of [Run]'s, with Kind Watch.
	Probes []Probe
}

// Header is an IPv4 header.
type Header struct {
	Src, Dst netip.Addr
	TTL      uint8
	Protocol uint8
	ID       uint16
	// Len is the total length in bytes.
	Len uint16
	// Frag is the fragment offset in units of 8 bytes, with the flags in the upper 3 bits (RFC 791).
	Frag uint16
	// SrcPort and DstPort are those of UDP behind a tunnel's header, GUE's or FOU's; 0 of all else, and in recordings of when
	// only DefaultGUEPort was followed.
	SrcPort, DstPort uint16
	// FOU: what is tunnelled follows UDP at once, without a header of GUE. GUE of version 1 looks alike.
	FOU bool
}

// DefaultGUEPort is GUE's port at IANA.
const DefaultGUEPort = 6080

// Packet is what a packet looked like at an Event.
type Packet struct {
	Dev string
	// Outer is the header around Inner, IPIP's, GRE's, or GUE's or FOU's (then it is UDP), or, with Quoted, the ICMP error's own; nil for a plain packet.
	Outer *Header
	Inner Header
	// Quoted: the packet is an ICMP error about Inner, with ICMPType and ICMPCode.
	Quoted bool
	// FlowOnly: there is no packet (InetSockSetState, IPRouteOutput): only Inner's addresses and protocol and the ports are valid.
	FlowOnly bool

	// Options: Inner has IP options.
	Options bool
	// NoInner: what Outer carried is no IPv4 packet; only Outer is valid, which may have been taken off already.
	NoInner bool

	// SrcPort and DstPort are valid if HasPorts: TCP or UDP, not a later fragment.
	HasPorts         bool
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	TCPFlags         TCPFlags
	ICMPType         uint8
	ICMPCode         uint8
	// UDPLen is the length field of the UDP header.
	UDPLen uint16
	// Segments is gso_segs: more than 1 in a packet merged by GRO or not yet cut by GSO.
	Segments uint16
	// SkbLen is skb->len at the place: what the kernel still held of the packet.
	SkbLen uint32
}

// Drop is where the kernel freed a packet, symbolised.
type Drop struct {
	// Function contains the address that the kernel reported, without compiler suffixes.
	Function string
	// Symbol is Function with suffixes and offset: ip_rcv_finish_core.constprop.0+0x1f4.
	Symbol string
	// Reason is the kernel's name without SKB_DROP_REASON_, from the running kernel; empty where it has none.
	Reason string
	// Stack is the kernel stack, innermost first, in the form of Symbol.
	Stack []string
}

// TCPFlags are the flag bits of a TCP header (RFC 9293), FIN in bit 0.
type TCPFlags uint8

// The bits.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// String has one letter a flag: "S", "SA", "PA", "FA".
func (f TCPFlags) String() string {
	var b []byte
	for i, letter := range []byte("FSRPAUEC") {
		if f&(1<<i) != 0 {
			b = append(b, letter)
		}
	}
	return string(b)
}
