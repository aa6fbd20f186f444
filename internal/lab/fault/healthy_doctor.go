package fault

import "ipiptrace/internal/lab"

// Unrecorded are healthy scenarios in which only the configuration is another: doctor is asked of them, and nothing is recorded.
func Unrecorded() []Scenario {
	tunnel := func(name, remote string) []lab.Step {
		return []lab.Step{
			linkGone(lab.RealServer, name),
			run(lab.RealServer, "ip", "link", "add", name, "type", "ipip", "local", lab.RealServerAddr.String(), "remote", remote),
			linkUp(lab.RealServer, name),
		}
	}
	return []Scenario{
		twin("vip-on-dummy", "The VIP is on a device of its own (dummy), and tunl0 has no address.",
			[]lab.Step{
				linkGone(lab.RealServer, "dummy0"), run(lab.RealServer, "ip", "link", "add", "dummy0", "up", "type", "dummy"),
				removeAddr(lab.RealServer, "tunl0", lab.VIP), giveAddr(lab.RealServer, "dummy0", lab.VIP),
			},
			[]lab.Step{linkGone(lab.RealServer, "dummy0"), giveAddr(lab.RealServer, "tunl0", lab.VIP)}),
		twin("several-tunnels", "Beside tunl0 there are a tunnel for the director, which takes its packets, and one for another director.",
			append(tunnel("lvs0", lab.DirectorAddr.String()), tunnel("lvs1", "192.0.2.2")...),
			[]lab.Step{linkGone(lab.RealServer, "lvs0"), linkGone(lab.RealServer, "lvs1")}),
	}
}
