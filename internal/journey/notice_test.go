package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// synacks sends the same SYN/ACK several times, and lets time pass after each.
func synacks(k *kernel, waits ...time.Duration) {
	for i, wait := range waits {
		p := reply(event.SYN|event.ACK, 5000, 1001, 60)
		p.Inner.ID = uint16(i)
		k.packet(uint64(10+i), p).sends(nsRealServer)
		k.silence(wait)
	}
}

func noticesOf(js []Journey, code string) (n int) {
	for _, j := range js {
		for _, notice := range j.Notices {
			if notice.Code == code {
				n++
			}
		}
	}
	return n
}

func TestSYNACKsThatNobodyAnswersAreNoticed(t *testing.T) {
	for what, test := range map[string]struct {
		does func(k *kernel)
		want int
	}{
		"a firewall here has dropped the others": {does: func(k *kernel) {
			for i := range 3 {
				p := synack()
				p.Inner.ID = uint16(100 + i)
				k.packet(uint64(30+i), p).on("", nsRealServer).at(event.IPLocalOut).kfree("nft_do_chain", "NETFILTER_DROP")
				k.silence(time.Second)
			}
			synacks(k, time.Second)
		}},
		"the third one after 3 s": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
			synacks(k, time.Second, 2*time.Second, time.Second)
		}, want: 1},
		"they leave by the tunnel, which says why nobody answers": {does: func(k *kernel) {
			for i := range 3 {
				p := synack()
				p.Inner.ID = uint16(100 + i)
				s := k.packet(uint64(30+i), p)
				s.wrapped(func(s *skb) { s.at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit) }, client)
				k.silence(2 * time.Second)
			}
		}},
		"the run ends before": {does: func(k *kernel) { synacks(k, time.Second, time.Second) }},
		"three in an instant are a burst": {does: func(k *kernel) {
			synacks(k, 10*time.Millisecond, 10*time.Millisecond, time.Second)
		}},
		"the client has answered": {does: func(k *kernel) {
			synacks(k, time.Second)
			k.packet(2, request(event.ACK, 1001, 5001, 52)).tunnelled().kfree("nft_do_chain", "NETFILTER_DROP")
			synacks(k, 2*time.Second, time.Second, time.Second)
		}},
		"the client asks again: no answer": {does: func(k *kernel) {
			synacks(k, time.Second)
			k.packet(2, syn()).tunnelled().at(event.TCPRcv).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
			synacks(k, 2*time.Second, time.Second)
		}, want: 1},
		"the answer may be among the lost events": {does: func(k *kernel) {
			synacks(k, time.Second)
			k.lose(1)
			synacks(k, 2*time.Second, time.Second)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			js := k.assemble(t, everywhere())
			if n := noticesOf(js, ReplyUnanswered); n != test.want {
				t.Errorf("%d notices, want %d", n, test.want)
			}
			for _, j := range js {
				if len(j.Notices) > 0 && (j.Lost() || j.Direction != Reply) {
					t.Errorf("notice with %+v", j)
				}
			}
		})
	}
}

func TestPlainPacketsAtARealServerAreNoticed(t *testing.T) {
	plain := func(k *kernel, netns uint32) *skb {
		return k.packet(9, syn()).on("eth0", netns).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
	}
	tunnelled := func(k *kernel) {
		k.packet(1, syn()).tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
	}
	for what, test := range map[string]struct {
		does func(k *kernel)
		want int
	}{
		"where others come tunnelled": {does: func(k *kernel) {
			tunnelled(k)
			plain(k, nsRealServer).at(event.TCPRcv).returns(event.TCPRcv, 0)
		}, want: 1},
		"but none before a tunnelled one was seen": {does: func(k *kernel) {
			plain(k, nsRealServer).at(event.TCPRcv).returns(event.TCPRcv, 0)
			tunnelled(k)
		}},
		"never what is first seen behind the tunnel, merged": {does: func(k *kernel) {
			tunnelled(k)
			k.packet(9, syn()).on("tunl0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.TCPRcv).returns(event.TCPRcv, 0)
		}},
		"never at the director": {does: func(k *kernel) {
			tunnelled(k)
			plain(k, nsDirector).scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit)
			k.silence(time.Second)
			plain(k, nsDirector).returns(event.IPVSIn, ipvsDropped).kfree("nf_hook_slow", "NETFILTER_DROP")
		}},
		"never where it was sent from": {does: func(k *kernel) {
			tunnelled(k)
			k.packet(9, syn()).on("lo", nsRealServer).at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit, event.NetifReceiveSkb, event.TCPRcv).
				returns(event.TCPRcv, 0)
		}},
		"never what the switch floods": {does: func(k *kernel) {
			tunnelled(k)
			k.packet(9, syn()).on("eth0", nsRealServer).at(event.NetifReceiveSkb).kfree("ip_rcv_core", "OTHERHOST")
		}},
		"never what the real server's own IPVS serves": {does: func(k *kernel) {
			tunnelled(k)
			plain(k, nsRealServer).scheduled(event.MethodLocal).returns(event.IPVSIn, ipvsPassed).at(event.TCPRcv).returns(event.TCPRcv, 0)
		}},
		"never what a director sent by direct routing": {does: func(k *kernel) {
			tunnelled(k)
			plain(k, nsDirector).scheduled(event.MethodDirect).at(event.NetDevQueue, event.NetDevStartXmit).
				on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.TCPRcv).returns(event.TCPRcv, 0)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			js := k.assemble(t, everywhere())
			if n := noticesOf(js, VIPARPConflict); n != test.want {
				t.Errorf("%d notices, want %d", n, test.want)
			}
		})
	}
}

func TestARealServerThatSendsOnWhatCameTunnelledIsNoticed(t *testing.T) {
	leaves := func(s *skb) *skb { return s.on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit) }
	for what, test := range map[string]struct {
		does func(k *kernel)
		want string
	}{
		"forwarded": {does: func(k *kernel) { leaves(k.packet(1, syn()).tunnelled().at(event.IPForward)) }, want: VIPMissing},
		"by its own IPVS": {does: func(k *kernel) {
			leaves(k.packet(1, syn()).tunnelled().scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut))
		}, want: IPVSLoop},
		"never what somebody behind this host answers": {does: func(k *kernel) {
			leaves(k.packet(1, syn()).tunnelled().at(event.IPForward))
			leaves(k.packet(2, reply(event.SYN|event.ACK, 9, 1, 60)).on("cont0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.IPForward))
		}},
		"though another connection was answered from behind": {does: func(k *kernel) {
			leaves(k.packet(1, syn()).tunnelled().at(event.IPForward))
			p := reply(event.SYN|event.ACK, 9, 1, 60)
			p.DstPort++
			leaves(k.packet(2, p).on("cont0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.IPForward))
		}, want: VIPMissing},
		"never what NAT gives to another": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			s.packet.Inner.Dst, s.changed = client, true
			leaves(s.at(event.IPForward))
		}},
		"never what comes plain": {does: func(k *kernel) {
			leaves(k.packet(1, syn()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.IPForward))
		}},
		"never at the director": {does: func(k *kernel) {
			leaves(k.packet(1, syn()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv).scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut))
		}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			k.silence(time.Second)
			j := k.assemble(t, everywhere())[0] // the request
			var got string
			for _, n := range j.Notices {
				got += n.Code
			}
			if j.Fate != Forwarded || got != test.want {
				t.Errorf("%s, notice %q; want %q", j.Fate, got, test.want)
			}
		})
	}
}

func TestADirectorThatDoesNotTunnelIsNoticed(t *testing.T) {
	for method, want := range map[event.Method]int{event.MethodTunnel: 0, event.MethodDirect: 1, event.MethodNAT: 1} {
		k := newKernel()
		s := k.packet(1, syn()).atDirector().scheduled(method).returns(event.IPVSIn, ipvsPassed).hook(3, 1).taken()
		if method == event.MethodTunnel {
			s.in(ipip())
		}
		s.at(event.NetDevQueue, event.NetDevStartXmit)
		k.silence(time.Second)
		if got := noticesOf(k.assemble(t, everywhere()), IPVSWrongMethod); got != want {
			t.Errorf("%s: %d notices, want %d", method, got, want)
		}
	}
}
