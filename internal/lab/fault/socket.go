package fault

import (
	"net/netip"

	"ipiptrace/internal/lab"
)

// socketFaults are requests that the service is not there for, or too busy.
func socketFaults() []Scenario {
	return []Scenario{
		{
			Name:    "no-listener",
			Summary: "Nobody listens on the service's port.",
			Code:    "no-listener",
			Inject:  []lab.Step{stopListening()},
			Undo:    []lab.Step{listen()},
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
			Counts:  []Count{{lab.RealServer, "Tcp:", "OutRsts"}, {lab.RealServer, "Udp:", "NoPorts"}},
		},
		{
			Name:    "listener-wrong-address",
			Summary: "The service listens on the real server's own address, not on the VIP.",
			Code:    "listener-wrong-address",
			Inject:  []lab.Step{listenElsewhere(lab.RealServerAddr, "")},
			Undo:    []lab.Step{listen()},
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
		{
			Name:    "listener-loopback",
			Summary: "The service listens on 127.0.0.1 alone.",
			Code:    "listener-wrong-address",
			Inject:  []lab.Step{listenElsewhere(netip.AddrFrom4([4]byte{127, 0, 0, 1}), "")},
			Undo:    []lab.Step{listen()},
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
		{
			Name:    "listener-wrong-device",
			Summary: "The service is bound to eth0, and the packet comes by tunl0.",
			Code:    "listener-wrong-device",
			Inject:  []lab.Step{listenElsewhere(netip.IPv4Unspecified(), "eth0")},
			Undo:    []lab.Step{listen()},
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
		{
			Name:    "accept-queue-full",
			Summary: "The service does not accept connections, and its queue of them is full.",
			Code:    "accept-queue-full",
			Inject:  []lab.Step{fillAcceptQueue()},
			Undo:    []lab.Step{listen()},
			Traffic: only(lab.TCP, expect(lab.TimedOut)),
			Losses:  []Loss{refusedSYN()},
			Counts:  []Count{{lab.RealServer, "TcpExt:", "ListenOverflows"}},
		},
		{
			Name:    "syn-queue-full",
			Summary: "Connections that were never completed fill the service's queue, and SYN cookies are off.",
			Code:    "syn-queue-full",
			Inject: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/tcp_syncookies", "0"),
				run(lab.RealServer, "ip", "neigh", "replace", nobody.String(), "lladdr", lab.MAC(lab.ClientAddr).String(), "dev", "eth0", "nud", "permanent"),
				fillSYNQueue(),
			},
			Undo: []lab.Step{
				stopListening(), listen(),
				unless("No such file", run(lab.RealServer, "ip", "neigh", "del", nobody.String(), "dev", "eth0")),
				sysctl(lab.RealServer, "net/ipv4/tcp_syncookies", "1"),
			},
			Traffic: only(lab.TCP, expect(lab.TimedOut)),
			Losses:  []Loss{refusedSYN()},
			Counts:  []Count{{lab.RealServer, "TcpExt:", "TCPReqQFullDrop"}},
		},
		intruded("tcp-paws", "Another host behind the client's address sends into its connections, and its clock is a minute behind.", "with an old timestamp", aMinuteOld,
			Loss{Proto: lab.TCP, Fate: "dropped", Functions: []string{"tcp_validate_incoming"}, Reasons: []string{"TCP_RFC7323_PAWS"}, Dev: "tunl0", Mute: "delivered"}, Count{lab.RealServer, "TcpExt:", "PAWSEstab"}),
		intruded("tcp-out-of-window", "Another host behind the client's address sends into its connections what belongs to none.", "far ahead", farAhead,
			Loss{Proto: lab.TCP, Fate: "dropped", Functions: []string{"tcp_validate_incoming"}, Reasons: []string{"TCP_INVALID_SEQUENCE"}, Dev: "tunl0", Mute: "delivered"}),
		{
			Name:    "receive-buffer-full",
			Summary: "The service does not read datagrams, and its receive buffer is full.",
			Code:    "receive-buffer-full",
			Inject:  []lab.Step{fillReceiveBuffer()},
			Undo:    []lab.Step{listen()},
			Traffic: only(lab.UDP, expect(lab.TimedOut)),
			Losses:  []Loss{{Proto: lab.UDP, Fate: "dropped", Functions: udpQueue, Reasons: []string{"SOCKET_RCVBUFF"}, Dev: "tunl0"}},
			Counts:  []Count{{lab.RealServer, "Udp:", "RcvbufErrors"}},
		},
	}
}

// intruded are connections that all is well with, but for one segment each that somebody else sends into it. Its
// timestamps are the host's, not each connection's own.
func intruded(code, summary, what string, spoil func(*segment), want Loss, counts ...Count) Scenario {
	const timestamps = "net/ipv4/tcp_timestamps"
	return Scenario{
		Name: code, Summary: summary, Code: code,
		Inject: []lab.Step{sysctl(lab.Client, timestamps, "2")},
		Undo:   []lab.Step{sysctl(lab.Client, timestamps, "1")},
		Traffic: []lab.Traffic{{
			Proto: lab.TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200,
			Midway: intrude(faulty, what, spoil), Want: lab.Answered,
		}},
		Losses: []Loss{want}, Counts: counts,
	}
}
