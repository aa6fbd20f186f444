package lab

import "time"

// Scenario is one fault, or none: how to bring it about, how to repair it, what traffic meets it and
// what the client sees of it. Its name is one word, the same for the command, tests and recordings.
type Scenario struct {
	Name string
	// Summary is one sentence for a person.
	Summary string
	// Code is the cause that is to be found; empty if nothing is wrong.
	Code string
	// Inject and Undo may each be repeated.
	Inject, Undo []Step
	Traffic      []Traffic
}

// Scenarios are all that the lab can show, healthy first.
func Scenarios() []Scenario {
	return []Scenario{
		{
			Name:    "healthy",
			Summary: "Nothing is wrong: every request is answered directly.",
			Traffic: expect(Answered),
		},
		{
			Name:    "rp-filter",
			Summary: "A strict reverse-path filter drops the decapsulated packet: the way back to the client is not tunl0.",
			Code:    "rp-filter",
			Inject:  []Step{sysctl(RealServer, "net/ipv4/conf/all/rp_filter", "1")},
			Undo: []Step{
				sysctl(RealServer, "net/ipv4/conf/all/rp_filter", "0"),
				sysctl(RealServer, "net/ipv4/conf/tunl0/rp_filter", "0"),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "vip-missing",
			Summary: "The real server does not have the VIP.",
			Code:    "vip-missing",
			Inject:  []Step{removeAddr(RealServer, "tunl0", VIP)},
			Undo:    []Step{giveAddr(RealServer, "tunl0", VIP)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "tunnel-down",
			Summary: "tunl0 is down: nobody takes IPIP packets, and the kernel says so with an ICMP error.",
			Code:    "tunnel-device-down",
			Inject:  []Step{linkDown(RealServer, "tunl0")},
			Undo:    []Step{linkUp(RealServer, "tunl0"), giveAddr(RealServer, "tunl0", VIP)},
			Traffic: expect(Refused),
		},
		{
			Name:    "no-listener",
			Summary: "Nobody listens on the service's port.",
			Code:    "no-listener",
			Inject:  []Step{stopListening()},
			Undo:    []Step{listen()},
			Traffic: expect(Refused),
		},
		{
			Name:    "firewall-input",
			Summary: "An nftables rule in input drops the decapsulated packet.",
			Code:    "firewall-drop",
			Inject: []Step{nft(RealServer, `
				table ip lab {
					chain input {
						type filter hook input priority filter; policy accept;
						ip daddr 10.99.0.1 tcp dport 80 drop
						ip daddr 10.99.0.1 udp dport 80 drop
					}
				}`)},
			Undo:    []Step{nftDelete(RealServer)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "firewall-outer",
			Summary: "An nftables rule in prerouting drops IPIP packets.",
			Code:    "firewall-drop",
			Inject: []Step{nft(RealServer, `
				table ip lab {
					chain prerouting {
						type filter hook prerouting priority raw; policy accept;
						ip protocol 4 drop
					}
				}`)},
			Undo:    []Step{nftDelete(RealServer)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "firewall-legacy",
			Summary: "A legacy iptables rule in INPUT drops the decapsulated packet.",
			Code:    "firewall-drop",
			Inject: []Step{
				run(RealServer, "iptables-legacy", "-F", "INPUT"),
				run(RealServer, "iptables-legacy", "-A", "INPUT", "-d", "10.99.0.1", "-p", "tcp", "--dport", "80", "-j", "DROP"),
				run(RealServer, "iptables-legacy", "-A", "INPUT", "-d", "10.99.0.1", "-p", "udp", "--dport", "80", "-j", "DROP"),
			},
			Undo:    []Step{run(RealServer, "iptables-legacy", "-F", "INPUT")},
			Traffic: expect(TimedOut),
		},
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
	}
}

// Named is the scenario with that name; ok is false if there is none.
func Named(name string) (s Scenario, ok bool) {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}

// faulty is the number of packets or connections that meet a fault; few, because most end in silence.
const faulty = 3

// expect is the ordinary traffic of both protocols, each connection of which ends as said.
func expect(end Outcome) []Traffic {
	deadline := 10 * time.Second
	if end == TimedOut {
		// Longer than an emulated guest needs for an answer, shorter than TCP's first retransmission.
		deadline = 900 * time.Millisecond
	}
	return []Traffic{
		{Proto: TCP, Count: faulty, Request: 3000, Answer: 9000, Deadline: deadline, Want: end},
		{Proto: UDP, Count: faulty, Request: 200, Answer: 200, Deadline: deadline, Want: end},
	}
}
