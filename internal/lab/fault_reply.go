package lab

import "net/netip"

// intoTunnel is the code of answers that leave by the tunnel's device, tunnelTable a routing table that sends them there.
const (
	intoTunnel  = "reply-into-tunnel"
	tunnelTable = "100"
)

// silentGateway is an address of the lab's network that nobody has.
const silentGateway = "10.0.0.99"

// farClient is an address of the client in the network that a prefix of the VIP makes.
var farClient = netip.MustParseAddr("10.99.0.7")

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
			Name:    "rule-prohibit-return",
			Summary: "A routing rule prohibits packets to the client.",
			Code:    "no-return-route",
			Inject:  []Step{unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "10", "to", ClientAddr.String(), "prohibit"))},
			Undo:    []Step{unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "10"))},
			Traffic: expect(TimedOut),
		},
		lossyQueue("netem-loss", "The emulated network of eth0 loses everything.", "netem", "loss", "100%"),
		{
			Name:    "vip-wrong-prefix",
			Summary: "The VIP has a prefix, and with it a route to the client into the tunnel.",
			Code:    "vip-wrong-prefix",
			Inject: []Step{
				giveAddr(Client, "lo", farClient),
				run(Client, "ip", "route", "replace", VIP.String(), "via", DirectorAddr.String(), "mtu", "1480", "rto_min", "1000ms", "src", farClient.String()),
				run(RealServer, "ip", "route", "replace", "default", "via", ClientAddr.String()),
				removeAddr(RealServer, "tunl0", VIP),
				run(RealServer, "ip", "addr", "replace", VIP.String()+"/24", "dev", "tunl0"),
			},
			Undo: []Step{
				unless("Address not found", unless("Cannot assign", run(RealServer, "ip", "addr", "del", VIP.String()+"/24", "dev", "tunl0"))),
				giveAddr(RealServer, "tunl0", VIP),
				unless("No such process", run(RealServer, "ip", "route", "del", "default")),
				routeClient(), removeAddr(Client, "lo", farClient),
				stopListening(), listen(),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "listener-on-tunnel",
			Summary: "The service is bound to tunl0, and so are its answers: each goes into the tunnel, to its own client.",
			Code:    intoTunnel,
			Inject:  []Step{bindService("tunl0")},
			Undo:    []Step{stopListening(), listen()},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "rule-into-tunnel",
			Summary: "A routing rule for what comes from the VIP leads to a table whose route is tunl0.",
			Code:    intoTunnel,
			Inject: []Step{
				run(RealServer, "ip", "route", "replace", "default", "dev", "tunl0", "table", tunnelTable),
				unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "10", "from", VIP.String(), "lookup", tunnelTable)),
			},
			Undo: []Step{
				unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "10")),
				unless("does not exist", unless("No such process", run(RealServer, "ip", "route", "del", "default", "dev", "tunl0", "table", tunnelTable))),
				stopListening(), listen(),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "route-into-tunnel",
			Summary: "The real server's route to the client is tunl0, and so is the one for what comes out of that.",
			Code:    intoTunnel,
			Inject:  []Step{run(RealServer, "ip", "route", "replace", ClientAddr.String(), "dev", "tunl0")},
			Undo: []Step{
				unless("No such process", run(RealServer, "ip", "route", "del", ClientAddr.String(), "dev", "tunl0")),
				stopListening(), listen(),
			},
			Traffic: expect(TimedOut),
		},
		lossyQueue("qdisc-drop", "The queue of eth0 has no room for a packet.", "bfifo", "limit", "1"),
		{
			Name:    "neighbour-failed",
			Summary: "The gateway on the way back does not answer ARP.",
			Code:    "neighbour-failed",
			Inject:  bySilentGateway(RealServer, ClientAddr),
			Undo:    append(notBySilentGateway(RealServer, ClientAddr), stopListening(), listen()),
			Traffic: expect(TimedOut),
		},
	}
}

// bySilentGateway routes a node's packets to a gateway that nobody is. Three requests for its address, one each 0.2 s
// instead of 1 s.
func bySilentGateway(r Role, to netip.Addr) []Step {
	return []Step{
		sysctl(r, "net/ipv4/neigh/eth0/retrans_time_ms", "200"),
		run(r, "ip", "route", "replace", to.String(), "via", silentGateway, "dev", "eth0"),
	}
}

func notBySilentGateway(r Role, to netip.Addr) []Step {
	return []Step{
		unless("No such process", run(r, "ip", "route", "del", to.String(), "via", silentGateway)),
		unless("No such file", run(r, "ip", "neigh", "del", silentGateway, "dev", "eth0")),
		sysctl(r, "net/ipv4/neigh/eth0/retrans_time_ms", "1000"),
	}
}

// lossyQueue is a queueing discipline of eth0 that loses the replies.
func lossyQueue(name, summary string, qdisc ...string) Scenario {
	replace := append([]string{"tc", "qdisc", "replace", "dev", "eth0", "root"}, qdisc...)
	return Scenario{
		Name:    name,
		Summary: summary,
		Code:    "qdisc-drop",
		Inject:  append(neighbours(), run(RealServer, replace...)),
		Undo:    append(noNeighbours(), noRoot(RealServer), stopListening(), listen()),
		Traffic: expect(TimedOut),
	}
}

// noRoot takes away eth0's own queueing discipline.
func noRoot(r Role) Step {
	return unless("Invalid", unless("No such file", unless("Cannot delete", unless("Cannot find", run(r, "tc", "qdisc", "del", "dev", "eth0", "root")))))
}

// neighbours are known without ARP: what is lost of everything that leaves the real server must not be its answers to that.
func neighbours() []Step {
	return []Step{resolve(Director, RealServerAddr), resolve(RealServer, ClientAddr)}
}

func noNeighbours() []Step {
	return []Step{unresolve(Director, RealServerAddr), unresolve(RealServer, ClientAddr)}
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
