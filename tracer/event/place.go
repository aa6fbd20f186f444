package event

// Place is a point in the kernel where a packet can be seen. The numbers are those of enum place in
// bpf/event.h and of recordings: they never change.
type Place uint8

// The places, in the order in which a packet can meet them.
const (
	NoPlace Place = 0

	NetifReceiveSkb Place = 1
	NetDevQueue     Place = 2
	NetDevStartXmit Place = 3
	NetDevXmit      Place = 4
	GroMerged       Place = 5
	Cloned          Place = 6

	IPRcv          Place = 10
	IPRouteInput   Place = 11
	IPLocalDeliver Place = 12
	IPForward      Place = 13
	IPError        Place = 14
	IPDefrag       Place = 15
	IPLocalOut     Place = 16
	IPRouteOutput  Place = 17

	NfHookSlow Place = 20
	NftRule    Place = 25
	NftResult  Place = 26

	IPVSIn       Place = 21
	IPVSSchedule Place = 22
	IPVSXmit     Place = 23
	IPVSLeave    Place = 24

	Tunnel4Rcv      Place = 30
	IPTunnelRcv     Place = 31
	GroCellsReceive Place = 32

	TCPRcv           Place = 40
	TCPDoRcv         Place = 41
	TCPChildProcess  Place = 42
	TCPTimewait      Place = 43
	TCPAddBacklog    Place = 44
	TCPConnRequest   Place = 45
	TCPProbe         Place = 46
	InetSockSetState Place = 47
	UDPRcv           Place = 48
	UDPQueueRcv      Place = 49
	ICMPRcv          Place = 50
	TCPDeferAccept   Place = 51

	KfreeSkb   Place = 60
	ConsumeSkb Place = 61
	LeftNetns  Place = 62
	TCPDrop    Place = 63

	SendReset Place = 70
	ICMPSend  Place = 71
)

// names are what a person reads, and the hook of a step in JSON: the kernel's own names.
var names = map[Place]string{
	NetifReceiveSkb:  "netif_receive_skb",
	NetDevQueue:      "net_dev_queue",
	NetDevStartXmit:  "net_dev_start_xmit",
	NetDevXmit:       "net_dev_xmit",
	GroMerged:        "napi_gro_receive",
	Cloned:           "cloned",
	IPRcv:            "ip_rcv",
	IPRouteInput:     "ip_route_input",
	IPLocalDeliver:   "ip_local_deliver",
	IPForward:        "ip_forward",
	IPError:          "ip_error",
	IPDefrag:         "ip_defrag",
	IPLocalOut:       "ip_local_out",
	IPRouteOutput:    "ip_route_output",
	NfHookSlow:       "nf_hook_slow",
	NftRule:          "nft_rule",
	NftResult:        "nft_result",
	IPVSIn:           "ip_vs_in",
	IPVSSchedule:     "ip_vs_schedule",
	IPVSXmit:         "ip_vs_xmit",
	IPVSLeave:        "ip_vs_leave",
	Tunnel4Rcv:       "tunnel4_rcv",
	IPTunnelRcv:      "ip_tunnel_rcv",
	GroCellsReceive:  "gro_cells_receive",
	TCPRcv:           "tcp_v4_rcv",
	TCPDoRcv:         "tcp_v4_do_rcv",
	TCPChildProcess:  "tcp_child_process",
	TCPTimewait:      "tcp_timewait_state_process",
	TCPAddBacklog:    "tcp_add_backlog",
	TCPConnRequest:   "tcp_conn_request",
	TCPProbe:         "tcp_probe",
	InetSockSetState: "inet_sock_set_state",
	UDPRcv:           "udp_rcv",
	UDPQueueRcv:      "udp_queue_rcv_one_skb",
	ICMPRcv:          "icmp_rcv",
	TCPDeferAccept:   "tcp_defer_accept",
	KfreeSkb:         "kfree_skb",
	ConsumeSkb:       "consume_skb",
	LeftNetns:        "left_netns",
	TCPDrop:          "tcp_drop",
	SendReset:        "tcp_send_reset",
	ICMPSend:         "icmp_send",
}

// String is the place's name, the kernel's where the kernel has one.
func (p Place) String() string { return names[p] }

// PlaceNamed is the place with that name; ok is false if there is none.
func PlaceNamed(name string) (p Place, ok bool) {
	for p, n := range names {
		if n == name {
			return p, true
		}
	}
	return NoPlace, false
}
