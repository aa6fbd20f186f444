package main

import "ipiptrace/internal/lab"

// moreLosses are the rows of faults that end like others do.
func moreLosses() (all []loss) {
	both := func(l loss) { all = append(all, tcpAndUDP(l)...) }
	nft, nfDrop, unnamed := []string{"nft_do_chain", "nf_hook_slow"}, []string{"NETFILTER_DROP"}, []string{"NOT_SPECIFIED"}
	atSource := []string{"ip_rcv_finish_core"}
	martian := []string{"NOT_SPECIFIED", "IP_LOCAL_SOURCE"}
	addressError := []string{"IP_INADDRERRORS"}
	udpRcv := []string{"__udp4_lib_rcv", "udp_rcv"}

	for _, name := range []string{
		"firewall-policy", "firewall-jump", "firewall-goto", "firewall-vmap", "firewall-set", "firewall-inet",
		"firewall-legacy-chain", "firewall-legacy-policy", "firewall-iptables-nft",
		"firewall-stateful", "firewall-ct-new", "firewall-legacy-conntrack", "firewall-limit",
		"firewall-limits",
	} {
		both(loss{scenario: name, fate: "dropped", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input"})
	}
	both(loss{scenario: "firewall-policy-outer", fate: "dropped", functions: nft, reasons: nfDrop, dev: "eth0", hook: "input"})
	both(loss{scenario: "firewall-netdev", fate: "dropped", functions: nft, reasons: nfDrop, dev: "eth0", hook: "ingress"})
	both(loss{scenario: "firewall-prerouting", fate: "dropped", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "prerouting"})
	all = append(all,
		loss{scenario: "firewall-reject", proto: lab.TCP, fate: "rejected", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input", reject: "rst 0/0"},
		loss{scenario: "firewall-reject", proto: lab.UDP, fate: "rejected", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input", reject: "icmp 3/3"})
	all = append(all,
		loss{scenario: "firewall-legacy-reject", proto: lab.TCP, fate: "rejected", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input", reject: "rst 0/0"},
		loss{scenario: "firewall-legacy-reject", proto: lab.UDP, fate: "rejected", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input", reject: "icmp 3/3"})
	both(loss{scenario: "firewall-iptables-nft-statistic", fate: "rejected", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input", reject: "icmp 3/3"})
	both(loss{scenario: "firewall-iptables-nft-reject", fate: "rejected", functions: nft, reasons: nfDrop, dev: "tunl0", hook: "input", reject: "icmp 3/3"})
	both(loss{scenario: "firewall-postrouting", reply: true, fate: "dropped", functions: nft, reasons: nfDrop, dev: "eth0", hook: "postrouting"})
	both(loss{scenario: "director-firewall-input", at: lab.Director, fate: "dropped", functions: nft, reasons: nfDrop, dev: "eth0", hook: "input"})
	both(loss{scenario: "director-firewall-output", at: lab.Director, fate: "dropped", functions: nft, reasons: nfDrop, hook: "output"})
	both(loss{scenario: "queue-drop", fate: "dropped", functions: []string{"nf_queue", "__nf_queue", "nf_hook_slow"}, reasons: []string{"NOT_SPECIFIED", "NETFILTER_DROP"}, dev: "tunl0", hook: "input"})
	both(loss{scenario: "tc-egress", reply: true, fate: "dropped", functions: []string{"__dev_queue_xmit", "sch_handle_egress"}, reasons: []string{"TC_EGRESS"}, dev: "eth0"})
	both(loss{scenario: "xdp-drop", fate: "dropped", functions: []string{"do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp"}, reasons: unnamed, dev: "eth0"})

	both(loss{scenario: "tunnel-endpoint", fate: "rejected", functions: []string{"tunnel4_rcv"}, reasons: unnamed, dev: "eth0", reject: "icmp 3/3"})
	both(loss{scenario: "tunnel-mode", fate: "dropped", functions: []string{"ipip_tunnel_rcv", "ipip_rcv", "tunnel4_rcv"}, reasons: unnamed, dev: "eth0"})
	both(loss{scenario: "tunnel-gre", fate: "rejected", functions: []string{"ip_local_deliver_finish"}, reasons: []string{"IP_NOPROTO"}, dev: "eth0", reject: "icmp 3/2"})
	both(loss{scenario: "tunnel-gue", fate: "rejected", functions: udpRcv, reasons: []string{"NO_SOCKET"}, dev: "eth0", reject: "icmp 3/3"})
	both(loss{scenario: "tunnel-wrong-namespace", at: lab.Switch, fate: "dropped", functions: []string{"ip_error"}, reasons: addressError, dev: "lvs0"})
	both(loss{scenario: "outer-not-local", fate: "dropped", functions: []string{"ip_error"}, reasons: addressError, dev: "eth0"})

	both(loss{scenario: "rp-filter-unnumbered", fate: "dropped", functions: atSource, reasons: []string{"IP_RPFILTER"}, dev: "tunl0"})
	both(loss{scenario: "martian-source", fate: "dropped", functions: atSource, reasons: martian, dev: "tunl0"})
	both(loss{scenario: "martian-outer", fate: "dropped", functions: atSource, reasons: martian, dev: "eth0"})
	both(loss{scenario: "unreachable-vip", fate: "dropped", functions: []string{"ip_error"}, reasons: addressError, dev: "tunl0"})
	both(loss{scenario: "prohibit-vip", fate: "dropped", functions: []string{"ip_error"}, reasons: addressError, dev: "tunl0"})

	for _, name := range []string{"unreachable-return", "prohibit-return"} {
		all = append(all, refusedSYN(name), unanswerable(name))
	}
	both(loss{scenario: "qdisc-drop", reply: true, fate: "dropped", functions: []string{"__dev_queue_xmit", "kfree_skb_list_reason", "kfree_skb_list", "__dev_xmit_skb", "__tcf_kfree_skb_list"}, reasons: []string{"QDISC_DROP", "QDISC_OVERLIMIT"}, dev: "eth0"})
	for _, name := range []string{"listener-wrong-address", "listener-wrong-device", "listener-outside-vrf"} {
		all = append(all,
			loss{scenario: name, proto: lab.TCP, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "rst 0/0"},
			loss{scenario: name, proto: lab.UDP, fate: "rejected", functions: udpRcv, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "icmp 3/3"})
	}
	all = append(all,
		loss{scenario: "redirect", proto: lab.TCP, fate: "rejected", functions: []string{"tcp_v4_rcv"}, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "rst 0/0"},
		loss{scenario: "redirect", proto: lab.UDP, fate: "rejected", functions: udpRcv, reasons: []string{"NO_SOCKET"}, dev: "tunl0", reject: "icmp 3/3"})
	for _, name := range []string{"redirect-legacy", "forward-off"} {
		both(loss{scenario: name, fate: "dropped", functions: []string{"ip_error"}, reasons: addressError, dev: "tunl0"})
	}
	both(loss{scenario: "no-destination", at: lab.Director, fate: "rejected", functions: []string{"nf_hook_slow"}, reasons: nfDrop, dev: "eth0", hook: "input", reject: "icmp 3/3"})
	both(loss{scenario: "director-no-route", at: lab.Director, fate: "rejected", functions: []string{"ip_vs_tunnel_xmit"}, reasons: unnamed, dev: "eth0", reject: "icmp 3/1"})
	return all
}
