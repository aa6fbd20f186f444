package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// inputDrop are the functions on the stack of a packet that a rule of the input hook drops.
var inputDrop = []string{"nft_do_chain+0x46f", "nft_do_chain_inet+0x80", "nf_hook_slow+0x42", "ip_local_deliver+0xd0", "ip_rcv+0x11"}

// synack comes to the client.
func (k *kernel) synack() *skb {
	return k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).on("eth0", nsClient).at(event.NetifReceiveSkb)
}

// leavesBy is what the driver of a device that takes everything does with a packet: it frees it.
func (s *skb) leavesBy(dev string, netns uint32) *skb {
	return s.on(dev, netns).at(event.NetDevQueue, event.NetDevStartXmit, event.ConsumeSkb).value(event.NetDevXmit, 0)
}

// TestATapIsNotThePacket has packet sockets, raw sockets and rules that copy take part in what happens to packets. A packet
// socket of one protocol on one device (ptype_specific) is asked behind IP: IP works on a clone, and the tap has the sk_buff
// that came (ip_rcv_core, skb_share_check). A clone of which only the freeing is known has no other sighting.
func TestATapIsNotThePacket(t *testing.T) {
	for what, test := range map[string]struct {
		run  func() event.Run
		does func(k *kernel)
		fate Fate
		is   func(Journey) bool
	}{
		"a rule drops it, and its reader frees the tap's": {does: func(k *kernel) {
			tapped := k.synack().at(event.IPRcv)
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			tapped.at(event.ConsumeSkb)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" }},
		"the same with tracepoints": {run: tracepointTier, does: func(k *kernel) {
			tapped := k.synack()
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			tapped.at(event.ConsumeSkb)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" }},
		"the tap's filter does not want it": {run: tracepointTier, does: func(k *kernel) {
			tapped := k.synack()
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			tapped.consumed("packet_rcv")
		}, fate: Dropped},
		"the tap's reader comes too late": {run: tracepointTier, does: func(k *kernel) {
			tapped := k.synack()
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			k.silence(3 * time.Second)
			tapped.at(event.ConsumeSkb)
		}, fate: Dropped},
		"the tap is closed": {run: tracepointTier, does: func(k *kernel) {
			tapped := k.synack()
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			tapped.kfree("skb_queue_purge_reason", "QUEUE_PURGE", "skb_queue_purge_reason+0x1", "packet_release+0x2")
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" }},
		"the tap's queue is full": {does: func(k *kernel) {
			tapped := k.synack().at(event.IPRcv)
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			tapped.kfree("packet_rcv", "PACKET_SOCK_ERROR")
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" }},
		"a ring has copied it": {does: func(k *kernel) {
			tapped := k.synack().at(event.IPRcv)
			tapped.copy().kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			tapped.consumed("tpacket_rcv")
		}, fate: Dropped},
		"the tap lets go of it first, and then TCP has it": {does: func(k *kernel) {
			tapped := k.synack().at(event.IPRcv)
			tapped.handedOn().at(event.TCPRcv, event.TCPDoRcv).returns(event.TCPRcv, 0)
			tapped.consumed("packet_rcv_fanout")
		}, fate: Delivered},
		"the clone is known, and dropped": {does: func(k *kernel) {
			k.synack().at(event.IPRcv).handedOn().hook(1, -1).kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" && j.Gaps == 0 }},
		"that a tap frees it says nothing of a packet of which nothing else is known": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, request(event.ACK, 1001, 5001, 52)).traced().consumed("packet_rcv")
			k.silence(6 * time.Second)
		}, fate: Unknown},
		"that a tap frees a SYN says nothing of it, either": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, syn()).traced().consumed("packet_rcv")
			k.silence(6 * time.Second)
		}, fate: Unknown},
		"a raw socket for IPIP has no room, and the packet goes on": {does: func(k *kernel) {
			s := k.packet(1, syn()).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
			s.copy().kfree("raw_rcv_skb", "SOCKET_RCVBUFF")
			s.at(event.Tunnel4Rcv, event.IPTunnelRcv)
			s.bare().on("tunl0", nsRealServer).at(event.NetifReceiveSkb, event.TCPRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered},
		"a raw socket's clone is not the packet that vanishes": {does: func(k *kernel) {
			s := k.packet(1, syn()).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
			s.copy().kfree("raw_rcv", "SOCKET_FILTER")
			s.at(event.Tunnel4Rcv, event.IPTunnelRcv)
			k.silence(6 * time.Second)
		}, fate: Vanished},
		"tc mirrors it on its way in, and a rule drops it": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			s.copy().leavesBy("dummy0", nsRealServer)
			s.returns(event.IPRouteInput, 0).at(event.IPLocalDeliver).hook(1, -1).kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
		}, fate: Dropped, is: func(j Journey) bool {
			return j.Drop.NfHook == "input" && j.Role == RealServer && !visits(j, "dummy0")
		}},
		"tc mirrors it, a rule drops it, and the copy is still on its way": {run: tracepointTier, does: func(k *kernel) {
			s := k.packet(1, syn()).traced()
			mirrored := s.copy().on("mon0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
			s.kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			mirrored.on("mon0", 999).at(event.NetifReceiveSkb).kfree("ip_rcv_core", "OTHERHOST")
			k.silence(6 * time.Second)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" && !visits(j, "mon0") }},
		"tc mirrors it, and the service takes it": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			mirrored := s.copy().on("mon0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
			s.at(event.IPLocalDeliver, event.TCPRcv)
			mirrored.on("mon0", 999).at(event.NetifReceiveSkb).kfree("ip_rcv_core", "OTHERHOST")
			s.at(event.TCPDoRcv, event.ConsumeSkb)
		}, fate: Delivered, is: func(j Journey) bool { return j.Role == RealServer && !visits(j, "mon0") }},
		"tc mirrors it, and a SYN that is consumed was taken or refused": {run: tracepointTier, does: func(k *kernel) {
			s := k.packet(1, syn()).traced()
			s.copy().leavesBy("dummy0", nsRealServer)
			s.at(event.ConsumeSkb)
			k.silence(6 * time.Second)
		}, fate: Unknown},
		"a rule copies it to another host, and another one drops it": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled().at(event.IPLocalDeliver)
			s.copy().sends(nsRealServer)
			s.hook(1, -1).kfree("nft_do_chain", "NETFILTER_DROP", inputDrop...)
			k.silence(6 * time.Second)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "input" && j.Drop.Dev == "tunl0" }},
		"a rule copies the reply, and another one drops it": {does: func(k *kernel) {
			s := k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).on("", nsRealServer).at(event.IPLocalOut)
			s.copy().sends(nsRealServer)
			s.hook(3, -1).kfree("nft_do_chain", "NETFILTER_DROP", "nft_do_chain+0x46f", "nf_hook_slow+0x42", "__ip_local_out+0x80")
			k.silence(6 * time.Second)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.NfHook == "output" }},
		"tc mirrors the reply on its way out, and drops it": {does: func(k *kernel) {
			s := k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).on("", nsRealServer).at(event.IPLocalOut).hook(3, 1).hook(4, 1)
			mirrored := s.copy().on("mon0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
			s.kfree("tcf_classify", "TC_EGRESS")
			mirrored.on("mon0", 999).at(event.NetifReceiveSkb).kfree("ip_rcv_core", "OTHERHOST")
			k.silence(6 * time.Second)
		}, fate: Dropped, is: func(j Journey) bool { return j.Drop.Reason == "TC_EGRESS" }},

		// The twins: here the copy is the packet.
		"a bridge floods it: the copy is for the real server": {does: func(k *kernel) {
			s := k.packet(1, syn()).in(ipip()).on("port0", 999).at(event.NetifReceiveSkb)
			c := s.copy().on("port1", 999).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
			s.on("port2", 999).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
			s.on("eth0", nsClient).at(event.NetifReceiveSkb).kfree("ip_rcv_core", "OTHERHOST")
			c.tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered, is: func(j Journey) bool { return visits(j, "port1") }},
		"a bridge takes it up, too, and the bridge's host does not want it": {does: func(k *kernel) {
			s := k.packet(1, syn()).in(ipip()).on("port0", 999).at(event.NetifReceiveSkb)
			c := s.copy().on("port1", 999).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
			s.on("br0", 999).at(event.NetifReceiveSkb).kfree("ip_rcv_core", "OTHERHOST")
			c.tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered, is: func(j Journey) bool { return visits(j, "port1") }},
		"IPVS sends a copy, and consumes what came": {does: func(k *kernel) {
			s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
			c := s.copy().in(ipip()).at(event.IPLocalOut)
			s.at(event.ConsumeSkb)
			c.at(event.NetDevQueue, event.NetDevStartXmit)
			k.silence(time.Second)
		}, fate: Forwarded},
		"a director's tap has what came, and what it forwards is a clone": {run: tracepointTier, does: func(k *kernel) {
			s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb)
			c := s.copy().on("eth1", nsDirector).at(event.NetDevQueue, event.NetDevStartXmit)
			s.consumed("packet_rcv")
			c.value(event.NetDevXmit, 0)
			k.silence(time.Second)
		}, fate: Forwarded},
	} {
		t.Run(what, func(t *testing.T) {
			k, run := played(test.run, test.does)
			j := k.one(t, run)
			if j.Fate != test.fate || test.is != nil && !test.is(j) {
				t.Errorf("%s, want %s; role %s, drop %+v, steps %+v", j.Fate, test.fate, j.Role, j.Drop, j.Steps)
			}
		})
	}
}

// visits reports whether a journey has a step on a device.
func visits(j Journey, dev string) bool {
	for _, s := range j.Steps {
		if s.Dev == dev {
			return true
		}
	}
	return false
}
