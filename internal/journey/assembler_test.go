package journey

import (
	"errors"
	"slices"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

func TestOneKernelGivesOneRequestAndOneReply(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).sends(nsClient)
	s.on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
	s.in(ipip()).at(event.IPLocalOut).hook(3, 1).hook(4, 1)
	s.at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
	s.hook(1, 0) // LOCAL_IN returns: stolen by IPVS
	s.tunnelled().at(event.IPLocalDeliver, event.TCPRcv, event.TCPDoRcv)
	r := k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).sends(nsRealServer)
	s.at(event.ConsumeSkb)
	r.on("eth0", nsClient).at(event.NetifReceiveSkb, event.IPRcv, event.TCPRcv).returns(event.TCPRcv, 0)
	js := k.assemble(t, everywhere())
	if len(js) != 2 {
		t.Fatalf("%d journeys, want 2: %+v", len(js), js)
	}
	req, rep := js[0], js[1]
	if req.Fate != Delivered || req.Role != RealServer || req.Direction != Request || req.Outer == nil || req.Packet.Outer != nil {
		t.Errorf("request %+v", req)
	}
	if rep.Fate != Delivered || rep.Role != Client || rep.Direction != Reply || rep.Related != req.ID {
		t.Errorf("reply %+v", rep)
	}
}

func TestADirectorsCopyGoesOn(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
	c := s.copy().in(ipip()).at(event.IPLocalOut)
	s.at(event.ConsumeSkb)
	c.at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0).at(event.ConsumeSkb)
	k.silence(time.Second)
	j := k.one(t, everywhere())
	if j.Fate != Forwarded || j.Role != Director || j.Outer == nil {
		t.Errorf("%s at %s, outer %v", j.Fate, j.Role, j.Outer)
	}
}

func TestACopyThatComesAfterTheOriginalIsFreedGoesOn(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb, event.ConsumeSkb)
	k.pass(50 * time.Millisecond)
	s.copy().in(ipip()).at(event.NetDevQueue, event.NetDevStartXmit)
	k.silence(time.Second)
	if j := k.one(t, tracepointTier()); j.Fate != Forwarded {
		t.Errorf("%s, want forwarded", j.Fate)
	}
}

func TestADeadCopyIsNoDropWhileAnotherGoesOn(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).on("br0", nsDirector).at(event.NetifReceiveSkb)
	c := s.copy().on("port1", nsDirector).at(event.NetDevQueue, event.NetDevStartXmit)
	c.on("eth0", nsClient).kfree("ip_rcv_core", "OTHERHOST")
	s.on("port2", nsDirector).at(event.NetDevQueue, event.NetDevStartXmit)
	s.tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
	k.silence(2 * time.Second)
	if j := k.one(t, everywhere()); j.Fate != Delivered {
		t.Errorf("%s, want delivered", j.Fate)
	}
}

func TestACopyThatIsDroppedAloneIsADrop(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb)
	c := s.copy().in(ipip()).at(event.IPLocalOut)
	c.kfree("nf_hook_slow", "NETFILTER_DROP", "nf_hook_slow+0x1", "__ip_local_out+0x2", "ip_vs_tunnel_xmit+0x3", "nf_hook_slow+0x1", "ip_local_deliver+0x4")
	k.silence(6 * time.Second)
	j := k.one(t, everywhere())
	if j.Fate != Dropped || j.Drop == nil || j.Drop.NfHook != "output" {
		t.Errorf("%s, drop %+v", j.Fate, j.Drop)
	}
}

func TestPacketsWithTheSameHashAreTwoJourneys(t *testing.T) {
	k := newKernel()
	a, b := k.packet(1, datagramTo(53, 0)), k.packet(1, datagramTo(53, 0))
	a.in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	b.in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	for _, s := range []*skb{a, b} {
		s.bare().on("tunl0", nsRealServer).at(event.NetifReceiveSkb, event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
	}
	k.packet(1, datagramTo(53, 0)).tunnelled().at(event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
	js := k.assemble(t, everywhere())
	if len(js) != 3 {
		t.Fatalf("%d journeys, want 3", len(js))
	}
	starts := map[time.Time]bool{}
	for _, j := range js {
		starts[j.Start] = true
		if j.Fate != Delivered {
			t.Errorf("%s, want delivered", j.Fate)
		}
	}
	if len(starts) != 3 {
		t.Error("id with start is not unique")
	}
}

func TestAnAnswerMakesADropARejection(t *testing.T) {
	rstOut := func(k *kernel) { k.packet(9, reply(event.RST|event.ACK, 0, 1001, 40)).sends(nsRealServer) }
	icmpOut := func(k *kernel, s *skb, icmp, code uint8) {
		q := s.packet
		q.Quoted, q.ICMPType, q.ICMPCode = true, icmp, code
		k.packet(1, q).on("", nsRealServer).at(event.IPLocalOut).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit, event.ConsumeSkb)
	}
	for what, test := range map[string]struct {
		run  func() event.Run
		does func(k *kernel)
		want Reject
		site string
	}{
		"no listener: an RST": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled().at(event.TCPRcv, event.SendReset)
			rstOut(k)
			s.kfree("tcp_v4_rcv", "NO_SOCKET")
		}, want: Reject{By: ByRST, Sent: true}, site: "tcp_v4_rcv"},
		"no listener, and the RST is not seen": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.TCPRcv, event.SendReset).kfree("tcp_v4_rcv", "NO_SOCKET")
		}, want: Reject{By: ByRST}, site: "tcp_v4_rcv"},
		"no listener, tracepoints, and the RST waits for its neighbour": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, syn()).traced().at(event.SendReset).kfree("tcp_v4_rcv", "NO_SOCKET")
			k.pass(100 * time.Millisecond)
			k.packet(9, reply(event.RST|event.ACK, 0, 1001, 40)).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
		}, want: Reject{By: ByRST, Sent: true}, site: "tcp_v4_rcv"},
		"a rule rejects with a reset": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled()
			rstOut(k)
			s.kfree("nft_do_chain", "NETFILTER_DROP")
		}, want: Reject{By: ByRST, Sent: true}, site: "nft_do_chain"},
		"the tunnel is down: port unreachable": {does: func(k *kernel) {
			s := k.packet(1, syn()).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.Tunnel4Rcv).icmpSend(3, 3)
			icmpOut(k, s, 3, 3)
			s.kfree("tunnel4_rcv", "NOT_SPECIFIED")
		}, want: Reject{By: ByICMP, Type: 3, Code: 3, Sent: true}, site: "tunnel4_rcv"},
		"the rate limit keeps the ICMP error back": {does: func(k *kernel) {
			k.packet(1, syn()).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.Tunnel4Rcv).icmpSend(3, 3).
				kfree("tunnel4_rcv", "NOT_SPECIFIED")
		}, want: Reject{By: ByICMP, Type: 3, Code: 3}, site: "tunnel4_rcv"},
		"an ICMP error that nobody announced": {run: tracepointTier, does: func(k *kernel) {
			s := k.packet(1, syn()).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
			icmpOut(k, s, 3, 2)
			s.kfree("ip_local_deliver_finish", "IP_NOPROTO")
		}, want: Reject{By: ByICMP, Type: 3, Code: 2, Sent: true}, site: "ip_local_deliver_finish"},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			k.silence(time.Second)
			run := everywhere()
			if test.run != nil {
				run = test.run()
			}
			js := slices.DeleteFunc(k.assemble(t, run), func(j Journey) bool { return j.Direction == Reply })
			if len(js) != 1 {
				t.Fatalf("%d requests, want 1", len(js))
			}
			j := js[0]
			if j.Fate != Rejected || j.Reject == nil || *j.Reject != test.want || j.Drop == nil || j.Drop.Function != test.site {
				t.Errorf("%s %+v %+v", j.Fate, j.Reject, j.Drop)
			}
		})
	}
}

func TestWhatASocketKeptHasNoSecondJourney(t *testing.T) {
	k := newKernel()
	k.packet(1, request(event.ACK|event.PSH, 1001, 5001, 200)).kfree("sk_stream_kill_queues", "QUEUE_PURGE")
	k.packet(2, datagramTo(53, 9)).at(event.ConsumeSkb)
	if js := k.assemble(t, everywhere()); len(js) != 0 {
		t.Errorf("%+v", js)
	}
}

func TestACloneThatOnlyItsFreeingShowsIsNoDrop(t *testing.T) {
	k := newKernel()
	s := k.packet(2, reply(event.ACK, 5001, 1001, 52)).sends(nsRealServer)
	s.copy().kfree("br_flood", "NOT_SPECIFIED")
	k.silence(2 * time.Second)
	if j := k.one(t, everywhere()); j.Fate != Forwarded {
		t.Errorf("%s, want forwarded", j.Fate)
	}
}

func TestACopyThatItsMakerFreesIsADrop(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPLocalDeliver)
	c := s.copy()
	s.at(event.ConsumeSkb)
	c.kfree("ip_vs_tunnel_xmit", "NOT_SPECIFIED", "ip_vs_tunnel_xmit+0x1", "ip_vs_in_hook+0x2", "nf_hook_slow+0x3", "ip_local_deliver+0x4")
	k.silence(time.Second)
	if j := k.one(t, everywhere()); j.Fate != Dropped || j.Drop.NfHook != "" {
		t.Errorf("%s, drop %+v", j.Fate, j.Drop)
	}
}

func TestARedirectIsNoRejection(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPRcv).icmpSend(5, 1).kfree("ip_forward", "IP_INHDR")
	if j := k.one(t, everywhere()); j.Fate != Dropped || j.Reject != nil {
		t.Errorf("%s %+v", j.Fate, j.Reject)
	}
}

func TestAResetAnswersOnlyItsOwnPacket(t *testing.T) {
	k := newKernel()
	k.packet(9, reply(event.RST|event.ACK, 0, 777777, 40)).sends(nsRealServer)
	k.packet(1, syn()).tunnelled().kfree("nft_do_chain", "NETFILTER_DROP")
	k.silence(time.Second)
	for _, j := range k.assemble(t, everywhere()) {
		if j.Direction == Request && j.Fate != Dropped {
			t.Errorf("%s, want dropped", j.Fate)
		}
	}
}

func TestGROMergesIntoTheSegmentBefore(t *testing.T) {
	k := newKernel()
	a := k.packet(1, request(event.ACK, 1001, 1, 1500)).tunnelled()
	b := k.packet(2, request(event.ACK, 2449, 1, 1500))
	b.in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	b.bare().on("tunl0", nsRealServer)
	b.event(event.GroMerged).Peer = a.addr
	a.at(event.TCPRcv).returns(event.TCPRcv, 0)
	js := k.assemble(t, everywhere())
	if len(js) != 2 || js[0].Fate != Consumed || js[0].Became != 1 || js[1].Fate != Delivered {
		t.Errorf("%+v", js)
	}
}

func TestAnUnseenMergeIsToldFromTheMergedPacket(t *testing.T) {
	k := newKernel()
	a := k.packet(1, request(event.ACK, 1001, 1, 1500)).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	k.packet(2, request(event.ACK, 2449, 1, 1500)).in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	a.packet.Segments, a.packet.Inner.Len = 2, 2948
	a.bare().on("tunl0", nsRealServer).at(event.NetifReceiveSkb, event.TCPProbe)
	k.silence(6 * time.Second)
	js := k.assemble(t, tracepointTier())
	if len(js) != 2 {
		t.Fatalf("%d journeys, want 2", len(js))
	}
	for _, j := range js {
		if j.ID == 2 && (j.Fate != Consumed || j.Became != 1) || j.ID == 1 && (j.Fate != Delivered || j.Segments != 2) {
			t.Errorf("%d: %s, became %d, segments %d", j.ID, j.Fate, j.Became, j.Segments)
		}
	}
}

func TestTheFlowsLaterPacketsProveASilentACK(t *testing.T) {
	k := newKernel()
	k.packet(1, request(event.ACK, 1001, 5001, 52)).traced()
	k.pass(time.Millisecond)
	k.packet(2, request(event.ACK|event.PSH, 1001, 5001, 200)).traced().at(event.TCPProbe)
	k.silence(6 * time.Second)
	for _, j := range k.assemble(t, tracepointTier()) {
		if j.Fate != Delivered || j.Gaps != 0 {
			t.Errorf("%d: %s", j.ID, j.Fate)
		}
	}
}

func TestASilentACKOfALivingConnectionIsDelivered(t *testing.T) {
	for _, reasons := range []bool{true, false} {
		k := newKernel()
		k.packet(1, request(event.ACK|event.PSH, 1001, 5001, 200)).traced().at(event.TCPProbe)
		k.packet(2, request(event.ACK, 1149, 5001, 52)).traced()
		k.silence(6 * time.Second)
		run := tracepointTier()
		run.Reasons = reasons
		want := map[bool]Fate{true: Delivered, false: Unknown}[reasons]
		for _, j := range k.assemble(t, run) {
			if j.ID == 2 && j.Fate != want {
				t.Errorf("with reasons %t: %s, want %s", reasons, j.Fate, want)
			}
		}
	}
}

func TestAPacketThatJoinedTheOneBeforeItInTheBacklogIsDelivered(t *testing.T) {
	k := newKernel()
	first := k.packet(1, request(event.ACK|event.PSH, 1001, 5001, 200)).tunnelled().at(event.TCPRcv, event.TCPAddBacklog).returns(event.TCPRcv, 0)
	next := request(event.ACK|event.PSH, 1149, 5001, 200)
	k.packet(2, next).tunnelled().at(event.TCPRcv, event.TCPAddBacklog).returns(event.TCPRcv, 0)
	k.silence(time.Second)
	first.at(event.TCPDoRcv).returns(event.TCPDoRcv, 0)
	k.silence(time.Second)
	all := k.assemble(t, everywhere())
	if len(all) != 2 || all[0].Fate != Delivered || all[1].Fate != Delivered {
		t.Errorf("journeys %+v, want two that are delivered", all)
	}
}

func TestTheRepliesAcknowledgementProvesSilentData(t *testing.T) {
	k := newKernel()
	k.packet(1, request(event.ACK|event.PSH, 1001, 5001, 200)).traced()
	k.packet(2, reply(event.ACK, 5001, 1149, 52)).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
	k.silence(2 * time.Second)
	for _, j := range k.assemble(t, tracepointTier()) {
		if j.ID == 1 && j.Fate != Delivered {
			t.Errorf("%s, want delivered", j.Fate)
		}
	}
}

func TestAKeepaliveProbeIsADuplicate(t *testing.T) {
	k := newKernel()
	k.packet(1, reply(event.ACK, 5001, 1001, 52)).sends(nsRealServer)
	k.packet(2, request(event.ACK, 1000, 5001, 52)).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree("tcp_validate_incoming", "TCP_INVALID_SEQUENCE")
	for _, j := range k.assemble(t, everywhere()) {
		if j.ID == 2 && (j.Fate != Delivered || !j.Duplicate) {
			t.Errorf("%s", j.Fate)
		}
	}
}

func TestADatagramIsTheJourneyOfItsFirstFragment(t *testing.T) {
	for what, last := range map[string]func(k *kernel, first, end *skb){
		"and goes on under the name of the last one": func(_ *kernel, _, end *skb) {
			end.at(event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
		},
		"and is seen anew": func(k *kernel, first, end *skb) {
			again := first.copy()
			again.addr = end.addr
			again.at(event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
			k.events[len(k.events)-3].Reused = true
		},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			part := func(id uint64, frag uint16) *skb {
				p := datagramTo(53, 9)
				p.Inner.Frag, p.HasPorts = frag, frag == 0x2000
				return k.packet(id, p).tunnelled().at(event.IPLocalDeliver)
			}
			first := part(1, 0x2000).returns(event.IPDefrag, inProgress)
			part(2, 0x2000|100).returns(event.IPDefrag, inProgress)
			end := part(3, 200)
			first.at(event.ConsumeSkb)
			end.returns(event.IPDefrag, 0)
			last(k, first, end)
			js := k.assemble(t, everywhere())
			if len(js) != 3 {
				t.Fatalf("%d journeys, want 3", len(js))
			}
			for _, j := range js {
				if j.ID == 1 && j.Fate != Delivered || j.ID != 1 && (j.Fate != Consumed || j.Became != 1) {
					t.Errorf("%d: %s, became %d", j.ID, j.Fate, j.Became)
				}
			}
		})
	}
}

func TestAJourneyIsPrintedWithinASecondOfItsFate(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
	k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).sends(nsRealServer)
	k.silence(900 * time.Millisecond)
	if js := k.assembleSoFar(New(Options{Run: everywhere()})); len(js) != 2 {
		t.Errorf("%d journeys ended, want 2", len(js))
	}
}

func TestOneNamespaceIsAllThatIsSeen(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).sends(nsClient)
	s.on("eth0", nsDirector).at(event.NetifReceiveSkb).in(ipip()).at(event.NetDevQueue, event.NetDevStartXmit)
	s.on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	a := New(Options{Run: everywhere(), Netns: nsDirector})
	js := append(k.assembleSoFar(a), a.finish()...)
	if len(js) != 1 || js[0].Fate != Forwarded || js[0].Role != Director || len(js[0].Steps) != 3 || js[0].Gaps != 0 {
		t.Errorf("%+v", js)
	}
}

func TestTheRoleMayBeGiven(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb).kfree("ip_error", "IP_INADDRERRORS")
	a := New(Options{Run: everywhere(), Role: RealServer})
	if js := k.assembleSoFar(a); len(js) != 1 || js[0].Role != RealServer {
		t.Errorf("%+v", js)
	}
}

func TestAJourneyWhoseBeginningWasLostHasAGap(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).tunnelled().kfree("ip_error", "IP_INADDRERRORS")
	_ = s
	k.events = k.events[1:]
	if j := k.one(t, everywhere()); j.Fate != Dropped || j.Gaps != 1 {
		t.Errorf("%s, gaps %d", j.Fate, j.Gaps)
	}
}

func TestAssembleYieldsWhatIsOpenBeforeTheError(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).tunnelled()
	broken := errors.New("broken")
	var fates []Fate
	var failed error
	for m, err := range New(Options{Run: everywhere()}).Assemble(func(yield func(event.Event, error) bool) {
		for _, e := range k.events {
			if !yield(e, nil) {
				return
			}
		}
		yield(event.Event{}, broken)
	}) {
		failed = err
		for _, j := range m.Ended {
			if fates = append(fates, j.Fate); !m.Last {
				t.Errorf("%s, and there may be more of it", j.Fate)
			}
		}
	}
	if !errors.Is(failed, broken) || len(fates) != 1 || fates[0] != Open {
		t.Errorf("%v, then %v", fates, failed)
	}
}

func TestTheAccountAddsUp(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
	k.packet(2, syn()).tunnelled().kfree("ip_rcv_finish_core", "IP_RPFILTER")
	k.packet(3, syn()).tunnelled().kfree("ip_rcv_finish_core", "IP_RPFILTER")
	k.packet(4, syn()).tunnelled()
	missed := uint64(4)
	k.events = append(k.events, event.Event{Kind: event.End, Time: k.at, Totals: &event.Totals{Missed: &missed, Lost: 2}})
	a := New(Options{Run: everywhere()})
	k.assembleSoFar(a)
	a.finish()
	acc := a.Account()
	if acc.Journeys != 4 || acc.Arrived != 1 || acc.Lost != 2 || acc.Open != 1 || *acc.Missed != 4 || acc.LostEvents != 2 {
		t.Errorf("%+v", acc)
	}
	if len(acc.Sites) != 1 || acc.Sites[0].Count != 2 || acc.Sites[0].Reason != "IP_RPFILTER" {
		t.Errorf("%+v", acc.Sites)
	}
}

func TestWhatIsWatchedMayChangeUnderARun(t *testing.T) {
	a := New(Options{Run: tracepointTier()})
	if a.watches(event.IPVSIn) || !a.watches(event.KfreeSkb) {
		t.Fatal("before the module came")
	}
	now := append(tracepointTier().Probes, event.Probe{Place: event.IPVSIn, Name: "ip_vs_in", Mechanism: "fexit", Symbol: "ip_vs_in_hook"})
	a.add(event.Event{Kind: event.Watch, Time: 1, Probes: now})
	if !a.watches(event.IPVSIn) || !a.watches(event.KfreeSkb) || len(a.Account().Probes) != len(now) {
		t.Errorf("after it came: %+v", a.Account().Probes)
	}
	a.add(event.Event{Kind: event.Watch, Time: 2, Probes: tracepointTier().Probes})
	if a.watches(event.IPVSIn) {
		t.Error("after it went")
	}
}
