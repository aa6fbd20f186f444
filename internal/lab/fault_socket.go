package lab

import "net/netip"

// socketFaults are requests that the service is not there for, or too busy.
func socketFaults() []Scenario {
	return []Scenario{
		{
			Name:    "no-listener",
			Summary: "Nobody listens on the service's port.",
			Code:    "no-listener",
			Inject:  []Step{stopListening()},
			Undo:    []Step{listen()},
			Traffic: expect(Refused),
		},
		{
			Name:    "listener-wrong-address",
			Summary: "The service listens on the real server's own address, not on the VIP.",
			Code:    "listener-wrong-address",
			Inject:  []Step{listenElsewhere(RealServerAddr, "")},
			Undo:    []Step{listen()},
			Traffic: expect(Refused),
		},
		{
			Name:    "listener-wrong-device",
			Summary: "The service is bound to eth0, and the packet comes by tunl0.",
			Code:    "listener-wrong-device",
			Inject:  []Step{listenElsewhere(netip.IPv4Unspecified(), "eth0")},
			Undo:    []Step{listen()},
			Traffic: expect(Refused),
		},
		{
			Name:    "accept-queue-full",
			Summary: "The service does not accept connections, and its queue of them is full.",
			Code:    "accept-queue-full",
			Inject:  []Step{fillAcceptQueue()},
			Undo:    []Step{listen()},
			Traffic: only(TCP, expect(TimedOut)),
		},
		{
			Name:    "syn-queue-full",
			Summary: "Connections that were never completed fill the service's queue, and SYN cookies are off.",
			Code:    "syn-queue-full",
			Inject: []Step{
				sysctl(RealServer, "net/ipv4/tcp_syncookies", "0"),
				run(RealServer, "ip", "neigh", "replace", nobody.String(), "lladdr", mac(ClientAddr).String(), "dev", "eth0", "nud", "permanent"),
				fillSYNQueue(),
			},
			Undo: []Step{
				stopListening(), listen(),
				unless("No such file", run(RealServer, "ip", "neigh", "del", nobody.String(), "dev", "eth0")),
				sysctl(RealServer, "net/ipv4/tcp_syncookies", "1"),
			},
			Traffic: only(TCP, expect(TimedOut)),
		},
		{
			Name:    "tcp-paws",
			Summary: "Another host behind the client's address sends into its connections, and its clock is a minute behind.",
			Code:    "tcp-paws",
			Inject:  []Step{sysctl(Client, "net/ipv4/tcp_timestamps", "2")},
			Undo:    []Step{sysctl(Client, "net/ipv4/tcp_timestamps", "1")},
			Traffic: intruded("with an old timestamp", aMinuteOld),
		},
		{
			Name:    "tcp-out-of-window",
			Summary: "Another host behind the client's address sends into its connections what belongs to none.",
			Code:    "tcp-out-of-window",
			Inject:  []Step{sysctl(Client, "net/ipv4/tcp_timestamps", "2")},
			Undo:    []Step{sysctl(Client, "net/ipv4/tcp_timestamps", "1")},
			Traffic: intruded("far ahead", farAhead),
		},
		{
			Name:    "receive-buffer-full",
			Summary: "The service does not read datagrams, and its receive buffer is full.",
			Code:    "receive-buffer-full",
			Inject:  []Step{fillReceiveBuffer()},
			Undo:    []Step{listen()},
			Traffic: only(UDP, expect(TimedOut)),
		},
	}
}

// intruded are connections that all is well with, but for one segment each that somebody else sends into it.
func intruded(what string, spoil func(*segment)) []Traffic {
	return []Traffic{{
		Proto: TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200,
		Midway: intrude(faulty, what, spoil), Want: Answered,
	}}
}
