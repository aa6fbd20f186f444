package fault

import "ipiptrace/internal/lab"

// packetFaults are packets that are wrong in themselves, or not whole.
func packetFaults() []Scenario {
	return []Scenario{
		{
			Name:    "bad-checksum",
			Summary: "The inner TCP checksum is wrong.",
			Code:    "bad-checksum",
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: wrongTCPChecksum, Want: lab.Silence}},
			Losses:  []Loss{{Proto: lab.Crafted, Fate: "dropped", Functions: tcpReceive, Reasons: []string{"TCP_CSUM"}, Dev: "tunl0"}},
			Counts:  []Count{{lab.RealServer, "Tcp:", "InCsumErrors"}},
		},
		{
			Name:    "malformed-inner",
			Summary: "The inner header promises more bytes than the packet has.",
			Code:    "malformed-packet",
			Traffic: []lab.Traffic{{Proto: lab.Crafted, Count: faulty, Frame: innerTooShort, Want: lab.Silence}},
			Losses:  []Loss{{Proto: lab.Crafted, Fate: "dropped", Functions: atHeader, Reasons: []string{"IP_INHDR", "PKT_TOO_SMALL"}, Dev: "tunl0"}},
			Counts:  []Count{{lab.RealServer, "IpExt:", "InTruncatedPkts"}},
		},
		{
			// The client does not leave room for the outer header, and the director is told to fragment.
			Name:    "fragment-lost",
			Summary: "The director has to fragment the IPIP packet, and the second half is lost on the way.",
			Code:    "fragment-lost",
			Inject: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/ipfrag_time", "1"),
				sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "0"),
				run(lab.Client, "ip", "route", "replace", lab.VIP.String(), "via", lab.DirectorAddr.String(), "mtu", "1500"),
				clsact(lab.Switch, string(lab.Director)),
				run(lab.Switch, "tc", "filter", "add", "dev", string(lab.Director), "ingress", "protocol", "ip",
					"flower", "ip_flags", "nofirstfrag", "action", "drop"),
			},
			Undo: []lab.Step{
				noClsact(lab.Switch, string(lab.Director)),
				routeClient(),
				sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "1"),
				sysctl(lab.RealServer, "net/ipv4/ipfrag_time", "30"),
			},
			Traffic: []lab.Traffic{{Proto: lab.UDP, Count: faulty, Request: lab.MTU - ipLen - udpLen, Deadline: unanswered, Want: lab.TimedOut}},
			Losses:  []Loss{{Proto: lab.UDP, Fate: "rejected", Functions: []string{"ip_expire"}, Reasons: []string{"NOT_SPECIFIED", "FRAG_REASM_TIMEOUT"}, Dev: "eth0", Reject: "icmp 11/1"}},
			Counts:  []Count{{lab.RealServer, "Ip:", "ReasmTimeout"}, {lab.RealServer, "Icmp:", "OutTimeExcds"}},
		},
	}
}
