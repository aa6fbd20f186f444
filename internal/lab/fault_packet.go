package lab

// packetFaults are packets that are wrong in themselves, or not whole.
func packetFaults() []Scenario {
	return []Scenario{
		{
			Name:    "bad-checksum",
			Summary: "The inner TCP checksum is wrong.",
			Code:    "bad-checksum",
			Traffic: []Traffic{{Proto: Crafted, Count: faulty, Frame: wrongTCPChecksum, Want: Silence}},
		},
		{
			Name:    "malformed-inner",
			Summary: "The inner header promises more bytes than the packet has.",
			Code:    "malformed-packet",
			Traffic: []Traffic{{Proto: Crafted, Count: faulty, Frame: innerTooShort, Want: Silence}},
		},
		{
			// The client does not leave room for the outer header, and the director is told to fragment.
			Name:    "fragment-lost",
			Summary: "The director has to fragment the IPIP packet, and the second half is lost on the way.",
			Code:    "fragment-lost",
			Inject: []Step{
				sysctl(RealServer, "net/ipv4/ipfrag_time", "1"),
				sysctl(Director, "net/ipv4/vs/pmtu_disc", "0"),
				run(Client, "ip", "route", "replace", VIP.String(), "via", DirectorAddr.String(), "mtu", "1500"),
				clsact(Switch, string(Director)),
				run(Switch, "tc", "filter", "add", "dev", string(Director), "ingress", "protocol", "ip",
					"flower", "ip_flags", "nofirstfrag", "action", "drop"),
			},
			Undo: []Step{
				noClsact(Switch, string(Director)),
				routeClient(),
				sysctl(Director, "net/ipv4/vs/pmtu_disc", "1"),
				sysctl(RealServer, "net/ipv4/ipfrag_time", "30"),
			},
			Traffic: []Traffic{{Proto: UDP, Count: faulty, Request: mtu - ipLen - udpLen, Deadline: unanswered, Want: TimedOut}},
		},
	}
}
