package journey

import (
	"slices"

	"ipiptrace/internal/site"
	"ipiptrace/tracer/event"
)

// receivers free packets before any place has seen them: XDP programs, and the queue of another CPU.
var receivers = []string{
	"do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp",
	"veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll",
	"enqueue_to_backlog", "netif_rx_internal", "netif_rx", "__netif_rx",
}

// senders free packets before a device has them in its queue: on their way out nothing else is seen of them
// where functions can't be watched.
var senders = []string{
	"__ip_local_out", "ip_local_out", "__ip_queue_xmit", "ip_queue_xmit", "ip_send_skb", "ip_build_and_send_pkt",
	"ip_output", "ip_finish_output", "__ip_finish_output", "ip_finish_output2",
	"neigh_invalidate", "__neigh_event_send", "neigh_timer_handler", "__dev_queue_xmit",
	"neigh_flush_dev", "neigh_flush_one", "neigh_destroy", // the device went while they waited
}

// diesUnseen reports whether a packet of which only the freeing was seen was on its way then. Anywhere else it
// had done its work: a socket kept it when its journey was over, or had it when the run began.
func diesUnseen(f *flight, d event.Drop) bool {
	where := site.Function(d.Function)
	if f.packet.NoInner {
		return f.diesOdd(where, d.Reason)
	}
	if slices.Contains(receivers, where) {
		f.arrive()
		return true
	}
	switch hook := nfHook(d); {
	case hook == "output" || hook == "postrouting" || hook == "egress":
	case hook != "" || !slices.Contains(senders, where):
		return false
	}
	f.leaving = sent
	return true
}

// Who looks at the packet that a tunnel carries: a tunnel, which wants as many bytes as a header has, and IP behind it.
var (
	tunnelReceivers = []string{"tunnel4_rcv", "ip_tunnel_rcv", "ipip_rcv", "ipip_tunnel_rcv"}
	headerReaders   = []string{"ip_rcv_core", "ip_rcv"}
)

// diesOdd reports whether a director's packet that carries no IPv4 packet was freed because of that. What becomes of it
// elsewhere is nobody's loss.
func (f *flight) diesOdd(where, reason string) bool {
	f.arrive()
	f.cameIPIP = true
	switch {
	case slices.Contains(tunnelReceivers, where):
		return true
	case slices.Contains(headerReaders, where) && reason != "OTHERHOST" && reason != "IP_CSUM":
		f.decapped, f.tunnelled = true, false
		return true
	}
	return false
}
