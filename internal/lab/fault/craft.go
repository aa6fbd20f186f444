package fault

import "ipiptrace/internal/lab"

// craftFaults are packets that no sound host would send.
func craftFaults() []Scenario {
	crafted := func(name, summary, code string, frame func(int) []byte) Scenario {
		return Scenario{
			Name: name, Summary: summary, Code: code,
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: frame, Want: lab.Silence}},
		}
	}
	return []Scenario{
		{
			Name: "bad-checksum-udp", Summary: "The inner UDP checksum is wrong.", Code: "bad-checksum",
			Traffic: []lab.Traffic{{Proto: lab.CraftedUDP, Count: faulty, Frame: wrongUDPChecksum, Want: lab.Silence}},
		},
		{
			// More than the kernel verifies before it queues a datagram (CHECKSUM_BREAK).
			Name: "bad-checksum-udp-long", Summary: "The UDP checksum of a long datagram is wrong: the kernel looks at it only when the service reads it.", Code: "bad-checksum",
			Traffic: []lab.Traffic{{Proto: lab.CraftedUDP, Count: faulty, Frame: wrongLongUDPChecksum, Want: lab.Silence}},
		},
		{
			Name: "fragment-overlap", Summary: "Two fragments of the IPIP packet overlap.", Code: "fragment-lost",
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: firstFragment, Next: overlappingFragment, Want: lab.Silence}},
		},
		{
			Name: "source-route", Summary: "The inner packet's sender has chosen its way, which the real server does not allow.", Code: "source-route",
			Inject: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/conf/all/accept_source_route", "0"),
				sysctl(lab.RealServer, "net/ipv4/conf/tunl0/accept_source_route", "1"),
			},
			Undo:    []lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/all/accept_source_route", "0")},
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: sourceRouted, Want: lab.Silence}},
		},
		crafted("malformed-option", "An option in the inner header has a length that it can't have.", "malformed-packet", wrongOption),
		crafted("ecn-mismatch", "The outer header says that it met congestion, and the inner one that its sender takes no word of that.", "ecn-mismatch", congested),
		crafted("bad-checksum-outer", "The outer header's checksum is wrong.", "bad-checksum", wrongOuterChecksum),
		crafted("bad-checksum-inner", "The inner header's checksum is wrong.", "bad-checksum", wrongInnerChecksum),
		crafted("malformed-outer", "The outer header promises more bytes than the packet has.", "malformed-packet", outerTooShort),
		crafted("syn-cookie-invalid", "An ACK belongs to no connection, and is no answer to a SYN cookie.", "syn-cookie-invalid", strayACK),
		{
			Name: "firewall-ct-invalid", Summary: "A rule drops what connection tracking calls invalid, and that does not take up connections in their middle.", Code: "firewall-drop",
			Inject: []lab.Step{
				nftIn(lab.RealServer, "ip", `
				chain input {
					type filter hook input priority filter; policy accept;
					ct state invalid drop
				}`),
				sysctl(lab.RealServer, "net/netfilter/nf_conntrack_tcp_loose", "0"),
			},
			Undo:    []lab.Step{sysctl(lab.RealServer, "net/netfilter/nf_conntrack_tcp_loose", "1"), nftGone(lab.RealServer, "ip"), forgetConnections(lab.RealServer)},
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: strayACK, Want: lab.Silence}},
		},
		crafted("martian-loopback", "The inner source is 127.0.0.1.", "martian-source", fromLoopback),
		{
			Name:    "fragments-disabled",
			Summary: "The director has to fragment the IPIP packet, and the real server puts nothing together.",
			Code:    "fragment-lost",
			Inject: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/ipfrag_low_thresh", "0"),
				sysctl(lab.RealServer, "net/ipv4/ipfrag_high_thresh", "0"),
				sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "0"),
				run(lab.Client, "ip", "route", "replace", lab.VIP.String(), "via", lab.DirectorAddr.String(), "mtu", "1500"),
			},
			Undo: []lab.Step{
				routeClient(),
				sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "1"),
				sysctl(lab.RealServer, "net/ipv4/ipfrag_high_thresh", "4194304"),
				sysctl(lab.RealServer, "net/ipv4/ipfrag_low_thresh", "3145728"),
			},
			Traffic: []lab.Traffic{{Proto: lab.UDP, Count: faulty, Request: lab.MTU - ipLen - udpLen, Deadline: unanswered, Want: lab.TimedOut}},
		},
	}
}
