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
			// A rule is looked at before the table of local addresses only if that one's rule has moved.
			Name:    "blackhole",
			Summary: "A routing rule, older than the VIP's, swallows what comes out of tunl0.",
			Code:    "route-reject",
			Inject: []Step{
				unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "100", "lookup", "local")),
				unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "10", "iif", "tunl0", "blackhole")),
				unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "0")),
			},
			Undo: []Step{
				unless("File exists", run(RealServer, "ip", "rule", "add", "pref", "0", "lookup", "local")),
				unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "10")),
				unless("No such file", run(RealServer, "ip", "rule", "del", "pref", "100")),
			},
			Traffic: expect(TimedOut),
		},
	}
}

func rpFilterOff() []Step {
	return []Step{
		sysctl(RealServer, "net/ipv4/conf/all/rp_filter", "0"),
		sysctl(RealServer, "net/ipv4/conf/tunl0/rp_filter", "0"),
	}
}
