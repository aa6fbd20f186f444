package main

import "ipiptrace/internal/lab"

// directorLosses are the rows of faults at the director, in routing, and on the way back.
func directorLosses() (all []loss) {
	both := func(l loss) { all = append(all, tcpAndUDP(l)...) }
	nft, nfDrop, unnamed := []string{"nft_do_chain", "nf_hook_slow"}, []string{"NETFILTER_DROP"}, []string{"NOT_SPECIFIED"}
	udpRcv, noSocket := []string{"__udp4_lib_rcv", "udp_rcv"}, []string{"NO_SOCKET"}
	netem := []string{"netem_enqueue", "__dev_queue_xmit", "__dev_xmit_skb", "kfree_skb_list_reason", "kfree_skb_list", "__tcf_kfree_skb_list"}
	atSource, noRoute, addressError := []string{"ip_rcv_finish_core"}, []string{"ip_error"}, []string{"IP_INADDRERRORS"}

	both(loss{scenario: "ipvs-overloaded", at: lab.Director, fate: "rejected", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "input", reject: "icmp 3/3"})
	all = append(all,
		loss{scenario: "ipvs-backup", proto: lab.TCP, at: lab.Director, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: noSocket, dev: "eth0", reject: "rst 0/0"},
		loss{scenario: "ipvs-backup", proto: lab.UDP, at: lab.Director, fate: "rejected", functions: udpRcv, reasons: noSocket, dev: "eth0", reject: "icmp 3/3"},
		loss{scenario: "ipvs-destination-removed", proto: lab.TCP, at: lab.Director, fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "input"},
		loss{scenario: "ipvs-no-connection", proto: lab.TCP, at: lab.Director, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: noSocket, dev: "eth0", reject: "rst 0/0"},
		loss{scenario: "mtu-exceeded", proto: lab.UDP, at: lab.Director, fate: "rejected", functions: []string{"ip_vs_tunnel_xmit"}, reasons: unnamed, dev: "eth0", reject: "icmp 3/4"})
	// Without IPVS's functions, as by fentry on 5.10, it is a packet that goes in a circle.
	both(loss{scenario: "ipvs-loop", unforced: true, fate: "rejected", functions: []string{"ip_vs_tunnel_xmit"}, reasons: unnamed, dev: "tunl0", reject: "icmp 11/0"})
	both(loss{scenario: "director-neighbour-failed", at: lab.Director, fate: "rejected", functions: []string{"neigh_invalidate"}, reasons: []string{"NEIGH_FAILED"}, dev: "eth0", reject: "icmp 3/1", answerless: true})
	both(loss{scenario: "director-rp-filter", at: lab.Director, fate: "dropped", functions: atSource, reasons: []string{"IP_RPFILTER"}, dev: "eth0"})
	both(loss{scenario: "director-vip-missing", at: lab.Director, fate: "dropped", functions: noRoute, reasons: addressError, dev: "eth0"})

	both(loss{scenario: "martian-outer-vip", fate: "dropped", functions: atSource, reasons: []string{"NOT_SPECIFIED", "IP_LOCAL_SOURCE"}, dev: "eth0"})
	both(loss{scenario: "rp-filter-outer", fate: "dropped", functions: atSource, reasons: []string{"IP_RPFILTER"}, dev: "eth0"})

	all = append(all, loss{scenario: "vip-missing-forwarding", proto: lab.TCP, fate: "rejected", functions: noRoute, reasons: []string{"IP_INNOROUTES"}, dev: "tunl0", reject: "icmp 3/0"})
	both(loss{scenario: "vip-missing-loop", fate: "rejected", functions: []string{"ip_forward"}, reasons: []string{"IP_INHDR"}, dev: "tunl0", reject: "icmp 11/0"})
	both(loss{scenario: "ipvs-defence", at: lab.Director, fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "input"})
	// The connection is cut in its midst: its ends go on for a while, and everywhere their packets are lost as well.
	all = append(all,
		loss{scenario: "ipvs-fwmark", proto: lab.TCP, at: lab.Director, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: noSocket, dev: "eth0", reject: "rst 0/0"},
		loss{scenario: "ipvs-fwmark", proto: lab.UDP, at: lab.Director, fate: "rejected", functions: udpRcv, reasons: noSocket, dev: "eth0", reject: "icmp 3/3"},
		loss{scenario: "ipvs-port-reuse", proto: lab.TCP, at: lab.Director, fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "input"},
		loss{scenario: "director-firewall-conntrack", proto: lab.TCP, at: lab.Director, unforced: true, fate: "dropped", functions: nft, reasons: nfDrop, dev: "eth0", hook: "input"})

	both(loss{scenario: "firewall-output-policy", reply: true, fate: "dropped", functions: nft, reasons: nfDrop, hook: "output"})
	both(loss{scenario: "firewall-legacy-output", reply: true, fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: nfDrop, hook: "output"})
	both(loss{scenario: "netem-loss", reply: true, fate: "dropped", functions: netem, reasons: []string{"QDISC_DROP", "NOT_SPECIFIED"}, dev: "eth0"})
	all = append(all, refusedSYN("rule-prohibit-return"), unanswerable("rule-prohibit-return"))
	both(loss{scenario: "director-netem-loss", at: lab.Director, fate: "dropped", functions: netem, reasons: []string{"QDISC_DROP", "NOT_SPECIFIED"}, dev: "eth0"})
	tunnelXmit := []string{"ip_tunnel_xmit", "ipip_tunnel_xmit"}
	for _, name := range []string{"listener-on-tunnel", "rule-into-tunnel"} {
		both(loss{scenario: name, fate: replyLost, onward: true})
	}
	both(loss{scenario: "route-into-tunnel", reply: true, fate: "dropped", functions: tunnelXmit, reasons: unnamed, dev: "tunl0"})
	both(loss{scenario: "vip-wrong-prefix", reply: true, fate: "dropped", functions: tunnelXmit, reasons: unnamed, dev: "tunl0"})
	return all
}
