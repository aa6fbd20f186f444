package fault

import "ipiptrace/internal/lab"

// statefulFaults are firewalls that ask connection tracking, answer, or count.
func statefulFaults() []Scenario {
	tracked := func(s Scenario) Scenario {
		s.Undo = append(s.Undo, forgetConnections(lab.RealServer))
		return s
	}
	rejects := func(s Scenario) Scenario {
		s.Code, s.Traffic = "firewall-reject", expect(lab.Refused)
		return s
	}
	tcp := func(words ...string) []string {
		return append([]string{"-A", "INPUT", "-p", "tcp", "--dport", "80"}, words...)
	}
	udp := func(words ...string) []string {
		return append([]string{"-A", "INPUT", "-p", "udp", "--dport", "80"}, words...)
	}
	return []Scenario{
		tracked(nftFault("firewall-stateful", "An ordinary firewall: what belongs to a connection may pass, SSH and IPIP, too. The service was forgotten.", lab.RealServer, "inet", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy drop;
				ct state established,related accept
				ct state invalid drop
				iif "lo" accept
				meta l4proto { 1, 4, 58 } accept
				tcp dport 22 accept
			}`)),
		tracked(nftFault("firewall-ct-new", "An nftables rule in input drops every new connection that comes by tunl0.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy accept;
				ct state vmap { established : accept, related : accept }
				iifname "tunl0" ct state new drop
			}`)),
		rejects(iptablesFault("firewall-iptables-nft-reject", "A rule of iptables-nft in INPUT rejects the decapsulated packet.", "iptables-nft", both(Loss{Fate: "rejected", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input", Reject: "icmp 3/3"}),
			tcp("-j", "REJECT"), udp("-j", "REJECT"))),
		rejects(iptablesFault("firewall-legacy-reject", "A legacy iptables rule in INPUT rejects the decapsulated packet.", "iptables-legacy", []Loss{
			{Proto: lab.TCP, Fate: "rejected", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input", Reject: "rst 0/0"},
			{Proto: lab.UDP, Fate: "rejected", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input", Reject: "icmp 3/3"},
		},
			tcp("-j", "REJECT", "--reject-with", "tcp-reset"), udp("-j", "REJECT", "--reject-with", "icmp-port-unreachable"))),
		tracked(iptablesFault("firewall-legacy-conntrack", "A legacy iptables rule drops every new connection that comes by tunl0.", "iptables-legacy", filtered("tunl0", "input"),
			[]string{"-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
			[]string{"-A", "INPUT", "-i", "tunl0", "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP"})),
		// Each packet is larger than the limit and its burst together.
		nftFault("firewall-limit", "An nftables rule drops what is more than a limit, which was meant to be one of kilobytes.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 limit rate over 8 bytes/second burst 8 bytes drop
			}`),
		// What the rules say does not tell which of them it was, the kernel alone knows.
		nftFault("firewall-limits", "Of several nftables rules with limits one drops the packet.", lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 limit rate over 9 mbytes/second drop
				jump services
				ip daddr 10.99.0.1 limit rate over 7 mbytes/second drop
			}
			chain services {
				udp dport 80 limit rate over 8 bytes/second burst 8 bytes ip protocol vmap { 6 : accept, 17 : drop }
				tcp dport 80 limit rate over 8 bytes/second burst 8 bytes drop
				ip daddr 10.99.0.1 limit rate over 5 mbytes/second drop
			}`),
		rejects(iptablesFault("firewall-iptables-nft-statistic", "Of several rules of iptables-nft that go by chance or count one rejects the packet.", "iptables-nft", both(Loss{Fate: "rejected", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input", Reject: "icmp 3/3"}),
			[]string{"-A", "INPUT", "-m", "statistic", "--mode", "random", "--probability", "0", "-j", "REJECT"},
			[]string{"-A", "INPUT", "-d", lab.VIP.String(), "-m", "statistic", "--mode", "nth", "--every", "1", "--packet", "0", "-j", "REJECT"},
			[]string{"-A", "INPUT", "-m", "statistic", "--mode", "random", "--probability", "0", "-j", "DROP"})),
	}
}
