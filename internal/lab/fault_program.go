package lab

import "github.com/cilium/ebpf"

// programFaults are packets that a program, a rule or a setting refuses close to the service: at a device's
// driver, at tunl0, at the service's cgroup or at its own socket.
func programFaults() []Scenario {
	again := []Step{stopListening(), listen()}
	return []Scenario{
		{
			Name:    "xdp-native",
			Summary: "An XDP program in the driver of eth0 drops IPIP packets.",
			Code:    "xdp-drop",
			Inject:  []Step{xdp(RealServer, "eth0", xdpNative, true)},
			Undo:    []Step{xdp(RealServer, "eth0", xdpNative, false)},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "tc-drop-tunnel",
			Summary: "A tc filter at the ingress of tunl0 drops the decapsulated packet.",
			Code:    "tc-drop",
			Inject: []Step{
				clsact(RealServer, "tunl0"),
				run(RealServer, "tc", "filter", "add", "dev", "tunl0", "ingress", "protocol", "ip", "u32", "match", "ip", "dst", VIP.String()+"/32", "action", "drop"),
			},
			Undo:    []Step{noClsact(RealServer, "tunl0")},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "firewall-netdev-tunnel",
			Summary: "A rule at the ingress of tunl0 drops the decapsulated packet.",
			Code:    "firewall-drop",
			Inject: []Step{nftIn(RealServer, "netdev", `
				chain ingress {
					type filter hook ingress device "tunl0" priority 0; policy accept;
					ip daddr 10.99.0.1 drop
				}`)},
			Undo:    []Step{nftGone(RealServer, "netdev")},
			Traffic: expect(TimedOut),
		},
		{
			Name:    "socket-filter",
			Summary: "The service has a filter on its sockets, and it lets nothing pass.",
			Code:    "socket-filter-drop",
			Inject:  []Step{filterSockets()},
			Undo:    again,
			Traffic: expect(TimedOut),
		},
		{
			Name:         "cgroup-ingress",
			Summary:      "A program at the service's cgroup drops what comes for the VIP.",
			Code:         "cgroup-drop",
			WholeMachine: true,
			Inject:       []Step{inCgroup(ebpf.AttachCGroupInetIngress, ipDestination, false)},
			Undo:         []Step{noCgroup()},
			Traffic:      expect(TimedOut),
		},
		{
			// Whether a SYN/ACK meets the program depends on the kernel.
			Name:         "cgroup-egress",
			Summary:      "A program at the service's cgroup drops what leaves from the VIP.",
			Code:         "cgroup-drop",
			WholeMachine: true,
			Inject:       []Step{inCgroup(ebpf.AttachCGroupInetEgress, ipSource, true)},
			Undo:         []Step{noCgroup()},
			Traffic:      only(UDP, expect(TimedOut)),
		},
		{
			Name:    "tcp-auth",
			Summary: "The service expects signed segments from the client, and the client signs none.",
			Code:    "tcp-auth",
			Inject:  []Step{wantSignatures()},
			Undo:    again,
			Traffic: only(TCP, expect(TimedOut)),
		},
		{
			Name:    "min-ttl",
			Summary: "The service takes only what came by no router, and the director is one.",
			Code:    "min-ttl",
			Inject:  []Step{wantNeighbours()},
			Undo:    again,
			Traffic: only(TCP, expect(TimedOut)),
		},
		{
			Name:    "sk-lookup",
			Summary: "A program that chooses sockets gives the service's port to none.",
			Code:    "sk-lookup-drop",
			Inject:  []Step{lookUpNothing()},
			Undo:    again,
			Traffic: expect(Refused),
		},
		{
			Name:    "listener-ipv6only",
			Summary: "The service listens on IPv6 only.",
			Code:    "listener-wrong-address",
			Inject:  []Step{listenIPv6Only()},
			Undo:    []Step{listen()},
			Traffic: expect(Refused),
		},
	}
}
