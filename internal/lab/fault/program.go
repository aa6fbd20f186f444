package fault

import (
	"github.com/cilium/ebpf"

	"ipiptrace/internal/lab"
)

// programFaults are packets that a program, a rule or a setting refuses close to the service: at a device's
// driver, at tunl0, at the service's cgroup or at its own socket.
func programFaults() []Scenario {
	return []Scenario{
		{
			Name:    "xdp-native",
			Summary: "An XDP program in the driver of eth0 drops IPIP packets.",
			Code:    "xdp-drop",
			Inject:  []lab.Step{xdp(lab.RealServer, "eth0", xdpNative, dropIPIP())},
			Undo:    []lab.Step{xdp(lab.RealServer, "eth0", xdpNative, nil)},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: []string{"veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll"}, Reasons: []string{"NOT_SPECIFIED", "XDP"}, Dev: "eth0"}),
		},
		{
			Name:    "tc-drop-tunnel",
			Summary: "A tc filter at the ingress of tunl0 drops the decapsulated packet.",
			Code:    "tc-drop",
			Inject: []lab.Step{
				clsact(lab.RealServer, "tunl0"),
				run(lab.RealServer, "tc", "filter", "add", "dev", "tunl0", "ingress", "protocol", "ip", "u32", "match", "ip", "dst", lab.VIP.String()+"/32", "action", "drop"),
			},
			Undo:    []lab.Step{noClsact(lab.RealServer, "tunl0")},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atIngress, Reasons: []string{"TC_INGRESS"}, Dev: "tunl0"}),
		},
		{
			Name:    "firewall-netdev-tunnel",
			Summary: "A rule at the ingress of tunl0 drops the decapsulated packet.",
			Code:    "firewall-drop",
			Inject: []lab.Step{nftIn(lab.RealServer, "netdev", `
				chain ingress {
					type filter hook ingress device "tunl0" priority 0; policy accept;
					ip daddr 10.99.0.1 drop
				}`)},
			Undo:    []lab.Step{nftGone(lab.RealServer, "netdev")},
			Traffic: expect(lab.TimedOut),
			Losses:  filtered("tunl0", "ingress"),
		},
		{
			Name:    "socket-filter",
			Summary: "The service has a filter on its sockets, and it lets nothing pass.",
			Code:    "socket-filter-drop",
			Inject:  []lab.Step{filterSockets(0)},
			Undo:    again(),
			Traffic: expect(lab.TimedOut),
			Losses: []Loss{
				{Proto: lab.TCP, Fate: "dropped", Functions: tcpReceive, Reasons: []string{"SOCKET_FILTER"}, Dev: "tunl0"},
				{Proto: lab.UDP, Fate: "dropped", Functions: udpQueue, Reasons: []string{"SOCKET_FILTER"}, Dev: "tunl0"},
			},
		},
		{
			Name:         "cgroup-ingress",
			Summary:      "A program at the service's cgroup drops what comes for the VIP.",
			Code:         "cgroup-drop",
			WholeMachine: true,
			Inject:       []lab.Step{inCgroup(ebpf.AttachCGroupInetIngress, ipDestination, false)},
			Undo:         []lab.Step{noCgroup()},
			Traffic:      expect(lab.TimedOut),
			Losses: []Loss{
				{Proto: lab.TCP, Fate: "dropped", Functions: tcpReceive, Reasons: []string{"SOCKET_FILTER"}, Dev: "tunl0"},
				{Proto: lab.UDP, Fate: "dropped", Functions: udpQueue, Reasons: []string{"SOCKET_FILTER"}, Dev: "tunl0"},
			},
		},
		{
			// Whether a SYN/ACK meets the program depends on the kernel.
			Name:         "cgroup-egress",
			Summary:      "A program at the service's cgroup drops what leaves from the VIP.",
			Code:         "cgroup-drop",
			WholeMachine: true,
			Inject:       []lab.Step{inCgroup(ebpf.AttachCGroupInetEgress, ipSource, true)},
			Undo:         []lab.Step{noCgroup()},
			Traffic:      only(lab.UDP, expect(lab.TimedOut)),
			Losses:       []Loss{{Proto: lab.UDP, Reply: true, Fate: "dropped", Functions: []string{"ip_finish_output"}, Reasons: []string{"BPF_CGROUP_EGRESS"}, Dev: "eth0"}},
		},
		{
			Name:    "tcp-auth",
			Summary: "The service expects signed segments from the client, and the client signs none.",
			Code:    "tcp-auth",
			Inject:  []lab.Step{wantSignatures()},
			Undo:    again(),
			Traffic: only(lab.TCP, expect(lab.TimedOut)),
			Losses:  []Loss{{Proto: lab.TCP, Fate: "dropped", Functions: tcpReceive, Reasons: []string{"TCP_MD5NOTFOUND"}, Dev: "tunl0"}},
		},
		{
			Name:    "min-ttl",
			Summary: "The service takes only what came by no router, and the director is one.",
			Code:    "min-ttl",
			Inject:  []lab.Step{wantTTL(255)},
			Undo:    again(),
			Traffic: only(lab.TCP, expect(lab.TimedOut)),
			Losses:  []Loss{{Proto: lab.TCP, Fate: "dropped", Functions: tcpReceive, Reasons: []string{"NOT_SPECIFIED", "TCP_MINTTL"}, Dev: "tunl0"}},
		},
		{
			Name:    "sk-lookup",
			Summary: "A program that chooses sockets gives the service's port to none.",
			Code:    "sk-lookup-drop",
			Inject:  []lab.Step{lookUpNothing()},
			Undo:    again(),
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
		{
			Name:    "listener-ipv6only",
			Summary: "The service listens on IPv6 only.",
			Code:    "listener-wrong-address",
			Inject:  []lab.Step{listenIPv6Only()},
			Undo:    []lab.Step{listen()},
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
	}
}
