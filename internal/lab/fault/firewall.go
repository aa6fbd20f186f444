package fault

import "ipiptrace/internal/lab"

// firewallFaults are the many forms in which a firewall says no.
func firewallFaults() []Scenario {
	service := func(chain string, target ...string) [][]string {
		var rules [][]string
		for _, proto := range []string{"tcp", "udp"} {
			rules = append(rules, append([]string{"-A", chain, "-d", lab.VIP.String(), "-p", proto, "--dport", "80"}, target...))
		}
		return rules
	}
	reject := nftFault("firewall-reject", "An nftables rule in input rejects the decapsulated packet.", lab.RealServer, "ip", []Loss{
		{Proto: lab.TCP, Fate: "rejected", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input", Reject: "rst 0/0"},
		{Proto: lab.UDP, Fate: "rejected", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input", Reject: "icmp 3/3"},
	}, `
		chain input {
			type filter hook input priority filter; policy accept;
			ip daddr 10.99.0.1 tcp dport 80 reject with tcp reset
			ip daddr 10.99.0.1 udp dport 80 reject
		}`)
	reject.Code, reject.Traffic = "firewall-reject", expect(lab.Refused)
	output := nftFault("firewall-postrouting", "An nftables rule in postrouting drops the reply.", lab.RealServer, "ip", both(Loss{Reply: true, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Dev: "eth0", Hook: "postrouting"}), `
		chain postrouting {
			type filter hook postrouting priority srcnat; policy accept;
			oifname "eth0" ip saddr 10.99.0.1 meta l4proto { tcp, udp } drop
		}`)
	output.Undo = append(output.Undo, stopListening(), listen())
	outputPolicy := nftFault("firewall-output-policy", "The policy of an nftables chain in output drops the reply.", lab.RealServer, "ip", both(Loss{Reply: true, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Hook: "output"}), `
		chain output {
			type filter hook output priority filter; policy drop;
			ip daddr 10.0.0.2 accept
		}`)
	outputPolicy.Undo = append(outputPolicy.Undo, stopListening(), listen())
	legacyOutput := iptablesFault("firewall-legacy-output", "A legacy iptables rule in OUTPUT drops the reply.", "iptables-legacy", both(Loss{Reply: true, Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Hook: "output"}),
		[]string{"-A", "OUTPUT", "-s", lab.VIP.String(), "-j", "DROP"})
	legacyOutput.Undo = append(legacyOutput.Undo, stopListening(), listen())
	chain := [][]string{{"-N", "SERVICES"}, {"-A", "INPUT", "-i", "tunl0", "-j", "SERVICES"}}
	policy := [][]string{{"-A", "INPUT", "-p", "4", "-j", "ACCEPT"}, {"-A", "INPUT", "-p", "icmp", "-j", "ACCEPT"}, {"-P", "INPUT", "DROP"}}
	return append(statefulFaults(), []Scenario{
		nftFault("firewall-policy", "The policy of an nftables chain drops what no rule accepts: the service, which comes by tunl0.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy drop;
				ip protocol 4 accept
				iifname "lo" accept
				iifname "eth0" tcp dport 80 accept
			}`),
		nftFault("firewall-policy-outer", "The policy of an nftables chain drops IPIP packets, and would drop what is in them.", lab.RealServer, "inet", filtered("eth0", "input"), `
			chain input {
				type filter hook input priority filter; policy drop;
				iif "lo" accept
			}`),
		nftFault("firewall-jump", "An nftables rule in a chain that input jumps to drops the packet.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain services {
				tcp dport 443 accept
				tcp dport 80 drop
				udp dport 80 drop
			}
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 jump services
			}`),
		nftFault("firewall-goto", "An nftables rule in a chain that input goes to drops the packet.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain blocked {
				counter drop
			}
			chain input {
				type filter hook input priority filter; policy accept;
				iifname "tunl0" ip saddr 10.0.0.0/28 goto blocked
			}`),
		nftFault("firewall-vmap", "A verdict map of an nftables rule drops the service's port.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy accept;
				tcp dport vmap { 22 : accept, 80 : drop }
				udp dport vmap { 53 : accept, 80 : drop }
			}`),
		nftFault("firewall-set", "An nftables rule drops what comes from the addresses in a set.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			set blocked {
				type ipv4_addr; flags interval;
				elements = { 10.0.0.4-10.0.0.9, 192.0.2.0/24 }
			}
			chain input {
				type filter hook input priority filter; policy accept;
				ip saddr @blocked ip daddr 10.99.0.1 drop
			}`),
		nftFault("firewall-inet", "A rule in a table of the family inet drops the packet.", lab.RealServer, "inet", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority 10; policy accept;
				meta nfproto ipv4 ip daddr . th dport { 10.99.0.1 . 80 } drop
			}`),
		nftFault("firewall-netdev", "A rule at the ingress of eth0 drops IPIP packets.", lab.RealServer, "netdev", filtered("eth0", "ingress"), `
			chain ingress {
				type filter hook ingress device "eth0" priority 0; policy accept;
				ip protocol 4 drop
			}`),
		nftFault("firewall-prerouting", "A rule in prerouting drops the decapsulated packet.", lab.RealServer, "ip", filtered("tunl0", "prerouting"), `
			chain prerouting {
				type filter hook prerouting priority raw; policy accept;
				iifname "tunl0" ip daddr 10.99.0.1 drop
			}`),
		reject,
		output,
		iptablesFault("firewall-legacy-chain", "A legacy iptables rule in a chain of its own drops the packet.", "iptables-legacy", filtered("tunl0", "input"),
			append(chain, service("SERVICES", "-j", "DROP")...)...),
		iptablesFault("firewall-legacy-policy", "The policy of INPUT in legacy iptables drops the packet.", "iptables-legacy", filtered("tunl0", "input"), policy...),
		iptablesFault("firewall-iptables-nft", "A rule of iptables-nft in INPUT drops the packet.", "iptables-nft", filtered("tunl0", "input"), service("INPUT", "-j", "DROP")...),
		outputPolicy,
		legacyOutput,
		nftFault("director-firewall-input", "On the director a rule in input drops the packet before IPVS sees it.", lab.Director, "ip", filtered("eth0", "input"), `
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 drop
			}`),
		nftFault("director-firewall-output", "On the director a rule in output drops what goes to the real server.", lab.Director, "ip", filtered("", "output"), `
			chain output {
				type filter hook output priority filter; policy accept;
				ip daddr 10.0.0.11 ip protocol 4 drop
			}`),
		{
			Name:    "queue-drop",
			Summary: "A rule hands the packet to a program, and there is none.",
			Code:    "queue-drop",
			Inject: []lab.Step{nftIn(lab.RealServer, "ip", `
				chain input {
					type filter hook input priority filter; policy accept;
					ip daddr 10.99.0.1 queue num 7
				}`)},
			Undo:    []lab.Step{nftGone(lab.RealServer, "ip")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: []string{"nf_queue", "__nf_queue", "nf_hook_slow"}, Reasons: []string{"NOT_SPECIFIED", "NETFILTER_DROP"}, Dev: "tunl0", Hook: "input"}),
		},
		{
			Name:    "tc-egress",
			Summary: "A tc filter at the egress of eth0 drops the reply.",
			Code:    "tc-drop",
			Inject: []lab.Step{
				clsact(lab.RealServer, "eth0"),
				run(lab.RealServer, "tc", "filter", "add", "dev", "eth0", "egress", "protocol", "ip", "u32", "match", "ip", "src", lab.VIP.String()+"/32", "action", "drop"),
			},
			Undo:    []lab.Step{noClsact(lab.RealServer, "eth0"), stopListening(), listen()},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Reply: true, Fate: "dropped", Functions: []string{"__dev_queue_xmit", "sch_handle_egress"}, Reasons: []string{"TC_EGRESS"}, Dev: "eth0"}),
		},
		{
			Name:    "xdp-drop",
			Summary: "An XDP program on eth0 drops IPIP packets.",
			Code:    "xdp-drop",
			Inject:  []lab.Step{xdp(lab.RealServer, "eth0", xdpGeneric, dropIPIP())},
			Undo:    []lab.Step{xdp(lab.RealServer, "eth0", xdpGeneric, nil)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: []string{"do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp"}, Reasons: unnamed, Dev: "eth0"}),
		},
	}...)
}

// nftFault is a table of nftables that drops what it should not.
func nftFault(name, summary string, at lab.Role, family string, losses []Loss, rules string) Scenario {
	return Scenario{
		Name: name, Summary: summary, Code: "firewall-drop",
		Inject:  []lab.Step{nftIn(at, family, rules)},
		Undo:    []lab.Step{nftGone(at, family)},
		Traffic: expect(lab.TimedOut),
		At:      at,
		Losses:  losses,
	}
}

// iptablesFault is the same with rules of iptables, of one of its back-ends.
func iptablesFault(name, summary, backend string, losses []Loss, rules ...[]string) Scenario {
	s := Scenario{
		Name: name, Summary: summary, Code: "firewall-drop",
		Undo:    []lab.Step{run(lab.RealServer, backend, "-P", "INPUT", "ACCEPT"), run(lab.RealServer, backend, "-F"), unless("No chain", run(lab.RealServer, backend, "-X"))},
		Traffic: expect(lab.TimedOut),
		Losses:  losses,
	}
	s.Inject = append(s.Inject, s.Undo...)
	for _, rule := range rules {
		s.Inject = append(s.Inject, run(lab.RealServer, append([]string{backend}, rule...)...))
	}
	return s
}
