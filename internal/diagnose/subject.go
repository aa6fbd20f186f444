package diagnose

import (
	"fmt"
	"net/netip"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
	"ipiptrace/internal/site"
	"ipiptrace/tracer/event"
)

// IP protocol numbers.
const (
	protoICMP = 1
	protoIPIP = 4
	protoTCP  = 6
	protoUDP  = 17
	protoGRE  = 47
)

// Subject is a packet at one point of its way, as it was or as it would be: what a check asks the state about. It is
// made from a lost journey, or from what a person asks.
type Subject struct {
	// Packet is as its sender made it, Now as NAT has left it.
	Packet, Now event.Packet
	// Reply: it is an answer of the service.
	Reply bool
	// Outer is the IPIP header that the packet has or had; nil if it never had one. Tunnelled: it still has it.
	Outer     *event.Header
	Tunnelled bool
	// Dev is the device on which it is, or by which it leaves if Leaving.
	Dev     string
	Leaving bool
	// Came is the device by which it came in, if that was seen: in a VRF Dev is the VRF.
	Came string
	// Under is the device by which it came in its outer header, empty if that was not seen.
	Under string
	// Hook is the netfilter hook at which it is, empty if it is at none. Bridged: it is one of the family bridge.
	Hook    string
	Bridged bool
	// Over is the bridge that passes it on, as a frame, from one of its ports to another; empty if none does.
	Over string
	// Rule is the rule that the kernel was seen using for it; Rejected: the kernel answered, Reset: with a TCP reset.
	Rule            *journey.NftRule
	Rejected, Reset bool
	// Netns is where it is, From the namespace in which it last had its outer header; 0 if not known.
	Netns, From uint32
	// Plain is the method by which a director sent it here without an outer header, at PlainNetns; empty if none did.
	Plain      string
	PlainNetns uint32
	// AtHome: IPVS gave it to a real server that is this host itself.
	AtHome bool
	// Forwarding: it is being forwarded. ByIPVS: IPVS is sending it on. Circles: IPVS sent it on where it had come out of a tunnel.
	Forwarding, ByIPVS, Circles bool
	// ByNfTables: a chain of nf_tables dropped it, and none of iptables-legacy.
	ByNfTables bool
	// Astray is the outer header of a reply that left by the tunnel.
	Astray *event.Header
	// Supposed: it would be there, and was not. Tracked is what connection tracking would have made of it, 0 if that is not
	// known.
	Supposed bool
	Tracked  ruleset.CT
	// Invented: nobody has sent it, and its TTL and its length are an example. AnyPort: so is the port of its client.
	Invented, AnyPort bool
	// unsaid: the kernel gave no reason for its end.
	unsaid bool
	// Passed: it was first seen in another network namespace, so that its TTL may be smaller by now.
	Passed bool
	// Segments is the number of segments merged into it, or that it will be cut into.
	Segments int
}

// lostPacket is a packet that was lost, with the sites at which it may have been lost.
type lostPacket struct {
	Subject
	at site.Set
}

// wasLost makes a Subject of a lost journey.
func wasLost(j journey.Journey) lostPacket {
	at := site.Of(endOf(j))
	s := Subject{
		Packet: j.Packet, Now: j.Packet, Reply: j.Direction == journey.Reply, Outer: j.Outer, Astray: j.Astray,
		Rejected: j.Reject != nil, Reset: j.Reject != nil && j.Reject.By == journey.ByRST, Segments: int(j.Packet.Segments),
	}
	if j.Changed != nil {
		s.Now = *j.Changed
	}
	last, ok := j.Last()
	s.Tunnelled, s.Dev, s.Netns = last.Tunnelled || !ok && j.Outer != nil, last.Dev, netnsOf(j)
	if d := j.Drop; d != nil {
		s.Tunnelled = s.Tunnelled || d.Tunnelled
		s.Hook, s.Bridged, s.Rule = d.NfHook, d.Bridged, d.Rule
		s.unsaid = d.Reason == "" || d.Reason == site.NotSpecified
		if d.Dev != "" {
			s.Dev = d.Dev
		}
		if s.Hook == "" && at.Has(site.QueueVerdict) && last.Place == event.NfHookSlow && last.Verdict == "stolen" {
			s.Hook = last.NfHook // a program had it from there
		}
		s.followSteps(j.Steps, d.Netns)
	}
	s.Forwarding, s.ByIPVS, s.ByNfTables = at.Has(site.Forward), at.Has(site.IPVSOutput), at.Has(site.NfTables)
	s.Leaving = s.Reply || at.Has(site.TCEgress)
	s.AtHome = s.AtHome && !s.ByIPVS
	return lostPacket{s, at}
}

// endOf describes how the kernel freed a journey's packet.
func endOf(j journey.Journey) (e site.End) {
	e.NoReply, e.Astray = j.ReplyLost, j.Astray != nil
	if d := j.Drop; d != nil {
		e.Function, e.Reason, e.Hook, e.Decider = d.Function, d.Reason, d.NfHook, d.Decider
	}
	if r := j.Reject; r != nil {
		e.Answer = site.Answer{Reset: r.By == journey.ByRST, ICMP: r.By == journey.ByICMP, Type: r.Type, Code: r.Code}
	}
	return e
}

// followSteps reads from a journey's steps what its end does not say; the packet was lost in the namespace netns.
func (s *Subject) followSteps(steps []journey.Step, netns uint32) {
	came := false
	s.Passed = len(steps) > 0 && steps[0].Netns != 0 && steps[0].Netns != netns
	for _, x := range steps {
		if x.Tunnelled && x.Netns != 0 {
			s.From = x.Netns
		}
		if x.Place == event.NetifReceiveSkb && x.Netns == netns {
			s.Came = x.Dev
			if x.Tunnelled {
				s.Under = x.Dev
			}
		}
		if x.Place == event.IPVSXmit {
			if plainMethod[x.Method] != "" && x.Netns != netns {
				s.Plain, s.PlainNetns = x.Method, x.Netns
			}
			s.Circles = s.Circles || came && x.Netns == netns
			s.AtHome = !came && x.Netns == netns && s.Outer == nil
		}
		came = came || x.Tunnelled && x.Netns == netns
	}
}

// strayed reports whether the packet left its tunnel in another network namespace than the one in which it entered.
func (s Subject) strayed() bool { return s.From != 0 && !s.Tunnelled && s.Netns != s.From }

func (s Subject) isTCP() bool { return s.Packet.Inner.Protocol == protoTCP }

// isSYN reports whether the packet opens a connection.
func (s Subject) isSYN() bool {
	return s.isTCP() && s.Packet.TCPFlags&(event.SYN|event.ACK) == event.SYN
}

// begins reports whether the packet is a request that needs no existing connection.
func (s Subject) begins() bool { return !s.Reply && (!s.isTCP() || s.isSYN()) }

// proto names the protocol as ss does, empty for one without ports.
func (s Subject) proto() string {
	switch s.Packet.Inner.Protocol {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	}
	return ""
}

// vip is the service's address, client its peer's.
func (s Subject) vip() netip.Addr {
	if s.Reply {
		return s.Packet.Inner.Src
	}
	return s.Packet.Inner.Dst
}

func (s Subject) client() netip.Addr {
	if s.Reply {
		return s.Packet.Inner.Dst
	}
	return s.Packet.Inner.Src
}

func (s Subject) port() uint16 {
	if s.Reply {
		return s.Packet.SrcPort
	}
	return s.Packet.DstPort
}

func (s Subject) clientPort() uint16 {
	if s.Reply {
		return s.Packet.DstPort
	}
	return s.Packet.SrcPort
}

func (s Subject) service() netip.AddrPort { return netip.AddrPortFrom(s.vip(), s.port()) }

// wanted is the socket that a request is for, or that answers: NAT, or IPVS, may have given the request to another one.
func (s Subject) wanted() netip.AddrPort {
	if s.Reply {
		return s.service()
	}
	return s.asked()
}

// onPort names the port of that socket; where it is another than the client's, with what comes there.
func (s Subject) onPort() string {
	if s.redirected() && !s.AtHome {
		return fmt.Sprintf("port %d, to which NAT has given the packet for %s,", s.wanted().Port(), s.service())
	}
	return fmt.Sprintf("port %d", s.wanted().Port())
}

// theAddress names the address of that socket.
func (s Subject) theAddress() string {
	if a := s.wanted().Addr(); a != s.vip() {
		return a.String()
	}
	return "the VIP"
}

// asked is where a request goes after NAT.
func (s Subject) asked() netip.AddrPort { return netip.AddrPortFrom(s.Now.Inner.Dst, s.Now.DstPort) }

// redirected reports whether NAT gave a request another destination.
func (s Subject) redirected() bool { return !s.Reply && s.asked() != s.service() }

// src and dst are the addresses of the header that the kernel looks at.
func (s Subject) src() netip.Addr {
	if s.Tunnelled && s.Outer != nil {
		return s.Outer.Src
	}
	return s.Now.Inner.Src
}

func (s Subject) dst() netip.Addr {
	if s.Tunnelled && s.Outer != nil {
		return s.Outer.Dst
	}
	return s.Now.Inner.Dst
}

// flow is the lookup that the kernel makes for the packet coming in.
func (s Subject) flow() host.Flow {
	f := host.Flow{Src: s.src(), Dst: s.dst(), IIF: s.Dev, Proto: s.Now.Inner.Protocol, Sport: s.Now.SrcPort, Dport: s.Now.DstPort}
	if s.Tunnelled {
		f.Proto = s.outerProto()
		f.Sport, f.Dport = s.outerPorts()
	}
	return f
}

// outerProto is the protocol by which the packet is tunnelled: IPIP, GRE, or UDP.
func (s Subject) outerProto() uint8 {
	if s.Outer == nil {
		return protoIPIP
	}
	return s.Outer.Protocol
}

// outerPorts are those behind the outer header; 0 where it is not UDP's.
func (s Subject) outerPorts() (source, destination uint16) {
	if s.Outer == nil {
		return 0, 0
	}
	return s.Outer.SrcPort, s.Outer.DstPort
}

// answer is the packet that would answer it, on no device yet.
func (s Subject) answer() Subject {
	a := Subject{Packet: s.Packet, Reply: true, Netns: s.Netns, Leaving: true, Supposed: true, Invented: true, AnyPort: s.AnyPort}
	in := &a.Packet.Inner
	in.Src, in.Dst = s.vip(), s.client()
	a.Packet.SrcPort, a.Packet.DstPort = s.port(), s.clientPort()
	switch {
	case s.isTCP():
		a.Packet.TCPFlags = event.SYN | event.ACK
	case in.Protocol == protoICMP && a.Packet.ICMPType == 8:
		a.Packet.ICMPType = 0 // echo reply
	}
	a.Now = a.Packet
	return a
}

// short reports whether the header promises more bytes than there are, or is no IPv4 header.
func (s Subject) short() bool {
	p := s.Packet
	if p.NoInner {
		return true
	}
	if s.Outer != nil && s.Tunnelled {
		return p.Outer != nil && uint32(s.Outer.Len) > p.SkbLen // it may have got its outer header since
	}
	if s.Outer != nil {
		return uint32(p.Inner.Len)+20 > uint32(s.Outer.Len)
	}
	return uint32(p.Inner.Len) > p.SkbLen
}
