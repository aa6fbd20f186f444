package fault

import (
	"net/netip"
	"slices"

	"ipiptrace/internal/lab"
)

// Healthy scenarios lose nothing. Each but the first looks like a fault in one thing: a tool that is right says nothing
// of it.

// twin is one of them, with ordinary traffic, at the real server.
func twin(name, summary string, inject, undo []lab.Step) Scenario {
	return Scenario{Name: "healthy-" + name, Summary: summary, Inject: inject, Undo: undo, Traffic: expect(lab.Answered)}
}

// healthyFilters are filters that let the service's packets pass.
func healthyFilters() []Scenario {
	nft := func(name, summary, rules string) Scenario {
		return twin(name, summary, []lab.Step{nftIn(lab.RealServer, "inet", rules)},
			[]lab.Step{nftGone(lab.RealServer, "inet"), forgetConnections(lab.RealServer)})
	}
	return []Scenario{
		nft("stateful", "A stateful firewall knows the service, IPIP and the answers to both.", `
			chain input {
				type filter hook input priority filter; policy drop;
				ct state established,related accept
				ct state invalid drop
				iif "lo" accept
				meta l4proto { 1, 4 } accept
				meta l4proto { tcp, udp } th dport 80 accept
			}
			chain output {
				type filter hook output priority filter; policy drop;
				ct state established,related accept
				meta l4proto 1 accept
			}`),
		nft("notrack", "A firewall that drops what is no part of a connection does not track IPIP, nor the service.", `
			chain prerouting {
				type filter hook prerouting priority raw; policy accept;
				ip protocol 4 notrack
				iifname "tunl0" notrack
			}
			chain untracked {
				type filter hook output priority raw; policy accept;
				ip saddr 10.99.0.1 notrack
			}
			chain input {
				type filter hook input priority filter; policy drop;
				ct state established,related,untracked accept
				meta l4proto 1 accept
			}
			chain output {
				type filter hook output priority filter; policy drop;
				ct state established,related,untracked accept
				meta l4proto 1 accept
			}`),
		nft("set", "A firewall accepts what comes from the addresses in a set, to the service in a verdict map, and drops the rest.", `
			set clients {
				type ipv4_addr; flags interval;
				elements = { 10.0.0.4-10.0.0.9, 192.0.2.0/24 }
			}
			chain service {
				ip saddr @clients accept
			}
			chain input {
				type filter hook input priority filter; policy drop;
				meta l4proto { 1, 4 } accept
				ip daddr . th dport vmap { 10.99.0.1 . 80 : jump service, 10.99.0.1 . 443 : drop }
			}`),
		nft("limit", "A firewall drops what is more than a limit, and the traffic is far below.", `
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 limit rate over 100 mbytes/second burst 10 mbytes drop
			}`),
		nft("queue-bypass", "A rule hands packets to a program that is not there, and lets them pass then.", `
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr 10.99.0.1 queue num 7 bypass
			}`),
		twin("iptables", "Legacy iptables accept IPIP and the service, and drop the rest.", legacyAccepts(), legacyGone()),
		twin("tc", "A tc filter looks at IPIP packets on eth0, and a policer that they are far below lets them pass.",
			[]lab.Step{
				clsact(lab.RealServer, "eth0"),
				run(lab.RealServer, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "1", "protocol", "ip", "u32", "match", "ip", "protocol", "4", "0xff",
					"action", "police", "rate", "1gbit", "burst", "10m", "conform-exceed", "drop/continue"),
				run(lab.RealServer, "tc", "filter", "add", "dev", "eth0", "ingress", "pref", "2", "protocol", "ip", "u32", "match", "ip", "protocol", "4", "0xff", "action", "pass"),
			},
			[]lab.Step{noClsact(lab.RealServer, "eth0")}),
		twin("qdisc", "The queue of eth0 is a class with room for all.",
			[]lab.Step{
				run(lab.RealServer, "tc", "qdisc", "replace", "dev", "eth0", "root", "handle", "1:", "htb", "default", "10"),
				run(lab.RealServer, "tc", "class", "replace", "dev", "eth0", "parent", "1:", "classid", "1:10", "htb", "rate", "1gbit", "quantum", "60000"),
			},
			[]lab.Step{noRoot(lab.RealServer)}),
		twin("xdp", "An XDP program on eth0 lets everything pass.",
			[]lab.Step{xdp(lab.RealServer, "eth0", xdpGeneric, pass())}, []lab.Step{xdp(lab.RealServer, "eth0", xdpGeneric, nil)}),
		twin("xfrm", "IPsec policies allow the service's packets without encryption.",
			slices.Concat(allow("in", lab.ClientAddr, lab.VIP), allow("out", lab.VIP, lab.ClientAddr), allow("in", lab.DirectorAddr, lab.RealServerAddr)),
			[]lab.Step{run(lab.RealServer, "ip", "xfrm", "policy", "flush")}),
	}
}

// healthySockets are services that ask something of a packet, or are more than one.
func healthySockets() []Scenario {
	const cookies = "net/ipv4/tcp_syncookies"
	return []Scenario{
		twin("reuseport", "Two services share the port (SO_REUSEPORT).", []lab.Step{serveTwice()}, []lab.Step{listen()}),
		twin("syn-cookies", "Every SYN is answered with a cookie.",
			[]lab.Step{sysctl(lab.RealServer, cookies, "2")}, []lab.Step{sysctl(lab.RealServer, cookies, "1")}),
		twin("socket-filter", "The service's sockets have a filter that lets everything pass.", []lab.Step{filterSockets(1 << 16)}, again()),
		twin("min-ttl", "The service takes what has come by few routers, and it has.", []lab.Step{wantTTL(60)}, again()),
		twin("redirect", "A rule of NAT redirects the service's port to the one on which it listens.",
			[]lab.Step{
				serveAlso(lab.RealServer, netip.AddrPortFrom(lab.VIP, otherPort)),
				nftIn(lab.RealServer, "ip", `
				chain prerouting {
					type nat hook prerouting priority dstnat; policy accept;
					tcp dport 80 redirect to :8080
					udp dport 80 redirect to :8080
				}`),
			},
			append(again(), nftGone(lab.RealServer, "ip"), forgetConnections(lab.RealServer))),
	}
}

// everywhere has a scenario watched in all namespaces.
func everywhere(s Scenario) Scenario {
	s.Watched = Everywhere
	return s
}

// again starts the service anew.
func again() []lab.Step { return []lab.Step{stopListening(), listen()} }

// allow is an IPsec policy that asks for nothing.
func allow(dir string, src, dst netip.Addr) []lab.Step {
	return []lab.Step{run(lab.RealServer, "ip", "xfrm", "policy", "update", "src", src.String(), "dst", dst.String(), "dir", dir, "action", "allow")}
}

func legacyAccepts() []lab.Step {
	steps := legacyGone()
	for _, rule := range [][]string{
		{"-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"},
		{"-A", "INPUT", "-p", "4", "-j", "ACCEPT"},
		{"-A", "INPUT", "-p", "icmp", "-j", "ACCEPT"},
		{"-A", "INPUT", "-i", "tunl0", "-d", lab.VIP.String(), "-p", "tcp", "-m", "multiport", "--dports", "80,443", "-j", "ACCEPT"},
		{"-A", "INPUT", "-i", "tunl0", "-d", lab.VIP.String(), "-p", "udp", "-m", "multiport", "--dports", "80,443", "-j", "ACCEPT"},
		{"-P", "INPUT", "DROP"},
	} {
		steps = append(steps, run(lab.RealServer, append([]string{"iptables-legacy"}, rule...)...))
	}
	return steps
}

func legacyGone() []lab.Step {
	return []lab.Step{
		run(lab.RealServer, "iptables-legacy", "-P", "INPUT", "ACCEPT"), run(lab.RealServer, "iptables-legacy", "-F"),
		forgetConnections(lab.RealServer),
	}
}
