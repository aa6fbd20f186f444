// Package journey says what belongs together: it turns the sightings of a kernel into journeys, one per
// packet, and decides the fate of each.
//
// It is pure: no clock (time moves with the events), no input or output, no state outside an Assembler.
// Its first rule is that a wrong verdict is worse than none: what was not seen is unknown, and a kernel's
// ordinary freeing of a packet that did its work is never a loss.
package journey

import (
	"time"

	"ipiptrace/tracer/event"
)

// Fate is how a journey ended. The strings are part of the JSON contract.
type Fate string

// The fates. Arrived are Delivered, Forwarded and Consumed; lost are Dropped, Rejected and Vanished.
const (
	// Delivered: taken by a socket, or by icmp_rcv; duplicates and TIME_WAIT included.
	Delivered Fate = "delivered"
	// Forwarded: a device's driver took it.
	Forwarded Fate = "forwarded"
	// Consumed: merged into another packet, or cut into several; Became names the other one if it is known.
	Consumed Fate = "consumed"
	// Dropped: the kernel freed it; Drop says where.
	Dropped Fate = "dropped"
	// Rejected: freed, and the kernel chose to answer; Reject and Drop say how and where.
	Rejected Fate = "rejected"
	// Vanished: silent for Options.Patience, at a point where every way on would have been seen.
	Vanished Fate = "vanished"
	// Open: still on its way when the events ended.
	Open Fate = "open"
	// Unknown: part of the journey was not seen (Gaps > 0), and its end with it.
	Unknown Fate = "unknown"
)

// Direction says whether a packet goes to the VIP or comes from it.
type Direction string

// The directions.
const (
	Request Direction = "request"
	Reply   Direction = "reply"
)

// Role is the part of the host, or of the network namespace, in which a journey ended.
type Role string

// The roles.
const (
	// Auto, in Options: the role is told from what the packet does.
	Auto       Role = "auto"
	RealServer Role = "real-server"
	Director   Role = "director"
	Client     Role = "client"
)

// Journey is one packet from its first to its last sighting in this kernel: across namespaces, clones,
// decapsulation and encapsulation.
type Journey struct {
	// ID is the hash of the inner header; with Start it is unique in a run.
	ID uint64
	// Start is the wall clock at the first sighting.
	Start time.Time
	// Took is the time from the first to the last sighting, the end included if it was seen.
	Took      time.Duration
	Role      Role
	Direction Direction
	// Outer is the IPIP header around the packet, the last one if there were several; nil if there was none.
	Outer *event.Header
	// Packet is what the packet looked like at its first sight.
	Packet event.Packet
	// Changed is what it looked like when it was last looked at, if NAT had changed an end of it by then; nil if not.
	Changed *event.Packet
	// Steps are the sightings in order of time. The end (freed, left) is not a step.
	Steps []Step
	// Events is the number of its sightings, also of those that are no step.
	Events uint64
	// More is the number of sightings that were left out behind Steps: a packet that loops is seen without end.
	More int
	Fate Fate
	// Drop is there with Dropped and, if the freeing was seen, with Rejected.
	Drop *Drop
	// Reject is there with Rejected.
	Reject *Reject
	// Duplicate: delivered, but the socket had its bytes already.
	Duplicate bool
	// Became is the ID of the packet that this one was merged into, 0 if there is none or it is not known.
	Became uint64
	// Segments is the number of segments that GRO merged into this packet; 0 for an ordinary one.
	Segments int
	// Related is the ID of the last delivered request of the flow, on replies; 0 if not known.
	Related uint64
	// Gaps counts the times that something was not seen while the packet was on its way:
	// events lost, its beginning lost, or the deciding place not watched.
	Gaps int
	// ReplyLost: delivered, but no reply packet could come into being for it, as a datagram's answer that finds no
	// route fails in the system call; or, if Astray, the reply left by the tunnel.
	ReplyLost bool
	// Astray is the outer header around a reply that left by the tunnel: it is addressed to the client itself, which
	// takes no such packet. On a reply it is its own, on a request that of the reply to it; nil if there was none.
	Astray *event.Header
	// Notices are what is not a loss here but will look like one elsewhere. Whoever explains may add some.
	Notices []Notice
}

// Step is one sighting.
type Step struct {
	// T is the time since the journey's start.
	T     time.Duration
	Place event.Place
	// Dev and Netns are where the packet was, the last known if the place doesn't say.
	Dev   string
	Netns uint32
	// Tunnelled: the packet had its outer header at this step.
	Tunnelled bool
	// NfHook is set at NfHookSlow: "input".
	NfHook string
	// Verdict is what the place decided, where one word says it: "accept", "drop" and "stolen" of a hook and of
	// IPVS, "destination" or "no-destination" of its scheduler, "answered" or "refused" of a listener.
	Verdict string
	// Method is set at IPVSXmit: nat, local, tunnel, direct or bypass.
	Method string
	// Returned: Value is what the function at Place returned.
	Returned bool
	Value    int32
}

// Drop is where the kernel freed a packet.
type Drop struct {
	event.Drop
	// Dev and Netns are where the packet was last, the kernel having forgotten it in TCP.
	Dev   string
	Netns uint32
	// Tunnelled: it had an outer header by then; a director may have given it that since the last step.
	Tunnelled bool
	// NfHook is the netfilter hook that decided, empty if it was not netfilter. Bridged: it is one of the family bridge.
	NfHook  string
	Bridged bool
	// Decider is who decided, if the function that freed is not it and that was seen: in a hook "ip_vs_in"; in TCP,
	// where the kernel gives no reason, "tcp_paws_discard" or "tcp_sequence".
	Decider string
	// Rule is the rule of nftables that was seen dropping the packet; nil if that was not seen.
	Rule *NftRule
}

// NftRule is a rule as the kernel knows it: by its number in its table, and by the rule behind it.
type NftRule struct {
	Handle uint64
	// Next is the handle of the rule behind it in its chain, 0 if it is the last; valid with NextKnown.
	Next      uint64
	NextKnown bool
}

// Reject is the answer that the kernel chose to give to a packet that it freed.
type Reject struct {
	// By is "rst" or "icmp"; Type and Code are valid with "icmp" (RFC 792).
	By         string
	Type, Code uint8
	// Sent: the answer was seen in a device's queue (an RST: seen on its way there). Rate limiting keeps some back, rules others.
	Sent bool
}

// The answers of Reject.By.
const (
	ByRST  = "rst"
	ByICMP = "icmp"
)

// Notice is something that is no loss here.
type Notice struct {
	Code, Summary string
}

// Arrived reports whether the packet got where it should.
func (j Journey) Arrived() bool {
	switch j.Fate {
	case Delivered:
		return !j.ReplyLost
	case Forwarded, Consumed:
		return true
	}
	return false
}

// Lost reports whether the packet, or the reply to it, was lost. A journey that is Open or Unknown
// neither arrived nor is it lost.
func (j Journey) Lost() bool {
	switch j.Fate {
	case Dropped, Rejected, Vanished:
		return true
	case Delivered:
		return j.ReplyLost
	}
	return false
}

// Last is the last step; ok is false if there is none.
func (j Journey) Last() (s Step, ok bool) {
	if len(j.Steps) == 0 {
		return Step{}, false
	}
	return j.Steps[len(j.Steps)-1], true
}
