package fault

import (
	"net/netip"

	"ipiptrace/internal/lab"
)

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
			Inject:  []lab.Step{unless("No such process", run(lab.RealServer, "ip", "route", "del", "10.0.0.0/24", "dev", "eth0"))},
			Undo:    []lab.Step{routeRealServer()},
			Traffic: expect(lab.TimedOut),
			Losses:  unanswerable(),
			Counts:  []Count{{lab.RealServer, "Ip:", "OutNoRoutes"}, {lab.RealServer, "TcpExt:", "ListenDrops"}},
		},
		refusedReturn("blackhole-return", "blackhole", "a black hole"),
		refusedReturn("unreachable-return", "unreachable", "of the type unreachable"),
		refusedReturn("prohibit-return", "prohibit", "of the type prohibit"),
		{
			Name:    "rule-prohibit-return",
			Summary: "A routing rule prohibits packets to the client.",
			Code:    "no-return-route",
			Inject:  []lab.Step{unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "10", "to", lab.ClientAddr.String(), "prohibit"))},
			Undo:    []lab.Step{unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10"))},
			Traffic: expect(lab.TimedOut),
			Losses:  unanswerable(),
		},
		lossyQueue("netem-loss", "The emulated network of eth0 loses everything.",
			Loss{Reply: true, Fate: "dropped", Functions: netem, Reasons: []string{"QDISC_DROP", "NOT_SPECIFIED"}, Dev: "eth0"},
			"netem", "loss", "100%"),
		{
			Name:    "vip-wrong-prefix",
			Summary: "The VIP has a prefix, and with it a route to the client into the tunnel.",
			Code:    "vip-wrong-prefix",
			Inject: []lab.Step{
				giveAddr(lab.Client, "lo", farClient),
				run(lab.Client, "ip", "route", "replace", lab.VIP.String(), "via", lab.DirectorAddr.String(), "mtu", "1480", "rto_min", "1000ms", "src", farClient.String()),
				run(lab.RealServer, "ip", "route", "replace", "default", "via", lab.ClientAddr.String()),
				removeAddr(lab.RealServer, "tunl0", lab.VIP),
				run(lab.RealServer, "ip", "addr", "replace", lab.VIP.String()+"/24", "dev", "tunl0"),
			},
			Undo: []lab.Step{
				withoutAddr(lab.RealServer, "tunl0", lab.VIP.String()+"/24"),
				giveAddr(lab.RealServer, "tunl0", lab.VIP),
				unless("No such process", run(lab.RealServer, "ip", "route", "del", "default")),
				routeClient(), removeAddr(lab.Client, "lo", farClient),
				stopListening(), listen(),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Reply: true, Fate: "dropped", Functions: tunnelTransmit, Reasons: unnamed, Dev: "tunl0"}),
		},
		{
			Name:    "listener-on-tunnel",
			Summary: "The service is bound to tunl0, and so are its answers: each goes into the tunnel, to its own client.",
			Code:    intoTunnel,
			Inject:  []lab.Step{bindService("tunl0")},
			Undo:    []lab.Step{stopListening(), listen()},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: ReplyLost, Onward: true}),
		},
		{
			Name:    "rule-into-tunnel",
			Summary: "A routing rule for what comes from the VIP leads to a table whose route is tunl0.",
			Code:    intoTunnel,
			Inject: []lab.Step{
				run(lab.RealServer, "ip", "route", "replace", "default", "dev", "tunl0", "table", tunnelTable),
				unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "10", "from", lab.VIP.String(), "lookup", tunnelTable)),
			},
			Undo: []lab.Step{
				unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10")),
				unless("does not exist", unless("No such process", run(lab.RealServer, "ip", "route", "del", "default", "dev", "tunl0", "table", tunnelTable))),
				stopListening(), listen(),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: ReplyLost, Onward: true}),
		},
		{
			Name:    "route-into-tunnel",
			Summary: "The real server's route to the client is tunl0, and so is the one for what comes out of that.",
			Code:    intoTunnel,
			Inject:  []lab.Step{run(lab.RealServer, "ip", "route", "replace", lab.ClientAddr.String(), "dev", "tunl0")},
			Undo: []lab.Step{
				unless("No such process", run(lab.RealServer, "ip", "route", "del", lab.ClientAddr.String(), "dev", "tunl0")),
				stopListening(), listen(),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Reply: true, Fate: "dropped", Functions: tunnelTransmit, Reasons: unnamed, Dev: "tunl0"}),
		},
		lossyQueue("qdisc-drop", "The queue of eth0 has no room for a packet.",
			Loss{Reply: true, Fate: "dropped", Functions: []string{"__dev_queue_xmit", "kfree_skb_list_reason", "kfree_skb_list", "__dev_xmit_skb", "__tcf_kfree_skb_list"}, Reasons: []string{"QDISC_DROP", "QDISC_OVERLIMIT"}, Dev: "eth0"},
			"bfifo", "limit", "1"),
		{
			Name:    "neighbour-failed",
			Summary: "The gateway on the way back does not answer ARP.",
			Code:    "neighbour-failed",
			Inject:  bySilentGateway(lab.RealServer, lab.ClientAddr),
			Undo:    append(notBySilentGateway(lab.RealServer, lab.ClientAddr), stopListening(), listen()),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Reply: true, Fate: "rejected", Functions: neighbour, Reasons: []string{"NEIGH_FAILED"}, Dev: "eth0", Reject: "icmp 3/1", Answerless: true}),
			Counts:  []Count{{lab.RealServer, "Icmp:", "OutDestUnreachs"}},
		},
		{
			Name:    "neighbour-filtered",
			Summary: "A rule of nftables in the family arp drops what the client answers to ARP.",
			Code:    "neighbour-failed",
			Inject: []lab.Step{
				askQuickly(lab.RealServer), unresolve(lab.RealServer, lab.ClientAddr),
				nftIn(lab.RealServer, "arp", `
				chain input {
					type filter hook input priority 0; policy accept;
					arp operation reply drop
				}`),
			},
			Undo:    []lab.Step{nftGone(lab.RealServer, "arp"), unresolve(lab.RealServer, lab.ClientAddr), askSlowly(lab.RealServer), stopListening(), listen()},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Reply: true, Fate: "rejected", Functions: neighbour, Reasons: []string{"NEIGH_FAILED"}, Dev: "eth0", Reject: "icmp 3/1", Answerless: true}),
			Counts:  []Count{{lab.RealServer, "Icmp:", "OutDestUnreachs"}},
		},
	}
}

// askQuickly has a node send its three requests for a neighbour's address each 0.2 s instead of 1 s, askSlowly as before.
func askQuickly(r lab.Role) lab.Step { return sysctl(r, "net/ipv4/neigh/eth0/retrans_time_ms", "200") }
func askSlowly(r lab.Role) lab.Step  { return sysctl(r, "net/ipv4/neigh/eth0/retrans_time_ms", "1000") }

// bySilentGateway routes a node's packets to a gateway that nobody is.
func bySilentGateway(r lab.Role, to netip.Addr) []lab.Step {
	return []lab.Step{
		askQuickly(r),
		run(r, "ip", "route", "replace", to.String(), "via", silentGateway, "dev", "eth0"),
	}
}

func notBySilentGateway(r lab.Role, to netip.Addr) []lab.Step {
	return []lab.Step{
		unless("No such process", run(r, "ip", "route", "del", to.String(), "via", silentGateway)),
		unless("No such file", run(r, "ip", "neigh", "del", silentGateway, "dev", "eth0")),
		askSlowly(r),
	}
}

// lossyQueue is a queueing discipline of eth0 that loses the replies.
func lossyQueue(name, summary string, want Loss, qdisc ...string) Scenario {
	replace := append([]string{"tc", "qdisc", "replace", "dev", "eth0", "root"}, qdisc...)
	return Scenario{
		Name:    name,
		Summary: summary,
		Code:    "qdisc-drop",
		Inject:  append(neighbours(), run(lab.RealServer, replace...)),
		Undo:    append(noNeighbours(), noRoot(lab.RealServer), stopListening(), listen()),
		Traffic: expect(lab.TimedOut),
		Losses:  both(want),
	}
}

// noRoot takes away eth0's own queueing discipline.
func noRoot(r lab.Role) lab.Step {
	return unless("Invalid", unless("No such file", unless("Cannot delete", unless("Cannot find", run(r, "tc", "qdisc", "del", "dev", "eth0", "root")))))
}

// neighbours are known without ARP: what is lost of everything that leaves the real server must not be its answers to that.
func neighbours() []lab.Step {
	return []lab.Step{resolve(lab.Director, lab.RealServerAddr), resolve(lab.RealServer, lab.ClientAddr)}
}

func noNeighbours() []lab.Step {
	return []lab.Step{unresolve(lab.Director, lab.RealServerAddr), unresolve(lab.RealServer, lab.ClientAddr)}
}

// refusedReturn is a route to the client that refuses, as silent as no route at all: the kernel looks for the
// reply's route before it makes the reply.
func refusedReturn(name, kind, is string) Scenario {
	return Scenario{
		Name:    name,
		Summary: "The real server's route to the client is " + is + ".",
		Code:    "no-return-route",
		Inject:  []lab.Step{run(lab.RealServer, "ip", "route", "replace", kind, lab.ClientAddr.String())},
		Undo:    []lab.Step{unless("No such process", run(lab.RealServer, "ip", "route", "del", kind, lab.ClientAddr.String()))},
		Traffic: expect(lab.TimedOut),
		Losses:  unanswerable(),
		Counts:  []Count{{lab.RealServer, "Ip:", "OutNoRoutes"}, {lab.RealServer, "TcpExt:", "ListenDrops"}},
	}
}
