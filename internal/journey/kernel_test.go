package journey

import (
	"net/netip"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

const us = time.Microsecond

// namespaces of a lab in one kernel, and the devices in them.
const (
	nsClient = 101 + iota
	nsDirector
	nsRealServer
)

var (
	client   = netip.MustParseAddr("203.0.113.9")
	vip      = netip.MustParseAddr("10.99.0.1")
	dip      = netip.MustParseAddr("10.0.1.2")
	rip      = netip.MustParseAddr("10.0.1.5")
	runStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// kernel writes the events of a test as a kernel would.
type kernel struct {
	at     time.Duration
	skbs   uint64
	events []event.Event
	cpu    uint32
}

func newKernel() *kernel { return &kernel{at: time.Second, skbs: 0xffff888000000000} }

// skb is a packet in the kernel of a test.
type skb struct {
	k       *kernel
	addr    uint64
	seen    time.Duration
	id      uint64
	packet  event.Packet
	ifindex uint32
	netns   uint32
	begun   bool
	changed bool
}

// packet makes a packet in a new sk_buff that nobody has seen yet.
func (k *kernel) packet(id uint64, p event.Packet) *skb {
	k.skbs += 0x100
	return &skb{k: k, addr: k.skbs, id: id, packet: p}
}

// copy is the same packet in a new sk_buff.
func (s *skb) copy() *skb {
	s.k.skbs += 0x100
	c := *s
	c.addr, c.begun, c.seen = s.k.skbs, false, 0
	return &c
}

// handedOn is the sk_buff in which a packet goes on whose own a tap has.
func (s *skb) handedOn() *skb {
	c := s.copy()
	c.event(event.Cloned).Peer = s.addr
	return c
}

func (k *kernel) pass(d time.Duration) { k.at += d }

func (k *kernel) tick() {
	k.events = append(k.events, event.Event{Kind: event.Tick, Time: k.at})
}

// silence lets time pass, with the ticks of an idle ring.
func (k *kernel) silence(d time.Duration) {
	for end := k.at + d; k.at < end; {
		k.at += min(100*time.Millisecond, end-k.at)
		k.tick()
	}
}

func (k *kernel) lose(n uint64) {
	k.events = append(k.events, event.Event{Kind: event.Lost, Time: k.at, Count: n})
}

// on moves a packet to a device; the next sighting says so.
func (s *skb) on(dev string, netns uint32) *skb {
	s.packet.Dev, s.netns, s.changed = dev, netns, true
	s.ifindex = uint32(len(dev)) + 1
	return s
}

// in wraps a packet, bare unwraps it.
func (s *skb) in(h event.Header) *skb { s.packet.Outer, s.changed = &h, true; return s }
func (s *skb) bare() *skb             { s.packet.Outer, s.changed = nil, true; return s }

func (s *skb) event(p event.Place) *event.Event {
	s.k.at += us
	e := event.Event{
		Time: s.k.at, Place: p, Skb: s.addr, ID: s.id, Netns: s.netns, Ifindex: s.ifindex, CPU: s.k.cpu,
	}
	if !s.begun {
		s.begun, s.seen, s.changed = true, e.Time, true
		e.First = true
	}
	if s.changed {
		p := s.packet
		e.Packet, s.changed = &p, false
	}
	e.Seen = s.seen
	s.k.events = append(s.k.events, e)
	return &s.k.events[len(s.k.events)-1]
}

// at is one sighting after the other.
func (s *skb) at(places ...event.Place) *skb {
	for _, p := range places {
		s.event(p)
	}
	return s
}

// returns is the return of a function.
func (s *skb) returns(p event.Place, value int32) *skb {
	e := s.event(p)
	e.Returned, e.Value = true, value
	return s
}

func (s *skb) value(p event.Place, value int32) *skb {
	s.event(p).Value = value
	return s
}

func (s *skb) hook(hook uint32, value int32) *skb {
	e := s.event(event.NfHookSlow)
	e.Returned, e.Value, e.Aux = true, value, hook|2<<8
	return s
}

func (s *skb) kfree(function, reason string, stack ...string) *skb {
	s.event(event.KfreeSkb).Drop = &event.Drop{Function: function, Symbol: function + "+0x10", Reason: reason, Stack: stack}
	return s
}

// uses is a rule of nftables that drops the packet.
func (s *skb) uses(p event.Place, handle uint64, value int32, next uint32) *skb {
	e := s.event(p)
	e.Peer, e.Value, e.Aux = handle, value, next
	return s
}

// consumed is consume_skb of a kernel that says where.
func (s *skb) consumed(function string) *skb {
	s.event(event.ConsumeSkb).Drop = &event.Drop{Function: function}
	return s
}

// readInVain is the freeing of a datagram in its socket's queue, of which the kernel half knows no more by then.
func (s *skb) readInVain() *skb {
	s.k.at += us
	p := s.packet
	e := event.Event{Time: s.k.at, Place: event.KfreeSkb, First: true, Skb: s.addr, Seen: s.k.at, ID: s.id, Packet: &p}
	e.Drop = &event.Drop{Function: "udp_recvmsg"}
	s.k.events = append(s.k.events, e)
	return s
}

func (s *skb) icmpSend(icmp, code uint32) *skb {
	s.event(event.ICMPSend).Aux = icmp<<8 | code
	return s
}

// state is a change of the state of the flow's socket; s may be unknown to the kernel half (known false).
func (s *skb) state(from, to uint32, known bool) *skb {
	s.k.at += us
	e := event.Event{Time: s.k.at, Place: event.InetSockSetState, Netns: s.netns, Value: int32(to), Aux: from}
	p := s.packet
	p.FlowOnly, p.Outer = true, nil
	e.Packet = &p
	if known {
		e.Skb, e.Seen, e.ID = s.addr, s.seen, s.id
	}
	s.k.events = append(s.k.events, e)
	return s
}

// request is a TCP segment from the client to the VIP.
func request(flags event.TCPFlags, seq, ack uint32, length uint16) event.Packet {
	return event.Packet{
		Inner:    event.Header{Src: client, Dst: vip, TTL: 63, Protocol: protoTCP, ID: 7, Len: length},
		HasPorts: true, SrcPort: 41522, DstPort: 80, Seq: seq, Ack: ack, TCPFlags: flags,
	}
}

// reply is a TCP segment from the VIP to the client.
func reply(flags event.TCPFlags, seq, ack uint32, length uint16) event.Packet {
	return event.Packet{
		Inner:    event.Header{Src: vip, Dst: client, TTL: 64, Protocol: protoTCP, ID: 8, Len: length},
		HasPorts: true, SrcPort: 80, DstPort: 41522, Seq: seq, Ack: ack, TCPFlags: flags,
	}
}

func datagramTo(port uint16, ipID uint16) event.Packet {
	return event.Packet{
		Inner:    event.Header{Src: client, Dst: vip, TTL: 63, Protocol: protoUDP, ID: ipID, Len: 60},
		HasPorts: true, SrcPort: 5353, DstPort: port, UDPLen: 40,
	}
}

func syn() event.Packet { return request(event.SYN, 1000, 0, 60) }

// ipip is the director's header around a packet.
func ipip() event.Header {
	return event.Header{Src: dip, Dst: rip, TTL: 63, Protocol: 4, ID: 4711, Len: 80}
}

// tunnelled brings a packet to a real server, up to the tunnel's device.
func (s *skb) tunnelled() *skb {
	s.in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb, event.IPRcv)
	s.returns(event.IPRouteInput, 0).at(event.IPLocalDeliver, event.Tunnel4Rcv, event.IPTunnelRcv)
	s.bare().on("tunl0", nsRealServer).at(event.GroCellsReceive, event.NetifReceiveSkb, event.IPRcv)
	return s
}

// traced does the same in the tracepoint tier.
func (s *skb) traced() *skb {
	s.in(ipip()).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	return s.bare().on("tunl0", nsRealServer).at(event.NetifReceiveSkb)
}

// sends sends a packet from a namespace out of its device.
func (s *skb) sends(netns uint32) *skb {
	s.on("", netns).at(event.IPLocalOut)
	return s.on("eth0", netns).at(event.NetDevQueue, event.NetDevStartXmit).value(event.NetDevXmit, 0)
}

var filter = event.Filter{VIPs: []netip.Addr{vip}, Ports: []uint16{80, 53}}

// everywhere is a run that watches every place; tracepointTier one that has tracepoints only.
func everywhere() event.Run {
	return event.Run{Start: runStart, Filter: filter}
}

func tracepointTier() event.Run {
	run := everywhere()
	for _, p := range []event.Place{
		event.NetifReceiveSkb, event.NetDevQueue, event.NetDevStartXmit, event.NetDevXmit, event.TCPProbe,
		event.InetSockSetState, event.KfreeSkb, event.ConsumeSkb, event.SendReset, event.ICMPSend,
	} {
		run.Probes = append(run.Probes, event.Probe{Place: p, Name: p.String(), Mechanism: "tracepoint"})
	}
	run.Probes = append(run.Probes, event.Probe{Place: event.TCPRcv, Name: event.TCPRcv.String(), Why: "not supported"})
	return run
}

// assemble is what becomes of the events, up to the end of the run.
func (k *kernel) assemble(t *testing.T, run event.Run) []Journey {
	t.Helper()
	a := New(Options{Run: run})
	return append(k.assembleSoFar(a), a.finish()...)
}

func (k *kernel) assembleSoFar(a *Assembler) []Journey {
	var out []Journey
	for _, e := range k.events {
		out = append(out, a.add(e)...)
	}
	return out
}

// played is a kernel that has done something, and how it was watched: everywhere, unless a test says how.
func played(watched func() event.Run, does func(*kernel)) (*kernel, event.Run) {
	k := newKernel()
	does(k)
	if watched == nil {
		return k, everywhere()
	}
	return k, watched()
}

// one is the only journey that the events are.
func (k *kernel) one(t *testing.T, run event.Run) Journey {
	t.Helper()
	js := k.assemble(t, run)
	if len(js) != 1 {
		for _, j := range js {
			t.Logf("%016x %s %+v", j.ID, j.Fate, j.Steps)
		}
		t.Fatalf("%d journeys, want 1", len(js))
	}
	return js[0]
}
