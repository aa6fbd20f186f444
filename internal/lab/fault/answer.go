package fault

import "ipiptrace/internal/lab"

// keepsICMP drops what a node answers with ICMP errors.
const keepsICMP = `
		chain output {
			type filter hook output priority filter; policy accept;
			icmp type { destination-unreachable, time-exceeded, parameter-problem } drop
		}`

// answerFaults are packets that the kernel refuses, with an ICMP error that leaves by no device: a client waits, and is not
// told. A forced back-end may not see that the error was made.
func answerFaults() []Scenario {
	kept := func(s Scenario, l Loss) Scenario {
		l.Fate, l.Reject = "rejected", l.Reject+" not sent"
		s.Traffic, s.Losses, s.Unforced = expect(lab.TimedOut), both(l), true
		return s
	}
	udp := kept(Scenario{
		Name: "no-listener-untold", Summary: "Nobody listens on the service's port, and a rule of the real server's output drops the answer that says so.",
		Code:   "no-listener",
		Inject: []lab.Step{stopListening(), nftIn(lab.RealServer, "ip", keepsICMP)},
		Undo:   []lab.Step{nftGone(lab.RealServer, "ip"), listen()},
	}, Loss{Functions: udpReceive, Reasons: noSocket, Dev: "tunl0", Reject: "icmp 3/3"})
	udp.Traffic, udp.Losses = only(lab.UDP, udp.Traffic), udp.Losses[1:] // TCP is answered with an RST
	return []Scenario{
		udp,
		kept(Scenario{
			Name: "weight-zero-untold", Summary: "The only real server has weight 0, and a rule of the director's output drops the answer that says so.",
			Code:   "ipvs-no-destination",
			Inject: []lab.Step{weigh(0), nftIn(lab.Director, "ip", keepsICMP)},
			Undo:   []lab.Step{nftGone(lab.Director, "ip"), weigh(1)},
			At:     lab.Director,
		}, Loss{Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input", Reject: "icmp 3/3"}),
		kept(Scenario{
			Name: "tunnel-down-untold", Summary: "tunl0 is down, and a rule of the real server's output drops the answer that no tunnel takes the packet.",
			Code:   "tunnel-device-down",
			Inject: []lab.Step{nftIn(lab.RealServer, "ip", keepsICMP), linkDown(lab.RealServer, "tunl0")},
			Undo:   []lab.Step{nftGone(lab.RealServer, "ip"), linkUp(lab.RealServer, "tunl0"), giveAddr(lab.RealServer, "tunl0", lab.VIP)},
		}, Loss{Functions: noTunnel, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/3"}),
	}
}

// healthyAnswers are answers that nobody needs.
func healthyAnswers() []Scenario {
	return []Scenario{
		everywhere(twin("untold", "Rules of output drop the ICMP errors of the real server and of the director, which have none to send.",
			[]lab.Step{nftIn(lab.RealServer, "ip", keepsICMP), nftIn(lab.Director, "ip", keepsICMP)},
			[]lab.Step{nftGone(lab.RealServer, "ip"), nftGone(lab.Director, "ip")})),
	}
}
