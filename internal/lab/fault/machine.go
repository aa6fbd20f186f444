package fault

import (
	"slices"

	"ipiptrace/internal/lab"
)

// machineFaults are those that a setting or a module of the whole machine brings about.
func machineFaults() []Scenario {
	return []Scenario{
		{
			Name:         "backlog-full",
			Summary:      "No packet may wait for the CPU while another one does, and the switch sends two at once: it has forgotten where the real server is.",
			Code:         "backlog-full",
			WholeMachine: true,
			Inject:       slices.Concat(everybodyKnown(), floodRealServer(), []lab.Step{machineSysctl("net/core/netdev_max_backlog", "0")}),
			Undo:         slices.Concat([]lab.Step{restoreSysctl("net/core/netdev_max_backlog")}, noFlood(), nobodyKnown()),
			Traffic:      expect(lab.TimedOut),
			Losses:       both(Loss{Fate: "dropped", Functions: []string{"enqueue_to_backlog"}, Reasons: []string{"CPU_BACKLOG"}, Dev: "eth0"}),
			Unforced:     true,
		},
		swallowed("tunnel-down-xfrm", "tunl0 is down, and IPsec's own tunnel takes the packets that are left, silently.", "xfrm4_tunnel", []string{"xfrm_input"}),
		swallowed("tunnel-down-sit", "tunl0 is down, and sit0 takes the packets that are left, silently: it is for IPv6.", "sit",
			[]string{"ipip_rcv", "sit_tunnel_rcv", "tunnel4_rcv"}, linkUp(lab.RealServer, "sit0")),
		{
			Name:         "bridge-firewall",
			Summary:      "The host of the real server, which is a virtual machine, has its bridge ask iptables, and a rule there drops what the director sends to it.",
			Code:         "firewall-drop",
			WholeMachine: true,
			Inject: []lab.Step{
				load("br_netfilter"),
				run(lab.Switch, "iptables-legacy", "-F", "FORWARD"),
				run(lab.Switch, "iptables-legacy", "-A", "FORWARD", "-s", lab.DirectorAddr.String(), "-d", lab.RealServerAddr.String(), "-j", "DROP"),
			},
			Undo:    []lab.Step{run(lab.Switch, "iptables-legacy", "-F", "FORWARD"), unloadAgain("br_netfilter")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Hook: "forward"}),
			At:      lab.Switch,
		},
	}
}

// swallowed is a tunnel that is down while a module takes what no tunnel wants.
func swallowed(name, summary, module string, by []string, more ...lab.Step) Scenario {
	return Scenario{
		Name: name, Summary: summary, Code: "tunnel-device-down", WholeMachine: true,
		Inject:  append([]lab.Step{load(module), linkDown(lab.RealServer, "tunl0")}, more...),
		Undo:    []lab.Step{unloadAgain(module), linkUp(lab.RealServer, "tunl0"), giveAddr(lab.RealServer, "tunl0", lab.VIP)},
		Traffic: expect(lab.TimedOut),
		Losses:  both(Loss{Fate: "dropped", Functions: by, Reasons: unnamed, Dev: "eth0"}),
	}
}

// everybodyKnown is the lab without ARP, which needs broadcasts.
func everybodyKnown() []lab.Step {
	return append(neighbours(), resolve(lab.Client, lab.DirectorAddr))
}

func nobodyKnown() []lab.Step {
	return append(noNeighbours(), unresolve(lab.Client, lab.DirectorAddr))
}

// floodRealServer has the switch send what is for the real server to all its ports, first to one that nobody is at:
// the newest.
func floodRealServer() []lab.Step {
	return []lab.Step{
		unless("File exists", run(lab.Switch, "ip", "link", "add", "spare", "type", "veth", "peer", "name", "spare-end")),
		linkUp(lab.Switch, "spare-end"), linkUp(lab.Switch, "spare"),
		run(lab.Switch, "ip", "link", "set", "spare", "master", "br0"),
		run(lab.Switch, "ip", "link", "set", string(lab.RealServer), "type", "bridge_slave", "learning", "off"),
		forget(lab.RealServer, lab.MAC(lab.RealServerAddr).String()),
	}
}

func noFlood() []lab.Step {
	return []lab.Step{
		learn(lab.RealServer, lab.MAC(lab.RealServerAddr).String()),
		run(lab.Switch, "ip", "link", "set", string(lab.RealServer), "type", "bridge_slave", "learning", "on"),
		linkGone(lab.Switch, "spare"),
	}
}
