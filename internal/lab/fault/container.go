package fault

import (
	"net/netip"
	"slices"

	"ipiptrace/internal/lab"
)

// containerFaults are those of a real server that is a container: its host forwards IPIP to it, and its answers to the
// client, or does not.
func containerFaults() []Scenario {
	fault := func(name, summary, code string, want lab.Outcome, losses []Loss, inject, undo []lab.Step) Scenario {
		return Scenario{
			Name: "container-" + name, Summary: summary, Code: code,
			Inject: slices.Concat(containerIPIP(), inject), Undo: slices.Concat(undo, noContainerIPIP()),
			Traffic: expect(want), Losses: losses,
		}
	}
	forward := func(rules ...[]string) (steps []lab.Step) {
		steps = []lab.Step{run(lab.RealServer, "iptables-legacy", "-F")}
		for _, rule := range rules {
			steps = append(steps, run(lab.RealServer, append([]string{"iptables-legacy", "-A", "FORWARD"}, rule...)...))
		}
		return steps
	}
	noForward := append(forward(), forgetConnections(lab.RealServer))
	down := fault("tunnel-down", "The real server is a container, and tunl0 is down in it: its kernel says so with an ICMP error, which its host forwards.",
		"tunnel-device-down", lab.Refused,
		both(Loss{Fate: "rejected", Functions: noTunnel, Reasons: unnamed, Dev: containerEnd, Reject: "icmp 3/3"}),
		[]lab.Step{linkDown(lab.Switch, "tunl0")}, nil)
	down.At = lab.Switch
	invalid := fault("reply-invalid", "The real server is a container, and its host drops what is no part of a connection: it has seen the request in its tunnel alone, so the answer is none.",
		"firewall-drop", lab.TimedOut,
		[]Loss{{Proto: lab.TCP, Reply: true, Fate: "dropped", Functions: netfilter, Reasons: netfilterDrop, Dev: hostEnd, Hook: "forward"}},
		forward([]string{"-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"}), noForward)
	invalid.Traffic = only(lab.TCP, invalid.Traffic)
	return []Scenario{
		fault("forward-off", "The real server is a container, and its host does not forward.",
			"ip-forward-off", lab.TimedOut,
			both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "eth0"}),
			[]lab.Step{sysctl(lab.RealServer, "net/ipv4/ip_forward", "0")}, nil),
		fault("forward-policy", "The real server is a container, and its host forwards what belongs to a connection, or comes from it: not IPIP.",
			"firewall-drop", lab.TimedOut, filtered("eth0", "forward"),
			[]lab.Step{nftIn(lab.RealServer, "ip", `
				chain forward {
					type filter hook forward priority filter; policy drop;
					ct state established,related accept
					iifname "cont0" accept
				}`)},
			[]lab.Step{nftGone(lab.RealServer, "ip"), forgetConnections(lab.RealServer)}),
		fault("forward-reject", "The real server is a container, and its host rejects what it forwards to it: the host answers, and the client hears of it.",
			"firewall-reject", lab.Unreachable,
			both(Loss{Fate: "rejected", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "forward", Reject: "icmp 3/10"}),
			forward([]string{"-o", hostEnd, "-j", "REJECT", "--reject-with", "icmp-host-prohibited"}), noForward),
		down, invalid,
	}
}

// The network of a container behind the real server, and what its host's own address is then.
const (
	containerAddr    = "172.17.0.2"
	containerGateway = "172.17.0.1"
	hostAddr         = "10.0.0.13"
	// hostEnd and containerEnd are the two ends of its wire.
	hostEnd      = "cont0"
	containerEnd = "ceth0"
)

// container is one behind the real server, which forwards. The switch's namespace, which has no address, plays it.
func container() []lab.Step {
	return []lab.Step{
		unless("File exists", run(lab.RealServer, "ip", "link", "add", hostEnd, "type", "veth", "peer", "name", containerEnd)),
		unless("not found", move(lab.RealServer, containerEnd, lab.Switch)),
		run(lab.RealServer, "ip", "addr", "replace", containerGateway+"/24", "dev", hostEnd), linkUp(lab.RealServer, hostEnd),
		run(lab.Switch, "ip", "addr", "replace", containerAddr+"/24", "dev", containerEnd), linkUp(lab.Switch, containerEnd),
		run(lab.Switch, "ip", "route", "replace", "default", "via", containerGateway, "rto_min", "1000ms"),
		sysctl(lab.RealServer, "net/ipv4/ip_forward", "1"),
	}
}

func noContainer() []lab.Step {
	return []lab.Step{linkGone(lab.RealServer, hostEnd), sysctl(lab.RealServer, "net/ipv4/ip_forward", "0")}
}

// containerIPIP has the container be the real server: it has the real server's address, tunl0, the VIP and the service.
func containerIPIP() []lab.Step {
	return slices.Concat(container(), []lab.Step{
		resolve(lab.Director, lab.RealServerAddr), // the host does not answer ARP for it
		removeAddr(lab.RealServer, "tunl0", lab.VIP),
		giveAddr(lab.Switch, containerEnd, lab.RealServerAddr), linkUp(lab.Switch, "tunl0"), giveAddr(lab.Switch, "tunl0", lab.VIP),
		serveAlso(lab.Switch, netip.AddrPortFrom(lab.VIP, lab.Port)),
		withoutAddr(lab.RealServer, "eth0", lab.RealServerAddr.String()+"/24"), // and the other one with it, if it is there
		run(lab.RealServer, "ip", "addr", "replace", hostAddr+"/24", "dev", "eth0"),
		run(lab.RealServer, "ip", "route", "replace", lab.RealServerAddr.String(), "via", containerAddr),
	})
}

func noContainerIPIP() []lab.Step {
	return slices.Concat(
		[]lab.Step{removeAddr(lab.Switch, "tunl0", lab.VIP), linkDown(lab.Switch, "tunl0")}, noContainer(),
		[]lab.Step{
			withoutAddr(lab.RealServer, "eth0", hostAddr+"/24"),
			run(lab.RealServer, "ip", "addr", "replace", lab.RealServerAddr.String()+"/24", "dev", "eth0"),
			routeRealServer(), giveAddr(lab.RealServer, "tunl0", lab.VIP), unresolve(lab.Director, lab.RealServerAddr),
		}, again())
}
