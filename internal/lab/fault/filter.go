package fault

import "ipiptrace/internal/lab"

// filterFaults are packets that somebody was told to drop.
func filterFaults() []Scenario {
	return []Scenario{
		{
			Name:    "firewall-input",
			Summary: "An nftables rule in input drops the decapsulated packet.",
			Code:    "firewall-drop",
			Inject: []lab.Step{nftIn(lab.RealServer, "ip", `
				chain input {
					type filter hook input priority filter; policy accept;
					ip daddr 10.99.0.1 tcp dport 80 drop
					ip daddr 10.99.0.1 udp dport 80 drop
				}`)},
			Undo:    []lab.Step{nftGone(lab.RealServer, "ip")},
			Traffic: expect(lab.TimedOut),
			Losses:  filtered("tunl0", "input"),
		},
		{
			Name:    "firewall-outer",
			Summary: "An nftables rule in prerouting drops IPIP packets.",
			Code:    "firewall-drop",
			Inject: []lab.Step{nftIn(lab.RealServer, "ip", `
				chain prerouting {
					type filter hook prerouting priority raw; policy accept;
					ip protocol 4 drop
				}`)},
			Undo:    []lab.Step{nftGone(lab.RealServer, "ip")},
			Traffic: expect(lab.TimedOut),
			Losses:  filtered("eth0", "prerouting"),
		},
		{
			Name:    "firewall-legacy",
			Summary: "A legacy iptables rule in INPUT drops the decapsulated packet.",
			Code:    "firewall-drop",
			Inject: []lab.Step{
				run(lab.RealServer, "iptables-legacy", "-F", "INPUT"),
				run(lab.RealServer, "iptables-legacy", "-A", "INPUT", "-d", "10.99.0.1", "-p", "tcp", "--dport", "80", "-j", "DROP"),
				run(lab.RealServer, "iptables-legacy", "-A", "INPUT", "-d", "10.99.0.1", "-p", "udp", "--dport", "80", "-j", "DROP"),
			},
			Undo:    []lab.Step{run(lab.RealServer, "iptables-legacy", "-F", "INPUT")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input"}),
		},
		{
			Name:    "firewall-output",
			Summary: "An nftables rule in output drops the reply.",
			Code:    "firewall-drop",
			Inject: []lab.Step{nftIn(lab.RealServer, "ip", `
				chain output {
					type filter hook output priority filter; policy accept;
					ip saddr 10.99.0.1 tcp sport 80 drop
					ip saddr 10.99.0.1 udp sport 80 drop
				}`)},
			Undo:    []lab.Step{nftGone(lab.RealServer, "ip"), stopListening(), listen()},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Reply: true, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Hook: "output"}),
		},
		{
			Name:    "tc-drop",
			Summary: "A tc filter at the ingress of eth0 drops IPIP packets.",
			Code:    "tc-drop",
			Inject: []lab.Step{
				clsact(lab.RealServer, "eth0"),
				run(lab.RealServer, "tc", "filter", "add", "dev", "eth0", "ingress", "protocol", "ip", "u32", "match", "ip", "protocol", "4", "0xff", "action", "drop"),
			},
			Undo:    []lab.Step{noClsact(lab.RealServer, "eth0")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atIngress, Reasons: []string{"TC_INGRESS"}, Dev: "eth0"}),
		},
		{
			// One place, two connections that may not be thrown out: every other packet is one too many.
			Name:         "conntrack-full",
			Summary:      "A rule asks for connection tracking, and the table of connections is full.",
			Code:         "conntrack-full",
			WholeMachine: true,
			Inject: []lab.Step{
				nftIn(lab.RealServer, "ip", `
				chain prerouting {
					type filter hook prerouting priority filter; policy accept;
					ct state established accept
				}`),
				keepConnections(2),
				machineSysctl("net/netfilter/nf_conntrack_max", "1"),
				forgetTunnels(lab.RealServer),
			},
			Undo: []lab.Step{
				restoreSysctl("net/netfilter/nf_conntrack_max"),
				nftGone(lab.RealServer, "ip"),
				stopListening(), listen(),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "prerouting"}),
			Counts:  []Count{{lab.RealServer, lab.Conntrack, "drop"}},
		},
	}
}
