package tracer

import "ipiptrace/tracer/event"

// probe is one place and the ways to watch it.
type probe struct {
	place event.Place
	// tracepoints are programs whose name is the tracepoint's. All of them are needed to watch the place.
	tracepoints []string
	// symbols are kernel functions, best first; the first that can be attached is taken.
	symbols []string
	// skbArg is which argument of the function is the packet, from 0.
	skbArg uint32
	// returns: the function's return is an event too. args is how many arguments it has, the number fexit needs.
	returns bool
	args    uint32
	// own is the name of the place's own programs behind fentry_, fexit_ and kprobe_; empty: the shared ones.
	own string
	// full: decides neither fate nor drop, watched only on request.
	full bool
	// required: without this place there is nothing to tell.
	required bool
	// unless names a place that makes this one needless: it is watched only where that one can't be.
	unless event.Place
	// why we look here.
	why string
}

// probes are the places in the order in which a packet meets them. A place with tracepoints and symbols
// is watched by a tracepoint if the kernel has it.
var probes = []probe{
	{place: event.KfreeSkb, tracepoints: []string{"kfree_skb"}, required: true,
		why: "every loss that the kernel tells of"},
	{place: event.ConsumeSkb, tracepoints: []string{"consume_skb"},
		why: "the ordinary end of a packet"},
	{place: event.NetifReceiveSkb, tracepoints: []string{"netif_receive_skb"}, required: true,
		why: "a device took the packet in, the tunnel's too"},
	{place: event.NetDevQueue, tracepoints: []string{"net_dev_queue"},
		why: "the packet is about to leave"},
	{place: event.NetDevStartXmit, tracepoints: []string{"net_dev_start_xmit"},
		why: "a driver is given the packet"},
	{place: event.GroMerged, tracepoints: []string{"napi_gro_receive_entry", "napi_gro_receive_exit"},
		why: "a packet merged into another is freed silently"},

	{place: event.IPRcv, symbols: []string{"ip_rcv_core"},
		why: "every IPv4 packet, single or in a list; plain ip_rcv misses what comes in lists"},
	{place: event.IPDefrag, symbols: []string{"ip_defrag"}, skbArg: 1, returns: true, args: 3,
		why: "a fragment waits for the rest without any event"},
	{place: event.NfHookSlow, symbols: []string{"nf_hook_slow"}, own: "nf_hook_slow",
		why: "netfilter's verdict, and which hook it was"},
	{place: event.IPRouteInput, symbols: []string{"ip_route_input_noref"},
		why: "the routing decision: local, forward or not at all"},
	{place: event.IPLocalDeliver, symbols: []string{"ip_local_deliver"}, full: true,
		why: "the address is this host's"},
	{place: event.IPForward, symbols: []string{"ip_forward"},
		why: "the address is another host's"},
	{place: event.IPError, symbols: []string{"ip_error"}, full: true,
		why: "there is no route"},

	{place: event.Tunnel4Rcv, symbols: []string{"tunnel4_rcv"},
		why: "IPIP is looked for a tunnel"},
	{place: event.IPTunnelRcv, symbols: []string{"ip_tunnel_rcv"}, skbArg: 1, full: true,
		why: "a tunnel was found"},
	{place: event.GroCellsReceive, symbols: []string{"gro_cells_receive"}, skbArg: 1, full: true,
		why: "the outer header is gone"},

	{place: event.TCPRcv, symbols: []string{"tcp_v4_rcv"}, returns: true, args: 1,
		why: "TCP has the packet, and when it returns it is done with it"},
	{place: event.TCPDoRcv, symbols: []string{"tcp_v4_do_rcv"}, skbArg: 1, returns: true, args: 2,
		why: "a socket takes the packet, at once or later out of its backlog"},
	{place: event.TCPChildProcess, symbols: []string{"tcp_child_process"}, skbArg: 2,
		why: "the packet that completes a handshake"},
	{place: event.TCPTimewait, symbols: []string{"tcp_timewait_state_process"}, skbArg: 1,
		why: "what TIME_WAIT takes is freed like a drop"},
	{place: event.TCPAddBacklog, symbols: []string{"tcp_add_backlog"}, skbArg: 1,
		why: "the packet waits for a socket in use"},
	{place: event.TCPProbe, tracepoints: []string{"tcp_probe"}, unless: event.TCPRcv,
		why: "an established socket takes the packet"},
	{place: event.InetSockSetState, tracepoints: []string{"inet_sock_set_state"}, unless: event.TCPRcv,
		why: "a packet changed a socket's state"},
	{place: event.UDPRcv, symbols: []string{"__udp4_lib_rcv", "udp_rcv"}, full: true,
		why: "UDP looks for a socket"},
	{place: event.UDPQueueRcv, symbols: []string{"udp_queue_rcv_one_skb"}, skbArg: 1, returns: true, args: 2,
		why: "the socket's queue takes the packet, or is full"},
	{place: event.ICMPRcv, symbols: []string{"icmp_rcv"},
		why: "ICMP has the packet"},

	{place: event.IPLocalOut, symbols: []string{"__ip_local_out"}, own: "ip_local_out",
		why: "a reply begins; ip_local_out itself is inlined"},
	{place: event.SendReset, symbols: []string{"tcp_v4_send_reset"}, skbArg: 1,
		tracepoints: []string{"tcp_send_reset"},
		why:         "a RST answers the packet"},
	{place: event.ICMPSend, tracepoints: []string{"icmp_send"}, symbols: []string{"__icmp_send"}, own: "icmp_send",
		why: "an ICMP error answers the packet"},
}
