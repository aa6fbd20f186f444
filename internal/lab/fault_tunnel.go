package lab

import "github.com/moby/ipvs"

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
		{
			Name:    "tunnel-endpoint",
			Summary: "tunl0 is down, and the tunnel that is up is for another director.",
			Code:    "tunnel-endpoint-mismatch",
			Inject:  ownTunnel("remote", "10.0.0.99"),
			Undo:    noOwnTunnel(),
			Traffic: expect(Refused),
		},
		{
			Name:    "tunnel-mode",
			Summary: "tunl0 is down, and the tunnel that is up takes MPLS.",
			Code:    "tunnel-mode-mismatch",
			Inject:  ownTunnel("mode", "mplsip"),
			Undo:    noOwnTunnel(),
			Traffic: expect(TimedOut),
		},
		{
			Name:    "tunnel-gre",
			Summary: "The director tunnels by GRE, and the real server takes IPIP.",
			Code:    "tunnel-mode-mismatch",
			Inject:  tunnelBy("--tun-type", "gre"),
			Undo:    []Step{sendBy(ipvs.ConnectionFlagTunnel)}, // by IPIP
			Traffic: expect(Unreachable),
		},
		{
			Name:    "tunnel-gue",
			Summary: "The director tunnels by GUE, over UDP, and the real server takes IPIP.",
			Code:    "tunnel-mode-mismatch",
			Inject:  tunnelBy("--tun-type", "gue", "--tun-port", "6080"),
			Undo:    []Step{sendBy(ipvs.ConnectionFlagTunnel)},
			Traffic: expect(Refused),
		},
		{
			Name:    "outer-not-local",
			Summary: "The director sends to an address that the real server does not have.",
			Code:    "outer-not-local",
			Inject: []Step{
				run(Director, "ip", "neigh", "replace", wrongAddr, "lladdr", mac(RealServerAddr).String(), "dev", "eth0", "nud", "permanent"),
				unless("exists", run(Director, "ipvsadm", "-a", "-t", VIP.String()+":80", "-r", wrongAddr+":80", "-i")),
				unless("exists", run(Director, "ipvsadm", "-a", "-u", VIP.String()+":80", "-r", wrongAddr+":80", "-i")),
				weigh(0),
			},
			Undo: []Step{
				weigh(1),
				unless("No such", run(Director, "ipvsadm", "-d", "-t", VIP.String()+":80", "-r", wrongAddr+":80")),
				unless("No such", run(Director, "ipvsadm", "-d", "-u", VIP.String()+":80", "-r", wrongAddr+":80")),
				unless("No such file", run(Director, "ip", "neigh", "del", wrongAddr, "dev", "eth0")),
			},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "tunnel-wrong-namespace",
			Summary: "tunl0 is down, and the tunnel that is up was moved into another namespace, without the VIP.",
			Code:    "tunnel-wrong-namespace",
			Inject: []Step{
				linkGone(Switch, "lvs0"), linkGone(RealServer, "lvs0"),
				run(RealServer, "ip", "link", "add", "lvs0", "type", "ipip", "local", RealServerAddr.String()),
				move(RealServer, "lvs0", Switch), linkUp(Switch, "lvs0"),
				linkDown(RealServer, "tunl0"),
			},
			Undo:    append([]Step{linkGone(Switch, "lvs0")}, noOwnTunnel()...),
			Traffic: expect(TimedOut),
		},
	}
}

// tunnelBy has the director use another encapsulation.
func tunnelBy(words ...string) (steps []Step) {
	for _, protocol := range []string{"-t", "-u"} {
		edit := []string{"ipvsadm", "-e", protocol, VIP.String() + ":80", "-r", RealServerAddr.String() + ":80", "-i"}
		steps = append(steps, run(Director, append(edit, words...)...))
	}
	return steps
}

// wrongAddr is nobody's.
const wrongAddr = "10.0.0.12"

// ownTunnel has the real server use a tunnel of its own in place of tunl0.
func ownTunnel(words ...string) []Step {
	add := append([]string{"ip", "link", "add", "lvs0", "type", "ipip", "local", RealServerAddr.String()}, words...)
	return append(noOwnTunnel(),
		run(RealServer, add...),
		linkUp(RealServer, "lvs0"),
		giveAddr(RealServer, "lvs0", VIP),
		linkDown(RealServer, "tunl0"),
	)
}

func noOwnTunnel() []Step {
	return []Step{
		linkGone(RealServer, "lvs0"),
		linkUp(RealServer, "tunl0"), giveAddr(RealServer, "tunl0", VIP),
	}
}
