package lab

// silentGateway is an address of the lab's network that nobody has.
const silentGateway = "10.0.0.99"

// replyFaults are those of the way back to the client.
func replyFaults() []Scenario {
	return []Scenario{
		{
			Name:    "no-return-route",
			Summary: "The real server has no route to the client: it can't even answer a SYN.",
			Code:    "no-return-route",
			Inject:  []Step{unless("No such process", run(RealServer, "ip", "route", "del", "10.0.0.0/24", "dev", "eth0"))},
			Undo:    []Step{routeRealServer()},
			Traffic: expect(TimedOut),
		},
		refusedReturn("blackhole-return", "blackhole", "a black hole"),
		refusedReturn("unreachable-return", "unreachable", "of the type unreachable"),
		refusedReturn("prohibit-return", "prohibit", "of the type prohibit"),
		{
			Name:    "qdisc-drop",
			Summary: "The queue of eth0 has no room for a packet.",
			Code:    "qdisc-drop",
			Inject:  []Step{run(RealServer, "tc", "qdisc", "replace", "dev", "eth0", "root", "bfifo", "limit", "1")},
			Undo: []Step{
				unless("Invalid", unless("No such file", unless("Cannot delete", unless("Cannot find", run(RealServer, "tc", "qdisc", "del", "dev", "eth0", "root"))))),
				stopListening(), listen(),
			},
			Traffic: expect(TimedOut),
		},
		{
			// Three requests for the gateway's address, one each 0.2 s instead of 1 s.
			Name:    "neighbour-failed",
			Summary: "The gateway on the way back does not answer ARP.",
			Code:    "neighbour-failed",
			Inject: []Step{
				sysctl(RealServer, "net/ipv4/neigh/eth0/retrans_time_ms", "200"),
				run(RealServer, "ip", "route", "replace", ClientAddr.String(), "via", silentGateway, "dev", "eth0"),
			},
			Undo: []Step{
				unless("No such process", run(RealServer, "ip", "route", "del", ClientAddr.String(), "via", silentGateway)),
				unless("No such file", run(RealServer, "ip", "neigh", "del", silentGateway, "dev", "eth0")),
				sysctl(RealServer, "net/ipv4/neigh/eth0/retrans_time_ms", "1000"),
				stopListening(), listen(),
			},
			Traffic: expect(TimedOut),
		},
	}
}

// refusedReturn is a route to the client that refuses, as silent as no route at all: the kernel looks for the
// reply's route before it makes the reply.
func refusedReturn(name, kind, is string) Scenario {
	return Scenario{
		Name:    name,
		Summary: "The real server's route to the client is " + is + ".",
		Code:    "no-return-route",
		Inject:  []Step{run(RealServer, "ip", "route", "replace", kind, ClientAddr.String())},
		Undo:    []Step{unless("No such process", run(RealServer, "ip", "route", "del", kind, ClientAddr.String()))},
		Traffic: expect(TimedOut),
	}
}
