package journey

import (
	"cmp"
	"slices"
	"time"

	"ipiptrace/tracer/event"
)

// key is a packet's identity in the kernel: the address of its sk_buff and the time of first sight.
type key struct {
	skb  uint64
	seen time.Duration
}

// leaving is how far a packet has got on its way out of a network namespace.
type leaving uint8

const (
	staying leaving = iota
	sent            // the IP layer sends it
	queued          // a device has it in its queue
	driven          // a device's driver has it
)

// handling is how far the protocol of a socket has got with a packet that arrived. Each includes what is before it but
// deferred, which is the end of an ACK; nothing takes it back but an arrival by another device.
type handling uint8

const (
	untaken    handling = iota
	inProtocol          // TCP, UDP or ICMP has it
	deferred            // its listener waits for data before it makes a socket
	processed           // a socket, or TIME_WAIT, has worked on it
	byChild             // it completed a handshake: the new socket has it
)

// doubt is why a silence that would mean a loss, or an arrival, means neither.
type doubt uint8

const (
	noDoubt        doubt = iota
	takenOrRefused       // a SYN, or the ACK that ends a handshake: only what follows can tell
	unfollowed           // it goes on in a clone that was not seen, a tap having had the sk_buff that it came in
)

// device is one in a network namespace.
type device struct{ netns, ifindex uint32 }

// maxSteps bounds the memory of a journey: a packet that loops is seen without end.
const maxSteps = 256

// sighting is a Step before the journey's start is known, with what tells clones apart.
type sighting struct {
	Step
	at      time.Duration
	key     key
	ifindex uint32
	ttl     uint8
}

// position is where a packet is, and what it did to come there.
type position struct {
	// Where it is.
	dev       string
	ifindex   uint32
	netns     uint32
	tunnelled bool   // it has an outer header
	tunnel    device // took the last outer header off
	ttl       uint8
	outer     *event.Header
	changed   *event.Packet // as NAT left it

	// What it did in the present network namespace. Which of these hold together:
	//
	//	none                          it was sent here, and is plain
	//	encapped                      it was sent here, and wrapped
	//	arrived                       it came plain
	//	arrived, encapped             it came plain, and was wrapped: a director's
	//	arrived, cameIPIP             it came in IPIP, and is in it, or was taken out (decapped): a real server's
	//	…, cameIPIP, decapped, encapped   it was taken out, and wrapped again: IPVS of a real server
	//	arrived, decapped             it came plain, or was sent here, and was wrapped and taken out here
	//
	// A packet that leaves by a device and is seen in another namespace begins anew (enter). Its socket and its backlog begin
	// anew whenever it comes in by a device, the tunnel's included (arrive), and director when it comes back in.
	arrived  bool // came in through a device
	cameIPIP bool // ... with an outer header
	decapped bool // lost it
	encapped bool // got one
	leaving  leaving
	// socket and backlog are of a packet that stays: what is on its way out has no socket to reach.
	socket   handling
	backlog  bool // waited, or waits, until its socket's user let go
	director director

	// firstArrived: its first sight was that it came in through a device, wherever it is by now.
	firstArrived bool
	// balanced: IPVS has sent it on, given is the sk_buff that it got, as long as its caller has not returned.
	balanced bool
	given    key
}

// flight is a journey that has not ended.
type flight struct {
	id     uint64
	packet event.Packet // at first sight, or the first one with headers
	flow   *flow
	way    int // index into flow.ways
	reply  bool

	// keys are the sk_buffs that it lives in, the one seen last at the end.
	keys  []key
	first time.Duration
	last  time.Duration
	steps []sighting
	// events is the number of its sightings.
	events uint64
	// more is the number of sightings beyond maxSteps.
	more int
	// losses is how many losses the Assembler had seen when it began, gaps what was missing besides.
	losses, gaps int

	position
	segments uint16
	// fork is when it was copied last, aside are the copies that are no part of its way.
	fork  *fork
	aside []key

	// What will become of it if nothing more is seen.
	prospect prospect
	deadline time.Duration
	rounds   int    // how often the deadline has passed, and it was waiting still
	slot     int    // in the agenda
	number   uint64 // counts the flights of a run
	fragment *datagram

	// rule drops it, in the sk_buff ruled.
	rule  *NftRule
	ruled key

	reject *Reject
	// toldItself: the answer was made, and is for this host itself. It needs no neighbour, and is gone when the packet is freed.
	toldItself bool
	freed      *Drop // of the sk_buff seen last
	lostCopy   *Drop // of another one, which matters only if none gets further
	duplicate  bool
	replyLost  bool
	astray     *event.Header // as in Journey
	awaiting   bool          // a datagram that its socket has: whether its answer finds a way
	gone       bool          // a reply of which is known by what device it leaves
	answers    *flight       // the datagram that waits for that
	became     uint64
	related    *flight
	fallback   uint64 // Related if related was not delivered
	quoted     bool   // an ICMP error about a packet: it is an answer, not a journey
	// reassembled: it lives in the sk_buff of another fragment, whose hash the kernel half may still report.
	reassembled bool
	doubt       doubt
	// pardon is evidence that would turn a loss into a delivery, looked for until the prospect is due.
	pardon func(*flight) bool
	ended  bool
	fate   Fate
}

func (f *flight) has(flag event.TCPFlags) bool {
	return f.packet.Inner.Protocol == protoTCP && f.packet.TCPFlags&flag != 0
}

// now is the packet as NAT left it.
func (f *flight) now() event.Packet {
	if f.changed != nil {
		return *f.changed
	}
	return f.packet
}

func (f *flight) isSYN() bool { return f.has(event.SYN) && !f.has(event.ACK) }

// reachedHost reports whether the packet came in and is beyond the tunnel: what is left is local.
func (f *flight) reachedHost() bool {
	return f.arrived && !f.tunnelled && f.leaving == staying
}

// mayCarryData reports whether a TCP segment may have a payload: the length of its header was not recorded.
func (f *flight) mayCarryData() bool {
	const bareACK = 20 + 32 // with the timestamp option
	return f.packet.Inner.Protocol == protoTCP && f.packet.HasPorts &&
		!f.has(event.SYN|event.RST|event.FIN) && (f.has(event.PSH) || f.packet.Inner.Len > bareACK)
}

func (f *flight) alreadyAcked() bool {
	if f.packet.Inner.Protocol != protoTCP || f.flow == nil {
		return false
	}
	return !f.isSYN() && f.flow.ways[f.way].ackedBeyond(f.packet.Seq)
}

func (f *flight) timeWait() bool { return f.flow != nil && f.flow.timeWait(f.netns, f.last) }

// current is the sk_buff that was seen last.
func (f *flight) current() key {
	if len(f.keys) == 0 {
		return key{}
	}
	return f.keys[len(f.keys)-1]
}

// touch notes that an sk_buff was seen last.
func (f *flight) touch(k key) {
	if n := len(f.keys); n > 1 && f.keys[n-1] != k {
		f.release(k)
		f.keys = append(f.keys, k)
	}
}

// release forgets an sk_buff and says how many are left.
func (f *flight) release(k key) int {
	f.keys = slices.DeleteFunc(f.keys, func(x key) bool { return x == k })
	return len(f.keys)
}

// beenAt reports whether another sk_buff of this journey was seen at a place, on the same device and with
// the same TTL: no packet passes twice, so what is seen there now is another packet with the same hash.
func (f *flight) beenAt(e event.Event) bool {
	ttl := f.ttl
	if e.Packet != nil {
		ttl = e.Packet.Inner.TTL
	}
	k := key{e.Skb, e.Seen}
	for _, s := range f.steps {
		if s.key != k && s.Place == e.Place && s.Netns == e.Netns && s.ifindex == e.Ifindex && s.ttl == ttl {
			return true
		}
	}
	return false
}

// move updates where the packet is.
func (f *flight) move(e event.Event) {
	if e.Netns != 0 && e.Netns != f.netns {
		f.enter(e.Netns)
	}
	if e.Ifindex != 0 {
		f.ifindex = e.Ifindex
	}
	if p := e.Packet; p != nil && !p.FlowOnly {
		if p.Dev != "" {
			f.dev = p.Dev
		}
		f.ttl = p.Inner.TTL
		f.segments = max(f.segments, p.Segments)
		f.shape(p.Outer)
		if !p.NoInner && !sameEnds(p, &f.packet) {
			f.changed = p
		}
	}
	if e.Place == event.NetifReceiveSkb {
		f.arrive()
	}
}

// sameEnds reports whether two headers are of the same source and destination. A fragment has no ports to compare.
func sameEnds(a, b *event.Packet) bool {
	if a.Inner.Src != b.Inner.Src || a.Inner.Dst != b.Inner.Dst {
		return false
	}
	return !a.HasPorts || !b.HasPorts || a.SrcPort == b.SrcPort && a.DstPort == b.DstPort
}

// enter begins a new network namespace.
func (f *flight) enter(netns uint32) {
	// Without having left by a device it is the tunnel that lives in another namespace.
	if f.netns != 0 && f.leaving != staying {
		f.arrived, f.cameIPIP, f.decapped, f.encapped = false, false, false, false
		f.director = director{}
	}
	f.netns = netns
}

// shape notes whether there is an outer header.
func (f *flight) shape(outer *event.Header) {
	switch {
	case outer != nil && !f.tunnelled:
		f.encapped = f.arrived || len(f.steps) > 0
		f.tunnelled = true
	case outer == nil && f.tunnelled:
		f.decapped, f.tunnel = true, device{f.netns, f.ifindex}
		f.tunnelled = false
	}
	if outer != nil {
		f.outer = outer
	}
}

func (f *flight) arrive() {
	f.firstArrived = f.firstArrived || len(f.steps) == 0
	if f.leaving != staying {
		f.director = director{}
	}
	if !f.arrived {
		f.arrived, f.cameIPIP = true, f.tunnelled
		f.encapped = false
	}
	f.leaving = staying
	f.socket, f.backlog = untaken, false
}

// step adds a sighting to the path; late: what returns there has nothing more to say of the packet.
func (f *flight) step(e event.Event, late bool) {
	if e.Returned && f.complete(e) {
		return
	}
	if len(f.steps) >= maxSteps {
		f.more++
		return
	}
	s := sighting{at: e.Time, key: key{e.Skb, e.Seen}, ifindex: e.Ifindex, ttl: f.ttl, Step: Step{
		Place: e.Place, Dev: f.dev, Netns: f.netns, Tunnelled: f.tunnelled, Returned: e.Returned, Value: e.Value,
	}}
	if e.Netns != 0 {
		s.Netns = e.Netns
	}
	if e.Place == event.NfHookSlow {
		s.NfHook = hookName(e.Aux)
	}
	s.Verdict, s.Method = word(e)
	if at, ok := f.whereGiven(s.key); ok && late {
		s.Dev, s.Netns, s.Tunnelled = at.Dev, at.Netns, at.Tunnelled
	}
	f.steps = append(f.steps, s)
}

// complete finds the step at which the function was entered that returns now.
func (f *flight) complete(e event.Event) bool {
	if e.Place == event.NfHookSlow {
		return false
	}
	for i := len(f.steps) - 1; i >= 0; i-- {
		if s := &f.steps[i]; s.Place == e.Place && !s.Returned {
			s.Returned, s.Value = true, e.Value
			s.Verdict, _ = word(e)
			return true
		}
	}
	return false
}

// journey is the flight as others see it.
func (f *flight) journey(run event.Run, losses int, role Role) Journey {
	slices.SortStableFunc(f.steps, func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	start := f.first
	if len(f.steps) > 0 {
		start = min(start, f.steps[0].at)
	}
	j := Journey{
		Events: f.events,
		ID:     f.id, Start: run.Wall(start), More: f.more, Took: f.last - start, Role: role, Direction: Request,
		Outer: f.outer, Packet: f.packet, Changed: f.changed, Fate: f.fate, Drop: f.freed, Duplicate: f.duplicate, ReplyLost: f.replyLost, Astray: f.astray,
		Became: f.became, Related: f.relatedID(), Gaps: f.gaps + losses - f.losses,
	}
	if f.reply {
		j.Direction = Reply
	}
	if f.fate == Rejected {
		j.Reject = f.reject
	}
	if f.segments > 1 {
		j.Segments = int(f.segments)
	}
	j.Steps = make([]Step, len(f.steps))
	for i, s := range f.steps {
		j.Steps[i] = s.Step
		j.Steps[i].T = s.at - start
	}
	return j
}

// relatedID is the request that a reply belongs to.
func (f *flight) relatedID() uint64 {
	if f.related != nil && (f.related.fate == Delivered || !f.related.ended && f.related.prospect.fate == Delivered) {
		return f.related.id
	}
	return f.fallback
}

// dropIn is a drop that a place's return tells of, not the freeing.
func (f *flight) dropIn(p event.Place, hook string) *Drop {
	d := &Drop{Drop: event.Drop{Function: p.String()}, Dev: f.dev, Netns: f.netns, Tunnelled: f.tunnelled, NfHook: hook}
	if f.director.drops() && p == event.NfHookSlow {
		d.NfHook, d.Decider = "input", event.IPVSIn.String()
	}
	return d
}
