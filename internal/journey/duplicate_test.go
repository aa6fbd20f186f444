package journey

import (
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// processed brings a segment to its socket.
func (s *skb) processed() *skb {
	return s.tunnelled().at(event.TCPRcv, event.TCPDoRcv).returns(event.TCPDoRcv, 0)
}

// TestWhatASocketHasHadAlreadyIsNoLoss asks for the journey with id 1, which the kernel frees like a drop.
func TestWhatASocketHasHadAlreadyIsNoLoss(t *testing.T) {
	ack := func(seq, ack uint32) event.Packet { return request(event.ACK, seq, ack, 52) }
	data := func(seq uint32) event.Packet { return request(event.ACK|event.PSH, seq, 5001, 200) }
	fin := func(seq, ack uint32) event.Packet { return request(event.FIN|event.ACK, seq, ack, 52) }
	// over is a connection that both ends have closed; the client's last ACK is 7001.
	over := func(k *kernel) {
		k.packet(11, fin(2001, 7000)).processed()
		k.packet(12, reply(event.FIN|event.ACK, 7000, 2002, 52)).sends(nsRealServer)
		k.packet(13, ack(2002, 7001)).processed()
	}
	freed := func(k *kernel, p event.Packet, function, reason string) *skb {
		return k.packet(1, p).tunnelled().at(event.TCPRcv, event.TCPDoRcv).kfree(function, reason)
	}
	answered := func(k *kernel, p event.Packet) {
		s := k.packet(1, p).tunnelled().at(event.TCPRcv, event.SendReset)
		k.packet(9, reply(event.RST, p.Ack, 0, 40)).sends(nsRealServer)
		s.kfree("tcp_v4_rcv", "NO_SOCKET")
		k.silence(time.Second)
	}
	for what, test := range map[string]struct {
		run       func() event.Run
		does      func(k *kernel)
		fate      Fate
		duplicate bool
	}{
		"PAWS drops an ACK that a later one overtook": {does: func(k *kernel) {
			k.packet(11, ack(1001, 6001)).processed()
			freed(k, ack(1001, 5001), "tcp_validate_incoming", "TCP_RFC7323_PAWS")
		}, fate: Delivered, duplicate: true},
		"PAWS drops an ACK that acknowledges more": {does: func(k *kernel) {
			k.packet(11, ack(1001, 5001)).processed()
			freed(k, ack(1001, 6001), "tcp_validate_incoming", "TCP_RFC7323_PAWS")
		}, fate: Dropped},
		"PAWS drops an ACK, and no later one was seen": {does: func(k *kernel) {
			freed(k, ack(1001, 5001), "tcp_validate_incoming", "TCP_RFC7323_PAWS")
		}, fate: Dropped},
		"PAWS drops new data": {does: func(k *kernel) {
			k.packet(11, ack(1001, 6001)).processed()
			freed(k, data(1001), "tcp_validate_incoming", "TCP_RFC7323_PAWS")
		}, fate: Dropped},
		"PAWS drops data that was acknowledged": {does: func(k *kernel) {
			k.packet(12, reply(event.ACK, 5001, 1149, 52)).sends(nsRealServer)
			freed(k, data(1001), "tcp_validate_incoming", "TCP_RFC7323_PAWS")
		}, fate: Delivered, duplicate: true},
		"an ACK behind the one that ended the connection, answered with an RST": {does: func(k *kernel) {
			over(k)
			answered(k, ack(2002, 7000))
		}, fate: Delivered, duplicate: true},
		"the same, while another CPU still has the last ACK": {does: func(k *kernel) {
			k.packet(11, fin(2001, 7000)).processed()
			k.packet(12, reply(event.FIN|event.ACK, 7000, 2002, 52)).sends(nsRealServer)
			last := k.packet(13, ack(2002, 7001)).tunnelled().at(event.TCPRcv, event.TCPDoRcv)
			s := k.packet(1, ack(2002, 7000)).tunnelled().at(event.TCPRcv, event.SendReset)
			k.packet(9, reply(event.RST, 7000, 0, 40)).sends(nsRealServer)
			s.kfree("tcp_v4_rcv", "NO_SOCKET")
			last.returns(event.TCPDoRcv, 0)
			k.silence(time.Second)
		}, fate: Delivered, duplicate: true},
		"tracepoints: the socket's last state proves it": {run: tracepointTier, does: func(k *kernel) {
			k.packet(11, fin(2001, 7000)).traced().at(event.TCPProbe)
			k.packet(12, reply(event.FIN|event.ACK, 7000, 2002, 52)).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
			k.packet(13, ack(2002, 7001)).traced().state(tcpLastACK, tcpClose, true)
			s := k.packet(1, ack(2002, 7000)).traced()
			k.packet(9, reply(event.RST, 7000, 0, 40)).on("eth0", nsRealServer).at(event.NetDevQueue, event.NetDevStartXmit)
			s.kfree("tcp_v4_rcv", "NO_SOCKET")
			k.silence(time.Second)
		}, fate: Delivered, duplicate: true},
		"data after the end is refused": {does: func(k *kernel) {
			over(k)
			answered(k, data(2002))
		}, fate: Rejected},
		"an ACK while one side is still open is refused": {does: func(k *kernel) {
			k.packet(11, fin(2001, 7000)).processed()
			k.packet(13, ack(2002, 7001)).processed()
			answered(k, ack(2002, 7000))
		}, fate: Rejected},
		"an RST is never answered": {does: func(k *kernel) {
			k.packet(1, request(event.RST, 1001, 0, 40)).tunnelled().at(event.TCPRcv, event.SendReset).kfree("tcp_v4_rcv", "NO_SOCKET")
			k.silence(time.Second)
		}, fate: Delivered},

		"5.10: an RST that was obeyed": {does: func(k *kernel) {
			freed(k, request(event.RST, 1001, 0, 40), "tcp_validate_incoming", "")
		}, fate: Delivered},
		"5.10: the ACK of a FIN":                 {does: func(k *kernel) { freed(k, ack(1001, 5001), "tcp_rcv_state_process", "") }, fate: Delivered},
		"5.10: data that a state has no use for": {does: func(k *kernel) { freed(k, data(1001), "tcp_rcv_state_process", "") }, fate: Dropped},
		"5.10: data that was acknowledged": {does: func(k *kernel) {
			k.packet(12, reply(event.ACK, 5001, 1149, 52)).sends(nsRealServer)
			freed(k, data(1001), "tcp_data_queue", "")
		}, fate: Delivered, duplicate: true},
		"5.10: data of which another copy was taken out of order": {does: func(k *kernel) {
			k.packet(11, data(3001)).processed()
			freed(k, data(3001), "tcp_data_queue_ofo", "")
		}, fate: Delivered, duplicate: true},
		"5.10: new data":         {does: func(k *kernel) { freed(k, data(1001), "tcp_data_queue", "") }, fate: Dropped},
		"5.10: an old timestamp": {does: func(k *kernel) { freed(k, data(1001), "tcp_validate_incoming", "") }, fate: Dropped},
		"5.10: a socket at work frees what it has processed": {does: func(k *kernel) { freed(k, ack(1001, 5001), "tcp_v4_rcv", "") }, fate: Delivered},
	} {
		t.Run(what, func(t *testing.T) {
			k, run := played(test.run, test.does)
			j := withID(t, k.assemble(t, run), 1)
			if j.Fate != test.fate || j.Duplicate != test.duplicate {
				t.Errorf("%s, duplicate %t, want %s, %t; drop %+v", j.Fate, j.Duplicate, test.fate, test.duplicate, j.Drop)
			}
			if j.Fate == Delivered && (j.Drop != nil || j.Reject != nil) {
				t.Errorf("delivered, but %+v %+v", j.Drop, j.Reject)
			}
		})
	}
}
