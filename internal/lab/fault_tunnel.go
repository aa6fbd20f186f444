package lab

// nowhere is an Ethernet address that nobody has.
const nowhere = "02:00:00:00:00:77"

// tunnelFaults are those that the packet meets before it is taken out of the tunnel.
func tunnelFaults() []Scenario {
	return []Scenario{
		{
			Name:    "tunnel-down",
			Summary: "tunl0 is down: nobody takes IPIP packets, and the kernel says so with an ICMP error.",
			Code:    "tunnel-device-down",
			Inject:  []Step{linkDown(RealServer, "tunl0")},
			Undo:    []Step{linkUp(RealServer, "tunl0"), giveAddr(RealServer, "tunl0", VIP)},
			Traffic: expect(Refused),
		},
		{
			Name:         "tunnel-module-missing",
			Summary:      "The ipip module is not loaded: the kernel does not know the protocol, and says so with an ICMP error.",
			Code:         "tunnel-module-missing",
			WholeMachine: true,
			Inject:       []Step{unload("ipip"), unload("tunnel4")},
			Undo:         []Step{load("ipip"), bindVIP()},
			Traffic:      expect(Unreachable),
		},
		{
			Name:         "tunnel-module-missing-sit",
			Summary:      "The ipip module is not loaded, but sit keeps the protocol known: the ICMP error is another one.",
			Code:         "tunnel-module-missing",
			WholeMachine: true,
			Inject:       []Step{load("sit"), unload("ipip")},
			Undo:         []Step{unloadAgain("sit"), load("ipip"), bindVIP()},
			Traffic:      expect(Refused),
		},
		{
			// The switch knows the address, so that only the real server gets the frames.
			Name:    "wrong-mac",
			Summary: "The director has a wrong Ethernet address for the real server, whose eth0 takes every frame.",
			Code:    "wrong-mac",
			Inject: []Step{
				learn(RealServer, nowhere),
				run(RealServer, "ip", "link", "set", "eth0", "promisc", "on"),
				run(Director, "ip", "neigh", "replace", RealServerAddr.String(), "lladdr", nowhere, "dev", "eth0", "nud", "permanent"),
			},
			Undo: []Step{
				unless("No such file", run(Director, "ip", "neigh", "del", RealServerAddr.String(), "dev", "eth0")),
				run(RealServer, "ip", "link", "set", "eth0", "promisc", "off"),
				forget(RealServer, nowhere),
			},
			Traffic: expect(TimedOut),
		},
	}
}
