package fault

import (
	"fmt"
	"net/netip"

	"ipiptrace/internal/lab"
)

// natFaults are packets that get another destination, once they are out of the tunnel.
func natFaults() []Scenario {
	backend := netip.AddrPortFrom(lab.DirectorAddr, otherPort)
	return []Scenario{
		{
			Name:    "redirect",
			Summary: "A rule of NAT redirects the service's port to one on which nobody listens.",
			Code:    "redirected",
			Inject: []lab.Step{nftIn(lab.RealServer, "ip", `
				chain prerouting {
					type nat hook prerouting priority dstnat; policy accept;
					tcp dport 80 redirect to :81
					udp dport 80 redirect to :81
				}`)},
			Undo:    []lab.Step{nftGone(lab.RealServer, "ip")},
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
		{
			Name:    "redirect-legacy",
			Summary: "iptables publishes the port of a container on all addresses, as Docker does, and no container is there.",
			Code:    "redirected",
			Inject: []lab.Step{
				unless("No chain", run(lab.RealServer, "iptables-legacy", "-t", "nat", "-F", "DOCKER")),
				unless("exists", run(lab.RealServer, "iptables-legacy", "-t", "nat", "-N", "DOCKER")),
				run(lab.RealServer, "iptables-legacy", "-t", "nat", "-F", "PREROUTING"),
				run(lab.RealServer, "iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER"),
				run(lab.RealServer, "iptables-legacy", "-t", "nat", "-A", "DOCKER", "!", "-i", "docker0", "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", "172.17.0.2:80"),
				run(lab.RealServer, "iptables-legacy", "-t", "nat", "-A", "DOCKER", "!", "-i", "docker0", "-p", "udp", "--dport", "80", "-j", "DNAT", "--to-destination", "172.17.0.2:80"),
			},
			Undo: []lab.Step{
				run(lab.RealServer, "iptables-legacy", "-t", "nat", "-F"),
				unless("No chain", run(lab.RealServer, "iptables-legacy", "-t", "nat", "-X", "DOCKER")),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "tunl0"}),
		},
		{
			Name:    "forward-off",
			Summary: "A rule of NAT gives the packets to another host that has the service, and forwarding is off.",
			Code:    "ip-forward-off",
			Inject: []lab.Step{
				serveAlso(lab.Director, backend),
				nftIn(lab.RealServer, "ip", fmt.Sprintf(`
				chain prerouting {
					type nat hook prerouting priority dstnat; policy accept;
					ip daddr 10.99.0.1 tcp dport 80 dnat to %[1]s
					ip daddr 10.99.0.1 udp dport 80 dnat to %[1]s
				}
				chain postrouting {
					type nat hook postrouting priority srcnat; policy accept;
					ip daddr %[2]s masquerade
				}`, backend, lab.DirectorAddr)),
			},
			Undo: []lab.Step{
				nftGone(lab.RealServer, "ip"),
				sysctl(lab.RealServer, "net/ipv4/ip_forward", "0"),
				stopListening(), listen(),
			},
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: noRoute, Reasons: addressError, Dev: "tunl0"}),
		},
	}
}
