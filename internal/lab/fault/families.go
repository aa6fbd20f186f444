package fault

import "ipiptrace/internal/lab"

// familyFaults are filters of families beside IPv4's, chains of one priority, rules that iptables does not find again by
// their text, policers and classes of tc, and rules that cannot be read.
func familyFaults() []Scenario {
	bridged := func(name, summary, hook, policy, rules string) Scenario {
		return nftFault(name, summary, lab.Switch, "bridge", both(Loss{Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Hook: hook}), `
			chain frames {
				type filter hook `+hook+` priority 0; policy `+policy+`;
				`+rules+`
			}`)
	}
	answers := func(s Scenario) Scenario {
		s.Undo = append(s.Undo, stopListening(), listen())
		return s
	}
	service := []string{"-A", "INPUT", "-d", lab.VIP.String(), "-m"}
	rule := func(match ...string) []string {
		return append(append([]string{}, service...), append(match, "-j", "DROP")...)
	}
	recent := rule("recent", "--name", "lab", "--set")
	atInput := both(Loss{Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input"})
	connlimit := iptablesFault("firewall-connlimit", "A legacy iptables rule that limits connections to none drops the packet.", "iptables-legacy", atInput,
		rule("connlimit", "--connlimit-above", "0", "--connlimit-mask", "0"))
	connlimit.Undo = append(connlimit.Undo, forgetConnections(lab.RealServer))
	egress := answers(nftFault("firewall-netdev-egress", "A rule at the egress of eth0 (from 5.16 on) drops the reply.", lab.RealServer, "netdev",
		both(Loss{Reply: true, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Dev: "eth0", Hook: "egress"}), `
			chain egress {
				type filter hook egress device "eth0" priority 0; policy accept;
				ip saddr 10.99.0.1 drop
			}`))
	egress.Needs = []lab.Step{egressHook()}
	return append([]Scenario{
		egress,
		bridged("bridge-filter", "On the host of the real server, a virtual machine, a rule of its bridge drops IPIP packets.", "forward", "accept", "ip protocol 4 drop"),
		bridged("bridge-filter-policy", "There the policy of a chain of its bridge drops what no rule accepts: IPIP.", "forward", "drop", `
				meta protocol arp accept
				ip protocol != 4 accept`),
		bridged("bridge-filter-postrouting", "There a rule of its bridge drops IPIP packets before they leave by the port.", "postrouting", "accept", "ip protocol 4 drop"),
		nftFault("firewall-inet-ingress", "A rule at the ingress of eth0, in a table of the family inet, drops IPIP packets.", lab.RealServer, "inet", filtered("eth0", "ingress"), `
			chain ingress {
				type filter hook ingress device "eth0" priority 0; policy accept;
				ip protocol 4 drop
			}`),
		nftFault("firewall-equal", "Of two nftables chains of one priority, each of which drops the packet, the one that was made later is asked first.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain early {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 drop
			}
			chain late {
				type filter hook input priority filter; policy accept;
				iifname "tunl0" drop
			}`),
		iptablesFault("firewall-recent", "A legacy iptables rule that iptables does not find again by its text drops the packet.", "iptables-legacy", atInput, recent),
		connlimit,
	}, append(trafficFaults(answers), unreadFaults()...)...)
}

// egressHook fails on kernels before 5.16, where netfilter has no hook at a device's egress.
func egressHook() lab.Step {
	return nftCan(lab.RealServer, "netdev", `
			chain egress {
				type filter hook egress device "eth0" priority 0; policy accept;
			}`)
}

// trafficFaults are those of tc.
func trafficFaults(answers func(Scenario) Scenario) []Scenario {
	tc := func(words ...string) lab.Step {
		return run(lab.RealServer, append([]string{"tc"}, words...)...)
	}
	fromVIP := []string{"u32", "match", "ip", "src", lab.VIP.String() + "/32"}
	add := func(at []string, what ...string) lab.Step {
		words := append([]string{"filter", "add", "dev", "eth0"}, at...)
		return tc(append(append(append(words, "protocol", "ip"), fromVIP...), what...)...)
	}
	classes := []lab.Step{noRoot(lab.RealServer), tc("qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio")}
	queued := Loss{Reply: true, Fate: "dropped", Functions: netem, Reasons: []string{"QDISC_DROP", "QDISC_OVERLIMIT", "NOT_SPECIFIED"}, Dev: "eth0"}
	return []Scenario{
		{
			Name:    "tc-police",
			Summary: "A policer at the ingress of eth0 drops what is more than a limit, which is less than a packet.",
			Code:    "tc-drop",
			Inject: []lab.Step{
				clsact(lab.RealServer, "eth0"),
				tc("filter", "add", "dev", "eth0", "ingress", "protocol", "ip", "u32", "match", "ip", "protocol", "4", "0xff",
					"action", "police", "rate", "8bit", "burst", "16", "conform-exceed", "drop/pass"),
			},
			Undo:    []lab.Step{noClsact(lab.RealServer, "eth0")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atIngress, Reasons: []string{"TC_INGRESS"}, Dev: "eth0"}),
		},
		{
			Name:    "tc-shared-block",
			Summary: "A tc filter of a block that the ingress of eth0 shares with others drops IPIP packets.",
			Code:    "tc-drop",
			Inject: []lab.Step{
				noClsact(lab.RealServer, "eth0"), tc("qdisc", "add", "dev", "eth0", "ingress_block", "7", "clsact"),
				tc("filter", "add", "block", "7", "protocol", "ip", "u32", "match", "ip", "protocol", "4", "0xff", "action", "drop"),
			},
			Undo:    []lab.Step{noClsact(lab.RealServer, "eth0")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atIngress, Reasons: []string{"TC_INGRESS"}, Dev: "eth0"}),
		},
		answers(Scenario{
			Name: "tc-classifier", Summary: "A filter that a queueing discipline asks for the class drops the reply.", Code: "tc-drop",
			Inject:  append(neighbours(), append(classes, add([]string{"parent", "1:"}, "action", "drop"))...),
			Undo:    append(noNeighbours(), noRoot(lab.RealServer)),
			Traffic: expect(lab.TimedOut), Losses: both(queued),
		}),
		answers(Scenario{
			Name: "qdisc-class", Summary: "The queue of one of eth0's classes, which has the service's replies, has no room for a packet.", Code: "qdisc-drop",
			Inject: append(neighbours(), append(classes,
				tc("qdisc", "add", "dev", "eth0", "parent", "1:3", "handle", "30:", "bfifo", "limit", "1"), add([]string{"parent", "1:"}, "flowid", "1:3"))...),
			Undo:    append(noNeighbours(), noRoot(lab.RealServer)),
			Traffic: expect(lab.TimedOut), Losses: both(queued),
		}),
	}
}

// unreadFaults are rules that cannot be read, since the program that renders them fails.
func unreadFaults() []Scenario {
	fails := func(program string) lab.Step {
		return run(lab.RealServer, "mount", "-o", "bind", "/bin/false", program)
	}
	works := func(program string) lab.Step {
		return run(lab.RealServer, "sh", "-c", "while umount "+program+" 2>/dev/null; do :; done")
	}
	unread := func(s Scenario, program string) Scenario {
		s.WholeMachine = true
		s.Inject = append(append([]lab.Step{works(program)}, s.Inject...), fails(program))
		s.Undo = append([]lab.Step{works(program)}, s.Undo...)
		return s
	}
	const rules = `
		chain input {
			type filter hook input priority filter; policy accept;
			ip daddr 10.99.0.1 drop
		}`
	legacy := both(Loss{Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input"})
	output := nftFault("firewall-unread-output", "A rule of nftables drops the reply, and nft does not run.", lab.RealServer, "inet",
		both(Loss{Reply: true, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Hook: "output"}), `
		chain output {
			type filter hook output priority filter; policy accept;
			ip saddr 10.99.0.1 drop
		}`)
	output.Undo = append(output.Undo, stopListening(), listen())
	return []Scenario{
		unread(nftFault("firewall-unread", "A rule of nftables drops the packet, and nft does not run.", lab.RealServer, "ip", filtered("tunl0", "input"), rules), "/usr/sbin/nft"),
		unread(output, "/usr/sbin/nft"),
		unread(iptablesFault("firewall-unread-legacy", "A legacy iptables rule drops the packet, and iptables does not run.", "iptables-legacy", legacy,
			[]string{"-A", "INPUT", "-d", lab.VIP.String(), "-j", "DROP"}), "/usr/sbin/xtables-legacy-multi"),
	}
}
