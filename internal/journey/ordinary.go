package journey

import (
	"slices"

	"ipiptrace/internal/site"
	"ipiptrace/tracer/event"
)

// ordinary is one way in which the kernel frees, with kfree_skb, a packet that did its work.
type ordinary struct {
	// why is what the kernel does there.
	why string
	// functions and reasons are where and how it is freed; empty: anywhere, with any reason.
	functions, reasons []string
	// proto is the protocol of the packet, 0 for any.
	proto uint8
	// evidence is what must have been seen besides; nil: nothing.
	evidence func(*flight) bool
	fate     Fate
	// duplicate: the socket had the bytes already.
	duplicate bool
	// answered: an answer to the packet makes no difference.
	answered bool
}

// No reason: the kernel gave none, or has none (before 5.17).
const (
	noReason     = ""
	notSpecified = "NOT_SPECIFIED"
	// consumedReason is how a kernel since 6.4 may spell consume_skb.
	consumedReason = "SKB_CONSUMED"
)

// tapFunctions are those in which a packet socket, or a raw socket, frees its own: that says nothing of the packet. A packet
// socket's own is a clone, or, if it is bound to a protocol and a device, the sk_buff that came, while the packet goes on in a
// clone. A raw socket's is always a clone (raw_v4_input).
var tapFunctions = []string{
	"packet_rcv", "tpacket_rcv", "packet_rcv_spkt", "packet_rcv_fanout", "packet_recvmsg", "packet_release", "packet_sock_destruct",
	"raw_rcv", "raw_rcv_skb", "raw_local_deliver", "raw_v4_input", "raw_recvmsg",
}

// ordinaryFrees are the rows, the first one that fits decides. Facts: kernel-facts, §1.6 and §8.
var ordinaryFrees = []ordinary{
	{
		why:     "the socket has these bytes already: a retransmission",
		proto:   protoTCP,
		reasons: []string{"TCP_OLD_DATA", "TCP_OFOMERGE", "TCP_OLD_SEQUENCE", "TCP_OLD_ACK", "TCP_RFC7323_PAWS_ACK"},
		fate:    Delivered, duplicate: true,
	},
	{
		why:       "before TCP_OLD_SEQUENCE there was one reason for what lies before the window and beyond; it lies before if it is acknowledged",
		proto:     protoTCP,
		functions: []string{"tcp_validate_incoming", "tcp_rcv_established", "tcp_v4_do_rcv", "tcp_rcv_state_process"},
		reasons:   []string{"TCP_INVALID_SEQUENCE"},
		evidence:  (*flight).alreadyAcked,
		fate:      Delivered, duplicate: true,
	},
	{
		why:      "PAWS: its timestamp is older than that of what the socket has had; so is what it brings",
		proto:    protoTCP,
		reasons:  []string{"TCP_RFC7323_PAWS"},
		evidence: (*flight).isOld,
		fate:     Delivered, duplicate: true,
	},
	{
		why:       "without reasons (before 5.17) what is old is known by what the socket has had",
		proto:     protoTCP,
		functions: []string{"tcp_validate_incoming", "tcp_data_queue", "tcp_data_queue_ofo", "tcp_rcv_established", "tcp_v4_do_rcv", "tcp_rcv_state_process"},
		reasons:   []string{noReason},
		evidence:  (*flight).isOld,
		fate:      Delivered, duplicate: true,
	},
	{
		why:       "tcp_ofo_queue frees what came out of order and was sent again meanwhile",
		proto:     protoTCP,
		functions: []string{"tcp_ofo_queue"},
		reasons:   []string{noReason},
		fate:      Delivered, duplicate: true,
	},
	{
		why:       "a SYN sent again for a request that waits for its ACK: tcp_check_req answers it",
		proto:     protoTCP,
		functions: []string{"tcp_v4_rcv"},
		reasons:   []string{notSpecified, noReason},
		evidence:  (*flight).synAnswered,
		fate:      Delivered, duplicate: true,
	},
	{
		why:       "TCP_DEFER_ACCEPT: tcp_check_req has noted the ACK that ends the handshake; the socket is made when data comes",
		proto:     protoTCP,
		functions: []string{"tcp_v4_rcv"},
		reasons:   []string{notSpecified, noReason},
		evidence:  func(f *flight) bool { return f.socket == deferred && f.isBareACK() },
		fate:      Delivered,
	},
	{
		why:       "the connection is over, and a later ACK has ended it; the RST is for nobody",
		proto:     protoTCP,
		functions: []string{"tcp_v4_rcv"},
		reasons:   []string{"NO_SOCKET", noReason},
		evidence:  (*flight).overtakenByTheEnd,
		fate:      Delivered, duplicate: true, answered: true,
	},
	{
		why:       "the socket is closed with packets in its queue: they had been delivered",
		functions: []string{"sk_stream_kill_queues", "inet_sock_destruct", "inet_csk_destroy_sock", "tcp_disconnect", "tcp_v4_destroy_sock", "skb_queue_purge", "skb_queue_purge_reason", "skb_rbtree_purge", "skb_errqueue_purge", "udp_destruct_common", "udp_destruct_sock", "__sk_destruct"},
		reasons:   []string{"QUEUE_PURGE", notSpecified, noReason},
		evidence:  (*flight).reachedHost,
		fate:      Delivered,
	},
	{
		why:      "an RST was processed",
		proto:    protoTCP,
		reasons:  []string{"TCP_RESET"},
		evidence: func(f *flight) bool { return f.has(event.RST) },
		fate:     Delivered,
	},
	{
		why:       "an RST for a connection that is gone already has nothing left to do",
		proto:     protoTCP,
		functions: []string{"tcp_v4_rcv"},
		reasons:   []string{"NO_SOCKET", noReason},
		evidence:  func(f *flight) bool { return f.has(event.RST) },
		fate:      Delivered,
	},
	{
		why:       "without reasons: tcp_validate_incoming frees every RST like a drop, the ones it obeys too",
		proto:     protoTCP,
		functions: []string{"tcp_validate_incoming", "tcp_rcv_established", "tcp_v4_do_rcv", "tcp_rcv_state_process", "tcp_rcv_synsent_state_process"},
		reasons:   []string{noReason},
		evidence:  func(f *flight) bool { return f.has(event.RST) },
		fate:      Delivered,
	},
	{
		why:       "5.10 frees what tcp_rcv_state_process is done with like a drop, data excepted",
		proto:     protoTCP,
		functions: []string{"tcp_rcv_state_process", "tcp_child_process"},
		reasons:   []string{noReason},
		evidence:  func(f *flight) bool { return f.has(event.ACK) && !f.has(event.SYN) && !f.mayCarryData() },
		fate:      Delivered,
	},
	{
		why:       "6.1 frees what tcp_rcv_state_process and tcp_rcv_established are done with like a drop (the latter by a tail call, so that its caller is named)",
		proto:     protoTCP,
		functions: []string{"tcp_rcv_state_process", "tcp_rcv_established", "tcp_rcv_synsent_state_process", "tcp_child_process"},
		reasons:   []string{notSpecified},
		evidence:  func(f *flight) bool { return !f.isSYN() },
		fate:      Delivered,
	},
	{
		why:       "the same, but a listener frees there the ACK of a cookie that it has no room for",
		proto:     protoTCP,
		functions: []string{"tcp_v4_do_rcv"},
		reasons:   []string{notSpecified},
		evidence:  func(f *flight) bool { return !f.isSYN() && !f.opens() },
		fate:      Delivered,
	},
	{
		why:       "TIME_WAIT, or the socket, has handled the segment; tcp_v4_rcv frees it",
		proto:     protoTCP,
		functions: []string{"tcp_v4_rcv"},
		reasons:   []string{notSpecified, noReason},
		evidence:  func(f *flight) bool { return !f.isSYN() && (f.socket >= processed || f.timeWait()) },
		fate:      Delivered,
	},
	{
		why:       "icmp_rcv has seen it and has no more to do with it",
		proto:     protoICMP,
		functions: []string{"icmp_rcv", "ping_rcv"},
		reasons:   []string{notSpecified, noReason},
		fate:      Delivered,
	},
	{
		why:       "NF_QUEUE cuts what was merged, or is still to be cut, into segments for the program, and frees the whole once they wait for it",
		functions: []string{"nfqnl_enqueue_packet"},
		reasons:   []string{notSpecified, noReason},
		evidence:  func(f *flight) bool { return f.segments > 1 },
		fate:      Consumed,
	},
	{
		why:       "it was merged into another packet, unseen, and is freed with that one's data, whatever became of it (skb_release_data, frag_list)",
		functions: []string{"skb_release_data"},
		reasons:   []string{notSpecified, noReason},
		fate:      Consumed,
	},
	{
		why:       "the same, where kfree_skb_list is a function of its own, which queueing disciplines use, too: what waited for its fragments is in no queue",
		functions: []string{"kfree_skb_list", "kfree_skb_list_reason"},
		reasons:   []string{notSpecified, noReason},
		evidence:  func(f *flight) bool { return f.fragment != nil && f.leaving == staying },
		fate:      Consumed,
	},
	{
		why:       "a driver that frees what it has sent in an interrupt: before 6.4 that looks like a drop",
		functions: []string{"net_tx_action", "__dev_kfree_skb_any", "dev_kfree_skb_any_reason"},
		reasons:   []string{notSpecified, noReason},
		evidence:  func(f *flight) bool { return f.leaving == driven },
		fate:      Forwarded,
	},
}

// ordinaryFree is the row that fits a freeing; ok is false if there is none: the packet was dropped.
func ordinaryFree(f *flight, d event.Drop) (row ordinary, ok bool) {
	for _, row := range ordinaryFrees {
		if row.fits(f, d) && (row.evidence == nil || row.evidence(f)) {
			return row, true
		}
	}
	return ordinary{}, false
}

// fits reports whether a row says anything of a freeing, evidence aside.
func (row ordinary) fits(f *flight, d event.Drop) bool {
	return (len(row.functions) == 0 || slices.Contains(row.functions, site.Function(d.Function))) &&
		(len(row.reasons) == 0 || slices.Contains(row.reasons, d.Reason)) &&
		(row.proto == 0 || row.proto == f.packet.Inner.Protocol)
}

// isTap reports whether a freeing was that of what a tap had.
func isTap(e event.Event) bool {
	d := e.Drop
	if d == nil || e.Place != event.KfreeSkb && e.Place != event.ConsumeSkb {
		return false
	}
	taps := func(symbol string) bool { return slices.Contains(tapFunctions, site.Function(symbol)) }
	return d.Reason == "PACKET_SOCK_ERROR" || taps(d.Function) || slices.ContainsFunc(d.Stack, taps)
}
