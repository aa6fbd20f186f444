package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// TestOnlyTheEndWasSeen is about packets that were first seen when they were freed: lost where nothing could have
// shown them before, and of no interest elsewhere.
func TestOnlyTheEndWasSeen(t *testing.T) {
	for what, test := range map[string]struct {
		packet           event.Packet
		function, reason string
		stack            []string
		fate             Fate // empty: no journey
		role             Role
		hook             string
	}{
		"generic XDP":                     {packet: syn(), function: "do_xdp_generic", reason: "NOT_SPECIFIED", fate: Dropped, role: RealServer},
		"XDP of a veth":                   {packet: syn(), function: "veth_xdp_rcv_skb", reason: "NOT_SPECIFIED", fate: Dropped, role: RealServer},
		"the queue of another CPU":        {packet: syn(), function: "enqueue_to_backlog", reason: "CPU_BACKLOG", fate: Dropped, role: RealServer},
		"a reply that output drops":       {packet: synack(), function: "nft_do_chain", reason: "NETFILTER_DROP", stack: []string{"nft_do_chain+0x1", "nf_hook_slow+0x1", "__ip_local_out+0x1"}, fate: Dropped, role: RealServer, hook: "output"},
		"its device goes while it waits":  {packet: synack(), function: "neigh_flush_dev", reason: "QUEUE_PURGE", fate: Dropped, role: RealServer},
		"a reply without a neighbour":     {packet: synack(), function: "neigh_invalidate", reason: "NEIGH_FAILED", fate: Dropped, role: RealServer},
		"a socket that is closed":         {packet: syn(), function: "sk_stream_kill_queues", reason: "NOT_SPECIFIED"},
		"an ACK that TIME_WAIT has taken": {packet: request(event.ACK, 1001, 1, 52), function: "tcp_v4_rcv", reason: "NOT_SPECIFIED"},
		"a tap's clone":                   {packet: syn(), function: "packet_rcv", reason: "NOT_SPECIFIED"},
		"a hook that sees what came in":   {packet: syn(), function: "nft_do_chain", reason: "NETFILTER_DROP", stack: []string{"nft_do_chain+0x1", "nf_hook_slow+0x1", "ip_local_deliver+0x1"}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			s := k.packet(1, test.packet).on("eth0", nsRealServer)
			if test.role == RealServer && test.packet.Inner.Dst == vip {
				s.in(ipip())
			}
			s.kfree(test.function, test.reason, test.stack...)
			k.silence(6 * time.Second)
			if test.fate == "" {
				if js := k.assemble(t, everywhere()); len(js) != 0 {
					t.Errorf("%d journeys, the first %s", len(js), js[0].Fate)
				}
				return
			}
			j := k.one(t, everywhere())
			if j.Fate != test.fate || j.Role != test.role || j.Drop == nil || j.Drop.Function != test.function || j.Drop.Dev != "eth0" || j.Drop.NfHook != test.hook || j.Gaps != 0 {
				t.Errorf("%s at the %s, drop %+v, gaps %d", j.Fate, j.Role, j.Drop, j.Gaps)
			}
		})
	}
}

// TestWhatADirectorHasCopiedIsNotItsOwn takes a datagram of which tracepoints show that it came, and that its sk_buff
// is done with: a socket may have it, or IPVS has made a copy that waits for its neighbour.
func TestWhatADirectorHasCopiedIsNotItsOwn(t *testing.T) {
	for what, test := range map[string]struct {
		ends func(*skb)
		fate Fate
	}{
		"a socket has it":             {func(*skb) {}, Delivered},
		"its copy has no neighbour":   {func(s *skb) { s.copy().in(ipip()).kfree("neigh_invalidate", "NEIGH_FAILED") }, Dropped},
		"its copy was sent after all": {func(s *skb) { s.copy().in(ipip()).at(event.NetDevQueue, event.NetDevStartXmit) }, Forwarded},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			s := k.packet(1, datagramTo(80, 7)).on("eth0", nsDirector).at(event.NetifReceiveSkb)
			s.at(event.ConsumeSkb)
			k.silence(3 * time.Second)
			test.ends(s)
			k.silence(6 * time.Second)
			if j := k.one(t, tracepointTier()); j.Fate != test.fate {
				t.Errorf("%s, want %s", j.Fate, test.fate)
			}
			if test.fate != Dropped {
				return
			}
			run := tracepointTier() // a kernel that tells of a datagram in its socket's queue
			run.Probes = append(run.Probes, event.Probe{Place: event.UDPQueueRcv, Name: event.UDPQueueRcv.String(), Mechanism: "tracepoint"})
			if j := k.one(t, run); j.Fate != Dropped {
				t.Errorf("where the socket is watched: %s", j.Fate)
			}
		})
	}
}

// TestTheReaderOfADatagramMayFindItDamaged: where routes for answers can't be watched nothing else is waited for.
func TestTheReaderOfADatagramMayFindItDamaged(t *testing.T) {
	run := tracepointTier()
	run.Probes = append(run.Probes, event.Probe{Place: event.UDPQueueRcv, Name: event.UDPQueueRcv.String(), Mechanism: "tracepoint"})
	for damaged, want := range map[bool]Fate{false: Delivered, true: Dropped} {
		k := newKernel()
		s := k.packet(1, datagramTo(80, 7)).traced().returns(event.UDPQueueRcv, 0)
		if damaged {
			s.readInVain()
		}
		k.silence(time.Second)
		if j := k.one(t, run); j.Fate != want {
			t.Errorf("damaged %v: %s, want %s", damaged, j.Fate, want)
		}
	}
}
