package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// outerFragment is the first fragment of an IPIP datagram: the others have no inner header, and nobody follows them.
func outerFragment(k *kernel) *skb {
	outer := ipip()
	outer.Frag, outer.Len = 0x2000, 1500
	return k.packet(1, datagramTo(53, 9)).in(outer).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv)
}

func TestADatagramInPiecesGetsTheFateItHad(t *testing.T) {
	take := func(s *skb) {
		s.bare().on("tunl0", nsRealServer).at(event.NetifReceiveSkb, event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
	}
	for what, test := range map[string]struct {
		run  func() event.Run
		does func(k *kernel)
		fate Fate
		drop string
	}{
		"whole again in the sk_buff that came last": {does: func(k *kernel) {
			s := outerFragment(k).returns(event.IPDefrag, inProgress)
			k.silence(10 * time.Second)
			whole := s.copy()
			s.at(event.ConsumeSkb)
			take(whole)
		}, fate: Delivered},
		"the first piece comes last": {does: func(k *kernel) {
			s := outerFragment(k).returns(event.IPDefrag, 0).at(event.Tunnel4Rcv)
			take(s)
		}, fate: Delivered},
		"a piece is lost": {does: func(k *kernel) {
			s := outerFragment(k).returns(event.IPDefrag, inProgress)
			k.silence(30 * time.Second)
			s.icmpSend(11, 1).kfree("ip_expire", "FRAG_REASM_TIMEOUT")
		}, fate: Rejected, drop: "ip_expire"},
		"a piece is lost, without a reason": {does: func(k *kernel) {
			s := outerFragment(k).returns(event.IPDefrag, inProgress)
			k.silence(30 * time.Second)
			s.kfree("inet_frag_rbtree_purge", "")
		}, fate: Dropped, drop: "inet_frag_rbtree_purge"},
		"two pieces overlap, and the kernel calls that consumed": {does: func(k *kernel) {
			outerFragment(k).returns(event.IPDefrag, inProgress).consumed("inet_frag_rbtree_purge")
		}, fate: Dropped, drop: "inet_frag_rbtree_purge"},
		"whole again, and merged behind the tunnel into another": {does: func(k *kernel) {
			outerFragment(k).returns(event.IPDefrag, inProgress).kfree("skb_release_data", "NOT_SPECIFIED")
		}, fate: Consumed},
		"the same, before 5.17": {does: func(k *kernel) {
			outerFragment(k).returns(event.IPDefrag, inProgress).kfree("kfree_skb_list", "")
		}, fate: Consumed},
		"the kernel consumes a piece elsewhere": {does: func(k *kernel) {
			outerFragment(k).returns(event.IPDefrag, inProgress).consumed("ip_defrag")
		}, fate: Consumed},
		"tracepoints: it waits unseen": {run: tracepointTier, does: func(k *kernel) {
			outerFragment(k)
			k.silence(20 * time.Second)
		}, fate: Open},
		"tracepoints: it waits unseen, and a piece is lost": {run: tracepointTier, does: func(k *kernel) {
			s := outerFragment(k)
			k.silence(30 * time.Second)
			s.kfree("ip_expire", "NOT_SPECIFIED")
		}, fate: Dropped, drop: "ip_expire"},
		"tracepoints: events are lost while it waits": {run: tracepointTier, does: func(k *kernel) {
			outerFragment(k)
			k.lose(1)
			k.silence(20 * time.Second)
		}, fate: Unknown},
	} {
		t.Run(what, func(t *testing.T) {
			k, run := played(test.run, test.does)
			j := k.one(t, run)
			if j.Fate != test.fate || test.drop != "" && j.Drop.Function != test.drop {
				t.Errorf("%s, want %s; drop %+v", j.Fate, test.fate, j.Drop)
			}
		})
	}
}

func TestAReplyThatIsCutOnItsWayOutIsOneJourney(t *testing.T) {
	k := newKernel()
	p := reply(event.ACK|event.PSH, 5001, 1001, 4396)
	p.Segments = 3
	s := k.packet(1, p).on("", nsRealServer).at(event.IPLocalOut)
	s.on("eth0", nsRealServer).at(event.NetDevQueue)
	s.at(event.ConsumeSkb)
	for i := range uint32(3) {
		seg := reply(event.ACK, 5001+i*1448, 1001, 1500)
		k.packet(uint64(10+i), seg).on("eth0", nsRealServer).at(event.NetDevStartXmit).value(event.NetDevXmit, 0)
	}
	k.silence(time.Second)
	j := k.one(t, everywhere())
	if j.Fate != Forwarded || j.Segments != 3 || j.Gaps != 0 {
		t.Errorf("%s, %d segments, %d gaps", j.Fate, j.Segments, j.Gaps)
	}
}

func TestWhatIsCutForAProgramIsNotLost(t *testing.T) {
	for what, test := range map[string]struct {
		segments uint16
		function string
		fate     Fate
	}{
		"merged, the segments wait for the program": {2, "nfqnl_enqueue_packet", Consumed},
		"merged, no program takes the segments":     {2, "nf_queue", Dropped},
		"a segment for which there is no room":      {0, "nfqnl_enqueue_packet", Dropped},
	} {
		k := newKernel()
		p := request(event.ACK, 1001, 1, 2948)
		p.Segments = test.segments
		k.packet(1, p).tunnelled().kfree(test.function, "NOT_SPECIFIED")
		k.silence(6 * time.Second)
		if j := k.one(t, everywhere()); j.Fate != test.fate {
			t.Errorf("%s: %s, want %s", what, j.Fate, test.fate)
		}
	}
}

func TestAReplyBesideALargeOneIsItsOwnJourney(t *testing.T) {
	k := newKernel()
	p := reply(event.ACK|event.PSH, 5001, 1001, 4396)
	p.Segments = 3
	k.packet(1, p).sends(nsRealServer)
	k.packet(2, reply(event.ACK|event.PSH, 5001+4396, 1001, 1500)).sends(nsRealServer)
	k.silence(time.Second)
	if js := k.assemble(t, everywhere()); len(js) != 2 {
		t.Errorf("%d journeys, want 2", len(js))
	}
}

func TestAReplyWithoutANeighbourIsDroppedWhereItWaited(t *testing.T) {
	k := newKernel()
	s := k.packet(2, synack()).on("eth0", nsRealServer).at(event.IPLocalOut).hook(3, 1).hook(4, 1)
	k.silence(3100 * time.Millisecond)
	s.kfree("neigh_invalidate", "NEIGH_FAILED")
	a := New(Options{Run: everywhere(), Patience: time.Second})
	js := append(k.assembleSoFar(a), a.finish()...)
	if len(js) != 1 || js[0].Fate != Dropped || js[0].Drop.Function != "neigh_invalidate" || js[0].Drop.Dev != "eth0" {
		t.Errorf("%+v", js)
	}
}
