package fault

import "ipiptrace/internal/lab"

// routingFaults are those of the inner packet's way in the real server.
func routingFaults() []Scenario {
	return []Scenario{
		{
			Name:    "rp-filter",
			Summary: "A strict reverse-path filter drops the decapsulated packet: the way back to the client is not tunl0.",
			Code:    "rp-filter",
			Inject:  []lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/all/rp_filter", "1")},
			Undo:    rpFilterOff(),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"IP_RPFILTER"}, Dev: "tunl0"}),
			Counts:  []Count{{lab.RealServer, "TcpExt:", "IPReversePathFilter"}},
		},
		{
			Name:    "rp-filter-tunl0",
			Summary: "The reverse-path filter is strict on tunl0 alone: the greater of all and tunl0 counts.",
			Code:    "rp-filter",
			Inject:  []lab.Step{sysctl(lab.RealServer, "net/ipv4/conf/tunl0/rp_filter", "1")},
			Undo:    rpFilterOff(),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"IP_RPFILTER"}, Dev: "tunl0"}),
			Counts:  []Count{{lab.RealServer, "TcpExt:", "IPReversePathFilter"}},
		},
		{
			Name:    "vip-missing",
			Summary: "The real server does not have the VIP.",
			Code:    "vip-missing",
			Inject:  []lab.Step{removeAddr(lab.RealServer, "tunl0", lab.VIP)},
			Undo:    []lab.Step{giveAddr(lab.RealServer, "tunl0", lab.VIP)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "tunl0"}),
			Counts:  []Count{{lab.RealServer, "Ip:", "InAddrErrors"}},
		},
		{
			Name:    "blackhole",
			Summary: "A routing rule, older than the VIP's, swallows what comes out of tunl0.",
			Code:    "route-reject",
			Inject:  aheadOfLocal("blackhole"),
			Undo:    localFirst(),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "tunl0"}),
			Counts:  []Count{{lab.RealServer, "Ip:", "InAddrErrors"}},
		},
		{
			Name:    "rp-filter-unnumbered",
			Summary: "The reverse-path filter is loose, and tunl0 has no address: the VIP is on lo.",
			Code:    "rp-filter",
			Inject: []lab.Step{
				removeAddr(lab.RealServer, "tunl0", lab.VIP), giveAddr(lab.RealServer, "lo", lab.VIP),
				sysctl(lab.RealServer, "net/ipv4/conf/tunl0/rp_filter", "2"),
			},
			Undo:    append(rpFilterOff(), removeAddr(lab.RealServer, "lo", lab.VIP), giveAddr(lab.RealServer, "tunl0", lab.VIP)),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"IP_RPFILTER"}, Dev: "tunl0"}),
		},
		{
			Name:    "martian-source",
			Summary: "The real server has the client's address itself.",
			Code:    "martian-source",
			Inject:  []lab.Step{giveAddr(lab.RealServer, "lo", lab.ClientAddr)},
			Undo:    []lab.Step{removeAddr(lab.RealServer, "lo", lab.ClientAddr)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: martian, Dev: "tunl0"}),
		},
		{
			Name:    "martian-outer",
			Summary: "The real server has the director's address itself.",
			Code:    "martian-source",
			Inject:  []lab.Step{giveAddr(lab.RealServer, "lo", lab.DirectorAddr)},
			Undo:    []lab.Step{removeAddr(lab.RealServer, "lo", lab.DirectorAddr)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: martian, Dev: "eth0"}),
		},
		{
			Name:    "martian-outer-vip",
			Summary: "The director's outer source is the VIP, which the real server has, too.",
			Code:    "martian-source",
			Inject: []lab.Step{
				resolve(lab.Director, lab.RealServerAddr), // the real server does not answer its own address's ARP
				run(lab.Director, "ip", "route", "replace", lab.RealServerAddr.String(), "dev", "eth0", "src", lab.VIP.String()),
				removeServices(), addServices(), // IPVS remembers routes
			},
			Undo: []lab.Step{
				unless("No such process", run(lab.Director, "ip", "route", "del", lab.RealServerAddr.String(), "dev", "eth0")),
				removeServices(), addServices(), unresolve(lab.Director, lab.RealServerAddr),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: martian, Dev: "eth0"}),
		},
		{
			Name:    "rp-filter-outer",
			Summary: "A strict reverse-path filter on eth0 drops the tunnelled packet: the way back to the director is not eth0.",
			Code:    "rp-filter",
			Inject: []lab.Step{
				resolve(lab.Director, lab.RealServerAddr), // ARP is not answered either
				sysctl(lab.RealServer, "net/ipv4/conf/eth0/rp_filter", "1"),
				run(lab.RealServer, "ip", "route", "replace", lab.DirectorAddr.String(), "dev", "tunl0"),
			},
			Undo: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/conf/eth0/rp_filter", "0"),
				unless("No such process", run(lab.RealServer, "ip", "route", "del", lab.DirectorAddr.String(), "dev", "tunl0")),
				unresolve(lab.Director, lab.RealServerAddr),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"IP_RPFILTER"}, Dev: "eth0"}),
		},
		{
			Name:    "vip-missing-forwarding",
			Summary: "The real server does not have the VIP, and forwards packets: it says that it has no way for them.",
			Code:    "vip-missing",
			Inject: []lab.Step{
				removeAddr(lab.RealServer, "tunl0", lab.VIP), sysctl(lab.RealServer, "net/ipv4/ip_forward", "1"),
				sysctl(lab.RealServer, "net/ipv4/icmp_ratemask", "0"), // one rate for what it says and for what it chooses to
			},
			Undo: []lab.Step{
				sysctl(lab.RealServer, "net/ipv4/icmp_ratemask", "6168"),
				sysctl(lab.RealServer, "net/ipv4/ip_forward", "0"), giveAddr(lab.RealServer, "tunl0", lab.VIP),
			},
			Traffic: only(lab.TCP, expect(lab.Unreachable)),
			Losses:  []Loss{{Proto: lab.TCP, Fate: "rejected", Functions: noRoute, Reasons: []string{"IP_INNOROUTES"}, Dev: "tunl0", Reject: "icmp 3/0"}},
		},
		{
			// With four hops the packet ends on the real server, at its second visit.
			Name:    "vip-missing-loop",
			Summary: "The real server does not have the VIP, and forwards packets for it to the director, which sends them back.",
			Code:    "vip-missing",
			Inject: []lab.Step{
				sysctl(lab.Client, "net/ipv4/ip_default_ttl", "4"),
				removeAddr(lab.RealServer, "tunl0", lab.VIP), sysctl(lab.RealServer, "net/ipv4/ip_forward", "1"),
				run(lab.RealServer, "ip", "route", "replace", lab.VIP.String(), "via", lab.DirectorAddr.String()),
			},
			Undo: []lab.Step{
				unless("No such process", run(lab.RealServer, "ip", "route", "del", lab.VIP.String(), "via", lab.DirectorAddr.String())),
				sysctl(lab.RealServer, "net/ipv4/ip_forward", "0"), giveAddr(lab.RealServer, "tunl0", lab.VIP),
				sysctl(lab.Client, "net/ipv4/ip_default_ttl", "64"),
			},
			Traffic: expectExpired(),
			Losses:  both(Loss{Fate: "rejected", Functions: []string{"ip_forward"}, Reasons: []string{"IP_INHDR"}, Dev: "tunl0", Reject: "icmp 11/0"}),
		},
		refusedRoute("unreachable-vip", "unreachable"),
		refusedRoute("prohibit-vip", "prohibit"),
	}
}

// aheadOfLocal adds a rule for what comes out of tunl0 that is asked before the table of local addresses: that
// one's own rule has to move for it.
func aheadOfLocal(action ...string) []lab.Step {
	rule := append([]string{"ip", "rule", "add", "pref", "10", "iif", "tunl0"}, action...)
	return []lab.Step{
		unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "100", "lookup", "local")),
		unless("File exists", run(lab.RealServer, rule...)),
		unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "0")),
	}
}

// localFirst undoes that.
func localFirst() []lab.Step {
	return []lab.Step{
		unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "0", "lookup", "local")),
		unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10")),
		unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "100")),
	}
}

// refusedRoute is a route for the VIP that the local one does not hide, in a table that is asked before.
func refusedRoute(name, kind string) Scenario {
	return Scenario{
		Name:    name,
		Summary: "A route of the type " + kind + " stands in the VIP's way.",
		Code:    "route-reject",
		Inject:  append(aheadOfLocal("lookup", "77"), run(lab.RealServer, "ip", "route", "replace", kind, lab.VIP.String(), "table", "77")),
		Undo:    append(localFirst(), unless("No such", run(lab.RealServer, "ip", "route", "del", kind, lab.VIP.String(), "table", "77"))),
		Traffic: expect(lab.TimedOut),
		Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "tunl0"}),
	}
}

func rpFilterOff() []lab.Step {
	return []lab.Step{
		sysctl(lab.RealServer, "net/ipv4/conf/all/rp_filter", "0"),
		sysctl(lab.RealServer, "net/ipv4/conf/tunl0/rp_filter", "0"),
	}
}
