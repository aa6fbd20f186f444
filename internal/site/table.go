package site

import "slices"

// Site is a point in the kernel at which packets are lost. A name that ends in Unsaid is a function that frees packets
// for several causes, where the kernel gives no reason that tells them apart.
type Site uint8

// The sites, in the order in which a packet meets them.
const (
	XDP Site = iota
	TCIngress
	TCEgress
	TCUnsaid
	Backlog
	OtherHost
	HeaderUnsaid
	Header
	IPChecksum
	Fragments
	FragmentsPurged
	Martian
	ReversePath
	SourceCheckUnsaid
	NoInputRoute
	OuterNotLocal
	Forward
	TTL
	TooBig
	NoProtocol
	NoTunnel
	NoTunnelUnsaid
	TunnelPolicy
	TunnelPolicyUnsaid
	Decapsulation
	Hook
	HookUnnamed
	Queue
	QueueVerdict
	XFRMPolicy
	CgroupEgress
	OutputUnsaid
	SecurityModule
	SocketFilter
	SocketFilterUnsaid
	NoSocket
	SocketUnsaid
	ChecksumUnsaid
	Checksum
	RefusedSYN
	AcceptQueue
	CookieUnsaid
	ReceiveBuffer
	ReceiveBufferUnsaid
	TCPAuth
	MinTTL
	MinTTLUnsaid
	PAWS
	Window
	NoReply
	NoOutputRoute
	OutputRouteUnsaid
	Astray
	TunnelOutput
	Neighbour
	Qdisc
	QdiscUnsaid
	IPVS
	InputHook
	NfTables
	IPVSOutput
	IPVSUnreachable
	last
)

// row is one way in which a kernel ends a packet at a site. Empty fields fit everything.
type row struct {
	site      Site
	functions []string
	reasons   []string
	// prefixes begin the reasons.
	prefixes []string
	when     func(End) bool
}

// queueing are the functions that hand a packet to a program, which the rule at the hook has asked for: no rule drops it.
var queueing = []string{"nf_queue", "__nf_queue", "nfqnl_enqueue_packet"}

// table has what kernels from 5.10 to 7.3 call the sites. kernel-facts §1, §2 and §8 and the lab are where it is from.
var table = []row{
	{site: XDP, functions: []string{"do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp", "veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll"}},
	{site: XDP, reasons: []string{"XDP"}},
	{site: TCIngress, reasons: []string{"TC_INGRESS"}},
	{site: TCEgress, reasons: []string{"TC_EGRESS"}},
	{site: TCUnsaid, functions: []string{"__netif_receive_skb_core", "sch_handle_ingress", "sch_handle_egress", "__dev_queue_xmit"}, when: noHookUnsaid},
	{site: TCEgress, functions: []string{"sch_handle_egress", "__dev_queue_xmit"}, when: noHookUnsaid},
	{site: TCIngress, functions: []string{"__netif_receive_skb_core", "sch_handle_ingress"}, when: noHookUnsaid},
	{site: Backlog, reasons: []string{"CPU_BACKLOG"}},
	{site: Backlog, functions: []string{"enqueue_to_backlog"}},
	{site: OtherHost, reasons: []string{"OTHERHOST"}},
	{site: HeaderUnsaid, functions: []string{"ip_rcv_core", "ip_rcv"}, when: reasonless},
	{site: Header, reasons: []string{"IP_INHDR", "PKT_TOO_SMALL", "HDR_TRUNC", "SKB_UCOPY_FAULT", "IPV6DISABLED"}, when: func(e End) bool { return !e.Answer.icmp(11, 0) }},
	{site: Header, when: func(e End) bool { return e.Answer.ICMP && e.Answer.Type == 12 }},
	{site: IPChecksum, reasons: []string{"IP_CSUM"}},
	{site: Checksum, reasons: []string{"TCP_CSUM", "UDP_CSUM", "ICMP_CSUM", "SKB_CSUM"}},
	{site: Checksum, functions: []string{"udp_recvmsg"}},
	{site: ChecksumUnsaid, functions: []string{"tcp_v4_rcv", "tcp_v4_do_rcv", "__udp4_lib_rcv", "udp_rcv", "udp_queue_rcv_one_skb", "icmp_rcv"}, when: silentReasonless},
	{site: Fragments, reasons: []string{"FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR"}},
	{site: Fragments, functions: []string{"ip_expire", "ip_frag_queue", "inet_frag_rbtree_purge", "ip_frag_reinit", "inet_frag_destroy", "inet_frag_queue_insert", "ip_defrag"}},
	{site: FragmentsPurged, functions: []string{"inet_frag_rbtree_purge"}},
	{site: Martian, reasons: []string{"IP_LOCAL_SOURCE", "IP_INVALID_SOURCE", "IP_LOCALNET", "IP_INVALID_DEST"}},
	{site: ReversePath, reasons: []string{"IP_RPFILTER"}},
	{site: SourceCheckUnsaid, functions: []string{"ip_rcv_finish_core", "ip_rcv_finish", "ip_list_rcv_finish", "ip_sublist_rcv"}, when: End.unsaid},
	{site: NoInputRoute, functions: []string{"ip_error", "ip_route_input_slow", "ip_route_input_noref"}},
	{site: OuterNotLocal, functions: []string{"ip_error"}, reasons: []string{"IP_INADDRERRORS", NotSpecified, ""}},
	{site: Forward, functions: []string{"ip_forward"}},
	{site: TTL, when: func(e End) bool { return e.Answer.icmp(11, 0) }},
	{site: TooBig, reasons: []string{"PKT_TOO_BIG"}},
	{site: TooBig, when: func(e End) bool { return e.Answer.icmp(3, 4) }},
	{site: NoProtocol, functions: []string{"ip_local_deliver_finish", "ip_protocol_deliver_rcu", "gre_rcv"}},
	{site: NoTunnel, functions: []string{"tunnel4_rcv"}},
	// IPsec's tunnel, and sit's, are asked after IPIP's, and are silent.
	{site: NoTunnelUnsaid, functions: []string{"xfrm_input", "sit_tunnel_rcv", "ipip_rcv"}},
	{site: TunnelPolicy, functions: []string{"ipip_tunnel_rcv", "ipip_rcv"}},
	{site: TunnelPolicyUnsaid, functions: []string{"ipip_tunnel_rcv", "ipip_rcv"}, when: End.unsaid},
	{site: Decapsulation, functions: []string{"ip_tunnel_rcv"}, when: End.unsaid},
	{site: Hook, when: func(e End) bool { return e.Hook != "" && e.Decider != ipvs && !slices.Contains(queueing, e.Function) }},
	{site: HookUnnamed, reasons: []string{"NETFILTER_DROP"}, when: func(e End) bool { return e.Hook == "" && e.Decider != ipvs }},
	// A chain of nf_tables frees the packet itself (NF_DROP_REASON, since Linux 6.7); before, nf_hook_slow does for all of netfilter.
	{site: NfTables, functions: []string{"nft_do_chain"}},
	{site: InputHook, when: func(e End) bool { return e.Hook == "input" }},
	{site: IPVS, when: func(e End) bool { return e.Decider == ipvs }},
	{site: IPVSOutput, functions: []string{"ip_vs_tunnel_xmit", "__ip_vs_get_out_rt"}},
	{site: IPVSUnreachable, functions: []string{"ip_vs_tunnel_xmit", "__ip_vs_get_out_rt"}, when: func(e End) bool {
		return e.Answer.ICMP && e.Answer.Type == 3 && e.Answer.Code != 4
	}},
	{site: Queue, functions: queueing},
	{site: QueueVerdict, functions: []string{"nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict", "nfqnl_recv_verdict_batch"}},
	{site: XFRMPolicy, reasons: []string{"XFRM_POLICY"}},
	{site: CgroupEgress, reasons: []string{"BPF_CGROUP_EGRESS"}},
	{site: OutputUnsaid, functions: []string{"ip_finish_output"}, when: func(e End) bool { return e.Reason == "" && e.Hook == "" }},
	{site: SecurityModule, reasons: []string{"SECURITY_HOOK"}},
	{site: SocketFilter, reasons: []string{"SOCKET_FILTER"}},
	{site: SocketFilterUnsaid, functions: []string{"sk_filter_trim_cap"}, when: End.unsaid},
	{site: NoSocket, reasons: []string{"NO_SOCKET"}},
	{site: NoSocket, functions: []string{"tcp_v4_rcv", "__udp4_lib_rcv", "udp_rcv"}, when: func(e End) bool {
		return e.unsaid() && (e.Answer.Reset || e.Answer.icmp(3, 3))
	}},
	// Where a kernel without reasons refuses a packet for a socket it has many causes to.
	{site: SocketUnsaid, functions: []string{"tcp_v4_rcv", "udp_queue_rcv_one_skb"}, when: silentReasonless},
	{site: RefusedSYN, functions: []string{"tcp_conn_request"}},
	{site: AcceptQueue, reasons: []string{"TCP_LISTEN_OVERFLOW"}},
	{site: CookieUnsaid, functions: []string{"tcp_v4_do_rcv", "cookie_v4_check"}, reasons: []string{"TCP_FLAGS", NotSpecified, ""}},
	{site: ReceiveBuffer, reasons: []string{"SOCKET_RCVBUFF", "PROTO_MEM", "TCP_ZEROWINDOW", "SOCKET_BACKLOG"}},
	{site: ReceiveBufferUnsaid, functions: []string{"udp_queue_rcv_one_skb", "__udp_queue_rcv_skb", "udp_unicast_rcv_skb"}, when: silentReasonless},
	{site: TCPAuth, reasons: []string{"TCP_MD5NOTFOUND", "TCP_MD5UNEXPECTED", "TCP_MD5FAILURE", "TCP_AOFAILURE", "TCP_AONOTFOUND", "TCP_AOUNEXPECTED", "TCP_AOKEYNOTFOUND", "TCP_AUTH_HDR"}},
	{site: MinTTL, reasons: []string{"TCP_MINTTL"}},
	{site: MinTTLUnsaid, functions: []string{"tcp_v4_rcv"}, when: func(e End) bool { return e.unsaid() && !e.Answer.Given() }},
	{site: PAWS, reasons: []string{"TCP_RFC7323_PAWS", "TCP_RFC7323_TW_PAWS", "TCP_RFC7323_PAWS_ACK", "TCP_RFC7323_TSECR"}},
	{site: PAWS, when: func(e End) bool { return e.Reason == "" && e.Decider == "tcp_paws_discard" }},
	{site: Window, reasons: []string{"TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE", "TCP_INVALID_SYN", "TCP_OLD_ACK", "TCP_TOO_OLD_ACK", "TCP_ACK_UNSENT_DATA", "TCP_OVERWINDOW", "TCP_OLD_SEQUENCE", "TCP_INVALID_ACK_SEQUENCE"}},
	{site: Window, when: func(e End) bool { return e.Reason == "" && e.Decider == "tcp_sequence" }},
	{site: NoReply, when: func(e End) bool { return e.NoReply && !e.Astray }},
	{site: NoOutputRoute, reasons: []string{"IP_OUTNOROUTES"}},
	{site: OutputRouteUnsaid, functions: []string{"__ip_queue_xmit", "ip_queue_xmit"}, when: End.unsaid},
	{site: Astray, when: func(e End) bool { return e.Astray }},
	{site: TunnelOutput, functions: []string{"ip_tunnel_xmit", "ipip_tunnel_xmit", "ip_md_tunnel_xmit"}},
	{site: Neighbour, reasons: []string{"NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD"}},
	{site: Neighbour, functions: []string{"neigh_invalidate", "__neigh_event_send", "neigh_timer_handler"}},
	{site: Qdisc, prefixes: []string{"QDISC_", "FQ_", "CODEL_", "TBF_", "NETEM_"}},
	{site: QdiscUnsaid, functions: []string{"__dev_queue_xmit", "kfree_skb_list_reason", "kfree_skb_list", "__tcf_kfree_skb_list", "__dev_xmit_skb", "netem_enqueue", "tbf_enqueue", "pfifo_enqueue", "bfifo_enqueue"}, when: End.unsaid},
}

// ipvs is who decides in a hook for IPVS.
const ipvs = "ip_vs_in"

// reasonless: the kernel has no reasons, or gave none at all.
func reasonless(e End) bool { return e.Reason == "" }

// silentReasonless: neither a reason nor an answer tells why.
func silentReasonless(e End) bool { return e.Reason == "" && !e.Answer.Given() }

func noHookUnsaid(e End) bool { return e.unsaid() && e.Hook == "" }
