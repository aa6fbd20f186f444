package journey

import (
	"slices"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// atDirector brings a packet to a director, up to IPVS.
func (s *skb) atDirector() *skb {
	return s.on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPRcv).returns(event.IPRouteInput, 0).at(event.IPLocalDeliver)
}

// scheduled gives a packet to a method of IPVS.
func (s *skb) scheduled(method event.Method) *skb {
	s.returns(event.IPVSSchedule, 1)
	s.event(event.IPVSXmit).Aux = uint32(method)
	return s
}

// taken is the way back out of IPVS: ip_vs_in and the hook that called it return.
func (s *skb) taken() *skb { return s.returns(event.IPVSIn, ipvsTook).hook(1, 0) }

func step(j Journey, p event.Place) (Step, bool) {
	i := slices.IndexFunc(j.Steps, func(s Step) bool { return s.Place == p })
	if i < 0 {
		return Step{}, false
	}
	return j.Steps[i], true
}

func TestADirectorsPacketGetsTheFateItHad(t *testing.T) {
	for what, test := range map[string]struct {
		does func(k *kernel)
		fate Fate
		role Role
		is   func(Journey) bool
	}{
		"a tunnelled packet is forwarded, and the method is a step": {does: func(k *kernel) {
			s := k.packet(1, syn()).atDirector().scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut).
				returns(event.IPVSIn, ipvsPassed).hook(3, 1).hook(4, 1)
			s.at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0).taken()
			k.silence(time.Second)
		}, fate: Forwarded, role: Director, is: func(j Journey) bool {
			s, _ := step(j, event.IPVSXmit)
			return s.Method == "tunnel" && slices.ContainsFunc(j.Steps, func(s Step) bool {
				return s.Place == event.IPVSIn && s.Verdict == "stolen" && !s.Tunnelled
			})
		}},
		"a copy of it goes on": {does: func(k *kernel) {
			s := k.packet(1, syn()).atDirector().scheduled(event.MethodTunnel)
			c := s.copy()
			s.at(event.ConsumeSkb)
			c.in(ipip()).at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit)
			k.silence(time.Second)
		}, fate: Forwarded, role: Director},
		"it waits for its neighbour, however late the hook returns": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut).returns(event.IPVSIn, ipvsPassed).hook(3, 1).hook(4, 1).taken()
			k.silence(20 * time.Second)
		}, fate: Open, role: Director},
		"no neighbour: dropped, and not by IPVS": {does: func(k *kernel) {
			s := k.packet(1, syn()).atDirector().scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut).taken()
			k.silence(3 * time.Second)
			s.kfree("neigh_invalidate", "NEIGH_FAILED")
		}, fate: Dropped, role: Director, is: func(j Journey) bool { return j.Drop.Decider == "" }},
		"a rewritten packet that is not seen again was handed on, it has not vanished": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().scheduled(event.MethodNAT).returns(event.IPVSIn, ipvsPassed).hook(3, 1).hook(4, 1).taken()
			k.silence(20 * time.Second)
		}, fate: Forwarded, role: Director, is: func(j Journey) bool {
			s, _ := step(j, event.IPVSXmit)
			return s.Method == "nat"
		}},
		"a rewritten packet is followed to its device, and shows where it goes": {does: func(k *kernel) {
			s := k.packet(1, syn()).atDirector().scheduled(event.MethodNAT).returns(event.IPVSIn, ipvsPassed).hook(3, 1).hook(4, 1).taken()
			s.packet.Inner.Dst, s.changed = rip, true
			s.at(event.NetDevQueue, event.NetDevStartXmit)
			k.silence(time.Second)
		}, fate: Forwarded, role: Director, is: func(j Journey) bool {
			return j.Packet.Inner.Dst == vip && j.Changed != nil && j.Changed.Inner.Dst == rip && len(j.Steps) > 0 && j.Steps[len(j.Steps)-1].Place == event.NetDevStartXmit
		}},
		"a packet that is tunnelled and then dropped, without a place between that is watched": {does: func(k *kernel) {
			k.packet(1, syn()).on("eth0", nsDirector).at(event.NetifReceiveSkb).in(ipip()).kfree("nf_hook_slow", "NETFILTER_DROP", "nf_hook_slow", "__ip_local_out")
			k.silence(time.Second)
		}, fate: Dropped, role: Director, is: func(j Journey) bool {
			last, _ := j.Last()
			return j.Drop.Tunnelled && !last.Tunnelled && j.Outer != nil
		}},
		"a rewritten packet that a rule in output drops is dropped": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().scheduled(event.MethodNAT).hook(3, -1).taken()
			k.silence(time.Second)
		}, fate: Dropped, role: Director, is: func(j Journey) bool { return j.Drop.NfHook == "output" }},
		"a rewritten packet whose address another packet has now was handed on": {does: func(k *kernel) {
			reuse(k, k.packet(1, syn()).atDirector().scheduled(event.MethodNAT))
		}, fate: Forwarded, role: Director},
		"no route to the real server: the method frees it": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().scheduled(event.MethodNAT).kfree("ip_vs_nat_xmit", "NOT_SPECIFIED")
		}, fate: Dropped, role: Director},
		"direct routing sends it as it is": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().scheduled(event.MethodDirect).returns(event.IPVSIn, ipvsPassed).hook(3, 1).taken().at(event.NetDevQueue, event.NetDevStartXmit)
			k.silence(time.Second)
		}, fate: Forwarded, role: Director, is: func(j Journey) bool {
			s, _ := step(j, event.IPVSXmit)
			return s.Method == "direct" && j.Outer == nil
		}},
		"the director serves it itself": {does: func(k *kernel) {
			s := k.packet(1, syn()).atDirector().scheduled(event.MethodTunnel).returns(event.IPVSIn, ipvsPassed).hook(1, 1)
			s.at(event.TCPRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered},
		"the director serves it itself, and the method is direct routing": {does: func(k *kernel) {
			s := k.packet(1, syn()).atDirector().scheduled(event.MethodDirect).returns(event.IPVSIn, ipvsPassed).hook(1, 1)
			s.at(event.TCPRcv).returns(event.TCPRcv, 0)
		}, fate: Delivered},
		"what the director's own client sends waits for its neighbour": {does: func(k *kernel) {
			k.packet(1, syn()).on("", nsDirector).at(event.IPLocalOut).returns(event.IPVSIn, ipvsPassed).hook(3, 1)
			k.silence(20 * time.Second)
		}, fate: Open},
		"IPVS drops, netfilter frees": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().returns(event.IPVSIn, ipvsDropped).kfree("nf_hook_slow", "NETFILTER_DROP",
				"nf_hook_slow+0x1", "ip_local_deliver+0x2")
		}, fate: Dropped, role: Director, is: func(j Journey) bool {
			return j.Drop.Function == "nf_hook_slow" && j.Drop.NfHook == "input" && j.Drop.Decider == "ip_vs_in"
		}},
		"IPVS drops, and the freeing is not seen": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().returns(event.IPVSIn, ipvsDropped)
			k.silence(time.Second)
		}, fate: Dropped, role: Director, is: func(j Journey) bool {
			return j.Drop.Function == "nf_hook_slow" && j.Drop.Decider == "ip_vs_in" && j.Drop.NfHook == "input"
		}},
		"a rule drops what IPVS has let pass": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().returns(event.IPVSIn, ipvsPassed).kfree("nf_hook_slow", "NETFILTER_DROP",
				"nf_hook_slow+0x1", "ip_local_deliver+0x2")
		}, fate: Dropped, role: Director, is: func(j Journey) bool { return j.Drop.Decider == "" }},
		"no destination, and what ip_vs_in returns is not seen": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().at(event.IPVSIn).returns(event.IPVSSchedule, 0).at(event.IPVSLeave).icmpSend(3, 3).
				kfree("nf_hook_slow", "", "nf_hook_slow+0x1", "ip_local_deliver+0x2")
			k.silence(time.Second)
		}, fate: Rejected, role: Director, is: func(j Journey) bool { return j.Drop.Decider == "ip_vs_in" }},
		"no destination, but IPVS lets it pass, and a rule drops": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().returns(event.IPVSSchedule, 0).at(event.IPVSLeave).returns(event.IPVSIn, ipvsPassed).
				kfree("nf_hook_slow", "NETFILTER_DROP", "nf_hook_slow+0x1", "ip_local_deliver+0x2")
		}, fate: Dropped, role: Director, is: func(j Journey) bool { return j.Drop.Decider == "" }},
		"no destination, and the rate limit keeps the answer back": {does: func(k *kernel) {
			k.packet(1, syn()).atDirector().returns(event.IPVSSchedule, 0).at(event.IPVSLeave).returns(event.IPVSIn, ipvsDropped).
				kfree("nf_hook_slow", "NETFILTER_DROP", "nf_hook_slow+0x1", "ip_local_deliver+0x2")
			k.silence(time.Second)
		}, fate: Rejected, role: Director, is: func(j Journey) bool {
			s, _ := step(j, event.IPVSSchedule)
			return *j.Reject == Reject{By: ByICMP, Type: 3, Code: 3} && s.Verdict == "no-destination"
		}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKernel()
			test.does(k)
			j := k.one(t, everywhere())
			if j.Fate != test.fate || test.role != "" && j.Role != test.role {
				t.Errorf("%s at %s, want %s at %s; drop %+v, steps %+v", j.Fate, j.Role, test.fate, test.role, j.Drop, j.Steps)
			}
			if test.is != nil && !test.is(j) {
				t.Errorf("%+v, drop %+v, reject %+v", j, j.Drop, j.Reject)
			}
		})
	}
}

func TestAHookThatReturnsLateSaysNothingOfTheRealServer(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).sends(nsClient)
	s.atDirector().scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit)
	s.tunnelled()
	s.taken() // the event has the packet's new device: the director's is told from where IPVS got it
	k.silence(6 * time.Second)
	j := k.one(t, everywhere())
	if in, _ := step(j, event.IPVSIn); j.Fate != Vanished || in.Netns != nsDirector {
		t.Errorf("%s, ip_vs_in in %d", j.Fate, in.Netns)
	}
}

func TestANetfilterQueueBehindADirectorIsStillAQueue(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).sends(nsClient)
	s.atDirector().scheduled(event.MethodTunnel).in(ipip()).at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit).taken()
	s.tunnelled().hook(1, 0)
	k.silence(20 * time.Second)
	if j := k.one(t, everywhere()); j.Fate != Open {
		t.Errorf("%s, want open", j.Fate)
	}
}

func TestDirectRoutingEndsAtTheRealServer(t *testing.T) {
	k := newKernel()
	s := k.packet(1, syn()).sends(nsClient)
	s.atDirector().scheduled(event.MethodDirect).at(event.NetDevQueue, event.NetDevStartXmit).taken()
	s.on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv, event.TCPRcv).returns(event.TCPRcv, 0)
	j := k.one(t, everywhere())
	if j.Fate != Delivered || j.Role != RealServer || len(j.Notices) != 0 {
		t.Errorf("%s at %s, notices %v", j.Fate, j.Role, j.Notices)
	}
}

func TestAReplyOnItsWayBackIsTheDirectors(t *testing.T) {
	k := newKernel()
	k.packet(1, syn()).atDirector().scheduled(event.MethodNAT).taken()
	k.packet(2, reply(event.SYN|event.ACK, 5000, 1001, 60)).on("eth0", nsDirector).at(event.NetDevQueue, event.NetDevStartXmit)
	k.silence(time.Second)
	for _, j := range k.assemble(t, everywhere()) {
		if j.Fate != Forwarded || j.Role != Director {
			t.Errorf("%s: %s at %s", j.Direction, j.Fate, j.Role)
		}
	}
}
