package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// TestEveryPacketGetsTheFateItHad is the table of what can become of one packet.
func TestEveryPacketGetsTheFateItHad(t *testing.T) {
	ack := func() event.Packet { return request(event.ACK, 1001, 5001, 52) }
	data := func() event.Packet { return request(event.ACK|event.PSH, 1001, 5001, 200) }
	rst := func() event.Packet { return request(event.RST, 1001, 0, 40) }
	for what, test := range map[string]struct {
		run  func() event.Run
		does func(k *kernel)
		fate Fate
		is   func(Journey) bool
	}{
		"a SYN that the listener takes is delivered": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.IPLocalDeliver, event.TCPRcv, event.TCPDoRcv, event.ConsumeSkb)
		}, fate: Delivered},
		"tcp_v4_rcv has returned: delivered, at once": {does: func(k *kernel) {
			k.packet(1, ack()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered},
		"the reverse-path filter drops on the tunnel's device": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().returns(event.IPRouteInput, -18).kfree("ip_rcv_finish_core.constprop.0", "IP_RPFILTER")
		}, fate: Dropped, is: func(j Journey) bool {
			return j.Drop.Function == "ip_rcv_finish_core" && j.Drop.Dev == "tunl0" && j.Role == RealServer && j.Outer.ID == 4711
		}},
		"TCP has forgotten the device, the drop has the last one": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled().at(event.TCPRcv)
			s.ifindex, s.netns = 0, 0
			s.kfree("tcp_v4_rcv", "TCP_CSUM")
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.Dev == "tunl0" && j.Drop.Netns == nsRealServer }},
		"a packet in the backlog waits, however long": {does: func(k *kernel) {
			k.packet(1, data()).tunnelled().at(event.TCPRcv, event.TCPAddBacklog).returns(event.TCPRcv, 0)
			k.silence(20 * time.Second)
		}, fate: Open},
		"out of the backlog it is delivered": {does: func(k *kernel) {
			s := k.packet(1, data()).tunnelled().at(event.TCPRcv, event.TCPAddBacklog).returns(event.TCPRcv, 0)
			k.silence(20 * time.Second)
			s.at(event.TCPDoRcv).returns(event.TCPDoRcv, 0)
		}, fate: Delivered},
		"a datagram in the socket's queue is delivered": {does: func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).tunnelled().at(event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
		}, fate: Delivered},
		"what a program takes with its outer header is delivered, and said": {does: func(k *kernel) {
			overUDP(k, 0)
			k.silence(2 * time.Second)
		}, fate: Delivered, is: func(j Journey) bool { return len(j.Notices) == 1 && j.Notices[0].Code == ModeMismatch }},
		"what a tunnel over UDP has unpacked is in no socket": {does: func(k *kernel) {
			s := overUDP(k, 4).at(event.Tunnel4Rcv)
			reuse(k, s)
		}, fate: Unknown},
		"what was unpacked as something else is dropped by IP": {does: func(k *kernel) {
			s := overUDP(k, 4).at(event.Tunnel4Rcv)
			again := s.copy().on("tunl0", nsRealServer) // nothing was known by that address any more
			again.addr = s.addr
			again.kfree("ip_rcv_core", "IP_INHDR")
		}, fate: Dropped, is: func(j Journey) bool {
			return j.Drop != nil && j.Drop.Dev == "tunl0" && j.Drop.Tunnelled && j.Outer != nil
		}},
		"a datagram that finds the buffer full is dropped": {does: func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).tunnelled().at(event.UDPRcv, event.UDPQueueRcv).
				kfree("udp_queue_rcv_one_skb", "SOCKET_RCVBUFF")
		}, fate: Dropped},
		"a datagram that its reader finds damaged is dropped": {does: func(k *kernel) {
			k.packet(1, datagramTo(53, 9)).queued().readInVain()
		}, fate: Dropped, is: func(j Journey) bool {
			return j.Drop.Function == "udp_recvmsg" && j.Drop.Dev == "tunl0" && j.Drop.Netns == nsRealServer
		}},
		"a datagram that its reader finds damaged much later was delivered": {does: func(k *kernel) {
			s := k.packet(1, datagramTo(53, 9)).queued()
			k.silence(2 * time.Second)
			s.readInVain()
		}, fate: Delivered},
		"without reasons the kernel half says what TCP minds": {does: func(k *kernel) {
			s := k.packet(1, data()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_validate_incoming", "")
			s.k.events[len(s.k.events)-1].Aux = 1
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.Decider == "tcp_paws_discard" }},
		"silence on the way is vanished": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled()
			k.silence(6 * time.Second)
		}, fate: Vanished},
		"silence before patience ends is open": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled()
			k.silence(4 * time.Second)
		}, fate: Open},
		"silence after lost events is unknown": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled()
			k.lose(3)
			k.silence(6 * time.Second)
		}, fate: Unknown, is: func(j Journey) bool { return j.Gaps == 1 }},
		"a drop that was seen stays one after lost events, with gaps": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			k.lose(3)
			s.kfree("ip_error", "IP_INADDRERRORS")
		}, fate: Dropped, is: func(j Journey) bool { return j.Gaps == 1 }},
		"a fragment that waits for the rest is open": {does: func(k *kernel) {
			p := datagramTo(53, 9)
			p.Inner.Frag = 0x2000
			k.packet(1, p).tunnelled().at(event.IPLocalDeliver).returns(event.IPDefrag, inProgress)
			k.silence(25 * time.Second)
		}, fate: Open},
		"a reply that waits for its neighbour is open": {does: func(k *kernel) {
			k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).on("", nsRealServer).at(event.IPLocalOut).hook(4, 1)
			k.silence(9 * time.Second)
		}, fate: Open},
		"a packet in NF_QUEUE is open": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().hook(1, 0)
			k.silence(25 * time.Second)
		}, fate: Open},
		"a packet in NF_QUEUE is open where the hook's return is not seen": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			s.event(event.NfHookSlow).Aux = 1 | 2<<8
			k.silence(25 * time.Second)
		}, fate: Open},
		"a packet in a queueing discipline is open": {does: func(k *kernel) {
			k.packet(2, reply(event.ACK, 5001, 1001, 52)).on("eth0", nsRealServer).at(event.NetDevQueue)
			k.silence(25 * time.Second)
		}, fate: Open},
		"a reply that the driver took is forwarded": {does: func(k *kernel) {
			k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).sends(nsRealServer)
			k.silence(time.Second)
		}, fate: Forwarded, is: func(j Journey) bool { return j.Direction == Reply && j.Role == RealServer }},
		"a reply that the driver freed is dropped": {does: func(k *kernel) {
			k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).on("eth0", nsRealServer).
				at(event.NetDevQueue, event.NetDevStartXmit).kfree("veth_xmit", "NOT_SPECIFIED")
		}, fate: Dropped},
		"what a driver frees in net_tx_action was sent": {does: func(k *kernel) {
			k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).sends(nsRealServer).kfree("net_tx_action", "")
		}, fate: Forwarded},
		"leaving the namespace is forwarded": {does: func(k *kernel) {
			k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).sends(nsRealServer).at(event.LeftNetns)
		}, fate: Forwarded},
		"6.1 frees a healthy ACK in tcp_rcv_state_process": {does: func(k *kernel) {
			k.packet(1, ack()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_rcv_state_process", "NOT_SPECIFIED")
		}, fate: Delivered},
		"TIME_WAIT has handled it": {does: func(k *kernel) {
			k.packet(1, ack()).tunnelled().at(event.TCPRcv, event.TCPTimewait).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
		}, fate: Delivered},
		"TIME_WAIT is told from the socket's last state": {run: tracepointTier, does: func(k *kernel) {
			s := k.packet(1, ack()).traced()
			s.state(tcpFinWait2, tcpClose, false)
			s.kfree("tcp_v4_rcv", "NOT_SPECIFIED")
		}, fate: Delivered},
		"a socket was entered, and what came of it was lost": {does: func(k *kernel) {
			k.packet(1, data()).tunnelled().at(event.TCPRcv)
			k.lose(1)
			k.silence(7 * time.Second)
		}, fate: Unknown},
		"TIME_WAIT may have begun before the run": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, ack()).traced().kfree("tcp_v4_rcv", "NOT_SPECIFIED")
		}, fate: Unknown, is: func(j Journey) bool { return j.Drop == nil }},
		"tcp_v4_rcv drops without a reason, and no socket was at work": {does: func(k *kernel) {
			k.packet(1, ack()).tunnelled().at(event.TCPRcv).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
		}, fate: Dropped},
		"a SYN is never freed by the way": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_rcv_state_process", "NOT_SPECIFIED")
		}, fate: Dropped},
		"a retransmission is a duplicate": {does: func(k *kernel) {
			k.packet(1, data()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_data_queue", "TCP_OLD_DATA")
		}, fate: Delivered, is: func(j Journey) bool { return j.Duplicate }},
		"an RST that was processed is delivered": {does: func(k *kernel) {
			k.packet(1, rst()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_validate_incoming", "TCP_RESET")
		}, fate: Delivered},
		"an RST for a connection that is gone is delivered": {does: func(k *kernel) {
			k.packet(1, rst()).tunnelled().at(event.TCPRcv).kfree("tcp_v4_rcv", "NO_SOCKET")
		}, fate: Delivered},
		"data in the queue of a socket that is closed was delivered": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, data()).traced().kfree("sk_stream_kill_queues", "QUEUE_PURGE")
		}, fate: Delivered},
		"a queue purged on the way out is a drop": {does: func(k *kernel) {
			k.packet(2, reply(event.ACK, 1, 1, 52)).on("", nsRealServer).at(event.IPLocalOut).kfree("skb_queue_purge", "QUEUE_PURGE")
		}, fate: Dropped},
		"a segment beyond the window is dropped": {does: func(k *kernel) {
			k.packet(1, data()).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_validate_incoming", "TCP_INVALID_SEQUENCE")
		}, fate: Dropped},
		"a tap's clone is nothing": {does: func(k *kernel) {
			s := k.packet(1, ack()).tunnelled()
			s.copy().kfree("packet_rcv", "NOT_SPECIFIED")
			s.at(event.TCPRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered},
		"an ICMP echo reaches icmp_rcv": {does: func(k *kernel) {
			p := syn()
			p.Inner.Protocol, p.HasPorts = protoICMP, false
			k.packet(1, p).tunnelled().at(event.ICMPRcv, event.ConsumeSkb)
		}, fate: Delivered},
		"its first event is its drop": {does: func(k *kernel) {
			k.packet(1, syn()).in(ipip()).on("eth0", nsRealServer).kfree("veth_xdp_rcv_skb", "NOT_SPECIFIED")
		}, fate: Dropped, is: func(j Journey) bool { return len(j.Steps) == 0 && j.Drop.Dev == "eth0" }},
		"netfilter drops, and the stack names the hook": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.IPLocalDeliver).kfree("nft_do_chain", "NETFILTER_DROP",
				"nft_do_chain+0x46f", "nft_do_chain_inet+0x80", "nf_hook_slow+0x42", "ip_local_deliver+0xd0", "ip_rcv+0x11")
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" }},
		"the kernel was seen using a rule": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled().at(event.IPLocalDeliver).uses(event.NftRule, 7, 1, 9)
			s.kfree("nft_do_chain", "NETFILTER_DROP", "nft_do_chain+0x46f", "nf_hook_slow+0x42", "ip_local_deliver+0xd0")
		}, fate: Dropped, is: func(j Journey) bool {
			return j.Drop.Rule != nil && *j.Drop.Rule == NftRule{Handle: 7, Next: 9, NextKnown: true} && len(j.Steps) == 10
		}},
		"the last rule of its chain, and what is returned says so": {does: func(k *kernel) {
			e := k.packet(1, syn()).tunnelled().at(event.IPLocalDeliver).uses(event.NftResult, 7, 0, 0).event(event.NfHookSlow)
			e.Returned, e.Value, e.Aux = true, -1, 1|2<<8
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.Rule != nil && *j.Drop.Rule == NftRule{Handle: 7, NextKnown: true} }},
		"a rule says nothing of another copy": {does: func(k *kernel) {
			s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb)
			c := s.copy().in(ipip()).at(event.IPLocalOut)
			s.uses(event.NftRule, 7, -1, 0)
			e := c.event(event.NfHookSlow)
			e.Returned, e.Value, e.Aux = true, -1, 3|2<<8
			k.silence(6 * time.Second)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.Rule == nil }},
		"a rule says nothing of a drop elsewhere": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.IPLocalDeliver).uses(event.NftRule, 7, -1, 0).kfree("tcp_v4_rcv", "NO_SOCKET")
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.Rule == nil }},
		"memory used again after TCP had it: delivered": {does: func(k *kernel) {
			s := k.packet(1, data()).tunnelled().at(event.TCPRcv, event.TCPDoRcv)
			reuse(k, s)
		}, fate: Delivered},
		"memory used again after the driver had it: forwarded": {does: func(k *kernel) {
			s := k.packet(2, reply(event.ACK, 5001, 1001, 52)).sends(nsRealServer)
			reuse(k, s)
		}, fate: Forwarded},
		"memory used again on the way is unknown, not dropped": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			reuse(k, s)
		}, fate: Unknown, is: func(j Journey) bool { return j.Gaps > 0 }},

		"tracepoints: a SYN that is consumed was taken or refused, nobody saw which": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, syn()).traced().at(event.ConsumeSkb)
			k.silence(6 * time.Second)
		}, fate: Unknown, is: func(j Journey) bool { return j.Gaps > 0 && j.Drop == nil }},
		"tracepoints: tcp_probe and then nothing is delivered": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, data()).traced().at(event.TCPProbe)
			k.silence(time.Second)
		}, fate: Delivered},
		"tracepoints: tcp_probe and then a real reason is a drop": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, data()).traced().at(event.TCPProbe).kfree("tcp_data_queue", "TCP_ZEROWINDOW")
			k.silence(time.Second)
		}, fate: Dropped},
		"tracepoints: the ACK that opens the connection is delivered": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, ack()).traced().state(3, 1, true)
			k.silence(time.Second)
		}, fate: Delivered},
		"tracepoints: an ACK that TCP may have taken is unknown, not vanished": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, ack()).traced()
			k.silence(6 * time.Second)
		}, fate: Unknown, is: func(j Journey) bool { return j.Gaps > 0 }},
		"tracepoints: a packet that never left the tunnel has vanished": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, ack()).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
			k.silence(6 * time.Second)
		}, fate: Vanished},
	} {
		t.Run(what, func(t *testing.T) {
			k, run := played(test.run, test.does)
			j := k.one(t, run)
			if j.Fate != test.fate {
				t.Errorf("fate %s, want %s; drop %+v, steps %+v", j.Fate, test.fate, j.Drop, j.Steps)
			}
			if test.is != nil && !test.is(j) {
				t.Errorf("%+v, drop %+v", j, j.Drop)
			}
			if j.Fate == Unknown && j.Gaps == 0 {
				t.Error("unknown without a gap")
			}
		})
	}
}

// overUDP is a SYN that came in a datagram, with what udp_queue_rcv_one_skb said of that.
func overUDP(k *kernel, taken int32) *skb {
	outer := ipip()
	outer.Protocol, outer.DstPort = protoUDP, 5555
	s := k.packet(1, syn()).in(outer).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv).returns(event.IPRouteInput, 0)
	return s.at(event.UDPQueueRcv).returns(event.UDPQueueRcv, taken)
}

// reuse lets another packet, which nobody follows up, have the memory of one.
func reuse(k *kernel, s *skb) {
	k.at += us
	k.events = append(k.events, event.Event{
		Time: k.at, Place: event.NetifReceiveSkb, First: true, Reused: true, Skb: s.addr, Seen: k.at, ID: 99,
		Packet: &event.Packet{Quoted: true, Inner: s.packet.Inner},
	})
}
