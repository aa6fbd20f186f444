package journey

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// session is a run with many kinds of packets in it.
func session() *kernel {
	k := newKernel()
	for i := range uint64(8) {
		id := 100*i + 1
		s := k.packet(id, syn()).sends(nsClient)
		s.on("eth0", nsDirector).at(event.NetifReceiveSkb, event.IPRcv, event.IPLocalDeliver)
		c := s.copy().in(ipip()).at(event.IPLocalOut, event.NetDevQueue, event.NetDevStartXmit)
		s.at(event.ConsumeSkb)
		c.tunnelled().at(event.TCPRcv, event.TCPDoRcv)
		k.packet(id+1, reply(event.SYN|event.ACK, 5000, 1001, 60)).sends(nsRealServer)
		c.at(event.ConsumeSkb)
		k.packet(id+2, request(event.ACK, 1001, 5001, 52)).tunnelled().at(event.TCPRcv, event.TCPAddBacklog).returns(event.TCPRcv, 0).
			at(event.TCPDoRcv).returns(event.TCPDoRcv, 0)
		d := k.packet(id+3, syn()).tunnelled().at(event.TCPRcv, event.SendReset)
		k.packet(id+4, reply(event.RST|event.ACK, 0, 1001, 40)).sends(nsRealServer)
		d.kfree("tcp_v4_rcv", "NO_SOCKET")
		k.packet(id+5, datagramTo(53, 0)).tunnelled().at(event.UDPRcv, event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
		q := k.packet(id+6, datagramTo(53, 1)).tunnelled().at(event.UDPRcv).icmpSend(3, 3)
		p := q.packet
		p.Quoted, p.ICMPType, p.ICMPCode = true, 3, 3
		k.packet(id+6, p).on("eth0", nsRealServer).at(event.IPLocalOut, event.NetDevQueue)
		q.kfree("__udp4_lib_rcv", "NO_SOCKET")
		n := k.packet(id+8, syn()).atDirector().scheduled(event.Method(i%5)).returns(event.IPVSIn, ipvsPassed).hook(3, 1)
		n.taken().at(event.NetDevQueue, event.NetDevStartXmit)
		k.packet(id+9, syn()).atDirector().returns(event.IPVSSchedule, 0).at(event.IPVSLeave).returns(event.IPVSIn, ipvsDropped).
			kfree("nf_hook_slow", "NETFILTER_DROP")
		k.packet(id+10, syn()).tunnelled().connRequest(int32(i % 2)).done()
		outerFragment(k).returns(event.IPDefrag, inProgress)
		k.packet(id+11, request(event.FIN|event.ACK, 1001, 5001, 52)).processed()
		k.packet(id+12, request(event.ACK, 1001, 5001, 52)).tunnelled().at(event.TCPRcv).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
		large := reply(event.ACK, 5001, 1001, 4396)
		large.Segments = 3
		k.packet(id+13, large).on("eth0", nsRealServer).at(event.IPLocalOut, event.NetDevQueue, event.ConsumeSkb)
		k.packet(id+14, reply(event.ACK, 6449, 1001, 1500)).on("eth0", nsRealServer).at(event.NetDevStartXmit)
		k.packet(id+7, request(event.ACK, 1001, 5001, 1500)).tunnelled()
		k.silence(200 * time.Millisecond)
	}
	k.silence(6 * time.Second)
	return k
}

// TestNoOrderOfEventsBreaksTheBooks shuffles, repeats and loses events: whatever comes, nothing panics,
// every journey ends once, and the account adds up.
func TestNoOrderOfEventsBreaksTheBooks(t *testing.T) {
	whole := session().events
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		events := slices.Clone(whole)
		for range r.IntN(40) {
			i, j := r.IntN(len(events)), r.IntN(len(events))
			switch r.IntN(3) {
			case 0:
				events[i], events[j] = events[j], events[i]
			case 1:
				events = slices.Insert(events, i, events[j])
			case 2:
				events = slices.Delete(events, i, i+1)
			}
		}
		if seed%10 == 0 {
			r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		}
		checkBooks(t, fmt.Sprintf("seed %d", seed), events, everywhere())
		checkBooks(t, fmt.Sprintf("seed %d, tracepoints", seed), events, tracepointTier())
	}
}

// checkBooks asserts what holds for any events.
func checkBooks(t *testing.T, what string, events []event.Event, run event.Run) {
	t.Helper()
	a := New(Options{Run: run})
	var js []Journey
	for _, e := range events {
		js = append(js, a.add(e)...)
	}
	js = append(js, a.finish()...)
	steps := map[string]bool{}
	for _, j := range js {
		if j.Took < 0 || j.Fate == Unknown && j.Gaps == 0 || j.Arrived() && j.Lost() || j.Fate == Rejected != (j.Reject != nil) {
			t.Fatalf("%s: %+v", what, j)
		}
		if j.Fate == Dropped && j.Drop == nil {
			t.Fatalf("%s: dropped, but where? %+v", what, j)
		}
		if j.Packet.Quoted || j.Packet.FlowOnly {
			t.Fatalf("%s: no packet has this journey: %+v", what, j)
		}
		last := time.Duration(0)
		for _, s := range j.Steps {
			if s.T < last {
				t.Fatalf("%s: steps go back in time: %+v", what, j)
			}
			last = s.T
		}
		steps[fmt.Sprintf("%x@%s", j.ID, j.Start)] = true
	}
	acc := a.Account()
	if acc.Journeys != len(js) || acc.Arrived+acc.Lost+acc.Open+acc.Unknown != acc.Journeys {
		t.Fatalf("%s: %d journeys, account %+v", what, len(js), acc)
	}
	if n := len(a.byKey) + len(a.bySkb) + len(a.byID) + len(a.agenda) + len(a.fragments); n != 0 {
		t.Fatalf("%s: %d things left after the end: %d keys, %d skbs, %d ids, %d deadlines, %d fragments", what, n,
			len(a.byKey), len(a.bySkb), len(a.byID), len(a.agenda), len(a.fragments))
	}
}

// TestLostEventsMakeNoHealthyPacketALoss loses events, and says so as the kernel half does: a packet whose
// end was lost is unknown at worst.
func TestLostEventsMakeNoHealthyPacketALoss(t *testing.T) {
	k := newKernel()
	for i := range uint64(40) {
		k.packet(i+1, request(event.ACK, uint32(1000+i), 5001, 52)).tunnelled().at(event.TCPRcv, event.TCPDoRcv).returns(event.TCPRcv, 0)
		k.pass(10 * time.Millisecond)
	}
	k.silence(7 * time.Second)
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		from := r.IntN(300)
		n := 1 + r.IntN(60)
		lost := event.Event{Kind: event.Lost, Time: k.events[from+n].Time, Count: uint64(n)}
		events := slices.Concat(k.events[:from], []event.Event{lost}, k.events[from+n:])
		a := New(Options{Run: everywhere()})
		var js []Journey
		for _, e := range events {
			js = append(js, a.add(e)...)
		}
		for _, j := range append(js, a.finish()...) {
			if j.Lost() {
				t.Fatalf("seed %d: %s, gaps %d, %+v", seed, j.Fate, j.Gaps, j.Steps)
			}
		}
	}
}

// TestMemoryIsBounded opens more journeys than are kept, and lets a packet loop.
func TestMemoryIsBounded(t *testing.T) {
	a := New(Options{Run: everywhere()})
	ended := 0
	k := newKernel()
	for i := range uint64(maxFlights + 1000) {
		p := datagramTo(53, uint16(i))
		p.SrcPort = uint16(i)
		k.packet(i+1, p).on("", nsRealServer).at(event.IPLocalOut)
		for _, e := range k.events {
			ended += len(a.add(e))
		}
		k.events = k.events[:0]
	}
	if ended == 0 || len(a.byKey) > maxFlights+1 || len(a.byID) > maxFlights+1 || a.flows.order.Len() > maxFlows || a.gone.order.Len() > maxGone {
		t.Errorf("%d ended, %d keys, %d ids, %d flows, %d gone", ended, len(a.byKey), len(a.byID), a.flows.order.Len(), a.gone.order.Len())
	}

	k = newKernel()
	s := k.packet(1, syn())
	for range 10_000 {
		s.on("eth0", nsDirector).at(event.NetifReceiveSkb)
		s.on("eth0", nsRealServer).at(event.NetifReceiveSkb)
	}
	if j := k.one(t, everywhere()); len(j.Steps) != maxSteps || j.More != 20_000-maxSteps {
		t.Errorf("%d steps, %d more", len(j.Steps), j.More)
	}
}

// FuzzAssembler makes events of bytes, five for each.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{1, 0, 1, 1, 64, 60, 1, 0, 0, 64})
	f.Add([]byte{1, 0, 1, 0, 64, 1, 8, 1, 0, 160, 254, 0, 0, 1, 224, 1, 9, 1, 7, 230, 16, 0, 0, 2, 0})
	f.Add([]byte{16, 3, 1, 0, 64, 6, 1, 1, 0, 64, 60, 1, 9, 0, 200, 61, 3, 0, 0, 223, 2, 2, 1, 0, 231})
	f.Fuzz(func(t *testing.T, data []byte) {
		checkBooks(t, "fuzz", fuzzed(data), everywhere())
		checkBooks(t, "fuzz, tracepoints", fuzzed(data), tracepointTier())
	})
}

// extremes are times that only a recording can have.
var extremes = []time.Duration{
	math.MaxInt64, math.MaxInt64 - 1, event.MaxTime, event.MaxTime - 1, math.MaxInt64 - DefaultPatience, 0, -1, math.MinInt64,
}

// TestNoTimeStopsTheAssembler has packets at times where a wait that is added overflows: it went round for ever.
func TestNoTimeStopsTheAssembler(t *testing.T) {
	for _, patience := range []time.Duration{0, -1, time.Nanosecond, math.MaxInt64} {
		for seed := range uint64(50) {
			r := rand.New(rand.NewPCG(seed, 3))
			events := slices.Clone(session().events)
			for range 20 {
				events[r.IntN(len(events))].Time = extremes[r.IntN(len(extremes))]
			}
			if seed == 0 {
				for i := range events {
					events[i].Time = math.MaxInt64
				}
			}
			a := New(Options{Run: everywhere(), Patience: patience})
			ended := 0
			for _, e := range events {
				ended += len(a.add(e))
			}
			if ended += len(a.finish()); ended == 0 || ended != a.Account().Journeys {
				t.Fatalf("patience %s, seed %d: %d journeys, account %+v", patience, seed, ended, a.Account())
			}
		}
	}
}

// TestTimeThatLeapsIsCheap has many packets wait, and time pass in leaps: a packet is not looked at once a leap.
func TestTimeThatLeapsIsCheap(t *testing.T) {
	k := newKernel()
	for i := range uint64(100) {
		p := datagramTo(53, uint16(i))
		p.SrcPort = uint16(i)
		k.packet(i+1, p).on("eth0", nsRealServer).at(event.IPLocalOut, event.NetDevQueue)
	}
	a := New(Options{Run: everywhere()})
	k.assembleSoFar(a)
	now := a.now
	for range 10_000 {
		now += time.Hour
		if ended := a.add(event.Event{Kind: event.Tick, Time: now}); len(ended) > 0 {
			t.Fatalf("a packet in a queue ended: %+v", ended[0])
		}
	}
	if len(a.agenda) != 100 {
		t.Fatalf("%d packets wait", len(a.agenda))
	}
	for _, f := range a.agenda {
		if f.rounds > 64 {
			t.Fatalf("a packet was looked at %d times", f.rounds)
		}
	}
}

// TestEffortOfASightingIsBounded opens very many journeys with one hash, and fragments of one datagram.
func TestEffortOfASightingIsBounded(t *testing.T) {
	a := New(Options{Run: everywhere()})
	for i := range uint64(3 * maxAlike) {
		k := newKernel()
		k.packet(1, datagramTo(53, 0)).on("eth0", nsRealServer).at(event.NetifReceiveSkb)
		k.events[0].Skb = i + 1
		k.assembleSoFar(a)
	}
	if n := len(a.byID[1]); n > maxAlike || len(a.agenda) != 3*maxAlike {
		t.Errorf("%d of %d journeys are looked at for each sighting", n, len(a.agenda))
	}
	for i := range uint64(3 * maxParts) {
		k := newKernel()
		outerFragment(k).returns(event.IPDefrag, inProgress)
		for j := range k.events {
			k.events[j].Skb, k.events[j].ID = 1<<20+i, 1<<20+i
		}
		k.assembleSoFar(a)
	}
	for d, parts := range a.fragments {
		if len(parts) > maxParts {
			t.Errorf("%d fragments of %+v", len(parts), d)
		}
	}
	a.finish()
	if n := len(a.byKey) + len(a.bySkb) + len(a.byID) + len(a.agenda) + len(a.fragments); n != 0 {
		t.Errorf("%d things left after the end", n)
	}
}

func fuzzed(data []byte) []event.Event {
	headers := []event.Packet{
		syn(), request(event.ACK, 1001, 5001, 1500), request(event.RST, 1001, 0, 40),
		reply(event.SYN|event.ACK, 5000, 1001, 60), reply(event.RST|event.ACK, 0, 1001, 40), datagramTo(53, 0),
	}
	outer := ipip()
	at := time.Second
	var events []event.Event
	for ; len(data) >= 5; data = data[5:] {
		place, who, what, how, when := data[0], data[1], data[2], data[3], data[4]
		at = fuzzedTime(at, when)
		e := event.Event{
			Time: at, Place: event.Place(place % 72), Skb: uint64(who&7) + 1, Seen: time.Duration(who >> 3 & 3), ID: uint64(who>>5) + 1,
			First: what&1 != 0, Reused: what&3 == 3, Returned: what&4 != 0, Netns: uint32(what >> 3 & 3), Ifindex: uint32(what >> 5),
			Value: int32(how&3) - 1, Aux: uint32(how), Peer: uint64(how&7) + 1,
		}
		if place >= 250 {
			e.Kind = event.Kind(place % 4)
		}
		if e.First || what&8 != 0 {
			p := headers[int(who>>4)%len(headers)]
			p.Dev, p.Quoted, p.FlowOnly = "eth0", what&0x30 == 0x30, what&0x60 == 0x60
			p.Segments = uint16(how & 3)
			if what&0x10 != 0 {
				p.Outer = &outer
			}
			e.Packet = &p
		}
		if e.Place == event.KfreeSkb && how&0x80 == 0 {
			row := ordinaryFrees[int(how)%len(ordinaryFrees)]
			e.Drop = &event.Drop{Function: "tcp_v4_rcv", Reason: row.reasons[0]}
			if len(row.functions) > 0 {
				e.Drop.Function = row.functions[0]
			}
		}
		events = append(events, e)
	}
	return events
}

// fuzzedTime is the time of the next event: the same, a little later or earlier as CPUs are, much later, or one that only a
// recording can have.
func fuzzedTime(at time.Duration, when byte) time.Duration {
	switch step := time.Duration(when & 31); when >> 5 {
	case 0, 1:
		return at
	case 2, 3:
		return at + step*time.Microsecond
	case 4:
		return at + step*100*time.Millisecond
	case 5:
		return at - step*time.Microsecond
	case 6:
		return at + step*step*step*time.Hour
	}
	return extremes[when&7]
}

// BenchmarkTenThousandOpenJourneys is the cost of an event while many journeys wait.
func BenchmarkTenThousandOpenJourneys(b *testing.B) {
	a := New(Options{Run: everywhere()})
	k := newKernel()
	for i := range uint64(10_000) {
		p := datagramTo(53, uint16(i))
		p.SrcPort = uint16(i)
		k.packet(i+1, p).on("", nsRealServer).at(event.IPLocalOut)
	}
	k.assembleSoFar(a)
	k.events = nil
	k.packet(1<<40, syn()).tunnelled().at(event.TCPRcv).returns(event.TCPRcv, 0)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		for _, e := range k.events {
			e.Seen += time.Duration(i)
			a.add(e)
		}
	}
	b.ReportMetric(float64(len(k.events)), "events/op")
}
