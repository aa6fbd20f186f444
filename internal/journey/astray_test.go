package journey

import (
	"net/netip"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// wrapped sends a reply into the tunnel's device, which wraps it for that destination.
func (s *skb) wrapped(places func(*skb), dst netip.Addr) *skb {
	places(s.on("tunl0", nsRealServer))
	h := event.Header{Src: rip, Dst: dst, TTL: 64, Protocol: 4, Len: 80}
	places(s.in(h).on("eth0", nsRealServer))
	return s
}

// TestAnAnswerGoesTheWrongWay asks for the request with id 1: whether the answer to it, with id 9, was lost in the tunnel.
func TestAnAnswerGoesTheWrongWay(t *testing.T) {
	vpn := netip.MustParseAddr("192.0.2.1")
	tiers := map[string]struct {
		run event.Run
		// comes brings a SYN or a datagram to its socket, taken ends it, sends shows a reply on its way out.
		comes, taken, sends func(*skb)
	}{
		"everywhere": {
			everywhere(),
			func(s *skb) {
				if s.tunnelled(); s.packet.Inner.Protocol == protoTCP {
					s.at(event.TCPRcv, event.TCPDoRcv, event.TCPConnRequest)
				}
			},
			func(s *skb) {
				if s.packet.Inner.Protocol == protoTCP {
					s.returns(event.TCPConnRequest, 1).returns(event.TCPDoRcv, 0)
				} else {
					s.at(event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
				}
			},
			func(s *skb) { s.at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit) },
		},
		"tracepoints": {
			tracepointTier(),
			func(s *skb) { s.traced() },
			func(s *skb) { s.consumed("") },
			func(s *skb) { s.at(event.NetDevQueue, event.NetDevStartXmit) },
		},
	}
	for what, test := range map[string]struct {
		answer func(s *skb, sends func(*skb))
		astray bool
	}{
		"into the tunnel, to the client":  {func(s *skb, sends func(*skb)) { s.wrapped(sends, client) }, true},
		"into the tunnel, to another end": {func(s *skb, sends func(*skb)) { s.wrapped(sends, vpn) }, false},
		"by the uplink":                   {func(s *skb, sends func(*skb)) { sends(s.on("eth0", nsRealServer)) }, false},
		"into the tunnel, which drops it": {func(s *skb, sends func(*skb)) {
			sends(s.on("tunl0", nsRealServer))
			s.kfree("ip_tunnel_xmit", "NOT_SPECIFIED")
		}, false},
		"into the tunnel, and never out": {func(s *skb, sends func(*skb)) { sends(s.on("tunl0", nsRealServer)) }, false},
		"dropped before it comes to device": {func(s *skb, _ func(*skb)) {
			s.on("", nsRealServer).at(event.IPLocalOut).kfree("nf_hook_slow", "NETFILTER_DROP")
		}, false},
	} {
		for tier, ways := range tiers {
			t.Run(what+", SYN, "+tier, func(t *testing.T) {
				k := newKernel()
				s := k.packet(1, syn())
				ways.comes(s)
				test.answer(k.packet(9, reply(event.SYN|event.ACK, 5000, 1001, 60)), ways.sends)
				ways.taken(s)
				astray(t, k, ways.run, test.astray)
			})
			t.Run(what+", datagram, "+tier, func(t *testing.T) {
				k := newKernel()
				s := k.packet(1, datagramTo(80, 7))
				ways.comes(s)
				ways.taken(s)
				test.answer(k.packet(9, answerOf(datagramTo(80, 7))), ways.sends)
				astray(t, k, ways.run, test.astray)
			})
		}
		t.Run(what+", before the queue's function returns", func(t *testing.T) {
			k := newKernel()
			s := k.packet(1, datagramTo(80, 7)).tunnelled().at(event.UDPQueueRcv)
			test.answer(k.packet(9, answerOf(datagramTo(80, 7))), tiers["everywhere"].sends)
			s.returns(event.UDPQueueRcv, 0)
			astray(t, k, everywhere(), test.astray)
		})
	}
}

// astray checks what became of the journey with id 1.
func astray(t *testing.T, k *kernel, run event.Run, want bool) {
	t.Helper()
	k.silence(8 * time.Second)
	for _, j := range k.assemble(t, run) {
		if j.ID != 1 {
			continue
		}
		if j.Fate != Delivered || j.ReplyLost != want || (j.Astray != nil) != want || j.Gaps != 0 {
			t.Errorf("%s, reply lost %v, astray %v, gaps %d; want reply lost %v", j.Fate, j.ReplyLost, j.Astray, j.Gaps, want)
		}
		if want && j.Astray.Dst != client {
			t.Errorf("astray to %s, want the client", j.Astray.Dst)
		}
		return
	}
	t.Error("no journey of the request")
}

// TestTheClientGetsAnAnswerInsideIPIP: it is astray where only the client is watched, too.
func TestTheClientGetsAnAnswerInsideIPIP(t *testing.T) {
	k := newKernel()
	s := k.packet(9, reply(event.SYN|event.ACK, 5000, 1001, 60)).in(event.Header{Src: rip, Dst: client, TTL: 64, Protocol: 4, Len: 80})
	s.on("eth0", nsClient).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver, event.Tunnel4Rcv).icmpSend(3, 3)
	s.kfree("tunnel4_rcv", "NOT_SPECIFIED")
	if j := k.one(t, everywhere()); j.Fate != Rejected || j.Astray == nil {
		t.Errorf("%s, astray %v", j.Fate, j.Astray)
	}
}

// TestAnAnswerEndsItsDatagramOnce: at the end of the run each of them is open, the answer first.
func TestAnAnswerEndsItsDatagramOnce(t *testing.T) {
	k := newKernel()
	s := k.packet(1, datagramTo(80, 7)).tunnelled().at(event.UDPQueueRcv)
	k.packet(9, answerOf(datagramTo(80, 7))).on("", nsRealServer).at(event.IPLocalOut)
	s.returns(event.UDPQueueRcv, 0)
	if js := k.assemble(t, everywhere()); len(js) != 2 {
		t.Errorf("%d journeys, want 2", len(js))
	}
}
