package main

import "ipiptrace/internal/lab"

// realServerLosses are the rows of faults at the real server's socket, cgroup and policies, and of crafted packets.
func realServerLosses() (all []loss) {
	add := func(rows ...loss) { all = append(all, rows...) }
	unnamed := []string{"NOT_SPECIFIED"}
	tcpRcv, udpQueue := []string{"tcp_v4_rcv"}, []string{"udp_queue_rcv_one_skb"}

	for _, name := range []string{"socket-filter", "cgroup-ingress"} {
		reason := []string{"SOCKET_FILTER"}
		add(loss{scenario: name, proto: lab.TCP, fate: "dropped", functions: tcpRcv, reasons: reason, dev: "tunl0"},
			loss{scenario: name, proto: lab.UDP, fate: "dropped", functions: udpQueue, reasons: reason, dev: "tunl0"})
	}
	add(loss{scenario: "cgroup-egress", proto: lab.UDP, reply: true, fate: "dropped", functions: []string{"ip_finish_output"}, reasons: []string{"BPF_CGROUP_EGRESS"}, dev: "eth0"},
		loss{scenario: "tcp-auth", proto: lab.TCP, fate: "dropped", functions: tcpRcv, reasons: []string{"TCP_MD5NOTFOUND"}, dev: "tunl0"},
		loss{scenario: "min-ttl", proto: lab.TCP, fate: "dropped", functions: tcpRcv, reasons: append(unnamed, "TCP_MINTTL"), dev: "tunl0"})
	for _, name := range []string{"sk-lookup", "listener-ipv6only"} {
		add(loss{scenario: name, proto: lab.TCP, fate: "rejected", functions: tcpRcv, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "rst 0/0"},
			loss{scenario: name, proto: lab.UDP, fate: "rejected", functions: []string{"__udp4_lib_rcv", "udp_rcv"}, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "icmp 3/3"})
	}

	validate := []string{"tcp_validate_incoming"}
	add(loss{scenario: "tcp-paws", proto: lab.TCP, fate: "dropped", functions: validate, reasons: []string{"TCP_RFC7323_PAWS"}, dev: "tunl0", mute: "delivered"},
		loss{scenario: "tcp-out-of-window", proto: lab.TCP, fate: "dropped", functions: validate, reasons: []string{"TCP_INVALID_SEQUENCE"}, dev: "tunl0", mute: "delivered"})

	add(tcpAndUDP(loss{scenario: "xdp-native", fate: "dropped", functions: []string{"veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll"}, reasons: append(unnamed, "XDP"), dev: "eth0"})...)
	add(tcpAndUDP(loss{scenario: "tc-drop-tunnel", fate: "dropped", functions: []string{"__netif_receive_skb_core"}, reasons: []string{"TC_INGRESS"}, dev: "tunl0"})...)
	add(tcpAndUDP(loss{scenario: "firewall-netdev-tunnel", fate: "dropped", functions: []string{"nft_do_chain", "nf_hook_slow"}, reasons: []string{"NETFILTER_DROP"}, dev: "tunl0", hook: "ingress"})...)
	add(loss{scenario: "fragments-disabled", proto: lab.UDP, fate: "dropped", functions: []string{"ip_defrag"}, reasons: unnamed, dev: "eth0"})

	policy := []string{"XFRM_POLICY"}
	add(tcpAndUDP(loss{scenario: "xfrm-outer", fate: "dropped", functions: []string{"ipip_tunnel_rcv"}, reasons: unnamed, dev: "eth0"})...)
	add(loss{scenario: "xfrm-inner", proto: lab.TCP, fate: "dropped", functions: tcpRcv, reasons: policy, dev: "tunl0"},
		loss{scenario: "xfrm-inner", proto: lab.UDP, fate: "dropped", functions: udpQueue, reasons: policy, dev: "tunl0"},
		refusedSYN("xfrm-out"), unanswerable("xfrm-out"))

	crafted := func(l loss) { l.proto = lab.Crafted; add(l) }
	ipRcv := []string{"ip_rcv_core"}
	add(loss{scenario: "bad-checksum-udp", proto: lab.CraftedUDP, fate: "dropped", functions: []string{"__udp4_lib_rcv", "udp_rcv"}, reasons: []string{"UDP_CSUM"}, dev: "tunl0"})
	crafted(loss{scenario: "firewall-ct-invalid", fate: "dropped", functions: []string{"nft_do_chain", "nf_hook_slow"}, reasons: []string{"NETFILTER_DROP"}, dev: "tunl0", hook: "input"})
	add(loss{scenario: "bad-checksum-udp-long", proto: lab.CraftedUDP, fate: "dropped", functions: []string{"udp_recvmsg"}, reasons: append(unnamed, "UDP_CSUM"), dev: "tunl0"})
	crafted(loss{scenario: "fragment-overlap", fate: "dropped", functions: []string{"inet_frag_rbtree_purge"}, reasons: append(unnamed, ""), dev: "eth0"})
	crafted(loss{scenario: "source-route", fate: "dropped", functions: []string{"ip_rcv_finish_core"}, reasons: unnamed, dev: "tunl0"})
	crafted(loss{scenario: "malformed-option", fate: "rejected", functions: []string{"ip_rcv_finish_core"}, reasons: append(unnamed, "IP_INHDR"), dev: "tunl0", reject: "icmp 12/0"})
	crafted(loss{scenario: "ecn-mismatch", fate: "dropped", functions: []string{"ip_tunnel_rcv"}, reasons: unnamed, dev: "eth0"})
	crafted(loss{scenario: "bad-checksum-outer", fate: "dropped", functions: ipRcv, reasons: []string{"IP_CSUM"}, dev: "eth0"})
	crafted(loss{scenario: "bad-checksum-inner", fate: "dropped", functions: ipRcv, reasons: []string{"IP_CSUM"}, dev: "tunl0"})
	crafted(loss{scenario: "malformed-outer", fate: "dropped", functions: ipRcv, reasons: []string{"IP_INHDR", "PKT_TOO_SMALL"}, dev: "eth0"})
	crafted(loss{scenario: "syn-cookie-invalid", fate: "rejected", functions: []string{"tcp_v4_do_rcv"}, reasons: append(unnamed, "TCP_FLAGS"), dev: "tunl0", reject: "rst 0/0"})
	crafted(loss{scenario: "martian-loopback", fate: "dropped", functions: []string{"ip_rcv_finish_core"}, reasons: append(unnamed, "IP_LOCALNET", "IP_INVALID_SOURCE"), dev: "tunl0"})
	return all
}
