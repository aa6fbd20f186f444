package fault

import "ipiptrace/internal/lab"

// otherTunnelFaults are those of what takes IPIP, or should, beside a device of ipip.
func otherTunnelFaults() []Scenario {
	const fallback = "net/core/fb_tunnels_only_for_init_net"
	swallowed := both(Loss{Fate: "dropped", Functions: []string{"xfrm_input"}, Reasons: unnamed, Dev: "eth0"})
	refused := both(Loss{Fate: "rejected", Functions: noTunnel, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/3"})
	vti := func(name, summary string, words ...string) Scenario {
		add := append([]string{"ip", "link", "add", "vti1", "type", "vti", "local", lab.RealServerAddr.String()}, words...)
		return Scenario{
			Name: name, Summary: summary, Code: "tunnel-mode-mismatch", WholeMachine: true,
			Inject:  []lab.Step{load("ip_vti"), linkGone(lab.RealServer, "vti1"), run(lab.RealServer, add...), linkUp(lab.RealServer, "vti1")},
			Undo:    []lab.Step{linkGone(lab.RealServer, "vti1"), unloadAgain("ip_vti")},
			Traffic: expect(lab.TimedOut), Losses: swallowed,
		}
	}
	without := func(name, summary, where string, vip lab.Step) Scenario {
		return Scenario{
			Name: name, Summary: summary, Code: "tunnel-wrong-namespace", WholeMachine: true, Pinned: true,
			Inject: []lab.Step{unload("ipip"), machineSysctl(fallback, where), load("ipip"), vip},
			Undo: []lab.Step{
				linkGone(lab.RealServer, "lvs0"), removeAddr(lab.RealServer, "lo", lab.VIP),
				unload("ipip"), restoreSysctl(fallback), load("ipip"), bindVIP(),
			},
			Traffic: expect(lab.Refused), Losses: refused,
		}
	}
	return []Scenario{
		{
			Name: "tunnel-vti", Summary: "ip_vti0 is up: the tunnels of IPsec are asked first, and that one takes all that has no other, though it did not come by IPsec.",
			Code: "tunnel-mode-mismatch", WholeMachine: true,
			Inject:  []lab.Step{load("ip_vti"), linkUp(lab.RealServer, "ip_vti0")},
			Undo:    []lab.Step{unless("Cannot find", run(lab.RealServer, "ip", "link", "set", "ip_vti0", "down")), unloadAgain("ip_vti")},
			Traffic: expect(lab.TimedOut), Losses: swallowed,
		},
		vti("tunnel-vti-peer", "A tunnel of IPsec (vti) is between the director and the real server, too.", "remote", lab.DirectorAddr.String(), "key", "5"),
		vti("tunnel-vti-local", "A tunnel of IPsec (vti) is for whoever sends to the real server."),
		without("tunnel-first-namespace", "The kernel makes tunl0 in the first network namespace alone, and the real server is another; the VIP is on lo.", "1",
			giveAddr(lab.RealServer, "lo", lab.VIP)),
		without("tunnel-no-namespace", "The kernel makes tunl0 in no network namespace, and there is no VIP either.", "2",
			removeAddr(lab.RealServer, "lo", lab.VIP)),
	}
}
