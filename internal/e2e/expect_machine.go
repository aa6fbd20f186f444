package main

import "ipiptrace/internal/lab"

// machineLosses are the rows of faults of the whole machine.
func machineLosses() (all []loss) {
	both := func(l loss) { all = append(all, tcpAndUDP(l)...) }
	both(loss{scenario: "backlog-full", unforced: true, fate: "dropped", functions: []string{"enqueue_to_backlog"}, reasons: []string{"CPU_BACKLOG"}, dev: "eth0"})
	both(loss{scenario: "bridge-firewall", at: lab.Switch, fate: "dropped", functions: []string{"nf_hook_slow"}, reasons: []string{"NETFILTER_DROP"}, hook: "forward"})
	both(loss{scenario: "tunnel-down-xfrm", fate: "dropped", functions: []string{"xfrm_input"}, reasons: []string{"NOT_SPECIFIED"}, dev: "eth0"})
	both(loss{scenario: "tunnel-down-sit", fate: "dropped", functions: []string{"ipip_rcv", "sit_tunnel_rcv", "tunnel4_rcv"}, reasons: []string{"NOT_SPECIFIED"}, dev: "eth0"})
	return all
}
