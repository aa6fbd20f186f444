package fault

import "ipiptrace/internal/lab"

// expectExpired is the ordinary traffic where TTLs expire: UDP does not tell the application of that.
func expectExpired() []lab.Traffic {
	expired := expect(lab.Unreachable)
	expired[1].Deadline, expired[1].Want = unanswered, lab.TimedOut
	return expired
}

// directorFaults are those that the packet meets on the director.
func directorFaults() []Scenario {
	expired := expectExpired()
	return []Scenario{
		{
			Name:    "no-service",
			Summary: "IPVS has no service for the VIP: the director answers itself, and nobody listens there.",
			Code:    "ipvs-no-service",
			Inject:  []lab.Step{removeServices()},
			Undo:    []lab.Step{addServices()},
			Traffic: expect(lab.Refused),
			Losses:  unheard("eth0"),
			At:      lab.Director,
			Counts:  []Count{{lab.Director, "Tcp:", "OutRsts"}, {lab.Director, "Udp:", "NoPorts"}},
		},
		{
			Name:    "weight-zero",
			Summary: "The only real server has weight 0: the director refuses new connections.",
			Code:    "ipvs-no-destination",
			Inject:  []lab.Step{weigh(0)},
			Undo:    []lab.Step{weigh(1)},
			Traffic: expect(lab.Refused),
			Losses:  both(Loss{Fate: "rejected", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input", Reject: "icmp 3/3"}),
			At:      lab.Director,
			Counts:  []Count{{lab.Director, "Icmp:", "OutDestUnreachs"}},
		},
		{
			Name:    "no-destination",
			Summary: "The services have no real server.",
			Code:    "ipvs-no-destination",
			Inject:  []lab.Step{removeDestination()},
			Undo:    []lab.Step{removeServices(), addServices()},
			Traffic: expect(lab.Refused),
			Losses:  both(Loss{Fate: "rejected", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input", Reject: "icmp 3/3"}),
			At:      lab.Director,
		},
		{
			Name:    "director-no-route",
			Summary: "The director's route to the real server is of the type unreachable.",
			Code:    "ipvs-no-route",
			Inject: []lab.Step{
				run(lab.Director, "ip", "route", "replace", "unreachable", lab.RealServerAddr.String()),
				removeServices(), addServices(), // IPVS remembers routes
			},
			Undo: []lab.Step{
				unless("No such process", run(lab.Director, "ip", "route", "del", "unreachable", lab.RealServerAddr.String())),
				removeServices(), addServices(),
			},
			Traffic: expired,
			Losses:  both(Loss{Fate: "rejected", Functions: ipvsTransmit, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/1"}),
			At:      lab.Director,
		},
		{
			Name:    "director-neighbour-failed",
			Summary: "The director's gateway to the real server does not answer ARP.",
			Code:    "neighbour-failed",
			Inject:  bySilentGateway(lab.Director, lab.RealServerAddr),
			Undo:    notBySilentGateway(lab.Director, lab.RealServerAddr),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "rejected", Functions: neighbour, Reasons: []string{"NEIGH_FAILED"}, Dev: "eth0", Reject: "icmp 3/1 not sent", Answerless: true}),
			At:      lab.Director,
		},
		{
			Name:    "director-netem-loss",
			Summary: "The emulated network of the director's eth0 loses everything.",
			Code:    "qdisc-drop",
			Inject:  append([]lab.Step{resolve(lab.Client, lab.DirectorAddr), resolve(lab.Director, lab.RealServerAddr)}, run(lab.Director, "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "loss", "100%")),
			Undo:    append([]lab.Step{unresolve(lab.Client, lab.DirectorAddr), unresolve(lab.Director, lab.RealServerAddr)}, noRoot(lab.Director)),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: netem, Reasons: []string{"QDISC_DROP", "NOT_SPECIFIED"}, Dev: "eth0"}),
			At:      lab.Director,
		},
		{
			Name:    "director-rp-filter",
			Summary: "A strict reverse-path filter drops the packet on the director: its way back to the client is not eth0.",
			Code:    "rp-filter",
			Inject: []lab.Step{
				resolve(lab.Client, lab.DirectorAddr), // ARP is not answered either
				sysctl(lab.Director, "net/ipv4/conf/eth0/rp_filter", "1"),
				run(lab.Director, "ip", "route", "replace", lab.ClientAddr.String(), "dev", "lo"),
			},
			Undo: []lab.Step{
				sysctl(lab.Director, "net/ipv4/conf/eth0/rp_filter", "0"),
				unless("No such process", run(lab.Director, "ip", "route", "del", lab.ClientAddr.String(), "dev", "lo")),
				unresolve(lab.Client, lab.DirectorAddr),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"IP_RPFILTER"}, Dev: "eth0"}),
			At:      lab.Director,
		},
		{
			Name:    "director-vip-missing",
			Summary: "The director does not have the VIP: IPVS never sees the packet.",
			Code:    "vip-missing",
			Inject:  []lab.Step{removeAddr(lab.Director, "lo", lab.VIP)},
			Undo:    []lab.Step{giveAddr(lab.Director, "lo", lab.VIP)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "eth0"}),
			At:      lab.Director,
		},
		{
			Name:    "mtu-exceeded",
			Summary: "A datagram does not fit into the tunnel, and the client's firewall keeps from it what the director says of that.",
			Code:    "mtu-exceeded",
			Inject: []lab.Step{
				run(lab.Client, "ip", "route", "change", lab.VIP.String(), "via", lab.DirectorAddr.String()),
				nftIn(lab.Client, "ip", `
					chain prerouting {
						type filter hook prerouting priority raw; policy accept;
						icmp type destination-unreachable icmp code 4 drop
					}`),
			},
			Undo: []lab.Step{
				sysctl(lab.Director, "net/ipv4/vs/pmtu_disc", "1"),
				routeClient(), nftGone(lab.Client, "ip"),
			},
			Traffic: []lab.Traffic{{Proto: lab.UDP, Count: faulty, Request: 1472, Deadline: unanswered, Want: lab.TimedOut}},
			Losses:  []Loss{{Proto: lab.UDP, Fate: "rejected", Functions: ipvsTransmit, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/4"}},
			At:      lab.Director,
		},
		{
			Name:    "ttl-expired",
			Summary: "The packet arrives at the director with its last hop.",
			Code:    "ttl-expired",
			Inject:  []lab.Step{sysctl(lab.Client, "net/ipv4/ip_default_ttl", "1")},
			Undo:    []lab.Step{sysctl(lab.Client, "net/ipv4/ip_default_ttl", "64")},
			Traffic: expired,
			Losses:  both(Loss{Fate: "rejected", Functions: ipvsTransmit, Reasons: unnamed, Dev: "eth0", Reject: "icmp 11/0"}),
			At:      lab.Director,
			Counts:  []Count{{lab.Director, "Ip:", "InHdrErrors"}, {lab.Director, "Icmp:", "OutTimeExcds"}},
		},
	}
}
