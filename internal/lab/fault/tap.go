package fault

import (
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// tapFaults are rules that drop what somebody listens to. What a tap has, and lets go of, is not the packet.
func tapFaults() []Scenario {
	const drop = `
			chain input {
				type filter hook input priority filter; policy accept;
				iifname "tunl0" ip daddr 10.99.0.1 drop
			}`
	tapped := func(name, summary string, at lab.Role, losses []Loss, rules string, taps ...lab.Step) Scenario {
		s := nftFault(name, summary, at, "ip", losses, rules)
		s.Inject = append(append(again(), taps...), s.Inject...)
		s.Undo = append(s.Undo, again()...)
		return s
	}
	reply := Loss{Reply: true, Fate: "dropped", Functions: nftables, Reasons: netfilterDrop, Hook: "output"}
	atClient := reply
	atClient.Dev, atClient.Hook = "eth0", "input"
	return []Scenario{
		tapped("tap-inner", "A rule drops the service's packets in input, and a packet socket listens on tunl0.",
			lab.RealServer, filtered("tunl0", "input"), drop, tap(lab.RealServer, "tunl0", unix.ETH_P_IP, true)),
		tapped("tap-ring", "A rule drops the service's packets in input, and a packet socket with a ring listens on tunl0, another one on eth0.",
			lab.RealServer, filtered("tunl0", "input"), drop, tapRing(lab.RealServer, "tunl0", unix.ETH_P_IP), tapRing(lab.RealServer, "eth0", unix.ETH_P_IP)),
		tapped("tap-full", "A rule drops the service's packets in input, and nobody reads the packet sockets on tunl0 and eth0: the kernel drops what it copies for them.",
			lab.RealServer, filtered("tunl0", "input"), drop, tap(lab.RealServer, "tunl0", unix.ETH_P_IP, false), tap(lab.RealServer, "eth0", unix.ETH_P_ALL, false)),
		tapped("tap-outer", "A rule drops IPIP packets in prerouting, and a packet socket listens on eth0 and a raw socket for protocol 4.",
			lab.RealServer, filtered("eth0", "prerouting"), `
			chain prerouting {
				type filter hook prerouting priority filter; policy accept;
				iifname "eth0" ip protocol 4 drop
			}`, tap(lab.RealServer, "eth0", unix.ETH_P_IP, true), tapRaw(lab.RealServer)),
		unforcedly(tapped("tap-reply", "A rule in output drops the reply, and a packet socket listens on eth0 and tunl0 and a raw socket for protocol 4.",
			lab.RealServer, both(reply), `
			chain output {
				type filter hook output priority filter; policy accept;
				ip saddr 10.99.0.1 drop
			}`, tap(lab.RealServer, "eth0", unix.ETH_P_IP, true), tap(lab.RealServer, "tunl0", unix.ETH_P_IP, true), tapRaw(lab.RealServer))),
		everywhere(tapped("tap-client", "A rule of the client drops the reply, and a packet socket listens on its eth0.",
			lab.Client, both(atClient), `
			chain input {
				type filter hook input priority filter; policy accept;
				ip saddr 10.99.0.1 drop
			}`, tap(lab.Client, "eth0", unix.ETH_P_IP, true))),
		mirrored(),
	}
}

// unforcedly has only auto play a scenario: with tracepoints alone nothing shows that a datagram was taken which a tap has had.
func unforcedly(s Scenario) Scenario {
	s.Unforced = true
	return s
}

// mirrored is what tc copies to another device on its way in, and a rule drops.
func mirrored() Scenario {
	s := nftFault("tap-mirror", "A rule drops the service's packets in input, and tc sends a copy of what tunl0 sees to another device.",
		lab.RealServer, "ip", filtered("tunl0", "input"), `
			chain input {
				type filter hook input priority filter; policy accept;
				iifname "tunl0" ip daddr 10.99.0.1 drop
			}`)
	s.Inject = append(mirror("tunl0"), s.Inject...)
	s.Undo = append(s.Undo, noMirror("tunl0")...)
	return s
}

// mirror has tc copy what a device of the real server takes in to one that takes everything.
func mirror(dev string) []lab.Step {
	return []lab.Step{
		unless("File exists", run(lab.RealServer, "ip", "link", "add", "dummy0", "up", "type", "dummy")), clsact(lab.RealServer, dev),
		run(lab.RealServer, "tc", "filter", "add", "dev", dev, "ingress", "protocol", "ip", "matchall", "action", "mirred", "egress", "mirror", "dev", "dummy0"),
	}
}

func noMirror(dev string) []lab.Step {
	return []lab.Step{noClsact(lab.RealServer, dev), unless("Cannot find device", run(lab.RealServer, "ip", "link", "del", "dummy0"))}
}

// healthyTaps are listeners while all is well.
func healthyTaps() []Scenario {
	return []Scenario{
		everywhere(twin("tap", "Packet sockets read what eth0, tunl0 and the client's eth0 see.",
			[]lab.Step{
				tap(lab.RealServer, "eth0", unix.ETH_P_ALL, true), tap(lab.RealServer, "tunl0", unix.ETH_P_IP, true),
				tap(lab.Client, "eth0", unix.ETH_P_IP, true),
			},
			again())),
		everywhere(twin("tap-full", "Nobody reads the packet sockets on eth0, tunl0 and the client's eth0: the kernel drops what it copies for them.",
			[]lab.Step{
				tap(lab.RealServer, "eth0", unix.ETH_P_ALL, false), tap(lab.RealServer, "tunl0", unix.ETH_P_IP, false),
				tap(lab.Client, "eth0", unix.ETH_P_IP, false),
			},
			again())),
		twin("tap-ring", "Packet sockets with rings, and a raw socket for protocol 4, have what eth0 and tunl0 see.",
			[]lab.Step{tapRing(lab.RealServer, "eth0", unix.ETH_P_IP), tapRing(lab.RealServer, "tunl0", unix.ETH_P_IP), tapRaw(lab.RealServer)}, again()),
		twin("tap-mirror", "tc sends a copy of what eth0 sees to another device.", mirror("eth0"), noMirror("eth0")),
	}
}
