package fault

import "ipiptrace/internal/lab"

// craftFaults are packets that no sound host would send.
func craftFaults() []Scenario {
	crafted := func(name, summary, code string, frame func(int) []byte, want Loss) Scenario {
		want.Proto = lab.Crafted
		return Scenario{
			Name: name, Summary: summary, Code: code,
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: frame, Want: lab.Silence}},
			Losses:  []Loss{want},
		}
	}
	return []Scenario{
		{
			Name: "bad-checksum-udp", Summary: "The inner UDP checksum is wrong.", Code: "bad-checksum",
			Traffic: []lab.Traffic{{Proto: lab.CraftedUDP, Count: faulty, Frame: wrongUDPChecksum, Want: lab.Silence}},
			Losses:  []Loss{{Proto: lab.CraftedUDP, Fate: "dropped", Functions: udpReceive, Reasons: []string{"UDP_CSUM"}, Dev: "tunl0"}},
		},
		{
			// More than the kernel verifies before it queues a datagram (CHECKSUM_BREAK).
			Name: "bad-checksum-udp-long", Summary: "The UDP checksum of a long datagram is wrong: the kernel looks at it only when the service reads it.", Code: "bad-checksum",
			Traffic: []lab.Traffic{{Proto: lab.CraftedUDP, Count: faulty, Frame: wrongLongUDPChecksum, Want: lab.Silence}},
			Losses:  []Loss{{Proto: lab.CraftedUDP, Fate: "dropped", Functions: []string{"udp_recvmsg"}, Reasons: []string{"NOT_SPECIFIED", "UDP_CSUM"}, Dev: "tunl0"}},
		},
		{
			Name: "fragment-overlap", Summary: "Two fragments of the IPIP packet overlap.", Code: "fragment-lost",
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: firstFragment, Next: overlappingFragment, Want: lab.Silence}},
			Losses:  []Loss{{Proto: lab.Crafted, Fate: "dropped", Functions: []string{"inet_frag_rbtree_purge"}, Reasons: []string{"NOT_SPECIFIED", ""}, Dev: "eth0"}},
		},
		{
			Name: "source-route", Summary: "The inner packet's sender has chosen its way, which the real server does not allow.", Code: "source-route",
			Inject: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/conf/all/accept_source_route", "0"),
				sysctl(lab.RealServer, "net/ipv4/conf/tunl0/accept_source_route", "1"),
			},
			Undo:    []lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/all/accept_source_route", "0")},
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: sourceRouted, Want: lab.Silence}},
			Losses:  []Loss{{Proto: lab.Crafted, Fate: "dropped", Functions: atSource, Reasons: unnamed, Dev: "tunl0"}},
		},
		crafted("malformed-option", "An option in the inner header has a length that it can't have.", "malformed-packet", wrongOption,
			Loss{Fate: "rejected", Functions: atSource, Reasons: []string{"NOT_SPECIFIED", "IP_INHDR"}, Dev: "tunl0", Reject: "icmp 12/0"}),
		crafted("ecn-mismatch", "The outer header says that the packet met congestion, while the inner one says that its sender does not take part.", "ecn-mismatch", congested,
			Loss{Fate: "dropped", Functions: []string{"ip_tunnel_rcv"}, Reasons: unnamed, Dev: "eth0"}),
		crafted("bad-checksum-outer", "The outer header's checksum is wrong.", "bad-checksum", wrongOuterChecksum,
			Loss{Fate: "dropped", Functions: atHeader, Reasons: []string{"IP_CSUM"}, Dev: "eth0"}),
		crafted("bad-checksum-inner", "The inner header's checksum is wrong.", "bad-checksum", wrongInnerChecksum,
			Loss{Fate: "dropped", Functions: atHeader, Reasons: []string{"IP_CSUM"}, Dev: "tunl0"}),
		crafted("malformed-outer", "The outer header promises more bytes than the packet has.", "malformed-packet", outerTooShort,
			Loss{Fate: "dropped", Functions: atHeader, Reasons: []string{"IP_INHDR", "PKT_TOO_SMALL"}, Dev: "eth0"}),
		crafted("syn-cookie-invalid", "An ACK belongs to no connection, and is no answer to a SYN cookie.", "syn-cookie-invalid", strayACK,
			Loss{Fate: "rejected", Functions: []string{"tcp_v4_do_rcv"}, Reasons: []string{"NOT_SPECIFIED", "TCP_FLAGS"}, Dev: "tunl0", Reject: "rst 0/0"}),
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
			Losses:  []Loss{{Proto: lab.Crafted, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Dev: "tunl0", Hook: "input"}},
		},
		crafted("martian-loopback", "The inner source is 127.0.0.1.", "martian-source", fromLoopback,
			Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"NOT_SPECIFIED", "IP_LOCALNET", "IP_INVALID_SOURCE"}, Dev: "tunl0"}),
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
			Losses:  []Loss{{Proto: lab.UDP, Fate: "dropped", Functions: []string{"ip_defrag"}, Reasons: unnamed, Dev: "eth0"}},
		},
	}
}
