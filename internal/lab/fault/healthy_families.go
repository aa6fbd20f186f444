package fault

import "ipiptrace/internal/lab"

// healthyFamilies are filters of other families, of tc, and rules that iptables does not find again, which lose nothing.
func healthyFamilies() []Scenario {
	nft := func(name, summary string, at lab.Role, family, rules string) Scenario {
		return twin(name, summary, []lab.Step{nftIn(at, family, rules)}, []lab.Step{nftGone(at, family)})
	}
	tc := func(words ...string) lab.Step { return run(lab.RealServer, append([]string{"tc"}, words...)...) }
	egress := nft("netdev-egress", "At the egress of eth0 a policy drops what no rule accepts: neither IPv4 nor ARP.", lab.RealServer, "netdev", `
			chain egress {
				type filter hook egress device "eth0" priority 0; policy drop;
				meta protocol { ip, arp } accept
			}`)
	egress.Needs = []lab.Step{egressHook()}
	flush := run(lab.RealServer, "iptables-legacy", "-F")
	return []Scenario{
		egress,
		nft("bridge-filter", "The bridge of the real server's host has a policy that drops, and rules that know IP and ARP.", lab.Switch, "bridge", `
			chain frames {
				type filter hook forward priority 0; policy drop;
				meta protocol { ip, arp } accept
			}`),
		nft("firewall-equal", "Two nftables chains of one priority drop what is for others.", lab.RealServer, "ip", `
			chain first {
				type filter hook input priority filter; policy accept;
				ip daddr 192.0.2.1 drop
			}
			chain second {
				type filter hook input priority filter; policy accept;
				iifname "tunl0" ip daddr != 10.99.0.1 drop
			}`),
		twin("firewall-recent", "A legacy iptables rule of the match recent drops what comes from others.",
			[]lab.Step{flush, run(lab.RealServer, "iptables-legacy", "-A", "INPUT", "-s", "192.0.2.0/24", "-m", "recent", "--name", "lab", "--set", "-j", "DROP")},
			[]lab.Step{flush}),
		twin("tc-police", "A policer at the ingress of eth0 drops what is more than a limit, which is far away.",
			[]lab.Step{
				clsact(lab.RealServer, "eth0"),
				tc("filter", "add", "dev", "eth0", "ingress", "protocol", "ip", "u32", "match", "ip", "protocol", "4", "0xff",
					"action", "police", "rate", "1gbit", "burst", "1m", "conform-exceed", "drop/pass"),
			},
			[]lab.Step{noClsact(lab.RealServer, "eth0")}),
		twin("qdisc-class", "The service's replies have a class of eth0's queueing discipline, with a queue of its own.",
			[]lab.Step{
				noRoot(lab.RealServer), tc("qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio"),
				tc("qdisc", "add", "dev", "eth0", "parent", "1:3", "handle", "30:", "pfifo", "limit", "1000"),
				tc("filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", "match", "ip", "src", lab.VIP.String()+"/32", "flowid", "1:3"),
			},
			[]lab.Step{noRoot(lab.RealServer)}),
	}
}
