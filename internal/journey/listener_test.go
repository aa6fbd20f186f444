package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// connRequest is what tcp_conn_request returns for a SYN that a listener got.
func (s *skb) connRequest(value int32) *skb {
	return s.at(event.TCPRcv, event.TCPDoRcv, event.TCPConnRequest).returns(event.TCPConnRequest, value)
}

// done is what the kernel does with a SYN in either case.
func (s *skb) done() *skb {
	return s.at(event.ConsumeSkb).returns(event.TCPDoRcv, 0).returns(event.TCPRcv, 0)
}

func synack() event.Packet { return reply(event.SYN|event.ACK, 5000, 1001, 60) }

// TestASYNIsTakenOrRefused is the table of what a listener can do with one; the journey of the SYN with id 1 is asked for.
func TestASYNIsTakenOrRefused(t *testing.T) {
	for what, test := range map[string]struct {
		run  func() event.Run
		does func(k *kernel)
		fate Fate
		is   func(Journey) bool
	}{
		"refused, although the kernel consumes it": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().connRequest(0).done()
		}, fate: Dropped, is: func(j Journey) bool {
			s, _ := step(j, event.TCPConnRequest)
			return j.Drop.Function == "tcp_conn_request" && j.Drop.Symbol == "" && j.Drop.Reason == "" && j.Drop.Dev == "tunl0" &&
				j.Drop.Netns == nsRealServer && j.Reject == nil && s.Verdict == "refused"
		}},
		"answered": {does: func(k *kernel) {
			s := k.packet(1, syn()).tunnelled().at(event.TCPRcv, event.TCPDoRcv, event.TCPConnRequest)
			k.packet(2, synack()).sends(nsRealServer)
			s.returns(event.TCPConnRequest, 1).done()
		}, fate: Delivered, is: func(j Journey) bool { return !j.Duplicate }},
		"an entry alone means nothing": {does: func(k *kernel) {
			k.packet(1, syn()).tunnelled().at(event.TCPRcv, event.TCPDoRcv, event.TCPConnRequest)
			k.silence(2 * time.Second)
		}, fate: Delivered},
		"sent again, and answered by the request that waits": {does: func(k *kernel) {
			first := k.packet(7, syn()).tunnelled().at(event.TCPRcv, event.TCPDoRcv, event.TCPConnRequest)
			k.packet(2, synack()).sends(nsRealServer)
			first.returns(event.TCPConnRequest, 1).done()
			k.silence(time.Second)
			s := k.packet(1, syn()).tunnelled().at(event.TCPRcv)
			s.kfree("tcp_v4_rcv", "NOT_SPECIFIED").returns(event.TCPRcv, 0)
		}, fate: Delivered, is: func(j Journey) bool { return j.Duplicate }},
		"two copies at once: one request for both": {does: func(k *kernel) {
			k.packet(2, synack()).sends(nsRealServer)
			k.packet(1, syn()).tunnelled().connRequest(0).done()
		}, fate: Delivered, is: func(j Journey) bool { return j.Duplicate }},
		"the next connection's SYN is not excused by the last one's answer": {does: func(k *kernel) {
			k.packet(2, synack()).sends(nsRealServer)
			k.packet(1, request(event.SYN, 7777, 0, 60)).tunnelled().connRequest(0).done()
		}, fate: Dropped},
		"sent again later and refused: no race": {does: func(k *kernel) {
			k.packet(2, synack()).sends(nsRealServer)
			k.silence(time.Second)
			k.packet(1, syn()).tunnelled().connRequest(0).done()
		}, fate: Dropped},
		"tracepoints: the SYN/ACK proves that it was taken": {run: tracepointTier, does: func(k *kernel) {
			s := k.packet(1, syn()).traced()
			k.packet(2, synack()).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
			s.at(event.ConsumeSkb)
		}, fate: Delivered},
		"tracepoints: the SYN/ACK waits for its neighbour": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, syn()).traced().at(event.ConsumeSkb)
			k.silence(2 * time.Second)
			k.packet(2, synack()).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
			k.silence(time.Second)
		}, fate: Delivered},
		"tracepoints: the run ends before the SYN/ACK": {run: tracepointTier, does: func(k *kernel) {
			k.packet(1, syn()).traced().at(event.ConsumeSkb)
		}, fate: Unknown},
	} {
		t.Run(what, func(t *testing.T) {
			k, run := played(test.run, test.does)
			j := withID(t, k.assemble(t, run), 1)
			if j.Fate != test.fate || test.is != nil && !test.is(j) {
				t.Errorf("%s, want %s: %+v, drop %+v", j.Fate, test.fate, j, j.Drop)
			}
		})
	}
}

// withID is the only journey with that id.
func withID(t *testing.T, js []Journey, id uint64) Journey {
	t.Helper()
	var found []Journey
	for _, j := range js {
		if j.ID == id {
			found = append(found, j)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d journeys with id %d, want 1: %+v", len(found), id, js)
	}
	return found[0]
}

// TestTheACKThatOpensAConnection is freed alike by a listener that waits for data and by one whose queue is full.
func TestTheACKThatOpensAConnection(t *testing.T) {
	open := func(k *kernel) *skb {
		k.packet(3, syn()).tunnelled().connRequest(1).done()
		k.packet(2, synack()).sends(nsRealServer)
		return k.packet(1, request(event.ACK, 1001, 5001, 52)).tunnelled().at(event.TCPRcv)
	}
	for what, test := range map[string]struct {
		run  func() event.Run
		does func(k *kernel)
		fate Fate
	}{
		"tracepoints: nothing shows whether the listener waits or is full": {run: tracepointTier, does: func(k *kernel) {
			k.packet(3, syn()).traced().at(event.ConsumeSkb)
			k.packet(2, synack()).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
			k.packet(1, request(event.ACK, 1001, 5001, 52)).traced().kfree("tcp_v4_rcv", "NOT_SPECIFIED")
			k.silence(2 * time.Second)
		}, fate: Unknown},
		"tracepoints: the run ends meanwhile": {run: tracepointTier, does: func(k *kernel) {
			k.packet(3, syn()).traced().at(event.ConsumeSkb)
			k.packet(2, synack()).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
			k.packet(1, request(event.ACK, 1001, 5001, 52)).traced().kfree("tcp_v4_rcv", "NOT_SPECIFIED")
		}, fate: Unknown},
		"data comes and is taken: the listener had waited for it": {does: func(k *kernel) {
			open(k).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
			k.packet(4, request(event.ACK|event.PSH, 1001, 5001, 200)).tunnelled().at(event.TCPRcv, event.TCPChildProcess).returns(event.TCPRcv, 0)
		}, fate: Delivered},
		"nothing is taken: the queue is full": {does: func(k *kernel) {
			open(k).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
			k.packet(4, request(event.ACK|event.PSH, 1001, 5001, 200)).tunnelled().at(event.TCPRcv).kfree("tcp_v4_rcv", "NOT_SPECIFIED")
			k.silence(2 * time.Second)
		}, fate: Dropped},
		"the listener is seen to wait for data, and none comes": {does: func(k *kernel) {
			open(k).at(event.TCPDeferAccept).kfree("tcp_v4_rcv", "NOT_SPECIFIED").returns(event.TCPRcv, 0)
			k.silence(2 * time.Second)
		}, fate: Delivered},
		"5.10: the listener is seen to wait for data, and none comes": {does: func(k *kernel) {
			open(k).at(event.TCPDeferAccept).kfree("tcp_v4_rcv", "").returns(event.TCPRcv, 0)
			k.silence(2 * time.Second)
		}, fate: Delivered},
		"the kernel says that the queue is full": {does: func(k *kernel) {
			open(k).kfree("tcp_v4_rcv", "TCP_LISTEN_OVERFLOW")
		}, fate: Dropped},
		"6.1: a cookie's ACK finds the queue full": {does: func(k *kernel) {
			open(k).at(event.TCPDoRcv).kfree("tcp_v4_do_rcv", "NOT_SPECIFIED")
		}, fate: Dropped},
	} {
		t.Run(what, func(t *testing.T) {
			k, run := played(test.run, test.does)
			if j := withID(t, k.assemble(t, run), 1); j.Fate != test.fate {
				t.Errorf("%s, want %s", j.Fate, test.fate)
			}
		})
	}
}
