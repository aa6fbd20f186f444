package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// noWay is the lookup of a route for the answer to a datagram that finds none.
func (s *skb) noWay() *skb {
	e := s.event(event.IPRouteOutput)
	p := s.packet
	p.FlowOnly, p.Outer = true, nil
	e.Packet, e.Skb, e.Seen, e.ID, e.Returned, e.Value = &p, 0, 0, 0, true, -101
	return s
}

// queued brings a datagram to its socket.
func (s *skb) queued() *skb {
	return s.tunnelled().at(event.UDPQueueRcv).returns(event.UDPQueueRcv, 0)
}

func answerOf(request event.Packet) event.Packet {
	p := request
	p.Inner.Src, p.Inner.Dst, p.SrcPort, p.DstPort = request.Inner.Dst, request.Inner.Src, request.DstPort, request.SrcPort
	return p
}

// TestADatagramIsAnsweredOrCanNotBe asks for the journeys of the datagrams with ids 1 and 2: whether their answers were lost.
func TestADatagramIsAnsweredOrCanNotBe(t *testing.T) {
	for what, test := range map[string]struct {
		does func(k *kernel)
		lost map[uint64]bool
	}{
		"answered": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).queued()
			k.packet(9, answerOf(datagramTo(80, 7))).sends(nsRealServer)
		}, map[uint64]bool{1: false}},
		"not tried": {func(k *kernel) { k.packet(1, datagramTo(80, 7)).queued().k.silence(time.Second) }, map[uint64]bool{1: false}},
		"no way back": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).queued().noWay()
		}, map[uint64]bool{1: true}},
		"the first is answered, the second can't be": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).queued()
			s := k.packet(2, datagramTo(80, 8)).queued()
			k.packet(9, answerOf(datagramTo(80, 7))).sends(nsRealServer)
			s.noWay()
		}, map[uint64]bool{1: false, 2: true}},
		"no way back, found on another CPU before the queue's function returns": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).tunnelled().at(event.UDPQueueRcv).noWay().returns(event.UDPQueueRcv, 0)
		}, map[uint64]bool{1: true}},
		"no way back, and its reader has freed it on another CPU before the queue's function returns": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).tunnelled().at(event.UDPQueueRcv, event.ConsumeSkb).noWay()
		}, map[uint64]bool{1: true}},
		"freed by its reader before the queue's function returns, and not tried": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).tunnelled().at(event.UDPQueueRcv, event.ConsumeSkb).k.silence(3 * time.Second)
		}, map[uint64]bool{1: false}},
		"no way back, when another packet has its address already": {func(k *kernel) {
			s := k.packet(1, datagramTo(80, 7)).queued()
			other := k.packet(3, syn())
			other.addr = s.addr
			other.on("eth0", nsDirector).at(event.NetifReceiveSkb)
			s.noWay()
		}, map[uint64]bool{1: true}},
		"answered before the queue's function returns, the next one can't be": {func(k *kernel) {
			s := k.packet(1, datagramTo(80, 7)).tunnelled().at(event.UDPQueueRcv)
			k.packet(9, answerOf(datagramTo(80, 7))).sends(nsRealServer)
			s.returns(event.UDPQueueRcv, 0)
			k.packet(2, datagramTo(80, 8)).queued().noWay()
		}, map[uint64]bool{1: false, 2: true}},
		"the one before could not be answered": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).noWay()
			k.packet(2, datagramTo(80, 8)).queued()
		}, map[uint64]bool{2: false}},
		"the answer to another flow": {func(k *kernel) {
			k.packet(1, datagramTo(80, 7)).queued()
			other := datagramTo(80, 7)
			other.SrcPort = 999
			k.packet(8, other).noWay()
		}, map[uint64]bool{1: false}},
		"too late to be its answer": {func(k *kernel) {
			s := k.packet(1, datagramTo(80, 7)).queued()
			k.silence(2 * replyWait)
			s.noWay()
		}, map[uint64]bool{1: false}},
	} {
		t.Run(what, func(t *testing.T) {
			k := &kernel{}
			test.does(k)
			k.silence(time.Second)
			seen := 0
			for _, j := range k.assemble(t, everywhere()) {
				lost, asked := test.lost[j.ID]
				if !asked {
					continue
				}
				seen++
				if j.Fate != Delivered || j.ReplyLost != lost || j.Lost() != lost || j.Gaps != 0 {
					t.Errorf("journey %d: %s, reply lost %v, gaps %d; want reply lost %v", j.ID, j.Fate, j.ReplyLost, j.Gaps, lost)
				}
			}
			if seen != len(test.lost) {
				t.Errorf("%d journeys, want %d", seen, len(test.lost))
			}
		})
	}
}
