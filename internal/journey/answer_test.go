package journey

import (
	"net/netip"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// icmpLeaves sends an ICMP error about a packet.
func (s *skb) icmpLeaves(icmp, code uint8) {
	q := s.packet
	q.Quoted, q.ICMPType, q.ICMPCode = true, icmp, code
	s.k.packet(s.id, q).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit, event.ConsumeSkb)
}

// TestAnAnswerThatIsKeptBackIsStillAChoice asks for the journey with id 1. The tracepoint icmp_send is silent
// when the rate limit keeps an answer back: that the kernel wanted to answer follows from where it frees.
func TestAnAnswerThatIsKeptBackIsStillAChoice(t *testing.T) {
	const portUnreachable = 3
	arrives := func(k *kernel, id uint64, p event.Packet) *skb {
		return k.packet(id, p).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	}
	// noWay is a packet that ip_error answers, and after a while another one that it does not.
	noWay := func(reason string, later time.Duration) func(*kernel) {
		return func(k *kernel) {
			s := k.packet(2, syn()).tunnelled()
			s.icmpLeaves(3, 1)
			s.kfree("ip_error", reason)
			k.silence(later)
			k.packet(1, syn()).tunnelled().kfree("ip_error", reason)
		}
	}
	hopless := func() event.Packet {
		p := syn()
		p.Inner.TTL = 1
		return p
	}
	for what, test := range map[string]struct {
		does func(k *kernel)
		want *Reject
	}{
		"no socket for a datagram": {func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).traced().kfree("__udp4_lib_rcv", "NO_SOCKET")
		}, &Reject{By: ByICMP, Type: 3, Code: portUnreachable}},
		"the same on 7.x": {func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).traced().kfree("udp_rcv", "NO_SOCKET")
		}, &Reject{By: ByICMP, Type: 3, Code: portUnreachable}},
		"and if it is not kept back, it is sent": {func(k *kernel) {
			s := k.packet(1, datagramTo(53, 9)).traced()
			s.icmpLeaves(3, portUnreachable)
			s.kfree("__udp4_lib_rcv", "NO_SOCKET")
		}, &Reject{By: ByICMP, Type: 3, Code: portUnreachable, Sent: true}},
		"without a reason it is not known why": {func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).traced().kfree("__udp4_lib_rcv", "")
		}, nil},
		"a bad checksum is not answered": {func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).traced().kfree("__udp4_lib_rcv", "UDP_CSUM")
		}, nil},
		"no tunnel": {func(k *kernel) { arrives(k, 1, syn()).kfree("tunnel4_rcv", "NOT_SPECIFIED") }, &Reject{By: ByICMP, Type: 3, Code: portUnreachable}},
		"no tunnel, on a kernel without reasons": {func(k *kernel) {
			arrives(k, 1, syn()).kfree("tunnel4_rcv", "")
		}, &Reject{By: ByICMP, Type: 3, Code: portUnreachable}},
		"no protocol, and nothing like it was ever answered: IPsec may be the reason": {func(k *kernel) {
			arrives(k, 1, syn()).kfree("ip_local_deliver_finish", "IP_NOPROTO")
		}, nil},
		"no protocol, and the one before it was answered": {func(k *kernel) {
			s := arrives(k, 2, syn())
			s.icmpLeaves(3, 2)
			s.kfree("ip_local_deliver_finish", "IP_NOPROTO")
			k.silence(time.Second)
			arrives(k, 1, syn()).kfree("ip_local_deliver_finish", "IP_NOPROTO")
		}, &Reject{By: ByICMP, Type: 3, Code: 2}},
		"a closed port, and no RST is seen: IPsec may be the reason": {func(k *kernel) {
			k.packet(1, syn()).traced().kfree("tcp_v4_rcv", "NO_SOCKET")
		}, nil},
		"no hops left": {func(k *kernel) {
			k.packet(1, hopless()).on("eth0", nsRealServer).at(event.NetifReceiveSkb).kfree("ip_forward", "IP_INHDR")
		}, &Reject{By: ByICMP, Type: 11, Code: 0}},
		"no route": {func(k *kernel) { k.packet(1, syn()).tunnelled().kfree("ip_error", "IP_INNOROUTES") }, &Reject{By: ByICMP, Type: 3, Code: 0}},
		"no address, and forwarding is off": {func(k *kernel) {
			k.packet(1, syn()).tunnelled().kfree("ip_error", "IP_INADDRERRORS")
		}, nil},
		"a blackhole, or an unreachable route, and nothing like it was ever answered": {func(k *kernel) {
			k.packet(1, syn()).tunnelled().kfree("ip_error", "NOT_SPECIFIED")
		}, nil},
		"an unreachable route, and the one before it was answered": {noWay("NOT_SPECIFIED", time.Second), &Reject{By: ByICMP, Type: 3, Code: 1}},
		"the same, long after: it may be a blackhole now":          {noWay("NOT_SPECIFIED", 5*time.Second), nil},
		"the same without reasons: forwarding may be off now":      {noWay("", time.Second), nil},
		"the rest of the datagram did not come": {func(k *kernel) {
			p := syn()
			outer := ipip()
			outer.Frag = 0x2000
			s := k.packet(1, p).in(outer).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
			k.silence(20 * time.Second)
			s.icmpSend(11, 1)
			s.icmpLeaves(11, 1)
			s.kfree("ip_expire", "FRAG_REASM_TIMEOUT")
		}, &Reject{By: ByICMP, Type: 11, Code: 1, Sent: true}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			k.silence(time.Second)
			j := withID(t, k.assemble(t, tracepointTier()), 1)
			switch {
			case test.want == nil && (j.Fate != Dropped || j.Reject != nil):
				t.Errorf("%s %+v, want dropped", j.Fate, j.Reject)
			case test.want != nil && (j.Fate != Rejected || *j.Reject != *test.want || j.Drop == nil):
				t.Errorf("%s %+v, want %+v", j.Fate, j.Reject, *test.want)
			}
		})
	}
}

// TestAnAnswerIsSentOnceADeviceHasIt asks of an ICMP error of which the kernel half sees ip_local_out: the output hook, and
// the neighbour, are behind that. The error itself is not followed.
func TestAnAnswerIsSentOnceADeviceHasIt(t *testing.T) {
	for what, test := range map[string]struct {
		places []event.Place
		dst    netip.Addr
		sent   bool
	}{
		"the output hook drops it":               {places: []event.Place{event.IPLocalOut}, dst: dip},
		"a device has it in its queue":           {places: []event.Place{event.IPLocalOut, event.NetDevQueue}, dst: dip, sent: true},
		"its making is not to be seen here":      {places: []event.Place{event.NetDevQueue}, dst: dip, sent: true},
		"it is for this host, and does not come": {places: []event.Place{event.IPLocalOut}, dst: rip},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			s := k.packet(1, datagramTo(53, 9)).tunnelled().icmpSend(3, 3)
			q := s.packet
			q.Quoted, q.ICMPType, q.ICMPCode, q.Outer = true, 3, 3, &event.Header{Src: rip, Dst: test.dst, Protocol: protoICMP}
			for _, p := range test.places { // the kernel half knows none of them again
				k.packet(1, q).on("eth0", nsRealServer).at(p)
			}
			s.kfree("__udp4_lib_rcv", "NO_SOCKET")
			k.silence(time.Second)
			j := withID(t, k.assemble(t, everywhere()), 1)
			if want := (Reject{By: ByICMP, Type: 3, Code: 3, Sent: test.sent}); j.Fate != Rejected || *j.Reject != want {
				t.Errorf("%s %+v, want %+v", j.Fate, j.Reject, want)
			}
		})
	}
}
