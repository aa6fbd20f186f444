package fault

import (
	"github.com/moby/ipvs"

	"ipiptrace/internal/lab"
)

// nowhere is an Ethernet address that nobody has.
const nowhere = "02:00:00:00:00:77"

// tunnelFaults are those that the packet meets before it is taken out of the tunnel.
func tunnelFaults() []Scenario {
	return []Scenario{
		{
			Name:    "tunnel-down",
			Summary: "tunl0 is down: nobody takes IPIP packets, and the kernel says so with an ICMP error.",
			Code:    "tunnel-device-down",
			Inject:  []lab.Step{linkDown(lab.RealServer, "tunl0")},
			Undo:    []lab.Step{linkUp(lab.RealServer, "tunl0"), giveAddr(lab.RealServer, "tunl0", lab.VIP)},
			Traffic: expect(lab.Refused),
			Losses:  both(Loss{Fate: "rejected", Functions: noTunnel, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/3"}),
			Counts:  []Count{{lab.RealServer, "Icmp:", "OutDestUnreachs"}},
		},
		{
			Name:         "tunnel-module-missing",
			Summary:      "The ipip module is not loaded: the kernel does not know the protocol, and says so with an ICMP error.",
			Code:         "tunnel-module-missing",
			WholeMachine: true,
			Inject:       []lab.Step{unload("ipip"), unload("tunnel4")},
			Undo:         []lab.Step{load("ipip"), bindVIP()},
			Traffic:      expect(lab.Unreachable),
			Losses:       both(Loss{Fate: "rejected", Functions: noProtocol, Reasons: []string{"IP_NOPROTO"}, Dev: "eth0", Reject: "icmp 3/2"}),
			Pinned:       true,
			Counts:       []Count{{lab.RealServer, "Ip:", "InUnknownProtos"}, {lab.RealServer, "Icmp:", "OutDestUnreachs"}},
		},
		{
			Name:         "tunnel-module-missing-sit",
			Summary:      "The ipip module is not loaded, but sit keeps the protocol known: the ICMP error is another one.",
			Code:         "tunnel-module-missing",
			WholeMachine: true,
			Inject:       []lab.Step{load("sit"), unload("ipip")},
			Undo:         []lab.Step{unloadAgain("sit"), load("ipip"), bindVIP()},
			Traffic:      expect(lab.Refused),
			Losses:       both(Loss{Fate: "rejected", Functions: noTunnel, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/3"}),
			Pinned:       true,
			Counts:       []Count{{lab.RealServer, "Icmp:", "OutDestUnreachs"}},
		},
		{
			// The switch knows the address, so that only the real server gets the frames.
			Name:    "wrong-mac",
			Summary: "The director has a wrong Ethernet address for the real server, whose eth0 takes every frame.",
			Code:    "wrong-mac",
			Inject: []lab.Step{
				learn(lab.RealServer, nowhere),
				run(lab.RealServer, "ip", "link", "set", "eth0", "promisc", "on"),
				run(lab.Director, "ip", "neigh", "replace", lab.RealServerAddr.String(), "lladdr", nowhere, "dev", "eth0", "nud", "permanent"),
			},
			Undo: []lab.Step{
				unless("No such file", run(lab.Director, "ip", "neigh", "del", lab.RealServerAddr.String(), "dev", "eth0")),
				run(lab.RealServer, "ip", "link", "set", "eth0", "promisc", "off"),
				forget(lab.RealServer, nowhere),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atHeader, Reasons: []string{"OTHERHOST"}, Dev: "eth0"}),
		},
		{
			Name:    "tunnel-endpoint",
			Summary: "tunl0 is down, and the tunnel that is up is for another director.",
			Code:    "tunnel-endpoint-mismatch",
			Inject:  ownTunnel("remote", "10.0.0.99"),
			Undo:    noOwnTunnel(),
			Traffic: expect(lab.Refused),
			Losses:  both(Loss{Fate: "rejected", Functions: noTunnel, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/3"}),
		},
		{
			Name:    "tunnel-mode",
			Summary: "tunl0 is down, and the tunnel that is up takes MPLS.",
			Code:    "tunnel-mode-mismatch",
			Inject:  ownTunnel("mode", "mplsip"),
			Undo:    noOwnTunnel(),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: []string{"ipip_tunnel_rcv", "ipip_rcv", "tunnel4_rcv"}, Reasons: unnamed, Dev: "eth0"}),
		},
		{
			Name:    "tunnel-gre",
			Summary: "The director tunnels by GRE, and the real server takes IPIP.",
			Code:    "tunnel-mode-mismatch",
			Inject:  tunnelBy("--tun-type", "gre"),
			Undo:    []lab.Step{sendBy(ipvs.ConnectionFlagTunnel)}, // by IPIP
			Traffic: expect(lab.Unreachable),
			Losses:  both(Loss{Fate: "rejected", Functions: noProtocol, Reasons: []string{"IP_NOPROTO"}, Dev: "eth0", Reject: "icmp 3/2"}),
		},
		{
			Name:    "tunnel-gue",
			Summary: "The director tunnels by GUE, over UDP, and the real server takes IPIP.",
			Code:    "tunnel-mode-mismatch",
			Inject:  tunnelBy("--tun-type", "gue", "--tun-port", "6080"),
			Undo:    []lab.Step{sendBy(ipvs.ConnectionFlagTunnel), noFOU("6080")},
			Traffic: short(expect(lab.Refused)),
			Losses:  both(Loss{Fate: "rejected", Functions: udpReceive, Reasons: noSocket, Dev: "eth0", Reject: "icmp 3/3"}),
		},
		{
			Name:    "outer-not-local",
			Summary: "The director sends to an address that the real server does not have.",
			Code:    "outer-not-local",
			Inject: []lab.Step{
				run(lab.Director, "ip", "neigh", "replace", wrongAddr, "lladdr", lab.MAC(lab.RealServerAddr).String(), "dev", "eth0", "nud", "permanent"),
				unless("exists", run(lab.Director, "ipvsadm", "-a", "-t", lab.VIP.String()+":80", "-r", wrongAddr+":80", "-i")),
				unless("exists", run(lab.Director, "ipvsadm", "-a", "-u", lab.VIP.String()+":80", "-r", wrongAddr+":80", "-i")),
				weigh(0),
			},
			Undo: []lab.Step{
				weigh(1),
				unless("No such", run(lab.Director, "ipvsadm", "-d", "-t", lab.VIP.String()+":80", "-r", wrongAddr+":80")),
				unless("No such", run(lab.Director, "ipvsadm", "-d", "-u", lab.VIP.String()+":80", "-r", wrongAddr+":80")),
				unless("No such file", run(lab.Director, "ip", "neigh", "del", wrongAddr, "dev", "eth0")),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "eth0"}),
		},
		{
			Name:    "tunnel-wrong-namespace",
			Summary: "tunl0 is down, and the tunnel that is up was moved into another namespace, without the VIP.",
			Code:    "tunnel-wrong-namespace",
			Inject: []lab.Step{
				linkGone(lab.Switch, "lvs0"), linkGone(lab.RealServer, "lvs0"),
				run(lab.RealServer, "ip", "link", "add", "lvs0", "type", "ipip", "local", lab.RealServerAddr.String()),
				move(lab.RealServer, "lvs0", lab.Switch), linkUp(lab.Switch, "lvs0"),
				linkDown(lab.RealServer, "tunl0"),
			},
			Undo:    append([]lab.Step{linkGone(lab.Switch, "lvs0")}, noOwnTunnel()...),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "lvs0"}),
			At:      lab.Switch,
		},
	}
}

// tunnelBy has the director use another encapsulation.
func tunnelBy(words ...string) (steps []lab.Step) {
	for _, protocol := range []string{"-t", "-u"} {
		edit := []string{"ipvsadm", "-e", protocol, lab.VIP.String() + ":80", "-r", lab.RealServerAddr.String() + ":80", "-i"}
		steps = append(steps, run(lab.Director, append(edit, words...)...))
	}
	return steps
}

// wrongAddr is nobody's.
const wrongAddr = "10.0.0.12"

// ownTunnel has the real server use a tunnel of its own in place of tunl0.
func ownTunnel(words ...string) []lab.Step {
	add := append([]string{"ip", "link", "add", "lvs0", "type", "ipip", "local", lab.RealServerAddr.String()}, words...)
	return append(noOwnTunnel(),
		run(lab.RealServer, add...),
		linkUp(lab.RealServer, "lvs0"),
		giveAddr(lab.RealServer, "lvs0", lab.VIP),
		linkDown(lab.RealServer, "tunl0"),
	)
}

func noOwnTunnel() []lab.Step {
	return []lab.Step{
		linkGone(lab.RealServer, "lvs0"), linkGone(lab.RealServer, "lvs1"), // that of a repair
		linkUp(lab.RealServer, "tunl0"), giveAddr(lab.RealServer, "tunl0", lab.VIP),
	}
}
