package fault

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// balanceFaults are those of IPVS itself.
func balanceFaults() []Scenario {
	return []Scenario{
		{
			Name:    "ipvs-overloaded",
			Summary: "The only real server has as many connections as its upper threshold allows.",
			Code:    "ipvs-overloaded",
			Inject:  []lab.Step{narrow(), once()}, // IPVS looks at the threshold when a connection comes
			Undo:    []lab.Step{weigh(1)},         // without a threshold
			Traffic: expect(lab.Refused),
			Losses:  both(Loss{Fate: "rejected", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input", Reject: "icmp 3/3"}),
			At:      lab.Director,
		},
		{
			Name:    "ipvs-backup",
			Summary: "The director is another one's backup, and leaves packets alone until it takes over.",
			Code:    "ipvs-backup",
			Inject: []lab.Step{
				unless("Daemon has already run", run(lab.Director, "ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth0")),
				sysctl(lab.Director, "net/ipv4/vs/backup_only", "1"),
			},
			Undo: []lab.Step{
				sysctl(lab.Director, "net/ipv4/vs/backup_only", "0"),
				unless("Daemon has not", unless("No such process", run(lab.Director, "ipvsadm", "--stop-daemon", "backup"))),
			},
			Traffic: expect(lab.Refused),
			Losses:  unheard("eth0"),
			At:      lab.Director,
		},
		{
			Name:    "ipvs-destination-removed",
			Summary: "The real server was removed from the service while connections to it were open.",
			Code:    "ipvs-destination-removed",
			Undo:    []lab.Step{stopListening(), hangUp(), removeServices(), addServices(), listen()},
			Traffic: []lab.Traffic{{Proto: lab.TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200, Deadline: unanswered, Midway: removeDestinationOf(unix.IPPROTO_TCP), Want: lab.TimedOut}},
			Losses:  []Loss{{Proto: lab.TCP, Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input"}},
			At:      lab.Director,
		},
		{
			Name:    "ipvs-no-connection",
			Summary: "The director forgets a connection that was silent for a second, which is less than its client needs.",
			Code:    "ipvs-no-connection",
			Inject:  []lab.Step{run(lab.Director, "ipvsadm", "--set", "1", "1", "1")},
			Undo: []lab.Step{
				stopListening(), hangUp(),
				run(lab.Director, "ipvsadm", "--set", "900", "120", "300"), sysctl(lab.Director, "net/ipv4/vs/sloppy_tcp", "0"),
				removeServices(), addServices(), listen(),
			},
			Traffic: []lab.Traffic{{Proto: lab.TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200, Midway: silence(forgotten), Want: lab.Broken}},
			Losses:  []Loss{{Proto: lab.TCP, Fate: "rejected", Functions: tcpReceive, Reasons: noSocket, Dev: "eth0", Reject: "rst 0/0"}},
			At:      lab.Director,
		},
		{
			Name:    "ipvs-defence",
			Summary: "The director defends itself against a flood, and turns every new connection away.",
			Code:    "ipvs-defence",
			Inject:  []lab.Step{sysctl(lab.Director, "net/ipv4/vs/am_droprate", "1"), sysctl(lab.Director, "net/ipv4/vs/drop_packet", "3")},
			Undo:    []lab.Step{sysctl(lab.Director, "net/ipv4/vs/drop_packet", "0"), sysctl(lab.Director, "net/ipv4/vs/am_droprate", "10")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input"}),
			At:      lab.Director,
		},
		{
			// The client tries again a second later, and that works.
			Name:    "ipvs-port-reuse",
			Summary: "The director tracks its connections, and drops the first packet of one from a port that another one had a moment before.",
			Code:    "ipvs-port-reuse",
			Inject: []lab.Step{
				nftIn(lab.Director, "ip", `
				chain input {
					type filter hook input priority filter; policy accept;
					ct state established accept
				}`),
				sysctl(lab.Director, "net/ipv4/vs/conntrack", "1"),
				sysctl(lab.Director, "net/ipv4/vs/conn_reuse_mode", "2"), // in FIN_WAIT, too: the last that is seen without replies
				usePorts(faulty),
			},
			Undo: []lab.Step{
				sysctl(lab.Director, "net/ipv4/vs/conntrack", "0"), sysctl(lab.Director, "net/ipv4/vs/conn_reuse_mode", "1"),
				nftGone(lab.Director, "ip"), removeServices(), addServices(), forgetConnections(lab.Director), leavePorts(faulty),
			},
			Traffic: []lab.Traffic{{Proto: lab.TCP, Count: faulty, Request: 200, Answer: 200, Close: lab.ServerFirst, Want: lab.Answered}},
			Losses:  []Loss{{Proto: lab.TCP, Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input"}},
			At:      lab.Director,
		},
		{
			Name:    "ipvs-fwmark",
			Summary: "The director's service is one for packets with a firewall mark, and nothing marks them.",
			Code:    "ipvs-no-service",
			Inject: []lab.Step{
				removeServices(),
				unless("already exists", run(lab.Director, "ipvsadm", "-A", "-f", "7", "-s", "rr")),
				unless("already exists", run(lab.Director, "ipvsadm", "-a", "-f", "7", "-r", lab.RealServerAddr.String(), "-i")),
			},
			Undo: []lab.Step{
				unless("No such service", run(lab.Director, "ipvsadm", "-D", "-f", "7")), addServices(),
				runWith(lab.Director, "table ip ipvs\ndelete table ip ipvs\n", "nft", "-f", "-"),
			},
			Traffic: expect(lab.Refused),
			Losses:  unheard("eth0"),
			At:      lab.Director,
		},
		{
			// IPVS takes a packet before connection tracking has it for good.
			Name:    "director-firewall-conntrack",
			Summary: "On the director a rule drops what begins no connection and belongs to none, and IPVS keeps connections from being tracked.",
			Code:    "firewall-drop",
			Inject: []lab.Step{nftIn(lab.Director, "ip", `
				chain input {
					type filter hook input priority filter; policy accept;
					ct state new tcp flags != syn drop
				}`)},
			Undo:     []lab.Step{nftGone(lab.Director, "ip"), stopListening(), hangUp(), removeServices(), addServices(), listen(), forgetConnections(lab.Director)},
			Traffic:  []lab.Traffic{{Proto: lab.TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200, Deadline: unanswered, Abort: true, Want: lab.TimedOut}},
			Losses:   []Loss{{Proto: lab.TCP, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Dev: "eth0", Hook: "input"}},
			At:       lab.Director,
			Unforced: true,
		},
		{
			// With four hops the packet ends on the real server, at its second visit.
			Name:    "ipvs-loop",
			Summary: "The real server runs IPVS with the same VIP, and sends the packets back to the director.",
			Code:    "ipvs-loop",
			Inject: slices.Concat([]lab.Step{
				sysctl(lab.Client, "net/ipv4/ip_default_ttl", "4"), linkUp(lab.Director, "tunl0"),
				run(lab.RealServer, "ipvsadm", "-C"),
			}, sendBack("-t"), sendBack("-u")),
			Undo: []lab.Step{
				run(lab.RealServer, "ipvsadm", "-C"), linkDown(lab.Director, "tunl0"),
				sysctl(lab.Client, "net/ipv4/ip_default_ttl", "64"),
			},
			Traffic:  expectExpired(),
			Losses:   both(Loss{Fate: "rejected", Functions: ipvsTransmit, Reasons: unnamed, Dev: "tunl0", Reject: "icmp 11/0"}),
			Unforced: true,
		},
	}
}

// sendBack has the real server's IPVS tunnel a service to the director; protocol is ipvsadm's flag.
func sendBack(protocol string) []lab.Step {
	service := lab.VIP.String() + ":80"
	return []lab.Step{
		run(lab.RealServer, "ipvsadm", "-A", protocol, service, "-s", "rr"),
		run(lab.RealServer, "ipvsadm", "-a", protocol, service, "-r", lab.DirectorAddr.String()+":80", "-i"),
	}
}

// forgotten is longer than a connection of one second's timeout lives: the kernel's timers are not exact.
const forgotten = 2500 * time.Millisecond
