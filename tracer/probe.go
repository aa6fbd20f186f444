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
	// result: only what the function returns is of interest, and calls nest: fexit alone sees it. With returns a
	// kretprobe of the place's own sees it too.
	result bool
	// also are other functions of the place, watched where and while they exist, with what they say beside that the
	// packet was there.
	also []also
	// aux is what symbols says beside that the packet was there.
	aux uint32
	// skArg is which argument is the socket that takes the packet, from 1; 0: none.
	skArg uint32
	// silent: needed only where the kernel does not name the reasons of its drops, and then frees some without an event.
	silent bool
	// calls is a function that symbols calls, watched by the place's own program.
	calls string
	// full: decides neither fate nor drop, watched only on request.
	full bool
	// required: without this place there is nothing to tell.
	required bool
	// module is the kernel module that symbols are in, where they are not built in: it may come and go.
	module string
	// unless names a place that makes this one needless: it is watched only where that one can't be.
	unless event.Place
	// why we look here.
	why string
}

// also is one more function of a place.
type also struct {
	symbol string
	aux    uint32
	// module is where the function is, if not in the module of the place's symbols.
	module string
}

// What an expression of nftables has to do with the verdict: enum nft_decides.
const (
	nftAlways    = 0
	nftImmediate = 1
)

// probes are the places in the order in which a packet meets them. A tracepoint is the last resort for a
// place that a function shows better: icmp_send is silent when a rate limit keeps the answer back,
// tcp_send_reset before 6.10 when there is no socket.
var probes = []probe{
	{place: event.KfreeSkb, tracepoints: []string{"kfree_skb"}, required: true,
		why: "every loss that the kernel tells of"},
	{place: event.ConsumeSkb, tracepoints: []string{"consume_skb"},
		why: "the ordinary end of a packet"},
	{place: event.TCPDrop, symbols: []string{"__kfree_skb"}, own: "tcp_drop", silent: true,
		why: "TCP's drops have no event where the kernel does not name reasons"},
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
	{place: event.NfHookSlow, symbols: []string{"nf_hook_slow"}, own: "nf_hook_slow", result: true,
		why: "netfilter's verdict, and which hook it was"},
	{place: event.NftRule, symbols: []string{"nft_immediate_eval"}, module: "nf_tables", own: "nft_rule", aux: nftImmediate,
		also: []also{{"nft_reject_ipv4_eval", nftAlways, "nft_reject_ipv4"}, {"nft_reject_inet_eval", nftAlways, "nft_reject_inet"}},
		why:  "the very rule of nftables that drops the packet"},
	{place: event.NftResult, symbols: []string{"nft_lookup_eval"}, module: "nf_tables", own: "nft_result", result: true, returns: true,
		also: []also{{symbol: "nft_target_eval_xt", module: "nft_compat"}},
		why:  "the same where a verdict map or an iptables target decides"},
	{place: event.IPRouteInput, symbols: []string{"ip_route_input_noref"},
		why: "the routing decision: local, forward or not at all"},
	{place: event.IPLocalDeliver, symbols: []string{"ip_local_deliver"}, full: true,
		why: "the address is this host's"},
	{place: event.IPForward, symbols: []string{"ip_forward"},
		why: "the address is another host's"},
	{place: event.IPError, symbols: []string{"ip_error"}, full: true,
		why: "there is no route"},

	{place: event.IPVSIn, symbols: []string{"ip_vs_in_hook", "ip_vs_remote_request4"}, module: "ip_vs", skbArg: 1, args: 3, result: true,
		why: "the director looks at the packet"},
	{place: event.IPVSSchedule, symbols: []string{"ip_vs_schedule"}, module: "ip_vs", skbArg: 1, args: 5, returns: true,
		why: "the director chooses a real server, or finds none"},
	{place: event.IPVSXmit, symbols: []string{"ip_vs_tunnel_xmit"}, module: "ip_vs", aux: uint32(event.MethodTunnel),
		also: []also{{symbol: "ip_vs_nat_xmit", aux: uint32(event.MethodNAT)}, {symbol: "ip_vs_dr_xmit", aux: uint32(event.MethodDirect)}},
		why:  "the director sends the packet on, and by which method"},
	{place: event.IPVSLeave, symbols: []string{"ip_vs_leave"}, module: "ip_vs", skbArg: 1,
		why: "the director has nowhere to send the packet to"},

	{place: event.Tunnel4Rcv, symbols: []string{"tunnel4_rcv"}, module: "tunnel4",
		why: "IPIP is looked for a tunnel"},
	{place: event.IPTunnelRcv, symbols: []string{"ip_tunnel_rcv"}, module: "ip_tunnel", skbArg: 1, full: true,
		why: "a tunnel was found"},
	{place: event.GroCellsReceive, symbols: []string{"gro_cells_receive"}, skbArg: 1, full: true,
		why: "the outer header is gone"},

	{place: event.TCPRcv, symbols: []string{"tcp_v4_rcv"}, returns: true, args: 1,
		why: "TCP has the packet, and when it returns it is done with it"},
	{place: event.TCPConnRequest, symbols: []string{"tcp_conn_request"}, args: 4, returns: true, own: "conn_request",
		calls: "tcp_make_synack",
		why:   "a listener refuses a SYN in silence"},
	{place: event.TCPDoRcv, symbols: []string{"tcp_v4_do_rcv"}, skbArg: 1, skArg: 1, returns: true, args: 2,
		why: "a socket takes the packet, at once or later out of its backlog"},
	{place: event.TCPChildProcess, symbols: []string{"tcp_child_process"}, skbArg: 2, skArg: 2,
		why: "the packet that completes a handshake"},
	{place: event.TCPDeferAccept, symbols: []string{"tcp_check_req"}, own: "check_req",
		why: "a listener that waits for data frees the ACK that ends the handshake"},
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
		tracepoints: []string{"sk_data_ready"},
		why:         "the socket's queue takes the packet, or is full"},
	{place: event.ICMPRcv, symbols: []string{"icmp_rcv"},
		why: "ICMP has the packet"},

	{place: event.IPLocalOut, symbols: []string{"__ip_local_out"}, own: "ip_local_out",
		why: "a reply begins; ip_local_out itself is inlined"},
	{place: event.IPRouteOutput, symbols: []string{"ip_route_output_flow"}, own: "route_output", result: true, returns: true,
		why: "a datagram that finds no way back never becomes a packet"},
	{place: event.SendReset, symbols: []string{"tcp_v4_send_reset"}, skbArg: 1,
		tracepoints: []string{"tcp_send_reset"},
		why:         "a RST answers the packet"},
	{place: event.ICMPSend, tracepoints: []string{"icmp_send"}, symbols: []string{"__icmp_send"}, own: "icmp_send",
		why: "an ICMP error answers the packet"},
}
