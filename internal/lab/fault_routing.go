package lab

// routingFaults are those of the inner packet's way in the real server.
func routingFaults() []Scenario {
	return []Scenario{
		{
			Name:    "rp-filter",
			Summary: "A strict reverse-path filter drops the decapsulated packet: the way back to the client is not tunl0.",
			Code:    "rp-filter",
			Inject:  []Step{sysctl(RealServer, "net/ipv4/conf/all/rp_filter", "1")},
			Undo:    rpFilterOff(),
			Traffic: expect(TimedOut),
		},
		{
			Name:    "rp-filter-tunl0",
			Summary: "The reverse-path filter is strict on tunl0 alone: the greater of all and tunl0 counts.",
			Code:    "rp-filter",
			Inject:  []Step{sysctl(RealServer, "net/ipv4/conf/tunl0/rp_filter", "1")},
			Undo:    rpFilterOff(),
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
			Name:    "blackhole",
			Summary: "A routing rule, older than the VIP's, swallows what comes out of tunl0.",
			Code:    "route-reject",
			Inject:  aheadOfLocal("blackhole"),
			Undo:    localFirst(),
			Traffic: expect(TimedOut),
		},
		{
			Name:    "rp-filter-unnumbered",
			Summary: "The reverse-path filter is loose, and tunl0 has no address: the VIP is on lo.",
			Code:    "rp-filter",
			Inject: []Step{
				removeAddr(RealServer, "tunl0", VIP), giveAddr(RealServer, "lo", VIP),
				sysctl(RealServer, "net/ipv4/conf/tunl0/rp_filter", "2"),
			},
			Undo:    append(rpFilterOff(), removeAddr(RealServer, "lo", VIP), giveAddr(RealServer, "tunl0", VIP)),
			Traffic: expect(TimedOut),
		},
		{
			Name:    "martian-source",
			Summary: "The real server has the client's address itself.",
			Code:    "martian-source",
			Inject:  []Step{giveAddr(RealServer, "lo", ClientAddr)},
			Undo:    []Step{removeAddr(RealServer, "lo", ClientAddr)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "martian-outer",
			Summary: "The real server has the director's address itself.",
			Code:    "martian-source",
			Inject:  []Step{giveAddr(RealServer, "lo", DirectorAddr)},
			Undo:    []Step{removeAddr(RealServer, "lo", DirectorAddr)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "martian-outer-vip",
			Summary: "The director's outer source is the VIP, which the real server has, too.",
			Code:    "martian-source",
			Inject: []Step{
				resolve(Director, RealServerAddr), // the real server does not answer its own address's ARP
				run(Director, "ip", "route", "replace", RealServerAddr.String(), "dev", "eth0", "src", VIP.String()),
				removeServices(), addServices(), // IPVS remembers routes
			},
			Undo: []Step{
				unless("No such process", run(Director, "ip", "route", "del", RealServerAddr.String(), "dev", "eth0")),
				removeServices(), addServices(), unresolve(Director, RealServerAddr),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "rp-filter-outer",
			Summary: "A strict reverse-path filter on eth0 drops the tunnelled packet: the way back to the director is not eth0.",
			Code:    "rp-filter",
			Inject: []Step{
				resolve(Director, RealServerAddr), // ARP is not answered either
				sysctl(RealServer, "net/ipv4/conf/eth0/rp_filter", "1"),
				run(RealServer, "ip", "route", "replace", DirectorAddr.String(), "dev", "tunl0"),
			},
			Undo: []Step{
				sysctl(RealServer, "net/ipv4/conf/eth0/rp_filter", "0"),
				unless("No such process", run(RealServer, "ip", "route", "del", DirectorAddr.String(), "dev", "tunl0")),
				unresolve(Director, RealServerAddr),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "vip-missing-forwarding",
			Summary: "The real server does not have the VIP, and forwards packets: it says that it has no way for them.",
			Code:    "vip-missing",
			Inject: []Step{
				removeAddr(RealServer, "tunl0", VIP), sysctl(RealServer, "net/ipv4/ip_forward", "1"),
				sysctl(RealServer, "net/ipv4/icmp_ratemask", "0"), // one rate for what it says and for what it chooses to
			},
			Undo: []Step{
				sysctl(RealServer, "net/ipv4/icmp_ratemask", "6168"),
				sysctl(RealServer, "net/ipv4/ip_forward", "0"), giveAddr(RealServer, "tunl0", VIP),
			},
			Traffic: only(TCP, expect(Unreachable)),
		},
		{
			// With four hops the packet ends on the real server, at its second visit.
			Name:    "vip-missing-loop",
			Summary: "The real server does not have the VIP, and forwards packets for it to the director, which sends them back.",
			Code:    "vip-missing",
			Inject: []Step{
				sysctl(Client, "net/ipv4/ip_default_ttl", "4"),
				removeAddr(RealServer, "tunl0", VIP), sysctl(RealServer, "net/ipv4/ip_forward", "1"),
				run(RealServer, "ip", "route", "replace", VIP.String(), "via", DirectorAddr.String()),
			},
			Undo: []Step{
				unless("No such process", run(RealServer, "ip", "route", "del", VIP.String(), "via", DirectorAddr.String())),
				sysctl(RealServer, "net/ipv4/ip_forward", "0"), giveAddr(RealServer, "tunl0", VIP),
				sysctl(Client, "net/ipv4/ip_default_ttl", "64"),
			},
			Traffic: expectExpired(),
		},
		refusedRoute("unreachable-vip", "unreachable"),
		refusedRoute("prohibit-vip", "prohibit"),
	}
}

// aheadOfLocal adds a rule for what comes out of tunl0 that is asked before the table of local addresses: that
// one's own rule has to move for it.
func aheadOfLocal(action ...string) []Step {
	rule := append([]string{"ip", "rule", "add", "pref", "10", "iif", "tunl0"}, action...)
	return []Step{
		unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "100", "lookup", "local")),
		unless("File exists", run(RealServer, rule...)),
		unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "0")),
	}
}

// localFirst undoes that.
func localFirst() []Step {
	return []Step{
		unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "0", "lookup", "local")),
		unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "10")),
		unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "100")),
	}
}

// refusedRoute is a route for the VIP that the local one does not hide, in a table that is asked before.
func refusedRoute(name, kind string) Scenario {
	return Scenario{
		Name:    name,
		Summary: "A route of the type " + kind + " stands in the VIP's way.",
		Code:    "route-reject",
		Inject:  append(aheadOfLocal("lookup", "77"), run(RealServer, "ip", "route", "replace", kind, VIP.String(), "table", "77")),
		Undo:    append(localFirst(), unless("No such", run(RealServer, "ip", "route", "del", kind, VIP.String(), "table", "77"))),
		Traffic: expect(TimedOut),
	}
}

func rpFilterOff() []Step {
	return []Step{
		sysctl(RealServer, "net/ipv4/conf/all/rp_filter", "0"),
		sysctl(RealServer, "net/ipv4/conf/tunl0/rp_filter", "0"),
	}
}
