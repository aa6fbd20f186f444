package lab

import "slices"

// machineFaults are those that a setting or a module of the whole machine brings about.
func machineFaults() []Scenario {
	return []Scenario{
		{
			Name:         "backlog-full",
			Summary:      "No packet may wait for the CPU while another one does, and the switch sends two at once: it has forgotten where the real server is.",
			Code:         "backlog-full",
			WholeMachine: true,
			Inject:       slices.Concat(everybodyKnown(), floodRealServer(), []Step{machineSysctl("net/core/netdev_max_backlog", "0")}),
			Undo:         slices.Concat([]Step{restoreSysctl("net/core/netdev_max_backlog")}, noFlood(), nobodyKnown()),
			Traffic:      expect(TimedOut),
		},
		swallowed("tunnel-down-xfrm", "tunl0 is down, and IPsec's own tunnel takes the packets that are left, silently.", "xfrm4_tunnel"),
		swallowed("tunnel-down-sit", "tunl0 is down, and sit0 takes the packets that are left, silently: it is for IPv6.", "sit", linkUp(RealServer, "sit0")),
		{
			Name:         "bridge-firewall",
			Summary:      "The host of the real server, which is a virtual machine, has its bridge ask iptables, and a rule there drops IPIP packets.",
			Code:         "firewall-drop",
			WholeMachine: true,
			Inject: []Step{
				load("br_netfilter"),
				run(Switch, "iptables-legacy", "-F", "FORWARD"),
				run(Switch, "iptables-legacy", "-A", "FORWARD", "-p", "4", "-j", "DROP"),
			},
			Undo:    []Step{run(Switch, "iptables-legacy", "-F", "FORWARD"), unloadAgain("br_netfilter")},
			Traffic: expect(TimedOut),
		},
	}
}

// swallowed is a tunnel that is down while a module takes what no tunnel wants.
func swallowed(name, summary, module string, more ...Step) Scenario {
	return Scenario{
		Name: name, Summary: summary, Code: "tunnel-device-down", WholeMachine: true,
		Inject:  append([]Step{load(module), linkDown(RealServer, "tunl0")}, more...),
		Undo:    []Step{unloadAgain(module), linkUp(RealServer, "tunl0"), giveAddr(RealServer, "tunl0", VIP)},
		Traffic: expect(TimedOut),
	}
}

// everybodyKnown is the lab without ARP, which needs broadcasts.
func everybodyKnown() []Step {
	return append(neighbours(), resolve(Client, DirectorAddr))
}

func nobodyKnown() []Step {
	return append(noNeighbours(), unresolve(Client, DirectorAddr))
}

// floodRealServer has the switch send what is for the real server to all its ports, first to one that nobody is at:
// the newest.
func floodRealServer() []Step {
	return []Step{
		unless("File exists", run(Switch, "ip", "link", "add", "spare", "type", "veth", "peer", "name", "spare-end")),
		linkUp(Switch, "spare-end"), linkUp(Switch, "spare"),
		run(Switch, "ip", "link", "set", "spare", "master", "br0"),
		run(Switch, "ip", "link", "set", string(RealServer), "type", "bridge_slave", "learning", "off"),
		forget(RealServer, mac(RealServerAddr).String()),
	}
}

func noFlood() []Step {
	return []Step{
		learn(RealServer, mac(RealServerAddr).String()),
		run(Switch, "ip", "link", "set", string(RealServer), "type", "bridge_slave", "learning", "on"),
		linkGone(Switch, "spare"),
	}
}
