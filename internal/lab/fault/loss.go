package fault

import "ipiptrace/internal/lab"

// Everywhere, as what is to be watched, is all namespaces at once.
const Everywhere lab.Role = "all"

// ReplyLost is the fate of a packet whose answer never became one, or left by the wrong device.
const ReplyLost = "delivered, reply lost"

// Loss is how a journey of one kind of traffic ends. The kernel may choose among functions and reasons; an empty
// field is empty in the journey, too, but for Dev, where it says nothing.
type Loss struct {
	Proto lab.Proto
	// Reply: it is the answer that is lost, and the request arrived.
	Reply bool
	// Fate is the contract's, or ReplyLost.
	Fate string
	// Functions are those in one of which the packet is freed; none: the kernel frees no packet.
	Functions []string
	// Reasons are those of kernels that have reasons.
	Reasons []string
	// Dev is where, Hook netfilter's, Reject what the kernel answers: "rst 0/0", "icmp 3/3", "icmp 3/3 not sent".
	Dev, Hook, Reject string
	// Notice: the journey arrives, and has the notice of that code.
	Notice string
	// Blind is the fate where functions can't be watched and nothing shows the loss; empty: it is shown there, too.
	Blind string
	// Mute is the same, of kernels without reasons alone: what TCP drops has no event there.
	Mute string
	// Answerless: where functions can't be watched the answer that the kernel gives is not seen, and the packet only dropped.
	Answerless bool
	// Onward: the answer leaves the real server, and is lost at the client; both are told where everything is watched.
	Onward bool
}

// Count is a counter of the kernel that the fault's traffic raises: see lab.Counter.
type Count struct {
	At          lab.Role
	Group, Name string
}

// Functions of the kernel in which packets end, those of all kernels that have it.
var (
	nftables       = []string{"nft_do_chain", "nf_hook_slow"}
	netfilter      = []string{"nf_hook_slow"}
	atHeader       = []string{"ip_rcv_core"}
	atSource       = []string{"ip_rcv_finish_core"}
	noRoute        = []string{"ip_error"}
	noProtocol     = []string{"ip_local_deliver_finish"}
	noTunnel       = []string{"tunnel4_rcv"}
	atIngress      = []string{"__netif_receive_skb_core"}
	tcpReceive     = []string{"tcp_v4_rcv"}
	udpReceive     = []string{"__udp4_lib_rcv", "udp_rcv"}
	udpQueue       = []string{"udp_queue_rcv_one_skb"}
	ipvsTransmit   = []string{"ip_vs_tunnel_xmit"}
	tunnelTransmit = []string{"ip_tunnel_xmit", "ipip_tunnel_xmit"}
	neighbour      = []string{"neigh_invalidate"}
	netem          = []string{"netem_enqueue", "__dev_queue_xmit", "__dev_xmit_skb", "kfree_skb_list_reason", "kfree_skb_list", "__tcf_kfree_skb_list"}
)

// Reasons of the kernel; unnamed is none of its own.
var (
	unnamed       = []string{"NOT_SPECIFIED"}
	netfilterDrop = []string{"NETFILTER_DROP"}
	noSocket      = []string{"NO_SOCKET"}
	addressError  = []string{"IP_INADDRERRORS"}
	martian       = []string{"NOT_SPECIFIED", "IP_LOCAL_SOURCE"}
)

// both are the losses of TCP and of UDP where they differ in nothing else.
func both(l Loss) []Loss {
	tcp, udp := l, l
	tcp.Proto, udp.Proto = lab.TCP, lab.UDP
	return []Loss{tcp, udp}
}

// filtered is what a rule of netfilter drops at a hook.
func filtered(dev, hook string) []Loss {
	return both(Loss{Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Dev: dev, Hook: hook})
}

// unheard is what finds no socket, and the kernel says so.
func unheard(dev string) []Loss {
	return []Loss{
		{Proto: lab.TCP, Fate: "rejected", Functions: tcpReceive, Reasons: noSocket, Dev: dev, Reject: "rst 0/0"},
		{Proto: lab.UDP, Fate: "rejected", Functions: udpReceive, Reasons: noSocket, Dev: dev, Reject: "icmp 3/3"},
	}
}

// refusedSYN is dropped by the listener, without a reason: the kernel thinks that it has done its work.
func refusedSYN() Loss {
	return Loss{Proto: lab.TCP, Fate: "dropped", Functions: []string{"tcp_conn_request"}, Reasons: []string{""}, Dev: "tunl0", Blind: "unknown"}
}

// unanswerable is what the kernel finds no way to answer: a SYN is refused, and a datagram reaches its socket, whose
// answer never becomes a packet.
func unanswerable() []Loss {
	return []Loss{refusedSYN(), {Proto: lab.UDP, Fate: ReplyLost, Blind: "delivered"}}
}
