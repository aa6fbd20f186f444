package lab

// craftFaults are packets that no sound host would send.
func craftFaults() []Scenario {
	crafted := func(name, summary, code string, frame func(int) []byte) Scenario {
		return Scenario{
			Name: name, Summary: summary, Code: code,
			Traffic: []Traffic{{Proto: Crafted, Count: faulty, Frame: frame, Want: Silence}},
		}
	}
	return []Scenario{
		crafted("bad-checksum-outer", "The outer header's checksum is wrong.", "bad-checksum", wrongOuterChecksum),
		crafted("bad-checksum-inner", "The inner header's checksum is wrong.", "bad-checksum", wrongInnerChecksum),
		crafted("malformed-outer", "The outer header promises more bytes than the packet has.", "malformed-packet", outerTooShort),
		crafted("syn-cookie-invalid", "An ACK belongs to no connection, and is no answer to a SYN cookie.", "syn-cookie-invalid", strayACK),
		crafted("martian-loopback", "The inner source is 127.0.0.1.", "martian-source", fromLoopback),
		{
			Name:    "fragments-disabled",
			Summary: "The director has to fragment the IPIP packet, and the real server puts nothing together.",
			Code:    "fragment-lost",
			Inject: []Step{
				sysctl(RealServer, "net/ipv4/ipfrag_low_thresh", "0"),
				sysctl(RealServer, "net/ipv4/ipfrag_high_thresh", "0"),
				sysctl(Director, "net/ipv4/vs/pmtu_disc", "0"),
				run(Client, "ip", "route", "replace", VIP.String(), "via", DirectorAddr.String(), "mtu", "1500"),
			},
			Undo: []Step{
				routeClient(),
				sysctl(Director, "net/ipv4/vs/pmtu_disc", "1"),
				sysctl(RealServer, "net/ipv4/ipfrag_high_thresh", "4194304"),
				sysctl(RealServer, "net/ipv4/ipfrag_low_thresh", "3145728"),
			},
			Traffic: []Traffic{{Proto: UDP, Count: faulty, Request: mtu - ipLen - udpLen, Deadline: unanswered, Want: TimedOut}},
		},
	}
}
