package lab

// expectExpired is the ordinary traffic where TTLs expire: UDP does not tell the application of that.
func expectExpired() []Traffic {
	expired := expect(Unreachable)
	expired[1].Deadline, expired[1].Want = unanswered, TimedOut
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
			Inject:  []Step{removeServices()},
			Undo:    []Step{addServices()},
			Traffic: expect(Refused),
		},
		{
			Name:    "weight-zero",
			Summary: "The only real server has weight 0: the director refuses new connections.",
			Code:    "ipvs-no-destination",
			Inject:  []Step{weigh(0)},
			Undo:    []Step{weigh(1)},
			Traffic: expect(Refused),
		},
		{
			Name:    "no-destination",
			Summary: "The services have no real server.",
			Code:    "ipvs-no-destination",
			Inject:  []Step{removeDestination()},
			Undo:    []Step{removeServices(), addServices()},
			Traffic: expect(Refused),
		},
		{
			Name:    "director-no-route",
			Summary: "The director's route to the real server is of the type unreachable.",
			Code:    "ipvs-no-route",
			Inject: []Step{
				run(Director, "ip", "route", "replace", "unreachable", RealServerAddr.String()),
				removeServices(), addServices(), // IPVS remembers routes
			},
			Undo: []Step{
				unless("No such process", run(Director, "ip", "route", "del", "unreachable", RealServerAddr.String())),
				removeServices(), addServices(),
			},
			Traffic: expired,
		},
		{
			Name:    "director-neighbour-failed",
			Summary: "The director's gateway to the real server does not answer ARP.",
			Code:    "neighbour-failed",
			Inject:  bySilentGateway(Director, RealServerAddr),
			Undo:    notBySilentGateway(Director, RealServerAddr),
			Traffic: expect(TimedOut),
		},
		{
			Name:    "director-netem-loss",
			Summary: "The emulated network of the director's eth0 loses everything.",
			Code:    "qdisc-drop",
			Inject:  append([]Step{resolve(Client, DirectorAddr), resolve(Director, RealServerAddr)}, run(Director, "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "loss", "100%")),
			Undo:    append([]Step{unresolve(Client, DirectorAddr), unresolve(Director, RealServerAddr)}, noRoot(Director)),
			Traffic: expect(TimedOut),
		},
		{
			Name:    "director-rp-filter",
			Summary: "A strict reverse-path filter drops the packet on the director: its way back to the client is not eth0.",
			Code:    "rp-filter",
			Inject: []Step{
				resolve(Client, DirectorAddr), // ARP is not answered either
				sysctl(Director, "net/ipv4/conf/eth0/rp_filter", "1"),
				run(Director, "ip", "route", "replace", ClientAddr.String(), "dev", "lo"),
			},
			Undo: []Step{
				sysctl(Director, "net/ipv4/conf/eth0/rp_filter", "0"),
				unless("No such process", run(Director, "ip", "route", "del", ClientAddr.String(), "dev", "lo")),
				unresolve(Client, DirectorAddr),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "director-vip-missing",
			Summary: "The director does not have the VIP: IPVS never sees the packet.",
			Code:    "vip-missing",
			Inject:  []Step{removeAddr(Director, "lo", VIP)},
			Undo:    []Step{giveAddr(Director, "lo", VIP)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "mtu-exceeded",
			Summary: "A datagram does not fit into the tunnel, and the client's firewall keeps from it what the director says of that.",
			Code:    "mtu-exceeded",
			Inject: []Step{
				run(Client, "ip", "route", "change", VIP.String(), "via", DirectorAddr.String()),
				nftIn(Client, "ip", `
					chain prerouting {
						type filter hook prerouting priority raw; policy accept;
						icmp type destination-unreachable icmp code 4 drop
					}`),
			},
			Undo: []Step{
				sysctl(Director, "net/ipv4/vs/pmtu_disc", "1"),
				routeClient(), nftGone(Client, "ip"),
			},
			Traffic: []Traffic{{Proto: UDP, Count: faulty, Request: 1472, Deadline: unanswered, Want: TimedOut}},
		},
		{
			Name:    "ttl-expired",
			Summary: "The packet arrives at the director with its last hop.",
			Code:    "ttl-expired",
			Inject:  []Step{sysctl(Client, "net/ipv4/ip_default_ttl", "1")},
			Undo:    []Step{sysctl(Client, "net/ipv4/ip_default_ttl", "64")},
			Traffic: expired,
		},
	}
}
